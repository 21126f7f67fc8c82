"""Intervals of proportions from clustered, weighted samples: Korn and Graubard's exact one, and of a difference of two.

statsmodels has the exact (Clopper-Pearson) interval of a simple random sample and Newcombe's difference of two independent
ones only; a design has effective sizes, t quantiles, and groups that share organisations. No package in the stack melds two
exact intervals into one of their difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = [
    "MeldedDifference",
    "ProportionInterval",
    "difference_quantile",
    "effective_sample",
    "interval_difference",
    "korn_graubard",
    "largest_share_quantile",
    "layer_correlation",
    "melded_difference",
    "replicate_places",
    "wilson_quantile",
]

Floats = npt.NDArray[np.float64]
_GRID = 400
_NIL = 1e-18  # a product of two standard errors below this is rounding of an exact zero


@dataclass(frozen=True, slots=True)
class ProportionInterval:
    """A proportion with its interval.

    Attributes
    ----------
    estimate, conf_low, conf_high : float    Proportions, 0..1.
    n_effective : float                      Respondents of a simple random sample that would say as much.
    """

    estimate: float
    conf_low: float
    conf_high: float
    n_effective: float

    def quantile(self, level: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Confidence curve: the lower limit's Beta below one half, the upper limit's above, so that both ends agree.

        >>> interval = korn_graubard(0.6, 0.0, 5, 5)
        >>> low, high = interval.quantile([0.025, 0.975])
        >>> bool(np.isclose(low, interval.conf_low) and np.isclose(high, interval.conf_high))
        True
        """
        u = np.asarray(level, dtype=np.float64)
        below = u < 0.5
        found = np.empty_like(u)
        found[below], found[~below] = self.lower(u[below]), self.upper(u[~below])
        return found

    def lower(self, level: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Quantiles of the confidence distribution that lower limits come from: Beta(hits, misses + 1)."""
        u, (hits, misses) = np.asarray(level, dtype=np.float64), self._sides
        return np.asarray(special.betaincinv(hits, misses + 1.0, u) if hits > 0 else np.zeros_like(u), dtype=np.float64)

    def upper(self, level: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Quantiles of the confidence distribution that upper limits come from: Beta(hits + 1, misses)."""
        u, (hits, misses) = np.asarray(level, dtype=np.float64), self._sides
        return np.asarray(
            special.betaincinv(hits + 1.0, misses, u) if misses > 0 else np.ones_like(u), dtype=np.float64
        )

    @property
    def _sides(self) -> tuple[float, float]:
        return self.n_effective * self.estimate, self.n_effective * (1.0 - self.estimate)


def korn_graubard(
    estimate: float, std_error: float, n: int, clusters: int, *, level: float = 0.95
) -> ProportionInterval:
    """Exact interval of a proportion at the effective sample size of the design.

    n_e = p (1 - p) / se^2 times (t(n - 1) / t(clusters - 1))^2, at most n; the interval is Clopper and Pearson's with n_e
    respondents. Where the design gives no variance (p = 0 or 1, or se = 0) n_e is n. Same as R `survey::svyciprop(method =
    "beta")` but for the cap at n, which NCHS asks for.

    The interval is exact and counts are whole, so it covers more than it says: .95 to .975 for a share of the 45 respondents
    of one role at 90 organisations (docs/validity_statistics.md), never less. Where width matters more than rare shares,
    `replicates.infer` of the share is shorter.

    Parameters
    ----------
    estimate : weighted share p. std_error : its design-based standard error. n : respondents. clusters : organisations.

    References
    ----------
    Korn, E. and Graubard, B. (1998). Confidence intervals for proportions with small expected number of positive counts.
    Survey Methodology 24, 193-201. Parker et al. (2017), NCHS Vital and Health Statistics 2(175).

    >>> i = korn_graubard(0.6, 0.0, 5, 5)      # 3 of 5
    >>> round(i.conf_low, 2), round(i.conf_high, 2)
    (0.15, 0.95)
    """
    tail = 0.5 + level / 2.0
    effective = float(n)
    if std_error > 0 and 0 < estimate < 1 and n > 1 and clusters > 1:
        ratio = special.stdtrit(n - 1, tail) / special.stdtrit(clusters - 1, tail)
        effective = min(float(n), estimate * (1 - estimate) / std_error**2 * float(ratio) ** 2)
    if not math.isfinite(estimate):
        return ProportionInterval(math.nan, math.nan, math.nan, effective)
    draft = ProportionInterval(estimate, math.nan, math.nan, effective)
    low, high = draft.quantile([1.0 - tail, tail])
    return ProportionInterval(estimate, float(low), float(high), effective)


def effective_sample(share: npt.ArrayLike, std_error: npt.ArrayLike, n: npt.ArrayLike) -> Floats:
    """Respondents of a simple random sample that would give the same standard error: p (1 - p) / se^2, at most n.

    Where the design gives no variance (p = 0 or 1, or se = 0) it is n. Arrays broadcast. Reference: Korn and Graubard (1998).

    >>> effective_sample([0.5, 0.0], [0.1, 0.0], [100, 20]).round(6).tolist()
    [25.0, 20.0]
    """
    p, se, size = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (share, std_error, n)))
    variance = p * (1.0 - p)
    known = (variance > 0) & (se > 0)
    return np.where(known, np.minimum(variance / np.where(known, se, 1.0) ** 2, size), size)


