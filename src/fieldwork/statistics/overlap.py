"""What colleagues cite in common: overlap of answer sets within teams, beside that of executives of different teams.

Own code, because no library compares answer sets within teams with what the same roles of other teams would share, under
replicates of teams. System level: every number here is of a team first, and the mean is over teams.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fieldwork.errors import DesignError
from fieldwork.statistics.layers import LayerWeights, layer_weights
from fieldwork.statistics.profiles import hill_number
from fieldwork.statistics.replicates import distinct_rows

if TYPE_CHECKING:
    from fieldwork.statistics.replicates import Multipliers

__all__ = ["TeamAnswers", "TeamOverlap", "jaccard", "team_answers", "team_overlap"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_BLOCK = 512  # answer sets whose overlaps with as many others are held at a time
_PAIRS = 1 << 16  # pairs of answer sets compared at a time
_DEARER = 14  # pairs of answer sets that are compared in the time of one sum over all sets
_ITEMS = 16  # items, above which the table of all answer sets would be larger than any study needs


def jaccard(first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
    """Items that both cite over items that either cites, along the last axis (..., J): 0 nothing in common, 1 the same set.

    Two who cite nothing share nothing: 0. Reference: Jaccard (1912), New Phytologist 11, 37-50.

    >>> jaccard([[1, 1, 0], [0, 0, 0]], [[0, 1, 1], [0, 0, 0]]).round(4).tolist()
    [0.3333, 0.0]
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    both = (a * b).sum(axis=-1)
    either = a.sum(axis=-1) + b.sum(axis=-1) - both
    return np.asarray(both / np.maximum(either, 1.0), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class TeamAnswers:
    """What each team cites, of the teams with enough informants.

    Attributes
    ----------
    team : (T,) int                Teams, as they were numbered.
    informants : (T,) int          Informants of each.
    majority_share : (T,) float    Of the items that anyone in the team cites, those that more than half cite, 0..1; missing
                                   where nobody cites anything.
    effective_number : (T,) float  Hill's number of order 1 of the team's citations, 1..J; missing likewise.
    """

    team: Ints
    informants: Ints
    majority_share: Floats
    effective_number: Floats


def team_answers(cited: npt.ArrayLike, team: npt.ArrayLike, *, minimum: int = 3) -> TeamAnswers:
    """Say of each team how many of its items a majority cites, and over how many items its citations spread.

    Parameters
    ----------
    cited : (n, J) of 0 and 1. team : (n,) team of each informant, numbered from 0. minimum : informants below which a team
        says nothing of itself.

    >>> sets = [[1, 1, 0], [1, 0, 0], [1, 0, 1]]
    >>> answers = team_answers(sets, [4, 4, 4])
    >>> answers.majority_share.round(4).tolist(), answers.effective_number.round(4).tolist()
    ([0.3333], [2.5864])
    """
    ticks, teams = _checked(cited, team)
    size = np.bincount(teams)
    kept = np.flatnonzero(size >= minimum)
    counts = np.column_stack([np.bincount(teams, column, len(size)) for column in ticks.T])
    counts, size = counts[kept], size[kept]
    anyone = (counts > 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        majority = (counts > size[:, None] / 2.0).sum(axis=1) / np.where(anyone > 0, anyone, np.nan)
    return TeamAnswers(
        kept.astype(np.int64), size.astype(np.int64), majority, np.where(anyone > 0, hill_number(counts), np.nan)
    )


@dataclass(frozen=True, slots=True)
class TeamOverlap:
    """Mean overlap of colleagues' answer sets, and of executives of the same roles in different teams, in every layer.

    Attributes
    ----------
    within : (1 + B,) float      Mean over teams of the mean Jaccard index of their pairs, 0..1; layer 0 observed.
    expected : (1 + B,) float    The same for pairs of the same roles from different teams.
    informants, teams : int      Informants and teams that count.
    """

    within: Floats
    expected: Floats
    informants: int
    teams: int


def team_overlap(
    cited: npt.ArrayLike, team: npt.ArrayLike, role: npt.ArrayLike, multiplier: Multipliers, *, minimum: int = 3
) -> TeamOverlap:
    """Set the overlap of colleagues' answer sets beside the overlap that their roles alone would give.

    Within: the Jaccard index of every pair of a team, averaged over its pairs, then over teams. Expected: each pair is
    replaced by the mean over all pairs of the same two roles from different teams, which is what exchanging whole answer sets
    between holders of a role gives in expectation; no arrangement need be drawn. Their difference is what being in one team
    adds. In the replicates the mean over pairs of two roles moves to first order with either side (Hajek's projection of a
    two-sample U-statistic), which is all that its variance needs.

    Parameters
    ----------
    cited : (n, J) of 0 and 1. team : (n,) column of `multiplier`. role : (n,) int, one number for all where roles are not
        known. multiplier : (B, C) replicate multipliers by team. minimum : informants below which a team is left out.

    A pair of roles that different teams do not offer is left out. Raises DesignError where fewer than two teams remain.

    Reference: Hajek (1968), Annals of Mathematical Statistics 39, 325-346.

    >>> sets = [[1, 0], [1, 0], [0, 1], [0, 1]]                       # two teams of two who agree, CEO and CFO
    >>> overlap = team_overlap(sets, [0, 0, 1, 1], [0, 1, 0, 1], np.ones((3, 2)), minimum=2)
    >>> float(overlap.within[0]), float(overlap.expected[0])
    (1.0, 0.0)
    """
    ticks, teams = _checked(cited, team)
    kinds = distinct_rows(np.asarray(role, dtype=np.int64)[:, None])[1]
    size = np.bincount(teams, minlength=multiplier.shape[1])
    kept = size[teams] >= minimum
    # Teams lie together, so that the pairs of one are found in a run; the order within is that of the rows given.
    order = np.flatnonzero(kept)
    if (np.diff(teams[order]) < 0).any():
        order = order[np.argsort(teams[order], kind="stable")]
    ticks, teams, kinds = ticks[order], teams[order], kinds[order]
    members = np.unique(teams)
    if len(members) < 2:
        raise DesignError(
            "overlap within teams needs two teams",
            where="statistics.overlap.team_overlap",
            expected=f"two teams of {minimum} informants or more",
            got=str(len(members)),
            hint="report the construct as not assessable",
        )
    layers = layer_weights(multiplier, np.arange(multiplier.shape[1]))
    first, second = _pairs(teams)
    sets, given = _distinct(ticks)
    value = _of_pairs(sets, given[first], given[second])
    R = int(kinds.max()) + 1
    shared = _elsewhere((sets, given), teams, kinds, R, (first, second, value), layers)
    pair = np.minimum(kinds[first], kinds[second]) * R + np.maximum(kinds[first], kinds[second])
    compared = np.isfinite(shared[0, pair])
    first, second, value, pair = first[compared], second[compared], value[compared], pair[compared]
    weight = 1.0 / np.bincount(teams[first], minlength=multiplier.shape[1])[teams[first]]
    by_team = np.bincount(teams[first], weights=value * weight, minlength=multiplier.shape[1])
    met, place = np.unique(pair, return_inverse=True)
    makeup = sparse.coo_array((weight, (teams[first], place)), shape=(multiplier.shape[1], len(met)))
    makeup.sum_duplicates()
    members = np.unique(teams[first])
    if len(members) < 2:
        raise DesignError(
            "no two roles meet in two teams",
            where="statistics.overlap.team_overlap",
            expected="pairs of roles that occur in different teams",
            got=f"{len(members)} teams with such a pair",
            hint="report the construct as not assessable",
        )
    number = layers[:, members].sum(axis=1)
    within = (layers @ by_team) / number
    expected = ((layers @ makeup) * shared[:, met]).sum(axis=1) / number
    return TeamOverlap(within, expected, int(np.isin(teams, members).sum()), len(members))


def _checked(cited: npt.ArrayLike, team: npt.ArrayLike) -> tuple[Floats, Ints]:
    ticks, teams = np.asarray(cited, dtype=np.float64), np.asarray(team, dtype=np.int64)
    if ticks.ndim != 2 or len(ticks) != len(teams) or not np.isin(ticks, (0.0, 1.0)).all():
        raise DesignError(
            "answer sets of teams need one row of ticks per informant",
            where="statistics.overlap",
            expected="0 and 1, (informants, items), and a team for each",
            got=f"shape {ticks.shape}, {len(teams)} teams",
            hint="an option that was not put counts as not cited",
        )
    return ticks, teams


def _pairs(teams: Ints) -> tuple[Ints, Ints]:
    """Every pair of rows of one team; rows of a team lie together."""
    starts = np.flatnonzero(np.r_[True, teams[1:] != teams[:-1]])
    sizes = np.diff(np.r_[starts, len(teams)])
    first, second = [], []
    for size in np.unique(sizes):
        at = starts[sizes == size]
        places = np.array(list(itertools.combinations(range(int(size)), 2)), dtype=np.int64).reshape(-1, 2)
        first.append((at[:, None] + places[:, 0]).reshape(-1))
        second.append((at[:, None] + places[:, 1]).reshape(-1))
    return np.concatenate(first), np.concatenate(second)


def _of_pairs(sets: Floats, one: Ints, other: Ints) -> Floats:
    """Jaccard index of pairs of answer sets, each named by its place among the distinct ones, in blocks of pairs."""
    out = np.empty(len(one))
    for low in range(0, len(one), _PAIRS):
        part = slice(low, low + _PAIRS)
        out[part] = jaccard(sets[one[part]], sets[other[part]])
    return out


def _elsewhere(
    answers: tuple[Floats, Ints],
    teams: Ints,
    kinds: Ints,
    R: int,
    within: tuple[Ints, Ints, Floats],
    layers: LayerWeights,
) -> Floats:
    """Mean overlap of two roles from different teams, in every layer (1 + B, R * R), row a <= column b; nan where none."""
    # Many answer sets occur more than once: each is compared with each distinct one, weighted by who gave it.
    sets, given = answers
    C = layers.shape[1]
    holders = np.bincount(given * R + kinds, minlength=len(sets) * R).reshape(len(sets), R).astype(np.float64)
    overlaps, own = _overlaps(sets, holders), kinds * C + teams
    # By other role, own role and team: what all give, less what colleagues do and everybody's own.
    total = np.stack([np.bincount(own, column[given], R * C) for column in np.ascontiguousarray(overlaps.T)]).reshape(
        -1
    )
    first, second, value = within
    for x, y in ((first, second), (second, first)):
        np.subtract.at(total, kinds[y] * (R * C) + own[x], value)
    np.subtract.at(total, kinds * (R * C) + own, jaccard(sets, sets)[given])
    apart = total.reshape(R, R, C)
    team = np.bincount(own, minlength=R * C).reshape(R, C).astype(np.float64)
    elsewhere = team.sum(axis=1, keepdims=True) - team
    # Replicate means of one side, the other at its observed weights: (layers, own role, other role).
    sums, counts = (
        np.stack([layers @ np.ascontiguousarray(columns.T) for columns in by_own], axis=1)
        for by_own in ((apart[:, r] for r in range(R)), (team[r] * elsewhere for r in range(R)))
    )
    # Where no pair is left the sum is nil but for rounding, and its ratio to none would be infinite.
    with np.errstate(divide="ignore", invalid="ignore"):
        side = np.where(counts > 0, sums / counts, np.nan)
    mean = side + side.transpose(0, 2, 1) - side[:1]
    return np.asarray(mean.reshape(len(layers), R * R), dtype=np.float64)


def _distinct(ticks: Floats) -> tuple[Floats, Ints]:
    """Return the distinct answer sets, and the place of each informant's among them."""
    words = np.packbits(ticks.astype(np.bool_), axis=1).astype(np.int64)
    codes, given = distinct_rows(words)
    return np.unpackbits(codes.astype(np.uint8), axis=1, count=ticks.shape[1]).astype(np.float64), given


def _overlaps(sets: Floats, holders: Floats) -> Floats:
    """Sum of the Jaccard index of each answer set with those that hold all (S, R), `holders` (S, R) of them."""
    J = sets.shape[1]
    # Sums that either way takes; one over all sets costs as much as a dozen pairs, which go through a matrix product.
    if J <= _ITEMS and _DEARER * _nodes(J) * J << J <= len(sets) ** 2:
        return _over_all_sets(sets, holders)
    return _set_by_set(sets, holders)


def _set_by_set(sets: Floats, holders: Floats) -> Floats:
    """Do what `_overlaps` does pair by pair: the index of two is that of two the other way round, so a block serves twice."""
    number = sets.sum(axis=1)
    number[number == 0] = 1.0  # who cites nothing shares nothing: nil over something
    total = np.zeros_like(holders)
    for low in range(0, len(sets), _BLOCK):
        rows = slice(low, low + _BLOCK)
        for left in range(0, low + 1, _BLOCK):
            columns = slice(left, left + _BLOCK)
            both = sets[rows] @ sets[columns].T
            either = number[rows, None] + number[columns]
            either -= both
            both /= either
            total[rows] += both @ holders[columns]
            if left < low:
                total[columns] += both.T @ holders[rows]
    return total


def _nodes(items: int) -> int:
    return (items + 1) // 2


def _over_all_sets(sets: Floats, holders: Floats) -> Floats:
    """Do what `_overlaps` does without pairs, item by item over all 2^J answer sets.

    With u = |x or y| items that either cites, 1 / u is the integral of t^(u - 1) over 0..1, a polynomial of degree J - 1 at
    most, which J / 2 nodes of Gauss and Legendre integrate without error. At one t the sum over y of h(y) |x and y| t^(u - 1)
    is t^(|x| - 1) times the derivative at z = 1 of sum h(y) z^(|x and y|) t^(|y but not x|), a product over items: an item
    that y cites counts z where x cites it and t where not. All terms are positive, so nothing is lost to cancellation.
    """
    J, R = sets.shape[1], holders.shape[1]
    code = sets.astype(np.int64) @ (1 << np.arange(J))
    held = np.zeros((1 << J, R))
    held[code] = holders
    total = np.zeros_like(holders)
    number = sets.sum(axis=1)[:, None]
    for node, share in zip(*np.polynomial.legendre.leggauss(_nodes(J)), strict=True):
        t = (float(node) + 1.0) / 2.0
        value, slope = held.copy(), np.zeros_like(held)
        for j in range(J):
            (without, cited), (less, more) = (each.reshape(-1, 2, R << j).transpose(1, 0, 2) for each in (value, slope))
            both = less + more
            both += cited
            less += t * more
            more[:] = both
            np.add(without, cited, out=both)
            without += t * cited
            cited[:] = both
        total += share / 2.0 * t ** (number - 1.0) * slope[code]
    return total
