"""The Role Alignment Map against worked examples, the descriptive statistics, simulated worlds, and what must not move it."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fieldwork.constructs import alignment_map, perception_gap
from fieldwork.constructs.cells import survey_design
from fieldwork.constructs.ledger import Estimates
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument
from fieldwork.schema import ESTIMATE_KEY
from fieldwork.simulate import Population, worlds
from fieldwork.simulate.interview import layout_of
from fieldwork.simulate.truth_alignment_map import alignment_map_truth
from fieldwork.simulate.truth_perception_gap import perception_gap_truth
from fieldwork.simulate.truth_teams import company
from fieldwork.statistics import agreement as ag
from tests.drawn_study import drawn
from tests.toys import small

ROOT = Path(__file__).resolve().parents[1]
KEY = ["construct", "measure", "statistic", "role", "role_2", "item"]

SMALL = (
    small(CEO="Chief", CFO="Finance", CTO="Technology")
    + """
[items.pri]
kind = "rank"
high = 4
repeat = [
    { code = 1, id = "1", label = "one" }, { code = 2, id = "2", label = "two" }, { code = 3, id = "3", label = "three" },
    { code = 4, id = "4", label = "four" },
]
label = "Aim: {label}"
constructs = ["alignment_map"]

[items.owner]
kind = "single"
label = "Owner"
options = ["roles", { code = 11, id = "nobody", label = "Nobody" }]
constructs = ["alignment_map"]

[items.dir_pace]
kind = "ordinal"
scale = "five"
label = "Pace"
constructs = ["alignment_map"]

[items.conf]
kind = "ordinal"
scale = "five"
label = "Confidence"
constructs = ["adoption_gradient"]

