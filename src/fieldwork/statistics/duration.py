"""Time until something happens, stability between waves, and what a delay costs.

Own code where no library serves. Kaplan-Meier's counts and curve are statsmodels'; the standard error with organisations as
clusters is ours, because statsmodels has none (its weighted one is that of the cumulative hazard, not of the curve).
Nothing in the stack has Turnbull's estimate for interval-censored times. The discrete-time hazard is a statsmodels GLM; ours
are the person-period rows, the refusal of separation and the degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from fieldwork.errors import ConvergenceError, DataError, DesignError, ParameterError, listed
from fieldwork.statistics.layers import Layers, LayerWeights, as_layers, grouped

if TYPE_CHECKING:
    from fieldwork.statistics.replicates import Multipliers

__all__ = [
    "DelayCost",
    "HazardModel",
    "IntervalSurvival",
    "PersonPeriods",
    "Reversals",
    "SurvivalCurve",
    "VarianceRatio",
    "cost_of_delay",
    "discounted_loss",
    "discrete_time_hazard",
    "kaplan_meier",
    "person_periods",
    "reversals",
    "turnbull",
    "variance_ratio",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LEFT_EXACT, _RIGHT, _LEFT_OPEN = 0, 1, 2  # at one point in time: an exact time begins, intervals end, intervals begin


def _codes(cluster: npt.ArrayLike | None, rows: int) -> tuple[Ints, int]:
    """Return cluster numbers from zero and how many; without clusters every row is its own."""
    if cluster is None:
        return np.arange(rows), rows
    names, codes = np.unique(np.asarray(cluster), return_inverse=True)
    return np.asarray(codes, dtype=np.int64).reshape(-1), len(names)


def _weights(weight: npt.ArrayLike | None, rows: int) -> Floats:
    return np.ones(rows) if weight is None else np.asarray(weight, dtype=np.float64)


def _sums(codes: npt.NDArray[np.integer], values: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(codes, weights=values, minlength=size), dtype=np.float64)


def _factor(clusters: int) -> float:
    return clusters / (clusters - 1.0) if clusters > 1 else float("nan")


def _critical(clusters: int, level: float) -> float:
    return float(stats.t.ppf(0.5 + level / 2.0, max(clusters - 1, 1)))


@dataclass(frozen=True, slots=True)
class SurvivalCurve:
    """Kaplan-Meier's curve at the T times at which something happened.

    Attributes
    ----------
    times : (T,)                   Event times, in the unit of `time`, ascending.
    survival, std_error : (T,)     P(still waiting after the time), 0..1; std_error is nan where the curve is 0.
    conf_low, conf_high : (T,)     Pointwise interval; nan where the curve is 0.
    n_risk, n_events : (T,)        Weighted numbers at risk just before, and of events at, the time.
    median, median_low, median_high : float    First time at which the curve (its lower, upper limit) is at most one half;
                                   inf where it never is.
    n, clusters : int              Rows and clusters.
    """

    times: Floats
    survival: Floats
    std_error: Floats
    conf_low: Floats
    conf_high: Floats
    n_risk: Floats
    n_events: Floats
    median: float
    median_low: float
    median_high: float
    n: int
    clusters: int

    def at(self, time: npt.ArrayLike) -> Floats:
        """Return the curve at any times: 1 before the first event, a step at each event.

        >>> kaplan_meier([2, 3, 4, 5], [1, 0, 1, 0]).at([1, 2, 3, 4]).tolist()
        [1.0, 0.75, 0.75, 0.375]
        """
        position = np.searchsorted(self.times, np.asarray(time, dtype=np.float64), side="right")
        return np.concatenate([[1.0], self.survival])[position]


def kaplan_meier(
    time: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> SurvivalCurve:
    """Share still waiting, from times of which some are known only to be longer (right-censored), by product limit.

    S(t) = prod over event times u <= t of (1 - d(u) / n(u)). The variance is the infinitesimal jackknife: the influence of
    row i is U_i(t) = -S(t) sum over u <= t of (dN_i(u) - Y_i(u) d(u) / n(u)) / (n(u) - d(u)), and Var = sum over clusters of
    (sum of w_i U_i)^2. Row by row, unweighted and without late entry this is Greenwood's formula; with clusters it is
    multiplied by C / (C - 1) and the interval, on the scale log(-log S), takes t with C - 1 degrees of freedom (without
    clusters: the normal).

    Parameters
    ----------
    time : (n,) time waited, the last one at which the row was under observation.
    event : (n,) 1 if it happened at `time`, 0 if it had not by then.
    entry : (n,) time before which the row was not under observation (left truncation): at risk where entry < t <= time.
    weight : (n,) survey weights. cluster : (n,) organisations. Missing values are refused, not dropped.

    Raises DataError (missing or contradictory times), DesignError (no event).

    References
    ----------
    Kaplan, E. and Meier, P. (1958). JASA 53, 457-481. Williams, R. (1995). Product-limit survival functions with correlated
    survival times. Lifetime Data Analysis 1, 171-186. Equals R `survival::survfit(cluster =)` but for C / (C - 1).

    >>> curve = kaplan_meier([2, 3, 4, 5], [1, 0, 1, 0])         # measures 2.7: times 2, 3+, 4, 5+
    >>> curve.survival.tolist(), curve.median
    ([0.75, 0.375], 4.0)
    """
    from statsmodels.duration.survfunc import SurvfuncRight  # noqa: PLC0415 - a second of import that only durations need

    exits = np.asarray(time, dtype=np.float64)
    events = np.asarray(event, dtype=np.float64)
    entries = np.full(len(exits), -np.inf) if entry is None else np.asarray(entry, dtype=np.float64)
    weights = _weights(weight, len(exits))
    _check_times(exits, events, entries, weights)
    codes, clusters = _codes(cluster, len(exits))
    kept = weights > 0
    fitted = SurvfuncRight(
        exits[kept],
        events[kept],
        entry=None if entry is None else entries[kept],
        freq_weights=weights[kept],
    )
    times = np.asarray(fitted.surv_times, dtype=np.float64)
    at_risk, happened = np.asarray(fitted.n_risk, dtype=np.float64), np.asarray(fitted.n_events, dtype=np.float64)
    # Sums of weights leave 1e-16 of a risk set that is empty, and the library's curve leaves 1e-16 after it.
    left = np.where(at_risk - happened > 1e-12 * at_risk, at_risk - happened, 0.0)
    survival = np.where(np.cumprod(left > 0) > 0, np.asarray(fitted.surv_prob, dtype=np.float64), 0.0)

    width = len(times)
    first, last = np.searchsorted(times, entries, side="right"), np.searchsorted(times, exits, side="right")
    shape = (clusters, width + 1)
    present = np.zeros(shape)
    np.add.at(present, (codes, first), weights)
    np.add.at(present, (codes, last), -weights)
    present = np.cumsum(present, axis=1)[:, :width]
    own = np.zeros(shape)
    np.add.at(own, (codes, np.maximum(last - 1, 0)), weights * events)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = (own[:, :width] - present * (happened / at_risk)) / left
        influence = -survival * np.cumsum(steps, axis=1)
        std_error = np.sqrt((influence**2).sum(axis=0) * (1.0 if cluster is None else _factor(clusters)))
        std_error = np.where(survival > 0, std_error, np.nan)
        critical = float(stats.norm.ppf(0.5 + level / 2.0)) if cluster is None else _critical(clusters, level)
        half = critical * std_error / np.abs(survival * np.log(survival))
        conf_low, conf_high = survival ** np.exp(half), survival ** np.exp(-half)
    return SurvivalCurve(
        times=times,
        survival=survival,
        std_error=std_error,
        conf_low=conf_low,
        conf_high=conf_high,
        n_risk=at_risk,
        n_events=happened,
        median=_first_at_most(times, survival, 0.5),
        median_low=_first_at_most(times, np.where(survival > 0, conf_low, 0.0), 0.5),
        median_high=_first_at_most(times, conf_high, 0.5),
        n=int(kept.sum()),
        clusters=clusters,
    )


def _check_times(exits: Floats, events: Floats, entries: Floats, weights: Floats) -> None:
    where = "statistics.duration.kaplan_meier"
    if not (len(exits) == len(events) == len(entries) == len(weights)):
        raise DataError(
            "times, events, entries and weights differ in length",
            where=where,
            expected=f"{len(exits)} of each",
            got=f"{len(events)} events, {len(entries)} entries, {len(weights)} weights",
            hint="pass columns of one frame",
        )
    faulty = np.isnan(exits) | np.isnan(entries) | ~np.isin(events, (0.0, 1.0)) | (entries >= exits) | ~(weights >= 0)
    if faulty.any():
        raise DataError(
            "a duration is missing or contradicts itself",
            where=where,
            expected="time present and later than entry, event 0 or 1, weight not negative",
            got=f"{int(faulty.sum())} of {len(faulty)} rows otherwise, the first at position {int(np.argmax(faulty))}",
            hint="leave such rows out and count them in the base",
        )
    if not (events * weights).any():
        raise DesignError(
            "no event was observed",
            where=where,
            expected="at least one row with event 1 and a positive weight",
            got=f"0 of {len(events)}",
            hint="report the time as longer than the observation, without a curve",
        )


def _first_at_most(times: Floats, curve: Floats, level: float) -> float:
    reached = np.flatnonzero(curve <= level + 1e-12)
    return float(times[reached[0]]) if len(reached) else float("inf")


@dataclass(frozen=True, slots=True)
class IntervalSurvival:
    """Turnbull's estimate: the mass that the data place on each of J innermost intervals (low, high].

    Attributes
    ----------
    low, high : (J,)         Ends of the intervals; low = high for an exact time, high = inf beyond the last observation.
    mass : (J,)              Probability of each, summing to 1; where inside an interval it lies is not determined.
    survival : (J,)          P(later than `high`): 1 less the mass up to it.
    layers : (1 + B, J)      Mass per layer of weights, layer 0 observed; standard errors and intervals come from these.
    median : tuple           The innermost interval in which the distribution function reaches one half.
    log_likelihood : float   Weighted, of the observed layer.
    gap : float              Bound on how far the log-likelihood per unit weight is from its maximum.
    """

    low: Floats
    high: Floats
    mass: Floats
    survival: Floats
    layers: Floats
    median: tuple[float, float]
    log_likelihood: float
    gap: float

    def bounds(self, time: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Lowest and highest S(t) that the estimate allows; they differ only inside an interval that carries mass.

        >>> fit = turnbull([0, 1, 1], [2, 3, np.inf])
        >>> [bound.round(3).tolist() for bound in fit.bounds([1, 1.5, 2])]
        [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
        """
        t = np.atleast_1d(np.asarray(time, dtype=np.float64))[:, None]
        done = self.mass * (self.high <= t)
        begun = self.mass * ((self.low < t) | (self.high <= t))
        return 1.0 - begun.sum(axis=1), 1.0 - done.sum(axis=1)


