"""The gradient against the worked example, against the truth of simulated worlds, and against what must not move it."""

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs.adoption_gradient import Contrast, Measure, estimate
from fieldwork.constructs.cells import Axis, cell_table, survey_design
from fieldwork.constructs.ledger import Wanted, interval_of
from fieldwork.disclosure import Policy, publish
from fieldwork.errors import DataError
from fieldwork.schema import ESTIMATES
from fieldwork.simulate import EXECUTIVES, Population, simulate_responses, truth, worlds
from fieldwork.weight import Margin, Margins, rake

FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
STAGES = EXECUTIVES.stages
ROLE = Axis("role", EXECUTIVES.roles, EXECUTIVES.roles)
STAGE = Axis("stage_fn", (1, 2, 3, 4, 5), STAGES)
OWN_STAGE = Axis("stage_org", (1, 2, 3, 4, 5), STAGES)
SIZE = Axis("size_band", EXECUTIVES.sizes, EXECUTIVES.sizes)
SECTOR = Axis("sector", EXECUTIVES.sectors, EXECUTIVES.sectors)
CONTRAST = Contrast("CTO", "scaled", "CMO", "experimenting")


def sample(world, organisations, seed):
    drawn = simulate_responses(worlds()[world], EXECUTIVES, organisations=organisations, seed=seed)
    data = pd.DataFrame(
        {
            "resp_id": [f"r{i:06d}" for i in range(drawn.n)],
            "org_id": [f"o{i:06d}" for i in drawn.organisation],
            "role": np.array(EXECUTIVES.roles)[drawn.role],
            "stage_fn": drawn.stage + 1,
            "stage_org": drawn.stage_org + 1,
            "size_band": np.array(EXECUTIVES.sizes)[drawn.size],
            "sector": np.array(EXECUTIVES.sectors)[drawn.sector],
            **drawn.answers,
        }
    )
    role, size = list(Population(worlds()[world], EXECUTIVES).margins().values())[:2]
    margins = Margins((Margin("role", EXECUTIVES.roles, role), Margin("size_band", EXECUTIVES.sizes, size)))
    return data, margins


def gradient(data, margins=None, *, measures=("conf",), replicates=200, seed=1, organisation="org_id", **options):
    weight = rake(data, margins).weight if margins else pd.Series(1.0, index=data.index)
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": weight})
    design = survey_design(
        data,
        weights,
        respondent="resp_id",
        organisation=organisation,
        margins=margins,
        replicates=replicates,
        seed=seed,
    )
    return estimate(design, [Measure(name, FIVE) for name in measures], ROLE, STAGE, wave="2026Q1", **options)


def one(estimates, statistic, **key):
    rows = estimates[(estimates["statistic"] == statistic)]
    for name, value in {"role": "", "role_2": "", "stage": "", **key}.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, f"{statistic} {key}: {len(rows)} rows"
    return rows.iloc[0]


@pytest.fixture(scope="module")
def study():
    return sample("role_divergence", 180, 20260101)


@pytest.fixture(scope="module")
def estimated(study):
    data, margins = study
    return gradient(
        data, margins, measures=("conf", "prep"), organisation_stage=OWN_STAGE, adjust_for=[SIZE, SECTOR],
        contrasts=[CONTRAST], replicates=400,
    )  # fmt: skip


def test_cell_table_holds_the_answers(study):
    data, _ = study
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0})
    design = survey_design(
        data, weights, respondent="resp_id", organisation="org_id", margins=None, replicates=4, seed=1
    )
    table = cell_table(design, "conf", Measure("conf", FIVE).index(design.responses), FIVE, ROLE, STAGE)
    for r, role in enumerate(EXECUTIVES.roles):
        for s in range(5):
            cell = data[(data["role"] == role) & (data["stage_fn"] == s + 1)]
            counts = cell["conf"].value_counts().reindex(FIVE, fill_value=0).to_numpy()
            assert table.weight[0, r, s].tolist() == counts.tolist()
            assert table.rows[r, s].tolist() == counts.tolist()
            assert table.organisations[r, s] == cell["org_id"].nunique()
    assert table.organisations[-1, -1] == data["org_id"].nunique()
    assert table.organisations[0, -1] == data.loc[data["role"] == "CEO", "org_id"].nunique()
    assert table.organisations[-1, 2] == data.loc[data["stage_fn"] == 3, "org_id"].nunique()


