"""Influence: how much of it others ascribe to each role, who can stop a decision, and how holders see it themselves."""

from __future__ import annotations

import pandas as pd

from fieldwork.figures.published import Published, cell, level_words, long_words, mark_words, reading, table
from fieldwork.figures.rows import Panel, RowChart, Series, ends_of
from fieldwork.figures.spec import Absence, Spec

__all__ = ["gates", "influence"]


def _by_role(
    source: Published, panel: str, statistic: str, measure: str, order: list[str] | None = None
) -> pd.DataFrame:
    """One row per role; where no role has one, the row without a role says for every one why there is no number."""
    rows = source.rows("influence", statistic, measure=measure)
    found = {str(row["role"]): row for row in rows if not row["role_2"] and not row["item"]}
    whole = found.pop("", None)
    roles = order or sorted(
        source.roles(found),
        key=lambda role: float("inf") if pd.isna(found[role]["estimate"]) else -float(found[role]["estimate"]),
    )
    records = [
        cell(found.get(role, whole), wave=source.wave, measure=measure, statistic=statistic, panel=panel, row=role,
             row_label=source.role(role), series="all")
        for role in roles
    ]  # fmt: skip
    return table(records) if records else pd.DataFrame()


def _measure(source: Published, statistic: str) -> str:
    return next((str(row["measure"]) for row in source.rows("influence", statistic) if row["role"]), "")


def influence(source: Published) -> Spec | Absence:
    """Describe each role's share of all influence that others ascribe, its tier, and what holders add to it themselves.

    Reads `influence_share`, `tier` and `self_other_gap` of the influence index. Where nobody rates the own role, the panel of
    the gap says so.
    """
    title = "Influence on decisions, as executives of other roles see it"
    measure = _measure(source, "influence_share")
    if not measure:
        return Absence("influence", title, "No share of influence by role is published.")
    share = _by_role(source, "share", "influence_share", measure)
    # A share above an even split is flagged in words by its construct; that is a reading of it, no mark.
    order = list(share["row"])
    gap = _by_role(source, "gap", "self_other_gap", measure, order)
    refused = set(gap["mark"]) == {"not assessable"}
    data = share if refused else pd.concat([share, gap], ignore_index=True)
    even = 1.0 / len(order)
    ticks, low, high = ends_of(share, include=[0.0, even])
    panels = [
        Panel("share", "Share of influence", "proportion", (Series("all", marker="bar", fill="second"),), ticks,
              min(low, 0.0), high, reference=even, printed="interval", weight=1.4)
    ]  # fmt: skip
    unit = "scale_point"
    if not refused:
        ticks, low, high = ends_of(gap, include=[0.0])
        panels.append(Panel("gap", "Self less others", unit, (Series("all"),), ticks, low, high, reference=0.0))
    tiers = {str(row["role"]): f"{float(row['estimate']):.0f}" for row in source.rows("influence", "tier", measure=measure)
             if not pd.isna(row["estimate"])}  # fmt: skip
    missing = ""
    if refused:
        reason = str(gap["reason"].iloc[0]).rstrip(".")
        missing = f" Self less others: not assessable: {reason}."
    opening = ["Simulated data."] if source.simulated else []
    return Spec(
        name="influence",
        title=title,
        subtitle=f"Share of all influence ascribed to the roles; {level_words(data)}.",
        notes="Line: an even split. "
        + ("Tier: roles of one tier have overlapping simultaneous 95% rank sets. " if tiers else "")
        + f"{mark_words(data)}{missing}".strip(),
        source=source.source(source.rows("influence", "influence_share", measure=measure), respondents="raters", each="role"),
        alt=" ".join([*opening, f"Bar chart with {level_words(data)}: {title}.", reading(share, "proportion")]),
        long_description=long_words(data, {"share": "proportion", "gap": unit}, ["row_label"]),
        data=data,
        plot=RowChart(
            data, dict(zip(share["row"], share["row_label"], strict=True)), tuple(panels), tails=tiers,
            tail="tier" if tiers else "",
        ),
        simulated=source.simulated,
    )  # fmt: skip


def gates(source: Published) -> Spec | Absence:
    """Describe who others say can stop a decision and who must agree to it, and how far holders see that otherwise.

    Reads `gatekeeper_share` and `validator_share`, and their `self_other_gap`.
    """
    title = "Who can stop a decision, who must agree to it, and what holders say themselves"
    wanted = {"gatekeeper_share": "Can stop it", "validator_share": "Must agree"}
    measures = {statistic: _measure(source, statistic) for statistic in wanted}
    parts: list[pd.DataFrame] = []
    panels: list[Panel] = []
    units: dict[str, str] = {}
    order: list[str] | None = None
    for statistic, heading in wanted.items():
        if not measures[statistic]:
            continue
        share = _by_role(source, statistic, statistic, measures[statistic], order)
        order = list(share["row"])
        gap = _by_role(source, f"{statistic} gap", "self_other_gap", measures[statistic], order)
        ticks, low, high = ends_of(share, include=[0.0], most=3)
        panels.append(Panel(statistic, heading, "proportion", (Series("all", marker="bar", fill="second"),), ticks,
                            min(low, 0.0), high, reference=0.0, printed="value"))  # fmt: skip
        ticks, low, high = ends_of(gap, include=[0.0], most=3)
        panels.append(Panel(f"{statistic} gap", "Self less others", "proportion", (Series("all"),), ticks, low, high,
                            reference=0.0))  # fmt: skip
        units |= {statistic: "proportion", f"{statistic} gap": "proportion"}
        parts += [share, gap]
    if not parts:
        return Absence("gatekeepers", title, "No share of gatekeepers or validators by role is published.")
    data = pd.concat(parts, ignore_index=True)
    headings = {panel.key: panel.heading for panel in panels}
    told = data.assign(
        what=[f"{headings[key.split(' ')[0]]}{', self less others' * (' ' in key)}" for key in data["panel"]]
    )
    first = parts[0]
    opening = ["Simulated data."] if source.simulated else []
    return Spec(
        name="gatekeepers",
        title=title,
        subtitle=f"Share of respondents of other roles; self less others in percentage points; {level_words(data)}.",
        notes=f"Self less others: share of the role's holders who name it, less that of others. {mark_words(data)}".strip(),
        source=source.source(first.to_dict("records"), respondents="respondents of other roles", each="role"),
        alt=" ".join([*opening, f"Bars and points with {level_words(data)}: {title}. {panels[0].heading}:",
                      reading(first, "proportion")]),
        long_description=long_words(told, units, ["row_label", "what"]),
        data=data,
        plot=RowChart(data, dict(zip(first["row"], first["row_label"], strict=True)), tuple(panels)),
        simulated=source.simulated,
    )  # fmt: skip
