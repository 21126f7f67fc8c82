"""Perception gaps against the worked example, loops over pairs, odd designs and worlds in which the truth is known."""

import itertools
import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fieldwork.constructs import perception_gap
from fieldwork.constructs.cells import survey_design
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument
from fieldwork.simulate import Population, worlds
from fieldwork.simulate.delivery import deliveries
from fieldwork.simulate.interview import SHOWN, layout_of, measure_of
from fieldwork.simulate.population import executives
from fieldwork.simulate.truth_perception_gap import _asked, perception_gap_truth
from fieldwork.simulate.truth_teams import colleagues
from fieldwork.statistics.agreement import mean_distances

ROOT = Path(__file__).resolve().parents[1]
ROLES = ["CTO", "CFO", "CMO"]
OWN = {"CTO": 5.0, "CFO": 3.0, "CMO": 2.0}
GUESSES = {"CTO": {"CFO": 4.0, "CMO": 4.0}, "CFO": {"CTO": 4.0, "CMO": 3.0}, "CMO": {"CTO": 4.0, "CFO": 3.0}}


@pytest.fixture(scope="module")
def instrument():
    return Instrument.load(ROOT / "instruments" / "2026Q1.toml", "2026Q1")


def blank(instrument, n):
    """n respondents of organisations of three, nothing answered."""
    data = pd.DataFrame({name: pd.Series([pd.NA] * n, dtype="object") for name in instrument.columns()})
    data["resp_id"] = [f"r{i:05d}" for i in range(n)]
    data["org_id"] = [f"o{i // 3:04d}" for i in range(n)]
    data["role"] = np.tile(ROLES, n // 3)
    return data


def made(data, instrument, *, organisation="org_id", weight=None, replicates=200):
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0 if weight is None else weight})
    design = survey_design(
        data, weights, respondent="resp_id", organisation=organisation, margins=None, replicates=replicates, seed=1
    )
    return perception_gap.estimate_for(instrument, design)


def one(estimates, statistic, **key):
    rows = estimates[estimates["statistic"] == statistic]
    for name, value in ({"role": "", "segment": ""} | key).items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, f"{statistic} {key}: {len(rows)} rows"
    return rows.iloc[0]


def worked(instrument, organisations=6):
    data = blank(instrument, 3 * organisations)
    data["conf"] = data["role"].map(OWN)
    for rater, guesses in GUESSES.items():
        for target, value in guesses.items():
            data.loc[data["role"] == rater, f"meta_conf_{target}"] = value
    return data


# ----------------------------------------------------------------------------------------------------------- blind spot


def test_worked_example(instrument):
    """measures.md 2.7: own CTO 5, CFO 3, CMO 2, six guesses: actual 2.0, perceived 1.0, blind spot 1.0."""
    found = made(worked(instrument), instrument).estimates
    values = [one(found, name)["estimate"] for name in ("distance_actual", "distance_perceived", "blind_spot")]
    assert values == pytest.approx([2.0, 1.0, 1.0])
    row = one(found, "blind_spot")
    assert (row["n"], row["n_organisations"], row["unit"], row["measure"]) == (18, 6, "scale_point", "conf")


def test_guesses_at_the_own_role_and_at_nobody_do_not_count(instrument):
    data = worked(instrument)
    data["meta_conf_CTO"] = data["meta_conf_CTO"].where(data["role"] != "CTO", 1.0)
    data["meta_conf_CHRO"] = 1.0
    assert one(made(data, instrument).estimates, "distance_perceived")["estimate"] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def random_teams(instrument):
    rng = np.random.default_rng(3)
    n = 60 * 6
    data = blank(instrument, n)
    data["org_id"] = np.repeat([f"o{i:03d}" for i in range(60)], 6)
    data["role"] = rng.choice(["CEO", "CFO", "CTO", "CMO"], n)  # two of one role may sit in one organisation
    data["conf"] = np.where(rng.random(n) < 0.2, np.nan, rng.integers(1, 6, n))
    for target in ("CEO", "CFO", "CTO", "CMO"):
        data[f"meta_conf_{target}"] = np.where(rng.random(n) < 0.5, np.nan, rng.integers(1, 6, n))
    return data


