"""Every primary claim judged again under every specification, and the table of what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
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

Construct = Callable[..., Estimates]  # instrument, design, register; whether only what claims read is made


def _gradient(instrument: Instrument, design: SurveyDesign, register: Register, *_: bool) -> Estimates:
    return adoption_gradient.estimate_for(instrument, design, register.contrasts("adoption_gradient"))


def _blockers(instrument: Instrument, design: SurveyDesign, register: Register, only_wanted: bool = False) -> Estimates:
    return blockers.estimate_for(instrument, design, register.wanted("blockers"), only_wanted=only_wanted)


def _plainly(estimate_for: Callable[[Instrument, SurveyDesign], Estimates]) -> Construct:
    return lambda instrument, design, *_: estimate_for(instrument, design)


CONSTRUCTS: dict[str, Construct] = {
    "adoption_gradient": _gradient,
    "alignment_map": _plainly(alignment_map.estimate_for),
    "blockers": _blockers,
    "influence": _plainly(influence.estimate_for),
    "lead_lag": _plainly(lead_lag.estimate_for),
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
    estimator = _Estimator(register, samples, judged)
    subset = replace(register, claims=tuple(judged))
    applies = {claim.id: _applies(claim, samples) for claim in judged}
    specifications = samples.declaration.specifications()
    shown = estimator.shown(specifications[0], policy, released)
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
            people = estimator.people(claim, part, specification)
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


@dataclass(slots=True)
class _Estimator:
    """Estimates the parts of claims under a specification, each construct and sample once.

    The main analysis is estimated whole, for the gate to see what stands beside each row; the others as far as claims read.
    """

    register: Register
    samples: Samples
    claims: Sequence[Claim]
    _cells: dict[tuple[Any, ...], list[Estimates]] = field(default_factory=dict)
    _parts: dict[tuple[Any, ...], Estimates] = field(default_factory=dict)

    def of(self, claim: Claim, specification: Specification) -> Estimates:
        """Return the rows of a claim's parts under a specification."""
        group = _constructs(claim)
        key = (group, specification)
        if key not in self._parts:
            self._parts[key] = self._group(group, specification)
        keys = {part.key for part in claim.parts}
        return _only(self._parts[key], keys)

    def shown(self, main: Specification, policy: Policy, released: pd.DataFrame | None = None) -> set[tuple[str, ...]]:
        """Return the keys that the main analysis publishes, with everything else of its constructs beside them."""
        groups = dict.fromkeys(_constructs(claim) for claim in self.claims)
        if not groups:
            return set()
        try:
            whole = [each for group in groups for each in self._whole(group, main)]
        except (DesignError, ConvergenceError, DataError):
            return set()
        made = _each_once(Estimates.joined(whole))
        table = publish(made.estimates, policy, made.bases, released)
        table = table[table["status"].isin(["ok", "flagged"])]
        return set(schema.tuples_of(table[list(KEY)]))

    def people(self, claim: Claim, part: Part, specification: Specification) -> frozenset[str]:
        """Name who answered what a part asks, in the roles and at the stages that it names, under a specification."""
        keys, instrument = self._instrument(specification).keys, self.samples.instrument
        try:
            data = self.samples.designs(specification, self._items(_constructs(claim)))[0].responses
        except (DesignError, ConvergenceError, DataError):
            return frozenset()
        used = pd.Series(data=True, index=data.index)
        for name in part.measure.split("+"):
            items = instrument.slot(name)
            columns = [column for item in items for column in item.native_columns() if column in data]
            if columns:
                used &= data[columns].notna().any(axis=1)
        roles = {name for text in (part.role, part.role_2) if text for name in text.split("+")}
        stages = {name for name in (part.stage, part.stage_2) if name}
        for column, wanted in ((keys.role, roles), (keys.stage, stages)):
            if column and wanted:
                each = axis(instrument, column)
                codes = each.index(data[column])
                used &= np.isin(codes, [k for k, label in enumerate(each.labels) if label in wanted])
        return frozenset(data.loc[used, keys.respondent].astype(str))

    def _items(self, group: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item for c in self.claims if _constructs(c) == group for item in c.items))

    def _group(self, group: tuple[str, ...], specification: Specification) -> Estimates:
        parts = [part for claim in self.claims if _constructs(claim) == group for part in claim.parts]
        keys = {part.key for part in parts}
        try:
            made = [_only(each, keys) for each in self._whole(group, specification)]
            if specification.lens == "mixed_model":
                instrument = self._instrument(specification)
                designs = self.samples.designs(specification, self._items(group))
                made = [through_model(instrument, d, parts, e) for d, e in zip(designs, made, strict=True)]
        except (DesignError, ConvergenceError, DataError) as error:
            return _refused(parts, f"{error.title}: {error.got}")
        return made[0] if len(made) == 1 else _pooled(made)

    def _whole(self, group: tuple[str, ...], specification: Specification) -> list[Estimates]:
        """Return everything that the constructs say in the cell table, for each completed sample."""
        plain = specification.only(frozenset(CHOICES) - {"lens"})
        key = (group, plain)
        if key not in self._cells:
            instrument = self._instrument(plain)
            lean = plain.departures > 0
            register = self.register.only(*(claim.id for claim in self.claims)) if lean else self.register
            made = []
            stage = instrument.keys.stage
            for design in self.samples.designs(plain, self._items(group)):
                design = replace(design, stage=axis(instrument, stage) if stage else None)  # noqa: PLW2901
                found = Estimates.joined([CONSTRUCTS[name](instrument, design, register, lean) for name in group])
                made.append(_each_once(self._renamed(found) if plain.stage == "organisation" else found))
            self._cells[key] = made
        return self._cells[key]

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


def _constructs(claim: Claim) -> tuple[str, ...]:
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
    people: frozenset[str],
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
    seen: dict[str, dict[frozenset[str], None]] = {}
    held = {
        **dict.fromkeys(NUMBERS),
        "status": "suppressed",
        "reason": "held back: a few people more or less than in another specification",
    }
    for row in rows:
        people = row["_people"]
        before = seen.setdefault(row["claim"], {})
        told = {}
        if row["status"] == "ok":
            if any(0 < len(people ^ other) < APART for other in before):
                told = held
            else:
                before[people] = None
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
