"""Korn and Graubard's interval of shares from clustered, weighted answers: common, rare, and of one role in ten."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from benchmarks.validity_statistics.design import Interval, Outcome, Sample
from fieldwork.statistics.proportion import korn_graubard
from fieldwork.statistics.replicates import linearised_variance

WEIGHTS, PRECISE = True, True
SHARES = (
    ("share of all", 0.5),
    ("share of all", 0.2),
    ("share of all", 0.05),
    ("share of a role", 0.5),
    ("share of a role", 0.2),
)


def study(sample: Sample) -> Iterator[Outcome]:
    member = sample.groups(10) == 0
    for name, truth in SHARES:
        cited = sample.latent()[:, 0] < stats.norm.ppf(truth)
        inside = member if name == "share of a role" else np.ones(sample.n, dtype=bool)
        W, WY = sample.totals(inside.astype(float))[:, 0], sample.totals((inside & cited).astype(float))[:, 0]
        share = float(WY.sum() / W.sum())
        carrying = W > 0
        error = float(np.sqrt(linearised_variance((WY - share * W)[carrying] / W.sum())))
        interval = korn_graubard(share, error, int(inside.sum()), int(carrying.sum()))
        yield Interval(f"{name}, {truth:g}: korn_graubard", truth, share, interval.conf_low, interval.conf_high)
