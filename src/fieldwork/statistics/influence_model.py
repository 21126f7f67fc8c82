"""Who is seen to have influence: social relations, target effects, shares of points, paired choices, weighted gaps.

Own code, because no library serves: the social relations model exists in R only (and there not for ratings that are missing);
fixed-effects packages fit one weight vector a call, where a thousand replicates are one batched solve of a ten-by-ten system;
and statsmodels has no Bradley-Terry model that says which roles no comparison connects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse, stats
from scipy.linalg import block_diag
from scipy.sparse import csgraph

from fieldwork.errors import ConvergenceError, DataError, DesignError, listed
from fieldwork.statistics.layers import Layers, layer_weights
from fieldwork.statistics.replicates import Draws, distinct_rows
from fieldwork.statistics.spread import noise_corrected_variance

if TYPE_CHECKING:
    from fieldwork.statistics.replicates import Multipliers

__all__ = [
    "BradleyTerry",
    "GroupedEffects",
    "PointShares",
    "RoundRobin",
    "SelfOtherGap",
    "ShrunkenEffects",
    "SocialRelations",
    "TargetEffects",
    "abilities",
    "bradley_terry",
    "group_components",
    "influence_weighted_gap",
    "point_shares",
    "round_robin",
    "shrink_effects",
    "social_relations",
    "target_effects",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_PARTS = 8_192  # parts whose raters are gone through together
_PATTERNS = 512  # groups, or patterns of ratings given, that are solved together: their matrices stay in the cache
_ALIKE = 1e10  # condition of the expected sums of squares beyond which the components are not told apart
_SPREAD = 4  # how much larger than their number labels may be that are told apart by counting
_AT_A_TIME = 128  # replicates weighted at a time, so that the weights of a large study need not be held at once

COMPONENTS = (
    "actor_variance",
    "partner_variance",
    "actor_partner_covariance",
    "relationship_variance",
    "relationship_covariance",
)


# ----------------------------------------------------------------------------------------------- social relations model


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Effects of one group of n members who rate each other.

    Attributes
    ----------
    mean : float                Mean rating, answer scale.
    actor, partner : (n,)       How high a member rates others, and is rated by them, beyond the mean; each sums to zero.
    relationship : (n, n)       What is left; nan on the diagonal and where no rating was given.
    sums : (5,)                 Sums of squares and products that the components are made of: actor, partner, actor times
                                partner, symmetric and antisymmetric parts of the relationships.
    expectation : (5, 5)        Row m: expected sums[m] per unit of each of the `COMPONENTS`.
    """

    mean: float
    actor: Floats
    partner: Floats
    relationship: Floats
    sums: Floats
    expectation: Floats


def round_robin(ratings: npt.ArrayLike) -> RoundRobin:
    """Actor, partner and relationship effects of a round robin without self-ratings.

    Complete, with M_i. a row mean (as rater), M_.i a column mean (as target):
    partner_i = (n-1)^2 / (n(n-2)) M_.i + (n-1) / (n(n-2)) M_i. - (n-1) / (n-2) M_.., and actor_i with rows and columns
    exchanged. These are the least-squares estimates of rating_ij = mean + actor_i + partner_j + relationship_ij, effects
    summing to zero; with ratings missing the least-squares estimates are taken.

    The five sums are quadratic forms of the ratings and their expectations linear in the five components, whatever ratings
    are missing: E(x'Qx) = tr(Q Sigma). `social_relations` solves them.

    Parameters
    ----------
    ratings : (n, n) rows raters, columns targets, n at least 4; the diagonal is ignored, nan is missing.

    Raises DesignError where the ratings do not tell actors and partners apart. References: Warner, Kenny and Stoto (1979),
    J. Pers. Soc. Psychol. 37, 1742-1757; Kenny (1994), Interpersonal Perception, appendix B.

    >>> o = float("nan")                                                                             # measures.md 2.6
    >>> fit = round_robin([[o, 3.5, 3, 3], [3.5, o, 2, 2], [4, 3, o, 2.5], [4, 3, 2.5, o]])
    >>> (fit.partner.round(9) + 0).tolist(), (fit.actor.round(9) + 0).tolist()
    ([1.0, 0.0, -0.5, -0.5], [0.5, -0.5, 0.0, 0.0])
    """
    M = np.array(ratings, dtype=np.float64)
    if M.ndim != 2 or M.shape[0] != M.shape[1] or len(M) < 4:
        raise DesignError(
            "a round robin needs at least four members who rate each other",
            where="statistics.influence_model.round_robin",
            expected="a square array of at least 4 by 4",
            got=f"shape {M.shape}",
            hint="use `target_effects` where raters are not themselves rated",
        )
    n = len(M)
    np.fill_diagonal(M, np.nan)
    given = np.isfinite(M)
    design = _solve(given.tobytes(), n)
    y = M[given]
    relationship = np.full((n, n), np.nan)
    relationship[given] = design.relationship @ y
    return RoundRobin(
        mean=float(design.mean @ y),
        actor=design.actor @ y,
        partner=design.partner @ y,
        relationship=relationship,
        sums=np.array([float(y @ Q @ y) for Q in design.forms]),
        expectation=design.expectation,
    )


@dataclass(frozen=True, slots=True)
class _Solver:
    """What maps the m ratings given, in row order, to the effects: mean (m,), actor and partner (n, m), relationship (m, m).

    `forms` are the five quadratic forms of the ratings, `expectation` (5, 5) their expectations per unit of each component.
    """

    mean: Floats
    actor: Floats
    partner: Floats
    relationship: Floats
    forms: tuple[Floats, ...]
    expectation: Floats


@lru_cache(maxsize=256)
def _solve(pattern: bytes, members: int) -> _Solver:
    """Solve the least squares of one pattern of ratings given, which most groups share; `pattern` is the (n, n) mask."""
    n = members
    rater, target = np.nonzero(np.frombuffer(pattern, dtype=np.bool_).reshape(n, n))
    basis = np.vstack([np.eye(n - 1), -np.ones(n - 1)])  # effects that sum to zero
    X = np.hstack([np.ones((len(rater), 1)), basis[rater], basis[target]])
    if np.linalg.matrix_rank(X) < X.shape[1] or len(rater) - X.shape[1] < 2:
        raise DesignError(
            "too few ratings to tell actors and partners apart",
            where="statistics.influence_model.round_robin",
            expected=f"{X.shape[1]} separable effects and two ratings more",
            got=f"{len(rater)} of {n * (n - 1)} ratings, of rank {int(np.linalg.matrix_rank(X))}",
            hint="leave out members who rated or were rated hardly at all",
        )
    solver = np.linalg.pinv(X)
    A, B = basis @ solver[1:n], basis @ solver[n:]
    L = np.eye(len(rater)) - X @ solver
    forms, expectation = _moments(rater, target, n, A, B, L)
    expectation.setflags(write=False)  # the groups of one pattern hand out the same array
    return _Solver(solver[0], A, B, L, tuple(forms), expectation)


