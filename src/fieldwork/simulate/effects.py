"""What answers do to one another: stalls, budgets, deployment, decisions and trust, each by a parameter that is nil by default.

An effect shifts an answer that the interview draws anyway and draws nothing of its own but the start of running projects; with
every parameter at nil no answer moves. Items are found by the slots of the instrument.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fieldwork.simulate.world import by_name

if TYPE_CHECKING:
    from fieldwork.instrument import Item
    from fieldwork.simulate.interview import Interview

__all__ = ["STALE_DAYS", "TYPICAL_LAYERS", "Effects", "differing"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

STALE_DAYS = 90  # a roadmap older than this is out of date (H35)
TYPICAL_LAYERS = 10.0  # so many leave a decision time as it is drawn, so that few reach the upper end of the item
_MIDDLE = 3.0  # of the common range of ordinal answers


class Effects:
    """Effects on the answers of one interview."""

    def __init__(self, interview: Interview) -> None:
        self.of = interview
        self.world = interview.world

    def __bool__(self) -> bool:
        """Tell whether the world has any of these effects."""
        w = self.world
        return bool(
            w.stall_distance or w.stall_unacknowledged or w.stall_item or w.budget_strongest or w.budget_median
            or w.objective or w.delay_mismatch or w.practice_time or w.practice_bottlenecks or w.practice_rework
            or w.practice_satisfaction or w.decision_layer or w.roadmap_trust or w.leadership
        )  # fmt: skip

    # ----------------------------------------------------------------------------------------------------- by kind

    def share(self, item: Item) -> Floats | float:
        """Return what is added to the probability of saying yes (n,)."""
        if self._fills(item, "stall"):
            return self._stall
        if self._fills(item, "delay") and self.world.delay_mismatch:
            return np.asarray(self.world.delay_mismatch * self.mismatch, dtype=np.float64)
        return 0.0

    def points(self, item: Item) -> Floats | float:
        """Return what is added to an ordinal answer before it is cut into points (n,)."""
        if self._fills(item, "sat"):
            lead = self.of.instrument.slot("lead") if self.world.leadership else ()
            led = np.asarray(sum(self.answer(each) for each in lead) / len(lead) - _MIDDLE) if lead else np.zeros(1)
            return np.asarray(self.world.leadership * led + self._practices("practice_satisfaction"), dtype=np.float64)
        if self._fills(item, "road_trust") and self.world.roadmap_trust:
            age = self.of.instrument.slot("road_age")
            old = self.of.told(age[0]) > STALE_DAYS if age else np.zeros(self.of.drawn.n)
            return np.asarray(self.world.roadmap_trust * old, dtype=np.float64)
        return 0.0

    def number(self, item: Item, value: Floats) -> Floats:
        """Change a number before it is rounded (n,)."""
        w = self.world
        if self._fills(item, "bud_chg") and (w.budget_strongest or w.budget_median):
            conviction = self.of.instrument.slot("conv_priv")
            if not conviction:
                return value
            by_team = self._by_team(self.answer(conviction[0])) - _MIDDLE
            return np.asarray(value + by_team @ np.array([w.budget_strongest, w.budget_median]))
        for slot, family in (
            ("t_deploy", "practice_time"), ("bott", "practice_bottlenecks"), ("rework", "practice_rework")
        ):  # fmt: skip
            if self._fills(item, slot):
                return value * np.exp(self._practices(family))
        if self._fills(item, "t_dec") and w.decision_layer:
            layers = self.of.instrument.slot("layers")
            count = self.of.told(layers[0]) if layers else np.zeros(self.of.drawn.n)
            return value * np.exp(w.decision_layer * (count - TYPICAL_LAYERS))
        if self._fills(item, "road_age"):
            return value * w.roadmap_age / 30.0
        return value

    def preference(self, member: Item) -> Floats | float:
        """Return what is added to the utility of a member of a ranking (n,)."""
        function = self.of.instrument.slot("team_fn")
        if not self.world.objective or not function or not self._fills(member, "obj_rank"):
            return 0.0
        options = [option.id for option in function[0].options]
        added = np.array([self.world.objective.get(f"{member.member}.{each}", 0.0) for each in options])
        return np.asarray(added[self.of.pick(function[0])])

    # ----------------------------------------------------------------------------------------------------- what they read

    def answer(self, item: Item) -> Floats:
        """Answer to an ordinal item, on the common range of 1 to 5 (n,), before anything is lost or contaminated."""
        place = self.of.position(item)
        return 1.0 + 4.0 * place / max(len(item.options) - 1, 1)

    def agrees(self, item: Item) -> Flags:
        """Who answers in the top two points of an item (n,)."""
        return np.asarray(self.of.position(item) >= len(item.options) - 2)

    @cached_property
    def running(self) -> tuple[Flags, Floats]:
        """Whose project is not in use yet (n,), and the weeks since its start (n,): none where `project_running` is 0."""
        deploy = self.of.instrument.slot("t_deploy")
        if not self.world.project_running or not deploy:
            return np.zeros(self.of.drawn.n, dtype=bool), np.zeros(self.of.drawn.n)
        uniform = self.of.drawn.uniform("item", deploy[0].name, "start", self.of.wave)
        begun = -self.world.project_running * np.log1p(-uniform)
        return self.of.quantity(deploy[0]) > begun, begun

    @cached_property
    def mismatch(self) -> Flags:
        """In whose organisation two project leads of different functions put different objectives first (n,)."""
        function, objectives = self.of.instrument.slot("team_fn"), self.of.instrument.slot("obj_rank")
        n = self.of.drawn.n
        if not function or not objectives:
            return np.zeros(n, dtype=bool)
        asked = self.of.asked(function[0])
        first = np.argmin([self.of.rank(member) for member in objectives], axis=0)
        return differing(self.of.drawn.org, self.of.pick(function[0]), first, asked)

    @cached_property
    def _stall(self) -> Floats:
        w, instrument, n = self.world, self.of.instrument, self.of.drawn.n
        shift = np.zeros(n)
        conf, ack = instrument.slot("conf"), instrument.slot("ack")
        if (w.stall_distance or w.stall_unacknowledged) and conf:
            beyond = distance(self.of.drawn.org, self.answer(conf[0])) - 1.0
            shift += w.stall_distance * beyond
            if w.stall_unacknowledged and ack:
                named = mean_by(self.of.drawn.org, self.answer(ack[0]))
                shift += w.stall_unacknowledged * np.where(named < _MIDDLE, np.maximum(beyond, 0.0), 0.0)
        for name, effect in w.stall_item.items():
            if name in instrument:
                shift += effect * (self.answer(instrument.item(name)) - _MIDDLE)
        return shift

    def _practices(self, family: str) -> Floats | float:
        effects = getattr(self.world, family)
        if not effects:
            return 0.0
        practices = self.of.instrument.slot("prac")
        by_practice = by_name(effects, [item.name for item in practices])
        terms = [effect * self.agrees(item) for item, effect in zip(practices, by_practice, strict=True) if effect]
        return np.asarray(np.sum(terms, axis=0), dtype=np.float64) if terms else 0.0

    def _by_team(self, answer: Floats) -> Floats:
        """Strongest and median answer of the executive's organisation (n, 2)."""
        org = self.of.drawn.org
        order = np.lexsort((answer, org))
        starts = np.flatnonzero(np.r_[True, org[order][1:] != org[order][:-1]])
        counts = np.diff(np.r_[starts, len(org)])
        ordered = answer[order]
        middle = 0.5 * (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2])
        team = np.column_stack([ordered[starts + counts - 1], middle])
        return team[np.unique(org, return_inverse=True)[1].reshape(-1)]

    def _fills(self, item: Item, slot: str) -> bool:
        return item in self.of.instrument.slot(slot)


