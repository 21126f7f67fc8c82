"""Validity of the blockers by simulation: do the intervals cover, do false claims stay unsupported, do tests keep their level?

    python -m benchmarks.validity_blockers                 all studies, an hour on a core; writes docs/validity_blockers.md
    python -m benchmarks.validity_blockers --studies 20    fewer, for a look

Each study draws the answers to the two multi-select questions of the shipped questionnaire from a world whose truth is known,
and runs the functions of the chapters: raking, replicates, constructs, gate, claims. Seeds are 1, 2, 3, ...
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldwork.claims import Register, against_margins, judge
from fieldwork.constructs import blockers
from fieldwork.constructs.adoption_gradient import Measure, estimate
from fieldwork.constructs.cells import axis, survey_design
from fieldwork.constructs.ledger import Estimates
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument
from fieldwork.simulate import Population, layout_of, worlds
from fieldwork.simulate.interview import Interview
from fieldwork.simulate.population import BLOCK, blocks, executives
from fieldwork.simulate.truths import whole_truth
from fieldwork.weight import Margin, Margins, rake

if TYPE_CHECKING:
    from collections.abc import Mapping

READING = """\
`covered` is the share of 95% intervals that hold the truth, `above` and `below` the two ways to miss, over the statistics of
one name in all studies. Where the truth is the end of a range (profiles that are alike, citations that spread evenly) an
interval can miss on one side only.

- Shares (Korn-Graubard), their differences (square-and-add) and the largest share among the other roles (exact bounds for all
  at once) err on the safe side, as exact intervals do.
- `effective_number` and `majority_share` depend on who of an organisation answers; their truth is that of organisations with
  three informants or more.
