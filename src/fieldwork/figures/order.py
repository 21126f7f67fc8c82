"""The order of roles: rank sets that hold for all roles at once, and the tiers that they leave."""

from __future__ import annotations

import pandas as pd

from fieldwork.figures.published import Published, cell, level_words, mark_words, number, table
from fieldwork.figures.rows import Panel, RowChart, Series
from fieldwork.figures.spec import Absence, Spec

__all__ = ["ranks"]

_KINDS = {
    "lead_lag": ("ranks", "Order of roles by stage of adoption", "role_shift", "ridit", "index", "Role Shift Index"),
    "influence": (
        "ranks_influence",
        "Order of roles by influence",
        "influence",
        "influence",
        "scale_point",
        "influence",
    ),
}


def ranks(source: Published, construct: str) -> Spec | Absence:
    """Describe the ranks that the data leave open for each role, the rank of its estimate, its tier and its estimate.

    Reads `rank_low`, `rank_high` and `tier` (simultaneous 95% confidence sets, `statistics.ranks`), and the index that the
    roles are ordered by. The rank of an estimate is its place among the published ones; equal ones share the mean place.
    """
    name, title, index, statistic, unit, words = _KINDS[construct]
    sets = {str(row["role"]): row for row in source.rows(construct, "rank_low") if row["role"]}
    highs = {str(row["role"]): row for row in source.rows(construct, "rank_high") if row["role"]}
    if not any(row["status"] in ("ok", "flagged") for row in sets.values()):
        reasons = [str(row["reason"]) for row in source.rows(construct, "rank_low") if row["reason"]]
        return Absence(name, title, f"No rank set is published{f': {reasons[0]}' if reasons else ''}.")
    values = {str(row["role"]): row for row in source.rows(index, statistic) if row["role"] and not row["role_2"]}
    known = {role: float(values[role]["estimate"]) for role in sets
             if role in values and not pd.isna(values[role]["estimate"])}  # fmt: skip
    place = pd.Series(known, dtype="float64").rank(ascending=False)
    tiers = {str(row["role"]): f"{float(row['estimate']):.0f}" for row in source.rows(construct, "tier")
             if row["role"] and not pd.isna(row["estimate"])}  # fmt: skip
    roles = sorted(source.roles(sets), key=lambda role: float(place.get(role, float("inf"))))
    records = []
    for role in roles:
        made = cell(sets[role], wave=source.wave, statistic="rank set", panel="all", row=role, row_label=source.role(role),
                    series="set", tier=tiers.get(role, ""))  # fmt: skip
        low, high = sets[role]["estimate"], highs.get(role, sets[role])["estimate"]
        shown = not pd.isna(low)
        rank = float(place[role]) if shown and role in place else pd.NA
        ends = {"conf_low": low if shown else pd.NA, "conf_high": high if shown else pd.NA}
        # Equal published estimates share the mean of their places.
        made |= {"estimate": rank, "std_error": pd.NA, **ends, "index": known.get(role, pd.NA) if shown else pd.NA}
        # A role with a set but without a published index keeps its set; its point is left out.
        point = {"series": "rank", "conf_low": pd.NA, "conf_high": pd.NA}
        records += [made, *([{**made, **point}] if not pd.isna(rank) or not shown else [])]
    data = table(records)
    sets_only = data[data["series"] == "set"].reset_index(drop=True)
    panel = Panel(
        "all", "Rank", "rank",
        (Series("set", "ranks left open, for all roles at once", marker="range", fill="second"),
         Series("rank", "rank of the estimate", marker="D")),
        tuple(float(k) for k in range(1, len(roles) + 1)), 0.5, len(roles) + 0.5,
    )  # fmt: skip
    tails = {str(row["row"]): number(float(row["index"]), unit) for row in sets_only.to_dict("records")
             if not pd.isna(row["index"])}  # fmt: skip
    labels = {role: source.role(role) for role in roles}
    bases = {role: tiers.get(role, "") for role in roles}
    said = " ".join(
        f"{row['row_label']}: {row['mark']}." if pd.isna(row["conf_low"]) else
        f"{row['row_label']}: ranks {number(row['conf_low'], 'rank')} to {number(row['conf_high'], 'rank')}, "
        f"tier {row['tier'] or 'none'}."
        for row in sets_only.to_dict("records")
    )  # fmt: skip
    opening = ["Simulated data."] if source.simulated else []
    first = sets_only.iloc[0]
    leader = "" if pd.isna(first["conf_low"]) else (
        f"{first['row_label']} has ranks {number(first['conf_low'], 'rank')} to {number(first['conf_high'], 'rank')}."
    )  # fmt: skip
    return Spec(
        name=name,
        title=title,
        subtitle=f"1: the furthest ahead. Sets of ranks that hold for all roles at once, {level_words(data)}.",
        notes=f"Tier: roles of one tier are not told apart. Right: {words}. {mark_words(sets_only)}".strip(),
        source=source.source(sets.values(), each="role"),
        alt=" ".join([*opening, f"Rank plot with simultaneous confidence sets: {title}.", leader]).strip(),
        long_description=said,
        data=data,
        plot=RowChart(data, labels, (panel,), bases=bases, base="tier", tails=tails,
                      tail=words if len(words) < 12 else "index"),
        simulated=source.simulated,
    )  # fmt: skip
