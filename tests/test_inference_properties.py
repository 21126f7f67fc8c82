"""What must not move an inference, what must, and within which bounds: intervals, tests, ranks, replicates, regressions.

The half of `test_index_properties` that is about what samples say; there the last test counts both.
"""

import itertools
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import proportion as library

from fieldwork.statistics import CumulativeLinkMixedModel
from fieldwork.statistics import agreement as ag
from fieldwork.statistics import intervals as iv
from fieldwork.statistics import multiplicity as mp
from fieldwork.statistics import multiresponse as mr
from fieldwork.statistics import proportion as pn
from fieldwork.statistics import prototypes as pt
from fieldwork.statistics import regressions as rg
from fieldwork.statistics import replicates as rp
from fieldwork.statistics import within_team as wt
from fieldwork.statistics.cluster_variance import cluster_variance
from fieldwork.statistics.cumulative_links import LINKS, link_named
from fieldwork.statistics.imputation import hot_deck, pooled
from fieldwork.statistics.ordinal_means import answer_probabilities
from fieldwork.statistics.pairs import group_totals
from fieldwork.statistics.proportional_odds import proportional_odds_test
from fieldwork.statistics.rank_correlation import correlation_interval
from fieldwork.statistics.ranks import normal_errors, rank_curves, rank_sets

seeds = st.integers(0, 2**32 - 1)
units = st.floats(0.05, 20)
shifts = st.floats(-50, 50)


def generator(seed):
    return np.random.default_rng(seed)


def covariance_of(rng, groups):
    root = rng.normal(size=(groups, groups + 2))
    return root @ root.T / groups


# ------------------------------------------------------------------------------------------- tests, families and verdicts


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), min_size=1), seeds)
@settings(deadline=None)
def test_adjusted_p_values_are_bounded_keep_their_order_and_ignore_that_of_the_claims(p_values, seed):
    size = len(p_values) + 2
    keys = list(p_values)
    order = [keys[i] for i in generator(seed).permutation(len(keys))]
    for adjust in (partial(mp.holm, family_size=size), partial(mp.benjamini_hochberg, family_size=size)):
        found = adjust(p_values)
        assert all(p_values[k] - 1e-15 <= found[k] <= 1 for k in keys)
        assert adjust({k: p_values[k] for k in order}) == pytest.approx(found)
        ranked = sorted(keys, key=p_values.get)
        assert all(found[a] <= found[b] + 1e-15 for a, b in pairwise(ranked))


@given(st.floats(-3, 3), st.floats(0.01, 1), st.integers(3, 200), st.floats(0.05, 1.5))
@settings(deadline=None)
def test_verdicts_turn_with_the_direction(estimate, error, df, margin):
    one, other = (mp.three_sided_p(sign * estimate, error, df, margin) for sign in (1, -1))
    assert (one.below, one.within, one.above) == pytest.approx((other.above, other.within, other.below), abs=1e-12)
    low, high = estimate - 2 * error, estimate + 2 * error
    verdict = mp.three_sided(low, high, margin)
    assert mp.three_sided(-high, -low, -margin, direction="below") == verdict
    # A harder margin never turns a claim into a supported one.
    if verdict != "supported":
        assert mp.three_sided(low, high, margin + 0.1) != "supported"


@given(seeds, units)
@settings(deadline=None, max_examples=8)
def test_proportional_odds_is_tested_alike_whatever_the_order_of_rows_and_the_unit_of_weights(seed, unit):
    rng = generator(seed)
    x = rng.integers(0, 2, (300, 1)).astype(float)
    firm = rng.integers(0, 40, 300)
    y = np.digitize(0.5 * x[:, 0] + rng.logistic(size=300), [-1, 0.3, 1.5])
    w = rng.uniform(0.5, 1.5, 300)
    order = rng.permutation(300)
    plain = proportional_odds_test(y, x, firm, tested=[0], weights=w)
    other = proportional_odds_test(y[order], 1 - x[order], 99 - firm[order], tested=[0], weights=unit * w[order])
    assert other.statistic == pytest.approx(plain.statistic, rel=1e-5)
    assert other.df == plain.df
    assert 0 <= plain.p_value <= 1
    turned = proportional_odds_test(3 - y, x, firm, tested=[0], weights=w)
    assert turned.statistic == pytest.approx(plain.statistic, rel=1e-5)


@given(st.integers(2, 7), st.sampled_from([2, 5, 7]), st.sampled_from(["uniform", "slight_skew"]))
@settings(deadline=None, max_examples=20)
def test_chance_is_a_distribution_and_milder_values_are_likelier(people, points, null):
    assume(null == "uniform" or points == 5)
    assert ag.null_shares(points, null).sum() == pytest.approx(1.0)
    drawn = ag.null_distribution(ag.van_der_eijk_a, people, points, null=null)
    assert drawn.probability.sum() == pytest.approx(1.0)
    assert (drawn.probability >= 0).all()
    tail = [drawn.p_value(value) for value in np.sort(drawn.value)]
    assert (np.diff(tail) <= 1e-12).all()
    assert tail[0] == pytest.approx(1.0)
    if null == "uniform" and points == 5:
        levels = [float(ag.critical_values(ag.r_wg, [people], 5, level=level)[0]) for level in (0.10, 0.05, 0.01)]
        known = [value for value in levels if not np.isnan(value)]
        assert known == sorted(known), "a stricter level needs more agreement"


@given(seeds, units, shifts)
@settings(deadline=None, max_examples=6)
def test_consensus_is_judged_alike_whatever_the_order_of_rows_origin_and_unit(seed, unit, shift):
    rng = generator(seed)
    ranks = np.array([rng.permutation(4) for _ in range(12)]) + 1.0
    group = np.repeat(["CFO", "CTO"], 6)
    order = rng.permutation(12)
    plain = ag.consensus_test(ranks, group, draws=49)
    other = ag.consensus_test(unit * ranks[order] + shift, group[order], draws=49)
    assert np.array_equal(plain.alpha_p, other.alpha_p)
    assert np.array_equal(plain.between_p, other.between_p, equal_nan=True)
    assert ((plain.alpha_p > 0) & (plain.alpha_p <= 1)).all()


# ------------------------------------------------------------------------------------------------------------------ ranks


@given(seeds, units)
@settings(deadline=None, max_examples=25)
def test_rank_sets_widen_with_the_errors_and_drawn_errors_follow_their_covariance(seed, unit):
    rng = generator(seed)
    estimates = rng.normal(size=5)
    V = 0.1 * covariance_of(rng, 5)
    errors = normal_errors(V, 2000, seed=1)
    assert np.array_equal(errors, normal_errors(V, 2000, seed=1))
    assert normal_errors(unit**2 * V, 2000, seed=1) == pytest.approx(unit * errors, abs=1e-9 * unit)
    assert np.cov(errors, rowvar=False) == pytest.approx(V, abs=6 * np.abs(V).max() / np.sqrt(2000))
    narrow, wide = rank_sets(estimates, errors), rank_sets(estimates, 2.0 * errors)
    assert (wide.rank_low <= narrow.rank_low).all()
    assert (wide.rank_high >= narrow.rank_high).all()
    assert np.array_equal(wide.rank, narrow.rank)