def wilson_quantile(share: npt.ArrayLike, n_effective: npt.ArrayLike, t: npt.ArrayLike) -> Floats:
    """Confidence curve of a share by inversion of the score test: Wilson's limit at the quantile t.

    (p + t^2 / 2n + t sqrt(p (1 - p) / n + t^2 / 4n^2)) / (1 + t^2 / n); t = -1.96 and 1.96 give the 95% interval. With a
    design, n is the effective size and t the quantile of Student's distribution with organisations - 1 degrees of freedom.
    Arrays broadcast. Reference: Wilson (1927), JASA 22, 209-212.

    >>> wilson_quantile(0.0, 20, [-1.96, 1.96]).round(4).tolist()
    [0.0, 0.1611]
    """
    p, n, q = (np.asarray(each, dtype=np.float64) for each in (share, n_effective, t))
    root = np.sqrt(p * (1.0 - p) / n + q**2 / (4.0 * n**2))
    return np.asarray(np.clip((p + q**2 / (2.0 * n) + q * root) / (1.0 + q**2 / n), 0.0, 1.0), dtype=np.float64)


def difference_quantile(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    n_first: npt.ArrayLike,
    n_second: npt.ArrayLike,
    t_first: npt.ArrayLike,
    t_second: npt.ArrayLike,
    correlation: npt.ArrayLike = 0.0,
) -> Floats:
    """Confidence curve of a difference of two shares, from the curves of the two (square-and-add; MOVER).

    Lower: d - sqrt(a^2 + b^2 - 2 rho a b), a = p1 - l1 and b = u2 - p2 the distances to Wilson's limits at the level; upper
    with the other limits. rho is the correlation of the two estimates: members of one organisation in both groups. A t
    interval of a difference misses on the far side of a small share; this one does not, and has a width where a share is 0.

    Parameters
    ----------
    first, second : shares. n_first, n_second : effective sizes. t_first, t_second : quantiles of Student's distribution at the
        level, negative for the lower half of the curve. Arrays broadcast.

    References: Newcombe (1998), Statist. Med. 17, 873-890, method 10; Zou and Donner (2008), Statist. Med. 27, 1693-1702.

    >>> difference_quantile(56 / 70, 48 / 80, 70, 80, [-1.96, 1.96], [-1.96, 1.96]).round(4).tolist()
    [0.0524, 0.3339]
    """
    low, high = np.asarray(t_first, dtype=np.float64), np.asarray(t_second, dtype=np.float64)
    limits = wilson_quantile(first, n_first, low), wilson_quantile(second, n_second, -high)
    return _square_and_add(first, second, *limits, np.sign(low), correlation)


def interval_difference(
    first: ProportionInterval, second: ProportionInterval, level: npt.ArrayLike, correlation: float = 0.0
) -> Floats:
    """Confidence curve of a difference of two shares as `difference_quantile`, from exact limits in place of Wilson's.

    At level u below one half p1 - p2 - sqrt(a^2 + b^2 - 2 rho a b), a the distance of p1 to its own curve at u and b that of
    p2 to its at 1 - u; above, the other limits with a plus. rho is the correlation of the two estimates (`layer_correlation`).

    >>> one, two = korn_graubard(56 / 70, 0.0, 70, 70), korn_graubard(48 / 80, 0.0, 80, 80)
    >>> interval_difference(one, two, [0.025, 0.975]).round(2).tolist()
    [0.04, 0.34]
    """
    u = np.asarray(level, dtype=np.float64)
    limits = first.quantile(u), second.quantile(1.0 - u)
    return _square_and_add(first.estimate, second.estimate, *limits, np.where(u < 0.5, -1.0, 1.0), correlation)


def _square_and_add(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    own_limit: Floats,
    other_limit: Floats,
    side: Floats,
    rho: npt.ArrayLike,
) -> Floats:
    """Meet the limit of the first share and the opposite one of the second; `side` is -1 below the difference, 1 above."""
    p, q, r = (np.asarray(each, dtype=np.float64) for each in (first, second, rho))
    own, other = np.abs(own_limit - p), np.abs(other_limit - q)
    distance = np.sqrt(np.maximum(own**2 + other**2 - 2.0 * r * own * other, 0.0))
    return np.asarray(np.clip(p - q + side * distance, -1.0, 1.0), dtype=np.float64)


