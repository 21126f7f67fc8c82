"""Several random intercepts by Laplace: R's clmm, the exact gradient, any nesting, the boundary, survey weights, refusals."""

import tomllib
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics import CumulativeLinkMixedModel
from fieldwork.statistics.cumulative_links import LINKS, link_named
from fieldwork.statistics.ordinal_crossed import CrossedProblem, Intercepts, maximise_crossed
from fieldwork.statistics.ordinal_likelihood import Predictors

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "ordinal.toml").read_text())
PANEL_VALUES = tomllib.loads((REFERENCE / "panel.toml").read_text())
WINE = pd.read_csv(REFERENCE / "wine.csv")
PANEL = pd.read_csv(REFERENCE / "panel.csv")
CLUSTERED = pd.read_csv(REFERENCE / "clustered.csv").assign(
    stage_fn=lambda d: pd.Categorical(d["stage_fn"], ["experimenting", "piloting", "scaled"])
)
NESTED = "conf ~ role + stage + wave + (1 | org) + (1 | resp)"


def fit(formula, data, **options):
    return CumulativeLinkMixedModel.from_formula(formula, data, **options).fit()


def agrees(result, reference):
    expected = [*reference["thresholds"], *reference["coefficients"]]
    k = len(expected)
    assert result.params.to_numpy()[:k] == pytest.approx(expected, abs=1e-4)
    assert result.bse.to_numpy()[:k] == pytest.approx(reference["std_error"], abs=5e-4)
    assert result.llf == pytest.approx(reference["log_likelihood"], abs=5e-5)
    assert np.abs(result.gradient).max() < 1e-6


def test_one_node_is_clmms_laplace():
    result = fit("rating ~ temp + contact", WINE, groups="judge", nodes=1)
    agrees(result, VALUES["clmm"]["wine"]["laplace"])
    assert result.params["sd(judge)"] == pytest.approx(VALUES["clmm"]["wine"]["laplace"]["sd"][0], abs=1e-4)
    assert result.summary().startswith("Cumulative Link Mixed Model, Laplace's approximation")


def test_wine_crossed_has_no_bottle_effect():
    result = fit("rating ~ temp + contact", WINE, groups=["judge", "bottle"])
    reference = VALUES["crossed"]["wine"]
    assert result.names[-2:] == ["sd(judge)", "sd(bottle)"]
    assert result.params["sd(bottle)"] == 0.0
    assert np.isnan(result.bse["sd(bottle)"])
    assert result.conf_int().loc["sd(bottle)"].isna().all()
    assert reference["sd"][1] < 1e-3
    agrees(result, reference)
    alone = fit("rating ~ temp + contact", WINE, groups="judge", nodes=1)
    assert result.params.iloc[:-1].to_numpy() == pytest.approx(alone.params.to_numpy(), abs=1e-6)
    assert result.sd_test("bottle").p_value == 1.0
    assert result.sd_test("judge").p_value == pytest.approx(0.000836, abs=2e-5)
    text = result.summary()
    for part in (
        "formula: rating ~ temp + contact + (1 | judge) + (1 | bottle)",
        "groups: judge 9, bottle 8",
        "The standard deviation of bottle is at its boundary",
        "Constant within every bottle, so judged from 8 of them",
    ):
        assert part in text


def test_two_crossed_groupings_agree_with_r_ordinal():
    result = fit("conf ~ stage_fn + (1 | org_id) + (1 | role)", CLUSTERED)
    reference = VALUES["crossed"]["clustered"]
    agrees(result, reference)
    assert result.sds.to_numpy() == pytest.approx(reference["sd"], abs=1e-4)
    ends = result.conf_int()
    assert (ends["conf_low"] < result.params).all()
    assert ends.loc["sd(role)", "conf_low"] > 0


