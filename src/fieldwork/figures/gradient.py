"""The gradient: where each role stands on one measure, over all stages of adoption and within each stage cohort."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fieldwork.errors import DataError, listed
from fieldwork.figures.spec import Figure, Spec
from fieldwork.figures.style import BOOK, Style, column_of, label_of, width_of, wrap
from fieldwork.schema import ESTIMATES, conform

if TYPE_CHECKING:
    from fieldwork.figures.sheet import Sheet
    from fieldwork.instrument import Instrument

__all__ = ["draw", "specify"]

_ALL = "All stages"
_NUMBERS = dict.fromkeys(("estimate", "conf_low", "conf_high", "conf_level"), "Float64")
_COUNTS = dict.fromkeys(("n", "n_organisations"), "Int64")
_PANEL = 1.05  # inches that a panel wants, in the book
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
        return math.fsum(self.heights)

    @property
    def block(self) -> float:
        """Height of one row of panels, with heading and axis."""
        return self.head + self.rows + self.foot

    def stretched(self, factor: float) -> _Layout:
        """Return the same layout with rows taller by a factor."""
        return replace(self, heights=[height * factor for height in self.heights])

    @property
    def middles(self) -> list[float]:
        """Middle of each row, in inches below the top of the panel."""
        return [math.fsum(self.heights[:k]) + height / 2 for k, height in enumerate(self.heights)]


def draw(
    estimates: pd.DataFrame,
    instrument: Instrument,
    *,
    measure: str = "conf",
    wave: str = "",
    provenance: str = "simulated",
    study: str = "",
    style: str | Style = BOOK,
) -> Figure:
    """Draw the figure that `specify` describes in a house style."""
    return specify(
        estimates, instrument, measure=measure, wave=wave, provenance=provenance, study=study
    ).draw(style)  # fmt: skip


def specify(
    estimates: pd.DataFrame,
    instrument: Instrument,
    *,
    measure: str = "conf",
    wave: str = "",
    provenance: str = "simulated",
    study: str = "",
) -> Spec:
    """Describe the mean of a measure per role, with its interval, over all stages and by stage cohort.

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
    return Spec(
        name=f"gradient_{measure.replace('+', '_')}",
        title=title,
        subtitle=_subtitle(instrument, measure, data),
        notes=_key(data),
        source=_source(estimates, data, measure, wave, study or instrument.title, simulated=simulated),
        alt=_alt(data, title, simulated=simulated),
        long_description=_long(data),
        data=data,
        plot=_Panels(data, _limits(instrument, measure, data)),
        simulated=simulated,
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


@dataclass(frozen=True, slots=True)
class _Panels:
    """The panels: all stages first, then one for each cohort; `axis` holds ticks and ends."""

    data: pd.DataFrame
    axis: tuple[list[float], float, float]

    @property
    def cohorts(self) -> list[tuple[str, str]]:
        """Ids and labels of the panels; where every cohort is withheld, the whole alone."""
        found = list(dict.fromkeys(zip(self.data["stage"], self.data["stage_label"], strict=True)))
        return found[:1] if (self.data.loc[self.data["stage"] != "", "mark"] == "withheld").all() else found

    def height(self, style: Style, width: float) -> float:
        """Inches that the panels need, with the marks under them."""
        sheet = _layout(self.data, [label for _, label in self.cohorts], style, width)
        return sheet.block * sheet.down + 0.16 * style.unit

    def draw(self, sheet: Sheet, top: float, height: float) -> None:
        """Draw the panels."""
        style, size, data = sheet.style, sheet.style.size, self.data
        layout = _layout(data, [label for _, label in self.cohorts], style, sheet.width)
        natural = layout.block * layout.down + 0.16 * style.unit
        layout = layout.stretched(1.0 + (height - natural) / (layout.rows * layout.down))
        for index, (stage_id, _) in enumerate(self.cohorts):
            across, down = index % layout.across, index // layout.across
            x = layout.left + across * (layout.panel + layout.gap)
            y = top + down * layout.block + layout.head
            axes = sheet.axes(x, y, layout.panel - _N_WIDTH * style.unit, layout.rows)
            cells = data[data["stage"] == stage_id]
            _panel(axes, cells, data[data["stage"] == ""], self.axis, layout, style)
            heading = layout.headings[index]
            over = y - (0.05 + 0.065 * len(heading)) * style.unit
            sheet.lines(x, over, heading, size=size.label, weight="bold")
            beside = x + layout.panel
            if cells["n"].notna().any():
                sheet.lines(beside, y - 0.11 * style.unit, ["n"], size=size.small, colour=style.ink.quiet, ha="right")
            for label, n, middle in zip(layout.labels, cells["n"], layout.middles, strict=True):
                if not pd.isna(n):
                    sheet.lines(beside, y + middle, [f"{n:,}"], size=size.small, colour=style.ink.quiet, ha="right")
                if across == 0:
                    sheet.lines(0.0, y + middle, label, size=size.label)
        _marks(sheet, data, y=top + height - 0.08 * style.unit)


def _layout(data: pd.DataFrame, headings: list[str], style: Style, width: float) -> _Layout:
    size, unit = style.size, style.unit
    names = list(dict.fromkeys(data["role_label"]))
    left = min(column_of(style, width, 1.35), max(width_of(name, size.label) for name in names) + 0.04)
    across = min(max(3, int((width - left) / (_PANEL * unit))), len(headings))
    labels = [wrap(name, left - 0.02, size.label, lines=3) for name in names]
    gap = 0.16 * unit
    panel = min((width - left - 0.1 - gap * (across - 1)) / across, 2.6 * unit)
    broken = [wrap(heading, panel - 0.12, size.label, weight="bold", lines=3) for heading in headings]
    return _Layout(
        labels=labels,
        headings=broken,
        heights=[(0.165 if len(label) == 1 else 0.131 * len(label) + 0.04) * unit for label in labels],
        left=left + 0.08,
        panel=panel,
        gap=gap,
        head=(0.13 * max(map(len, broken)) + 0.08) * unit,
        foot=0.29 * unit,
        across=across,
        down=math.ceil(len(headings) / across),
    )


def _panel(
    axes: Axes,
    cells: pd.DataFrame,
    overall: pd.DataFrame,
    axis: tuple[list[float], float, float],
    sheet: _Layout,
    style: Style,
) -> None:
    ink, size = style.ink, style.size
    ticks, low, high = axis
    axes.set(xlim=(low, high), ylim=(sheet.rows, 0.0), yticks=[], xticks=ticks)
    axes.set_xticklabels([f"{tick:g}" for tick in ticks], size=size.small, color=ink.quiet)
    axes.tick_params(axis="x", length=2, width=0.5, color=ink.reference, pad=1.5)
    axes.grid(axis="x", color=ink.rule, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set(visible=True, color=ink.reference, linewidth=0.5)
    cells = cells.assign(y=sheet.middles)
    shown = cells[cells["mark"] != "withheld"]
    if cells["stage"].iloc[0]:
        standing = overall.assign(y=sheet.middles)[(cells["mark"] != "withheld").to_numpy()].dropna(subset=["estimate"])
        axes.vlines(
            standing["estimate"].astype(float),
            standing["y"] - 0.06 * style.unit,
            standing["y"] + 0.06 * style.unit,
            color=ink.reference,
            linewidth=1.0,
            zorder=2,
        )
    bars = shown.dropna(subset=["conf_low", "conf_high"], how="all")
    axes.hlines(
        bars["y"],
        bars["conf_low"].astype(float).fillna(low),
        bars["conf_high"].astype(float).fillna(high),
        color=ink.estimate,
        linewidth=1.2,
        zorder=3,
    )
    for mark, face in (("filled", ink.estimate), ("open", ink.pale)):
        points = shown[shown["mark"] == mark]
        if not points.empty:
            sns.scatterplot(
                x=points["estimate"].astype(float).to_numpy(),
                y=points["y"].to_numpy(),
                ax=axes,
                s=11 * style.unit**2,
                color=face,
                edgecolor=ink.estimate,
                linewidth=0.9,
                zorder=4,
                legend=False,
                clip_on=False,
            )
    axes.set(xlabel="", ylabel="")
    half = 0.07 * style.unit
    hidden = [(y - half, y + half, "withheld") for y in cells.loc[cells["mark"] == "withheld", "y"]]
    if shown.empty:
        hidden = [(0.01, sheet.rows - 0.01, "all withheld")]
    for upper, lower, word in hidden:
        axes.axhspan(upper, lower, color=ink.band, linewidth=0, zorder=1.5)
        axes.text(
            (low + high) / 2,
            (upper + lower) / 2,
            word,
            size=size.small,
            color=ink.quiet,
            ha="center",
            va="center_baseline",
            zorder=5,
        )


def _marks(sheet: Sheet, data: pd.DataFrame, y: float) -> None:
    """Write the key as marks with words, in one line over the notes."""
    style, ink, unit = sheet.style, sheet.style.ink, sheet.style.unit
    entries = [(ink.estimate, 0.16, "mean and interval"), (ink.reference, 0.07, "mean over all stages")]
    if (data.loc[data["stage"] != "", "mark"] == "withheld").all():
        entries.pop()
    if (data["mark"] == "open").any():
        entries.insert(1, (ink.pale, 0.16, "the same, small base"))
    x = 0.03
    for colour, space, words in entries:
        middle = x + (space / 2 - 0.02) * unit
        if colour == ink.reference:
            sheet.rule(middle, y - 0.06 * unit, middle, y + 0.06 * unit, colour=colour, width=1.0)
        else:
            sheet.rule(x - 0.02, y, x + space * unit - 0.02, y, colour=ink.estimate, width=1.2)
            dot = Line2D([middle / sheet.width], [1.0 - y / sheet.height], linestyle="none", marker="o")
            dot.set(markersize=3.3 * unit, markerfacecolor=colour, markeredgecolor=ink.estimate, markeredgewidth=0.9)
            sheet.drawing.add_artist(dot)
        x += space * unit + 0.04
        sheet.lines(x, y, [words], size=style.size.small, colour=ink.quiet)
        x += width_of(words, style.size.small) + 0.2


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
