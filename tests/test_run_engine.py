"""Whole runs of a small study: what runs, what is put back, what a failure leaves, what an end by force leaves.

The study is a chain a -> b -> c and a chapter d of its own, then a call. Its notebooks import next to nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fieldwork.cli import main
from fieldwork.errors import ParameterError, RunError
from fieldwork.provenance import sha256_file
from fieldwork.run import forking, memory, runner, spec
from fieldwork.run.plan import Judge, plan
from fieldwork.run.pruning import prune
from fieldwork.run.store import Store
from tests.small_study import book

HOME = "from pathlib import Path\nhome = Path(study)\ntarget = Path(out or study)"
READ_A = "lines = (home / 'data/raw/w1/a.csv').read_text().split()[1:]"
WRITE = "(target / 'data/processed/w1/{}').write_text({})"

SITE = """
from pathlib import Path

def build(study, wave, out):
    text = (Path(study) / "data/processed" / wave / "c.txt").read_text()
    (Path(out) / "reports" / wave / "index.html").write_text(f"<p>{text}</p>")
    (Path(out) / "reports" / wave / "pages" / f"{len(text)}.html").write_text(text)
"""


def write_books(study):
    a = "made = ','.join(lines * times)\nprint(home, target, len(made))"
    cells = [("code", HOME), ("markdown", "## Reading"), ("code", READ_A), ("code", a)]
    book(study, "a", *cells, ("code", WRITE.format("a.txt", "made")), own="times: int = 1  # how often")
    read = "from toypkg.words import shout\ntext = shout((home / 'data/processed/w1/a.txt').read_text())"
    book(study, "b", ("code", HOME), ("code", read), ("code", WRITE.format("b.txt", "text")))
    read = "text = (home / 'data/processed/w1/b.txt').read_text()"
    book(study, "c", ("code", HOME), ("code", read), ("code", WRITE.format("c.txt", "text[::-1]")))
    book(study, "d", ("code", HOME), ("code", WRITE.format("d.txt", "'d'")))


def entry(name, inputs, outputs, more=""):
    return f'[[chapter]]\nname = "{name}"\ninputs = {json.dumps(inputs)}\noutputs = {json.dumps(outputs)}\n{more}\n'


def write_study(study):
    for folder in ("data/raw/w1", "instruments", "notebooks", "pkg/toypkg"):
        (study / folder).mkdir(parents=True)
    (study / "study.toml").write_text(
        '[study]\nname = "toy"\ntitle = "Toy"\nprovenance = "simulated"\n[waves]\norder = ["w1"]\n'
    )
    (study / "data/raw/w1/a.csv").write_text("x\none\ntwo\n")
    (study / "instruments/claims.toml").write_text("")
    (study / "pkg/toypkg/__init__.py").write_text("")
    (study / "pkg/toypkg/words.py").write_text("def shout(text):\n    return text.upper()\n")
    (study / "pkg/toypkg/site.py").write_text(SITE)
    write_books(study)
    chapters = [
        entry("a", ["{raw}"], ["{processed}/a.txt"]),
        entry("b", ["{processed}/a.txt"], ["{processed}/b.txt"]),
        entry("c", ["{processed}/b.txt"], ["{processed}/c.txt"]),
        entry("d", [], ["{processed}/d.txt"]),
        entry(
            "site", ["{processed}/c.txt"], ["{reports}/index.html", "{reports}/pages/"], 'call = "toypkg.site:build"'
        ),
    ]
    (study / "notebooks/chapters.toml").write_text("\n".join(chapters))


def judge(study, **given):
    places = {"study": study, "wave": "w1", "raw": study / "data/raw/w1", "instruments": study / "instruments"}
    places |= {"processed": study / "data/processed/w1", "reports": study / "reports/w1"}
    pipeline = spec.read(study / "notebooks/chapters.toml", places)
    return Judge(pipeline, Store(study), given, packages={"toypkg": study / "pkg/toypkg"})


def run(study, given=None, **options):
    return runner.run(judge(study, **(given or {})), **options)


def digests(study):
    files = [path for folder in ("data/processed", "reports") for path in (study / folder).rglob("*") if path.is_file()]
    return {path.relative_to(study).as_posix(): sha256_file(path) for path in sorted(files)}


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that has run once, with two workers."""
    study = tmp_path_factory.mktemp("finished") / "study"
    write_study(study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(study / "pkg"))
        result = run(study, workers=2)
    assert result.failures == ()
    assert sorted(result.ran) == ["a", "b", "c", "d", "site"]
    return study


