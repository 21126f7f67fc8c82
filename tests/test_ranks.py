"""Confidence sets for ranks: worked examples, the studentised range, invariances, joint coverage by simulation."""

import itertools
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fieldwork.errors import DesignError
from fieldwork.statistics.ranks import normal_errors, rank_curves, rank_sets
from fieldwork.statistics.replicates import cluster_keys, multipliers, small_sample_factor

REFERENCE = tomllib.loads((Path(__file__).parent / "reference" / "agreement.toml").read_text())["ranks"]
# measures.md 2.3, oracle: four means, standard error of each -> sets.
MEANS = [4.5, 3.0, 2.9, 2.0]
SETS = {0.2: [(1, 1), (2, 3), (2, 3), (4, 4)], 0.4: [(1, 1), (2, 4), (2, 4), (2, 4)]}
TIERS = {0.2: [1, 2, 2, 3], 0.4: [1, 2, 2, 2]}


def _ends(sets):
    return list(zip(sets.rank_low.tolist(), sets.rank_high.tolist(), strict=True))


@pytest.mark.parametrize("se", SETS)
@pytest.mark.parametrize("step_down", [True, False])
def test_worked_example(se, step_down):
    sets = rank_sets(MEANS, covariance=se**2 * np.eye(4), step_down=step_down)
    assert _ends(sets) == SETS[se]
    assert sets.tier.tolist() == TIERS[se]
    assert sets.rank.tolist() == [1, 2, 3, 4]
    assert round(sets.critical, 3) == 2.638  # printed beside the oracle
    drawn = rank_sets(MEANS, normal_errors(se**2 * np.eye(4), 4000), step_down=step_down)
    assert _ends(drawn) == SETS[se]


@pytest.mark.parametrize("position", range(3))
def test_first_critical_value_is_the_studentised_range(position):
    groups = int(REFERENCE["groups"][position])
    errors = normal_errors(np.eye(groups), 60_000, seed=1)
    found = rank_sets(np.zeros(groups), errors, covariance=np.eye(groups))
    assert found.critical == pytest.approx(REFERENCE["critical"][position], abs=0.025)
    bonferroni = rank_sets(np.zeros(groups), covariance=np.eye(groups))
    assert bonferroni.critical == pytest.approx(REFERENCE["bonferroni"][position], rel=1e-10)


def test_bonferroni_steps_down_as_holm_does():
    """p-values of the pairs against Holm's bounds by hand: 12 pairs, then those that are left."""
    means, se = [1.0, 0.0, -0.42, -0.78], 0.1
    z = (np.subtract.outer(means, means)) / (se * np.sqrt(2))
    p = stats.norm.sf(z[~np.eye(4, dtype=bool)])
    rejected = 0
    while (p <= 0.05 / (12 - rejected)).sum() > rejected:
        rejected = int((p <= 0.05 / (12 - rejected)).sum())
    stepped = rank_sets(means, covariance=se**2 * np.eye(4))
    single = rank_sets(means, covariance=se**2 * np.eye(4), step_down=False)
    assert stepped.surely_above.sum() == rejected == 6
    assert single.surely_above.sum() == 5


def test_few_organisations_widen_the_sets():
    V = 0.25**2 * np.eye(4)
    wide, narrow = (rank_sets([3.0, 2.0, 1.0, 0.0], covariance=V, df=df) for df in (4, math.inf))
    assert wide.surely_above.sum() < narrow.surely_above.sum()
    # Bonferroni with t is exact: the deviate of T = t(12 pairs, df) is the normal critical value.
    bound = stats.t.isf(0.05 / 2, 7) * np.sqrt(2)
    just, short = (rank_sets([bound * by, 0.0], covariance=np.eye(2), df=7) for by in (1.0001, 0.9999))
    assert (just.surely_above.sum(), short.surely_above.sum()) == (1, 0)
    by_pair = np.full((4, 4), math.inf)
    by_pair[0, :] = by_pair[:, 0] = 2
    mixed = rank_sets([3.0, 2.0, 1.0, 0.0], covariance=V, df=by_pair)
    assert not mixed.surely_above[0].any()
    assert (mixed.surely_above[1:] == narrow.surely_above[1:]).all()


