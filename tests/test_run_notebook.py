"""What a chapter declares, what it is given, and the form in which its page is published."""

from __future__ import annotations

import json

import pytest

from fieldwork.errors import NotebookError, ParameterError, RunError, UsageError
from fieldwork.provenance import Memo
from fieldwork.run import notebook, spec
from fieldwork.run.fingerprint import Closure
from fieldwork.run.notebook import Parameter, chosen, parse_value
from fieldwork.run.page import compose

PLACES = 'study: str = ".."  # the study\nwave: str = ""  # the wave\nout: str = ""  # staging folder\n'


def cell(source, *tags, kind="code", **more):
    made = {"cell_type": kind, "metadata": {"tags": list(tags)}, "source": source}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {}) | more


def book(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_parameters_carry_type_default_and_meaning(tmp_path):
    source = (
        'seed: int = 0  # random seed\nlevel: float = 0.95\nroles: list[str] = ["CEO"]  # who\ncut: int | None = None'
    )
    found = notebook.read(book(tmp_path / "a.ipynb", cell(source, "parameters"))).parameters
    assert found == (
        Parameter("seed", "int", optional=False, default=0, meaning="random seed"),
        Parameter("level", "float", optional=False, default=0.95, meaning=""),
        Parameter("roles", "list[str]", optional=False, default=["CEO"], meaning="who"),
        Parameter("cut", "int", optional=True, default=None, meaning=""),
    )


def test_what_a_chapter_imports_is_what_its_cells_do_outside_of_any_function(tmp_path):
    cells = [
        cell("a: int = 1", "parameters"),
        cell("import json, os.path as p\nfrom pathlib import Path\nfrom . import near"),
        cell("%matplotlib inline\nimport lost"),
        cell("import nul\0"),
        cell("import csv; x = '\\d'"),
        cell("import prose", kind="markdown"),
        cell("def later():\n    import late\nfrom json import loads"),
    ]
    assert notebook.read(book(tmp_path / "a.ipynb", *cells)).imports == ("csv", "json", "os.path", "pathlib")


@pytest.mark.parametrize(
    ("cells", "got"),
    [
        ([cell("x = 1")], "none"),
        ([cell("a: int = 1", "parameters"), cell("b: int = 1", "parameters")], "2: cell 1, cell 2"),
        ([cell("a: int = 1", "parameters", kind="markdown")], "1: cell 1"),
        ([cell("a = 1", "parameters")], "`a = 1`"),
        ([cell("a: int = 1\nimport os", "parameters")], "`import os`"),
        ([cell("a: int = '1'", "parameters")], "`a: int = '1'`"),
        ([cell("a: int = True", "parameters")], "`a: int = True`"),
        ([cell("a: int = len('x')", "parameters")], "`a: int = len('x')`"),
        ([cell("a: dict = {}", "parameters")], "`a: dict = {}`"),
        ([cell("A: int = 1", "parameters")], "`A: int = 1`"),
        ([cell("a: int = 1\na: int = 2", "parameters")], "`a: int = 2`"),
        ([cell("a: int =", "parameters")], "invalid syntax: a: int ="),
    ],
)
def test_a_cell_of_parameters_that_is_off_is_refused_by_name(tmp_path, cells, got):
    with pytest.raises(NotebookError) as caught:
        notebook.read(book(tmp_path / "notebooks" / "a.ipynb", *cells))
    assert caught.value.got == got
    assert "notebooks/a.ipynb" in caught.value.where


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": [3]}', "\xff"])
def test_a_file_that_is_no_notebook_is_refused(tmp_path, text):
    path = tmp_path / "a.ipynb"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(NotebookError, match="not a Jupyter notebook"):
        notebook.read(path)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "-3", -3),
        ("float", "1e-3", 0.001),
        ("float", "2", 2.0),
        ("bool", "True", True),
        ("str", "007", "007"),
        ("str", "", ""),
        ("list[int]", "[1, 2]", [1, 2]),
    ],
)
def test_values_are_read_by_the_declared_type(kind, text, value):
    found = parse_value(Parameter("a", kind, optional=False, default=None, meaning=""), text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "1.0"),
        ("int", "\u0661"),
        ("int", ""),
        ("int", "none"),
        ("float", "nan"),
        ("float", "inf"),
        ("float", "1,5"),
        ("bool", "1"),
        ("bool", "NO"),
        ("list[int]", "1"),
        ("list[int]", "[true]"),
        ("list[int]", "[1,"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(kind, text):
    with pytest.raises(ParameterError) as caught:
        parse_value(
            Parameter("a", kind, optional=False, default=None, meaning="what it is"), text, chapter="04_gradient"
        )
    assert caught.value.where == f"-p a={text}, chapter 04_gradient"
    assert caught.value.hint == "what it is"


def test_a_misspelt_parameter_is_refused_with_the_choices_and_the_nearest():
    seed = Parameter("seed", "int", optional=False, default=0, meaning="")
    replicates = Parameter("replicates", "int", optional=False, default=0, meaning="")
    with pytest.raises(ParameterError) as caught:
        chosen({"replicate": "3"}, {"04_gradient": [seed, replicates]})
    assert caught.value.expected == "replicates, seed"
    assert caught.value.hint == "did you mean replicates?"
    assert chosen({"seed": "3"}, {"a": [seed], "b": [replicates]}) == {"a": {"seed": 3}, "b": {}}
    with pytest.raises(ParameterError):
        chosen({"a=1;import os": "1"}, {"a": [seed]})


# The graph


def graph(tmp_path, toml, **books):
    folder = tmp_path / "notebooks"
    for name, source in books.items():
        book(folder / f"{name}.ipynb", cell(source, "parameters"))
    (folder / "chapters.toml").write_text(toml)
    places = {name: tmp_path / name for name in ("raw", "instruments", "processed", "reports")}
    return spec.read(folder / "chapters.toml", {"study": tmp_path, "wave": "w1", **places})


def chapter(name, inputs=(), outputs=(), more=""):
    return f'[[chapter]]\nname = "{name}"\ninputs = {json.dumps(list(inputs))}\noutputs = {json.dumps(list(outputs))}\n{more}\n'


def test_the_order_follows_from_the_files(tmp_path):
    toml = (
        chapter("c", ["{reports}/chapters", "{processed}/deep/x.csv"], ["{reports}/c.html"])
        + chapter("b", ["{processed}/a.csv"], ["{processed}/deep/"])
        + chapter("a", ["{raw}"], ["{processed}/a.csv"])
    )
    # The folder of executed chapters holds c's own page as well, so c may not read it.
    with pytest.raises(RunError, match="wait for each other"):
        graph(tmp_path, toml.replace("chapters", "chapters/*.ipynb"), a=PLACES, b=PLACES, c=PLACES)
    with pytest.raises(RunError, match="wait for each other"):
        graph(tmp_path, toml, a=PLACES, b=PLACES, c=PLACES)
    toml = toml.replace('["{reports}/chapters", ', "[")
    pipeline = graph(tmp_path, toml, a=PLACES, b=PLACES, c=PLACES)
    assert [(step.name, step.needs) for step in pipeline.steps] == [("a", ()), ("b", ("a",)), ("c", ("b",))]
    assert [step.name for step in pipeline.wanted(["b"])] == ["a", "b"]
    assert pipeline.step("a").page == "reports/chapters/a.ipynb"
    with pytest.raises(UsageError, match="no chapter"):
        pipeline.step("d")


def test_a_key_is_an_input_where_there_is_one(tmp_path):
    toml = chapter("a", ["{raw}", "{key}?"], ["{processed}/a.csv"])
    (step,) = graph(tmp_path, toml, a=PLACES).steps
    assert [entry.label for entry in step.inputs] == ["raw"]
    places = {name: tmp_path / name for name in ("raw", "instruments", "processed", "reports")}
    places |= {"study": tmp_path, "wave": "w1", "key": tmp_path.parent / "settings" / "a.key"}
    (step,) = spec.read(tmp_path / "notebooks" / "chapters.toml", places).steps
    assert [entry.label for entry in step.inputs] == ["raw", "{key}"]
    with pytest.raises(RunError, match="unknown placeholder"):
        graph(tmp_path, chapter("a", (), ["{key}"]), a=PLACES)


PART = f'{PLACES}\npart: str = ""  # the part'


def test_a_chapter_in_parts_is_a_step_for_each(tmp_path):
    toml = chapter("a", ["{processed}/b_x", "{processed}/b_y"]) + chapter(
        "b", ["{raw}"], ["{processed}/b_{part}/"], more='parts = ["x", "y"]'
    )
    pipeline = graph(tmp_path, toml, a=PLACES, b=PART)
    assert [(step.name, step.chapter, step.fixed, step.needs) for step in pipeline.steps] == [
        ("b_x", "b", (("part", "x"),), ()),
        ("b_y", "b", (("part", "y"),), ()),
        ("a", "", (), ("b_x", "b_y")),
    ]
    one, other, _ = pipeline.steps
    assert [output.label for output in one.outputs] == ["processed/b_x", "reports/chapters/b_x.ipynb"]
    assert one.notebook.path == other.notebook.path == tmp_path / "notebooks/b.ipynb"
    assert [each.name for each in one.offered] == []
    assert [each.name for each in one.counted] == ["part"]
    assert pipeline.named(["b"]) == ("b_x", "b_y")
    assert pipeline.named(["b_y", "b"]) == ("b_y", "b_x")
    assert [step.name for step in pipeline.wanted(["b"])] == ["b_x", "b_y"]
    assert [step.name for step in pipeline.wanted(["b_y"])] == ["b_y"]
    with pytest.raises(UsageError, match="there is no chapter 'b_z'"):
        pipeline.wanted(["b_z"])


@pytest.mark.parametrize("parts", ["[]", '"x"', '["x", "x"]', '["X"]', "[1]", '["../x"]'])
def test_parts_that_are_off_are_refused(tmp_path, parts):
    with pytest.raises(RunError, match="the parts of a chapter are off"):
        graph(tmp_path, chapter("b", more=f"parts = {parts}"), b=PART)


def test_parts_need_a_notebook_that_can_be_told_which(tmp_path):
    with pytest.raises(NotebookError, match="every chapter in parts has") as told:
        graph(tmp_path, chapter("b", more='parts = ["x"]'), b=PLACES)
    assert "no part" in str(told.value)
    assert "study, wave, out, part" in str(told.value)
    with pytest.raises(RunError, match="the parts of a chapter are off"):
        graph(tmp_path, chapter("b", more='parts = ["x"]\ncall = "a.b:c"'), b=PART)
    with pytest.raises(RunError, match="two chapters make one file"):
        graph(tmp_path, chapter("b", [], ["{processed}/b"], more='parts = ["x", "y"]'), b=PART)
    with pytest.raises(RunError, match="unknown placeholder") as refused:
        graph(tmp_path, chapter("b", [], ["{processed}/{part}"]), b=PART)
    assert refused.value.hint == "only a chapter with `parts` has one"


@pytest.mark.parametrize(
    ("toml", "title"),
    [
        ("", "the graph of chapters is empty"),
        ("[[chapter]", "the graph of chapters is not TOML"),
        (chapter("a", more='input = "x"'), "unknown key 'input'"),
        (chapter("a", ["{raws}"]), "unknown placeholder"),
        (chapter("z"), "a chapter's notebook is missing"),
        (chapter("a") + chapter("a"), "two chapters have one name"),
        (chapter("A b"), "a chapter needs a name"),
        (chapter("a", [], ["/etc/x"]), "an output lies outside the study"),
        (chapter("a", [], ["{study}/../x"]), "an output lies outside the study"),
        (chapter("a", [], ["{processed}/x"]) + chapter("b", [], ["{processed}/"]), "two chapters make one file"),
        (
            chapter("a", ["{processed}/b"], ["{processed}/a"]) + chapter("b", ["{processed}/a"], ["{processed}/b"]),
            "wait",
        ),
        (chapter("a", more='kind = "script"'), "the kind of a chapter is off"),
        (chapter("s", more='call = "os.system"'), "a call names a function"),
        ('[[chapter]]\nname = "a"\ninputs = "x"\noutputs = []', "a chapter lists its inputs"),
    ],
)
def test_a_graph_that_is_off_is_refused_by_name(tmp_path, toml, title):
    with pytest.raises(RunError, match=title):
        graph(tmp_path, toml, a=PLACES, b=PLACES)


def test_a_chapter_without_the_parameters_of_the_runner_is_refused(tmp_path):
    with pytest.raises(NotebookError, match="lacks a parameter"):
        graph(tmp_path, chapter("a"), a='study: str = ""')


# The page


def test_the_page_hides_the_machine_and_joins_what_arrived_in_pieces():
    source = {"cells": [cell("# T", kind="markdown", id="t"), cell(PLACES, "parameters", id="p"), cell("x", id="x")]}
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "one "},
        {"output_type": "stream", "name": "stderr", "text": ["/var/ipykernel_77/123.py:1: W\n"]},
        {"output_type": "stream", "name": "stdout", "text": "/elsewhere/me/study/data/a.csv"},
        {"output_type": "execute_result", "data": {"text/plain": "<X at 0x7f1234567890>", "image/png": "0x1234567"}},
    ]
    ran = [
        cell("# T", kind="markdown"),
        cell(PLACES, "parameters", execution_count=1),
        cell("study = '/elsewhere/me/study'", "injected-parameters", execution_count=2, id="random"),
        cell("x", outputs=outputs, execution_count=3, metadata={"papermill": {"duration": 1.2}}),
    ]
    text = compose(source, {"cells": ran}, {"wave": "w1", "seed": 3}, [("/elsewhere/me/study", "")])
    assert "/elsewhere/me" not in text
    assert "papermill" not in text
    made = json.loads(text)
    assert [cell["id"] for cell in made["cells"]] == ["t", "p", "injected-parameters", "x"]
    assert "".join(made["cells"][2]["source"]) == '# Parameters\nseed = 3\nwave = "w1"'
    assert [(o.get("name"), o.get("text")) for o in made["cells"][3]["outputs"][:2]] == [
        ("stdout", ["one data/a.csv"]),
        ("stderr", ["cell:1: W\n"]),
    ]
    assert made["cells"][3]["outputs"][2]["data"] == {"image/png": "0x1234567", "text/plain": ["<X at 0x…>"]}
    # Renewing prose takes outputs from an earlier page.
    source["cells"].insert(0, cell("New prose", kind="markdown", id="n"))
    again = json.loads(compose(source, made, {"wave": "w1", "seed": 3}, []))
    assert again["cells"][1:] == made["cells"]


