"""From a tool's export to cells that the instrument knows: header lines, mapped names, personal columns dropped, plain forms.

Only what the instrument declares is done, and what the file says of itself beyond doubt: Qualtrics' line of import ids,
SurveyMonkey's second line. Texts that do not have the declared form stay as they are, and become faults where they are read.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldwork.instrument import DeliveryForm, fold
from fieldwork.intake.personal import refuse_personal
from fieldwork.intake.problems import HIDDEN
from fieldwork.intake.separated import Irregular, Separated

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item, Source

__all__ = ["Adapted", "Aside", "adapted", "form_of", "one_header", "plain_name"]

_IMPORT_ID = '{"ImportId":'
_RESPONSE = {"", "response", "open-ended response"}
_COLLECTED = {"respondent id", "collector id"}
_GROUPED = re.compile(r"([+-]?\d{1,3})((?:\.\d{3})+|(?: \d{3})+)?(?:,(\d+))?|([+-]?\d+),(\d+)", re.ASCII)
_WITHHELD = "(withheld)"
_NO_VALUE = "open the workbook and save it, or type the value"


@dataclass(frozen=True, slots=True)
class Aside:
    """A row that the export itself says is no interview, or whose cell holds no value.

    Attributes
    ----------
    row : int             Line of the file.
    rule : str            Rule under which it is set aside.
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
    read : Separated          Header in the instrument's names, cells in its forms, personal columns gone.
    called : dict             Column of the instrument -> header as delivered, where they differ.
    aside : tuple of Aside    Rows that are not read further.
    dropped : tuple of str    Personal columns that were dropped.
    """

    read: Separated
    called: dict[str, str]
    aside: tuple[Aside, ...]
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
    read: Separated, form: DeliveryForm, instrument: Instrument, name: str, known: Sequence[str] = ()
) -> Adapted:
    """Return a file in the names and forms of the instrument; `known` are columns that need no item.

    Raises DataError for columns that look personal and are not declared.
    """
    read, tool, _ = one_header(read, form)
    aside = _not_interviews(read) if tool == "qualtrics" else []
    aside += [
        Aside(row, "formula_without_value", plain_name(read.header[place]), "", _NO_VALUE)
        for row, place in read.without_value
        if place < len(read.header)
    ]
    read, dropped = _without_personal(read, instrument)
    wanted = {plain_name(header): column for header, column in form.columns.items()}
    names = [wanted.get(header, header) for header in map(plain_name, read.header)]
    cleared = {fold(header) for header in instrument.personal.cleared}
    taken = {*instrument.layout, *known}
    refuse_personal(
        {
            header: read.rows[place].cat.categories
            for place, (header, column) in enumerate(zip(map(plain_name, read.header), names, strict=True))
            if column not in taken and fold(header) not in cleared
        },
        name,
    )
    read, called = _named_as_declared(read, names, form, instrument)
    read = _with_constants(read, form)
    return Adapted(_in_plain_forms(read, form, instrument), called, tuple(aside), dropped)


def one_header(read: Separated, form: DeliveryForm) -> tuple[Separated, str, tuple[str, ...]]:
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
    return read, "", ("",) * len(read.header)


def _last_filled(before: str, here: str) -> str:
    return here or before


def _rest(rows: pd.DataFrame, lines: int) -> pd.DataFrame:
    rest = rows.iloc[lines:]
    return pd.DataFrame(
        {column: rest[column].cat.remove_unused_categories() for column in rest.columns}, index=rest.index
    )


def _not_interviews(read: Separated) -> list[Aside]:
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


def _without_personal(read: Separated, instrument: Instrument) -> tuple[Separated, tuple[str, ...]]:
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
    read: Separated, names: list[str], form: DeliveryForm, instrument: Instrument
) -> tuple[Separated, dict[str, str]]:
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


def _with_constants(read: Separated, form: DeliveryForm) -> Separated:
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


def _in_plain_forms(read: Separated, form: DeliveryForm, instrument: Instrument) -> Separated:
    """Write numbers, dates, lists and ticks as the instrument reads them."""
    rows = read.rows.copy(deep=False)
    sources = [(place, instrument.layout.get(plain_name(header))) for place, header in enumerate(read.header)]
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
