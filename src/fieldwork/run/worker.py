"""One chapter, run: staged, executed, checked against what it declares, its page put into published form.

A chapter writes into a folder of its own attempt. Nothing of it is seen by a reader or by another chapter before all
of it is there; publishing is the coordinator's.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork import errors
from fieldwork.errors import FieldworkError, NotebookError, RunError, listed, refused
from fieldwork.provenance import sha256_file, write_atomic
from fieldwork.run import lifeline
from fieldwork.run.page import compose

if TYPE_CHECKING:
    import subprocess
    from contextlib import AbstractContextManager

    from fieldwork.run.forking import Forked
    from fieldwork.run.notebook import Notebook, Value
    from fieldwork.run.processes import Processes
    from fieldwork.run.spec import Step

__all__ = ["Failure", "Made", "Task", "hidden_paths", "raised", "renew", "surroundings", "view", "work"]

logger = logging.getLogger(__name__)

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CELL_LINE = re.compile(r"Cell In\[\d+\], line (\d+)")
_NO_ROOM = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT})\] ([^:\n]*)")
_FIELD = re.compile(r"  (where|expected|got|hint) +(\S.*)")
_EPOCH = "1767225600"
_WORKERS = "FIELDWORK_WORKERS"
"""Date that figures and documents carry instead of the clock's: the first day of 2026."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to run a step.

    Attributes
    ----------
    step : Step          The step.
    study : Path         The study's folder.
    wave : str           Wave.
    values : dict        Parameters that differ from the notebook's defaults.
    places : dict        Folders of the machine that the user named, by parameter.
    stage : Path         Empty folder of this attempt, a mirror of the study.
    failed : Path        Where the executed notebook goes when a cell fails.
    isolated : bool      Whether its process is started from nothing instead of forked.
    shared : tuple       Modules of ours that other steps of the run import too: worth loading once for all.
    workers : int        Processes that it may keep busy, itself among them; 0: the notebook's own choice.
    """

    step: Step
    study: Path
    wave: str
    values: dict[str, Value]
    places: dict[str, str]
    stage: Path
    failed: Path
    isolated: bool = False
    shared: tuple[str, ...] = ()
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A step that succeeded; its outputs lie in the staging folder.

    Attributes
    ----------
    step : str          Name.
    outputs : dict      SHA-256 of each output file, by label.
    seconds : float     How long it took.
    memory : int        Bytes that its kernel held at the most; 0 where that is not known.
    stage : Path        Where they lie, if not in the folder that the task named.
    """

    step: str
    outputs: dict[str, str]
    seconds: float
    memory: int = 0
    stage: Path | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed, told to the user.

    Attributes
    ----------
    step : str               Name.
    error : FieldworkError   Cause: the chapter's own error where it raised one of ours, else what happened and where.
    place : str              Notebook, cell, heading above it, line.
    source : str             The source line.
    values : dict            Parameters that were set.
    copy : str               Where the executed notebook is kept; empty when there is none.
    traceback : str          For `--debug`.
    """

    step: str
    error: FieldworkError
    place: str = ""
    source: str = ""
    values: dict[str, Value] | None = None
    copy: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        lines = [str(self.error)]
        if self.place:
            lines.append(f"  chapter   {self.place}")
        if self.source:
            lines.append(f"  line      {self.source}")
        if self.values:
            lines.append(f"  with      {', '.join(f'{name} = {value!r}' for name, value in self.values.items())}")
        if self.copy:
            lines.append(f"  see       {self.copy}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for `--json`."""
        return {
            "chapter": self.step,
            **self.error.as_dict(),
            "place": self.place,
            "line": self.source,
            "parameters": self.values or {},
            "copy": self.copy,
        }


def work(
    task: Task,
    processes: Processes,
    on_cell: Callable[[int, int], None],
    private: AbstractContextManager[Path],
) -> Made | Failure:
    """Run a step into its staging folder and say what it made, or how it failed.

    `private` gives the short, empty folder that its process has to itself.
    """
    try:
        return _work(task, processes, on_cell, private)
    except OSError as error:
        # No room for the process's own files, or one process too many: a failure of this step and of no other.
        return Failure(task.step.name, refused(error), values=task.values)