def _moments(rater: Ints, target: Ints, members: int, A: Floats, B: Floats, L: Floats) -> tuple[list[Floats], Floats]:
    """Return the five quadratic forms and their expectations per unit of each component."""
    mirrored = (rater[:, None] == target[None, :]) & (target[:, None] == rater[None, :])
    swap, paired = mirrored.astype(np.float64), np.diag(mirrored.any(axis=1).astype(np.float64))
    cross = A.T @ B
    forms = [
        A.T @ A,
        B.T @ B,
        (cross + cross.T) / 2.0,
        L.T @ (paired + swap) @ L / 2.0,
        L.T @ (paired - swap) @ L / 2.0,
    ]
    Z_a, Z_p = np.eye(members)[rater], np.eye(members)[target]
    shared = Z_a @ Z_p.T
    structures = [Z_a @ Z_a.T, Z_p @ Z_p.T, shared + shared.T, np.eye(len(rater)), swap]
    return forms, np.array([[float((Q * S).sum()) for S in structures] for Q in forms])


@dataclass(frozen=True, slots=True)
class SocialRelations:
    """Variance components of ratings over G groups.

    Attributes
    ----------
    components : pd.DataFrame    One row per component of `COMPONENTS`: component, estimate (answer scale squared, may be
                                 negative), std_error, t, df (G - 1), p_value (one-sided for variances, two-sided for
                                 covariances); nan with one group.
    shares : pd.Series           Actor, partner and relationship variance as shares of their sum, negative ones as nil.
    generalised_reciprocity, dyadic_reciprocity : float    Correlations of actor with partner effects, and of the two
                                 relationships of a pair; nan where a variance is not positive.
    partner_reliability : float  Mean over groups of partner variance over the expected variance of the partner effects.
    by_group : (G, 5)            Components of each group.
    weight : (G,)                Weight of each group, n - 1, scaled to sum 1.
    groups : tuple of RoundRobin
    """

    components: pd.DataFrame
    shares: pd.Series
    generalised_reciprocity: float
    dyadic_reciprocity: float
    partner_reliability: float
    by_group: Floats
    weight: Floats
    groups: tuple[RoundRobin, ...]


def social_relations(groups: Sequence[npt.ArrayLike]) -> SocialRelations:
    """How much of a rating lies in the rater, in the rated, and between the two: social relations model over groups.

    Each group's five components solve expected = observed sums (`round_robin`): unbiased whatever ratings are missing, and
    Warner, Kenny and Stoto's own estimates where none is. Groups are averaged with weights n - 1; the standard error is that
    of the weighted mean between groups, sqrt(G / (G - 1) sum w_g^2 (x_g - mean)^2 / (sum w)^2), with G - 1 degrees of freedom
    (Kenny and La Voie 1984), so groups are the sample: with one there is none.

    In firms, members are roles and a group is an organisation: partner variance is influence that raters agree upon.

    Raises DesignError where a group is too small or too sparse.

    References
    ----------
    Kenny, D. and La Voie, L. (1984). The social relations model. Advances in Experimental Social Psychology 18, 141-182.
    Searle, Casella and McCulloch (1992). Variance Components, chapter 5 (estimation by expected sums of squares).

    >>> rng = np.random.default_rng(1)
    >>> groups = [rng.normal(size=(6, 1)) + 2 * rng.normal(size=6) + rng.normal(size=(6, 6)) for _ in range(200)]
    >>> social_relations(groups).components["estimate"].round().tolist()
    [1.0, 4.0, -0.0, 1.0, 0.0]
    """
    fits = tuple(round_robin(group) for group in groups)
    if not fits:
        raise DesignError(
            "there is no group of raters",
            where="statistics.influence_model.social_relations",
            expected="at least one round robin",
            got="none",
            hint="report influence by `target_effects`",
        )
    by_group = np.array([_components(fit) for fit in fits])
    weight = np.array([len(fit.actor) - 1.0 for fit in fits])
    weight /= weight.sum()
    estimate = weight @ by_group
    count = len(fits)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = count / (count - 1.0) if count > 1 else np.nan
        std_error = np.sqrt(factor * ((weight[:, None] * (by_group - estimate)) ** 2).sum(axis=0))
        t = estimate / std_error
    upper = stats.t.sf(t, max(count - 1, 1))
    p_value = np.where([name.endswith("covariance") for name in COMPONENTS], 2 * np.minimum(upper, 1 - upper), upper)
    variances = np.maximum(estimate[[0, 1, 3]], 0.0)
    a, p, ap, g, gg = estimate
    expected = np.array([fit.expectation[1] @ estimate for fit in fits])
    return SocialRelations(
        components=pd.DataFrame(
            {
                "component": COMPONENTS,
                "estimate": estimate,
                "std_error": std_error,
                "t": t,
                "df": count - 1,
                "p_value": p_value if count > 1 else np.nan,
            }
        ),
        shares=pd.Series(
            variances / variances.sum() if variances.sum() > 0 else np.full(3, np.nan),
            index=["actor", "partner", "relationship"],
        ),
        generalised_reciprocity=float(ap / np.sqrt(a * p)) if min(a, p) > 0 else float("nan"),
        dyadic_reciprocity=float(gg / g) if g > 0 else float("nan"),
        partner_reliability=float(weight @ (max(p, 0.0) * np.array([fit.expectation[1, 1] for fit in fits]) / expected))
        if (expected > 0).all()
        else float("nan"),
        by_group=by_group,
        weight=weight,
        groups=fits,
    )


def _components(fit: RoundRobin) -> Floats:
    """Solve expected = observed sums for the five `COMPONENTS` of one group (5,)."""
    _refuse_alike(fit.expectation, int(np.isfinite(fit.relationship).sum()), len(fit.actor))
    return np.asarray(np.linalg.solve(fit.expectation, fit.sums), dtype=np.float64)


def _refuse_alike(expectation: Floats, ratings: int, members: int) -> None:
    if np.linalg.cond(expectation) > _ALIKE:
        raise DesignError(
            "the ratings given do not tell the five components apart",
            where="statistics.influence_model.social_relations",
            expected="pairs who rated each other",
            got=f"{ratings} ratings of {members} members",
            hint="leave the group out: relationship variance and covariance need both sides of a pair",
        )


def group_components(ratings: Floats) -> tuple[Floats, Floats]:
    """Variance components of many groups of one size, as `social_relations` has them group by group.

    Groups whose ratings miss in the same places have one solution and one expectation, and are worked off together. A group
    whose ratings do not tell the components apart has nan.

    Parameters
    ----------
    ratings : (G, n, n) groups, raters, targets; n at least 4; diagonals are ignored, nan is missing.

    Returns
    -------
    (G, 5) the components in the order of `COMPONENTS`, and (G, 5) the expected sum of squares of the partner effects per unit
    of each.

    Reference: Searle, Casella and McCulloch (1992), Variance Components, chapter 5.

    >>> ratings = np.arange(36.0).reshape(6, 6) % 5
    >>> components, _ = group_components(np.array([ratings, ratings.T]))
    >>> bool(np.allclose(components, social_relations([ratings, ratings.T]).by_group))
    True
    """
    groups, n, _ = ratings.shape
    given = np.isfinite(ratings) & ~np.eye(n, dtype=np.bool_)
    codes = np.packbits(given.reshape(groups, n * n), axis=1)
    order = np.lexsort(codes.T)
    ends = np.flatnonzero(np.r_[True, (codes[order][1:] != codes[order][:-1]).any(axis=1), True]) if groups else ()
    components, partner = np.full((2, groups, len(COMPONENTS)), np.nan)
    for low in range(0, len(ends) - 1, _PATTERNS):
        part = ends[low : low + _PATTERNS + 1]
        solved, told = _patterns(given[order[part[:-1]]])
        place = np.repeat(np.arange(len(told)), np.diff(part))
        usable = part[0] + np.flatnonzero(told[place])
        for at in range(0, len(usable), _PATTERNS):
            some = usable[at : at + _PATTERNS]
            mine, which = order[some], place[some - part[0]]
            sums = _sums_of_squares(np.where(given[mine], ratings[mine], 0.0), given[mine], solved.effects[which])
            components[mine] = np.linalg.solve(solved.expectation[which], sums[:, :, None])[:, :, 0]
            partner[mine] = solved.expectation[which, 1]
    return components, partner


