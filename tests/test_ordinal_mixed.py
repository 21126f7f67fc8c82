"""The cumulative link mixed model against R's ordinal and lme4, against its own derivatives, and against what must not move it."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics import CumulativeLinkMixedModel
from fieldwork.statistics.cumulative_links import LINKS, link_named
from fieldwork.statistics.ordinal_likelihood import Predictors, Problem, _at_zero, _gathered, evaluate, maximise

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "ordinal.toml").read_text())
WINE = pd.read_csv(REFERENCE / "wine.csv")
CLUSTERED = pd.read_csv(REFERENCE / "clustered.csv").assign(
    role=lambda d: pd.Categorical(d["role"], ["CEO", "CFO", "CTO", "CMO", "GC"]),
    stage_fn=lambda d: pd.Categorical(d["stage_fn"], ["experimenting", "piloting", "scaled"]),
    high=lambda d: (d["conf"] >= 4).astype(int),
)
# R itself stops no tighter: coefficients and sd 1e-4, standard errors 5e-4, log-likelihood 5e-5.
COEFFICIENT, ERROR, LIKELIHOOD = 1e-4, 5e-4, 5e-5


def fit(formula, data, groups="", **options):
    return CumulativeLinkMixedModel.from_formula(formula, data, groups, **options).fit()


def simulated(organisations, per=6, *, sd=1.0, seed=1, points=5):
    rng = np.random.default_rng(seed)
    n = organisations * per
    firm = np.repeat(np.arange(organisations), per)
    role, stage = rng.integers(0, 4, n), rng.integers(0, 3, organisations)[firm]
    eta = np.array([0.0, 0.5, -0.5, 1.0])[role] + 0.4 * stage + sd * rng.standard_normal(organisations)[firm]
    answer = (eta[:, None] + rng.logistic(size=n)[:, None] > np.linspace(-1.5, 2.0, points - 1)).sum(axis=1) + 1
    return pd.DataFrame({"conf": answer, "role": role.astype(str), "stage": stage.astype(str), "firm": firm})


@pytest.mark.parametrize("link", list(LINKS))
@pytest.mark.parametrize(("kind", "groups"), [("clm", ""), ("clmm", "judge")])
def test_wine_agrees_with_r_ordinal(link, kind, groups):
    result = fit("rating ~ temp + contact", WINE, groups, link=link)
    reference = VALUES[kind]["wine"][link]
    expected = [*reference["thresholds"], *reference["coefficients"]]
    assert result.params.to_numpy()[: len(expected)] == pytest.approx(expected, abs=COEFFICIENT)
    assert result.bse.to_numpy()[: len(expected)] == pytest.approx(reference["std_error"], abs=ERROR)
    assert result.llf == pytest.approx(reference["log_likelihood"], abs=LIKELIHOOD)
    if groups:
        assert result.params["sd(judge)"] == pytest.approx(reference["sd"][0], abs=COEFFICIENT)
    assert np.abs(result.fitted.at.gradient[: len(result.names)]).max() < 1e-6


@pytest.mark.parametrize(("name", "weights"), [("logit", ""), ("weighted", "weight")])
def test_clustered_survey_agrees_with_r_ordinal(name, weights):
    result = fit("conf ~ role + stage_fn", CLUSTERED, "org_id", weights=weights)
    reference = VALUES["clmm"]["clustered"][name]
    expected = [*reference["thresholds"], *reference["coefficients"], *reference["sd"]]
    assert result.params.to_numpy() == pytest.approx(expected, abs=COEFFICIENT)
    assert result.bse.to_numpy()[:-1] == pytest.approx(reference["std_error"], abs=ERROR)
    assert result.llf == pytest.approx(reference["log_likelihood"], abs=LIKELIHOOD)


def test_two_categories_are_the_binary_mixed_model_of_lme4():
    result = fit("high ~ role + stage_fn", CLUSTERED, "org_id")
    reference = VALUES["glmer"]["clustered"]
    found = [-result.params["0|1"], *result.params.iloc[1:-1]]
    assert found == pytest.approx(reference["coefficients"], abs=COEFFICIENT)
    assert result.params["sd(org_id)"] == pytest.approx(reference["sd"][0], abs=COEFFICIENT)
    assert result.bse.to_numpy()[:-1] == pytest.approx(reference["std_error"], abs=ERROR)


def test_marginal_means_and_contrasts_agree_with_emmeans():
    means = fit("rating ~ temp + contact", WINE, "judge").marginal_means("temp")
    table, reference = means.table(), VALUES["emmeans"]["wine"]
    assert table["temp"].tolist() == reference["temp"]["levels"]
    assert table["estimate"].tolist() == pytest.approx(reference["temp"]["estimate"], abs=COEFFICIENT)
    assert table["std_error"].tolist() == pytest.approx(reference["temp"]["std_error"], abs=ERROR)
    contrast = means.contrasts().iloc[0]
    assert contrast["contrast"] == reference["contrast"]["label"][0]
    assert contrast["estimate"] == pytest.approx(reference["contrast"]["estimate"][0], abs=COEFFICIENT)
    assert contrast["std_error"] == pytest.approx(reference["contrast"]["std_error"][0], abs=ERROR)


@pytest.mark.parametrize("link", list(LINKS))
@pytest.mark.parametrize("many", [False, True], ids=["cells", "rows"])
def test_gradient_and_hessian_are_those_of_the_likelihood(link, many):
    rng = np.random.default_rng(2)
    n = 120
    X = rng.normal(size=(n, 2)) if many else rng.integers(0, 2, (n, 2)).astype(float)
    if many:
        X = np.vstack([X, rng.normal(size=(120, 2))])
        n = 240
    starts = np.arange(0, n + 1, 6)
    problem = Problem(
        rng.integers(0, 4, n),
        4,
        Predictors.of(X),
        rng.normal(size=n) * 0.1,
        rng.uniform(0.5, 1.5, n),
        starts,
        link_named(link),
        25,
    )
    assert problem.predictors.few != many
    theta = np.array([-1.0, 0.2, 1.1, 0.4, -0.3, 0.8])

    def at(values):
        return evaluate(problem, values[:3], values[3:5], values[5], np.zeros(len(starts) - 1))

    here, h = at(theta), 1e-5
    steps = h * np.eye(6)
    slope = [(at(theta + e).log_likelihood - at(theta - e).log_likelihood) / (2 * h) for e in steps]
    bend = [(at(theta + e).gradient - at(theta - e).gradient) / (2 * h) for e in steps]
    assert here.gradient == pytest.approx(slope, abs=1e-6)
    assert here.hessian == pytest.approx(np.array(bend), abs=1e-5)


@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_answers_that_are_alike_are_one_where_no_intercept_varies(offset):
    rng = np.random.default_rng(6)
    n = 300
    X = rng.integers(0, 2, (n, 2)).astype(float)
    problem = Problem(
        rng.integers(0, 4, n), 4, Predictors.of(X), offset * rng.normal(size=n), rng.uniform(0.5, 1.5, n),
        np.arange(0, n + 1, 6), link_named("logit"), 11,
    )  # fmt: skip
    gathered = _gathered(problem)
    assert len(gathered.answer) == (n if offset else 16)
    at = [
        evaluate(each, np.array([-1.0, 0.2, 1.1]), np.array([0.4, -0.3]), 0.0, np.zeros(len(each.starts) - 1))
        for each in (problem, gathered)
    ]
    assert at[1].log_likelihood == pytest.approx(at[0].log_likelihood, rel=1e-12)
    assert at[1].gradient[:-1] == pytest.approx(at[0].gradient[:-1], rel=1e-9)
    assert at[1].hessian[:-1, :-1] == pytest.approx(at[0].hessian[:-1, :-1], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("link", list(LINKS))
def test_links_keep_their_digits_in_the_tails(link):
    a, b = np.array([np.inf, 40.0, -5.0, 3.0]), np.array([3.0, 39.0, -np.inf, 2.9999])
    if link == "cloglog":
        a, b = np.array([np.inf, 4.0, -30.0, 1.0]), np.array([3.0, 3.5, -np.inf, 0.9999])
    slopes = link_named(link).slopes(a, b, np.zeros(4))
    for name in ("log_p", "by_a", "by_b", "upper", "lower", "by_ab"):
        assert np.isfinite(getattr(slopes, name)).all(), name
    assert (slopes.log_p < 0).all()
    assert (slopes.upper <= 0).all()
    assert (slopes.lower <= 0).all()


def test_recovers_what_was_simulated():
    """100 studies of 60 organisations: mean estimates within 3 Monte Carlo standard errors, sd within 4%."""
    truth = np.array([0.5, -0.5, 1.0, 0.4, 0.8])
    found, spread, covered = [], [], []
    for seed in range(100):
        result = fit("conf ~ role + stage", simulated(60, seed=seed), "firm")
        found.append(result.fitted.coefficients)
        spread.append(result.fitted.sd)
        ends = result.conf_int().iloc[4:9]
        covered.append((ends["conf_low"] <= truth) & (truth <= ends["conf_high"]))
    error = np.mean(found, axis=0) - truth
    assert np.abs(error / (np.std(found, axis=0, ddof=1) / 10)).max() < 3.3
    assert np.mean(spread) == pytest.approx(1.0, abs=0.05)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_no_variation_between_groups_is_the_boundary():
    boundary = 0
    for seed in range(40):
        result = fit("conf ~ role + stage", simulated(25, sd=0.0, seed=seed), "firm")
        fixed = fit("conf ~ role + stage", simulated(25, sd=0.0, seed=seed))
        assert result.llf >= fixed.llf - 1e-8
        if result.fitted.boundary:
            boundary += 1
            assert result.fitted.sd == 0.0
            assert np.isnan(result.bse["sd(firm)"])
            assert result.params.iloc[:-1].to_numpy() == pytest.approx(fixed.params.to_numpy(), abs=1e-8)
            assert result.sd_test().p_value == 1.0
            assert "at its boundary" in result.summary()
        else:
            assert result.fitted.sd > 0
    # Half of the samples of a world without variation lie at the boundary; a little more in small ones.
    assert 14 <= boundary <= 34


def test_p_value_of_the_sd_is_half_a_chi_square():
    result = fit("rating ~ temp + contact", WINE, "judge")
    test = result.sd_test()
    assert test.statistic == pytest.approx(
        2 * (VALUES["clmm"]["wine"]["logit"]["log_likelihood"] - VALUES["clm"]["wine"]["logit"]["log_likelihood"]),
        abs=1e-4,
    )
    assert test.p_value == pytest.approx(0.000818, abs=1e-6)


def test_likelihood_ratio_of_nested_models():
    larger, smaller = fit("rating ~ temp + contact", WINE, "judge"), fit("rating ~ temp", WINE, "judge")
    test = larger.lr_test(smaller)
    assert test.df == 1
    assert 0 < test.p_value < 0.01
    with pytest.raises(DesignError, match="do not nest"):
        smaller.lr_test(larger)


def test_order_of_rows_names_and_origin_do_not_matter():
    data = simulated(40)
    plain = fit("conf ~ role + stage", data, "firm")
    mixed = fit("conf ~ role + stage", data.sample(frac=1, random_state=3), "firm")
    renamed = fit("conf ~ role + stage", data.assign(firm=data["firm"].map(lambda f: f"f{97 - f}")), "firm")
    for other in (mixed, renamed):
        assert other.params.to_numpy() == pytest.approx(plain.params.to_numpy(), abs=1e-8)
        assert other.llf == pytest.approx(plain.llf, abs=1e-8)


def test_reversed_scale_turns_every_sign():
    data = simulated(40)
    plain, turned = fit("conf ~ role", data, "firm"), fit("conf ~ role", data.assign(conf=6 - data["conf"]), "firm")
    assert turned.fitted.coefficients == pytest.approx(-plain.fitted.coefficients, abs=1e-7)
    assert turned.fitted.thresholds == pytest.approx(-plain.fitted.thresholds[::-1], abs=1e-7)
    assert turned.fitted.sd == pytest.approx(plain.fitted.sd, abs=1e-7)


@settings(max_examples=8)
@given(st.floats(0.2, 3.0))
def test_halves_of_a_row_weigh_as_the_row(weight):
    data = simulated(20).assign(w=weight)
    halves = pd.concat([data.assign(w=weight / 3), data.assign(w=2 * weight / 3)])
    one, two = (fit("conf ~ role", d, "firm", weights="w") for d in (data, halves))
    assert two.params.to_numpy() == pytest.approx(one.params.to_numpy(), abs=1e-6)


def test_an_offset_is_a_coefficient_of_one():
    data = simulated(40)
    shifted = fit("conf ~ role", data.assign(o=0.7), "firm", offset="o")
    plain = fit("conf ~ role", data, "firm")
    assert shifted.fitted.coefficients == pytest.approx(plain.fitted.coefficients, abs=1e-7)
    assert shifted.fitted.thresholds == pytest.approx(plain.fitted.thresholds + 0.7, abs=1e-7)


def test_robust_errors_are_near_the_models_where_the_model_holds():
    data = simulated(300)
    model = CumulativeLinkMixedModel.from_formula("conf ~ role + stage", data, "firm")
    plain, robust = model.fit(), model.fit(covariance="robust")
    ratio = robust.bse / plain.bse
    assert ratio.between(0.8, 1.25).all()
    assert not np.allclose(ratio, 1.0)


def test_effects_between_organisations_get_their_degrees_of_freedom():
    result = fit("conf ~ role + stage", simulated(40), "firm")
    df = result.df_resid()
    assert np.isinf(df[["role[T.1]", "role[T.2]", "role[T.3]"]]).all()
    assert (df[["stage[T.1]", "stage[T.2]"]] == 40 - 1 - 2).all()
    wide, plain = result.conf_int(), result.conf_int(small_sample=False)
    assert (wide["conf_high"] - wide["conf_low"])["stage[T.1]"] > (plain["conf_high"] - plain["conf_low"])["stage[T.1]"]


def test_marginal_probabilities_are_the_populations():
    """Averaged over organisations drawn from the fitted model, conditional probabilities give the marginal ones."""
    result = fit("conf ~ role", simulated(80, sd=1.5), "firm")
    X = np.zeros((1, 3))
    draws = np.random.default_rng(0).standard_normal(40000)
    cuts = np.concatenate([[-np.inf], result.fitted.thresholds, [np.inf]])
    cumulative = link_named("logit").cdf(cuts[None, :] - result.fitted.sd * draws[:, None])
    simulated_share = np.diff(cumulative, axis=1).mean(axis=0)
    assert result.predict(X).to_numpy()[0] == pytest.approx(simulated_share, abs=0.005)
    assert result.predict(X, kind="conditional").to_numpy()[0] != pytest.approx(simulated_share, abs=0.02)
    assert result.predict().sum(axis=1).to_numpy() == pytest.approx(1.0)


def test_rows_that_lack_something_are_left_out_and_counted():
    data = simulated(40).astype({"conf": "Float64"})
    data.loc[3, "conf"], data.loc[9, "role"] = pd.NA, None
    result = fit("conf ~ role", data, "firm")
    assert result.model.n_dropped == 2
    assert result.nobs == len(data) - 2
    assert "left out: 2" in result.summary()


def test_summary_reads_as_users_of_ordinal_expect():
    text = fit("rating ~ temp + contact", WINE, "judge").summary()
    for part in (
        "Cumulative Link Mixed Model",
        "formula: rating ~ temp + contact",
        "temp[T.warm]",
        "Threshold coefficients:",
        "1|2",
        "judge    1.2877    1.1348",
        "3.0619      0.5951",
    ):
        assert part in text
    assert text == fit("rating ~ temp + contact", WINE, "judge").summary()


def test_refusals_name_the_term():
    data = simulated(30)
    with pytest.raises(DesignError) as told:
        fit("conf ~ role + top", data.assign(top=(data["conf"] == 5).astype(int)), "firm")
    assert str(told.value).splitlines()[:2] == [
        "DesignError: a term separates the answers: its coefficient has no finite estimate",
        "  where     CumulativeLinkMixedModel, term top",
    ]
    with pytest.raises(DesignError, match="a term is a combination of the others"):
        fit("conf ~ role + twice", data.assign(twice=(data["role"] == "1").astype(float) * 2), "firm")
    with pytest.raises(DesignError, match="a random intercept needs at least two groups"):
        fit("conf ~ role", data.assign(firm=1), "firm")
    with pytest.raises(DesignError, match="the formula names a column that the data lack"):
        fit("conf ~ rolle", data, "firm")
    with pytest.raises(DesignError, match="the order of the answers is not known"):
        fit("conf ~ role", data.assign(conf=data["conf"].map(str)), "firm")
    with pytest.raises(DesignError, match="too few quadrature nodes"):
        fit("conf ~ role", data, "firm", nodes=3)
    with pytest.raises(DesignError, match="there is no link 'logitt'"):
        fit("conf ~ role", data, "firm", link="logitt")
    empty = pd.Categorical(data["conf"], [1, 2, 3, 4, 5, 6], ordered=True)
    with pytest.raises(DesignError) as told:
        fit("conf ~ role", data.assign(conf=empty), "firm")
    assert "nobody answered 6" in str(told.value)


def test_a_fit_that_stops_early_says_so():
    model = CumulativeLinkMixedModel.from_formula("rating ~ temp + contact", WINE, "judge")
    with pytest.raises(ConvergenceError, match="did not converge"):
        maximise(model.problem, limit=1)


@pytest.mark.parametrize("sd", [0.5, 1.0, 1.5])
def test_the_search_begins_near_the_variance_at_which_it_ends(sd):
    model = CumulativeLinkMixedModel.from_formula("conf ~ role + stage", simulated(2000, 5, sd=sd), "firm")
    rise, pairs = _at_zero(model.problem, maximise(model.problem, random=False))
    share = rise / pairs / model.link.variance  # of the latent variance without intercepts
    fitted = maximise(model.problem)
    assert fitted.sd**2 / (fitted.sd**2 + model.link.variance) == pytest.approx(share, rel=0.15)


@pytest.mark.parametrize("adjust", ["holm", "tukey"])
def test_adjusted_contrasts_agree_with_emmeans(adjust):
    reference = VALUES["contrasts"][adjust]
    table = fit("conf ~ role + stage_fn", CLUSTERED, "org_id").marginal_means("role").contrasts(adjust=adjust)
    assert table["contrast"].tolist() == reference["label"]
    assert table["estimate"].tolist() == pytest.approx(reference["estimate"], abs=2e-4)
    assert table["std_error"].tolist() == pytest.approx(reference["std_error"], abs=ERROR)
    assert table["p_adjusted"].tolist() == pytest.approx(reference["p_adjusted"], rel=5e-3, abs=1e-9)
    assert set(table["adjustment"]) == {adjust}


def test_a_large_fit_holds_little_beside_its_data():
    """120,000 answers, 49 effects: what a fit adds is bounded, whatever the number of predictors' columns (48 MB here)."""
    import tracemalloc

    rng = np.random.default_rng(1)
    firm, cell = np.repeat(np.arange(20000), 6), rng.integers(0, 50, 120000)
    latent = rng.standard_normal(20000)[firm] + 0.1 * (cell % 7) + rng.logistic(size=120000)
    data = pd.DataFrame({"y": np.digitize(latent, np.linspace(-2, 3, 6)), "cell": cell.astype(str), "firm": firm})
    tracemalloc.start()
    try:
        result = fit("y ~ cell", data, "firm")
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert result.params["sd(firm)"] == pytest.approx(1.0, abs=0.03)
    assert np.abs(result.gradient).max() < 1e-5
    assert peak < 90, f"{peak:.0f} MB"
