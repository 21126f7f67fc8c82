"""The specification curve: what a claim's estimate would be under every other set of analytic choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fieldwork.errors import DataError, listed
from fieldwork.figures.spec import Figure, Spec
from fieldwork.figures.style import BOOK, Style, width_of
from fieldwork.schema import MULTIVERSE, conform

if TYPE_CHECKING:
    from fieldwork.figures.sheet import Sheet

__all__ = ["draw", "specify"]

# Choices and options as readers call them, in the order of the matrix.
CHOICES = {
    "weights": ("Weights", {"raked": "raked", "none": "none"}),
    "lens": ("Lens", {"cell_table": "cell table", "mixed_model": "mixed model"}),
    "exclusions": ("Excluded rows", {"set_aside": "out", "kept": "in"}),
    "stage": ("Stage of", {"own_function": "the function", "organisation": "the organisation"}),
    "missing": ("Missing answers", {"available": "available", "complete": "complete", "imputed": "imputed"}),
}
UNITS = {
    "scale_point": "scale points",
    "proportion": "share",
    "ratio": "ratio",
    "log_ratio": "log ratio",
    "index": "index points",
    "rank": "ranks",
}
# Shape and fill tell verdicts apart, so that a grey print says the same.
_MARKS = {
    "supported": ("o", True),
    "inconclusive": ("o", False),
    "contradicted": ("s", True),
    "not_assessable": ("x", True),
}
_WORDS = {
    "supported": "supported",
    "inconclusive": "inconclusive",
    "contradicted": "contradicted",
    "not_assessable": "not assessable",
}
_ROW, _TOP = 0.135, 1.35  # inches: a row of the matrix, the curve


def draw(
    table: pd.DataFrame,
    claim: str,
    *,
    wave: str,
    provenance: str = "simulated",
    study: str = "",
    style: str | Style = BOOK,
) -> Figure:
    """Draw the figure that `specify` describes in a house style."""
    return specify(table, claim, wave=wave, provenance=provenance, study=study).draw(style)


def specify(table: pd.DataFrame, claim: str, *, wave: str, provenance: str = "simulated", study: str = "") -> Spec:
    """Describe the specification curve of a claim at its registered margin.

    Above, the estimate of the part that binds in the main analysis with its interval, specifications in order of it; shape
    and fill tell the verdict of the whole claim. Below, which option of each choice a specification takes. Specifications
    whose numbers are held back, or which have no finite estimate, stand at the right with their verdict alone.

    Parameters
    ----------
    table : columns of `schema.MULTIVERSE`, behind the gate. claim : id. wave, provenance, study : for the source line.

    Raises DataError where the table has no row of the claim. Reference: Simonsohn, Simmons and Nelson (2020), Nature Human
    Behaviour 4, 1208-1214.
    """
    rows = conform(table, MULTIVERSE, where="figures.curve.draw")
    mine = rows[(rows["claim"] == claim) & (rows["wave"] == wave) & rows["registered_margin"].fillna(value=False)]
    if mine.empty:
        raise DataError(
            f"no specification of {claim} is in the multiverse of {wave}",
            where="figures.curve.draw",
            expected=listed(sorted(set(rows["claim"]))) or "a claim",
            got=claim,
            hint="run chapter 08c_multiverse again",
        )
    data = _ordered(mine)
    simulated = provenance == "simulated"
    main = data[data["main"]]["verdict"].iloc[0]
    agree = int((data["verdict"] == main).sum())
    title = f"{claim} under {len(data)} sets of analytic choices"
    subtitle = f"{agree} of {len(data)} come to the verdict of the main analysis: {_WORDS[main]}."
    level = sorted({round(float(value) * 100) for value in data["conf_level"].dropna()})
    unit = str(data["unit"].iloc[0])
    caption = (
        f"{subtitle} {_capital(str(data['part'].iloc[0]))}, {UNITS.get(unit, unit)}"
        f"{f', with {level[0]}% intervals' if len(level) == 1 else ', with intervals'}; dashed: the margin. "
        "Verdicts are of the whole claim: filled circle supported, open circle inconclusive, square contradicted, cross not "
        "assessable. "
        "Arrow: the main analysis. At the right, specifications without a number to show."
    )
    source = f"{'Simulated data, not fieldwork. ' if simulated else ''}Source: {study}, {wave}."
    words = _sentences(data, unit)
    opening = ["Simulated data."] if simulated else []
    return Spec(
        name=f"multiverse_{claim}",
        title=title,
        subtitle="",
        notes=caption,
        source=source,
        alt=" ".join([*opening, f"Specification curve: {title}.", subtitle]),
        long_description=" ".join(words),
        data=data.drop(columns="place"),
        plot=_Curve(data, unit),
        simulated=simulated,
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Specifications in order of their estimate; those without one after them, in the order of the table."""
    data = rows.assign(bare=rows["estimate"].isna()).sort_values(
        ["bare", "estimate", "specification"], kind="stable", na_position="last"
    )
    return data.drop(columns="bare").reset_index(drop=True).assign(place=range(len(data)))


def _records(data: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in data.to_dict("records")]


