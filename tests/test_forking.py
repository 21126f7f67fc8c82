"""Kernels that are forked: each a process of its own, like one started from nothing, and gone when the run is."""

import ast
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty

import nbformat
import pytest

from fieldwork.run import forking, kernels, lifeline
from fieldwork.run.processes import Processes

pytestmark = pytest.mark.skipif(not forking.possible(), reason="forks kernels on Linux only")
ROOT = Path(__file__).resolve().parents[1]
SURROUNDINGS = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
                "MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # fmt: skip


def executed(tmp_path, *sources, name="chapter", isolated=False, during=lambda _: None, **more):
    """Run cells by papermill in a kernel; return its outputs."""
    sockets = tmp_path / f"{name}{'-plain' if isolated else ''}"
    sockets.mkdir()
    cells = [nbformat.v4.new_code_cell(source, id=f"c{at}") for at, source in enumerate(sources)]
    book = nbformat.v4.new_notebook(cells=cells)
    path = sockets / "book.ipynb"
    nbformat.write(book, path)
    held = []
    kernels.execute(
        path, {}, folder=sockets, sockets=sockets, isolated=isolated, processes=Processes(), held=held,
        surroundings={**SURROUNDINGS, "IPYTHONDIR": str(sockets / "ipython"), **more}, on_cell=lambda at, _: during(at),
    )  # fmt: skip
    return [cell["outputs"] for cell in held[0].cells]


def said(outputs):
    return "".join(part["text"] for part in outputs if part["output_type"] == "stream")


ABOUT = """
import json, os, sys, signal, random
import numpy as np
print(json.dumps({
    "cwd": os.getcwd() == os.environ["IPYTHONDIR"].rsplit("/", 1)[0], "leads": os.getpgid(0) == os.getpid(),
    "columns": __import__("pandas").get_option("display.max_columns"), "backend": os.environ["MPLBACKEND"],
    "ours": sorted(name for name in sys.modules if name.split(".")[0] == "fieldwork"), "path": sys.path, "main": __name__,
    "interrupt": signal.getsignal(signal.SIGINT) is not signal.SIG_IGN, "stdin": os.read(0, 1) == b"",
    "variables": sorted(set(os.environ) - {"JPY_PARENT_PID", "JPY_SESSION_NAME"})}))
"""
FIGURE = """
%matplotlib inline
import matplotlib.pyplot as plt, pandas as pd
fig, ax = plt.subplots(figsize=(2, 1)); ax.plot([1, 2, 3]); plt.show()
pd.DataFrame({f"column {i}": [0.5] for i in range(12)})
"""


def test_a_forked_kernel_is_like_one_started_from_nothing(tmp_path):
    forked, plain = (executed(tmp_path, ABOUT, FIGURE, isolated=isolated) for isolated in (False, True))
    about = json.loads(said(forked[0]))
    assert about == json.loads(said(plain[0]))
    assert about["ours"] == []
    assert forked[1] == plain[1]
    assert [part["output_type"] for part in forked[1]] == ["display_data", "execute_result"]
    assert "image/png" in forked[1][0]["data"]


def called(tmp_path, name, target, given, *, forked):
    """Call a function in a process of its own; return its report and what it printed."""
    folder = tmp_path / name
    folder.mkdir()
    around = {**SURROUNDINGS, "IPYTHONDIR": str(folder / "ipython")}
    call, log = [target, json.dumps(given), str(folder / "report.json")], folder / "call.log"
    with log.open("wb") as file:
        if forked:
            process = forking.server(around).fork(call, str(folder), around, file.fileno(), kernel=False)
        else:
            command = [sys.executable, "-m", "fieldwork.run.call", *call, str(lifeline.handle())]
            process = subprocess.Popen(command, cwd=folder, env=around, stdin=subprocess.DEVNULL, stdout=file,
                                       pass_fds=[lifeline.handle()], start_new_session=True)  # fmt: skip
    process.wait()
    report = folder / "report.json"
    return json.loads(report.read_text()) if report.is_file() else None, log.read_text()


