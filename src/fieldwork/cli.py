# ruff: noqa: T201 - a command line prints
"""The command line: `fieldwork run`, `explain`, `export`, `debug`, `lab`, and the commands of one task each.

Exit 0: done. Exit 1: the data, the instrument or a notebook has a fault that the user can mend. Exit 2: the words of
the command are off. Exit 130: interrupted. Each command loads what it needs and no more, so a run with nothing to do
is over before pandas would have loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import fieldwork
from fieldwork.errors import FieldworkError, ParameterError, RunError, StudyError, UsageError, listed, nearest, refused

if TYPE_CHECKING:
    from fieldwork.bundle import Verdict
    from fieldwork.run.crew import Crew
    from fieldwork.run.lab import Opened
    from fieldwork.run.plan import Judge
    from fieldwork.run.runner import Event
    from fieldwork.run.store import Store
    from fieldwork.study import Study

__all__ = ["main"]

_STATES = {
    "current": "is current",
    "restorable": "is put back, not run",
    "stale": "runs",
    "waiting": "may run",
    "blocked": "cannot run",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after `fieldwork`; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json, debug = "--json" in words, "--debug" in words
    try:
        parser = _parser()
        options = parser.parse_args(words)
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except FieldworkError as error:
        if debug:
            raise
        _tell(error, as_json=as_json)
        # A parameter reaches us by the command's words only; a chapter's own complaint arrives as a failure.
        return 2 if isinstance(error, ParameterError) else error.exit_code
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept, and the next run goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as in `fieldwork explain | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            raise
        _tell(refused(error), as_json=as_json)
        return 1
    except Exception as error:  # a fault of ours: told in one line, and whole with --debug
        if debug:
            raise
        hint = "this is a fault of fieldwork; run again with --debug for the traceback, and report it"
        _tell(
            RunError("something went wrong inside", got=f"{type(error).__name__}: {error}", hint=hint), as_json=as_json
        )
        return 1


def _tell(error: FieldworkError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(error.as_dict(), ensure_ascii=False))
    else:
        print(error, file=sys.stderr)


# The words of the commands


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints look like every other error."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '([^']*)'", message)
        near = nearest(wrong[1], _COMMANDS) if wrong else ""
        raise UsageError(message, hint=f"did you mean {near}?" if near else f"{self.prog} --help")


def _parser() -> _Parser:
    parser = _Parser(
        prog="fieldwork",
        description="From a survey delivery to findings that say how sure they are.",
        epilog="example:\n  fieldwork run --wave 2026Q1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fieldwork {fieldwork.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for name, (summary, example, command, add) in _COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog="example:\n" + textwrap.indent(example, "  "),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.set_defaults(command=command)
        add(sub)
        sub.add_argument("--json", action="store_true", help="answer in JSON")
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _add_study(sub: argparse.ArgumentParser) -> None:
    place = "folder of the study (default: the nearest folder upwards that holds study.toml)"
    sub.add_argument("--study", type=Path, metavar="DIR", help=place)
    sub.add_argument("--wave", default="", metavar="W", help="wave (default: the study's)")


def _add_parameters(sub: argparse.ArgumentParser) -> None:
    _add_study(sub)
    words = "a parameter, for the chapters that have it; `fieldwork explain CHAPTER` lists them"
    sub.add_argument("-p", dest="given", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=words)
    sub.add_argument("--seed", type=int, metavar="N", help="random seed (default: the study's)")
    sub.add_argument("--replicates", type=int, metavar="N", help="number of replicates (default: the study's)")


def _add_run(sub: argparse.ArgumentParser) -> None:
    _add_parameters(sub)
    sub.add_argument("--workers", type=_positive, metavar="N", help="chapters at one time (default: one per core)")
    words = "memory for all chapters that run at one time, as 6G; from what each held last time (default: what is free)"
    sub.add_argument("--memory", type=_memory, metavar="SIZE", help=words)
    words = "bring these chapters up to date, with what they need, and stop there"
    sub.add_argument("--only", nargs="+", action="extend", default=[], metavar="CHAPTER", help=words)
    sub.add_argument("--force", action="store_true", help="run chapters although they are current")
    words = "start every chapter's process from nothing; slower, and the same results"
    sub.add_argument("--isolated", action="store_true", help=words)
    sub.add_argument("--wait", action="store_true", help="wait for another run of this study to end")
    _add_cluster(sub)


def _add_cluster(sub: argparse.ArgumentParser) -> None:
    words = "run on the workers of the Dask scheduler at this address, as tcp://host:8786; --workers is theirs to say"
    sub.add_argument("--cluster", default="", metavar="ADDRESS", help=words)


def _add_explain(sub: argparse.ArgumentParser) -> None:
    _add_parameters(sub)
    words = (
        "a chapter, a file of the results, a claim, or the key of a published estimate (construct=... measure=..., or the "
        "values alone, in the order of its columns); everything when left out"
    )
    sub.add_argument("what", nargs="*", default=[], metavar="WHAT", help=words)


def _add_export(sub: argparse.ArgumentParser) -> None:
    _add_parameters(sub)
    choices = ("snakemake", "make", "dot", "json")
    sub.add_argument("--to", choices=choices, required=True, help="what is to read the graph")
    sub.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: the terminal)")


def _add_lab(sub: argparse.ArgumentParser) -> None:
    _add_parameters(sub)
    sub.add_argument("--no-browser", action="store_true", help="start JupyterLab and say where, without a browser")
    sub.add_argument("--print", dest="only_print", action="store_true", help="prepare the copies, and start nothing")


def _add_debug(sub: argparse.ArgumentParser) -> None:
    _add_lab(sub)
    sub.add_argument("chapter", metavar="CHAPTER", help="the chapter that failed")


def _add_check(sub: argparse.ArgumentParser) -> None:
    _add_study(sub)
    sub.add_argument("files", nargs="+", type=Path, metavar="FILE", help="delivered exports")


def _add_simulate(sub: argparse.ArgumentParser) -> None:
    words = "study whose questionnaire and register are taken (default: the nearest folder upwards)"
    sub.add_argument("--study", type=Path, metavar="DIR", help=words)
    sub.add_argument("--list", action="store_true", help="describe the worlds, or the one of --world, and stop")
    sub.add_argument("--world", metavar="NAME", help="world to draw from")
    sub.add_argument("--organisations", type=_positive, default=200, metavar="N", help="organisations (default 200)")
    sub.add_argument("--waves", type=_positive, default=1, metavar="K", help="waves (default 1)")
    sub.add_argument("--seed", type=int, default=1, metavar="S", help="random seed (default 1)")
    sub.add_argument("--out", type=Path, metavar="DIR", help="folder to make; it must not exist, or be empty")
    words = "a setting of the world, in place of its own"
    sub.add_argument("--set", dest="given", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=words)


def _add_organisations(sub: argparse.ArgumentParser) -> None:
    _add_study(sub)
    words = "pseudonyms of organisations (default: all of the wave)"
    sub.add_argument("--only", nargs="+", action="extend", default=[], metavar="ORGANISATION", help=words)
    sub.add_argument("--workers", type=_positive, metavar="N", help="reports at one time (default: one per core)")
    sub.add_argument("--force", action="store_true", help="make reports although they are current")
    _add_cluster(sub)


def _add_publish(sub: argparse.ArgumentParser) -> None:
    _add_study(sub)
    words = "folder of the publication (default: publication/<wave>, in the study's folder)"
    sub.add_argument("--out", type=Path, metavar="DIR", help=words)
    words = "although rows of the methods statement are empty, for readers inside the house"
    sub.add_argument("--draft", action="store_true", help=words)
    sub.add_argument("--force", action="store_true", help="put it together although nothing has changed")


def _add_prune(sub: argparse.ArgumentParser) -> None:
    place = "folder of the study (default: the nearest folder upwards that holds study.toml)"
    sub.add_argument("--study", type=Path, metavar="DIR", help=place)
    words = "what was made or put back within so many days stays (default 30); 0: nothing stays for its age"
    sub.add_argument("--older-than", type=_days, default=30.0, metavar="DAYS", help=words)
    sub.add_argument("--dry-run", action="store_true", help="say what would be taken away, and change nothing")


def _add_bundle(sub: argparse.ArgumentParser) -> None:
    _add_study(sub)
    words = "archive to write (default: <study>-<wave>.bundle.zip, here)"
    sub.add_argument("--out", type=Path, metavar="FILE", help=words)


def _add_verify(sub: argparse.ArgumentParser) -> None:
    words = "a bundle, packed or unpacked; a study; or the folder of a wave's report"
    sub.add_argument("file", type=Path, metavar="FILE|DIR", help=words)
    sub.add_argument("--wave", default="", metavar="W", help="wave of a study (default: the study's)")


def _add_reproduce(sub: argparse.ArgumentParser) -> None:
    words = "a bundle, packed or unpacked; its own code is run, so take one from an author whose code you would run"
    sub.add_argument("file", type=Path, metavar="FILE", help=words)
    words = "folder to work in and keep; it must not exist, or be empty (default: a temporary one, kept when something differs)"
    sub.add_argument("--into", type=Path, metavar="DIR", help=words)
    words = "lock: install what the bundle's lock names; present: take what is installed here, and say how it differs;"
    words += " auto (default): the lock, else the present one if it holds the locked versions"
    sub.add_argument("--environment", choices=("auto", "lock", "present"), default="auto", help=words)
    words = "folder of the real deliveries, where the bundle holds a simulated twin"
    sub.add_argument("--raw", type=Path, metavar="DIR", help=words)
    sub.add_argument("--workers", type=_positive, metavar="N", help="chapters at one time (default: one per core)")


def _add_new(sub: argparse.ArgumentParser) -> None:
    words = "folder to make; it must not exist, or be empty"
    sub.add_argument("folder", type=Path, metavar="DIR", help=words)


def _add_plan(sub: argparse.ArgumentParser) -> None:
    _add_study(sub)
    words = "planned numbers of executives (default 200 400 800)"
    sub.add_argument("--respondents", type=_positive, nargs="+", default=[200, 400, 800], metavar="N", help=words)
    sub.add_argument(
        "--roles", nargs="+", default=[], metavar="ROLE", help="ids of the roles that take part (default: all)"
    )
    sub.add_argument("--world", default="role_divergence", metavar="NAME", help="what is supposed to be true")
    words = "a setting of the world, in place of its own"
    sub.add_argument("--set", dest="given", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=words)
    sub.add_argument("--studies", type=_positive, default=40, metavar="N", help="studies drawn per size (default 40)")
    sub.add_argument("--waves", type=_positive, default=1, metavar="K", help="waves of each study (default 1)")
    sub.add_argument(
        "--replicates", type=_positive, default=500, metavar="N", help="replicates per study (default 500)"
    )
    sub.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the first study (default 1)")
    sub.add_argument("--workers", type=_positive, metavar="N", help="studies at one time (default: one per core)")
    words = "folder for the table and the figure (default: plan, in the study's folder of reports)"
    sub.add_argument("--out", type=Path, metavar="DIR", help=words)
    _add_cluster(sub)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _days(text: str) -> float:
    if not re.fullmatch(r"\d{1,5}(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"expected days from 0, got {text!r}")
    return float(text)


def _memory(text: str) -> int:
    from fieldwork.run.memory import size  # noqa: PLC0415 - for the one option

    return size(text)


def _pairs(words: Iterable[str], flag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise UsageError(f"{flag} takes NAME=VALUE", got=repr(word), hint=f"for example {flag} seed=7")
        found[name] = value
    return found


# The study and its chapters


class _Desk:
    """A study opened for a command, with its graph of chapters and the parameters that were given."""

    def __init__(self, study: Study, store: Store, given: Mapping[str, str]) -> None:
        from fieldwork.run import spec  # noqa: PLC0415 - a command loads what it needs
        from fieldwork.run.plan import Judge  # noqa: PLC0415

        places: dict[str, str | Path] = {
            "study": study.folder,
            "raw": study.raw if study.files else study.raw / study.wave,
            "instruments": study.instruments,
            "processed": study.processed,
            "reports": study.reports,
            "wave": study.wave,
        }
        if study.key_file is not None:
            places["key"] = study.key_file
        before = {each.wave: each.processed for each in study.earlier if each.delivered}
        self.study, self.store, self.given = study, store, given
        self.pipeline = spec.read(_chapters(study.folder), places, before)
        self.judge = Judge(self.pipeline, store, given)

    @classmethod
    def of(cls, options: argparse.Namespace) -> _Desk:
        """Open the study that a command names; UsageError or ParameterError for words that are off."""
        from fieldwork.run import spec  # noqa: PLC0415
        from fieldwork.run.store import Store  # noqa: PLC0415
        from fieldwork.study import LEAST_REPLICATES, REPLICATES_EXPECTED, Study  # noqa: PLC0415

        given = _pairs(options.given, "-p")
        for name in ("seed", "replicates"):
            if getattr(options, name) is not None:
                given[name] = str(getattr(options, name))
        for name in spec.RESERVED:
            if name in given:
                hint = f"use --{name}" if name != "out" else "it is set by the run"
                raise UsageError(f"-p does not set '{name}'", got=f"-p {name}={given[name]}", hint=hint)
        if re.fullmatch(r"[+-]?\d{1,18}", given.get("replicates", "")) and int(given["replicates"]) < LEAST_REPLICATES:
            raise ParameterError(
                "too few replicates to tell how sure a result is",
                where=f"-p replicates={given['replicates']}",
                expected=REPLICATES_EXPECTED,
                got=repr(given["replicates"]),
                hint="leave it out to take the study's own number",
            )
        if "raw" in given:
            given["raw"] = str(Path(given["raw"]).resolve())
        study = Study.open(options.study or Study.find(), options.wave, raw=given.get("raw", ""))
        study.raw_files()
        return cls(study, Store(study.folder), given)

    def earlier(self, only: Sequence[str] = ()) -> list[tuple[_Desk, tuple[str, ...]]]:
        """Return a desk for each earlier wave that the chapters read, oldest first, with its chapters to bring up to date."""
        wanted = {self.study.wave: self.pipeline.wanted(only)}
        desks: list[tuple[_Desk, tuple[str, ...]]] = []
        for study in reversed(self.study.earlier):
            reading = [step for steps in wanted.values() for step in steps]
            needed = {name for step in reading if study.wave in step.reads for name in step.needs_earlier}
            if needed:
                desk = _Desk(study, self.store, self.given)
                wanted[study.wave] = desk.pipeline.wanted(needed)
                desks.append((desk, tuple(step.name for step in wanted[study.wave])))
        return desks[::-1]

    def without(self, only: Sequence[str] = ()) -> list[str]:
        """Return the earlier waves that the chapters would read and that have no delivery."""
        over_waves = any(step.over_waves for step in self.pipeline.wanted(only))
        return [study.wave for study in self.study.earlier if over_waves and not study.delivered]

    @property
    def registered(self) -> Path:
        """The record of when the register of claims first met data of the wave."""
        return self.study.processed / "registered.json"

    @property
    def registered_copy(self) -> Path:
        return self.store.folder / "registered" / f"{self.study.wave}.json"

    def register(self) -> None:
        """Record the register of claims, whole, at the wave's first run; a record once made is never made again.

        A register that cannot be read is told before anything is recorded: mending it is no amendment.
        """
        from fieldwork.provenance import write_atomic  # noqa: PLC0415

        if self.registered.is_file():
            if not self.registered_copy.is_file():
                write_atomic(self.registered_copy, self.registered.read_text(encoding="utf-8"))
            return
        with self.store.lock():
            if not self.registered_copy.is_file():
                from datetime import UTC, datetime  # noqa: PLC0415 - the one clock of the project

                claims, time = self.study.claims_path(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                record: dict[str, Any] = {"hash": "", "time": time}
                if claims is not None:
                    from fieldwork.claims import Register, record_of  # noqa: PLC0415 - pandas, at the first run alone

                    record = record_of(Register.load(claims), time)
                write_atomic(self.registered_copy, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
            write_atomic(self.registered, self.registered_copy.read_text(encoding="utf-8"))

    def plan(self, only: tuple[str, ...] = (), earlier: Mapping[str, tuple[Any, ...]] | None = None) -> tuple[Any, ...]:
        """Return what a run would do, given what it would do first with each earlier wave."""
        from fieldwork.run.plan import plan  # noqa: PLC0415

        coming = {}
        if not self.registered.is_file() and self.registered_copy.is_file():
            label = self.registered.relative_to(self.study.folder).as_posix()
            coming[label] = self.store.memo.sha256(self.registered_copy)
        return plan(self.judge, only=only, coming=coming, earlier=earlier)

    def plan_earlier(self) -> dict[str, tuple[Any, ...]]:
        """Return what a run would do first with each earlier wave that it reads."""
        units: dict[str, tuple[Any, ...]] = {}
        for desk, steps in self.earlier():
            units[desk.study.wave] = desk.plan(steps, dict(units))
        return units


def _chapters(study: Path) -> Path:
    """Return the graph of chapters: the study's own, else the one that comes with the package."""
    package = Path(__file__).resolve().parent
    places = (study / "notebooks", package / "notebooks", package.parents[1] / "notebooks")
    found = [place / "chapters.toml" for place in places if (place / "chapters.toml").is_file()]
    if not found:
        raise StudyError("the chapters are missing", where=str(study), expected="notebooks/chapters.toml")
    return found[0]