def turnbull(
    lower: npt.ArrayLike,
    upper: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    multiplier: Multipliers | None = None,
    layer_weight: LayerWeights | None = None,
    tolerance: float = 1e-10,
    limit: int = 500,
) -> IntervalSurvival:
    """Distribution of a time known only to lie in (lower, upper], by non-parametric maximum likelihood.

    The mass lies on the innermost intervals: a lower end followed at once by an upper end (Turnbull 1976). Masses solve the
    self-consistency equation p_j = sum_i w_i a_ij p_j / (A p)_i / sum_i w_i. Steps of self-consistency alone converge
    slowly and may stop short, so each is followed by Wang's (2007) constrained Newton step (non-negative least squares with
    a line search). The end is judged by the duality gap max_j sum_i w_i a_ij / (A p)_i / sum_i w_i - 1, which bounds what
    log-likelihood per unit weight is still to be had. The masses are unique: some row ends at each innermost interval, so
    the incidence A has full column rank and the likelihood is strictly concave in them.

    Parameters
    ----------
    lower, upper : (n,) the event came after `lower` and at or before `upper`; equal for an exact time, upper = inf for
        right-censored, lower = -inf (or 0) for left-censored. Between waves: the last wave without, the first wave with.
    weight : (n,) survey weights. cluster : (n,) column of `multiplier` of each row, with multiplier : (B, C) from
        `replicates.multipliers`, for the layers. Times seen at a few waves only are estimated at the usual root-n rate
        and replicates hold; times seen continuously are not (cube-root rate), and intervals from replicates are then rough.
    layer_weight : (B, n) weights of each layer, or `Layers`, in place of both. They are then taken to first order:
        one Newton step from the observed masses, over the intervals that carry any. A thousand layers so cost one matrix
        product instead of a thousand fits; as standard errors they agree to the order at which replicates are right.

    Raises DataError (lower above upper), ConvergenceError (gap above `tolerance` after `limit` steps).

    References
    ----------
    Turnbull, B. (1976). The empirical distribution function with arbitrarily grouped, censored and truncated data. JRSS B
    38, 290-295. Gentleman, R. and Geyer, C. (1994). Biometrika 81, 618-623 (the duality gap). Wang, Y. (2007). On fast
    computation of the non-parametric maximum likelihood estimate of a mixing distribution. JRSS B 69, 185-198.

    >>> fit = turnbull([0, 2, 2, 4], [2, 4, 4, np.inf])
    >>> fit.mass.round(12).tolist(), fit.survival.round(12).tolist(), fit.median
    ([0.25, 0.5, 0.25], [0.75, 0.25, 0.0], (2.0, 4.0))
    """
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    weights = _weights(weight, len(low))
    faulty = np.isnan(low) | np.isnan(high) | (low > high) | (low == np.inf) | ~(weights >= 0)
    if faulty.any() or not len(low) or not weights.sum() > 0:
        raise DataError(
            "an interval of time is missing or ends before it begins",
            where="statistics.duration.turnbull",
            expected="at least one row, each with lower <= upper, neither missing, weight not negative",
            got=f"{int(faulty.sum())} of {len(faulty)} rows otherwise",
            hint="give inf as upper end where the event has not been seen",
        )
    codes = np.arange(len(low)) if cluster is None else np.asarray(cluster, dtype=np.int64)
    kept = weights > 0
    low, high, codes, weights = low[kept], high[kept], codes[kept], weights[kept]
    distinct, row = np.unique(np.column_stack([low, high]), axis=0, return_inverse=True)
    row = row.reshape(-1)
    A, support = _innermost(distinct[:, 0], distinct[:, 1])
    observed = _sums(row, weights, len(distinct))
    drawn = [] if multiplier is None else [_sums(row, weights * m[codes], len(distinct)) for m in multiplier]
    start = np.full(len(support), 1.0 / len(support))
    mass, gap = _most_likely(A, observed, start, tolerance, limit)
    near = 0.99 * mass + 0.01 * start
    layers = np.array([mass, *[_most_likely(A, layer, near, tolerance, limit)[0] for layer in drawn]])
    if layer_weight is not None:
        by_row = grouped(as_layers(layer_weight)[:, kept], row, len(distinct))
        drawn_rows = by_row[1:] if isinstance(layer_weight, Layers) else by_row
        layers = np.vstack([mass, _first_order(A, observed, mass, drawn_rows)])
    reached = int(np.argmax(np.cumsum(mass) >= 0.5 - 1e-12))
    return IntervalSurvival(
        low=support[:, 0],
        high=support[:, 1],
        mass=mass,
        survival=np.clip(1.0 - np.cumsum(mass), 0.0, 1.0),
        layers=layers,
        median=(float(support[reached, 0]), float(support[reached, 1])),
        log_likelihood=float(observed @ np.log(A @ mass)),
        gap=gap,
    )


