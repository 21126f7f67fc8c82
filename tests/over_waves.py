"""Waves made by hand for the tests of what is said over waves, on the shipped questionnaire."""

from pathlib import Path

import pandas as pd

from fieldwork.constructs.cells import design_for
from fieldwork.constructs.waves import Earlier, Fielded
from fieldwork.instrument import Instrument
from fieldwork.weight import Margins

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = Instrument.load(ROOT / "instruments" / "2026Q1.toml", "2026Q1")


def wave(data, number=1, *, name="", instrument=SHIPPED, replicates=300, seed=7, weight=None):
    """A wave of the answers given; resp_id and org_id are made where they are not there."""
    data = pd.DataFrame(data)
    given = {"resp_id": [f"r{i:05d}" for i in range(len(data))], "org_id": [f"o{i:05d}" for i in range(len(data))]}
    for column, values in given.items():
        if column not in data and (column != "org_id" or instrument.keys.organisation):
            data[column] = values
    # As in 01_clean: what was not delivered is there, and missing for everybody.
    absent = {c: pd.array([pd.NA] * len(data), dtype=t) for c, t in columns_of(instrument).items() if c not in data}
    data = pd.concat([data, pd.DataFrame(absent, index=data.index)], axis=1)
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0 if weight is None else weight})
    design = design_for(instrument, data, weights, Margins(), replicates=replicates, seed=seed)
    name = name or f"w{number}"
    return Fielded(name, number, instrument.model_copy(update={"wave": name}), design)


def columns_of(instrument):
    return {column: item.dtype for item in instrument.items for column in item.native_columns()}


def earlier(*waves, absent=(), number=0):
    return Earlier(tuple(waves), tuple(absent), number or len(waves) + 1)


def without_organisations(instrument=SHIPPED):
    """The questionnaire of a survey that names no organisations."""
    return instrument.model_copy(update={"keys": instrument.keys.model_copy(update={"organisation": ""})})


def without(instrument, **keys):
    """The questionnaire with some keys changed, as `role=""`."""
    return instrument.model_copy(update={"keys": instrument.keys.model_copy(update=keys)})


def amended(folder, text, name="2026Q2"):
    """The shipped questionnaire with an amendment, as it stands in a wave."""
    path = folder / "instrument.toml"
    path.write_text((ROOT / "instruments" / "2026Q1.toml").read_text(encoding="utf-8") + text, encoding="utf-8")
    return Instrument.load(path, name)


def row(estimates, **key):
    """The one row of an estimates table with these keys."""
    table = estimates.estimates
    keep = pd.Series(data=True, index=table.index)
    for name, value in key.items():
        keep &= table[name] == value
    found = table[keep]
    assert len(found) == 1, found[["measure", "statistic", "role", "role_2", "stage", "segment"]]
    return found.iloc[0]


def draws(estimates, **key):
    table = estimates.draws
    keep = pd.Series(data=True, index=table.index)
    for name, value in key.items():
        keep &= table[name] == value
    assert keep.sum() == 1
    return table.loc[keep, "draws"].iloc[0]
