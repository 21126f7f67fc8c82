"""Influence: the worked examples, R's values, unbiasedness shown exactly, invariances, error rates, refusals."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.errors import ConvergenceError, DataError, DesignError
from fieldwork.statistics import influence_model
from fieldwork.statistics.influence_model import (
    COMPONENTS,
    abilities,
    bradley_terry,
    group_components,
    influence_weighted_gap,
    point_shares,
    round_robin,
    shrink_effects,
    social_relations,
    target_effects,
)
from fieldwork.statistics.replicates import cluster_keys, infer, multipliers
from fieldwork.statistics.spread import spread

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "influence.toml").read_text())
RATINGS = pd.read_csv(REFERENCE / "influence_ratings.csv")
CHOICES = pd.read_csv(REFERENCE / "influence_choices.csv")
ROLES = VALUES["environment"]["targets"]
NAN = float("nan")


def _effects(frame=RATINGS, **options):
    return target_effects(
        frame["rater"], frame["target"], frame["rating"], own=frame["own"], cluster=frame["org_id"], **options
    )


def _choices(frame=CHOICES, **options):
    return bradley_terry(frame["first"], frame["second"], frame["outcome"], cluster=frame["org_id"], **options)


# ------------------------------------------------------------------------------------------------ worked examples


def test_worked_example_of_the_round_robin():
    """measures.md 2.6: partner 1, 0, -.5, -.5; actor .5, -.5, 0, 0 exactly."""
    fit = round_robin([[NAN, 3.5, 3, 3], [3.5, NAN, 2, 2], [4, 3, NAN, 2.5], [4, 3, 2.5, NAN]])
    assert fit.partner == pytest.approx([1, 0, -0.5, -0.5], abs=1e-12)
    assert fit.actor == pytest.approx([0.5, -0.5, 0, 0], abs=1e-12)
    assert fit.mean == pytest.approx(3)
    assert np.nan_to_num(fit.relationship) == pytest.approx(np.zeros((4, 4)), abs=1e-12)


def test_worked_example_of_the_weighted_gap():
    """measures.md 2.6: positions 4.5/3/2, weights .5/.3/.2 -> 1.7258, unweighted 1.6667."""
    assert influence_weighted_gap([4.5, 3, 2], [0.5, 0.3, 0.2]).round(4) == 1.7258
    assert influence_weighted_gap([4.5, 3, 2]).round(4) == 1.6667


# ------------------------------------------------------------------------------------------- social relations model


@given(st.integers(4, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_complete_round_robins_follow_the_closed_form(n, seed):
    """Warner, Kenny and Stoto's formulas, as measures.md 2.6 and Kenny (1994, appendix B) print them."""
    M = np.random.default_rng(seed).normal(size=(n, n))
    np.fill_diagonal(M, np.nan)
    rows, columns, grand = np.nanmean(M, axis=1), np.nanmean(M, axis=0), np.nanmean(M)
    partner = (n - 1) ** 2 / (n * (n - 2)) * columns + (n - 1) / (n * (n - 2)) * rows - (n - 1) / (n - 2) * grand
    actor = (n - 1) ** 2 / (n * (n - 2)) * rows + (n - 1) / (n * (n - 2)) * columns - (n - 1) / (n - 2) * grand
    fit = round_robin(M)
    assert fit.partner == pytest.approx(partner, abs=1e-9)
    assert fit.actor == pytest.approx(actor, abs=1e-9)
    assert fit.mean == pytest.approx(grand, abs=1e-9)
    g = np.nan_to_num(fit.relationship)
    symmetric = (((g + g.T) / 2) ** 2).sum() / ((n - 1) * (n - 2) / 2 - 1)
    antisymmetric = (((g - g.T) / 2) ** 2).sum() / ((n - 1) * (n - 2) / 2)
    variance, covariance = (symmetric + antisymmetric) / 2, (symmetric - antisymmetric) / 2
    own, other = (n - 1) / (n * (n - 2)), 1 / (n * (n - 2))
    expected = [
        (actor**2).sum() / (n - 1) - own * variance - other * covariance,
        (partner**2).sum() / (n - 1) - own * variance - other * covariance,
        (actor * partner).sum() / (n - 1) - own * covariance - other * variance,
        variance,
        covariance,
    ]
    assert social_relations([M]).by_group[0] == pytest.approx(expected, abs=1e-8)