@pytest.fixture
def study(finished, tmp_path, monkeypatch):
    """A copy of the finished study, to be worked on."""
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    monkeypatch.setenv("PYTHONPATH", str(copy / "pkg"))
    return copy


def test_the_first_run_makes_what_is_declared_and_nothing_else(finished):
    assert sorted(digests(finished)) == [
        *(f"data/processed/w1/{name}.txt" for name in "abcd"),
        *(f"reports/w1/chapters/{name}.ipynb" for name in "abcd"),
        "reports/w1/index.html",
        "reports/w1/pages/7.html",
    ]
    assert (finished / "reports/w1/index.html").read_text() == "<p>OWT,ENO</p>"
    page = (finished / "reports/w1/chapters/a.ipynb").read_text()
    assert str(finished) not in page
    assert ".fieldwork" not in page
    assert '". . 7\\n"' in page
    assert list((finished / ".fieldwork/stage").iterdir()) == []


def test_a_second_run_runs_nothing_and_touched_files_run_nothing(study):
    before = digests(study)
    assert run(study).current == ("a", "d", "b", "c", "site")
    for path in study.rglob("*"):
        if path.is_file() and ".fieldwork" not in path.parts:
            path.touch()
    content = json.loads((study / "notebooks/a.ipynb").read_text())
    content["cells"][2] |= {"execution_count": 7, "outputs": [{"output_type": "stream", "name": "stdout", "text": "x"}]}
    (study / "notebooks/a.ipynb").write_text(json.dumps(content))
    result = run(study)
    assert (result.ran, result.restored) == ((), ())
    assert digests(study) == before


def test_the_longest_way_to_the_end_starts_first_by_what_each_step_took(study):
    steps = judge(study).pipeline.steps
    took = {"a": 1.0, "b": 2.0, "c": None, "d": 9.0, "site": 0.5}
    ways = runner.longest_ways(steps, took)
    assert ways == {"a": 8.5, "b": 7.5, "c": 5.5, "d": 9.0, "site": 0.5}
    started = []
    for seconds, order in ((0.0, ["a", "b", "c", "site", "d"]), (60.0, ["d", "a", "b", "c", "site"])):
        store = Store(study)
        for name in "abcd":
            record = store.latest("w1", name)
            store.keep(replace(record, seconds=seconds if name == "d" else 1.0), "ran")
        run(study, force=True, workers=1, on_event=lambda event: event.kind == "started" and started.append(event.step))
        assert started == order
        started.clear()


def test_a_changed_chapter_runs_with_what_follows_and_nothing_else(study):
    edit(study / "notebooks/b.ipynb", "shout((home", "'!' + shout((home")
    states = {unit.step.name: (unit.state, unit.reasons) for unit in plan(judge(study))}
    assert states["b"] == ("stale", ("cell 4 changed",))
    assert states["c"][0] == "waiting"
    assert states["a"][0] == states["d"][0] == "current"
    assert run(study).ran == ("b", "c", "site")
    assert (study / "reports/w1/index.html").read_text() == "<p>OWT,ENO!</p>"
    # The folder of pages holds what this run made; the page of the last one is gone.
    assert [path.name for path in (study / "reports/w1/pages").iterdir()] == ["8.html"]


def test_the_same_bytes_end_the_chain(study):
    edit(study / "notebooks/b.ipynb", "shout((home", "shout('' + (home")
    result = run(study)
    assert result.ran == ("b",)
    assert result.current == ("a", "d", "c", "site")


def test_package_code_counts_and_its_comments_do_not(study):
    words = study / "pkg/toypkg/words.py"
    words.write_text('"""Words."""\n\n\ndef shout(text):\n    """Shout."""\n    return text.upper()  # loud\n')
    assert run(study).ran == ()
    words.write_text("def shout(text):\n    return text.lower()\n")
    assert [unit.reasons for unit in plan(judge(study)) if unit.step.name == "b"] == [("package toypkg.words changed",)]
    assert run(study).ran == ("b", "c", "site")


