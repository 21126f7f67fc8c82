"""From pieces with their faults to tables: what is set aside, what is kept, and both in an order that no delivery can change.

Accepted rows leave each piece sorted and wait in a spool; the keys by which they are sorted stay in memory, and the tables are
put together part by part from the pieces' own order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fieldwork.beside import Hands
from fieldwork.clean.flow import Counts
from fieldwork.intake import ROWS, SETS_ASIDE, shown
from fieldwork.intake.spool import Packing, Spool, written
from fieldwork.schema import QUARANTINE, conform

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.intake import Answers, Waiting

__all__ = ["Table", "Taker", "divide", "set_aside"]

_BLOCK = 500  # rows of a sorted run that are fetched at a time

Table = Literal["responses", "missing", "excluded", "excluded_missing", "quarantine", "unknown_columns"]


class Taker(Protocol):
    """Takes the parts of the tables, in order; every table has at least one part."""

    def __call__(self, table: Table, part: pd.DataFrame, /) -> None:
        """Take one part of one table."""


def divide(
    answers: Answers,
    instrument: Instrument,
    take: Taker,
    *,
    rows: int = ROWS,
    folder: Path | None = None,
    hands: Hands | None = None,
) -> Counts:
    """Divide the pieces into rows kept and rows set aside, hand on the tables part by part, and count.

    A row is set aside under the first rule, by precedence, of those that set aside; remarks are counted once a row and rule.
    Rows that only declared rules of quality set aside are handed on as well, for whoever asks what they would change.
    """
    hands = hands or Hands(others=0)
    counts = Counts(0, Counter(), Counter(), Counter())
    keys = instrument.keys
    terms = _Terms(
        severity={name: rule.severity for name, rule in answers.rules.items()},
        declared=tuple(rule.name for rule in instrument.quality),
        by=tuple(key for key in (keys.organisation, keys.respondent) if key),
        block=_BLOCK,
    )
    with Spool(folder) as spool:
        runs, excluded = _Runs(terms.by, spool), _Runs(terms.by, spool)
        for divided in hands.in_order(_divided, ((waiting, terms) for waiting in answers.waiting())):
            take("quarantine", divided.aside)
            take("unknown_columns", divided.unknown)
            counts.by_rule.update(map(str, divided.aside["rule"]))
            counts.flags.update(divided.flags)
            counts.accepted += divided.kept.rows
            runs.add(divided.kept)
            excluded.add(divided.excluded)
        for values, reasons in runs.parts(rows):
            take("responses", values.reset_index(drop=True))
            missing = _missing(reasons, values[keys.respondent])
            counts.reasons.update({str(r): int(n) for r, n in missing["reason"].value_counts().items() if n})
            take("missing", missing)
        for values, reasons in excluded.parts(rows):
            take("excluded", values.reset_index(drop=True))
            take("excluded_missing", _missing(reasons, values[keys.respondent]))
    return counts


@dataclass(frozen=True, slots=True)
class _Terms:
    """On what terms a piece is divided: severity of rules, declared rules of quality, what rows are sorted by, rows a block."""

    severity: Mapping[str, str]
    declared: tuple[str, ...]
    by: tuple[str, ...]
    block: int


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Rows of a piece in order: how they are packed, their keys, and blocks of them, written as a spool keeps them."""

    rows: int
    packing: Packing
    keys: pa.Table
    blocks: list[pa.Buffer]


@dataclass(frozen=True, slots=True, eq=False)
class _Divided:
    """A piece that was divided: lines of rows set aside, cells of unknown columns, remarks by rule, and what is kept."""

    aside: pd.DataFrame
    unknown: pd.DataFrame
    flags: Counter[str]
    kept: _Run
    excluded: _Run


def _divided(order: tuple[Waiting, _Terms]) -> _Divided:
    piece, terms = order[0].piece(), order[1]
    kind = piece.faults["rule"].map(terms.severity)
    errors = piece.faults[kind.isin(SETS_ASIDE)]
    unknown = piece.unknown.assign(file=piece.file)[["file", "row", "resp_id", "column", "value"]]
    faultless = piece.coded.index.difference(pd.Index(errors["place"][~errors["rule"].isin(terms.declared)].unique()))
    kept = faultless.difference(pd.Index(errors["place"].unique()))
    others = faultless.difference(kept)
    noted = piece.faults[(kind == "warning") & piece.faults["place"].isin(kept)].drop_duplicates(["place", "rule"])
    return _Divided(
        aside=set_aside(piece.rows.assign(file=piece.file), errors),
        unknown=unknown.sort_values("row", kind="stable").reset_index(drop=True),
        flags=Counter(map(str, noted["rule"])),
        kept=_run(piece.coded.loc[kept], piece.reasons.loc[kept], terms),
        excluded=_run(piece.coded.loc[others], piece.reasons.loc[others], terms),
    )


def _run(coded: pd.DataFrame, reasons: pd.DataFrame, terms: _Terms) -> _Run:
    packing = Packing.of(coded, reasons)
    order = _in_order(_keys(coded, terms.by), terms.by)
    coded, reasons = coded.iloc[order], reasons.iloc[order]
    table = packing.table(coded, reasons)
    blocks = [written(table.slice(start, terms.block)) for start in range(0, max(len(coded), 1), terms.block)]
    return _Run(len(coded), packing, _keys(coded, terms.by), blocks)


