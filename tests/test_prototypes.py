"""Consensus mapping of clustered samples: levels by simulation, the descriptive form as oracle, invariance."""

import numpy as np
import pytest
from scipy import stats

from fieldwork.statistics import agreement as ag
from fieldwork.statistics.pairs import pair_sums
from fieldwork.statistics.prototypes import (
    consensus_map,
    no_difference_p,
    prototype_correlation,
    unit_vectors,
)
from fieldwork.statistics.replicates import cluster_keys, multipliers, named_stream


def rankings(rng, n, centre=None, organisation=None, items=7, shared=0.5):
    """Rankings of normal utilities, 1 the most important; colleagues share part of theirs."""
    utility = rng.standard_normal((n, items)) + (0.0 if centre is None else np.asarray(centre))
    if organisation is not None:
        utility += shared * rng.standard_normal((int(organisation.max()) + 1, items))[organisation]
    return np.argsort(np.argsort(-utility, axis=1), axis=1) + 1


def within_binomial_band(rejected, studies, level=0.05):
    return stats.binom.ppf(0.001, studies, level) <= rejected <= stats.binom.ppf(0.999, studies, level)


def test_vectors_are_centred_of_length_one_and_point_to_what_matters():
    z = unit_vectors([[1, 2, 3, 4], [2, 2, 2, 2], [1, 1, 3, 4], [1, np.nan, 2, 3]])
    assert np.isnan(z[[1, 3]]).all()
    assert z[[0, 2]].sum(axis=1) == pytest.approx([0, 0])
    assert (z[[0, 2]] ** 2).sum(axis=1) == pytest.approx([1, 1])
    assert (np.diff(z[0]) < 0).all()
    assert z[2, 0] == z[2, 1]


def test_test_of_no_difference_holds_its_level_among_colleagues_and_finds_what_is_there():
    rng = np.random.default_rng(12)
    organisation, role = np.repeat(np.arange(30), 3), np.tile([0, 1, 2], 30)
    weight = np.array([1.0, 2.0, 0.5])[role]
    rejected = 0
    for study in range(300):
        z = unit_vectors(rankings(rng, 90, organisation=organisation, shared=1.5))
        rejected += no_difference_p(z, role, weight, organisation, 199, named_stream(study, "null")) <= 0.05
    assert within_binomial_band(rejected, 300)
    own = np.eye(7)[role] * 1.2
    z = unit_vectors(rankings(rng, 90, centre=own, organisation=organisation))
    assert no_difference_p(z, role, weight, organisation, 999, named_stream(1, "there")) == 0.001


def test_test_of_no_difference_by_all_deals_of_a_tiny_study():
    """Two organisations of two: the statistic over the four equally likely deals, p = share at least as far."""
    z = unit_vectors([[1, 2, 3], [3, 2, 1], [1, 3, 2], [2, 1, 3]])
    role, organisation = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    found = []
    for first in (False, True):
        for second in (False, True):
            deal = np.array([1, 0] if first else [0, 1]), np.array([3, 2] if second else [2, 3])
            dealt = z[np.concatenate(deal)]
            middle = dealt.mean(axis=0)
            found.append(sum(2 * ((dealt[role == g].mean(axis=0) - middle) ** 2).sum() for g in (0, 1)))
    exact = np.mean(np.array(found) >= found[0] - 1e-12)
    drawn = no_difference_p(z, role, np.ones(4), organisation, 20_000, named_stream(3, "tiny"))
    assert drawn == pytest.approx(exact, abs=0.02)


def moments(z, weight):
    return np.einsum("n,np,nq->pq", weight, z, z) / weight.sum()


def test_the_map_is_that_of_the_descriptive_form_and_turned_replicates_lie_on_it():
    rng = np.random.default_rng(4)
    role = np.repeat(np.arange(3), 30)
    ranks = rankings(rng, 90, centre=np.eye(7)[role] * 2)
    z, weight = unit_vectors(ranks), rng.uniform(0.5, 2.0, 90)
    plain = ag.strategic_consensus(-ranks.astype(float), role, weight=weight)
    turn, mirror = np.array([[0.6, -0.8], [0.8, 0.6]]), np.diag([1.0, -1.0])
    prototypes = np.stack([plain.prototypes] * 3)
    found = consensus_map(np.stack([moments(z, weight)] * 3), prototypes)
    assert found.variance_kept == pytest.approx(plain.variance_kept)
    assert found.items[0] == pytest.approx(plain.items_map, abs=1e-9)
    assert found.prototypes[0] == pytest.approx(plain.prototypes_map, abs=1e-9)
    # Replicates that differ by the axes' signs and turn alone are no movement at all.
    assert found.items[1] == pytest.approx(found.items[0], abs=1e-9)
    values, axes = np.linalg.eigh(moments(z, weight))
    lead = axes[:, ::-1][:, :2] @ turn @ mirror
    even = (lead @ lead.T) * values[::-1][:2].mean() + (axes[:, :-2] * values[:-2]) @ axes[:, :-2].T
    turned = consensus_map(np.stack([moments(z, weight), even]), prototypes[:2])
    assert turned.items[1] == pytest.approx(turned.items[0], abs=1e-7)


def test_intervals_of_correlations_hold_their_level_where_roles_share_much_little_and_nothing():
    """Coverage in 250 studies of 60 organisations: at least .92; the whole range where a role shares nothing."""
    rng = np.random.default_rng(8)
    eye = np.eye(7)
    m = {seed: multipliers(cluster_keys([f"o{i}" for i in range(60)], seed), 200) for seed in range(5)}
    truth, sides = {}, {"much": (1.5 * eye[0], eye[0] + eye[1]), "little": (0.7 * eye[0], 0.7 * eye[5])}
    for name, (a, b) in sides.items():
        z = [unit_vectors(rankings(rng, 200_000, centre=side)).mean(axis=0) for side in (a, b)]
        truth[name] = float(z[0] @ z[1] / np.sqrt((z[0] @ z[0]) * (z[1] @ z[1])))
    for name, (a, b) in sides.items():
        covered = []
        for study in range(250):
            z = np.vstack([unit_vectors(rankings(rng, 60, centre=side)) for side in (a, b)])
            found = pair_sums(z, np.repeat([0, 1], 60), 2, np.tile(np.arange(60), 2), np.ones(120), m[study % 5])
            if min(found.mean(0, 0)[0], found.mean(1, 1)[0]) <= 0:
                continue
            interval = prototype_correlation(found.mean(0, 1), found.mean(0, 0), found.mean(1, 1), 60)
            assert -1 <= interval.conf_low <= interval.conf_high <= 1
            covered.append(interval.conf_low <= truth[name] <= interval.conf_high)
        assert len(covered) > 200
        assert np.mean(covered) >= 0.92, name
    nothing = np.zeros(201)
    nothing[1:] = rng.normal(scale=0.02, size=200)
    interval = prototype_correlation(nothing, np.full(201, 0.1), np.full(201, 1e-4) + nothing, 60)
    assert (interval.conf_low, interval.conf_high) == (-1.0, 1.0)


def test_draws_of_a_correlation_agree_with_its_interval():
    rng = np.random.default_rng(3)
    a, b, c = (np.r_[value, value + 0.02 * rng.standard_normal(999)] for value in (0.15, 0.3, 0.25))
    found = prototype_correlation(a, b, c, 50)
    assert np.quantile(found.draws, [0.025, 0.975]) == pytest.approx([found.conf_low, found.conf_high], abs=0.01)
    assert np.corrcoef(found.draws, -(a[1:] - a[0]))[0, 1] > 0.5
