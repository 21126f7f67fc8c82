"""Coefficients of reliability against their closed forms and against a sum whose true score is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.errors import DesignError
from fieldwork.statistics.reliability import cronbach_alpha, omega_total, one_factor


def of_loadings(loading, unique):
    S = np.outer(loading, loading)
    return S + np.diag(unique)


def test_alpha_of_equal_correlations_is_spearman_brown():
    k, r = 4, 0.3
    S = np.full((k, k), r) + (1 - r) * np.eye(k)
    assert cronbach_alpha(S) == pytest.approx(k * r / (1 + (k - 1) * r))


def test_alpha_equals_omega_for_equally_good_items():
    S = of_loadings(np.array([0.7, 0.7, 0.7]), np.array([0.4, 0.6, 0.5]))
    assert omega_total(S) == pytest.approx(float(cronbach_alpha(S)), abs=1e-6)


def test_omega_is_above_alpha_for_unequal_items():
    S = of_loadings(np.array([0.9, 0.5, 0.3, 0.7]), np.array([0.3, 0.8, 0.9, 0.5]))
    assert omega_total(S) > cronbach_alpha(S) + 0.02


def test_omega_is_the_squared_correlation_of_sum_and_true_score():
    rng = np.random.default_rng(1)
    loading = np.array([0.9, 0.5, 0.7])
    true = rng.standard_normal(200_000)
    items = true[:, None] * loading + rng.standard_normal((200_000, 3)) * np.array([0.5, 0.8, 0.6])
    expected = np.corrcoef(items.sum(axis=1), true)[0, 1] ** 2
    assert omega_total(np.cov(items, rowvar=False)) == pytest.approx(expected, abs=0.005)


def test_layers_are_taken_at_once():
    first = of_loadings(np.array([0.7, 0.7, 0.7]), np.array([0.4, 0.6, 0.5]))
    second = of_loadings(np.array([0.9, 0.5, 0.3]), np.array([0.3, 0.8, 0.9]))
    both = omega_total(np.stack([first, second]))
    np.testing.assert_allclose(both, [omega_total(first), omega_total(second)], atol=1e-6)


def test_an_item_that_runs_against_the_others_makes_alpha_low():
    S = of_loadings(np.array([0.8, 0.8, -0.8]), np.full(3, 0.36))
    assert cronbach_alpha(S) < 0


def test_a_scale_that_does_not_vary_has_no_coefficient():
    assert np.isnan(cronbach_alpha(np.zeros((3, 3))))
    assert np.isnan(omega_total(np.zeros((3, 3))))


def test_two_items_determine_no_factor():
    with pytest.raises(DesignError, match="too few items"):
        one_factor(np.eye(2))
    with pytest.raises(DesignError, match="too few items"):
        cronbach_alpha(np.eye(1))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.2, 0.95), min_size=3, max_size=6),
    st.permutations(range(6)),
    st.floats(0.1, 10.0),
)
def test_order_and_unit_do_not_matter(loadings, order, unit):
    loading = np.array(loadings)
    S = of_loadings(loading, 1 - loading**2)
    order = [i for i in order if i < len(loading)]
    for coefficient in (cronbach_alpha, omega_total):
        value = float(coefficient(S))
        assert 0 <= value <= 1
        assert float(coefficient(S[np.ix_(order, order)] * unit)) == pytest.approx(value, abs=1e-5)
