"""Responses against the instrument once more, by an engine that shares no code with cleaning.

Every expectation is derived from the instrument; none is written by hand. great-expectations checks them in memory: no
context on disk, no Data Docs, no telemetry, and no answer of a respondent in a result. What it cannot check is told
apart from what fails, and a suite that has lost an expectation is refused.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.errors import DataError, listed
from fieldwork.intake import NOT_DELIVERED, NOT_SHOWN, ROUTED_OUT

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item

__all__ = [
    "NON_RESPONSE",
    "SMALLEST_BASE",
    "Validation",
    "data_quality",
    "expectations",
    "non_response",
    "non_response_table",
    "suite_table",
    "validate",
]

# A warning from this share of item non-response on, and for a role with fewer respondents than this.
NON_RESPONSE = 0.2
SMALLEST_BASE = 10

_ERROR, _WARNING = "critical", "warning"  # severities as great-expectations calls them
_NOT_PUT = (NOT_SHOWN, ROUTED_OUT, NOT_DELIVERED)
Missing = pd.DataFrame | Callable[[], Iterable[pd.DataFrame]]
"""The table of unanswered items, or a function that yields its parts each time anew."""

_NOT_A_REFUSAL = (*_NOT_PUT, "not_applicable")
_SURVEY_ITEMS = ("single", "ordinal", "multi", "rank", "number", "flag")
_PART = 8  # expectations checked at a time
_VALUES = 4_000_000  # of columns set under one another, at the most: of a large study there are few at a time
_MANY = 20_000  # rows beyond which to look at distinct values is quicker, even for one column by itself
_UNDER = "columns, one under another"

Expectation = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What the suite found.

    Attributes
    ----------
    results : pd.DataFrame    One row per expectation: expectation (in words), item, severity (`error`, `warning`),
                              success, n_checked, n_unexpected, share (unexpected of checked; missing for a count).
    failing : pd.DataFrame    Rows that fail an expectation of severity error: expectation, item, resp_id, row of the
                              responses, 1 first. No answers.
    suite_size : int          Expectations derived from the instrument, and checked.
    lacking : pd.DataFrame    What each respondent left without an answer, `non_response`.
    """

    results: pd.DataFrame
    failing: pd.DataFrame
    suite_size: int
    lacking: pd.DataFrame

    @property
    def warnings(self) -> pd.DataFrame:
        """Expectations of severity warning that are not met."""
        return self.results[~self.results["success"] & (self.results["severity"] == "warning")]

    @property
    def errors(self) -> pd.DataFrame:
        """Expectations of severity error that are not met."""
        return self.results[~self.results["success"] & (self.results["severity"] == "error")]

    def require(self) -> None:
        """Raise DataError naming the rows of the first expectation of severity error that is not met."""
        if self.errors.empty:
            return
        first = self.errors.iloc[0]
        rows = self.failing[self.failing["expectation"] == first["expectation"]]
        others = f"; {len(self.errors) - 1} more expectations are not met" if len(self.errors) > 1 else ""
        raise DataError(
            f"the responses do not hold: {first['expectation']}",
            where=f"01_clean, item {first['item']}",
            expected=f"{first['n_checked']} of {first['n_checked']} rows",
            got=f"{first['n_unexpected']} rows fail: "
            + listed(f"{resp} (row {row})" for resp, row in zip(rows["resp_id"], rows["row"], strict=True)),
            hint=f"run 01_clean again on the delivery; the responses were changed after cleaning{others}",
        )


