"""The register of claims and its verdicts: every hypothesis of the essays, judged by one rule, declared before the data.

Own code: honest verdicts are what the project exists for. The register is data (`claims.toml`); this module reads it, tests
each claim's estimands against their margins, adjusts within the primary family, and judges from the published estimates.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fieldwork.constructs.ledger import Wanted
from fieldwork.errors import ClaimError, listed, nearest
from fieldwork.statistics.multiplicity import confidence_p, holm, three_sided

__all__ = ["Claim", "Part", "Register", "Tested", "against_margins", "judge"]

KEY = ("construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item")
Verdict = Literal["supported", "contradicted", "inconclusive", "not_assessable"]
# Equivalence to nothing has a meaning for differences and log ratios; a share is judged against a threshold.
EQUIVALENCE_UNITS = ("scale_point", "log_ratio")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Part(_Strict):
    """One estimand of a claim: a key of the estimates table, and its smallest effect of interest."""

    label: str
    construct_: str = Field(alias="construct")
    measure: str
    statistic: str
    role: str = ""
    role_2: str = ""
    stage: str = ""
    stage_2: str = ""
    segment: str = ""
    item: str = ""
    margin: float = 0.0
    unit: str = "scale_point"
    direction: Literal["above", "below"] = "above"
    judged: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        """Key of its row in the estimates table; a contrast of two stages stands there as the segment `a v b`."""
        between = f"{self.stage} v {self.stage_2}" if self.stage_2 else ""
        stage = "" if between else self.stage
        place = (self.construct_, self.measure, self.statistic, self.role, self.role_2, stage)
        return (*place, between or self.segment, self.item)


class Needs(_Strict):
    """What the design must offer."""

    waves: int = 1
    informants: int = 1


class Claim(_Strict):
    """A hypothesis of the essays. It is printed as a hypothesis, with its verdict, and never as a finding."""

    id: str
    text: str
    source: str
    status: Literal["hypothesis"] = "hypothesis"
    family: Literal["primary", "secondary"] = "secondary"
    planned: bool = True
    estimand: str = ""
    items: tuple[str, ...] = ()
    margin: float | None = None
    unit: str = ""
    direction: Literal["above", "below"] = "above"
    rule: Literal["intersection", "single", "bound", "none"] = "none"
    margins: tuple[float, ...] = ()
    margins_apply_to: str = ""
    needs: Needs = Needs()
    awaits: str = ""
    reading: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def judged(self) -> tuple[Part, ...]:
        """The parts that decide; the others are shown beside them."""
        return tuple(part for part in self.parts if part.judged)


class External(_Strict):
    """A fact from outside the fieldwork; printed with its mark, never as a finding of ours."""

    id: str
    statement: str
    source: str
    status: Literal["confirmed", "mismatch", "unverified", "unsourced"]
    checked: Any
    n: int | None = None
    year: int | None = None
    note: str = ""


class _Head(_Strict):
    version: str
    family_primary: tuple[str, ...] = ()
    alpha: float = 0.05
    title: str = ""


class _File(_Strict):
    register_: _Head = Field(alias="register")
    claim: tuple[Claim, ...]
    external: tuple[External, ...] = ()


@dataclass(frozen=True, slots=True)
class Register:
    """The register of a study.

    Attributes
    ----------
    version : str                       As the file states it.
    digest : str                        SHA-256 of the file.
    alpha : float                       Two-sided level; a claim is tested at half of it on its own side.
    family : tuple of str               Claims of the primary family, declared before the data.
    claims : tuple of Claim
    external : tuple of External
    """

    version: str
    digest: str
    alpha: float
    family: tuple[str, ...]
    claims: tuple[Claim, ...]
    external: tuple[External, ...]

    @classmethod
    def load(cls, path: Path | None) -> Register:
        """Read and check claims.toml; ClaimError names the entry and the field, or says that there is none."""
        if path is None:
            raise ClaimError(
                "the study has no register of claims",
                where="instruments/claims.toml",
                expected='a register, if only [register] version = "1" and one [[claim]] that awaits its chapter',
                got="no such file",
                hint="copy the head of the shipped instruments/claims.toml and write the claims before the data are read",
            )
        try:
            raw = path.read_bytes()
            data = _tupled(tomllib.loads(raw.decode("utf-8")))
            file = _File.model_validate(data)
        except FileNotFoundError as error:
            raise ClaimError(
                "the study has no register of claims", where=str(path.name), expected="claims.toml", got="no such file",
                hint="write one; the shipped instruments/claims.toml shows the form",
            ) from error  # fmt: skip
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ClaimError(
                "the register is not valid TOML", where=path.name, got=str(error), hint="mend the line it names"
            ) from error
        except ValidationError as error:
            raise _explained(error, path, data) from error
        register = cls(
            file.register_.version, hashlib.sha256(raw).hexdigest(), file.register_.alpha, file.register_.family_primary,
            file.claim, file.external,
        )  # fmt: skip
        register._check(path.name)
        return register

    def contrasts(self, construct: str) -> tuple[tuple[str, str, str, str], ...]:
        """Pairs of cells (role, stage, role_2, stage_2) that the claims of a construct want split, each once."""
        found = {
            (p.role, p.stage, p.role_2, p.stage_2): None
            for claim in self.claims
            for p in claim.parts
            if p.construct_ == construct and p.role_2 and p.stage_2
        }
        return tuple(found)

    def wanted(self, construct: str) -> tuple[Wanted, ...]:
        """Rows of the estimates table that the claims of a construct read, each once."""
        found = {
            Wanted(**dict(zip(KEY[1:], part.key[1:], strict=True)), unit=part.unit): None
            for claim in self.claims
            for part in claim.parts
            if part.construct_ == construct
        }
        return tuple(found)

    def _check(self, where: str) -> None:
        ids = [claim.id for claim in self.claims]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ClaimError("a claim is registered twice", where=where, got=listed(twice), hint="give each its own id")
        unknown = [name for name in self.family if name not in ids]
        if unknown:
            raise ClaimError(
                "the primary family names a claim that is not registered", where=f"{where}, [register]",
                expected=listed(ids, limit=40), got=listed(unknown),
                hint=f"did you mean {nearest(unknown[0], ids) or ids[0]}?",
            )  # fmt: skip
        for claim in self.claims:
            if (claim.family == "primary") != (claim.id in self.family):
                raise ClaimError(
                    "a claim and the primary family disagree", where=f"{where}, claim {claim.id}",
                    expected='family = "primary" exactly for the claims in family_primary', got=claim.family,
                    hint="correct the one or the other",
                )  # fmt: skip
            if not claim.awaits and not claim.judged:
                raise ClaimError(
                    "a claim has nothing to be judged by", where=f"{where}, claim {claim.id}",
                    expected='[[claim.parts]], or awaits = "..." saying what is not built yet', got="neither",
                    hint="name the estimand as a key of the estimates table",
                )  # fmt: skip


def _tupled(value: Any) -> Any:  # noqa: ANN401
    """Strict tuples are wanted where TOML has lists."""
    if isinstance(value, dict):
        return {key: _tupled(item) for key, item in value.items()}
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value


def _explained(error: ValidationError, path: Path, data: Mapping[str, Any]) -> ClaimError:
    found = error.errors()
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    place = list(first["loc"])
    entry = ""
    if len(place) > 1 and place[0] in {"claim", "external"} and isinstance(place[1], int):
        entry = str(data[str(place[0])][place[1]].get("id", f"number {place[1] + 1}"))
    field = ".".join(str(step) for step in place[2 if entry else 0 :])
    known = list(Claim.model_fields) + list(Part.model_fields) + list(_Head.model_fields)
    near = nearest(str(place[-1]), known) if first["type"] == "extra_forbidden" else ""
    return ClaimError(
        f"the register has a fault: {first['msg'].lower()}",
        where=f"{path.name}{f', {place[0]} {entry}' if entry else ''}, {field}",
        expected=near or str(first.get("ctx", {}).get("expected", "")),
        got=repr(first.get("input"))[:80],
        hint=f"did you mean {near}?" if near else "correct the field",
    )


@dataclass(frozen=True, slots=True)
class Tested:
    """Claims tested against their margins, before the gate.

    Attributes
    ----------
    estimates : pd.DataFrame    The estimates given, with p_value, p_adjusted and adjustment on rows that decide one claim.
    p_value : dict              (claim, part number) -> p-value of the part against its own margin.
    p_adjusted : dict           claim -> p-value of the claim, adjusted in its family.
    floor : float               Smallest p-value that the replicates can give.
    p_by_margin : dict          (claim, margin) -> adjusted p-value of the claim with that margin.
    equivalence : dict          (claim, part number) -> p-value of equivalence to nothing (two one-sided tests).
    """

    estimates: pd.DataFrame
    p_value: Mapping[tuple[str, int], float]
    p_adjusted: Mapping[str, float]
    floor: float
    p_by_margin: Mapping[tuple[str, float], float]
    equivalence: Mapping[tuple[str, int], float]


def _margin(claim: Claim, part: Part, margin: float | None) -> float:
    """Return the part's margin, or `margin` where the claim's range of margins applies to this part.

    `margins` lists magnitudes: a part whose own margin is negative keeps its sign.
    """
    applies = not claim.margins_apply_to or part.statistic == claim.margins_apply_to
    if margin is None or not applies:
        return part.margin
    return math.copysign(margin, part.margin) if part.margin < 0 else margin


def against_margins(register: Register, estimates: pd.DataFrame, draws: pd.DataFrame) -> Tested:
    """Test each claim's parts: p = share of confidence draws that are not beyond the margin.

    A claim of several parts is an intersection-union test: its p-value is the largest of its parts'. Claims of the primary
    family are adjusted together by Holm with the family's declared size; the others stand alone.

    Parameters
    ----------
    estimates : internal estimates. draws : the key, and `draws`, confidence draws of each row that has them.
    """
    curves = {
        tuple(key): np.asarray(curve, dtype=np.float64)
        for key, curve in zip(draws[list(KEY)].itertuples(index=False, name=None), draws["draws"], strict=True)
    }
    p_own: dict[str, float] = {}
    p_part: dict[tuple[str, int], float] = {}
    p_at: dict[tuple[str, float], float] = {}
    equivalence: dict[tuple[str, int], float] = {}
    for claim in register.claims:
        parts = [(i, part, curves.get(part.key)) for i, part in enumerate(claim.parts) if part.judged]
        if claim.awaits or any(curve is None for _, _, curve in parts):
            continue
        known = [(i, part, curve) for i, part, curve in parts if curve is not None]
        for i, part, curve in known:
            p_part[claim.id, i] = confidence_p(curve, part.margin, direction=part.direction)
        p_own[claim.id] = max(p_part[claim.id, i] for i, _, _ in known)
        for margin in claim.margins:
            p_at[claim.id, margin] = max(
                confidence_p(c, _margin(claim, part, margin), direction=part.direction) for _, part, c in known
            )
        for i, part, curve in known:
            if part.unit in EQUIVALENCE_UNITS and part.margin > 0:
                equivalence[claim.id, i] = max(
                    confidence_p(curve, part.margin, direction="below"), confidence_p(curve, -part.margin)
                )
    adjusted = _adjusted(register, p_own)
    by_margin = {}
    for (name, margin), p in p_at.items():
        by_margin[name, margin] = _adjusted(register, {**p_own, name: p})[name]
    floor = 1.0 / (1 + min((len(curve) for curve in curves.values()), default=1))
    table = _with_p(register, estimates, p_part, adjusted)
    return Tested(table, p_part, adjusted, floor, by_margin, equivalence)


def _adjusted(register: Register, p_values: Mapping[str, float]) -> dict[str, float]:
    primary = {name: p for name, p in p_values.items() if name in register.family}
    return {**p_values, **holm(primary, family_size=len(register.family))}


def _with_p(
    register: Register,
    estimates: pd.DataFrame,
    p_part: Mapping[tuple[str, int], float],
    adjusted: Mapping[str, float],
) -> pd.DataFrame:
    """Write p-values on the rows that decide one claim; a row that two claims share keeps none, and claims.json has both."""
    out = estimates.copy()
    place = {tuple(key): i for i, key in enumerate(out[list(KEY)].itertuples(index=False, name=None))}
    users: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for claim in register.claims:
        for i, part in enumerate(claim.parts):
            if (claim.id, i) in p_part:
                users.setdefault(part.key, []).append((claim.id, i))
    for key, using in users.items():
        row = place.get(key)
        if row is None or len(using) > 1:
            continue
        name, number = using[0]
        out.loc[row, "p_value"] = p_part[name, number]
        out.loc[row, "p_adjusted"] = adjusted[name]
        out.loc[row, "adjustment"] = f"holm, family of {len(register.family)}" if name in register.family else "none"
    return out


def judge(
    register: Register,
    tested: Tested,
    published: pd.DataFrame,
    *,
    waves: int = 1,
    registered: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Judge every registered claim from the published estimates and return the records of claims.json.

    *Supported*: every judged part's whole interval beyond its margin, and the claim's adjusted p-value at most alpha / 2.
    *Contradicted*: some part's whole interval short of its margin, or equivalence to nothing shown at 5% (`p_equivalence`):
    a claim of several parts falls with one of them, and falling is not adjusted for the family. *Inconclusive*: else. *Not
    assessable*: the design lacks the data, the estimate is held back, or its chapter is not built yet.

    The record's estimate is that of the part that binds: the one least able to carry the claim.
    """
    rows = {
        tuple(key): row
        for key, row in zip(
            published[list(KEY)].itertuples(index=False, name=None), published.to_dict("records"), strict=True
        )
    }
    return [_record(register, claim, tested, rows, waves, registered or {}) for claim in register.claims]


