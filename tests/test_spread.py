"""Spread: the worked example to the printed digits, R's values, invariances, and honesty near nil."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwork.errors import DesignError
from fieldwork.statistics.adjustment import adjusted_effects
from fieldwork.statistics.spread import log_ratio, noise_corrected_variance, one_way, spread

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "values.toml").read_text())
# measures.md 2.1, oracle: CTO {5,4,5,4}, CFO {3,3,4,2}, CMO {2,1,2,3}
CASES = {"CTO": [5, 4, 5, 4], "CFO": [3, 3, 4, 2], "CMO": [2, 1, 2, 3]}


def _worked():
    answers = [np.array(case, dtype=float) for case in CASES.values()]
    means = np.array([a.mean() for a in answers])
    within = one_way(answers).mean_square_within
    return means, np.eye(3) * within / 4


def test_worked_example_of_the_gradient():
    means, covariance = _worked()
    result = spread(means, np.zeros((1, 3)), covariance=covariance)
    anova = one_way(list(CASES.values()))
    assert anova.mean_square_between == pytest.approx(19 / 3)
    assert anova.mean_square_within == pytest.approx(5 / 9)
    assert noise_corrected_variance(means, covariance) == pytest.approx(13 / 9)
    assert round(result.sd_corrected, 4) == 1.2019
    assert round(result.sd_raw, 4) == 1.2583
    assert anova.icc1 == pytest.approx(13 / 18)
    assert anova.icc2 == pytest.approx(52 / 57)
    assert result.reliability == pytest.approx(52 / 57)
    assert result.shrunken.round(4).tolist() == [4.3830, 3.0146, 2.1023]
    assert result.range_raw == 2.5
    assert result.range_shrunken == pytest.approx(130 / 57)


def test_worked_example_equals_r():
    reference = VALUES["worked_example"]
    means, covariance = _worked()
    result = spread(means, np.zeros((1, 3)), covariance=covariance)
    assert result.shrunken == pytest.approx(reference["shrunken"], rel=1e-12)
    assert result.range_shrunken == pytest.approx(reference["range_shrunken"], rel=1e-12)
    assert result.sd_corrected == pytest.approx(reference["sd_corrected"], rel=1e-12)


@pytest.mark.parametrize("group", ["role", "org_id"])
def test_mean_squares_equal_r(group):
    frame = pd.read_csv(REFERENCE / "clustered.csv")
    reference = VALUES["icc"][group]
    result = one_way([part["conf"].to_numpy() for _, part in frame.groupby(group)])
    assert result.mean_square_between == pytest.approx(reference["ms_between"], rel=1e-10)
    assert result.mean_square_within == pytest.approx(reference["ms_within"], rel=1e-10)
    assert result.icc2 == pytest.approx(reference["icc2"], rel=1e-10)
    # R `multilevel` puts the plain mean group size where the analysis of variance has n0; they differ by imbalance only.
    assert result.icc1 == pytest.approx(reference["icc1"], rel=0.06)


def test_noise_shared_by_all_groups_is_no_spread():
    means = np.array([3.0, 3.2, 2.8])
    alone = noise_corrected_variance(means, np.eye(3) * 0.01)
    shared = noise_corrected_variance(means, np.eye(3) * 0.01 + 0.5)
    assert shared == pytest.approx(alone)


@given(st.permutations(range(5)), st.floats(-3, 3), st.floats(0.1, 4))
def test_spread_ignores_labels_and_origin_and_follows_the_unit(order, shift, unit):
    rng = np.random.default_rng(0)
    means, errors = np.array([4.1, 3.2, 2.9, 3.8, 2.2]), rng.normal(scale=0.15, size=(200, 5))
    plain = spread(means, errors)
    other = spread((means[list(order)] + shift) * unit, errors[:, list(order)] * unit)
    assert other.sd_corrected == pytest.approx(plain.sd_corrected * unit, rel=1e-9)
    assert other.range_shrunken == pytest.approx(plain.range_shrunken * unit, rel=1e-9)
    assert other.sd_draws == pytest.approx(plain.sd_draws * unit, rel=1e-7, abs=1e-9)
    assert other.reliability == pytest.approx(plain.reliability, rel=1e-9)


@given(st.lists(st.floats(1, 5), min_size=2, max_size=9), st.floats(0.01, 1.0))
def test_bounds(means, scale):
    errors = np.random.default_rng(1).normal(scale=scale, size=(64, len(means)))
    result = spread(np.array(means), errors)
    assert 0 <= result.sd_corrected <= result.sd_raw + 1e-12
    assert 0 <= result.reliability <= 1
    assert result.range_shrunken <= result.range_raw + 1e-9
    assert (result.sd_draws >= 0).all()
    assert np.isfinite(result.range_draws).all()


@pytest.mark.parametrize(("true_spread", "groups"), [(0.0, 10), (0.1, 5), (0.3, 10), (0.6, 10)])
def test_interval_of_the_spread_holds_its_level(true_spread, groups):
    """500 studies with known normal noise of 0.15: the accepted band of exact binomial bounds at 0.1% is .916-.978."""
    rng = np.random.default_rng(20260101 + groups)
    truth = rng.normal(size=groups)
    truth = (truth - truth.mean()) / truth.std(ddof=1) * true_spread
    covered = 0
    for _ in range(500):
        errors = rng.normal(scale=0.15, size=(400, groups))
        result = spread(truth + rng.normal(scale=0.15, size=groups), errors)
        low, high = np.quantile(result.sd_draws, [0.025, 0.975])
        covered += low <= true_spread <= high
    assert 0.916 <= covered / 500 <= (1.0 if true_spread == 0 else 0.978)


def test_a_single_group_is_refused():
    with pytest.raises(DesignError, match="a spread needs at least two groups"):
        spread(np.array([3.0]), np.zeros((4, 1)))
    with pytest.raises(DesignError, match="more answers than groups"):
        one_way([[1], [2]])


def test_log_ratio_keeps_what_it_cannot_know():
    draws = log_ratio(np.array([0.0, 0.5]), np.array([0.0, 0.0]))
    assert np.isnan(draws[0])
    assert draws[1] == np.inf


def test_adjusted_effects_equal_least_squares_on_rows():
    rng = np.random.default_rng(3)
    n = 400
    role, stage = rng.integers(0, 4, n), rng.integers(0, 3, n)
    y = 0.4 * role - 0.3 * stage + rng.normal(size=n)
    w = rng.uniform(0.5, 2, n)
    cells, at = np.unique(np.column_stack([role, stage]), axis=0, return_inverse=True)
    weight = np.bincount(at.reshape(-1), weights=w)[None, :]
    total = np.bincount(at.reshape(-1), weights=w * y)[None, :]
    fit = adjusted_effects(weight, total, [cells[:, 0], cells[:, 1]], ["role", "stage"])
    X = np.column_stack([np.ones(n), *[(role == g) for g in (1, 2, 3)], *[(stage == g) for g in (1, 2)]]).astype(float)
    root = np.sqrt(w)
    beta = np.linalg.lstsq(X * root[:, None], y * root, rcond=None)[0]
    expected = np.r_[0, beta[1:4]]
    assert fit.effects[0][0] == pytest.approx(expected - expected.mean(), rel=1e-9)
    assert fit.effects[1][0] == pytest.approx(np.r_[0, beta[4:]] - np.r_[0, beta[4:]].mean(), rel=1e-9)


def test_factors_that_always_go_together_are_refused():
    with pytest.raises(DesignError, match="does not tell the factors apart"):
        adjusted_effects(np.ones((1, 3)), np.ones((1, 3)), [np.arange(3), np.arange(3)], ["role", "stage"])