def test_distances_equal_loops_over_pairs(instrument, random_teams):
    actual, perceived = [], []
    for _, team in random_teams.groupby("org_id"):
        known = team[team["conf"].notna()]
        apart, guessed = [], []
        for i, j in itertools.permutations(known.index, 2):
            mine, other = known.loc[i], known.loc[j]
            if mine["role"] == other["role"]:
                continue
            apart.append(abs(mine["conf"] - other["conf"]))
            guess = mine[f"meta_conf_{other['role']}"]
            if not np.isnan(guess):
                guessed.append(abs(mine["conf"] - guess))
        if len(known) >= 3 and apart and guessed:
            actual.append(np.mean(apart))
            perceived.append(np.mean(guessed))
    found = made(random_teams, instrument).estimates
    assert one(found, "distance_actual")["estimate"] == pytest.approx(np.mean(actual))
    assert one(found, "distance_perceived")["estimate"] == pytest.approx(np.mean(perceived))
    assert one(found, "blind_spot")["estimate"] == pytest.approx(np.mean(actual) - np.mean(perceived))
    assert one(found, "blind_spot")["n_organisations"] == len(actual)
    se = np.std(np.array(actual) - np.array(perceived), ddof=1) / np.sqrt(len(actual))
    many = made(random_teams, instrument, replicates=2000).estimates
    assert one(many, "blind_spot")["std_error"] == pytest.approx(se, rel=0.08)


def test_three_informants_are_needed_and_the_number_is_told(instrument):
    data = worked(instrument, 8)
    two = data[data["role"] != "CMO"]
    row = one(made(two, instrument).estimates, "blind_spot")
    assert (row["status"], row["reason"]) == (
        "not_assessable",
        "5 organisations with 3 informants are needed; there are 0",
    )
    four = one(made(worked(instrument, 4), instrument).estimates, "blind_spot")
    assert four["reason"] == "5 organisations with 3 informants are needed; there are 4"
    alone = one(made(data, instrument, organisation="").estimates, "blind_spot")
    assert alone["reason"] == "the survey names no organisations"
    silent = data.assign(**{name: np.nan for name in data.columns if name.startswith("meta_conf_")})
    assert one(made(silent, instrument).estimates, "blind_spot")["status"] == "not_assessable"


def test_self_rated_alignment_is_ranked_beside_the_measured_one(instrument, random_teams):
    rng = np.random.default_rng(4)
    data = random_teams.assign(align_self=rng.integers(1, 6, len(random_teams)).astype(float))
    data.loc[::7, "align_self"] = np.nan
    row = one(made(data, instrument).estimates, "self_measured_correlation")
    stated, measured = [], []
    for _, team in data.groupby("org_id"):
        y = team["conf"].dropna().to_numpy()
        if len(y) >= 3 and team["align_self"].notna().any():
            stated.append(team["align_self"].mean())
            measured.append(-np.abs(y[:, None] - y).sum() / (len(y) * (len(y) - 1)))
    assert row["estimate"] == pytest.approx(stats.spearmanr(stated, measured).statistic)
    assert (row["unit"], row["measure"], row["n_organisations"]) == ("index", "align_self", len(stated))
    assert row["conf_low"] < row["estimate"] < row["conf_high"]
    few = one(made(data[data["org_id"] < "o009"], instrument).estimates, "self_measured_correlation")
    assert few["reason"] == "10 organisations with 3 informants are needed; there are 9"


# ---------------------------------------------------------------------------------------- said and thought, and clarity


