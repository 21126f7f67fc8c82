"""Multiple imputation: donors of the own cell, and Rubin's rules on draws, against closed forms."""

import numpy as np
import pytest

from fieldwork.errors import DesignError
from fieldwork.statistics.imputation import hot_deck, pooled


def test_a_donor_answered_and_is_of_the_own_cell():
    rng = np.random.default_rng(1)
    cell = np.repeat([0, 1, 2], 40)
    missing = rng.random(120) < 0.3
    donor = hot_deck(missing, [cell], rng)
    assert (donor[~missing] == np.arange(120)[~missing]).all()
    assert not missing[donor].any()
    assert (cell[donor] == cell).all()


def test_a_cell_without_donors_takes_those_of_the_coarser_one():
    missing = np.array([True, False, False, True])
    donor = hot_deck(missing, [np.array([0, 1, 2, 3]), np.array([0, 0, 1, 1])], np.random.default_rng(2))
    assert donor.tolist() == [1, 1, 2, 2]
    far = hot_deck(np.array([True, False]), [np.array([0, 1])], np.random.default_rng(2))
    assert far.tolist() == [1, 1]


def test_who_was_not_asked_neither_gives_nor_takes():
    missing = np.array([True, True, False, False])
    asked = np.array([True, False, True, False])
    donor = hot_deck(missing, [np.zeros(4, dtype=int)], np.random.default_rng(3), asked=asked)
    assert donor.tolist() == [2, 1, 2, 3]
    with pytest.raises(DesignError, match="nobody answered"):
        hot_deck(np.array([True, True]), [np.zeros(2, dtype=int)], np.random.default_rng(1))


def test_the_variance_of_an_imputed_mean_is_that_of_the_answers_there_are():
    """Missing at random in one cell: the approximate Bayesian bootstrap gives s^2 / n + f^2 s^2 (1/n_mis + 1/n_obs), which is
    s^2 / n_obs, the variance of the mean of those who answered (Rubin and Schenker 1986)."""
    rng = np.random.default_rng(4)
    n, observed = 100, 60
    y = rng.normal(size=n)
    missing = np.arange(n) >= observed
    s2 = y[:observed].var()
    means = []
    for _ in range(6000):
        donor = hot_deck(missing, [np.zeros(n, dtype=int)], rng)
        means.append(y[donor].mean())
    share = 1 - observed / n
    between = share**2 * s2 * (1 / (n - observed) + 1 / observed)
    assert np.mean(means) == pytest.approx(y[:observed].mean(), abs=4 * np.sqrt(between / 6000))
    assert np.var(means) == pytest.approx(between, rel=0.06)
    assert s2 / n + between == pytest.approx(s2 / observed, rel=1e-12)


@pytest.mark.parametrize("M", [2, 5, 20])
def test_pooled_draws_have_the_total_variance_of_rubin(M):
    rng = np.random.default_rng(5)
    value = rng.normal(size=M)
    within = rng.uniform(0.5, 2.0, M)
    grid = rng.standard_normal(4000)
    grid = (grid - grid.mean()) / grid.std()
    found = pooled(value, [q + np.sqrt(w) * grid for q, w in zip(value, within, strict=True)])
    total = within.mean() + (1 + 1 / M) * value.var(ddof=1)
    assert found.draws.var() == pytest.approx(total, rel=1e-9)
    assert found.draws.mean() == pytest.approx(value.mean(), abs=1e-9)
    assert found.between == pytest.approx(value.var(ddof=1))
    assert len(found.draws) == M * 4000


def test_samples_that_agree_are_one_sample():
    draws = np.array([0.0, 1.0, 2.0])
    found = pooled([1.0, 1.0, 1.0], [draws] * 3)
    assert (found.estimate, found.between) == (1.0, 0.0)
    assert sorted(found.draws) == sorted([*draws] * 3)


def test_a_ratio_without_a_finite_value_is_mixed_as_it_is():
    found = pooled([1.0, np.inf], [np.array([0.5, 1.5]), np.array([2.0, np.inf])])
    assert found.draws.tolist() == [0.5, 1.5, 2.0, np.inf]
    assert np.isnan(found.between)
