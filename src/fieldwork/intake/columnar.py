"""Read a Parquet file as text, a batch of rows at a time; nothing in it is run."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fieldwork.errors import DataError, listed
from fieldwork.intake.cells import MOST_COLUMNS, Cells, categorical, changed, refuse_expanded, too_wide
from fieldwork.intake.problems import shown
from fieldwork.provenance import sha256_file

__all__ = ["read_parquet"]

_LARGEST = 16 << 30  # bytes unpacked
_CELLS = 200  # cells to a byte of the file: a column that holds one answer throughout takes no bytes for its rows
_MANY = 32 << 20  # cells; below this their number to a byte does not matter
_BATCH = 2_000  # rows that are held as Python texts at a time


def read_parquet(path: Path, *, name: str, rows: int | None = None) -> Generator[Cells]:
    """Give a Parquet file piece by piece, `rows` rows each.

    Texts stay as they stand, whole numbers lose their point, true and false are 1 and 0, times have the ISO form. Rows are
    numbered from 2, as if a header stood above them; a missing cell is an empty text. Raises DataError for a damaged file,
    one that unpacks beyond the bounds, a column of lists, structures or bytes, or a file that changes meanwhile.
    """
    before = sha256_file(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file, pq.ParquetFile(file) as parquet:
            _refuse(parquet, size, name)
            texts = [field.name for field in parquet.schema_arrow if _is_text(field.type)]
            # Texts stay dictionaries: one long text may stand for a million cells.
            with pq.ParquetFile(file, read_dictionary=texts) as again:
                yield from _pieces(again, before, rows, name, size)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise DataError(
            "the Parquet file is damaged",
            where=name,
            expected="a Parquet file, whole",
            got=shown(str(error)),
            hint="export the delivery again",
        ) from error
    if (after := sha256_file(path)) != before:
        raise changed(name, before, after)


def _pieces(parquet: pq.ParquetFile, sha256: str, rows: int | None, name: str, size: int) -> Iterator[Cells]:
    names = parquet.schema_arrow.names
    columns: list[list[pa.Array]] = [[] for _ in names]
    first, held, given, characters = 2, 0, False, 0

    def piece() -> Cells:
        frame = pd.DataFrame(
            {place: categorical(chunks) for place, chunks in enumerate(columns)},
            index=pd.RangeIndex(first, first + held, name="row"),
        )
        part = (first + held - 2) / max(parquet.metadata.num_rows, 1)
        return Cells(tuple(names), frame, (), trailing_separator=False, sha256=sha256, part=part)

    for batch in parquet.iter_batches(min(_BATCH, rows or _BATCH)):
        for chunks, column in zip(columns, batch.columns, strict=True):
            texts, codes = _texts(column)
            characters += int(np.array([len(text) for text in texts], dtype=np.int64)[codes].sum()) if len(codes) else 0
            refuse_expanded(characters, size, name)
            chunks.append(pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts, pa.string())))
        held += batch.num_rows
        if rows and held >= rows:
            yield piece()
            first, held, given, columns = first + held, 0, True, [[] for _ in names]
    if held or not given:
        yield piece()


def _refuse(parquet: pq.ParquetFile, size: int, name: str) -> None:
    schema, meta = parquet.schema_arrow, parquet.metadata
    if len(schema) > MOST_COLUMNS:
        raise too_wide(name, len(schema))
    unpacked = sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
    cells = meta.num_rows * len(schema)
    if unpacked > _LARGEST or (cells > _MANY and cells > _CELLS * size):
        raise DataError(
            "the file unpacks to more than a delivery holds",
            where=name,
            expected=f"at most {_LARGEST >> 30} GB and {_CELLS} cells to a byte of the file",
            got=f"{unpacked / 2**30:,.1f} GB, {cells:,} cells from {size:,} bytes",
            hint="deliver it in parts, or as CSV UTF-8",
        )
    nested = [field.name for field in schema if pa.types.is_nested(field.type) or _is_bytes(field.type)]
    if nested:
        raise DataError(
            "a column holds no texts, numbers or times",
            where=f"{name}, column {shown(nested[0])}",
            expected="one plain value a cell",
            got=listed(f"{shown(each)}: {schema.field(each).type}" for each in nested),
            hint="write lists as one text with ';' between the answers",
        )


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _texts(column: pa.Array) -> tuple[Sequence[str], npt.NDArray[np.int32]]:
    """Return the distinct texts of a column, a blank among them, and which of them each cell is."""
    if not pa.types.is_dictionary(column.type):
        column = pa.array([_text(value) for value in column.to_pylist()], pa.string()).dictionary_encode()
    column.validate(full=True)  # the codes of a damaged file may lie outside its dictionary
    known: dict[str, int] = {}
    each = [known.setdefault(_text(value), len(known)) for value in column.dictionary.to_pylist()]
    blank = known.setdefault("", len(known))
    codes = np.append(np.array(each, dtype=np.int32), np.int32(blank))
    cells = column.indices.fill_null(len(each)).to_numpy(zero_copy_only=False)
    return list(known), codes[cells]


def _text(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124 - not a number
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
