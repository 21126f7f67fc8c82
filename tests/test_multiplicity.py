"""Holm's and Benjamini and Hochberg's adjustments, equivalence, and the three-sided verdict."""

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from fieldwork.errors import DesignError
from fieldwork.statistics.multiplicity import (
    benjamini_hochberg,
    confidence_p,
    equivalence,
    holm,
    three_sided,
    three_sided_p,
)

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "values.toml").read_text())
MARGINS = tomllib.loads((REFERENCE / "multiresponse.toml").read_text())["equivalence"]


@settings(max_examples=20, deadline=None)  # statsmodels' Holm collects garbage at every call: 50 ms
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


def test_adjustments_equal_r():
    reference = VALUES["multiplicity"]
    named = {str(i): p for i, p in enumerate(reference["p_value"])}
    assert list(holm(named, family_size=len(named)).values()) == pytest.approx(reference["holm"], rel=1e-12)
    assert list(benjamini_hochberg(named, family_size=len(named)).values()) == pytest.approx(reference["bh"], rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), st.randoms())
def test_discovery_rate_is_never_above_the_familywise_one_and_ignores_order(p_values, random):
    named = {str(i): p for i, p in enumerate(p_values)}
    rate, error = (f(named, family_size=len(named) + 2) for f in (benjamini_hochberg, holm))
    assert all(named[k] - 1e-12 <= rate[k] <= error[k] + 1e-12 for k in named)
    keys = list(named)
    random.shuffle(keys)
    assert benjamini_hochberg({k: named[k] for k in keys}, family_size=len(named) + 2) == pytest.approx(rate)
    assert benjamini_hochberg({}, family_size=3) == {}


@pytest.mark.parametrize("case", range(5))
def test_equivalence_equals_r(case):
    estimate, std_error, df = (MARGINS[name][case] for name in ("estimate", "std_error", "df"))
    margin = MARGINS["margin"]
    test = equivalence(estimate, std_error, df, margin)
    assert test.p_above_low == pytest.approx(MARGINS["p_above_lower"][case], rel=1e-10)
    assert test.p_below_high == pytest.approx(MARGINS["p_below_upper"][case], rel=1e-10)
    assert test.p_value == max(test.p_above_low, test.p_below_high)
    three = three_sided_p(estimate, std_error, df, margin)
    assert three.below == test.p_above_low
    assert three.above == test.p_below_high


@given(st.floats(-2, 2), st.floats(0.01, 1), st.integers(2, 400), st.floats(0.05, 1))
def test_equivalence_is_the_interval_inside_the_margins(estimate, std_error, df, margin):
    test = equivalence(estimate, std_error, df, margin)
    inside = -margin < test.conf_low and test.conf_high < margin
    if abs(test.p_value - 0.05) > 1e-9:
        assert (test.p_value < 0.05) == inside
    wider = equivalence(estimate, std_error, df, margin * 1.5)
    assert wider.p_value <= test.p_value + 1e-12
    mirrored = equivalence(-estimate, std_error, df, margin)
    assert mirrored.p_value == pytest.approx(test.p_value, rel=1e-9, abs=1e-300)


@given(st.floats(-2, 2), st.floats(0.01, 1), st.integers(2, 400), st.floats(0.05, 1))
def test_three_regions_agree_with_the_verdict_of_the_interval(estimate, std_error, df, margin):
    """Superiority needs the two-sided 95% interval beyond the margin; some region always stays."""
    three = three_sided_p(estimate, std_error, df, margin)
    left = three.left()
    assert left
    low = estimate - (equivalence(estimate, std_error, df, margin, alpha=0.025).conf_high - estimate)
    verdict = three_sided(low, 2 * estimate - low, margin)
    if abs(three.within - 0.05) > 1e-9:
        assert (left == ("above",)) == (verdict == "supported")
    assert all(0 <= p <= 1 for p in (three.below, three.within, three.above))


def test_unequal_margins_and_the_normal_case():
    test = equivalence(0.0, 1.0, math.inf, 1.6448536269514722, lower=-3.0)
    assert test.p_below_high == pytest.approx(0.05, rel=1e-9)
    assert test.p_above_low == pytest.approx(0.00134989803163, rel=1e-9)


def test_an_estimate_without_a_variance_is_refused():
    with pytest.raises(DesignError) as caught:
        equivalence(0.1, 0.0, 20, 0.5)
    assert str(caught.value) == (
        "DesignError: a test against margins needs a standard error and two margins\n"
        "  where     statistics.multiplicity\n"
        "  expected  std_error > 0, df > 0, lower margin < upper margin\n"
        "  got       std_error 0, df 20, margins -0.5 and 0.5\n"
        "  hint      an estimate without a variance cannot be tested; print it as not assessable"
    )
    with pytest.raises(DesignError):
        three_sided_p(0.1, 0.1, 20, -0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 5))
def test_adjustments_are_those_of_statsmodels(p_values, untested):
    named = {str(i): p for i, p in enumerate(p_values)}
    padded = [*p_values, *[1.0] * untested]
    for own, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        theirs = multipletests(padded, method=method)[1][: len(p_values)]
        np.testing.assert_allclose(list(own(named, family_size=len(padded)).values()), theirs, rtol=1e-12, atol=1e-15)
