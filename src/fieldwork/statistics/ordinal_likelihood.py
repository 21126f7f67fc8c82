"""Likelihood of the cumulative link model with one random intercept, its exact derivatives, and Newton's method on it.

Own code, because no maintained Python library fits this model to its optimum. What makes it fast is also what makes it exact:
the gradient and the Hessian are posterior expectations over the quadrature nodes (Louis 1982), taken where predictors are
factors in the space of their distinct rows; Newton's method then needs about six steps and standard errors come with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from fieldwork.errors import ConvergenceError

if TYPE_CHECKING:
    from fieldwork.statistics.cumulative_links import Link, Slopes

__all__ = ["Evaluation", "Fit", "Predictors", "Problem", "evaluate", "maximise"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CHUNK = 2000  # groups at a time, so that their arrays stay in the cache
_DISTINCT = 160  # up to this many distinct rows of predictors the cell space is the cheaper one
_ROWS = 8192  # rows compared at a time


@dataclass(frozen=True, slots=True)
class Predictors:
    """Predictors of n answers, held as their distinct rows where those are few: factors have few, and n rows cost memory.

    Attributes
    ----------
    rows : (C, p) float     Distinct rows; where they are many, the rows of the n answers.
    place : (n,) int        Row of each answer; empty where `rows` are the answers' own.
    """

    rows: Floats
    place: Ints

    @classmethod
    def of(cls, X: Floats) -> Predictors:
        """Find the distinct rows of X (n, p).

        >>> sorted(Predictors.of(np.array([[1.0], [0.0], [1.0]])).rows.ravel().tolist())
        [0.0, 1.0]
        """
        if X.shape[1] and len(X):
            # A random projection tells rows apart as well as the rows do, at the cost of one product.
            mark = X @ np.random.Generator(np.random.Philox(7)).standard_normal(X.shape[1])
            code, marks = pd.factorize(mark)
            if len(marks) <= _DISTINCT:
                order = np.argsort(marks)
                first = np.full(len(marks), len(mark))
                np.minimum.at(first, code, np.arange(len(mark)))
                rows, place = X[first[order]], np.argsort(order)[code]
                blocks = range(0, len(X), _ROWS)
                if all(np.array_equal(rows[place[low : low + _ROWS]], X[low : low + _ROWS]) for low in blocks):
                    return cls(rows, place)
        return cls(X, np.empty(0, np.int64))

    @property
    def few(self) -> bool:
        """Whether the distinct rows are held instead of all."""
        return len(self.place) > 0

    def dot(self, coefficients: Floats) -> Floats:
        """Return X b for every answer (n,)."""
        product = self.rows @ coefficients
        return np.asarray(product[self.place] if self.few else product)

    def take(self, answers: Ints) -> Predictors:
        """Return the predictors of these answers, in this order."""
        return Predictors(self.rows, self.place[answers]) if self.few else Predictors(self.rows[answers], self.place)

    def whole(self) -> Floats:
        """Return all n rows (n, p)."""
        return self.rows[self.place] if self.few else self.rows


@dataclass(frozen=True, slots=True)
class Problem:
    """Answers and predictors, sorted by group.

    Attributes
    ----------
    answer : (n,) int        Category 0 .. K - 1. categories : K.
    predictors : Predictors  Without intercept.
    offset, weight : (n,)    Added to the predictor; multiplies the log-probability of the answer.
    starts : (G + 1,) int    First row of each group, and n.
    link : Link
    nodes : int              Quadrature nodes.
    """

    answer: Ints
    categories: int
    predictors: Predictors
    offset: Floats
    weight: Floats
    starts: Ints
    link: Link
    nodes: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Log-likelihood with its derivatives by (thresholds, coefficients, sd).

    Attributes
    ----------
    log_likelihood : float
    gradient : (m,) float     m = K - 1 + p + 1. hessian : (m, m).
    scores : (G, m) float     Gradient by group.
    modes, spreads : (G,)     Mode and standard deviation of each group's intercept given its answers, standard units.
    means : (G,)              Posterior mean of the same.
    """

    log_likelihood: float
    gradient: Floats
    hessian: Floats
    scores: Floats
    modes: Floats
    spreads: Floats
    means: Floats


