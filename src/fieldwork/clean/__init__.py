"""Responses from deliveries: recode, set aside with a reason, and account for every delivered row.

Cleaning decides nothing that the instrument does not say. A row with a fault is set aside under the first rule that it
breaks and stays in the quarantine with file, row, column, value and mend; a row with a remark is kept and counted.
Accepted and quarantined rows add up to the delivered rows, always. `clean` returns tables; `take_in` writes them as it goes, in
memory that grows far less than the delivery. Both are one way of working.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from fieldwork.beside import Hands, processes
from fieldwork.clean.division import Table, divide, set_aside
from fieldwork.clean.flow import Counts, DeliveredFile, Flow, LongFlow, account, of_severity, with_long
from fieldwork.errors import DataError, listed
from fieldwork.intake import (
    ROWS,
    SETS_ASIDE,
    Answers,
    Delivery,
    Heads,
    LongAnswers,
    join_long,
    key_of,
    measures_absent,
    read_deliveries,
    read_pieces,
    shown,
    without_long_ids,
)

if TYPE_CHECKING:
    from fieldwork.chapter import Chapter
    from fieldwork.instrument import Instrument

__all__ = ["Cleaned", "DeliveredFile", "Flow", "LongFlow", "Taken", "clean", "take_in"]

OtherWaves = Literal["stop", "set_aside"]
_LEGIBLE = 1_000_000  # rows that a spreadsheet opens; beyond, no CSV for people stands beside the responses
_SAVED: dict[Table, str] = {
    "responses": ".parquet",
    "missing": ".missing.parquet",
    "excluded": ".excluded.parquet",
    "excluded_missing": ".excluded.missing.parquet",
    "quarantine": ".quarantine.csv",
    "unknown_columns": ".unknown_columns.csv",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What is told of a delivery that was taken in.

    Attributes
    ----------
    flow : Flow                 Counts.
    reason_counts : Counter     Missing answers of the responses, by reason.
    """

    flow: Flow
    reason_counts: Counter[str]

    def reasons(self) -> pd.DataFrame:
        """Return why answers are missing as a table: reason, and its share of all missing answers, in per cent."""
        counts = pd.Series(dict(sorted(self.reason_counts.items())), dtype="int64")
        counts = counts.sort_values(ascending=False, kind="stable")
        share = (100 * counts / max(counts.sum(), 1)).round().astype("int64").rename("per cent of missing answers")
        return share.rename_axis("reason").to_frame()


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """The responses of a wave, and everything that is not in them.

    Attributes
    ----------
    responses : pd.DataFrame         One row per accepted respondent, by wave, organisation, respondent; native columns.
    missing : pd.DataFrame           resp_id, item, reason: one line per item without an answer.
    excluded, excluded_missing : pd.DataFrame    The same of the rows that only declared rules of quality set aside.
    quarantine : pd.DataFrame        One line per row set aside, columns of `schema.QUARANTINE`.
    flow : Flow                      Counts.
    unknown_columns : pd.DataFrame   Filled cells of unknown columns: file, row, resp_id, column, value.
    answers_aside : pd.DataFrame     One line per row set aside of files of one answer a row; columns as in `quarantine`.
    """

    responses: pd.DataFrame
    missing: pd.DataFrame
    excluded: pd.DataFrame
    excluded_missing: pd.DataFrame
    quarantine: pd.DataFrame
    flow: Flow
    unknown_columns: pd.DataFrame
    answers_aside: pd.DataFrame


