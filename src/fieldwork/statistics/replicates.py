"""Replicate weights keyed by organisation, and the replicated totals that every construct reads.

Own code, because no library draws replicate weights as a pure function of (seed, organisation, replicate): numpy keys one
generator at a time, and a generator per organisation costs more than the estimate. The mixer is SplitMix64 (Steele, Lea and
Flood 2014), checked against its published sequence.

A multiplier takes one of two values, so a replicate total is LOW S + (HIGH - LOW) P: S the sum over all clusters, P the sum
over those that drew the upper value. S and P are sums of weights on a fixed grid, kept below 2**53 grid units, where every
addition of float64 is exact: any order of rows, any partition and any linear algebra library give the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse, special

from fieldwork.errors import DesignError, listed

__all__ = [
    "SPARSE",
    "CellSums",
    "CellTotals",
    "Draws",
    "Inference",
    "Multipliers",
    "Partition",
    "Totals",
    "cluster_keys",
    "distinct_rows",
    "infer",
    "linearised_variance",
    "multipliers",
    "named_stream",
    "replicated_sums",
    "replicated_totals",
    "small_sample_factor",
    "stratified_multipliers",
    "stratified_totals",
    "t_scale",
    "upper_sums",
    "variance_units",
    "weight_grid",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

# Mammen's two points have mean 1, variance 1 and third central moment 1; the upper one has this probability, taken to the
# 16 bits that one draw spends. The points follow from the rounded probability, so mean and variance stay exact.
_UPPER_16 = round((np.sqrt(5.0) - 1.0) / (2.0 * np.sqrt(5.0)) * 65536)
_UPPER = _UPPER_16 / 65536
_HIGH = 1.0 + float(np.sqrt((1.0 - _UPPER) / _UPPER))
_LOW = 1.0 - float(np.sqrt(_UPPER / (1.0 - _UPPER)))

_EXACT = 2.0**53  # below it float64 holds every whole number
_HASHED = 1 << 15  # words hashed at a time: they and their scratch stay in the second-level cache
_DRAWN = 1 << 18  # draws held at a time, 2 MB
_BLOCK = 1 << 22  # multipliers held at a time, 32 MB
_HELD = 1 << 24  # replicated sums held at a time, 128 MB
_UNIT_BITS = 12  # 4,096 variance units
SPARSE = 5  # columns per respondent of a cluster from which a sparse product is faster than a dense one


def mix(words: Words) -> Words:
    """Return SplitMix64's output for each 64-bit state.

    >>> hex(int(mix(np.array([0x9E3779B97F4A7C15], dtype=np.uint64))[0]))  # first output of the sequence seeded with 0
    '0xe220a8397b1dcdaf'
    """
    z = words.copy()
    z ^= z >> np.uint64(30)
    z *= _MIX_1
    z ^= z >> np.uint64(27)
    z *= _MIX_2
    z ^= z >> np.uint64(31)
    return z


def cluster_keys(clusters: Sequence[str], seed: int) -> Words:
    """Return one 64-bit key per cluster (C,), a hash of the seed and the cluster's own name and of nothing else.

    >>> bool((cluster_keys(["a", "b"], 1)[::-1] == cluster_keys(["b", "a"], 1)).all())
    True
    """
    salted = hashlib.blake2b(digest_size=8, key=int(seed).to_bytes(16, "little", signed=True)).copy
    digests = []
    for name in clusters:
        digest = salted()
        digest.update(str(name).encode())
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def variance_units(keys: Words, seed: int, replicates: int) -> Draws:
    """Gather many clusters at random into 4,096 variance units, which take the place of clusters in the replicates.

    The unit of a cluster is the top 12 bits of its key, so it hangs on seed and name alone. Clusters that are independent make
    random groups that are, and the variance between groups is the variance between clusters in expectation; 4,095 degrees of
    freedom are left, which move a standard error by 1.1% (1 / sqrt(2 x 4095)), less than 2,000 replicates do (1.6%). The work
    of a replicated total is then that of 4,096 clusters, however many there are.

    Parameters
    ----------
    keys : (C,) from `cluster_keys`. seed : root seed. replicates : number B.

    References: Wolter (2007), Introduction to Variance Estimation, ch. 2 (random groups); Rust and Rao (1996), Statistical
    Methods in Medical Research 5, 283-310 (replicates of grouped units).

    >>> drawn = variance_units(cluster_keys([f"o{i}" for i in range(20000)], 1), 1, 8)
    >>> drawn.shape, len(drawn.keys)
    ((8, 20000), 4096)
    """
    units = cluster_keys([f"variance unit {h}" for h in range(1 << _UNIT_BITS)], seed)
    return Draws(units, replicates, member=(keys >> np.uint64(64 - _UNIT_BITS)).astype(np.int64))


def named_stream(seed: int, name: str) -> np.random.Generator:
    """Return a generator that depends on the root seed and the name alone, so that drawing one thing more moves no other.

    >>> bool(named_stream(1, "a").random() == named_stream(1, "a").random())
    True
    """
    return np.random.Generator(np.random.Philox(key=int(cluster_keys([name], seed)[0])))


def multipliers(keys: Words, replicates: int, *, first: int = 0) -> Floats:
    """Draw the replicate multipliers of clusters: independent two-point weights of mean 1 and variance 1.

    The weight is Mammen's (1993) two-point variable plus one: 0.382 with probability .724, 2.618 with probability .276.
    Its third central moment is 1 as well, so that the replicates carry the skewness of the estimate; and it is never zero,
    so that no cell that the sample fills is empty in a replicate and raking inside a replicate cannot fail for that reason.

    Parameters
    ----------
    keys : (C,) unsigned 64-bit, from `cluster_keys`.
    replicates : number B of replicates.
    first : index of the first one, so that blocks of replicates can be made apart and agree with one pass.

    Returns
    -------
    (B, C) multipliers. Entry (b, c) depends on the key of c and on first + b alone: not on the order of rows, on other
    clusters, or on how the work is divided.

    References
    ----------
    Mammen, E. (1993). Bootstrap and wild bootstrap for high dimensional linear models. Annals of Statistics 21, 255-285.
    Steele, G., Lea, D. and Flood, C. (2014). Fast splittable pseudorandom number generators. OOPSLA.

    >>> w = multipliers(cluster_keys([f"o{i}" for i in range(400)], seed=1), 500)
    >>> w.shape, bool(abs(w.mean() - 1) < 0.01), bool(abs(w.var() - 1) < 0.02)
    ((500, 400), True, True)
    """
    start, stop = first // 4, -(-(first + replicates) // 4)
    counter = np.arange(start + 1, stop + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        words = mix(keys[None, :] + counter[:, None] * _GOLDEN)
    parts = np.stack([(words >> np.uint64(16 * j)) & np.uint64(0xFFFF) for j in range(4)], axis=1)
    draws = parts.reshape(4 * len(counter), len(keys))[first - 4 * start : first - 4 * start + replicates]
    return np.where(draws < _UPPER_16, _HIGH, _LOW)


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The multipliers of `multipliers`, not yet drawn: what stands in for the (B, C) array where that would not fit.

    Columns are picked as of an array, `draws[:, clusters]`; `draws @ values` is the product with it, and `np.asarray(draws)`
    the array itself. Clusters may share multipliers, as members of one variance unit (`variance_units`).

    Attributes
    ----------
    keys : (H,) unsigned 64-bit    One for each multiplier that is drawn, from `cluster_keys`.
    replicates, first : int        As in `multipliers`.
    member : (C,) int or None      Place among `keys` of each cluster; None: each has one of its own, H = C.

    >>> drawn, keys = Draws(cluster_keys(["a", "b", "c"], 1), 5), cluster_keys(["a", "b", "c"], 1)
    >>> bool((np.asarray(drawn[:, [2, 0]]) == multipliers(keys, 5)[:, [2, 0]]).all())
    True
    """

    keys: Words
    replicates: int
    first: int = 0
    member: Ints | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (B, C) of the array that these draws stand for."""
        return self.replicates, len(self.keys) if self.member is None else len(self.member)

    @property
    def units(self) -> Draws:
        """The same with one column for each key."""
        return replace(self, member=None)

    def places(self, cluster: Ints) -> Ints:
        """Return the place among the keys of each cluster that is named."""
        return cluster if self.member is None else self.member[cluster]

    def __len__(self) -> int:
        return self.replicates

    def __iter__(self) -> Iterator[Floats]:
        """Yield the multipliers of each replicate (C,)."""
        for _, block in self.blocks():
            yield from block.T

    def __getitem__(self, index: tuple[slice, npt.ArrayLike | slice]) -> Draws:
        """Pick replicates and clusters: `draws[5:9, clusters]`, clusters a list, array of places or of truth values."""
        which, clusters = index
        if not isinstance(which, slice):
            raise TypeError("draws are picked by a slice of replicates and by cluster: draws[:, clusters]")
        low, high, step = which.indices(self.replicates)
        if step != 1:
            raise TypeError(f"replicates are picked one after another, not in steps of {step}")
        pick = clusters if isinstance(clusters, slice) else np.asarray(clusters)
        if self.member is None:
            return Draws(self.keys[pick], max(high - low, 0), self.first + low)
        return Draws(self.keys, max(high - low, 0), self.first + low, self.member[pick])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Draw all at once (B, C)."""
        if copy is False:
            raise ValueError("draws are made anew each time: no array without a copy")
        drawn = multipliers(self.keys, self.replicates, first=self.first)
        return np.asarray(drawn if self.member is None else drawn[:, self.member], dtype=dtype)

    def __matmul__(self, values: npt.ArrayLike) -> Floats:
        """Return the product of the (B, C) array with values (C,) or (C, k), block by block of clusters."""
        right = np.asarray(values, dtype=np.float64)
        columns = right.reshape(len(right), -1)
        if self.member is not None:
            sums = [np.bincount(self.member, weights=column, minlength=len(self.keys)) for column in columns.T]
            columns = np.column_stack(sums) if sums else np.empty((len(self.keys), 0))
        upper = np.zeros((self.replicates, columns.shape[1]))
        for block, bits in self.upper():
            upper += bits.T @ columns[block]
        return _combine(columns.sum(axis=0), upper).reshape(self.replicates, *right.shape[1:])

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Yield blocks of replicates: the place of the first, and multipliers (C, replicates of the block)."""
        step = max(4, _BLOCK // max(self.shape[1], 1) // 4 * 4)
        for low in range(0, self.replicates, step):
            count = min(step, self.replicates - low)
            start = (self.first + low) // 4
            stop = -(-(self.first + low + count) // 4)
            counter = np.arange(start + 1, stop + 1, dtype=np.uint64) * _GOLDEN
            words = self.keys[:, None] + counter[None, :]
            _mix_in_place(words, np.empty_like(words))
            parts = words.astype("<u8", copy=False).reshape(-1).view("<u2").reshape(len(self.keys), 4 * len(counter))
            drawn = np.where(parts[:, self.first + low - 4 * start :][:, :count] < _UPPER_16, _HIGH, _LOW)
            yield low, drawn if self.member is None else drawn[self.member]

    def upper(self) -> Iterator[tuple[slice, Floats]]:
        """Yield blocks of keys: their place, and (keys, B) ones where the upper value is drawn, zeros elsewhere.

        The array yielded is reused by the next block.
        """
        start, stop = self.first // 4, -(-(self.first + self.replicates) // 4)
        counter = np.arange(start + 1, stop + 1, dtype=np.uint64) * _GOLDEN
        wanted = slice(self.first - 4 * start, self.first - 4 * start + self.replicates)
        step = max(1, _HASHED // max(len(counter), 1))
        size = -(-min(512, max(64, _DRAWN // max(self.replicates, 1)), max(len(self.keys), 1)) // step) * step
        words, scratch = np.empty((step, len(counter)), np.uint64), np.empty((step, len(counter)), np.uint64)
        bits = np.empty((size, self.replicates))
        for low in range(0, len(self.keys), size):
            high = min(low + size, len(self.keys))
            for at in range(low, high, step):
                part = self.keys[at : min(at + step, high)]
                state, spare = words[: len(part)], scratch[: len(part)]
                np.add(part[:, None], counter[None, :], out=state)
                _mix_in_place(state, spare)
                # Little-endian words read as four 16-bit draws, lowest first, whatever the machine's own order is.
                drawn = state.astype("<u8", copy=False).view("<u2")[:, wanted]
                bits[at - low : at - low + len(part)] = drawn < _UPPER_16
            yield slice(low, high), bits[: high - low]


Multipliers = Floats | Draws


def _mix_in_place(z: Words, spare: Words) -> None:
    """Do what `mix` does without a new array; `spare` is scratch of the same shape."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        np.right_shift(z, np.uint64(shift), out=spare)
        np.bitwise_xor(z, spare, out=z)
        np.multiply(z, factor, out=z)
    np.right_shift(z, np.uint64(31), out=spare)
    np.bitwise_xor(z, spare, out=z)