[items.act_idx]
kind = "number"
label = "Activity"
low = 0
high = 1000
constructs = ["practices"]
"""
)
AIMS = ["pri_1", "pri_2", "pri_3", "pri_4"]


@pytest.fixture(scope="module")
def instrument(tmp_path_factory):
    path = tmp_path_factory.mktemp("instrument") / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return Instrument.load(path, "2026Q1")


@pytest.fixture(scope="module")
def shipped():
    return Instrument.load(ROOT / "instruments" / "2026Q1.toml", "2026Q1")


def respondents(organisations, roles, **answers):
    """One row per organisation and place in it; each answer a list for the places of an organisation, or one array for all."""
    n = organisations * len(roles)
    data = pd.DataFrame(
        {
            "resp_id": [f"r{i:05d}" for i in range(n)],
            "org_id": np.repeat([f"o{i:04d}" for i in range(organisations)], len(roles)),
            "role": np.tile(roles, organisations),
        }
    )
    empty = {"owner": "", "dir_pace": np.nan, "conf": np.nan, "act_idx": np.nan} | dict.fromkeys(AIMS, np.nan)
    for name, value in (empty | answers).items():
        given = np.tile(value, organisations) if np.ndim(value) == 1 and len(value) == len(roles) else value
        data[name] = given
    data["owner"] = data["owner"].replace("", pd.NA)
    return data


def ranked(rows):
    """Ranks of four aims, one row per place in an organisation, as answers."""
    return {aim: [row[j] for row in rows] for j, aim in enumerate(AIMS)}


def made(data, instrument, *, organisation="org_id", replicates=200, weight=None, seed=1):
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0 if weight is None else weight})
    design = survey_design(
        data, weights, respondent="resp_id", organisation=organisation, margins=None, replicates=replicates, seed=seed
    )
    return alignment_map.estimate_for(instrument, design)


def one(estimates, statistic, **key):
    rows = estimates[estimates["statistic"] == statistic]
    for name, value in {"role": "", "role_2": "", "item": ""}.items():
        rows = rows[rows[name] == key.pop(name, value)]
    for name, value in key.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, f"{statistic} {key}: {len(rows)} rows"
    return rows.iloc[0]


def study(world, organisations, seed, instrument, replicates, folder):
    """Draw a delivery of a world, clean, rake and estimate it as chapters 01, 03 and 06 do."""
    population, _, design = drawn(world, organisations, seed, folder, instrument=instrument, replicates=replicates)
    parts = [module.estimate_for(instrument, design) for module in (alignment_map, perception_gap)]
    return population, design, Estimates.joined(parts)


@pytest.fixture(scope="module")
def estimated(shipped, tmp_path_factory):
    return study("role_divergence", 120, 3, shipped, 200, tmp_path_factory.mktemp("study"))


# ------------------------------------------------------------------------------------------------------ worked examples


def test_worked_rankings(instrument):
    """measures.md 2.4: ranks (1234)(1324)(2134): W .7778, alpha^2 = W, mean rho .6667."""
    rows = [(1, 2, 3, 4), (1, 3, 2, 4), (2, 1, 3, 4)] * 2
    found = made(respondents(20, ["CEO"] * 6, **ranked(rows)), instrument).estimates
    assert round(one(found, "kendall_w")["estimate"], 4) == 0.7778
    assert one(found, "consensus_priorities")["estimate"] ** 2 == pytest.approx(one(found, "kendall_w")["estimate"])
    # Six executives, every ranking twice: (6 W - 1) / 5. Three of them would have .6667, as statistics.pairs has.
    assert one(found, "rank_correlation_within")["estimate"] == pytest.approx((6 * 7 / 9 - 1) / 5)
    # Strangers of organisations that all hold the same three rankings: W itself.
    assert one(found, "rank_correlation")["estimate"] == pytest.approx(7 / 9)
    assert [round(one(found, "mean_rank", item=aim)["estimate"], 4) for aim in AIMS] == [1.3333, 2.0, 2.6667, 4.0]


def test_worked_owners(instrument):
    """measures.md 2.4: owners {CTO, CTO, CEO, CTO, CFO} -> .30, of colleagues and of strangers."""
    owners = ["CTO", "CTO", "CEO", "CTO", "CFO"]
    team = respondents(6, ["CEO"] * 5, owner=owners)
    found = made(team, instrument).estimates
    assert one(found, "owner_agreement_within")["estimate"] == pytest.approx(0.30)
    for statistic, coefficient in (("owner_ac1_within", ag.gwet_ac1), ("owner_kappa_within", ag.fleiss_kappa)):
        assert one(found, statistic)["estimate"] == pytest.approx(coefficient([[1, 1, 3, 0]] * 6).coefficient)
    alone = made(team.head(5), instrument, organisation="").estimates
    assert one(alone, "owner_agreement")["estimate"] == pytest.approx(0.30)
    assert one(alone, "owner_agreement_within")["reason"] == "the survey names no organisations"


@pytest.mark.parametrize(
    ("counts", "value"),
    [((0, 2, 3, 4, 1), 0.5), ((4, 1, 0, 1, 4), -0.6556), ((2, 2, 2, 2, 2), 0.0), ((5, 0, 0, 0, 5), -1.0)],
)
def test_worked_teams(instrument, counts, value):
    """measures.md 2.5: A of 0,2,3,4,1 .5000; 4,1,0,1,4 -.6556; 2,2,2,2,2 0; 5,0,0,0,5 -1."""
    answers = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], counts)
    found = made(respondents(6, ["CEO"] * 10, dir_pace=answers), instrument).estimates
    assert round(one(found, "direction_agreement_within")["estimate"], 4) == value
    assert round(one(found, "direction_agreement")["estimate"], 4) == value
    assert round(one(found, "direction_agreement", role="CEO")["estimate"], 4) == value
    chance = ag.expected_index(ag.van_der_eijk_a, 10, np.array(counts) / 10)
    assert one(found, "direction_agreement_chance")["estimate"] == pytest.approx(float(chance))


# ------------------------------------------------------------------------------------------- the descriptive statistics


@pytest.fixture(scope="module")
def weighted():
    rng = np.random.default_rng(7)
    n = 40 * 6
    utility = rng.standard_normal((n, 4)) + 0.7 * np.eye(4)[np.tile([0, 0, 1, 1, 2, 2], 40)]
    ranks = (np.argsort(np.argsort(-utility, axis=1), axis=1) + 1).astype(float)
    owner = rng.choice(["CEO", "CFO", "CTO", "nobody"], n, p=[0.2, 0.2, 0.5, 0.1])
    data = respondents(
        40, ["CEO", "CEO", "CFO", "CFO", "CTO", "CTO"], **dict(zip(AIMS, ranks.T, strict=True)), owner=owner,
        dir_pace=rng.integers(1, 6, n).astype(float), conf=rng.integers(1, 6, n).astype(float),
        act_idx=rng.integers(0, 30, n).astype(float),
    )  # fmt: skip
    return data, rng.uniform(0.3, 3.0, n)


def test_sample_values_are_those_of_the_descriptive_form(instrument, weighted):
    data, weight = weighted
    found = made(data, instrument, weight=weight).estimates
    ranks = data[AIMS].to_numpy()
    plain = ag.strategic_consensus(-ranks, data["role"], weight=weight)
    for g, role in enumerate(plain.groups):
        mine = (data["role"] == role).to_numpy()
        assert one(found, "consensus_priorities", role=role)["estimate"] == pytest.approx(plain.alpha[g])
        w = float(ag.kendall_w(ranks[mine], weight=weight[mine]).w)
        assert one(found, "kendall_w", role=role)["estimate"] == pytest.approx(w)
        assert one(found, "map_x", role=role)["estimate"] == pytest.approx(plain.prototypes_map[g, 0])
        for j, aim in enumerate(AIMS):
            mean = np.average(ranks[mine, j], weights=weight[mine])
            assert one(found, "mean_rank", role=role, item=aim)["estimate"] == pytest.approx(mean)
    for (g, first), (h, second) in itertools.combinations(enumerate(plain.groups), 2):
        row = one(found, "alignment", role=first, role_2=second)
        assert row["estimate"] == pytest.approx(plain.between[g, h])
        assert row["n"] == 160
    for j, aim in enumerate(AIMS):
        assert one(found, "map_y", item=aim)["estimate"] == pytest.approx(plain.items_map[j, 1])
    kept = [one(found, f"map_variance_{place}")["estimate"] for place in ("first", "second")]
    assert kept == pytest.approx(plain.variance_kept.tolist())
    shares = data.assign(w=weight).groupby("owner")["w"].sum() / weight.sum()
    for owner, share in shares.items():
        assert one(found, "owner_share", item=owner)["estimate"] == pytest.approx(share)
    itself = data["owner"] == data["role"]
    assert one(found, "owner_self_share")["estimate"] == pytest.approx(np.average(itself, weights=weight))
    ceo = (data["role"] == "CEO").to_numpy()
    by_others = np.average(data["owner"][~ceo] == "CEO", weights=weight[~ceo])
    assert one(found, "owner_share_by_others", role="CEO")["estimate"] == pytest.approx(by_others)


def test_activity_is_correlated_with_agreement_over_organisations(instrument, weighted):
    data, _ = weighted
    found = one(made(data, instrument).estimates, "activity_agreement_correlation")
    logs = np.log1p(data["act_idx"])
    index = ((logs - logs.mean()) / logs.std(ddof=0)).groupby(data["org_id"]).mean()
    distance = data.groupby("org_id")["conf"].agg(
        lambda y: np.abs(y.to_numpy()[:, None] - y.to_numpy()).sum() / (len(y) * (len(y) - 1))
    )
    assert found["estimate"] == pytest.approx(stats.spearmanr(index, -distance).statistic)
    assert (found["n"], found["n_organisations"]) == (240, 40)
    together = data.assign(act_idx=np.repeat(np.arange(40.0) % 4, 6), conf=3.0)
    together.loc[together.groupby("org_id").cumcount() == 0, "conf"] = 1.0 + together["act_idx"]
    together.loc[together["act_idx"] == 2, "act_idx"] = 9.0  # levels 0, 1, 3, 9: distances from 3 are 2, 1, 1, 0
    agreeing = one(made(together, instrument).estimates, "activity_agreement_correlation")
    expected = stats.spearmanr([0, 1, 2, 3] * 10, [-2, -1, -1, 0] * 10).statistic
    assert agreeing["estimate"] == pytest.approx(expected)
    wholly = together.assign(act_idx=together.groupby("org_id")["conf"].transform("std").rsub(9.0))
    row = one(made(wholly, instrument).estimates, "activity_agreement_correlation")
    assert row["status"] == "not_assessable"
    assert row["reason"] == "either does not vary over organisations, or both go wholly together: no interval"


def test_an_incomplete_ranking_and_a_missing_role_leave_their_own_part_only(instrument, weighted):
    data, _ = weighted
    data = data.copy()
    data.loc[0, "pri_2"] = np.nan
    data.loc[1, "role"] = pd.NA
    data.loc[2, AIMS] = 2.0  # tells no aims apart
    found = made(data, instrument).estimates
    assert one(found, "consensus_priorities")["n"] == 238
    assert [one(found, "consensus_priorities", role=r)["n"] for r in ("CEO", "CFO", "CTO")] == [78, 79, 80]
    assert one(found, "owner_agreement")["n"] == 240


# ------------------------------------------------------------------------------------------------------ what is lacking


def test_thin_roles_and_few_informants_are_refused_with_the_number(instrument):
    rng = np.random.default_rng(1)
    ranks = rng.permuted(np.tile([1.0, 2.0, 3.0, 4.0], (60, 1)), axis=1)
    data = respondents(20, ["CEO", "CFO", "CTO"], **dict(zip(AIMS, ranks.T, strict=True)), owner=["CEO", "CFO", "CTO"])
    data = data.drop(data[data["role"] == "CTO"].index[12:])
    found = made(data, instrument).estimates
    row = one(found, "consensus_priorities", role="CTO")
    assert (row["status"], row["reason"]) == ("not_assessable", "15 rankings are needed; there are about 10")
    row = one(found, "alignment", role="CEO", role_2="CTO")
    assert (row["status"], row["reason"]) == (
        "not_assessable",
        "15 rankings in each role are needed; there are about 10",
    )
    for statistic in ("rank_correlation_within", "owner_agreement_within", "owner_kappa_within"):
        row = one(found, statistic)
        assert (row["status"], row["reason"]) == (
            "not_assessable",
            "5 organisations with 5 informants are needed; there are 0",
        )
    reason = one(found, "priorities_between_roles")["reason"]
    assert reason == "test: rankings dealt out anew among colleagues; without CTO: fewer than 15 rankings"
    assert one(found, "activity_agreement_correlation")["status"] == "not_assessable"


def test_one_organisation_has_no_strangers(instrument, weighted):
    data, _ = weighted
    found = made(data.assign(org_id="only"), instrument).estimates
    assert one(found, "owner_agreement")["reason"] == "two organisations are needed; there is 1"
    assert one(found, "consensus_priorities")["reason"] == "rankings from 5 organisations are needed; there are 1"
    assert one(found, "owner_agreement_within")["reason"] == "5 organisations with 5 informants are needed; there are 1"
    published = publish(found, Policy(), made(data.assign(org_id="only"), instrument).bases)
    assert set(published["status"]) <= {"suppressed", "not_assessable"}


def test_executives_of_one_mind_have_no_interval_and_nothing_beyond_chance_no_correlation(instrument):
    same = respondents(30, ["CEO", "CFO"], **ranked([(1, 2, 3, 4)] * 2), owner=["CEO", "CEO"], dir_pace=[3.0, 3.0])
    found = made(same, instrument)
    for statistic in ("consensus_priorities", "kendall_w", "direction_agreement", "owner_agreement"):
        row = one(found.estimates, statistic)
        assert row["estimate"] == pytest.approx(1.0)
        assert row["reason"] == "no interval: one organisation, or all answers alike"
    cycle = np.array([(1, 2, 3, 4), (4, 3, 2, 1)] * 15, dtype=float).repeat(2, axis=0)
    cycle[::2] = (1, 2, 3, 4)
    data = respondents(30, ["CEO", "CFO"], **dict(zip(AIMS, cycle.T, strict=True)))
    row = one(made(data, instrument).estimates, "alignment", role="CEO", role_2="CFO")
    assert row["status"] == "not_assessable"
    assert row["reason"] == "executives of the role CFO share no ranking beyond chance: nothing to be correlated"


def test_a_survey_without_the_items_says_so_layer_by_layer():
    ospo = Instrument.load(ROOT / "examples" / "ospo" / "instruments" / "instrument.toml", "2023")
    n = 40
    data = pd.DataFrame({name: pd.Series([pd.NA] * n) for name in ospo.columns()})
    data["resp_id"] = [f"r{i}" for i in range(n)]
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0})
    design = survey_design(
        data, weights, respondent="resp_id", organisation="", margins=None, replicates=10, seed=1
    )  # fmt: skip
    found = alignment_map.estimate_for(ospo, design).estimates
    assert set(found["status"]) == {"not_assessable"}
    assert sorted(found["statistic"]) == [
        "activity_agreement_correlation", "consensus_priorities", "direction_agreement", "owner_agreement",
    ]  # fmt: skip
    assert found["reason"].str.startswith("the instrument of this wave has no ").all()
    assert found["n_organisations"].isna().all()


def test_a_survey_without_roles_keeps_what_needs_none(tmp_path, weighted):
    path = tmp_path / "roleless.toml"
    path.write_text(SMALL.replace('role = "role"\n\n[[roles]]', "\n[[roles]]"), encoding="utf-8")
    data, weight = weighted
    found = made(data, Instrument.load(path, "2026Q1"), weight=weight).estimates
    assert set(found["role"]) == {""}
    assert one(found, "consensus_priorities")["status"] == "ok"
    assert one(found, "owner_self_share")["reason"] == "the survey has no roles"
    assert one(found, "priorities_between_roles")["reason"] == "two roles of 15 rankings are needed; there are 0"


# ---------------------------------------------------------------------------------------------------- contract and gate


def test_every_row_has_its_key_unit_reason_and_draws(estimated):
    found = estimated[2]
    estimates = found.estimates
    assert not estimates.duplicated([name for name in ESTIMATE_KEY if name != "wave"]).any()
    units = estimates.groupby("statistic")["unit"].unique().map(set)
    shares = {"owner_share", "owner_self_share", "owner_share_by_others"}
    points = {
        "mean_rank", "role_mean", "distance_actual", "distance_perceived", "blind_spot", "public_private_gap", "gap_difference",
        "gap_escalation_frequent", "gap_escalation_rare", "self_other_gap",
    }  # fmt: skip
    for statistic, unit in units.items():
        expected = "proportion" if statistic in shares else "scale_point" if statistic in points else "index"
        assert unit == {expected}, statistic
    contract = {"consensus_priorities", "kendall_w", "owner_agreement", "direction_agreement", "alignment"}
    assert contract <= set(units.index)
    assert estimates.loc[estimates["status"].isin(["not_assessable", "flagged"]), "reason"].ne("").all()
    stated = estimates[estimates["conf_low"].notna() & estimates["conf_high"].notna()]
    assert (stated["conf_low"] <= stated["conf_high"]).all()
    key = [name for name in ESTIMATE_KEY if name != "wave"]
    drawn = set(found.draws[key].itertuples(index=False, name=None))
    assert not [row for row in stated[key].itertuples(index=False, name=None) if row not in drawn]
    bare = estimates[estimates["estimate"].notna() & estimates["conf_low"].isna()]
    no_interval = {"consensus_chance", "map_variance_first", "map_variance_second", "map_xy_correlation"}
    assert set(bare["statistic"]) <= no_interval


def test_rows_in_any_order_and_other_names_give_the_same_bits(estimated, shipped):
    _, design, found = estimated
    weights = pd.DataFrame({"resp_id": design.responses["resp_id"], "weight": design.weight})
    again = []
    for shuffled in (design.responses, design.responses.sample(frac=1, random_state=5)):
        mixed = survey_design(
            shuffled, weights, respondent="resp_id", organisation="org_id", margins=None, replicates=50, seed=3
        )
        again.append([module.estimate_for(shipped, mixed) for module in (alignment_map, perception_gap)])
    for straight, mixed in zip(*again, strict=True):
        pd.testing.assert_frame_equal(straight.estimates, mixed.estimates, check_exact=True)
    assert found.estimates["estimate"].notna().sum() > 250


def test_aims_under_other_names_change_places_only(instrument, weighted):
    data, weight = weighted
    plain = made(data, instrument, weight=weight).estimates
    turned = dict(zip(AIMS, AIMS[::-1], strict=True))
    other = made(data.rename(columns=turned), instrument, weight=weight).estimates
    for statistic in ("kendall_w", "consensus_priorities", "rank_correlation", "rank_correlation_within"):
        for name in ("estimate", "conf_low", "conf_high"):
            assert one(other, statistic)[name] == pytest.approx(one(plain, statistic)[name], rel=1e-9)
    for aim, name in turned.items():
        mean = one(plain, "mean_rank", role="CTO", item=aim)["estimate"]
        assert one(other, "mean_rank", role="CTO", item=name)["estimate"] == pytest.approx(mean)


def test_no_share_of_others_gives_away_a_role_that_is_held_back(instrument):
    """All less the others leaves the role: a share of the others is held back with the role's own."""
    rng = np.random.default_rng(3)
    owner = rng.choice(["CEO", "CFO", "CTO"], 180)
    data = respondents(60, ["CEO", "CFO", "CTO"], owner=owner)
    few = data.drop(data[data["role"] == "CTO"].index[8:])
    lonely = data.copy()
    lonely.loc[lonely["role"] == "CTO", "owner"] = "CEO"
    lonely.loc[lonely.index[lonely["role"] == "CTO"][:2], "owner"] = "CTO"
    for case, role, held in ((few, "CTO", True), (lonely, "CTO", True), (data, "CEO", False)):
        found = made(case, instrument)
        published = publish(found.estimates, Policy(), found.bases)
        for statistic in ("owner_self_share", "owner_share_by_others"):
            assert (one(published, statistic, role=role)["status"] == "suppressed") == held, statistic


