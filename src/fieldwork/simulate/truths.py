"""The truth of a wave, construct by construct: what a simulated study writes into truth.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fieldwork.simulate.truth import TruthRow, truth

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.simulate.population import Population

__all__ = ["whole_truth"]

# Each takes the population, its instrument, the wave's name and its number from 1.
_CONSTRUCTS: tuple[Callable[[Population, Instrument, str, int], Iterable[TruthRow]], ...] = ()


def whole_truth(population: Population, instrument: Instrument, wave: str, number: int) -> list[TruthRow]:
    """Return the population value of every statistic that the world determines, one record each, keyed as the estimates."""
    rows = truth(population, waves=(wave,), first=number)
    for construct in _CONSTRUCTS:
        rows += construct(population, instrument, wave, number)
    return rows