@dataclass(frozen=True, slots=True)
class _Patterns:
    """What `_Solver` is to one pattern of ratings given, for P patterns of n members and without a matrix over ratings.

    `effects` (P, 1 + 2n, 1 + 2n) maps the sums of all ratings, of each rater's and of each target's to the mean and the actor
    and partner effects. `expectation` (P, 5, 5) has the expected sums of squares per unit of each component.
    """

    effects: Floats
    expectation: Floats


def _patterns(given: npt.NDArray[np.bool_]) -> tuple[_Patterns, npt.NDArray[np.bool_]]:
    """Solve many patterns (P, n, n); and tell which of them tell actors, partners and the five components apart (P,).

    With W the indicators of mean, rater and target of each rating, K maps W'y to the effects, and W K W' projects ratings on
    them. All traces of `_moments` are those of products of K, W'W and, over ratings that are returned, W'W and W' swap W.
    """
    n = given.shape[1]
    one = np.vstack([np.eye(n - 1), -np.ones(n - 1)])  # effects that sum to zero
    basis = np.asarray(block_diag(np.ones((1, 1)), one, one), dtype=np.float64)
    mutual = given & given.transpose(0, 2, 1)
    normal = basis.T @ _crossed(given) @ basis
    free = given.sum(axis=(1, 2)) - normal.shape[1]
    told = (free >= 2) & (np.linalg.matrix_rank(normal, hermitian=True) == normal.shape[1])
    # A pattern that has no solution is given one, so that the others can be solved with it.
    effects = basis @ np.linalg.inv(np.where(told[:, None, None], normal, np.eye(normal.shape[1]))) @ basis.T
    expectation = _expectations(effects, _crossed(given), _crossed(mutual), _swapped(mutual))
    told &= np.linalg.cond(expectation) <= _ALIKE
    return _Patterns(effects, expectation), told


def _crossed(given: npt.NDArray[np.bool_]) -> Floats:
    """Return W'W (P, 1 + 2n, 1 + 2n) for W the indicators of mean, rater and target of the ratings given (P, n, n)."""
    return _bordered(given, given.sum(axis=2), given.sum(axis=1), diagonal=True)


def _swapped(mutual: npt.NDArray[np.bool_]) -> Floats:
    """Return W' swap W, where swap puts each rating in the place of the one that returns it, for pairs who rated each other."""
    return _bordered(mutual, mutual.sum(axis=2), mutual.sum(axis=1), diagonal=False)


def _bordered(given: npt.NDArray[np.bool_], raters: Ints, targets: Ints, *, diagonal: bool) -> Floats:
    patterns, n, _ = given.shape
    out = np.zeros((patterns, 1 + 2 * n, 1 + 2 * n))
    out[:, 0, 0] = raters.sum(axis=1)
    out[:, 0, 1:] = out[:, 1:, 0] = np.concatenate([raters, targets], axis=1)
    one, two, each = slice(1, 1 + n), slice(1 + n, None), np.arange(1, 1 + n)
    if diagonal:
        out[:, each, each], out[:, each + n, each + n] = raters, targets
        out[:, one, two], out[:, two, one] = given, given.transpose(0, 2, 1)
    else:
        out[:, each, each + n] = out[:, each + n, each] = raters
        out[:, one, one], out[:, two, two] = given, given
    return out


def _expectations(K: Floats, crossed: Floats, paired: Floats, swapped: Floats) -> Floats:
    """Return expected sums of squares (P, 5, 5) per unit of each component; see `_moments`, whose traces these are."""
    n = (K.shape[1] - 1) // 2
    a, p = slice(1, 1 + n), slice(1 + n, None)
    KN, KU = K @ crossed, K @ swapped
    KUK = KU @ K
    out = np.zeros((len(K), len(COMPONENTS), len(COMPONENTS)))
    for row, (left, right) in enumerate(((a, a), (p, p), (a, p))):
        lefts, rights = KN[:, left], KN[:, right]
        out[:, row, 0] = _inner(lefts[:, :, a], rights[:, :, a])
        out[:, row, 1] = _inner(lefts[:, :, p], rights[:, :, p])
        out[:, row, 2] = _inner(lefts[:, :, a], rights[:, :, p]) + _inner(lefts[:, :, p], rights[:, :, a])
        out[:, row, 3] = np.trace(K[:, left, right], axis1=1, axis2=2)
        out[:, row, 4] = np.trace(KUK[:, left, right], axis1=1, axis2=2)
    # What is left of the ratings knows nothing of actors and partners: its expectations are of relationships alone.
    returned, projected, turned = paired[:, 0, 0], _inner(paired, K), _inner(swapped, K)
    both, twice = _inner(paired, KUK), _inner(swapped, KUK)
    own = np.stack([returned - projected, -turned], axis=1)
    other = np.stack([both - 2.0 * turned, returned - 2.0 * projected + twice], axis=1)
    for row, sign in ((3, 1.0), (4, -1.0)):
        out[:, row, 3] = (own[:, 0] + sign * own[:, 1]) / 2.0
        out[:, row, 4] = (other[:, 0] + sign * other[:, 1]) / 2.0
    return out


def _inner(left: Floats, right: Floats) -> Floats:
    """Sum the products of the entries of pairs of matrices (P, r, c): the trace of left' right (P,)."""
    return np.asarray(np.einsum("gij,gij->g", left, right), dtype=np.float64)


def _sums_of_squares(ratings: Floats, given: npt.NDArray[np.bool_], effects: Floats) -> Floats:
    """Five sums (G, 5) of `RoundRobin` of groups whose ratings are 0 where none was given, `effects` as in `_Patterns`."""
    n = ratings.shape[1]
    by_rater, by_target = ratings.sum(axis=2), ratings.sum(axis=1)
    totals = np.concatenate([by_rater.sum(axis=1, keepdims=True), by_rater, by_target], axis=1)
    fitted = (effects @ totals[:, :, None])[:, :, 0]
    actor, partner = fitted[:, 1 : 1 + n], fitted[:, 1 + n :]
    left = np.where(given, ratings - fitted[:, :1, None] - actor[:, :, None] - partner[:, None, :], 0.0)
    turned = left.transpose(0, 2, 1)
    square, product = _inner(left, left * given.transpose(0, 2, 1)), _inner(left, turned)
    squares = [np.einsum("gi,gi->g", one, two) for one, two in ((actor, actor), (partner, partner), (actor, partner))]
    return np.column_stack([*squares, (square + product) / 2.0, (square - product) / 2.0])


# --------------------------------------------------------------------------------------------------------- target effects


