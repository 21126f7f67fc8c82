"""A server that imports the heavy libraries once and forks a kernel from itself for every chapter, and the process of a call.

Own code, for no kernel provisioner on PyPI forks: starting a kernel and importing pandas and scipy costs two CPU seconds
a chapter, most of what a chapter costs. Jupyter finds `ForkedProvisioner` by its entry point; papermill and nbclient
notice nothing. Every kernel is a process of its own, forked before any cell has run: own names, own random state.

The server imports libraries and, where it was told that several chapters use them, modules of ours, each for as long as its
file is as it was; it reads no data and starts no thread (pyarrow's allocator keeps one, and is made to be forked). It lives
as long as the process that started it, and ends with it, however that ends; so does every kernel with all that it has
started, whatever it is at (`lifeline`). Linux only: elsewhere, and where the server cannot start, a kernel starts from
nothing.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib
import io
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from fieldwork.run import lifeline

__all__ = ["NAME", "PRELOADED", "PRELOADED_LATER", "Forked", "Server", "possible", "running", "server"]

logger = logging.getLogger(__name__)

NAME = "fieldwork-forked"
"""Name of the provisioner's entry point."""
PRELOADED = ("ipykernel.kernelapp", "numpy", "pandas", "pyarrow.parquet")
"""What every chapter imports: loaded before the first kernel is forked."""
PRELOADED_LATER = (
    "ipykernel.debugger",
    "pydantic.main",  # the package itself loads its parts when they are first named
    "pydantic.types",
    "pydantic.fields",
    "scipy.stats",
    "scipy.sparse",
    "scipy.optimize",
    "threadpoolctl",
    "tomllib",
)
"""What most chapters import, loaded one after another while no kernel is asked for. Not matplotlib: its backend is chosen by
each process at import."""
_LARGEST = 1 << 20  # bytes of a request: an environment is the most of it
_YOUNG = 2_000_000_000  # nanoseconds: the coarsest clock of a file system in use
_REAPS = 0.5  # seconds that a server waits at its end for kernels that were told to end
_HOLDS = hasattr(os, "pidfd_open") and hasattr(os, "fork") and hasattr(socket, "send_fds")


def possible() -> bool:
    """Tell whether this machine can fork kernels: Linux from 5.3."""
    if not _HOLDS:
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


class Forked:
    """A forked process, with the part of `subprocess.Popen` that a kernel provisioner uses.

    It is no child of this process, so how it ended is not known: `poll` gives 0 when it has, None while it lives.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int, handle: int) -> None:
        self.pid = pid
        self._handle = handle
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return None while the process lives."""
        if self.returncode is None and self._ended(0):
            self.returncode = 0
            os.close(self._handle)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended."""
        if self.returncode is None and not self._ended(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired(NAME, timeout or 0.0)
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        """Send a signal to this very process: its number may belong to another one when it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, milliseconds: float | None) -> bool:
        looker = select.poll()
        looker.register(self._handle, select.POLLIN)
        return bool(looker.poll(milliseconds))


