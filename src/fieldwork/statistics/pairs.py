"""Means over pairs of respondents from different organisations: what two strangers share, in every replicate layer.

Own code: a mean over pairs is a ratio of quadratic forms in the weights, which no survey library replicates. Pairs from one
organisation are left out, because colleagues share more than a population does; what is left is unbiased for any number of
organisations, where the length of a mean vector or the sum of squared shares is lifted by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fieldwork.errors import DesignError
from fieldwork.statistics.layers import LayerWeights, layer_weights
from fieldwork.statistics.replicates import Draws, Multipliers, distinct_rows, replicated_sums

__all__ = ["GroupTotals", "PairSums", "group_totals", "pair_sums"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BLOCK = 4_000_000  # numbers held at a time


@dataclass(frozen=True, slots=True)
class GroupTotals:
    """Weighted sums of columns by group, one layer per replicate.

    Attributes
    ----------
    total : (1 + B, G, p) float    Sum of weight x column; layer 0 is the observed one.
    mass : (1 + B, G) float        Sum of weights.
    """

    total: Floats
    mass: Floats

    @property
    def mean(self) -> Floats:
        """Weighted means (1 + B, G, p), nan for an empty group."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.total / self.mass[..., None])


@dataclass(frozen=True, slots=True)
class PairSums:
    """Sums over ordered pairs of respondents of different organisations, by the groups of the two, one layer per replicate.

    Attributes
    ----------
    product : (1 + B, G, G) float    Sum of w_i w_j x_i . x_j over i in group g, j in group h.
    weight : (1 + B, G, G) float     Sum of w_i w_j over the same pairs.
    own : (G, G) float               Observed sum over pairs of one organisation, a respondent with itself included.
    totals : GroupTotals             Sums of the vectors by group.
    """

    product: Floats
    weight: Floats
    own: Floats
    totals: GroupTotals

    def mean(self, first: Sequence[int] | int, second: Sequence[int] | int) -> Floats:
        """Return the mean of x_i . x_j (1 + B,), i from the first groups and j from the second; nan without pairs."""
        pick = np.ix_(np.arange(len(self.product)), np.atleast_1d(first), np.atleast_1d(second))
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = self.weight[pick].sum(axis=(1, 2))
            return np.asarray(np.where(weight > 0, self.product[pick].sum(axis=(1, 2)) / weight, np.nan))

    def chance(self, groups: Sequence[int] | int) -> float:
        """Return the squared length that chance alone gives the groups' mean vector: sum_o |s_o|^2 / W^2."""
        at = np.atleast_1d(groups)
        return float(self.own[np.ix_(at, at)].sum() / self.totals.mass[0, at].sum() ** 2)