@dataclass(slots=True)
class _Sums:
    """Running sums over chunks: the expected Hessian in the working space, the covariance of scores in the natural one."""

    log_likelihood: float
    hessian: Floats
    covariance: Floats


def evaluate(problem: Problem, thresholds: Floats, coefficients: Floats, sd: float, modes: Floats) -> Evaluation:
    """Evaluate log-likelihood, gradient and Hessian at a point, group by group.

    l = sum over groups g of log of the integral over u of exp(sum_i w_i log p_i(u)) phi(u), with p_i(u) the probability of
    the answer at predictor x_i b + offset_i + sd u; the integral by adaptive Gauss-Hermite quadrature around each group's
    mode. Gradient: the posterior expectation of the score; Hessian: that of the Hessian plus the posterior covariance of
    the score (Louis 1982, JRSS B 44, 226-233).
    """
    K1, p = len(thresholds), len(coefficients)
    by_cell = problem.predictors.few
    working = K1 + (len(problem.predictors.rows) if by_cell else p) + 1
    to_natural = np.eye(working)
    if by_cell:
        to_natural = np.zeros((working, K1 + p + 1))
        to_natural[:K1, :K1] = np.eye(K1)
        to_natural[K1:-1, K1:-1] = problem.predictors.rows
        to_natural[-1, -1] = 1.0
    groups = len(problem.starts) - 1
    sums = _Sums(0.0, np.zeros((working, working)), np.zeros((K1 + p + 1, K1 + p + 1)))
    scores = np.empty((groups, K1 + p + 1))
    out_modes, spreads, means = modes.copy(), np.ones(groups), np.zeros(groups)
    for first in range(0, groups, _CHUNK):
        last = min(first + _CHUNK, groups)
        block = _Block(problem, first, last, thresholds, coefficients, sd)
        out_modes[first:last], spreads[first:last] = block.mode(modes[first:last])
        means[first:last], scores[first:last] = block.accumulate(sums, out_modes[first:last], spreads[first:last])
    hessian = to_natural.T @ sums.hessian @ to_natural + sums.covariance
    return Evaluation(sums.log_likelihood, scores.sum(axis=0), hessian, scores, out_modes, spreads, means)