def test_reworded_prose_renews_the_page_and_runs_nothing(study):
    before = digests(study)
    edit(study / "notebooks/a.ipynb", "## Reading", "## Reading the delivery")
    result = run(study)
    assert (result.ran, result.restored) == ((), ("a",))
    page = study / "reports/w1/chapters/a.ipynb"
    assert "## Reading the delivery" in page.read_text()
    assert '". . 7\\n"' in page.read_text()
    assert [label for label, digest in digests(study).items() if before[label] != digest] == [
        "reports/w1/chapters/a.ipynb"
    ]
    assert run(study).restored == ()


def test_deleted_and_damaged_outputs_are_put_back_without_running(study):
    before = digests(study)
    shutil.rmtree(study / "reports")
    (study / "data/processed/w1/a.txt").unlink()
    (study / "data/processed/w1/b.txt").write_text("by hand")
    states = {unit.step.name: unit for unit in plan(judge(study))}
    assert {name: unit.state for name, unit in states.items()} == dict.fromkeys("abcd", "restorable") | {
        "site": "restorable"
    }
    assert states["b"].reasons[0] == "data/processed/w1/b.txt differs from what was made"
    result = run(study)
    assert result.ran == ()
    assert sorted(result.restored) == ["a", "b", "c", "d", "site"]
    assert digests(study) == before


@pytest.mark.skipif(not shutil.which("git"), reason="needs git, to go from one branch to another and back")
def test_a_checkout_there_and_back_runs_nothing(study):
    def git(*words):
        own = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *own, *words], cwd=study, check=True, capture_output=True)

    before = digests(study)
    (study / ".gitignore").write_text("/.fieldwork\n/data/processed\n/reports\n__pycache__\n")
    git("init", "--initial-branch", "main")
    git("add", "--all")
    git("commit", "--message", "one")
    git("checkout", "-b", "other")
    edit(study / "notebooks/b.ipynb", "shout((home", "'!' + shout((home")
    (study / "data/raw/w1/a.csv").write_text("x\nthree\n")
    git("commit", "--all", "--message", "two")
    git("checkout", "main")
    assert run(study).current == ("a", "d", "b", "c", "site")
    # A run on the other branch takes nothing away either: what was made here is put back.
    git("checkout", "other")
    assert run(study).ran == ("a", "b", "c", "site")
    git("checkout", "main")
    result = run(study)
    assert (result.ran, result.restored) == ((), ("a", "b", "c", "site"))
    assert digests(study) == before


def test_a_lost_copy_is_made_again(study):
    before = digests(study)
    shutil.rmtree(study / ".fieldwork/objects")
    (study / "data/processed/w1/d.txt").unlink()
    assert run(study).ran == ("d",)
    assert digests(study) == before


def test_parameters_switch_there_and_back(study):
    before = digests(study)
    result = run(study, {"times": "2"})
    assert result.ran == ("a", "b", "c", "site")
    assert '"times = 2\\n"' in (study / "reports/w1/chapters/a.ipynb").read_text()
    why = {unit.step.name: unit.reasons for unit in plan(judge(study))}
    assert why["a"] == ("parameter times 2 -> 1, and that result is kept",)
    result = run(study)
    assert (result.ran, result.restored) == ((), ("a", "b", "c", "site"))
    assert digests(study) == before


def age(study, days):
    """Make all that the memory keeps so many days older."""
    for path in (study / ".fieldwork").rglob("*"):
        if path.is_file() and path.parent.name != ".fieldwork":
            past = path.stat().st_mtime - 86_400 * days
            os.utime(path, (past, past))


def kept(study):
    return {path.relative_to(study) for path in (study / ".fieldwork").rglob("*") if path.is_file()}


def test_pruning_takes_what_nobody_goes_back_to_and_nothing_of_today(study):
    run(study, {"times": "2"})
    run(study, {"times": "3"})
    Store(study).keep_value("old", [1])
    today, before = digests(study), kept(study)
    would = prune(Store(study), days=0, dry=True)
    assert (kept(study), would.files > 0, would.left > 0) == (before, True, True)
    assert prune(Store(study), days=0) == would
    gone = before - kept(study)
    assert len(gone) == would.files
    # One and two times each made a, b, c and the site; what d made is what it makes today.
    assert sorted(path.parts[1] for path in gone).count("actions") == 2 * len(("a", "b", "c", "site"))
    assert Path(".fieldwork/values/old.json") in gone
    assert prune(Store(study), days=0).files == 0
    # Nothing of today's is lost: nothing runs, and what is damaged is put back.
    result = run(study, {"times": "3"})
    assert (result.ran, result.restored) == ((), ())
    (study / "data/processed/w1/c.txt").write_text("damaged")
    assert run(study, {"times": "3"}).restored == ("c",)
    assert digests(study) == today
    assert run(study, {"times": "2"}).ran == ("a", "b", "c", "site")


