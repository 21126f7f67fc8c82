"""Likelihood of the cumulative link model with several random intercepts, crossed or nested, by Laplace's approximation.

For panels: an intercept for the organisation and one for the respondent. With more than one grouping the integral does not
factor, so quadrature gives way to Laplace, whose standard deviation of a grouping is low where its levels have few answers: by
15% at two answers a level, 7% at three, 4% at four, 2% at six, 1% at ten. R's clmm, which has no other, is as low. Own code for
the same reason as `ordinal_likelihood`. The gradient is exact, through the mode of the intercepts.

The information of the intercepts is never held as one matrix. Levels of one grouping never meet in an answer, so their block
is diagonal, and stays so when a grouping nested in it is eliminated: a chain of nested groupings costs as many operations as
there are levels. What does not nest in the chain is left over as a dense block, and it alone is bounded in size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize, sparse

from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics.ordinal_likelihood import Evaluation, Fit, Predictors, Problem, maximise

if TYPE_CHECKING:
    from fieldwork.statistics.cumulative_links import Link

__all__ = ["CrossedFit", "CrossedProblem", "Intercepts", "maximise_crossed"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LARGEST = 4000  # levels in the dense block
_STEP = 1e-5
_NIL = 1e-4  # a standard deviation below it, in units of the latent residual's, is at its boundary
_ROWS = 4096  # rows of the largest grouping's block at a time
_POLISHED = 9  # steps of Newton after BFGS; two do as a rule


class Intercepts:
    """Which intercepts meet in which answers: the pattern of their information matrix, and its factorisation.

    Parameters
    ----------
    place : (n, R) int    Level of each answer in each grouping, 0 .. sizes[r] - 1. sizes : R numbers of levels.
    names : names of the groupings, for refusals.

    Raises DesignError when the levels that do not nest number more than 4,000.

    >>> pattern = Intercepts(np.array([[0, 0], [0, 1], [1, 2], [1, 3]]), [2, 4])  # four people of two firms
    >>> pattern.chain, pattern.dense
    ([1, 0], [])
    >>> factor = pattern.factorise(np.ones(4), np.array([1.0, 1.0]))
    >>> bool(np.isclose(factor.log_determinant, 2 * np.log(8.0)))
    True
    """

    def __init__(self, place: Ints, sizes: list[int], names: tuple[str, ...] = ()) -> None:
        self.place, self.sizes = place, sizes
        self.chain: list[int] = []
        self.parent: dict[tuple[int, int], Ints] = {}
        for s in sorted(range(len(sizes)), key=lambda r: (-sizes[r], r)):
            above = [(r, _parent(place[:, r], place[:, s], sizes[r])) for r in self.chain]
            if all(parent is not None for _, parent in above):
                self.parent |= {(r, s): parent for r, parent in above if parent is not None}
                self.chain.append(s)
        self.after = {r: self.chain[at + 1 :] for at, r in enumerate(self.chain)}
        self.dense = [r for r in range(len(sizes)) if r not in self.chain]
        starts = np.concatenate([[0], np.cumsum([sizes[d] for d in self.dense], dtype=np.int64)])
        self.first = dict(zip(self.dense, starts.tolist(), strict=False))
        self.left = int(starts[-1])
        if self.left > _LARGEST:
            shown = names or tuple(f"grouping {r + 1}" for r in range(len(sizes)))
            raise DesignError(
                "too many crossed random intercepts",
                where="CumulativeLinkMixedModel, groups " + ", ".join(shown[d] for d in self.dense),
                expected=f"at most {_LARGEST} levels in the groupings that do not nest in {shown[self.chain[0]]}",
                got=", ".join(f"{shown[r]} {sizes[r]}" for r in range(len(sizes))),
                hint="leave the smaller grouping out, or give it as a term of the formula; nested groupings have no limit",
            )
        self._pattern()

    def _pattern(self) -> None:
        """Find where the chain meets the dense block: its own answers, and what elimination of nested groupings fills in."""
        self.row: dict[int, Ints] = {}
        self.column: dict[int, Ints] = {}
        self.up: dict[tuple[int, int], Ints] = {}
        self.entry: dict[tuple[int, int], Ints] = {}
        if not self.left:
            return
        keys: dict[int, Ints] = {}
        for r in self.chain:
            own = [self.place[:, r] * self.left + self.place[:, d] + self.first[d] for d in self.dense]
            fill = [
                self.parent[q, r][self.row[q]] * self.left + self.column[q] for q in self.chain[: self.chain.index(r)]
            ]
            keys[r] = np.unique(np.concatenate([*own, *fill]))
            self.row[r], self.column[r] = np.divmod(keys[r], self.left)
            for d, key in zip(self.dense, own, strict=True):
                self.entry[r, d] = np.searchsorted(keys[r], key)
            for q, key in zip(self.chain[: self.chain.index(r)], fill, strict=True):
                self.up[q, r] = np.searchsorted(keys[r], key)

    def factorise(self, curvature: Floats, sd: Floats) -> Factor:
        """Factorise 1 + sum of curvature_i z_i z_i', z_i having sd_r at the answer's level of each grouping r."""
        return Factor(self, curvature, sd)


def _parent(inner: Ints, outer: Ints, size: int) -> Ints | None:
    """Return the outer level of every inner level, or None where one has several."""
    parent = np.zeros(size, dtype=np.int64)
    parent[inner] = outer
    return parent if bool((parent[inner] == outer).all()) else None


class Factor:
    """A factorised information matrix of the intercepts.

    Attributes
    ----------
    log_determinant : float
    """

    def __init__(self, pattern: Intercepts, curvature: Floats, sd: Floats) -> None:
        self.pattern, self.sd = pattern, sd
        place, sizes = pattern.place, pattern.sizes
        weight = {r: np.bincount(place[:, r], curvature, sizes[r]) for r in pattern.chain}
        self.diagonal = {r: 1.0 + sd[r] ** 2 * weight[r] for r in pattern.chain}
        # Every answer of a nested level has the same parent, so what joins the two is the level's own weight.
        self.link = {(r, s): sd[r] * sd[s] * weight[r] for r, s in pattern.parent}
        self.block = {r: np.zeros(len(pattern.row[r])) for r in pattern.row}
        for (r, d), entry in pattern.entry.items():
            self.block[r] += sd[r] * sd[d] * np.bincount(entry, curvature, len(self.block[r]))
        corner = self._corner(curvature)
        self.log_determinant = 0.0
        for r in pattern.chain:
            self._eliminate(r)
            if pattern.left:
                corner -= self._square(r)
            self.log_determinant += float(np.log(self.diagonal[r]).sum())
        if pattern.left:
            self.lower = np.asarray(linalg.cholesky(corner, lower=True))
            self.log_determinant += 2.0 * float(np.log(np.diag(self.lower)).sum())

    def _corner(self, curvature: Floats) -> Floats:
        pattern, place = self.pattern, self.pattern.place
        corner = np.eye(pattern.left)
        for d, e in product(pattern.dense, repeat=2):
            shape = (pattern.sizes[d], pattern.sizes[e])
            meeting = sparse.coo_array((self.sd[d] * self.sd[e] * curvature, (place[:, d], place[:, e])), shape=shape)
            corner[_span(pattern, d), _span(pattern, e)] += meeting.toarray()
        return corner

    def _eliminate(self, r: int) -> None:
        """Take a grouping of the chain out of those that come after it."""
        pattern, later = self.pattern, self.pattern.after[r]
        for s in later:
            share, to = self.link[r, s] / self.diagonal[r], pattern.parent[r, s]
            self.diagonal[s] = self.diagonal[s] - np.bincount(to, share * self.link[r, s], pattern.sizes[s])
            for t in pattern.after[s]:
                self.link[s, t] = self.link[s, t] - np.bincount(to, share * self.link[r, t], pattern.sizes[s])
            if pattern.left:
                lost = share[pattern.row[r]] * self.block[r]
                self.block[s] = self.block[s] - np.bincount(pattern.up[r, s], lost, len(self.block[s]))

    def _matrix(self, r: int, values: Floats) -> sparse.csr_array:
        shape = (self.pattern.sizes[r], self.pattern.left)
        return sparse.csr_array((values, (self.pattern.row[r], self.pattern.column[r])), shape=shape)

    def _square(self, r: int) -> Floats:
        """Return B' D^-1 B of the chain's grouping r."""
        row = self.pattern.row[r]
        scaled = self._matrix(r, self.block[r] / np.sqrt(self.diagonal[r])[row])
        if len(row) < 0.05 * self.pattern.sizes[r] * self.pattern.left:
            return np.asarray((scaled.T @ scaled).toarray())
        total = np.zeros((self.pattern.left, self.pattern.left))
        for low in range(0, scaled.shape[0], _ROWS):
            part = scaled[low : low + _ROWS].toarray()
            total += part.T @ part
        return total

    def solve(self, right: list[Floats]) -> list[Floats]:
        """Solve H x = right, both by grouping."""
        pattern = self.pattern
        v = [part.copy() for part in right]
        rest = np.concatenate([v[d] for d in pattern.dense]) if pattern.dense else np.empty(0)
        for r, s in pattern.parent:  # in the order of the chain
            v[s] -= np.bincount(pattern.parent[r, s], self.link[r, s] / self.diagonal[r] * v[r], pattern.sizes[s])
        for r in pattern.row:
            rest -= np.bincount(
                pattern.column[r], self.block[r] * (v[r] / self.diagonal[r])[pattern.row[r]], pattern.left
            )
        if pattern.left:
            rest = np.asarray(linalg.cho_solve((self.lower, True), rest))
            for d in pattern.dense:
                v[d] = rest[_span(pattern, d)]
        for r in reversed(pattern.chain):
            behind = np.zeros(pattern.sizes[r])
            for s in pattern.after[r]:
                behind += self.link[r, s] * v[s][pattern.parent[r, s]]
            if pattern.left:
                behind += np.bincount(pattern.row[r], self.block[r] * rest[pattern.column[r]], pattern.sizes[r])
            v[r] = (v[r] - behind) / self.diagonal[r]
        return v

    def covariances(self) -> tuple[dict[tuple[int, int], Floats], list[Floats]]:
        """Covariance of the intercepts that meet in each answer, (n,) by pair of groupings (r, s), r <= s; and variances.

        The inverse on the pattern of the matrix, from the last grouping back to the first (Takahashi 1973).
        """
        pattern, place = self.pattern, self.pattern.place
        out: dict[tuple[int, int], Floats] = {}
        corner = np.empty((0, 0))
        own: dict[int, Floats] = {}
        if pattern.left:
            corner = np.asarray(linalg.cho_solve((self.lower, True), np.eye(pattern.left)))
            own = {d: np.diag(corner)[_span(pattern, d)] for d in pattern.dense}
        for d, e in combinations_with_replacement(pattern.dense, 2):
            out[d, e] = corner[place[:, d] + pattern.first[d], place[:, e] + pattern.first[e]]
        joined: dict[tuple[int, int], Floats] = {}
        crossed: dict[int, Floats] = {}
        for r in reversed(pattern.chain):
            total = np.zeros(pattern.sizes[r])
            if pattern.left:
                crossed[r] = self._across(r, corner, crossed)
                total += np.bincount(pattern.row[r], self.block[r] * crossed[r], pattern.sizes[r])
            for s in pattern.after[r]:
                joined[r, s] = self._joined(r, s, own, joined, crossed)
                total += self.link[r, s] * joined[r, s]
                out[min(r, s), max(r, s)] = joined[r, s][place[:, r]]
            own[r] = (1.0 - total) / self.diagonal[r]
            out[r, r] = own[r][place[:, r]]
            for d in pattern.dense:
                out[min(r, d), max(r, d)] = crossed[r][pattern.entry[r, d]]
        return out, [own[r] for r in range(len(pattern.sizes))]

    def _across(self, r: int, corner: Floats, crossed: Mapping[int, Floats]) -> Floats:
        """Covariances of a grouping of the chain with the dense block, at the entries where they meet."""
        pattern = self.pattern
        pull = self._times(r, corner)
        for s in pattern.after[r]:
            pull += self.link[r, s][pattern.row[r]] * crossed[s][pattern.up[r, s]]
        return np.asarray(-pull / self.diagonal[r][pattern.row[r]])

    def _joined(
        self,
        r: int,
        s: int,
        own: Mapping[int, Floats],
        joined: Mapping[tuple[int, int], Floats],
        crossed: Mapping[int, Floats],
    ) -> Floats:
        """Covariance of each level of r with its parent in s."""
        pattern = self.pattern
        pull = self.link[r, s] * own[s][pattern.parent[r, s]]
        for t in pattern.after[r]:
            if t != s:
                inner, outer = (s, t) if (s, t) in joined else (t, s)
                pull = pull + self.link[r, t] * joined[inner, outer][pattern.parent[r, inner]]
        if pattern.left:
            meeting = self.block[r] * crossed[s][pattern.up[r, s]]
            pull = pull + np.bincount(pattern.row[r], meeting, pattern.sizes[r])
        return np.asarray(-pull / self.diagonal[r])

    def _times(self, r: int, corner: Floats) -> Floats:
        """Return B times the inverse corner at the entries of B."""
        matrix, out = self._matrix(r, self.block[r]), np.empty(len(self.block[r]))
        row, column = self.pattern.row[r], self.pattern.column[r]
        for low in range(0, matrix.shape[0], _ROWS):
            within = slice(*np.searchsorted(row, [low, low + _ROWS]))
            out[within] = (matrix[low : low + _ROWS] @ corner)[row[within] - low, column[within]]
        return out


def _span(pattern: Intercepts, d: int) -> slice:
    return slice(pattern.first[d], pattern.first[d] + pattern.sizes[d])


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedFit(Fit):
    """A maximum of Laplace's approximation: a `Fit` whose sd is that of all intercepts together.

    Attributes
    ----------
    sds : (R,)                     By grouping; 0 at its boundary. `at` has m = K - 1 + p + R parameters: the Hessian is nan for
                                   an sd at its boundary; scores by cluster, empty where none were asked; modes, spreads
                                   and means of the levels of one grouping after those of another.
    modes : tuple of (sizes[r],)   Modes of the intercepts by grouping, standard units.
    """

    sds: Floats
    modes: tuple[Floats, ...]


class CrossedProblem:
    """Answers, predictors and groupings; evaluates minus Laplace's approximation, keeping the mode from call to call.

    Parameters
    ----------
    answer : (n,) 0 .. K - 1. categories : K. predictors : without intercept. offset, weight : (n,).
    index : R arrays (n,) of levels. sizes : their numbers. link : of the model. names : of the groupings, for refusals.
    """

    def __init__(
        self,
        answer: Ints,
        categories: int,
        predictors: Predictors,
        offset: Floats,
        weight: Floats,
        index: Mapping[str, Ints],
        link: Link,
    ) -> None:
        self.y, self.K, self.predictors, self.offset, self.w, self.link = (
            answer, categories, predictors, offset, weight, link,
        )  # fmt: skip
        self.names = tuple(index)
        place = np.column_stack(list(index.values()))
        self.sizes = [int(level.max()) + 1 for level in index.values()]
        self.intercepts = Intercepts(place, self.sizes, self.names)
        self.place = place
        self.mode = [np.zeros(size) for size in self.sizes]
        self.variances = [np.ones(size) for size in self.sizes]

    def thresholds(self, theta: Floats) -> Floats:
        """Return the thresholds of working parameters (K - 1,)."""
        return np.asarray(theta[0] + np.concatenate([[0.0], np.cumsum(np.exp(theta[1 : self.K - 1]))]))

    def negative(self, theta: Floats) -> tuple[float, Floats]:
        """Return minus the approximation and its gradient by (first threshold, log distances, coefficients, sd)."""
        value, natural = self.natural(theta)
        return -value, -(self.jacobian(theta).T @ natural)

    def jacobian(self, theta: Floats) -> Floats:
        """Return the derivatives of the natural parameters by the working ones (m, m)."""
        K1 = self.K - 1
        J = np.eye(len(theta))
        J[:K1, 0] = 1.0
        for k in range(1, K1):
            J[:K1, k] = np.where(np.arange(K1) >= k, np.exp(theta[k]), 0.0)
        return J

    def natural(self, theta: Floats, cluster: Ints | None = None) -> tuple[float, Floats]:
        """Return the approximation and its gradient by natural parameters; by cluster (C, m) where clusters are given.

        l = sum_i w_i log p_i(u) - u'u / 2 - log det(1 + Z'WZ) / 2 at the mode of u (Skaug and Fournier 2006).
        """
        K1, p, R = self.K - 1, self.predictors.rows.shape[1], len(self.sizes)
        tau, beta, sd = self.thresholds(theta), theta[K1 : K1 + p], theta[K1 + p :]
        ends = np.concatenate([[-np.inf], tau, [np.inf]])
        eta = self.predictors.dot(beta) + self.offset
        a, b = ends[self.y + 1] - eta, ends[self.y] - eta
        self._to_mode(a, b, sd)
        shift = self._at(self.mode, sd)
        s = self.link.slopes(a, b, shift)
        factor = self.intercepts.factorise(-self.w * (s.upper + s.lower), sd)
        value = float((self.w * s.log_p).sum() - 0.5 * sum(u @ u for u in self.mode) - 0.5 * factor.log_determinant)
        upper, lower = self.w * s.upper, self.w * s.lower
        pull, bend = self.w * (s.by_a + s.by_b), upper + lower
        by_a, by_b = self._third(a, b, shift, 1.0, 0.0), self._third(a, b, shift, 0.0, 1.0)
        held, self.variances = factor.covariances()
        hat = [sum(sd[t] * held[min(r, t), max(r, t)] for t in range(R)) for r in range(R)]
        leverage = sum(sd[r] * hat[r] for r in range(R))
        # The determinant moves with the mode: one adjoint solve serves every parameter.
        third = leverage * (by_a + by_b)
        adjoint = factor.solve([sd[r] * np.bincount(self.place[:, r], third, self.sizes[r]) for r in range(R)])
        carried = self._at(adjoint, sd)
        # What a unit of a, of b and of the shift adds, answer by answer; 0.5 of it through the determinant.
        along_a = self.w * s.by_a + 0.5 * (leverage * by_a + carried * upper)
        along_b = self.w * s.by_b + 0.5 * (leverage * by_b + carried * lower)
        along_shift = -pull - 0.5 * (third + carried * bend)
        spread = [
            along_shift * self.mode[r][self.place[:, r]] + bend * hat[r] + 0.5 * adjoint[r][self.place[:, r]] * pull
            for r in range(R)
        ]
        if cluster is None:
            cluster = np.zeros(len(self.y), dtype=np.int64)
        return value, self._gathered(cluster, along_a, along_b, along_shift, spread)

    def _gathered(
        self, cluster: Ints, along_a: Floats, along_b: Floats, along_shift: Floats, spread: list[Floats]
    ) -> Floats:
        """Sum what answers add to each natural parameter, by cluster; one row where there is one cluster."""
        K1, p, C = self.K - 1, self.predictors.rows.shape[1], int(cluster.max()) + 1
        high, low = self.y < K1, self.y > 0
        cuts = np.bincount(cluster[high] * K1 + self.y[high], along_a[high], C * K1)
        cuts = cuts + np.bincount(cluster[low] * K1 + self.y[low] - 1, along_b[low], C * K1)
        if self.predictors.few:
            many = len(self.predictors.rows)
            by_row = np.bincount(cluster * many + self.predictors.place, along_shift, C * many).reshape(C, many)
            terms = by_row @ self.predictors.rows
        else:
            member = sparse.csr_array((along_shift, (cluster, np.arange(len(cluster)))), shape=(C, len(cluster)))
            terms = np.asarray(member @ self.predictors.rows) if p else np.empty((C, 0))
        sds = np.column_stack([np.bincount(cluster, part, C) for part in spread])
        whole = np.hstack([cuts.reshape(C, K1), terms, sds])
        return np.asarray(whole[0] if C == 1 else whole)

    def _third(self, a: Floats, b: Floats, shift: Floats, da: float, db: float) -> Floats:
        up, down = (self.link.slopes(a + h * da, b + h * db, shift) for h in (_STEP, -_STEP))
        return np.asarray(self.w * (up.upper + up.lower - down.upper - down.lower) / (2 * _STEP))

    def _at(self, values: list[Floats], sd: Floats) -> Floats:
        total = np.zeros(len(self.y))
        for r, part in enumerate(values):
            total += sd[r] * part[self.place[:, r]]
        return total

    def _to_mode(self, a: Floats, b: Floats, sd: Floats) -> None:
        """Bring the intercepts to their mode by Newton's method, whose error falls with its square."""
        for _ in range(100):
            s = self.link.slopes(a, b, self._at(self.mode, sd))
            pull = self.w * (s.by_a + s.by_b)
            slope = [-u - sd[r] * np.bincount(self.place[:, r], pull, len(u)) for r, u in enumerate(self.mode)]
            factor = self.intercepts.factorise(-self.w * (s.upper + s.lower), sd)
            step = factor.solve(slope)
            largest = max(float(np.abs(part).max()) for part in step)
            step = [part / max(1.0, largest / 2.0) for part in step]
            self.mode = [u + part for u, part in zip(self.mode, step, strict=True)]
            if largest < 1e-6:
                return
        raise ConvergenceError(
            "the random intercepts did not settle",
            where="statistics.ordinal_crossed",
            expected="a mode of the intercepts within 100 steps",
            got=f"a last step of {largest:.2g}",
            hint="look for a predictor that separates the answers, or drop the grouping with the fewest answers a level",
        )


