"""What must not move an index, what must, and within which bounds: the properties that no other test of an index holds.

Bounds, order of rows, names of groups, origin and unit of scales, rows split by their weights, and monotonicity where the
literature states it. The last test reads all tests and refuses an index of `fieldwork.statistics` without a property.
"""

import ast
import importlib
import inspect
import itertools
import pkgutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

import fieldwork.statistics
from fieldwork.errors import DesignError
from fieldwork.statistics import agreement as ag
from fieldwork.statistics import convergence as cv
from fieldwork.statistics import duration as du
from fieldwork.statistics import influence_model as im
from fieldwork.statistics import multiresponse as mr
from fieldwork.statistics import overlap as ov
from fieldwork.statistics import profiles as pf
from fieldwork.statistics import prototypes as pt
from fieldwork.statistics.adjustment import adjusted_effects, deviations
from fieldwork.statistics.decomposition import dominance_of, kitagawa
from fieldwork.statistics.reliability import cronbach_alpha, omega_total, one_factor
from fieldwork.statistics.spread import log_ratio, noise_corrected_variance, one_way, spread

seeds = st.integers(0, 2**32 - 1)
units = st.floats(0.05, 20)
shifts = st.floats(-50, 50)


def generator(seed):
    return np.random.default_rng(seed)


def covariance_of(rng, groups):
    root = rng.normal(size=(groups, groups + 2))
    return root @ root.T / groups


# ----------------------------------------------------------------------------------------------------------------- spread


@given(seeds, shifts, units)
@settings(deadline=None)
def test_variance_of_means_ignores_names_and_origin_and_falls_as_noise_grows(seed, shift, unit):
    rng = generator(seed)
    means, V, order = rng.normal(size=6), covariance_of(rng, 6), rng.permutation(6)
    found = noise_corrected_variance(means, V)
    assert noise_corrected_variance(means[order], V[np.ix_(order, order)]) == pytest.approx(found, abs=1e-9)
    assert noise_corrected_variance(unit * means + shift, unit**2 * V) == pytest.approx(
        unit**2 * found, rel=1e-6, abs=1e-6
    )
    assert noise_corrected_variance(means, 2 * V) < found <= np.var(means, ddof=1)
    # Noise that all groups share puts nothing between them.
    assert noise_corrected_variance(means, V + 3.0) == pytest.approx(found, abs=1e-9)


@given(seeds, st.floats(1.0, 4.0))
@settings(deadline=None)
def test_more_noise_never_makes_a_spread_or_a_shrunken_range_wider(seed, factor):
    rng = generator(seed)
    means = rng.normal(size=5)
    errors = rng.normal(scale=0.3, size=(200, 5))
    errors -= errors.mean(axis=0)
    less, more = spread(means, errors), spread(means, factor * errors)
    assert more.sd_corrected <= less.sd_corrected + 1e-12
    assert more.reliability <= less.reliability + 1e-12
    assert more.range_shrunken <= less.range_shrunken + 1e-9
    assert less.range_shrunken <= less.range_raw + 1e-9
    assert 0 <= less.reliability <= 1


@given(seeds, shifts, units)
@settings(deadline=None)
def test_intraclass_correlations_keep_their_bounds_and_ignore_names_order_origin_and_unit(seed, shift, unit):
    rng = generator(seed)
    team = rng.choice(list("abcde"), 30)
    answers = rng.integers(1, 6, 30).astype(float) + 0.1 * rng.normal(size=30)
    found = ag.intraclass(answers, team)
    n0 = (30 - (np.unique(team, return_counts=True)[1] ** 2).sum() / 30) / (len(np.unique(team)) - 1)
    assert -1 / (n0 - 1) - 1e-9 <= found.icc1 <= 1
    assert found.icc2 <= 1
    order = rng.permutation(30)
    renamed = np.array([f"z{ord('z') - ord(t)}" for t in team])
    other = ag.intraclass(unit * answers[order] + shift, renamed[order])
    assert other.icc1 == pytest.approx(found.icc1, abs=1e-6)
    assert other.icc2 == pytest.approx(found.icc2, abs=1e-5)
    groups = [answers[team == t] for t in np.unique(team)]
    assert one_way(groups).icc1 == pytest.approx(found.icc1, abs=1e-9)
    # Teams drawn apart agree more among themselves, relative to all (Bliese 2000).
    apart = answers + 3.0 * np.unique(team, return_inverse=True)[1]
    apart = (
        apart
        if one_way([apart[team == t] for t in np.unique(team)]).mean_square_between > found.mean_square_between
        else None
    )
    if apart is not None:
        assert ag.intraclass(apart, team).icc1 >= found.icc1


@given(st.lists(st.floats(0, 5), min_size=1, max_size=9), seeds)
@settings(deadline=None)
def test_a_log_ratio_turns_its_sign_with_its_sides(first, seed):
    a = np.array(first)
    b = generator(seed).uniform(0, 5, len(a)) * (generator(seed + 1).random(len(a)) < 0.8)
    assert np.array_equal(log_ratio(a, b), -log_ratio(b, a), equal_nan=True)
    assert np.isnan(log_ratio(0 * a, 0 * a)).all()


@given(seeds, shifts, units)
@settings(deadline=None)
def test_adjusted_effects_ignore_order_names_and_origin_and_split_cells(seed, shift, unit):
    rng = generator(seed)
    role, stage = (axis.ravel() for axis in np.indices((4, 3)))
    weight = rng.uniform(0.5, 3.0, (3, 12))
    total = weight * rng.normal(size=(3, 12))
    fit = adjusted_effects(weight, total, [role, stage], ["role", "stage"])
    assert all(effect.sum(axis=1) == pytest.approx(0.0, abs=1e-9) for effect in fit.effects)
    moved = adjusted_effects(weight, unit * total + shift * weight, [role, stage], ["role", "stage"])
    names, order = rng.permutation(4), rng.permutation(12)
    renamed = adjusted_effects(weight[:, order], total[:, order], [names[role][order], stage[order]], ["role", "stage"])
    part = rng.uniform(0.1, 0.9, 12)
    halves = adjusted_effects(
        np.hstack([weight * part, weight * (1 - part)]), np.hstack([total * part, total * (1 - part)]),
        [np.tile(role, 2), np.tile(stage, 2)], ["role", "stage"],
    )  # fmt: skip
    for j in (0, 1):
        assert moved.effects[j] == pytest.approx(unit * fit.effects[j], abs=1e-6)
        assert halves.effects[j] == pytest.approx(fit.effects[j], abs=1e-8)
    assert renamed.effects[0][:, names] == pytest.approx(fit.effects[0], abs=1e-8)
    assert renamed.effects[1] == pytest.approx(fit.effects[1], abs=1e-8)
    # Where every role stands at every stage alike, adjusting changes nothing.
    even = np.ones((1, 12))
    flat = adjusted_effects(even, total[:1], [role, stage], ["role", "stage"])
    means = total[0].reshape(4, 3).mean(axis=1)
    assert flat.effects[0][0] == pytest.approx(means - means.mean(), abs=1e-9)