@given(seeds, shifts, units, st.floats(1.0, 3.0))
@settings(deadline=None, max_examples=40)
def test_curves_of_ranks_are_single_step_sets_and_ignore_names_origin_and_unit(seed, shift, unit, factor):
    rng = generator(seed)
    theta, errors = rng.normal(scale=rng.uniform(0.1, 3), size=5), rng.normal(size=(59, 5)) @ np.diag([1, 1, 0.5, 2, 1])
    found = rank_curves(theta, errors)
    observed = 1 + (theta[None, :] > theta[:, None]).sum(axis=1)
    assert (found.rank_low >= 1).all()
    assert (found.rank_low <= observed).all()
    assert (found.rank_high >= observed).all()
    assert (found.rank_high <= 5).all()
    # The sets of `rank_sets` are those of the draw whose critical value is the order statistic of the level.
    single = rank_sets(theta, errors, level=0.9, step_down=False)
    assert np.sort(found.rank_low, axis=0)[::-1][53].tolist() == single.rank_low.tolist()
    assert np.sort(found.rank_high, axis=0)[53].tolist() == single.rank_high.tolist()
    order, draws = rng.permutation(5), rng.permutation(59)
    other = rank_curves(unit * theta[order] + shift, unit * errors[draws][:, order])
    assert np.array_equal(other.rank_low, found.rank_low[draws][:, order])
    assert np.array_equal(other.rank_high, found.rank_high[draws][:, order])
    turned = rank_curves(-theta, errors)
    assert np.array_equal(turned.rank_low, 6 - found.rank_high)
    noisier = rank_curves(theta, factor * errors)
    assert (noisier.rank_low <= found.rank_low).all()
    assert (noisier.rank_high >= found.rank_high).all()
    exact = rank_curves(theta, covariance=np.eye(5), draws=40)
    assert (np.diff(exact.rank_low, axis=0) <= 0).all()
    assert (np.diff(exact.rank_high, axis=0) >= 0).all()
    fewer = rank_curves(theta, covariance=np.eye(5), draws=40, df=6)
    # Bonferroni over the twenty ordered pairs, at each draw's level, by Student's tail of each difference.
    for b, level in enumerate((np.arange(40) + 0.5) / 40):
        sure = stats.t.sf((theta[:, None] - theta) / np.sqrt(2), 6) < (1 - level) / 20
        assert fewer.rank_low[b].tolist() == (1 + sure.sum(axis=0)).tolist()
        assert fewer.rank_high[b].tolist() == (5 - sure.sum(axis=1)).tolist()
    assert (fewer.rank_low <= exact.rank_low).all()
    assert (fewer.rank_high >= exact.rank_high).all()


# ---------------------------------------------------------------------------------------------------------- proportions


@given(st.integers(1, 38), st.floats(0.6, 2.5), st.integers(3, 40))
@settings(deadline=None)
def test_intervals_of_proportions_mirror_and_move_with_the_share(hits, factor, clusters):
    def at(k):
        p = k / 40
        return pn.korn_graubard(p, factor * np.sqrt(p * (1 - p) / 40), 40, clusters)

    plain, mirrored = at(hits), at(40 - hits)
    assert mirrored.conf_low == pytest.approx(1 - plain.conf_high, abs=1e-9)
    assert mirrored.conf_high == pytest.approx(1 - plain.conf_low, abs=1e-9)
    assert at(hits + 1).conf_low >= plain.conf_low - 1e-12
    assert at(hits + 1).conf_high >= plain.conf_high - 1e-12


sizes = st.integers(4, 120)


@given(st.data(), sizes, st.floats(0.3, 6.0))
@settings(deadline=None)
def test_an_effective_sample_gives_the_standard_error_back_and_is_never_more_than_there_are(data, n, factor):
    p = data.draw(st.integers(0, n)) / n
    se = factor * np.sqrt(p * (1 - p) / n)
    found = float(pn.effective_sample(p, se, n))
    assert 0 < found <= n
    if 0 < p < 1 and factor > 1:
        assert np.sqrt(p * (1 - p) / found) == pytest.approx(se)
        t = stats.t.ppf(0.975, [n - 1, 19])
        assert pn.korn_graubard(p, se, n, 20).n_effective == pytest.approx(min(n, found * (t[0] / t[1]) ** 2))
    else:
        assert found == pytest.approx(n)
    assert float(pn.effective_sample(1 - p, se, n)) == pytest.approx(found)
    assert float(pn.effective_sample(p, 1.5 * se, n)) <= found
    assert pn.effective_sample([p, p], se, [n, 2 * n]) == pytest.approx(
        [found, float(pn.effective_sample(p, se, 2 * n))]
    )


@given(st.data(), sizes, st.floats(0.01, 0.99))
@settings(deadline=None)
def test_score_limits_of_a_share_are_those_of_the_library_and_rise_with_share_and_level(data, n, level):
    hits = data.draw(st.integers(0, n))
    z = stats.norm.ppf(0.5 + level / 2)
    found = pn.wilson_quantile(hits / n, n, [-z, z])
    assert found == pytest.approx(library.proportion_confint(hits, n, 1 - level, "wilson"), abs=1e-9)
    assert 0 <= found[0] <= hits / n + 1e-12
    assert hits / n - 1e-12 <= found[1] <= 1
    assert pn.wilson_quantile(1 - hits / n, n, [z, -z]) == pytest.approx(1 - found)
    curve = pn.wilson_quantile(hits / n, n, np.linspace(-3, 3, 25))
    assert (np.diff(curve) >= -1e-12).all()
    more = pn.wilson_quantile((hits + 1) / (n + 1), n, [-z, z])
    assert (more >= found - 1e-12).all()
    wider = pn.wilson_quantile(hits / n, n / 2, [-z, z])
    assert wider[1] - wider[0] > found[1] - found[0] or {*found} & {0.0, 1.0}


@given(st.data(), sizes, sizes, st.floats(0.5, 0.99), st.floats(0.0, 0.9))
@settings(deadline=None)
def test_a_difference_of_shares_is_newcombe_s_turns_with_its_sides_and_narrows_as_they_move_together(
    data, n, m, level, rho
):
    x, y = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    z = stats.norm.ppf(0.5 + level / 2)
    found = pn.difference_quantile(x / n, y / m, n, m, [-z, z], [-z, z])
    assert found == pytest.approx(
        library.confint_proportions_2indep(x, n, y, m, method="newcomb", compare="diff", alpha=1 - level), abs=1e-9
    )
    assert -1 <= found[0] <= x / n - y / m <= found[1] <= 1
    turned = pn.difference_quantile(y / m, x / n, m, n, [z, -z], [z, -z])
    assert turned == pytest.approx(-found)
    together = pn.difference_quantile(x / n, y / m, n, m, [-z, z], [-z, z], rho)
    assert found[0] <= together[0] + 1e-12
    assert together[1] <= found[1] + 1e-12
    levels = np.linspace(-3, 3, 25)
    assert (np.diff(pn.difference_quantile(x / n, y / m, n, m, levels, levels)) >= -1e-12).all()


