"""Every primary claim judged again under every specification, and the table of what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork import schema
from fieldwork.claims import KEY, Claim, Part, Register, Survey, against_margins, judge
from fieldwork.constructs import (
    adoption_gradient,
    alignment_map,
    blockers,
    influence,
    lead_lag,
    perception_gap,
    practices,
    readiness,
    role_shift,
)
from fieldwork.constructs.cells import axis
from fieldwork.constructs.ledger import Estimates, interval_of
from fieldwork.disclosure import Policy, publish
from fieldwork.errors import ConvergenceError, DataError, DesignError, listed
from fieldwork.multiverse.choices import CHOICES, Declaration, Specification
from fieldwork.multiverse.lens import STATISTICS, through_model
from fieldwork.multiverse.samples import Samples, by_organisation_stage
from fieldwork.statistics.imputation import pooled

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument

__all__ = ["Universe", "agreement", "explore"]

Bits = npt.NDArray[np.uint8]
Construct = Callable[..., Estimates]  # instrument, design, register; whether only what claims read is made


def _gradient(instrument: Instrument, design: SurveyDesign, register: Register, *_: bool) -> Estimates:
    return adoption_gradient.estimate_for(instrument, design, register.contrasts("adoption_gradient"))


def _blockers(instrument: Instrument, design: SurveyDesign, register: Register, only_wanted: bool = False) -> Estimates:
    return blockers.estimate_for(instrument, design, register.wanted("blockers"), only_wanted=only_wanted)


def _lead_lag(instrument: Instrument, design: SurveyDesign, register: Register, only_wanted: bool = False) -> Estimates:
    read = {row.statistic for row in register.wanted("lead_lag")}
    return lead_lag.estimate_for(instrument, design, read=read if only_wanted else None)


def _plainly(estimate_for: Callable[[Instrument, SurveyDesign], Estimates]) -> Construct:
    return lambda instrument, design, *_: estimate_for(instrument, design)


CONSTRUCTS: dict[str, Construct] = {
    "adoption_gradient": _gradient,
    "alignment_map": _plainly(alignment_map.estimate_for),
    "blockers": _blockers,
    "influence": _plainly(influence.estimate_for),
    "lead_lag": _lead_lag,
    "perception_gap": _plainly(perception_gap.estimate_for),
    "practices": _plainly(practices.estimate_for),
    "readiness": _plainly(readiness.estimate_for),
    "role_shift": _plainly(role_shift.estimate_for),
}
NUMBERS = ("estimate", "conf_low", "conf_high", "conf_level", "n", "n_organisations")
APART = 10  # two specifications whose people differ by fewer could be told apart person by person


@dataclass(frozen=True, slots=True)
class Universe:
    """What the multiverse of a wave holds.

    Attributes
    ----------
    table : pd.DataFrame     Columns of `schema.MULTIVERSE`, behind the gate: a row per claim, specification and margin.
    applies : dict           Choices that can change each claim.
    left_out : dict          Primary claims that were not judged again, and why.
    declaration : Declaration
    """

    table: pd.DataFrame
    applies: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]
    declaration: Declaration

    def summary(self) -> dict[str, Any]:
        """Return what multiverse.json says beside the table."""
        choices = self.declaration.choices
        return {
            "choices": {name: list(getattr(choices, name)) for name in CHOICES},
            "margins": choices.margin,
            "crossing": self.declaration.crossing,
            "replicates": self.declaration.replicates,
            "imputations": self.declaration.imputations,
            "applies": {name: list(found) for name, found in self.applies.items()},
            "left_out": dict(self.left_out),
        }


def explore(
    register: Register,
    samples: Samples,
    survey: Survey,
    policy: Policy,
    *,
    wave: str,
    registered: Mapping[str, Any] | None = None,
    released: pd.DataFrame | None = None,
) -> Universe:
    """Judge every primary claim under every specification that can change it.

    Claims that rest on the same constructs are estimated together, with the replicates of the declaration. In each
    specification all primary claims are judged at once, with the adjustment of their family; a choice that cannot change a
    claim stands at its main option for that claim. Completed samples are pooled by Rubin's rules on their draws. Where a
    sample cannot be weighted or a model does not settle, the claims concerned are `not_assessable`, with the reason.

    Behind the gate: numbers of a specification are shown where the main analysis shows the estimate, where its own base
    allows it, and where the people behind it and behind every other specification shown are the same, or differ by ten or
    more: else the answers of a few would be the difference. The verdict, one of four words, is shown all the same.

    Parameters
    ----------
    samples : what the choices make of the delivery. survey : what the design offers. policy : thresholds of the gate.
    registered : the record of the first run on data of the wave, for the size of the family.
    released : what earlier releases of the wave have shown and held back, for the gate.
    """
    claims = [claim for claim in register.claims if claim.id in register.family]
    reasons = {claim.id: claim.awaits or survey.lacks(claim) or _unknown(claim) for claim in claims}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    # What is only shown beside the judged parts decides nothing here.
    judged = [claim.model_copy(update={"parts": claim.judged}) for claim in claims if claim.id not in left_out]
    subset = replace(register, claims=tuple(judged))
    applies = {claim.id: _applies(claim, samples) for claim in judged}
    specifications = samples.declaration.specifications()
    estimator = _Estimator(register, samples, judged)
    estimator.work_off([(claim, each.only(applies[claim.id])) for each in specifications for claim in judged])
    shown = estimator.shown(policy, released)
    rows: list[dict[str, Any]] = []
    curve: dict[str, str] = {}
    for number, specification in enumerate(specifications, start=1):
        mine = [claim for claim in judged if specification == specification.only(applies[claim.id])]
        if not mine:
            continue
        made = [estimator.of(claim, specification.only(applies[claim.id])) for claim in judged]
        joined = _each_once(Estimates.joined(made))
        tested = against_margins(subset, joined.estimates, joined.draws, registered=registered)
        published = _hidden(publish(tested.estimates, policy, joined.bases, released), shown)
        records = {record["id"]: record for record in judge(subset, tested, published, survey=survey)}
        for claim in mine:
            label = curve.setdefault(claim.id, records[claim.id]["part"] or claim.judged[0].label)
            part = next(part for part in claim.parts if part.label == label)
            people = estimator.people(part, specification)
            rows += _rows(records[claim.id], claim, part, people, specification, number, wave, samples.declaration)
    return Universe(
        _apart(rows), {name: tuple(sorted(found)) for name, found in applies.items()}, left_out, samples.declaration
    )


def _unknown(claim: Claim) -> str:
    other = sorted({part.construct_ for part in claim.judged} - set(CONSTRUCTS))
    return f"no way to estimate {listed(other)} again" if other else ""


def _applies(claim: Claim, samples: Samples) -> frozenset[str]:
    """Name the choices that can change a claim."""
    through = all(part.statistic in STATISTICS for part in claim.judged)
    return samples.applies(claim.items) | (frozenset({"lens"}) if through else frozenset())


Group = tuple[str, ...]  # the constructs that a claim rests on
Job = tuple[Group, Specification]
Said = dict[tuple[str, Specification], Estimates]  # what constructs say of one design


@dataclass(slots=True)
class _Estimator:
    """Estimates the parts of claims under specifications, each construct and sample once.

    Work goes by design: a design is made, everything that rests on it is estimated, and it is dropped before the next. What
    stays is rows and draws of the claims' parts, and who is behind them, one bit a person. The main analysis is estimated
    whole, for the gate to see what stands beside each row; the others as far as claims read.
    """

    register: Register
    samples: Samples
    claims: Sequence[Claim]
    _parts: dict[Job, Estimates] = field(default_factory=dict)
    _main: list[Estimates] | None = field(default_factory=list)  # None: one of its groups was refused
    _people: dict[tuple[Part, Specification], Bits] = field(default_factory=dict)
    _places: pd.Index | None = None

    def work_off(self, wanted: Iterable[tuple[Claim, Specification]]) -> None:
        """Estimate claims under specifications, in an order in which each design is made once."""
        main = Specification(*(options[0] for options in CHOICES.values()))
        jobs = dict.fromkeys((_constructs(claim), specification) for claim, specification in wanted)
        jobs |= dict.fromkeys((_constructs(claim), main) for claim in self.claims)
        by_sample: dict[tuple[str, ...], list[Job]] = {}
        for group, specification in jobs:
            rests = () if specification.missing == "available" else self._items(group)
            sample = (specification.exclusions, specification.weights, specification.missing, *rests)
            by_sample.setdefault(sample, []).append((group, specification))
        order = {name: k for k, name in enumerate(option for options in CHOICES.values() for option in options)}
        # Complete cases come last: their design takes the place of the one from which samples are completed.
        ranks = {**order, "complete": len(order)}
        for sample in sorted(by_sample, key=lambda each: ([ranks[name] for name in each[:3]], each[3:])):
            self._sampled(by_sample[sample])

    def of(self, claim: Claim, specification: Specification) -> Estimates:
        """Return the rows of a claim's parts under a specification."""
        return _only(self._parts[_constructs(claim), specification], {part.key for part in claim.parts})

    def shown(self, policy: Policy, released: pd.DataFrame | None = None) -> set[tuple[str, ...]]:
        """Return the keys that the main analysis publishes, with everything else of its constructs beside them."""
        if not self._main:
            return set()
        made = _each_once(Estimates.joined(self._main))
        table = publish(made.estimates, policy, made.bases, released)
        table = table[table["status"].isin(["ok", "flagged"])]
        return set(schema.tuples_of(table[list(KEY)]))

    def people(self, part: Part, specification: Specification) -> Bits:
        """Tell who is behind a part under a specification, one bit a person; nobody where there is no sample."""
        return self._people.get((part, _sample_of(specification)), np.zeros(0, dtype=np.uint8))

    def _sampled(self, jobs: Sequence[Job]) -> None:
        """Estimate what rests on one sample: group by group in each of its designs."""
        made: dict[Job, list[Estimates]] = {job: [] for job in jobs}
        refused: dict[Job, str] = {}
        group, specification = jobs[0]
        counted: set[Job] = set()
        try:
            for design in self.samples.designs(specification, self._items(group)):
                left: dict[Job, list[Job]] = {}
                said: Said = {}
                for job in jobs:
                    if job not in refused:
                        left.setdefault((job[0], _sample_of(job[1])), []).append(job)
                for (each, plain), same in left.items():
                    self._estimated(each, plain, same, design, said, made, refused)
                    if (each, plain) not in counted:
                        self._count(each, plain, design)
                        counted.add((each, plain))
                del design  # before the next is made
                if len(refused) == len(jobs):
                    break
        except (DesignError, ConvergenceError, DataError) as error:
            refused |= {job: _told(error) for job in jobs if job not in refused}
        for job in jobs:
            parts = self._parts_of(job[0])
            if job in refused:
                self._parts[job] = _refused(parts, refused[job])
            else:
                self._parts[job] = made[job][0] if len(made[job]) == 1 else _pooled(made[job])

    def _estimated(
        self,
        group: Group,
        plain: Specification,
        jobs: Sequence[Job],
        design: SurveyDesign,
        said: Said,
        made: Mapping[Job, list[Estimates]],
        refused: dict[Job, str],
    ) -> None:
        """Estimate a group in one design by the cell table, and what is asked of it by each lens; `said` is filled."""
        parts = self._parts_of(group)
        try:
            cells = self._whole(group, plain, design, said)
        except (DesignError, ConvergenceError, DataError) as error:
            refused |= {job: _told(error) for job in jobs}
            self._main = self._main if plain.departures else None
            return
        if plain.departures == 0 and self._main is not None:
            self._main.append(replace(cells, draws=cells.draws.iloc[:0]))
        cells = _only(cells, {part.key for part in parts})
        for job in jobs:
            try:
                through = job[1].lens == "mixed_model"
                found = through_model(self._instrument(plain), design, parts, cells) if through else cells
            except (DesignError, ConvergenceError, DataError) as error:
                refused[job] = _told(error)
                continue
            made[job].append(found)

    def _count(self, group: Group, plain: Specification, design: SurveyDesign) -> None:
        """Note who is behind each part of a group's claims in a design."""
        instrument = self._instrument(plain)
        if self._places is None:
            respondent = instrument.keys.respondent
            both = [self.samples.responses[respondent], self.samples.others[respondent]]
            self._places = pd.Index(pd.concat(both, ignore_index=True).drop_duplicates())
        place = self._places.get_indexer(pd.Index(design.responses[instrument.keys.respondent]))
        for part in self._parts_of(group):
            inside = np.zeros(len(self._places), dtype=bool)
            inside[place[behind(part, instrument, design.responses)]] = True
            self._people[part, plain] = np.packbits(inside)

    def _items(self, group: Group) -> tuple[str, ...]:
        return tuple(sorted({item for claim in self.claims if _constructs(claim) == group for item in claim.items}))

    def _parts_of(self, group: Group) -> list[Part]:
        return [part for claim in self.claims if _constructs(claim) == group for part in claim.parts]

    def _whole(self, group: Group, plain: Specification, design: SurveyDesign, said: Said) -> Estimates:
        """Return everything that the constructs of a group say in the cell table; `said` holds those that were asked before."""
        instrument = self._instrument(plain)
        lean = plain.departures > 0
        register = replace(self.register, claims=tuple(self.claims)) if lean else self.register
        stage = instrument.keys.stage
        design = replace(design, stage=axis(instrument, stage) if stage else None)
        for name in group:
            if (name, plain) not in said:
                said[name, plain] = CONSTRUCTS[name](instrument, design, register, lean)
        found = Estimates.joined([said[name, plain] for name in group])
        return _each_once(self._renamed(found) if plain.stage == "organisation" else found)

    def _instrument(self, specification: Specification) -> Instrument:
        instrument = self.samples.instrument
        return by_organisation_stage(instrument) if specification.stage == "organisation" else instrument

    def _renamed(self, made: Estimates) -> Estimates:
        """Give what is measured by the other stage the name under which the register knows it."""
        keys = self.samples.instrument.keys
        names = {keys.stage: keys.stage_organisation, keys.stage_organisation: keys.stage}
        tables = [
            table.assign(measure=table["measure"].replace(names)) for table in (made.estimates, made.draws, made.bases)
        ]
        return Estimates(*tables)


