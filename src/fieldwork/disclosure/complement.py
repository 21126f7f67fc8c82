"""Complementary suppression: what else must be held back so that nobody can work out, from the margins, what was.

Own code: no maintained permissive library protects a table of means with margins; the bounds come from scipy's `linprog`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linprog

from fieldwork.schema import tuples_of

__all__ = ["ALIASES", "ELSEWHERE", "FUNCTIONS", "SUMS", "Lines", "curved", "feasible", "lines_of", "protect"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# One quantity under three names: the mean of a role, of a stage and of all are margins of the same table.
ALIASES = {"stage_mean": "role_mean", "mean": "role_mean"}
# Rows that sum over all answers of a question: beside all shares but one they give that one away.
SUMS = ("mean_cited", "location_quotient", "role_effective_number")
# Rows that speak of all roles but the one that they name.
ELSEWHERE = ("prevalence_max_other",)
# Rows that are functions of all means of an axis at once: with all means but one they give that one, or a few choices of it.
_CURVES = {
    "role": (
        "range_raw", "range_shrunken", "role_sd_corrected", "role_mean_shrunken", "range_difference", "gradient_ratio_log"
    ),
    "stage": (
        "stage_range_raw", "stage_range_shrunken", "stage_sd_corrected", "range_difference", "gradient_ratio_log"
    ),
}  # fmt: skip
# Rows that tell another one in other words, in whichever construct: a mean by its two bounds, a share of wins by strengths.
_TWINS = {"role_mean_bounds": ("role_mean",), "precedence_strength": ("precedence",)}
# Rows that speak of many cells at once: held back, they take nothing along.
FUNCTIONS = frozenset((*(name for names in _CURVES.values() for name in names), *_TWINS))
_UNITS = ("scale_point", "proportion")
_FEW = 10  # people of a whole whom no segment holds, and about whom nothing else is known
_COUNTS = ("mean_cited",)  # means that are in neither unit


@dataclass(frozen=True, slots=True)
class Lines:
    """The additive relations of one published table: each margin is the sum of its cells.

    Attributes
    ----------
    cells : (C,) int     Rows of the estimates that are cells: those that no other row of the table splits further.
    margins : (L,) int   Rows that are sums of cells.
    member : (L, C) bool Cells of each margin.
    axis : (L,) int      0 for the margin of a role, 1 for that of a stage, 2 for the row of all.
    told : of arrays     All rows that tell each margin, where it is no row itself; empty: the margins are rows.
    together : bool      These rows tell it only together: they add up to it.
    """

    cells: Ints
    margins: Ints
    member: Flags
    axis: Ints
    told: tuple[Ints, ...] = ()
    together: bool = False

    def untold(self, held: Flags) -> Flags:
        """Return which margins (L,) no shown row tells, where `held` (rows,) are the rows that are held back."""
        enough = np.any if self.together else np.all
        return np.array([bool(enough(held[rows])) for rows in self.telling], dtype=np.bool_)

    def silence(self, held: Flags, line: int, cost: Floats) -> None:
        """Hold back, in place, what tells a margin; where its rows tell it only together, the cheapest of them."""
        rows = self.telling[line]
        held[rows[np.argmin(cost[rows])] if self.together else rows] = True

    @property
    def telling(self) -> tuple[Ints, ...]:
        """All rows that tell each margin."""
        return self.told or tuple(self.margins[k : k + 1] for k in range(len(self.margins)))


def lines_of(estimates: pd.DataFrame) -> Iterator[Lines]:
    """Yield the additive tables among the estimates.

    Rows of one construct, measure, statistic (`stage_mean` counts as `role_mean`), item and second role form tables over two
    of role, stage and segment, at each value of the third, when they are means or shares. Segments `question=answer` of one
    question divide the whole where there are two or more and they lack fewer than ten people of it; others stand for
    themselves. A role's row is the sum of its role x stage rows, the row of all
    the sum of the roles (or of the stages, where there are no roles); so for segments. Where shares of segments have no row
    of the whole, but a difference of each from the others (`risk_difference`) tells it, the first such row stands for it.
    Tables without a margin relate nothing and are left out.
    """
    data = estimates.reset_index(drop=True)
    able = data["unit"].isin(_UNITS) | data["statistic"].isin(_COUNTS)
    able &= ~data["statistic"].isin(FUNCTIONS)
    able &= (data["status"] != "not_assessable") & (data["role_2"] == "")
    keyed = data.loc[able, ["construct", "measure", "statistic", "segment", "item", "role", "stage", "n"]].copy()
    keyed["statistic"] = keyed["statistic"].replace(ALIASES)
    for _, table in keyed.groupby(["construct", "measure", "statistic", "segment", "item"], sort=False):
        yield from _crossed(table, "role", "stage")
    family = keyed["segment"].str.extract("^([^=]+)=", expand=False).fillna("")
    for name in sorted(set(family) - {""}):
        among = keyed[(family == name) | (keyed["segment"] == "")]
        for first, third in (("role", "stage"), ("stage", "role")):
            table_of = ["construct", "measure", "statistic", "item", third]
            # Most tables have no segment of this question; to look at each of them costs more than all the rest.
            places = pd.MultiIndex.from_frame(among[table_of])
            divided = among[places.isin(places[(among["segment"] != "").to_numpy(dtype=bool)])]
            for _, table in divided.groupby(table_of, sort=False):
                yield from _crossed(_divided(table, first), first, "segment")
        yield from _told_by_differences(keyed[family == name])


def _divided(table: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Return a table without the wholes that its segments do not add up to, but for a few people who named none."""
    parts, whole = table[table["segment"] != ""], table[table["segment"] == ""]
    held, among = whole[axis], parts.groupby(axis)["n"]
    lacking = whole["n"].fillna(0) - held.map(among.sum()).fillna(0)
    divides = (held.map(among.size()).fillna(0) >= 2) & (lacking < _FEW)
    return pd.concat([parts, whole[divides]]).sort_index()


