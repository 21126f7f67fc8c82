"""Decomposition: the worked example, hand examples, R's values, order-freedom and adding up."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fieldwork.errors import DesignError
from fieldwork.statistics.decomposition import dominance, dominance_of, kitagawa, kitagawa_distribution

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "multiresponse.toml").read_text())

means = arrays(np.float64, (2, 4), elements=st.floats(1, 5))
amounts = arrays(np.float64, (2, 4), elements=st.floats(0.01, 50))


def test_worked_example():
    """measures.md 2.7: cell means CTO 3.0/4.5, CMO 2.5/4.0 (experimenting/scaled): naive 2.0 = role .5 + stage 1.5."""
    split = kitagawa([3.0, 4.5], [2.5, 4.0], [0, 1], [1, 0])
    assert (float(split.total), float(split.rate), float(split.composition)) == (2.0, 0.5, 1.5)
    assert float(split.interaction) == 0.0


def test_interaction_is_shared_out_half_and_half():
    """By hand: at equal rates first the composition part is 1.0 or 3.0, depending on whose rates; order-free it is 2.0."""
    split = kitagawa([1.0, 4.0], [1.0, 2.0], [0, 1], [1, 0])
    assert float(split.interaction) == 2.0
    assert (float(split.composition), float(split.rate), float(split.total)) == (2.0, 1.0, 3.0)


@given(means, amounts)
def test_parts_add_up_and_change_sign_with_the_groups(mean, amount):
    split = kitagawa(mean[0], mean[1], amount[0], amount[1])
    share = amount / amount.sum(axis=1, keepdims=True)
    gap = (share[0] * mean[0]).sum() - (share[1] * mean[1]).sum()
    assert float(split.total) == pytest.approx(gap, abs=1e-12)
    assert float(split.rate + split.composition) == pytest.approx(gap, abs=1e-12)
    assert split.rate_by_cell.sum() == pytest.approx(float(split.rate), abs=1e-12)
    back = kitagawa(mean[1], mean[0], amount[1], amount[0])
    assert float(back.rate) == pytest.approx(-float(split.rate), abs=1e-12)
    assert float(back.composition) == pytest.approx(-float(split.composition), abs=1e-12)
    # one factor alone moves: the other's part is nil; and the mean of both orders is the split
    assert float(kitagawa(mean[0], mean[0], amount[0], amount[1]).rate) == 0.0
    assert float(kitagawa(mean[0], mean[1], amount[0], amount[0]).composition) == pytest.approx(0.0, abs=1e-12)
    first = (share[0] * (mean[0] - mean[1])).sum()
    second = (share[1] * (mean[0] - mean[1])).sum()
    assert float(split.rate) == pytest.approx((first + second) / 2, abs=1e-12)


@given(means, amounts, st.permutations(range(4)), st.floats(0.1, 10))
def test_split_ignores_the_order_of_cells_and_the_scale_of_amounts(mean, amount, order, scale):
    plain = kitagawa(mean[0], mean[1], amount[0], amount[1])
    o = list(order)
    other = kitagawa(mean[0, o], mean[1, o], amount[0, o] * scale, amount[1, o])
    assert float(other.rate) == pytest.approx(float(plain.rate), abs=1e-10)
    assert float(other.composition) == pytest.approx(float(plain.composition), abs=1e-10)


def test_replicate_layers_are_split_one_by_one():
    rng = np.random.default_rng(0)
    mean, amount = rng.uniform(1, 5, (2, 30, 5)), rng.uniform(0, 1, (2, 30, 5))
    whole = kitagawa(mean[0], mean[1], amount[0], amount[1])
    assert whole.rate.shape == (30,)
    for b in range(30):
        alone = kitagawa(mean[0, b], mean[1, b], amount[0, b], amount[1, b])
        assert float(alone.rate) == pytest.approx(whole.rate[b], rel=1e-12)
        assert float(alone.composition) == pytest.approx(whole.composition[b], rel=1e-12)


def test_a_mean_that_was_not_seen_makes_its_layer_missing_only_where_it_counts():
    idle = kitagawa([[3.0, np.nan]], [[2.0, 9.0]], [[1, 0]], [[1, 0]])
    assert idle.total.tolist() == [1.0]
    used = kitagawa([[3.0, np.nan], [3.0, 4.0]], [[2.0, 2.0], [2.0, 2.0]], [[1, 0], [1, 1]], [[1, 1], [1, 1]])
    assert np.isnan(used.total[0])
    assert used.total[1] == 1.5


@given(
    arrays(np.float64, (2, 3, 5), elements=st.floats(0.01, 9)), arrays(np.float64, (2, 3), elements=st.floats(0.01, 9))
)
def test_distribution_split_adds_up_and_gives_the_means_back(amount, composition):
    split = kitagawa_distribution(amount[0], amount[1], composition[0], composition[1])
    rates = amount / amount.sum(axis=2, keepdims=True)
    share = composition / composition.sum(axis=1, keepdims=True)
    mixed = (share[:, :, None] * rates).sum(axis=1)
    assert split.total == pytest.approx(mixed[0] - mixed[1], abs=1e-12)
    assert split.rate + split.composition == pytest.approx(split.total, abs=1e-12)
    assert [part.sum() for part in (split.total, split.rate, split.composition)] == pytest.approx([0, 0, 0], abs=1e-12)
    assert 0 <= split.distance <= split.rate_distance + split.composition_distance + 1e-12
    scores = np.arange(1, 6)
    of_means = kitagawa(rates[0] @ scores, rates[1] @ scores, composition[0], composition[1])
    assert split.rate @ scores == pytest.approx(float(of_means.rate), abs=1e-11)
    assert split.composition @ scores == pytest.approx(float(of_means.composition), abs=1e-11)


def test_distributions_may_lead_with_replicates():
    rng = np.random.default_rng(1)
    f, c = rng.uniform(size=(2, 7, 3, 5)), rng.uniform(size=(2, 7, 3))
    whole = kitagawa_distribution(f[0], f[1], c[0], c[1])
    alone = kitagawa_distribution(f[0, 4], f[1, 4], c[0, 4], c[1, 4])
    assert whole.rate.shape == (7, 5)
    assert whole.rate[4] == pytest.approx(alone.rate, rel=1e-12)


# -- dominance ---------------------------------------------------------------------------------------------------------


def _with_correlations(r1, r2, between):
    """Rows whose sample correlations are exactly those given: orthonormal columns times a Cholesky factor."""
    rng = np.random.default_rng(5)
    centred = rng.normal(size=(40, 3))
    basis = np.linalg.qr(centred - centred.mean(axis=0))[0]
    return basis @ np.linalg.cholesky([[1, r1, r2], [r1, 1, between], [r2, between, 1]]).T


def test_hand_example_of_two_predictors():
    """r_y1 .6, r_y2 .5, r_12 .3: R2 (.36 + .25 - .18) / .91 = .472527; general .291264 and .181264."""
    data = _with_correlations(0.6, 0.5, 0.3)
    result = dominance(data[:, 0], {"first": data[:, 1], "second": data[:, 2]})
    whole = 0.43 / 0.91
    assert float(result.r_squared) == pytest.approx(whole, rel=1e-12)
    assert result.general == pytest.approx([(0.36 + whole - 0.25) / 2, (0.25 + whole - 0.36) / 2], rel=1e-12)
    assert result.conditional == pytest.approx(np.array([[0.36, whole - 0.25], [0.25, whole - 0.36]]), rel=1e-12)
    assert result.complete.tolist() == [[False, True], [False, False]]
    assert result.share.sum() == pytest.approx(1.0)


def test_equal_to_all_subsets_in_r():
    frame = pd.read_csv(REFERENCE / "multiresponse.csv")
    outcome = (frame["roi"] - 0.5 * frame["integr"] + 0.4 * frame["culture"] + frame["weight"]).round(4)
    reference = VALUES["dominance"]
    result = dominance(outcome, {name: frame[name] for name in reference["predictor"]}, weight=frame["weight"])
    assert list(result.names) == reference["predictor"]
    assert result.general == pytest.approx(reference["general"], rel=1e-10)
    assert float(result.r_squared) == pytest.approx(reference["r_squared"], rel=1e-10)


@given(st.integers(0, 300), st.permutations(range(3)))
def test_shares_sum_to_the_fit_and_follow_their_predictor(seed, order):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 3))
    y = X @ rng.normal(size=3) + rng.normal(size=30)
    columns = {name: X[:, i] for i, name in enumerate("abc")}
    plain = dominance(y, columns)
    assert plain.general.sum() == pytest.approx(float(plain.r_squared), rel=1e-9)
    assert 0 <= float(plain.r_squared) <= 1
    assert (plain.general >= -1e-9).all()
    names = ["abc"[i] for i in order]
    other = dominance(3 - 2 * y, {name: columns[name] * 7 + 1 for name in names})
    assert other.general == pytest.approx(plain.general[list(order)], rel=1e-6, abs=1e-9)


def test_weights_stand_for_rows_and_layers_stand_alone():
    rng = np.random.default_rng(2)
    X, y, w = rng.normal(size=(25, 2)), rng.normal(size=25), rng.integers(1, 4, 25)
    weighted = dominance(y, {"a": X[:, 0], "b": X[:, 1]}, weight=w)
    again = np.repeat(np.arange(25), w)
    repeated = dominance(y[again], {"a": X[again, 0], "b": X[again, 1]})
    assert weighted.general == pytest.approx(repeated.general, rel=1e-10)
    layers = dominance(y, {"a": X[:, 0], "b": X[:, 1]}, weight=np.stack([np.ones(25), w]))
    assert layers.general.shape == (2, 2)
    assert layers.general[1] == pytest.approx(weighted.general, rel=1e-12)


def test_columns_that_repeat_one_another_share_alike():
    x = np.arange(10.0)
    y = x + np.tile([0.5, -0.5], 5)
    twins = dominance(y, {"one": x, "same": 2 * x + 1, "flat": np.ones(10)})
    alone = dominance(y, {"one": x})
    assert twins.general == pytest.approx([float(alone.r_squared) / 2] * 2 + [0.0], abs=1e-12)


def test_refusals_say_what_is_wrong():
    with pytest.raises(DesignError) as caught:
        kitagawa([1, 2], [1, 2], [0, 0], [1, 1])
    assert str(caught.value) == (
        "DesignError: a composition is not one\n"
        "  where     statistics.decomposition\n"
        "  expected  amounts per cell, none negative or missing, not all nil\n"
        "  got       smallest 0, smallest sum 0\n"
        "  hint      give 0 for a cell without respondents; leave out a group without respondents"
    )
    with pytest.raises(DesignError) as caught:
        dominance_of(("a", "b"), {frozenset("a"): 0.1, frozenset("ab"): 0.2})
    assert str(caught.value) == (
        "DesignError: dominance needs the fit of every subset\n"
        "  where     statistics.decomposition.dominance_of\n"
        "  expected  3 subsets\n"
        "  got       none for b\n"
        "  hint      fit the models that lack"
    )
    with pytest.raises(DesignError, match="predictor 'x' does not fit the outcome"):
        dominance([1.0, 2.0, 3.0], {"x": [1.0, 2.0]})
    with pytest.raises(DesignError, match="dominance needs complete answers and one weight each"):
        dominance([1.0, np.nan, 3.0], {"x": [1.0, 2.0, 4.0]})
    with pytest.raises(DesignError, match="dominance runs over all subsets of predictors"):
        dominance([1.0, 2.0, 3.0], {str(i): [1.0, 2.0, 4.0] for i in range(13)})
