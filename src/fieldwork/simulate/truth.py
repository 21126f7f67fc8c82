"""What a world makes true, by exact enumeration: no draw is made here.

The population is that of existing executives. Given role, stage, size and sector an answer's expectation is a sum of
normal probabilities; over the organisation's maturity, which ties stages to one another, it is integrated by
Gauss-Hermite quadrature with 64 nodes, exact to about 1e-12 for these smooth integrands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.simulate.population import Measure, Population


__all__ = ["TrueWave", "TruthRow", "indicators", "truth", "upper_orthant"]

Floats = NDArray[np.float64]
TruthRow = dict[str, str | float]

_NODES = 64
_CONSTRUCT = "adoption_gradient"
_ZERO = 1e-9  # a spread below this is rounding of an exact zero


@dataclass(frozen=True, slots=True)
class TrueWave:
    """A wave of a simulated study, for what is true over several.

    Attributes
    ----------
    population : Population     The world laid over the wave's survey.
    instrument : Instrument     The survey.
    name : str                  Name of the wave.
    number : int                Its number from 1, which drifts count from.
    """

    population: Population
    instrument: Instrument
    name: str
    number: int


@dataclass(frozen=True)
class Enumeration:
    """Every expectation of one item over the population, one wave.

    Axes: m maturity node (M), r role (R), s stage (S), z size (Z), c sector (C), t stage of the organisation (S).

    Attributes
    ----------
    population : Population     The world laid over a survey.
    wave : int                  Wave from 1.
    """

    population: Population
    wave: int

    @cached_property
    def nodes(self) -> tuple[Floats, Floats]:
        """Values of the maturity and their probabilities (M,)."""
        points, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        return self.population.world.maturity_sd * points, weights / weights.sum()

    @cached_property
    def mass(self) -> Floats:
        """Probability of maturity, role, stage and size among executives (M, R, S, Z)."""
        maturity, weight = self.nodes
        mean = self.population.stage_mean(self.wave) + maturity[:, None, None]
        below = ndtr(
            (self.population.stage_cuts[:, None, None, None] - mean) / self.population.world.stage_noise_sd
        )  # (S-1, M, R, Z)
        stage = np.diff(below, axis=0, prepend=0.0, append=1.0)
        joint = stage * weight[:, None, None] * self.population.executives
        return np.moveaxis(joint, 0, 2)

    @cached_property
    def organisation_stage(self) -> Floats:
        """Probability of the organisation's stage as read, given maturity (M, S)."""
        maturity, _ = self.nodes
        mean = self.population.organisation_mean(self.wave) + maturity
        below = ndtr((self.population.organisation_cuts - mean[:, None]) / self.population.world.organisation_noise_sd)
        return np.diff(below, axis=1, prepend=0.0, append=1.0)

    def location(self, measure: Measure, *, practice: bool = False) -> Floats:
        """Mean of the latent answer given maturity, role, stage, size and sector (M or 1, R, S, Z, C).

        `practice` says whether the organisation works on alignment; it matters from the second wave on.
        """
        population, world = self.population, self.population.world
        maturity = self.nodes[0] if world.maturity_loading else np.zeros(1)
        return (
            population.effects(measure, self.wave, practice=practice)[None, :, :, None, None]
            + population.size_effect[:, None]
            + population.sector_effect
            + (world.maturity_loading * maturity)[:, None, None, None, None]
        )

    @property
    def spread(self) -> float:
        """Standard deviation of the latent answer around its location."""
        world = self.population.world
        parts = (world.organisation_sd, world.person_sd, world.acquiescence_sd, world.residual_sd)
        return float(np.sqrt(sum(part**2 for part in parts)))

    @property
    def covariance(self) -> float:
        """Covariance of two items around their locations: what organisation, person and acquiescence share."""
        world = self.population.world
        return world.organisation_shared * world.organisation_sd**2 + world.person_sd**2 + world.acquiescence_sd**2

    def styles(self) -> Iterator[tuple[float, float]]:
        """Yield (share of the class, contraction of its cut-points)."""
        world = self.population.world
        yield 1.0 - world.extreme_share, 1.0
        yield world.extreme_share, world.extreme_contraction

    def answer(self, measure: Measure, *, practice: bool | None = None) -> Floats:
        """Return the expected answer given maturity, role, stage, size and sector (M or 1, R, S, Z, C).

        `practice` asks for organisations with or without alignment work; None for all, as they are mixed.
        """
        if practice is None:
            kinds = self.population.practices()
            return np.asarray(sum(share * self.answer(measure, practice=kind) for share, kind in kinds))
        location, codes = self.location(measure, practice=practice), measure.codes
        expected = np.full(location.shape, codes[0])
        for share, contraction in self.styles():
            for cut, low, high in zip(measure.cuts, codes[:-1], codes[1:], strict=True):
                seen = 3.0 + contraction * (cut - 3.0)
                expected += share * (high - low) * ndtr((location - seen) / self.spread)
        return expected

    def cell_means(self, measure: Measure, *, practice: bool | None = None) -> tuple[Floats, Floats]:
        """Probability and expected answer of each role and stage (R, S); `practice` as in `answer`."""
        answer = self.answer(measure, practice=practice) @ self.population.sector_share  # (M or 1, R, S, Z)
        mass = self.mass.sum(axis=(0, 3))
        return mass, (self.mass * answer).sum(axis=(0, 3)) / mass

    def adjusted(self, measure: Measure) -> tuple[Floats, Floats]:
        """Effects of roles (R,) and organisation stages (S,), each adjusted for the other, size and sector.

        The least-squares projection of the expected answer on indicators of role, organisation stage, size band and
        sector over the population, effects of each set centred on their plain mean.
        """
        answer = self.answer(measure)
        given = self.organisation_stage
        sector = self.population.sector_share
        stages = given.shape[1]
        mass = np.einsum("mrsz,mt->rtz", self.mass, given)[..., None] * sector  # (R, S, Z, C)
        if len(answer) == 1:
            over_stage = np.einsum("mrsz,mt,rszc->rtzc", self.mass, given, answer[0], optimize=True)
        else:
            over_stage = np.einsum("mrsz,mt,mrszc->rtzc", self.mass, given, answer, optimize=True)
        expected = (over_stage * sector) / mass
        design = indicators(mass.shape)
        root = np.sqrt(mass.ravel())
        solved = np.linalg.lstsq(design * root[:, None], expected.ravel() * root, rcond=None)[0]
        roles = mass.shape[0]
        role = np.concatenate([[0.0], solved[1:roles]])
        stage = np.concatenate([[0.0], solved[roles : roles + stages - 1]])
        return role - role.mean(), stage - stage.mean()

    def both_high(self, first: Measure, second: Measure, role: int, stage: int, threshold: float = 4.0) -> float:
        """Probability that both answers reach the threshold, given role and stage."""
        kinds = self.population.practices()
        of = [(share, self._both_high(first, second, role, stage, threshold, practice=kind)) for share, kind in kinds]
        return float(sum(share * value for share, value in of))

    def _both_high(
        self, first: Measure, second: Measure, role: int, stage: int, threshold: float, *, practice: bool
    ) -> float:
        sides: list[tuple[Floats, float]] = []
        for measure in (first, second):
            cut = float(measure.cuts[int(np.searchsorted(measure.codes, threshold)) - 1])
            sides.append((self.location(measure, practice=practice)[:, role, stage], cut))
        correlation = self.covariance / self.spread**2
        share_both = 0.0
        weight = self.mass[:, role, stage]  # (M, Z)
        if len(sides[0][0]) == 1:
            weight = weight.sum(axis=0, keepdims=True)
        weight = (weight / weight.sum())[..., None] * self.population.sector_share
        for share, contraction in self.styles():
            bounds = [(3.0 + contraction * (cut - 3.0) - location) / self.spread for location, cut in sides]
            share_both += share * float((weight * upper_orthant(bounds[0], bounds[1], correlation)).sum())
        return share_both


