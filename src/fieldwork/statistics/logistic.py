"""Logistic regression in every replicate layer at once: what goes with a yes, and how sure that is.

statsmodels fits one set of weights a call, at milliseconds each; a thousand replicates of a few coefficients over a few hundred
distinct rows are one batched Newton step repeated six times. Its estimates are what these are tested against.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from fieldwork.errors import ConvergenceError, DesignError

__all__ = ["LogisticLayers", "logistic_layers"]

Floats = npt.NDArray[np.float64]

_AT_A_TIME = 64  # layers solved at a time: their predictors and probabilities stay in memory's nearer reaches
_STEPS = 60


@dataclass(frozen=True, slots=True)
class LogisticLayers:
    """Coefficients of a logistic regression, one fit per layer of weights.

    Attributes
    ----------
    coefficient : (1 + B, p)   Log odds per unit of each predictor; layer 0 observed.
    model_error : (p,)         Standard errors of layer 0 as if respondents were independent and weights were counts.
    """

    coefficient: Floats
    model_error: Floats


def logistic_layers(hits: npt.ArrayLike, trials: npt.ArrayLike, predictors: npt.ArrayLike) -> LogisticLayers:
    """Fit logit P(yes) = x'beta by weighted maximum likelihood in each layer.

    The log-likelihood sum_m hits_m x_m'beta - trials_m log(1 + exp(x_m'beta)) is maximised by Newton's method, steps damped by
    log(1 + d) / d with d the largest change of a log odds, so that it rises at every step (Bach 2010); the gradient ends at
    most 1e-11 per trial. Rows that share their predictors are best added up first: layers cost by distinct rows.

    The estimate is finite where no linear combination of the predictors parts the yeses from the noes (Albert and Anderson
    1984), which a linear program settles for the observed layer; else it is refused. Clusters enter through the layers.

    Parameters
    ----------
    hits, trials : (1 + B, m) sums of weights of the yeses and of all, per layer and distinct row; 0 <= hits <= trials.
    predictors : (m, p), or (1 + B, m, p) where predictors are themselves estimates; a column of ones for the intercept.

    Raises DesignError (predictors that tell nothing apart, a perfect separation), ConvergenceError.

    References
    ----------
    Albert, A. and Anderson, J. (1984). On the existence of maximum likelihood estimates in logistic regression models.
    Biometrika 71, 1-10. Bach, F. (2010). Self-concordant analysis for logistic regression. Electron. J. Statist. 4, 384-414.

    >>> fit = logistic_layers([[1.0, 3.0]], [[4.0, 4.0]], [[1.0, 0.0], [1.0, 1.0]])
    >>> fit.coefficient.round(4).tolist()                                           # log(1/3), and twice log 3
    [[-1.0986, 2.1972]]
    """
    y, n = np.atleast_2d(np.asarray(hits, dtype=np.float64)), np.atleast_2d(np.asarray(trials, dtype=np.float64))
    X = np.asarray(predictors, dtype=np.float64)
    X = X[None] if X.ndim == 2 else X
    if y.shape != n.shape or X.shape[1] != n.shape[1] or X.shape[0] not in {1, len(n)} or not (y <= n + 1e-9).all():
        raise DesignError(
            "hits, trials and predictors do not belong together",
            where="statistics.logistic.logistic_layers",
            expected="hits and trials (1 + B, m) with hits <= trials, predictors (m, p) or (1 + B, m, p)",
            got=f"{y.shape}, {n.shape}, {X.shape}",
            hint="sum the same rows in every layer",
        )
    _refuse_unbounded(y[0], n[0], X[0])
    found = np.empty((len(n), X.shape[2]))
    for low in range(0, len(n), _AT_A_TIME):
        block = slice(low, low + _AT_A_TIME)
        found[block] = _newton(y[block], n[block], X if len(X) == 1 else X[block])
    p = _probability(X[0] @ found[0])
    information = np.einsum("m,mi,mj->ij", n[0] * p * (1.0 - p), X[0], X[0])
    return LogisticLayers(found, np.sqrt(np.diag(np.linalg.inv(information))))


def _probability(eta: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * eta)), dtype=np.float64)


def _newton(y: Floats, n: Floats, X: Floats) -> Floats:
    beta = np.zeros((len(n), X.shape[2]))
    size = n.sum(axis=1)
    scale = np.maximum(np.abs(X).max(axis=(0, 1)), 1e-300)
    gradient = np.zeros_like(beta)
    # Matrix products over the last two axes run in the linear algebra library; einsum over layers would not.
    Xt = np.swapaxes(X, 1, 2)
    for _ in range(_STEPS):
        eta = (X @ beta[:, :, None])[:, :, 0]
        p = _probability(eta)
        gradient = (Xt @ (y - n * p)[:, :, None])[:, :, 0]
        if (np.abs(gradient) / scale <= 1e-11 * size[:, None]).all():
            return beta
        H = (Xt * (n * p * (1.0 - p))[:, None, :]) @ X
        step = np.linalg.solve(H, gradient[:, :, None])[:, :, 0]
        d = np.maximum(np.abs((X @ step[:, :, None])[:, :, 0]).max(axis=1), 1e-300)
        beta = beta + step * (np.log1p(d) / d)[:, None]
    raise ConvergenceError(
        "the coefficients of a logistic regression were not reached",
        where="statistics.logistic.logistic_layers",
        expected=f"a gradient of at most 1e-11 per trial within {_STEPS} steps",
        got=f"{float((np.abs(gradient) / scale / size[:, None]).max()):.3g}",
        hint="the answer is all but parted by the predictors in some replicate: leave a predictor out",
    )


def _refuse_unbounded(hits: Floats, trials: Floats, X: Floats) -> None:
    used = trials > 0
    where = "statistics.logistic.logistic_layers"
    rank = int(np.linalg.matrix_rank(X[used])) if used.any() else 0
    if rank < X.shape[1]:
        raise DesignError(
            "the predictors do not tell their effects apart",
            where=where,
            expected=f"{X.shape[1]} linearly independent predictors among the rows that have weight",
            got=f"rank {rank}",
            hint="leave out a predictor that is constant, or that others add up to",
        )
    yes, no = hits > 0, trials - hits > 1e-12 * max(float(trials.max()), 1e-300)
    signed = np.vstack([X[yes], -X[no]])
    # Is there a direction in which no row loses and some row wins?
    found = linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=(-1.0, 1.0), method="highs")
    if found.fun is not None and float(found.fun) < -1e-7 * max(float(np.abs(signed).max()), 1e-300):
        raise DesignError(
            "the predictors part the yeses from the noes",
            where=where,
            expected="yeses and noes that overlap along every combination of the predictors",
            got=f"{int(yes.sum())} distinct rows with a yes, {int(no.sum())} with a no, parted",
            hint="report the counts; no finite log odds describe them",
        )
