"""Tests within one team of a few members: who stands apart, whether differences have a side, whether rankings agree.

Own code, because each asks what the team's own answers would give had they been dealt out at random: scipy permutes one sample
against another, and knows neither several questions answered by the same few people nor the largest of several standings.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from fieldwork.errors import DesignError
from fieldwork.statistics.replicates import named_stream

__all__ = ["Standing", "concordance_p", "sign_flip", "standing"]

Floats = npt.NDArray[np.float64]

_DRAWS = 20_000
_EXACT = 14  # members up to which all sign patterns are gone through: 16,384


@dataclass(frozen=True, slots=True)
class Standing:
    """How far each of k members stands from the others over several questions.

    Attributes
    ----------
    ahead : (k,) float       Mean over questions of own answer less the mean of the others', in shares of the scale's range.
    p_ahead, p_behind : (k,) P-values, adjusted for having looked at all members: share of deals in which the largest (smallest)
                             standing is as large (small) as this member's.
    questions : (k,) int     Questions that the member answered with at least two others.
    """

    ahead: Floats
    p_ahead: Floats
    p_behind: Floats
    questions: npt.NDArray[np.int64]


def standing(answers: npt.ArrayLike, *, seed: int = 0, name: str = "standing", draws: int = _DRAWS) -> Standing:
    """Test whether a member of a team is ahead of the others, or behind, on several questions taken together.

    Under the null the answers to each question belong to nobody in particular: they are dealt out anew among those who answered
    it, question by question. One question cannot show anything, since its largest answer is the largest however it is dealt;
    over several, a member who keeps being ahead is what chance does not give. The largest standing of each deal adjusts for
    having looked at all members (Westfall and Young 1993).

    Parameters
    ----------
    answers : (k, m) answers on scales brought to 0..1, nan for none. Questions with fewer than three answers are left out.
    seed, name : of the stream of deals. draws : deals; the observed answers count as one more.

    Raises DesignError with fewer than three members or no question that three answered.

    >>> fit = standing([[1, 1, 1, 1, 1], [0, 0.5, 0, 0.5, 0], [0.5, 0, 0, 0, 0.5], [0, 0, 0.5, 0, 0]])
    >>> fit.ahead.round(2).tolist(), bool(fit.p_ahead[0] < 0.05), bool(fit.p_behind.min() > 0.05)
    ([0.83, -0.23, -0.23, -0.37], True, True)
    """
    x = np.asarray(answers, dtype=np.float64)
    known = np.isfinite(x) if x.ndim == 2 else np.zeros((0, 0), dtype=bool)
    asked = known.sum(axis=0) >= 3
    if x.ndim != 2 or len(x) < 3 or not asked.any():
        raise DesignError(
            "nobody stands apart in so small a team",
            where="statistics.within_team.standing",
            expected="three members who answered the same question",
            got=f"shape {x.shape}, {int(asked.sum())} questions with three answers",
            hint="report the answers as they are",
        )
    x, known = x[:, asked], known[:, asked]
    answered = known.sum(axis=1)
    if (answered == 0).any():
        some = answered > 0
        part = standing(x[some], seed=seed, name=name, draws=draws)
        ahead, p_ahead, p_behind = (np.full(len(answered), np.nan) for _ in range(3))
        ahead[some], p_ahead[some], p_behind[some] = part.ahead, part.p_ahead, part.p_behind
        return Standing(ahead, p_ahead, p_behind, answered)
    count = known.sum(axis=0)
    observed = _ahead(x, known, count)
    rng = named_stream(seed, name)
    largest, smallest = np.empty(draws), np.empty(draws)
    for low in range(0, draws, 2000):
        size = min(2000, draws - low)
        dealt = np.broadcast_to(x, (size, *x.shape)).copy()
        for q in range(x.shape[1]):
            who = np.flatnonzero(known[:, q])
            order = rng.random((size, len(who))).argsort(axis=1)
            dealt[:, who, q] = x[who, q][order]
        scores = _ahead(dealt, known, count)
        largest[low : low + size], smallest[low : low + size] = scores.max(axis=1), scores.min(axis=1)
    # Standings that differ in their last bits only are the same standing.
    slack = 1e-12
    p_ahead = (1 + (largest[:, None] >= observed - slack).sum(axis=0)) / (1 + draws)
    p_behind = (1 + (smallest[:, None] <= observed + slack).sum(axis=0)) / (1 + draws)
    return Standing(observed, p_ahead, p_behind, answered)


def _ahead(x: Floats, known: npt.NDArray[np.bool_], count: npt.NDArray[np.int64]) -> Floats:
    """Mean over answered questions of own answer less the mean of the others' (..., k)."""
    filled = np.where(known, x, 0.0)
    total = filled.sum(axis=-2, keepdims=True)
    others = (total - filled) / (count - 1)
    return np.asarray(np.where(known, filled - others, 0.0).sum(axis=-1) / known.sum(axis=-1), dtype=np.float64)


