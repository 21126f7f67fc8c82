"""The topline: every question in the order of the questionnaire, as it was put, with what was published of its answers.

It reads published estimates alone, so it shows shares of answers, means and ranks that passed the disclosure gate and never a
count of answers; a question of which nothing was published says so.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.instrument.bands import bands
from fieldwork.site.codebook import entry
from fieldwork.site.material import plain, slug
from fieldwork.tables import Table, grid_table, named, records_of, statistic_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fieldwork.instrument import Instrument
    from fieldwork.site.material import Material

__all__ = ["DESCRIPTIVE", "TOPLINE_COLUMNS", "Question", "by_module", "questions", "topline_frame"]

ANSWERS = "answer_share"
# Statistics that describe answers to one question. What compares, tests or models is on the pages of findings.
DESCRIPTIVE = {
    "role_mean": "Mean",
    "stage_mean": "Mean",
    "prevalence": "Share that cites it",
    "share": "Share",
    "owner_share": "Share that names this owner",
    "ready_share": "Share in the top two points",
    ANSWERS: "Share that gives the answer",
    "mean_rank": "Mean rank",
    "mean_cited": "Answers given per respondent",
    "gatekeeper_share": "Share that says the role can stop an initiative",
    "validator_share": "Share that says the role has to agree",
    "nobody_share": "Share that names nobody",
    "influence_share": "Share of influence",
    "item_nonresponse": "Asked and not answered",
}
_SYSTEM = ("identifier", "date")  # what nobody is asked: listed last
TOPLINE_COLUMNS = (
    "wave",
    "question",
    "label",
    "wording",
    "version",
    "routing",
    "answers",
    "statistic",
    "role",
    "stage",
    "segment",
    "answer",
    "estimate",
    "conf_low",
    "conf_high",
    "conf_level",
    "unit",
    "n",
    "n_organisations",
    "status",
    "reason",
)


Records = list[dict[Hashable, Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the questionnaire with what was published of it.

    Attributes
    ----------
    name, label, wording, anchor : str    Item or family; its short name; as it was put; the place on the page.
    module : str                          Block of the questionnaire.
    facts : dict                          Routing, version and form, as the dictionary prints them.
    options : list of (code, label)       Answers offered.
    members : list of str                 Lines of the question, where it has several.
    tables : tuple of Table               Published answers.
    withheld : str                        Why there are none; empty where there are.
    """

    name: str
    label: str
    wording: str
    anchor: str
    module: str
    facts: dict[str, str]
    options: list[tuple[int, str]]
    members: list[str]
    tables: tuple[Table, ...]
    withheld: str


def questions(material: Material) -> list[Question]:
    """Return every question in order; a family of items is one question."""
    of = _by_question(material.instrument, material.plain_estimates)
    made = []
    for found in _entries(material.instrument):
        name = str(found["name"])
        rows = of.get(name)
        tables = _tables(material, str(found["label"]), rows) if rows is not None else ()
        withheld = "" if tables else _withheld(found)
        made.append(
            Question(
                name,
                str(found["label"]),
                str(found["wording"]),
                f"q-{slug(name)}",
                str(found["module"]),
                dict(found["facts"]),
                list(found["options"]),
                list(found["members"]),
                tables,
                withheld,
            )
        )
    return made


def _entries(instrument: Instrument) -> list[dict[str, Any]]:
    """Return the dictionary's entry of each question, one for all items of a family."""
    first = {item.family or item.name: item for item in reversed(instrument.items)}
    order = sorted(
        dict.fromkeys(item.family or item.name for item in instrument.items),
        key=lambda name: first[name].kind in _SYSTEM,
    )
    return [
        {
            **entry(instrument, first[name]),
            "module": "Keys and times, set by the survey system" if first[name].kind in _SYSTEM else first[name].module,
        }
        for name in order
    ]


def _withheld(found: Mapping[str, Any]) -> str:
    if found["facts"].get("Release"):
        return "Its answers are never published as they are."
    return "No estimate of its answers alone was published. It may be part of a finding."