def maximise_crossed(
    problem: CrossedProblem, *, cluster: Ints | None = None, limit: int = 500, strict: bool = True
) -> CrossedFit:
    """Maximise Laplace's approximation: BFGS from the fit without intercepts, then Newton's method.

    The Hessian is the differenced exact gradient. A standard deviation below 1e-4 of the latent residual's is at its boundary.

    Parameters
    ----------
    cluster : (n,) clusters that share no intercept, for scores; None for none.

    Raises ConvergenceError when the gradient stays above 1e-6 (1e-10 of the weights, if that is more); where it is not
    `strict`, the last point comes back as not converged.
    """
    K1, p = problem.K - 1, problem.predictors.rows.shape[1]
    ends = np.array([0, len(problem.y)], dtype=np.int64)
    plain = Problem(
        problem.y, problem.K, problem.predictors, problem.offset, problem.w, ends, problem.link, 1
    )  # fmt: skip
    fixed = maximise(plain, random=False, strict=strict)
    head, scale = K1 + p, float(np.sqrt(problem.link.variance))
    spread = np.full(len(problem.sizes), 0.5 * scale)
    start = np.concatenate([fixed.thresholds[:1], np.log(np.diff(fixed.thresholds)), fixed.coefficients, spread])
    if not fixed.converged:
        flat = np.append(fixed.at.gradient[:-1], 0.0 * spread)
        nowhere = replace(fixed.at, gradient=flat, hessian=np.full((len(flat), len(flat)), np.nan))
        return CrossedFit(
            thresholds=fixed.thresholds,
            coefficients=fixed.coefficients,
            sd=0.0,
            at=nowhere,
            boundary=True,
            iterations=fixed.iterations,
            converged=False,
            sds=0.0 * spread,
            modes=tuple(problem.mode),
        )
    J = problem.jacobian(start)[:head, :head]
    first = np.diag(np.full(len(start), 1.0 / np.sqrt(problem.w.sum())))
    first[:head, :head] = np.linalg.inv(J.T @ -fixed.at.hessian[:-1, :-1] @ J)
    size = max(1.0, 1e-4 * float(problem.w.sum()))
    found = optimize.minimize(
        problem.negative,
        start,
        jac=True,
        method="BFGS",
        options={"gtol": 1e-5 * size, "maxiter": limit, "hess_inv0": 0.5 * (first + first.T)},
    )
    theta = np.asarray(found.x, dtype=np.float64)
    steps = int(found.nit)
    hessian, inside, largest = np.empty((0, 0)), np.zeros(0, dtype=bool), np.inf
    for _ in range(_POLISHED):
        theta[head:] = np.abs(theta[head:])
        theta[head:][theta[head:] < _NIL * scale] = 0.0
        value, slope = problem.negative(theta)
        settled = np.array_equal(inside, free := np.append(np.ones(head, dtype=bool), theta[head:] > 0))
        largest = float(np.abs(slope[free]).max())
        if settled and largest < 1e-6 * size:
            return _fit(problem, theta, value, slope, hessian, inside, steps, cluster, converged=True)
        inside = free
        hessian = _differenced(problem, theta, inside)
        if largest >= 1e-6 * size:
            curvature, directions = np.linalg.eigh(hessian)
            curvature = np.maximum(np.abs(curvature), 1e-8 * float(np.abs(curvature).max()))
            step = directions @ ((directions.T @ slope[inside]) / curvature)
            theta[inside] -= step / max(1.0, 2.0 * float(np.abs(step).max()))
            steps += 1
    if strict:
        raise ConvergenceError(
            "the model with several random intercepts did not converge",
            where="statistics.ordinal_crossed.maximise_crossed",
            expected=f"a gradient below {1e-6 * size:.1g}",
            got=f"{largest:.2g} after {steps} steps",
            hint="look for a predictor that separates the answers, or drop the grouping with the fewest answers a level",
        )
    return _fit(problem, theta, value, slope, hessian, inside, steps, cluster, converged=False)


