"""What differs between a file as it should be and as it is: the cell, the claim, the word, the data behind a figure."""

from __future__ import annotations

import csv
import difflib
import html
import io
import itertools
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from fieldwork.bundle.tolerance import PUBLISHED, tolerance_of, within

__all__ = ["Difference", "behind", "compare", "compare_essay", "reference_at"]

MOST = 20
"""Differences that are told of one file; further ones are counted."""

_KEYS = (
    "wave",
    "chapter",
    "construct",
    "measure",
    "statistic",
    "role",
    "role_2",
    "stage",
    "segment",
    "item",
    "method",
    "spec",
)
_CLAIM = re.compile(r"(?<![A-Za-z0-9])[A-Z]\d{1,3}(?![A-Za-z0-9])")
_PICTURES = (".svg", ".pdf", ".png")
_SHOWN = 80

Rows = list[list[str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be.

    Attributes
    ----------
    kind : str                  `missing`, `extra`, `changed`, `cell`, `row`, `column`, `claim`, `text`, `figure` or `archive`.
    file : str                  Path of the file.
    place : str                 Where in it: row and column, claim and field, line.
    expected, found : str       Both values; empty where there is none.
    difference : float or None  Found less expected, of numbers.
    tolerance : float or None   Largest difference that would be the same.
    """

    kind: str
    file: str
    place: str = ""
    expected: str = ""
    found: str = ""
    difference: float | None = None
    tolerance: float | None = None

    def __str__(self) -> str:
        """One line for a reader."""
        place = f", {self.place}" if self.place else ""
        said = f"{self.kind}: {self.file}{place}"
        if self.expected or self.found:
            said += f": {self.expected or '(nothing)'} → {self.found or '(nothing)'}"
        if self.difference is not None:
            said += f" (differs by {self.difference:.3g}, tolerance {self.tolerance or 0:g})"
        return said


def compare(name: str, expected: bytes, found: bytes, *, exact: bool = True) -> list[Difference]:
    """Return what differs between two versions of a file; empty for files that are the same.

    Parameters
    ----------
    name : str              Path of the file; its ending says how it is read.
    expected, found : bytes What should be, and what is.
    exact : bool            Numbers must be the same; else estimates may differ by the tolerance of their estimator.

    Two files of other bytes are never told as the same, unless every cell is within its tolerance.
    """
    if expected == found:
        return []
    suffix = PurePosixPath(name).suffix
    reader = _READERS.get(suffix)
    if reader is None:
        return [_bytes(name, expected, found)]
    try:
        told = list(reader(name, expected, found, exact))
    except Exception as error:  # noqa: BLE001 - a damaged file may break its reader in any way, and is told as damaged
        whole = _bytes(name, expected, found)
        return [
            Difference(
                "changed", name, f"{whole.place}; cannot be read: {type(error).__name__}", whole.expected, whole.found
            )
        ]
    if not told and exact:
        return [_bytes(name, expected, found)]
    more = len(told) - MOST
    return [*told[:MOST], Difference("changed", name, f"{more} more differences")] if more > 0 else told


def _bytes(name: str, expected: bytes, found: bytes) -> Difference:
    at = next((place for place, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), None)
    if at is None:
        return Difference("changed", name, "length", f"{len(expected)} bytes", f"{len(found)} bytes")
    return Difference("changed", name, f"byte {at}", f"0x{expected[at]:02x}", f"0x{found[at]:02x}")


# Tables


def _csv(name: str, expected: bytes, found: bytes, exact: bool) -> Iterator[Difference]:
    one, other = (list(csv.reader(io.StringIO(content.decode("utf-8-sig")))) for content in (expected, found))
    yield from _tables(name, one, other, exact)


def _parquet(name: str, expected: bytes, found: bytes, exact: bool) -> Iterator[Difference]:
    from pyarrow import BufferReader, parquet  # noqa: PLC0415

    rows: list[Rows] = []
    for content in (expected, found):
        table = parquet.read_table(BufferReader(content))
        columns = [["" if value is None else _text(value) for value in column.to_pylist()] for column in table.columns]
        rows.append([table.column_names, *map(list, zip(*columns, strict=True))])
    yield from _tables(name, rows[0], rows[1], exact)


def _text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _tables(name: str, expected: Rows, found: Rows, exact: bool) -> Iterator[Difference]:
    if not expected or not found:
        yield Difference("changed", name, "rows", str(len(expected)), str(len(found)))
        return
    head = expected[0]
    yield from _columns(name, head, found[0])
    keys = [place for place, column in enumerate(head) if column in _KEYS]
    method = head.index("method") if "method" in head else None
    for low, high, first, last in _unlike(expected, found):
        both = min(high - low, last - first)
        for step in range(both):
            row, seen = expected[low + step], found[first + step]
            tolerance = PUBLISHED if exact else tolerance_of(row[method] if method is not None else "")
            yield from _cells(name, _label(low + step, row, head, keys), head, row, seen, tolerance)
        for place in range(low + both, high):
            yield Difference("row", name, _label(place, expected[place], head, keys), _row(expected[place]), "")
        for place in range(first + both, last):
            yield Difference("row", name, f"row {place}", "", _row(found[place]))


def _columns(name: str, head: Sequence[str], other: Sequence[str]) -> Iterator[Difference]:
    for number, (one, two) in enumerate(itertools.zip_longest(head, other, fillvalue=""), 1):
        if one != two:
            yield Difference("column", name, f"column {number}", one, two)


def _unlike(expected: Rows, found: Rows) -> Iterator[tuple[int, int, int, int]]:
    """Yield stretches of rows that differ, as first and last + 1 in either table; alike ends are not searched."""
    if len(expected) == len(found):
        for place in range(1, len(expected)):
            if expected[place] != found[place]:
                yield place, place + 1, place, place + 1
        return
    shortest = min(len(expected), len(found))
    start = next((place for place in range(1, shortest) if expected[place] != found[place]), shortest)
    end = next((n for n in range(shortest - start) if expected[-1 - n] != found[-1 - n]), shortest - start)
    one, other = ([tuple(row) for row in rows[start : len(rows) - end]] for rows in (expected, found))
    for tag, low, high, first, last in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag != "equal":
            yield start + low, start + high, start + first, start + last


def _cells(
    name: str, label: str, head: Sequence[str], row: Sequence[str], seen: Sequence[str], tolerance: float
) -> Iterator[Difference]:
    for place in range(max(len(row), len(seen))):
        one, other = (cells[place] if place < len(cells) else "" for cells in (row, seen))
        if one == other:
            continue
        column = head[place] if place < len(head) else f"column {place + 1}"
        numbers = _numbers(one, other)
        if numbers and within(*numbers, tolerance) and tolerance > 0:
            continue
        gap = numbers[1] - numbers[0] if numbers else None
        yield Difference("cell", name, f"{label}, column {column}", one or "(empty)", other or "(empty)", gap,
                         tolerance if numbers else None)  # fmt: skip


def _numbers(one: str, other: str) -> tuple[float, float] | None:
    try:
        return float(one), float(other)
    except ValueError:
        return None


def _label(place: int, row: Sequence[str], head: Sequence[str], keys: Sequence[int]) -> str:
    known = " ".join(f"{head[key]}={row[key]}" for key in keys if key < len(row) and row[key] and head[key] != "wave")
    return f"row {place}" + (f" ({known})" if known else "")


def _row(cells: Sequence[str]) -> str:
    return _short(",".join(cells))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


# Records and settings


def _json(name: str, expected: bytes, found: bytes, _exact: bool) -> Iterator[Difference]:
    yield from _values(name, json.loads(expected), json.loads(found), "")


def _toml(name: str, expected: bytes, found: bytes, exact: bool) -> Iterator[Difference]:
    one, other = (tomllib.loads(content.decode()) for content in (expected, found))
    told = list(_values(name, one, other, ""))
    yield from told or _lines(name, expected, found, exact)


def _notebook(name: str, expected: bytes, found: bytes, _exact: bool) -> Iterator[Difference]:
    """Compare cells and what they show; which Python ran them is no part of a result."""
    one, other = (json.loads(content) for content in (expected, found))
    both = [
        {"cells": [{key: cell.get(key) for key in ("source", "outputs")} for cell in book["cells"]]}
        for book in (one, other)
    ]
    yield from _values(name, both[0], both[1], "")


def _values(name: str, one: Any, other: Any, place: str) -> Iterator[Difference]:  # noqa: ANN401 - any JSON value
    if isinstance(one, list) and isinstance(other, list):
        entries = _by_id(one), _by_id(other)
        one, other = entries if all(entries) else (_numbered(one), _numbered(other))
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            inside = f"{place}.{key}" if place else str(key)
            if key in one and key in other:
                yield from _values(name, one[key], other[key], inside)
            else:
                yield _valued(name, inside, *(_plain(each[key]) if key in each else "" for each in (one, other)))
    elif one != other or type(one) is not type(other):
        yield _valued(name, place, _plain(one), _plain(other))


def _numbered(entries: list[Any]) -> dict[str, Any]:
    return {str(number): entry for number, entry in enumerate(entries)}


def _by_id(entries: list[Any]) -> dict[str, Any]:
    """Return entries by their id, where each has one of its own; else nothing."""
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in entries]
    plain = [each for each in ids if isinstance(each, str)]
    return dict(zip(plain, entries, strict=True)) if len(set(plain)) == len(entries) > 0 else {}


def _plain(value: Any) -> str:  # noqa: ANN401
    return _short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _valued(name: str, place: str, one: str, other: str) -> Difference:
    found = _CLAIM.search(place)
    numbers = _numbers(one, other)
    gap, tolerance = (numbers[1] - numbers[0], PUBLISHED) if numbers else (None, None)
    if found:
        return Difference("claim", name, f"claim {found[0]}, {place}", one, other, gap, tolerance)
    return Difference("changed", name, place, one, other, gap, tolerance)


# Texts and figures


def _markup(name: str, expected: bytes, found: bytes, exact: bool) -> Iterator[Difference]:
    one, other = (_stripped(content.decode()).encode() for content in (expected, found))
    told = list(_lines(name, one, other, exact))
    yield from told or _lines(name, expected, found, exact)


def _stripped(text: str) -> str:
    text = re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.DOTALL | re.IGNORECASE)
    return html.unescape(re.sub(r"<[^>]+>", "", text))


def _lines(name: str, expected: bytes, found: bytes, _exact: bool) -> Iterator[Difference]:
    one, other = expected.decode().splitlines(), found.decode().splitlines()
    for tag, low, high, first, last in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for step in range(max(high - low, last - first)):
            was = one[low + step] if low + step < high else ""
            is_now = other[first + step] if first + step < last else ""
            claims = Counter(
                _CLAIM.findall(" ".join(one[max(0, low + step - 3) : low + step + 1])) or _CLAIM.findall(was)
            )
            about = f", claim {', '.join(claims)}" if claims else ""
            yield Difference("text", name, f"line {low + step + 1}{about}", *_words(was, is_now))


def compare_essay(name: str, expected: bytes, found: bytes, source: str) -> list[Difference]:
    """Return what differs between two versions of an essay as text, each with the reference that puts the words there.

    `source`: the essay as it was written, with references in double braces.
    """
    told = compare(name, expected, found)
    lines, others = expected.decode().splitlines(), found.decode("utf-8", "replace").splitlines()
    marked = []
    for each in told:
        number = re.match(r"line (\d+)", each.place)
        line = lines[int(number[1]) - 1] if number and int(number[1]) <= len(lines) else ""
        other = others[int(number[1]) - 1] if number and int(number[1]) <= len(others) else ""
        about = reference_at(source, line, _alike(line, other)) if line else ""
        kind = "claim" if _CLAIM.search(about) else each.kind
        place = f"line {number[1]}, {about}" if number and about else each.place
        marked.append(replace(each, kind=kind, place=place))
    return marked


def reference_at(source: str, line: str, at: int) -> str:
    """Return which reference of an essay's source put the text that stands at a place of a line; empty where none is near.

    >>> reference_at("Costs rose by {{ supported.H7.estimate }} in a year.", "Costs rose by 0.35 in a year.", 16)
    'claim H7 (supported.H7.estimate)'
    >>> reference_at("Costs rose by {{ supported.H7.estimate }} in a year.", "Costs rose by 0.35 in a year.", 3)
    'prose beside claim H7'
    """
    line = _straight(line)
    best, pieces = 0, [""]
    for paragraph in re.split(r"\n\s*\n", _straight(source)):
        found = re.split(r"\{\{(.*?)\}\}", " ".join(paragraph.split()))
        score = sum(len(piece) for piece in found[::2] if len(piece.strip()) > 3 and piece.strip() in line)
        if score > best:
            best, pieces = score, found
    claims = dict.fromkeys(claim for piece in pieces[1::2] for claim in _CLAIM.findall(piece))
    beside = f"prose beside claim {', '.join(claims)}" if claims else ""
    place = 0
    for number in range(0, len(pieces), 2):
        start = line.find(pieces[number].strip(), place) if pieces[number].strip() else place
        if start < 0:
            continue
        if at < start and number:
            reference = pieces[number - 1].strip()
            ids = _CLAIM.findall(reference)
            return f"claim {ids[0]} ({reference})" if ids else f"reference {_short(reference)}"
        place = start + len(pieces[number].strip())
        if at < place:
            return beside
    reference = pieces[-2].strip() if len(pieces) > 2 else ""
    ids = _CLAIM.findall(reference)
    return f"claim {ids[0]} ({reference})" if ids else beside


def _alike(one: str, other: str) -> int:
    """Return how many signs two texts have in common from their start."""
    return next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))


def _straight(text: str) -> str:
    return text.translate({0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'"})


def _words(was: str, is_now: str) -> tuple[str, str]:
    """Return the words that differ between two lines, with a word on either side."""
    one, other = was.split(), is_now.split()
    start = next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )
    rest = zip(reversed(one[start:]), reversed(other[start:]), strict=False)
    end = next((place for place, pair in enumerate(rest) if pair[0] != pair[1]), min(len(one), len(other)) - start)
    return tuple(_short(" ".join(words[max(0, start - 2) : len(words) - max(0, end - 2)])) for words in (one, other))  # type: ignore[return-value]


_READERS = {
    ".csv": _csv,
    ".html": _markup,
    ".ipynb": _notebook,
    ".json": _json,
    ".md": _lines,
    ".parquet": _parquet,
    ".toml": _toml,
    ".txt": _lines,
}


def behind(name: str, same: Mapping[str, bool]) -> str:
    """Return what is known of the data behind a figure's file; empty for a file of another kind.

    `same`: whether each file is as it should be, by path.
    """
    path = PurePosixPath(name)
    if path.suffix not in _PICTURES or path.parent.name != "figures":
        return ""
    data = path.with_suffix(".csv").as_posix()
    if data not in same:
        return f"the data behind it ({data}) are missing"
    return f"the data behind it ({data}) are {'the same: the drawing changed' if same[data] else 'changed too'}"
