"""Cumulative link model with several random intercepts, crossed or nested, by Laplace's approximation.

For panels: an intercept for the organisation and one for the respondent. Own code for the same reason as `ordinal_mixed`; with
more than one grouping the integral does not factor, so quadrature gives way to Laplace, whose standard deviations are a little
low where a group has few answers (1.3% at six). The gradient is exact, through the mode of the intercepts.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import linalg, optimize, stats

from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics.cumulative_links import Link, link_named

__all__ = ["CrossedFit", "fit_crossed"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LARGEST = 4000  # intercepts in all; their information matrix is dense
_STEP = 1e-5


@dataclass(frozen=True, slots=True)
class CrossedFit:
    """A fitted model with several random intercepts.

    Attributes
    ----------
    params, bse : pd.Series      Thresholds `1|2`, terms, `sd(name)`; standard errors, missing for an sd at its boundary.
    covariance : pd.DataFrame    Of the same.
    llf : float                  Log-likelihood by Laplace's approximation.
    gradient : float             Largest element of its gradient there.
    nobs : int                   Answers. groups : dict of str to int    Levels of each grouping.
    """

    params: pd.Series
    bse: pd.Series
    covariance: pd.DataFrame = field(repr=False)
    llf: float
    gradient: float
    nobs: int
    groups: Mapping[str, int]

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Wald intervals at 1 - alpha; those of an sd on the log scale."""
        z = float(stats.norm.ppf(1 - alpha / 2))
        out = pd.DataFrame({"conf_low": self.params - z * self.bse, "conf_high": self.params + z * self.bse})
        for name in out.index[out.index.str.startswith("sd(")]:
            sd = float(self.params[name])
            if sd > 0:
                factor = float(np.exp(z * self.bse[name] / sd))
                out.loc[name] = [sd / factor, sd * factor]
        return out


def fit_crossed(
    answer: npt.ArrayLike,
    exog: npt.ArrayLike,
    groups: Mapping[str, npt.ArrayLike],
    *,
    names: Sequence[str] = (),
    categories: Sequence[object] = (),
    link: str = "logit",
    weights: npt.ArrayLike | None = None,
) -> CrossedFit:
    """Fit P(Y <= j) = F(tau_j - x b - sum over r of sd_r u_r), u standard normal, one per level of each grouping r.

    Parameters
    ----------
    answer : (n,) 0 .. K - 1, each category seen. exog : (n, p) without intercept.
    groups : name -> (n,) level of each answer; crossed or nested makes no difference.
    names, categories : labels of predictors and answers. weights : (n,) multiply the log-probability.

    Maximised by BFGS on the exact gradient of Laplace's approximation (Skaug and Fournier 2006), thresholds ordered by
    working on the logs of their distances; standard errors from the differenced gradient. A standard deviation below 1e-4
    is at its boundary and reported as 0.

    Raises DesignError above 4,000 intercepts, ConvergenceError when the gradient stays above 1e-4.

    >>> rng = np.random.default_rng(0)
    >>> firm, person = np.repeat(np.arange(30), 8), np.repeat(np.arange(120), 2)
    >>> latent = rng.normal(size=30)[firm] + rng.normal(size=120)[person] + rng.logistic(size=240)
    >>> fit = fit_crossed(np.digitize(latent, [-1, 1]), np.empty((240, 0)), {"firm": firm, "person": person})
    >>> list(fit.params.index)
    ['0|1', '1|2', 'sd(firm)', 'sd(person)']
    """
    y = np.asarray(answer, dtype=np.int64)
    X = np.asarray(exog, dtype=np.float64).reshape(len(y), -1)
    K = int(y.max()) + 1
    index = [pd.factorize(np.asarray(level), sort=True)[0] for level in groups.values()]
    sizes = [int(level.max()) + 1 for level in index]
    if sum(sizes) > _LARGEST or min(sizes) < 2:
        raise DesignError(
            "too many random intercepts for one dense system" if sum(sizes) > _LARGEST else "a grouping has one level",
            where="statistics.ordinal_crossed.fit_crossed",
            expected=f"at least two levels a grouping, at most {_LARGEST} in all",
            got=", ".join(f"{name} {size}" for name, size in zip(groups, sizes, strict=True)),
            hint="keep the organisation alone, by CumulativeLinkMixedModel, and use robust covariance",
        )
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    problem = _Problem(y, X, index, sizes, w, link_named(link), K)
    cumulative = np.clip(np.cumsum(np.bincount(y, weights=w, minlength=K))[:-1] / w.sum(), 1e-6, 1 - 1e-6)
    tau = problem.link.quantile(cumulative)
    spread = np.full(len(sizes), 0.5 * np.sqrt(problem.link.variance))
    start = np.concatenate([tau[:1], np.log(np.maximum(np.diff(tau), 1e-3)), np.zeros(X.shape[1]), spread])
    found = optimize.minimize(problem.negative, start, jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 500})
    theta = np.asarray(found.x, dtype=np.float64)
    theta[K - 1 + X.shape[1] :] = np.abs(theta[K - 1 + X.shape[1] :])
    value, slope = problem.negative(theta)
    largest = float(np.abs(slope).max())
    if largest > 1e-4:
        raise ConvergenceError(
            "the model with several intercepts did not converge",
            where="statistics.ordinal_crossed.fit_crossed",
            expected="a gradient below 1e-4",
            got=f"{largest:.2g} after {found.nit} steps",
            hint="look for a separating term, or drop the grouping with the fewest answers a level",
        )
    return _report(problem, theta, -value, largest, names, categories, groups)