@pytest.fixture(scope="module")
def opinions(instrument):
    rng = np.random.default_rng(6)
    data = blank(instrument, 3 * 50)
    n = len(data)
    for name in ("sup_pub", "conv_priv", "clar_self", "clar_oth"):
        data[name] = np.where(rng.random(n) < 0.1, np.nan, rng.integers(1, 6, n))
    data["act_escal"] = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 5, n))
    return data, rng.uniform(0.3, 3.0, n)


def test_gaps_are_weighted_means_and_escalation_is_the_organisations(instrument, opinions):
    data, weight = opinions
    found = made(data, instrument, weight=weight).estimates
    data = data.assign(w=weight, gap=data["sup_pub"] - data["conv_priv"], clarity=data["clar_self"] - data["clar_oth"])
    level = data.groupby("org_id")["act_escal"].transform(lambda y: y.astype(float).mean())

    def mean(name, where):
        rows = data[where & data[name].notna()]
        return np.average(rows[name].astype(float), weights=rows["w"])

    often, seldom = mean("gap", level > 2), mean("gap", level <= 2)
    assert one(found, "gap_escalation_frequent")["estimate"] == pytest.approx(often)
    assert one(found, "gap_escalation_rare")["estimate"] == pytest.approx(seldom)
    assert one(found, "gap_difference")["estimate"] == pytest.approx(often - seldom)
    assert one(found, "self_other_gap")["estimate"] == pytest.approx(mean("clarity", data["role"].notna()))
    for role in ROLES:
        value = mean("clarity", data["role"] == role)
        assert one(found, "self_other_gap", role=role)["estimate"] == pytest.approx(value)


def test_one_informant_per_organisation_is_enough_for_what_is_paired_within_a_person(instrument, opinions):
    data, weight = opinions
    single = data.iloc[::3]
    found = made(single, instrument, weight=weight[::3]).estimates
    for statistic in ("self_other_gap", "gap_difference"):
        row = one(found, statistic)
        assert row["status"] in {"ok", "flagged"}
        assert row["conf_low"] < row["estimate"] < row["conf_high"]
    assert one(found, "blind_spot")["status"] == "not_assessable"
    bare = made(single, instrument, weight=weight[::3], organisation="").estimates
    assert one(bare, "gap_difference")["estimate"] == pytest.approx(one(found, "gap_difference")["estimate"])
    assert pd.isna(one(bare, "gap_difference")["n_organisations"])


def test_where_nobody_escalates_there_is_nothing_to_compare(instrument, opinions):
    data, weight = opinions
    row = one(made(data.assign(act_escal=0.0), instrument, weight=weight).estimates, "gap_difference")
    assert row["status"] == "not_assessable"
    assert row["reason"].startswith("10 respondents from 5 organisations that escalate, and from as many that do not")
    assert "there are none from 0 and" in row["reason"]


def test_a_contrast_is_held_back_with_its_thinner_side(instrument, opinions):
    data, weight = opinions
    thin = data.assign(act_escal=np.where(data["org_id"] < "o0004", 4.0, 0.0), sup_pub=4.0)
    found = made(thin, instrument, weight=weight)
    assert one(found.estimates, "gap_difference")["status"] == "not_assessable"
    eight = data.assign(act_escal=np.where(data["org_id"] < "o0008", 4.0, 0.0), sup_pub=4.0)
    found = made(eight, instrument, weight=weight)
    row = one(found.estimates, "gap_difference")
    base = found.bases[found.bases["statistic"] == "gap_difference"].iloc[0]
    assert (row["status"], row["reason"]) == ("flagged", "small base: fewer than 30 respondents on one side")
    assert base["smallest_n"] <= 24
    assert base["smallest_organisations"] == 8
    held = publish(found.estimates, Policy(minimum_respondents=25), found.bases)
    for statistic in ("gap_difference", "gap_escalation_frequent", "gap_escalation_rare"):
        assert one(held, statistic)["status"] == "suppressed"
    assert one(held, "public_private_gap")["status"] == "ok"


