"""Readiness and stalls: worked examples, nothing among executives who are alike, a known world, odd surveys, and the gate."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs import readiness
from fieldwork.constructs.cells import survey_design
from fieldwork.constructs.colleagues import informants_of
from fieldwork.constructs.ledger import Wanted
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument
from fieldwork.schema import ESTIMATE_KEY
from fieldwork.simulate.truth_readiness import readiness_truth
from tests.drawn_study import beside_truth, drawn, one, register
from tests.toys import small

ROOT = Path(__file__).resolve().parents[1]
CASES = tomllib.loads((Path(__file__).parent / "cases" / "practices.toml").read_text(encoding="utf-8"))

SMALL = small(a="First", b="Second", c="Third")
ITEMS = {
    name: f'\n[items.{name}]\nkind = "ordinal"\nscale = "five"\nlabel = "{name}"\nconstructs = ["readiness"]\n'
    for name in ("prep", "prep_org", "conf", "conv_priv", "amb", "res_data", "res_tool", "res_tal", "res_bud", "ack")
}
ITEMS["stall"] = '\n[items.stall]\nkind = "flag"\nlabel = "Stall"\nconstructs = ["practices"]\n'
ITEMS["bud_chg"] = '\n[items.bud_chg]\nkind = "number"\nlabel = "Budget"\nconstructs = ["practices"]\n'
ITEMS["stall_cause"] = """
[items.stall_cause]
kind = "single"
label = "Cause"
options = [{ code = 1, id = "x", label = "X" }, { code = 2, id = "y", label = "Y" }, { code = 3, id = "z", label = "Z" }]
constructs = ["practices"]
"""
AGAINST = Wanted("stall_cause", "share_difference", item="y v x", unit="proportion")
TOGETHER = Wanted("stall_cause", "share", item="y+z", unit="proportion")


def asking(folder, *items, without=""):
    path = folder / "small.toml"
    path.write_text(SMALL.replace(without, "") + "".join(ITEMS[name] for name in items), encoding="utf-8")
    return Instrument.load(path, "2026Q1")


@pytest.fixture
def ask(tmp_path):
    return lambda *items, without="": asking(tmp_path, *items, without=without)


def respondents(organisations, roles=("a", "b", "c"), **answers):
    """One row per organisation and role; each answer an array over all rows, or one number."""
    data = pd.DataFrame(
        {
            "org_id": np.repeat([f"o{i:05d}" for i in range(organisations)], len(roles)),
            "role": np.tile(roles, organisations),
        }
    )
    return data.assign(resp_id=[f"r{i:06d}" for i in range(len(data))], **answers)


def made(data, instrument, *, organisation="org_id", replicates=200, weight=1.0, seed=1, wanted=()):
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": weight})
    design = survey_design(
        data, weights, respondent="resp_id", organisation=organisation, margins=None, replicates=replicates, seed=seed
    )
    return readiness.estimate_for(instrument, design, wanted)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return drawn("role_divergence", 150, 3, tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def estimated(study):
    return readiness.estimate_for(study[1], study[2], register().wanted("readiness"))


# ------------------------------------------------------------------------------------------------------ worked examples


def test_distance_of_colleagues_worked_example():
    case = CASES["distance_of_colleagues"]
    data = respondents(4, conf=np.tile(case["answers"], 4).astype(float))
    design = survey_design(
        data, pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0}), respondent="resp_id", organisation="org_id",
        margins=None, replicates=10, seed=1,
    )  # fmt: skip
    team = informants_of(design, data["conf"].to_numpy())
    assert team.distance().tolist() == [case["distance"]] * 4
    assert (team.strongest()[0], team.median()[0], team.weakest()[0]) == (5.0, 3.0, 2.0)


def test_lowest_of_noisy_answers_worked_example(ask, monkeypatch):
    """tests/cases: three organisations, so the minimum of other respondents and of organisations is set aside."""
    case = CASES["lowest_of_noisy_answers"]
    monkeypatch.setattr(readiness, "MINIMUM_FOR_ORDER", 2)
    monkeypatch.setattr(readiness, "MINIMUM_ORGANISATIONS", 3)
    data = respondents(3, prep=np.array(case["own"], dtype=float).ravel(), prep_org=float(case["claim"]))
    found = made(data, ask("prep", "prep_org")).estimates
    assert one(found, "prep", "claim_minus_lowest", role="a")["estimate"] == pytest.approx(case["lowest"], abs=1e-4)
    assert one(found, "prep", "claim_minus_lower_quartile", role="a")["estimate"] == pytest.approx(
        case["lower_quartile"], abs=1e-4
    )
    assert one(found, "prep", "claim_minus_lowest_raw", role="a")["estimate"] == pytest.approx(case["raw"], abs=1e-4)


# ------------------------------------------------------------------------------------- the least prepared role (H20)


def test_among_identical_executives_the_claim_exceeds_nothing(ask):
    """Every answer one draw of the same distribution: nil within chance, where the raw difference is over a point."""
    rng = np.random.default_rng(4)
    instrument = ask("prep", "prep_org")
    found = []
    for _ in range(40):
        data = respondents(
            60, prep=rng.integers(1, 6, 180).astype(float), prep_org=rng.integers(1, 6, 180).astype(float)
        )
        found.append(made(data, instrument, replicates=60).estimates)
    rows = [one(each, "prep", "claim_minus_lowest", role="a") for each in found]
    values = np.array([row["estimate"] for row in rows], dtype=float)
    assert abs(values.mean()) < 3 * values.std(ddof=1) / np.sqrt(40)
    raw = np.mean([one(each, "prep", "claim_minus_lowest_raw", role="a")["estimate"] for each in found])
    assert raw > 1.0
    covered = [row["conf_low"] <= 0 <= row["conf_high"] for row in rows]
    assert np.mean(covered) >= 0.85


def test_the_least_prepared_role_is_found_where_there_is_one(ask):
    """Role c stands a point below the others: the claim exceeds it by that, and the lower quartile by half of it."""
    rng = np.random.default_rng(5)
    level = np.tile([3.5, 3.5, 2.5], 3000)
    own = level + rng.choice([-0.5, 0.5], 9000)
    data = respondents(3000, prep=own * 2, prep_org=np.full(9000, 7.0))
    found = made(data, ask("prep", "prep_org"), replicates=60).estimates
    for role in ("a", "b", "c"):
        assert one(found, "prep", "claim_minus_lowest", role=role)["estimate"] == pytest.approx(2.0, abs=0.06)
        assert one(found, "prep", "claim_minus_lower_quartile", role=role)["estimate"] == pytest.approx(1.0, abs=0.06)


def test_thin_roles_take_no_part_and_are_named(ask):
    rng = np.random.default_rng(6)
    data = respondents(40, prep=rng.integers(1, 6, 120).astype(float), prep_org=3.0)
    thin = data["role"].eq("c") & (np.arange(120) > 27)
    data.loc[thin, "prep"] = np.nan
    found = made(data, ask("prep", "prep_org")).estimates
    row = one(found, "prep", "claim_minus_lowest", role="a")
    assert (row["status"], row["reason"]) == (
        "not_assessable",
        "3 informants of one organisation are needed; the most are 2",
    )


# ------------------------------------------------------------------------------------------------------------- stalls


def test_causes_add_up_and_are_set_against_each_other(ask):
    cause = np.array(["x", "y", "y", "z"] * 30)
    data = respondents(40, stall=1.0).assign(stall_cause=pd.Series(cause, dtype="string"))
    found = made(data, ask("stall", "stall_cause"), wanted=[AGAINST, TOGETHER]).estimates
    assert [one(found, "stall_cause", "share", item=i)["estimate"] for i in "xyz"] == pytest.approx([0.25, 0.5, 0.25])
    assert one(found, "stall_cause", "share_difference", item="y v x")["estimate"] == pytest.approx(0.25)
    assert one(found, "stall_cause", "share", item="y+z")["estimate"] == pytest.approx(0.75)


def test_weights_count(ask):
    data = respondents(30, stall=np.tile([1.0, 0.0, 0.0], 30))
    found = made(data, ask("stall"), weight=np.tile([4.0, 1.0, 1.0], 30)).estimates
    assert one(found, "stall", "share")["estimate"] == pytest.approx(4 / 6)


def test_stalls_that_go_with_distance_are_found_and_resources_do_not_explain_them(ask):
    """Half of the organisations wide apart: 80% report a stall there, 20% elsewhere, in all of them and with resources."""
    rng = np.random.default_rng(7)
    wide = np.repeat(rng.permutation(np.arange(240) % 2), 3).astype(bool)
    conf = np.where(wide, np.tile([1.0, 3.0, 5.0], 240), 3.0)
    resources = dict.fromkeys(
        ("res_data", "res_tool", "res_tal", "res_bud"), np.repeat(np.arange(240) % 4 > 1, 3) * 2.0 + 2.0
    )
    stall = (rng.random(720) < np.where(wide, 0.8, 0.2)).astype(float)
    data = respondents(240, conf=conf, stall=stall, **resources)
    found = made(data, ask("conf", "stall", *resources)).estimates
    whole, part = (one(found, "stall", "risk_difference", segment=segment) for segment in ("", "resources=all"))
    for row in (whole, part):
        assert row["conf_low"] < 0.6 < row["conf_high"]
        assert row["conf_low"] > 0.4
    assert part["method"] == "melded_korn_graubard"
    assert part["n"] == 360


def test_what_is_held_fixed_decides_between_ambition_and_distance(ask):
    """Stalls follow the distance; ambition is low where colleagues are apart. Held fixed, ambition makes no difference."""
    rng = np.random.default_rng(8)
    apart = rng.random(900) < 0.5
    low = np.where(apart, rng.random(900) < 0.8, rng.random(900) < 0.2)
    conf = np.where(np.repeat(apart, 3), np.tile([1.0, 3.0, 5.0], 900), 3.0)
    stall = (rng.random(2700) < np.where(np.repeat(apart, 3), 0.7, 0.3)).astype(float)
    data = respondents(900, conf=conf, stall=stall, amb=np.where(np.repeat(low, 3), 2.0, 4.0))
    row = one(made(data, ask("conf", "stall", "amb")).estimates, "stall", "risk_difference", item="amb")
    crude = stall[np.repeat(low, 3)].mean() - stall[~np.repeat(low, 3)].mean()
    assert crude > 0.15
    assert -0.08 < row["conf_low"] < 0 < row["conf_high"] < 0.08


def test_disagreement_that_is_not_named_is_compared_among_those_apart(ask):
    rng = np.random.default_rng(9)
    apart, silent = rng.random(800) < 0.6, rng.random(800) < 0.5
    conf = np.where(np.repeat(apart, 3), np.tile([1.0, 3.0, 5.0], 800), 3.0)
    chance = np.where(apart & silent, 0.8, np.where(silent, 0.1, 0.4))
    stall = (rng.random(2400) < np.repeat(chance, 3)).astype(float)
    data = respondents(800, conf=conf, stall=stall, ack=np.where(np.repeat(silent, 3), 1.0, 4.0))
    row = one(made(data, ask("conf", "stall", "ack")).estimates, "stall", "risk_difference", item="ack")
    assert row["conf_low"] < 0.4 < row["conf_high"]
    assert row["conf_low"] > 0.25


# ------------------------------------------------------------------------------------------------------------- budget


def test_budgets_that_follow_the_strongest_conviction(ask):
    rng = np.random.default_rng(10)
    conviction = rng.integers(1, 6, (400, 3)).astype(float)
    budget = 10.0 * conviction.max(axis=1) + rng.normal(0, 5, 400)
    data = respondents(400, conv_priv=conviction.ravel(), bud_chg=np.repeat(budget, 3))
    found = made(data, ask("conv_priv", "bud_chg")).estimates
    assert one(found, "bud_chg", "coefficient", item="strongest")["conf_low"] > 0.7
    for item in ("median", "weakest"):
        row = one(found, "bud_chg", "coefficient", item=item)
        assert row["conf_low"] < 0 < row["conf_high"]
    # Standardised by hand, in the plain regression on the three.
    X = np.column_stack([np.ones(400), np.sort(conviction, axis=1)[:, ::-1]])
    slope = np.linalg.lstsq(X, budget, rcond=None)[0][1:] * X[:, 1:].std(axis=0) / budget.std()
    difference = one(found, "bud_chg", "coefficient_difference")
    assert difference["estimate"] == pytest.approx(slope[0] - slope[1], abs=1e-9)
    assert difference["unit"] == "index"


def test_convictions_that_do_not_vary_tell_nothing(ask):
    data = respondents(40, conv_priv=np.tile([1.0, 3.0, 5.0], 40), bud_chg=np.arange(120.0))
    row = one(made(data, ask("conv_priv", "bud_chg")).estimates, "bud_chg", "coefficient_difference")
    assert row["status"] == "not_assessable"
    assert row["reason"].startswith("the model cannot be fitted: the columns of a regression depend on each other")


# --------------------------------------------------------------------------------------------------------- a known world


def test_a_known_world_is_found(study, estimated):
    population, instrument, _ = study
    both = beside_truth(estimated.estimates, readiness_truth(population, instrument, "2026Q1", 1))
    assert len(both) > 130
    assert both["z"].abs().max() < 4
    assert both["covered"].mean() >= 0.9
    assert set(both["statistic"]) == {
        "ready_share", "claim_minus_role", "claim_minus_lowest", "claim_minus_lower_quartile", "share", "share_difference",
        "risk_difference", "coefficient", "coefficient_difference",
    }  # fmt: skip


def test_nothing_is_found_where_nothing_is(tmp_path):
    population, instrument, design = drawn("null", 150, 11, tmp_path)
    found = readiness.estimate_for(instrument, design, register().wanted("readiness"))
    both = beside_truth(found.estimates, readiness_truth(population, instrument, "2026Q1", 1))
    nil = both[both["value"] == 0.0]
    assert {"claim_minus_lowest", "coefficient_difference", "risk_difference", "share_difference"} <= set(
        nil["statistic"]
    )
    assert both["z"].abs().max() < 4


def test_the_enumerated_truth_is_that_of_a_large_draw():
    """Claims against roles' own, enumerated over sets of informants, against 60,000 drawn organisations counted plainly."""
    from fieldwork.simulate import Population, worlds
    from fieldwork.simulate.interview import layout_of
    from fieldwork.simulate.truth_draws import draw
    from tests.drawn_study import shipped

    instrument = shipped()
    population = Population(worlds()["role_divergence"], layout_of(instrument))
    truth = pd.DataFrame(list(readiness_truth(population, instrument, "2026Q1", 1)))
    sample = draw(population, instrument, [instrument.item("prep"), instrument.item("prep_org")], 1, 60_000)
    roles = population.layout.roles
    table = np.full((60_000, len(roles), 2), np.nan)
    table[sample.organisation, sample.role, 0] = sample.answers["prep"]
    table[sample.organisation, sample.role, 1] = sample.answers["prep_org"]
    own = [np.average(table[:, r, 0][~np.isnan(table[:, r, 0])]) for r in range(len(roles))]
    order = np.argsort(own)
    enough = (~np.isnan(table[:, :, 0])).sum(axis=1) >= 3
    ranked = table[:, order, 0]
    lowest = ranked[np.arange(60_000), np.argmax(~np.isnan(ranked), axis=1)]
    for r, role in enumerate(roles):
        used = enough & ~np.isnan(table[:, r, 1])
        values = table[used, r, 1] - lowest[used]
        expected = one(truth.assign(segment=""), "prep", "claim_minus_lowest", role=role)["value"]
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(used.sum()) + 0.01


