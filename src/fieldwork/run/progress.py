"""What a reader sees while chapters run: a bar with elapsed and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fieldwork.run.runner import Event

__all__ = ["USUAL", "column", "counting", "duration", "follow", "lines"]

USUAL = 5.0
"""Seconds that a chapter is taken to need until it has run once."""

_COLUMN = 12  # letters, at the least
_WORDS = {
    "restored": "put back",
    "waiting": "waits",
    "started": "running",
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
}


def duration(seconds: float) -> str:
    """Return a duration in words.

    >>> duration(3.21), duration(75), duration(3700)
    ('3.2 s', '1 min 15 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def column(names: Iterable[str]) -> int:
    """Return how wide a column of names of steps is, so that what is said of them stands one below the other."""
    return max([_COLUMN, *map(len, names)])


def line(event: Event, width: int = _COLUMN) -> str:
    """Return an event as one plain line; empty for what is not told in lines."""
    if event.kind not in _WORDS:
        return ""
    told = f" in {duration(event.seconds)}" if event.kind == "done" else f": {event.text}" if event.text else ""
    return f"{event.step:<{width}} {_WORDS[event.kind]}{told}"


def lines(out: TextIO, width: int = _COLUMN) -> Callable[[Event], None]:
    """Return a listener that prints one line per event, flushed at once."""
    guard = threading.Lock()

    def tell(event: Event) -> None:
        text = line(event, width)
        if text:
            with guard:
                print(text, file=out, flush=True)

    return tell


@contextlib.contextmanager
def follow(expected: Mapping[str, float | None], workers: int, out: TextIO) -> Iterator[Callable[[Event], None]]:
    """Follow a run: yields the listener to hand to it.

    Parameters
    ----------
    expected : mapping
        Seconds that each chapter took last time; None where it has not run.
    workers : int
        Chapters at one time, by which the remaining time is divided.
    out : text stream
        Where plain lines go when the error stream is not a terminal; the bar goes to the error stream.
    """
    if not sys.stderr.isatty():
        yield lines(out, column(expected))
        return
    bar = _Bar(expected, workers)
    try:
        yield bar.tell
    finally:
        bar.close()


@contextlib.contextmanager
def counting(what: str, *, tell: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Follow a task that counts: yields what to call with (thing done, number done, total).

    Off a terminal it is silent, or with `tell` prints a plain line for each tenth of the work.
    """
    if not sys.stderr.isatty():
        yield _tenths(what) if tell else lambda _what, _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - not needed off a terminal
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what)

        def step(_what: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield step


def _tenths(what: str) -> Callable[[str, int, int], None]:
    def step(_what: str, done: int, total: int) -> None:
        if done * 10 // total > (done - 1) * 10 // total:
            sys.stderr.write(f"{what}: {done} of {total}\n")
            sys.stderr.flush()

    return step


class _Bar:
    """A bar over all chapters, measured in the seconds that they are expected to take; shown once something runs."""

    def __init__(self, expected: Mapping[str, float | None], workers: int) -> None:
        self.weights = {name: max(seconds or USUAL, 0.1) for name, seconds in expected.items()}
        self.parts = dict.fromkeys(self.weights, 0.0)
        self.workers, self.width = workers, column(expected)
        self.running: list[str] = []
        self.guard = threading.Lock()
        self.progress: Any = None
        self.task: Any = None

    def open(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - not needed when nothing runs
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.progress.add_task("", total=sum(self.weights.values()), left="")
        self.progress.start()

    def tell(self, event: Event) -> None:
        """Move the bar; lines of what is finished stay above it."""
        with self.guard:
            if event.kind == "started":
                self.running.append(event.step)
                if self.progress is None:
                    self.open()
            if event.kind == "cell":
                self.parts[event.step] = max(self.parts.get(event.step, 0.0), event.part * 0.95)
            elif event.kind not in ("started", "waiting"):
                self.parts[event.step] = 1.0
                self.running = [name for name in self.running if name != event.step]
            text = line(event, self.width)
            if self.progress is None:
                if text:
                    sys.stderr.write(f"{text}\n")
                return
            if text and event.kind != "started":
                self.progress.console.print(text, highlight=False, markup=False)
            done = sum(self.weights.get(name, 0.0) * part for name, part in self.parts.items())
            left = (sum(self.weights.values()) - done) / max(min(self.workers, len(self.running) or 1), 1)
            self.progress.update(
                self.task,
                completed=done,
                description=", ".join(self.running),
                left=f"about {duration(round(left))} left" if left >= 1 else "",
            )

    def close(self) -> None:
        """Take the bar away."""
        if self.progress is not None:
            self.progress.stop()