TRUTH = np.array([0.6, 1.2, 0.3, 0.9, -0.4])


def _simulated_group(n, rng, missing=0.0):
    a_var, p_var, ap, g_var, gg = TRUTH
    effects = rng.multivariate_normal([0, 0], [[a_var, ap], [ap, p_var]], size=n)
    M = effects[:, [0]] + effects[:, 1]
    for i in range(n):
        for j in range(i):
            M[i, j], M[j, i] = np.array([M[i, j], M[j, i]]) + rng.multivariate_normal(
                [0, 0], [[g_var, gg], [gg, g_var]]
            )
    if missing:
        M[rng.random((n, n)) < missing] = np.nan
    return M


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_variance_components_are_unbiased_whatever_is_missing(missing):
    rng = np.random.default_rng(20260107)
    fit = social_relations([_simulated_group(int(n), rng, missing) for n in rng.integers(7, 11, 250)])
    table = fit.components.set_index("component")
    assert tuple(table.index) == COMPONENTS
    # Five estimates beside the truth: 3.5 standard errors are missed once in some 430 such tests.
    assert (np.abs(table["estimate"] - TRUTH) < 3.5 * table["std_error"]).all()
    assert fit.generalised_reciprocity == pytest.approx(0.3 / np.sqrt(0.72), abs=0.15)
    assert fit.dyadic_reciprocity == pytest.approx(-0.4 / 0.9, abs=0.12)
    assert fit.shares.sum() == pytest.approx(1)
    assert 0.7 < fit.partner_reliability < 1


def test_expected_sums_are_exact_for_an_incomplete_round_robin():
    """tr(Q Sigma) against the mean of the sums over the eigenvectors of Sigma: no simulation, so to rounding."""
    rng = np.random.default_rng(4)
    M = rng.normal(size=(6, 6))
    M[0, 3] = M[4, 1] = M[2, 5] = np.nan
    fit = round_robin(M)
    rater, target = np.nonzero(np.isfinite(fit.relationship))
    a, p = np.eye(6)[rater], np.eye(6)[target]
    swap = (rater[:, None] == target) & (target[:, None] == rater)
    structures = [a @ a.T, p @ p.T, a @ p.T + p @ a.T, np.eye(len(rater)), swap.astype(float)]
    Sigma = sum(theta * S for theta, S in zip(TRUTH, structures, strict=True))
    values, vectors = np.linalg.eigh(Sigma)
    total = np.zeros(5)
    for value, vector in zip(values, vectors.T, strict=True):
        pattern = np.full((6, 6), np.nan)
        pattern[rater, target] = vector
        total += value * round_robin(pattern).sums
    assert total == pytest.approx(fit.expectation @ TRUTH, abs=1e-9)


