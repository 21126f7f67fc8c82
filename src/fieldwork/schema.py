"""Column contracts of the tables that pass between chapters and out to readers.

One `Table` per contract: its columns in order, each with a type and the sentence that the data dictionary prints. A frame
enters or leaves a chapter through `conform`, which refuses a missing, unknown or mistyped column by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from fieldwork.errors import DataError, listed

__all__ = [
    "BASES",
    "ESTIMATES",
    "ESTIMATE_KEY",
    "QUARANTINE",
    "RELEASED",
    "STATUSES",
    "WEIGHTS",
    "Column",
    "Table",
    "conform",
    "frame",
    "tuples_of",
]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name, pandas type and meaning.

    Attributes
    ----------
    name : str         Column name, stable.
    dtype : str        `string`, `Float64`, `Int64` or `boolean` (pandas nullable types).
    meaning : str      One sentence for the data dictionary.
    """

    name: str
    dtype: Literal["string", "Float64", "Int64", "boolean"]
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """A named column contract.

    Attributes
    ----------
    name : str                   What the table is called in messages.
    columns : tuple of Column    In the order in which they are stored.
    """

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]


STATUSES = ("ok", "flagged", "suppressed", "not_assessable")

ESTIMATES = Table(
    "estimates",
    (
        Column("wave", "string", "wave of the fieldwork"),
        Column("chapter", "string", "chapter that made the row"),
        Column("construct", "string", "construct the statistic belongs to"),
        Column("measure", "string", "item or derived measure that was asked"),
        Column("statistic", "string", "what was estimated"),
        Column("unit", "string", "scale_point, proportion, ratio, log_ratio, rank, index"),
        Column("role", "string", "role it speaks of; empty: all"),
        Column("role_2", "string", "second role of a pair; empty: none"),
        Column("stage", "string", "stage it speaks of; empty: all"),
        Column("segment", "string", "segment it speaks of; empty: all"),
        Column("item", "string", "answer option it speaks of; empty: all"),
        Column("estimate", "Float64", "point estimate"),
        Column("std_error", "Float64", "standard error"),
        Column("conf_low", "Float64", "lower end of the interval; empty: open below, or none is given"),
        Column("conf_high", "Float64", "upper end of the interval; empty: open above, or none is given"),
        Column("conf_level", "Float64", "level of the interval"),
        Column("p_value", "Float64", "p-value of the claim's one-sided test against its margin, where one was made"),
        Column("p_adjusted", "Float64", "p-value adjusted for the family of tests"),
        Column("adjustment", "string", "method of adjustment"),
        Column("n", "Int64", "respondents in the base"),
        Column("n_organisations", "Int64", "organisations in the base; empty: the survey names none"),
        Column("n_effective", "Float64", "effective number of respondents, n / design effect"),
        Column("method", "string", "how the interval was made"),
        Column("replicates", "Int64", "replicates behind the interval"),
        Column("seed", "Int64", "root seed"),
        Column("status", "string", "ok, flagged, suppressed, not_assessable"),
        Column("reason", "string", "why the row is not simply ok"),
    ),
)

BASES = Table(
    "bases",
    (
        *(
            column
            for column in ESTIMATES.columns
            if column.name in {"construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item"}
        ),
        Column("smallest_n", "Int64", "respondents in the thinnest group behind the row"),
        Column("smallest_organisations", "Int64", "organisations in the thinnest group"),
        Column("hits", "Int64", "respondents who gave the answer, of a share"),
        Column("alike", "boolean", "all respondents gave one answer"),
        Column(
            "adds_up", "string", "names, apart by ;, of the sets of shares adding to one that the row is a member of"
        ),
        Column(
            "tells",
            "string",
            "shares, apart by ; and each as measure|segment|item, that could be worked out from the row",
        ),
        Column("cell", "string", "answer, as item of answer_share, whose share among the same people the row is"),
        Column("largest_share", "Float64", "share of the weight that the largest organisation carries"),
        Column("two_largest_share", "Float64", "share of the weight that the two largest organisations carry"),
        Column("largest_weight", "Float64", "largest weight of one respondent behind the row, over the median of them"),
    ),
)

RELEASED = Table(
    "released",
    (
        *(
            column
            for column in ESTIMATES.columns
            if column.name
            in {"wave", "construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item"}
        ),
        Column("n", "Int64", "exact base of the row when it was released"),
        Column("shown", "boolean", "whether the release showed the row; else it held it back"),
        Column("release", "string", "digest of the published estimates that were released, twelve digits of SHA-256"),
    ),
)

