"""Where a chapter reads and where it saves: the one place that knows the names and forms of files between chapters.

A notebook opens its chapter, reads what earlier chapters saved, saves its own tables, and shows what it saved. Every
file is made beside its place and renamed into it, so a reader meets the old file or the new one and nothing between.
The same table makes the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from fieldwork import schema
from fieldwork.beside import Hands
from fieldwork.errors import DataError, RunError, StudyError, listed, nearest
from fieldwork.provenance import make_folders, sha256_file, write_whole, writing_whole
from fieldwork.study import Study, valid_name

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["Chapter", "Internal", "Wave", "guarded"]

Folder = Literal["processed", "reports"]
RELEASED = "released"  # folder of the study with the registers of releases, one file a wave

_CELLS = 1 << 24  # of a table that are read at a time
_WRITTEN = 5_000  # rows that become text at a time
_ROWS = 100_000  # of a table whose text is in memory at a time
# A spreadsheet runs a cell that starts so; the last four are the full-width forms of = + - @.
_FORMULA = "^(?:[\t\r\n]|\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20])"
_NUMBER = r"[+-]?[0-9]+(?:[.,][0-9]+)*"
# Parquet knows no pandas types; these make a table read back as it was saved, and the same on every version of pandas.
_TYPES: dict[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
    pa.large_string(): pd.StringDtype(),
}


@dataclass(frozen=True, slots=True)
class Internal:
    """What the chapters with constructs saved, as one: before the gate, never to be shown.

    Attributes
    ----------
    estimates : pd.DataFrame    Rows of the estimates table, in the order of the chapters.
    draws : pd.DataFrame        Key of each row that claims may be tested on, and its draws.
    bases : pd.DataFrame        The thinnest group behind each row, for the gate.
    """

    estimates: pd.DataFrame
    draws: pd.DataFrame
    bases: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Chapter:
    """One chapter at work on one wave of a study.

    Attributes
    ----------
    name : str                Name of the chapter and of its notebook, e.g. `04_gradient`.
    study : Study             The study, opened for the wave.
    instrument : Instrument   The wave's instrument.
    out : Path or None        Folder that results go to in place of the study; it mirrors the study's folders.
    seed, replicates : int    Of this run: as given, else the study's.
    """

    name: str
    study: Study
    instrument: Instrument
    out: Path | None
    seed: int
    replicates: int
    _saved: list[tuple[Path, int | None]] = field(default_factory=list, repr=False)

    @classmethod
    def open(
        cls,
        name: str,
        study: str | Path = ".",
        wave: str = "",
        out: str | Path = "",
        *,
        raw: str | Path = "",
        seed: int = 0,
        replicates: int = 0,
    ) -> Chapter:
        """Open a chapter with the parameters of its notebook; an empty text or 0 means the study's own.

        Numerical libraries are held to one thread from here on in this process, so that no result depends on how many
        there are.

        Raises StudyError for a study, wave or name that does not hold.
        """
        if not valid_name(name):
            raise _bad_name(name)
        # Products of matrices differ in their last bit with the number of threads; a chapter by hand must be the run's.
        threadpool_limits(limits=1)
        opened = Study.open(study, wave, raw=raw)
        return cls(
            name=name,
            study=opened,
            instrument=opened.instrument(),
            out=Path(out).resolve() if str(out) else None,
            seed=seed or opened.seed,
            replicates=replicates or opened.replicates,
        )

    @property
    def wave(self) -> str:
        """The wave at work."""
        return self.study.wave

    def waves(self) -> tuple[Wave, ...]:
        """Return the study's waves up to the one at work, oldest first; one without a delivery stands there as such.

        What a chapter reads of them has to be among its inputs in chapters.toml, with `{earlier}` and `{earlier_wave}`.
        """
        before = [
            Chapter(self.name, study, study.instrument(), None, self.seed, self.replicates) if study.delivered else None
            for study in self.study.earlier
        ]
        opened = [*before, self]
        return tuple(Wave(self.study.waves[number], number + 1, each) for number, each in enumerate(opened))

    def path(self, name: str, folder: Folder = "processed") -> Path:
        """Return where a file of that name is saved; folders within the name are allowed, a way out is not."""
        return self._root(folder) / _within(name)

    def read(self, name: str, *, columns: Sequence[str] | None = None, folder: Folder = "processed") -> pd.DataFrame:
        """Read a table that an earlier chapter saved, e.g. `01_clean` or `01_clean.missing`.

        `columns`: the only ones that are read, as far as the table has them; all by default.
        Columns come back in pandas' nullable types (Int8, Float64, string, boolean). Raises RunError when the chapter
        has not been run, DataError when the file is damaged.
        """
        path = self._find(name if name.endswith(".parquet") else f"{name}.parquet", folder)
        try:
            return _frame(path, columns)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(path, error) from error

    def read_parts(self, name: str, *, folder: Folder = "processed") -> Iterator[pd.DataFrame]:
        """Read a table as `read` does, in parts of up to a million rows, of which memory holds one."""
        path = self._find(name if name.endswith(".parquet") else f"{name}.parquet", folder)
        try:
            with pq.ParquetFile(path) as file:
                for place in range(file.num_row_groups):
                    yield file.read_row_group(place).to_pandas(types_mapper=_TYPES.get)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(path, error) from error

    def parts(self, name: str, *, folder: Folder = "processed") -> Callable[[], Iterator[pd.DataFrame]]:
        """Return a function that reads a table in parts, `read_parts`, each time anew."""
        return lambda: self.read_parts(name, folder=folder)

    def internal(self, *chapters: str) -> Internal:
        """Read the estimates, draws and bases of several chapters as one; RunError when one has not been run."""
        parts = [
            pd.concat([self.read(f"{chapter}{what}") for chapter in chapters], ignore_index=True)
            for what in ("", ".draws", ".bases")
        ]
        return Internal(*parts)

    def save_estimates(self, estimates: pd.DataFrame, draws: pd.DataFrame, bases: pd.DataFrame) -> None:
        """Save what a construct made under the chapter's name: estimates, `.draws` and `.bases`, the last two internal."""
        self.save(estimates)
        self.save(draws, f"{self.name}.draws.parquet", csv=False)
        self.save(bases, f"{self.name}.bases.parquet", csv=False)

    def read_json(self, name: str, *, folder: Folder = "processed") -> Any:  # noqa: ANN401 - whatever the file holds
        """Read a JSON file that an earlier chapter saved, e.g. `01_clean.flow`."""
        path = self._find(name if name.endswith(".json") else f"{name}.json", folder)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise self._damaged(path, error) from error

    def registered(self) -> dict[str, Any]:
        """Return the register as it was at the first run on data of the wave; empty where no run recorded it.

        Keys `hash` and `time`, and `head`, `claims` and `external` with what was declared. `fieldwork run` writes the record
        before the first run; a chapter run by hand reads it and never makes one.
        """
        path = self.study.processed / "registered.json"
        if not path.is_file():
            return {}
        record: dict[str, Any] = self.read_json("registered")
        return record

    def _register(self, wave: str = "") -> Path:
        return self.study.folder / RELEASED / f"{wave or self.wave}.parquet"

    def released(self) -> pd.DataFrame | None:
        """Return what releases of the wave, and of those before it, have shown and held back; None: no release.

        Columns of `schema.RELEASED`, one register after the other. It holds exact bases and is never shown. Raises
        DataError where a file is damaged.
        """
        waves = [*(study.wave for study in self.study.earlier), self.wave]
        found = [self._read_released(path) for path in map(self._register, waves) if path.is_file()]
        return pd.concat(found, ignore_index=True) if found else None

    def _read_released(self, path: Path) -> pd.DataFrame:
        try:
            return schema.conform(pq.read_table(path).to_pandas(types_mapper=_TYPES.get), schema.RELEASED)
        except (pa.ArrowException, OSError, DataError) as error:
            raise DataError(
                "the register of releases is damaged",
                where=f"{RELEASED}/{path.name}",
                expected="the file as `fieldwork release` wrote it",
                got=str(error).splitlines()[0][:120],
                hint="put it back from a copy: without it, a further release may give away who came late",
            ) from error

    def save_released(self, register: pd.DataFrame) -> Path:
        """Save the register of releases of the wave, in a folder of the study that is closed to all but its owner."""
        path = self._register()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.chmod(0o700)
        write_whole(path, _parquet(schema.conform(register, schema.RELEASED), path.name), closed=True)
        return path

    def save(self, frame: pd.DataFrame, name: str = "", *, csv: bool = True, folder: Folder = "processed") -> Path:
        """Save a table as Parquet, with a CSV for people beside it; return the first file's path.

        The index is not saved. A name that ends in `.csv` makes the CSV alone.

        Parameters
        ----------
        name : str       File name; empty: the chapter's name.
        csv : bool       Also write the CSV. Texts that a spreadsheet would run get an apostrophe there (`guarded`).
        folder : str     `processed` or `reports`.
        """
        name = name or f"{self.name}.parquet"
        if name.endswith(".csv"):
            return self._save_csv(frame, name, folder)
        name = name.removesuffix(".parquet")
        path = self.path(f"{name}.parquet", folder)
        self._put(path, _parquet(frame, path.name), len(frame))
        if csv:
            self._save_csv(frame, f"{name}.csv", folder)
        return path

    def _save_csv(self, frame: pd.DataFrame, name: str, folder: Folder) -> Path:
        """Save a CSV in parts: the text of millions of rows is ten times what they take on the disk."""
        with self.saving(name, folder=folder) as add:
            for low in range(0, max(len(frame), 1), _ROWS):
                add(frame.iloc[low : low + _ROWS])
        return self.path(name, folder)

    @contextlib.contextmanager
    def saving(
        self, name: str, *, csv: bool = True, folder: Folder = "processed", hands: Hands | None = None
    ) -> Iterator[Callable[[pd.DataFrame], None]]:
        """Save a table part by part: yields what to call with each part, which have the same columns; names as in `save`.

        The files take their place when all parts are there, and not at all where the block ends by an error. Parts become the
        text of a CSV by `hands`, if there are any, for that takes longer than all else.
        """
        hands = hands or Hands(others=0)
        path = self.path(name, folder)
        closed = make_folders(path, self.out or self.study.folder)
        made = (
            [_parts_as_csv]
            if path.suffix == ".csv"
            else [_parts_as_parquet, _parts_as_csv]
            if csv
            else [_parts_as_parquet]
        )
        places = [path] if len(made) == 1 else [path, path.with_suffix(".csv")]
        count = 0
        with contextlib.ExitStack() as open_:
            writers = [
                open_.enter_context(make(open_.enter_context(writing_whole(place, closed=closed)), hands))
                for make, place in zip(made, places, strict=True)
            ]

            def add(part: pd.DataFrame) -> None:
                nonlocal count
                count += len(part)
                for write in writers:
                    write(part)

            yield add
        self._saved.extend((place, count) for place in places)

    def save_json(self, value: object, name: str = "", *, folder: Folder = "processed") -> Path:
        """Save records, numbers and texts as JSON; a missing number becomes null, an infinite one is refused."""
        name = name or self.name
        path = self.path(name if name.endswith(".json") else f"{name}.json", folder)
        text = json.dumps(_plain(value, path.name), ensure_ascii=False, allow_nan=False, indent=1)
        return self._put(path, f"{text}\n".encode(), len(value) if isinstance(value, list) else None)

    def saved(self) -> pd.DataFrame:
        """Return what was saved so far: file, rows, sha256 (twelve digits). The last cell of a notebook shows it.

        Internal tables have no hash here: their last bits differ between processors, and the page of a chapter is published,
        the same on every machine. The manifest of the wave has the hash of every file.
        """
        root = self.out or self.study.folder
        reports = self._root("reports")
        rows = [
            {
                "file": path.relative_to(root).as_posix(),
                "rows": count,
                "sha256": sha256_file(path)[:12] if path.is_relative_to(reports) else "",
            }
            for path, count in dict(self._saved).items()
        ]
        shown = pd.DataFrame(rows, columns=["file", "rows", "sha256"])
        return shown.astype({"file": "string", "rows": "Int64", "sha256": "string"})

    def _root(self, folder: Folder) -> Path:
        if folder not in {"processed", "reports"}:
            raise StudyError(
                f"a chapter has no folder '{folder}'",
                where=f"chapter {self.name}",
                expected="processed, reports",
                got=f"'{folder}'",
            )
        final = self.study.processed if folder == "processed" else self.study.reports
        return self.out / final.relative_to(self.study.folder) if self.out else final

    def _find(self, name: str, folder: Folder) -> Path:
        staged = self.path(name, folder)
        final = (self.study.processed if folder == "processed" else self.study.reports) / _within(name)
        for path in (staged, final):
            if path.is_file():
                return path
        known = sorted(
            {p.name for p in (*staged.parent.glob("*"), *final.parent.glob("*")) if p.suffix == final.suffix}
        )
        near = nearest(name, known)
        first = name.partition(".")[0].partition("/")[0]
        where = f" --wave {self.wave}" if len(self.study.waves) > 1 else ""
        raise RunError(
            f"chapter {self.name} needs {name}, which is not there",
            where=f"{final.parent.relative_to(self.study.folder).as_posix()}",
            expected=name,
            got=listed(known) or "nothing there",
            hint=f"did you mean {near}?"
            if near
            else f"run the chapter that makes it: fieldwork run{where} --only {first}",
        )

    def _put(self, path: Path, content: bytes, rows: int | None) -> Path:
        closed = make_folders(path, self.out or self.study.folder)
        write_whole(path, content, closed=closed)
        self._saved.append((path, rows))
        return path

    def _damaged(self, path: Path, error: Exception) -> DataError:
        return DataError(
            "a file between chapters is damaged",
            where=path.name,
            expected="the file as its chapter saved it",
            got=str(error).splitlines()[0][:120] if str(error) else type(error).__name__,
            hint=f"make it again: fieldwork run --only {path.name.partition('.')[0]} --force",
        )


