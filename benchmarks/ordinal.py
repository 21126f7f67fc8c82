"""Speed and memory of the cumulative link mixed model beside what a user would otherwise pick, in one run.

    python -m benchmarks.ordinal                 the whole comparison, about ten minutes; writes docs/ordinal.md
    python -m benchmarks.ordinal --sizes 300     other numbers of organisations; prints, writes nothing
    python -m benchmarks.ordinal --without-peers ours alone; prints, writes nothing

One intercept: 10 roles x 5 stages (49 effects), seven points, six answers an organisation, 11 nodes. Several: four waves of
answers of five executives an organisation, role and stage added. Each of our measurements runs in a process of its own: CPU
seconds (median of the repeats), peak memory with the imports and with the fit's own data. Peers: R `ordinal::clmm` (Laplace,
up to 2,000 answers) and a Laplace fit written for R's TMB, one run each; what is not installed is said.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.bootstrap import markdown, peak_megabytes
from fieldwork.statistics import CumulativeLinkMixedModel

ROOT = Path(__file__).resolve().parents[1]
PEERS = Path(__file__).parent / "peers"
ROLES, STAGES, POINTS = 10, 5, 7
SIZES, PANELS = [206, 2010, 20000], [20, 100, 1000, 5000]
MOST_OF_CLMM = 2000  # answers; it is not done in half an hour at six times as many


def survey(organisations: int, per: int = 6, seed: int = 1) -> pd.DataFrame:
    """Draw answers of executives within organisations: roles vary within, stages between."""
    rng = np.random.default_rng(seed)
    n = organisations * per
    firm = np.repeat(np.arange(organisations), per)
    role, stage = rng.integers(0, ROLES, n), rng.integers(0, STAGES, organisations)[firm]
    eta = 0.5 * rng.standard_normal(ROLES)[role] + 0.3 * stage + rng.standard_normal(organisations)[firm]
    cuts = np.linspace(-2, 3, POINTS - 1)
    return pd.DataFrame(
        {
            "y": (eta[:, None] + rng.logistic(size=n)[:, None] > cuts).sum(axis=1),
            "cell": role * STAGES + stage,
            "g": firm,
        }
    )


def panel(organisations: int, people: int = 5, waves: int = 4, seed: int = 1) -> pd.DataFrame:
    """Draw a panel: organisations of five executives, each asked in four waves."""
    rng = np.random.default_rng(seed)
    everyone = organisations * people
    n = everyone * waves
    g, h = np.repeat(np.arange(organisations), people * waves), np.repeat(np.arange(everyone), waves)
    role, stage = rng.integers(0, ROLES, everyone)[h], rng.integers(0, STAGES, organisations)[g]
    eta = 0.5 * rng.standard_normal(ROLES)[role] + 0.3 * stage
    eta = eta + 0.8 * rng.standard_normal(organisations)[g] + 1.1 * rng.standard_normal(everyone)[h]
    y = (eta[:, None] + rng.logistic(size=n)[:, None] > np.linspace(-2, 3, POINTS - 1)).sum(axis=1)
    return pd.DataFrame({"y": y, "role": role.astype(str), "stage": stage.astype(str), "g": g, "h": h})


DATA: dict[str, Callable[[int], pd.DataFrame]] = {"survey": survey, "panel": panel}
FORMULA = {"survey": "y ~ C(cell) + (1 | g)", "panel": "y ~ role + stage + (1 | g) + (1 | h)"}


def ours(kind: str, organisations: int, repeats: int) -> dict[str, float]:
    """Read the formula and fit: median CPU seconds, log-likelihood, largest derivative, peak memory of this process."""
    import formulaic  # noqa: F401, PLC0415 - its import is no part of a fit

    data = DATA[kind](organisations)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        fit = CumulativeLinkMixedModel.from_formula(FORMULA[kind], data).fit()
        times.append(time.process_time() - start)
    return {
        "seconds": statistics.median(times),
        "likelihood": fit.llf,
        "gradient": float(np.abs(fit.gradient).max()),
        "megabytes": peak_megabytes(),
    }


def apart(kind: str, organisations: int, repeats: int) -> dict[str, float]:
    """Run `ours` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ordinal", "--task", kind, str(organisations), str(repeats)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peer(data: pd.DataFrame, kind: str, name: str, folder: Path) -> tuple[float, float] | str:
    """Return CPU seconds and log-likelihood of a peer, or why there are none."""
    if not shutil.which("Rscript"):
        return "R not found"
    package = {"clmm": "ordinal", "tmb": "TMB"}[name]
    found = subprocess.run(
        ["Rscript", "-e", f"quit(status = !requireNamespace('{package}', quietly = TRUE))"], check=False
    )
    if found.returncode:
        return f"R package {package} not found"
    template = folder / "clmm"
    if name == "tmb" and not template.with_suffix(".so").exists():
        shutil.copy(PEERS / "clmm.cpp", folder)
        built = subprocess.run(
            ["Rscript", "-e", "suppressMessages(library(TMB)); compile('clmm.cpp')"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not template.with_suffix(".so").exists():
            return f"TMB could not compile: {built.stderr.strip().splitlines()[-1:]}"
    path = folder / "data.csv"
    data.to_csv(path, index=False)
    done = subprocess.run(
        ["Rscript", PEERS / "clmm.R", path, f"{name}_{kind}", template],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1:]}"
    seconds, likelihood = map(float, done.stdout.split()[-2:])
    return seconds, likelihood


def comparison(kind: str, sizes: Sequence[int], repeats: int, peers: Sequence[str]) -> str:
    """Ours and the peers, as a table."""
    rows: list[list[object]] = []
    label = "11 nodes" if kind == "survey" else "Laplace"
    with tempfile.TemporaryDirectory() as place:
        for organisations in sizes:
            data, mine = DATA[kind](organisations), apart(kind, organisations, repeats)
            answers = f"{len(data):,}"
            rows.append([answers, f"fieldwork, {label}", f"{mine['seconds']:.3f}", "1", round(mine["megabytes"])])
            rows[-1] += [f"{mine['likelihood']:.3f}", f"{mine['gradient']:.0e}"]
            for name in peers:
                if name == "clmm" and len(data) > MOST_OF_CLMM:
                    rows.append([answers, "R clmm", f"not run above {MOST_OF_CLMM:,} answers", "", "", "", ""])
                    continue
                found = peer(data, kind, name, Path(place))
                if isinstance(found, str):
                    rows.append([answers, f"R {name}", found, "", "", "", ""])
                    continue
                ratio = f"{found[0] / mine['seconds']:.0f}"
                rows.append([answers, f"R {name}, Laplace", f"{found[0]:.2f}", ratio, "", f"{found[1]:.3f}", ""])
    columns = ["answers", "fit", "CPU s", "times ours", "peak MB", "log-likelihood", "largest derivative"]
    return markdown(columns, rows)


PAGE = """\
# The cumulative link mixed model: speed and memory

Made by `python -m benchmarks.ordinal`. CPU seconds from data frame to estimates and standard errors, median of five runs for
ours, one for peers; peak memory is that of the whole process, 170 MB of imports in it.

## One intercept

Ten roles x five stages (49 effects), seven points, six answers an organisation. Ours integrates by adaptive quadrature, the
peers take Laplace's approximation, which is less work and puts the standard deviation between organisations too low.

{survey}

## Two nested intercepts

Organisations of five executives, each asked in four waves; ten roles and five stages, added. All by Laplace's approximation.

{panel}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", help="organisations, 6 answers each; leaves the panels out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--task", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        kind, organisations, repeats = options.task
        print(json.dumps(ours(kind, int(organisations), int(repeats))))
        return 0
    peers = () if options.without_peers else ("clmm", "tmb")
    tables = {"survey": comparison("survey", options.sizes or SIZES, options.repeats, peers)}
    print(tables["survey"], flush=True)
    if options.sizes:
        return 0
    tables["panel"] = comparison("panel", PANELS, options.repeats, peers[:1])
    print("\n" + tables["panel"])
    if not options.without_peers:
        (ROOT / "docs" / "ordinal.md").write_text(PAGE.format(**tables), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