@given(st.integers(4, 7), st.integers(1, 12), st.floats(0, 0.5), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_many_groups_at_once_have_the_components_of_each(n, count, missing, seed):
    """Whatever is missing where; a group that cannot be told apart alone has none."""
    rng = np.random.default_rng(seed)
    ratings = rng.integers(1, 6, (count, n, n)).astype(float)
    ratings[rng.random(ratings.shape) < missing] = np.nan
    ratings[count // 2] = ratings[0]  # one pattern twice
    components, partner = group_components(ratings)
    for group, own, expected in zip(ratings, components, partner, strict=True):
        try:
            alone = social_relations([group])
        except DesignError:
            assert np.isnan([*own, *expected]).all()
            continue
        assert own == pytest.approx(alone.by_group[0], rel=1e-9, abs=1e-9)
        assert expected == pytest.approx(alone.groups[0].expectation[1])


@given(st.permutations(range(6)), st.floats(-3, 3), st.floats(0.2, 4))
@settings(max_examples=25)
def test_members_have_no_order_and_ratings_no_unit(order, shift, unit):
    order = list(order)
    rng = np.random.default_rng(6)
    M = rng.normal(size=(6, 6))
    M[1, 4] = np.nan
    one, other = round_robin(M), round_robin((M[np.ix_(order, order)] + shift) * unit)
    assert other.partner == pytest.approx(one.partner[order] * unit, abs=1e-8)
    assert other.sums == pytest.approx(one.sums * unit**2, abs=1e-7)


# ------------------------------------------------------------------------------------------------------------------ R


@pytest.mark.parametrize("name", ["plain", "weighted"])
def test_target_effects_equal_r(name):
    reference = VALUES["target_effects"][name]
    fit = _effects(weight=RATINGS["weight"] if name == "weighted" else None)
    assert list(fit.targets) == ROLES
    assert fit.effect[0] == pytest.approx(reference["effect"], rel=1e-10)
    assert fit.std_error == pytest.approx(np.array(reference["std_error_unadjusted"]) * np.sqrt(15 / 14), rel=1e-10)
    assert fit.self_other.raw[0] == pytest.approx(reference["self_other_raw"], rel=1e-10)
    assert fit.covariance.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["plain", "weighted"])
def test_bradley_terry_equals_r(name):
    reference = VALUES["bradley_terry"][name]
    fit = _choices(weight=CHOICES["weight"] if name == "weighted" else None)
    assert fit.ability[0] == pytest.approx(reference["ability"], rel=1e-9)
    assert fit.std_error == pytest.approx(np.array(reference["std_error_unadjusted"]) * np.sqrt(15 / 14), rel=1e-7)
    assert fit.model_error == pytest.approx(reference["model_error"], rel=1e-7)  # glm keeps the last but one weights


# ------------------------------------------------------------------------------------------------------- target effects


def _layers_of(seed=7, draws=300):
    names = np.unique(RATINGS["org_id"])
    return multipliers(cluster_keys([str(name) for name in names], seed), draws)


def test_a_replicate_is_the_fit_with_multiplied_weights():
    draws = _layers_of(draws=3)
    fit = _effects(weight=RATINGS["weight"], multiplier=draws)
    column = np.searchsorted(np.unique(RATINGS["org_id"]), RATINGS["org_id"])
    for b in range(3):
        alone = _effects(weight=RATINGS["weight"] * draws[b, column])
        assert fit.effect[1 + b] == pytest.approx(alone.effect[0], rel=1e-9)
        assert fit.mean[1 + b] == pytest.approx(alone.mean[0], rel=1e-9)
        assert fit.self_other.raw[1 + b] == pytest.approx(alone.self_other.raw[0], rel=1e-9)
        assert fit.self_other.adjusted[1 + b] == pytest.approx(alone.self_other.adjusted[0], rel=1e-9)


def test_replicates_agree_with_linearised_errors():
    fit = _effects(multiplier=_layers_of(draws=3000))
    assert infer(fit.effect, [15] * 5).std_error == pytest.approx(fit.std_error, rel=0.3)
    rng = np.random.default_rng(8)
    raters = 400
    wide = rng.normal(size=(raters, 1)) + np.arange(4) + rng.normal(size=(raters, 4))
    role = rng.integers(0, 4, raters)
    wide[np.arange(raters), role] += 0.5
    names = np.array(list("abcd"))
    many = target_effects(
        np.repeat(np.arange(raters), 4),
        np.tile(names, raters),
        wide.reshape(-1),
        own=np.repeat(names[role], 4),
        multiplier=multipliers(cluster_keys([str(r) for r in range(raters)], 1), 2000),
    )
    for layers, error in (
        (many.effect, many.std_error),
        (many.self_other.raw, many.self_other.raw_error),
        (many.self_other.adjusted, many.self_other.adjusted_error),
    ):
        assert infer(layers, [raters] * 4).std_error == pytest.approx(error, rel=0.1)
    assert many.self_other.adjusted[0] == pytest.approx([0.5] * 4, abs=0.4)


@given(st.permutations(range(len(RATINGS))), st.floats(-2, 2))
@settings(max_examples=15, deadline=None)
def test_effects_ignore_row_order_and_what_a_rater_or_an_organisation_adds(order, shift):
    frame = RATINGS.iloc[list(order)].copy()
    frame["rating"] = frame["rating"] + shift * frame["rater"] - 2 * shift * frame["org_id"]
    one, other = _effects(), _effects(frame)
    assert other.effect == pytest.approx(one.effect, abs=1e-8)
    assert other.covariance == pytest.approx(one.covariance, abs=1e-8)
    assert other.self_other.adjusted == pytest.approx(one.self_other.adjusted, abs=1e-8)


def test_names_as_categories_and_raters_in_blocks_say_the_same(monkeypatch):
    kinds = np.where(RATINGS["rater"] % 2 == 0, "even", "")
    one = _effects(group=kinds)
    spelt = RATINGS.assign(
        **{name: pd.Categorical(RATINGS[name], [*ROLES[::-1], "nobody"]) for name in ("target", "own")}
    )
    monkeypatch.setattr(influence_model, "_PARTS", 3)
    other = target_effects(
        spelt["rater"], spelt["target"].array, spelt["rating"], own=spelt["own"].array, cluster=spelt["org_id"],
        group=pd.Categorical(kinds),
    )  # fmt: skip
    assert other.targets == one.targets
    assert other.by_group.groups == one.by_group.groups == ("even",)
    for name in ("effect", "covariance", "mean", "n"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-12), name
    assert other.self_other.adjusted == pytest.approx(one.self_other.adjusted, rel=1e-12)
    assert other.by_group.effect == pytest.approx(one.by_group.effect, rel=1e-12, nan_ok=True)


def test_names_and_rows_split_by_weights_do_not_matter():
    one = _effects()
    renamed = RATINGS.assign(
        target=RATINGS["target"].map(dict(zip(ROLES, "edcba", strict=True))),
        own=RATINGS["own"].map(dict(zip(ROLES, "edcba", strict=True))),
    )
    assert _effects(renamed).effect[0][::-1] == pytest.approx(one.effect[0], abs=1e-10)
    assert _effects(targets=ROLES[::-1]).effect[0][::-1] == pytest.approx(one.effect[0], abs=1e-10)
    split = pd.concat([RATINGS, RATINGS])
    other = _effects(split, weight=np.repeat([0.3, 0.7], len(RATINGS)))
    assert other.effect == pytest.approx(one.effect, abs=1e-10)
    assert other.covariance == pytest.approx(one.covariance, abs=1e-10)


def test_self_ratings_do_not_reach_the_effects():
    inflated = RATINGS.assign(rating=RATINGS["rating"] + 5 * (RATINGS["own"] == RATINGS["target"]))
    one, other = _effects(), _effects(inflated)
    assert other.effect == pytest.approx(one.effect, abs=1e-12)
    assert other.self_other.adjusted == pytest.approx(one.self_other.adjusted + 5, abs=1e-9)
    assert other.self_other.raw == pytest.approx(one.self_other.raw + 5, abs=1e-9)


def test_interval_of_a_target_effect_holds_its_level():
    """600 studies of 60 organisations, one to three raters each, a shared taste within the firm; binomial band at 0.5%."""
    rng = np.random.default_rng(20260108)
    truth = np.array([0.6, 0.1, -0.2, -0.5])
    covered = 0
    for _ in range(600):
        home = np.repeat(np.arange(60), rng.integers(1, 4, 60))
        taste = rng.normal(scale=0.5, size=(60, 4))[home]
        wide = rng.normal(size=(len(home), 1)) + truth + taste + rng.normal(size=(len(home), 4))
        fit = target_effects(
            np.repeat(np.arange(len(home)), 4),
            np.tile(list("abcd"), len(home)),
            wide.reshape(-1),
            cluster=np.repeat(home, 4),
        )
        covered += abs(fit.effect[0, 0] - truth[0]) <= 2.001 * fit.std_error[0]
    assert 0.925 <= covered / 600 <= 0.973


def test_shrunken_effects_are_those_of_the_spread():
    fit = _effects()
    shrunk = shrink_effects(fit.effect[0], fit.covariance)
    assert shrunk.effect == pytest.approx(
        spread(fit.effect[0], np.zeros((1, 5)), covariance=fit.covariance).shrunken, abs=1e-10
    )
    assert np.ptp(shrunk.effect) < np.ptp(fit.effect[0])
    assert ((shrunk.reliability > 0) & (shrunk.reliability < 1)).all()


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=8), st.floats(0.05, 2), st.floats(0, 4))
def test_shrinkage_stays_between_nothing_and_everything(effect, error, variance):
    theta = np.array(effect)
    shrunk = shrink_effects(theta, np.eye(len(theta)) * error**2, variance=variance)
    assert shrunk.effect.mean() == pytest.approx(theta.mean(), abs=1e-9)
    factor = variance / (variance + error**2)
    assert shrunk.effect - theta.mean() == pytest.approx(factor * (theta - theta.mean()), abs=1e-9)
    assert shrunk.reliability == pytest.approx([factor] * len(theta), abs=1e-9)
    assert (shrunk.std_error <= min(error, np.sqrt(variance)) + 1e-9).all()


