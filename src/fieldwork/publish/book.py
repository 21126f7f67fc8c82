"""The book of a wave: figures in every house style with their list, and the manuscript that calls them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwork.essays.book import manuscript
from fieldwork.figures import describe, publish_all, published_of
from fieldwork.provenance import write_whole
from fieldwork.publish.outline import outline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fieldwork.essays.book import Book
    from fieldwork.study import Study

__all__ = ["called_out", "write"]

_STYLES = ("book", "grey", "web", "slide")


def write(study: Study, folder: Path, *, styles: Sequence[str] = _STYLES, names: Sequence[str] = ()) -> list[Path]:
    """Write figures, `figures.csv` and `manuscript.docx`, and return their paths.

    The text is put together before the first figure is drawn: what it refuses, it refuses at once.

    Parameters
    ----------
    styles, names : as for `figures.publish_all`.
    """
    source = published_of(study.folder, study.wave)
    made = describe(source)
    book = outline(study, made)
    text = manuscript(book)
    paths = publish_all(
        source, folder, study.name, styles=styles, names=names, made=made, called_out=called_out(book)
    )  # fmt: skip
    target = folder / "manuscript.docx"
    write_whole(target, text)
    return [*paths, target]


def called_out(book: Book) -> dict[str, str]:
    """Return the chapter in which the manuscript calls each figure out, and those that refer to it, by its name."""
    found: dict[str, str] = {}
    for chapter in book.chapters:
        for name, exhibit in chapter.exhibits.items():
            if exhibit.kind != "figure":
                continue
            place = f"chapter {chapter.number}" if chapter.number else chapter.title
            found[name] = f"{found[name]}; referred to in {place}" if name in chapter.elsewhere else place
    return found
