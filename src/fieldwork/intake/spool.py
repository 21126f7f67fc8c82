"""Tables that wait on the disk while a delivery is read: in memory as long as they are few, then in a file without a name.

A file without a name is nobody's to find and goes with the process, however that ends. Answers of a few values are packed side
by side, so that a piece with hundreds of columns is a few buffers.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

__all__ = ["Packing", "Spool", "digests", "read_written", "written"]

_IN_MEMORY = 16 << 20  # bytes
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class Spool:
    """Arrow tables, by the number under which each was put; the disk is used beyond 16 MB.

    Parameters
    ----------
    folder : Path or None    Where the file lies, which has no name there; None: the system's folder of temporary files.

    >>> with Spool() as spool:
    ...     number = spool.put(pa.table({"a": [1, 2]}))
    ...     spool.get(number)["a"].to_pylist()
    [1, 2]
    """

    def __init__(self, folder: Path | None = None, *, in_memory: int | None = None) -> None:
        self._folder = str(folder) if folder else tempfile.gettempdir()
        self._file = tempfile.SpooledTemporaryFile(max_size=in_memory or _IN_MEMORY, dir=self._folder)  # noqa: SIM115 - closed by exit
        self._places: list[tuple[int, int]] = []
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._named():
            self._file.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the folder where the system refuses: the file itself has no name that it could tell."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or self._folder
            raise

    def put(self, table: pa.Table) -> int:
        """Keep a table; return its number."""
        return self.put_written(written(table))

    def put_written(self, content: pa.Buffer) -> int:
        """Keep a table that was `written`; return its number."""
        with self._named():
            self._file.seek(self._end)
            self._file.write(memoryview(content))
            self._file.flush()
        self._places.append((self._end, content.size))
        self._end += content.size
        return len(self._places) - 1

    def get(self, number: int) -> pa.Table:
        """Return a table."""
        return read_written(self.get_written(number))

    def get_written(self, number: int) -> pa.Buffer:
        """Return a table as it was `written`."""
        start, size = self._places[number]
        with self._named():
            self._file.seek(start)
            return pa.py_buffer(self._file.read(size))


def written(table: pa.Table) -> pa.Buffer:
    """Return a table as the bytes in which a spool keeps it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as stream:
        stream.write_table(table)
    return sink.getvalue()


def read_written(content: pa.Buffer) -> pa.Table:
    """Return the table that was `written`."""
    with pa.ipc.open_stream(content) as stream:
        return stream.read_all()


