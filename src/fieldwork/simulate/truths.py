"""The truth of a wave, construct by construct: what a simulated study writes into truth.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from fieldwork.simulate.truth import TrueWave, TruthRow, truth
from fieldwork.simulate.truth_alignment_map import alignment_map_truth
from fieldwork.simulate.truth_blockers import blockers_truth
from fieldwork.simulate.truth_dominance import dominance_truth
from fieldwork.simulate.truth_influence import influence_truth
from fieldwork.simulate.truth_lead_lag import lead_lag_truth
from fieldwork.simulate.truth_perception_gap import perception_gap_truth
from fieldwork.simulate.truth_phase import phase_truth
from fieldwork.simulate.truth_practices import practices_truth
from fieldwork.simulate.truth_readiness import readiness_truth
from fieldwork.simulate.truth_role_shift import role_shift_truth

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.simulate.population import Population

__all__ = ["over_waves", "whole_truth"]

# Each takes the population, its instrument, the wave's name and its number from 1.
_CONSTRUCTS: tuple[Callable[[Population, Instrument, str, int], Iterable[TruthRow]], ...] = (
    alignment_map_truth,
    blockers_truth,
    dominance_truth,
    perception_gap_truth,
    phase_truth,
    readiness_truth,
    practices_truth,
    influence_truth,
)

# Each takes the waves up to the one that it is to tell of, oldest first.
_OVER_WAVES: tuple[Callable[[Sequence[TrueWave]], Iterable[TruthRow]], ...] = (role_shift_truth, lead_lag_truth)


def whole_truth(
    population: Population, instrument: Instrument, wave: str, number: int, earlier: Sequence[TrueWave] = ()
) -> list[TruthRow]:
    """Return the population value of every statistic that the world determines, one record each, keyed as the estimates.

    `earlier` are the waves before this one, oldest first, for what is compared between waves.
    """
    rows = truth(population, waves=(wave,), first=number)
    for construct in _CONSTRUCTS:
        rows += construct(population, instrument, wave, number)
    return rows + over_waves((*earlier, TrueWave(population, instrument, wave, number)))


def over_waves(waves: Sequence[TrueWave]) -> list[TruthRow]:
    """Return of `whole_truth` what rests on waves compared, and the levels that they start from; `waves` oldest first."""
    return [row for construct in _OVER_WAVES for row in construct(waves)]
