"""Pairs of answers: what two at a time tell of three at a time.

With the shares of three answers and of their three pairs, the eight groups that the answers divide people into hang on one
number, how many gave all three. Where every pair divides people into groups of ten or more, its bounds (Fréchet 1940, for
margins of two) can still be close: who gave all three and who gave none are then known to be few together. Own code, as the
rest of the gate.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["PAIR", "pairs_that_tell"]

PAIR, SINGLE = "cited_together", "prevalence"
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def pairs_that_tell(out: pd.DataFrame, hits: Floats, held: Flags, least: float) -> Flags:
    """Return which pairs (rows,) to hold back so that no group of three answers is known to within `least` people.

    Of each three answers whose pairs are shown, how many gave all three lies between Fréchet's bounds; of two pairs of one
    answer, among those who gave it. All groups move with that number: where its bounds are less than `least` apart, the pair
    of the fewest people goes. The shares of single answers are taken to be known even where they are held.

    Parameters
    ----------
    out : columns of `schema.ESTIMATES`. hits : (rows,) respondents who gave the answers. held : (rows,) held already.
    """
    gone = np.zeros(len(out), dtype=bool)
    of_all = ((out["role"] == "") & (out["stage"] == "") & (out["segment"] == "")).to_numpy(dtype=bool)
    assessed = (out["status"] != "not_assessable").to_numpy(dtype=bool)
    statistic = out["statistic"].to_numpy(dtype=object)
    for _, table in out[of_all & assessed & np.isin(statistic, [PAIR, SINGLE])].groupby(
        ["construct", "measure"], sort=False
    ):
        places = dict(zip(zip(table["statistic"], table["item"], strict=True), table.index, strict=True))
        single = {item: float(hits[place]) for (what, item), place in places.items() if what == SINGLE}
        pairs = {frozenset(item.split("+")): place for (what, item), place in places.items() if what == PAIR}
        bases = out.loc[list(pairs.values()), "n"].astype(float)
        shown = {pair: place for pair, place in pairs.items() if not held[place] and pair <= set(single)}
        if len(shown) > 1:
            for place in _needed(single, shown, hits, float(bases.max()), least):
                gone[place] = True
    return gone


def _needed(
    single: Mapping[str, float], shown: dict[frozenset[str], int], hits: Floats, n: float, least: float
) -> list[int]:
    gone: list[int] = []
    while True:
        close = [
            near
            for three in itertools.combinations(sorted(set().union(*shown)) if shown else [], 3)
            for near in [[pair for pair in map(frozenset, itertools.combinations(three, 2)) if pair in shown]]
            if len(near) > 1 and _width(three, {pair: float(hits[shown[pair]]) for pair in near}, single, n) < least
        ]
        if not close:
            return gone
        pair = min(close[0], key=lambda each: (hits[shown[each]], sorted(each)))
        gone.append(shown.pop(pair))


def _width(
    three: tuple[str, ...], pairs: Mapping[frozenset[str], float], single: Mapping[str, float], n: float
) -> float:
    """Return how far apart the bounds are of how many gave all three answers.

    >>> pairs = {frozenset("ab"): 30.0, frozenset("ac"): 30.0, frozenset("bc"): 30.0}
    >>> _width(("a", "b", "c"), pairs, {"a": 50.0, "b": 50.0, "c": 50.0}, 200.0)
    20.0
    """
    low, high = 0.0, min(pairs.values())
    for one, two in itertools.combinations(pairs, 2):
        (common,) = one & two
        low = max(low, pairs[one] + pairs[two] - single[common])
    if len(pairs) == 3:
        high = min(high, n - sum(single[each] for each in three) + sum(pairs.values()))
    return high - low
