"""Hold files against the instrument and change nothing: every problem of every row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwork.errors import DataError
from fieldwork.intake.answers import read_answers
from fieldwork.intake.delivery import Delivery, measures_absent, read_delivery
from fieldwork.intake.long_form import join_long
from fieldwork.intake.problems import Problem, Rule, rules_of, shown
from fieldwork.intake.proposal import proposed

if TYPE_CHECKING:
    import pandas as pd

    from fieldwork.instrument import Instrument
    from fieldwork.study import Study

__all__ = ["check_files", "problems_of"]


def check_files(paths: Sequence[Path], study: Study) -> list[Problem]:
    """List every problem of every row of delivered files, in the order of files, rows and rules.

    The files are held against the instrument of the study's wave, and against one another: a respondent in two of them
    is a problem of both. A file that cannot be read is one problem, with a mapping offered for columns that the
    instrument does not know; the others are still checked. Nothing is written, and nothing offered is applied.
    """
    instrument = study.instrument()
    deliveries: list[Delivery] = []
    found: list[Problem] = []
    for path in paths:
        try:
            deliveries.append(read_delivery(Path(path), instrument))
        except DataError as error:
            found += [_unreadable(Path(path), error), *proposed(Path(path), instrument)]
    order = {shown(Path(path).name): place for place, path in enumerate(paths)}
    try:
        joined = join_long(deliveries, instrument)
    except DataError as error:
        return sorted([*found, _unreadable(Path(error.where.partition(",")[0]), error)])
    long = [delivery for delivery in deliveries if delivery.long is not None]
    found += [problem for delivery in (*joined.deliveries, *long) for problem in delivery.problems]
    if joined.deliveries and (lacking := measures_absent(joined.deliveries, instrument)):
        found.append(_lacking(joined.deliveries[0], lacking))
    found += _problems(joined.rows, joined.faults, rules_of(instrument))
    if joined.deliveries:
        found += problems_of(joined.deliveries, instrument)
    return sorted(found, key=lambda problem: (order[problem.file], problem.row))


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


def _lacking(delivery: Delivery, error: DataError) -> Problem:
    return Problem(
        file=delivery.file,
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