def _crossed(table: pd.DataFrame, first: str, second: str) -> Iterator[Lines]:
    one, two = table[first].to_numpy(), table[second].to_numpy()
    place = table.index.to_numpy(dtype=np.int64)
    crossed = (one != "") & (two != "")
    by_one, by_two = (one != "") & (two == ""), (one == "") & (two != "")
    inner = crossed if crossed.any() else (by_one if by_one.any() else by_two)
    if not inner.any():
        return
    # Where both have rows but no crossing, each set of them adds to the row of all on its own.
    for cells in [inner] if crossed.any() or not by_two.any() or not by_one.any() else [by_one, by_two]:
        outer = np.flatnonzero(~cells & ((one == "") | (two == "")) & (crossed.any() | ((one == "") & (two == ""))))
        member = np.array(
            [((one[m] == "") | (one[cells] == one[m])) & ((two[m] == "") | (two[cells] == two[m])) for m in outer]
        ).reshape(len(outer), int(cells.sum()))
        axis = np.where(one[outer] != "", 0, np.where(two[outer] != "", 1, 2))
        if member.any():
            yield Lines(place[cells], place[outer], member, axis)
    if crossed.any():
        met_one, met_two = np.isin(one, one[crossed])[by_one], np.isin(two, two[crossed])[by_two]
        yield from _margins(place[by_one], place[by_two], place[(one == "") & (two == "")], met_one, met_two)


def _margins(by_one: Ints, by_two: Ints, total: Ints, met_one: Flags, met_two: Flags) -> Iterator[Lines]:
    """Yield what the margins of a crossed table add up to: the row of all, or the margins of the other axis.

    A margin without a cell in the table (`met`: it has one) is of people who did not name the other axis. It is no part of what
    the margins of that axis add up to, and stands beside them in the row of all.
    """
    left_one, left_two = by_one[~met_one], by_two[~met_two]
    for cells in (np.concatenate([by_one, left_two]), np.concatenate([by_two, left_one])):
        if len(cells) and len(total):
            yield Lines(cells, total, np.ones((1, len(cells)), dtype=bool), np.array([2]))
    for cells, others in ((by_one[met_one], by_two[met_two]), (by_two[met_two], by_one[met_one])):
        if len(cells) and len(others):
            yield Lines(
                cells, others[:1], np.ones((1, len(cells)), dtype=bool), np.array([2]), (others,), together=True
            )


