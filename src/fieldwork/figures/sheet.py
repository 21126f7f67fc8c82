"""The sheet that a figure is drawn on: words above, words below, and places in inches between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from fieldwork.figures.style import Style, canvas, width_of, wrap

if TYPE_CHECKING:
    from fieldwork.figures.spec import Plot

__all__ = ["Sheet", "compose", "legend"]

_STRETCH = 1.45  # how far rows may be drawn apart to fill a slide
_EDGE = 0.03  # inches that words keep from the edge


@dataclass(frozen=True, slots=True)
class Sheet:
    """An empty drawing of a style, measured in inches from its upper left corner.

    Attributes
    ----------
    drawing : Canvas         The drawing.
    style : Style            Its house style.
    width, height : float    Inches.
    """

    drawing: Canvas
    style: Style
    width: float
    height: float

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Return axes without ticks and frame, their upper left corner at `x`, `y`.

        The box is rounded: a clip path is named by it, and its last bits differ between versions of Python and numpy.
        """
        made = self.drawing.add_axes((
            round(x / self.width, 9), round(1.0 - (y + height) / self.height, 9),
            round(width / self.width, 9), round(height / self.height, 9),
        ))  # fmt: skip
        made.set(xticks=[], yticks=[])
        for side in made.spines.values():
            side.set_visible(False)
        return made

    def text(
        self, x: float, y: float, words: str, *, size: float, colour: str = "", weight: str = "regular",
        ha: str = "left", va: str = "center_baseline", rotation: float = 0.0,
    ) -> None:  # fmt: skip
        """Write one line of text at a place."""
        self.drawing.text(
            x / self.width, 1.0 - y / self.height, words, size=size, color=colour or self.style.ink.text,
            weight=weight, ha=ha, va=va, rotation=rotation,
        )  # fmt: skip

    def lines(
        self, x: float, y: float, lines: Sequence[str], *, size: float, colour: str = "", weight: str = "regular",
        ha: str = "left",
    ) -> None:  # fmt: skip
        """Write lines of text, the block centred on `y`."""
        step = 1.18 * size / 72
        first = y - step * (len(lines) - 1) / 2 + 0.35 * size / 72
        for k, line in enumerate(lines):
            self.text(x, first + k * step, line, size=size, colour=colour, weight=weight, ha=ha, va="baseline")

    def box(self, x: float, y: float, width: float, height: float, *, fill: str, edge: str) -> None:
        """Draw a filled box with an edge of half a point, its upper left corner at `x`, `y`."""
        self.drawing.add_artist(Rectangle(
            (x / self.width, 1.0 - (y + height) / self.height), width / self.width, height / self.height,
            transform=self.drawing.transFigure, facecolor=fill, edgecolor=edge, linewidth=0.5,
        ))  # fmt: skip

    def rule(self, x: float, y: float, to_x: float, to_y: float, *, colour: str, width: float = 0.5) -> None:
        """Draw a line from one place to another, `width` points thick."""
        xs, ys = (x / self.width, to_x / self.width), (1.0 - y / self.height, 1.0 - to_y / self.height)
        self.drawing.add_artist(Line2D(xs, ys, color=colour, linewidth=width))


def compose(
    style: Style, plot: Plot, *, title: str, subtitle: str, foot: Sequence[str], banner: str
) -> Canvas:  # fmt: skip
    """Draw a figure: banner, title and subtitle, the plot, and what stands under it.

    The sheet is as tall as its content. A style that keeps a ratio gets a wider sheet where the content is too tall, and
    rows drawn apart where it is not.
    """
    width = style.width
    while True:
        head = _head(style, width, banner, title, subtitle)
        under = [line for text in foot if text for line in wrap(text, width - 2 * _EDGE, style.size.small, lines=12)]
        top = math.fsum(step for *_, step in head) + 0.08 * style.unit
        step = 1.18 * style.size.small / 72
        bottom = step * len(under) + 0.07
        natural = plot.height(style, width)
        height, tall = top + natural + bottom, natural
        if not style.filled or style.height is None:
            break
        limit = width * style.height / style.width
        if height <= limit + 1e-9:
            tall = min(limit - top - bottom, natural * _STRETCH)
            height = limit
            break
        width *= 1.025
    sheet = Sheet(canvas(height, width), style, width, height)
    y = _EDGE
    for line, size, colour, weight, down in head:
        sheet.text(0.0, y, line, size=size, colour=colour, weight=weight, va="top")
        y += down
    plot.draw(sheet, top, tall)
    for k, line in enumerate(reversed(under)):
        sheet.text(0.0, height - 0.045 - k * step, line, size=style.size.small, colour=style.ink.quiet, va="baseline")
    return sheet.drawing


def _head(
    style: Style, width: float, banner: str, title: str, subtitle: str
) -> list[tuple[str, float, str, str, float]]:
    """Lines over the plot: text, size, colour, weight and the inches that the line takes."""
    ink, size = style.ink, style.size
    room = width - 2 * _EDGE
    styled = (
        (banner, size.label, ink.warning, "bold", 1.35),
        (title, size.title, ink.text, "bold", 1.17),
        (subtitle, size.subtitle, ink.quiet, "regular", 1.22),
    )
    return [
        (line, points, colour, weight, lead * points / 72)
        for text, points, colour, weight, lead in styled
        if text
        for line in wrap(text, room, points, weight=weight, lines=3)
    ]


def legend(sheet: Sheet, x: float, y: float, entries: Sequence[tuple[str, str, str, str]]) -> None:
    """Write marks with their words in one line, from `x`; an entry is marker, fill, edge and words."""
    style = sheet.style
    for marker, fill, edge, words in entries:
        middle = x + 0.06 * style.unit
        dot = Line2D([middle / sheet.width], [1.0 - y / sheet.height], linestyle="none", marker=marker, markersize=4.2)
        dot.set(markerfacecolor=fill, markeredgecolor=edge, markeredgewidth=0.9)
        sheet.drawing.add_artist(dot)
        sheet.text(x + 0.14 * style.unit, y + 0.35 * style.size.small / 72, words, size=style.size.small,
                   colour=style.ink.quiet, va="baseline")  # fmt: skip
        x += 0.14 * style.unit + width_of(words, style.size.small) + 0.16