class _Layered:
    """Sums over raters in every layer: the observed one, and each replicate with its multipliers and raking factors.

    Raters of one organisation, or of one variance unit where organisations are gathered, and of one raking cell move together
    in every layer, so their sums do: these are the parts.
    """

    def __init__(
        self, home: Ints, clusters: int, multiplier: Multipliers | None, layer_factor: Floats | None, cell: Ints | None
    ) -> None:
        self.home, self.clusters, self.layer_factor = home, clusters, layer_factor
        self.multiplier = multiplier
        mover = multiplier.places(home) if isinstance(multiplier, Draws) else home
        self.parts, seat = distinct_rows(np.column_stack([mover, np.zeros_like(home) if cell is None else cell]))
        self.order = np.argsort(seat, kind="stable")
        self.starts = np.searchsorted(seat[self.order], np.arange(len(self.parts) + 1))

    def gather(self, values: Floats) -> Floats:
        """Sum values of raters (raters, ...) by part."""
        return self.gather_made(lambda rows: values[rows])

    def gather_made(self, made: Callable[[Ints], Floats]) -> Floats:
        """Sum what a function makes of raters' places, (k,) to (k, ...), by part; few of them are held at once."""
        blocks = []
        for low in range(0, len(self.parts), _PARTS):
            starts = self.starts[low : low + _PARTS + 1]
            values = made(self.order[starts[0] : starts[-1]])
            blocks.append(np.add.reduceat(values, starts[:-1] - starts[0], axis=0))
        return np.concatenate(blocks)

    def by_cluster(self, values: Floats) -> Floats:
        """Sum values of raters (raters, R) by cluster (C, R), observed layer."""
        gather = sparse.csc_array(
            (np.ones(len(self.home)), self.home, np.arange(len(self.home) + 1)), shape=(self.clusters, len(self.home))
        )
        return np.asarray(gather @ values)

    def layers(self, by_part: Floats) -> Floats:
        """Sum parts (parts, ...) in every layer (1 + B, ...)."""
        flat = by_part.reshape(len(self.parts), -1)
        home, cell = self.parts.T
        if isinstance(self.multiplier, Draws):
            weights = layer_weights(self.multiplier.units, home, None, self.layer_factor, cell)
            return np.asarray(weights @ flat).reshape(-1, *by_part.shape[1:])
        first = flat if self.layer_factor is None else flat * self.layer_factor[0, cell, None]
        layers = [first.sum(axis=0, keepdims=True)]
        replicates = 0 if self.multiplier is None else len(self.multiplier)
        for low in range(0, replicates, _AT_A_TIME):
            assert self.multiplier is not None  # noqa: S101 - else there are no replicates
            weight = np.asarray(self.multiplier[low : low + _AT_A_TIME, home])
            if self.layer_factor is not None:
                weight = weight * self.layer_factor[1 + low : 1 + low + _AT_A_TIME, cell]
            layers.append(weight @ flat)
        return np.concatenate(layers).reshape(-1, *by_part.shape[1:])

    def paired(self, left: Floats, right: Floats) -> Floats:
        """Sum products left_j right_k of raters (raters, R) in every layer (1 + B, R, R), symmetric in j and k."""
        R = left.shape[1]
        j, k = np.triu_indices(R)
        half = self.layers(self.gather_made(lambda rows: left[rows][:, j] * right[rows][:, k]))
        out = np.empty((len(half), R, R))
        out[:, j, k] = half
        out[:, k, j] = half
        return out


@dataclass(frozen=True, slots=True)
class GroupedEffects:
    """Effects of R targets as raters of each of G kinds see them, the raters' own levels removed.

    Attributes
    ----------
    groups : tuple of str        Kinds of raters, in the order of the arrays.
    effect : (1 + B, R, G)       Mean of rating less rater effect, answer scale, on the scale of `TargetEffects.effect`; nan
                                 where nobody of the kind rated the target.
    n, clusters : (R, G) int     Ratings, and the clusters that they come from.
    """

    groups: tuple[str, ...]
    effect: Floats
    n: Ints
    clusters: Ints


@dataclass(frozen=True, slots=True)
class SelfOtherGap:
    """How much higher the holders of a role rate it than others do, per target, answer scale.

    Attributes
    ----------
    raw, adjusted : (1 + B, R)    Mean self-rating less mean rating by others; and less what the holder, judged by the ratings
                                  given to others, would have given a role of that standing (self-enhancement). nan without
                                  self-ratings.
    raw_error, adjusted_error : (R,)    Standard errors by clusters.
    n : (R,) int                  Self-ratings.
    """

    raw: Floats
    adjusted: Floats
    raw_error: Floats
    adjusted_error: Floats
    n: Ints


@dataclass(frozen=True, slots=True)
class TargetEffects:
    """Influence of R targets, with raters and organisations removed and self-ratings held out.

    Attributes
    ----------
    targets : tuple of str       Names, in the order of the arrays.
    effect : (1 + B, R)          Effects per layer of weights, summing to zero over targets, answer scale; layer 0 observed.
    mean : (1 + B,)              Mean over ratings of what their rater would give the average target, answer scale.
    covariance : (R, R)          Of layer 0, by clusters, linearised, times C / (C - 1).
    std_error : (R,)             Its root diagonal.
    n, n_raters : (R,), int      Ratings by others per target; raters with at least two ratings.
    clusters : int               Organisations (raters where none were given).
    self_other : SelfOtherGap
    by_group : GroupedEffects or None    By kind of rater, where `group` was given.
    """

    targets: tuple[str, ...]
    effect: Floats
    mean: Floats
    covariance: Floats
    std_error: Floats
    n: Ints
    n_raters: int
    clusters: int
    self_other: SelfOtherGap
    by_group: GroupedEffects | None = None


