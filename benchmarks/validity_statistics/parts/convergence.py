"""Ten roles over waves: nothing changes, or every role moves half-way to the mean; separate samples, or the same executives.

Spread of .5 points in the first wave. In the panel the same executives answer twice (their noise correlates .6 beside what
their organisation shares). The slope is that of four separate waves between which the spread falls by a fifth each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.validity_statistics.design import Floats, Interval, Ints, Judged, Outcome, Sample, attempt, draw
from benchmarks.validity_statistics.parts.spread import NOISE, ROLES, noisy_means, shape
from fieldwork.statistics.convergence import beta_convergence, rank_stability, sigma_convergence

WEIGHTS, PRECISE = True, True
SPREAD, KEPT, WAVES = 0.5, 0.8, 4


def study(sample: Sample) -> Iterator[Outcome]:
    waves = [sample, *(draw(f"convergence, wave {w + 1}", sample.cell, sample.study) for w in range(1, WAVES))]
    own = [_wave(part, NOISE * part.latent()[:, 0], part.groups(ROLES), wave) for wave, part in enumerate(waves)]
    means = np.stack([m for m, _ in own])
    errors = np.stack([e for _, e in own], axis=1)
    start = SPREAD * shape(ROLES)
    yield from _two_waves("separate samples", start, means[:2], errors[:, :2])
    yield from attempt("sigma slope over four waves", partial(_slope, start, means, errors))
    first, again, role = sample.latent(2), sample.latent(2)[:, 0], sample.groups(ROLES)
    panel = np.sqrt(0.6) * first[:, 0][:, None] + np.sqrt(0.4) * np.stack([first[:, 1], again], axis=1)
    pairs = [_wave(sample, NOISE * panel[:, t], role, 0) for t in range(2)]
    yield from _two_waves("panel", start, np.stack([m for m, _ in pairs]), np.stack([e for _, e in pairs], axis=1))


def _wave(sample: Sample, noise: Floats, role: Ints, wave: int) -> tuple[Floats, Floats]:
    """Means of noise and their replicate errors; another wave's organisations have other names, so other multipliers."""
    means, errors, _ = noisy_means(sample, noise, role, ROLES, sample.multiplier(wave=wave))
    return means, errors


def _two_waves(design: str, start: Floats, means: Floats, errors: Floats) -> Iterator[Outcome]:
    for world, share in (("no change", 1.0), ("half-way", 0.5)):
        theta = means + np.stack([start, share * start])
        name = f"{design}, {world}"
        yield from attempt(f"beta, {name}", partial(_beta, name, theta, errors, share))
        yield from attempt(f"sigma change, {name}", partial(_sigma, name, theta, errors, share))
    stable = rank_stability(means + start, errors=errors)
    yield Judged(f"rank_stability: p_stable, {design}", stable.p_stable <= 0.05)


def _beta(name: str, theta: Floats, errors: Floats, share: float) -> Iterator[Outcome]:
    beta = beta_convergence(theta, errors=errors)
    yield Interval(f"beta, {name}", share - 1.0, beta.beta, beta.conf_low, beta.conf_high)
    yield Judged(f"beta: p_value of convergence, {name}", beta.p_value <= 0.05, power=share < 1)


def _sigma(name: str, theta: Floats, errors: Floats, share: float) -> Iterator[Outcome]:
    sigma = sigma_convergence(theta, errors=errors)
    yield Interval(f"sigma change, {name}", np.log(share), sigma.change, sigma.change_low, sigma.change_high)
    yield Judged(f"sigma: interval of the change below 0, {name}", sigma.change_high < 0, power=share < 1)
    half = 1.96 * sigma.change_error
    yield Interval(
        f"sigma change by the delta method, {name}",
        np.log(share),
        sigma.change,
        sigma.change - half,
        sigma.change + half,
    )


def _slope(start: Floats, means: Floats, errors: Floats) -> Iterator[Outcome]:
    theta = means + KEPT ** np.arange(WAVES)[:, None] * start
    sigma = sigma_convergence(theta, errors=errors)
    yield Interval("sigma slope over four waves", np.log(KEPT), sigma.slope, sigma.slope_low, sigma.slope_high)
