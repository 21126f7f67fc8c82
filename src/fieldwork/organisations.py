"""Reports for participating organisations: one executed notebook each, by consent of everyone who answered, in a closed folder.

Nothing here reaches the published pages: not a link, not a line of the manifest, not a number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwork.errors import RunError, UsageError, listed, nearest
from fieldwork.provenance import RESTRICTED, make_folders
from fieldwork.run import runner, spec
from fieldwork.run.plan import Judge
from fieldwork.site import LISTING

if TYPE_CHECKING:
    from fieldwork.run.crew import Crew
    from fieldwork.run.runner import Event, Result
    from fieldwork.run.store import Store
    from fieldwork.study import Study

__all__ = ["Reports", "Standing", "report", "standings", "steps_of", "summary"]

NOTEBOOK = "organisation"
# A hyphen keeps it apart from every chapter, and the plural from every report.
_LISTED = "organisations-listed"
_LISTING = f"{{reports}}/{RESTRICTED}/{LISTING}"
_DECLARED = ("{instruments}/{wave}.toml?", "{instruments}/instrument.toml?", "{study}/study.toml")
_INPUTS = ("{processed}/01_clean.parquet", "{reports}/estimates.parquet", *_DECLARED)


@dataclass(frozen=True, slots=True)
class Standing:
    """One organisation of a wave, and whether a report of it can be made.

    Attributes
    ----------
    organisation : str    Its pseudonym.
    informants, yes : int Accepted respondents, and those who said yes to a report.
    consented : bool      Whether all did.
    lacking : str         What a report lacks, in words; empty where it can be made.
    page : str            Its page, by its path below the study; empty where there is none.
    """

    organisation: str
    informants: int
    yes: int
    consented: bool
    lacking: str
    page: str = ""


@dataclass(frozen=True, slots=True)
class Reports:
    """What a run made for the organisations of a wave.

    Attributes
    ----------
    listing : tuple of Standing   The organisations, sorted, as far as asked for.
    result : Result               How the notebooks ended.
    removed : tuple of str        Organisations whose report was taken away, because something is lacking now.
    folder : Path                 Closed folder of the wave's reports for organisations.
    """

    listing: tuple[Standing, ...]
    result: Result
    removed: tuple[str, ...]
    folder: Path


def standings(study: Study, store: Store, only: Iterable[str] = (), *, force: bool = False) -> tuple[Standing, ...]:
    """List the organisations of a wave with what a report about each lacks; see `site.restricted.standing`.

    The list is a step of the engine as any other: made by a process of its own where responses, instrument, settings or code
    have changed, and otherwise read as it stands. Raises what that process raised; RunError when the wave was not cleaned,
    UsageError for a name that no organisation has.
    """
    _refuse_unmade(
        study, study.processed / "01_clean.parquet", "the wave has not been cleaned, so who consented is not known"
    )
    inputs = ("{processed}/01_clean.parquet", *_DECLARED)
    # The pages of those who lack something lie beside the list, each in its organisation's own folder.
    outputs = (_LISTING, f"{{reports}}/{RESTRICTED}/")
    pipeline = spec.single(_LISTED, "fieldwork.site.restricted:standing", inputs, outputs, _places(study))
    with store.lock():
        result = runner.run(Judge(pipeline, store), workers=1, force=force)
        if result.failures:
            raise result.failures[0].error
        path = study.folder / pipeline.steps[0].outputs[0].label
        table = [Standing(**record) for record in json.loads(path.read_text(encoding="utf-8"))]
    wanted = dict.fromkeys(only)
    known = {each.organisation for each in table}
    for name in wanted:
        if name not in known:
            near = nearest(name, sorted(known))
            raise UsageError(
                "no organisation of the wave goes by this name",
                expected=f"one of {len(known)} pseudonyms" if known else "an organisation; the survey names none",
                got=repr(name),
                hint=f"did you mean {near}?" if near else "`fieldwork organisations --json` lists them",
            )
    return tuple(each for each in table if not wanted or each.organisation in wanted)


def _refuse_unmade(study: Study, path: Path, what: str) -> None:
    if not path.is_file():
        raise RunError(
            what,
            where=path.parent.relative_to(study.folder).as_posix(),
            expected=path.name,
            got="no such file",
            hint=f"fieldwork run --wave {study.wave}",
        )


def _places(study: Study) -> dict[str, str | Path]:
    return {
        "study": study.folder, "raw": study.raw, "instruments": study.instruments, "processed": study.processed,
        "reports": study.reports, "wave": study.wave,
    }  # fmt: skip


def steps_of(study: Study, notebooks: Path, names: Iterable[str], store: Store) -> Judge:
    """Return the notebooks of some organisations, ready to run: the same notebook, each with its own organisation and page."""
    folder, view = f"{{reports}}/{RESTRICTED}", "fieldwork.site.restricted:report_page"
    place = notebooks / f"{NOTEBOOK}.ipynb"
    return Judge(spec.fan_out(place, names, folder, _INPUTS, _places(study), view, "organisation"), store)


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
    run again; a page is an output as the others are, and put back where it is damaged or gone.

    Parameters
    ----------
    notebooks : folder of the notebook. store : past results of the study. only : pseudonyms; all organisations if empty.
    crew : who runs the notebooks, in place of `workers` processes of this machine. follow : makes a listener for what
    happens, given the steps.

    Raises RunError where the wave's published estimates are not there yet, and as `standings` does.
    """
    what = "the wave's published estimates are not there, which organisations are set beside"
    _refuse_unmade(study, study.reports / "estimates.parquet", what)
    folder = study.reports / RESTRICTED
    with store.lock():
        table = standings(study, store, only, force=force)
        able = [each.organisation for each in table if not each.lacking]
        judge = steps_of(study, notebooks, able, store)
        make_folders(folder / "any", study.folder)
        result = runner.run(judge, workers=workers, force=force, crew=crew, on_event=follow(judge))
        removed = _removed(study, store, table, whole=not list(only))
    below = folder.relative_to(study.folder).as_posix()
    pages = [f"{below}/{each.organisation}/index.html" for each in table]
    shown = tuple(
        replace(each, page=page if (study.folder / page).is_file() else "")
        for each, page in zip(table, pages, strict=True)
    )
    return Reports(shown, result, removed, folder)


