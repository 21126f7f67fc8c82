"""What a world makes true of shared priorities, ownership and direction."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fieldwork.simulate.interview import measure_of
from fieldwork.simulate.truth import upper_orthant
from fieldwork.simulate.truth_teams import (
    Company,
    accepted_shares,
    answered_share,
    colleagues,
    company,
    drawn_answers,
    truth_row,
)
from fieldwork.simulate.world import by_name
from fieldwork.statistics.agreement import mean_index_of_strangers, van_der_eijk_a

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.simulate.population import Population
    from fieldwork.simulate.truth_teams import Row

__all__ = ["alignment_map_truth"]

Floats = NDArray[np.float64]

_CONSTRUCT = "alignment_map"
_INFORMANTS = 5  # measures.md 2.4
_ORGANISATIONS = 100_000  # of the draw behind the mean agreement of teams
_OWN, _SHARED = 1.0, 0.25  # variance of an aim's utility that is the executive's own, and the organisation's


def alignment_map_truth(population: Population, instrument: Instrument, wave: str, number: int) -> Iterator[Row]:
    """Yield the population value of the Role Alignment Map's statistics, one record each.

    Enumerated: rankings are those of normal utilities, so mean ranks, prototypes, their lengths and correlations and the rank
    correlation of colleagues are sums of normal and bivariate normal probabilities; owners and directions are sums over roles.
    Drawn: `direction_agreement_within`, `_chance` and `_excess`, the means over organisations of an index that is piecewise
    linear in whole counts, from 100,000 organisations with a seed of their own; their Monte-Carlo error is about 0.0013, a
    fifth of the standard error of a study of 4,000. Activity is drawn apart from all other answers: its correlation with
    agreement is nil. Places on the map are determined up to a rotation only and have no truth here; a correlation with a role
    that shares no ranking has none.
    """
    make = partial(truth_row, wave, _CONSTRUCT)
    tagged = instrument.measures(_CONSTRUCT)
    accepted = accepted_shares(population, instrument, number)
    for family in dict.fromkeys(item.family for item in tagged if item.kind == "rank" and item.family):
        members = instrument.family(family)
        if len(members) >= 3:
            together = company(population, _who_answers(population, accepted, members[0]), _INFORMANTS)
            yield from _priorities(population, family, members, together, make)
    for item in tagged:
        if item.kind == "single" and {option.id for option in item.options} >= set(population.layout.roles):
            together = company(population, _who_answers(population, accepted, item), _INFORMANTS)
            yield from _ownership(population, item, together, make)
    yield from _direction(population, instrument, number, make)
    if instrument.slot("act_idx") and instrument.slot("conf") and instrument.keys.organisation:
        counted = instrument.slot("act_idx")[0]
        yield make(counted.family or counted.name, "activity_agreement_correlation", 0.0)


def _who_answers(
    population: Population, accepted: tuple[tuple[float, float], ...], item: Item
) -> tuple[tuple[float, float], ...]:
    return tuple((share, rate * answered_share(population, item)) for share, rate in accepted)


def _priorities(
    population: Population, family: str, members: tuple[Item, ...], together: Company, make: partial[Row]
) -> Iterator[Row]:
    roles = population.layout.roles
    p = len(members)
    preferred = np.stack([by_name(population.world.priority, roles, item=item.name) for item in members], axis=1)
    apart = (preferred[:, None, :] - preferred[:, :, None]) / np.sqrt(2 * (_OWN + _SHARED))  # (R, j, k): k above j
    first = ndtr(apart)
    first[:, np.arange(p), np.arange(p)] = 0.0
    rank = 1.0 + first.sum(axis=2)
    share = population.executives.sum(axis=1)
    scale = (p**3 - p) / 12.0
    prototype = ((p + 1) / 2.0 - rank) / np.sqrt(scale)  # (R, p)
    whole = share @ prototype
    for role, mean_rank, vector in [("", share @ rank, whole), *zip(roles, rank, prototype, strict=True)]:
        square = float(vector @ vector)
        yield make(family, "consensus_priorities", float(np.sqrt(square)), role=role)
        yield make(family, "kendall_w", square, role=role)
        yield make(family, "rank_correlation", square, role=role)
        for item, value in zip(members, mean_rank, strict=True):
            yield make(family, "mean_rank", value, role=role, item=item.name)
    length = np.sqrt((prototype**2).sum(axis=1))
    for r, s in itertools.combinations(range(len(roles)), 2):
        if min(length[r], length[s]) > 1e-9:
            value = float(prototype[r] @ prototype[s] / (length[r] * length[s]))
            yield make(family, "alignment", value, role=roles[r], role_2=roles[s])
    between = (share @ length**2 - whole @ whole) / (1.0 - whole @ whole)
    yield make(family, "priorities_between_roles", float(between))
    if float(together.size @ together.assessed) > 0:
        yield make(family, "rank_correlation_within", together.mean_of_pairs(_rank_products(apart, first) / scale))


def _rank_products(apart: Floats, first: Floats) -> Floats:
    """Return E of sum_j (rank_ij - middle)(rank_sj - middle) for two colleagues (R, R), by bivariate normal probabilities.

    Aim k comes before aim j for one colleague, and l before j for the other; the two share the organisation's utilities, with
    correlation (1 + [k = l]) shared / (2 (own + shared)).
    """
    R, p, _ = apart.shape
    same, other = (_SHARED * (1 + alike) / (2 * (_OWN + _SHARED)) for alike in (1, 0))
    off = ~np.eye(p, dtype=bool)
    total = np.zeros((R, R))
    for j in range(p):
        a = apart[:, j][:, off[j]]  # (R, p - 1)
        h, k = np.broadcast_arrays(-a[:, None, :, None], -a[None, :, None, :])
        both = upper_orthant(h, k, other)
        diagonal = np.arange(p - 1)
        both[:, :, diagonal, diagonal] = upper_orthant(h[:, :, diagonal, diagonal], k[:, :, diagonal, diagonal], same)
        before = first[:, j].sum(axis=1)
        middle = (p - 1) / 2.0
        total += both.sum(axis=(2, 3)) - middle * (before[:, None] + before) + middle**2
    return total


def _ownership(population: Population, item: Item, together: Company, make: partial[Row]) -> Iterator[Row]:
    world, roles = population.world, population.layout.roles
    options = [option.id for option in item.options]
    weight = np.array([world.owner.get(option, 1.0) for option in options])
    usual = weight / weight.sum()
    K, share = len(options), population.executives.sum(axis=1)
    own = min(world.own_claim, 1.0)
    alike = max(0.7 - own, 0.0)  # names the organisation's usual owner; else one's own role, or anyone
    guess = 1.0 - own - alike
    named = np.tile((1.0 - own) * usual, (len(roles), 1))
    place = [options.index(role) for role in roles]
    named[np.arange(len(roles)), place] += own
    overall = share @ named
    for option, value in zip(options, overall, strict=True):
        yield make(item.name, "owner_share", value, item=option)
    by_itself = named[np.arange(len(roles)), place]
    yield make(item.name, "owner_self_share", float(share @ by_itself))
    for r, role in enumerate(roles):
        yield make(item.name, "owner_self_share", by_itself[r], role=role)
        others = np.arange(len(roles)) != r
        if others.any():
            value = float(share[others] @ named[others, place[r]] / share[others].sum())
            yield make(item.name, "owner_share_by_others", value, role=role)
    same = float(overall @ overall)
    yield make(item.name, "owner_agreement", same)
    chance = (1.0 - same) / (K - 1.0)
    yield make(item.name, "owner_ac1", (same - chance) / (1.0 - chance))
    if not float(together.size @ together.assessed) > 0:
        return
    square = float(usual @ usual)
    mine = usual[place]
    pairs = alike**2 + (2 * alike * guess + guess**2) * square + own * (alike + guess) * (mine[:, None] + mine)
    within = together.mean_of_pairs(pairs)
    shares = together.mean_of_members(named)
    yield make(item.name, "owner_agreement_within", within)
    for statistic, expected in (
        ("owner_ac1_within", float((shares * (1.0 - shares)).sum() / (K - 1.0))),
        ("owner_kappa_within", float(shares @ shares)),
    ):
        yield make(item.name, statistic, (within - expected) / (1.0 - expected))


def _direction(population: Population, instrument: Instrument, number: int, make: partial[Row]) -> Iterator[Row]:
    items = tuple(item for item in instrument.measures(_CONSTRUCT) if item.kind == "ordinal")
    roles, share = population.layout.roles, population.executives.sum(axis=1)
    for item in items:
        measure = measure_of(item)
        answers = colleagues(population, measure, number).shares(population.executives)
        yield make(item.name, "direction_agreement", float(van_der_eijk_a(share @ answers)))
        for role, mine in zip(roles, answers, strict=True):
            yield make(item.name, "direction_agreement", float(van_der_eijk_a(mine)), role=role)
            yield make(item.name, "role_mean", float(mine @ np.array(measure.codes)), role=role)
    if not items or not instrument.keys.organisation:
        return
    organisation, _, drawn = drawn_answers(population, instrument, items, number, _ORGANISATIONS)
    for j, item in enumerate(items):
        codes = np.array(measure_of(item).codes)
        known = ~np.isnan(drawn[:, j])
        point = np.searchsorted(codes, drawn[known, j])
        K = len(codes)
        counts = np.bincount(organisation[known] * K + point, minlength=_ORGANISATIONS * K).reshape(-1, K).astype(float)
        counts = counts[counts.sum(axis=1) >= _INFORMANTS]
        if not len(counts):
            continue
        within = float(van_der_eijk_a(counts).mean())
        chance = float(mean_index_of_strangers(van_der_eijk_a, counts, np.ones((1, len(counts))))[0])
        yield make(item.name, "direction_agreement_within", within)
        yield make(item.name, "direction_agreement_chance", chance)
        yield make(item.name, "direction_agreement_excess", within - chance)
