"""Marginal means and contrasts of ordinal models: on the latent scale, as mean answers, as shares of each answer.

Own code: the ports of R's emmeans are immature, and emmeans itself has no means that are averaged over the random intercepts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from fieldwork.errors import DesignError, listed
from fieldwork.statistics.ordinal_formula import ModelFrame, predictors_of, reference_grid

if TYPE_CHECKING:
    from fieldwork.statistics.cumulative_links import Link

__all__ = ["Adjustment", "Kind", "MarginalMeans", "Scale", "Shown", "answer_probabilities", "estimated_means"]

Floats = npt.NDArray[np.float64]
Scale = Literal["latent", "answer", "probability"]
Kind = Literal["marginal", "conditional"]
Adjustment = Literal["none", "holm", "tukey"]
_REACH = 8.5  # standard deviations; the normal density beyond adds less than float64 resolves


class Shown(str):
    """Text that shows as itself at a prompt, line breaks and all."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def answer_probabilities(link: Link, thresholds: Floats, eta: Floats, sd: float) -> Floats:
    """Probability of each category at predictors eta (n,), averaged over a normal intercept of standard deviation sd.

    P(Y = k) = integral of (F(tau_k - eta - sd u) - F(tau_(k-1) - eta - sd u)) phi(u) du; sd = 0 gives the conditional one.
    By the trapezoidal rule, whose error falls as exp(-2 pi d / h) for a step h and d the distance of the nearest pole of F from
    the real line, at least pi / (2 sd) here: the step is taken so that the error is below 1e-15 whatever the sd.

    Returns (n, K), rows that add to 1. Reference: Trefethen and Weideman (2014), SIAM Review 56, 385-458.

    >>> from fieldwork.statistics.cumulative_links import link_named
    >>> even = answer_probabilities(link_named("logit"), np.zeros(1), np.zeros(1), 2.0)
    >>> even.round(12).tolist()
    [[0.5, 0.5]]
    """
    cumulative = np.zeros((len(eta), len(thresholds) + 2))
    cumulative[:, -1] = 1.0
    if sd == 0:
        cumulative[:, 1:-1] = link.cdf(thresholds[None, :] - eta[:, None])
    else:
        step = min(0.5, np.pi**2 / (35.0 * sd))
        u = np.arange(-np.ceil(_REACH / step), np.ceil(_REACH / step) + 1) * step
        w = stats.norm.pdf(u)
        w /= w.sum()
        for k, threshold in enumerate(thresholds):
            cumulative[:, k + 1] = link.cdf(threshold - eta[:, None] - sd * u) @ w
    return np.diff(cumulative, axis=1)


@dataclass(frozen=True, repr=False)
class MarginalMeans:
    """Estimated marginal means of the levels of one or more factors.

    Attributes
    ----------
    levels : pd.DataFrame    One row per mean: a column per factor; on the scale of probabilities the answer comes last.
    estimate : (L,)          Means on the scale asked for. covariance : (L, L)
    factors : tuple of str
    scale : str              `latent`, `answer` (points) or `probability`.
    kind : str               `marginal`: averaged over the random intercepts; `conditional`: at 0.
    """

    levels: pd.DataFrame
    estimate: Floats
    covariance: Floats
    factors: tuple[str, ...]
    scale: Scale = "latent"
    kind: Kind = "marginal"

    def table(self, alpha: float = 0.05) -> pd.DataFrame:
        """Levels with estimate, std_error, conf_low, conf_high (Wald)."""
        se = np.sqrt(np.diag(self.covariance))
        half = stats.norm.ppf(1 - alpha / 2) * se
        return self.levels.assign(
            estimate=self.estimate, std_error=se, conf_low=self.estimate - half, conf_high=self.estimate + half
        )

    def contrasts(self, *, adjust: Adjustment = "holm") -> pd.DataFrame:
        """All pairwise differences of levels, each first level less the second, with adjusted p-values.

        On the scale of probabilities levels are compared within each answer, and adjusted within it. `tukey` uses the
        studentised range at infinite degrees of freedom; `holm` is statsmodels'.
        Columns: the answer (probabilities only), contrast, estimate, std_error, z, p_value, p_adjusted, adjustment.
        """
        if adjust not in {"none", "holm", "tukey"}:
            raise DesignError(
                f"there is no adjustment '{adjust}'",
                where="MarginalMeans.contrasts, adjust",
                expected="none, holm, tukey",
                got=repr(adjust),
                hint="choose one of these",
            )
        if self.scale != "probability":
            return self._pairs(np.arange(len(self.levels)), adjust)
        answers = self.levels.iloc[:, -1]
        parts = []
        for answer in answers.cat.categories:
            part = self._pairs(np.flatnonzero(answers == answer), adjust)
            part.insert(0, str(answers.name), answer)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def _pairs(self, rows: npt.NDArray[np.int64], adjust: Adjustment) -> pd.DataFrame:
        shown = self.levels[list(self.factors)].iloc[rows]
        labels = [" ".join(map(str, row)) for row in shown.itertuples(index=False, name=None)]
        first, second = np.triu_indices(len(labels), 1)
        a, b, V = rows[first], rows[second], self.covariance
        estimate = self.estimate[a] - self.estimate[b]
        se = np.sqrt(np.maximum(V[a, a] + V[b, b] - 2 * V[a, b], 0.0))
        with np.errstate(invalid="ignore", divide="ignore"):
            z = estimate / se
        p = 2 * stats.norm.sf(np.abs(z))
        if adjust == "tukey":
            adjusted = stats.studentized_range.sf(np.abs(z) * np.sqrt(2.0), len(labels), np.inf)
        elif adjust == "holm" and len(p):
            from statsmodels.stats.multitest import multipletests  # noqa: PLC0415 - a second of import that only this needs

            adjusted = multipletests(p, method="holm")[1]
        else:
            adjusted = p
        return pd.DataFrame(
            {
                "contrast": [f"{labels[i]} - {labels[j]}" for i, j in zip(first, second, strict=True)],
                "estimate": estimate,
                "std_error": se,
                "z": z,
                "p_value": p,
                "p_adjusted": adjusted,
                "adjustment": adjust,
            }
        )

    def __repr__(self) -> str:
        unit = {"latent": "latent scale", "answer": "mean answer", "probability": "share of each answer"}[self.scale]
        over = {"marginal": "averaged over the random intercepts", "conditional": "at a random intercept of 0"}[
            self.kind
        ]
        head = f"Marginal means of {', '.join(self.factors)}: {unit}" + (f", {over}" if self.scale != "latent" else "")
        return f"{head}\n" + self.table().to_string(index=False, float_format=lambda x: f"{x:.4f}")


