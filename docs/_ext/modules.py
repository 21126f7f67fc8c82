"""The pages of the API reference: a section for each public module, found when the handbook is built."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "fieldwork"


def files(name: str) -> Iterator[tuple[str, Path]]:
    """Yield the public modules of a part of the package, by name and file, the part itself first."""
    folder = PACKAGE / name
    if not folder.is_dir():
        yield f"fieldwork.{name}", PACKAGE / f"{name}.py"
        return
    for path in sorted(folder.rglob("*.py"), key=lambda path: (path.stem != "__init__", path)):
        parts = [part for part in path.relative_to(PACKAGE).with_suffix("").parts if part != "__init__"]
        if not any(part.startswith("_") for part in parts):
            yield ".".join(("fieldwork", *parts)), path


def sections(text: str) -> str:
    """Put the modules of the parts that a `modules` block names in its place."""

    def shown(block: re.Match[str]) -> str:
        return "\n".join(_section(module, path) for name in block[1].split() for module, path in files(name))

    return re.sub(r"^```\{modules\} (.+)\n```$", shown, text, flags=re.MULTILINE)


def _section(module: str, path: Path) -> str:
    # A package that only gathers names from its modules would describe them twice.
    body = ast.parse(path.read_text(encoding="utf-8")).body
    own = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body)
    option = "" if own or path.stem != "__init__" else "\n   :no-members:"
    return f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}{option}\n```\n"