@given(st.integers(2, 9), seeds)
@settings(deadline=None)
def test_deviations_give_each_level_its_own_of_effects_that_sum_to_nil(levels, seed):
    rng = generator(seed)
    effects = rng.normal(size=levels)
    effects -= effects.mean()
    code = np.concatenate([np.arange(levels), rng.integers(0, levels, 20)])
    made = deviations(code, levels)
    assert made @ effects[:-1] == pytest.approx(effects[code], abs=1e-12)
    assert np.linalg.matrix_rank(np.column_stack([np.ones(len(code)), made])) == levels
    assert not deviations(np.arange(levels), levels).sum(axis=0).any()


# -------------------------------------------------------------------------------------------------------------- agreement


@given(st.lists(st.integers(0, 8), min_size=2, max_size=7).filter(lambda n: sum(n) >= 2), seeds)
@settings(deadline=None)
def test_pairs_agree_between_nothing_and_always_whatever_the_names(counts, seed):
    order = generator(seed).permutation(len(counts))
    found = float(ag.pair_agreement(counts))
    assert 0 <= found <= 1
    assert float(ag.pair_agreement(np.array(counts)[order])) == pytest.approx(found)
    assert (found == 1) == (max(counts) == sum(counts))
    # One answer moved from a smaller camp to the largest: more pairs agree.
    smaller = [k for k, n in enumerate(counts) if n > 0 and k != int(np.argmax(counts))]
    if smaller:
        moved = list(counts)
        moved[smaller[0]] -= 1
        moved[int(np.argmax(counts))] += 1
        assert float(ag.pair_agreement(moved)) > found


@given(seeds)
@settings(deadline=None)
def test_a_scale_agrees_at_most_fully_in_any_order_of_its_items_and_more_so_with_more_of_them(seed):
    rng = generator(seed)
    counts = rng.multinomial(6, [0.05, 0.15, 0.3, 0.3, 0.2], size=3)
    found = float(ag.r_wg_j(counts))
    assert found <= 1
    assert float(ag.r_wg_j(counts[::-1])) == pytest.approx(found)
    assert float(ag.r_wg_j(counts[:, ::-1])) == pytest.approx(found)
    r = float(np.mean([ag.r_wg(item) for item in counts]))
    if 0 < r < 1:
        # James, Demaree and Wolf (1984): at the same agreement the index grows with the number of items.
        assert r - 1e-12 <= found <= float(ag.r_wg_j(np.vstack([counts, counts]))) + 1e-12
    one = float(ag.r_wg_j(counts[:1]))
    assert one == pytest.approx(float(ag.r_wg(counts[0]))) or one == -np.inf


@given(st.lists(st.integers(0, 4), min_size=2, max_size=6), seeds, shifts, units)
@settings(deadline=None)
def test_mean_distances_are_those_of_every_two_members(counts, seed, shift, unit):
    codes = generator(seed).normal(size=len(counts))
    found = float(ag.mean_distances([counts], codes)[0])
    members = np.repeat(codes, counts)
    apart = [abs(a - b) for a, b in itertools.combinations(members, 2)]
    if not apart:
        assert np.isnan(found)
        return
    assert found == pytest.approx(np.mean(apart), abs=1e-12)
    assert 0 <= found <= np.ptp(codes)
    order = generator(seed + 1).permutation(len(counts))
    moved = ag.mean_distances([np.array(counts)[order]], unit * codes[order] + shift)[0]
    assert moved == pytest.approx(unit * found, abs=1e-9)


def dealt(rng, points):
    return rng.dirichlet(np.full(points, 0.8))


@given(seeds, st.integers(2, 4), st.integers(2, 4))
@settings(deadline=None, max_examples=25)
def test_an_expected_index_is_the_mean_over_every_team_of_strangers(seed, people, points):
    p = dealt(generator(seed), points)
    teams = np.array(list(itertools.product(range(points), repeat=people)))
    chance = np.prod(p[teams], axis=1)
    counts = (teams[:, :, None] == np.arange(points)).sum(axis=1)
    for index in (ag.van_der_eijk_a, ag.leik_d, ag.tastle_wierman):
        found = float(ag.expected_index(index, people, p))
        assert found == pytest.approx(chance @ index(counts), abs=1e-10)
        assert float(ag.expected_index(index, people, p[::-1])) == pytest.approx(found, abs=1e-10)
    # The variance with n - 1 is unbiased: r*_wg is on average what it is of endless teams, whatever their size.
    x = np.arange(points)
    variance = p @ x**2 - (p @ x) ** 2
    for n in (people, 7, 45):
        assert float(ag.expected_index(unbiased_variance, n, p)) == pytest.approx(variance, abs=1e-8)


def unbiased_variance(counts):
    """Variance of answers with n - 1; of shares, which stand for endless teams, that of the shares."""
    n, x = np.asarray(counts, dtype=float), np.arange(np.shape(counts)[-1])
    size = n.sum(axis=-1)
    squared = n @ x**2 / size - (n @ x / size) ** 2
    return np.where(size > 1.5, squared * size / np.maximum(size - 1.0, 0.5), squared)


@given(seeds, st.integers(31, 400), st.integers(2, 4))
@settings(deadline=None, max_examples=20)
def test_an_expected_index_of_many_follows_the_known_law_of_simpson_s(seed, people, points):
    """Simpson (1949): the sum of squared shares is on average 1 / n + (1 - 1 / n) times that of the shares answered with."""

    def squares(counts):
        n = np.asarray(counts, dtype=float)
        return ((n / n.sum(axis=-1, keepdims=True)) ** 2).sum(axis=-1)

    p = dealt(generator(seed), points)
    known = 1 / people + (1 - 1 / people) * (p**2).sum()
    assert float(ag.expected_index(squares, people, p)) == pytest.approx(known, abs=1e-8)


