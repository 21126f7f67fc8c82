"""A notebook is a chapter: text, one call, one display. Held by reading the notebooks, never by running them."""

import ast
import copy
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
CODE_LINES = 12
CODE_CELLS = 15
IMPORTED = {"fieldwork", "IPython"}
ASKED_OF_EVERY_CHAPTER = {"study": "..", "wave": "", "out": ""}
BANNED = {
    ast.FunctionDef: "def",
    ast.AsyncFunctionDef: "def",
    ast.ClassDef: "class",
    ast.Lambda: "lambda",
    ast.For: "for",
    ast.AsyncFor: "for",
    ast.comprehension: "for",
    ast.While: "while",
    ast.Try: "try",
    ast.TryStar: "try",
}

Cell = dict[str, Any]


def source(cell: Cell) -> str:
    return "".join(cell["source"])


def tags(cell: Cell) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def code_lines(text: str) -> int:
    """Lines that hold code: neither blank nor comment alone."""
    return sum(1 for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def comments(text: str) -> dict[int, str]:
    """Comment text by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.start[0]: token.string.lstrip("# ").strip() for token in tokens if token.type == tokenize.COMMENT}


def is_path(text: str) -> bool:
    """Tell whether a literal reads as a place in the file system or on the net."""
    return bool(re.fullmatch(r"\S*[/\\]\S*|~\S*", text)) and text not in {"/", "\\"}


def parameters(cell: Cell) -> Iterator[str]:
    text = source(cell)
    said = comments(text)
    given = {}
    for statement in ast.parse(text).body:
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            yield f"parameters: `{ast.unparse(statement)}` is not an annotated assignment"
            continue
        name = statement.target.id
        try:
            given[name] = ast.literal_eval(statement.value)
        except ValueError:
            yield f"parameters: the default of {name} is not a literal"
        if not said.get(statement.end_lineno or 0):
            yield f"parameters: {name} has no trailing comment that says what it is"
    for name, default in ASKED_OF_EVERY_CHAPTER.items():
        if given.get(name) != default:
            yield f"parameters: every chapter takes {name} with default {default!r}"


def code(number: int, cell: Cell) -> Iterator[str]:
    text = source(cell)
    where = f"cell {number}"
    magic = [
        line for line in text.splitlines() if re.match(r"\s*[%!?]|.*\?\s*$", line) and not line.lstrip().startswith("#")
    ]
    if magic:
        yield f"{where}: magic or shell command `{magic[0].strip()}`"
        return
    if code_lines(text) > CODE_LINES:
        yield f"{where}: {code_lines(text)} code lines, at most {CODE_LINES}"
    if not code_lines(text):
        yield f"{where}: a code cell without code"
    if cell["outputs"] or cell["execution_count"] is not None:
        yield f"{where}: outputs are not stripped"
    for node in ast.walk(ast.parse(text)):
        if word := BANNED.get(type(node)):
            yield f"{where}: `{word}`; that belongs into the package"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_path(node.value):
            yield f"{where}: literal path {node.value!r}"


def imports(cells: list[tuple[int, Cell]]) -> Iterator[str]:
    having = {}
    for number, cell in cells:
        body = ast.parse(source(cell)).body
        found = [
            node for statement in body for node in ast.walk(statement) if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        if found:
            having[number] = (body, found)
    if len(having) != 1:
        yield f"one import cell wanted, {len(having)} found"
    for number, (body, found) in having.items():
        if len(body) != len(found):
            yield f"cell {number}: the import cell holds more than imports"
        for node in found:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (
                f"cell {number}: imports {name}; a chapter imports fieldwork and display only"
                for name in names
                if name.split(".")[0] not in IMPORTED
            )


def displays(cell: Cell) -> bool:
    body = ast.parse(source(cell)).body
    return bool(body) and isinstance(body[-1], ast.Expr)


def shows_saved(cell: Cell) -> bool:
    if cell["cell_type"] != "code" or not displays(cell):
        return False
    called = [node.func for node in ast.walk(ast.parse(source(cell)).body[-1]) if isinstance(node, ast.Call)]
    return any(isinstance(function, ast.Attribute) and function.attr == "saved" for function in called)


def faults(notebook: dict[str, Any]) -> list[str]:
    """Everything in which a notebook departs from the contract, in reading order."""
    cells: list[Cell] = notebook["cells"]
    programs = [(number, cell) for number, cell in enumerate(cells, start=1) if cell["cell_type"] == "code"]
    texts = [cell for cell in cells if cell["cell_type"] == "markdown"]
    told = [fault for number, cell in programs for fault in code(number, cell)]
    if any("magic" in fault for fault in told):
        return told

    opening = source(cells[0]) if cells and cells[0]["cell_type"] == "markdown" else ""
    if not re.match(r"# \S", opening):
        told.append("the first cell is not a text with a title")
    told += [
        f"the first cell does not name its {word}" for word in ("input", "output") if word not in opening.casefold()
    ]
    if "?" not in opening:
        told.append("the first cell asks no question")

    asked = [cell for cell in cells if "parameters" in tags(cell)]
    if len(asked) != 1 or asked[0]["cell_type"] != "code":
        told.append(f"one parameters cell wanted, {len(asked)} found")
    else:
        told += parameters(asked[0])
    told += imports(programs)

    if len(programs) > CODE_CELLS:
        told.append(f"{len(programs)} code cells, at most {CODE_CELLS}")
    if len(texts) < len(programs):
        told.append(f"{len(texts)} texts for {len(programs)} code cells; at least as many are wanted")
    told += [
        f"cell {number}: a display without a text before it that says what to look at"
        for number, cell in programs
        if displays(cell) and (number == 1 or cells[number - 2]["cell_type"] != "markdown")
    ]
    if not cells or not shows_saved(cells[-1]):
        told.append("the last cell does not show saved()")
    if set(notebook["metadata"]) - {"kernelspec", "language_info"}:
        told.append(
            f"metadata of a run or an editor: {sorted(set(notebook['metadata']) - {'kernelspec', 'language_info'})}"
        )
    return told


def test_there_are_chapters():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_keeps_the_contract(path):
    assert not faults(json.loads(path.read_text(encoding="utf-8")))


# ------------------------------------------------------------------------------------------- the reader of the contract


def text_cell(text: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code_cell(text: str, *marks: str) -> Cell:
    metadata = {"tags": list(marks)} if marks else {}
    return {"cell_type": "code", "metadata": metadata, "source": text, "outputs": [], "execution_count": None}


PARAMETERS = """\
study: str = ".."  # folder of the study
wave: str = ""  # wave to analyse; empty: the study's default
out: str = ""  # where to write; empty: the study's own folders
"""
GOOD = {
    "metadata": {"kernelspec": {"name": "python3"}},
    "cells": [
        text_cell("# Gradient\n\nHow far apart are the roles?\n\nInputs: responses. Outputs: estimates."),
        code_cell(PARAMETERS, "parameters"),
        text_cell("The tools."),
        code_cell("from IPython.display import display\n\nfrom fieldwork.chapter import Chapter"),
        text_cell("Look at the first role."),
        code_cell('chapter = Chapter.open("04_gradient", study, wave, out)\nchapter.read("01_clean").head(1)'),
        text_cell("What was saved."),
        code_cell("chapter.saved()"),
    ],
}


def changed(number: int, **entries: Any) -> dict[str, Any]:
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][number - 1] |= entries
    return notebook


def test_a_good_chapter_has_no_fault():
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ("notebook", "fault"),
    [
        (changed(1, source="Gradient? inputs, outputs"), "the first cell is not a text with a title"),
        (changed(1, source="# Gradient\n\nInputs, outputs."), "the first cell asks no question"),
        (changed(1, source="# Gradient?\n\nInputs."), "the first cell does not name its output"),
        (changed(2, metadata={}), "one parameters cell wanted, 0 found"),
        (changed(3, metadata={"tags": ["parameters"]}), "one parameters cell wanted, 2 found"),
        (changed(2, source=PARAMETERS + "seed = 1  # root seed\n"), "`seed = 1` is not an annotated assignment"),
        (changed(2, source=PARAMETERS + "seed: int = 1\n"), "seed has no trailing comment"),
        (
            changed(2, source=PARAMETERS + "seed: int = max(1, 2)  # root seed\n"),
            "the default of seed is not a literal",
        ),
        (changed(2, source=PARAMETERS.replace('"..', '".')), "every chapter takes study with default '..'"),
        (changed(4, source="import pandas as pd"), "imports pandas; a chapter imports fieldwork and display only"),
        (changed(4, source="import fieldwork\nx = 1"), "the import cell holds more than imports"),
        (changed(6, source="import fieldwork"), "one import cell wanted, 2 found"),
        (changed(6, source="\n".join(["x = 1"] * 13)), "cell 6: 13 code lines, at most 12"),
        (changed(6, source="# nothing"), "cell 6: a code cell without code"),
        (changed(6, source="def f():\n    return 1"), "cell 6: `def`"),
        (changed(6, source="x = [y for y in z]"), "cell 6: `for`"),
        (changed(6, source="x = sorted(z, key=lambda y: y)"), "cell 6: `lambda`"),
        (changed(6, source="try:\n    x\nexcept ValueError:\n    y"), "cell 6: `try`"),
        (changed(6, source="while x:\n    y"), "cell 6: `while`"),
        (changed(6, source="class A:\n    pass"), "cell 6: `class`"),
        (changed(6, source="%matplotlib inline"), "cell 6: magic"),
        (changed(6, source="!ls"), "cell 6: magic"),
        (changed(6, source='x = read("../data/raw.csv")'), "cell 6: literal path '../data/raw.csv'"),
        (changed(6, source='x = read(f"{study}/raw")'), "cell 6: literal path '/raw'"),
        (changed(6, outputs=[{"output_type": "stream"}]), "cell 6: outputs are not stripped"),
        (changed(6, execution_count=3), "cell 6: outputs are not stripped"),
        (changed(8, source="chapter.save(frame)"), "the last cell does not show saved()"),
        (changed(5, cell_type="raw"), "cell 6: a display without a text before it"),
        (changed(5, cell_type="raw"), "3 texts for 4 code cells"),
        (GOOD | {"cells": GOOD["cells"][:-2] + [text_cell("t"), code_cell("x = 1")] * 14}, "17 code cells, at most 15"),
        (GOOD | {"metadata": {"papermill": {}}}, "metadata of a run or an editor: ['papermill']"),
    ],
)
def test_a_fault_is_told(notebook, fault):
    assert any(fault in told for told in faults(notebook)), faults(notebook)


def test_words_with_a_stroke_are_no_path():
    assert not is_path("role / stage")
    assert not is_path("04_gradient.parquet")
    assert not is_path("..")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_gate_forgets_what_was_released(path):
    """A page of a chapter that does not know the register would show what the published estimates hold back."""
    text = "\n".join(
        source(cell) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
    )
    calls = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "publish"
    ]
    assert all("chapter.released()" in map(ast.unparse, call.args) for call in calls)
    chapters = (path.parent / "chapters.toml").read_text(encoding="utf-8").split("[[chapter]]")
    mine = next((each for each in chapters if f'name = "{path.stem}"\n' in each), "")
    for wave in ("wave", "earlier_wave"):
        assert not calls or f"{{study}}/released/{{{wave}}}.parquet?" in mine
