"""Logistic regression over layers: closed forms, statsmodels, weights as counts, existence, invariances."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics import logistic
from fieldwork.statistics.logistic import logistic_layers


def drawn(seed=1, rows=60, predictors=3):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(rows), rng.normal(size=(rows, predictors))])
    n = rng.integers(2, 9, rows).astype(float)
    p = 1 / (1 + np.exp(-(X @ np.r_[0.2, np.linspace(-0.8, 0.8, predictors)])))
    return rng.binomial(n.astype(int), p).astype(float), n, X


def test_two_by_two_is_the_log_odds_ratio():
    fit = logistic_layers([[30.0, 45.0]], [[80.0, 70.0]], [[1.0, 0.0], [1.0, 1.0]])
    assert fit.coefficient[0] == pytest.approx([np.log(30 / 50), np.log(45 / 25) - np.log(30 / 50)], abs=1e-9)
    assert fit.model_error[1] == pytest.approx(np.sqrt(1 / 30 + 1 / 50 + 1 / 45 + 1 / 25), abs=1e-9)


def test_equals_statsmodels():
    y, n, X = drawn()
    ours = logistic_layers(y[None], n[None], X)
    theirs = sm.GLM(np.column_stack([y, n - y]), X, family=sm.families.Binomial()).fit(tol=1e-14)
    assert ours.coefficient[0] == pytest.approx(theirs.params, abs=1e-8)
    assert ours.model_error == pytest.approx(theirs.bse, rel=1e-6)


def test_each_layer_is_its_own_fit_with_its_own_predictors():
    y, n, X = drawn(2)
    rng = np.random.default_rng(3)
    weight = rng.gamma(2.0, size=(150, len(n)))
    moved = X[None] + rng.normal(scale=0.05, size=(150, 1, X.shape[1])) * (np.arange(X.shape[1]) > 0)
    whole = logistic_layers(y * weight, n * weight, moved)
    for b in (0, 63, 64, 149):
        alone = logistic_layers((y * weight[b])[None], (n * weight[b])[None], moved[b])
        assert whole.coefficient[b] == pytest.approx(alone.coefficient[0], abs=1e-7)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 20))
@settings(max_examples=20, deadline=None)
def test_order_unit_and_splitting_of_rows_do_not_matter(seed, unit):
    y, n, X = drawn(5)
    order = np.random.default_rng(seed).permutation(len(n))
    one = logistic_layers(y[None], n[None], X).coefficient[0]
    other = logistic_layers(y[None, order], n[None, order], X[order] * np.r_[1, unit, 1, 1]).coefficient[0]
    assert other * np.r_[1, unit, 1, 1] == pytest.approx(one, abs=1e-7)
    halves = logistic_layers(np.tile(y / 2, 2)[None], np.tile(n / 2, 2)[None], np.vstack([X, X])).coefficient[0]
    assert halves == pytest.approx(one, abs=1e-7)


def test_a_rare_answer_is_reached_too():
    fit = logistic_layers([[1.0, 400.0]], [[4000.0, 401.0]], [[1.0, 0.0], [1.0, 1.0]])
    assert fit.coefficient[0] == pytest.approx([np.log(1 / 3999), np.log(400) - np.log(1 / 3999)], abs=1e-6)


@pytest.mark.parametrize("hits", [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 4.0, 4.0]])
def test_parted_answers_are_refused(hits):
    X = np.column_stack([np.ones(4), np.arange(4.0)])
    with pytest.raises(DesignError, match="part the yeses from the noes"):
        logistic_layers([hits], [[4.0] * 4], X)


def test_predictors_that_add_up_are_refused():
    y, n, X = drawn(4)
    with pytest.raises(DesignError, match="do not tell their effects apart") as told:
        logistic_layers(y[None], n[None], np.column_stack([X, X[:, 1] + X[:, 2]]))
    assert told.value.got == "rank 4"


def test_what_does_not_fit_is_refused():
    with pytest.raises(DesignError, match="do not belong together"):
        logistic_layers([[5.0]], [[4.0]], [[1.0]])


def test_too_few_steps_are_told(monkeypatch):
    monkeypatch.setattr(logistic, "_STEPS", 1)
    y, n, X = drawn()
    with pytest.raises(ConvergenceError, match="were not reached"):
        logistic_layers(y[None], n[None], X)
