"""What must not move an index, what must, and within which bounds: the properties that no other test of an index holds.

Bounds, order of rows, names of groups, origin and unit of scales, rows split by their weights, and monotonicity where the
literature states it. The last test reads all tests and refuses an index of `fieldwork.statistics` without a property.
"""

import ast
import importlib
import inspect
import pkgutil
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fieldwork.statistics
from fieldwork.errors import DesignError
from fieldwork.statistics import CumulativeLinkMixedModel
from fieldwork.statistics import agreement as ag
from fieldwork.statistics import convergence as cv
from fieldwork.statistics import duration as du
from fieldwork.statistics import influence_model as im
from fieldwork.statistics import intervals as iv
from fieldwork.statistics import multiplicity as mp
from fieldwork.statistics import multiresponse as mr
from fieldwork.statistics import replicates as rp
from fieldwork.statistics.adjustment import adjusted_effects
from fieldwork.statistics.cumulative_links import LINKS, link_named
from fieldwork.statistics.decomposition import dominance_of, kitagawa
from fieldwork.statistics.ordinal_means import answer_probabilities
from fieldwork.statistics.proportion import korn_graubard
from fieldwork.statistics.proportional_odds import proportional_odds_test
from fieldwork.statistics.ranks import normal_errors, rank_sets
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
def test_a_log_ratio_turns_its_sign_with_its_sides(first, seed):
    a = np.array(first)
    b = generator(seed).uniform(0, 5, len(a)) * (generator(seed + 1).random(len(a)) < 0.8)
    assert np.array_equal(log_ratio(a, b), -log_ratio(b, a), equal_nan=True)
    assert np.isnan(log_ratio(0 * a, 0 * a)).all()


@given(seeds, shifts, units)
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


# -------------------------------------------------------------------------------------------------------------- agreement


@given(st.lists(st.integers(0, 8), min_size=2, max_size=7).filter(lambda n: sum(n) >= 2), seeds)
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
        assert r <= found <= float(ag.r_wg_j(np.vstack([counts, counts]))) + 1e-12
    one = float(ag.r_wg_j(counts[:1]))
    assert one == pytest.approx(float(ag.r_wg(counts[0]))) or one == -np.inf


@given(st.integers(2, 7), st.sampled_from([2, 5, 7]), st.sampled_from(["uniform", "slight_skew"]))
@settings(max_examples=20)
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
@settings(max_examples=6)
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


# ------------------------------------------------------------------------------------------------------------ reliability


@given(st.integers(2, 6), st.floats(0.05, 0.95), st.floats(0.0, 0.04), seeds)
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
@settings(max_examples=25)
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
@settings(max_examples=25)
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
@settings(max_examples=10)
def test_permutation_ignores_names_of_groups_and_their_p_values_are_probabilities(seed, names):
    data = multiple(seed, 18)
    assume(data["group"].nunique() == 3)
    first = mr.permutation_test(data[ITEMS], data["group"], permutations=99)
    renamed = data["group"].map(dict(zip(["CEO", "CFO", "CTO"], names, strict=True)))
    second = mr.permutation_test(data[ITEMS], renamed, permutations=99)
    assert second.observed == pytest.approx(float(first.observed))
    assert 0 < float(first.p_value) <= 1


@given(st.lists(st.integers(0, 9), min_size=3, max_size=6).filter(any), st.integers(0, 5))
def test_concentration_grows_as_the_largest_takes_from_another(amounts, place):
    x = np.array(amounts, dtype=float)
    top, at = int(np.argmax(x)), place % len(x)
    assume(at != top and x[at] > 0)
    moved = x.copy()
    moved[top] += 1
    moved[at] -= 1
    assert float(mr.concentration(moved)) > float(mr.concentration(x))


@given(st.integers(1, 38), st.floats(0.6, 2.5), st.integers(3, 40))
def test_intervals_of_proportions_mirror_and_move_with_the_share(hits, factor, clusters):
    def at(k):
        p = k / 40
        return korn_graubard(p, factor * np.sqrt(p * (1 - p) / 40), 40, clusters)

    plain, mirrored = at(hits), at(40 - hits)
    assert mirrored.conf_low == pytest.approx(1 - plain.conf_high, abs=1e-9)
    assert mirrored.conf_high == pytest.approx(1 - plain.conf_low, abs=1e-9)
    assert at(hits + 1).conf_low >= plain.conf_low - 1e-12
    assert at(hits + 1).conf_high >= plain.conf_high - 1e-12


# ------------------------------------------------------------------------------------------- tests, families and verdicts


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), min_size=1), seeds)
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
@settings(max_examples=8)
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


# ------------------------------------------------------------------------------------------------------------------ ranks


