"""The book typeset: a proof of 6 x 9 inches with figures and tables in their places, which the compiler holds to PDF/UA-1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fieldwork.essays.book import laid_out
from fieldwork.essays.document import pandoc
from fieldwork.essays.forms import quoted
from fieldwork.essays.typeset import compiled, floating, raw, shown_in_print

if TYPE_CHECKING:
    from fieldwork.essays.book import Book, BookChapter
    from fieldwork.essays.document import Block
    from fieldwork.essays.exhibits import Exhibit

__all__ = ["proof", "proof_source"]

_SHORT = 8  # rows of a table that is kept on one page; a longer one may run over to the next


def proof_source(book: Book) -> str:
    """Return the whole book as Typst."""
    blocks = list(floating(laid_out(book, _shown)))
    tree = {"pandoc-api-version": [1, 23, 1], "meta": {}, "blocks": blocks}
    body = pandoc(["-f", "json", "-t", "typst", "--wrap=none"], json.dumps(tree, ensure_ascii=False).encode()).decode()
    day, shown = "none", ""
    if book.date is not None:
        day = f"datetime(year: {book.date.year}, month: {book.date.month}, day: {book.date.day})"
        shown = f"{book.date.day} {book.date:%B %Y}"
    undrawn = "".join(f"{quoted(each.line)}, " for each in book.undrawn)
    head = (
        f"title: {quoted(book.title)}, subtitle: {quoted(book.subtitle)}, author: {quoted(book.author)}, date: {day}, "
        f"shown-date: {quoted(shown)}, banner: {quoted(book.banner)}, undrawn: ({undrawn})"
    )
    return f'#import "book.typ": book, floating\n#show: book.with({head})\n\n{body}'


def proof(book: Book, pictures: Mapping[str, bytes]) -> bytes:
    """Return the book as PDF/UA-1; the same book gives the same bytes.

    Parameters
    ----------
    pictures : mapping    SVG of each figure that stands in the book, by its identifier.

    Raises EssayError with the compiler's words where it refuses.
    """
    files = {f"{name}.svg": content for name, content in pictures.items()}
    return compiled(proof_source(book), files, stamp=book.stamp, pdf_standards=["ua-1"], format="pdf")


def _shown(chapter: BookChapter, exhibit: Exhibit) -> list[Block]:
    """Return an exhibit in its place; of a figure of another chapter the page on which it stands."""
    if exhibit.name in chapter.elsewhere:
        place = f"#context counter(page).at(<{exhibit.id}>).first()"
        return [raw(f"#link(<{exhibit.id}>)[#{quoted(exhibit.heading)}] stands on page {place}.")]
    (block,) = shown_in_print(exhibit)
    if exhibit.table is None or chapter.essay:
        return [block]
    text = block["c"][1]
    return [
        raw(
            f"#block(breakable: false, above: 1.4em, below: 1.5em)[{text}]"
            if len(exhibit.table.rows) <= _SHORT
            else text
        )
    ]