class _Block:
    """A run of groups at one point of the parameter space."""

    def __init__(
        self, problem: Problem, first: int, last: int, thresholds: Floats, coefficients: Floats, sd: float
    ) -> None:
        rows = slice(int(problem.starts[first]), int(problem.starts[last]))
        self.problem, self.rows, self.sd, self.first, self.last = problem, rows, sd, first, last
        self.starts = problem.starts[first:last] - problem.starts[first]
        self.sizes = np.diff(problem.starts[first : last + 1])
        self.group = np.repeat(np.arange(last - first), self.sizes)
        self.answer = problem.answer[rows]
        self.weight = problem.weight[rows]
        self.K1 = len(thresholds)
        self.by_cell = problem.predictors.few
        if self.by_cell:
            self.cell, self.X = problem.predictors.place[rows], problem.predictors.rows
            predictor = (self.X @ coefficients)[self.cell] + problem.offset[rows]
        else:
            self.cell, self.X = problem.predictors.place, problem.predictors.rows[rows]
            predictor = self.X @ coefficients + problem.offset[rows]
        ends = np.concatenate([[-np.inf], thresholds, [np.inf]])
        self.upper, self.lower = ends[self.answer + 1] - predictor, ends[self.answer] - predictor

    def slopes(self, u: Floats) -> Slopes:
        """Slopes of every row at its group's values of the intercept; u (G,) or (G, Q)."""
        shift = self.sd * u[self.group]
        if u.ndim == 2:
            return self.problem.link.slopes(self.upper[:, None], self.lower[:, None], shift)
        return self.problem.link.slopes(self.upper, self.lower, shift)

    def total(self, values: Floats) -> Floats:
        """Sum rows by group."""
        return np.asarray(np.add.reduceat(values, self.starts, axis=0))

    def mode(self, start: Floats) -> tuple[Floats, Floats]:
        """Mode of each group's intercept and its spread there, by Newton's method; concave, so it needs no guard but a cap."""
        u = start.copy()
        if self.sd == 0.0:
            return np.zeros_like(u), np.ones_like(u)
        curvature = np.ones_like(u)
        for _ in range(50):
            s = self.slopes(u)
            slope = -self.sd * self.total(self.weight * (s.by_a + s.by_b)) - u
            curvature = 1.0 - self.sd**2 * self.total(self.weight * (s.upper + s.lower))
            step = np.clip(slope / curvature, -2.0, 2.0)
            u = u + step
            if np.abs(step).max() < 1e-7:
                break
        return u, 1.0 / np.sqrt(curvature)

    def accumulate(self, sums: _Sums, mode: Floats, spread: Floats) -> tuple[Floats, Floats]:
        """Add the block's log-likelihood and Hessian; return posterior means of the intercepts, and scores by group."""
        if self.sd == 0.0:
            z, log_w = np.zeros(1), np.full(1, 0.5 * np.log(2 * np.pi))
            u = np.zeros((len(mode), 1))
            scale = np.zeros(len(mode))
        else:
            z, w = np.polynomial.hermite.hermgauss(self.problem.nodes)
            log_w = np.log(w) + z**2
            u = mode[:, None] + np.sqrt(2.0) * spread[:, None] * z
            scale = np.log(np.sqrt(2.0) * spread)
        s = self.slopes(u)
        weight = self.weight[:, None]
        joint = self.total(weight * s.log_p) - 0.5 * u**2 - 0.5 * np.log(2 * np.pi) + log_w + scale[:, None]
        top = joint.max(axis=1, keepdims=True)
        log_l = top[:, 0] + np.log(np.exp(joint - top).sum(axis=1))
        posterior = np.exp(joint - log_l[:, None])
        sums.log_likelihood += float(log_l.sum())
        scores = self._louis(sums, s, u, posterior)
        return np.asarray((posterior * u).sum(axis=1)), scores

    def _louis(self, sums: _Sums, s: Slopes, u: Floats, posterior: Floats) -> Floats:
        K1, size = self.K1, len(sums.covariance)
        # By node first: a node is read row after row.
        up, down = (np.ascontiguousarray((self.weight[:, None] * each).T) for each in (s.by_a, s.by_b))
        along = up + down
        # Scores of each group at each node, and their posterior covariance.
        high, low = np.flatnonzero(self.answer < K1), np.flatnonzero(self.answer > 0)
        groups = self.last - self.first
        base = self.group * K1
        place = np.concatenate([base[high] + self.answer[high], base[low] + self.answer[low] - 1])
        # A group's answers in their cells, times the predictors of the cells: which cells it has is the same at each node.
        cells = (
            sparse.csr_array(
                (along[0], self.cell, np.append(self.starts, len(self.answer))), shape=(groups, len(self.X))
            )
            if self.by_cell
            else None
        )
        mean = np.zeros((groups, size))
        natural = np.empty((groups, size))
        for q in range(u.shape[1]):
            cuts = np.bincount(place, np.concatenate([up[q, high], down[q, low]]), minlength=groups * K1)
            natural[:, :K1] = cuts.reshape(groups, K1)
            if cells is not None:
                cells.data = along[q]
                natural[:, K1:-1] = -(cells @ self.X)
            elif size > K1 + 1:
                natural[:, K1:-1] = self.total(-along[q, :, None] * self.X)
            natural[:, -1] = -self.total(along[q]) * u[:, q]
            mean += natural * posterior[:, q, None]
            if u.shape[1] > 1:
                natural *= np.sqrt(posterior[:, q, None])
                sums.covariance += natural.T @ natural
        if u.shape[1] > 1:
            sums.covariance -= mean.T @ mean
        self._expected_hessian(sums.hessian, s, u, posterior)
        return mean

    def _expected_hessian(self, H: Floats, s: Slopes, u: Floats, posterior: Floats) -> None:
        """Add the posterior expectation of the Hessian, table by table."""
        K1 = self.K1
        on_row = posterior[self.group] * self.weight[:, None]
        at = u[self.group]

        def expected(values: Floats) -> Floats:
            return np.asarray(np.einsum("nq,nq->n", values, on_row))

        upper, lower = expected(s.upper), expected(s.lower)
        ab = s.by_ab[:, 0] * self.weight if s.by_ab.shape[1] == 1 else expected(s.by_ab)
        aa, bb = upper - ab, lower - ab
        on_row_u = on_row * at
        aa_u = np.asarray(np.einsum("nq,nq->n", s.upper, on_row_u))
        bb_u = np.asarray(np.einsum("nq,nq->n", s.lower, on_row_u))
        cc_u, cc_uu = aa_u + bb_u, np.einsum("nq,nq,nq->", s.upper + s.lower, on_row_u, at)
        y, high, low = self.answer, self.answer < K1, self.answer > 0
        both = high & low
        H[np.arange(K1), np.arange(K1)] += np.bincount(y[high], aa[high], K1) + np.bincount(y[low] - 1, bb[low], K1)
        off = np.bincount(y[both], ab[both], K1)[1:]
        H[np.arange(1, K1), np.arange(K1 - 1)] += off
        H[np.arange(K1 - 1), np.arange(1, K1)] += off
        sd_row = -(np.bincount(y[high], aa_u[high], K1) + np.bincount(y[low] - 1, bb_u[low], K1))
        H[:K1, -1] += sd_row
        H[-1, :K1] += sd_row
        H[-1, -1] += cc_uu
        C = H.shape[0] - K1 - 1
        if C == 0:
            return
        if self.by_cell:
            cell = self.cell
            above = np.bincount(y[high] * C + cell[high], -(aa + ab)[high], K1 * C)
            beneath = np.bincount((y[low] - 1) * C + cell[low], -(bb + ab)[low], K1 * C)
            block: Floats = (above + beneath).astype(np.float64).reshape(K1, C)
            inner: Floats = np.asarray(np.diag(np.bincount(cell, aa + 2 * ab + bb, C)), dtype=np.float64)
            edge: Floats = np.asarray(np.bincount(cell, cc_u, C), dtype=np.float64)
        else:
            X = self.X
            pull = np.zeros((len(y), K1))
            pull[high, y[high]] -= (aa + ab)[high]
            pull[low, y[low] - 1] -= (bb + ab)[low]
            block, inner, edge = pull.T @ X, (X * (aa + 2 * ab + bb)[:, None]).T @ X, cc_u @ X
        H[:K1, K1:-1] += block
        H[K1:-1, :K1] += block.T
        H[K1:-1, K1:-1] += inner
        H[K1:-1, -1] += edge
        H[-1, K1:-1] += edge