def test_a_forked_call_is_like_one_started_from_nothing(tmp_path):
    script = tmp_path / "about.py"
    script.write_text(ABOUT)
    given = {"path_name": str(script)}
    forked, plain = (called(tmp_path, f"is{way}", "runpy:run_path", given, forked=way) for way in (True, False))
    assert forked[0] == plain[0] == {}
    told, of_plain = json.loads(forked[1]), json.loads(plain[1])
    # `python -m` looks for modules in the folder it is started in: that of the call, which is empty.
    assert of_plain.pop("path")[1:] == told.pop("path")
    assert set(told.pop("ours")) - set(of_plain.pop("ours")) == {"fieldwork.run.call"}, "which is the main module there"
    assert told == of_plain


def test_a_call_says_how_it_ended_whether_forked_or_not(tmp_path):
    for way in (True, False):
        report, _ = called(tmp_path, f"raised{way}", "os:rmdir", {"path": "not there"}, forked=way)
        assert (report["error"], report["place"]) == ("FileNotFoundError", "os:rmdir")
        assert called(tmp_path, f"made{way}", "os:mkdir", {"path": "made"}, forked=way) == ({}, "")
        assert (tmp_path / f"made{way}" / "made").is_dir()
        assert called(tmp_path, f"gone{way}", "os:abort", {}, forked=way)[0] is None


def test_only_a_server_that_runs_already_is_asked_for_a_call(tmp_path):
    forking._forget()
    assert forking.running(SURROUNDINGS) is None
    server = forking.server(SURROUNDINGS)
    assert forking.running({**SURROUNDINGS, "IPYTHONDIR": str(tmp_path)}) is server
    assert forking.running({**SURROUNDINGS, "OTHER": "1"}) is None
    assert forking.running(SURROUNDINGS) is server, "it is kept"


def test_kernels_share_no_state_and_draw_their_own_numbers(tmp_path):
    draw = (
        "import random, numpy as np, json, pandas as pd, os\n"
        "print(json.dumps([hasattr(np, 'left_behind'), pd.get_option('display.precision'), os.environ.get('LEFT'),"
        " random.random(), float(np.random.random()), float(np.random.default_rng().random())]))\n"
        "np.left_behind = 1; pd.set_option('display.precision', 2); os.environ['LEFT'] = 'x'"
    )
    first, second = (json.loads(said(executed(tmp_path, draw, name=name)[0])) for name in ("one", "two"))
    assert first[:3] == second[:3] == [False, 6, None]
    assert all(a != b for a, b in zip(first[3:], second[3:], strict=True))


def test_the_server_is_one_for_all_kernels_and_no_thread_could_be_lost_in_a_fork(tmp_path):
    parent = "import os; print(os.environ['JPY_PARENT_PID'])"
    pids = {int(said(executed(tmp_path, parent, name=name)[0])) for name in ("one", "two")}
    assert len(pids) == 1
    threads = {(task / "comm").read_text().strip() for task in Path(f"/proc/{pids.pop()}/task").iterdir()}
    # That of pyarrow's allocator is stopped before a fork and started again after it, by jemalloc itself.
    assert len(threads - {"jemalloc_bg_thd"}) == 1


def test_another_environment_is_another_server(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "only_there.py").write_text("word = 'found'")
    source = "import only_there; print(only_there.word)"
    assert said(executed(tmp_path, source, PYTHONPATH=str(tmp_path / "lib"))[0]).strip() == "found"


OURS = "import sys; print(sorted(name for name in sys.modules if name.split('.')[0] == 'fieldwork'))"


