"""Confidence sets for ranks: which order of groups the data are sure of, and which they leave open.

Own code, because no Python library has them and R's `csranks` is GPL: written from the paper alone (Mogstad, Romano, Shaikh
and Wilhelm 2024). Ranks of estimates are not ranks: with ten groups that do not differ at all, a bootstrap of the ranks covers
the true rank of a group in a fifth of studies. Here a rank is a statement about pairs, and pairs are tested together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from fieldwork.errors import DesignError
from fieldwork.statistics.replicates import named_stream

__all__ = ["RankCurves", "RankSets", "normal_errors", "rank_curves", "rank_sets"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Critical value of a set of pairs; entry (j, k) of the set stands for the hypothesis that j does not lie above k.
Critical = Callable[[Flags], float]


@dataclass(frozen=True, slots=True)
class RankSets:
    """Confidence sets for the ranks of R groups; rank 1 is the largest estimate.

    Attributes
    ----------
    rank : (R,) int                   Observed rank, 1 + groups with a larger estimate; tied estimates share the better rank.
    rank_low, rank_high : (R,) int    Ends of the confidence set: 1 + groups surely above, R - groups surely below.
    surely_above : (R, R) bool        Entry (j, k): j lies above k, all sure together; all False where sets are marginal.
    tier : (R,) int                   Tier of each group, 1 the highest; see `rank_sets`. All 0 where sets are marginal.
    critical : float                  First critical value of the pairwise statistic, on the scale of a normal deviate;
                                      marginal sets: the largest over groups.
    simultaneous : bool               All sets hold together at `level`; else each one by itself.
    """

    rank: Ints
    rank_low: Ints
    rank_high: Ints
    surely_above: Flags
    tier: Ints
    critical: float
    simultaneous: bool


def normal_errors(covariance: npt.ArrayLike, draws: int = 10_000, *, seed: int = 0, name: str = "ranks") -> Floats:
    """Draw sampling errors (draws, R) of estimates from their covariance (R, R), by a Philox generator keyed by seed and name.

    For `rank_sets` where no replicates are at hand. A singular covariance (shares that sum to 1) will do; DesignError where it
    has a negative variance.

    >>> normal_errors([[1.0, 0.5], [0.5, 1.0]], 4000).shape
    (4000, 2)
    """
    V = np.atleast_2d(np.asarray(covariance, dtype=np.float64))
    values, vectors = np.linalg.eigh(V) if np.isfinite(V).all() else (np.array([-np.inf]), V)
    if values[0] < -1e-9 * max(float(values[-1]), 0.0) or values[-1] <= 0:
        raise DesignError(
            "the covariance of the estimates is none",
            where="statistics.ranks.normal_errors",
            expected="finite numbers with eigenvalues of zero or more, one of them above",
            got=f"smallest eigenvalue {float(values[0]):.3g}",
            hint="leave out groups without a standard error",
        )
    rng = named_stream(seed, name)
    return np.asarray(
        rng.standard_normal((draws, len(V))) @ (vectors * np.sqrt(np.clip(values, 0.0, None))).T, dtype=np.float64
    )


def rank_sets(
    estimates: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    *,
    covariance: npt.ArrayLike | None = None,
    df: npt.ArrayLike = math.inf,
    level: float = 0.95,
    simultaneous: bool = True,
    step_down: bool = True,
) -> RankSets:
    """Confidence sets for ranks from all pairwise differences.

    Group j is surely above k where T_jk = (theta_j - theta_k) / se_jk exceeds the critical value c: the `level` quantile of the
    largest error max (e_j - e_k) / se_jk over the pairs that are tested together. These are all ordered pairs
    (simultaneous: with probability `level` no statement about any group is wrong), or, group by group, the pairs of that
    group (marginal: each set covers by itself). The set of j is {1 + groups surely above j, ..., R - groups surely below j}.
    It contains the observed rank always, and covers the true rank and, where groups are truly tied, every rank that a tie
    could be given.

    Step-down (Romano and Wolf 2005): pairs that are sure leave the family, c is taken anew over the rest, until no pair is
    added; the sets only become shorter and hold their level. Without `errors` c is Bonferroni's (with step-down Holm's), the
    normal quantile at 1 - (1 - level) / pairs, which needs no draws and is never too small.

    Few organisations: the largest error of replicate weights has too light a tail. With ten groups truly alike the joint 95%
    sets cover .92 / .94 / .95 of 4,000 studies at 20 / 40 / 90 organisations from replicates, .935 / .95 / .95 from
    `normal_errors` of their covariance, .96 from Bonferroni, each with `df`. So below 40 organisations take Bonferroni.

    Where groups do differ the sets hold more often than they say, because they guard against ties that could be anywhere: .97
    to 1 instead of .95 (docs/validity_statistics.md). There is nothing shorter that is safe.

    Tiers: a line is drawn between two neighbours in the observed order where each group above it is surely above each group
    below it, and nowhere else. So whatever two tiers say about two groups is sure, all at once, and groups that are not surely
    ordered share a tier. Groups of one tier may still be surely ordered (first and third of a chain): `surely_above` has that.

    Parameters
    ----------
    estimates : (R,), R at least 2; larger is ranked first. Turn the sign round where less is first.
    errors : (B, R) sampling errors of the estimates from replicates, with small-sample factors applied, or `normal_errors`.
        Quantiles are order statistics at ceil(level (B + 1)), so B must be at least 19 at 95%.
    covariance : (R, R) where it is known better than from `errors`; needed without them.
    df : degrees of freedom of the standard errors (organisations - 1), one number or (R, R) by pair: T is brought to the normal
        deviate of the same tail before it is compared.

    Raises DesignError where a difference has no variance. Weights and clusters enter through `errors` and `covariance`.

    References
    ----------
    Mogstad, M., Romano, J. P., Shaikh, A. M. and Wilhelm, D. (2024). Inference for ranks with applications to mobility across
    neighbourhoods and academic achievement across countries. Review of Economic Studies 91, 476-518.
    Romano, J. P. and Wolf, M. (2005). Exact and approximate stepdown methods for multiple hypothesis testing. JASA 100, 94-108.

    >>> sets = rank_sets([4.5, 3.0, 2.9, 2.0], covariance=0.2**2 * np.eye(4))
    >>> list(zip(sets.rank_low.tolist(), sets.rank_high.tolist())), sets.tier.tolist(), round(sets.critical, 3)
    ([(1, 1), (2, 3), (2, 3), (4, 4)], [1, 2, 2, 3], 2.638)
    """
    theta = np.asarray(estimates, dtype=np.float64)
    groups = len(theta)
    e = None if errors is None else np.asarray(errors, dtype=np.float64)
    se = _standard_errors(theta, e, covariance)
    deviate = _deviates((theta[:, None] - theta[None, :]) / se, df)
    critical = _bonferroni(level) if e is None else _largest_error(e, se, level)
    everyone = ~np.eye(groups, dtype=bool)
    surely_above, first = np.zeros((groups, groups), dtype=bool), 0.0
    if simultaneous:
        surely_above, first = _step_down(deviate, everyone, critical, once=not step_down)
        above, below = surely_above.sum(axis=0), surely_above.sum(axis=1)
    else:
        above, below = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
        for j in range(groups):
            own = np.arange(groups) == j
            sure, c = _step_down(deviate, everyone & (own[:, None] | own[None, :]), critical, once=not step_down)
            above[j], below[j], first = sure[:, j].sum(), sure[j].sum(), max(first, c)
    return RankSets(
        rank=1 + (theta[None, :] > theta[:, None]).sum(axis=1),
        rank_low=1 + above,
        rank_high=groups - below,
        surely_above=surely_above,
        tier=_tiers(theta, surely_above) if simultaneous else np.zeros(groups, np.int64),
        critical=first,
        simultaneous=simultaneous,
    )


@dataclass(frozen=True, slots=True)
class RankCurves:
    """Ends of rank sets at every level, as confidence draws.

    Attributes
    ----------
    rank_low, rank_high : (B, R) int    Ends of the single-step set at the critical value of draw b. The share of draws with
                                        `rank_low` of a group at or below k is the adjusted p-value of "its rank is at most
                                        k", that of `rank_high` above k the one of "its rank is above k".
    """

    rank_low: Ints
    rank_high: Ints


def rank_curves(
    estimates: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    *,
    covariance: npt.ArrayLike | None = None,
    df: npt.ArrayLike = math.inf,
    draws: int = 1000,
) -> RankCurves:
    """Rank sets at all levels at once: what an adjusted p-value of a statement about a rank is read from.

    The critical value of draw b is the largest error max (e_bj - e_bk) / se_jk over all ordered pairs, as in `rank_sets`;
    without `errors` Bonferroni's at the levels (b + 1/2) / draws. The single-step test so inverted is never more liberal than
    the step-down sets.

    Parameters
    ----------
    estimates, errors, covariance, df : as in `rank_sets`. draws : number B of draws where no errors are given.

    Raises DesignError as `rank_sets` does. Reference: Westfall and Young (1993), Resampling-Based Multiple Testing.

    >>> curves = rank_curves([4.5, 3.0, 2.9, 2.0], covariance=0.2**2 * np.eye(4), draws=1000)
    >>> float((curves.rank_high[:, 0] > 1).mean()) < 0.001, float((curves.rank_low[:, 2] <= 2).mean())
    (True, 1.0)
    """
    theta = np.asarray(estimates, dtype=np.float64)
    e = None if errors is None else np.asarray(errors, dtype=np.float64)
    se = _standard_errors(theta, e, covariance)
    deviate = _deviates((theta[:, None] - theta[None, :]) / se, df)
    pairs = ~np.eye(len(theta), dtype=bool)
    if e is None:
        level = (np.arange(draws) + 0.5) / draws
        critical = np.asarray(
            stats.norm.isf(np.minimum((1.0 - level) / np.count_nonzero(pairs), 1.0)), dtype=np.float64
        )
    else:
        critical = np.full(len(e), -np.inf)
        for j in range(len(theta)):
            rivals = np.flatnonzero(pairs[j])
            np.maximum(critical, ((e[:, j, None] - e[:, rivals]) / se[j, rivals]).max(axis=1), out=critical)
    ordered = np.sort(np.where(pairs, deviate, -np.inf), axis=0)
    down = np.sort(np.where(pairs, deviate, -np.inf), axis=1)
    above = np.stack([len(theta) - np.searchsorted(ordered[:, j], critical, side="right") for j in range(len(theta))])
    below = np.stack([len(theta) - np.searchsorted(down[j], critical, side="right") for j in range(len(theta))])
    return RankCurves(1 + above.T, len(theta) - below.T)


def _standard_errors(theta: Floats, errors: Floats | None, covariance: npt.ArrayLike | None) -> Floats:
    """Return standard errors (R, R) of the differences, infinite on the diagonal."""
    groups = len(theta) if theta.ndim == 1 else 0
    if covariance is not None:
        V = np.asarray(covariance, dtype=np.float64)
    elif errors is not None and errors.ndim == 2 and len(errors) > 0:
        V = errors.T @ errors / len(errors)
    else:
        V = np.empty((0, 0))
    shapes_fit = V.shape == (groups, groups) and (errors is None or errors.shape[1:] == (groups,))
    if groups < 2 or not shapes_fit or not np.isfinite(theta).all() or not np.isfinite(V).all():
        raise DesignError(
            "ranks need estimates and their sampling errors",
            where="statistics.ranks.rank_sets",
            expected="two or more finite estimates (R,), with errors (B, R) or a covariance (R, R)",
            got=f"estimates {theta.shape}, errors {None if errors is None else errors.shape}, covariance {V.shape}, "
            f"{int((~np.isfinite(theta)).sum() + (~np.isfinite(V)).sum())} values missing",
            hint="leave out groups without an estimate or without a standard error",
        )
    variance = np.diag(V)[:, None] + np.diag(V)[None, :] - 2.0 * V
    scale = float(np.diag(V).max(initial=0.0))
    nil = np.argwhere(np.triu(variance <= 1e-12 * scale, k=1))
    if len(nil):
        raise DesignError(
            "a difference between two groups has no sampling variance",
            where="statistics.ranks.rank_sets",
            expected="every difference to vary over the replicates",
            got=f"groups {int(nil[0, 0])} and {int(nil[0, 1])} (of 0 to {groups - 1})",
            hint="leave out groups that one organisation alone carries, or that repeat another",
        )
    np.fill_diagonal(variance, np.inf)
    return np.sqrt(variance)


def _deviates(statistic: Floats, df: npt.ArrayLike) -> Floats:
    """Bring t statistics to the normal deviate of the same tail; a large one may become infinite."""
    freedom = np.broadcast_to(np.asarray(df, dtype=np.float64), statistic.shape)
    tail = stats.t.sf(np.abs(statistic), np.where(np.isfinite(freedom), freedom, 1.0))
    return np.where(np.isfinite(freedom), np.sign(statistic) * stats.norm.isf(tail), statistic)


def _bonferroni(level: float) -> Critical:
    return lambda family: float(stats.norm.isf((1.0 - level) / np.count_nonzero(family)))


def _largest_error(errors: Floats, se: Floats, level: float) -> Critical:
    place = math.ceil(level * (len(errors) + 1) - 1e-9)
    if place > len(errors):
        raise DesignError(
            "too few replicates for the level",
            where="statistics.ranks.rank_sets",
            expected=f"at least {math.ceil(level / (1.0 - level) - 1e-9)} replicates at level {level:g}",
            got=str(len(errors)),
            hint="draw more replicates, or leave errors out for Bonferroni's critical value",
        )

    def critical(family: Flags) -> float:
        largest = np.full(len(errors), -np.inf)
        for j in np.flatnonzero(family.any(axis=1)):
            rivals = np.flatnonzero(family[j])
            apart = (errors[:, j, None] - errors[:, rivals]) / se[j, rivals]
            np.maximum(largest, apart.max(axis=1), out=largest)
        return float(np.partition(largest, place - 1)[place - 1])

    return critical


def _step_down(deviate: Floats, family: Flags, critical: Critical, *, once: bool) -> tuple[Flags, float]:
    """Return the pairs of the family that are sure, and the first critical value."""
    sure, left = np.zeros_like(family), family.copy()
    first = bound = critical(left)
    while True:
        found = left & (deviate > bound)
        sure |= found
        left &= ~found
        if once or not found.any() or not left.any():
            return sure, first
        bound = critical(left)


def _tiers(theta: Floats, surely_above: Flags) -> Ints:
    order = np.argsort(-theta, kind="stable")
    ordered = surely_above[np.ix_(order, order)]
    lines = [bool(ordered[:cut, cut:].all()) for cut in range(1, len(theta))]
    tier = np.empty(len(theta), np.int64)
    tier[order] = 1 + np.concatenate([[0], np.cumsum(lines)])
    return tier
