"""The processes that a run has started, so that an interrupted run ends them and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

from fieldwork.errors import RunError

__all__ = ["Processes"]


class Processes:
    """Process ids of the kernels and calls that are alive; each leads a process group of its own.

    >>> processes = Processes()
    >>> processes.stop()
    >>> processes.stopped
    True
    """

    def __init__(self) -> None:
        self._alive: set[int] = set()
        self._lock = threading.Lock()
        self.stopped = False

    def refuse_when_stopped(self) -> None:
        """Raise RunError when the run is being stopped, so that nothing new starts."""
        if self.stopped:
            raise RunError("the run is being stopped")

    def add(self, pid: int) -> None:
        """List a process; one that starts while the run is being stopped is ended at once."""
        with self._lock:
            self._alive.add(pid)
            stopped = self.stopped
        if stopped:
            self._end(pid)

    def discard(self, pid: int) -> None:
        """Take a process that has ended off the list."""
        with self._lock:
            self._alive.discard(pid)

    def stop(self) -> None:
        """End every listed process, with its children, and let none start."""
        with self._lock:
            self.stopped = True
            alive = tuple(self._alive)
        for pid in alive:
            self._end(pid)

    @staticmethod
    def _end(pid: int) -> None:
        # It may have ended by itself in the meantime.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
