"""Measurement checks on answers whose faults are known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs import measurement
from fieldwork.constructs.cells import survey_design, weighted_sums
from fieldwork.constructs.measurement import endpoint_share, estimate_for
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument
from tests.toys import ordinal, small

SMALL = (
    small(a="First", b="Second")
    + ordinal("conf", "Confidence", "adoption_gradient")
    + ordinal("prep", "Preparedness", "adoption_gradient")
    + """
[items.mode]
kind = "single"
label = "Mode"
options = [{ code = 1, id = "web", label = "Web" }, { code = 2, id = "phone", label = "Telephone" }]
constructs = ["sample"]

[items.use]
kind = "ordinal"
scale = "five"
repeat = [{ code = 1, id = "1", label = "one" }, { code = 2, id = "2", label = "two" }, { code = 3, id = "3", label = "three" }]
label = "Use {id}"
constructs = ["practices"]
"""
)


@pytest.fixture(scope="module")
def instrument(tmp_path_factory):
    path = Path(tmp_path_factory.mktemp("instrument")) / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return Instrument.load(path, "2026Q1")


def answers(*, organisations=150, seed=1, phone=0.0, dif=0.0, extreme=0.0, silent=0.0, role_gap=0.6):
    rng = np.random.default_rng(seed)
    org = np.repeat(np.arange(organisations), 4)
    n = len(org)
    role, mode = np.tile([0, 0, 1, 1], organisations), rng.integers(0, 2, n)
    trait = 0.5 * rng.standard_normal(organisations)[org] + 0.8 * rng.standard_normal(n) + role_gap * role

    def point(latent):
        stretched = np.where(rng.random(n) < extreme * role, 3 + 3 * (latent - 3), latent)
        return np.clip(np.rint(stretched), 1, 5)

    data = pd.DataFrame(
        {
            "resp_id": [f"r{i:04d}" for i in range(n)],
            "org_id": [f"o{i:04d}" for i in org],
            "wave": "2026Q1",
            "role": np.array(["a", "b"])[role],
            "mode": np.array(["web", "phone"])[mode],
            "conf": point(3 + trait + 0.5 * rng.standard_normal(n) + phone * mode + dif * role),
            "prep": point(3 + trait + 0.5 * rng.standard_normal(n)),
            **{f"use_{i}": point(3 + 0.9 * trait + 0.5 * rng.standard_normal(n)) for i in (1, 2, 3)},
        }
    )
    data.loc[rng.random(n) < silent * role, "conf"] = np.nan
    return data


def made(data, instrument, *, organisation="org_id", replicates=300):
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0})
    design = survey_design(
        data, weights, respondent="resp_id", organisation=organisation, margins=None, replicates=replicates, seed=3
    )
    return estimate_for(instrument, design), design


def row(table, statistic, **key):
    found = table[table["statistic"] == statistic]
    for name, value in key.items():
        found = found[found[name] == value]
    assert len(found) == 1, (statistic, key, len(found))
    return found.iloc[0]


def test_weighted_sums_are_those_of_a_loop(instrument):
    data = answers(organisations=20)
    _, design = made(data, instrument, replicates=50)
    values, used = (
        np.column_stack([design.responses["conf"], design.responses["prep"]]),
        design.responses["role"] == "a",
    )
    got = weighted_sums(design, values, used.to_numpy())
    assert got.shape == (51, 2)
    np.testing.assert_allclose(got[0], values[used].sum(axis=0))
    for b in (0, 7, 49):
        w = design.multiplier[b, design.cluster[used]]
        np.testing.assert_allclose(got[b + 1], (w[:, None] * values[used]).sum(axis=0))


def test_silence_is_counted_among_those_asked(instrument):
    data = answers(silent=0.3)
    table = made(data, instrument)[0].estimates
    share = data["conf"].isna().groupby(data["role"]).mean()
    for label in "ab":
        assert row(table, "item_nonresponse", measure="conf", role=label)["estimate"] == pytest.approx(share[label])
    assert row(table, "item_nonresponse", measure="prep", role="")["estimate"] == 0.0


def test_bounds_hold_whatever_the_silent_would_have_said(instrument):
    data = answers(silent=0.3)
    found = row(made(data, instrument)[0].estimates, "role_mean_bounds", measure="conf", role="b")
    of_role = data.loc[data["role"] == "b", "conf"]
    assert found["conf_low"] == pytest.approx(of_role.fillna(1).mean())
    assert found["conf_high"] == pytest.approx(of_role.fillna(5).mean())
    assert found["estimate"] == pytest.approx(of_role.mean())


def test_an_effect_of_the_mode_is_found_and_taken_out_of_nothing_else(instrument):
    table = made(answers(phone=0.8), instrument)[0].estimates
    phone = row(table, "circumstance_effect", measure="conf", segment="mode=phone")
    web = row(table, "circumstance_effect", measure="conf", segment="mode=web")
    assert phone["estimate"] == pytest.approx(-web["estimate"])
    assert abs(2 * phone["estimate"] - 0.8) < 0.25
    other = row(table, "circumstance_effect", measure="prep", segment="mode=phone")
    assert other["conf_low"] < 0 < other["conf_high"]


def test_spread_with_the_mode_held_fixed_is_that_of_the_roles(instrument):
    """Mode and role are balanced, so holding one fixed changes the other little."""
    data = answers(phone=0.8, organisations=400)
    found = row(made(data, instrument)[0].estimates, "role_sd_given", measure="conf", segment="mode held fixed")
    means = data.groupby("role")["conf"].mean()
    assert found["estimate"] == pytest.approx(np.std(means, ddof=1), abs=0.06)


def test_differential_functioning_is_found_where_one_item_is_read_otherwise(instrument):
    table = made(answers(dif=1.0), instrument)[0].estimates
    found = row(table, "dif_f", measure="conf")
    assert found["p_value"] < 0.001
    assert "cannot tell" in found["reason"]


def test_differential_functioning_keeps_its_level_where_items_are_read_alike(instrument):
    """Roles differ on the trait, which the single matching item carries with error: too many rejections would be a fault.

    With one error-laden item to match on, a true difference between roles leaks into the test (Lord 1960). So the level is
    held where roles do not differ, and the reason says what the test cannot tell.
    """
    p = [
        row(made(answers(organisations=60, seed=seed, role_gap=0.0), instrument, replicates=40)[0].estimates, "dif_f",
            measure="conf")["p_value"]
        for seed in range(60)
    ]  # fmt: skip
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_reliability_of_a_scale(instrument):
    data = answers()
    table = made(data, instrument)[0].estimates
    items = data[["use_1", "use_2", "use_3"]]
    S = items.cov(ddof=0).to_numpy()
    alpha = 1.5 * (1 - np.trace(S) / S.sum())
    found = row(table, "cronbach_alpha", measure="use")
    assert found["estimate"] == pytest.approx(alpha, abs=1e-9)
    assert found["conf_low"] < alpha < found["conf_high"]
    assert row(table, "omega_total", measure="use")["estimate"] == pytest.approx(alpha, abs=0.02)


def test_a_small_scale_says_what_is_missing(instrument):
    found = row(made(answers(organisations=8), instrument)[0].estimates, "cronbach_alpha")
    assert found["reason"] == "50 respondents with all 3 answers are needed; there are about 30"


def test_extreme_answering_shows_in_its_role(instrument, monkeypatch):
    monkeypatch.setattr(measurement, "FEWEST_FOR_STYLE", 5)
    table = made(answers(extreme=0.8, role_gap=0.0), instrument)[0].estimates
    first, second = (row(table, "endpoint_share", role=label) for label in "ab")
    assert second["conf_low"] > first["conf_high"]


def test_end_points_are_counted_by_person(instrument):
    data = answers(organisations=10)
    _, design = made(data, instrument)
    share, given = endpoint_share(instrument, design)
    items = design.responses[["conf", "prep", "use_1", "use_2", "use_3"]]
    np.testing.assert_allclose(share, items.isin([1, 5]).mean(axis=1))
    assert (given == 5).all()


def test_one_mode_says_so(instrument):
    table = made(answers().assign(mode="web"), instrument)[0].estimates
    found = row(table, "role_sd_given", measure="conf", segment="mode held fixed")
    assert found["status"] == "not_assessable"
    assert found["reason"] == "two levels of mode of 20 respondents are needed; there are 1"


def test_no_organisations_and_one_role_end_well(instrument):
    table = made(answers(), instrument, organisation="")[0].estimates
    assert table["n_organisations"].isna().all()
    table = made(answers().assign(role="a"), instrument)[0].estimates
    assert row(table, "dif_f", measure="conf")["reason"] == "two roles of 20 respondents are needed; there are 1"
    assert row(table, "role_mean_bounds", measure="conf", role="b")["status"] == "not_assessable"


def test_order_of_rows_changes_nothing(instrument):
    data = answers(phone=0.3, silent=0.1)
    first, second = (made(d, instrument)[0].estimates for d in (data, data.sample(frac=1.0, random_state=1)))
    pd.testing.assert_frame_equal(first, second)


def test_shares_of_one_or_two_people_are_held_back(instrument):
    data = answers(organisations=40)
    data.loc[data.index[data["role"] == "b"][:2], "conf"] = np.nan
    result, _ = made(data, instrument)
    published = publish(result.estimates, Policy.from_study({}), result.bases)
    assert row(published, "item_nonresponse", measure="conf", role="b")["status"] == "suppressed"
