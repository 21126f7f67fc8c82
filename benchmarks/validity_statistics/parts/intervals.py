"""Means, a mean of a role, a difference of two roles and a ratio of totals, by every interval of `replicates` and `intervals`.

Answers on five points with a skew; a role that one executive in six has. The ratio is spending per head: the organisations'
own ratios are lognormal, with a standard deviation of .7 of the log; the organisations of unequal size differ in heads by a
lognormal factor too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.validity_statistics.design import Floats, Interval, Outcome, Sample, answers, mean_answer
from fieldwork.statistics.intervals import (
    acceleration,
    basic,
    bca,
    leave_one_out,
    linearised_ratio,
    percentile,
    ratio,
    studentised,
)
from fieldwork.statistics.replicates import infer, small_sample_factor

WEIGHTS, PRECISE = True, True

LOW, HIGH = -0.9, -0.4
TRUTH = np.array([mean_answer(LOW) * 5 / 6 + mean_answer(HIGH) / 6, mean_answer(HIGH), 1.0])
NAMES = ("mean", "mean of a role", "ratio of totals")
DIFFERENCE = mean_answer(HIGH) - mean_answer(LOW)


def study(sample: Sample) -> Iterator[Outcome]:
    role = sample.groups(6)
    answer = answers(sample.latent()[:, 0] + np.where(role == 0, HIGH, LOW))
    C, rng = sample.organisations, sample.rng
    heads = np.exp(0.6 * rng.standard_normal(C)) if sample.cell.unequal else np.ones(C)
    heads *= rng.gamma(1 / 0.16, 0.16, C) if sample.cell.weighted else 1.0
    spending = heads * np.exp(0.7 * rng.standard_normal(C) - 0.245)
    member = [np.ones(sample.n), (role == 0).astype(float), (role == 1).astype(float)]
    D = np.column_stack([sample.totals(np.stack(member, axis=1)), heads])
    N = np.column_stack([sample.totals(np.stack(member, axis=1) * answer[:, None]), spending])
    multiplier = sample.multiplier()
    layers = ratio(N, D, multiplier)
    at = [0, 1, 3]
    theta, error, clusters = layers.theta[:, at], layers.std_error[:, at], layers.clusters[at]
    found = {
        "t": infer(theta, clusters),
        "percentile": percentile(theta, clusters),
        "basic": basic(theta, clusters),
        "studentised": studentised(theta, error),
        "BCa": bca(theta, layers.acceleration[at], clusters),
        "linearised_ratio": linearised_ratio(N[:, at], D[:, at]),
    }
    for method, interval in found.items():
        for j, name in enumerate(NAMES):
            ends = interval.conf_low[j], interval.conf_high[j]
            yield Interval(f"{name}: {method}", TRUTH[j], interval.estimate[j], *ends)
    yield from _difference(N[:, 1:3], D[:, 1:3], layers.theta[:, 1:3], multiplier)


def _difference(N: Floats, D: Floats, theta: Floats, multiplier: Floats) -> Iterator[Outcome]:
    layers = theta[:, 0] - theta[:, 1]
    carrying = int((D.sum(axis=1) > 0).sum())
    every = np.concatenate([np.ones((1, len(N))), multiplier])
    base = every @ D
    residual = sum(
        sign * (N[None, :, k] - theta[:, k, None] * D[None, :, k]) / base[:, k, None]
        for k, sign in ((0, 1.0), (1, -1.0))
    )
    error = small_sample_factor(carrying) * np.sqrt((every * residual**2).sum(axis=1))
    without = leave_one_out(N) / leave_one_out(D)
    found = {
        "t": infer(layers, carrying),
        "percentile": percentile(layers, carrying),
        "basic": basic(layers, carrying),
        "studentised": studentised(layers, error),
        "BCa": bca(layers, acceleration(without[:, 0] - without[:, 1]), carrying),
    }
    for method, interval in found.items():
        yield Interval(
            f"difference of two roles: {method}",
            DIFFERENCE,
            float(layers[0]),
            float(interval.conf_low),
            float(interval.conf_high),
        )