def test_a_stated_variance_gives_calibrated_errors():
    rng = np.random.default_rng(9)
    errors = []
    for _ in range(400):
        truth = rng.normal(scale=0.7, size=6)
        shrunk = shrink_effects(truth + rng.normal(scale=0.5, size=6), np.eye(6) * 0.25, variance=0.49)
        errors.append((shrunk.effect - shrunk.effect.mean() - truth + truth.mean()) / shrunk.std_error)
    assert np.mean(np.square(errors)) == pytest.approx(1, abs=0.1)


# -------------------------------------------------------------------------------------------------- shares of points


def test_own_role_is_held_out_of_points_and_parity():
    shares = point_shares([[40, 30, 30], [20, 50, 30]], own=[0, -1])
    assert shares.share[0].tolist() == [20, 50, 40]
    assert shares.parity == pytest.approx([100 / 3, (50 + 100 / 3) / 2, (50 + 100 / 3) / 2])
    assert shares.n.tolist() == [1, 2, 2]


def test_absent_roles_are_not_low_influence():
    """A firm of two roles that splits evenly is at parity, though the role gets 50 there and 25 elsewhere."""
    shares = point_shares([[50, 50, NAN, NAN], [25, 25, 25, 25]])
    assert shares.ratio[0] == pytest.approx([1] * 4)
    assert shares.share[0].tolist() == [37.5, 37.5, 25, 25]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_shares_add_up_and_split_rows_change_nothing(seed):
    rng = np.random.default_rng(seed)
    points = rng.dirichlet(np.ones(5), size=12) * 100
    who = np.repeat(np.arange(6), 2)
    one = point_shares(points, cluster=who)
    assert one.share[0].sum() == pytest.approx(100)
    assert one.ratio[0].mean() == pytest.approx(1)
    two = point_shares(np.tile(points, (2, 1)), cluster=np.tile(who, 2), weight=np.repeat([0.25, 0.75], 12))
    assert two.share == pytest.approx(one.share)
    assert two.ratio_error == pytest.approx(one.ratio_error)
    draws = rng.uniform(0.5, 1.5, size=(4, 6))
    layered = point_shares(points, cluster=who, multiplier=draws)
    assert layered.share[1:] == pytest.approx(np.array([point_shares(points, weight=d[who]).share[0] for d in draws]))


