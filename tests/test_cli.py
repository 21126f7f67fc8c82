"""The command line: its words, its exit codes, its last line, and how little a run with nothing to do loads."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import fieldwork
from fieldwork.cli import _COMMANDS, main
from fieldwork.intake import Problem

PARAMETERS = (
    'study: str = ".."  # study\nwave: str = ""  # wave\nout: str = ""  # staging\nseed: int = 0  # random seed\n'
)
WRITE = "from pathlib import Path\n(Path(out) / 'reports' / wave / 'index.html').write_text(f'seed {seed}')"


def book(study, code):
    cells = [
        {"cell_type": "code", "id": "p", "metadata": {"tags": ["parameters"]}, "source": PARAMETERS},
        {"cell_type": "code", "id": "w", "metadata": {}, "source": code},
    ]
    cells = [cell | {"outputs": [], "execution_count": None} for cell in cells]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (study / "notebooks/a.ipynb").write_text(json.dumps(content))


REGISTER = """
[register]
version = "1"
[[claim]]
id = "H1"
text = "Roles differ."
source = "an essay"
awaits = "not built yet"
[[external]]
id = "fact"
statement = "Others found it."
source = "them"
status = "confirmed"
checked = 2026-11-22
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    for folder in ("data/raw/w1", "instruments", "notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "toy"\ntitle = "Toy"\nprovenance = "simulated"\n[waves]\norder = ["w1"]\n'
    )
    (tmp_path / "data/raw/w1/a.csv").write_text("x\n1\n")
    (tmp_path / "instruments/claims.toml").write_text(REGISTER)
    (tmp_path / "notebooks/chapters.toml").write_text(
        '[[chapter]]\nname = "a"\ninputs = ["{raw}", "{processed}/registered.json"]\noutputs = ["{reports}/index.html"]\n'
    )
    book(tmp_path, WRITE)
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


