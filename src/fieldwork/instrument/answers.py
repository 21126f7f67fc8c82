"""Reading delivered texts as answers: one text at a time, or a column of a million.

A reading has three parts: a value, or the reason why there is none, or a fault. They exclude one another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

__all__ = [
    "BLANK",
    "NO",
    "YES",
    "Reading",
    "Resolved",
    "ResolvedMulti",
    "fold",
    "plain_dates",
    "plain_numbers",
    "read_column",
    "read_date",
    "read_number",
    "read_quarter",
    "read_rest",
    "whole",
]

BLANK = "blank"  # the reason of an empty cell, until routing tells whether the item was shown at all

YES = ("yes", "true", "checked", "selected", "ticked")
NO = ("no", "false", "unchecked", "not selected", "unticked")

# Word processors put typographic quotes and dashes where the questionnaire has plain ones.
_PLAIN = str.maketrans(
    {
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{NON-BREAKING HYPHEN}": "-",
        "\N{HYPHEN}": "-",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{MINUS SIGN}": "-",
    }
)
_WHOLE = re.compile(r"([+-]?\d+)(?:\.0*)?", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII)
_LAST_DAY = "9999-12-31"
_QUARTER = re.compile(r"(?P<y>\d{4})\s?-?/?\s?q(?P<q>[1-4])|q(?P<q2>[1-4])[\s/-]*(?P<y2>\d{4})", re.ASCII)


class Reading(NamedTuple):
    """What one delivered text means.

    Attributes
    ----------
    value : str, int, float or None   The answer, None where there is none.
    reason : str                      Why it is missing (`blank`, or the id of a missing code); empty otherwise.
    fault : str                       `unknown`, or `out_of_range`: a number that is no code, a day that is not allowed.
    """

    value: str | int | float | None
    reason: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """One delivered column, read.

    Attributes
    ----------
    value : pd.Series            Answers in the item's native type; missing where there is none.
    missing_reason : pd.Series   string: `blank` or the id of a missing code; missing where there is an answer or fault.
    unknown : pd.Series          bool: the text is none of the item's answers.
    out_of_range : pd.Series     bool: unknown, and a number or a day; a part of `unknown`.
    """

    value: pd.Series
    missing_reason: pd.Series
    unknown: pd.Series
    out_of_range: pd.Series


@dataclass(frozen=True, slots=True)
class ResolvedMulti:
    """A multi-select item, read from one 0/1 column per option or from one column of codes.

    Attributes
    ----------
    value : pd.DataFrame         Int8 0/1, one native column per option.
    missing_reason : pd.Series   string: why the item as a whole has no answer; missing where it has one.
    unknown : pd.DataFrame       bool, one column per delivered column: the cell is none of the item's answers.
    """

    value: pd.DataFrame
    missing_reason: pd.Series
    unknown: pd.DataFrame


@lru_cache(maxsize=8192)  # the options of one list are those of many items
def fold(text: str) -> str:
    """Return a text as answers are compared: compatible characters, one blank between words, no case.

    >>> fold("  Chief\u00a0Technology   OFFICER ")
    'chief technology officer'
    """
    return " ".join(unicodedata.normalize("NFKC", text).translate(_PLAIN).casefold().split())


def whole(folded: str) -> int | None:
    """Return the whole number that a folded text spells (`3`, `3.0`, `+3`), else None."""
    found = _WHOLE.fullmatch(folded)
    # Sixteen digits are more than any code has; int() of a longer text costs time for nothing.
    return int(found.group(1)) if found and len(found.group(1)) <= 16 else None


def read_number(text: str, low: float | None, high: float | None, missing: Mapping[int, str], unit: str) -> Reading:
    """Read a number; a missing code is its code with a minus, or without where it lies outside `low` to `high`.

    Thousands separators and decimal commas are faults, not guesses.

    >>> read_number("12.5", 0, 52, {97: "refused"}, "weeks")
    Reading(value=12.5, reason='', fault='')
    >>> read_number("97", 0, 52, {97: "refused"}, "weeks").reason
    'refused'
    """
    folded = fold(text)
    if unit == "percent":
        folded = folded.removesuffix("%").rstrip()
    if len(folded) > 32 or not _DECIMAL.fullmatch(folded):
        return Reading(None, fault="unknown")
    number = float(folded)
    outside = (low is not None and number < low) or (high is not None and number > high)
    code = int(number) if number == int(min(max(number, -1e9), 1e9)) else 0
    if code < 0 and -code in missing:
        return Reading(None, reason=missing[-code])
    if outside and code in missing:
        return Reading(None, reason=missing[code])
    if outside or not np.isfinite(number):
        return Reading(None, fault="out_of_range")
    return Reading(number)


def read_date(text: str, earliest: str = "", latest: str = "") -> Reading:
    """Read an ISO 8601 date or time; day and month in any other order are faults, not guesses.

    A day before `earliest` or after `latest`, by the date as it is written, is out of range; an empty one bounds nothing.

    >>> read_date("2026-01-15 09:30").value
    '2026-01-15T09:30:00'
    >>> read_date("01/02/2026").fault, read_date("2062-01-15", latest="2026-03-31").fault
    ('unknown', 'out_of_range')
    """
    stripped = text.strip()
    try:
        moment = datetime.fromisoformat(stripped)
    except ValueError:
        return Reading(None, fault="unknown")
    day = moment.date().isoformat()
    if not earliest <= day <= (latest or _LAST_DAY):
        return Reading(None, fault="out_of_range")
    return Reading(day if len(stripped) <= 10 else moment.isoformat())


def read_quarter(text: str) -> Reading:
    """Read a quarter of a year, `2025Q3` or `Q3 2025`.

    >>> read_quarter("Q3 2025").value
    '2025Q3'
    """
    found = _QUARTER.fullmatch(fold(text))
    if not found:
        return Reading(None, fault="unknown")
    return Reading(f"{found['y'] or found['y2']}Q{found['q'] or found['q2']}")


def plain_dates(series: pd.Series, earliest: str = "", latest: str = "") -> pd.Series:
    """Return the cells that are ISO times in full already, within the days, missing elsewhere: most of a column of stamps."""
    texts = series.astype("string")
    full = texts.str.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}").fillna(value=False).astype(bool)
    real = pd.to_datetime(texts.where(full), format="%Y-%m-%dT%H:%M:%S", errors="coerce").notna()
    day = texts.str.slice(stop=10)
    within = day.ge(earliest) & day.le(latest or _LAST_DAY)
    return texts.where(real & within.fillna(value=False))


def plain_numbers(series: pd.Series, low: float | None, high: float | None) -> pd.Series:
    """Return the cells that are unsigned decimal numbers within the range, missing elsewhere."""
    texts = series.astype("string")
    plain = texts.str.fullmatch("[0-9]{1,15}(?:[.][0-9]{1,15})?").fillna(value=False).astype(bool)
    number = pd.to_numeric(texts.where(plain)).astype("Float64")
    good = number.ge(-np.inf if low is None else low) & number.le(np.inf if high is None else high)
    return number.where(good.fillna(value=False))


def read_rest(series: pd.Series, known: pd.Series, read: Callable[[str], Reading], dtype: str) -> Resolved:
    """Read the cells that are not `known`, a column in the native type, to be answers as they stand."""
    left = known.isna().to_numpy()
    rest = read_column(series[left], read, dtype)
    value = known.array.copy()
    value[left] = rest.value.array
    reason = pd.Series(pd.NA, index=series.index, dtype="string").array
    reason[left] = rest.missing_reason.array
    unknown, outside = np.zeros(len(series), dtype=bool), np.zeros(len(series), dtype=bool)
    unknown[left], outside[left] = rest.unknown, rest.out_of_range
    return Resolved(
        value=pd.Series(value, index=series.index, name=series.name),
        missing_reason=pd.Series(reason, index=series.index, name=series.name),
        unknown=pd.Series(unknown, index=series.index, name=series.name),
        out_of_range=pd.Series(outside, index=series.index, name=series.name),
    )


def read_column(series: pd.Series, read: Callable[[str], Reading], dtype: str) -> Resolved:
    """Read a column by reading each distinct text once."""
    positions, texts = pd.factorize(series)
    # The blank stands last, where position -1 (a missing cell) points.
    readings = [read(text if isinstance(text, str) else str(text)) for text in texts]
    readings.append(Reading(None, reason=BLANK))
    answers: list[Any] = [reading.value for reading in readings]
    values = pd.Series(answers, dtype=dtype).array
    reasons = pd.array([reading.reason or None for reading in readings], dtype="string")
    unknown = np.array([bool(reading.fault) for reading in readings])
    outside = np.array([reading.fault == "out_of_range" for reading in readings])
    return Resolved(
        value=pd.Series(values.take(positions), index=series.index, name=series.name),
        missing_reason=pd.Series(reasons.take(positions), index=series.index, name=series.name),
        unknown=pd.Series(unknown[positions], index=series.index, name=series.name),
        out_of_range=pd.Series(outside[positions], index=series.index, name=series.name),
    )