def test_disproportionate_needs_the_lower_limit_above_the_margin():
    rng = np.random.default_rng(10)
    points = rng.dirichlet([8, 3, 3, 3, 3], size=200) * 100
    shares = point_shares(points)
    assert shares.disproportionate.tolist() == [True, False, False, False, False]
    assert shares.ratio_low[0] > 1.25
    assert not point_shares(points, margin=2.2).disproportionate.any()


# -------------------------------------------------------------------------------------------------- paired choices


@given(st.permutations(range(len(CHOICES))))
@settings(max_examples=15, deadline=None)
def test_choices_have_no_order_of_rows_or_sides(order):
    one = _choices()
    frame = CHOICES.iloc[list(order)]
    turned = frame.rename(columns={"first": "second", "second": "first"}).assign(outcome=1 - frame["outcome"])
    for other in (_choices(frame), _choices(turned)):
        assert other.ability == pytest.approx(one.ability, abs=1e-8)
        assert other.covariance == pytest.approx(one.covariance, abs=1e-8)


def test_a_win_more_never_lowers_the_winner():
    one = _choices()
    for role in ROLES:
        rival = next(r for r in ROLES if r != role)
        more = pd.concat([CHOICES, pd.DataFrame({"org_id": [1], "first": [role], "second": [rival], "outcome": [1.0]})])
        k, j = ROLES.index(role), ROLES.index(rival)
        other = _choices(more)
        assert other.ability[0, k] - other.ability[0, j] > one.ability[0, k] - one.ability[0, j]


