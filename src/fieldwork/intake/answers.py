"""Deliveries of one wave, read as answers to the instrument piece by piece, and everything that is wrong with them.

A piece is read row by row and waits in a spool, its digests stay here; once all are there, rows are held against one another
and the pieces are given out with their faults. So memory depends on the size of a piece, and on some 40 bytes of each row.
Nothing is set aside here: `clean` decides from the list of faults, `check_files` prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from fieldwork.intake.across import Across, Notes
from fieldwork.intake.faults import NO_FAULTS
from fieldwork.intake.problems import rules_of
from fieldwork.intake.pseudonyms import without_ids
from fieldwork.intake.rows import Piece, read_piece
from fieldwork.intake.spool import Packing, Spool, read_written, written

if TYPE_CHECKING:
    from fieldwork.beside import Hands
    from fieldwork.instrument import Instrument
    from fieldwork.intake.delivery import Delivery

__all__ = ["Answers", "Tally", "Waiting", "read_answers"]

_TALLIED = ("other_wave", "date_unreadable")  # rules that may stop a delivery as a whole


@dataclass(slots=True)
class Tally:
    """Faults of one rule in one column of a file: how many, and the first of them.

    Attributes
    ----------
    count : int               Rows.
    row : int                 Line of the first.
    value, mend : str         Of the first.
    """

    count: int
    row: int
    value: str
    mend: str


@dataclass(frozen=True, slots=True)
class _Kept:
    """A piece in the spool: numbers of its tables, its first place, its rows."""

    file: str
    first: int
    rows: int
    numbers: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """A piece of a delivery to be read; its rows' places count on from `first`."""

    delivery: Delivery
    first: int
    instrument: Instrument
    key: bytes | None


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A piece that was read: what stays of it in memory, and its tables, written as a spool keeps them."""

    file: str
    first: int
    rows: int
    corrects: bool
    called: Mapping[str, str]
    coded: int
    notes: Notes
    tallies: Mapping[tuple[str, str, str], Tally]
    packing: Packing
    tables: tuple[pa.Buffer, pa.Buffer, pa.Buffer, pa.Buffer]


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A piece as it was kept, and its faults of rows held against one another.

    Attributes
    ----------
    file, first, rows         Delivered file, the place of its first row, its rows.
    packing : Packing         How its answers are packed.
    tables : tuple            Answers, rows, faults and cells of unknown columns, written as a spool keeps them.
    across : pd.DataFrame     Faults of rows held against one another.
    order : dict              Rule -> precedence.
    """

    file: str
    first: int
    rows: int
    packing: Packing
    tables: tuple[pa.Buffer, ...]
    across: pd.DataFrame = field(default_factory=lambda: NO_FAULTS)
    order: Mapping[str, int] = field(default_factory=dict)

    def piece(self) -> Piece:
        """Return the piece; its faults are complete, by place and precedence of rules, where `order` is given."""
        answers, rows, faults, unknown = map(read_written, self.tables)
        coded, reasons = self.packing.frames(answers)
        return Piece(
            self.file,
            _frame(rows).set_axis(pd.RangeIndex(self.first, self.first + self.rows), axis="index"),
            coded,
            reasons,
            self._settled(_frame(faults)) if self.order else _frame(faults),
            _frame(unknown),
            np.zeros(0, dtype=np.uint64),
        )

    def _settled(self, own: pd.DataFrame) -> pd.DataFrame:
        gone = self.across.loc[self.across["rule"] == "superseded", "place"]
        # What is replaced has nothing else to mend.
        faults = pd.concat([own[~own["place"].isin(gone)], self.across], ignore_index=True)
        rank = faults["rule"].map(self.order).to_numpy(dtype="int64")
        by_precedence = np.lexsort((np.arange(len(faults)), rank, faults["place"].to_numpy(dtype="int64")))
        return faults.iloc[by_precedence].reset_index(drop=True)


