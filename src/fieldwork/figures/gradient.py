"""The gradient: where each role stands on one measure, over all stages of adoption and within each stage cohort."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from fieldwork.errors import DataError, listed
from fieldwork.figures.style import INK, SIZE, WIDTH, Figure, canvas, house, label_of, lay, width_of, wrap
from fieldwork.schema import ESTIMATES, conform

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["draw"]

_ALL = "All stages"
_NUMBERS = dict.fromkeys(("estimate", "conf_low", "conf_high", "conf_level"), "Float64")
_COUNTS = dict.fromkeys(("n", "n_organisations"), "Int64")
_COLUMNS = 3
_LINE = 0.118  # inches from one line of small text to the next
_N_WIDTH = 0.25


@dataclass(frozen=True, slots=True)
class _Layout:
    """Measures of the sheet in inches, so that nothing is placed by eye.

    Attributes
    ----------
    labels : list of list of str    Role labels broken into lines, one list per row.
    headings : list of list of str  Headings of the panels, likewise.
    heights : list of float         Height of each row, by the lines of its label.
    left, panel, gap : float        Width of the label column, of a panel, and between panels.
    head, foot : float              Height of a panel's heading and of its axis.
    across, down : int              Panels in a row, rows of panels.
    """

    labels: list[list[str]]
    headings: list[list[str]]
    heights: list[float]
    left: float
    panel: float
    gap: float
    head: float
    foot: float
    across: int
    down: int

    @property
    def rows(self) -> float:
        """Height of the rows of one panel."""
        return sum(self.heights)

    @property
    def block(self) -> float:
        """Height of one row of panels, with heading and axis."""
        return self.head + self.rows + self.foot

    @property
    def middles(self) -> list[float]:
        """Middle of each row, in inches below the top of the panel."""
        return [sum(self.heights[:k]) + height / 2 for k, height in enumerate(self.heights)]


def draw(
    estimates: pd.DataFrame,
    instrument: Instrument,
    *,
    measure: str = "conf",
    wave: str = "",
    provenance: str = "simulated",
    study: str = "",
) -> Figure:
    """Draw the mean of a measure per role, with its interval, over all stages and by stage cohort.

    Reads the published rows `role_mean` of the adoption gradient: those without a stage make the first panel, those
    with one the cohorts. A cell that was not published keeps its row and says so, never zero; a cell on a small base
    shows an open point. Roles are in order of their estimate over all stages, which is not a ranking.

    Parameters
    ----------
    estimates : pd.DataFrame    Published estimates, as in `schema.ESTIMATES`.
    instrument : Instrument     Roles, stages, labels and scales.
    measure : str               Item or derived measure to draw.
    wave : str                  Wave; empty: the instrument's.
    provenance : str            `simulated` puts the banner on the figure.
    study : str                 Name of the survey in the source line; empty: the instrument's title.

    Raises DataError when no role mean of the measure was published.
    """
    estimates = conform(estimates, ESTIMATES, where="figures.gradient.draw")
    wave = wave or instrument.wave
    data = _cells(estimates, instrument, measure, wave)
    simulated = provenance == "simulated"
    title = f"{label_of(instrument, measure)}, by role and stage"
    subtitle = _subtitle(instrument, measure, data)
    source = _source(estimates, data, measure, wave, study or instrument.title, simulated=simulated)
    with house():
        drawing = _drawing(data, _limits(instrument, measure, data), title, subtitle, source, simulated=simulated)
    return Figure(
        name=f"gradient_{measure.replace('+', '_')}",
        title=title,
        caption=f"{subtitle} {_key(data)}",
        alt=_alt(data, title, simulated=simulated),
        long_description=_long(data),
        data=data,
        source=source,
        drawing=drawing,
    )


def _cells(estimates: pd.DataFrame, instrument: Instrument, measure: str, wave: str) -> pd.DataFrame:
    """Return one row per role and cohort, in the order in which they are drawn, published or not."""
    means = estimates[(estimates["construct"] == "adoption_gradient") & (estimates["statistic"] == "role_mean")]
    rows = means[(means["measure"] == measure) & (means["wave"] == wave) & (means["role"].fillna("") != "")]
    if rows.empty:
        known = sorted(set(means.loc[means["wave"] == wave, "measure"]))
        raise DataError(
            f"no role mean of {measure!r} is among the published estimates",
            where="figures.gradient.draw",
            expected=f"a measure of {wave}: {listed(known) or 'none'}",
            got=repr(measure),
            hint="choose a measure that chapter 04_gradient estimates, or run that chapter again",
        )
    cell = {
        (row["role"], row["stage"]): row
        for row in rows.fillna({"stage": "", "segment": ""}).to_dict("records")
        if row["segment"] == ""
    }
    present = [role for role in instrument.roles if any(key[0] == role.id for key in cell)]
    roles = sorted(present, key=lambda role: _standing(cell.get((role.id, ""))))
    cohorts = [("", _ALL)]
    for stage in instrument.stages:
        statuses = {cell[key]["status"] for key in cell if key[1] == stage.id}
        if statuses != {"not_assessable"}:  # nobody at that stage answered: the item was not put to them
            cohorts.append((stage.id, stage.label))
    records = []
    for stage_id, stage_label in cohorts:
        for role in roles:
            row = cell.get((role.id, stage_id), {"status": "not_assessable", "reason": "not estimated"})
            shown = row["status"] in ("ok", "flagged") and not pd.isna(row["estimate"])
            mark = "open" if row["status"] == "flagged" else "filled"
            records.append(
                {
                    "wave": wave,
                    "measure": measure,
                    "role": role.id,
                    "role_label": " ".join(role.label.split()),
                    "stage": stage_id,
                    "stage_label": " ".join(stage_label.split()),
                    **{name: row[name] if shown else pd.NA for name in (*_NUMBERS, *_COUNTS)},
                    "mark": mark if shown else "withheld",
                    "reason": row["reason"] if isinstance(row["reason"], str) else "",
                }
            )
    return pd.DataFrame.from_records(records).astype(_NUMBERS | _COUNTS)


def _standing(row: dict[Hashable, Any] | None) -> float:
    """Return what a role is ordered by: its estimate over all stages, highest first, unpublished last."""
    return math.inf if row is None or pd.isna(row["estimate"]) else -float(row["estimate"])


def _limits(instrument: Instrument, measure: str, data: pd.DataFrame) -> tuple[list[float], float, float]:
    """Return ticks and ends of the axis: the whole scale, widened only where an interval reaches beyond it."""
    scale = _scale(instrument, measure)
    values = [float(v) for name in ("estimate", "conf_low", "conf_high") for v in data[name].dropna()]
    if scale is None:
        low, high = min([0.0, *values]), max([*values, 0.0]) or 1.0
        ticks = [low, high]
    else:
        ticks = [float(point) for point in range(scale[0], scale[1] + 1)]
        low, high = min([ticks[0], *values]), max([ticks[-1], *values])
        while len(ticks) > 7:
            ticks = ticks[::2]
    pad = 0.04 * (high - low)
    return ticks, low - pad, high + pad


def _scale(instrument: Instrument, measure: str) -> tuple[int, int] | None:
    item = next((item for item in instrument.items if item.name == measure), None)
    if item is None or not item.scale:
        return None
    scale = instrument.scales[item.scale]
    return scale.low, scale.high


def _level(data: pd.DataFrame) -> str:
    levels = sorted({round(float(v) * 100) for v in data["conf_level"].dropna()})
    return f"{levels[0]}% intervals" if levels else "intervals"


def _subtitle(instrument: Instrument, measure: str, data: pd.DataFrame) -> str:
    item = next((item for item in instrument.items if item.name == measure), None)
    if item is None or not item.scale:
        return f"Mean; {_level(data)}."
    points = instrument.scales[item.scale].points
    first, last = min(points, key=lambda p: p.code), max(points, key=lambda p: p.code)
    ends = f"{first.code} ({' '.join(first.label.split())}) to {last.code} ({' '.join(last.label.split())})"
    return f"Mean on a scale from {ends}; {_level(data)}."


def _key(data: pd.DataFrame) -> str:
    marks = set(data["mark"])
    by_stage = data.loc[data["stage"] != "", "mark"]
    parts = ["Grey tick: the role over all stages."]
    if (by_stage == "withheld").all():
        parts = ["Every cell by stage is withheld, so only the panel over all stages is drawn."]
    if "open" in marks:
        parts.append("Open point: small base.")
    if "withheld" in marks:
        parts.append("Withheld: the base is too small to publish.")
    return " ".join([*parts, "n: respondents. Order: by the estimate over all stages; it is not a ranking."])


def _source(
    estimates: pd.DataFrame, data: pd.DataFrame, measure: str, wave: str, study: str, *, simulated: bool
) -> str:
    whole = estimates[
        (estimates["wave"] == wave)
        & (estimates["measure"] == measure)
        & (estimates["statistic"] == "role_sd_corrected")
        & (estimates["stage"].fillna("") == "")
        & estimates["n"].notna()
    ]
    parts = [f"{study}, {wave}."]
    if not whole.empty:
        n, organisations = whole["n"].iloc[0], whole["n_organisations"].iloc[0]
        parts.append(
            f"Base: {n:,} respondents{'' if pd.isna(organisations) else f' in {organisations:,} organisations'}."
        )
    elif data["n"].notna().any():
        parts.append("Base: respondents as shown.")
    return " ".join([*(["Simulated data, not fieldwork."] if simulated else []), "Source:", *parts])


def _drawing(
    data: pd.DataFrame,
    axis: tuple[list[float], float, float],
    title: str,
    subtitle: str,
    source: str,
    *,
    simulated: bool,
) -> Canvas:
    cohorts = list(dict.fromkeys(zip(data["stage"], data["stage_label"], strict=True)))
    if (data.loc[data["stage"] != "", "mark"] == "withheld").all():
        cohorts = cohorts[:1]
    sheet = _layout(data, [label for _, label in cohorts])
    top = _Words(title, subtitle, simulated=simulated)
    foot = [line for text in (_key(data), source) for line in wrap(text, WIDTH - 0.04, SIZE.small, lines=6)]
    height = top.height + sheet.block * sheet.down + 0.2 + _LINE * len(foot)
    drawing = canvas(height)
    top.write(drawing, height)
    for index, (stage_id, _) in enumerate(cohorts):
        across, down = index % sheet.across, index // sheet.across
        x = sheet.left + across * (sheet.panel + sheet.gap)
        y = height - top.height - down * sheet.block - sheet.head
        axes = drawing.add_axes(
            (x / WIDTH, (y - sheet.rows) / height, (sheet.panel - _N_WIDTH) / WIDTH, sheet.rows / height)
        )
        cells = data[data["stage"] == stage_id]
        _panel(axes, cells, data[data["stage"] == ""], axis, sheet)
        heading = sheet.headings[index]
        lay(drawing, x, y + 0.05 + 0.065 * len(heading), heading, size=SIZE.label, bold=True)
        beside = (x + sheet.panel) / WIDTH
        if cells["n"].notna().any():
            _small(drawing, beside, (y + 0.075) / height, "n")
        for label, n, middle in zip(sheet.labels, cells["n"], sheet.middles, strict=True):
            if not pd.isna(n):
                _small(drawing, beside, (y - middle - 0.35 * SIZE.small / 72) / height, f"{n:,}")
            if across == 0:
                lay(drawing, 0.0, y - middle, label, size=SIZE.label)
    _marks(drawing, data, y=(_LINE * len(foot) + 0.11) / height)
    for k, line in enumerate(reversed(foot)):
        drawing.text(0.0, (0.04 + k * _LINE) / height, line, size=SIZE.small, color=INK.quiet, va="baseline")
    return drawing


def _small(drawing: Canvas, x: float, y: float, text: str) -> None:
    drawing.text(x, y, text, size=SIZE.small, color=INK.quiet, ha="right", va="baseline")


class _Words:
    """Banner, title and subtitle above the panels."""

    def __init__(self, title: str, subtitle: str, *, simulated: bool) -> None:
        self.banner = ["Simulated data"] if simulated else []
        self.title = wrap(title, WIDTH - 0.04, SIZE.title, weight="bold", lines=3)
        self.subtitle = wrap(subtitle, WIDTH - 0.04, SIZE.subtitle, lines=3)

    @property
    def height(self) -> float:
        return 0.15 * len(self.banner) + 0.17 * len(self.title) + 0.135 * len(self.subtitle) + 0.1

    def write(self, drawing: Canvas, height: float) -> None:
        y = height - 0.02
        styled = (
            (self.banner, SIZE.label, INK.warning, "bold", 0.15),
            (self.title, SIZE.title, INK.text, "bold", 0.17),
            (self.subtitle, SIZE.subtitle, INK.quiet, "regular", 0.135),
        )
        for lines, size, colour, weight, step in styled:
            for line in lines:
                drawing.text(0.0, y / height, line, size=size, color=colour, weight=weight, va="top")
                y -= step


def _layout(data: pd.DataFrame, headings: list[str]) -> _Layout:
    across = min(_COLUMNS, len(headings))
    names = list(dict.fromkeys(data["role_label"]))
    left = min(1.35, max(width_of(name, SIZE.label) for name in names) + 0.04)
    labels = [wrap(name, left - 0.02, SIZE.label, lines=3) for name in names]
    gap = 0.16
    panel = min((WIDTH - left - 0.08 - gap * (across - 1)) / across, 2.6)
    broken = [wrap(heading, panel - 0.12, SIZE.label, weight="bold", lines=3) for heading in headings]
    return _Layout(
        labels=labels,
        headings=broken,
        heights=[0.165 if len(label) == 1 else 0.131 * len(label) + 0.04 for label in labels],
        left=left + 0.08,
        panel=panel,
        gap=gap,
        head=0.13 * max(map(len, broken)) + 0.08,
        foot=0.29,
        across=across,
        down=math.ceil(len(headings) / across),
    )


def _panel(
    axes: Axes, cells: pd.DataFrame, overall: pd.DataFrame, axis: tuple[list[float], float, float], sheet: _Layout
) -> None:
    ticks, low, high = axis
    axes.set(xlim=(low, high), ylim=(sheet.rows, 0.0), yticks=[], xticks=ticks)
    axes.set_xticklabels([f"{tick:g}" for tick in ticks], size=SIZE.small, color=INK.quiet)
    axes.tick_params(axis="x", length=2, width=0.5, color=INK.reference, pad=1.5)
    axes.grid(axis="x", color=INK.rule, linewidth=0.5)
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=True)
    axes.spines["bottom"].set(color=INK.reference, linewidth=0.5)
    cells = cells.assign(y=sheet.middles)
    shown = cells[cells["mark"] != "withheld"]
    if cells["stage"].iloc[0]:
        standing = overall.assign(y=sheet.middles)[(cells["mark"] != "withheld").to_numpy()].dropna(subset=["estimate"])
        axes.vlines(
            standing["estimate"].astype(float),
            standing["y"] - 0.06,
            standing["y"] + 0.06,
            color=INK.reference,
            linewidth=1.0,
            zorder=2,
        )
    bars = shown.dropna(subset=["conf_low", "conf_high"], how="all")
    axes.hlines(
        bars["y"],
        bars["conf_low"].astype(float).fillna(low),
        bars["conf_high"].astype(float).fillna(high),
        color=INK.estimate,
        linewidth=1.2,
        zorder=3,
    )
    for mark, face in (("filled", INK.estimate), ("open", INK.pale)):
        points = shown[shown["mark"] == mark]
        if not points.empty:
            sns.scatterplot(
                x=points["estimate"].astype(float).to_numpy(),
                y=points["y"].to_numpy(),
                ax=axes,
                s=11,
                color=face,
                edgecolor=INK.estimate,
                linewidth=0.9,
                zorder=4,
                legend=False,
                clip_on=False,
            )
    axes.set(xlabel="", ylabel="")
    hidden = [(y - 0.07, y + 0.07, "withheld") for y in cells.loc[cells["mark"] == "withheld", "y"]]
    if shown.empty:
        hidden = [(0.01, sheet.rows - 0.01, "all withheld")]
    for top, bottom, word in hidden:
        axes.axhspan(top, bottom, color=INK.band, linewidth=0, zorder=1.5)
        axes.text(
            (low + high) / 2,
            (top + bottom) / 2,
            word,
            size=SIZE.small,
            color=INK.quiet,
            ha="center",
            va="center_baseline",
            zorder=5,
        )


def _marks(drawing: Canvas, data: pd.DataFrame, y: float) -> None:
    """Write the key as marks with words, in one line over the notes."""
    entries = [(INK.estimate, 0.16, "mean and interval"), (INK.reference, 0.07, "mean over all stages")]
    if (data.loc[data["stage"] != "", "mark"] == "withheld").all():
        entries.pop()
    if (data["mark"] == "open").any():
        entries.insert(1, (INK.pale, 0.16, "the same, small base"))
    height = drawing.get_figheight()
    x = 0.03
    for colour, space, words in entries:
        middle = (x + space / 2 - 0.02) / WIDTH
        if colour == INK.reference:
            drawing.add_artist(
                Line2D([middle] * 2, [y - 0.06 / height, y + 0.06 / height], color=colour, linewidth=1.0)
            )
        else:
            ends = [x / WIDTH - 0.005, (x + space) / WIDTH - 0.005]
            drawing.add_artist(Line2D(ends, [y, y], color=INK.estimate, linewidth=1.2))
            dot = Line2D([middle], [y], linestyle="none", marker="o", markersize=3.3)
            dot.set(markerfacecolor=colour, markeredgecolor=INK.estimate, markeredgewidth=0.9)
            drawing.add_artist(dot)
        x += space + 0.04
        drawing.text(
            x / WIDTH, y - 0.35 * SIZE.small / 72 / height, words, size=SIZE.small, color=INK.quiet, va="baseline"
        )
        x += width_of(words, SIZE.small) + 0.2


def _alt(data: pd.DataFrame, title: str, *, simulated: bool) -> str:
    overall = data[data["stage"] == ""]
    seen = overall.dropna(subset=["estimate"])
    cells = data[data["stage"] != ""]
    parts = [f"Dot plot with {_level(data)}: {title}. One panel over all stages and one for each stage."]
    if seen.empty:
        parts.append("No role has a base large enough to be published.")
    else:
        first, last = seen.iloc[0], seen.iloc[-1]
        parts.append(f"Over all stages the highest estimate is {_phrase(first)}")
        parts[-1] += "." if first["role"] == last["role"] else f" and the lowest {_phrase(last)}."
    withheld = int((cells["mark"] == "withheld").sum())
    if withheld:
        parts.append(
            "Some cells by stage are not published." if withheld < len(cells) else "No cell by stage is published."
        )
    return " ".join([*(["Simulated data."] if simulated else []), *parts])


def _phrase(row: pd.Series) -> str:
    if pd.isna(row["conf_low"]) or pd.isna(row["conf_high"]):
        return f"{row['role_label']}, {row['estimate']:.2f}"
    return f"{row['role_label']}, {row['estimate']:.2f} ({row['conf_low']:.2f} to {row['conf_high']:.2f})"


def _long(data: pd.DataFrame) -> str:
    sentences = []
    for stage_label, cells in data.groupby("stage_label", sort=False):
        shown = [f"{_phrase(row)}, n {row['n']}" for _, row in cells.iterrows() if row["mark"] != "withheld"]
        hidden = [str(row["role_label"]) for _, row in cells.iterrows() if row["mark"] == "withheld"]
        text = f"{stage_label}: {'; '.join(shown)}." if shown else f"{stage_label}: nothing published."
        sentences.append(text + (f" Not published: {', '.join(hidden)}." if shown and hidden else ""))
    return " ".join(sentences)