# ----------------------------------------------------------------------------------------------------------- odd surveys


def test_a_survey_without_the_items_says_so_row_by_row():
    ospo = Instrument.load(ROOT / "examples" / "ospo" / "instruments" / "instrument.toml", "2023")
    data = pd.DataFrame({name: pd.Series([pd.NA] * 40) for name in ospo.columns()})
    data["resp_id"] = [f"r{i}" for i in range(40)]
    wanted = register().wanted("readiness")
    found = made(data, ospo, organisation="", wanted=wanted).estimates
    assert set(found["status"]) == {"not_assessable"}
    assert found["reason"].ne("").all()
    assert found["n_organisations"].isna().all()
    keys = set(
        found[["measure", "statistic", "role", "role_2", "stage", "segment", "item"]].itertuples(index=False, name=None)
    )
    assert {row.key for row in wanted} <= keys


def test_without_organisations_the_system_level_says_so(ask):
    names = ("prep", "prep_org", "conf", "conv_priv", "stall", "bud_chg", "amb", "ack")
    rng = np.random.default_rng(1)
    answers = {name: rng.integers(1, 6, 150).astype(float) for name in names} | {"stall": rng.integers(0, 2, 150) * 1.0}
    instrument = ask(*names, without='organisation = "org_id"\n')
    found = made(respondents(50, **answers), instrument, organisation="").estimates
    system = found[
        found["statistic"].isin(["claim_minus_lowest", "claim_minus_role", "risk_difference", "coefficient"])
    ]
    assert set(system["reason"]) == {"the survey names no organisations"}
    assert one(found, "stall", "share")["status"] == "ok"
    assert one(found, "prep", "ready_share", role="a")["status"] == "ok"


