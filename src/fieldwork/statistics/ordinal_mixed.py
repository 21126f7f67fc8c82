"""Cumulative link mixed model: ordinal answers of executives within organisations (proportional odds and its relatives).

Own code: no maintained Python library fits this model to its optimum with a random intercept (statsmodels' `OrderedModel` has
none). One intercept is integrated by adaptive quadrature (`ordinal_likelihood`), several by Laplace's approximation
(`ordinal_crossed`); formulae are read by `ordinal_formula`, what a fit says is `ordinal_results`. With two categories it is the
binary mixed model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from fieldwork.errors import ConvergenceError, DesignError, listed
from fieldwork.statistics.cumulative_links import link_named
from fieldwork.statistics.ordinal_crossed import CrossedFit, CrossedProblem, maximise_crossed
from fieldwork.statistics.ordinal_formula import Groups, ModelFrame, Source, ordered_answer, read_formula
from fieldwork.statistics.ordinal_likelihood import Fit, Predictors, Problem, maximise
from fieldwork.statistics.ordinal_results import CumulativeLinkResults, LikelihoodRatio, MarginalMeans, compare

__all__ = ["CumulativeLinkMixedModel", "CumulativeLinkResults", "LikelihoodRatio", "MarginalMeans", "compare"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Covariance = Literal["model", "robust"]
_FEWEST_NODES = 7
_LARGE = 15.0  # latent units between the ends of a predictor; with an error of that size it stands for infinity


class CumulativeLinkMixedModel:
    """P(Y <= j | x, u) = F(tau_j - x b - sd u), u standard normal, one per organisation; or several intercepts.

    Parameters
    ----------
    answer : (n,) integers 0 .. K - 1, or an ordered categorical Series.
    exog : (n, p) predictors without intercept; the thresholds take its place.
    groups : (n,) organisation of each answer, or name -> (n,) for several groupings, crossed or nested. None leaves the random
        intercept out.
    names : names of the predictors. categories : labels of the answers, lowest first.
    link : `logit`, `probit` or `cloglog`.
    nodes : nodes of the adaptive Gauss-Hermite quadrature, at least 7, or 1 for Laplace's approximation, which several
        groupings always take. 11 by default: Laplace puts the standard deviation 1.3% too low at six answers an organisation.
    weights : (n,) survey weights; multiply the log-probability of an answer. Use robust covariance with them.
    offset : (n,) added to the predictor.
    group_name : name of a single grouping, for `sd(...)`.

    Raises DesignError for an empty category, an aliased or separating term, fewer than two groups, and as many groups as
    answers.

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
        groups: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
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
        if not names and isinstance(exog, pd.DataFrame):
            names = [str(name) for name in exog.columns]
        X = np.asarray(exog, dtype=np.float64)
        X = X.reshape(len(y), -1) if X.ndim != 2 else X
        names = list(names) or [f"x{j + 1}" for j in range(X.shape[1])]
        _check_predictors(X, names)
        index = answer.index if isinstance(answer, pd.Series) else pd.RangeIndex(len(y))
        named = dict(groups) if isinstance(groups, Mapping) else {} if groups is None else {group_name: groups}
        self._set(y, labels, Predictors.of(X), len(X), names, named, index, link, nodes, weights, offset)

    def _set(
        self,
        y: Ints,
        labels: list[object],
        predictors: Predictors,
        rows: int,
        names: list[str],
        groups: Mapping[str, npt.ArrayLike],
        index: pd.Index,
        link: str,
        nodes: int,
        weights: npt.ArrayLike | None,
        offset: npt.ArrayLike | None,
        answer_name: str = "",
    ) -> None:
        w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
        o = np.zeros(len(y)) if offset is None else np.asarray(offset, dtype=np.float64)
        self.names, self.categories, self.link, self.nodes, self.index = names, labels, link_named(link), nodes, index
        self.frame: ModelFrame | None = None
        self.has_offset, self.has_weights = offset is not None, weights is not None
        _check_shapes(y, rows, w, o)
        _check_answers(y, labels, answer_name)
        _check_columns(predictors, y, names)
        _check_nodes(nodes)
        self.levels: dict[str, npt.NDArray[Any]] = {}
        codes: dict[str, Ints] = {}
        for name, values in groups.items():
            codes[name], self.levels[name] = _coded(name, values, len(y))
        self.random = bool(codes)
        self.group_name = next(iter(codes), "group")
        self.between_of = _between(predictors, codes)
        self.predictors, self.scaling = predictors, Scaling.of(predictors, len(labels) - 1, max(len(codes), 1))
        scaled = self.scaling.apply(predictors)
        self.crossed: CrossedProblem | None = None
        key = next(iter(codes.values())) if self.random else np.arange(len(y))
        self.order = np.arange(len(y))
        if len(codes) > 1 or (self.random and nodes == 1):
            self.crossed = CrossedProblem(y, len(labels), scaled, o, w, codes, self.link)
            key = np.zeros(len(y), dtype=np.int64)
        elif self.random:
            self.order = np.argsort(key, kind="stable")
        key, at = key[self.order], self.order
        starts = np.append(np.flatnonzero(np.diff(key, prepend=-1)), len(y))
        by_group = scaled.take(at) if self.random and self.crossed is None else scaled
        self.problem = Problem(y[at], len(labels), by_group, o[at], w[at], starts, self.link, nodes)

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: pd.DataFrame,
        groups: Groups = None,
        *,
        link: str = "logit",
        nodes: int = 11,
        weights: Source = None,
        offset: Source = None,
    ) -> CumulativeLinkMixedModel:
        """Make the model from a formula such as `rating ~ temp + contact` and the columns that it names.

        Parameters
        ----------
        groups : the column of the random intercept, or several for crossed and nested ones; `(1 | judge)` in the formula says
            the same. `outer/inner` stands for outer and outer:inner.
        weights, offset : columns, or values.

        The answer may be an ordered categorical, or whole numbers, taken in their order. Rows that lack any variable are left
        out and counted in `n_dropped`. A formula is code: take it from the analyst, never from data.

        >>> data = pd.DataFrame({"y": [1, 2, 3, 1, 2, 3, 2, 2], "x": list("aabbabab"), "g": [1, 1, 1, 1, 2, 2, 2, 2]})
        >>> CumulativeLinkMixedModel.from_formula("y ~ x + (1 | g)", data)
        CumulativeLinkMixedModel: y ~ x + (1 | g), link logit, 8 answers in 3 categories, g 2; fit() estimates it
        """
        frame = read_formula(formula, data, groups, weights, offset)
        model = cls.__new__(cls)
        model._set(  # noqa: SLF001 - another way into the same model
            np.asarray(frame.answer.cat.codes, dtype=np.int64),
            list(frame.answer.cat.categories),
            frame.predictors,
            len(frame.answer),
            frame.names,
            frame.groups,
            frame.answer.index,
            link,
            nodes,
            frame.weights,
            frame.offset,
            str(frame.answer.name),
        )
        model.frame = frame
        return model

    @property
    def formula(self) -> str:
        """Formula with every grouping as a random term; empty for a model of arrays."""
        return "" if self.frame is None else self.frame.formula

    @property
    def n_dropped(self) -> int:
        """Rows left out because something that the model uses was missing."""
        return 0 if self.frame is None else self.frame.n_dropped

    @property
    def between(self) -> npt.NDArray[np.bool_]:
        """Which terms are constant within every level of a grouping (p,)."""
        return self.between_of >= 0

    @property
    def groups(self) -> dict[str, int]:
        """Number of levels of each grouping."""
        return {name: len(levels) for name, levels in self.levels.items()}

    def __repr__(self) -> str:
        groups = ", ".join(f"{name} {size}" for name, size in self.groups.items())
        parts = [
            self.formula or f"{len(self.names)} predictors",
            f"link {self.link.name}",
            f"{len(self.order)} answers in {len(self.categories)} categories",
            groups,
        ]
        return f"CumulativeLinkMixedModel: {', '.join(part for part in parts if part)}; fit() estimates it"

    def fit(self, *, covariance: Covariance = "model") -> CumulativeLinkResults:
        """Fit by maximum likelihood.

        covariance : `model` inverts the observed information; `robust` is the sandwich over groups, G / (G - 1) scaled,
            which survey weights call for. With several groupings the groups are those that all others nest in.

        Raises ConvergenceError, and DesignError for a term that separates the answers.
        """
        if covariance not in {"model", "robust"}:
            raise DesignError(
                f"there is no covariance '{covariance}'",
                where="CumulativeLinkMixedModel.fit, covariance",
                expected="model, robust",
                got=repr(covariance),
                hint="choose one of these",
            )
        cluster = self._outermost() if self.crossed is not None and covariance == "robust" else None
        # Products of some thousand rows: threads of linear algebra wait for each other longer than they work.
        with threadpool_limits(1, user_api="blas"):
            fitted = (
                maximise(self.problem, random=self.random, strict=False)
                if self.crossed is None
                else maximise_crossed(self.crossed, cluster=cluster, strict=False)
            )
        fitted = self.scaling.undo(fitted)
        try:
            V = _covariance(fitted, covariance, random=self.random)
        except np.linalg.LinAlgError:
            V = np.full((len(self.names) + len(self.categories) + len(self.levels),) * 2, np.inf)
        self._refuse_separation(fitted.coefficients, V)
        if not fitted.converged:
            raise self._unsettled(fitted)
        return CumulativeLinkResults(self, fitted, V, covariance)

    def log_likelihood_without(self, grouping: str) -> float:
        """Return the maximum of the log-likelihood with the sd of one grouping held at 0, the others free."""
        n = self.problem
        with threadpool_limits(1, user_api="blas"):
            if self.crossed is None or len(self.levels) == 1:
                return maximise(n, random=False).at.log_likelihood
            kept = {name: self.crossed.place[:, r] for r, name in enumerate(self.levels) if name != grouping}
            smaller = CrossedProblem(n.answer, n.categories, n.predictors, n.offset, n.weight, kept, self.link)
            return maximise_crossed(smaller).at.log_likelihood

    def _outermost(self) -> Ints:
        """Return the level of the grouping in which all others nest; DesignError where there is none."""
        assert self.crossed is not None  # noqa: S101 - the caller has asked a model of several groupings
        pattern = self.crossed.intercepts
        if pattern.dense:
            raise DesignError(
                "robust covariance needs groups that share no intercept",
                where="CumulativeLinkMixedModel.fit, covariance robust",
                expected="groupings that nest in one another",
                got=f"{listed(self.levels)}, which cross",
                hint="keep the organisation alone, or use the model's covariance",
            )
        return np.asarray(self.crossed.place[:, pattern.chain[-1]])

    def _unsettled(self, fitted: Fit) -> ConvergenceError:
        gradient = fitted.at.gradient
        names = (
            [f"{a}|{b}" for a, b in pairwise(self.categories)] + self.names + [f"sd({name})" for name in self.levels]
        )
        steepest = int(np.abs(gradient[: len(names)]).argmax())
        return ConvergenceError(
            "the cumulative link model did not converge",
            where=f"CumulativeLinkMixedModel, {self.formula or listed(self.names)}, term {names[steepest]}",
            expected="a maximum of the likelihood at finite estimates",
            got=f"after {fitted.iterations} steps a derivative of {gradient[steepest]:.2g} by {names[steepest]}",
            hint="merge rare categories of the answer or thin levels of a factor, or drop the term",
        )

    def _refuse_separation(self, coefficients: Floats, V: Floats) -> None:
        """Refuse a term whose estimate runs off: as far apart as anyone could be, with an error as large."""
        cuts = len(self.categories) - 1
        X, unit = self.predictors, float(np.sqrt(self.link.variance / (np.pi**2 / 3)))
        for j, name in enumerate(self.names):
            width = float(np.ptp(X.rows[:, j]))
            error = float(np.sqrt(V[cuts + j, cuts + j])) * width
            if abs(coefficients[j]) * width > _LARGE * unit and not error < 0.4 * abs(coefficients[j]) * width:
                raise _separated(name, f"coefficient {coefficients[j]:.1f}, standard error {error / width:.1f}")