def test_thin_cells_are_held_back_with_what_is_made_of_them(instrument):
    rng = np.random.default_rng(5)
    ranks = rng.permuted(np.tile([1.0, 2.0, 3.0, 4.0], (90, 1)), axis=1)
    data = respondents(30, ["CEO", "CFO", "CTO"], **dict(zip(AIMS, ranks.T, strict=True)))
    data = data.drop(data[data["role"] == "CTO"].index[8:])
    found = made(data, instrument)
    published = publish(found.estimates, Policy(), found.bases)
    assert set(published.loc[published["role"] == "CTO", "status"]) <= {"suppressed", "not_assessable"}
    assert published.loc[published["role"] == "CTO", "n"].isna().all()


def test_what_adds_to_a_constant_is_not_held_back_alone(instrument):
    """Shares of owners add to 1 and mean ranks to a constant: one missing number would be the rest."""
    owner = np.array(["CEO"] * 60 + ["CFO"] * 40 + ["CTO"] * 79 + ["nobody"])
    data = respondents(60, ["CEO", "CFO", "CTO"], owner=owner)
    found = made(data, instrument)
    held = publish(found.estimates, Policy(), found.bases).query(
        "statistic == 'owner_share' and status == 'suppressed'"
    )
    assert set(held["item"]) == {"nobody", "CFO"}
    rng = np.random.default_rng(8)
    ranks = np.column_stack([np.ones(40), rng.permuted(np.tile([2.0, 3.0, 4.0], (40, 1)), axis=1)])
    thin = respondents(20, ["CEO", "CFO"], **dict(zip(AIMS, ranks.T, strict=True)))
    found = made(thin, instrument)
    rows = publish(found.estimates, Policy(), found.bases).query("statistic == 'mean_rank' and role == 'CEO'")
    assert rows["status"].tolist() == ["suppressed"] * 4


