"""Words for readers: verdicts, rules of cleaning, units, kinds of question."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fieldwork.tables import VERDICTS, base_words, estimate_words, quantity

__all__ = [
    "CHOICES",
    "KINDS",
    "MEANINGS",
    "RULES",
    "VERDICTS",
    "base_words",
    "construct",
    "counted",
    "estimate_words",
    "family",
    "kind_of",
    "margin",
    "probability",
    "rule",
    "said",
    "status_of",
    "tally",
]

MEANINGS = {
    "supported": "the whole interval lies beyond the margin, in the claimed direction",
    "contradicted": "the whole interval falls short of the margin, or what is claimed is shown to be next to nothing",
    "inconclusive": "the interval contains the margin: the data say neither yes nor no",
    "not_assessable": "the survey lacks what the question needs, such as a second wave or a large enough base",
}
RULES = {
    "single": "one estimate decides: its whole interval must lie beyond the margin",
    "intersection": "every judged part must lie beyond its margin",
    "bound": "a universal word, tested by the end of the interval",
    "none": "described, never judged",
}
KINDS = {
    "identifier": "key",
    "date": "date",
    "single": "one answer",
    "ordinal": "scale",
    "multi": "several answers",
    "rank": "rank",
    "number": "number",
    "text": "open text",
    "flag": "yes or no",
}
CHOICES = {
    "weights": "weights",
    "lens": "lens",
    "exclusions": "excluded rows",
    "stage": "meaning of stage",
    "missing": "missing answers",
}
_RULES = {
    "other_wave": "belongs to another wave",
    "short_row": "row has too few cells",
    "long_row": "row has too many cells",
    "resp_id_missing": "respondent has no key",
    "duplicate_respondent": "respondent delivered more than once",
    "role_missing": "role not given",
    "role_unknown": "role is none of the instrument's",
    "stage_out_of_range": "stage is none of the instrument's",
    "value_unknown": "answer is none of the item's",
    "value_out_of_range": "answer lies outside the item's range",
    "exclusive_combined": "an answer that stands alone was combined with others",
    "speeder": "interview too short to have been read",
    "straight_liner": "the same answer throughout",
    "attention_failed": "attention question failed",
    "cap_exceeded": "more answers ticked than allowed",
    "routing_violated": "a question was answered that should not have been put",
}


def family(name: str) -> str:
    """Return what readers call a family of tests; a claim of the secondary family is adjusted for no other.

    >>> family("primary"), family("secondary"), family("screen_2")
    ('primary family', 'secondary family', 'family screen 2')
    """
    return f"{name} family" if name in {"primary", "secondary"} else f"family {name.replace('_', ' ')}"


def kind_of(claim: Mapping[str, Any], noun: str = "") -> str:
    """Tell whether a claim was planned, and whether it was added or changed after the data were read.

    >>> kind_of({"planned": True}), kind_of({"planned": False, "added_after_data": True}, "hypothesis")
    ('Planned', 'Exploratory hypothesis, added after the data were read')
    >>> kind_of({"planned": True, "amendments": [{"field": "margin", "decides": True}]})
    'Planned, amended after the data were read'
    """
    kind = f"{'Planned' if claim.get('planned') else 'Exploratory'} {noun}".strip()
    if claim.get("added_after_data"):
        return f"{kind}, added after the data were read"
    amended = any(amendment.get("decides") for amendment in claim.get("amendments") or ())
    return f"{kind}, amended after the data were read" if amended else kind


def rule(name: str) -> str:
    """Return a rule of cleaning in words.

    >>> rule("role_unknown"), rule("late_answer")
    ("role is none of the instrument's", 'late answer')
    """
    return _RULES.get(name) or name.replace("_", " ")


_CONSTRUCTS = {
    "adoption_gradient": "Organisational Adoption Gradient",
    "role_shift": "Role Shift Index",
    "lead_lag": "Role Lead-Lag Ranking",
    "alignment_map": "Role Alignment Map",
    "influence": "Role Influence Index",
    "sample": "Sample and measurement",
}


def construct(name: str) -> str:
    """Return what readers call a construct.

    >>> construct("role_shift"), construct("perception_gap")
    ('Role Shift Index', 'Perception gap')
    """
    return _CONSTRUCTS.get(name) or name.replace("_", " ").capitalize()


def counted(number: float | None, one: str, many: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "claim", "claims"), counted(1250, "claim", "claims")
    ('1 claim', '1,250 claims')
    """
    return f"{number:,.0f} {one if number == 1 else many}" if number is not None else ""


def margin(record: Mapping[str, Any]) -> str:
    """Return the margin that decides, in its unit.

    >>> margin({"margin": 0.5, "unit": "scale_point"}), margin({"margin": 0.1, "unit": "proportion"})
    ('0.50', '10%')
    """
    return quantity(record.get("margin"), str(record.get("unit") or ""))


def margin_of(margin: str, unit: str) -> str:
    """Return a margin of a claim's range as readers think of it: a log ratio as the ratio, a share in per cent.

    >>> margin_of("0.2231", "log_ratio"), margin_of("0.5", "proportion"), margin_of("0.5", "scale_point")
    ('ratio of 1.25', '50%', '0.5')
    """
    if unit == "log_ratio":
        return f"ratio of {math.exp(float(margin)):.2f}"
    return f"{100 * float(margin):.0f}%" if unit == "proportion" else margin


def probability(value: float | None) -> str:
    """Return a p-value.

    >>> probability(0.00004), probability(0.0312), probability(None)
    ('under 0.001', '0.031', '')
    """
    if value is None or pd.isna(value):
        return ""
    return "under 0.001" if value < 0.001 else f"{value:.3f}"


def said(value: object) -> str:
    """Return a value of the register as it is printed: an empty text says so, a list is one line, a table its fields.

    >>> said(0.5), said(""), said(["H1", "H2"]), said(True), said({"waves": 3})
    ('0.5', 'empty', 'H1, H2', 'yes', 'waves 3')
    """
    if value is None or value in ("", [], {}):
        return "empty" if value is not None else "not there"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {said(entry)}" for name, entry in value.items() if entry not in ("", None))
    return ", ".join(said(entry) for entry in value) if isinstance(value, list) else str(value)


def status_of(record: Mapping[str, Any]) -> str:
    """Return what a record of findings.json is, in one word.

    >>> status_of({"status": "finding"}), status_of({"status": "hypothesis"})
    ('finding', 'hypothesis')
    """
    return str(record["status"])


def tally(verdicts: list[str]) -> list[tuple[str, str, int]]:
    """Return code, words and count of each verdict, all four of them, in one order."""
    return [(code, words, verdicts.count(code)) for code, words in VERDICTS.items()]