@dataclass(frozen=True, slots=True)
class Scaling:
    """Predictors in units of their own range, where numbers are so large, small or far from 0 that digits would be lost.

    Attributes
    ----------
    centre, width : (p,)    (x - centre) / width is what is fitted; 0 and 1 for ordinary predictors.
    natural : (m, m)        Derivatives of the parameters by those fitted: thresholds, coefficients, sds.
    """

    centre: Floats
    width: Floats
    natural: Floats

    @classmethod
    def of(cls, predictors: Predictors, cuts: int, sds: int) -> Scaling:
        """Scale what spans more than 100 or less than 0.01, and centre what lies more than ten ranges from 0."""
        X = predictors.rows
        low, high = (X.min(axis=0), X.max(axis=0)) if len(X) else (np.empty(0), np.empty(0))
        span, middle = high - low, 0.5 * (high + low)
        width = np.where((span > 100.0) | (span < 0.01), span, 1.0)
        centre = np.where(np.abs(middle) > 10.0 * span, middle, 0.0)
        natural = np.eye(cuts + len(span) + sds)
        place = cuts + np.arange(len(span))
        natural[place, place] = 1.0 / width
        natural[:cuts, cuts : cuts + len(span)] = centre / width
        return cls(centre, width, natural)

    @property
    def plain(self) -> bool:
        """Whether nothing is scaled."""
        return bool((self.width == 1.0).all() and (self.centre == 0.0).all())

    def apply(self, predictors: Predictors) -> Predictors:
        """Return the predictors as they are fitted."""
        if self.plain:
            return predictors
        return Predictors((predictors.rows - self.centre) / self.width, predictors.place)

    def undo(self, fit: Fit) -> Fit:
        """Return the fit in the units of the predictors."""
        if self.plain:
            return fit
        coefficients = fit.coefficients / self.width
        back = np.linalg.inv(self.natural)
        use = np.isfinite(np.diag(fit.at.hessian))
        hessian = np.full(fit.at.hessian.shape, np.nan)
        free = np.ix_(use, use)
        hessian[free] = back[free].T @ fit.at.hessian[free] @ back[free]
        at = replace(fit.at, gradient=back.T @ fit.at.gradient, hessian=hessian, scores=fit.at.scores @ back)
        return replace(fit, thresholds=fit.thresholds + coefficients @ self.centre, coefficients=coefficients, at=at)


