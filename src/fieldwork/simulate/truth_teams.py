"""What a world makes true of colleagues: who answers beside whom, and how alike they answer given what they share.

Statistics of the system level are plain means over the organisations with enough informants. Who these are is enumerated role
by role; what colleagues share (maturity, the organisation's own leaning, sector, size) is integrated out by quadrature, given
which their answers are independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fieldwork.simulate.interview import measure_of, ordinal_answer, rule_of
from fieldwork.simulate.population import BLOCK, executives

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.simulate.population import Measure, Population

__all__ = [
    "Colleagues",
    "Company",
    "accepted_shares",
    "answered_share",
    "colleagues",
    "company",
    "drawn_answers",
    "truth_row",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Row = dict[str, str | float]

_NODES = 16  # of the maturity and of the organisation's leaning; the integrands are smooth over their width
_SEED = 20_260_101  # of the large draws; part of their definition


def truth_row(
    wave: str,
    construct: str,
    measure: str,
    statistic: str,
    value: float,
    *,
    role: str = "",
    role_2: str = "",
    item: str = "",
) -> Row:
    """Return one record of the truth, keyed as the estimates."""
    return {
        "wave": wave, "construct": construct, "measure": measure, "statistic": statistic, "role": role, "role_2": role_2,
        "stage": "", "item": item, "value": float(value) if abs(value) > 1e-9 else 0.0,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------- who is there


def accepted_shares(population: Population, instrument: Instrument, wave: int) -> tuple[tuple[float, float], ...]:
    """Return kinds of organisations: their share, and the share of their respondents whose interview is there and accepted.

    In the wave in which an organisation enters, all of its respondents answer, in later ones those whom the panel retains.
    """
    world, keys = population.world, instrument.keys
    lost = {
        "min_minutes": world.speeders if keys.start and keys.end else 0.0,
        "straight_line": world.straight_liners,
        "attention": world.inattentive,
    }
    kept = 1.0 - sum(share for kind, share in lost.items() if rule_of(instrument, kind))
    if wave == 1:
        return ((1.0, kept),)
    kinds = ((world.refreshment, kept), (1.0 - world.refreshment, kept * world.retention))
    return tuple((share, accepted) for share, accepted in kinds if share > 0)


def answered_share(population: Population, item: Item) -> float:
    """Return the share of those who are asked that answer an item; a ranking counts as one item."""
    unasked = item.required or not set(item.constructs) - {"sample"}
    return 1.0 if unasked else 1.0 - population.world.item_missing


@dataclass(frozen=True, slots=True)
class Company:
    """How often colleagues are found together in an organisation that can be assessed.

    Attributes
    ----------
    pair : (Z, R, R) float      E of [r and s are informants] / (k (k - 1)) over organisations of a size; 0 for r = s.
    member : (Z, R) float       E of [r is an informant] / k; k is the number of informants.
    assessed : (Z,) float       Probability that an organisation of the size is assessed.
    size : (Z,) float           Share of the size among organisations.

    With d[z, r, s] the expected distance of two colleagues, the mean over assessed organisations of their mean distance is
    sum size pair d / sum size assessed.
    """

    pair: Floats
    member: Floats
    assessed: Floats
    size: Floats

    def mean_of_pairs(self, value: Floats) -> float:
        """Mean over organisations of the mean over their pairs; value (Z, R, R) or (R, R)."""
        return float((self.size[:, None, None] * self.pair * value).sum() / (self.size @ self.assessed))

    def mean_of_members(self, value: Floats) -> Floats:
        """Mean over organisations of the mean over their informants; value (R, ...)."""
        return np.asarray(np.tensordot(self.size @ self.member, value, axes=1) / (self.size @ self.assessed))


def company(
    population: Population,
    informs: tuple[tuple[float, float], ...],
    minimum: int,
    kept: Callable[[int, int], float] | None = None,
) -> Company:
    """Enumerate who answers beside whom.

    Parameters
    ----------
    informs : kinds of organisations: share, and share of their respondents who give the answers needed.
    minimum : informants that an organisation must have.
    kept : probability that an organisation with k informants out of m existing roles can be assessed beyond the minimum.
    """
    parts = [(share, _company(population, rate, minimum, kept)) for share, rate in informs]
    pair, member, assessed = (
        np.asarray(sum(share * getattr(part, name) for share, part in parts)) for name in ("pair", "member", "assessed")
    )
    return Company(pair, member, assessed, population.size_share)


def _company(population: Population, informs: float, minimum: int, kept: Callable[[int, int], float] | None) -> Company:
    exists, answers = population.exists, population.exists * population.responds * informs
    R, Z = exists.shape
    counts = np.arange(R + 1)
    wanted = np.array(
        [
            [(kept(k, m) if kept else 1.0) if minimum <= k <= m else 0.0 for m in counts]
            for k in counts
        ]
    )  # fmt: skip
    each = np.maximum(counts, 1)
    assessed, member, pair = np.zeros(Z), np.zeros((Z, R)), np.zeros((Z, R, R))
    for z in range(Z):
        e, q = exists[:, z], answers[:, z]
        assessed[z] = float((_together(e, q, []) * wanted).sum())
        for r in range(R):
            beside = _shifted(_together(e, q, [r]), 1) * wanted
            member[z, r] = q[r] * float((beside / each[:, None]).sum())
            for s in range(r):
                both = _shifted(_together(e, q, [r, s]), 2) * wanted
                ordered = np.maximum(counts * (counts - 1), 1)
                pair[z, r, s] = pair[z, s, r] = q[r] * q[s] * float((both / ordered[:, None]).sum())
    return Company(pair, member, assessed, population.size_share)


def _together(exists: Floats, answers: Floats, without: list[int]) -> Floats:
    """Joint distribution of informants and existing roles (R + 1, R + 1) over all roles but some."""
    R = len(exists)
    joint = np.zeros((R + 1, R + 1))
    joint[0, 0] = 1.0
    for r in range(R):
        if r in without:
            continue
        joint = (
            (1.0 - exists[r]) * joint
            + (exists[r] - answers[r]) * np.roll(joint, 1, axis=1)
            + answers[r] * np.roll(np.roll(joint, 1, axis=0), 1, axis=1)
        )
    return joint


def _shifted(joint: Floats, by: int) -> Floats:
    """Distribution with `by` informants, who exist, added."""
    return np.roll(np.roll(joint, by, axis=0), by, axis=1)


# ------------------------------------------------------------------------------------------------- how they answer


@dataclass(frozen=True, slots=True)
class Colleagues:
    """Answers of colleagues to one item given what they share: independent of one another at each node.

    Attributes
    ----------
    weight : (N,) float          Probability of each node; adds to 1.
    below : (N, Z, R, K - 1)     P(answer at or below each point but the last) by size and role.
    """

    weight: Floats
    below: Floats

    def apart(self, codes: tuple[float, ...]) -> Floats:
        """Return the expected distance |y_r - y_s| of two colleagues (Z, R, R), in scale points."""
        step = np.diff(codes)
        F = self.below
        total = np.zeros((*F.shape[1:3], F.shape[2]))
        for n, weight in enumerate(self.weight):
            A = F[n] * step
            total += weight * (
                np.einsum("zrk,zsk->zrs", A, 1.0 - F[n]) + np.einsum("zrk,zsk->zrs", step * (1.0 - F[n]), F[n])
            )
        return total

    def shares(self, roles: Floats) -> Floats:
        """Share of each answer (R, K) by role, over sizes with the roles' weights (R, Z)."""
        below = np.einsum("n,nzrk,rz->rk", self.weight, self.below, roles) / roles.sum(axis=1)[:, None]
        return np.diff(below, axis=1, prepend=0.0, append=1.0)


