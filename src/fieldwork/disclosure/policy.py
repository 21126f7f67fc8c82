"""Thresholds of the gate, each with the standard it comes from; a study may tighten them and never loosen them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fieldwork.errors import StudyError, listed

__all__ = ["Policy"]

_LARGEST = (
    "largest_organisation",
    "two_largest_organisations",
    "largest_weight",
)  # thresholds that are tightened by lowering them


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
    largest_weight : float             Weight of one respondent, over the median of the cell, in a cell of fewer than three
                                       times the minimum (3): a small mean must not be one person's view. In larger cells the
                                       cap on weights leaves one respondent too little to be read from a mean.

    What other bodies write as an inequality ("<5%", ">95%") is held back here whole: in a group of ten it says as much as the
    number. Coefficients of models have no threshold of their own: rows made of cells, and predicted cell means, fall under
    that of the cells.

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
    largest_weight: float = 3.0

    @property
    def small(self) -> int:
        """Base below which nobody may be said to answer as all others do, nor weigh much: three times the minimum."""
        return 3 * self.minimum_respondents

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
        expected=f"a number above 0 and of at most {largest:.4g}",
        got=repr(value),
        hint=f"set {name} = {largest:.4g} or lower",
    )