def expectations(instrument: Instrument) -> list[Expectation]:
    """Derive the suite from the instrument: type, kwargs, severity and meta (number, item, wording, severity).

    Keys are unique and there, the wave is one, every coded answer is one of the item's, ticks are 0 or 1, numbers and
    ranks lie in their range, dates are ISO, an option that stands alone stands alone, nobody answered what was not put
    (errors). Caps are kept, item non-response stays below `NON_RESPONSE`, each role has `SMALLEST_BASE` respondents
    (warnings).

    >>> from fieldwork.instrument import Instrument, Item
    >>> items = (Item(name="resp_id", kind="identifier", label="Respondent"),
    ...          Item(name="wave", kind="identifier", label="Wave"), Item(name="stall", kind="flag", label="Stalled"))
    >>> instrument = Instrument(id="i", version="1", title="Three items", wave="w1", items=items)
    >>> [each["meta"]["wording"] for each in expectations(instrument) if each["meta"]["item"] == "stall"]
    ['Stalled is one of 0, 1', 'at most 20% of those asked left Stalled without an answer']
    """
    derived: list[Expectation] = []
    _of_the_table(derived, instrument)
    for item in instrument.items:
        _of_an_item(derived, item, instrument)
    for item in instrument.items:
        _worth_a_warning(derived, item, instrument)
    keys = instrument.keys
    for role in instrument.roles if keys.role else ():
        _expect(
            derived,
            keys.role,
            f"at least {SMALLEST_BASE} respondents are {role.id}",
            "table_row_count_to_be_between",
            severity=_WARNING,
            min_value=SMALLEST_BASE,
            row_condition=_is_one_of(keys.role, [role.id]),
        )
    return derived


def _of_the_table(derived: list[Expectation], instrument: Instrument) -> None:
    keys = instrument.keys
    _expect(
        derived,
        keys.respondent,
        "each respondent occurs once in the wave",
        "compound_columns_to_be_unique",
        column_list=[keys.wave, keys.respondent],
    )
    _expect(
        derived,
        keys.wave,
        f"every response is of wave {instrument.wave}",
        "column_values_to_be_in_set",
        column=keys.wave,
        value_set=[instrument.wave],
    )


def _of_an_item(derived: list[Expectation], item: Item, instrument: Instrument) -> None:
    keys = instrument.keys
    if item.name in {keys.respondent, keys.organisation, keys.wave} or (item.required and item.kind != "multi"):
        _expect(
            derived,
            item.name,
            f"{item.label} is there for every respondent to whom it was put",
            "column_values_to_not_be_null",
            column=item.name,
            **_only_if(_not_put(item, instrument, negate=True)),
        )
    for column in item.native_columns():
        derived += _answers(item, column, len(derived))
    if item.exclusive:
        _alone(derived, item)
    for condition in _not_put(item, instrument):
        for column in item.native_columns():
            _expect(
                derived,
                item.name,
                f"{item.label} is empty where it was not put ({column})",
                "column_values_to_be_null",
                column=column,
                row_condition=condition,
            )


def _worth_a_warning(derived: list[Expectation], item: Item, instrument: Instrument) -> None:
    if item.cap:
        _expect(
            derived,
            item.name,
            f"at most {item.cap} options of {item.label} are chosen",
            "column_values_to_be_between",
            severity=_WARNING,
            column=_ticked(item),
            max_value=item.cap,
        )
    if item.kind in _SURVEY_ITEMS and item.name != instrument.keys.weight:
        _expect(
            derived,
            item.name,
            f"at most {NON_RESPONSE:.0%} of those asked left {item.label} without an answer",
            "column_values_to_be_between",
            severity=_WARNING,
            column=_answered(item.name),
            min_value=1 - NON_RESPONSE,
        )


def _expect(
    derived: list[Expectation], item: str, wording: str, kind: str, *, severity: str = _ERROR, **kwargs: object
) -> None:
    derived.append(
        {
            "type": f"expect_{kind}",
            "kwargs": kwargs,
            "severity": severity,
            "meta": {
                "number": len(derived),
                "item": item,
                "wording": wording,
                "severity": "error" if severity == _ERROR else "warning",
            },
        }
    )


