"""Marginal means and contrasts against R's emmeans; means over the random intercepts against integrals by other hands."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from fieldwork.errors import DesignError
from fieldwork.statistics import CumulativeLinkMixedModel
from fieldwork.statistics.cumulative_links import LINKS, link_named
from fieldwork.statistics.ordinal_means import answer_probabilities

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "ordinal_means.toml").read_text())
WINE = pd.read_csv(REFERENCE / "wine.csv")
CLUSTERED = pd.read_csv(REFERENCE / "clustered.csv").assign(
    role=lambda d: pd.Categorical(d["role"], ["CEO", "CFO", "CTO", "CMO", "GC"]),
    stage_fn=lambda d: pd.Categorical(d["stage_fn"], ["experimenting", "piloting", "scaled"]),
)
# What R's own stopping rule leaves open: estimates and standard errors on the scale of answers are smaller than coefficients.
ESTIMATE, ERROR = 1e-4, 5e-4


@pytest.fixture(scope="module")
def fits():
    wine, clustered = "rating ~ temp + contact", "conf ~ role + stage_fn"
    make = CumulativeLinkMixedModel.from_formula
    return {
        ("wine", "clm"): make(wine, WINE).fit(),
        ("wine", "clmm"): make(wine, WINE, "judge").fit(),
        ("wine", "probit"): make(wine, WINE, "judge", link="probit").fit(),
        ("clustered", "clm"): make(clustered, CLUSTERED).fit(),
        ("clustered", "clmm"): make(clustered, CLUSTERED, "org_id").fit(),
    }


NAMES = [("wine", "clm"), ("wine", "clmm"), ("wine", "probit"), ("clustered", "clm"), ("clustered", "clmm")]
FACTOR = {"wine": "temp", "clustered": "role"}


@pytest.mark.parametrize(("data", "kind"), NAMES)
def test_mean_answers_and_their_contrasts_agree_with_emmeans(fits, data, kind):
    means = fits[data, kind].marginal_means(FACTOR[data], scale="answer", kind="conditional")
    table, reference = means.table(), VALUES[data][kind]["mean_class"]
    assert table[FACTOR[data]].tolist() == reference["levels"]
    assert table["estimate"].to_numpy() == pytest.approx(reference["estimate"], abs=ESTIMATE)
    assert table["std_error"].to_numpy() == pytest.approx(reference["std_error"], abs=ERROR)
    contrasts, reference = means.contrasts(adjust="holm"), VALUES[data][kind]["mean_class_contrast"]
    assert contrasts["contrast"].tolist() == reference["label"]
    assert contrasts["estimate"].to_numpy() == pytest.approx(reference["estimate"], abs=ESTIMATE)
    assert contrasts["std_error"].to_numpy() == pytest.approx(reference["std_error"], abs=ERROR)
    assert contrasts["p_adjusted"].to_numpy() == pytest.approx(reference["p_adjusted"], rel=5e-3, abs=1e-9)


@pytest.mark.parametrize(("data", "kind"), NAMES)
def test_shares_of_answers_and_their_contrasts_agree_with_emmeans(fits, data, kind):
    means = fits[data, kind].marginal_means(FACTOR[data], scale="probability", kind="conditional")
    table, reference = means.table(), VALUES[data][kind]["prob"]
    answers = fits[data, kind].model.categories
    assert table[FACTOR[data]].tolist() == list(np.repeat(reference["levels"], len(answers)))
    assert table.iloc[:, 1].tolist() == answers * len(reference["levels"])
    assert table["estimate"].to_numpy() == pytest.approx(reference["estimate"], abs=ESTIMATE)
    assert table["std_error"].to_numpy() == pytest.approx(reference["std_error"], abs=ERROR)
    contrasts, reference = means.contrasts(adjust="holm"), VALUES[data][kind]["prob_contrast"]
    assert contrasts["estimate"].to_numpy() == pytest.approx(reference["estimate"], abs=ESTIMATE)
    assert contrasts["std_error"].to_numpy() == pytest.approx(reference["std_error"], abs=ERROR)
    # Adjusted within each answer, as R does.
    assert contrasts["p_adjusted"].to_numpy() == pytest.approx(reference["p_adjusted"], rel=5e-3, abs=1e-6)
    assert contrasts.columns[0] == table.columns[1]


@pytest.mark.parametrize(("data", "kind"), [("wine", "clmm"), ("wine", "probit"), ("clustered", "clmm")])
def test_the_populations_means_agree_with_rs_integral(fits, data, kind):
    reference = VALUES[data][kind]["population"]
    means = fits[data, kind].marginal_means(FACTOR[data], scale="answer")
    assert means.estimate == pytest.approx(reference["mean"], abs=ESTIMATE)
    shares = fits[data, kind].marginal_means(FACTOR[data], scale="probability")
    assert shares.estimate == pytest.approx(reference["prob"], abs=ESTIMATE)
    at_nil = fits[data, kind].marginal_means(FACTOR[data], scale="answer", kind="conditional")
    assert np.abs(means.estimate - at_nil.estimate).max() > 0.003, "the average organisation is not the population"


def test_the_populations_errors_are_those_of_the_integral(fits):
    """Delta method through scipy's quadrature, written out by hand: sd moves the means as well as the cut-points do."""
    result = fits["wine", "clmm"]
    link = link_named("logit")
    grid = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])  # cold, warm x contact no, yes

    def mean(theta, row):
        def at(u):
            return 5.0 - link.cdf(theta[:4] - row @ theta[4:6] - theta[6] * u).sum()

        return integrate.quad(lambda u: at(u) * stats.norm.pdf(u), -9, 9, epsabs=1e-13, epsrel=1e-13, limit=400)[0]

    def by_temp(theta):
        values = [mean(theta, row) for row in grid]
        return np.array([(values[0] + values[1]) / 2, (values[2] + values[3]) / 2])

    theta, h = result.params.to_numpy(), 1e-4
    slopes = np.column_stack([(by_temp(theta + e) - by_temp(theta - e)) / (2 * h) for e in h * np.eye(7)])
    means = result.marginal_means("temp", scale="answer")
    assert means.estimate == pytest.approx(by_temp(theta), abs=1e-10)
    assert means.covariance == pytest.approx(slopes @ result.cov_params().to_numpy() @ slopes.T, rel=1e-6)


