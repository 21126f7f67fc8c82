"""A chapter's code cells run in this process, without a kernel, a page or a record: for studies by the hundred."""

from __future__ import annotations

import runpy
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.errors import FieldworkError, RunError, listed
from fieldwork.run import notebook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fieldwork.run.notebook import Notebook, Value

__all__ = ["run_inline"]


def run_inline(path: Path, parameters: Mapping[str, Value]) -> dict[str, Any]:
    """Run the code of a chapter with some of its parameters set, and return its names.

    The cells are the notebook's own, laid into one script, so what they save is what `fieldwork run` would save. What they
    would display is not made. Nothing is cached and nothing recorded: a study of record is run by `fieldwork run`.

    Raises RunError with cell and fault when a cell fails, and for a parameter that the notebook does not have.
    """
    chapter = notebook.read(path)
    known = [parameter.name for parameter in chapter.parameters]
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise RunError(
            f"the chapter has no parameter '{unknown[0]}'", where=path.name, expected=listed(known), got=unknown[0]
        )
    lines, cells = _script(chapter, parameters)
    with tempfile.TemporaryDirectory(prefix="fieldwork-inline-") as folder:
        script = Path(folder) / f"{path.stem}.py"
        script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        try:
            return runpy.run_path(str(script), run_name=path.stem)
        except Exception as error:
            at = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script)]
            number = cells[at[-1] - 1] if at and at[-1] else 0
            told = error.title if isinstance(error, FieldworkError) else f"{type(error).__name__}: {error}"
            raise RunError(
                "a chapter failed",
                where=f"{path.name}, cell {number}",
                got=" ".join(told.split())[:200],
                hint="run the same study with fieldwork run to see the cell",
            ) from error


def _script(chapter: Notebook, parameters: Mapping[str, Value]) -> tuple[list[str], list[int]]:
    """Return the lines of one script with all code cells, and the cell of each line."""
    lines: list[str] = []
    cells: list[int] = []
    for cell in chapter.cells:
        if cell.kind != "code":
            continue
        own = cell.source.splitlines()
        if "parameters" in cell.tags:
            own += [f"{name} = {value!r}" for name, value in parameters.items()]
        lines += own
        cells += [cell.number] * len(own)
    return lines, cells
