"""Papermill, with a kernel of its own for every chapter.

A kernel is forked from a server that has the heavy libraries loaded (`forking`), or started from nothing where that is
asked for or cannot be. It is reached over sockets of the file system, in a folder of its own: free network ports are
raced for when two chapters start at once. It is this interpreter, whatever kernels the machine lists, so a chapter sees
the very environment that its key names.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import nbformat
import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from fieldwork.run import forking, lifeline, memory

if TYPE_CHECKING:
    from fieldwork.run.processes import Processes

__all__ = ["DeadKernelError", "PapermillExecutionError", "execute"]

_AGAIN = 5  # milliseconds between two tries to reach a kernel's sockets
_TOLD = 0.05  # seconds from an answer until its state is told at the latest, or the question is asked again


class _Engine(NBClientEngine):  # type: ignore[misc]
    """Papermill's engine, which also hands out the notebook being run, so that any failure can be kept."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:  # noqa: ANN401 - papermill's
        """Execute the notebook of a manager."""
        options.pop("held").append(nb_man.nb)
        return super().execute_managed_notebook(nb_man, kernel_name, **options)


papermill_engines.register("fieldwork", _Engine)
# What papermill logs about a failing chapter is told by the runner, in a sentence.
logging.getLogger("papermill").setLevel(logging.CRITICAL + 1)


class _Client(AsyncKernelClient):
    """A client that knows when its kernel listens; jupyter_client's own goes on until no message has come for 0.2 s."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - jupyter's
        super().__init__(**options)
        # It is there before its kernel, and tries again: by default after a tenth of a second each time.
        self.context.setsockopt(zmq.RECONNECT_IVL, _AGAIN)

    async def wait_for_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - jupyter's
        """Wait until an answer has come and the channel of outputs has told of it, whole; RuntimeError when none comes.

        What a kernel publishes before a subscription has reached it is lost, so the question is asked until the state
        `idle` after it comes through: every later message will, too.
        """
        last = time.monotonic() + (math.inf if timeout is None else timeout)
        while not await self._answered(self.kernel_info()):
            if not await self.is_alive():
                raise RuntimeError("the kernel ended before it answered")
            if time.monotonic() > last:
                raise RuntimeError(f"the kernel did not answer in {timeout:g} seconds")

    async def _answered(self, question: str) -> bool:
        try:
            while True:
                reply = await self.get_shell_msg(timeout=1)
                if reply["parent_header"].get("msg_id") == question:
                    break
            self._handle_kernel_info_reply(reply)
            while True:
                told = await self.get_iopub_msg(timeout=_TOLD)
                if told["header"]["msg_type"] == "iopub_welcome":
                    return False  # subscribed only now: what was told of the question before may be lost
                state = told["content"].get("execution_state")
                if told["parent_header"].get("msg_id") == question and state == "idle":
                    return True
        except Empty:
            return False


def _manager(
    sockets: Path,
    surroundings: Mapping[str, str],
    folder: Path,
    processes: Processes,
    peaks: list[int],
    *,
    isolated: bool,
) -> type:
    """Return a kernel manager class bound to one chapter: papermill takes a class, not an object."""

    class Manager(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:  # noqa: ANN401 - jupyter's
            super().__init__(**options)
            self._listed: int | None = None
            self.transport = "ipc"
            self.client_factory = _Client
            self.connection_file = str(sockets / "k.json")
            self._kernel_spec = KernelSpec(
                argv=[*lifeline.tied("ipykernel_launcher"), "-f", "{connection_file}"],
                display_name="Python 3",
                language="python",
                metadata={} if isolated else {"kernel_provisioner": {"provisioner_name": forking.NAME}},
            )

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # noqa: ANN401 - jupyter's
            options["env"] = dict(surroundings)
            options["cwd"] = str(folder)
            options["pass_fds"] = [lifeline.handle()]
            processes.refuse_when_stopped()
            # What the kernel itself prints, as against its cells, is for a failure's report and not for the screen.
            with (sockets / "kernel.log").open("wb") as log:
                options["stdout"] = options["stderr"] = log
                await super().start_kernel(**options)
            self._listed = getattr(self.provisioner, "pid", None)
            if self._listed is not None:
                processes.add(self._listed)

        async def _async_request_shutdown(self, restart: bool = False) -> None:
            peaks.append(memory.peak(self._listed))
            await super()._async_request_shutdown(restart)

        async def _async_finish_shutdown(
            self, waittime: float | None = None, pollinterval: float = 0.005, restart: bool = False
        ) -> None:
            # Jupyter looks every tenth of a second whether the kernel has ended; most end in a hundredth.
            await super()._async_finish_shutdown(waittime, pollinterval, restart)

        async def cleanup_resources(self, restart: bool = False) -> None:  # type: ignore[override]
            await super().cleanup_resources(restart=restart)
            if self._listed is not None:
                processes.discard(self._listed)
                self._listed = None

    return Manager


def execute(
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    folder: Path,
    sockets: Path,
    surroundings: Mapping[str, str],
    processes: Processes,
    on_cell: Callable[[int, int], None],
    held: list[Any],
    isolated: bool = False,
) -> int:
    """Execute a notebook by papermill, and return the most bytes that its kernel held; 0 where that is not known.

    The executed notebook is put into `held`, also when a cell fails.

    Parameters
    ----------
    notebook : Path
        The chapter.
    parameters : mapping
        Values to inject.
    folder : Path
        Working folder of the kernel.
    sockets : Path
        Folder for the kernel's sockets: short, existing, used by nothing else.
    surroundings : mapping
        Environment variables of the kernel.
    processes : Processes
        Where the kernel is listed while it lives.
    on_cell : callable
        Told the number of each cell that starts and the number of all cells.
    held : list
        Receives the notebook node.
    isolated : bool
        Whether the kernel is started from nothing.

    Raises PapermillExecutionError, DeadKernelError.
    """

    def started(cell: Any, cell_index: int) -> None:  # noqa: ANN401, ARG001 - nbclient's hook
        on_cell(cell_index + 1, len(held[0].cells))

    peaks: list[int] = []
    with notebook.open(encoding="utf-8") as file:
        node = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]
    execute_notebook(
        node,
        None,
        parameters=dict(parameters),
        engine_name="fieldwork",
        kernel_name="python3",
        language="python",
        progress_bar=False,
        request_save_on_cell_execute=False,
        autosave_cell_every=0,
        held=held,
        kernel_manager_class=_manager(sockets, surroundings, folder, processes, peaks, isolated=isolated),
        record_timing=False,
        on_cell_start=started,
    )
    return max(peaks, default=0)
