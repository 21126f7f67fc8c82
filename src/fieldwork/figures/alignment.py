"""Alignment: what roles share of their priorities, in pairs, each for itself, and on the map of consensus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from fieldwork.figures.grid import GridChart
from fieldwork.figures.published import (
    WITHHELD,
    Published,
    cell,
    interval_words,
    level_words,
    long_words,
    mark_words,
    number,
    reading,
    table,
)
from fieldwork.figures.rows import Panel, RowChart, Series, ends_of
from fieldwork.figures.spec import Absence, Spec
from fieldwork.figures.style import Style, short_of, width_of

if TYPE_CHECKING:
    from fieldwork.figures.sheet import Sheet

__all__ = ["consensus", "consensus_map", "pairs"]

_CONSTRUCT = "alignment_map"


def pairs(source: Published) -> Spec | Absence:
    """Describe the correlation of two roles' rankings below the diagonal, and its interval above it; reads `alignment`."""
    title = "Alignment of priorities, role by role"
    found = {(str(row["role"]), str(row["role_2"])): row for row in source.rows(_CONSTRUCT, "alignment")
             if row["role"] and row["role_2"]}  # fmt: skip
    roles = source.roles(role for pair in found for role in pair)
    if len(roles) < 2:
        reasons = [str(row["reason"]) for row in source.rows(_CONSTRUCT, "alignment") if row["reason"]]
        why = f": {reasons[0]}" if reasons else ""
        return Absence("alignment", title, f"No alignment of two roles is published{why}.")
    measure = str(next(iter(found.values()))["measure"])
    records = [
        cell(found.get((one, two), found.get((two, one))), wave=source.wave, measure=measure, statistic="alignment",
             panel="all", row=two, row_label=source.role(two), column=one, column_label=source.role(one), series="all")
        for place, one in enumerate(roles)
        for two in roles[place + 1 :]
    ]  # fmt: skip
    data = table(records)
    told = data.assign(pair=data["column_label"] + " and " + data["row_label"])
    opening = ["Simulated data."] if source.simulated else []
    return Spec(
        name="alignment",
        title=title,
        subtitle="Correlation of mean rankings (1: the same, \N{MINUS SIGN}1: opposite); above the diagonal, "
        f"{level_words(data)}.",
        notes="Darker: more alike. Bold: the interval leaves nil out. n/a: not assessable. "
        + mark_words(data, flagged="With *"),
        source=source.source(source.rows(_CONSTRUCT, "consensus_priorities", measure=measure)),
        alt=" ".join([*opening, f"Grid of cells with printed values and intervals: {title}.", reading(told, "index", "pair")]),
        long_description=long_words(told, "index", ["pair"]),
        data=data,
        plot=GridChart(
            data, {role: source.role(role) for role in roles}, {role: short_of(source.instrument, role) for role in roles},
            "index", -1.0, 1.0, mirrored=True, firm=0.0,
        ),
        simulated=source.simulated,
    )  # fmt: skip


def consensus(source: Published) -> Spec | Absence:
    """Describe how much of a ranking each role shares, beside what chance alone gives it.

    Reads `consensus_priorities` and `consensus_chance`; the row of all roles comes first.
    """
    title = "Consensus on priorities, within each role and over all"
    found = {str(row["role"]): row for row in source.rows(_CONSTRUCT, "consensus_priorities")}
    chance = {str(row["role"]): row for row in source.rows(_CONSTRUCT, "consensus_chance")}
    if not any(row["status"] in ("ok", "flagged") for row in found.values()):
        return Absence("consensus", title, "No consensus on priorities is published.")
    roles = sorted(
        source.roles(found),
        key=lambda role: math.inf if pd.isna(found[role]["estimate"]) else -float(found[role]["estimate"]),
    )
    measure = str(next(iter(found.values()))["measure"])
    keys = [*([""] if "" in found else []), *roles]
    data = table(
        [
            cell(rows.get(role), wave=source.wave, measure=measure, statistic=statistic, panel="all", row=role or "all",
                 row_label=source.role(role) if role else "All roles", series=series)
            for role in keys
            for series, statistic, rows in (
                ("consensus", "consensus_priorities", found), ("chance", "consensus_chance", chance),
            )
        ]
    )  # fmt: skip
    ticks, low, high = ends_of(data, include=[0.0, 0.5])
    panel = Panel("all", "", "index", (Series("chance", "by chance alone", marker="D", fill="pale"),
                                       Series("consensus", "consensus and interval")),
                  ticks, low, high, reference=0.0, printed="interval")  # fmt: skip
    mine = data[data["series"] == "consensus"]
    data_notes = mine[mine["mark"] != "filled"]
    told = data.assign(what=["" if series == "consensus" else "by chance" for series in data["series"]])
    opening = ["Simulated data."] if source.simulated else []
    beyond = any("no more than chance" in str(reason) for reason in mine["reason"])
    return Spec(
        name="consensus",
        title=title,
        subtitle=f"0: none, 1: everybody ranks alike; {level_words(data)}.",
        notes=("The interval is that of the population, so that an estimate may lie near its upper end. "
               + ("An interval that begins at nil: no more than chance gives. " if beyond else "")
               + mark_words(data_notes)).strip(),
        source=source.source(found.values()),
        alt=" ".join([*opening, f"Dot plot with {level_words(data)}: {title}.", reading(mine, "index")]),
        long_description=long_words(told, "index", ["row_label", "what"]),
        data=data,
        plot=RowChart(data, dict(zip(data["row"], data["row_label"], strict=True)), (panel,),
                      breaks=tuple(roles[:1]) if "" in found else ()),
        simulated=source.simulated,
    )  # fmt: skip