# What package code counts


def test_the_closure_follows_imports_and_ignores_comments_and_docstrings(tmp_path):
    package = tmp_path / "pkg"
    files = {
        "__init__.py": "",
        "a.py": "from pkg.b import thing\n",
        "b.py": "from . import c\nthing = 1\n",
        "c.py": "def f():\n    from pkg.sub import g\n    return g\n",
        "sub/__init__.py": 'from .deep import g\nPLACE = "pkg.named:go"\n',
        "sub/deep.py": "g = 1\n",
        "sub/page.html": "<p>",
        "named.py": "def go(): pass\n",
        "other.py": "x = 1\n",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(exist_ok=True, parents=True)
        (package / name).write_text(text)

    def closure():
        return Closure({"pkg": package}, Memo(None)).of(["import numpy\nimport pkg.a"])

    first = closure()
    assert list(first) == [
        "pkg",
        "pkg.a",
        "pkg.b",
        "pkg.c",
        "pkg.named",
        "pkg.sub",
        "pkg.sub.deep",
        "pkg.sub/page.html",
    ]
    (package / "b.py").write_text('"""Says what."""\nfrom . import c  # why\n\nthing = 1\n')
    (package / "other.py").write_text("x = 2\n")
    assert closure() == first
    (package / "b.py").write_text("from . import c\nthing = 2\n")
    (package / "sub/page.html").write_text("<b>")
    assert {name for name, key in closure().items() if first[name] != key} == {"pkg.b", "pkg.sub/page.html"}