@dataclass(frozen=True, slots=True)
class Fit:
    """A maximum of the likelihood.

    Attributes
    ----------
    thresholds : (K - 1,). coefficients : (p,). sd : float, 0 at the boundary.
    at : Evaluation          Likelihood and derivatives there.
    boundary : bool          The likelihood falls as soon as the intercepts vary: the estimate of sd is 0.
    iterations : int
    converged : bool         False only where the caller asked for the last point of a search that did not settle.
    """

    thresholds: Floats
    coefficients: Floats
    sd: float
    at: Evaluation
    boundary: bool
    iterations: int
    converged: bool = True


def maximise(
    problem: Problem, *, random: bool = True, tolerance: float = 1e-9, limit: int = 100, strict: bool = True
) -> Fit:
    """Maximise by Newton's method, thresholds kept ordered by working on the logs of their distances.

    Where the Hessian is not negative definite its eigenvalues are turned; a step that does not raise the likelihood is
    halved. Without random intercepts (`random=False`) sd stays 0.

    Raises ConvergenceError when `limit` steps do not bring the Newton decrement below `tolerance` and every derivative below
    1e-6 (1e-10 of the weights, if that is more); where it is not `strict`, the last point comes back as not converged.
    """
    counts = np.bincount(problem.answer, weights=problem.weight, minlength=problem.categories)
    cumulative = np.clip(np.cumsum(counts)[:-1] / counts.sum(), 1e-6, 1 - 1e-6)
    tau = problem.link.quantile(cumulative)
    free = np.concatenate([tau[:1], np.log(np.maximum(np.diff(tau), 1e-3)), np.zeros(problem.predictors.rows.shape[1])])
    alike = _gathered(problem)
    fixed = _newton(alike, free, 0.0, np.zeros(len(alike.starts) - 1), tolerance, limit, vary_sd=False)
    if alike is not problem:
        modes = np.zeros(len(problem.starts) - 1)
        fixed = replace(fixed, at=evaluate(problem, fixed.thresholds, fixed.coefficients, 0.0, modes))
    if not fixed.converged or not random:
        return _settled(fixed, tolerance, limit, strict=strict)
    rise, pairs = _at_zero(problem, fixed)
    if rise <= 0:
        return Fit(fixed.thresholds, fixed.coefficients, 0.0, fixed.at, boundary=True, iterations=fixed.iterations)
    # The fit without intercepts has a residual of both variances for its unit: the share that colleagues have in common is the
    # intercepts', and in units of the rest every estimate is longer. Near enough to spare a step or two of five.
    latent = problem.link.variance
    share = min(max(rise / pairs / latent, 0.01), 0.5) if pairs > 0 else 0.2
    grown = 1.0 / np.sqrt(1.0 - share)
    start = np.concatenate([_logs(fixed.thresholds * grown), fixed.coefficients * grown])
    sd = float(np.sqrt(share * latent)) * grown
    found = _newton(problem, start, sd, fixed.at.modes, tolerance, limit, vary_sd=True)
    return _settled(found, tolerance, limit, strict=strict)


