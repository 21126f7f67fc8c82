"""House style of the figures: type, ink, measures of the page, and how a figure is saved.

Figures are drawn at their final size, 4.5 inches wide, for a 6 x 9 inch book; nothing is scaled afterwards. Text is
never under 7 points, lines never under half a point, and no meaning hangs on colour alone: a grey print says the same.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from fieldwork.chapter import guarded
from fieldwork.provenance import write_whole

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = [
    "FORMATS",
    "INK",
    "SIZE",
    "WIDTH",
    "Figure",
    "Ink",
    "Size",
    "canvas",
    "house",
    "label_of",
    "lay",
    "save",
    "wrap",
]

logger = logging.getLogger(__name__)

WIDTH = 4.5
FORMATS = ("svg", "pdf", "png", "csv", "txt", "json")
_FALLBACK = "DejaVu Sans"


@dataclass(frozen=True, slots=True)
class Ink:
    """Inks of the house; every text ink holds 4.5:1 on white, and `estimate` and `pale` stay apart in grey.

    Attributes
    ----------
    text, quiet : str      Words that are read first; words that are read second.
    estimate : str         Points and intervals.
    reference : str        What a point is compared with.
    rule : str             Grid lines.
    pale : str             Fill of the second of two series.
    band : str             Ground of a row that is withheld.
    warning : str          The provenance banner.
    """

    text: str = "#1b1f24"
    quiet: str = "#4f575e"
    estimate: str = "#0f3d66"
    reference: str = "#8b939a"
    rule: str = "#d9dde1"
    pale: str = "#ffffff"
    band: str = "#eef0f2"
    warning: str = "#8a3300"


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


INK = Ink()
SIZE = Size()


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with the words and the data that belong to it.

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
    """

    name: str
    title: str
    caption: str
    alt: str
    long_description: str
    data: pd.DataFrame
    source: str
    drawing: Canvas = field(repr=False, compare=False)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, Any]]:
        """Show the drawing in a notebook, with its alternative text."""
        return (
            {"image/png": base64.b64encode(_bytes(self, "png", dpi=200)).decode("ascii"), "text/plain": self.alt},
            {"image/png": {"alt": self.alt, "width": round(self.drawing.get_figwidth() * 130)}},
        )


@cache
def family() -> tuple[str, ...]:
    """Return the font families in order of choice, Source Sans first when its package is installed.

    >>> family()[-1]
    'DejaVu Sans'
    """
    spec = importlib.util.find_spec("font_source_sans_pro")
    folder = Path(spec.origin).parent / "files" if spec is not None and spec.origin else Path()
    files = [folder / f"SourceSansPro-{cut}.ttf" for cut in ("Regular", "Bold")]
    if not all(file.is_file() for file in files):
        logger.warning("Source Sans is not installed: figures are set in %s", _FALLBACK)
        return (_FALLBACK,)
    for file in files:
        font_manager.fontManager.addfont(file)
    return (font_manager.FontProperties(fname=files[0]).get_name(), _FALLBACK)


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
    """Return how wide a line of text is, in inches, in house style."""
    return _width_in(text, size, weight, tuple(mpl.rcParams["font.family"]))


@lru_cache(maxsize=8192)
def _width_in(text: str, size: float, weight: str, _family: tuple[str, ...]) -> float:
    # The curves of a wave share most of their labels, and each measure takes milliseconds.
    drawing = canvas(1.0)
    box = Text(0, 0, text, size=size, weight=weight, figure=drawing).get_window_extent()
    return float(box.width) / drawing.dpi


def wrap(text: str, width: float, size: float, *, weight: str = "regular", lines: int = 3) -> list[str]:
    """Break text into lines of at most `width` inches; what does not fit into `lines` ends in an ellipsis.

    >>> with house():
    ...     wrap("Chief Data and AI Officer", 0.9, 8.0)
    ['Chief Data and AI', 'Officer']
    """
    out: list[str] = []
    line = ""
    for word in _words(text, width, size, weight):
        longer = f"{line} {word}".strip()
        if line and width_of(longer, size, weight) > width:
            out.append(line)
            line = word
        else:
            line = longer
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


def lay(drawing: Canvas, x: float, y: float, lines: Sequence[str], *, size: float, bold: bool = False) -> None:
    """Lay lines of text left-aligned at `x` inches, the block centred on `y` inches from the bottom of the drawing."""
    step = 1.18 * size / 72
    first = y + step * (len(lines) - 1) / 2 - 0.35 * size / 72
    for k, line in enumerate(lines):
        drawing.text(
            x / drawing.get_figwidth(),
            (first - k * step) / drawing.get_figheight(),
            line,
            size=size,
            weight="bold" if bold else "regular",
            va="baseline",
        )


def label_of(instrument: Instrument, measure: str) -> str:
    """Return what readers call a measure, in one line."""
    return " ".join(instrument.label(measure).split())


def save(figure: Figure, folder: Path) -> tuple[Path, ...]:
    """Write a figure as SVG (outlined text), PDF (fonts embedded), PNG (600 dpi), CSV, alt text and its words as JSON.

    The same figure gives the same bytes: no date, no random identifier. Cells that a spreadsheet would take for a
    formula are written with an apostrophe in front.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = {key: getattr(figure, key) for key in ("name", "title", "caption", "alt", "long_description", "source")}
    made: Mapping[str, bytes] = {
        "svg": _bytes(figure, "svg"),
        "pdf": _bytes(figure, "pdf"),
        "png": _bytes(figure, "png", dpi=600),
        "csv": guarded(figure.data).to_csv(index=False, lineterminator="\n").encode(),
        "txt": f"{figure.alt}\n".encode(),
        "json": (json.dumps(words, ensure_ascii=False, indent=2) + "\n").encode(),
    }
    for ending in FORMATS:
        write_whole(folder / f"{figure.name}.{ending}", made[ending])
    return tuple(folder / f"{figure.name}.{ending}" for ending in FORMATS)


def _bytes(figure: Figure, ending: str, dpi: float | None = None) -> bytes:
    metadata: dict[str, dict[str, str | None]] = {
        "svg": {"Date": None, "Creator": None, "Title": figure.title},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Title": figure.title},
        "png": {"Software": None},
    }
    target = io.BytesIO()
    with house():
        figure.drawing.savefig(target, format=ending, dpi=dpi or figure.drawing.dpi, metadata=metadata[ending])
    return target.getvalue()
