"""Variance between clusters: closed forms, unbiasedness with a fit at cluster level, brute force, invariances."""

import numpy as np
import pytest

from fieldwork.errors import DesignError
from fieldwork.statistics.cluster_variance import _expectations, _Predictors, cluster_variance


def fitted(y, X, weight):
    W = weight[:, None] * X
    return np.linalg.solve(X.T @ W, W.T @ y)[None, :]


def split(y, X, weight, cluster, multiplier=None, layers=None):
    beta = fitted(y, X, weight) if layers is None else layers
    return cluster_variance(
        y, X, beta, weight, cluster, np.zeros((0, cluster.max() + 1)) if multiplier is None else multiplier
    )


def test_the_analysis_of_variance_is_the_balanced_case():
    rng = np.random.default_rng(2)
    y = rng.normal(size=(40, 5)) + rng.normal(size=(40, 1))
    between = 5 * y.mean(axis=1).var(ddof=1)
    within = y.var(axis=1, ddof=1).mean()
    found = split(y.ravel(), np.ones((200, 1)), np.ones(200), np.repeat(np.arange(40), 5))
    assert found.between == pytest.approx([(between - within) / 5], rel=1e-12)
    assert found.within == pytest.approx([within], rel=1e-12)
    assert found.pairs == 40


def test_expectations_are_those_of_the_matrices():
    """Traces through clusters' totals equal those of the n by n matrices."""
    rng = np.random.default_rng(3)
    cluster = np.sort(rng.integers(0, 7, 30))
    starts = np.flatnonzero(np.r_[True, cluster[1:] != cluster[:-1]])
    X = np.column_stack([np.ones(30), rng.normal(size=(30, 2)), cluster % 3 == 0])
    v = rng.uniform(0.5, 2.0, 30)
    J = (cluster[:, None] == cluster[None, :]).astype(float)
    A = np.outer(v, v) * J
    np.fill_diagonal(A, 0.0)
    M = np.eye(30) - X @ np.linalg.solve(X.T @ (v[:, None] * X), (v[:, None] * X).T)
    brute = np.array([[np.trace(M.T @ F @ M @ J) / F.sum(), np.trace(M.T @ F @ M) / F.sum()] for F in (A, np.diag(v))])
    found = _expectations(_Predictors(X, np.arange(30), np.r_[starts, 30]), v)
    assert found == pytest.approx(brute, rel=1e-10)


def test_a_predictor_of_the_cluster_takes_nothing_that_is_not_given_back():
    """Sixteen clusters in four sectors: naive residuals lose a quarter of the variance between clusters."""
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(16), rng.integers(2, 6, 16))
    sector = np.eye(4)[cluster % 4]
    weight = rng.uniform(0.5, 2.0, len(cluster))
    found = []
    for _ in range(4000):
        y = 0.7 * rng.normal(size=16)[cluster] + rng.normal(size=len(cluster)) + sector @ [0.0, 1.0, 2.0, 3.0]
        one = split(y, sector, weight, cluster)
        found.append((one.between[0], one.within[0]))
    error = np.std(found, axis=0) / np.sqrt(4000)
    assert np.abs(np.mean(found, axis=0) - [0.49, 1.0]) == pytest.approx([0, 0], abs=4 * error.max())
    assert error.max() < 0.01


def test_a_layer_is_the_same_clusters_counted_as_its_multipliers_say():
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(30), 3)
    y = rng.normal(size=30)[cluster] + rng.normal(size=90)
    X, ones = np.ones((90, 1)), np.ones(90)
    doubled = np.ones(30)
    doubled[:10] = 2.0
    beta = np.vstack([fitted(y, X, ones), fitted(y, X, doubled[cluster])])
    two = split(y, X, ones, cluster, doubled[None, :], beta)
    more = np.concatenate([np.arange(90), np.arange(30)])
    repeated = np.concatenate([cluster, 30 + cluster[:30]])
    forms = split(y[more], X[more], ones[more], repeated, None, fitted(y[more], X[more], ones[more]))
    # The layer keeps the constants of the observed sample, which differ by the 40 clusters that the copy counts.
    assert two.between[1] == pytest.approx(forms.between[0], rel=0.02)
    assert two.between[0] == pytest.approx(split(y, X, ones, cluster).between[0], rel=1e-12)


def test_order_of_rows_and_scale_of_weights_do_not_matter():
    rng = np.random.default_rng(6)
    cluster = rng.integers(0, 12, 60)
    y, X, weight = rng.normal(size=60), np.column_stack([np.ones(60), rng.normal(size=60)]), rng.uniform(1, 3, 60)
    one = split(y, X, weight, cluster)
    turned = rng.permutation(60)
    two = split(y[turned], X[turned], 7 * weight[turned], cluster[turned])
    assert two.between == pytest.approx(one.between, rel=1e-10)
    assert split(3 * y, X, weight, cluster).between == pytest.approx(9 * one.between, rel=1e-10)


def test_rows_that_many_share_may_be_given_once():
    rng = np.random.default_rng(7)
    cluster, cell = rng.integers(0, 12, 60), rng.integers(0, 4, 60)
    cells = np.column_stack([np.ones(4), [0.0, 1.0, 3.0, 2.0]])
    y, weight, beta = rng.normal(size=60), rng.uniform(1, 3, 60), rng.normal(size=(6, 2))
    drawn = rng.uniform(0.5, 2.0, (5, 12))
    one = cluster_variance(y, cells, beta, weight, cluster, drawn, row=cell)
    two = cluster_variance(y, cells[cell], beta, weight, cluster, drawn)
    assert one.between == pytest.approx(two.between, rel=1e-12)
    assert one.within == pytest.approx(two.within, rel=1e-12)


def test_clusters_of_one_say_nothing():
    with pytest.raises(DesignError, match="no cluster has two members"):
        split(np.arange(4.0), np.ones((4, 1)), np.ones(4), np.arange(4))
