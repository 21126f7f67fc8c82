"""What takes the place of exact work where organisations are many: variance units, normal limits, terms of first order."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwork.constructs import readiness
from fieldwork.statistics import agreement, exchange, multiresponse, prototypes
from fieldwork.statistics import cluster_variance as module
from fieldwork.statistics.cluster_variance import cluster_variance
from fieldwork.statistics.exchange import exchanged_sums, movable
from fieldwork.statistics.influence_model import target_effects
from fieldwork.statistics.layers import Layers, layer_weights
from fieldwork.statistics.multiresponse import permutation_test
from fieldwork.statistics.rank_correlation import spearman
from fieldwork.statistics.regressions import least_squares, log_linear, log_normal_times
from fieldwork.statistics.replicates import (
    Draws,
    cluster_keys,
    distinct_rows,
    multipliers,
    replicated_totals,
    variance_units,
)


def keys_of(number, seed=3):
    return cluster_keys([f"o{i}" for i in range(number)], seed)


# ------------------------------------------------------------------------------------------------------ variance units


def test_a_unit_hangs_on_seed_and_name_alone():
    few, many = variance_units(keys_of(500), 3, 20), variance_units(keys_of(20000), 3, 20)
    assert np.array_equal(np.asarray(few), np.asarray(many[:, :500]))
    assert not np.array_equal(variance_units(keys_of(500, 4), 4, 20).member, few.member)
    sizes = np.bincount(many.member, minlength=4096)
    assert sizes.sum() == 20000
    assert 3 < sizes.var() < 7  # Poisson with mean 4.9


@given(st.sampled_from([1, 60, 5000]), st.integers(0, 3), st.integers(1, 9))
def test_draws_of_units_stand_for_their_array(clusters, first, count):
    whole = variance_units(keys_of(clusters), 3, first + count)
    drawn = whole[first:, :]
    array = np.asarray(whole)[first:]
    assert array.shape == drawn.shape == (count, clusters)
    assert set(np.unique(array)) <= set(np.unique(multipliers(keys_of(50), 50)))
    values = np.random.default_rng(1).normal(size=(clusters, 2))
    assert drawn @ values == pytest.approx(array @ values, rel=1e-9, abs=1e-9)
    assert np.array_equal(np.concatenate([block for _, block in drawn.blocks()], axis=1).T, array)
    assert np.array_equal(np.asarray(drawn[:, [0, -1]]), array[:, [0, -1]])
    cluster, code = np.arange(clusters).repeat(2), np.tile([0, 1], clusters)
    weight = np.random.default_rng(2).uniform(0.5, 2, 2 * clusters)
    found = replicated_totals([code], cluster, weight, drawn).weight
    assert found == pytest.approx(replicated_totals([code], cluster, weight, array).weight, rel=1e-9)


def test_the_standard_error_of_a_mean_is_that_of_its_organisations():
    """Twelve studies of 9,000 organisations: the mean ratio of variances is 1, and one ratio strays by 4% or so."""
    ratios = []
    for study in range(12):
        rng = np.random.default_rng(study)
        value = rng.normal(size=9000) + rng.gamma(0.5, 2.0, 9000)
        drawn = variance_units(keys_of(9000, study), study, 1000)
        means = (drawn @ value) / (drawn @ np.ones(9000))
        ratios.append(means.var() / (value.var(ddof=1) / 9000))
    assert abs(np.mean(ratios) - 1.0) < 0.05
    assert np.std(ratios) < 0.09  # sqrt(2 / 1000 + 2 / 4095) = 0.05


# ------------------------------------------------------------------------------------------------------- normal limits


def test_mean_and_covariance_are_those_of_all_arrangements():
    rng = np.random.default_rng(0)
    place, contents, block = rng.normal(size=(7, 2)), rng.normal(size=(7, 3)), np.array([0, 1, 0, 2, 1, 0, 1])
    rows = [np.flatnonzero(block == b) for b in range(3)]
    sums = []
    for deal in itertools.product(*(itertools.permutations(each) for each in rows)):
        to = np.empty(7, int)
        for each, dealt in zip(rows, deal, strict=True):
            to[each] = dealt
        sums.append((place.T @ contents[to]).ravel())
    sums = np.array(sums)
    assert len(sums) == 36
    drawn = exchanged_sums(place, contents, block, 400_000, rng).reshape(-1, 6)
    assert drawn.mean(axis=0) == pytest.approx(sums.mean(axis=0), abs=0.02)
    assert np.cov(drawn.T) == pytest.approx(np.cov(sums.T, ddof=0), abs=0.05)


def test_the_covariance_is_the_same_whichever_way_blocks_are_gone_through(monkeypatch):
    rng = np.random.default_rng(1)
    place, contents = rng.normal(size=(300, 3)), rng.normal(size=(300, 4))
    block = np.sort(np.r_[rng.integers(0, 60, 299), 99])
    starts = np.flatnonzero(np.r_[True, block[1:] != block[:-1]])
    n = np.diff(np.r_[starts, 300]).astype(float)
    found = []
    for few, at_once in ((100, 4_000_000), (0, 4_000_000), (0, 500)):
        monkeypatch.setattr(exchange, "_FEW", few)
        monkeypatch.setattr(exchange, "_BLOCK", at_once)
        found.append(exchange._covariance(place, contents, starts, n))
    assert found[1] == pytest.approx(found[0], abs=1e-9)
    assert found[2] == pytest.approx(found[0], abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(1, 8))
def test_equal_columns_are_one(seed, rows, columns):
    values = np.random.default_rng(seed).integers(0, 2, (rows, columns)).astype(float)
    first, which = exchange.distinct_columns(values)
    assert (np.diff(first) > 0).all()
    assert np.array_equal(values[:, first][:, which], values)
    assert len(np.unique(values[:, first], axis=1).T) == len(first)


def test_equal_contents_are_summed_once_and_stand_twice():
    rng = np.random.default_rng(3)
    n = rng.integers(2, 5, 300)
    starts = np.r_[0, np.cumsum(n)[:-1]]
    place, moved = np.eye(3)[rng.integers(0, 3, n.sum())], rng.normal(size=(n.sum(), 3))
    alone = exchange._covariance(place, moved, starts, n.astype(float)).reshape(3, 3, 3, 3)
    which = [2, 0, 1, 0, 2]
    twice = exchange._covariance(place, moved[:, which], starts, n.astype(float)).reshape(3, 5, 3, 5)
    assert twice == pytest.approx(alone[:, which][..., which], rel=1e-12)


def test_too_many_arrangements_are_not_counted_to_the_last_digit():
    label, block = np.arange(400_000) % 10, np.arange(400_000) // 200_000
    assert multiresponse._arrangements(label, block, 20_000) > 20_000
    assert multiresponse._arrangements(np.array([0, 0, 1, 1, 2, 2]), np.zeros(6, int), 20_000) == 90
    assert multiresponse._arrangements(np.array([0, 1, 1, 1, 0, 0]), np.array([0, 0, 0, 0, 1, 1]), 20_000) == 4
    assert multiresponse._arrangements(np.zeros(9, int), np.zeros(9, int), 20_000) == 1


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 6))
def test_what_all_units_hold_is_the_same_however_it_is_dealt_out(seed, units, blocks):
    rng = np.random.default_rng(seed)
    group, contents, block = rng.integers(0, 3, units), rng.normal(size=(units, 2)), rng.integers(0, blocks, units)
    place = np.eye(3)[group]
    sums = exchanged_sums(place, contents, block, 5, rng)
    assert sums.shape == (5, 3, 2)
    assert sums.sum(axis=1) == pytest.approx(np.tile(contents.sum(axis=0), (5, 1)), abs=1e-6)
    alone = np.bincount(block, minlength=blocks)[block] == 1
    only = exchanged_sums(place[alone], contents[alone], block[alone], 1, rng) if alone.any() else np.zeros((1, 3, 2))
    assert only[0] == pytest.approx(place[alone].T @ contents[alone], abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([3, 10**4, 10**8]))
def test_cells_are_numbered_in_order(seed, rows, span):
    """Codes that fill a table, that are sparse in one, and that no table holds: as numpy's unique rows."""
    codes = np.random.default_rng(seed).integers(-span, span, (rows, 3))
    cells, place = distinct_rows(codes)
    assert np.array_equal(cells[place], codes)
    assert np.array_equal(cells, np.unique(codes, axis=0))


