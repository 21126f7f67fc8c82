"""Tables of one claim, for its page and for the book: parts, margins, other analytic choices, amendments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fieldwork.site import words
from fieldwork.tables import Cell, Column, Table

__all__ = ["amendments_table", "margins_table", "multiverse_table", "parts_table"]


def parts_table(claim: Mapping[str, Any]) -> Table | None:
    """Return the parts of a claim with estimate, margin, verdict, adjusted p and base; None where it has none."""
    parts = claim.get("parts") or []
    if not parts:
        return None
    rows = []
    for part in parts:
        verdict = str(part["verdict"]) if part.get("judged", True) else ""
        p = (
            probability
            if (probability := words.probability(part.get("p_adjusted")))
            else words.probability(part.get("p_value"))
        )
        rows.append(
            (
                Cell(str(part["label"])),
                Cell(
                    words.estimate_words(part),
                    reason=str(part.get("reason") or "") if part.get("estimate") is None else "",
                ),
                Cell(words.margin(part) if verdict else ""),
                Cell(
                    words.VERDICTS[verdict] if verdict else "shown, not judged",
                    kind=f"verdict {verdict}" if verdict else "",
                ),
                Cell(p),
                Cell(words.base_words(part)),
            )
        )
    columns = (
        Column("Part", "label"),
        Column("Estimate and interval"),
        Column("Margin", "number"),
        Column("Verdict"),
        Column("p, adjusted", "number"),
        Column("Base"),
    )
    return Table(f"Parts of {claim['id']}", columns, tuple(rows))


def amendments_table(claim: Mapping[str, Any]) -> Table | None:
    """Return what was changed in a claim after the data were read; None where nothing was."""
    amendments = claim.get("amendments") or []
    if not amendments:
        return None
    rows = tuple(
        (
            Cell(str(each["field"])),
            Cell(words.said(each["before"])),
            Cell(words.said(each["after"])),
            Cell("can decide the verdict" if each["decides"] else "words only"),
        )
        for each in amendments
    )
    columns = (Column("What was changed", "label"), Column("As registered"), Column("Now"), Column("Weight"))
    return Table(f"Amendments of {claim['id']} after the data were read", columns, rows)


def multiverse_table(claim: Mapping[str, Any]) -> Table | None:
    """Return how often a claim has its verdict under other analytic choices; None where nobody tried."""
    found = claim.get("multiverse")
    if not found:
        return None
    rows = tuple(
        (
            Cell(text),
            Cell(str(counted["specifications"])),
            Cell(str(counted["agree"])),
            *(Cell(str(counted["verdicts"][name])) for name in words.VERDICTS),
        )
        for text, counted in (
            ("At the registered margin", found["at_registered_margin"]),
            ("At every margin tried", found),
        )
    )
    columns = (
        Column("Judged", "label"),
        Column("Specifications", "number"),
        Column("Same verdict", "number"),
        *(Column(name, "number") for name in words.VERDICTS.values()),
    )
    return Table(f"{claim['id']} under other analytic choices", columns, rows)


def margins_table(claim: Mapping[str, Any]) -> Table | None:
    """Return the verdict of a claim under other margins; None where none was tried."""
    verdicts = claim.get("verdict_by_margin") or {}
    if not verdicts:
        return None
    unit = claim.get("margins_unit", claim.get("unit"))
    declared = [abs(float(p["margin"])) for p in claim.get("parts", ()) if p.get("judged") and p.get("unit") == unit]
    rows = tuple(
        (
            Cell(words.margin_of(str(margin), str(claim.get("margins_unit", "")))),
            Cell(words.VERDICTS[verdict], kind=f"verdict {verdict}"),
            Cell("declared beforehand" if any(abs(float(margin) - own) < 5e-4 for own in declared) else ""),
        )
        for margin, verdict in verdicts.items()
    )
    columns = (Column("Margin", "label"), Column("Verdict"), Column("Which"))
    return Table("The same data under other margins", columns, rows)