def upper_orthant(h: Floats, k: Floats, rho: float) -> Floats:
    """Probability that two standard normals of correlation rho exceed h and k.

    Drezner and Wesolowsky (1990): the product of the tails plus the integral of the density over the correlation, here
    in the angle asin(rho) by Gauss-Legendre with 48 nodes.

    >>> round(float(upper_orthant(np.zeros(1), np.zeros(1), 0.5)[0]), 12)
    0.333333333333
    """
    points, weights = np.polynomial.legendre.leggauss(48)
    top = np.arcsin(rho)
    angle = top * (points + 1) / 2
    h, k = np.asarray(h)[..., None], np.asarray(k)[..., None]
    density = np.exp(-(h**2 - 2 * h * k * np.sin(angle) + k**2) / (2 * np.cos(angle) ** 2))
    return np.asarray(ndtr(-h[..., 0]) * ndtr(-k[..., 0]) + (density @ weights) * top / (4 * np.pi))


def indicators(shape: tuple[int, ...]) -> Floats:
    """Return the design of an additive model over a grid: a constant, then each axis' levels without the first."""
    positions = np.indices(shape).reshape(len(shape), -1)
    columns = [np.ones(positions.shape[1])]
    columns += [
        (axis == level).astype(float) for axis, size in zip(positions, shape, strict=True) for level in range(1, size)
    ]
    return np.stack(columns, axis=1)


