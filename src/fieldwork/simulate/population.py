"""A world laid over a survey, and draws from it: organisations, their executives, stages and answers.

Every random number comes from a stream of its own, named after what is drawn, so that an item added to a survey moves
no other answer, and the first organisations of a large study are those of a small one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import norm

from fieldwork.errors import DesignError
from fieldwork.simulate.world import World, by_name

__all__ = ["BLOCK", "EXECUTIVES", "Layout", "Measure", "Population", "Responses", "simulate_responses", "stream"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ENTRANTS = 10**9  # numbers of organisations between those that entered in one wave and in the next
BLOCK = 4096  # organisations drawn at a time; part of the definition of the streams, so not a setting


@dataclass(frozen=True, slots=True)
class Measure:
    """An ordinal item as the latent model sees it.

    Attributes
    ----------
    name : str                 Item name.
    codes : tuple of float     Codes of the points, lowest first.
    main : bool                True for a measure of the adoption gradient, which takes the world's effects whole.
    """

    name: str
    codes: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0)
    main: bool = True

    @property
    def cuts(self) -> Floats:
        """Cut-points between the points on the common range 0.5 to 5.5 (points - 1,)."""
        return 0.5 + 5.0 * np.arange(1, len(self.codes)) / len(self.codes)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the latent model needs to know of a survey.

    Attributes
    ----------
    roles, stages, sizes, sectors : tuple of str     Ids in the instrument's order.
    measures : tuple of Measure                      The items that `simulate_responses` draws.
    """

    roles: tuple[str, ...]
    stages: tuple[str, ...]
    sizes: tuple[str, ...]
    sectors: tuple[str, ...]
    measures: tuple[Measure, ...]


