"""The data-quality page: what was delivered, what was set aside and why, what the checks say, who did not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fieldwork.errors import DataError
from fieldwork.site import words
from fieldwork.tables import Cell, Column, Table, quantity

if TYPE_CHECKING:
    from fieldwork.site.material import Material

__all__ = ["quality"]


def quality(material: Material) -> dict[str, Any]:
    """Return what the data-quality page shows; counts only, never a value that somebody gave.

    Raises DataError when accepted and set aside do not make up what was delivered, as a whole or by rule.
    """
    flow = material.flow
    texts = flow.get("words") or {}
    results = (material.validation.get("suite") or {}).get("results") or ()
    unmet = [entry for entry in results if not entry["met"]]
    silent = [entry for entry in material.validation.get("item_nonresponse") or () if not entry.get("role")]
    return {
        "flow": _flow(flow) if flow else None,
        "rules": _counts("Rows set aside, by rule", flow.get("by_rule") or {}, texts, total=True),
        "flags": _counts("Rows kept, with a flag", flow.get("flags") or {}, texts, total=False),
        "files": _files(flow.get("files") or ()),
        "answers": _answers(flow.get("long") or (), texts),
        "unknown": [str(name) for name in flow.get("unknown_columns") or ()],
        "absent": [str(name) for name in flow.get("absent_columns") or ()],
        "validated": bool(material.validation),
        "checks": len(results),
        "errors": sum(entry.get("severity") == "error" for entry in unmet),
        "warnings": sum(entry.get("severity") != "error" for entry in unmet),
        "unmet": _expectations("Expectations that are not met", unmet),
        "met": _expectations("Expectations that are met", [entry for entry in results if entry["met"]]),
        "asked": len(silent),
        "nonresponse": _nonresponse([entry for entry in silent if str(entry["share"]) != "0%"]),
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


def _counts(title: str, counts: Mapping[str, int], texts: Mapping[str, str], *, total: bool) -> Table | None:
    if not counts:
        return None
    rows = [
        (Cell(_capital(texts.get(name) or words.rule(name))), Cell(f"{number:,}"))
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


def _answers(files: Sequence[Mapping[str, Any]], texts: Mapping[str, str]) -> Table | None:
    """Return the way of files of one answer a row; DataError when their counts do not add up."""
    rows: list[tuple[Cell, ...]] = []
    for entry in files:
        delivered, by_rule = int(entry["delivered"]), entry.get("by_rule") or {}
        if delivered != int(entry["joined"]) + int(entry["with_quarantined"]) + sum(by_rule.values()):
            raise DataError(
                "the counts of joined answers do not add up",
                where=f"01_clean.flow.json, {entry['file']}",
                expected="joined + with_quarantined + set aside by rule = delivered",
                got=f"{entry['joined']} + {entry['with_quarantined']} + {sum(by_rule.values())}, delivered {delivered}",
                hint="run chapter 01_clean again; a report is not published on counts that contradict each other",
            )
        steps = [
            ("Delivered, one answer a row", delivered),
            *((_capital(texts.get(name) or words.rule(name)), -int(count)) for name, count in by_rule.items()),
            ("Their respondents were set aside", -int(entry["with_quarantined"])),
            ("Joined to accepted respondents", int(entry["joined"])),
        ]
        rows += [
            (Cell(str(entry["file"])), Cell(what), Cell(quantity(number, "", 0))) for what, number in steps if number
        ]
    columns = (Column("File", "label"), Column("What became of its rows"), Column("Rows", "number"))
    return Table("Files of one answer a row", columns, tuple(rows)) if rows else None


def _expectations(title: str, results: Sequence[Mapping[str, Any]]) -> Table | None:
    if not results:
        return None
    rows = tuple(
        (
            Cell(_capital(str(entry["expectation"]))),
            Cell(str(entry.get("item") or "")),
            Cell("met" if entry["met"] else f"not met: {entry.get('severity') or 'error'}"),
            Cell(quantity(entry.get("checked"), "", 0)),
            Cell(str(entry.get("share") or "")),
        )
        for entry in results
    )
    columns = (
        Column("Expectation", "label"),
        Column("Question"),
        Column("Result"),
        Column("Answers checked", "number"),
        Column("Share not as expected", "number"),
    )
    return Table(title, columns, rows)


def _nonresponse(entries: Sequence[Mapping[str, Any]]) -> Table | None:
    if not entries:
        return None
    rows = tuple(
        (
            Cell(str(entry.get("label") or entry["item"])),
            Cell(quantity(entry["base"], "", 0), "" if entry["base"] is not None else _FEW),
            Cell(entry["share"] or "", "" if entry["share"] else _FEW),
        )
        for entry in entries
    )
    columns = (Column("Question", "label"), Column("Asked, to the nearest 5", "number"), Column("No answer", "number"))
    return Table("Questions left without an answer by those who were asked", columns, rows)


_FEW = "too few were asked, or the column was not delivered"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
