"""Read a Parquet file as text, a batch of rows at a time; nothing in it is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fieldwork.errors import DataError, listed
from fieldwork.intake.problems import shown
from fieldwork.intake.separated import MOST_COLUMNS, Separated, categorical, changed, too_wide
from fieldwork.provenance import sha256_file

__all__ = ["read_parquet"]

_LARGEST = 4 << 30  # bytes unpacked
_BATCH = 20_000


def read_parquet(path: Path, *, name: str) -> Separated:
    """Read a Parquet file: texts as they stand, whole numbers without a point, true and false as 1 and 0, times in ISO form.

    Rows are numbered from 2, as if a header stood above them; a missing cell is an empty text. Raises DataError for a
    damaged file, one that unpacks beyond 4 GB, a column of lists, structures or bytes, or a file that changes meanwhile.
    """
    before = sha256_file(path)
    try:
        with path.open("rb") as file, pq.ParquetFile(file) as parquet:
            schema, meta = parquet.schema_arrow, parquet.metadata
            if len(schema) > MOST_COLUMNS:
                raise too_wide(name, len(schema))
            _refuse(schema, sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups)), name)
            columns: list[list[pa.Array]] = [[] for _ in schema]
            rows = 0
            for batch in parquet.iter_batches(_BATCH):
                rows += batch.num_rows
                for chunks, column in zip(columns, batch.columns, strict=True):
                    chunks.append(pa.array(_texts(column), pa.string()).dictionary_encode())
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
    frame = pd.DataFrame(
        {place: categorical(chunks) for place, chunks in enumerate(columns)},
        index=pd.RangeIndex(2, rows + 2, name="row"),
    )
    return Separated(tuple(schema.names), frame, (), trailing_separator=False, sha256=before)


def _refuse(schema: pa.Schema, unpacked: int, name: str) -> None:
    if unpacked > _LARGEST:
        raise DataError(
            "the file unpacks to more than a delivery holds",
            where=name,
            expected=f"at most {_LARGEST >> 30} GB",
            got=f"{unpacked / 2**30:,.1f} GB",
            hint="deliver it in parts",
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


def _texts(column: pa.Array) -> Sequence[str]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return [_text(value) for value in column.to_pylist()]


def _text(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124 - not a number
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
