"""Chapters and studies of a plan on the workers of a Dask scheduler: the same bytes, a dead worker's task done again, clear refusals.

The studies are those of `test_run_engine` and `toy_plan`. Two worker processes with one thread each share its folder, as machines would.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from fieldwork.cli import main
from fieldwork.errors import RunError
from fieldwork.run import cluster as dask_crew
from fieldwork.run.cluster import Cluster
from tests import toy_plan
from tests.small_study import book
from tests.test_run_engine import digests, run, write_study

pytestmark = pytest.mark.study

WAITING = """
import time
tries = home / "tries"
tries.mkdir(exist_ok=True)
(tries / str(len(list(tries.iterdir())))).touch()
while len(list(tries.iterdir())) < {enough}:
    time.sleep(0.05)
"""


def local_cluster(folder, workers=2):
    return LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
        env={"PYTHONPATH": str(folder / "pkg")}, local_directory=str(folder / "dask"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """A folder with the package of the study, a cluster of two workers that can import it, and the crew of a study there."""
    folder = tmp_path_factory.mktemp("machines")
    write_study(folder / "study")
    shutil.copytree(folder / "study/pkg", folder / "pkg")
    with local_cluster(folder) as made:
        yield folder, made.scheduler_address


@pytest.fixture
def study(tmp_path):
    write_study(tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture
def crew(machines, study):
    made = Cluster(machines[1], study)
    yield made
    made.end()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """What a run on this machine makes."""
    study = tmp_path_factory.mktemp("local") / "study"
    write_study(study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(study / "pkg"))
        assert run(study).failures == ()
    return digests(study)


def busy(address):
    """The workers that run a task, as {address: process id}."""
    with Client(address, set_as_default=False) as client:
        pids = client.run(os.getpid)
        return {worker: pids[worker] for worker, tasks in client.processing().items() if tasks}


def once(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def test_two_workers_make_the_same_bytes(study, crew, local):
    assert crew.size == 2
    result = run(study, crew=crew)
    assert result.failures == ()
    assert sorted(result.ran) == ["a", "b", "c", "d", "site"]
    assert digests(study) == local
    assert list((study / ".fieldwork/stage").iterdir()) == []
    assert run(study, crew=crew).ran == ()


def test_a_fault_of_a_chapter_is_told_as_ever_and_not_tried_again(study, crew):
    book(study, "d", ("code", WAITING_HOME + WAITING.format(enough=0)), ("code", "1 / 0"))
    failure = run(study, crew=crew, only=("d",)).failures[0]
    assert failure.error.title == "chapter d stopped at ZeroDivisionError: division by zero"
    assert failure.place.startswith("notebooks/d.ipynb, cell 4")
    assert (study / failure.copy).is_file()
    assert len(list((study / "tries").iterdir())) == 1


WAITING_HOME = "from pathlib import Path\nhome = Path(study)\ntarget = Path(out or study)\n"
WRITE_D = "(target / 'data/processed/w1/d.txt').write_text('d')"


def test_the_chapter_of_a_killed_worker_is_made_by_another_one(study, crew, machines, local):
    book(study, "d", ("code", WAITING_HOME + WAITING.format(enough=2)), ("code", WRITE_D))
    made = []
    thread = threading.Thread(target=lambda: made.append(run(study, crew=crew, only=("d",))))
    thread.start()
    once((study / "tries/0").exists)
    (victim,) = busy(machines[1]).values()
    os.kill(victim, signal.SIGKILL)
    thread.join(60)
    assert made[0].failures == ()
    assert made[0].ran == ("d",)
    assert (study / "data/processed/w1/d.txt").read_text() == "d"
    assert len(list((study / "tries").iterdir())) == 2
    assert sorted(run(study, crew=crew).ran) == ["a", "b", "c", "site"]
    wanted = {name: digest for name, digest in local.items() if not name.endswith("d.ipynb")}
    assert {name: digest for name, digest in digests(study).items() if name in wanted} == wanted


def test_an_interrupted_run_leaves_no_process_on_a_worker(study, machines):
    pid = study / "pid"
    wait = f"import os, time\nPath({str(pid)!r}).write_text(str(os.getpid()))\ntime.sleep(600)"
    book(study, "d", ("code", WAITING_HOME + wait))
    made = Cluster(machines[1], study)
    thread = threading.Thread(target=lambda: run(study, crew=made, only=("d",)))
    thread.start()
    once(lambda: pid.exists() and pid.read_text())
    kernel = int(pid.read_text())
    made.end()
    thread.join(30)
    once(lambda: not alive(kernel), seconds=10)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    """A scheduler with one worker, to be killed: its process and its address."""
    monkeypatch.setattr(dask_crew, "_CONNECT", 3.0)
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    address = tmp_path / "scheduler.json"
    around = os.environ | {"PYTHONPATH": str(tmp_path / "pkg")}
    with (
        subprocess.Popen([*command, "--no-dashboard", "--scheduler-file", str(address)], env=around, stderr=-3) as process,
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address), "--nthreads", "1",
             "--no-dashboard", "--host", "127.0.0.1", "--death-timeout", "20"],
            env=around, stderr=-3, cwd=tmp_path,
        ) as worker,
    ):  # fmt: skip
        try:
            once(address.exists)
            once(lambda: "tcp://" in address.read_text())
            yield process, address.read_text().split('"address": "')[1].split('"')[0]
        finally:
            process.kill()
            worker.terminate()


@pytest.mark.slow
def test_a_lost_scheduler_is_told_and_the_next_run_goes_on(study, tmp_path, scheduler, monkeypatch):
    book(study, "d", ("code", WAITING_HOME + WAITING.format(enough=2)), ("code", WRITE_D))
    shutil.copytree(study / "pkg", tmp_path / "pkg")
    crew = Cluster(scheduler[1], study)
    made = []
    thread = threading.Thread(target=lambda: made.append(run(study, crew=crew)))
    thread.start()
    once((study / "tries/0").exists)
    scheduler[0].kill()
    thread.join(60)
    assert made, "the run did not end"
    crew.end()
    failures = {failure.step: failure.error for failure in made[0].failures}
    assert failures["d"].title == "the scheduler was lost"
    assert failures["d"].hint == "start it again and run again: what was done is kept"
    monkeypatch.setenv("PYTHONPATH", str(study / "pkg"))
    (study / "tries/1").touch()
    result = run(study)
    assert result.failures == ()
    assert "a" in result.current
    assert set(result.ran) <= {"b", "c", "d", "site"}


def test_what_a_worker_lacks_is_told_before_anything_is_sent(machines, study, monkeypatch):
    own = dask_crew.installed()
    monkeypatch.setattr(dask_crew, "installed", lambda: own | {"the code of fieldwork": "another"})
    with pytest.raises(RunError, match="a worker differs from this machine") as caught:
        Cluster(machines[1], study)
    assert caught.value.got == "other: the code of fieldwork"


def test_a_study_that_the_workers_do_not_see_is_told(machines, study, monkeypatch):
    monkeypatch.setattr("fieldwork.run.cluster.secrets.token_hex", lambda _: "token")
    monkeypatch.setattr("pathlib.Path.write_text", lambda *_, **__: None)
    with pytest.raises(RunError, match="a worker does not see the study"):
        Cluster(machines[1], study)


def test_a_scheduler_without_workers_is_told(study, monkeypatch):
    monkeypatch.setattr(dask_crew, "_ARRIVE", 0.3)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None, processes=False, protocol="tcp") as empty,
        pytest.raises(RunError, match="the scheduler has no worker"),
    ):
        Cluster(empty.scheduler_address, study)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1:1"])
def test_no_scheduler_is_told_in_one_message(study, address, monkeypatch):
    monkeypatch.setattr(dask_crew, "_CONNECT", 0.5)
    with pytest.raises(RunError, match="no Dask scheduler answers") as caught:
        Cluster(address, study)
    assert caught.value.where == address


def test_old_content_on_a_worker_is_found_out(study, crew, monkeypatch):
    from fieldwork.run import runner

    monkeypatch.setattr(runner._Run, "moved", lambda *_: None)
    send = crew.submit
    monkeypatch.setattr(crew, "submit", lambda task, inputs, told: send(task, dict.fromkeys(inputs, "0"), told))
    failure = run(study, crew=crew, only=("a",)).failures[0]
    assert failure.error.title == "the worker reads other files than the coordinator"
    assert failure.error.got == "data/raw/w1/a.csv"


# Studies of a plan

STUDIES = 4


@pytest.fixture(scope="module", autouse=True)
def few():
    """Allow plans of four studies: each one on a worker is a process of its own, and more of them would tell nothing more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fieldwork.plan.FEWEST_STUDIES", STUDIES)
        yield


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The table of a plan that was drawn on this machine."""
    return table(toy_plan.write_toy(tmp_path_factory.mktemp("planned") / "study"), workers=2)


def table(folder, **options):
    return toy_plan.table(folder, studies=STUDIES, **options)


@pytest.fixture
def toy(tmp_path):
    return toy_plan.write_toy(tmp_path / "toy")


@pytest.fixture
def drawers(machines, toy):
    made = Cluster(machines[1], toy, toy / "notebooks")
    yield made
    made.end()


def test_the_command_draws_the_same_table_on_two_workers_and_keeps_what_they_drew(toy, machines, planned, capsys):
    toy_plan.judge(toy, "import os\n(tries.parent / 'pids').open('a').write(f'{os.getpid()}\\n')")
    words = ["plan", "--respondents", "60", "--studies", str(STUDIES), "--seed", "3", "--study", str(toy)]
    assert main([*words, "--cluster", machines[1], "--out", str(toy / "out")]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"drawing studies: {done} of {STUDIES}" for done in range(1, STUDIES + 1)
    ]
    assert (toy / "out/plan.csv").read_text() == planned
    assert len(set((toy / "pids").read_text().split())) <= 2, (
        "a worker's studies are drawn one after another in one process"
    )
    assert table(toy) == planned
    assert toy_plan.drawn(toy) == STUDIES


def test_a_process_on_a_worker_serves_one_command_and_ends_when_no_call_comes(monkeypatch):
    monkeypatch.setattr(dask_crew, "_KEPT", 0.2)
    one = dask_crew._taken("a command")
    pid = one.caller.call("its number", "os:getpid", {})
    dask_crew._put_back(one)
    assert dask_crew._taken("a command") is one
    assert one.caller.call("its number", "os:getpid", {}) == pid
    dask_crew._put_back(one)
    other = dask_crew._taken("another command")
    assert other is not one
    once(lambda: not alive(pid))
    other.processes.stop()
    dask_crew._put_back(other)
    assert dask_crew._WAITING == []


def test_a_process_whose_call_broke_off_answers_no_other(monkeypatch):
    """What it had still to say of the first call would be taken for the answer of the next."""

    class Worker:
        def get_current_task(self):
            return "a task"

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("distributed.get_worker", Worker)
    monkeypatch.setattr(dask_crew, "_watched", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("fieldwork.run.caller.Caller.call", broken)
    assert isinstance(dask_crew._called("a command", "its number", "os:getpid", {}), RunError)
    assert dask_crew._WAITING == []


STOP = (
    "import time\nwhile len(list(tries.iterdir())) >= {number} and not (tries.parent / 'on').exists(): time.sleep(0.05)"
)


def test_the_study_of_a_killed_worker_is_drawn_by_another_one(toy, drawers, machines, planned):
    toy_plan.judge(toy, STOP.format(number=3))
    made = []
    thread = threading.Thread(target=lambda: made.append(table(toy, crew=drawers)))
    thread.start()
    once(lambda: toy_plan.drawn(toy) >= 3)
    victim, *_ = busy(machines[1]).values()
    os.kill(victim, signal.SIGKILL)
    (toy / "on").touch()
    thread.join(120)
    assert made == [planned]
    assert toy_plan.drawn(toy) >= STUDIES


def test_a_fault_of_a_study_is_told_as_on_one_machine_and_not_tried_again(toy, drawers):
    toy_plan.judge(toy, "1 / 0")
    with pytest.raises(RunError, match="a chapter failed") as here:
        table(toy)
    assert toy_plan.drawn(toy) == 1
    with pytest.raises(RunError) as there:
        table(toy, crew=drawers)
    assert there.value.as_dict() == here.value.as_dict()
    drawers.end()
    time.sleep(1)  # long enough for a second try to be told
    assert toy_plan.drawn(toy) <= 1 + STUDIES


def test_a_study_whose_process_is_killed_is_told(toy, drawers):
    toy_plan.judge(toy, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RunError, match="a process ended in the midst of its work") as caught:
        table(toy, crew=drawers)
    assert caught.value.got == "signal 9"


def test_an_interrupted_plan_leaves_no_process_on_a_worker(toy, drawers):
    toy_plan.judge(toy, "import os, time\n(tries.parent / 'pid').write_text(str(os.getpid()))\ntime.sleep(600)")
    told = []

    def interrupted():
        try:
            table(toy, crew=drawers)
        except RunError as error:
            told.append(error)

    thread = threading.Thread(target=interrupted)
    thread.start()
    once(lambda: (toy / "pid").exists() and (toy / "pid").read_text())
    drawers.end()
    thread.join(30)
    assert told
    once(lambda: not alive(int((toy / "pid").read_text())), seconds=10)


@pytest.mark.slow
def test_a_scheduler_lost_while_studies_are_drawn_is_told_and_the_next_plan_goes_on(toy, scheduler, planned):
    toy_plan.judge(toy, STOP.format(number=3))
    crew = Cluster(scheduler[1], toy, toy / "notebooks")
    told = []

    def lost():
        try:
            table(toy, crew=crew)
        except RunError as error:
            told.append(error)

    thread = threading.Thread(target=lost)
    thread.start()
    once(lambda: toy_plan.drawn(toy) == 3)
    scheduler[0].kill()
    thread.join(60)
    assert told, "the plan did not end"
    crew.end()
    assert told[0].title == "the scheduler was lost"
    assert told[0].where.startswith("the study of seed ")
    assert told[0].hint == "start it again and run again: what was done is kept"
    assert len(toy_plan.values(toy)) == 2
    (toy / "on").touch()
    assert table(toy) == planned
    assert toy_plan.drawn(toy) == 3 + STUDIES - 2


def test_other_chapters_on_a_worker_are_told_before_anything_is_sent(machines, toy, monkeypatch):
    monkeypatch.setattr(dask_crew, "content", lambda _: "another")
    monkeypatch.setattr(dask_crew, "installed", dict)
    with pytest.raises(RunError, match="a worker reads other chapters than this machine") as caught:
        Cluster(machines[1], toy, toy / "notebooks")
    assert str(toy / "notebooks") in caught.value.expected


def test_old_content_on_a_worker_is_found_out_by_its_study(toy, drawers, monkeypatch):
    monkeypatch.setattr("fieldwork.plan._ground", lambda *_: "what the coordinator reads")
    with pytest.raises(RunError, match="what the studies are drawn from has changed meanwhile"):
        table(toy, crew=drawers)
    assert toy_plan.values(toy) == []