def _work(
    task: Task,
    processes: Processes,
    on_cell: Callable[[int, int], None],
    private: AbstractContextManager[Path],
) -> Made | Failure:
    start = time.perf_counter()
    for output in task.step.outputs:
        path = task.stage / output.label
        (path if output.folder else path.parent).mkdir(parents=True, exist_ok=True)
    with private as sockets:
        # What it keeps for a while goes with its folder, however it and its children end.
        around = surroundings(sockets) | {"TMPDIR": str(sockets)}
        if task.workers:
            around[_WORKERS] = str(task.workers)
        if task.step.notebook:
            ended = _run_notebook(task, task.step.notebook, sockets, around, processes=processes, on_cell=on_cell)
        else:
            ended = _run_call(task, sockets, around, processes)
    if isinstance(ended, Failure):
        return ended
    try:
        outputs = _declared(task)
    except FieldworkError as error:
        return Failure(task.step.name, error, values=task.values)
    return Made(task.step.name, outputs, time.perf_counter() - start, ended)


def renew(step: Step, page: str, values: Mapping[str, Value], wave: str) -> str:
    """Return a published page with the prose of the notebook as it now is; no code runs, for none has changed."""
    if step.notebook is None:
        raise RunError("a call has no page", where=step.name)
    source = json.loads(step.notebook.path.read_text(encoding="utf-8"))
    return compose(source, json.loads(page), {"wave": wave, **values}, ())


def view(step: Step, page: Path, study: Path, wave: str, values: Mapping[str, Value]) -> str:
    """Return what a step's view makes of its executed notebook; no code of the notebook runs."""
    module, _, function = step.view.partition(":")
    made: str = getattr(importlib.import_module(module), function)(page, study, wave, values)
    return made


def surroundings(private: Path) -> dict[str, str]:
    """Return the environment of a chapter's process; `private` is a folder for what it keeps to itself."""
    around = {name: value for name, value in os.environ.items() if name not in {"PYTHONDONTWRITEBYTECODE", _WORKERS}}
    return around | {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        # Plugins of the user's are no part of the study, and to look for them reads the metadata of every package.
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
        # What a chapter's arrays gave back stays with its process: given to the system and asked for again, it costs a fault a
        # page, a tenth to a fifth of a chapter's time at a million respondents. Arrow's own allocator gives it to the
        # system, so its columns come from the C library, too.
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "SOURCE_DATE_EPOCH": _EPOCH,
        "TZ": "UTC",
        # A backend set by the user would make figures vanish from the page.
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        # The user's own start-up files are no part of the study.
        "IPYTHONDIR": str(private / "ipython"),
    }


def _run_notebook(
    task: Task,
    book: Notebook,
    sockets: Path,
    around: Mapping[str, str],
    *,
    processes: Processes,
    on_cell: Callable[[int, int], None],
) -> Failure | int:
    """Run a notebook; return the bytes that its kernel held, or how it failed."""
    if not task.isolated:
        from fieldwork.run import forking  # noqa: PLC0415 - as below

        # Asked for before papermill is loaded, it loads its libraries beside.
        server = forking.server(around)
        if server is not None:
            server.expect(task.shared)
    from fieldwork.run import kernels  # noqa: PLC0415 - a second of imports that a run with nothing to do must not pay

    held: list[Any] = []
    reached = [0]

    def at(number: int, total: int) -> None:
        reached[0] = number
        on_cell(number, total)

    places = {"study": str(task.study), "wave": task.wave, "out": str(task.stage)}
    try:
        peak = kernels.execute(
            book.path,
            {**places, **task.places, **task.values},
            folder=task.stage,
            sockets=sockets,
            surroundings=around,
            processes=processes,
            on_cell=at,
            held=held,
            isolated=task.isolated,
        )
    except kernels.PapermillExecutionError as error:
        return _cell_failed(task, book, held, error)
    except (kernels.DeadKernelError, RuntimeError, RunError) as error:
        cell = _own(book, reached[0]) if reached[0] else 0
        cause = NotebookError(
            "the chapter's process ended before its last cell",
            where=_cell_place(book, cell) if cell else f"notebooks/{book.path.name}",
            expected="the process to live until the last cell",
            got=f"{type(error).__name__}: {error}".splitlines()[0],
            hint="the usual cause is memory; try --memory, fewer workers or fewer replicates",
        )
        log = sockets / "kernel.log"
        said = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        return _failure(task, [] if processes.stopped else held, cause, cell=cell, traceback=said)
    source = json.loads(book.path.read_text(encoding="utf-8"))
    text = compose(source, held[0], {"wave": task.wave, **task.values}, hidden_paths(task))
    page = task.stage / task.step.page
    page.write_text(text, encoding="utf-8")
    if task.step.view:
        seen = view(task.step, page, task.study, task.wave, task.values)
        (task.stage / task.step.view_page).write_text(seen, encoding="utf-8")
    return peak


