"""Worlds: what is true of the executives before anyone is asked, as data.

A world is a frozen record of numbers. Effects are named by role (`CTO`) or by item and role (`prep.CTO`); in a survey
that has none of the named roles they are handed out by position, so that every world works with every instrument.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fieldwork.errors import UsageError, listed, nearest

__all__ = ["Parameter", "World", "describe", "worlds"]


def _number(default: float, meaning: str, low: float = -10.0, high: float = 10.0) -> float:
    number: float = field(default=default, metadata={"meaning": meaning, "low": low, "high": high})
    return number


def _effects(meaning: str, low: float = -10.0, high: float = 10.0) -> Mapping[str, float]:
    effects: Mapping[str, float] = field(default_factory=dict, metadata={"meaning": meaning, "low": low, "high": high})
    return effects


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number of a world that `--set` can change.

    Attributes
    ----------
    name : str        As `--set` takes it; a family of effects by role reads `role_effect.ROLE`.
    value : str       Its value in the world.
    meaning : str     What it does, with its unit.
    """

    name: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class World:
    """A population of organisations and executives whose every expectation is known.

    The answer of an executive of role r and stage s to a five-point item is a normal variable, in scale points, cut at
    1.5, 2.5, 3.5 and 4.5: level + role effect + stage effect + role slope x stage + size + sector + maturity +
    organisation + person + acquiescence + residual. Executives of the extreme class see the cut-points drawn together
    around the middle. Scales of other lengths are cut at equal steps over the same range.

    Attributes
    ----------
    name : str                               What `--world` takes.
    title : str                              The world in one sentence.
    every other field                        Described by `World.parameters`, which `fieldwork simulate --list` prints.

    >>> worlds()["null"].role_effect
    {}
    """

    name: str
    title: str

    level: float = _number(3.1, "mean of a five-point item before any effect, in points", 1.0, 5.0)
    item_level: Mapping[str, float] = _effects("mean of one item before any effect, in points, by item", 1.0, 5.0)
    role_effect: Mapping[str, float] = _effects("what a role adds to the measures, in points, by role or item.role")
    role_scale: float = _number(1.0, "multiplies every role effect", 0.0)
    role_slope: Mapping[str, float] = _effects(
        "what a role adds between first and last stage beyond the stage effect, in points, by role or item.role"
    )
    stage_effect: float = _number(0.0, "rise of the measures from the first stage to the last, in points")
    other_loading: float = _number(
        0.0, "share of role and stage effects that reaches items that are no measure", 0.0, 1.0
    )
    size_effect: float = _number(0.0, "rise of the measures from the smallest to the largest size band, in points")
    sector_sd: float = _number(0.15, "standard deviation of the sectors' effects, in points", 0.0)
    maturity_loading: float = _number(0.0, "points that one unit of the organisation's maturity adds to the measures")
    organisation_sd: float = _number(0.35, "standard deviation between organisations, in points", 0.0)
    organisation_shared: float = _number(0.5, "share of the organisations' variance common to all items", 0.0, 1.0)
    person_sd: float = _number(0.45, "standard deviation between persons common to all items, in points", 0.0)
    acquiescence_sd: float = _number(0.2, "standard deviation of saying yes whatever is asked, in points", 0.0)
    residual_sd: float = _number(0.85, "standard deviation of the residual of an answer, in points", 0.05)
    extreme_share: float = _number(0.15, "share of executives who prefer the ends of a scale", 0.0, 1.0)
    extreme_contraction: float = _number(0.7, "factor by which their cut-points are drawn together", 0.05, 1.0)

    maturity_sd: float = _number(0.6, "standard deviation of the organisations' maturity, in units of stage noise", 0.0)
    stage_noise_sd: float = _number(0.8, "standard deviation of an executive's stage around the organisation's", 0.05)
    stage_persistence: float = _number(0.7, "correlation of that noise between waves of the panel", 0.0, 1.0)
    stage_level: float = _number(-0.1, "mean of the latent stage; 0 makes the stages equally common")
    role_stage: Mapping[str, float] = _effects("how far a role's function is ahead in stage, by role")
    confounding: float = _number(1.0, "multiplies every role's lead in stage", 0.0)
    size_stage: float = _number(0.0, "lead in stage of the largest size band over the smallest")
    organisation_noise_sd: float = _number(
        0.5, "standard deviation of a person's reading of the organisation's stage", 0.05
    )

    size_decay: float = _number(0.8, "each size band is this many times as common as the one below", 0.05, 5.0)
    sector_decay: float = _number(0.9, "each sector is this many times as common as the one before", 0.05, 5.0)
    exists_small: Mapping[str, float] = _effects(
        "share of the smallest organisations that have the role, by role", 0.0, 1.0
    )
    exists_large: Mapping[str, float] = _effects(
        "share of the largest organisations that have the role, by role", 0.0, 1.0
    )
    exists_first: float = _number(0.75, "the same for roles not named, smallest organisations", 0.0, 1.0)
    exists_last: float = _number(0.95, "the same for roles not named, largest organisations", 0.0, 1.0)
    response_rate: float = _number(0.63, "share of executives who answer, before role and size", 0.0, 1.0)
    response_role: Mapping[str, float] = _effects("factor on a role's response, by role", 0.0, 5.0)
    response_size: float = _number(
        0.9, "factor on the response of the largest size band against the smallest", 0.05, 5.0
    )
    retention: float = _number(0.85, "share of respondents who answer each further wave", 0.0, 1.0)
    refreshment: float = _number(
        0.0,
        "share of organisations that new ones replace in each further wave: 0 a panel, 1 a repeated cross-section",
        0.0,
        1.0,
    )
    role_drift: float = _number(0.0, "growth of role effects per wave, as a share", -1.0)
    lead_drift: float = _number(0.0, "growth of roles' leads in stage per wave, as a share", -1.0)
    maturity_drift: float = _number(0.0, "rise of the latent stage per wave")
    role_phase: float = _number(
        0.0, "how much more role effects count at the middle stage than at the ends, as a share", -2.0, 2.0
    )
    without_practice: float = _number(
        0.0, "share of organisations without alignment work, all of whose executives say so; 0: nobody tells", 0.0, 1.0
    )
    practice_drift: float = _number(
        0.0, "what alignment work adds to the growth of role effects per wave, as a share", -1.0, 1.0
    )
    residual_drift: Mapping[str, float] = _effects(
        "growth of the residual of an item that is no measure per wave, as a share, by item", -1.0, 1.0
    )

    item_missing: float = _number(0.03, "share of answers missing, at random", 0.0, 1.0)
    speeders: float = _number(0.015, "share who rush through with random answers", 0.0, 1.0)
    straight_liners: float = _number(0.015, "share who give one answer to a whole battery", 0.0, 1.0)
    faulty_rows: float = _number(0.0, "rows with a fault added to each delivery", 0.0, 1000.0)
    inattentive: float = _number(0.005, "share who miss the attention check", 0.0, 1.0)
    optional_share: float = _number(0.25, "share who are given the optional modules", 0.0, 1.0)
    duplicates: float = _number(0.0, "share of respondents delivered a second time", 0.0, 1.0)

    blocker_base: float = _number(0.22, "share of executives who cite a blocker that is not their role's own", 0.0, 1.0)
    blocker_own: Mapping[str, float] = _effects("share who cite it, by blocker.role", 0.0, 1.0)
    blocker_scale: float = _number(1.0, "0 makes every role cite alike, 1 as named", 0.0, 1.0)
    citing_shared: float = _number(
        0.1, "share of the variance of the leaning to tick an option that colleagues have in common", 0.0, 0.85
    )
    influence: Mapping[str, float] = _effects(
        "influence of a role over AI decisions, in points above the mean, by role"
    )
    stall_interaction: float = _number(
        0.0,
        "log odds of a stalled initiative per point that an influential role stands apart, times points of its influence",
    )
    gatekeeper: Mapping[str, float] = _effects("share who say the role can stop an AI decision, by role", 0.0, 1.0)
    validator: Mapping[str, float] = _effects("share who say the role signs off, by role", 0.0, 1.0)
    owner: Mapping[str, float] = _effects(
        "weight with which a role is named as owner of AI decisions, by role", 0.0, 100.0
    )
    own_claim: float = _number(0.0, "added probability of naming one's own role as owner", 0.0, 1.0)
    priority: Mapping[str, float] = _effects("how much a role prefers an aim, by option.role")
    choice: Mapping[str, float] = _effects(
        "weight of an answer against 1, or share of yes, by item.option or item", 0.0, 100.0
    )
    condition_base: float = _number(
        0.2, "share of executives who name a condition that is not their role's own", 0.0, 1.0
    )
    condition_own: Mapping[str, float] = _effects("share who name it, by condition.role", 0.0, 1.0)
    projection: float = _number(0.6, "share of one's own answer in the guess at another role's", 0.0, 1.0)
    compliance: float = _number(
        0.0, "points that a standard deviation of the organisation's escalation adds to the support that is stated"
    )

    stall_distance: float = _number(
        0.0,
        "what a point between colleagues' confidence adds to the share who report a stall, about one point",
        -1.0,
        1.0,
    )
    stall_unacknowledged: float = _number(
        0.0, "the same beyond one point where disagreement is seldom named openly, on top of it", -1.0, 1.0
    )
    stall_item: Mapping[str, float] = _effects(
        "what a point of an item adds to the share who report a stall, about its middle, by item", -1.0, 1.0
    )
    budget_strongest: float = _number(
        0.0,
        "per cent that a point of the strongest conviction in an organisation adds to its budget change",
        -100.0,
        100.0,
    )
    budget_median: float = _number(0.0, "the same of the median conviction", -100.0, 100.0)
    objective: Mapping[str, float] = _effects("how much a function prefers an objective, by objective.function")
    delay_mismatch: float = _number(
        0.0, "what differing first objectives of an organisation's functions add to the share of delays", -1.0, 1.0
    )
    project_running: float = _number(
        0.0, "mean weeks since the start of a project, which is not in use yet before its time; 0: all are", 0.0, 520.0
    )
    practice_time: Mapping[str, float] = _effects(
        "log ratio of the time to deploy where a practice is agreed with, by item", -3.0, 3.0
    )
    practice_bottlenecks: Mapping[str, float] = _effects("the same of the number of bottlenecks, by item", -3.0, 3.0)
    practice_rework: Mapping[str, float] = _effects("the same of the share of rework, by item", -3.0, 3.0)
    practice_satisfaction: Mapping[str, float] = _effects(
        "points of satisfaction that a practice adds where it is agreed with, by item"
    )
    decision_layer: float = _number(0.0, "log ratio of the decision time per layer of approval", -1.0, 1.0)
    roadmap_age: float = _number(30.0, "mean age of a roadmap in days", 1.0, 500.0)
    roadmap_trust: float = _number(0.0, "points that trust in a roadmap changes beyond 90 days of age")
    leadership: float = _number(0.0, "points of satisfaction that a point of leadership adds")

    naive_role: str = "CTO"
    naive_stage: str = "scaled"
    naive_role_2: str = "CMO"
    naive_stage_2: str = "experimenting"

    @property
    def moves_stalled_share(self) -> bool:
        """Whether anything adds points to the share who report a stall."""
        return bool(self.stall_distance or self.stall_unacknowledged or self.stall_item)

    def with_settings(self, settings: Mapping[str, str | float]) -> World:
        """Return the world with some parameters changed, as `--set NAME=VALUE` does.

        Raises UsageError for a name that no parameter has, or a value outside the parameter's range.

        >>> worlds()["null"].with_settings({"role_effect.CTO": "0.8", "speeders": 0.0}).role_effect
        {'CTO': 0.8}
        """
        world = self
        for name, value in settings.items():
            world = _changed(world, name, value)
        return world

    def parameters(self) -> tuple[Parameter, ...]:
        """Return every number that `with_settings` can change, with its value here and its meaning."""
        rows: list[Parameter] = []
        for entry in dataclasses.fields(self):
            if "meaning" not in entry.metadata:
                continue
            value, meaning = getattr(self, entry.name), str(entry.metadata["meaning"])
            if isinstance(value, Mapping):
                name = f"{entry.name}.{re.sub(r'.*, by ', '', meaning).split(' or ')[0].upper()}"
                text = ", ".join(f"{key} {number:g}" for key, number in value.items()) or "none"
                rows.append(Parameter(name, text, meaning))
            else:
                rows.append(Parameter(entry.name, f"{value:g}", meaning))
        return tuple(rows)