def consensus_map(source: Published) -> Spec | Absence:
    """Describe the map of consensus: roles with the ellipses of their places, priorities as arrows from the middle.

    Reads `map_x`, `map_y` with their standard errors, `map_xy_correlation`, and the variance that the axes keep. An ellipse
    holds the role's place with 95% (normal approximation, the published errors and their correlation).
    """
    title = "Map of consensus on priorities"
    places = {
        axis: {(str(row["role"]), str(row["item"])): row for row in source.rows(_CONSTRUCT, f"map_{axis}")}
        for axis in "xy"
    }
    ties = {str(row["role"]): row for row in source.rows(_CONSTRUCT, "map_xy_correlation")}
    records = []
    for (role, item), first in places["x"].items():
        second = places["y"].get((role, item))
        if second is None or not (role or item):
            continue
        measure = str(first["measure"])
        made = cell(first, wave=source.wave, measure=measure, statistic="map", panel="all", row=role or item,
                    row_label=source.role(role) if role else source.option(measure, item),
                    short=short_of(source.instrument, role) if role else "",
                    series="role" if role else "priority")  # fmt: skip
        other = cell(second)
        shown = made["mark"] not in WITHHELD and other["mark"] not in WITHHELD
        tie = ties.get(role, {}).get("estimate", pd.NA) if role else pd.NA
        made |= {"estimate_2": other["estimate"] if shown else pd.NA, "std_error_2": other["std_error"] if shown else pd.NA,
                 "correlation": tie if shown else pd.NA}  # fmt: skip
        records.append(made)
    if sum(row["mark"] not in WITHHELD for row in records) < 3:
        reasons = [str(row["reason"]) for row in source.rows(_CONSTRUCT, "map_x") if row["reason"]]
        return Absence("consensus_map", title, f"No map is published{f': {reasons[0]}' if reasons else ''}.")
    order = {role.id: k for k, role in enumerate(source.instrument.roles)}
    records.sort(key=lambda row: (row["series"], order.get(row["row"], 0), row["row"]))
    letters = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    for row in records:
        row["short"] = row["short"] or next(letters, "")
    data = table(records).astype({"estimate_2": "Float64", "std_error_2": "Float64", "correlation": "Float64"})
    kept = [row["estimate"] for name in ("first", "second") for row in source.rows(_CONSTRUCT, f"map_variance_{name}")]
    keeps = ""
    if len(kept) == 2 and not any(pd.isna(value) for value in kept):
        across, down = (number(float(value), "proportion") for value in kept)
        keeps = f" The axes keep {across} and {down} of the variance."
    spelt = "; ".join(f"{row['short']}: {row['row_label']}" for row in records if row["series"] == "priority")
    opening = ["Simulated data."] if source.simulated else []
    roles = data[data["series"] == "role"]
    return Spec(
        name="consensus_map",
        title=title,
        subtitle="Near what a role ranks high; further out, the more its holders agree. Ellipses: 95%.",
        notes=f"Arrows: {spelt}.{keeps} A role whose ellipse holds the middle shows no ranking of its own. "
        f"{mark_words(data)}".strip(),
        source=source.source(source.rows(_CONSTRUCT, "consensus_priorities")),
        alt=" ".join([*opening, f"Map with 95% ellipses: {title}.",
                      f"{len(roles)} roles and {len(data) - len(roles)} priorities."]),
        long_description=" ".join(
            f"{row['row_label']}: {row['mark']}." if pd.isna(row["estimate"]) else
            f"{row['row_label']}: {interval_words(row, 'index')} across, {number(float(row['estimate_2']), 'index')} up."
            for row in data.to_dict("records")
        ),
        data=data,
        plot=_Map(data),
        simulated=source.simulated,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Map:
    """Two maps of one plane: priorities on the left, roles on the right at a larger scale."""

    data: pd.DataFrame

    def height(self, style: Style, width: float) -> float:
        """Inches that the plane needs: as tall as the right map is wide."""
        return min(width * 0.62, 3.6) + 0.32 * style.unit

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw the two."""
        style, ink, size = sheet.style, sheet.style.ink, sheet.style.size
        shown = self.data.dropna(subset=["estimate", "estimate_2"])
        side = min(sheet.width * 0.62, height - 0.32 * style.unit)
        other = min(sheet.width - side - 0.15, 0.6 * side)
        y = top + 0.2 * style.unit
        for x, wide, series, heading in (
            (0.0, other, "priority", "Priorities"), (other + 0.13, side, "role", "Roles, enlarged"),
        ):  # fmt: skip
            rows = shown[shown["series"] == series]
            sheet.lines(x, top + 0.08 * style.unit, [heading], size=size.label, weight="bold")
            axes = sheet.axes(x, y, wide, wide)
            reach = _reach(rows) if series == "role" else 1.0
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
            for name in ("left", "right", "top", "bottom"):
                axes.spines[name].set(visible=True, color=ink.rule, linewidth=0.5)
            axes.axhline(0.0, color=ink.reference, linewidth=0.5, zorder=1)
            axes.axvline(0.0, color=ink.reference, linewidth=0.5, zorder=1)
            _points(axes, rows, style, reach / wide, arrows=series == "priority")


def _reach(rows: pd.DataFrame) -> float:
    far = [abs(float(row[v])) + 2.45 * float(0.0 if pd.isna(row[e]) else row[e]) for row in rows.to_dict("records")
           for v, e in (("estimate", "std_error"), ("estimate_2", "std_error_2"))]  # fmt: skip
    return 1.06 * max([*far, 0.05])


def _points(axes: Axes, rows: pd.DataFrame, style: Style, inch: float, *, arrows: bool) -> None:
    """Draw places; `inch` is half of the plane's units in an inch. Labels keep clear of each other."""
    ink, size = style.ink, style.size
    taken: list[tuple[float, float, float, float]] = []
    high = 2 * inch * 1.15 * size.small / 72
    records = sorted(
        rows.to_dict("records"), key=lambda row: (-math.hypot(row["estimate"], row["estimate_2"]), row["row"])
    )
    reach = float(axes.get_xlim()[1])
    dot = 2 * inch * 0.07
    taken += [_box(float(row["estimate"]), float(row["estimate_2"]), dot, dot) for row in records]
    for row in records:
        x, y = float(row["estimate"]), float(row["estimate_2"])
        if arrows:
            axes.annotate("", (x, y), xytext=(0.0, 0.0), zorder=2,
                          arrowprops={"arrowstyle": "-|>", "color": ink.estimate, "linewidth": 0.8, "mutation_scale": 6,
                                      "shrinkA": 0, "shrinkB": 0})  # fmt: skip
        else:
            if not pd.isna(row["std_error"]) and not pd.isna(row["std_error_2"]):
                axes.add_patch(_ellipse(row, ink.second))
            axes.scatter(
                [x], [y], s=12 * style.unit**2, color=ink.estimate, edgecolor=ink.pale, linewidth=0.6, zorder=4
            )
        wide = 2 * inch * (width_of(str(row["short"]), size.small, "bold") + 0.05)
        place = _free(x, y, wide, high, taken, reach, 2 * inch)
        taken.append(_box(*place, wide, high))
        # A name that had to move off its point is tied to it.
        if max(abs(place[0] - x) - wide / 2, abs(place[1] - y) - high / 2) > 2 * inch * 0.11:
            axes.plot([x, place[0]], [y, place[1]], color=ink.reference, linewidth=0.5, zorder=1.5)
        axes.text(*place, row["short"], size=size.small, color=ink.text, ha="center", va="center", weight="bold", zorder=6,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4})  # fmt: skip


