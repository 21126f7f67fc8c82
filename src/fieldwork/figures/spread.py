"""The spread: how far roles lie apart, beside how far stages of adoption lie apart, on the same measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.errors import DataError
from fieldwork.figures.published import Published, cell, level_words, long_words, mark_words, published, table
from fieldwork.figures.rows import Panel, RowChart, Series, ends_of
from fieldwork.figures.spec import Absence, Figure, Spec
from fieldwork.figures.style import BOOK, Style

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["draw", "ranges", "specify"]

_GROUPS = {"role": "between roles", "stage": "between stages"}
_KEY = "Standard deviation of the group means, corrected for sampling noise. A spread of nil: no larger than noise."


def draw(
    estimates: pd.DataFrame,
    instrument: Instrument,
    *,
    wave: str = "",
    provenance: str = "simulated",
    study: str = "",
    style: str | Style = BOOK,
) -> Figure:
    """Draw the figure that `specify` describes in a house style; DataError where no spread is published."""
    given = {"wave": wave or instrument.wave, "provenance": provenance, "study": study or instrument.title}
    made = specify(published(estimates, instrument, **given))
    if isinstance(made, Absence):
        raise DataError(
            "no spread of roles or stages is among the published estimates",
            where="figures.spread.draw",
            expected="rows role_sd_corrected and stage_sd_corrected of the adoption gradient",
            got=f"none in {given['wave']}",
            hint="run chapters 04_gradient and 09_claims again, or draw another wave",
        )
    return made.draw(style)


def specify(source: Published) -> Spec | Absence:
    """Describe the corrected spread between roles and between stages, with intervals, one row per measure.

    Reads `role_sd_corrected` and `stage_sd_corrected` of the adoption gradient over all stages. Observed ranges are not
    drawn here: ten groups range wider than four by chance alone (`ranges` shows them beside the shrunken ones).
    """
    title = "Spread between roles and between stages of adoption"
    data = _rows(source, {"role": "role_sd_corrected", "stage": "stage_sd_corrected"})
    if data is None:
        return Absence("spread", title, "No spread of roles or stages is published.")
    fills = {"role": "estimate", "stage": "pale"}
    series = tuple(Series(group, words, fill=fills[group]) for group, words in _GROUPS.items())
    return _spec(source, "spread", title, data, series, f"Scale points, with {level_words(data)}.", _KEY)


def ranges(source: Published) -> Spec | Absence:
    """Describe observed and shrunken ranges of role means and stage means, one row per measure and grouping.

    Reads `range_raw`, `range_shrunken`, `stage_range_raw` and `stage_range_shrunken`. The observed range has no interval:
    it grows with the number of groups and with noise, and no claim is judged by it.
    """
    title = "Range of role means and of stage means, observed and shrunken"
    parts = []
    for group, prefix in (("role", ""), ("stage", "stage_")):
        found = _rows(source, {"shrunken": f"{prefix}range_shrunken", "raw": f"{prefix}range_raw"})
        if found is not None:
            label = found["measure_label"] + f", {_GROUPS[group]}"
            parts.append(found.assign(row=found["row"] + f" {group}", row_label=label))
    if not parts:
        return Absence("range", title, "No range of roles or stages is published.")
    data = pd.concat(parts, ignore_index=True).sort_values("row", kind="stable").reset_index(drop=True)
    data = data.sort_values(by=["measure"], key=lambda column: column.map(_places(column)), kind="stable")
    # An observed range is flagged by rule: it is marked by its shape, and the note says why.
    data.loc[(data["series"] == "raw") & (data["mark"] == "open"), "mark"] = "filled"
    series = (Series("shrunken", "shrunken towards the middle by what is noise, with interval"),
              Series("raw", "as observed", marker="D", fill="pale"))  # fmt: skip
    note = (
        "Highest group mean less the lowest. An observed range grows with the number of groups and with noise: it is "
        "shown beside the shrunken one and never judged."
    )
    return _spec(
        source, "range", title, data.reset_index(drop=True), series, f"Scale points, with {level_words(data)}.", note
    )


def _places(column: pd.Series) -> dict[Any, int]:
    return {name: place for place, name in enumerate(dict.fromkeys(column))}


def _rows(source: Published, statistics: dict[str, str]) -> pd.DataFrame | None:
    """One row for each measure and series, published or not; None where no series has a row."""
    found = {
        (str(row["measure"]), key): row
        for key, statistic in statistics.items()
        for row in source.rows("adoption_gradient", statistic)
        if not row["stage"] and not row["role"]
    }
    if not found:
        return None
    records = []
    for measure in dict.fromkeys(measure for measure, _ in found):
        label = source.label(measure)
        for key, statistic in statistics.items():
            keys = {"wave": source.wave, "measure": measure, "measure_label": label, "statistic": statistic}
            keys |= {"panel": "all", "row": measure, "row_label": label, "series": key}
            records.append(cell(found.get((measure, key)), **keys))
    return table(records)


def _spec(
    source: Published, name: str, title: str, data: pd.DataFrame, series: tuple[Series, ...], subtitle: str, note: str
) -> Spec:
    ticks, low, high = ends_of(data, include=[0.0])
    panel = Panel("all", "", "scale_point", series, ticks, low, high, reference=0.0, printed="")
    words = {each.key: each.words.partition(",")[0] for each in series}
    told = data.assign(what=[words[key] for key in data["series"]])
    said = long_words(told, "scale_point", ["row_label", "what"])
    opening = ["Simulated data."] if source.simulated else []
    return Spec(
        name=name,
        title=title,
        subtitle=subtitle,
        notes=f"{note} {mark_words(data)}".strip(),
        source=source.source(data.to_dict("records")),
        alt=" ".join([*opening, f"Dot plot with intervals: {title[:1].lower()}{title[1:]}, in scale points.", said]),
        long_description=said,
        data=data,
        plot=RowChart(data, dict(zip(data["row"], data["row_label"], strict=True)), (panel,)),
        simulated=source.simulated,
    )