def target_effects(
    rater: npt.ArrayLike,
    target: npt.ArrayLike,
    rating: npt.ArrayLike,
    *,
    own: npt.ArrayLike | None = None,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    multiplier: Multipliers | None = None,
    layer_factor: Floats | None = None,
    factor_cell: npt.ArrayLike | None = None,
    targets: Sequence[str] | None = None,
    group: npt.ArrayLike | None = None,
    groups: Sequence[str] | None = None,
) -> TargetEffects:
    """Influence that others ascribe to each target: rating_ij = rater_i + target_j + error, by weighted least squares.

    A rater belongs to one organisation, so removing raters removes organisations. Self-ratings (`own` equal to `target`) are
    held out of the effects. Raters are profiled out: with v_ij the weights of rater i, A = sum_i (diag v_i - v_i v_i' / v_i+)
    and A t = sum_i v_i (y_i - mean_i). Both are sums over organisations, so each replicate is one small solve. A role that a
    firm does not have is simply not rated there (leave the row out or nan): absence is not low influence.

    The covariance sums (v_i (y_i - mean_i) - A_i t) over organisations. Effects are centred with equal weight per target.

    With `group`, the effect of target j for raters of one kind is their mean of y_ij - (mean_i - t_i), t_i the mean effect of
    the targets that i rated. Weighted by its ratings it adds up to the effect of the target over all kinds, exactly.

    Parameters
    ----------
    rater, target, rating : (n,) one row per rating; nan ratings are left out. Names may come as a pandas Categorical.
    own : (n,) the rater's own role, in the names of `target`. weight : (n,) survey weights, of the rater or the rating.
    cluster : (n,) organisation; default the rater. multiplier : (B, C) replicate multipliers, columns in ascending order of
        the clusters' names, from `replicates.multipliers`. layer_factor, factor_cell : (1 + B, G) raking factor per layer and
        raking cell, and the cell of each row (n,), as in `replicates.replicated_totals`.
    targets : order of the targets; default ascending. group : (n,) kind of the rater; rows with "" belong to no kind.
        groups : order of the kinds; default ascending.

    Raises DataError (a rater in two organisations), DesignError (targets that no rater compares with the rest).

    References
    ----------
    Kenny (1994), chapter 3; Kwan, John, Kenny, Bond and Robins (2004), Psychol. Rev. 111, 94-110 (self-enhancement with
    rater and target removed). Equals R lm(rating ~ target + rater) with sandwich::vcovCL(HC0) times C / (C - 1).

    >>> fit = target_effects([1, 1, 2, 2, 3, 3], list("abbcca"), [4, 3, 2, 1, 4, 6.0])
    >>> (fit.effect.round(9) + 0).tolist()
    [[1.0, 0.0, -1.0]]
    """
    y = np.asarray(rating, dtype=np.float64)
    v = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    code, found = _coded(target)
    names = found if targets is None else tuple(str(name) for name in targets)
    position = _among(names, found)[code]
    holder = np.full(len(y), -1) if own is None else _placed(own, names)
    raters, who = _numbered(rater)
    clusters, home = (raters, who) if cluster is None else _numbered(cluster)
    _check_raters(who, home, position, v, names, multiplier, clusters)
    kept = np.isfinite(y) & (v > 0)
    about_self = kept & (position == holder)
    others = kept & ~about_self

    R = len(names)

    def summed(rows: npt.NDArray[np.bool_], values: Floats) -> Floats:
        """Sum values of some ratings by rater and target (raters, R)."""
        place = who[rows] * R + position[rows]
        return np.asarray(np.bincount(place, values[rows], raters * R), dtype=np.float64).reshape(raters, R)

    W, WY, S, SY = (summed(rows, values) for rows in (others, about_self) for values in (v, v * y))
    seat = np.zeros(raters, dtype=np.int64)
    seat[who] = home
    cell = None if factor_cell is None else np.zeros(raters, dtype=np.int64)
    if cell is not None:
        cell[who] = np.asarray(factor_cell, dtype=np.int64)
    total = W.sum(axis=1)
    share = W / np.where(total > 0, total, 1.0)[:, None]
    level = WY.sum(axis=1) / np.where(total > 0, total, 1.0)
    sums = _Layered(seat, clusters, multiplier, layer_factor, cell)

    r_p = sums.gather(WY - W * level[:, None])
    # W less W_j W_k over their sum, the projection of a rater's own level.
    A = -sums.paired(W, share)
    A[:, np.arange(R), np.arange(R)] += sums.layers(sums.gather(W))
    _refuse_disconnected(A[0], names)
    ones = np.full((R, R), 1.0 / R)
    effect = np.linalg.solve(A + ones, sums.layers(r_p)[:, :, None])[:, :, 0]
    inverse = np.linalg.inv(A[0] + ones) - ones
    off = (WY - W * level[:, None]) - W * (effect[0] - (share @ effect[0])[:, None])
    score = sums.by_cluster(off) @ inverse
    factor = clusters / (clusters - 1.0) if clusters > 1 else np.nan
    covariance = factor * score.T @ score

    level_p, lean_p, total_p = sums.gather(total * level), sums.gather(total[:, None] * share), sums.gather(total)
    mean = (sums.layers(level_p) - np.einsum("br,br->b", sums.layers(lean_p), effect)) / sums.layers(total_p)
    # Self-ratings of raters who rated no one else cannot be set against the rater's own level.
    judged = (total > 0)[:, None]
    gap = _self_other(
        (S, SY, W, WY, S * judged, (SY - S * level[:, None]) * judged),
        share,
        sums,
        effect,
        score,
        factor,
        np.bincount(position[about_self], minlength=R),
    )
    by_group = (
        None
        if group is None
        else _grouped(group, groups, who, W, WY - W * level[:, None], share, effect, sums, cell, seat)
    )
    return TargetEffects(
        targets=names,
        effect=effect,
        mean=mean,
        covariance=covariance,
        std_error=np.sqrt(np.diag(covariance)),
        n=np.bincount(position[others], minlength=R),
        n_raters=int(((W > 0).sum(axis=1) > 1).sum()),
        clusters=clusters,
        self_other=gap,
        by_group=by_group,
    )


def _grouped(
    group: npt.ArrayLike,
    groups: Sequence[str] | None,
    who: Ints,
    W: Floats,
    beyond: Floats,
    share: Floats,
    effect: Floats,
    sums: _Layered,
    cell: Ints | None,
    seat: Ints,
) -> GroupedEffects:
    """Effects by kind of rater; `beyond` is W (y - mean of the rater), sums of ratings per rater and target (raters, R)."""
    code, labels = _coded(group)
    kinds = tuple(label for label in labels if label) if groups is None else tuple(str(kind) for kind in groups)
    kind = np.full(len(W), -1)
    kind[who] = _among(kinds, labels)[code]
    R = W.shape[1]
    found = np.full((len(effect), R, len(kinds)), np.nan)
    n, clusters = np.zeros((R, len(kinds)), dtype=np.int64), np.zeros((R, len(kinds)), dtype=np.int64)
    for g in range(len(kinds)):
        mine = kind == g
        if not mine.any():
            continue
        part = _Layered(
            seat[mine], sums.clusters, sums.multiplier, sums.layer_factor, None if cell is None else cell[mine]
        )
        over = part.layers(part.gather(beyond[mine]))
        lean = part.paired(W[mine], share[mine])
        weight = part.layers(part.gather(W[mine]))
        with np.errstate(divide="ignore", invalid="ignore"):
            found[:, :, g] = (over + np.einsum("bjk,bk->bj", lean, effect)) / weight
        rated = W[mine] > 0
        n[:, g] = rated.sum(axis=0)
        clusters[:, g] = [np.count_nonzero(np.bincount(seat[mine][rated[:, j]])) for j in range(R)]
    return GroupedEffects(kinds, found, n, clusters)


def _products(left: Floats, right: Floats) -> Callable[[Ints], Floats]:
    """Return what makes the products of two rows each (k, R, R) of raters' places (k,)."""
    return lambda rows: left[rows][:, :, None] * right[rows][:, None, :]


def _coded(labels: npt.ArrayLike) -> tuple[Ints, tuple[str, ...]]:
    """Return the place of each label (n,) among those that occur, ascending, and these; a Categorical is not spelt out."""
    if isinstance(labels, pd.Categorical):
        text = np.asarray(labels.categories).astype(str)
        codes = np.asarray(labels.codes)
        there = np.bincount(codes[codes >= 0], minlength=len(text)) > 0
        order = np.argsort(text, kind="stable")
        order = order[there[order]]
        rank = np.full(len(text) + 1, -1, dtype=np.int64)
        rank[order] = np.arange(len(order))
        return rank[codes], tuple(text[order].tolist())
    found, code = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    return code.reshape(-1), tuple(found.tolist())


def _numbered(labels: npt.ArrayLike) -> tuple[int, Ints]:
    """Count the labels that occur, and return the place of each (n,) among them, ascending.

    Whole numbers that are places in a table, as raters and organisations are, are counted and not sorted.
    """
    values = np.asarray(labels)
    if values.dtype.kind in "iu" and len(values) and values.min() >= 0 and values.max() <= _SPREAD * len(values):
        there = np.bincount(values) > 0
        number = np.cumsum(there, dtype=np.int64) - 1
        return int(number[-1]) + 1, number[values]
    found, place = np.unique(values, return_inverse=True)
    return len(found), place.reshape(-1)