MULTIVERSE = Table(
    "multiverse",
    (
        Column("wave", "string", "wave of the fieldwork"),
        Column("claim", "string", "claim of the register"),
        Column("specification", "Int64", "number of the specification; 1 is the main analysis"),
        Column("main", "boolean", "the main analysis"),
        Column("weights", "string", "raked, none"),
        Column("lens", "string", "cell_table, mixed_model"),
        Column("exclusions", "string", "set_aside, kept: rows that a rule of quality excludes"),
        Column("stage", "string", "own_function, organisation: which stage of adoption is meant"),
        Column("missing", "string", "available, complete, imputed: what is done about missing answers"),
        Column("margin", "Float64", "margin of the claim's range"),
        Column("registered_margin", "boolean", "the margin that was registered"),
        Column("part", "string", "part of the claim whose numbers are shown"),
        Column("unit", "string", "unit of the part"),
        Column("part_margin", "Float64", "registered margin of the part"),
        Column("direction", "string", "claimed side of the margin: above, below"),
        Column("estimate", "Float64", "point estimate of the part"),
        Column("conf_low", "Float64", "lower end of its interval; empty: open below, or held back"),
        Column("conf_high", "Float64", "upper end of its interval; empty: open above, or held back"),
        Column("conf_level", "Float64", "level of the interval"),
        Column("n", "Int64", "respondents in the base"),
        Column("n_organisations", "Int64", "organisations in the base"),
        Column(
            "verdict", "string", "verdict of the whole claim: supported, contradicted, inconclusive, not_assessable"
        ),
        Column("status", "string", "ok, suppressed: whether the numbers are shown"),
        Column("reason", "string", "why numbers are not shown, or the claim is not assessable"),
    ),
)

ESTIMATE_KEY = ("wave", "construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item")

WEIGHTS = Table(
    "weights",
    (
        Column("resp_id", "string", "respondent"),
        Column("weight", "Float64", "raked weight, mean 1"),
    ),
)

QUARANTINE = Table(
    "quarantine",
    (
        Column("file", "string", "delivered file"),
        Column("row", "Int64", "line of the file as a spreadsheet counts it, header = 1"),
        Column("resp_id", "string", "respondent as delivered"),
        Column("column", "string", "column at fault"),
        Column("value", "string", "value as delivered"),
        Column("rule", "string", "rule that was broken"),
        Column("mend", "string", "what the sender can do"),
    ),
)


def conform(data: pd.DataFrame, table: Table, *, where: str = "") -> pd.DataFrame:
    """Return `data` with exactly the table's columns, in order and in type; refuse anything else.

    Raises DataError naming the missing, unknown or mistyped columns.

    >>> conform(pd.DataFrame({"resp_id": ["a"], "weight": [1]}), WEIGHTS).dtypes.astype(str).to_dict()
    {'resp_id': 'string', 'weight': 'Float64'}
    """
    missing = [name for name in table.names if name not in data.columns]
    unknown = [str(name) for name in data.columns if name not in table.names]
    if missing or unknown:
        raise DataError(
            f"the {table.name} table does not have the columns of its contract",
            where=where or f"schema.{table.name.upper()}",
            expected=listed(table.names, limit=40),
            got="; ".join(
                part
                for part in (
                    f"missing {listed(missing)}" if missing else "",
                    f"unknown {listed(unknown)}" if unknown else "",
                )
                if part
            ),
            hint="a table between chapters carries these columns and no others; see the data dictionary",
        )
    columns: dict[str, pd.Series] = {}
    for column in table.columns:
        given = data[column.name]
        try:
            columns[column.name] = given if str(given.dtype) == column.dtype else given.astype(column.dtype)
        except (TypeError, ValueError) as error:
            raise _mistyped(column, table, str(given.dtype), error, where) from error
    return pd.DataFrame(columns, index=data.index).reset_index(drop=True)


def frame(rows: Sequence[Mapping[str, Any]], table: Table) -> pd.DataFrame:
    """Build a table from records; fields not given are empty ('' for text, missing for numbers).

    >>> frame([{"statistic": "role_mean", "estimate": 3.5}], ESTIMATES)["estimate"].tolist()
    [3.5]
    """
    known = set(table.names)
    for row in rows:
        if not known.issuperset(row):
            raise DataError(
                f"a record has fields that the {table.name} table lacks",
                where=f"schema.{table.name.upper()}",
                expected=listed(table.names, limit=40),
                got=listed(sorted(set(row) - known)),
                hint="use the contract's column names",
            )
    columns = {}
    for column in table.columns:
        empty: Any = "" if column.dtype == "string" else pd.NA
        given = [row.get(column.name, empty) for row in rows]
        try:
            # Typed at once: to let pandas guess a type for each column first takes four times as long.
            columns[column.name] = pd.array(given, dtype=column.dtype)
        except (TypeError, ValueError) as error:
            raise _mistyped(column, table, type(error).__name__, error) from error
    return pd.DataFrame(columns)


def tuples_of(data: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return the rows of a table as tuples; of columns of text, `itertuples` takes fifteen times as long.

    >>> tuples_of(pd.DataFrame({"role": ["CEO", "CFO"], "n": [12, 30]}))
    [('CEO', 12), ('CFO', 30)]
    """
    return list(zip(*(data[name].tolist() for name in data.columns), strict=True))


def _mistyped(column: Column, table: Table, got: str, error: Exception, where: str = "") -> DataError:
    return DataError(
        f"column {column.name} of the {table.name} table is not {column.dtype}",
        where=where or f"schema.{table.name.upper()}",
        expected=column.dtype,
        got=f"{got}: {error}",
        hint="make the column the type of its contract before it is saved",
    )