def _ellipse(row: Mapping[Any, Any], colour: str) -> Ellipse:
    """95% ellipse of a place, from the errors of its two coordinates and their correlation.

    Of chi-squared with two degrees of freedom, which is twice an exponential variable, the quantile is a logarithm.
    """
    one, two = float(row["std_error"]), float(row["std_error_2"])
    tie = 0.0 if pd.isna(row["correlation"]) else float(row["correlation"])
    values, vectors = np.linalg.eigh(np.array([[one**2, tie * one * two], [tie * one * two, two**2]]))
    quantile = -2.0 * math.log(0.05)
    wide, tall = 2.0 * np.sqrt(np.maximum(values, 0.0) * quantile)
    angle = math.degrees(math.atan2(vectors[1, 0], vectors[0, 0]))
    return Ellipse(
        (float(row["estimate"]), float(row["estimate_2"])), wide, tall, angle=angle, facecolor="none", edgecolor=colour,
        linewidth=0.8, zorder=1.8,
    )  # fmt: skip


def _box(x: float, y: float, wide: float, tall: float) -> tuple[float, float, float, float]:
    return x - wide / 2, x + wide / 2, y - tall / 2, y + tall / 2


def _free(
    x: float,
    y: float,
    wide: float,
    tall: float,
    taken: list[tuple[float, float, float, float]],
    reach: float,
    inch: float,
) -> tuple[float, float]:
    """Return the nearest place for a label, on rings around a point, that meets no other label and no point."""
    best = (x, y + tall)
    for ring in np.arange(0.11, 0.9, 0.06) * inch:
        for turn in np.arange(0.0, 2.0, 0.125) * math.pi:
            at = (x + (ring + wide / 2) * math.cos(turn), y + (ring + tall / 2 - 0.04 * inch) * math.sin(turn))
            left, right, low, high = _box(*at, wide, tall)
            inside = max(abs(left), abs(right), abs(low), abs(high)) < 0.97 * reach
            if inside and all(right < a or left > b or high < c or low > d for a, b, c, d in taken):
                return at
    return best