def hidden_paths(task: Task) -> list[tuple[str, str]]:
    """Return paths of the machine, with what a published page says instead, longest first."""
    package = Path(__file__).resolve().parents[1]
    pairs = {
        str(task.stage): "",
        str(task.stage.resolve()): "",
        str(task.study): "",
        **{path: name for name, path in task.places.items()},
        str(package): "fieldwork",
        sys.prefix: "environment",
        sys.base_prefix: "python",
        str(Path.home()): "~",
    }
    # The root folder would empty every path.
    kept = [(path, name) for path, name in pairs.items() if len(path) > 1]
    return sorted(kept, key=lambda pair: -len(pair[0]))


def _cell_failed(task: Task, book: Notebook, held: list[Any], error: Any) -> Failure:  # noqa: ANN401 - papermill's error
    number = _own(book, error.cell_index + 1)
    trace = _COLOURS.sub("", "\n".join(error.traceback))
    lines = _CELL_LINE.findall(trace)
    source = book.cells[number - 1].source.splitlines() or [""]
    line = min(int(lines[0]) if lines else 1, len(source))
    place = f"{_cell_place(book, number)}, line {line}"
    own = _ours(error.ename, error.evalue) or _no_room(error.ename, error.evalue)
    first = error.evalue.splitlines()[0] if error.evalue else ""
    cause = own or NotebookError(
        f"chapter {task.step.name} stopped at {error.ename}{f': {first}' if first else ''}",
        hint="mend the cell, then run again: only what is out of date runs",
    )
    return _failure(task, held, cause, cell=number, place=place, source=source[line - 1].strip(), traceback=trace)


def _failure(
    task: Task,
    held: list[Any],
    cause: FieldworkError,
    *,
    cell: int,
    place: str = "",
    source: str = "",
    traceback: str = "",
) -> Failure:
    copy = ""
    values: dict[str, Value] = {"wave": task.wave, **task.values}
    if held:
        import nbformat  # noqa: PLC0415 - loaded already, by papermill

        # What `fieldwork debug` opens: where it stopped, in cells of the source, and with which parameters.
        told = {"error": str(cause), "place": place or cause.where, "cell": cell}
        held[0].metadata["fieldwork"] = {"failure": told, "parameters": {**task.places, **task.values}}
        write_atomic(task.failed, nbformat.writes(held[0]))  # type: ignore[no-untyped-call]
        copy = task.failed.relative_to(task.study).as_posix()
    return Failure(task.step.name, cause, place, source, values, copy, traceback)


def _own(book: Notebook, number: int) -> int:
    """Return a cell's number in the source notebook from its number in the executed one, which has one cell more."""
    injected = next(cell.number for cell in book.cells if "parameters" in cell.tags) + 1
    return number - 1 if number >= injected else number


def _cell_place(book: Notebook, number: int) -> str:
    heading = book.heading_above(number)
    return f"notebooks/{book.path.name}, cell {number}" + (f" under '{heading}'" if heading else "")


def _ours(name: str, text: str) -> FieldworkError | None:
    """Return the error of ours that a kernel reported by name and text; None when it is another's."""
    lines = text.splitlines()
    kind = getattr(errors, name, None)
    known = isinstance(kind, type) and issubclass(kind, FieldworkError)
    if not lines or not lines[0].startswith(f"{name}: ") or not (known or any(map(_FIELD.fullmatch, lines))):
        return None
    fields: dict[str, str] = {}
    title = [lines[0].removeprefix(f"{name}: ")]
    last = ""
    for line in lines[1:]:
        found = _FIELD.fullmatch(line)
        if found:
            last = found[1]
            fields[last] = found[2]
        elif last:
            fields[last] += f"\n{line}"
        else:
            title.append(line)
    make: type[FieldworkError] = kind if known else NotebookError  # type: ignore[assignment]
    return make("\n".join(title), **fields)