def layer_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
    """Correlation of two estimates over their replicates, about the observed layer: what shared organisations make of them.

    Parameters
    ----------
    first, second : (1 + B, ...) layers, the observed one first. Replicates in which one is not known count as no error.

    sum e f / sqrt(sum e^2 sum f^2), e and f the layers less the observed; 0 where one of the two does not vary.

    >>> round(float(layer_correlation([0.5, 0.4, 0.6], [0.3, 0.1, 0.5])), 9)
    1.0
    """
    layers = (np.asarray(each, dtype=np.float64) for each in (first, second))
    e, f = (np.nan_to_num(each[1:] - each[0]) for each in layers)
    norm = np.sqrt((e**2).mean(axis=0) * (f**2).mean(axis=0))
    return np.where(norm > _NIL, (e * f).mean(axis=0) / np.where(norm > 0, norm, 1.0), 0.0)


def replicate_places(draws: npt.ArrayLike) -> Floats:
    """Return each draw's place in (0, 1) along the first axis (B, ...), ties in order.

    A confidence curve read at these places gives confidence draws that move with the replicates, so that two statistics can
    be compared replicate by replicate.

    >>> replicate_places([0.3, 0.1, 0.2]).round(3).tolist()
    [0.833, 0.167, 0.5]
    """
    values = np.asarray(draws, dtype=np.float64)
    order = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
    return np.asarray((order + 0.5) / len(values), dtype=np.float64)


def largest_share_quantile(
    shares: npt.ArrayLike, n_effective: npt.ArrayLike, level: npt.ArrayLike, *, family_size: int
) -> Floats:
    """Confidence curve of the largest of k shares, by exact bounds that hold for all k at once.

    Above one half: the largest of the upper Clopper-Pearson bounds, each at 1 - (1 - level) / k; below: the largest of the
    lower bounds, each at level / k (Bonferroni). At 0.95 it is the bound that a universal "none above" has to be judged by:
    one role of whose 59 executives nobody says so is bounded by 0.0495, nine such roles need 102 each for 0.05.

    Parameters
    ----------
    shares, n_effective : (k',) shares and their effective bases; k' may fall short of `family_size` where some are not known.
    level : (...,) levels in (0, 1).

    >>> round(float(largest_share_quantile([0.0], [59.0], 0.95, family_size=1)), 4)
    0.0495
    >>> round(float(largest_share_quantile([0.0] * 9, [102.0] * 9, 0.95, family_size=9)), 4)
    0.0496
    """
    u = np.atleast_1d(np.asarray(level, dtype=np.float64))[..., None]
    p, n = np.asarray(shares, dtype=np.float64), np.asarray(n_effective, dtype=np.float64)
    hits, misses = n * p, n * (1.0 - p)
    upper = special.betaincinv(hits + 1.0, np.maximum(misses, 1e-300), 1.0 - (1.0 - u) / family_size)
    lower = special.betaincinv(np.maximum(hits, 1e-300), misses + 1.0, u / family_size)
    upper, lower = np.where(misses > 0, upper, 1.0), np.where(hits > 0, lower, 0.0)
    curve = np.where(u[..., 0] < 0.5, lower.max(axis=-1), upper.max(axis=-1))
    return np.asarray(curve.reshape(np.shape(level)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class MeldedDifference:
    """A difference of two proportions with its interval.

    Attributes
    ----------
    estimate, conf_low, conf_high : float    First proportion minus second, -1..1.
    draws : (B,) float                       Confidence draws, ascending: the share at or below x is the p-value of "at most x".
    """

    estimate: float
    conf_low: float
    conf_high: float
    draws: npt.NDArray[np.float64]


def melded_difference(
    first: ProportionInterval, second: ProportionInterval, draws: int, *, level: float = 0.95
) -> MeldedDifference:
    """Interval of p1 - p2 from two independent exact intervals, for groups too small for a normal approximation.

    With L and U the confidence distributions that a proportion's lower and upper limits come from, the lower limit is the
    quantile of L1 - U2 and the upper that of U1 - L2. Of two simple random samples the one-sided p-value at no difference is
    Fisher's exact one. The distributions are combined on a grid of 400 x 400 equally probable pairs, so nothing is drawn.

    Parameters
    ----------
    first, second : intervals of groups without an organisation in common, at their effective bases (`korn_graubard`).
    draws : length B of the confidence draws.

    Reference: Fay, M., Proschan, M. and Brittain, E. (2015). Combining one-sample confidence procedures for inference in the
    two-sample case. Biometrics 71, 146-156.

    >>> small = melded_difference(korn_graubard(0.75, 0.0, 4, 4), korn_graubard(0.25, 0.0, 4, 4), 1000)
    >>> round(small.estimate, 2), bool(small.conf_low < -0.3), bool(small.conf_high < 1.0)
    (0.5, True, True)
    """
    u = (np.arange(_GRID) + 0.5) / _GRID
    low = (first.lower(u)[:, None] - second.upper(u)[None, :]).reshape(-1)
    high = (first.upper(u)[:, None] - second.lower(u)[None, :]).reshape(-1)
    at = (np.arange(draws) + 0.5) / draws
    curve = np.where(at < 0.5, np.quantile(low, at), np.quantile(high, at))
    tail = 0.5 + level / 2.0
    ends = float(np.quantile(low, 1.0 - tail)), float(np.quantile(high, tail))
    return MeldedDifference(first.estimate - second.estimate, *ends, curve)
