"""Truth table: does what is published lie where a simulated world put it, and are false claims left unsupported?

    python -m benchmarks.truth                        everything, about 40 minutes on one core; writes docs/truth.md
    python -m benchmarks.truth --only table | null    one half, printed
    python -m benchmarks.truth --organisations 400 --studies 20    smaller, for a look

The table: a study of each world is written, run by `fieldwork run`, and its published estimates are joined to truth.json by
their keys. Null: studies of 400 executives of the world without effects; a claim is false there where the world's own numbers
fall short of a margin.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fieldwork.claims import Claim, Register, Survey, against_margins, judge
from fieldwork.clean import clean
from fieldwork.constructs.cells import design_for
from fieldwork.constructs.ledger import Estimates
from fieldwork.disclosure import Policy, publish
from fieldwork.intake import read_deliveries
from fieldwork.multiverse.designs import CONSTRUCTS
from fieldwork.simulate import write_study
from fieldwork.study import Study
from fieldwork.weight import Margins, rake

ROOT = Path(__file__).resolve().parents[1]
KEY = ["construct", "measure", "statistic", "role", "role_2", "stage", "item"]
WORLDS = ("role_divergence", "null")
FAR = 4.0  # standard errors beyond which a published estimate is called off the truth
LEVEL = 0.93  # share of intervals that have to hold the truth
READING = """\
A study of 4,000 organisations of each world, from its deliveries to its published estimates, joined to the world's own
numbers (`truth.json`) by key. `beyond` is the largest distance from the truth in standard errors, less what rounding to
publication precision can make; `covered` the share of intervals that hold the truth, ends widened by the same rounding. A
statistic whose truth is a bound of its range (a spread of nil) can be missed on one side only.

`range_raw`, the observed range of means, is biased upward by what sampling puts between means, and published to show that:
where the truth is nil it may lie beyond four of its standard errors. It has no interval, and nothing is judged by it.

Rows with several truths of one name (roles, stages, answers) are counted together. Statistics without a truth are listed
last: what the world does not determine, or what nobody has enumerated yet.
"""
NULL = """\
Studies of the world without effects, cut to 400 executives by whole organisations, with the replicates of the multiverse. A
claim is *false* where the world's own number of one judged part falls short of its margin, *true* where all lie beyond, and
*open* where a part has no truth. `supported` is the share of studies in which the claim is called supported: for a false
claim it is to be at most 5%, and for any false claim of the family at most 6%.
"""


# ------------------------------------------------------------------------------------------------------------- the table


def published_study(world: str, organisations: int, seed: int, folder: Path, *, replicates: int = 0) -> Path:
    """Write a study of a world and run it up to its published estimates, as a user would; 0 replicates: the study's own."""
    study = write_study(world, organisations=organisations, waves=1, seed=seed, out=folder / "study", base=ROOT)
    # The claims are judged once: other analytic choices have no truth of their own.
    one = "\n".join(
        f'{name} = ["{option}"]'
        for name, option in (
            ("weights", "raked"), ("lens", "cell_table"), ("exclusions", "set_aside"), ("stage", "own_function"),
            ("missing", "available"),
        )
    )  # fmt: skip
    (study / "instruments" / "multiverse.toml").write_text(
        f'[choices]\n{one}\nmargin = "registered"\n', encoding="utf-8"
    )
    command = [sys.executable, "-m", "fieldwork", "run", "--study", str(study), "--workers", "1", "--only", "09_claims"]
    command += ["--replicates", str(replicates)] if replicates else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return study