@given(seeds, units)
@settings(deadline=None, max_examples=25)
def test_strangers_of_all_teams_agree_alike_whatever_the_order_names_and_cuts_of_teams(seed, unit):
    rng = generator(seed)
    counts, weight = rng.multinomial(4, dealt(rng, 4), size=6), rng.uniform(0.2, 2.0, (3, 6))
    counts[:3, 0] += 2
    found = ag.mean_index_of_strangers(ag.van_der_eijk_a, counts, weight)
    by_hand = []
    for w in weight:
        shares = sum(v * row for v, row in zip(w, counts, strict=True)) / (w @ counts.sum(axis=1))
        each = [float(ag.expected_index(ag.van_der_eijk_a, int(row.sum()), shares)) for row in counts]
        by_hand.append(np.average(each, weights=w))
    assert found == pytest.approx(by_hand, abs=1e-10)
    assert ((found >= -1) & (found <= 1)).all()
    order, part = rng.permutation(6), rng.uniform(0.1, 0.9, 6)
    assert ag.mean_index_of_strangers(ag.van_der_eijk_a, counts[order], unit * weight[:, order]) == pytest.approx(found)
    halves = np.hstack([weight * part, weight * (1 - part)])
    assert ag.mean_index_of_strangers(ag.van_der_eijk_a, np.vstack([counts, counts]), halves) == pytest.approx(found)
    turned = ag.mean_index_of_strangers(ag.van_der_eijk_a, counts[:, ::-1], weight)
    assert turned == pytest.approx(found, abs=1e-10), "A knows no direction"


# ------------------------------------------------------------------------------------------------------------ reliability


@given(st.integers(2, 6), st.floats(0.05, 0.95), st.floats(0.0, 0.04), seeds)
@settings(deadline=None)
def test_alpha_grows_with_items_and_with_their_correlation(items, correlation, more, seed):
    """Spearman (1910) and Brown (1910): k r / (1 + (k - 1) r)."""

    def parallel(k, r):
        return (1 - r) * np.eye(k) + r

    alpha = float(cronbach_alpha(parallel(items, correlation)))
    assert 0 <= alpha <= 1
    assert alpha == pytest.approx(items * correlation / (1 + (items - 1) * correlation))
    assert float(cronbach_alpha(parallel(items + 1, correlation))) > alpha
    assert float(cronbach_alpha(parallel(items, correlation + more))) >= alpha
    S = covariance_of(generator(seed), items)
    order = generator(seed).permutation(items)
    assert float(cronbach_alpha(S)) <= 1
    assert cronbach_alpha(9 * S[np.ix_(order, order)]) == pytest.approx(float(cronbach_alpha(S)))


@given(st.lists(st.floats(0.2, 0.9), min_size=3, max_size=6), st.lists(units, min_size=6, max_size=6))
@settings(deadline=None)
def test_omega_keeps_its_bounds_is_not_below_alpha_and_loadings_carry_no_unit(loadings, scale):
    """McDonald (1999): where one factor holds, omega is the reliability and alpha not above it."""
    loading, sd = np.array(loadings), np.array(scale[: len(loadings)])
    R = np.outer(loading, loading)
    np.fill_diagonal(R, 1.0)
    S = R * np.outer(sd, sd)
    assert one_factor(R) == pytest.approx(loading, abs=1e-8)
    omega, alpha = float(omega_total(S)), float(cronbach_alpha(S))
    assert 0 <= omega <= 1
    assert alpha <= omega + 1e-6
    assert omega_total(S[::-1, ::-1]) == pytest.approx(omega, abs=1e-6)


# ----------------------------------------------------------------------------------------------------- shares and tallies


def multiple(seed, n=60):
    rng = generator(seed)
    return pd.DataFrame(
        {
            "group": rng.choice(["CEO", "CFO", "CTO"], n),
            "firm": rng.integers(0, 12, n),
            "weight": rng.uniform(0.3, 2.0, n),
            **{item: (rng.random(n) < share).astype(float) for item, share in (("a", 0.6), ("b", 0.3), ("c", 0.5))},
        }
    )


ITEMS = ["a", "b", "c"]


@given(seeds, units)
@settings(deadline=None, max_examples=25)
def test_tallies_and_caps_are_sums_that_splitting_rows_leaves_alone(seed, unit):
    data = multiple(seed)
    table = mr.tally(data[ITEMS], data["group"], weight=data["weight"])
    assert (table.citations <= table.base + 1e-12).all()
    assert (table.citations >= 0).all()
    part = generator(seed).uniform(0.1, 0.9, len(data))
    twice = pd.concat([data, data]).sample(frac=1, random_state=1)
    weight = pd.Series(np.r_[data["weight"] * part, data["weight"] * (1 - part)], name="w")
    twice = pd.concat([data, data], ignore_index=True).assign(w=weight).sample(frac=1, random_state=1)
    again = mr.tally(twice[ITEMS], twice["group"], weight=twice["w"])
    assert again.citations == pytest.approx(table.citations)
    assert again.base == pytest.approx(table.base)
    statistics = mr.item_statistics(table)
    assert (statistics >= 0).all()
    scaled = mr.tally(data[ITEMS], data["group"], weight=unit * data["weight"])
    assert mr.item_statistics(scaled) == pytest.approx(statistics, rel=1e-8, abs=1e-10)
    shares = [mr.cap_use(data[ITEMS], data["group"], cap, weight=data["weight"]).at_cap for cap in (1, 2, 3)]
    assert all(((share >= 0) & (share <= 1)).all() for share in shares)
    split = mr.cap_use(twice[ITEMS], twice["group"], 2, weight=twice["w"]).at_cap
    assert split == pytest.approx(shares[1])
    # Nobody cites more than three of three: who is at a cap of three is at most who cites two.
    assert (
        shares[2]
        <= 1
        - np.array([(data[data["group"] == g][ITEMS].sum(axis=1) < 3).all() for g in sorted(set(data["group"]))])
        + 1e-12
    ).all()


