"""Finite-population, noise-corrected spread of group means; shrunken means and ranges; ratios of spreads.

Own code, because no library corrects the spread of a handful of fixed groups for sampling noise that is correlated between
groups (executives of one organisation) and gives an interval that is honest near zero. The observed range of ten means is
biased upward (0.76 points at 20 respondents a group when nothing differs), so nothing here is judged from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fieldwork.errors import DesignError

__all__ = ["OneWay", "Spread", "log_ratio", "noise_corrected_variance", "one_way", "spread"]

Floats = npt.NDArray[np.float64]


def _centring(groups: int) -> Floats:
    return np.eye(groups) - 1.0 / groups


def noise_corrected_variance(means: Floats, covariance: Floats) -> float:
    """Finite-population variance of group means less what sampling alone would put between them.

    s^2 = Var_r(theta_r) - tr(C V) / (R - 1), with C the centring matrix and V the sampling covariance of the R means. For
    independent groups of equal size tr(C V) / (R - 1) is MSW / n and s^2 is (MSB - MSW) / n. May be negative; the spread is
    sqrt(max(s^2, 0)).

    Parameters
    ----------
    means : (R,) group means, scale points. covariance : (R, R) their sampling covariance, points squared.

    Source: Gelman (2005), Annals of Statistics 33, 1-53, for the finite-population spread; measures.md 2.1 for the numbers.

    >>> round(noise_corrected_variance(np.array([4.5, 3.0, 2.0]), np.eye(3) * 5 / 36), 4)   # 13/9
    1.4444
    """
    centring = _centring(len(means))
    return float(np.var(means, ddof=1) - np.trace(centring @ covariance) / (len(means) - 1))


@dataclass(frozen=True, slots=True)
class OneWay:
    """One-way analysis of variance of independent respondents.

    Attributes
    ----------
    mean_square_between, mean_square_within : float    MSB, MSW, points squared.
    icc1, icc2 : float                                 Shrout and Fleiss's ICC(1) and ICC(2) of the groups.
    """

    mean_square_between: float
    mean_square_within: float
    icc1: float
    icc2: float


def one_way(groups: Sequence[npt.ArrayLike]) -> OneWay:
    """ICC(1) = (MSB - MSW) / (MSB + (n0 - 1) MSW) and ICC(2) = 1 - MSW / MSB of answers by group.

    n0 is the groups' common size, or (N - sum n^2 / N) / (R - 1) where sizes differ. Answers are unweighted and complete.
    Sources: Shrout and Fleiss (1979), Psychol. Bull. 86, 420-428; Bliese (2000).

    >>> cases = [[5, 4, 5, 4], [3, 3, 4, 2], [2, 1, 2, 3]]
    >>> result = one_way(cases)
    >>> round(result.icc1, 4), round(result.icc2, 4)
    (0.7222, 0.9123)
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    sizes = np.array([len(array) for array in arrays], dtype=np.float64)
    if len(arrays) < 2 or (sizes < 1).any() or sizes.sum() <= len(arrays):
        raise DesignError(
            "an analysis of variance needs two groups and more answers than groups",
            where="statistics.spread.one_way",
            expected="at least two groups, one of them with two answers",
            got=f"group sizes {[int(size) for size in sizes]}",
            hint="leave out groups without answers, or report the construct as not assessable",
        )
    total = sizes.sum()
    grand = float(np.concatenate(arrays).mean())
    between = float(sum(n * (a.mean() - grand) ** 2 for n, a in zip(sizes, arrays, strict=True)) / (len(arrays) - 1))
    within = float(sum(((a - a.mean()) ** 2).sum() for a in arrays) / (total - len(arrays)))
    n0 = float((total - (sizes**2).sum() / total) / (len(arrays) - 1))
    icc2 = 1.0 - within / between if between > 0 else float("-inf")
    return OneWay(between, within, (between - within) / (between + (n0 - 1.0) * within), icc2)


@dataclass(frozen=True, slots=True)
class Spread:
    """Spread of R group means with confidence draws that are coherent across constructs.

    Attributes
    ----------
    sd_raw : float              Sample SD of the observed means, scale points: biased upward.
    sd_corrected : float        sqrt(max(s^2, 0)), scale points.
    reliability : float         ICC(2) of the means: s^2 / (s^2 + noise), 0..1.
    noise : float               tr(C V) / (R - 1), points squared.
    shrunken : (R,) float       Means shrunken towards their centre by the corrected spread (best linear predictor).
    range_raw : float           Largest less smallest observed mean: biased upward.
    range_shrunken : float      Largest less smallest shrunken mean.
    sd_draws : (B,) float       Confidence draws of the spread, zero where noise alone explains the observed one.
    range_draws : (B,) float    Confidence draws of the range of the true means.
    mean_draws : (B, R) float   Draws of the true means behind `range_draws`, about their centre: for other functions of the
                                distances between means.
    """

    sd_raw: float
    sd_corrected: float
    reliability: float
    noise: float
    shrunken: Floats
    range_raw: float
    range_shrunken: float
    sd_draws: Floats
    range_draws: Floats
    mean_draws: Floats


