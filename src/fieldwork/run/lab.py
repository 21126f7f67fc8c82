"""Chapters opened by hand: copies with the study's parameters set, and JupyterLab upon them.

A copy is worked on, never the chapter's notebook. What it makes goes to a folder of its own under `.fieldwork/lab/<wave>`,
so neither the study nor another copy reads it. A copy that somebody has changed is left as it is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.errors import RunError, listed
from fieldwork.provenance import canonical, sha256_text, write_atomic
from fieldwork.run.page import literal
from fieldwork.run.plan import BLOCKED, CURRENT, STALE, WAITING
from fieldwork.run.worker import surroundings

if TYPE_CHECKING:
    from fieldwork.run.notebook import Value
    from fieldwork.run.plan import Judge, Unit

__all__ = ["Opened", "folder", "open_chapter", "open_failure", "start", "words"]

_NOTE = "fieldwork-note"
_INJECTED = "injected-parameters"
_MARKS = {_NOTE, _INJECTED, "papermill-error-cell-tag"}
_STOPPED = "Here it stopped"


@dataclass(frozen=True, slots=True)
class Opened:
    """A copy of a chapter, ready to be worked on.

    Attributes
    ----------
    chapter : str            Name.
    path : Path              The copy.
    kept : bool              Whether it is an earlier copy that somebody has changed, left as it was.
    warnings : tuple of str  What is off with its inputs; empty where they are what a run would give it.
    """

    chapter: str
    path: Path
    kept: bool
    warnings: tuple[str, ...]


def folder(judge: Judge) -> Path:
    """Return the folder of a wave's copies."""
    return judge.store.folder / "lab" / judge.pipeline.wave


def open_chapter(judge: Judge, units: Mapping[str, Unit], name: str, own: Mapping[str, Value]) -> Opened:
    """Make a copy of a chapter's notebook with parameters set.

    Parameters
    ----------
    units : mapping     What a run would do, by chapter, as `plan` says it.
    own : mapping       The study's own values of parameters that the user did not give, for the chapters that have them.

    Raises RunError for a step that is no notebook.
    """
    step = units[name].step
    if step.notebook is None:
        raise _no_notebook(name, step.call)
    content = json.loads(step.notebook.path.read_text(encoding="utf-8"))
    offered = {parameter.name for parameter in step.offered}
    values = {key: value for key, value in own.items() if key in offered} | judge.values[name]
    off = _off(judge, units, name)
    source = f"notebooks/{step.notebook.path.name}"
    said = (
        f"*A copy of `{source}` for wave {judge.pipeline.wave}, with its parameters set. What it makes goes to "
        f"`results/{name}` beside it; the study stays as it is. To change the chapter, edit `{source}`, then `fieldwork run`.*"
    )
    note = [said, *(f"**{warning}**" for warning in off)]
    cells = [_note(f"note-{name}", "\n\n".join(note)), *content["cells"]]
    return _write(judge, units[name], content, cells, values, off, folder(judge) / f"{name}.ipynb")


def open_failure(judge: Judge, units: Mapping[str, Unit], name: str) -> Opened:
    """Make a copy of the notebook that a chapter's last failure left, its parameters set, the failing cell marked.

    Raises RunError where there is no failure to show.
    """
    step, wave = units[name].step, judge.pipeline.wave
    if step.notebook is None:
        raise _no_notebook(name, step.call)
    path = judge.store.failed(wave, name)
    if not path.is_file():
        raise RunError(
            f"chapter {name} has left no failure",
            where=path.relative_to(judge.pipeline.study).as_posix(),
            expected=f"a chapter whose last run failed in wave {wave}: {listed(_failures(path.parent)) or 'there is none'}",
            got="no such file",
            hint="`fieldwork lab` opens chapters that are well; `fieldwork run` runs what is out of date",
        )
    content = json.loads(path.read_text(encoding="utf-8"))
    told = content["metadata"].get("fieldwork", {}).get("failure", {})
    kept = [cell for cell in content["cells"] if not _MARKS & set(_tags(cell))]
    at = int(told.get("cell", 0))
    values = content["metadata"].get("fieldwork", {}).get("parameters", {})
    off = list(_off(judge, units, name))
    mark = units[name].fingerprint
    if mark is not None:
        then = {parameter.name: values.get(parameter.name, parameter.default) for parameter in step.counted}
        if judge.store.failure(wave, name) != replace(mark, parameters=then).key:
            off.append(f"since it failed, notebooks/{step.notebook.path.name}, its inputs or the package have changed")
    said = (
        f"*Chapter {name}, wave {wave}, as it failed; the outputs are those of that run. What it makes now goes to "
        f"`results/{name}` beside it. Mend `notebooks/{step.notebook.path.name}` or the data, then `fieldwork run`.*"
    )
    told_so = f"```\n{told.get('error', 'The record of the error is gone.')}\n```"
    note = [said, told_so, *(f"**{warning}**" for warning in off)]
    if at:
        note.append(f"[{told.get('place', _STOPPED)}](#{_STOPPED.replace(' ', '-')})")
        kept.insert(at - 1, _note(f"stopped-{name}", f"### {_STOPPED}"))
    cells = [_note(f"note-{name}", "\n\n".join(note)), *kept]
    return _write(judge, units[name], content, cells, values, off, folder(judge) / f"{name}.failed.ipynb")