def _told_by_differences(keyed: pd.DataFrame) -> Iterator[Lines]:
    """Yield the shares of segments that their differences from the others add up, whether the whole has a row or not."""
    for _, table in keyed.groupby(["construct", "measure", "item", "role", "stage"], sort=False):
        cells = table.index[table["statistic"] == "share"].to_numpy(dtype=np.int64)
        told = table.index[table["statistic"] == "risk_difference"].to_numpy(dtype=np.int64)
        if len(cells) and len(told):
            yield Lines(cells, told[:1], np.ones((1, len(cells)), dtype=bool), np.array([2]), (told,))


def curved(estimates: pd.DataFrame, held: Flags, count: Floats, thinnest: Floats) -> Flags:
    """Return which rows (rows,) would give a held cell away though they are no sum.

    A range is the mean of its two ends, and a standard deviation one equation in the means: with the means that are shown, and
    the margins, either gives a held one. A spread rests on the cells that have the base of its thinnest group; where one of
    those is held, the spread goes with it, and so do shrunken means, which lean on all, and ratios and differences of spreads.
    The bounds of a mean without non-response give the mean. Strengths of coming first give each role's number of wins, to which
    its pairs add up: a held pair takes all strengths with it.

    Parameters
    ----------
    held : (rows,) bool. count : (rows,) respondents of the row itself. thinnest : (rows,) those of its thinnest group.
    """
    found = np.zeros(len(estimates), dtype=bool)
    statistic = estimates["statistic"].to_numpy(dtype=object)
    for axis, other in (("role", "stage"), ("stage", "role")):
        key = ["construct", "measure", "segment", "item", other]
        cells = held & (statistic == f"{axis}_mean") & (estimates["role_2"] == "").to_numpy(dtype=bool)
        cells &= (estimates[axis] != "").to_numpy(dtype=bool)
        largest: dict[tuple[str, ...], float] = {}
        for place, name in zip(np.flatnonzero(cells), tuples_of(estimates.loc[cells, key]), strict=True):
            largest[name] = max(largest.get(name, 0.0), float(count[place]))
        if largest:
            curves = np.isin(statistic, _CURVES[axis])
            names = tuples_of(estimates[key])
            reach = np.array([largest.get(name, -1.0) for name in names])
            found |= curves & (reach >= thinnest)
    for twin, originals in _TWINS.items():
        key = ["measure", "stage", "segment", "item"] + ([] if twin == "precedence_strength" else ["role"])
        gone = set(tuples_of(estimates.loc[held & np.isin(statistic, originals), key]))
        if gone:
            told = np.array([name in gone for name in tuples_of(estimates[key])])
            found |= (statistic == twin) & told
    return found


def feasible(
    lines: Lines, count: Floats, hidden_cells: Flags, hidden_margins: Flags, cell: int, *, least_from: float = 0.0
) -> tuple[float, float]:
    """Return the least and the largest count of one hidden cell that the shown counts allow.

    Where the largest is below `least_from`, the least is not looked for and nan.

    Parameters
    ----------
    lines : the relations. count : (C,) respondents of each cell.
    hidden_cells : (C,) bool. hidden_margins : (L,) bool; a hidden margin tells nothing.
    cell : place of the hidden cell among the cells.

    The attacker is taken to know the exact counts of what is shown, and how many named no role or no stage, so that a margin
    less its shown cells is exactly what its hidden cells add to. That is more than rounded counts tell.
    """
    unknown = np.flatnonzero(hidden_cells)
    A = (lines.member[~hidden_margins][:, unknown]).astype(np.float64)
    A = A[A.any(axis=1)]
    if not len(A):
        return 0.0, np.inf
    b = A @ count[unknown]
    if len(A) == 1:
        # One margin: the cell is anything from none to all that its margin leaves, or free where it is not of the margin.
        mine = bool(A[0, unknown == cell].any())
        return (float(b[0]) if A.sum() == 1 and mine else 0.0), (float(b[0]) if mine else np.inf)
    aim = (unknown == cell).astype(np.float64)

    def end(sign: float) -> float:
        found = linprog(sign * aim, A_eq=A, b_eq=b, bounds=(0, None), method="highs")
        # Status 3: no end in that direction, which only the larger one can lack.
        return sign * float(found.fun) if found.fun is not None else np.inf

    largest = end(-1.0)
    return (end(1.0) if largest >= least_from else np.nan), largest