def _differenced(problem: CrossedProblem, theta: Floats, inside: npt.NDArray[np.bool_]) -> Floats:
    use = np.flatnonzero(inside)
    hessian = np.empty((len(use), len(use)))
    for row, j in enumerate(use):
        step = np.zeros_like(theta)
        step[j] = _STEP * max(1.0, abs(theta[j]))
        hessian[row] = (problem.negative(theta + step)[1] - problem.negative(theta - step)[1])[use] / (2 * step[j])
    return 0.5 * (hessian + hessian.T)


def _fit(
    problem: CrossedProblem,
    theta: Floats,
    value: float,
    slope: Floats,
    hessian: Floats,
    inside: npt.NDArray[np.bool_],
    iterations: int,
    cluster: Ints | None,
    *,
    converged: bool,
) -> CrossedFit:
    """Turn working derivatives into those by natural parameters; at the maximum the gradient adds nothing to the Hessian."""
    K1, p = problem.K - 1, problem.predictors.rows.shape[1]
    back = np.linalg.inv(problem.jacobian(theta))
    natural = np.full((len(theta), len(theta)), np.nan)
    free = np.ix_(inside, inside)
    natural[free] = -(back[free].T @ hessian @ back[free])
    sds = theta[K1 + p :]
    modes = np.concatenate(problem.mode)
    at = Evaluation(
        -value,
        np.where(inside, -(back.T @ slope), 0.0),
        natural,
        np.empty((0, len(theta))) if cluster is None else np.atleast_2d(problem.natural(theta, cluster)[1]),
        modes,
        np.sqrt(np.concatenate(problem.variances)),
        modes,
    )
    total = float(np.sqrt((sds**2).sum()))
    return CrossedFit(
        thresholds=problem.thresholds(theta),
        coefficients=theta[K1 : K1 + p],
        sd=total,
        at=at,
        boundary=total == 0.0,
        iterations=iterations,
        converged=converged,
        sds=sds,
        modes=tuple(problem.mode),
    )
