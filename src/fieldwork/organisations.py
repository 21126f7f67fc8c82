"""Reports for participating organisations: one executed notebook each, by consent of everyone who answered, in a closed folder.

Nothing here reaches the published pages: not a link, not a line of the manifest, not a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from fieldwork.chapter import Chapter
from fieldwork.constructs.consent import organisations
from fieldwork.errors import RunError, StudyError, UsageError, listed, nearest
from fieldwork.provenance import RESTRICTED, make_folders, write_atomic
from fieldwork.run import runner, spec
from fieldwork.run.plan import Judge
from fieldwork.site.restricted import RestrictedPages
from fieldwork.study import valid_name

if TYPE_CHECKING:
    from pathlib import Path

    from fieldwork.run.crew import Crew
    from fieldwork.run.runner import Event, Result
    from fieldwork.run.store import Store
    from fieldwork.study import Study

__all__ = ["Reports", "listing", "report", "steps_of", "summary"]

NOTEBOOK = "organisation"
_INPUTS = (
    "{processed}/01_clean.parquet",
    "{reports}/estimates.parquet",
    "{instruments}/{wave}.toml?",
    "{instruments}/instrument.toml?",
    "{study}/study.toml",
)


@dataclass(frozen=True, slots=True)
class Reports:
    """What a run made for the organisations of a wave.

    Attributes
    ----------
    listing : pd.DataFrame    One row per organisation: organisation, informants, yes, consented, lacking, page (its path below
                              the study), as far as asked for.
    result : Result           How the notebooks ended.
    removed : tuple of str    Organisations whose report was taken away, because something is lacking now.
    folder : Path             Closed folder of the wave's reports for organisations.
    """

    listing: pd.DataFrame
    result: Result
    removed: tuple[str, ...]
    folder: Path


def listing(study: Study, only: Iterable[str] = ()) -> pd.DataFrame:
    """List the organisations of a wave with what a report about each lacks; see `constructs.consent.organisations`.

    Raises RunError when the wave was not cleaned, UsageError for a name that no organisation has, StudyError for pseudonyms
    that are no names of folders: they become folders, and a way out of the closed folder is refused.
    """
    chapter = Chapter.open(NOTEBOOK, study.folder, study.wave, raw=study.raw)
    table = organisations(chapter.instrument, chapter.read("01_clean"))
    if bad := [name for name in table["organisation"] if not valid_name(name)]:
        raise StudyError(
            f"{len(bad)} pseudonyms of organisations cannot be names of folders",
            where=f"01_clean, column {chapter.instrument.keys.organisation}",
            expected="letters, digits, '.', '_' and '-', at most 100 of them, without a way out of the folder",
            got=repr(bad[0])[:60],
            hint="let the fieldwork deliver other pseudonyms",
        )
    wanted = list(dict.fromkeys(only))
    known = table["organisation"].tolist()
    for name in wanted:
        if name not in known:
            near = nearest(name, known)
            raise UsageError(
                "no organisation of the wave goes by this name",
                expected=f"one of {len(known)} pseudonyms" if known else "an organisation; the survey names none",
                got=repr(name),
                hint=f"did you mean {near}?" if near else "`fieldwork organisations --json` lists them",
            )
    return table[table["organisation"].isin(wanted)].reset_index(drop=True) if wanted else table


def steps_of(study: Study, notebooks: Path, names: Iterable[str], store: Store) -> Judge:
    """Return the notebooks of some organisations, ready to run: the same notebook, each with its own organisation."""
    places: dict[str, str | Path] = {
        "study": study.folder, "raw": study.raw, "instruments": study.instruments, "processed": study.processed,
        "reports": study.reports, "wave": study.wave,
    }  # fmt: skip
    names = list(names)
    pipeline = spec.fan_out(notebooks / f"{NOTEBOOK}.ipynb", names, f"{{reports}}/{RESTRICTED}", _INPUTS, places)
    judge = Judge(pipeline, store)
    for step, name in zip(pipeline.steps, names, strict=True):
        judge.values[step.name] = {"organisation": name}  # noqa: PD011 - parameters, no frame
    return judge


def report(
    study: Study,
    notebooks: Path,
    store: Store,
    *,
    only: Iterable[str] = (),
    workers: int = 2,
    force: bool = False,
    crew: Crew | None = None,
    follow: Callable[[Judge], Callable[[Event], None]] = lambda _: lambda _: None,
) -> Reports:
    """Run the diagnostic of every organisation that consented, and say of every other what is missing.

    Each organisation has a folder of its own below `reports/<wave>/restricted`, both closed to all but their owner: the
    executed notebook, its record and a page that stands alone; or the page alone, which says what is missing. A report whose
    organisation lacks something now, as a consent withdrawn, is removed, and its kept copies with it. What is current is not
    run again.

    Parameters
    ----------
    notebooks : folder of the notebook. store : past results of the study. only : pseudonyms; all organisations if empty.
    crew : who runs the notebooks, in place of `workers` processes of this machine. follow : makes a listener for what
    happens, given the steps.

    Raises RunError where the wave's published estimates are not there yet.
    """
    table = listing(study, only)
    if not (study.reports / "estimates.parquet").is_file():
        raise RunError(
            "the wave's published estimates are not there, which organisations are set beside",
            where=f"reports/{study.wave}",
            expected="estimates.parquet",
            got="no such file",
            hint=f"fieldwork run --wave {study.wave}",
        )
    folder = study.reports / RESTRICTED
    make_folders(folder / "any", study.folder)
    able = table.loc[table["lacking"] == "", "organisation"].tolist()
    judge = steps_of(study, notebooks, able, store)
    for name in able:
        make_folders(folder / name / "any", study.folder)
    with store.lock():
        result = runner.run(judge, workers=workers, force=force, crew=crew, on_event=follow(judge))
        removed = _removed(study, store, table, whole=not list(only))
        pages = RestrictedPages(study)
        failed = {failure.step for failure in result.failures}
        shown = []
        for name, lacking in zip(table["organisation"], table["lacking"], strict=True):
            page = folder / name / "index.html"
            executed = folder / name / f"{NOTEBOOK}.ipynb"
            if lacking:
                _put(page, pages.missing(name, lacking), study)
            elif f"{NOTEBOOK}-{name}" not in failed and executed.is_file():
                _put(page, pages.report(executed, name), study)
            shown.append(page.relative_to(study.folder).as_posix() if page.is_file() else "")
    return Reports(table.assign(page=shown), result, removed, folder)


def _put(page: Path, text: str, study: Study) -> None:
    make_folders(page, study.folder)
    if page.is_file() and page.read_bytes() == text.encode():
        return
    write_atomic(page, text, closed=True)


def _removed(study: Study, store: Store, table: pd.DataFrame, *, whole: bool) -> tuple[str, ...]:
    """Take away reports of organisations that lack something, and folders of organisations that the wave has no more."""
    folder = study.reports / RESTRICTED
    able = set(table.loc[table["lacking"] == "", "organisation"])
    known = set(table["organisation"])
    removed = []
    for own in sorted(folder.iterdir()):
        if own.name in able or not own.is_dir() or not (whole or own.name in known):
            continue
        if (own / f"{NOTEBOOK}.ipynb").is_file():
            removed.append(own.name)
            store.forget(study.wave, f"{NOTEBOOK}-{own.name}")
        for path in sorted(own.iterdir()):
            # The page that says what is missing stays, where the wave still has the organisation.
            if own.name not in known or path.name != "index.html":
                path.unlink()
        if own.name not in known:
            own.rmdir()
    return tuple(removed)


def summary(reports: Reports) -> str:
    """Return what was made in one line.

    >>> import pandas as pd
    >>> from fieldwork.run.runner import Result
    >>> table = pd.DataFrame({"lacking": ["", "3 informants are needed; there are 2"]})
    >>> summary(Reports(table, Result(("organisation-a",), (), (), (), {}), (), None))
    '1 report of 2 organisations (1 run, 0 current, 0 failed); 1 lacks consent or informants'
    """
    able = int((reports.listing["lacking"] == "").sum())
    done = reports.result
    lacking = len(reports.listing) - able
    counts = f"{len(done.ran)} run, {len(done.current) + len(done.restored)} current, {len(done.failures)} failed"
    gone = f"; {listed(reports.removed, limit=10)} removed" if reports.removed else ""
    return (
        f"{able} report{'s' if able != 1 else ''} of {len(reports.listing)} organisations ({counts}); "
        f"{lacking} lack{'s' if lacking == 1 else ''} consent or informants{gone}"
    )