def protect(
    lines: Lines,
    count: Floats,
    held_cells: Flags,
    held_margins: Flags,
    *,
    threshold: float,
    cost: Floats | None = None,
    stays: Flags | None = None,
) -> tuple[Flags, Flags]:
    """Return which further cells and margins to hold back, so that no held cell is known to within half the threshold.

    A held cell is protected when its feasible interval reaches the threshold and is at least half of it wide. In a table with
    both margins a cell can move only together with others around a closed path of held cells, so that path through the bare
    cell that hides the fewest respondents more is held (Dijkstra's shortest path between its two margins). Where that is not
    enough, or there is one margin alone, the smallest shown cell beside it is held; where its margins have no shown cell
    left, the smallest of them goes. What later cells made needless is given back. Ties go by order.

    Parameters
    ----------
    count : (C,) respondents. held_cells, held_margins : what is held already. threshold : minimum respondents of a cell.
    cost : (C,) what is lost with each cell; None: its respondents.
    stays : (C,) cells that are not to be held, in a table of one margin, which goes instead; None: none.

    Returns (C,) and (L,) bool, what to hold in addition. Reference: Fischetti and Salazar-González (2001), Operations
    Research 49, 819-829 (the interval that an attacker can work out); Kelly, Golden and Assad (1992), Networks 22, 397-417
    (paths).
    """
    lost = count if cost is None else cost
    free = np.ones(len(held_cells), dtype=bool) if stays is None else ~stays
    given = zip(_KINDS, (lines.member, lines.axis, count, held_cells, held_margins, lost, free), strict=True)
    return _protected(tuple(np.asarray(each, kind).tobytes() for kind, each in given), threshold)


_KINDS = ("bool", "int64", "float64", "bool", "bool", "float64", "bool")


@lru_cache(maxsize=4096)
def _protected(given: tuple[bytes, ...], threshold: float) -> tuple[Flags, Flags]:
    """Return what `protect` does, once for the same table: most stand as they are from one round of closing to the next.

    A chapter that passes its estimates through the gate twice, once with what it has tested, has most tables twice as well.
    """
    arrays: list[Any] = [np.frombuffer(each, kind) for kind, each in zip(_KINDS, given, strict=True)]
    member, axis, count, held_cells, held_margins, lost, free = arrays
    none = np.empty(0, dtype=np.int64)
    lines = Lines(none, none, member.reshape(len(axis), len(count)), axis)
    cells, margins = held_cells.copy(), held_margins.copy()
    safe: set[int] = set()
    while True:
        # What more is held leaves more possible: a cell that is safe stays so.
        asked = set(np.flatnonzero(cells).tolist()) - safe
        safe |= {cell for cell in asked if _safe(lines, count, cells, margins, cell, threshold)}
        bare = sorted(asked - safe)
        if not bare:
            break
        cell = int(min(bare, key=lambda each: (count[each], each)))
        path = _path(lines, lost, cells, margins, cell)
        if path:
            cells[path] = True
            continue
        through = np.flatnonzero(~margins & lines.member[:, cell])
        # The margin with the fewest hidden cells is the one that tells most.
        through = through[np.argsort((lines.member[through] & cells).sum(axis=1), kind="stable")]
        telling = next((line for line in through if (lines.member[line] & ~cells & free).any()), None)
        if telling is None:
            margins[int(min(through, key=lambda line: (lines.member[line] @ count, line)))] = True
            continue
        shown = np.flatnonzero(lines.member[telling] & ~cells & free)
        cells[shown[np.argmin(lost[shown])]] = True
    # What was held early may have been made needless by what was held later: the largest is given back first.
    for cell in sorted(np.flatnonzero(cells & ~held_cells).tolist(), key=lambda each: (-lost[each], each)):
        cells[cell] = False
        if not all(_safe(lines, count, cells, margins, int(each), threshold) for each in np.flatnonzero(cells)):
            cells[cell] = True
    further = cells & ~held_cells, margins & ~held_margins
    for flags in further:
        flags.setflags(write=False)
    return further


