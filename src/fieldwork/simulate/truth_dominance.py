"""The truth of the comparison of role, stage, sector and organisation, measure by measure, by exact enumeration.

Maturity and what an organisation adds to an item are integrated by Gauss-Hermite quadrature; two executives of one
organisation are independent given both, so what they share is the variance of their common expectation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri

from fieldwork.simulate.interview import measure_of
from fieldwork.simulate.truth import Enumeration, Floats, TruthRow, indicators, upper_orthant
from fieldwork.simulate.world import by_name

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.simulate.population import Measure, Population

__all__ = ["dominance_truth"]

_CONSTRUCT = "adoption_gradient"
_SIDES = ("role", "stage", "sector", "organisation")
_NODES = 24  # over what the organisation adds; the integrand is a smooth function of it
_ZERO = 1e-9


def dominance_truth(population: Population, instrument: Instrument, wave: str, number: int) -> list[TruthRow]:
    """Return the four spreads of every measure and option, and the share of them on which that of roles is the largest.

    Parameters
    ----------
    population : the world laid over the survey. instrument : its questionnaire. wave, number : name, and number from 1.

    Spreads are standard deviations (ddof 1) of the effects of role, stage and sector in the additive fit over the
    population; that of organisations is the root of the covariance of two executives of one organisation around the fit.
    """
    enumeration = Enumeration(population, number)
    rows: list[TruthRow] = []
    largest = []
    for item in instrument.measures_of_everybody():
        for option in [""] if item.kind == "ordinal" else [o.id for o in item.options if o.id not in item.exclusive]:
            raw = _of_option(population, option) if option else _of_item(enumeration, measure_of(item))
            spreads = np.where(raw > _ZERO, raw, 0.0)
            largest.append(bool(spreads[0] > spreads[1:].max()))
            rows += [
                _row(wave, item.name, f"{side}_sd_mutual", value, option)
                for side, value in zip(_SIDES, spreads, strict=True)
            ]
    if largest:
        rows.append(_row(wave, "all", "share_role_largest", float(np.mean(largest)), ""))
    return rows


def _row(wave: str, measure: str, statistic: str, value: float, item: str) -> TruthRow:
    empty = {"role": "", "role_2": "", "stage": ""}
    return {
        "wave": wave, "construct": _CONSTRUCT, "measure": measure, "statistic": statistic, **empty, "item": item,
        "value": float(value),
    }  # fmt: skip


def _of_item(enumeration: Enumeration, measure: Measure) -> Floats:
    """Spreads of an ordinal item (4,): role, stage, sector, organisation."""
    population = enumeration.population
    sector = population.sector_share
    answer, mass = enumeration.answer(measure), enumeration.mass  # (M or 1, R, S, Z, C), (M, R, S, Z)
    joint = mass.sum(axis=(0, 3))[..., None] * sector  # (R, S, C)
    expected = np.einsum("mrsz,mrszc->rsc", mass, np.broadcast_to(answer, (*mass.shape, len(sector)))) * sector / joint
    root = np.sqrt(joint.ravel())
    design = indicators(joint.shape)
    solved = np.linalg.lstsq(design * root[:, None], expected.ravel() * root, rcond=None)[0]
    fit = (design @ solved).reshape(joint.shape)
    roles, stages, sectors = joint.shape
    cuts = np.cumsum([roles - 1, stages - 1, sectors - 1])
    effects = [np.concatenate([[0.0], part]) for part in np.split(solved[1:], cuts[:-1])]
    return np.array([*(np.std(effect, ddof=1) for effect in effects), np.sqrt(_covariance(enumeration, measure, fit))])


def _covariance(enumeration: Enumeration, measure: Measure, fit: Floats) -> float:
    """Mean product of what two executives of one organisation are expected to be above the fit, over all such pairs."""
    population, world = enumeration.population, enumeration.population.world
    u, probability = np.polynomial.hermite_e.hermegauss(_NODES)
    probability = probability / probability.sum()
    own = np.sqrt(world.person_sd**2 + world.acquiescence_sd**2 + world.residual_sd**2)
    location = enumeration.location(measure)
    maturity = enumeration.nodes[1]
    stage = enumeration.mass / enumeration.mass.sum(axis=2, keepdims=True)  # P(stage | maturity, role, size)
    exists, size, sector = population.exists, population.size_share, population.sector_share
    # Members of an organisation are those who exist: pairs of two roles, each there with its own probability.
    pairs = (exists.sum(axis=0) ** 2 - (exists**2).sum(axis=0)) @ size
    total = 0.0
    for value, chance in zip(u, probability, strict=True):
        above = np.full(location.shape, measure.codes[0]) - fit[None, :, :, None, :]
        for share, contraction in enumeration.styles():
            for cut, low, high in zip(measure.cuts, measure.codes[:-1], measure.codes[1:], strict=True):
                seen = 3.0 + contraction * (cut - 3.0)
                above = above + share * (high - low) * ndtr((location + world.organisation_sd * value - seen) / own)
        of_role = np.einsum("mrsz,mrszc->mrzc", stage, np.broadcast_to(above, (*stage.shape, len(sector))))
        weighted = exists[None, :, :, None] * of_role
        product = weighted.sum(axis=1) ** 2 - (weighted**2).sum(axis=1)  # (M, Z, C)
        total += chance * float(np.einsum("m,z,c,mzc->", maturity, size, sector, product))
    return max(total / float(pairs), 0.0)


def _of_option(population: Population, option: str) -> Floats:
    """Spreads of one blocker (4,): executives cite it by role alone, with leanings of which organisations share a tenth."""
    world = population.world
    own = by_name(world.blocker_own, population.layout.roles, item=option, default=world.blocker_base)
    share = world.blocker_base + world.blocker_scale * (own - world.blocker_base)
    cut = -ndtri(np.clip(share, 1e-12, 1 - 1e-12))
    both = upper_orthant(cut[:, None], cut[None, :], 0.1)
    weight = np.einsum("rz,qz,z->rq", population.exists, population.exists, population.size_share)
    np.fill_diagonal(weight, 0.0)
    covariance = float((weight * (both - share[:, None] * share[None, :])).sum() / weight.sum())
    return np.array([np.std(share, ddof=1), 0.0, 0.0, np.sqrt(max(covariance, 0.0))])
