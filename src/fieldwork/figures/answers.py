"""What was answered: every answer over all, question by question of one scale, and the bands of a scale role by role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.figures.published import Published, cell, level_words, long_words, mark_words, number, table
from fieldwork.figures.roles import measures_of
from fieldwork.figures.spec import Absence, Spec
from fieldwork.figures.stack import MOST, StackChart
from fieldwork.instrument.bands import bands

if TYPE_CHECKING:
    from fieldwork.instrument import Item

__all__ = ["by_role", "by_scale"]

_CONSTRUCT, _STATISTIC = "sample", "answer_share"
_FEWEST = 3  # questions of one scale that are worth a figure: the topline has all
_ROUNDED = "Shares are rounded, and drawn to one length."


def _found(source: Published, measure: str) -> dict[tuple[str, str, str], Mapping[Any, Any]]:
    """Return published rows by role, stage and answer; a role's top points are those of `readiness`, where it has them."""
    rows = source.rows(_CONSTRUCT, _STATISTIC, measure=measure)
    found: dict[tuple[str, str, str], Mapping[Any, Any]] = {
        (str(row["role"]), str(row["stage"]), str(row["item"])): row for row in rows
    }
    top = bands(source.instrument.item(measure))[-1].name
    for row in source.rows("readiness", "ready_share", measure=measure):
        if row["role"] and not row["stage"]:
            found.setdefault((str(row["role"]), "", top), row)
    return found


def _words(source: Published, item: Item, name: str) -> str:
    """Return what readers call an answer or a band: its labels joined, the following ones small."""
    labels = [source.option(item.name, part) for part in name.split("+")]
    return " or ".join([labels[0], *(label[:1].lower() + label[1:] for label in labels[1:])])


def _bases(data: pd.DataFrame) -> dict[str, str]:
    """Return the base of each row, that all its answers share; none where the gate held it back."""
    known = data.dropna(subset=["n"]).groupby("row", sort=False)["n"].min()
    return {str(row): f"{int(n):,}" for row, n in known.items()}


def by_role(source: Published) -> Iterator[Spec | Absence]:
    """Describe how the answers to each measure of the gradient divide, by role and by stage, to both sides of its middle.

    Reads `answer_share` of the bands of each scale, and `ready_share`. Of a wave without any, one absence.
    """
    title = "Answers by role and by stage"
    asked = {item.name for item in source.instrument.items}
    measures = [
        measure
        for measure in measures_of(source)
        if measure in asked and any(role or stage for role, stage, _ in _found(source, measure))
    ]
    if not measures:
        yield Absence("likert", title, "No share of answers by role is published.")
    for measure in measures:
        yield _diverging(source, source.instrument.item(measure))


def _diverging(source: Published, item: Item) -> Spec:
    found = _found(source, item.name)
    names = [band.name for band in bands(item)]
    answers = {name: _words(source, item, name) for name in names}
    roles = source.roles(role for role, _, _ in found)
    stages = [stage for stage in source.instrument.stages if any(at == stage.id for _, at, _ in found)]
    rows = [("", "", "all", "All respondents")]
    rows += [(role, "", f"role={role}", source.role(role)) for role in roles]
    rows += [("", stage.id, f"stage={stage.id}", " ".join(stage.label.split())) for stage in stages]
    records = []
    for role, stage, key, label in rows:
        for name in names:
            row = found.get((role, stage, name), {})
            told = {
                "wave": source.wave,
                "measure": item.name,
                "statistic": str(row.get("statistic", _STATISTIC)),
                "panel": "all",
            }
            place = {"role": role, "stage": stage, "row": key, "row_label": label}
            records.append(cell(row, **told, **place, series=name, series_label=answers[name]))
    data = table(records)
    label = source.label(item.name)
    title = f"{label}: answers by role and by stage"
    breaks = tuple(
        key for key in (f"role={roles[0]}" if roles else "", f"stage={stages[0].id}" if stages else "") if key
    )
    return _spec(
        source, f"likert_{item.name}", title, data, answers,
        subtitle="Per cent of those who answered; neighbouring points of the scale taken together.",
        chart=StackChart(
            data, {key: label for _, _, key, label in rows}, answers, middle=names[1] if len(names) == 3 else "",
            bases=_bases(data), breaks=breaks,
        ),
        kind="Diverging stacked bars", measures=[item.name],
    )  # fmt: skip


