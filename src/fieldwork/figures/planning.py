"""The plan: how often each claim would be supported at each planned size, with what the drawn studies leave open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import seaborn as sns

from fieldwork.errors import DataError
from fieldwork.figures.spec import Figure, Spec
from fieldwork.figures.style import BOOK, Style, width_of

if TYPE_CHECKING:
    from fieldwork.figures.sheet import Sheet

__all__ = ["draw"]

_KEY = (
    "Point: share of drawn studies in which the claim was supported. Line: exact 95% interval of that share. "
    "A dash: it could be assessed in none of them."
)
_PITCH = 0.15  # inches between sizes of one claim
_GAP = 0.13  # inches between claims


def draw(table: pd.DataFrame, *, world: str, study: str, style: str | Style = BOOK) -> Figure:
    """Draw the shares of supported verdicts by claim and planned size.

    Parameters
    ----------
    table : pd.DataFrame    Of `plan.Plan`: claim, respondents, studies, supported, supported_low, supported_high,
                            not_assessable. Claims that no size can assess are left out and counted in the caption.
    world, study : str      What was supposed to be true; title of the study planned for.

    Raises DataError where no claim could be assessed at any size.
    """
    able = table.groupby("claim", sort=False)["not_assessable"].transform("min") < 1.0
    data = table.loc[
        able, ["claim", "respondents", "studies", "supported", "supported_low", "supported_high", "not_assessable"]
    ]
    if data.empty:
        raise DataError(
            "no claim could be assessed at any size", where="figures.planning.draw",
            expected="a claim that some drawn study assessed", got=f"{table['claim'].nunique()} claims, none assessed",
            hint="plan for more respondents",
        )  # fmt: skip
    left_out = table["claim"].nunique() - data["claim"].nunique()
    title = "What a planned sample can show"
    drawn = int(table["studies"].max())
    subtitle = f"Share of {drawn} drawn studies that support each claim, by number of executives."
    source = f"Drawn from the simulated world {world}, not from fieldwork. Planned for: {study}."
    without = f" {left_out} claims could be assessed at no size." if left_out else ""
    sentences = [
        f"{row['claim']} with {row['respondents']} executives: supported in {100 * row['supported']:.0f}% "
        f"({100 * row['supported_low']:.0f} to {100 * row['supported_high']:.0f}%)."
        for row in data.to_dict("records")
    ]
    return Spec(
        name="plan",
        title=title,
        subtitle=subtitle,
        notes=f"{_KEY}{without}",
        source=source,
        alt=f"Dot plot with intervals: {subtitle} {data['claim'].nunique()} claims at "
        f"{data['respondents'].nunique()} sizes. Simulated.",
        long_description=" ".join(sentences),
        data=data.reset_index(drop=True),
        plot=_Shares(data),
        simulated=False,  # the source line says what it is drawn from
    ).draw(style)


@dataclass(frozen=True, slots=True)
class _Shares:
    """Shares of drawn studies, one row for each claim and size."""

    data: pd.DataFrame

    def _block(self, style: Style) -> float:
        return (_PITCH * self.data["respondents"].nunique() + _GAP) * style.unit

    def height(self, style: Style, width: float) -> float:
        """Inches that the rows and their axis need."""
        del width
        return self._block(style) * self.data["claim"].nunique() + 0.24 * style.unit

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw the rows."""
        style, ink, size, data = sheet.style, sheet.style.ink, sheet.style.size, self.data
        claims = list(dict.fromkeys(data["claim"]))
        sizes = sorted(set(data["respondents"]))
        first = max(width_of(claim, size.label, "bold") for claim in claims) + 0.08
        left = first + max(width_of(f"{each:,}", size.small) for each in sizes) + 0.1
        plot = height - 0.24 * style.unit
        block = plot / len(claims)
        pitch = _PITCH * block / (_PITCH * len(sizes) + _GAP)
        axes = sheet.axes(left, top, sheet.width - left - 0.12, plot)
        axes.set(xlim=(-0.01, 1.01), ylim=(plot, 0.0), xticks=[0, 0.25, 0.5, 0.75, 1.0])
        axes.set_xticklabels(["0%", "25%", "50%", "75%", "100%"])
        axes.grid(axis="x", color=ink.rule, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(
            axis="x", length=2, width=0.5, color=ink.reference, pad=1.5, labelsize=size.small, labelcolor=ink.quiet
        )
        axes.spines["bottom"].set(visible=True, color=ink.reference, linewidth=0.5)
        place = {(claim, each): block * c + (block - pitch * len(sizes)) / 2 + pitch * (s + 0.5)
                 for c, claim in enumerate(claims) for s, each in enumerate(sizes)}  # fmt: skip
        rows = data.assign(y=[place[key] for key in zip(data["claim"], data["respondents"], strict=True)])
        shown = rows[rows["not_assessable"] < 1.0]
        axes.hlines(
            shown["y"], shown["supported_low"], shown["supported_high"], color=ink.estimate, linewidth=1.0, zorder=3
        )
        sns.scatterplot(
            x=shown["supported"].to_numpy(), y=shown["y"].to_numpy(), ax=axes, s=14, color=ink.estimate,
            edgecolor=ink.estimate, linewidth=0.6, zorder=4, legend=False, clip_on=False,
        )  # fmt: skip
        axes.set(xlabel="", ylabel="")
        for row in rows.to_dict("records"):
            sheet.lines(first, top + float(row["y"]), [f"{row['respondents']:,}"], size=size.small)
            if row["not_assessable"] >= 1.0:
                axes.text(0.0, float(row["y"]), "\N{EN DASH}", size=size.small, color=ink.quiet, va="center_baseline")
        for c, claim in enumerate(claims):
            sheet.lines(0.0, top + block * (c + 0.5), [claim], size=size.label, weight="bold")
            if c:
                axes.axhline(block * c, color=ink.rule, linewidth=0.5)
