"""A crew on the workers of a Dask scheduler: the same tasks, the same files, the same bytes as on one machine.

Dask moves tasks, tries the task of a worker that died on another one, and knows nothing of chapters. Workers share the
study's folder with the coordinator (a shared file system at the same path) and have the same package, lock and Python;
`Cluster` looks before it sends anything. A worker hashes the inputs before it starts, so a file system that lags behind
is found out. Every attempt writes into a folder of its own: a dying worker's chapter may outlive the start of the next.
The coordinator publishes, as always; when it or the scheduler is lost, the next run goes on from what was published.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.errors import FieldworkError, RunError, listed, refused
from fieldwork.provenance import Memo, canonical, environment, sha256_file, sha256_text
from fieldwork.run.caller import Caller
from fieldwork.run.fingerprint import CARRIED
from fieldwork.run.processes import Processes
from fieldwork.run.store import Store
from fieldwork.run.worker import Failure, Made, Task, work

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Cluster", "content", "installed"]

_CONNECT = 10.0  # seconds to reach the scheduler
_ARRIVE = 30.0  # seconds for a first worker to be there: it starts a Python with many imports
_LOOK = 0.3  # seconds between a worker's looks at whether its task is still wanted
_KEPT = 10.0  # seconds that a worker keeps a process which waits for another call
_PACKAGE = Path(__file__).resolve().parents[1]


class Cluster:
    """The workers of a Dask scheduler.

    Parameters
    ----------
    address : str    Of the scheduler, as `tcp://host:8786` or `tls://host:8786`; for the latter the certificates that the
                     settings of Dask name (`distributed.comm.tls`).
    study : Path     Folder of the study, which the workers must see at the same path.
    chapters : Path or None    Folder of the chapters, whose files must be the same on every worker; None: not looked at.

    Raises RunError where Dask is not installed, the scheduler does not answer, no worker is there, or a worker has other
    code, other software, other chapters or no sight of the study.
    """

    def __init__(self, address: str, study: Path, chapters: Path | None = None) -> None:
        self.address = address
        self._client = _connected(address)
        self._command = secrets.token_hex(8)
        self._size = 1
        try:
            self._look(study, chapters)
        except BaseException:
            self._client.close()
            raise
        # Each task has side effects in a folder of its own, so none is ever taken for another (pure). Dask tries the
        # task of a lost worker again by itself; a chapter's own error is a result and no reason to try again.
        self._executor = self._client.get_executor(pure=False)

    @property
    def size(self) -> int:
        """Threads of all workers: a task waits where it could run."""
        # A scheduler that cannot be asked is told of where a task is sent to it.
        with contextlib.suppress(OSError):
            self._size = max(1, sum(self._client.nthreads().values()))
        return self._size

    def submit(
        self,
        task: Task,
        inputs: Mapping[str, str],
        on_cell: Callable[[int, int], None],  # noqa: ARG002 - cells are not told across machines
    ) -> Future[Made | Failure]:
        """Send a task; what becomes of it is the future's result, a lost worker or scheduler included."""
        name = task.step.name

        def lost(error: RunError) -> Failure:
            return Failure(name, error, values=task.values)

        return self._sent(f"chapter {name}", lost, _attempt, (task, dict(inputs)))

    def call(self, what: str, target: str, given: Mapping[str, Any]) -> Future[Any | FieldworkError]:
        """Have a worker call a function, in a process that makes one call after another for this command alone."""
        return self._sent(what, lambda error: error, _called, (self._command, what, target, dict(given)))

    def _sent(
        self, what: str, lost: Callable[[RunError], Any], function: Callable[..., Any], given: tuple[Any, ...]
    ) -> Future[Any]:
        """Send a call; where worker or scheduler is lost, the future's result is what `lost` makes of the error."""
        outcome: Future[Any] = Future()
        try:
            sent = self._executor.submit(function, *given)
        except Exception as error:  # noqa: BLE001 - a connection can be lost in any of Dask's ways
            outcome.set_result(lost(self._lost(what, error)))
            return outcome

        def told(ended: Future[Any]) -> None:
            try:
                outcome.set_result(ended.result())
            except (Exception, CancelledError) as error:  # noqa: BLE001 - Dask's own ways to say that a task was lost
                outcome.set_result(lost(self._lost(what, error)))

        sent.add_done_callback(told)
        return outcome

    def end(self) -> None:
        """Take back what still runs - workers end its processes - and let go of the scheduler."""
        # The scheduler may be lost, or let go of already: why the run ended has been told, and must not be hidden by this.
        with contextlib.suppress(Exception):
            self._executor.shutdown(wait=False)
        with contextlib.suppress(Exception):
            self._client.close(timeout=_CONNECT)

    def _lost(self, what: str, error: BaseException) -> RunError:
        where = f"{what}, scheduler {self.address}"
        if type(error).__name__ == "KilledWorker":
            return RunError(
                "the task's worker was lost, and those on which it was tried again",
                where=where,
                expected="a worker that lives until its task ends",
                got=str(error).splitlines()[0][:200],
                hint="the usual cause is memory; give the workers more, or run it without --cluster",
            )
        return RunError(
            "the scheduler was lost",
            where=where,
            expected="a scheduler that answers until the run has ended",
            got=(f"{type(error).__name__}: {error}".splitlines() or [""])[0][:200],
            hint="start it again and run again: what was done is kept",
        )

    def _look(self, study: Path, chapters: Path | None) -> None:
        """Hold every worker's code, software, chapters and sight of the study against ours."""
        stage = Store(study).folder / "stage"
        stage.mkdir(parents=True, exist_ok=True)
        token = secrets.token_hex(8)
        mark = stage / f"seen-{token}"
        mark.write_text(token, encoding="utf-8")
        folder = str(chapters or "")
        try:
            with _by_value():
                told = self._client.run(_probe, str(mark), folder, on_error="return")
        finally:
            mark.unlink(missing_ok=True)
        own = {**installed(), "chapters": content(folder)}
        for worker, answer in sorted(told.items()):
            _refuse(worker, answer, own, token, study, folder)