def test_a_pipe_or_a_loop_in_the_place_of_an_output_is_replaced(study):
    before = digests(study)
    path = study / "data/processed/w1/a.txt"
    for put in (os.mkfifo, lambda place: place.symlink_to(place.name)):
        path.unlink()
        put(path)
        result = run(study)
        assert (result.ran, result.restored) == ((), ("a",))
        assert digests(study) == before
        assert not path.is_symlink()


def test_pruning_leaves_what_is_young_or_was_put_back(study):
    run(study, {"times": "2"})
    age(study, 10)
    run(study)
    assert run(study, {"times": "3"}).ran == ("a", "b", "c", "site")
    assert prune(Store(study), days=11).files == 0
    assert prune(Store(study), days=9).files > 0
    assert run(study).restored == ("a", "b", "c", "site"), "put back today"
    assert run(study, {"times": "2"}).ran == ("a", "b", "c", "site"), "made ten days ago"


def test_a_shortened_journal_says_what_the_long_one_said(study):
    for times in "2321":
        run(study, {"times": times})
    edit(study / "notebooks/d.ipynb", "write_text('d')", "write_text(lost)")
    for _ in range(2):
        assert [failure.step for failure in run(study).failures] == ["d"]
    store = Store(study)
    store.begin("w1", "c", ["data/processed/w1/c.txt"])
    journal = study / ".fieldwork/journal.jsonl"

    def said(store):
        of = {step: (store.latest("w1", step), store.seconds("w1", step), store.memory("w1", step)) for step in "abcd"}
        return of, {
            step: (store.failure("w1", step), store.begun("w1", step), store._keys("w1", step)) for step in "abcd"
        }

    before, long = said(Store(study)), len(journal.read_text().splitlines())
    store.shorten()
    assert said(Store(study)) == before
    assert before[1]["d"][0], "the key of the failure"
    assert len(journal.read_text().splitlines()) < long
    # What is forgotten goes with every record of it, also of those that were pruned around.
    prune(store, days=30)
    Store(study).forget("w1", "a")
    assert not [path for path in (study / ".fieldwork/actions").iterdir() if '"step":"a"' in path.read_text()]


def test_only_brings_a_chapter_up_to_date_with_what_it_needs(study):
    for name in "ad":
        edit(study / f"notebooks/{name}.ipynb", "home = Path(study)", "home = Path(study) ")
    result = run(study, only=("b",))
    assert (result.ran, result.current) == (("a",), ("b",))
    assert run(study, only=("d",), force=True).ran == ("d",)


def test_a_failure_names_the_place_and_stops_only_what_follows(study):
    before = digests(study)
    edit(study / "notebooks/a.ipynb", "print(home, target, len(made))", "1 / 0")
    edit(study / "notebooks/d.ipynb", "home = Path(study)", "home = Path(study) ")
    result = run(study, {"times": "3"})
    assert result.ran == ("d",)
    assert result.skipped == {"b": "a", "c": "a", "site": "a"}
    (failure,) = result.failures
    assert failure.error.title == "chapter a stopped at ZeroDivisionError: division by zero"
    assert failure.place == "notebooks/a.ipynb, cell 6 under 'Reading', line 2"
    assert failure.source == "1 / 0"
    assert str(failure).splitlines()[-1] == "  see       .fieldwork/failed/w1/a.ipynb"
    assert "with      wave = 'w1', times = 3" in str(failure)
    assert "ZeroDivisionError" in (study / failure.copy).read_text()
    # Nothing half-written: the outputs are those of the last success.
    after = digests(study)
    assert {label for label, digest in after.items() if before[label] != digest} == {"reports/w1/chapters/d.ipynb"}
    assert list((study / ".fieldwork/stage").iterdir()) == []
    write_books(study)
    assert run(study).failures == ()


def test_an_error_of_ours_is_told_in_its_own_words(study):
    told = "from fieldwork.errors import DataError\nraise DataError('no role', where='a.csv, row 3', expected='CEO', got='', hint='fill it')"
    edit(study / "notebooks/d.ipynb", json.dumps(HOME), json.dumps(told))
    (failure,) = run(study, only=("d",)).failures
    assert str(failure) == (
        "DataError: no role\n  where     a.csv, row 3\n  expected  CEO\n  hint      fill it\n"
        "  chapter   notebooks/d.ipynb, cell 3 under 'Chapter d', line 2\n"
        "  line      raise DataError('no role', where='a.csv, row 3', expected='CEO', got='', hint='fill it')\n"
        "  with      wave = 'w1'\n  see       .fieldwork/failed/w1/d.ipynb"
    )