def _shown(path: Path) -> str:
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else str(path)


# The commands


def _run(options: argparse.Namespace) -> int:
    if threading.current_thread() is threading.main_thread():
        # A scheduler's polite end is treated as Ctrl-C: chapters' processes are ended, finished ones kept.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    desk = _Desk.of(options)
    # Held from the first look at what is there to the manifest: no other run comes between.
    with desk.store.lock(patient=options.wait):
        return _run_held(desk, options)


def _run_held(desk: _Desk, options: argparse.Namespace) -> int:
    from fieldwork.run import progress, runner  # noqa: PLC0415

    workers = options.workers or _cores()
    only = tuple(options.only)
    if (key := desk.study.key_file) is not None and not key.exists():
        from fieldwork.intake import key_of  # noqa: PLC0415 - pandas, at the first run alone

        key_of(desk.study)  # before the chapters' inputs are looked at, of which it is one
    wave, without = desk.study.wave, desk.without(only)
    turns = [*desk.earlier(only), (desk, only)]
    expected = {
        (turn.study.wave, step.name): turn.store.seconds(turn.study.wave, step.name)
        for turn, names in turns
        for step in turn.pipeline.wanted(names)
    }
    out = sys.stderr if options.json else sys.stdout
    if without and not options.json:
        print(f"no delivery of {listed(without, limit=20)}: analyses over waves go without", flush=True)
    had = {turn.study.wave for turn, _ in turns if runner.manifest_path(turn.judge.pipeline).is_file()}
    results: dict[str, runner.Result] = {}
    with (
        _crew(options.cluster, desk.study.folder, _chapters(desk.study.folder)) as crew,
        progress.follow(_told_by_wave(expected, wave), crew.size if crew else workers, out) as on_event,
    ):
        for turn, names in turns:
            turn.register()
            results[turn.study.wave] = runner.run(
                turn.judge,
                workers=workers,
                memory_limit=options.memory,
                only=names,
                force=options.force and turn is desk,
                isolated=options.isolated,
                barred=_barred(turn, names, results),
                crew=crew,
                on_event=_by_wave(on_event, turn.study.wave, wave),
            )
    index = desk.study.reports / "index.html"
    failures = _tell_failures(results, wave, options)
    if not failures:
        for turn, _ in turns:
            # An earlier wave keeps the manifest that it had; one that was never run whole gets none.
            if turn is desk or turn.study.wave in had:
                runner.manifest(turn.judge)
    if options.json:
        told_earlier = [_answer(name, result) for name, result in results.items() if name != wave]
        answer = {**_answer(wave, results[wave]), "index": _shown(index), "earlier": told_earlier, "without": without}
        print(json.dumps(answer, indent=1, ensure_ascii=False))
    else:
        for name, result in results.items():
            print(f"wave {name}: {_counted(result)}")
        if not failures:
            print(_shown(index if index.is_file() else desk.study.reports))
    return 1 if failures else 0


