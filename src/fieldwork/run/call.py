"""Entry of the process in which a `call` step runs: `python -m fieldwork.run.call MODULE:FUNCTION ARGUMENTS REPORT LINE`.

ARGUMENTS is a JSON object, passed by name; LINE is the handle of the starter's lifeline. REPORT receives a JSON object when the
function has ended: empty, or the error that it raised, so that the starter shows a sentence and keeps the traceback for
`--debug`. A process that was forked (`forking`) has a lifeline already, and makes the call alone (`answer`).

With LINE alone it calls one function after another (`caller`): a line of standard input is a JSON list of function and
arguments, a line of standard output the JSON of what came of it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fieldwork.errors import FieldworkError
from fieldwork.run import lifeline

__all__ = ["answer", "main"]


_LOOK = 0.5  # seconds between two looks at the parent


def main(arguments: list[str]) -> int:
    """Call the function; return the exit code. The process ends with the run that started it, however that ends."""
    *once, line = arguments
    lifeline.tie(int(line))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    return answer(*once) if once else _serve()


def answer(target: str, given: str, report: str) -> int:
    """Call the function and write the report; return the exit code."""
    told: dict[str, str] = {}
    try:
        _function(target)(**json.loads(given))
    except Exception as error:  # noqa: BLE001 - every error of the function is handed to the parent, which reports it
        told = _told(error, target)
    Path(report).write_text(json.dumps(told), encoding="utf-8")
    return 1 if told else 0


def _serve() -> int:
    """Answer lines until there are no more."""
    # What a function prints must not come between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            target, given = json.loads(line)
            try:
                answer = json.dumps({"made": _function(target)(**given)})
            except Exception as error:  # noqa: BLE001 - as above
                answer = json.dumps(_told(error, target))
            answers.write(f"{answer}\n")
            answers.flush()
    return 0


def _function(target: str) -> Callable[..., Any]:
    module, _, function = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _told(error: Exception, target: str) -> dict[str, str]:
    told = {"error": type(error).__name__, "title": str(error)}
    told |= error.as_dict() if isinstance(error, FieldworkError) else {}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    last = frames[-1] if frames else None
    told["place"] = f"{Path(last.filename).name}, line {last.lineno}" if last else target
    told["source"] = (last.line or "") if last else ""
    told["traceback"] = "".join(traceback.format_exception(error))
    return told


def _end_with(parent: int) -> None:
    """End this process when its parent has gone, where the system does not: nobody is left to take what it makes."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
