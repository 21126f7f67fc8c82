"""A chapter's notebook as the engine sees it: code cells, prose cells and one cell of annotated parameters.

Notebooks are read as plain JSON, for the engine's library would cost a second in a run that has nothing to do.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import re
import tokenize
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldwork.errors import NotebookError, ParameterError, listed, nearest
from fieldwork.provenance import canonical, sha256_text

__all__ = ["Cell", "Notebook", "Parameter", "Value", "chosen", "parse_value", "read"]

Value = bool | int | float | str | list[Any] | None

_NAME = re.compile(r"[a-z_]+")
_WHOLE = re.compile(r"[+-]?[0-9]+(_[0-9]+)*")
_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}
_SCALARS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a chapter, as its notebook declares it.

    Attributes
    ----------
    name : str          Lower-case letters and underscores.
    kind : str          `int`, `float`, `str`, `bool`, or `list[...]` of one of them.
    optional : bool     Whether None is allowed (`int | None`).
    default : Value     Value in the notebook.
    meaning : str       Trailing comment of the assignment.
    """

    name: str
    kind: str
    optional: bool
    default: Value
    meaning: str

    @property
    def expected(self) -> str:
        """The type in words."""
        inner = self.kind.removeprefix("list[").removesuffix("]")
        words = _WORDS[inner] if self.kind == inner else f"a JSON list, each entry {_WORDS[inner]}"
        return f"{words}, or none" if self.optional else words


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a notebook.

    Attributes
    ----------
    number : int         Position in the notebook, from 1.
    kind : str           `code`, `markdown` or `raw`.
    source : str         Text of the cell.
    tags : tuple of str  Tags of the cell.
    """

    number: int
    kind: str
    source: str
    tags: tuple[str, ...]

    @property
    def key(self) -> str:
        """Hash of what the cell does: its source and tags, without outputs, ids and execution counts."""
        return _cell_key(self.kind, self.source, self.tags)


# A fan-out asks for the same cells once a step.
@functools.lru_cache(maxsize=4096)
def _cell_key(kind: str, source: str, tags: tuple[str, ...]) -> str:
    return sha256_text(canonical([kind, source, sorted(tags)]))


# As above.
@functools.lru_cache(maxsize=64)
def _imports(cells: tuple[Cell, ...]) -> tuple[str, ...]:
    found: set[str] = set()
    for cell in cells:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the kernel that runs the cell shows them
                statements = ast.parse(cell.source).body
        except (SyntaxError, ValueError):  # a null byte is either, by version
            continue
        for each in statements:
            if isinstance(each, ast.Import):
                found |= {alias.name for alias in each.names}
            elif isinstance(each, ast.ImportFrom) and each.module and not each.level:
                found.add(each.module)
    return tuple(sorted(found))


@functools.lru_cache(maxsize=64)
def _cells_key(cells: tuple[Cell, ...]) -> str:
    return sha256_text(canonical([cell.key for cell in cells]))


@dataclass(frozen=True, slots=True)
class Notebook:
    """A chapter's notebook.

    Attributes
    ----------
    path : Path                       File.
    language : str                    Language of its code cells.
    cells : tuple of Cell             All cells in order.
    parameters : tuple of Parameter   Declared in the cell tagged `parameters`.
    """

    path: Path
    language: str
    cells: tuple[Cell, ...]
    parameters: tuple[Parameter, ...]

    @property
    def code(self) -> tuple[Cell, ...]:
        """Code cells in order."""
        return tuple(cell for cell in self.cells if cell.kind == "code")

    @property
    def imports(self) -> tuple[str, ...]:
        """Modules that its code cells import outside of any function, sorted; of a cell that is not Python none."""
        return _imports(self.code)

    @property
    def page_key(self) -> str:
        """Hash of what the page shows: all cells, prose included."""
        return _cells_key(self.cells)

    def heading_above(self, number: int) -> str:
        """Return the nearest Markdown heading at or above a cell, by the cell's number from 1; empty when none."""
        for cell in reversed(self.cells[:number]):
            if cell.kind == "markdown":
                lines = [line.lstrip("#").strip() for line in cell.source.splitlines() if line.startswith("#")]
                if lines:
                    return lines[-1]
        return ""


def read(path: Path) -> Notebook:
    """Read a chapter and its declared parameters.

    Raises NotebookError when the file is not a notebook of format 4 or later, when it has no cell tagged `parameters`
    or more than one, or when that cell holds anything but annotated assignments of plain values.
    """
    where = f"{path.parent.name}/{path.name}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listing = content["cells"]
        language = content.get("metadata", {}).get("kernelspec", {}).get("language", "python")
        cells = tuple(_cell(number, cell) for number, cell in enumerate(listing, start=1))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotebookError(
            "the file is not a Jupyter notebook",
            where=where,
            expected="JSON with a list of cells (notebook format 4)",
            got=f"{type(error).__name__}: {error}",
            hint="open the file in JupyterLab and save it again, or take it back from git",
        ) from error
    tagged = [cell for cell in cells if "parameters" in cell.tags]
    if len(tagged) != 1 or tagged[0].kind != "code":
        cells_named = listed(f"cell {cell.number}" for cell in tagged)
        raise NotebookError(
            "a chapter has one cell of parameters",
            where=where,
            expected="exactly one code cell tagged `parameters`",
            got="none" if not tagged else f"{len(tagged)}: {cells_named}",
            hint='in JupyterLab: property inspector, Cell tags, "parameters", on one code cell',
        )
    return Notebook(path, str(language), cells, _declared(tagged[0], where))


