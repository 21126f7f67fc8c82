"""Mutually adjusted group effects: additive least squares in every replicate layer at once.

Own code, because a library fits one weight vector a call; a thousand layers over a few hundred cells are one batched solve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fieldwork.errors import DesignError

__all__ = ["AdjustedEffects", "adjusted_effects", "deviations"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AdjustedEffects:
    """Additive effects of several factors, each adjusted for the others.

    Attributes
    ----------
    effects : tuple of (L, G_j) float    Effects of factor j per layer, summing to zero over its levels, scale points.
    """

    effects: tuple[Floats, ...]


def deviations(code: Ints, levels: int) -> Floats:
    """Return columns (n, levels - 1) of deviations from the plain mean of the levels; the last is minus the sum of the others.

    >>> deviations(np.array([0, 1, 2]), 3).tolist()
    [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]
    """
    return np.asarray(np.vstack([np.eye(levels - 1), -np.ones(levels - 1)])[code], dtype=np.float64)


def adjusted_effects(weight: Floats, total: Floats, factors: Sequence[Ints], names: Sequence[str]) -> AdjustedEffects:
    """Fit y = mu + sum over j of effect_j by weighted least squares over cells, in each layer.

    Parameters
    ----------
    weight : (L, F) weight of each cell in each layer. total : (L, F) weighted sum of answers.
    factors : k arrays (F,) of levels 0 .. G_j - 1, each level present. names : factor names, for messages.

    The effects are summarised with equal weights per level (they sum to zero), so that a rare role counts as much as a
    common one. The additive model is a projection: where role and stage interact it gives the best additive account.

    Raises DesignError when the cells do not tell the factors apart (every role at a stage of its own).

    >>> w = np.ones((1, 4)); y = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> fit = adjusted_effects(w, y, [np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])], ["role", "stage"])
    >>> [effect.round(3).tolist() for effect in fit.effects]
    [[[-1.0, 1.0]], [[-0.5, 0.5]]]
    """
    cells = weight.shape[1]
    blocks: list[Floats] = [np.ones((cells, 1))]
    sizes: list[int] = []
    for factor in factors:
        levels = int(factor.max()) + 1
        blocks.append(deviations(factor, levels))
        sizes.append(levels)
    X = np.hstack(blocks)
    if np.linalg.matrix_rank(X[weight[0] > 0]) < X.shape[1]:
        raise DesignError(
            "the sample does not tell the factors apart",
            where="statistics.adjustment.adjusted_effects",
            expected=f"{X.shape[1]} separable effects of {', '.join(names)}",
            got=f"cells of rank {int(np.linalg.matrix_rank(X[weight[0] > 0]))}",
            hint="merge levels that occur only together, or report the adjusted spread as not assessable",
        )
    p = X.shape[1]
    products = (X[:, :, None] * X[:, None, :]).reshape(cells, p * p)
    normal = (weight @ products).reshape(-1, p, p)
    beta = np.linalg.solve(normal, (total @ X)[:, :, None])[:, :, 0]
    effects: list[Floats] = []
    start = 1
    for levels in sizes:
        free = beta[:, start : start + levels - 1]
        effects.append(np.hstack([free, -free.sum(axis=1, keepdims=True)]))
        start += levels - 1
    return AdjustedEffects(tuple(effects))