def clean(
    deliveries: Iterable[Delivery],
    instrument: Instrument,
    *,
    other_waves: OtherWaves = "stop",
    key: bytes | None = None,
) -> Cleaned:
    r"""Turn the deliveries of a wave into responses.

    Parameters
    ----------
    deliveries : sequence of Delivery
        All files of the wave; a respondent delivered in two of them is found.
    instrument : Instrument
        Settled for the wave.
    other_waves : str
        `stop`: a row of another wave means that the wrong file was put there. `set_aside`: the files hold all waves.
    key : bytes or None
        Key of pseudonyms, `intake.key_of`: every id of a respondent or organisation is replaced by its keyed hash.

    Answers keep their codes; a missing answer is missing in `responses` and has its reason in `missing`. Raises
    DataError where the files have no rows, for an item of the adoption gradient that no file holds, for a row of
    another wave, for a file none of whose dates can be read, and if rows were ever lost.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from fieldwork.instrument import Instrument, Item
    >>> from fieldwork.intake import read_delivery
    >>> items = (Item(name="resp_id", kind="identifier", label="Respondent"),
    ...          Item(name="wave", kind="identifier", label="Wave"), Item(name="stall", kind="flag", label="Stalled"))
    >>> instrument = Instrument(id="i", version="1", title="Three items", wave="w1", items=items)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("resp_id,wave,stall\n001,w1,yes\n002,w1,perhaps\n", encoding="utf-8")
    ...     cleaned = clean([read_delivery(path, instrument)], instrument)
    >>> cleaned.responses["resp_id"].tolist(), cleaned.flow.by_rule
    (['001'], {'value_unknown': 1})
    """
    parts: dict[str, list[pd.DataFrame]] = defaultdict(list)

    def take(table: Table, part: pd.DataFrame) -> None:
        parts[table].append(part)

    joined, heads = _joined(deliveries, instrument)
    with Answers(instrument, key=key) as answers:
        for delivery in joined.deliveries:
            answers.add(delivery)
        _refuse(answers, heads, instrument, other_waves)
        counts = divide(answers, instrument, take)
        tables = {name: pd.concat(each, ignore_index=True) for name, each in parts.items()}
        respondents = set(tables["responses"][instrument.keys.respondent])
        flow, aside, unknown = _accounted(answers, heads, joined, counts, instrument, key, respondents)
    return Cleaned(
        responses=tables["responses"],
        missing=tables["missing"],
        excluded=tables["excluded"],
        excluded_missing=tables["excluded_missing"],
        quarantine=tables["quarantine"],
        flow=flow,
        unknown_columns=_by_row([tables["unknown_columns"], unknown]),
        answers_aside=aside,
    )


