"""Formulae of ordinal models: a formula with random intercepts and a data frame in, checked arrays out.

formulaic reads the fixed part; the random intercepts, and what would go wrong without a word, are read here: a factor of one
level that drops out, a level of new data that the model has not seen, text whose order nobody has said.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.errors import DesignError, listed, nearest
from fieldwork.statistics.ordinal_likelihood import Predictors

__all__ = ["ModelFrame", "Source", "ordered_answer", "predictors_of", "read_formula", "reference_grid"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[Any]
Source = str | pd.Series | npt.ArrayLike | None  # a column by name, or the values themselves
Groups = Source | Sequence[str] | Mapping[str, npt.ArrayLike]

_WHERE = "CumulativeLinkMixedModel"
_MOST_CATEGORIES = 100
_MOST_VALUES = 50  # of a number, at which marginal means are given
_BAR = re.compile(r"\(\s*([^()|]*?)\s*(\|{1,2})\s*([^()|]*?)\s*\)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|[⧛⧚]")
_FACTOR = re.compile(r"C\((\w+)\)")


@dataclass(frozen=True, slots=True)
class ModelFrame:
    """What a formula makes of a data frame.

    Attributes
    ----------
    formula : str                       As it was given, with every grouping as a random term.
    answer : pd.Series                  Ordered categorical (n,), with the index of the rows used.
    predictors : Predictors             Without intercept. names : list of str    Their p names, as formulaic gives them.
    groups : dict of str to (n,)        Level of each answer, by grouping; {} for none.
    weights, offset : (n,) or None
    offset_name : str                   Its column; empty where it was given as values, or not at all.
    n_dropped : int                     Rows left out because something that the model uses was missing.
    spec                                formulaic's specification, which reads new data alike.
    levels : dict of str to list        Variables of the formula: levels of a factor; of a number its values, if up to 50.
    means : dict of str to float        Mean of each number. factors : tuple of str    The variables that are factors.
    """

    formula: str
    answer: pd.Series
    predictors: Predictors
    names: list[str]
    groups: Mapping[str, Labels]
    weights: Floats | None
    offset: Floats | None
    offset_name: str
    n_dropped: int
    spec: Any
    levels: Mapping[str, list[Any]]
    means: Mapping[str, float]
    factors: tuple[str, ...]


def read_formula(
    formula: str, data: pd.DataFrame, groups: Groups = None, weights: Source = None, offset: Source = None
) -> ModelFrame:
    """Read a formula and the columns that it names.

    Parameters
    ----------
    formula : `answer ~ terms`, with `(1 | name)` for a random intercept, `(1 | outer/inner)` for a nested pair.
    groups : further groupings: a column or several by name, labels (n,), or name -> labels.
    weights, offset : a column by name, or values (n,).

    Rows that lack anything used are left out and counted. Levels of a factor that no row has are left out. Raises DesignError
    that names the term for whatever cannot be read.
    """
    if not isinstance(data, pd.DataFrame):
        data = pd.DataFrame(data)
    fixed, said = _random_terms(formula)
    answer, rhs, variables = _parsed(formula, fixed)
    beside = _Beside.of(said, groups, weights, offset)
    bars = [f"(1 | {name})" for name in [*beside.named, *beside.given] if name not in said]
    formula = " + ".join([formula.strip(), *bars])
    needed = list(dict.fromkeys([answer, *variables, *beside.columns()]))
    _refuse_absent(formula, needed, data)
    _refuse_lengths(formula, beside.arrays(), data)
    arrays = {name: pd.Series(np.asarray(value), index=data.index) for name, value in beside.arrays().items()}
    keep = _complete(formula, data[needed], arrays)
    frame = _used(data.loc[keep, needed], variables)
    arrays = {name: column[keep] for name, column in arrays.items()}
    predictors, names, spec = _matrix(formula, rhs, frame, variables)
    factors = _factors(formula, spec, frame, variables)
    labels = {name: _labels(frame, name) for name in beside.named}
    return ModelFrame(
        formula=formula,
        answer=ordered_answer(frame[answer]),
        predictors=predictors,
        names=names,
        groups=labels | {name: arrays[name].to_numpy() for name in beside.given},
        weights=_numbers(beside.weights, frame, arrays, "weights"),
        offset=_numbers(beside.offset, frame, arrays, "offset"),
        offset_name=beside.offset if isinstance(beside.offset, str) else "",
        n_dropped=int((~keep).sum()),
        spec=spec,
        levels={name: _found(frame[name], factor=name in factors) for name in variables},
        means={name: float(frame[name].astype("float64").mean()) for name in variables if name not in factors},
        factors=factors,
    )


@dataclass(frozen=True, slots=True)
class _Beside:
    """What a model reads beside its formula: groupings by column or as given, weights, offset."""

    named: list[str]
    given: dict[str, npt.ArrayLike]
    weights: Source
    offset: Source

    @classmethod
    def of(cls, said: Sequence[str], groups: Groups, weights: Source, offset: Source) -> _Beside:
        named = list(said)
        given: dict[str, npt.ArrayLike] = {}
        for name, value in _groupings(groups).items():
            if not isinstance(value, str):
                given[name] = value
            elif value not in named:
                named.append(value)
        return cls(named, given, weights, offset)

    def columns(self) -> list[str]:
        """Return the columns that it reads."""
        numbers = [value for value in (self.weights, self.offset) if isinstance(value, str) and value]
        return [part for name in self.named for part in name.split(":")] + numbers

    def arrays(self) -> dict[str, npt.ArrayLike]:
        """Return what was given as values."""
        numbers: dict[str, Source] = {"weights": self.weights, "offset": self.offset}
        asked = {role: value for role, value in numbers.items() if value is not None and not isinstance(value, str)}
        return {**self.given, **asked}


def _complete(formula: str, frame: pd.DataFrame, arrays: Mapping[str, pd.Series]) -> npt.NDArray[np.bool_]:
    """Return which rows have everything that the model uses; refuse where none has."""
    keep = frame.notna().all(axis=1).to_numpy(copy=True)
    for column in arrays.values():
        keep &= column.notna().to_numpy()
    if not keep.any():
        counts = frame.isna().sum()
        lost = "".join(f"; {name} is missing in {counts[name]}" for name in counts.index if counts[name])
        raise DesignError(
            "no row has everything that the model uses",
            where=f"{_WHERE}, {formula}",
            expected=f"values in {listed(frame.columns)}",
            got=f"{len(frame)} rows{lost}",
            hint="leave out the term that is missing most often" if len(frame) else "give data with rows",
        )
    return keep


def _used(frame: pd.DataFrame, variables: Sequence[str]) -> pd.DataFrame:
    """Leave out levels of factors that no row has."""
    factors = [name for name in variables if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    return frame.assign(**{name: frame[name].cat.remove_unused_categories() for name in factors})


def _random_terms(formula: str) -> tuple[str, list[str]]:
    """Take `(1 | name)` out of a formula; `a/b` stands for a and a:b, as in lme4."""
    named: list[str] = []
    rest = _BAR.sub("1", formula)
    if "|" in rest:
        raise DesignError(
            "a random term stands without its brackets",
            where=f"{_WHERE}, {formula}",
            expected="(1 | name)",
            got=rest,
            hint="write answer ~ terms + (1 | name)",
        )
    for left, bars, right in _BAR.findall(formula):
        parts = [part.strip() for part in right.split("/")]
        if left != "1" or bars != "|" or not all(re.fullmatch(r"[\w.]+(\s*:\s*[\w.]+)*", part) for part in parts):
            raise DesignError(
                "a random term that this model does not have",
                where=f"{_WHERE}, {formula}",
                expected="random intercepts: (1 | name), (1 | outer/inner), (1 | a:b)",
                got=f"({left} {bars} {right})",
                hint=f"write (1 | {right or 'name'}): random slopes are not fitted"
                if left != "1"
                else "one name a term",
            )
        named += [":".join(parts[:depth]).replace(" ", "") for depth in range(1, len(parts) + 1)]
    return rest, list(dict.fromkeys(named))


def _groupings(groups: Groups) -> dict[str, str | npt.ArrayLike]:
    if groups is None or (isinstance(groups, str) and not groups):
        return {}
    if isinstance(groups, str):
        return {name: name for name in _random_terms(f"(1 | {groups})")[1]} if "/" in groups else {groups: groups}
    if isinstance(groups, Mapping):
        return dict(groups)
    if isinstance(groups, pd.Series):
        return {str(groups.name or "group"): groups}
    if (
        isinstance(groups, list | tuple)
        and groups
        and all(isinstance(name, str) for name in groups)
        and len(groups) <= 8
    ):
        return {name: name for name in groups}
    return {"group": groups}


def _parsed(formula: str, fixed: str) -> tuple[str, Any, list[str]]:
    """Return the column of the answer, the right-hand side, and its variables in the order of the formula."""
    from formulaic import Formula  # noqa: PLC0415 - half a second of import that arrays do not need
    from formulaic.errors import FormulaicError  # noqa: PLC0415

    try:
        parsed = Formula(fixed)
    except FormulaicError as error:
        raise _unreadable(formula, error) from None
    left = getattr(parsed, "lhs", None)
    right = getattr(parsed, "rhs", None)
    if left is None or right is None or not hasattr(right, "get_model_matrix"):
        raise DesignError(
            "the formula has no answer to explain",
            where=f"{_WHERE}, {formula}",
            expected="answer ~ terms, as rating ~ temp + contact + (1 | judge)",
            got=formula,
            hint="write the answer's column to the left of ~",
        )
    factors = [factor for term in left for factor in term.factors]
    if len(factors) != 1 or factors[0].eval_method.value != "lookup":
        raise DesignError(
            "the answer is not a column",
            where=f"{_WHERE}, {formula}",
            expected="the name of one column to the left of ~",
            got=str(left),
            hint="make the column first: data['rating'] = pd.Categorical(..., ordered=True)",
        )
    if not any(str(term) == "1" for term in right):
        raise DesignError(
            "the formula takes the intercept out",
            where=f"{_WHERE}, {formula}",
            expected="terms without 0 + or - 1: the thresholds take the intercept's place",
            got=formula,
            hint="leave out 0 + or - 1",
        )
    terms = [factor for term in right for factor in term.factors]
    used = [name for kind in ("lookup", "python") for factor in terms if factor.eval_method.value == kind
            for name in _variables(formula, factor.expr, plain=kind == "lookup")]  # fmt: skip
    return factors[0].expr, right, list(dict.fromkeys(used))


def _variables(formula: str, expression: str, *, plain: bool) -> list[str]:
    """Return the columns that a factor reads; formulaic itself overlooks those inside center(x) and its like."""
    from formulaic.transforms import TRANSFORMS  # noqa: PLC0415

    if plain:
        return [expression]
    quoted = re.findall(r"`([^`]+)`", expression)
    tree = ast.parse(re.sub(r"`[^`]+`", "_quoted", expression), mode="eval")
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    bases = {n.value.id for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
    unknown = sorted(called - set(TRANSFORMS) - {"abs", "max", "min", "round", "float", "int"}) + sorted(bases - {"np"})
    if unknown:
        raise DesignError(
            "the formula calls a function that formulae do not have",
            where=f"{_WHERE}, {formula}, term {listed(unknown)}",
            expected=listed(["np.log", *sorted(name for name in TRANSFORMS if name.isidentifier() and name != "np")]),
            got=expression,
            hint="make the column before the call, and name it in the formula",
        )
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id != "_quoted"]
    return quoted + [name for name in dict.fromkeys(names) if name not in called | bases]


def _unreadable(formula: str, error: Exception) -> DesignError:
    told = " ".join(_COLOURS.sub("", str(error)).split())
    return DesignError(
        "the formula cannot be read",
        where=f"{_WHERE}, {formula}",
        expected="answer ~ terms, as rating ~ temp + contact + (1 | judge)",
        got=told,
        hint="correct the term; a name with spaces stands in `backticks`",
    )


def _refuse_absent(formula: str, needed: Sequence[str], data: pd.DataFrame) -> None:
    known = [str(name) for name in data.columns]
    lacking = [name for name in needed if name not in known]
    if lacking:
        near = {name: nearest(name, known) for name in lacking}
        raise DesignError(
            "the formula names a column that the data lack",
            where=f"{_WHERE}, {formula}, term {listed(lacking)}",
            expected=listed(known),
            got=listed(lacking),
            hint="; ".join(f"did you mean {other} for {name}?" for name, other in near.items() if other)
            or "correct the name",
        )
    twice = [name for name in needed if known.count(name) > 1]
    if twice:
        raise DesignError(
            "two columns have one name",
            where=f"{_WHERE}, {formula}, term {listed(twice)}",
            expected="each name once",
            got=f"{listed(twice)} more than once",
            hint="rename or drop one of them",
        )


def _refuse_lengths(formula: str, values: Mapping[str, Any], data: pd.DataFrame) -> None:
    wrong = [f"{name} {np.shape(value)}" for name, value in values.items() if np.shape(value) != (len(data),)]
    if wrong:
        raise DesignError(
            "values beside the data have another length",
            where=f"{_WHERE}, {formula}",
            expected=f"one value for each of {len(data)} rows",
            got=listed(wrong),
            hint="name a column of the data instead",
        )


def _matrix(formula: str, rhs: Any, frame: pd.DataFrame, variables: Sequence[str]) -> tuple[Predictors, list[str], Any]:  # noqa: ANN401
    """Build predictors, of distinct rows where every factor reads its own row alone: formulaic then sees a few rows, not n."""
    factors = [factor for term in rhs for factor in term.factors]
    by_row = all(f.eval_method.value in {"lookup", "literal"} or _FACTOR.fullmatch(f.expr) for f in factors)
    place = np.empty(0, np.int64)
    seen = frame
    if by_row and variables:
        code = np.zeros(len(frame), dtype=np.int64)
        for name in variables:
            levels, _ = pd.factorize(frame[name])
            code = pd.factorize(code * (int(levels.max(initial=0)) + 1) + levels)[0]
        if int(code.max(initial=-1)) + 1 <= max(len(frame) // 4, 1):
            place = code
            seen = frame.iloc[np.unique(code, return_index=True)[1]]
    matrix = _evaluated(formula, rhs, seen)
    names = [str(name) for name in matrix.columns if name != "Intercept"]
    X = matrix[names].to_numpy(dtype=np.float64)
    bad = [name for name, column in zip(names, X.T, strict=True) if not np.isfinite(column).all()]
    if bad:
        raise DesignError(
            "a term has values that are no numbers",
            where=f"{_WHERE}, {formula}, term {listed(bad)}",
            expected="finite numbers",
            got=f"missing or infinite in {listed(bad)}",
            hint="mend the column before the call: a logarithm needs values above 0",
        )
    if len(place):
        distinct = Predictors.of(X)
        inner = distinct.place if distinct.few else np.arange(len(X))
        few = Predictors(distinct.rows, inner[place])
        return (few if distinct.few else Predictors(X[place], np.empty(0, np.int64))), names, matrix.model_spec
    return Predictors.of(X), names, matrix.model_spec


def _evaluated(formula: str, rhs: Any, data: pd.DataFrame) -> Any:  # noqa: ANN401 - formulaic's formula and matrix
    from formulaic.errors import DataMismatchWarning, FormulaicError  # noqa: PLC0415

    with warnings.catch_warnings(), np.errstate(all="ignore"):  # what is no number is refused by its term
        warnings.simplefilter("error", DataMismatchWarning)
        try:
            return rhs.get_model_matrix(data, na_action="ignore")
        except DataMismatchWarning as error:
            raise DesignError(
                "the data have a level that the model has not seen",
                where=f"{_WHERE}, {formula}",
                expected="levels that the model was fitted to",
                got=" ".join(str(error).split(". ", maxsplit=1)[0].split()),
                hint="leave those rows out, or fit the model to data that have the level",
            ) from None
        except FormulaicError as error:
            raise _unreadable(formula, error) from None


def _factors(formula: str, spec: Any, frame: pd.DataFrame, variables: Sequence[str]) -> tuple[str, ...]:  # noqa: ANN401
    """Return the variables that are factors, after refusing those of one level: they would drop out without a word."""
    held = {str(name) for factor in spec.factor_contrasts for name in spec.factor_variables[factor]}
    factors = tuple(name for name in variables if name in held or pd.api.types.is_bool_dtype(frame[name]))
    single = [name for name in factors if frame[name].nunique() < 2]
    if single:
        raise DesignError(
            "a factor has one level",
            where=f"{_WHERE}, {formula}, term {listed(single)}",
            expected="two levels or more among the rows used",
            got=listed(f"{name}: {frame[name].iloc[0]}" for name in single),
            hint="drop the term",
        )
    return factors


def _found(column: pd.Series, *, factor: bool) -> list[Any]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return list(column.cat.categories)
    found = sorted(column.unique())
    return found if factor or len(found) <= _MOST_VALUES else []


def _labels(frame: pd.DataFrame, name: str) -> Labels:
    parts = name.split(":")
    if len(parts) == 1:
        return frame[name].to_numpy()
    codes, levels = pd.factorize(pd.MultiIndex.from_frame(frame[parts]))
    return np.array([":".join(map(str, level)) for level in levels], dtype=object)[codes]


def _numbers(source: Source, frame: pd.DataFrame, arrays: Mapping[str, pd.Series], role: str) -> Floats | None:
    if source is None or (isinstance(source, str) and not source):
        return None
    name = source if isinstance(source, str) else role
    column = frame[name] if isinstance(source, str) else arrays[role]
    try:
        return column.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise DesignError(
            f"{name} is no column of numbers",
            where=f"{_WHERE}, {role} {name}",
            expected="numbers",
            got=f"{column.dtype}: {listed(sorted(map(str, column.unique())), limit=5)}",
            hint="convert the column, or name another",
        ) from None


def ordered_answer(answer: pd.Series) -> pd.Series:
    """Return answers as an ordered categorical: whole numbers in their order, or the order that the categories state.

    Raises DesignError for text, and for categories of text without an order: nobody has said which is the lower one.

    >>> ordered_answer(pd.Series([3, 1, 2], name="rating")).cat.categories.tolist()
    [1, 2, 3]
    """
    where = f"{_WHERE}, answer {answer.name}"
    if isinstance(answer.dtype, pd.CategoricalDtype):
        return _ordered_categories(answer, where)
    if answer.dtype == object and all(isinstance(value, int | float | np.number | bool) for value in answer):
        answer = answer.astype("float64")
    if not pd.api.types.is_numeric_dtype(answer):
        shown = sorted(map(str, answer.unique()))
        digits = all(re.fullmatch(r"\s*-?\d+\s*", value) for value in shown)
        ordered = f"pd.Categorical(data['{answer.name}'], categories=[lowest, ..., highest], ordered=True)"
        raise DesignError(
            "the order of the answers is not known",
            where=where,
            expected="whole numbers, or an ordered categorical",
            got=f"{answer.dtype}: {listed(shown, limit=5)}",
            hint=f"data['{answer.name}'].astype(int)" if digits else ordered,
        )
    values = answer.to_numpy(dtype=np.float64)
    levels = np.unique(values)
    if len(levels) > _MOST_CATEGORIES:
        raise DesignError(
            "the answer has too many values for categories",
            where=where,
            expected=f"at most {_MOST_CATEGORIES}",
            got=f"{len(levels)}, from {levels[0]:g} to {levels[-1]:g}",
            hint="cut it into bands with pd.cut(...), or use a model for numbers",
        )
    boolean = pd.api.types.is_bool_dtype(answer)
    whole = bool((levels == np.floor(levels)).all())
    labels = [bool(v) if boolean else int(v) if whole else float(v) for v in levels]
    kind = pd.CategoricalDtype(labels, ordered=True)
    coded = pd.Categorical.from_codes(np.searchsorted(levels, values), dtype=kind)
    return pd.Series(coded, index=answer.index, name=answer.name)


def _ordered_categories(answer: pd.Series, where: str) -> pd.Series:
    levels = answer.cat.categories
    if answer.cat.ordered or (pd.api.types.is_numeric_dtype(levels) and levels.is_monotonic_increasing):
        return answer
    raise DesignError(
        "the order of the answers is not known",
        where=where,
        expected="an ordered categorical",
        got=f"unordered categories {listed(map(str, levels), limit=5)}",
        hint=f"data['{answer.name}'].cat.set_categories([lowest, ..., highest], ordered=True)",
    )


def predictors_of(frame: ModelFrame, data: pd.DataFrame) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Read new data as the model's own: predictors (n, p), and which rows have every variable; the others hold nan.

    Raises DesignError for a column or a level that the model needs and the data lack.
    """
    _refuse_absent(frame.formula, list(frame.levels), data)
    for name in frame.factors:
        column = data[name]
        unseen = [str(v) for v in column[column.notna()].unique() if v not in frame.levels[name]]
        if unseen:
            raise DesignError(
                "the data have a level that the model has not seen",
                where=f"{_WHERE}, {frame.formula}, term {name}",
                expected=listed(map(str, frame.levels[name])),
                got=listed(unseen),
                hint="leave those rows out, or fit the model to data that have the level",
            )
    whole = data[list(frame.levels)].notna().all(axis=1).to_numpy()
    used = data.loc[whole, list(frame.levels)]
    for name in frame.factors:
        if isinstance(used[name].dtype, pd.CategoricalDtype):
            used = used.assign(**{name: used[name].cat.set_categories(frame.levels[name])})
    X = np.full((len(data), len(frame.names)), np.nan)
    if len(used):
        X[whole] = _evaluated(frame.formula, frame.spec, used)[frame.names].to_numpy(dtype=np.float64)
    return X, whole


def reference_grid(frame: ModelFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """Cross the factors of the formula, `wanted` first; a number stands at its mean, or at its values where it is wanted.

    Raises DesignError for a name that is no variable of the formula, and for a number of more than 50 values.
    """
    unknown = [name for name in wanted if name not in frame.levels]
    many = [name for name in wanted if name in frame.levels and not frame.levels[name]]
    if unknown or many or not wanted:
        raise DesignError(
            "marginal means are asked of a number with many values"
            if many
            else "marginal means are asked of a factor that the model lacks",
            where=f"CumulativeLinkResults.marginal_means, {frame.formula}",
            expected=listed(frame.levels) or "a formula with a factor; this one has none",
            got=listed([*unknown, *many]) or "no name",
            hint="cut the number into bands, with pd.cut(...)" if many else "name a factor of the formula",
        )
    order = [*wanted, *(name for name in frame.levels if name not in wanted)]
    held = {
        name: [frame.means[name]] if name in frame.means and name not in wanted else frame.levels[name]
        for name in order
    }
    return pd.MultiIndex.from_product([held[name] for name in order], names=order).to_frame(index=False)