@contextlib.contextmanager
def _crew(address: str, study: Path, chapters: Path) -> Iterator[Crew | None]:
    """Give the workers of a scheduler; None where this machine does the work."""
    if not address:
        yield None
        return
    from fieldwork.run.cluster import Cluster  # noqa: PLC0415 - an optional part

    crew = Cluster(address, study, chapters.parent)
    try:
        yield crew
    finally:
        crew.end()


def _tell_failures(results: Mapping[str, Any], own: str, options: argparse.Namespace) -> int:
    """Print what failed, with its wave where that is an earlier one, and return how many did."""
    failures = [(wave, failure) for wave, result in results.items() for failure in result.failures]
    for wave, failure in failures:
        if not options.json:
            print(failure if wave == own else f"wave {wave}: {failure}", file=sys.stderr)
        if options.debug and failure.traceback:
            print(failure.traceback, file=sys.stderr)
    return len(failures)


def _told_by_wave(expected: Mapping[tuple[str, str], float | None], own: str) -> dict[str, float | None]:
    return {_named(wave, step, own): seconds for (wave, step), seconds in expected.items()}


def _named(wave: str, step: str, own: str) -> str:
    """Name a chapter to the user: with its wave where it is not the wave at work."""
    return step if wave == own else f"{wave} {step}"


