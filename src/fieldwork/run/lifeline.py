"""Processes that end with the one that started them, by the system's hand: none of their threads has to run for it.

Own code, for the usual means each miss something. A thread that waits for the other's end runs when Python lets it, which a
long call in C does not. Linux's own signal at a parent's death follows the thread that forked, not the process, and spares
what the child has started. Here it is a pipe that nothing is written to. Its writing end is the starter's alone and closes with
it, however that ends; the reading end, in the process that was started, has the system send a signal to the whole group then.
Linux only: elsewhere, a thread has to do.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import threading

__all__ = ["handle", "tie", "tied"]

_ends: tuple[int, ...] = ()
_making = threading.Lock()


def handle() -> int:
    """Return the reading end of this process's pipe, for `pass_fds` of those that it starts; one pipe for all of them."""
    global _ends  # noqa: PLW0603 - one pipe a process
    with _making:
        if not _ends:
            _ends = os.pipe()
        return _ends[0]


_TIED = """
import runpy, sys
from fieldwork.run import lifeline
lifeline.tie(int(sys.argv.pop(1)))
module = sys.argv.pop(1)
for name in [name for name in sys.modules if name.partition(".")[0] == "fieldwork"]:
    del sys.modules[name]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def tied(module: str) -> list[str]:
    """Return the words that start a module in a process of this interpreter that ends with this one; `pass_fds` has the handle.

    What of ours is loaded for it is forgotten again before the module starts.
    """
    return [sys.executable, "-c", _TIED, str(handle()), module]


def _let_go() -> None:
    """Give up what a fork has doubled: a second holder of the writing end would keep it open."""
    global _ends, _making
    for end in _ends:
        os.close(end)
    _ends, _making = (), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def tie(handle: int, number: int = signal.SIGKILL, *, group: bool = True) -> bool:
    """Have a signal sent when the process that gave the handle has gone; at once, where it has already.

    Parameters
    ----------
    handle : `handle()` of the starter, as it was passed on; it stays open.
    number : the signal. group : to this process's group; else to this process alone.

    Returns whether the system will: False where it knows no such thing.
    """
    if not hasattr(fcntl, "F_SETSIG"):
        return False
    try:
        # Whom to signal belongs to the open file, which forked processes share: this one opens its own. It stays open for good.
        own = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpgrp() if group else os.getpid())
        fcntl.fcntl(own, fcntl.F_SETSIG, number)
        fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        return False
    looker = select.poll()
    looker.register(own, 0)
    # It may have gone before the system was asked.
    if looker.poll(0):
        (os.killpg if group else os.kill)(os.getpgrp() if group else os.getpid(), number)
    return True
