"""The plan: how often each claim would be supported at each planned size, with what the drawn studies leave open."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure as Canvas

from fieldwork.errors import DataError
from fieldwork.figures.style import INK, SIZE, WIDTH, Figure, canvas, house, lay, width_of, wrap

__all__ = ["draw"]

_KEY = (
    "Point: share of drawn studies in which the claim was supported. Line: exact 95% interval of that share. "
    "A dash: it could be assessed in none of them."
)
_PITCH = 0.15  # inches between sizes of one claim
_GAP = 0.13  # inches between claims


def draw(table: pd.DataFrame, *, world: str, study: str) -> Figure:
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
    with house():
        drawing = _drawing(data, title, subtitle, f"{_KEY}{without}", source)
    return Figure(
        name="plan",
        title=title,
        caption=f"{subtitle} {_KEY}{without}",
        alt=f"Dot plot with intervals: {subtitle} {data['claim'].nunique()} claims at "
        f"{data['respondents'].nunique()} sizes. Simulated.",
        long_description=" ".join(sentences),
        data=data.reset_index(drop=True),
        source=source,
        drawing=drawing,
    )


def _drawing(data: pd.DataFrame, title: str, subtitle: str, key: str, source: str) -> Canvas:
    claims = list(dict.fromkeys(data["claim"]))
    sizes = sorted(set(data["respondents"]))
    first = max(width_of(claim, SIZE.label, "bold") for claim in claims) + 0.08
    left = first + max(width_of(f"{size:,}", SIZE.small) for size in sizes) + 0.1
    head = [
        *[(line, SIZE.title, INK.text, "bold", 0.17) for line in wrap(title, WIDTH - 0.04, SIZE.title, weight="bold")],
        *[(line, SIZE.subtitle, INK.quiet, "regular", 0.135) for line in wrap(subtitle, WIDTH - 0.04, SIZE.subtitle)],
    ]
    foot = [line for text in (key, source) for line in wrap(text, WIDTH - 0.04, SIZE.small, lines=6)]
    block = _PITCH * len(sizes) + _GAP
    top = sum(step for *_, step in head) + 0.08
    plot = block * len(claims)
    height = top + plot + 0.3 + 0.118 * len(foot)
    drawing = canvas(height)
    y = height - 0.02
    for line, size, colour, weight, step in head:
        drawing.text(0.0, y / height, line, size=size, color=colour, weight=weight, va="top")
        y -= step
    base = height - top - plot
    axes = drawing.add_axes((left / WIDTH, base / height, (WIDTH - left - 0.12) / WIDTH, plot / height))
    axes.set(xlim=(-0.01, 1.01), ylim=(plot, 0.0), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xticklabels(["0%", "25%", "50%", "75%", "100%"])
    axes.grid(axis="x", color=INK.rule, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(
        axis="x", length=2, width=0.5, color=INK.reference, pad=1.5, labelsize=SIZE.small, labelcolor=INK.quiet
    )
    sns.despine(ax=axes, left=True)
    axes.spines["bottom"].set(color=INK.reference, linewidth=0.5)
    place = {(claim, size): block * c + _GAP / 2 + _PITCH * (s + 0.5) for c, claim in enumerate(claims)
             for s, size in enumerate(sizes)}  # fmt: skip
    rows = data.assign(y=[place[key] for key in zip(data["claim"], data["respondents"], strict=True)])
    shown = rows[rows["not_assessable"] < 1.0]
    axes.hlines(
        shown["y"], shown["supported_low"], shown["supported_high"], color=INK.estimate, linewidth=1.0, zorder=3
    )
    sns.scatterplot(
        x=shown["supported"].to_numpy(), y=shown["y"].to_numpy(), ax=axes, s=14, color=INK.estimate,
        edgecolor=INK.estimate, linewidth=0.6, zorder=4, legend=False, clip_on=False,
    )  # fmt: skip
    axes.set(xlabel="", ylabel="")
    for row in rows.to_dict("records"):
        lay(drawing, first, height - top - float(row["y"]), [f"{row['respondents']:,}"], size=SIZE.small)
        if row["not_assessable"] >= 1.0:
            axes.text(0.0, float(row["y"]), "\N{EN DASH}", size=SIZE.small, color=INK.quiet, va="center_baseline")
    for c, claim in enumerate(claims):
        lay(drawing, 0.0, height - top - (block * c + block / 2), [claim], size=SIZE.label, bold=True)
        if c:
            axes.axhline(block * c, color=INK.rule, linewidth=0.5)
    for k, line in enumerate(reversed(foot)):
        drawing.text(0.0, (0.04 + k * 0.118) / height, line, size=SIZE.small, color=INK.quiet, va="baseline")
    return drawing