def test_a_dead_kernel_is_a_failure_and_not_a_success(study):
    killing = HOME + "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    edit(study / "notebooks/d.ipynb", json.dumps(HOME), json.dumps(killing))
    (failure,) = run(study, only=("d",)).failures
    assert failure.error.title == "the chapter's process ended before its last cell"
    assert failure.error.where == "notebooks/d.ipynb, cell 3 under 'Chapter d'"


def test_a_failing_call_is_told_by_its_place(study):
    edit(study / "pkg/toypkg/site.py", "text = (", "raise KeyError('x')\n    text = (")
    (failure,) = run(study).failures
    assert failure.error.title == "step site stopped at KeyError: 'x'"
    assert failure.place == "toypkg.site:build (site.py, line 5)"
    assert failure.source == "raise KeyError('x')"


@pytest.mark.parametrize("isolated", [False, True])
def test_a_call_that_is_killed_is_a_failure_and_a_forked_one_too(study, isolated):
    said = "import os, signal\n    print('the last words', flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n    text = ("
    edit(study / "pkg/toypkg/site.py", "text = (", said)
    (failure,) = run(study, isolated=isolated).failures
    assert failure.error.title == "the step's process ended before its function did"
    assert failure.error.hint == "the last words"


@pytest.mark.skipif(not forking.possible(), reason="forks on Linux only")
def test_a_call_is_forked_from_the_server_of_kernels_unless_it_is_to_be_isolated(study):
    said = "import os\n    raise KeyError(os.getppid())\n    text = ("
    edit(study / "pkg/toypkg/site.py", "text = (", said)
    parents = [
        run(study, isolated=isolated, force=True).failures[0].error.title.split()[-1] for isolated in (False, True)
    ]
    assert parents == [str(forking._running.pid), str(os.getpid())]


@pytest.mark.parametrize(
    ("old", "new", "title", "got"),
    [
        ("w1/d.txt", "w1/e.txt", "the chapter wrote a file that it does not declare", "data/processed/w1/e.txt"),
        ("(target / ", "len(str(home / ", "", ""),
        ("target = Path(out or study)", "target = Path(out)\\nopen('stray', 'w').close()", "does not declare", "stray"),
    ],
)
def test_what_is_declared_and_what_is_made_must_agree(study, old, new, title, got):
    if not title:
        edit(study / "notebooks/d.ipynb", WRITE.format("d.txt", "'d'"), "pass")
        title, got = "did not make an output", "no data/processed/w1/d.txt"
    else:
        edit(study / "notebooks/d.ipynb", old, new)
    (failure,) = run(study, only=("d",)).failures
    assert title in failure.error.title
    assert failure.error.got == got
    assert not (study / "data/processed/w1/e.txt").exists()


def test_an_input_that_changes_meanwhile_is_not_recorded(study):
    changing = "from pathlib import Path\n(Path(study) / 'data/raw/w1/a.csv').write_text('x\\nthree\\n')\n" + HOME
    edit(study / "notebooks/a.ipynb", json.dumps(HOME), json.dumps(changing))
    (failure,) = run(study, only=("a",)).failures
    assert failure.error.title == "an input changed while the chapter was running"


def test_one_worker_and_two_make_the_same_bytes(finished, tmp_path, monkeypatch):
    study = tmp_path / "study"
    write_study(study)
    monkeypatch.setenv("PYTHONPATH", str(study / "pkg"))
    run(study, workers=1)
    assert digests(study) == digests(finished)


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_chapter_is_told_how_many_processes_it_may_keep_busy(study, isolated, workers):
    edit(study / "notebooks/d.ipynb", "write_text('d')", "write_text(__import__('os').environ['FIELDWORK_WORKERS'])")
    assert run(study, isolated=isolated, workers=workers).failures == ()
    assert (study / "data/processed/w1/d.txt").read_text() == str(workers)


