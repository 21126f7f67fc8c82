"""Complementary suppression: what else must be held back so that nobody can work out, from the margins, what was.

Own code: no maintained permissive library protects a table of means with margins; the bounds come from scipy's `linprog`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linprog

__all__ = ["ALIASES", "ELSEWHERE", "SUMS", "Lines", "feasible", "lines_of", "protect"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# One quantity under two names: the mean of a role and the mean of a stage are margins of the same table.
ALIASES = {"stage_mean": "role_mean"}
# Rows that sum over all answers of a question: beside all shares but one they give that one away.
SUMS = ("mean_cited", "location_quotient", "role_effective_number")
# Rows that speak of all roles but the one that they name.
ELSEWHERE = ("prevalence_max_other",)
_UNITS = ("scale_point", "proportion")
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
    """

    cells: Ints
    margins: Ints
    member: Flags
    axis: Ints


def lines_of(estimates: pd.DataFrame) -> Iterator[Lines]:
    """Yield the additive tables among the estimates.

    Rows of one construct, measure, statistic (`stage_mean` counts as `role_mean`), segment, item and second role form a
    table over role and stage when they are means or shares. A role's row is the sum of its role x stage rows, the row
    of all the sum of the roles (or of the stages, where there are no roles). Tables without a margin relate nothing and are
    left out.
    """
    data = estimates.reset_index(drop=True)
    able = data["unit"].isin(_UNITS) | data["statistic"].isin(_COUNTS)
    able &= (data["status"] != "not_assessable") & (data["role_2"] == "")
    keyed = data.loc[able, ["construct", "measure", "statistic", "segment", "item", "role", "stage"]].copy()
    keyed["statistic"] = keyed["statistic"].replace(ALIASES)
    for _, table in keyed.groupby(["construct", "measure", "statistic", "segment", "item"], sort=False):
        role, stage = table["role"].to_numpy(), table["stage"].to_numpy()
        place = table.index.to_numpy(dtype=np.int64)
        crossed = (role != "") & (stage != "")
        by_role, by_stage = (role != "") & (stage == ""), (role == "") & (stage != "")
        inner = crossed if crossed.any() else (by_role if by_role.any() else by_stage)
        if not inner.any():
            continue
        # Where roles and stages have rows but no crossing, each set of them adds to the row of all on its own.
        for cells in [inner] if crossed.any() or not by_stage.any() or not by_role.any() else [by_role, by_stage]:
            outer = np.flatnonzero(
                ~cells & ((role == "") | (stage == "")) & (crossed.any() | ((role == "") & (stage == "")))
            )
            member = np.array(
                [
                    ((role[m] == "") | (role[cells] == role[m])) & ((stage[m] == "") | (stage[cells] == stage[m]))
                    for m in outer
                ]
            ).reshape(len(outer), int(cells.sum()))
            axis = np.where(role[outer] != "", 0, np.where(stage[outer] != "", 1, 2))
            if member.any():
                yield Lines(place[cells], place[outer], member, axis)


def feasible(lines: Lines, count: Floats, hidden_cells: Flags, hidden_margins: Flags, cell: int) -> tuple[float, float]:
    """Return the least and the largest count of one hidden cell that the shown counts allow.

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
    aim = (unknown == cell).astype(np.float64)
    ends = []
    for sign in (1.0, -1.0):
        found = linprog(sign * aim, A_eq=A, b_eq=b, bounds=(0, None), method="highs")
        # Status 3: no end in that direction, which only the larger one can lack.
        ends.append(sign * float(found.fun) if found.fun is not None else np.inf)
    return ends[0], ends[1]


def protect(
    lines: Lines, count: Floats, held_cells: Flags, held_margins: Flags, *, threshold: float, cost: Floats | None = None
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

    Returns (C,) and (L,) bool, what to hold in addition. Reference: Fischetti and Salazar-González (2001), Operations
    Research 49, 819-829 (the interval that an attacker can work out); Kelly, Golden and Assad (1992), Networks 22, 397-417
    (paths).
    """
    cells, margins = held_cells.copy(), held_margins.copy()
    lost = count if cost is None else cost
    while True:
        bare = [cell for cell in np.flatnonzero(cells) if not _safe(lines, count, cells, margins, int(cell), threshold)]
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
        telling = next((line for line in through if (lines.member[line] & ~cells).any()), None)
        if telling is None:
            margins[int(min(through, key=lambda line: (lines.member[line] @ count, line)))] = True
            continue
        shown = np.flatnonzero(lines.member[telling] & ~cells)
        cells[shown[np.argmin(lost[shown])]] = True
    # What was held early may have been made needless by what was held later: the largest is given back first.
    for cell in sorted(np.flatnonzero(cells & ~held_cells).tolist(), key=lambda each: (-lost[each], each)):
        cells[cell] = False
        if not all(_safe(lines, count, cells, margins, int(each), threshold) for each in np.flatnonzero(cells)):
            cells[cell] = True
    return cells & ~held_cells, margins & ~held_margins


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
    return any(enough(*ends) for ends in inner) or enough(*feasible(lines, count, held, held_margins, cell))


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
