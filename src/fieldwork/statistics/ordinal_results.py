"""What a fitted ordinal model says: estimates, intervals, tests, predictions, marginal means, and the page that prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from fieldwork.errors import DesignError, listed
from fieldwork.statistics.ordinal_crossed import CrossedFit
from fieldwork.statistics.ordinal_formula import predictors_of
from fieldwork.statistics.ordinal_means import Kind, MarginalMeans, Scale, Shown, answer_probabilities, estimated_means

if TYPE_CHECKING:
    from fieldwork.statistics.ordinal_likelihood import Fit
    from fieldwork.statistics.ordinal_mixed import CumulativeLinkMixedModel

__all__ = ["CumulativeLinkResults", "LikelihoodRatio", "MarginalMeans", "compare"]

Floats = npt.NDArray[np.float64]


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


@dataclass(frozen=True, repr=False)
class CumulativeLinkResults:
    """A fitted cumulative link model, in the manner of statsmodels' results.

    Attributes
    ----------
    model : CumulativeLinkMixedModel
    fitted : Fit                Estimates and likelihood at the maximum; a `CrossedFit` with several groupings.
    covariance : (m, m)         Of thresholds, coefficients and sds, in that order.
    covariance_kind : str       `model` or `robust`.
    """

    model: CumulativeLinkMixedModel
    fitted: Fit
    covariance: Floats = field(repr=False)
    covariance_kind: str = "model"

    @property
    def names(self) -> list[str]:
        """Parameter names: thresholds `1|2`, terms as the formula names them, `sd(group)`."""
        cuts = [f"{low}|{high}" for low, high in pairwise(self.model.categories)]
        return [*cuts, *self.model.names, *(f"sd({name})" for name in self.model.levels)]

    @property
    def sds(self) -> pd.Series:
        """Standard deviation of the intercepts by grouping, latent scale; 0 at its boundary."""
        one = np.array([self.fitted.sd] if self.model.random else [])
        values = self.fitted.sds if isinstance(self.fitted, CrossedFit) else one
        return pd.Series(values, index=list(self.model.levels), name="sd", dtype=np.float64)

    @property
    def params(self) -> pd.Series:
        """Estimates: thresholds, coefficients, and the standard deviations of the intercepts (latent scale)."""
        values = [*self.fitted.thresholds, *self.fitted.coefficients, *self.sds]
        return pd.Series(values, index=self.names, name="estimate")

    @property
    def bse(self) -> pd.Series:
        """Standard errors; missing for an sd at its boundary."""
        return pd.Series(np.sqrt(np.diag(self.covariance))[: len(self.names)], index=self.names, name="std_error")

    @property
    def llf(self) -> float:
        """Log-likelihood at the maximum; Laplace's approximation of it with several groupings."""
        return self.fitted.at.log_likelihood

    @property
    def gradient(self) -> Floats:
        """Derivatives of the log-likelihood at the estimates, in the order of `names`.

        By the coefficient of a number of very large or small size it is per range of that number.
        """
        out = np.array((self.model.scaling.natural.T @ self.fitted.at.gradient)[: len(self.names)])
        out[len(out) - len(self.sds) :][(self.sds == 0.0).to_numpy()] = 0.0
        return out

    @property
    def nobs(self) -> int:
        """Answers used."""
        return len(self.model.order)

    @property
    def groups(self) -> dict[str, int]:
        """Number of levels of each grouping."""
        return self.model.groups

    @property
    def n_groups(self) -> int:
        """Groups (organisations) behind the random intercepts of the first grouping; without groupings the answers."""
        return next(iter(self.groups.values()), self.nobs)

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
        """Two-sided p-values of the coefficients, as `conf_int` has it; none for thresholds and sds (see `sd_test`)."""
        df, scale = self.df_resid().to_numpy(), self._small_sample()
        p = 2.0 * np.where(
            np.isfinite(df),
            stats.t.sf(np.abs(self.tvalues) / scale, np.where(np.isfinite(df), df, 1.0)),
            stats.norm.sf(np.abs(self.tvalues)),
        )
        out = pd.Series(p, index=self.names, name="p_value")
        cuts = len(self.fitted.thresholds)
        out.iloc[:cuts] = np.nan
        out.iloc[cuts + len(self.model.names) :] = np.nan
        return out

    def cov_params(self) -> pd.DataFrame:
        """Covariance of the estimates; missing for an sd at its boundary."""
        k = len(self.names)
        return pd.DataFrame(self.covariance[:k, :k], index=self.names, columns=self.names)

    def df_resid(self) -> pd.Series:
        """Degrees of freedom of each parameter: groups less between-group terms for effects between groups, else inf.

        A predictor that is constant within every organisation is known from organisations, not from answers. Plain Wald
        intervals of such effects cover 0.87 to 0.90 at 20 organisations; t with these degrees of freedom, and the standard
        error scaled by sqrt(n / (n - q)), restores the level. With several groupings a predictor belongs to the one of the
        fewest levels within which it is constant.
        """
        cuts, within = len(self.fitted.thresholds), self.model.between_of
        df = np.full(len(self.names), np.inf)
        for r, size in enumerate(self.groups.values()):
            terms = np.flatnonzero(within == r)
            df[cuts + terms] = max(size - 1 - len(terms), 1)
        return pd.Series(df, index=self.names, name="df")

    def _small_sample(self) -> Floats:
        """Factor of each standard error: sqrt(n / df) for effects between groups."""
        df, scale = self.df_resid().to_numpy(), np.ones(len(self.names))
        for j, r in enumerate(self.model.between_of):
            at = len(self.fitted.thresholds) + j
            if r >= 0:
                scale[at] = np.sqrt(list(self.groups.values())[r] / df[at])
        return scale

    def conf_int(self, alpha: float = 0.05, *, small_sample: bool = True) -> pd.DataFrame:
        """Wald intervals at 1 - alpha; effects between organisations get t and the scaled error of `df_resid`.

        The interval of an sd is on the log scale; at the boundary it is missing.
        """
        df, scale = self.df_resid().to_numpy(), self._small_sample()
        normal = stats.norm.ppf(1 - alpha / 2)
        if small_sample:
            half = np.where(np.isfinite(df), stats.t.ppf(1 - alpha / 2, np.minimum(df, 1e9)), normal) * self.bse * scale
        else:
            half = normal * self.bse
        out = pd.DataFrame({"conf_low": self.params - half, "conf_high": self.params + half})
        for name, sd in self.sds.items():
            if sd > 0:
                factor = float(np.exp(normal * self.bse[f"sd({name})"] / sd))
                out.loc[f"sd({name})"] = [sd / factor, sd * factor]
        return out

    def sd_test(self, grouping: str = "") -> LikelihoodRatio:
        """Likelihood-ratio test of sd = 0: half a chi-square on 1 df, half a point at nil (Self and Liang 1987).

        `grouping` may be left out where there is one; the others stay in the model that it is compared with.
        """
        known = list(self.model.levels)
        if not known or ((grouping or len(known) > 1) and grouping not in known):
            raise DesignError(
                "the test needs the name of a grouping" if known else "the model has no random intercept",
                where="CumulativeLinkResults.sd_test",
                expected=listed(known) or "a model with groups",
                got=repr(grouping),
                hint=f"sd_test({known[0]!r})" if known else "name groups=... when the model is made",
            )
        name = grouping or known[0]
        if self.sds[name] == 0.0:
            return LikelihoodRatio(0.0, 0.5, 1.0)
        statistic = max(2.0 * (self.llf - self.model.log_likelihood_without(name)), 0.0)
        return LikelihoodRatio(statistic, 0.5, 0.5 * float(stats.chi2.sf(statistic, 1)))

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

    @property
    def random_effects(self) -> dict[str, pd.Series]:
        """Modes of the intercepts given the answers, latent scale, by grouping and level (R's `ranef`)."""
        modes = self.fitted.modes if isinstance(self.fitted, CrossedFit) else (self.fitted.at.modes,)
        return {
            name: pd.Series(self.sds[name] * mode, index=pd.Index(levels, name=name), name="intercept")
            for (name, levels), mode in zip(self.model.levels.items(), modes, strict=False)
        }

    def predict(
        self,
        exog: npt.ArrayLike | pd.DataFrame | None = None,
        *,
        kind: Kind = "marginal",
        offset: npt.ArrayLike | None = None,
    ) -> pd.DataFrame:
        """Probability of each category.

        `marginal` integrates over organisations: the share in the population. `conditional` is an organisation at the
        mean (u = 0), which is not the average organisation's population. A DataFrame goes through the model's formula.

        Parameters
        ----------
        exog : rows to predict; the model's own by default, in the order of the data.
        offset : (n,) for new rows; taken from the data where the model was given a column of that name.

        Returns one column per category, index as in `exog`; missing where a variable is. Raises DesignError for a column or a
        level that the model needs and `exog` lacks, and for new rows without the offset that the model has.
        """
        if kind not in {"marginal", "conditional"}:
            raise DesignError(
                f"there is no prediction of kind '{kind}'",
                where="CumulativeLinkResults.predict, kind",
                expected="marginal, conditional",
                got=repr(kind),
                hint="choose one of these",
            )
        X, index = self._design(exog)
        eta = X @ self.fitted.coefficients + self._offset(exog, offset, len(X))
        sd = float(np.sqrt((self.sds**2).sum())) if kind == "marginal" else 0.0
        whole = np.isfinite(eta)
        out = np.full((len(eta), len(self.model.categories)), np.nan)
        out[whole] = answer_probabilities(self.model.link, self.fitted.thresholds, eta[whole], sd)
        return pd.DataFrame(out, columns=list(self.model.categories), index=index)

    def _design(self, exog: npt.ArrayLike | pd.DataFrame | None) -> tuple[Floats, pd.Index]:
        if exog is None:
            return self.model.predictors.whole(), self.model.index
        if isinstance(exog, pd.DataFrame) and self.model.frame is not None:
            return predictors_of(self.model.frame, exog)[0], exog.index
        index = exog.index if isinstance(exog, pd.DataFrame) else None
        X = np.asarray(exog, dtype=np.float64)
        X = X.reshape(-1, len(self.model.names)) if X.ndim < 2 else X
        if X.shape[1] != len(self.model.names):
            raise DesignError(
                "the rows to predict do not fit the model",
                where="CumulativeLinkResults.predict, exog",
                expected=f"{len(self.model.names)} columns: {listed(self.model.names)}",
                got=f"{X.shape[1]} columns",
                hint="give the predictors that the model was fitted to, without an intercept",
            )
        return X, pd.RangeIndex(len(X)) if index is None else index

    def _offset(self, exog: npt.ArrayLike | pd.DataFrame | None, offset: npt.ArrayLike | None, n: int) -> Floats:
        if offset is not None:
            return np.broadcast_to(np.asarray(offset, dtype=np.float64), (n,))
        if not self.model.has_offset:
            return np.zeros(n)
        if exog is None:
            return np.asarray(self.model.problem.offset[np.argsort(self.model.order, kind="stable")])
        name = "" if self.model.frame is None else self.model.frame.offset_name
        if isinstance(exog, pd.DataFrame) and name in exog.columns:
            return exog[name].to_numpy(dtype=np.float64)
        raise DesignError(
            "the model has an offset and the rows to predict have none",
            where="CumulativeLinkResults.predict, offset",
            expected=f"a column {name}, or offset=..." if name else "offset=...",
            got="neither",
            hint="give offset=0 to predict without it",
        )

    def marginal_means(
        self,
        factors: str | Sequence[str],
        *,
        scale: Scale = "latent",
        kind: Kind = "marginal",
        scores: Sequence[float] = (),
    ) -> MarginalMeans:
        """Estimated marginal means of factors over a balanced reference grid (Searle, Speed and Milliken 1980).

        The grid crosses all factors of the formula; other factors are averaged with equal weights, numbers held at their
        mean. `latent` is x b less the mean threshold, as R's emmeans has it; `answer` the mean score of the predicted
        categories (`scores`, default 1 .. K; emmeans' mean.class); `probability` the share of each category. The last two are
        averaged over the random intercepts unless `kind` is conditional, which is what emmeans shows. Standard errors by the
        delta method.
        """
        if self.model.frame is None:
            raise DesignError(
                "marginal means need a model made from a formula",
                where="CumulativeLinkResults.marginal_means",
                expected="CumulativeLinkMixedModel.from_formula(...)",
                got="a model of arrays",
                hint="make the model from a formula, or use predict() on a grid of your own",
            )
        k = len(self.names)
        return estimated_means(
            self.model.frame,
            self.model.link,
            self.fitted.thresholds,
            self.fitted.coefficients,
            self.sds.to_numpy(),
            self.covariance[:k, :k],
            [factors] if isinstance(factors, str) else list(factors),
            scale=scale,
            kind=kind,
            scores=scores,
        )

    def summary(self) -> Shown:
        """Return the fit as a table of text that a user of R's ordinal or of statsmodels reads at once.

        It carries no clock and no machine, so that the same fit prints the same text.
        """
        model, cuts = self.model, len(self.fitted.thresholds)
        terms = slice(cuts, cuts + len(model.names))
        table = pd.DataFrame(
            {"Estimate": self.params, "Std. Error": self.bse, "z value": self.tvalues, "Pr(>|z|)": self.pvalues}
        )
        ends = self.conf_int()
        table["[0.025"], table["0.975]"] = ends["conf_low"], ends["conf_high"]
        lines = [*self._head()]
        if model.random:
            lines += ["", "Random effects:", *self._random_lines(ends)]
        wald = ["Estimate", "Std. Error", "z value"]
        if model.names:
            lines += ["", "Coefficients:", _text(table.iloc[terms][[*wald, "Pr(>|z|)", "[0.025", "0.975]"]])]
            lines += self._between_lines()
        lines += ["", "Threshold coefficients:", _text(table.iloc[:cuts][wald])]
        return Shown("\n".join(lines))

    def _head(self) -> list[str]:
        model, n = self.model, self.model.problem
        kind = "Cumulative Link Mixed Model" if model.random else "Cumulative Link Model"
        method = (
            "" if not model.random
            else ", Laplace's approximation" if model.crossed is not None
            else f", adaptive Gauss-Hermite quadrature, nodes: {model.nodes}"
        )  # fmt: skip
        groups = ", ".join(f"{name} {size}" for name, size in self.groups.items())
        extras = [
            f"covariance: {self.covariance_kind}",
            "weights: yes" if model.has_weights else "",
            "offset: yes" if model.has_offset else "",
        ]
        counts = np.bincount(n.answer, minlength=n.categories)
        answers = "  ".join(f"{label}: {count}" for label, count in zip(model.categories, counts, strict=True))
        fit = (
            f"log-likelihood: {self.llf:.3f}   AIC: {self.aic:.2f}   BIC: {self.bic:.2f}   "
            f"largest gradient: {np.abs(self.gradient).max():.1e}   steps: {self.fitted.iterations}"
        )
        return [
            kind + method,
            *([f"formula: {model.formula}"] if model.formula else []),
            f"link: {model.link.name}   " + "   ".join(part for part in extras if part),
            f"answers: {self.nobs}   groups: {groups or '-'}   left out: {model.n_dropped}",
            f"by category:  {answers}",
            fit,
        ]

    def _random_lines(self, ends: pd.DataFrame) -> list[str]:
        sds = self.sds
        variance = pd.DataFrame({"Variance": sds**2, "Std.Dev.": sds})
        inside = ends.loc[[f"sd({name})" for name in sds.index]]
        variance["[0.025"], variance["0.975]"] = inside["conf_low"].to_numpy(), inside["conf_high"].to_numpy()
        told = "is at its boundary: the likelihood falls as soon as intercepts vary."
        return [_text(variance), *(f"The standard deviation of {name} {told}" for name in sds.index[sds == 0.0])]

    def _between_lines(self) -> list[str]:
        lines = []
        df = self.df_resid()
        for r, (name, size) in enumerate(self.groups.items()):
            terms = [term for term, at in zip(self.model.names, self.model.between_of, strict=True) if at == r]
            if terms:
                lines.append(
                    f"Constant within every {name}, so judged from {size} of them, by t on {df[terms[0]]:.0f} degrees of "
                    f"freedom: {listed(terms)}"
                )
        return lines

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        return str(self.summary())


def _text(table: pd.DataFrame) -> str:
    return table.to_string(float_format=lambda x: f"{x:.4f}", na_rep="", formatters={"Pr(>|z|)": _p_text})


def _p_text(p: float) -> str:
    if np.isnan(p):
        return ""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def compare(results: Mapping[str, CumulativeLinkResults]) -> pd.DataFrame:
    """Put fits side by side: parameters, log-likelihood, AIC, BIC, one row per fit."""
    rows = {
        name: {"parameters": len(r.names), "log_likelihood": r.llf, "aic": r.aic, "bic": r.bic}
        for name, r in results.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
