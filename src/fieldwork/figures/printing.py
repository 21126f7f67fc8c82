"""Figures drawn and written by several processes at a time: the longest work of a run, beside which nothing else can be done.

Own code, for a pool of `multiprocessing` imports the caller's own script again, and a notebook has none. A press is an
interpreter with this package that is handed one order after another. What a file holds is a function of its order alone, so
neither the number of presses nor who took which order can reach a byte. Between them go pickles, through a pipe of
their own; none is a file.
"""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fieldwork.figures.saving import FORMATS, SCREEN, save

if TYPE_CHECKING:
    from fieldwork.figures.spec import Spec

__all__ = ["Order", "presses_for", "print_all"]

logger = logging.getLogger(__name__)

_WORTH = 8  # orders that repay the second in which a press loads its libraries
_MOST = 4
_AHEAD = 2  # orders that a press holds: the one that it draws, and the next
# seaborn imports scipy where it finds it, for estimates that figures have no use for: half of all that a press would load.
_START = "import sys; sys.modules['scipy'] = None; from {0} import main; del sys.modules['scipy']; main({1})"


@dataclass(frozen=True, slots=True)
class Order:
    """One figure to be drawn in one style and written.

    Attributes
    ----------
    figure : Spec              What to draw.
    folder : Path              Where its files go.
    style : str                House style.
    name : str                 File name without ending; empty: the figure's.
    formats : tuple of str     Of `FORMATS`.
    dpi : int                  Of the PNG; 0: what the style asks for.
    """

    figure: Spec
    folder: Path
    style: str = "book"
    name: str = ""
    formats: tuple[str, ...] = FORMATS
    dpi: int = SCREEN

    def fill(self) -> tuple[Path, ...]:
        """Draw the figure, write its files and return their paths."""
        return save(self.figure.draw(self.style), self.folder, name=self.name, formats=self.formats, dpi=self.dpi)


def presses_for(orders: int) -> int:
    """Return how many processes share some orders: one for every eight, as many as there are processors, four at most.

    In a chapter no more than the run's `--workers`, which its process is told by the variable `FIELDWORK_WORKERS`.

    >>> presses_for(7), presses_for(1000) <= 4
    (1, True)
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    allowed = int(os.environ.get("FIELDWORK_WORKERS", _MOST))
    return max(1, min(processors, allowed, _MOST, orders // _WORTH))


def print_all(orders: Sequence[Order], *, presses: int = 0) -> list[Path]:
    """Fill orders and return the paths of their files, in the order given.

    This process is one of the presses. What another one could not do, because it raised or has gone, is done here, and
    raises here what it raises.

    Parameters
    ----------
    presses : int    Processes; 0: as many as are worth it, `presses_for`.
    """
    filled: dict[int, tuple[Path, ...]] = {}
    settled = False
    waiting = deque(range(len(orders)))
    with ExitStack() as stack:
        others = [stack.enter_context(_Press()) for _ in range((presses or presses_for(len(orders))) - 1)]
        while waiting or any(press.held for press in others):
            for press in others:
                for at in press.take(filled, wait=not waiting):
                    filled[at] = orders[at].fill()
                while waiting and press.ready():
                    press.give(waiting[0], orders[waiting[0]])
                    waiting.popleft()
            if waiting:
                at = waiting.popleft()
                filled[at] = orders[at].fill()
                if others and not settled:
                    _settle()
                    settled = True
    return [path for at in range(len(orders)) for path in filled[at]]


class _Press:
    """Another process that fills orders, and the numbers of those that it holds, first given first."""

    def __init__(self) -> None:
        # It is ended at whatever it is, and takes nothing away.
        self._folder = tempfile.TemporaryDirectory(prefix="fieldwork-press-", ignore_cleanup_errors=True)
        self._door, theirs = Pipe()
        with theirs:
            # -P: a module of a library's name in the folder of the caller is no part of the package.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START.format(__name__, theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "MPLBACKEND": "agg", "TMPDIR": self._folder.name},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._gone = False
        self.held: deque[int] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, at whatever it is: all orders are filled, or an error has made them void."""
        self._door.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def ready(self) -> bool:
        """Tell whether it may be given one more order."""
        return not self._gone and len(self.held) < _AHEAD

    def give(self, number: int, order: Order) -> None:
        """Hand over an order; a press that has gone is found out when its work is taken."""
        self.held.append(number)
        try:
            self._door.send(order)
        except OSError:
            self._gone = True

    def take(self, filled: dict[int, tuple[Path, ...]], *, wait: bool) -> list[int]:
        """Record what was filled; return the orders that come back, of a press that failed at one or has gone."""
        while self.held and (wait or self._gone or self._door.poll()):
            wait = False
            try:
                told = self._door.recv()
            except (EOFError, OSError):
                self._gone = True
                logger.warning("a process that draws figures has gone; its figures are drawn here")
                back = list(self.held)
                self.held.clear()
                return back
            number = self.held.popleft()
            if told is None:
                return [number]
            filled[number] = told
        return []


def main(handle: int) -> None:
    """Fill orders that come through an open pipe until whoever gives them has gone.

    An order that raised is answered by None: the giver raises it.
    """
    door = Connection(handle)
    settled = False
    while True:
        try:
            order: Order = door.recv()
        except EOFError:
            return
        try:
            done = order.fill()
        except Exception:
            logger.exception("a figure could not be drawn")
            door.send(None)
        else:
            door.send(done)
        if not settled:
            _settle()
            settled = True


def _settle() -> None:
    """Have the collections of garbage after each drawing leave out what the first one has loaded: a fifth of the time."""
    gc.collect()
    gc.freeze()