def _answers(item: Item, column: str, already: int) -> list[Expectation]:
    """Derive what holds for every answer in a native column."""
    derived: list[Expectation] = [{}] * already  # numbers count on
    if item.kind == "multi":
        _set(derived, item, column, [0, 1], f"{item.label}: {column} is 0 or 1")
    elif item.kind == "single":
        ids = [option.id for option in item.options]
        _set(derived, item, column, ids, f"{item.label} is one of {listed(ids)}")
    elif item.kind in {"ordinal", "flag"}:
        _set(derived, item, column, item.codes or [0, 1], f"{item.label} is one of {listed(map(str, item.codes))}")
    elif item.kind == "rank":
        codes = sorted({*item.codes, *range(1, int(item.high or 0) + 1)})
        _set(derived, item, column, codes, f"{item.label} is a rank or option from {codes[0]} to {codes[-1]}")
    elif item.kind == "number" and not (item.low is None and item.high is None):
        low = f"from {item.low:g}" if item.low is not None else ""
        high = f"to {item.high:g}" if item.high is not None else ""
        _expect(
            derived,
            item.name,
            " ".join(filter(None, [f"{item.label} is a number", low, high])),
            "column_values_to_be_between",
            column=column,
            min_value=item.low,
            max_value=item.high,
        )
    elif item.kind == "date":
        form = r"^\d{4}Q[1-4]$" if item.unit == "quarter" else r"^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}.*)?$"
        in_words = "a quarter, 2025Q3" if item.unit == "quarter" else "an ISO date"
        options = "|".join(option.id for option in item.options)
        _expect(
            derived,
            item.name,
            f"{item.label} is {in_words}" + (f", or {listed(o.id for o in item.options)}" if options else ""),
            "column_values_to_match_regex",
            column=column,
            regex=f"{form}|^(?:{options})$" if options else form,
        )
    return derived[already:]


def _set(derived: list[Expectation], item: Item, column: str, values: Sequence[object], wording: str) -> None:
    _expect(derived, item.name, wording, "column_values_to_be_in_set", column=column, value_set=list(values))


def _alone(derived: list[Expectation], item: Item) -> None:
    for option in item.exclusive:
        _expect(
            derived,
            item.name,
            f"{item.label}: {option} stands alone",
            "column_values_to_be_in_set",
            column=_ticked(item),
            value_set=[1],
            row_condition=_is_one_of(f"{item.name}_{option}", [1]),
        )


def _not_put(item: Item, instrument: Instrument, *, negate: bool = False) -> list[Expectation]:
    """Return the conditions under which an item was not put, one per reason; with `negate`, under which it was."""
    conditions: list[Expectation] = []
    if item.asked_of and instrument.keys.role:
        others = [role for role in instrument.role_ids if (role in item.asked_of) == negate]
        conditions.append(_is_one_of(instrument.keys.role, others))
    if item.asked_if is not None:
        gate = instrument.item(item.asked_if.item)
        within = [gate.option(text) for text in item.asked_if.within] if gate.options else []
        if gate.kind == "multi":
            ticks = [_is_one_of(f"{gate.name}_{option.id}", [1 if negate else 0]) for option in within]
            conditions.append({"type": "or" if negate else "and", "conditions": ticks})
        elif gate.options:
            chosen = [option for option in gate.options if (option in within) == negate]
            conditions.append(_is_one_of(gate.name, [o.code if gate.dtype == "Int8" else o.id for o in chosen]))
        else:
            operator = "IN" if negate else "NOT_IN"
            there = {"type": "nullity", "column": {"name": gate.name}, "is_null": False}
            conditions.append(
                {
                    "type": "and",
                    "conditions": [there, _is_one_of(gate.name, list(item.asked_if.within), operator=operator)],
                }
            )
    return conditions


def _only_if(conditions: Sequence[Expectation]) -> dict[str, Any]:
    if not conditions:
        return {}
    return {"row_condition": conditions[0] if len(conditions) == 1 else {"type": "and", "conditions": list(conditions)}}


def _is_one_of(column: str, values: Sequence[object], *, operator: str = "IN") -> Expectation:
    return {"type": "comparison", "column": {"name": column}, "operator": operator, "parameter": list(values)}


def _ticked(item: Item) -> str:
    return f"{item.name}: options chosen"


def _answered(name: str) -> str:
    return f"{name}: share that answered"


