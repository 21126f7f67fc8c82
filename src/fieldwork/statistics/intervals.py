"""Intervals from replicate layers: percentile, basic, studentised (bootstrap-t) and bias-corrected accelerated (BCa).

Own code, because scipy.stats.bootstrap, which has percentile, basic and BCa right, resamples rows itself: it takes neither
clusters, nor weights, nor replicates that are ready, and has no studentised interval. Its endpoints are what these are
tested against. Each function reads a statistic as layers (1 + B, ...), the observed value first.

Deviations are multiplied by sqrt(n / (n - 1)) when the number of clusters is given, for the reason stated at
`replicates.small_sample_factor`; the studentised interval needs none, its standard errors carry the factor.

Coverage of 95% intervals in 500 simulated studies (`python -m benchmarks.bootstrap`; docs/bootstrap.md has lengths too):

| organisations, statistic | t of `infer` | percentile | basic | studentised | BCa |
|---|---|---|---|---|---|
| 40, mean | .958 | .948 | .946 | .950 | .946 |
| 40, mean of a role | .944 | .926 | .916 | .936 | .920 |
| 40, ratio of skewed totals | .920 | .910 | .888 | .920 | .878 |
| 90, mean | .942 | .940 | .932 | .934 | .930 |
| 90, mean of a role | .938 | .932 | .920 | .934 | .930 |
| 90, ratio of skewed totals | .910 | .908 | .898 | .920 | .900 |

So the t interval stays the default for means. None of these holds 93% for the skewed ratio below 400 organisations: so few do
not show the long tail that they come from. Take `linearised_ratio` for a ratio of totals (docs/validity_statistics.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from fieldwork.errors import DesignError
from fieldwork.statistics.replicates import Draws, Multipliers, small_sample_factor

__all__ = [
    "Interval",
    "LinearisedRatio",
    "RatioLayers",
    "acceleration",
    "basic",
    "bca",
    "leave_one_out",
    "linearised_ratio",
    "percentile",
    "ratio",
    "studentised",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval of a statistic (or of an array of them), in its own unit.

    Attributes
    ----------
    estimate : (...,)               The observed layer.
    conf_low, conf_high : (...,)    Ends; nan where fewer than two clusters carry the statistic.
    level : float                   Nominal coverage.
    method : str                    percentile, basic, studentised or bca.
    """

    estimate: Floats
    conf_low: Floats
    conf_high: Floats
    level: float
    method: str


def _tails(level: float) -> tuple[float, float]:
    if not 0.0 < level < 1.0:
        raise DesignError(
            "a confidence level outside 0 to 1",
            where="statistics.intervals",
            expected="above 0 and below 1, as 0.95",
            got=str(level),
            hint="pass a share, not a percentage",
        )
    return 0.5 - level / 2.0, 0.5 + level / 2.0


def _layers(layers: npt.ArrayLike) -> Floats:
    array = np.asarray(layers, dtype=np.float64)
    if array.ndim < 1 or len(array) < 2:
        raise DesignError(
            "an interval needs replicates",
            where="statistics.intervals",
            expected="layers (1 + B, ...): the observed value, then B replicates",
            got=f"shape {array.shape}",
            hint="compute the statistic in every layer, not in the observed one alone",
        )
    return array


