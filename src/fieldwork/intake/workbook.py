"""Read one sheet of a workbook as text: bounded before it is unpacked, and no cell is run, fetched or guessed.

An .xlsx file is a zip archive of XML. Its table of contents is held against bounds before anything is unpacked, the XML is
read as a stream, and a document type, by which entities are declared, is refused. Formulas are not run: their stored value
counts, and a row with a formula that has none is set aside.

Why no library: python-calamine 0.9.1 reads a cell `#N/A` as a blank, has no sign of a formula without a value, and ends the
whole process at a stray cell in the last corner, for it lays out all 17 thousand million cells. openpyxl 3.1.5 with defusedxml
holds the styles as objects: a workbook of 69 KB with 1.6 million of them takes 25 s and 1.2 GB behind the same look at the
archive (3 s here); it tells a formula without a value by a second reading only, and is four times as slow for it.
"""

from __future__ import annotations

import errno
import lzma
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import IO
from xml.parsers import expat

import numpy as np
import pandas as pd
import pyarrow as pa

from fieldwork.errors import DataError, listed, nearest
from fieldwork.intake.cells import MOST_COLUMNS, Cells, Irregular, categorical, changed, refuse_expanded, too_wide
from fieldwork.intake.problems import shown
from fieldwork.provenance import sha256_file

__all__ = ["read_workbook"]

_LARGEST = 512 << 20  # bytes unpacked; a workbook of a million rows and twenty columns has about 300 MB
_RATIO = 150  # bytes unpacked per byte packed, beyond which a large archive is no workbook of answers
_SMALL = 32 << 20  # below this the ratio does not matter
_ENTRIES = 2_000
_BATCH = 2_000  # rows that are held as Python texts at a time
_FARTHEST = 100_000  # empty lines between two rows
_BUILT_IN_DATES = {*range(14, 23), *range(45, 48)}
_ADDRESS = re.compile(r"([A-Z]{1,3})([0-9]{1,7})", re.ASCII)
_LITERAL = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
_LAST_DAY = datetime(9999, 12, 31)  # noqa: DTZ001 - of the calendar; cells know no time zone
_DAYS = 2_958_466  # to its end, from 1900
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@dataclass(frozen=True, slots=True)
class _Cell:
    column: int
    text: str
    formula: bool


def read_workbook(
    path: Path, *, name: str, sheet: str = "", header_lines: int = 1, rows: int | None = None
) -> Generator[Cells]:
    """Give a sheet of an .xlsx workbook piece by piece: the one that is named, else the only one that holds anything.

    Rows are numbered as the spreadsheet numbers them; hidden rows count, empty ones do not. Dates become ISO texts by the
    workbook's own calendar (1900 or 1904), whole numbers lose their decimal point. The table is as wide as its first
    `header_lines` lines. Raises DataError for an archive beyond
    the bounds, a damaged or encrypted file, a sheet that is not there, several sheets and none named, or a cell that
    stands far outside the table.
    """
    before = sha256_file(path)
    with path.open("rb") as file:
        _refuse_others(file.read(8), name)
        with _unpacking(name):
            archive = zipfile.ZipFile(file)
        with archive:
            _refuse_bombs(archive, path.stat().st_size, name)
            book = _Workbook(archive, name)
            yield from _read(book, sheet, header_lines, before, rows or sys.maxsize, path.stat().st_size)
    if (after := sha256_file(path)) != before:
        raise changed(name, before, after)


@contextmanager
def _unpacking(name: str) -> Iterator[None]:
    """Tell of an archive that cannot be unpacked as of a damaged workbook; it stands around the archive's own work alone.

    zipfile passes on what the method of compression raises: zlib's and lzma's errors, bz2's OSError without a number, and the
    system's refusal of a place that a damaged table of contents names.
    """
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError) as error:
        raise _damaged(name, str(error)) from error
    except OSError as error:
        if error.errno not in {None, errno.EINVAL}:
            raise
        raise _damaged(name, str(error)) from error


def _damaged(name: str, got: str) -> DataError:
    return DataError(
        "the workbook is damaged",
        where=name,
        expected="an .xlsx workbook, whole",
        got=shown(got),
        hint="open it in a spreadsheet and save it again, or save the sheet as CSV UTF-8",
    )


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise _damaged(name, f"'{text[:40]}' where a whole number is due") from error


def _refuse_others(head: bytes, name: str) -> None:
    if head.startswith(b"PK"):
        return
    old = head.startswith(_OLE)
    other = "the file is no workbook, whatever its name says"
    raise DataError(
        "the workbook is encrypted, or in the form of before 2007" if old else other,
        where=name,
        expected="an .xlsx workbook without a password",
        got="an OLE container" if old else ("0 bytes" if not head else "bytes of another kind"),
        hint="save it as .xlsx without a password, or as CSV UTF-8",
    )  # fmt: skip