def _changed(world: World, name: str, value: str | float) -> World:
    family, _, key = name.partition(".")
    fields = {entry.name: entry for entry in dataclasses.fields(World) if "meaning" in entry.metadata}
    entry = fields.get(family)
    keyed = entry is not None and isinstance(getattr(world, family), Mapping)
    if entry is None or keyed != bool(key):
        words = {parameter.name for parameter in world.parameters()}
        like = nearest(name, words) or nearest(family, fields)
        raise UsageError(
            f"the world {world.name} has no parameter {name!r}",
            where=f"--set {name}={value}",
            expected=listed(sorted(words), limit=60),
            got=repr(name),
            hint=f"did you mean {like}?" if like else "`fieldwork simulate --list` describes every parameter",
        )
    low, high = float(entry.metadata["low"]), float(entry.metadata["high"])
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise UsageError(
            f"the value of {name} is out of its range",
            where=f"--set {name}={value}",
            expected=f"a number from {low:g} to {high:g}: {entry.metadata['meaning']}",
            got=repr(value),
            hint="`fieldwork simulate --list` shows the value that the world has",
        )
    changed: float | dict[str, float] = {**getattr(world, family), key: number} if keyed else number
    return dataclasses.replace(world, **{family: changed})  # type: ignore[arg-type]