def ours(tmp_path, wanted, name, **more):
    """Return our modules in a new kernel before it imports any, once `wanted` is loaded into the server."""
    deadline, number = time.monotonic() + 60, 0
    while True:
        number += 1
        found = ast.literal_eval(said(executed(tmp_path, OURS, name=f"{name}{number}", **more)[0]))
        if wanted in found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_modules_that_several_chapters_import_are_loaded_once_for_all(tmp_path):
    more = {"TOLD": "1"}
    forking.server({**SURROUNDINGS, **more}).expect(["fieldwork.tables", "fieldwork.tables"])
    forking.server({**SURROUNDINGS, **more}).expect(["fieldwork.tables"])
    found = ours(tmp_path, "fieldwork.tables", "told", **more)
    assert {"fieldwork.tables", "fieldwork.errors"} <= {*found}
    assert "fieldwork.multiverse" not in found
    same = "from fieldwork import tables, errors; print(tables.InstrumentError is errors.InstrumentError)"
    other = "import fieldwork.tables; print(len(fieldwork.tables.__all__), fieldwork.tables.__file__)"
    forked, plain = (executed(tmp_path, other, name="other", isolated=isolated, **more) for isolated in (False, True))
    assert forked == plain
    assert said(executed(tmp_path, same, name="same", **more)[0]) == "True\n"


@pytest.fixture
def package(tmp_path):
    """A copy of the package, with a module that says a word, and the environment in which kernels find it."""
    shutil.copytree(
        ROOT / "src" / "fieldwork", tmp_path / "lib" / "fieldwork", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "lib" / "fieldwork" / "word.py").write_text("WORD = 'before'")
    time.sleep(forking._YOUNG / 1e9)  # what is as young as that counts as changed
    return tmp_path / "lib" / "fieldwork", {"PYTHONPATH": str(tmp_path / "lib")}


def test_a_kernel_has_our_package_as_it_is_now(tmp_path, package):
    folder, around = package
    say = "from fieldwork.word import WORD; print(WORD)"
    server = forking.server({**SURROUNDINGS, **around})
    server.expect(["fieldwork.word"])
    assert "fieldwork.word" in ours(tmp_path, "fieldwork.word", "asked", **around)
    assert said(executed(tmp_path, say, name="first", **around)[0]) == "before\n"
    (folder / "word.py").write_text("WORD = 'after it'")
    assert said(executed(tmp_path, OURS, name="none", **around)[0]) == "[]\n"
    assert said(executed(tmp_path, say, name="second", **around)[0]) == "after it\n"
    (folder / "word.py").unlink()
    assert said(executed(tmp_path, OURS, name="gone", **around)[0]) == "[]\n"
    assert forking.server({**SURROUNDINGS, **around}) is server