def test_missing_role_stage_and_answer_leave_their_own_margin_only(study):
    data, _ = study
    data = data.astype({"stage_fn": "Int8", "conf": "Float64", "role": "string"})
    data.loc[0, "role"], data.loc[1, "stage_fn"], data.loc[2, "conf"] = pd.NA, pd.NA, pd.NA
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0})
    design = survey_design(
        data, weights, respondent="resp_id", organisation="org_id", margins=None, replicates=2, seed=1
    )
    table = cell_table(design, "conf", Measure("conf", FIVE).index(design.responses), FIVE, ROLE, STAGE)
    assert table.rows.sum() == len(data) - 1
    assert table.by_role()[0].sum() == len(data) - 2
    assert table.by_stage()[0].sum() == len(data) - 2
    assert table.by_cell()[0].sum() == len(data) - 3


def test_raking_holds_its_margins_in_every_replicate(study):
    data, margins = study
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": rake(data, margins).weight})
    design = survey_design(
        data, weights, respondent="resp_id", organisation="org_id", margins=margins, replicates=50, seed=1
    )
    complete = data.assign(conf=3.0)
    table = cell_table(
        survey_design(
            complete, weights, respondent="resp_id", organisation="org_id", margins=margins, replicates=50, seed=1
        ),
        "conf", np.full(len(data), 2), FIVE, ROLE, STAGE,
    )  # fmt: skip
    roles = table.by_role().sum(axis=-1)
    share = roles / roles.sum(axis=1, keepdims=True)
    assert np.abs(share - margins.margins[0].target).max() < 1e-6
    assert design.layer_factor[0].tolist() == [1.0] * design.layer_factor.shape[1]


def test_worked_example_through_the_whole_construct():
    """measures.md 2.1: with a base of 4 the spread is refused; copied 20 times the observed spread is unchanged."""
    answers = {"CTO": [5, 4, 5, 4], "CFO": [3, 3, 4, 2], "CMO": [2, 1, 2, 3]}
    rows = [(role, value) for role, values in answers.items() for value in values]
    small = pd.DataFrame(rows, columns=["role", "conf"]).assign(stage_fn=3)
    small["resp_id"] = [f"r{i:02d}" for i in range(len(small))]
    refused = one(gradient(small, organisation="").estimates, "role_sd_corrected")
    assert refused["status"] == "not_assessable"
    assert (
        refused["reason"] == "a spread needs two groups of at least 20 respondents; of 10 groups 0 have the respondents"
    )
    large = pd.concat([small] * 20, ignore_index=True)
    large["resp_id"] = [f"r{i:03d}" for i in range(len(large))]
    found = gradient(large, organisation="", replicates=2000).estimates
    assert [one(found, "role_mean", role=role)["estimate"] for role in answers] == [4.5, 3.0, 2.0]
    # 80 a role: MSB = 80 * 19/12, MSW = 3 * 20 * 5/9 / (3 * 20 * 4 - 3) * 3
    within = sum(20 * ((np.array(v) - np.mean(v)) ** 2).sum() for v in answers.values()) / (240 - 3)
    between = 80 * np.var([4.5, 3.0, 2.0], ddof=1)
    assert one(found, "role_sd_corrected")["estimate"] == pytest.approx(np.sqrt((between - within) / 80), rel=2e-3)
    assert one(found, "icc1")["estimate"] == pytest.approx((between - within) / (between + 79 * within), rel=5e-3)
    assert one(found, "icc2")["estimate"] == pytest.approx(1 - within / between, rel=5e-3)
    superiority = one(found, "probability_superiority", role="CTO", role_2="CMO")
    assert (
        superiority["reason"] == "no interval: the answers of the two roles do not vary"
    )  # every CTO is above every CMO
    assert not found["n_organisations"].notna().any()
    assert one(found, "system_sd")["reason"] == "the survey names no organisations"