def test_a_survey_without_the_questions_says_which():
    ospo = Instrument.load(ROOT / "examples" / "ospo" / "instruments" / "instrument.toml", "2023")
    data = pd.DataFrame({name: pd.Series([pd.NA] * 30) for name in ospo.columns()})
    data["resp_id"] = [f"r{i}" for i in range(30)]
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0})
    design = survey_design(data, weights, respondent="resp_id", organisation="", margins=None, replicates=5, seed=1)
    found = perception_gap.estimate_for(ospo, design).estimates
    assert set(found["status"]) == {"not_assessable"}
    # The keys are those that the register of claims names, so that a claim finds its row.
    assert {("conf", "blind_spot"), ("align_self", "self_measured_correlation"), ("clar_self+clar_oth", "self_other_gap"),
            ("sup_pub+conv_priv", "gap_difference")} <= set(zip(found["measure"], found["statistic"], strict=True))  # fmt: skip
    assert found["reason"].str.startswith("the instrument of this wave has no ").all()


# -------------------------------------------------------------------------------------------------------------- worlds


def test_compliance_moves_stated_support_and_nothing_else(instrument):
    world = worlds()["null"]
    drawn = []
    for setting in (0.0, 1.0):
        population = Population(world.with_settings({"compliance": setting}), layout_of(instrument))
        drawn.append(next(deliveries(population, instrument, organisations=60, wave=1, name="2026Q1", seed=4)))
    plain, moved = drawn
    assert [name for name in plain.columns if not plain[name].equals(moved[name])] == ["sup_pub"]
    assert worlds()["role_divergence"].compliance > 0


def test_compliance_makes_the_difference_that_the_essays_speak_of(instrument):
    found = {}
    for setting in (0.0, 1.0):
        population = Population(worlds()["null"].with_settings({"compliance": setting}), layout_of(instrument))
        rows = perception_gap_truth(population, instrument, "2026Q1", 1)
        found[setting] = next(row["value"] for row in rows if row["statistic"] == "gap_difference")
    assert abs(found[0.0]) < 0.02
    assert found[1.0] > 0.5


def test_guesses_that_are_asked_of_somebody_by_all_cases():
    """k of m roles are informants, each asked about three of the other m - 1: the chance that some pair is asked."""
    for existing in range(2, 6):
        others = existing - 1
        asked = min(SHOWN, others)
        for informants in range(2, existing + 1):
            known = informants - 1  # the first of an informant's colleagues
            none = 0.0
            for shown in itertools.combinations(range(others), asked):
                none += 0.1 ** sum(colleague < known for colleague in shown) / math.comb(others, asked)
            assert partial(_asked, silent=0.1)(informants, existing) == pytest.approx(1 - none**informants)


def test_distance_of_colleagues_by_quadrature_is_that_of_a_large_draw(instrument):
    population = Population(worlds()["role_divergence"], layout_of(instrument))
    measure = measure_of(instrument.item("conf"))
    apart = colleagues(population, measure, 1).apart(measure.codes)
    drawn = executives(population, organisations=4096, seed=77)
    answer = drawn.point(measure, drawn.latent(measure, drawn.stage()))
    frame = pd.DataFrame({"org": drawn.org, "role": drawn.role, "size": drawn.size, "y": answer})
    both = frame.merge(frame, on="org")
    for r, s in ((0, 4), (4, 7), (1, 9)):
        pairs = both[(both["role_x"] == r) & (both["role_y"] == s) & (both["size_x"] == 2)]
        distance = (pairs["y_x"] - pairs["y_y"]).abs()
        assert abs(distance.mean() - apart[2, r, s]) < 4 * distance.std() / np.sqrt(len(pairs))


def test_mean_distance_of_the_worked_team():
    """measures.md 2.7: answers 5, 3, 2: actual 2.0."""
    assert mean_distances([0, 1, 1, 0, 1], [1, 2, 3, 4, 5]) == pytest.approx(2.0)
    assert np.isnan(mean_distances([0, 1, 0, 0, 0], [1, 2, 3, 4, 5]))
