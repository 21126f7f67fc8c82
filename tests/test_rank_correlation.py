"""Weighted rank correlation against scipy and against repeated units, and its interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fieldwork.errors import DesignError
from fieldwork.statistics.rank_correlation import correlation_interval, spearman
from fieldwork.statistics.replicates import cluster_keys, multipliers


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_unweighted_it_is_that_of_scipy_with_ties(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 40).astype(float)
    expected = stats.spearmanr(x, y).statistic
    assert spearman(x, y, np.ones((1, 40)))[0] == pytest.approx(expected, abs=1e-12)
    assert spearman(np.exp(x), 3 - y, np.full((1, 40), 7.0))[0] == pytest.approx(-expected, abs=1e-12)


def test_a_weight_of_three_is_three_units():
    rng = np.random.default_rng(1)
    x, y, times = rng.normal(size=12), rng.normal(size=12), rng.integers(1, 4, 12)
    repeated = stats.spearmanr(np.repeat(x, times), np.repeat(y, times)).statistic
    assert spearman(x, y, times[None].astype(float))[0] == pytest.approx(repeated, abs=1e-12)


def test_interval_covers_and_stays_inside_the_range():
    """95% intervals of rho_S = (6 / pi) asin(rho / 2) from 80 organisations: .92 to .98 of 400 studies."""
    rng = np.random.default_rng(2)
    for rho in (0.0, 0.7):
        truth = 6 / np.pi * np.arcsin(rho / 2)
        held = []
        for study in range(400):
            x = rng.standard_normal(80)
            y = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(80)
            m = multipliers(cluster_keys([f"o{i}" for i in range(80)], study), 100)
            found = correlation_interval(spearman(x, y, np.vstack([np.ones(80), m])), 80)
            assert -1 < found.conf_low < found.estimate < found.conf_high < 1
            held.append(found.conf_low <= truth <= found.conf_high)
        assert 0.92 <= np.mean(held) <= 0.98


def test_what_does_not_vary_has_no_correlation():
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3], np.ones((1, 3)))).all()
    whole = correlation_interval(np.array([1.0, 1.0, 1.0]), 10)
    assert whole.estimate == 1.0
    assert np.isnan([whole.std_error, whole.conf_low, whole.conf_high]).all()


def test_missing_numbers_are_refused():
    with pytest.raises(DesignError, match="a rank correlation needs both numbers of every unit"):
        spearman([1, np.nan], [1, 2], np.ones((1, 2)))