def test_every_row_keeps_the_contract(estimated):
    estimates = estimated.estimates
    assert list(estimates.columns) == ESTIMATES.names
    assert set(estimates["status"]) <= {"ok", "flagged", "not_assessable"}
    key = ["construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item"]
    assert not estimates.duplicated(key).any()
    shown = estimates[estimates["conf_low"].notna() & estimates["conf_high"].notna()]
    assert (shown["conf_low"] <= shown["conf_high"]).all()
    expected = {
        "role_mean", "stage_mean", "role_sd_corrected", "stage_sd_corrected", "gradient_ratio_log", "range_raw",
        "range_shrunken",
    }  # fmt: skip
    for measure in ("conf", "prep"):
        assert expected <= set(estimates.loc[estimates["measure"] == measure, "statistic"])
    assert estimates.loc[estimates["status"] == "not_assessable", "reason"].ne("").all()


def test_kitagawa_parts_add_to_the_gap(estimated):
    for measure in ("conf", "prep"):
        mine = estimated.estimates[estimated.estimates["measure"] == measure]
        naive, role, stage = (
            one(mine, name, role="CTO", role_2="CMO")["estimate"] for name in ("naive_gap", "role_part", "stage_part")
        )
        assert naive == pytest.approx(role + stage, abs=1e-12)


def test_kitagawa_oracle():
    """measures.md 2.7: CTO 3.0/4.5, CMO 2.5/4.0 (experimenting/scaled): naive 2.0 = role .5 + stage 1.5."""
    cells = {("CTO", 2): [3, 3], ("CTO", 5): [4, 5], ("CMO", 2): [2, 3], ("CMO", 5): [4, 4]}
    rows = [(r, s, v) for (r, s), values in cells.items() for v in values * 6]
    data = pd.DataFrame(rows, columns=["role", "stage_fn", "conf"])
    data["resp_id"] = data["org_id"] = [f"r{i:03d}" for i in range(len(data))]
    found = gradient(data, contrasts=[CONTRAST]).estimates
    assert [one(found, n, role="CTO", role_2="CMO")["estimate"] for n in ("naive_gap", "role_part", "stage_part")] == [
        2.0, 0.5, 1.5,
    ]  # fmt: skip


def test_what_is_wanted_alone_is_what_the_whole_says(study, estimated):
    data, margins = study
    names = ["measure", "statistic", "role", "role_2", "stage", "segment", "item"]
    made = estimated.estimates
    keyed = made[made["status"] != "not_assessable"].set_index(names, drop=False)
    for statistic in ("role_mean", "system_sd", "gradient_ratio_log_adjusted", "high_both_share", "range_shrunken"):
        wanted = [Wanted(*key) for key in keyed.index[keyed["statistic"] == statistic][:2]]
        alone = gradient(
            data, margins, measures=("conf", "prep"), organisation_stage=OWN_STAGE, adjust_for=[SIZE, SECTOR],
            contrasts=[CONTRAST], replicates=400, only=wanted,
        )  # fmt: skip
        table = alone.estimates[alone.estimates["status"] != "not_assessable"].set_index(names, drop=False)
        assert set(table.index) == {each.key for each in wanted}
        pd.testing.assert_frame_equal(table, keyed.loc[table.index])
        assert len(alone.draws) == len(table)


def test_draws_agree_with_theinterval_of(estimated):
    row = one(estimated.estimates[estimated.estimates["measure"] == "conf"], "role_sd_corrected")
    draws = estimated.draws.query("measure == 'conf' and statistic == 'role_sd_corrected'")["draws"].item()
    assert len(draws) == 400
    assert row["conf_low"] == np.quantile(draws, 0.025, method="lower")
    assert row["conf_high"] == np.quantile(draws, 0.975, method="higher")


