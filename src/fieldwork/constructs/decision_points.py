"""Decision points: what one team's answers say where a decision on AI comes up - budget review, scaling, governance sign-off.

Own code. Each point is read from the questions that bear on it; a question that the wave does not ask says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fieldwork.errors import listed

if TYPE_CHECKING:
    from fieldwork.constructs.team import Team
    from fieldwork.instrument import Item

__all__ = ["at_budget_review", "at_scaling", "at_sign_off", "at_stalls"]


def at_budget_review(team: Team) -> list[str]:
    """Who would release the next funding and who would not, and what is wanted in place first."""
    told = []
    item = team.slot("fund_release", "ordinal")
    if item is not None:
        above, below, _ = team.top(item)
        told.append(
            f"would release the next funding: {listed(above, limit=20) or 'nobody'}; "
            f"would not: {listed(below, limit=20) or 'nobody'}"
        )
    told += [f"wanted first: {named}" for item in _multi(team, "cond") if (named := team.named(item))]
    return told


def at_scaling(team: Team) -> list[str]:
    """Who is furthest on and who least far, in stage and in the measures of the gradient; and who can stop."""
    stage = team.instrument.keys.stage
    asked = [team.instrument.item(stage)] if stage else []
    told = [_ends(team, item) for item in [*asked, *team.tagged("adoption_gradient")]]
    told += [f"said to be able to stop an initiative: {n}" for item in _multi(team, "veto") if (n := team.named(item))]
    return [text for text in told if text]


def at_sign_off(team: Team) -> list[str]:
    """Who is named as having the last word, and who has to agree."""
    owner = team.slot("owner", "single")
    told = [f"last word on AI decisions: {team.named(owner) or 'nobody answered'}"] if owner is not None else []
    return told + [f"have to agree: {named}" for item in _multi(team, "signoff") if (named := team.named(item))]


def at_stalls(team: Team) -> list[str]:
    """How many report a stalled initiative, where it stalled, and of what."""
    told = []
    stall = team.slot("stall", "flag")
    if stall is not None:
        values = team.numbers(stall.name)
        told.append(f"report a stalled initiative: {int((values == 1).sum())} of {int(np.isfinite(values).sum())}")
    asked = [item for slot in ("stall_point", "stall_cause") if (item := team.slot(slot, "single"))]
    return told + [f"{item.label[:1].lower()}{item.label[1:]}: {n}" for item in asked if (n := team.named(item))]


def _multi(team: Team, slot: str) -> list[Item]:
    return [item for item in team.instrument.slot(slot) if item.kind == "multi"]


def _ends(team: Team, item: Item) -> str:
    values = team.numbers(item.name)
    if not np.isfinite(values).any():
        return ""
    high, low = float(np.nanmax(values)), float(np.nanmin(values))
    label = {float(option.code): option.label for option in item.options}
    if high == low:
        return f"{item.label}: all answer {label[high]}"
    named = [
        listed([who for who, value in zip(team.who, values, strict=True) if value == end], limit=20)
        for end in (high, low)
    ]
    return f"{item.label}: highest {named[0]} ({label[high]}), lowest {named[1]} ({label[low]})"
