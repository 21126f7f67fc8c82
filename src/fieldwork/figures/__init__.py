"""Figures for the page and the book, drawn from published estimates and from nothing else.

A figure is a specification (`Spec`): its words, the frame of what is drawn, and how. The registry makes every one that the
wave allows, in the order of the book; a style (`book`, `page`, `grey`, `web`, `slide`) draws it; `save` writes it in every
form that readers use. `figure` does all of it in one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.chapter import guarded
from fieldwork.figures import curve, gradient, spread
from fieldwork.figures.printing import Order, print_all
from fieldwork.figures.published import Published, published
from fieldwork.figures.registry import KINDS, describe, figure, history_of, published_of
from fieldwork.figures.saving import FORMATS, publisher_name, save
from fieldwork.figures.spec import Absence, Figure, Spec, numbered
from fieldwork.figures.style import BOOK, STYLES, Style
from fieldwork.provenance import write_whole

if TYPE_CHECKING:
    from fieldwork.chapter import Chapter
    from fieldwork.instrument import Instrument
    from fieldwork.study import Study

_LISTED = [
    *("figure", "file", "name", "title", "caption", "alternative_text", "source", "chapter", "width_inches"),
    *("called_out", "not_drawn"),
]

__all__ = [
    "FORMATS",
    "KINDS",
    "STYLES",
    "Absence",
    "Allowed",
    "Figure",
    "Published",
    "Spec",
    "allowed",
    "curve",
    "describe",
    "draw_all",
    "figure",
    "figure_list",
    "gradient",
    "history_of",
    "numbered",
    "publish_all",
    "published_of",
    "publisher_name",
    "save",
    "save_all",
    "spread",
]


@dataclass(frozen=True, slots=True)
class Allowed:
    """The figures that a wave allows, none drawn yet, and what it does not allow.

    Attributes
    ----------
    figures : tuple of Spec    In the order of the book; `save_all` draws them.
    missing : pd.DataFrame     Figures that are not there: `figure`, `title` and `reason`, one row each.
    """

    figures: tuple[Spec, ...]
    missing: pd.DataFrame


def allowed(
    estimates: pd.DataFrame,
    instrument: Instrument,
    study: Study,
    multiverse: pd.DataFrame | None = None,
    *,
    flow: Mapping[str, Any] | None = None,
    history: Sequence[tuple[str, pd.DataFrame]] = (),
) -> Allowed:
    """Return every figure that the published estimates of the study's wave allow, and why others are not there.

    Parameters
    ----------
    estimates : pd.DataFrame    Columns of `schema.ESTIMATES`, behind the gate.
    multiverse : pd.DataFrame or None    Columns of `schema.MULTIVERSE`: a specification curve for each claim.
    flow : mapping or None      Counts of cleaning, for the cohort.
    history : wave and published estimates of earlier waves, oldest first.
    """
    words = {"wave": study.wave, "study": study.title, "provenance": study.provenance}
    made = describe(published(estimates, instrument, multiverse=multiverse, flow=flow, history=tuple(history), **words))
    missing = [each for each in made if isinstance(each, Absence)]
    rows = [{"figure": numbered(each), "title": each.title, "reason": each.reason} for each in missing]
    return Allowed(
        tuple(each for each in made if isinstance(each, Spec)),
        pd.DataFrame(rows, columns=["figure", "title", "reason"]).astype("string"),
    )


def draw_all(
    estimates: pd.DataFrame,
    instrument: Instrument,
    study: Study,
    multiverse: pd.DataFrame | None = None,
    *,
    flow: Mapping[str, Any] | None = None,
    history: Sequence[tuple[str, pd.DataFrame]] = (),
    style: str | Style = BOOK,
) -> list[Figure]:
    """Draw every figure that the published estimates of the study's wave allow, in the order of the book; as `allowed`."""
    found = allowed(estimates, instrument, study, multiverse, flow=flow, history=history)
    return [each.draw(style) for each in found.figures]


