"""One table, every form: HTML by great_tables, blocks for Word and Markdown, Typst for print, a list where tables cannot go."""

from __future__ import annotations

import html
import re
from typing import Any

from fieldwork.tables import Cell, Column, Table

__all__ = ["as_blocks", "as_html", "as_list", "as_markdown", "as_typst", "fits", "notes_of", "quoted"]

Block = dict[str, Any]

_PAGE = 96  # characters of 8 or 9 points across the text block
_LINES = 40  # of a table on a page of 6 x 9 inches
# What Markdown takes for more than a character, anywhere and at the start of a line.
_ACTIVE = re.compile(r"[\\`*_<\[$~&]|:(?=//)|(?<=www)\.|^[#+\-=>]")
_ALIGNED = {"number": "AlignRight", "text": "AlignLeft", "label": "AlignLeft"}


def notes_of(table: Table) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return the notes under a table, as (mark, text), and the mark of each reason for which a cell is withheld."""
    marks = table.reasons()
    notes = [("", note) for note in table.notes]
    return notes + [(mark, f"{why[:1].upper()}{why[1:].rstrip('.')}.") for why, mark in marks.items()], marks


def _lines(cell: Cell) -> list[str]:
    """Return what a cell shows, line by line: a dash where the number is withheld, and the interval under an estimate."""
    shown = cell.text or ("\N{EN DASH}" if cell.reason else "")
    return [shown, cell.below] if cell.below else [shown]


def as_html(table: Table, identifier: str, heading: str) -> str:
    """Return the table as HTML by great_tables: numbers right-aligned in figures of one width, notes in the foot.

    The same table gives the same text: the identifier takes the place of great_tables' random one.
    """
    import great_tables as gt  # noqa: PLC0415 - a third of a second, where a table is shown
    import pandas as pd  # noqa: PLC0415

    notes, marks = notes_of(table)

    def shown(cell: Cell) -> str:
        lines = [html.escape(line) for line in _lines(cell)]
        # A mark takes no room, so that numbers with and without one stay aligned.
        mark = f'<sup style="position:absolute">{marks[cell.reason]}</sup>' if cell.reason else ""
        unseen = (
            ' <span style="position:absolute;left:-999em">not published</span>' if cell.reason and not cell.text else ""
        )
        return f"{lines[0]}{unseen}{mark}" + (
            f'<br><small style="white-space:nowrap">{lines[1]}</small>' if len(lines) > 1 else ""
        )

    names = [f"c{place}" for place in range(len(table.columns))]
    frame = pd.DataFrame([[shown(cell) for cell in row] for row in table.rows], columns=names)
    label = next((name for name, column in zip(names, table.columns, strict=True) if column.role == "label"), None)
    drawn = gt.GT(frame, rowname_col=label, id=identifier)
    drawn = drawn.tab_header(title=gt.html(f"{html.escape(heading)}. {html.escape(table.title)}"))
    drawn = drawn.cols_label({n: c.label for n, c in zip(names, table.columns, strict=True) if n != label})
    if label is not None:
        drawn = drawn.tab_stubhead(label=table.columns[names.index(label)].label)
    drawn = drawn.fmt(fns=lambda value: value, columns=names)
    numbers = [name for name, column in zip(names, table.columns, strict=True) if column.role == "number"]
    words = [name for name, column in zip(names, table.columns, strict=True) if column.role == "text"]
    drawn = drawn.cols_align("right", columns=numbers) if numbers else drawn
    drawn = drawn.cols_align("left", columns=words) if words else drawn
    for mark, note in notes:
        drawn = drawn.tab_source_note(gt.html(f"<sup>{mark}</sup> {html.escape(note)}" if mark else html.escape(note)))
    drawn = drawn.tab_options(
        table_font_names=["Source Sans Pro", "Source Sans 3", "sans-serif"], table_font_size="15px",
        heading_align="left", heading_title_font_size="16px", heading_title_font_weight="600", column_labels_font_weight="600",
        table_border_top_style="none", table_body_hlines_style="none", table_width="100%", source_notes_font_size="13px",
    )  # fmt: skip
    return drawn.as_raw_html() + "\n"


def as_blocks(table: Table, identifier: str, *, plain: bool, caption: bool = True) -> list[Block]:
    """Return the table and its notes as pandoc's blocks; `plain`: every cell on one line, as Markdown's tables want it.

    Without `caption` the title is left to the surrounding text.
    """
    notes, marks = notes_of(table)

    def cell(shown: Cell, column: Column) -> list[Any]:
        lines = _lines(shown)
        mark = marks.get(shown.reason, "")
        inlines: list[Block] = [{"t": "Str", "c": lines[0]}]
        if mark:
            # Word has no mark without width: before a number it leaves the digits aligned.
            before = column.role == "number" and not plain
            inlines.insert(0 if before else 1, _raised(mark, plain=plain))
        if len(lines) > 1:
            inlines += [_text(f" ({lines[1]})")] if plain else [{"t": "LineBreak"}, _text(lines[1])]
        return [["", [], []], {"t": _ALIGNED[column.role]}, 1, 1, [{"t": "Plain", "c": inlines}]]

    def row(cells: list[list[Any]]) -> list[Any]:
        return [["", [], []], cells]

    head = [cell(Cell(column.label), column) for column in table.columns]
    body = [row([cell(c, k) for c, k in zip(line, table.columns, strict=True)]) for line in table.rows]
    widths: list[Block] = [{"t": "ColWidthDefault"}] * len(table.columns)
    if not plain:
        widths = [{"t": "ColWidth", "c": share} for share in _shares(table)]
    specs = [[{"t": _ALIGNED[column.role]}, width] for column, width in zip(table.columns, widths, strict=True)]
    said = [{"t": "Plain", "c": [_text(table.title)]}] if caption else []
    block = {
        "t": "Table",
        "c": [
            [identifier if caption else "", [], []], [None, said], specs, [["", [], []], [row(head)]],
            [[["", [], []], 0, [], body]], [["", [], []], []],
        ],
    }  # fmt: skip
    under = [_note(mark, note, plain=plain) for mark, note in notes]
    return [block, *under]


def _note(mark: str, note: str, *, plain: bool) -> Block:
    inlines = [_raised(mark, plain=plain), _text(" ")] if mark else []
    paragraph = {"t": "Para", "c": [*inlines, _text(note)]}
    return paragraph if plain else {"t": "Div", "c": [["", [], [["custom-style", "Table Note"]]], [paragraph]]}


def _raised(mark: str, *, plain: bool) -> Block:
    return _text(f"[{mark}]") if plain else {"t": "Superscript", "c": [_text(mark)]}


def _text(text: str) -> Block:
    return {"t": "Str", "c": text}


def _shares(table: Table) -> list[float]:
    """Return the share of the width that each column gets: its longest word at least, a number on one line, prose the rest."""
    least: list[float] = []
    wanted: list[float] = []
    for place, column in enumerate(table.columns):
        lines = [line for row in table.rows for line in _lines(row[place])]
        words = [part for text in (column.label, *lines) for part in text.split()]
        word = max((len(part) for part in words), default=1)
        longest = max((len(line) for line in lines), default=1)
        usual = sum(len(line) for line in lines) / max(len(lines), 1)
        least.append(max(word + 5, longest + 3) if column.role == "number" else word + 4)
        wanted.append(least[-1] if column.role == "number" else max(least[-1], min(longest + 3, 2 * usual)))
    spare = max(0, _PAGE - sum(least))
    more = [want - need for want, need in zip(wanted, least, strict=True)]
    widths = [need + spare * extra / max(sum(more), 1) for need, extra in zip(least, more, strict=True)]
    return [round(width / sum(widths), 4) for width in widths]


def as_list(table: Table) -> list[str]:
    """Return the table as lines of text, one per row, for editors that take no tables.

    >>> as_list(Table("Mean", (Column("Role", "label"), Column("Mean", "number")), ((Cell("CTO"), Cell("4.1")),)))
    ['CTO: Mean 4.1']
    """
    notes, marks = notes_of(table)
    first, *rest = range(len(table.columns))
    lines = []
    for row in table.rows:
        told = [
            f"{table.columns[place].label} {_one_line(row[place], marks)}"
            for place in rest
            if row[place].text or row[place].reason
        ]
        lines.append(f"{_one_line(row[first], marks)}: {'; '.join(told)}")
    return lines + [f"[{mark}] {note}" if mark else note for mark, note in notes]


def as_markdown(text: str) -> str:
    r"""Return a text as one line of Markdown that says the same and does nothing: labels come from an instrument.

    >>> as_markdown("[x](javascript:y) <b> R&D, 5%")
    '\\[x](javascript:y) \\<b> R\\&D, 5%'
    """
    return _ACTIVE.sub(r"\\\g<0>", " ".join(text.split()))


def _one_line(cell: Cell, marks: dict[str, str]) -> str:
    shown = cell.text or ("not published" if cell.reason else "")
    shown += f" [{marks[cell.reason]}]" if cell.reason else ""
    return f"{shown} ({cell.below})" if cell.below else shown


def fits(table: Table) -> bool:
    """Tell whether a table stands on one page of print; a longer one is set across pages, its head repeated."""
    lines = 0
    for row in table.rows:
        room = (max(share * _PAGE - 2, 1) for share in _shares(table))
        lines += max(sum(-(-len(line) // int(wide)) for line in _lines(c)) for c, wide in zip(row, room, strict=True))
    return lines + len(table.notes) <= _LINES


def quoted(text: str) -> str:
    r"""Return a text as a string of Typst.

    >>> quoted('a "b"')
    '"a \\"b\\""'
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def as_typst(table: Table) -> str:
    """Return the table as Typst: rules above, below and under the head, numbers right, notes beneath."""
    notes, marks = notes_of(table)

    def content(cell: Cell) -> str:
        lines = _lines(cell)
        # A mark takes no room, so that numbers with and without one stay aligned.
        mark = f"#box(width: 0pt, align(left, super[#{quoted(marks[cell.reason])}]))" if cell.reason else ""
        below = f"\\ #text(size: 0.88em)[#{quoted(lines[1])}]" if len(lines) > 1 else ""
        return f"[#{quoted(lines[0])}{mark}{below}]"

    aligned = ", ".join("right" if column.role == "number" else "left" for column in table.columns)
    widths = ", ".join(f"{share}fr" for share in _shares(table))
    head = ", ".join(f"[#strong[#{quoted(column.label)}]]" for column in table.columns)
    body = ",\n".join(", ".join(content(cell) for cell in row) for row in table.rows)
    under = "".join(_under(mark, note) for mark, note in notes)
    return (
        f"#table(columns: ({widths},), align: ({aligned},), table.hline(), table.header({head}), table.hline(stroke: 0.5pt),\n"
        f"{body},\ntable.hline())\n{under}"
    )


def _under(mark: str, note: str) -> str:
    raised = f"#super[#{quoted(mark)}] " if mark else ""
    said = f"#text(size: 0.85em)[{raised}#{quoted(note)}]"
    return f"\n#block(above: 0.5em, below: 0pt, width: 100%)[#set align(left)\n{said}]"
