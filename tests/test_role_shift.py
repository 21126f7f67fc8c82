"""Role Shift Index: measures.md 2.2 by hand, the reference and its version, shifts and changes with composition held."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.miscmodels.ordinal_model import OrderedModel

from fieldwork import schema
from fieldwork.constructs import role_shift
from fieldwork.constructs.role_shift import estimate_for, indices, reference_of, ridits
from fieldwork.constructs.waves import role_answers
from fieldwork.disclosure import Policy, publish
from fieldwork.errors import DataError
from tests.over_waves import SHIPPED, amended, draws, earlier, row, wave, without, without_organisations

ROLES = ("CEO", "CFO", "CTO", "CMO")


def people(counts, *, start=0, **more):
    """Respondents with the stages that `counts` gives by role, each of an organisation of its own."""
    role = [name for name, of in counts.items() for _ in range(sum(of))]
    stage = [s + 1 for of in counts.values() for s, n in enumerate(of) for _ in range(n)]
    ids = range(start, start + len(role))
    made = {"role": role, "stage_fn": stage, "resp_id": [f"r{i}" for i in ids], "org_id": [f"o{i}" for i in ids]}
    return made | {name: np.resize(np.asarray(values), len(role)) for name, values in more.items()}


def of(*waves, **options):
    *before, now = waves
    return estimate_for(now.instrument, now.design, earlier(*before, number=now.number), **options)


def test_the_worked_example():
    """measures.md 2.2: reference counts 4, 3, 2, 1 -> ridits .20 .55 .80 .95; role counts 0, 1, 2, 1 -> .775."""
    assert ridits(np.array([0.4, 0.3, 0.2, 0.1])) == pytest.approx([0.20, 0.55, 0.80, 0.95])
    first = wave(people({"CEO": [40, 30, 20, 10, 0]}))
    later = wave(people({"CTO": [0, 10, 20, 10, 0]}, start=500), 2)
    reference = reference_of((first, later))
    assert indices(role_answers(later, "stage_fn", ["CTO"]), reference)[0, 0] == pytest.approx(0.775)
    assert row(of(first, later), statistic="ridit", role="CTO")["estimate"] == pytest.approx(0.775)


def test_the_model_version_is_the_mean_ridit_of_what_an_ordinal_logit_predicts():
    counts = {"CEO": [40, 30, 20, 10, 5], "CTO": [5, 10, 25, 30, 20], "CFO": [30, 30, 20, 10, 10]}
    only = wave(people(counts))
    made = of(only)
    role = np.repeat(list(counts), [sum(c) for c in counts.values()])
    stage = np.concatenate([np.repeat(np.arange(5), c) for c in counts.values()])
    dummies = pd.get_dummies(pd.Series(role))[["CTO", "CFO"]].astype(float)
    fit = OrderedModel(pd.Series(pd.Categorical(stage, ordered=True)), dummies, distr="logit").fit(
        method="bfgs", disp=False, gtol=1e-9
    )
    predicted = pd.DataFrame(np.asarray(fit.predict(dummies))).groupby(role).first()
    expected = predicted @ ridits(reference_of((only,)).share[0])
    for name in counts:
        modelled, plain = (row(made, statistic=s, role=name) for s in ("ridit_model", "ridit"))
        assert modelled["estimate"] == pytest.approx(expected[name], abs=1e-5)
        assert modelled["method"] == "clmm"
        assert modelled["conf_low"] < plain["estimate"] < modelled["conf_high"]
        assert modelled["std_error"] is pd.NA or modelled["std_error"] > 0


def test_a_model_that_cannot_be_fitted_says_why_and_leaves_the_index_alone():
    made = of(wave(people({"CEO": [40, 0, 0, 0, 0], "CTO": [10, 10, 10, 10, 10]})))
    assert row(made, statistic="ridit", role="CTO")["status"] == "ok"
    told = row(made, statistic="ridit_model")
    assert told["status"] == "not_assessable"
    assert "all answers of CEO lie at one end of the scale" in told["reason"]
    assert "40" not in told["reason"]


def test_the_model_version_refuses_every_role_that_it_cannot_speak_of():
    counts = {"CEO": [10, 10, 10, 5, 5], "CTO": [5, 5, 10, 10, 10], "CFO": [6, 6, 6, 6, 5], "CMO": [1, 1, 2, 1, 1]}
    made = of(wave(people(counts)))
    rows = made.estimates.query("statistic == 'ridit_model'").set_index("role")
    assert set(rows.index) == set(made.estimates.query("statistic == 'ridit'")["role"])
    assert set(rows.index[rows["status"] == "ok"]) == {"CEO", "CTO"}
    assert rows.loc["CFO", "reason"] == "30 respondents are needed; there are somewhat fewer"
    assert rows.loc["CMO", "reason"] == "30 respondents are needed; there are fewer than 10"
    assert rows.loc["CHRO", "status"] == "not_assessable"


def test_roles_weigh_alike_in_the_reference_and_are_half_way_on_average():
    first = wave(people({"CEO": [50, 10, 10, 10, 10], "CTO": [0, 5, 5, 5, 15], "CFO": [200, 100, 0, 0, 0]}))
    reference = reference_of((first,))
    shares = [np.array(c) / sum(c) for c in ([50, 10, 10, 10, 10], [0, 5, 5, 5, 15], [200, 100, 0, 0, 0])]
    assert reference.share[0] == pytest.approx(np.mean(shares, axis=0))
    level = [row(of(first), statistic="ridit", role=role)["estimate"] for role in ("CEO", "CTO", "CFO")]
    assert np.mean(level) == pytest.approx(0.5)


def test_a_thin_role_does_not_stand_in_the_reference_and_is_named():
    first = wave(people({"CEO": [20, 10, 0, 0, 0], "CTO": [0, 0, 0, 0, 19]}))
    reference = reference_of((first,))
    assert reference.left_out[-1:] != ()
    assert "Chief Technology Officer" in reference.left_out
    assert set(reference.table["role"]) == {"CEO"}
    assert "without" in row(of(first), statistic="ridit", role="CEO")["reason"]


def test_the_version_of_the_reference_follows_its_counts_alone():
    made = people({"CEO": [20, 10, 5, 5, 5], "CTO": [5, 5, 5, 10, 20]})
    version = reference_of((wave(made),)).version
    assert version.startswith("w1/")
    shuffled = pd.DataFrame(made).sample(frac=1, random_state=1)
    assert reference_of((wave(shuffled, seed=99),)).version == version
    other = reference_of((wave(people({"CEO": [20, 10, 5, 5, 6], "CTO": [5, 5, 5, 10, 20]})),)).version
    assert other != version


def test_a_frozen_reference_that_changed_is_refused():
    now = wave(people({"CEO": [20, 10, 5, 5, 5], "CTO": [5, 5, 5, 10, 20]}))
    version = reference_of((now,)).version
    assert row(of(now, frozen=version), statistic="ridit", role="CEO")["status"] == "ok"
    with pytest.raises(DataError, match="is not the one that was frozen"):
        of(now, frozen="w1/00000000")


def test_the_shift_is_the_difference_of_two_levels_in_every_replicate():
    one = wave(people({"CEO": [20, 10, 5, 5, 5], "CTO": [5, 5, 5, 10, 20]}))
    two = wave(people({"CEO": [10, 10, 15, 5, 5], "CTO": [5, 5, 5, 5, 30]}), 2)
    found = of(one, two)
    level = {role: row(found, statistic="ridit", role=role)["estimate"] for role in ("CEO", "CTO")}
    before = {role: row(of(one), statistic="ridit", role=role)["estimate"] for role in ("CEO", "CTO")}
    for role in ("CEO", "CTO"):
        shift = row(found, statistic="shift", role=role)
        assert shift["estimate"] == pytest.approx(level[role] - before[role])
        assert shift["conf_low"] < shift["estimate"] < shift["conf_high"]


def test_a_panel_is_surer_of_its_shift_than_other_organisations_are():
    counts = {"CEO": [20, 10, 5, 5, 5], "CTO": [5, 5, 5, 10, 20]}
    moved = people({"CEO": [18, 12, 5, 5, 5], "CTO": [5, 5, 5, 10, 20]})
    panel = row(of(wave(people(counts)), wave(moved, 2)), statistic="shift", role="CEO")
    apart = row(
        of(wave(people(counts)), wave(moved | {"org_id": [f"x{i}" for i in range(90)]}, 2)),
        statistic="shift",
        role="CEO",
    )
    assert panel["estimate"] == pytest.approx(apart["estimate"])
    assert panel["std_error"] < 0.6 * apart["std_error"]


def test_the_first_wave_has_levels_and_says_why_it_has_no_shift():
    found = of(wave(people({"CEO": [20, 10, 5, 5, 5]}, conf=[1, 2, 3])))
    for statistic in ("shift", "mean_change"):
        reasons = set(found.estimates.loc[found.estimates["statistic"] == statistic, "reason"])
        assert reasons == {"2 waves are needed; 1 was delivered up to this one"}
    assert row(found, statistic="returning_share")["reason"] == "the study has no earlier wave"


@pytest.mark.parametrize(("n", "status"), [(29, "not_assessable"), (30, "ok")])
def test_an_index_is_printed_from_thirty_respondents_on(n, status):
    found = row(
        of(wave(people({"CEO": [20, 10, 5, 5, 5], "CTO": [n - 10, 10, 0, 0, 0]}))), statistic="ridit", role="CTO"
    )
    assert found["status"] == status
    assert (found["reason"] == "30 respondents are needed; there are somewhat fewer") == (n == 29)


def test_a_stage_item_that_changed_breaks_level_and_shift_and_can_be_given_a_new_reference(
    tmp_path,
):
    newer = amended(tmp_path, '[items.stage_fn.waves."2026Q2"]\nversion = "2"\n')
    one = wave(people({"CEO": [20, 10, 5, 5, 5]}))
    two = wave(people({"CEO": [20, 10, 5, 5, 5]}), 2, instrument=newer)
    found = of(one, two)
    for statistic in ("ridit", "shift"):
        told = row(found, statistic=statistic)
        assert told["status"] == "not_assessable"
        assert "wording changed (version 1 to 2)" in told["reason"]
    again = of(one, two, reference="w2")
    assert row(again, statistic="ridit", role="CEO")["estimate"] == pytest.approx(0.5)
    assert "wording changed" in row(again, statistic="shift")["reason"]


def test_a_reference_without_a_delivery_is_named():
    told = row(of(wave(people({"CEO": [20, 10, 5, 5, 5]}), 2), reference="w1"), statistic="ridit")
    assert told["reason"] == "the reference is wave w1, of which there is no delivery"


@pytest.mark.parametrize(
    ("keys", "reason"), [({"role": ""}, "the survey has no roles"), ({"stage": ""}, "the survey has no stages")]
)
def test_a_survey_without_roles_or_stages_says_so(keys, reason):
    now = wave(people({"CEO": [20, 10, 5, 5, 5]}, conf=[1, 2]), instrument=without(SHIPPED, **keys))
    assert row(of(now), statistic="ridit")["reason"] == reason


def test_no_role_with_a_base_is_no_crash():
    told = row(of(wave(people({"CEO": [2, 1, 0, 0, 0]}))), statistic="ridit")
    assert told["reason"] == "no reference: a role with 20 respondents from 5 organisations is needed"


def test_a_survey_without_organisations_has_its_index():
    made = {k: v for k, v in people({"CEO": [20, 10, 5, 5, 5], "CTO": [5, 5, 5, 10, 20]}).items() if k != "org_id"}
    found = row(of(wave(made, instrument=without_organisations())), statistic="ridit", role="CEO")
    assert found["status"] == "ok"
    assert pd.isna(found["n_organisations"])


def firms(n, conf, small, *, start=0):
    """Executives of one role: `small` of them of small organisations, who answer 2, the others `conf`."""
    size = ["from_250"] * small + ["from_20000"] * (n - small)
    return {
        "role": ["CTO"] * n, "stage_fn": [2] * n, "size_band": size, "sector": ["finance", "retail"] * (n // 2),
        "conf": [2, 3] * (small // 2) + [conf, conf - 1] * ((n - small) // 2),
        "resp_id": [f"r{i}" for i in range(start, start + n)], "org_id": [f"o{i}" for i in range(start, start + n)],
    }  # fmt: skip


def test_a_change_of_who_answers_is_no_change_of_mind():
    one, two = wave(firms(80, 5, 20)), wave(firms(80, 5, 60, start=1000), 2)
    raw = np.mean(two.design.responses["conf"]) - np.mean(one.design.responses["conf"])
    assert raw == pytest.approx(-1.0)
    told = row(of(one, two), statistic="mean_change", measure="conf", role="CTO")
    assert told["estimate"] == pytest.approx(0.0, abs=1e-6)
    assert told["conf_low"] < 0 < told["conf_high"]
    assert told["reason"] == "since w1; number of employees, sector held as in w1"


def test_a_change_of_mind_is_found_at_held_composition():
    told = row(
        of(wave(firms(80, 4, 20)), wave(firms(80, 5, 60, start=1000), 2)),
        statistic="mean_change",
        measure="conf",
        role="CTO",
    )
    assert told["estimate"] == pytest.approx(0.75, abs=1e-6)  # one point for the three quarters who are of large ones


def test_levels_that_one_wave_lacks_are_pooled():
    one = firms(80, 5, 20)
    one["size_band"] = ["from_250"] * 20 + ["from_20000"] * 59 + ["from_5000"]
    told = row(
        of(wave(one), wave(firms(80, 5, 60, start=1000), 2)), statistic="mean_change", measure="conf", role="CTO"
    )
    assert told["status"] == "ok"


def test_the_change_of_a_panel_is_that_of_the_same_executives():
    one, two = firms(80, 4, 20), firms(80, 4, 20, start=40)
    two["conf"] = [min(c + 1, 5) for c in two["conf"]]
    found = of(wave(one), wave(two, 2))
    told = row(found, statistic="mean_change_panel", measure="conf", role="CTO")
    before = dict(zip(one["resp_id"], one["conf"], strict=True))
    steps = [c - before[r] for r, c in zip(two["resp_id"], two["conf"], strict=True) if r in before]
    assert told["estimate"] == pytest.approx(np.mean(steps))
    assert told["n"] == len(steps) == 40
    assert "mixture" in row(found, statistic="returning_share")["reason"]
    apart = of(wave(one), wave(firms(80, 4, 20, start=900), 2))
    assert "mean_change_panel" not in set(apart.estimates["statistic"])


def test_a_wave_without_delivery_is_named():
    one, three = wave(people({"CEO": [20, 10, 5, 5, 5]})), wave(people({"CEO": [20, 10, 5, 5, 5]}), 3)
    found = estimate_for(three.instrument, three.design, earlier(one, absent=["w2"], number=3))
    assert row(found, statistic="returning_share", segment="w2")["reason"] == "there is no delivery of w2"
    assert "no delivery of w2" in row(found, statistic="returning_share", segment="w1")["reason"]


def test_rows_come_in_any_order():
    made = pd.DataFrame(people({role: [10, 10, 10, 5, 5] for role in ROLES}, conf=[1, 2, 3, 4, 5]))
    one = of(wave(made), wave(made.assign(conf=made["conf"][::-1].to_numpy()), 2))
    shuffled = made.sample(frac=1, random_state=2)
    other = of(wave(shuffled), wave(made.assign(conf=made["conf"][::-1].to_numpy()).sample(frac=1, random_state=5), 2))
    pd.testing.assert_frame_equal(one.estimates, other.estimates)


def test_every_row_has_its_unit_and_the_gate_holds_small_groups_back():
    made = people({"CEO": [20, 10, 5, 5, 5], "CTO": [5, 2, 1, 0, 0]}, conf=[1, 2, 3, 4, 5])
    found = of(wave(made), wave(made, 2))
    units = {
        "ridit": "index", "ridit_model": "index", "shift": "index", "mean_change": "scale_point", "mean_change_panel": "scale_point",
        "returning_share": "proportion", "returning_organisations": "proportion", "variance_ratio": "ratio",
        "reversal_share": "proportion", "reversal_difference": "proportion",
    }  # fmt: skip
    assert {r.statistic: r.unit for r in found.estimates.itertuples()} == units
    published = publish(found.estimates, Policy(), found.bases)
    small = published[published["role"] == "CTO"]
    assert small["n"].isna().all()
    assert small["estimate"].isna().all()
    assert not small["reason"].str.contains("8").any()
    assert not found.estimates.duplicated(list(schema.ESTIMATE_KEY)).any()


def test_draws_are_confidence_draws():
    made = people({"CEO": [20, 10, 5, 5, 5], "CTO": [5, 5, 5, 10, 20]})
    found = of(wave(made, replicates=1000))
    level, drawn = row(found, statistic="ridit", role="CTO"), draws(found, statistic="ridit", role="CTO")
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([level["conf_low"], level["conf_high"]], abs=0.015)


def test_the_record_keeps_the_counts_of_the_reference():
    record = role_shift.reference_record((wave(people({"CEO": [20, 10, 5, 5, 5]})),))
    assert [each["n"] for each in record["counts"]] == [20, 10, 5, 5, 5]
    assert record["version"].startswith("w1/")
    assert role_shift.reference_record((wave(people({"CEO": [2, 1, 0, 0, 0]})),)) == {
        "reason": "a role with 20 respondents from 5 organisations is needed"
    }