@pytest.mark.parametrize("traits", [False, True], ids=["between colleagues", "between organisations"])
def test_a_permutation_test_says_the_same_from_its_limit(traits, monkeypatch):
    rng = np.random.default_rng(5)
    home = np.arange(900).repeat(4)
    group = (home % 3) if traits else rng.integers(0, 3, 3600)
    ticks = (rng.uniform(size=(3600, 5)) < 0.3 + 0.015 * (group[:, None] == 1)).astype(float)
    weight = rng.uniform(0.5, 2.0, 3600)
    found = []
    for many in (10**9, 0):
        monkeypatch.setattr(multiresponse, "MANY", many)
        found.append(permutation_test(ticks, group, weight=weight, cluster=home, permutations=3000, seed=1))
    one, other = found
    assert one.exchanged == other.exchanged
    assert float(other.observed) == float(one.observed)
    assert float(other.null_mean) == pytest.approx(float(one.null_mean), rel=0.05)
    assert 0.005 < float(one.p_value) < 0.9
    assert float(other.p_value) == pytest.approx(float(one.p_value), abs=0.035)


def test_consensus_of_many_has_the_critical_value_of_shuffled_answers(monkeypatch):
    rng = np.random.default_rng(6)
    answers = rng.permuted(np.tile(np.arange(6.0), (800, 1)), axis=1) + 0.2 * rng.normal(size=(800, 6))
    found = []
    for many in (10**9, 0):
        monkeypatch.setattr(agreement, "MANY", many)
        monkeypatch.setattr(prototypes, "MANY", many)
        test = agreement.consensus_test(answers, np.arange(800) % 2, draws=4000, seed=2)
        p = prototypes.no_difference_p(
            prototypes.unit_vectors(answers), np.arange(800) % 2, np.ones(800), np.arange(800) // 8, 4000, rng
        )
        found.append((*test.alpha_critical, *test.alpha_p, p))
    assert found[1][:2] == pytest.approx(found[0][:2], rel=0.03)
    assert found[1][2:] == pytest.approx(found[0][2:], abs=0.035)