@given(st.data(), sizes, sizes, st.floats(0.5, 0.99), st.floats(0.0, 0.9))
def test_a_difference_of_exact_intervals_turns_with_its_sides_and_narrows_as_they_move_together(data, n, m, level, rho):
    x, y = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    one, two = pn.korn_graubard(x / n, 0.0, n, n), pn.korn_graubard(y / m, 0.0, m, m)
    ends = [0.5 - level / 2, 0.5 + level / 2]
    found = pn.interval_difference(one, two, ends)
    assert -1 <= found[0] <= x / n - y / m <= found[1] <= 1
    assert pn.interval_difference(two, one, ends)[::-1] == pytest.approx(-found)
    nothing = pn.korn_graubard(
        0.0, 0.0, 10**9, 10**9
    )  # beside a share that is sure to be nil: the interval of the other
    assert pn.interval_difference(one, nothing, ends) == pytest.approx(one.quantile(ends), abs=1e-6)
    together = pn.interval_difference(one, two, ends, rho)
    assert found[0] <= together[0] + 1e-12
    assert together[1] <= found[1] + 1e-12


@given(seeds, st.integers(3, 60), st.floats(0.1, 10.0))
def test_the_correlation_of_layers_is_that_of_their_errors(seed, replicates, unit):
    rng = generator(seed)
    first, second = rng.normal(size=(2, 1 + replicates, 2))
    found = pn.layer_correlation(first, second)
    e, f = first[1:] - first[0], second[1:] - second[0]
    by_hand = [e[:, j] @ f[:, j] / np.sqrt(e[:, j] @ e[:, j] * (f[:, j] @ f[:, j])) for j in range(2)]
    assert found == pytest.approx(by_hand)
    assert (np.abs(found) <= 1 + 1e-12).all()
    order = np.r_[0, 1 + rng.permutation(replicates)]
    assert pn.layer_correlation(second[order], unit * first[order] + 3.0) == pytest.approx(found)
    assert pn.layer_correlation(first, -first) == pytest.approx([-1.0, -1.0])
    assert pn.layer_correlation(first, np.ones_like(first)) == pytest.approx([0.0, 0.0])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(any), min_size=1, max_size=5), seeds)
@settings(deadline=None)
def test_a_bound_of_the_largest_share_is_the_largest_exact_bound_at_the_family_s_level(sides, seed):
    """Clopper and Pearson (1934), Bonferroni: each share at the level divided by the number of shares."""
    hits, misses = np.array(sides).T
    n, k = hits + misses, len(sides)
    for level in (0.8, 0.95, 0.99):
        bounds = [library.proportion_confint(h, m, 2 * (1 - level) / k, "beta") for h, m in zip(hits, n, strict=True)]
        low, high = pn.largest_share_quantile(hits / n, n, [1 - level, level], family_size=k)
        assert high == pytest.approx(max(bound[1] for bound in bounds), abs=1e-9)
        assert low == pytest.approx(max(bound[0] for bound in bounds), abs=1e-9)
        assert 0 <= low <= (hits / n).max() <= high <= 1
        more = pn.largest_share_quantile(hits / n, n, [1 - level, level], family_size=k + 3)
        assert more[0] <= low
        assert more[1] >= high
    levels = np.linspace(0.02, 0.98, 49)
    curve = pn.largest_share_quantile(hits / n, n, levels, family_size=k)
    assert (np.diff(curve) >= -1e-12).all()
    order = generator(seed).permutation(k)
    assert np.array_equal(pn.largest_share_quantile((hits / n)[order], n[order], levels, family_size=k), curve)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=20), st.integers(1, 5))
@settings(deadline=None)
def test_places_of_replicates_are_their_ranks(values, unit):
    draws = np.array(values, dtype=float)
    found = pn.replicate_places(draws)
    assert found == pytest.approx((stats.rankdata(draws, method="ordinal") - 0.5) / len(draws))
    assert np.array_equal(pn.replicate_places(unit * draws**3 + 7), found), "only the order counts"
    both = pn.replicate_places(np.column_stack([draws, -np.arange(len(draws))]))
    assert np.array_equal(both[:, 0], found)
    assert np.array_equal(both[:, 1], np.sort(found)[::-1])


# ------------------------------------------------------------------------------------------------- replicates, intervals


@given(seeds, shifts, units)
@settings(deadline=None, max_examples=30)
def test_inference_follows_origin_and_unit_and_ignores_the_order_of_replicates(seed, shift, unit):
    rng = generator(seed)
    layers = rng.normal(size=(41, 3))
    order = np.r_[0, 1 + rng.permutation(40)]
    found, other = rp.infer(layers, [8, 20, 40]), rp.infer(unit * layers[order] + shift, [8, 20, 40])
    assert other.std_error == pytest.approx(unit * found.std_error, rel=1e-6)
    assert other.conf_low == pytest.approx(unit * found.conf_low + shift, abs=1e-6 * max(unit, 1) + 1e-6)
    assert (found.conf_low <= found.estimate).all()
    assert (found.conf_high >= found.estimate).all()
    fewer = rp.infer(layers, [4, 10, 20])
    assert (fewer.conf_high - fewer.conf_low > found.conf_high - found.conf_low).all(), "fewer organisations know less"


@given(st.integers(2, 500), st.integers(1, 50), st.floats(0.5, 0.98))
@settings(deadline=None)
def test_small_sample_factors_fall_to_one_as_clusters_grow(clusters, more, level):
    factors, scales = (
        rp.small_sample_factor([clusters, clusters + more]),
        rp.t_scale([clusters, clusters + more], level),
    )
    assert factors[0] > factors[1] > 1
    assert scales[0] > scales[1] > 1
    assert rp.t_scale([clusters], level + 0.01)[0] > scales[0]


