"""The explorer: every published estimate that speaks of a role or a stage, as one table that a reader may filter and sort."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.site.topline import DESCRIPTIVE
from fieldwork.tables import UNITS, interval, named, quantity

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.site.material import Material

__all__ = ["Names", "explorer"]

COLUMNS = ("Measure", "Statistic", "Role", "Stage", "Answer", "Estimate", "Interval", "n", "Note")
_FILTERED = {"Role": 2, "Stage": 3, "Measure": 0, "Statistic": 1}
_NUMBERS = {"Estimate", "n"}
_SHOWN = ("ok", "flagged")
_EVERY = "all together"


class Names:
    """What readers call the values of key columns, each looked up once.

    Parameters
    ----------
    instrument : Instrument    Labels of roles, stages, measures and answers.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._known: dict[tuple[str, str, str], str] = {}

    def __call__(self, row: Mapping[Hashable, Any], key: str) -> str:
        """Return the name of the value that a row has in a key column; empty where it speaks of all."""
        own = (key, str(row[key]), str(row["measure"]))
        if own not in self._known:
            self._known[own] = named(self.instrument, key, row)
        return self._known[own]


def explorer(material: Material) -> dict[str, Any]:
    """Return what the explorer page shows: rows of texts with what they are sorted by, and the choices of each filter.

    A row is a published estimate with a role or a stage. One that was held back stays in the table with its reason and
    without a number.
    """
    estimates = material.estimates
    speaks = (estimates["role"].fillna("") != "") | (estimates["stage"].fillna("") != "")
    names = Names(material.instrument)
    records = estimates[speaks].astype(object).fillna("").to_dict("records")
    # What describes answers comes first, and what speaks of one role before comparisons of two and what is segmented.
    records.sort(key=lambda record: (record["statistic"] not in DESCRIPTIVE, _keys(record), record["role"] == ""))
    rows = [_row(record, names) for record in records]
    return {
        "columns": [(name, "number" if name in _NUMBERS else "text") for name in COLUMNS],
        "rows": rows,
        "filters": [(name, at, _choices(rows, at, name, material.instrument)) for name, at in _FILTERED.items()],
    }


def _keys(record: Mapping[Hashable, Any]) -> int:
    return sum(record[key] != "" for key in ("role_2", "segment"))


def _row(record: Mapping[Hashable, Any], names: Names) -> list[tuple[str, str]]:
    """Return the cells of a row: what is shown, and what it is sorted by where that differs."""
    unit = str(record["unit"])
    shown = record["status"] in _SHOWN
    role = " and ".join(part for part in (names(record, "role"), names(record, "role_2")) if part)
    stage = ", ".join(part for part in (names(record, "stage"), names(record, "segment")) if part)
    point, low, high, n = (
        float(record[name]) if shown and record[name] != "" and not pd.isna(record[name]) else None
        for name in ("estimate", "conf_low", "conf_high", "n")
    )
    words = UNITS.get(unit, "")
    estimate = f"{quantity(point, unit)} {words}".strip() if point is not None else ""
    return [
        (names(record, "measure"), ""),
        (names(record, "statistic"), ""),
        (role or _EVERY, ""),
        (stage or _EVERY, ""),
        (names(record, "item"), ""),
        (estimate or ("not finite" if shown else "not published"), "" if point is None else f"{point:g}"),
        (interval(low, high, unit), ""),
        (quantity(n, "", 0), "" if n is None else f"{n:.0f}"),
        (str(record["reason"]) or ("" if record["status"] == "ok" else str(record["status"]).replace("_", " ")), ""),
    ]


def _choices(rows: list[list[tuple[str, str]]], at: int, name: str, instrument: Instrument) -> list[str]:
    """Return the values of a column: roles and stages in the instrument's order, then the others by name."""
    order = [_EVERY, *(each.label for each in (instrument.roles if name == "Role" else instrument.stages))]
    place = {label: number for number, label in enumerate(order)}
    return sorted({row[at][0] for row in rows}, key=lambda value: (place.get(value, len(place)), value))
