"""Validity of what is said over waves, by simulation: is change declared where there is none, and found where there is some?

    python -m benchmarks.validity_movement                    all studies, about an hour on one core; writes the page
    python -m benchmarks.validity_movement --studies 20       fewer, for a look
    python -m benchmarks.validity_movement --only declared | coverage | claims

Each study draws three waves of the shipped questionnaire from a world whose truth is known, and runs the functions of the
movement chapter on them: weights, replicates, constructs, gate, claims. Seeds are 1, 2, 3, ...; the page is
docs/validity_movement.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from fieldwork.claims import Register, against_margins, judge
from fieldwork.constructs import convergence, lead_lag, phase, role_shift
from fieldwork.constructs.cells import design_for
from fieldwork.constructs.ledger import Estimates, Ledger
from fieldwork.constructs.waves import Earlier, Fielded
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument
from fieldwork.simulate import Population, World, layout_of, simulate, simulate_responses, worlds
from fieldwork.simulate.delivery import wave_names
from fieldwork.simulate.truth import TrueWave
from fieldwork.simulate.truths import whole_truth
from fieldwork.weight import Margin, Margins, rake

READING = """\
`share` is the share of studies in which the 95% interval of a statistic lies wholly on one side of nil. In `no_change` nothing
moves, so the share may be 5% at most; the others show what can be found. `raw` is the mean of the uncorrected slope of change
on the starting level, which many reports print: it is far below nil although nothing changes.
"""
ROOT = Path(__file__).resolve().parents[1]
WAVES = 3
CALM = {"speeders": 0.0, "straight_liners": 0.0, "inattentive": 0.0}
READ = ("role", "stage_fn", "stage_org", "conf", "prep", "fund_release", "act_align", "owner", "size_band", "sector")
KEY = ["construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item"]
CLAIMS = ("H10", "H11", "H22", "H25", "H26")
# Organisations, executives of each role that are kept (0: all), and settings of the world beside its own.
DESIGNS: Mapping[str, tuple[int, int, Mapping[str, float]]] = {
    "panel, 20 a role": (110, 20, {"retention": 1.0, "item_missing": 0.0}),
    "cross-sections, 20 a role": (110, 20, {"refreshment": 1.0, "item_missing": 0.0}),
    "panel with attrition, 190 organisations": (190, 0, {}),
    "half refreshed, 190 organisations": (190, 0, {"refreshment": 0.5}),
    "cross-sections, 190 organisations": (190, 0, {"refreshment": 1.0}),
}


@cache
def instrument() -> Instrument:
    """Return the shipped questionnaire."""
    return Instrument.load(ROOT / "instruments" / "2026Q1.toml", "2026Q1")


def study_of(
    world: World, organisations: int, seed: int, *, waves: int = WAVES, per_role: int = 0, replicates: int = 500
) -> tuple[Fielded, ...]:
    """Draw the waves of a study, read, weighted and with their replicates; `per_role` keeps that many of each role."""
    asked = instrument()
    drawn = simulate(world.with_settings(CALM), asked, organisations=organisations, waves=waves, seed=seed)
    entries = tuple(item.name for item in asked.slot("ent"))
    use = tuple(item.name for item in asked.slot("use_stab"))
    margins = Margins(
        tuple(
            Margin(
                name, tuple(shares), np.array(list(shares.values())), tuple(o.code for o in asked.item(name).options)
            )
            for name, shares in drawn.margins.items()
        )
    )
    made = []
    for number, (name, raw) in enumerate(drawn.raw.items(), start=1):
        columns = {item: asked.item(item).resolve(raw[item]).value for item in (*READ, *entries, *use)}
        data = pd.DataFrame({"resp_id": raw["resp_id"], "org_id": raw["org_id"], **columns})
        if per_role:
            data = data.groupby("role", sort=False).head(per_role).reset_index(drop=True)
        held = margins if not per_role else Margins()
        weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": rake(data, held).weight})
        design = design_for(asked, data, weights, held, replicates=replicates, seed=seed)
        made.append(Fielded(name, number, asked, design))
    return tuple(made)


def quick_study(
    world: World, organisations: int, seed: int, *, per_role: int = 0, replicates: int = 500
) -> tuple[Fielded, ...]:
    """Draw the waves of a study as `study_of` does, with the gradient's measures and the stage alone: for many studies."""
    asked = instrument()
    layout = layout_of(asked)
    made = []
    for number, name in enumerate(wave_names(asked.wave, WAVES), start=1):
        drawn = simulate_responses(world, layout, organisations=organisations, seed=seed, wave=number)
        person = drawn.organisation * len(layout.roles) + drawn.role
        empty = {c: pd.array([pd.NA] * drawn.n, dtype=i.dtype) for i in asked.items for c in i.native_columns()}
        known = {
            "resp_id": [f"r{each}" for each in person],
            "org_id": [f"o{each}" for each in drawn.organisation],
            "role": np.array(layout.roles)[drawn.role],
            "stage_fn": drawn.stage + 1,
            **drawn.answers,
        }
        data = pd.DataFrame(empty | known)
        if per_role:
            data = data.groupby("role", sort=False).head(per_role).reset_index(drop=True)
        weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0})
        design = design_for(asked, data, weights, Margins(), replicates=replicates, seed=seed)
        made.append(Fielded(name, number, asked, design))
    return tuple(made)


