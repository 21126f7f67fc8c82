"""What a gap is made of: Kitagawa's split into rates and composition, for means and whole distributions, and dominance shares.

Own code, because no library splits a gap in every replicate layer at once or shares R2 out over blocks of predictors
(a factor's dummies go together) in weighted layers; both are averages over orders, which is what makes them order-free.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fieldwork.errors import DesignError, listed

__all__ = ["DistributionSplit", "Dominance", "Split", "dominance", "dominance_of", "kitagawa", "kitagawa_distribution"]

Floats = npt.NDArray[np.float64]

_HERE = "statistics.decomposition"
_MOST_PREDICTORS = 12


# -- Kitagawa ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Split:
    """A difference of two group means as a part of rates and a part of composition.

    Attributes
    ----------
    total : (...,)              Mean of the first group less mean of the second, in the outcome's unit.
    rate : (...,)               Part that remains where both have the same composition (role part).
    composition : (...,)        Part that remains where both have the same rates (stage part).
    interaction : (...,)        sum (m1 - m2)(c1 - c2): already shared out, half to each part; large where order matters.
    rate_by_cell, composition_by_cell : (..., S)    The parts cell by cell (stage by stage).
    """

    total: Floats
    rate: Floats
    composition: Floats
    interaction: Floats
    rate_by_cell: Floats
    composition_by_cell: Floats


def kitagawa(
    first_mean: npt.ArrayLike,
    second_mean: npt.ArrayLike,
    first_composition: npt.ArrayLike,
    second_composition: npt.ArrayLike,
) -> Split:
    """Split the gap between two groups (roles) into what they say at the same stage and where they stand.

    mean_g = sum_s c_gs m_gs. rate = sum_s (c1 + c2)/2 (m1 - m2), composition = sum_s (m1 + m2)/2 (c1 - c2); they add up to
    the gap exactly. Averaging the two groups as standard is the mean over both orders of changing one factor at a time, so
    that neither part depends on which group is called first or on the order.

    Parameters
    ----------
    first_mean, second_mean : (..., S) cell means m_gs; leading axes are replicate layers.
    first_composition, second_composition : (..., S) amounts per cell, any scale (counts, weights, shares); scaled to sum 1.

    A cell that neither group occupies is passed over, whatever its mean. A cell that either occupies and where either mean
    is missing makes that layer's result missing: the gap cannot be split without the mean that was not seen.

    Reference: Kitagawa, E. (1955). Components of a difference between two rates. JASA 50, 1168-1194.

    >>> split = kitagawa([3.0, 4.5], [2.5, 4.0], [0, 1], [1, 0])    # CTO all at scaled, CMO all at experimenting
    >>> float(split.total), float(split.rate), float(split.composition)
    (2.0, 0.5, 1.5)
    """
    m1, m2 = np.asarray(first_mean, dtype=np.float64), np.asarray(second_mean, dtype=np.float64)
    c1, c2 = _shares(first_composition), _shares(second_composition)
    m1, m2, c1, c2 = np.broadcast_arrays(m1, m2, c1, c2)
    idle = (c1 == 0) & (c2 == 0)
    gap = np.where(idle, 0.0, m1 - m2)
    level = np.where(idle, 0.0, (m1 + m2) / 2.0)
    rate, composition = (c1 + c2) / 2.0 * gap, level * (c1 - c2)
    return Split(
        total=rate.sum(axis=-1) + composition.sum(axis=-1),
        rate=rate.sum(axis=-1),
        composition=composition.sum(axis=-1),
        interaction=(gap * (c1 - c2)).sum(axis=-1),
        rate_by_cell=rate,
        composition_by_cell=composition,
    )


def _shares(amounts: npt.ArrayLike) -> Floats:
    values = np.asarray(amounts, dtype=np.float64)
    total = values.sum(axis=-1, keepdims=True)
    if not np.isfinite(values).all() or (values < 0).any() or (total <= 0).any():
        raise DesignError(
            "a composition is not one",
            where=_HERE,
            expected="amounts per cell, none negative or missing, not all nil",
            got=f"smallest {np.min(values, initial=np.inf):g}, smallest sum {np.min(total, initial=np.inf):g}",
            hint="give 0 for a cell without respondents; leave out a group without respondents",
        )
    return np.asarray(values / total, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class DistributionSplit:
    """A difference of two whole distributions as a part of rates and a part of composition, category by category.

    Attributes
    ----------
    total, rate, composition : (..., K)    Differences of shares; each sums to 0 over the K categories, -1..1.
    distance : (...,)                      Half the sum of |total|: share of answers that would have to move, 0..1.
    rate_distance, composition_distance : (...,)    The same of the two parts; together at least `distance`.
    """

    total: Floats
    rate: Floats
    composition: Floats
    distance: Floats
    rate_distance: Floats
    composition_distance: Floats


def kitagawa_distribution(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    first_composition: npt.ArrayLike,
    second_composition: npt.ArrayLike,
) -> DistributionSplit:
    """Split the difference of two answer distributions, not of their means only.

    P_g(k) = sum_s c_gs f_gs(k). For each category k the rate part is sum_s (c1 + c2)/2 (f1 - f2) and the composition part
    sum_s (f1 + f2)/2 (c1 - c2). Means may agree where distributions do not; `rate @ scores` and
    `composition @ scores` give the split of the means back.

    Parameters
    ----------
    first, second : (..., S, K) amounts of answer k in cell s, any scale; scaled to sum 1 in each cell.
    first_composition, second_composition : (..., S) amounts per cell, as in `kitagawa`.

    A cell in use where either group has no answers makes the layer's result missing.

    References: Kitagawa (1955), JASA 50, 1168-1194; Das Gupta (1993), Standardization and Decomposition of Rates, US Bureau
    of the Census P23-186.

    >>> same_mean = kitagawa_distribution([[1, 0, 1]], [[0, 2, 0]], [1], [1])
    >>> same_mean.rate.tolist(), float(same_mean.distance)
    ([0.5, -1.0, 0.5], 1.0)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        f1, f2 = (v / v.sum(axis=-1, keepdims=True) for v in (np.asarray(x, dtype=np.float64) for x in (first, second)))
    parts = kitagawa(
        np.moveaxis(f1, -1, 0),
        np.moveaxis(f2, -1, 0),
        np.asarray(first_composition, dtype=np.float64)[None],
        np.asarray(second_composition, dtype=np.float64)[None],
    )
    total, rate, composition = (np.moveaxis(part, 0, -1) for part in (parts.total, parts.rate, parts.composition))
    distance, rate_distance, composition_distance = (0.5 * np.abs(x).sum(axis=-1) for x in (total, rate, composition))
    return DistributionSplit(total, rate, composition, distance, rate_distance, composition_distance)


