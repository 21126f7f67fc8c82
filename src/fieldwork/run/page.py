"""The executed notebook as it is published: the same bytes for the same result, and no trace of the machine.

Cell ids and prose come from the source notebook, outputs from the execution. Times, papermill's bookkeeping, process
ids, memory addresses and paths of the machine are taken out; the cell of injected parameters shows what the reader
set, not where the runner staged its files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldwork.run.notebook import Value

__all__ = ["compose", "literal"]

_INJECTED = "injected-parameters"
_CELL_FILE = re.compile(r"(/[^\s:'\"<>]*)?/ipykernel_\d+/\d+\.py")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_TEXTUAL = re.compile(r"text/|application/(json|javascript|vnd\.)|image/svg")


def compose(
    source: Mapping[str, Any],
    executed: Mapping[str, Any],
    shown: Mapping[str, Value],
    hidden: Iterable[tuple[str, str]],
) -> str:
    """Return the published notebook as JSON text.

    Parameters
    ----------
    source : mapping
        The chapter's notebook as it stands in git.
    executed : mapping
        An execution of the same code cells: papermill's, or an earlier published page whose prose is to be renewed.
    shown : mapping
        Parameters to show in the injected cell.
    hidden : iterable of (path, name)
        Paths of the machine, each with what stands in its place; longest first.
    """
    hidden = tuple(hidden)
    ran = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    injected = [cell for cell in ran if _INJECTED in cell.get("metadata", {}).get("tags", ())]
    results = iter([cell for cell in ran if cell not in injected])
    cells: list[dict[str, Any]] = []
    for number, cell in enumerate(source["cells"], start=1):
        tags = cell.get("metadata", {}).get("tags", [])
        kept: dict[str, Any] = {
            "cell_type": cell["cell_type"],
            "id": cell.get("id", f"cell-{number}"),
            "metadata": {key: cell["metadata"][key] for key in sorted(cell.get("metadata", {})) if key not in _VARYING},
            "source": _lines(cell["source"]),
        }
        if "attachments" in cell:
            kept["attachments"] = cell["attachments"]
        if cell["cell_type"] == "code":
            result = next(results)
            kept["execution_count"] = result.get("execution_count")
            kept["outputs"] = [_clean(output, hidden) for output in _joined(result.get("outputs", []))]
        cells.append(kept)
        if "parameters" in tags and injected:
            cells.append(_injection(injected[0], shown))
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "file_extension": ".py", "pygments_lexer": "ipython3"},
        "fieldwork": {"parameters": dict(shown)},
    }
    if "title" in source.get("metadata", {}):
        metadata["title"] = source["metadata"]["title"]
    book = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(book, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


_VARYING = ("papermill", "execution", "ExecuteTime")


def _injection(cell: Mapping[str, Any], shown: Mapping[str, Value]) -> dict[str, Any]:
    lines = ["# Parameters", *(f"{name} = {literal(value)}" for name, value in sorted(shown.items()))]
    return {
        "cell_type": "code",
        "execution_count": cell.get("execution_count"),
        "id": _INJECTED,
        "metadata": {"tags": [_INJECTED]},
        "outputs": [],
        "source": _lines("\n".join(lines)),
    }


def literal(value: Value) -> str:
    """Return a value as Python source.

    >>> literal("träumen"), literal(3)
    ('"träumen"', '3')
    """
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


def _lines(value: str | list[str]) -> list[str]:
    return _text(value).splitlines(keepends=True)


def _joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring streams: how a text arrives in pieces depends on the moment, what it says does not."""
    found: list[dict[str, Any]] = []
    streams: dict[str, str] = {}

    def close() -> None:
        names = sorted(streams, reverse=True)
        found.extend({"output_type": "stream", "name": name, "text": streams[name]} for name in names)
        streams.clear()

    for output in outputs:
        if output["output_type"] == "stream":
            streams[output["name"]] = streams.get(output["name"], "") + _text(output["text"])
        else:
            close()
            found.append(output)
    close()
    return found


def _clean(output: Mapping[str, Any], hidden: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    kept = {key: value for key, value in output.items() if key != "transient"}
    if "text" in kept:
        kept["text"] = _lines(_plain(_text(kept["text"]), hidden))
    if "data" in kept:
        kept["data"] = {kind: _datum(kind, value, hidden) for kind, value in sorted(kept["data"].items())}
    return kept


def _datum(kind: str, value: Any, hidden: tuple[tuple[str, str], ...]) -> Any:  # noqa: ANN401 - any JSON value of a notebook
    if not _TEXTUAL.match(kind):
        return value
    if isinstance(value, dict):
        return json.loads(_plain(json.dumps(value, ensure_ascii=False), hidden))
    return _lines(_plain(_text(value), hidden))


def _plain(text: str, hidden: tuple[tuple[str, str], ...]) -> str:
    for path, name in hidden:
        text = text.replace(f"{path}/", f"{name}/" if name else "").replace(path, name or ".")
    return _ADDRESS.sub("0x…", _CELL_FILE.sub("cell", text))
