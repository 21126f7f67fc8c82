"""Waves side by side: who took part again, answers by role, and what a count may be told as."""

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs.waves import Earlier, errors_of, record_of, role_answers, takers, too_few, wanted
from tests.over_waves import SHIPPED, earlier, wave, without_organisations

RNG = np.random.default_rng(3)


def answers(n, first=0, **more):
    return {
        "resp_id": [f"r{i:04d}" for i in range(first, first + n)],
        "org_id": [f"o{i // 3:04d}" for i in range(first, first + n)],
        "role": RNG.choice(["CTO", "CFO", "CMO"], n),
        "conf": RNG.integers(1, 6, n),
        **more,
    }


@pytest.mark.parametrize(
    ("first", "kind", "again"), [(0, "panel", 30), (15, "mixture", 15), (60, "repeated cross-section", 0)]
)
def test_who_took_part_again_tells_the_kind_of_design(first, kind, again):
    found = takers(wave(answers(30)), wave(answers(30, first), 2))
    assert (found.kind, found.returning, found.respondents) == (kind, again, 30)
    assert (found.organisations, found.organisations_returning) == (10, again // 3)


def test_a_panel_that_lost_some_is_a_panel():
    assert takers(wave(answers(30)), wave(answers(20), 2)).kind == "panel"


def test_the_record_names_the_waves_that_were_there():
    one, two = wave(answers(30)), wave(answers(30, 15), 3)
    record = record_of((one, two), Earlier((one,), ("w2",), 3))
    assert record == {"fielded": ["w1", "w3"], "absent": ["w2"], "with": {"w1": "mixture"}}


def test_answers_by_role_are_those_of_a_loop():
    given = wave(answers(120), weight=RNG.uniform(0.5, 2, 120))
    found = role_answers(given, "conf", ["CMO", "CTO"], {"CMO": "CMO", "CTO": "CTO", "CFO": "CTO"})
    data, weight = given.design.responses, given.design.weight
    for place, held in enumerate((["CMO"], ["CTO", "CFO"])):
        mine = data["role"].isin(held).to_numpy()
        assert found.n[place] == mine.sum()
        assert found.clusters[place] == data.loc[mine, "org_id"].nunique()
        for layer in (0, 1, 17):
            m = np.ones(given.design.multiplier.shape[1]) if layer == 0 else given.design.multiplier[layer - 1]
            w = weight[mine] * m[given.design.cluster[mine]]
            assert found.mean[layer, place] == pytest.approx(w @ data.loc[mine, "conf"].to_numpy(float) / w.sum())


def test_answers_that_are_missing_or_of_no_role_do_not_count():
    data = pd.DataFrame(answers(60))
    data["conf"] = data["conf"].astype("Int8").mask(data.index < 10)
    data["role"] = data["role"].astype("string").mask(data.index >= 50)
    assert role_answers(wave(data), "conf", SHIPPED.role_ids).n.sum() == 40


def test_an_organisation_has_the_same_replicates_in_every_wave():
    same = answers(60)
    one, two = wave(same), wave(same, 2)
    change = role_answers(two, "conf", ["CTO"]).mean - role_answers(one, "conf", ["CTO"]).mean
    assert np.abs(change).max() < 1e-12  # a panel that says the same says so in every replicate
    strangers = wave({**same, "org_id": [f"x{i // 3}" for i in range(60)]}, 2)
    apart = role_answers(strangers, "conf", ["CTO"]).mean - role_answers(one, "conf", ["CTO"]).mean
    assert apart[0, 0] == pytest.approx(0)
    assert apart[1:].std() > 0.1


def test_a_survey_without_organisations_has_respondents_as_clusters():
    given = wave({k: v for k, v in answers(30).items() if k != "org_id"}, instrument=without_organisations())
    assert role_answers(given, "conf", ["CTO", "CFO", "CMO"]).clusters.sum() == 30
    assert takers(given, given).organisations == 0


def test_errors_are_widened_for_few_organisations():
    layers = np.array([[1.0], [2.0], [0.0]])
    narrow, wide = errors_of(layers, np.array([10]), wide=False), errors_of(layers, np.array([10]))
    assert narrow[:, 0] == pytest.approx([np.sqrt(10 / 9), -np.sqrt(10 / 9)])
    assert wide / narrow == pytest.approx(np.full((2, 1), 2.2621572 / 1.959964), rel=1e-6)


@pytest.mark.parametrize(
    ("found", "told"),
    [(0, "none"), (9, "fewer than 10"), (12, "about 10"), (33, "about 35"), (38, "somewhat fewer")],
)
def test_a_small_count_is_not_told(found, told):
    assert wanted(40, "respondents", found) == f"40 respondents are needed; there are {told}"


def test_too_few_waves_are_counted():
    one = wave(answers(30))
    assert too_few((one,)) == "2 waves are needed; 1 was delivered up to this one"
    assert too_few((one, one)) == ""
    assert earlier(one, absent=["w2"]).missing() == "no delivery of w2"