def _keys(coded: pd.DataFrame, by: Sequence[str]) -> pa.Table:
    return pa.table([pa.array(coded[name].astype("string").array, pa.large_string()) for name in by], names=list(by))


def _in_order(keys: pa.Table, by: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the order by organisation and respondent, so that the order of delivery never reaches a result."""
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in by])
    return np.asarray(order.to_numpy().astype(np.int64))


class _Runs:
    """Rows by piece, each piece sorted; given back as one table in order, part by part."""

    def __init__(self, by: Sequence[str], spool: Spool) -> None:
        self.by, self.spool = by, spool
        self.packing: Packing | None = None
        self.starts: list[int] = [0]
        self.blocks: list[list[int]] = []
        self.keys: list[pa.Table] = []
        self._last: dict[int, tuple[int, pa.Table]] = {}

    def add(self, run: _Run) -> None:
        self.packing = self.packing or run.packing
        self.keys.append(run.keys)
        self.blocks.append([self.spool.put_written(block) for block in run.blocks])
        self.starts.append(self.starts[-1] + run.rows)

    def parts(self, rows: int) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Give answers and reasons in order, `rows` rows at a time."""
        assert self.packing is not None  # noqa: S101 - every delivery has a piece
        order = _in_order(pa.concat_tables(self.keys), self.by)
        self.keys.clear()
        for start in range(0, max(len(order), 1), rows):
            yield self.packing.frames(self._gathered(order[start : start + rows]))

    def _gathered(self, wanted: npt.NDArray[np.int64]) -> pa.Table:
        """Return rows by their number among all; those of one run stand side by side in it, for it is in order itself."""
        run = np.searchsorted(self.starts, wanted, side="right") - 1
        tables, place, before = (
            [self.spool.get(self.blocks[0][0]).slice(0, 0)],
            np.empty(len(wanted), dtype=np.int64),
            0,
        )
        for number in np.unique(run):
            mine = run == number
            at = wanted[mine] - self.starts[number]
            low, high = int(at.min()), int(at.max()) + 1
            tables.append(self._slice(int(number), low, high))
            place[mine] = before + at - low
            before += high - low
        return pa.concat_tables(tables).take(pa.array(place))

    def _slice(self, run: int, low: int, high: int) -> pa.Table:
        parts = [self._block(run, block) for block in range(low // _BLOCK, (high - 1) // _BLOCK + 1)]
        return pa.concat_tables(parts).slice(low % _BLOCK, high - low)

    def _block(self, run: int, block: int) -> pa.Table:
        if self._last.get(run, (-1, None))[0] != block:
            self._last[run] = (block, self.spool.get(self.blocks[run][block]))
        return self._last[run][1]


def set_aside(rows: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """Return one line per row set aside: the first fault by precedence, the others beside it in `mend`."""
    first = errors.drop_duplicates("place")
    mend = first.set_index("place")["mend"].copy()
    further = errors[errors.duplicated("place")]
    if len(further):
        told = (
            further["rule"]
            + " in "
            + further["column"]
            + " ('"
            + further["value"].map(shown)
            + "'): "
            + further["mend"]
        )
        more = told.groupby(further["place"]).agg("; ".join)
        mend.loc[more.index] = mend.loc[more.index] + "; further: " + more
    at = rows.loc[first["place"]]
    lines = pd.DataFrame(
        {
            "file": at["file"].to_numpy(),
            "row": at["row"].to_numpy(),
            "resp_id": at["resp_id"].to_numpy(),
            "column": first["column"].to_numpy(),
            "value": first["value"].to_numpy(),
            "rule": first["rule"].to_numpy(),
            "mend": mend.loc[first["place"]].to_numpy(),
        }
    )
    ordered = lines.sort_values(["file", "row"], kind="stable")
    return conform(_safe(ordered), QUARANTINE, where="clean.quarantine")


def _safe(lines: pd.DataFrame) -> pd.DataFrame:
    """Return delivered texts as one safe line each; what a spreadsheet would run is guarded where files are saved."""
    out = lines.copy()
    for name in out.columns.difference(["row", "rule"]):
        limit = 2_000 if name == "mend" else 80
        texts = out[name].astype("str")
        known = {text: shown(text, limit=limit) for text in texts.unique()}
        out[name] = texts.map(known).astype("string")
    return out


def _missing(reasons: pd.DataFrame, respondents: pd.Series) -> pd.DataFrame:
    """List every item without an answer, by respondent in the order of the responses, then by item."""
    absent = reasons.notna().to_numpy()
    row, item = np.nonzero(absent)
    kind = reasons.dtypes.iloc[0] if len(reasons.columns) else pd.CategoricalDtype([])
    codes = np.column_stack([reasons[name].cat.codes for name in reasons.columns])[row, item]
    return pd.DataFrame(
        {
            "resp_id": respondents.array.take(row),
            "item": pd.Categorical.from_codes(item, categories=reasons.columns),
            "reason": pd.Categorical.from_codes(codes, dtype=kind),
        }
    )
