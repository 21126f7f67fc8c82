"""Means over pairs of strangers against loops over all pairs, in the observed layer and in replicates."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.errors import DesignError
from fieldwork.statistics import agreement as ag
from fieldwork.statistics.pairs import group_totals, pair_sums
from fieldwork.statistics.prototypes import unit_vectors
from fieldwork.statistics.replicates import cluster_keys, multipliers


def sample(seed, n=24, groups=3, clusters=7, cells=2, replicates=3):
    rng = np.random.default_rng(seed)
    cluster = np.sort(rng.integers(0, clusters, n))
    cell = rng.integers(0, cells, n)
    factor = np.vstack([np.ones(cells), rng.uniform(0.5, 2.0, (replicates, cells))])
    m = multipliers(cluster_keys([f"o{c}" for c in range(clusters)], seed), replicates)
    return rng.normal(size=(n, 4)), rng.integers(0, groups, n), cluster, rng.uniform(0.2, 3.0, n), m, factor, cell


def brute(x, group, cluster, weight, g, h):
    """Every ordered pair of different organisations, one by one."""
    product = total = 0.0
    for i, j in itertools.permutations(range(len(x)), 2):
        if cluster[i] != cluster[j] and group[i] in g and group[j] in h:
            product += weight[i] * weight[j] * float(x[i] @ x[j])
            total += weight[i] * weight[j]
    return product / total


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_sums_over_pairs_equal_loops_in_every_layer(seed):
    x, group, cluster, weight, m, factor, cell = sample(seed)
    found = pair_sums(x, group, 3, cluster, weight, m, layer_factor=factor, factor_cell=cell)
    for layer in range(len(m) + 1):
        moved = weight * factor[layer, cell] * (1.0 if layer == 0 else m[layer - 1, cluster])
        for g, h in (([0], [0]), ([0], [1]), ([0, 1, 2], [0, 1, 2]), ([1, 2], [0])):
            if any(not np.isin(group, side).any() for side in (g, h)):
                continue
            assert found.mean(g, h)[layer] == pytest.approx(brute(x, group, cluster, moved, g, h), rel=1e-9, abs=1e-12)


def test_totals_by_group_equal_sums_in_every_layer():
    x, group, cluster, weight, m, factor, cell = sample(3)
    found = group_totals(x, group, 4, cluster, weight, m, layer_factor=factor, factor_cell=cell)
    moved = np.vstack([np.ones(len(x)), m[:, cluster]]) * factor[:, cell] * weight
    for g in range(3):
        assert found.mass[:, g] == pytest.approx(moved[:, group == g].sum(axis=1))
        assert found.mean[:, g] == pytest.approx(moved[:, group == g] @ x[group == g] / found.mass[:, g, None])
    assert np.isnan(found.mean[:, 3]).all()


def test_worked_rankings_and_owners():
    """measures.md 2.4: ranks (1234)(1324)(2134): mean rho .6667, W .7778; owners {CTO, CTO, CEO, CTO, CFO} -> .30."""
    z = unit_vectors([[1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 3, 4]])
    found = pair_sums(z, np.zeros(3, int), 1, np.arange(3), np.ones(3), np.ones((1, 3)))
    assert round(float(found.mean(0, 0)[0]), 4) == 0.6667
    assert round(float((found.totals.mean[0, 0] ** 2).sum()), 4) == 0.7778
    assert found.chance(0) == pytest.approx(1 / 3)
    owners = pair_sums(np.eye(3)[[0, 0, 1, 0, 2]], np.zeros(5, int), 1, np.arange(5), np.ones(5), np.ones((1, 5)))
    assert owners.mean(0, 0)[0] == pytest.approx(0.30)
    assert owners.mean(0, 0)[0] == pytest.approx(float(ag.pair_agreement([3, 1, 1])))


def test_without_clusters_it_is_the_mean_rank_correlation_of_kendall():
    rng = np.random.default_rng(5)
    ranks = rng.permuted(np.tile(np.arange(1, 7), (9, 1)), axis=1)
    z = unit_vectors(ranks)
    found = pair_sums(z, np.zeros(9, int), 1, np.arange(9), np.ones(9), np.ones((1, 9)))
    assert found.mean(0, 0)[0] == pytest.approx(float(ag.kendall_w(ranks).mean_spearman))


def test_a_group_from_one_organisation_has_no_pair_of_strangers():
    x = np.ones((4, 2))
    found = pair_sums(x, [0, 0, 1, 1], 2, [0, 0, 0, 1], np.ones(4), np.ones((2, 2)))
    assert np.isnan(found.mean(0, 0)).all()
    assert found.mean(0, 1) == pytest.approx([2.0, 2.0, 2.0])
    assert found.mean(1, 1) == pytest.approx([2.0, 2.0, 2.0])


def test_colleagues_who_agree_do_not_lift_what_strangers_share():
    """400 organisations whose members answer alike, each at random: strangers share nothing, the mean vector seems to."""
    rng = np.random.default_rng(2)
    values = []
    for _ in range(200):
        own = unit_vectors(rng.permuted(np.tile(np.arange(1, 6), (20, 1)), axis=1))
        cluster = np.repeat(np.arange(20), 5)
        found = pair_sums(own[cluster], np.zeros(100, int), 1, cluster, np.ones(100), np.ones((1, 20)))
        values.append((found.mean(0, 0)[0], (found.totals.mean[0, 0] ** 2).sum(), found.chance(0)))
    strangers, length, chance = np.mean(values, axis=0)
    assert abs(strangers) < 4 * np.std([v[0] for v in values]) / np.sqrt(200)
    assert length == pytest.approx(0.05, abs=0.006)
    assert chance == pytest.approx(0.05)


@pytest.mark.parametrize(
    "change", [{"vectors": [[1.0], [np.nan]]}, {"group": [0, 2]}, {"weight": [1.0, 0.0]}, {"cluster": [0]}]
)
def test_what_cannot_be_paired_is_refused(change):
    given = {"vectors": [[1.0], [2.0]], "group": [0, 1], "cluster": [0, 1], "weight": [1.0, 1.0]} | change
    with pytest.raises(DesignError, match="pairs are read from complete vectors"):
        pair_sums(given["vectors"], given["group"], 2, given["cluster"], given["weight"], np.ones((1, 2)))
