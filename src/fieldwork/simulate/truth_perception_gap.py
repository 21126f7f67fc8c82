"""What a world makes true of perception gaps: blind spots, what is said and thought, clarity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fieldwork.simulate.interview import SHOWN, measure_of
from fieldwork.simulate.truth import Enumeration, upper_orthant
from fieldwork.simulate.truth_teams import (
    accepted_shares,
    answered_share,
    colleagues,
    company,
    drawn_answers,
    stage_given,
    styles,
    truth_row,
)
from fieldwork.statistics.agreement import mean_distances
from fieldwork.statistics.rank_correlation import spearman

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.simulate.population import Measure, Population
    from fieldwork.simulate.truth_teams import Row

__all__ = ["perception_gap_truth"]

Floats = NDArray[np.float64]

_CONSTRUCT = "perception_gap"
_INFORMANTS = 3  # measures.md section 2
_ORGANISATIONS = 100_000  # of the draw behind what compares organisations
_NODES = 12  # of the maturity


def perception_gap_truth(population: Population, instrument: Instrument, wave: str, number: int) -> Iterator[Row]:
    """Yield the population value of the perception gap's statistics, one record each.

    Enumerated: the actual distance of colleagues, the distance that they expect, their difference; clarity and the gap between
    stated support and private conviction over all. Drawn: what sorts organisations by their executives' answers
    (`gap_difference` and its two sides, `self_measured_correlation`), from 100,000 organisations with a seed
    of their own; their Monte-Carlo errors are about 0.005 points and 0.003, a fifth of the standard errors of a study of 4,000.
    """
    make = partial(truth_row, wave, _CONSTRUCT)
    if instrument.keys.organisation:
        yield from _blind_spot(population, instrument, number, make)
    clarity = _pair(instrument, "clar_self", "clar_oth")
    if clarity:
        yield from _difference(population, clarity, "self_other_gap", number, make, by_role=True)
    support = _pair(instrument, "sup_pub", "conv_priv")
    # With compliance the support that is stated is spread wider than the enumeration knows; the draw has it.
    if support and not (population.world.compliance and instrument.slot("act_escal")):
        yield from _difference(population, support, "public_private_gap", number, make, by_role=False)
    if instrument.keys.organisation:
        yield from _of_organisations(population, instrument, support, number, make)


def _ordinal(instrument: Instrument, slot: str) -> Item | None:
    items = instrument.slot(slot)
    return items[0] if len(items) == 1 and items[0].kind == "ordinal" else None


def _pair(instrument: Instrument, first: str, second: str) -> tuple[Item, Item] | None:
    one, other = _ordinal(instrument, first), _ordinal(instrument, second)
    return (one, other) if one and other and sorted(one.codes) == sorted(other.codes) else None


# ----------------------------------------------------------------------------------------------------------- blind spot


def _blind_spot(population: Population, instrument: Instrument, number: int, make: partial[Row]) -> Iterator[Row]:
    own = _ordinal(instrument, "conf")
    roles = population.layout.roles
    guessed = {item.member: item for item in instrument.slot("meta_conf") if item.member in roles}
    measured = {measure.name for measure in population.layout.measures}
    if own is None or own.name not in measured or set(guessed) != set(roles) or len(roles) < 2:
        return
    measure, answered = measure_of(own), answered_share(population, own)
    accepted = accepted_shares(population, instrument, number)
    informs = tuple((share, rate * answered) for share, rate in accepted)
    silent = 1.0 - answered_share(population, guessed[roles[0]])
    together = company(population, informs, _INFORMANTS, partial(_asked, silent=silent))
    if not float(together.size @ together.assessed) > 0:
        return
    actual = together.mean_of_pairs(colleagues(population, measure, number).apart(measure.codes))
    perceived = together.mean_of_pairs(_expected_distance(population, measure, number))
    yield make(own.name, "distance_actual", actual)
    yield make(own.name, "distance_perceived", perceived)
    yield make(own.name, "blind_spot", actual - perceived)


def _asked(informants: int, existing: int, *, silent: float) -> float:
    """Return the probability that some informant guesses another informant's answer, of k out of m existing roles.

    Each is asked about min(3, m - 1) of the m - 1 colleagues, k - 1 of whom are informants, and gives each guess unless silent.
    """
    others, known = existing - 1, informants - 1
    asked = min(SHOWN, others)
    nothing = sum(
        math.comb(known, h) * math.comb(others - known, asked - h) / math.comb(others, asked) * silent**h
        for h in range(min(known, asked) + 1)
    )
    return 1.0 - nothing**informants


def _expected_distance(population: Population, measure: Measure, number: int) -> Floats:
    """Return E |y_r - guess_rs| by size, role and the role guessed at (Z, R, R), in scale points.

    Own answer and guess are cut from two normals: the latent answer L, and projection x L + (1 - projection) x what the role
    answers on the whole + noise; their joint tails are bivariate normal.
    """
    world, layout = population.world, population.layout
    whole = population.effects(measure, number).mean(axis=1)
    residual = population.residual_sd(measure.name, number)
    spread = float(np.sqrt(world.organisation_sd**2 + world.person_sd**2 + world.acquiescence_sd**2 + residual**2))
    guess_spread = float(np.hypot(world.projection * spread, 0.6 * world.residual_sd))
    rho = min(world.projection * spread / guess_spread, 1.0 - 1e-12)
    points, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    step = np.diff(measure.codes)
    R, Z = len(layout.roles), len(layout.sizes)
    total = np.zeros((Z, R, R))
    nodes = [
        (part * weight, float(world.maturity_sd * point), population.effects(measure, number, practice=practice))
        for part, practice in population.practices()
        for point, weight in zip(points, weights / weights.sum(), strict=True)
    ]
    for weight, maturity, effects in nodes:
        mass = weight * np.einsum("rsz,c->rszc", stage_given(population, maturity, number), population.sector_share)
        location = (
            effects[:, :, None, None]
            + population.size_effect[:, None]
            + population.sector_effect
            + world.maturity_loading * maturity
        )
        guess = world.projection * location[..., None] + (1.0 - world.projection) * whole  # (R, S, Z, C, R)
        for share, contraction in styles(population):
            for cut, width in zip(3.0 + contraction * (measure.cuts - 3.0), step, strict=True):
                h, k = np.broadcast_arrays((cut - location[..., None]) / spread, (cut - guess) / guess_spread)
                either = ndtr(-h) + ndtr(-k) - 2.0 * upper_orthant(h, k, rho)
                total += share * width * np.einsum("rszc,rszct->zrt", mass, either)
    return total


# ------------------------------------------------------------------------------------------------------------ differences


def _difference(
    population: Population, pair: tuple[Item, Item], statistic: str, number: int, make: partial[Row], *, by_role: bool
) -> Iterator[Row]:
    enumeration = Enumeration(population, number)
    means = []
    for item in pair:
        mass, cell = enumeration.cell_means(measure_of(item))
        means.append((mass * cell).sum(axis=1) / mass.sum(axis=1))
    gap, share = means[0] - means[1], population.executives.sum(axis=1)
    measure = "+".join(item.name for item in pair)
    yield make(measure, statistic, float(share @ gap))
    if by_role:
        for role, value in zip(population.layout.roles, gap, strict=True):
            yield make(measure, statistic, float(value), role=role)


def _of_organisations(
    population: Population,
    instrument: Instrument,
    support: tuple[Item, Item] | None,
    number: int,
    make: partial[Row],
) -> Iterator[Row]:
    """Yield what sorts organisations by answers, from one large draw."""
    often, rated, own = (_ordinal(instrument, slot) for slot in ("act_escal", "align_self", "conf"))
    items = tuple({item.name: item for item in (*(support or ()), often, rated, own) if item}.values())
    if not items:
        return
    organisation, weight, drawn = drawn_answers(population, instrument, items, number, _ORGANISATIONS)
    answer = {item.name: drawn[:, j] for j, item in enumerate(items)}
    if rated and own:
        stated = _team_mean(organisation, answer[rated.name])
        codes = np.array(measure_of(own).codes)
        known = ~np.isnan(answer[own.name])
        place = organisation[known] * len(codes) + np.searchsorted(codes, answer[own.name][known])
        counts = np.bincount(place, minlength=_ORGANISATIONS * len(codes)).reshape(-1, len(codes))
        enough = (counts.sum(axis=1) >= _INFORMANTS) & ~np.isnan(stated)
        distance = mean_distances(counts[enough], codes)
        value = float(spearman(stated[enough], -distance, np.ones((1, int(enough.sum()))))[0])
        yield make(rated.name, "self_measured_correlation", value)
    if support and often:
        measure = "+".join(item.name for item in support)
        gap = answer[support[0].name] - answer[support[1].name]
        level = _team_mean(organisation, answer[often.name])[organisation]
        middle = (min(often.codes) + max(often.codes)) / 2.0
        known = ~np.isnan(gap)
        sides = [known & (level > middle + 1e-9), known & (level <= middle + 1e-9)]
        means = [float(np.average(gap[side], weights=weight[side])) for side in sides]
        if population.world.compliance:
            yield make(measure, "public_private_gap", float(np.average(gap[known], weights=weight[known])))
        for statistic, value in zip(("gap_escalation_frequent", "gap_escalation_rare"), means, strict=True):
            yield make(measure, statistic, value)
        yield make(measure, "gap_difference", means[0] - means[1])


def _team_mean(organisation: NDArray[np.int64], values: Floats) -> Floats:
    known = ~np.isnan(values)
    count = np.bincount(organisation[known], minlength=_ORGANISATIONS)
    total = np.bincount(organisation[known], weights=values[known], minlength=_ORGANISATIONS)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / count)
