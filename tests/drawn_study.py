"""A study drawn from a world, taken through cleaning and raking as the chapters do, for tests of constructs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.claims import Register
from fieldwork.clean import clean
from fieldwork.constructs.cells import design_for
from fieldwork.instrument import Instrument
from fieldwork.intake import read_deliveries
from fieldwork.simulate import Population, worlds, write_study
from fieldwork.simulate.delivery import deliveries, population_margins
from fieldwork.simulate.interview import layout_of
from fieldwork.weight import Margin, Margins, rake

ROOT = Path(__file__).resolve().parents[1]
KEY = ["construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item"]


def shipped() -> Instrument:
    return Instrument.load(ROOT / "instruments" / "2026Q1.toml", "2026Q1")


def register() -> Register:
    return Register.load(ROOT / "instruments" / "claims.toml")


def untold(world, out, *, organisations, seed, waves=1, settings=None):
    """Write a study of a world without its truth, for tests that do not ask for it: it takes most of the time, wave by wave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fieldwork.simulate.folder.whole_truth", lambda *_: [])
        return write_study(
            world, organisations=organisations, waves=waves, seed=seed, out=out, base=ROOT, settings=settings
        )


def drawn(world, organisations, seed, folder, *, instrument=None, replicates=200, settings=None):
    """Return the population, the instrument and the design of a study of a world."""
    instrument = instrument or shipped()
    population = Population(worlds()[world].with_settings(settings or {}), layout_of(instrument))
    paths = []
    for number, frame in enumerate(
        deliveries(population, instrument, organisations=organisations, wave=1, name="2026Q1", seed=seed)
    ):
        paths.append(folder / f"responses_{number}.csv")
        frame.to_csv(paths[-1], index=False)
    responses = clean(read_deliveries(paths, instrument, within=folder), instrument).responses
    targets = population_margins(population, instrument)
    margins = Margins(tuple(Margin(k, tuple(v), np.array(list(v.values()))) for k, v in targets.items()))
    weights = rake(responses, margins).table(responses["resp_id"])
    return population, instrument, design_for(instrument, responses, weights, margins, replicates=replicates, seed=seed)


def beside_truth(estimates: pd.DataFrame, truth) -> pd.DataFrame:
    """Return the estimates that have a truth and a standard error, with `value`, `z` and `covered`."""
    known = pd.DataFrame(list(truth))
    if "segment" not in known:
        known["segment"] = ""
    known["segment"] = known["segment"].fillna("")
    both = estimates.merge(known[[*KEY, "value"]], on=KEY, how="inner", validate="one_to_one")
    both = both[both["estimate"].notna() & both["std_error"].notna()].copy()
    numbers = ["estimate", "std_error", "conf_low", "conf_high", "value"]
    both[numbers] = both[numbers].astype(float)
    both["z"] = (both["estimate"] - both["value"]) / both["std_error"]
    both["covered"] = (both["conf_low"] <= both["value"]) & (both["value"] <= both["conf_high"])
    return both


def one(estimates: pd.DataFrame, measure, statistic, **key):
    """Return the one row of that key; columns of the key that are not given are empty."""
    rows = estimates[(estimates["measure"] == measure) & (estimates["statistic"] == statistic)]
    for name in ("role", "role_2", "stage", "segment", "item"):
        rows = rows[rows[name] == key.get(name, "")]
    assert len(rows) == 1, f"{measure} {statistic} {key}: {len(rows)} rows"
    return rows.iloc[0]
