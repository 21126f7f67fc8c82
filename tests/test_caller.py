"""A process that calls functions: their results, their errors, its end, and what it leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fieldwork.errors import DataError, RunError
from fieldwork.run.caller import Caller
from fieldwork.run.crew import Local
from fieldwork.run.processes import Processes
from fieldwork.run.store import Store

FUNCTIONS = """
import os, signal, sys, tempfile
from fieldwork.errors import DataError

calls = 0

def echo(**given):
    global calls
    calls += 1
    print("a word that is no answer")
    os.write(1, b"nor is this")
    return {"calls": calls, "process": os.getpid(), **given}

def around():
    return [os.environ["TZ"], os.environ["PYTHONHASHSEED"], os.environ["OPENBLAS_NUM_THREADS"], tempfile.mkdtemp()]

def own():
    raise DataError("a fault", where="a file", expected="one", got="two", hint="mend it")

def foreign():
    return 1 / 0

def full():
    raise OSError(28, "No space left on device", "a file")

def killed():
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def left():
    sys.exit("enough")
"""


@pytest.fixture
def caller(tmp_path, monkeypatch):
    (tmp_path / "toy_functions.py").write_text(FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Caller(Processes())
    yield made
    made.end()


def test_one_process_answers_call_after_call(caller):
    first = caller.call("one", "toy_functions:echo", {"word": "één"})
    assert first == {"calls": 1, "process": first["process"], "word": "één"}
    assert caller.call("two", "toy_functions:echo", {}) == {"calls": 2, "process": first["process"]}
    assert first["process"] != os.getpid()


def test_errors_come_as_they_were_raised_and_the_process_goes_on(caller):
    own = caller.call("one", "toy_functions:own", {})
    assert type(own) is DataError
    assert own.as_dict() == DataError("a fault", where="a file", expected="one", got="two", hint="mend it").as_dict()
    foreign = caller.call("the study of seed 3", "toy_functions:foreign", {})
    assert foreign.title == "the study of seed 3 stopped at ZeroDivisionError: division by zero"
    assert "return 1 / 0" in foreign.__notes__[0]
    assert caller.call("one", "toy_functions:full", {}).title == "the disk is full"
    assert "no attribute" in caller.call("one", "toy_functions:none", {}).title
    assert caller.call("one", "toy_functions:echo", {})["calls"] == 1


@pytest.mark.parametrize(("function", "got"), [("killed", "signal 9: last words"), ("left", "exit code 1: enough")])
def test_the_end_of_the_process_is_an_error_of_its_call_alone(caller, function, got):
    error = caller.call("the study of seed 3", f"toy_functions:{function}", {})
    assert isinstance(error, RunError)
    assert (error.title, error.where, error.got) == (
        "a process ended in the midst of its work", "the study of seed 3", got,
    )  # fmt: skip
    assert caller.call("one", "toy_functions:echo", {})["calls"] == 1


def test_its_surroundings_are_those_of_a_chapter_and_its_folder_goes_with_it(caller):
    *around, folder = caller.call("one", "toy_functions:around", {})
    assert around == ["UTC", "0", "1"]
    assert Path(folder).is_dir()
    caller.end()
    assert not Path(folder).exists()


@pytest.mark.usefixtures("caller")
def test_the_threads_of_this_machine_have_a_process_each(tmp_path):
    crew = Local(Store(tmp_path), 2)
    try:
        calls = [crew.call("one", "toy_functions:echo", {"number": number}) for number in range(6)]
        made = [call.result() for call in calls]
    finally:
        crew.end()
    assert [each["number"] for each in made] == list(range(6))
    assert len({each["process"] for each in made}) <= 2
    for each in made:
        with pytest.raises(ProcessLookupError):
            os.kill(each["process"], 0)


class TestKeptValues:
    def test_a_value_comes_back_and_a_damaged_or_foreign_one_does_not(self, tmp_path):
        store = Store(tmp_path)
        assert store.value("a") is None
        store.keep_value("a", {"n": [1, None, 0.1 + 0.2]})
        assert store.value("a") == {"n": [1, None, 0.1 + 0.2]}
        path = tmp_path / ".fieldwork/values/a.json"
        whole = path.read_text()
        (tmp_path / ".fieldwork/values/b.json").write_text(whole)
        assert store.value("b") is None
        for text in (whole[:-9], whole.replace("[1,", "[2,"), "[]", "", json.dumps({"key": "a"}), "\x00"):
            path.write_text(text)
            assert store.value("a") is None

    def test_nothing_is_kept_where_nothing_may_be_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr("fieldwork.run.store.os.access", lambda *_: False)
        Store(tmp_path).keep_value("a", 1)
        assert list(tmp_path.iterdir()) == []
