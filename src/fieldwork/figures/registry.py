"""The register of figures: every figure of a wave, in the order of the book, with its number or the reason of its absence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fieldwork.chapter import Chapter
from fieldwork.errors import DataError, RunError, listed, nearest
from fieldwork.figures import (
    alignment,
    answers,
    change,
    citations,
    curve,
    flow,
    gradient,
    influence,
    order,
    roles,
    spread,
)
from fieldwork.figures.published import Published, published
from fieldwork.figures.spec import Absence, Figure, Spec
from fieldwork.figures.style import BOOK, Style
from fieldwork.study import Study

__all__ = ["KINDS", "Kind", "describe", "figure", "history_of", "published_of"]

Made = Spec | Absence


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of figure.

    Attributes
    ----------
    name : str       Name of its figure, or what the names of its figures begin with.
    chapter : int    Chapter of the book, as the notebooks are numbered.
    words : str      What it shows, in one line.
    make : callable  From published estimates to its figures, or what says why there is none.
    """

    name: str
    chapter: int
    words: str
    make: Callable[[Published], Iterator[Made]]


def _one(make: Callable[[Published], Made]) -> Callable[[Published], Iterator[Made]]:
    def each(source: Published) -> Iterator[Made]:
        yield make(source)

    return each


def _by_measure(name: str, title: str, make: Callable[[Published, str], Made]) -> Callable[[Published], Iterator[Made]]:
    """Return what makes a figure of each measure of the gradient; of a wave without any, one absence."""

    def each(source: Published) -> Iterator[Made]:
        measures = roles.measures_of(source)
        if not measures:
            yield Absence(name, title, "No mean by role is published.")
        for measure in measures:
            yield make(source, measure)

    return each


def _gradient(source: Published, measure: str) -> Spec:
    given = {"wave": source.wave, "provenance": source.provenance, "study": source.study}
    made = gradient.specify(source.estimates, source.instrument, measure=measure, **given)
    # The first measure's figure is the one that readers meet first: its name does not hang on which measure it is.
    return replace(made, name="gradient") if measure == roles.measures_of(source)[0] else made


def _ranks(source: Published) -> Iterator[Made]:
    yield order.ranks(source, "lead_lag")


def _influence_ranks(source: Published) -> Iterator[Made]:
    yield order.ranks(source, "influence")


def _curves(source: Published) -> Iterator[Made]:
    table = source.multiverse
    if table is None or table.empty:
        yield Absence("multiverse", "Claims under other analytic choices", "No multiverse was given.")
        return
    assessed = table[(table["wave"] == source.wave) & (table["verdict"] != "not_assessable")]
    for claim in dict.fromkeys(table.loc[table["wave"] == source.wave, "claim"]):
        if claim in set(assessed["claim"]):
            yield curve.specify(table, claim, wave=source.wave, provenance=source.provenance, study=source.study)
        else:
            yield Absence(
                f"multiverse_{claim}", f"{claim} under other analytic choices", "No specification could be assessed."
            )


KINDS = (
    Kind("cohort", 1, "flow of rows from delivery to the bases", _one(flow.cohort)),
    Kind("likert", 3, "answers by role and by stage, to both sides of the middle", answers.by_role),
    Kind("answers", 3, "every answer over all, questions of one scale", answers.by_scale),
    Kind(
        "gradient",
        4,
        "means by role and stage, small multiples",
        _by_measure("gradient", "Means by role and stage", _gradient),
    ),
    Kind(
        "forest", 4, "means by role with intervals, and shrunken", _by_measure("forest", "Means by role", roles.forest)
    ),
    Kind("dumbbell", 4, "two measures by role", _one(roles.dumbbell)),
    Kind("spread", 4, "corrected spread of roles and of stages", _one(spread.specify)),
    Kind("range", 4, "observed and shrunken ranges", _one(spread.ranges)),
    Kind("blockers_overall", 5, "shares of all respondents that cite each answer", _one(citations.overall)),
    Kind("blockers_prevalence", 5, "shares of each role that cites each answer", _one(citations.prevalence)),
    Kind("blockers_quotient", 5, "location quotients by role and answer", _one(citations.quotient)),
    Kind("blockers_together", 5, "shares of all respondents that cite two answers", _one(citations.together)),
    Kind("alignment", 6, "alignment of priorities, role by role", _one(alignment.pairs)),
    Kind("consensus", 6, "consensus within roles, beside chance", _one(alignment.consensus)),
    Kind("consensus_map", 6, "map of consensus with ellipses", _one(alignment.consensus_map)),
    Kind("influence", 7, "shares of influence, tiers, self less others", _one(influence.influence)),
    Kind("ranks_influence", 7, "rank sets and tiers of influence", _influence_ranks),
    Kind("gatekeepers", 7, "who can stop a decision and who must agree, self less others", _one(influence.gates)),
    Kind("ranks", 8, "rank sets and tiers by stage of adoption", _ranks),
    Kind("change", 8, "change since an earlier wave, by role", _one(change.change)),
    Kind("waves", 8, "means by role in each wave", _by_measure("waves", "Means by role and wave", change.levels)),
    Kind("multiverse", 9, "specification curves of claims", _curves),
)