def _covariance(fit: Fit, kind: Covariance, *, random: bool) -> Floats:
    """Covariance of all parameters; nan for an sd at its boundary or left out."""
    hessian, scores = fit.at.hessian, fit.at.scores
    use = np.flatnonzero(np.isfinite(np.diag(hessian)))
    if not isinstance(fit, CrossedFit) and (fit.boundary or not random):
        use = use[:-1]
    bread = np.linalg.inv(-hessian[np.ix_(use, use)])
    if kind == "robust":
        groups = len(scores)
        bread = bread @ (scores[:, use].T @ scores[:, use]) @ bread * (groups / (groups - 1.0))
    out = np.full(hessian.shape, np.nan)
    out[np.ix_(use, use)] = bread
    return out


def _answers(answer: npt.ArrayLike, categories: Sequence[object]) -> tuple[Ints, list[object]]:
    if isinstance(answer, pd.Series) and isinstance(answer.dtype, pd.CategoricalDtype):
        ordered = ordered_answer(answer)
        return np.asarray(ordered.cat.codes, dtype=np.int64), list(ordered.cat.categories)
    given = np.atleast_1d(np.asarray(answer))
    if given.dtype.kind not in "iufb" or (given.dtype.kind == "f" and not np.all(given == np.floor(given))):
        raise DesignError(
            "the answers are not whole numbers",
            where="CumulativeLinkMixedModel, answer",
            expected="0 .. K - 1, none missing, or an ordered categorical Series",
            got=f"{given.dtype}: {listed(map(str, given[:5].tolist()))}",
            hint="use from_formula, which reads labels and leaves out rows without an answer",
        )
    y = given.astype(np.int64)
    return y, list(categories) or list(range(int(y.max(initial=-1)) + 1))


