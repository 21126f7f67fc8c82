"""Thresholds of the gate, each with the standard it comes from; a study may tighten them and never loosen them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fieldwork.errors import StudyError, listed

__all__ = ["Policy"]

_LARGEST = ("largest_organisation", "two_largest_organisations")  # thresholds that are tightened by lowering them


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds of the gate. A study may tighten them, never loosen.

    Attributes
    ----------
    minimum_respondents : int          Respondents that a published cell must have (ONS and UK LLC: 10).
    minimum_organisations : int        Organisations that it must have (respondents cluster in organisations: 5).
    minimum_of_share : int             People on either side of a share (3% of 34 is one person: 3).
    largest_organisation : float       Share of a cell's weight that one organisation may carry: the (n, k) rule with n = 1
                                       (Eurostat handbook on disclosure control; 1/3).
    two_largest_organisations : float  The same for two organisations, n = 2 (1/2).
    p_percent : int                    What all organisations but the two largest must carry, in per cent of the largest: the
                                       p% rule, which says how well the second could work out the first (10).
    smallest_difference : int          People by which two published sets must differ, or not at all: nested segments, and
                                       releases of one wave (10).

    >>> Policy().minimum_respondents
    10
    """

    minimum_respondents: int = 10
    minimum_organisations: int = 5
    minimum_of_share: int = 3
    largest_organisation: float = 1 / 3
    two_largest_organisations: float = 0.5
    p_percent: int = 10
    smallest_difference: int = 10

    @classmethod
    def from_study(cls, thresholds: Mapping[str, object]) -> Policy:
        """Read the thresholds of study.toml; StudyError on an unknown one or one that loosens the gate.

        >>> Policy.from_study({"minimum_respondents": 15}).minimum_respondents
        15
        """
        floor = cls()
        known = {entry.name: getattr(floor, entry.name) for entry in fields(cls)}
        for name, value in thresholds.items():
            if name not in known:
                raise StudyError(
                    f"[disclosure] has no threshold '{name}'",
                    where="study.toml, [disclosure]",
                    expected=listed(known),
                    got=name,
                    hint="remove the line or correct the name",
                )
            if name in _LARGEST:
                _refuse_looser_share(name, value, known[name])
            elif not isinstance(value, int) or isinstance(value, bool) or value < known[name]:
                raise StudyError(
                    f"the gate may be tightened, not loosened: {name}",
                    where="study.toml, [disclosure]",
                    expected=f"a whole number of at least {known[name]}",
                    got=repr(value),
                    hint=f"set {name} = {known[name]} or higher",
                )
        checked: dict[str, Any] = dict(thresholds)
        return cls(**checked)


def _refuse_looser_share(name: str, value: object, largest: float) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= largest:
        return
    raise StudyError(
        f"the gate may be tightened, not loosened: {name}",
        where="study.toml, [disclosure]",
        expected=f"a share above 0 and of at most {largest:.4g}",
        got=repr(value),
        hint=f"set {name} = {largest:.4g} or lower",
    )