def test_one_informant_per_organisation_is_told_the_number(ask):
    names = ("prep", "prep_org", "conf", "conv_priv", "stall", "bud_chg")
    answers = dict.fromkeys(names, 3.0) | {"stall": 1.0}
    found = made(respondents(60, ("a",), **answers), ask(*names)).estimates
    assert (
        one(found, "stall", "risk_difference")["reason"]
        == "3 informants of one organisation are needed; the most are 1"
    )
    assert one(found, "prep", "claim_minus_lowest", role="a")["reason"] == (
        "3 informants of one organisation are needed; the most are 1"
    )
    assert one(found, "bud_chg", "coefficient_difference")["reason"] == (
        "30 organisations with 3 convictions and a budget are needed; there are 0"
    )


def test_one_organisation_is_no_sample(ask):
    names = ("prep", "prep_org", "conf", "conv_priv", "stall", "bud_chg")
    rng = np.random.default_rng(1)
    answers = {name: rng.integers(1, 6, 60).astype(float) for name in names} | {"stall": rng.integers(0, 2, 60) * 1.0}
    found = made(respondents(20, **answers).assign(org_id="only"), ask(*names))
    published = publish(found.estimates, Policy(), found.bases)
    assert set(published["status"]) <= {"suppressed", "not_assessable"}