def _among(names: Sequence[str], labels: Sequence[str]) -> Ints:
    """Return the place of each label among names, and -1 for one that is none of them, and last for no label at all."""
    return np.array([*(names.index(label) if label in names else -1 for label in labels), -1], dtype=np.int64)


def _placed(labels: npt.ArrayLike, names: Sequence[str]) -> Ints:
    code, found = _coded(labels)
    return _among(names, found)[code]


def _check_raters(
    who: Ints,
    home: Ints,
    position: Ints,
    weights: Floats,
    names: Sequence[str],
    multiplier: Multipliers | None,
    clusters: int,
) -> None:
    where = "statistics.influence_model.target_effects"
    if (position < 0).any() or not (weights >= 0).all():
        raise DataError(
            "a rating is of a target that is not listed, or its weight is negative or missing",
            where=where,
            expected=f"targets {listed(names)}; weights from 0",
            got=f"{int((position < 0).sum())} and {int((~(weights >= 0)).sum())} rows otherwise",
            hint="list every target, or leave such rows out and count them in the base",
        )
    seat = np.zeros(int(who.max(initial=-1)) + 1, dtype=np.int64)
    seat[who] = home
    if (seat[who] != home).any():
        pairs = np.unique(np.column_stack([who, home]), axis=0)
        raise DataError(
            "a rater belongs to two organisations",
            where=where,
            expected="one organisation for each rater",
            got=f"{len(pairs) - len(seat)} raters more than that",
            hint="rater names must be unique across organisations: use the respondent's own identifier",
        )
    if multiplier is not None and multiplier.shape[1] != clusters:
        raise DesignError(
            "the multipliers are not those of the clusters",
            where=where,
            expected=f"one column for each of {clusters} clusters, in ascending order of their names",
            got=f"{multiplier.shape[1]} columns",
            hint="make them from the clusters of these rows",
        )


def _refuse_disconnected(A: Floats, names: Sequence[str]) -> None:
    count, part = csgraph.connected_components(-1e-12 * max(float(np.abs(A).max()), 1e-300) > A, directed=False)
    if count > 1:
        sizes = np.bincount(part)
        apart = [name for name, own in zip(names, part, strict=True) if own != int(np.argmax(sizes))]
        raise DesignError(
            "no rater compares some targets with the rest",
            where="statistics.influence_model.target_effects",
            expected="targets linked by raters who rated two of them, their own role left out",
            got=f"{count} sets without a link; apart from the largest: {listed(apart)}",
            hint="leave those targets out, or ask each rater about several roles",
        )


def _self_other(
    ratings: Sequence[Floats],
    share: Floats,
    sums: _Layered,
    effect: Floats,
    score: Floats,
    factor: float,
    n: Ints,
) -> SelfOtherGap:
    """Raw and adjusted gaps per layer, linear in sums over clusters, and their linearised standard errors."""
    own, own_y, other, other_y, judged, excess = ratings
    with np.errstate(divide="ignore", invalid="ignore"):
        in_layers = [sums.layers(sums.gather(each)) for each in ratings]
        lean = sums.layers(sums.gather_made(_products(judged, share)))
        raw = in_layers[1] / in_layers[0] - in_layers[3] / in_layers[2]
        adjusted = (in_layers[5] + np.einsum("bjk,bk->bj", lean, effect)) / in_layers[4] - effect
        S, W, J, P, t = own.sum(axis=0), other.sum(axis=0), judged.sum(axis=0), judged.T @ share, effect[0]
        by_self, by_others = own_y.sum(axis=0) / S, other_y.sum(axis=0) / W
        u_raw = sums.by_cluster((own_y - by_self * own) / S - (other_y - by_others * other) / W)
        off = excess + judged * ((share @ t)[:, None] - (adjusted[0] + t))
        u_adjusted = sums.by_cluster(off / J) + score @ (P / J[:, None] - np.eye(len(t))).T
    return SelfOtherGap(
        raw=raw,
        adjusted=adjusted,
        raw_error=np.sqrt(factor * (u_raw**2).sum(axis=0)),
        adjusted_error=np.sqrt(factor * (u_adjusted**2).sum(axis=0)),
        n=n,
    )


@dataclass(frozen=True, slots=True)
class ShrunkenEffects:
    """Target effects drawn towards their centre by how little each is known.

    Attributes
    ----------
    effect, std_error : (R,)    Best linear predictor and its root mean squared error, given the variance.
    variance : float            Variance of the true effects that was used, answer scale squared.
    reliability : (R,)          Share of an effect's variance that its estimate knows, 0..1.
    """

    effect: Floats
    std_error: Floats
    variance: float
    reliability: Floats