def _options(data: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Rows of the matrix: choice, option, label; only choices that vary."""
    found = []
    for name, (heading, options) in CHOICES.items():
        if len(set(data[name])) > 1:
            found += [
                (name, option, f"{heading}: {text}") for option, text in options.items() if option in set(data[name])
            ]
    return found


@dataclass(frozen=True, slots=True)
class _Curve:
    """The curve, and under it the matrix of choices."""

    data: pd.DataFrame
    unit: str

    def height(self, style: Style, width: float) -> float:
        """Inches that the two need."""
        del width
        return (_TOP + 0.1 + _ROW * len(_options(self.data)) + 0.1) * style.unit

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw the two."""
        style, options = sheet.style, _options(self.data)
        left = max([width_of(label, style.size.small) for *_, label in options] + [0.6]) + 0.1
        matrix = _ROW * len(options) * style.unit
        tall = height - matrix - 0.2 * style.unit
        span = (-0.6, len(self.data) - 0.4)
        axes = sheet.axes(left, top, sheet.width - left - 0.04, tall)
        _curve(axes, self.data, self.unit, style)
        axes.set(xlim=span)
        if options:
            below = sheet.axes(left, top + tall + 0.1 * style.unit, sheet.width - left - 0.04, matrix)
            _matrix(below, self.data, options, style)
            below.set(xlim=span)


def _curve(axes: Axes, data: pd.DataFrame, unit: str, style: Style) -> None:
    ink = style.ink
    shown = data.dropna(subset=["estimate"])
    margin = float(data["part_margin"].iloc[0])
    ends = [
        float(v)
        for name in ("estimate", "conf_low", "conf_high")
        for v in data[name].dropna()
        if math.isfinite(float(v))
    ]
    low, high = min([margin, *ends]), max([margin, *ends])
    pad = 0.08 * (high - low or 1.0)
    low, high = low - pad, high + pad
    axes.set(ylim=(low, high), xticks=[])
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    records = _records(data)
    for row in records:
        if pd.isna(row["estimate"]) and pd.isna(row["conf_low"]) and pd.isna(row["conf_high"]):
            continue
        first = low if pd.isna(row["conf_low"]) else float(row["conf_low"])
        last = high if pd.isna(row["conf_high"]) else float(row["conf_high"])
        axes.vlines(row["place"], first, last, color=ink.reference, linewidth=1.0, zorder=2)
    axes.axhline(margin, color=ink.text, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    bare = low + 0.4 * pad
    for row in records:
        at = bare if pd.isna(row["estimate"]) else float(row["estimate"])
        shape, filled = _MARKS[row["verdict"]]
        face = ink.estimate if filled else ink.pale
        edge = None if shape == "x" else ink.estimate
        axes.scatter(
            [row["place"]],
            [at],
            s=13 * style.unit**2,
            marker=shape,
            linewidth=0.8,
            zorder=4,
            color=face,
            edgecolors=edge,
        )
        if row["main"]:
            axes.annotate(
                "", (row["place"], at), xytext=(0, 15), textcoords="offset points",
                arrowprops={"arrowstyle": "-|>", "color": ink.text, "linewidth": 0.7, "shrinkB": 4, "mutation_scale": 6},
            )  # fmt: skip
    if len(shown) < len(data):
        axes.axvspan(len(shown) - 0.5, len(data) - 0.4, color=ink.band, zorder=0, linewidth=0)
    axes.tick_params(
        axis="y", length=2, width=0.5, color=ink.reference, pad=1.5, labelsize=style.size.small, labelcolor=ink.quiet
    )
    if unit == "proportion":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.spines["left"].set(visible=True, color=ink.reference, linewidth=0.5)
    axes.grid(axis="y", color=ink.rule, linewidth=0.5)
    axes.set_axisbelow(True)


def _matrix(axes: Axes, data: pd.DataFrame, options: Sequence[tuple[str, str, str]], style: Style) -> None:
    ink = style.ink
    axes.set(ylim=(len(options) - 0.5, -0.5), xticks=[], yticks=range(len(options)))
    axes.set_yticklabels([label for *_, label in options], size=style.size.small, color=ink.quiet)
    axes.tick_params(axis="y", length=0, pad=3)
    for side in axes.spines.values():
        side.set_visible(False)
    for k, (name, option, _) in enumerate(options):
        taken = data[data[name] == option]["place"]
        axes.scatter(data["place"], [k] * len(data), s=1.2, color=ink.rule, zorder=1, linewidth=0)
        axes.scatter(taken, [k] * len(taken), s=7, color=ink.text, zorder=2, linewidth=0)
        if k and options[k - 1][0] != name:
            axes.axhline(k - 0.5, color=ink.rule, linewidth=0.5)


def _sentences(data: pd.DataFrame, unit: str) -> list[str]:
    out = []
    for row in _records(data):
        taken = [options[row[name]] for name, (_, options) in CHOICES.items() if len(set(data[name])) > 1]
        what = f"Specification {row['specification']} ({', '.join(taken) or 'main'})"
        number = "no number shown"
        if not pd.isna(row["estimate"]):
            number = f"{100 * row['estimate']:.0f}%" if unit == "proportion" else f"{row['estimate']:.2f}"
            if not pd.isna(row["conf_low"]) and not pd.isna(row["conf_high"]):
                ends = (row["conf_low"], row["conf_high"])
                low, high = (f"{100 * v:.0f}%" if unit == "proportion" else f"{v:.2f}" for v in ends)
                number += f" ({low} to {high})"
        out.append(f"{what}: {number}, {_WORDS[row['verdict']]}.")
    return out