# ------------------------------------------------------------------------------------------------- terms of first order


@pytest.fixture(scope="module")
def layers():
    """Weights of 12,000 respondents of 3,000 organisations in 41 layers, as Layers of units and as an array."""
    rng = np.random.default_rng(7)
    cluster, weight = np.arange(3000).repeat(4), rng.uniform(0.5, 2.0, 12000)
    drawn = Draws(keys_of(3000), 40, member=np.arange(3000))
    found = layer_weights(drawn, cluster, weight)
    assert isinstance(found, Layers)
    assert found.gathered
    return found, layer_weights(multipliers(keys_of(3000), 40), cluster, weight)


@pytest.mark.parametrize("kind", ["least squares", "counts", "times"])
def test_regressions_of_many_are_right_to_first_order(layers, kind):
    rng = np.random.default_rng(8)
    X = np.column_stack([np.ones(12000), rng.integers(0, 2, 12000), rng.normal(size=12000)])
    level = X @ [0.5, 0.3, -0.2] + np.repeat(rng.normal(0, 0.3, 3000), 4)
    if kind == "times":
        time = np.exp(level + rng.normal(0, 0.7, 12000))
        upper = np.where(time > 4, np.inf, np.ceil(time))
        exact, first = (
            log_normal_times(X, np.where(time > 4, 4.0, np.ceil(time) - 1.0), upper, w).coefficients
            for w in layers[::-1]
        )
    else:
        fit = least_squares if kind == "least squares" else log_linear
        y = level + rng.normal(0, 0.7, 12000) if kind == "least squares" else rng.poisson(np.exp(level)).astype(float)
        exact, first = (fit(X, y, w).coefficients for w in layers[::-1])
    assert first[0] == pytest.approx(exact[0], rel=1e-6)
    error, lost = exact[1:] - exact[0], first[1:] - exact[1:]
    assert (np.sqrt((lost**2).mean(axis=0)) < 0.06 * error.std(axis=0)).all()