def spread(means: Floats, errors: Floats, *, covariance: Floats | None = None, shapes: Floats | None = None) -> Spread:
    """Noise-corrected spread of group means, its confidence draws, and the shrunken range.

    Draws of the spread invert the distribution of the observed variance. With u the observed pattern of the means (centred,
    unit variance) and e_b the noise of replicate b, the variance that would be observed at true spread s is
    s^2 + 2 s <u, e_b> / (R - 1) + |e_b|^2 / (R - 1). The draw is the s >= 0 at which it equals the observed variance, and 0
    where noise alone reaches it. With noise alike in every group this inverts the non-central chi-square and is exact; an
    interval by its percentiles holds its level at s = 0, where a percentile bootstrap of s does not.

    Draws of the range are posterior draws of the means at each draw of the spread by Matheron's rule: theta_b = K_b
    (theta - e_b) + (1 - K_b) s_b z_b with K_b = s_b^2 (s_b^2 + C V C)^-1, so the same replicates carry range, spread and
    whatever compares them.

    A spread of nil can be missed from one side only, so there 95% intervals cover .975 to .98. Do not judge a difference of
    two ranges by `range_draws`: where one spread is nil its range can only be overstated and shrinkage pulls the other in, and
    the interval covers .87 to .89 however many organisations (docs/validity_statistics.md). Take `log_ratio` of the spreads.

    Parameters
    ----------
    means : (R,) observed means, scale points; R at least 2.
    errors : (B, R) sampling noise of the means, from replicates, with small-sample factors applied.
    covariance : (R, R) sampling covariance where it is known better than from `errors`.
    shapes : (B, R) independent standard normal draws for the part of the range that the data do not determine; None takes
        noise-free shrunken means for that part.

    Raises DesignError with fewer than two groups. References: Weerahandi (1993), JASA 88, 899-905 (generalised pivots);
    Andrews, Kitagawa and McCloskey (2024), QJE 139, 305-358 (why not the interval of the two extreme groups).

    >>> rng = np.random.default_rng(1)
    >>> noise = rng.normal(scale=0.1, size=(4000, 3))
    >>> s = spread(np.array([4.0, 3.0, 2.0]), noise)
    >>> round(s.sd_corrected, 1), bool(np.quantile(s.sd_draws, 0.025) < 1 < np.quantile(s.sd_draws, 0.975))
    (1.0, True)
    """
    groups = len(means)
    if groups < 2:
        raise DesignError(
            "a spread needs at least two groups",
            where="statistics.spread.spread",
            expected="two or more group means",
            got=str(groups),
            hint="report the construct as not assessable",
        )
    centring = _centring(groups)
    V = np.cov(errors, rowvar=False, bias=True) if covariance is None else covariance
    CVC = centring @ V @ centring
    noise = float(np.trace(CVC) / (groups - 1))
    centred = means - means.mean()
    observed = float(np.var(means, ddof=1))
    corrected = max(observed - noise, 0.0)
    shrunken = means.mean() + _shrink(CVC, np.array([corrected]), centred[None, :])[0]
    noise_draws = errors - errors.mean(axis=1, keepdims=True)
    sd_draws = _invert(centred, noise_draws, observed)
    free = np.zeros_like(noise_draws) if shapes is None else shapes - shapes.mean(axis=1, keepdims=True)
    prior = sd_draws[:, None] * free
    posterior = prior + _shrink(CVC, sd_draws**2, centred - noise_draws - prior)
    return Spread(
        sd_raw=float(np.sqrt(observed)),
        sd_corrected=float(np.sqrt(corrected)),
        reliability=corrected / (corrected + noise) if corrected + noise > 0 else 0.0,
        noise=noise,
        shrunken=shrunken,
        range_raw=float(np.ptp(means)),
        range_shrunken=float(np.ptp(shrunken)),
        sd_draws=sd_draws,
        range_draws=np.ptp(posterior, axis=1),
        mean_draws=posterior,
    )


def _shrink(CVC: Floats, variance: Floats, deviations: Floats) -> Floats:
    """Apply K = s^2 (s^2 + C V C)^-1, row by row, in the eigenbasis of the noise."""
    values, vectors = np.linalg.eigh(CVC)
    values = np.clip(values, 0.0, None)
    total = variance[:, None] + values[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(total > 0, variance[:, None] / total, 0.0)
    return np.asarray(((deviations @ vectors) * factor) @ vectors.T, dtype=np.float64)


def _invert(centred: Floats, noise: Floats, observed: float) -> Floats:
    """Solve s^2 + 2 s a_b + c_b = observed for the largest s >= 0; zero where no spread gives the observed variance."""
    df = len(centred) - 1
    if observed <= 0:
        return np.zeros(len(noise))
    a = noise @ (centred / np.sqrt(observed)) / df
    c = np.einsum("br,br->b", noise, noise) / df
    inside = a**2 + observed - c
    return np.where(inside >= 0, np.maximum(np.sqrt(np.maximum(inside, 0.0)) - a, 0.0), 0.0)


def log_ratio(first: Floats, second: Floats) -> Floats:
    """Log ratio of two sets of spread draws: +inf where only the second is nil, -inf where only the first, nan where both.

    >>> log_ratio(np.array([2.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])).round(3).tolist()
    [0.693, inf, -inf, nan]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(first) - np.log(second), dtype=np.float64)