def words(place: Path, first: Path | None = None, *, browser: bool = True) -> tuple[str, ...]:
    """Return the command that opens JupyterLab on a folder, and on a notebook in it where one is named.

    It asks nobody for news or newer versions, and lists no extensions of an index.
    """
    named = f"/tree/{first.relative_to(place).as_posix()}" if first is not None else ""
    return (
        *(sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={place}", "--ServerApp.ip=127.0.0.1"),
        *("--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
        *("--LabApp.extension_manager=readonly", f"--LabApp.default_url=/lab{named}"),
        *(() if browser else ("--ServerApp.open_browser=False",)),
        # In a container root is often the only user; the server hears this machine alone, and asks for its token.
        *(("--allow-root",) if os.geteuid() == 0 else ()),
    )


def start(command: Sequence[str], private: Path) -> None:
    """Become JupyterLab: signals and the exit code are its own from here on. Its kernels get what a run gives its kernels.

    `private` is a folder for what they keep to themselves.
    """
    sys.stdout.flush()
    os.execve(command[0], list(command), surroundings(private))  # noqa: S606 - our own interpreter, words of ours


def _write(
    judge: Judge,
    unit: Unit,
    content: Mapping[str, Any],
    cells: Sequence[dict[str, Any]],
    values: Mapping[str, Value],
    off: Iterable[str],
    path: Path,
) -> Opened:
    step, wave = unit.step, judge.pipeline.wave
    out = folder(judge) / "results" / step.name
    chosen = {"study": str(judge.pipeline.study), "wave": wave, "out": str(out), **values, **judge.values[step.name]}
    lines = ["# Parameters", *(f"{name} = {literal(value)}" for name, value in sorted(chosen.items()))]
    at = next(number for number, cell in enumerate(cells) if "parameters" in _tags(cell)) + 1
    injected: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": f"parameters-{step.name}",
        "metadata": {"tags": [_INJECTED]},
        "outputs": [],
        "source": "\n".join(lines),
    }
    made = [*cells[:at], injected, *cells[at:]]
    if path.is_file() and _changed(path):
        return Opened(step.name, path, kept=True, warnings=tuple(off))
    for output in step.outputs:
        target = out / output.label
        (target if output.folder else target.parent).mkdir(parents=True, exist_ok=True)
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "fieldwork": {"made": _content(made)},
    }
    book = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": content.get("nbformat_minor", 5)}
    write_atomic(path, json.dumps(book, ensure_ascii=False, indent=1) + "\n")
    return Opened(step.name, path, kept=False, warnings=tuple(off))


def _note(name: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": name, "metadata": {"tags": [_NOTE]}, "source": text}


def _tags(cell: Mapping[str, Any]) -> list[str]:
    tags: list[str] = cell.get("metadata", {}).get("tags", [])
    return tags


def _content(cells: Sequence[Mapping[str, Any]]) -> str:
    """Hash what the cells say; what they have put out since does not count."""
    said = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return sha256_text(canonical(said))


def _changed(path: Path) -> bool:
    """Return whether somebody has changed a copy since it was made; one that cannot be read counts as changed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return bool(content["metadata"]["fieldwork"]["made"] != _content(content["cells"]))
    except (ValueError, KeyError, TypeError):
        return True


def _off(judge: Judge, units: Mapping[str, Unit], name: str) -> tuple[str, ...]:
    """Return what is off with the inputs of a chapter: those missing, and those that a run would make anew first."""
    found = []
    try:
        judge.contents(units[name].step)
    except RunError as error:
        made = any(output.covers(error.expected) for unit in units.values() for output in unit.step.outputs)
        found.append(f"{error.expected} is missing{'' if made else f': {error.hint}'}")
    behind = [need for need in units[name].step.needs if units[need].state != CURRENT]
    runs = [need for need in behind if units[need].state in {STALE, WAITING}]
    if runs:
        found.append(f"a run would first run {listed(runs)}: `fieldwork run --only {' '.join(runs)}` does")
    if back := [need for need in behind if units[need].state not in {STALE, WAITING, BLOCKED}]:
        found.append(
            f"a run would first put back what {listed(back)} made: `fieldwork run --only {' '.join(back)}` does"
        )
    if stuck := [need for need in behind if units[need].state == BLOCKED]:
        found.append(f"{listed(stuck)} cannot run: `fieldwork explain` says why")
    return tuple(found)


def _failures(place: Path) -> list[str]:
    return sorted(path.stem for path in place.glob("*.ipynb"))


def _no_notebook(name: str, call: str) -> RunError:
    return RunError(
        f"step {name} is a function, not a notebook",
        where=call,
        hint=f"`fieldwork run --only {name} --debug` shows where it fails",
    )