def behind(part: Part, instrument: Instrument, responses: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell who answered what a part asks (n,), in the roles and at the stages that it names."""
    used = np.ones(len(responses), dtype=bool)
    for name in part.measure.split("+"):
        columns = [c for item in instrument.slot(name) for c in item.native_columns() if c in responses]
        if columns:
            used &= np.any([responses[column].notna().to_numpy() for column in columns], axis=0)
    roles = {name for text in (part.role, part.role_2) if text for name in text.split("+")}
    stages = {name for name in (part.stage, part.stage_2) if name}
    for column, wanted in ((instrument.keys.role, roles), (instrument.keys.stage, stages)):
        if column and wanted:
            each = axis(instrument, column)
            codes = each.index(responses[column])
            used &= np.isin(codes, [k for k, label in enumerate(each.labels) if label in wanted])
    return used


def _sample_of(specification: Specification) -> Specification:
    """Return the specification by the cell table: the lens does not change who is in."""
    return specification.only(frozenset(CHOICES) - {"lens"})


def _told(error: DesignError | ConvergenceError | DataError) -> str:
    return f"{error.title}: {error.got}"


def _constructs(claim: Claim) -> Group:
    return tuple(sorted({part.construct_ for part in claim.parts}))


def _keys(table: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(schema.tuples_of(table[list(KEY)]))


def _only(made: Estimates, keys: set[tuple[str, ...]]) -> Estimates:
    """Return the rows of some keys; where one of them is not there, with the rows by which the constructs refused."""
    own = _keys(made.estimates)
    if not keys <= set(own):
        refused = (made.estimates["status"] == "not_assessable").to_numpy()
        keys = keys | {key for key, out in zip(own, refused, strict=True) if out}
    named = (own, _keys(made.draws), _keys(made.bases))
    tables = [
        table.loc[np.array([key in keys for key in there], dtype=bool)].reset_index(drop=True)
        for table, there in zip((made.estimates, made.draws, made.bases), named, strict=True)
    ]
    return Estimates(*tables)


def _each_once(made: Estimates) -> Estimates:
    """Return each row once: claims, or constructs, that share a row read the same."""
    tables = [
        table.drop_duplicates(list(KEY)).reset_index(drop=True) for table in (made.estimates, made.draws, made.bases)
    ]
    return Estimates(*tables)


def _refused(parts: Iterable[Part], reason: str) -> Estimates:
    keys = list(dict.fromkeys(part.key for part in parts))
    rows = [{**dict(zip(KEY, key, strict=True)), "status": "not_assessable", "reason": reason} for key in keys]
    bases = [dict(zip(KEY, key, strict=True)) for key in keys]
    return Estimates(
        schema.frame(rows, schema.ESTIMATES),
        pd.DataFrame(columns=[*KEY, "draws"]),
        schema.frame(bases, schema.BASES),
    )


def _pooled(samples: Sequence[Estimates]) -> Estimates:
    """Pool completed samples row by row; a row that one of them refuses is refused."""
    tables = [dict(zip(_keys(each.estimates), each.estimates.to_dict("records"), strict=True)) for each in samples]
    curves = [dict(zip(_keys(each.draws), each.draws["draws"], strict=True)) for each in samples]
    rows, drawn = [], []
    for key in tables[0]:
        found = [table[key] for table in tables if key in table]
        refused = next((row for row in found if row["status"] == "not_assessable"), None)
        if refused is not None or len(found) < len(tables):
            rows.append(
                {str(name): value for name, value in (refused or found[0]).items()} | {"status": "not_assessable"}
            )
            continue
        row = {str(name): value for name, value in found[0].items()} | {"method": "multiple_imputation"}
        drawings = [np.asarray(curve[key], dtype=np.float64) for curve in curves if key in curve]
        row |= dict.fromkeys(("std_error", "conf_low", "conf_high", "conf_level"), pd.NA)
        if row["unit"] == "rank":
            row |= _union(found)
        else:
            values = [np.nan if pd.isna(each["estimate"]) else float(each["estimate"]) for each in found]
            row["estimate"] = float(np.mean(values)) if np.isfinite(values).all() else pd.NA
        if len(drawings) == len(samples):
            if row["unit"] != "rank":
                made = pooled(values, drawings)
                row |= {name: value if np.isfinite(value) else pd.NA for name, value in interval_of(made.draws).items()}
            curve = np.concatenate(drawings) if row["unit"] == "rank" else made.draws
            drawn.append({**dict(zip(KEY, key, strict=True)), "draws": curve})
        rows.append(row)
    return Estimates(
        schema.frame(rows, schema.ESTIMATES), pd.DataFrame(drawn, columns=[*KEY, "draws"]), samples[0].bases
    )


def _union(rows: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """Pool rank sets: every rank that some completed sample leaves open. Ranks have no variance that could be added."""
    lows, highs = ([row[name] for row in rows] for name in ("conf_low", "conf_high"))
    level = rows[0]["conf_level"]
    if any(pd.isna(value) for value in (*lows, *highs)):
        return {"estimate": float(np.median([row["estimate"] for row in rows]))}
    low, high = float(min(lows)), float(max(highs))
    first = rows[0]
    ends = {float(first["conf_low"]): low, float(first["conf_high"]): high}
    # The best and the worst rank of a set are the ends of its interval, and stay so.
    estimate = ends.get(float(first["estimate"]), float(np.median([row["estimate"] for row in rows])))
    return {"estimate": estimate, "conf_low": low, "conf_high": high, "conf_level": level}


def _hidden(published: pd.DataFrame, shown: set[tuple[str, ...]]) -> pd.DataFrame:
    """Hold back what the main analysis does not show."""
    out = published.copy()
    hide = (
        np.array([key not in shown for key in _keys(out)], dtype=bool)
        & out["status"].isin(["ok", "flagged"]).to_numpy()
    )
    out.loc[hide, ["std_error", *NUMBERS]] = pd.NA
    out.loc[hide, "status"] = "suppressed"
    out.loc[hide, "reason"] = "held back, as in the main analysis"
    return out


def _rows(
    record: Mapping[str, Any],
    claim: Claim,
    part: Part,
    people: Bits,
    specification: Specification,
    number: int,
    wave: str,
    declaration: Declaration,
) -> list[dict[str, Any]]:
    """Rows of a claim under one specification: one per margin, with the numbers of the part that is drawn."""
    seen = next((each for each in record["parts"] if each["label"] == part.label), dict.fromkeys(NUMBERS))
    declared = next(abs(p.margin) for p in claim.judged if claim.margins_apply_to in {"", p.statistic})
    margins = {declared: record["verdict"]}
    if declaration.ranges_margins and record["verdict"] != "not_assessable":
        margins = {float(margin): verdict for margin, verdict in record["verdict_by_margin"].items()}
    common = {
        "wave": wave, "claim": claim.id, "specification": number, "main": number == 1, **specification.as_dict(),
        "part": part.label, "unit": part.unit, "part_margin": part.margin, "direction": part.direction,
        **{name: seen[name] for name in NUMBERS},
        "status": "ok" if seen["n"] is not None else "suppressed",
        "reason": record["reason"] if record["verdict"] == "not_assessable" else "", "_people": people,
    }  # fmt: skip
    nearest = min(margins, key=lambda margin: abs(margin - declared))
    return [
        {**common, "margin": margin, "registered_margin": margin == nearest, "verdict": verdict}
        for margin, verdict in margins.items()
    ]


def _apart(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Hide numbers of specifications whose people differ by a few from those of one that is shown; return the table."""
    out = []
    seen: dict[str, list[Bits]] = {}
    held = {
        **dict.fromkeys(NUMBERS),
        "status": "suppressed",
        "reason": "held back: a few people more or less than in another specification",
    }
    for row in rows:
        people = row["_people"]
        before = seen.setdefault(row["claim"], [])
        told = {}
        if row["status"] == "ok":
            differing = [int(np.bitwise_count(people ^ other).sum()) for other in before]
            if any(0 < number < APART for number in differing):
                told = held
            elif 0 not in differing:
                before.append(people)
        kept = {**row, **told}
        out.append({name: pd.NA if v is None else v for name, v in kept.items() if name != "_people"})
    return schema.frame(out, schema.MULTIVERSE)


def agreement(claims: Sequence[Mapping[str, Any]], table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the records of claims.json with `multiverse`: how many specifications come to the same verdict.

    Counted are specifications times margins; `at_registered_margin` counts those at the registered margin alone, each time
    without those that were not assessable, which are counted apart. `main` is the verdict of the main specification with the
    replicates of the multiverse, which are fewer than those of the record. A claim that was not judged again has none.
    """
    out = []
    for record in claims:
        mine = table[table["claim"] == record["id"]]
        if mine.empty:
            out.append({**record, "multiverse": None})
            continue
        main = str(mine[mine["main"] & mine["registered_margin"]]["verdict"].iloc[0])
        counted = {**_count(mine, record["verdict"]), "choices": [name for name in CHOICES if len(set(mine[name])) > 1]}
        at = _count(mine[mine["registered_margin"]], record["verdict"])
        out.append({**record, "multiverse": {**counted, "main": main, "at_registered_margin": at}})
    return out


def _count(rows: pd.DataFrame, verdict: str) -> dict[str, Any]:
    verdicts = rows["verdict"].value_counts()
    assessed = rows[rows["verdict"] != "not_assessable"]
    order = ("supported", "contradicted", "inconclusive", "not_assessable")
    return {
        "specifications": len(rows),
        "assessed": len(assessed),
        "agree": int((assessed["verdict"] == verdict).sum()),
        "verdicts": {name: int(verdicts.get(name, 0)) for name in order},
    }
