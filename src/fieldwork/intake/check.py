"""Hold files against the instrument and change nothing: every problem of every row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwork.errors import DataError
from fieldwork.intake.answers import Answers, read_answers
from fieldwork.intake.delivery import ROWS, Delivery, Head, Heads, measures_absent, pieces_of
from fieldwork.intake.long_form import join_long
from fieldwork.intake.problems import Problem, Rule, rules_of, shown
from fieldwork.intake.proposal import proposed

if TYPE_CHECKING:
    import pandas as pd

    from fieldwork.instrument import Instrument
    from fieldwork.study import Study

__all__ = ["check_files", "problems_of"]


def check_files(
    paths: Sequence[Path], study: Study, *, progress: Callable[[str, float], None] | None = None
) -> list[Problem]:
    """List every problem of every row of delivered files, in the order of files, rows and rules.

    The files are held against the instrument of the study's wave, and against one another: a respondent in two of them
    is a problem of both. A file that cannot be read is one problem, with a mapping offered for columns that the
    instrument does not know; the others are still checked. Nothing is written, and nothing offered is applied.

    Parameters
    ----------
    progress : callable or None    Told the name of a file, and how much of it has been read, 0 to 1.
    """
    instrument = study.instrument()
    paths = [Path(path) for path in paths]
    order = {shown(path.name): place for place, path in enumerate(paths)}
    rules = rules_of(instrument)
    found: list[Problem] = []
    with Answers(instrument) as answers:
        try:
            heads = _read(paths, instrument, answers, found, progress)
        except DataError as error:
            return sorted([*found, _unreadable(Path(error.where.partition(",")[0]), error)])
        found += [problem for head in heads for problem in head.problems]
        respondents = [head for head in heads if head.long is None]
        if respondents and (lacking := measures_absent(respondents, instrument)):
            found.append(_lacking(respondents[0], lacking))
        for settled in answers.settled():
            found += _problems(settled.rows.assign(file=settled.file), settled.faults, rules)
    return sorted(found, key=lambda problem: (order[problem.file], problem.row))


def _read(
    paths: Sequence[Path],
    instrument: Instrument,
    answers: Answers,
    found: list[Problem],
    progress: Callable[[str, float], None] | None,
) -> Heads:
    """Read files into answers, and list those that cannot be read; DataError where files contradict one another."""
    # Files of one answer a row are joined to the respondents, who are read whole for it.
    long = {path.name for path in paths} & {form.file for form in (*instrument.long, *instrument.long_elsewhere)}
    whole: list[Delivery] = []
    heads = Heads()
    for path in paths:
        try:
            for piece in pieces_of(path, instrument, rows=None if long else ROWS):
                if long:
                    whole.append(piece)
                else:
                    heads.add(piece)
                    answers.add(piece)
                if progress is not None:
                    progress(piece.file, piece.part)
        except DataError as error:
            found += [_unreadable(path, error), *proposed(path, instrument)]
    if not long:
        return heads
    joined = join_long(whole, instrument)
    found += _problems(joined.rows, joined.faults, answers.rules)
    for piece in joined.deliveries:
        answers.add(piece)
    return Heads([*joined.deliveries, *(each for each in whole if each.long is not None)])


def problems_of(deliveries: Iterable[Delivery], instrument: Instrument) -> list[Problem]:
    """List every fault of every row; of a row, in the order of precedence of the rules."""
    rules = rules_of(instrument)
    pieces = read_answers(deliveries, instrument)
    return [p for piece in pieces for p in _problems(piece.rows.assign(file=piece.file), piece.faults, rules)]


def _problems(rows: pd.DataFrame, listed: pd.DataFrame, rules: Mapping[str, Rule]) -> list[Problem]:
    in_file = rows.sort_values(["file", "row"]).index
    faults = listed.set_index("place", drop=False)
    faults = faults.loc[in_file[in_file.isin(faults.index)]]
    at = rows.loc[faults["place"]]
    return [
        Problem(
            file=str(file),
            row=int(row),
            resp_id=shown(str(respondent)),
            column=shown(str(fault.column)),
            value=shown(str(fault.value)),
            rule=str(fault.rule),
            mend=shown(str(fault.mend), limit=400),
            severity=rules[str(fault.rule)].severity,
        )
        for file, row, respondent, fault in zip(at["file"], at["row"], at["resp_id"], faults.itertuples(), strict=True)
    ]


def _lacking(head: Head, error: DataError) -> Problem:
    return Problem(
        file=head.file,
        row=1,
        column=error.where.rpartition("column ")[2],
        rule="measure_absent",
        mend=f"{error.title}: {error.hint}",
    )


def _unreadable(path: Path, error: DataError) -> Problem:
    place = error.where.partition(", row ")[2] or error.where.partition(", line ")[2]
    number = place.partition(",")[0].strip()
    column = error.where.partition("column ")[2]
    return Problem(
        file=shown(path.name),
        row=int(number) if number.isdecimal() else 0,
        column=column,
        rule="file_unreadable",
        value=shown(error.got),
        mend=f"{error.title}: {error.hint}",
    )