def truth(population: Population, *, waves: tuple[str, ...] = ("1",), first: int = 1) -> list[TruthRow]:
    """Return the population value of every statistic of the adoption gradient, one record each.

    Keys as in the table of estimates: wave, construct, measure, statistic, role, role_2, stage, item, value. A ratio is
    left out where one of its spreads is zero, a comparison of named roles where the survey lacks them. Means of roles
    and of stages are over existing executives; spreads are sample standard deviations (ddof 1) over the levels' true
    means. `waves` are names; `first` is the number of the first of them, which drifts count from 1.

    >>> from fieldwork.simulate import EXECUTIVES, Population, worlds
    >>> rows = truth(Population(worlds()["null"], EXECUTIVES))
    >>> {round(float(row["value"]), 6) for row in rows if row["statistic"] == "role_sd_corrected"}
    {0.0}
    """
    rows: list[TruthRow] = []
    for number, wave in enumerate(waves, start=first):
        enumeration = Enumeration(population, number)
        measures = [measure for measure in population.layout.measures if measure.main]
        for measure in measures:
            rows += _rows(enumeration, measure, wave)
        rows += _both_high_rows(enumeration, measures, wave)
    return rows


def _row(
    wave: str, measure: str, statistic: str, value: float, *, role: str = "", role_2: str = "", stage: str = ""
) -> TruthRow:
    return {
        "wave": wave,
        "construct": _CONSTRUCT,
        "measure": measure,
        "statistic": statistic,
        "role": role,
        "role_2": role_2,
        "stage": stage,
        "item": "",
        "value": float(value) if abs(value) > _ZERO else 0.0,
    }


def _ratio(name: str, numerator: float, denominator: float) -> dict[str, float]:
    return {name: float(np.log(numerator / denominator))} if min(numerator, denominator) > _ZERO else {}


