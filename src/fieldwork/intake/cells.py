"""Cells of a delivered file as text, whatever its kind: what every reader gives, a piece of the file at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from fieldwork.errors import DataError

__all__ = ["MOST_COLUMNS", "Cells", "Irregular", "categorical", "changed", "refuse_expanded", "too_wide"]

MOST_COLUMNS = 16_384  # as many as a spreadsheet has


@dataclass(frozen=True, slots=True)
class Irregular:
    """A row that does not have as many cells as the header.

    Attributes
    ----------
    row : int                 Line of the file as a spreadsheet counts it.
    cells : tuple of str      The cells as they stand.
    """

    row: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A piece of a file, or all of it; the header and what holds for the file stand in every piece.

    Attributes
    ----------
    header : tuple of str               Column names as they stand, untrimmed.
    rows : pd.DataFrame                 Text cells, dictionary-encoded, columns 0..k-1, index = line of the file.
    irregular : tuple of Irregular      Rows with too few or too many cells.
    trailing_separator : bool           Each row ends with one separator more than the header; read without it.
    sha256 : str                        Of the bytes that were parsed.
    without_value : tuple               Row and column place of each formula of a workbook that holds no value.
    questions : tuple of str            What was asked, by column, where the file says so beside the header.
    labels : dict                       Column place -> cell -> label of the value, where the file gives labels to codes.
    declared_missing : dict             Column place -> cells of the piece that the file itself declares missing.
    part : float                        How much of the file has been read with this piece, 0 to 1.
    """

    header: tuple[str, ...]
    rows: pd.DataFrame
    irregular: tuple[Irregular, ...]
    trailing_separator: bool
    sha256: str
    without_value: tuple[tuple[int, int], ...] = ()
    questions: tuple[str, ...] = ()
    labels: dict[int, dict[str, str]] = field(default_factory=dict)
    declared_missing: dict[int, frozenset[str]] = field(default_factory=dict)
    part: float = 1.0


_EXPANDED = 512 << 20  # characters of all cells
_REPEATED = 200  # characters of all cells to a byte of the file


def refuse_expanded(characters: int, size: int, name: str) -> None:
    """Refuse a file whose cells, written out, are far longer than the file: one long text stands for thousands of cells."""
    if characters > _EXPANDED and characters > _REPEATED * size:
        raise DataError(
            "the cells of the file, written out, are more than a delivery holds",
            where=name,
            expected=f"at most {_EXPANDED >> 20} million characters, or {_REPEATED} to a byte of the file",
            got=f"more than {characters:,} characters from {size:,} bytes",
            hint="look for a long text that many cells repeat, or save the table as CSV UTF-8",
        )


def too_wide(name: str, columns: int) -> DataError:
    """Return the refusal of a table with more columns than any questionnaire has."""
    return DataError(
        "the table is too wide to be a delivery",
        where=f"{name}, row 1",
        expected=f"at most {MOST_COLUMNS:,} columns",
        got=f"{columns:,}",
        hint="export one row per respondent and one column per answer",
    )


def categorical(chunks: list[pa.Array]) -> pd.Categorical:
    """Join dictionary-encoded pieces of a column of texts."""
    if not chunks:
        return pd.Categorical([], categories=pd.Index([], dtype="str"))
    whole = pa.chunked_array(chunks).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in whole.chunks])
    return pd.Categorical.from_codes(codes, categories=pd.Index(whole.chunk(0).dictionary.to_pandas(), dtype="str"))


def changed(name: str, before: str, after: str) -> DataError:
    """Return the refusal of a file that is another one at the end of its reading, by its SHA-256."""
    return DataError(
        "the file was changed while it was read",
        where=name,
        expected=f"SHA-256 {before[:12]}…",
        got=f"SHA-256 {after[:12]}…",
        hint="wait until the delivery is complete, then run again",
    )
