"""The cluster bootstrap beside what a user would otherwise pay, and what its kinds of interval cover.

    python -m benchmarks.bootstrap                  speed, growth and coverage, about 6 minutes of CPU; writes docs/bootstrap.md
    python -m benchmarks.bootstrap --only speed     speed alone | growth | coverage; prints, writes nothing
    python -m benchmarks.bootstrap --studies 100    fewer studies, for a look; prints, writes nothing

The task: weighted mean of a seven-point score in 10 roles x 5 stages, six executives an organisation, organisations as
clusters, from a pandas frame with organisation names to 50 standard errors. Each measurement runs in a process of its own;
its CPU seconds and peak memory are of that process, imports and the making of the data apart (peak memory has them in).
svy is measured where it can be imported, or by the interpreter that FIELDWORK_SVY_PYTHON names.
"""

# ruff: noqa: PLC0415 - each measurement imports only what it measures, in a process of its own
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SELF = Path(__file__).resolve()
ROLES, STAGES, POINTS, EXECUTIVES = 10, 5, 7, 6
CELLS = ROLES * STAGES
REPLICATES = 2000
SIZES = (10_000, 100_000, 1_000_000)


# ----------------------------------------------------------------------------------------------------------------- the task


def respondents(n: int) -> Any:
    """Make n executives: org_id, cell (role x stage), score 1 to 7, weight; the same on every machine."""
    import pandas as pd

    rng = np.random.default_rng(20260101)
    organisation = rng.integers(0, max(n // EXECUTIVES, 2), n)
    shared = rng.normal(size=n // EXECUTIVES + 2)[organisation]
    score = np.clip(np.rint(4 + 0.8 * shared + 1.3 * rng.normal(size=n)), 1, POINTS).astype(np.int64)
    return pd.DataFrame(
        {
            "org_id": np.char.add("o", np.char.zfill(organisation.astype(str), 7)),
            "cell": rng.integers(0, CELLS, n),
            "score": score,
            "weight": np.round(rng.uniform(0.3, 2.0, n), 4),
        }
    )


def ours(n: int, replicates: int, partitions: int = 1) -> dict[str, float]:
    """Exact cell sums by organisation key; from more than one partition, each is made when its turn comes."""
    import pandas as pd

    from fieldwork.statistics.replicates import CellSums, Partition, cluster_keys, infer

    start = CellSums.empty(CELLS, replicates, values=1)
    whole, spent = start, 0.0
    for data in _partitions(n, partitions):
        began = time.process_time()
        cluster, names = pd.factorize(data["org_id"])
        keys = cluster_keys(names.tolist(), 1)
        part = Partition(keys, cluster, data["cell"].to_numpy(), data["weight"].to_numpy(), data[["score"]].to_numpy())
        whole = whole.add(part)
        spent += time.process_time() - began
    began = time.process_time()
    totals = whole.totals()
    error = infer(totals.value[:, 0] / totals.weight, totals.clusters).std_error
    return {"seconds": spent + time.process_time() - began, "std_error": float(np.mean(error))}


def _partitions(n: int, partitions: int) -> Iterator[Any]:
    for i in range(partitions):
        data = respondents(n // partitions)
        if partitions > 1:
            data["org_id"] = f"p{i:04d}" + data["org_id"]
        yield data


def pandas_loop(n: int, replicates: int) -> dict[str, float]:
    """Draw organisations with replacement, copy their rows, group and average: once per replicate."""
    data = respondents(n)
    rng = np.random.default_rng(1)
    began = time.process_time()
    rows = data.groupby("org_id").indices
    names = list(rows)
    data["weighted"] = data["weight"] * data["score"]
    drawn = []
    for _ in range(replicates):
        picked = rng.integers(0, len(names), len(names))
        sample = data.iloc[np.concatenate([rows[names[i]] for i in picked])]
        sums = sample.groupby("cell")[["weighted", "weight"]].sum()
        drawn.append((sums["weighted"] / sums["weight"]).reindex(range(CELLS)).to_numpy())
    error = np.nanstd(np.array(drawn), axis=0)
    return {"seconds": time.process_time() - began, "std_error": float(np.mean(error))}


def svy_bootstrap(n: int, replicates: int) -> dict[str, float]:
    """Measure svy's Rao-Wu bootstrap weights and replicated means by cell."""
    import polars as pl
    import svy

    data = pl.from_pandas(respondents(n))
    began = time.process_time()
    sample = svy.Sample(data=data, design=svy.Design(psu="org_id", wgt="weight"))
    sample = sample.weighting.create_bs_wgts(n_reps=replicates, rstate=1)
    estimate = sample.estimation.mean("score", by="cell", method="replication")
    spent = time.process_time() - began
    error = [row.se for row in estimate.estimates]
    return {"seconds": spent, "std_error": float(np.mean(error))}


TASKS: dict[str, Callable[..., dict[str, float]]] = {"ours": ours, "pandas": pandas_loop, "svy": svy_bootstrap}


# -------------------------------------------------------------------------------------------------------------- measuring


def peak_megabytes() -> float:
    """Peak memory of this process; of this one only, where the kernel keeps it apart from what it was started from."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def measure(task: str, *arguments: int, python: str = sys.executable) -> dict[str, float] | None:
    """Run a task in a fresh process; None where what it needs cannot be imported."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(
        [python, SELF, "--task", task, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        if "ModuleNotFoundError: No module named" in done.stderr:
            return None
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def medians(task: str, *arguments: int, repeats: int, python: str = sys.executable) -> dict[str, float] | None:
    runs = []
    for _ in range(repeats):
        run = measure(task, *arguments, python=python)
        if run is None:
            return None
        runs.append(run)
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def markdown(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    columns = list(columns)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def seconds(value: float) -> str:
    return f"{value:,.3f}" if value < 1 else f"{value:,.1f}"


def speed() -> str:
    """Ours, the pandas loop and svy, side by side."""
    loop = {10_000: 40, 100_000: 10, 1_000_000: 2}
    python = os.environ.get("FIELDWORK_SVY_PYTHON", sys.executable)
    rows = []
    for n in SIZES:
        mine = medians("ours", n, REPLICATES, repeats=5)
        slow = medians("pandas", n, loop[n], repeats=1)
        if mine is None or slow is None:
            raise RuntimeError("fieldwork and pandas must be installed: run `make setup`")
        slow_seconds = slow["seconds"] * REPLICATES / loop[n]
        rows.append([f"{n:,}", "fieldwork", REPLICATES, seconds(mine["seconds"]), round(mine["megabytes"]), "1"])
        rows[-1].append(f"{mine['std_error']:.4f}")
        rows.append([f"{n:,}", "pandas loop", f"{loop[n]}, extrapolated", seconds(slow_seconds)])
        rows[-1] += [round(slow["megabytes"]), f"{slow_seconds / mine['seconds']:,.0f}", f"{slow['std_error']:.4f}"]
        if n > SIZES[1]:
            rows.append([f"{n:,}", "svy", "not run: its weights take 16 GB", "", "", "", ""])
            continue
        other = medians("svy", n, REPLICATES, repeats=3, python=python)
        if other is None:
            rows.append([f"{n:,}", "svy", "not found", "", "", "", ""])
            continue
        rows.append([f"{n:,}", "svy", REPLICATES, seconds(other["seconds"]), round(other["megabytes"])])
        rows[-1].append(f"{other['seconds'] / mine['seconds']:,.0f}")
        rows[-1].append(f"{other['std_error']:.4f}")
    columns = ["respondents", "by", "replicates run", "CPU s for 2,000", "peak MB", "times ours", "mean standard error"]
    return markdown(columns, rows)


def growth() -> str:
    """Ours as replicates and respondents grow; ten million in ten partitions of which one is held at a time."""
    rows = []
    for n, replicates, partitions in [
        *((n, b, 1) for n in SIZES for b in (500, 2000, 10_000)),
        (10_000_000, 500, 10),
        (10_000_000, 2000, 10),
    ]:
        run = medians("ours", n, replicates, partitions, repeats=3 if n < 1_000_000 else 1)
        if run is None:
            raise RuntimeError("fieldwork must be installed: run `make setup`")
        rows.append([f"{n:,}", f"{replicates:,}", partitions, seconds(run["seconds"]), round(run["megabytes"])])
    return markdown(["respondents", "replicates", "partitions", "CPU s", "peak MB"], rows)


# --------------------------------------------------------------------------------------------------------------- coverage

METHODS = ("t", "percentile", "basic", "studentised", "bca")
STATISTICS = ("mean", "mean of a role", "ratio")


def coverage(organisations: int, studies: int, *, replicates: int = 1000) -> dict[tuple[str, str], tuple[float, float]]:
    """Share of 95% intervals that hold the truth, and their median length, by statistic and method.

    Organisations of 1 to 12 executives (most of them small), answers on five points with an organisation effect (ICC .2)
    and a skew, weights with a coefficient of variation of .4; a role that one executive in six has; and a ratio of two
    totals over organisations whose own ratios are lognormal (SD .7 of the log), as spending per head. Truth by integration.
    """
    from scipy import stats

    from fieldwork.statistics.intervals import basic, bca, percentile, ratio, studentised
    from fieldwork.statistics.replicates import cluster_keys, infer, multipliers

    cuts = np.array([-1.5, -0.6, 0.3, 1.2])
    truth = np.array([5 - stats.norm.cdf(cuts + 0.9).sum(), 5 - stats.norm.cdf(cuts + 0.9).sum(), 1.0])
    held = {(s, m): np.zeros(studies) for s in STATISTICS for m in METHODS}
    length = {key: np.zeros(studies) for key in held}
    for study in range(studies):
        rng = np.random.default_rng([organisations, study])
        size = np.minimum(1 + rng.geometric(0.2, organisations), 12)
        at = np.repeat(np.arange(organisations), size)
        latent = -0.9 + np.sqrt(0.2) * rng.normal(size=organisations)[at] + np.sqrt(0.8) * rng.normal(size=len(at))
        answer = 1.0 + (latent[:, None] > cuts).sum(axis=1)
        weight = rng.gamma(1 / 0.16, 0.16, len(at))
        role = rng.random(len(at)) < 1 / 6
        heads = np.exp(0.6 * rng.normal(size=organisations))
        spending = heads * np.exp(0.7 * rng.normal(size=organisations) - 0.245)
        D = np.column_stack([np.bincount(at, w, organisations) for w in (weight, weight * role)] + [heads])
        wy = weight * answer
        N = np.column_stack([np.bincount(at, w, organisations) for w in (wy, wy * role)] + [spending])
        keys = cluster_keys([f"o{i}" for i in range(organisations)], study)
        layers = ratio(N, D, multipliers(keys, replicates))
        intervals = {
            "t": infer(layers.theta, layers.clusters),
            "percentile": percentile(layers.theta, layers.clusters),
            "basic": basic(layers.theta, layers.clusters),
            "studentised": studentised(layers.theta, layers.std_error),
            "bca": bca(layers.theta, layers.acceleration, layers.clusters),
        }
        for method, interval in intervals.items():
            for j, statistic in enumerate(STATISTICS):
                low, high = interval.conf_low[j], interval.conf_high[j]
                held[statistic, method][study] = low <= truth[j] <= high
                length[statistic, method][study] = high - low
    return {key: (float(held[key].mean()), float(np.median(length[key]))) for key in held}


def coverage_table(studies: int) -> str:
    rows = []
    for organisations in (40, 90, 400):
        found = coverage(organisations, studies)
        for statistic in STATISTICS:
            cells = [f"{found[statistic, m][0]:.3f} ({found[statistic, m][1]:.2f})" for m in METHODS]
            rows.append([organisations, statistic, *cells])
    return markdown(["organisations", "statistic", *METHODS], rows)


# ---------------------------------------------------------------------------------------------------------------- command

PAGE = """\
# The cluster bootstrap: cost and coverage

Made by `python -m benchmarks.bootstrap`.

## Cost

Weighted mean of a seven-point score in 50 cells (10 roles x 5 stages), six executives an organisation, organisations as
clusters: from a pandas frame to 50 standard errors. CPU seconds, median of five runs (three for svy, one for the loop), each
in a process of its own with one thread. `times ours` is the ratio of CPU seconds for 2,000 replicates. The last column shows
that all do the same work; that of the loop comes from its few replicates.

{speed}

## Growth

Ten million respondents come in ten partitions, of which one is in memory at a time; the sums are exact, so the result is the
same bits as in one pass.

{growth}

## Coverage of 95% intervals

Share of {studies} simulated studies whose interval holds the truth, and the median length of the interval in brackets. With
500 studies a method that keeps its level shows 0.931 to 0.969 in 19 of 20 cells. `t` is `replicates.infer`, the default; the
others are of `statistics.intervals`. 1,000 replicates; one to twelve executives an organisation, weights with a coefficient
of variation of 0.4. `mean of a role` rests on the organisations that have one (just over half); `ratio` is skewed on purpose.

None of these intervals of the skewed ratio reaches 0.93 at 40 or 90 organisations: so few do not show the long tail that they
come from. `intervals.linearised_ratio` does ([validity_statistics](validity_statistics.md)): take it for a ratio of totals.
Percentile, basic and BCa intervals of a role's mean fall short at 40, basic at 90 too; the t interval holds.

{coverage}
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.bootstrap")
    parser.add_argument("--only", choices=["speed", "growth", "coverage"])
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        name, *numbers = options.task
        result = TASKS[name](*map(int, numbers))
        print(json.dumps(result | {"megabytes": peak_megabytes()}))
        return 0
    made = {
        name: make()
        for name, make in (("speed", speed), ("growth", growth), ("coverage", lambda: coverage_table(options.studies)))
        if options.only in (None, name)
    }
    for table in made.values():
        print(table, end="\n\n")
    if options.only is None and options.studies == 500:
        (ROOT / "docs" / "bootstrap.md").write_text(PAGE.format(**made, studies=options.studies), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
