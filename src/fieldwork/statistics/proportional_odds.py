"""Whether one effect serves every cut-point of an ordinal scale: Brant's test, with organisations as clusters.

Own code: statsmodels has no such test, and those of R take answers as independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics.ordinal_likelihood import Predictors
from fieldwork.statistics.ordinal_mixed import CumulativeLinkMixedModel
from fieldwork.statistics.replicates import distinct_rows

__all__ = ["ProportionalOdds", "proportional_odds_test"]

Floats = npt.NDArray[np.float64]
_FEWEST = 5  # answers of each combination of the tested factors on either side of a cut-point
_ROWS_A_PATTERN = 10  # predictors with fewer rows per distinct combination are no factors


@dataclass(frozen=True, slots=True)
class ProportionalOdds:
    """A test that coefficients are the same at every cut-point.

    Attributes
    ----------
    statistic : float           F.
    df, df_error : float        Its degrees of freedom.
    p_value : float
    effects : (cuts, p) float   Log odds of an answer above each cut-point used, by tested predictor.
    cuts : tuple of int         Cut-points used: k stands for answers above the k-th category (from 0).
    """

    statistic: float
    df: float
    df_error: float
    p_value: float
    effects: Floats
    cuts: tuple[int, ...]


def proportional_odds_test(
    answer: npt.ArrayLike,
    exog: npt.ArrayLike,
    cluster: npt.ArrayLike,
    *,
    tested: Sequence[int],
    weights: npt.ArrayLike | None = None,
) -> ProportionalOdds:
    """Test proportional odds by binary splits (Brant 1990), with a covariance that knows organisations.

    At each cut-point k a logit of y > k on the predictors is fitted. The splits share their respondents, so the joint
    covariance of their coefficients is the sandwich over the clusters of their stacked scores, G / (G - 1) scaled. The Wald
    statistic W of equal coefficients on q contrasts becomes F = (G - q) / ((G - 1) q) W on (q, G - q) degrees of freedom
    (Korn and Graubard 1990), which keeps its level when clusters are few. A cut-point is left out, and missing from `cuts`,
    where a predictor separates the answers, and where the tested predictors are factors and one of their combinations has
    fewer than five answers on either side: the sandwich is far too small there.

    Parameters
    ----------
    answer : (n,) int 0 .. K - 1. exog : (n, p) without intercept. cluster : (n,) labels.
    tested : columns of `exog` whose coefficients are compared. weights : (n,) survey weights.

    Raises DesignError when fewer than two cut-points are left, or clusters do not exceed the contrasts. References: Brant, R.
    (1990), Biometrics 46, 1171-1178; Korn, E. and Graubard, B. (1990), American Statistician 44, 270-276.

    >>> rng = np.random.default_rng(1)
    >>> x = rng.integers(0, 2, (800, 1))
    >>> y = np.digitize(x[:, 0] + rng.logistic(size=800), [-1, 0.5, 2])
    >>> proportional_odds_test(y, x, np.arange(800) // 4, tested=[0]).p_value > 0.05
    True
    """
    y = np.asarray(answer, dtype=np.int64)
    X = np.asarray(exog, dtype=np.float64).reshape(len(y), -1)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    key = np.unique(np.asarray(cluster), return_inverse=True)[1].reshape(-1)
    groups, columns = int(key.max(initial=-1)) + 1, list(tested)
    effects, influence, cuts = [], [], []
    held = Predictors.of(X)
    pattern = _patterns(held, columns)
    for cut in range(int(y.max(initial=0))):
        if pattern is not None and _thin(pattern, y > cut):
            continue
        try:
            coefficients, moves = _split(held, y > cut, key, w)
        except (DesignError, ConvergenceError):
            continue
        effects.append(coefficients[columns])
        influence.append(moves[:, columns])
        cuts.append(cut)
    q = (len(cuts) - 1) * len(columns)
    if len(cuts) < 2 or groups <= q:
        raise DesignError(
            "proportional odds cannot be tested",
            where="statistics.proportional_odds",
            expected=f"two cut-points without separation, and more clusters than the {max(q, 1)} contrasts",
            got=f"{len(cuts)} cut-points, {groups} clusters",
            hint="report it as not assessable",
        )
    stacked = np.hstack(influence)
    V = stacked.T @ stacked * (groups / (groups - 1.0))
    p = len(columns)
    contrast = np.hstack([np.kron(-np.ones((len(cuts) - 1, 1)), np.eye(p)), np.eye((len(cuts) - 1) * p)])
    difference = contrast @ np.concatenate(effects)
    wald = float(difference @ np.linalg.solve(contrast @ V @ contrast.T, difference))
    statistic = (groups - q) / ((groups - 1.0) * q) * wald
    p_value = float(stats.f.sf(statistic, q, groups - q))
    return ProportionalOdds(statistic, float(q), float(groups - q), p_value, np.array(effects), tuple(cuts))


def _split(X: Predictors, above: npt.NDArray[np.bool_], key: npt.NDArray[np.int64], w: Floats) -> tuple[Floats, Floats]:
    """Fit a logit of `above`; return its coefficients (p,), and by how much each cluster moves them (G, p).

    Respondents with the same predictors and the same answer have the same score a unit of weight, so that the fit is one of
    their distinct kinds, each with its sum of weights, and clusters add up what they hold of each kind.
    """
    place = X.place if X.few else np.arange(len(above))
    kind, of = distinct_rows(np.column_stack([place, above]))
    mass = np.bincount(of, w, minlength=len(kind))
    some = mass > 0
    model = CumulativeLinkMixedModel(kind[some, 1], X.rows[kind[some, 0]], weights=mass[some])
    fit = model.fit().fitted
    m = len(fit.at.gradient) - 1
    unit = np.zeros((len(kind), m))
    unit[some] = fit.at.scores[:, :m] / mass[some, None]
    held = sparse.csr_array((w, (key, of)), shape=(int(key.max(initial=-1)) + 1, len(kind)))
    moves = np.asarray(held @ unit) @ np.linalg.inv(-fit.at.hessian[:m, :m])
    return fit.coefficients, moves[:, 1:]


def _patterns(X: Predictors, columns: Sequence[int]) -> npt.NDArray[np.int64] | None:
    """Return a number for each distinct row of some columns; None where they are too many to be combinations of factors."""
    rows, index = np.unique(X.rows[:, columns], axis=0, return_inverse=True)
    pattern = index.reshape(-1)[X.place] if X.few else index.reshape(-1)
    return pattern if len(rows) * _ROWS_A_PATTERN <= len(pattern) else None


def _thin(pattern: npt.NDArray[np.int64], above: npt.NDArray[np.bool_]) -> bool:
    upper = np.bincount(pattern, above)
    return bool(min(upper.min(), (np.bincount(pattern) - upper).min()) < _FEWEST)
