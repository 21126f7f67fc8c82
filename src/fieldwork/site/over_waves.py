"""Change over waves: which questions may be compared, what was published in each wave, and how verdicts fared."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.instrument import TREND_KINDS, followed_roles, trend_break, trend_kind
from fieldwork.site import words
from fieldwork.tables import (
    Cell,
    Column,
    Table,
    base_words,
    estimate_words,
    estimates_table,
    named,
    records_of,
    statistic_label,
)

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.site.material import Material

__all__ = ["history", "levels", "over_waves"]

# Statistics of chapter 08_movement that are a change between waves, whatever the construct.
CHANGES = (
    "shift",
    "mean_change",
    "mean_change_panel",
    "gap_change",
    "convergence",
    "convergence_slope",
    "convergence_beta",
    "convergence_difference",
    "rank_stability",
    "returning_share",
    "returning_organisations",
    "variance_ratio",
    "reversal_share",
    "reversal_difference",
)
_LEVELS = ("role_mean", "ridit", "ready_share", "prevalence", "role_sd_corrected")
_SHOWN = ("ok", "flagged")
KIND_WORDS = {
    "comparable": "Comparable",
    "recoded": "Recoded",
    "broken": "Broken",
    "not_asked": "Not asked in both",
}


def over_waves(material: Material) -> dict[str, Any]:
    """Return what the page shows: comparability by earlier wave, changes as published, levels of every wave, verdicts."""
    instrument = material.instrument
    changes = material.estimates[material.estimates["statistic"].isin(CHANGES)]
    return {
        "earlier": [each.wave for each in material.earlier],
        "compared": [_compared(each.wave, each.instrument, instrument) for each in material.earlier],
        "kinds": KIND_WORDS,
        "changes": estimates_table(changes, instrument, title="Changes as published in this wave")
        if len(changes)
        else None,
        "assessed": int(changes["status"].isin(_SHOWN).sum()),
        "levels": [table for tables in levels(material).values() for table in tables],
        "verdicts": _verdicts(material),
    }


def _compared(wave: str, before: Instrument, now: Instrument) -> dict[str, Any]:
    """Return each question's fate between two waves, the broken first, and what became of roles."""
    pair = (before, now)
    names = dict.fromkeys([*(item.name for item in now.items), *(item.name for item in before.items)])
    kinds = {name: trend_kind(pair, name) for name in names}
    rows = []
    for kind in reversed(TREND_KINDS):
        for name in (name for name, found in kinds.items() if found == kind != "comparable"):
            label = (now if name in now else before).item(name).label
            rows.append((Cell(label), Cell(name), Cell(KIND_WORDS[kind]), Cell(trend_break(pair, name))))
    columns = (Column("Question", "label"), Column("Item"), Column("Trend"), Column("Why"))
    followed = followed_roles(pair)
    roles = [*(f"{_role(pair, name)}: {note}" for name, note in followed.notes.items()), *followed.lost.values()]
    return {
        "wave": wave,
        "counts": [(KIND_WORDS[kind], [*kinds.values()].count(kind)) for kind in TREND_KINDS],
        "table": Table(f"Questions that are not compared with {wave}", columns, tuple(rows)) if rows else None,
        "comparable": [now.item(name).label for name, kind in kinds.items() if kind == "comparable"],
        "roles": [followed.broken, *roles] if followed.broken else roles,
    }


def _role(pair: Sequence[Instrument], name: str) -> str:
    labels = {role.id: role.label for instrument in pair for role in instrument.roles}
    return labels.get(name, name)


def levels(material: Material) -> dict[str, list[Table]]:
    """Return, by question, tables of what each wave published of it: one row per role or answer, one column per wave.

    Only questions that every earlier wave with published estimates put in the same way; empty for a first wave.
    """
    before = [each for each in material.earlier if len(each.estimates)]
    if not before:
        return {}
    waves = [*((each.wave, each.estimates) for each in before), (material.study.wave, material.estimates)]
    instruments = [*(each.instrument for each in before), material.instrument]
    found: dict[str, list[Table]] = {}
    together = pd.concat([_wide_rows(estimates) for _, estimates in waves], ignore_index=True)
    for (measure, statistic), rows in together.groupby(["measure", "statistic"], sort=False):
        item = next((i for i in material.instrument.items if measure in (i.name, i.family)), None)
        if item is None or any(trend_kind(instruments, each.name) != "comparable" for each in _items(item, material)):
            continue
        names = [wave for wave, _ in waves]
        about = named(material.instrument, "measure", records_of(rows.head(1))[0])
        title = f"{about}: {statistic_label(str(statistic)).lower()}, by wave"
        table = _by_wave(rows, names, material.instrument, title)
        if table is not None:
            found.setdefault(item.family or item.name, []).append(table)
    return found