def _path(lines: Lines, cost: Floats, held: Flags, held_margins: Flags, cell: int) -> list[int]:
    """List the shown cells of the cheapest closed path through a cell; none where it is closed already, or has one margin."""
    ends = _ends(lines, held_margins)
    start, stop = (int(end) for end in ends[:, cell])
    if start < 0 or stop < 0:
        return []
    # The node -1 stands for all ends without a shown margin.
    steps: dict[int, list[tuple[int, int, float]]] = {}
    for each in np.flatnonzero(np.arange(len(held)) != cell):
        first, second, price = int(ends[0, each]), int(ends[1, each]), 0.0 if held[each] else float(cost[each]) + 1.0
        steps.setdefault(first, []).append((second, int(each), price))
        steps.setdefault(second, []).append((first, int(each), price))
    via = _shortest(steps, start)
    path: list[int] = []
    while stop != start:
        if stop not in via:
            return []
        stop, last = via[stop]
        path.append(last)
    return [each for each in path if not held[each]]


def _shortest(steps: Mapping[int, Sequence[tuple[int, int, float]]], start: int) -> dict[int, tuple[int, int]]:
    """Return the node before each node, and the cell between them, on the cheapest way from `start` (Dijkstra)."""
    best, via = {start: 0.0}, {}
    queue, done = [(0.0, start)], set()
    while queue:
        spent, node = heapq.heappop(queue)
        if node in done:
            continue
        done.add(node)
        for other, cell, price in steps.get(node, ()):
            if spent + price < best.get(other, np.inf):
                best[other], via[other] = spent + price, (node, cell)
                heapq.heappush(queue, (spent + price, other))
    return via


def _safe(lines: Lines, count: Floats, held: Flags, held_margins: Flags, cell: int, threshold: float) -> bool:
    """Tell whether the feasible interval reaches the threshold and is half of it wide; linear programs only where needed."""

    def enough(low: float, high: float) -> bool:
        return high >= threshold and high - low >= threshold / 2

    inner = _exchanges(lines, count, held, held_margins, cell)
    if any(enough(*ends) for ends in inner):
        return True
    return enough(*feasible(lines, count, held, held_margins, cell, least_from=threshold))


def _exchanges(
    lines: Lines, count: Floats, held: Flags, held_margins: Flags, cell: int
) -> Iterator[tuple[float, float]]:
    """Yield intervals that lie within the feasible one: what a cell can be by exchange with three others, or with one.

    Around a rectangle of held cells people may be moved without a margin noticing: the cell and its opposite gain what the
    two others lose. Two held cells with the same margins, or none at one end, exchange between themselves.
    """
    ends = _ends(lines, held_margins)
    hidden = [int(each) for each in np.flatnonzero(held) if each != cell]
    place = {(int(ends[0, each]), int(ends[1, each])): each for each in hidden}
    first, second = int(ends[0, cell]), int(ends[1, cell])
    for beside in hidden:
        if (ends[:, beside] == ends[:, cell]).all():
            yield 0.0, float(count[cell] + count[beside])
        if ends[0, beside] != first:
            continue
        for under in hidden:
            if ends[1, under] == second:
                opposite = place.get((int(ends[0, under]), int(ends[1, beside])))
                if opposite is not None and len({cell, beside, under, opposite}) == 4:
                    down, up = min(count[cell], count[opposite]), min(count[beside], count[under])
                    yield float(count[cell] - down), float(count[cell] + up)


def _ends(lines: Lines, held_margins: Flags) -> Ints:
    """Shown margin of each cell's role and stage (2, C); -1 where there is none, and the cell moves freely at that end."""
    ends = np.full((2, lines.member.shape[1]), -1)
    for line in np.flatnonzero(~held_margins & (lines.axis < 2)):
        ends[lines.axis[line], lines.member[line]] = line
    return ends