def _cell(number: int, cell: Mapping[str, Any]) -> Cell:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    return Cell(number, str(cell["cell_type"]), text, tuple(cell.get("metadata", {}).get("tags", ())))


def _declared(cell: Cell, where: str) -> tuple[Parameter, ...]:
    def refuse(got: str, line: int, hint: str = "") -> NotebookError:
        return NotebookError(
            "the cell of parameters holds something else than parameters",
            where=f"{where}, cell {cell.number}, line {line}",
            expected="lines such as `seed: int = 0  # random seed; 0 takes the study's`",
            got=got,
            hint=hint or "move other code to the next cell",
        )

    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        raise refuse(f"{error.msg}: {(error.text or '').strip()}", error.lineno or 1) from error
    comments = _comments(cell.source)
    found: list[Parameter] = []
    for statement in tree.body:
        text = ast.unparse(statement)
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            raise refuse(f"`{text}`", statement.lineno, "give the parameter a type, as in `name: str = ...`")
        name = statement.target.id
        kind, optional = _kind(ast.unparse(statement.annotation))
        if not kind:
            raise refuse(f"`{text}`", statement.lineno, "types are int, float, str, bool, list[...] and `... | None`")
        if not _NAME.fullmatch(name) or name in {parameter.name for parameter in found}:
            raise refuse(f"`{text}`", statement.lineno, "names are lower-case letters and underscores, each used once")
        try:
            default = ast.literal_eval(statement.value) if statement.value is not None else ...
        except ValueError:
            default = ...
        if default is ... or not _fits(default, kind, optional=optional):
            raise refuse(f"`{text}`", statement.lineno, f"give a plain {kind} as the default")
        found.append(Parameter(name, kind, optional, default, comments.get(statement.end_lineno or 0, "")))
    return tuple(found)


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _kind(annotation: str) -> tuple[str, bool]:
    parts = [part.strip() for part in annotation.split("|")]
    optional = "None" in parts
    rest = [part for part in parts if part != "None"]
    if len(rest) != 1:
        return "", optional
    inner = rest[0].removeprefix("list[").removesuffix("]") if rest[0].startswith("list[") else rest[0]
    return (rest[0] if inner in _SCALARS else ""), optional


def _fits(value: object, kind: str, *, optional: bool) -> bool:
    if value is None:
        return optional
    if kind.startswith("list["):
        inner = kind.removeprefix("list[").removesuffix("]")
        return isinstance(value, list) and all(_fits(entry, inner, optional=False) for entry in value)
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    # bool is a subclass of int, and True is not a number of replicates.
    return type(value) is _SCALARS[kind]


def parse_value(parameter: Parameter, text: str, *, chapter: str = "") -> Value:
    """Return a parameter's value from the text of `-p NAME=VALUE`, strictly of the declared type.

    >>> parse_value(Parameter("seed", "int", False, 0, ""), "7")
    7
    >>> parse_value(Parameter("seed", "int", False, 0, ""), "seven")
    Traceback (most recent call last):
    ...
    fieldwork.errors.ParameterError: ParameterError: parameter 'seed' has the wrong type
      where     -p seed=seven
      expected  a whole number
      got       'seven'
    """
    value: Any = ...
    if parameter.optional and text.casefold() == "none":
        value = None
    elif parameter.kind == "str":
        value = text
    elif parameter.kind == "bool":
        value = {"true": True, "false": False}.get(text.casefold(), ...)
    elif parameter.kind == "int":
        value = int(text) if _WHOLE.fullmatch(text) else ...
    elif parameter.kind == "float":
        value = _number(text)
    else:
        try:
            value = json.loads(text)
        except ValueError:
            value = ...
    if value is ... or not _fits(value, parameter.kind, optional=parameter.optional):
        raise ParameterError(
            f"parameter '{parameter.name}' has the wrong type",
            where=f"-p {parameter.name}={text}" + (f", chapter {chapter}" if chapter else ""),
            expected=parameter.expected,
            got=repr(text),
            hint=parameter.meaning,
        )
    return float(value) if parameter.kind == "float" and value is not None else value


def _number(text: str) -> Any:  # noqa: ANN401 - a float, or Ellipsis where the text is none
    try:
        value = float(text)
    except ValueError:
        return ...
    finite = value - value == 0
    return value if finite else ...


def chosen(given: Mapping[str, str], chapters: Mapping[str, Iterable[Parameter]]) -> dict[str, dict[str, Value]]:
    """Return, per chapter, the values of the parameters that were given and that the chapter has.

    Parameters
    ----------
    given : mapping
        Text by parameter name, as from `-p NAME=VALUE`.
    chapters : mapping
        Parameters that each chapter offers to the user, by chapter.

    Raises ParameterError for a name that no chapter has, with the choices and the nearest one, and for a value of the
    wrong type. Papermill itself lets both pass.
    """
    offered = {parameter.name: parameter for parameters in chapters.values() for parameter in parameters}
    for name, text in given.items():
        if name not in offered:
            near = nearest(name, offered)
            raise ParameterError(
                f"no chapter has a parameter '{name}'",
                where=f"-p {name}={text}",
                expected=listed(sorted(offered)) or "none: these chapters have no parameters of their own",
                got=repr(name),
                hint=f"did you mean {near}?" if near else "`fieldwork explain CHAPTER` lists a chapter's parameters",
            )
    return {
        chapter: {
            parameter.name: parse_value(parameter, given[parameter.name], chapter=chapter)
            for parameter in parameters
            if parameter.name in given
        }
        for chapter, parameters in chapters.items()
    }
