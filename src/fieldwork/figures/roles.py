"""Roles on a measure: a forest of means with their intervals, and two measures of one scale side by side."""

from __future__ import annotations

import pandas as pd

from fieldwork.figures.published import Published, cell, level_words, long_words, mark_words, reading, table
from fieldwork.figures.rows import Panel, RowChart, Series, ends_of
from fieldwork.figures.spec import Absence, Spec

__all__ = ["dumbbell", "forest", "measures_of"]

_ORDER = "Order: by the estimate; it is not a ranking."


def measures_of(source: Published) -> list[str]:
    """Return the measures with a role mean over all stages, in the order of the instrument."""
    known = [column for item in source.instrument.items for column in item.native_columns()]
    found = dict.fromkeys(str(row["measure"]) for row in source.rows("adoption_gradient", "role_mean") if row["role"])
    return sorted(found, key=lambda name: known.index(name) if name in known else len(known))


def _scale(source: Published, measure: str) -> tuple[str, tuple[float, float] | None]:
    """Return how the ends of a measure's scale are called, and its ends."""
    item = next((item for item in source.instrument.items if item.name == measure), None)
    if item is None or not item.scale:
        return "", None
    points = sorted(source.instrument.scales[item.scale].points, key=lambda point: point.code)
    first, last = points[0], points[-1]
    words = f" on a scale from {first.code} ({' '.join(first.label.split())}) to {last.code} ({' '.join(last.label.split())})"
    return words, (float(first.code), float(last.code))


def _means(source: Published, measures: list[str], statistics: dict[str, str]) -> pd.DataFrame:
    """One row for each role, measure and statistic, roles in order of the first; `statistics` by series, `{}` a measure."""
    found = {
        (str(row["role"]), measure, key): row
        for key, statistic in statistics.items()
        for measure in measures
        for row in source.rows("adoption_gradient", statistic, measure=measure)
        if row["role"] and not row["stage"]
    }
    leading = (measures[0], next(iter(statistics)))
    first = {role: row for (role, *rest), row in found.items() if tuple(rest) == leading}

    def standing(role: str) -> float:
        value = first[role]["estimate"] if role in first else None
        return -float(value) if value is not None and not pd.isna(value) else float("inf")

    roles = sorted(source.roles(role for role, _, _ in found), key=standing)
    return table(
        [
            cell(
                found.get((role, measure, key)), wave=source.wave, measure=measure, statistic=statistic, panel="all",
                row=role, row_label=source.role(role), series=key if len(statistics) > 1 else measure,
            )
            for role in roles
            for measure in measures
            for key, statistic in statistics.items()
        ]
    )  # fmt: skip


def forest(source: Published, measure: str) -> Spec | Absence:
    """Describe the mean of a measure by role with its interval and, beside it, the mean shrunken by the noise in it.

    Reads `role_mean` and `role_mean_shrunken` over all stages.
    """
    label = source.label(measure)
    title = f"{label} by role"
    name = f"forest_{measure.replace('+', '_')}"
    shrunken = bool(source.rows("adoption_gradient", "role_mean_shrunken", measure=measure))
    statistics = {"shrunken": "role_mean_shrunken", "mean": "role_mean"} if shrunken else {"mean": "role_mean"}
    data = _means(source, [measure], {"mean": "role_mean", **statistics})
    if data.empty:
        return Absence(name, title, f"No mean of {label} by role is published.")
    data = data if shrunken else data.assign(series="mean")
    means = data[data["series"] == "mean"]
    words, ends = _scale(source, measure)
    ticks, low, high = ends_of(data, at_least=ends)
    series = (
        (Series("shrunken", "shrunken towards the mean of all roles", marker="D", fill="pale"),) if shrunken else ()
    )
    series = (*series, Series("mean", "mean and interval"))
    panel = Panel("all", "", "scale_point", series, ticks, low, high, printed="interval")
    opening = ["Simulated data."] if source.simulated else []
    bases = {str(row["row"]): "" if pd.isna(row["n"]) else f"{int(row['n']):,}" for row in means.to_dict("records")}
    return Spec(
        name=name,
        title=title,
        subtitle=f"Mean{words}; {level_words(data)}.",
        notes=f"{mark_words(means)} n: respondents. {_ORDER}".strip(),
        source=source.source(source.rows("adoption_gradient", "role_sd_corrected", measure=measure)),
        alt=" ".join([*opening, f"Forest plot with {level_words(data)}: {title}.", reading(means, "scale_point")]),
        long_description=long_words(means, "scale_point", ["row_label"]),
        data=data,
        plot=RowChart(data, dict(zip(data["row"], data["row_label"], strict=True)), (panel,), bases=bases),
        simulated=source.simulated,
    )


def dumbbell(source: Published) -> Spec | Absence:
    """Describe the first two measures that share a scale, joined within each role; reads `role_mean` over all stages."""
    title = "Two measures by role"
    scales = {measure: _scale(source, measure)[1] for measure in measures_of(source)}
    pair = next(
        ([one, two] for one in scales for two in scales if one != two and scales[one] == scales[two] is not None), None
    )
    if pair is None:
        return Absence("dumbbell", title, "No two measures of one scale have a published mean by role.")
    data = _means(source, pair, {"mean": "role_mean"})
    one, two = (source.label(measure) for measure in pair)
    title = f"{one} and {two[:1].lower()}{two[1:]} by role"
    ticks, low, high = ends_of(data, at_least=scales[pair[0]])
    series = (Series(pair[0], one), Series(pair[1], two, fill="pale"))
    panel = Panel("all", "", "scale_point", series, ticks, low, high)
    words, _ = _scale(source, pair[0])
    first = data[data["series"] == pair[0]]
    opening = ["Simulated data."] if source.simulated else []
    told = data.assign(what=[source.label(measure) for measure in data["measure"]])
    bases = {str(row["row"]): "" if pd.isna(row["n"]) else f"{int(row['n']):,}" for row in first.to_dict("records")}
    return Spec(
        name="dumbbell",
        title=title,
        subtitle=f"Means{words}; {level_words(data)}.",
        notes=f"{mark_words(data)} n: respondents to {one}. Order: by {one}; it is not a ranking.".strip(),
        source=source.source(source.rows("adoption_gradient", "role_sd_corrected", measure=pair[0])),
        alt=" ".join(
            [*opening, f"Dumbbell plot with {level_words(data)}: {title}. {one}: {reading(first, 'scale_point')}"]
        ),
        long_description=long_words(told, "scale_point", ["row_label", "what"]),
        data=data,
        plot=RowChart(data, dict(zip(data["row"], data["row_label"], strict=True)), (panel,), bases=bases, joined=True),
        simulated=source.simulated,
    )
