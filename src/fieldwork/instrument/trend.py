"""What may be compared between waves: items that kept wording and answers, roles that stayed, were split or merged.

A trend is broken on purpose where a question changed: the reason is given in words, and nothing bridges it. Roles that were
split or merged are followed as the wider of the two, where the instrument says what they came from or went into.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldwork.errors import listed

if TYPE_CHECKING:
    from fieldwork.instrument.item import Item
    from fieldwork.instrument.parts import Option
    from fieldwork.instrument.questionnaire import Instrument

__all__ = ["TREND_KINDS", "FollowedRoles", "followed_roles", "trend_break", "trend_kind"]

TREND_KINDS = ("comparable", "recoded", "broken", "not_asked")


def trend_break(instruments: Sequence[Instrument], name: str) -> str:
    """Return why answers to an item are not to be compared over waves, in words; empty where they are.

    The item must have been asked in each wave with one version, wording, kind and list of answers, of the same roles and by
    the same routing; and no wave after the first may be marked `comparable = false`. A wording that differs under one version
    breaks too, and the reason says that a version is wanted. Of the item that holds the role the answers may differ: see
    `followed_roles`.

    Parameters
    ----------
    instruments : of the waves to be compared, oldest first; the first is what the others are held against.
    """
    first, *later = instruments
    if name not in first:
        return f"not asked in {first.wave}"
    item = first.item(name)
    for instrument in later:
        if name not in instrument:
            return f"not asked in {instrument.wave}"
        now = instrument.item(name)
        if not now.comparable:
            return f"not comparable from {instrument.wave} on{f': {now.note}' if now.note else ''}"
        changed = _changed(
            item, now, roles=set(first.role_ids) & set(instrument.role_ids), is_role=name == first.keys.role
        )
        if changed:
            return f"{changed} between {first.wave} and {instrument.wave}"
    return ""


def trend_kind(instruments: Sequence[Instrument], name: str) -> str:
    """Return how an item fared over waves, in one of `TREND_KINDS`.

    *comparable*: `trend_break` finds nothing. *recoded*: put in the same words of the same people in every wave, with other
    codes or labels of the answers; its answers are not compared either, and a map from old to new would be needed. *not asked*:
    some wave lacks it. *broken*: anything else.

    Parameters
    ----------
    instruments : of the waves to be compared, oldest first.
    """
    if not trend_break(instruments, name):
        return "comparable"
    if not all(name in instrument for instrument in instruments):
        return "not_asked"
    first, *later = instruments
    item = first.item(name)
    for instrument in later:
        now = instrument.item(name)
        roles = set(first.role_ids) & set(instrument.role_ids)
        same_answers = now.model_copy(update={"options": item.options})
        if not now.comparable or _changed(item, same_answers, roles=roles, is_role=name == first.keys.role):
            return "broken"
    return "recoded"


def _changed(item: Item, now: Item, *, roles: set[str], is_role: bool) -> str:
    """Say what differs between an item of two waves; empty for nothing that matters."""
    if item.version != now.version:
        return f"wording changed (version {item.version} to {now.version})"
    if item.kind != now.kind:
        return f"kind of question changed ({item.kind} to {now.kind})"
    if item.wording != now.wording:
        return "wording changed under one version, which needs a new one,"
    if not is_role and [(o.code, o.id, o.label) for o in item.options] != [
        (o.code, o.id, o.label) for o in now.options
    ]:
        return "answers offered changed"
    asked = [set(each.asked_of) & roles or roles for each in (item, now)]
    if asked[0] != asked[1] or item.asked_if != now.asked_if:
        return "people who are asked changed"
    return ""


@dataclass(frozen=True, slots=True)
class FollowedRoles:
    """Roles that can be followed through several waves.

    Attributes
    ----------
    ids : tuple of str        Ids, in the order of the last wave; a role that exists only as its parts stands last.
    into : tuple of dict      For each wave the id under which each of its roles is followed; roles left out are not.
    notes : dict              For followed roles that hold more than their name says: which others, and why.
    lost : dict               For roles that are not followed: why.
    broken : str              Why no role is followed at all; empty where roles are.
    """

    ids: tuple[str, ...]
    into: tuple[Mapping[str, str], ...]
    notes: Mapping[str, str]
    lost: Mapping[str, str]
    broken: str


def followed_roles(instruments: Sequence[Instrument]) -> FollowedRoles:
    """Return which roles can be followed through waves, and under which name.

    A role that every wave has is followed as itself. One that some wave lacks is followed as part of the role that it was
    split from (`split_from`) or went into (`merged_into`), so that the wider role is the same people throughout; without
    either it is not followed, and is named. Where the item that holds the role is not comparable, none is.

    Parameters
    ----------
    instruments : of the waves to be compared, oldest first.
    """
    last = instruments[-1]
    broken = trend_break(instruments, last.keys.role) if last.keys.role else "the survey has no roles"
    if broken:
        words = broken if not last.keys.role else f"the question on the role: {broken}"
        return FollowedRoles((), tuple({} for _ in instruments), {}, {}, words)
    offered = [{role.id: role for role in instrument.roles} for instrument in instruments]
    known: dict[str, Option] = {}
    for roles in offered:
        known |= roles
    partial = {name for name in known if not all(name in roles for roles in offered)}
    home = {name: _home(name, known, partial) for name in known}
    into = [{name: home[name] for name in roles} for roles in offered]
    throughout = {name for name in home.values() if all(name in each.values() for each in into)}
    kept = tuple({name: to for name, to in each.items() if to in throughout} for each in into)
    order = [*last.role_ids, *known]
    notes = {}
    for name in throughout:
        parts = [part for part in known if home[part] == name and part != name]
        if parts:
            notes[name] = (
                f"with {listed(known[part].label for part in parts)}, which {_past(parts, known, instruments)}"
            )
    lost = {
        name: f"{known[name].label} is not in every wave ({_span(name, offered, instruments)}), and the instrument names no "
        "role that it was part of in the others"
        for name in known
        if home[name] not in throughout
    }
    ids = tuple(name for name in dict.fromkeys([*order, *sorted(throughout)]) if name in throughout)
    return FollowedRoles(ids, kept, notes, lost, "")


def _home(name: str, known: Mapping[str, Option], partial: set[str]) -> str:
    """Follow split_from and merged_into up to a role that every wave has, or that is named by nothing wider."""
    seen = [name]
    while name in partial and name in known:
        name = known[name].split_from or known[name].merged_into
        if not name or name in seen:
            # Several parts may stand for a whole that some wave lacks; alone it stands for nothing.
            return seen[-1]
        seen.append(name)
    return name


def _past(parts: Sequence[str], known: Mapping[str, Option], instruments: Sequence[Instrument]) -> str:
    split = [part for part in parts if known[part].split_from]
    if len(split) == len(parts):
        first = next(each.wave for each in instruments if split[0] in each.role_ids)
        return f"{'were' if len(parts) > 1 else 'was'} part of it before {first}"
    return f"{'are' if len(parts) > 1 else 'is'} part of it in other waves"


def _span(name: str, offered: Sequence[Mapping[str, Option]], instruments: Sequence[Instrument]) -> str:
    return "only " + listed(each.wave for each, roles in zip(instruments, offered, strict=True) if name in roles)
