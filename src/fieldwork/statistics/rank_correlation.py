"""Rank correlation over organisations, in every replicate layer.

scipy.stats.spearmanr takes no weights, so it cannot be replicated; unweighted the two are the same number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fieldwork.errors import DesignError
from fieldwork.statistics.layers import Layers, as_layers, by_layer
from fieldwork.statistics.replicates import Floats, Ints, infer

__all__ = ["RankCorrelation", "correlation_interval", "spearman"]


def spearman(first: npt.ArrayLike, second: npt.ArrayLike, weight: npt.ArrayLike | Layers) -> Floats:
    """Spearman's rank correlation with weights, in every layer; ties share their mean rank.

    The rank of a unit is the sum of the weights below it and half of those tied with it; the coefficient is the weighted
    product-moment correlation of the ranks, -1..1, nan where either variable does not vary.

    Parameters
    ----------
    first, second : (C,) numbers without missing ones. weight : (L, C) weights of the units in each layer, none below 0.

    Layers of units gathered into variance units, of which more than 1,000 carry the coefficient, are taken to first order: its
    three moments move by their derivatives with regard to each unit's share of the weight, and the coefficient is made of them.

    Returns (L,). Raises DesignError for missing numbers or shapes that do not fit. Reference for the derivatives: Croux and
    Dehon (2010), Statistical Methods and Applications 19, 497-515 (influence functions of rank correlations).

    >>> spearman([1, 2, 3, 4], [1, 3, 2, 4], np.ones((1, 4))).round(4).tolist()
    [0.8]
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    w = as_layers(weight)
    if x.ndim != 1 or x.shape != y.shape or w.shape[1:] != x.shape or not np.isfinite([x, y]).all():
        raise DesignError(
            "a rank correlation needs both numbers of every unit",
            where="statistics.rank_correlation.spearman",
            expected="two arrays (C,) without missing numbers, and weights (layers, C)",
            got=f"shapes {x.shape}, {y.shape}, {w.shape}",
            hint="leave out units that lack either number",
        )
    orders = _Order.of(x), _Order.of(y)
    if isinstance(w, Layers) and w.first_order:
        return _to_first_order(orders, w)
    return by_layer(w, lambda block: _spearman(orders, block), held=8)


@dataclass(frozen=True, slots=True)
class _Order:
    """Units in ascending order of a variable (C,), the place of each one's value among those that occur, where values begin."""

    order: Ints
    tied: Ints
    starts: Ints

    @classmethod
    def of(cls, values: Floats) -> _Order:
        _, tied = np.unique(values, return_inverse=True)
        tied = tied.reshape(-1)
        order = np.argsort(tied, kind="stable")
        return cls(order, tied, np.flatnonzero(np.r_[True, np.diff(tied[order]) > 0]))

    def below(self, amounts: Floats) -> Floats:
        """Sum amounts (l, C) over the units with less, and half of those with the same."""
        sums = np.add.reduceat(amounts[:, self.order], self.starts, axis=1)
        return np.asarray((np.cumsum(sums, axis=1) - 0.5 * sums)[:, self.tied])


def _spearman(orders: tuple[_Order, _Order], w: Floats) -> Floats:
    """Coefficient of one block of layers (l, C)."""
    share = w / w.sum(axis=1, keepdims=True)
    a, b = (order.below(share) for order in orders)
    a -= (share * a).sum(axis=1, keepdims=True)
    b -= (share * b).sum(axis=1, keepdims=True)
    return _coefficient((share * a * b).sum(axis=1), (share * a**2).sum(axis=1), (share * b**2).sum(axis=1))


def _to_first_order(orders: tuple[_Order, _Order], weights: Layers) -> Floats:
    """Coefficient in every layer, from the derivatives of its moments at the observed shares.

    The rank of a unit is a_i = sum_j p_j s_ij, s_ij 1 where j is below i, 1/2 where they are tied, so the mean rank is 1/2 in
    every layer. The moment sum_i p_i a_i b_i moves with p_k by a_k b_k + sum_i p_i s_ik b_i + sum_i p_i a_i t_ik, the last two
    being sums over the units above k.
    """
    share = np.asarray(weights[0]) / np.asarray(weights[0]).sum()
    first, second = orders
    a, b = (order.below(share[None])[0] - 0.5 for order in orders)

    def above(order: _Order, ranks: Floats) -> Floats:
        amounts = (share * ranks)[None]
        return np.asarray(amounts.sum() - order.below(amounts)[0])

    moments = np.array([share @ (a * b), share @ a**2, share @ b**2])
    slopes = np.column_stack(
        [a * b + above(first, b) + above(second, a), a**2 + 2 * above(first, a), b**2 + 2 * above(second, b)]
    )
    moved = weights @ slopes / weights.sum(axis=1)[:, None]
    return _coefficient(*(moments + moved - share @ slopes).T)


def _coefficient(together: Floats, first: Floats, second: Floats) -> Floats:
    varies = np.sqrt(np.maximum(first * second, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(varies > 1e-15, together / varies, np.nan)
    return np.asarray(np.clip(value, -1.0, 1.0))


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """A rank correlation with its uncertainty.

    Attributes
    ----------
    estimate, std_error : float       -1..1; the standard error on the same scale.
    conf_low, conf_high : float       95% interval inside -1..1; nan where the estimate is -1, 1 or missing.
    draws : (B,) float                Confidence draws.
    """

    estimate: float
    std_error: float
    conf_low: float
    conf_high: float
    draws: Floats


def correlation_interval(layers: Floats, clusters: int) -> RankCorrelation:
    """Give a correlation its t interval on Fisher's scale, artanh r, turned back.

    Parameters
    ----------
    layers : (1 + B,) the coefficient in every layer. clusters : organisations behind it.

    A layer in which a variable does not vary counts as the observed value. Reference: Fisher (1915), Biometrika 10, 507-521.

    >>> found = correlation_interval(np.array([0.5, 0.4, 0.6]), 50)
    >>> 0.2 < found.conf_low < 0.5 < found.conf_high < 0.8
    True
    """
    if not math.isfinite(layers[0]) or abs(layers[0]) >= 1.0:
        missing = np.full(len(layers) - 1, math.nan)
        return RankCorrelation(float(layers[0]), math.nan, math.nan, math.nan, missing)
    bounded = np.clip(np.where(np.isnan(layers), layers[0], layers), -1 + 1e-12, 1 - 1e-12)
    found = infer(np.arctanh(bounded), clusters)
    return RankCorrelation(
        float(layers[0]),
        float(found.std_error * (1.0 - layers[0] ** 2)),
        float(np.tanh(found.conf_low)),
        float(np.tanh(found.conf_high)),
        np.asarray(np.tanh(found.draws)),
    )
