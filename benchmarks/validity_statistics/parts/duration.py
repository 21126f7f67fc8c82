"""Times until adoption within organisations: survival, discrete-time hazard, reversals of stage, and steadiness of answers.

Times of one organisation are alike through a shared latent variable (a fifth of its variance), and their marginal distribution
is the model's own, so that the truth is known. Survival is exponential with mean 4, censored uniformly between 2 and 9;
hazards are cloglog over six periods, censored in the same way; a move falls back with probability .15.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.validity_statistics.design import Floats, Interval, Outcome, Sample, attempt
from fieldwork.statistics.duration import (
    discrete_time_hazard,
    kaplan_meier,
    person_periods,
    reversals,
    turnbull,
    variance_ratio,
)
from fieldwork.statistics.replicates import infer

WEIGHTS, PRECISE = True, True
MEAN, PERIODS = 4.0, 6
BASELINE = -1.6
EFFECT = {"own": 0.6, "of the organisation": 0.4}
DOWN, UP = 0.15, 0.35
RATIO = 0.49


def study(sample: Sample) -> Iterator[Outcome]:
    yield from _survival(sample)
    yield from attempt("hazard", partial(_hazard, sample))
    yield from _reversals(sample)
    yield from _steadiness(sample)


def _survival(sample: Sample) -> Iterator[Outcome]:
    time = -MEAN * np.log(stats.norm.sf(sample.latent()[:, 0]))
    censored = sample.rng.uniform(2.0, 9.0, sample.n)
    event = time <= censored
    curve = kaplan_meier(np.minimum(time, censored), event, weight=sample.weight, cluster=sample.home)
    for t in (1.0, 4.0):
        at = int(np.searchsorted(curve.times, t, side="right")) - 1
        if at >= 0:
            yield Interval(
                f"survival at {t:g}: kaplan_meier",
                np.exp(-t / MEAN),
                curve.survival[at],
                curve.conf_low[at],
                curve.conf_high[at],
            )
    yield Interval("median time: kaplan_meier", MEAN * np.log(2.0), curve.median, curve.median_low, curve.median_high)
    yield from _seen_at_waves(sample, time)


def _seen_at_waves(sample: Sample, time: Floats) -> Iterator[Outcome]:
    """What waves at 2, 4 and 6 see of the times, each missed by one in seven: the last without, the first with."""
    waves = np.array([2.0, 4.0, 6.0])
    seen = sample.rng.random((sample.n, 3)) > 1 / 7
    past = waves < time[:, None]
    fit = turnbull(
        np.where(seen & past, waves, 0.0).max(axis=1),
        np.where(seen & ~past, waves, np.inf).min(axis=1),
        weight=sample.weight,
        cluster=sample.home,
        multiplier=sample.multiplier(200),
    )
    survival = 1.0 - np.cumsum(fit.layers, axis=1)
    at = int(np.flatnonzero(fit.high == 4.0)[0])
    found = infer(survival[:, at], sample.organisations)
    yield Interval(
        "survival at 4, seen at waves: turnbull, t",
        np.exp(-4.0 / MEAN),
        survival[0, at],
        float(found.conf_low),
        float(found.conf_high),
    )


def _hazard(sample: Sample) -> Iterator[Outcome]:
    own = sample.rng.integers(0, 2, sample.n).astype(float)
    shared = sample.rng.integers(0, 2, sample.organisations).astype(float)[sample.home]
    hazard = 1.0 - np.exp(-np.exp(BASELINE + EFFECT["own"] * own + EFFECT["of the organisation"] * shared))
    waited = np.ceil(np.log(stats.norm.sf(sample.latent()[:, 0])) / np.log1p(-hazard))
    seen = np.minimum(sample.rng.integers(2, 10, sample.n), PERIODS)
    rows = person_periods(np.minimum(waited, seen), waited <= seen)
    covariates = pd.DataFrame({"own": own, "shared": shared}).iloc[rows.row]
    fit = discrete_time_hazard(
        rows, covariates, cluster=sample.home[rows.row], weight=sample.weight[rows.row]
    ).coefficients.set_index("term")
    for term, (name, truth) in zip(("own", "shared"), EFFECT.items(), strict=True):
        row = fit.loc[term]
        yield Interval(f"hazard, effect {name}", truth, row["estimate"], row["conf_low"], row["conf_high"])
    row = fit.loc["period 1"]
    yield Interval("hazard, first period", BASELINE, row["estimate"], row["conf_low"], row["conf_high"])


def _reversals(sample: Sample) -> Iterator[Outcome]:
    u = stats.norm.cdf(sample.latent(3))
    step = np.where(u < DOWN, -1, np.where(u > 1 - UP, 1, 0))
    path = np.concatenate([np.full((sample.n, 1), 5), 5 + np.cumsum(step, axis=1)], axis=1).astype(float)
    path[sample.rng.random(path.shape) < 0.1] = np.nan
    found = reversals(path, weight=sample.weight, cluster=sample.home)
    yield Interval("share of moves that fall back: reversals", DOWN, found.share, found.conf_low, found.conf_high)


def _steadiness(sample: Sample) -> Iterator[Outcome]:
    first, second = sample.latent(2).T
    later = np.sqrt(RATIO) * (0.6 * first + 0.8 * second)
    role = sample.groups(4)
    found = variance_ratio(
        np.concatenate([first, later]),
        np.repeat([False, True], sample.n),
        group=np.tile(role, 2),
        weight=np.tile(sample.weight, 2),
        cluster=np.tile(sample.home, 2),
    )
    yield Interval("variance ratio of two waves", RATIO, found.ratio, found.conf_low, found.conf_high)