def installed() -> dict[str, str]:
    """Return what must be the same on every worker: Python, the installed distributions, and this package's files."""
    software = environment(Memo(None))
    return {
        "Python": software.python,
        "the installed packages": software.installed,
        "the code of fieldwork": content(str(_PACKAGE), without=CARRIED),
    }


def content(folder: str, *, without: Sequence[str] = ()) -> str:
    """Return one hash for all files of a folder, but for those in some folders of it; empty for no folder."""
    files = Memo(None).folder(Path(folder)) if folder else {}
    kept = {name: digest for name, digest in files.items() if name.partition("/")[0] not in without}
    return sha256_text(canonical(kept)) if folder else ""


def _connected(address: str) -> Client:
    try:
        from distributed import Client  # noqa: PLC0415 - an optional part, and half a second
    except ImportError as error:
        raise RunError(
            "Dask is not installed, which --cluster needs",
            expected="the optional part `cluster` of fieldwork",
            got=str(error),
            hint="pip install 'fieldwork[cluster]'",
        ) from error
    hint = "start one (`dask scheduler`, and `dask worker ADDRESS` on each machine), or run without --cluster"
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            "no Dask scheduler answers",
            where=address,
            expected="the address of a scheduler, as tcp://host:8786",
            got=(str(error).splitlines() or [type(error).__name__])[0][:200],
            hint=hint,
        ) from error
    try:
        client.wait_for_workers(1, timeout=_ARRIVE)
    except TimeoutError as error:
        client.close()
        raise RunError(
            "the scheduler has no worker",
            where=address,
            expected="at least one worker",
            got=f"none after {_ARRIVE:.0f} seconds",
            hint="start one: `dask worker ADDRESS --nthreads 1`",
        ) from error
    return client


@contextlib.contextmanager
def _by_value() -> Iterator[None]:
    """Send functions of this module as code, for a worker that lacks the module cannot even read its name."""
    import cloudpickle  # noqa: PLC0415 - comes with Dask

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _probe(mark: str, chapters: str) -> dict[str, str]:
    """Say what a worker has; it names nothing of ours but by import, for a worker may have nothing of ours."""
    try:
        from fieldwork.run import cluster  # noqa: PLC0415, PLW0406 - sent as code: there it is no part of the module

        told = {**cluster.installed(), "chapters": cluster.content(chapters)}
    except (ImportError, AttributeError) as error:
        return {"missing": str(error)}
    try:
        seen = Path(mark).read_text(encoding="utf-8")
    except OSError as error:
        seen = str(error)
    return {**told, "seen": seen}


def _refuse(
    worker: str,
    answer: Any,  # noqa: ANN401 - as told
    own: Mapping[str, str],
    token: str,
    study: Path,
    chapters: str,
) -> None:
    if not isinstance(answer, dict):
        raise RunError(
            "a worker cannot say what it has", where=worker, expected="fieldwork, installed", got=f"{answer}"[:200],
            hint="install the same fieldwork there, from the same lock file",
        )  # fmt: skip
    if "missing" in answer:
        raise RunError(
            "a worker has no fieldwork of this kind", where=worker, expected="the package, installed",
            got=answer["missing"][:200], hint="install the same fieldwork there, from the same lock file",
        )  # fmt: skip
    if differs := [name for name in own if name != "chapters" and answer.get(name) != own[name]]:
        raise RunError(
            "a worker differs from this machine, so its results could",
            where=worker,
            expected="the same Python, packages and code as here",
            got=f"other: {listed(differs)}",
            hint="install the same fieldwork there, from the same lock file",
        )
    if answer.get("seen") != token:
        raise RunError(
            "a worker does not see the study",
            where=worker,
            expected=f"the folder {study}, shared between all machines",
            got=answer.get("seen", "")[:200],
            hint="put the study on a file system that all machines mount at the same path",
        )
    if answer.get("chapters") != own["chapters"]:
        raise RunError(
            "a worker reads other chapters than this machine",
            where=worker,
            expected=f"the files of {chapters}, the same on every machine",
            got="other files, or none",
            hint="install the same fieldwork there at the same path, or share the folder",
        )


