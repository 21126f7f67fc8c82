"""What a world makes true of readiness and stalls.

Shares, causes and the claim against the least prepared role are enumerated: given the size of an organisation its executives
exist and answer independently, so that every set of informants has a known probability. What goes with a stall and with the
budget rests on how far informants happen to be apart; it is taken from a draw of 60,000 organisations in which the stall is
replaced by its probability and the budget by its expectation. Its Monte-Carlo error is a fifth, or less, of the standard error
of a study of 4,000 organisations. Where the world has no such effect the value is exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fieldwork.simulate.interview import measure_of
from fieldwork.simulate.truth import Enumeration
from fieldwork.simulate.truth_draws import Drawn, Row, confounders, draw, regress, row
from fieldwork.simulate.truth_teams import accepted_shares

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.simulate.population import Population

__all__ = ["readiness_truth"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CONSTRUCT = "readiness"
MOST_ROLES = 14  # sets of informants are enumerated, and double with each role
_ORGANISATIONS = 60_000
_INFORMANTS = 3
_WIDE = 0.25  # of the scale


def readiness_truth(population: Population, instrument: Instrument, wave: str, number: int) -> Iterator[Row]:
    """Yield the population value of every statistic of the construct that the world determines."""
    keys = instrument.keys
    enumeration = Enumeration(population, number)
    if keys.role:
        yield from _profile(enumeration, instrument, wave)
    own, claim = instrument.slot("prep"), instrument.slot("prep_org")
    if keys.role and keys.organisation and own and claim and len(population.layout.roles) <= MOST_ROLES:
        yield from _claims(enumeration, instrument, own[0], claim[0], wave)
    for slot in ("stall_cause", "stall_point"):
        of = instrument.slot(slot)
        if of and of[0].kind == "single":
            yield from _choices(population, of[0], wave)
    if instrument.slot("stall") and keys.organisation and keys.role:
        yield from _associated(population, instrument, wave, number)


def _profile(enumeration: Enumeration, instrument: Instrument, wave: str) -> Iterator[Row]:
    keys = instrument.keys
    mass = enumeration.mass
    for item in instrument.measures(CONSTRUCT):
        if item.kind != "ordinal" or item.name in {keys.stage, keys.stage_organisation} or len(item.options) < 3:
            continue
        measure = measure_of(item)
        by_cell = np.zeros(())
        for kind, practice in enumeration.population.practices():
            location = enumeration.location(measure, practice=practice)
            for share, contraction in enumeration.styles():
                seen = 3.0 + contraction * (measure.cuts[-2] - 3.0)
                ready = ndtr((location - seen) / enumeration.spread) @ enumeration.population.sector_share
                by_cell = by_cell + kind * share * ready
        by_role = (mass * by_cell).sum(axis=(0, 2, 3)) / mass.sum(axis=(0, 2, 3))
        for role, value in zip(enumeration.population.layout.roles, by_role, strict=True):
            yield row(wave, CONSTRUCT, item.name, "ready_share", value, role=role)


def _expected(enumeration: Enumeration, item: Item) -> Floats:
    """Return the expected answer by role and size (R, Z)."""
    answer = enumeration.answer(measure_of(item)) @ enumeration.population.sector_share
    mass = enumeration.mass
    return np.asarray((mass * answer).sum(axis=(0, 2)) / mass.sum(axis=(0, 2)))


def _claims(enumeration: Enumeration, instrument: Instrument, own: Item, claim: Item, wave: str) -> Iterator[Row]:
    """Enumerate who informs beside whom, and compare claims with what roles say of themselves."""
    population = enumeration.population
    roles = population.layout.roles
    says_own, says_claim = _expected(enumeration, own), _expected(enumeration, claim)
    answered = 1.0 - population.world.item_missing
    cases = _cases(population, instrument, enumeration.wave)
    sets = np.array(list(itertools.product((False, True), repeat=len(roles))))  # (2^R, R)
    for r, role in enumerate(roles):
        others = sets[~sets[:, r] & sets.any(axis=1)]
        value = weight = 0.0
        for share, z, there in cases:
            q = there * answered
            chance = np.where(others, q, 1.0 - q)
            chance[:, r] = 1.0
            p = share * q[r] * chance.prod(axis=1)
            claimed = others @ says_claim[:, z] / others.sum(axis=1)
            value += float(p @ (claimed - says_own[r, z]))
            weight += float(p.sum())
        yield row(wave, CONSTRUCT, own.name, "claim_minus_role", value / weight, role=role)
    executives = population.executives
    order = np.argsort((executives * says_own).sum(axis=1) / executives.sum(axis=1), kind="stable")
    enough = sets[sets.sum(axis=1) >= _INFORMANTS]
    quantiles = {"claim_minus_lowest": 0.0, "claim_minus_lower_quartile": 0.25}
    places = {name: _placed(enough[:, order], at) for name, at in quantiles.items()}
    for c, role in enumerate(roles):
        for name, place in places.items():
            value = weight = 0.0
            for share, z, there in cases:
                q = there * answered
                chance = np.where(enough, q, 1.0 - q)
                chance[:, c] = there[c] * answered * np.where(enough[:, c], answered, 1.0 - answered)
                p = share * chance.prod(axis=1)
                value += float(p @ (says_claim[c, z] - place @ says_own[order, z]))
                weight += float(p.sum())
            if weight > 0:
                yield row(wave, CONSTRUCT, own.name, name, value / weight, role=role)


def _cases(population: Population, instrument: Instrument, wave: int) -> list[tuple[float, int, Floats]]:
    """List kinds of organisations: their share, their size, and the chance of each role (R,) to be there and accepted.

    From the second wave on those of the panel answer by retention, those that have just entered as in a first wave.
    """
    existing = population.exists * population.responds
    return [
        (share * float(of_size), z, existing[:, z] * accepted)
        for share, accepted in accepted_shares(population, instrument, wave)
        for z, of_size in enumerate(population.size_share)
    ]


def _placed(sets: NDArray[np.bool_], at: float) -> Floats:
    """Weight of each role (sets, R), columns in ascending order, in the quantile `at` of the roles of a set (type 7)."""
    k = sets.sum(axis=1)
    place = at * (k - 1)
    low = np.floor(place).astype(np.int64)
    rank = np.cumsum(sets, axis=1) - 1
    first, second = sets & (rank == low[:, None]), sets & (rank == low[:, None] + 1)
    part = (place - low)[:, None]
    return np.asarray((1.0 - part) * first + part * second)


def _choices(population: Population, item: Item, wave: str) -> Iterator[Row]:
    weight = np.array([population.world.choice.get(f"{item.name}.{option.id}", 1.0) for option in item.options])
    share = dict(zip([option.id for option in item.options], weight / weight.sum(), strict=True))
    for option, value in share.items():
        yield row(wave, CONSTRUCT, item.name, "share", value, item=option)
    for one, other in itertools.permutations(share, 2):
        yield row(wave, CONSTRUCT, item.name, "share_difference", share[one] - share[other], item=f"{one} v {other}")


# ------------------------------------------------------------------------------------------------------ large draw


_PARTS = ("strongest", "median", "weakest")
_RESOURCES = ("res_data", "res_tool", "res_tal", "res_bud")
_LACKS = ("amb", "res_tal", "ack")


def _associated(population: Population, instrument: Instrument, wave: str, number: int) -> Iterator[Row]:
    world = population.world
    stall = instrument.slot("stall")[0]
    base = world.choice.get(stall.name, 0.5)
    moved = world.moves_stalled_share
    budget = bool(world.budget_strongest or world.budget_median)
    change = instrument.slot("bud_chg") if instrument.slot("conv_priv") else ()
    if not moved:
        yield row(wave, CONSTRUCT, stall.name, "share", base)
        yield from _no_stalls(instrument, stall.name, wave)
    if change and not budget:
        for statistic, item in (("coefficient_difference", ""), *(("coefficient", part) for part in _PARTS)):
            yield row(wave, CONSTRUCT, change[0].name, statistic, 0.0, item=item)
    if not (moved or budget):
        return
    slots = dict.fromkeys(("conf", "conv_priv", "bud_chg", *_RESOURCES, *_LACKS))
    items = [item for slot in slots for item in instrument.slot(slot)]
    if instrument.keys.stage_organisation:
        items.append(instrument.item(instrument.keys.stage_organisation))
    drawn = draw(population, instrument, items, number, _ORGANISATIONS, effects=("stall", "bud_chg"))
    if moved and instrument.slot("conf"):
        probability = np.clip(base + drawn.effects["stall"], 0.0, 1.0)
        yield row(wave, CONSTRUCT, stall.name, "share", float(np.average(probability, weights=drawn.weight)))
        yield from _stalls(drawn, population, instrument, stall.name, probability, wave)
    if budget and change:
        yield from _budget(drawn, instrument, wave)


def _no_stalls(instrument: Instrument, stall: str, wave: str) -> Iterator[Row]:
    """Yield differences of nothing, where the world ties stalls to nothing."""
    if not instrument.slot("conf"):
        return
    yield row(wave, CONSTRUCT, stall, "risk_difference", 0.0)
    for slot in _LACKS:
        for item in instrument.slot(slot):
            yield row(wave, CONSTRUCT, stall, "risk_difference", 0.0, item=item.name)
    if all(instrument.slot(slot) for slot in _RESOURCES):
        yield row(wave, CONSTRUCT, stall, "risk_difference", 0.0, segment="resources=all")


def _stalls(
    drawn: Drawn, population: Population, instrument: Instrument, stall: str, probability: Floats, wave: str
) -> Iterator[Row]:
    conf = instrument.slot("conf")[0]
    codes = sorted(conf.codes)
    value = drawn.answers[conf.name]
    count, apart = _teams(drawn.organisation, value)
    team = count >= _INFORMANTS
    wide = np.where(team, apart >= _WIDE * (codes[-1] - codes[0]) - 1e-9, np.nan)
    held = confounders(drawn, population, instrument)
    yield row(wave, CONSTRUCT, stall, "risk_difference", regress([wide], held, probability, drawn.weight))
    resources = [instrument.slot(slot) for slot in _RESOURCES]
    if all(resources):
        has = team.copy()
        for (item,) in resources:
            points = sorted(item.codes)
            has &= np.nan_to_num(_mean(drawn, item)) >= 0.5 * (points[-2] + points[-3]) - 1e-9
        sides = [np.average(probability[has & (wide == s)], weights=drawn.weight[has & (wide == s)]) for s in (1, 0)]
        yield row(wave, CONSTRUCT, stall, "risk_difference", float(sides[0] - sides[1]), segment="resources=all")
    low: dict[str, Floats] = {}
    for slot in _LACKS:
        for item in instrument.slot(slot):
            points = sorted(item.codes)
            mean = _mean(drawn, item)
            low[slot] = np.where(np.isnan(mean), np.nan, mean < 0.5 * (points[0] + points[-1]) - 1e-9)
    beside = [wide]
    if "ack" in low:
        beside += [low["ack"] * (wide == 1.0), low["ack"] * (wide != 1.0)]
    beside += [low[slot] for slot in ("amb", "res_tal") if slot in low]
    for slot, lacks in low.items():
        name = instrument.slot(slot)[0].name
        first = lacks * (wide == 1.0) if slot == "ack" else lacks
        rest = [column for column in beside if not np.array_equal(column, first, equal_nan=True)]
        difference = regress([first, *rest], held, probability, drawn.weight)
        yield row(wave, CONSTRUCT, stall, "risk_difference", difference, item=name)


def _budget(drawn: Drawn, instrument: Instrument, wave: str) -> Iterator[Row]:
    """Regress the expected change of an organisation's budget; what is drawn serves its standard deviation alone."""
    change, conviction = instrument.slot("bud_chg")[0].name, instrument.slot("conv_priv")[0].name
    value, told = drawn.answers[conviction], drawn.answers[change]
    organisations, place = np.unique(drawn.organisation, return_inverse=True)
    place = place.reshape(-1)
    known = ~np.isnan(value)
    order = np.lexsort((value[known], place[known]))
    count = np.bincount(place[known], minlength=len(organisations))
    start, ordered = np.cumsum(count) - count, value[known][order]
    answers = np.bincount(place[~np.isnan(told)], minlength=len(organisations))
    used = np.flatnonzero((count >= _INFORMANTS) & (answers > 0))
    first, last = start[used], start[used] + count[used] - 1
    middle = 0.5 * (ordered[first + (count[used] - 1) // 2] + ordered[first + count[used] // 2])
    X = np.column_stack([ordered[last], middle, ordered[first], count[used]])
    shift = np.zeros(len(organisations))
    shift[place] = drawn.effects["bud_chg"]
    total = np.bincount(place, weights=np.nan_to_num(told), minlength=len(organisations))
    spread = float((total[used] / answers[used]).std())
    design = np.column_stack([np.ones(len(used)), X])
    slope = np.linalg.lstsq(design, shift[used], rcond=None)[0][1:4] * X[:, :3].std(axis=0) / spread
    yield row(wave, CONSTRUCT, change, "coefficient_difference", float(slope[0] - slope[1]))
    for item, coefficient in zip(_PARTS, slope, strict=True):
        yield row(wave, CONSTRUCT, change, "coefficient", float(coefficient), item=item)


def _teams(organisation: Integers, value: Floats) -> tuple[Integers, Floats]:
    """Informants of each respondent's organisation, and their mean distance (n,), pair by pair of the sorted answers."""
    place = np.unique(organisation, return_inverse=True)[1].reshape(-1)
    teams = int(place.max()) + 1
    known = ~np.isnan(value)
    count = np.bincount(place[known], minlength=teams)
    total = np.zeros(teams)
    levels = np.unique(value[known])
    held = np.zeros((teams, len(levels)))
    np.add.at(held, (place[known], np.searchsorted(levels, value[known])), 1.0)
    for i, j in itertools.combinations(range(len(levels)), 2):
        total += held[:, i] * held[:, j] * (levels[j] - levels[i])
    with np.errstate(invalid="ignore", divide="ignore"):
        return count[place], (total / (count * (count - 1) / 2.0))[place]


def _mean(drawn: Drawn, item: Item) -> Floats:
    """Mean answer of each respondent's organisation (n,)."""
    value = drawn.answers[item.name]
    place = np.unique(drawn.organisation, return_inverse=True)[1].reshape(-1)
    known, size = ~np.isnan(value), int(place.max()) + 1
    total = np.bincount(place[known], weights=value[known], minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / np.bincount(place[known], minlength=size))[place]
