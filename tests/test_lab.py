"""Copies of chapters to be worked on: what is set in them, that they run, and that nothing of the study changes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from fieldwork.cli import main
from fieldwork.provenance import sha256_file
from tests.small_study import HOME, READ, WRITE_1A, book, write_small_study

REFUSE = "lines = [x for x in lines if x != 'bad' or 1 / 0]"


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A study whose chapter 1a of wave w2 meets a value that it cannot take, with times = 3."""
    study = tmp_path_factory.mktemp("lab") / "study"
    write_small_study(study)
    cells = [("code", HOME), ("markdown", "## Reading"), ("code", READ), ("code", REFUSE), ("code", WRITE_1A)]
    book(study, "1a", *cells, own="times: int = 1  # how often")
    (study / "data/raw/w2/a.csv").write_text("x\none\nbad\n")
    assert main(["run", "--study", str(study), "-p", "times=3", "--isolated"]) == 1
    return study


@pytest.fixture
def study(failed, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(failed, copy)
    return copy


def digests(study):
    files = [p for p in study.rglob("*") if p.is_file() and ".fieldwork" not in p.parts]
    return {p.relative_to(study).as_posix(): sha256_file(p) for p in files}


def opened(study, capsys, *words):
    capsys.readouterr()
    assert main([*words, "--study", str(study), "--print", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def executed(path):
    """Run a copy to its end, as JupyterLab's kernel would."""
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    return book


def injected(path):
    (cell,) = [
        c for c in nbformat.read(path, as_version=4).cells if "injected-parameters" in c.metadata.get("tags", ())
    ]
    return dict(line.split(" = ", 1) for line in cell.source.splitlines()[1:])


def test_debug_opens_the_failure_at_its_cell_with_its_parameters(study, capsys):
    before = digests(study)
    answer = opened(study, capsys, "debug", "1a")
    path = Path(answer["copies"][0]["path"])
    assert path == study / ".fieldwork/lab/w2/1a.failed.ipynb"
    assert answer["copies"][0]["warnings"] == []
    assert f"--ServerApp.root_dir={path.parent}" in answer["command"]
    assert "--LabApp.default_url=/lab/tree/1a.failed.ipynb" in answer["command"]
    assert injected(path) == {
        "out": json.dumps(str(path.parent / "results/1a")),
        "study": json.dumps(str(study)),
        "times": "3",
        "wave": '"w2"',
    }
    cells = nbformat.read(path, as_version=4).cells
    (at,) = [number for number, cell in enumerate(cells) if cell.source == "### Here it stopped"]
    assert cells[at + 1].source == REFUSE
    assert cells[at + 1].outputs[0]["ename"] == "ZeroDivisionError"
    assert "chapter 1a stopped at ZeroDivisionError: division by zero" in cells[0].source
    assert "[notebooks/1a.ipynb, cell 6 under 'Reading', line 1](#Here-it-stopped)" in cells[0].source
    # With the value mended the copy runs to its end, into a folder of its own.
    (study / "data/raw/w2/a.csv").write_text("x\none\ntwo\n")
    executed(path)
    assert (path.parent / "results/1a/data/processed/w2/1a.txt").read_text() == "one,two,one,two,one,two"
    (study / "data/raw/w2/a.csv").write_text("x\none\nbad\n")
    assert digests(study) == before


def test_debug_says_what_has_changed_since_and_where_there_is_no_failure(study, capsys):
    (study / "data/raw/w2/a.csv").write_text("x\none\ntwo\n")
    answer = opened(study, capsys, "debug", "1a")
    assert answer["copies"][0]["warnings"] == [
        "since it failed, notebooks/1a.ipynb, its inputs or the package have changed"
    ]
    assert main(["debug", "2b", "--study", str(study), "--print"]) == 1
    told = capsys.readouterr().err
    assert "chapter 2b has left no failure" in told
    assert "a chapter whose last run failed in wave w2: 1a" in told
    assert main(["debug", "3c", "--study", str(study), "--print"]) == 2
    assert "there is no chapter '3c'" in capsys.readouterr().err


def test_a_copy_that_somebody_changed_is_kept(study, capsys):
    path = Path(opened(study, capsys, "debug", "1a")["copies"][0]["path"])
    book = json.loads(path.read_text())
    book["cells"][-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    path.write_text(json.dumps(book))
    assert opened(study, capsys, "debug", "1a")["copies"][0]["kept"] is False
    book["cells"][-1]["source"] = "mine = 1"
    path.write_text(json.dumps(book))
    assert opened(study, capsys, "debug", "1a")["copies"][0]["kept"] is True
    assert json.loads(path.read_text())["cells"][-1]["source"] == "mine = 1"


def test_lab_opens_every_chapter_with_the_studys_parameters_and_warns_of_inputs(study, capsys):
    (study / "data/raw/w2/a.csv").write_text("x\none\ntwo\n")
    before = digests(study)
    copies = {copy["chapter"]: copy for copy in opened(study, capsys, "lab", "-p", "word=ä")["copies"]}
    assert list(copies) == ["1a", "2b"]
    assert copies["1a"]["warnings"] == []
    assert copies["2b"]["warnings"] == [
        "data/processed/w2/1a.txt is missing",
        "a run would first run 1a: `fieldwork run --only 1a` does",
    ]
    path = Path(copies["2b"]["path"])
    assert injected(path)["word"] == '"ä"'
    assert "A copy of `notebooks/2b.ipynb` for wave w2" in nbformat.read(path, as_version=4).cells[0].source
    executed(Path(copies["1a"]["path"]))
    assert (study / ".fieldwork/lab/w2/results/1a/data/processed/w2/1a.txt").read_text() == "one,two"
    assert digests(study) == before


def test_lab_fills_in_the_studys_own_seed(study, capsys):
    book(study, "1a", ("code", HOME), ("code", READ), ("code", WRITE_1A), own="times: int = 1\nseed: int = 0")
    path = Path(opened(study, capsys, "lab", "--seed", "7")["copies"][0]["path"])
    assert injected(path)["seed"] == "7"
    assert int(injected(Path(opened(study, capsys, "lab")["copies"][0]["path"]))["seed"]) > 0


def fetched(address):
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 - of this machine
        return answer.read().decode()


@pytest.mark.slow
def test_jupyterlab_starts_on_the_copies_and_fetches_no_news(study, tmp_path):
    words = [sys.executable, "-m", "fieldwork", "lab", "--study", str(study), "--no-browser"]
    own = {f"JUPYTER_{what}_DIR": str(tmp_path / what) for what in ("CONFIG", "DATA", "RUNTIME")}
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, env={**os.environ, **own})
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", (tmp_path / "said").read_text())):
            assert process.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        page = fetched(found[0])
        config = json.loads(re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
        assert config["news"] == {"disabled": True}
        listing = fetched(found[0].replace("/lab?", "/api/contents?"))
        assert {entry["name"] for entry in json.loads(listing)["content"]} == {"1a.ipynb", "2b.ipynb", "results"}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
