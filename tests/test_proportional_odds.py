"""Brant's test with clusters: its level, its power, and what it refuses."""

import numpy as np
import pytest
from scipy.stats import logistic, norm

from fieldwork.errors import DesignError
from fieldwork.statistics.proportional_odds import proportional_odds_test

CUTS = [-1.5, -0.3, 0.6, 1.8]
EFFECT = np.array([0.6, -0.6, 0.0])


def sample(rng, *, clusters=90, size=5, widen=0.0, icc=0.3):
    """Answers of a cumulative logit whose errors are shared in clusters; `widen` spreads the answers of the first role."""
    group = np.repeat(np.arange(clusters), size)
    role = rng.integers(0, 3, len(group))
    z = np.sqrt(icc) * rng.standard_normal(clusters)[group] + np.sqrt(1 - icc) * rng.standard_normal(len(group))
    latent = EFFECT[role] + logistic.ppf(norm.cdf(z)) * (1 + widen * (role == 0))
    return np.digitize(latent, CUTS), np.eye(3)[role][:, :2], group


def p_values(studies, **options):
    return np.array(
        [
            proportional_odds_test(*sample(np.random.default_rng(seed), **options), tested=[0, 1]).p_value
            for seed in range(studies)
        ]
    )


def test_holds_its_level_with_answers_shared_in_organisations():
    rejected = (p_values(200) < 0.05).mean()
    assert 0.015 <= rejected <= 0.095  # three Monte Carlo standard errors around 0.05


def test_finds_a_role_that_uses_the_scale_otherwise():
    assert (p_values(40, widen=1.0) < 0.05).mean() > 0.9


def test_takes_no_notice_of_order_or_of_the_unit_of_weights():
    y, X, group = sample(np.random.default_rng(3))
    first = proportional_odds_test(y, X, group, tested=[0, 1])
    shuffled = np.random.default_rng(4).permutation(len(y))
    second = proportional_odds_test(
        y[shuffled], X[shuffled], group[shuffled], tested=[0, 1], weights=np.full(len(y), 2.0)
    )
    assert second.statistic == pytest.approx(first.statistic, rel=1e-6)
    assert (first.df, first.df_error) == (6.0, 84.0)


def test_leaves_out_a_cut_point_that_one_role_never_passes():
    y, X, group = sample(np.random.default_rng(5))
    y = np.where((X[:, 0] == 1) & (y == 4), 3, y)
    assert proportional_odds_test(y, X, group, tested=[0, 1]).cuts == (0, 1, 2)


def test_refuses_more_contrasts_than_organisations():
    y, X, group = sample(np.random.default_rng(6), clusters=6, size=40)
    with pytest.raises(DesignError, match="proportional odds cannot be tested"):
        proportional_odds_test(y, X, group, tested=[0, 1])