@pytest.mark.parametrize("isolated", [False, True])
def test_what_a_chapter_keeps_for_a_while_goes_with_it_also_when_it_is_killed(study, tmp_path, monkeypatch, isolated):
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setattr("tempfile.tempdir", None)
    made = "__import__('tempfile').mkdtemp(prefix='left-')"
    edit(study / "notebooks/d.ipynb", "write_text('d')", f"write_text({made})")
    assert run(study, isolated=isolated).failures == ()
    place = Path((study / "data/processed/w1/d.txt").read_text())
    assert place.name.startswith("left-")
    assert not place.exists()
    edit(study / "notebooks/d.ipynb", made, f"{made} + __import__('os').kill(__import__('os').getpid(), 9)")
    assert [failure.step for failure in run(study, isolated=isolated).failures] == ["d"]
    assert not [*Path("/tmp").glob("fw-*/left-*"), *(tmp_path / "t").rglob("left-*")]  # noqa: S108 - where sockets are


def overlapping(study, **options):
    """Run all again with two workers; the pairs of chapters that were under way at one time, and what was told to wait."""
    under_way, pairs, told = set(), set(), []

    def listen(event):
        if event.kind == "started":
            pairs.update(tuple(sorted((event.step, other))) for other in under_way)
            under_way.add(event.step)
        elif event.kind == "done":
            under_way.discard(event.step)
        elif event.kind == "waiting":
            told.append((event.step, event.text))

    assert run(study, force=True, workers=2, on_event=listen, **options).failures == ()
    return pairs, told


def test_chapters_run_side_by_side_only_while_memory_holds_both(study):
    store = Store(study)
    held = {name: store.memory("w1", name) for name in "abcd"}
    assert min(held.values()) > 30 << 20, "a kernel holds an interpreter, and says so"
    assert store.memory("w1", "site") == 0
    before = digests(study)
    pairs, told = overlapping(study)
    assert pairs, "two workers have two chapters under way where memory is no matter"
    assert told == []
    pairs, told = overlapping(study, memory_limit=held["d"] + 1)
    assert pairs == set()
    assert re.fullmatch(r"it held \d+ MB, and \d+ MB are left", told[0][1])
    assert len(told) == len({step for step, _ in told}), "each is told of once"
    assert digests(study) == before
    # One that needs more than there is runs, and alone.
    for name, size in (("a", 50), ("b", 50), ("c", 50), ("d", 3000)):
        Store(study).keep(replace(Store(study).latest("w1", name), memory=size << 20, seconds=1.0), "ran")
    assert not any("d" in pair for pair in overlapping(study, memory_limit=2 << 30)[0])