def test_a_file_as_young_as_the_clock_is_coarse_counts_as_changed(tmp_path, monkeypatch):
    module = types.ModuleType("young")
    module.__file__ = str(tmp_path / "young.py")
    monkeypatch.setitem(sys.modules, "young", module)
    assert forking._stamp("young") is None, "there is no such file"
    Path(module.__file__).write_text("")
    now = time.time_ns()
    assert forking._stamp("young", now) is forking._stamp("young", now + forking._YOUNG // 2) is None
    assert forking._stamp("young", now + 2 * forking._YOUNG) == forking._stamp("young") is not None
    before = forking._stamp("young")
    os.utime(module.__file__, ns=(1, 1))
    assert forking._stamp("young", now) is None, "another time can be written, the last change of the entry not"
    assert forking._stamp("young") != before


@pytest.mark.parametrize("source", ["1 +", "raise SystemExit(3)", "import there_is_no_such_module"])
def test_what_cannot_be_imported_is_left_to_the_kernel_that_does(tmp_path, package, source):
    folder, around = package
    (folder / "word.py").write_text(source)
    server = forking.server({**SURROUNDINGS, **around})
    server.expect(["fieldwork.word", "fieldwork.word.not_there", "fieldwork.schema"])
    found = ours(tmp_path, "fieldwork.schema", "past", **around)
    assert "fieldwork.schema" in found, "the server has come past what cannot be imported"
    assert "fieldwork.word" not in found
    with pytest.raises(kernels.PapermillExecutionError, match=r"SyntaxError|SystemExit|ModuleNotFoundError"):
        executed(tmp_path, "import fieldwork.word", name="broken", **around)
    assert server.alive()


def test_a_kernel_that_is_killed_is_told_at_once(tmp_path):
    with pytest.raises(kernels.DeadKernelError):
        executed(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")


def test_a_kernel_ends_by_itself_and_runs_what_was_registered_for_its_end(tmp_path):
    """ipykernel's own closing may wait without end for a thread that it has stopped before: it must not be come to."""
    source = (
        "import atexit, signal\n"
        "from ipykernel.kernelapp import IPKernelApp\n"
        "end = lambda how: open(how, 'w').close()\n"
        "atexit.register(end, 'ended'); signal.signal(signal.SIGTERM, lambda *_: end('killed'))\n"
        "IPKernelApp.instance().reset_io = lambda end=end: end('closing')"
    )
    executed(tmp_path, source)
    found = {path.name for path in (tmp_path / "chapter").iterdir()} & {"ended", "killed", "closing"}
    assert found == {"ended"}


def test_a_kernel_is_not_taken_apart_at_its_end_and_what_it_wrote_is_whole(tmp_path):
    source = (
        "import sys, threading, time\n"
        "class Kept:\n"
        "    def __del__(self, open=open): open('apart', 'w').close()\n"
        "sys.kept = Kept()\n"
        "sys.left, sys.raw = open('left', 'w'), open('raw', 'wb')\n"
        "sys.left.write('x' * 10); sys.raw.write(b'y' * 10)\n"
        "threading.Thread(target=lambda open=open: (time.sleep(0.3), open('joined', 'w').close())).start()"
    )
    executed(tmp_path, source)
    folder = tmp_path / "chapter"
    assert (folder / "left").read_text() == "x" * 10
    assert (folder / "raw").read_bytes() == b"y" * 10
    assert (folder / "joined").exists()
    assert not (folder / "apart").exists()


def test_no_output_is_lost_at_a_kernels_beginning_and_end(tmp_path):
    for number in range(8):
        first, last = executed(tmp_path, "print('first')", "import sys; print('x' * 70_000); sys.stderr.write('last')",
                               name=f"k{number}")  # fmt: skip
        assert said(first) == "first\n"
        assert said(last) in {"x" * 70_000 + "\nlast", "last" + "x" * 70_000 + "\n"}


def test_a_kernel_that_never_answers_is_told(monkeypatch):
    monkeypatch.setattr(kernels._Client, "get_shell_msg", no_message)
    # In a thread, as the runner does it: a browser of another test may have left a loop running in this one.
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(RuntimeError, match=r"did not answer in 0\.01 seconds"),
    ):
        pool.submit(lambda: asyncio.run(unanswered())).result()


async def no_message(*_, **__):
    raise Empty


async def unanswered():
    client = kernels._Client(parent=None)
    client.kernel_info = lambda: "question"
    client.is_alive = yes
    await client.wait_for_ready(timeout=0.01)


async def yes():
    return True


def test_a_kernel_leads_its_group_as_soon_as_it_is_told_of(tmp_path):
    served = forking.server(SURROUNDINGS)
    with (tmp_path / "log").open("wb") as log:
        kernel = served.fork(["-f", str(tmp_path / "k.json")], str(tmp_path), SURROUNDINGS, log.fileno())
    os.killpg(kernel.pid, signal.SIGKILL)
    assert kernel.wait(timeout=10) == 0


def test_without_its_server_a_run_gets_another_one(tmp_path):
    parent = "import os; print(os.environ['JPY_PARENT_PID'])"
    before = int(said(executed(tmp_path, parent, name="one")[0]))
    os.kill(before, signal.SIGKILL)
    after = int(said(executed(tmp_path, parent, name="two")[0]))
    assert after not in {before, os.getpid()}


def test_where_no_server_can_start_kernels_start_from_nothing(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError("no more processes")

    monkeypatch.setattr(forking, "Server", refuse)
    monkeypatch.setattr(forking, "_running", None)
    parent = "import os; print(os.environ['JPY_PARENT_PID'])"
    assert int(said(executed(tmp_path, parent)[0])) == os.getpid()
    assert "kernels start from nothing: no more processes" in caplog.text


STARTER = """
import os, sys, time
from fieldwork.run import forking
served = forking.server({**os.environ, "OPENBLAS_NUM_THREADS": "1"})
with open(sys.argv[1] + "/log", "wb") as log:
    kernel = served.fork(["-f", sys.argv[1] + "/k.json"], sys.argv[1], dict(os.environ), log.fileno())
print(served.pid, kernel.pid, flush=True)
time.sleep(60)
"""


def test_nothing_outlives_the_process_that_started_it(tmp_path):
    words = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as starter:
        pids = [int(word) for word in starter.stdout.readline().split()]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        starter.kill()
    deadline = time.monotonic() + 10
    while any(running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# One call in C, for hours: no other thread of the process gets to run, and no signal is handled.
DEAF = "sum(range(10**13))"
BUSY = f"""
import os, subprocess
child = subprocess.Popen(["sleep", "600"])
with open("pids.part", "w") as file:
    file.write(f"{{os.getppid()}} {{os.getpid()}} {{child.pid}}")
os.rename("pids.part", "pids")
{DEAF}
"""
RUNNER = """
import sys
from pathlib import Path
from tests.test_forking import BUSY, executed
executed(Path(sys.argv[1]), BUSY, isolated=sys.argv[2] == "isolated")
"""


@pytest.mark.parametrize("how", ["forked", "isolated"])
def test_a_kernel_that_hears_nothing_ends_with_the_run_and_its_children_too(tmp_path, how):
    """A thread that waits for the run's end would wait for the call to end first; the system does not."""
    with subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path), how], cwd=ROOT) as runner:
        told = tmp_path / ("chapter" if how == "forked" else "chapter-plain") / "pids"
        deadline = time.monotonic() + 60
        while not told.exists():
            assert runner.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        pids = [int(word) for word in told.read_text().split()]
        time.sleep(0.5)  # the cell is in its call by then
        assert all(running(pid) for pid in pids)
        runner.kill()
    assert late(pids) == []