def _report(
    problem: _Problem,
    theta: Floats,
    llf: float,
    largest: float,
    names: Sequence[str],
    categories: Sequence[object],
    groups: Mapping[str, npt.ArrayLike],
) -> CrossedFit:
    K1, p = problem.K - 1, problem.X.shape[1]
    sd = theta[K1 + p :]
    inside = np.concatenate([np.ones(K1 + p, dtype=bool), sd > 1e-4])
    hessian = np.empty((len(theta), len(theta)))
    for j in range(len(theta)):
        step = np.zeros_like(theta)
        step[j] = _STEP * max(1.0, abs(theta[j]))
        hessian[j] = (problem.negative(theta + step)[1] - problem.negative(theta - step)[1]) / (2 * step[j])
    hessian = 0.5 * (hessian + hessian.T)
    free = np.full_like(hessian, np.nan)
    free[np.ix_(inside, inside)] = np.linalg.inv(hessian[np.ix_(inside, inside)])
    J = np.eye(len(theta))
    J[:K1, 0] = 1.0
    for k in range(1, K1):
        J[:K1, k] = np.where(np.arange(K1) >= k, np.exp(theta[k]), 0.0)
    covariance = np.full_like(free, np.nan)
    covariance[np.ix_(inside, inside)] = (
        J[np.ix_(inside, inside)] @ free[np.ix_(inside, inside)] @ J[np.ix_(inside, inside)].T
    )
    labels = [str(c) for c in (categories or range(problem.K))]
    index = [f"{a}|{b}" for a, b in itertools.pairwise(labels)]
    index += list(names) or [f"x{j + 1}" for j in range(p)]
    index += [f"sd({name})" for name in groups]
    values = np.concatenate([problem.thresholds(theta), theta[K1 : K1 + p], np.where(sd > 1e-4, sd, 0.0)])
    return CrossedFit(
        pd.Series(values, index=index, name="estimate"),
        pd.Series(np.sqrt(np.diag(covariance)), index=index, name="std_error"),
        pd.DataFrame(covariance, index=index, columns=index),
        llf,
        largest,
        len(problem.y),
        dict(zip(groups, problem.sizes, strict=True)),
    )


