"""Stability between waves: measures.md 2.7 by hand, variance of changes against a loop, ownership, refusals."""

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs.ledger import Ledger
from fieldwork.constructs.stability import clear_ownership, estimate
from fieldwork.statistics.duration import reversals, variance_ratio
from fieldwork.statistics.replicates import named_stream
from tests.over_waves import SHIPPED, draws, earlier, row, wave

USE = [item.name for item in SHIPPED.slot("use_stab")]


def of(*waves, absent=()):
    *before, now = waves
    ledger = Ledger(now.design, now.name, "08_movement", "role_shift")
    estimate(ledger, waves, earlier(*before, absent=absent, number=now.number))
    return ledger.table()


def panel(n, **columns):
    ids = {"resp_id": [f"r{i:04d}" for i in range(n)], "org_id": [f"o{i // 2:04d}" for i in range(n)]}
    return pd.DataFrame({"role": np.resize(["CTO", "CFO"], n), **ids, **columns})


def paths(first, second, third, **more):
    n = 60
    stages = [np.resize(each, n) for each in (first, second, third)]
    return [wave(panel(n, stage_fn=stage, **more), k + 1) for k, stage in enumerate(stages)]


def test_the_worked_example_of_reversals():
    """measures.md 2.7: paths 2-3-3 and 3-2-3 have one reversal in four moves, .25."""
    told = row(of(*paths([2, 3], [3, 2], [3, 3])), statistic="reversal_share")
    assert told["estimate"] == pytest.approx(0.25)
    assert told["estimate"] == reversals([[2, 3, 3], [3, 2, 3]]).share
    assert (told["n"], told["n_organisations"]) == (60, 30)


def test_a_wave_that_was_not_delivered_is_never_bridged():
    one, _, three = paths([3, 3], [3, 3], [2, 2])
    three = wave(three.design.responses[["role", "stage_fn", "resp_id", "org_id"]], 3)
    told = row(of(one, three, absent=["w2"]), statistic="reversal_share")
    assert told["reason"] == "no two waves that follow each other were delivered; no delivery of w2"
    again = wave(three.design.responses[["role", "stage_fn", "resp_id", "org_id"]].assign(stage_fn=1), 4)
    assert row(of(one, three, again, absent=["w2"]), statistic="reversal_share")["estimate"] == 1.0


def test_ownership_is_clear_where_most_executives_name_one_role():
    owners = {
        "a": ["CTO", "CTO", "CEO"],
        "b": ["CTO", "CEO"],
        "c": ["shared", "shared", "CTO"],
        "d": ["CFO"],
        "e": [None, None],
    }
    data = pd.DataFrame([{"org_id": o, "role": "CTO", "owner": who} for o, named in owners.items() for who in named])
    given = wave(data)
    told = dict(zip(given.design.responses["org_id"], clear_ownership(given), strict=True))
    assert {o: told[o] for o in "abcd"} == {"a": 1.0, "b": 0.0, "c": 0.0, "d": 1.0}
    assert np.isnan(told["e"])


def test_reversals_are_set_apart_by_ownership_at_the_start():
    n = 160
    clear = np.arange(n) // 2 % 2 == 0
    owner = np.where(clear, "CTO", "nobody")
    start = np.full(n, 3)
    fell = np.where(clear, np.arange(n) % 8 < 1, np.arange(n) % 8 < 4)
    one, two = wave(panel(n, stage_fn=start, owner=owner)), wave(panel(n, stage_fn=np.where(fell, 2, 3)), 2)
    told = row(of(one, two), statistic="reversal_difference")
    assert told["estimate"] == pytest.approx(fell[~clear].mean() - fell[clear].mean())
    assert told["n"] == 80
    assert told["conf_low"] < told["estimate"] < told["conf_high"]


def use(level):
    return {name: np.clip(np.round(level), 1, 5).astype(int) for name in USE}


def test_the_variance_ratio_is_that_of_the_statistics():
    rng = named_stream(3, "use")
    n = 80
    levels = [3 + rng.normal(0, 1, n), 3 + rng.normal(0, 1, n), 3 + rng.normal(0, 0.3, n)]
    waves = [wave(panel(n, **use(level)), k + 1) for k, level in enumerate(levels)]
    told = row(of(*waves), statistic="variance_ratio")
    answers = [np.mean([w.design.responses[name].to_numpy(float) for name in USE], axis=0) for w in waves]
    role = waves[0].design.responses["role"].to_numpy()
    by_hand = variance_ratio(
        np.r_[answers[1] - answers[0], answers[2] - answers[1]], np.repeat([False, True], n), group=np.tile(role, 2),
        cluster=np.tile(waves[0].design.responses["org_id"].to_numpy(), 2),
    )  # fmt: skip
    assert told["estimate"] == pytest.approx(by_hand.ratio)
    assert told["std_error"] / told["estimate"] == pytest.approx(by_hand.std_error, rel=0.15)
    assert (told["n"], told["n_organisations"]) == (n, 40)
    drawn = draws(of(*waves), statistic="variance_ratio")
    assert (drawn > 0).all()


def test_only_those_who_answered_every_wave_of_both_changes_count():
    rng = named_stream(4, "use")
    waves = [wave(panel(80, **use(3 + rng.normal(0, 1, 80))), k + 1) for k in range(3)]
    left = wave(waves[1].design.responses[["role", "resp_id", "org_id", *USE]].iloc[:50], 2)
    assert row(of(waves[0], left, waves[2]), statistic="variance_ratio")["n"] == 50


@pytest.mark.parametrize(
    ("waves", "reason"),
    [
        (1, "a change of variance needs two changes: 3 waves are needed; 1 was delivered up to this one"),
        (2, "a change of variance needs two changes: 3 waves are needed; 2 were delivered up to this one"),
    ],
)
def test_three_waves_are_needed(waves, reason):
    rng = named_stream(4, "use")
    made = [wave(panel(80, **use(3 + rng.normal(0, 1, 80))), k + 1) for k in range(waves)]
    assert row(of(*made), statistic="variance_ratio")["reason"] == reason


def test_changes_of_unlike_length_are_not_compared():
    rng = named_stream(4, "use")
    made = [wave(panel(80, **use(3 + rng.normal(0, 1, 80))), k) for k in (1, 3, 4)]
    told = row(of(*made, absent=["w2"]), statistic="variance_ratio")
    assert told["reason"] == "the first change spans 2 and the last 1 waves of the study; no delivery of w2"


def test_a_repeated_cross_section_says_that_nobody_is_followed():
    rng = named_stream(4, "use")
    made = [
        wave(panel(80, **use(3 + rng.normal(0, 1, 80))).assign(resp_id=lambda d, k=k: [f"{k}-{i}" for i in d.index]), k)
        for k in (1, 2, 3)
    ]
    told = row(of(*made), statistic="variance_ratio")
    assert told["reason"] == "30 executives of w1, w2, w3 are needed; there are none"


def test_use_that_does_not_move_has_no_variance():
    made = [wave(panel(80, **use(np.full(80, 3.0))), k) for k in (1, 2, 3)]
    assert row(of(*made), statistic="variance_ratio")["reason"] == "one of the two changes does not vary within roles"