- Verdicts: in `null` no role differs from another, so H6, H9 and H24 are false there and H7 is false in both worlds.
- Tests are at the 5% level; in `null` their share of rejections is the size, else the power.
"""
ROOT = Path(__file__).resolve().parents[1]
CLAIMS = ("H6", "H7", "H8", "H9", "H24")
ITEMS = ("blk", "cond")
KEY = ["construct", "measure", "statistic", "role", "role_2", "stage", "item"]


@lru_cache(maxsize=1)
def questionnaire() -> Instrument:
    return Instrument.load(ROOT / "instruments" / "2026Q1.toml", "2026Q1")


@lru_cache(maxsize=1)
def register() -> Register:
    """The claims on blockers, in a primary family of its declared size."""
    whole = Register.load(ROOT / "instruments" / "claims.toml")
    return replace(whole, claims=tuple(claim for claim in whole.claims if claim.id in CLAIMS))


def responses(population: Population, organisations: int, seed: int) -> pd.DataFrame:
    """Draw the columns that blockers and confidence need, as cleaning would leave them."""
    instrument, layout, parts = questionnaire(), population.layout, []
    for block, size in blocks(organisations):
        drawn = executives(population, organisations=size, seed=seed, block=block)
        interview = Interview(instrument, drawn, 1, "2026Q1")
        conf = next(measure for measure in layout.measures if measure.name == "conf")
        frame = pd.DataFrame(
            {
                "resp_id": [f"r{block}_{i:06d}" for i in range(drawn.n)],
                "org_id": [f"o{organisation:07d}" for organisation in drawn.org + block * BLOCK],
                "role": pd.array(np.array(layout.roles)[drawn.role], dtype="string"),
                "stage_fn": pd.array(interview.stage + 1, dtype="Int8"),
                "size_band": pd.array(np.array(layout.sizes)[drawn.size], dtype="string"),
                "conf": pd.array(drawn.point(conf, drawn.latent(conf, interview.stage)) + 1, dtype="Int8"),
            }
        )
        for name in ITEMS:
            item = instrument.item(name)
            ticks, kept = interview.sets(item)
            for number, column in enumerate(item.native_columns()):
                frame[column] = pd.array(ticks[:, number].astype(int), dtype="Int8")
                frame.loc[~kept, column] = pd.NA
        caught = interview.speeder | interview.straight | interview.inattentive
        parts.append(frame[~caught])
    return pd.concat(parts, ignore_index=True)


def estimate_study(
    world: str, organisations: int, seed: int, *, replicates: int = 400, settings: Mapping[str, float] | None = None
) -> Estimates:
    """Draw one study and estimate it as chapters 03, 04 and 05 do."""
    instrument = questionnaire()
    population = Population(worlds()[world].with_settings(settings or {}), layout_of(instrument))
    data = responses(population, organisations, seed)
    role, size = list(population.margins().values())[:2]
    margins = Margins(
        (Margin("role", population.layout.roles, role), Margin("size_band", population.layout.sizes, size))
    )
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": rake(data, margins).weight})
    roles, stages = axis(instrument, "role"), axis(instrument, "stage_fn")
    design = survey_design(
        data, weights, respondent="resp_id", organisation="org_id", margins=margins, replicates=replicates, seed=seed,
        role=roles, stage=stages,
    )  # fmt: skip
    gradient = estimate(design, [Measure("conf", (1.0, 2.0, 3.0, 4.0, 5.0))], roles, stages, wave="2026Q1")
    made = blockers.estimate_for(instrument, design, register().wanted("blockers"))
    return Estimates.joined([gradient, made])


@lru_cache(maxsize=4)
def known(world: str) -> dict[tuple[str, ...], float]:
    """Return the truth of a world by key."""
    rows = whole_truth(Population(worlds()[world], layout_of(questionnaire())), questionnaire(), "2026Q1", 1)
    return {tuple(str(row[name]) for name in KEY): float(row["value"]) for row in rows if "value" in row}


def _with_truth(table: pd.DataFrame, world: str) -> pd.DataFrame:
    value = known(world)
    mine = table[(table["construct"] == "blockers") | (table["stage"] != "")].copy()
    mine["truth"] = [value.get(tuple(key), np.nan) for key in mine[KEY].itertuples(index=False, name=None)]
    return mine[mine["truth"].notna() & mine["estimate"].notna()]


def _one(world: str, organisations: int, seed: int) -> tuple[pd.DataFrame, dict[str, object], pd.DataFrame]:
    made = estimate_study(world, organisations, seed)
    tested = against_margins(register(), made.estimates, made.draws)
    records = judge(register(), tested, publish(tested.estimates, Policy(), made.bases))
    verdicts: dict[str, object] = {r["id"]: r["verdict"] for r in records if r["id"] in CLAIMS}
    tests = made.estimates[made.estimates["p_value"].notna() & (made.estimates["construct"] == "blockers")]
    return _with_truth(made.estimates, world), verdicts, tests[["measure", "statistic", "p_value", "p_adjusted"]]


def studies(world: str, organisations: int, number: int, workers: int) -> list[str]:
    """Coverage, verdicts and tests over studies of one world, as tables."""
    with ProcessPoolExecutor(workers) as pool:
        results = list(pool.map(partial(_one, world, organisations), range(1, number + 1), chunksize=2))
    rows = pd.concat([found for found, _, _ in results])
    low, high = (rows[name].astype("Float64").to_numpy(float, na_value=np.nan) for name in ("conf_low", "conf_high"))
    truth, stated = rows["truth"].to_numpy(float), ~(np.isnan(low) & np.isnan(high))
    rows["above"] = np.where(stated, np.nan_to_num(low, nan=-np.inf) > truth + 1e-9, np.nan)
    rows["below"] = np.where(stated, np.nan_to_num(high, nan=np.inf) < truth - 1e-9, np.nan)
    rows["covered"] = np.where(stated, (rows["above"] == 0) & (rows["below"] == 0), np.nan)
    rows["bias"] = rows["estimate"].astype(float) - rows["truth"]
    rows["of"] = np.where(rows["stage"] != "", "at a stage", "all stages")
    coverage = rows.groupby(["measure", "statistic", "of"]).agg(
        truth=("truth", "mean"), bias=("bias", "mean"), covered=("covered", "mean"), above=("above", "mean"),
        below=("below", "mean"), intervals=("covered", "count"),
    )  # fmt: skip
    seen = pd.DataFrame([verdicts for _, verdicts, _ in results])
    judged = pd.DataFrame(
        {
            verdict: (seen == verdict).mean()
            for verdict in ("supported", "contradicted", "inconclusive", "not_assessable")
        }
    )
    tests = pd.concat([tests for _, _, tests in results])
    size = tests.assign(rejected=tests["p_value"] <= 0.05, after=tests["p_adjusted"] <= 0.05)
    size = size.groupby(["measure", "statistic"]).agg(rejected=("rejected", "mean"), tests=("rejected", "count"))
    title = f"{world}, {organisations} organisations, {number} studies"
    return [
        f"## Coverage: {title}", _markdown(coverage.reset_index()),
        f"## Verdicts: {title}", _markdown(judged.rename_axis("claim").reset_index()),
        f"## Tests: {title}", _markdown(size.reset_index()),
    ]  # fmt: skip


def large(world: str, organisations: int) -> list[str]:
    """Published statistics of one large study in standard errors from their truth, and the share of intervals that cover."""
    made = estimate_study(world, organisations, 20260101)
    found = _with_truth(publish(made.estimates, Policy(), made.bases), world)
    low, high = found["conf_low"].astype("Float64").fillna(-np.inf), found["conf_high"].astype("Float64").fillna(np.inf)
    # An end printed to two decimals stands for what rounds to it.
    found["covered"] = ((low - 0.005 <= found["truth"]) & (found["truth"] <= high + 0.005)).astype(float)
    off = (found["estimate"].astype(float) - found["truth"]).abs()
    found["standard_errors"] = off / found["std_error"].astype("Float64").to_numpy(float, na_value=np.nan)
    found["beyond_rounding"] = np.maximum(off - 0.005, 0.0) / found["std_error"].astype("Float64").to_numpy(
        float, na_value=np.nan
    )
    table = found.groupby(["measure", "statistic"]).agg(
        rows=("truth", "count"), largest=("standard_errors", "max"), beyond_rounding=("beyond_rounding", "max"),
        covered=("covered", "mean"),
    )  # fmt: skip
    stated = found[found["conf_low"].notna() | found["conf_high"].notna()]
    line = f"{len(stated)} rows with an interval, {stated['covered'].mean():.3f} of them covered."
    return [f"## One study of {organisations} organisations: {world}", line, _markdown(table.reset_index())]


def _markdown(table: pd.DataFrame) -> str:
    shown = table.copy()
    for name in shown.select_dtypes("number"):
        places = 0 if name in {"intervals", "tests", "rows"} else 3
        shown[name] = ["" if pd.isna(v) else f"{v:.{places}f}" for v in shown[name]]
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in shown.fillna("").itertuples(index=False)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="simulated studies per table")
    parser.add_argument(
        "--organisations", type=int, default=85, help="organisations of each: 85 give about 400 executives"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--large", type=int, default=4000, help="organisations of the large studies; 0: none")
    parser.add_argument("--worlds", nargs="+", default=["role_divergence", "null"], choices=list(worlds()))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validity_blockers.md")
    options = parser.parse_args(arguments)
    made = f"Made by `python -m benchmarks.validity_blockers --studies {options.studies}`."
    parts = ["# Validity of the blockers by simulation", made, READING]
    for world in options.worlds:
        parts += studies(world, options.organisations, options.studies, options.workers)
        if options.large:
            parts += large(world, options.large)
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.studies == parser.get_default("studies"):
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
