"""Korn-Graubard intervals against R, the exact interval of a handful, and differences against Fisher's test."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from fieldwork.statistics.proportion import korn_graubard, melded_difference

VALUES = tomllib.loads((Path(__file__).parent / "reference" / "values.toml").read_text())


def test_three_of_five_is_nearly_nothing():
    # measures.md, H2: the exact 95% interval for 3 of 5 is .15-.95
    interval = korn_graubard(0.6, 0.0, 5, 5)
    assert (round(interval.conf_low, 2), round(interval.conf_high, 2)) == (0.15, 0.95)


@given(st.integers(0, 40), st.integers(1, 40))
def test_without_a_design_it_is_clopper_and_pearson(hits, more):
    n = hits + more
    expected = proportion_confint(hits, n, method="beta")
    interval = korn_graubard(hits / n, 0.0, n, n)
    assert (interval.conf_low, interval.conf_high) == pytest.approx(expected, abs=1e-10)


@given(st.integers(1, 39), st.floats(0.5, 4))
def test_a_larger_standard_error_widens_it(hits, factor):
    p = hits / 40
    base = np.sqrt(p * (1 - p) / 40)
    narrow, wide = (korn_graubard(p, base * f, 40, 20) for f in (factor, factor * 1.2))
    assert wide.conf_low <= narrow.conf_low + 1e-12
    assert wide.conf_high >= narrow.conf_high - 1e-12
    assert 0 <= wide.conf_low <= p <= wide.conf_high <= 1


# ----------------------------------------------------------------------------------------------- difference of two


@given(st.integers(0, 12), st.integers(1, 12), st.integers(0, 12), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_melded_p_values_are_fishers(hits, misses, other_hits, other_misses):
    """Fay, Proschan and Brittain (2015): of two simple random samples the one-sided p-value at nil is Fisher's."""
    sides = [korn_graubard(h / (h + m), 0.0, h + m, h + m) for h, m in ((hits, misses), (other_hits, other_misses))]
    found = melded_difference(*sides, 4000)
    table = [[hits, misses], [other_hits, other_misses]]
    above = stats.fisher_exact(table, alternative="greater")[1]
    if above < 0.5:  # below one half the draws are those of the lower limit
        assert np.mean(found.draws <= 0) == pytest.approx(above, abs=0.004)
    below = stats.fisher_exact(table, alternative="less")[1]
    if below < 0.5:
        assert np.mean(found.draws >= 0) == pytest.approx(below, abs=0.004)


def test_melded_ends_belong_to_the_draws():
    found = melded_difference(korn_graubard(0.6, 0.0, 20, 20), korn_graubard(0.3, 0.0, 30, 30), 20_000)
    assert found.estimate == pytest.approx(0.3)
    assert np.quantile(found.draws, [0.025, 0.975]) == pytest.approx([found.conf_low, found.conf_high], abs=0.003)
    assert (np.diff(found.draws) >= 0).all()


def test_melded_intervals_cover_small_groups():
    """3,000 studies of 12 against 15 people with shares of .7 and .4: at least 95% of the intervals hold .3."""
    rng = np.random.default_rng(2)
    cache, covered = {}, []
    for x, y in zip(rng.binomial(12, 0.7, 3000).tolist(), rng.binomial(15, 0.4, 3000).tolist(), strict=True):
        if (x, y) not in cache:
            found = melded_difference(korn_graubard(x / 12, 0.0, 12, 12), korn_graubard(y / 15, 0.0, 15, 15), 50)
            cache[x, y] = found.conf_low <= 0.3 <= found.conf_high
        covered.append(cache[x, y])
    assert np.mean(covered) >= 0.95
