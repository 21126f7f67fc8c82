"""A study of three calls that runs in milliseconds, and faults at every moment of it: kills, full disks, races.

Its functions run in the process of the test, so that a fault can be put at each call of the system that the run makes;
judging, staging, publishing and recording are the engine's own.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

from fieldwork.cli import main
from fieldwork.provenance import sha256_file
from fieldwork.run import worker

CALLS = '''
"""Three steps: from a delivery to pages whose names hang on what was delivered."""
from pathlib import Path


def clean(study, wave, out):
    lines = (Path(study) / "data/raw" / wave / "a.csv").read_text().split()[1:]
    (Path(out) / "data/processed" / wave / "clean.txt").write_text("\\n".join(lines))


def count(study, wave, out):
    lines = (Path(study) / "data/processed" / wave / "clean.txt").read_text().split()
    (Path(out) / "reports" / wave / "count.txt").write_text(str(len(lines)))
    for line in lines:
        (Path(out) / "reports" / wave / "parts" / f"{line}.txt").write_text(line * 100)


def pages(study, wave, out):
    parts = sorted((Path(study) / "reports" / wave / "parts").iterdir())
    text = "".join(f"<p>{path.stem}</p>" for path in parts)
    (Path(out) / "reports" / wave / "index.html").write_text(f"<html>{text}</html>")
    (Path(out) / "reports" / wave / "pages" / f"{len(parts)}.html").write_text(text)
'''
CHAPTERS = """
[[chapter]]
name = "clean"
call = "crashing_calls:clean"
inputs = ["{raw}"]
outputs = ["{processed}/clean.txt"]
[[chapter]]
name = "count"
call = "crashing_calls:count"
inputs = ["{processed}/clean.txt", "{processed}/registered.json"]
outputs = ["{reports}/count.txt", "{reports}/parts/"]
[[chapter]]
name = "pages"
call = "crashing_calls:pages"
inputs = ["{reports}/parts"]
outputs = ["{reports}/index.html", "{reports}/pages/"]
"""
FIRST, SECOND = "x\none\ntwo\nthree\n", "x\none\nfour\nfive\nsix\n"
PUBLISHED = ("data/processed", "reports")


def write_study(study, chapters=CHAPTERS, calls=CALLS):
    for folder in ("data/raw/w1", "instruments", "notebooks", "pkg"):
        (study / folder).mkdir(parents=True)
    (study / "study.toml").write_text(
        '[study]\nname = "toy"\ntitle = "Toy"\nprovenance = "simulated"\n[waves]\norder = ["w1"]\n'
    )
    (study / "data/raw/w1/a.csv").write_text(FIRST)
    (study / "notebooks/chapters.toml").write_text(chapters)
    (study / "pkg/crashing_calls.py").write_text(calls)
    # What the first run records carries its moment; every copy of the study is to have the same.
    kept = study / ".fieldwork/registered/w1.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"hash": "", "time": "2026-01-01T00:00:00Z"}\n')
    return study


def deliver(study, text):
    (study / "data/raw/w1/a.csv").write_text(text)


def in_process(patch, study):
    """Let calls run in this process, from the study's own folder."""

    def call(task, _private, _around, _processes):
        module, function = task.step.call.split(":")
        getattr(importlib.import_module(module), function)(str(task.study), task.wave, str(task.stage))
        return 0

    patch.syspath_prepend(str(study / "pkg"))
    patch.delitem(sys.modules, "crashing_calls", raising=False)
    patch.setattr(worker, "_run_call", call)


def run(study, *words):
    return main(["run", "--study", str(study), "--workers", "1", *words])


def digests(study):
    files = [path for folder in PUBLISHED for path in (study / folder).rglob("[!.]*") if path.is_file()]
    return {path.relative_to(study).as_posix(): sha256_file(path) for path in sorted(files)}


def false_lines(study):
    """Lines of the manifest that are not true of the files; none where there is no manifest."""
    path = study / "reports/w1/manifest.json"
    told = json.loads(path.read_text())["outputs"] if path.is_file() else {}
    return [label for label, digest in told.items() if digests(study).get(label) != digest]


def litter(study):
    """What a run leaves that it should not: half files anywhere, and anything in the staging folder."""
    halves = [path for path in study.rglob(".*") if re.search(r"\.\d+(\.part)?$", path.name)]
    stage = study / ".fieldwork/stage"
    return [*halves, *(stage.iterdir() if stage.is_dir() else ())]


# Faults

HOOKED = ("replace", "fsync", "mkdir", "rename", "unlink", "rmdir")


@contextlib.contextmanager
def fault(patch, at, act):
    """Let `act` happen at the call of that number among the calls that change files; yields the list of calls so far."""
    calls = []

    def hooked(name, real):
        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == at:
                act(name, *args)
            # A process that ends, unlike a machine, loses nothing that was not flushed.
            return None if name == "fsync" else real(*args, **kwargs)

        return call

    with patch.context() as inner:
        for name in HOOKED:
            inner.setattr(os, name, hooked(name, getattr(os, name)))
        copy = shutil.copyfile

        def half(source, target, **options):
            """Copy half, then the rest: what may happen between is among the faults."""
            content = Path(source).read_bytes()
            Path(target).write_bytes(content[: len(content) // 2])
            calls.append("copyfile")
            if len(calls) == at:
                act("copyfile", source, target)
            return copy(source, target, **options)

        inner.setattr(shutil, "copyfile", half)
        yield calls


def full(name, *_args):
    """Refuse as a full disk does, where something is written; taking away needs no room."""
    if name not in {"unlink", "rmdir"}:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed(_name, *_args):
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(do):
    """Do something in a forked process that may be killed; return the signal that ended it, 0 where it ended by itself."""
    pid = os.fork()
    if pid == 0:
        try:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
                do()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
