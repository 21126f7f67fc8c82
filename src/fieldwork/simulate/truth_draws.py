"""Large draws from a world, for truths that no enumeration reaches: interviews of a population under a seed of its own.

The draw is the world's own and the same on every machine and for every study. Of an effect whose size given the other answers
is known the expectation is taken in place of the draw, so that what is left of the Monte-Carlo error is that of the predictors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fieldwork.simulate.interview import Cells, Interview
from fieldwork.simulate.population import BLOCK, Population, asked_in

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.simulate.population import Executives

__all__ = ["Drawn", "Held", "confounders", "draw", "regress", "row"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Row = dict[str, str | float]

_SEED = 20_260_729  # of the large draws; part of their definition


def row(wave: str, construct: str, measure: str, statistic: str, value: float, **place: str) -> Row:
    """Return one record of the truth, keyed as the estimates."""
    key = {name: place.get(name, "") for name in ("role", "role_2", "stage", "item")}
    segment = {"segment": place["segment"]} if place.get("segment") else {}
    zero = 0.0 if abs(value) <= 1e-9 else float(value)
    return {
        "wave": wave,
        "construct": construct,
        "measure": measure,
        "statistic": statistic,
        **key,
        **segment,
        "value": zero,
    }


@dataclass(frozen=True)
class Drawn:
    """Accepted interviews of one large draw.

    Attributes
    ----------
    organisation, role, size, sector : (n,) int    Organisation, and positions in the layout.
    weight : (n,) float                            One over the probability of answering, which raking restores.
    answers : dict of str to (n,) float            Codes of ordinal items, positions of options of single ones, numbers, ranks;
                                                   nan where missing or not asked.
    effects : dict of str to (n,) float            What the world adds to the probability of a flag, or to a number, by slot.
    factors : dict of str to (n,) float            What it multiplies a number by, by slot.
    """

    organisation: Integers
    role: Integers
    size: Integers
    sector: Integers
    weight: Floats
    answers: dict[str, Floats]
    effects: dict[str, Floats]
    factors: dict[str, Floats]


def draw(
    population: Population,
    instrument: Instrument,
    items: Sequence[Item],
    wave: int,
    organisations: int,
    *,
    effects: Sequence[str] = (),
    factors: Sequence[str] = (),
    everybody: bool = False,
) -> Drawn:
    """Interview the executives of many organisations and keep what is accepted.

    Parameters
    ----------
    items : those to be answered. effects, factors : slots of flags and numbers whose shift, or factor, is wanted.
    everybody : give the optional modules to all, for statistics of single respondents.
    """
    if everybody:
        population = Population(dataclasses.replace(population.world, optional_share=1.0), population.layout)
    wanted = {item.name for item in items}
    asked = [item for item in instrument.items if item.name in wanted]
    parts: list[Drawn] = []
    for block, start in enumerate(range(0, organisations, BLOCK)):
        size = min(BLOCK, organisations - start)
        for drawn in asked_in(population, organisations=size, seed=_SEED, block=block, wave=wave):
            parts.append(_interviewed(drawn, population, instrument, asked, wave, effects, factors))  # noqa: PERF401
    return parts[0] if len(parts) == 1 else _whole(parts)


def _interviewed(
    drawn: Executives,
    population: Population,
    instrument: Instrument,
    asked: Sequence[Item],
    wave: int,
    effects: Sequence[str],
    factors: Sequence[str],
) -> Drawn:
    interview = Interview(instrument, drawn, wave, "1")
    columns = interview.ask(asked)
    there = ~(interview.speeder | interview.straight | interview.inattentive) & drawn.answers_wave(wave)
    return Drawn(
        drawn.first + drawn.org[there], drawn.role[there], drawn.size[there], drawn.sector[there],
        1.0 / population.responds[drawn.role, drawn.size][there],
        {item.name: _codes(item, columns[item.column or item.name])[there] for item in asked},
        {slot: _shift(interview, instrument.slot(slot))[there] for slot in effects},
        {slot: _factor(interview, instrument.slot(slot))[there] for slot in factors},
    )  # fmt: skip


def _shift(interview: Interview, items: tuple[Item, ...]) -> Floats:
    if not items:
        return np.zeros(interview.drawn.n)
    nothing = np.zeros(interview.drawn.n)
    item = items[0]
    shift = interview.effects.share(item) if item.kind == "flag" else interview.effects.number(item, nothing.copy())
    return np.broadcast_to(np.asarray(shift, dtype=np.float64), nothing.shape)


def _factor(interview: Interview, items: tuple[Item, ...]) -> Floats:
    one = np.ones(interview.drawn.n)
    return interview.effects.number(items[0], one) if items else one


def _codes(item: Item, cells: Cells) -> Floats:
    """Return delivered texts as numbers (n,): positions of single options, codes and numbers else, nan for what is missing."""
    if item.kind == "single":
        known = {str(option.code): float(place) for place, option in enumerate(item.options)}
    else:
        missing = {f"{'-' if item.kind == 'number' else ''}{code.code}" for code in item.missing}
        known = {text: float(text) for text in cells.texts if text and text not in missing}
    table = np.array([*(known.get(text, np.nan) for text in cells.texts), np.nan])
    return table[cells.index]


def _whole(parts: Sequence[Drawn]) -> Drawn:
    def joined(columns: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        return np.concatenate(columns)

    whole: dict[str, Any] = {
        name: joined([getattr(part, name) for part in parts])
        for name in ("organisation", "role", "size", "sector", "weight")
    }
    for name in ("answers", "effects", "factors"):
        whole[name] = {key: joined([getattr(part, name)[key] for part in parts]) for key in getattr(parts[0], name)}
    return Drawn(**whole)


@dataclass(frozen=True)
class Held:
    """What comparisons hold fixed, as few distinct rows.

    Attributes
    ----------
    code : (n,) int        Distinct row of each respondent.
    table : (F, q) float   Columns of the design, without the constant.
    """

    code: Integers
    table: Floats

    @property
    def columns(self) -> Floats:
        """Columns of the design (n, q)."""
        return self.table[self.code]


def confounders(drawn: Drawn, population: Population, instrument: Instrument) -> Held:
    """Return what comparisons hold fixed: size, sector and the stage of the organisation as the executive reads it."""
    names = set(instrument.keys.adjust_for)
    code = np.zeros(len(drawn.role), dtype=np.int64)
    table = np.empty((1, 0))
    for name, place, levels in (
        ("size_band", drawn.size, len(population.layout.sizes)), ("sector", drawn.sector, len(population.layout.sectors))
    ):  # fmt: skip
        if name in names:
            code, table = _crossed(code, table, place, np.eye(levels)[:, 1:])
    if instrument.keys.stage_organisation:
        stage = drawn.answers[instrument.keys.stage_organisation]
        given = np.where(np.isnan(stage), np.nanmean(stage), stage)
        points, place = np.unique(given, return_inverse=True)
        code, table = _crossed(code, table, place.reshape(-1), points[:, None])
    return Held(code, table)


def _crossed(code: Integers, table: Floats, place: Integers, columns: Floats) -> tuple[Integers, Floats]:
    rows = np.hstack([np.repeat(table, len(columns), axis=0), np.tile(columns, (len(table), 1))])
    return code * len(columns) + place, rows


def regress(columns: Sequence[Floats], held: Held, outcome: Floats, weight: Floats) -> float:
    """Coefficient of the first column in a weighted least-squares regression on all columns and what is held fixed."""
    used = ~np.isnan(outcome) & np.all([~np.isnan(column) for column in columns], axis=0)
    X = np.column_stack([np.ones(int(used.sum())), *(column[used] for column in columns), held.columns[used]])
    weighted = X * weight[used, None]
    return float(np.linalg.solve(weighted.T @ X, weighted.T @ outcome[used])[1])
