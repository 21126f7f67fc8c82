"""A chart of rows: one label a row, panels side by side, points or bars with their intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fieldwork.figures.published import WITHHELD, interval_words, number
from fieldwork.figures.sheet import Sheet, legend
from fieldwork.figures.style import Style, column_of, width_of, wrap

__all__ = ["Panel", "RowChart", "Series", "ends_of"]


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of mark.

    Attributes
    ----------
    key : str       Value of the column `series` of what is drawn.
    words : str     What it is, for the key over the panels; empty: it has none there.
    marker : str    Shape, as matplotlib names it; `bar`: a bar from nil; `range`: a pale bar over a set of ranks.
    fill : str      Ink of the mark, as `Ink` names it.
    """

    key: str
    words: str = ""
    marker: str = "o"
    fill: str = "estimate"


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the panels that lie side by side.

    Attributes
    ----------
    key, heading : str           Value of the column `panel`; what stands over it.
    unit : str                   Of its numbers, as in the estimates table.
    series : tuple of Series     Marks; several lie under each other within a row.
    ticks : tuple of float       Places of the grid lines.
    low, high : float            Ends of the axis.
    reference : float or None    Where a thicker line stands: nil, or an even split.
    printed : str                `interval` or `value`: numbers at the right; empty: none.
    weight : float               Width beside the other panels.
    """

    key: str
    heading: str
    unit: str
    series: tuple[Series, ...]
    ticks: tuple[float, ...]
    low: float
    high: float
    reference: float | None = None
    printed: str = ""
    weight: float = 1.0


def ends_of(
    data: pd.DataFrame, *, include: Sequence[float] = (), most: int = 5, at_least: tuple[float, float] | None = None
) -> tuple[tuple[float, ...], float, float]:
    """Return ticks and ends of an axis that holds every number of what is drawn, and `include`.

    Parameters
    ----------
    at_least : (low, high)    Ends that the axis has whatever the numbers: those of the scale.
    """
    values = [float(v) for name in ("estimate", "conf_low", "conf_high") for v in data[name].dropna()]
    values = [value for value in values if math.isfinite(value)] + list(include) + list(at_least or ())
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9:
        high = low + 1.0
    ticks = [float(tick) for tick in MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    pad = 0.03 * (high - low)
    ticks = [tick for tick in ticks if low - pad <= tick <= high + pad]
    return tuple(ticks), min([low, *ticks]) - pad, max([high, *ticks]) + pad


@dataclass(frozen=True, slots=True)
class _Measures:
    """Measures in inches: width of labels and of n, heights of rows, place and width of each panel, width of numbers."""

    labels: list[list[str]]
    left: float
    bases: float
    heights: list[float]
    head: float
    panels: list[tuple[float, float]]
    headings: list[list[str]]
    printed: list[float]
    tails: float


@dataclass(frozen=True, slots=True)
class RowChart:
    """A chart of rows.

    Attributes
    ----------
    data : pd.DataFrame      Columns panel, row, series, estimate, conf_low, conf_high and mark; one row per mark.
    labels : dict            Label of each row, by key, in the order of the rows.
    panels : tuple of Panel  Side by side.
    bases : dict             What stands between label and panels, by row; `base` heads it. None: there is no such column.
    tails : dict             What stands at the right of a row, by row; `tail` heads it.
    joined : bool            The marks of a row are joined by a line: a dumbbell.
    breaks : tuple of str    Rows before which a line is drawn.
    """

    data: pd.DataFrame
    labels: Mapping[str, str]
    panels: tuple[Panel, ...]
    bases: Mapping[str, str] = field(default_factory=dict)
    base: str = "n"
    tails: Mapping[str, str] = field(default_factory=dict)
    tail: str = ""
    joined: bool = False
    breaks: tuple[str, ...] = ()

    def height(self, style: Style, width: float) -> float:
        """Inches that the chart needs."""
        made = self._measures(style, width)
        return made.head + math.fsum(made.heights) + self._foot(style)

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw it, the rows apart as far as the height lets them be."""
        style, made = sheet.style, self._measures(sheet.style, sheet.width)
        room = height - made.head - self._foot(style)
        stretch = room / math.fsum(made.heights)
        heights = [each * stretch for each in made.heights]
        middles = [math.fsum(heights[:k]) + each / 2 for k, each in enumerate(heights)]
        entries = self._entries(style)
        if entries:
            legend(sheet, 0.02, top + 0.09 * style.unit, entries)
        y = top + made.head
        for label, middle in zip(made.labels, middles, strict=True):
            sheet.lines(0.0, y + middle, label, size=style.size.label)

        def small(x: float, at: float, words: str) -> None:
            sheet.lines(x, at, [words], ha="right", size=style.size.small, colour=style.ink.quiet)

        over = y - 0.085 * style.unit
        if self.bases:
            right = made.left + made.bases - 0.06
            small(right, over, self.base)
            for key, middle in zip(self.labels, middles, strict=True):
                small(right, y + middle, self.bases.get(key, ""))
        if self.tails:
            small(sheet.width - 0.02, over, self.tail)
            for key, middle in zip(self.labels, middles, strict=True):
                small(sheet.width - 0.02, y + middle, self.tails.get(key, ""))
        for panel, (x, wide), heading, printed in zip(
            self.panels, made.panels, made.headings, made.printed, strict=True
        ):
            self._head(sheet, x, over, heading)
            axes = sheet.axes(x, y, wide, room)
            self._panel(axes, panel, style, wide, heights, middles)
            if printed:
                self._numbers(sheet, panel, x + wide + printed, y, middles)

    def _head(self, sheet: Sheet, x: float, over: float, heading: Sequence[str]) -> None:
        """Write a panel's heading above it, the last line next to the chart."""
        if heading:
            style = sheet.style
            at = over - 0.059 * style.unit * (len(heading) - 1)
            sheet.lines(x, at, heading, size=style.size.label, weight="bold")

    def _entries(self, style: Style) -> list[tuple[str, str, str, str]]:
        found: dict[str, tuple[str, str, str, str]] = {}
        for panel in self.panels:
            for each in panel.series:
                if each.words and each.words not in found:
                    marker = "s" if each.marker in ("bar", "range") else each.marker
                    found[each.words] = (marker, getattr(style.ink, each.fill), style.ink.estimate, each.words)
        return list(found.values())

    def _foot(self, style: Style) -> float:
        return 0.2 * style.unit

    def _lanes(self) -> int:
        return max(sum(each.marker != "range" for each in panel.series) or 1 for panel in self.panels)

    def _measures(self, style: Style, width: float) -> _Measures:
        size, unit = style.size, style.unit
        widest = max((width_of(label, size.label) for label in self.labels.values()), default=0.0)
        left = min(column_of(style, width, 1.42 if len(self.panels) < 3 else 1.2), widest + 0.03) + 0.1
        labels = [wrap(label, left - 0.1, size.label, lines=3) for label in self.labels.values()]
        bases = (
            max([width_of(each, size.small) for each in (self.base, *self.bases.values())]) + 0.1 if self.bases else 0.0
        )
        tails = (
            max([width_of(each, size.small) for each in (self.tail, *self.tails.values())]) + 0.1 if self.tails else 0
        )
        lanes = self._lanes()
        lane = (0.165 if lanes == 1 else 0.118 * lanes + 0.06) * unit
        heights = [max(lane, 1.18 * size.label / 72 * len(label) + 0.035) for label in labels]
        printed = [self._printed(panel, style) for panel in self.panels]
        gap = 0.15 * unit
        # The label of the last tick stands half beyond a panel with nothing at its right.
        edge = 0.08 if printed[-1] or self.tails else 0.16 * unit
        room = width - left - bases - tails - math.fsum(printed) - gap * (len(self.panels) - 1) - edge
        share = room / math.fsum(panel.weight for panel in self.panels)
        places, x = [], left + bases
        for panel, numbers in zip(self.panels, printed, strict=True):
            places.append((x, share * panel.weight))
            x += share * panel.weight + numbers + gap
        headings = [
            wrap(panel.heading, wide + numbers, size.label, weight="bold", lines=3) if panel.heading else []
            for panel, (_, wide), numbers in zip(self.panels, places, printed, strict=True)
        ]
        over = max([1 if self.bases or self.tails else 0, *map(len, headings)])
        head = (0.2 * unit if self._entries(style) else 0.0) + 0.131 * unit * over + 0.05 * unit
        return _Measures(labels, left, bases, heights, head, places, headings, printed, tails)

    def _printed(self, panel: Panel, style: Style) -> float:
        if not panel.printed:
            return 0.0
        words = [self._words(panel, row) for row in self._shown(panel)] or [""]
        return max(width_of(each, style.size.small) for each in words) + 0.08

    def _shown(self, panel: Panel) -> Sequence[Mapping[Any, Any]]:
        mine = self.data[(self.data["panel"] == panel.key) & self.data["estimate"].notna()]
        return mine.to_dict("records")

    def _words(self, panel: Panel, row: Mapping[Any, Any]) -> str:
        if panel.printed == "interval":
            return interval_words(row, panel.unit)
        return number(float(row["estimate"]), panel.unit)

    def _numbers(self, sheet: Sheet, panel: Panel, right: float, y: float, middles: Sequence[float]) -> None:
        place = dict(zip(self.labels, middles, strict=True))
        for row in self._shown(panel):
            if row["series"] == panel.series[-1].key:
                sheet.lines(right, y + place[str(row["row"])], [self._words(panel, row)], size=sheet.style.size.small,
                            colour=sheet.style.ink.quiet, ha="right")  # fmt: skip

    def _panel(
        self, axes: Axes, panel: Panel, style: Style, wide: float, heights: Sequence[float], middles: Sequence[float]
    ) -> None:
        ink, size = style.ink, style.size
        ticks = _thinned(panel, wide, size.small)
        axes.set(xlim=(panel.low, panel.high), ylim=(math.fsum(heights), 0.0), xticks=ticks)
        axes.set_xticklabels([_tick(tick, panel) for tick in ticks], size=size.small, color=ink.quiet)
        axes.tick_params(axis="x", length=2, width=0.5, color=ink.reference, pad=1.5)
        axes.grid(axis="x", color=ink.rule, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines["bottom"].set(visible=True, color=ink.reference, linewidth=0.5)
        if panel.reference is not None:
            axes.axvline(panel.reference, color=ink.reference, linewidth=0.8, zorder=1.5)
        place = dict(zip(self.labels, middles, strict=True))
        tall = dict(zip(self.labels, heights, strict=True))
        for key in self.breaks:
            axes.axhline(place[key] - tall[key] / 2, color=ink.reference, linewidth=0.5, zorder=1)
        lanes = [each for each in panel.series if each.marker != "range"] or list(panel.series)
        pitch = 0.118 * style.unit
        mine = self.data[self.data["panel"] == panel.key]
        spots: dict[str, list[tuple[float, float]]] = {}
        for each in panel.series:
            shift = (lanes.index(each) - (len(lanes) - 1) / 2) * pitch if each in lanes else 0.0
            for row in mine[mine["series"] == each.key].to_dict("records"):
                at = place[str(row["row"])] + shift
                if row["mark"] in WITHHELD:
                    _withheld(axes, panel, style, at, str(row["mark"]))
                else:
                    _mark(axes, panel, style, each, row, at)
                    spots.setdefault(str(row["row"]), []).append((float(row["estimate"]), at))
        if self.joined:
            for found in spots.values():
                xs, ys = zip(*found, strict=True)
                axes.plot(xs, ys, color=ink.reference, linewidth=0.7, zorder=2.5, solid_capstyle="butt")
        axes.set(xlim=(panel.low, panel.high), ylim=(math.fsum(heights), 0.0))


def _tick(value: float, panel: Panel) -> str:
    if panel.unit == "proportion":
        return number(value, "proportion")
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _thinned(panel: Panel, wide: float, size: float) -> tuple[float, ...]:
    """Return the ticks whose labels keep clear of each other in a panel of that many inches; nil stays among them."""
    ticks = panel.ticks
    while len(ticks) > 2:
        step = min(b - a for a, b in itertools.pairwise(ticks)) / (panel.high - panel.low) * wide
        if step >= max(width_of(_tick(tick, panel), size) for tick in ticks) + 0.06:
            break
        first = ticks.index(0.0) % 2 if 0.0 in ticks else 0
        fewer = ticks[first::2]
        ticks = fewer if len(fewer) > 1 else (ticks[0], ticks[-1])
    return ticks


def _withheld(axes: Axes, panel: Panel, style: Style, at: float, word: str) -> None:
    half = 0.5 * 1.08 * style.size.small / 72
    axes.axhspan(at - half, at + half, color=style.ink.band, linewidth=0, zorder=1.7)
    # Beside nil, so that no word stands in for a value.
    axes.text((panel.low + panel.high) / 2, at, word, size=style.size.small, color=style.ink.quiet, ha="center",
              va="center_baseline", zorder=5)  # fmt: skip


def _mark(axes: Axes, panel: Panel, style: Style, each: Series, row: Mapping[Any, Any], at: float) -> None:
    """Draw one estimate: a flagged one has a dashed interval, or is open where the panel has one series."""
    ink = style.ink
    estimate, flagged = float(row["estimate"]), row["mark"] == "open"
    fill = getattr(ink, each.fill)
    ends = [None if pd.isna(row[name]) else float(row[name]) for name in ("conf_low", "conf_high")]
    drawn = ends != [None, None]
    low, high = (edge if end is None else end for end, edge in zip(ends, (panel.low, panel.high), strict=True))
    if each.marker == "range":
        # A set of one rank is a box around it.
        axes.barh(
            [at], [high - low + 0.7], left=[low - 0.35], height=0.115 * style.unit, color=fill, linewidth=0, zorder=2
        )
        return
    if each.marker == "bar":
        axes.barh(
            [at], [estimate], height=0.092 * style.unit, color=fill, edgecolor=ink.estimate, linewidth=0.6, zorder=2
        )
    if drawn:
        dashes = (0, (2.2, 1.2)) if flagged else "solid"
        axes.hlines([at], [low], [high], color=ink.text if each.marker == "bar" else ink.estimate,
                    linewidth=1.1, linestyle=dashes, zorder=3)  # fmt: skip
    if each.marker != "bar":
        face = ink.pale if flagged and len(panel.series) == 1 else fill
        axes.scatter([estimate], [at], s=13 * style.unit**2, marker=each.marker, color=face, edgecolor=ink.estimate,
                     linewidth=0.9, zorder=4, clip_on=False)  # fmt: skip
