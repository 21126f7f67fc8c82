"""The methods statement: what a report must say about its making, and what it does not say named as missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.disclosure import Policy
from fieldwork.study import STATEMENT
from fieldwork.tables import Cell, Column, Table, method_label, quantity

if TYPE_CHECKING:
    from fieldwork.site.material import Material

__all__ = ["statement"]

_POLICY = {
    "minimum_respondents": "respondents at least in a published cell",
    "minimum_organisations": "organisations at least in a published cell, where the survey names organisations",
    "minimum_of_share": "people at least on either side of a published share",
}


def statement(material: Material) -> dict[str, Any]:
    """Return what the methods page shows: the study's statement, and what the run itself can count."""
    said = {key: " ".join(str(value).split()) for key, value in material.study.statement.items()}
    rows = [(heading, said.get(key, "")) for key, heading in STATEMENT.items()]
    policy = Policy.from_study(material.study.disclosure)
    return {
        "material": material,
        "rows": rows,
        "unsaid": [heading for heading, text in rows if not text],
        "policy": [(getattr(policy, field.name), _POLICY.get(field.name, field.name)) for field in fields(policy)],
        "bases": _bases(material),
        "intervals": _intervals(material.estimates),
    }


def _bases(material: Material) -> Table | None:
    """Return respondents and organisations per role, of the measure that most answered."""
    means = material.estimates
    means = means[
        (means["statistic"] == "role_mean") & (means["stage"].fillna("") == "") & (means["segment"].fillna("") == "")
    ]
    if means.empty:
        return None
    largest = means.groupby("role")["n"].max()
    organisations = means.groupby("role")["n_organisations"].max()
    named = organisations.notna().any()
    rows = []
    for role in material.instrument.roles:
        if role.id not in largest.index:
            continue
        n: Any = largest[role.id]
        hidden = "base too small to publish" if pd.isna(n) else ""
        cells = [Cell(role.label), Cell(quantity(n, "", 0), hidden)]
        if named:
            cells.append(Cell(quantity(organisations[role.id], "", 0), hidden))
        rows.append(tuple(cells))
    columns = (
        Column("Role", "label"),
        Column("Respondents", "number"),
        *((Column("Organisations", "number"),) if named else ()),
    )
    return Table("Bases by role, to the nearest 5", columns, tuple(rows))


def _intervals(estimates: pd.DataFrame) -> list[Mapping[str, Any]]:
    """Return how the published intervals were made: method, level, replicates, number of estimates."""
    made = estimates[estimates["method"].fillna("") != ""]
    if made.empty:
        return []
    keys = ["method", "conf_level", "replicates"]
    counted = made.groupby(keys, dropna=False, sort=True).size().reset_index(name="count").to_dict("records")
    return [
        {
            "method": method_label(str(row["method"])),
            "level": "" if pd.isna(row["conf_level"]) else f"{row['conf_level']:.0%}",
            "replicates": "" if pd.isna(row["replicates"]) else f"{row['replicates']:,}",
            "count": int(row["count"]),
        }
        for row in counted
    ]