SLOW_IMPORT = """
import os, sys, time
from fieldwork.run import forking
print(forking.server({**os.environ, "PYTHONPATH": sys.argv[1]}).pid, flush=True)
time.sleep(600)
"""


def test_a_server_in_the_midst_of_an_import_ends_with_the_run(tmp_path):
    (tmp_path / "ipykernel").mkdir()
    (tmp_path / "ipykernel" / "__init__.py").write_text(
        f"import time; open({str(tmp_path / 'reached')!r}, 'w'); time.sleep(600)"
    )
    words = [sys.executable, "-c", SLOW_IMPORT, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as starter:
        pid = int(starter.stdout.readline())
        deadline = time.monotonic() + 30
        while not (tmp_path / "reached").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        starter.kill()
    assert late([pid]) == []


TIED = f"""
import sys, time
from fieldwork.run import lifeline
time.sleep(float(sys.argv[2]))
assert lifeline.tie(int(sys.argv[1]))
print("tied", flush=True)
{DEAF}
"""
TYING = f"""
import os, subprocess, sys, time
from fieldwork.run import lifeline
words = [sys.executable, "-c", {TIED!r}, str(lifeline.handle()), sys.argv[1]]
tied = subprocess.Popen(words, pass_fds=[lifeline.handle()], start_new_session=True, stdout=subprocess.PIPE)
if sys.argv[1] == "0":
    tied.stdout.readline()
fork = os.fork()
if fork:
    print(tied.pid, fork, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("pause", ["0", "1"])
def test_a_tied_process_ends_though_a_fork_of_its_starter_lives_and_though_the_starter_was_gone_before(pause):
    with subprocess.Popen([sys.executable, "-c", TYING, pause], stdout=subprocess.PIPE, text=True) as starter:
        tied, fork = (int(word) for word in starter.stdout.readline().split())
        starter.kill()
        starter.wait()
        try:
            assert late([tied], within=4 if pause == "1" else 2) == []
            assert running(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


def test_where_the_system_knows_no_such_thing_it_says_so(monkeypatch):
    monkeypatch.delattr(lifeline.fcntl, "F_SETSIG")
    assert not lifeline.tie(lifeline.handle())
    monkeypatch.undo()
    assert not lifeline.tie(10**6)


def late(pids, within=2):
    """Return which processes live on; they are ended."""
    deadline = time.monotonic() + within
    while (left := [pid for pid in pids if running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
