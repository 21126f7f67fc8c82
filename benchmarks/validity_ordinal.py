"""Validity of the cumulative link mixed model by simulation.

    python -m benchmarks.validity_ordinal --out docs/validity_ordinal.md    500 studies a cell
    python -m benchmarks.validity_ordinal --studies 50                      fewer, for a look; prints, writes nothing

CONTRIBUTING.md says how long it takes.

40, 90 and 400 organisations, six answers each or between one and twelve; five categories, logit; effects within organisations
(role), between them (stage), and of nothing (null), with intervals of the model and robust ones.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fieldwork.errors import FieldworkError
from fieldwork.statistics import CumulativeLinkMixedModel

READING = """\
Truth: role effects 0.6, -0.6, 0; stage effects 0.5, 0; standard deviation 1 between organisations. `covered` is the share of
95% intervals that hold the truth, `without correction` the same with plain Wald intervals, `rejects nil` the share that
excludes 0 (type I error where the truth is 0, power elsewhere). With 500 studies 0.931 to 0.969 holds 19 of 20 cells.

Effects between organisations (stage) need their degrees of freedom at 40 organisations: 0.924 to 0.944 without, 0.944 to
0.956 with. The standard deviation is estimated 6 to 8% low at 40 organisations and 2 to 3% low at 90. Its robust interval
falls to 0.914 at 90 organisations of equal size; take the model's interval, or the likelihood-ratio test, for it.
"""
ROOT = Path(__file__).resolve().parents[1]
TRUTH = {"role[1]": 0.6, "role[2]": -0.6, "role[3]": 0.0, "stage[1]": 0.5, "stage[2]": 0.0, "sd": 1.0}


def study(organisations: int, *, unequal: bool, seed: int) -> pd.DataFrame:
    """Draw and fit one study; one row per effect with its interval, or none where the sample cannot carry the model."""
    rng = np.random.default_rng([organisations, unequal, seed])
    sizes = rng.integers(1, 13, organisations) if unequal else np.full(organisations, 6)
    firm = np.repeat(np.arange(organisations), sizes)
    n = len(firm)
    role, stage = rng.integers(0, 4, n), rng.integers(0, 3, organisations)[firm]
    eta = np.array([0.0, 0.6, -0.6, 0.0])[role] + np.array([0.0, 0.5, 0.0])[stage]
    latent = eta + rng.standard_normal(organisations)[firm] + rng.logistic(size=n)
    X = np.column_stack([role == 1, role == 2, role == 3, stage == 1, stage == 2]).astype(float)
    rows = []
    try:
        model = CumulativeLinkMixedModel(np.digitize(latent, [-2.0, -0.5, 0.8, 2.2]), X, firm, names=list(TRUTH)[:5])
        for kind in ("model", "robust"):
            result = model.fit(covariance=kind)
            ends, plain = result.conf_int(), result.conf_int(small_sample=False)
            for place, (name, value) in enumerate(TRUTH.items()):
                at = 4 + place
                rows.append(
                    {
                        "effect": name,
                        "covariance": kind,
                        "bias": float(result.params.iloc[at]) - value,
                        "covered": bool(ends.iloc[at, 0] <= value <= ends.iloc[at, 1]),
                        "covered_without_correction": bool(plain.iloc[at, 0] <= value <= plain.iloc[at, 1]),
                        "rejects_nil": bool(not ends.iloc[at, 0] <= 0 <= ends.iloc[at, 1]),
                    }
                )
    except FieldworkError as error:
        rows = [{"effect": "not fitted: " + error.title, "covariance": ""}]
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the studies and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--organisations", type=int, nargs="+", default=[40, 90, 400])
    parser.add_argument("--out", type=Path, default=None, help="file for the table (default: print only)")
    options = parser.parse_args(arguments)
    lines = [
        "| organisations | answers each | effect | covariance | bias | covered | without correction | rejects nil | fits |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        for organisations in options.organisations:
            for unequal in (False, True):
                task = partial(_seeded, organisations, unequal)
                rows = pd.concat(pool.map(task, range(1, options.studies + 1), chunksize=10))
                for (effect, kind), part in rows.groupby(["effect", "covariance"], sort=False):
                    numbers = (
                        part[["bias", "covered", "covered_without_correction", "rejects_nil"]].astype(float).mean()
                    )
                    shown = " | ".join("" if np.isnan(v) else f"{v:.3f}" for v in numbers)
                    each = "1 to 12" if unequal else "6"
                    lines.append(f"| {organisations} | {each} | {effect} | {kind} | {shown} | {len(part)} |")
    table = "\n".join(lines)
    print(table)
    if options.out:
        made = f"Made by `python -m benchmarks.validity_ordinal --studies {options.studies}`."
        text = f"# Validity of the mixed model\n\n{made}\n\n{READING}\n"
        options.out.write_text(text + table + "\n", encoding="utf-8")
    return 0


def _seeded(organisations: int, unequal: bool, seed: int) -> pd.DataFrame:
    return study(organisations, unequal=unequal, seed=seed)


if __name__ == "__main__":
    raise SystemExit(main())