def _check_predictors(X: Floats, names: Sequence[str]) -> None:
    bad = []
    if X.shape[1] != len(names):
        bad.append(f"{X.shape[1]} predictors with {len(names)} names")
    else:
        wrong = [name for name, column in zip(names, X.T, strict=True) if not np.isfinite(column).all()]
        bad += [f"missing or infinite values in {listed(wrong)}"] if wrong else []
    if bad:
        raise _misfit(bad)


def _check_shapes(y: Ints, rows: int, w: Floats, o: Floats) -> None:
    bad = []
    if not (rows == len(w) == len(o) == len(y)) or len(y) == 0:
        bad.append(f"lengths: answers {len(y)}, predictors {rows}, weights {len(w)}, offset {len(o)}")
    if not np.isfinite(o).all():
        bad.append("missing or infinite values in the offset")
    if not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        bad.append("negative, missing or all-zero weights")
    if bad:
        raise _misfit(bad)


def _misfit(bad: Sequence[str]) -> DesignError:
    return DesignError(
        "answers and predictors do not fit together",
        where="CumulativeLinkMixedModel",
        expected="complete arrays of one length, weights of at least 0",
        got="; ".join(bad),
        hint="leave out incomplete rows before the call, or use from_formula, which does",
    )


def _check_nodes(nodes: int) -> None:
    if nodes != 1 and nodes < _FEWEST_NODES:
        raise DesignError(
            "too few quadrature nodes",
            where="CumulativeLinkMixedModel, nodes",
            expected=f"{_FEWEST_NODES} or more, 11 is usual; or 1, Laplace's approximation",
            got=str(nodes),
            hint="with fewer, the point at which the gradient is nil is not the maximum (4e-3 off at 3 nodes)",
        )