def _upper_totals(draws: Draws, cluster: Ints, column: Ints, amounts: Sequence[Floats], columns: int) -> Floats:
    """Sum amounts over clusters that draw the upper value: (B, V, columns) for V amounts (n,), each in column (n,).

    Exact, and so the same bits by dense or sparse product, when amounts are whole numbers with sums below 2**53.
    """
    cluster = draws.places(cluster)
    if len(cluster) and (cluster[1:] < cluster[:-1]).any():
        order = _by_cluster(cluster)
        cluster, column, amounts = cluster[order], column[order], [amount[order] for amount in amounts]
    first_row = np.flatnonzero(np.r_[True, cluster[1:] != cluster[:-1]]) if len(cluster) else np.empty(0, np.int64)
    used = Draws(draws.keys[cluster[first_row]], draws.replicates, draws.first)
    place = np.repeat(np.arange(len(first_row)), np.diff(np.r_[first_row, len(cluster)]))
    ends = np.r_[first_row, len(cluster)]
    pairs = _paired(amounts)
    totals = np.zeros((len(amounts), columns, draws.replicates))
    dense = columns * len(first_row) <= SPARSE * len(cluster)
    for block, bits in used.upper():
        rows = slice(ends[block.start], ends[block.stop])
        where, within, size = column[rows], place[rows] - block.start, block.stop - block.start

        def product(values: Floats, where: Ints = where, within: Ints = within, size: int = size) -> Floats:
            if dense:
                table = np.bincount(within * columns + where, weights=values, minlength=size * columns)
                return np.asarray(table.reshape(size, columns).T @ bits)  # noqa: B023 - called within its own block
            return np.asarray(sparse.csr_array((values, (where, within)), shape=(columns, size)) @ bits)  # noqa: B023

        for pair in pairs:
            pair.add_to(totals, rows, where, product)
    for pair in pairs:
        pair.settle(totals)
    return totals.transpose(2, 0, 1)


