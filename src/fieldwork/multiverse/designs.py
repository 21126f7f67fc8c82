"""Estimates of the primary claims under each specification, and who is behind them: what the verdicts are read from.

The specifications are divided into parts by what their samples are made of. A part needs nothing of another one, so that
each can be worked off by a process, or a machine, of its own; together they are what one process would have made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork import schema
from fieldwork.claims import KEY, Claim, Part, Register, Survey
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
from fieldwork.multiverse.choices import CHOICES, PARTS, Specification
from fieldwork.multiverse.lens import STATISTICS, through_model
from fieldwork.multiverse.samples import Samples, by_organisation_stage
from fieldwork.statistics.imputation import pooled

if TYPE_CHECKING:
    from fieldwork.chapter import Chapter
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument

__all__ = ["Evidence", "estimate"]

Bits = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Construct = Callable[..., Estimates]  # instrument, design, register; whether only what claims read is made


def _gradient(instrument: Instrument, design: SurveyDesign, register: Register, only_wanted: bool = False) -> Estimates:
    only = register.wanted("adoption_gradient") if only_wanted else None
    return adoption_gradient.estimate_for(instrument, design, register.contrasts("adoption_gradient"), only=only)


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


@dataclass(frozen=True, slots=True)
class Evidence:
    """What constructs say of the claims' parts under specifications. Internal: before the gate, and one bit a person.

    Attributes
    ----------
    estimates, draws, bases : pd.DataFrame    As in `Estimates`, with `constructs`, the group of constructs that a claim rests
                                              on, and `specification` before them.
    people : pd.DataFrame     claim, part, specification, and `people`: who is behind, one bit a respondent in the order of the
                              accepted and then of those whom rules of quality set aside. A specification stands here by the
                              cell table: the lens does not change who is in.
    shown : pd.DataFrame      Keys that the main analysis publishes with everything else of its constructs beside them.
    applies : pd.DataFrame    claim, choice: the choices that can change a claim.
    """

    estimates: pd.DataFrame
    draws: pd.DataFrame
    bases: pd.DataFrame
    people: pd.DataFrame
    shown: pd.DataFrame
    applies: pd.DataFrame

    @classmethod
    def of(cls, chapter: Chapter) -> Self:
        """Read what every part of the specifications saved, as one."""
        read = {
            name: pd.concat([chapter.read(_place(part, name)) for part in PARTS], ignore_index=True)
            for name in (each.name for each in fields(cls))
        }
        told = {
            name: table.drop_duplicates(ignore_index=True)
            for name, table in read.items()
            if name in {"shown", "applies"}
        }
        return cls(**(read | told))

    def save(self, chapter: Chapter, part: str = "") -> None:
        """Save the evidence of a part in a folder of its own; without one, that of all, each in its own."""
        for one in (part,) if part else PARTS:
            for each in fields(self):
                table: pd.DataFrame = getattr(self, each.name)
                if not part and "specification" in table:
                    table = table[[Specification.named(name).part == one for name in table["specification"]]]
                chapter.save(table.reset_index(drop=True), _place(one, each.name), csv=False)

    def overview(self) -> pd.DataFrame:
        """Count, by specification, the rows that claims read and those that could not be estimated."""
        told = self.estimates.assign(lacking=(self.estimates["status"] == "not_assessable").astype("Int64"))
        by = told.groupby("specification", sort=False)["lacking"].agg(["size", "sum"]).reset_index()
        options = pd.DataFrame(
            [Specification.named(text).as_dict() for text in by["specification"]], columns=list(CHOICES)
        )
        return options.assign(**{"rows": by["size"], "not assessable": by["sum"]})


def _place(part: str, table: str) -> str:
    return f"08c_designs_{part}/{table}.parquet"


def estimate(
    register: Register,
    samples: Samples,
    survey: Survey,
    policy: Policy,
    *,
    part: str = "",
    released: pd.DataFrame | None = None,
) -> Evidence:
    """Estimate the primary claims under every specification that can change them.

    Claims that rest on the same constructs are estimated together, with the replicates of the declaration; a choice that
    cannot change a claim stands at its main option for that claim. Completed samples are pooled by Rubin's rules on their
    draws. Where a sample cannot be weighted or a model does not settle, the rows concerned are `not_assessable`, with the
    reason.

    Parameters
    ----------
    samples : what the choices make of the delivery. survey : what the design offers. policy : thresholds of the gate.
    part : of `PARTS`, the specifications that are worked off; empty: all.
    released : what earlier releases of the wave have shown and held back, for the gate.

    Raises DataError for a part that there is not.
    """
    if part not in {"", *PARTS}:
        raise DataError(
            "the specifications have no such part", where="08c_designs", expected=listed(PARTS), got=repr(part)
        )
    claims, _ = judged_again(register, survey)
    applies = {claim.id: _applies(claim, samples) for claim in claims}
    wanted = [
        (claim, each)
        for specification in samples.declaration.specifications(part)
        for claim in claims
        if part in {"", (each := specification.only(applies[claim.id])).part}
    ]
    estimator = _Estimator(register, samples, claims)
    estimator.work_off(wanted)
    return estimator.evidence(policy, applies, released)


def judged_again(register: Register, survey: Survey) -> tuple[tuple[Claim, ...], dict[str, str]]:
    """Return the primary claims with their judged parts, and those that cannot be judged again, with the reason."""
    claims = [claim for claim in register.claims if claim.id in register.family]
    reasons = {claim.id: claim.awaits or survey.lacks(claim) or _unknown(claim) for claim in claims}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    # What is only shown beside the judged parts decides nothing here.
    judged = (claim.model_copy(update={"parts": claim.judged}) for claim in claims if claim.id not in left_out)
    return tuple(judged), left_out


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
    _people: list[tuple[Group, Specification, dict[Part, Bits]]] = field(default_factory=list)
    _places: pd.Index | None = None

    def work_off(self, wanted: Iterable[tuple[Claim, Specification]]) -> None:
        """Estimate claims under specifications, in an order in which each design is made once."""
        jobs = dict.fromkeys((constructs_of(claim), specification) for claim, specification in wanted)
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

    def evidence(
        self, policy: Policy, applies: Mapping[str, Iterable[str]], released: pd.DataFrame | None = None
    ) -> Evidence:
        """Return what was estimated."""
        people = [
            {"claim": claim.id, "part": part.label, "specification": plain.name, "people": bits[part].tobytes()}
            for group, plain, bits in self._people
            for claim in self.claims
            if constructs_of(claim) == group
            for part in claim.parts
        ]
        choices = [(name, choice) for name, found in applies.items() for choice in CHOICES if choice in found]
        texts = dict.fromkeys(KEY, "string")
        none = Estimates(
            schema.frame([], schema.ESTIMATES), pd.DataFrame(columns=[*KEY, "draws"]), schema.frame([], schema.BASES)
        )
        return Evidence(
            self._labelled(lambda made: made.estimates, none),
            self._labelled(lambda made: made.draws, none).astype(texts),
            self._labelled(lambda made: made.bases, none),
            pd.DataFrame(people, columns=["claim", "part", "specification", "people"]),
            self._shown(policy, released),
            pd.DataFrame(choices, columns=["claim", "choice"], dtype="string"),
        )

    def _labelled(self, table: Callable[[Estimates], pd.DataFrame], none: Estimates) -> pd.DataFrame:
        """Return one of the tables of all jobs as one, with the job of each row before it."""
        texts = {"constructs": "string", "specification": "string"}
        each = [
            table(made).assign(constructs="+".join(group), specification=specification.name)
            for (group, specification), made in self._parts.items()
        ]
        whole = pd.concat(each or [table(none).assign(constructs="", specification="")], ignore_index=True)
        return whole[[*texts, *table(none).columns]].astype(texts)

    def _shown(self, policy: Policy, released: pd.DataFrame | None) -> pd.DataFrame:
        if not self._main:
            return pd.DataFrame(columns=list(KEY), dtype="string")
        made = each_once(Estimates.joined(self._main))
        table = publish(made.estimates, policy, made.bases, released)
        return table.loc[table["status"].isin(["ok", "flagged"]), list(KEY)].reset_index(drop=True)

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
                place: Ints | None = None  # who is in the design, looked up once for all groups
                for job in jobs:
                    if job not in refused:
                        left.setdefault((job[0], sample_of(job[1])), []).append(job)
                for (each, plain), same in left.items():
                    self._estimated(each, plain, same, design, said, made, refused)
                    if (each, plain) not in counted:
                        place = self._looked_up(design) if place is None else place
                        self._people.append((each, plain, self._behind(each, plain, design, place)))
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
        cells = only_keys(cells, {part.key for part in parts})
        for job in jobs:
            try:
                through = job[1].lens == "mixed_model"
                found = through_model(self._instrument(plain), design, parts, cells) if through else cells
            except (DesignError, ConvergenceError, DataError) as error:
                refused[job] = _told(error)
                continue
            made[job].append(found)

    def _looked_up(self, design: SurveyDesign) -> Ints:
        """Return the place of each respondent of a design among all that were delivered (n,)."""
        respondent = pd.Index(design.responses[self.samples.instrument.keys.respondent])
        return np.asarray(self._everybody().get_indexer(respondent), dtype=np.int64)

    def _everybody(self) -> pd.Index:
        if self._places is None:
            respondent = self.samples.instrument.keys.respondent
            both = [self.samples.responses[respondent], self.samples.others[respondent]]
            self._places = pd.Index(pd.concat(both, ignore_index=True).drop_duplicates())
        return self._places

    def _behind(self, group: Group, plain: Specification, design: SurveyDesign, place: Ints) -> dict[Part, Bits]:
        """Tell who is behind each part of a group's claims in a design, whose respondents have these places among all."""
        instrument, everybody = self._instrument(plain), len(self._everybody())
        bits: dict[Part, Bits] = {}
        for part in dict.fromkeys(self._parts_of(group)):
            inside = np.zeros(everybody, dtype=np.bool_)
            inside[place[behind(part, instrument, design.responses)]] = True
            bits[part] = np.packbits(inside)
        return bits

    def _items(self, group: Group) -> tuple[str, ...]:
        return tuple(sorted({item for claim in self.claims if constructs_of(claim) == group for item in claim.items}))

    def _parts_of(self, group: Group) -> list[Part]:
        return [part for claim in self.claims if constructs_of(claim) == group for part in claim.parts]

    def _whole(self, group: Group, plain: Specification, design: SurveyDesign, said: Said) -> Estimates:
        """Return everything that the constructs of a group say in the cell table; `said` holds those that were asked before."""
        instrument = self._instrument(plain)
        lean = plain.departures > 0
        register = self._read(plain) if lean else self.register
        stage = axis(instrument, instrument.keys.stage) if instrument.keys.stage else None
        if design.stage != stage:
            design = replace(design, stage=stage)
        for name in group:
            if (name, plain) not in said:
                said[name, plain] = CONSTRUCTS[name](instrument, design, register, lean)
        found = Estimates.joined([said[name, plain] for name in group])
        return each_once(self._renamed(found) if plain.stage == "organisation" else found)

    def _read(self, plain: Specification) -> Register:
        """Return the register with what is judged again alone, by the names under which constructs write it."""
        exchanged = self._exchanged if plain.stage == "organisation" else {}
        claims = (
            claim.model_copy(
                update={
                    "parts": tuple(
                        part.model_copy(update={"measure": exchanged.get(part.measure, part.measure)})
                        for part in claim.parts
                    )
                }
            )
            for claim in self.claims
        )
        return replace(self.register, claims=tuple(claims))

    def _instrument(self, specification: Specification) -> Instrument:
        instrument = self.samples.instrument
        return by_organisation_stage(instrument) if specification.stage == "organisation" else instrument

    @property
    def _exchanged(self) -> dict[str, str]:
        keys = self.samples.instrument.keys
        return {keys.stage: keys.stage_organisation, keys.stage_organisation: keys.stage}

    def _renamed(self, made: Estimates) -> Estimates:
        """Give what is measured by the other stage the name under which the register knows it."""
        tables = [
            table.assign(measure=table["measure"].replace(self._exchanged))
            for table in (made.estimates, made.draws, made.bases)
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


def sample_of(specification: Specification) -> Specification:
    """Return the specification by the cell table: the lens does not change who is in."""
    return specification.only(frozenset(CHOICES) - {"lens"})


def _told(error: DesignError | ConvergenceError | DataError) -> str:
    return f"{error.title}: {error.got}"


def constructs_of(claim: Claim) -> Group:
    return tuple(sorted({part.construct_ for part in claim.parts}))


def keys_of(table: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(schema.tuples_of(table[list(KEY)]))


def or_refusals(keys: set[tuple[str, ...]], there: Sequence[tuple[tuple[str, ...], bool]]) -> set[tuple[str, ...]]:
    """Return keys; where one of them is not there, with those of the rows by which the constructs refused.

    Parameters
    ----------
    there : key of each row, and whether it is a refusal.
    """
    return keys if keys <= {key for key, _ in there} else keys | {key for key, refused in there if refused}


def only_keys(made: Estimates, keys: set[tuple[str, ...]]) -> Estimates:
    """Return the rows of some keys; where one of them is not there, with the rows by which the constructs refused."""
    own = keys_of(made.estimates)
    keys = or_refusals(keys, list(zip(own, made.estimates["status"] == "not_assessable", strict=True)))
    named = (own, keys_of(made.draws), keys_of(made.bases))
    tables = [
        table.loc[np.array([key in keys for key in there], dtype=bool)].reset_index(drop=True)
        for table, there in zip((made.estimates, made.draws, made.bases), named, strict=True)
    ]
    return Estimates(*tables)


def each_once(made: Estimates) -> Estimates:
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
    tables = [dict(zip(keys_of(each.estimates), each.estimates.to_dict("records"), strict=True)) for each in samples]
    curves = [dict(zip(keys_of(each.draws), each.draws["draws"], strict=True)) for each in samples]
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
