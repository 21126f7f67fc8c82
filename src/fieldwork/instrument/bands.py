"""Bands of an ordered scale: neighbouring points that are published together where single ones would be a few people.

Recoding by a rule set before the answers are seen: Hundepool et al. (2012), Statistical Disclosure Control, ch. 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldwork.instrument.item import Item

__all__ = ["Band", "bands"]


@dataclass(frozen=True, slots=True)
class Band:
    """Neighbouring points of a scale taken together.

    Attributes
    ----------
    name : str                  Ids of its options joined by `+`, as `item` of the estimates has it.
    places : tuple of int       Their places among the options in order of code.
    """

    name: str
    places: tuple[int, ...]


def bands(item: Item) -> tuple[Band, ...]:
    """Return the bands of an ordered scale: the top two points, up to two at the bottom, and what lies between them.

    Of K points the top box is the last two, as in `ready_share`, the bottom box the first min(2, K - 2), the middle the K - 4
    that are left, where there are any. A scale of two points has no bands: its points are taken one by one. The rule knows the
    scale alone, never the answers.

    >>> from fieldwork.instrument.item import Item
    >>> points = tuple({"code": k, "id": str(k), "label": f"point {k}"} for k in range(1, 6))
    >>> [band.name for band in bands(Item(name="conf", kind="ordinal", label="Confidence", options=points))]
    ['1+2', '3', '4+5']
    """
    ids = [option.id for option in sorted(item.options, key=lambda option: option.code)]
    K = len(ids)
    bottom = min(2, K - 2)
    cuts = [(0, bottom), (bottom, K - 2), (K - 2, K)] if K > 2 else [(place, place + 1) for place in range(K)]
    return tuple(Band("+".join(ids[low:high]), tuple(range(low, high))) for low, high in cuts if high > low)