def test_a_run_ends_with_the_path_of_the_index_and_the_next_has_nothing_to_do(study, capsys, monkeypatch):
    assert main(["explain"]) == 0
    assert main(["run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("a            running: it has not run before")
    assert out[2].startswith("a            done in ")
    assert out[-2:] == ["wave w1: 1 ran", str(study / "reports/w1/index.html")]
    record = (study / "data/processed/w1/registered.json").read_bytes()
    frozen = json.loads(record)
    assert set(frozen) == {"hash", "time", "head", "claims", "external"}
    assert frozen["hash"] == hashlib.sha256(REGISTER.encode()).hexdigest()
    assert (frozen["claims"]["H1"]["text"], frozen["claims"]["H1"]["direction"]) == ("Roles differ.", "above")
    assert frozen["external"]["fact"]["checked"] == "2026-11-22"

    monkeypatch.chdir(study)
    code = (
        "import sys, time; from fieldwork.cli import main; start = time.process_time(); assert main(['run']) == 0\n"
        "heavy = {'pandas', 'numpy', 'papermill', 'nbformat', 'pydantic', 'rich', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    before = time.monotonic()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - before < 2
    assert ran.stdout.splitlines() == ["wave w1: 1 current", "reports/w1/index.html"]

    # A changed register leaves the record of its first run alone, and so does the loss of all results.
    (study / "instruments/claims.toml").write_text(REGISTER.replace("Roles differ.", "Roles agree."))
    (study / "data/processed/w1/registered.json").unlink()
    (study / "reports/w1/index.html").unlink()
    assert main(["explain"]) == 0
    assert capsys.readouterr().out == "a            is put back, not run: reports/w1/index.html is missing\n"
    assert main(["run", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["restored"], answer["index"]) == (["a"], "reports/w1/index.html")
    assert (study / "data/processed/w1/registered.json").read_bytes() == record

    assert main(["run", "--seed", "7", "--only", "a"]) == 0
    assert (study / "reports/w1/index.html").read_text() == "seed 7"
    assert main(["explain", "a"]) == 0
    told = capsys.readouterr().out
    assert "  parameter seed = 0 (a whole number) random seed\n" in told
    assert "  input     data/raw/w1/a.csv  sha256 " in told
    assert main(["explain", "reports/w1/index.html"]) == 0
    capsys.readouterr()
    assert main(["explain", "--seed", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"chapter": "a", "state": "current", "why": []}]
    assert main(["explain", "b"]) == 2


def test_a_register_that_cannot_be_read_is_not_frozen(study, capsys):
    (study / "instruments/claims.toml").write_text(REGISTER.replace("awaits", "awaitz"))
    assert main(["run"]) == 1
    assert "did you mean awaits?" in capsys.readouterr().err
    assert not (study / "data/processed/w1/registered.json").exists()
    assert not list((study / ".fieldwork").rglob("registered/*.json"))
    (study / "instruments/claims.toml").write_text(REGISTER)
    assert main(["run"]) == 0
    assert (
        json.loads((study / "data/processed/w1/registered.json").read_text())["claims"]["H1"]["awaits"]
        == "not built yet"
    )


def test_a_failing_chapter_is_told_without_a_traceback(study, capsys):
    book(study, "raise ValueError('too few')")
    assert main(["run"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "wave w1: 1 failed"
    assert said.err.startswith("NotebookError: chapter a stopped at ValueError: too few\n")
    assert "notebooks/a.ipynb, cell 2, line 1" in said.err
    assert "Traceback" not in said.err
    assert main(["run", "--json", "--debug"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["failed"][0]["line"] == "raise ValueError('too few')"
    assert "Traceback" in said.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "the following arguments are required: COMMAND"),
        (["rnu"], 2, "did you mean run?"),
        (["run", "--wrokers", "2"], 2, "unrecognized arguments"),
        (["run", "--workers", "0"], 2, "expected a whole number from 1, got '0'"),
        (["run", "-p", "seed"], 2, "-p takes NAME=VALUE"),
        (["run", "-p", "sede=3"], 2, "did you mean seed?"),
        (["run", "-p", "seed=x"], 2, "a whole number"),
        (["run", "-p", "wave=w2"], 2, "use --wave"),
        (["run", "--replicates", "40"], 2, "no chapter has a parameter 'replicates'"),
        (["run", "--replicates", "39"], 2, "expected  40 or more; 1000 is usual\n  got       '39'"),
        (["run", "--replicates", "-1"], 2, "expected  40 or more; 1000 is usual\n  got       '-1'"),
        (["explain", "-p", "replicates=0"], 2, "expected  40 or more; 1000 is usual\n  got       '0'"),
        (["explain", "-p", "replicates=12"], 2, "ParameterError: too few replicates to tell how sure a result is\n"),
        (["run", "--only", "b"], 2, "there is no chapter 'b'"),
        (["run", "--wave", "w2"], 1, "w1"),
        (["run", "--study", "/nowhere"], 1, "study.toml"),
        (["claims"], 1, "fieldwork run"),
        (["check", "none.csv"], 2, "there is no such file"),
        (["simulate"], 2, "fieldwork simulate --list"),
    ],
)
def test_words_that_are_off_and_faults_of_the_study_differ_by_exit_code(study, capsys, words, code, told):
    assert main(words) == code
    said = capsys.readouterr()
    assert told in said.err
    assert "Traceback" not in said.err
    assert not (study / "reports/w1/index.html").exists()


def read_only(monkeypatch):
    """Let nothing be written, as on a disk that is mounted read-only; root would get past the modes of files."""
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK and access(path, mode))

    def refuse(path, *_args, **_options):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    monkeypatch.setattr("pathlib.Path.write_text", refuse)


def test_a_study_that_cannot_be_written_is_explained_and_not_run(study, capsys, monkeypatch):
    os.utime(study / "data/raw/w1/a.csv", (1, 1))
    with monkeypatch.context() as patch:
        read_only(patch)
        assert main(["explain"]) == 0
        assert "a            cannot run" in capsys.readouterr().out
        assert main(["run"]) == 1
        assert capsys.readouterr().err == (
            "RunError: the study cannot be written\n"
            f"  where     {study}\n"
            "  expected  a folder that takes .fieldwork/ and what a run makes\n"
            "  got       Read-only file system\n"
            f"  hint      make {study} writable, or copy the study to a folder that is\n"
        )
    assert not (study / ".fieldwork").exists()


@pytest.mark.parametrize(
    ("mode", "told"), [(os.W_OK, "make the folder {} writable, or work in a copy"), (os.R_OK, "make {}/a.csv readable")]
)
def test_a_refusal_says_what_is_to_be_opened(study, capsys, monkeypatch, mode, told):
    folder = study / "data/raw/w1"

    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "a.csv"))

    monkeypatch.setattr("fieldwork.intake.check_files", refuse)
    monkeypatch.setattr("os.access", lambda _path, asked: asked != mode)
    assert main(["check", str(folder / "a.csv")]) == 1
    assert capsys.readouterr().err == (
        "RunError: the system refused\n"
        f"  where     {folder / 'a.csv'}\n"
        "  got       Permission denied\n"
        f"  hint      {told.format(folder)}\n"
    )


@pytest.mark.usefixtures("study")
def test_an_error_is_json_where_json_is_asked_for(capsys):
    assert main(["claims", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == "RunError"


@pytest.mark.parametrize("command", sorted(_COMMANDS))
def test_every_help_ends_with_an_example(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"  fieldwork {command}")


def test_the_example_of_run_has_enough_replicates(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "--replicates 500" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"fieldwork {fieldwork.__version__}\n"


@pytest.mark.usefixtures("study")
def test_pruning_says_what_it_takes_and_what_stays(capsys):
    for seed in ("1", "2"):
        assert main(["run", "--seed", seed]) == 0
    capsys.readouterr()
    assert main(["prune"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "taken away: 0 files, 0 MB",
        "kept: 0 MB - what each step made last, and what is younger than 30 days",
    ]
    assert main(["prune", "--older-than", "0", "--dry-run", "--json"]) == 0
    would = json.loads(capsys.readouterr().out)
    assert would["files"] >= 2, "the record of seed 1, and the page that it made"
    assert main(["prune", "--older-than", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == would | {"dry_run": False}
    assert main(["run", "--seed", "2", "--json"]) == 0
    assert '"ran": []' in capsys.readouterr().out
    assert main(["prune", "--older-than", "-1"]) == 2
    assert "expected days from 0, got '-1'" in capsys.readouterr().err


def test_claims_are_a_table_or_json(study, capsys):
    claim = {"id": "H1", "verdict": "not_assessable", "text": "CTOs lead.", "estimate": None, "conf_low": None}
    claim |= {"conf_high": None, "margin": 0.3, "estimand": "difference of means"}
    other = claim | {"id": "H2", "verdict": "supported", "estimate": 1.234, "conf_low": 0.5, "conf_high": 2.0}
    (study / "reports/w1").mkdir(parents=True)
    (study / "reports/w1/claims.json").write_text(json.dumps([claim, other]))
    assert main(["claims"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["H1", "not", "assessable", "0.30", "CTOs", "lead."]
    assert lines[2].split() == ["H2", "supported", "1.23", "[0.50,", "2.00]", "0.30", "CTOs", "lead."]
    assert main(["claims", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1]["id"] == "H2"


def test_a_changed_key_of_pseudonyms_is_noticed_and_never_written(study, capsys, monkeypatch):
    key = study.parent / "settings" / "a.key"
    monkeypatch.setenv("FIELDWORK_KEY", str(key))
    (study / "study.toml").write_text((study / "study.toml").read_text().replace('"simulated"', '"delivered"'))
    graph = study / "notebooks/chapters.toml"
    graph.write_text(graph.read_text().replace('"{raw}"', '"{raw}", "{key}?"'))
    assert main(["run"]) == 0
    first = key.read_text()
    assert main(["run"]) == 0
    assert "1 current" in capsys.readouterr().out
    key.write_text("0123456789abcdef" * 4 + "\n")
    assert main(["explain"]) == 0
    assert "input {key} changed" in capsys.readouterr().out
    assert main(["run"]) == 0
    assert "1 ran" in capsys.readouterr().out
    written = b"".join(path.read_bytes() for path in study.rglob("*") if path.is_file())
    assert b"{key}" in written
    for each in (first, key.read_text()):
        assert each.strip().encode() not in written
        assert bytes.fromhex(each.strip()) not in written


def test_check_tells_every_problem_and_fails_on_errors_alone(study, capsys, monkeypatch):
    found = [Problem("a.csv", 3, "role", "role_unknown", "r1", "CFOO", "did you mean CFO?")]
    monkeypatch.setattr("fieldwork.intake.check_files", lambda *_, **__: found)
    assert main(["check", str(study / "data/raw/w1/a.csv")]) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "error: a.csv, row 3, column role: 'CFOO' role_unknown. did you mean CFO?"
    assert main(["check", "--json", str(study / "data/raw/w1/a.csv")]) == 1
    assert json.loads(capsys.readouterr().out)[0]["rule"] == "role_unknown"
    found[:] = [Problem("a.csv", 0, "x", "unknown_column", severity="warning")]
    assert main(["check", str(study / "data/raw/w1/a.csv")]) == 0
    capsys.readouterr()
    found[:] = [Problem("a.csv", 4, "end", "speeder", "r2", "1.0 minutes", "nothing to mend", severity="quality")]
    assert main(["check", str(study / "data/raw/w1/a.csv")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "quality: a.csv, row 4, column end: '1.0 minutes' speeder. nothing to mend",
        "a.csv: 1 problem (1 quality); nothing was changed",
    ]


def test_ctrl_c_ends_with_a_line_and_no_kernel(study):
    book(study, "import os, time\nopen(study + '/pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    words = [sys.executable, "-m", "fieldwork", "run"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (study / "pid").is_file() or not (study / "pid").read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "interrupted: what was finished is kept, and the next run goes on from there\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((study / "pid").read_text()), 0)
