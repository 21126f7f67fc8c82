"""Respondents by the million: what a whole run costs, from raw CSV to pages, and where.

    python -m benchmarks.scale                               1,800 and 18,000 organisations; prints, four minutes on two cores
    python -m benchmarks.scale --organisations 180000        nearly a million respondents
    python -m benchmarks.scale --organisations 2140000 --only 03_weight       ten million, cleaned and weighted
    python -m benchmarks.scale --organisations 1800 18000 180000 --beyond 2140000 --write
                                                             all of them, and docs/scale.md; most of an hour

Each size is a simulated study of the world role_divergence in a folder of its own, run whole by `fieldwork run` with 2,000
replicates. Seconds of wall time by chapter are those of the run's own record, CPU those of the command and of all that it
waited for. Memory is the largest sum of the proportional set sizes of all processes of the run, looked at three times a second:
a shorter peak may be missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from fieldwork.run.store import Store
from fieldwork.simulate import write_study

ROOT = Path(__file__).resolve().parents[1]
WAVE = "2026Q1"
STEPS = (
    "01_clean", "02_validate", "03_weight", "03b_measurement", "03c_answers", "04_gradient", "04b_dominance", "05_blockers",
    "06_alignment", "07_influence", "08_movement", "08b_practices", "08c_designs_set_aside", "08c_designs_kept",
    "08c_designs_imputed", "08c_multiverse", "09_claims", "10_findings", "site",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run of one study cost.

    Attributes
    ----------
    organisations, respondents : int
    wall, cpu : float                Seconds.
    peak : float                     Megabytes.
    seconds : dict                   Step -> seconds of wall time.
    """

    organisations: int
    respondents: int
    wall: float
    cpu: float
    peak: float
    seconds: dict[str, float]


def memory(pid: int) -> float:
    """Return the megabytes that a process and all that descend from it hold, shared pages divided among their holders."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _read(entry / "stat").rsplit(")", 1)[-1].split()
            if len(fields) > 1:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, [])
        lines = _read(Path(f"/proc/{one}/smaps_rollup")).splitlines()
        found += sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""


def measured(organisations: int, replicates: int, folder: Path, only: Sequence[str] = ()) -> Cost:
    """Simulate a study, run it, and return what that cost; SystemExit with what the run said where it fails.

    `only` : chapters that are run, with those before them; empty: all.
    """
    study = folder / f"study{organisations}"
    write_study("role_divergence", organisations=organisations, waves=1, seed=7, out=study, base=ROOT)
    words = [
        sys.executable,
        "-m",
        "fieldwork",
        "run",
        "--study",
        str(study),
        "--workers",
        "2",
        "--replicates",
        str(replicates),
        *(("--only", *only) if only else ()),
    ]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    said = folder / "said"
    peak = [0.0]
    done = threading.Event()
    began = time.perf_counter()
    with said.open("w") as file:
        process = subprocess.Popen(words, env=env, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

        def watch() -> None:
            while not done.wait(0.3):
                peak[0] = max(peak[0], memory(process.pid))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
    done.set()
    watcher.join()
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(
            f"{organisations} organisations: the run ended with {process.returncode}\n{said.read_text()[-3000:]}"
        )
    store = Store(study)
    seconds = {step: taken for step in STEPS if (taken := store.seconds(WAVE, step)) is not None}
    respondents = pq.read_metadata(study / f"data/processed/{WAVE}/01_clean.parquet").num_rows
    return Cost(organisations, respondents, wall, usage.ru_utime + usage.ru_stime, peak[0], seconds)


def tables(costs: Sequence[Cost]) -> str:
    """Write two tables: the whole run by size, and its chapters."""
    head = [
        "| organisations | respondents | wall s | CPU s | peak MB | CPU ms a respondent |",
        "|---|---|---|---|---|---|",
    ]
    rows = [
        f"| {c.organisations:,} | {c.respondents:,} | {c.wall:,.0f} | {c.cpu:,.0f} | {c.peak:,.0f} "
        f"| {1000 * c.cpu / c.respondents:.1f} |"
        for c in costs
    ]
    sizes = " | ".join(f"{c.respondents:,}" for c in costs)
    steps = [step for step in STEPS if any(step in c.seconds for c in costs)]
    by_step = [
        f"| {step} | {' | '.join(f'{c.seconds[step]:,.1f}' if step in c.seconds else '' for c in costs)} |"
        for step in steps
    ]
    return "\n".join(
        [*head, *rows, "\nSeconds of wall time by step, two at a time:\n", f"| step | {sizes} |",
         f"|{'---|' * (len(costs) + 1)}", *by_step]
    )  # fmt: skip


PAGE = """# Many respondents: cost and growth

Made by `python -m benchmarks.scale --organisations {sizes} --write`: simulated
studies with the shipped questionnaire, from raw CSV to pages, {replicates:,} replicates, two workers on two cores. CPU seconds
are those of all processes; the peak is the largest sum of their memory.

{tables}
"""
BEYOND = """
## Beyond memory

Raw CSV, cleaned and weighted (`fieldwork run --only 03_weight`): a piece of 20,000 rows is read at a time, and weighting reads
the columns that it needs.

{tables}
"""
_BEFORE_ALL_ELSE = ("03_weight",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size, print the tables, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organisations", type=int, nargs="+", default=[1800, 18000])
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="CHAPTER", help="chapters that are run, with those before"
    )
    words = "sizes that are cleaned and weighted only, on a page beside the others"
    parser.add_argument("--beyond", type=int, nargs="+", default=[], metavar="ORGANISATIONS", help=words)
    parser.add_argument("--write", action="store_true", help="write docs/scale.md")
    options = parser.parse_args(arguments)
    if options.write and options.only:
        parser.error("the page is of whole runs: --write goes without --only")
    runs = [(size, tuple(options.only)) for size in options.organisations]
    runs += [(size, _BEFORE_ALL_ELSE) for size in options.beyond]
    costs = []
    for organisations, only in runs:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            costs.append(measured(organisations, options.replicates, Path(folder), only))
        print(tables(costs[-1:]), flush=True)
    whole, beyond = costs[: len(options.organisations)], costs[len(options.organisations) :]
    told = tables(whole)
    print(told)
    if options.write:
        sizes = " ".join(map(str, [*options.organisations, *(["--beyond", *options.beyond] if beyond else [])]))
        page = PAGE.format(sizes=sizes, replicates=options.replicates, tables=told)
        page += BEYOND.format(tables=tables(beyond)) if beyond else ""
        (ROOT / "docs/scale.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
