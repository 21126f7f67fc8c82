"""The handbook is true: its examples run, its commands are commands, its links lead somewhere, its names are in the code."""

import ast
import doctest
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fieldwork import cli
from fieldwork.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
BIN = Path(sys.executable).parent
CONSTRUCTS = (
    "adoption_gradient", "role_shift", "lead_lag", "alignment_map", "influence", "blockers", "perception_gap", "readiness",
    "practices", "sample",
)  # fmt: skip
# Commands and modules of other projects, which the tests do not have.
OTHERS = {"dask", "dask_jobqueue", "dask_kubernetes.operator"}
# Needs a run of minutes, or its results: carried out by the slow tests, held against the command line's words by the others.
DEAR = {"run", "claims", "lab", "plan", "publish", "release", "organisations", "bundle", "verify", "reproduce"}


def named(path):
    return path.relative_to(DOCS).as_posix()


def read(path):
    return path.read_text(encoding="utf-8")


def blocks(path, language):
    """Return the fenced blocks of a language, outermost fences only."""
    return [body for word, body in fenced(read(path)) if word == language]


def fenced(text):
    found, fence, word, body = [], "", "", []
    for line in text.splitlines():
        mark = re.match(r"(`{3,})(.*)$", line)
        if not fence and mark:
            fence, word, body = mark[1], mark[2].strip(), []
        elif fence and line.strip() == fence:
            found.append((word, "\n".join(body) + "\n"))
            fence = ""
        elif fence:
            body.append(line)
    assert not fence, "a block that does not end"
    return found


def prose(text):
    """Return the text without its fenced blocks."""
    return re.sub(r"^(`{3,})[^\n]*\n.*?^\1\s*$", "", text, flags=re.MULTILINE | re.DOTALL)


# Examples


@pytest.mark.parametrize("path", [path for path in PAGES if ">>>" in read(path)], ids=named)
def test_python_examples_say_what_they_give(path):
    """All examples of a page are one session, as a reader would type them."""
    session = "\n".join(body for body in blocks(path, "python") if ">>>" in body)
    example = doctest.DocTestParser().get_doctest(session, {}, named(path), str(path), 0)
    assert example.examples
    told = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example, out=told.append)
    assert not runner.failures, "".join(told)


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "python")], ids=named)
def test_what_python_examples_import_is_there(path):
    for body in blocks(path, "python"):
        source = body if ">>>" not in body else "\n".join(e.source for e in doctest.DocTestParser().get_examples(body))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                if node.module in OTHERS:
                    continue
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")


def commands(path):
    return [shlex.split(line) for body in blocks(path, "console") for line in body.splitlines() if line.strip()]


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "console")], ids=named)
def test_commands_are_commands(path):
    """What a page tells the reader to type is read by the command line's own parser, without its effect."""
    targets = set(re.findall(r"^([a-z]+):", read(ROOT / "Makefile"), re.MULTILINE))
    parser = cli._parser()
    for words in commands(path):
        tool, *rest = words
        if tool == "make":
            assert set(rest) <= targets, words
        elif tool == "fieldwork":
            try:
                assert parser.parse_args(rest).command is cli._COMMANDS[rest[0]][2]
            except UsageError as error:
                pytest.fail(f"{' '.join(words)}: {error}")
        elif tool == ".venv/bin/python":
            assert rest[0] == "-c"
            [line] = [node for node in ast.parse(rest[1]).body if isinstance(node, ast.ImportFrom)]
            assert hasattr(importlib.import_module(line.module), line.names[0].name)
        else:
            assert tool == "cd" or tool in OTHERS, words


def follow(path, here, do):
    """Go through a page as its reader does: files are written where the page says so, and commands handed to `do`."""
    for word, body in fenced(read(path)):
        head, _, rest = body.partition("\n")
        if word == "toml" and head.startswith("# to "):
            with (here / head.removeprefix("# to ")).open("a", encoding="utf-8") as file:
                file.write("\n" + rest)
        elif word == "text" and head.startswith("# data/"):
            (here / head.removeprefix("# ")).write_text(rest, encoding="utf-8")
        elif word == "console":
            for line in body.splitlines():
                words = shlex.split(line)
                if words[0] == "cd":
                    here = here / words[1]
                else:
                    do(words, here)
    return here


