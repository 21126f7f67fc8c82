"""The truth of the comparison of role, stage, sector and organisation, measure by measure, by exact enumeration.

Maturity and what an organisation adds to an item are integrated by Gauss-Hermite quadrature; two executives of one
organisation are independent given both, so what they share is the variance of their common expectation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri

from fieldwork.simulate.interview import measure_of
from fieldwork.simulate.truth import Enumeration, Floats, TruthRow, indicators, upper_orthant
from fieldwork.simulate.world import by_name

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.simulate.population import Measure, Population

__all__ = ["dominance_truth"]

_CONSTRUCT = "adoption_gradient"
_SIDES = ("role", "stage", "sector", "organisation")
_NODES = 10  # over what the organisation adds: five digits for any of the worlds, whose answers are smooth in it
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
            raw = (
                _of_option(population, option)
                if option
                else _of_item(enumeration, _Answered.of(population, instrument, item))
            )
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


@dataclass(frozen=True, slots=True)
class _Answered:
    """How an ordinal item is answered in an organisation.

    Attributes
    ----------
    measure : Measure
    organisation_sd : float    Standard deviation of what organisations add to the latent answer, in points.
    tells_practice : bool      The item on alignment work: `never` where nobody does it, more than that where somebody does.
    """

    measure: Measure
    organisation_sd: float
    tells_practice: bool

    @classmethod
    def of(cls, population: Population, instrument: Instrument, item: Item) -> _Answered:
        """Read off the world what is special about an item."""
        world, sd = population.world, population.world.organisation_sd
        told = world.without_practice > 0 and item in instrument.slot("act_align")
        if world.compliance and instrument.slot("act_escal") and item in instrument.slot("sup_pub"):
            # What the organisation adds to support and to escalation is in part the same.
            shared = world.organisation_shared
            own = sd**2 + world.compliance**2
            sd = float(np.sqrt(shared * (sd + world.compliance) ** 2 + (1.0 - shared) * own))
        return cls(measure_of(item), sd, told)

    def expected(self, enumeration: Enumeration, value: float, *, practice: bool) -> Floats:
        """Return the expected answer where the organisation adds `value` standard deviations, (M or 1, R, S, Z, C)."""
        population, measure = enumeration.population, self.measure
        world, codes = population.world, measure.codes
        residual = population.residual_sd(measure.name, enumeration.wave)
        own = float(np.sqrt(world.person_sd**2 + world.acquiescence_sd**2 + residual**2))
        location = enumeration.location(measure, practice=practice) + self.organisation_sd * value
        if self.tells_practice and not practice:
            return np.full(location.shape, codes[0])
        first = 1 if self.tells_practice else 0
        out = np.full(location.shape, codes[first])
        steps = list(zip(measure.cuts, codes[:-1], codes[1:], strict=True))[first:]
        for share, contraction in enumeration.styles():
            for cut, low, high in steps:
                seen = 3.0 + contraction * (cut - 3.0)
                out = out + share * (high - low) * ndtr((location - seen) / own)
        return out


def _of_item(enumeration: Enumeration, answered: _Answered) -> Floats:
    """Spreads of an ordinal item (4,): role, stage, sector, organisation."""
    population = enumeration.population
    u, probability = np.polynomial.hermite_e.hermegauss(_NODES)
    probability = probability / probability.sum()
    cases = [
        (share * chance, answered.expected(enumeration, value, practice=practice))
        for share, practice in _kinds(enumeration, answered)
        for value, chance in zip(u, probability, strict=True)
    ]
    sector, mass = population.sector_share, enumeration.mass  # (C,), (M, R, S, Z)
    whole = (*mass.shape, len(sector))
    answer = np.broadcast_to(sum(chance * given for chance, given in cases), whole)
    joint = mass.sum(axis=(0, 3))[..., None] * sector  # (R, S, C)
    expected = np.einsum("mrsz,mrszc->rsc", mass, answer) * sector / joint
    root = np.sqrt(joint.ravel())
    design = indicators(joint.shape)
    solved = np.linalg.lstsq(design * root[:, None], expected.ravel() * root, rcond=None)[0]
    fit = (design @ solved).reshape(joint.shape)
    roles, stages, sectors = joint.shape
    cuts = np.cumsum([roles - 1, stages - 1, sectors - 1])
    effects = [np.concatenate([[0.0], part]) for part in np.split(solved[1:], cuts[:-1])]
    shared = sum(chance * _product(enumeration, given, fit) for chance, given in cases)
    # A survey without sectors, or of one, has none to differ by.
    spreads = [np.std(effect, ddof=1) if len(effect) > 1 else 0.0 for effect in effects]
    return np.array([*spreads, np.sqrt(max(float(shared), 0.0))])


def _kinds(enumeration: Enumeration, answered: _Answered) -> tuple[tuple[float, bool], ...]:
    """Share of organisations without and with alignment work, where that makes a difference to the item."""
    population = enumeration.population
    differs = answered.tells_practice or (population.world.practice_drift and enumeration.wave > 1)
    return population.practices() if differs else ((1.0, population.practices()[0][1]),)


def _product(enumeration: Enumeration, given: Floats, fit: Floats) -> float:
    """Mean product of what two executives of one organisation are expected to be above the fit, over all such pairs."""
    population = enumeration.population
    stage = enumeration.mass / enumeration.mass.sum(axis=2, keepdims=True)  # P(stage | maturity, role, size)
    exists, size, sector = population.exists, population.size_share, population.sector_share
    above = np.broadcast_to(given - fit[None, :, :, None, :], (*stage.shape, len(sector)))
    if len(given) == 1:
        # The same at every maturity: products of matrices, stage given maturity by what stage makes of the answer.
        by_stage = stage.transpose(3, 1, 0, 2) @ above[0].transpose(2, 0, 1, 3)  # (Z, R, M, C)
        of_role = by_stage.transpose(2, 1, 0, 3)
    else:
        of_role = np.einsum("mrsz,mrszc->mrzc", stage, above)
    weighted = exists[None, :, :, None] * of_role
    # Members of an organisation are those who exist: pairs of two roles, each there with its own probability.
    product = weighted.sum(axis=1) ** 2 - (weighted**2).sum(axis=1)  # (M, Z, C)
    pairs = (exists.sum(axis=0) ** 2 - (exists**2).sum(axis=0)) @ size
    return float(np.einsum("m,z,c,mzc->", enumeration.nodes[1], size, sector, product)) / float(pairs)


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
