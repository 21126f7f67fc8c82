"""Who runs the chapters: a crew takes tasks and gives futures of what they made; the coordinator does all the rest.

Chapters are the one kind of task, functions by the hundred the other: their arguments and results are JSON, and a process
calls many of them.

`Local` is this machine. `run.cluster` has the other one, on the workers of a Dask scheduler.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from fieldwork.run.caller import Caller
from fieldwork.run.processes import Processes
from fieldwork.run.worker import Failure, Made, Task, work

if TYPE_CHECKING:
    from fieldwork.errors import FieldworkError
    from fieldwork.run.store import Store

__all__ = ["Crew", "Local"]


class Crew(Protocol):
    """What the coordinator asks of whoever runs its tasks."""

    @property
    def size(self) -> int:
        """Tasks that it runs at one time."""

    def submit(
        self, task: Task, inputs: Mapping[str, str], on_cell: Callable[[int, int], None]
    ) -> Future[Made | Failure]:
        """Run a task; `inputs` are the SHA-256 of what it reads, by label. An error of the task is its result."""

    def call(self, what: str, target: str, given: Mapping[str, Any]) -> Future[Any | FieldworkError]:
        """Call `module:function` with arguments by name, all of it JSON; `what` names it to the user.

        An error of ours that it raises is its result, and so is a RunError where its process, worker or scheduler was lost.
        """

    def end(self) -> None:
        """End what still runs, and wait until it has."""


class Local:
    """Threads of this process, each of which watches over the process of one chapter, or over one that calls functions.

    Parameters
    ----------
    store : Store    Where each process's folder of sockets is written down.
    workers : int    Chapters at one time.
    """

    def __init__(self, store: Store, workers: int) -> None:
        self.size = workers
        self._store = store
        self._processes = Processes()
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="chapter")
        self._callers: dict[int, Caller] = {}  # by thread

    def submit(
        self,
        task: Task,
        inputs: Mapping[str, str],  # noqa: ARG002 - the coordinator has just read the same files
        on_cell: Callable[[int, int], None],
    ) -> Future[Made | Failure]:
        """Run a task in a process of its own."""
        return self._pool.submit(
            work, replace(task, workers=self.size), self._processes, on_cell, self._store.sockets()
        )

    def call(self, what: str, target: str, given: Mapping[str, Any]) -> Future[Any | FieldworkError]:
        """Call a function in a process of one of the threads."""
        return self._pool.submit(self._call, what, target, dict(given))

    def _call(self, what: str, target: str, given: Mapping[str, Any]) -> Any | FieldworkError:  # noqa: ANN401 - any JSON
        caller = self._callers.setdefault(threading.get_ident(), Caller(self._processes))
        return caller.call(what, target, given)

    def end(self) -> None:
        """Kill the processes that still run."""
        self._processes.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for caller in self._callers.values():
            caller.end()
