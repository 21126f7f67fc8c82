"""What roles cite: shares of each answer of a question with several, by role, and how they compare with everybody's."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from fieldwork.figures.grid import GridChart
from fieldwork.figures.published import Published, cell, level_words, long_words, mark_words, reading, table
from fieldwork.figures.rows import Panel, RowChart, Series, ends_of
from fieldwork.figures.spec import Absence, Spec
from fieldwork.figures.style import short_of

__all__ = ["overall", "prevalence", "quotient", "together"]

_MEASURE = "blk"
_PAIRS = 10  # pairs that are drawn; the table of estimates has all


def _offered(source: Published, rows: list[dict[Any, Any]]) -> list[str]:
    """Options with a row, the most cited first, as `prevalence` over all roles has it; then those without a number."""
    whole = {str(row["item"]): row["estimate"] for row in source.rows("blockers", "prevalence", measure=_measure(source))
             if not row["role"]}  # fmt: skip
    items = dict.fromkeys(str(row["item"]) for row in rows if row["item"] and "+" not in str(row["item"]))
    return sorted(items, key=lambda item: math.inf if pd.isna(whole.get(item)) else -float(whole[item]))


def _measure(source: Published) -> str:
    """Return the first question with several answers whose shares are published."""
    known = dict.fromkeys(str(row["measure"]) for row in source.rows("blockers", "prevalence"))
    return _MEASURE if _MEASURE in known or not known else next(iter(known))


def _cells(source: Published, statistic: str) -> pd.DataFrame:
    measure = _measure(source)
    rows = source.rows("blockers", statistic, measure=measure)
    items = _offered(source, rows)
    roles = source.roles(str(row["role"]) for row in rows)
    found = {(str(row["item"]), str(row["role"])): row for row in rows if not row["stage"]}
    records = [
        cell(
            found.get((item, role)), wave=source.wave, measure=measure, statistic=statistic, panel="all", row=item,
            row_label=source.option(measure, item), column=role, column_label=source.role(role), series="all",
        )
        for item in items
        for role in roles
    ]  # fmt: skip
    return table(records) if records else pd.DataFrame()


def _grid(source: Published, name: str, title: str, data: pd.DataFrame, *, unit: str, scale: tuple[float, float],
          subtitle: str, notes: str, firm: float | None = None) -> Spec:  # fmt: skip
    opening = ["Simulated data."] if source.simulated else []
    told = data.assign(pair=data["row_label"] + ", " + data["column_label"])
    spelt = "; ".join(
        f"{short_of(source.instrument, role)}: {source.role(role)}"
        for role in dict.fromkeys(data["column"])
        if short_of(source.instrument, role) != source.role(role)
    )
    marks = mark_words(data, flagged="With *")
    hidden = " w: withheld; n/a: not assessable." if (data["estimate"].isna()).any() else ""
    return Spec(
        name=name,
        title=title,
        subtitle=subtitle,
        notes=f"{notes}{hidden} {marks}".strip() + (f" {spelt}." if spelt else ""),
        source=source.source(source.rows("blockers", "prevalence", measure=_measure(source))),
        alt=" ".join([*opening, f"Grid of cells with printed values: {title}.", reading(told, unit, "pair")]),
        long_description=long_words(told, unit, ["pair"]),
        data=data,
        plot=GridChart(
            data, dict(zip(data["row"], data["row_label"], strict=True)),
            {role: short_of(source.instrument, role) for role in dict.fromkeys(data["column"])},
            unit, *scale, firm=firm, toned=firm is not None,
        ),
        simulated=source.simulated,
    )  # fmt: skip


def prevalence(source: Published) -> Spec | Absence:
    """Describe the share of each role that cites each answer; reads `prevalence` of the blockers."""
    label = source.label(_measure(source))
    title = f"{label}: share of each role that cites them"
    data = _cells(source, "prevalence")
    if data.empty:
        return Absence("blockers_prevalence", title, "No share of an answer by role is published.")
    highest = max([float(value) for value in data["estimate"].dropna()], default=1.0)
    return _grid(
        source, "blockers_prevalence", title, data, unit="proportion", scale=(0.0, highest),
        subtitle="Per cent of the role's respondents; darker: more.",
        notes="Several answers were allowed. Answers in order of their share of all respondents.",
    )  # fmt: skip


def quotient(source: Published) -> Spec | Absence:
    """Describe what part of a role's answers each one is, over the same part of everybody's; reads `location_quotient`."""
    label = source.label(_measure(source))
    title = f"{label}: what each role cites more, or less, than everybody"
    data = _cells(source, "location_quotient")
    if data.empty:
        return Absence("blockers_quotient", title, "No location quotient is published.")
    return _grid(
        source, "blockers_quotient", title, data, unit="ratio", scale=(0.25, 1.75), firm=1.0,
        subtitle="Location quotient; 1: the same. Bold, dark: interval above 1. Bold, middle tone: interval below.",
        notes=f"An answer's part of all that a role cites, over its part of all that everybody cites; {level_words(data)}.",
    )  # fmt: skip


def overall(source: Published) -> Spec | Absence:
    """Describe the share of all respondents that cites each answer, with its interval; reads `prevalence` without a role."""
    measure = _measure(source)
    label = source.label(measure)
    title = f"{label}: share of all respondents that cites each"
    rows = [row for row in source.rows("blockers", "prevalence", measure=measure) if not row["role"]]
    items = _offered(source, rows)
    if not items:
        return Absence("blockers_overall", title, "No share of an answer is published.")
    found = {str(row["item"]): row for row in rows}
    data = table(
        [
            cell(found[item], wave=source.wave, measure=measure, statistic="prevalence", panel="all", row=item,
                 row_label=source.option(measure, item), series="all")
            for item in items
        ]
    )  # fmt: skip
    return _bars(
        source, "blockers_overall", title, data, rows, subtitle=f"Share of respondents, with {level_words(data)}.",
        notes=f"Several answers were allowed: shares do not add to 100%. {mark_words(data)}".strip(),
    )  # fmt: skip


def together(source: Published) -> Spec | Absence:
    """Describe which two answers are most often given by the same people; reads `cited_together`."""
    measure = _measure(source)
    title = f"{source.label(measure)}: what is cited together"
    rows = source.rows("blockers", "cited_together", measure=measure)
    shown = [row for row in rows if row["status"] in ("ok", "flagged") and not pd.isna(row["estimate"])]
    if not shown:
        return Absence("blockers_together", title, "No share of two answers given together is published.")
    shown.sort(key=lambda row: (-float(row["estimate"]), str(row["item"])))
    drawn = shown[:_PAIRS]
    data = table(
        [
            cell(row, wave=source.wave, measure=measure, statistic="cited_together", panel="all", row=str(row["item"]),
                 row_label=" + ".join(source.option(measure, part) for part in str(row["item"]).split("+")), series="all")
            for row in drawn
        ]
    )  # fmt: skip
    part = f"The {len(drawn)} most frequent of {len(rows)} pairs" if len(drawn) < len(rows) else "All pairs"
    held = len(rows) - len(shown)
    withheld = f"; {held} are withheld" if held else ""
    return _bars(
        source, "blockers_together", title, data, rows,
        subtitle=f"Share of respondents that cites both, with {level_words(data)}.",
        notes=f"{part}{withheld}. Frequent answers meet often, whether they go together or not. {mark_words(data)}".strip(),
    )  # fmt: skip


def _bars(
    source: Published, name: str, title: str, data: pd.DataFrame, rows: list[dict[Any, Any]], *, subtitle: str, notes: str
) -> Spec:  # fmt: skip
    """Return shares of all respondents as bars from nil, with their intervals printed."""
    ticks, low, high = ends_of(data, include=[0.0])
    panel = Panel("all", "", "proportion", (Series("all", marker="bar", fill="second"),), ticks, min(low, 0.0), high,
                  reference=0.0, printed="interval")  # fmt: skip
    opening = ["Simulated data."] if source.simulated else []
    return Spec(
        name=name,
        title=title,
        subtitle=subtitle,
        notes=notes,
        source=source.source(rows),
        alt=" ".join([*opening, f"Bar chart with {level_words(data)}: {title}.", reading(data, "proportion")]),
        long_description=long_words(data, "proportion", ["row_label"]),
        data=data,
        plot=RowChart(data, dict(zip(data["row"], data["row_label"], strict=True)), (panel,)),
        simulated=source.simulated,
    )