def shipped(folder):
    import shutil

    shutil.copy(ROOT / "study.toml", folder / "study.toml")
    for name in ("instruments", "data/raw"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def in_process(monkeypatch):
    done = []

    def do(words, here):
        if words[0] == "fieldwork" and words[1] not in DEAR and "null-world" not in words[-1]:
            monkeypatch.chdir(here)
            assert cli.main(words[1:]) == 0, words
            done.append(words[1])

    return do, done


def test_the_first_page_can_be_followed(tmp_path, monkeypatch, capsys):
    do, done = in_process(monkeypatch)
    follow(DOCS / "start.md", shipped(tmp_path), do)
    assert done == ["explain", "explain", "simulate"]
    assert "role_divergence" in capsys.readouterr().out


def test_a_survey_of_ones_own_can_be_followed(tmp_path, monkeypatch, capsys):
    """Questions and claim of the page are read, its delivery has no fault, its trial is drawn; the runs are slow."""
    from fieldwork.claims import Register
    from fieldwork.study import Study

    do, done = in_process(monkeypatch)
    folder = follow(DOCS / "own_survey.md", tmp_path, do)
    assert done == ["new", "simulate", "check", "explain"]
    assert "answers.csv: no problem" in capsys.readouterr().out
    assert [claim.id for claim in Register.load(Study.open(folder).claims_path()).claims] == ["C1", "C2", "C3"]
    assert (tmp_path / "trial" / "truth.json").is_file()


@pytest.mark.slow
@pytest.mark.study
@pytest.mark.parametrize("name", ["start.md", "own_survey.md"])
def test_the_pages_for_newcomers_can_be_followed_to_the_end(tmp_path, name):
    """Every command as it stands, runs included, but for planning, which takes minutes for each sample."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"

    def do(words, here):
        words = ["fieldwork", "run"] if words == ["make", "run"] else words  # what make adds is the set-up
        if words[0] == "fieldwork" and words[1] not in {"plan", "lab"}:
            done = subprocess.run(
                words, check=False, capture_output=True, text=True, cwd=here, env={**os.environ, "PATH": path}
            )
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    here = tmp_path if name == "own_survey.md" else shipped(tmp_path)
    folder = follow(DOCS / name, here, do)
    assert (folder / "reports" / "2026Q1" / "index.html").is_file()


# Numbers and names


def extension(name):
    spec = importlib.util.spec_from_file_location(f"handbook_{name}", DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked(path):
    """Return what each `rows` block of a page asks for."""
    for word, body in fenced(read(path)):
        if word.startswith("{rows}"):
            options = dict(re.findall(r"^:(\w+):\s*(.+)$", body, re.MULTILINE))
            yield word.split()[1], options


def test_rows_of_other_pages_are_there():
    rows, count = extension("rows").rows, 0
    for path in PAGES:
        for source, options in asked(path):
            found = rows(source, **options)
            width = {len(re.findall(r"(?<!\\)\|", line)) for line in found}
            assert len(found) > 2, (named(path), source, options)
            assert len(width) == 1
            count += 1
    assert count > 25


def test_rows_are_those_of_the_table():
    rows = extension("rows").rows
    found = rows("validity.md", section="Verdicts", where="world=null; claim=H4", columns="claim; contradicted")
    assert found == ["| claim | contradicted |", "| --- | --- |", found[2]]
    [line] = [x for x in read(DOCS / "validity.md").splitlines() if x.startswith("| H4 |") and "| null |" in x]
    assert found[2] == f"| H4 | {line.split('|')[3].strip()} |"
    for wrong in (
        {"section": "Nothing"},
        {"where": "claim=H99", "section": "Verdicts"},
        {"columns": "none"},
        {"table": "9"},
    ):
        with pytest.raises(LookupError):
            rows("validity.md", **wrong)


def test_every_construct_has_a_page_with_all_that_a_page_holds():
    assert {path.stem for path in (DOCS / "constructs").glob("*.md")} == {*CONSTRUCTS, "index"}
    for construct in CONSTRUCTS:
        heads = re.findall(r"^## (.+)$", read(DOCS / "constructs" / f"{construct}.md"), re.MULTILINE)
        wanted = ["Definition", "Formula", "How to read it", "Pitfalls", "Worked example", "Validity", "Reference"]
        assert heads == wanted, construct


def test_names_of_statistics_and_functions_are_in_the_code():
    """A word in code type with an underscore is a name: of a statistic, a function, a file or a key."""
    code = "\n".join(read(path) for path in sorted((ROOT / "src").rglob("*.py")))
    code += "\n".join(read(path) for path in [*(ROOT / "instruments").glob("*.toml"), ROOT / "study.toml"])
    code += "\n".join(
        path.name
        for path in [*(ROOT / "tests").iterdir(), *(ROOT / "benchmarks").rglob("*"), *(ROOT / "notebooks").iterdir()]
    )
    for path in PAGES:
        if path.parent.name not in {"constructs", "methods", "guides"} and path.name not in {
            "start.md",
            "own_survey.md",
        }:
            continue
        for word in re.findall(r"`([^`\n]+)`", prose(read(path))):
            if re.fullmatch(r"[a-z0-9]+(?:_[a-z0-9]+)+", word):
                assert re.search(rf"(?<![a-z0-9_]){word}(?![a-z0-9])", code), (named(path), word)


def test_the_reference_lists_every_public_module_once():
    modules = extension("modules")
    parts = [
        part
        for path in (DOCS / "api").glob("*.md")
        for word, _ in fenced(read(path))
        if word.startswith("{modules}")
        for part in word.split()[1:]
    ]
    package = ROOT / "src" / "fieldwork"
    there = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    there -= {"__init__", "__main__"}
    assert sorted(parts) == sorted(there)
    listed = [module for part in parts for module, _ in modules.files(part)]
    assert len(listed) == len(set(listed))
    assert {"fieldwork.statistics.spread", "fieldwork.disclosure", "fieldwork.cli"} <= set(listed)
    shown = modules.sections(read(DOCS / "api" / "statistics.md"))
    assert shown.count(".. automodule::") == sum(name.startswith("fieldwork.statistics") for name in listed)


# Links


def anchors(path):
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    heads = re.findall(r"^#+ (.+)$", prose(read(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", head).lower()).replace(" ", "-") for head in heads}


def links(path):
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(read(path))))


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_lead_somewhere(path):
    for link in links(path):
        if re.match(r"https?://|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.is_relative_to(ROOT), link
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file), link


def test_every_page_is_reached_from_the_first():
    seen, open_ = set(), [DOCS / "index.md"]
    while open_:
        path = open_.pop()
        if path in seen:
            continue
        seen.add(path)
        for word, body in fenced(read(path)):
            if word == "{toctree}":
                open_ += [path.parent / f"{line}.md" for line in body.splitlines() if line and not line.startswith(":")]
    assert seen == set(PAGES)


@pytest.mark.slow
def test_the_handbook_builds_without_a_warning_and_fetches_nothing(tmp_path):
    python = DOCS.parent / ".tools/docs/bin/python"
    if not python.is_file():
        pytest.skip("the tools of the handbook are not installed; `make docs` installs them and builds")
    words = [
        python,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "-d",
        tmp_path / "trees",
        DOCS,
        tmp_path / "html",
    ]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fetched = re.compile(
        r"""<(?:link|script|img|iframe|source)\b[^>]*?(?:href|src)=["'](?:https?:)?//|@import|url\((?:["'])?(?:https?:)?//"""
    )
    for path in (tmp_path / "html").rglob("*"):
        if path.suffix in {".html", ".css"}:
            assert not fetched.search(path.read_text(encoding="utf-8")), path.name
