"""Read an SPSS file (.sav, .zsav) as text, with the labels of its values and what it declares missing.

A process of its own reads (`spss_apart`); what it says of size is checked before. Cells are codes; whether a label stands for
its code depends on the item, which `forms` knows.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from fieldwork.errors import DataError
from fieldwork.intake.cells import MOST_COLUMNS, Cells, categorical, changed, too_wide
from fieldwork.intake.problems import shown
from fieldwork.provenance import sha256_file

__all__ = ["read_spss"]

_HELD = 4_000_000  # cells that the other process holds at a time
_MEMORY = 4 << 30  # bytes of address space of the other process
_SECONDS = 120  # of CPU, and as many again for every 100 MB of the file
_LARGEST = 16 << 30  # bytes unpacked
_RATIO = 150  # bytes unpacked per byte packed, beyond which a large file holds no answers
_SMALL = 32 << 20  # below this the ratio does not matter
_ENCODINGS = {"cp1252": "WINDOWS-1252", "mac-roman": "MACINTOSH"}
_APART = Path(__file__).with_name("spss_apart.py")


def read_spss(path: Path, *, name: str, encoding: str = "", rows: int | None = None) -> Generator[Cells]:
    """Give an SPSS file piece by piece, about `rows` rows each, as codes: whole numbers without a point, times in ISO form.

    Rows are numbered from 2, as if a header stood above them; a system-missing value is an empty text. Every piece has the
    labels of values by column and code, the questions (the variables' labels), and the codes that the file declares missing.
    Raises DataError for a damaged file, one that unpacks beyond the bounds, an encoding that is not what it claims to be, or
    a file that changes meanwhile.
    """
    before = sha256_file(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        _refuse_bombs(file.read(88), size, name)
    command = [sys.executable, "-I", str(_APART), str(path), _ENCODINGS.get(encoding, encoding)]
    bounds = [_HELD, _MEMORY, _SECONDS * (1 + size // (100 << 20))]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen([*command, *map(str, bounds)], stdout=subprocess.PIPE, stderr=said) as apart,
    ):
        try:
            yield from _pieces(apart, name, size, before, rows)
        except (pa.ArrowException, OSError, ValueError) as error:
            apart.wait()
            said.seek(0)
            raise _damaged(name, said.read().decode("utf-8", "replace"), apart.returncode) from error
        finally:
            apart.kill()
    if (after := sha256_file(path)) != before:
        raise changed(name, before, after)


def _pieces(apart: subprocess.Popen[bytes], name: str, size: int, sha256: str, rows: int | None) -> Iterator[Cells]:
    assert apart.stdout is not None  # noqa: S101 - asked for
    told = json.loads(apart.stdout.readline())
    if len(told["names"]) > MOST_COLUMNS:
        raise too_wide(name, len(told["names"]))
    columns: list[list[pa.Array]] = [[] for _ in told["names"]]
    first, held, given, cells = 2, 0, False, 0

    def piece() -> Cells:
        frame = pd.DataFrame(
            {place: categorical(chunks) for place, chunks in enumerate(columns)},
            index=pd.RangeIndex(first, first + held, name="row"),
        )
        return Cells(
            tuple(told["names"]), frame, (), trailing_separator=False, sha256=sha256,
            questions=tuple(told["questions"]), labels=_by_place(told, told["labels"]),
            declared_missing=_missing(told, frame),
        )  # fmt: skip

    with pa.ipc.open_stream(apart.stdout) as stream:
        for batch in stream:
            cells += batch.num_rows * len(columns)
            _refuse_size(cells * 8, size, name)
            for start in range(0, batch.num_rows, rows or batch.num_rows or 1):
                part = batch.slice(start, rows or batch.num_rows)
                for chunks, column in zip(columns, part.columns, strict=True):
                    chunks.append(column.dictionary_encode())
                held += part.num_rows
                if rows:
                    yield piece()
                    first, held, given, columns = first + held, 0, True, [[] for _ in columns]
    if apart.wait():
        raise ValueError("the process that reads the file failed")
    if held or not given:
        yield piece()


def _by_place(told: dict[str, Any], by_name: dict[str, Any]) -> dict[int, Any]:
    return {place: by_name[each] for place, each in enumerate(told["names"]) if each in by_name}


def _missing(told: dict[str, Any], frame: pd.DataFrame) -> dict[int, frozenset[str]]:
    """Return the distinct cells of a piece that lie in a range that the file declares missing, by column."""
    found = {}
    for place, ranges in _by_place(told, told["missing"]).items():
        inside = frozenset(text for text in frame[place].cat.categories if any(_within(text, each) for each in ranges))
        if inside:
            found[place] = inside
    return found


def _within(text: str, range_: dict[str, Any]) -> bool:
    low, high = range_["lo"], range_["hi"]
    if isinstance(low, str) or isinstance(high, str):
        return bool(text.strip()) and text.strip() == str(low).strip()
    try:
        return bool(low <= float(text) <= high)
    except ValueError:
        return False


def _refuse_bombs(head: bytes, size: int, name: str) -> None:
    """Hold what the head of the file says of its size against the bounds."""
    if head[:4] not in {b"$FL2", b"$FL3"} or len(head) < 84:
        raise _damaged(name, "not the head of an SPSS file" if head else "0 bytes", 0)
    order = "<" if head[64:68] in {b"\x02\0\0\0", b"\x03\0\0\0"} else ">"
    width, _, _, cases = struct.unpack(f"{order}4i", head[68:84])
    _refuse_size(max(width, 0) * max(cases, 0) * 8, size, name)


def _refuse_size(unpacked: int, size: int, name: str) -> None:
    if unpacked > _LARGEST or (unpacked > _SMALL and unpacked > _RATIO * size):
        raise DataError(
            "the file unpacks to more than a delivery holds",
            where=name,
            expected=f"at most {_LARGEST >> 30} GB unpacked, {_RATIO} times the file",
            got=f"{unpacked / 2**20:,.0f} MB from {size / 2**20:,.1f} MB",
            hint="export the delivery again, or save it as CSV UTF-8 with value labels",
        )


def _damaged(name: str, said: str, code: int | None) -> DataError:
    told = next((line for line in reversed(said.strip().splitlines()) if line.strip()), "")
    if "convert string" in told or "codec can't" in told:
        return DataError(
            "the texts of the file are not in the encoding that it names",
            where=name,
            expected="an SPSS file in UTF-8, or its encoding declared",
            got=shown(told),
            hint="declare encoding = 'cp1252' under [[delivery]] of the instrument, or save the file as UTF-8",
        )
    died = f"the process that read it was ended ({code})" if code and code < 0 else "an SPSS file of another kind"
    return DataError(
        "the SPSS file is damaged",
        where=name,
        expected="an SPSS file (.sav, .zsav), whole",
        got=shown(told) or died,
        hint="open it in SPSS and save it again, or save it as CSV UTF-8 with value labels",
    )