def test_no_roles_no_profile(tmp_path):
    path = tmp_path / "roleless.toml"
    path.write_text(SMALL.replace('role = "role"\n\n', "\n") + ITEMS["prep"] + ITEMS["stall"], encoding="utf-8")
    found = made(respondents(20, prep=3.0, stall=1.0), Instrument.load(path, "2026Q1")).estimates
    assert one(found, "prep", "ready_share")["reason"] == "the instrument of this wave has no roles"
    assert one(found, "stall", "share")["estimate"] == 1.0


def test_a_comparison_with_a_thin_side_is_told_the_number(ask):
    conf = np.full(180, 3.0)
    conf[:9] = np.tile([1.0, 3.0, 5.0], 3)
    row = one(
        made(respondents(60, conf=conf, stall=np.tile([1.0, 0.0, 0.0], 60)), ask("conf", "stall")).estimates,
        "stall", "risk_difference",
    )  # fmt: skip
    assert row["reason"] == "10 respondents are needed on either side; colleagues apart: fewer than 10"


# ---------------------------------------------------------------------------------------------------- contract and gate


def test_every_row_has_its_key_unit_and_reason(estimated):
    estimates = estimated.estimates
    assert not estimates.duplicated([name for name in ESTIMATE_KEY if name != "wave"]).any()
    units = estimates.groupby("statistic")["unit"].unique().map(set).to_dict()
    points = {"claim_minus_role", "claim_minus_lowest", "claim_minus_lower_quartile", "claim_minus_lowest_raw"}
    for statistic, unit in units.items():
        expected = "scale_point" if statistic in points else "index" if statistic.startswith("coeff") else "proportion"
        assert unit == {expected}, statistic
    assert set(estimates["construct"]) == {"readiness"}
    assert estimates.loc[estimates["status"].isin(["not_assessable", "flagged"]), "reason"].ne("").all()
    stated = estimates[estimates["conf_low"].notna()]
    assert (stated["conf_low"] <= stated["estimate"]).all()
    assert (stated["estimate"] <= stated["conf_high"]).all()
    assert {row.key for row in register().wanted("readiness")} <= set(
        estimates[["measure", "statistic", "role", "role_2", "stage", "segment", "item"]].itertuples(
            index=False, name=None
        )
    )