class _Problem:
    """Negative Laplace log-likelihood with its gradient; keeps the mode of the intercepts from call to call."""

    def __init__(self, y: Ints, X: Floats, index: list[Ints], sizes: list[int], w: Floats, link: Link, K: int) -> None:
        self.y, self.X, self.sizes, self.w, self.link, self.K = y, X, sizes, w, link, K
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.place = np.column_stack([level + start for level, start in zip(index, first, strict=True)])
        self.grouping = np.repeat(np.arange(len(sizes)), sizes)
        self.mode = np.zeros(sum(sizes))

    def thresholds(self, theta: Floats) -> Floats:
        return np.asarray(theta[0] + np.concatenate([[0.0], np.cumsum(np.exp(theta[1 : self.K - 1]))]))

    def negative(self, theta: Floats) -> tuple[float, Floats]:
        """Return minus the approximation and its gradient by (first threshold, log distances, coefficients, sd)."""
        K1, p = self.K - 1, self.X.shape[1]
        tau, beta, sd = self.thresholds(theta), theta[K1 : K1 + p], theta[K1 + p :]
        ends = np.concatenate([[-np.inf], tau, [np.inf]])
        eta = self.X @ beta
        a, b = ends[self.y + 1] - eta, ends[self.y] - eta
        L, H = self._to_mode(a, b, sd)
        shift = self._shift(sd)
        s = self.link.slopes(a, b, shift)
        value = float((self.w * s.log_p).sum() - 0.5 * self.mode @ self.mode - np.log(np.diag(L)).sum())
        inverse = linalg.cho_solve((L, True), np.eye(len(H)))
        return -value, -self._gradient(theta, a, b, sd, shift, inverse)

    def _shift(self, sd: Floats) -> Floats:
        return np.asarray((self.mode[self.place] * sd).sum(axis=1))

    def _information(self, curvature: Floats, sd: Floats) -> Floats:
        """Z' W Z + 1 over all intercepts, W = minus the curvature."""
        q = len(self.mode)
        H = np.eye(q)
        for r in range(self.place.shape[1]):
            for t in range(self.place.shape[1]):
                np.add.at(H, (self.place[:, r], self.place[:, t]), -curvature * sd[r] * sd[t])
        return H

    def _to_mode(self, a: Floats, b: Floats, sd: Floats) -> tuple[Floats, Floats]:
        for _ in range(100):
            s = self.link.slopes(a, b, self._shift(sd))
            pull = self.w * (s.by_a + s.by_b)
            slope = -self.mode.copy()
            for r in range(self.place.shape[1]):
                slope -= sd[r] * np.bincount(self.place[:, r], pull, len(self.mode))
            H = self._information(self.w * (s.upper + s.lower), sd)
            L = np.asarray(linalg.cholesky(H, lower=True))
            step = linalg.cho_solve((L, True), slope)
            step /= max(1.0, float(np.abs(step).max()) / 2.0)
            self.mode = self.mode + step
            if np.abs(step).max() < 1e-10:
                break
        return L, H

    def _gradient(self, theta: Floats, a: Floats, b: Floats, sd: Floats, shift: Floats, inverse: Floats) -> Floats:
        K1, p, R = self.K - 1, self.X.shape[1], len(sd)
        s = self.link.slopes(a, b, shift)
        upper, lower = self.w * s.upper, self.w * s.lower
        pull, bend = self.w * (s.by_a + s.by_b), upper + lower

        def along(da: float, db: float) -> Floats:
            up, down = (self.link.slopes(a + h * da, b + h * db, shift) for h in (_STEP, -_STEP))
            return np.asarray(self.w * (up.upper + up.lower - down.upper - down.lower) / (2 * _STEP))

        by_a, by_b = along(1.0, 0.0), along(0.0, 1.0)
        third = by_a + by_b
        rows = np.arange(len(self.y))
        # v: leverage z' H^-1 z of each row; Z (n, q) is sparse with R entries a row.
        scaled = np.zeros((len(self.y), len(self.mode)))
        for r in range(R):
            np.add.at(scaled, (rows, self.place[:, r]), sd[r])
        hatted = scaled @ inverse
        leverage = np.einsum("nq,nq->n", hatted, scaled)
        # What a unit of each natural parameter does to a, to b and to the shift, the mode held.
        m = K1 + p + R
        to_a, to_b, explicit = np.zeros((len(self.y), m)), np.zeros((len(self.y), m)), np.zeros((len(self.y), m))
        high, low = self.y < K1, self.y > 0
        to_a[rows[high], self.y[high]] = 1.0
        to_b[rows[low], self.y[low] - 1] = 1.0
        explicit[:, K1 : K1 + p] = self.X
        explicit[:, K1 + p :] = self.mode[self.place]
        mixed = scaled.T @ (bend[:, None] * explicit - upper[:, None] * to_a - lower[:, None] * to_b)
        for r in range(R):
            mixed[:, K1 + p + r] -= np.bincount(self.place[:, r], pull, len(self.mode))
        moved = explicit + scaled @ (inverse @ mixed)
        direct = (self.w * s.by_a) @ to_a + (self.w * s.by_b) @ to_b - pull @ explicit
        change = (leverage * by_a) @ to_a + (leverage * by_b) @ to_b - (leverage * third) @ moved
        natural = direct + 0.5 * change
        for r in range(R):
            natural[K1 + p + r] += float((bend * hatted[rows, self.place[:, r]]).sum())
        J = np.eye(m)
        J[:K1, 0] = 1.0
        for k in range(1, K1):
            J[:K1, k] = np.where(np.arange(K1) >= k, np.exp(theta[k]), 0.0)
        return np.asarray(J.T @ natural)