def describe(source: Published) -> list[Made]:
    """Return every figure of the wave in the order of the book, numbered by chapter; an absent one keeps its number."""
    made: list[Made] = []
    for kind in KINDS:
        for each in kind.make(source):
            number = 1 + sum(other.chapter == kind.chapter for other in made)
            made.append(replace(each, chapter=kind.chapter, number=number))
    return made


def published_of(study: str | Path = ".", wave: str = "", *, out: str | Path = "") -> Published:
    """Read what the figures of a wave are drawn from, as its last run published it, and the estimates of earlier waves.

    Parameters
    ----------
    study : folder of the study. wave : empty: the study's default. out : as for `Chapter.open`.

    Raises RunError where the wave was not run.
    """
    chapter = Chapter.open("figures", study, wave, out)
    return _of(
        chapter.read("estimates", folder="reports"), chapter,
        multiverse=_found(chapter, "multiverse"), history=history_of(chapter),
    )  # fmt: skip


def history_of(chapter: Chapter) -> tuple[tuple[str, pd.DataFrame], ...]:
    """Return what earlier waves have published, oldest first: wave and estimates of each that was run to its end."""
    return tuple(
        (wave.name, wave.chapter.read("estimates", folder="reports"))
        for wave in chapter.waves()[:-1]
        if wave.chapter is not None and wave.chapter.path("estimates.parquet", "reports").is_file()
    )


def _found(chapter: Chapter, name: str) -> pd.DataFrame | None:
    try:
        return chapter.read(name, folder="reports")
    except RunError:  # a study may leave the multiverse out
        return None


def _of(estimates: pd.DataFrame, chapter: Chapter, **more: Any) -> Published:  # noqa: ANN401
    opened = chapter.study
    try:
        flow_of = chapter.read_json("01_clean.flow")
    except RunError:  # reports may have been copied without the processed data
        flow_of = None
    return published(
        estimates, chapter.instrument, wave=opened.wave, study=opened.title, provenance=opened.provenance, flow=flow_of, **more
    )  # fmt: skip


def figure(
    name: str,
    *,
    study: str | Path | Study = ".",
    wave: str = "",
    style: str | Style = BOOK,
    source: Published | None = None,
) -> Figure:
    """Draw any figure of a wave in any house style, from the published estimates of its last run.

    Parameters
    ----------
    name : str       As in `figures/`: `gradient`, `alignment`, `multiverse_H2`. `describe` lists them.
    study, wave      Folder of the study, or a folder below it; wave; empty: the study's default.
    style : str      `book`, `page`, `grey`, `web` or `slide`.
    source : Published or None    What was read already; None: it is read from the study.

    Raises DataError for a name that no figure has, and for a figure that the wave does not allow, with the reason.

    In a chapter: `figure("alignment", study="..", style="slide")`.
    """
    folder = study.folder if isinstance(study, Study) else Study.find(study)
    source = source or published_of(folder, wave)
    known = {made.name: made for made in describe(source)}
    if name not in known:
        near = nearest(name, list(known))
        raise DataError(
            f"there is no figure {name!r}",
            where=f"figures of {source.wave}", expected=listed(known, limit=40), got=name,
            hint=f"did you mean {near}?" if near else "take a name from the list",
        )  # fmt: skip
    made = known[name]
    if isinstance(made, Absence):
        raise DataError(
            f"the wave does not allow the figure {name!r}",
            where=f"figures of {source.wave}", expected=made.title, got=made.reason,
            hint="the reason says what is missing",
        )  # fmt: skip
    return made.draw(style)