@given(seeds, st.integers(0, 2**62))
@settings(deadline=None, max_examples=25)
def test_totals_add_over_cells_and_ignore_names_of_clusters_and_split_rows(seed, root):
    rng = generator(seed)
    cluster, cell, weight = rng.integers(0, 8, 50), rng.integers(0, 4, 50), rng.uniform(0.2, 2, 50)
    m = rp.multipliers(rp.cluster_keys([f"o{i}" for i in range(8)], root), 12)
    fine = rp.replicated_totals([cell], cluster, weight, m)
    coarse = rp.replicated_totals([np.zeros(50, int)], cluster, weight, m)
    assert fine.weight.sum(axis=1) == pytest.approx(coarse.weight[:, 0])
    assert coarse.weight[1:, 0] == pytest.approx(m @ np.bincount(cluster, weight, 8))
    order = rng.permutation(8)
    renamed = rp.replicated_totals([cell], np.argsort(order)[cluster], weight, m[:, order])
    assert renamed.weight == pytest.approx(fine.weight)
    part = rng.uniform(0.1, 0.9, 50)
    halves = rp.replicated_totals([np.tile(cell, 2)], np.tile(cluster, 2), np.r_[weight * part, weight * (1 - part)], m)
    assert halves.weight == pytest.approx(fine.weight)
    stream = rp.named_stream(root, "a").random(3)
    assert np.array_equal(stream, rp.named_stream(root, "a").random(3))
    assert not np.array_equal(stream, rp.named_stream(root, "b").random(3))


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_stratified_replicates_hold_each_stratums_total_and_ignore_its_name(seed):
    rng = generator(seed)
    stratum = np.repeat(["x", "y", "z"], [4, 5, 6])
    m = rp.multipliers(rp.cluster_keys([f"o{i}" for i in range(15)], 3), 30)
    centred = rp.stratified_multipliers(m, stratum)
    for name, size in (("x", 4), ("y", 5), ("z", 6)):
        assert centred[:, stratum == name].sum(axis=1) == pytest.approx(size)
    renamed = np.array([{"x": "c", "y": "a", "z": "b"}[s] for s in stratum])
    assert rp.stratified_multipliers(m, renamed) == pytest.approx(centred)
    keys = rp.cluster_keys([f"o{i}" for i in range(15)], 3)
    weight = np.rint(rng.uniform(1, 9, 15))
    sums = {
        name: rp.CellSums.empty(1, 30, grid=1.0).add(
            rp.Partition(keys[stratum == name], np.arange(size), np.zeros(size, int), weight[stratum == name])
        )
        for name, size in (("x", 4), ("y", 5), ("z", 6))
    }
    assert rp.stratified_totals(sums).weight[1:, 0] == pytest.approx(centred @ weight)
    turned = dict(reversed([(name.upper(), part) for name, part in sums.items()]))
    assert rp.stratified_totals(turned).weight == pytest.approx(rp.stratified_totals(sums).weight)


@given(seeds, shifts, units)
@settings(deadline=None)
def test_the_jackknife_ignores_order_and_its_acceleration_origin_and_unit(seed, shift, unit):
    rng = generator(seed)
    totals = rng.exponential(size=(12, 2))
    left = iv.leave_one_out(totals)
    assert left + totals == pytest.approx(np.broadcast_to(totals.sum(axis=0), totals.shape))
    order = rng.permutation(12)
    assert iv.leave_one_out(totals[order]) == pytest.approx(left[order])
    found = iv.acceleration(left)
    assert iv.acceleration(unit * left[order] + shift) == pytest.approx(found, abs=1e-6)
    assert iv.acceleration(-left) == pytest.approx(-found, abs=1e-12)
    assert (np.abs(found) <= 1 / 6).all(), "sum d^3 is at most (sum d^2)^1.5"


# ------------------------------------------------------------------------------------------------- correlations of groups


@given(seeds, st.floats(-0.97, 0.97), st.integers(5, 60))
@settings(deadline=None)
def test_an_interval_of_a_correlation_is_fisher_s_and_turns_with_its_sign(seed, r, clusters):
    rng = generator(seed)
    layers = np.r_[r, np.tanh(np.arctanh(r) + rng.normal(scale=0.2, size=30))]
    found = correlation_interval(layers, clusters)
    z = np.arctanh(layers)
    half = stats.t.ppf(0.975, clusters - 1) * np.sqrt(np.mean((z[1:] - z[0]) ** 2)) * np.sqrt(clusters / (clusters - 1))
    assert (found.conf_low, found.conf_high) == pytest.approx((np.tanh(z[0] - half), np.tanh(z[0] + half)))
    assert -1 <= found.conf_low <= found.estimate <= found.conf_high <= 1
    assert (np.abs(found.draws) <= 1).all()
    turned = correlation_interval(-layers, clusters)
    assert (turned.conf_low, turned.conf_high) == pytest.approx((-found.conf_high, -found.conf_low))
    assert turned.std_error == pytest.approx(found.std_error)
    order = rng.permutation(30)
    mixed = correlation_interval(np.r_[r, layers[1:][order]], clusters)
    assert mixed.draws == pytest.approx(found.draws[order])
    fewer = correlation_interval(layers, clusters - 2)
    assert fewer.conf_low < found.conf_low
    assert fewer.conf_high > found.conf_high
    # A layer without variation says nothing, as if it were the observed one.
    gap = layers.copy()
    gap[3] = np.nan
    still = np.where(np.isnan(gap), r, gap)
    assert correlation_interval(gap, clusters).conf_high == correlation_interval(still, clusters).conf_high
    assert np.isnan(correlation_interval(np.r_[1.0, layers[1:]], clusters).conf_low)


@given(seeds, st.floats(-1.0, 1.0), units, st.integers(6, 60))
@settings(deadline=None)
def test_a_correlation_of_prototypes_is_inside_its_interval_whatever_the_unit_and_the_sides(seed, r, unit, clusters):
    rng = generator(seed)
    lengths = rng.uniform(0.2, 0.5, 2)
    centre = np.r_[r * np.sqrt(lengths.prod()), lengths]
    layers = np.vstack([centre, centre + rng.normal(scale=0.03, size=(60, 3))]).T
    found = pt.prototype_correlation(*layers, clusters)
    step = 2 / 800
    assert -1 <= found.conf_low <= r + step
    assert r - step <= found.conf_high <= 1
    assert ((found.draws >= -1) & (found.draws <= 1)).all()
    rho = np.linspace(-1, 1, 2001)
    length = np.sqrt(np.clip(layers[1], 0, None) * np.clip(layers[2], 0, None))
    T = layers[0] - rho[:, None] * length
    se = np.sqrt(np.mean((T[:, 1:] - T[:, :1]) ** 2, axis=1) * clusters / (clusters - 1))
    kept = rho[np.abs(T[:, 0]) <= stats.t.ppf(0.975, clusters - 1) * se]
    assert (found.conf_low, found.conf_high) == pytest.approx((kept.min(), kept.max()), abs=2 * step)
    other = pt.prototype_correlation(*(unit * layers)[[0, 2, 1]], clusters)
    assert (other.conf_low, other.conf_high) == pytest.approx((found.conf_low, found.conf_high), abs=1e-6)
    turned = pt.prototype_correlation(-layers[0], *layers[1:], clusters)
    assert (turned.conf_low, turned.conf_high) == pytest.approx((-found.conf_high, -found.conf_low), abs=step)
    fewer = pt.prototype_correlation(*layers, clusters - 3)
    assert fewer.conf_low <= found.conf_low + step
    assert fewer.conf_high >= found.conf_high - step
    order = rng.permutation(60)
    mixed = pt.prototype_correlation(*layers[:, np.r_[0, 1 + order]], clusters)
    assert mixed.draws == pytest.approx(found.draws[order], abs=1e-6)
    # Fieller (1954): two groups that share nothing leave every correlation open; known without error, none but one.
    layers[1:, 0] = layers[0, 0] = 0.0
    nothing = pt.prototype_correlation(*layers, clusters)
    assert (nothing.conf_low, nothing.conf_high) == (-1.0, 1.0)
    sure = pt.prototype_correlation(*np.repeat(centre[:, None], 9, axis=1), clusters)
    assert (sure.conf_low, sure.conf_high) == pytest.approx((r, r), abs=step)


