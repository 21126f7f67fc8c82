"""What taking a delivery in costs: seconds a million rows and peak memory, beside a plain `pandas.read_csv` of the same file.

    python -m benchmarks.intake                    1,000 MB, about 12 minutes; writes docs/intake.md
    python -m benchmarks.intake --megabytes 20     a smaller file, for a look; prints, writes nothing

The file is the shipped simulated delivery, its respondents and organisations repeated under names of their own. Each step runs
in a process of its own, one after another in one run; seconds and peak memory are of that process, imports in the memory and
not in the seconds. Ids become pseudonyms, as those of a real delivery do, by a key that is thrown away.
"""

# ruff: noqa: E501, PLC0415 - the page stands here as it is; each step imports what it measures, in a process of its own
from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bootstrap import peak_megabytes

ROOT = Path(__file__).resolve().parents[1]
WAVE = "2026Q1"
TEXT = """# What taking a delivery in costs

Made by `python -m benchmarks.intake`: one CSV of {megabytes:,.0f} MB, {rows:,} respondents of {columns} columns, made of the shipped
simulated delivery by repetition under names of their own. Each step ran in a process of its own, in one run on one machine;
peak memory is that of the process, {base:.0f} MB of it imports. The machine has {cores} cores and its load was {load}
before the steps, where one step makes 1: what is above it is the work of others, and makes the seconds longer than the CPU s.

| step | CPU s a million rows | seconds a million rows | peak MB |
|---|---|---|---|
{lines}

*Take in* is everything from bytes to saved tables (`clean.take_in`, chapter `01_clean`): encoding and SHA-256, cells, header and
personal columns, every answer against the instrument, rows against one another, pseudonyms; then {accepted:,} rows accepted and
{quarantined:,} set aside, written in order as Parquet, with a line for each of {missing:,} missing answers. `pandas.read_csv` guesses types
and does none of this; with `dtype=str` it keeps cells as they stand. *Check* is `fieldwork check`: the same reading, every
problem listed, nothing written.

## What is bounded, and what is not

The memory of taking in holds a piece of 20,000 rows and some 100 bytes of each row: twenty times the rows, {growth} times the
memory ({small:.0f} MB for {small_rows:,} rows). What waits lies on the disk, in files without a name beside the results, at most about the
size of the delivery. A delivery that is wholly repeated needs some 200 bytes more a row, for the texts of both.

Not bounded: `fieldwork check` lists every problem in memory, about 0.5 kB each. Files of one answer a row (`[[long]]`), and those of
respondents beside them, are read whole. Chapters after `01_clean` read the responses whole: opening them takes {reading:.0f} MB
here, before anything is estimated. Beyond a million rows no CSV is written beside the responses.
"""


