"""A chart of cells: rows by columns, values printed on a scale that runs from light to dark."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.patches import Rectangle

from fieldwork.figures.published import WITHHELD, number
from fieldwork.figures.style import Style, column_of, on, width_of, wrap

if TYPE_CHECKING:
    from fieldwork.figures.sheet import Sheet

__all__ = ["GridChart"]


@dataclass(frozen=True, slots=True)
class GridChart:
    """A chart of cells.

    Attributes
    ----------
    data : pd.DataFrame    Columns row, column, estimate, conf_low, conf_high, mark; one row per cell.
    labels : dict          Label of each row, by key, in the order of the rows.
    heads : dict           What stands over each column, by key, in the order of the columns.
    unit : str             Of the numbers.
    low, high : float      Ends of the scale; a value beyond them takes the colour of the end.
    mirrored : bool        The intervals stand in the cells (column, row) across the diagonal.
    firm : float or None   Numbers whose interval leaves this value out are bold and framed.
    toned : bool           Three tones in place of the scale: undecided, surely below and surely above `firm`.
    breaks : tuple of str  Rows before which a gap is left.
    """

    data: pd.DataFrame
    labels: Mapping[str, str]
    heads: Mapping[str, str]
    unit: str
    low: float
    high: float
    mirrored: bool = False
    firm: float | None = None
    toned: bool = False
    breaks: tuple[str, ...] = ()

    def height(self, style: Style, width: float) -> float:
        """Inches that the chart needs."""
        _, head, heights, _, _ = self._measures(style, width)
        return head + math.fsum(heights) + self._gap(style) * len(self.breaks) + 0.08

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw it, the rows as tall as the height lets them be."""
        style, ink, size = sheet.style, sheet.style.ink, sheet.style.size
        left, head, heights, labels, heads = self._measures(style, sheet.width)
        gaps = self._gap(style) * len(self.breaks)
        stretch = (height - head - gaps - 0.08) / math.fsum(heights)
        heights = [each * stretch for each in heights]
        wide = (sheet.width - left - 0.02) / len(self.heads)
        axes = sheet.axes(left, top + head, wide * len(self.heads), height - head - 0.08)
        axes.set(xlim=(0.0, len(self.heads)), ylim=(height - head - 0.08, 0.0))
        for k, lines in enumerate(heads):
            x = left + (k + 0.5) * wide
            if len(lines) == 1 and width_of(lines[0], size.small) > wide:
                sheet.text(x, top + head - 0.04, lines[0], size=size.small, colour=ink.quiet, ha="center", va="bottom",
                           rotation=90.0)  # fmt: skip
            else:
                sheet.lines(x, top + head - 0.04 - 0.059 * style.unit * len(lines), lines, size=size.small,
                            colour=ink.quiet, ha="center")  # fmt: skip
        cells = {(str(row["row"]), str(row["column"])): row for row in self.data.to_dict("records")}
        y = 0.0
        for (key, _), lines, tall in zip(self.labels.items(), labels, heights, strict=True):
            y += self._gap(style) if key in self.breaks else 0.0
            sheet.lines(0.0, top + head + y + tall / 2, lines, size=size.label)
            for k, column in enumerate(self.heads):
                row = cells.get((key, column))
                if row is not None:
                    self._cell(axes, style, row, k, y, tall)
                elif self.mirrored and (column, key) in cells:
                    self._interval(axes, style, cells[column, key], k, y, tall)
            y += tall

    def _gap(self, style: Style) -> float:
        return 0.07 * style.unit

    def _measures(
        self, style: Style, width: float
    ) -> tuple[float, float, list[float], list[list[str]], list[list[str]]]:
        """Width of the labels, height of the heads, heights of the rows, and labels and heads broken into lines."""
        size, unit = style.size, style.unit
        widest = max(width_of(label, size.label) for label in self.labels.values())
        left = min(column_of(style, width, 1.45), 0.36 * width, widest + 0.03) + 0.08
        labels = [wrap(label, left - 0.08, size.label, lines=3) for label in self.labels.values()]
        wide = (width - left - 0.02) / len(self.heads)
        heads = [wrap(head, wide - 0.02, size.small, lines=3) for head in self.heads.values()]
        # A word that would be broken, or a head of more than three lines, stands upright instead.
        whole = [" ".join(head.split()) for head in self.heads.values()]
        if any(" ".join(lines) != head for lines, head in zip(heads, whole, strict=True)):
            heads = [wrap(head, 1.15 * unit, size.small, lines=1) for head in whole]
            head = max(width_of(lines[0], size.small) for lines in heads) + 0.06
        else:
            head = 0.118 * unit * max(map(len, heads)) + 0.06
        least = (0.29 if self.mirrored else 0.18) * unit
        heights = [max(least, 1.18 * size.label / 72 * len(lines) + 0.03) for lines in labels]
        return left, head, heights, labels, heads

    def _colour(self, style: Style, value: float) -> str:
        scale = _scale(style.ink.low, style.ink.middle, style.ink.high)
        return str(to_hex(scale((min(max(value, self.low), self.high) - self.low) / (self.high - self.low))))

    def _cell(self, axes: Axes, style: Style, row: Mapping[Any, Any], column: int, y: float, tall: float) -> None:
        ink, size = style.ink, style.size
        if row["mark"] in WITHHELD:
            axes.add_artist(Rectangle((column, y), 1.0, tall, facecolor=ink.band, edgecolor="white", linewidth=1.2))
            word = "w" if row["mark"] == "withheld" else "n/a"
            axes.text(
                column + 0.5, y + tall / 2, word, size=size.small, color=ink.quiet, ha="center", va="center_baseline"
            )
            return
        value = float(row["estimate"])
        firm = self.firm is not None and _leaves_out(row, self.firm)
        ground = self._colour(style, value)
        if self.toned and self.firm is not None:
            ground = (ink.middle if value < self.firm else ink.high) if firm else ink.low
        # Not `add_patch`: the limits are set, and need not be found anew for each cell.
        axes.add_artist(Rectangle((column, y), 1.0, tall, facecolor=ground, edgecolor="white", linewidth=1.2))
        words = number(value, self.unit).removesuffix("%")
        if row["mark"] == "open":
            words += "*"
        axes.text(column + 0.5, y + tall / 2, words, size=size.small, color=on(ground), ha="center",
                  va="center_baseline", weight="bold" if firm else "regular", zorder=4)  # fmt: skip

    def _interval(self, axes: Axes, style: Style, row: Mapping[Any, Any], column: int, y: float, tall: float) -> None:
        if row["mark"] in WITHHELD or pd.isna(row["conf_low"]) or pd.isna(row["conf_high"]):
            return
        step = 1.12 * style.size.small / 72 / 2
        for end, at in ((row["conf_low"], y + tall / 2 - step), (row["conf_high"], y + tall / 2 + step)):
            axes.text(column + 0.5, at, number(float(end), self.unit), size=style.size.small, color=style.ink.quiet,
                      ha="center", va="center_baseline")  # fmt: skip


@cache
def _scale(*inks: str) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("house", inks)


def _leaves_out(row: Mapping[Any, Any], value: float) -> bool:
    ends = (row["conf_low"], row["conf_high"])
    if pd.isna(ends[0]) or pd.isna(ends[1]):
        return False
    return bool(ends[0] > value or ends[1] < value)