def _record(
    register: Register,
    claim: Claim,
    tested: Tested,
    rows: Mapping[tuple[str, ...], Mapping[Any, Any]],
    waves: int,
    registered: Mapping[str, str],
) -> dict[str, Any]:
    amended = bool(registered) and registered.get("hash", "") != register.digest
    record: dict[str, Any] = {
        "id": claim.id, "text": claim.text, "source": claim.source, "status": claim.status, "family": claim.family,
        "planned": claim.planned, "estimand": claim.estimand, "reading": claim.reading, "rule": claim.rule,
        "estimate": None, "conf_low": None, "conf_high": None, "conf_level": None, "unit": claim.unit,
        "margin": claim.margin, "margins_unit": _margins_unit(claim), "direction": claim.direction,
        "verdict": "not_assessable", "verdict_by_margin": {},
        "reason": "", "base": {"n": None, "n_organisations": None}, "parts": [],
        "registered": {**registered, "amended": amended},
    }  # fmt: skip
    blocked = claim.awaits or (
        f"needs {claim.needs.waves} waves; the study has {waves}" if claim.needs.waves > waves else ""
    )
    if blocked:
        return {**record, "reason": blocked}
    parts = [_part(claim, i, part, rows, tested) for i, part in enumerate(claim.parts)]
    record["parts"] = parts
    if claim.rule == "none":
        return {**record, "reason": "described, never judged"}
    judged = [part for part in parts if part["judged"]]
    lacking = [part for part in judged if part["verdict"] == "not_assessable"]
    if lacking:
        return {**record, "reason": f"{lacking[0]['label']}: {lacking[0]['reason']}"}
    bar = register.alpha / 2
    p = tested.p_adjusted[claim.id]
    verdict = _joint([part["verdict"] for part in judged], p, bar)
    weakest = max(judged, key=lambda part: (_weakness(part["verdict"]), part["p_value"]))
    # Where the range of margins is that of one statistic, the headline is of that statistic, so that both can be read together.
    leading = [part for part in judged if claim.margins_apply_to in {"", part["statistic"]}] or judged
    binding = max(leading, key=lambda part: (_weakness(part["verdict"]), part["p_value"]))
    for name in ("estimate", "conf_low", "conf_high", "conf_level", "unit", "margin", "direction"):
        record[name] = binding[name]
    record["base"] = {"n": binding["n"], "n_organisations": binding["n_organisations"]}
    record["verdict"] = verdict
    record["reason"] = _why(
        verdict, weakest, [part["verdict"] for part in judged], p, bar, claim, register, tested.floor
    )
    record["verdict_by_margin"] = _by_margin(claim, judged, tested, verdict, bar)
    return record


