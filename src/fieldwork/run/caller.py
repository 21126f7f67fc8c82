"""A process that calls functions, one after another: what they import is loaded once, and their end is not ours.

Arguments and results are JSON. The process has a folder of its own for what it keeps for a while, which is taken away with it,
and the environment of a chapter's process, so that a result does not hang on who called.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.errors import FieldworkError, RunError
from fieldwork.run import lifeline
from fieldwork.run.worker import raised, surroundings

if TYPE_CHECKING:
    from fieldwork.run.processes import Processes

__all__ = ["Caller"]

_SHOWN = 300  # characters of what a process said last


class Caller:
    """One process, started with the first call.

    Parameters
    ----------
    processes : Processes    By which an interrupted run ends it.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def call(self, what: str, target: str, given: Mapping[str, Any]) -> Any | FieldworkError:  # noqa: ANN401 - any JSON
        """Call `module:function` with arguments by name; return its result, or the error that it, or its process, came to.

        `what` names the call to the user. A process that ended is started again for the next call.
        """
        process = self._process or self._started()
        answer = ""
        if process.stdin is not None and process.stdout is not None:
            try:
                process.stdin.write(json.dumps([target, dict(given)]) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = ""
        if not answer.endswith("\n"):
            return self._ended(what)
        told = json.loads(answer)
        if "made" in told:
            return told["made"]
        error = raised(told, what)
        error.add_note(told["traceback"])  # for --debug
        return error

    def end(self) -> None:
        """End the process, and take its folder away."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._processes.discard(self._process.pid)
        if self._folder is not None:
            self._folder.cleanup()
        self._process = self._folder = None

    def _started(self) -> subprocess.Popen[str]:
        self._processes.refuse_when_stopped()
        self._folder = tempfile.TemporaryDirectory(prefix="fieldwork-calls-", ignore_cleanup_errors=True)
        private = Path(self._folder.name)
        with (private / "said").open("w", encoding="utf-8") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fieldwork.run.call", str(lifeline.handle())],
                pass_fds=[lifeline.handle()],
                cwd=private,
                env={**surroundings(private), "MPLBACKEND": "agg", "TMPDIR": str(private)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        self._processes.add(self._process.pid)
        return self._process

    def _ended(self, what: str) -> RunError:
        code = self._process.wait() if self._process else 0
        said = Path(self._folder.name, "said").read_text(encoding="utf-8", errors="replace") if self._folder else ""
        self.end()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return RunError(
            "a process ended in the midst of its work",
            where=what,
            expected="the process to live until its work is done",
            got=": ".join([how, *said.strip().splitlines()[-1:]])[:_SHOWN],
            hint="the usual cause is memory; try fewer workers. What was finished is kept",
        )