def colleagues(population: Population, measure: Measure, wave: int) -> Colleagues:
    """Integrate the answer to an item over the person and the own function's stage, given what the organisation's people share.

    Nodes: alignment work or none, the maturity, and the organisation's leaning with the sector's effect (a mixture of normals,
    one per sector).
    """
    world, layout = population.world, population.layout
    points, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    leaning = (population.sector_effect[:, None] + world.organisation_sd * points).reshape(-1)
    leaning_weight = (population.sector_share[:, None] * weights).reshape(-1)
    residual = population.residual_sd(measure.name, wave)
    own = float(np.sqrt(world.person_sd**2 + world.acquiescence_sd**2 + residual**2))
    joint, below = [], []
    # Whether the organisation works on alignment is shared by colleagues too.
    for part, practice in population.practices():
        effects = population.effects(measure, wave, practice=practice)
        for weight, maturity in zip(weights, world.maturity_sd * points, strict=True):
            stage = stage_given(population, float(maturity), wave)  # (R, S, Z)
            shared = leaning[:, None] + population.size_effect + world.maturity_loading * maturity  # (U, Z)
            total = np.zeros((len(leaning), len(layout.sizes), len(layout.roles), len(measure.cuts)))
            for share, contraction in styles(population):
                centre = 3.0 + contraction * (measure.cuts - 3.0) - effects[:, :, None]  # (R, S, K - 1)
                answer = ndtr((centre[None, None] - shared[:, :, None, None, None]) / own)
                total += share * np.einsum("uzrsk,rsz->uzrk", answer, stage)
            joint.append(part * weight * leaning_weight)
            below.append(total)
    return Colleagues(np.concatenate(joint), np.concatenate(below))