@dataclass(frozen=True, slots=True)
class Wave:
    """A wave of a study, as a chapter over several waves sees it.

    Attributes
    ----------
    name : str                  Name of the wave.
    number : int                Its place in the study's order, from 1.
    chapter : Chapter or None   The chapter opened for that wave, to read its tables by; None: the wave has no delivery.
    """

    name: str
    number: int
    chapter: Chapter | None


def _frame(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    """Read a Parquet file a few columns at a time: of a large one, both forms of it as a whole would be twice the memory."""
    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if columns is None or name in columns]
        step = max(1, _CELLS // max(file.metadata.num_rows, 1))
        parts: list[pd.DataFrame] = [
            file.read(columns=names[low : low + step]).to_pandas(types_mapper=_TYPES.get)
            for low in range(0, max(len(names), 1), step)
        ]
    if len(parts) == 1:
        return parts[0]
    # What reading took beside is given back to the system: a chapter needs it for other things.
    pa.default_memory_pool().release_unused()
    return pd.concat(parts, axis="columns")


def guarded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose texts a spreadsheet shows and does not run: an apostrophe before = + - @, tab, line ends.

    Full-width forms count too; plain numbers such as -97 stay as they are. Line ends within a text become line feeds, which
    are quoted.

    >>> guarded(pd.DataFrame({"text": ["=1+1", "-97", "plain"]}))["text"].tolist()
    ["'=1+1", '-97', 'plain']
    """
    out = frame.copy()
    out.columns = pd.Index(_guarded(pd.Series([str(name) for name in frame.columns], dtype="string")))
    for position, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, pd.StringDtype | pd.CategoricalDtype) or dtype.kind == "O":
            out.isetitem(position, _guarded(frame.iloc[:, position].astype("string")).array)
    return out


def _guarded(texts: pd.Series) -> pd.Series:
    # Most texts start with a letter or a digit and hold no line end: they are told in no time.
    arrow = pa.chunked_array(pa.array(texts.array, pa.large_string()))
    doubtful = pc.match_substring_regex(arrow, "^[^0-9A-Za-z]|\r").fill_null(False).to_numpy()  # noqa: FBT003
    if not doubtful.any():
        return texts
    out = texts.copy()
    out[doubtful] = _guarded_each(texts[doubtful])
    return out


def _guarded_each(texts: pd.Series) -> pd.Series:
    runs = texts.str.contains(_FORMULA, regex=True)
    runs = (runs & ~texts.str.fullmatch(_NUMBER)).fillna(value=False).astype(bool)
    # A carriage return by itself ends a row for a spreadsheet, and pandas does not quote it.
    return texts.where(~runs, "'" + texts).str.replace("\r\n?", "\n", regex=True)


def _csv(frame: pd.DataFrame, *, header: bool = True) -> bytes:
    buffer = io.StringIO(newline="")
    # Left to itself pandas turns a wide table into text a few hundred rows at a time, which takes half as long again.
    guarded(frame).to_csv(buffer, index=False, header=header, lineterminator="\n", chunksize=_WRITTEN)
    return buffer.getvalue().encode()


@contextlib.contextmanager
def _parts_as_csv(file: BinaryIO, hands: Hands) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write parts of a table as one CSV, as `_csv` writes a whole."""
    texts = hands.shared(_csv_part)
    header = True

    def write(part: pd.DataFrame) -> None:
        nonlocal header
        texts.add((part, header))
        header = False
        file.writelines(texts.ready())

    yield write
    file.writelines(texts.rest())


def _csv_part(order: tuple[pd.DataFrame, bool]) -> bytes:
    return _csv(order[0], header=order[1])


@contextlib.contextmanager
def _parts_as_parquet(file: BinaryIO, _: Hands) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write parts of a table as one Parquet file, a row group each; one part is the same bytes as `_parquet` makes."""
    with contextlib.ExitStack() as open_:
        writer: pq.ParquetWriter | None = None

        def write(part: pd.DataFrame) -> None:
            nonlocal writer
            table = _table(part, "a part")
            if writer is None:
                writer = open_.enter_context(
                    pq.ParquetWriter(file, table.schema, compression="zstd", store_schema=False)
                )
            writer.write_table(table)

        yield write


def _parquet(frame: pd.DataFrame, name: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(_table(frame, name), buffer, compression="zstd", store_schema=False)
    return buffer.getvalue()


def _table(frame: pd.DataFrame, name: str) -> pa.Table:
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(
            "a table cannot be saved",
            where=name,
            expected="columns of one type each, each name once",
            got=str(error).splitlines()[0][:120],
            hint="give the column one type before it is saved",
        ) from error
    # What pandas notes in the schema names its version: without it the same table is the same bytes.
    return table.replace_schema_metadata(None)


def _plain(value: Any, name: str) -> Any:  # noqa: ANN401 - any value on its way to JSON
    """Turn numpy and pandas scalars, tuples and paths of a record into what JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, name) for key, entry in value.items()}
    if isinstance(value, np.ndarray | pd.Series | pd.Index):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(entry, name) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise DataError(
        "a value cannot be saved as JSON",
        where=name,
        expected="texts, finite numbers, true, false, lists and records of them",
        got=repr(value)[:60],
        hint="turn it into a number or a text before it is saved",
    )


def _within(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or not all(valid_name(part) for part in path.parts):
        raise _bad_name(name)
    return path


def _bad_name(name: str) -> StudyError:
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-")
    return StudyError(
        "this is no name for a file of a study",
        where="chapter",
        expected="letters, digits, '.', '_' and '-', without a way out of the folder",
        got=repr(name)[:60],
        hint=f"use '{safe}'" if safe else "give it a name",
    )
