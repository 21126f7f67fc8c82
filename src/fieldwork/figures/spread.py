"""The spread: how far roles lie apart, beside how far stages of adoption lie apart, on the same measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure as Canvas

from fieldwork.errors import DataError
from fieldwork.figures.style import INK, SIZE, WIDTH, Figure, canvas, house, label_of, lay, width_of, wrap
from fieldwork.schema import ESTIMATES, conform

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["draw"]

_SERIES = {
    "role_sd_corrected": ("between roles", INK.estimate),
    "stage_sd_corrected": ("between stages", INK.pale),
}
_TYPES = {**dict.fromkeys(("estimate", "conf_low", "conf_high", "conf_level"), "Float64"), "n": "Int64"}
_KEY = (
    "Standard deviation of the group means, corrected for sampling noise. "
    "Filled: between roles. Open: between stages of adoption."
)


def draw(
    estimates: pd.DataFrame,
    instrument: Instrument,
    *,
    wave: str = "",
    provenance: str = "simulated",
    study: str = "",
) -> Figure:
    """Draw the corrected spread between roles and between stages, with intervals, one row per measure.

    Reads the published rows `role_sd_corrected` and `stage_sd_corrected` of the adoption gradient. Observed ranges are
    not drawn: ten groups range wider than four by chance alone. Arguments and errors as in `gradient.draw`.
    """
    estimates = conform(estimates, ESTIMATES, where="figures.spread.draw")
    wave = wave or instrument.wave
    data = _rows(estimates, instrument, wave)
    simulated = provenance == "simulated"
    title = "Spread between roles and between stages of adoption"
    level = sorted({round(float(v) * 100) for v in data["conf_level"].dropna()})
    subtitle = f"Scale points, with {f'{level[0]}% ' if level else ''}intervals."
    source = f"{'Simulated data, not fieldwork. ' if simulated else ''}Source: {study or instrument.title}, {wave}."
    with house():
        drawing = _drawing(data, title, subtitle, source, simulated=simulated)
    return Figure(
        name="spread",
        title=title,
        caption=f"{subtitle} {_KEY}",
        alt=" ".join(
            [
                *(["Simulated data."] if simulated else []),
                f"Dot plot with intervals: {title.lower()}, in scale points.",
                *_sentences(data),
            ]
        ),
        long_description=" ".join(_sentences(data)),
        data=data,
        source=source,
        drawing=drawing,
    )


def _rows(estimates: pd.DataFrame, instrument: Instrument, wave: str) -> pd.DataFrame:
    known = estimates[
        (estimates["construct"] == "adoption_gradient")
        & (estimates["wave"] == wave)
        & estimates["statistic"].isin(list(_SERIES))
        & (estimates["segment"].fillna("") == "")
        & (estimates["stage"].fillna("") == "")
    ]
    if known.empty:
        raise DataError(
            "no spread of roles or stages is among the published estimates",
            where="figures.spread.draw",
            expected="rows role_sd_corrected and stage_sd_corrected of the adoption gradient",
            got=f"none in {wave}",
            hint="run chapters 04_gradient and 09_claims again, or draw another wave",
        )
    records = []
    cell = {(row["measure"], row["statistic"]): row for row in known.to_dict("records")}
    for measure in dict.fromkeys(known["measure"]):
        for statistic in _SERIES:
            row = cell.get((measure, statistic), {"status": "not_assessable", "reason": "not estimated"})
            shown = row["status"] in ("ok", "flagged") and not pd.isna(row["estimate"])
            records.append(
                {
                    "wave": wave,
                    "measure": measure,
                    "measure_label": label_of(instrument, measure),
                    "statistic": statistic,
                    **{name: row[name] if shown else pd.NA for name in _TYPES},
                    "mark": "point" if shown else "withheld",
                    "reason": row["reason"] if isinstance(row["reason"], str) else "",
                }
            )
    return pd.DataFrame.from_records(records).astype(_TYPES)


def _drawing(data: pd.DataFrame, title: str, subtitle: str, source: str, *, simulated: bool) -> Canvas:
    measures = dict(zip(data["measure"], data["measure_label"], strict=True))
    left = min(1.5, max(width_of(label, SIZE.label) for label in measures.values()) + 0.04) + 0.08
    labels = [wrap(label, left - 0.1, SIZE.label, lines=3) for label in measures.values()]
    right = width_of("between stages", SIZE.small) + 0.1
    words = [
        *(([("Simulated data", SIZE.label, INK.warning, "bold", 0.15)]) if simulated else []),
        *[(line, SIZE.title, INK.text, "bold", 0.17) for line in wrap(title, WIDTH - 0.04, SIZE.title, weight="bold")],
        *[(line, SIZE.subtitle, INK.quiet, "regular", 0.135) for line in wrap(subtitle, WIDTH - 0.04, SIZE.subtitle)],
    ]
    foot = [line for text in (_KEY, source) for line in wrap(text, WIDTH - 0.04, SIZE.small, lines=6)]
    pitch = 0.42
    top = sum(step for *_, step in words) + 0.1
    height = top + pitch * len(measures) + 0.3 + 0.118 * len(foot)
    drawing = canvas(height)
    y = height - 0.02
    for line, size, colour, weight, step in words:
        drawing.text(0.0, y / height, line, size=size, color=colour, weight=weight, va="top")
        y -= step
    base = height - top - pitch * len(measures)
    axes = drawing.add_axes(
        (left / WIDTH, base / height, (WIDTH - left - right) / WIDTH, pitch * len(measures) / height)
    )
    values = [float(v) for name in ("estimate", "conf_low", "conf_high") for v in data[name].dropna()]
    high = max([*values, 0.1]) * 1.04
    axes.set(xlim=(-0.02 * high, high), ylim=(len(measures) - 0.5, -0.5), yticks=[])
    axes.grid(axis="x", color=INK.rule, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(
        axis="x", length=2, width=0.5, color=INK.reference, pad=1.5, labelsize=SIZE.small, labelcolor=INK.quiet
    )
    sns.despine(ax=axes, left=True)
    axes.spines["bottom"].set(color=INK.reference, linewidth=0.5)
    order = {measure: index for index, measure in enumerate(measures)}
    for (statistic, (words_of, face)), shift in zip(_SERIES.items(), (-0.18, 0.18), strict=True):
        rows = data[data["statistic"] == statistic]
        at = [order[measure] + shift for measure in rows["measure"]]
        rows = rows.assign(y=at)
        shown = rows.dropna(subset=["estimate"])
        bars = shown.dropna(subset=["conf_low", "conf_high"])
        axes.hlines(
            bars["y"],
            bars["conf_low"].astype(float),
            bars["conf_high"].astype(float),
            color=INK.estimate,
            linewidth=1.2,
            zorder=3,
        )
        for y_of, mark in zip(at, rows["mark"], strict=True):
            axes.annotate(
                words_of,
                (1.0, y_of),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                size=SIZE.small,
                color=INK.quiet,
                va="center",
                annotation_clip=False,
            )
            if mark == "withheld":
                axes.text(0.0, y_of, "withheld", size=SIZE.small, color=INK.quiet, va="center_baseline")
        if not shown.empty:
            sns.scatterplot(
                x=shown["estimate"].astype(float).to_numpy(),
                y=shown["y"].to_numpy(),
                ax=axes,
                s=16,
                color=face,
                edgecolor=INK.estimate,
                linewidth=0.9,
                zorder=4,
                legend=False,
            )
    axes.set(xlabel="", ylabel="")
    for index, label in enumerate(labels):
        lay(drawing, 0.0, height - top - (index + 0.5) * pitch, label, size=SIZE.label)
    for k, line in enumerate(reversed(foot)):
        drawing.text(0.0, (0.04 + k * 0.118) / height, line, size=SIZE.small, color=INK.quiet, va="baseline")
    return drawing


def _sentences(data: pd.DataFrame) -> list[str]:
    out = []
    for _, row in data.iterrows():
        what = f"{row['measure_label']}, {_SERIES[row['statistic']][0]}"
        if row["mark"] == "withheld":
            out.append(f"{what}: not published.")
        elif pd.isna(row["conf_low"]) or pd.isna(row["conf_high"]):
            out.append(f"{what}: {row['estimate']:.2f}.")
        else:
            out.append(f"{what}: {row['estimate']:.2f} ({row['conf_low']:.2f} to {row['conf_high']:.2f}).")
    return out