def non_response(responses: pd.DataFrame, missing: Missing, instrument: Instrument) -> pd.DataFrame:
    """Tell for each respondent and item whether the item was left without an answer.

    1: put and not answered (blank, refused, don't know); 0: answered; missing: not put, not delivered, not applicable,
    blank in an item put to a random part, or in a module other than the core of which the respondent answered nothing.
    One Int8 column per survey item, rows as in `responses`. `missing` may come in parts, of which memory holds one.
    """
    weight = instrument.keys.weight
    names = [item.name for item in instrument.items if item.kind in _SURVEY_ITEMS and item.name != weight]
    places, respondents = pd.factorize(responses[instrument.keys.respondent], use_na_sentinel=False)
    people, sampled = pd.Index(respondents), [item.name for item in instrument.items if item.sampled]
    by_respondent = np.zeros((len(respondents), len(names)), dtype="int8")
    for part in [missing] if isinstance(missing, pd.DataFrame) else missing():
        seen, without = pd.factorize(part["resp_id"])
        row = people.get_indexer(without)[seen]
        item, reason = part["item"].astype("str"), part["reason"].astype("str")
        column = pd.Index(names).get_indexer(pd.Index(item))
        known = (row >= 0) & (column >= 0)
        not_put = reason.isin(_NOT_A_REFUSAL) | (item.isin(sampled) & (reason == "blank"))
        by_respondent[row[known], column[known]] = np.where(not_put, -1, 1)[known]
    lacking = by_respondent[places]
    modules = np.array([instrument.item(name).module for name in names], dtype=object)
    for module in set(modules) - {"core"}:
        inside = np.flatnonzero(modules == module)
        skipped = (lacking[:, inside] != 0).all(axis=1)
        lacking[np.ix_(skipped, inside)] = -1
    return pd.DataFrame(
        {
            name: pd.arrays.IntegerArray(lacking[:, place].clip(0), lacking[:, place] < 0)
            for place, name in enumerate(names)
        },
        index=responses.index,
    )