def estimate_study(waves: Sequence[Fielded]) -> Estimates:
    """Estimate the last wave as chapter 08 does."""
    *before, now = waves
    earlier = Earlier(tuple(before), (), now.number)
    return Estimates.joined(
        [
            role_shift.estimate_for(now.instrument, now.design, earlier),
            lead_lag.estimate_for(now.instrument, now.design, earlier),
            phase.estimate_for(now),
        ]
    )


def converging(waves: Sequence[Fielded]) -> pd.DataFrame:
    """Estimate what the waves say of convergence, as chapter 08 does, and nothing else."""
    now = waves[-1]
    ledger = Ledger(now.design, now.name, "08_movement", "lead_lag")
    reference = role_shift.reference_of(waves)
    measures = [("stage_fn", lambda answers: role_shift.indices(answers, reference), "")]
    measures += [(name, lambda answers: answers.mean, "") for name in ("conf", "prep")]
    convergence.estimate(ledger, waves, Earlier(tuple(waves[:-1]), (), now.number), measures)
    return ledger.table().estimates


def _declared(world: str, design: str, seed: int) -> pd.DataFrame:
    organisations, per_role, settings = DESIGNS[design]
    found = converging(quick_study(worlds()[world].with_settings(settings), organisations, seed, per_role=per_role))
    kept = found["statistic"].isin(["convergence", "convergence_slope", "convergence_beta", "convergence_beta_raw"])
    rows = found[kept & (found["segment"] == "") & (found["status"] != "not_assessable")]
    low, high = (rows[end].astype("Float64") for end in ("conf_low", "conf_high"))
    return pd.DataFrame(
        {
            "measure": rows["measure"],
            "statistic": rows["statistic"],
            "estimate": rows["estimate"].astype("Float64"),
            "below": (high < 0).fillna(value=False).astype(float),
            "above": (low > 0).fillna(value=False).astype(float),
        }
    )


def declared(world: str, design: str, studies: int, workers: int = 1) -> pd.DataFrame:
    """Share of studies in which an interval declares roles to draw together (`below`) or to part (`above`)."""
    rows = pd.concat(_mapped(partial(_declared, world, design), studies, workers))
    table = rows.groupby(["measure", "statistic"]).agg(
        below=("below", "mean"), above=("above", "mean"), mean=("estimate", "mean"), studies=("below", "size")
    )
    raw = table.xs("convergence_beta_raw", level="statistic")["mean"]
    table = table.drop(index="convergence_beta_raw", level="statistic").drop(columns="mean").reset_index()
    table["share"] = table["below"] + table["above"]
    table["raw"] = [raw[measure] if statistic == "convergence_beta" else np.nan for measure, statistic in
                    zip(table["measure"], table["statistic"], strict=True)]  # fmt: skip
    return table.assign(world=world, design=design)


def _covered(world: str, design: str, seed: int) -> pd.DataFrame:
    organisations, per_role, settings = DESIGNS[design]
    bent = worlds()[world].with_settings(settings)
    rows = estimate_study(study_of(bent, organisations, seed, per_role=per_role)).estimates
    value = known(world, design)
    rows["truth"] = [value.get(key, np.nan) for key in rows[KEY].itertuples(index=False, name=None)]
    stated = rows["truth"].notna() & ~(rows["conf_low"].isna() & rows["conf_high"].isna())
    rows = rows[stated & (rows["status"] != "not_assessable")]
    low = rows["conf_low"].astype("Float64").fillna(-np.inf).astype(float)
    high = rows["conf_high"].astype("Float64").fillna(np.inf).astype(float)
    return pd.DataFrame(
        {
            "statistic": rows["statistic"],
            "covered": ((low <= rows["truth"] + 1e-9) & (rows["truth"] <= high + 1e-9)).astype(float),
            "interval_above": (low > rows["truth"]).astype(float),
            "interval_below": (high < rows["truth"]).astype(float),
        }
    )


