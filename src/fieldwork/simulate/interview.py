"""From executives to answers: every item of a questionnaire drawn by its kind and tags.

An instrument says what an item is; the world says how roles answer it. Where the world is silent the answer is neutral:
alike for all roles. Routing, caps and exclusive options hold by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from fieldwork.simulate.effects import Effects
from fieldwork.simulate.population import Layout, Measure
from fieldwork.simulate.world import by_name

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item, QualityRule
    from fieldwork.simulate.population import Executives
    from fieldwork.simulate.world import World

__all__ = [
    "ENTRY_CHANCE",
    "OF_PERSON",
    "SHOWN",
    "SPAN",
    "Cells",
    "Interview",
    "layout_of",
    "measure_of",
    "ordinal_answer",
    "rule_of",
    "tick_probability",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_SIZE, _SECTOR = "size_band", "sector"
_OF_ORGANISATION = ("country", "rev_band")  # answers that colleagues share; no tag of an instrument says so
_MAIN = "adoption_gradient"
_PRACTICE = "act_align"  # slot of the item on alignment work
ENTRY_CHANCE = 0.4  # chance per quarter, looking back, that a function had entered its stage in it
SHOWN = 3  # colleagues whose answers a respondent is asked to guess
OF_PERSON = 0.1  # share of the variance of leanings that goes with ticking many options or few
_ONE = ("all",)
SPAN = {"percent": 20.0, "weeks": 10.0, "count": 6.0, "days": 30.0, "years": 6.0}
_REMARKS = (
    "Interesting questions.",
    "Our answer differs by business unit.",
    "Ask again after the budget round.",
    "We are in the middle of a reorganisation.",
)


@dataclass(frozen=True, slots=True)
class Cells:
    """One delivered column: which of some texts each executive's cell holds.

    Attributes
    ----------
    index : (n,) int         Position in `texts`, -1 for an empty cell.
    texts : tuple of str     The distinct texts.
    """

    index: Integers
    texts: tuple[str, ...]


def layout_of(instrument: Instrument) -> Layout:
    """Return what the latent model needs to know of an instrument.

    Size bands and sectors are those of its items `size_band` and `sector`, one band for all where it asks neither.
    """

    def levels(name: str) -> tuple[str, ...]:
        return tuple(option.id for option in instrument.item(name).options) if name in instrument else _ONE

    return Layout(
        roles=tuple(instrument.role_ids) or _ONE,
        stages=tuple(instrument.stage_ids) or _ONE,
        sizes=levels(_SIZE),
        sectors=levels(_SECTOR),
        measures=tuple(measure_of(item) for item in instrument.measures(_MAIN)),
    )


def measure_of(item: Item) -> Measure:
    """Return an ordinal item as the latent model sees it."""
    return Measure(item.name, tuple(float(code) for code in sorted(item.codes)), main=_MAIN in item.constructs)


def ordinal_answer(
    instrument: Instrument, drawn: Executives, item: Item, stage: Integers, wave: int, *, shift: Floats | float = 0.0
) -> Integers:
    """Answer an ordinal item (n,), as a position on its scale; `shift` is what other answers add before it is cut.

    What is stated in public (slot `sup_pub`) also follows, by the world's `compliance`, how much the organisation settles by
    escalation (slot `act_escal`); private conviction does not.
    """
    measure = measure_of(item)
    latent = drawn.latent(measure, stage, wave) + shift
    escalation = instrument.slot("act_escal")
    if drawn.population.world.compliance and escalation and item in instrument.slot("sup_pub"):
        latent = latent + drawn.population.world.compliance * drawn.organisation_part(escalation[0].name)
    return drawn.point(measure, latent)


def rule_of(instrument: Instrument, kind: str) -> QualityRule | None:
    """Return the first rule of a kind that sets rows aside: contamination that nothing catches is not simulated."""
    return next((rule for rule in instrument.quality if rule.kind == kind and rule.action == "exclude"), None)


@dataclass
class Interview:
    """Executives of one block answering one wave's questionnaire.

    Attributes
    ----------
    instrument : Instrument             The questionnaire.
    drawn : Executives                  Who answers.
    wave : int                          Number of the wave from 1.
    name : str                          Name of the wave.
    stage : (n,) int                    Stage of the own function.
    speeder, straight, inattentive      Who is contaminated (n,).
    answered : dict                     Option position of single answers (n,), -1 for none; ticks of multi (n, options).
    columns : dict of str to Cells      Delivered columns made so far.
    """

    instrument: Instrument
    drawn: Executives
    wave: int
    name: str
    stage: Integers = field(init=False)
    speeder: Flags = field(init=False)
    straight: Flags = field(init=False)
    inattentive: Flags = field(init=False)
    answered: dict[str, NDArray[np.generic]] = field(init=False, default_factory=dict)
    columns: dict[str, Cells] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.world = self.drawn.population.world
        self.layout = self.drawn.population.layout
        self.stage = self.drawn.stage(self.wave)
        self.speeder, self.straight, self.inattentive = self._contaminated()
        self._families: dict[str, NDArray[np.generic]] = {}
        self.effects = Effects(self)

    def _contaminated(self) -> tuple[Flags, Flags, Flags]:
        """Draw who speeds, straight-lines or fails the attention check (n,); each only where a rule catches it."""
        drawn = self.drawn.uniform("contamination", self.wave)
        shares = {
            "min_minutes": self.world.speeders if self.instrument.keys.start and self.instrument.keys.end else 0.0,
            "straight_line": self.world.straight_liners,
            "attention": self.world.inattentive,
        }
        found, low = [], 0.0
        for kind, share in shares.items():
            high = low + (share if rule_of(self.instrument, kind) else 0.0)
            found.append((drawn >= low) & (drawn < high))
            low = high
        return found[0], found[1], found[2]

    def ask_all(self) -> dict[str, Cells]:
        """Put every item in order and return the delivered columns; identifiers and dates of keys are left out."""
        keys = self.instrument.keys
        system = {keys.respondent, keys.organisation, keys.wave, keys.start, keys.end}
        return self.ask([item for item in self.instrument.items if item.name not in system])

    def ask(self, items: Sequence[Item]) -> dict[str, Cells]:
        """Put some items in their order and return the delivered columns made so far; what they route on comes first."""
        for item in items:
            self._ask(item)
        return self.columns

    def sets(self, item: Item) -> tuple[Flags, Flags]:
        """Return the ticks of a multi-select item (n, options), and whose interview and answer cleaning keeps (n,).

        Of an item that is put to all: routing is not looked at.
        """
        kept = ~(self.speeder | self.straight | self.inattentive) & (self._lost(item) < 0)
        return self._ticks(item), np.asarray(kept)

    # ------------------------------------------------------------------------------------------------ one item

    def _ask(self, item: Item) -> None:
        asked = self.asked(item)
        if item.kind == "multi":
            self._deliver_multi(item, asked)
            return
        answer = self._maker(item)(item)
        index, texts = answer.index, list(answer.texts)
        index = self._contaminate(item, index, len(texts))
        lost = np.where(index >= 0, self._lost(item), -1)
        self.answered[item.name] = np.where(asked & (lost < 0), index, -1)
        codes = self._missing_texts(item)
        index = np.where(lost >= 0, len(texts) + lost, index)
        self.columns[item.column or item.name] = Cells(np.where(asked, index, -1), (*texts, *codes))

    def _deliver_multi(self, item: Item, asked: Flags) -> None:
        ticks = self._ticks(item)
        lost = self._lost(item)
        self.answered[item.name] = ticks & (asked & (lost < 0))[:, None]
        codes = self._missing_texts(item)
        for number, column in enumerate(item.delivered_columns().values()):
            index = np.where(lost >= 0, 2 + lost, ticks[:, number].astype(np.int64))
            self.columns[column] = Cells(np.where(asked, index, -1), ("0", "1", *codes))

    def asked(self, item: Item) -> Flags:
        """Who is shown the item (n,): by role, routing and module."""
        asked = np.ones(self.drawn.n, dtype=bool)
        if item.asked_of and self.instrument.keys.role:
            asked &= np.isin(np.array(self.layout.roles)[self.drawn.role], item.asked_of)
        if item.asked_if is not None:
            asked &= self._routed(item)
        if item.module != "core":
            asked &= self.drawn.uniform("module", item.module, self.wave) < self.world.optional_share
        return asked

    def _routed(self, item: Item) -> Flags:
        route = item.asked_if
        assert route is not None  # noqa: S101 - told by the caller
        on = self.instrument.item(route.item)
        given = self.answered[on.name]
        wanted = [on.options.index(on.option(text)) for text in route.within]
        if on.kind == "multi":
            return np.asarray(given[:, wanted].any(axis=1))
        return np.isin(given, wanted)

    def _lost(self, item: Item) -> Integers:
        """Which missing code stands in place of the answer (n,): -1 none; the last of the texts is the empty cell.

        Keys, paradata and what the frame tells are never missing. A ranking is missing as a whole.
        """
        lost = np.full(self.drawn.n, -1)
        if item.required or not set(item.constructs) - {"sample"}:
            return lost
        name = item.family if item.kind == "rank" else item.name
        hit = self.drawn.uniform("item", name, "lost", self.wave) < self.world.item_missing
        kinds = len(self._missing_texts(item))
        which = (self.drawn.uniform("item", name, "reason", self.wave) * kinds).astype(np.int64)
        return np.where(hit, which, lost)

    @staticmethod
    def _missing_texts(item: Item) -> tuple[str, ...]:
        """Texts of the item's missing codes, and the empty cell; a number's codes carry a minus."""
        sign = "-" if item.kind == "number" else ""
        return (*(f"{sign}{code.code}" for code in item.missing if code.code is not None), "")

    def _contaminate(self, item: Item, index: Integers, texts: int) -> Integers:
        """Let speeders answer at random, straight-liners answer the battery alike, the inattentive miss the check."""
        if item.kind in {"ordinal", "single"} and item.name not in self._own:
            anything = (self.drawn.uniform("speeder", item.name, self.wave) * texts).astype(np.int64)
            index = np.where(self.speeder & (index >= 0), anything, index)
        battery = rule_of(self.instrument, "straight_line")
        if battery is not None and item.name in battery.items:
            one = (self.drawn.uniform("straight_liner", self.wave) * texts).astype(np.int64)
            index = np.where(self.straight, one, index)
        check = rule_of(self.instrument, "attention")
        if check is not None and item.name == check.item:
            right = item.options.index(item.option(check.expected))
            index = np.where(self.inattentive, (right + 1) % texts, np.where(self.speeder, index, right))
        return index

    @property
    def _own(self) -> dict[str, Callable[[Item], Cells]]:
        """Items that the draw of executives has decided already."""
        keys = self.instrument.keys
        own = {
            keys.role: self._role,
            keys.stage: self._stage,
            keys.stage_organisation: self._stage_organisation,
            _SIZE: lambda item: _options(item, self.drawn.size),
            _SECTOR: lambda item: _options(item, self.drawn.sector),
        }
        return {name: maker for name, maker in own.items() if name}

    def _maker(self, item: Item) -> Callable[[Item], Cells]:
        """Return how the item is answered, by what the instrument says of it."""
        if item.name in self._own:
            return self._own[item.name]
        if item.member in self.layout.roles and item.kind in {"flag", "ordinal"}:
            return self._about_a_role(item)
        if item.kind == "single":
            return self._single_maker(item)
        if self.world.without_practice > 0 and item in self.instrument.slot(_PRACTICE) and item.kind == "ordinal":
            return self._practice
        makers = {
            "ordinal": self._ordinal,
            "rank": self._rank,
            "number": self._number,
            "flag": self._flag,
            "date": self._date,
            "text": self._text,
            "identifier": self._identifier,
        }
        return makers[item.kind]

    def _about_a_role(self, item: Item) -> Callable[[Item], Cells]:
        if item.kind == "flag":
            return self._role_exists
        return self._influence if "influence" in item.constructs else self._guess

    def _single_maker(self, item: Item) -> Callable[[Item], Cells]:
        if item.name in _OF_ORGANISATION:
            return self._of_organisation
        if {option.id for option in item.options} >= set(self.layout.roles):
            return self._owner
        if item.family and item.asked_if is not None and self.instrument.item(item.asked_if.item).kind == "multi":
            return self._chosen
        return self._choice

    # ------------------------------------------------------------------------------------------------ decided already

    def _role(self, item: Item) -> Cells:
        return _options(item, self.drawn.role)

    def _stage(self, item: Item) -> Cells:
        return _options(item, self.stage)

    def _stage_organisation(self, item: Item) -> Cells:
        return _options(item, self.drawn.stage_of_organisation(self.wave))

    def _role_exists(self, item: Item) -> Cells:
        there = self.drawn.has_role[self.drawn.org, self.layout.roles.index(item.member)]
        return _options(item, there.astype(np.int64))

    # ------------------------------------------------------------------------------------------------ ordinal

    def _ordinal(self, item: Item) -> Cells:
        return _points(item, self.position(item))

    def position(self, item: Item) -> Integers:
        """Position of the sincere answer to an ordinal item on its scale (n,)."""
        shift = self.effects.points(item)
        return ordinal_answer(self.instrument, self.drawn, item, self.stage, self.wave, shift=shift)

    def _practice(self, item: Item) -> Cells:
        """Tell how often alignment is worked on: never where nobody does, and more than never where somebody does."""
        answer = self._ordinal(item)
        return Cells(np.where(self.drawn.practice, np.maximum(answer.index, 1), 0), answer.texts)

    def _influence(self, item: Item) -> Cells:
        """Rate a colleague's influence; a role that the organisation lacks is not applicable."""
        world, target = self.world, self.layout.roles.index(item.member)
        latent = (
            3.0
            + by_name(world.influence, self.layout.roles)[target]
            + world.organisation_sd * self.drawn.by_organisation("item", item.name, "organisation")
            + 0.5 * world.person_sd * self.drawn.person
            + world.acquiescence_sd * self.drawn.acquiescence
            + 0.8 * world.residual_sd * self.drawn.normal("item", item.name, "residual", self.wave)
        )
        answer = _points(item, self.drawn.point(measure_of(item), latent))
        there = self.drawn.has_role[self.drawn.org, target]
        absent = [str(code.code) for code in item.missing if code.id == "not_applicable"] or [""]
        return Cells(np.where(there, answer.index, len(answer.texts)), (*answer.texts, *absent))

    def _guess(self, item: Item) -> Cells:
        """Guess a colleague's answer: part one's own, part what the role answers on the whole.

        Three colleagues are asked about, drawn among the roles that the organisation has.
        """
        world, target = self.world, self.layout.roles.index(item.member)
        about = next((m for m in self.layout.measures if item.family.endswith(m.name)), Measure(item.name))
        own = self.drawn.latent(about, self.stage, self.wave)
        expected = self.drawn.population.effects(about, self.wave).mean(axis=1)[target]
        noise = 0.6 * world.residual_sd * self.drawn.normal("item", item.name, "residual", self.wave)
        answer = _points(
            item, self.drawn.point(measure_of(item), world.projection * own + (1 - world.projection) * expected + noise)
        )
        return Cells(np.where(self._shown(item)[:, target], answer.index, -1), answer.texts)

    def _shown(self, item: Item) -> Flags:
        """Which colleagues each respondent is asked about (n, R)."""
        if item.family not in self._families:
            roles = len(self.layout.roles)
            order = self.drawn.stream("family", item.family, "shown", self.wave).random((self.drawn.n, roles))
            order[~self.drawn.has_role[self.drawn.org]] = np.inf
            order[np.arange(self.drawn.n), self.drawn.role] = np.inf
            rank = order.argsort(axis=1).argsort(axis=1)
            self._families[item.family] = (rank < SHOWN) & np.isfinite(order)
        return self._families[item.family].astype(bool)

    # ------------------------------------------------------------------------------------------------ choices

    def _choice(self, item: Item) -> Cells:
        """Choose one option with the world's weights, alike for all roles."""
        return _options(item, self.pick(item))

    def pick(self, item: Item) -> Integers:
        """Position of the option that is chosen with the world's weights (n,)."""
        weight = np.array([self.world.choice.get(f"{item.name}.{option.id}", 1.0) for option in item.options])
        return _pick(self.drawn.uniform("item", item.name, "choice", self.wave), weight)

    def _of_organisation(self, item: Item) -> Cells:
        """Choose one option per organisation; where there are as many as size bands they follow the size."""
        n = len(item.options)
        drawn = self.drawn.stream("item", item.name, "organisation").random(len(self.drawn.has_role))
        if n == len(self.layout.sizes) > 1:
            near = self.drawn.org_size + (drawn > 0.8).astype(np.int64) - (drawn < 0.2).astype(np.int64)
            return _options(item, np.clip(near, 0, n - 1)[self.drawn.org])
        return _options(
            item, _pick(drawn, np.power(self.world.sector_decay, np.arange(n, dtype=np.float64)))[self.drawn.org]
        )

    def _owner(self, item: Item) -> Cells:
        """Name the owner of decisions: the organisation's, one's own role, or anyone's guess."""
        world, drawn = self.world, self.drawn
        weight = np.array([world.owner.get(option.id, 1.0) for option in item.options])
        roles = [option.id for option in item.options]
        usual = _pick(drawn.stream("item", item.name, "organisation").random(len(drawn.has_role)), weight)[drawn.org]
        guess = _pick(drawn.uniform("item", item.name, "guess", self.wave), weight)
        own = np.array([roles.index(role) for role in self.layout.roles])[drawn.role]
        coin = drawn.uniform("item", item.name, "coin", self.wave)
        return _options(item, np.where(coin < world.own_claim, own, np.where(coin < 0.7, usual, guess)))

    def _flag(self, item: Item) -> Cells:
        """Say yes with the world's probability; marks of the provider follow the contamination."""
        marks = {"qc_speed": self.speeder, "qc_straight": self.straight}
        if item.name in marks:
            return _options(item, marks[item.name].astype(np.int64))
        if item.name == "panel_flag":
            return _options(item, np.full(self.drawn.n, int(self.wave > self.drawn.entry)))
        share: float | Floats = self.world.choice.get(
            item.name, 0.0 if item.name.startswith("qc_") else 0.5
        ) + self.effects.share(item)
        if self.world.stall_interaction and item in self.instrument.slot("stall"):
            share = expit(
                logit(np.clip(share, 1e-9, 1 - 1e-9))
                + self.world.stall_interaction * self._distance() * self._weight_of_role()
            )
        return _options(item, (self.drawn.uniform("item", item.name, "flag", self.wave) < share).astype(np.int64))

    def _distance(self) -> Floats:
        """How far the executive's answer lies from the mean of two or more colleagues (n,), in points; else 0.

        Answers that cleaning sets aside are nobody's: a reader of the delivery sees the same distances.
        """
        asked = self.instrument.slot("conf") or self.instrument.measures(_MAIN)
        index = np.asarray(self.answered[asked[0].name], dtype=np.int64)
        spoilt = self.speeder | self.straight | self.inattentive
        known = (index >= 0) & ~spoilt & self.drawn.answers_wave(self.wave)
        answer = np.where(known, np.array(sorted(asked[0].codes), dtype=np.float64)[index], 0.0)
        organisations = len(self.drawn.has_role)
        others = np.bincount(self.drawn.org[known], minlength=organisations)[self.drawn.org] - 1
        total = np.bincount(self.drawn.org, weights=answer, minlength=organisations)[self.drawn.org]
        return np.where(known & (others >= 2), np.abs(answer - (total - answer) / np.maximum(others, 1)), 0.0)

    def _weight_of_role(self) -> Floats:
        """Influence that others ascribe to the executive's role (n,), in points of the ratings above the mean of roles."""
        rated = [item for item in self.instrument.slot("inf") if item.member in self.layout.roles]
        means = self.drawn.population.influence_means(measure_of(rated[0]) if rated else Measure("inf"))
        return np.asarray((means - means.mean())[self.drawn.role])

    # ------------------------------------------------------------------------------------------------ several answers

    def _ticks(self, item: Item) -> Flags:
        """Tick options (n, options): exclusive ones alone, others up to the cap, the last exclusive for want of others."""
        probability = tick_probability(item, self.world, self.layout.roles)[self.drawn.role]
        options = [option.id for option in item.options]
        roles = [number for number, option in enumerate(options) if option in self.layout.roles]
        utility = ndtri(np.clip(probability, 1e-12, 1 - 1e-12)) + self._leanings(item)
        ticks = (utility > 0) & (probability > 0)
        if "influence" in item.constructs:
            for number in roles:
                ticks[:, number] &= self.drawn.has_role[self.drawn.org, self.layout.roles.index(options[number])]
        alone = [number for number, option in enumerate(options) if option in item.exclusive]
        ticks = _capped(ticks, utility, [n for n in range(len(options)) if n not in alone], item.cap)
        for number in alone[:-1]:
            ticks[ticks[:, number]] = np.arange(len(options)) == number
        if alone:
            ticks[:, alone[-1]] = False
            ticks[:, alone[-1]] = ~ticks.any(axis=1)
        self._families[item.name] = utility
        return ticks

    def _leanings(self, item: Item) -> Floats:
        """Draw standard normal leanings to tick each option (n, options), shared in part by organisation and person."""
        drawn, shared = self.drawn, self.world.citing_shared
        many = drawn.normal("item", item.name, "many", self.wave)
        leaning = [
            np.sqrt(shared) * drawn.by_organisation("item", item.name, option.id, "organisation")
            + np.sqrt(OF_PERSON) * many
            + np.sqrt(1.0 - shared - OF_PERSON) * drawn.normal("item", item.name, option.id, "residual", self.wave)
            for option in item.options
        ]
        return np.stack(leaning, axis=1)

    def _chosen(self, item: Item) -> Cells:
        """Name the ticked option that weighs most, second most, ...: in the order of the leanings to tick."""
        assert item.asked_if is not None  # noqa: S101 - told by the caller
        on = self.instrument.item(item.asked_if.item)
        place = [member.name for member in self.instrument.family(item.family)].index(item.name)
        ticks = np.asarray(self.answered[on.name], dtype=bool)
        weight = np.where(ticks, self._families[on.name], -np.inf)
        for number, option in enumerate(on.options):
            if option.id not in {each.id for each in item.options}:
                weight[:, number] = -np.inf
        order = np.argsort(-weight, axis=1, kind="stable")[:, place]
        known = {option.id: number for number, option in enumerate(item.options)}
        position = np.array([known.get(option.id, -1) for option in on.options])
        there = np.isfinite(weight[np.arange(len(order)), order])
        return _options(item, np.where(there, position[order], -1))

    def _rank(self, item: Item) -> Cells:
        """Rank the members of a family by utility: shared in part by the organisation, shifted by role."""
        members = len(self.instrument.family(item.family))
        return Cells(self.rank(item), tuple(str(rank + 1) for rank in range(members)))

    def rank(self, item: Item) -> Integers:
        """Rank of a member of a family (n,), from 0."""
        if item.family not in self._families:
            members = self.instrument.family(item.family)
            utility = [
                by_name(self.world.priority, self.layout.roles, item=member.name)[self.drawn.role]
                + 0.5 * self.drawn.by_organisation("item", member.name, "organisation")
                + self.drawn.normal("item", member.name, "residual", self.wave)
                + self.effects.preference(member)
                for member in members
            ]
            order = np.argsort(-np.stack(utility, axis=1), axis=1, kind="stable")
            self._families[item.family] = order.argsort(axis=1)
        place = [member.name for member in self.instrument.family(item.family)].index(item.name)
        return self._families[item.family][:, place].astype(np.int64)

    # ------------------------------------------------------------------------------------------------ open answers

    def _number(self, item: Item) -> Cells:
        """Answer with a whole number inside the item's range; percentages to the next five, as people give them.

        A project that is not in use yet has no time to deployment, one that is has none since its start.
        """
        running, begun = self.effects.running
        still = item in self.instrument.slot("t_open")
        rounded = self.rounded(item, begun) if still else self.told(item)
        texts, index = np.unique(rounded.astype(np.int64), return_inverse=True)
        index = index.reshape(-1)
        if still or item in self.instrument.slot("t_deploy"):
            absent = [f"-{code.code}" for code in item.missing if code.id == "not_applicable"] or [""]
            return Cells(np.where(running == still, index, len(texts)), (*map(str, texts.tolist()), *absent))
        return Cells(index, tuple(map(str, texts.tolist())))

    def told(self, item: Item) -> Floats:
        """Return a number as it is told (n,)."""
        return self.rounded(item, self.quantity(item))

    @staticmethod
    def rounded(item: Item, value: Floats) -> Floats:
        """Round to whole numbers, percentages to the next five, inside the item's range (n,)."""
        step = 5.0 if item.unit == "percent" else 1.0
        return np.clip(np.round(value / step) * step, *_range_of(item))

    def quantity(self, item: Item) -> Floats:
        """Draw a skewed number before it is rounded (n,), with what other answers do to it."""
        low, high = _range_of(item)
        span = min(SPAN.get(item.unit, 10.0), high - low)
        rng = self.drawn.stream("item", item.name, "number", self.wave)
        value = max(low, 0.0) + span * rng.gamma(2.0, 0.5, self.drawn.n)
        if low < 0:
            value -= span / 2
        return self.effects.number(item, value)

    def _date(self, item: Item) -> Cells:
        """Say in which quarter the stage that the item asks for was entered; `not yet` for stages still to come."""
        if item.unit != "quarter":
            return Cells(np.full(self.drawn.n, -1), ())
        codes = [str(option.code) for option in self.instrument.stages]
        members = self.instrument.family(item.family or item.name)
        place = [member.name for member in members].index(item.name) + max(len(codes) - len(members), 0)
        reached = codes.index(item.member) if item.member in codes else place
        now = _quarter(self.name)
        quarters = np.full(self.drawn.n, now)
        for later in range(len(codes) - 1, reached - 1, -1):
            gap = self.drawn.stream("stage", "entry", later).geometric(ENTRY_CHANCE, self.drawn.n)
            quarters = np.where(self.stage >= later, quarters - gap, quarters)
        lags = now - quarters
        not_yet = [str(option.code) for option in item.options[:1]] or [""]
        texts = tuple(_quarter_text(now - lag) for lag in range(int(lags.max(initial=0)) + 1))
        return Cells(np.where(self.stage >= reached, lags, len(texts)), (*texts, *not_yet))

    def _text(self, item: Item) -> Cells:
        drawn = self.drawn.uniform("item", item.name, "text", self.wave)
        index = (drawn / 0.06 * len(_REMARKS)).astype(np.int64)
        return Cells(np.where(drawn < 0.06, index, -1), _REMARKS)

    def _identifier(self, item: Item) -> Cells:
        return Cells(np.arange(self.drawn.n), tuple(f"{item.name}{number}" for number in range(self.drawn.n)))


