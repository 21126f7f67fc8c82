"""Read one file of separated text as it stands: every cell is text, every row is accounted for.

Nothing is inferred. `NA`, `None` and `null` stay text, `001` and `1E5` stay as they are. A row that does not have as
many cells as the header is handed back apart, never padded or shifted. The bytes are read twice, once to check the
encoding and once to parse, and both readings must have the same SHA-256.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import hashlib
import io
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from fieldwork.errors import DataError
from fieldwork.intake.cells import MOST_COLUMNS, Cells, Irregular, categorical, changed, too_wide
from fieldwork.intake.problems import shown

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["read_separated"]

_BLOCK = 1 << 20
_BATCH = 2_000  # rows that are held as Python texts at a time
_LONGEST = 1 << 24  # characters of a cell; Python's own bound of 131,072 is less than a transcript may have
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ONE_BYTE = ("cp1252", "mac-roman")
_LONGEST_LINE = 1 << 25  # bytes; a line is held in memory whole
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class _Hashing(io.RawIOBase):
    """Bytes of a file, hashed as they pass."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._hash = hashlib.sha256()
        self.read_so_far = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        size = self._file.readinto(view)
        self._hash.update(view[:size])
        self.read_so_far += size
        return size

    def close(self) -> None:
        self._file.close()
        super().close()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def read_separated(
    path: Path, *, name: str, separator: str = ",", encoding: str = "", rows: int | None = None
) -> Generator[Cells]:
    r"""Give a file of separated text piece by piece, `rows` rows each; None: in one piece.

    A byte order mark decides on the encoding, else it is UTF-8 or the declared one. An encoding is declared for bytes that
    are not UTF-8. A file that is UTF-8 all the same, and not plain ASCII, is refused: one of the two is wrong, and a wrong
    guess would spoil names without a trace.

    Rows are numbered as a spreadsheet numbers them: a quoted line break does not start a row, an empty line counts but
    holds no row. Raises DataError naming the file and the line for an encoding that is not what it claims to be, a
    quote that never closes, a cell beyond 16,777,216 characters, another separator, an empty file, or a file that changes
    while it is read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("resp_id,role\n001,CTO\n1E5\n", encoding="utf-8")
    ...     (read,) = read_separated(path, name="a.csv")
    >>> read.rows[0].tolist(), read.irregular[0].row
    (['001'], 3)
    """
    sha256, encoding = _survey(path, name, encoding)
    surplus = _surplus(path, name, encoding, separator)
    size = path.stat().st_size
    with _opened(path, encoding) as (raw, text):
        records = _records(text, name, separator)
        with _longest_cell(_LONGEST):
            header = _header(records, name, separator)
        yield from _pieces(records, header, surplus, raw, sha256, size, rows)
        read = raw.hexdigest()
    if read != sha256:
        raise changed(name, sha256, read)


@contextlib.contextmanager
def _opened(path: Path, encoding: str) -> Iterator[tuple[_Hashing, io.TextIOWrapper]]:
    raw = _Hashing(path)
    with io.BufferedReader(raw, _BLOCK) as buffered, io.TextIOWrapper(buffered, encoding, newline="") as text:
        yield raw, text


def _surplus(path: Path, name: str, encoding: str, separator: str) -> bool:
    """Whether every row ends with one separator more than the header has; most files tell by their first row."""
    with _opened(path, encoding) as (_, text), _longest_cell(_LONGEST):
        records = _records(text, name, separator)
        width = len(_header(records, name, separator))
        found = False
        for _, cells in records:
            if cells and (len(cells) != width + 1 or cells[-1]):
                return False
            found = found or bool(cells)
        return found


def _header(records: Iterator[tuple[int, list[str]]], name: str, separator: str) -> list[str]:
    header = next((cells for _, cells in records if cells), [])
    _refuse_other_separators(header, name, separator)
    if len(header) > MOST_COLUMNS:
        raise too_wide(name, len(header))
    return header


def _pieces(
    records: Iterator[tuple[int, list[str]]],
    header: list[str],
    surplus: bool,
    raw: _Hashing,
    sha256: str,
    size: int,
    rows: int | None,
) -> Iterator[Cells]:
    width, given = len(header) + surplus, False
    while True:
        columns: list[list[pa.Array]] = [[] for _ in header]
        lines: list[int] = []
        irregular: list[Irregular] = []
        piece = records if rows is None else islice(records, rows)
        while batch := _batch(piece):
            regular = [(row, cells) for row, cells in batch if len(cells) == width]
            if len(regular) != len(batch):
                irregular += [Irregular(row, tuple(cells)) for row, cells in batch if cells and len(cells) != width]
            lines += [row for row, _ in regular]
            for chunks, cells in zip(columns, zip(*(cells for _, cells in regular), strict=True), strict=False):
                chunks.append(pa.array(cells, pa.string()).dictionary_encode())
        if given and not (lines or irregular):
            return
        index = pd.Index(np.asarray(lines, dtype="int64"), name="row")
        frame = pd.DataFrame({place: categorical(chunks) for place, chunks in enumerate(columns)}, index=index)
        yield Cells(
            tuple(header), frame, tuple(irregular), trailing_separator=surplus, sha256=sha256,
            part=min(raw.read_so_far / size, 1.0),
        )  # fmt: skip
        given = True


