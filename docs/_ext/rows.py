"""Rows of a table that stands in another file: a number in the handbook is read from its source, never copied."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]


def rows(source: str, *, section: str = "", where: str = "", columns: str = "", table: str = "1") -> list[str]:
    """Return the lines of a Markdown table of a file in docs/, those rows that fit.

    Parameters
    ----------
    source : file below docs/. section : beginning of the heading that the table follows; empty: the first table.
    where : conditions `column=pattern`, separated by `;`, each a regular expression that the whole cell must match.
    columns : columns to show, separated by `;`; empty: all. table : which table of the section, from 1.

    Raises LookupError where the section, a column or a fitting row is missing: the source has changed, and so must the page.
    """
    lines = (DOCS / source).read_text(encoding="utf-8").splitlines()
    if section:
        starts = [i for i, line in enumerate(lines) if line.startswith("#") and line.lstrip("# ").startswith(section)]
        if not starts:
            raise LookupError(f"{source} has no section {section!r}")
        lines = lines[starts[0] + 1 :]
        ends = [i for i, line in enumerate(lines) if line.startswith("#")]
        lines = lines[: ends[0]] if ends else lines
    tables: list[list[list[str]]] = []
    within = False
    for line in lines:
        if line.startswith("|"):
            if not within:
                tables.append([])
            tables[-1].append([cell.strip() for cell in line.strip().strip("|").split("|")])
        within = line.startswith("|")
    if len(tables) < int(table):
        raise LookupError(f"{source}, {section!r}: {len(tables)} tables")
    head, *body = tables[int(table) - 1]
    del body[:1]
    conditions = [part.strip().split("=", 1) for part in where.split(";") if part.strip()]
    wanted = [name.strip() for name in columns.split(";") if name.strip()] or head
    for name in [*(name for name, _ in conditions), *wanted]:
        if name not in head:
            raise LookupError(f"{source}, {section!r}: no column {name!r} among {', '.join(head)}")
    kept = [row for row in body if all(re.fullmatch(pattern, row[head.index(name)]) for name, pattern in conditions)]
    if not kept:
        raise LookupError(f"{source}, {section!r}: no row where {where}")
    shown = [[row[head.index(name)] for name in wanted] for row in kept]
    return [f"| {' | '.join(row)} |" for row in [wanted, ["---"] * len(wanted), *shown]]
