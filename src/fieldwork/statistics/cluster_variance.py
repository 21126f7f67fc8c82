"""Variance between clusters around an additive fit, by the method of moments, in every replicate layer.

Own code, because no library gives a variance component with survey weights and replicates of whole clusters: a mixed model
assumes normal effects and fits one weight vector at a time, and its weights enter as if they were frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fieldwork.errors import DesignError
from fieldwork.statistics.layers import MANY_UNITS, LayerWeights, layer_weights
from fieldwork.statistics.replicates import Draws, distinct_rows

if TYPE_CHECKING:
    from fieldwork.statistics.replicates import Multipliers

__all__ = ["ClusterVariance", "cluster_variance"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_BLOCK = 1 << 18  # residuals at a time, 2 MB: a few arrays of them stay in the cache, whatever the number of replicates


@dataclass(frozen=True, slots=True)
class ClusterVariance:
    """Variance of answers around an additive fit, split into what clusters share and what they do not.

    Attributes
    ----------
    between : (L,) float    Variance between clusters in each layer, points squared; may be negative. (k, L) of k questions.
    within : (L,) float     Variance within clusters.
    pairs : int             Clusters with two members or more.
    """

    between: Floats
    within: Floats
    pairs: int


def cluster_variance(
    y: Floats,
    X: Floats,
    coefficients: Floats,
    weight: Floats,
    cluster: Ints,
    multiplier: Multipliers,
    layer_factor: Floats | None = None,
    factor_cell: Ints | None = None,
    row: Ints | None = None,
) -> ClusterVariance:
    """Split the variance around a weighted least-squares fit into between and within clusters.

    With residuals e of the fit, two quadratic forms are set equal to their expectations under y = X b + u(cluster) + e:

        N = sum over clusters of m ((sum v e)^2 - sum v^2 e^2) / sum of m ((sum v)^2 - sum v^2)     pairs of members
        Q = sum m v e^2 / sum m v                                                                    all members

    v the survey weight times the layer's raking factor, m the cluster's multiplier. Pairs share u and nothing else, so N
    holds no noise but for what the fit itself took out; the expectations allow for that exactly (Henderson's method, with
    weights), and the two equations are solved in each layer with the constants of the observed one. Without weights, without
    predictors and with clusters of one size the result is (MSB - MSW) / n.

    Parameters
    ----------
    y : (n,) answers, or (n, k) of k questions that all were asked. X : (n, p) predictors with the constant, of full rank; with
        `row` (n,), the row of X of each respondent, (F, p) of which each is predicted from.
    coefficients : (L, p) fits, or (k, L, p) of each question; layer 0 observed.
    weight : (n,) survey weights. cluster : (n,) 0 .. C - 1. multiplier : (L - 1, C).
    layer_factor, factor_cell : (L, G) raking factor of each cell in each layer, (n,) cell of each row; None for none. Where
        clusters are gathered into variance units and more than 1,000 are in the fit, every layer has the factors of the
        observed one: the forms are means, which one set of weights estimates as well as another.

    Raises DesignError where no cluster has two members. References: Searle, Casella and McCulloch (1992), Variance
    Components, ch. 5; Gelman (2005), Annals of Statistics 33, 1-53, for a variance component as the spread of the levels
    observed.

    >>> y = np.array([5.0, 4, 5, 4, 3, 3, 4, 2, 2, 1, 2, 3])                       # MSB 19/3, MSW 5/9, n 4
    >>> split = cluster_variance(y, np.ones((12, 1)), np.array([[y.mean()]]), np.ones(12), np.repeat([0, 1, 2], 4),
    ...                          np.zeros((0, 3)))
    >>> split.between.round(4).tolist(), split.within.round(4).tolist()             # 13/9, 5/9
    ([1.4444], [0.5556])
    """
    answers = y[:, None] if y.ndim == 1 else y
    fits = coefficients[None] if coefficients.ndim == 2 else coefficients
    if row is None:
        X, row = np.unique(X, axis=0, return_inverse=True)
        row = np.asarray(row, dtype=np.int64).reshape(-1)
    cell = None if layer_factor is None else factor_cell
    if (cluster[1:] < cluster[:-1]).any():
        order = np.argsort(cluster, kind="stable")
        answers, row, weight, cluster = answers[order], row[order], weight[order], cluster[order]
        cell = None if cell is None else cell[order]
    starts = np.flatnonzero(np.r_[True, cluster[1:] != cluster[:-1]])
    members = np.diff(np.r_[starts, len(cluster)])
    pairs = int((members > 1).sum())
    if pairs == 0:
        raise DesignError(
            "no cluster has two members",
            where="statistics.cluster_variance",
            expected="clusters with two respondents or more",
            got=f"{len(members)} clusters of one",
            hint="what members share cannot be told from what they do not; report it as not assessable",
        )
    predictors = _Predictors(X, row, np.r_[starts, len(cluster)])
    expected = _expectations(predictors, weight)
    if isinstance(multiplier, Draws) and multiplier.member is not None and len(starts) > MANY_UNITS:
        forms = _by_unit(answers, predictors, fits, weight, cluster, multiplier)
    else:
        factor = None if cell is None else layer_factor
        forms = _by_respondent(
            answers, predictors, fits, weight, members, layer_weights(multiplier, cluster[starts]), factor, cell
        )
    solved = np.asarray(np.linalg.solve(expected, forms), dtype=np.float64)  # (k, 2, L)
    between, within = solved[:, 0], solved[:, 1]
    return ClusterVariance(between[0], within[0], pairs) if y.ndim == 1 else ClusterVariance(between, within, pairs)


@dataclass(frozen=True, slots=True)
class _Predictors:
    """Predictors of respondents who stand by cluster, each row of them once.

    Attributes
    ----------
    X : (F, p) float     Distinct rows. row : (n,) int    That of each respondent.
    ends : (C + 1,) int  Where each cluster begins, and where the last ends.
    """

    X: Floats
    row: Ints
    ends: Ints

    def by_cluster(self, amount: Floats) -> Floats:
        """Sum the predictors by cluster, times an amount (n,) of each respondent: (C, p)."""
        there = sparse.csr_array((amount, self.row, self.ends), shape=(len(self.ends) - 1, len(self.X)))
        return np.asarray(there @ self.X)

    def products(self, amount: Floats) -> Floats:
        """Sum the products of the predictors, times an amount (n,) of each respondent: (p, p)."""
        return np.asarray(self.X.T @ (np.bincount(self.row, amount, len(self.X))[:, None] * self.X))


def _by_respondent(
    answers: Floats,
    predictors: _Predictors,
    fits: Floats,
    weight: Floats,
    members: Ints,
    own: LayerWeights,
    layer_factor: Floats | None,
    cell: Ints | None,
) -> Floats:
    """Both forms of each answer in every layer (k, 2, L), from the residual of each respondent in it."""
    n, layers = answers.shape[0], fits.shape[1]
    home = np.repeat(np.arange(len(members)), members)
    gather = sparse.csr_array((np.ones(n), np.arange(n), np.r_[0, np.cumsum(members)]), shape=(len(members), n))
    forms = np.empty((answers.shape[1], 2, layers))
    block = max(1, _BLOCK // n)
    for low in range(0, layers, block):
        part = slice(low, low + block)
        clusters = np.ascontiguousarray(own[part].T)  # layers last, so that a cluster's sum runs along whole rows
        m = clusters[home]
        v = np.repeat(weight[:, None], m.shape[1], axis=1)
        if layer_factor is not None and cell is not None:
            v *= np.ascontiguousarray(layer_factor[part].T)[cell]
        mv = m * v
        paired = _summed(clusters, (gather @ v) ** 2) - _summed(mv, v)
        total = mv.sum(axis=0)
        for form, y, fit in zip(forms, answers.T, fits, strict=True):
            residual = (predictors.X @ fit[part].T)[predictors.row]
            np.subtract(y[:, None], residual, out=residual)
            within = mv * residual
            form[1, part] = _summed(within, residual) / total
            residual *= v
            form[0, part] = (_summed(clusters, (gather @ residual) ** 2) - _summed(within, residual)) / paired
    return forms


def _summed(a: Floats, b: Floats) -> Floats:
    """Sum the products of two arrays (n, l) over rows (l,)."""
    return np.asarray(np.einsum("nl,nl->l", a, b))


def _by_unit(
    answers: Floats, predictors: _Predictors, fits: Floats, weight: Floats, cluster: Ints, draws: Draws
) -> Floats:
    """Both forms in every layer (k, 2, L) of clusters gathered into variance units, at the raking factors of the observed one.

    The residual of an answer is (y, X) times (1, -b), so each form is quadratic in (1, -b) with a matrix that is a replicated
    total: a matrix for each unit, and no residual of each respondent in each layer. Of the matrices of several answers only
    the row of y is their own.
    """
    X, starts = predictors.X, predictors.ends[:-1]
    p, k, units = X.shape[1], answers.shape[1], len(draws.keys)
    i, j = np.triu_indices(p)
    there = _Units.of(draws.places(cluster), predictors.row, (units, len(X)))
    matrices = _of_clusters(answers, predictors, weight, draws.places(cluster[starts]), units)
    products = X[:, i] * X[:, j]
    for form, amount, sign in ((0, weight**2, -1.0), (1, weight, 1.0)):
        matrices[:, form, : len(i)] += sign * (there.sums(amount) @ products)
        of_answers = matrices[:, form, len(i) :].reshape(units, k, p + 1)
        for which, y in enumerate(answers.T):
            of_answers[:, which, :p] += sign * (there.sums(amount * y) @ X)
            of_answers[:, which, p] += sign * np.bincount(there.unit, amount * y**2, units)
    total = np.add.reduceat(weight, starts)
    norms = [np.bincount(draws.places(cluster[starts]), total**2, units) - np.bincount(there.unit, weight**2, units)]
    norms.append(np.bincount(there.unit, weight, units))
    sums = np.column_stack([matrices.reshape(units, -1), *norms])
    layers = np.vstack([sums.sum(axis=0), draws.units @ sums])
    by_form = layers[:, :-2].reshape(len(layers), 2, -1)
    fitted, own = by_form[:, :, : len(i)], by_form[:, :, len(i) :].reshape(len(layers), 2, k, p + 1)
    forms = np.empty((k, 2, len(layers)))
    for which, beta in enumerate(fits):
        products = beta[:, i] * beta[:, j] * np.where(i == j, 1.0, 2.0)
        quadratic = np.einsum("lk,lfk->lf", products, fitted)
        quadratic += own[:, :, which, p] - 2.0 * np.einsum("lp,lfp->lf", beta, own[:, :, which, :p])
        forms[which] = (quadratic / layers[:, -2:]).T
    return forms


@dataclass(frozen=True, slots=True)
class _Units:
    """Which rows of predictors occur in which unit.

    Attributes
    ----------
    unit : (n,) int      Unit of each respondent. place : (n,) int    Pair of unit and row of each respondent.
    pairs : (N, 2) int   Pairs that occur. shape : (int, int)         Units and rows.
    """

    unit: Ints
    place: Ints
    pairs: Ints
    shape: tuple[int, int]

    @classmethod
    def of(cls, unit: Ints, row: Ints, shape: tuple[int, int]) -> _Units:
        pairs, place = distinct_rows(np.column_stack([unit, row]))
        return cls(unit, place, pairs, shape)

    def sums(self, amount: Floats) -> sparse.csr_array:
        """Sum an amount (n,) by unit and row."""
        found = np.bincount(self.place, amount, len(self.pairs))
        return sparse.csr_array((found, (self.pairs[:, 0], self.pairs[:, 1])), shape=self.shape)


def _of_clusters(answers: Floats, predictors: _Predictors, weight: Floats, unit: Ints, units: int) -> Floats:
    """Sum of (sum v e)^2 over the clusters of each unit, as matrices (units, 2, entries) whose second form is nil yet.

    `unit` : (C,) of each cluster.
    """
    p, k = predictors.X.shape[1], answers.shape[1]
    i, j = np.triu_indices(p)
    shared = np.column_stack(
        [predictors.by_cluster(weight), *(np.add.reduceat(weight * y, predictors.ends[:-1]) for y in answers.T)]
    )
    order = np.argsort(unit, kind="stable")
    ends = np.r_[0, np.cumsum(np.bincount(unit, minlength=units))]
    matrices = np.zeros((units, 2, len(i) + k * (p + 1)))
    step = max(1, _BLOCK // max(int(np.diff(ends).max()) * shared.shape[1], 1))
    for low in range(0, units, step):
        part = slice(low, min(low + step, units))
        matrices[part, 0] = _entries(_by_block(shared, order, ends[low : part.stop + 1]), p, i, j)
    return matrices


def _by_block(values: Floats, order: Ints, ends: Ints) -> Floats:
    """Rows (n, q) of each of several units, one matrix a unit (U, m, q), rows of zeros below those that there are.

    Parameters
    ----------
    order : rows by unit. ends : (U + 1,) where each unit begins in it, and where the last ends.
    """
    size = np.diff(ends)
    rows = order[ends[0] : ends[-1]]
    unit = np.repeat(np.arange(len(size)), size)
    place = np.arange(len(rows)) - np.repeat(ends[:-1] - ends[0], size)
    found = np.zeros((len(size), int(size.max(initial=0)), values.shape[1]))
    found[unit, place] = values[rows]
    return found


def _entries(sums: Floats, p: int, i: Ints, j: Ints) -> Floats:
    """Entries of the products of each unit's sums (U, m, p + k) that the forms need.

    They are the predictors' upper triangle, and per answer its row and its own square.
    """
    product = sums[:, :, :p].transpose(0, 2, 1) @ sums
    squares = np.einsum("unk,unk->uk", sums[:, :, p:], sums[:, :, p:])
    own = np.concatenate([product[:, :, p:], squares[:, None]], axis=1).transpose(0, 2, 1)
    return np.concatenate([product[:, i, j], own.reshape(len(own), -1)], axis=1)


def _expectations(predictors: _Predictors, weight: Floats) -> Floats:
    """Coefficients of the two variances (columns) in the expectations of N and Q (rows), for the observed weights.

    With the residual maker M = I - X G, G = (X'WX)^-1 X'W, and a form e'Ae: E = s_u tr(M'AM J) + s_e tr(M'AM), J telling who
    shares a cluster. Each trace is one of p x p matrices, sums over respondents or over clusters: never n by n, and G is not
    made.
    """
    starts = predictors.ends[:-1]
    XWX, XW2X, XW3X = (predictors.products(weight**power) for power in (1, 2, 3))
    inverse = np.linalg.inv(XWX)
    S, S2 = predictors.by_cluster(weight), predictors.by_cluster(weight**2)  # (C, p)
    V, V2 = np.add.reduceat(weight, starts), np.add.reduceat(weight**2, starts)
    SS = S.T @ S
    G_G, GZ_GZ = inverse @ XW2X @ inverse, inverse @ SS @ inverse  # G G', and G Z Z'G'
    forms = (  # of A: tr(A), tr(A J), X'AX, sum over clusters of (ZAX)'(GZ)', and (AX)'G'
        # Pairs: A = v v' within clusters, without its diagonal.
        (0.0, (V**2 - V2).sum(), SS - XW2X, (V[:, None] * S - S2).T @ S @ inverse, (S.T @ S2 - XW3X) @ inverse),
        (weight.sum(), weight.sum(), XWX, SS @ inverse, XW2X @ inverse),
    )  # fmt: skip
    out = np.empty((2, 2))
    for row, (diagonal, within, XAX, shared_by_fit, alone_by_fit) in enumerate(forms):
        shared = within - 2.0 * np.trace(shared_by_fit) + float((XAX * GZ_GZ).sum())
        alone = diagonal - 2.0 * np.trace(alone_by_fit) + float((XAX * G_G).sum())
        out[row] = shared / within, alone / within  # tr(A J) is what the form is divided by
    return out
