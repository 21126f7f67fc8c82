"""Strategic consensus mapping from a clustered sample: a test of roles, correlations of mean rankings, the map, layer by layer.

Own code: `agreement.strategic_consensus` is the descriptive form (Tarakci et al. 2014), which takes weights as fixed, and
`agreement.consensus_test` tests groups one by one and in pairs. Vectors are unit vectors of rankings, `unit_vectors`; groups'
mean vectors are their prototypes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from fieldwork.statistics.exchange import MANY, exchanged_sums, movable
from fieldwork.statistics.replicates import Floats, small_sample_factor

__all__ = [
    "ConsensusMap",
    "PrototypeCorrelation",
    "consensus_map",
    "no_difference_p",
    "prototype_correlation",
    "unit_vectors",
]

_BLOCK = 4_000_000  # numbers held at a time
_GRID = np.linspace(-1.0, 1.0, 801)


def unit_vectors(ranks: npt.ArrayLike) -> Floats:
    """Turn rankings (n, p), 1 the most important, into centred vectors of length 1 that point to what is important.

    Ties share their mean rank. A row that ranks everything alike, or lacks a rank, is nan.

    >>> unit_vectors([[1, 2, 3], [2, 2, 2]]).round(4).tolist()
    [[0.7071, 0.0, -0.7071], [nan, nan, nan]]
    """
    x = np.asarray(ranks, dtype=np.float64)
    known = ~np.isnan(x).any(axis=1)
    centred = np.full(x.shape, np.nan)
    centred[known] = (x.shape[1] + 1) / 2.0 - stats.rankdata(x[known], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
        # Adding zero turns the -0.0 of a middle rank into 0.0.
        return np.asarray(np.where(length > 0, centred / length, np.nan) + 0.0)


# ---------------------------------------------------------------------------------------------------------- permutation


def _blocks(draws: int, width: int) -> list[int]:
    step = max(1, min(draws, _BLOCK // max(width, 1)))
    return [min(step, draws - low) for low in range(0, draws, step)]


def no_difference_p(
    vectors: npt.ArrayLike,
    group: npt.ArrayLike,
    weight: npt.ArrayLike,
    stratum: npt.ArrayLike,
    draws: int,
    rng: np.random.Generator,
) -> float:
    """Test that groups (roles) have the same vectors, by dealing the vectors out anew within strata (organisations).

    Statistic: sum_g W_g |m_g - m|^2, the weighted squared distances of the groups' mean vectors from the overall one. Weights
    stay with the places, vectors move; exact where the members of a stratum are exchangeable. p = (1 + draws as far) /
    (1 + draws). Beyond 5,000 respondents who can move, the mean vectors are drawn from the normal limit
    (`exchange.exchanged_sums`). Strata of one do not move and only add noise. Vectors in a stratum of all respondents are dealt
    out over all.

    Parameters
    ----------
    vectors : (n, p). group : (n,) 0..G - 1. weight, stratum : (n,).

    Reference: Anderson (2001), Austral Ecology 26, 32-46 (permutation of multivariate answers).

    >>> z = unit_vectors([[1, 2, 3], [3, 2, 1]] * 6)
    >>> no_difference_p(z, [0, 1] * 6, np.ones(12), np.repeat(np.arange(6), 2), 999, np.random.default_rng(1)) < 0.05
    True
    """
    z, w = np.asarray(vectors, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    g, team = np.asarray(group, dtype=np.int64), np.unique(np.asarray(stratum), return_inverse=True)[1].reshape(-1)
    order = np.argsort(team, kind="stable")
    z, w, g, team = z[order], w[order], g[order], team[order]
    share = np.zeros((int(g.max()) + 1, len(g)))
    share[g, np.arange(len(g))] = w
    mass = share.sum(axis=1)
    share = np.vstack([share[mass > 0] / mass[mass > 0, None], w / w.sum()])
    mass = mass[mass > 0]

    def between(dealt: Floats) -> Floats:
        means = share @ dealt
        return np.asarray(np.einsum("g,bg->b", mass, ((means[:, :-1] - means[:, -1:]) ** 2).sum(axis=2)))

    observed = float(between(z[None])[0])
    if movable(g, team) > MANY:
        means = exchanged_sums(share.T, z, team, draws, rng)
        apart = np.einsum("g,bg->b", mass, ((means[:, :-1] - means[:, -1:]) ** 2).sum(axis=2))
        return (1.0 + int(np.count_nonzero(apart >= observed * (1.0 - 1e-12)))) / (1.0 + draws)
    beyond = 0
    for size in _blocks(draws, z.size):
        deal = np.argsort(team + rng.random((size, len(team))), axis=1, kind="stable")
        beyond += int(np.count_nonzero(between(z[deal]) >= observed * (1.0 - 1e-12)))
    return (1.0 + beyond) / (1.0 + draws)


# ---------------------------------------------------------------------------------------------------------- correlation


@dataclass(frozen=True, slots=True)
class PrototypeCorrelation:
    """Interval of the correlation of two groups' true mean vectors.

    Attributes
    ----------
    conf_low, conf_high : float    95% interval inside -1..1; all of it where a group shares no ranking.
    draws : (B,) float             Confidence draws, in the order of the replicates.
    """

    conf_low: float
    conf_high: float
    draws: Floats


def prototype_correlation(product: Floats, first: Floats, second: Floats, clusters: int) -> PrototypeCorrelation:
    """Interval of rho = m_g . m_h / (|m_g| |m_h|) from unbiased estimates of its three products.

    The sample correlation of two mean vectors is drawn towards nil by sampling noise, and towards 1 by what colleagues share.
    Here rho is tested value by value: with g = sqrt(|m_g|^2 |m_h|^2) (cut at nil) T(rho) = m_g . m_h - rho g has expectation
    nil at the true rho, and a variance that is quadratic in rho. The interval holds every rho in -1..1 that |T| / se against
    t(n - 1) does not reject (Fieller's construction), so a group whose executives share nothing gives the whole range.

    Parameters
    ----------
    product, first, second : (1 + B,) means over pairs of different organisations, from `pairs.pair_sums`: of one from each
        group, of two of the first, of two of the second.
    clusters : organisations behind the thinner group.

    Reference: Fieller (1954), J. R. Statist. Soc. B 16, 175-185.

    >>> rng = np.random.default_rng(1)
    >>> a, b, c = (np.r_[m, m + 0.01 * rng.standard_normal(500)] for m in (0.2, 0.25, 0.25))
    >>> found = prototype_correlation(a, b, c, 80)
    >>> 0.6 < found.conf_low < 0.8 < found.conf_high <= 1.0
    True
    """
    length = np.sqrt(np.clip(first, 0.0, None) * np.clip(second, 0.0, None))
    factor = float(small_sample_factor(clusters))
    moved = np.vstack([product[1:] - product[0], length[1:] - length[0]]) * factor
    V = moved @ moved.T / moved.shape[1]
    T = product[0] - _GRID * length[0]
    se = np.sqrt(np.maximum(V[0, 0] - 2.0 * _GRID * V[0, 1] + _GRID**2 * V[1, 1], 1e-30))
    # Probability that the true correlation is at most each value of the grid; monotone by construction.
    curve = np.maximum.accumulate(stats.t.cdf(-T / se, max(clusters - 1, 1)))
    ratio = min(max(product[0] / length[0], -1.0), 1.0) if length[0] > 0 else 0.0
    order = np.argsort(np.argsort(-(moved[0] - ratio * moved[1]), kind="stable"), kind="stable")
    levels = (order + 0.5) / len(order)
    low, high = _at(curve, np.array([0.025, 0.975]))
    return PrototypeCorrelation(float(low), float(high), _at(curve, levels))


def _at(curve: Floats, level: Floats) -> Floats:
    """Value of the grid at which the curve reaches each level, linear between grid points; the ends where it never does."""
    right = np.searchsorted(curve, level, side="left")
    inside = np.clip(right, 1, len(curve) - 1)
    below, above = curve[inside - 1], curve[inside]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(above > below, (level - below) / (above - below), 1.0)
    value = _GRID[inside - 1] + part * (_GRID[inside] - _GRID[inside - 1])
    return np.asarray(np.where(right == 0, -1.0, np.where(right == len(curve), 1.0, value)))


# ------------------------------------------------------------------------------------------------------------------ map


@dataclass(frozen=True, slots=True)
class ConsensusMap:
    """The plane of two axes that keeps most of the respondents' variance, in every layer turned to the observed one.

    Attributes
    ----------
    variance_kept : (2,) float          Share of the variance of the respondents' vectors that each axis keeps.
    items : (1 + B, p, 2) float         Items: directions of the axes in item space.
    prototypes : (1 + B, G, 2) float    Mean vectors of the groups on the plane.
    """

    variance_kept: Floats
    items: Floats
    prototypes: Floats


def consensus_map(moment: Floats, prototypes: Floats) -> ConsensusMap:
    """Map items and prototypes: the two leading axes of the second moments of all vectors, replicates turned by Procrustes.

    Axes of a sample come in any order and sign where they keep nearly the same variance, so those of a replicate are rotated
    and reflected (no scaling) to lie as near as they can to the observed ones before they are compared; what is left of their
    movement is the uncertainty of the map. Signs: the item farthest along an axis is positive, as in
    `agreement.strategic_consensus`, which has the same plane.

    Parameters
    ----------
    moment : (1 + B, p, p) weighted mean of z z' in each layer. prototypes : (1 + B, G, p).

    Reference: Gower (1975), Psychometrika 40, 33-51; Linting et al. (2007), Psychol. Methods 12, 359-379 (bootstrap of maps).

    >>> z = unit_vectors([[1, 2, 3], [1, 3, 2], [2, 1, 3]])
    >>> found = consensus_map(np.repeat((z.T @ z / 3)[None], 2, axis=0), np.repeat(z.mean(axis=0)[None, None], 2, axis=0))
    >>> round(float(found.variance_kept.sum()), 4)      # three items span a plane
    1.0
    """
    values, axes = np.linalg.eigh(moment)
    planes = axes[:, :, ::-1][:, :, :2]
    far = np.argmax(np.round(np.abs(planes[0]), 9), axis=0)
    planes[0] *= np.sign(planes[0][far, [0, 1]])
    left, _, right = np.linalg.svd(np.swapaxes(planes[1:], 1, 2) @ planes[0])
    items = np.concatenate([planes[:1], planes[1:] @ left @ right])
    kept = np.clip(values[0, ::-1][:2], 0.0, None) / values[0].sum()
    return ConsensusMap(np.asarray(kept), items, np.asarray(prototypes @ items))