@given(seeds)
@settings(deadline=None, max_examples=25)
def test_contrasts_of_shares_turn_with_their_sides_and_ignore_order_and_the_scale_of_weights(seed):
    data = multiple(seed)
    design = {"weight": data["weight"], "cluster": data["firm"]}
    one = mr.contrast_shares(data[ITEMS], data["group"], "CFO", "CTO", **design)
    other = mr.contrast_shares(data[ITEMS], data["group"], "CTO", "CFO", **design)
    assert (np.abs(one.risk_difference.estimate) <= 1).all()
    assert other.risk_difference.estimate == pytest.approx(-one.risk_difference.estimate)
    assert other.risk_difference.conf_low == pytest.approx(-one.risk_difference.conf_high, nan_ok=True)
    usable = np.isfinite(one.odds_ratio.estimate) & (one.odds_ratio.estimate > 0)
    for name in ("prevalence_ratio", "odds_ratio"):
        product = getattr(one, name).estimate[usable] * getattr(other, name).estimate[usable]
        assert product == pytest.approx(1.0)
    mixed = data.sample(frac=1, random_state=2)
    again = mr.contrast_shares(
        mixed[ITEMS], mixed["group"], "CFO", "CTO", weight=7 * mixed["weight"], cluster=mixed["firm"]
    )
    assert again.risk_difference.std_error == pytest.approx(one.risk_difference.std_error, rel=1e-8, nan_ok=True)


@given(seeds, st.permutations(["CEO", "CFO", "CTO"]))
@settings(deadline=None, max_examples=10)
def test_permutation_ignores_names_of_groups_and_their_p_values_are_probabilities(seed, names):
    data = multiple(seed, 18)
    assume(data["group"].nunique() == 3)
    first = mr.permutation_test(data[ITEMS], data["group"], permutations=99)
    renamed = data["group"].map(dict(zip(["CEO", "CFO", "CTO"], names, strict=True)))
    second = mr.permutation_test(data[ITEMS], renamed, permutations=99)
    assert second.observed == pytest.approx(float(first.observed))
    assert 0 < float(first.p_value) <= 1


@given(st.lists(st.integers(0, 9), min_size=3, max_size=6).filter(any), st.integers(0, 5))
@settings(deadline=None)
def test_concentration_grows_as_the_largest_takes_from_another(amounts, place):
    x = np.array(amounts, dtype=float)
    top, at = int(np.argmax(x)), place % len(x)
    assume(at != top and x[at] > 0)
    moved = x.copy()
    moved[top] += 1
    moved[at] -= 1
    assert float(mr.concentration(moved)) > float(mr.concentration(x))


# ------------------------------------------------------------------------------------------------ decomposition, movement


@given(seeds, st.permutations(list("abc")))
@settings(deadline=None)
def test_dominance_of_fits_that_only_grow_is_never_negative_and_adds_to_the_whole(seed, order):
    """Budescu (1993): with a fit that never falls as predictors come in, every share is at least 0."""
    rng = generator(seed)
    own = dict(zip("abc", rng.uniform(0, 1, 3), strict=True))
    fits = {frozenset(s): 1 - np.exp(-sum(own[k] for k in s)) for s in ("a", "b", "c", "ab", "ac", "bc", "abc")}
    found = dominance_of(("a", "b", "c"), fits)
    assert (found.general >= 0).all()
    assert found.general.sum() == pytest.approx(fits[frozenset("abc")])
    other = dominance_of(tuple(order), fits)
    assert dict(zip(order, other.general, strict=True)) == pytest.approx(dict(zip("abc", found.general, strict=True)))
    ranked = sorted("abc", key=own.get)
    shares = dict(zip("abc", found.general, strict=True))
    assert shares[ranked[0]] <= shares[ranked[1]] + 1e-12 <= shares[ranked[2]] + 2e-12


@given(seeds)
@settings(deadline=None)
def test_a_split_gap_ignores_how_cells_are_cut_by_amount(seed):
    rng = generator(seed)
    means, amounts = rng.uniform(1, 5, (2, 4)), rng.uniform(0.1, 2, (2, 4))
    whole = kitagawa(*means, *amounts)
    part = rng.uniform(0.1, 0.9, 4)
    doubled = [np.r_[m, m] for m in means]
    cut = kitagawa(*doubled, *(np.r_[a * part, a * (1 - part)] for a in amounts))
    for name in ("total", "rate", "composition"):
        assert getattr(cut, name) == pytest.approx(float(getattr(whole, name)), abs=1e-9)


@given(st.floats(-1.5, 0.5), st.floats(0.05, 0.95), st.floats(0.0, 0.04))
@settings(deadline=None)
def test_a_less_reliable_start_makes_the_corrected_slope_less_negative(slope, reliability, more):
    found = cv.corrected_beta(slope, reliability)
    assert cv.corrected_beta(slope, 1.0) == pytest.approx(slope)
    if slope > -1:
        assert found >= cv.corrected_beta(slope, reliability + more) - 1e-12
        assert found >= slope - 1e-12


@given(seeds, shifts, units)
@settings(deadline=None, max_examples=25)
def test_stability_of_an_order_keeps_its_bounds_and_knows_no_unit(seed, shift, unit):
    means = generator(seed).normal(size=(3, 5))
    found = cv.rank_stability(means).w
    assert 0 <= found <= 1
    assert cv.rank_stability(unit * means + shift).w == pytest.approx(found)
    assert cv.rank_stability(-means[:, ::-1]).w == pytest.approx(found)
    assert cv.rank_stability(np.vstack([means[:1]] * 3)).w == pytest.approx(1.0)


@given(seeds, shifts, units)
@settings(deadline=None, max_examples=40)
def test_a_ratio_of_variances_ignores_origin_unit_and_order_and_turns_with_the_waves(seed, shift, unit):
    rng = generator(seed)
    value, later = rng.normal(size=40), np.repeat([False, True], 20)
    group, weight, firm = rng.integers(0, 2, 40), rng.uniform(0.5, 2, 40), rng.integers(0, 9, 40)
    group[[0, 1, 20, 21]] = [0, 1, 0, 1]
    options = {"group": group, "weight": weight, "cluster": firm}
    found = du.variance_ratio(value, later, **options)
    assert found.ratio > 0
    order = rng.permutation(40)
    moved = du.variance_ratio(
        unit * value[order] + shift, later[order], **{name: part[order] for name, part in options.items()}
    )
    assert moved.ratio == pytest.approx(found.ratio, rel=1e-6)
    turned = du.variance_ratio(value, ~later, **options)
    assert turned.ratio == pytest.approx(1 / found.ratio)
    wider = du.variance_ratio(np.where(later, 2 * value, value), later, **options)
    assert wider.ratio == pytest.approx(4 * found.ratio)


