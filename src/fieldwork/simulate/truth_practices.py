"""What a world makes true of practices and outcomes.

Functions, and which objective a function puts first, are integrated exactly. An effect that the world does not have is nil
exactly. The rest is taken from a draw of 40,000 organisations, all of whose executives get the module (200,000 interviews), and
for delay, which rests on who works beside whom, from one of 60,000 organisations as they are asked. Times to deployment are
drawn; counts, shares and decision times are replaced by their expectation given what they depend on. The Monte-Carlo error is a
sixth of the standard error of a study of 4,000 organisations, for delay a quarter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc, ndtr

from fieldwork.simulate.effects import STALE_DAYS, differing
from fieldwork.simulate.interview import SPAN
from fieldwork.simulate.truth_draws import Drawn, Held, Row, confounders, draw, regress, row
from fieldwork.statistics.regressions import log_linear, log_normal_times
from fieldwork.statistics.reliability import cronbach_alpha, omega_total

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.simulate.population import Population

__all__ = ["practices_truth"]

Floats = NDArray[np.float64]

CONSTRUCT = "practices"
_ORGANISATIONS = 40_000
_FOR_DELAY = 60_000
_LEAST_ANSWERS = 8  # by which a person's general level is told
_LEAST_POINTS = 4


def practices_truth(population: Population, instrument: Instrument, wave: str, number: int) -> Iterator[Row]:
    """Yield the population value of every statistic of the construct that the world determines."""
    yield from _objectives(population, instrument, wave)
    if instrument.keys.role:
        yield from _delay(population, instrument, wave, number)
        yield from _outcomes(population, instrument, wave, number)


def _objectives(population: Population, instrument: Instrument, wave: str) -> Iterator[Row]:
    world = population.world
    function, objectives = instrument.slot("team_fn"), instrument.slot("obj_rank")
    if not function:
        return
    options = [option.id for option in function[0].options]
    weight = np.array([world.choice.get(f"{function[0].name}.{option}", 1.0) for option in options])
    weight = weight / weight.sum()
    for option, value in zip(options, weight, strict=True):
        yield row(wave, CONSTRUCT, function[0].name, "share", value, item=option)
    by_role = any(key.startswith(f"{item.name}.") for item in objectives for key in world.priority)
    if not objectives or by_role:
        return
    names = [item.member or item.name for item in objectives]
    added = np.array([[world.objective.get(f"{name}.{option}", 0.0) for name in names] for option in options])
    first = np.array([_first(each) for each in added])  # (functions, objectives)
    measure = objectives[0].family or objectives[0].name
    for f, option in enumerate(options):
        others = np.where(np.arange(len(options)) == f, 0.0, weight)
        for j, name in enumerate(names):
            place = {"segment": f"{function[0].name}={option}", "item": name}
            yield row(wave, CONSTRUCT, measure, "share", first[f, j], **place)
            difference = first[f, j] - others @ first[:, j] / others.sum()
            yield row(wave, CONSTRUCT, measure, "risk_difference", difference, **place)


def _first(added: Floats) -> Floats:
    """Probability that each of several normal utilities of variance 1.25 is the largest, by Gauss-Hermite quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(96)
    spread = np.sqrt(1.25)  # 0.5 of the organisation and 1 of the person, in standard deviations
    out = np.zeros(len(added))
    for j in range(len(added)):
        others = np.delete(added, j)
        inside = ndtr(points[:, None] + (added[j] - others) / spread).prod(axis=1)
        out[j] = weights @ inside / weights.sum()
    return out


def _delay(population: Population, instrument: Instrument, wave: str, number: int) -> Iterator[Row]:
    world = population.world
    delay, function, objectives = (instrument.slot(slot) for slot in ("delay", "team_fn", "obj_rank"))
    if not delay or not function or not objectives:
        return
    base = world.choice.get(delay[0].name, 0.5)
    if not world.delay_mismatch:
        yield row(wave, CONSTRUCT, delay[0].name, "share", base)
        yield row(wave, CONSTRUCT, delay[0].name, "risk_difference", 0.0)
    items = [*function, *objectives]
    if instrument.keys.stage_organisation:
        items.append(instrument.item(instrument.keys.stage_organisation))
    drawn = draw(population, instrument, items, number, _FOR_DELAY, effects=("delay",))
    asked = ~np.isnan(drawn.answers[function[0].name])
    ranks = np.column_stack([drawn.answers[item.name] for item in objectives])
    known = asked & ~np.isnan(ranks).any(axis=1)
    first = np.where(np.isnan(ranks), np.inf, ranks).argmin(axis=1)
    code = np.nan_to_num(drawn.answers[function[0].name]).astype(np.int64)
    mismatch = differing(drawn.organisation, code, first, known)
    # All leads in one column: they differ somewhere exactly where two functions are there.
    mixed = known & differing(drawn.organisation, code, code, known)
    probability = np.clip(base + drawn.effects["delay"], 0.0, 1.0)
    late = drawn.weight[mixed] * probability[mixed]
    yield row(wave, CONSTRUCT, delay[0].name, "mismatch_share", float(np.average(mismatch[mixed], weights=late)))
    if world.delay_mismatch:
        share = float(np.average(probability[asked], weights=drawn.weight[asked]))
        yield row(wave, CONSTRUCT, delay[0].name, "share", share)
        held = confounders(drawn, population, instrument)
        exposed = np.where(mixed, mismatch.astype(np.float64), np.nan)
        yield row(
            wave, CONSTRUCT, delay[0].name, "risk_difference", regress([exposed], held, probability, drawn.weight)
        )  # fmt: skip