@pytest.mark.parametrize(
    ("name", "formula", "options"),
    [
        ("nested", NESTED, {}),
        ("nested", "conf ~ role + stage + wave", {"groups": ["resp", "org"]}),
        ("nested", "conf ~ role + stage + wave + (1 | org/resp)", {}),
        ("nested_weighted", NESTED, {"weights": "weight"}),
        ("nested_probit", NESTED, {"link": "probit"}),
        ("nested_and_crossed", "conf ~ role + wave + (1 | org) + (1 | resp) + (1 | topic)", {}),
        ("crossed", "conf ~ role + wave + (1 | topic) + (1 | org)", {}),
    ],
)
def test_a_panel_agrees_with_r_ordinal(name, formula, options):
    result, reference = fit(formula, PANEL, **options), PANEL_VALUES[name]
    k = len(reference["estimate"])
    assert result.params.to_numpy()[:k] == pytest.approx(reference["estimate"], abs=1e-4)
    assert result.bse.to_numpy()[:k] == pytest.approx(reference["std_error"], abs=5e-4)
    assert result.llf == pytest.approx(reference["log_likelihood"], abs=5e-5)
    assert np.abs(result.gradient).max() < 1e-6
    inner = {"resp": "org:resp"} if "org/resp" in formula else {}
    for named, sd in zip(reference["groupings"], reference["sd"], strict=True):
        grouping = inner.get(named, named)
        assert result.sds[grouping] == pytest.approx(sd, abs=1e-4)
        assert result.params[f"sd({grouping})"] == result.sds[grouping]
    for grouping in reference["groupings"]:
        effects = result.random_effects[inner.get(grouping, grouping)]
        assert effects.to_numpy() == pytest.approx(reference[f"mode_{grouping}"], abs=2e-4)