@given(st.floats(1e3, 1e5), st.floats(1.0, 3.0), st.floats(1, 40), st.floats(0, 0.3))
@settings(deadline=None)
def test_a_delay_costs_between_its_least_and_its_most_and_more_as_any_part_grows(value, factor, weeks, rate):
    value_range, week_range = {0: value, 1: factor * value}, {0: weeks, 1: factor * weeks}
    cost = du.cost_of_delay(value_range, week_range, yearly_rate=rate, points=60)
    least, most = (float(du.discounted_loss(k * value, k * weeks, yearly_rate=rate)) for k in (1.0, factor))
    assert least - 1e-6 <= cost.mean <= most + 1e-6
    assert (np.diff(cost.quantiles) >= -1e-9).all()
    longer = du.cost_of_delay(value_range, {0: 1.1 * weeks, 1: 1.1 * factor * weeks}, yearly_rate=rate, points=60)
    assert longer.mean > cost.mean
    waiting = du.cost_of_delay(value_range, week_range, yearly_rate=rate, option_value=100.0, points=60)
    assert waiting.mean == pytest.approx(cost.mean - 100.0)


@given(seeds)
@settings(deadline=None, max_examples=25)
def test_interval_censored_times_give_a_distribution_that_split_rows_and_order_leave_alone(seed):
    rng = generator(seed)
    lower = rng.integers(0, 5, 25).astype(float)
    upper = np.where(rng.random(25) < 0.3, np.inf, lower + rng.integers(1, 4, 25))
    assume(np.isfinite(upper).any())
    weight, order = rng.uniform(0.5, 2, 25), rng.permutation(25)
    fit = du.turnbull(lower, upper, weight=weight)
    assert fit.mass.sum() == pytest.approx(1.0)
    assert (fit.mass >= -1e-12).all()
    assert (np.diff(fit.survival) <= 1e-12).all()
    part = rng.uniform(0.1, 0.9, 25)
    split = du.turnbull(
        np.r_[lower, lower][::-1], np.r_[upper, upper][::-1], weight=np.r_[weight * part, weight * (1 - part)][::-1]
    )
    assert split.mass == pytest.approx(fit.mass, abs=1e-5)
    assert du.turnbull(lower[order], upper[order], weight=5 * weight[order]).mass == pytest.approx(fit.mass, abs=1e-5)


# -------------------------------------------------------------------------------------------------------------- influence


@given(seeds, units, shifts)
@settings(deadline=None)
def test_a_weighted_gap_lies_between_the_smallest_and_the_largest_and_follows_the_unit(seed, unit, shift):
    rng = generator(seed)
    position, weight, order = rng.normal(size=5), rng.uniform(0.1, 2, 5), rng.permutation(5)
    found = float(im.influence_weighted_gap(position, weight))
    apart = np.abs(position[:, None] - position[None, :])[np.triu_indices(5, 1)]
    assert apart.min() - 1e-12 <= found <= apart.max() + 1e-12
    assert float(im.influence_weighted_gap(unit * position[order] + shift, 3 * weight[order])) == pytest.approx(
        unit * found, rel=1e-6, abs=1e-9
    )
    assert float(im.influence_weighted_gap(position, np.full(5, 0.7))) == pytest.approx(
        float(im.influence_weighted_gap(position))
    )


@given(seeds, units)
@settings(deadline=None, max_examples=25)
def test_abilities_are_those_of_a_logistic_regression_and_rise_with_wins(seed, unit):
    """Bradley and Terry (1952): expected wins are the wins there are. More wins over one item lift the winner above it."""
    rng = generator(seed)
    wins = rng.uniform(0.5, 6.0, (2, 4, 4))
    wins[:, range(4), range(4)] = 0.0
    names = ["a", "b", "c", "d"]
    found = im.abilities(wins, names)
    assert found.sum(axis=1) == pytest.approx(0.0, abs=1e-9)
    for layer, ability in zip(wins, found, strict=True):
        p = 1 / (1 + np.exp(ability[None, :] - ability[:, None]))
        assert ((layer + layer.T) * p).sum(axis=1) - np.diag(layer + layer.T) == pytest.approx(layer.sum(axis=1))
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    X = np.array([np.eye(4)[i] - np.eye(4)[j] for i, j in pairs])[:, 1:]
    fit = sm.GLM(np.ones(12), X, sm.families.Binomial(), freq_weights=[wins[0, i, j] for i, j in pairs]).fit(tol=1e-12)
    assert found[0, 1:] - found[0, 0] == pytest.approx(fit.params, abs=1e-5)
    order = rng.permutation(4)
    assert im.abilities(unit * wins[:, order][:, :, order], names) == pytest.approx(found[:, order], abs=1e-6)
    assert im.abilities(wins.transpose(0, 2, 1), names) == pytest.approx(-found, abs=1e-6)
    wins[:, 0, 1] += 1.0
    more = im.abilities(wins, names)
    assert (more[:, 0] - more[:, 1] > found[:, 0] - found[:, 1]).all()


# ---------------------------------------------------------------------------------------------- profiles and answer sets


@given(st.lists(st.floats(0, 9), min_size=2, max_size=7).filter(lambda x: sum(x) > 0.1), seeds, units)
@settings(deadline=None)
def test_an_effective_number_lies_between_one_and_the_items_cited_and_knows_no_unit_or_order(amounts, seed, unit):
    """Hill (1973); Jost (2006): twice as many items, each cited as the first, are twice the effective number."""
    x = np.array(amounts)
    found = float(pf.hill_number(x))
    assert 1 - 1e-12 <= found <= (x > 0).sum() + 1e-9
    assert found == pytest.approx(np.exp(stats.entropy(x)))
    assert float(pf.hill_number(unit * x[generator(seed).permutation(len(x))])) == pytest.approx(found)
    assert float(pf.hill_number(np.r_[x, x])) == pytest.approx(2 * found)
    # What is taken from a more to a less cited item, by less than their distance, spreads the citations.
    most, least = int(np.argmax(x)), int(np.argmin(x))
    if x[most] - x[least] > 0.1:
        x[most], x[least] = x[most] - 0.04, x[least] + 0.04
        assert float(pf.hill_number(x)) > found