def tick_probability(item: Item, world: World, roles: tuple[str, ...]) -> Floats:
    """Probability of each option by role (R, options), before cap and exclusive options; 0 for the option of the rest."""
    options = [option.id for option in item.options]
    if "influence" in item.constructs:
        named = world.validator if "signoff" in item.name else world.gatekeeper
        by_option = by_name(named, roles, default=0.15)
        per = np.array([by_option[roles.index(option)] if option in roles else 0.0 for option in options])
        return np.tile(per, (len(roles), 1))
    blockers = "blockers" in item.constructs
    base = world.blocker_base if blockers else world.condition_base
    named = world.blocker_own if blockers else world.condition_own
    own = np.array([by_name(named, roles, item=option, default=base) for option in options]).T
    probability = base + world.blocker_scale * (own - base)
    for number, option in enumerate(options):
        if option in item.exclusive:
            given = [named.get(f"{option}.{role}", 0.0) for role in roles]
            probability[:, number] = world.blocker_scale * np.array(given)
    return np.asarray(probability)


def _range_of(item: Item) -> tuple[float, float]:
    return (item.low if item.low is not None else 0.0, item.high if item.high is not None else 1e6)


def _options(item: Item, index: Integers) -> Cells:
    return Cells(np.asarray(index, dtype=np.int64), tuple(str(option.code) for option in item.options))