def _items(item: Any, material: Material) -> Sequence[Any]:  # noqa: ANN401 - an item of the instrument
    return material.instrument.family(item.family) if item.family else (item,)


def _wide_rows(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the levels of all stages and segments together, those of which a change may be asked."""
    keep = estimates["statistic"].isin(_LEVELS)
    for key in ("stage", "segment", "role_2"):
        keep &= estimates[key].fillna("") == ""
    return estimates[keep].astype(object)


def _by_wave(rows: pd.DataFrame, waves: Sequence[str], instrument: Instrument, title: str) -> Table | None:
    records = rows.fillna("").to_dict("records")
    known = {(row["wave"], row["role"], row["item"]): row for row in records}
    lines = []
    for role, item in dict.fromkeys((row["role"], row["item"]) for row in records):
        found = [known.get((wave, role, item)) for wave in waves]
        if sum(row is not None for row in found) > 1:
            like: dict[Hashable, Any] = {"role": role, "item": item, "measure": records[0]["measure"]}
            label = ", ".join(part for part in (named(instrument, key, like) for key in ("role", "item")) if part)
            lines.append((Cell(label or "All"), *map(_level, found)))
    columns = (Column("Of", "label"), *(Column(wave, "number") for wave in waves))
    return Table(title, columns, tuple(lines)) if lines else None


def _level(row: Mapping[Any, Any] | None) -> Cell:
    if row is None:
        return Cell("", "not published in this wave")
    if row["status"] not in _SHOWN:
        return Cell("", str(row["reason"]) or str(row["status"]).replace("_", " "))
    numbers = {key: None if row[key] == "" else row[key] for key in ("estimate", "conf_low", "conf_high")}
    base = base_words({key: None if row[key] == "" else row[key] for key in ("n", "n_organisations")})
    return Cell(estimate_words({**numbers, "unit": row["unit"]}), below=f"n {base}" if base else "")


def history(material: Material, key: str) -> Table | None:
    """Return a claim's verdict and estimate in each wave that judged it; None for one wave alone."""
    now = [("", material.study.wave, record) for record in material.claims if str(record["id"]) == key]
    before = [
        (each.wave, each.wave, record)
        for each in material.earlier
        for record in each.claims
        if str(record["id"]) == key
    ]
    if not before or not now:
        return None
    rows = []
    for _, wave, record in [*before, *now]:
        verdict = str(record["verdict"])
        assessed = verdict != "not_assessable"
        rows.append(
            (
                Cell(wave),
                Cell(words.VERDICTS[verdict], kind=f"verdict {verdict}"),
                Cell(estimate_words(record) if assessed else str(record.get("reason") or "")),
                Cell(words.margin(record) if assessed else ""),
                Cell(base_words(record.get("base") or {})),
                Cell("" if record["text"] == now[0][2]["text"] else "in other words then"),
            )
        )
    columns = (
        Column("Wave", "label"),
        Column("Verdict"),
        Column("Estimate and interval"),
        Column("Margin", "number"),
        Column("Base"),
        Column("Register"),
    )
    return Table(f"{key} in each wave", columns, tuple(rows))


def _verdicts(material: Material) -> Table | None:
    """Return the verdict of each claim in every wave that has a register with verdicts; None for one wave."""
    waves: list[tuple[str, Sequence[Mapping[str, Any]]]] = [
        (each.wave, each.claims) for each in material.earlier if each.claims
    ]
    if not waves or not material.claims:
        return None
    waves.append((material.study.wave, material.claims))
    by_wave = [{str(record["id"]): str(record["verdict"]) for record in records} for _, records in waves]
    rows = []
    for record in material.claims:
        found = [verdicts.get(str(record["id"]), "") for verdicts in by_wave]
        told = [Cell(words.VERDICTS[v], kind=f"verdict {v}") if v else Cell("not in the register") for v in found]
        changed = "changed" if len({v for v in found if v}) > 1 else ""
        rows.append((Cell(str(record["id"])), Cell(str(record["text"])), *told, Cell(changed)))
    columns = (
        Column("Claim", "label"),
        Column("What it says"),
        *(Column(wave) for wave, _ in waves),
        Column("Verdict over waves"),
    )
    return Table("Verdicts in each wave", columns, tuple(rows))
