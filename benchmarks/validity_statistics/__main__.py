"""Validity of the statistical core by simulation.

    python -m benchmarks.validity_statistics                  500 studies a cell; writes docs/validity_statistics.md and .csv
    python -m benchmarks.validity_statistics --only ranks     one part (or several); the others keep the rows they have
    python -m benchmarks.validity_statistics --studies 50     fewer, for a look; prints, writes nothing unless --out is given

Cells: 40, 90 and 400 organisations, of equal or unequal size, with unit or unequal weights where the method takes weights.
Intervals are judged at 90 organisations; there the parts that have some draw four times as many studies. One process; the same
numbers on every machine. CONTRIBUTING.md says how long each part takes.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.validity_statistics.design import Cell, Outcome, Sample, Tally, cells, draw
from benchmarks.validity_statistics.page import COLUMNS, JUDGED, page, read

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "intervals",
    "proportion",
    "multiresponse",
    "spread",
    "ranks",
    "decomposition",
    "influence_model",
    "convergence",
    "duration",
    "multiplicity",
    "agreement",
)
FEWEST = 500  # studies from which the page is written
PRECISE = 4  # times as many studies where intervals are judged


def run(part: str, organisations: Sequence[int], studies: int) -> pd.DataFrame:
    """Run the studies of one part and return its rows."""
    module = import_module(f"benchmarks.validity_statistics.parts.{part}")
    rows: list[dict[str, object]] = []
    for cell in cells(organisations):
        if cell.weighted and not module.WEIGHTS:
            continue
        began = time.process_time()
        number = PRECISE * studies if module.PRECISE and cell.organisations == JUDGED else studies
        rows += _studies(part, module.study, cell, number, studies)
        spent = time.process_time() - began
        place = f"{part}: {cell.organisations} organisations, {cell.column}"
        print(f"{place}: {spent:.0f} s of CPU", file=sys.stderr, flush=True)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def _studies(
    part: str, study: Callable[[Sample], Iterator[Outcome]], cell: Cell, studies: int, tested: int
) -> list[dict[str, object]]:
    tally = Tally()
    for number in range(1, studies + 1):
        for outcome in study(draw(part, cell, number, tests=number <= tested)):
            tally.add(outcome)
        if number == 1:  # statsmodels' multipletests collects garbage at every call: spare it what is imported by now
            gc.freeze()
        if sys.stderr.isatty():
            print(f"\r{part}: {number} of {studies}", end="\r", file=sys.stderr)
    gc.unfreeze()
    return tally.rows(part, cell)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.validity_statistics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=FEWEST, help="simulated studies a cell")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--organisations", type=int, nargs="+", default=[40, 90, 400])
    parser.add_argument(
        "--out", type=Path, help="folder for the page and its table (default: docs, from 500 studies on)"
    )
    options = parser.parse_args(arguments)
    whole = options.studies >= FEWEST and options.organisations == [40, 90, 400]
    folder = options.out or (ROOT / "docs" if whole else None)
    for part in options.only:
        with threadpool_limits(1):  # the matrices are small: more threads only wait for each other
            made = run(part, options.organisations, options.studies)
        kept = read(folder) if folder else pd.DataFrame(columns=COLUMNS)
        table = pd.concat([t for t in (kept[kept["part"] != part], made) if len(t)])
        table = table.sort_values("part", key=lambda names: names.map(PARTS.index), kind="stable")
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            table.to_csv(folder / "validity_statistics.csv", index=False, float_format="%.6g")
            (folder / "validity_statistics.md").write_text(page(read(folder)), encoding="utf-8")
        else:
            print(page(made))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