def _survey(path: Path, name: str, declared: str) -> tuple[str, str]:
    """Return the SHA-256 and the encoding of a file; refuse bytes that the encoding does not have."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        head = file.read(4096)
        encoding = _encoding(head, name, declared)
        if encoding in _ONE_BYTE:
            _refuse_unicode(path, name, encoding)
        decoder = codecs.getincrementaldecoder(encoding)()
        file.seek(0)
        offset = lines = unended = 0
        while True:
            block = file.read(_BLOCK)
            digest.update(block)
            pending = decoder.getstate()[0]
            try:
                lines += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                buffer = pending + block
                at = offset - len(pending) + error.start
                line = lines + buffer[: error.start].count(b"\n") + 1
                raise _undecodable(name, encoding, line, at, buffer[error.start]) from error
            offset += len(block)
            unended = (
                len(block) - end if (end := max(block.rfind(b"\n"), block.rfind(b"\r"))) >= 0 else unended + len(block)
            )
            if unended > _LONGEST_LINE:
                raise DataError(
                    "a line is too long to be a row",
                    where=f"{name}, line {lines + 1}",
                    expected=f"lines of at most {_LONGEST_LINE >> 20} MB",
                    got="a longer line",
                    hint="export the delivery again, one line per respondent",
                )
            if not block:
                return digest.hexdigest(), encoding


def _refuse_unicode(path: Path, name: str, declared: str) -> None:
    """Refuse a file that is said to be in an encoding of one byte a character and is UTF-8 throughout."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    plain = True
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            plain = plain and block.isascii()
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return
    if plain or decoder.getstate()[0]:
        return
    raise DataError(
        f"the file is UTF-8, not {declared} as the instrument says",
        where=name,
        expected=f"bytes of {declared}",
        got="characters beyond ASCII, each a whole UTF-8 sequence",
        hint="take encoding out of the [[delivery]] entry that fits this file, or give the file an entry of its own",
    )


def _encoding(head: bytes, name: str, declared: str) -> str:
    if not head:
        raise DataError(
            "the file is empty",
            where=name,
            expected="a header line and one line per respondent",
            got="0 bytes",
            hint="export the delivery again",
        )
    if head.startswith(b"PK\x03\x04"):
        raise DataError(
            "the file is a workbook or a zip archive, whatever its name says",
            where=name,
            expected="separated text",
            got="bytes of a zip archive",
            hint="give it the ending .xlsx if it is a workbook, or unpack it",
        )
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    if declared:
        return declared
    if head.count(0) * 4 > len(head):
        raise DataError(
            "the file is not UTF-8",
            where=f"{name}, line 1, byte {head.index(0)}",
            expected="UTF-8, or UTF-16 with a byte order mark",
            got="every second byte is NUL, as in UTF-16 without its mark",
            hint="save the file as CSV UTF-8, or declare encoding = 'utf-16-le' under [[delivery]] of the instrument",
        )
    return "utf-8"


def _undecodable(name: str, encoding: str, line: int, at: int, byte: int) -> DataError:
    character = bytes([byte]).decode("cp1252", errors="replace")
    windows = f", {character!r} in Windows-1252" if character.isprintable() and byte >= 0x80 else ""
    return DataError(
        f"the file is not {encoding.upper().removesuffix('-SIG')}",
        where=f"{name}, line {line}, byte {at}",
        expected=f"{encoding.upper().removesuffix('-SIG')} throughout",
        got=f"byte 0x{byte:02X}{windows}",
        hint="save the file as CSV UTF-8, or declare its encoding (cp1252, mac-roman) under [[delivery]] of the "
        "instrument; none is guessed",
    )


def _batch(records: Iterator[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    with _longest_cell(_LONGEST):
        return list(islice(records, _BATCH))


@contextlib.contextmanager
def _longest_cell(characters: int) -> Iterator[None]:
    """Set the bound of the csv module, which holds for the whole process, for the time of a reading."""
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _records(text: io.TextIOBase, name: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    row = 0
    header: list[str] = []
    lines: list[str] = []  # of the row that is being read

    def kept() -> Iterator[str]:
        for line in text:
            lines.append(line)
            yield line

    try:
        for row, cells in enumerate(csv.reader(kept(), delimiter=separator, strict=True), start=1):
            lines.clear()
            header = header or cells
            yield row, cells
    except csv.Error as error:
        if "field larger" in str(error):
            raise _too_long(lines, header, f"{name}, row {row + 1}", separator) from error
        raise DataError(
            "the file cannot be split into cells",
            where=f"{name}, row {row + 1}",
            expected="a cell that holds a separator, a quote or a line break stands in double quotes",
            got=str(error),
            hint="look for a quote that is not closed or not doubled in this row or above it",
        ) from error


def _too_long(lines: list[str], header: list[str], where: str, separator: str) -> DataError:
    """Name the column of a cell beyond the bound, by reading the lines of its row once more without the bound."""
    with _longest_cell(sum(map(len, lines)) + 1):
        cells = next(csv.reader(lines, delimiter=separator))
    place = next(place for place, cell in enumerate(cells) if len(cell) > _LONGEST)
    column = shown(header[place].strip()) if place < len(header) else str(place + 1)
    return DataError(
        "a cell is too long to be an answer",
        where=f"{where}, column {column}",
        expected=f"cells of at most {_LONGEST:,} characters",
        got="a longer cell",
        hint="shorten the cell, or close the double quote that opens it",
    )


def _refuse_other_separators(header: list[str], name: str, separator: str) -> None:
    if not header:
        raise DataError(
            "the file has no header",
            where=f"{name}, row 1",
            expected="a line of column names",
            got="empty lines only",
            hint="export the delivery again, with column names",
        )
    for other, words in _SEPARATORS.items():
        if other != separator and header[0].count(other) > len(header) - 1:
            raise DataError(
                f"the file is separated by {words}, not by {_SEPARATORS[separator]}",
                where=f"{name}, row 1",
                expected=f"columns separated by {_SEPARATORS[separator]}",
                got=shown(separator.join(header)),
                hint=f"declare separator = {other!r} (and decimal) under [[delivery]] of the instrument, or save the file with "
                f"{_SEPARATORS[separator]}",
            )