def profiles_of(rng, groups, items):
    return rng.dirichlet(np.full(items, 0.7), size=groups)


@given(seeds, st.integers(2, 6), st.integers(3, 6), units)
@settings(deadline=None)
def test_a_mean_dissimilarity_is_that_of_every_two_groups_and_falls_as_items_are_merged(seed, groups, items, unit):
    rng = generator(seed)
    q = profiles_of(rng, groups, items)
    found = float(pf.mean_dissimilarity(q))
    pairs = [0.5 * sum(abs(a - b)) for a, b in itertools.combinations(q, 2)]
    assert found == pytest.approx(np.mean(pairs), abs=1e-12)
    assert 0 <= found <= 1
    names, order = rng.permutation(groups), rng.permutation(items)
    moved = unit * q[np.ix_(names, order)] + rng.normal(size=items)
    assert float(pf.mean_dissimilarity(moved)) == pytest.approx(unit * found, abs=1e-9)
    merged = np.column_stack([q[:, 0] + q[:, 1], q[:, 2:]])
    assert float(pf.mean_dissimilarity(merged)) <= found + 1e-12, "the triangle's inequality"
    assert float(pf.mean_dissimilarity(q[np.r_[np.zeros(groups, int)]])) == pytest.approx(0.0, abs=1e-12)


def squared_spread(q):
    return ((q - q.mean(axis=-2, keepdims=True)) ** 2).sum(axis=(-2, -1))


def citations_of(rng, groups=4, items=5, replicates=40):
    p = rng.uniform(0.2, 0.4, items) + 0.15 * rng.random() * rng.random((groups, items))
    layers = np.vstack([p[None], p + rng.normal(scale=0.02, size=(replicates, groups, items))])
    return np.maximum(layers, 0.01), rng.integers(10, 60, groups)


@given(seeds, units)
@settings(deadline=None, max_examples=20)
def test_a_divergence_beyond_chance_is_nil_where_noise_reaches_it_and_all_of_it_without_noise(seed, unit):
    rng = generator(seed)
    layers, clusters = citations_of(rng)
    found = pf.beyond_chance(layers, clusters, squared_spread)
    q = layers / layers.sum(axis=-1, keepdims=True)
    centre = q[0].mean(axis=0)
    noise = (q[1:] - q[0]) * np.sqrt(clusters / (clusters - 1))[:, None]
    alone = np.array([squared_spread(centre + each) for each in noise])
    assert found.observed == pytest.approx(squared_spread(q[0]))
    assert found.chance == pytest.approx(alone.mean())
    assert np.array_equal(found.draws == 0, alone >= found.observed)
    assert (found.draws >= 0).all()
    assert found.estimate == np.median(found.draws)
    names, items = rng.permutation(4), rng.permutation(5)
    amount = unit * rng.uniform(0.5, 2.0, (len(layers), 4, 1))
    other = pf.beyond_chance((amount * layers)[:, names][:, :, items], clusters[names], squared_spread)
    assert other.draws == pytest.approx(found.draws, abs=1e-6)
    # The more noise chance is said to bring, the more draws are nil.
    more = pf.beyond_chance(layers, clusters, squared_spread, chance=3 * found.chance)
    assert (found.draws == 0).sum() <= (more.draws == 0).sum()
    assert more.chance == pytest.approx(3 * found.chance)
    assert pf.beyond_chance(layers, clusters, squared_spread, chance=found.chance).draws == pytest.approx(
        found.draws, abs=1e-4
    )
    sure = pf.beyond_chance(np.repeat(layers[:1], 9, axis=0), clusters, squared_spread)
    assert sure.draws == pytest.approx(sure.observed, rel=1e-5)


@given(seeds, units)
@settings(deadline=None, max_examples=20)
def test_a_dissimilarity_beyond_chance_is_at_least_what_is_left_of_it_and_less_with_more_chance(seed, unit):
    rng = generator(seed)
    layers, clusters = citations_of(rng)
    found = pf.dissimilarity_beyond_chance(layers, clusters)
    q = layers / layers.sum(axis=-1, keepdims=True)
    assert found.observed == pytest.approx(float(pf.mean_dissimilarity(q[0])))
    assert (found.draws >= 0).all()
    noise = (q[1:] - q[0]) * np.sqrt(clusters / (clusters - 1))[:, None]
    scatter = pf.mean_dissimilarity(q[0] + noise)
    least = np.maximum(found.observed + scatter - scatter.mean() - found.chance, 0)
    assert (found.draws >= least - 1e-12).all()
    assert np.median(least) - 1e-12 <= found.estimate <= found.draws.max() + 1e-12
    lower = scatter < np.median(scatter)
    assert found.draws[lower] == pytest.approx(least[lower], abs=1e-12)
    more = pf.dissimilarity_beyond_chance(layers, clusters, chance=1.5 * found.chance)
    assert more.chance == pytest.approx(1.5 * found.chance)
    assert more.estimate <= found.estimate + 1e-9
    assert (np.diff(found.draws[np.argsort(scatter)]) >= -1e-12).all(), "a curve, read at the places of the replicates"
    names, items = rng.permutation(4), rng.permutation(5)
    amount = unit * rng.uniform(0.5, 2.0, (len(layers), 4, 1))
    other = pf.dissimilarity_beyond_chance((amount * layers)[:, names][:, :, items], clusters[names])
    assert other.draws == pytest.approx(found.draws, abs=1e-9)
    assert other.estimate == pytest.approx(found.estimate, abs=1e-6)


def answer_sets(rng, people=18, items=5):
    cited = (rng.random((people, items)) < rng.uniform(0.2, 0.8, items)).astype(int)
    return cited, rng.integers(0, 5, people), rng.integers(0, 3, people)


