"""Tests within one team: enumerations by hand, error rates, power, missing answers, invariances."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.errors import DesignError
from fieldwork.statistics.within_team import concordance_p, sign_flip, standing

NAN = float("nan")


def test_standing_is_the_share_of_all_deals():
    """Three members, three questions: all 6^3 deals gone through by hand against 20,000 drawn ones."""
    x = np.array([[1.0, 0.75, 1.0], [0.0, 0.25, 0.5], [0.5, 0.0, 0.25]])
    fit = standing(x, seed=3)
    expected = (x - (x.sum(axis=0) - x) / 2).mean(axis=1)
    assert fit.ahead == pytest.approx(expected)
    orders = list(itertools.permutations(range(3)))
    largest, smallest = [], []
    for deal in itertools.product(orders, repeat=3):
        y = np.column_stack([x[list(order), q] for q, order in enumerate(deal)])
        score = (y - (y.sum(axis=0) - y) / 2).mean(axis=1)
        largest.append(score.max())
        smallest.append(score.min())
    for member in range(3):
        assert fit.p_ahead[member] == pytest.approx(np.mean(np.array(largest) >= expected[member] - 1e-12), abs=0.015)
        assert fit.p_behind[member] == pytest.approx(np.mean(np.array(smallest) <= expected[member] + 1e-12), abs=0.015)


def test_one_question_shows_nothing():
    fit = standing([[1.0], [0.0], [0.0], [0.0], [0.0]])
    assert fit.p_ahead[0] == 1.0


def test_somebody_is_called_ahead_by_chance_in_one_team_of_twenty():
    """400 teams of five who answer five questions at random; the bound is binomial at 0.5%."""
    rng = np.random.default_rng(7)
    called = [standing(rng.integers(0, 5, (5, 5)) / 4, seed=k, draws=499).p_ahead.min() <= 0.05 for k in range(400)]
    assert np.mean(called) <= 0.082
    assert np.mean(called) > 0.005


def test_a_member_who_keeps_being_ahead_is_found():
    rng = np.random.default_rng(8)
    found = 0
    for k in range(100):
        x = rng.integers(0, 4, (6, 5)) / 4
        x[2] = np.minimum(x[2] + 0.5, 1.0)
        fit = standing(x, seed=k, draws=499)
        found += fit.p_ahead[2] <= 0.05
    assert found > 60


def test_missing_answers_leave_out_a_member_for_a_question():
    x = np.array([[1.0, 1.0, NAN, 1.0], [0.0, NAN, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5], [NAN] * 4, [0.25, 0.0, 0.5, NAN]])
    fit = standing(x)
    assert fit.questions.tolist() == [3, 3, 4, 0, 3]
    assert np.isnan(fit.ahead[3])
    assert fit.ahead[0] == pytest.approx(np.mean([1 - 0.25 / 3, 1 - 0.5 / 2, 1 - 0.5 / 2]))


@given(st.permutations(range(5)), st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_order_of_members_and_questions_does_not_matter(members, questions):
    x = np.random.default_rng(9).integers(0, 5, (5, 4)) / 4
    one, other = standing(x), standing(x[np.ix_(list(members), list(questions))])
    assert other.ahead == pytest.approx(one.ahead[list(members)])
    assert other.p_ahead == pytest.approx(one.p_ahead[list(members)], abs=0.02)


def test_too_small_a_team_is_refused():
    with pytest.raises(DesignError, match="nobody stands apart in so small a team"):
        standing([[1.0, 0.5], [0.0, 0.5]])
    with pytest.raises(DesignError, match="0 questions with three answers"):
        standing([[1.0, NAN], [0.0, NAN], [NAN, 0.5]])


def test_signs_are_gone_through_exactly():
    d = [2.0, 1.0, -0.5, 1.5]
    signs = list(itertools.product((1, -1), repeat=4))
    assert sign_flip(d) == np.mean([np.dot(s, d) >= sum(d) - 1e-12 for s in signs])
    assert sign_flip([1.0] * 5) == 1 / 32
    assert sign_flip([0.0, 0.0, 0.0]) == 1.0
    assert sign_flip([NAN]) == 1.0
    many = np.random.default_rng(1).normal(0.4, 1, 40)
    assert sign_flip(many) == pytest.approx(sign_flip(many, seed=5), abs=0.01)


def test_rankings_at_random_are_called_agreement_in_one_team_of_twenty():
    rng = np.random.default_rng(10)
    called = [concordance_p(rng.random((5, 7)).argsort(axis=1), seed=k, draws=499) <= 0.05 for k in range(400)]
    assert 0.02 <= np.mean(called) <= 0.082


def test_concordance_is_the_share_of_all_rankings():
    """measures.md 2.4: (1234)(1324)(2134), S = 35; over all 24^2 rankings of the other two."""
    ranks = [[1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 3, 4]]
    every = list(itertools.permutations((1, 2, 3, 4)))
    sums = np.array([np.add(np.add((1, 2, 3, 4), a), b) for a in every for b in every])
    S = ((sums - 7.5) ** 2).sum(axis=1)
    assert concordance_p(ranks) == pytest.approx((S >= 35).mean(), abs=0.005)
    with pytest.raises(DesignError, match="complete rankings"):
        concordance_p([[1, 2], [NAN, 1]])
