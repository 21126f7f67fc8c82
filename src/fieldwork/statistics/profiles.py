"""How far citation profiles of groups lie apart beyond what chance alone puts between them, and how many items they span.

Own code, because divergences of sampled profiles are biased upward and no library takes the bias out for groups that share
organisations. Subtracting what chance gives when all profiles are alike takes out too much where they differ: an item on
which groups stand far apart gains nothing from noise. `beyond_chance` takes out what noise adds at the profiles themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from fieldwork.errors import DesignError
from fieldwork.statistics.replicates import small_sample_factor

__all__ = ["BeyondChance", "beyond_chance", "hill_number", "mean_dissimilarity"]

Floats = npt.NDArray[np.float64]
Divergence = Callable[[Floats], Floats]

_STEPS = 24  # halvings: the multiple of the pattern is known to 1e-7 of its bracket
_WIDEST = 64.0  # multiples of the pattern tried; a draw beyond is set there


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
    draws : (B,) float    Its confidence draws, 0 where noise alone reaches the observed divergence.
    """

    observed: float
    chance: float
    estimate: float
    draws: Floats


def beyond_chance(
    citations: Floats, clusters: npt.ArrayLike, divergence: Divergence, *, chance: float | None = None
) -> BeyondChance:
    """Estimate how far profiles lie apart beyond what chance puts between them, with confidence draws.

    With q the profiles as sampled, m their mean over groups, and e_b the noise of replicate b, the true profiles are taken as
    m + s u: u is the pattern q - m with each item shrunken by its noise-corrected variance between groups over the observed
    one. The draw is the divergence of m + s u at the s >= 0 for which m + s u + e_b diverges as much as was observed, and 0
    where noise alone does; the estimate is the median of the draws. This inverts the distribution of the observed divergence
    as `spread.spread` does for variances, so that the interval holds its level where profiles are alike, and the estimate
    tends to the true divergence where they are not: ten roles of 1,900 respondents whose dissimilarity is 0.114 show 0.118,
    chance alone 0.022, and 0.113 here, where plain subtraction gives 0.097.

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
    >>> beyond_chance(counts, [40, 40, 40], mean_dissimilarity).estimate
    0.0
    """
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
    observed = float(divergence(q[0]))
    if chance is None:
        chance = float(divergence(centre + noise).mean())
    else:
        noise = noise * _scale(lambda factor: float(divergence(centre + factor * noise).mean()), chance)
    pattern = _shrunken(q[0] - centre, noise)
    multiple = _invert(divergence, centre, pattern, noise, observed)
    draws = divergence(centre + multiple[:, None, None] * pattern)
    draws = np.where(multiple > 0, draws, 0.0)
    return BeyondChance(observed, chance, float(np.median(draws)), draws)


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
