"""Holm's adjustment and the three-sided verdict."""

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwork.statistics.multiplicity import confidence_p, holm, three_sided

VALUES = tomllib.loads((Path(__file__).parent / "reference" / "values.toml").read_text())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_untested_members_count_as_one(p_values):
    named = {str(i): p for i, p in enumerate(p_values)}
    alone, padded = holm(named, family_size=len(named)), holm(named, family_size=len(named) + 5)
    assert all(padded[name] >= alone[name] - 1e-12 for name in named)
    assert all(0 <= p <= 1 for p in padded.values())


@pytest.mark.parametrize(
    ("low", "high", "direction", "verdict"),
    [
        (0.51, 0.9, "above", "supported"),
        (0.50, 0.9, "above", "inconclusive"),
        (-0.9, 0.49, "above", "contradicted"),
        (math.nan, 0.49, "above", "contradicted"),
        (0.51, math.nan, "above", "supported"),
        (math.nan, math.nan, "above", "inconclusive"),
        (0.01, 0.04, "below", "contradicted"),
        (-0.9, -0.6, "below", "supported"),
    ],
)
def test_verdict_of_an_interval(low, high, direction, verdict):
    margin = -0.5 if direction == "below" else 0.5
    assert three_sided(low, high, margin, direction=direction) == verdict


def test_equivalence_contradicts_where_the_interval_alone_does_not():
    assert three_sided(-0.1, 0.52, 0.5) == "inconclusive"
    assert three_sided(-0.1, 0.52, 0.5, equivalence_p=0.04) == "contradicted"


@given(st.integers(1, 400), st.floats(-2, 2))
def test_p_of_a_margin_falls_as_the_margin_falls(seed, margin):
    draws = np.random.default_rng(seed).normal(size=99)
    assert confidence_p(draws, margin - 0.5) <= confidence_p(draws, margin)
    assert confidence_p(draws, margin) + confidence_p(draws, margin, direction="below") >= 1.0


def test_a_draw_without_a_value_speaks_for_nobody():
    nothing = np.array([math.nan] * 99)
    assert confidence_p(nothing, 0.0) == 1.0
    assert confidence_p(nothing, 0.0, direction="below") == 1.0