EXECUTIVES = Layout(
    roles=("CEO", "CFO", "COO", "CIO", "CTO", "CDAO", "CISO", "CMO", "CHRO", "GC"),
    stages=("evaluating", "experimenting", "piloting", "production", "scaled"),
    sizes=("s1", "s2", "s3", "s4"),
    sectors=tuple(f"sector{number}" for number in range(1, 9)),
    measures=(Measure("conf"), Measure("prep")),
)


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random stream of that name under the seed; streams of other names are independent of it.

    >>> float(stream(1, "item", "conf").standard_normal()) == float(stream(1, "item", "conf").standard_normal())
    True
    """
    words = np.frombuffer(hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=16).digest(), dtype="<u4")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=tuple(words.tolist()))))


def _scores(levels: int) -> Floats:
    """Equally spaced positions of ordered levels, from -0.5 to 0.5."""
    return np.linspace(-0.5, 0.5, levels) if levels > 1 else np.zeros(levels)


def _shares(levels: int, decay: float) -> Floats:
    weights = decay ** np.arange(levels)
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class Population:
    """A world laid over a survey: every effect as an array, every probability in the order of the survey's options.

    Attributes
    ----------
    world : World       The world.
    layout : Layout     The survey's roles (R), stages (S), sizes (Z), sectors (C) and measures.
    """

    world: World
    layout: Layout

    def __post_init__(self) -> None:
        top = float(self.responds.max(initial=0.0))
        if top > 1:
            raise DesignError(
                f"the world {self.world.name} lets more executives answer than exist",
                where="simulate.Population, response_rate x response_role x response_size",
                expected="a product of at most 1 for every role and size band",
                got=f"{top:.3f}",
                hint="lower response_rate: the product must stay a probability for raking to recover the population",
            )

    @cached_property
    def size_share(self) -> Floats:
        """Share of each size band among organisations (Z,)."""
        return _shares(len(self.layout.sizes), self.world.size_decay)

    @cached_property
    def sector_share(self) -> Floats:
        """Share of each sector among organisations (C,)."""
        return _shares(len(self.layout.sectors), self.world.sector_decay)

    @cached_property
    def exists(self) -> Floats:
        """Probability that an organisation of a size has the role (R, Z)."""
        first = by_name(self.world.exists_small, self.layout.roles, default=self.world.exists_first)
        last = by_name(self.world.exists_large, self.layout.roles, default=self.world.exists_last)
        position = _scores(len(self.layout.sizes)) + 0.5
        return np.asarray(first[:, None] + (last - first)[:, None] * position)

    @cached_property
    def responds(self) -> Floats:
        """Probability that an existing executive answers (R, Z): a factor of the role times a factor of the size."""
        role = self.world.response_rate * by_name(self.world.response_role, self.layout.roles, default=1.0)
        position = _scores(len(self.layout.sizes)) + 0.5
        return np.asarray(role[:, None] * self.world.response_size**position)

    @cached_property
    def executives(self) -> Floats:
        """Share of each role and size among existing executives (R, Z), adding to 1."""
        mass = self.exists * self.size_share
        return np.asarray(mass / mass.sum())

    def stage_mean(self, wave: int = 1) -> Floats:
        """Mean of the latent stage by role and size (R, Z), for an organisation of average maturity."""
        growth = self.world.confounding * (1.0 + self.world.lead_drift) ** (wave - 1)
        lead = growth * by_name(self.world.role_stage, self.layout.roles)
        size = self.world.size_stage * _scores(len(self.layout.sizes))
        return np.asarray(self.world.stage_level + self.world.maturity_drift * (wave - 1) + lead[:, None] + size)

    @cached_property
    def stage_cuts(self) -> Floats:
        """Cut-points of the latent stage (S - 1,): equally common stages for a role without lead."""
        spread = float(np.hypot(self.world.maturity_sd, self.world.stage_noise_sd))
        return np.asarray(spread * norm.ppf(np.arange(1, len(self.layout.stages)) / len(self.layout.stages)))

    @cached_property
    def organisation_cuts(self) -> Floats:
        """Cut-points of the organisation's stage as a person reads it (S - 1,)."""
        spread = float(np.hypot(self.world.maturity_sd, self.world.organisation_noise_sd))
        return np.asarray(spread * norm.ppf(np.arange(1, len(self.layout.stages)) / len(self.layout.stages)))

    def organisation_mean(self, wave: int = 1) -> float:
        """Mean of the latent stage of an organisation of average maturity, as a person reads it."""
        return self.world.stage_level + self.world.maturity_drift * (wave - 1)

    def effects(self, measure: Measure, wave: int = 1, *, practice: bool = False) -> Floats:
        """Level of an item with what role and stage add to it (R, S), in points.

        `practice` says whether the organisation works on alignment.
        """
        world, loading = self.world, 1.0 if measure.main else self.world.other_loading
        drift = world.role_drift + (world.practice_drift if practice else 0.0)
        growth = world.role_scale * (1.0 + drift) ** (wave - 1)
        role = growth * by_name(world.role_effect, self.layout.roles, item=measure.name)
        slope = growth * by_name(world.role_slope, self.layout.roles, item=measure.name)
        position = _scores(len(self.layout.stages))
        phase = 1.0 + world.role_phase * (0.5 - 4.0 * position**2) if len(position) > 1 else np.ones(1)
        level = world.item_level.get(measure.name, world.level)
        return np.asarray(level + loading * (role[:, None] * phase + (world.stage_effect + slope[:, None]) * position))

    def practices(self) -> tuple[tuple[float, bool], ...]:
        """Share of organisations without and with alignment work, each with whether it is done; kinds that occur alone."""
        without = self.world.without_practice
        return tuple((share, practice) for share, practice in ((without, False), (1.0 - without, True)) if share > 0)

    def residual_sd(self, name: str, wave: int = 1) -> float:
        """Return the standard deviation of an item's residual, in points; a family's drift holds for its members."""
        drift = self.world.residual_drift
        family = next((drift[key] for key in (name, name.rpartition("_")[0]) if key in drift), 0.0)
        return self.world.residual_sd * (1.0 + family) ** (wave - 1)

    @cached_property
    def size_effect(self) -> Floats:
        """What the size band adds to every item (Z,), in points."""
        return np.asarray(self.world.size_effect * _scores(len(self.layout.sizes)))

    @cached_property
    def sector_effect(self) -> Floats:
        """What the sector adds to every item (C,), in points; mean 0 and the world's deviation over organisations."""
        raw = np.cos(1.0 + 2.4 * np.arange(len(self.layout.sectors)))
        centred = raw - self.sector_share @ raw
        spread = float(np.sqrt(self.sector_share @ centred**2))
        return np.asarray(self.world.sector_sd * centred / spread if spread > 1e-9 else centred)

    def influence_points(self, measure: Measure) -> Callable[[Floats], Floats]:
        """Return P(answer at each point) of a rating of each role's influence, given what its rater adds to every rating.

        The function maps rater effects (N,), in points of the latent range, to probabilities (2, N, R, K) of the two classes
        of raters, moderate and extreme.
        """
        world = self.world
        level = 3.0 + by_name(world.influence, self.layout.roles)
        noise = float(np.hypot(world.organisation_sd, 0.8 * world.residual_sd))
        seen = 3.0 + np.outer((1.0, world.extreme_contraction), measure.cuts - 3.0)

        def points(rater: Floats) -> Floats:
            place = seen[:, None, None, :] - level[:, None] - rater[:, None, None]
            return np.diff(ndtr(place / noise), axis=-1, prepend=0.0, append=1.0)

        return points

    @property
    def rater_sd(self) -> float:
        """Standard deviation of what a rater adds to every rating of influence, in points of the latent range."""
        return float(np.hypot(0.5 * self.world.person_sd, self.world.acquiescence_sd))

    def influence_means(self, measure: Measure) -> Floats:
        """Return the expected rating of each role's influence (R,), in points of the scale."""
        nodes, weight = np.polynomial.hermite_e.hermegauss(64)
        p = self.influence_points(measure)(self.rater_sd * nodes) @ np.array(measure.codes)
        share = self.world.extreme_share
        return np.asarray(np.einsum("cnr,c,n->r", p, (1.0 - share, share), weight / weight.sum()))

    def margins(self) -> dict[str, Floats]:
        """Shares of roles (R,) and of size bands (Z,) among existing executives: the targets of raking."""
        return {"role": self.executives.sum(axis=1), "size": self.executives.sum(axis=0)}


