"""Designs whose multipliers are drawn when used instead of held: the same bits, and memory that does not grow with them."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs import cells as module
from fieldwork.constructs.adoption_gradient import Measure, estimate
from fieldwork.constructs.cells import Axis, cell_table, survey_design, weighted_sums
from fieldwork.statistics.intervals import ratio
from fieldwork.statistics.replicates import Draws
from fieldwork.weight import Margin, Margins

ROLE = Axis("role", ("CEO", "CFO", "CTO"), ("CEO", "CFO", "CTO"))
STAGE = Axis("stage_fn", (1, 2, 3), ("1", "2", "3"))
FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
MARGINS = Margins((Margin("role", ("CEO", "CFO", "CTO"), np.array([0.3, 0.3, 0.4])),), "margins.toml")


def respondents(organisations, per=4, seed=1):
    rng = np.random.default_rng(seed)
    n = organisations * per
    frame = pd.DataFrame(
        {
            "resp_id": [f"r{i:07d}" for i in range(n)],
            "org_id": np.repeat([f"o{i:06d}" for i in range(organisations)], per),
            "role": np.array(["CEO", "CFO", "CTO"])[rng.integers(0, 3, n)],
            "stage_fn": rng.integers(1, 4, n),
            "conf": rng.integers(1, 6, n).astype(float),
        }
    )
    return frame, pd.DataFrame({"resp_id": frame["resp_id"], "weight": rng.uniform(0.3, 2.0, n)})


def design_of(organisations, replicates, margins=MARGINS):
    frame, weights = respondents(organisations)
    return survey_design(
        frame, weights, respondent="resp_id", organisation="org_id", margins=margins, replicates=replicates, seed=5
    )


@pytest.mark.parametrize("kind", ["string", "object"])
def test_a_design_is_the_same_from_rows_in_any_order(kind):
    """Sorted, and shuffled with weights in an order of their own."""
    frame, weights = respondents(60)
    frame = frame.astype({"resp_id": kind, "org_id": kind})
    names = {"respondent": "resp_id", "organisation": "org_id"}
    made = [
        survey_design(rows, weight, **names, margins=MARGINS, replicates=8, seed=5)
        for rows, weight in (
            (frame, weights),
            (frame.sample(frac=1, random_state=1), weights.sample(frac=1, random_state=2)),
        )
    ]
    for one in made:
        assert one.responses.equals(frame.sort_values(["org_id", "resp_id"]).reset_index(drop=True))
        known = np.unique(one.responses["org_id"].astype(str).to_numpy(), return_inverse=True)[1]
        assert one.cluster.tolist() == known.tolist()
        assert one.weight.tolist() == one.responses["resp_id"].map(weights.set_index("resp_id")["weight"]).tolist()
    assert np.array_equal(made[0].layer_factor, made[1].layer_factor)


@pytest.fixture
def both(monkeypatch):
    held = design_of(60, 40)
    monkeypatch.setattr(module, "_HELD", 0)
    return held, design_of(60, 40)


def test_the_cell_table_and_sums_are_the_same_from_either(both):
    held, drawn = both
    assert isinstance(drawn.multiplier, Draws)
    assert not isinstance(held.multiplier, Draws)
    assert drawn.layer_factor == pytest.approx(held.layer_factor, rel=1e-12)
    answer = held.responses["conf"].to_numpy().astype(int) - 1
    tables = [cell_table(design, "conf", answer, FIVE, ROLE, STAGE) for design in both]
    assert tables[1].weight == pytest.approx(tables[0].weight, rel=1e-12)
    values = np.column_stack([np.ones(len(answer)), held.responses["conf"]])
    used = np.ones(len(answer), dtype=bool)
    assert weighted_sums(drawn, values, used) == pytest.approx(weighted_sums(held, values, used), rel=1e-12)


def test_a_construct_estimates_the_same_from_either(both):
    held, drawn = (estimate(design, [Measure("conf", FIVE)], ROLE, STAGE, wave="w", adjust_for=()) for design in both)
    assert (held.estimates["status"] == "ok").sum() > 10
    for name in ("estimate", "std_error", "conf_low", "conf_high", "p_value"):
        one, other = (part.estimates[name].to_numpy(dtype=float, na_value=np.nan) for part in (held, drawn))
        assert np.allclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True), name


def test_ratios_of_totals_are_those_of_the_array(both):
    held, drawn = both
    rng = np.random.default_rng(2)
    N, D = rng.uniform(1, 2, (60, 3)), rng.uniform(1, 2, (60, 3))
    one, other = ratio(N, D, held.multiplier), ratio(N, D, drawn.multiplier)
    assert other.theta == pytest.approx(one.theta, rel=1e-12)
    assert other.std_error == pytest.approx(one.std_error, rel=1e-9)


def test_codes_are_read_once_and_again_for_other_answers():
    design = replace(design_of(20, 5), role=ROLE, stage=STAGE)
    codes = design.codes(ROLE)
    assert np.array(ROLE.labels)[codes].tolist() == design.responses["role"].tolist()
    assert design.codes(Axis("role", ROLE.codes, ROLE.labels)) is codes
    assert design.codes(ROLE) is codes
    with pytest.raises(ValueError, match="read-only"):
        codes[0] = 1
    fewer = Axis("role", ("CFO",), ("CFO",))
    assert (design.codes(fewer) >= 0).tolist() == (design.responses["role"] == "CFO").tolist()
    everybody = design.concentration("CEO")
    turned = design.responses.assign(role="CEO")
    other = replace(design, responses=turned)
    assert (other.codes(ROLE) == 0).all()
    assert other.concentration("CEO") != everybody == design.concentration("CEO")


def test_what_is_held_is_decided_by_size_alone():
    assert isinstance(design_of(1000, 100, None).multiplier, np.ndarray)
    assert 8 * 2000 * 5000 <= module._HELD < 8 * 2000 * 16000


def test_memory_does_not_grow_with_replicates_times_organisations():
    """25,000 organisations x 1,000 replicates would hold 200 MB of multipliers; raking and one table stay below 110."""
    frame, weights = respondents(25000)
    answer = frame["conf"].to_numpy().astype(int) - 1
    tracemalloc.start()
    try:
        design = survey_design(
            frame, weights, respondent="resp_id", organisation="org_id", margins=MARGINS, replicates=1000, seed=5
        )
        table = cell_table(design, "conf", answer, FIVE, ROLE, STAGE)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert isinstance(design.multiplier, Draws)
    assert table.weight.shape == (1001, 4, 4, 5)
    assert peak < 110, f"{peak:.0f} MB"
