"""Multiple imputation: donors from alike respondents, and estimates of several completed samples made one.

Own code: no library draws donors for whole answer sets, or pools confidence draws, which is the form that every estimate has
here; statsmodels pools normal estimates only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fieldwork.errors import DesignError
from fieldwork.statistics.replicates import distinct_rows

__all__ = ["Pooled", "hot_deck", "pooled"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def hot_deck(missing: Flags, cells: Sequence[Ints], rng: np.random.Generator, *, asked: Flags | None = None) -> Ints:
    """Name a donor for each respondent without an answer: one who answered, from the same cell.

    Approximate Bayesian bootstrap (Rubin and Schenker 1986): the donors of a cell are first drawn with replacement among
    those who answered in it, and the missing answers then from these, so that repeated calls differ by as much as the cell's
    distribution is unknown. A cell without donors takes those of the next coarser classification.

    Parameters
    ----------
    missing : (n,) who lacks the answer. cells : classifications (n,), the finest first; -1 is a cell like any other.
    asked : (n,) who was asked, and can donate or lack; None: all.

    Returns (n,) the row of the donor, the own row for those who answered. Draws go by the order of rows, so that the caller
    fixes the order. Raises DesignError where nobody answered. Reference: Andridge and Little (2010), Int. Statist. Rev. 78,
    40-64.

    >>> donor = hot_deck(np.array([False, True, False]), [np.array([0, 0, 1])], np.random.default_rng(1))
    >>> donor.tolist()
    [0, 0, 2]
    """
    asked = np.ones(len(missing), dtype=bool) if asked is None else asked
    donor = np.arange(len(missing))
    waiting = missing & asked
    gives = ~missing & asked
    for cell in [*cells, np.zeros(len(missing), dtype=np.int64)]:
        pools = _by_level(cell, np.flatnonzero(gives))
        for level, want in _by_level(cell, np.flatnonzero(waiting)).items():
            pool = pools.get(level)
            if pool is None:
                continue
            known = rng.choice(pool, size=len(pool), replace=True)
            donor[want] = rng.choice(known, size=len(want), replace=True)
            waiting[want] = False
    if waiting.any():
        raise DesignError(
            "nobody answered, so nothing can be imputed",
            where="statistics.imputation.hot_deck",
            expected="one respondent with an answer",
            got=f"{int(waiting.sum())} without",
            hint="leave the measure out",
        )
    return donor


def _by_level(cell: Ints, rows: Ints) -> dict[int, Ints]:
    """Return the rows of each level, ascending, in their order."""
    levels, place = distinct_rows(cell[rows][:, None])
    # Numbers of a byte or two are counted, not compared.
    order = np.argsort(place.astype(np.min_scalar_type(len(levels))), kind="stable")
    ends = np.cumsum(np.bincount(place))[:-1]
    return dict(zip(levels.reshape(-1).tolist(), np.split(rows[order], ends), strict=True)) if len(rows) else {}


@dataclass(frozen=True, slots=True)
class Pooled:
    """One estimate from several completed samples.

    Attributes
    ----------
    estimate : float         Mean over the completed samples.
    draws : (M B,) float     Confidence draws whose variance is Rubin's total variance.
    between : float          Variance of the estimates between completed samples; nan with one, or where one is infinite.
    """

    estimate: float
    draws: Floats
    between: float


def pooled(estimates: Sequence[float], draws: Sequence[Floats]) -> Pooled:
    """Pool estimates and confidence draws of M completed samples by Rubin's rules, on the draws.

    Rubin (1987): the variance of the pooled estimate is W + (1 + 1/M) B, W the mean variance within and B the variance
    between completed samples. The mixture of the M sets of draws has W + (M - 1)/M B; moving each set's centre away from the
    common mean by sqrt((M + 1)/(M - 1)) makes it exactly Rubin's, and keeps the shape of the draws, so that the same call
    serves means, spreads near nil and ratios. Where an estimate is not finite the sets are mixed as they are.

    Parameters
    ----------
    estimates : M numbers. draws : M arrays of confidence draws, of one length.

    Reference: Rubin (1987), Multiple Imputation for Nonresponse in Surveys.

    >>> made = pooled([1.0, 3.0], [np.array([0.0, 2.0]), np.array([2.0, 4.0])])       # W 1, B 2, total 1 + 1.5 * 2
    >>> made.estimate, made.between, round(float(np.var(made.draws)), 6)
    (2.0, 2.0, 4.0)
    """
    value = np.asarray(estimates, dtype=np.float64)
    M = len(value)
    if M < 2 or not np.isfinite(value).all():
        return Pooled(float(value.mean()), np.concatenate(list(draws)), float("nan"))
    centre = float(value.mean())
    away = (np.sqrt((M + 1.0) / (M - 1.0)) - 1.0) * (value - centre)
    moved = [np.asarray(each, dtype=np.float64) + shift for each, shift in zip(draws, away, strict=True)]
    return Pooled(centre, np.concatenate(moved), float(value.var(ddof=1)))
