"""What a world makes true of the order of roles, of entry within organisations, and of convergence over waves.

By enumeration and quadrature. Precedence weighs two roles of one organisation as the estimator does: organisations that have
both and a third executive who answers. The strength of coming first is the Bradley-Terry fit to these probabilities, which
is what the estimate tends to: no world makes the model itself true. Lags have no truth here: what has not happened has no date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fieldwork.instrument import trend_break
from fieldwork.simulate.interview import ENTRY_CHANCE
from fieldwork.simulate.truth import Enumeration, TrueWave, TruthRow
from fieldwork.simulate.truth_role_shift import indices_of, means_of, row
from fieldwork.statistics.influence_model import abilities

__all__ = ["lead_lag_truth"]

Floats = NDArray[np.float64]

_CONSTRUCT = "lead_lag"
_ZERO = 1e-9
_QUARTERS = 400  # of look-back, beyond which an entry has no weight


def lead_lag_truth(waves: Sequence[TrueWave]) -> Iterator[TruthRow]:
    """Yield true ranks, precedence within organisations, and convergence since the first wave, of the last wave given.

    A rank is 1 + roles with a larger index; roles that are alike share the better rank. Nothing is yielded for what the
    instruments do not let be compared, nor for a ratio of spreads of which one is nil.
    """
    first, now = waves[0], waves[-1]
    stage, layout = now.instrument.keys.stage, now.population.layout
    comparable = stage and not (len(waves) > 1 and trend_break([first.instrument, now.instrument], stage))
    if stage and len(layout.stages) > 1:
        level = indices_of(now, first if comparable else now)
        for role, mine in zip(layout.roles, level, strict=True):
            rank = 1.0 + float((level > mine + _ZERO).sum())
            for statistic in ("rank_low", "rank_high"):
                yield row(now, _CONSTRUCT, stage, statistic, rank, role=role)
        yield from _entry(now)
    if len(waves) > 1 and first.population.layout.roles == layout.roles:
        if comparable and len(layout.stages) > 1:
            yield from _convergence(waves, stage, [indices_of(wave, first) for wave in waves])
        for item in now.instrument.measures("adoption_gradient"):
            if item.kind == "ordinal" and not trend_break([wave.instrument for wave in waves], item.name):
                yield from _convergence(waves, item.name, [means_of(wave, item.name) for wave in waves])
                yield from _by_practice(waves, item.name)


def _spread(means: Floats) -> float:
    spread = float(np.std(means, ddof=1))
    return spread if spread > _ZERO else 0.0


def _convergence(
    waves: Sequence[TrueWave], name: str, means: Sequence[Floats], segment: str = ""
) -> Iterator[TruthRow]:
    now, place = waves[-1], {"segment": segment} if segment else {}
    sd = np.array([_spread(each) for each in means])
    if (sd > 0).all():
        yield row(now, _CONSTRUCT, name, "convergence", float(np.log(sd[-1] / sd[0])), **place)
        if len(waves) > 2 and not segment:
            at = np.array([wave.number for wave in waves], dtype=np.float64)
            yield row(now, _CONSTRUCT, name, "convergence_slope", float(np.polyfit(at, np.log(sd), 1)[0]))
        if not segment:
            start, end = means[0] - means[0].mean(), means[-1] - means[-1].mean()
            yield row(now, _CONSTRUCT, name, "convergence_beta", float(start @ end / (start @ start)) - 1.0)
    change = means[-1] - means[0]
    for (i, one), (j, two) in combinations(enumerate(now.population.layout.roles), 2):
        yield row(now, _CONSTRUCT, name, "gap_change", change[i] - change[j], role=one, role_2=two, **place)


def _by_practice(waves: Sequence[TrueWave], name: str) -> Iterator[TruthRow]:
    """Yield the same of organisations without and with alignment work, where executives tell which they are of."""
    now = waves[-1]
    items = now.instrument.slot("act_align")
    if not items or not 0 < now.population.world.without_practice < 1:
        return
    never = min(items[0].options, key=lambda option: option.code).label.lower()
    sides = []
    for practice, words in ((False, never), (True, f"more than {never}")):
        means = [means_of(wave, name, practice=practice) for wave in waves]
        rows = list(_convergence(waves, name, means, f"act_align={words}"))
        yield from (each for each in rows if each["statistic"] == "convergence" or not practice)
        sides += [each["value"] for each in rows if each["statistic"] == "convergence"]
    if len(sides) == 2:
        yield row(now, _CONSTRUCT, name, "convergence_difference", float(sides[0]) - float(sides[1]))


def _entry(wave: TrueWave) -> Iterator[TruthRow]:
    population, layout = wave.population, wave.population.layout
    family = [item for item in wave.instrument.slot("ent") if item.kind == "date" and item.unit == "quarter"]
    if not (family and wave.instrument.keys.organisation):
        return
    codes = [str(option.code) for option in wave.instrument.stages]
    reached = [codes.index(item.member) for item in family if item.member in codes]
    if len(reached) < len(family):
        return
    name = family[0].family or family[0].name
    stage = _stages_given(wave)  # (M, R, S, Z)
    nodes = Enumeration(population, wave.number).nodes[1]
    first, tied = _outcomes(len(layout.stages), tuple(reached))
    R = len(layout.roles)
    wins = np.zeros((R, R))
    for i, j in combinations(range(R), 2):
        both = population.size_share * population.exists[i] * population.exists[j] * _third(wave, i, j)
        joint = np.einsum("msz,mtz,m,z->st", stage[:, i], stage[:, j], nodes, both)
        wins[i, j] = float((joint * (first + tied / 2)).sum())
        wins[j, i] = float((joint * (first.T + tied / 2)).sum())
        share = wins[i, j] / (wins[i, j] + wins[j, i])
        yield row(wave, _CONSTRUCT, name, "precedence", share, role=layout.roles[i], role_2=layout.roles[j])
    for role, strength in zip(layout.roles, abilities(wins[None], layout.roles)[0], strict=True):
        yield row(wave, _CONSTRUCT, name, "precedence_strength", float(strength), role=role)


def _stages_given(wave: TrueWave) -> Floats:
    """Probability of each stage given maturity, role and size (M, R, S, Z)."""
    mass = Enumeration(wave.population, wave.number).mass
    return np.asarray(mass / mass.sum(axis=2, keepdims=True))


def _third(wave: TrueWave, i: int, j: int) -> Floats:
    """Probability that an organisation of a size has a third executive who answers (Z,)."""
    population = wave.population
    silent = 1.0 - population.exists * population.responds
    others = np.delete(silent, [i, j], axis=0)
    return np.asarray(1.0 - others.prod(axis=0))


@cache
def _outcomes(stages: int, reached: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return the expected number of stages that the first of two functions entered earlier, and in the same quarter (S, S).

    A function at a stage entered each stage up to it a sum of geometric gaps ago; the one that entered longer ago was first.
    """
    ago = np.zeros((stages + 1, _QUARTERS))
    ago[0, 0] = 1.0
    gap = np.r_[0.0, ENTRY_CHANCE * (1.0 - ENTRY_CHANCE) ** np.arange(_QUARTERS - 1)]
    for k in range(1, stages + 1):
        ago[k] = np.convolve(ago[k - 1], gap)[:_QUARTERS]
    fewer = np.cumsum(ago, axis=1) - ago
    first, tied = np.zeros((stages, stages)), np.zeros((stages, stages))
    for entered in reached:
        for s in range(entered, stages):
            first[s, :entered] += 1.0
            for t in range(entered, stages):
                k, other = s - entered + 1, t - entered + 1
                first[s, t] += ago[k] @ fewer[other]
                tied[s, t] += ago[k] @ ago[other]
    return first, tied