def shrink_effects(
    effect: npt.ArrayLike, covariance: npt.ArrayLike, *, variance: float | None = None
) -> ShrunkenEffects:
    """Empirical Bayes: centre + K (effect - centre), K = s^2 (s^2 + C V C)^-1.

    s^2 is the noise-corrected variance of the effects (`spread.noise_corrected_variance`, at least 0) unless stated. The error
    is sqrt diag s^2 (C - K C); that s^2 is itself estimated is not in it, which matters below some eight targets: for six,
    effect -+ 1.96 errors covers .92 to .93 (docs/validity_statistics.md). Judge by `target_effects`, which covers .94 to .95.

    Parameters
    ----------
    effect : (R,). covariance : (R, R) their sampling covariance. variance : s^2 where known, e.g. from earlier waves.

    Reference: Efron and Morris (1975), JASA 70, 311-319; Searle, Casella and McCulloch (1992), chapter 7.

    >>> shrunk = shrink_effects([1.5, 0.0, -1.5], np.eye(3) * 0.25)
    >>> shrunk.variance, (shrunk.effect.round(4) + 0).tolist()
    (2.0, [1.3333, 0.0, -1.3333])
    """
    theta, V = np.asarray(effect, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    R = len(theta)
    s2 = max(noise_corrected_variance(theta, V), 0.0) if variance is None else float(variance)
    C = np.eye(R) - 1.0 / R
    values, vectors = np.linalg.eigh(C @ V @ C)
    total = s2 + np.clip(values, 0.0, None)
    K = (vectors * np.where(total > 0, s2 / np.where(total > 0, total, 1.0), 0.0)) @ vectors.T
    error = s2 * np.clip(np.diag(C - C @ K @ C), 0.0, None)
    most = s2 * (1.0 - 1.0 / R)
    return ShrunkenEffects(
        effect=theta.mean() + K @ (theta - theta.mean()),
        std_error=np.sqrt(error),
        variance=s2,
        reliability=1.0 - error / most if most > 0 else np.zeros(R),
    )


# --------------------------------------------------------------------------------------------- shares, choices, gaps


@dataclass(frozen=True, slots=True)
class PointShares:
    """Shares of 100 points of influence per target, against an even split.

    Attributes
    ----------
    share : (1 + B, R)                  Mean points per layer of weights; layer 0 observed.
    parity : (R,)                       Mean points at an even split among the roles that each respondent's firm has.
    ratio : (1 + B, R)                  share / parity.
    ratio_error, ratio_low, ratio_high : (R,)    By clusters, on the log scale with t(C - 1); nan where the ratio is 0.
    disproportionate : (R,) bool        The lower limit lies above `margin` times parity.
    n : (R,) int                        Respondents who could give to the target.
    left_out : int                      Respondents without points for others: no answer, or all to the own role.
    """

    share: Floats
    parity: Floats
    ratio: Floats
    ratio_error: Floats
    ratio_low: Floats
    ratio_high: Floats
    disproportionate: npt.NDArray[np.bool_]
    n: Ints
    left_out: int


def point_shares(
    points: npt.ArrayLike,
    *,
    own: npt.ArrayLike | None = None,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    multiplier: Multipliers | None = None,
    layer_factor: Floats | None = None,
    factor_cell: npt.ArrayLike | None = None,
    margin: float = 1.25,
    tolerance: float = 0.5,
    level: float = 0.95,
) -> PointShares:
    """Average how respondents divide 100 points of influence among roles, own role held out, against parity.

    Points for others are scaled to 100 over the k_i roles the respondent could give to; parity is 100 / k_i. Share and parity
    are weighted means over the same respondents and the ratio is theirs, so roles that a firm does not have (nan) lower
    neither.

    Parameters
    ----------
    points : (n, R) nan where the firm lacks the role; a row all nan is no answer. own : (n,) column of the respondent's own
        role, -1 for none. weight, cluster : (n,); default cluster the respondent. multiplier : (B, C), columns in ascending
        order of the clusters. margin : what counts as disproportionate, times parity.
    tolerance : by how many points a row may miss 100.

    Raises DataError (rows that do not add up to 100, negative points), DesignError (no one can give to a role).

    >>> shares = point_shares([[50, 30, 20], [60, 20, 20]])
    >>> shares.share[0].tolist(), shares.ratio[0].round(4).tolist()
    ([55.0, 25.0, 20.0], [1.65, 0.75, 0.6])
    """
    where = "statistics.influence_model.point_shares"
    given = np.asarray(points, dtype=np.float64)
    n = len(given)
    has = np.isfinite(given)
    answered = has.any(axis=1)
    total = np.nansum(given, axis=1)
    faulty = answered & ((np.abs(total - 100.0) > tolerance) | (given < 0).any(axis=1))
    if faulty.any():
        raise DataError(
            "points do not add up to 100",
            where=where,
            expected=f"each row 100 within {tolerance:g}, none negative",
            got=f"{int(faulty.sum())} of {n} rows otherwise, the first at position {int(np.argmax(faulty))}",
            hint="set such answers aside in cleaning and count them; they are not allocations",
        )
    if own is not None:
        holder = np.asarray(own, dtype=np.int64)
        held = np.flatnonzero(holder >= 0)
        has = has.copy()
        has[held, holder[held]] = False
    v = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
    left = np.where(has, given, 0.0)
    usable = (left.sum(axis=1) > 0) & (v > 0)
    left, has, v = left[usable], has[usable], v[usable]
    clusters, home = _numbered(np.arange(n) if cluster is None else cluster)
    home = home[usable]
    part = 100.0 * left / left.sum(axis=1, keepdims=True)
    even = np.where(has, 100.0 / has.sum(axis=1, keepdims=True), 0.0)
    cell = None if factor_cell is None else np.asarray(factor_cell, dtype=np.int64)[usable]
    over = _Layered(home, clusters, multiplier, layer_factor, cell)
    weighted = v[:, None, None] * np.stack([part, even, has.astype(np.float64)], axis=1)
    layers, sums = over.layers(over.gather(weighted)), [over.by_cluster(weighted[:, k]) for k in (0, 1)]
    if not (layers[0, 2] > 0).all():
        raise DesignError(
            "no respondent could give points to a role",
            where=where,
            expected="every role present in some firm whose respondents hold another role",
            got=f"columns {listed(str(c) for c in np.flatnonzero(~(layers[0, 2] > 0)))} without",
            hint="leave the role out",
        )
    present = int(np.count_nonzero(np.bincount(home)))
    ratio = layers[:, 0] / layers[:, 1]
    influence = (sums[0] - ratio[0] * sums[1]) / layers[0, 1]
    error = np.sqrt((present / (present - 1.0) if present > 1 else np.nan) * (influence**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        half = stats.t.ppf(0.5 + level / 2.0, max(present - 1, 1)) * error / ratio[0]
        low, high = ratio[0] * np.exp(-half), ratio[0] * np.exp(half)
    return PointShares(
        share=layers[:, 0] / layers[:, 2],
        parity=layers[0, 1] / layers[0, 2],
        ratio=ratio,
        ratio_error=error,
        ratio_low=low,
        ratio_high=high,
        disproportionate=low > margin,
        n=has.sum(axis=0),
        left_out=int(n - usable.sum()),
    )


@dataclass(frozen=True, slots=True)
class BradleyTerry:
    """Abilities of R items from paired choices.

    Attributes
    ----------
    items : tuple of str
    ability : (1 + B, R)            Log-odds scale, summing to zero, per layer of weights; layer 0 observed.
    std_error, model_error : (R,)   By clusters times C / (C - 1); and as if choices were independent.
    covariance : (R, R)             By clusters.
    preference : (R, R)             Fitted probability that the row is preferred to the column; diagonal one half.
    log_likelihood : float          Weighted.
    comparisons : float             Sum of weights of the comparisons.
    clusters : int
    """

    items: tuple[str, ...]
    ability: Floats
    std_error: Floats
    model_error: Floats
    covariance: Floats
    preference: Floats
    log_likelihood: float
    comparisons: float
    clusters: int


def bradley_terry(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    outcome: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    multiplier: Multipliers | Layers | None = None,
    items: Sequence[str] | None = None,
    limit: int = 100,
) -> BradleyTerry:
    """Abilities behind paired choices: logit P(i over j) = ability_i - ability_j, ties counted half for each.

    Newton's method on all layers at once, steps damped by log(1 + d) / d with d the largest change of a log-odds, which makes
    the likelihood rise at every step (Bach 2010) and is quadratic at the end; gradient at most 1e-10 per comparison. The
    estimate is finite where every item is linked to every other by a chain of being preferred (Ford 1957), and else refused.

    Ability -+ t(clusters - 1) `std_error` covers .95. `model_error` takes choices as independent and weights as counts; with
    organisations that think alike it covers .87 to .91 (docs/validity_statistics.md), and is for comparison only.

    Parameters
    ----------
    first, second : (n,) items compared. outcome : (n,) 1 first preferred, 0 second, 0.5 tie; nan is left out.
    weight : (n,). cluster : (n,) respondent or organisation; default each row its own. multiplier : (B, C), columns in
        ascending order of the clusters' names. items : order; default ascending.

    Raises DataError (an item against itself, an outcome that is none), DesignError (no finite estimate, naming the items).

    References
    ----------
    Bradley, R. and Terry, M. (1952). Biometrika 39, 324-345. Ford, L. (1957). Am. Math. Monthly 64(8), 28-33. Bach, F. (2010).
    Self-concordant analysis for logistic regression. Electron. J. Statist. 4, 384-414. Equals R glm(binomial) on differences.

    >>> fit = bradley_terry(["CFO"] * 4, ["CTO"] * 4, [1, 0, 0, 0])
    >>> (fit.ability[0, 1] - fit.ability[0, 0]).round(4).item()                                               # log 3
    1.0986
    """
    where = "statistics.influence_model.bradley_terry"
    one, two = np.asarray(first).astype(str), np.asarray(second).astype(str)
    won = np.asarray(outcome, dtype=np.float64)
    v = np.ones(len(won)) if weight is None else np.asarray(weight, dtype=np.float64)
    names = tuple(str(name) for name in (np.unique(np.concatenate([one, two])) if items is None else items))
    index = pd.Index(names)
    i, j = index.get_indexer(pd.Index(one)), index.get_indexer(pd.Index(two))
    faulty = (i < 0) | (j < 0) | (i == j) | ~(np.isnan(won) | np.isin(won, (0.0, 0.5, 1.0))) | ~(v >= 0)
    if faulty.any():
        raise DataError(
            "a paired choice is not one",
            where=where,
            expected=f"two different items of {listed(names)}, outcome 1, 0.5 or 0, weight not negative",
            got=f"{int(faulty.sum())} of {len(faulty)} rows otherwise, the first at position {int(np.argmax(faulty))}",
            hint="code the first item preferred as 1, the second as 0, a tie as 0.5",
        )
    kept = np.isfinite(won) & (v > 0)
    labels, home = np.unique(np.arange(len(won)) if cluster is None else np.asarray(cluster), return_inverse=True)
    i, j, won, v, home = i[kept], j[kept], won[kept], v[kept], home.reshape(-1)[kept]
    R, clusters = len(names), int(np.unique(home).size)
    if multiplier is None:
        wins = np.zeros((1, R, R))
    else:
        by_cluster = np.zeros((len(labels), R * R))
        np.add.at(by_cluster, (home, i * R + j), v * won)
        np.add.at(by_cluster, (home, j * R + i), v * (1.0 - won))
        drawn = (multiplier @ by_cluster).reshape(-1, R, R)
        wins = np.concatenate([np.zeros((1, R, R)), drawn[1:] if isinstance(multiplier, Layers) else drawn])
    np.add.at(wins[0], (i, j), v * won)
    np.add.at(wins[0], (j, i), v * (1.0 - won))
    _refuse_unbounded(wins[0], names)
    ability = _newton(wins, limit)
    p = _logistic(ability[0][:, None] - ability[0][None, :])
    played = wins[0] + wins[0].T
    centre = np.full((R, R), 1.0 / R)
    inverse = np.linalg.inv(_laplacian((played * p * (1.0 - p))[None])[0] + centre) - centre
    score = np.zeros((len(labels), R))
    surprise = v * (won - p[i, j])
    np.add.at(score, (home, i), surprise)
    np.add.at(score, (home, j), -surprise)
    influence = score @ inverse
    covariance = (clusters / (clusters - 1.0) if clusters > 1 else np.nan) * influence.T @ influence
    return BradleyTerry(
        items=names,
        ability=ability,
        std_error=np.sqrt(np.diag(covariance)),
        model_error=np.sqrt(np.diag(inverse)),
        covariance=covariance,
        preference=p,
        log_likelihood=float((wins[0] * np.log(p)).sum()),
        comparisons=float(v.sum()),
        clusters=clusters,
    )


def abilities(wins: npt.ArrayLike, names: Sequence[str], *, limit: int = 100) -> Floats:
    """Abilities (L, R) from L layers of weighted wins (L, R, R) of row over column, ties half to each: see `bradley_terry`.

    For choices whose layers are not those of one multiplier per cluster, as pairs of respondents who are weighted each.
    Layer 0 decides whether a finite estimate exists; DesignError names the items where none does.

    >>> abilities([[[0.0, 3.0], [1.0, 0.0]]], ["CTO", "CFO"]).round(4).tolist()      # log 3 apart
    [[0.5493, -0.5493]]
    """
    layers = np.asarray(wins, dtype=np.float64)
    _refuse_unbounded(layers[0], names)
    return _newton(layers, limit)


def _logistic(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), dtype=np.float64)


def _laplacian(strength: Floats) -> Floats:
    """Return diag(row sums) - strength for a stack of symmetric matrices (L, R, R)."""
    return np.asarray(strength.sum(axis=2)[:, :, None] * np.eye(strength.shape[1]) - strength, dtype=np.float64)


def _newton(wins: Floats, limit: int) -> Floats:
    layers, R, _ = wins.shape
    played = wins + wins.transpose(0, 2, 1)
    size = played.sum(axis=(1, 2)) / 2.0
    ability = np.zeros((layers, R))
    gradient = np.zeros((layers, R))
    for _ in range(limit):
        p = _logistic(ability[:, :, None] - ability[:, None, :])
        gradient = (wins - played * p).sum(axis=2)
        if (np.abs(gradient).max(axis=1) <= 1e-10 * size).all():
            return ability
        H = _laplacian(played * p * (1.0 - p)) + (size / R)[:, None, None] / R
        step = np.linalg.solve(H, gradient[:, :, None])[:, :, 0]
        d = np.maximum(np.ptp(step, axis=1), 1e-300)
        ability += step * (np.log1p(d) / d)[:, None]
    raise ConvergenceError(
        "abilities of paired choices were not reached",
        where="statistics.influence_model.bradley_terry",
        expected=f"a gradient of at most 1e-10 per comparison within {limit} steps",
        got=f"{float((np.abs(gradient).max(axis=1) / size).max()):.3g}",
        hint="some item is all but never, or all but always preferred: merge or leave it out",
    )


def _refuse_unbounded(wins: Floats, names: Sequence[str]) -> None:
    beats = wins > 0
    count, part = csgraph.connected_components(beats, directed=True, connection="strong")
    if count == 1:
        return
    outside = beats & (part[:, None] != part[None, :])
    top = [name for k, name in enumerate(names) if not outside[:, part == part[k]].any()]
    bottom = [name for k, name in enumerate(names) if not outside[part == part[k]].any()]
    raise DesignError(
        "the choices put no bound on how far some items are apart",
        where="statistics.influence_model.bradley_terry",
        expected="every item linked to every other by a chain of being preferred",
        got=f"the rest is never preferred to {listed(top)}; never preferred to the rest: {listed(bottom)}",
        hint="report the counts, or leave those items out",
    )


def influence_weighted_gap(position: npt.ArrayLike, influence: npt.ArrayLike | None = None) -> Floats:
    """Mean distance between the positions of pairs of roles, each pair weighted by the product of its influences.

    sum over i < j of w_i w_j |d_ij| / sum over i < j of w_i w_j, in the unit of the positions; with equal influences (None) the
    plain mean distance. Leading axes, of replicates, broadcast, so draws of positions and of influences may be joined.

    Parameters
    ----------
    position : (..., R). influence : (..., R) at least 0, at least two above. Missing positions are refused.

    >>> gap = influence_weighted_gap([4.5, 3.0, 2.0], [0.5, 0.3, 0.2])                              # measures.md 2.6
    >>> gap.round(4).item(), influence_weighted_gap([4.5, 3.0, 2.0]).round(4).item()
    (1.7258, 1.6667)
    """
    x = np.asarray(position, dtype=np.float64)
    w = np.ones(x.shape[-1]) if influence is None else np.asarray(influence, dtype=np.float64)
    if np.isnan(x).any() or not (w >= 0).all() or ((w > 0).sum(axis=-1) < 2).any():
        raise DesignError(
            "a weighted gap needs two roles with a position and with influence",
            where="statistics.influence_model.influence_weighted_gap",
            expected="no missing position, influences from 0, two of them above 0",
            got=f"{int(np.isnan(x).sum())} missing positions, least influence {float(w.min()):g}",
            hint="shares of points are never negative; effects are not weights: put them on a share scale first",
        )
    i, j = np.triu_indices(x.shape[-1], 1)
    product = w[..., i] * w[..., j]
    return np.asarray((product * np.abs(x[..., i] - x[..., j])).sum(axis=-1) / product.sum(axis=-1), dtype=np.float64)