@given(seeds, st.integers(-6, 6))
@settings(deadline=None, max_examples=25)
def test_no_difference_is_judged_by_all_deals_of_two_teams_whatever_the_names_and_the_unit(seed, power):
    rng = generator(seed)
    z = pt.unit_vectors(rng.permuted(np.tile(np.arange(4.0), (6, 1)), axis=1))
    group, team, weight = np.array([0, 1, 2, 0, 1, 1]), np.repeat([0, 1], 3), rng.uniform(0.5, 2.0, 6)

    def between(dealt):
        centre = np.average(dealt, axis=0, weights=weight)
        means = [np.average(dealt[group == g], axis=0, weights=weight[group == g]) for g in range(3)]
        return sum(
            weight[group == g].sum() * ((mean - centre) ** 2).sum() for g, mean in zip(range(3), means, strict=True)
        )

    deals = [z[[*a, *b]] for a in itertools.permutations(range(3)) for b in itertools.permutations(range(3, 6))]
    exact = np.mean([between(dealt) >= between(z) - 1e-12 for dealt in deals])
    draws = 2000

    def p(vectors, names, weights, strata):
        return pt.no_difference_p(vectors, names, weights, strata, draws, np.random.default_rng(1))

    found = p(z, group, weight, team)
    assert abs(found - exact) <= 6 * np.sqrt(exact * (1 - exact) / draws) + 2 / draws
    assert 1 / (1 + draws) <= found <= 1
    # The same deals: powers of two do not round, and sorted names of teams keep their order.
    assert p(2.0**power * z, 2 - group, 2.0**power * weight, 10 * team - 3) == found
    order = rng.permutation(6)
    mixed = p(z[order], group[order], weight[order], 1 - team[order])
    assert abs(mixed - exact) <= 6 * np.sqrt(exact * (1 - exact) / draws) + 2 / draws
    assert p(np.repeat(z[:1], 6, axis=0), group, weight, team) == 1
    assert p(z, np.zeros(6, int), weight, team) == 1


# ------------------------------------------------------------------------------------------------------- inside one team


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=7), seeds, st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_flipped_signs_are_counted_one_by_one_and_a_larger_difference_is_never_likelier(differences, seed, more):
    """Fisher (1935)."""
    found = wt.sign_flip(differences)
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    as_far = sum(sum(s * d for s, d in zip(p, differences, strict=True)) >= sum(differences) for p in patterns)
    assert found == as_far / len(patterns)
    rng = generator(seed)
    mixed = np.r_[4.0 * np.array(differences)[rng.permutation(len(differences))], np.nan]
    assert wt.sign_flip(mixed) == found
    assert found + wt.sign_flip([-d for d in differences]) >= 1
    larger = list(differences)
    larger[int(rng.integers(len(larger)))] += more
    assert wt.sign_flip(larger) <= found


@given(st.integers(15, 24), st.data())
@settings(deadline=None, max_examples=15)
def test_drawn_signs_are_those_of_the_binomial(members, data):
    up = data.draw(st.integers(0, members))
    p = stats.binom.sf(up - 1, members, 0.5)
    draws = 4000
    found = wt.sign_flip(np.r_[np.ones(up), -np.ones(members - up)], draws=draws)
    assert abs(found - p) <= 6 * np.sqrt(p * (1 - p) / draws) + 2 / draws
    assert 1 / (1 + draws) <= found <= 1


@given(seeds, st.integers(2, 3), units)
@settings(deadline=None, max_examples=20)
def test_concordance_is_the_share_of_all_rankings_and_falls_as_one_joins_the_others(seed, members, unit):
    rng = generator(seed)
    ranks, draws = np.array([rng.permutation(3) + 1.0 for _ in range(members)]), 4000

    def share_of_all(given):
        sums = [((np.sum(deal, axis=0) - 2 * members) ** 2).sum() for deal in rankings_of(members)]
        return np.mean(np.array(sums) >= ((given.sum(axis=0) - 2 * members) ** 2).sum() - 1e-9)

    found, exact = wt.concordance_p(ranks, draws=draws), share_of_all(ranks)
    assert abs(found - exact) <= 6 * np.sqrt(exact * (1 - exact) / draws) + 2 / draws
    assert wt.concordance_p(unit * ranks**3, draws=draws) == found, "only the order of each counts"
    assert wt.concordance_p(-ranks, draws=draws) == found
    joined = np.vstack([ranks[:1]] * members)
    assert wt.concordance_p(joined, draws=draws) <= found
    assert share_of_all(joined) == pytest.approx(6.0 ** (1 - members))


def rankings_of(members):
    return itertools.product(list(itertools.permutations((1.0, 2.0, 3.0))), repeat=members)


# ------------------------------------------------------------------------------------------------------------ regressions


def regression_of(rng, n=40):
    group = np.r_[np.arange(3), rng.integers(0, 3, n - 3)]
    X = np.column_stack([np.ones(n), group == 1, group == 2, rng.normal(size=n)])
    return X, rng.uniform(0.3, 2.0, (3, n)), rng.permutation(n), rng.uniform(0.1, 0.9, n)


# The same groups with the last one as base, and the slope in another unit.
CODED = np.array([[1.0, 1, 1, 0], [-1, -1, -1, 0], [0, -1, 0, 0], [0, 0, 0, 2]])


def recoded(X):
    return np.column_stack([X[:, 0], X[:, 0] - X[:, 1] - X[:, 2], X[:, 1], 2 * X[:, 3]])


@given(seeds, shifts, units)
@settings(deadline=None, max_examples=40)
def test_least_squares_are_those_of_the_library_in_every_layer_however_rows_are_cut(seed, shift, unit):
    rng = generator(seed)
    X, weight, order, part = regression_of(rng)
    y = X @ rng.normal(size=4) + rng.normal(size=40)
    found = rg.least_squares(X, y, weight).coefficients
    for coefficients, w in zip(found, weight, strict=True):
        assert coefficients == pytest.approx(sm.WLS(y, X, w).fit().params, abs=1e-8)
    moved = rg.least_squares(X[order], unit * y[order] + shift, 3 * weight[:, order]).coefficients
    assert moved == pytest.approx(unit * found + np.array([shift, 0, 0, 0]), abs=1e-7)
    halves = np.hstack([weight * part, weight * (1 - part)])
    assert rg.least_squares(np.vstack([X, X]), np.r_[y, y], halves).coefficients == pytest.approx(found, abs=1e-8)
    other = rg.least_squares(recoded(X), y, weight).coefficients
    assert other @ recoded(X).T == pytest.approx(found @ X.T, abs=1e-8)