# -- dominance ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dominance:
    """Shares of a model's fit among its predictors.

    Attributes
    ----------
    names : tuple of str          P predictors (a factor is one).
    general : (..., P)            General dominance: mean over subset sizes of the mean gain; sums to `r_squared`.
    conditional : (..., P, P)     Mean gain of predictor (first of the two axes) when 0 .. P - 1 others are in already.
    complete : (..., P, P) bool   Row adds more than column in every subset without both.
    r_squared : (...,)            Fit of all predictors together, 0..1.
    """

    names: tuple[str, ...]
    general: Floats
    conditional: Floats
    complete: npt.NDArray[np.bool_]
    r_squared: Floats

    @property
    def share(self) -> Floats:
        """General dominance as a share of the whole fit (..., P), summing to 1; missing where the fit is nil."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.general / self.r_squared[..., None], dtype=np.float64)


def dominance(
    outcome: npt.ArrayLike,
    predictors: Mapping[str, npt.ArrayLike],
    *,
    weight: npt.ArrayLike | None = None,
) -> Dominance:
    """Share out R2 of a (weighted) least-squares fit over all subsets of predictors.

    Parameters
    ----------
    outcome : (n,) complete. predictors : name to (n,) numbers, (n, k) columns that go together, or (n,) labels, which are
        a factor. weight : (n,), or (B, n) for B replicate layers; a leading axis B then leads every result.

    R2 of a subset is 1 - SSE / SST about the weighted mean, an intercept in every model. Columns that repeat one another
    are harmless: fit is that of their span. At most 12 predictors (4,096 fits a layer).

    References
    ----------
    Budescu, D. (1993). Dominance analysis. Psychological Bulletin 114, 542-551. Azen and Budescu (2003), Psychological
    Methods 8, 129-148. General dominance equals the Shapley value (Lindeman, Merenda and Gold 1980).

    >>> x = np.array([0.0, 0, 1, 1]); z = np.array([0.0, 1, 0, 1])
    >>> dominance(2 * x + z, {"x": x, "z": z}).general.round(4).tolist()
    [0.8, 0.2]
    """
    y = np.asarray(outcome, dtype=np.float64)
    n = len(y)
    columns, blocks = [y[:, None]], []
    for name, values in predictors.items():
        block = _columns(values, n, name)
        start = sum(c.shape[1] for c in columns)
        blocks.append(np.arange(start, start + block.shape[1]))
        columns.append(block)
    X = np.hstack(columns)
    w = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
    if not np.isfinite(X).all() or w.shape[-1:] != (n,) or not np.isfinite(w).all() or (w < 0).any():
        raise DesignError(
            "dominance needs complete answers and one weight each",
            where=f"{_HERE}.dominance",
            expected=f"{n} rows without gaps, weights not negative",
            got=f"weights of shape {w.shape}, {int((~np.isfinite(X)).any(axis=1).sum())} rows with gaps",
            hint="leave out incomplete respondents before the call, so that every subset has the same base",
        )
    layers = np.atleast_2d(w)
    grams = np.stack([_gram(X, layer) for layer in layers]).reshape(*w.shape[:-1], X.shape[1], X.shape[1])
    fits = {
        subset: _fit(grams, np.concatenate([blocks[i] for i in subset])) if subset else np.zeros(w.shape[:-1])
        for size in range(len(blocks) + 1)
        for subset in itertools.combinations(range(_checked(len(blocks))), size)
    }
    names = tuple(predictors)
    return dominance_of(names, {frozenset(names[i] for i in subset): fit for subset, fit in fits.items()})


def _checked(predictors: int) -> int:
    if not 1 <= predictors <= _MOST_PREDICTORS:
        raise DesignError(
            "dominance runs over all subsets of predictors",
            where=_HERE,
            expected=f"1 to {_MOST_PREDICTORS} predictors",
            got=str(predictors),
            hint="let columns that belong together go in as one block",
        )
    return predictors


def _columns(values: npt.ArrayLike, n: int, name: str) -> Floats:
    """Columns of one predictor: numbers as they are, labels as dummies of all levels but the first."""
    array = np.asarray(values)
    if array.shape[:1] != (n,) or array.ndim > 2:
        raise DesignError(
            f"predictor {name!r} does not fit the outcome",
            where=f"{_HERE}.dominance",
            expected=f"{n} rows",
            got=f"shape {array.shape}",
            hint="one row per respondent, in the same order",
        )
    if array.dtype.kind in "biuf":
        return np.asarray(array, dtype=np.float64).reshape(n, -1)
    levels, code = np.unique(array.astype(str), return_inverse=True)
    return np.asarray(code.reshape(-1)[:, None] == np.arange(1, len(levels)), dtype=np.float64)


def _gram(X: Floats, weight: Floats) -> Floats:
    """Weighted correlations of the columns (outcome first); a constant column has none with anything."""
    centred = (X - weight @ X / weight.sum()) * np.sqrt(weight)[:, None]
    size = np.sqrt((centred**2).sum(axis=0))
    scale = np.sqrt(weight @ X**2)
    moving = size > 1e-12 * np.where(scale > 0, scale, 1.0)
    unit = np.where(moving, centred / np.where(moving, size, 1.0), 0.0)
    return np.asarray(unit.T @ unit, dtype=np.float64)


def _fit(gram: Floats, block: npt.NDArray[np.int64]) -> Floats:
    """R2 of the outcome (column 0) on the columns of a block, in each layer."""
    inner = gram[..., block[:, None], block[None, :]]
    cross = gram[..., 0, block]
    solved = np.linalg.pinv(inner, rcond=1e-10, hermitian=True) @ cross[..., None]
    return np.asarray(np.clip((cross[..., None, :] @ solved)[..., 0, 0], 0.0, 1.0), dtype=np.float64)


def dominance_of(names: tuple[str, ...], fits: Mapping[frozenset[str], npt.ArrayLike]) -> Dominance:
    """Dominance from the fit of every subset: R2, a pseudo-R2, a log-likelihood gain, or any quantity that is 0 for none.

    Parameters
    ----------
    names : P predictors. fits : every subset of the names to its fit (...,); the empty one may be left out and is 0.

    >>> fits = {frozenset("a"): 0.36, frozenset("b"): 0.25, frozenset("ab"): 0.43}
    >>> dominance_of(("a", "b"), fits).general.round(4).tolist()
    [0.27, 0.16]
    """
    P = _checked(len(names))
    subsets = [frozenset(s) for size in range(1, P + 1) for s in itertools.combinations(names, size)]
    lacking = [subset for subset in subsets if subset not in fits]
    if lacking:
        raise DesignError(
            "dominance needs the fit of every subset",
            where=f"{_HERE}.dominance_of",
            expected=f"{2**P - 1} subsets",
            got=f"none for {listed('+'.join(sorted(s)) for s in lacking)}",
            hint="fit the models that lack",
        )
    value = {subset: np.asarray(fits[subset], dtype=np.float64) for subset in subsets}
    whole = value[frozenset(names)]
    value[frozenset()] = np.asarray(fits.get(frozenset(), np.zeros_like(whole)), dtype=np.float64)
    conditional = np.zeros((*whole.shape, P, P))
    complete = np.ones((*whole.shape, P, P), dtype=np.bool_)
    complete[..., np.arange(P), np.arange(P)] = False
    for subset in list(value):
        for i, name in enumerate(names):
            if name in subset:
                continue
            gain = value[subset | {name}] - value[subset]
            conditional[..., i, len(subset)] += gain / math.comb(P - 1, len(subset))
            for k, other in enumerate(names):
                if other != name and other not in subset:
                    complete[..., i, k] &= gain > value[subset | {other}] - value[subset]
    return Dominance(names, conditional.mean(axis=-1), conditional, complete, whole - value[frozenset()])
