"""Spread of ten roles and of five stages, the range, their ratio and difference, by the draws of `spread`.

Answers on a continuous scale with a standard deviation of 1.2 points within roles; the true means of roles and stages are
fixed, as those of a finite population. A draw without a value counts as beyond both ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from benchmarks.validity_statistics.design import Floats, Interval, Ints, Outcome, Sample, layers_of
from fieldwork.statistics.replicates import small_sample_factor, t_scale
from fieldwork.statistics.spread import Spread, log_ratio, spread

WEIGHTS, PRECISE = True, True
ROLES, STAGES, NOISE = 10, 5, 1.2
SPREADS = ((0.0, 0.5), (0.25, 0.5), (0.5, 0.25))


def shape(groups: int) -> Floats:
    """Normal scores with a standard deviation of 1 (n - 1)."""
    scores = stats.norm.ppf((np.arange(groups) + 0.5) / groups)
    return scores / np.std(scores, ddof=1)


def noisy_means(
    sample: Sample, noise: Floats, group: Ints, groups: int, multiplier: Floats
) -> tuple[Floats, Floats, Floats]:
    """Means of noise by group, their replicate errors with small-sample factors, and the organisations behind each."""
    W = sample.by_group(np.ones(sample.n), group, groups)
    theta = layers_of(multiplier, sample.by_group(noise, group, groups)) / layers_of(multiplier, W)
    clusters = (W > 0).sum(axis=0)
    return theta[0], (theta[1:] - theta[0]) * small_sample_factor(clusters), clusters


def open_ends(draws: Floats) -> tuple[float, float]:
    low = np.quantile(np.where(np.isnan(draws), -np.inf, draws), 0.025, method="inverted_cdf")
    high = np.quantile(np.where(np.isnan(draws), np.inf, draws), 0.975, method="inverted_cdf")
    return float(low), float(high)


def study(sample: Sample) -> Iterator[Outcome]:
    noise, multiplier = NOISE * sample.latent()[:, 0], sample.multiplier()
    sides = []
    for groups in (ROLES, STAGES):
        means, errors, clusters = noisy_means(sample, noise, sample.groups(groups), groups, multiplier)
        covariance = np.cov(errors, rowvar=False)
        sides.append((means, errors * t_scale(clusters), covariance, sample.rng.standard_normal(errors.shape)))
    for role_sd, stage_sd in SPREADS:
        role, stage = (
            spread(means + sd * shape(len(means)), errors, covariance=V, shapes=shapes)
            for (means, errors, V, shapes), sd in zip(sides, (role_sd, stage_sd), strict=True)
        )
        yield from _own(role, role_sd)
        world = f"roles {role_sd:g}, stages {stage_sd:g}"
        if role_sd > 0:
            ratio = log_ratio(role.sd_draws, stage.sd_draws)
            with np.errstate(divide="ignore", invalid="ignore"):
                estimate = float(np.log(role.sd_corrected) - np.log(stage.sd_corrected))
            yield Interval(f"log ratio of spreads, {world}", np.log(role_sd / stage_sd), estimate, *open_ends(ratio))
        truth = role_sd * np.ptp(shape(ROLES)) - stage_sd * np.ptp(shape(STAGES))
        draws = role.range_draws - stage.range_draws
        yield Interval(
            f"difference of ranges, {world}",
            truth,
            role.range_shrunken - stage.range_shrunken,
            *np.quantile(draws, [0.025, 0.975]),
        )


def _own(role: Spread, truth: float) -> Iterator[Outcome]:
    yield Interval(
        f"spread of ten roles, {truth:g}", truth, role.sd_corrected, *np.quantile(role.sd_draws, [0.025, 0.975])
    )
    yield Interval(
        f"range of ten roles, spread {truth:g}",
        truth * np.ptp(shape(ROLES)),
        role.range_shrunken,
        *np.quantile(role.range_draws, [0.025, 0.975]),
    )
