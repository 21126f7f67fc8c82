"""What was changed in the register after data were read, claim by claim, and what may still be called planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fieldwork.claims.register import Claim, Part, plain

if TYPE_CHECKING:
    from fieldwork.claims.register import Register

__all__ = ["Amendment", "Registration", "amended", "record_of"]

# Words about a claim that no verdict depends on; every other field decides.
_EDITORIAL = ("source", "reading", "awaits", "items")
_UNSTATED = {name: plain(field.default) for name, field in Claim.model_fields.items() if not field.is_required()}
_UNSTATED_PART = {
    field.alias or name: field.default for name, field in Part.model_fields.items() if not field.is_required()
}


@dataclass(frozen=True, slots=True)
class Amendment:
    """One change of a registered claim.

    Attributes
    ----------
    field : str            What changed, e.g. `margin`, or `part 'a', direction`; `register, alpha` for what all claims share.
    before, after          As registered; as it stands now; None where there was, or is, no such thing.
    decides : bool         Whether a verdict can depend on it.
    """

    field: str
    before: Any
    after: Any
    decides: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the amendment as plain values, for claims.json."""
        return {"field": self.field, "before": self.before, "after": self.after, "decides": self.decides}


def record_of(register: Register, time: str) -> dict[str, Any]:
    """Return what is recorded when a register first meets data of a wave: hash, time, and what was declared."""
    return {"hash": register.digest, "time": time, **register.content}


@dataclass(frozen=True, slots=True)
class Registration:
    """The register as it was when it first met data of the wave.

    Attributes
    ----------
    hash, time : str          SHA-256 of the file and time of the first run; empty where no run recorded them.
    claims, head : dict or None    What was declared then; None in a record that kept the hash alone.
    """

    hash: str = ""
    time: str = ""
    claims: Mapping[str, Mapping[str, Any]] | None = None
    head: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, record: Mapping[str, Any] | None) -> Registration:
        """Read the record that the first run made; an empty one, or none, is no registration."""
        record = record or {}
        return cls(str(record.get("hash", "")), str(record.get("time", "")), record.get("claims"), record.get("head"))

    def planned(self, claim: Claim) -> bool:
        """Tell whether a claim was declared, as planned, before the data were read. Writing planned = true makes none so."""
        if self.claims is None:
            return claim.planned
        before = self.claims.get(claim.id)
        return before is not None and bool(before.get("planned", True)) and claim.planned

    def amendments(self, claim: Claim, register: Register) -> list[Amendment]:
        """Return every change of a claim since it was registered, and of what it shares with others."""
        if self.claims is None or claim.id not in self.claims:
            return []
        own = amended(self.claims[claim.id], register.content["claims"][claim.id])
        return own + self._shared(claim, register)

    def withdrawn(self, register: Register) -> dict[str, Mapping[str, Any]]:
        """Return claims that were registered and stand in the register no more."""
        known = {claim.id for claim in register.claims}
        return {name: content for name, content in (self.claims or {}).items() if name not in known}

    def family(self, name: str) -> tuple[str, ...]:
        """Return the members of a family as registered; none where that was not recorded."""
        head = self.head or {}
        members: Sequence[str] = head.get("families", {}).get(name, {}).get("members", ())
        return tuple(head.get("family_primary", ()) if name == "primary" else members)

    def _shared(self, claim: Claim, register: Register) -> list[Amendment]:
        before, after = self.head or {}, register.content["head"]
        found = []
        if before and before.get("alpha", 0.05) != after["alpha"]:
            found.append(Amendment("register, alpha", before.get("alpha", 0.05), after["alpha"], decides=True))
        was, now = self.family(claim.family), register.families.get(claim.family)
        if before and now is not None and set(was) != set(now.members):
            found.append(Amendment(f"register, {claim.family} family", list(was), list(now.members), decides=True))
        return found


def amended(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Amendment]:
    """Compare a claim as registered with the claim as it stands, field by field; parts are matched by their labels.

    A field that is left out means its default, so writing a default down, or leaving it out, amends nothing.

    >>> [a.as_dict() for a in amended({"id": "H1", "text": "A.", "source": "", "margin": 0.5},
    ...                               {"id": "H1", "text": "A.", "source": "", "margin": 0.2, "direction": "above"})]
    [{'field': 'margin', 'before': 0.5, 'after': 0.2, 'decides': True}]
    """
    old, new = {**_UNSTATED, **before}, {**_UNSTATED, **after}
    found = [
        Amendment(name, old.get(name), new.get(name), decides=name not in _EDITORIAL)
        for name in dict.fromkeys([*old, *new])
        if name != "parts" and old.get(name) != new.get(name)
    ]
    parts = [{str(part["label"]): {**_UNSTATED_PART, **part} for part in side["parts"] or ()} for side in (old, new)]
    for label in dict.fromkeys([*parts[0], *parts[1]]):
        was, now = parts[0].get(label), parts[1].get(label)
        if was is None or now is None:
            found.append(Amendment(f"part '{label}'", was, now, decides=True))
            continue
        found += [
            Amendment(f"part '{label}', {name}", was.get(name), now.get(name), decides=True)
            for name in dict.fromkeys([*was, *now])
            if was.get(name) != now.get(name)
        ]
    return found