def _check_answers(y: Ints, labels: Sequence[object], name: str) -> None:
    counts = np.bincount(y[y >= 0], minlength=len(labels))
    empty = [str(label) for label, count in zip(labels, counts, strict=False) if count == 0]
    shown = listed(map(str, labels))
    if (y < 0).any() or len(counts) > len(labels):
        outside = int(((y < 0) | (y >= len(labels))).sum())
        title, got = "the answers do not fit their categories", f"{outside} answers missing or unknown"
        hint = "leave those rows out before the call, or use from_formula, which does"
    elif empty:
        title, got = "a category of the answer is empty", f"nobody answered {listed(empty)}"
        hint = "merge the empty category with its neighbour, or drop it: .cat.remove_unused_categories()"
    elif len(labels) < 2:
        title, got = "all answers are the same", f"{len(y)} answers, all {shown or 'missing'}"
        hint = "there is nothing to explain: report the share as it stands"
    else:
        return
    raise DesignError(
        title,
        where=f"CumulativeLinkMixedModel, answer {name}".rstrip(),
        expected="two categories or more, each at least once" + (f": {shown}" if len(labels) > 1 else ""),
        got=got,
        hint=hint,
    )


def _crosstab(predictors: Predictors, y: Ints, categories: int) -> Ints:
    """Answers by distinct row of predictors and category (C, K); empty where rows are many."""
    if not predictors.few:
        return np.empty((0, categories), dtype=np.int64)
    C = len(predictors.rows)
    return np.bincount(predictors.place * categories + y, minlength=C * categories).reshape(C, categories)


