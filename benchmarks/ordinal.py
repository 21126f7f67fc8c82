"""Speed of the cumulative link mixed model beside what a user would otherwise pick, in one run.

    python -m benchmarks.ordinal                 1.2, 12 and 120 thousand answers, 10 roles x 5 stages, 11 nodes
    python -m benchmarks.ordinal --sizes 300 2000

Prints CPU seconds (median of the repeats for ours, one run for peers), ratios and log-likelihoods. Peers: R `ordinal::clmm`
(Laplace, up to 2,000 answers) and a Laplace fit written for R's TMB; what is not installed is said.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fieldwork.statistics import CumulativeLinkMixedModel

PEERS = Path(__file__).parent / "peers"
ROLES, STAGES, POINTS = 10, 5, 7


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


def ours(data: pd.DataFrame, repeats: int) -> tuple[float, float]:
    """Return median CPU seconds and log-likelihood of our fit."""
    X = np.zeros((len(data), ROLES * STAGES))
    X[np.arange(len(data)), data["cell"]] = 1.0
    X = X[:, X.any(axis=0)][:, 1:]
    times, likelihood = [], 0.0
    for _ in range(repeats):
        start = time.process_time()
        fit = CumulativeLinkMixedModel(data["y"], X, data["g"].to_numpy(), nodes=11).fit()
        times.append(time.process_time() - start)
        likelihood = fit.llf
    return statistics.median(times), likelihood


def peer(data: pd.DataFrame, name: str, folder: Path) -> tuple[float, float] | str:
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
        ["Rscript", PEERS / "clmm.R", path, name, template], capture_output=True, text=True, check=False, cwd=folder
    )
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1:]}"
    seconds, likelihood = map(float, done.stdout.split()[-2:])
    return seconds, likelihood


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[206, 2010, 20000], help="organisations, 6 answers each"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args(arguments)
    print("| answers | fit | CPU s | times ours | log-likelihood |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for organisations in options.sizes:
            data = survey(organisations)
            seconds, likelihood = ours(data, options.repeats)
            print(f"| {len(data)} | fieldwork, 11 nodes | {seconds:.3f} | 1 | {likelihood:.3f} |", flush=True)
            for name in () if options.without_peers else ("clmm", "tmb"):
                if name == "clmm" and len(data) > 2000:
                    print(f"| {len(data)} | R clmm | not run above 2,000 answers | | |")
                    continue
                result = peer(data, name, Path(place))
                if isinstance(result, str):
                    print(f"| {len(data)} | R {name} | {result} | | |")
                else:
                    print(
                        f"| {len(data)} | R {name}, Laplace | {result[0]:.2f} | {result[0] / seconds:.0f} | {result[1]:.3f} |",
                        flush=True,
                    )
    print(f"\nlargest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
