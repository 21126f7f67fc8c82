"""What figures are drawn from: the published estimates of a wave, and the words that every figure owes its reader."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.errors import InstrumentError
from fieldwork.figures.style import label_of
from fieldwork.schema import ESTIMATES, conform

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = [
    "WITHHELD",
    "Published",
    "cell",
    "interval_words",
    "level_words",
    "long_words",
    "mark_words",
    "number",
    "published",
    "reading",
    "table",
]

NUMBERS = ("estimate", "std_error", "conf_low", "conf_high", "conf_level")
COUNTS = ("n", "n_organisations")
WITHHELD = ("withheld", "not assessable")
Row = Mapping[Hashable, Any]
_Parts = tuple[pd.DataFrame, Mapping[Any, Any]]  # rows of a wave without segments, and where each statistic has its own


@dataclass(frozen=True, slots=True)
class Published:
    """The published results of one wave, as far as figures draw them.

    Attributes
    ----------
    estimates : pd.DataFrame     Columns of `schema.ESTIMATES`, behind the gate.
    instrument : Instrument      Roles, stages, items and their labels.
    wave, study : str            Wave; title of the survey.
    provenance : str             `simulated` puts the banner on every figure.
    multiverse : pd.DataFrame or None    Columns of `schema.MULTIVERSE`, behind the gate.
    flow : mapping or None       Counts of cleaning, as `01_clean.flow.json` has them.
    history : tuple of (wave, pd.DataFrame)    Published estimates of earlier waves, oldest first.
    """

    estimates: pd.DataFrame
    instrument: Instrument
    wave: str
    study: str
    provenance: str = "simulated"
    multiverse: pd.DataFrame | None = None
    flow: Mapping[str, Any] | None = None
    history: tuple[tuple[str, pd.DataFrame], ...] = ()
    _known: dict[tuple[str, str, str], list[dict[Hashable, Any]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _parts: dict[str, _Parts] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def simulated(self) -> bool:
        """Whether the data are simulated."""
        return self.provenance == "simulated"

    def rows(self, construct: str, statistic: str, *, measure: str = "", wave: str = "") -> list[dict[Hashable, Any]]:
        """Return the published rows of one statistic, without segments, as records; missing texts are empty.

        The table is taken apart once: every figure asks, and some ask for each of their measures.
        """
        key = (wave or self.wave, construct, statistic)
        if key not in self._known:
            self._known[key] = self._records(*key)
        return [row for row in self._known[key] if not measure or row["measure"] == measure]

    def _records(self, wave: str, construct: str, statistic: str) -> list[dict[Hashable, Any]]:
        if wave not in self._parts:
            source = self.estimates if wave == self.wave else dict(self.history)[wave]
            whole = source[(source["wave"] == wave) & (source["segment"].fillna("") == "")]
            self._parts[wave] = (whole, whole.groupby(["construct", "statistic"], sort=False).indices)
        whole, places = self._parts[wave]
        texts = dict.fromkeys(("role", "role_2", "stage", "item", "reason"), "")
        return whole.take(places.get((construct, statistic), [])).fillna(texts).to_dict("records")

    def roles(self, present: Iterable[str]) -> list[str]:
        """Return the roles among some that the instrument knows, in its order."""
        wanted = set(present)
        return [role.id for role in self.instrument.roles if role.id in wanted]

    def role(self, role: str) -> str:
        """Return what readers call a role, in one line."""
        return next((" ".join(each.label.split()) for each in self.instrument.roles if each.id == role), role)

    def option(self, measure: str, option: str) -> str:
        """Return what readers call an answer, or a member of a family; what the instrument does not know stands as it is."""
        try:
            return " ".join(self.instrument.option_label(measure, option).split())
        except (InstrumentError, IndexError):
            pass
        try:
            label = label_of(self.instrument, option)
        except InstrumentError:
            return option
        return label.partition(": ")[2] or label

    def label(self, measure: str) -> str:
        """Return what readers call a measure; a derived one that no question asks for stands as it is."""
        try:
            return label_of(self.instrument, measure).removesuffix(": \N{HORIZONTAL ELLIPSIS}")
        except InstrumentError:
            return measure.replace("_", " ").replace("+", " and ")

    def source(self, rows: Iterable[Row] = (), *, respondents: str = "respondents", each: str = "") -> str:
        """Return the source line: survey, wave, and the base.

        Parameters
        ----------
        rows : rows whose bases are told: that of the widest, or, with `each`, from the least to the largest.
        respondents : who answered. each : what every row speaks of, where none speaks of all: `role`.
        """
        bases = [(int(row["n"]), row.get("n_organisations")) for row in rows if not pd.isna(row.get("n"))]
        parts = ["Simulated data, not fieldwork."] if self.simulated else []
        parts.append(f"Source: {self.study}, {self.wave}.")
        if bases and each:
            least, most = min(n for n, _ in bases), max(n for n, _ in bases)
            parts.append(
                f"Base: {f'{least:,} to {most:,}' if least < most else f'{most:,}'} {respondents} for each {each}."
            )
        elif bases:
            n, organisations = max(bases, key=lambda base: base[0])
            within = (
                "" if organisations is None or pd.isna(organisations) else f" in {int(organisations):,} organisations"
            )
            parts.append(f"Base: {n:,} {respondents}{within}.")
        return " ".join(parts)


def published(estimates: pd.DataFrame, instrument: Instrument, **words: Any) -> Published:  # noqa: ANN401
    """Return published estimates as figures read them, their columns checked."""
    return Published(conform(estimates, ESTIMATES, where="figures"), instrument, **words)


def cell(row: Row | None, /, **keys: str) -> dict[str, Any]:
    """Return what is drawn of a published row: its numbers, or none of them and why.

    `mark` is `filled`, `open` (flagged), `withheld` (the gate held it back) or `not assessable`.
    """
    row = row or {"status": "not_assessable", "reason": "not estimated"}
    shown = row["status"] in ("ok", "flagged") and not pd.isna(row["estimate"])
    mark = "filled" if row["status"] == "ok" else "open"
    if not shown:
        mark = "withheld" if row["status"] == "suppressed" else "not assessable"
    reason = row.get("reason")
    return {
        **keys,
        **{name: row.get(name, pd.NA) if shown else pd.NA for name in (*NUMBERS, *COUNTS)},
        "mark": mark,
        "reason": reason if isinstance(reason, str) else "",
    }


def table(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what is drawn as a frame with typed numbers, one row per mark."""
    types = dict.fromkeys(NUMBERS, "Float64") | dict.fromkeys(COUNTS, "Int64")
    return pd.DataFrame.from_records(list(records)).astype(types)