def against_truth(study: Path) -> pd.DataFrame:
    """Join published estimates to the truth: one row each, with `truth`, `beyond` and `covered`; truth empty: none known.

    A truth without a segment is that of the row with the same other keys: a contrast of two stages stands in the estimates
    under its segment.
    """
    wave = Study.open(study).wave
    estimates = pd.read_parquet(study / "reports" / wave / "estimates.parquet")
    records = json.loads((study / "truth.json").read_text(encoding="utf-8"))
    records = [record for record in records if record["wave"] == wave]
    value = {_key(record, record.get("segment", "")): float(record["value"]) for record in records}
    shown = estimates[estimates["status"].isin(["ok", "flagged"])].copy()
    keys = [_key(row, row["segment"]) for row in shown.to_dict("records")]
    whole = [(*key[:-1], "") if " v " in key[-1] else key for key in keys]
    shown["truth"] = [value.get(key, value.get(short, np.nan)) for key, short in zip(keys, whole, strict=True)]
    number = {name: shown[name].astype("Float64").to_numpy(dtype=float, na_value=np.nan) for name in _NUMBERS}
    # Half a unit of the last place that is printed: two decimals, whole per cent.
    slack = 0.005
    off = np.abs(number["estimate"] - shown["truth"].to_numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        shown["beyond"] = np.maximum(off - slack, 0.0) / np.maximum(number["std_error"], 5e-4)
    low = np.where(np.isnan(number["conf_low"]), -np.inf, number["conf_low"]) - slack
    high = np.where(np.isnan(number["conf_high"]), np.inf, number["conf_high"]) + slack
    stated = ~(np.isnan(number["conf_low"]) & np.isnan(number["conf_high"]))
    inside = (low <= shown["truth"].to_numpy()) & (shown["truth"].to_numpy() <= high)
    shown["covered"] = np.where(stated & shown["truth"].notna(), inside, np.nan)
    return shown.reset_index(drop=True)


_NUMBERS = ("estimate", "std_error", "conf_low", "conf_high")


def _key(row: Mapping[str, object], segment: object) -> tuple[str, ...]:
    return (*(str(row.get(name) or "") for name in KEY), str(segment or ""))


def table(joined: pd.DataFrame) -> pd.DataFrame:
    """Summarise a joined study by statistic: rows, largest distance from the truth, share of intervals that hold it."""
    known = joined[joined["truth"].notna()]
    made = known.groupby(["construct", "statistic"]).agg(
        rows=("truth", "size"),
        with_error=("beyond", "count"),
        beyond=("beyond", "max"),
        intervals=("covered", "count"),
        covered=("covered", "mean"),
    )
    return made.reset_index()


def far_off(joined: pd.DataFrame) -> pd.DataFrame:
    """Return the published estimates that lie further from the truth than four standard errors."""
    rows = joined[joined["beyond"] > FAR]
    return rows[[*KEY, "segment", "estimate", "std_error", "truth", "beyond"]].reset_index(drop=True)


def without_truth(joined: pd.DataFrame) -> list[str]:
    """Name the statistics that were published and that no truth speaks of."""
    known = set(joined.loc[joined["truth"].notna(), "statistic"])
    return sorted(set(joined["statistic"]) - known)


# ---------------------------------------------------------------------------------------------------------- false verdicts


# What a ratio is the upper side of: where that spread is nil, the world gives no ratio, and "wider" is false all the same.
UPPER = {"gradient_ratio_log": "role_sd_corrected", "gradient_ratio_log_adjusted": "role_sd_adjusted"}


def truth_of(claim: Claim, value: Mapping[tuple[str, ...], float]) -> str:
    """Tell whether a claim is `true`, `false` or `open` in a world: every judged part beyond its margin, or one short of it."""
    verdicts = []
    for part in claim.judged:
        key = (*part.key[:6], part.key[7])
        found = value.get((*key, part.key[6]), value.get((*key, "")))
        upper = value.get((*key[:2], UPPER.get(part.statistic, ""), *key[3:], part.key[6]))
        if found is None:
            verdicts.append("false" if upper == 0.0 and part.direction == "above" else "open")
        else:
            beyond = found > part.margin if part.direction == "above" else found < part.margin
            verdicts.append("true" if beyond else "false")
    if "false" in verdicts:
        return "false"
    return "true" if set(verdicts) == {"true"} else "open"


def _study_verdicts(world: str, executives: int, replicates: int, seed: int) -> dict[str, str]:
    """Draw one study, cut it to that many executives by whole organisations, and judge the primary family."""
    register = Register.load(ROOT / "instruments" / "claims.toml")
    with tempfile.TemporaryDirectory() as place:
        study = write_study(
            world,
            organisations=max(executives // 4, 5),
            waves=1,
            seed=seed,
            out=Path(place) / "s",
            base=ROOT,
            told=False,
        )
        opened = Study.open(study)
        instrument = opened.instrument()
        responses = clean(read_deliveries(opened.raw_files(), instrument), instrument).responses
        margins = Margins.load(opened.margins_path(), instrument)
    organisation = instrument.keys.organisation
    upto = responses[organisation].map(responses.groupby(organisation).size().cumsum())
    responses = responses[upto <= executives].reset_index(drop=True)
    weights = rake(responses, margins).table(responses[instrument.keys.respondent])
    design = design_for(instrument, responses, weights, margins, replicates=replicates, seed=seed)
    primary = [claim for claim in register.claims if claim.id in register.family and not claim.awaits]
    names = sorted({part.construct_ for claim in primary for part in claim.parts})
    made = Estimates.joined([CONSTRUCTS[name](instrument, design, register) for name in names])
    tested = against_margins(register, made.estimates, made.draws)
    table_ = publish(tested.estimates, Policy(), made.bases)
    limited = register.only(*(claim.id for claim in primary))
    survey = Survey.of(instrument, responses, 1)
    return {record["id"]: record["verdict"] for record in judge(limited, tested, table_, survey=survey)}


def false_verdicts(world: str, executives: int, studies: int, replicates: int, workers: int) -> pd.DataFrame:
    """Count the verdicts of the primary family over studies of a world, beside what is true there."""
    register = Register.load(ROOT / "instruments" / "claims.toml")
    with tempfile.TemporaryDirectory() as place:
        study = write_study(world, organisations=5, waves=1, seed=1, out=Path(place) / "s", base=ROOT)
        records = json.loads((study / "truth.json").read_text(encoding="utf-8"))
    value = {_key(record, record.get("segment", "")): float(record["value"]) for record in records}
    seen = pd.DataFrame(
        _mapped(partial(_study_verdicts, world, executives, replicates), range(1, studies + 1), workers)
    )
    truths = {claim.id: truth_of(claim, value) for claim in register.claims if claim.id in seen.columns}
    order = ("supported", "contradicted", "inconclusive", "not_assessable")
    rows = [
        {"claim": name, "in the world": truths[name], **{v: float((seen[name] == v).mean()) for v in order}}
        for name in seen.columns
    ]
    false = [name for name, truth in truths.items() if truth == "false"]
    anyone = float((seen[false] == "supported").any(axis=1).mean()) if false else 0.0
    return pd.DataFrame([*rows, {"claim": "any false claim", "in the world": "false", "supported": anyone}])


def _mapped(function: partial, seeds: Iterable[int], workers: int) -> list:
    seeds, results = list(seeds), []
    if workers == 1:
        pool = None
        made = map(function, seeds)
    else:
        pool = ProcessPoolExecutor(workers)
        made = pool.map(function, seeds, chunksize=2)
    for number, result in enumerate(made, 1):
        results.append(result)
        if sys.stderr.isatty():
            print(f"\r{number} of {len(seeds)}", end="", file=sys.stderr)
    if pool is not None:
        pool.shutdown()
    return results


# ---------------------------------------------------------------------------------------------------------------- printing


def _markdown(frame: pd.DataFrame) -> str:
    shown = frame.copy()
    whole = {"rows", "with_error", "intervals"}
    for name in shown.columns:
        if pd.api.types.is_numeric_dtype(shown[name]):
            places = 0 if name in whole else 3
            shown[name] = ["" if pd.isna(v) else f"{v:.{places}f}" for v in shown[name]]
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    lines += ["| " + " | ".join(str(v) for v in row) + " |" for row in shown.fillna("").itertuples(index=False)]
    return "\n".join(lines)


def _world(world: str, organisations: int, seed: int, replicates: int) -> list[str]:
    with tempfile.TemporaryDirectory() as place:
        joined = against_truth(published_study(world, organisations, seed, Path(place), replicates=replicates))
    known = joined[joined["truth"].notna()]
    far, measured = far_off(joined), known["beyond"].count()
    share, stated = known["covered"].mean(), known["covered"].count()
    said = (
        f"{len(known)} published estimates have a truth. {measured} carry a standard error; {len(far)} of them lie further "
        f"than {FAR:g} standard errors off. {stated} carry an interval; {share:.1%} hold the truth (wanted {LEVEL:.0%})."
    )
    parts = [f"## {world}, {organisations:,} organisations, seed {seed}", "", said, "", _markdown(table(joined)), ""]
    if len(far):
        parts += ["Further off than four standard errors:", "", _markdown(far), ""]
    return [*parts, f"Published without a truth: {', '.join(without_truth(joined)) or 'none'}.", ""]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organisations", type=int, default=4000, help="organisations of the truth table")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), help="worlds of the truth table")
    parser.add_argument("--studies", type=int, default=300, help="studies of the null world")
    parser.add_argument("--executives", type=int, default=400, help="executives of each of them")
    parser.add_argument("--replicates", type=int, default=400, help="replicates of each of them, at least 399")
    parser.add_argument(
        "--table-replicates", type=int, default=0, help="replicates of the truth table; 0: the study's own"
    )
    parser.add_argument("--seed", type=int, default=20260101, help="seed of the truth table")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", choices=["table", "null"])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "truth.md")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    parts = ["# Truth table", "", "Made by `python -m benchmarks.truth`.", ""]
    if options.only != "null":
        parts += [READING]
        for world in options.worlds:
            parts += _world(world, options.organisations, options.seed, options.table_replicates)
    if options.only != "table":
        counted = false_verdicts("null", options.executives, options.studies, options.replicates, options.workers)
        parts += [
            f"## False verdicts: {options.studies} studies of {options.executives} executives, world null", "", NULL,
            _markdown(counted), "",
        ]  # fmt: skip
    print("\n".join(parts))
    if options.only is None:
        options.out.write_text("\n".join(parts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
