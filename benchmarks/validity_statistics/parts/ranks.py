"""Confidence sets for the ranks of ten roles that are all alike, in two groups half a point apart, or evenly spread.

`covered` says that all sets of a study hold together (simultaneous), or the share of roles whose own set holds (marginal): the
true rank and every rank that a tie could be given. Width in ranks. A statement of order is wrong where a role is called surely
above one that is not below it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.validity_statistics.design import Floats, Judged, Outcome, Sample, Sets
from benchmarks.validity_statistics.parts.spread import NOISE, ROLES, noisy_means
from fieldwork.statistics.ranks import RankSets, normal_errors, rank_sets

WEIGHTS, PRECISE = True, True
WORLDS = {
    "alike": np.zeros(ROLES),
    "two groups": np.repeat([0.5, 0.0], ROLES // 2),
    "spread over 1.5 points": np.linspace(0.75, -0.75, ROLES),
}


def study(sample: Sample) -> Iterator[Outcome]:
    noise = NOISE * sample.latent()[:, 0]
    means, errors, clusters = noisy_means(sample, noise, sample.groups(ROLES), ROLES, sample.multiplier())
    df = np.minimum(clusters[:, None], clusters[None, :]) - 1.0
    covariance = errors.T @ errors / len(errors)
    for world, truth in WORLDS.items():
        theta = truth + means
        sets = rank_sets(theta, errors, df=df)
        yield from _judged(f"simultaneous, replicates, {world}", sets, truth)
        yield from _ordered(world, sets, truth)
        yield from _judged(f"simultaneous, Bonferroni, {world}", rank_sets(theta, covariance=covariance, df=df), truth)
        yield from _judged(f"marginal, replicates, {world}", rank_sets(theta, errors, df=df, simultaneous=False), truth)
    drawn = normal_errors(covariance, 1000, seed=sample.study)
    sets = rank_sets(means, drawn, covariance=covariance, df=df)
    yield from _judged("simultaneous, normal_errors, alike", sets, WORLDS["alike"])


def _judged(name: str, sets: RankSets, truth: Floats) -> Iterator[Outcome]:
    best = 1 + (truth[None, :] > truth[:, None]).sum(axis=1)
    worst = len(truth) - (truth[None, :] < truth[:, None]).sum(axis=1)
    held = (sets.rank_low <= best) & (sets.rank_high >= worst)
    covered = bool(held.all()) if sets.simultaneous else float(held.mean())
    yield Sets(name, covered, float((sets.rank_high - sets.rank_low + 1).mean()))


def _ordered(world: str, sets: RankSets, truth: Floats) -> Iterator[Outcome]:
    above = truth[:, None] > truth[None, :]
    yield Judged(f"any wrong statement of order, {world}", bool((sets.surely_above & ~above).any()))
    between_tiers = sets.tier[:, None] < sets.tier[None, :]
    yield Judged(f"any wrong order between tiers, {world}", bool((between_tiers & ~above).any()))
    if above.any():
        yield Judged(f"pairs that differ called surely ordered, {world}", sets.surely_above[above], power=True)