@given(seeds, units)
@settings(deadline=None, max_examples=25)
def test_ratios_of_means_are_those_of_the_library_and_know_no_unit(seed, unit):
    """Score equations: with a constant the weighted mean of the fit is that of the outcome (McCullagh and Nelder 1989)."""
    rng = generator(seed)
    X, weight, order, part = regression_of(rng)
    y = rng.poisson(np.exp(X @ [0.8, 0.4, -0.5, 0.3])).astype(float)
    y[:3] += 1
    found = rg.log_linear(X, y, weight).coefficients
    for coefficients, w in zip(found, weight, strict=True):
        fit = sm.GLM(y, X, sm.families.Poisson(), freq_weights=w).fit(tol=1e-12)
        assert coefficients == pytest.approx(fit.params, abs=1e-6)
        assert np.average(np.exp(X @ coefficients), weights=w) == pytest.approx(np.average(y, weights=w))
    moved = rg.log_linear(X[order], unit * y[order], 3 * weight[:, order]).coefficients
    assert moved == pytest.approx(found + np.array([np.log(unit), 0, 0, 0]), abs=1e-5)
    halves = np.hstack([weight * part, weight * (1 - part)])
    assert rg.log_linear(np.vstack([X, X]), np.r_[y, y], halves).coefficients == pytest.approx(found, abs=1e-6)
    assert rg.log_linear(recoded(X), y, weight).coefficients @ recoded(X).T == pytest.approx(found @ X.T, abs=1e-5)


@given(seeds, units)
@settings(deadline=None, max_examples=25)
def test_ratios_of_times_follow_the_unit_and_the_ends_and_are_those_of_the_library(seed, unit):
    rng = generator(seed)
    X, weight, order, part = regression_of(rng)
    time = np.exp(X @ [2.0, 0.3, -0.4, 0.2] + 0.6 * rng.normal(size=40))
    lower, upper = 0.8 * time, np.where(rng.random(40) < 0.2, np.inf, 1.25 * time)
    upper[:3] = 1.25 * time[:3]
    fit = rg.log_normal_times(X, lower, upper, weight)
    assert (fit.scale > 0).all()
    assert fit.parameters == 5

    def loss(coefficients, scale, w):
        above, below = (stats.norm.cdf((np.log(t) - X @ coefficients) / scale) for t in (upper, lower))
        return -(w * np.log(above - below)).sum()

    for coefficients, scale, w in zip(fit.coefficients, fit.scale, weight, strict=True):
        least = loss(coefficients, scale, w)
        for away in rng.normal(scale=0.02, size=(20, 5)):
            assert least <= loss(coefficients + away[:4], scale * np.exp(away[4]), w) + 1e-9
    moved = rg.log_normal_times(X[order], unit * lower[order], unit * upper[order], 3 * weight[:, order])
    assert moved.coefficients == pytest.approx(fit.coefficients + np.array([np.log(unit), 0, 0, 0]), abs=1e-5)
    assert moved.scale == pytest.approx(fit.scale, abs=1e-5)
    late = np.where(X[:, 1] == 1, 2.0, 1.0)
    slower = rg.log_normal_times(X, late * lower, late * upper, weight)
    assert slower.coefficients == pytest.approx(fit.coefficients + np.array([0, np.log(2), 0, 0]), abs=1e-5)
    halves = np.hstack([weight * part, weight * (1 - part)])
    cut = rg.log_normal_times(np.vstack([X, X]), np.r_[lower, lower], np.r_[upper, upper], halves)
    assert cut.coefficients == pytest.approx(fit.coefficients, abs=1e-5)
    ones = rg.log_normal_times(X[:, :1], lower, upper, np.ones((1, 40)))
    closed = np.isfinite(upper)
    times = np.column_stack([np.log(lower), np.log(upper)])
    known = stats.CensoredData(right=times[~closed, 0], interval=times[closed])
    assert (ones.coefficients[0, 0], ones.scale[0]) == pytest.approx(stats.norm.fit(known), abs=2e-3)


@given(seeds, shifts, units, st.integers(8, 60), st.integers(2, 5), st.integers(2, 70))
@settings(deadline=None)
def test_a_coefficient_is_less_sure_with_every_parameter_and_with_fewer_clusters_on_a_side(
    seed, shift, unit, clusters, parameters, fewest
):
    layers = generator(seed).normal(size=31)
    found = rg.regression_inference(layers, clusters, parameters)
    scatter = np.sqrt(np.mean((layers[1:] - layers[0]) ** 2))
    free = clusters - parameters
    assert found.std_error == pytest.approx(scatter * np.sqrt(clusters / free))
    half = stats.t.ppf(0.975, free) * found.std_error
    assert (found.conf_low, found.conf_high) == pytest.approx((layers[0] - half, layers[0] + half))
    moved = rg.regression_inference(unit * layers + shift, clusters, parameters)
    assert moved.std_error == pytest.approx(unit * found.std_error)
    assert moved.conf_low == pytest.approx(unit * found.conf_low + shift, abs=1e-9)
    more = rg.regression_inference(layers, clusters, parameters + 1)
    assert more.std_error > found.std_error
    assert more.conf_high > found.conf_high
    mean, known = rg.regression_inference(layers, clusters, 1), rp.infer(layers, clusters)
    assert (mean.conf_low, mean.std_error) == pytest.approx((known.conf_low, known.std_error))
    thin = rg.regression_inference(layers, clusters, parameters, fewest=fewest)
    assert thin.conf_high >= found.conf_high - 1e-12
    if fewest <= free:
        assert thin.conf_high > found.conf_high
    else:
        assert np.array_equal(thin.draws, found.draws)


# ----------------------------------------------------------------------------------------- clusters, totals and imputation


def additive(rng, people=24, clusters=6):
    cluster = np.r_[np.arange(clusters), np.zeros(2, int), rng.integers(0, clusters, people - clusters - 2)]
    X = np.column_stack([np.ones(people), rng.normal(size=people)])
    y = rng.normal(size=clusters)[cluster] + X[:, 1] + rng.normal(size=people)
    return y, X, rng.uniform(0.5, 2.0, people), cluster


def fitted(y, X, weights):
    return np.array([np.linalg.solve(X.T @ (w[:, None] * X), X.T @ (w * y)) for w in weights])


