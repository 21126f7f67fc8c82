"""Shares of the answers of one question: which rows are cells of one table, and what a mean tells of them.

Own code, as the rest of the gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.disclosure.complement import ALIASES, Lines

__all__ = ["SHARE", "Whole", "as_cells", "lines_of_means", "whole_of"]

SHARE = "answer_share"
_MEANS = frozenset(("role_mean", *ALIASES))
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def as_cells(estimates: pd.DataFrame, cell: pd.Series) -> pd.DataFrame:
    """Return the estimates with each row that is the share of an answer under the key of such a share.

    A share that another construct publishes (`ready_share` of a role is its share in the top two points) is a cell of the table
    of that answer over the roles, and the row of all of that table is its margin.

    Parameters
    ----------
    cell : (rows,) the answer whose share the row is, as `item` of `answer_share` has it; empty for all other rows.
    """
    named = cell.ne("").to_numpy(dtype=bool) & estimates["unit"].eq("proportion").to_numpy(dtype=bool)
    shares = (estimates["statistic"] == SHARE).to_numpy(dtype=bool)
    if not named.any() or not shares.any():
        return estimates
    out = estimates.copy()
    out.loc[named, "construct"] = out["construct"].to_numpy()[shares][0]
    out.loc[named, "statistic"] = SHARE
    out.loc[named, "item"] = cell.to_numpy()[named]
    return out


def lines_of_means(cells: pd.DataFrame) -> Iterator[Lines]:
    """Yield what the answers over all tell of means: how many answered, and their mean, which the means of roles add up to.

    Parameters
    ----------
    cells : as `as_cells` gives them. All shares of the answers of a question over all tell the row of all of every table of
        its means over roles, and over stages; each of them tells the number of people: the margin is told while one is shown.
    """
    of_all = (cells["role"] == "") & (cells["stage"] == "") & (cells["segment"] == "")
    assessed = cells["status"] != "not_assessable"
    shares = cells[((cells["statistic"] == SHARE) & of_all & assessed).to_numpy(dtype=bool)]
    by_question = shares.groupby("measure", sort=False).groups
    told = {str(measure): rows.to_numpy(dtype=np.int64) for measure, rows in by_question.items()}
    means = cells["statistic"].isin(_MEANS) & (cells["unit"] == "scale_point") & (cells["item"] == "") & assessed
    means &= (cells["segment"] == "") & (cells["role_2"] == "") & ((cells["role"] == "") ^ (cells["stage"] == ""))
    keyed = cells[(means & cells["measure"].isin(told)).to_numpy(dtype=bool)]
    by_role = pd.Series((keyed["role"] != "").to_numpy(dtype=bool), index=keyed.index)
    for (_, measure), table in keyed.groupby([keyed["construct"], keyed["measure"]], sort=False):
        rows, left = told[str(measure)], _unmet(cells, table)
        of_role = by_role.loc[table.index].to_numpy(dtype=bool)
        for axis in (of_role, ~of_role):
            if axis.any():
                # A role none of whose people named a stage stands beside the stages in the row of all.
                mine = table.index[axis | left].to_numpy(dtype=np.int64)
                yield Lines(mine, rows[:1], np.ones((1, len(mine)), dtype=bool), np.array([2]), (rows,))


def _unmet(cells: pd.DataFrame, table: pd.DataFrame) -> Flags:
    """Return which margins (rows of a table of means) have no cell in its crossing of roles and stages, where it has one."""
    first = table.iloc[0]
    crossed = cells[
        ((cells["construct"] == first["construct"]) & (cells["measure"] == first["measure"]) & (cells["segment"] == "")
         & cells["statistic"].isin(_MEANS) & (cells["status"] != "not_assessable") & (cells["role_2"] == "")
         & (cells["role"] != "") & (cells["stage"] != "")).to_numpy(dtype=bool)
    ]  # fmt: skip
    if crossed.empty:
        return np.zeros(len(table), dtype=bool)
    met = table["role"].isin(crossed["role"]) | table["stage"].isin(crossed["stage"])
    return np.asarray(~met, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Whole:
    """Shares that are shown together or not at all, because a mean of the same people stands beside them.

    With all but two of the answers, the mean is one more equation, and gives both; with all of them it is told itself.

    Attributes
    ----------
    group : (rows,) int     The question and the people that a share or a mean is of; -1 for all other rows.
    share : (rows,) bool    Rows that are shares.
    """

    group: Ints
    share: Flags

    def hold(self, held: Flags) -> None:
        """Hold back, in place, all shares of each group in which a share or the mean is held."""
        gone = np.unique(self.group[held & (self.group >= 0)])
        if len(gone):
            held |= self.share & np.isin(self.group, gone)


def whole_of(cells: pd.DataFrame) -> Whole:
    """Find the questions and groups of people of which both shares of answers and a mean are to be shown."""
    assessed = ((cells["status"] != "not_assessable") & (cells["role_2"] == "")).to_numpy(dtype=bool)
    share = assessed & (cells["statistic"] == SHARE).to_numpy(dtype=bool)
    mean = cells["statistic"].isin(_MEANS) & (cells["unit"] == "scale_point") & (cells["item"] == "")
    of_mean = assessed & mean.to_numpy(dtype=bool)
    group = np.full(len(cells), -1, dtype=np.int64)
    if share.any() and of_mean.any():
        people = ["role", "stage", "segment"]
        named = _names(cells, people)
        # Means of roles, or of stages, add up to the mean of all, whether that has a row or not.
        among_all = _names(cells[of_mean].assign(**dict.fromkeys(people, "")), people)
        both = np.isin(named, np.concatenate([named[of_mean], among_all])) & (share | of_mean)
        group[both] = np.unique(named[both], return_inverse=True)[1]
    return Whole(group, share & (group >= 0))


def _names(cells: pd.DataFrame, people: list[str]) -> npt.NDArray[np.object_]:
    """Return the question and the people of each row in one text."""
    text = cells["measure"].astype(object)
    for name in people:
        text = text + "|" + cells[name].astype(object)
    return text.to_numpy()