def _spread(values: Floats) -> float:
    """Sample standard deviation, with the rounding of an exact zero removed."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return spread if spread > _ZERO else 0.0


def _rows(enumeration: Enumeration, measure: Measure, wave: str) -> Iterator[TruthRow]:
    layout = enumeration.population.layout
    mass, cell = enumeration.cell_means(measure)
    by_role = (mass * cell).sum(axis=1) / mass.sum(axis=1)
    by_stage = (mass * cell).sum(axis=0) / mass.sum(axis=0)
    for role, mean in zip(layout.roles, by_role, strict=True):
        yield _row(wave, measure.name, "role_mean", mean, role=role)
    for role, means in zip(layout.roles, cell, strict=True):
        for stage, mean in zip(layout.stages, means, strict=True):
            yield _row(wave, measure.name, "role_mean", mean, role=role, stage=stage)
    for stage, mean in zip(layout.stages, by_stage, strict=True):
        yield _row(wave, measure.name, "stage_mean", mean, stage=stage)
    for stage, means in zip(layout.stages, cell.T, strict=True):
        yield _row(wave, measure.name, "role_sd_corrected", _spread(means), stage=stage)
        for statistic in ("range_raw", "range_shrunken"):
            yield _row(wave, measure.name, statistic, float(np.ptp(means)), stage=stage)

    role_effect, stage_effect = enumeration.adjusted(measure)
    role_range, stage_range = float(np.ptp(by_role)), float(np.ptp(by_stage))
    values = {
        "role_sd_corrected": _spread(by_role),
        "stage_sd_corrected": _spread(by_stage),
        **_ratio("gradient_ratio_log", _spread(by_role), _spread(by_stage)),
        "range_raw": role_range,
        "range_shrunken": role_range,
        "stage_range_raw": stage_range,
        "stage_range_shrunken": stage_range,
        "range_difference": role_range - stage_range,
        "role_sd_adjusted": _spread(role_effect),
        "stage_sd_adjusted": _spread(stage_effect),
        **_ratio("gradient_ratio_log_adjusted", _spread(role_effect), _spread(stage_effect)),
    }
    for statistic, value in values.items():
        yield _row(wave, measure.name, statistic, value)
    yield from _split_rows(enumeration, measure, cell, wave)


def _named(enumeration: Enumeration) -> tuple[int, int, int, int] | None:
    """Positions of the two roles and two stages of the essays' comparison, where the survey has them."""
    world, layout = enumeration.population.world, enumeration.population.layout
    if not {world.naive_role, world.naive_role_2} <= set(layout.roles):
        return None
    if not {world.naive_stage, world.naive_stage_2} <= set(layout.stages):
        return None
    return (
        layout.roles.index(world.naive_role),
        layout.stages.index(world.naive_stage),
        layout.roles.index(world.naive_role_2),
        layout.stages.index(world.naive_stage_2),
    )


def _split_rows(enumeration: Enumeration, measure: Measure, cell: Floats, wave: str) -> Iterator[TruthRow]:
    """Kitagawa's (1955) split of the gap between the first role's late and the second role's early executives."""
    named = _named(enumeration)
    if named is None:
        return
    role, late, other, early = named
    world = enumeration.population.world
    parts = {
        "naive_gap": cell[role, late] - cell[other, early],
        "role_part": ((cell[role, late] - cell[other, late]) + (cell[role, early] - cell[other, early])) / 2,
        "stage_part": ((cell[role, late] - cell[role, early]) + (cell[other, late] - cell[other, early])) / 2,
    }
    for statistic, value in parts.items():
        yield _row(wave, measure.name, statistic, value, role=world.naive_role, role_2=world.naive_role_2)


def _both_high_rows(enumeration: Enumeration, measures: list[Measure], wave: str) -> Iterator[TruthRow]:
    named = _named(enumeration)
    if named is None or len(measures) < 2:
        return
    first, second = measures[:2]
    if first.codes[0] >= 4 or second.codes[0] >= 4 or max(first.codes[-1], second.codes[-1]) < 4:
        return
    world = enumeration.population.world
    share = enumeration.both_high(first, second, named[0], named[1])
    measure = f"{first.name}+{second.name}"
    yield _row(wave, measure, "high_both_share", share, role=world.naive_role, stage=world.naive_stage)
