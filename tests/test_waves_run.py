"""A run over several waves: earlier waves are brought up to date first, shown, explained, and named where they lack data.

The study has four waves, of which the second has no delivery. Chapter `a` reads a delivery, `b` what `a` made in its own
and in every earlier wave, `c` what `b` made, `d` nothing of the kind.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import pytest

from fieldwork.cli import main
from fieldwork.errors import RunError
from fieldwork.run import spec
from fieldwork.study import Study

PARAMETERS = (
    'study: str = ".."  # study\nwave: str = ""  # wave\nout: str = ""  # staging\ntimes: int = 1  # how often\n'
)
HOME = "from pathlib import Path\nhome = Path(study)\nmade = Path(out or study) / 'data/processed' / wave\n"
A = HOME + (
    "text = (home / 'data/raw' / wave / 'a.csv').read_text()\nassert 'bad' not in text, 'a bad delivery'\n"
    "(made / 'a.txt').write_text(text * times)"
)
B = HOME + (
    "waves = sorted(p for p in (home / 'data/processed').iterdir() if p.name <= wave and (p / 'a.txt').is_file())\n"
    "(made / 'b.txt').write_text('+'.join((p / 'a.txt').read_text().strip() for p in waves))"
)
C = HOME + "(made / 'c.txt').write_text((home / 'data/processed' / wave / 'b.txt').read_text())"
D = HOME + "(made / 'd.txt').write_text('d')"
GRAPH = """
[[chapter]]
name = "a"
inputs = ["{raw}"]
outputs = ["{processed}/a.txt"]
[[chapter]]
name = "b"
inputs = ["{processed}/a.txt", "{earlier}/a.txt", "{instruments}/{earlier_wave}.toml?"]
outputs = ["{processed}/b.txt"]
[[chapter]]
name = "c"
inputs = ["{processed}/b.txt"]
outputs = ["{processed}/c.txt"]
[[chapter]]
name = "d"
inputs = []
outputs = ["{processed}/d.txt"]
"""


def written(tmp_path):
    for folder in ("data/raw/w1", "data/raw/w2", "data/raw/w3", "data/raw/w4", "instruments", "notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "toy"\nprovenance = "simulated"\n[waves]\norder = ["w1", "w2", "w3", "w4"]\n'
    )
    (tmp_path / "data/raw/w2/README.md").write_text("awaited")
    for wave in ("w1", "w3", "w4"):
        (tmp_path / f"data/raw/{wave}/a.csv").write_text(f"{wave}\n")
    (tmp_path / "notebooks/chapters.toml").write_text(GRAPH)
    for name, code in (("a", A), ("b", B), ("c", C), ("d", D)):
        cells = [
            {"cell_type": "code", "id": "p", "metadata": {"tags": ["parameters"]}, "source": PARAMETERS},
            {"cell_type": "code", "id": "w", "metadata": {}, "source": code},
        ]
        cells = [cell | {"outputs": [], "execution_count": None} for cell in cells]
        content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"notebooks/{name}.ipynb").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(written(tmp_path) / "notebooks")
    return tmp_path


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A study that has run once, and what the run answered."""
    folder = written(tmp_path_factory.mktemp("once"))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.chdir(folder / "notebooks")
        assert main(["run", "--json"]) == 0
    return folder, json.loads(out.getvalue())


@pytest.fixture
def finished(once, tmp_path, monkeypatch):
    """A copy of it, to be worked on."""
    folder = shutil.copytree(once[0], tmp_path / "study")
    monkeypatch.chdir(folder / "notebooks")
    return folder


def answer(capsys, *words):
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_earlier_waves_are_made_first_and_a_wave_without_delivery_is_named(once, finished, capsys):
    study, told = finished, once[1]
    assert (told["wave"], sorted(told["ran"]), told["without"]) == ("w4", ["a", "b", "c", "d"], ["w2"])
    assert [(each["wave"], each["ran"]) for each in told["earlier"]] == [("w1", ["a"]), ("w3", ["a"])]
    assert (study / "data/processed/w4/c.txt").read_text() == "w1+w3+w4"
    assert not (study / "data/processed/w3/b.txt").exists()
    for wave in ("w1", "w3", "w4"):  # the register met the data of each of them
        assert (study / f"data/processed/{wave}/registered.json").is_file()
    code, told = answer(capsys, "run")
    assert (code, told["ran"], len(told["current"])) == (0, [], 4)
    assert [(each["ran"], each["current"]) for each in told["earlier"]] == [([], ["a"]), ([], ["a"])]