def validate(responses: pd.DataFrame, missing: Missing, instrument: Instrument) -> Validation:
    """Hold the responses of a wave against every expectation that the instrument implies.

    Parameters
    ----------
    responses, missing : pd.DataFrame    As `clean.Cleaned` has them; `missing` also as a function that yields it in parts.
    instrument : Instrument              Settled for the wave.

    Raises DataError when there is no response, when an expectation did not reach the suite, or when one could not be
    checked. What fails is in the result; `Validation.require` refuses it.
    """
    if responses.empty:
        raise DataError(
            "no response was accepted",
            where="01_clean",
            expected="one response or more",
            got="an empty table",
            hint="01_clean.quarantine.csv says for each row why it was set aside",
        )
    derived = expectations(instrument)
    facts = responses.reset_index(drop=True)
    lacking = non_response(facts, missing, instrument)
    ticked = {
        _ticked(item): facts[item.native_columns()].sum(axis="columns", min_count=1)
        for item in instrument.items
        if item.kind == "multi"
    }
    asked, unanswered = lacking.notna().sum().astype("int64"), lacking.eq(1).sum().astype("int64")
    # Of an item that nobody was asked there is no share, and nothing to expect of it.
    shares = ((asked - unanswered) / asked.where(asked > 0)).rename(_answered).to_frame().T
    found = _checked(derived, pd.concat([facts, pd.DataFrame(ticked)], axis="columns"), shares)
    # A share is checked as one number; what it is a share of is told with it.
    of_shares = {_answered(name): _of_those(asked[name], unanswered[name]) for name in lacking.columns}
    rows: list[dict[str, object]] = []
    failing: list[pd.DataFrame] = []
    for expectation, outcome in zip(derived, found, strict=True):
        meta = expectation["meta"]
        counts = outcome.counts | of_shares.get(expectation["kwargs"].get("column", ""), {})
        rows.append({"expectation": meta["wording"], "item": meta["item"], "severity": meta["severity"]} | counts)
        if outcome.rows and meta["severity"] == "error":
            failing.append(
                pd.DataFrame(
                    {
                        "expectation": meta["wording"],
                        "item": meta["item"],
                        "resp_id": facts[instrument.keys.respondent].iloc[outcome.rows].to_numpy(),
                        "row": [row + 1 for row in outcome.rows],
                    }
                )
            )
    kinds = {"success": "bool", "n_checked": "int64", "n_unexpected": "int64", "share": "float64"}
    none = pd.DataFrame({"expectation": [], "item": [], "resp_id": [], "row": []}, dtype="object")
    return Validation(
        results=pd.DataFrame(rows).astype(kinds),
        failing=pd.concat(failing, ignore_index=True) if failing else none,
        suite_size=len(derived),
        lacking=lacking,
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one expectation: counts, and positions of the rows that fail."""

    counts: dict[str, object]
    rows: list[int]


_Run = Callable[[Sequence[Expectation], pd.DataFrame, Mapping[str, object]], dict[int, Any]]
_COUNTS = {"result_format": "BASIC", "partial_unexpected_count": 0}
_ROWS = {"result_format": "COMPLETE", "exclude_unexpected_values": True}


def _checked(derived: Sequence[Expectation], facts: pd.DataFrame, shares: pd.DataFrame) -> list[_Outcome]:
    """Check expectations with great-expectations in memory; results in the order of `derived`.

    The engine takes a hundredth of a second for each expectation, however few the rows are. Expectations that differ in their
    column alone are therefore put to it as one, about these columns one under another; the positions of what it finds tell
    them apart. It is asked about each distinct value once: of a large study it would compare millions of cells one by one. Rows
    are asked for only where an expectation is not met that is of severity error, or one of several.
    """
    outcomes: dict[int, _Outcome] = {}
    with _quiet("great_expectations.core.expectation_suite"):
        run = _engine()
        for alike in _alike(derived, facts, shares):
            outcomes |= _together(alike, run)
        outcomes |= _one_by_one([each for each in derived if _number(each) not in outcomes], facts, run)
    return [outcomes[_number(expectation)] for expectation in derived]


def _engine() -> _Run:
    """Return the function that checks expectations about a table; it returns results by number."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx  # noqa: PLC0415 - two seconds to import, needed here only
    from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("responses").add_dataframe_asset("responses")
    whole = asset.add_batch_definition_whole_dataframe("wave")

    def run(part: Sequence[Expectation], table: pd.DataFrame, form: Mapping[str, object]) -> dict[int, Any]:
        suite = gx.ExpectationSuite(name="instrument", expectations=[dict(expectation) for expectation in part])
        _refuse_lost(part, [dict(expectation.meta or {}) for expectation in suite.expectations])
        validated: Any = whole.get_batch({"dataframe": table}).validate(suite, result_format=dict(form))
        return {result.expectation_config.meta["number"]: result for result in validated.results}

    return run


@dataclass(frozen=True, slots=True, eq=False)
class _Alike:
    """Expectations that differ in their column alone.

    Attributes
    ----------
    members : list                Expectations.
    table : pd.DataFrame          Holds their columns.
    rows : list of int arrays     For each the rows to be looked at: where each distinct value stands first, or every row.
    each : bool                   Whether every row is looked at.
    """

    members: list[Expectation]
    table: pd.DataFrame
    rows: list[npt.NDArray[np.int64]]
    each: bool


def _alike(derived: Sequence[Expectation], facts: pd.DataFrame, shares: pd.DataFrame) -> Iterator[_Alike]:
    """Yield expectations that differ in their column alone.

    What is put together has to fail row by row: in a group of several, a share of unexpected answers would be one of them all.
    A condition on rows goes with what has to be empty, where every column has as many rows.
    """
    groups: dict[tuple[bool, str, object, str], list[Expectation]] = {}
    there, of_items = set(facts.columns), set(shares.columns)
    for each in derived:
        kwargs = each["kwargs"]
        share = kwargs.get("column") in of_items
        by_row = _counts_nulls(each) or "row_condition" not in kwargs
        if "column" in kwargs and (share or (by_row and _columns(each) <= there)):
            kind = (shares if share else facts)[kwargs["column"]].dtype
            groups.setdefault((share, each["type"], kind, repr({**kwargs, "column": ""})), []).append(each)
    for (share, *_), group in groups.items():
        for found in _pieces(group, shares if share else facts):
            if share or len(found.members) > 1 or len(facts) > _MANY:
                yield found


def _pieces(group: Sequence[Expectation], table: pd.DataFrame) -> Iterator[_Alike]:
    """Divide a group so that no more than `_VALUES` values are looked at together."""
    each_row = _counts_nulls(group[0])
    members: list[Expectation] = []
    rows: list[npt.NDArray[np.int64]] = []
    held = 0
    for member in group:
        here = np.arange(len(table)) if each_row else _firsts(table[member["kwargs"]["column"]])
        if members and held + len(here) > _VALUES:
            yield _Alike(members, table, rows, each_row)
            members, rows, held = [], [], 0
        members.append(member)
        rows.append(here)
        held += len(here)
    yield _Alike(members, table, rows, each_row)


def _firsts(column: pd.Series) -> npt.NDArray[np.int64]:
    """Return where each distinct value stands first, in order."""
    return np.flatnonzero(~column.duplicated().to_numpy(dtype=bool))


def _together(alike: _Alike, run: _Run) -> dict[int, _Outcome]:
    """Check expectations that differ in their column alone as one; return nothing where that raises an error."""
    members, table = alike.members, alike.table
    columns = [each["kwargs"]["column"] for each in members]
    under = {_UNDER: _put_under(table, dict(zip(columns, alike.rows, strict=True)))}
    for column in _columns_of(members[0]["kwargs"].get("row_condition", {})):
        under[column] = pd.concat([table[column].iloc[rows] for rows in alike.rows], ignore_index=True)
    one = {**members[0], "kwargs": {**members[0]["kwargs"], "column": _UNDER}}
    for form in (_COUNTS, _ROWS):
        result = run([one], pd.DataFrame(under), form)[_number(one)]
        if _raised(result):
            return {}
        if result.success:
            break
    found = np.array(result.result.get("unexpected_index_list") or [], dtype="int64")
    ends = np.cumsum([len(rows) for rows in alike.rows])
    which = np.searchsorted(ends, found, side="right")
    nulls = int(result.result["element_count"]) // len(members) if _counts_nulls(one) else None
    outcomes: dict[int, _Outcome] = {}
    for place, (each, column, rows) in enumerate(zip(members, columns, alike.rows, strict=True)):
        wrong = rows[found[which == place] - (ends[place] - len(rows))]
        if len(wrong) and not alike.each:
            wrong = np.flatnonzero(table[column].isin(table[column].iloc[wrong]).to_numpy(dtype=bool))
        checked = int(table[column].notna().sum()) if nulls is None else nulls
        own = wrong.tolist()
        outcomes[_number(each)] = _Outcome({"success": not own} | _of_those(checked, len(own)), own)
    return outcomes


def _put_under(table: pd.DataFrame, rows: Mapping[str, npt.NDArray[np.int64]]) -> pd.Series:
    """Return columns one under another; numbers as numpy's, which the engine compares at once and others one by one."""
    parts = [table[column].iloc[here] for column, here in rows.items()]
    under = pd.concat(parts, ignore_index=True)
    return under.astype("float64") if under.dtype == "Float64" else under


def _one_by_one(alone: Sequence[Expectation], table: pd.DataFrame, run: _Run) -> dict[int, _Outcome]:
    """Check expectations each by itself; in parts, for the engine copies every column of a table once per expectation."""

    def some(part: Sequence[Expectation], form: Mapping[str, object]) -> dict[int, Any]:
        needed = {column for each in part for column in _columns(each)}
        return run(part, table[[column for column in table.columns if column in needed]], form)

    results: dict[int, Any] = {}
    for first in range(0, len(alone), _PART):
        results |= some(alone[first : first + _PART], _COUNTS)
    _refuse_unchecked(alone, results)
    for each in alone:
        if each["severity"] == _ERROR and not results[_number(each)].success:
            results |= some([each], _ROWS)
    return {_number(each): _outcome(each, results[_number(each)]) for each in alone}


def _number(expectation: Expectation) -> int:
    number: int = expectation["meta"]["number"]
    return number


def _columns(expectation: Expectation) -> set[str]:
    """Return the columns that an expectation reads."""
    kwargs = expectation["kwargs"]
    named = {kwargs["column"]} if "column" in kwargs else set(kwargs.get("column_list", ()))
    return named | _columns_of(kwargs.get("row_condition", {}))


def _columns_of(condition: Mapping[str, Any]) -> set[str]:
    named = {condition["column"]["name"]} if "column" in condition else set()
    return named.union(*(_columns_of(part) for part in condition.get("conditions", ())))


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a logger: an unknown type is logged with a traceback, where `_refuse_lost` says it in one sentence."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _refuse_lost(derived: Sequence[Expectation], kept: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a suite that has fewer expectations than were derived: great-expectations leaves unknown types out."""
    numbers = {meta.get("number") for meta in kept}
    lost = [expectation for expectation in derived if expectation["meta"]["number"] not in numbers]
    if lost or len(kept) != len(derived):
        raise DataError(
            "expectations did not reach the suite",
            where="validate.expectations",
            expected=f"{len(derived)} expectations",
            got=f"{len(kept)}; lost: {listed(sorted({str(expectation['type']) for expectation in lost}))}",
            hint="use types that the installed great-expectations has",
        )


def _refuse_unchecked(derived: Sequence[Expectation], results: Mapping[int, Any]) -> None:
    """Refuse results of which one could not be checked: that is no failure of the data, and no success."""
    unchecked = [
        expectation
        for expectation in derived
        if _number(expectation) not in results or _raised(results[_number(expectation)])
    ]
    if unchecked:
        first = unchecked[0]["meta"]
        raise DataError(
            f"{len(unchecked)} expectations could not be checked",
            where=f"01_clean, item {first['item']}",
            expected="a table with the instrument's columns and types",
            got=f"no result for: {first['wording']}",
            hint="run 01_clean again; its table does not have the columns or types that the instrument asks for",
        )


def _raised(result: Any) -> bool:  # noqa: ANN401 - the engine's
    told = result.exception_info
    if "raised_exception" in told:
        return bool(told["raised_exception"])
    return any(bool(entry.get("raised_exception")) for entry in told.values())


def _counts_nulls(expectation: Expectation) -> bool:
    """Tell whether an empty answer counts as one that was checked."""
    kind: str = expectation["type"]
    return "not_be_null" in kind or kind.endswith("_to_be_null")


def _outcome(expectation: Expectation, result: Any) -> _Outcome:  # noqa: ANN401 - the engine's
    told, success = result.result, bool(result.success)
    if "observed_value" in told:  # a count of rows: nothing is right or wrong row by row
        return _Outcome(
            {"success": success, "n_checked": int(told["observed_value"]), "n_unexpected": 0, "share": None}, []
        )
    missing = 0 if _counts_nulls(expectation) else int(told.get("missing_count", 0))
    counts = _of_those(int(told["element_count"]) - missing, int(told["unexpected_count"]))
    return _Outcome({"success": success} | counts, [int(row) for row in told.get("unexpected_index_list") or []])


def _of_those(checked: int, unexpected: int) -> dict[str, object]:
    return {
        "n_checked": checked,
        "n_unexpected": unexpected,
        "share": unexpected / checked if checked else 0.0,
    }


def data_quality(
    validation: Validation,
    flow: Mapping[str, Any],
    responses: pd.DataFrame,
    instrument: Instrument,
) -> dict[str, Any]:
    """Return the facts of the data-quality page: flow, flags, item non-response by role, and the suite.

    No answer and no id is in it. A base below `SMALLEST_BASE` is empty, with one more beside it where it could be had
    by subtraction; bases are rounded to 5, shares to whole per cent, and a share that one or two respondents make is
    given as below 5% or above 95%, further off where the base is small.
    """
    results = [
        {
            "expectation": row["expectation"],
            "item": row["item"],
            "severity": row["severity"],
            "met": row["success"],
            "checked": None if pd.isna(row["share"]) else _rounded_base(row["n_checked"]),
            "share": None if pd.isna(row["share"]) else _share(row["n_unexpected"], row["n_checked"]),
        }
        for row in validation.results.to_dict("records")
    ]
    return {
        "wave": instrument.wave,
        "flow": {name: flow[name] for name in ("delivered", "accepted", "quarantined", "by_rule", "flags", "words")},
        "files": [{"file": file["file"], "delivered": file["delivered"]} for file in flow["files"]],
        "remarks": flow["remarks"],
        "unknown_columns": list(flow["unknown_columns"]),
        "absent_columns": list(flow["absent_columns"]),
        "item_nonresponse": _nonresponse_by_role(responses, validation.lacking, instrument),
        "suite": {
            "size": validation.suite_size,
            "met": int(validation.results["success"].sum()),
            "warnings": len(validation.warnings),
            "results": results,
        },
    }


def suite_table(facts: Mapping[str, Any], *, met: bool) -> pd.DataFrame:
    """Return the expectations of the data-quality facts that are met, or those that are not: in words, with shares."""
    told = [result for result in facts["suite"]["results"] if result["met"] == met]
    table = pd.DataFrame(told, columns=["expectation", "item", "severity", "checked", "share"], dtype="object")
    return table.fillna("").set_index("expectation")


def non_response_table(facts: Mapping[str, Any], instrument: Instrument, *, at_least: float = 0.05) -> pd.DataFrame:
    """Return item non-response of the data-quality facts: one row per item, one column for all and one per role.

    Items that no group left out more often than `at_least` are not in it.
    """
    told = pd.DataFrame(facts["item_nonresponse"])
    roles = ["", *(instrument.role_ids if instrument.keys.role else [])]
    shown = told["share"].fillna("<0%")
    left_out = shown.str.startswith(">") | (shown.str.strip("<>%").astype("int64") >= 100 * at_least)
    often = told.loc[left_out & ~shown.str.startswith("<"), "item"]
    told = told[told["item"].isin(often)]
    labels = dict(zip(told["item"], told["label"], strict=True))
    table = told.pivot_table(index="item", columns="role", values="share", aggfunc="first").reindex(
        list(labels), columns=roles
    )
    return table.rename(index=labels, columns={"": "all"}).rename_axis(columns="").astype("object").fillna("")


def _nonresponse_by_role(
    responses: pd.DataFrame, lacking: pd.DataFrame, instrument: Instrument
) -> list[dict[str, object]]:
    roles = instrument.role_ids if instrument.keys.role else []
    role = pd.Categorical(responses[instrument.keys.role], categories=roles).codes if instrument.keys.role else None
    facts: list[dict[str, object]] = []
    for name in lacking.columns:
        item = instrument.item(name)
        left_out = lacking[name].to_numpy(dtype="int8", na_value=-1)
        asked, empty = left_out >= 0, left_out == 1
        cells = [("", int(asked.sum()), int(empty.sum()))]
        if role is not None:
            # One more place, for who has no role: nobody's.
            bases, unanswered = (
                np.bincount(role[of] + 1, minlength=len(roles) + 1)[1:].tolist() for of in (asked, empty)
            )
            hidden = _hidden(bases)
            cells += [
                (r, 0 if hide else base, n) for r, base, n, hide in zip(roles, bases, unanswered, hidden, strict=True)
            ]
        facts += [
            {
                "item": name,
                "label": item.label,
                "role": cell_role,
                "base": _rounded_base(base),
                "share": _share(unanswered, base),
            }
            for cell_role, base, unanswered in cells
        ]
    return facts


def _hidden(bases: Sequence[int]) -> list[bool]:
    """Tell which bases of a breakdown are hidden: the small ones, and the next where they are alone with the total."""
    hidden = [0 < base < SMALLEST_BASE for base in bases]
    shown = sorted((base, place) for place, base in enumerate(bases) if base >= SMALLEST_BASE)
    if 0 < sum(base for base, hide in zip(bases, hidden, strict=True) if hide) < SMALLEST_BASE and shown:
        hidden[shown[0][1]] = True
    return hidden


def _rounded_base(base: int) -> int | None:
    return None if base < SMALLEST_BASE else int(5 * round(base / 5))


def _share(count: int, base: int) -> str | None:
    """Return a share as it may be shown: whole per cent, never what one or two respondents did.

    Those are given as below a bound that is true of three as well, from the rounded base: 5%, or more where the base is
    small.

    >>> _share(30, 120), _share(2, 120), _share(119, 120), _share(2, 18), _share(1, 9)
    ('25%', '<5%', '>95%', '<15%', None)
    """
    rounded = _rounded_base(base)
    if rounded is None:
        return None
    bound = max(5, math.ceil(300 / rounded))
    if 0 < count <= 2:
        return f"<{bound}%"
    if 0 < base - count <= 2:
        return f">{100 - bound}%"
    return f"{count / base:.0%}"
