"""Tests of claims against their margins, and the verdicts that published estimates allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.claims.amendments import Registration
from fieldwork.claims.register import KEY, SECONDARY, Claim, Part, Register
from fieldwork.errors import ClaimError, listed, nearest
from fieldwork.schema import tuples_of
from fieldwork.statistics.multiplicity import benjamini_hochberg, confidence_p, holm, three_sided

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["Survey", "Tested", "Verdict", "against_margins", "judge"]

Verdict = Literal["supported", "contradicted", "inconclusive", "not_assessable"]
Floats = npt.NDArray[np.float64]
ADJUSTMENTS = {"holm": holm, "benjamini_hochberg": benjamini_hochberg}


@dataclass(frozen=True, slots=True)
class Survey:
    """What the fieldwork offers to claims that need more than one wave, several informants, or a certain question.

    Attributes
    ----------
    waves : int                     Waves up to this one.
    informants : tuple of int or None    Respondents of each organisation; (): it names none; None: not told.
    asked : frozenset of str or None     Columns that the wave asks; None: not told.
    """

    waves: int = 1
    informants: tuple[int, ...] | None = None
    asked: frozenset[str] | None = None

    @classmethod
    def of(cls, instrument: Instrument, responses: pd.DataFrame, waves: int) -> Survey:
        """Read what a wave's responses offer; `waves` counts the waves up to it."""
        organisation = instrument.keys.organisation
        sizes = sorted(responses[organisation].value_counts()) if organisation else list[int]()
        names = {name for item in instrument.items for name in (item.name, *item.native_columns())}
        return cls(waves, tuple(int(size) for size in sizes), frozenset(names))

    def lacks(self, claim: Claim) -> str:
        """Say which number of the design a claim lacks; empty where it has what it needs."""
        if claim.needs.waves > self.waves:
            return f"needs {claim.needs.waves} waves; the study has {self.waves}"
        if claim.needs.informants > 1 and self.informants is not None:
            if not self.informants:
                return (
                    f"needs {claim.needs.informants} executives of one organisation; the survey names no organisations"
                )
            if claim.needs.informants > max(self.informants):
                return (
                    f"needs {claim.needs.informants} executives of one organisation; "
                    f"the most that answered in one is {max(self.informants)}"
                )
        return ""

    def unasked(self, claim: Claim) -> list[str]:
        """Return the questions of a claim that the wave does not ask."""
        if self.asked is None:
            return []
        return [name for name in claim.items if not any(fnmatchcase(column, name) for column in self.asked)]


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
    equivalence : dict          (claim, part number, margin) -> p-value of equivalence to nothing (two one-sided tests).
    bounds : dict               (claim, part number) -> lower and upper one-sided bound, each at 1 - alpha, of a bound.
    """

    estimates: pd.DataFrame
    p_value: Mapping[tuple[str, int], float]
    p_adjusted: Mapping[str, float]
    floor: float
    p_by_margin: Mapping[tuple[str, float], float]
    equivalence: Mapping[tuple[str, int, float], float]
    bounds: Mapping[tuple[str, int], tuple[float, float]]


def against_margins(
    register: Register,
    estimates: pd.DataFrame,
    draws: pd.DataFrame,
    *,
    registered: Mapping[str, Any] | None = None,
    published: pd.DataFrame | None = None,
) -> Tested:
    """Test each claim's parts: p = share of confidence draws that are not beyond the margin.

    A claim of several parts is an intersection-union test: its p-value is the largest of its parts'. Claims of a family are
    adjusted together, by Holm or Benjamini-Hochberg, with the family's size as declared or as registered, whichever is
    larger: taking a claim out of a family after the data makes no other claim easier. The others stand alone. A universal
    word (`bound`) is tested one-sided at alpha, the others at alpha / 2, the level of their two-sided intervals; in a family
    the p-value of a bound is therefore counted at half. Its bounds are the ends of the confidence curve at alpha and
    1 - alpha, exact where the curve is that of an exact interval.

    A claim of which the gate holds back a judged part is not tested: its p-value is the largest of its parts', and beside the
    p-values of the shown parts it would be that of the held one. In its family it counts as p = 1, like any other that could
    not be tested.

    Parameters
    ----------
    published : the same rows behind the gate; None: nothing is held back.
    estimates : internal estimates. draws : the key, and `draws`, confidence draws of each row that has them.
    registered : the record of the first run on data of the wave; None or empty where no run made one.
    """
    curves = {
        tuple(key): np.asarray(curve, dtype=np.float64)
        for key, curve in zip(tuples_of(draws[list(KEY)]), draws["draws"], strict=True)
    }
    held = _held(published)
    p_own: dict[str, float] = {}
    p_part: dict[tuple[str, int], float] = {}
    p_at: dict[tuple[str, float], float] = {}
    equivalence: dict[tuple[str, int, float], float] = {}
    bounds: dict[tuple[str, int], tuple[float, float]] = {}
    for claim in register.claims:
        parts = [(i, part, curves.get(part.key)) for i, part in enumerate(claim.parts) if part in claim.judged]
        known = [(i, part, curve) for i, part, curve in parts if curve is not None]
        if claim.awaits or not parts or len(known) < len(parts):
            continue
        shown = [(i, part, curve) for i, part, curve in known if part.key not in held]
        for i, part, curve in shown:
            p_part[claim.id, i] = confidence_p(curve, part.margin, direction=part.direction)
            if claim.rule == "bound":
                bounds[claim.id, i] = _bounds(curve, register.alpha)
        if len(shown) == len(parts):
            p_own[claim.id] = max(p_part[claim.id, i] for i, _, _ in shown)
            p_at |= {(claim.id, margin): _p_at(claim, shown, margin) for margin in claim.margins}
        for i, part, curve in shown:
            for margin in {part.margin, *(_margin(claim, part, m) for m in claim.margins)}:
                p = _equivalence(curve, part, margin)
                if p is not None:
                    equivalence[claim.id, i, margin] = p
    sizes = _sizes(register, Registration.read(registered))
    adjusted = _adjusted(register, p_own, sizes)
    by_margin = {}
    for (name, margin), p in p_at.items():
        by_margin[name, margin] = _adjusted(register, {**p_own, name: p}, sizes)[name]
    floor = 1.0 / (1 + min((len(curve) for curve in curves.values()), default=1))
    table = _with_p(register, estimates, p_part, adjusted, sizes)
    return Tested(table, p_part, adjusted, floor, by_margin, equivalence, bounds)


def _p_at(claim: Claim, parts: Sequence[tuple[int, Part, Floats]], margin: float) -> float:
    """P-value of a claim at another margin of its range: the largest of its parts'."""
    return max(confidence_p(c, _margin(claim, part, margin), direction=part.direction) for _, part, c in parts)


