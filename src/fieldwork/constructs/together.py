"""Answers given together: how often two answers to a question with several are given by the same people.

The intersections of the question, two at a time, over all respondents. Own code: as `blockers`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.comparisons import share_row
from fieldwork.constructs.teams import totals_by_group
from fieldwork.statistics.replicates import Ints, infer

if TYPE_CHECKING:
    from fieldwork.constructs.ledger import Ledger
    from fieldwork.constructs.multi_answers import MultiAnswers

__all__ = ["STATISTIC", "pairs_of", "together"]

Flags = npt.NDArray[np.bool_]
STATISTIC = "cited_together"
_AT_A_TIME = 16  # pairs summed at a time: a column is a number for every respondent


def pairs_of(options: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return every two of some answers, in their order; a pair is named by both, joined by `+`.

    >>> pairs_of(("cost", "data", "law"))
    [('cost', 'data'), ('cost', 'law'), ('data', 'law')]
    """
    return list(itertools.combinations(options, 2))


def together(ledger: Ledger, answers: MultiAnswers) -> None:
    """Add `cited_together` of every two answers that do not stand alone: the share of all asked that gives both.

    Korn and Graubard's interval, `flagged` by the standard that `prevalence` is held to. `item` is both answers joined by
    `+`. Base: who was asked about both and answered. For the gate the row rests on the thinnest of the four groups that the
    two answers divide its base into (both, either alone, neither): with the shares of the two beside it, it tells the size of
    each. Of a question with a cap it rests also on those of either answer's who gave fewer than it allows, as all pairs of an
    answer together tell how many answers they gave.
    """
    design = ledger.design
    free = [place for place, alone in enumerate(answers.free) if alone]
    if len(free) < 2:
        return
    options = tuple(answers.options[place] for place in free)
    asked = np.asarray(answers.asked[:, free].all(axis=1), dtype=np.bool_)
    if not asked.any():
        return
    ticks: Flags = answers.ticks[:, free] > 0
    first, second = np.triu_indices(len(free), 1)
    both: Flags = ticks[:, first] & ticks[:, second]
    everyone = np.zeros(len(asked), dtype=np.int64)
    columns = np.column_stack([both, np.ones(len(asked), dtype=np.bool_)])
    parts = [columns[:, low : low + _AT_A_TIME] for low in range(0, columns.shape[1], _AT_A_TIME)]
    total = np.concatenate(
        [np.asarray(totals_by_group(design, part, everyone, 1, asked).total)[:, 0] for part in parts], axis=1
    )
    n, organisations = int(asked.sum()), design.clusters(asked)
    short = _short_of_the_cap(answers, ticks)
    shares = total[:, :-1] / total[:, -1:]
    for place, pair in enumerate(pairs_of(options)):
        one, other = ticks[:, first[place]], ticks[:, second[place]]
        groups = [one & other, one & ~other, other & ~one, ~one & ~other]
        groups += [short & one, short & other] if short.any() else []
        thinnest = [asked & group for group in groups]
        fewest = (
            min(int(group.sum()) for group in thinnest),
            min(design.clusters(group) for group in thinnest),
        )
        share_row(
            ledger, answers.measure, STATISTIC, infer(shares[:, place], organisations), strict=True, smallest=fewest,
            hits=int((both[:, place] & asked).sum()), n=n, n_organisations=organisations, item="+".join(pair),
        )  # fmt: skip


def _short_of_the_cap(answers: MultiAnswers, ticks: Flags) -> Flags:
    """Return who gave some answers but fewer than the question allows; nobody where it allows all."""
    given: Ints = ticks.sum(axis=1)
    return (given > 0) & (given < answers.cap) if answers.cap else np.zeros(len(given), dtype=np.bool_)
