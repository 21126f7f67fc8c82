"""The second lens: what the model says of roles, held against closed forms, against the cell table, and at odd designs."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from fieldwork.constructs.adoption_gradient import Measure
from fieldwork.constructs.adoption_gradient import estimate as cell_estimates
from fieldwork.constructs.cells import Axis, survey_design
from fieldwork.constructs.ledger import Estimates
from fieldwork.constructs.ordinal_lens import estimate, model_lens, population_mean
from fieldwork.disclosure import Policy, publish
from fieldwork.statistics.cumulative_links import link_named

FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
ROLE = Axis("role", ("a", "b", "c"), ("a", "b", "c"))
STAGE = Axis("stage", (1, 2), ("early", "late"))
MEASURE = Measure("conf", FIVE)
CUTS = np.array([-1.5, -0.4, 0.6, 1.8])


def drawn(
    *, organisations=150, informants=4, role=(1.0, 0.0, -1.0), stage=(-0.5, 0.5), sd=1.0, seed=1, confounded=False
):
    """Answers of a cumulative logit with a random intercept: the model's own truth."""
    rng = np.random.default_rng(seed)
    org = np.repeat(np.arange(organisations), informants)
    r = rng.integers(0, 3, len(org))
    late = np.where(confounded, np.array([0.9, 0.5, 0.1])[r], 0.5)
    s = (rng.random(len(org)) < late).astype(int)
    latent = (
        np.array(role)[r]
        + np.array(stage)[s]
        + sd * rng.standard_normal(organisations)[org]
        + rng.logistic(size=len(org))
    )
    return pd.DataFrame(
        {
            "resp_id": [f"r{i:05d}" for i in range(len(org))],
            "org_id": [f"o{i:05d}" for i in org],
            "role": np.array(["a", "b", "c"])[r],
            "stage": s + 1,
            "conf": 1.0 + np.digitize(latent, CUTS),
        }
    )


def designed(data, *, organisation="org_id", replicates=400, weight=1.0):
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": weight})
    return survey_design(
        data, weights, respondent="resp_id", organisation=organisation, margins=None, replicates=replicates, seed=7
    )


def both(data, *, stage=STAGE, **options):
    design = designed(data, **options)
    cells = cell_estimates(design, [MEASURE], ROLE, stage or STAGE, wave="w")
    return cells, estimate(design, [MEASURE], ROLE, stage, cells, wave="w").estimates


def row(table, statistic, **key):
    found = table[table["statistic"] == statistic]
    for name, value in key.items():
        found = found[found[name] == value]
    assert len(found) == 1, (statistic, key, len(found))
    return found.iloc[0]


class TestPopulationMean:
    def test_is_the_integral_over_organisations(self):
        link, scores = link_named("logit"), np.array(FIVE)

        def expected(u):
            share = np.diff(link.cdf(np.concatenate([[-np.inf], CUTS, [np.inf]]) - 0.7 - 1.3 * u))
            return float(share @ scores) * stats.norm.pdf(u)

        want = integrate.quad(expected, -9, 9, epsabs=1e-12)[0]
        got = population_mean(CUTS[None], np.array([[0.7]]), np.array([1.3]), scores, link)
        assert got[0, 0] == pytest.approx(want, abs=1e-5)

    def test_keeps_the_shape_of_the_predictor(self):
        got = population_mean(
            np.tile(CUTS, (3, 1)), np.zeros((3, 2, 4)), np.ones(3), np.array(FIVE), link_named("logit")
        )
        assert got.shape == (3, 2, 4)