@dataclass(frozen=True, slots=True)
class _Entries:
    """Respondents of one organisation, group and raking cell, taken together: their weights move as one."""

    cluster: Ints
    group: Ints
    cell: Ints
    total: Floats
    mass: Floats

    def factors(self, multiplier: Floats, layer_factor: Floats | None, layers: slice) -> Floats:
        """Return what each entry's weights are multiplied by in some layers; layer 0 is the observed one."""
        ones = np.ones((1 if layers.start == 0 else 0, multiplier.shape[1]))
        drawn = multiplier[max(layers.start - 1, 0) : max(layers.stop - 1, 0)]
        value = np.vstack([ones, drawn])[:, self.cluster]
        return np.asarray(value if layer_factor is None else value * layer_factor[layers][:, self.cell])

    def layers(self, draws: Draws, layer_factor: Floats | None) -> LayerWeights:
        """Return the same for multipliers that are not held."""
        return layer_weights(draws, self.cluster, None, layer_factor, self.cell)

    def pairs(self, draws: Draws, layer_factor: Floats | None, first: Ints, second: Ints) -> LayerWeights:
        """Return the product of the factors of two entries of one organisation, for multipliers that are not held."""
        if layer_factor is None:
            return layer_weights(draws, self.cluster[first], power=2)
        cells = layer_factor.shape[1]
        both, place = np.unique(self.cell[first] * cells + self.cell[second], return_inverse=True)
        factor = layer_factor[:, both // cells] * layer_factor[:, both % cells]
        return layer_weights(draws, self.cluster[first], None, factor, place.reshape(-1), power=2)


def _entries(vectors: Floats, group: Ints, cluster: Ints, weight: Floats, factor_cell: Ints | None) -> _Entries:
    cell = np.zeros(len(group), dtype=np.int64) if factor_cell is None else factor_cell
    keys, at = distinct_rows(np.column_stack([cluster, group, cell]))
    gather = sparse.coo_array((weight, (at, np.arange(len(group)))), shape=(len(keys), len(group))).tocsr()
    return _Entries(keys[:, 0], keys[:, 1], keys[:, 2], np.asarray(gather @ vectors), np.asarray(gather.sum(axis=1)))


def _checked(
    vectors: npt.ArrayLike, group: npt.ArrayLike, groups: int, cluster: npt.ArrayLike, weight: npt.ArrayLike,
    factor_cell: npt.ArrayLike | None,
) -> tuple[Floats, Ints, Ints, Floats, Ints | None]:  # fmt: skip
    x = np.asarray(vectors, dtype=np.float64)
    g, c, w = np.asarray(group, np.int64), np.asarray(cluster, np.int64), np.asarray(weight, np.float64)
    cell = None if factor_cell is None else np.asarray(factor_cell, np.int64)
    shapes = {len(x), len(g), len(c), len(w), len(x if cell is None else cell)}
    outside = bool(len(g)) and (int(g.min()) < 0 or int(g.max()) >= groups)
    if x.ndim != 2 or len(shapes) > 1 or outside or not np.isfinite(x).all() or not (w > 0).all():
        raise DesignError(
            "pairs are read from complete vectors, one per respondent",
            where="statistics.pairs",
            expected=f"finite vectors (n, p), groups 0 to {groups - 1}, clusters and positive weights (n,)",
            got=f"vectors {x.shape}, groups {g.shape}, clusters {c.shape}, weights {w.shape}",
            hint="leave out respondents without an answer, and give those of no group a group of their own",
        )
    return x, g, c, w, cell


def _blocks(layers: int, width: int) -> list[slice]:
    step = max(1, _BLOCK // max(width, 1))
    return [slice(low, min(low + step, layers)) for low in range(0, layers, step)]


def _totals(entries: _Entries, groups: int, multiplier: Multipliers, layer_factor: Floats | None) -> GroupTotals:
    """Sum by group, column and raking cell over organisations before any layer is weighed: no weight of each in each."""
    E, p = entries.total.shape
    columns = np.column_stack([entries.total, entries.mass])
    row, column = np.nonzero(columns)
    amount, place = columns[row, column], entries.group[row] * (p + 1) + column
    if isinstance(multiplier, Draws):
        spread = sparse.coo_array((amount, (row, place)), shape=(E, groups * (p + 1)))
        shaped = (entries.layers(multiplier, layer_factor) @ spread).reshape(-1, groups, p + 1)
        return GroupTotals(shaped[..., :-1], shaped[..., -1])
    cell = None if layer_factor is None else entries.cell[row]
    levels, sums, _ = replicated_sums(
        [place], entries.cluster[row], [amount], multiplier, layer_factor=layer_factor, factor_cell=cell
    )
    table = np.zeros((groups * (p + 1), len(multiplier) + 1))
    table[levels[:, 0]] = sums[0]
    shaped = np.ascontiguousarray(table.T).reshape(-1, groups, p + 1)
    return GroupTotals(shaped[..., :-1], shaped[..., -1])


def _drawn_totals(
    x: Floats, group: Ints, cluster: Ints, weight: Floats, cell: Ints | None, groups: int, draws: Draws,
    layer_factor: Floats | None,
) -> GroupTotals:  # fmt: skip
    """Sum columns by group from what is not nil, for multipliers that are not held."""
    n, p = x.shape
    row, column = np.nonzero(x)
    everyone = np.arange(n)
    places = np.r_[group[row] * (p + 1) + column, group * (p + 1) + p]
    columns = sparse.coo_array(
        (np.r_[x[row, column], np.ones(n)], (np.r_[row, everyone], places)), shape=(n, groups * (p + 1))
    )
    out = layer_weights(draws, cluster, weight, layer_factor, cell) @ columns
    shaped = out.reshape(-1, groups, p + 1)
    return GroupTotals(shaped[..., :-1], shaped[..., -1])


def group_totals(
    vectors: npt.ArrayLike,
    group: npt.ArrayLike,
    groups: int,
    cluster: npt.ArrayLike,
    weight: npt.ArrayLike,
    multiplier: Multipliers,
    *,
    layer_factor: Floats | None = None,
    factor_cell: npt.ArrayLike | None = None,
) -> GroupTotals:
    """Sum columns by group in the observed layer and in every replicate.

    Parameters
    ----------
    vectors : (n, p) numbers. group : (n,) 0..groups - 1. cluster : (n,) index into the columns of `multiplier`.
    weight : (n,) positive. multiplier : (B, C) or `Draws`. layer_factor, factor_cell : as in `replicates.replicated_totals`.

    Raises DesignError for missing numbers; leave out respondents who lack them.

    >>> found = group_totals([[1.0], [3.0]], [0, 0], 1, [0, 1], [1.0, 1.0], np.array([[2.0, 0.5]]))
    >>> found.mean[:, 0, 0].tolist()
    [2.0, 1.4]
    """
    if isinstance(multiplier, Draws):
        return _drawn_totals(
            *_checked(vectors, group, groups, cluster, weight, factor_cell), groups, multiplier, layer_factor
        )
    entries = _entries(*_checked(vectors, group, groups, cluster, weight, factor_cell))
    return _totals(entries, groups, multiplier, layer_factor)


def pair_sums(
    vectors: npt.ArrayLike,
    group: npt.ArrayLike,
    groups: int,
    cluster: npt.ArrayLike,
    weight: npt.ArrayLike,
    multiplier: Multipliers,
    *,
    layer_factor: Floats | None = None,
    factor_cell: npt.ArrayLike | None = None,
) -> PairSums:
    """Sum products of respondents' vectors over pairs from different organisations, in every layer.

    With s_og the weighted sum of the vectors of organisation o in group g, and S_g its sum over organisations,

        sum over o != o' of s_og . s_o'h = S_g . S_h - sum_o s_og . s_oh,

    and the same for the weights alone; their ratio is the mean product of two strangers. With unit vectors of rankings that
    is the mean rank correlation of two executives, with indicators of an answer the probability that both give the same. In a
    replicate the weights of o are multiplied by m_o; E(m_o m_o') = 1 for different organisations, so the replicates are
    centred at the estimate. Where the true mean vector is nil the product is degenerate: its replicates then vary three times
    as much, in variance, as the estimate does, so a t interval is too wide there and never too narrow. The length of one mean
    vector has a better one by `spread.spread`. Parameters as in `group_totals`. References: Hoeffding (1948), Ann. Math.
    Statist. 19, 293-325 (U-statistics); Efron and Stein (1981), Ann. Statist. 9, 586-596 (the variance's upward bias).

    >>> owners = np.eye(3)[[0, 0, 1, 0, 2]]                  # CTO, CTO, CEO, CTO, CFO, each of another organisation
    >>> found = pair_sums(owners, [0] * 5, 1, range(5), [1.0] * 5, np.ones((1, 5)))
    >>> float(found.mean(0, 0)[0].round(4))
    0.3
    """
    entries = _entries(*_checked(vectors, group, groups, cluster, weight, factor_cell))
    totals = _totals(entries, groups, multiplier, layer_factor)
    first, second = _within_clusters(entries.cluster)
    twice = np.flatnonzero(first != second)
    row = np.concatenate([np.arange(len(first)), twice])
    g, h = entries.group[first], entries.group[second]
    column = np.concatenate([g * groups + h, h[twice] * groups + g[twice]])
    dot = np.einsum("ep,ep->e", entries.total[first], entries.total[second])
    both = entries.mass[first] * entries.mass[second]
    gather = sparse.coo_array(
        (
            np.concatenate([dot[row], both[row]]),
            (np.concatenate([row, row]), np.concatenate([column, column + groups**2])),
        ),
        shape=(len(first), 2 * groups**2),
    )
    layers = len(multiplier) + 1
    if isinstance(multiplier, Draws):
        own = (entries.pairs(multiplier, layer_factor, first, second) @ gather).reshape(-1, 2, groups, groups)
    else:
        own = np.empty((layers, 2, groups, groups))
        by_pair = gather.tocsc().T
        for block in _blocks(layers, len(first)):
            factor = entries.factors(multiplier, layer_factor, block)
            own[block] = (by_pair @ (factor[:, first] * factor[:, second]).T).T.reshape(-1, 2, groups, groups)
    product = np.einsum("lgp,lhp->lgh", totals.total, totals.total) - own[:, 0]
    weights = totals.mass[:, :, None] * totals.mass[:, None, :] - own[:, 1]
    # A group from one organisation has no pair of different ones; rounding must not make it one.
    none = ~_has_pairs(entries.cluster, entries.group, groups)
    product[:, none] = weights[:, none] = 0.0
    return PairSums(product, weights, own[0, 0], totals)


def _within_clusters(cluster: Ints) -> tuple[Ints, Ints]:
    """Return all pairs (e, e') with e <= e' of entries of one cluster; entries are sorted by cluster."""
    ends = np.searchsorted(cluster, cluster, side="right")
    count = ends - np.arange(len(cluster))
    first = np.repeat(np.arange(len(cluster)), count)
    start = np.repeat(np.cumsum(count) - count, count)
    return first, first + np.arange(len(first)) - start


def _has_pairs(cluster: Ints, group: Ints, groups: int) -> npt.NDArray[np.bool_]:
    """Tell which two groups (G, G) have respondents from different organisations."""
    there = distinct_rows(np.column_stack([group, cluster]))[0]
    count = np.bincount(there[:, 0], minlength=groups)
    only = np.full(groups, -1)
    only[there[:, 0]] = there[:, 1]
    same = (count == 1)[:, None] & (count == 1) & (only[:, None] == only)
    return np.asarray((count > 0)[:, None] & (count > 0) & ~same)
