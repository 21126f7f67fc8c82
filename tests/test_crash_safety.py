"""A run that is killed, starved of room, raced or lied to: nothing half-written is trusted, and the next run heals it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fieldwork import provenance
from fieldwork.cli import main
from fieldwork.errors import RunError
from fieldwork.provenance import Memo, sha256_file
from fieldwork.run import crew, runner
from fieldwork.run.store import Store
from fieldwork.simulate import folder
from tests import crashing
from tests.crashing import FIRST, SECOND, deliver, digests, false_lines, fault, full, in_child, killed, litter, run


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """A study that has run on the first delivery, and what is published on either delivery."""
    study = crashing.write_study(tmp_path_factory.mktemp("states") / "study")
    with pytest.MonkeyPatch.context() as patch:
        crashing.in_process(patch, study)
        virgin = Path(shutil.copytree(study, study.parent / "virgin"))
        assert run(study) == 0
        first = digests(study)
        other = Path(shutil.copytree(study, study.parent / "other"))
        deliver(other, SECOND)
        assert run(other) == 0
    second = digests(other)
    assert set(first) ^ set(second)
    return virgin, study, first, second


@pytest.fixture
def study(states, tmp_path, monkeypatch):
    """A copy of the study that has run on the first delivery."""
    copy = Path(shutil.copytree(states[1], tmp_path / "study"))
    crashing.in_process(monkeypatch, copy)
    return copy


def whole(study, *allowed):
    """Every published file is one of those that a whole run makes, and no manifest says what is not so."""
    wrong = [label for label, digest in digests(study).items() if digest not in {each.get(label) for each in allowed}]
    return not wrong and not false_lines(study)


# Kills and full disks at every call that changes a file


EVERY = [7, pytest.param(1, marks=pytest.mark.slow)]


def sweep(states, tmp_path, patch, act, attempt, every):
    """Try a fault at each n-th call of a run on the second delivery, and on the first one of a study that never ran."""
    virgin, finished, first, second = states
    tried = 0
    for before, delivery, allowed in ((finished, SECOND, (first, second)), (virgin, FIRST, (first,))):
        for at in range(1, 1000, every):
            study = Path(shutil.copytree(before, tmp_path / f"{before.name}-{at}"))
            deliver(study, delivery)
            crashing.in_process(patch, study)
            with fault(patch, at, act) as calls:
                reached = attempt(study, calls, at)
            if not reached:
                break
            tried += 1
            assert (study / "data/raw/w1/a.csv").read_text() == delivery
            assert whole(study, *allowed), (before.name, at)
            yield study, delivery, at
            shutil.rmtree(study)
        else:
            pytest.fail("a run does not end")
    assert tried > 150 / every


@pytest.mark.parametrize("every", EVERY)
def test_a_run_killed_at_any_call_is_healed_by_the_next(every, states, tmp_path, monkeypatch, capsys):
    _, _, first, second = states

    def attempt(study, _calls, _at):
        return in_child(lambda: run(study)) == signal.SIGKILL

    for study, delivery, at in sweep(states, tmp_path, monkeypatch, killed, attempt, every):
        assert run(study) == 0, capsys.readouterr().err
        assert digests(study) == (second if delivery == SECOND else first), at
        assert false_lines(study) == []
        assert litter(study) == []


@pytest.mark.parametrize("every", EVERY)
def test_what_a_killed_run_published_goes_when_the_old_delivery_comes_back(every, states, tmp_path, monkeypatch):
    _, _, first, _ = states

    def attempt(study, _calls, _at):
        return in_child(lambda: run(study)) == signal.SIGKILL

    for study, delivery, at in sweep(states, tmp_path, monkeypatch, killed, attempt, every):
        if delivery == SECOND:
            deliver(study, FIRST)
            assert run(study) == 0
            assert digests(study) == first, at


@pytest.mark.parametrize("every", EVERY)
def test_a_full_disk_at_any_call_is_told_and_healed_by_the_next_run(every, states, tmp_path, monkeypatch, capsys):
    _, _, first, second = states
    met = []

    def attempt(study, calls, at):
        met.append(run(study))
        return len(calls) >= at

    for study, delivery, at in sweep(states, tmp_path, monkeypatch, full, attempt, every):
        said = capsys.readouterr().err
        if met[-1]:
            assert met[-1] == 1
            assert "the disk is full" in said, said
            assert "hint      free some room" in said
            assert "Traceback" not in said
        else:
            assert said == ""
        assert run(study) == 0
        assert digests(study) == (second if delivery == SECOND else first), at
        assert litter(study) == []
    assert met.count(1) > 100 / every


@pytest.mark.parametrize("at", range(1, 24, 3))
def test_a_full_disk_is_told_with_the_file_that_had_no_room(study, monkeypatch, capsys, at):
    deliver(study, SECOND)
    flushes = []

    def flush(_):
        flushes.append(1)
        if len(flushes) >= at:
            full("fsync")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", flush)
        assert run(study) == 1
    said = capsys.readouterr().err
    assert "the disk is full" in said
    assert f"where     {study}/" in said
    assert run(study) == 0


def test_a_failing_run_leaves_no_manifest_that_is_not_true(study, capsys):
    assert (study / "reports/w1/manifest.json").is_file()
    deliver(study, SECOND)
    chapters = study / "notebooks/chapters.toml"
    chapters.write_text(
        chapters.read_text().replace('"{reports}/pages/"', '"{reports}/pages/", "{reports}/missing.html"')
    )
    sys.modules.pop("crashing_calls", None)
    assert run(study) == 1
    assert "pages" in capsys.readouterr().err
    assert false_lines(study) == []


def test_a_manifest_names_no_file_that_is_not_there(study):
    (study / "reports/w1/count.txt").unlink()
    assert run(study, "--only", "clean") == 0
    assert false_lines(study) == []
    assert run(study) == 0
    told = json.loads((study / "reports/w1/manifest.json").read_text())["outputs"]
    assert "reports/w1/count.txt" in told


# Two runs at once


def test_the_lock_is_held_from_the_first_look_to_the_manifest(study, monkeypatch):
    told = []

    def manifest(judge):
        with pytest.raises(RunError) as caught, Store(study).lock():
            pass
        told.append(caught.value.got)
        return real(judge)

    real = runner.manifest
    monkeypatch.setattr(runner, "manifest", manifest)
    deliver(study, SECOND)
    assert run(study) == 0
    assert told[0].startswith(f"process {os.getpid()} on ")


HOLD = (
    "import sys, time; from pathlib import Path; from fieldwork.run.store import Store\n"
    "with Store(Path(sys.argv[1])).lock():\n    print('held', flush=True); time.sleep(60)"
)


def test_a_dead_holders_lock_is_taken_over(study, capsys):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(study)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert run(study) == 1
    said = capsys.readouterr().err
    assert "another run is at work on this study" in said
    assert f"process {holder.pid} on " in said
    assert " since 20" in said
    holder.kill()
    holder.wait()
    assert f"process {holder.pid} " in (study / ".fieldwork/lock").read_text()
    assert run(study) == 0


def test_a_lock_that_is_a_link_is_not_followed(study, tmp_path, capsys):
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    (study / ".fieldwork/lock").unlink(missing_ok=True)
    (study / ".fieldwork/lock").symlink_to(precious)
    assert run(study) == 1
    assert ".fieldwork/lock" in capsys.readouterr().err
    assert precious.read_text() == "mine"


# Deliveries that vanish or change, a notebook that changes


def meddle(study, what, step="clean"):
    """Let something happen after a step has read its inputs."""
    calls = study / "pkg/crashing_calls.py"
    head, body = calls.read_text().split(f"def {step}(study, wave, out):\n")
    first, rest = body.split("\n", 1)
    calls.write_text(f"{head}def {step}(study, wave, out):\n{first}\n    {what}\n{rest}")
    sys.modules.pop("crashing_calls", None)


RAW = "(Path(study) / 'data/raw' / wave / 'a.csv')"


@pytest.mark.parametrize(
    ("what", "title"),
    [
        (f"{RAW}.unlink()", "an input changed while the chapter was running"),
        ("import shutil; shutil.rmtree(Path(study) / 'data/raw')", "an input is missing"),
        (f"{RAW}.write_text('x\\nlater\\n')", "an input changed while the chapter was running"),
    ],
)
def test_a_delivery_that_vanishes_or_changes_while_it_is_read_is_told_and_not_recorded(study, capsys, what, title):
    deliver(study, SECOND)
    meddle(study, what)
    before = digests(study)
    assert run(study) == 1
    said = capsys.readouterr().err
    assert title in said
    assert "chapter clean" in said
    assert {k: v for k, v in digests(study).items() if k in before} == {
        k: v for k, v in before.items() if not k.endswith("manifest.json") or k in digests(study)
    }
    assert false_lines(study) == []


def test_a_delivery_that_changes_after_it_was_read_is_told_at_the_end(study, capsys):
    deliver(study, SECOND)
    meddle(study, f"{RAW}.write_text('x\\nlater\\n')", step="pages")
    assert run(study) == 1
    said = capsys.readouterr().err
    assert "an input changed after the chapter had read it" in said
    assert "chapter clean" in said
    assert "data/raw/w1/a.csv" in said
    assert not (study / "reports/w1/manifest.json").is_file()
    assert run(study, "--only", "clean") == 0


def test_a_delivery_that_vanishes_while_it_is_hashed_is_told(study, capsys, monkeypatch):
    def vanishing(self, path):
        if path.name == "a.csv":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return real(self, path)

    real = Memo.sha256
    monkeypatch.setattr(Memo, "sha256", vanishing)
    assert run(study) == 1
    said = capsys.readouterr().err
    assert "a file vanished while it was read" in said
    assert "a.csv" in said
    assert "hint" in said


# Damage


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"", b"[]", b'{"outputs": 3}'])
def test_a_damaged_record_is_no_record(study, damage):
    before = digests(study)
    for path in (study / ".fieldwork/actions").iterdir():
        path.write_bytes(damage)
    assert run(study) == 0
    assert digests(study) == before


@pytest.mark.parametrize(
    "damage", [b"\xff\n", b"3\n", b'{"step": ["a"], "wave": "w1", "key": 1, "how": "ran", "seconds": 1}\n']
)
def test_a_damaged_journal_is_read_as_far_as_it_goes(study, damage):
    path = study / ".fieldwork/journal.jsonl"
    path.write_bytes(damage + path.read_bytes() + damage[:-1])
    before = digests(study)
    assert run(study) == 0
    assert digests(study) == before


@pytest.mark.parametrize(
    "damage", [b'{"stats": {"a": 3}, "facts": {}}', b"\xff", b'{"stats": {}, "facts": {"code": 3}}']
)
def test_a_damaged_memo_costs_time_and_nothing_else(study, damage):
    (study / ".fieldwork/stat.json").write_bytes(
        damage.replace(b'"a"', json.dumps(str(study / "data/raw/w1/a.csv")).encode())
    )
    before = digests(study)
    assert run(study) == 0
    assert digests(study) == before


def test_a_damaged_copy_of_the_same_size_is_made_good(study):
    before = digests(study)
    for path in (study / ".fieldwork/objects").glob("*/*"):
        size = path.stat().st_size
        path.chmod(0o600)
        path.write_bytes(b"\0" * size)
    shutil.rmtree(study / "reports/w1/parts")
    assert run(study) == 0
    assert digests(study) == before
    shutil.rmtree(study / "reports/w1/parts")
    log = study / ".fieldwork/journal.jsonl"
    assert run(study) == 0
    assert digests(study) == before
    assert json.loads(log.read_text().splitlines()[-1])["how"] in {"restored", "current"}


def test_damaged_results_are_put_back_and_told(study, capsys):
    before = digests(study)
    (study / "reports/w1/manifest.json").write_bytes(b"\xff\xfe")
    assert run(study) == 0
    assert digests(study) == before
    (study / "reports/w1/claims.json").write_bytes(b'[{"id": "H1"')
    assert main(["claims", "--study", str(study)]) == 1
    assert "claims.json" in capsys.readouterr().err.split("hint")[0]


# Folders that cannot be written


@pytest.mark.parametrize("folder", ["data/processed/w1", "reports/w1", "reports"])
def test_folders_that_cannot_be_written_are_told_before_anything_runs(study, capsys, monkeypatch, folder):
    deliver(study, SECOND)
    shut = study / folder
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not (Path(path) == shut and mode & os.W_OK) and real(path, mode)
    )
    if folder == "reports":
        shutil.rmtree(study / "reports/w1")
    monkeypatch.setattr(crew, "work", lambda *_: pytest.fail("a chapter ran"))
    assert run(study) == 1
    said = capsys.readouterr().err
    assert "the results cannot be written" in said
    assert f"make {shut} writable" in said


# Clocks


@pytest.mark.parametrize("stamp", [0, 4_102_444_800])
def test_time_stamps_of_any_age_change_nothing(study, stamp):
    before = digests(study)
    for path in (study / "data").rglob("*"):
        os.utime(path, (stamp, stamp))
    lines = (study / ".fieldwork/journal.jsonl").read_text()
    assert run(study) == 0
    assert digests(study) == before
    assert (study / ".fieldwork/journal.jsonl").read_text() == lines


@pytest.mark.parametrize("jump", [-(10**18), 10**18])
def test_a_clock_that_jumps_hides_no_change(tmp_path, monkeypatch, jump):
    file = tmp_path / "a.csv"
    file.write_text("one")
    real = time.time_ns
    memo = Memo(tmp_path / "stat.json")
    monkeypatch.setattr(provenance.time, "time_ns", lambda: real() + jump)
    first = memo.sha256(file)
    time.sleep(0.02)
    file.write_text("two")
    monkeypatch.setattr(provenance.time, "time_ns", lambda: real() - jump)
    assert memo.sha256(file) == sha256_file(file) != first


def test_a_clock_that_jumps_while_a_run_works_changes_no_result(study, states, monkeypatch):
    _, _, _, second = states
    real, turns = time.time, iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: real() + (-1) ** next(turns) * 10**8)
    monkeypatch.setattr(provenance.time, "time_ns", lambda: int(time.time() * 10**9))
    deliver(study, SECOND)
    assert run(study) == 0
    assert digests(study) == second


# What a killed run leaves outside the study


def children(pid):
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if int((place / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the processes of a killed run")
@pytest.mark.parametrize("busy", ["__import__('time').sleep(60)", "sum(range(10**13))"])
def test_no_process_and_no_folder_outlives_a_killed_run_for_long(tmp_path, busy):
    """Whether it waits or is in one call in C for hours, in which none of its threads gets to run."""
    calls = crashing.CALLS.replace("    lines", f"    {busy}\n    lines", 1)
    study = crashing.write_study(tmp_path / "study", calls=calls)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    around = {**os.environ, "PYTHONPATH": str(study / "pkg"), "TMPDIR": str(temporary)}
    words = [sys.executable, "-m", "fieldwork", "run", "--study", str(study), "--workers", "1"]
    process = subprocess.Popen(words, env=around, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (alive := children(process.pid)) or not list(temporary.glob("fw-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in alive) and time.monotonic() < deadline:
        time.sleep(0.1)
    late = [pid for pid in alive if Path(f"/proc/{pid}").exists()]
    for pid in late:
        os.kill(pid, signal.SIGKILL)
    assert late == []
    (study / "pkg/crashing_calls.py").write_text(crashing.CALLS)
    subprocess.run(words, env=around, check=True, stdout=subprocess.DEVNULL)
    assert list(temporary.glob("fw-*")) == []


# Commands that write beside a run


def test_a_simulation_that_is_ended_leaves_nothing_in_its_folder(tmp_path, monkeypatch):
    def ended(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "_write_csv", ended)
    dead = tmp_path / ".study.99999999.part"
    (dead / "instruments").mkdir(parents=True)
    other = tmp_path / ".elsewhere.99999999.part"
    other.mkdir()
    base = Path(__file__).resolve().parents[1]
    words = ["--world", "null", "--organisations", "5", "--study", str(base), "--out", str(tmp_path / "study")]
    assert main(["simulate", *words]) == 130
    assert list(tmp_path.iterdir()) == [other]


def test_a_simulation_goes_into_an_empty_folder_whole(tmp_path):
    made, final = provenance.beside(tmp_path / "study"), tmp_path / "study"
    final.mkdir()
    for name in ("data", "instruments"):
        (made / name).mkdir(parents=True)
    (made / "study.toml").write_text("x")
    folder._into_place(made, final)
    assert sorted(path.name for path in final.iterdir()) == ["data", "instruments", "study.toml"]


@pytest.mark.parametrize("closed", [True, False])
def test_a_file_that_could_not_be_written_leaves_the_old_one_and_nothing_beside_it(tmp_path, monkeypatch, closed):
    path = tmp_path / "a.json"
    provenance.write_whole(path, b"old", closed=closed)
    assert path.stat().st_mode & 0o077 == (0 if closed else 0o044 & ~current_umask())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: full("fsync"))
        with pytest.raises(OSError, match="No space left") as caught:
            provenance.write_whole(path, b"new", closed=closed)
    assert caught.value.filename == str(path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert path.read_bytes() == b"old"


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_only_what_a_dead_process_left_is_taken_away(tmp_path):
    mine, dead = provenance.beside(tmp_path / "a.json"), tmp_path / "deep/.a.json.99999999.part"
    dead.parent.mkdir()
    for path in (mine, dead, tmp_path / ".notes.part", tmp_path / ".a.json.x.part"):
        path.write_text("half")
    assert provenance.abandoned(tmp_path) == [dead]
    assert provenance.abandoned(tmp_path, deep=False) == []