def _innermost(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Return the incidence (n, J) of innermost intervals in the rows' intervals, and their ends (J, 2)."""
    exact = low == high
    ends = np.concatenate([low, high])
    kind = np.concatenate([np.where(exact, _LEFT_EXACT, _LEFT_OPEN), np.full(len(high), _RIGHT)])
    keys, rank = np.unique(np.column_stack([ends, kind]), axis=0, return_inverse=True)
    rank = rank.reshape(-1)
    begins, finishes = rank[: len(low)], rank[len(low) :]
    is_right = keys[:, 1] == _RIGHT
    j = np.flatnonzero(~is_right[:-1] & is_right[1:])
    A = (begins[:, None] <= j) & (finishes[:, None] >= j + 1)
    return A.astype(np.float64), np.column_stack([keys[j, 0], keys[j + 1, 0]])


def _most_likely(A: Floats, weights: Floats, start: Floats, tolerance: float, limit: int) -> tuple[Floats, float]:
    """Masses that maximise sum_i w_i log (A p)_i, and the duality gap reached."""
    A, w = A[weights > 0], weights[weights > 0] / weights.sum()
    p, gap = start, np.inf
    for _ in range(limit):
        gradient = A.T @ (w / (A @ p))
        gap = float(gradient.max() - 1.0)
        if gap <= tolerance:
            return p, max(gap, 0.0)
        p = p * gradient
        p = p / p.sum()
        reach = A @ p
        root = np.sqrt(w)[:, None]
        system = np.vstack([root * (A / reach[:, None] - 2.0), np.ones(A.shape[1])])
        aim = optimize.nnls(system, np.concatenate([np.zeros(len(A)), [1.0]]))[0]
        step = aim / aim.sum() - p
        now, rise, share = float(w @ np.log(reach)), float(w @ ((A @ step) / reach)), 1.0
        while share > 1e-12:
            with np.errstate(divide="ignore", invalid="ignore"):
                ahead = float(w @ np.log(np.maximum(A @ (p + share * step), 0.0)))
            if ahead >= now + 0.1 * share * rise:
                p = np.maximum(p + share * step, 0.0)
                p = p / p.sum()
                break
            share /= 2.0
    raise ConvergenceError(
        "the distribution of interval-censored times was not reached",
        where="statistics.duration.turnbull",
        expected=f"a duality gap of at most {tolerance:g} within {limit} steps",
        got=f"{gap:.3g}",
        hint="raise `limit`, or round the times to the waves at which they were seen",
    )


def _first_order(A: Floats, observed: Floats, mass: Floats, layers: Floats) -> Floats:
    """Masses (B, J) of layers of row weights (B, n) by one Newton step from the observed ones, summing to 1."""
    used = mass > 1e-9
    w, G = observed / observed.sum(), A[:, used] / (A @ mass)[:, None]
    H = (G * w[:, None]).T @ G
    ones = np.ones(int(used.sum()))
    system = np.block([[H, ones[:, None]], [ones[None, :], np.zeros((1, 1))]])
    gradient = (layers / layers.sum(axis=1, keepdims=True)) @ G
    # At the observed masses the gradient is 1 on every interval that carries mass; the multiplier of the sum takes it up.
    aim = np.hstack([gradient, np.zeros((len(layers), 1))])
    step = np.linalg.solve(system, aim.T).T[:, :-1]
    out = np.zeros((len(layers), len(mass)))
    out[:, used] = mass[used] + step
    return out


@dataclass(frozen=True, slots=True)
class PersonPeriods:
    """One row per respondent and period at risk.

    Attributes
    ----------
    row : (P,) int       Position of the respondent in the arrays that were given.
    period : (P,) int    Period, counted from 1.
    event : (P,) float   1 in the period in which it happened, else 0.
    """

    row: Ints
    period: Ints
    event: Floats


def person_periods(
    duration: npt.ArrayLike, event: npt.ArrayLike, *, entry: npt.ArrayLike | None = None
) -> PersonPeriods:
    """Expand durations to the periods in which each respondent was at risk: entry + 1, ..., duration.

    Parameters
    ----------
    duration : (n,) last period under observation, a whole number from 1. event : (n,) 1 if it happened in that period.
    entry : (n,) last period before observation began, 0 if none; rows with entry = duration have no period at risk.

    >>> rows = person_periods([2, 1], [1, 0])
    >>> rows.row.tolist(), rows.period.tolist(), rows.event.tolist()
    ([0, 0, 1], [1, 2, 1], [0.0, 1.0, 0.0])
    """
    last = np.asarray(duration, dtype=np.float64)
    first = np.zeros(len(last)) if entry is None else np.asarray(entry, dtype=np.float64)
    happened = np.asarray(event, dtype=np.float64)
    whole = (last == np.round(last)) & (first == np.round(first)) & (first >= 0) & (first <= last)
    faulty = ~whole | ~np.isin(happened, (0.0, 1.0))
    if faulty.any():
        raise DataError(
            "a duration is not a whole number of periods",
            where="statistics.duration.person_periods",
            expected="0 <= entry <= duration, whole numbers, event 0 or 1",
            got=f"{int(faulty.sum())} of {len(faulty)} rows otherwise, the first at position {int(np.argmax(faulty))}",
            hint="count waves or weeks; leave out rows without a duration and count them in the base",
        )
    lengths = (last - first).astype(np.int64)
    row = np.repeat(np.arange(len(last)), lengths)
    within = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    period = within + first.astype(np.int64)[row] + 1
    return PersonPeriods(row, period, happened[row] * (period == last[row]))


@dataclass(frozen=True, slots=True)
class HazardModel:
    """A discrete-time hazard model.

    Attributes
    ----------
    coefficients : pd.DataFrame    One row per term: term, estimate, std_error, conf_low, conf_high, ratio (exp(estimate):
                                   hazard ratio under cloglog, odds ratio under logit). The baseline's terms come first.
    covariance : (K, K) float      Cluster-robust, in the order of the rows of `coefficients`.
    baseline : pd.DataFrame        One row per group of periods: first, last, at_risk, events (weighted), hazard with the
                                   covariates at 0.
    link : str                     "cloglog" or "logit".
    log_likelihood : float         Weighted.
    n, clusters : int              Person-periods, and organisations (or respondents where none were given).
    """

    coefficients: pd.DataFrame
    covariance: Floats
    baseline: pd.DataFrame
    link: str
    log_likelihood: float
    n: int
    clusters: int


def discrete_time_hazard(
    rows: PersonPeriods,
    covariates: pd.DataFrame | None = None,
    *,
    cluster: npt.ArrayLike | None = None,
    weight: npt.ArrayLike | None = None,
    breaks: Sequence[int] | None = None,
    link: str = "cloglog",
    level: float = 0.95,
) -> HazardModel:
    """Chance that it happens in a period, given that it has not before: g(h) = alpha(period) + x'beta.

    With the complementary log-log link exp(beta) is the hazard ratio of the continuous-time proportional hazards model
    whatever the length of the periods (Prentice and Gloeckler 1978); with the logit it is an odds ratio (Cox 1972; Allison
    1982). Fitted by statsmodels' binomial GLM on person-periods. The covariance is the sandwich by clusters times
    C / (C - 1); intervals take t with C - 1 degrees of freedom.

    Parameters
    ----------
    rows : from `person_periods`. covariates : P numeric rows, one per person-period, so that they may change with time
        (`frame.iloc[rows.row]` for those that do not); missing values are refused.
    cluster : (P,) organisation; default the respondent. weight : (P,) survey weights.
    breaks : first period of each group that shares a baseline hazard, e.g. (1, 3, 6); default every period its own.

    Raises DataError (missing covariates), ParameterError (link, breaks), DesignError (a group of periods without events or
    with nothing else, a term that tells events apart perfectly), ConvergenceError.

    >>> fit = discrete_time_hazard(person_periods([1, 1, 2, 2], [1, 0, 1, 0]), link="logit")
    >>> fit.baseline["hazard"].round(6).tolist()
    [0.25, 0.5]
    """
    from statsmodels.genmod import families  # noqa: PLC0415 - a second of import that only durations need
    from statsmodels.genmod.generalized_linear_model import GLM  # noqa: PLC0415

    links = {"cloglog": families.links.CLogLog, "logit": families.links.Logit}
    starts = np.unique(rows.period) if breaks is None else np.asarray(breaks, dtype=np.int64)
    if link not in links or not len(starts) or (np.diff(starts) <= 0).any() or starts[0] > rows.period.min():
        raise ParameterError(
            "link or breaks are not what a hazard model takes",
            where="statistics.duration.discrete_time_hazard",
            expected=f"link one of {listed(links)}; breaks ascending, the first at or before the first period",
            got=f"link {link!r}, breaks {None if breaks is None else list(breaks)}",
            hint="leave both out for the defaults",
        )
    frame = pd.DataFrame(index=range(len(rows.row))) if covariates is None else covariates
    weights = _weights(weight, len(rows.row))
    if len(frame) != len(rows.row) or frame.isna().to_numpy().any():
        raise DataError(
            "covariates are missing",
            where="statistics.duration.discrete_time_hazard",
            expected=f"{len(rows.row)} complete rows, one per person-period",
            got=f"{len(frame)} rows, {int(frame.isna().any(axis=1).sum())} of them incomplete",
            hint="leave incomplete respondents out before `person_periods` and count them in the base",
        )
    codes, clusters = _codes(rows.row if cluster is None else cluster, len(rows.row))
    group = np.searchsorted(starts, rows.period, side="right") - 1
    ends = np.append(starts[1:] - 1, rows.period.max())
    names = [f"period {a}" if a == b else f"period {a}-{b}" for a, b in zip(starts, ends, strict=True)]
    at_risk = _sums(group, weights, len(starts))
    events = _sums(group, weights * rows.event, len(starts))
    _refuse_empty(names, at_risk, events)
    dummies = (group[:, None] == np.arange(len(starts))).astype(np.float64)
    X = np.hstack([dummies, frame.to_numpy(dtype=np.float64)])
    terms = [*names, *[str(name) for name in frame.columns]]
    _refuse_separation(X[weights > 0], rows.event[weights > 0], terms)
    model = GLM(rows.event, X, family=families.Binomial(link=links[link]()), var_weights=weights)
    fit = model.fit(tol=1e-12, tol_criterion="params", maxiter=200)
    if not fit.converged:
        raise ConvergenceError(
            "the hazard model did not converge",
            where="statistics.duration.discrete_time_hazard",
            expected="coefficients that change by at most 1e-12",
            got=f"no such step in 200, {len(terms)} terms, {events.sum():g} events",
            hint="merge periods with `breaks`, or leave out covariates",
        )
    estimate = np.asarray(fit.params, dtype=np.float64)
    fitted = np.asarray(fit.fittedvalues, dtype=np.float64)
    slope = 1.0 / links[link]().deriv(fitted)
    score = X * (weights * (rows.event - fitted) * slope / (fitted * (1.0 - fitted)))[:, None]
    by_cluster = np.zeros((clusters, len(terms)))
    np.add.at(by_cluster, codes, score)
    bread = np.linalg.inv((X * (weights * slope**2 / (fitted * (1.0 - fitted)))[:, None]).T @ X)
    covariance = _factor(clusters) * bread @ by_cluster.T @ by_cluster @ bread
    std_error = np.sqrt(np.diag(covariance))
    half = _critical(clusters, level) * std_error
    likelihood = np.where(rows.event > 0, np.log(fitted), np.log1p(-fitted))
    return HazardModel(
        coefficients=pd.DataFrame(
            {
                "term": terms,
                "estimate": estimate,
                "std_error": std_error,
                "conf_low": estimate - half,
                "conf_high": estimate + half,
                "ratio": np.exp(estimate),
            }
        ),
        covariance=covariance,
        baseline=pd.DataFrame(
            {
                "first": starts,
                "last": ends,
                "at_risk": at_risk,
                "events": events,
                "hazard": links[link]().inverse(estimate[: len(starts)]),
            }
        ),
        link=link,
        log_likelihood=float(weights @ likelihood),
        n=len(rows.row),
        clusters=clusters,
    )


def _refuse_empty(names: Sequence[str], at_risk: Floats, events: Floats) -> None:
    flat = [name for name, n, d in zip(names, at_risk, events, strict=True) if d <= 0 or d >= n]
    if flat:
        raise DesignError(
            "a period has no event, or nothing but events",
            where="statistics.duration.discrete_time_hazard",
            expected="in every group of periods some at risk with and some without the event",
            got=listed(flat),
            hint="merge periods with `breaks`",
        )


def _refuse_separation(X: Floats, event: Floats, terms: Sequence[str]) -> None:
    """Refuse terms that tell events apart perfectly: some b has x'b >= 0 at every event, <= 0 elsewhere, not all 0.

    Decided by linear programming (Konis 2007), so that no fit is run towards infinity to find out.
    """
    signed = np.unique(np.where(event[:, None] > 0, X, -X), axis=0)
    if np.linalg.matrix_rank(signed) < X.shape[1]:
        raise DesignError(
            "the covariates of a hazard model depend on each other",
            where="statistics.duration.discrete_time_hazard",
            expected=f"{len(terms)} separable terms: {listed(terms)}",
            got=f"rank {int(np.linalg.matrix_rank(signed))}",
            hint="leave one level of each factor out; the baseline is the constant",
        )
    found = optimize.linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=(-1.0, 1.0))
    direction = np.zeros(len(terms)) if found.x is None else np.asarray(found.x, dtype=np.float64)
    if signed.sum(axis=0) @ direction > 1e-7:
        raise DesignError(
            "events are told apart perfectly, so a coefficient is infinite",
            where="statistics.duration.discrete_time_hazard",
            expected="events and non-events at every combination of the covariates' signs",
            got=f"separation along {listed(t for t, b in zip(terms, direction, strict=True) if abs(b) > 1e-7)}",
            hint="merge levels or periods, or report the comparison as counts",
        )