# -------------------------------------------------------------------------------------------------- worlds and their truth


def test_who_answers_beside_whom_by_all_cases(shipped):
    """Three roles, each absent, silent or an informant: company() against all 27 cases."""
    population = Population(worlds()["null"], layout_of(shipped))
    exists, informs = population.exists[:3], population.exists[:3] * population.responds[:3] * 0.9

    class Few:
        size_share = population.size_share

    few = Few()
    few.exists, few.responds = exists, population.responds[:3]
    kept = partial(lambda k, m, base: base**k / m, base=0.8)
    found = company(few, ((1.0, 0.9),), 2, kept)
    for z in range(4):
        assessed, member, pair = 0.0, np.zeros(3), np.zeros((3, 3))
        for case in itertools.product(range(3), repeat=3):
            p = np.prod(
                [(1 - exists[r, z], exists[r, z] - informs[r, z], informs[r, z])[c] for r, c in enumerate(case)]
            )
            k, m = sum(c == 2 for c in case), sum(c > 0 for c in case)
            if k < 2:
                continue
            weight = p * 0.8**k / m
            assessed += weight
            for r, s in itertools.product(range(3), repeat=2):
                if case[r] == 2 and case[s] == 2:
                    member[r] += weight / k if r == s else 0.0
                    pair[r, s] += weight / (k * (k - 1)) if r != s else 0.0
        assert found.assessed[z] == pytest.approx(assessed)
        assert found.member[z] == pytest.approx(member)
        assert found.pair[z] == pytest.approx(pair)
    assert found.mean_of_pairs(1 - np.eye(3)) == pytest.approx(1)
    assert found.mean_of_members(np.ones(3)) == pytest.approx(1)


@pytest.mark.parametrize("world", ["role_divergence", pytest.param("null", marks=pytest.mark.slow)])
def test_large_study_of_a_known_world_finds_its_truth(world, shipped, tmp_path):
    """4,000 organisations: every estimate within 4 standard errors of its truth, 93% of the intervals hold it."""
    population, _, found = study(world, 4000, 11, shipped, 300, tmp_path)
    truth = {
        tuple(row[name] for name in KEY): row["value"]
        for make in (alignment_map_truth, perception_gap_truth)
        for row in make(population, shipped, "2026Q1", 1)
    }
    estimates = found.estimates
    estimates["truth"] = [truth.get(key, np.nan) for key in estimates[KEY].itertuples(index=False, name=None)]
    known = estimates[estimates["truth"].notna() & estimates["estimate"].notna()]
    assert len(known) == len(truth) > 230
    off = ((known["estimate"] - known["truth"]) / known["std_error"]).abs().dropna()
    assert len(off) > 230
    assert off.max() < 4
    covered = (known["conf_low"] <= known["truth"] + 1e-9) & (known["truth"] <= known["conf_high"] + 1e-9)
    assert covered[known["conf_low"].notna()].mean() >= 0.93