@given(seeds, st.integers(1, 6))
@settings(deadline=None)
def test_overlap_of_two_sets_is_that_of_sets_and_its_complement_a_distance(seed, items):
    """Levandowsky and Winter (1971): one less the index obeys the triangle's inequality."""
    rng = generator(seed)
    ticks = (rng.random((3, items)) < 0.5).astype(int)
    sets = [set(np.flatnonzero(row)) for row in ticks]
    order = rng.permutation(items)
    found = {}
    for a, b in ((0, 1), (1, 2), (0, 2)):
        value = found[a, b] = float(ov.jaccard(ticks[a], ticks[b]))
        either = sets[a] | sets[b]
        assert value == pytest.approx(len(sets[a] & sets[b]) / len(either) if either else 0.0)
        assert 0 <= value <= 1
        assert float(ov.jaccard(ticks[b][order], ticks[a][order])) == value
        assert (value == 1) == (sets[a] == sets[b] and len(either) > 0)
    if all(sets):
        assert 1 - found[0, 2] <= 2 - found[0, 1] - found[1, 2] + 1e-12
    assert ov.jaccard(ticks[:2], ticks[1:]) == pytest.approx([found[0, 1], found[1, 2]])


@given(seeds, st.integers(1, 4))
@settings(deadline=None)
def test_answers_of_teams_are_counted_team_by_team(seed, minimum):
    rng = generator(seed)
    cited, team, _ = answer_sets(rng)
    cited[team == 0] = 0
    found = ov.team_answers(cited, team, minimum=minimum)
    assert found.team.tolist() == [t for t in range(5) if (team == t).sum() >= minimum]
    for t, informants, share, number in zip(
        found.team, found.informants, found.majority_share, found.effective_number, strict=True
    ):
        own = [set(np.flatnonzero(row)) for row in cited[team == t]]
        said = Counter(item for answers in own for item in answers)
        assert informants == len(own)
        if not said:
            assert np.isnan([share, number]).all()
            continue
        assert share == pytest.approx(sum(2 * n > len(own) for n in said.values()) / len(said))
        assert number == pytest.approx(np.exp(stats.entropy(list(said.values()))))
        assert 0 <= share <= 1 <= number + 1e-12
        assert number <= len(said) + 1e-9
    order, items = rng.permutation(len(cited)), rng.permutation(5)
    other = ov.team_answers(cited[order][:, items], team[order], minimum=minimum)
    assert np.array_equal(other.majority_share, found.majority_share, equal_nan=True)
    assert other.effective_number == pytest.approx(found.effective_number, nan_ok=True)


def overlap_by_loops(cited, team, role):
    """Mean overlap within each team, and of the same roles elsewhere, for teams of three or more; None without two teams."""
    people = [i for i in range(len(team)) if (team == team[i]).sum() >= 3]

    def elsewhere(a, b):
        return [
            float(ov.jaccard(cited[i], cited[j]))
            for i in people
            for j in people
            if team[i] != team[j] and (role[i], role[j]) == (role[a], role[b])
        ]

    within, expected = {}, {}
    for t in sorted({int(team[i]) for i in people}):
        own = [(a, b) for a, b in itertools.combinations([i for i in people if team[i] == t], 2) if elsewhere(a, b)]
        if own:
            within[t] = np.mean([float(ov.jaccard(cited[a], cited[b])) for a, b in own])
            expected[t] = np.mean([np.mean(elsewhere(a, b)) for a, b in own])
    return (within, expected) if len(within) > 1 else None


@pytest.mark.filterwarnings("error")
@given(seeds)
@settings(deadline=None, max_examples=25)
def test_overlap_in_teams_is_that_of_loops_and_ignores_order_and_names(seed):
    rng = generator(seed)
    cited, team, role = answer_sets(rng)
    by_hand = overlap_by_loops(cited, team, role)
    assume(by_hand is not None)
    m = np.vstack([np.ones(5), rng.exponential(size=(4, 5))])
    found = ov.team_overlap(cited, team, role, m)
    within, expected = by_hand
    assert found.teams == len(within)
    assert found.expected[0] == pytest.approx(np.mean(list(expected.values())))
    layers = np.vstack([np.ones(5), m])
    by_layer = [np.average(list(within.values()), weights=row[list(within)]) for row in layers]
    assert found.within == pytest.approx(by_layer)
    assert found.expected[1] == pytest.approx(found.expected[0]), "a replicate of ones is the sample"
    assert ((found.within >= 0) & (found.within <= 1)).all()
    order, names, items = rng.permutation(len(team)), rng.permutation(5), rng.permutation(5)
    columns = np.empty_like(m)
    columns[:, names] = m
    other = ov.team_overlap(cited[order][:, items], names[team][order], 9 - role[order], columns)
    assert other.within == pytest.approx(found.within)
    assert other.expected == pytest.approx(found.expected)


@given(seeds, st.integers(1, 8), st.integers(1, 3))
@settings(deadline=None)
def test_overlap_over_all_sets_is_that_of_pairs(seed, items, roles):
    """The quadrature of 1 / |x or y| has no error: both ways agree to the rounding of their sums, empty sets included."""
    rng = generator(seed)
    sets = np.unique(rng.integers(0, 2, (20, items)), axis=0).astype(float)
    holders = rng.integers(0, 9, (len(sets), roles)).astype(float)
    by_hand = [sum(float(ov.jaccard(a, b)) * h for b, h in zip(sets, holders, strict=True)) for a in sets]
    assert ov._set_by_set(sets, holders) == pytest.approx(np.array(by_hand), rel=1e-13, abs=1e-13)
    assert ov._over_all_sets(sets, holders) == pytest.approx(np.array(by_hand), rel=1e-13, abs=1e-13)


# -------------------------------------------------------------------------------------------------- rankings and their map


def rankings(rng, people=14, items=4):
    """Complete rankings that lean one way, so that no two axes of their map keep the same variance."""
    return np.argsort(np.argsort(np.arange(items) + rng.normal(scale=1.5, size=(people, items)), axis=1), axis=1) + 1


@given(seeds, st.integers(2, 6), units)
@settings(deadline=None)
def test_products_of_unit_vectors_are_rank_correlations(seed, items, unit):
    rng = generator(seed)
    ranks = rng.integers(1, items + 1, (6, items)).astype(float)
    ranks[0], ranks[1, 0] = 2.0, np.nan
    z = pt.unit_vectors(ranks)
    alike = (ranks == ranks[:, :1]).all(axis=1)
    missing = np.isnan(ranks).any(axis=1)
    assert np.array_equal(np.isnan(z).all(axis=1), alike | missing)
    known = np.flatnonzero(~(alike | missing))
    assert np.isfinite(z[known]).all()
    assert z[known].sum(axis=1) == pytest.approx(0.0, abs=1e-12)
    assert (z[known] ** 2).sum(axis=1) == pytest.approx(1.0)
    for a, b in itertools.combinations(known, 2):
        assert z[a] @ z[b] == pytest.approx(stats.spearmanr(ranks[a], ranks[b]).statistic, abs=1e-9)
        assert ranks[a][np.argmax(z[a])] == ranks[a].min(), "the first rank points farthest"
    order, places = rng.permutation(6), rng.permutation(items)
    assert pt.unit_vectors(unit * ranks[order][:, places]) == pytest.approx(z[order][:, places], nan_ok=True)
    assert pt.unit_vectors(-ranks) == pytest.approx(-z, abs=1e-12, nan_ok=True)