def _held(published: pd.DataFrame | None) -> frozenset[tuple[str, ...]]:
    """Return the keys of the rows that the gate holds back."""
    if published is None:
        return frozenset()
    rows = published.loc[published["status"] == "suppressed", list(KEY)]
    return frozenset(tuples_of(rows))


def _bounds(curve: Floats, alpha: float) -> tuple[float, float]:
    """Return the ends of a confidence curve, each one-sided at 1 - alpha; an undefined draw counts against either end."""
    low = np.quantile(np.where(np.isnan(curve), -np.inf, curve), alpha, method="lower")
    high = np.quantile(np.where(np.isnan(curve), np.inf, curve), 1.0 - alpha, method="higher")
    return float(low), float(high)


def _equivalence(curve: Floats, part: Part, margin: float) -> float | None:
    """P-value of "no nearer to nothing than the margin", on both sides of nothing; None where that has no meaning.

    It has one for estimands with a nil value, whose margin lies on the claimed side of it: an effect that is claimed to be
    large is contradicted where it is shown to be next to nothing.
    """
    nil = part.nil
    if nil is None or not (margin > nil if part.direction == "above" else margin < nil):
        return None
    if part.unit == "ratio" and margin <= 0:
        return None
    other = 1.0 / margin if part.unit == "ratio" else -margin
    return max(confidence_p(curve, max(margin, other), direction="below"), confidence_p(curve, min(margin, other)))


def _margin(claim: Claim, part: Part, margin: float | None) -> float:
    """Return the part's margin, or `margin` where the claim's range of margins applies to this part.

    `margins` lists magnitudes: a part whose own margin is negative keeps its sign.
    """
    applies = not claim.margins_apply_to or part.statistic == claim.margins_apply_to
    if margin is None or not applies:
        return part.margin
    return math.copysign(margin, part.margin) if part.margin < 0 else margin


