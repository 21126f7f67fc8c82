"""A chart of stacked bars: the answers of each row side by side, from nil to all of them or to both sides of a middle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.patches import Rectangle

from fieldwork.figures.published import WITHHELD, number
from fieldwork.figures.style import Ink, Style, column_of, contrast, on, width_of, wrap

if TYPE_CHECKING:
    from fieldwork.figures.sheet import Sheet

__all__ = ["MOST", "StackChart", "tones"]

MOST = 7  # answers of one bar: more have no seven greys that are apart in print
_PAD = 0.025  # inches between a bar and the number beside it


@cache
def tones(ink: Ink, count: int) -> tuple[str, ...]:
    """Return fills from light to dark, each as far from the next in grey as the lightest is from the darkest in all.

    >>> from fieldwork.figures.style import INK
    >>> five = tones(INK, 5)
    >>> min(contrast(one, two) for one, two in zip(five, five[1:])) > 1.5
    True
    """
    scale = LinearSegmentedColormap.from_list("house", [ink.low, ink.middle, ink.high])
    known = [str(to_hex(scale(step / 500))) for step in range(501)]
    away = [contrast(known[0], each) for each in known]
    steps = [away[-1] ** (k / max(count - 1, 1)) for k in range(count)]
    return tuple(known[min(range(501), key=lambda at: abs(away[at] - step))] for step in steps)


@dataclass(frozen=True, slots=True)
class StackChart:
    """A chart of stacked bars.

    Attributes
    ----------
    data : pd.DataFrame    Columns row, series, estimate, mark; one row per answer of each bar.
    labels : dict          Label of each bar, by row, from the top.
    answers : dict         What each series is called, in the order from left to right.
    middle : str or None   The series that is cut in two by the line in the middle; empty: the line lies between the halves;
                           None: bars begin at the left edge and have one length.
    bases : dict           What stands at the right of each row.
    breaks : tuple of str  Rows before which a gap is left.
    """

    data: pd.DataFrame
    labels: Mapping[str, str]
    answers: Mapping[str, str]
    middle: str | None = None
    bases: Mapping[str, str] | None = None
    breaks: tuple[str, ...] = ()

    def height(self, style: Style, width: float) -> float:
        """Inches that the chart needs."""
        _, labels = self._labels(style, width)
        rows = math.fsum(self._tall(style, lines) for lines in labels)
        return self._head(style, width) + rows + 0.07 * style.unit * len(self.breaks) + 0.06

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw it, the rows as tall as the height lets them be."""
        style, size = sheet.style, sheet.style.size
        head, gap = self._head(style, sheet.width), 0.07 * style.unit
        left, labels = self._labels(style, sheet.width)
        right = self._right(style)
        tall = [self._tall(style, lines) for lines in labels]
        stretch = (height - head - gap * len(self.breaks) - 0.06) / math.fsum(tall)
        wide, deep = sheet.width - left - right, height - head - 0.06
        self._legend(sheet, top)
        axes = sheet.axes(left, top + head, wide, deep)
        bars = self._bars()
        low, high = self._reach(bars, style, wide)
        axes.set(xlim=(low, high), ylim=(deep, 0.0))
        if self.bases is not None:
            sheet.text(
                sheet.width, top + head - 0.04, "n", size=size.small, colour=style.ink.quiet, ha="right", va="bottom"
            )
        y = 0.0
        for (key, _), lines, own in zip(self.labels.items(), labels, tall, strict=True):
            y += gap if key in self.breaks else 0.0
            each = own * stretch
            sheet.lines(0.0, top + head + y + each / 2, lines, size=size.label)
            thick = 0.15 * style.unit * stretch
            self._bar(axes, style, bars.get(key), y + (each - thick) / 2, thick, (low, high), wide)
            if self.bases is not None:
                sheet.lines(sheet.width, top + head + y + each / 2, [self.bases.get(key, "")], size=size.small,
                            colour=style.ink.quiet, ha="right")  # fmt: skip
            y += each
        if self.middle is not None:
            axes.plot([0.0, 0.0], [0.0, deep], color=style.ink.reference, linewidth=0.6, zorder=1)

    # ------------------------------------------------------------------------------------------------ measures

    def _labels(self, style: Style, width: float) -> tuple[float, list[list[str]]]:
        size = style.size.label
        widest = max(width_of(label, size) for label in self.labels.values())
        left = min(column_of(style, width, 1.5), 0.4 * width, widest + 0.03) + 0.08
        return left, [wrap(label, left - 0.08, size, lines=4) for label in self.labels.values()]

    def _tall(self, style: Style, lines: Sequence[str]) -> float:
        return max(0.2 * style.unit, 1.18 * style.size.label / 72 * len(lines) + 0.04)

    def _right(self, style: Style) -> float:
        if self.bases is None:
            return 0.02
        return max(width_of(base, style.size.small) for base in (*self.bases.values(), "n")) + 0.06

    def _entries(self, style: Style, width: float) -> list[list[tuple[str, str, float]]]:
        """Answers with their fills and widths, broken into lines."""
        lines: list[list[tuple[str, str, float]]] = [[]]
        taken = 0.0
        for (_, words), fill in zip(self.answers.items(), self._fills(style), strict=True):
            text = wrap(words, width - 0.3 * style.unit, style.size.small, lines=1)[0]
            wide = 0.15 * style.unit + width_of(text, style.size.small) + 0.14
            if lines[-1] and taken + wide > width:
                lines.append([])
                taken = 0.0
            lines[-1].append((text, fill, wide))
            taken += wide
        return lines

    def _head(self, style: Style, width: float) -> float:
        base = 1.2 * style.size.small / 72 if self.bases is not None else 0.0
        return 0.15 * style.unit * len(self._entries(style, width)) + base + 0.03

    def _fills(self, style: Style) -> Sequence[str]:
        if self.middle is None:
            return tones(style.ink, len(self.answers))
        sides = [style.ink.second, style.ink.low, style.ink.estimate]
        return sides if self.middle else [sides[0], sides[2]]

    # ----------------------------------------------------------------------------------------------------- marks

    def _bars(self) -> dict[str, list[float]]:
        """Widths of the answers of each row, that add to one; a row without one of its numbers has no bar."""
        found: dict[str, dict[str, Any]] = {}
        for row in self.data.to_dict("records"):
            found.setdefault(str(row["row"]), {})[str(row["series"])] = row
        bars = {}
        for key, cells in found.items():
            shown = [cells[name] for name in self.answers if name in cells and cells[name]["mark"] not in WITHHELD]
            # Published shares are rounded and need not add to one.
            whole = math.fsum(float(row["estimate"]) for row in shown)
            if len(shown) == len(self.answers) and whole > 0:
                bars[key] = [float(row["estimate"]) / whole for row in shown]
        return bars

    def _start(self, widths: Sequence[float]) -> float:
        if self.middle is None:
            return 0.0
        if not self.middle:
            return -widths[0]
        at = list(self.answers).index(self.middle)
        return -math.fsum(widths[:at]) - widths[at] / 2

    def _reach(self, bars: Mapping[str, Sequence[float]], style: Style, wide: float) -> tuple[float, float]:
        if self.middle is None:
            return 0.0, 1.0
        starts = [self._start(widths) for widths in bars.values()] or [-0.5]
        low, high = min(starts), max([start + 1.0 for start in starts])
        # Room for a number beside the longest bar.
        room = (width_of("100%", style.size.small) + 2 * _PAD) / wide * (high - low)
        return low - room, high + room

    def _bar(
        self, axes: Axes, style: Style, widths: Sequence[float] | None, y: float, tall: float,
        ends: tuple[float, float], wide: float,
    ) -> None:  # fmt: skip
        ink, size = style.ink, style.size
        inch = (ends[1] - ends[0]) / wide
        if widths is None:
            # Not `add_patch`: the limits are set, and need not be found anew for each bar.
            axes.add_artist(Rectangle((ends[0], y), ends[1] - ends[0], tall, facecolor=ink.band, edgecolor="none"))
            axes.text(math.fsum(ends) / 2, y + tall / 2, "withheld", size=size.small, color=ink.quiet, ha="center",
                      va="center_baseline", zorder=3)  # fmt: skip
            return
        x = self._start(widths)
        last = len(widths) - 1
        for k, (share, fill) in enumerate(zip(widths, self._fills(style), strict=True)):
            if share > 0:
                axes.add_artist(
                    Rectangle((x, y), share, tall, facecolor=fill, edgecolor=ink.reference, linewidth=0.5, zorder=2)
                )
            words = number(share, "proportion")
            room = width_of(words, size.small) + 2 * _PAD
            if share >= room * inch:
                axes.text(x + share / 2, y + tall / 2, words, size=size.small, color=on(fill), ha="center",
                          va="center_baseline", zorder=3)  # fmt: skip
            elif self.middle is not None and k in (0, last):
                at, side = (x - _PAD * inch, "right") if k == 0 else (x + share + _PAD * inch, "left")
                axes.text(
                    at, y + tall / 2, words, size=size.small, color=ink.text, ha=side, va="center_baseline", zorder=3
                )
            x += share

    def _legend(self, sheet: Sheet, top: float) -> None:
        style = sheet.style
        for k, line in enumerate(self._entries(style, sheet.width)):
            x, y = 0.0, top + 0.15 * style.unit * (k + 0.45)
            for words, fill, wide in line:
                box = 0.085 * style.unit
                sheet.box(x, y - box / 2, box, box, fill=fill, edge=style.ink.reference)
                sheet.text(x + 0.12 * style.unit, y + 0.35 * style.size.small / 72, words, size=style.size.small,
                           colour=style.ink.quiet, va="baseline")  # fmt: skip
                x += wide