def test_rows_in_any_order_give_the_same(study):
    _, instrument, design = study
    order = np.random.default_rng(1).permutation(len(design.responses))
    weights = pd.DataFrame({"resp_id": design.responses["resp_id"], "weight": design.weight})
    shuffled = survey_design(
        design.responses.iloc[order], weights.iloc[order], respondent="resp_id", organisation="org_id", margins=None,
        replicates=60, seed=3,
    )  # fmt: skip
    straight = survey_design(
        design.responses, weights, respondent="resp_id", organisation="org_id", margins=None, replicates=60, seed=3
    )
    first, second = (readiness.estimate_for(instrument, each).estimates for each in (straight, shuffled))
    pd.testing.assert_frame_equal(first, second)


def test_names_of_organisations_move_no_estimate(study):
    _, instrument, design = study
    weights = pd.DataFrame({"resp_id": design.responses["resp_id"], "weight": design.weight})
    renamed = design.responses.assign(org_id="z" + design.responses["org_id"].astype(str).str[::-1])
    pair = [
        readiness.estimate_for(
            instrument,
            survey_design(
                data, weights, respondent="resp_id", organisation="org_id", margins=None, replicates=40, seed=3
            ),
        ).estimates["estimate"]
        for data in (design.responses, renamed)
    ]
    np.testing.assert_allclose(*(each.astype(float).to_numpy() for each in pair), atol=1e-9)


