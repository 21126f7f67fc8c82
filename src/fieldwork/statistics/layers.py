"""Weights in every replicate layer, as an array where they fit and drawn block by block where they do not.

Own code, because the replicates are: `replicates.Draws` stands for multipliers that are not held, and a statistic that is no
function of a few totals needs what becomes of them, the weight of each respondent or organisation in each layer. A function
that goes through `spans` works on both kinds, and on an array does what it would do without them, to the bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fieldwork.statistics.replicates import SPARSE, Draws, Multipliers, upper_sums

__all__ = ["MANY_UNITS", "LayerWeights", "Layers", "as_layers", "by_layer", "grouped", "layer_weights", "spans"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MANY_UNITS = 1_000
"""Variance units beyond which what a replicate changes is taken to first order."""

_BLOCK = 1 << 22  # weights held at a time, 32 MB
_CACHED = 1 << 17  # weights worked on at a time, 1 MB
_ENTRIES = 1 << 24  # values multiplied at a time: each takes some hundred bytes on its way
_FILLED = 2  # entries of a table of sums for each row that is summed, up to which the table is filled whole
_SUMS = 1 << 24  # replicated sums held at a time, 128 MB


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The weights (1 + B, n) of respondents or organisations in every layer, not held: layer 0 is the observed one.

    Layers are picked by a slice, which makes the array of them; columns by `layers[:, which]`, which makes nothing.
    `layers @ values` and `layers.sum(axis=1)` are those of the array, with a rounding error of their own.

    Attributes
    ----------
    draws : Draws                    Multipliers, one column for each key.
    cluster : (n,) int               Place of each column of the weights among them.
    weight : (n,) float              Weight of the observed layer, before raking.
    factor : (1 + B, G) or None      Raking factor of each raking cell in each layer.
    cell : (n,) int or None          Raking cell of each column.
    power : int                      Power of the multiplier: 2 for a pair of respondents of one organisation.
    gathered : bool                  Whether clusters are gathered into variance units.
    """

    draws: Draws
    cluster: Ints
    weight: Floats
    factor: Floats | None = None
    cell: Ints | None = None
    power: int = 1
    gathered: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (1 + B, n) of the array that these weights stand for."""
        return 1 + self.draws.replicates, len(self.cluster)

    @property
    def first_order(self) -> bool:
        """Whether more than 1,000 variance units carry the weights.

        A replicate is then near enough to the observed layer for terms of first order to tell them apart. What few respondents
        of a large study carry is worked out in every layer.
        """
        return self.gathered and int(np.count_nonzero(np.bincount(self.cluster))) > MANY_UNITS

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Refuse: an array of all layers is what these weights are there to avoid."""
        raise TypeError(f"weights of {self.shape} are not held: take blocks of layers, weights[low:high]")

    @overload
    def __getitem__(self, index: int | slice) -> Floats: ...
    @overload
    def __getitem__(self, index: tuple[slice, Any]) -> Layers: ...
    def __getitem__(self, index: int | slice | tuple[slice, Any]) -> Floats | Layers:
        """Make the array of some layers, or pick columns of all: `layers[:, which]`."""
        if isinstance(index, int):
            return np.asarray(self[index : index + 1][0])
        if isinstance(index, slice):
            low, high, step = index.indices(len(self))
            if step != 1:
                raise TypeError(f"layers are picked one after another, not in steps of {step}")
            return self._made(low, max(high, low))
        whole, which = index
        if whole != slice(None):
            raise TypeError("columns are picked of all layers: layers[:, which]")
        pick = which if isinstance(which, slice) else np.asarray(which)
        cell = None if self.cell is None else self.cell[pick]
        return replace(self, cluster=self.cluster[pick], weight=self.weight[pick], cell=cell)

    def _made(self, low: int, high: int) -> Floats:
        drawn = np.asarray(self.draws[max(low - 1, 0) : max(high - 1, 0), :])
        if low == 0 and high > 0:
            drawn = np.vstack([np.ones((1, drawn.shape[1])), drawn])
        out = drawn[:, self.cluster] ** self.power
        out *= self.weight
        if self.factor is not None and self.cell is not None:
            out *= self.factor[low:high][:, self.cell]
        return np.asarray(out)

    def __matmul__(self, values: npt.ArrayLike | sparse.coo_array) -> Floats:
        """Return the product with values (n,) or (n, k), an array or sparse, from sums by organisation and raking cell."""
        if isinstance(values, sparse.coo_array):
            return self._product(values.row.astype(np.int64), values.col.astype(np.int64), values.data, values.shape[1])
        right = np.asarray(values, dtype=np.float64)
        columns = right.reshape(len(right), -1)
        # A table of all raking cells by key is filled faster than a sparse one, unless most of it would stay empty.
        if len(columns) and len(self._cells[0]) * len(self.draws.keys) <= _FILLED * len(columns):
            return self._filled(columns).reshape(len(self), *right.shape[1:])
        step = max(1, _ENTRIES // max(len(columns), 1))
        found = [np.empty((len(self), 0))]
        for low in range(0, columns.shape[1], step):
            part = columns[:, low : low + step]
            row, column = np.nonzero(part)
            found.append(self._product(row.astype(np.int64), column.astype(np.int64), part[row, column], part.shape[1]))
        return np.concatenate(found, axis=1).reshape(len(self), *right.shape[1:])

    @property
    def _cells(self) -> tuple[Ints, Ints]:
        """Raking cells that occur, and the place of each column's among them; one for all where nothing is raked."""
        if self.cell is None:
            return np.zeros(1, dtype=np.int64), np.zeros(len(self.cluster), dtype=np.int64)
        return _present(self.cell)

    def _filled(self, columns: Floats) -> Floats:
        """Do what `@` does by a table of raking cells and keys, column by column."""
        cells, place = self._cells
        keys = len(self.draws.keys)
        table = place * keys + self.cluster
        out = np.empty((len(self), columns.shape[1]))
        step = max(1, _SUMS // (len(cells) * max(len(self), keys)))
        for low in range(0, columns.shape[1], step):
            few = columns[:, low : low + step].T
            sums = [np.bincount(table, self.weight * column, len(cells) * keys).reshape(-1, keys) for column in few]
            layers = upper_sums(self.draws, np.concatenate(sums), self.power).reshape(len(self), len(few), len(cells))
            if self.factor is None or self.cell is None:
                out[:, low : low + step] = layers[:, :, 0]
            else:
                np.einsum("lkg,lg->lk", layers, self.factor[:, cells], out=out[:, low : low + step])
        return out

    def _product(self, row: Ints, column: Ints, amount: Floats, columns: int) -> Floats:
        amount = self.weight[row] * amount
        place = np.asarray(column, dtype=np.int64)
        if self.cell is not None:
            place = self.cell[row] * columns + place
        # Of all pairs of raking cell and column only those that occur have a row.
        present, place = _present(place)
        out = np.zeros((len(self), columns))
        step = max(1, _SUMS // len(self))
        for at in range(0, len(present), step):
            shape = (min(step, len(present) - at), len(self.draws.keys))
            mine = slice(None) if shape[0] == len(present) else (place >= at) & (place < at + step)
            sums = _by_key(amount[mine], place[mine] - at, self.cluster[row[mine]], shape)
            layers = upper_sums(self.draws, sums, self.power)
            cell, of = np.divmod(present[at : at + step], columns)
            if self.factor is not None:
                layers *= self.factor[:, cell]
            gather = sparse.coo_array((np.ones(len(of)), (np.arange(len(of)), of)), shape=(len(of), columns)).tocsr()
            out += np.asarray(layers @ gather)
        return out

    def sum(self, axis: int = 1, *, keepdims: bool = False) -> Floats:
        """Sum over columns (1 + B,), as of an array along axis 1."""
        if axis != 1:
            raise TypeError("weights that are not held are summed within layers: axis=1")
        total = self @ np.ones(self.shape[1])
        return total[:, None] if keepdims else total


def _by_key(amount: Floats, place: Ints, key: Ints, shape: tuple[int, int]) -> sparse.csc_array | Floats:
    """Sum amounts by place and key; an array, where a sparse one would be taken for one by the product that follows."""
    if shape[0] * shape[1] <= SPARSE * len(amount):
        sums: Floats = np.bincount(place * shape[1] + key, amount, shape[0] * shape[1]).astype(np.float64, copy=False)
        return sums.reshape(shape)
    return sparse.coo_array((amount, (place, key)), shape=shape).tocsc()


def _present(place: Ints) -> tuple[Ints, Ints]:
    """Return the places that occur, ascending, and the number of each among them."""
    if not len(place):
        return place, place
    there = np.flatnonzero(np.bincount(place))
    number = np.zeros(int(there[-1]) + 1, dtype=np.int64)
    number[there] = np.arange(len(there))
    return there, number[place]


LayerWeights = Floats | Layers


def layer_weights(
    multiplier: Multipliers,
    cluster: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    factor: Floats | None = None,
    cell: npt.ArrayLike | None = None,
    power: int = 1,
) -> LayerWeights:
    """Return the weight of each column in every layer (1 + B, n): weight x multiplier^power of its cluster x raking factor.

    Parameters
    ----------
    multiplier : (B, C) from `replicates.multipliers`, or the `Draws` that stand for them. cluster : (n,) columns of it.
    weight : (n,) of the observed layer; None for ones. factor : (1 + B, G) by layer and raking cell, with cell : (n,); None
        for ones.

    Returns an array where the multipliers are one, else `Layers`.

    >>> layer_weights(np.array([[2.0, 0.5]]), [1, 0, 1], [1.0, 1.0, 3.0]).tolist()
    [[1.0, 1.0, 3.0], [0.5, 2.0, 1.5]]
    """
    columns = np.asarray(cluster, dtype=np.int64)
    own = None if weight is None else np.asarray(weight, dtype=np.float64)
    cells = None if cell is None or factor is None else np.asarray(cell, dtype=np.int64)
    if isinstance(multiplier, Draws):
        return Layers(
            multiplier.units,
            multiplier.places(columns),
            np.ones(len(columns)) if own is None else own,
            None if cells is None else factor,
            cells,
            power,
            multiplier.member is not None,
        )
    out = np.empty((len(multiplier) + 1, len(columns)))
    out[0] = 1.0
    # A few layers at a time: what is multiplied next is still in the cache.
    step = max(1, _CACHED // max(len(columns), 1))
    for low in range(0, len(out), step):
        rows = slice(low, low + step)
        drawn = multiplier[max(low - 1, 0) : low + step - 1]
        part = out[max(low, 1) : low + step]
        part[:] = np.take(drawn, columns, axis=1)
        if power != 1:
            part **= power
        if own is not None:
            out[rows] *= own
        if factor is not None and cells is not None:
            out[rows] *= np.take(factor[rows], cells, axis=1)
    return out


def grouped(weights: LayerWeights, place: npt.ArrayLike, columns: int) -> Floats:
    """Sum weights (L, n) by the group (n,) of each column: (L, columns).

    >>> grouped(np.array([[1.0, 2.0, 3.0]]), [1, 0, 1], 2).tolist()
    [[2.0, 4.0]]
    """
    group = np.asarray(place, dtype=np.int64)
    if isinstance(weights, Layers):
        return weights @ sparse.coo_array(
            (np.ones(len(group)), (np.arange(len(group)), group)), shape=(len(group), columns)
        )
    gather = sparse.coo_array(
        (np.ones(len(group)), (group, np.arange(len(group)))), shape=(columns, len(group))
    ).tocsr()
    return np.asarray((gather @ weights.T).T)


def as_layers(weight: npt.ArrayLike | Layers) -> LayerWeights:
    """Return weights as an array of float64 (L, n), or as they are where they are not held."""
    return weight if isinstance(weight, Layers) else np.asarray(weight, dtype=np.float64)


def spans(weights: LayerWeights, held: int = 1) -> list[slice]:
    """Return slices of layers that cover all: the whole of an array, blocks of 32 MB / `held` of what is not held.

    >>> spans(np.ones((3, 5)))
    [slice(0, 3, None)]
    """
    if not isinstance(weights, Layers):
        return [slice(0, len(weights))]
    # A word of the generator gives four replicates: blocks begin where words do.
    step = max(4, _BLOCK // max(held * weights.shape[1], 1) // 4 * 4)
    ends = [0, *range(1 + step, len(weights), step), len(weights)]
    return [slice(low, high) for low, high in itertools.pairwise(ends)]


def by_layer(weights: LayerWeights, function: Callable[[Floats], Floats], held: int = 1) -> Floats:
    """Put together what a function makes of blocks of layers: (L, ...) from (l, n) -> (l, ...).

    `held` is how many arrays of the size of a block the function holds at once.

    >>> by_layer(np.array([[1.0, 3.0], [2.0, 2.0]]), lambda w: w.max(axis=1)).tolist()
    [3.0, 2.0]
    """
    return np.concatenate([function(weights[part]) for part in spans(weights, held)])
