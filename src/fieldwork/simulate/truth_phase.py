"""What a world makes true of the spread between roles by the stage of the organisation, by enumeration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fieldwork.simulate.truth import Enumeration, TrueWave, TruthRow
from fieldwork.simulate.truth_role_shift import row

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.simulate.population import Population

__all__ = ["phase_truth"]

_DISTINCT = 0.05  # points by which the widest inner stage must exceed the others for the world to settle the break
_LEAST = 4  # stages


def phase_truth(population: Population, instrument: Instrument, wave: str, number: int) -> Iterator[TruthRow]:
    """Yield the true spread at each stage of the organisation as read, and the slopes around the widest inner one.

    Slopes are left out where no inner stage stands out: the estimate's break is then anybody's guess.
    """
    if not instrument.keys.stage_organisation or len(population.layout.roles) < 2:
        return
    enumeration, stages = Enumeration(population, number), instrument.item(instrument.keys.stage_organisation).options
    told = TrueWave(population, instrument, wave, number)
    ids = [option.id for option in sorted(stages, key=lambda option: option.code)]
    for measure in population.layout.measures:
        answer = enumeration.answer(measure) @ population.sector_share  # (M or 1, R, S, Z)
        weighted = np.einsum("mrsz,mt->mrszt", enumeration.mass, enumeration.organisation_stage)
        total = (weighted * answer[..., None]).sum(axis=(0, 2, 3))
        spread = np.std(total / weighted.sum(axis=(0, 2, 3)), axis=0, ddof=1)
        for stage, value in zip(ids, spread, strict=True):
            yield row(told, "adoption_gradient", measure.name, "role_sd_by_stage", value, stage=stage)
        inner = np.sort(spread[1:-1])
        if len(spread) < _LEAST or inner[-1] - inner[-2] < _DISTINCT:
            continue
        peak, at = 1 + int(np.argmax(spread[1:-1])), np.arange(len(spread), dtype=np.float64)
        for side, pick in (("before", slice(0, peak + 1)), ("after", slice(peak, None))):
            slope = float(np.polyfit(at[pick], spread[pick], 1)[0])
            yield row(told, "adoption_gradient", measure.name, f"slope_{side}_peak", slope)