def distance(org: Integers, answer: Floats) -> Floats:
    """Mean distance between the answers of colleagues, given to each (n,); 1 for an executive without any.

    >>> distance(np.array([0, 0, 1]), np.array([1.0, 3.0, 5.0])).tolist()
    [2.0, 2.0, 1.0]
    """
    teams, place = np.unique(org, return_inverse=True)
    place = place.reshape(-1)
    order = np.lexsort((answer, org))
    count = np.bincount(place, minlength=len(teams))
    start = np.cumsum(count) - count
    rank = np.arange(len(org)) - start[place[order]]
    total = np.bincount(
        place[order], weights=answer[order] * (2 * rank - count[place[order]] + 1), minlength=len(teams)
    )
    pairs = count * (count - 1) / 2.0
    return np.where(pairs > 0, total / np.maximum(pairs, 1.0), 1.0)[place]


def mean_by(org: Integers, answer: Floats) -> Floats:
    """Mean answer of the executive's organisation (n,)."""
    place = np.unique(org, return_inverse=True)[1].reshape(-1)
    return (np.bincount(place, weights=answer) / np.bincount(place))[place]


def differing(org: Integers, function: Integers, first: Integers, asked: Flags) -> Flags:
    """Tell in whose organisation two of those asked, of different functions, put different objectives first (n,).

    >>> org, asked = np.array([0, 0, 1, 1]), np.ones(4, dtype=bool)
    >>> differing(org, np.array([0, 1, 2, 2]), np.array([0, 3, 0, 3]), asked).tolist()
    [True, True, False, False]
    """
    place = np.unique(org, return_inverse=True)[1].reshape(-1)
    teams = int(place.max(initial=-1)) + 1
    functions, objectives = int(function.max(initial=0)) + 1, int(first.max(initial=0)) + 1
    counts = np.zeros((teams, functions, objectives))
    np.add.at(counts, (place[asked], function[asked], first[asked]), 1)
    n = counts.sum(axis=(1, 2))
    same_function, same_first = (counts.sum(axis=2) ** 2).sum(axis=1), (counts.sum(axis=1) ** 2).sum(axis=1)
    same_both = (counts**2).sum(axis=(1, 2))
    # Ordered pairs that differ in both: all, less those alike in one, plus those alike in both, taken off twice.
    return np.asarray((n**2 - same_function - same_first + same_both) > 0)[place]