def _no_room(name: str, text: str) -> RunError | None:
    """Return the error of a full disk, where that is what a process reported by name and text."""
    found = _NO_ROOM.search(text) if name.endswith("Error") else None
    return refused(OSError(int(found[1]), found[2].strip())) if found else None


def _run_call(task: Task, private: Path, around: Mapping[str, str], processes: Processes) -> Failure | int:
    report, log = private / "error.json", private / "call.log"
    given = json.dumps({"study": str(task.study), "wave": task.wave, "out": str(task.stage)})
    processes.refuse_when_stopped()
    with log.open("wb") as said:
        process = _start([task.step.call, given, str(report)], task, around, said.fileno())
    processes.add(process.pid)
    code = process.wait()
    processes.discard(process.pid)
    told = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else None
    if told == {}:
        return 0
    if told is None:
        text = log.read_text(encoding="utf-8", errors="replace")
        cause: FieldworkError = RunError(
            "the step's process ended before its function did",
            where=task.step.call,
            got=f"exit code {code}" if code else "no report of how the function ended",
            hint=text.strip()[-500:],
        )
        return Failure(task.step.name, cause, values={"wave": task.wave}, traceback=text)
    cause = raised(told, f"step {task.step.name}")
    place = f"{task.step.call} ({told['place']})"
    return Failure(task.step.name, cause, place, told["source"], {"wave": task.wave}, "", told["traceback"])


def raised(told: Mapping[str, str], what: str) -> FieldworkError:
    """Return the error that the process of a call has told: ours as it was, another's with what it stopped."""
    fields = {name: told.get(name, "") for name in ("where", "expected", "got", "hint")}
    kind = getattr(errors, told["error"], None)
    if isinstance(kind, type) and issubclass(kind, FieldworkError):
        return kind(told["title"], **fields)
    stopped = f"{what} stopped at {told['error']}: {told['title']}".rstrip(": ")
    return _no_room(told["error"], told["title"]) or RunError(stopped, **fields)


def _start(call: list[str], task: Task, around: Mapping[str, str], log: int) -> Forked | subprocess.Popen[bytes]:
    """Start the process of a call: forked where a server of kernels runs, and has loaded what most calls import."""
    import subprocess  # noqa: PLC0415 - a run with nothing to do starts no process

    from fieldwork.run import forking  # noqa: PLC0415 - as above

    surroundings = {**around, "MPLBACKEND": "agg"}
    server = None if task.isolated else forking.running(around)
    if server is not None:
        try:
            return server.fork(call, str(task.stage), surroundings, log, kernel=False)
        except OSError as error:
            logger.warning("a call starts from nothing: %s", error)
    return subprocess.Popen(
        [sys.executable, "-m", "fieldwork.run.call", *call, str(lifeline.handle())],
        pass_fds=[lifeline.handle()],
        cwd=task.stage,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _declared(task: Task) -> dict[str, str]:
    """Return the hash of every file made; refuse what is made but not declared, or declared but not made."""
    made = sorted(path for path in task.stage.rglob("*") if not path.is_dir())
    labels = {path.relative_to(task.stage).as_posix(): path for path in made}
    where = f"notebooks/chapters.toml, chapter '{task.step.name}', outputs"
    declared = listed(f"{output.label}{'/' * output.folder}" for output in task.step.outputs)
    if stray := [label for label in labels if not any(output.covers(label) for output in task.step.outputs)]:
        raise NotebookError(
            "the chapter wrote a file that it does not declare",
            where=where,
            expected=declared,
            got=listed(stray),
            hint="add the file to `outputs`, or do not write it",
        )
    missing = [
        output.label
        for output in task.step.outputs
        if not output.optional and not any(output.covers(label) for label in labels)
    ]
    if missing:
        raise NotebookError(
            "the chapter did not make an output that it declares",
            where=where,
            expected=declared,
            got=f"no {listed(missing)}",
            hint="write the file into the folder of parameter `out`, or take it out of `outputs`",
        )
    return {label: sha256_file(path) for label, path in labels.items()}
