"""House styles of the figures: type, ink and measures of the page, for the book, the web and the slide.

A figure is drawn at its final size and never scaled: 4.5 inches wide in a 6 x 9 inch book, 5 x 7.5 at most on a page of its
own. Text is never under 7 points, lines never under half a point, and no meaning hangs on colour alone: a grey print says
the same. `GREY` is the book without colour, for printers that ask for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import matplotlib as mpl
import seaborn as sns
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Canvas

from fieldwork.errors import DataError, listed, nearest
from fieldwork.figures.fonts import family

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = [
    "BOOK",
    "GREY",
    "INK",
    "PAGE",
    "SIZE",
    "SLIDE",
    "STYLES",
    "WEB",
    "WIDTH",
    "Ink",
    "Size",
    "Style",
    "canvas",
    "column_of",
    "contrast",
    "house",
    "label_of",
    "on",
    "short_of",
    "style_of",
    "width_of",
    "wrap",
]

WIDTH = 4.5


@dataclass(frozen=True, slots=True)
class Ink:
    """Inks of a style; every text ink holds 4.5:1 on white, and fills that lie side by side are 1.4:1 apart in grey.

    Attributes
    ----------
    text, quiet : str      Words that are read first; words that are read second.
    estimate : str         Points and intervals.
    second : str           Fill of a second series, apart from `estimate` and `pale` in grey.
    reference : str        What a point is compared with.
    rule : str             Grid lines.
    pale : str             Fill of the other of two series.
    band : str             Ground of a row that is withheld.
    warning : str          The provenance banner.
    low, middle, high : str    Scale of a grid of cells, light to dark.
    """

    text: str = "#1b1f24"
    quiet: str = "#4f575e"
    estimate: str = "#0f3d66"
    second: str = "#8fb0cc"
    reference: str = "#8b939a"
    rule: str = "#d9dde1"
    pale: str = "#ffffff"
    band: str = "#eef0f2"
    warning: str = "#8a3300"
    low: str = "#f4f7fa"
    middle: str = "#8fb0cc"
    high: str = "#0f3d66"

    def grey(self) -> Ink:
        """Return the same inks without colour, each at its own lightness.

        >>> INK.grey().estimate
        '#3b3b3b'
        """
        return replace(self, **{each.name: _grey(getattr(self, each.name)) for each in fields(self)})


@dataclass(frozen=True, slots=True)
class Size:
    """Type sizes in points at final size.

    Attributes
    ----------
    title, subtitle, label, small : float    None is under 7.
    """

    title: float = 10.5
    subtitle: float = 8.0
    label: float = 8.0
    small: float = 7.0


@dataclass(frozen=True, slots=True)
class Style:
    """A house style: where a figure is to stand.

    Attributes
    ----------
    name : str               `book`, `page`, `grey`, `web`, `slide`.
    width : float            Inches.
    height : float or None   Inches that may not be exceeded; None: as tall as the figure needs.
    filled : bool            The sheet keeps the ratio of width and height: a slide is 16:9 whatever stands on it.
    ink : Ink                Inks.
    size : Size              Type sizes in points.
    unit : float             Factor of the distances between lines and rows: type larger than the book's stands further apart.
    dpi : int                Of a raster copy for print or screen.
    """

    name: str
    width: float
    height: float | None
    filled: bool
    ink: Ink
    size: Size
    unit: float
    dpi: int


def _lightness(colour: str) -> float:
    """Relative luminance of a colour, as WCAG 2.2 has it."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21, which is that of their greys (WCAG 2.2).

    >>> round(contrast("#000000", "#ffffff"), 1), round(contrast(INK.quiet, "white"), 1)
    (21.0, 7.3)
    """
    high, low = sorted((_lightness(one), _lightness(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def on(ground: str) -> str:
    """Return black or white, whichever reads better on a ground; one of them always holds 4.5:1.

    >>> on("#0f3d66"), on("#f4f7fa")
    ('#ffffff', '#000000')
    """
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, ground))


def _grey(colour: str) -> str:
    light = _lightness(colour)
    level = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return str(to_hex((level, level, level)))


INK = Ink()
SIZE = Size()
_VIVID = Ink(estimate="#0b5394", second="#8cbbe6", low="#eaf3fb", middle="#7db3e0", high="#0b3c6f", reference="#7b858d")

BOOK = Style("book", WIDTH, None, filled=False, ink=INK, size=SIZE, unit=1.0, dpi=600)
PAGE = Style("page", 5.0, 7.5, filled=False, ink=INK, size=Size(11.0, 8.5, 8.5, 7.5), unit=1.06, dpi=600)
GREY = Style("grey", WIDTH, None, filled=False, ink=INK.grey(), size=SIZE, unit=1.0, dpi=600)
WEB = Style("web", 6.6, None, filled=False, ink=_VIVID, size=Size(13.0, 10.0, 10.0, 9.0), unit=1.25, dpi=192)
# A slide of 13.33 x 7.5 inches at half its size: vector copies fill it, the raster copy has 1920 x 1080 points.
SLIDE = Style("slide", 20 / 3, 3.75, filled=True, ink=_VIVID, size=Size(13.0, 9.0, 9.0, 8.0), unit=1.12, dpi=288)
STYLES = {style.name: style for style in (BOOK, PAGE, GREY, WEB, SLIDE)}


def style_of(name: str | Style) -> Style:
    """Return a house style by its name; DataError for a name that is none.

    >>> style_of("web").dpi
    192
    """
    if isinstance(name, Style):
        return name
    if name not in STYLES:
        near = nearest(name, list(STYLES))
        raise DataError(
            f"there is no house style {name!r}",
            where="figures", expected=listed(STYLES), got=name,
            hint=f"did you mean {near}?" if near else "book is the one that the run writes",
        )  # fmt: skip
    return STYLES[name]


@contextmanager
def house() -> Iterator[None]:
    """Draw and save in house style; the settings before are restored afterwards.

    >>> before = mpl.rcParams["pdf.fonttype"]
    >>> with house():
    ...     mpl.rcParams["pdf.fonttype"], mpl.rcParams["text.parse_math"]
    (42, False)
    >>> mpl.rcParams["pdf.fonttype"] == before
    True
    """
    settings = {
        **sns.axes_style("ticks"),
        "font.family": list(family()),
        "font.size": SIZE.label,
        "text.color": INK.text,
        "text.parse_math": False,
        # Hinted letters have whole pixels: a line would be longer on one screen than on another, and in no print as measured.
        "text.hinting": "none",
        "axes.unicode_minus": True,
        "svg.fonttype": "path",
        "svg.hashsalt": "fieldwork",
        "pdf.fonttype": 42,
        "path.simplify": False,
        "savefig.facecolor": "white",
        "savefig.transparent": False,
    }
    with mpl.rc_context(settings):
        yield


def canvas(height: float, width: float = WIDTH) -> Canvas:
    """Return an empty drawing of the given inches that belongs to no window and to no global state."""
    drawing = Canvas(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(drawing)
    return drawing


def width_of(text: str, size: float, weight: str = "regular") -> float:
    """Return how wide a line of text is, in inches, in house style.

    The widths of its words and of the spaces between them: words return from figure to figure, and each measure is taken
    once.
    """
    return _width_of(text, size, weight, tuple(mpl.rcParams["font.family"]))


@lru_cache(maxsize=16384)
def _width_of(text: str, size: float, weight: str, face: tuple[str, ...]) -> float:
    words = text.split(" ")
    return math.fsum(_width_in(word, size, weight, face) for word in words) + (len(words) - 1) * _width_in(
        "\N{NO-BREAK SPACE}", size, weight, face
    )


@lru_cache(maxsize=16384)
def _width_in(text: str, size: float, weight: str, face: tuple[str, ...]) -> float:
    prop = font_manager.FontProperties(family=list(face), size=size, weight=weight)
    if not text:
        return 0.0
    wide, *_ = _renderer().get_text_width_height_descent(text, prop, ismath=False)
    return float(wide) / 100.0


@cache
def _renderer() -> RendererAgg:
    made: RendererAgg = FigureCanvasAgg(canvas(1.0)).get_renderer()
    return made


def wrap(text: str, width: float, size: float, *, weight: str = "regular", lines: int = 3) -> list[str]:
    """Break text into lines of at most `width` inches; what does not fit into `lines` ends in an ellipsis.

    >>> with house():
    ...     wrap("Chief Data and AI Officer", 0.9, 8.0)
    ['Chief Data and AI', 'Officer']
    """
    out: list[str] = []
    line, taken = "", 0.0
    space = width_of("\N{NO-BREAK SPACE}", size, weight)
    for word in _words(text, width, size, weight):
        mine = width_of(word, size, weight)
        if line and taken + space + mine > width:
            out.append(line)
            line, taken = word, mine
        else:
            line, taken = f"{line} {word}".strip(), taken + mine + (space if line else 0.0)
    out.append(line)
    if len(out) <= lines:
        return out
    last = out[lines - 1]
    while last and width_of(f"{last}…", size, weight) > width:
        last = last[:-1]
    return [*out[: lines - 1], f"{last.rstrip()}…"]


def _words(text: str, width: float, size: float, weight: str) -> Iterator[str]:
    for word in text.split():
        rest = word[:200]
        while width_of(rest, size, weight) > width and len(rest) > 1:
            cut = next(k for k in range(len(rest) - 1, 0, -1) if k == 1 or width_of(rest[:k], size, weight) <= width)
            yield rest[:cut]
            rest = rest[cut:]
        yield rest


def label_of(instrument: Instrument, measure: str) -> str:
    """Return what readers call a measure, in one line."""
    return " ".join(instrument.label(measure).split())


def column_of(style: Style, width: float, inches: float) -> float:
    """Return how wide a column of labels may be: that of the book, and on a slide a quarter of the sheet."""
    return max(inches * style.unit, 0.26 * width if style.filled else 0.0)


def short_of(instrument: Instrument, role: str) -> str:
    """Return what stands for a role at the head of a narrow column: its id where that is an abbreviation, else its label."""
    label = next((" ".join(each.label.split()) for each in instrument.roles if each.id == role), role)
    return min(label, role, key=len) if role.isupper() else label
