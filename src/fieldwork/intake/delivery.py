"""One delivered file, held against the columns of the instrument.

A reader per format returns the same record; the readers know cells, this module knows columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fieldwork.errors import DataError, listed, nearest
from fieldwork.intake.columnar import read_parquet
from fieldwork.intake.forms import Adapted, Aside, adapted, form_of
from fieldwork.intake.problems import HIDDEN, Problem, shown
from fieldwork.intake.separated import read_separated
from fieldwork.intake.spss import read_spss
from fieldwork.intake.workbook import read_workbook

if TYPE_CHECKING:
    from fieldwork.instrument import DeliveryForm, Instrument, LongForm
    from fieldwork.intake.cells import Cells, Irregular

__all__ = [
    "ROWS",
    "Delivery",
    "Head",
    "Heads",
    "measures_absent",
    "pieces_of",
    "read_cells",
    "read_deliveries",
    "read_delivery",
    "read_pieces",
]

_READERS: dict[str, Callable[..., Generator[Cells]]] = {
    ".csv": read_separated,
    ".tsv": partial(read_separated, separator="\t"),
    ".xlsx": read_workbook,
    ".parquet": read_parquet,
    ".sav": read_spss,
    ".zsav": read_spss,
}
_ELSEWISE = {
    ".por": "in SPSS, save it as .sav",
    ".xls": "save it as .xlsx or as CSV UTF-8",
    ".zip": "unpack it, and lay its files into the folder of deliveries",
    ".gz": "unpack it, and lay its file into the folder of deliveries",
}
ROWS = 20_000
"""Rows of a piece of a delivery, and of a part of a table that is written part by part."""

_RUNS_CODE = {".pkl", ".pickle", ".npy", ".npz", ".joblib"}


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A delivered file: every cell as text, every row accounted for.

    Attributes
    ----------
    file : str                        Name of the file, as messages and the quarantine give it.
    sha256 : str                      Of the bytes that were read.
    columns : tuple of str            Column names as delivered, white space trimmed.
    rows : pd.DataFrame               Text cells, dictionary-encoded; index `row` = line of the file, header = 1.
    irregular : tuple of Irregular    Rows with too few or too many cells, kept apart as they stand.
    unknown : tuple of str            Columns that the instrument does not have.
    absent : tuple of str             Columns of the instrument that were not delivered.
    problems : tuple of Problem       Remarks on the file as a whole.
    long : LongForm or None           Declared where a row is one answer; None where it is one respondent.
    aside : tuple of Aside            Rows that the export itself marks as no interview, or that lack a value.
    remarks : tuple of Aside          Rows that are read, with a remark.
    called : dict                     Column -> header as delivered, where the instrument maps it.
    corrects : bool                   Its respondents replace those of earlier files.
    part : float                      How much of the file has been read with this piece, 0 to 1.
    """

    file: str
    sha256: str
    columns: tuple[str, ...]
    rows: pd.DataFrame
    irregular: tuple[Irregular, ...]
    unknown: tuple[str, ...]
    absent: tuple[str, ...]
    problems: tuple[Problem, ...]
    long: LongForm | None = None
    aside: tuple[Aside, ...] = ()
    remarks: tuple[Aside, ...] = ()
    called: dict[str, str] = field(default_factory=dict)
    corrects: bool = False
    part: float = 1.0

    @property
    def delivered(self) -> int:
        """Rows in the file, the irregular ones included."""
        return len(self.rows) + len(self.irregular)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What is told of a file as a whole, however many pieces it was read in.

    Attributes
    ----------
    file, sha256 : str                Name of the file; of its bytes.
    delivered : int                   Rows.
    unknown, absent : tuple of str    As of a delivery.
    problems : tuple of Problem       Remarks on the file.
    long : LongForm or None           As of a delivery.
    """

    file: str
    sha256: str
    delivered: int
    unknown: tuple[str, ...]
    absent: tuple[str, ...]
    problems: tuple[Problem, ...]
    long: LongForm | None


class Heads:
    """What is told of each file, put together from its pieces; iterates over heads in the order in which files came."""

    def __init__(self, deliveries: Iterable[Delivery] = ()) -> None:
        self._heads: dict[str, Head] = {}
        for delivery in deliveries:
            self.add(delivery)

    def __iter__(self) -> Iterator[Head]:
        return iter(self._heads.values())

    def add(self, piece: Delivery) -> None:
        """Add a piece of a file."""
        before = self._heads.get(piece.file)
        self._heads[piece.file] = Head(
            file=piece.file,
            sha256=piece.sha256,
            delivered=piece.delivered + (before.delivered if before else 0),
            unknown=tuple(dict.fromkeys((*(before.unknown if before else ()), *piece.unknown))),
            absent=piece.absent,
            problems=tuple(dict.fromkeys((*(before.problems if before else ()), *piece.problems))),
            long=piece.long,
        )


def read_deliveries(paths: Iterable[Path], instrument: Instrument, *, within: Path | None = None) -> list[Delivery]:
    """Read several files of one wave in the order of their names; a name that occurs twice is given with its folder."""
    return list(read_pieces(paths, instrument, within=within))


def read_pieces(
    paths: Iterable[Path], instrument: Instrument, *, within: Path | None = None, rows: int | None = None
) -> Iterator[Delivery]:
    """Give several files of one wave as `read_deliveries` does, each in pieces of at most `rows` rows; None: in one."""
    paths = sorted(paths)
    twice = {name for name, times in Counter(path.name for path in paths).items() if times > 1}
    for path in paths:
        name = shown("/".join(path.parts[-2:])) if path.name in twice else ""
        yield from pieces_of(path, instrument, within=within, name=name, rows=rows)


def read_delivery(path: Path, instrument: Instrument, *, within: Path | None = None, name: str = "") -> Delivery:
    """Read one delivered file whole and hold its header against the instrument.

    Column names match exactly after white space is trimmed; a required column that is not there stops the file, and the
    delivered name most like it is offered. Columns that the instrument does not have are kept and named. With `within`,
    only files that truly lie in that folder are read: a link that leads out of it is refused.
    Raises DataError.
    """
    (delivery,) = pieces_of(path, instrument, within=within, name=name)
    return delivery


def pieces_of(
    path: Path, instrument: Instrument, *, within: Path | None = None, name: str = "", rows: int | None = None
) -> Iterator[Delivery]:
    """Give one delivered file as `read_delivery` does, in pieces of at most `rows` rows; None: in one piece.

    Every piece has the file's columns; what is told of the file as a whole, each piece tells as far as it knows.
    """
    name = name or shown(path.name)
    long = next((form for form in (*instrument.long, *instrument.long_elsewhere) if form.file == path.name), None)
    written = form_of(path.name, instrument)
    cells = read_cells(path, instrument, within=within, name=name, rows=rows)
    for made in adapted(cells, written, instrument, name, long):
        yield _held(made, written, instrument, name, long)


def _held(made: Adapted, written: DeliveryForm, instrument: Instrument, name: str, long: LongForm | None) -> Delivery:
    """Return a piece of a file, held against the columns of the instrument."""
    read = made.read
    columns = _named(read.header, name)
    rows = read.rows.set_axis(list(columns), axis="columns")
    if long is not None:
        delivery = _of_answers(name, read, rows, long)
        told = (*delivery.problems, *_dropped(name, made))
        return replace(delivery, problems=told, aside=made.aside, remarks=made.remarks, part=read.part)
    _refuse_both_forms(columns, instrument, name)
    given = {instrument.layout[column].item.name for column in columns if _is_list(column, instrument)}
    absent = [
        column
        for column, source in instrument.layout.items()
        if source.native and column not in columns and source.item.name not in given
    ]
    unknown = [column for column in columns if column not in instrument.layout]
    filled = [column for column in unknown if not column.startswith("(column ") or (rows[column] != "").any()]
    _refuse_absent_keys(absent, filled, instrument, name)
    problems = [
        *_as_a_whole(name, read),
        *_dropped(name, made),
        *(_remark(name, column, "column_absent", _absent(column, filled)) for column in absent),
        *(_remark(name, column, "column_unknown", _unknown(column, absent)) for column in filled),
    ]
    return Delivery(
        file=name,
        sha256=read.sha256,
        columns=tuple(columns),
        rows=rows,
        irregular=read.irregular,
        unknown=tuple(filled),
        absent=tuple(absent),
        problems=tuple(problems),
        aside=made.aside,
        remarks=made.remarks,
        called=made.called,
        corrects=written.corrects,
        part=read.part,
    )


def read_cells(
    path: Path, instrument: Instrument, *, within: Path | None = None, name: str = "", rows: int | None = None
) -> Generator[Cells]:
    """Give the cells of a file by the reader of its kind and the declared form, before any column is looked at."""
    name, form = name or shown(path.name), form_of(path.name, instrument)
    reader = _reader(path, name, within)
    suffix = path.suffix.lower()
    if suffix == ".xlsx":
        lines = 2 if form.headers == "surveymonkey" else 1
        return reader(path, name=name, sheet=form.sheet, header_lines=lines, rows=rows)
    if suffix == ".parquet":
        return reader(path, name=name, rows=rows)
    if suffix in {".sav", ".zsav"}:
        return reader(path, name=name, encoding=form.encoding, rows=rows)
    separator = {"separator": form.separator} if form.separator else {}
    return reader(path, name=name, encoding=form.encoding, rows=rows, **separator)


def _dropped(name: str, made: Adapted) -> list[Problem]:
    return [
        _remark(name, column, "personal_dropped", "nothing to mend: it is written nowhere") for column in made.dropped
    ]


def _as_a_whole(name: str, read: Cells) -> list[Problem]:
    empty = not (len(read.rows) or read.irregular)
    no_rows = Problem(name, 1, "", "no_rows", mend="the file has a header and no rows: export the delivery again")
    trailing = _remark(name, "", "trailing_separator", "remove the last comma of each row")
    return [*([no_rows] * empty), *([trailing] * read.trailing_separator)]


def _of_answers(name: str, read: Cells, rows: pd.DataFrame, form: LongForm) -> Delivery:
    """Return a file of one answer a row; a declared column that it lacks stops it."""
    columns = list(rows.columns)
    unknown = [column for column in columns if column not in form.columns and (rows[column] != "").any()]
    if absent := [column for column in form.columns if column not in columns]:
        near = {column: nearest(column, unknown) for column in absent}
        raise DataError(
            f"the delivery lacks the {'columns' if len(absent) > 1 else 'column'} {listed(absent)}",
            where=f"{name}, row 1",
            expected=listed(form.columns),
            got=listed([shown(column) for column in columns], limit=8),
            hint="; ".join(f"rename {shown(found)} to {column}" for column, found in near.items() if found)
            or "add what is missing, or mend [[long]] of the instrument",
        )
    return Delivery(
        file=name,
        sha256=read.sha256,
        columns=tuple(columns),
        rows=rows,
        irregular=read.irregular,
        unknown=tuple(unknown),
        absent=(),
        problems=(
            *_as_a_whole(name, read),
            *(_remark(name, column, "column_unknown", _unknown(column, ())) for column in unknown),
        ),
        long=form,
    )


def measures_absent(deliveries: Sequence[Head | Delivery], instrument: Instrument) -> DataError | None:
    """Return the error of a misspelt measure: no file holds it, and one has an unknown column much like it.

    It would otherwise pass as an item that nobody answered. A measure that was simply not delivered is remarked, and what
    needs it is not assessable.
    """
    items = [
        item
        for item in instrument.measures("adoption_gradient")
        if all(set(item.delivered_columns().values()) <= set(delivery.absent) for delivery in deliveries)
    ]
    unknown = {column: delivery.file for delivery in reversed(deliveries) for column in delivery.unknown}
    columns = {column: item for item in items for column in item.delivered_columns().values()}
    offers = {column: nearest(column, unknown) for column in columns}
    columns = {column: item for column, item in columns.items() if offers[column]}
    if not columns:
        return None
    named, many = " and ".join(columns), len(columns) > 1
    return DataError(
        f"no delivered file has the column{'s' * many} {named}, which carr{'y' if many else 'ies'} the adoption gradient",
        where=f"{listed(delivery.file for delivery in deliveries)}, row 1, column {next(iter(columns))}",
        expected=listed(f"{column} ({item.label})" for column, item in columns.items()),
        got=listed([shown(column) for column in sorted(unknown)], limit=8),
        hint="; ".join(f"rename {shown(offers[c])} in {unknown[offers[c]]} to {c}" for c in columns),
    )


def _reader(path: Path, name: str, within: Path | None) -> Callable[..., Generator[Cells]]:
    suffix = path.suffix.lower()
    if suffix in _RUNS_CODE:
        raise DataError(
            "a file of this kind can run code when it is opened, and is never read",
            where=name,
            expected=listed(_READERS),
            got=suffix,
            hint="ask the sender for CSV UTF-8",
        )
    if suffix not in _READERS:
        raise DataError(
            "the file is of a kind that is not read",
            where=name,
            expected=listed(_READERS),
            got=suffix or "no ending",
            hint=_ELSEWISE.get(suffix, "save it as CSV (UTF-8)"),
        )
    if within is not None and not path.resolve().is_relative_to(within.resolve()):
        raise DataError(
            "the file does not lie in the folder of deliveries",
            where=name,
            expected="a file inside the folder of deliveries, not a link that leads out of it",
            got=name,
            hint="copy the file into the folder of deliveries",
        )
    if not path.is_file():
        raise DataError(
            "there is no such file",
            where=name,
            expected="a delivered file",
            got="a folder or device" if path.exists() else "nothing at this path",
            hint="check the name of the file",
        )
    return _READERS[suffix]


def _named(header: Sequence[str], name: str) -> list[str]:
    """Return the column names, trimmed; a column without a name is called by its place; refuse a name given twice."""
    columns = [HIDDEN.sub("", cell).strip() or f"(column {place})" for place, cell in enumerate(header, start=1)]
    twice = [column for column, times in Counter(columns).items() if times > 1]
    if twice:
        places = [place for place, column in enumerate(columns, start=1) if column == twice[0]]
        raise DataError(
            "a column is delivered twice",
            where=f"{name}, row 1, column {shown(twice[0])}",
            expected="each column name once",
            got=f"{shown(twice[0])} as columns {listed(map(str, places))}",
            hint="delete or rename one of them",
        )
    return columns


def _is_list(column: str, instrument: Instrument) -> bool:
    source = instrument.source(column)
    return source is not None and not source.native


def _refuse_both_forms(columns: Sequence[str], instrument: Instrument, name: str) -> None:
    for column in columns:
        if not _is_list(column, instrument):
            continue
        item = instrument.layout[column].item
        separate = [option for option in item.delivered_columns().values() if option in columns]
        if separate:
            raise DataError(
                f"the answers to {item.name} are delivered in two forms",
                where=f"{name}, row 1, column {column}",
                expected="one column of codes separated by ';', or one 0/1 column per option",
                got=f"{column} and {listed(separate, limit=4)}",
                hint="delete one of the two forms",
            )


def _refuse_absent_keys(absent: Sequence[str], unknown: Sequence[str], instrument: Instrument, name: str) -> None:
    keys = instrument.keys
    needed = [keys.respondent, keys.organisation, keys.wave, keys.weight]
    needed += [item.name for item in instrument.items if item.required]
    missing: list[str] = []
    for key in dict.fromkeys(filter(None, needed)):
        columns = list(instrument.item(key).delivered_columns().values())
        if set(columns) <= set(absent):
            missing.append(columns[0] if len(columns) == 1 else key)
    if not missing:
        return
    offers = {column: nearest(column, unknown) for column in missing}
    near = [f"rename {shown(found)} to {column}" for column, found in offers.items() if found]
    if not near:
        near = ["name the column that holds it under [delivery.columns] of the instrument"]
    if keys.wave in missing:
        near.append(
            f"{keys.wave}: a folder does not say it; constants = {{ {keys.wave} = '...' }} under [[delivery]] does"
        )
    many = "columns" if len(missing) > 1 else "column"
    raise DataError(
        f"the delivery lacks the {many} {listed(missing)}",
        where=f"{name}, row 1",
        expected=listed(missing),
        got=listed([shown(column) for column in unknown], limit=8) or "no other column",
        hint="; ".join(near),
    )


def _remark(name: str, column: str, rule: str, mend: str) -> Problem:
    return Problem(file=name, row=1, column=shown(column), rule=rule, mend=mend, severity="warning")


def _unknown(column: str, absent: Sequence[str]) -> str:
    near = nearest(column, absent)
    offer = f"is it {near}? then rename it; else " if near else ""
    return f"{offer}map it in the instrument (column = ...), or leave it: kept in 01_clean.unknown_columns.csv"


def _absent(column: str, unknown: Sequence[str]) -> str:
    near = nearest(column, unknown)
    offer = f"is it {shown(near)}? then rename that column; else " if near else ""
    return f"{offer}deliver it, or leave it: its answers are missing"
