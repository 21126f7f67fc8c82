"""Every primary claim judged again under every specification, and the table of what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fieldwork import schema
from fieldwork.claims import Claim, Part, Register, Survey, against_margins, judge
from fieldwork.constructs.ledger import Estimates
from fieldwork.disclosure import Policy, publish
from fieldwork.multiverse.choices import CHOICES, Declaration, Specification
from fieldwork.multiverse.designs import (
    Bits,
    Evidence,
    constructs_of,
    each_once,
    judged_again,
    keys_of,
    or_refusals,
    sample_of,
)

__all__ = ["Universe", "agreement", "explore"]

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
    evidence: Evidence,
    declaration: Declaration,
    survey: Survey,
    policy: Policy,
    *,
    wave: str,
    registered: Mapping[str, Any] | None = None,
    released: pd.DataFrame | None = None,
) -> Universe:
    """Judge every primary claim under every specification that can change it.

    In each specification all primary claims are judged at once, with the adjustment of their family.

    Behind the gate: numbers of a specification are shown where the main analysis shows the estimate, where its own base
    allows it, and where the people behind it and behind every other specification shown are the same, or differ by ten or
    more: else the answers of a few would be the difference. The verdict, one of four words, is shown all the same.

    Parameters
    ----------
    evidence : estimates of all parts of the specifications. survey : what the design offers. policy : thresholds of the gate.
    registered : the record of the first run on data of the wave, for the size of the family.
    released : what earlier releases of the wave have shown and held back, for the gate.
    """
    judged, left_out = judged_again(register, survey)
    subset = replace(register, claims=judged)
    found = _Found(evidence)
    applies = {claim.id: found.applies(claim) for claim in judged}
    rows: list[dict[str, Any]] = []
    curve: dict[str, str] = {}
    for number, specification in enumerate(declaration.specifications(), start=1):
        mine = [claim for claim in judged if specification == specification.only(applies[claim.id])]
        if not mine:
            continue
        joined = each_once(found.of([(claim, specification.only(applies[claim.id])) for claim in judged]))
        tested = against_margins(subset, joined.estimates, joined.draws, registered=registered)
        published = _hidden(publish(tested.estimates, policy, joined.bases, released), found.shown)
        records = {record["id"]: record for record in judge(subset, tested, published, survey=survey)}
        for claim in mine:
            label = curve.setdefault(claim.id, records[claim.id]["part"] or claim.judged[0].label)
            part = next(part for part in claim.parts if part.label == label)
            people = found.people(claim, part, specification)
            rows += _rows(records[claim.id], claim, part, people, specification, number, wave, declaration)
    told = {name: tuple(choice for choice in CHOICES if choice in choices) for name, choices in applies.items()}
    return Universe(_apart(rows), told, left_out, declaration)


class _Found:
    """Looks up what the evidence says of a claim under a specification."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        tables = (evidence.estimates, evidence.draws, evidence.bases)
        self._rows = [table.groupby(["constructs", "specification"], sort=False).indices for table in tables]
        self._keys = [keys_of(table) for table in tables]
        self._refused = (evidence.estimates["status"] == "not_assessable").tolist()
        people = evidence.people
        longest = max((len(bits) for bits in people["people"]), default=0)
        self._people = {
            (claim, part, specification): np.frombuffer(bits.ljust(longest, b"\0"), dtype=np.uint8)
            for claim, part, specification, bits in people.itertuples(index=False)
        }
        self.shown = set(schema.tuples_of(evidence.shown))

    def applies(self, claim: Claim) -> frozenset[str]:
        """Name the choices that can change a claim."""
        told = self._evidence.applies
        return frozenset(told.loc[told["claim"] == claim.id, "choice"])

    def of(self, wanted: Sequence[tuple[Claim, Specification]]) -> Estimates:
        """Return the rows of claims' parts, each claim under a specification, in their order.

        Where one of a claim's rows is not there, those by which its constructs refused stand for it.
        """
        places: list[list[int]] = [[], [], []]
        for claim, specification in wanted:
            key = ("+".join(constructs_of(claim)), specification.name)
            there = [list(at.get(key, ())) for at in self._rows]
            keys = or_refusals(
                {part.key for part in claim.parts}, [(self._keys[0][at], self._refused[at]) for at in there[0]]
            )
            for place, own, known in zip(places, there, self._keys, strict=True):
                place += [at for at in own if known[at] in keys]
        tables = (self._evidence.estimates, self._evidence.draws, self._evidence.bases)
        estimates, draws, bases = (
            table.iloc[place, 2:].reset_index(drop=True) for table, place in zip(tables, places, strict=True)
        )
        return Estimates(schema.conform(estimates, schema.ESTIMATES), draws, schema.conform(bases, schema.BASES))

    def people(self, claim: Claim, part: Part, specification: Specification) -> Bits:
        """Tell who is behind a part under a specification, one bit a person; nobody where there is no sample."""
        return self._people.get((claim.id, part.label, sample_of(specification).name), np.zeros(0, dtype=np.uint8))


def _hidden(published: pd.DataFrame, shown: set[tuple[str, ...]]) -> pd.DataFrame:
    """Hold back what the main analysis does not show."""
    out = published.copy()
    hide = (
        np.array([key not in shown for key in keys_of(out)], dtype=bool)
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