def test_tiers_of_a_chain_and_of_a_noisy_group_in_between():
    """First and third of a chain are surely ordered, but neither is apart from the second: one tier."""
    chain = rank_sets([1.0, 0.5, 0.0], covariance=0.2**2 * np.eye(3))
    assert chain.surely_above[0, 2]
    assert chain.tier.tolist() == [1, 1, 1]
    # The middle one is known exactly, its neighbours hardly: they span it, so no line can be drawn.
    noisy = rank_sets([0.6, 0.0, -0.6], covariance=np.diag([0.2, 0.0001, 0.2]) ** 2)
    assert noisy.surely_above[0, 1]
    assert noisy.surely_above[1, 2]
    apart = rank_sets([2.0, 2.0, 0.0], covariance=0.1**2 * np.eye(3))
    assert apart.rank.tolist() == [1, 1, 3]
    assert _ends(apart) == [(1, 2), (1, 2), (3, 3)]
    assert apart.tier.tolist() == [1, 1, 2]


estimates = st.lists(st.floats(-3, 3), min_size=2, max_size=8)


@given(estimates, st.floats(0.02, 1.5), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_sets_hold_the_observed_rank_and_follow_from_sure_pairs(theta, scale, seed):
    rng = np.random.default_rng(seed)
    groups = len(theta)
    errors = rng.normal(size=(150, groups)) * scale * rng.uniform(0.5, 2, groups)
    for simultaneous, step_down in itertools.product([True, False], repeat=2):
        sets = rank_sets(theta, errors, simultaneous=simultaneous, step_down=step_down)
        assert ((sets.rank_low <= sets.rank) & (sets.rank <= sets.rank_high)).all()
        assert ((sets.rank_low >= 1) & (sets.rank_high <= groups)).all()
    joint, single = (rank_sets(theta, errors, step_down=step) for step in (True, False))
    assert (joint.surely_above | ~single.surely_above).all()
    assert not (joint.surely_above & joint.surely_above.T).any()
    assert (joint.rank_low == 1 + joint.surely_above.sum(axis=0)).all()
    assert (joint.rank_high == groups - joint.surely_above.sum(axis=1)).all()
    marginal = rank_sets(theta, errors, simultaneous=False, step_down=False)
    assert (marginal.rank_low >= single.rank_low).all()
    assert (marginal.rank_high <= single.rank_high).all()
    # Groups of different tiers are surely ordered, and no finer cut of the observed order would be.
    tier = joint.tier
    for j, k in itertools.product(range(groups), repeat=2):
        assert joint.surely_above[j, k] or not tier[j] < tier[k]
    order = np.argsort(-np.array(theta), kind="stable")
    for cut in range(1, groups):
        apart = joint.surely_above[np.ix_(order[:cut], order[cut:])].all()
        assert (tier[order[cut]] > tier[order[cut - 1]]) == apart


@given(st.permutations(range(5)), st.floats(-3, 3), st.floats(0.1, 5), st.integers(0, 1000))
@settings(max_examples=40)
def test_sets_ignore_labels_origin_unit_and_turn_with_the_sign(order, shift, unit, seed):
    rng = np.random.default_rng(seed)
    theta, errors = rng.normal(size=5), rng.normal(scale=0.4, size=(199, 5))
    order = list(order)
    plain = rank_sets(theta, errors)
    other = rank_sets((theta[order] + shift) * unit, errors[::-1][:, order] * unit)
    assert other.rank_low.tolist() == plain.rank_low[order].tolist()
    assert other.rank_high.tolist() == plain.rank_high[order].tolist()
    assert other.tier.tolist() == plain.tier[order].tolist()
    turned = rank_sets(-theta, -errors)
    assert (turned.rank_low == 6 - plain.rank_high).all()
    assert (turned.rank_high == 6 - plain.rank_low).all()


def test_noise_shared_by_all_groups_does_not_matter():
    theta, errors = np.array([1.0, 0.4, 0.0]), normal_errors(0.1**2 * np.eye(3), 999)
    shared = np.random.default_rng(1).normal(size=(999, 1))
    assert _ends(rank_sets(theta, errors + shared)) == _ends(rank_sets(theta, errors))


def test_normal_errors_follow_seed_and_name():
    V = np.array([[1.0, 0.6], [0.6, 2.0]])
    first = normal_errors(V, 20_000, seed=4, name="roles")
    assert (first == normal_errors(V, 20_000, seed=4, name="roles")).all()
    assert (first != normal_errors(V, 20_000, seed=4, name="stages")).any()
    assert np.cov(first, rowvar=False) == pytest.approx(V, abs=0.06)
    singular = normal_errors(np.eye(3) - 1 / 3, 500)
    assert np.abs(singular.sum(axis=1)).max() < 1e-7


# ---------------------------------------------------------------------------------------------------------- coverage


def _covers(truth, sets):
    """Every rank that a tie could be given lies in the set."""
    best = 1 + (truth[None, :] > truth[:, None]).sum(axis=1)
    worst = len(truth) - (truth[None, :] < truth[:, None]).sum(axis=1)
    return (sets.rank_low <= best) & (worst <= sets.rank_high)


TRUTHS = {
    "ten alike": np.zeros(10),
    "two groups": np.repeat([0.0, 1.0], 5),
    "spread": np.linspace(0, 2, 10),
}


@pytest.mark.parametrize("case", TRUTHS)
def test_joint_coverage(case):
    """400 studies of ten roles, correlated noise: all sets together cover at least .94, less the binomial band of 0.1%."""
    truth = TRUTHS[case]
    rng = np.random.default_rng(20260101)
    V = 0.15**2 * (0.7 * np.eye(10) + 0.3) * np.outer(*[np.linspace(0.7, 1.4, 10)] * 2)
    root = np.linalg.cholesky(V)
    covered = 0
    for _ in range(400):
        errors = rng.normal(size=(399, 10)) @ root.T
        sets = rank_sets(truth + root @ rng.normal(size=10), errors)
        covered += _covers(truth, sets).all()
    assert covered >= stats.binom.ppf(0.001, 400, 0.94)
    if case == "ten alike":
        assert covered <= stats.binom.ppf(0.999, 400, 0.95)  # exact when all hypotheses are true


def test_joint_coverage_with_replicates_of_forty_organisations():
    """Ten roles alike, 40 organisations that share noise; errors from replicate weights, t with 39 degrees of freedom."""
    rng = np.random.default_rng(7)
    truth = np.zeros(10)
    m = multipliers(cluster_keys([f"o{i}" for i in range(40)], 1), 399)
    covered = 0
    for _ in range(400):
        y = rng.normal(size=(40, 10)) + rng.normal(size=(40, 1))
        means = y.mean(axis=0)
        errors = ((m @ y) / m.sum(axis=1, keepdims=True) - means) * small_sample_factor(40)
        covered += _covers(truth, rank_sets(means, errors, df=39)).all()
    assert covered >= stats.binom.ppf(0.001, 400, 0.94)


def test_marginal_coverage_and_width():
    """Marginal sets cover each rank, and are no wider than joint ones; joint sets narrow as noise falls."""
    rng = np.random.default_rng(3)
    truth = np.linspace(0, 1.4, 10)
    covered, width = np.zeros(10), []
    for _ in range(300):
        errors = rng.normal(scale=0.15, size=(199, 10))
        theta = truth + rng.normal(scale=0.15, size=10)
        sets = rank_sets(theta, errors, simultaneous=False)
        covered += _covers(truth, sets)
        joint = rank_sets(theta, errors)
        width.append([np.mean(s.rank_high - s.rank_low) for s in (sets, joint)])
    assert (covered >= stats.binom.ppf(0.0001, 300, 0.94)).all()
    marginal, joint = np.mean(width, axis=0)
    assert marginal < joint < 9


# ------------------------------------------------------------------------------------------------------------ refusals


def test_refusals_in_full():
    with pytest.raises(DesignError) as missing:
        rank_sets([1.0, float("nan")], covariance=np.eye(2))
    assert str(missing.value) == (
        "DesignError: ranks need estimates and their sampling errors\n"
        "  where     statistics.ranks.rank_sets\n"
        "  expected  two or more finite estimates (R,), with errors (B, R) or a covariance (R, R)\n"
        "  got       estimates (2,), errors None, covariance (2, 2), 1 values missing\n"
        "  hint      leave out groups without an estimate or without a standard error"
    )
    with pytest.raises(DesignError) as nil:
        rank_sets([1.0, 2.0, 3.0], covariance=np.diag([1.0, 0.0, 0.0]))
    assert str(nil.value) == (
        "DesignError: a difference between two groups has no sampling variance\n"
        "  where     statistics.ranks.rank_sets\n"
        "  expected  every difference to vary over the replicates\n"
        "  got       groups 1 and 2 (of 0 to 2)\n"
        "  hint      leave out groups that one organisation alone carries, or that repeat another"
    )
    with pytest.raises(DesignError) as few:
        rank_sets([1.0, 2.0], np.random.default_rng(1).normal(size=(18, 2)))
    assert str(few.value) == (
        "DesignError: too few replicates for the level\n"
        "  where     statistics.ranks.rank_sets\n"
        "  expected  at least 19 replicates at level 0.95\n"
        "  got       18\n"
        "  hint      draw more replicates, or leave errors out for Bonferroni's critical value"
    )
    with pytest.raises(DesignError) as indefinite:
        normal_errors([[1.0, 2.0], [2.0, 1.0]])
    assert str(indefinite.value) == (
        "DesignError: the covariance of the estimates is none\n"
        "  where     statistics.ranks.normal_errors\n"
        "  expected  finite numbers with eigenvalues of zero or more, one of them above\n"
        "  got       smallest eigenvalue -1\n"
        "  hint      leave out groups without a standard error"
    )
    for wrong in ({}, {"errors": np.ones((30, 3))}, {"covariance": np.eye(3)}):
        with pytest.raises(DesignError, match="ranks need estimates and their sampling errors"):
            rank_sets([1.0, 2.0], **wrong)


def test_curves_are_single_step_sets_at_every_level():
    """The share of draws that leave a rank open is the level at which the single-step set just excludes it."""
    covariance = 0.25**2 * np.eye(5)
    means = [4.4, 3.6, 3.0, 2.9, 2.0]
    errors = normal_errors(covariance, 3999, seed=2)
    curves = rank_curves(means, errors, covariance=covariance)
    for level in (0.5, 0.8, 0.95):
        sets = rank_sets(means, errors, covariance=covariance, level=level, step_down=False)
        for j in range(5):
            # The set's end at this level is the end of all but a share 1 - level of the draws, ordered by their critical value.
            assert np.quantile(curves.rank_low[:, j], 1 - level, method="lower") <= sets.rank_low[j]
            assert np.mean(curves.rank_low[:, j] < sets.rank_low[j]) <= 1 - level + 1e-9
            assert np.mean(curves.rank_high[:, j] > sets.rank_high[j]) <= 1 - level + 1e-9


def test_curves_of_bonferroni_give_its_p_value():
    means, se = [1.0, 0.6, 0.0], 0.2
    curves = rank_curves(means, covariance=se**2 * np.eye(3), draws=9999)
    p = stats.norm.sf(0.4 / (se * np.sqrt(2)))  # of "the second lies above the first", one of six pairs
    assert np.mean(curves.rank_high[:, 0] > 1) == pytest.approx(min(1.0, 6 * p), abs=2e-4)


def test_curves_of_groups_that_are_alike_exclude_nothing():
    errors = normal_errors(np.eye(4), 999)
    curves = rank_curves(np.zeros(4), errors, covariance=np.eye(4))
    assert np.mean(curves.rank_low > 1) < 0.01
    assert np.mean(curves.rank_high < 4) < 0.01
