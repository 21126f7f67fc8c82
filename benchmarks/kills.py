"""Kills: a run is ended by force at random moments, then resumed. Is any file torn, or other than without the kills?

    python -m benchmarks.kills --kills 200            the shipped questionnaire, a small study; half an hour on one core
    python -m benchmarks.kills --kills 3 --only 03_weight    three kills over the first chapters, for a look

An undisturbed run is timed first. Then the same study is run again and again, each time killed with SIGKILL (its whole process
group) after a time drawn uniformly from 0 to a share of the measured duration, by a generator seeded with `--seed`. What a
kill leaves is looked at before anything else runs; many kills fall into one study before it is whole, and then a copy of the
unrun study takes its place. Each study that is whole is compared with the undisturbed one, byte by byte. Exit 1 where anything
is torn, false or other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pyarrow.parquet as pq

from fieldwork.provenance import sha256_file
from fieldwork.simulate import write_study
from fieldwork.study import Study

ROOT = Path(__file__).resolve().parents[1]
ONE_ANALYSIS = {
    "weights": "raked",
    "lens": "cell_table",
    "exclusions": "set_aside",
    "stage": "own_function",
    "missing": "available",
}
PATIENCE = 2.0
"""Seconds within which every process of a killed run has to be gone."""


@dataclass(slots=True)
class Tally:
    """What was done and what was found.

    Attributes
    ----------
    kills, whole : int      Runs killed; studies made whole again and compared.
    torn : list of str      Files that cannot be read, or that a manifest describes otherwise, after a kill.
    other : list of str     Files of a resumed study that are not the undisturbed run's.
    orphans : int           Processes of killed runs that lived longer than `PATIENCE`.
    last : float            Seconds until the last process of a killed run was gone, of all kills the longest.
    litter : list of str    Files begun and left beside their place once the study was whole.
    told : list of str      Resumed runs that did not end well, with what they said.
    """

    kills: int = 0
    whole: int = 0
    torn: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    orphans: int = 0
    last: float = 0.0
    litter: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.torn or self.other or self.orphans or self.litter or self.told)


def prepared(folder: Path, *, organisations: int, replicates: int, seed: int) -> Path:
    """Write the study that is run: the shipped questionnaire, few organisations, few replicates, one analysis a claim.

    The record of the register is laid beside it, for it carries the moment of the first run, which no two runs share.
    """
    study = write_study(
        "role_divergence", organisations=organisations, waves=1, seed=seed, out=folder, base=ROOT, told=False
    )
    text = (study / "study.toml").read_text(encoding="utf-8")
    lines = [f"replicates = {replicates}" if line.startswith("replicates") else line for line in text.splitlines()]
    (study / "study.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    one = "".join(f'{name} = ["{option}"]\n' for name, option in ONE_ANALYSIS.items())
    (study / "instruments" / "multiverse.toml").write_text(f'[choices]\n{one}margin = "registered"\n', encoding="utf-8")
    return study


def results(study: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the results, by path; files that are being made are hidden and left out."""
    opened = Study.open(study)
    files = [path for folder in (opened.processed, opened.reports) for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(study).as_posix(): sha256_file(path) for path in sorted(files) if path.name[0] != "."}


def torn(study: Path) -> list[str]:
    """Return the result files that cannot be read as what they are, or that the manifest describes otherwise."""
    found = []
    hashes = results(study)
    for label in hashes:
        fault = _fault(study / label)
        if fault:
            found.append(f"{label}: {fault}")
    manifest = Study.open(study).reports / "manifest.json"
    told = json.loads(manifest.read_bytes())["outputs"] if manifest.is_file() else {}
    return found + [f"{label}: not as in the manifest" for label, digest in told.items() if hashes.get(label) != digest]


ENDS = {".html": b"</html>", ".svg": b"</svg>", ".pdf": b"%%EOF", ".png": b"IEND\xaeB`\x82"}


def _notebook(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    nbformat.validate(nbformat.reads(text, as_version=4))  # type: ignore[no-untyped-call]


READERS: dict[str, Callable[[Path], object]] = {
    ".parquet": lambda path: pq.read_table(path).validate(full=True),
    ".json": lambda path: json.loads(path.read_bytes()),
    ".ipynb": _notebook,
    ".html": lambda path: HTMLParser().feed(path.read_text(encoding="utf-8")),
}


def _fault(path: Path) -> str:
    """Return what is wrong with a file of results, as a reader of its kind finds it; empty where nothing is."""
    try:
        READERS.get(path.suffix, Path.read_bytes)(path)
    except Exception as error:  # noqa: BLE001 - whatever a reader says of a torn file
        return f"{type(error).__name__}: {error}".splitlines()[0][:120]
    content = path.read_bytes()
    if path.suffix in {".csv", ".txt"}:
        return "" if not content or content.endswith(b"\n") else "ends within a line"
    return "" if content.rstrip(b"\n").endswith(ENDS.get(path.suffix, b"")) else "ends before its end"


def _started(study: Path, only: Sequence[str]) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "fieldwork", "run", "--study", str(study), "--workers", "1"]
    words += ["--only", *only] if only else []
    return subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def left(study: Path, run: int, since: float) -> tuple[int, float]:
    """Wait until no process of a run killed at `since` is left; return how many live too long, and when the last was gone.

    Its processes are those that work in the study's folder, and the server of kernels, which names the run. One that lives too
    long is left to live: it may be what tears a file later.
    """
    waiting = {
        (folder, _born(folder)) for folder in Path("/proc").glob("[0-9]*") if _works_for(folder, study, run)
    }  # fmt: skip
    while waiting := {(folder, born) for folder, born in waiting if born and _born(folder) == born}:
        if time.monotonic() > since + PATIENCE:
            break
        time.sleep(0.005)
    return len(waiting), time.monotonic() - since


