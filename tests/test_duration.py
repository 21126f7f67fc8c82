"""Durations: the worked examples, R's values, what must not change a result, and the texts of refusals."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fieldwork.errors import ConvergenceError, DataError, DesignError, ParameterError
from fieldwork.statistics.duration import (
    cost_of_delay,
    discounted_loss,
    discrete_time_hazard,
    kaplan_meier,
    person_periods,
    reversals,
    turnbull,
    variance_ratio,
)
from fieldwork.statistics.replicates import cluster_keys, infer, multipliers

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "duration.toml").read_text())
DATA = pd.read_csv(REFERENCE / "duration.csv")
UPPER = DATA["upper"].fillna(np.inf)


# ------------------------------------------------------------------------------------------------ worked examples


def test_time_to_consensus_worked_example():
    """measures.md 2.7: times 2, 3+, 4, 5+ -> S(2) = .75, S(4) = .375, median 4."""
    curve = kaplan_meier([2, 3, 4, 5], [1, 0, 1, 0])
    assert curve.at([2, 4]).tolist() == [0.75, 0.375]
    assert curve.median == 4


def test_reversals_worked_example():
    """measures.md 2.7: stage paths 2-3-3, 3-2-3: 1 reversal in 4 moves = .25."""
    result = reversals([[2, 3, 3], [3, 2, 3]])
    assert (result.share, result.reversed, result.moves) == (0.25, 1, 4)


def test_cost_of_delay_worked_example():
    """measures.md 2.7: 40,000 x 13 = 520,000; discounted at 10% a year, weekly: 513,383."""
    assert discounted_loss(40_000, 13) == 520_000
    assert round(float(discounted_loss(40_000, 13, yearly_rate=0.10))) == 513_383
    known = cost_of_delay({0: 40_000, 1: 40_000}, {0: 13, 1: 13}, yearly_rate=0.10, points=3)
    assert known.quantiles.round().tolist() == [513_383] * 5


# -------------------------------------------------------------------------------------------------------------- R


@pytest.mark.parametrize("name", ["plain", "entry", "clustered", "clustered_entry"])
def test_kaplan_meier_equals_r(name):
    reference = VALUES["kaplan_meier"][name]
    clustered = name.startswith("clustered")
    curve = kaplan_meier(
        DATA["period"],
        DATA["event"],
        entry=DATA["entry"] if name.endswith("entry") else None,
        weight=DATA["weight"] if clustered else None,
        cluster=DATA["org_id"] if clustered else None,
    )
    assert curve.times.tolist() == reference["times"]
    assert curve.survival == pytest.approx(reference["survival"], rel=1e-12)
    factor = np.sqrt(24 / 23) if clustered else 1.0
    assert curve.std_error == pytest.approx(np.array(reference["std_error"]) * factor, rel=1e-10)
    z = stats.norm.ppf(0.975)
    widen = factor * stats.t.ppf(0.975, 23) / z if clustered else 1.0

    def wider(limit):
        centre = np.log(-np.log(reference["survival"]))
        return np.exp(-np.exp(centre + (np.log(-np.log(limit)) - centre) * widen))

    assert curve.conf_low == pytest.approx(wider(reference["conf_low"]), rel=1e-9)
    assert curve.conf_high == pytest.approx(wider(reference["conf_high"]), rel=1e-9)


@pytest.mark.parametrize("name", ["plain", "weighted"])
def test_turnbull_equals_r(name):
    reference = VALUES["turnbull"][name]
    fit = turnbull(DATA["lower"], UPPER, weight=DATA["weight"] if name == "weighted" else None)
    assert fit.low.tolist() == reference["low"]
    assert fit.high.tolist() == reference["high"]
    assert fit.log_likelihood == pytest.approx(reference["log_likelihood"], rel=1e-9)
    assert fit.mass == pytest.approx(reference["mass"], rel=1e-6, abs=1e-7)
    assert fit.gap <= 1e-10
    own = dict(zip(fit.high, fit.survival, strict=True))
    theirs = dict(zip(reference["survfit_time"], reference["survfit_survival"], strict=True))
    # survfit stops at a change of 1e-4 or so, and reports its jumps at the middle of each interval.
    for low, high in zip(fit.low[:4], fit.high[:4], strict=True):
        middle = (low + high) / 2 if low > 0 else high
        assert own[high] == pytest.approx(theirs[middle], abs=3e-4)


@pytest.mark.parametrize("link", ["cloglog", "logit"])
@pytest.mark.parametrize("name", ["plain", "weighted"])
def test_hazard_model_equals_r(link, name):
    reference = VALUES["hazard"][link][name]
    rows = person_periods(DATA["period"], DATA["event"], entry=DATA["entry"])
    long = DATA.iloc[rows.row].reset_index(drop=True)
    covariates = pd.DataFrame({"cto": long["cto"], "changing": (rows.period >= 3) * long["cto"]})
    fit = discrete_time_hazard(
        rows,
        covariates,
        cluster=long["org_id"],
        weight=long["weight"] if name == "weighted" else None,
        breaks=(1, 2, 3, 5),
        link=link,
    )
    table = fit.coefficients
    assert table["term"].tolist() == ["period 1", "period 2", "period 3-4", "period 5-8", "cto", "changing"]
    assert table["estimate"].to_numpy() == pytest.approx(reference["estimate"], rel=1e-8)
    expected = np.array(reference["std_error_unadjusted"]) * np.sqrt(24 / 23)
    assert table["std_error"].to_numpy() == pytest.approx(expected, rel=1e-7)
    assert fit.log_likelihood == pytest.approx(reference["log_likelihood"], rel=1e-10)


def test_variance_ratio_equals_r():
    result = variance_ratio(DATA["period"], DATA["cto"] == 1)
    assert result.ratio == pytest.approx(VALUES["variance_ratio"]["ratio"], rel=1e-12)


# ------------------------------------------------------------------------------------------------------ properties

EPISODES = st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: any(event for _, event in rows)
)


@given(EPISODES, st.randoms(use_true_random=False))
def test_the_curve_falls_within_bounds_and_ignores_row_order(rows, random):
    curve = kaplan_meier([t for t, _ in rows], [e for _, e in rows])
    steps = np.concatenate([[1.0], curve.survival])
    assert (np.diff(steps) < 0).all()
    assert (steps >= 0).all()
    inside = np.isfinite(curve.std_error)
    assert (curve.conf_low[inside] <= curve.survival[inside]).all()
    assert (curve.conf_high[inside] >= curve.survival[inside]).all()
    random.shuffle(rows)
    other = kaplan_meier([t for t, _ in rows], [e for _, e in rows])
    assert other.survival == pytest.approx(curve.survival, abs=1e-12)


@given(EPISODES)
def test_rows_split_by_weights_give_the_same_curve(rows):
    time, event = np.array([t for t, _ in rows]), np.array([e for _, e in rows])
    who = np.arange(len(rows))
    whole = kaplan_meier(time, event, cluster=who)
    split = kaplan_meier(
        np.tile(time, 2),
        np.tile(event, 2),
        cluster=np.tile(who, 2),
        weight=np.repeat([0.3, 0.7], len(rows)),
    )
    assert split.survival == pytest.approx(whole.survival, abs=1e-12)
    assert split.std_error == pytest.approx(whole.std_error, abs=1e-9, nan_ok=True)


@given(EPISODES)
@settings(max_examples=50)
def test_turnbull_with_exact_and_right_censored_times_is_kaplan_meier(rows):
    time, event = np.array([t for t, _ in rows], dtype=float), np.array([e for _, e in rows])
    curve = kaplan_meier(time, event)
    fit = turnbull(time, np.where(event, time, np.inf))
    low, high = fit.bounds(curve.times)
    assert low == pytest.approx(curve.survival, abs=1e-6)
    assert high == pytest.approx(curve.survival, abs=1e-6)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), min_size=1, max_size=25),
    st.randoms(use_true_random=False),
)
@settings(max_examples=50)
def test_turnbull_is_a_maximum_and_ignores_order_and_splitting(rows, random):
    low = np.array([a for a, _ in rows], dtype=float)
    high = np.array([a + b for a, b in rows], dtype=float)
    fit = turnbull(low, high)
    assert fit.mass.sum() == pytest.approx(1)
    assert (fit.mass >= 0).all()
    order = list(range(len(rows)))
    random.shuffle(order)
    again = turnbull(np.tile(low[order], 2), np.tile(high[order], 2), weight=np.repeat([0.25, 0.75], len(rows)))
    assert again.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-7 * max(len(rows), 1))
    assert again.mass == pytest.approx(fit.mass, abs=1e-4)


def test_turnbull_replicates_carry_the_organisations():
    names, code = np.unique(DATA["org_id"], return_inverse=True)
    draws = multipliers(cluster_keys([str(n) for n in names], 7), 400)
    fit = turnbull(DATA["lower"], UPPER, cluster=code, multiplier=draws)
    assert fit.layers.shape == (401, len(fit.mass))
    assert fit.layers.sum(axis=1) == pytest.approx(np.ones(401))
    survival = 1 - np.cumsum(fit.layers, axis=1)[:, :3]
    inference = infer(survival, [len(names)] * 3)
    exact = kaplan_meier(DATA["period"], DATA["event"], cluster=DATA["org_id"])
    assert (inference.std_error > 0.7 * exact.std_error[:3]).all()
    assert (inference.std_error < 2.0 * exact.std_error[:3]).all()


def test_hazards_without_covariates_are_events_over_those_at_risk():
    rows = person_periods(DATA["period"], DATA["event"])
    fits = [discrete_time_hazard(rows, breaks=(1, 2, 3, 5), link=link) for link in ("logit", "cloglog")]
    for fit in fits:
        assert fit.baseline["hazard"].to_numpy() == pytest.approx(
            (fit.baseline["events"] / fit.baseline["at_risk"]).to_numpy(), rel=1e-9
        )
        # With every period its own hazard the model is Kaplan-Meier's.
    curve = kaplan_meier(DATA["period"], DATA["event"])
    early = np.cumprod(1 - fits[0].baseline["hazard"].to_numpy()[:2])
    assert early == pytest.approx(curve.survival[:2], rel=1e-9)


@given(st.permutations(range(90)))
@settings(max_examples=10, deadline=None)
def test_hazard_model_ignores_row_order(order):
    def fit(frame):
        rows = person_periods(frame["period"], frame["event"])
        long = frame.iloc[rows.row]
        return discrete_time_hazard(rows, long[["cto"]], cluster=long["org_id"], breaks=(1, 3))

    one, other = fit(DATA), fit(DATA.iloc[list(order)])
    assert other.coefficients["estimate"].to_numpy() == pytest.approx(one.coefficients["estimate"].to_numpy(), rel=1e-9)
    assert other.covariance == pytest.approx(one.covariance, rel=1e-8)


@given(st.lists(st.lists(st.sampled_from([1.0, 2.0, 3.0, np.nan]), min_size=3, max_size=3), min_size=2, max_size=20))
def test_reversals_are_a_share_and_the_mirror_counts_advances(paths):
    array = np.array(paths)
    if not np.isfinite(np.diff(array, axis=1)).any():
        return
    back, ahead = reversals(array), reversals(-array)
    still = np.sum(np.diff(array, axis=1) == 0)
    assert 0 <= back.share <= 1
    assert back.reversed + ahead.reversed + still == back.moves == ahead.moves
    twice = reversals(
        np.tile(array, (2, 1)), cluster=np.tile(np.arange(len(array)), 2), weight=np.repeat([0.4, 0.6], len(array))
    )
    assert twice.share == pytest.approx(back.share)
    assert twice.std_error == pytest.approx(back.std_error, nan_ok=True)


def test_a_missing_wave_is_not_bridged():
    assert reversals([[3, np.nan, 1], [1, 2, 3]]).moves == 2


def test_variance_ratio_turns_over_with_the_waves_and_ignores_units():
    rng = np.random.default_rng(5)
    y, later, role = rng.normal(size=120), rng.random(120) < 0.5, rng.integers(0, 3, 120)
    one = variance_ratio(y, later, group=role)
    other = variance_ratio(3 * y + 10 * role, ~later, group=role)
    assert other.log_ratio == pytest.approx(-one.log_ratio)
    assert other.std_error == pytest.approx(one.std_error)


@pytest.mark.parametrize(("same_people", "band"), [(False, (0.925, 0.975)), (True, (0.925, 0.975))])
def test_interval_of_the_variance_ratio_holds_its_level(same_people, band):
    """600 studies of 80 organisations, true log ratio log(.49); panel answers correlate .6; binomial band at about .5%."""
    rng = np.random.default_rng(20260103)
    covered = 0
    for _ in range(600):
        first = rng.normal(size=80)
        second = 0.7 * (0.6 * first + 0.8 * rng.normal(size=80) if same_people else rng.normal(size=80))
        who = np.tile(np.arange(80), 2)
        result = variance_ratio(np.r_[first, second], np.repeat([False, True], 80), cluster=who)
        covered += result.conf_low <= 0.49 <= result.conf_high
    assert band[0] <= covered / 600 <= band[1]


@pytest.mark.parametrize("correlated", [False, True])
def test_interval_of_the_curve_holds_its_level(correlated):
    """500 studies of 60 organisations with 4 executives each; S(2) of an exponential time with mean 4, censored at 3."""
    rng = np.random.default_rng(20260104)
    covered = 0
    for _ in range(500):
        own = rng.random(240)
        shared = np.repeat(rng.random(60), 4)
        u = np.where(np.repeat(rng.random(60) < 0.5, 4), shared, own) if correlated else own
        time = -4 * np.log(u)
        curve = kaplan_meier(np.minimum(time, 3), time <= 3, cluster=np.repeat(np.arange(60), 4))
        at = np.searchsorted(curve.times, 2, side="right") - 1
        covered += curve.conf_low[at] <= np.exp(-0.5) <= curve.conf_high[at]
    assert 0.92 <= covered / 500 <= 0.976


@given(st.floats(0, 60), st.floats(0, 60), st.floats(0, 0.3))
def test_longer_delays_cost_more_and_discounting_makes_them_cheaper(first, second, rate):
    short, long = sorted([first, second])
    assert discounted_loss(1.0, short, yearly_rate=rate) <= discounted_loss(1.0, long, yearly_rate=rate) + 1e-9
    assert discounted_loss(1.0, long, yearly_rate=rate) <= long + 1e-9


def test_cost_of_delay_subtracts_the_value_of_waiting():
    declared = ({0: 10_000, 0.5: 40_000, 1: 90_000}, {0: 4, 1: 26})
    plain, waiting = cost_of_delay(*declared), cost_of_delay(*declared, option_value=200_000)
    assert waiting.mean == pytest.approx(plain.mean - 200_000)
    assert waiting.quantiles == pytest.approx(plain.quantiles - 200_000)
    assert plain.mean == pytest.approx(45_000 * 15, rel=1e-12)
    assert plain.share_negative == 0 < waiting.share_negative < 1


# -------------------------------------------------------------------------------------------------------- refusals


def test_refusals_say_what_to_do():
    with pytest.raises(DataError) as error:
        kaplan_meier([2, 3], [1, 2])
    assert str(error.value) == (
        "DataError: a duration is missing or contradicts itself\n"
        "  where     statistics.duration.kaplan_meier\n"
        "  expected  time present and later than entry, event 0 or 1, weight not negative\n"
        "  got       1 of 2 rows otherwise, the first at position 1\n"
        "  hint      leave such rows out and count them in the base"
    )
    with pytest.raises(DataError, match="differ in length"):
        kaplan_meier([2, 3], [1])
    with pytest.raises(DesignError, match="no event was observed"):
        kaplan_meier([2, 3], [0, 0])
    with pytest.raises(DataError, match="an interval of time is missing or ends before it begins"):
        turnbull([3], [2])
    with pytest.raises(ConvergenceError, match="the distribution of interval-censored times was not reached"):
        turnbull(DATA["lower"], UPPER, limit=1)
    with pytest.raises(DataError, match="not a whole number of periods"):
        person_periods([1.5], [1])
    with pytest.raises(DesignError, match="no move between two waves in a row"):
        reversals([[1, np.nan, 2]])
    with pytest.raises(DesignError, match="a variance within groups cannot be had"):
        variance_ratio([1, 2, 3], [False, False, True])
    with pytest.raises(ParameterError, match="a delay cannot be negative"):
        cost_of_delay({0: 1, 1: 2}, {0: -1, 1: 2})


def test_undeclared_quantiles_are_refused():
    with pytest.raises(ParameterError) as error:
        cost_of_delay({0.1: 1, 0.9: 2}, {0: 1, 1: 2})
    assert str(error.value) == (
        "ParameterError: weekly_value is not declared as quantiles\n"
        "  where     statistics.duration.cost_of_delay\n"
        "  expected  values that do not fall from probability 0 (the least) to 1 (the greatest)\n"
        "  got       0.1: 1, 0.9: 2\n"
        "  hint      declare {0: low, 0.5: middle, 1: high}; {0: v, 1: v} for a number taken as known"
    )


def test_hazard_models_refuse_what_they_cannot_fit():
    rows = person_periods([1, 2, 2, 3, 3, 3], [1, 0, 0, 1, 0, 0])
    with pytest.raises(DesignError) as error:
        discrete_time_hazard(rows)
    assert str(error.value) == (
        "DesignError: a period has no event, or nothing but events\n"
        "  where     statistics.duration.discrete_time_hazard\n"
        "  expected  in every group of periods some at risk with and some without the event\n"
        "  got       period 2\n"
        "  hint      merge periods with `breaks`"
    )
    apart = pd.DataFrame({"never": np.isin(rows.row, (1, 2, 4)).astype(float)})
    with pytest.raises(DesignError, match="events are told apart perfectly") as error:
        discrete_time_hazard(rows, apart, breaks=(1,))
    assert error.value.got == "separation along never"
    with pytest.raises(DesignError, match="depend on each other"):
        discrete_time_hazard(rows, pd.DataFrame({"one": np.ones(len(rows.row))}), breaks=(1,))
    with pytest.raises(ParameterError, match="link or breaks"):
        discrete_time_hazard(rows, link="probit")
    with pytest.raises(DataError, match="covariates are missing"):
        discrete_time_hazard(rows, pd.DataFrame({"x": [np.nan] * len(rows.row)}), breaks=(1,))


def test_layers_to_first_order_vary_as_fits_of_every_layer_do():
    rng = np.random.default_rng(5)
    n = 300
    waited = rng.geometric(0.3, n).astype(float)
    seen = rng.integers(1, 8, n)
    lower, upper = np.where(waited > seen, seen, waited - 1.0), np.where(waited > seen, np.inf, waited)
    cluster = np.arange(n) // 3
    m = multipliers(cluster_keys([str(c) for c in range(100)], 1), 200)
    fitted = turnbull(lower, upper, cluster=cluster, multiplier=m)
    linear = turnbull(lower, upper, layer_weight=m[:, cluster])
    assert linear.mass == pytest.approx(fitted.mass)
    assert linear.layers[0] == pytest.approx(fitted.mass)
    assert linear.layers.sum(axis=1) == pytest.approx(np.ones(201))
    below = [np.cumsum(each.layers, axis=1)[:, :-1] for each in (fitted, linear)]
    assert below[1].std(axis=0) == pytest.approx(below[0].std(axis=0), rel=0.1)


def test_a_layer_of_the_observed_weights_moves_nothing():
    fit = turnbull([0, 2, 2, 4], [2, 4, 4, np.inf], layer_weight=np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0]]))
    assert fit.layers[1] == pytest.approx(fit.mass)
    assert fit.layers[2] == pytest.approx([0.4, 0.4, 0.2])  # where no interval overlaps the step is exact
