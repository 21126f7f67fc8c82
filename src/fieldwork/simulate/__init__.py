"""Fieldwork with a known truth: worlds, draws from them, and what the draws estimate.

Three doors. `simulate_responses(world, layout, organisations=, seed=)` gives clean answers as arrays, for studies of a
statistic. `simulate(world, instrument, organisations=, waves=, seed=)` gives raw deliveries with every column of the
questionnaire. `write_study` writes a study folder around them with its `truth.json`. `truth(Population(world, layout))`
enumerates what is true.
"""

from __future__ import annotations

from fieldwork.simulate.delivery import Simulated, simulate
from fieldwork.simulate.folder import write_study
from fieldwork.simulate.interview import layout_of
from fieldwork.simulate.population import (
    EXECUTIVES,
    Layout,
    Measure,
    Population,
    Responses,
    simulate_responses,
    stream,
)
from fieldwork.simulate.truth import truth
from fieldwork.simulate.world import World, describe, worlds

__all__ = [
    "EXECUTIVES",
    "Layout",
    "Measure",
    "Population",
    "Responses",
    "Simulated",
    "World",
    "describe",
    "layout_of",
    "simulate",
    "simulate_responses",
    "stream",
    "truth",
    "worlds",
    "write_study",
]
