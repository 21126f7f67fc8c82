"""How far citation profiles of groups lie apart beyond what chance alone puts between them, and how many items they span.

Own code, because divergences of sampled profiles are biased upward and no library takes the bias out for groups that share
organisations. Subtracting what chance gives when all profiles are alike takes out too much where they differ: an item on
which groups stand far apart gains nothing from noise. How much too much depends on whether profiles differ a lot on few items
or a little on all, which a sum of absolute differences cannot tell; so its interval has to allow for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from fieldwork.errors import DesignError
from fieldwork.statistics.proportion import replicate_places
from fieldwork.statistics.replicates import small_sample_factor

__all__ = ["BeyondChance", "beyond_chance", "dissimilarity_beyond_chance", "hill_number", "mean_dissimilarity"]

Floats = npt.NDArray[np.float64]
Divergence = Callable[[Floats], Floats]

_STEPS = 24  # halvings: the multiple of the pattern is known to 1e-7 of its bracket
_WIDEST = 64.0  # multiples of the pattern tried; a draw beyond is set there
_SPREADS = (
    48  # multiples of the even pattern at which its mean dissimilarity is computed; between them it is interpolated
)
_SEEN = 250  # replicates that this mean is over


def _shares(amounts: npt.ArrayLike) -> Floats:
    values = np.asarray(amounts, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(values / values.sum(axis=-1, keepdims=True), dtype=np.float64)


def hill_number(amounts: npt.ArrayLike) -> Floats:
    """Effective number of items that citations spread over: exp(-sum q ln q) along the last axis, 1..J.

    Hill's number of order 1: J where all items are cited alike, 1 where all citations fall on one. Amounts are counts or
    weights on any scale; missing where nothing is cited. Reference: Hill (1973), Ecology 54, 427-432.

    >>> hill_number([[1, 1, 1, 1], [0, 5, 0, 0]]).round(6).tolist()
    [4.0, 1.0]
    """
    q = _shares(amounts)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(q == 0.0, 0.0, -q * np.log(q))
    return np.asarray(np.exp(terms.sum(axis=-1)), dtype=np.float64)


def mean_dissimilarity(profiles: npt.ArrayLike) -> Floats:
    """Mean over pairs of groups of half the sum of absolute differences of their profiles (..., R, J): 0..1.

    Of two groups it is Duncan and Duncan's (1955) index of dissimilarity (`multiresponse.dissimilarity`). Profiles are
    shares of citations; deviations from a profile may be given as well. Computed from each item's ordered values.

    Raises DesignError with fewer than two groups.

    >>> round(float(mean_dissimilarity([[7 / 16, 3 / 16, 6 / 16], [2 / 13, 8 / 13, 3 / 13]])), 4)
    0.4279
    """
    values = np.asarray(profiles, dtype=np.float64)
    groups = values.shape[-2] if values.ndim > 1 else 0
    if groups < 2:
        raise DesignError(
            "a dissimilarity needs two profiles",
            where="statistics.profiles.mean_dissimilarity",
            expected="an array (..., groups, items) of two groups or more",
            got=f"shape {values.shape}",
            hint="report the construct as not assessable",
        )
    place = 2.0 * np.arange(groups) - groups + 1.0
    ordered = np.sort(values, axis=-2).sum(axis=-1)
    return np.asarray(ordered @ place / (groups * (groups - 1)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class BeyondChance:
    """A divergence of profiles with the part that sampling alone puts there taken out.

    Attributes
    ----------
    observed : float      The divergence of the profiles as sampled: biased upward.
    chance : float        What it is on average when all profiles are alike.
    estimate : float      The divergence beyond chance, in the unit of the divergence, at least 0.
    draws : (B,) float    Its confidence draws: 0 where noise alone reaches the observed divergence.
    """

    observed: float
    chance: float
    estimate: float
    draws: Floats


@dataclass(frozen=True, slots=True)
class _Profiles:
    """Profiles (R, J), their mean, the noise of each replicate (B, R, J), the divergence observed and by chance."""

    q: Floats
    centre: Floats
    noise: Floats
    observed: float
    chance: float


def _profiles(citations: Floats, clusters: npt.ArrayLike, divergence: Divergence, chance: float | None) -> _Profiles:
    q = _shares(citations)
    if q.ndim != 3 or q.shape[1] < 2 or not np.isfinite(q).all():
        raise DesignError(
            "a divergence needs two profiles or more, each with citations",
            where="statistics.profiles.beyond_chance",
            expected="weights (1 + B, groups, items), some of them above 0 in every group",
            got=f"shape {q.shape}, {int((~np.isfinite(q[0])).any(axis=-1).sum())} groups without citations",
            hint="leave out groups that cite nothing",
        )
    centre = q[0].mean(axis=0)
    noise = (q[1:] - q[0]) * small_sample_factor(clusters)[:, None]
    if chance is None:
        chance = float(divergence(centre + noise).mean())
    else:
        noise = noise * _scale(lambda factor: float(divergence(centre + factor * noise).mean()), chance)
    return _Profiles(q[0], centre, noise, float(divergence(q[0])), chance)


def beyond_chance(
    citations: Floats, clusters: npt.ArrayLike, divergence: Divergence, *, chance: float | None = None
) -> BeyondChance:
    """Estimate how far profiles lie apart beyond chance by a smooth divergence, with confidence draws.

    With q the profiles as sampled, m their mean over groups, and e_b the noise of replicate b, the true profiles are taken as
    m + s u: u is the pattern q - m with each item shrunken by its noise-corrected variance between groups over the observed
    one. The draw is the divergence of m + s u at the s >= 0 for which m + s u + e_b diverges as much as was observed, and 0
    where noise alone does; the estimate is the median of the draws. This inverts the distribution of the observed divergence
    as `spread.spread` does for variances: to second order a smooth divergence is a variance, to which the pattern matters
    little, so the interval holds its level where profiles are alike and where they are not.

    Parameters
    ----------
    citations : (1 + B, R, J) weight of citations by group and item, layer 0 observed; every group cites something.
    clusters : (R,) organisations behind each group.
    divergence : function of profiles (..., R, J), shares or nearly so, returning (...,): 0 where they are alike.
    chance : mean divergence when answer sets are dealt out to groups at random (`multiresponse.permutation_test`); the noise
        is scaled so that it gives that value. None leaves the noise as the replicates have it.

    Raises DesignError with fewer than two groups, or a group without citations.

    >>> rng = np.random.default_rng(1)
    >>> counts = rng.poisson(50.0, (400, 3, 4)) + 0.0; counts[0] = 50.0     # alike, and known with noise
    >>> beyond_chance(counts, [40, 40, 40], lambda q: ((q - q.mean(axis=-2, keepdims=True)) ** 2).sum(axis=(-2, -1))).estimate
    0.0
    """
    found = _profiles(citations, clusters, divergence, chance)
    draws = _inverted(found, divergence)
    return BeyondChance(found.observed, found.chance, float(np.median(draws)), draws)


def dissimilarity_beyond_chance(
    citations: Floats, clusters: npt.ArrayLike, *, chance: float | None = None
) -> BeyondChance:
    """Estimate the mean dissimilarity of profiles beyond chance, with an interval that holds whatever their pattern.

    What noise adds to a sum of absolute differences depends on how the differences are spread. It adds most where few items
    carry them all: then observed less chance is what is true. It adds least where every item differs a little: then more is
    true, by an amount that the mean dissimilarity of an even pattern at the same noise gives. Between the two the true value
    lies, in expectation and for every pattern (absolute value is convex, of slope at most 1). The lower end of the interval is
    that of the first, the upper end that of the second, each with the replicates' scatter of the observed dissimilarity; the
    draws are a confidence curve with the lower ends below one half and the upper ones above. The estimate takes the pattern as
    `beyond_chance` does, kept between the two.

    Parameters as in `beyond_chance`.

    >>> rng = np.random.default_rng(1)
    >>> counts = rng.poisson(50.0, (400, 3, 4)) + 0.0; counts[0] = 50.0     # alike, and known with noise
    >>> found = dissimilarity_beyond_chance(counts, [40, 40, 40])
    >>> found.estimate, round(found.chance, 2), bool(np.quantile(found.draws, 0.975) < found.chance)
    (0.0, 0.07, True)
    """
    found = _profiles(citations, clusters, mean_dissimilarity, chance)
    scatter = mean_dissimilarity(found.q + found.noise)
    seen = found.observed + scatter - scatter.mean()
    least = np.maximum(seen - found.chance, 0.0)
    most = _evenly(found, seen)
    places = replicate_places(seen)
    draws = np.where(places < 0.5, least, np.maximum(least, most))
    estimate = float(np.median(_inverted(found, mean_dissimilarity)))
    low, high = float(np.median(least)), float(np.median(np.maximum(least, most)))
    return BeyondChance(found.observed, found.chance, min(max(estimate, low), high), draws)


def _evenly(found: _Profiles, seen: Floats) -> Floats:
    """Dissimilarity of the even pattern which at this noise shows, on average, each of some values; 0 below chance.

    Evenly spaced roles on every item, in an order of their own, each item in units of its noise. Orders go to roles and items
    by how noisy they are, so that neither their names nor their sequence matters.
    """
    groups, items = found.q.shape
    spaced = np.linspace(-1.0, 1.0, groups)
    # Orders that differ from item to item, and are the same for the same shape.
    order = np.argsort(np.random.Generator(np.random.PCG64(groups)).random((groups, items)), axis=0)
    noisy = np.ix_(np.argsort(found.noise.std(axis=0).sum(axis=1)), np.argsort(found.noise.std(axis=(0, 1))))
    pattern = np.empty((groups, items))
    pattern[noisy] = spaced[order]
    pattern *= found.noise.std(axis=(0, 1))
    unit = float(mean_dissimilarity(pattern))
    if unit <= 0:
        return np.zeros_like(seen)
    widest = 2.0 * (float(seen.max()) + found.chance) / unit
    multiples = widest * np.linspace(0.0, 1.0, _SPREADS) ** 2
    noise = found.noise[:_SEEN]
    noise = noise * (found.chance / max(float(mean_dissimilarity(noise).mean()), 1e-300))
    shown = np.array([float(mean_dissimilarity(multiple * pattern + noise).mean()) for multiple in multiples])
    return np.interp(seen, np.maximum.accumulate(shown), multiples * unit, left=0.0)


def _inverted(found: _Profiles, divergence: Divergence) -> Floats:
    pattern = _shrunken(found.q - found.centre, found.noise)
    multiple = _invert(divergence, found.centre, pattern, found.noise, found.observed)
    return np.where(multiple > 0, divergence(found.centre + multiple[:, None, None] * pattern), 0.0)


def _shrunken(pattern: Floats, noise: Floats) -> Floats:
    """Shrink each item's pattern (R, J) by its noise-corrected share of variance; as it is where nothing would be left."""
    groups = len(pattern)
    centred = noise - noise.mean(axis=1, keepdims=True)
    by_chance = np.mean(centred**2, axis=0).sum(axis=0) / (groups - 1)
    observed = (pattern**2).sum(axis=0) / (groups - 1)
    kept = np.maximum(observed - by_chance, 0.0) / np.where(observed > 0, observed, 1.0)
    return pattern * kept if (kept > 0).any() else pattern


def _scale(mean_at: Callable[[float], float], wanted: float) -> float:
    """Return the factor on the noise at which it gives the wanted mean divergence."""
    high = 1.0
    while mean_at(high) < wanted and high < _WIDEST:
        high *= 2.0
    if mean_at(high) <= wanted:
        return high
    return float(optimize.brentq(lambda factor: mean_at(factor) - wanted, 0.0, high, xtol=1e-6))


def _invert(divergence: Divergence, centre: Floats, pattern: Floats, noise: Floats, observed: float) -> Floats:
    """Solve divergence(centre + s pattern + noise_b) = observed for s >= 0; 0 where noise alone reaches it."""
    base = centre + noise
    nil = divergence(base) >= observed
    low, high = np.zeros(len(noise)), np.ones(len(noise))
    while True:
        short = ~nil & (divergence(base + high[:, None, None] * pattern) < observed) & (high < _WIDEST)
        if not short.any():
            break
        low, high = np.where(short, high, low), np.where(short, 2.0 * high, high)
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        below = divergence(base + middle[:, None, None] * pattern) < observed
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(nil, 0.0, (low + high) / 2.0)
