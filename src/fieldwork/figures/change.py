"""Change over waves: what has moved since the first, role by role, and where roles stood in each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.errors import listed
from fieldwork.figures.published import Published, cell, level_words, long_words, mark_words, reading, table
from fieldwork.figures.roles import measures_of
from fieldwork.figures.rows import Panel, RowChart, Series, ends_of
from fieldwork.figures.spec import Absence, Spec
from fieldwork.figures.style import Style, short_of, width_of

if TYPE_CHECKING:
    from fieldwork.figures.sheet import Sheet

__all__ = ["change", "levels"]

_MOST = 5  # series with intervals that a line chart can hold; others are drawn without
_LINES = ("solid", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1)))
_MARKERS = ("o", "s", "D", "^", "v")


def change(source: Published) -> Spec | Absence:
    """Describe the change since an earlier wave, by role: of the Role Shift Index and of the mean of each measure.

    Reads `shift` and `mean_change`. A break of the trend is said, never drawn as nil.
    """
    title = "Change over waves, by role"
    wanted = [("shift", str(row["measure"]), "index") for row in source.rows("role_shift", "shift")[:1]]
    asked = {str(row["measure"]) for row in source.rows("role_shift", "mean_change")}
    means = [
        *(measure for measure in measures_of(source) if measure in asked),
        *sorted(asked - set(measures_of(source))),
    ]
    wanted += [("mean_change", measure, "scale_point") for measure in means]
    found = {(statistic, measure): {str(row["role"]): row for row in source.rows("role_shift", statistic, measure=measure)}
             for statistic, measure, _ in wanted}  # fmt: skip
    named = [role for rows in found.values() for role in rows if role]
    if not named:
        reasons = [str(row["reason"]) for rows in found.values() for row in rows.values() if row["reason"]]
        return Absence("change", title, _capital(reasons[0]) if reasons else "No change over waves is published.")
    order = source.roles(named)
    parts, panels, units = [], [], {}
    for statistic, measure, unit in wanted[:3]:
        rows = found[statistic, measure]
        whole = rows.get("")
        heading = "Role Shift Index" if statistic == "shift" else source.label(measure)
        part = table(
            [cell(rows.get(role, whole), wave=source.wave, measure=measure, statistic=statistic, panel=heading, row=role,
                  row_label=source.role(role), series="all") for role in order]
        )  # fmt: skip
        ticks, low, high = ends_of(part, include=[0.0], most=4)
        panels.append(Panel(heading, heading, unit, (Series("all"),), ticks, low, high, reference=0.0))
        parts.append(part)
        units[heading] = unit
    data = pd.concat(parts, ignore_index=True)
    since = dict.fromkeys(str(row["reason"]).partition(";")[0] for row in found[wanted[-1][:2]].values() if row["role"])
    opening = ["Simulated data."] if source.simulated else []
    return Spec(
        name="change",
        title=title,
        subtitle=f"Index points and scale points, {next(iter(since), '')}; {level_words(data)}.".replace(", ;", ";"),
        notes=f"Line: no change. Of executives who answered twice, both answers count. {mark_words(data)}".strip(),
        source=source.source(data.to_dict("records"), each="role"),
        alt=" ".join([*opening, f"Dot plot with {level_words(data)}: {title}. {panels[0].heading}:",
                      reading(parts[0], panels[0].unit)]),
        long_description=long_words(data, units, ["panel", "row_label"]),
        data=data,
        plot=RowChart(data, {role: source.role(role) for role in order}, tuple(panels)),
        simulated=source.simulated,
    )  # fmt: skip


def levels(source: Published, measure: str) -> Spec | Absence:
    """Describe the mean of a measure by role in each wave, as each wave published it, with the roles named at their lines.

    Reads `role_mean` over all stages of this wave and of `Published.history`. The five roles that moved furthest have
    their intervals drawn. A wave whose row is held back breaks the line. Whether waves may be compared is the instrument's to
    say, and `mean_change` tells: a role is joined from wave to wave where its change could be assessed, and where a question or
    a role was changed its means stand apart, with the reason in the note.
    """
    label = source.label(measure)
    name, title = f"waves_{measure.replace('+', '_')}", f"{label} by role and wave"
    waves = [*(wave for wave, _ in source.history), source.wave]
    if len(waves) < 2:
        return Absence(name, title, "Published estimates of two waves are needed; one is there.")
    records = []
    for wave in waves:
        rows = {str(row["role"]): row for row in source.rows("adoption_gradient", "role_mean", measure=measure, wave=wave)
                if row["role"] and not row["stage"]}  # fmt: skip
        records += [cell(rows.get(role), wave=wave, measure=measure, statistic="role_mean", panel="all", row=role,
                         row_label=source.role(role), short=short_of(source.instrument, role), series=wave)
                    for role in source.roles(role.id for role in source.instrument.roles)]  # fmt: skip
    data = table(records)
    data = data[data.groupby("row")["estimate"].transform("count") > 0].reset_index(drop=True)
    if data.groupby("row")["estimate"].count().max() < 2 if len(data) else True:
        return Absence(name, title, f"No role has a published mean of {label} in two waves.")
    changes = {str(row["role"]): row for row in source.rows("role_shift", "mean_change", measure=measure)}
    joined = frozenset(role for role, row in changes.items() if role and row["status"] != "not_assessable")
    whole = str(changes[""]["reason"]) if "" in changes else ""
    apart = [
        role for role in dict.fromkeys(data["short"]) if role not in {short_of(source.instrument, j) for j in joined}
    ]
    why = f": {whole}" if whole else ", for their change is not assessable"
    broken = f" Not joined{'' if whole else f' ({listed(apart, limit=20)})'}{why}." if apart else ""
    last = data[data["series"] == source.wave]
    opening = ["Simulated data."] if source.simulated else []
    return Spec(
        name=name,
        title=title,
        subtitle=f"Mean in each wave; {level_words(data)} for the {_MOST} roles that moved furthest.",
        notes=f"Each wave as it was published, weighted to its own population. "
        f"{mark_words(data, flagged='Small base')}{broken}".strip(),
        source=source.source(last.to_dict("records"), each="role").replace(
            f", {source.wave}.", f", {waves[0]} to {waves[-1]}."
        ),
        alt=" ".join([*opening, f"Line chart: {title}. In {source.wave}:", reading(last, "scale_point")]),
        long_description=long_words(data, "scale_point", ["series", "row_label"]),
        data=data,
        plot=_Lines(data, tuple(waves), joined),
        simulated=source.simulated,
    )  # fmt: skip


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


@dataclass(frozen=True, slots=True)
class _Lines:
    """Means over waves, joined for the roles that may be compared, each named at its end."""

    data: pd.DataFrame
    waves: tuple[str, ...]
    joined: frozenset[str]

    def height(self, style: Style, width: float) -> float:
        """Inches that it needs: a line of text for each role, at least."""
        del width
        return max(2.3, 0.16 * self.data["row"].nunique() + 0.7) * style.unit

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw it."""
        style, ink, size = sheet.style, sheet.style.ink, sheet.style.size
        right = max(width_of(str(label), size.small) for label in self.data["short"]) + 0.2
        left, foot = 0.32 * style.unit, 0.3 * style.unit
        tall, wide = height - foot, sheet.width - left - right
        axes = sheet.axes(left, top, wide, tall)
        ticks, low, high = ends_of(self.data)
        axes.set(
            xlim=(-0.12, len(self.waves) - 1 + 0.12), ylim=(low, high), yticks=ticks, xticks=range(len(self.waves))
        )
        axes.set_yticklabels([f"{tick:g}" for tick in ticks], size=size.small, color=ink.quiet)
        axes.set_xticklabels(self.waves, size=size.small, color=ink.quiet)
        axes.tick_params(length=2, width=0.5, color=ink.reference, pad=1.5)
        axes.grid(axis="y", color=ink.rule, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines["bottom"].set(visible=True, color=ink.reference, linewidth=0.5)
        place = {wave: k for k, wave in enumerate(self.waves)}
        ends: list[tuple[str, float, bool]] = []
        moved = self._moved()
        for role, rows in self.data.groupby("row", sort=False):
            records = [row for row in rows.to_dict("records") if not pd.isna(row["estimate"])]
            first = role in moved
            k = moved.index(str(role)) if first else 0
            xs = [place[row["series"]] + (0.03 * (k - 2) if first else 0.0) for row in records]
            ys = [float(row["estimate"]) for row in records]
            colour = ink.estimate if first else ink.reference
            apart = role not in self.joined or any(b - a > 1 for a, b in itertools.pairwise(xs))
            axes.plot(xs, ys, color=colour, linewidth=1.2 if first else 0.7, zorder=3 if first else 2,
                      linestyle="none" if apart else _LINES[k] if first else "solid", marker=_MARKERS[k] if first else "o",
                      markersize=3.6 if first else 2.2, markeredgewidth=0.8, markeredgecolor=colour,
                      markerfacecolor=colour if k % 2 == 0 else ink.pale)  # fmt: skip
            for x, row in zip(xs, records, strict=True):
                if first and not pd.isna(row["conf_low"]) and not pd.isna(row["conf_high"]):
                    axes.vlines(
                        [x], [row["conf_low"]], [row["conf_high"]], color=ink.estimate, linewidth=0.8, zorder=2.5
                    )
            ends.append((str(records[-1]["short"]), ys[-1], first))
        self._labels(sheet, ends, left + wide, top, tall, (low, high))

    def _moved(self) -> list[str]:
        """Return the roles whose mean moved furthest between their first and last published wave."""
        shown = self.data.dropna(subset=["estimate"])
        values = shown.groupby("row", sort=False)["estimate"]
        far = (values.last() - values.first()).abs()
        return [str(role) for role in far.sort_values(ascending=False, kind="stable").index[:_MOST]]

    def _labels(
        self, sheet: Sheet, ends: Sequence[tuple[str, float, bool]], x: float, top: float, tall: float,
        axis: tuple[float, float],
    ) -> None:  # fmt: skip
        """Name each line at its end; names that would meet are pushed apart and tied to their lines."""
        style, ink = sheet.style, sheet.style.ink
        low, high = axis
        ordered = sorted(ends, key=lambda end: (-end[1], end[0]))
        wanted = [top + tall * (high - value) / (high - low) for _, value, _ in ordered]
        placed = _apart(wanted, 1.22 * style.size.small / 72, top + 0.05, top + tall)
        edge = x - 0.12 / (len(self.waves) - 1 + 0.24) * (sheet.width - x)
        for (label, _, first), at, here in zip(ordered, wanted, placed, strict=True):
            sheet.rule(edge + 0.02, at, x + 0.1, here, colour=ink.reference)
            sheet.lines(x + 0.13, here, [label], size=style.size.small, colour=ink.text if first else ink.quiet,
                        weight="bold" if first else "regular")  # fmt: skip


def _apart(wanted: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Push places apart to at least `step`, in order, as near to where they are wanted as both ends allow.

    >>> [round(place, 6) for place in _apart([1.0, 1.0, 3.0], 0.5, 0.0, 4.0)]
    [0.75, 1.25, 3.0]
    """
    groups: list[list[Any]] = []
    for place in wanted:
        groups.append([place, 1])
        while len(groups) > 1 and groups[-2][0] + step * groups[-2][1] / 2 > groups[-1][0] - step * groups[-1][1] / 2:
            other, mine = groups.pop(), groups.pop()
            count = other[1] + mine[1]
            groups.append([(other[0] * other[1] + mine[0] * mine[1]) / count, count])
    out = [centre + step * (k - (count - 1) / 2) for centre, count in groups for k in range(count)]
    over = max(0.0, out[-1] - high) if out else 0.0
    out = [place - over for place in out]
    under = max(0.0, low - out[0]) if out else 0.0
    return [place + under for place in out]
