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
from fieldwork.statistics.replicates import Floats, infer

__all__ = ["RankCorrelation", "correlation_interval", "spearman"]


def spearman(first: npt.ArrayLike, second: npt.ArrayLike, weight: npt.ArrayLike | Layers) -> Floats:
    """Spearman's rank correlation with weights, in every layer; ties share their mean rank.

    The rank of a unit is the sum of the weights below it and half of those tied with it; the coefficient is the weighted
    product-moment correlation of the ranks, -1..1, nan where either variable does not vary.

    Parameters
    ----------
    first, second : (C,) numbers without missing ones. weight : (L, C) weights of the units in each layer, none below 0.

    Returns (L,). Raises DesignError for missing numbers or shapes that do not fit.

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
    return by_layer(w, lambda block: _spearman(x, y, block), held=8)


def _spearman(x: Floats, y: Floats, w: Floats) -> Floats:
    """Coefficient of one block of layers (l, C)."""
    share = w / w.sum(axis=1, keepdims=True)
    a, b = _ranks(x, share), _ranks(y, share)
    a -= (share * a).sum(axis=1, keepdims=True)
    b -= (share * b).sum(axis=1, keepdims=True)
    varies = np.sqrt((share * a**2).sum(axis=1) * (share * b**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(varies > 1e-15, (share * a * b).sum(axis=1) / varies, np.nan)
    return np.asarray(np.clip(value, -1.0, 1.0))


def _ranks(values: Floats, share: Floats) -> Floats:
    _, tied = np.unique(values, return_inverse=True)
    tied = tied.reshape(-1)
    order = np.argsort(tied, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(tied[order]) > 0])
    mass = np.add.reduceat(share[:, order], starts, axis=1)
    return np.asarray((np.cumsum(mass, axis=1) - 0.5 * mass)[:, tied])


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