class Answers:
    """What is delivered, read: first every piece is added, then `settled` gives the pieces with all their faults.

    Parameters
    ----------
    key : bytes or None       Key of pseudonyms: every id is replaced by its keyed hash before it waits anywhere.
    folder : Path or None     Where what waits lies on the disk, in a file without a name.

    Attributes
    ----------
    rules : dict              Rule by name, in order of precedence.
    delivered : int           Rows added.
    read : dict               Rows of each file that are of the wave and could be read.
    tallies : dict            (file, rule, column) -> Tally, of rules that may stop a delivery.
    """

    def __init__(self, instrument: Instrument, *, key: bytes | None = None, folder: Path | None = None) -> None:
        self.instrument, self.key = instrument, key
        self.rules = rules_of(instrument)
        self.delivered = 0
        self.read: dict[str, int] = {}
        self.tallies: dict[tuple[str, str, str], Tally] = {}
        self._spool = Spool(folder)
        self._across = Across(instrument)
        self._kept: list[_Kept] = []
        self._packing: Packing | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.__exit__()

    def add(self, delivery: Delivery) -> None:
        """Read a piece of a delivery and put it by; the pieces of a file come one after another."""
        self._keep(_read(self._order(delivery)))

    def add_all(self, deliveries: Iterable[Delivery], hands: Hands) -> None:
        """Read pieces as they come and put them by; `hands` read several at a time."""
        for read in hands.in_order(_read, map(self._order, deliveries)):
            self._keep(read)

    def _order(self, delivery: Delivery) -> _Order:
        order = _Order(delivery, self.delivered, self.instrument, self.key)
        self.delivered += delivery.delivered
        return order

    def _keep(self, read: _Read) -> None:
        self.read[read.file] = self.read.get(read.file, 0) + read.coded
        for name, tally in read.tallies.items():
            if name in self.tallies:
                self.tallies[name].count += tally.count
            else:
                self.tallies[name] = tally
        self._across.keep(read.notes, read.file, corrects=read.corrects, called=read.called)
        self._packing = self._packing or read.packing
        numbers = tuple(self._spool.put_written(table) for table in read.tables)
        self._kept.append(_Kept(read.file, read.first, read.rows, numbers))  # type: ignore[arg-type]

    def settled(self) -> Iterator[Piece]:
        """Give every piece by name of file and line, its faults complete, by place and precedence of rules."""
        return (waiting.piece() for waiting in self.waiting())

    def waiting(self) -> Iterator[Waiting]:
        """Give every piece as `settled` does, each as it was kept: another process may make it a piece."""
        if not self._kept:
            return
        across = self._across.faults(self._holding)
        order = {name: place for place, name in enumerate(self.rules)}
        for kept in sorted(self._kept, key=lambda each: (each.file, each.first)):
            yield replace(self._waiting(kept), across=across.of(kept.first, kept.rows), order=order)

    def _waiting(self, kept: _Kept) -> Waiting:
        assert self._packing is not None  # noqa: S101 - a piece was added
        tables = tuple(self._spool.get_written(number) for number in kept.numbers)
        return Waiting(kept.file, kept.first, kept.rows, self._packing, tables)

    def _holding(self, places: npt.NDArray[np.int64]) -> Iterator[Piece]:
        """Give the pieces that hold some places, with these rows alone."""
        wanted = np.sort(places)
        for kept in self._kept:
            here = wanted[np.searchsorted(wanted, kept.first) : np.searchsorted(wanted, kept.first + kept.rows)]
            if len(here):
                piece = self._waiting(kept).piece()
                yield replace(
                    piece, rows=piece.rows.loc[here], coded=piece.coded.loc[here], reasons=piece.reasons.loc[here],
                    faults=piece.faults[piece.faults["place"].isin(here)],
                )  # fmt: skip


def _read(order: _Order) -> _Read:
    """Read a piece row by row; what comes of it depends on nothing else."""
    delivery, instrument = order.delivery, order.instrument
    piece = read_piece(delivery, instrument, order.first)
    if order.key is not None:
        piece = without_ids(piece, instrument, order.key, delivery.called)
    packing = Packing.of(piece.coded, piece.reasons)
    answers = packing.table(piece.coded, piece.reasons)
    return _Read(
        file=piece.file,
        first=order.first,
        rows=len(piece.rows),
        corrects=delivery.corrects,
        called=delivery.called,
        coded=len(piece.coded),
        notes=Across(instrument).noted(piece),
        tallies=_tallied(piece),
        packing=packing,
        tables=(
            written(answers), written(_table(piece.rows)), written(_table(piece.faults)), written(_table(piece.unknown)),
        ),
    )  # fmt: skip


def _tallied(piece: Piece) -> dict[tuple[str, str, str], Tally]:
    tallies: dict[tuple[str, str, str], Tally] = {}
    for fault in piece.faults[piece.faults["rule"].isin(_TALLIED)].itertuples():
        name = (piece.file, str(fault.rule), str(fault.column))
        if name in tallies:
            tallies[name].count += 1
        else:
            row = int(piece.rows["row"].loc[int(str(fault.place))])
            tallies[name] = Tally(1, row, str(fault.value), str(fault.mend))
    return tallies


def _table(frame: pd.DataFrame) -> pa.Table:
    """Return a frame of whole numbers and texts as a table; the index is not kept."""
    arrays = [
        pa.array(frame[name].to_numpy(dtype="int64"))
        if name in {"place", "row"}
        else pa.array(frame[name].astype("str").array, pa.large_string()).dictionary_encode()
        for name in frame.columns
    ]
    return pa.table(arrays, names=list(frame.columns))


def _frame(table: pa.Table) -> pd.DataFrame:
    columns = {
        name: table[name].to_numpy()
        if pa.types.is_integer(table[name].type)
        else pd.array(table[name].combine_chunks().cast(pa.large_string()), dtype="str")
        for name in table.column_names
    }
    return pd.DataFrame(columns)


def read_answers(
    deliveries: Iterable[Delivery], instrument: Instrument, *, key: bytes | None = None
) -> Iterator[Piece]:
    """Read deliveries as answers and list every fault of every row, piece by piece.

    Row by row: the number of cells, the wave, the keys, each answer against the item's list or range. Then item against item:
    routing, options that stand alone, caps, repeated ranks, and the instrument's quality rules. Then row against row: a
    respondent delivered twice, with the same answers or with others, one who was corrected, and answers that are another's.
    """
    with Answers(instrument, key=key) as answers:
        for delivery in deliveries:
            answers.add(delivery)
        yield from answers.settled()