def stage_given(population: Population, maturity: float, wave: int) -> Floats:
    """Probability of the own function's stage by role and size (R, S, Z), at one maturity."""
    mean = population.stage_mean(wave) + maturity
    below = ndtr((population.stage_cuts[:, None, None] - mean) / population.world.stage_noise_sd)
    return np.moveaxis(np.diff(below, axis=0, prepend=0.0, append=1.0), 0, 1)


def styles(population: Population) -> Iterator[tuple[float, float]]:
    """Yield (share of the class, contraction of its cut-points)."""
    world = population.world
    yield 1.0 - world.extreme_share, 1.0
    yield world.extreme_share, world.extreme_contraction


# ------------------------------------------------------------------------------------------------------- large draws


def drawn_answers(
    population: Population, instrument: Instrument, items: tuple[Item, ...], wave: int, organisations: int
) -> tuple[Integers, Floats, Floats]:
    """Draw many accepted interviews, for what no quadrature reaches: organisation (n,), weight (n,), answers (n, items).

    The draw is the world's own, under a seed of its own: the same on every machine and for every study. Answers are codes, nan
    where missing. The weight is one over the probability of answering, what raking to role and size restores.
    """
    kinds = accepted_shares(population, instrument, wave)
    bounds, rates = np.cumsum([share for share, _ in kinds])[:-1], np.array([rate for _, rate in kinds])
    parts: list[tuple[Integers, Floats, Floats]] = []
    for block, start in enumerate(range(0, organisations, BLOCK)):
        drawn = executives(population, organisations=min(BLOCK, organisations - start), seed=_SEED, block=block)
        stage = drawn.stage(wave)
        answers = np.empty((drawn.n, len(items)))
        for j, item in enumerate(items):
            codes = np.array(measure_of(item).codes)
            answers[:, j] = codes[ordinal_answer(instrument, drawn, item, stage, wave)]
            lost = drawn.uniform("truth", item.name, "lost") >= answered_share(population, item)
            answers[lost, j] = np.nan
        kind = np.searchsorted(bounds, drawn.stream("truth", "kind").random(len(drawn.has_role)), side="right")
        there = drawn.uniform("truth", "accepted") < rates[kind[drawn.org]]
        weight = 1.0 / population.responds[drawn.role, drawn.size]
        parts.append((start + drawn.org[there], weight[there], answers[there]))
    organisation, weights, found = (np.concatenate(column) for column in zip(*parts, strict=True))
    return organisation, weights, found