@dataclass(frozen=True, slots=True)
class Packing:
    """How answers and the reasons of missing ones stand in one table, and back.

    Attributes
    ----------
    columns : tuple of str     Columns of the answers in order.
    small : tuple of str       Those of type Int8, packed into one column of values and one of marks for missing.
    items : tuple of str       Items, whose reasons are codes packed into one column.
    kind : CategoricalDtype    The reasons.
    """

    columns: tuple[str, ...]
    small: tuple[str, ...]
    items: tuple[str, ...]
    kind: pd.CategoricalDtype[Any]

    @classmethod
    def of(cls, coded: pd.DataFrame, reasons: pd.DataFrame) -> Packing:
        """Return the packing of frames of this form."""
        small = tuple(name for name, dtype in coded.dtypes.items() if dtype == "Int8")
        kind = reasons.dtypes.iloc[0]
        return cls(tuple(coded.columns), tuple(map(str, small)), tuple(reasons.columns), kind)

    def table(self, coded: pd.DataFrame, reasons: pd.DataFrame) -> pa.Table:
        """Pack answers and reasons of the same rows; the index goes along as `place`."""
        arrays = [coded[name].array for name in self.small]
        size = len(coded)
        values = _side_by_side([array._data for array in arrays], size)  # noqa: SLF001 - the two arrays that Int8 is made of
        marks = _side_by_side([array._mask for array in arrays], size)  # noqa: SLF001
        why = _side_by_side([reasons[name].cat.codes.to_numpy() for name in self.items], size)
        large = [name for name in self.columns if name not in set(self.small)]
        columns = [pa.array(coded[name].array, _arrow(coded[name].dtype)) for name in large]
        return pa.table(
            [pa.array(coded.index.to_numpy(dtype="int64")), values, marks, why, *columns],
            names=["place", "values", "marks", "reasons", *large],
        )

    def frames(self, table: pa.Table) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return answers and reasons, with their places as index."""
        table = table.combine_chunks()
        index = pd.Index(table["place"].to_numpy(), name=None)
        values = _apart(table["values"], len(self.small), np.int8)
        marks = _apart(table["marks"], len(self.small), np.bool_)
        why = _apart(table["reasons"], len(self.items), np.int8)
        order = {name: number for number, name in enumerate(self.small)}
        coded = {
            name: pd.arrays.IntegerArray(values[:, order[name]].copy(), marks[:, order[name]].copy())
            if name in order
            else _pandas(table[name])
            for name in self.columns
        }
        reasons = {
            name: pd.Categorical.from_codes(why[:, number], dtype=self.kind) for number, name in enumerate(self.items)
        }
        return pd.DataFrame(coded, index=index), pd.DataFrame(reasons, index=index)


def _arrow(dtype: object) -> pa.DataType:
    return pa.float64() if dtype == "Float64" else pa.large_string()


def _pandas(column: pa.ChunkedArray) -> Any:  # noqa: ANN401 - an array of pandas
    if pa.types.is_floating(column.type):
        marks = column.is_null().to_numpy()
        return pd.arrays.FloatingArray(column.fill_null(0).to_numpy().copy(), marks.copy())
    return pd.array(column, dtype="string")


def _side_by_side(columns: Sequence[npt.NDArray[np.generic]], size: int) -> pa.Array:
    """Lay arrays of one byte a value side by side: one value of k bytes per row; of no array one byte of nothing."""
    matrix = np.stack(columns, axis=1).view(np.uint8) if columns else np.zeros((size, 1), dtype=np.uint8)
    return pa.Array.from_buffers(
        pa.binary(matrix.shape[1]), size, [None, pa.py_buffer(np.ascontiguousarray(matrix).tobytes())]
    )


def _apart(column: pa.ChunkedArray, width: int, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Return what `_side_by_side` laid together, (n, width)."""
    array = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    size = array.type.byte_width
    whole = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8)
    rows = whole[array.offset * size : (array.offset + len(array)) * size].reshape(len(array), size)
    return rows[:, :width].view(dtype)


def digests(frame: pd.DataFrame, *, salt: int = 0) -> npt.NDArray[np.uint64]:
    """Return a digest of 64 bits per row (n,): rows with the same answers have the same, wherever they stand.

    The digest is a sum over columns of a fixed odd multiplier, by `salt`, times the value; texts stand for their hash. Two rows
    that differ have the same with a probability of about 2**-56. Missing is a value of its own.

    >>> same = digests(pd.DataFrame({"a": ["x", "y", "x"], "b": pd.array([1, 1, 1], dtype="Int8")}))
    >>> bool(same[0] == same[2]), bool(same[0] == same[1])
    (True, False)
    """
    total = np.zeros(len(frame), dtype=np.uint64)
    factors = pd.util.hash_array(
        np.arange(2 * len(frame.columns), dtype=np.uint64) + np.uint64(salt << 32)
    ) | np.uint64(1)
    for number, name in enumerate(frame.columns):
        values, missing = _numbers(frame[name])
        total += factors[2 * number] * np.where(missing, np.uint64(0), values)
        total += factors[2 * number + 1] * missing.astype(np.uint64)
    return total


def _numbers(series: pd.Series) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Return a column as numbers of 64 bits, and where it is missing."""
    missing = series.isna().to_numpy(dtype=bool)
    if series.dtype == "Float64":
        return (series.to_numpy(dtype="float64", na_value=0.0) + 0.0).view(np.uint64), missing
    if isinstance(series.dtype, pd.CategoricalDtype):
        return series.cat.codes.to_numpy().astype(np.uint64), missing
    if pd.api.types.is_integer_dtype(series.dtype):
        return series.to_numpy(dtype="int64", na_value=0).astype(np.uint64), missing
    codes, distinct = pd.factorize(series)
    known = pd.util.hash_array(np.array([*map(str, distinct), ""], dtype=object), categorize=False)
    return known[codes], missing