def test_abilities_solve_the_score_equations_and_layers_are_refits():
    draws = multipliers(cluster_keys([str(o) for o in np.unique(CHOICES["org_id"])], 3), 4)
    fit = _choices(multiplier=draws)
    column = np.searchsorted(np.unique(CHOICES["org_id"]), CHOICES["org_id"])
    for b in range(4):
        assert fit.ability[1 + b] == pytest.approx(_choices(weight=draws[b, column]).ability[0], abs=1e-8)
    wins = np.zeros((5, 5))
    i, j = (CHOICES[side].map(ROLES.index).to_numpy() for side in ("first", "second"))
    np.add.at(wins, (i, j), CHOICES["outcome"].to_numpy())
    np.add.at(wins, (j, i), 1 - CHOICES["outcome"].to_numpy())
    assert (wins - (wins + wins.T) * fit.preference).sum(axis=1) == pytest.approx(np.zeros(5), abs=1e-7)
    assert fit.preference + fit.preference.T == pytest.approx(np.ones((5, 5)))


def test_lopsided_choices_still_converge():
    fit = bradley_terry(["a"] * 2001, ["b"] * 2001, [1.0] * 2000 + [0.0])
    assert fit.ability[0, 0] - fit.ability[0, 1] == pytest.approx(np.log(2000), rel=1e-6)


# ---------------------------------------------------------------------------------------------------- weighted gap


@given(
    st.lists(st.tuples(st.floats(1, 5), st.floats(0.05, 1)), min_size=2, max_size=8),
    st.floats(0.1, 10),
    st.randoms(use_true_random=False),
)
def test_weighted_gap_bounds_and_invariances(roles, unit, random):
    x, w = np.array([r[0] for r in roles]), np.array([r[1] for r in roles])
    gap = influence_weighted_gap(x, w)
    assert 0 <= gap <= np.ptp(x) + 1e-12
    random.shuffle(roles)
    moved = influence_weighted_gap([r[0] * 2 + 1 for r in roles], [r[1] * unit for r in roles])
    assert moved == pytest.approx(2 * gap, abs=1e-9)
    layered = influence_weighted_gap(np.stack([x, x + 1]), w)
    assert layered == pytest.approx(np.array([gap, gap]), abs=1e-9)


# -------------------------------------------------------------------------------------------------------- refusals


def test_refusals_of_the_round_robin():
    with pytest.raises(DesignError, match="a round robin needs at least four members"):
        round_robin(np.ones((3, 3)))
    M = np.full((5, 5), np.nan)
    M[0] = M[:, 0] = 3.0
    with pytest.raises(DesignError, match="too few ratings to tell actors and partners apart"):
        round_robin(M)
    with pytest.raises(DesignError, match="there is no group of raters"):
        social_relations([])
    tournament = np.random.default_rng(1).normal(size=(8, 8))
    i, j = np.triu_indices(8, 1)
    first = (i + j) % 2 == 0
    tournament[np.where(first, i, j), np.where(first, j, i)] = np.nan  # each pair rated on one side only
    with pytest.raises(DesignError, match="the ratings given do not tell the five components apart"):
        social_relations([tournament])