def save_all(figures: Sequence[Spec | Figure], chapter: Chapter) -> list[Path]:
    """Save figures beside the reports of a chapter's wave, in `figures/`, every form of each.

    Those that are not drawn yet are drawn as the book has them, by several processes where there are many.
    """
    folder = chapter.path("figures", "reports")
    drawn = [path for each in figures if isinstance(each, Figure) for path in save(each, folder)]
    return drawn + print_all([Order(each, folder) for each in figures if isinstance(each, Spec)])


def publish_all(
    source: Published,
    folder: Path,
    study: str,
    *,
    styles: Sequence[str] = ("book", "grey", "web", "slide"),
    names: Sequence[str] = (),
    made: Sequence[Spec | Absence] | None = None,
    called_out: Mapping[str, str] | None = None,
    more: Sequence[Mapping[str, str]] = (),
) -> list[Path]:
    """Write every figure in several house styles, as a publisher wants them: `book/Quaie_Figure_03_02.pdf` and so on.

    Each style has a folder. Of the book's styles come PDF, SVG, PNG at 600 dots per inch, the data, alternative text and
    words; of the others SVG and PNG. `figures.csv` is the list of them, `figure_list`. Slow: a raster copy of print quality
    takes a sixth of a second of each figure; several processes draw where figures are many.

    Parameters
    ----------
    source : Published     As `published_of` reads it.
    folder : Path          Folder for the styles' folders.
    study : str            Short name of the survey, `Study.name`, which file names begin with.
    names : sequence of str    Figures to write; none: all. The list has all either way.
    made : sequence or None    What `describe` returned for the source; None: it is called.
    called_out : mapping or None    Where the manuscript calls each figure out, by its name.
    more : sequence    Rows of the list for figures that are not of the register, with columns of `figure_list`.
    """
    made = describe(source) if made is None else made
    orders = []
    for style in styles:
        full = style in {"book", "page", "grey"}
        wanted = FORMATS if style == "book" else ("pdf", "svg", "png") if full else ("svg", "png")
        orders += [
            Order(each, folder / style, style, publisher_name(each, study), wanted, dpi=0)
            for each in made
            if isinstance(each, Spec) and (not names or each.name in names)
        ]
    paths = print_all(orders)
    target = folder / "figures.csv"
    listed = figure_list(made, study, called_out or {})
    if more:
        rows = pd.DataFrame([dict.fromkeys(_LISTED, "") | dict(row) for row in more], columns=_LISTED)
        listed = pd.concat([listed, rows.astype("string")], ignore_index=True)
    write_whole(target, guarded(listed).to_csv(index=False, lineterminator="\n").encode())
    return [*paths, target]


def figure_list(
    made: Sequence[Spec | Absence], study: str, called_out: Mapping[str, str] = MappingProxyType({})
) -> pd.DataFrame:
    """Return the list of figures that goes to a publisher with the manuscript, one row each, in the order of the book.

    `figure` is its number in the text, `file` the vector copy at print size, `width_inches` that of the text block. A figure
    that was not drawn keeps its row, with the reason in `not_drawn` and neither file nor width. Texts are empty, never missing.

    Parameters
    ----------
    made : as `describe` returns them. study : short name of the survey, `Study.name`.
    called_out : where the manuscript calls each figure out, by its name.
    """
    rows = []
    for each in made:
        row = {
            "figure": numbered(each),
            "name": each.name,
            "title": each.title,
            "chapter": str(each.chapter) if each.chapter else "",
        }
        if isinstance(each, Spec):
            row |= {"caption": each.caption, "alternative_text": each.alt, "source": each.source}
            row |= {"called_out": called_out.get(each.name, "")}
            row |= {"file": f"{publisher_name(each, study)}.pdf", "width_inches": f"{BOOK.width:g}"}
        else:
            row |= {"not_drawn": each.reason}
        rows.append(dict.fromkeys(_LISTED, "") | row)
    return pd.DataFrame(rows, columns=_LISTED).astype("string")