def by_name(
    effects: Mapping[str, float], names: Sequence[str], *, item: str = "", default: float | Sequence[float] = 0.0
) -> NDArray[np.float64]:
    """Return one effect per name: `item.name` where given, else `name`, else the default.

    Where an effect is named for none of the names, the values are spread over the positions, highest first, so that a
    survey of other roles still has effects of the same size.

    >>> by_name({"CTO": 1.0, "prep.CTO": 0.5, "CMO": -1.0}, ["CTO", "CMO", "COO"], item="prep").tolist()
    [0.5, -1.0, 0.0]
    >>> by_name({"CTO": 1.0, "CMO": -1.0}, ["editor", "reporter", "photographer"]).tolist()
    [1.0, 0.0, -1.0]
    """
    fallback = np.broadcast_to(np.asarray(default, dtype=float), (len(names),))
    plain = {key: value for key, value in effects.items() if "." not in key}
    if plain and not set(plain) & set(names):
        return np.quantile(list(plain.values()), np.linspace(1, 0, len(names)))
    return np.array(
        [
            effects.get(f"{item}.{name}", effects.get(name, standard))
            for name, standard in zip(names, fallback, strict=True)
        ]
    )


_EXISTS_SMALL = {
    "CEO": 1.0, "CFO": 0.95, "COO": 0.75, "CIO": 0.65, "CTO": 0.8,
    "CDAO": 0.3, "CISO": 0.45, "CMO": 0.8, "CHRO": 0.8, "GC": 0.55,
}  # fmt: skip
_EXISTS_LARGE = {
    "CEO": 1.0, "CFO": 1.0, "COO": 0.95, "CIO": 0.95, "CTO": 0.95,
    "CDAO": 0.8, "CISO": 0.95, "CMO": 0.95, "CHRO": 1.0, "GC": 0.95,
}  # fmt: skip
_RESPONSE = {
    "CEO": 0.75, "CFO": 0.9, "COO": 1.0, "CIO": 1.15, "CTO": 1.15,
    "CDAO": 1.2, "CISO": 1.1, "CMO": 1.0, "CHRO": 1.05, "GC": 0.85,
}  # fmt: skip
_ROLE_STAGE = {
    "CEO": 0.0, "CFO": -0.2, "COO": 0.0, "CIO": 0.4, "CTO": 0.55,
    "CDAO": 0.45, "CISO": -0.05, "CMO": -0.35, "CHRO": -0.4, "GC": -0.45,
}  # fmt: skip
_BLOCKER_OWN = {
    "roi.CEO": 0.55, "roi.CMO": 0.58, "roi.CFO": 0.34,
    "integr.CTO": 0.62, "integr.CIO": 0.36, "secur.CTO": 0.52, "secur.CISO": 0.34,
    "evid_cap.CFO": 0.60, "evid_cap.CEO": 0.28,
    "work_ready.CHRO": 0.62, "work_ready.COO": 0.3,
    "reg.GC": 0.64, "liab.GC": 0.56, "liab.CISO": 0.28,
}  # fmt: skip
_ROLES = tuple(_EXISTS_SMALL)
# Some of every role ask for all conditions at once: an answer that none of a role gives could not be published.
_ALL_CONDITIONS = {f"all.{role}": 0.1 for role in _ROLES}
_CHOICE = {
    "mode.web": 12.0, "lang.en": 8.0, "source.panel": 3.0, "role_verified": 0.92, "dual_role": 0.08, "stall": 0.45,
    "consent_org": 0.93,
}  # fmt: skip