@dataclass(frozen=True)
class Executives:
    """Executives who answered the wave in which their organisations entered, one block, in order of organisation and role.

    Attributes
    ----------
    entry : int                             Wave in which the organisations of the block entered the study, from 1.
    first : int                             Number of the block's first organisation.
    has_role : (organisations, R) bool      Which roles exist in each organisation of the block.
    org_size, org_sector : (organisations,) Size band and sector of each organisation of the block, as positions.
    org : (n,) int                          Organisation within the block.
    role, size, sector : (n,) int           Positions in the layout.
    maturity, org_effect : (n,)             Of the organisation; the second in standard units, common to all items.
    person, acquiescence : (n,)             Of the person, in standard units.
    extreme : (n,) bool                     Prefers the ends of a scale.
    """

    population: Population
    seed: int
    block: int
    first: int
    has_role: NDArray[np.bool_]
    org_size: Integers
    org_sector: Integers
    org: Integers
    role: Integers
    size: Integers
    sector: Integers
    maturity: Floats
    org_effect: Floats
    person: Floats
    acquiescence: Floats
    extreme: NDArray[np.bool_]
    entry: int = 1

    @property
    def n(self) -> int:
        """Number of executives."""
        return len(self.org)

    def stream(self, *names: str | int) -> np.random.Generator:
        """Return the block's stream of that name."""
        return stream(self.seed, *names, "block", self.block, *_entered(self.entry))

    def by_organisation(self, *names: str) -> Floats:
        """Draw one standard normal per organisation and give it to its executives (n,)."""
        drawn: Floats = self.stream(*names).standard_normal(len(self.has_role))[self.org]
        return drawn

    def normal(self, *names: str | int) -> Floats:
        """Draw one standard normal per executive (n,)."""
        return self.stream(*names).standard_normal(self.n)

    def uniform(self, *names: str | int) -> Floats:
        """Draw one number in [0, 1) per executive (n,)."""
        return self.stream(*names).random(self.n)

    @cached_property
    def practice(self) -> NDArray[np.bool_]:
        """Whether the executive's organisation works on alignment (n,)."""
        drawn = self.stream("practice").random(len(self.has_role))
        return np.asarray(drawn >= self.population.world.without_practice)[self.org]

    def answers_wave(self, wave: int) -> NDArray[np.bool_]:
        """Which executives answer the wave (n,): all the one in which they entered, a random share each later one.

        Nobody does of an organisation that another has replaced by then.
        """
        here = (self.replaced(wave) == self.entry)[self.org]
        if wave == self.entry:
            return np.asarray(here)
        return np.asarray(here & (self.uniform("retention", wave) < self.population.world.retention))

    def replaced(self, wave: int) -> Integers:
        """Wave in which the organisation now in each place of the block entered (organisations,): 1 for the first ones."""
        entered = np.ones(len(self.has_role), dtype=np.int64)
        share = self.population.world.refreshment
        for later in range(2, wave + 1) if share > 0 else ():
            drawn = stream(self.seed, "refreshment", later, "block", self.block).random(len(entered))
            entered[drawn < share] = later
        return entered

    def stage(self, wave: int = 1) -> Integers:
        """Stage of the own function (n,), as a position."""
        population, world = self.population, self.population.world
        keep = world.stage_persistence
        noise = np.sqrt(keep) * self.normal("stage_own", "lasting") + np.sqrt(1 - keep) * self.normal("stage_own", wave)
        latent = population.stage_mean(wave)[self.role, self.size] + self.maturity + world.stage_noise_sd * noise
        return np.asarray(np.searchsorted(population.stage_cuts, latent))

    def stage_of_organisation(self, wave: int = 1) -> Integers:
        """Stage of the organisation as the executive reads it (n,), as a position."""
        population = self.population
        noise = population.world.organisation_noise_sd * self.normal("stage_organisation", wave)
        return np.searchsorted(population.organisation_cuts, population.organisation_mean(wave) + self.maturity + noise)

    def organisation_part(self, item: str) -> Floats:
        """Return what the organisation adds to an item (n,), in standard units: in part common to all items."""
        shared = self.population.world.organisation_shared
        organisation = np.sqrt(shared) * self.org_effect
        if shared < 1:
            organisation = organisation + np.sqrt(1 - shared) * self.by_organisation("item", item, "organisation")
        return np.asarray(organisation)

    def latent(self, measure: Measure, stage: Integers, wave: int = 1) -> Floats:
        """Answer to an item before it is cut into points (n,), on the range of a five-point scale."""
        population, world = self.population, self.population.world
        organisation = self.organisation_part(measure.name)
        effects = np.stack([population.effects(measure, wave, practice=practice) for practice in (False, True)])
        return np.asarray(
            effects[self.practice.astype(np.int64), self.role, stage]
            + population.size_effect[self.size]
            + population.sector_effect[self.sector]
            + world.maturity_loading * self.maturity
            + world.organisation_sd * organisation
            + world.person_sd * self.person
            + world.acquiescence_sd * self.acquiescence
            + population.residual_sd(measure.name, wave) * self.normal("item", measure.name, "residual", wave)
        )

    def point(self, measure: Measure, latent: Floats) -> Integers:
        """Position of the answer on the item's scale (n,): the extreme class sees contracted cut-points."""
        contraction = self.population.world.extreme_contraction
        stretched = np.where(self.extreme, 3.0 + (latent - 3.0) / contraction, latent)
        return np.asarray(np.searchsorted(measure.cuts, stretched))