def number(value: float, unit: str) -> str:
    """Return a number as figures print it: shares in whole per cent, ranks whole, others to two decimals.

    >>> number(0.455, "proportion"), number(0.5, "index"), number(3.0, "rank")
    ('46%', '0.50', '3')
    """
    if unit == "proportion":
        text = f"{math.floor(100 * value + 0.5 + 1e-9):.0f}%"
    else:
        text = f"{value:.0f}" if unit == "rank" else f"{value:.1f}" if unit == "quarter" else f"{value:.2f}"
    text = text.replace("-0.00", "0.00")
    return text.replace("-", "\N{MINUS SIGN}")


def interval_words(row: Row, unit: str) -> str:
    """Return an estimate with its interval, as `3.79 (3.50 to 4.08)`; an end that is open is said."""
    point = number(float(row["estimate"]), unit)
    low, high = row["conf_low"], row["conf_high"]
    if pd.isna(low) and pd.isna(high):
        return point
    if pd.isna(low):
        return f"{point} (at most {number(float(high), unit)})"
    if pd.isna(high):
        return f"{point} (at least {number(float(low), unit)})"
    return f"{point} ({number(float(low), unit)} to {number(float(high), unit)})"


def level_words(data: pd.DataFrame) -> str:
    """Return `95% intervals`, or `intervals` where levels differ or none is told.

    >>> level_words(pd.DataFrame({"conf_level": [0.95, 0.95]}))
    '95% intervals'
    """
    levels = sorted({round(float(value) * 100) for value in data["conf_level"].dropna()})
    return f"{levels[0]}% intervals" if len(levels) == 1 else "intervals"


def mark_words(data: pd.DataFrame, *, flagged: str = "Dashed line") -> str:
    """Say what the marks of rows mean that are not simply an estimate, each reason once."""
    parts = []
    told = list(dict.fromkeys(data.loc[(data["mark"] == "open"), "reason"]))
    if told:
        parts.append(f"{flagged}: {_reasons(told)}.")
    if (data["mark"] == "withheld").any():
        parts.append(
            "Withheld: the base is too small to publish, or another withheld cell could be worked out from it."
        )
    refused = list(dict.fromkeys(data.loc[data["mark"] == "not assessable", "reason"]))
    if refused:
        parts.append(f"Not assessable: {_reasons(refused)}.")
    return " ".join(parts)


def _reasons(reasons: Sequence[str], most: int = 3) -> str:
    """List reasons, the first few in full; the data beside the figure have them all."""
    known = [reason.rstrip(".") for reason in reasons if reason]
    more = f"; and {len(known) - most} further reasons, in the data" if len(known) > most else ""
    return ("; ".join(known[:most]) or "flagged") + more


def reading(data: pd.DataFrame, unit: str, label: str = "row_label") -> str:
    """Say the highest and the lowest estimate of what is drawn, for the alternative text."""
    seen = data.dropna(subset=["estimate"])
    if seen.empty:
        return "No estimate has a base large enough to be published."
    records = seen.sort_values("estimate", ascending=False, kind="stable").to_dict("records")
    first, last = records[0], records[-1]
    highest = f"The highest estimate is {first[label]}, {interval_words(first, unit)}"
    return f"{highest}." if len(records) == 1 else f"{highest}; the lowest {last[label]}, {interval_words(last, unit)}."


def long_words(data: pd.DataFrame, unit: Mapping[str, str] | str, labels: Sequence[str]) -> str:
    """Say every value in sentences; `labels` are the columns that name a row, `unit` that of each panel or of all."""
    out = []
    for row in data.to_dict("records"):
        what = ", ".join(str(row[name]) for name in labels if row.get(name))
        mine = unit if isinstance(unit, str) else unit[str(row["panel"])]
        if pd.isna(row["estimate"]):
            out.append(f"{what}: {row['mark']}.")
        else:
            base = "" if pd.isna(row["n"]) else f", n {int(row['n']):,}"
            out.append(f"{what}: {interval_words(row, mine)}{base}.")
    return " ".join(out)