def sign_flip(differences: npt.ArrayLike, *, seed: int = 0, name: str = "sign_flip", draws: int = _DRAWS) -> float:
    """Return the one-sided p-value of a mean of paired differences above nil: signs are as likely as not (Fisher 1935).

    All 2^k patterns of signs are gone through up to 14 members, else patterns are drawn. Members without a difference are left
    out; differences of nil stay, and have no sign. Five members who all differ to one side give 1/32.

    >>> sign_flip([1, 2, 1, 1, 1]), sign_flip([1, -1, 0])
    (0.03125, 0.75)
    """
    d = np.asarray(differences, dtype=np.float64)
    d = d[np.isfinite(d)]
    if not len(d):
        return 1.0
    if len(d) <= _EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(d))))
        return float((signs @ d >= d.sum() - 1e-12).mean())
    signs = np.where(named_stream(seed, name).random((draws, len(d))) < 0.5, 1.0, -1.0)
    return float((1 + (signs @ d >= d.sum() - 1e-12).sum()) / (1 + draws))


def concordance_p(ranks: npt.ArrayLike, *, seed: int = 0, name: str = "concordance", draws: int = _DRAWS) -> float:
    """Return the p-value of Kendall's W of a few rankings, had each member ranked at random.

    Every member's ranks are shuffled over the items; W grows with the sum of squared rank sums, which is what is compared.
    The chi-square approximation is poor for so few members and items.

    Parameters
    ----------
    ranks : (k, n) complete rankings, at least two.

    >>> same = concordance_p([[1, 2, 3, 4, 5]] * 4)
    >>> bool(same < 0.001), concordance_p([[1, 2, 3], [3, 2, 1]]) == 1.0
    (True, True)
    """
    given = np.asarray(ranks, dtype=np.float64)
    if given.ndim != 2 or min(given.shape) < 2 or np.isnan(given).any():
        raise DesignError(
            "concordance needs complete rankings of two members or more",
            where="statistics.within_team.concordance_p",
            expected="an array (members, items) without missing values",
            got=f"shape {given.shape}, {int(np.isnan(given).sum())} missing",
            hint="leave out members with missing ranks",
        )
    centred = np.asarray(stats.rankdata(given, axis=1)) - (given.shape[1] + 1) / 2.0
    observed = float((centred.sum(axis=0) ** 2).sum())
    rng = named_stream(seed, name)
    beyond = 0
    for low in range(0, draws, 2000):
        order = rng.random((min(2000, draws - low), *centred.shape)).argsort(axis=-1)
        shuffled = np.take_along_axis(np.broadcast_to(centred, order.shape), order, axis=-1)
        beyond += int(((shuffled.sum(axis=1) ** 2).sum(axis=1) >= observed - 1e-9).sum())
    return (1 + beyond) / (1 + draws)
