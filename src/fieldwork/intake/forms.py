"""From a tool's export to cells that the instrument knows: header lines, mapped names, personal columns dropped, plain forms.

Only what the instrument declares is done, and what the file says of itself beyond doubt: Qualtrics' line of import ids,
SurveyMonkey's second line. Texts that do not have the declared form stay as they are, and become faults where they are read.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldwork.instrument import DeliveryForm, MissingCode, fold
from fieldwork.intake.cells import Cells, Irregular
from fieldwork.intake.personal import personal_of, refuse_personal
from fieldwork.intake.problems import HIDDEN

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item, LongForm, Source

__all__ = ["Adapted", "Aside", "adapted", "form_of", "one_header", "plain_name"]

_IMPORT_ID = '{"ImportId":'
_RESPONSE = {"", "response", "open-ended response"}
_COLLECTED = {"respondent id", "collector id"}
_GROUPED = re.compile(r"([+-]?\d{1,3})((?:\.\d{3})+|(?: \d{3})+)?(?:,(\d+))?|([+-]?\d+),(\d+)", re.ASCII)
_WITHHELD = "(withheld)"
_CODED = ("single", "ordinal", "multi", "flag")
_NO_REASON = "nothing to mend, or give the reason a code under [[missing]] of the instrument"
_NO_VALUE = "open the workbook and save it, or type the value"


@dataclass(frozen=True, slots=True)
class Aside:
    """A row that the export itself says something of: that it is no interview, that a cell holds no value or a missing one.

    Attributes
    ----------
    row : int             Line of the file.
    rule : str            Rule under which it is set aside, or remarked on.
    column, value : str   Column as delivered, and its cell.
    mend : str            What the sender can do.
    """

    row: int
    rule: str
    column: str
    value: str
    mend: str


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A file as the instrument knows it.

    Attributes
    ----------
    read : Cells          Header in the instrument's names, cells in its forms, personal columns gone.
    called : dict             Column of the instrument -> header as delivered, where they differ.
    aside : tuple of Aside    Rows that are not read further.
    remarks : tuple of Aside  Rows that are read, with a remark.
    dropped : tuple of str    Personal columns that were dropped.
    """

    read: Cells
    called: dict[str, str]
    aside: tuple[Aside, ...]
    remarks: tuple[Aside, ...]
    dropped: tuple[str, ...]


def form_of(file: str, instrument: Instrument) -> DeliveryForm:
    """Return the first declared form that fits a file name; a file that none fits is in the native form."""
    fits = (form for form in instrument.deliveries if fnmatch.fnmatchcase(file, form.file))
    return next(fits, DeliveryForm())


def plain_name(cell: str) -> str:
    r"""Return a header as headers are compared: invisible characters gone, one blank between words.

    >>> plain_name(" How\u00a0confident\n are you? ")
    'How confident are you?'
    """
    return " ".join(HIDDEN.sub("", unicodedata.normalize("NFC", cell)).split())


def adapted(
    pieces: Iterable[Cells], form: DeliveryForm, instrument: Instrument, name: str, long: LongForm | None = None
) -> Iterator[Adapted]:
    """Give a file, piece by piece, in the names and forms of the instrument; `long`: its rows hold one answer each.

    No piece is given once a column was found that looks personal and is not declared: the rest is read for the names of
    further ones, then DataError names them all.
    """
    found: dict[str, str] = {}
    header: tuple[str, ...] = ()
    tool = ""
    for number, piece in enumerate(pieces):
        if number == 0:
            read, tool, _ = one_header(piece, form)
            header = read.header
        else:
            read = replace(piece, header=header)
        found = _personal(read, form, instrument, long) | found
        if not found:
            yield _adapted(read, form, instrument, long, tool)
    refuse_personal(found, name)


def _personal(read: Cells, form: DeliveryForm, instrument: Instrument, long: LongForm | None) -> dict[str, str]:
    """Return what each column of a piece looks to hold that is neither declared, nor cleared, nor of the instrument."""
    wanted = _wanted(form)
    settled = {fold(header) for header in (*instrument.personal.columns, *instrument.personal.cleared)}
    taken = {*instrument.layout, *(long.columns if long else ())}
    columns = {
        header: read.rows[place].cat.categories
        for place, header in enumerate(map(plain_name, read.header))
        if wanted.get(header, header) not in taken and fold(header) not in settled
    }
    return personal_of(columns)


def _wanted(form: DeliveryForm) -> dict[str, str]:
    return {plain_name(header): column for header, column in form.columns.items()}


