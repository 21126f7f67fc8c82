"""The cohort: from what was delivered to what is analysed, with what was set aside and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from fieldwork.errors import DataError
from fieldwork.figures.roles import measures_of
from fieldwork.figures.spec import Absence, Spec
from fieldwork.figures.style import Style, wrap

if TYPE_CHECKING:
    from fieldwork.figures.published import Published
    from fieldwork.figures.sheet import Sheet

__all__ = ["cohort"]


def cohort(source: Published) -> Spec | Absence:
    """Describe the flow of rows: delivered, set aside by rule, accepted, and the base of each measure of the gradient.

    Reads the counts of cleaning, which the page of data quality prints as well, and the published bases of
    `role_sd_corrected`, to the nearest five. Raises DataError where the counts do not add up.
    """
    title = "From delivered rows to the base of each measure"
    flow = source.flow
    if not flow:
        return Absence("cohort", title, "The counts of cleaning were not given.")
    delivered, accepted = int(flow["delivered"]), int(flow["accepted"])
    rules = {str(rule): int(count) for rule, count in (flow.get("by_rule") or {}).items() if int(count)}
    if accepted + sum(rules.values()) != delivered:
        raise DataError(
            "the counts of cleaning do not add up",
            where="01_clean.flow.json",
            expected="accepted + set aside by rule = delivered",
            got=f"{accepted} + {sum(rules.values())}, delivered {delivered}",
            hint="run chapter 01_clean again",
        )
    words = flow.get("words") or {}
    records: list[dict[str, Any]] = [{"step": "delivered", "label": "Rows delivered", "count": delivered}]
    records += [
        {"step": "set aside", "label": str(words.get(rule) or rule.replace("_", " ")), "count": count}
        for rule, count in sorted(rules.items(), key=lambda entry: (-entry[1], entry[0]))
    ]
    if rules:
        records.append({"step": "together", "label": "Set aside, together", "count": sum(rules.values())})
    records.append({"step": "accepted", "label": "Respondents accepted", "count": accepted})
    for measure in measures_of(source):
        for row in source.rows("adoption_gradient", "role_sd_corrected", measure=measure):
            if not row["stage"] and not pd.isna(row["n"]):
                records.append({"step": "base", "label": f"Base of {source.label(measure)}", "count": int(row["n"])})
    data = pd.DataFrame.from_records(records).astype({"count": "Int64"}).assign(wave=source.wave)
    opening = ["Simulated data."] if source.simulated else []
    aside = delivered - accepted
    return Spec(
        name="cohort",
        title=title,
        subtitle="Rows, each one respondent; bases of measures to the nearest five.",
        notes="A row is set aside for the first rule that it breaks. A base is lower than the accepted where a question was "
        "not answered or a role is not known.",
        source=source.source(),
        alt=" ".join([*opening, f"Flow diagram: {delivered:,} rows delivered, {aside:,} set aside, {accepted:,} accepted."]),
        long_description=" ".join(
            f"{row['label'][:1].upper()}{row['label'][1:]}{', set aside' * (row['step'] == 'set aside')}: {row['count']:,}."
            for row in records
        ),
        data=data,
        plot=_Flow(data),
        simulated=source.simulated,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Flow:
    """Boxes down the left, what is set aside at the right."""

    data: pd.DataFrame

    def _steps(self, step: str) -> list[tuple[str, int]]:
        rows = self.data[self.data["step"] == step]
        return [(str(label), int(count)) for label, count in zip(rows["label"], rows["count"], strict=True)]

    def _listed(self, style: Style, width: float) -> list[tuple[str, list[str]]]:
        """List counts and wrapped words of what is set aside."""
        room = 0.54 * width - 0.55 * style.unit
        return [
            (f"{count:,}", wrap(label, room, style.size.small, lines=3)) for label, count in self._steps("set aside")
        ]

    def _parts(self, style: Style, width: float) -> tuple[float, float, float]:
        """Height of a box, of the list at the right with its frame, and of a gap."""
        line = 1.18 * style.size.small / 72
        count = sum(len(lines) for _, lines in self._listed(style, width))
        listed = line * (count + 1.4) + 0.04 * len(self._steps("set aside")) + 0.14 * style.unit if count else 0.0
        return 0.36 * style.unit, listed, 0.2 * style.unit

    def height(self, style: Style, width: float) -> float:
        """Inches that the boxes need."""
        box, listed, gap = self._parts(style, width)
        return box * 2 + max(listed, gap) + 2 * gap + (gap + box if self._steps("base") else 0.0) + 0.06

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw the boxes, and arrows from one to the next."""
        style, ink, size = sheet.style, sheet.style.ink, sheet.style.size
        box, listed, gap = self._parts(style, sheet.width)
        gap += max(0.0, height - self.height(style, sheet.width)) / 4
        axes = sheet.axes(0.0, top, sheet.width, height)
        axes.set(xlim=(0.0, sheet.width), ylim=(height, 0.0))
        wide = 0.4 * sheet.width
        y = 0.03
        self._box(axes, sheet, self._steps("delivered")[0], 0.02, y, wide, box, top)
        middle = 0.02 + wide / 2
        after = y + box + 2 * gap + max(listed, gap)
        _arrow(axes, (middle, y + box), (middle, after), ink.text)
        if listed:
            x, at = 0.45 * sheet.width, y + box + gap
            axes.add_patch(Rectangle((x, at), sheet.width - x - 0.02, listed, facecolor=ink.band, edgecolor=ink.reference,
                                     linewidth=0.6))  # fmt: skip
            _arrow(axes, (middle, at + listed / 2), (x, at + listed / 2), ink.text)
            line = 1.18 * size.small / 72
            down = top + at + 0.07 * style.unit + line / 2
            (_, total), *_ = self._steps("together")
            sheet.lines(x + 0.08, down, [f"Set aside: {total:,}"], size=size.small, weight="bold")
            down += 1.4 * line
            for count, lines in self._listed(style, sheet.width):
                sheet.lines(x + 0.38 * style.unit, down, [count], size=size.small, ha="right")
                sheet.lines(x + 0.44 * style.unit, down + line * (len(lines) - 1) / 2, lines, size=size.small)
                down += line * len(lines) + 0.04
        self._box(axes, sheet, self._steps("accepted")[0], 0.02, after, wide, box, top)
        bases = self._steps("base")
        if bases:
            below = after + box + gap
            share = (sheet.width - 0.04 - 0.1 * (len(bases) - 1)) / max(len(bases), 2)
            fork = after + box + gap / 2
            xs = [0.02 + k * (share + 0.1) for k in range(len(bases))]
            if len(bases) > 1:
                _line(axes, (middle, after + box), (middle, fork), ink.text)
                _line(axes, (min(middle, xs[0] + share / 2), fork), (xs[-1] + share / 2, fork), ink.text)
            for x, base in zip(xs, bases, strict=True):
                self._box(axes, sheet, base, x, below, share, box, top)
                centre = x + share / 2 if len(bases) > 1 else middle
                _arrow(axes, (centre, fork if len(bases) > 1 else after + box), (centre, below), ink.text)

    def _box(
        self, axes: Axes, sheet: Sheet, step: tuple[str, int], x: float, y: float, wide: float, tall: float, top: float
    ) -> None:  # fmt: skip
        ink, size = sheet.style.ink, sheet.style.size
        axes.add_patch(Rectangle((x, y), wide, tall, facecolor=ink.pale, edgecolor=ink.text, linewidth=0.8))
        label = wrap(step[0], wide - 0.1, size.small, lines=1)
        sheet.lines(x + wide / 2, top + y + 0.3 * tall, label, size=size.small, colour=ink.quiet, ha="center")
        sheet.lines(x + wide / 2, top + y + 0.68 * tall, [f"{step[1]:,}"], size=size.label, weight="bold", ha="center")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=7, color=colour, linewidth=0.8, shrinkA=0,
                                   shrinkB=0))  # fmt: skip


def _line(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axes.plot((start[0], end[0]), (start[1], end[1]), color=colour, linewidth=0.8, solid_capstyle="projecting")
