"""One role, or one stage: every claim that names it and every estimate that was published of it, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.site import words
from fieldwork.site.material import slug
from fieldwork.tables import Cell, Column, Table, estimate_words, estimates_table

if TYPE_CHECKING:
    from fieldwork.site.material import Material

__all__ = ["claims_naming", "listing", "perspective"]

# What places a role among the others at a glance; a page shows those that were published.
HEADLINES = (
    "role_mean",
    "stage_mean",
    "ridit",
    "shift",
    "tier",
    "rank_low",
    "rank_high",
    "influence",
    "influence_share",
    "gatekeeper_share",
    "validator_share",
    "ready_share",
    "owner_self_share",
)
_COLUMNS = {"role": ("role", "role_2"), "stage": ("stage",)}


def perspective(material: Material, kind: str, name: str, pages: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page of a role or of a stage shows.

    Parameters
    ----------
    kind : `role` or `stage`. name : its id. pages : path of each finding's page, by the claim's id.
    """
    estimates = material.plain_estimates
    named = pd.Series(data=False, index=estimates.index)
    for column in _COLUMNS[kind]:
        named |= estimates[column].fillna("") == name
    rows = estimates[named]
    wide = pd.Series(data=True, index=rows.index)
    for column in ("role_2", "segment", "item", *(("stage",) if kind == "role" else ("role",))):
        wide &= rows[column].fillna("") == ""
    first = rows[wide & rows["statistic"].isin(HEADLINES)]
    first = first.sort_values("statistic", key=lambda names: names.map(HEADLINES.index), kind="stable")
    parts = []
    for construct in [*dict.fromkeys(rows["construct"])]:
        of = rows[rows["construct"] == construct]
        title = words.construct(str(construct))
        parts.append((title, len(of), estimates_table(of, material.instrument, title=title)))
    bases = rows.loc[wide & rows["statistic"].isin(("role_mean", "stage_mean")), ["n", "n_organisations"]]
    return {
        "headlines": estimates_table(first, material.instrument, title="At a glance") if len(first) else None,
        "parts": parts,
        "claims": claims_naming(material, kind, name, pages),
        "base": _base_sentence(_largest(bases["n"]), _largest(bases["n_organisations"])),
    }


def _base_sentence(n: float | None, organisations: float | None) -> str:
    """Say how many answered the question that most of them answered; empty where no base was published."""
    where = f" in {words.counted(organisations, 'organisation', 'organisations')}" if organisations is not None else ""
    return f"{words.counted(n, 'respondent', 'respondents')}{where}, to the nearest 5" if n is not None else ""


def _largest(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.max()) if len(known) else None


def claims_naming(material: Material, kind: str, name: str, pages: Mapping[str, str]) -> Table | None:
    """Return the claims one of whose parts names a role or a stage, with their verdicts; None where none does."""
    rows = []
    for record in material.claims:
        parts = [part for part in record.get("parts") or () if _names(part, kind, name)]
        if parts:
            key, verdict = str(record["id"]), str(record["verdict"])
            rows.append(
                (
                    Cell(key, link=f"../{pages.get(key, f'claims.html#{slug(key)}')}"),
                    Cell(str(record["text"])),
                    Cell(words.VERDICTS[verdict], kind=f"verdict {verdict}"),
                    Cell("; ".join(_part(part) for part in parts)),
                )
            )
    columns = (Column("Claim", "label"), Column("What it says"), Column("Verdict"), Column("Where it is named"))
    return Table(f"Claims that name this {kind}", columns, tuple(rows)) if rows else None


def _names(part: Mapping[str, Any], kind: str, name: str) -> bool:
    values: Sequence[str] = [str(part.get(column) or "") for column in _COLUMNS[kind]]
    return any(name in value.replace(" v ", "+").split("+") for value in values)


def _part(part: Mapping[str, Any]) -> str:
    return f"{part['label']}: {estimate_words(part) or 'no estimate'}"


def listing(material: Material) -> dict[str, Any]:
    """Return what the page that lists roles and stages shows, each with its path and how many estimates speak of it."""
    groups = []
    for kind, folder, options in (
        ("role", "roles", material.instrument.roles),
        ("stage", "stages", material.instrument.stages),
    ):
        counts = material.estimates[kind].value_counts()
        groups.append(
            (kind, [(each.label, f"{folder}/{slug(each.id)}.html", int(counts.get(each.id, 0))) for each in options])
        )
    return {"groups": groups}