def test_rows_in_any_order_give_the_same_bits(study):
    data, margins = study
    straight = gradient(data, margins, measures=("conf",), replicates=50)
    mixed = gradient(data.sample(frac=1, random_state=3), margins, measures=("conf",), replicates=50)
    pd.testing.assert_frame_equal(straight.estimates, mixed.estimates, check_exact=True)
    assert all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(straight.draws["draws"], mixed.draws["draws"], strict=True)
    )


def test_reversed_scale_reverses_means_and_keeps_spreads(study):
    data, margins = study
    plain = gradient(data, margins).estimates
    turned = gradient(data.assign(conf=6 - data["conf"]), margins).estimates
    for role in ("CTO", "CMO"):
        total = one(plain, "role_mean", role=role)["estimate"] + one(turned, "role_mean", role=role)["estimate"]
        assert total == pytest.approx(6, abs=1e-9)
    for statistic in ("role_sd_corrected", "gradient_ratio_log", "range_shrunken"):
        assert one(turned, statistic)["estimate"] == pytest.approx(one(plain, statistic)["estimate"], rel=1e-8)


def test_a_thin_role_is_left_out_and_named(study):
    data, _ = study
    thin = pd.concat([data[data["role"] != "GC"], data[data["role"] == "GC"].head(12)])
    row = one(gradient(thin).estimates, "role_sd_corrected")
    assert row["status"] == "flagged"
    assert row["reason"] == "without GC: fewer than 20 respondents from 5 organisations"


def test_one_organisation_gives_means_without_intervals(study):
    data, _ = study
    found = gradient(data.assign(org_id="only")).estimates
    row = one(found, "role_mean", role="CTO")
    assert row["estimate"] > 0
    assert pd.isna(row["conf_low"])
    assert row["reason"] == "no interval: one organisation, or all answers alike"
    assert one(found, "role_sd_corrected")["status"] == "not_assessable"


def test_one_executive_per_organisation_has_no_system_spread(study):
    data, _ = study
    found = gradient(data.drop_duplicates("org_id")).estimates
    row = one(found, "system_sd")
    assert row["status"] == "not_assessable"
    assert row["reason"] == "5 organisations with 3 informants are needed; there are 0"


def test_a_respondent_without_a_weight_is_refused(study):
    data, _ = study
    weights = pd.DataFrame({"resp_id": data["resp_id"].iloc[1:], "weight": 1.0})
    with pytest.raises(DataError, match="respondents without a weight"):
        survey_design(data, weights, respondent="resp_id", organisation="org_id", margins=None, replicates=2, seed=1)


def test_large_study_of_a_known_world_finds_its_truth():
    """4,000 organisations: every published statistic that has a truth within 3 standard errors of it."""
    data, margins = sample("role_divergence", 4000, 7)
    found = gradient(
        data, margins, measures=("conf", "prep"), organisation_stage=OWN_STAGE, adjust_for=[SIZE, SECTOR],
        contrasts=[CONTRAST], replicates=400,
    ).estimates  # fmt: skip
    place = found.set_index(["measure", "statistic", "role", "role_2", "stage"])
    known = truth(Population(worlds()["role_divergence"], EXECUTIVES))
    off = []
    for row in known:
        key = tuple(row[name] for name in ("measure", "statistic", "role", "role_2", "stage"))
        if key not in place.index:
            continue
        estimated = place.loc[key]
        if pd.isna(estimated["estimate"]) or pd.isna(estimated["std_error"]):
            continue
        off.append(abs(estimated["estimate"] - row["value"]) / estimated["std_error"])
    assert len(off) > 130
    # A hundred and thirty estimates, many of them the same answers cut twice: a few beyond 3 would be chance, none is seen.
    assert max(off) < 4
    assert np.mean(np.array(off) < 3) > 0.98