def _entered(entry: int) -> tuple[str | int, ...]:
    """Name what was drawn for organisations that entered later; nothing for the first ones, whose draws so never move."""
    return ("entered", entry) if entry > 1 else ()


def executives(population: Population, *, organisations: int, seed: int, block: int = 0, entry: int = 1) -> Executives:
    """Draw the organisations of one block that entered in one wave and the executives in them who answer.

    >>> executives(Population(World("w", "plain"), EXECUTIVES), organisations=3, seed=1).has_role.shape
    (3, 10)
    """
    world, layout = population.world, population.layout

    def rng(*names: str) -> np.random.Generator:
        return stream(seed, *names, "block", block, *_entered(entry))

    n, roles = organisations, len(layout.roles)
    size = np.searchsorted(np.cumsum(population.size_share)[:-1], rng("size").random(n), side="right")
    sector = np.searchsorted(np.cumsum(population.sector_share)[:-1], rng("sector").random(n), side="right")
    has_role = rng("role", "exists").random((n, roles)) < population.exists.T[size]
    answers = has_role & (rng("role", "answers").random((n, roles)) < population.responds.T[size])
    org, role = np.nonzero(answers)
    maturity = world.maturity_sd * rng("maturity").standard_normal(n)
    org_effect = rng("organisation", "effect").standard_normal(n)
    count = len(org)
    return Executives(
        population=population,
        seed=seed,
        block=block,
        first=block * BLOCK + (entry - 1) * _ENTRANTS,
        has_role=has_role,
        org_size=size,
        org_sector=sector,
        org=org,
        role=role,
        size=size[org],
        sector=sector[org],
        maturity=maturity[org],
        org_effect=org_effect[org],
        person=rng("person").standard_normal(count),
        acquiescence=rng("acquiescence").standard_normal(count),
        extreme=rng("extreme").random(count) < world.extreme_share,
        entry=entry,
    )