def test_unconnected_targets_are_refused_by_name():
    with pytest.raises(DesignError) as error:
        target_effects([1, 1, 2, 2, 3, 3], list("abbcde"), [1, 2, 3, 4, 5, 6.0])
    assert str(error.value) == (
        "DesignError: no rater compares some targets with the rest\n"
        "  where     statistics.influence_model.target_effects\n"
        "  expected  targets linked by raters who rated two of them, their own role left out\n"
        "  got       2 sets without a link; apart from the largest: d, e\n"
        "  hint      leave those targets out, or ask each rater about several roles"
    )
    with pytest.raises(DataError, match="a rater belongs to two organisations"):
        target_effects([1, 1], ["a", "b"], [1.0, 2.0], cluster=["x", "y"])
    with pytest.raises(DataError, match="a target that is not listed"):
        target_effects([1, 1], ["a", "b"], [1.0, 2.0], targets=["a"])
    with pytest.raises(DesignError, match="the multipliers are not those of the clusters"):
        target_effects([1, 1], ["a", "b"], [1.0, 2.0], multiplier=np.ones((2, 3)))


def test_separation_is_refused_by_name():
    with pytest.raises(DesignError) as error:
        bradley_terry(["CTO", "CTO", "CFO", "CMO"], ["CFO", "CMO", "CMO", "CFO"], [1, 1, 1, 1])
    assert str(error.value) == (
        "DesignError: the choices put no bound on how far some items are apart\n"
        "  where     statistics.influence_model.bradley_terry\n"
        "  expected  every item linked to every other by a chain of being preferred\n"
        "  got       the rest is never preferred to CTO; never preferred to the rest: CFO, CMO\n"
        "  hint      report the counts, or leave those items out"
    )
    with pytest.raises(DataError, match="a paired choice is not one"):
        bradley_terry(["a"], ["a"], [1])
    with pytest.raises(ConvergenceError, match="abilities of paired choices were not reached"):
        _choices(limit=1)


def test_points_and_gaps_are_checked():
    with pytest.raises(DataError) as error:
        point_shares([[50, 50], [60, 50]])
    assert str(error.value) == (
        "DataError: points do not add up to 100\n"
        "  where     statistics.influence_model.point_shares\n"
        "  expected  each row 100 within 0.5, none negative\n"
        "  got       1 of 2 rows otherwise, the first at position 1\n"
        "  hint      set such answers aside in cleaning and count them; they are not allocations"
    )
    with pytest.raises(DesignError, match="no respondent could give points to a role"):
        point_shares([[60, 40], [30, 70]], own=[0, 0])
    with pytest.raises(DesignError, match="a weighted gap needs two roles"):
        influence_weighted_gap([1, 2], [1, -1])


def test_abilities_of_layered_wins_are_those_of_the_choices():
    first, second = ["a", "a", "b", "a", "c", "b"], ["b", "c", "c", "b", "a", "a"]
    outcome = [1, 1, 0.5, 0, 1, 1]
    fit = bradley_terry(first, second, outcome)
    wins = np.zeros((1, 3, 3))
    for one, two, won in zip(first, second, outcome, strict=True):
        i, j = "abc".index(one), "abc".index(two)
        wins[0, i, j] += won
        wins[0, j, i] += 1 - won
    assert abilities(np.concatenate([wins, 2 * wins]), "abc") == pytest.approx(np.tile(fit.ability[0], (2, 1)))


def test_abilities_without_bound_are_refused():
    with pytest.raises(DesignError, match="no bound"):
        abilities([[[0.0, 3.0], [0.0, 0.0]]], ["CTO", "CFO"])
