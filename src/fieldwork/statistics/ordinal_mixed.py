"""Cumulative link mixed model: ordinal answers of executives within organisations (proportional odds and its relatives).

Own code: no maintained Python library fits this model to its optimum with a random intercept (statsmodels' `OrderedModel` has
none; see docs and the benchmark). The likelihood is `ordinal_likelihood`, the links are `cumulative_links`; formulae are read
by formulaic. With two categories it is the binary mixed model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from fieldwork.errors import DesignError, listed
from fieldwork.statistics.cumulative_links import link_named
from fieldwork.statistics.ordinal_likelihood import Fit, Problem, maximise

__all__ = ["CumulativeLinkMixedModel", "CumulativeLinkResults", "LikelihoodRatio"]

Floats = npt.NDArray[np.float64]
Covariance = Literal["model", "robust"]
_NODES_MARGINAL = 41
_FEWEST_NODES = 7
_LARGE = 15.0  # a coefficient of that size on the latent scale is infinite to every purpose


class CumulativeLinkMixedModel:
    """P(Y <= j | x, u) = F(tau_j - x b - sd u), u standard normal, one per organisation.

    Parameters
    ----------
    answer : (n,) integers 0 .. K - 1, or an ordered categorical Series.
    exog : (n, p) predictors without intercept; the thresholds take its place.
    groups : (n,) organisation of each answer; None leaves the random intercept out.
    names : names of the predictors. categories : labels of the answers, lowest first.
    link : `logit`, `probit` or `cloglog`.
    nodes : nodes of the adaptive Gauss-Hermite quadrature, at least 7. 11 by default: Laplace's approximation puts the
        standard deviation 1.3% too low at six answers an organisation.
    weights : (n,) survey weights; multiply the log-probability of an answer. Use robust covariance with them.
    offset : (n,) added to the predictor.
    group_name : name of the grouping, for `sd(...)`.

    Raises DesignError for an empty category, an aliased or separating term, and fewer than two groups.

    References
    ----------
    Hedeker, D. and Gibbons, R. (1994). A random-effects ordinal regression model. Biometrics 50, 933-944.
    Agresti, A. (2010). Analysis of ordinal categorical data. Wiley.

    >>> rng = np.random.default_rng(1)
    >>> group = np.repeat(np.arange(60), 5)
    >>> x = rng.integers(0, 2, 300)
    >>> latent = x + rng.normal(size=60)[group] + rng.logistic(size=300)
    >>> data = pd.DataFrame({"y": np.digitize(latent, [-1, 0.5, 2]), "x": x, "firm": group})
    >>> result = CumulativeLinkMixedModel.from_formula("y ~ x", data, groups="firm").fit()
    >>> list(result.params.index)
    ['0|1', '1|2', '2|3', 'x', 'sd(firm)']
    """

    def __init__(
        self,
        answer: npt.ArrayLike,
        exog: npt.ArrayLike,
        groups: npt.ArrayLike | None = None,
        *,
        names: Sequence[str] = (),
        categories: Sequence[object] = (),
        link: str = "logit",
        nodes: int = 11,
        weights: npt.ArrayLike | None = None,
        offset: npt.ArrayLike | None = None,
        group_name: str = "group",
    ) -> None:
        y, labels = _answers(answer, categories)
        X = np.asarray(exog, dtype=np.float64)
        X = X.reshape(len(y), -1)
        self.names = list(names) or [f"x{j + 1}" for j in range(X.shape[1])]
        self.categories = labels
        self.link = link_named(link)
        self.nodes = nodes
        self.group_name = group_name
        self.random = groups is not None
        w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
        o = np.zeros(len(y)) if offset is None else np.asarray(offset, dtype=np.float64)
        self.formula = ""
        self.spec: Any = None
        self.frame: pd.DataFrame | None = None
        self.n_dropped = 0
        _check_shapes(y, X, w, o, self.names)
        _check_answers(y, labels)
        _check_columns(X, y, self.names)
        if nodes < _FEWEST_NODES:
            raise DesignError(
                "too few quadrature nodes",
                where="CumulativeLinkMixedModel, nodes",
                expected=f"{_FEWEST_NODES} or more; 11 is usual",
                got=str(nodes),
                hint="with fewer, the point at which the gradient is nil is not the maximum (4e-3 off at 3 nodes)",
            )
        key = np.arange(len(y)) if groups is None else pd.factorize(np.asarray(groups), sort=True)[0]
        if self.random and (len(key) == 0 or key.min() < 0 or key.max() < 1):
            raise DesignError(
                "a random intercept needs at least two groups",
                where=f"CumulativeLinkMixedModel, groups {group_name}",
                expected="two or more groups, none missing",
                got=f"{len(np.unique(key[key >= 0]))} groups, {int((key < 0).sum())} rows without one",
                hint="leave the groups out, or report the effect as not assessable",
            )
        order = np.argsort(key, kind="stable")
        sorted_key = key[order]
        starts = np.append(np.flatnonzero(np.diff(sorted_key, prepend=-1)), len(y))
        self.between = _between(X[order], starts) if self.random else np.zeros(X.shape[1], dtype=bool)
        self.problem = Problem(y[order], len(labels), X[order], o[order], w[order], starts, self.link, nodes)

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: pd.DataFrame,
        groups: str = "",
        *,
        link: str = "logit",
        nodes: int = 11,
        weights: str = "",
        offset: str = "",
    ) -> CumulativeLinkMixedModel:
        """Make the model from a formula such as `rating ~ temp + contact`.

        The answer may be an ordered categorical, or whole numbers, taken in their order. `groups`, `weights` and `offset`
        name columns. Rows that lack any variable are left out and counted in `n_dropped`. A formula is code: take it from
        the analyst, never from data.
        """
        from formulaic import Formula  # noqa: PLC0415 - half a second of import that arrays do not need

        parsed = Formula(formula)
        lhs, rhs = parsed.lhs, parsed.rhs
        used = [str(name) for name in parsed.required_variables] + [name for name in (groups, weights, offset) if name]
        lacking = [name for name in used if name not in data.columns]
        if lacking:
            raise DesignError(
                "the formula names a column that the data lack",
                where=f"CumulativeLinkMixedModel, {formula}",
                expected=listed(map(str, data.columns)),
                got=listed(lacking),
                hint="correct the name",
            )
        whole = data.dropna(subset=list(dict.fromkeys(used)))
        answer = whole[str(lhs)]
        matrix = rhs.get_model_matrix(whole)
        columns = [name for name in matrix.columns if name != "Intercept"]
        model = cls(
            answer if isinstance(answer.dtype, pd.CategoricalDtype) else _ordered(answer),
            matrix[columns].to_numpy(dtype=np.float64),
            whole[groups] if groups else None,
            names=columns,
            link=link,
            nodes=nodes,
            weights=whole[weights] if weights else None,
            offset=whole[offset] if offset else None,
            group_name=groups or "group",
        )
        model.formula, model.spec, model.frame = formula, matrix.model_spec, whole
        model.n_dropped = len(data) - len(whole)
        return model

    def fit(self, *, covariance: Covariance = "model") -> CumulativeLinkResults:
        """Fit by maximum likelihood.

        covariance : `model` inverts the observed information; `robust` is the sandwich over groups, G / (G - 1) scaled,
            which survey weights call for.

        Raises ConvergenceError, and DesignError for a term that separates the answers.
        """
        fit = maximise(self.problem, random=self.random)
        for name, value in zip(self.names, fit.coefficients, strict=True):
            if abs(value) > _LARGE:
                raise _separated(name, f"coefficient {value:.1f}")
        return CumulativeLinkResults(self, fit, _covariance(fit, covariance, random=self.random), covariance)


def _covariance(fit: Fit, kind: Covariance, *, random: bool) -> Floats:
    """Covariance of all parameters; nan for an sd at its boundary or left out."""
    m = len(fit.at.gradient)
    use = np.arange(m if random and not fit.boundary else m - 1)
    bread = np.linalg.inv(-fit.at.hessian[np.ix_(use, use)])
    if kind == "robust":
        scores = fit.at.scores[:, use]
        groups = len(scores)
        bread = bread @ (scores.T @ scores) @ bread * (groups / (groups - 1.0))
    out = np.full((m, m), np.nan)
    out[np.ix_(use, use)] = bread
    return out


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """A likelihood-ratio test.

    Attributes
    ----------
    statistic : float    Twice the difference of log-likelihoods. df : float    Parameters in question. p_value : float
    """

    statistic: float
    df: float
    p_value: float


@dataclass(frozen=True)
class CumulativeLinkResults:
    """A fitted cumulative link model, in the manner of statsmodels' results.

    Attributes
    ----------
    model : CumulativeLinkMixedModel
    fitted : Fit                Estimates and likelihood at the maximum.
    covariance : (m, m)         Of thresholds, coefficients and sd, in that order.
    covariance_kind : str       `model` or `robust`.
    """

    model: CumulativeLinkMixedModel
    fitted: Fit
    covariance: Floats = field(repr=False)
    covariance_kind: str = "model"

    @property
    def names(self) -> list[str]:
        """Parameter names: thresholds `1|2`, terms as the formula names them, `sd(group)`."""
        labels = self.model.categories
        cuts = [f"{low}|{high}" for low, high in pairwise(labels)]
        return [*cuts, *self.model.names, *([f"sd({self.model.group_name})"] if self.model.random else [])]

    @property
    def params(self) -> pd.Series:
        """Estimates: thresholds, coefficients, and the standard deviation of the intercepts (latent scale)."""
        values = [*self.fitted.thresholds, *self.fitted.coefficients, *([self.fitted.sd] if self.model.random else [])]
        return pd.Series(values, index=self.names, name="estimate")

    @property
    def bse(self) -> pd.Series:
        """Standard errors; missing for an sd at its boundary."""
        return pd.Series(np.sqrt(np.diag(self.covariance))[: len(self.names)], index=self.names, name="std_error")

    @property
    def llf(self) -> float:
        """Log-likelihood at the maximum."""
        return self.fitted.at.log_likelihood

    @property
    def nobs(self) -> int:
        """Answers used."""
        return len(self.model.problem.answer)

    @property
    def n_groups(self) -> int:
        """Groups (organisations) behind the random intercepts."""
        return len(self.model.problem.starts) - 1

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return 2.0 * len(self.names) - 2.0 * self.llf

    @property
    def bic(self) -> float:
        """Schwarz's criterion, with the number of answers."""
        return float(np.log(self.nobs)) * len(self.names) - 2.0 * self.llf

    @property
    def tvalues(self) -> pd.Series:
        """Estimate over standard error."""
        return (self.params / self.bse).rename("z")

    @property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values of the coefficients; none for thresholds and the sd (see `sd_test`)."""
        p = pd.Series(2.0 * stats.norm.sf(np.abs(self.tvalues)), index=self.names, name="p_value")
        cuts = len(self.fitted.thresholds)
        p.iloc[:cuts] = np.nan
        if self.model.random:
            p.iloc[-1] = np.nan
        return p

    def cov_params(self) -> pd.DataFrame:
        """Covariance of the estimates."""
        k = len(self.names)
        return pd.DataFrame(self.covariance[:k, :k], index=self.names, columns=self.names)

    def df_resid(self) -> pd.Series:
        """Degrees of freedom of each parameter: groups less between-group terms for effects between groups, else inf.

        A predictor that is constant within every organisation is known from organisations, not from answers. Plain Wald
        intervals of such effects cover 0.87 to 0.90 at 20 organisations; t with these degrees of freedom, and the standard
        error scaled by sqrt(n / (n - q)), restores the level.
        """
        cuts, terms = len(self.fitted.thresholds), self.model.between
        free = self.n_groups - 1 - int(terms.sum())
        df = np.concatenate([np.full(cuts, np.inf), np.where(terms, max(free, 1), np.inf), [np.inf]])
        return pd.Series(df[: len(self.names)], index=self.names, name="df")

    def conf_int(self, alpha: float = 0.05, *, small_sample: bool = True) -> pd.DataFrame:
        """Wald intervals at 1 - alpha; effects between organisations get t and the scaled error of `df_resid`.

        The interval of the sd is on the log scale; at the boundary it is missing.
        """
        df = self.df_resid()
        scale = np.ones(len(df))
        if small_sample:
            finite = np.isfinite(df)
            scale[finite] = np.sqrt(self.n_groups / df[finite])
        quantile = np.where(
            np.isfinite(df) & small_sample,
            stats.t.ppf(1 - alpha / 2, np.minimum(df, 1e9)),
            stats.norm.ppf(1 - alpha / 2),
        )
        half = quantile * self.bse * scale
        out = pd.DataFrame({"conf_low": self.params - half, "conf_high": self.params + half})
        if self.model.random and self.fitted.sd > 0:
            factor = float(np.exp(stats.norm.ppf(1 - alpha / 2) * self.bse.iloc[-1] / self.fitted.sd))
            out.iloc[-1] = [self.fitted.sd / factor, self.fitted.sd * factor]
        return out

    def sd_test(self) -> LikelihoodRatio:
        """Likelihood-ratio test of sd = 0: half a chi-square on 1 df, half a point at nil (Self and Liang 1987)."""
        fixed = maximise(self.model.problem, random=False)
        statistic = max(2.0 * (self.llf - fixed.at.log_likelihood), 0.0)
        p = 0.5 * float(stats.chi2.sf(statistic, 1)) if statistic > 0 else 1.0
        return LikelihoodRatio(statistic, 0.5, p)

    def lr_test(self, smaller: CumulativeLinkResults) -> LikelihoodRatio:
        """Likelihood-ratio test against a nested fit on the same answers; both by maximum likelihood.

        Raises DesignError when the fits differ in answers or do not nest by size.
        """
        df = len(self.names) - len(smaller.names)
        if smaller.nobs != self.nobs or df < 1:
            raise DesignError(
                "the two fits do not nest",
                where="CumulativeLinkResults.lr_test",
                expected=f"fewer parameters on the same {self.nobs} answers",
                got=f"{len(smaller.names)} parameters on {smaller.nobs} answers",
                hint="give the smaller model, fitted to the same rows",
            )
        statistic = 2.0 * (self.llf - smaller.llf)
        return LikelihoodRatio(statistic, float(df), float(stats.chi2.sf(max(statistic, 0.0), df)))

    def predict(
        self, exog: npt.ArrayLike | pd.DataFrame | None = None, *, kind: Literal["marginal", "conditional"] = "marginal"
    ) -> pd.DataFrame:
        """Probability of each category.

        `marginal` integrates over organisations: the share in the population. `conditional` is an organisation at the
        mean (u = 0), which is not the average organisation's population. A DataFrame goes through the model's formula.

        Returns one column per category, rows as in `exog` (default: the model's own rows, sorted by group).
        """
        X = self._design(exog)
        eta = X @ self.fitted.coefficients
        cdf = self.model.link.cdf
        ends = np.concatenate([[-np.inf], self.fitted.thresholds, [np.inf]])
        if kind == "conditional" or self.fitted.sd == 0:
            cumulative = cdf(ends[None, :] - eta[:, None])
        else:
            z, w = np.polynomial.hermite_e.hermegauss(_NODES_MARGINAL)
            w = w / w.sum()
            shifted = ends[None, :, None] - eta[:, None, None] - self.fitted.sd * z
            cumulative = cdf(shifted) @ w
        return pd.DataFrame(np.diff(cumulative, axis=1), columns=list(self.model.categories))

    def marginal_means(
        self,
        factors: str | Sequence[str],
        *,
        scale: Literal["latent", "answer"] = "latent",
        kind: Literal["marginal", "conditional"] = "marginal",
        scores: Sequence[float] = (),
    ) -> MarginalMeans:
        """Estimated marginal means of factors over a balanced reference grid (Searle, Speed and Milliken 1980).

        The grid crosses all factors of the formula; other factors are averaged with equal weights, numbers held at their
        mean. `latent` is x b less the mean threshold, as R's emmeans has it; `answer` the mean score of the predicted
        categories (`scores`, default 1 .. K), population-averaged unless `kind` is conditional. Standard errors by the
        delta method.
        """
        if self.model.spec is None or self.model.frame is None:
            raise DesignError(
                "marginal means need a model made from a formula",
                where="CumulativeLinkResults.marginal_means",
                expected="CumulativeLinkMixedModel.from_formula(...)",
                got="a model of arrays",
                hint="make the model from a formula, or use predict() on a grid of your own",
            )
        wanted = [factors] if isinstance(factors, str) else list(factors)
        grid, levels = _grid(self.model, wanted)
        X = self._design(grid)
        groups = pd.factorize(pd.MultiIndex.from_frame(grid[wanted]))[0]
        average = np.zeros((groups.max() + 1, len(grid)))
        average[groups, np.arange(len(grid))] = 1.0
        average /= average.sum(axis=1, keepdims=True)
        points = np.asarray(scores or np.arange(1, len(self.model.categories) + 1), dtype=np.float64)
        theta = np.concatenate([self.fitted.thresholds, self.fitted.coefficients, [self.fitted.sd]])

        def value(at: Floats) -> Floats:
            cuts = len(self.fitted.thresholds)
            tau, beta, sd = at[:cuts], at[cuts:-1], at[-1]
            if scale == "latent":
                return np.asarray(average @ (X @ beta) - tau.mean())
            moved = Fit(tau, beta, abs(float(sd)), self.fitted.at, self.fitted.boundary, self.fitted.iterations)
            other = CumulativeLinkResults(self.model, moved, self.covariance, self.covariance_kind)
            return np.asarray(average @ (other.predict(grid, kind=kind).to_numpy() @ points))

        jacobian = _jacobian(value, theta)
        covariance = jacobian @ np.nan_to_num(self.covariance) @ jacobian.T
        return MarginalMeans(levels, value(theta), covariance, tuple(wanted))

    def _design(self, exog: npt.ArrayLike | pd.DataFrame | None) -> Floats:
        if exog is None:
            return self.model.problem.X
        if isinstance(exog, pd.DataFrame) and self.model.spec is not None:
            matrix = self.model.spec.get_model_matrix(exog)
            return np.asarray(matrix[self.model.names].to_numpy(dtype=np.float64))
        return np.asarray(exog, dtype=np.float64).reshape(-1, len(self.model.names))

    def summary(self) -> str:
        """Return the fit as a table of text that a user of R's ordinal or of statsmodels reads at once.

        It carries no clock and no machine, so that the same fit prints the same text.
        """
        model, cuts = self.model, len(self.fitted.thresholds)
        head = [
            "Cumulative Link Mixed Model" if model.random else "Cumulative Link Model",
            f"formula: {model.formula}" if model.formula else "",
            f"link: {model.link.name}   nodes: {model.nodes if model.random else '-'}   covariance: {self.covariance_kind}",
            f"answers: {self.nobs}   groups: {self.n_groups if model.random else '-'}   left out: {model.n_dropped}",
            (
                f"log-likelihood: {self.llf:.3f}   AIC: {self.aic:.2f}   BIC: {self.bic:.2f}   "
                f"largest gradient: {np.abs(self.fitted.at.gradient[:-1]).max():.1e}"
            ),
        ]
        table = pd.DataFrame(
            {"Estimate": self.params, "Std. Error": self.bse, "z value": self.tvalues, "Pr(>|z|)": self.pvalues}
        )
        ends = self.conf_int()
        table["[0.025"], table["0.975]"] = ends["conf_low"], ends["conf_high"]

        def block(title: str, rows: pd.DataFrame, columns: Sequence[str]) -> list[str]:
            text = rows[list(columns)].to_string(
                float_format=lambda x: f"{x:.4f}", na_rep="", formatters={"Pr(>|z|)": _p_text}
            )
            return ["", title, text]

        wald = ["Estimate", "Std. Error", "z value"]
        lines = [line for line in head if line]
        if model.random:
            variance = pd.DataFrame(
                {"Variance": [self.fitted.sd**2], "Std.Dev.": [self.fitted.sd]}, index=[model.group_name]
            )
            lines += ["", "Random effects:", variance.to_string(float_format=lambda x: f"{x:.4f}")]
            if self.fitted.boundary:
                lines.append(
                    "The standard deviation is at its boundary: the likelihood falls as soon as intercepts vary."
                )
        lines += block(
            "Coefficients:", table.iloc[cuts : cuts + len(model.names)], [*wald, "Pr(>|z|)", "[0.025", "0.975]"]
        )
        lines += block("Threshold coefficients:", table.iloc[:cuts], wald)
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


@dataclass(frozen=True)
class MarginalMeans:
    """Estimated marginal means of the levels of one or more factors.

    Attributes
    ----------
    levels : pd.DataFrame    One row per mean, a column per factor.
    estimate : (L,)          Means on the scale asked for.
    covariance : (L, L)
    factors : tuple of str
    """

    levels: pd.DataFrame
    estimate: Floats
    covariance: Floats
    factors: tuple[str, ...]

    def table(self, alpha: float = 0.05) -> pd.DataFrame:
        """Levels with estimate, std_error, conf_low, conf_high."""
        se = np.sqrt(np.diag(self.covariance))
        half = stats.norm.ppf(1 - alpha / 2) * se
        return self.levels.assign(
            estimate=self.estimate, std_error=se, conf_low=self.estimate - half, conf_high=self.estimate + half
        )

    def contrasts(self, *, adjust: Literal["none", "holm", "tukey"] = "holm") -> pd.DataFrame:
        """All pairwise differences, each first level less the second, with adjusted p-values.

        `tukey` uses the studentised range at infinite degrees of freedom; `holm` is statsmodels'.
        Columns: contrast, estimate, std_error, z, p_value, p_adjusted, adjustment.
        """
        labels = [" ".join(map(str, row)) for row in self.levels.itertuples(index=False, name=None)]
        first, second = np.triu_indices(len(labels), 1)
        estimate = self.estimate[first] - self.estimate[second]
        V = self.covariance
        se = np.sqrt(V[first, first] + V[second, second] - 2 * V[first, second])
        z = estimate / se
        p = 2 * stats.norm.sf(np.abs(z))
        if adjust == "tukey":
            adjusted = stats.studentized_range.sf(np.abs(z) * np.sqrt(2.0), len(labels), np.inf)
        elif adjust == "holm":
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


def _grid(model: CumulativeLinkMixedModel, wanted: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    assert model.frame is not None  # noqa: S101 - the caller has refused models without a formula
    variables = [str(name) for name in model.spec.required_variables]
    unknown = [name for name in wanted if name not in variables]
    if unknown:
        raise DesignError(
            "marginal means are asked of a factor that the model lacks",
            where=f"CumulativeLinkResults.marginal_means, {model.formula}",
            expected=listed(variables),
            got=listed(unknown),
            hint="name a factor of the formula",
        )
    values: dict[str, list[Any]] = {}
    for name in variables:
        column = model.frame[name]
        numeric = pd.api.types.is_numeric_dtype(column) and name not in wanted
        if isinstance(column.dtype, pd.CategoricalDtype):
            values[name] = [level for level in column.cat.categories if (column == level).any()]
        else:
            values[name] = [float(column.mean())] if numeric else sorted(column.unique())
    order = [*wanted, *(name for name in variables if name not in wanted)]
    grid = pd.MultiIndex.from_product([values[name] for name in order], names=order).to_frame(index=False)
    for name in order:
        if isinstance(model.frame[name].dtype, pd.CategoricalDtype):
            grid[name] = grid[name].astype(model.frame[name].dtype)
    return grid, grid[list(wanted)].drop_duplicates().reset_index(drop=True)


def _jacobian(value: Any, theta: Floats) -> Floats:  # noqa: ANN401 - a function of the parameters
    columns = []
    for j in range(len(theta)):
        h = 1e-5 * max(abs(theta[j]), 1.0)
        up, down = theta.copy(), theta.copy()
        up[j], down[j] = theta[j] + h, theta[j] - h
        columns.append((value(up) - value(down)) / (2 * h))
    return np.column_stack(columns)


def _p_text(p: float) -> str:
    if np.isnan(p):
        return ""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _ordered(answer: pd.Series) -> pd.Series:
    """Take whole numbers as an ordered scale; refuse text, whose order nobody has said."""
    if not pd.api.types.is_numeric_dtype(answer):
        raise DesignError(
            "the order of the answers is not known",
            where=f"CumulativeLinkMixedModel, answer {answer.name}",
            expected="whole numbers, or an ordered categorical",
            got=f"{answer.dtype}: {listed(sorted(map(str, answer.unique())), limit=5)}",
            hint="pd.Categorical(answer, categories=[lowest, ..., highest], ordered=True)",
        )
    levels = sorted(answer.unique())
    kind = pd.CategoricalDtype([int(v) if float(v).is_integer() else v for v in levels], ordered=True)
    return answer.astype("float64").map(dict(zip(levels, kind.categories, strict=True))).astype(kind)


def _answers(answer: npt.ArrayLike, categories: Sequence[object]) -> tuple[npt.NDArray[np.int64], list[object]]:
    if isinstance(answer, pd.Series) and isinstance(answer.dtype, pd.CategoricalDtype):
        return np.asarray(answer.cat.codes, dtype=np.int64), list(answer.cat.categories)
    y = np.asarray(answer, dtype=np.int64)
    return y, list(categories) or list(range(int(y.max(initial=-1)) + 1))


def _check_shapes(y: npt.NDArray[np.int64], X: Floats, w: Floats, o: Floats, names: Sequence[str]) -> None:
    bad = []
    if X.shape[1] != len(names):
        bad.append(f"{X.shape[1]} predictors with {len(names)} names")
    if not (len(X) == len(w) == len(o) == len(y)) or len(y) == 0:
        bad.append(f"lengths {len(y)}, {len(X)}, {len(w)}, {len(o)}")
    if not (np.isfinite(X).all() and np.isfinite(o).all()):
        bad.append("missing or infinite predictors")
    if not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        bad.append("negative, missing or all-zero weights")
    if bad:
        raise DesignError(
            "answers and predictors do not fit together",
            where="CumulativeLinkMixedModel",
            expected="complete arrays of one length, weights of at least 0",
            got="; ".join(bad),
            hint="leave out incomplete rows before the call, or use from_formula, which does",
        )


def _check_answers(y: npt.NDArray[np.int64], labels: Sequence[object]) -> None:
    counts = np.bincount(y[y >= 0], minlength=len(labels))
    empty = [str(label) for label, count in zip(labels, counts, strict=False) if count == 0]
    if (y < 0).any() or len(counts) > len(labels) or len(labels) < 2 or empty:
        raise DesignError(
            "a category of the answer is empty" if empty else "the answers do not fit their categories",
            where="CumulativeLinkMixedModel, answer",
            expected=f"each of {listed(map(str, labels))} at least once, and two or more of them",
            got=f"nobody answered {listed(empty)}" if empty else f"{int((y < 0).sum())} answers missing or unknown",
            hint="merge the empty category with its neighbour",
        )


def _check_columns(X: Floats, y: npt.NDArray[np.int64], names: Sequence[str]) -> None:
    centred = np.column_stack([np.ones(len(X)), X])
    _, R = np.linalg.qr(centred)
    size = np.abs(np.diag(R))
    aliased = [name for name, value in zip(names, size[1:], strict=True) if value < 1e-9 * max(size.max(), 1.0)]
    if aliased:
        raise DesignError(
            "a term is a combination of the others",
            where=f"CumulativeLinkMixedModel, term {listed(aliased)}",
            expected="predictors that are linearly independent, of each other and of a constant",
            got=f"{listed(aliased)} adds nothing",
            hint="drop the term, or merge levels that occur only together",
        )
    top = y.max()
    for name, column in zip(names, X.T, strict=True):
        low, high = column.min(), column.max()
        if set(np.unique(column)) != {low, high}:
            continue
        for value in (low, high):
            seen = np.unique(y[column == value])
            if len(seen) == 1 and seen[0] in (0, top):
                raise _separated(name, f"all {int((column == value).sum())} answers at {name} = {value:g} are alike")


def _separated(name: str, what: str) -> DesignError:
    return DesignError(
        "a term separates the answers: its coefficient has no finite estimate",
        where=f"CumulativeLinkMixedModel, term {name}",
        expected="answers that vary at each level",
        got=what,
        hint="merge the level with another, or report its cell as it stands, without a model",
    )


def _between(X: Floats, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which columns are constant within every group."""
    low, high = np.minimum.reduceat(X, starts[:-1], axis=0), np.maximum.reduceat(X, starts[:-1], axis=0)
    return np.asarray((low == high).all(axis=0))


def compare(results: Mapping[str, CumulativeLinkResults]) -> pd.DataFrame:
    """Put fits side by side: parameters, log-likelihood, AIC, BIC, one row per fit."""
    rows = {
        name: {"parameters": len(r.names), "log_likelihood": r.llf, "aic": r.aic, "bic": r.bic}
        for name, r in results.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
