"""A mapping for a file that the instrument does not know yet: offered by likeness of headers and answers, never applied."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwork.errors import DataError
from fieldwork.instrument import fold
from fieldwork.intake.delivery import read_cells
from fieldwork.intake.forms import form_of, one_header, plain_name
from fieldwork.intake.personal import looks_personal
from fieldwork.intake.problems import Problem, shown

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Source

__all__ = ["proposed"]

_ALIKE = 0.72  # likeness of texts from which a header alone is offered
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SAMPLE = 400  # distinct answers of a column that are looked at
_ROWS = 20_000  # of a file that are looked at
# What survey tools call the keys, whatever the questionnaire.
_TOOLS = {
    "respondent": ("response id", "responseid", "respondent id", "response number", "submission id", "id"),
    "start": ("start date", "start time", "started at", "timestamp"),
    "end": ("end date", "completion time", "submitted at", "date submitted"),
}


def proposed(path: Path, instrument: Instrument) -> list[Problem]:
    """Offer, for each column that the instrument does not know, the column that it is most like; change nothing.

    A header, or the question below it where the tool gives one, is compared with names, labels and wordings; answers are
    compared with the item's own. Each column of the instrument is offered once, to the column most like it. What looks
    personal is offered to be dropped. A file whose cells cannot be read has no proposal.
    """
    form = form_of(path.name, instrument)
    try:
        with contextlib.closing(read_cells(path, instrument, rows=_ROWS)) as pieces:
            read, _, questions = one_header(next(pieces), form)
    except DataError:
        return []
    headers = [plain_name(header) for header in read.header]
    mapped = {plain_name(header): column for header, column in form.columns.items()}
    dropped = {fold(header) for header in (*instrument.personal.columns, *instrument.personal.cleared)}
    given = {mapped.get(header, header) for header in headers} | set(form.constants)
    listed = {s.item.name for c, s in instrument.layout.items() if c in given and not s.native}
    open_ = {c: s for c, s in instrument.layout.items() if c not in given and s.item.name not in listed}
    found: list[Problem] = []
    scored: list[tuple[float, int, str]] = []
    for place, header in enumerate(headers):
        if mapped.get(header, header) in instrument.layout or fold(header) in dropped or not header:
            continue
        labels = read.labels.get(place, {})
        texts = [labels.get(str(text), str(text)) for text in read.rows[place].cat.categories[:_SAMPLE]]
        if kind := looks_personal(header, texts):
            mend = (
                f"it looks personal ({kind}): to drop it, add '{shown(header)}' to [personal] columns of the instrument"
            )
            found.append(_offer(path, header, "", mend))
            continue
        scored += [
            (score, place, c)
            for c, s in open_.items()
            if (score := _likeness(header, questions[place], texts, c, s, instrument)) > 0
        ]
    taken: set[int] = set()
    for _, place, column in sorted(scored, key=lambda each: (-each[0], each[1], each[2])):
        if place in taken or column not in open_:
            continue
        taken.add(place)
        source = open_.pop(column)
        # A list of answers and its separate columns are one question: the first that is offered decides.
        open_ = {c: s for c, s in open_.items() if s.item != source.item or bool(s.native) == bool(source.native)}
        line = f"'{shown(headers[place])}' = '{column}'"
        found.append(_offer(path, headers[place], column, f"if it is {column}, add to [delivery.columns]: {line}"))
    return found


def _offer(path: Path, header: str, column: str, mend: str) -> Problem:
    return Problem(shown(path.name), 1, shown(header), "mapping_proposed", value=column, mend=mend, severity="warning")


def _likeness(
    header: str, question: str, texts: Iterable[str], column: str, source: Source, instrument: Instrument
) -> float:
    """Return how like a delivered column is to one of the instrument's, from 0 to 2: its header, and its answers."""
    item, option = source.item, source.option
    names = (
        [column, f"{item.label}: {option.label}", f"{item.wording} - {option.label}"]
        if option
        else [column, item.label]
    )
    names += [item.wording] if item.wording and option is None else []
    for key, words in _TOOLS.items():
        if getattr(instrument.keys, key) == item.name:
            names += words
    told = {fold(_CAMEL.sub(" ", text)) for text in (header, question) if text}
    head = max((_ratio(one, fold(name)) for one in told for name in names if name), default=0.0)
    answers, worded = _share(texts, source)
    if head >= _ALIKE and answers != 0.0:
        return head + (answers or 0.0) / 2
    told_by_answers = worded and answers is not None and answers >= 0.9 and (head >= 0.5 or _telling(source))
    return head + (answers or 0.0) / 2 if told_by_answers else 0.0


def _ratio(one: str, other: str) -> float:
    words = other.split()
    if len(words) > 1 and set(words) <= set(one.split()):  # every word of a label, among others
        return 0.9
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def _telling(source: Source) -> bool:
    """Whether the answers alone tell the item: roles do, yes and no do not."""
    return source.item.kind == "single" and len(source.item.options) > 2


def _share(texts: Iterable[str], source: Source) -> tuple[float | None, bool]:
    """Return the share of distinct answers that the item knows, and whether they are words, not bare codes.

    The share is None where there is no answer, or where any text would be one.
    """
    item, option = source.item, source.option
    filled = [text for text in texts if text.strip()]
    if item.kind == "multi" and option is None:
        filled = [part for text in filled for part in re.split("[;,|]", text) if part.strip()]
    if not filled or item.kind in {"identifier", "text"}:
        return None, False
    if option is not None:
        known = [not item.read_tick(option, text).fault for text in filled]
    elif item.kind == "multi":
        known = [item.code_of(part) is not None for part in filled]
    else:
        known = [not item.read(text).fault for text in filled]
    words = any(not text.strip().isdecimal() for text in filled) and item.kind not in {"number", "rank", "flag"}
    return sum(known) / len(known), words
