"""The data-quality page: what was delivered, what was set aside and why, what the checks say, who did not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fieldwork.errors import DataError
from fieldwork.site import words
from fieldwork.tables import Cell, Column, Table

if TYPE_CHECKING:
    from fieldwork.site.material import Material

__all__ = ["quality"]


def quality(material: Material) -> dict[str, Any]:
    """Return what the data-quality page shows; counts only, never a value that somebody gave.

    Raises DataError when accepted and set aside do not make up what was delivered, as a whole or by rule.
    """
    flow = material.flow
    return {
        "flow": _flow(flow) if flow else None,
        "rules": _counts("Rows set aside, by rule", flow.get("by_rule") or {}, total=True),
        "flags": _counts("Rows kept, with a flag", flow.get("flags") or {}, total=False),
        "files": _files(flow.get("files") or ()),
        "unknown": [_column(entry) for entry in flow.get("unknown_columns") or ()],
        "validated": bool(material.validation),
        "expectations": _expectations(material.validation),
        "failed": sum(not entry.get("success", True) for entry in _entries(material.validation)),
        "checks": len(_entries(material.validation)),
        "nonresponse": _nonresponse(material),
    }


def _flow(flow: Mapping[str, Any]) -> dict[str, int]:
    counts = {name: int(flow.get(name, 0)) for name in ("delivered", "quarantined", "accepted")}
    by_rule = sum(int(n) for n in (flow.get("by_rule") or {}).values())
    if counts["accepted"] + counts["quarantined"] != counts["delivered"] or by_rule != counts["quarantined"]:
        raise DataError(
            "the counts of cleaning do not add up",
            where="01_clean.flow.json",
            expected="accepted + quarantined = delivered, and the rules add up to quarantined",
            got=f"{counts['accepted']} + {counts['quarantined']}, delivered {counts['delivered']}, by rule {by_rule}",
            hint="run chapter 01_clean again; a report is not published on counts that contradict each other",
        )
    return counts


def _counts(title: str, counts: Mapping[str, int], *, total: bool) -> Table | None:
    if not counts:
        return None
    rows = [
        (Cell(words.rule(name)[:1].upper() + words.rule(name)[1:]), Cell(f"{number:,}"))
        for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    if total:
        rows.append((Cell("Together"), Cell(f"{sum(counts.values()):,}")))
    return Table(title, (Column("Rule", "label"), Column("Rows", "number")), tuple(rows))


def _files(files: Sequence[Mapping[str, Any]]) -> Table | None:
    if not files:
        return None
    rows = tuple(
        (
            Cell(str(entry["file"])),
            Cell(f"{int(entry['delivered']):,}"),
            Cell(str(entry.get("sha256", ""))[:16], kind="hash"),
        )
        for entry in files
    )
    return Table(
        "Delivered files",
        (Column("File", "label"), Column("Rows", "number"), Column("SHA-256, first 16 characters")),
        rows,
    )


def _column(entry: object) -> str:
    if isinstance(entry, Mapping):
        return str(entry.get("column") or entry.get("name") or "")
    return str(entry)


def _entries(validation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return validation.get("expectations") or validation.get("results") or ()


def _expectations(validation: Mapping[str, Any]) -> Table | None:
    entries = _entries(validation)
    if not entries:
        return None
    rows = tuple(
        (
            Cell(str(_first(entry, "text", "description", "expectation", "name") or "")),
            Cell(str(entry.get("column") or "")),
            Cell("met" if entry.get("success", True) else "not met"),
            Cell(_number(_first(entry, "checked", "element_count", "n"))),
            Cell(_number(_first(entry, "unexpected", "unexpected_count"))),
        )
        for entry in sorted(entries, key=lambda entry: bool(entry.get("success", True)))
    )
    columns = (
        Column("Expectation", "label"),
        Column("Column"),
        Column("Result"),
        Column("Answers checked", "number"),
        Column("Not as expected", "number"),
    )
    return Table("Expectations, derived from the instrument", columns, rows)


def _nonresponse(material: Material) -> Table | None:
    entries = _first(material.validation, "item_nonresponse", "nonresponse", "item_non_response") or ()
    if isinstance(entries, Mapping):
        entries = [{"item": name, **entry} for name, entry in entries.items()]
    known = {item.name: item.label for item in material.instrument.items}
    rows = []
    for entry in entries:
        asked = int(_first(entry, "asked", "n", "shown") or 0)
        share = entry.get("share")
        if share is None:
            missing = entry.get("missing")
            without = sum(missing.values()) if isinstance(missing, Mapping) else missing
            if without is None:
                without = asked - int(entry.get("answered") or 0)
            share = without / asked if asked else None
        name = str(entry["item"])
        rows.append(
            (
                Cell(str(entry.get("label") or known.get(name, name))),
                Cell(f"{5 * round(asked / 5):,}"),
                Cell("" if share is None else _share(float(share))),
            )
        )
    if not rows:
        return None
    columns = (Column("Question", "label"), Column("Asked, to the nearest 5", "number"), Column("No answer", "number"))
    return Table("Questions left without an answer by those who were asked", columns, tuple(rows))


def _share(share: float) -> str:
    if share == 0:
        return "0%"
    return "under 5%" if share < 0.05 else f"{100 * share:.0f}%"


def _first(entry: Mapping[str, Any], *names: str) -> Any:  # noqa: ANN401 - any JSON value
    return next((entry[name] for name in names if entry.get(name) is not None), None)


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else ""
