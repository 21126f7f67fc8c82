"""Two lines over the stages of the organisation: a hump is found, a slope is no hump, nothing is nothing."""

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs.phase import estimate_for, slopes_at
from fieldwork.statistics.replicates import named_stream
from tests.over_waves import SHIPPED, row, wave, without, without_organisations

ROLES = {"CEO": 1.0, "CFO": -1.0, "CTO": 1.0, "CMO": -1.0}


def population(apart, *, per_cell=40, seed=1):
    """Executives of four roles at five stages of their organisation; `apart` is how far roles stand apart at each."""
    rng = named_stream(seed, "phase")
    rows = [
        {"role": role, "stage_org": stage + 1, "conf": int(np.clip(round(3 + sign * gap + rng.normal(0, 0.7)), 1, 5))}
        for stage, gap in enumerate(apart)
        for role, sign in ROLES.items()
        for _ in range(per_cell)
    ]
    return wave(pd.DataFrame(rows))


def slopes(found, prefix=""):
    return [row(found, measure="conf", statistic=f"{prefix}slope_{side}_peak") for side in ("before", "after")]


def test_slopes_of_two_lines_by_hand():
    before, after = slopes_at(np.array([1.0, 2.0, 4.0, 3.0, 0.0]), np.arange(5.0), 2)
    assert before == pytest.approx(1.5)
    assert after == pytest.approx(-2.0)
    assert slopes_at(np.array([1.0, 4.0, 1.0]), np.array([0.0, 2.0, 3.0]), 1) == (
        pytest.approx(1.5),
        pytest.approx(-3.0),
    )


def test_a_phase_is_found():
    before, after = slopes(estimate_for(population([0.0, 0.6, 1.2, 0.6, 0.0])))
    assert before["conf_low"] > 0
    assert after["conf_high"] < 0
    assert before["estimate"] == pytest.approx(0.6, abs=0.12)
    assert "widest at 'piloting'" in before["reason"]


def test_a_rise_is_no_phase():
    before, after = slopes(estimate_for(population([0.0, 0.3, 0.6, 0.9, 1.2])))
    assert before["conf_low"] > 0
    assert after["conf_low"] > 0


def test_where_roles_stand_alike_apart_no_line_is_sure():
    for gap in (0.0, 0.6):
        before, after = slopes(estimate_for(population([gap] * 5)))
        assert not before["conf_low"] > 0 or not after["conf_high"] < 0


def test_a_phase_is_declared_seldom_where_there_is_none():
    found = [slopes(estimate_for(population([0.4] * 5, per_cell=12, seed=seed))) for seed in range(40)]
    assert sum(bool(before["conf_low"] > 0 and after["conf_high"] < 0) for before, after in found) <= 2


def test_the_spread_at_each_stage_is_printed_with_its_base():
    found = estimate_for(population([0.0, 0.3, 0.6, 0.3, 0.0])).estimates.query(
        "statistic == 'role_sd_by_stage' and measure == 'conf'"
    )
    assert found["stage"].tolist() == SHIPPED.stage_ids
    assert found["n"].tolist() == found["n_organisations"].tolist() == [160] * 5
    middle = found.set_index("stage")["estimate"]["piloting"]
    assert middle == pytest.approx(0.6 * np.std([1, -1, 1, -1], ddof=1), abs=0.12)


def test_four_stages_are_needed_and_roles_at_each():
    few = population([0.3, 0.3, 0.3, 0.3, 0.3])
    data = few.design.responses
    three = estimate_for(wave(data[data["stage_org"] <= 3][["role", "stage_org", "conf"]].reset_index(drop=True)))
    assert slopes(three)[0]["reason"] == "4 stages with 30 executives are needed; there are 3"
    thin = data[(data["role"] == "CEO") | (data.groupby(["role", "stage_org"]).cumcount() < 9)]
    told = slopes(estimate_for(wave(thin[["role", "stage_org", "conf"]].reset_index(drop=True))))
    assert told[0]["reason"] == "two roles with 10 executives at each stage are needed; there are 1"


def organisations(apart, *, per_stage=40, seed=2):
    """Organisations of three executives each; `apart` is how far those of one organisation stand apart at each stage."""
    rng = named_stream(seed, "teams")
    rows = []
    for stage, gap in enumerate(apart):
        for o in range(per_stage):
            for place, role in enumerate(("CEO", "CFO", "CTO")):
                value = 3 + gap * (place - 1) + rng.normal(0, 0.4)
                rows.append({"org_id": f"s{stage}o{o:02d}", "role": role, "stage_org": stage + 1, "conf": int(np.clip(round(value), 1, 5))})  # fmt: skip
    return wave(pd.DataFrame(rows))


def test_within_organisations_it_has_a_name_of_its_own():
    found = estimate_for(organisations([0.2, 1.0, 1.8, 1.0, 0.2]))
    before, after = slopes(found, "system_")
    assert before["conf_low"] > 0
    assert after["conf_high"] < 0
    level = found.estimates.query("statistic == 'system_sd_by_stage' and measure == 'conf'")
    assert level["n_organisations"].tolist() == [40] * 5
    data = organisations([0.2, 1.0, 1.8, 1.0, 0.2]).design.responses
    by_hand = data[data["stage_org"] == 3].groupby("org_id")["conf"].std().mean()
    assert level.set_index("stage")["estimate"]["piloting"] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("instrument", "reason"),
    [
        (without(SHIPPED, role=""), "the wave has no roles"),
        (without(SHIPPED, stage_organisation=""), "the wave has no question on the stage of the organisation"),
    ],
)
def test_what_the_survey_lacks_is_said(instrument, reason):
    given = population([0.3] * 5)
    found = estimate_for(wave(given.design.responses[["role", "stage_org", "conf"]], instrument=instrument))
    assert set(found.estimates["reason"]) == {reason}


def test_a_survey_without_organisations_has_the_population_level_alone():
    data = population([0.0, 0.6, 1.2, 0.6, 0.0]).design.responses[["role", "stage_org", "conf"]]
    found = estimate_for(wave(data, instrument=without_organisations()))
    assert slopes(found)[0]["status"] == "ok"
    assert slopes(found, "system_")[0]["reason"] == "the survey names no organisations"


def test_stages_that_nobody_names_are_no_stage():
    data = population([0.3] * 5).design.responses[["role", "stage_org", "conf"]].copy()
    data["stage_org"] = data["stage_org"].astype("Int8").mask(data.index % 7 == 0)
    assert slopes(estimate_for(wave(data)))[0]["n"] < 800