def _by_margin(
    claim: Claim, judged: Sequence[Mapping[str, Any]], tested: Tested, verdict: str, bar: float
) -> dict[str, str]:
    """Verdict at each margin of the claim's range; at the declared one it is the verdict itself."""
    declared = [
        part.margin for part in claim.judged if not claim.margins_apply_to or part.statistic == claim.margins_apply_to
    ]
    found = {declared[0]: verdict} if declared else {}
    for margin in claim.margins:
        if any(math.isclose(margin, abs(own)) for own in declared):
            continue
        verdicts = [_verdict(part, _margin(claim, claim.parts[part["number"]], margin), 1.0) for part in judged]
        found[margin] = _joint(verdicts, tested.p_by_margin[claim.id, margin], bar)
    return {_plain(margin): found[margin] for margin in sorted(found)}


def _margins_unit(claim: Claim) -> str:
    """Return the unit of the claim's range of margins: that of the parts which the range applies to."""
    units = [p.unit for p in claim.judged if not claim.margins_apply_to or p.statistic == claim.margins_apply_to]
    return units[0] if units else claim.unit


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _weakness(verdict: str) -> int:
    return ("supported", "inconclusive", "contradicted").index(verdict)


def _part(
    claim: Claim, number: int, part: Part, rows: Mapping[tuple[str, ...], Mapping[Any, Any]], tested: Tested
) -> dict[str, Any]:
    row = rows.get(part.key)
    if row is None:
        raise ClaimError(
            "a claim names an estimand that no chapter made",
            where=f"claims.toml, claim {claim.id}, part {part.label}",
            expected=f"a key of the estimates table: {', '.join(KEY)}",
            got=", ".join(name for name in part.key if name),
            hint=f"nearest statistic: {nearest(part.statistic, {key[2] for key in rows}) or 'none'}; "
            f"nearest measure: {nearest(part.measure, {key[1] for key in rows}) or 'none'}",
        )
    numbers = {name: _number(row[name]) for name in ("estimate", "conf_low", "conf_high", "conf_level")}
    p_value, p_adjusted = tested.p_value.get((claim.id, number)), tested.p_adjusted.get(claim.id)
    equivalence = tested.equivalence.get((claim.id, number))
    numbers["p_value"] = None if p_value is None else round(p_value, 4)
    numbers["p_adjusted"] = None if p_adjusted is None or not part.judged else round(p_adjusted, 4)
    numbers["p_equivalence"] = None if equivalence is None else round(equivalence, 4)
    record: dict[str, Any] = {
        "number": number, "label": part.label, "construct": part.construct_, "measure": part.measure,
        "statistic": part.statistic, "role": part.role, "role_2": part.role_2, "stage": part.key[5],
        "segment": part.key[6], "item": part.key[7], "unit": part.unit, "margin": part.margin,
        "direction": part.direction, "judged": part.judged, **numbers,
        "n": _number(row["n"]), "n_organisations": _number(row["n_organisations"]), "reason": str(row["reason"]),
    }  # fmt: skip
    if row["status"] in {"suppressed", "not_assessable"}:
        for name in ("p_value", "p_adjusted", "p_equivalence"):
            record[name] = None
        return {**record, "verdict": "not_assessable", "reason": record["reason"] or "no interval could be given"}
    if part.judged and p_value is None:
        return {**record, "verdict": "not_assessable", "reason": f"{part.statistic} carries no interval to judge by"}
    return {**record, "verdict": _verdict(record, part.margin, 1.0 if equivalence is None else equivalence)}