def _refuse_bombs(archive: zipfile.ZipFile, packed: int, name: str) -> None:
    """Hold the table of contents against the bounds; a stream never gives more bytes than it says there."""
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    told = f"{unpacked / 2**20:,.0f} MB unpacked from {packed / 2**20:,.1f} MB, in {len(entries):,} parts"
    if unpacked > _LARGEST or len(entries) > _ENTRIES or (unpacked > _SMALL and unpacked > _RATIO * packed):
        raise DataError(
            "the workbook unpacks to more than a delivery holds",
            where=name,
            expected=f"at most {_LARGEST >> 20} MB unpacked, {_RATIO} times the file, {_ENTRIES:,} parts",
            got=told,
            hint="delete empty formatted rows and columns and save again, or save the sheet as CSV UTF-8",
        )


class _Workbook:
    """The parts of a workbook: sheets by name, shared texts, and which styles are dates."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.archive, self.name = archive, name
        self.parts = {entry.filename.lstrip("/"): entry for entry in archive.infolist()}
        if "xl/workbook.xml" not in self.parts:
            raise DataError(
                "the file is a zip archive and no workbook",
                where=name,
                expected="an .xlsx workbook",
                got=listed(shown(part) for part in sorted(self.parts)) or "an empty archive",
                hint="unpack it and lay its files into the folder of deliveries",
            )
        self.epoch = datetime(1899, 12, 30)  # noqa: DTZ001 - cells know no time zone
        sheets: list[tuple[str, str]] = []
        targets: dict[str, str] = {}

        def workbook(tag: str, given: dict[str, str]) -> None:
            if tag == "sheet":
                sheets.append((given.get("name", ""), next((v for k, v in given.items() if k.endswith(":id")), "")))
            elif tag == "workbookPr" and given.get("date1904", "0") in {"1", "true"}:
                self.epoch = datetime(1904, 1, 1)  # noqa: DTZ001

        def relation(tag: str, given: dict[str, str]) -> None:
            if tag == "Relationship":
                target = given.get("Target", "")
                targets[given.get("Id", "")] = target.lstrip("/") if target.startswith("/") else f"xl/{target}"

        self._stream("xl/workbook.xml", workbook)
        self._stream("xl/_rels/workbook.xml.rels", relation)
        if lost := [sheet for sheet, key in sheets if targets.get(key, "") not in self.parts]:
            raise _damaged(name, f"no content of sheet {listed(shown(each) for each in lost)}")
        self.sheets = {sheet: targets[key] for sheet, key in sheets}
        self.seconds = (_LAST_DAY - self.epoch + timedelta(days=1)).total_seconds()
        self.texts = self._texts()
        self.dates = self._dates()

    def _stream(
        self,
        part: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> None:
        for _ in self._steps(part, start, end, text):
            pass

    def _steps(
        self,
        part: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] | None,
        text: Callable[[str], None] | None,
    ) -> Iterator[None]:
        """Read a part piece by piece; names come without their namespace."""
        if part not in self.parts:
            return
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = lambda tag, given: start(tag.rpartition(":")[2], given)
        if end is not None:
            parser.EndElementHandler = lambda tag: end(tag.rpartition(":")[2])
        if text is not None:
            parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        with _unpacking(self.name):
            stream = self.archive.open(self.parts[part])
        with stream:
            last = False
            while not last:
                with _unpacking(self.name):
                    block = _block(stream)
                last = not block
                try:
                    parser.Parse(block, last)
                # An encoding that the XML names and nobody knows is a LookupError.
                except (expat.ExpatError, LookupError) as error:
                    raise _damaged(self.name, str(error)) from error
                yield

    def _refuse_doctype(self, *_: object) -> None:
        raise DataError(
            "the workbook declares a document type, which no spreadsheet writes",
            where=self.name,
            expected="XML without a document type and without entities",
            got="<!DOCTYPE",
            hint="do not open the file; ask the sender for CSV UTF-8",
        )

    def _texts(self) -> list[str]:
        """Return the shared texts; what helps to pronounce them is left out."""
        found: list[str] = []
        pieces: list[str] = []
        inside = {"t": False, "rPh": False}

        def start(tag: str, _: dict[str, str]) -> None:
            if tag == "si":
                pieces.clear()
            elif tag in inside:
                inside[tag] = True

        def end(tag: str) -> None:
            if tag == "si":
                found.append("".join(pieces))
            elif tag in inside:
                inside[tag] = False

        def text(piece: str) -> None:
            if inside["t"] and not inside["rPh"]:
                pieces.append(piece)

        self._stream("xl/sharedStrings.xml", start, end, text)
        return found

    def _dates(self) -> list[bool]:
        """Tell of each cell style whether it shows a number as a date."""
        own: dict[int, bool] = {}
        styles: list[int] = []
        within = [False]

        def start(tag: str, given: dict[str, str]) -> None:
            if tag == "numFmt":
                form = _LITERAL.sub("", given.get("formatCode", "")).lower()
                own[_whole(given.get("numFmtId", "0"), self.name)] = form != "general" and bool(
                    set(form) & set("ydhms")
                )
            elif tag == "cellXfs":
                within[0] = True
            elif tag == "xf" and within[0]:
                styles.append(_whole(given.get("numFmtId", "0"), self.name))

        def end(tag: str) -> None:
            if tag == "cellXfs":
                within[0] = False

        self._stream("xl/styles.xml", start, end)
        return [own.get(style, style in _BUILT_IN_DATES) for style in styles]

    def rows(self, sheet: str) -> Iterator[tuple[int, list[_Cell]]]:
        """Give the rows of a sheet that hold anything, with their numbers."""
        reader = _Sheet(self)
        for _ in self._steps(self.sheets[sheet], reader.start, reader.end, reader.text):
            yield from reader.ready
            reader.ready.clear()


def _block(stream: IO[bytes]) -> bytes:
    return stream.read(1 << 18)


class _Sheet:
    """What the parser of a sheet remembers: the row and the cell that it stands in."""

    def __init__(self, book: _Workbook) -> None:
        self.book = book
        self.ready: list[tuple[int, list[_Cell]]] = []
        self.row = self.column = 0
        self.cells: list[_Cell] = []
        self.kind = self.style = ""
        self.value: list[str] = []
        self.formula = self.reading = self.spoken = False

    def start(self, tag: str, given: dict[str, str]) -> None:
        if tag == "row":
            self.row = _whole(given["r"], self.book.name) if "r" in given else self.row + 1
            self.column, self.cells = 0, []
        elif tag == "c":
            found, before = _ADDRESS.fullmatch(given.get("r", "")), self.column
            self.column = _number(found[1]) if found else self.column + 1
            if self.column <= before:
                raise _damaged(self.book.name, f"cells of row {self.row} out of order, or one of them twice")
            self.kind, self.style = given.get("t", "n"), given.get("s", "")
            self.value, self.formula = [], False
        elif tag == "f":
            self.formula = True
        elif tag in {"v", "t"}:
            self.reading = not self.spoken
        elif tag == "rPh":
            self.spoken = True

    def end(self, tag: str) -> None:
        if tag in {"v", "t"}:
            self.reading = False
        elif tag == "rPh":
            self.spoken = False
        elif tag == "c":
            text = self._text("".join(self.value))
            if text or self.formula:
                self.cells.append(_Cell(self.column, text, self.formula and not self.value))
        elif tag == "row" and self.cells:
            self.ready.append((self.row, self.cells))

    def text(self, piece: str) -> None:
        if self.reading:
            self.value.append(piece)

    def _text(self, raw: str) -> str:
        if self.kind == "s":
            place = _whole(raw, self.book.name) if raw else -1
            if not 0 <= place < len(self.book.texts):
                raise _damaged(self.book.name, f"cell {self.row}:{self.column} names a shared text that is not there")
            return self.book.texts[place]
        if self.kind != "n" or not raw:
            return raw
        try:
            number = float(raw)
        except ValueError as error:
            raise _damaged(self.book.name, f"'{raw[:40]}' where a number is due") from error
        style = _whole(self.style, self.book.name) if self.style else 0
        dated = 0 <= style < len(self.book.dates) and self.book.dates[style]
        if dated and 0 <= number < _DAYS and (seconds := round(number * 86_400)) < self.book.seconds:
            moment = self.book.epoch + timedelta(seconds=seconds)
            return moment.date().isoformat() if number == int(number) else moment.isoformat()
        return str(int(number)) if abs(number) < 1e15 and number == int(number) else repr(number)


def _number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - 64
    return number


def _read(book: _Workbook, sheet: str, header_lines: int, sha256: str, most: int, size: int) -> Iterator[Cells]:
    name = book.name
    rows = book.rows(_chosen(book, name, sheet))
    row, cells = next(rows, (0, []))
    if not cells:
        raise DataError(
            "the workbook is empty",
            where=name,
            expected="a header line and one line per respondent",
            got=f"{len(book.sheets)} empty sheets",
            hint="export the delivery again",
        )
    further = list(islice(rows, header_lines - 1))
    width = max(cell.column for _, line in [(row, cells), *further] for cell in line)
    if width > MOST_COLUMNS:
        raise too_wide(name, width)
    piece = _Piece(tuple(_filled(cells, width)), sha256)
    given, characters = False, 0
    last = row
    for number, line in chain(further, rows):
        _refuse_far(number, last, line, width, name)
        last = number
        characters += sum(len(cell.text) for cell in line)
        refuse_expanded(characters, size, name)
        if piece.held == most:
            yield piece.cells()
            given, piece = True, _Piece(piece.header, sha256)
        piece.add(number, line)
    if piece.held or not given:
        yield piece.cells()


class _Piece:
    """Rows of a sheet on their way into a piece."""

    def __init__(self, header: tuple[str, ...], sha256: str) -> None:
        self.header, self.sha256 = header, sha256
        self.columns: list[list[pa.Array]] = [[] for _ in header]
        self.known: list[dict[str, int]] = [{"": 0} for _ in header]
        self.codes: list[list[int]] = []
        self.lines: list[int] = []
        self.irregular: list[Irregular] = []
        self.without: list[tuple[int, int]] = []

    @property
    def held(self) -> int:
        return len(self.lines) + len(self.irregular)

    def add(self, number: int, line: list[_Cell]) -> None:
        self.without += [(number, cell.column - 1) for cell in line if cell.formula]
        if (beyond := line[-1].column) > len(self.header):
            self.irregular.append(Irregular(number, tuple(_filled(line, beyond))))
            return
        self.lines.append(number)
        codes = [0] * len(self.header)
        for cell in line:
            known = self.known[cell.column - 1]
            codes[cell.column - 1] = known.setdefault(cell.text, len(known))
        self.codes.append(codes)
        if len(self.codes) == _BATCH:
            self._store()

    def _store(self) -> None:
        """Put the rows by: a text that many cells share is held once."""
        for chunks, codes, known in zip(self.columns, zip(*self.codes, strict=True), self.known, strict=False):
            texts = pa.array(list(known), pa.string())
            chunks.append(pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), texts))
        self.codes.clear()
        self.known = [{"": 0} for _ in self.header]

    def cells(self) -> Cells:
        self._store()
        frame = pd.DataFrame(
            {place: categorical(chunks) for place, chunks in enumerate(self.columns)},
            index=pd.Index(np.asarray(self.lines, dtype="int64"), name="row"),
        )
        return Cells(
            self.header, frame, tuple(self.irregular), trailing_separator=False, sha256=self.sha256,
            without_value=tuple(self.without),
        )  # fmt: skip


def _filled(cells: list[_Cell], width: int) -> list[str]:
    texts = [""] * width
    for cell in cells:
        texts[cell.column - 1] = cell.text
    return texts


def _refuse_far(number: int, last: int, cells: list[_Cell], width: int, name: str) -> None:
    far = cells[-1].column > width + 100
    if not far and 0 < number - last <= _FARTHEST:
        return
    raise DataError(
        "a cell stands far outside the table" if far or number > last else "the rows of the sheet are out of order",
        where=f"{name}, row {number}, column {cells[-1].column}",
        expected=f"cells below the {width} columns of the header, rows without large gaps",
        got=f"a filled cell in column {cells[-1].column}, {number - last:,} rows below the row before",
        hint="delete what stands outside the table, or save the sheet as CSV UTF-8",
    )


def _chosen(book: _Workbook, name: str, sheet: str) -> str:
    if sheet:
        if sheet in book.sheets:
            return sheet
        near = nearest(sheet, book.sheets)
        raise DataError(
            f"the workbook has no sheet '{shown(sheet)}'",
            where=name,
            expected=shown(sheet),
            got=listed(shown(each) for each in book.sheets),
            hint=f"did you mean {shown(near)}? " * bool(near) + "[[delivery]] sheet of the instrument names it",
        )
    filled = [each for each in book.sheets if next(book.rows(each), None) is not None]
    if len(filled) > 1:
        raise DataError(
            "the workbook has several sheets, and none is named",
            where=name,
            expected="one sheet with answers, or sheet = ... under [[delivery]] of the instrument",
            got=listed(shown(each) for each in filled),
            hint=f"name the sheet: sheet = '{shown(filled[0])}', or delete the others",
        )
    if not filled:
        raise DataError(
            "the workbook is empty",
            where=name,
            expected="a header line and one line per respondent",
            got=listed(shown(each) for each in book.sheets) or "no sheet",
            hint="export the delivery again",
        )
    return filled[0]
