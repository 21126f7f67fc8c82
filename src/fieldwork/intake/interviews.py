"""One interview against itself: routing, required answers, options that clash, and the declared rules of quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldwork.errors import listed
from fieldwork.instrument import BLANK
from fieldwork.intake.faults import delivered_name, listed_faults

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item, QualityRule

__all__ = ["DECLARED", "NOT_SHOWN", "ROUTED_OUT", "clashing", "declared_quality", "named_items", "routed", "unanswered"]

NOT_SHOWN = "not_shown"  # no answer, and the question was not put to this respondent
ROUTED_OUT = "routed_out"  # an answer to a question that was not put; made missing
DECLARED = "nothing to mend: set aside by a rule that was declared before the data were read; "


def routed(
    values: pd.DataFrame, reasons: pd.DataFrame, cells: pd.DataFrame, instrument: Instrument
) -> tuple[pd.DataFrame, pd.DataFrame, list[pd.DataFrame]]:
    """Make answers to questions that were not put missing, and say of blanks whether the question was put."""
    values = values.copy(deep=False)
    reasons = reasons.copy(deep=False)
    faults = []
    for item in _gates_first(instrument):
        put = instrument.asked(item.name, values)
        if item.asked_if is not None:
            put = put.mask(reasons[item.asked_if.item].isin([NOT_SHOWN, ROUTED_OUT]), other=False)
        skipped = put.eq(other=False).fillna(value=False).to_numpy(dtype=bool)
        answered = skipped & values[item.native_columns()].notna().any(axis="columns").to_numpy(dtype=bool)
        reason = reasons[item.name].mask(skipped & (reasons[item.name] == BLANK).to_numpy(), NOT_SHOWN)
        if answered.any():
            here = values.index[answered]
            column = delivered_name(instrument, item.name)
            mend = _routing_in_words(item)
            faults.append(listed_faults(here, column, quoted(cells, here, column), "routing_violated", mend))
            for native in item.native_columns():
                values[native] = values[native].mask(answered)
            reason = reason.mask(answered, ROUTED_OUT)
        reasons[item.name] = reason
    return values, reasons, faults


def _gates_first(instrument: Instrument) -> list[Item]:
    """Return the items that are not put to everybody, each after the item that it routes on."""
    ordered: dict[str, Item] = {}

    def visit(item: Item) -> None:
        if item.name not in ordered:
            if item.asked_if is not None:
                visit(instrument.item(item.asked_if.item))
            ordered[item.name] = item

    for item in instrument.items:
        visit(item)
    return [item for item in ordered.values() if item.asked_of or item.asked_if is not None]


def _routing_in_words(item: Item) -> str:
    parts = [f"asked of {listed(item.asked_of)}"] if item.asked_of else []
    if item.asked_if is not None:
        parts.append(f"asked if {item.asked_if.item} is {listed(map(str, item.asked_if.within))}")
    return f"{item.name} is {' and '.join(parts)}: leave it empty for others"


def unanswered(reasons: pd.DataFrame, values: pd.DataFrame, instrument: Instrument) -> list[pd.DataFrame]:
    """Find rows without an answer to a required item that was put to them."""
    keys = instrument.keys
    own_rule = {keys.respondent, keys.organisation, keys.wave, keys.role, keys.weight}
    faults = []
    for item in instrument.items:
        if not item.required or item.name in own_rule:
            continue
        reason = reasons[item.name]
        absent = (reason.notna() & ~reason.isin([NOT_SHOWN, ROUTED_OUT])).to_numpy(dtype=bool)
        if absent.any():
            told = [f"no answer ({text}); {item.label.lower()} is required" for text in reason[absent].astype("str")]
            faults.append(
                listed_faults(values.index[absent], delivered_name(instrument, item.name), "", "answer_missing", told)
            )
    return faults


def clashing(values: pd.DataFrame, instrument: Instrument) -> list[pd.DataFrame]:
    """Find exclusive options ticked with others, caps exceeded, ranks given twice, and ends before starts."""
    faults = []
    for item in instrument.items:
        if item.kind != "multi" or not (item.exclusive or item.cap):
            continue
        ticks = (values[item.native_columns()] == 1).fillna(value=False).to_numpy(dtype=bool)
        chosen = ticks.sum(axis=1)
        ids = np.array([option.id for option in item.options], dtype=object)
        column = item.column or item.name
        if item.exclusive:
            alone = ticks[:, np.isin(ids, item.exclusive)].any(axis=1)
            wrong = np.flatnonzero(alone & (chosen > 1))
            told = [";".join(ids[ticks[row]]) for row in wrong]
            mend = f"{listed(item.exclusive)} stands alone: untick it or the others"
            faults.append(listed_faults(values.index[wrong], column, told, "exclusive_combined", mend))
        if item.cap:
            wrong = np.flatnonzero(chosen > item.cap)
            told = [str(number) for number in chosen[wrong]]
            mend = f"at most {item.cap} options were to be chosen"
            faults.append(listed_faults(values.index[wrong], column, told, "cap_exceeded", mend))
    for family in instrument.families:
        items = [instrument.item(name) for name in family.members if instrument.item(name).kind == "rank"]
        if len(items) > 1:
            ranks = np.sort(values[[item.name for item in items]].to_numpy(dtype="float64", na_value=np.nan), axis=1)
            wrong = np.flatnonzero((np.diff(ranks, axis=1) == 0).any(axis=1))
            told = [" ".join(f"{rank:g}" for rank in ranks[row] if np.isfinite(rank)) for row in wrong]
            mend = "each rank is given once"
            faults.append(listed_faults(values.index[wrong], family.name, told, "rank_repeated", mend))
    minutes = _minutes(values, instrument)
    wrong = np.flatnonzero(minutes < 0)
    if len(wrong):
        keys = instrument.keys
        told = [f"{start} to {end}" for start, end in values[[keys.start, keys.end]].iloc[wrong].to_numpy()]
        column = delivered_name(instrument, keys.end)
        mend = "correct the times, or leave them empty"
        faults.append(listed_faults(values.index[wrong], column, told, "end_before_start", mend))
    return faults


def _minutes(values: pd.DataFrame, instrument: Instrument) -> np.ndarray:
    """Return the length of each interview in minutes, not-a-number where a time is missing."""
    keys = instrument.keys
    if not (keys.start and keys.end):
        return np.full(len(values), np.nan)
    start, end = (
        pd.to_datetime(values[key], format="ISO8601", utc=True, errors="coerce") for key in (keys.start, keys.end)
    )
    return ((end - start).dt.total_seconds() / 60).to_numpy(dtype="float64")


def quoted(cells: pd.DataFrame, places: pd.Index, column: str) -> list[str]:
    """Return delivered texts of a column for a message; empty where the file lacks the column."""
    return [str(text) for text in cells.loc[places, column]] if column in cells.columns else [""] * len(places)


def declared_quality(values: pd.DataFrame, cells: pd.DataFrame, instrument: Instrument) -> list[pd.DataFrame]:
    """Apply the rules of quality that speak of one interview, in the order of their declaration."""
    out = []
    minutes = _minutes(values, instrument) if any(rule.kind == "min_minutes" for rule in instrument.quality) else None
    for rule in instrument.quality:
        column, value = "", [""]
        if rule.kind == "min_minutes" and minutes is not None:
            wrong = np.flatnonzero((minutes >= 0) & (minutes < (rule.value or 0)))
            column = delivered_name(instrument, instrument.keys.end)
            value = [f"{minutes[row]:.1f} minutes" for row in wrong]
            mend = f"shorter than {rule.value:g} minutes"
        elif rule.kind == "straight_line":
            wrong, items, answer = _straight_lines(values, rule, instrument)
            value = [f"{each:g} throughout" for each in answer]
            mend = f"the same answer to {items} items"
        elif rule.kind == "attention":
            if rule.item not in instrument:
                continue
            item = instrument.item(rule.item)
            expected = item.option(rule.expected)
            right = expected.code if item.dtype == "Int8" else expected.id
            wrong = np.flatnonzero((values[item.name] != right).fillna(value=False).to_numpy(dtype=bool))
            column = delivered_name(instrument, item.name)
            value = quoted(cells, values.index[wrong], column)
            mend = f"the instruction was to answer {expected.label}"
        else:
            continue
        if len(wrong):
            mend = f"{DECLARED}{mend}" if rule.action == "exclude" else mend
            out.append(listed_faults(values.index[wrong], column, value, rule.name, mend))
    return out


def named_items(rule: QualityRule, instrument: Instrument) -> list[str]:
    """Return the native columns of the items and families that a rule names, as far as the wave asks them."""
    families = {family.name for family in instrument.families}
    items = [
        item
        for name in rule.items
        for item in (instrument.family(name) if name in families or name in instrument else ())
    ]
    return [column for item in items for column in item.native_columns()]


def _straight_lines(
    values: pd.DataFrame, rule: QualityRule, instrument: Instrument
) -> tuple[np.ndarray, int, np.ndarray]:
    """Return the rows with one answer throughout, the number of items, and the answer of each such row."""
    items = named_items(rule, instrument)
    given = values[items].to_numpy(dtype="float64", na_value=np.nan)
    answered = np.isfinite(given)
    low = np.where(answered, given, np.inf).min(axis=1, initial=np.inf)
    high = np.where(answered, given, -np.inf).max(axis=1, initial=-np.inf)
    wrong = np.flatnonzero((low == high) & (answered.sum(axis=1) >= rule.min_items))
    return wrong, len(items), low[wrong]
