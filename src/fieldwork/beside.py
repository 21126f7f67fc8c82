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
from multiprocessing.connection import Connection, Pipe
from typing import Any, Generic, Self, TypeVar

__all__ = ["Hands", "Shared", "processes"]

logger = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

_MOST = 4
_AHEAD = 2  # orders that another process holds: the one that it does, and the next
_START = "{0}from {1} import main; main({2})"


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


class Hands:
    """Processes, the one that asks and others beside it, which are handed orders of whatever work there is.

    The one that asks does its share. What another one could not do, because it raised or has gone, is done here, and raises
    here what it raises.

    Parameters
    ----------
    others : int              Processes beside this one; they are there from `start` on.
    before : str              Statements that another process begins with.
    environment : mapping     Variables that it has beside those of this process.

    >>> with Hands(others=0) as hands:
    ...     list(hands.in_order(abs, [3, -1, 2]))
    [3, 1, 2]
    """

    def __init__(self, *, others: int, before: str = "", environment: Mapping[str, str] | None = None) -> None:
        self._wanted = others
        self._before, self._environment = before, environment or {}
        self._others: list[_Other] = []
        self._given: dict[int, tuple[Callable[[Any], Any], Any]] = {}
        self._done: dict[int, Any] = {}
        self._number = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> Self:
        """Start the others, once; each takes a second to load its libraries."""
        while len(self._others) < self._wanted:
            self._others.append(self._stack.enter_context(_Other(self._before, self._environment)))
        return self

    def in_order(self, work: Callable[[In], Out], orders: Iterable[In]) -> Iterator[Out]:
        """Do the work of each order and yield the results in the order given; where several raise, the first does.

        Orders are taken as they can be done, a few ahead. `work` is a function of a module, or a method, of one order.
        """
        missing: Exception | None = None
        source = iter(orders)
        shared = self.shared(work)
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

    def shared(self, work: Callable[[In], Out]) -> Shared[In, Out]:
        """Return a work whose orders come one by one."""
        return Shared(self, work)

    def take(self, work: Callable[[In], Out], order: In) -> int:
        """Do an order or have it done; return its number."""
        number = self._number
        for other in self._others:
            other.take(self._done)
        ready = [other for other in self._others if other.ready()]
        if ready:
            self._given[number] = (work, order)
            min(ready, key=lambda other: len(other.held)).give(number, (work, order))
        else:
            self._done[number] = _tried(work, order)
        self._number += 1
        return number

    def under_way(self, number: int) -> bool:
        """Tell whether another process holds an order."""
        return any(number in other.held for other in self._others)

    def result(self, number: int) -> Any:  # noqa: ANN401 - of whatever work it is
        """Return the result of an order when there is one, once; done here where another process came back without."""
        for other in self._others:
            while number in other.held:
                other.take(self._done, wait=True)
        found = self._done.pop(number) if number in self._done else _tried(*self._given[number])
        self._given.pop(number, None)
        if isinstance(found, _Raised):
            raise found.error
        return found


class Shared(Generic[In, Out]):
    """A work, whose orders are added one by one and whose results come in that order.

    >>> with Hands(others=0) as hands:
    ...     shared = hands.shared(abs)
    ...     shared.add(-3)
    ...     shared.add(2)
    ...     list(shared.rest())
    [3, 2]
    """

    def __init__(self, hands: Hands, work: Callable[[In], Out]) -> None:
        self._hands, self._work = hands, work
        self._numbers: deque[int] = deque()

    def add(self, order: In) -> None:
        """Take one more order: it is done, or under way, afterwards."""
        self._numbers.append(self._hands.take(self._work, order))

    def ready(self) -> Iterator[Out]:
        """Yield the results whose turn has come, each once."""
        while self._numbers and not self._hands.under_way(self._numbers[0]):
            yield self._hands.result(self._numbers.popleft())

    def rest(self) -> Iterator[Out]:
        """Yield the results of all orders that are left, as they are done."""
        while self._numbers:
            yield self._hands.result(self._numbers.popleft())


def _tried(work: Callable[[In], Out], order: In) -> Out | _Raised:
    try:
        return work(order)
    except Exception as error:  # noqa: BLE001 - raised in its turn
        return _Raised(error)


class _Other:
    """Another process, and the numbers of the orders that it holds, first given first."""

    def __init__(self, before: str, environment: Mapping[str, str]) -> None:
        # It is ended at whatever it is, and takes nothing away.
        self._folder = tempfile.TemporaryDirectory(prefix="fieldwork-beside-", ignore_cleanup_errors=True)
        self._door, theirs = Pipe()
        with theirs:
            # -P: a module of a library's name in the folder of the caller is no part of the package.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START.format(before, __name__, theirs.fileno())],
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

    def give(self, number: int, order: tuple[Callable[[Any], Any], Any]) -> None:
        """Hand over a work and its order; a process that has gone is found out when its work is taken."""
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


def main(handle: int) -> None:
    """Do orders that come through an open pipe until whoever gives them has gone, which ends this process at once.

    An order that raised is answered by False: the giver raises it.
    """
    door = Connection(handle)
    orders: queue.SimpleQueue[tuple[Callable[[Any], Any], Any]] = queue.SimpleQueue()

    def received() -> None:
        # Orders are taken from the pipe while others are done: who sends one would wait for who sends a result. Where one
        # cannot be read, because nobody is there any more or its work is unknown here, the giver finds this process gone.
        try:
            while True:
                orders.put(door.recv())
        finally:
            os._exit(0)

    threading.Thread(target=received, daemon=True).start()
    while True:
        done = _tried(*orders.get())
        try:
            door.send((False, None) if isinstance(done, _Raised) else (True, done))
        except OSError:
            return
