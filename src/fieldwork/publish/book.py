"""The book of a wave: figures in every house style with their list, the manuscript that calls them out, and a proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwork.essays.book import manuscript
from fieldwork.essays.proof import proof
from fieldwork.figures import Spec, describe, publish_all, published_of, publisher_name
from fieldwork.figures.spec import encoded
from fieldwork.provenance import write_whole
from fieldwork.publish.outline import outline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fieldwork.essays.book import Book
    from fieldwork.figures import Absence
    from fieldwork.study import Study

__all__ = ["called_out", "write"]

_STYLES = ("book", "grey", "web", "slide")


def write(study: Study, folder: Path, *, styles: Sequence[str] = _STYLES, names: Sequence[str] = ()) -> list[Path]:
    """Write figures, `figures.csv`, `manuscript.docx` and `proof.pdf`, and return their paths.

    The text is put together before the first figure is drawn: what it refuses, it refuses at once. The proof has the figures
    as the style `book` draws them.

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
    documents = {"manuscript.docx": text, "proof.pdf": proof(book, _pictures(made, folder / "book", study.name))}
    for name, content in documents.items():
        write_whole(folder / name, content)
    return [*paths, *(folder / name for name in documents)]


def _pictures(made: Sequence[Spec | Absence], folder: Path, study: str) -> dict[str, bytes]:
    """Return the drawing of each figure by its identifier in the text; one that was not asked for is drawn for the proof."""
    found = {}
    for each in made:
        if isinstance(each, Spec):
            path = folder / f"{publisher_name(each, study)}.svg"
            found[f"figure-{each.name}"] = path.read_bytes() if path.is_file() else encoded(each.draw(), "svg")
    return found


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