def _gathered(problem: Problem) -> Problem:
    """Return the problem of intercepts that do not vary: answers alike in category and predictors are one, of their weight.

    Without intercepts the likelihood is a sum over answers, so that this is the same function of its parameters. Offsets, and
    predictors that are not few, leave nobody alike.
    """
    if not problem.predictors.few or problem.offset.any():
        return problem
    cells = len(problem.predictors.rows)
    place = problem.answer * cells + problem.predictors.place
    weight: Floats = np.bincount(place, problem.weight, problem.categories * cells).astype(np.float64)
    there = np.flatnonzero(np.bincount(place, minlength=len(weight)))
    return replace(
        problem,
        answer=there // cells,
        predictors=Predictors(problem.predictors.rows, there % cells),
        offset=np.zeros(len(there)),
        weight=weight[there],
        starts=np.arange(len(there) + 1),
    )


def _settled(fit: Fit, tolerance: float, limit: int, *, strict: bool) -> Fit:
    if strict and not fit.converged:
        raise ConvergenceError(
            "the cumulative link model did not converge",
            where="statistics.ordinal_likelihood.maximise",
            expected=f"a Newton decrement below {tolerance:g} within {limit} steps",
            got=f"largest gradient {float(np.abs(fit.at.gradient).max()):.2g}",
            hint="look for a predictor that separates the answers, merge rare categories, or drop collinear terms",
        )
    return fit