def test_probability_of_superiority_oracle():
    """measures.md 2.1: CFO {3,3,4,2} over CMO {2,1,2,3}: 13/16."""
    rows = [(role, v) for role, values in {"CFO": [3, 3, 4, 2], "CMO": [2, 1, 2, 3]}.items() for v in values * 6]
    data = pd.DataFrame(rows, columns=["role", "conf"]).assign(stage_fn=3)
    data["resp_id"] = [f"r{i:03d}" for i in range(len(data))]
    row = one(gradient(data, organisation="").estimates, "probability_superiority", role="CFO", role_2="CMO")
    assert row["estimate"] == 13 / 16
    assert row["conf_low"] < 13 / 16 < row["conf_high"]


def test_a_share_of_two_people_is_held_back_whatever_their_weight(study):
    data, _ = study
    cell = data[(data["role"] == "CFO") & (data["stage_fn"] == 1)].index
    assert len(cell) >= 15
    high = data.copy()
    high.loc[cell, ["conf", "prep"]] = 2.0
    high.loc[cell[:2], ["conf", "prep"]] = 5.0
    weights = pd.DataFrame({"resp_id": high["resp_id"], "weight": 1.0})
    weights.loc[weights["resp_id"].isin(high.loc[cell[:2], "resp_id"]), "weight"] = 3.0
    design = survey_design(
        high, weights, respondent="resp_id", organisation="org_id", margins=None, replicates=50, seed=1
    )
    measures = [Measure(name, FIVE) for name in ("conf", "prep")]
    found = estimate(design, measures, ROLE, STAGE, wave="2026Q1")
    published = publish(found.estimates, Policy(), found.bases)
    shown = one(published, "high_both_share", role="CFO", stage="evaluating")
    assert shown["status"] == "suppressed"
    assert "fewer than 3 people" in shown["reason"]


def test_a_tighter_gate_takes_the_rows_that_would_give_a_role_away(estimated):
    policy = Policy(minimum_respondents=75)
    published = publish(estimated.estimates, policy, estimated.bases)
    means = published[(published["statistic"] == "role_mean") & (published["stage"] == "")]
    assert {"suppressed", "ok"} == set(means["status"])
    for statistic in (
        "range_raw",
        "range_shrunken",
        "role_sd_corrected",
        "gradient_ratio_log",
        "range_difference",
        "icc1",
    ):
        rows = published[(published["statistic"] == statistic) & (published["stage"] == "")]
        assert set(rows["status"]) == {"suppressed"}, statistic


def test_what_the_adjusted_spread_leaves_out_is_named_on_every_row(study):
    data, _ = study
    sector = data["sector"].value_counts().index[-1]
    thin = data.drop(data[data["sector"] == sector].index[12:])
    found = gradient(thin, organisation_stage=OWN_STAGE, adjust_for=[SIZE, SECTOR]).estimates
    reasons = {
        name: one(found, name)["reason"]
        for name in ("role_sd_adjusted", "stage_sd_adjusted", "gradient_ratio_log_adjusted")
    }
    assert all(sector in reason for reason in reasons.values()), reasons
    assert one(found, "role_sd_adjusted")["status"] == "flagged"


def test_leaving_out_one_level_can_thin_another(study):
    """Roles of which most answer from the sector that is left out do not stay with a handful."""
    data, _ = study
    sector = data["sector"].iloc[0]
    gc = data[data["role"] == "GC"].index
    moved = data.copy()
    moved.loc[moved["sector"] == sector, "sector"] = EXECUTIVES.sectors[-1]
    moved.loc[gc[:-15], "sector"] = sector
    moved = moved.drop(gc[:-15][18:])
    found = gradient(moved, organisation_stage=OWN_STAGE, adjust_for=[SIZE, SECTOR]).estimates
    reason = one(found, "role_sd_adjusted")["reason"]
    assert "GC" in reason
    assert sector in reason