def asked_in(population: Population, *, organisations: int, seed: int, block: int, wave: int) -> Iterator[Executives]:
    """Yield the executives of one block who may answer a wave: those of the first wave, and of each that brought new ones."""
    for entry in range(1, wave + 1 if population.world.refreshment > 0 else 2):
        yield executives(population, organisations=organisations, seed=seed, block=block, entry=entry)


def blocks(organisations: int) -> list[tuple[int, int]]:
    """Return (block, organisations in it) for a study of that size.

    >>> blocks(5000)
    [(0, 4096), (1, 904)]
    """
    return [(block, min(BLOCK, organisations - start)) for block, start in enumerate(range(0, organisations, BLOCK))]


@dataclass(frozen=True, slots=True)
class Responses:
    """Clean answers as arrays, ready for a study of a statistic.

    Attributes
    ----------
    organisation : (n,) int                      Number of the organisation; rows are in its order.
    role, stage, stage_org : (n,) int            Positions in the layout's roles and stages.
    size, sector : (n,) int                      Positions in the layout's sizes and sectors.
    answers : dict of str to (n,) float          Code of the answer to each measure.
    """

    organisation: Integers
    role: Integers
    stage: Integers
    stage_org: Integers
    size: Integers
    sector: Integers
    answers: dict[str, Floats]

    @property
    def n(self) -> int:
        """Number of respondents."""
        return len(self.role)


def simulate_responses(
    world: World, layout: Layout = EXECUTIVES, *, organisations: int, seed: int, wave: int = 1
) -> Responses:
    """Draw clean answers from a world, without a questionnaire around them.

    The draws are those of `simulate` before item non-response, contamination and coding: same seed, same organisations,
    same answers. Around a millisecond for 180 organisations (about 900 executives), so that hundreds of studies of a
    statistic's coverage cost seconds. `truth(Population(world, layout))` holds what they estimate.

    Parameters
    ----------
    world : World
        One of `worlds()`, or one bent with `with_settings`.
    layout : Layout
        Roles, stages, sizes, sectors and measures; `Layout` of ten executive roles, five stages, `conf` and `prep` if
        not given; `layout_of(instrument)` for a survey.
    organisations, seed, wave : int
        Size of the study, root seed, wave from 1 (a panel: the same executives with new residuals).

    >>> from fieldwork.simulate import worlds
    >>> responses = simulate_responses(worlds()["role_divergence"], organisations=180, seed=1)
    >>> responses.n, sorted(responses.answers)
    (880, ['conf', 'prep'])
    """
    population = Population(world, layout)
    parts: list[Responses] = []
    for block, size in blocks(organisations):
        drawn = asked_in(population, organisations=size, seed=seed, block=block, wave=wave)
        parts += [_answered(each, layout, wave) for each in drawn]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _answered(drawn: Executives, layout: Layout, wave: int) -> Responses:
    keep, stage = drawn.answers_wave(wave), drawn.stage(wave)
    answers = {
        measure.name: np.asarray(measure.codes)[drawn.point(measure, drawn.latent(measure, stage, wave))][keep]
        for measure in layout.measures
    }
    return Responses(
        organisation=drawn.first + drawn.org[keep],
        role=drawn.role[keep],
        stage=stage[keep],
        stage_org=drawn.stage_of_organisation(wave)[keep],
        size=drawn.size[keep],
        sector=drawn.sector[keep],
        answers=answers,
    )


def _joined(parts: Sequence[Responses]) -> Responses:
    def whole(name: str) -> Integers:
        return np.concatenate([getattr(part, name) for part in parts])

    return Responses(
        organisation=whole("organisation"),
        role=whole("role"),
        stage=whole("stage"),
        stage_org=whole("stage_org"),
        size=whole("size"),
        sector=whole("sector"),
        answers={name: np.concatenate([part.answers[name] for part in parts]) for name in parts[0].answers},
    )
