"""The book: chapters of a study and its essays under one numbering, as the manuscript that a publisher takes.

Figures are not in a manuscript: a line of its own says where each goes, its caption stands in the text, and its file has the
number of the caption. Tables are there. Notes of all chapters come at the end, chapter by chapter.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwork.essays.document import Block, exhibits_of, notes_heading, numbered_notes, pandoc
from fieldwork.essays.exhibits import Exhibit, Exhibits, hold_to_record
from fieldwork.essays.forms import as_blocks
from fieldwork.essays.word import CALL, Listing, Paper, finished, listing_of, reference
from fieldwork.tables import guarded

if TYPE_CHECKING:
    from fieldwork.essays.facts import Facts
    from fieldwork.figures import Spec

__all__ = ["Book", "BookChapter", "ChapterExhibits", "Undrawn", "manuscript"]

_NOTES = "notes-and-sources"


@dataclass(frozen=True, slots=True)
class Undrawn:
    """A figure that the wave does not allow: what the text calls it, its title, and why it is not there."""

    heading: str
    title: str
    reason: str

    @property
    def line(self) -> str:
        """One line that says so."""
        return f"{self.heading}. {self.title}. Not drawn: {self.reason}"


@dataclass(frozen=True, slots=True)
class BookChapter:
    """A chapter.

    Attributes
    ----------
    number : int             Number; 0: none, as an appendix.
    title : str
    blocks : list            Pandoc's blocks below the title; a paragraph with a mark stands where an exhibit goes.
    notes : list             Blocks of each note.
    exhibits : mapping       Figures and tables by name, in order.
    elsewhere : mapping      Number of the chapter that a figure stands in, for figures of other chapters.
    essay : bool             An essay: its tables float as in print by itself; elsewhere they stand where they are spoken of.
    """

    number: int
    title: str
    blocks: list[Block]
    notes: list[list[Block]]
    exhibits: Mapping[str, Exhibit]
    elsewhere: Mapping[str, int]
    essay: bool = False

    @property
    def heading(self) -> str:
        """Number and title."""
        return f"{self.number}. {self.title}" if self.number else self.title

    @property
    def id(self) -> str:
        """Identifier in the documents."""
        return f"chapter-{self.number}" if self.number else "appendix"

    @property
    def own(self) -> list[Exhibit]:
        """The exhibits that stand here."""
        return [each for name, each in self.exhibits.items() if name not in self.elsewhere]


@dataclass(frozen=True, slots=True)
class Book:
    """A study's wave as a book.

    Attributes
    ----------
    title, subtitle, author, banner : str    Banner: what every copy says of simulated data; empty otherwise.
    date : date or None       Day of its latest essay, which every document carries; no clock is read.
    chapters : tuple          In order.
    undrawn : tuple           Figures that the wave does not allow.
    """

    title: str
    subtitle: str
    author: str
    banner: str
    date: date | None
    chapters: tuple[BookChapter, ...]
    undrawn: tuple[Undrawn, ...]

    @property
    def exhibits(self) -> list[Exhibit]:
        """Figures and tables, each once, in order."""
        return [each for chapter in self.chapters for each in chapter.own]

    @property
    def stamp(self) -> int:
        """The date as seconds; 1980 where there is none, which is the first that an archive can say."""
        day = self.date or date(1980, 1, 1)
        return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


class ChapterExhibits(Exhibits):
    """The exhibits of one chapter: figures as the study numbers them, tables by chapter."""

    def __init__(self, facts: Facts, chapter: int, figures: Mapping[str, str]) -> None:
        super().__init__(facts)
        self._chapter, self._figures = chapter, figures

    def placed(self, exhibit: Exhibit) -> Exhibit:
        """Return a figure numbered as its file is named, and a table by chapter; a figure without a number keeps its own."""
        if exhibit.kind == "figure":
            own = sum(each.kind == "figure" and each.name not in self._figures for each in self.shown.values())
            return replace(exhibit, label=self._figures.get(exhibit.name, f"{self._chapter}.{own + 1}"))
        return replace(exhibit, label=f"{self._chapter}.{exhibit.number}", apart=f"{self._chapter}-")

    def show_drawn(self, spec: Spec) -> Exhibit:
        """Take a figure as the register of figures describes it; its pictures are drawn beside the manuscript."""
        self.facts.need("estimates.parquet")
        words = {each: getattr(spec, each) for each in ("title", "caption", "source", "long_description")}
        hold_to_record(spec.name, spec.alt, words, guarded(spec.data).to_csv(index=False))
        return self.add("figure", spec.name, title=spec.title, caption=spec.caption, alt=spec.alt, source=spec.source)


Shown = Callable[[BookChapter, Exhibit], list[Block]]


def laid_out(book: Book, shown: Shown) -> list[Block]:
    """Return all blocks of a book: chapters with the blocks of each exhibit in its place, and notes at the end."""
    blocks: list[Block] = []
    for chapter in book.chapters:
        blocks.append(_head(1, chapter.id, chapter.heading))
        blocks += exhibits_of(chapter.blocks, chapter.exhibits, partial(shown, chapter))
    noted = [chapter for chapter in book.chapters if chapter.notes]
    if noted:
        blocks.append(_head(1, _NOTES, notes_heading))
    for chapter in noted:
        blocks += [_head(2, "", chapter.heading), numbered_notes(chapter.notes, f"{chapter.number}-")]
    return blocks


def manuscript(book: Book) -> bytes:
    """Return the manuscript as DOCX; the same book gives the same bytes."""
    blocks = [*_banner(book), *laid_out(book, _called_out)]
    words = {"title": book.title, "subtitle": book.subtitle, "author": book.author, "lang": "en-GB"}
    if book.date is not None:
        words["date"] = f"{book.date.day} {book.date:%B %Y}"
    meta = {key: {"t": "MetaInlines", "c": [_text(text)]} for key, text in words.items() if text}
    tree = {"pandoc-api-version": [1, 23, 1], "meta": meta, "blocks": blocks}
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "reference.docx").write_bytes(reference())
        arguments = ["-f", "json", "-t", "docx", "--reference-doc", "reference.docx", "-o", "-"]
        made = pandoc(arguments, json.dumps(tree).encode(), stamp=book.stamp, folder=Path(name))
    parts = [(chapter.heading, chapter.id) for chapter in book.chapters]
    parts += [(notes_heading, _NOTES)] if any(chapter.notes for chapter in book.chapters) else []
    contents = Listing("Contents", 'TOC \\h \\z \\n \\o "1-1"', tuple(parts))
    missing = Listing("Figures that were not drawn", "", tuple((each.line, "") for each in book.undrawn))
    figures, tables = (
        listing_of(kind, f"{style} Caption", f"{kind}s", book.exhibits)
        for kind, style in (("Figure", "Image"), ("Table", "Table"))
    )
    listings = (contents, figures, missing, tables)
    return finished(made, Paper(book.title, book.author, book.banner, book.stamp, listings, book=True))


def _banner(book: Book) -> Iterator[Block]:
    if book.banner:
        yield {"t": "Para", "c": [{"t": "Strong", "c": [_text(book.banner)]}]}


def _called_out(chapter: BookChapter, exhibit: Exhibit) -> list[Block]:
    """Return a table with its title, or where a figure goes and what stands under it."""
    if exhibit.name in chapter.elsewhere:
        return [_styled(CALL, [_text(f"[{exhibit.heading} stands in chapter {chapter.elsewhere[exhibit.name]}]")])]
    if exhibit.table is not None:
        titled = _styled("Table Caption", _numbered(exhibit))
        return [titled, *as_blocks(exhibit.table, "", plain=False, caption=False)]
    return [
        _styled(CALL, [_text(f"[INSERT {exhibit.heading} about here]")]),
        _styled("Image Caption", _numbered(exhibit)),
    ]


def _numbered(exhibit: Exhibit) -> list[Block]:
    """Return a caption whose number is a field, so that a word processor can list it, set to the number of the file."""
    chapter, _, number = exhibit.label.rpartition(".")
    kind = exhibit.kind.capitalize()
    field = "".join(
        f"<w:r>{inside}</w:r>"
        for inside in (
            '<w:fldChar w:fldCharType="begin"/>',
            f'<w:instrText xml:space="preserve"> SEQ {kind} \\* ARABIC \\r {number} </w:instrText>',
            '<w:fldChar w:fldCharType="separate"/>',
            f"<w:t>{number}</w:t>",
            '<w:fldChar w:fldCharType="end"/>',
        )
    )
    label = [_text(f"{kind} {chapter}."), {"t": "RawInline", "c": ["openxml", field]}]
    return [{"t": "Span", "c": [[exhibit.id, [], []], label]}, _text(f". {exhibit.title}")]


def _styled(style: str, inlines: list[Block]) -> Block:
    return {"t": "Div", "c": [["", [], [["custom-style", style]]], [{"t": "Para", "c": inlines}]]}


def _head(level: int, name: str, words: str) -> Block:
    return {"t": "Header", "c": [level, [name, [], []], [_text(words)]]}


def _text(text: str) -> Block:
    return {"t": "Str", "c": text}