def _essays_picture() -> World:
    return World(
        name="role_divergence",
        title="The essays' picture: the CTO ahead and scaled, the CMO experimenting and low, the CFO cautious; "
        "roles differ more than stages.",
        item_level={"conf": 3.2, "prep": 2.95, "sup_pub": 3.7, "align_self": 3.5, "clar_self": 3.9, "clar_oth": 2.9},
        role_effect={
            "CEO": 0.25, "CFO": -0.5, "COO": -0.05, "CIO": 0.5, "CTO": 0.9,
            "CDAO": 0.65, "CISO": -0.3, "CMO": -0.75, "CHRO": -0.35, "GC": -0.55,
            "prep.CEO": 0.05, "prep.CISO": -0.1, "prep.CHRO": -0.55, "prep.CFO": -0.35,
            "fund_release.CFO": -0.9,
        },
        role_slope={"CTO": 0.5, "CMO": -0.2},
        stage_effect=0.2,
        maturity_loading=0.1,
        other_loading=0.6,
        size_effect=0.1,
        size_stage=0.3,
        role_stage=_ROLE_STAGE,
        exists_small=_EXISTS_SMALL,
        exists_large=_EXISTS_LARGE,
        response_role=_RESPONSE,
        blocker_own=_BLOCKER_OWN,
        influence={"CEO": 1.1, "CFO": 0.7, "CTO": 0.5, "CIO": 0.2, "GC": -0.1, "CISO": -0.2, "CMO": -0.6, "CHRO": -0.7},
        stall_interaction=0.4,
        gatekeeper={"CFO": 0.5, "GC": 0.45, "CISO": 0.4, "CEO": 0.6},
        validator={"CEO": 0.55, "CFO": 0.5, "GC": 0.35, "CISO": 0.3},
        owner={"CTO": 3.0, "CIO": 2.0, "CEO": 2.0, "CDAO": 2.0},
        own_claim=0.2,
        compliance=1.0,
        condition_own=_ALL_CONDITIONS | {
            "integr.CFO": 0.55, "roi.CFO": 0.6, "gov.GC": 0.6, "reg.GC": 0.4, "work_ready.CHRO": 0.5, "secur.CISO": 0.5,
            "all.CEO": 0.35,
        },
        priority={
            "pri_1.CFO": 1.0, "pri_1.COO": 0.7, "pri_2.CEO": 0.8, "pri_2.CMO": 0.6, "pri_3.CMO": 0.9, "pri_4.CTO": 0.6,
            "pri_4.CDAO": 0.6, "pri_5.GC": 1.1, "pri_5.CISO": 1.0, "pri_5.CFO": 0.4, "pri_6.CTO": 0.7,
            "pri_7.CHRO": 1.1,
        },
        choice=_CHOICE | {"stall_cause.disagreement": 2.5, "stall_point.budget": 2.0, "stall_point.scaling": 2.0},
        # Later waves: roles part where nobody works on alignment, and use becomes steadier.
        role_drift=0.35,
        without_practice=0.5,
        practice_drift=-0.35,
        residual_drift={"use_stab": -0.15},
        stall_distance=0.25,
        stall_unacknowledged=0.2,
        budget_strongest=8.0,
        objective={
            "accuracy.data_science": 1.2, "latency_scale.engineering": 1.2, "roi_speed.finance": 1.4,
            "market_speed.product": 1.2,
        },
        delay_mismatch=0.2,
        project_running=40.0,
        practice_time={"prac_1": -0.35, "prac_3": -0.3, "prac_4": -0.1},
        practice_bottlenecks={"prac_1": -0.35, "prac_2": -0.5, "prac_5": -0.1},
        practice_rework={"prac_1": -0.2, "prac_4": -0.3},
        practice_satisfaction={"prac_1": 0.4, "prac_2": 0.3, "prac_5": 0.2},
        decision_layer=0.3,
        roadmap_age=70.0,
        roadmap_trust=-1.0,
        leadership=0.6,
    )  # fmt: skip