@cache
def known(world: str, design: str) -> dict[tuple[str, ...], float]:
    """Return what a world makes true of the third wave under a design's settings, by the keys of the estimates."""
    bent = worlds()[world].with_settings(DESIGNS[design][2])
    population = Population(bent, layout_of(instrument()))
    told = [TrueWave(population, instrument(), str(number), number) for number in range(1, WAVES)]
    rows = whole_truth(population, instrument(), str(WAVES), WAVES, told)
    return {tuple(str(row.get(name, "")) for name in KEY): float(row["value"]) for row in rows}


def coverage(world: str, design: str, studies: int, workers: int = 1) -> pd.DataFrame:
    """Share of the 95% intervals of each statistic that hold the truth, and the two ways to miss."""
    rows = pd.concat(_mapped(partial(_covered, world, design), studies, workers))
    table = rows.groupby("statistic").agg(
        covered=("covered", "mean"),
        interval_above=("interval_above", "mean"),
        interval_below=("interval_below", "mean"),
        intervals=("covered", "size"),
    )
    return table.reset_index().assign(world=world, design=design)


def _verdicts(world: str, organisations: int, refreshment: float, seed: int) -> dict[str, str]:
    settings = {"refreshment": refreshment} | ({"without_practice": 0.5} if world == "null" else {})
    found = estimate_study(study_of(worlds()[world].with_settings(settings), organisations, seed, replicates=1000))
    register = _register()
    tested = against_margins(register, found.estimates, found.draws)
    published = publish(tested.estimates, Policy(), found.bases)
    return {each["id"]: each["verdict"] for each in judge(register, tested, published, waves=WAVES)}


@cache
def _register() -> Register:
    """Return the register with the claims of this chapter alone; the size of the primary family stays as declared."""
    register = Register.load(ROOT / "instruments" / "claims.toml")
    return replace(register, claims=tuple(claim for claim in register.claims if claim.id in CLAIMS))


def claims(world: str, organisations: int, refreshment: float, studies: int, workers: int = 1) -> pd.DataFrame:
    """Share of studies with each verdict, by claim."""
    rows = pd.DataFrame(_mapped(partial(_verdicts, world, organisations, refreshment), studies, workers))
    table = pd.DataFrame({claim: rows[claim].value_counts(normalize=True) for claim in CLAIMS}).T.fillna(0.0)
    for verdict in ("supported", "contradicted", "inconclusive", "not_assessable"):
        table[verdict] = table.get(verdict, 0.0)
    table = table[["supported", "contradicted", "inconclusive", "not_assessable"]].rename_axis("claim").reset_index()
    return table.assign(world=world, organisations=organisations, refreshment=refreshment, studies=studies)


def _mapped(function: partial, studies: int, workers: int) -> list:
    seeds = range(1, studies + 1)
    if workers == 1:
        return [function(seed) for seed in seeds]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(function, seeds, chunksize=4))


def _markdown(table: pd.DataFrame) -> str:
    shown = table.copy()
    for name in shown.select_dtypes("float"):
        shown[name] = [f"{value:.3f}" if pd.notna(value) else "" for value in shown[name]]
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in shown.to_numpy())])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the studies and print, or write, the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", choices=("declared", "coverage", "claims"))
    options = parser.parse_args(arguments)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    n, workers = options.studies, options.workers
    parts: dict[str, list[pd.DataFrame]] = {}
    if options.only in {None, "declared"}:
        parts["Convergence declared where nothing changes"] = [declared("no_change", d, n, workers) for d in DESIGNS]
        wide = "half refreshed, 190 organisations"
        parts["Convergence found where roles draw together or part"] = [
            declared(world, wide, max(n // 4, 1), workers) for world in ("converging", "diverging")
        ]
    if options.only in {None, "coverage"}:
        parts["Coverage of 95% intervals"] = [
            coverage(world, "half refreshed, 190 organisations", max(n // 4, 1), workers)
            for world in ("no_change", "diverging", "role_divergence")
        ]
    if options.only in {None, "claims"}:
        parts["Verdicts where no claim is true"] = [
            claims("null", organisations, share, n // 2, workers) for organisations in (80, 190) for share in (0.0, 1.0)
        ]
        parts["Verdicts where roles differ and nothing changes"] = [
            claims("no_change", 190, 0.5, max(n // 4, 1), workers)
        ]
        parts["Verdicts in the essays' picture"] = [claims("role_divergence", 190, 0.5, max(n // 4, 1), workers)]
    page = [
        f"# Validity over waves, by simulation\n\nMade by `python -m benchmarks.validity_movement --studies {n}`.\n"
    ]
    page.append(READING)
    for title, tables in parts.items():
        page.append(f"## {title}\n\n{_markdown(pd.concat(tables, ignore_index=True))}\n")
    text = "\n".join(page)
    if options.only is None:
        (ROOT / "docs" / "validity_movement.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