def test_few_organisations_of_a_large_study_are_not_taken_to_first_order(layers):
    """A comparison of 100 respondents has its exact layers, however many organisations the study has."""
    rng = np.random.default_rng(12)
    few = np.flatnonzero(np.arange(12000) % 120 == 0)
    X, y = np.column_stack([np.ones(100), rng.integers(0, 2, 100)]), rng.normal(size=100)
    assert layers[0].first_order
    assert not layers[0][:, few].first_order
    drawn, held = (least_squares(X, y, each[:, few]).coefficients for each in layers)
    assert drawn == pytest.approx(held, rel=1e-9)


def test_the_limit_counts_those_who_can_move_alone(monkeypatch):
    """Of 60 respondents 8 have a colleague of another role: the limit of so few is not normal, so all deals are drawn."""
    home = np.r_[np.arange(4).repeat(2), np.arange(4, 56)]
    role = np.r_[np.tile([0, 1], 4), np.zeros(52, int)]
    assert movable(role, home) == 8
    assert movable(np.zeros(60, int), home) == 0
    monkeypatch.setattr(multiresponse, "MANY", 8)
    monkeypatch.setattr(multiresponse, "exchanged_sums", None)
    ticks = np.random.default_rng(13).integers(0, 2, (60, 3))
    test = permutation_test(ticks, role, cluster=home, permutations=50, exact_limit=1)
    assert test.arrangements == 50
    monkeypatch.setattr(multiresponse, "MANY", 7)
    with pytest.raises(TypeError):
        permutation_test(ticks, role, cluster=home, permutations=50, exact_limit=1)


def test_variance_components_by_unit_are_those_by_respondent(monkeypatch):
    monkeypatch.setattr(module, "MANY_UNITS", 0)
    rng = np.random.default_rng(9)
    cluster = np.sort(rng.integers(0, 200, 900))
    cluster = np.unique(cluster, return_inverse=True)[1]
    count = cluster.max() + 1
    X = np.column_stack([np.ones(900), rng.integers(0, 2, 900)])
    y, weight = rng.normal(size=900) + np.repeat(rng.normal(size=count), np.bincount(cluster)), rng.uniform(0.5, 2, 900)
    held = multipliers(keys_of(count), 30)
    beta = least_squares(X, y, layer_weights(held, cluster, weight)).coefficients
    shuffled = rng.permutation(900)
    exact = cluster_variance(y, X, beta, weight, cluster, held)
    units = cluster_variance(
        y[shuffled], X[shuffled], beta, weight[shuffled], cluster[shuffled],
        Draws(keys_of(count), 30, member=np.arange(count)),
    )  # fmt: skip
    assert units.between == pytest.approx(exact.between, rel=1e-9)
    assert units.within == pytest.approx(exact.within, rel=1e-9)
    assert units.pairs == exact.pairs
    other = rng.normal(size=900)
    fits = np.stack([beta, least_squares(X, other, layer_weights(held, cluster, weight)).coefficients])
    drawn = Draws(keys_of(count), 30, member=np.arange(count))
    both = cluster_variance(np.column_stack([y, other]), X, fits, weight, cluster, drawn)
    assert both.between[0] == pytest.approx(units.between, rel=1e-9)
    alone = cluster_variance(other, X, fits[1], weight, cluster, held)
    assert both.between[1] == pytest.approx(alone.between, rel=1e-9)
    assert both.within[1] == pytest.approx(alone.within, rel=1e-9)