def _errors(layers: npt.ArrayLike, clusters: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    array = _layers(layers)
    deviation = array[1:] - array[0]
    return array[0], deviation if clusters is None else deviation * small_sample_factor(clusters)


def percentile(layers: npt.ArrayLike, clusters: npt.ArrayLike | None = None, *, level: float = 0.95) -> Interval:
    """Interval between percentiles of the replicates: theta_0 + q(theta_b - theta_0).

    Respects the range of the statistic and any monotone scale, but errs to the same side as the skewness of the estimate
    twice over, and is too short with few clusters: see the table of this module.

    Parameters
    ----------
    layers : (1 + B, ...). clusters : (...,) clusters behind each statistic; None for no small-sample factor.

    Reference: Efron and Tibshirani (1993), An Introduction to the Bootstrap, ch. 13.

    >>> i = percentile(np.r_[2.0, np.arange(101) / 25])
    >>> round(float(i.conf_low), 6), round(float(i.conf_high), 6)
    (0.1, 3.9)
    """
    theta, error = _errors(layers, clusters)
    low, high = np.quantile(error, _tails(level), axis=0)
    return Interval(theta, theta + low, theta + high, level, "percentile")


def basic(layers: npt.ArrayLike, clusters: npt.ArrayLike | None = None, *, level: float = 0.95) -> Interval:
    """Interval by reflection of the replicates: theta_0 - q(theta_b - theta_0), the upper percentile giving the lower end.

    May leave the range of the statistic. Parameters as in `percentile`. Reference: Davison and Hinkley (1997), Bootstrap
    Methods and their Application, section 5.2.

    >>> i = basic(np.r_[1.0, np.arange(101) / 25])
    >>> round(float(i.conf_low), 6), round(float(i.conf_high), 6)
    (-1.9, 1.9)
    """
    theta, error = _errors(layers, clusters)
    low, high = np.quantile(error, _tails(level), axis=0)
    return Interval(theta, theta - high, theta - low, level, "basic")


def studentised(layers: npt.ArrayLike, std_error: npt.ArrayLike, *, level: float = 0.95) -> Interval:
    """Bootstrap-t interval: theta_0 - q(t_b) se_0 with t_b = (theta_b - theta_0) / se_b.

    The standard error of each layer is the caller's, by the same formula in every layer: a linearised one as in `ratio`, so
    that no replicate is replicated again. A layer with standard error 0 counts as an infinite t of its sign, or as 0 where
    it equals the observed value too.

    Parameters
    ----------
    layers : (1 + B, ...). std_error : (1 + B, ...) of each layer, with its small-sample factor.

    Reference: Hall (1988), Annals of Statistics 16, 927-953 (second-order correct).

    >>> i = studentised([1.0, 0.0, 2.0, 1.0], [0.5, 1.0, 1.0, 1.0], level=0.5)
    >>> float(i.conf_low), float(i.conf_high)
    (0.75, 1.25)
    """
    array, error = _layers(layers), np.asarray(std_error, dtype=np.float64)
    if error.shape != array.shape or (error < 0).any():
        raise DesignError(
            "a studentised interval needs the standard error of every layer",
            where="statistics.intervals.studentised",
            expected=f"shape {array.shape}, none below 0",
            got=f"shape {error.shape}, smallest {np.nanmin(error, initial=np.inf):g}",
            hint="apply the formula of the observed standard error in each replicate",
        )
    deviation = array[1:] - array[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where((error[1:] == 0) & (deviation == 0), 0.0, deviation / error[1:])
    low, high = np.quantile(t, _tails(level), axis=0)
    return Interval(array[0], array[0] - high * error[0], array[0] - low * error[0], level, "studentised")


def bca(
    layers: npt.ArrayLike, acceleration: npt.ArrayLike, clusters: npt.ArrayLike | None = None, *, level: float = 0.95
) -> Interval:
    """Bias-corrected accelerated interval: percentiles at Phi(z0 + (z0 + z) / (1 - a (z0 + z))).

    z0 is the normal quantile of the share of replicates below the observed value (ties count half), a the acceleration.

    Parameters
    ----------
    layers : (1 + B, ...). acceleration : (...,) from `acceleration`. clusters : as in `percentile`.

    The ends are nan where no replicate lies on one side of the observed value. Reference: Efron (1987), JASA 82, 171-185.

    >>> i = bca(np.r_[2.0, np.arange(101) / 25], 0.0)
    >>> round(float(i.conf_low), 6), round(float(i.conf_high), 6)    # no bias, no acceleration: the percentile interval
    (0.1, 3.9)
    """
    theta, error = _errors(layers, clusters)
    a = np.broadcast_to(np.asarray(acceleration, dtype=np.float64), theta.shape)
    z0 = special.ndtri(((error < 0).mean(axis=0) + (error <= 0).mean(axis=0)) / 2.0)
    ends = []
    for tail in _tails(level):
        z = z0 + special.ndtri(tail)
        with np.errstate(divide="ignore", invalid="ignore"):
            ends.append(theta + _quantile_each(error, special.ndtr(z0 + z / (1.0 - a * z))))
    return Interval(theta, ends[0], ends[1], level, "bca")


def _quantile_each(values: Floats, share: Floats) -> Floats:
    """Linear-interpolation quantile of each column at its own share; nan where the share is missing."""
    ordered = np.sort(values, axis=0)
    known = np.isfinite(share)
    at = np.where(known, share, 0.0) * (len(values) - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, len(values) - 1)
    low = np.take_along_axis(ordered, below[None], axis=0)[0]
    high = np.take_along_axis(ordered, above[None], axis=0)[0]
    return np.where(known, low + (high - low) * (at - below), np.nan)


def leave_one_out(totals: npt.ArrayLike) -> Floats:
    """Totals without each cluster in turn (C, ...), from cluster totals (C, ...): what the jackknife evaluates.

    The statistic that maps replicated totals to layers maps these to its jackknife values; no row is read again.

    >>> leave_one_out([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    array = np.asarray(totals, dtype=np.float64)
    return np.asarray(array.sum(axis=0) - array, dtype=np.float64)


def acceleration(jackknife: npt.ArrayLike) -> Floats:
    """Acceleration of BCa from jackknife values over clusters: sum d^3 / (6 (sum d^2)^1.5), d their mean less each.

    0 where nothing varies. Parameters: jackknife (C, ...), the statistic without each cluster; clusters that do not carry
    the statistic leave it as it is and count for little. Reference: Efron (1987), formula 6.6.

    >>> acceleration([1.0, 2.0, 6.0]).round(4).tolist()
    -0.0573
    """
    array = np.asarray(jackknife, dtype=np.float64)
    d = array.mean(axis=0) - array
    square, cube = (d**2).sum(axis=0), (d**3).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(square > 0, cube / (6.0 * square**1.5), 0.0), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class RatioLayers:
    """Ratios of cluster totals in every layer, with their linearised standard errors.

    Attributes
    ----------
    theta : (1 + B, k)          sum N / sum D, layer 0 observed.
    std_error : (1 + B, k)      Linearised, with the small-sample factor.
    acceleration : (k,)         For `bca`, from the jackknife over clusters.
    clusters : (k,) int         Clusters with a denominator other than 0.
    """

    theta: Floats
    std_error: Floats
    acceleration: Floats
    clusters: npt.NDArray[np.int64]


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike, multiplier: Multipliers) -> RatioLayers:
    """Ratios of totals (weighted means: N the totals of w y, D of w) with what each kind of interval needs.

    theta_b = sum m N / sum m D; se_b^2 = n / (n - 1) sum m (N - theta_b D)^2 / (sum m D)^2, with m the multipliers of layer b
    (1 in the observed layer) and n the clusters with D other than 0. A cluster with multiplier m stands for m clusters, so
    m, not m^2, weighs the squares; the squares expand into replicated totals of N^2, N D and D^2.

    Parameters
    ----------
    numerator, denominator : (C, k) cluster totals. multiplier : (B, C) from `replicates.multipliers`.

    For a ratio of long-tailed totals, as spending per head, none of the intervals made from these layers reaches .93 at 90
    organisations (docs/validity_statistics.md): so few do not show the tail that they come from. Take `linearised_ratio`.

    >>> r = ratio([[1.0], [4.0]], [[1.0], [2.0]], np.array([[2.0, 1.0]]))
    >>> r.theta.round(4).tolist(), r.std_error.round(4).tolist()
    ([[1.6667], [1.5]], [[0.4444], [0.433]])
    """
    N, D = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    held = None if isinstance(multiplier, Draws) else np.concatenate([np.ones((1, multiplier.shape[1])), multiplier])

    def layered(totals: Floats) -> Floats:
        return np.asarray(np.vstack([totals.sum(axis=0), multiplier @ totals]) if held is None else held @ totals)

    base = layered(D)
    theta = layered(N) / base
    # Centred at the observed ratio, so that the three sums do not cancel.
    R = N - theta[0] * D
    shift = theta - theta[0]
    squares = layered(R**2) - 2.0 * shift * layered(R * D) + shift**2 * layered(D**2)
    clusters = np.count_nonzero(D, axis=0)
    std_error = small_sample_factor(clusters) * np.sqrt(np.maximum(squares, 0.0)) / np.abs(base)
    with np.errstate(divide="ignore", invalid="ignore"):
        jackknife = leave_one_out(N) / leave_one_out(D)
    return RatioLayers(theta, std_error, acceleration(jackknife), clusters)


@dataclass(frozen=True, slots=True)
class LinearisedRatio:
    """A ratio of totals (or an array of them) with an interval that allows for long tails.

    Attributes
    ----------
    estimate, std_error : (...,)    sum N / sum D, and its jackknife standard error, both in the unit of the ratio.
    df : (...,)                     Degrees of freedom that the standard error is worth, 1 to clusters - strata.
    conf_low, conf_high : (...,)    Interval; nan where nothing varies or, with logarithms, where the ratio is not above 0.
    clusters : (...,) int           Clusters that carry it: not nil in both.
    level : float                   Nominal coverage.
    """

    estimate: Floats
    std_error: Floats
    df: Floats
    conf_low: Floats
    conf_high: Floats
    clusters: npt.NDArray[np.int64]
    level: float


def linearised_ratio(
    numerator: npt.ArrayLike,
    denominator: npt.ArrayLike,
    *,
    stratum: npt.ArrayLike | None = None,
    log: bool = True,
    level: float = 0.95,
) -> LinearisedRatio:
    """Interval of a ratio of totals for amounts with a long tail: spending per head, hours per user, growth of a sum.

    Three things make the t interval of such a ratio too short, and each has its remedy here. Large organisations pull the
    ratio towards themselves, so the linearised residual of each understates what it does: deviations are those of the ratio
    without it, d_c = R - R_(c) = (N_c - R D_c) / (sum D - D_c), and V = (n - 1) / n sum d_c^2 (the jackknife about the
    estimate). A few organisations carry V, which is then known much worse than from n - 1 degrees of freedom:
    df = 2 / cv^2(V), cv^2(V) = sum a^2 / V^2 - 1 / n with a_c the terms of V (Satterthwaite, with the fourth moment that the
    data show; n - 1 for normal ones). And the ratio is skewed itself: the interval is R exp(-+ t(df) se / R).

    Where the organisations' own ratios are lognormal with a standard deviation of .7 of the log, 95% intervals cover .93 to
    .95 at 40 and 90 organisations, the t interval .91 to .93 (docs/validity_statistics.md). Of a mean of a scale it is
    `infer` again, a hair wider.

    Parameters
    ----------
    numerator, denominator : (C, ...) weighted totals per cluster, denominators not negative; nil in both where a cluster does
        not carry the ratio.
    stratum : (C,) of every cluster of the sample; then R_(c) gives the stratum's others n_h / (n_h - 1) of their weight.
    log : False for a ratio that may be negative.

    Raises DesignError. Equals R `survey::svyratio` on `as.svrepdesign(type = "JK1" or "JKn", mse = TRUE)` in estimate and
    standard error. References: Durbin (1959), Biometrika 46, 477-480 (jackknife of a ratio); Royall and Cumberland (1981),
    JASA 76, 66-77; Satterthwaite (1946), Biometrics Bull. 2, 110-114; Potthoff, Woodbury and Manton (1992), JASA 87, 383-396
    (degrees of freedom that a survey variance is worth).

    >>> found = linearised_ratio([2.0, 3.0, 7.0, 4.0], [1.0, 2.0, 2.0, 3.0])
    >>> float(found.estimate), round(float(found.std_error), 4), round(float(found.df), 2)
    (2.0, 0.573, 3.0)
    """
    N, D = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if N.shape != D.shape or N.ndim < 1 or not np.isfinite(N).all() or not np.isfinite(D).all() or (D < 0).any():
        raise DesignError(
            "a ratio needs totals of organisations",
            where="statistics.intervals.linearised_ratio",
            expected="two arrays (clusters, ...) of one shape, nothing missing, no denominator below 0",
            got=f"shape {N.shape} and {D.shape}, smallest denominator {np.min(D, initial=np.inf):g}",
            hint="sum weight x amount by organisation first; organisations without it have 0 in both",
        )
    tail = _tails(level)[1]
    clusters = np.count_nonzero((D != 0) | (N != 0), axis=0)
    if stratum is None:
        index, strata = np.zeros(len(D), dtype=np.int64), 1
        size = np.broadcast_to(clusters, D.shape)
    else:
        names, index = np.unique(np.asarray(stratum), return_inverse=True)
        strata = len(names)
        size = np.broadcast_to(np.bincount(index)[index].reshape(-1, *[1] * (D.ndim - 1)), D.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        R = N.sum(axis=0) / D.sum(axis=0)
        left_out = [_without_each(values, index, strata, size) for values in (N, D)]
        terms = (size - 1.0) / size * (R - left_out[0] / left_out[1]) ** 2
        variance = terms.sum(axis=0)
        own = np.stack([terms[index == h].sum(axis=0) ** 2 / size[index == h].max(axis=0) for h in range(strata)])
        df = 2.0 / ((terms**2).sum(axis=0) - own.sum(axis=0)) * variance**2
        df = np.clip(np.where(np.isnan(df), np.inf, df), 1.0, np.maximum(clusters - strata, 1))
        std_error = np.sqrt(variance)
        known = (variance > 0) & np.isfinite(variance) & (clusters > strata) & ((R > 0) | (not log))
        half = np.where(known, stats.t.ppf(tail, df) * std_error, np.nan)
        low, high = (R * np.exp(-half / R), R * np.exp(half / R)) if log else (R - half, R + half)
    return LinearisedRatio(R, std_error, df, low, high, clusters, level)


def _without_each(totals: Floats, index: npt.NDArray[np.int64], strata: int, size: npt.NDArray[np.int64]) -> Floats:
    """Totals (C, ...) without each cluster in turn, its stratum's others weighing n_h / (n_h - 1) in its place."""
    own = np.stack([totals[index == h].sum(axis=0) for h in range(strata)])[index]
    return np.asarray(totals.sum(axis=0) - (size * totals - own) / (size - 1.0), dtype=np.float64)