def _works_for(process: Path, study: Path, run: int) -> bool:
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        server = b"fieldwork.run.forking" in words and str(run).encode() in words
        return server or str((process / "cwd").readlink()).startswith(f"{study}/")
    return False


def _born(process: Path) -> str:
    """Return when a process started, which tells it from another of its number; empty where it is no more."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _leftover(study: Path) -> list[str]:
    """Return what a run began and left: files beside their place, and staging folders."""
    halves = list(study.rglob(".*.part"))
    stage = study / ".fieldwork" / "stage"
    staged = list(stage.iterdir()) if stage.is_dir() else []
    return [path.relative_to(study).as_posix() for path in (*halves, *staged)]


def undisturbed(study: Path, only: Sequence[str]) -> tuple[dict[str, str], float]:
    """Run a study and return its results with the seconds that it took."""
    start = time.perf_counter()
    process = _started(study, only)
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"the undisturbed run failed:\n{said}")
    return results(study), time.perf_counter() - start


def kill(folder: Path, *, kills: int, seed: int, share: float = 0.3, only: Sequence[str] = (), **size: int) -> Tally:
    """Kill runs of a study and tally what is found.

    Parameters
    ----------
    folder : Path     Where studies are written.
    kills : int       Runs to kill.
    seed : int        Of the moments.
    share : float     Longest time before a kill, as a share of the undisturbed run's duration.
    only : names      Chapters to bring up to date; empty: all.
    size : int        `organisations`, `replicates` of the study.
    """
    unrun = prepared(folder / "unrun", seed=5, **size)
    reference = Path(shutil.copytree(unrun, folder / "reference"))
    expected, seconds = undisturbed(reference, only)
    kept = Path(".fieldwork", "registered", f"{Study.open(unrun).wave}.json")
    (unrun / kept).parent.mkdir(parents=True)
    shutil.copyfile(reference / kept, unrun / kept)
    print(f"undisturbed: {seconds:.1f} s, {len(expected)} files", flush=True)
    random = np.random.default_rng(seed)
    tally, number = Tally(), 0
    study = Path(shutil.copytree(unrun, folder / "killed-0"))
    while tally.kills < kills:
        process, killed = _started(study, only), 0.0
        try:
            process.wait(timeout=float(random.uniform(0.0, share * seconds)))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed = time.monotonic()
        _, said = process.communicate()
        if process.returncode == -signal.SIGKILL:
            tally.kills += 1
            late, seconds_left = left(study, process.pid, killed)
            tally.orphans, tally.last = tally.orphans + late, max(tally.last, seconds_left)
            tally.torn += torn(study)
            if tally.kills % 10 == 0:
                print(f"{tally.kills} kills, {tally.whole} studies whole, {_found(tally)}", flush=True)
            continue
        _whole(study, process.returncode, said, expected, tally)
        number += 1
        shutil.rmtree(study)
        study = Path(shutil.copytree(unrun, folder / f"killed-{number}"))
    process = _started(study, only)
    _, said = process.communicate()
    _whole(study, process.returncode, said, expected, tally)
    return tally


def _whole(study: Path, code: int, said: str, expected: dict[str, str], tally: Tally) -> None:
    """Hold a study whose run ended by itself against the undisturbed one."""
    tally.whole += 1
    if code:
        tally.told.append(said.strip())
    tally.torn += torn(study)
    tally.litter += _leftover(study)
    made = results(study)
    tally.other += [label for label in sorted({*expected, *made}) if made.get(label) != expected.get(label)]


def _found(tally: Tally) -> str:
    return (
        f"{len(tally.torn)} torn, {len(tally.other)} other than undisturbed, {tally.orphans} orphans "
        f"(the last gone after {tally.last:.2f} s), "
        f"{len(tally.litter)} left over, {len(tally.told)} resumed runs failed"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="runs to kill (default 200)")
    parser.add_argument("--seed", type=int, default=20260101, metavar="S", help="seed of the moments")
    parser.add_argument(
        "--organisations", type=int, default=60, metavar="N", help="organisations of the study (default 60)"
    )
    parser.add_argument("--replicates", type=int, default=40, metavar="N", help="replicates of the study (default 40)")
    words = "longest time before a kill, as a share of an undisturbed run's (default 0.3)"
    parser.add_argument("--share", type=float, default=0.3, metavar="X", help=words)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="CHAPTER", help="chapters to bring up to date (default: all)"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        tally = kill(
            Path(folder),
            kills=options.kills,
            seed=options.seed,
            share=options.share,
            only=options.only,
            organisations=options.organisations,
            replicates=options.replicates,
        )
    for word, found in (
        ("torn", tally.torn),
        ("other", tally.other),
        ("left over", tally.litter),
        ("failed", tally.told),
    ):
        for text in found[:20]:
            print(f"{word}: {text}")
    print(f"{tally.kills} kills (seed {options.seed}), {tally.whole} studies made whole: {_found(tally)}")
    return 0 if tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())
