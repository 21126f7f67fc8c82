"""What is held back moves nothing that is shown: other answers in held cells, and the same published tables to the last digit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork import schema
from fieldwork.claims import against_margins
from fieldwork.clean import clean
from fieldwork.constructs import (
    adoption_gradient,
    alignment_map,
    answers,
    dominance,
    lead_lag,
    measurement,
    ordinal_lens,
    perception_gap,
    practices,
    readiness,
)
from fieldwork.constructs.cells import design_for
from fieldwork.constructs.ledger import Estimates
from fieldwork.disclosure import Policy, publish
from fieldwork.intake import read_deliveries
from fieldwork.simulate import Population, worlds
from fieldwork.simulate.delivery import deliveries
from fieldwork.simulate.interview import layout_of
from fieldwork.weight import Margins
from tests import drawn_study
from tests.attacker import SHOWN
from tests.test_disclosure_attack import based, estimates, means

KEY = list(schema.ESTIMATE_KEY)
NUMBERS = ["estimate", "std_error", "conf_low", "conf_high", "p_value", "p_adjusted"]
SWAPPED = [("CHRO", 4), ("CHRO", 5), ("GC", 4), ("GC", 5)]
# Fits of all respondents by role and stage at once: no function of published cells, and not read back to one.
MODEL = {
    "role_mean_model", "role_log_odds", "stage_log_odds", "role_sd_latent", "stage_sd_latent", "organisation_sd_latent",
    "icc_latent", "gradient_ratio_log_model",
}  # fmt: skip


@settings(max_examples=15)
@given(st.integers(0, 100_000), st.integers(2, 5), st.integers(1, 4), st.floats(4, 40))
def test_no_number_of_a_held_row_reaches_a_published_one(seed, roles, stages, size):
    """The gate decides by bases alone, and a table whose held rows say something else is published as the same table."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(size, (roles, stages)) + 1
    rows = means(counts, rng.uniform(1.0, 5.0, counts.shape), std_error=0.2, conf_low=1.0, conf_high=5.0)
    shares = [
        {
            "statistic": "share",
            "unit": "proportion",
            "role": f"r{r}",
            "item": "yes",
            "n": int(n),
            "estimate": rng.uniform(),
        }
        for r, n in enumerate(counts.sum(axis=1))
    ]
    table = estimates(*rows, *shares)
    bases = based(table, hits=np.round(table["n"].astype(float) * table["estimate"].astype(float)).clip(0, 4))
    published = publish(table, Policy(), bases)
    held = published.loc[published["status"] == "suppressed", KEY].assign(gone=True)
    gone = table[KEY].merge(held, on=KEY, how="left")["gone"].fillna(value=False).to_numpy(dtype=bool)
    other = table.copy()
    for name in NUMBERS:
        other.loc[gone, name] = rng.uniform(1.0, 5.0, gone.sum())
    pd.testing.assert_frame_equal(publish(other, Policy(), bases), published)


def _responses(folder, instrument):
    population = Population(worlds()["role_divergence"], layout_of(instrument))
    paths = []
    drawn = deliveries(population, instrument, organisations=60, wave=1, name="2026Q1", seed=5)
    for number, frame in enumerate(drawn):
        paths.append(folder / f"responses_{number}.csv")
        frame.to_csv(paths[-1], index=False)
    return clean(read_deliveries(paths, instrument, within=folder), instrument).responses


def _estimated(instrument, register, responses):
    weights = pd.DataFrame({"resp_id": responses["resp_id"], "weight": 1.0})
    design = design_for(instrument, responses, weights, Margins(()), replicates=60, seed=1)
    gradient = adoption_gradient.estimate_for(instrument, design, register.contrasts("adoption_gradient"))
    made = Estimates.joined(
        [
            gradient,
            ordinal_lens.estimate_for(instrument, design, gradient),
            measurement.estimate_for(instrument, design),
            dominance.estimate_for(instrument, design),
            alignment_map.estimate_for(instrument, design),
            perception_gap.estimate_for(instrument, design),
            readiness.estimate_for(instrument, design, register.wanted("readiness")),
            practices.estimate_for(instrument, design, register.wanted("practices")),
            lead_lag.estimate_for(instrument, design),
            answers.estimate_for(instrument, design),
        ]
    )
    passed = publish(made.estimates, Policy(), made.bases)
    tested = against_margins(register, made.estimates, made.draws, published=passed)
    return made, passed, tested


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two deliveries that differ in what four colleagues answered: 1, 4, 4, 1 or 4, 1, 1, 4, in four cells that are held back.

    Two roles at two stages, one organisation, one weight: the answers of each role, of each stage, of the organisation and of
    all are the same set in both. So every number that is a function of shown cells is the same in every replicate.
    """
    instrument, register = drawn_study.shipped(), drawn_study.register()
    one = _responses(tmp_path_factory.mktemp("two"), instrument)
    four = [one.index[(one["role"] == role) & (one["stage_fn"] == stage)][0] for role, stage in SWAPPED]
    for name in one.columns.difference(["resp_id", "role", "stage_fn", "conf"]):
        one.loc[four, name] = one.loc[four[0], name]
    other = one.copy()
    one.loc[four, "conf"], other.loc[four, "conf"] = [1, 4, 4, 1], [4, 1, 1, 4]
    return _estimated(instrument, register, one), _estimated(instrument, register, other)


def moved(two):
    """The rows whose number differs in the ninth digit or before, with the status that they are published with."""
    (one, published, _), (other, _, _) = two
    both = one.estimates.merge(other.estimates, on=KEY, suffixes=("", "_2"))
    both = both.drop(columns="status").merge(published[[*KEY, "status"]], on=KEY, validate="one_to_one")
    apart = np.zeros(len(both), dtype=bool)
    for name in NUMBERS:
        a, b = (both[each].astype("Float64").to_numpy(float, na_value=np.nan) for each in (name, f"{name}_2"))
        apart |= ~np.isclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)
    return both[apart]


def test_answers_of_held_cells_move_no_shown_number_but_the_fits_of_all(two):
    rows = moved(two)
    held = rows[~rows["status"].isin(SHOWN)]
    cells = set(held.loc[held["statistic"] == "role_mean", ["role", "stage"]].itertuples(index=False, name=None))
    assert {role for role, _ in cells} == {role for role, _ in SWAPPED}
    assert len(cells) == len(SWAPPED)  # the swap did reach what is held
    shown = rows[rows["status"].isin(SHOWN)]
    assert set(shown["statistic"]) <= MODEL
    assert set(shown["measure"]) <= {"conf"}


def test_the_published_tables_are_the_same_table(two):
    (_, one, _), (_, other, _) = two
    assert (one["status"] == "suppressed").sum() > 100
    same = [each[~each["statistic"].isin(MODEL)].reset_index(drop=True) for each in (one, other)]
    pd.testing.assert_frame_equal(*same)
    # Which rows are shown does not hang on an answer, fits of all included.
    pd.testing.assert_series_equal(one["status"], other["status"])


def test_no_p_value_and_no_bound_of_a_claim_hangs_on_a_held_cell(two):
    (_, published, one), (_, _, other) = two
    for name in ("p_value", "p_adjusted", "p_by_margin", "equivalence", "bounds"):
        assert getattr(one, name) == getattr(other, name)
    held = set(published.loc[published["status"] == "suppressed", KEY[1:]].itertuples(index=False, name=None))
    of_held = [
        (claim.id, number)
        for claim in drawn_study.register().claims
        for number, part in enumerate(claim.parts)
        if part.key in held
    ]
    assert of_held
    assert not [part for part in of_held if part in one.p_value]
    assert len(one.p_value) > 5
