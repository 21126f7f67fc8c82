"""Figures for the page and the book, drawn from published estimates and from nothing else.

One module per figure, each with one `draw` that returns a `Figure`: the drawing, the words that go with it and the
frame of what is drawn. `save` writes it in every form that readers use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fieldwork.figures import curve, gradient, spread
from fieldwork.figures.style import Figure, save

if TYPE_CHECKING:
    from fieldwork.chapter import Chapter
    from fieldwork.instrument import Instrument
    from fieldwork.study import Study

__all__ = ["Figure", "curve", "draw_all", "gradient", "save", "save_all", "spread"]


def draw_all(
    estimates: pd.DataFrame, instrument: Instrument, study: Study, multiverse: pd.DataFrame | None = None
) -> list[Figure]:
    """Draw every figure that the published estimates of the study's wave allow, in the order of the instrument.

    One gradient per measure with role means, and the spread of roles and stages. Estimates without them give no figure.
    The first measure's figure is `gradient`, the others `gradient_<measure>`. For each claim of the multiverse that was
    assessed in some specification, the specification curve `multiverse_<claim>`.
    """
    rows = estimates[(estimates["construct"] == "adoption_gradient") & (estimates["wave"] == study.wave)]
    known = [column for item in instrument.items for column in item.native_columns()]
    means = rows[(rows["statistic"] == "role_mean") & (rows["role"].fillna("") != "")]
    measures = sorted(
        dict.fromkeys(means["measure"]), key=lambda name: known.index(name) if name in known else len(known)
    )
    words = {"wave": study.wave, "provenance": study.provenance, "study": study.title}
    drawn = [gradient.draw(rows, instrument, measure=measure, **words) for measure in measures]
    drawn[:1] = [replace(first, name="gradient") for first in drawn[:1]]
    if rows["statistic"].isin(["role_sd_corrected", "stage_sd_corrected"]).any():
        drawn.append(spread.draw(rows, instrument, **words))
    if multiverse is not None:
        assessed = multiverse[(multiverse["wave"] == study.wave) & (multiverse["verdict"] != "not_assessable")]
        drawn += [curve.draw(multiverse, claim, **words) for claim in dict.fromkeys(assessed["claim"])]
    return drawn


def save_all(figures: Sequence[Figure], chapter: Chapter) -> list[Path]:
    """Save figures beside the reports of a chapter's wave, in `figures/`, every form of each."""
    return [path for figure in figures for path in save(figure, chapter.path("figures", "reports"))]