def _by_cluster(cluster: Ints) -> Ints:
    """Return the rows in order of their cluster, those of one cluster in their own: a counting sort, 15 times argsort."""
    rows = np.arange(len(cluster))
    counted = sparse.coo_array((rows, (cluster, rows)), shape=(int(cluster.max()) + 1, len(cluster))).tocsr()
    return np.asarray(counted.indices, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two amounts that share a product, or one amount alone.

    A float64 holds two whole numbers, low + unit x high, as long as low stays below the unit and all below 2**53; sums of such
    numbers are such numbers, so one product gives both. As high stands what the second amount has above `centre` times the
    first, which is smaller: a score less the mean score.

    Attributes
    ----------
    at : int                    Place of the first amount among all.
    low : (n,) float            The first amount. high : (n,) or None    Second less centre x first; None for one alone.
    centre : float              Whole number nearest to the second's total over the first's.
    packs : bool                Whether the first amount is nowhere negative.
    """

    at: int
    low: Floats
    high: Floats | None = None
    centre: float = 0.0
    packs: bool = False

    def add_to(self, totals: Floats, rows: slice, where: Ints, product: Callable[[Floats], Floats]) -> None:
        """Add the sums of a block's rows, each in column `where`, to totals (V, columns, B)."""
        low = self.low[rows]
        if self.high is None:
            totals[self.at] += product(low)
            return
        high, unit = self.high[rows], 0.0
        if self.packs:
            columns = totals.shape[1]
            largest = [float(np.bincount(where, np.abs(amount), columns).max(initial=0.0)) for amount in (low, high)]
            unit = float(2.0 ** np.ceil(np.log2(largest[0] + 1.0)))
            unit = unit if (largest[1] + 1.0) * unit < _EXACT else 0.0
        if not unit:
            totals[self.at] += product(low)
            totals[self.at + 1] += product(high)
            return
        both = product(low + unit * high)
        above = np.floor(both * (1.0 / unit))
        totals[self.at + 1] += above
        above *= unit
        both -= above
        totals[self.at] += both

    def settle(self, totals: Floats) -> None:
        """Give the second amount back what the centre took from it."""
        if self.centre:
            totals[self.at + 1] += self.centre * totals[self.at]


def _paired(amounts: Sequence[Floats]) -> list[_Pair]:
    pairs = []
    for at in range(0, len(amounts), 2):
        low = amounts[at]
        if at + 1 == len(amounts):
            pairs.append(_Pair(at, low))
            continue
        whole = float(low.sum())
        centre = float(np.rint(amounts[at + 1].sum() / whole)) if whole > 0 else 0.0
        pairs.append(_Pair(at, low, amounts[at + 1] - centre * low, centre, packs=bool((low >= 0).all())))
    return pairs


def upper_sums(draws: Draws, sums: sparse.csc_array | Floats, power: int = 1) -> Floats:
    """Return replicated totals (1 + B, columns) of sums by column and key (columns, H), sparse or an array.

    Layer 0 is the observed one.

    `power` is that of the multipliers: they take two values, so their powers do.

    >>> keys = cluster_keys(["a", "b"], 1)
    >>> found = upper_sums(Draws(keys, 3), sparse.csc_array(np.array([[1.0, 2.0]])))
    >>> np.allclose(found[1:, 0], multipliers(keys, 3) @ [1.0, 2.0])
    True
    """
    columns = sums.shape[0]
    upper = np.zeros((columns, draws.replicates))
    for block, bits in draws.upper():
        if isinstance(sums, np.ndarray):
            upper += sums[:, block] @ bits
            continue
        ends = slice(int(sums.indptr[block.start]), int(sums.indptr[block.stop]))
        if columns * (block.stop - block.start) <= SPARSE * (ends.stop - ends.start):
            upper += sums[:, block].toarray() @ bits
        else:
            upper += sums[:, block].tocsr() @ bits
    observed = np.asarray(sums.sum(axis=1), dtype=np.float64).reshape(-1)
    return np.concatenate([observed[None], _combine(observed, upper.T, power)])


def _combine(observed: Floats, upper: Floats, power: int = 1) -> Floats:
    """Give the replicate totals LOW S + (HIGH - LOW) P; shapes (...,) and (B, ...)."""
    return np.asarray(_LOW**power * observed + (_HIGH**power - _LOW**power) * upper, dtype=np.float64)


def weight_grid(largest_total: float) -> float:
    """Return the finest power of two on which weights that sum to at most `largest_total` add without rounding.

    The grid is 2**-52 of the total's next power of two: half of the 2**53 grid units that float64 holds exactly. With
    1e6 respondents of mean weight 1, no weight above 5 and scores up to 7, that is 2**-26. Rounding to the grid moves
    a weight by at most half a unit, a cell's total by at most half a unit per respondent, and a mean of scores by at most
    (highest - lowest score) grid / (2 mean weight of the cell): 5e-8 of a point there, and about 1 / sqrt(n) of it as a rule.

    Parameters
    ----------
    largest_total : bound on sum(weight x |value|) over all partitions and value columns; 1 among the values.

    >>> weight_grid(1e6 * 5 * 7) == 2.0**-26
    True
    """
    if not (np.isfinite(largest_total) and largest_total > 0):
        raise DesignError(
            "a weight grid needs the size of the total",
            where="statistics.replicates.weight_grid",
            expected="a finite number above 0",
            got=str(largest_total),
            hint="pass respondents x largest weight x largest score, over all partitions",
        )
    return float(2.0 ** (np.ceil(np.log2(largest_total)) - 52.0))


@dataclass(frozen=True, slots=True)
class Partition:
    """Some of the respondents, in any order; an organisation may be spread over partitions.

    Attributes
    ----------
    keys : (C,) unsigned 64-bit     Keys of the organisations of this partition, from `cluster_keys` with the study's seed.
    cluster : (n,) int              Index into `keys`.
    cell : (n,) int                 Cell 0..F - 1, or -1 for a respondent of no cell, whose organisation still counts.
    weight : (n,) float             Respondent weights; finite.
    values : (n, V) or None         Whole numbers to be summed beside the weights, as scale points; read where cell >= 0.
    """

    keys: Words
    cluster: Ints
    cell: Ints
    weight: Floats
    values: npt.NDArray[np.generic] | None = None


@dataclass(frozen=True, slots=True)
class CellTotals:
    """Replicated totals of F cells.

    Attributes
    ----------
    weight : (1 + B, F) float       Sum of weights; layer 0 is the observed one.
    value : (1 + B, V, F) float     Sum of weight x value.
    rows : (F,) int                 Respondents.
    clusters : (F,) int             Organisations with a respondent in the cell.
    """

    weight: Floats
    value: Floats
    rows: Ints
    clusters: Ints


@dataclass(frozen=True, slots=True, eq=False)
class CellSums:
    """Exact sums from which the replicated totals of F cells follow, gathered partition by partition.

    Weights are rounded to whole grid units once, row by row, and whole numbers add exactly; totals and replicates are
    therefore the same bits for one pass, any partition of the rows, any order, and any tree of merges. Memory: B x F x
    (1 + V) numbers, and F bits per organisation to count organisations by cell. Two organisations share a 64-bit key with
    probability C^2 / 2^65 (1e-9 at 166,000).

    Attributes
    ----------
    cells, values, replicates : int     F, V, B.
    grid : float                        Power of two, in the unit of the weights; the same for sums that are merged.
    observed : (1 + V, F) float         Whole grid units over all organisations; row 0 the weights.
    upper : (B, 1 + V, F) float         Whole grid units over the organisations that draw the upper multiplier.
    rows : (F,) int                     Respondents.
    keys : (C,) unsigned 64-bit         Organisations met, sorted.
    met : (C, ceil(F / 8)) uint8        Cells in which each has a respondent, packed.
    largest : float                     Largest sum of absolute grid units, at most 2**53.

    >>> part = Partition(cluster_keys(["a", "b"], 1), np.array([0, 1, 1]), np.array([0, 0, 1]), np.ones(3))
    >>> whole = CellSums.empty(2, 100).add(part)
    >>> totals = whole.totals()
    >>> totals.weight.shape, totals.weight[0].tolist(), totals.clusters.tolist()
    ((101, 2), [2.0, 1.0], [2, 1])
    """

    cells: int
    values: int
    replicates: int
    grid: float
    observed: Floats
    upper: Floats = field(repr=False)
    rows: Ints = field(repr=False)
    keys: Words = field(repr=False)
    met: Bytes = field(repr=False)
    largest: float

    @classmethod
    def empty(cls, cells: int, replicates: int, *, values: int = 0, grid: float = 2.0**-20) -> CellSums:
        """Start sums of `cells` cells and `values` value columns over `replicates` replicates.

        The grid suits weights of mean near 1: 1e9 respondents fit with scores up to 7, and a mean of scores 1 to 7 is moved
        by 3e-6 of a point at most. `weight_grid` gives the finest that the data allow.
        """
        return cls(
            cells=cells,
            values=values,
            replicates=replicates,
            grid=grid,
            observed=np.zeros((1 + values, cells)),
            upper=np.zeros((replicates, 1 + values, cells)),
            rows=np.zeros(cells, np.int64),
            keys=np.empty(0, np.uint64),
            met=np.empty((0, -(-cells // 8)), np.uint8),
            largest=0.0,
        )

    def add(self, part: Partition) -> CellSums:
        """Return the sums with a partition's respondents added.

        Raises DesignError for weights or values that are missing, values that are not whole numbers, cells out of range,
        and totals that would outgrow exact addition.
        """
        cell = np.asarray(part.cell, dtype=np.int64)
        inside = cell >= 0
        cluster, cell = np.asarray(part.cluster, dtype=np.int64), cell[inside]
        amounts = self._amounts(part, cell, inside)
        largest = self.largest + max(float(np.abs(amount).sum()) for amount in amounts)
        self._check_exact(largest)
        observed = np.stack([np.bincount(cell, weights=amount, minlength=self.cells) for amount in amounts])
        draws = Draws(np.asarray(part.keys, dtype=np.uint64), self.replicates)
        upper = _upper_totals(draws, cluster[inside], cell, amounts, self.cells)
        met = np.zeros((len(part.keys), self.cells), dtype=bool)
        met[cluster[inside], cell] = True
        here = np.zeros(len(part.keys), dtype=bool)
        here[cluster] = True
        keys, packed = self._with(draws.keys[here], np.packbits(met[here], axis=1))
        return replace(
            self,
            observed=self.observed + observed,
            upper=self.upper + upper,
            rows=self.rows + np.bincount(cell, minlength=self.cells),
            keys=keys,
            met=packed,
            largest=largest,
        )

    def merge(self, other: CellSums) -> CellSums:
        """Return the sums of both; they must agree in cells, values, replicates and grid."""
        mine, theirs = ((s.cells, s.values, s.replicates, s.grid) for s in (self, other))
        if mine != theirs:
            raise DesignError(
                "these sums were not made to be merged",
                where="statistics.replicates.CellSums.merge",
                expected="cells, values, replicates and grid " + ", ".join(map(str, mine)),
                got=", ".join(map(str, theirs)),
                hint="start every partition from the same CellSums.empty(...)",
            )
        self._check_exact(self.largest + other.largest)
        keys, packed = self._with(other.keys, other.met)
        return replace(
            self,
            observed=self.observed + other.observed,
            upper=self.upper + other.upper,
            rows=self.rows + other.rows,
            keys=keys,
            met=packed,
            largest=self.largest + other.largest,
        )

    def totals(self) -> CellTotals:
        """Give the replicated totals: LOW S + (HIGH - LOW) P, in the unit of the weights."""
        layers = np.concatenate([self.observed[None], _combine(self.observed, self.upper)]) * self.grid
        return CellTotals(layers[:, 0], layers[:, 1:], self.rows, self.cluster_counts())

    def cluster_counts(self) -> Ints:
        """Count the organisations with a respondent in each cell (F,)."""
        counts = np.zeros(self.cells, dtype=np.int64)
        for low in range(0, len(self.met), 65536):
            counts += np.unpackbits(self.met[low : low + 65536], axis=1, count=self.cells).sum(axis=0, dtype=np.int64)
        return counts

    def _amounts(self, part: Partition, cell: Ints, inside: npt.NDArray[np.bool_]) -> list[Floats]:
        where = "statistics.replicates.CellSums.add"
        units = np.rint(np.asarray(part.weight, dtype=np.float64)[inside] / self.grid)
        if not np.isfinite(units).all():
            raise DesignError(
                "respondents without a weight",
                where=where,
                expected="a finite weight for each row of a cell",
                got=f"{int((~np.isfinite(units)).sum())} of {len(units)} rows without",
                hint="weight the respondents first, or give their rows cell -1",
            )
        if len(cell) and cell.max() >= self.cells:
            raise DesignError(
                "a cell beyond the last one",
                where=where,
                expected=f"cells 0 to {self.cells - 1}, or -1",
                got=str(int(cell.max())),
                hint="start from CellSums.empty with the number of cells of the whole study",
            )
        columns = np.empty((len(part.weight), 0)) if part.values is None else np.asarray(part.values)
        columns = columns.reshape(len(part.weight), -1)
        if columns.shape[1] != self.values:
            raise DesignError(
                "another number of value columns than the sums have",
                where=where,
                expected=str(self.values),
                got=str(columns.shape[1]),
                hint="pass values with one column per value that CellSums.empty was told of",
            )
        amounts = [units]
        for v in range(self.values):
            value = columns[:, v][inside].astype(np.float64)
            if not (value == np.rint(value)).all():
                raise DesignError(
                    "values that are not whole numbers do not add exactly",
                    where=where,
                    expected="whole numbers, as scale points",
                    got=f"{value[value != np.rint(value)][0]} in value column {v}",
                    hint="multiply by what makes them whole (2 for half points) and divide the result; a row that lacks "
                    "the value gets cell -1",
                )
            amounts.append(units * value)
        return amounts

    def _check_exact(self, largest: float) -> None:
        if not largest < _EXACT:
            raise DesignError(
                "the totals outgrow exact addition on this grid",
                where="statistics.replicates.CellSums",
                expected="sums of weight x |value| below 2**53 grid units",
                got=f"2**{np.log2(largest):.1f} units of {self.grid:g}",
                hint="make the grid with weight_grid(bound on the total over all partitions)",
            )

    def _with(self, keys: Words, met: Bytes) -> tuple[Words, Bytes]:
        """Join organisations to those met before: sorted keys, cells of either."""
        new, inverse = np.unique(keys, return_inverse=True)
        packed = np.zeros((len(new), met.shape[1]), np.uint8)
        np.bitwise_or.at(packed, inverse, met)
        place = np.searchsorted(self.keys, new)
        known = np.zeros(len(new), dtype=bool)
        in_range = place < len(self.keys)
        known[in_range] = self.keys[place[in_range]] == new[in_range]
        old = self.met.copy()
        old[place[known]] |= packed[known]
        return np.insert(self.keys, place[~known], new[~known]), np.insert(old, place[~known], packed[~known], axis=0)


def stratified_totals(sums: Mapping[str, CellSums]) -> CellTotals:
    """Give the replicated totals of a stratified sample of clusters, from the sums of each stratum.

    T_b = T + sum over strata h of sqrt(n_h / (n_h - 1)) sum over clusters c of h of (m_bc - 1)(T_c - mean of T in h). The
    variance of the replicates is then sum_h n_h / (n_h - 1) sum_c (T_c - mean_h)^2 for a total, and the same of linearised
    values for what is smooth in totals: R survey's with-replacement variance (svymean, svytotal with strata). The
    small-sample factor is inside, so `infer` is told of the strata and adds none. Clusters of the stratum that have no
    respondent in a cell count with a total of zero: give their rows cell -1.

    A multiplier within small strata can be negative: where more than 0.45 of a stratum's organisations draw high, those that
    draw low are, in 11% of replicates with 10 organisations in the stratum, 2% with 30, 0.3% with 60. A cell of one or two
    organisations may then have a negative total, and raking inside a replicate may fail: judge those by
    `linearised_variance`.

    Parameters
    ----------
    sums : stratum -> its CellSums, of all the stratum's organisations.

    Raises DesignError for a stratum with a single organisation. Reference: Shao and Tu (1995), The Jackknife and Bootstrap,
    section 6.2; Beaumont and Patak (2012), Int. Statist. Rev. 80, 127-148 (generalised bootstrap weights).
    """
    _check_strata({name: len(part.keys) for name, part in sums.items()}, "statistics.replicates.stratified_totals")
    layers: Floats | None = None
    rows: Ints | None = None
    clusters: Ints | None = None
    for _, part in sorted(sums.items()):
        n = len(part.keys)
        nobody = np.zeros(n, dtype=np.int64)
        drawn = _upper_totals(Draws(part.keys, part.replicates), np.arange(n), nobody, [np.ones(n)], 1)[:, 0, 0]
        excess = _combine(part.observed, part.upper) - part.observed
        shift = (_combine(np.asarray(float(n)), drawn) - n)[:, None, None] * (part.observed / n)
        deviation = np.sqrt(n / (n - 1.0)) * (excess - shift)
        stack = np.concatenate([part.observed[None], part.observed + deviation]) * part.grid
        layers = stack if layers is None else layers + stack
        rows = part.rows if rows is None else rows + part.rows
        clusters = part.cluster_counts() if clusters is None else clusters + part.cluster_counts()
    if layers is None or rows is None or clusters is None:
        raise DesignError(
            "a stratified total needs a stratum",
            where="statistics.replicates.stratified_totals",
            expected="at least one stratum",
            got="none",
            hint="pass a mapping from stratum to its CellSums",
        )
    return CellTotals(layers[:, 0], layers[:, 1:], rows, clusters)


def stratified_multipliers(multiplier: Floats, stratum: npt.ArrayLike) -> Floats:
    """Centre multipliers within strata and give each stratum its small-sample factor: `stratified_totals` for arrays.

    m'_bc = 1 + sqrt(n_h / (n_h - 1)) (m_bc - 1 - mean over the clusters of h of (m_b - 1)). Replicate totals with m' have
    the variance sum_h n_h / (n_h - 1) sum_c (T_c - mean_h)^2.

    Parameters
    ----------
    multiplier : (B, C) from `multipliers`. stratum : (C,) stratum of each cluster, of every cluster of the sample.

    >>> stratified_multipliers(np.array([[2.0, 0.5, 1.0, 1.0]]), ["a", "a", "b", "b"]).round(4).tolist()
    [[2.0607, -0.0607, 1.0, 1.0]]
    """
    names, index = np.unique(np.asarray(stratum), return_inverse=True)
    n = np.bincount(index)
    _check_strata(
        {str(name): int(size) for name, size in zip(names, n, strict=True)},
        "statistics.replicates.stratified_multipliers",
    )
    deviation = multiplier - 1.0
    member = np.zeros((len(index), len(names)))
    member[np.arange(len(index)), index] = 1.0
    centred = deviation - ((deviation @ member) / n)[:, index]
    return np.asarray(1.0 + small_sample_factor(n)[index] * centred, dtype=np.float64)


def linearised_variance(scores: npt.ArrayLike, stratum: npt.ArrayLike | None = None) -> Floats:
    """Variance of a statistic from its clusters' linearised values: sum_h n_h / (n_h - 1) sum_c (u_c - mean_h)^2.

    For a weighted mean u_c is the sum over cluster c of w (y - mean) / W, for a total w y; rows outside a domain are zero.
    First-stage sampling with replacement, as R survey's svymean without fpc.

    Parameters
    ----------
    scores : (C, ...) one row per cluster of the sample. stratum : (C,); None for one stratum.

    Returns the variance (...,), in the statistic's unit squared. Reference: Binder (1983), Int. Statist. Rev. 51, 279-292.

    >>> linearised_variance([1.0, -1.0, 2.0, 4.0], ["a", "a", "b", "b"]).tolist()
    8.0
    """
    u = np.asarray(scores, dtype=np.float64)
    if stratum is None:
        names, index = np.array(["all"]), np.zeros(len(u), dtype=np.int64)
    else:
        names, index = np.unique(np.asarray(stratum), return_inverse=True)
    sizes = {str(name): int(size) for name, size in zip(names, np.bincount(index, minlength=1), strict=True)}
    _check_strata(sizes, "statistics.replicates.linearised_variance")
    total = np.zeros(u.shape[1:])
    for h in range(len(names)):
        mine = u[index == h]
        total = total + len(mine) / (len(mine) - 1.0) * ((mine - mine.mean(axis=0)) ** 2).sum(axis=0)
    return np.asarray(total, dtype=np.float64)


def _check_strata(sizes: Mapping[str, int], where: str) -> None:
    lone = sorted(name for name, size in sizes.items() if size < 2)
    if lone:
        raise DesignError(
            "a stratum with a single organisation has no variance between organisations",
            where=where,
            expected="at least two organisations in each stratum",
            got=f"fewer in {listed(lone)}",
            hint="merge the stratum with the one most like it, by a rule that does not look at answers",
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """Weighted totals per cell, one layer per replicate.

    Attributes
    ----------
    levels : (F, k) int         Level of each of the k keys for each cell that occurs, in lexicographic order.
    weight : (1 + B, F) float   Sum of weights; layer 0 is the observed one.
    rows : (F,) int             Respondents.
    """

    levels: Ints
    weight: Floats
    rows: Ints

    def of_scores(self, scores: npt.ArrayLike) -> tuple[Ints, Floats, Floats]:
        """Sum over the last key, the answer: levels of the other keys (H, k - 1), weight (1 + B, H), weight times score.

        Parameters
        ----------
        scores : (G,) what each level of the last key counts.

        >>> totals = Totals(np.array([[0, 0], [0, 1], [1, 1]]), np.array([[2.0, 1.0, 4.0]]), np.array([2, 1, 4]))
        >>> [part.tolist() for part in totals.of_scores([1.0, 5.0])]
        [[[0], [1]], [[3.0, 4.0]], [[7.0, 20.0]]]
        """
        others = self.levels[:, :-1]
        if not len(others):
            return others, self.weight, self.weight
        # Cells are in lexicographic order: those that differ in the last key alone lie together.
        starts = np.flatnonzero(np.r_[True, (others[1:] != others[:-1]).any(axis=1)])
        scored = self.weight * np.asarray(scores, dtype=np.float64)[self.levels[:, -1]]
        # A cell of weights that were put together layers last is a row in memory: the sums run along whole rows.
        return others[starts], np.add.reduceat(self.weight.T, starts).T, np.add.reduceat(scored.T, starts).T


def replicated_totals(
    keys: Sequence[npt.ArrayLike],
    cluster: npt.ArrayLike,
    weight: npt.ArrayLike,
    multiplier: Multipliers,
    *,
    layer_factor: Floats | None = None,
    factor_cell: npt.ArrayLike | None = None,
) -> Totals:
    """Sum weights by cell in the observed layer and in every replicate.

    T[b, f] = sum over clusters c of m[b, c] W[c, f] (times the raking factor of the layer), where W[c, f] is the weight of
    cluster c's respondents in cell f. With an array of multipliers this is one sparse product. With `Draws` the multipliers
    are drawn block by block, never held at once, and weights are rounded to `weight_grid` of n x the largest weight, so that
    the result is the same bits for rows in any order.

    Parameters
    ----------
    keys : k integer arrays (n,), the codes that define a cell; the caller leaves out rows that any of them lacks.
    cluster : (n,) index into the columns of `multiplier`.
    weight : (n,) respondent weights of the observed layer.
    multiplier : (B, C) from `multipliers`, or the `Draws` that stand for them.
    layer_factor : (1 + B, G) factor per layer and raking cell; None for 1.
    factor_cell : (n,) raking cell of each row, with `layer_factor`.

    >>> m = np.array([[2.0, 0.5]])
    >>> replicated_totals([[0, 0, 1]], [0, 1, 1], [1.0, 1.0, 3.0], m).weight.tolist()
    [[2.0, 3.0], [2.5, 1.5]]
    >>> keys = cluster_keys(["a", "b"], 1)
    >>> drawn = replicated_totals([[0, 0, 1]], [0, 1, 1], [1.0, 1.0, 3.0], Draws(keys, 5))
    >>> held = replicated_totals([[0, 0, 1]], [0, 1, 1], [1.0, 1.0, 3.0], multipliers(keys, 5))
    >>> np.allclose(drawn.weight, held.weight, rtol=1e-12)
    True
    """
    levels, sums, rows = replicated_sums(
        keys, cluster, [weight], multiplier, layer_factor=layer_factor, factor_cell=factor_cell
    )
    return Totals(levels, sums[0].T, rows)


def replicated_sums(
    keys: Sequence[npt.ArrayLike],
    cluster: npt.ArrayLike,
    amounts: Sequence[npt.ArrayLike],
    multiplier: Multipliers,
    *,
    layer_factor: Floats | None = None,
    factor_cell: npt.ArrayLike | None = None,
) -> tuple[Ints, Floats, Ints]:
    """Sum several amounts of the same respondents by cell, in the observed layer and in every replicate.

    What `replicated_totals` does of one weight, for V amounts at once: the weight, and the weight times each of several
    answers. What does not hang on the amount is done once.

    Parameters
    ----------
    keys, cluster, multiplier, layer_factor, factor_cell : as in `replicated_totals`.
    amounts : V arrays (n,), weights or weights times answers.

    Returns levels (F, k) of each cell that occurs, in lexicographic order, sums (V, F, 1 + B), and respondents (F,). A caller
    that wants layers first takes the transpose, which copies nothing.

    Raises DesignError where raking cells come without their factors.

    >>> m = np.array([[2.0, 0.5]])
    >>> replicated_sums([[0, 0, 1]], [0, 1, 1], [[1.0, 1.0, 3.0], [4.0, 2.0, 3.0]], m)[1].tolist()
    [[[2.0, 2.5], [3.0, 1.5]], [[6.0, 9.0], [3.0, 1.5]]]
    """
    codes = np.column_stack([np.asarray(key, dtype=np.int64) for key in keys])
    cluster = np.asarray(cluster, dtype=np.int64)
    values = [np.asarray(amount, dtype=np.float64) for amount in amounts]
    layers = multiplier.shape[0] + 1
    if len(codes) == 0:
        return np.empty((0, codes.shape[1]), np.int64), np.empty((len(values), 0, layers)), np.empty(0, np.int64)
    if factor_cell is None:
        cells, position = distinct_rows(codes)
        rows = np.bincount(position, minlength=len(cells))
        return cells, np.stack(list(_cell_sums(values, position, len(cells), cluster, multiplier))), rows
    if layer_factor is None:
        raise DesignError(
            "raking cells were given without their factors",
            where="statistics.replicates.replicated_sums",
            expected="layer_factor with one column per raking cell",
            got="None",
            hint="pass both layer_factor and factor_cell, or neither",
        )
    fine, position = distinct_rows(np.column_stack([codes, np.asarray(factor_cell, dtype=np.int64)]))
    cells, target = distinct_rows(fine[:, :-1])
    gather = sparse.coo_array(
        (np.ones(len(fine)), (target, np.arange(len(fine)))), shape=(len(cells), len(fine))
    ).tocsr()
    factor = np.ascontiguousarray(layer_factor.T)[fine[:, -1]]
    sums = np.empty((len(values), len(cells), layers))
    for out, by_fine in zip(sums, _cell_sums(values, position, len(fine), cluster, multiplier), strict=True):
        out[:] = gather @ np.multiply(by_fine, factor, out=by_fine)
    rows = np.bincount(target[position], minlength=len(cells))
    return cells, sums, rows


def _cell_sums(
    amounts: Sequence[Floats], position: Ints, cells: int, cluster: Ints, multiplier: Multipliers
) -> Iterator[Floats]:
    """Sum each amount by cell in every layer (cells, 1 + B), before raking."""
    layers = multiplier.shape[0] + 1
    if isinstance(multiplier, Draws):
        at_once = max(2, _HELD // (cells * layers))
        for low in range(0, len(amounts), at_once):
            few = amounts[low : low + at_once]
            grids = [weight_grid(len(one) * max(float(np.abs(one).max()), np.finfo(np.float64).tiny)) for one in few]
            units = [np.rint(one / grid) for one, grid in zip(few, grids, strict=True)]
            upper = _upper_totals(multiplier, cluster, position, units, cells).transpose(1, 2, 0)  # (V, cells, B)
            for unit, grid, above in zip(units, grids, upper, strict=True):
                observed = np.asarray(np.bincount(position, weights=unit, minlength=cells), dtype=np.float64)
                out = np.empty((cells, layers))
                out[:, 0] = observed * grid
                out[:, 1:] = _combine(observed[:, None], above) * grid
                yield out
        return
    by_layer = np.ascontiguousarray(multiplier.T)
    for amount in amounts:
        by_cluster = sparse.coo_array(
            (amount, (position, cluster)), shape=(cells, len(by_layer)), dtype=np.float64
        ).tocsr()
        out = np.empty((cells, layers))
        out[:, 0] = by_cluster.sum(axis=1)
        out[:, 1:] = by_cluster @ by_layer
        yield out


def distinct_rows(codes: Ints) -> tuple[Ints, Ints]:
    """Return the distinct rows of codes (F, k) in lexicographic order, and the place of each row among them (n,)."""
    if not len(codes):
        return codes, np.empty(0, dtype=np.int64)
    low = codes.min(axis=0)
    spans = [int(span) for span in codes.max(axis=0) - low + 1]
    places = float(np.prod([float(span) for span in spans]))
    if places > _EXACT:
        cells, position = np.unique(codes, axis=0, return_inverse=True)
        return cells, position.reshape(-1)
    flat = np.ravel_multi_index(tuple((codes - low).T), tuple(spans))
    if places > 4 * len(codes) + 1e6:
        present, position = np.unique(flat, return_inverse=True)
        return np.column_stack(np.unravel_index(present, tuple(spans))).astype(np.int64) + low, position.reshape(-1)
    present = np.flatnonzero(np.bincount(flat, minlength=int(np.prod(spans))))
    place = np.zeros(int(np.prod(spans)), dtype=np.int64)
    place[present] = np.arange(len(present))
    return np.column_stack(np.unravel_index(present, tuple(spans))).astype(np.int64) + low, place[flat]


def small_sample_factor(clusters: npt.ArrayLike) -> Floats:
    """Return sqrt(n / (n - 1)) for n clusters: what replicate deviations lack because the sample's mean was fitted.

    To first order a statistic moves in a replicate by sum_c (m_c - 1) u_c, u_c the clusters' linearised values, which sum to
    zero because the statistic was fitted to the same clusters. The multipliers have variance 1, so the replicates vary by
    sum u_c^2 as their number grows. One degree of
    freedom went into the fit: in expectation sum u_c^2 is (n - 1) / n of the variance of the statistic when clusters are
    alike, as a sum of squares about the sample mean is. n / (n - 1) restores it and makes the replicate variance the
    linearised one of sampling with replacement (`linearised_variance`; R survey), which the jackknife equals to the same
    order. It is 2.5% of a standard error at 20 organisations, 0.6% at 90.

    n counts the organisations that carry the statistic, not all of the sample: those without a respondent in a role have
    u_c = 0 and say nothing of how its organisations differ. R survey counts all, so that its standard error of a role in
    20 of 42 organisations is 1.4% smaller. With strata the factor is sqrt(n_h / (n_h - 1)) within each stratum, about the
    stratum's mean, and counts all organisations of the stratum (`stratified_totals`, `stratified_multipliers`).

    With one cluster it is missing (nan): one organisation has no variance between organisations.

    References: Cochran (1977), Sampling Techniques, section 9.2; Wolter (2007), Introduction to Variance Estimation, ch. 2.

    >>> small_sample_factor([2, 1]).round(4).tolist()
    [1.4142, nan]
    """
    n = np.asarray(clusters, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 1, np.sqrt(n / (n - 1.0)), np.nan)


def t_scale(clusters: npt.ArrayLike, level: float = 0.95) -> Floats:
    """Return t(n - 1) / z at the level: how much wider than a normal interval one from n clusters must be.

    >>> t_scale([90]).round(4).tolist()
    [1.0138]
    """
    df = np.maximum(np.asarray(clusters, dtype=np.float64) - 1.0, 1.0)
    tail = 0.5 + level / 2.0
    return np.asarray(special.stdtrit(df, tail) / special.ndtri(tail), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Inference:
    """An estimate with its uncertainty from replicates.

    Attributes
    ----------
    estimate, std_error : (...,)     In the statistic's own unit.
    conf_low, conf_high : (...,)     Interval at `level`; nan where fewer than two clusters carry it.
    draws : (B, ...)                 Confidence draws: the share at or below x is the one-sided p-value of "at most x".
    """

    estimate: Floats
    std_error: Floats
    conf_low: Floats
    conf_high: Floats
    draws: Floats


def infer(
    layers: Floats, clusters: npt.ArrayLike, *, level: float = 0.95, strata: npt.ArrayLike | None = None
) -> Inference:
    """Give a statistic its standard error and t interval from its layers.

    std_error = sqrt(mean over b of (theta_b - theta_0)^2) sqrt(n / (n - 1)); interval theta_0 -+ t(n - 1) std_error, n the
    organisations that carry the statistic. Percentile intervals of few clusters cover too little (0.87 at 8 clusters, 0.94
    at 60; the t interval 0.92 and 0.94), so they are not the default.

    Parameters
    ----------
    layers : (1 + B, ...), layer 0 observed.
    clusters : (...,) clusters behind each statistic.
    strata : (...,) number of strata behind each statistic, for layers from `stratified_totals` or `stratified_multipliers`:
        the small-sample factor is in those layers already, and the degrees of freedom are clusters less strata.

    >>> infer(np.array([[3.0], [2.0], [4.0]]), [2]).std_error.round(4).tolist()
    [1.4142]
    """
    theta = layers[0]
    n = np.broadcast_to(np.asarray(clusters, dtype=np.float64), theta.shape)
    if strata is None:
        factor, df = small_sample_factor(n), n - 1.0
    else:
        df = n - np.asarray(strata, dtype=np.float64)
        factor = np.where(df > 0, 1.0, np.nan)
    error = (layers[1:] - theta) * factor
    std_error = np.sqrt(np.mean(error**2, axis=0))
    half = std_error * special.stdtrit(np.maximum(df, 1.0), 0.5 + level / 2.0)
    return Inference(theta, std_error, theta - half, theta + half, theta - error * t_scale(df + 1.0, level))