def _adapted(read: Cells, form: DeliveryForm, instrument: Instrument, long: LongForm | None, tool: str) -> Adapted:
    aside = _not_interviews(read) if tool == "qualtrics" else []
    aside += [
        Aside(row, "formula_without_value", plain_name(read.header[place]), "", _NO_VALUE)
        for row, place in read.without_value
        if place < len(read.header)
    ]
    read, remarks = _in_words(read, form, instrument, long)
    read, dropped = _without_personal(read, instrument)
    wanted = _wanted(form)
    names = [wanted.get(header, header) for header in map(plain_name, read.header)]
    read, called = _named_as_declared(read, names, form, instrument)
    read = read if long else _with_constants(read, form)
    return Adapted(_in_plain_forms(read, form, instrument, long), called, tuple(aside), tuple(remarks), dropped)


def _source(column: str, instrument: Instrument, long: LongForm | None) -> Source | None:
    """Return what a column feeds; the answers of a long file are those of the first item of its family."""
    if long is None:
        return instrument.layout.get(column)
    return instrument.answers_of(long.family) if column == long.answer else None


def _in_words(
    read: Cells, form: DeliveryForm, instrument: Instrument, long: LongForm | None
) -> tuple[Cells, list[Aside]]:
    """Put the label of a value in place of its code, and no answer in place of a value that the file declares missing.

    Codes are the file's own; words are what was answered. Numbers, ids and texts keep their codes. A value declared missing
    is never an answer: it is the reason that its label or code names, else a blank with a remark.
    """
    if not (read.labels or read.declared_missing):
        return read, []
    rows, remarks, wanted = read.rows.copy(deep=False), [], _wanted(form)
    for place, header in enumerate(map(plain_name, read.header)):
        column = wanted.get(header, header)
        source = _source(column, instrument, long)
        labels, missing = read.labels.get(place, {}), read.declared_missing.get(place, frozenset())
        words = form.values_as == "labels" and (
            source.item.kind in _CODED if source else column == (long and long.member)
        )
        reasons = {text: _reason(text, labels.get(text, ""), source) if source else "" for text in missing}
        if not (words or reasons):
            continue

        def write(
            text: str, words: bool = words, labels: dict[str, str] = labels, reasons: dict[str, str] = reasons
        ) -> str:
            return reasons[text] if text in reasons else (words and labels.get(text)) or text

        if source is not None and (unnamed := [text for text, reason in reasons.items() if not reason]):
            at = rows[place][rows[place].isin(unnamed)]
            remarks += [
                Aside(row, "declared_missing", header, str(text), _NO_REASON)
                for row, text in zip(at.index.tolist(), at, strict=True)
            ]
        rows[place] = _rewritten(rows[place], write)
    return replace(read, rows=rows), remarks


def _reason(text: str, label: str, source: Source) -> str:
    """Return the label or code by which the item knows the reason of a value that is declared missing, or an empty text."""
    named = (known for known in (label, text) if known.strip() and isinstance(source.item.code_of(known), MissingCode))
    return next(named, text if source.item.kind == "number" and source.item.read(text).reason else "")


def one_header(read: Cells, form: DeliveryForm) -> tuple[Cells, str, tuple[str, ...]]:
    """Fold further header lines into one; return the file without them, whose they are, and the questions they hold."""
    first = read.rows.iloc[:2].to_numpy(dtype=object)
    cells = [plain_name(str(cell)) for cell in first[0]] if len(first) else []
    if len(first) == 2 and all(str(cell).startswith(_IMPORT_ID) for cell in first[1]):
        return replace(read, rows=_rest(read.rows, 2)), "qualtrics", tuple(cells)
    names = [fold(cell) for cell in read.header]
    collected = set(names) >= _COLLECTED and bool(cells) and not cells[names.index("respondent id")]
    if cells and (form.headers == "surveymonkey" or collected):
        questions = accumulate(map(plain_name, read.header), _last_filled)
        header = tuple(
            question if option.casefold() in _RESPONSE else f"{question}: {option}"
            for question, option in zip(questions, cells, strict=True)
        )
        return replace(read, header=header, rows=_rest(read.rows, 1)), "surveymonkey", header
    return read, "", tuple(map(plain_name, read.questions)) or ("",) * len(read.header)


def _last_filled(before: str, here: str) -> str:
    return here or before


def _rest(rows: pd.DataFrame, lines: int) -> pd.DataFrame:
    rest = rows.iloc[lines:]
    return pd.DataFrame(
        {column: rest[column].cat.remove_unused_categories() for column in rest.columns}, index=rest.index
    )