def _attempt(task: Task, inputs: Mapping[str, str]) -> Made | Failure:
    """Run a task on a worker, in a folder of this attempt's own."""
    from distributed import get_worker  # noqa: PLC0415 - on a worker it is there

    name = task.step.name
    try:
        if stale := sorted(label for label, digest in inputs.items() if not _same(task.study / label, digest)):
            lag = RunError(
                "the worker reads other files than the coordinator",
                where=f"chapter {name}",
                expected="the same content on every machine",
                got=listed(stale),
                hint="run again; if it stays, the shared file system serves old content",
            )
            return Failure(name, lag, values=task.values)
        # Kept apart by chance, not by process id: workers are on several machines.
        own = task.stage / f"attempt-{secrets.token_hex(6)}"
        own.mkdir(parents=True)
        processes = Processes()
        worker = get_worker()
        with _watched(worker, worker.get_current_task(), processes):
            outcome = work(replace(task, stage=own), processes, lambda _, __: None, Store(task.study).sockets())
    except FieldworkError as error:
        return Failure(name, error, values=task.values)
    except OSError as error:
        return Failure(name, refused(error), values=task.values)
    return replace(outcome, stage=own) if isinstance(outcome, Made) else outcome


def _called(command: str, what: str, target: str, given: Mapping[str, Any]) -> Any | FieldworkError:  # noqa: ANN401 - any JSON
    """Call a function on a worker, in a process that ends when nobody wants its result any more."""
    from distributed import get_worker  # noqa: PLC0415 - on a worker it is there

    worker, waiting = get_worker(), _taken(command)
    try:
        with _watched(worker, worker.get_current_task(), waiting.processes):
            return waiting.caller.call(what, target, given)
    except BaseException as error:
        # What the process has still to say would be taken for the answer of its next call.
        waiting.processes.stop()
        if isinstance(error, OSError):
            return refused(error)
        raise
    finally:
        _put_back(waiting)


@dataclass(eq=False)
class _Waiting:
    """A process on a worker that a command has called something in; its code is that of when the command began.

    Attributes
    ----------
    command : str      The command.
    processes : Processes, caller : Caller    By which it is ended, and called.
    over : Timer       Ends it when no call has come for a while: a command, or its scheduler, may be lost without a word.
    """

    command: str
    processes: Processes
    caller: Caller
    over: threading.Timer | None = None


_WAITING: list[_Waiting] = []  # on a worker
_CHOOSING = threading.Lock()


def _taken(command: str) -> _Waiting:
    """Return a process that waits for another call of the command, or a new one."""
    with _CHOOSING:
        for each in _WAITING:
            if each.command == command:
                _WAITING.remove(each)
                if each.over is not None:
                    each.over.cancel()
                return each
    processes = Processes()
    return _Waiting(command, processes, Caller(processes))


def _put_back(waiting: _Waiting) -> None:
    """Have a process wait for another call; one whose call was no longer wanted ends."""
    if waiting.processes.stopped:
        waiting.caller.end()
        return
    waiting.over = threading.Timer(_KEPT, _dismissed, (waiting,))
    waiting.over.daemon = True
    with _CHOOSING:
        _WAITING.append(waiting)
    waiting.over.start()


def _dismissed(waiting: _Waiting) -> None:
    """End a process that has waited long enough, unless it has been taken meanwhile."""
    with _CHOOSING:
        if waiting not in _WAITING:
            return
        _WAITING.remove(waiting)
    waiting.caller.end()


def _same(path: Path, digest: str) -> bool:
    try:
        return sha256_file(path) == digest
    except OSError:
        return False


@contextlib.contextmanager
def _watched(worker: Any, key: Any, processes: Processes) -> Iterator[None]:  # noqa: ANN401 - Dask's own types
    """End a task's processes when nobody wants its result any more: Dask itself cannot stop a thread."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK):
            state = worker.state.tasks.get(key)
            if state is None or state.state in {"cancelled", "released", "forgotten"}:
                processes.stop()
                return

    thread = threading.Thread(target=watch, name="wanted", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