@pytest.mark.parametrize("link", list(LINKS))
@pytest.mark.parametrize(
    "groups", [["judge", "bottle"], ["judge"], ["half", "judge"], ["half", "judge", "bottle"], ["all", "half", "judge"]]
)
def test_gradient_is_that_of_the_approximation(link, groups):
    data = WINE.assign(half=WINE["judge"] // 4, all=WINE["judge"] // 8)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, len(WINE))
    shift = np.random.default_rng(1).normal(size=len(WINE)) * 0.2
    X = np.column_stack([WINE["temp"] == "warm", WINE["contact"] == "yes"]).astype(float)
    many = np.column_stack([X, np.random.default_rng(2).normal(size=72)])
    codes = {name: pd.factorize(data[name])[0] for name in groups}
    for predictors in (Predictors.of(X), Predictors(many, np.empty(0, np.int64))):
        problem = CrossedProblem((WINE["rating"] - 1).to_numpy(), 5, predictors, shift, weight, codes, link_named(link))
        terms = [1.5, 0.7, 0.3][: predictors.rows.shape[1]]
        theta = np.array([-1.0, 0.9, 0.8, 0.5, *terms, 0.9, 0.4, 0.6][: 4 + len(terms) + len(groups)])
        _, gradient = problem.negative(theta)
        h = 1e-5 * np.eye(len(theta))
        slope = [(problem.negative(theta + e)[0] - problem.negative(theta - e)[0]) / 2e-5 for e in h]
        assert gradient == pytest.approx(slope, abs=2e-5)
        # By cluster it adds to the whole.
        cluster = codes[groups[0]]
        parts = problem.natural(theta, cluster)[1]
        assert parts.shape == (cluster.max() + 1, len(theta))
        assert parts.sum(axis=0) == pytest.approx(problem.natural(theta)[1], abs=1e-9)


@st.composite
def groupings(draw):
    """Groupings of some answers: any mixture of nested and crossed ones."""
    n = draw(st.integers(8, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    place = [np.unique(rng.integers(0, draw(st.integers(2, 12)), n), return_inverse=True)[1].reshape(-1)]
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            inner = place[draw(st.integers(0, len(place) - 1))]
            level = rng.integers(0, draw(st.integers(2, 6)), inner.max() + 1)[inner]
        else:
            level = rng.integers(0, draw(st.integers(2, 8)), n)
        place.append(np.unique(level, return_inverse=True)[1].reshape(-1))
    order = rng.permutation(len(place))
    return np.column_stack([place[r] for r in order]), rng.uniform(0.05, 2.0, n), rng.uniform(0.1, 2.0, len(place)), rng


@settings(max_examples=150)
@given(groupings())
def test_the_factorisation_is_that_of_the_whole_matrix(drawn):
    place, curvature, sd, rng = drawn
    sizes = [int(column.max()) + 1 for column in place.T]
    first = np.concatenate([[0], np.cumsum(sizes)])
    Z = np.zeros((len(place), first[-1]))
    for r, column in enumerate(place.T):
        Z[np.arange(len(place)), first[r] + column] = sd[r]
    H = np.eye(first[-1]) + (Z * curvature[:, None]).T @ Z
    pattern = Intercepts(place, sizes)
    factor = pattern.factorise(curvature, sd)
    assert factor.log_determinant == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-10)
    right = rng.normal(size=first[-1])
    solved = np.concatenate(factor.solve([right[first[r] : first[r + 1]] for r in range(len(sizes))]))
    assert solved == pytest.approx(np.linalg.solve(H, right), rel=1e-8, abs=1e-10)
    inverse = np.linalg.inv(H)
    held, variances = factor.covariances()
    assert np.concatenate(variances) == pytest.approx(np.diag(inverse), rel=1e-8)
    for r, s in product(range(len(sizes)), repeat=2):
        if r <= s:
            expected = inverse[first[r] + place[:, r], first[s] + place[:, s]]
            assert held[r, s] == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_nesting_is_found_whatever_the_order():
    org, resp = PANEL["org"].factorize()[0], PANEL["resp"].factorize()[0]
    topic = PANEL["topic"].factorize()[0]
    sizes = [int(code.max()) + 1 for code in (topic, org, resp)]
    pattern = Intercepts(np.column_stack([topic, org, resp]), sizes)
    assert pattern.chain == [2, 1]
    assert pattern.dense == [0]
    assert pattern.left == 4


def simulated(organisations, people, waves, *, seed, sds=(1.0, 0.7)):
    rng = np.random.default_rng(seed)
    n = organisations * people * waves
    org = np.repeat(np.arange(organisations), people * waves)
    resp = np.repeat(np.arange(organisations * people), waves)
    role = rng.integers(0, 3, organisations * people)[resp]
    latent = sds[0] * rng.normal(size=organisations)[org] + sds[1] * rng.normal(size=organisations * people)[resp]
    latent = latent + np.array([0.0, 0.5, -0.5])[role] + rng.logistic(size=n)
    return pd.DataFrame({"y": np.digitize(latent, [-1.5, 0, 1.5]), "role": role.astype(str), "org": org, "resp": resp})


def test_a_nested_panel_recovers_what_was_simulated():
    """Forty panels of six answers a person: coefficients within 3.3 Monte Carlo errors, sds within Laplace's 2% of that."""
    terms, sds = [], []
    for seed in range(40):
        data = simulated(50, 4, 6, seed=seed, sds=(1.0, 1.2))
        result = fit("y ~ role + (1 | org) + (1 | resp)", data)
        terms.append(result.params[["role[T.1]", "role[T.2]"]].to_numpy())
        sds.append(result.sds.to_numpy())
    error = np.mean(terms, axis=0) - [0.5, -0.5]
    assert np.abs(error / (np.std(terms, axis=0, ddof=1) / np.sqrt(40))).max() < 3.3
    short = np.mean(sds, axis=0) / [1.0, 1.2] - 1
    error = np.std(sds, axis=0, ddof=1) / np.sqrt(40) / [1.0, 1.2]
    assert (np.abs(short + 0.02) < 0.02 + 3.3 * error).all()


def test_laplace_is_as_low_as_the_docs_say():
    """Two answers a person: quadrature finds the spread, Laplace's approximation about a sixth less."""
    found = []
    for seed in range(12):
        data = simulated(100, 4, 2, seed=seed, sds=(0.0, 1.2))
        found.append([fit("y ~ role + (1 | resp)", data, nodes=nodes).sds["resp"] for nodes in (1, 11)])
    laplace, quadrature = np.mean(found, axis=0)
    assert quadrature == pytest.approx(1.2, abs=0.06)
    assert -0.20 < laplace / quadrature - 1 < -0.10


def test_nested_groupings_have_no_limit():
    """Six thousand respondents in 1,500 organisations: more than one dense system held before."""
    data = simulated(1500, 4, 3, seed=1)
    result = fit("y ~ role + (1 | org/resp)", data)
    assert result.groups == {"org": 1500, "org:resp": 6000}
    assert result.sds.to_numpy() == pytest.approx([1.0, 0.7], abs=0.08)
    assert np.abs(result.gradient).max() < 2e-6


def test_order_of_rows_and_names_of_levels_do_not_matter():
    plain = fit(NESTED, PANEL)
    shuffled = fit(NESTED, PANEL.sample(frac=1, random_state=4))
    renamed = fit(NESTED, PANEL.assign(org=PANEL["org"].map(lambda o: f"z{99 - int(o[1:])}")))
    for other in (shuffled, renamed):
        assert other.params.to_numpy() == pytest.approx(plain.params.to_numpy(), abs=1e-7)
        assert other.llf == pytest.approx(plain.llf, abs=1e-8)


def test_halves_of_a_row_weigh_as_the_row_and_an_offset_is_a_coefficient_of_one():
    plain = fit(NESTED, PANEL, weights="weight")
    third = PANEL["weight"] / 3
    halves = fit(NESTED, pd.concat([PANEL.assign(weight=third), PANEL.assign(weight=2 * third)]), weights="weight")
    assert halves.params.to_numpy() == pytest.approx(plain.params.to_numpy(), abs=1e-6)
    moved = fit(NESTED, PANEL.assign(o=0.7 + 0.5 * PANEL["wave"]), weights="weight", offset="o")
    assert moved.params["wave"] == pytest.approx(plain.params["wave"] - 0.5, abs=1e-6)
    assert moved.params["1|2"] == pytest.approx(plain.params["1|2"] + 0.7, abs=1e-6)
    assert "weights: yes   offset: yes" in moved.summary()


def test_robust_errors_are_near_the_models_where_the_model_holds():
    data = simulated(300, 3, 2, seed=8)
    model = CumulativeLinkMixedModel.from_formula("y ~ role + (1 | org) + (1 | resp)", data)
    plain, robust = model.fit(), model.fit(covariance="robust")
    assert (robust.bse / plain.bse).between(0.8, 1.25).all()
    assert not np.allclose(robust.bse, plain.bse)
    with pytest.raises(DesignError, match="groups that share no intercept") as told:
        CumulativeLinkMixedModel.from_formula("rating ~ temp", WINE, ["judge", "bottle"]).fit(covariance="robust")
    assert told.value.got == "judge, bottle, which cross"


def test_robust_errors_of_one_intercept_are_those_of_quadrature():
    data = simulated(80, 3, 3, seed=9)
    laplace, quadrature = (
        CumulativeLinkMixedModel.from_formula("y ~ role", data, "org", nodes=nodes).fit(covariance="robust")
        for nodes in (1, 11)
    )
    assert laplace.bse.to_numpy() == pytest.approx(quadrature.bse.to_numpy(), rel=0.02)


def test_effects_are_judged_by_the_grouping_they_vary_between():
    result = fit(NESTED, PANEL)
    df, groups = result.df_resid(), result.groups
    assert groups == {"org": 40, "resp": PANEL["resp"].nunique()}
    assert (df[["stage[T.piloting]", "stage[T.scaled]"]] == 40 - 1 - 2).all()
    assert (df[["role[T.CFO]", "role[T.CTO]"]] == groups["resp"] - 1 - 2).all()
    assert np.isinf(df["wave"])


def test_the_populations_shares_integrate_over_every_intercept():
    result = fit(NESTED, PANEL)
    rng = np.random.default_rng(0)
    total = (rng.standard_normal((20000, 2)) * result.sds.to_numpy()).sum(axis=1)
    row = PANEL.iloc[[0]]
    eta = result.model.predictors.whole()[0] @ result.fitted.coefficients
    cuts = np.concatenate([[-np.inf], result.fitted.thresholds, [np.inf]])
    drawn = np.diff(link_named("logit").cdf(cuts[None, :] - eta - total[:, None]), axis=1).mean(axis=0)
    assert result.predict(row).to_numpy()[0] == pytest.approx(drawn, abs=0.01)
    means = result.marginal_means("role", scale="answer")
    assert means.covariance.shape == (3, 3)
    assert (np.diag(means.covariance) > 0).all()


def test_what_cannot_be_held_is_refused():
    with pytest.raises(DesignError, match="at least two groups") as told:
        fit("rating ~ temp", WINE.assign(one=1), groups=["judge", "one"])
    assert told.value.where == "CumulativeLinkMixedModel, groups one"
    n = 9000
    data = pd.DataFrame({"y": np.arange(n) % 3, "a": np.arange(n) % 4500, "b": (np.arange(n) * 7) % 4400})
    with pytest.raises(DesignError, match="too many crossed random intercepts") as told:
        fit("y ~ 1 + (1 | a) + (1 | b)", data)
    assert told.value.expected == "at most 4000 levels in the groupings that do not nest in a"
    assert told.value.got == "a 4500, b 4400"
    with pytest.raises(DesignError, match="needs the name of a grouping") as told:
        fit("rating ~ temp", WINE, groups=["judge", "bottle"]).sd_test()
    assert told.value.expected == "judge, bottle"


def test_a_fit_that_stops_early_says_so(monkeypatch):
    problem = CumulativeLinkMixedModel.from_formula("rating ~ temp", WINE, ["judge", "bottle"]).crossed
    from fieldwork.statistics import ordinal_crossed as module

    monkeypatch.setattr(module, "_POLISHED", 0)
    with pytest.raises(ConvergenceError, match="several random intercepts did not converge"):
        maximise_crossed(problem, limit=1)
