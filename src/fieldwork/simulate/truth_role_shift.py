"""What a world makes true of the Role Shift Index, of changes since the first wave, and of stability between waves.

By enumeration and quadrature throughout, but for the variance ratio of use. That is taken from a draw of 60,000 organisations
under a seed of its own: its standard error is a quarter of what a study of 4,000 organisations can see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fieldwork.instrument import trend_break
from fieldwork.simulate.interview import measure_of
from fieldwork.simulate.population import blocks, executives
from fieldwork.simulate.truth import Enumeration, TrueWave, TruthRow

__all__ = ["indices_of", "means_of", "role_shift_truth", "row"]

Floats = NDArray[np.float64]

_ORGANISATIONS = 60_000
_SEED = 8
_NODES = 64
_ZERO = 1e-9


def row(wave: TrueWave, construct: str, measure: str, statistic: str, value: float, **keys: str) -> TruthRow:
    """Return one record; a value within rounding of nil is nil."""
    empty = {"role": "", "role_2": "", "stage": "", "item": ""}
    head: TruthRow = {"wave": wave.name, "construct": construct, "measure": measure, "statistic": statistic}
    return {**head, **empty, **keys, "value": float(value) if abs(value) > _ZERO else 0.0}


def role_shift_truth(waves: Sequence[TrueWave]) -> Iterator[TruthRow]:
    """Yield the true index of each role, its shift, changes of mean, and stability, of the last of the waves given.

    The reference is the first wave, all roles weighing alike. Who answers again is drawn at random, so that what is true of
    a panel is true of all. Nothing is yielded for what the instruments do not let be compared.
    """
    first, now = waves[0], waves[-1]
    keys, roles = now.instrument.keys, now.population.layout.roles
    same = first.population.layout.roles == roles
    if keys.stage and len(now.population.layout.stages) > 1 and not _broken(first, now, keys.stage):
        level = indices_of(now, first)
        for role, value in zip(roles, level, strict=True):
            yield row(now, "role_shift", keys.stage, "ridit", value, role=role)
        if len(waves) > 1 and same:
            for role, value in zip(roles, level - indices_of(first, first), strict=True):
                yield row(now, "role_shift", keys.stage, "shift", value, role=role)
    if len(waves) > 1 and same:
        yield from _changes(first, now)
        yield from _reversals(waves)
    if len(waves) > 2 and same:
        yield from _variance(waves)


def _broken(first: TrueWave, now: TrueWave, name: str) -> str:
    return trend_break([first.instrument, now.instrument], name) if first is not now else ""


def stages_of(wave: TrueWave) -> Floats:
    """Share of each stage within each role (R, S)."""
    mass = Enumeration(wave.population, wave.number).mass.sum(axis=(0, 3))
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def indices_of(wave: TrueWave, reference: TrueWave) -> Floats:
    """Role Shift Index of each role (R,), by definition and not by the estimator's code."""
    base = stages_of(reference).mean(axis=0)
    return np.asarray(stages_of(wave) @ (np.cumsum(base) - base / 2))


def means_of(wave: TrueWave, name: str, *, practice: bool | None = None) -> Floats:
    """Mean answer of each role to an ordinal item (R,); `practice` as in `Enumeration.answer`."""
    mass, cell = Enumeration(wave.population, wave.number).cell_means(
        measure_of(wave.instrument.item(name)), practice=practice
    )
    return np.asarray((mass * cell).sum(axis=1) / mass.sum(axis=1))


def _changes(first: TrueWave, now: TrueWave) -> Iterator[TruthRow]:
    items = [item for item in now.instrument.measures("adoption_gradient") if item.kind == "ordinal"]
    items += [item for item in now.instrument.slot("fund_release") if item.kind == "ordinal" and item not in items]
    for item in items:
        if _broken(first, now, item.name):
            continue
        change = means_of(now, item.name) - means_of(first, item.name)
        for role, value in zip(now.population.layout.roles, change, strict=True):
            for statistic in ("mean_change", "mean_change_panel"):
                yield row(now, "role_shift", item.name, statistic, value, role=role)


def _reversals(waves: Sequence[TrueWave]) -> Iterator[TruthRow]:
    """Yield the share of moves back, where it is the same between every two waves; else it hangs on who answers when."""
    stage = waves[-1].instrument.keys.stage
    if not stage or len(waves[-1].population.layout.stages) < 2:
        return
    shares = [_moves_back(one, two) for one, two in pairwise(waves)]
    if max(shares) - min(shares) < _ZERO:
        yield row(waves[-1], "role_shift", stage, "reversal_share", shares[0])


def _moves_back(one: TrueWave, two: TrueWave) -> float:
    """Probability that an executive's stage is earlier in the second wave, by quadrature over what lasts."""
    world, population = one.population.world, one.population
    points, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    lasting = np.hypot(world.maturity_sd, world.stage_noise_sd * np.sqrt(world.stage_persistence)) * points
    noise = world.stage_noise_sd * np.sqrt(1.0 - world.stage_persistence)
    stages = []
    for wave in (one, two):
        mean = wave.population.stage_mean(wave.number)[None] + lasting[:, None, None]  # (nodes, R, Z)
        cuts = population.stage_cuts[:, None, None, None]
        below = ndtr((cuts - mean) / noise) if noise > 0 else (cuts > mean).astype(np.float64)
        stages.append(np.diff(below, axis=0, prepend=0.0, append=1.0))
    later_than = np.cumsum(stages[1], axis=0) - stages[1]  # probability that the second stage lies before each
    back = (stages[0] * later_than).sum(axis=0)
    return float(np.einsum("mrz,m,rz->", back, weights / weights.sum(), population.executives))


def _variance(waves: Sequence[TrueWave]) -> Iterator[TruthRow]:
    """Yield the ratio of the variances of the last and the first change of use, within roles."""
    now = waves[-1]
    items = [item for item in now.instrument.slot("use_stab") if item.kind == "ordinal"]
    if not items:
        return
    measures = [measure_of(item) for item in items]
    asked = np.isin(now.population.layout.roles, items[0].asked_of) if items[0].asked_of else True
    numbers = [waves[0].number, waves[1].number, waves[-2].number, now.number]
    roles = len(now.population.layout.roles)
    sums = np.zeros((2, 3, roles))
    for block, size in blocks(_ORGANISATIONS):
        drawn = executives(now.population, organisations=size, seed=_SEED, block=block)
        weight = 1.0 / now.population.responds[drawn.role, drawn.size]
        level = []
        for number in numbers:
            stage = drawn.stage(number)
            answers = [np.asarray(m.codes)[drawn.point(m, drawn.latent(m, stage, number))] for m in measures]
            level.append(np.mean(answers, axis=0))
        for side, change in enumerate((level[1] - level[0], level[3] - level[2])):
            for power in range(3):
                sums[side, power] += np.bincount(drawn.role, weights=weight * change**power, minlength=roles)
    variance = [
        float(((of[2] - of[1] ** 2 / of[0]) * asked).sum() / (of[0] * asked).sum()) for of in (sums[0], sums[1])
    ]
    yield row(now, "role_shift", "use_stab", "variance_ratio", variance[1] / variance[0])