def moments_of(z, group, weight):
    """Second moments and mean vectors of two groups in each layer of weights (L, n)."""
    share = weight / weight.sum(axis=1, keepdims=True)
    by_group = [(weight * (group == g)) @ z / (weight * (group == g)).sum(axis=1, keepdims=True) for g in (0, 1)]
    return np.einsum("ln,np,nq->lpq", share, z, z), np.stack(by_group, axis=1)


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_a_map_is_the_same_whatever_the_names_and_no_turn_brings_a_replicate_nearer(seed):
    rng = generator(seed)
    z, group = pt.unit_vectors(rankings(rng)), np.repeat([0, 1], 7)
    moment, prototypes = moments_of(z, group, np.vstack([np.ones(14), rng.exponential(size=(5, 14))]))
    values = np.linalg.eigvalsh(moment[0])[::-1]
    assume((-np.diff(values[:3]) > 1e-3).all())
    found = pt.consensus_map(moment, prototypes)
    assert found.variance_kept == pytest.approx(values[:2] / values.sum())
    assert 1 >= found.variance_kept[0] >= found.variance_kept[1] >= 0
    assert found.variance_kept.sum() <= 1 + 1e-12
    flat = np.einsum("lpi,lpj->lij", found.items, found.items)
    assert flat == pytest.approx(np.broadcast_to(np.eye(2), flat.shape), abs=1e-9)
    assert (np.linalg.norm(found.prototypes, axis=2) <= np.linalg.norm(prototypes, axis=2) + 1e-9).all()
    assert found.prototypes == pytest.approx(np.einsum("lgp,lpi->lgi", prototypes, found.items))
    plain = ag.strategic_consensus(-rankings(generator(seed)), group)
    assert np.abs(found.items[0]) == pytest.approx(np.abs(plain.items_map), abs=1e-6)
    angles = rng.uniform(0, 2 * np.pi, 20)
    for b in range(1, 6):
        apart = np.linalg.norm(found.items[b] - found.items[0])
        for angle, side in itertools.product(angles, (1, -1)):
            turn = np.array([[np.cos(angle), -side * np.sin(angle)], [np.sin(angle), side * np.cos(angle)]])
            assert apart <= np.linalg.norm(found.items[b] @ turn - found.items[0]) + 1e-9
    # Signs hang on the farthest item, so only a tie of two could turn an axis when items change their places.
    far = np.sort(np.abs(found.items[0]), axis=0)
    assume((far[-1] - far[-2] > 1e-6).all())
    order = rng.permutation(4)
    other = pt.consensus_map(moment[:, order][:, :, order], prototypes[:, ::-1][:, :, order])
    assert other.items == pytest.approx(found.items[:, order], abs=1e-6)
    assert other.prototypes == pytest.approx(found.prototypes[:, ::-1], abs=1e-6)


# ----------------------------------------------------------------------------------------------------- nothing left out

# No indices: readers, optimisers and tables, whose tests are named beside them.
NOT_INDICES = {
    "as_layers": "reads weights: tests/test_layers.py",
    "compare": "a table of fits: tests/test_ordinal_mixed.py",
    "distinct_columns": "numbers the columns of a table: tests/test_many_organisations.py",
    "distinct_rows": "numbers the cells of a table: tests/test_many_organisations.py",
    "estimated_means": "checked against R and two integrals: tests/test_ordinal_means.py",
    "evaluate": "derivatives against differences: tests/test_ordinal_mixed.py",
    "grouped": "sums of weights against the array's: tests/test_layers.py",
    "layer_weights": "weights against the array's: tests/test_layers.py",
    "maximise": "the optimiser behind every fit: tests/test_ordinal_mixed.py",
    "maximise_crossed": "the optimiser behind every fit: tests/test_ordinal_crossed.py",
    "ordered_answer": "reads a column: tests/test_ordinal_formula.py",
    "movable": "counts units: tests/test_many_organisations.py",
    "predictors_of": "reads new data: tests/test_ordinal_formula.py",
    "read_formula": "reads a formula: tests/test_ordinal_formula.py",
    "reference_grid": "crosses factors: tests/test_ordinal_means.py",
    "spans": "blocks of layers: tests/test_layers.py",
    "upper_sums": "replicated totals against the array's: tests/test_layers.py",
}


def public_functions():
    found = {}
    for module in pkgutil.iter_modules(fieldwork.statistics.__path__):
        loaded = importlib.import_module(f"fieldwork.statistics.{module.name}")
        for name in getattr(loaded, "__all__", ()):
            value = getattr(loaded, name)
            if inspect.isfunction(value) and value.__module__ == loaded.__name__:
                found[name] = module.name
    return found


def names_in_properties():
    """Names that tests by hypothesis use, themselves or through what they call in their own file."""
    held = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        made = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        made |= {
            target.id: node
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        left = [
            node
            for node in made.values()
            if isinstance(node, ast.FunctionDef) and any("given" in ast.unparse(d) for d in node.decorator_list)
        ]
        seen = set()
        while left:
            for node in ast.walk(left.pop()):
                name = getattr(node, "id", None) if isinstance(node, ast.Name) else getattr(node, "attr", None)
                if name and name not in seen:
                    seen.add(name)
                    left += [made[name]] if name in made else []
        held |= seen
    return held


def test_every_index_has_a_property():
    functions, held = public_functions(), names_in_properties()
    assert len(functions) > 60
    lacking = {name: module for name, module in functions.items() if name not in held and name not in NOT_INDICES}
    assert not lacking, f"write a property by hypothesis for {lacking}"
    assert set(NOT_INDICES) <= set(functions), "a name that is excused no longer exists"


def test_a_property_refuses_what_is_not_there():
    with pytest.raises(DesignError):
        one_way([[1.0], [2.0]])
