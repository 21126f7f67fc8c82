"""The graph for other engines: each form is held by what reads it, and make runs the study by it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import fieldwork.run
from fieldwork.cli import main
from fieldwork.provenance import sha256_file
from tests.small_study import write_small_study

SCHEMA = json.loads(Path(fieldwork.run.__file__).with_name("export.schema.json").read_text())


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two waves that has not run: 1a and 2b in each, 2b reads 1a of the earlier wave too."""
    folder = tmp_path_factory.mktemp("a $study's folder") / "small"
    write_small_study(folder)
    return folder


def exported(study, to, capsys, *words):
    assert main(["export", "--study", str(study), "--to", to, *words]) == 0
    return capsys.readouterr().out


def digests(study):
    files = [path for folder in ("data/processed", "reports") for path in (study / folder).rglob("*") if path.is_file()]
    # The record of the register holds the time of the first run.
    return {p.relative_to(study).as_posix(): sha256_file(p) for p in sorted(files) if p.name not in UNLIKE}


UNLIKE = {"registered.json", "manifest.json"}


def test_json_keeps_its_schema_and_names_every_chapter_with_its_command(study, capsys):
    graph = json.loads(exported(study, "json", capsys, "-p", "times=2"))
    jsonschema.Draft202012Validator(SCHEMA).validate(graph)
    rules = {rule["id"]: rule for rule in graph["rules"]}
    assert list(rules) == ["w1_1a", "1a", "2b"]
    assert rules["2b"]["needs"] == ["1a", "w1_1a"]
    assert rules["2b"]["command"] == [
        *(sys.executable, "-m", "fieldwork", "run", "--study", str(study), "--wave", "w2", "-p", "times=2"),
        *("--only", "2b", "--isolated", "--wait"),
    ]
    assert rules["1a"]["parameters"] == {"study": str(study), "wave": "w2", "times": 2}
    assert rules["1a"]["outputs"][0] == {"path": "data/processed/w2/1a.txt", "folder": False, "optional": False}
    assert (rules["1a"]["state"], rules["1a"]["why"]) == ("stale", ["it has not run before"])
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(graph | {"version": 2}) is False


STATEMENT = re.compile(
    r'(?P<node>"(?:[^"\\]|\\.)*") \[(?:\w+="(?:[^"\\]|\\.)*"(?:, )?)+\];|(?P<edge>"[^"]+" -> "[^"]+");'
    r"|(label|labelloc|rankdir)=[^;]+;|node \[.*\];"
)


def test_dot_has_a_node_per_chapter_and_an_edge_per_need(study, capsys):
    first, *body, last = exported(study, "dot", capsys).splitlines()
    assert (first, last) == ("digraph fieldwork {", "}")
    found = [STATEMENT.fullmatch(line.strip()) for line in body]
    assert all(found), [line for line, match in zip(body, found, strict=True) if not match]
    assert [match["node"] for match in found if match["node"]] == ['"w1_1a"', '"1a"', '"2b"']
    assert {match["edge"] for match in found if match["edge"]} == {'"1a" -> "2b"', '"w1_1a" -> "2b"'}
    if shutil.which("dot"):
        drawn = subprocess.run(
            ["dot", "-Tsvg"], input="\n".join([first, *body, last]), capture_output=True, text=True, check=True
        )
        assert drawn.stdout.count('class="node"') == 3


def test_a_word_of_two_lines_is_refused_where_a_rule_cannot_carry_it(study, capsys):
    assert main(["export", "--study", str(study), "--to", "make", "-p", "word=one\ntwo"]) == 2
    assert "--to json carries any text" in capsys.readouterr().err
    graph = json.loads(exported(study, "json", capsys, "-p", "word=one\ntwo"))
    assert "word=one\ntwo" in graph["rules"][0]["command"]


def test_make_runs_the_study_and_what_is_current_is_not_run_again(study, tmp_path, capsys):
    copy = tmp_path / "the # copy, $(HOME)'s"
    shutil.copytree(study, copy)
    rules = tmp_path / "study.mk"
    assert main(["export", "--study", str(copy), "--to", "make", "--out", str(rules), "-p", "word=$(HOME) & #1"]) == 0
    assert capsys.readouterr().out.strip() == str(rules)
    made = subprocess.run(["make", "-f", rules, "-j", "2"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    ran = [line for line in made.stdout.splitlines() if re.fullmatch(r"wave w\d: .*1 ran.*", line)]
    assert len(ran) == 3
    assert (copy / "data/processed/w2/2b.txt").read_text() == "ONE ONE,TWO $(HOME) & #1"
    again = subprocess.run(["make", "-f", rules, "2b"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert " ran" not in again.stdout
    # The command itself has nothing to do and nothing to change: the graph is the one that it runs.
    before = digests(copy)
    assert main(["run", "--study", str(copy), "-p", "word=$(HOME) & #1"]) == 0
    assert capsys.readouterr().out.splitlines()[-3:-1] == ["wave w1: 1 current", "wave w2: 2 current"]
    assert digests(copy) == before


def test_snakemake_has_a_rule_per_chapter_after_those_that_it_needs(study, capsys):
    text = exported(study, "snakemake", capsys, "-p", "word={x}")
    assert re.findall(r"^rule (\w+):$", text, re.MULTILINE) == [
        "everything",
        "chapter_w1_1a",
        "chapter_1a",
        "chapter_2b",
    ]
    last = text.partition("rule chapter_2b:")[2]
    assert last.partition("output:")[0].count(".fieldwork/exported/") == 2
    assert "word={{x}}" in last


@pytest.mark.slow
def test_snakemake_runs_the_study(study, tmp_path, capsys):
    """Needs a Snakemake outside the project: `FIELDWORK_SNAKEMAKE=/tmp/s/bin/snakemake pytest -m slow tests/test_export.py`."""
    program = os.environ.get("FIELDWORK_SNAKEMAKE", "") or shutil.which("snakemake")
    if not program:
        pytest.skip(
            "no Snakemake: python3 -m venv /tmp/s && /tmp/s/bin/pip install snakemake, then set FIELDWORK_SNAKEMAKE"
        )
    copy = tmp_path / "copy {x} $(HOME)'s"
    shutil.copytree(study, copy)
    (tmp_path / "Snakefile").write_text(exported(copy, "snakemake", capsys, "-p", "word={x} $1 'y'"))
    words = [program, "--snakefile", "Snakefile", "--cores", "2"]
    made = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert (copy / "data/processed/w2/2b.txt").read_text() == "ONE ONE,TWO {x} $1 'y'"
    before = digests(copy)
    assert not (tmp_path / ".fieldwork/exported/w2").exists()
    # Its marks are gone, so every rule is tried again, and fieldwork runs what changed and no more.
    (copy / "data/raw/w1/a.csv").write_text("x\nthree\n")
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(re.findall(r"^wave w\d: .*1 ran.*", again.stdout, re.MULTILINE)) == 2
    assert {name for name, digest in digests(copy).items() if before[name] != digest} >= {
        "data/processed/w1/1a.txt",
        "data/processed/w2/2b.txt",
    }