@given(seeds, shifts, units)
@settings(deadline=None, max_examples=40)
def test_a_variance_between_clusters_solves_the_moments_of_loops_whatever_names_origin_and_unit(seed, shift, unit):
    rng = generator(seed)
    y, X, weight, cluster = additive(rng)
    m = np.vstack([np.ones(6), rng.exponential(size=(3, 6))])
    coefficients = fitted(y, X, np.vstack([weight, m[:, cluster] * weight]))
    found = cluster_variance(y, X, coefficients, weight, cluster, m)
    own = [np.flatnonzero(cluster == c) for c in range(6)]
    assert found.pairs == sum(len(rows) > 1 for rows in own)
    # By pairs of rows and n by n matrices: the two forms, and how much of either variance they hold in expectation.
    together = np.equal.outer(cluster, cluster).astype(float)
    M = np.eye(24) - X @ np.linalg.solve(X.T @ (weight[:, None] * X), (weight[:, None] * X).T)
    A, D = np.outer(weight, weight) * (together - np.eye(24)), np.diag(weight)
    expected = [[np.trace(M.T @ F @ M @ J) / F.sum() for J in (together, np.eye(24))] for F in (A, D)]
    for layer, (b, row) in enumerate(zip(coefficients, np.vstack([np.ones(6), m]), strict=True)):
        e, pairs, members = y - X @ b, np.zeros(2), np.zeros(2)
        for factor, rows in zip(row, own, strict=True):
            for i, j in itertools.permutations(rows, 2):
                pairs += factor * weight[i] * weight[j] * np.array([e[i] * e[j], 1.0])
            for i in rows:
                members += factor * weight[i] * np.array([e[i] ** 2, 1.0])
        by_hand = np.linalg.solve(expected, [pairs[0] / pairs[1], members[0] / members[1]])
        assert (found.between[layer], found.within[layer]) == pytest.approx(by_hand, abs=1e-9)
    assert found.between[1] == pytest.approx(found.between[0]), "a replicate of ones is the sample"
    order, names = rng.permutation(24), rng.permutation(6)
    columns = np.empty_like(m)
    columns[:, names] = m
    other = cluster_variance(
        unit * y[order] + shift, X[order], unit * coefficients + np.array([shift, 0]), 3 * weight[order], names[cluster][order],
        columns,
    )  # fmt: skip
    assert other.between == pytest.approx(unit**2 * found.between, rel=1e-6, abs=1e-6)
    assert other.within == pytest.approx(unit**2 * found.within, rel=1e-6, abs=1e-6)


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_questions_that_the_same_people_answered_are_each_as_it_is_alone(seed):
    rng = generator(seed)
    y, X, weight, cluster = additive(rng)
    m, factor, cell = rng.exponential(size=(3, 6)), rng.uniform(0.5, 2, (4, 2)), rng.integers(0, 2, 24)
    answers = np.column_stack([y, rng.normal(size=24)])
    layers = np.vstack([weight, m[:, cluster] * weight]) * factor[:, cell]
    coefficients = np.stack([fitted(one, X, layers) for one in answers.T])
    both = cluster_variance(answers, X, coefficients, weight, cluster, m, factor, cell)
    for k, one in enumerate(answers.T):
        alone = cluster_variance(one, X, coefficients[k], weight, cluster, m, factor, cell)
        assert both.pairs == alone.pairs
        assert both.between[k] == pytest.approx(alone.between, abs=1e-12)
        assert both.within[k] == pytest.approx(alone.within, abs=1e-12)


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_sums_of_amounts_are_those_of_their_rows_in_every_cell_and_layer(seed):
    rng = generator(seed)
    first, second, cluster = rng.integers(0, 3, 20), rng.integers(0, 2, 20), rng.integers(0, 6, 20)
    amounts, cell = rng.normal(size=(3, 20)), rng.integers(0, 2, 20)
    m, factor = rng.exponential(size=(3, 6)), rng.uniform(0.5, 2, (4, 2))
    keys = rp.cluster_keys(list("abcdef"), seed)
    for multiplier, held in ((m, m), (rp.Draws(keys, 3), rp.multipliers(keys, 3))):
        raked = rp.replicated_sums([first, second], cluster, amounts, multiplier, layer_factor=factor, factor_cell=cell)
        plain = rp.replicated_sums([first, second], cluster, amounts, multiplier)
        for (levels, sums, rows), factors in ((raked, factor), (plain, np.ones((4, 2)))):
            layer = np.vstack([np.ones(6), held])[:, cluster] * factors[:, cell]
            assert levels.tolist() == [list(pair) for pair in sorted(set(zip(first, second, strict=True)))]
            for f, (a, b) in enumerate(levels):
                own = (first == a) & (second == b)
                assert rows[f] == own.sum()
                assert sums[:, f] == pytest.approx(amounts[:, own] @ layer[:, own].T, abs=1e-9)


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_totals_of_groups_are_sums_over_their_rows_in_every_layer(seed):
    rng = generator(seed)
    x, group, cluster = rng.normal(size=(20, 3)), rng.integers(0, 4, 20), rng.integers(0, 6, 20)
    weight, cell = rng.uniform(0.2, 2, 20), rng.integers(0, 2, 20)
    m, factor = rng.exponential(size=(3, 6)), rng.uniform(0.5, 2, (4, 2))
    found = group_totals(x, group, 4, cluster, weight, m, layer_factor=factor, factor_cell=cell)
    for layer, row in enumerate(np.vstack([np.ones(6), m])):
        for g in range(4):
            own = [(weight[i] * row[cluster[i]] * factor[layer, cell[i]], x[i]) for i in np.flatnonzero(group == g)]
            assert found.mass[layer, g] == pytest.approx(sum(w for w, _ in own))
            assert found.total[layer, g] == pytest.approx(sum((w * v for w, v in own), start=np.zeros(3)), abs=1e-12)
    filled = found.mass[0] > 0
    assert np.isnan(found.mean[:, ~filled]).all()
    ends = [(x[group == g].min(axis=0), x[group == g].max(axis=0)) for g in np.flatnonzero(filled)]
    for mean, (low, high) in zip(found.mean[0, filled], ends, strict=True):
        assert (low - 1e-12 <= mean).all()
        assert (mean <= high + 1e-12).all()
    order, names, clusters, part = (
        rng.permutation(20),
        rng.permutation(4),
        rng.permutation(6),
        rng.uniform(0.1, 0.9, 20),
    )
    columns = np.empty_like(m)
    columns[:, clusters] = m
    other = group_totals(
        x[order], names[group][order], 4, clusters[cluster][order], weight[order], columns,
        layer_factor=factor[:, ::-1], factor_cell=1 - cell[order],
    )  # fmt: skip
    assert other.total[:, names] == pytest.approx(found.total, abs=1e-9)
    assert other.mass[:, names] == pytest.approx(found.mass)
    halves = group_totals(
        np.vstack([x, x]), np.tile(group, 2), 4, np.tile(cluster, 2), np.r_[weight * part, weight * (1 - part)], m,
        layer_factor=factor, factor_cell=np.tile(cell, 2),
    )  # fmt: skip
    assert halves.total == pytest.approx(found.total, abs=1e-9)
    assert halves.mass == pytest.approx(found.mass)


@given(seeds, st.floats(0.1, 0.9), st.integers(1, 6))
@settings(deadline=None)
def test_donors_answered_and_come_from_the_finest_cell_that_has_any(seed, share, step):
    rng = generator(seed)
    missing, asked = rng.random(30) < share, rng.random(30) < 0.9
    gives, takes = ~missing & asked, missing & asked
    assume(gives.any())
    coarse = rng.integers(0, 3, 30)
    cells = [3 * coarse + rng.integers(0, 3, 30), coarse]
    donor = hot_deck(missing, cells, generator(seed), asked=asked)
    assert np.array_equal(donor[~takes], np.flatnonzero(~takes)), "who need not take keeps the own answer, or none"
    for i in np.flatnonzero(takes):
        pools = [set(np.flatnonzero(gives & (cell == cell[i]))) for cell in [*cells, np.zeros(30, int)]]
        assert donor[i] in next(pool for pool in pools if pool)
    again = hot_deck(missing, [step * cell - 5 for cell in cells], generator(seed), asked=asked)
    assert np.array_equal(again, donor), "numbers of cells are but names"
    # What those who were not asked hold makes no difference.
    assert np.array_equal(hot_deck(missing | ~asked, cells, generator(seed), asked=asked), donor)