class Server:
    """The process that forks kernels, as seen from the one that started it.

    Raises OSError when it cannot be started.
    """

    def __init__(self, surroundings: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._lost = False
        self._expected: set[str] = set()
        self.surroundings = dict(surroundings)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(theirs.fileno()), str(os.getpid()), str(lifeline.handle())],
                # Not the user's folder: settings, or a module of a library's name, that lie there are no part of the study.
                cwd=sys.prefix,
                env=self.surroundings,
                pass_fds=[theirs.fileno(), lifeline.handle()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = ours

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def alive(self) -> bool:
        """Tell whether the server still runs."""
        return not self._lost and self._process.poll() is None

    def fork(
        self, arguments: Sequence[str], folder: str, surroundings: Mapping[str, str], log: int, *, kernel: bool = True
    ) -> Forked:
        """Fork a kernel, or a process that calls a function, in a folder, with these environment variables alone.

        Parameters
        ----------
        arguments : sequence    What follows `python -m ipykernel_launcher`: its connection file, written, and options. Of a
                                call: function, arguments and report, as `call.answer` takes them.
        folder : str            Working folder of the process.
        surroundings : mapping  Environment variables.
        log : int               Open file for what the process prints, a kernel outside of its cells.
        kernel : bool           Whether it is a kernel.

        Raises ConnectionError when the server has gone, OSError when it cannot fork.
        """
        asked = {"arguments": list(arguments), "folder": folder, "surroundings": dict(surroundings), "kernel": kernel}
        request = json.dumps(asked).encode()
        try:
            with self._lock:
                socket.send_fds(self._socket, [request], [log])
                answer, handles, _, _ = socket.recv_fds(self._socket, _LARGEST, 1)
            if not answer:
                raise ConnectionResetError("the server of kernels has gone")
        except ConnectionError:
            self._lost = True
            raise
        told = json.loads(answer)
        if "fault" in told:
            raise OSError(told["fault"])
        return Forked(told["pid"], handles[0])

    def expect(self, modules: Iterable[str]) -> None:
        """Tell the server of modules of ours that kernels to come import, to be loaded when it has nothing else to do.

        A kernel has them only while their files are as they were when they were loaded; otherwise it imports its own. A module
        that cannot be imported is left to the kernel that does, which says what is wrong with it.
        """
        new = [name for name in dict.fromkeys(modules) if name not in self._expected]
        if not new:
            return
        self._expected |= {*new}
        try:
            with self._lock:
                self._socket.send(json.dumps({"expected": new}).encode())
        except ConnectionError:
            self._lost = True

    def close(self) -> None:
        """End the server; its kernels end with the process that started it, or when they are told."""
        self._socket.close()
        try:
            self._process.wait(_REAPS + 1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_running: Server | None = None
_starting = threading.Lock()
_ITS_OWN = ("IPYTHONDIR", "TMPDIR", "FIELDWORK_WORKERS")  # what each kernel has its own of


def server(surroundings: Mapping[str, str]) -> Server | None:
    """Return the server of this process, started when it is first asked for; None where kernels cannot be forked.

    An environment says how an interpreter starts and what it finds, so another environment means another server.
    """
    global _running  # noqa: PLW0603 - one server a process, for all runs that it makes
    if not possible():
        return None
    shared = _shared(surroundings)
    with _starting:
        if _running is not None and not (_running.alive() and _running.surroundings == shared):
            _forget()
        if _running is None:
            try:
                _running = Server(shared)
            except OSError as error:
                logger.warning("kernels start from nothing: %s", error)
                return None
            atexit.register(_forget)
        return _running


def running(surroundings: Mapping[str, str]) -> Server | None:
    """Return the server of this process if it runs in this environment; what needs little of it does not start one."""
    with _starting:
        fits = _running is not None and _running.alive() and _running.surroundings == _shared(surroundings)
        return _running if fits else None


def _shared(surroundings: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in surroundings.items() if name not in _ITS_OWN}


def _forget() -> None:
    global _running  # noqa: PLW0603 - see `server`
    atexit.unregister(_forget)
    if _running is not None:
        _running.close()
        _running = None


def main(arguments: list[str]) -> None:
    """Serve until whoever started this process has gone. In a forked process, be the kernel."""
    door, starter, line = socket.socket(fileno=int(arguments[0])), int(arguments[1]), int(arguments[2])
    watched = os.pidfd_open(starter)
    if os.getppid() != starter:
        return
    # The first that is registered is the last that is called.
    atexit.register(_end_at_once)
    # In the midst of an import, too: it may take seconds on a machine that has much to do.
    signal.signal(signal.SIGIO, _leave)
    lifeline.tie(line, signal.SIGIO, group=False)
    # As ipykernel's launcher does: the folder in which the server started is no place for modules.
    if Path(sys.path[0]) == Path.cwd():
        del sys.path[0]
    # pandas asks at import whether it is in a kernel, and displays fewer columns where it is not.
    builtins.get_ipython = lambda: SimpleNamespace(kernel=True)  # type: ignore[attr-defined]
    for name in PRELOADED:
        importlib.import_module(name)
    del builtins.get_ipython  # type: ignore[attr-defined]
    _settle_memory()
    request = _serve(door, watched, line)
    if request is None:
        _leave()
    if request["kernel"]:
        sys.argv = ["ipykernel_launcher", *request["arguments"]]
        _be_the_kernel()
    else:
        _be_the_call(request["arguments"])


def _leave(*_: object) -> NoReturn:
    """End the server; of kernels that end now it takes leave, for a system whose first process does not would list them on."""
    last = time.monotonic() + _REAPS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < last:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.005)
    os._exit(0)


def _be_the_kernel() -> None:
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415 - loaded already

    app = IPKernelApp.instance()
    app.initialize()  # type: ignore[no-untyped-call]
    # Closing its sockets at the end, ipykernel stops the thread that sends outputs before the one that answers requests,
    # which may then wait for it without end. All outputs have been taken when a kernel is told to go; the process lets go
    # of its sockets by itself, and what chapters registered for the end still runs.
    atexit.unregister(app.close)
    app.start()  # type: ignore[no-untyped-call]


def _be_the_call(arguments: list[str]) -> None:
    import pandas as pd  # noqa: PLC0415 - loaded already; the server itself must start without

    from fieldwork.run import call  # noqa: PLC0415 - ours, as it is now

    # As many columns as pandas displays outside of a kernel.
    pd.set_option("display.max_columns", 0)
    call.answer(*arguments)


_kernel = 0
_FILE = io.IOBase.__base__  # what every file is, those of the library that are written in C too


def _end_at_once() -> None:
    """Have the system take a kernel apart, when all that was registered for its end has run.

    Python would give back every object first, and for that copy the memory that it shares with the server: more work than the
    kernel's beginning. Files that a chapter has left open are written out, as they would be.
    """
    if os.getpid() != _kernel:
        return
    # Registered when it was imported, before this, it would come after.
    logging.shutdown()
    gc.collect()
    for each in gc.get_objects():
        if issubclass(type(each), _FILE):  # type: ignore[arg-type]
            with contextlib.suppress(OSError, ValueError):
                each.flush()
    os._exit(0)


def _settle_memory() -> None:
    # What is there before the fork stays shared: a collection in a kernel would write to every page of it.
    gc.collect()
    gc.freeze()


class _Ours:
    """The modules of ours that the server has loaded, with what their files were before that."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[int, ...] | None] = {}

    def load(self, name: str) -> None:
        """Import a module; of our package it need not succeed."""
        if not _is_ours(name):
            importlib.import_module(name)
            return
        began = time.time_ns()
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - any code may stand there
            logger.debug("%s is left to the kernel that imports it: %s", name, error)
        for each in filter(_is_ours, list(sys.modules)):
            if each not in self._files:
                self._files[each] = _stamp(each, began)

    def settle(self) -> None:
        """Have a forked process import our package as it is now, unless that is what was loaded and meant for it."""
        if self._files and all(stamp is not None and stamp == _stamp(name) for name, stamp in self._files.items()):
            return
        for name in filter(_is_ours, list(sys.modules)):
            del sys.modules[name]


def _is_ours(name: str) -> bool:
    return name == "fieldwork" or name.startswith("fieldwork.")


def _stamp(module: str, began: int | None = None) -> tuple[int, ...] | None:
    """Return what tells one state of a module's file from another.

    None where it has none, or has one so new that it may have been written after an import that `began` then had read it.
    """
    try:
        found = Path(str(sys.modules[module].__file__)).stat()
    except OSError:
        return None
    young = began is not None and max(found.st_mtime_ns, found.st_ctime_ns) > began - _YOUNG
    return None if young else (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def _serve(door: socket.socket, watched: int, line: int) -> dict[str, Any] | None:
    """Answer requests, and load libraries between them; return the request to be met in a forked process, None at the end."""
    later, ours = list(PRELOADED_LATER), _Ours()
    looker = select.poll()
    looker.register(door, select.POLLIN)
    looker.register(watched, select.POLLIN)
    while True:
        happened = dict(looker.poll(0 if later else 1000))
        if later and not happened:
            ours.load(later.pop(0))
            _settle_memory()
            continue
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                continue
        if watched in happened:
            return None
        if door.fileno() not in happened:
            continue
        request, logs, _, _ = socket.recv_fds(door, _LARGEST, 1)
        if not request:
            return None
        asked: dict[str, Any] = json.loads(request)
        if "expected" in asked:
            later += asked["expected"]
            continue
        try:
            pid = os.fork()
        except OSError as error:
            door.send(json.dumps({"fault": str(error)}).encode())
            os.close(logs[0])
            continue
        if not pid:
            door.close()
            _settle_in(asked, logs[0], watched, line)
            ours.settle()
            return asked
        # Whoever is told of the kernel may end it at once, by its group: that has to be there already.
        with contextlib.suppress(ProcessLookupError):
            os.setpgid(pid, pid)
        # The child cannot be reaped before its handle is open: the number is its own until then.
        handle = os.pidfd_open(pid)
        socket.send_fds(door, [json.dumps({"pid": pid}).encode()], [handle])
        os.close(handle)
        os.close(logs[0])


def _settle_in(request: Mapping[str, Any], log: int, watched: int, line: int) -> None:
    """Make a forked process what a process started from nothing would be."""
    global _kernel  # noqa: PLW0603 - one kernel a process
    _kernel = os.getpid()
    os.setpgid(0, 0)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    lifeline.tie(line)
    os.close(line)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["surroundings"])
    if request["kernel"]:
        # Jupyter's own watch ends a kernel whose parent has gone: that is the server, which goes with the run.
        os.environ["JPY_PARENT_PID"] = str(os.getppid())
    time.tzset()
    tempfile.tempdir = None  # the server may have asked where its own is
    os.chdir(request["folder"])
    # A kernel draws its own entropy.
    import numpy as np  # noqa: PLC0415 - loaded already; the server itself must start without

    np.random.seed(None)  # noqa: NPY002 - the legacy state is the one that a fork would share
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()


def _end_with(watched: int) -> None:
    """End this process and its children when the one that started the server has gone: nobody takes what it makes.

    It is left to this thread where the system does not do it by itself.
    """
    looker = select.poll()
    looker.register(watched, select.POLLIN)
    looker.poll()
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