@pytest.mark.parametrize("link", list(LINKS))
@pytest.mark.parametrize("sd", [0.3, 1.0, 4.0, 15.0])
def test_probabilities_are_integrals_whatever_the_spread(link, sd):
    tau, eta = np.array([-1.5, 0.2, 2.0]), np.array([-3.0, -0.3, 2.5, 6.0])
    found = answer_probabilities(link_named(link), tau, eta, sd)
    for row, e in zip(found, eta, strict=True):
        cumulative = [
            integrate.quad(
                lambda u: link_named(link).cdf(np.array(t - e - sd * u)) * stats.norm.pdf(u),  # noqa: B023
                -10, 10, epsabs=1e-14, epsrel=1e-13, limit=500, points=[np.clip((t - e) / sd, -9.9, 9.9)],
            )[0]
            for t in tau
        ]  # fmt: skip
        assert row == pytest.approx(np.diff([0.0, *cumulative, 1.0]), abs=1e-13)


def test_the_probits_integral_has_a_closed_form():
    """Phi averaged over a normal is Phi of the same over sqrt(1 + sd^2)."""
    tau, eta, sd = np.array([-1.0, 0.5]), np.linspace(-2, 2, 9), 1.7
    found = answer_probabilities(link_named("probit"), tau, eta, sd)
    cumulative = stats.norm.cdf((tau - eta[:, None]) / np.sqrt(1 + sd**2))
    assert found[:, 0] == pytest.approx(cumulative[:, 0], abs=1e-14)
    assert found[:, 1] == pytest.approx(np.diff(cumulative, axis=1)[:, 0], abs=1e-14)


def test_scores_are_the_values_of_answers(fits):
    result = fits["wine", "clmm"]
    shares = result.marginal_means("temp", scale="probability").estimate.reshape(2, 5)
    scored = result.marginal_means("temp", scale="answer", scores=[0, 0, 0, 1, 1])
    assert scored.estimate == pytest.approx(shares[:, 3:].sum(axis=1), abs=1e-12)
    assert scored.covariance[0, 0] > 0


def test_numbers_and_coded_factors_stand_where_they_should():
    data = CLUSTERED.assign(stage=CLUSTERED["stage_fn"].cat.codes + 1, top=CLUSTERED["prep"] > 3)
    coded = CumulativeLinkMixedModel.from_formula("conf ~ role + C(stage)", data, "org_id").fit()
    named = CumulativeLinkMixedModel.from_formula("conf ~ role + stage_fn", data, "org_id").fit()
    assert coded.marginal_means("role").estimate == pytest.approx(named.marginal_means("role").estimate, abs=1e-9)
    assert coded.marginal_means("stage").estimate == pytest.approx(named.marginal_means("stage_fn").estimate, abs=1e-9)
    number = CumulativeLinkMixedModel.from_formula("conf ~ role + stage + top", data, "org_id").fit()
    at = number.marginal_means("stage")
    assert at.levels["stage"].tolist() == [1, 2, 3]
    assert np.diff(at.estimate) == pytest.approx([number.params["stage"]] * 2, abs=1e-9)
    assert number.marginal_means("top").levels["top"].tolist() == [False, True]
    held = number.marginal_means("role").estimate[0]
    beta = number.params
    middle = beta["stage"] * data["stage"].mean() + 0.5 * beta["top"]
    assert held == pytest.approx(middle - number.fitted.thresholds.mean(), abs=1e-9)


def test_they_print_as_a_table(fits):
    shown = repr(fits["wine", "clmm"].marginal_means("temp", scale="answer"))
    assert shown.splitlines()[0] == "Marginal means of temp: mean answer, averaged over the random intercepts"
    assert "cold    2.3528" in shown


def test_what_they_cannot_give_is_refused(fits):
    result = fits["wine", "clmm"]
    with pytest.raises(DesignError, match="a factor that the model lacks") as told:
        result.marginal_means("tmp")
    assert "expected  temp, contact" in str(told.value)
    with pytest.raises(DesignError, match="do not have this option"):
        result.marginal_means("temp", scale="response")
    with pytest.raises(DesignError, match="do not have this option"):
        result.marginal_means("temp", scale="answer", scores=[1, 2])
    with pytest.raises(DesignError, match="there is no adjustment 'sidak'"):
        result.marginal_means("temp").contrasts(adjust="sidak")
    many = WINE.assign(x=np.linspace(0, 1, 72))
    with pytest.raises(DesignError, match="a number with many values"):
        CumulativeLinkMixedModel.from_formula("rating ~ x", many).fit().marginal_means("x")
    arrays = CumulativeLinkMixedModel(WINE["rating"] - 1, (WINE["temp"] == "warm").astype(float)).fit()
    with pytest.raises(DesignError, match="made from a formula"):
        arrays.marginal_means("temp")
