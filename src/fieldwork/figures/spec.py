"""The specification of a figure: its words, the data that it draws and how; apart from any style and any file."""

from __future__ import annotations

import base64
import contextlib
import html
import io
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd
import pypdfium2
from matplotlib.figure import Figure as Canvas

from fieldwork.figures.fonts import embedded, looked_up_once
from fieldwork.figures.sheet import Sheet, compose
from fieldwork.figures.style import BOOK, Style, house, style_of
from fieldwork.figures.vector import vectors

__all__ = ["Absence", "Figure", "Plot", "Spec", "encoded", "numbered", "raster"]

_POINTS = 72  # in an inch
_PACKED = 3  # of zlib's nine levels: a seventh larger than its sixth, in three quarters of the time


class Plot(Protocol):
    """The drawing between the words of a figure, for any style."""

    def height(self, style: Style, width: float) -> float:
        """Inches that it needs at a width."""

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw it on the sheet, `top` inches from the upper edge, `height` inches tall."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure with the words and the data that belong to it.

    Attributes
    ----------
    name : str               File name without its ending.
    title : str              What the figure shows; never a finding.
    caption : str            How to read it: unit, interval, marks.
    alt : str                Chart type, what it shows, main reading; no number that is not drawn.
    long_description : str   Every value in sentences, for readers who do not see it.
    data : pd.DataFrame      What is drawn, one row per mark.
    source : str             Survey, wave, base and method; says so when the data are simulated.
    drawing : Canvas         The drawing itself.
    style : str              House style that it is drawn in.
    chapter, number : int    Place in the book: Figure 5.2 is the second of chapter 5. 0: none.
    """

    name: str
    title: str
    caption: str
    alt: str
    long_description: str
    data: pd.DataFrame
    source: str
    drawing: Canvas = field(repr=False, compare=False)
    style: str = "book"
    chapter: int = 0
    number: int = 0

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, Any]]:
        """Show the drawing in a notebook, with its alternative text."""
        return (
            {
                "image/png": base64.b64encode(raster(encoded(self, "pdf")["pdf"], 200)).decode("ascii"),
                "text/plain": self.alt,
            },
            {"image/png": {"alt": self.alt, "width": round(self.drawing.get_figwidth() * 130)}},
        )


@dataclass(frozen=True, slots=True)
class Spec:
    """One figure, from which every style is drawn.

    Attributes
    ----------
    name, title, alt, long_description, source : str    As in `Figure`.
    subtitle : str           Line under the title: unit and interval.
    notes : str              What stands under the drawing: marks, and what is not shown and why.
    data : pd.DataFrame      What is drawn, one row per mark; without a number where the gate held it back.
    plot : Plot              How it is drawn.
    simulated : bool         The banner stands over it.
    chapter, number : int    Place in the book.
    """

    name: str
    title: str
    subtitle: str
    notes: str
    source: str
    alt: str
    long_description: str
    data: pd.DataFrame
    plot: Plot = field(repr=False, compare=False)
    simulated: bool = True
    chapter: int = 0
    number: int = 0

    @property
    def caption(self) -> str:
        """How to read the figure, in one paragraph."""
        return f"{self.subtitle} {self.notes}".strip()

    def draw(self, style: str | Style = BOOK) -> Figure:
        """Draw the figure in a house style; DataError for a style that is none."""
        wanted = style_of(style)
        with house():
            drawing = compose(
                wanted, self.plot, title=self.title, subtitle=self.subtitle, foot=(self.notes, self.source),
                banner="Simulated data" if self.simulated else "",
            )  # fmt: skip
        return Figure(
            self.name, self.title, self.caption, self.alt, self.long_description, self.data, self.source, drawing,
            wanted.name, self.chapter, self.number,
        )  # fmt: skip

    def _repr_mimebundle_(self, **kept: object) -> tuple[dict[str, str], dict[str, Any]]:
        """Show the figure in a notebook as the book has it."""
        return self.draw()._repr_mimebundle_(**kept)


@dataclass(frozen=True, slots=True)
class Absence:
    """A figure that the wave does not allow, with the reason; it keeps its number, and no empty picture stands for it.

    Attributes
    ----------
    name, title : str        As the figure would have.
    reason : str             What is missing, in one sentence.
    chapter, number : int    Place in the book.
    """

    name: str
    title: str
    reason: str
    chapter: int = 0
    number: int = 0

    def _repr_html_(self) -> str:
        """Say in a notebook what is not drawn and why."""
        place = f"Figure {self.chapter}.{self.number}. " if self.number else ""
        return f"<p>{html.escape(f'{place}{self.title}: not drawn. {self.reason}')}</p>"


def numbered(figure: Figure | Spec | Absence) -> str:
    """Return what the text calls a figure, as `Figure 5.2`; empty where it has no place in the book.

    >>> numbered(Absence("waves", "Change", "One wave.", chapter=8, number=3))
    'Figure 8.3'
    """
    return f"Figure {figure.chapter}.{figure.number}" if figure.number else ""


def encoded(figure: Figure, *endings: str) -> dict[str, bytes]:
    """Return the drawing as bytes of `svg` (outlined text) and `pdf` (fonts embedded), as asked; the same each time."""
    metadata: dict[str, dict[str, str | None]] = {
        "svg": {"Date": None, "Creator": None, "Title": figure.title},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Title": figure.title},
    }
    with house(), looked_up_once(), embedded():
        return vectors(figure.drawing, {ending: metadata[ending] for ending in endings})


def raster(pdf: bytes, dpi: float, *, grey: bool = False) -> bytes:
    """Return the picture of a figure's PDF as PNG, so that the two can never differ; in one channel of three where it is grey.

    To set the same lines of text a second time takes six times as long as to draw what is set already.
    """
    target = io.BytesIO()
    with contextlib.closing(pypdfium2.PdfDocument(pdf)) as document:
        # A whole number of dots stays one: the size is rounded up, and a last bit may be too much.
        picture = document[0].render(scale=dpi / _POINTS * (1 - 1e-9), may_draw_forms=False).to_pil()
        picture.convert("L" if grey else "RGB").save(target, "png", dpi=(dpi, dpi), compress_level=_PACKED)
    return target.getvalue()