def _at_zero(problem: Problem, fixed: Fit) -> tuple[float, float]:
    """Return how the likelihood rises as the intercepts begin to vary, and how much of that a variance of 1 would bring.

    The first is its second derivative by sd at 0: the sum over groups of S^2 - V, with S the score of the group's intercept
    and V its information. The second is the sum over groups of V^2 less the squares of its members' own, which is v_i v_j over
    pairs of colleagues: to first order the expectation of the first, so that their ratio is a moment estimate of the variance.
    """
    groups, rise, pairs = len(problem.starts) - 1, 0.0, 0.0
    for first in range(0, groups, _CHUNK):
        last = min(first + _CHUNK, groups)
        block = _Block(problem, first, last, fixed.thresholds, fixed.coefficients, 0.0)
        s = block.slopes(np.zeros(last - first))
        slope = block.total(block.weight * (s.by_a + s.by_b))
        bends = block.weight * (s.upper + s.lower)
        bend = block.total(bends)
        rise += float((slope**2 + bend).sum())
        pairs += float((bend**2).sum() - (bends**2).sum())
    return rise, pairs


def _logs(thresholds: Floats) -> Floats:
    return np.concatenate([thresholds[:1], np.log(np.diff(thresholds))])


def _newton(
    problem: Problem, start: Floats, sd: float, modes: Floats, tolerance: float, limit: int, *, vary_sd: bool
) -> Fit:
    K1 = problem.categories - 1
    free = np.append(start, sd)

    def point(values: Floats) -> tuple[Floats, Floats, float]:
        tau = values[0] + np.concatenate([[0.0], np.cumsum(np.exp(values[1:K1]))])
        return tau, values[K1:-1], abs(float(values[-1]))

    at = evaluate(problem, *point(free), modes)
    for iteration in range(1, limit + 1):
        gradient, hessian = _working(at, free, K1)
        use = slice(None) if vary_sd else slice(None, -1)
        values, vectors = np.linalg.eigh(-hessian[use, use])
        values = np.maximum(np.abs(values), 1e-8 * max(float(np.abs(values).max()), 1.0))
        step = np.zeros_like(free)
        step[use] = vectors @ ((vectors.T @ gradient[use]) / values)
        # Far from the maximum a quadratic says little: no cut-point moves by more than two units at once.
        step /= max(1.0, float(np.abs(step).max()) / 2.0)
        decrement = float(gradient[use] @ step[use])
        steep = float(np.abs(at.gradient if vary_sd else at.gradient[:-1]).max())
        if decrement < tolerance and steep < 1e-6 * max(1.0, problem.weight.sum() * 1e-4):
            tau, beta, found = point(free)
            return Fit(tau, beta, found if vary_sd else 0.0, at, boundary=False, iterations=iteration)
        for _ in range(40):
            trial = free + step
            new = evaluate(problem, *point(trial), at.modes)
            if np.isfinite(new.log_likelihood) and new.log_likelihood >= at.log_likelihood - 1e-10 * abs(
                at.log_likelihood
            ):
                break
            step *= 0.5
        else:
            break
        free, at = np.append(trial[:-1], abs(trial[-1])), new
    tau, beta, found = point(free)
    return Fit(tau, beta, found if vary_sd else 0.0, at, boundary=False, iterations=limit, converged=False)


def _working(at: Evaluation, free: Floats, K1: int) -> tuple[Floats, Floats]:
    """Gradient and Hessian by (first threshold, log distances, coefficients, sd)."""
    J = np.eye(len(free))
    J[:K1, 0] = 1.0
    rise = np.exp(free[1:K1])
    for k in range(1, K1):
        J[:K1, k] = np.where(np.arange(K1) >= k, rise[k - 1], 0.0)
    gradient = J.T @ at.gradient
    hessian = J.T @ at.hessian @ J
    for k in range(1, K1):
        hessian[k, k] += gradient[k]
    return gradient, hessian