def _points(item: Item, index: Integers) -> Cells:
    return Cells(np.asarray(index, dtype=np.int64), tuple(str(code) for code in sorted(item.codes)))


def _pick(uniform: Floats, weight: NDArray[np.float64]) -> Integers:
    """Turn uniform numbers into positions with probabilities proportional to the weights."""
    return np.asarray(np.searchsorted(np.cumsum(weight)[:-1] / weight.sum(), uniform, side="right"))


def _capped(ticks: Flags, utility: Floats, free: list[int], cap: int | None) -> Flags:
    """Keep at most `cap` ticks among the free options, those of highest utility."""
    if cap is None or not free:
        return ticks
    weight = np.where(ticks[:, free], utility[:, free], -np.inf)
    rank = (-weight).argsort(axis=1, kind="stable").argsort(axis=1)
    kept = ticks.copy()
    kept[:, free] &= rank < cap
    return kept


def _quarter(wave: str) -> int:
    """Return the number of the quarter that a wave is named after; the first of 2026 for waves named otherwise.

    >>> _quarter("2026Q1") - _quarter("2025Q3")
    2
    """
    year, found, quarter = wave.partition("Q")
    named = found and year.isdigit() and quarter in {"1", "2", "3", "4"}
    return int(year) * 4 + int(quarter) - 1 if named else 2026 * 4


def _quarter_text(number: int) -> str:
    return f"{number // 4}Q{number % 4 + 1}"