def _removed(study: Study, store: Store, table: Iterable[Standing], *, whole: bool) -> tuple[str, ...]:
    """Take away reports of organisations that lack something, and folders of organisations that the wave has no more.

    What somebody has opened to others is closed again.
    """
    able = {each.organisation: not each.lacking for each in table}
    removed = []
    with os.scandir(study.reports / RESTRICTED) as entries:
        folders = sorted((each for each in entries if each.is_dir(follow_symlinks=False)), key=lambda each: each.name)
    for entry in folders:
        if entry.stat().st_mode & 0o077:
            Path(entry.path).chmod(0o700)
        name, own = entry.name, Path(entry.path)
        if able.get(name) or not (whole or name in able):
            continue
        if (own / f"{NOTEBOOK}.ipynb").is_file():
            removed.append(name)
            store.forget(study.wave, f"{NOTEBOOK}-{name}")
        for path in sorted(own.iterdir()):
            # The page that says what is missing stays, where the wave still has the organisation.
            if name not in able or path.name != "index.html":
                path.unlink()
        if name not in able:
            own.rmdir()
    return tuple(removed)


def summary(reports: Reports) -> str:
    """Return what was made in one line.

    >>> from fieldwork.run.runner import Result
    >>> few = "3 informants are needed; there are 2"
    >>> table = (Standing("a", 3, 3, True, ""), Standing("b", 2, 2, True, few))
    >>> summary(Reports(table, Result(("organisation-a",), (), (), (), {}), (), Path("restricted")))
    '1 report of 2 organisations (1 run, 0 current, 0 failed); 1 lacks consent or informants'
    """
    able = sum(not each.lacking for each in reports.listing)
    done = reports.result
    lacking = len(reports.listing) - able
    counts = f"{len(done.ran)} run, {len(done.current) + len(done.restored)} current, {len(done.failures)} failed"
    gone = f"; {listed(reports.removed, limit=10)} removed" if reports.removed else ""
    return (
        f"{able} report{'s' if able != 1 else ''} of {len(reports.listing)} organisations ({counts}); "
        f"{lacking} lack{'s' if lacking == 1 else ''} consent or informants{gone}"
    )