@dataclass(frozen=True, slots=True)
class Reversals:
    """How often a stage falls back between two waves in a row.

    Attributes
    ----------
    share, std_error, conf_low, conf_high : float    Weighted share of moves that go down, 0..1, on log-odds with t(C - 1);
                                                     the interval is nan where the share is 0 or 1.
    moves, reversed : int                            Moves observed, and those that go down, unweighted.
    clusters : int                                   Clusters with a move.
    """

    share: float
    std_error: float
    conf_low: float
    conf_high: float
    moves: int
    reversed: int
    clusters: int


def reversals(
    paths: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Reversals:
    """Share of moves from one wave to the next that go back to an earlier stage.

    A move is a pair of waves in a row with both stages known, whether or not the stage changed; a missing wave (nan) costs
    the moves on either side of it and is never bridged. The standard error is the linearised ratio by clusters (default:
    paths) times sqrt(C / (C - 1)). Waves lost selectively bias the share; compare the stages of those who left.

    Parameters
    ----------
    paths : (n, T) stage codes in order, one row per respondent or organisation, nan where missing.

    >>> reversals([[2, 3, 3], [3, 2, 3]]).share          # measures 2.7: 1 reversal in 4 moves
    0.25
    """
    stages = np.atleast_2d(np.asarray(paths, dtype=np.float64))
    change = np.diff(stages, axis=1)
    known = np.isfinite(change)
    down = known & (np.nan_to_num(change) < 0)
    weights = _weights(weight, len(stages))
    moved = known.any(axis=1) & (weights > 0)
    if not moved.any():
        raise DesignError(
            "no move between two waves in a row was observed",
            where="statistics.duration.reversals",
            expected="at least one respondent with both stages of two waves in a row",
            got=f"{len(stages)} paths over {stages.shape[1]} waves without any",
            hint="reversals need a panel: link respondents or organisations across waves",
        )
    codes, clusters = _codes(None if cluster is None else np.asarray(cluster)[moved], int(moved.sum()))
    fell = np.bincount(codes, weights=(weights * down.sum(axis=1))[moved])
    all_moves = np.bincount(codes, weights=(weights * known.sum(axis=1))[moved])
    share = float(fell.sum() / all_moves.sum())
    residual = (fell - share * all_moves) / all_moves.sum()
    std_error = float(np.sqrt(_factor(clusters) * (residual**2).sum()))
    conf_low = conf_high = float("nan")
    if 0 < share < 1 and std_error > 0:
        half = _critical(clusters, level) * std_error / (share * (1.0 - share))
        centre = np.log(share / (1.0 - share))
        conf_low, conf_high = (float(1.0 / (1.0 + np.exp(-(centre + side * half)))) for side in (-1.0, 1.0))
    return Reversals(share, std_error, conf_low, conf_high, int(known[moved].sum()), int(down[moved].sum()), clusters)


@dataclass(frozen=True, slots=True)
class VarianceRatio:
    """Variance of a later wave over that of an earlier one, within groups.

    Attributes
    ----------
    ratio, conf_low, conf_high : float      Below 1: values have become steadier.
    log_ratio, std_error : float            log(ratio) and its standard error.
    variance_first, variance_second : float Pooled within-group variances, in the measure's unit squared.
    n_first, n_second, clusters : int       Answers in each wave; clusters in either.
    """

    ratio: float
    conf_low: float
    conf_high: float
    log_ratio: float
    std_error: float
    variance_first: float
    variance_second: float
    n_first: int
    n_second: int
    clusters: int


def variance_ratio(
    value: npt.ArrayLike,
    later: npt.ArrayLike,
    *,
    group: npt.ArrayLike | None = None,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> VarianceRatio:
    """Compare the spread of a measure within roles between two waves.

    Within each wave s^2 = sum w (y - group mean)^2 / (sum w (n - G) / n), so that with equal weights it is the pooled
    within-group variance. log(s2^2 / s1^2) is linearised by clusters, so organisations or persons in both waves carry their
    covariance, and heavy tails are allowed for, as the F test does not; interval with t(C - 1). At 90 organisations of unequal
    size and weight it covers .93, else .94 to .95 (docs/validity_statistics.md).

    Parameters
    ----------
    value : (n,) answers of both waves, one under the other; nan is left out. later : (n,) False first wave, True second.
    group : (n,) role, default one group. weight, cluster : (n,); default one row one cluster.

    >>> variance_ratio([1, 2, 3, 1.5, 2, 2.5], [False] * 3 + [True] * 3).ratio
    0.25
    """
    y, second = np.asarray(value, dtype=np.float64), np.asarray(later, dtype=bool)
    weights = _weights(weight, len(y))
    kept = np.isfinite(y) & (weights > 0)
    codes, clusters = _codes(None if cluster is None else np.asarray(cluster)[kept], int(kept.sum()))
    groups = np.zeros(len(y), np.int64) if group is None else _codes(group, len(y))[0]
    y, second, weights, groups = y[kept], second[kept], weights[kept], groups[kept]
    variances: list[float] = []
    sizes: list[int] = []
    influence = np.zeros(clusters)
    for sign, wave in ((-1.0, ~second), (1.0, second)):
        n, present = int(wave.sum()), np.unique(groups[wave])
        total = np.bincount(groups[wave], weights=weights[wave], minlength=1)
        mean = np.bincount(groups[wave], weights=weights[wave] * y[wave], minlength=1) / np.where(total > 0, total, 1.0)
        square = (y[wave] - mean[groups[wave]]) ** 2
        df = n - len(present)
        raw = float(weights[wave] @ square / weights[wave].sum()) if n else 0.0
        if df < 1 or raw <= 0:
            raise DesignError(
                "a variance within groups cannot be had in one of the waves",
                where="statistics.duration.variance_ratio",
                expected="in each wave more answers than groups, not all alike within groups",
                got=f"{n} answers in {len(present)} groups in the {'first' if sign < 0 else 'second'} wave",
                hint="leave out groups with one answer, or report the stability as not assessable",
            )
        variances.append(raw * n / df)
        sizes.append(n)
        np.add.at(influence, codes[wave], sign * weights[wave] * (square / raw - 1.0) / weights[wave].sum())
    log_ratio = float(np.log(variances[1] / variances[0]))
    std_error = float(np.sqrt(_factor(clusters) * (influence**2).sum()))
    half = _critical(clusters, level) * std_error
    return VarianceRatio(
        ratio=float(np.exp(log_ratio)),
        conf_low=float(np.exp(log_ratio - half)),
        conf_high=float(np.exp(log_ratio + half)),
        log_ratio=log_ratio,
        std_error=std_error,
        variance_first=variances[0],
        variance_second=variances[1],
        n_first=sizes[0],
        n_second=sizes[1],
        clusters=clusters,
    )


def discounted_loss(weekly_value: npt.ArrayLike, weeks: npt.ArrayLike, *, yearly_rate: float = 0.0) -> Floats:
    """Present value of the weekly values lost in the first `weeks` weeks, each at the end of its week.

    sum over k = 1..floor(n) of v d^k + (n - floor(n)) v d^(floor(n) + 1), with d = (1 + rate)^(-1/52). In currency units.

    >>> discounted_loss(40_000, 13).item(), round(discounted_loss(40_000, 13, yearly_rate=0.10).item())
    (520000.0, 513383)
    """
    v, n = np.asarray(weekly_value, dtype=np.float64), np.asarray(weeks, dtype=np.float64)
    force = float(np.log1p(yearly_rate)) / 52.0
    if abs(force) < 1e-12:  # below it the sum of discounts is the number of weeks to the last digit
        return np.asarray(v * n, dtype=np.float64)
    whole = np.floor(n)
    annuity = np.exp(-force) * np.expm1(-whole * force) / np.expm1(-force) + (n - whole) * np.exp(
        -force * (whole + 1.0)
    )
    return np.asarray(v * annuity, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class DelayCost:
    """What a delay costs under declared assumptions: a scenario, never a finding.

    Attributes
    ----------
    probabilities, quantiles : (Q,)    Quantiles of the cost, in currency units.
    mean : float                       Expected cost.
    share_negative : float             Probability that waiting pays: the option value exceeds the loss.
    """

    probabilities: Floats
    quantiles: Floats
    mean: float
    share_negative: float


def cost_of_delay(
    weekly_value: Mapping[float, float],
    weeks: Mapping[float, float],
    *,
    yearly_rate: float = 0.0,
    option_value: float = 0.0,
    probabilities: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    points: int = 400,
) -> DelayCost:
    """Spread the cost of a delay over what its assumptions leave open: loss in the weeks waited less the value of waiting.

    Weekly value and weeks are declared by quantiles, including the least (0) and the greatest (1), linear in between, and
    are taken as independent. The two are combined on a grid of `points` x `points` equally probable pairs (mid-points), so
    nothing is drawn at random. The inputs are opinion, and so is the result: print it as a scenario with its assumptions.

    Parameters
    ----------
    weekly_value, weeks : {probability: value}; {0: v, 1: v} for a number taken as known.
    option_value : what is learnt by waiting, as declared, in the same currency (Dixit and Pindyck 1994).

    Raises ParameterError where quantiles are not ascending from probability 0 to 1. Reference: Reinertsen (2009).

    >>> cost = cost_of_delay({0: 20_000, 0.5: 40_000, 1: 60_000}, {0: 13, 1: 13})
    >>> round(cost.mean), cost.quantiles[2].round().item()
    (520000, 520000.0)
    """
    level = (np.arange(points) + 0.5) / points
    values = _declared(weekly_value, "weekly_value", level)
    lengths = _declared(weeks, "weeks", level)
    if (lengths < 0).any() or yearly_rate <= -1 or len(probabilities) == 0:
        raise ParameterError(
            "a delay cannot be negative, nor a discount rate -100% or less",
            where="statistics.duration.cost_of_delay",
            expected="weeks >= 0, yearly_rate > -1, at least one probability",
            got=f"least weeks {lengths.min():g}, yearly_rate {yearly_rate:g}, {len(probabilities)} probabilities",
            hint="give a rate as a fraction: 0.10 for 10% a year",
        )
    cost = discounted_loss(values[:, None], lengths[None, :], yearly_rate=yearly_rate).reshape(-1) - option_value
    asked = np.asarray(probabilities, dtype=np.float64)
    return DelayCost(asked, np.quantile(cost, asked), float(cost.mean()), float(np.mean(cost < 0)))


def _declared(quantiles: Mapping[float, float], name: str, level: Floats) -> Floats:
    at = np.array(sorted(quantiles), dtype=np.float64)
    value = np.array([quantiles[p] for p in sorted(quantiles)], dtype=np.float64)
    if len(at) < 2 or at[0] != 0 or at[-1] != 1 or (np.diff(value) < 0).any() or not np.isfinite(value).all():
        raise ParameterError(
            f"{name} is not declared as quantiles",
            where="statistics.duration.cost_of_delay",
            expected="values that do not fall from probability 0 (the least) to 1 (the greatest)",
            got=listed(f"{p:g}: {v:g}" for p, v in zip(at, value, strict=True)) or "nothing",
            hint="declare {0: low, 0.5: middle, 1: high}; {0: v, 1: v} for a number taken as known",
        )
    return np.interp(level, at, value)
