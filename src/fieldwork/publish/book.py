"""The book of a wave: figures in every house style with their list, the manuscript that calls them out, and a proof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldwork.essays.book import manuscript
from fieldwork.essays.proof import proof
from fieldwork.figures import Spec, describe, publish_all, published_of, publisher_name
from fieldwork.figures.spec import encoded
from fieldwork.figures.style import BOOK
from fieldwork.provenance import write_whole
from fieldwork.publish.outline import outline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from fieldwork.essays.book import Book
    from fieldwork.essays.exhibits import Exhibit
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
    own = list(_own(book, study))
    paths = publish_all(
        source, folder, study.name, styles=styles, names=names, made=made, called_out=called_out(book),
        more=[each.row(called_out(book)) for each in own],
    )  # fmt: skip
    for each in own:
        for ending, content in each.files.items():
            target = folder / "book" / f"{each.file}.{ending}"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, content)
            paths.append(target)
    pictures = _pictures(made, folder / "book", study.name) | {each.exhibit.id: each.files["svg"] for each in own}
    documents = {"manuscript.docx": text, "proof.pdf": proof(book, pictures)}
    for name, content in documents.items():
        write_whole(folder / name, content)
    return [*paths, *(folder / name for name in documents)]


@dataclass(frozen=True, slots=True)
class _Own:
    """A figure of an essay that is none of the register: a study's own, as the run saved it."""

    exhibit: Exhibit
    chapter: int
    number: int
    study: str
    files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        return self.exhibit.name

    @property
    def file(self) -> str:
        return publisher_name(self, self.study)

    def row(self, places: Mapping[str, str]) -> dict[str, str]:
        """Return its row of the list of figures."""
        return {
            "figure": self.exhibit.heading,
            "file": f"{self.file}.{'pdf' if 'pdf' in self.files else 'svg'}",
            "name": self.name,
            "title": self.exhibit.title,
            "caption": self.exhibit.caption,
            "alternative_text": self.exhibit.alt,
            "source": self.exhibit.source,
            "chapter": str(self.chapter),
            "width_inches": f"{BOOK.width:g}",
            "called_out": places[self.name],
        }


def _own(book: Book, study: Study) -> Iterator[_Own]:
    for chapter in book.chapters:
        for exhibit in chapter.own:
            if exhibit.kind == "figure" and exhibit.files:
                vector = study.reports / "figures" / f"{exhibit.name}.pdf"
                more = {"pdf": vector.read_bytes()} if vector.is_file() else {}
                number = int(exhibit.label.rpartition(".")[2])
                yield _Own(exhibit, chapter.number, number, study.name, {**exhibit.files, **more})


def _pictures(made: Sequence[Spec | Absence], folder: Path, study: str) -> dict[str, bytes]:
    """Return the drawing of each figure by its identifier in the text; one that was not asked for is drawn for the proof."""
    found = {}
    for each in made:
        if isinstance(each, Spec):
            path = folder / f"{publisher_name(each, study)}.svg"
            found[f"figure-{each.name}"] = path.read_bytes() if path.is_file() else encoded(each.draw(), "svg")["svg"]
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
