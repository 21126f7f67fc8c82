"""From pieces with their faults to tables: what is set aside, what is kept, and both in an order that no delivery can change.

Accepted rows leave each piece sorted and wait in a spool; the keys by which they are sorted stay in memory, and the tables are
put together part by part from the pieces' own order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fieldwork.clean.flow import Counts
from fieldwork.intake import ROWS, SETS_ASIDE, shown
from fieldwork.intake.spool import Packing, Spool
from fieldwork.schema import QUARANTINE, conform

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.intake import Answers

__all__ = ["Table", "Taker", "divide", "set_aside"]

_BLOCK = 500  # rows of a sorted run that are fetched at a time

Table = Literal["responses", "missing", "excluded", "excluded_missing", "quarantine", "unknown_columns"]


class Taker(Protocol):
    """Takes the parts of the tables, in order; every table has at least one part."""

    def __call__(self, table: Table, part: pd.DataFrame, /) -> None:
        """Take one part of one table."""


def divide(
    answers: Answers, instrument: Instrument, take: Taker, *, rows: int = ROWS, folder: Path | None = None
) -> Counts:
    """Divide the pieces into rows kept and rows set aside, hand on the tables part by part, and count.

    A row is set aside under the first rule, by precedence, of those that set aside; remarks are counted once a row and rule.
    Rows that only declared rules of quality set aside are handed on as well, for whoever asks what they would change.
    """
    counts = Counts(0, Counter(), Counter(), Counter())
    severity = {name: rule.severity for name, rule in answers.rules.items()}
    declared = [rule.name for rule in instrument.quality]
    keys = instrument.keys
    with Spool(folder) as spool:
        runs, excluded = (_Runs([key for key in (keys.organisation, keys.respondent) if key], spool) for _ in range(2))
        for piece in answers.settled():
            delivered = piece.rows.assign(file=piece.file)
            kind = piece.faults["rule"].map(severity)
            errors = piece.faults[kind.isin(SETS_ASIDE)]
            lines = set_aside(delivered, errors)
            take("quarantine", lines)
            unknown = piece.unknown.assign(file=piece.file)[["file", "row", "resp_id", "column", "value"]]
            take("unknown_columns", unknown.sort_values("row", kind="stable").reset_index(drop=True))
            faultless = piece.coded.index.difference(pd.Index(errors["place"][~errors["rule"].isin(declared)].unique()))
            kept = faultless.difference(pd.Index(errors["place"].unique()))
            others = faultless.difference(kept)
            noted = piece.faults[(kind == "warning") & piece.faults["place"].isin(kept)].drop_duplicates(
                ["place", "rule"]
            )
            counts.by_rule.update(map(str, lines["rule"]))
            counts.flags.update(map(str, noted["rule"]))
            counts.accepted += len(kept)
            runs.add(piece.coded.loc[kept], piece.reasons.loc[kept])
            excluded.add(piece.coded.loc[others], piece.reasons.loc[others])
        for values, reasons in runs.parts(rows):
            take("responses", values.reset_index(drop=True))
            missing = _missing(reasons, values[keys.respondent])
            counts.reasons.update({str(r): int(n) for r, n in missing["reason"].value_counts().items() if n})
            take("missing", missing)
        for values, reasons in excluded.parts(rows):
            take("excluded", values.reset_index(drop=True))
            take("excluded_missing", _missing(reasons, values[keys.respondent]))
    return counts


class _Runs:
    """Rows by piece, each piece sorted; given back as one table in order, part by part."""

    def __init__(self, by: list[str], spool: Spool) -> None:
        self.by, self.spool = by, spool
        self.packing: Packing | None = None
        self.starts: list[int] = [0]
        self.blocks: list[list[int]] = []
        self.keys: list[pa.Table] = []
        self._last: dict[int, tuple[int, pa.Table]] = {}

    def add(self, coded: pd.DataFrame, reasons: pd.DataFrame) -> None:
        self.packing = self.packing or Packing.of(coded, reasons)
        order = self._order(self._key(coded))
        coded, reasons = coded.iloc[order], reasons.iloc[order]
        table = self.packing.table(coded, reasons)
        self.keys.append(self._key(coded))
        blocks = range(0, max(len(coded), 1), _BLOCK)
        self.blocks.append([self.spool.put(table.slice(start, _BLOCK)) for start in blocks])
        self.starts.append(self.starts[-1] + len(coded))

    def _key(self, coded: pd.DataFrame) -> pa.Table:
        return pa.table(
            [pa.array(coded[name].astype("string").array, pa.large_string()) for name in self.by], names=self.by
        )

    def _order(self, keys: pa.Table) -> npt.NDArray[np.int64]:
        """Return the order by organisation and respondent, so that the order of delivery never reaches a result."""
        order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in self.by])
        return np.asarray(order.to_numpy().astype(np.int64))

    def parts(self, rows: int) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Give answers and reasons in order, `rows` rows at a time."""
        assert self.packing is not None  # noqa: S101 - every delivery has a piece
        order = self._order(pa.concat_tables(self.keys))
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