def test_all_answers_alike_end_in_words(study):
    data, _ = study
    found = gradient(data.assign(conf=4.0)).estimates
    assert one(found, "icc1")["reason"] == "all answers are alike"
    assert one(found, "role_sd_corrected")["estimate"] == 0
    row = one(found, "role_mean", role="CTO")
    assert pd.isna(row["conf_low"])
    assert pd.isna(row["std_error"])


def test_a_small_group_that_answered_alike_is_held_back(study):
    data, _ = study
    cell = data[(data["role"] == "CTO") & (data["stage_fn"] == 4)].index
    assert 10 <= len(cell) < 30
    alike = data.copy()
    alike.loc[cell, "conf"] = 5.0
    found = gradient(alike)
    shown = one(publish(found.estimates, Policy(), found.bases), "role_mean", role="CTO", stage="production")
    assert shown["status"] == "suppressed"
    assert shown["reason"] == "held back: fewer than 30 respondents, who all answered alike"


def test_an_end_beyond_every_ratio_is_shown_as_the_cap():
    draws = np.array([np.inf] * 99 + [1.0])
    assert interval_of(draws)["conf_low"] == pytest.approx(np.log(100))
    assert interval_of(draws)["conf_high"] == np.inf
    assert interval_of(-draws)["conf_high"] == pytest.approx(-np.log(100))


def test_every_interval_can_be_claimed(estimated):
    """A row with an interval has the draws by which a claim on it is judged."""
    key = ["measure", "statistic", "role", "role_2", "stage"]
    stated = estimated.estimates[estimated.estimates["conf_low"].notna() & estimated.estimates["conf_high"].notna()]
    drawn = set(estimated.draws[key].itertuples(index=False, name=None))
    lacking = [row for row in stated[key].itertuples(index=False, name=None) if row not in drawn]
    assert not lacking


def test_within_a_stage_the_spread_is_that_of_its_executives_alone():
    """The range at a stage equals the range of a study of nobody else; drawn shapes differ by the stream's name only."""
    data, _ = sample("role_divergence", 500, 3)
    whole = gradient(data, replicates=300).estimates
    alone = gradient(data[data["stage_fn"] == 3], replicates=300).estimates
    for statistic in ("range_raw", "role_sd_corrected", "range_shrunken"):
        here, there = one(whole, statistic, stage="piloting"), one(alone, statistic)
        assert here["estimate"] == pytest.approx(there["estimate"], rel=1e-9)
        assert here["n"] == there["n"]
        if statistic != "range_raw":
            assert here["conf_low"] == pytest.approx(there["conf_low"], abs=0.05)


def test_a_stage_with_few_roles_does_not_speak_of_roles(estimated):
    """180 organisations: eight or ten executives of a role at a stage, where a spread wants twenty."""
    row = one(estimated.estimates[estimated.estimates["measure"] == "conf"], "range_shrunken", stage="piloting")
    assert row["status"] == "not_assessable"
    assert row["reason"].startswith(
        "more than half of the 10 roles at this stage, and two at least, must have 20 respondents"
    )


@pytest.mark.parametrize("world", ["role_divergence", "null"])
def test_spreads_at_a_stage_cover_their_truth(world):
    rows = truth(Population(worlds()[world], EXECUTIVES))
    known = {(r["statistic"], r["stage"]): r["value"] for r in rows if r["measure"] == "conf" and r["role"] == ""}
    held = []
    for seed in range(1, 13):
        data, margins = sample(world, 700, seed)
        table = gradient(data, margins, replicates=200).estimates
        for statistic in ("role_sd_corrected", "range_shrunken"):
            for stage in STAGES:
                row = one(table, statistic, stage=stage)
                assert row["status"] in {"ok", "flagged"}
                held.append(row["conf_low"] - 1e-9 <= known[statistic, stage] <= row["conf_high"] + 1e-9)
    assert np.mean(held) >= 0.9  # 120 intervals, of which those of one study and stage move together