def estimated_means(
    frame: ModelFrame,
    link: Link,
    thresholds: Floats,
    coefficients: Floats,
    sds: Floats,
    covariance: Floats,
    factors: Sequence[str],
    *,
    scale: Scale = "latent",
    kind: Kind = "marginal",
    scores: Sequence[float] = (),
) -> MarginalMeans:
    """Average predictions over a balanced reference grid (Searle, Speed and Milliken 1980); errors by the delta method.

    Parameters
    ----------
    frame : the model's formula and levels. link, thresholds, coefficients, sds : the fit.
    covariance : (m, m) of thresholds, coefficients and sds; missing rows count as known.
    factors, scale, kind, scores : as in `CumulativeLinkResults.marginal_means`.
    """
    categories = list(frame.answer.cat.categories)
    _check_options(scale, kind, scores, len(categories))
    grid = reference_grid(frame, factors)
    X, _ = predictors_of(frame, grid)
    group = pd.factorize(pd.MultiIndex.from_frame(grid[list(factors)]))[0]
    average = np.zeros((group.max() + 1, len(grid)))
    average[group, np.arange(len(grid))] = 1.0
    average /= average.sum(axis=1, keepdims=True)
    points = np.asarray(scores if len(scores) else np.arange(1, len(categories) + 1), dtype=np.float64)
    cuts, terms = len(thresholds), len(thresholds) + len(coefficients)

    def value(at: Floats) -> Floats:
        tau, beta, spread = at[:cuts], at[cuts:terms], at[terms:]
        if scale == "latent":
            return np.asarray(average @ (X @ beta) - tau.mean())
        sd = 0.0 if kind == "conditional" else float(np.sqrt((spread**2).sum()))
        shares = average @ answer_probabilities(link, tau, X @ beta, sd)
        return np.asarray(shares @ points if scale == "answer" else shares.ravel())

    theta = np.concatenate([thresholds, coefficients, sds])
    jacobian = _jacobian(value, theta)
    levels = grid[list(factors)].drop_duplicates().reset_index(drop=True)
    if scale == "probability":
        repeated = np.repeat(np.arange(len(levels)), len(categories))
        answers = pd.Categorical(categories * len(levels), categories=categories, ordered=True)
        levels = levels.iloc[repeated].reset_index(drop=True).assign(**{str(frame.answer.name): answers})
    spread_of = jacobian @ np.nan_to_num(covariance) @ jacobian.T
    return MarginalMeans(levels, value(theta), spread_of, tuple(factors), scale, kind)


def _check_options(scale: str, kind: str, scores: Sequence[float], categories: int) -> None:
    wrong = []
    if scale not in {"latent", "answer", "probability"}:
        wrong.append(f"scale {scale!r}")
    if kind not in {"marginal", "conditional"}:
        wrong.append(f"kind {kind!r}")
    if len(scores) not in {0, categories}:
        wrong.append(f"{len(scores)} scores for {categories} categories")
    if wrong:
        raise DesignError(
            "marginal means do not have this option",
            where="CumulativeLinkResults.marginal_means",
            expected=f"scale latent, answer or probability; kind marginal or conditional; {categories} scores or none",
            got=listed(wrong),
            hint="choose one of these",
        )


def _jacobian(value: Callable[[Floats], Floats], theta: Floats) -> Floats:
    columns = []
    for j in range(len(theta)):
        h = 1e-5 * max(abs(theta[j]), 1.0)
        up, down = theta.copy(), theta.copy()
        up[j], down[j] = theta[j] + h, theta[j] - h
        columns.append((value(up) - value(down)) / (2 * h))
    return np.column_stack(columns)
