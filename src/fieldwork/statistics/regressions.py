"""Regressions fitted in every replicate layer at once: least squares, counts and shares by log link, censored times.

Own code, because a library fits one weight vector a call: here a thousand vectors of weights share one design matrix, and
Newton's method runs on all of them together. Values are held against R (`lm`, `glm`, `survival::survreg`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics.layers import Layers, LayerWeights, as_layers
from fieldwork.statistics.replicates import Inference, infer

__all__ = ["LayeredFit", "least_squares", "log_linear", "log_normal_times", "regression_inference"]

Floats = npt.NDArray[np.float64]
Evaluate = Callable[[Floats, Floats], tuple[Floats, Floats, Floats]]

_HELD = 2_000_000  # numbers per array held at a time, 16 MB
_STEPS = 60
_FAR = 15.0  # log units from the middle of the outcome: a factor of three million
_SETTLED = 1e-10  # of the objective per unit weight that a last step still gains
_ROOT_2PI = float(np.sqrt(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class LayeredFit:
    """Coefficients of one regression in every layer.

    Attributes
    ----------
    coefficients : (L, p)     In the order of the columns of the design; layer 0 is the observed one.
    scale : (L,)              Standard deviation of the log times of `log_normal_times`; nan elsewhere.
    parameters : int          Numbers estimated: p, and the scale where there is one.
    """

    coefficients: Floats
    scale: Floats
    parameters: int


def regression_inference(layers: Floats, clusters: int, parameters: int, *, fewest: int | None = None) -> Inference:
    """Give a coefficient its standard error and t interval from its layers.

    The deviations of the replicates are multiplied by sqrt(G / (G - p)) for G clusters and p parameters, and t has G - p
    degrees of freedom: each parameter costs one, as the mean costs one in `replicates.infer`, which this is for p = 1. The
    coefficient of a group that few clusters carry is as sure as those few: with `fewest` below G - p + 1 its clusters take the
    place of that number.

    Parameters
    ----------
    layers : (1 + B,) coefficient, layer 0 observed. clusters : organisations behind the regression. parameters : its p.
    fewest : organisations on the thinner side of a comparison.

    Raises DesignError with no degree of freedom left.

    >>> regression_inference(np.array([1.0, 0.0, 2.0]), 9, 5).std_error.round(4).item()   # sqrt(9 / 4)
    1.5
    """
    free = clusters - parameters
    if free < 1:
        raise DesignError(
            "a regression with as many parameters as clusters has no standard error",
            where="statistics.regressions.regression_inference",
            expected=f"more than {parameters} clusters",
            got=str(clusters),
            hint="adjust for less",
        )
    theta = np.asarray(layers, dtype=np.float64)
    carried = free + 1 if fewest is None else max(min(free + 1, fewest), 2)
    # `infer` gives sqrt(carried / (carried - 1)); the rest of the factor is put in here.
    rest = max(np.sqrt(clusters / free) / np.sqrt(carried / (carried - 1.0)), 1.0)
    stretched = np.concatenate([theta[:1], theta[0] + (theta[1:] - theta[0]) * rest])
    return infer(stretched, carried)


def least_squares(X: npt.ArrayLike, y: npt.ArrayLike, weight: npt.ArrayLike | Layers) -> LayeredFit:
    """Fit y = X b by weighted least squares in each layer.

    Parameters
    ----------
    X : (n, p) with its constant. y : (n,). weight : (L, n), one row per layer.

    Of an outcome of 0 and 1 the coefficients are differences of shares (the linear probability model). Raises DesignError for
    columns that depend on each other.

    >>> least_squares([[1, 0], [1, 0], [1, 1]], [1.0, 3.0, 5.0], np.ones((1, 3))).coefficients.round(12).tolist()
    [[2.0, 3.0]]
    """
    design, outcome, weights = _checked(X, y, weight, "least_squares")
    p = design.shape[1]
    if isinstance(weights, Layers) and weights.first_order:
        weighed = weights[0][:, None] * design
        curvature = -weighed.T @ design
        first = np.asarray(np.linalg.solve(-curvature, weighed.T @ outcome), dtype=np.float64)
        scores = (outcome - design @ first)[:, None] * design
        return LayeredFit(_first_order(first, scores, curvature, weights), np.full(len(weights), np.nan), p)
    normal = _Products(design, design).sums(weights)
    right = weights @ (design * outcome[:, None])
    beta = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    return LayeredFit(np.asarray(beta, dtype=np.float64), np.full(len(weights), np.nan), p)


def log_linear(X: npt.ArrayLike, y: npt.ArrayLike, weight: npt.ArrayLike | Layers) -> LayeredFit:
    """Fit E(y) = exp(X b) by Poisson pseudo-likelihood in each layer: exp of a coefficient is a ratio of means.

    Only the mean has to be right: counts may be more variable than Poisson's, and y need not be a count; zeros are allowed,
    where the log of y would not be. The estimates are those of quasi-Poisson regression; standard errors come from the
    layers, not from the model.

    Parameters
    ----------
    X : (n, p) with its constant. y : (n,) not negative. weight : (L, n), one row per layer.

    Raises DesignError (columns that depend on each other, negative y), ConvergenceError (a group without any: its ratio is
    infinite).

    References: Gourieroux, Monfort and Trognon (1984), Econometrica 52, 701-720; Santos Silva and Tenreyro (2006), Rev. Econ.
    Stat. 88, 641-658.

    >>> fit = log_linear([[1, 0], [1, 0], [1, 1], [1, 1]], [0.0, 4.0, 1.0, 0.0], np.ones((1, 4)))
    >>> np.exp(fit.coefficients).round(6).tolist()
    [[2.0, 0.25]]
    """
    design, outcome, weights = _checked(X, y, weight, "log_linear")
    if (outcome < 0).any():
        raise DesignError(
            "a log link needs an outcome that is not negative",
            where="statistics.regressions.log_linear",
            expected="y >= 0",
            got=f"{int((outcome < 0).sum())} of {len(outcome)} below",
            hint="measure a change from a base that makes it positive, or fit least_squares",
        )
    p = design.shape[1]
    products = _Products(design, design)

    def evaluate(beta: Floats, layers: Floats) -> tuple[Floats, Floats, Floats]:
        eta = np.clip(beta @ design.T, -700.0, 700.0)
        mean = np.exp(eta)
        value = np.einsum("ln,ln->l", layers, outcome * eta - mean)
        slope = (layers * (outcome - mean)) @ design
        return value, slope, -products.sums(layers * mean)

    level = outcome + 0.5 * float(np.average(outcome, weights=weights[0]) or 1.0)
    start = least_squares(design, np.log(level), weights[:1]).coefficients[0]
    beta = _newton(
        evaluate,
        start,
        weights,
        "log_linear",
        lambda first: (outcome - np.exp(np.clip(design @ first, -700.0, 700.0)))[:, None] * design,
    )
    _refuse_infinite(design @ beta[0], float(np.log(np.average(outcome, weights=weights[0]) or 1.0)), "log_linear")
    return LayeredFit(beta, np.full(len(weights), np.nan), p)


def log_normal_times(
    X: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike, weight: npt.ArrayLike | Layers
) -> LayeredFit:
    """Fit log T = X b + s e, e standard normal, to times known to lie in (lower, upper], in each layer.

    The accelerated failure time model: exp of a coefficient is the ratio of median times, and of every other quantile. A time
    given in whole weeks t is (t - 1/2, t + 1/2], which also holds a 0; one that is still running is (t, inf]. In the
    parameters b / s and 1 / s the likelihood is concave (Olsen 1978), so Newton's method finds its maximum from anywhere.

    Parameters
    ----------
    X : (n, p) with its constant. lower, upper : (n,) in one unit of time, lower < upper, upper above 0; a lower end at or
    below 0 says nothing. weight : (L, n), one row per layer.

    Where the errors are not normal the slopes are near those of the true errors, and the same where no time is censored:
    location-scale families share them. With gamma times of which a quarter is censored a ratio of 0.70 reads 0.69.

    Raises DesignError (times that contradict themselves, no time that ended, columns that depend on each other),
    ConvergenceError.

    Layers of clusters gathered into variance units, of which more than 1,000 carry the fit, are taken to first order (Binder
    1983), here and in the other two regressions.

    References: Olsen, R. (1978), Econometrica 46, 1211-1215; Kalbfleisch and Prentice (2002), The Statistical Analysis of
    Failure Time Data, ch. 3. Equals R `survival::survreg(dist = "lognormal")`.

    >>> X = np.array([[1, 0], [1, 0], [1, 1], [1, 1.0]])
    >>> fit = log_normal_times(X, [0.999, 3.999, 1.999, 7.999], [1.001, 4.001, 2.001, 8.001], np.ones((1, 4)))
    >>> np.exp(fit.coefficients).round(3).tolist()             # medians 2 and 4: a ratio of 2
    [[2.0, 2.0]]
    """
    design, low, weights = _checked(X, lower, weight, "log_normal_times", infinite=True)
    high = np.asarray(upper, dtype=np.float64)
    faulty = ~(low < high) | ~(high > 0)
    ended = np.isfinite(high)
    if faulty.any() or not ended.any():
        raise DesignError(
            "a time ends before it begins, or none has ended",
            where="statistics.regressions.log_normal_times",
            expected="lower < upper, upper > 0, and at least one upper end that is finite",
            got=f"{int(faulty.sum())} of {len(low)} rows otherwise, {int(ended.sum())} ended",
            hint="give inf as upper end of a time that is still running, and report times of which none has ended as such",
        )
    with np.errstate(divide="ignore"):
        bottom = np.where(low > 0, np.log(np.where(low > 0, low, 1.0)), -np.inf)
        top = np.where(ended, np.log(np.where(ended, high, 1.0)), np.inf)
    p = design.shape[1]
    tops, bottoms = np.where(np.isfinite(top), top, 0.0), np.where(np.isfinite(bottom), bottom, 0.0)
    # The linear predictors are z = -X (b / s) + log(t) / s: one more column of the design, another for each end.
    ends = [np.column_stack([-design, tops]), np.column_stack([-design, bottoms])]
    curved = _Products(ends[0], ends[0]), _Products(ends[1], ends[1]), _Products(ends[0], ends[1])
    open_ends = [np.isfinite(top), np.isfinite(bottom)]

    def parts(theta: Floats) -> tuple[Floats, tuple[Floats, Floats], list[Floats]]:
        """Probability of each interval, densities at its ends over it, and the ends on the scale of the error."""
        z = [theta @ end.T for end in ends]
        above, below = np.where(open_ends[0], z[0], np.inf), np.where(open_ends[1], z[1], -np.inf)
        # The difference of two tails is taken on the side where both are small, or it would be lost in rounding.
        turned = np.where(np.where(open_ends[0], z[0], 0.0) + np.where(open_ends[1], z[1], 0.0) > 0, -1.0, 1.0)
        inside = np.maximum(turned * (ndtr(turned * above) - ndtr(turned * below)), 1e-300)
        densities = [
            np.where(there, np.exp(-0.5 * each**2) / _ROOT_2PI, 0.0) / inside
            for there, each in zip(open_ends, z, strict=True)
        ]
        return inside, (densities[0], densities[1]), z

    def evaluate(theta: Floats, layers: Floats) -> tuple[Floats, Floats, Floats]:
        inside, (up, down), z = parts(theta)
        value = np.einsum("ln,ln->l", layers, np.log(inside))
        slope = (layers * up) @ ends[0] - (layers * down) @ ends[1]
        curvature = curved[0].sums(layers * (-z[0] * up - up**2))
        curvature += curved[1].sums(layers * (z[1] * down - down**2))
        curvature += curved[2].sums(layers * (up * down))
        return np.where(theta[:, -1] > 0, value, -np.inf), slope, curvature

    def scores(first: Floats) -> Floats:
        _, (up, down), _ = parts(first[None, :])
        return np.asarray(up[0][:, None] * ends[0] - down[0][:, None] * ends[1])

    middle = np.where(
        np.isfinite(top) & np.isfinite(bottom), 0.5 * (tops + bottoms), np.where(np.isfinite(top), tops - 0.7, bottoms)
    )
    fitted = least_squares(design, middle, weights[:1]).coefficients[0]
    spread = float(np.sqrt(np.average((middle - design @ fitted) ** 2, weights=weights[0])))
    start = np.append(fitted, 1.0) / max(spread, 0.1)
    theta = _newton(evaluate, start, weights, "log_normal_times", scores)
    _refuse_infinite(design @ theta[0, :-1] / theta[0, -1], float(np.median(middle)), "log_normal_times")
    return LayeredFit(theta[:, :-1] / theta[:, -1:], 1.0 / theta[:, -1], p + 1)


def _checked(
    X: npt.ArrayLike, y: npt.ArrayLike, weight: npt.ArrayLike | Layers, name: str, *, infinite: bool = False
) -> tuple[Floats, Floats, LayerWeights]:
    design, outcome = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    weights = as_layers(weight)
    weights = weights if isinstance(weights, Layers) else np.atleast_2d(weights)
    where = f"statistics.regressions.{name}"
    fit = design.ndim == 2 and len(design) == len(outcome) == weights.shape[1]
    there = np.isfinite(outcome) | (infinite & np.isinf(outcome))
    if not fit or not (
        np.isfinite(design).all()
        and there.all()
        and np.isfinite(weights[0] if isinstance(weights, Layers) else weights).all()
    ):
        raise DesignError(
            "a regression needs complete rows of one length",
            where=where,
            expected="X (n, p), an outcome (n,) and weights (L, n), none of them missing",
            got=f"X {design.shape}, outcome {outcome.shape}, weights {weights.shape}",
            hint="leave out rows that lack a value, and count them in the base",
        )
    rank = _rank(design[weights[0] > 0])
    if rank < design.shape[1]:
        raise DesignError(
            "the columns of a regression depend on each other",
            where=where,
            expected=f"{design.shape[1]} separable columns",
            got=f"rank {rank}",
            hint="merge levels, or adjust for less",
        )
    return design, outcome, weights


def _rank(design: Floats) -> int:
    """Count separable columns: eigenvalues of the cross-products of columns scaled to length 1, above rounding."""
    if not len(design):
        return 0
    products = design.T @ design
    length = np.sqrt(np.diag(products))
    length = np.where(length > 0, length, 1.0)
    return int((np.linalg.eigvalsh(products / np.outer(length, length)) > 1e-10).sum())


@dataclass(slots=True)
class _Products:
    """What two designs (n, p) make in every layer of first'W second + second'W first, halved where they are one.

    Of several layers the rows' own products are made first, and once.
    """

    first: Floats
    second: Floats
    _by_row: Floats | None = None

    def sums(self, weights: LayerWeights) -> Floats:
        """Return symmetric matrices (L, p, p)."""
        same, p = self.first is self.second, self.first.shape[1]
        if len(weights) == 1 and not isinstance(weights, Layers):
            once = self.first.T @ (weights[0][:, None] * self.second)
            return np.asarray(once if same else once + once.T)[None]
        if self._by_row is None:
            i, j = np.triu_indices(p)
            self._by_row = self.first[:, i] * self.second[:, j]
            if not same:
                self._by_row += self.second[:, i] * self.first[:, j]
        return _symmetric(np.asarray(weights @ self._by_row), p)


def _symmetric(sums: Floats, p: int) -> Floats:
    """Return symmetric matrices (L, p, p) with these upper triangles (L, p (p + 1) / 2)."""
    i, j = np.triu_indices(p)
    out = np.empty((len(sums), p, p))
    out[:, i, j] = sums
    out[:, j, i] = sums
    return out


def _newton(
    evaluate: Evaluate, start: Floats, weights: LayerWeights, name: str, scores: Callable[[Floats], Floats]
) -> Floats:
    """Maximise a concave objective in every layer: the observed layer from `start`, the others from its maximum.

    Layers of many clusters are taken to first order, from the rows' slopes (n, p) that `scores` gives at that maximum.
    """
    first = _climb(evaluate, start[None, :], weights[:1], name)
    if isinstance(weights, Layers) and weights.first_order:
        return _first_order(first[0], scores(first[0]), evaluate(first, weights[:1])[2][0], weights)
    out = np.empty((len(weights), len(start)))
    out[0] = first[0]
    size = max(1, _HELD // max(weights.shape[1], 1))
    for low in range(1, len(weights), size):
        part = weights[low : low + size]
        out[low : low + size] = _climb(evaluate, first, part, name)
    return out


def _first_order(maximum: Floats, scores: Floats, curvature: Floats, weights: Layers) -> Floats:
    """Maxima (L, p) of layers by one step from the observed one: what a replicate weighs differs by 1 / sqrt(clusters).

    Reference: Binder (1983), Int. Statist. Rev. 51, 279-292.
    """
    slope = weights @ scores
    return np.asarray(maximum + np.linalg.solve(-curvature, (slope - slope[0]).T).T)


def _climb(evaluate: Evaluate, theta: Floats, weights: Floats, name: str) -> Floats:
    """Newton's steps from one point (1, p), halved in each layer until its objective does not fall."""
    mass = weights.sum(axis=1)
    value, slope, curvature = evaluate(theta, weights)
    theta = np.repeat(theta, len(weights), axis=0)
    for _ in range(_STEPS):
        try:
            step = np.linalg.solve(-curvature, slope[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError as error:
            raise _diverged(name, "a flat objective") from error
        gain = np.einsum("lp,lp->l", step, slope) / mass
        if not np.isfinite(gain).all() or np.abs(theta).max() > 1e4:
            raise _diverged(name, "coefficients without bound")
        if gain.max() < _SETTLED:  # the step that is left is right to the square of its own size
            return np.asarray(theta + step)
        factor = np.ones(len(theta))
        for _ in range(_STEPS):
            tried = evaluate(theta + factor[:, None] * step, weights)
            fell = ~(tried[0] >= value - 1e-10 * np.abs(value))
            if not fell.any():
                break
            factor[fell] *= 0.5
        theta = theta + factor[:, None] * step
        value, slope, curvature = tried
    raise _diverged(name, f"no maximum in {_STEPS} steps")


def _refuse_infinite(fitted: Floats, centre: float, name: str) -> None:
    """Refuse fitted logs so far out that the steps towards infinity have merely become small."""
    if np.abs(fitted - centre).max() > _FAR:
        raise _diverged(name, "a group whose level is nil, or without bound")


def _diverged(name: str, got: str) -> ConvergenceError:
    return ConvergenceError(
        "a regression has no finite maximum",
        where=f"statistics.regressions.{name}",
        expected="an outcome of more than one value in every group that the design tells apart",
        got=got,
        hint="merge groups, or adjust for less",
    )