class TestEffects:
    def test_recovers_the_models_own_truth(self):
        _, table = both(drawn(organisations=1500))
        for label, truth in zip("abc", (1.0, 0.0, -1.0), strict=True):
            found = row(table, "role_log_odds", role=label)
            assert abs(found["estimate"] - truth) < 4 * found["std_error"]
        spread = row(table, "role_sd_latent")
        assert spread["conf_low"] < 1.0 < spread["conf_high"]
        sd = row(table, "organisation_sd_latent")
        assert abs(sd["estimate"] - 1.0) < 4 * sd["std_error"]
        share = row(table, "icc_latent")["estimate"]
        assert share == pytest.approx(sd["estimate"] ** 2 / (sd["estimate"] ** 2 + np.pi**2 / 3))

    def test_effects_are_deviations_from_their_plain_mean(self):
        _, table = both(drawn())
        for statistic in ("role_log_odds", "stage_log_odds"):
            assert table.loc[table["statistic"] == statistic, "estimate"].sum() == pytest.approx(0.0, abs=1e-9)

    def test_means_agree_with_the_cell_table_where_the_model_holds(self):
        cells, table = both(drawn())
        for label in "abc":
            marginal = row(cells.estimates[cells.estimates["stage"] == ""], "role_mean", role=label)
            assert abs(row(table, "role_mean_model", role=label)["estimate"] - marginal["estimate"]) < 0.1
        assert row(table, "lens_disagreement")["estimate"] == 0.0

    def test_confounded_stages_are_held_apart_from_roles(self):
        """Roles alike but at other stages: the marginal means differ, the conditional effects do not."""
        data = drawn(organisations=600, role=(0.0, 0.0, 0.0), stage=(-1.0, 1.0), confounded=True)
        cells, table = both(data)
        assert row(cells.estimates, "role_sd_corrected", stage="")["conf_low"] > 0.2
        assert row(table, "role_sd_latent")["conf_low"] == 0.0
        ratio = row(table, "gradient_ratio_log_model")
        assert ratio["status"] == "flagged"
        assert "apart beyond both intervals" in ratio["reason"]

    def test_means_that_differ_from_the_cell_table_are_named(self):
        data = drawn()
        cells, _ = both(data)
        moved = cells.estimates.copy()
        hit = (moved["statistic"] == "role_mean") & (moved["role"] == "a") & (moved["stage"] == "")
        for name in ("estimate", "conf_low", "conf_high"):
            moved.loc[hit, name] = moved.loc[hit, name] - 2.0
        table = estimate(
            designed(data), [MEASURE], ROLE, STAGE, dataclasses.replace(cells, estimates=moved), wave="w"
        ).estimates
        assert row(table, "lens_disagreement")["estimate"] == pytest.approx(1 / 3)
        assert row(table, "lens_disagreement")["reason"].endswith("beyond both intervals: a")
        assert row(table, "role_mean_model", role="a")["status"] == "flagged"


class TestInvariance:
    def test_order_of_rows_changes_nothing(self):
        data = drawn()
        _, table = both(data)
        _, other = both(data.sample(frac=1.0, random_state=3))
        pd.testing.assert_frame_equal(table, other)

    def test_reversing_the_scale_reverses_the_effects(self):
        data = drawn()
        _, table = both(data)
        _, other = both(data.assign(conf=6.0 - data["conf"]))
        for label in "abc":
            first, second = (row(t, "role_log_odds", role=label)["estimate"] for t in (table, other))
            assert first == pytest.approx(-second, abs=1e-7)

    def test_weights_in_another_unit_change_nothing(self):
        data = drawn()
        _, table = both(data)
        _, other = both(data, weight=3.0)
        np.testing.assert_allclose(
            table["estimate"].to_numpy(float, na_value=np.nan),
            other["estimate"].to_numpy(float, na_value=np.nan),
            atol=1e-9,
        )