def _by_question(instrument: Instrument, estimates: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the describing estimates of each question, by its name."""
    home = {item.name: item.family or item.name for item in instrument.items}
    rows = estimates[estimates["statistic"].isin(DESCRIPTIVE)]
    names = rows["measure"].astype(object).fillna("").map(lambda measure: home.get(measure, measure))
    return {str(name): group for name, group in rows.groupby(names, sort=False)}


def _tables(material: Material, label: str, rows: pd.DataFrame) -> tuple[Table, ...]:
    """Return one grid per statistic and measure: answers or roles down, stages, segments, roles or waves across."""
    records = records_of(rows)
    shares = [row for row in records if row["statistic"] == ANSWERS]
    measured = {row["measure"] for row in shares}
    # The top two points of a role stand in its column beside its other answers, and not in a table of their own.
    ready = [row for row in records if row["statistic"] == "ready_share" and row["measure"] in measured]
    made = _answer_tables(material, label, shares, ready) if shares else []
    groups: dict[tuple[str, str], Records] = {}
    for row in records:
        statistic = row["statistic"]
        if statistic != ANSWERS and not (statistic == "ready_share" and row["measure"] in measured):
            groups.setdefault((row["measure"], DESCRIPTIVE[statistic]), []).append(row)
    for (measure, statistic), group in groups.items():
        about = named(material.instrument, "measure", group[0]) if measure else label
        title = f"{about}: {statistic[:1].lower()}{statistic[1:]}"
        filled = [key for key in ("item", "role", "stage", "segment") if any(row[key] for row in group)]
        down = [next((key for key in ("item", "role", "segment", "stage") if key in filled), "role")]
        across = [key for key in filled if key not in down]
        made.append(grid_table(group, material.instrument, rows=down, across=across, title=title))
    return tuple(made)


def _answer_tables(material: Material, label: str, shares: Records, ready: Records) -> list[Table]:
    """Return what was answered: over all, and what its bands are by role and by stage; lines of one question are one table."""
    instrument = material.instrument
    single = [row for row in shares if row["role"] == row["stage"] == "" and "+" not in row["item"]]
    several = len({row["measure"] for row in single}) > 1
    said = f"{label}: share that gives each answer"
    made = [grid_table(single, instrument, rows=["measure"] if several else ["item"],
                       across=["item"] if several else [], title=said)]  # fmt: skip
    for measure in dict.fromkeys(row["measure"] for row in shares):
        group = [row for row in shares if row["measure"] == measure]
        by_role = [row for row in group if row["role"] != ""]
        if by_role:
            highest = bands(instrument.item(measure))[-1].name
            by_role += [{**row, "item": highest} for row in ready if row["measure"] == measure]
        for axis, mine in (("role", by_role), ("stage", [row for row in group if row["stage"] != ""])):
            if mine:
                title = f"{named(instrument, 'measure', mine[0])}: answers by {axis}"
                note = "Neighbouring points of the scale are taken together, so that no cell is of a few people."
                made.append(grid_table(mine, instrument, rows=[axis], across=["item"], title=title, notes=[note]))
    return made


def topline_frame(instruments: Sequence[tuple[str, Instrument, pd.DataFrame]]) -> pd.DataFrame:
    """Return the topline of several waves as one table: a row per question, wave and published estimate.

    A question without a published estimate has one row that says so, so that every question stands in the table.

    Parameters
    ----------
    instruments : of each wave its name, instrument and published estimates, oldest first.
    """
    lines: list[dict[str, Any]] = []
    for wave, instrument, estimates in instruments:
        of = _by_question(instrument, plain(estimates))
        for found in _entries(instrument):
            lines += _lines(wave, instrument, found, of.get(str(found["name"])))
    return pd.DataFrame(lines, columns=list(TOPLINE_COLUMNS))


def _lines(
    wave: str, instrument: Instrument, found: Mapping[str, Any], rows: pd.DataFrame | None
) -> list[dict[str, Any]]:
    facts = found["facts"]
    routing = "; ".join(f"{name.lower()}: {facts[name]}" for name in ("Asked of", "Asked if") if name in facts)
    question = {
        "wave": wave,
        "question": found["name"],
        "label": found["label"],
        "wording": found["wording"],
        "version": facts.get("Wording", ""),
        "routing": routing or "asked of all",
        "answers": " | ".join(f"{code} {label}" for code, label in found["options"]),
    }
    if rows is None:
        return [{**question, "status": "not_published", "reason": _withheld(found)}]
    lines = []
    for row in records_of(rows):
        keys = {"role": "role", "stage": "stage", "segment": "segment", "answer": "item"}
        lines.append(
            {
                **question,
                "statistic": statistic_label(str(row["statistic"])),
                **{to: named(instrument, key, row) for to, key in keys.items()},
                **{
                    name: row[name]
                    for name in ("estimate", "conf_low", "conf_high", "conf_level", "unit", "n", "n_organisations")
                },
                "status": row["status"],
                "reason": row["reason"],
            }
        )
    return lines


def by_module(asked: Sequence[Question]) -> list[tuple[str, list[Question]]]:
    """Return the questions by block of the questionnaire, in order."""
    modules: dict[str, list[Question]] = {}
    for each in asked:
        modules.setdefault(each.module, []).append(each)
    return [*modules.items()]