def _sizes(register: Register, registration: Registration) -> dict[str, int]:
    """Size of each family: members as declared now and as registered, so that none gets smaller after the data."""
    return {name: len({*family.members, *registration.family(name)}) for name, family in register.families.items()}


def _counted(register: Register, claim: str) -> float:
    """Return how much of a one-sided p-value counts against alpha / 2: half of a bound's, which is tested at alpha."""
    return 0.5 if next(c for c in register.claims if c.id == claim).rule == "bound" else 1.0


def _adjusted(register: Register, p_values: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Adjust the claims of each family for one another; a claim of no family keeps its p-value."""
    out = dict(p_values)
    for name, family in register.families.items():
        share = {member: _counted(register, member) for member in family.members if member in p_values}
        counted = {member: p_values[member] * share[member] for member in share}
        made = ADJUSTMENTS[family.method](counted, family_size=sizes[name])
        out.update({member: min(1.0, p / share[member]) for member, p in made.items()})
    return out


def _bar(register: Register, claim: Claim) -> float:
    """One-sided level at which a claim is tested: that of the two-sided interval, or alpha for a bound."""
    return register.alpha if claim.rule == "bound" else register.alpha / 2


def _with_p(
    register: Register,
    estimates: pd.DataFrame,
    p_part: Mapping[tuple[str, int], float],
    adjusted: Mapping[str, float],
    sizes: Mapping[str, int],
) -> pd.DataFrame:
    """Write p-values on the rows that decide one claim.

    A row that two claims share keeps none, and claims.json has both; a row that its chapter adjusted in a grid of its own
    keeps what the chapter wrote.
    """
    out = estimates.copy()
    place = {tuple(key): i for i, key in enumerate(tuples_of(out[list(KEY)]))}
    users: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for claim in register.claims:
        for i, part in enumerate(claim.parts):
            if (claim.id, i) in p_part:
                users.setdefault(part.key, []).append((claim.id, i))
    for key, using in users.items():
        row = place.get(key)
        if row is None or len(using) > 1 or out.loc[row, "adjustment"]:
            continue
        name, number = using[0]
        out.loc[row, "p_value"] = p_part[name, number]
        if name in adjusted:
            out.loc[row, "p_adjusted"] = adjusted[name]
            out.loc[row, "adjustment"] = _adjustment(register, name, sizes)
    return out


def _adjustment(register: Register, claim: str, sizes: Mapping[str, int]) -> str:
    for name, family in register.families.items():
        if claim in family.members:
            return f"{family.method}, family of {sizes[name]}"
    return "none"


def judge(
    register: Register,
    tested: Tested,
    published: pd.DataFrame,
    *,
    survey: Survey | None = None,
    registered: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Judge every registered claim from the published estimates and return the records of claims.json.

    *Supported*: every judged part's whole interval beyond its margin, and the claim's adjusted p-value at most alpha / 2.
    *Contradicted*: some part's whole interval short of its margin, or equivalence to nothing shown at 5% (`p_equivalence`):
    a claim of several parts falls with one of them, and falling is not adjusted for the family. *Inconclusive*: else. *Not
    assessable*: the design lacks the data, the estimate is held back, or its chapter is not built yet.

    A universal word (rule `bound`) is judged by a one-sided bound at 1 - alpha instead of the interval, and its p-value by
    alpha; the bound may touch the margin. Rule `none` is described and gets no verdict.

    The record's estimate is that of the part that binds: the one least able to carry the claim. What was changed in the
    register after `registered` is listed under `amendments`; a claim that was added then is exploratory, whatever it says of
    itself; one that was taken out is listed as withdrawn.

    Parameters
    ----------
    survey : what the design offers; None: one wave, and nothing known of informants and questions.
    registered : the record of the first run on data of the wave; None or empty where no run made one.
    """
    judging = _Judging(register, tested, published, survey or Survey(), Registration.read(registered))
    records = [judging.record(claim) for claim in register.claims]
    return records + [
        judging.withdrawn(name, content) for name, content in judging.registration.withdrawn(register).items()
    ]


class _Judging:
    """What the verdicts of one wave are read from."""

    def __init__(
        self, register: Register, tested: Tested, published: pd.DataFrame, survey: Survey, registration: Registration
    ) -> None:
        self.register, self.tested, self.survey, self.registration = register, tested, survey, registration
        self.rows: dict[tuple[str, ...], Mapping[Any, Any]] = {
            tuple(key): row
            for key, row in zip(tuples_of(published[list(KEY)]), published.to_dict("records"), strict=True)
        }
        self.sizes = _sizes(register, registration)
        changed = bool(registration.hash) and registration.hash != register.digest
        self.stamp = {
            **({"hash": registration.hash, "time": registration.time} if registration.hash else {}),
            "amended": changed,
        }

    def record(self, claim: Claim) -> dict[str, Any]:
        """Judge one claim."""
        record = self._blank(claim)
        blocked = claim.awaits or self.survey.lacks(claim)
        if blocked:
            return {**record, "reason": blocked}
        parts = [self._part(claim, i, part) for i, part in enumerate(claim.parts)]
        record["parts"] = parts
        judged = [part for part in parts if part["judged"]]
        if claim.rule == "none":
            told = next((str(part["reason"]) for part in parts if part["reason"]), "")
            return {**record, "reason": f"described, never judged{f': {told}' if told else ''}"}
        lacking = [part for part in judged if part["verdict"] == "not_assessable"]
        if lacking:
            return {**record, "reason": f"{lacking[0]['label']}: {lacking[0]['reason']}"}
        p = self.tested.p_adjusted[claim.id]
        verdict = _joint([part["verdict"] for part in judged], p, _bar(self.register, claim))
        weakest = max(judged, key=lambda part: (_weakness(part["verdict"]), part["p_value"]))
        # Where the range of margins is that of one statistic, the headline is of that statistic too.
        leading = [part for part in judged if claim.margins_apply_to in {"", part["statistic"]}] or judged
        # An estimate that does not exist, as a ratio to nothing, decides nothing: the headline is then the part that does.
        leading = [part for part in leading if part["estimate"] is not None] or [weakest]
        binding = max(leading, key=lambda part: (_weakness(part["verdict"]), part["p_value"]))
        for name in ("estimate", "conf_low", "conf_high", "conf_level", "unit", "margin", "direction"):
            record[name] = binding[name]
        record["base"] = {"n": binding["n"], "n_organisations": binding["n_organisations"]}
        record["verdict"], record["part"] = verdict, binding["label"]
        record["reason"] = self._why(claim, verdict, weakest, [part["verdict"] for part in judged], p)
        record["verdict_by_margin"] = self._by_margin(claim, judged, verdict)
        return record

    def withdrawn(self, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record of a claim that was registered and stands in the register no more."""
        kept = {key: content[key] for key in ("text", "source", "family", "estimand") if key in content}
        claim = Claim(id=name, **{"text": "", "source": "", **kept, "family": SECONDARY})
        record = {**self._blank(claim), "family": kept.get("family", SECONDARY)}
        why = "withdrawn from the register after data of this wave had been read"
        change = {"field": "the claim", "before": "registered", "after": "withdrawn", "decides": True}
        return {**record, "planned": bool(content.get("planned", True)), "reason": why, "amendments": [change]}

    def _blank(self, claim: Claim) -> dict[str, Any]:
        planned = self.registration.planned(claim)
        added = self.registration.claims is not None and claim.id not in self.registration.claims
        known = claim.id in self.register.content["claims"]
        amendments = self.registration.amendments(claim, self.register) if known else []
        return {
            "id": claim.id, "text": claim.text, "source": claim.source, "status": claim.status, "family": claim.family,
            "planned": planned, "added_after_data": added and known, "estimand": claim.estimand,
            "reading": claim.reading, "rule": claim.rule,
            "estimate": None, "conf_low": None, "conf_high": None, "conf_level": None, "unit": claim.unit,
            "margin": claim.margin, "margins_unit": _margins_unit(claim), "direction": claim.direction,
            "verdict": "not_assessable", "verdict_by_margin": {}, "part": "",
            "reason": "", "base": {"n": None, "n_organisations": None}, "parts": [],
            "registered": self.stamp, "amendments": [amendment.as_dict() for amendment in amendments],
        }  # fmt: skip

    def _by_margin(self, claim: Claim, judged: Sequence[Mapping[str, Any]], verdict: str) -> dict[str, str]:
        """Verdict at each margin of the claim's range; at the declared one it is the verdict itself."""
        declared = [
            p.margin for p in claim.judged if not claim.margins_apply_to or p.statistic == claim.margins_apply_to
        ]
        found = {abs(declared[0]): verdict} if declared else {}
        for margin in claim.margins:
            if any(math.isclose(margin, abs(own)) for own in declared):
                continue
            verdicts = []
            for part in judged:
                at = _margin(claim, claim.parts[part["number"]], margin)
                equivalence = self.tested.equivalence.get((claim.id, part["number"], at), 1.0)
                verdicts.append(_verdict(part, at, equivalence, bound=claim.rule == "bound"))
            found[margin] = _joint(verdicts, self.tested.p_by_margin[claim.id, margin], _bar(self.register, claim))
        return {_plain(margin): found[margin] for margin in sorted(found)}

    def _part(self, claim: Claim, number: int, part: Part) -> dict[str, Any]:
        row = self._row(claim, part)
        judged = part in claim.judged
        numbers = {name: _number(row[name]) for name in ("estimate", "conf_low", "conf_high", "conf_level")}
        p_value, p_adjusted = self.tested.p_value.get((claim.id, number)), self.tested.p_adjusted.get(claim.id)
        equivalence = self.tested.equivalence.get((claim.id, number, part.margin))
        numbers["p_value"] = None if p_value is None else round(p_value, 4)
        numbers["p_adjusted"] = None if p_adjusted is None or not judged else round(p_adjusted, 4)
        numbers["p_equivalence"] = None if equivalence is None else round(equivalence, 4)
        record: dict[str, Any] = {
            "number": number, "label": part.label, "construct": part.construct_, "measure": part.measure,
            "statistic": part.statistic, "role": part.role, "role_2": part.role_2, "stage": part.key[5],
            "segment": part.key[6], "item": part.key[7], "unit": part.unit, "margin": part.margin,
            "direction": part.direction, "judged": judged, "bound": claim.rule == "bound" and judged, **numbers,
            "n": _number(row["n"]), "n_organisations": _number(row["n_organisations"]), "reason": str(row["reason"]),
        }  # fmt: skip
        if row["status"] in {"suppressed", "not_assessable"}:
            for name in ("p_value", "p_adjusted", "p_equivalence"):
                record[name] = None
            return {**record, "verdict": "not_assessable", "reason": record["reason"] or "no interval could be given"}
        if judged and p_value is None:
            return {
                **record,
                "verdict": "not_assessable",
                "reason": f"{part.statistic} carries no interval to judge by",
            }
        if record["bound"]:
            low, high = self.tested.bounds[claim.id, number]
            record |= {"conf_low": _published(low), "conf_high": _published(high)}
            record["conf_level"] = round(1.0 - 2.0 * self.register.alpha, 6)
        verdict = _verdict(record, part.margin, 1.0 if equivalence is None else equivalence, bound=record["bound"])
        return {**record, "verdict": verdict}

    def _row(self, claim: Claim, part: Part) -> Mapping[Any, Any]:
        """Return the published row of a part, or the row by which its construct refused.

        A construct refuses in one row what it cannot estimate at all: for the same measure and statistic, without a
        measure, or with nothing but refusals. Where it did estimate, a key that is not there is a fault of the register.
        """
        if part.key in self.rows:
            return self.rows[part.key]
        of_construct = [row for key, row in self.rows.items() if key[0] == part.construct_]
        refused = [row for row in of_construct if row["status"] == "not_assessable"]
        for match in (
            [r for r in refused if (r["measure"], r["statistic"]) == (part.measure, part.statistic)],
            [r for r in refused if not r["measure"] and r["statistic"] == part.statistic],
            [r for r in refused if not r["measure"]],
            refused if len(refused) == len(of_construct) else [],
        ):
            if match:
                return match[0]
        if unasked := self.survey.unasked(claim):
            empty = dict.fromkeys(("estimate", "conf_low", "conf_high", "conf_level", "n", "n_organisations"), pd.NA)
            return {**empty, "status": "not_assessable", "reason": f"the wave does not ask {listed(unasked)}"}
        raise ClaimError(
            "a claim names an estimand that no chapter made",
            where=f"claims.toml, claim {claim.id}, part {part.label}",
            expected=f"a key of the estimates table: {', '.join(KEY)}",
            got=", ".join(name for name in part.key if name),
            hint=f"nearest statistic: {nearest(part.statistic, {key[2] for key in self.rows}) or 'none'}; "
            f"nearest measure: {nearest(part.measure, {key[1] for key in self.rows}) or 'none'}",
        )

    def _why(self, claim: Claim, verdict: str, binding: Mapping[str, Any], verdicts: Sequence[str], p: float) -> str:
        bound = claim.rule == "bound"
        which = f" ({binding['label']})" if len(verdicts) > 1 else ""
        margin = _plain(binding["margin"])
        if verdict == "supported":
            side = "above" if binding["direction"] == "above" else "below"
            whole = f"the {_side(binding)} bound lies at or {side}" if bound else f"the whole interval lies {side}"
            return f"{whole} the margin of {margin}{which}"
        if verdict == "contradicted":
            which += "; one part is enough" if len(verdicts) > 1 else ""
            return f"{_fallen(binding, bound=bound)}{which}"
        if set(verdicts) == {"supported"}:
            return self._unadjusted(claim, binding, p) + which
        if binding["conf_low"] is None and binding["conf_high"] is None:
            return f"the interval is open at both ends: the sample says nothing of it{which}"
        return f"the {'bounds hold' if bound else 'interval contains'} the margin of {margin}{which}"

    def _unadjusted(self, claim: Claim, binding: Mapping[str, Any], p: float) -> str:
        """Say why a claim whose parts all lie beyond their margins is not supported: its p-value."""
        bound, bar = claim.rule == "bound", _bar(self.register, claim)
        size = next((self.sizes[name] for name, f in self.register.families.items() if claim.id in f.members), 1)
        if self.tested.floor * size > bar:
            needed = math.ceil(size / bar) - 1
            return f"too few replicates to pass the adjustment for a family of {size}: {needed} or more are needed"
        side = "above" if binding["direction"] == "above" else "below"
        lies = f"the {'bound' if bound else 'interval'} lies {side} the margin of {_plain(binding['margin'])}"
        if self.register.family_of(claim.id) is not None:
            return f"{lies}, but not after adjustment for the {claim.family} family (p = {p:.4f}, wanted {bar:g})"
        return f"{lies}, but its one-sided p-value does not reach the level (p = {p:.4f}, wanted {bar:g})"


def _fallen(part: Mapping[str, Any], *, bound: bool) -> str:
    """Say how a part contradicts its claim: it falls short, or is next to nothing."""
    margin = _plain(part["margin"])
    if _verdict(part, part["margin"], 1.0, bound=bound) == "contradicted":
        what = f"even the {_side(part, other=True)} bound" if bound else "the whole interval"
        return f"{what} falls short of the margin of {margin}"
    within = f"within {margin} of nothing" if part["unit"] != "ratio" else f"nearer to 1 than {margin}"
    return f"equivalence: the 90% interval lies {within} (p = {part['p_equivalence']:.4f})"


def _side(part: Mapping[str, Any], *, other: bool = False) -> str:
    return "lower" if (part["direction"] == "above") != other else "upper"


def _margins_unit(claim: Claim) -> str:
    """Return the unit of the claim's range of margins: that of the parts which the range applies to."""
    units = [p.unit for p in claim.judged if not claim.margins_apply_to or p.statistic == claim.margins_apply_to]
    return units[0] if units else claim.unit


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _weakness(verdict: str) -> int:
    return ("supported", "inconclusive", "contradicted").index(verdict)


def _verdict(part: Mapping[str, Any], margin: float, equivalence_p: float, *, bound: bool) -> str:
    low = math.nan if part["conf_low"] is None else float(part["conf_low"])
    high = math.nan if part["conf_high"] is None else float(part["conf_high"])
    # "At least 80%" and "at most 5%" are reached where the bound touches the margin; the p-value, unrounded, must agree.
    touched = low >= margin if part["direction"] == "above" else high <= margin
    if bound and touched:
        return "supported"
    return three_sided(low, high, margin, direction=part["direction"], equivalence_p=equivalence_p)


def _joint(verdicts: Sequence[str], p_adjusted: float, bar: float) -> str:
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if set(verdicts) == {"supported"} and p_adjusted <= bar else "inconclusive"


def _number(value: Any) -> float | int | None:  # noqa: ANN401
    if pd.isna(value):
        return None
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _published(value: float) -> float | None:
    """Round an end to publication precision, open where it is infinite."""
    return round(value, 2) + 0.0 if math.isfinite(value) else None