def test_a_chapter_that_never_ran_waits_for_as_much_as_another_one_has_held(tmp_path, monkeypatch):
    study = tmp_path / "study"
    write_study(study)
    monkeypatch.setenv("PYTHONPATH", str(study / "pkg"))
    with (study / "notebooks/chapters.toml").open("a") as file:
        for name in ("e", "f"):
            book(study, name, ("code", HOME), ("code", WRITE.format(f"{name}.txt", "'x'")))
            file.write(entry(name, ["{processed}/a.txt"], [f"{{processed}}/{name}.txt"]))
    told = overlapping(study, memory_limit=1 << 20)[1]
    assert any(text.startswith("it may need as much as another chapter, ") for _, text in told)
    # Small ones do not wait for a large one that goes before them.
    for name in "abcdef":
        size = 3000 if name == "b" else 50
        Store(study).keep(replace(Store(study).latest("w1", name), memory=size << 20, seconds=1.0), "ran")
    pairs = overlapping(study, memory_limit=2 << 30)[0]
    assert pairs
    assert not any("b" in pair for pair in pairs)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"meminfo": "MemTotal: 9 kB\nMemAvailable:    2048 kB\n"}, 2 << 20),
        ({"meminfo": "MemAvailable: 2048 kB\n", "memory.max": "max\n", "memory.current": "5\n"}, 2 << 20),
        ({"meminfo": "MemAvailable: 2048 kB\n", "memory.max": "1000", "memory.current": "900"}, 100),
        (
            {"meminfo": "MemAvailable: 2048 kB\n", "memory.max": "1000", "memory.current": "900",
             "memory.stat": "file 800\ninactive_file 700\n"},
            800,
        ),
        ({"meminfo": "MemAvailable: 2048 kB\n", "memory.max": "1000", "memory.current": "1200"}, 0),
    ],
)  # fmt: skip
def test_memory_is_what_the_machine_or_its_container_has_left(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert memory.available(tmp_path, tmp_path) == expected


def test_a_size_of_memory_is_read_and_told():
    assert memory.size("6G") == memory.size("6 gib") == 6 << 30
    assert memory.size("1.5GB") == 3 << 29
    for text in ("6", "G", "0G", "-1G", "6T"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a size as 6G or 800M"):
            memory.size(text)
    assert memory.amount(700 << 20) == "700 MB"
    assert memory.peak(2**22 + 1) == 0, "no such process"


@pytest.fixture
def parted(study):
    """The study with a chapter in two parts, which another one reads."""
    say = "(target / f'data/processed/w1/p_{part}/said.txt').write_text(part + suffix)"
    book(study, "p", ("code", HOME), ("code", say), own='part: str = ""  # the part\nsuffix: str = "."  # at the end')
    read = "text = ''.join((home / f'data/processed/w1/p_{part}/said.txt').read_text() for part in ('x', 'y'))"
    book(study, "q", ("code", HOME), ("code", read), ("code", WRITE.format("q.txt", "text")))
    with (study / "notebooks/chapters.toml").open("a") as file:
        file.write(entry("p", ["{raw}"], ["{processed}/p_{part}/"], 'parts = ["x", "y"]'))
        file.write(entry("q", ["{processed}/p_x", "{processed}/p_y"], ["{processed}/q.txt"]))
    return study


def test_parts_run_by_themselves_and_what_reads_them_follows(parted):
    result = run(parted, workers=2)
    assert result.failures == ()
    assert sorted(result.ran) == ["p_x", "p_y", "q"]
    assert (parted / "data/processed/w1/q.txt").read_text() == "x.y."
    assert run(parted).ran == ()
    pages = {name: (parted / f"reports/w1/chapters/{name}.ipynb").read_text() for name in ("p_x", "p_y")}
    assert 'part = \\"x\\"' in pages["p_x"]
    assert 'part = \\"y\\"' in pages["p_y"]
    # One lost with its copy is made again, alone; a parameter reaches both, and none may be told another part.
    shutil.rmtree(parted / "data/processed/w1/p_y")
    shutil.rmtree(parted / ".fieldwork/objects")
    assert "p_y" in (ran := run(parted, only=("q",)).ran)
    assert "p_x" not in ran
    assert run(parted, {"suffix": "!"}, only=("q",)).ran[-1] == "q"
    assert sorted(run(parted, {"suffix": "!"}, only=("p",), force=True).ran) == ["p_x", "p_y"]
    with pytest.raises(ParameterError, match="no chapter has a parameter 'part'"):
        run(parted, {"part": "x"})


def test_a_chapter_in_parts_is_explained_part_by_part(parted, capsys):
    run(parted)
    assert main(["explain", "p", "--study", str(parted)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said if not line.startswith(" ")] == ["p_x", "p_y"]
    assert any("data/processed/w1/p_y/said.txt" in line for line in said)
    assert main(["explain", "p", "--json", "--study", str(parted)]) == 0
    assert [part["chapter"] for part in json.loads(capsys.readouterr().out)] == ["p_x", "p_y"]
    assert main(["explain", "p_y", "--json", "--study", str(parted)]) == 0
    assert json.loads(capsys.readouterr().out)["chapter"] == "p_y"


def test_plain_papermill_makes_the_same_outputs(study, tmp_path):
    before = digests(study)
    words = [
        sys.executable,
        "-m",
        "papermill",
        "a.ipynb",
        str(tmp_path / "a.ipynb"),
        "-p",
        "out",
        str(tmp_path),
        "-p",
        "wave",
        "w1",
    ]
    (tmp_path / "data/processed/w1").mkdir(parents=True)
    subprocess.run(words, cwd=study / "notebooks", check=True, capture_output=True)
    assert sha256_file(tmp_path / "data/processed/w1/a.txt") == before["data/processed/w1/a.txt"]


def test_two_runs_at_once_the_second_names_the_holder(study):
    with Store(study).lock(), pytest.raises(RunError) as caught:
        run(study)
    assert caught.value.title == "another run is at work on this study"
    assert f"process {os.getpid()} on " in caught.value.got
    assert run(study).failures == ()


def test_a_patient_run_starts_when_the_other_one_has_ended(study):
    had = threading.Event()

    def hold():
        with Store(study).lock(patient=True):
            had.set()

    with Store(study).lock():
        second = threading.Thread(target=hold)
        second.start()
        assert not had.wait(0.2)
    second.join(timeout=20)
    assert had.is_set()


def test_the_manifest_of_a_run_is_that_of_a_run_with_nothing_to_do(study):
    """`pages.html` stands before `pages/` among texts, and after it among paths."""
    edit(study / "notebooks/chapters.toml", '"{reports}/index.html"', '"{reports}/index.html", "{reports}/pages.html"')
    more = '    (Path(out) / "reports" / wave / "pages.html").write_text(text)\n'
    edit(study / "pkg/toypkg/site.py", "    (Path(out)", f"{more}    (Path(out)")
    done = judge(study)
    assert runner.run(done).ran == ("site",)
    first = runner.manifest(done).read_bytes()
    assert runner.manifest(judge(study)).read_bytes() == first


def test_the_manifest_names_every_output_and_no_machine(study):
    path = runner.manifest(judge(study))
    text = path.read_text()
    assert json.loads(text)["outputs"] == {
        label: d for label, d in digests(study).items() if label != "reports/w1/manifest.json"
    }
    assert str(study) not in text
    assert not re.search(r"\d\d:\d\d:\d\d", text)


# Ended by force


def slow(study):
    """Make b wait after it has written half of its output."""
    half = "(target / 'data/processed/w1/b.txt').write_text('half')\nimport time\ntime.sleep(60)\n" + WRITE.format(
        "b.txt", "text"
    )
    edit(study / "notebooks/b.ipynb", json.dumps(WRITE.format("b.txt", "text")), json.dumps(half))


def started(study):
    """Start a run in a process of its own and return it once b has written its half."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "import importlib.util as u; s = u.spec_from_file_location('engine', sys.argv[1]); m = u.module_from_spec(s)\n"
        "s.loader.exec_module(m); m.run(Path(sys.argv[3]))"
    )
    words = [sys.executable, "-c", code, __file__, str(study / "pkg"), str(study)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not list((study / ".fieldwork/stage").glob("*/data/processed/w1/b.txt")):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


KERNEL = re.compile(rb"ipykernel|fieldwork\.run\.forking")


def kernels(study):
    """Process ids of kernels that work in this study."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(study) in str((folder / "cwd").readlink()) and KERNEL.search((folder / "cmdline").read_bytes()):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc to find the kernels of a killed run")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_leaves_no_half_file_and_the_next_one_goes_on(study, how):
    before = digests(study)
    edit(study / "notebooks/a.ipynb", "home = Path(study)", "home = Path(study) ")
    slow(study)
    process = started(study)
    assert len(kernels(study)) == 1
    process.send_signal(how)
    process.wait(timeout=20)
    if how == signal.SIGINT:
        assert kernels(study) == []
    assert (study / "data/processed/w1/b.txt").read_text() == "ONE,TWO"
    write_books(study)
    edit(study / "notebooks/a.ipynb", "home = Path(study)", "home = Path(study) ")
    result = run(study)
    # What was finished before the end is not run again.
    assert (result.ran, result.failures) == ((), ())
    after = digests(study)
    assert {label for label in after if before[label] != after[label]} == {"reports/w1/chapters/a.ipynb"}
    deadline = time.monotonic() + 15
    while kernels(study) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert kernels(study) == []


def test_what_two_or_more_notebooks_of_a_run_import_is_loaded_once_most_used_first(study):
    for name, code in {
        "a": "import fieldwork.tables\nimport json, numpy",
        "b": "from fieldwork.chapter import Chapter\nimport json",
        "c": "from fieldwork import chapter\nfrom fieldwork.chapter import Chapter\nimport fieldwork.tables",
        "d": "def later():\n    import fieldwork.weight\nfrom fieldwork.weight import Weights\nimport fieldwork.tables",
    }.items():
        book(study, name, ("code", HOME), ("code", code), own="times: int = 1  # how often" if name == "a" else "")
    steps = judge(study).pipeline.steps
    shared = {begun: runner.shared_modules(steps, {*begun}) for begun in ("a", "b", "c", "d", "ad", "")}
    assert shared["ad"] == ("fieldwork.tables", "fieldwork.chapter")
    assert shared["a"] == ("fieldwork.chapter", "fieldwork.tables"), "what follows from it runs too"
    assert shared["b"] == ("fieldwork.chapter",)
    assert shared["c"] == shared["d"] == shared[""] == ()