def worlds() -> dict[str, World]:
    """Return the worlds by name, each a `World` that `with_settings` can bend.

    >>> list(worlds())
    ['role_divergence', 'null', 'stage_only', 'role_only', 'confounded', 'no_change', 'converging', 'diverging']
    """
    picture = _essays_picture()
    effects = {key: value for key, value in picture.role_effect.items() if "." not in key}
    null = World(
        name="null",
        title="Neither role nor stage has any effect on any answer, and roles are at the same stages.",
        exists_small=_EXISTS_SMALL,
        exists_large=_EXISTS_LARGE,
        response_role=_RESPONSE,
        condition_own=_ALL_CONDITIONS,
        choice=_CHOICE,
    )
    stage_only = dataclasses.replace(
        null,
        name="stage_only",
        title="Answers differ by stage and by nothing else; roles are at the same stages.",
        stage_effect=1.2,
        other_loading=0.6,
    )
    role_only = dataclasses.replace(
        null,
        name="role_only",
        title="Answers differ by role and by nothing else; roles are at the same stages.",
        role_effect=effects,
        other_loading=0.6,
    )
    confounded = dataclasses.replace(
        stage_only,
        name="confounded",
        title="Answers differ by stage only, but roles are at different stages, so that roles seem to differ.",
        role_stage={role: 2.0 * lead for role, lead in _ROLE_STAGE.items()},
    )
    no_change = dataclasses.replace(
        role_only,
        name="no_change",
        title="Roles differ in answers and in stage, alike in every wave: whatever seems to move is noise.",
        role_stage=_ROLE_STAGE,
        without_practice=0.5,
    )
    converging = dataclasses.replace(
        no_change,
        name="converging",
        title="Roles draw together: what sets them apart shrinks by a quarter from wave to wave.",
        role_drift=-0.25,
        lead_drift=-0.25,
    )
    diverging = dataclasses.replace(
        no_change,
        name="diverging",
        title="Roles part by a quarter from wave to wave where nobody works on alignment; where somebody does, they stay.",
        role_drift=0.25,
        lead_drift=0.25,
        practice_drift=-0.25,
    )
    known = (picture, null, stage_only, role_only, confounded, no_change, converging, diverging)
    return {world.name: world for world in known}


def describe(world: World | None = None) -> str:
    """Return the worlds, or one world with every parameter, as the text of `fieldwork simulate --list`.

    >>> print(describe().splitlines()[1])
    null             Neither role nor stage has any effect on any answer, and roles are at the same stages.
    """
    if world is None:
        known = worlds()
        width = max(map(len, known))
        listing = "\n".join(f"{name:<{width}}  {entry.title}" for name, entry in known.items())
        return f"{listing}\n\nParameters (--set NAME=VALUE), as in role_divergence:\n{_table(known['role_divergence'])}"
    return f"{world.name}: {world.title}\n{_table(world)}"


def _table(world: World) -> str:
    rows = world.parameters()
    width = max(len(row.name) for row in rows)
    return "\n".join(f"  {row.name:<{width}}  {row.meaning}  [{row.value}]" for row in rows)