def test_a_rank_correlation_to_first_order_moves_as_the_exact_one_does():
    rng = np.random.default_rng(14)
    x = np.round(rng.normal(size=6000), 2)
    y = np.round(0.5 * x + rng.normal(size=6000), 1)
    layers = layer_weights(variance_units(keys_of(6000), 3, 300), np.arange(6000), rng.uniform(0.5, 2, 6000))
    assert layers.first_order
    found, exact = spearman(x, y, layers), spearman(x, y, layers[:])
    assert found[0] == pytest.approx(exact[0], abs=1e-12)
    assert np.std(found[1:]) == pytest.approx(np.std(exact[1:]), rel=0.01)
    assert np.corrcoef(found[1:], exact[1:])[0, 1] > 0.999
    assert np.abs(np.mean(found - exact)) < 0.03 * np.std(exact)
    assert np.isnan(spearman(x, np.ones(6000), layers)).all()


def test_effects_of_targets_by_unit_are_those_by_organisation():
    rng = np.random.default_rng(12)
    raters, roles = 240, 5
    home = np.sort(rng.integers(0, 60, raters))
    home = np.unique(home, return_inverse=True)[1]
    count = home.max() + 1
    who, target = np.repeat(np.arange(raters), roles), np.tile(np.arange(roles), raters)
    rating = rng.normal(size=len(who)) + np.linspace(-1, 1, roles)[target]
    rating[rng.random(len(who)) < 0.1] = np.nan
    given = {
        "own": np.repeat(rng.integers(0, roles, raters), roles), "weight": np.repeat(rng.uniform(0.5, 2, raters), roles),
        "cluster": np.char.zfill(home.astype(str), 3)[who], "layer_factor": rng.uniform(0.8, 1.2, (21, 2)),
        "factor_cell": rng.integers(0, 2, raters)[who], "group": np.where(rng.random(raters) < 0.5, "x", "y")[who],
    }  # fmt: skip
    units = Draws(keys_of(16), 20, member=rng.integers(0, 16, count))
    found = target_effects(who, target, rating, multiplier=units, **given)
    exact = target_effects(who, target, rating, multiplier=np.asarray(units), **given)
    for name in ("effect", "mean", "covariance", "std_error", "n", "n_raters"):
        assert getattr(found, name) == pytest.approx(getattr(exact, name), abs=1e-9), name
    for name in ("raw", "adjusted", "raw_error", "adjusted_error", "n"):
        assert getattr(found.self_other, name) == pytest.approx(getattr(exact.self_other, name), abs=1e-9), name
    assert found.by_group.effect == pytest.approx(exact.by_group.effect, abs=1e-9)
    assert np.array_equal(found.by_group.clusters, exact.by_group.clusters)


def test_one_order_of_roles_stands_for_those_without_each_organisation(monkeypatch):
    """With three roles far apart no organisation turns the order, so both ways give the same sums."""
    rng = np.random.default_rng(10)
    cluster, role = np.arange(400).repeat(3), np.tile([0, 1, 2], 400)
    answer = np.clip(np.rint(np.array([4.2, 3.0, 1.8])[role] + rng.normal(0, 0.6, 1200)), 1, 5)
    answered = rng.uniform(size=1200) < 0.9
    own = np.where(answered, answer, np.nan).reshape(400, 3)
    claim = np.where(rng.uniform(size=(400, 3)) < 0.8, 3.0, np.nan)
    held = multipliers(keys_of(400), 30)

    class Design:
        multiplier, factor_cell, layer_factor = held, None, None
        weight = np.ones(1200)

    Design.cluster = cluster
    table = readiness._Table(own, claim, role, answer, layer_weights(held, np.arange(400)))
    can = np.isfinite(own).sum(axis=1) >= 2
    found = []
    for many in (10**9, 0):
        monkeypatch.setattr(readiness, "_MANY", many)
        found.append(readiness._sums_in_order(Design, table, own, answered, can))
    for one, other in zip(*found, strict=True):
        assert one.shape == (31, 3)
        assert other == pytest.approx(one, rel=1e-9)