def _by_wave(tell: Callable[[Any], None], wave: str, own: str) -> Callable[[Any], None]:
    """Return a listener that names the wave of what happens in an earlier one."""
    return lambda event: tell(replace(event, step=_named(wave, event.step, own)))


def _barred(desk: _Desk, names: tuple[str, ...], results: Mapping[str, Any]) -> dict[str, str]:
    """Return the chapters that need of an earlier wave what could not be made there, with the cause."""
    barred = {}
    for step in desk.pipeline.wanted(names):
        for wave in step.reads:
            result = results[wave]
            lost = {*(failure.step for failure in result.failures), *result.skipped}
            if cause := next((need for need in step.needs_earlier if need in lost), ""):
                barred[step.name] = f"{wave} {cause}"
    return barred


def _answer(wave: str, result: Any) -> dict[str, Any]:  # noqa: ANN401 - of `runner`, which is not loaded here
    return {
        "wave": wave,
        "ran": result.ran,
        "restored": result.restored,
        "current": result.current,
        "failed": [failure.as_dict() for failure in result.failures],
        "skipped": result.skipped,
    }


def _counted(result: Any) -> str:  # noqa: ANN401
    counts = {
        "ran": len(result.ran),
        "put back": len(result.restored),
        "current": len(result.current),
        "failed": len(result.failures),
        "skipped": len(result.skipped),
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _explain(options: argparse.Namespace) -> int:
    from fieldwork.run.progress import column  # noqa: PLC0415

    desk = _Desk.of(options)
    earlier = desk.plan_earlier()
    units = {unit.step.name: unit for unit in desk.plan(earlier=earlier)}
    desk.store.save_memo()
    if options.what:
        return _explain_one(desk, units, " ".join(options.what), as_json=options.json)
    wave = desk.study.wave
    told = [(name, unit) for name, found in earlier.items() for unit in found] + [(wave, u) for u in units.values()]
    if options.json:
        answer = [
            {
                **({} if name == wave else {"wave": name}),
                "chapter": unit.step.name,
                "state": unit.state,
                "why": unit.reasons,
            }
            for name, unit in told
        ]
        print(json.dumps(answer, indent=1, ensure_ascii=False))
        return 0
    for name in desk.without():
        print(f"{name} has no delivery: analyses over waves go without")
    width = column(_named(name, unit.step.name, wave) for name, unit in told)
    for name, unit in told:
        why = "; ".join(unit.reasons)
        print(f"{_named(name, unit.step.name, wave):<{width}} {_STATES[unit.state]}{f': {why}' if why else ''}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from fieldwork.provenance import write_atomic  # noqa: PLC0415
    from fieldwork.run import export  # noqa: PLC0415

    desk = _Desk.of(options)
    earlier = desk.plan_earlier()
    turns = [(each.judge, earlier[each.study.wave]) for each, _ in desk.earlier()]
    rules = export.rules([*turns, (desk.judge, desk.plan(earlier=earlier))])
    desk.store.save_memo()
    program = [sys.executable, "-m", "fieldwork"]
    text = export.export(options.to, rules, program=program, title=desk.study.title)
    if options.out is None:
        sys.stdout.write(text)
        return 0
    write_atomic(options.out, text)
    print(json.dumps({"file": _shown(options.out.resolve())}) if options.json else _shown(options.out.resolve()))
    return 0


def _is_key(what: str) -> bool:
    """Tell a key of an estimate from a name: it has several parts, and is no file's path."""
    several = len(what.split()) > 1 or any(sign in what for sign in "=,/")
    return several and not Path(what).exists() and not re.search(r"\.[a-z]{2,7}$", what)


def _explain_estimate(desk: _Desk, units: dict[str, Any], what: str, *, as_json: bool) -> int:
    """Tell where a published number comes from."""
    from fieldwork import origin  # noqa: PLC0415 - pandas

    path = desk.study.reports / "estimates.parquet"
    found = origin.find(path, what)
    chapters = [found.chapter, _maker(desk, units, {}, str(path))]
    answer = origin.origin(desk.study, desk.judge, units, chapters, _own_values(desk))
    if as_json:
        told = {"key": found.key, "published": found.numbers, **answer}
        print(json.dumps(told, indent=1, ensure_ascii=False))
        return 0
    print(origin.told(found))
    print(origin.shown(answer, _STATES.__getitem__))
    return 0


def _explain_claim(desk: _Desk, units: dict[str, Any], claim: dict[str, Any], name: str, *, as_json: bool) -> int:
    """Tell what a claim was judged by, and where those numbers come from."""
    from fieldwork import origin  # noqa: PLC0415 - pandas

    found = origin.parts(desk.study.reports / "estimates.parquet", claim)
    chapters = [*(each.chapter for each in found), name]
    answer = origin.origin(desk.study, desk.judge, units, chapters, _own_values(desk))
    if as_json:
        judged = [{"key": each.key, "chapter": each.chapter, "published": each.numbers} for each in found]
        print(json.dumps({"claim": claim, "estimates": judged, **answer}, indent=1, ensure_ascii=False))
        return 0
    print(f"{claim['id']} is {claim['verdict'].replace('_', ' ')}: {claim['text']}\n  estimand  {claim['estimand']}")
    print(f"  registered {claim['registered']['time']}, sha256 {claim['registered']['hash'][:12]}")
    for each in found:
        print(textwrap.indent(origin.told(each), "  "))
    print(origin.shown(answer, _STATES.__getitem__))
    return 0


def _own_values(desk: _Desk) -> dict[str, Any]:
    """Return what 0 or nothing stands for in a chapter's parameters."""
    return {"seed": desk.study.seed, "replicates": desk.study.replicates}


def _lab(options: argparse.Namespace) -> int:
    from fieldwork.run import lab  # noqa: PLC0415

    desk = _Desk.of(options)
    units = {unit.step.name: unit for unit in desk.plan(earlier=desk.plan_earlier())}
    own = _own_values(desk)
    names = [name for name, unit in units.items() if unit.step.notebook]
    return _opened(desk, [lab.open_chapter(desk.judge, units, name, own) for name in names], options)


def _debug(options: argparse.Namespace) -> int:
    from fieldwork.run import lab  # noqa: PLC0415

    desk = _Desk.of(options)
    name = desk.pipeline.step(options.chapter).name
    units = {unit.step.name: unit for unit in desk.plan(earlier=desk.plan_earlier())}
    return _opened(desk, [lab.open_failure(desk.judge, units, name)], options)


def _opened(desk: _Desk, copies: Sequence[Opened], options: argparse.Namespace) -> int:
    """Tell which copies lie ready, and become JupyterLab unless that is not wanted."""
    from fieldwork.run import lab  # noqa: PLC0415

    desk.store.save_memo()
    place = lab.folder(desk.judge)
    first = copies[0].path if options.command is _debug else None
    command = lab.words(place, first, browser=not options.no_browser)
    if options.json:
        told = [{**asdict(copy), "path": _shown(copy.path)} for copy in copies]
        print(json.dumps({"wave": desk.study.wave, "copies": told, "command": command}, ensure_ascii=False, indent=1))
    else:
        for copy in copies:
            kept = ": an earlier copy that you have changed; delete it for a new one" if copy.kept else ""
            print(f"{_shown(copy.path)}{kept}")
            for warning in copy.warnings:
                print(f"  {copy.chapter}: {warning}")
    if not options.only_print:
        lab.start(command, place.parent)
    return 0


def _maker(desk: _Desk, units: dict[str, Any], claims: dict[str, Any], what: str) -> str:
    """Return the chapter that makes what was asked for; UsageError when nothing is known by this name."""
    if what in units:
        return what
    # What a chapter last published is its own, also while it is out of date.
    before = {name: desk.store.latest(desk.study.wave, name) for name in units}
    made_in = {label: name for name, record in before.items() if record for label in record.outputs}
    made_in |= {label: name for name, unit in units.items() if unit.record for label in unit.record.outputs}
    path = desk.study.reports / "claims.json" if what in claims else Path(what).resolve()
    label = path.relative_to(desk.study.folder).as_posix() if path.is_relative_to(desk.study.folder) else ""
    if label in made_in:
        return made_in[label]
    near = nearest(what, [*units, *claims, *made_in])
    raise UsageError(
        "nothing of this name is known",
        expected=f"a chapter ({listed(units)}), a file of the results, a claim, or the key of an estimate",
        got=repr(what),
        hint=f"did you mean {near}?" if near else "",
    )


def _explain_one(desk: _Desk, units: dict[str, Any], what: str, *, as_json: bool) -> int:
    """Tell one chapter whole: its state, parameters, inputs and outputs."""
    claims = {claim["id"]: claim for claim in _claims_of(desk.study.reports / "claims.json", needed=False)}
    if _is_key(what):
        return _explain_estimate(desk, units, what, as_json=as_json)
    if parts := [unit for unit in units.values() if what == unit.step.chapter]:
        return _explain_chapters(desk, parts, as_json=as_json, several=True)
    name = _maker(desk, units, claims, what)
    if what in claims:
        return _explain_claim(desk, units, claims[what], name, as_json=as_json)
    return _explain_chapters(desk, [units[name]], as_json=as_json)


def _explain_chapters(desk: _Desk, told: Sequence[Any], *, as_json: bool, several: bool = False) -> int:
    """Tell chapters whole; `several`: the parts of one, in JSON a list also where there is one part."""
    answers = [_whole(desk, unit) for unit in told]
    if as_json:
        print(json.dumps(answers if several else answers[0], indent=1, ensure_ascii=False))
        return 0
    for unit, answer in zip(told, answers, strict=True):
        why = "; ".join(unit.reasons)
        print(f"{unit.step.name} {_STATES[unit.state]}{f': {why}' if why else ''}")
        for each in unit.step.offered:
            print(f"  parameter {each.name} = {each.default!r} ({each.expected}) {each.meaning}".rstrip())
        if answer["after"]:
            print(f"  after     {', '.join(answer['after'])}")
        for word, files in (("input", answer["inputs"]), ("output", answer["outputs"])):
            for label, digest in files.items():
                print(f"  {word:<9} {label}  sha256 {digest[:12]}")
    return 0


def _whole(desk: _Desk, unit: Any) -> dict[str, Any]:  # noqa: ANN401 - of `plan`, which is not loaded here
    """Return what is known of one chapter: its state, parameters, inputs and outputs."""
    before = desk.store.latest(desk.study.wave, unit.step.name)
    mark = unit.fingerprint or (before.fingerprint if before else None)
    return {
        "chapter": unit.step.name,
        "state": unit.state,
        "why": unit.reasons,
        "after": unit.step.needs
        + tuple(f"{wave} {name}" for wave in unit.step.reads for name in unit.step.needs_earlier),
        "parameters": {
            p.name: {"type": p.expected, "default": p.default, "meaning": p.meaning} for p in unit.step.offered
        },
        "inputs": mark.inputs if mark else {},
        "outputs": before.outputs if before else {},
    }


def _check(options: argparse.Namespace) -> int:
    from fieldwork.intake import check_files, shown, told  # noqa: PLC0415 - pandas
    from fieldwork.run.progress import counting  # noqa: PLC0415
    from fieldwork.study import Study  # noqa: PLC0415

    study = Study.open(options.study or Study.find(), options.wave)
    for path in options.files:
        if not path.is_file():
            raise UsageError("there is no such file", got=repr(str(path)))
    files = [shown(path.name) for path in options.files]
    with counting("reading") as step:

        def progress(file: str, part: float) -> None:
            step(file, round(100 * (files.index(file) + part)), 100 * len(files))

        problems = check_files(options.files, study, progress=progress)
    if options.json:
        print(json.dumps([asdict(problem) for problem in problems], indent=1, ensure_ascii=False, default=str))
    else:
        for line in told(problems):
            print(line)
        named = listed(files)
        by_severity = Counter(problem.severity for problem in problems)
        parts = ", ".join(
            f"{by_severity[kind]} {kind}" for kind in ("error", "quality", "warning") if by_severity[kind]
        )
        said = f"{len(problems)} problem{'s' if len(problems) != 1 else ''} ({parts})" if problems else "no problem"
        print(f"{named}: {said}; nothing was changed")
    # Warnings are kept and counted, and a declared rule of quality sets aside rows that nobody can mend.
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def _simulate(options: argparse.Namespace) -> int:
    from fieldwork import simulate  # noqa: PLC0415 - numpy and pandas
    from fieldwork.run.progress import counting  # noqa: PLC0415

    worlds = simulate.worlds()
    if options.list:
        if options.json:
            print(json.dumps({name: world.title for name, world in worlds.items()}, indent=1, ensure_ascii=False))
        else:
            print(simulate.describe(worlds.get(options.world or "")))
        return 0
    if not options.world or options.out is None:
        raise UsageError(
            "simulate needs a world and a folder",
            expected=f"--world NAME --out DIR; worlds: {listed(worlds)}",
            hint="fieldwork simulate --list describes the worlds",
        )
    with counting("writing deliveries") as progress:
        folder = simulate.write_study(
            options.world,
            organisations=options.organisations,
            waves=options.waves,
            seed=options.seed,
            out=options.out,
            base=options.study or _pattern(),
            settings=_pairs(options.given, "--set"),
            progress=progress,
        )
    shown = _shown(folder.resolve())
    print(json.dumps({"study": shown}, ensure_ascii=False) if options.json else shown)
    return 0


def _pattern() -> Path:
    """Return the study whose questionnaire a simulation takes: the nearest upwards, else the one beside the package."""
    here = Path.cwd()
    own = Path(__file__).resolve().parents[2]
    found = [folder for folder in (here, *here.parents, own) if (folder / "study.toml").is_file()]
    return found[0] if found else here


def _claims(options: argparse.Namespace) -> int:
    from fieldwork.study import Study  # noqa: PLC0415

    study = Study.open(options.study or Study.find(), options.wave)
    claims = _claims_of(study.reports / "claims.json", needed=True)
    if options.json:
        print(json.dumps(claims, indent=1, ensure_ascii=False))
        return 0
    print(f"{'claim':<6} {'verdict':<15} {'estimate':>9} {'interval':<17} {'margin':>7}  text")
    for claim in claims:
        interval = (
            f"[{_number(claim['conf_low'])}, {_number(claim['conf_high'])}]" if claim["conf_low"] is not None else ""
        )
        numbers = f"{_number(claim['estimate']):>9} {interval:<17} {_number(claim['margin']):>7}"
        text = textwrap.shorten(claim["text"], 80, placeholder=" …")
        print(f"{claim['id']:<6} {claim['verdict'].replace('_', ' '):<15} {numbers}  {text}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from fieldwork.chapter import guarded  # noqa: PLC0415 - pandas
    from fieldwork.figures import planning  # noqa: PLC0415 - matplotlib
    from fieldwork.figures.saving import save  # noqa: PLC0415
    from fieldwork.plan import plan, sentence  # noqa: PLC0415 - numpy and pandas
    from fieldwork.provenance import write_atomic  # noqa: PLC0415
    from fieldwork.run.progress import counting  # noqa: PLC0415
    from fieldwork.study import Study  # noqa: PLC0415

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    study = Study.open(options.study or Study.find(), options.wave)
    chapters = _chapters(study.folder)
    with (
        _crew(options.cluster, study.folder, chapters) as crew,
        counting("drawing studies", tell=True) as progress,
    ):
        made = plan(
            study.folder,
            chapters,
            respondents=options.respondents,
            roles=options.roles,
            world=options.world,
            settings=_pairs(options.given, "--set"),
            studies=options.studies,
            waves=options.waves,
            replicates=options.replicates,
            seed=options.seed,
            workers=options.workers or os.cpu_count() or 1,
            crew=crew,
            progress=progress,
        )
    folder = options.out or study.reports.parent / "plan"
    save(planning.draw(made.table, world=made.world, study=study.title), folder)
    write_atomic(folder / "plan.csv", guarded(made.table).to_csv(index=False, lineterminator="\n"))
    if options.json:
        print(made.table.to_json(orient="records", double_precision=6))
        return 0
    able = made.table[made.table["not_assessable"] < 1.0]
    for claim in dict.fromkeys(able["claim"]):
        rows = able[able["claim"] == claim]
        if len(rows):
            print(f"{claim}  {textwrap.shorten(rows.iloc[0]['text'], 100, placeholder=' …')}")
            for size in rows["respondents"]:
                print(f"    {sentence(made, claim, int(size))}")
    never = [claim for claim in dict.fromkeys(made.table["claim"]) if claim not in set(able["claim"])]
    if never:
        print(f"not assessable at any of these sizes: {listed(never, limit=40)}")
    print(_shown((folder / "plan.svg").resolve()))
    return 0


def _claims_of(path: Path, *, needed: bool) -> list[dict[str, Any]]:
    if not path.is_file():
        if not needed:
            return []
        raise RunError(
            "the claims of this wave have not been assessed",
            where=_shown(path),
            expected="the file that a run makes",
            got="no such file",
            hint="fieldwork run",
        )
    try:
        claims: list[dict[str, Any]] = json.loads(path.read_bytes())
    except ValueError as error:
        raise RunError(
            "the file of claims is damaged",
            where=_shown(path),
            expected="the file that a run makes",
            got=str(error),
            hint="fieldwork run puts it back",
        ) from error
    return claims


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _organisations(options: argparse.Namespace) -> int:
    from fieldwork import organisations  # noqa: PLC0415
    from fieldwork.run import progress  # noqa: PLC0415
    from fieldwork.run.store import Store  # noqa: PLC0415
    from fieldwork.study import Study  # noqa: PLC0415

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What is made here is for one organisation each: no file of it is open to other users of the machine, for no moment.
    before = os.umask(0o077)
    try:
        study = Study.open(options.study or Study.find(), options.wave)
        store, chapters = Store(study.folder), _chapters(study.folder)
        workers = options.workers or _cores()
        out = sys.stderr if options.json else sys.stdout
        with contextlib.ExitStack() as stack:

            def follow(judge: Judge) -> Callable[[Event], None]:
                expected = {step.name: store.seconds(study.wave, step.name) for step in judge.pipeline.steps}
                return stack.enter_context(progress.follow(expected, crew.size if crew else workers, out))

            crew = stack.enter_context(_crew(options.cluster, study.folder, chapters))
            made = organisations.report(
                study,
                chapters.parent,
                store,
                only=options.only,
                workers=workers,
                force=options.force,
                crew=crew,
                follow=follow,
            )
    finally:
        os.umask(before)
    for failure in made.result.failures:
        print(failure, file=sys.stderr)
        if options.debug and failure.traceback:
            print(failure.traceback, file=sys.stderr)
    if options.json:
        answer = {
            "wave": study.wave,
            "folder": _shown(made.folder),
            "organisations": [asdict(each) for each in made.listing],
            "failed": [failure.as_dict() for failure in made.result.failures],
            "removed": made.removed,
        }
        print(json.dumps(answer, indent=1, ensure_ascii=False))
    else:
        print(f"wave {study.wave}: {organisations.summary(made)}")
        print(_shown(made.folder))
    return 1 if made.result.failures else 0


def _new(options: argparse.Namespace) -> int:
    from fieldwork.blank import begin  # noqa: PLC0415

    folder = begin(options.folder)
    print(json.dumps({"study": _shown(folder)}, ensure_ascii=False) if options.json else _shown(folder))
    return 0


def _prune(options: argparse.Namespace) -> int:
    from fieldwork.run.memory import amount  # noqa: PLC0415
    from fieldwork.run.pruning import prune  # noqa: PLC0415
    from fieldwork.study import Study  # noqa: PLC0415

    store = _store(Study.open(options.study or Study.find()))
    with store.lock():
        done = prune(store, days=options.older_than, dry=options.dry_run)
    if options.json:
        print(json.dumps({"files": done.files, "bytes": done.bytes, "left": done.left, "dry_run": options.dry_run}))
        return 0
    freed = f"{done.files} files, {amount(done.bytes)}"
    print(f"would be taken away: {freed}" if options.dry_run else f"taken away: {freed}")
    stays = "what each step made last" + (
        f", and what is younger than {options.older_than:g} days" if options.older_than else ""
    )
    print(f"kept: {amount(done.left)} - {stays}")
    return 0


def _release(options: argparse.Namespace) -> int:
    from fieldwork.publish import refuse_unstated  # noqa: PLC0415
    from fieldwork.release import record  # noqa: PLC0415 - pandas
    from fieldwork.study import Study  # noqa: PLC0415

    study = Study.open(options.study or Study.find(), options.wave)
    desk = _Desk(study, _store(study), {})
    with desk.store.lock():
        _refuse_outdated(desk, "release it")
        refuse_unstated(study)
        made = record(study)
    if options.json:
        answer = {"wave": study.wave, "register": _shown(made.path), "shown": made.shown, "held": made.held}
        print(json.dumps({**answer, "added": made.added}, ensure_ascii=False))
    else:
        print(
            f"wave {study.wave}: {made.shown} rows shown and {made.held} held back are recorded, {made.added} of them new"
        )
        print(_shown(made.path))
    return 0


def _refuse_outdated(desk: _Desk, then: str) -> None:
    """Refuse a wave whose reports are not what a run would make now."""
    off = [unit for unit in desk.plan(earlier=desk.plan_earlier()) if unit.state != "current"]
    if off:
        raise RunError(
            "what is published is not what a run would make now",
            where=f"wave {desk.study.wave}",
            expected="chapters that are current, with the study's own parameters",
            got=f"{off[0].step.name} {_STATES[off[0].state]}: {'; '.join(off[0].reasons)}",
            hint=f"fieldwork run, then look at the report, then {then}",
        )


def _publish(options: argparse.Namespace) -> int:
    import gc  # noqa: PLC0415

    from fieldwork.publish import publish  # noqa: PLC0415
    from fieldwork.study import Study  # noqa: PLC0415

    # Drawing leaves much to collect: what the libraries hold need not be gone through each time.
    gc.freeze()
    study = Study.open(options.study or Study.find(), options.wave)
    desk = _Desk(study, _store(study), {})
    out = (options.out or study.folder / "publication" / study.wave).resolve()
    with desk.store.lock():
        _refuse_outdated(desk, "publish it")
        desk.store.save_memo()
        made = publish(study, out, draft=options.draft, force=options.force)
    if made.unstated:
        print(
            f"warning: a draft, for the methods statement says nothing of {listed(made.unstated, limit=40)}",
            file=sys.stderr,
        )
    if options.json:
        answer = {"wave": study.wave, "folder": _shown(made.folder), "unchanged": made.unchanged}
        print(json.dumps({**answer, "unstated": made.unstated, "files": made.files}, indent=1, ensure_ascii=False))
    else:
        said = "nothing has changed since it was put together" if made.unchanged else f"{len(made.files)} files"
        print(f"wave {study.wave}: {said}")
        print(_shown(made.folder))
    return 0


def _bundle(options: argparse.Namespace) -> int:
    from fieldwork.bundle import bundle  # noqa: PLC0415
    from fieldwork.bundle.contents import given_of  # noqa: PLC0415
    from fieldwork.study import Study  # noqa: PLC0415

    study = Study.open(options.study or Study.find(), options.wave)
    desk = _Desk(study, _store(study), {})
    own = {
        step.name: {each.name: each.default for each in step.counted if each in step.offered}
        for step in desk.pipeline.steps
    }
    given = given_of(study, own)
    desk = _Desk(study, desk.store, given)
    out = (options.out or Path(f"{study.name}-{study.wave}.bundle.zip")).resolve()
    with desk.store.lock():
        _refuse_outdated(desk, "bundle it")
        desk.store.save_memo()
        seconds = {step.name: desk.store.seconds(study.wave, step.name) for step in desk.pipeline.steps}
        made = bundle(study, out, _chapters(study.folder).parent, given, seconds)
    if made.code.kind != "commit":
        print(f"warning: {made.code.sentence}", file=sys.stderr)
    for name, why in made.unbuilt.items():
        print(f"warning: the bundle goes without {name}: {why}", file=sys.stderr)
    if options.json:
        answer = {"wave": study.wave, "file": _shown(out), "sha256": made.digest, "files": made.files}
        raw = "raw" if made.shared else "twin"
        about = {"commit": made.code.commit, "code": made.code.kind, "raw": raw, "left_out": made.unbuilt}
        print(json.dumps({**answer, **about}, indent=1, ensure_ascii=False))
    else:
        data = "with the raw data" if made.shared else "with a simulated twin of the raw data, which may not be shared"
        print(f"wave {study.wave}: {made.files} files, {data}; sha256 {made.digest}")
        print(_shown(out))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from fieldwork.bundle import verify  # noqa: PLC0415

    return _told(verify(options.file, options.wave), options, "the same as when it was made")


def _reproduce(options: argparse.Namespace) -> int:
    from fieldwork.bundle import reproduce  # noqa: PLC0415

    out = sys.stderr if options.json else sys.stdout
    made = reproduce(
        options.file,
        into=options.into,
        environment=options.environment,
        raw=options.raw,
        workers=options.workers or _cores(),
        tell=lambda line: print(line, file=out, flush=True),
    )
    if made.checked and made.verdict.same and options.into is None:
        shutil.rmtree(made.folder, ignore_errors=True)
    else:
        print(f"made in {made.folder}", file=out)
    if not made.checked:
        if options.json:
            print(json.dumps({**made.verdict.as_dict(), "same": None, "environment": made.environment}, indent=1))
        for note in () if options.json else made.verdict.notes:
            print(note)
        print("the published numbers could not be checked; --raw DIR takes the real deliveries", file=sys.stderr)
        return 2
    return _told(made.verdict, options, "made again, and the same")


def _told(verdict: Verdict, options: argparse.Namespace, same: str) -> int:
    """Print what a check of a bundle found; 0 the same, 1 different."""
    if options.json:
        print(json.dumps(verdict.as_dict(), indent=1, ensure_ascii=False))
        return 0 if verdict.same else 1
    for note in verdict.notes:
        print(note)
    for each in verdict.differences:
        print(each)
    files = len({each.file for each in verdict.differences})
    said = same if verdict.same else f"{len(verdict.differences)} differences in {files} files"
    print(f"{verdict.checked} files checked: {said}")
    return 0 if verdict.same else 1


def _store(study: Study) -> Store:
    from fieldwork.run.store import Store  # noqa: PLC0415

    return Store(study.folder)


def _cores() -> int:
    return max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


_Command = tuple[str, str, Callable[[argparse.Namespace], int], Callable[[argparse.ArgumentParser], None]]
_COMMANDS: dict[str, _Command] = {
    "run": (
        "run the chapters that are out of date, and make the pages",
        "fieldwork run\nfieldwork run --wave 2026Q1 --replicates 500 --only 04_gradient",
        _run,
        _add_run,
    ),
    "explain": (
        "say what a run would do now, and why",
        "fieldwork explain\nfieldwork explain 04_gradient\nfieldwork explain adoption_gradient/conf/role_mean/CEO",
        _explain,
        _add_explain,
    ),
    "export": (
        "write the graph of chapters for snakemake, make, Graphviz or a program of yours",
        "fieldwork export --to make --out study.mk && make -f study.mk\nfieldwork export --to dot | dot -Tsvg > graph.svg",
        _export,
        _add_export,
    ),
    "debug": (
        "open the notebook of a chapter's last failure in JupyterLab, with its parameters, at the failing cell",
        "fieldwork debug 04_gradient",
        _debug,
        _add_debug,
    ),
    "lab": (
        "open copies of the chapters in JupyterLab, with the study's parameters filled in",
        "fieldwork lab\nfieldwork lab --replicates 500 --no-browser",
        _lab,
        _add_lab,
    ),
    "check": (
        "hold delivered exports against the instrument, changing nothing",
        "fieldwork check data/raw/2026Q1/*.csv",
        _check,
        _add_check,
    ),
    "simulate": (
        "write a study folder of a world whose truth is known",
        (
            "fieldwork simulate --list\n"
            "fieldwork simulate --world role_divergence --organisations 300 --seed 7 --out simulated"
        ),
        _simulate,
        _add_simulate,
    ),
    "new": (
        "make a new, empty study: settings, instrument and register to be filled for another survey",
        "fieldwork new our-survey",
        _new,
        _add_new,
    ),
    "claims": (
        "show the register of claims with its verdicts",
        "fieldwork claims --wave 2026Q1",
        _claims,
        _add_study,
    ),
    "plan": (
        "say what planned samples could show: precision and power of each claim, by simulation",
        (
            "fieldwork plan --respondents 200 400 800\n"
            "fieldwork plan --respondents 300 --roles CEO CFO CTO --studies 100\n"
            "fieldwork plan --studies 400 --cluster tcp://127.0.0.1:8786"
        ),
        _plan,
        _add_plan,
    ),
    "release": (
        "record what is published of a wave, so that a later release gives nobody away by the difference",
        "fieldwork release --wave 2026Q1",
        _release,
        _add_study,
    ),
    "publish": (
        "put pages, topline, data package and citation files of a wave together, in one folder",
        "fieldwork publish --wave 2026Q1\nfieldwork publish --draft --out /tmp/preview",
        _publish,
        _add_publish,
    ),
    "prune": (
        "take away what the study's memory keeps of runs that nobody will go back to",
        "fieldwork prune --dry-run\nfieldwork prune --older-than 7",
        _prune,
        _add_prune,
    ),
    "bundle": (
        "pack what a reviewer needs to make the results of a wave again",
        "fieldwork bundle --wave 2026Q1 --out review.zip",
        _bundle,
        _add_bundle,
    ),
    "verify": (
        "say whether a bundle is whole, and name what is missing, extra or changed: 0 the same, 1 different, 2 not checked",
        "fieldwork verify review.zip",
        _verify,
        _add_verify,
    ),
    "reproduce": (
        "make the results of a bundle again in a clean folder and say what differs: 0 the same, 1 different, 2 not checked",
        "fieldwork reproduce review.zip\nfieldwork reproduce review.zip --environment present --into again",
        _reproduce,
        _add_reproduce,
    ),
    "organisations": (
        "make a report for each organisation all of whose informants consented, in a closed folder",
        "fieldwork organisations\nfieldwork organisations --wave 2026Q1 --workers 4",
        _organisations,
        _add_organisations,
    ),
}
