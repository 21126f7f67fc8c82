"""Work of many pieces, done by this process and by others of this machine beside it.

Own code, for a pool of `multiprocessing` imports the caller's own script again, and a notebook has none. Another process is an
interpreter with this package that is handed one order after another. A result is a function of its order alone and comes
back in the order's turn, so neither the number of processes nor who did what can reach a byte. Between them go pickles, through
a pipe of their own; none is a file.
"""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from operator import attrgetter
from typing import Any, Generic, Self, TypeVar

__all__ = ["Shared", "in_order", "processes"]

logger = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

_MOST = 4
_AHEAD = 2  # orders that another process holds: the one that it does, and the next
_START = "{0}from {1} import main; main({2}, {3!r}, {4!r})"


def processes() -> int:
    """Return how many processes may share a work: as many as there are processors, four at most.

    In a chapter no more than the run's `--workers`, which its process is told by the variable `FIELDWORK_WORKERS`.

    >>> 1 <= processes() <= 4
    True
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, min(processors, int(os.environ.get("FIELDWORK_WORKERS", _MOST)), _MOST))


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


def in_order(
    work: Callable[[In], Out],
    orders: Iterable[In],
    *,
    others: int,
    alone: int = 0,
    before: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Out]:
    """Do the work of each order and yield the results in the order given; for `others` and what follows see `Shared`.

    Orders are taken as they can be done, a few ahead.

    >>> list(in_order(abs, [3, -1, 2], others=0))
    [3, 1, 2]
    """
    missing: Exception | None = None
    source = iter(orders)
    with Shared(work, others=others, alone=alone, before=before, environment=environment) as shared:
        while True:
            try:
                order = next(source)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - raised in its turn, after what came before it
                missing = error
                break
            shared.add(order)
            yield from shared.ready()
        yield from shared.rest()
    if missing is not None:
        raise missing


class Shared(Generic[In, Out]):
    """A work of which each order is done by this process or by another one beside it.

    This process does its share. What another one could not do, because it raised or has gone, is done here, and raises here
    what it raises; where several raise, the first in order does.

    Parameters
    ----------
    work : callable           A function of a module, or a method, that takes one order.
    others : int              Processes beside this one.
    alone : int               Orders that are done here before others are started: they load their libraries first.
    before : str              Statements that another process begins with.
    environment : mapping     Variables that it has beside those of this process.

    >>> with Shared(abs, others=0) as shared:
    ...     shared.add(-3)
    ...     shared.add(2)
    ...     list(shared.rest())
    [3, 2]
    """

    def __init__(
        self,
        work: Callable[[In], Out],
        *,
        others: int,
        alone: int = 0,
        before: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._work = work
        self._others, self._alone = others, alone
        self._before, self._environment = before, environment or {}
        self._crew: list[_Other] = []
        self._given: dict[int, In] = {}
        self._done: dict[int, Out | _Raised] = {}
        self._number = self._turn = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, order: In) -> None:
        """Take one more order: it is done, or under way, afterwards."""
        if self._number == self._alone:
            self._crew = [
                self._stack.enter_context(_Other(self._work, self._before, self._environment))
                for _ in range(self._others)
            ]
        for other in self._crew:
            other.take(self._done)
        ready = [other for other in self._crew if other.ready()]
        if ready:
            self._given[self._number] = order
            min(ready, key=lambda other: len(other.held)).give(self._number, order)
        else:
            self._done[self._number] = self._tried(order)
        self._number += 1

    def ready(self) -> Iterator[Out]:
        """Yield the results whose turn has come, each once."""
        while self._turn < self._number and not self._held(self._turn):
            yield self._next()

    def rest(self) -> Iterator[Out]:
        """Yield the results of all orders that are left, as they are done."""
        while self._turn < self._number:
            for other in self._held(self._turn):
                while self._turn in other.held:
                    other.take(self._done, wait=True)
            yield self._next()

    def _held(self, number: int) -> list[_Other]:
        return [other for other in self._crew if number in other.held]

    def _next(self) -> Out:
        """Return the result whose turn it is, done here where another process came back without."""
        at = self._turn
        found = self._done.pop(at) if at in self._done else self._tried(self._given[at])
        self._given.pop(at, None)
        self._turn += 1
        if isinstance(found, _Raised):
            raise found.error
        return found

    def _tried(self, order: In) -> Out | _Raised:
        try:
            return self._work(order)
        except Exception as error:  # noqa: BLE001 - raised in its turn
            return _Raised(error)


class _Other:
    """Another process, and the numbers of the orders that it holds, first given first."""

    def __init__(self, work: Callable[..., object], before: str, environment: Mapping[str, str]) -> None:
        # It is ended at whatever it is, and takes nothing away.
        self._folder = tempfile.TemporaryDirectory(prefix="fieldwork-beside-", ignore_cleanup_errors=True)
        self._door, theirs = Pipe()
        with theirs:
            start = _START.format(before, __name__, theirs.fileno(), work.__module__, work.__qualname__)
            # -P: a module of a library's name in the folder of the caller is no part of the package.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", start],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **environment, "TMPDIR": self._folder.name},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._gone = False
        self.held: deque[int] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, at whatever it is: all orders are done, or an error has made them void."""
        self._door.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def ready(self) -> bool:
        """Tell whether it may be given one more order."""
        return not self._gone and len(self.held) < _AHEAD

    def give(self, number: int, order: object) -> None:
        """Hand over an order; a process that has gone is found out when its work is taken."""
        self.held.append(number)
        try:
            self._door.send(order)
        except OSError:
            self._gone = True

    def take(self, done: dict[int, Any], *, wait: bool = False) -> None:
        """Record what was done. An order that it failed at, and all of a process that has gone, are held no more."""
        while self.held and (wait or self._gone or self._door.poll()):
            wait = False
            try:
                whole, result = self._door.recv()
            except (EOFError, OSError):
                self._gone = True
                logger.warning("a process beside this one has gone; its work is done here")
                self.held.clear()
                return
            number = self.held.popleft()
            if whole:
                done[number] = result


def main(handle: int, module: str, name: str) -> None:
    """Do orders that come through an open pipe until whoever gives them has gone, which ends this process at once.

    An order that raised is answered by False: the giver raises it.
    """
    door = Connection(handle)
    work: Callable[[object], object] = attrgetter(name)(import_module(module))
    orders: queue.SimpleQueue[object] = queue.SimpleQueue()

    def received() -> None:
        # Orders are taken from the pipe while others are done: who sends one would wait for who sends a result.
        try:
            while True:
                orders.put(door.recv())
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=received, daemon=True).start()
    while True:
        try:
            door.send((True, work(orders.get())))
        except OSError:
            return
        except Exception:  # noqa: BLE001 - the giver does it again, and raises it in its turn
            door.send((False, None))