def _not_interviews(read: Cells) -> list[Aside]:
    """List the rows that Qualtrics marks as preview, test, spam or unfinished."""
    names = [plain_name(cell) for cell in read.header]
    found: list[Aside] = []
    marked: set[int] = set()
    for column, rule, mend in (
        ("Status", "not_an_interview", "nothing to mend: previews, tests and spam are no interviews"),
        ("Finished", "unfinished", "nothing to mend: the interview was not finished"),
    ):
        if column not in names:
            continue
        cells = read.rows[names.index(column)].astype("str")
        folded = cells.map(fold)
        if column == "Status":
            wrong = folded.isin({"1", "2", "8", "9", "12", "17"}) | folded.str.contains("preview|test|spam")
        else:
            wrong = folded.isin({"0", "false", "no"})
        for row in cells.index[wrong.to_numpy(dtype=bool)]:
            if row not in marked:
                marked.add(int(row))
                found.append(Aside(int(row), rule, column, str(cells[row]), mend))
    return found


def _without_personal(read: Cells, instrument: Instrument) -> tuple[Cells, tuple[str, ...]]:
    """Drop the declared personal columns; a row whose cells cannot be placed keeps none of its cells."""
    personal = {fold(header) for header in instrument.personal.columns}
    if not personal:
        return read, ()
    away = [place for place, header in enumerate(read.header) if fold(HIDDEN.sub("", header)) in personal]
    kept = [place for place in range(len(read.header)) if place not in set(away)]
    return replace(
        read,
        header=tuple(read.header[place] for place in kept),
        rows=read.rows[kept].set_axis(range(len(kept)), axis="columns"),
        irregular=tuple(_withheld(row, len(read.header), len(kept)) for row in read.irregular) if away else read.irregular,
    ), tuple(plain_name(read.header[place]) for place in away)  # fmt: skip


def _withheld(row: Irregular, before: int, after: int) -> Irregular:
    """Return a row as short or as long as it was, beside its header, with every cell withheld."""
    short = len(row.cells) < before
    size = min(len(row.cells), after - 1) if short else after + len(row.cells) - before
    return Irregular(row.row, (_WITHHELD,) * size)


def _named_as_declared(
    read: Cells, names: list[str], form: DeliveryForm, instrument: Instrument
) -> tuple[Cells, dict[str, str]]:
    """Give columns the names that they are mapped to; several that feed one column are laid together."""
    headers = [plain_name(header) for header in read.header]
    mapped = set(form.columns.values())
    feeding: dict[str, list[int]] = defaultdict(list)
    for place, column in enumerate(names):
        if column in mapped:
            feeding[column].append(place)
    called = {
        column: " + ".join(headers[place] for place in places)
        for column, places in feeding.items()
        if [headers[place] for place in places] != [column]
    }
    together = {column: places for column, places in feeding.items() if len(places) > 1}
    if not together:
        return replace(read, header=tuple(names)), called
    away = {place for places in together.values() for place in places[1:]}
    columns: dict[int, pd.Series] = {}
    for place in range(len(names)):
        if place in away:
            continue
        places = together.get(names[place], [place])
        source = instrument.layout.get(names[place])
        joint = ";" if source is not None and not source.native else " | "
        whole = [_parted(read.rows[each], form, source) for each in places] if len(places) > 1 else [read.rows[place]]
        columns[place] = _together(whole, joint) if len(places) > 1 else whole[0]
    kept = list(columns)
    irregular = tuple(_withheld(row, len(names), len(kept)) for row in read.irregular)
    return replace(
        read,
        header=tuple(names[place] for place in kept),
        rows=pd.DataFrame({number: columns[place] for number, place in enumerate(kept)}, index=read.rows.index),
        irregular=irregular,
    ), called  # fmt: skip


def _together(series: Sequence[pd.Series], joint: str) -> pd.Series:
    """Lay columns together: what is filled in, each text once."""
    codes = np.stack([each.cat.codes.to_numpy() for each in series], axis=1)
    distinct, back = np.unique(codes, axis=0, return_inverse=True)
    categories = [each.cat.categories for each in series]
    texts = [
        joint.join(dict.fromkeys(t for c, known in zip(row, categories, strict=True) if (t := str(known[c])).strip()))
        for row in distinct
    ]
    return _categorical(pd.Series(np.array(texts, dtype=object)[back.ravel()], index=series[0].index))


def _categorical(series: pd.Series) -> pd.Series:
    codes, distinct = pd.factorize(series.to_numpy(dtype=object))
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(distinct, dtype="str")), index=series.index)