@pytest.mark.usefixtures("study")
def test_lines_name_the_wave_of_what_happens_in_an_earlier_one(capsys):
    assert main(["run", "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "no delivery of w2: analyses over waves go without" in lines
    assert any(line.startswith("w1 a         running") for line in lines)
    assert [line for line in lines if line.startswith("wave ")] == [
        "wave w1: 1 ran",
        "wave w3: 1 ran",
        "wave w4: 4 ran",
    ]


def test_the_first_wave_and_a_chapter_of_one_wave_bring_no_other_up_to_date(study, capsys):
    code, told = answer(capsys, "run", "--wave", "w1")
    assert (code, told["earlier"], told["without"]) == (0, [], [])
    code, told = answer(capsys, "run", "--only", "d")
    assert (code, told["ran"], told["earlier"], told["without"]) == (0, ["d"], [], [])
    assert (study / "data/processed/w1/b.txt").read_text() == "w1"


@pytest.mark.usefixtures("study")
def test_explain_tells_what_waits_for_an_earlier_wave(capsys):
    _, told = answer(capsys, "explain")
    states = {(each.get("wave", "w4"), each["chapter"]): each for each in told}
    assert states["w1", "a"]["state"] == states["w3", "a"]["state"] == "stale"
    assert states["w4", "b"]["state"] == "waiting"
    assert states["w4", "b"]["why"] == ["runs if a, w1 a, w3 a make something else than before"]


def test_explain_tells_what_changed_in_an_earlier_wave(finished, capsys):
    study = finished
    (study / "data/raw/w1/a.csv").write_text("one\n")
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "w2 has no delivery: analyses over waves go without" in lines
    assert "w1 a         runs: input data/raw/w1/a.csv changed" in lines
    assert "b            may run: runs if w1 a makes something else than before" in lines
    assert "d            is current" in lines
    assert main(["explain", "b"]) == 0
    assert "  after     a, w1 a, w3 a" in capsys.readouterr().out
    code, told = answer(capsys, "run")
    assert (code, sorted(told["ran"])) == (0, ["b", "c"])
    assert (study / "data/processed/w4/c.txt").read_text() == "one+w3+w4"


def test_a_lost_result_of_an_earlier_wave_is_put_back_and_nothing_runs(finished, capsys):
    study = finished
    (study / "data/processed/w1/a.txt").unlink()
    _, told = answer(capsys, "explain")
    assert [each["state"] for each in told] == ["restorable", *["current"] * 5]
    code, told = answer(capsys, "run")
    assert (code, told["ran"], told["earlier"][0]["restored"]) == (0, [], ["a"])


def test_parameters_hold_in_every_wave_and_force_in_the_one_at_work(finished, capsys):
    study = finished
    assert main(["run", "-p", "times=2"]) == 0
    assert (study / "data/processed/w1/a.txt").read_text() == "w1\nw1\n"
    capsys.readouterr()
    code, told = answer(capsys, "run", "-p", "times=2", "--force")
    assert (code, sorted(told["ran"]), told["earlier"][0]["ran"]) == (0, ["a", "b", "c", "d"], [])


def test_a_failure_in_an_earlier_wave_stops_what_follows_from_it_and_no_more(study, capsys):
    (study / "data/raw/w1/a.csv").write_text("bad\n")
    code, told = answer(capsys, "run")
    assert (code, sorted(told["ran"]), told["skipped"]) == (1, ["a", "d"], {"b": "w1 a", "c": "w1 a"})
    assert len(told["earlier"][0]["failed"]) == 1
    assert told["earlier"][1]["ran"] == ["a"]
    assert main(["run"]) == 1
    told = capsys.readouterr()
    assert "wave w1: " in told.err
    assert "a bad delivery" in told.err
    assert "b            skipped: w1 a failed" in told.out


def test_a_delivery_that_comes_late_runs_what_reads_it(finished, capsys):
    study = finished
    (study / "data/raw/w2/a.csv").write_text("w2\n")
    code, told = answer(capsys, "run")
    assert (code, sorted(told["ran"]), told["without"]) == (0, ["b", "c"], [])
    assert (study / "data/processed/w4/c.txt").read_text() == "w1+w2+w3+w4"


def places(study):
    return {
        "study": study, "raw": study / "data/raw/w4", "instruments": study / "instruments", "wave": "w4",
        "processed": study / "data/processed/w4", "reports": study / "reports/w4",
    }  # fmt: skip


def test_an_input_of_earlier_waves_stands_for_one_each(study):
    earlier = {wave: study / "data/processed" / wave for wave in ("w1", "w3")}
    step = spec.read(study / "notebooks/chapters.toml", places(study), earlier).step("b")
    assert [entry.label for entry in step.inputs] == [
        "data/processed/w4/a.txt", "data/processed/w1/a.txt", "data/processed/w3/a.txt",
        "instruments/w1.toml", "instruments/w3.toml",
    ]  # fmt: skip
    assert (step.needs, step.needs_earlier, step.reads) == (("a",), ("a",), ("w1", "w3"))


def test_what_an_earlier_wave_published_is_read_as_it_stands_and_made_by_nobody(study):
    graph = study / "notebooks/chapters.toml"
    text = graph.read_text().replace('inputs = ["{processed}/b.txt"]', 'inputs = ["{earlier_reports}/a.html?"]')
    graph.write_text(
        text.replace('outputs = ["{processed}/c.txt"]', 'outputs = ["{reports}/a.html", "{processed}/c.txt"]')
    )
    earlier = {wave: study / "data/processed" / wave for wave in ("w1", "w3")}
    step = spec.read(graph, places(study), earlier).step("c")
    assert [(entry.label, entry.optional) for entry in step.inputs] == [
        ("reports/w1/a.html", True), ("reports/w3/a.html", True),
    ]  # fmt: skip
    assert (step.needs, step.needs_earlier, step.reads) == ((), (), ())
    assert spec.read(graph, places(study), {}).step("c").inputs == ()


def test_no_output_lies_in_an_earlier_wave(study):
    graph = study / "notebooks/chapters.toml"
    graph.write_text(graph.read_text().replace('outputs = ["{processed}/b.txt"]', 'outputs = ["{earlier}/b.txt"]'))
    with pytest.raises(RunError, match="only inputs may lie in an earlier wave"):
        spec.read(graph, places(study), {"w1": study / "data/processed/w1"})


def test_a_study_knows_its_earlier_waves_and_which_were_delivered(study):
    opened = Study.open(study, "w3")
    assert [(each.wave, each.delivered, each.processed.name) for each in opened.earlier] == [
        ("w1", True, "w1"),
        ("w2", False, "w2"),
    ]