@given(seeds, shifts, units, st.integers(2, 6))
@settings(deadline=None)
def test_pooled_draws_have_rubin_s_variance_in_any_order_of_the_samples(seed, shift, unit, samples):
    """Rubin (1987): W + (1 + 1 / M) B."""
    rng = generator(seed)
    estimates, scatter = rng.normal(size=samples), rng.normal(size=(samples, 40))
    scatter -= scatter.mean(axis=1, keepdims=True)
    draws = estimates[:, None] + scatter
    found = pooled(estimates, list(draws))
    within, between = np.mean(draws.var(axis=1)), np.var(estimates, ddof=1)
    assert found.estimate == pytest.approx(estimates.mean())
    assert found.between == pytest.approx(between)
    assert found.draws.mean() == pytest.approx(found.estimate, abs=1e-12)
    assert found.draws.var() == pytest.approx(within + (1 + 1 / samples) * between)
    order = rng.permutation(samples)
    other = pooled(unit * estimates[order] + shift, list(unit * draws[order] + shift))
    assert np.sort(other.draws) == pytest.approx(np.sort(unit * found.draws + shift), abs=1e-9)
    apart = pooled(2 * estimates, list(2 * estimates[:, None] + scatter))
    assert apart.draws.var() > found.draws.var(), "samples that differ more say less"
    same = pooled(np.repeat(estimates[:1], samples), [draws[0]] * samples)
    assert same.draws == pytest.approx(np.tile(draws[0], samples), abs=1e-12)


# ---------------------------------------------------------------------------------------------------------- ordinal models


@given(
    st.sampled_from(list(LINKS)), st.floats(-4, 4), st.floats(0.01, 3), st.floats(0.0, 4.0),
    st.lists(st.floats(0.1, 2), min_size=1, max_size=5),
)  # fmt: skip
@settings(deadline=None)
def test_answers_move_up_with_their_predictor_and_towards_each_other_with_the_spread(link, eta, more, sd, gaps):
    """McCullagh (1980): P(Y <= j) falls in the predictor. Zeger, Liang and Albert (1988): averaging attenuates."""
    tau = np.cumsum([-1.5, *gaps])
    low, high = (answer_probabilities(link_named(link), tau, np.array([at]), sd)[0] for at in (eta, eta + more))
    assert low.sum() == pytest.approx(1.0)
    assert (low >= -1e-15).all()
    assert (np.cumsum(high)[:-1] <= np.cumsum(low)[:-1] + 1e-12).all()
    if link != "cloglog":
        half = answer_probabilities(link_named(link), np.zeros(1), np.array([abs(eta)]), sd)[0, 1]
        wider = answer_probabilities(link_named(link), np.zeros(1), np.array([abs(eta)]), sd + 0.5)[0, 1]
        assert 0.5 - 1e-12 <= wider <= half + 1e-12


LATENT = {"logit": stats.logistic, "probit": stats.norm, "cloglog": stats.gumbel_l}
FLOOR = np.log(1e-200)  # densities of the latent variable at points with less beyond them may underflow


@given(st.sampled_from(list(LINKS)), st.floats(-5, 5), st.floats(0.05, 5), st.floats(-3, 3))
@settings(deadline=None)
def test_log_probabilities_are_concave_in_the_predictor(link, low, gap, shift):
    """Pratt (1981), Burridge (1981): what makes the maximum unique. Strictly where either tail holds 1e-200 or more."""
    s = link_named(link).slopes(np.array([low + gap]), np.array([low]), np.array([shift]))
    assert s.log_p[0] < 0
    assert s.by_a[0] >= 0 >= s.by_b[0]
    assert s.upper[0] <= 0
    assert s.lower[0] <= 0
    above, below = LATENT[link].logsf(low + gap - shift), LATENT[link].logcdf(low - shift)
    if above > FLOOR:
        assert s.by_a[0] > 0 > s.upper[0]
    if below > FLOOR:
        assert s.by_b[0] < 0
        assert s.lower[0] < 0
    if min(above, below) > np.log(1e-4):
        assert np.exp(s.log_p[0]) == pytest.approx(-np.expm1(np.logaddexp(above, below)), rel=1e-8)


@given(seeds, st.sampled_from(list(LINKS)))
@settings(deadline=None, max_examples=8)
def test_a_fit_ignores_order_names_and_coding_and_predicts_probabilities(seed, link):
    rng = generator(seed)
    firm, role = np.repeat(np.arange(25), 6), rng.choice(["a", "b", "c"], 150)
    latent = rng.normal(size=25)[firm] + 0.6 * (role == "b") + rng.logistic(size=150)
    data = pd.DataFrame({"y": np.digitize(latent, [-1, 0.4, 1.8]), "role": role, "firm": firm})
    make = partial(CumulativeLinkMixedModel.from_formula, link=link)
    plain = make("y ~ role + (1 | firm)", data).fit()
    shuffled = data.sample(frac=1, random_state=1).assign(firm=lambda d: 99 - d["firm"])
    other = make("y ~ C(role, Treatment('c')) + (1 | firm)", shuffled).fit()
    assert other.llf == pytest.approx(plain.llf, abs=1e-7)
    assert other.predict().loc[data.index].to_numpy() == pytest.approx(plain.predict().to_numpy(), abs=1e-6)
    shares = plain.predict().to_numpy()
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert (shares > 0).all()
    part = rng.uniform(0.2, 0.8, 150)
    halves = pd.concat([data.assign(w=part), data.assign(w=1 - part)])
    assert make("y ~ role + (1 | firm)", halves, weights="w").fit().llf == pytest.approx(plain.llf, abs=1e-6)


# ------------------------------------------------------------------------------------------------ one group against others


@given(seeds, st.integers(2, 4), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=40)
def test_each_group_against_others_is_its_own_test_of_two_groups(seed, groups, gathered, stratified):
    """Weights, organisations, strata, items put to some alone, items that nobody cites: as `items_test`, group by group."""
    rng = generator(seed)
    n = 60
    cited = (rng.random((n, 4)) < [0.5, 0.3, 0.0, 0.7]).astype(float)
    label = np.array(list("abcd"))[rng.integers(0, groups, n)]
    cited[(label == "a") & (rng.random() < 0.5), 3] = np.nan
    cited[rng.random((n, 4)) < 0.1] = np.nan
    home = rng.integers(0, 15, n) if gathered else np.arange(n)
    design = {"weight": rng.uniform(0.2, 3, n), "cluster": home, "strata": home % 2 if stratified else None}
    labels, p = mr.each_against_others(cited, label, **design)
    assert list(labels) == sorted(set(label))
    for name, row in zip(labels, p, strict=True):
        expected = np.full(4, np.nan)
        if len(labels) > 1:
            test = mr.items_test(cited, label == name, **design)
            expected[[int(item) for item in test.items]] = test.item_p
        assert row == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)
    order, turned = rng.permutation(n), rng.permutation(4)
    mixed = {key: None if value is None else value[order] for key, value in design.items()}
    assert mr.each_against_others(cited[order][:, turned], label[order], **mixed)[1] == pytest.approx(
        p[:, turned], rel=1e-9, abs=1e-12, nan_ok=True
    )