class TestDesigns:
    def test_one_informant_an_organisation_leaves_their_variance_out(self):
        _, table = both(drawn(organisations=400, informants=1))
        found = row(table, "organisation_sd_latent")
        assert found["status"] == "not_assessable"
        assert found["reason"] == "30 organisations with two informants or more are needed; there are 0"
        assert row(table, "role_log_odds", role="a")["reason"] == "conditional: at one stage"

    def test_no_organisations(self):
        _, table = both(drawn(), organisation="")
        assert row(table, "role_mean_model", role="b")["status"] == "ok"
        assert table["n_organisations"].isna().all()

    def test_standard_errors_know_organisations_without_their_intercept(self):
        """Answers doubled within an organisation are no more information: the sandwich must not shrink."""
        single = drawn(organisations=400, informants=1, sd=0.0)
        twice = pd.concat([single, single.assign(resp_id="x" + single["resp_id"])])
        first = model_lens(designed(single), MEASURE, ROLE, STAGE, draws=2000)
        # Two informants each would put the intercept in; without organisations in common it stays out.
        second = model_lens(
            dataclasses.replace(designed(twice), has_organisations=False), MEASURE, ROLE, STAGE, draws=2000
        )
        ratio = np.std(second.role_effect[1:], axis=0) / np.std(first.role_effect[1:], axis=0)
        np.testing.assert_allclose(ratio, 1.0, atol=0.08)

    def test_no_stages(self):
        data = drawn()
        cells, _ = both(data)
        table = estimate(designed(data), [MEASURE], ROLE, None, cells, wave="w").estimates
        assert row(table, "stage_sd_latent")["status"] == "not_assessable"
        assert row(table, "gradient_ratio_log_model")["reason"] == "a spread is not assessable"
        assert row(table, "role_sd_latent")["status"] == "ok"

    def test_no_roles(self):
        data = drawn()
        cells, _ = both(data)
        table = estimate(designed(data), [MEASURE], None, STAGE, cells, wave="w").estimates
        assert list(table["reason"]) == ["the survey asks no role"]

    def test_a_thin_role_is_left_out_and_named(self):
        data = drawn()
        data.loc[data.index[data["role"] == "c"][12:], "role"] = "b"
        _, table = both(data)
        assert set(table.loc[table["statistic"] == "role_log_odds", "role"]) == {"a", "b"}
        assert "without c: too few respondents" in row(table, "role_sd_latent")["reason"]

    def test_one_role_is_not_assessable(self):
        _, table = both(drawn().assign(role="a"))
        found = row(table, "role_mean_model")
        assert found["status"] == "not_assessable"
        assert found["reason"] == "the model cannot be fitted: fewer than two roles carry the model; 1 of 3"

    def test_a_separating_role_is_named(self):
        data = drawn()
        data.loc[data["role"] == "a", "conf"] = 5.0
        _, table = both(data)
        found = row(table, "role_mean_model")
        assert found["status"] == "not_assessable"
        assert "all answers of a lie at one end of the scale" in found["reason"]

    def test_a_small_role_whose_answers_are_all_alike_is_not_named_and_no_number_is_told(self):
        data = drawn()
        few = data.index[data["role"] == "a"]
        data.loc[few[25:], "role"] = "b"
        data.loc[few[:25], "conf"] = 5.0
        _, table = both(data)
        reason = row(table, "role_mean_model")["reason"]
        assert reason == (
            "the model cannot be fitted: all answers of a role or stage lie at one end of the scale; answers at one point alone"
        )

    def test_what_is_thin_is_held_back(self):
        data = drawn(organisations=30, informants=3)
        design = designed(data)
        cells = cell_estimates(design, [MEASURE], ROLE, STAGE, wave="w")
        made = Estimates.joined([cells, estimate(design, [MEASURE], ROLE, STAGE, cells, wave="w")])
        tight = Policy.from_study({"minimum_respondents": 40})
        published = publish(made.estimates, tight, made.bases)
        of_roles = published[published["statistic"].isin(["role_mean_model", "role_log_odds", "role_sd_latent"])]
        assert len(of_roles) == 7
        assert set(of_roles["status"]) == {"suppressed"}
        assert of_roles["estimate"].isna().all()
