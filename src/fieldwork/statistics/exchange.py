"""Sums over groups when units exchange what they hold within blocks: the normal limit of a permutation distribution.

Own code: permutation libraries draw arrangements, one by one, and a hundred thousand executives dealt out two thousand times
cost minutes. A sum over that many blocks is normal, and its mean and covariance under the permutations are known exactly.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from fieldwork.statistics.replicates import distinct_rows

__all__ = ["MANY", "distinct_columns", "exchanged_sums", "movable"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MANY = 5_000
"""Units that can move beyond which the normal limit takes the place of drawn arrangements."""

_BLOCK = 4_000_000  # numbers held at a time
_FEW = 100  # blocks that are gone through one by one


def movable(label: npt.ArrayLike, block: npt.ArrayLike) -> int:
    """Count the units whose block holds two labels or more: the others say nothing, however many they are.

    >>> movable([0, 1, 0, 0, 2], [7, 7, 8, 8, 9])
    2
    """
    own = distinct_rows(np.column_stack([np.asarray(block, dtype=np.int64), np.asarray(label, dtype=np.int64)]))[0][
        :, 0
    ]
    home, number = np.unique(own, return_counts=True)
    return int(np.isin(np.asarray(block), home[number > 1]).sum())


def exchanged_sums(
    place: npt.ArrayLike, contents: npt.ArrayLike, block: npt.ArrayLike, draws: int, rng: np.random.Generator
) -> Floats:
    """Draw sum_i place_i x contents_pi(i), pi a random permutation within blocks, from its normal limit.

    In block b of n_b units the sum has mean q T' / n_b and covariance A (x) D, with q and T the sums of places and contents,
    A = (sum place place' - q q' / n_b) / (n_b - 1), D = sum contents contents' - T T' / n_b; blocks are independent, so these
    add, and a block of one is a constant. Exact in mean and covariance for any size; the shape is normal as the number of
    units grows while none dominates.

    Parameters
    ----------
    place : (U, G) what stays: indicators of groups, or weights. contents : (U, K) what moves. block : (U,) int.
    draws : number of sums. rng : generator.

    Returns (draws, G, K).

    Reference: Hoeffding (1951), Annals of Mathematical Statistics 22, 558-566 (combinatorial central limit theorem).

    >>> group, score = np.eye(2)[[0, 0, 1, 1]], np.array([[1.0], [2.0], [3.0], [6.0]])
    >>> sums = exchanged_sums(group, score, [0, 0, 0, 0], 4000, np.random.default_rng(1))
    >>> sums.mean(axis=0).round(0).ravel().tolist(), float(np.var(sums[:, 0, 0]).round(0))     # 4 x 14 / (4 x 3)
    ([6.0, 6.0], 5.0)
    """
    held, moved = np.asarray(place, dtype=np.float64), np.asarray(contents, dtype=np.float64)
    home = np.unique(np.asarray(block), return_inverse=True)[1].reshape(-1)
    order = np.argsort(home, kind="stable")
    held, moved, home = held[order], moved[order], home[order]
    starts = np.flatnonzero(np.r_[True, home[1:] != home[:-1]])
    n = np.diff(np.r_[starts, len(home)]).astype(np.float64)
    q, total = np.add.reduceat(held, starts), np.add.reduceat(moved, starts)
    mean = (q / n[:, None]).T @ total
    covariance = _covariance(held, moved, starts, n)
    size = len(covariance)
    value, vector = np.linalg.eigh(covariance)
    root = vector * np.sqrt(np.maximum(value, 0.0))
    noise = rng.standard_normal((draws, size)) @ root.T
    return np.asarray(mean + noise.reshape(draws, *mean.shape), dtype=np.float64)


def distinct_columns(values: Floats) -> tuple[Ints, Ints]:
    """Return the first of each set of equal columns (D,), and for each column (K,) its place among them.

    >>> first, which = distinct_columns(np.array([[1.0, 0, 1], [2.0, 0, 2]]))
    >>> first.tolist(), which.tolist()
    ([0, 1], [0, 1, 0])
    """
    found: dict[bytes, int] = {}
    which = [found.setdefault(np.ascontiguousarray(column).tobytes(), len(found)) for column in values.T]
    return np.unique(which, return_index=True)[1].astype(np.int64), np.array(which, dtype=np.int64)


def _covariance(held: Floats, moved: Floats, starts: Ints, n: Floats) -> Floats:
    """Sum over blocks of A (x) D: (G K, G K)."""
    G, K = held.shape[1], moved.shape[1]
    if len(starts) <= _FEW:
        summed = np.zeros((G * K, G * K))
        for low, high in itertools.pairwise([*starts.tolist(), len(held)]):
            free = max(float(high - low) - 1.0, 1.0)
            centred = [part[low:high] - part[low:high].mean(axis=0) for part in (held, moved)]
            summed += np.kron(centred[0].T @ centred[0] / free, centred[1].T @ centred[1])
        return summed
    (g, h), (k, m) = np.triu_indices(G), np.triu_indices(K)
    # Columns that are equal, as those of who was asked are, make equal products: each is summed once.
    which = distinct_columns(moved)[1]
    _, once, each = np.unique(
        np.sort(np.column_stack([which[k], which[m]]), axis=1), axis=0, return_index=True, return_inverse=True
    )
    found = np.zeros((len(g), len(k)))
    ends = np.r_[starts, len(held)]
    step = max(1, int(_BLOCK // (len(g) + len(k)) / max(float(n.mean()), 1.0)))
    for low in range(0, len(starts), step):
        high = min(low + step, len(starts))
        rows, own = slice(ends[low], ends[high]), starts[low:high] - ends[low]
        size = n[low:high, None]
        outer = []
        for values, i, j in ((held[rows], g, h), (moved[rows], k[once], m[once])):
            total = np.add.reduceat(values, own)
            outer.append(np.add.reduceat(values[:, i] * values[:, j], own) - total[:, i] * total[:, j] / size)
        found += (outer[0] / np.maximum(size - 1.0, 1.0)).T @ outer[1][:, each]
    whole = np.zeros((G, G, K, K))
    for one, other in ((g, h), (h, g)):
        whole[one[:, None], other[:, None], k, m] = found
        whole[one[:, None], other[:, None], m, k] = found
    return whole.transpose(0, 2, 1, 3).reshape(G * K, G * K)