def by_scale(source: Published) -> Iterator[Spec | Absence]:
    """Describe every answer to the questions of a scale over all, a bar each; of scales with three questions or more.

    Reads `answer_share` over all. Of a wave without such a scale, one absence.
    """
    title = "Every answer, question by question"
    of: dict[str, list[Item]] = {}
    told = {str(row["measure"]) for row in source.rows(_CONSTRUCT, _STATISTIC) if not row["role"] and not row["stage"]}
    for item in source.instrument.items:
        if item.kind == "ordinal" and item.name in told and 2 < len(item.options) <= MOST:
            of.setdefault(item.scale, []).append(item)
    scales = {scale: items for scale, items in of.items() if len(items) >= _FEWEST}
    if not scales:
        yield Absence(
            "answers", title, f"No scale of at most {MOST} points has {_FEWEST} questions with published answers."
        )
    for scale, items in scales.items():
        yield _whole(source, scale, items)


def _shared(labels: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Take what all labels have before a colon out of them: the name of their question, or nothing."""
    heads = {label.partition(": ")[0] for label in labels.values()}
    if len(heads) > 1 or not all(": " in label for label in labels.values()):
        return "", labels
    return heads.pop(), {name: label.partition(": ")[2] for name, label in labels.items()}


def _whole(source: Published, scale: str, items: list[Item]) -> Spec:
    options = sorted(items[0].options, key=lambda option: option.code)
    answers = {option.id: " ".join(option.label.split()) for option in options}
    about, labels = _shared({item.name: source.label(item.name) for item in items})
    data = table(
        [
            cell(found.get(("", "", name)), wave=source.wave, measure=item.name, statistic=_STATISTIC, panel="all",
                 row=item.name, row_label=labels[item.name], series=name, series_label=answers[name])
            for item, found in ((item, _found(source, item.name)) for item in items)
            for name in answers
        ]
    )  # fmt: skip
    words = [label[:1].lower() + label[1:] for label in answers.values()]
    return _spec(
        source, f"answers_{scale}", f"{about or 'Every answer'}, from {words[0]} to {words[-1]}", data, answers,
        subtitle="Per cent of those who answered each question.",
        chart=StackChart(
            data, dict(zip(data["row"], data["row_label"], strict=True)), answers, bases=_bases(data)
        ),
        kind="Stacked bars of one length", measures=[item.name for item in items],
    )  # fmt: skip


def _spec(
    source: Published, name: str, title: str, data: pd.DataFrame, answers: Mapping[str, str], *, subtitle: str,
    chart: StackChart, kind: str, measures: list[str],
) -> Spec:  # fmt: skip
    rows = [row for measure in measures for row in source.rows(_CONSTRUCT, _STATISTIC, measure=measure)
            if not row["role"] and not row["stage"]]  # fmt: skip
    opening = ["Simulated data."] if source.simulated else []
    intervals = level_words(data)
    told = data.assign(what=data["row_label"] + ", " + data["series_label"])
    narrow = "" if chart.middle is not None else " A number that does not fit into its bar is in the data."
    part = data.loc[data["mark"] == "withheld", "row"].nunique()
    marks = mark_words(data, flagged="Some rows")
    held = " A bar of which one answer is withheld is not drawn." if part else ""
    return Spec(
        name=name,
        title=title,
        subtitle=subtitle,
        notes=f"{_ROUNDED}{narrow} The {intervals} are in the data.{held} {marks} n: respondents.".replace("  ", " "),
        source=source.source(rows),
        alt=" ".join([*opening, f"{kind}: {title}.", _reading(told, answers)]),
        long_description=long_words(told, "proportion", ["row_label", "series_label"]),
        data=data,
        plot=chart,
        simulated=source.simulated,
    )


def _reading(data: pd.DataFrame, answers: Mapping[str, str]) -> str:
    """Say where the last answer, or the top of the scale, is given most and least, for the alternative text."""
    last = list(answers)[-1]
    seen = data[data["series"] == last].dropna(subset=["estimate"])
    if seen.empty:
        return "No answer has a base large enough to be published."
    records = seen.sort_values("estimate", ascending=False, kind="stable").to_dict("records")
    most, least = (
        f"{row['row_label']}, {number(float(row['estimate']), 'proportion')}" for row in (records[0], records[-1])
    )
    return f"{answers[last]} is highest for {most}" + (f"; lowest for {least}." if len(records) > 1 else ".")