# ---------------------------------------------------------------------------------------- outcomes of single respondents


_BY_PRACTICE = (
    ("t_deploy", "practice_time", "time_ratio"),
    ("bott", "practice_bottlenecks", "rate_ratio"),
    ("rework", "practice_rework", "rate_ratio"),
)


def _outcomes(population: Population, instrument: Instrument, wave: str, number: int) -> Iterator[Row]:
    yield from _nil(population, instrument, wave)
    level = _level_items(instrument)
    slots = ("prac", "lead", "t_deploy", "t_open", "sat", "layers", "road_age", "road_trust")
    items = [*(item for slot in slots for item in instrument.slot(slot)), *level]
    if not any(instrument.slot(slot) for slot in ("prac", "lead", "road_trust", "t_dec")):
        return
    if instrument.keys.stage_organisation:
        items.append(instrument.item(instrument.keys.stage_organisation))
    drawn = draw(
        population, instrument, items, number, _ORGANISATIONS, factors=("bott", "rework", "t_dec"), everybody=True
    )
    held = confounders(drawn, population, instrument)
    general = _general_level(drawn, level)
    for practice in instrument.slot("prac"):
        yield from _practice(drawn, population, instrument, practice, general, held, wave)
    world = population.world
    for layers in instrument.slot("layers"):
        for time in instrument.slot("t_dec") if world.decision_layer else ():
            expected = _reported(time, drawn.factors["t_dec"])
            value = _ratio(drawn.answers[layers.name], held, expected, drawn.weight)
            yield row(wave, CONSTRUCT, time.name, "time_ratio", value, item=layers.name)
    for age in instrument.slot("road_age"):
        for trust in instrument.slot("road_trust") if world.roadmap_trust else ():
            yield from _roadmap(drawn, trust, age, held, wave)
    if instrument.slot("sat") and instrument.slot("lead"):
        yield from _leadership(drawn, instrument.slot("sat")[0], instrument.slot("lead"), general, held, wave)


def _nil(population: Population, instrument: Instrument, wave: str) -> Iterator[Row]:
    """Yield what is nil, or a ratio of one, because the world has no such effect."""
    world = population.world
    for slot, family, statistic in _BY_PRACTICE:
        for outcome in instrument.slot(slot) if not getattr(world, family) else ():
            for practice in instrument.slot("prac"):
                yield row(wave, CONSTRUCT, outcome.name, statistic, 1.0, item=practice.name)
    for layers in instrument.slot("layers"):
        for time in instrument.slot("t_dec") if not world.decision_layer else ():
            yield row(wave, CONSTRUCT, time.name, "time_ratio", 1.0, item=layers.name)
    for age in instrument.slot("road_age"):
        for trust in instrument.slot("road_trust") if not world.roadmap_trust else ():
            for statistic in ("mean_difference", "jump"):
                yield row(wave, CONSTRUCT, trust.name, statistic, 0.0, item=age.name)


def _practice(
    drawn: Drawn, population: Population, instrument: Instrument, practice: Item, general: Floats, held: Held, wave: str
) -> Iterator[Row]:
    high = _agrees(drawn, practice)
    for slot, family, statistic in _BY_PRACTICE:
        for outcome in instrument.slot(slot) if getattr(population.world, family) else ():
            if slot == "t_deploy":
                value = _time_ratio(drawn, instrument, high, held)
            else:
                value = _ratio(high, held, _reported(outcome, drawn.factors[slot]), drawn.weight)
            yield row(wave, CONSTRUCT, outcome.name, statistic, value, item=practice.name)
    for sat in instrument.slot("sat"):
        value = regress([high, general], held, drawn.answers[sat.name], drawn.weight)
        yield row(wave, CONSTRUCT, sat.name, "mean_difference", value, item=practice.name)


def _level_items(instrument: Instrument) -> list[Item]:
    """List the ordinal items of the core that all are asked."""
    keys = instrument.keys
    return [
        item
        for item in instrument.items
        if item.kind == "ordinal" and item.module == "core" and set(item.constructs) - {"sample"}
        and item.name not in {keys.stage, keys.stage_organisation} and len(item.options) >= _LEAST_POINTS
        and not (item.asked_of or item.asked_if or item.member)
    ]  # fmt: skip


def _general_level(drawn: Drawn, items: Sequence[Item]) -> Floats:
    total, given = np.zeros(len(drawn.weight)), np.zeros(len(drawn.weight))
    for item in items:
        value = drawn.answers[item.name]
        there = ~np.isnan(value)
        mean = np.average(value[there], weights=drawn.weight[there])
        spread = np.sqrt(np.average((value[there] - mean) ** 2, weights=drawn.weight[there]))
        total[there] += (value[there] - mean) / spread
        given += there
    return np.where(given >= _LEAST_ANSWERS, total / np.maximum(given, 1), np.nan)