def _with_constants(read: Cells, form: DeliveryForm) -> Cells:
    """Add what holds for every row, where the file lacks the column."""
    lacking = {column: text for column, text in form.constants.items() if column not in read.header}
    if not lacking:
        return read
    rows = read.rows.copy(deep=False)
    for place, text in enumerate(lacking.values(), start=len(read.header)):
        codes = np.zeros(len(rows), dtype=np.int8)
        rows[place] = pd.Categorical.from_codes(codes, pd.Index([text], dtype="str"))
    width = len(read.header)
    irregular = tuple(
        row
        if len(row.cells) < width
        else Irregular(row.row, (*row.cells[:width], *lacking.values(), *row.cells[width:]))
        for row in read.irregular
    )
    return replace(read, header=(*read.header, *lacking), rows=rows, irregular=irregular)


def _in_plain_forms(read: Cells, form: DeliveryForm, instrument: Instrument, long: LongForm | None) -> Cells:
    """Write numbers, dates, lists and ticks as the instrument reads them."""
    rows = read.rows.copy(deep=False)
    sources = [(place, _source(plain_name(header), instrument, long)) for place, header in enumerate(read.header)]
    for place, source in sources:
        if source is None:
            continue
        item = source.item
        if form.decimal == "," and item.kind == "number":
            rows[place] = _rewritten(rows[place], _with_point)
        elif form.dates and item.kind == "date" and item.unit != "quarter":
            rows[place] = _rewritten(rows[place], lambda text: _iso(text, form.dates))
        elif not source.native:
            rows[place] = _parted(rows[place], form, source)
    if form.blank_is_unticked:
        _untick(rows, sources)
    return replace(read, rows=rows)


def _rewritten(series: pd.Series, write: Callable[[str], str]) -> pd.Series:
    """Rewrite the distinct texts of a column."""
    known = [str(text) for text in series.cat.categories]
    texts = [write(text) for text in known]
    if texts == known:
        return series
    return _categorical(pd.Series(np.array(texts, dtype=object)[series.cat.codes.to_numpy()], index=series.index))


def _with_point(text: str) -> str:
    found = _GROUPED.fullmatch(" ".join(text.split()))
    if not found:
        return text
    whole = found[4] or found[1] + re.sub(r"[. ]", "", found[2] or "")
    part = found[5] or found[3]
    return f"{whole}.{part}" if part else whole


def _iso(text: str, form: str) -> str:
    try:
        moment = datetime.strptime(text.strip(), form)  # noqa: DTZ007 - as delivered, without a zone unless it has one
    except ValueError:
        return text
    timed = any(part in form for part in ("%H", "%I", "%M", "%S", "%X", "%T"))
    return moment.isoformat() if timed else moment.date().isoformat()


def _parted(series: pd.Series, form: DeliveryForm, source: Source | None) -> pd.Series:
    """Write a list of answers with `;` between ids, where every part is an answer; else leave it as it is."""
    if source is None or source.native or form.list_separator == ";":
        return series
    return _rewritten(series, lambda text: _ids(text, form.list_separator, source.item))


def _ids(text: str, separator: str, item: Item) -> str:
    """Find the answers in a list; where an answer holds the separator itself, the longest answer wins."""
    parts = text.split(separator)
    found: list[str] = []
    start = 0
    while start < len(parts):
        if not parts[start].strip():
            start += 1
            continue
        for end in range(len(parts), start, -1):
            answer = item.code_of(separator.join(parts[start:end]))
            if answer is not None:
                break
        else:
            return text
        found.append(answer.id)
        start = end
    return ";".join(found)


def _untick(rows: pd.DataFrame, sources: Sequence[tuple[int, Source | None]]) -> None:
    """Read a blank beside a tick of the same item as an option that was not chosen."""
    ticks: dict[str, list[tuple[int, Source]]] = defaultdict(list)
    for place, source in sources:
        if source is not None and source.option is not None:
            ticks[source.item.name].append((place, source))
    for members in ticks.values():
        ticked = np.zeros(len(rows), dtype=bool)
        for place, source in members:
            assert source.option is not None  # noqa: S101 - chosen above
            series = rows[place]
            yes = [source.item.read_tick(source.option, str(text)).value == 1 for text in series.cat.categories]
            if len(series):
                ticked |= np.array(yes, dtype=bool)[series.cat.codes.to_numpy()]
        for place, _ in members:
            texts = rows[place].astype("str").to_numpy(dtype=object)
            blank = np.array([not text.strip() for text in texts], dtype=bool)
            if (blank & ticked).any():
                rows[place] = _categorical(pd.Series(np.where(blank & ticked, "0", texts), index=rows.index))
