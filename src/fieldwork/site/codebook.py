"""The data dictionary: every question as it was put, and every column of the published tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.schema import ESTIMATES, QUARANTINE, WEIGHTS
from fieldwork.site import words
from fieldwork.tables import Cell, Column, Table

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.site.material import Material

__all__ = ["codebook", "entry", "frames"]


def codebook(material: Material) -> dict[str, Any]:
    """Return what the dictionary page shows: the instrument's questions by module, and the columns of the tables."""
    instrument = material.instrument
    modules: dict[str, list[dict[str, Any]]] = {}
    families: set[str] = set()
    for item in instrument.items:
        if item.family and item.family in families:
            continue
        families.add(item.family)
        modules.setdefault(item.module, []).append(entry(instrument, item))
    return {
        "instrument": instrument,
        "modules": modules,
        "roles": _options("Roles", instrument.roles),
        "stages": _options("Stages of adoption, in order", instrument.stages),
        "missing": [(code.label, "" if code.code is None else str(code.code)) for code in instrument.missing],
        "tables": [_columns(title, table) for title, table in _TABLES.items()],
        "not_asked": dict(instrument.not_asked),
    }


def frames(instrument: Instrument) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the codebook as tables: one row per item with wording and routing, one row per answer that it offers."""
    questions, answers = [], []
    for item in instrument.items:
        facts = entry(instrument, item)["facts"]
        questions.append(
            {
                "item": item.name,
                "family": item.family,
                "label": item.label,
                "wording": item.wording,
                "version": item.version,
                "first_wave": item.first_wave,
                "kind": item.kind,
                "module": item.module,
                "asked_of": ";".join(item.asked_of),
                "asked_if": facts.get("Asked if", ""),
                "low": item.low,
                "high": item.high,
                "unit": item.unit,
                "comparable": item.comparable,
                "restricted": item.restricted,
                "constructs": ";".join(item.constructs),
                "note": item.note,
            }
        )
        answers += [
            {"item": item.name, "code": option.code, "id": option.id, "label": option.label} for option in item.options
        ]
    return pd.DataFrame(questions), pd.DataFrame(answers, columns=["item", "code", "id", "label"])


_TABLES = {
    "Published estimates: reports, estimates.csv and estimates.parquet": ESTIMATES,
    "Weights: 03_weight.parquet": WEIGHTS,
    "Rows set aside: 01_clean.quarantine.csv": QUARANTINE,
}


def entry(instrument: Instrument, item: Item) -> dict[str, Any]:
    """Return one question as the dictionary and the topline print it; an item of a family stands for all of it."""
    members = instrument.family(item.family) if item.family else (item,)
    family = next((family for family in instrument.families if family.name == item.family), None)
    labels = {role.id: role.label for role in instrument.roles}
    columns = [column for member in members for column in member.native_columns()]
    facts = {
        "Answer": words.KINDS.get(item.kind, item.kind) + (f", at most {item.cap}" if item.cap else ""),
        "Columns": _listed(columns),
        "Asked of": ", ".join(labels.get(role, role) for role in item.asked_of),
        "Asked if": (
            f"{item.asked_if.item} is {', '.join(str(each) for each in item.asked_if.within)}" if item.asked_if else ""
        ),
        "Unit": item.unit,
        "Range": f"{item.low:g} to {item.high:g}" if item.low is not None and item.high is not None else "",
        "Wording": f"version {item.version}" + (f", first asked {item.first_wave}" if item.first_wave else ""),
        "Trend": "" if item.comparable else "not comparable with the waves before",
        "Note": item.note,
        "Release": "restricted: never published as it is" if item.restricted else "",
    }
    return {
        "name": item.family or item.name,
        "label": family.label if family else item.label,
        "wording": (family.wording if family else "") or item.wording,
        "members": [member.label for member in members] if len(members) > 1 else [],
        "facts": {name: text for name, text in facts.items() if text},
        "options": [(option.code, option.label) for option in item.options],
    }


def _listed(columns: list[str]) -> str:
    return (
        ", ".join(columns)
        if len(columns) <= 8
        else f"{', '.join(columns[:3])} … {columns[-1]} ({len(columns)} columns)"
    )


def _options(title: str, options: Any) -> Table | None:  # noqa: ANN401 - a tuple of options
    if not options:
        return None
    status = any(option.status for option in options)
    columns = [
        Column("Label", "label"),
        Column("Id"),
        Column("Code", "number"),
        *([Column("Status")] if status else []),
    ]
    rows = []
    for option in options:
        cells = [Cell(option.label), Cell(option.id), Cell(str(option.code))]
        rows.append((*cells, Cell(option.status)) if status else tuple(cells))
    return Table(title, tuple(columns), tuple(rows))


def _columns(title: str, table: Any) -> Table:  # noqa: ANN401 - schema.Table, whose name is taken here
    rows = tuple((Cell(column.name), Cell(column.dtype), Cell(column.meaning)) for column in table.columns)
    return Table(title, (Column("Column", "label"), Column("Type"), Column("Meaning")), rows)