def delivery(path: Path, megabytes: float) -> int:
    """Write the shipped delivery over and over until the file has that size; return the number of rows."""
    with (ROOT / "data/raw" / WAVE / "responses.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    tails = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(row[2:])
        tails.append((row[0], row[1], text.getvalue()))
    size = written = count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        size += file.write(",".join(header) + "\n")
        while size < megabytes * 1e6:
            for respondent, organisation, tail in tails:
                size += file.write(f"{respondent}x{count},{organisation}x{count},{tail}")
                written += 1
                if size >= megabytes * 1e6:
                    break
            count += 1
    return written


def study_of(folder: Path, megabytes: float) -> int:
    """Make a study folder with such a delivery, whose ids become pseudonyms; return the number of rows."""
    raw = folder / "data/raw" / WAVE
    raw.mkdir(parents=True)
    (folder / "instruments").symlink_to(ROOT / "instruments")
    text = (ROOT / "study.toml").read_text(encoding="utf-8")
    (folder / "study.toml").write_text(text.replace("[data]\n", "[data]\npseudonyms = true\n"), encoding="utf-8")
    return delivery(raw / "responses.csv", megabytes)


# ---------------------------------------------------------------------------------------------------- steps, each in a process


def take(folder: Path) -> dict[str, float]:
    """Take the delivery in, with a bar on a terminal."""
    from fieldwork.chapter import Chapter
    from fieldwork.clean import take_in
    from fieldwork.run.progress import counting

    chapter = Chapter.open("01_clean", folder, WAVE)
    with counting("taking in") as bar:
        taken = take_in(chapter, progress=lambda file, part: bar(file, round(1000 * part), 1000))
    return {
        "accepted": taken.flow.accepted,
        "quarantined": taken.flow.quarantined,
        "missing": taken.reason_counts.total(),
    }


def check(folder: Path) -> dict[str, float]:
    """List every problem of the delivery."""
    from fieldwork.intake import check_files
    from fieldwork.run.progress import counting
    from fieldwork.study import Study

    study = Study.open(folder, WAVE)
    with counting("checking") as bar:
        found = check_files(study.raw_files(), study, progress=lambda file, part: bar(file, round(1000 * part), 1000))
    return {"problems": len(found)}


def back(folder: Path) -> dict[str, float]:
    """Read the responses as a chapter does."""
    from fieldwork.chapter import Chapter

    return {"rows": len(Chapter.open("02_validate", folder, WAVE).read("01_clean"))}


def plain(folder: Path, **options: Any) -> dict[str, float]:
    """Read the same file with pandas."""
    import pandas as pd

    frame = pd.read_csv(folder / "data/raw" / WAVE / "responses.csv", **options)
    return {"rows": len(frame), "columns": len(frame.columns)}


STEPS: dict[str, tuple[str, Callable[[Path], dict[str, float]]]] = {
    "plain": ("`pandas.read_csv`", plain),
    "texts": ("`pandas.read_csv`, `dtype=str`", lambda folder: plain(folder, dtype=str, keep_default_na=False)),
    "take": ("take in", take),
    "check": ("check", check),
    "back": ("read the responses, as a chapter does", back),
}


def measure(step: str, folder: Path) -> dict[str, float]:
    """Run a step in a process of its own; what it writes to a terminal goes there."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "FIELDWORK_KEY": f"{folder}.key"}
    command = [sys.executable, "-m", "benchmarks.intake", "--step", step, "--study", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def one_step(step: str, folder: Path) -> dict[str, float]:
    """Measure a step in this process."""
    for name in ("pandas", "pyarrow.parquet", "fieldwork.chapter", "fieldwork.clean"):
        importlib.import_module(name)  # before the clock starts
    base = peak_megabytes()
    cpu, wall = time.process_time(), time.perf_counter()
    found = STEPS[step][1](folder)
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return found | spent | {"peak": peak_megabytes(), "base": base}


def report(megabytes: float, folder: Path) -> str:
    """Measure every step at that size, taking in at a twentieth of it as well, and return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    small_rows = study_of(folder / "small", megabytes / 20)
    small = measure("take", folder / "small")
    rows = study_of(folder / "large", megabytes)
    load = []
    made = {}
    for step in STEPS:
        load.append(f"{os.getloadavg()[0]:.1f}")
        made[step] = measure(step, folder / "large")
    lines = [
        f"| {STEPS[step][0]} | {1e6 * found['cpu'] / rows:.1f} | {1e6 * found['wall'] / rows:.1f} | {found['peak']:,.0f} |"
        for step, found in made.items()
    ]
    return TEXT.format(
        megabytes=megabytes, rows=rows, columns=int(made["plain"]["columns"]), base=small["base"], lines="\n".join(lines),
        accepted=int(made["take"]["accepted"]), quarantined=int(made["take"]["quarantined"]),
        missing=int(made["take"]["missing"]), growth=f"{made['take']['peak'] / small['peak']:.1f}", small=small["peak"],
        small_rows=small_rows, reading=made["back"]["peak"], cores=os.cpu_count(), load=", ".join(load),
    )  # fmt: skip


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, help="size of the file (default 1,000, and the page is written)")
    parser.add_argument("--folder", type=Path, help="where the file is made (default: the system's temporary folder)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.step:
        print(json.dumps(one_step(options.step, options.study)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        page = report(options.megabytes or 1000, Path(folder))
    if options.megabytes:
        print(page)
    else:
        (ROOT / "docs/intake.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