@given(seeds, units)
@settings(max_examples=25)
def test_rank_sets_widen_with_the_errors_and_drawn_errors_follow_their_covariance(seed, unit):
    rng = generator(seed)
    estimates = rng.normal(size=5)
    V = 0.1 * covariance_of(rng, 5)
    errors = normal_errors(V, 2000, seed=1)
    assert np.array_equal(errors, normal_errors(V, 2000, seed=1))
    assert normal_errors(unit**2 * V, 2000, seed=1) == pytest.approx(unit * errors, abs=1e-9 * unit)
    assert np.cov(errors, rowvar=False) == pytest.approx(V, abs=6 * np.abs(V).max() / np.sqrt(2000))
    narrow, wide = rank_sets(estimates, errors), rank_sets(estimates, 2.0 * errors)
    assert (wide.low <= narrow.low).all()
    assert (wide.high >= narrow.high).all()


# ------------------------------------------------------------------------------------------------ decomposition, movement


@given(seeds, st.permutations(list("abc")))
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
def test_a_less_reliable_start_makes_the_corrected_slope_less_negative(slope, reliability, more):
    found = cv.corrected_beta(slope, reliability)
    assert cv.corrected_beta(slope, 1.0) == pytest.approx(slope)
    if slope > -1:
        assert found >= cv.corrected_beta(slope, reliability + more) - 1e-12
        assert found >= slope - 1e-12


@given(seeds, shifts, units)
@settings(max_examples=25)
def test_stability_of_an_order_keeps_its_bounds_and_knows_no_unit(seed, shift, unit):
    means = generator(seed).normal(size=(3, 5))
    found = cv.rank_stability(means).w
    assert 0 <= found <= 1
    assert cv.rank_stability(unit * means + shift).w == pytest.approx(found)
    assert cv.rank_stability(-means[:, ::-1]).w == pytest.approx(found)
    assert cv.rank_stability(np.vstack([means[:1]] * 3)).w == pytest.approx(1.0)


@given(seeds, shifts, units)
@settings(max_examples=40)
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
@settings(max_examples=25)
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


# ------------------------------------------------------------------------------------------------- replicates, intervals


@given(seeds, shifts, units)
@settings(max_examples=30)
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
def test_small_sample_factors_fall_to_one_as_clusters_grow(clusters, more, level):
    factors, scales = (
        rp.small_sample_factor([clusters, clusters + more]),
        rp.t_scale([clusters, clusters + more], level),
    )
    assert factors[0] > factors[1] > 1
    assert scales[0] > scales[1] > 1
    assert rp.t_scale([clusters], level + 0.01)[0] > scales[0]


@given(seeds, st.integers(0, 2**62))
@settings(max_examples=25)
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
@settings(max_examples=20)
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


# ---------------------------------------------------------------------------------------------------------- ordinal models


@given(
    st.sampled_from(list(LINKS)), st.floats(-4, 4), st.floats(0.01, 3), st.floats(0.0, 4.0),
    st.lists(st.floats(0.1, 2), min_size=1, max_size=5),
)  # fmt: skip
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


@given(st.sampled_from(list(LINKS)), st.floats(-5, 5), st.floats(0.05, 5), st.floats(-3, 3))
def test_log_probabilities_are_concave_in_the_predictor(link, low, gap, shift):
    """Pratt (1981), Burridge (1981): what makes the maximum unique."""
    s = link_named(link).slopes(np.array([low + gap]), np.array([low]), np.array([shift]))
    assert s.log_p[0] < 0
    assert s.by_a[0] > 0 > s.by_b[0]
    assert s.upper[0] <= 0
    assert s.lower[0] <= 0


@given(seeds, st.sampled_from(list(LINKS)))
@settings(max_examples=8)
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


# ----------------------------------------------------------------------------------------------------- nothing left out

# No indices: readers, optimisers and tables, whose tests are named beside them.
NOT_INDICES = {
    "compare": "a table of fits: tests/test_ordinal_mixed.py",
    "estimated_means": "checked against R and two integrals: tests/test_ordinal_means.py",
    "evaluate": "derivatives against differences: tests/test_ordinal_mixed.py",
    "maximise": "the optimiser behind every fit: tests/test_ordinal_mixed.py",
    "maximise_crossed": "the optimiser behind every fit: tests/test_ordinal_crossed.py",
    "ordered_answer": "reads a column: tests/test_ordinal_formula.py",
    "predictors_of": "reads new data: tests/test_ordinal_formula.py",
    "read_formula": "reads a formula: tests/test_ordinal_formula.py",
    "reference_grid": "crosses factors: tests/test_ordinal_means.py",
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
