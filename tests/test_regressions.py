"""Regressions in every layer against R, closed forms, one layer at a time, and the texts of refusals."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics.regressions import least_squares, log_linear, log_normal_times, regression_inference
from fieldwork.statistics.replicates import cluster_keys, infer, multipliers

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "regressions.toml").read_text())
DATA = pd.read_csv(REFERENCE / "regressions.csv")
X = np.column_stack(
    [np.ones(len(DATA)), DATA["practice"], DATA["size"], DATA["sector"] == "b", DATA["sector"] == "c"]
).astype(float)
RUNNING = DATA["running"].to_numpy() == 1
WEEKS = DATA["weeks"].to_numpy(dtype=float)
LOWER = np.where(RUNNING, WEEKS, WEEKS - 0.5)
UPPER = np.where(RUNNING, np.inf, WEEKS + 0.5)
WEIGHT = DATA["weight"].to_numpy()
NAMES, CLUSTER = np.unique(DATA["org_id"], return_inverse=True)
FITS = {
    "least_squares": lambda w: least_squares(X, DATA["delay"], w),
    "log_linear": lambda w: log_linear(X, DATA["bott"], w),
    "log_normal_times": lambda w: log_normal_times(X, LOWER, UPPER, w),
}


def layers(replicates):
    drawn = multipliers(cluster_keys([str(name) for name in NAMES], seed=1), replicates)
    return np.vstack([np.ones(len(CLUSTER)), drawn[:, CLUSTER]]) * WEIGHT


@pytest.mark.parametrize("name", FITS)
def test_coefficients_are_those_of_r(name):
    fit = FITS[name](WEIGHT)
    assert fit.coefficients[0] == pytest.approx(VALUES[name]["coefficients"], abs=2e-7)
    if name == "log_normal_times":
        assert fit.scale[0] == pytest.approx(VALUES[name]["scale"][0], abs=2e-7)
        assert fit.parameters == 6
    else:
        assert np.isnan(fit.scale).all()
        assert fit.parameters == 5


@pytest.mark.parametrize("name", FITS)
def test_replicates_give_the_clustered_standard_errors_of_r(name):
    """Two-point multipliers of 70 organisations against the sandwich: 3,000 replicates tell an error to about 2%."""
    fit = FITS[name](layers(3000))
    error = np.sqrt(np.mean((fit.coefficients[1:] - fit.coefficients[0]) ** 2, axis=0))
    assert error == pytest.approx(VALUES[name]["std_error"], rel=0.12)
    assert np.mean(error / VALUES[name]["std_error"]) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("name", FITS)
def test_every_layer_is_the_fit_of_its_own_weights(name):
    weight = layers(40)
    whole = FITS[name](weight).coefficients
    for b in (0, 1, 17, 40):
        assert whole[b] == pytest.approx(FITS[name](weight[b]).coefficients[0], abs=1e-7)


@pytest.mark.parametrize("name", FITS)
def test_rows_may_come_in_any_order_and_be_split_into_halves(name):
    order = np.random.default_rng(3).permutation(len(DATA))
    twice = np.concatenate([order, order])
    shuffled = {
        "least_squares": lambda w: least_squares(X[twice], DATA["delay"].to_numpy()[twice], w),
        "log_linear": lambda w: log_linear(X[twice], DATA["bott"].to_numpy()[twice], w),
        "log_normal_times": lambda w: log_normal_times(X[twice], LOWER[twice], UPPER[twice], w),
    }[name](WEIGHT[twice] / 2)
    assert shuffled.coefficients[0] == pytest.approx(FITS[name](WEIGHT).coefficients[0], abs=1e-8)


def test_one_indicator_gives_group_means_and_their_ratio():
    group = DATA["practice"].to_numpy(dtype=float)
    design = np.column_stack([np.ones(len(group)), group])
    means = [np.average(DATA["bott"][group == g], weights=WEIGHT[group == g]) for g in (0, 1)]
    assert np.exp(log_linear(design, DATA["bott"], WEIGHT).coefficients[0, 1]) == pytest.approx(means[1] / means[0])
    assert least_squares(design, DATA["bott"], WEIGHT).coefficients[0, 1] == pytest.approx(means[1] - means[0])


def test_exact_times_give_the_mean_of_logs():
    """Narrow intervals about uncensored times: the maximum is the mean and the deviation of the log times."""
    times = np.array([1.0, 2.0, 4.0, 8.0, 3.0])
    fit = log_normal_times(np.ones((5, 1)), times * (1 - 1e-6), times * (1 + 1e-6), np.ones(5))
    assert fit.coefficients[0, 0] == pytest.approx(np.log(times).mean(), abs=1e-6)
    assert fit.scale[0] == pytest.approx(np.log(times).std(), abs=1e-6)


def test_a_ratio_of_times_is_nearly_found_with_other_errors():
    """Gamma times of shape 2, over a quarter still running: a ratio of .7 reads .69, as the docstring says."""
    rng = np.random.default_rng(5)
    n = 200_000
    high = rng.integers(0, 2, n)
    time = 0.7**high * rng.gamma(2, 0.5, n)
    since = rng.exponential(2.0, n)
    running = time > since
    lower, upper = np.where(running, since, time * 0.999), np.where(running, np.inf, time * 1.001)
    fit = log_normal_times(np.column_stack([np.ones(n), high]), lower, upper, np.ones(n))
    assert running.mean() > 0.25
    assert np.exp(fit.coefficients[0, 1]) == pytest.approx(0.69, abs=0.01)


def test_running_times_counted_as_over_would_mislead():
    """What censoring is for: the same data with running times taken as deployed say something else."""
    rng = np.random.default_rng(6)
    high = rng.integers(0, 2, 50_000)
    time = 0.5**high * rng.gamma(2, 0.5, 50_000)
    since = np.full(50_000, 0.8)
    running = time > since
    design = np.column_stack([np.ones(50_000), high])
    seen = np.where(running, since, time)
    right = log_normal_times(design, seen * 0.999, np.where(running, np.inf, seen * 1.001), np.ones(50_000))
    wrong = log_normal_times(design, seen * 0.999, seen * 1.001, np.ones(50_000))
    assert np.exp(right.coefficients[0, 1]) == pytest.approx(0.5, abs=0.03)
    assert np.exp(wrong.coefficients[0, 1]) > 0.6


def test_inference_of_one_parameter_is_that_of_a_mean():
    theta = np.random.default_rng(1).normal(size=201)
    for have, want in ((regression_inference(theta, 20, 1), infer(theta, 20)),):
        assert have.std_error == pytest.approx(float(want.std_error))
        assert have.conf_high == pytest.approx(float(want.conf_high))


def test_inference_pays_for_each_parameter_and_for_the_thin_side():
    theta = np.random.default_rng(1).normal(size=401)
    plain = regression_inference(theta, 40, 1)
    adjusted = regression_inference(theta, 40, 11)
    thin = regression_inference(theta, 40, 11, fewest=6)
    raw = np.sqrt(np.mean((theta[1:] - theta[0]) ** 2))
    assert adjusted.std_error == pytest.approx(raw * np.sqrt(40 / 29))
    widths = [float(each.conf_high - each.conf_low) for each in (plain, adjusted, thin)]
    assert widths == sorted(widths)
    with pytest.raises(DesignError, match="as many parameters as clusters"):
        regression_inference(theta, 11, 11)


@pytest.mark.parametrize(
    ("fit", "error", "text"),
    [
        (lambda: least_squares(np.ones((4, 2)), np.arange(4.0), np.ones(4)), DesignError, "depend on each other"),
        (lambda: least_squares(np.ones((4, 1)), [1, 2, np.nan, 4], np.ones(4)), DesignError, "complete rows"),
        (lambda: log_linear(np.ones((3, 1)), [1, -1, 2], np.ones(3)), DesignError, "not negative"),
        (
            lambda: log_linear(np.column_stack([np.ones(4), [0, 0, 1, 1]]), [1, 2, 0, 0], np.ones(4)),
            ConvergenceError,
            "no finite maximum",
        ),
        (
            lambda: log_normal_times(np.ones((3, 1)), [1, 2, 3], [np.inf] * 3, np.ones(3)),
            DesignError,
            "none has ended",
        ),
        (lambda: log_normal_times(np.ones((2, 1)), [2, 3], [1, 4], np.ones(2)), DesignError, "ends before it begins"),
    ],
)
def test_what_cannot_be_fitted_is_refused(fit, error, text):
    with pytest.raises(error, match=text):
        fit()
