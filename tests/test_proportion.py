"""Korn-Graubard intervals against R, and the exact interval of a handful."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from fieldwork.statistics.proportion import korn_graubard

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