def _verdict(part: Mapping[str, Any], margin: float, equivalence_p: float) -> str:
    low = math.nan if part["conf_low"] is None else float(part["conf_low"])
    high = math.nan if part["conf_high"] is None else float(part["conf_high"])
    return three_sided(low, high, margin, direction=part["direction"], equivalence_p=equivalence_p)


def _joint(verdicts: Sequence[str], p_adjusted: float, bar: float) -> str:
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if set(verdicts) == {"supported"} and p_adjusted <= bar else "inconclusive"


def _number(value: Any) -> float | int | None:  # noqa: ANN401
    if pd.isna(value):
        return None
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _why(
    verdict: str,
    binding: Mapping[str, Any],
    verdicts: Sequence[str],
    p: float,
    bar: float,
    claim: Claim,
    register: Register,
    floor: float,
) -> str:
    side = "above" if binding["direction"] == "above" else "below"
    which = f" ({binding['label']})" if len(verdicts) > 1 else ""
    margin = _plain(binding["margin"])
    if verdict == "supported":
        return f"the whole interval lies {side} the margin of {margin}{which}"
    if verdict == "contradicted":
        short = _verdict(binding, binding["margin"], 1.0) == "contradicted"
        which += "; one part is enough" if len(verdicts) > 1 else ""
        if short:
            return f"the whole interval falls short of the margin of {margin}{which}"
        return (
            f"equivalence: the 90% interval lies within {margin} of nothing (p = {binding['p_equivalence']:.4f}){which}"
        )
    family = len(register.family) if claim.id in register.family else 1
    if set(verdicts) == {"supported"} and floor * family > bar:
        needed = math.ceil(family / bar) - 1
        return f"too few replicates to pass the adjustment for a family of {family}: {needed} or more are needed"
    if set(verdicts) == {"supported"}:
        return (
            f"the interval lies {side} the margin of {margin}, "
            f"but not after adjustment for the {claim.family} family (p = {p:.4f}, wanted {bar:g})"
        )
    open_ended = binding["conf_low"] is None and binding["conf_high"] is None
    said = "is open at both ends: the sample says nothing of it" if open_ended else f"contains the margin of {margin}"
    return f"the interval {said}{which}"