def test_a_held_cause_is_not_told_by_the_others(ask):
    """Two people of forty gave cause x: the shares of y and z, y less x, and y or z must not tell how many."""
    cause = np.array(["x"] * 2 + ["y"] * 12 + ["z"] * 26)
    rng = np.random.default_rng(2)
    data = respondents(20, ("a", "b"), stall=1.0).assign(stall_cause=pd.Series(rng.permutation(cause), dtype="string"))
    found = made(data, ask("stall", "stall_cause"), wanted=[AGAINST, TOGETHER])
    published = publish(found.estimates, Policy(), found.bases)
    shares = {item: one(published, "stall_cause", "share", item=item)["status"] for item in ("x", "y", "z")}
    assert shares == {"x": "suppressed", "y": "suppressed", "z": "ok"}
    assert one(published, "stall_cause", "share_difference", item="y v x")["status"] == "suppressed"
    assert one(published, "stall_cause", "share", item="y+z")["status"] == "suppressed"


def test_published_notes_tell_no_exact_small_number(estimated):
    """What stands in a note is a threshold or a rounded share, never a count of people."""
    published = publish(estimated.estimates, Policy(), estimated.bases)
    shown = published[published["status"].isin(["ok", "flagged"])]
    numbers = shown["reason"].str.replace(r"\d+\.\d+|\d+%", "", regex=True).str.extractall(r"(\d+)")[0].astype(int)
    assert set(numbers) <= {3, 10, 30}