def _agrees(drawn: Drawn, item: Item) -> Floats:
    value = drawn.answers[item.name]
    return np.where(np.isnan(value), np.nan, value >= sorted(item.codes)[-2])


def _ratio(first: Floats, held: Held, expected: Floats, weight: Floats) -> float:
    """Ratio of means by a log-linear regression on the expected outcome, cell by cell."""
    used = ~np.isnan(first)
    levels, place = np.unique(first[used], return_inverse=True)
    key, cell = np.unique(held.code[used] * len(levels) + place.reshape(-1), return_inverse=True)
    rows = np.column_stack([np.ones(len(key)), levels[key % len(levels)], held.table[key // len(levels)]])
    mass = np.bincount(cell.reshape(-1), weights=weight[used])
    mean = np.bincount(cell.reshape(-1), weights=weight[used] * expected[used]) / mass
    return float(np.exp(log_linear(rows, mean, mass[None, :]).coefficients[0, 1]))


def _time_ratio(drawn: Drawn, instrument: Instrument, high: Floats, held: Held) -> float:
    """Ratio of median times by the log-normal model, over the distinct rows of design and time."""
    time = drawn.answers[instrument.slot("t_deploy")[0].name]
    still = instrument.slot("t_open")
    since = drawn.answers[still[0].name] if still else np.full(len(time), np.nan)
    running = np.isnan(time) & ~np.isnan(since)
    weeks = np.where(running, since, time)
    used = ~np.isnan(weeks) & ~np.isnan(high)
    longest = int(weeks[used].max()) + 1
    parts = [weeks[used].astype(np.int64), running[used].astype(np.int64), high[used].astype(np.int64), held.code[used]]
    key, place = np.unique(np.ravel_multi_index(tuple(parts), (longest, 2, 2, len(held.table))), return_inverse=True)
    week, open_ended, agreed, code = np.unravel_index(key, (longest, 2, 2, len(held.table)))
    lower = np.where(open_ended == 1, np.maximum(week, 0.25), week - 0.5)
    upper = np.where(open_ended == 1, np.inf, week + 0.5)
    X = np.column_stack([np.ones(len(key)), agreed, held.table[code]])
    mass = np.bincount(place.reshape(-1), weights=drawn.weight[used])
    return float(np.exp(log_normal_times(X, lower, upper, mass[None, :]).coefficients[0, 1]))


def _reported(item: Item, scale: Floats) -> Floats:
    """Return the expected answer to a number item whose drawn value is multiplied by `scale` (n,).

    The drawn value X is gamma of shape 2, rounded, and at most the upper end of the item: the expectation is step x the sum
    over k of P(X >= (k - 1/2) step).
    """
    step = 5.0 if item.unit == "percent" else 1.0
    high = item.high if item.high is not None else 1e3 * step
    scales, place = np.unique(scale, return_inverse=True)
    mean = SPAN.get(item.unit, 10.0) * scales
    bounds = (np.arange(1, int(high / step) + 1) - 0.5) * step
    expected = np.array([step * gammaincc(2.0, bounds / (m / 2.0)).sum() for m in mean])
    return np.asarray(expected[place.reshape(-1)])


def _roadmap(drawn: Drawn, trust: Item, age: Item, held: Held, wave: str) -> Iterator[Row]:
    days, outcome = drawn.answers[age.name], drawn.answers[trust.name]
    fresh = np.where(np.isnan(days), np.nan, days <= STALE_DAYS)
    yield row(
        wave, CONSTRUCT, trust.name, "mean_difference", regress([fresh], held, outcome, drawn.weight), item=age.name
    )
    centred = (days - STALE_DAYS) / STALE_DAYS
    line = [np.minimum(centred, 0.0), np.maximum(centred, 0.0)]
    yield row(wave, CONSTRUCT, trust.name, "jump", regress([fresh, *line], held, outcome, drawn.weight), item=age.name)


def _leadership(drawn: Drawn, sat: Item, lead: Sequence[Item], general: Floats, held: Held, wave: str) -> Iterator[Row]:
    table = np.column_stack([drawn.answers[item.name] for item in lead])
    scale, outcome = table.mean(axis=1), drawn.answers[sat.name]
    yield row(wave, CONSTRUCT, sat.name, "slope", regress([scale, general], held, outcome, drawn.weight), item="lead")
    yield row(wave, CONSTRUCT, sat.name, "slope_raw", regress([scale], held, outcome, drawn.weight), item="lead")
    used = ~np.isnan(scale)
    covariance = np.cov(table[used], rowvar=False, aweights=drawn.weight[used])
    yield row(wave, CONSTRUCT, "lead", "cronbach_alpha", float(cronbach_alpha(covariance)))
    if len(lead) > 2:
        yield row(wave, CONSTRUCT, "lead", "omega_total", float(omega_total(covariance)))