def take_in(chapter: Chapter, *, progress: Callable[[str, float], None] | None = None, rows: int = ROWS) -> Taken:
    """Take in the deliveries of a chapter's wave, piece by piece, and save what becomes of them under the chapter's name.

    Saved are the responses, `.missing` (why an answer is missing), both of the rows that only declared rules of quality set
    aside (`.excluded`, `.excluded.missing`), `.quarantine`, `.unknown_columns` and `.answers_aside` (texts as CSV), and
    `.flow`; beyond a million rows the responses have no CSV beside them. Nothing is saved where a delivery
    is refused. What waits lies in a file without a name in the folder of results. Memory holds a piece of `rows` rows and some
    100 bytes of each row; files of one answer a row, and the files of respondents beside them, are read whole.

    Parameters
    ----------
    progress : callable or None    Told the name of a file, and how much of it has been read, 0 to 1.
    """
    study, instrument, key = chapter.study, chapter.instrument, key_of(chapter.study)
    name = chapter.name
    folder = chapter.path(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    with Answers(instrument, key=key, folder=folder) as answers, Hands(others=processes() - 1) as hands:
        joined, heads = _read(study.raw_files(), instrument, study.raw, answers, progress, rows, hands)
        _refuse(answers, heads, instrument, "set_aside" if study.files else "stop")
        respondents: set[str] = set()
        apart: list[pd.DataFrame] = []  # cells of unknown columns, where files of one answer a row have some too
        with contextlib.ExitStack() as saving:
            # What is opened last is closed first, and files are told of in the order in which they are closed.
            legible = answers.delivered <= _LEGIBLE
            writers = {
                table: saving.enter_context(
                    chapter.saving(f"{name}{ending}", csv=table == "responses" and legible, hands=hands)
                )
                for table, ending in reversed(_SAVED.items())
            }

            def take(table: Table, part: pd.DataFrame) -> None:
                if len(joined.rows) and table == "unknown_columns":
                    apart.append(part)
                    return
                writers[table](part)
                if len(joined.rows) and table == "responses":
                    respondents.update(part[instrument.keys.respondent])

            counts = divide(answers, instrument, take, rows=rows, folder=folder, hands=hands)
            flow, aside, unknown = _accounted(answers, heads, joined, counts, instrument, key, respondents)
            if apart:
                writers["unknown_columns"](_by_row([*apart, unknown]))
    chapter.save(aside, f"{name}.answers_aside.csv")
    chapter.save_json(flow.as_dict(), f"{name}.flow.json")
    return Taken(flow, counts.reasons)


def _by_row(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts).sort_values(["file", "row"], kind="stable").reset_index(drop=True)


def _read(
    paths: Iterable[Path],
    instrument: Instrument,
    within: Path,
    answers: Answers,
    progress: Callable[[str, float], None] | None,
    rows: int,
    hands: Hands,
) -> tuple[LongAnswers, Heads]:
    """Read files into answers, piece by piece; where some hold one answer a row, all of them whole."""
    paths = list(paths)
    if {path.name for path in paths} & {form.file for form in (*instrument.long, *instrument.long_elsewhere)}:
        joined, heads = _joined(read_deliveries(paths, instrument, within=within), instrument)
        for delivery in joined.deliveries:
            answers.add(delivery)
        return joined, heads
    heads = Heads()

    def pieces() -> Iterator[Delivery]:
        for number, delivery in enumerate(read_pieces(paths, instrument, within=within, rows=rows)):
            heads.add(delivery)
            if len(paths) == 1 and not number:
                _refuse_absent(heads, instrument)  # at the first piece, not after an hour
            if answers.delivered >= rows:
                hands.start()
            yield delivery
            if progress is not None:
                progress(delivery.file, delivery.part)

    answers.add_all(pieces(), hands)
    return join_long([], instrument), heads


def _joined(deliveries: Iterable[Delivery], instrument: Instrument) -> tuple[LongAnswers, Heads]:
    deliveries = list(deliveries)
    _refuse_nothing(Heads(deliveries))
    joined = join_long(deliveries, instrument)
    return joined, Heads([*joined.deliveries, *(each for each in deliveries if each.long is not None)])


def _accounted(
    answers: Answers,
    heads: Heads,
    joined: LongAnswers,
    counts: Counts,
    instrument: Instrument,
    key: bytes | None,
    respondents: set[str],
) -> tuple[Flow, pd.DataFrame, pd.DataFrame]:
    """Return the account, and of files of one answer a row what is set aside and the cells of unknown columns."""
    joined = without_long_ids(joined, instrument, key) if key is not None else joined
    aside = set_aside(joined.rows, of_severity(joined.faults, answers.rules, SETS_ASIDE))
    flow = account(heads, counts, answers.rules, instrument.wave)
    flow = with_long(flow, heads, joined, answers.rules, aside, respondents)
    return flow, aside, joined.unknown


def _refuse(answers: Answers, heads: Heads, instrument: Instrument, other_waves: OtherWaves) -> None:
    """Refuse a delivery as a whole, before anything of it is saved."""
    _refuse_nothing(heads)
    _refuse_absent(heads, instrument)
    if other_waves == "stop":
        _refuse_other_waves(answers, instrument)
    _refuse_unreadable_dates(answers)


def _refuse_nothing(heads: Heads) -> None:
    if not any(head.delivered for head in heads if head.long is None):
        raise DataError(
            "nothing was delivered",
            where=listed(head.file for head in heads),
            expected="one row per respondent below the header",
            got="a header and no rows" if list(heads) else "no file",
            hint="export the delivery again, or ask the sender for it",
        )


def _refuse_absent(heads: Heads, instrument: Instrument) -> None:
    if lacking := measures_absent([head for head in heads if head.long is None], instrument):
        raise lacking


def _refuse_other_waves(answers: Answers, instrument: Instrument) -> None:
    found = {name: tally for name, tally in answers.tallies.items() if name[1] == "other_wave"}
    if not found:
        return
    (file, _, column), first = next(iter(found.items()))
    raise DataError(
        "a delivery holds rows of another wave",
        where=f"{file}, row {first.row}, column {column}",
        expected=instrument.wave,
        got=f"'{shown(first.value)}' ({sum(each.count for each in found.values())} of {answers.delivered} rows)",
        hint=f"{first.mend}; a file that holds all waves is named in study.toml, [data] files",
    )


def _refuse_unreadable_dates(answers: Answers) -> None:
    """Stop when no date of a file can be read: the file writes dates in another form, and no order is guessed."""
    for (file, rule, column), tally in sorted(answers.tallies.items(), key=lambda each: each[0]):
        if rule == "date_unreadable" and tally.count == answers.read[file] > 1:
            raise DataError(
                "the file does not write dates in ISO form",
                where=f"{file}, row {tally.row}, column {column}",
                expected="2026-01-31, or 2026-01-31T09:30",
                got=f"'{shown(tally.value)}'",
                hint="export dates as ISO 8601, or declare dates = '%d/%m/%Y' under [[delivery]] of the instrument; the "
                "order of day and month is never guessed",
            )