def _check_columns(predictors: Predictors, y: Ints, names: Sequence[str]) -> None:
    X = predictors.rows
    R = np.linalg.qr(np.column_stack([np.ones(len(X)), X]), mode="r")
    size = np.zeros(len(names) + 1)
    size[: len(R)] = np.abs(np.diag(R))
    scale = np.append(1.0, np.sqrt((X**2).sum(axis=0)))
    aliased = [
        name for name, value, own in zip(names, size[1:], scale[1:], strict=True) if value <= 1e-9 * max(own, 1e-300)
    ]
    if aliased:
        raise DesignError(
            "a term is a combination of the others",
            where=f"CumulativeLinkMixedModel, term {listed(aliased)}",
            expected="predictors that are linearly independent, of each other and of a constant",
            got=f"{listed(aliased)} adds nothing",
            hint="drop the term, or merge levels that occur only together",
        )
    top, counts = y.max(), _crosstab(predictors, y, int(y.max()) + 1)
    for name, column in zip(names, X.T, strict=True):
        low, high = column.min(), column.max()
        if not np.isin(column, (low, high)).all():
            continue
        for value in (low, high):
            seen = (
                np.flatnonzero(counts[column == value].sum(axis=0)) if predictors.few else np.unique(y[column == value])
            )
            if len(seen) == 1 and seen[0] in (0, top):
                number = int(counts[column == value].sum()) if predictors.few else int((column == value).sum())
                raise _separated(name, f"all {number} answers at {name} = {value:g} are alike")


def _separated(name: str, what: str) -> DesignError:
    return DesignError(
        "a term separates the answers: its coefficient has no finite estimate",
        where=f"CumulativeLinkMixedModel, term {name}",
        expected="answers that vary at each level",
        got=what,
        hint="merge the level with another, or report its cell as it stands, without a model",
    )


def _coded(name: str, values: npt.ArrayLike, n: int) -> tuple[Ints, npt.NDArray[Any]]:
    """Return the level of each answer and the levels, in their order; refuse what carries no random intercept."""
    labels = values if isinstance(values, pd.Series | pd.Categorical) else np.asarray(values)
    shape = np.shape(labels)
    if shape != (n,):
        raise _misfit([f"groups {name} of shape {shape} for {n} answers"])
    try:
        key, levels = pd.factorize(labels, sort=True)
    except TypeError:  # labels of several kinds have no order of their own
        key, levels = pd.factorize(np.asarray([str(label) for label in np.asarray(labels, dtype=object)]), sort=True)
    missing = int((key < 0).sum())
    if missing or len(levels) < 2:
        raise DesignError(
            "a random intercept needs at least two groups",
            where=f"CumulativeLinkMixedModel, groups {name}",
            expected="two or more groups, none missing",
            got=f"{len(levels)} groups, {missing} rows without one",
            hint="leave the groups out, or report the effect as not assessable",
        )
    if len(levels) == n:
        raise DesignError(
            "as many groups as answers",
            where=f"CumulativeLinkMixedModel, groups {name}",
            expected="groups with two answers or more among them",
            got=f"{n} groups for {n} answers",
            hint="what members of a group share cannot be told from one answer each: leave the groups out",
        )
    return key.astype(np.int64), np.asarray(levels)


def _between(predictors: Predictors, codes: Mapping[str, Ints]) -> Ints:
    """Return, by term, the grouping of the fewest levels within each of which it is constant; -1 for none."""
    out = np.full(predictors.rows.shape[1], -1)
    order = sorted(range(len(codes)), key=lambda r: -int(list(codes.values())[r].max()))
    for r in order:
        code = list(codes.values())[r]
        first = np.empty(int(code.max()) + 1, dtype=np.int64)
        first[code[::-1]] = np.arange(len(code))[::-1]
        if predictors.few:
            C = len(predictors.rows)
            pairs = np.unique(predictors.place[first[code]] * C + predictors.place)
            same = (predictors.rows[pairs // C] == predictors.rows[pairs % C]).all(axis=0)
        else:
            same = np.array([(column[first[code]] == column).all() for column in predictors.rows.T], dtype=bool)
        out[same] = r
    return out
