"""Rows held against one another: respondents delivered twice, corrections, and answers that are another's.

Of every row that could be read, 32 bytes stay in memory: its place, digests of who and of what, its file. Texts are fetched for
the few rows alone whose digests occur twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.errors import listed
from fieldwork.intake.faults import NO_FAULTS, delivered_name, listed_faults
from fieldwork.intake.interviews import DECLARED, named_items
from fieldwork.intake.problems import SETS_ASIDE, rules_of
from fieldwork.intake.spool import digests

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, QualityRule
    from fieldwork.intake.rows import Piece

__all__ = ["Across", "Found"]

_HEAVIEST = 1_000  # times the median, beyond which a weight is a slip of the keyboard
_TOLD = 10_000  # rows of respondents with other answers of which it is told in which items they differ

Fetch = Callable[[npt.NDArray[np.int64]], Iterable["Piece"]]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Faults of rows held against one another.

    Attributes
    ----------
    faults : pd.DataFrame    Of few rows, as a rule: place, column, value, rule, mend.
    copies : list            Rule, and the places (n,) of answers that are another's, in order.
    """

    faults: pd.DataFrame
    copies: list[tuple[QualityRule, npt.NDArray[np.int64]]]

    def of(self, first: int, rows: int) -> pd.DataFrame:
        """Return the faults of so many rows from a place on."""
        found = [self.faults[self.faults["place"].between(first, first + rows - 1)]]
        for rule, places in self.copies:
            here = places[np.searchsorted(places, first) : np.searchsorted(places, first + rows)]
            mend = "the same answers as another respondent: ask the sender whether it is a copy"
            mend = f"{DECLARED}{mend}" if rule.action == "exclude" else mend
            found.append(listed_faults(pd.Index(here), "", "", rule.name, mend))
        return pd.concat(found, ignore_index=True)


Notes = tuple[npt.NDArray[np.generic], ...]


class Across:
    """What is known of every row, and the faults that come of it once all are there."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.files: list[str] = []
        self.corrects: list[bool] = []
        self.columns: list[str] = []  # what each file calls the respondent
        house = rules_of(instrument)
        declared = {rule.name for rule in instrument.quality}
        self._errors = {n for n, rule in house.items() if rule.severity in SETS_ASIDE and n not in declared}
        self._copies = [rule for rule in instrument.quality if rule.kind == "duplicate_answers"]
        self._notes: list[Notes] = []

    def noted(self, piece: Piece) -> Notes:
        """Return what is needed of the rows of a piece."""
        coded, keys = piece.coded, self.instrument.keys
        wrong = piece.faults.loc[piece.faults["rule"].isin(self._errors), "place"]
        return (
            coded.index.to_numpy(dtype="int64"),
            digests(coded[[keys.respondent]]),
            piece.same,
            coded[keys.respondent].notna().to_numpy(dtype=bool),
            ~coded.index.isin(wrong),
            coded[keys.weight].to_numpy(dtype="float64", na_value=np.nan) if keys.weight else np.zeros(len(coded)),
            *(digests(coded[self._compared(rule)]) for rule in self._copies),
            *(coded[self._compared(rule)].notna().any(axis="columns").to_numpy(dtype=bool) for rule in self._copies),
        )

    def keep(self, notes: Notes, file: str, *, corrects: bool, called: Mapping[str, str]) -> None:
        """Keep what was `noted` of a piece of a file; `called` names mapped columns as the file does."""
        if not self.files or self.files[-1] != file:
            column = delivered_name(self.instrument, self.instrument.keys.respondent)
            self.files.append(file)
            self.corrects.append(corrects)
            self.columns.append(called.get(column, column))
        self._notes.append((*notes, np.full(len(notes[0]), len(self.files) - 1, dtype=np.int32)))

    def faults(self, fetch: Fetch) -> Found:
        """Return every fault of rows held against one another; `fetch` gives the pieces that hold places, with these rows."""
        columns = [np.concatenate(column) for column in zip(*self._notes, strict=True)]
        self._notes.clear()
        place, who, same, named, sound, weight, *others, file = columns
        twice = np.flatnonzero(named)[_several(who[named])]
        rows = self._persons(place[twice], fetch).assign(same=same[twice], number=file[twice])
        superseded = self._superseded(rows)
        repeated = self._repeated(rows.drop(index=pd.Index(superseded["place"])), fetch)
        heavy = self._heavy(place, weight, sound)
        sound &= ~np.isin(place, np.concatenate([each["place"] for each in (superseded, repeated, heavy)]))
        digested, answered = others[: len(self._copies)], others[len(self._copies) :]
        copies = [
            (rule, _copied(place[sound & given], digest[sound & given], who[sound & given]))
            for rule, digest, given in zip(self._copies, digested, answered, strict=True)
        ]
        return Found(pd.concat([NO_FAULTS, superseded, repeated, heavy], ignore_index=True), copies)

    def _compared(self, rule: QualityRule) -> list[str]:
        keys = self.instrument.keys
        apart = {keys.respondent, keys.organisation, keys.wave, keys.weight, keys.start, keys.end}
        return named_items(rule, self.instrument) or [name for name in self.instrument.columns() if name not in apart]

    def _heavy(
        self, place: npt.NDArray[np.int64], weight: npt.NDArray[np.float64], sound: npt.NDArray[np.bool_]
    ) -> pd.DataFrame:
        """Find weights by which one respondent would be the result: over a thousand times the median of sound rows."""
        usual = float(np.median(weight[sound])) if sound.any() else 0.0
        wrong = np.flatnonzero(sound & (weight > _HEAVIEST * usual)) if usual > 0 else np.zeros(0, dtype=np.intp)
        if not len(wrong):
            return NO_FAULTS
        column = delivered_name(self.instrument, self.instrument.keys.weight)
        value = [f"{each:g}" for each in weight[wrong]]
        mend = f"give a weight of the usual size: the median is {usual:g}, this is over {_HEAVIEST:,} times as much"
        return listed_faults(pd.Index(place[wrong]), column, value, "weight_invalid", mend)

    def _persons(self, places: npt.NDArray[np.int64], fetch: Fetch) -> pd.DataFrame:
        """Return who stands at some places: respondent, file, line, and the times of the interview."""
        keys = self.instrument.keys
        times = [key for key in (keys.start, keys.end) if key]
        columns = ["who", "file", "row", *(f"time {number}" for number, _ in enumerate(times))]
        parts = [
            pd.DataFrame(
                {
                    "who": piece.coded[keys.respondent].astype("str"),
                    "file": piece.file,
                    "row": piece.rows["row"].loc[piece.coded.index],
                    **{f"time {n}": piece.coded[key].astype("str").fillna("") for n, key in enumerate(times)},
                },
                index=piece.coded.index,
            )
            for piece in fetch(places)
        ]
        return pd.concat(parts).loc[places] if parts else pd.DataFrame(columns=columns)

    def _superseded(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Find rows whose respondent a later file corrects; of several corrections the last, by name of file, counts."""
        correcting = [number for number, corrects in enumerate(self.corrects) if corrects]
        found = [NO_FAULTS]
        for number, name in enumerate(self.files):
            mine = rows.loc[rows["number"] == number, "who"]
            later = [c for c in correcting if c != number and (not self.corrects[number] or self.files[c] > name)]
            for correction in reversed(later):
                theirs = rows[rows["number"] == correction]
                where = theirs["file"] + ", row " + theirs["row"].astype("str")
                at = dict(zip(theirs["who"], where, strict=True))
                wrong = mine[mine.isin(list(at))]
                if len(wrong):
                    mends = [f"nothing to mend: {at[name]} corrects it" for name in wrong]
                    found.append(listed_faults(wrong.index, self.columns[number], wrong.tolist(), "superseded", mends))
                    mine = mine.drop(wrong.index)
        return pd.concat(found, ignore_index=True)

    def _repeated(self, rows: pd.DataFrame, fetch: Fetch) -> pd.DataFrame:
        """Find respondents delivered more than once: the same answers, all but the first; other answers, all of them."""
        rows = rows[rows["who"].duplicated(keep=False)]
        if not len(rows):
            return NO_FAULTS
        # First is who came first by the clock, so that the order of rows decides between identical rows only.
        clock = [name for name in rows.columns if name.startswith("time ")]
        order = rows.sort_values(["who", *clock, "file", "row"])
        who = order["who"]
        place = order.groupby("who").cumcount()
        conflict = (order["same"] != order.groupby("who")["same"].transform("first")).groupby(who).transform("any")
        where = order["file"] + ", row " + order["row"].astype("str")
        first = where.groupby(who).transform("first")
        other = where.groupby(who).transform(lambda group: group.iloc[1]).where(place == 0, first)
        column = order["number"].map(dict(enumerate(self.columns)))
        again = order.index[~conflict & (place > 0)]
        mends = [f"delete it: {text} holds the same answers of this respondent" for text in first[again]]
        found = [listed_faults(again, column[again].tolist(), who[again].tolist(), "duplicate_respondent", mends)]
        clashing = order.index[conflict]
        differ = self._differences(who[clashing], fetch) if len(clashing) <= _TOLD else {}
        mends = [
            f"answers differ from {other[at]}{f' in {differ[at]}' if differ.get(at) else ''}: keep one"
            for at in clashing
        ]
        found.append(
            listed_faults(clashing, column[clashing].tolist(), who[clashing].tolist(), "duplicate_respondent", mends)
        )
        return pd.concat(found, ignore_index=True)

    def _differences(self, who: pd.Series, fetch: Fetch) -> dict[int, str]:
        """Name, for rows of respondents in order (index = place), the items in which a respondent's rows differ."""
        keys = self.instrument.keys
        apart = {keys.respondent, keys.wave, keys.start, keys.end}
        parts = []
        for piece in fetch(who.index.to_numpy(dtype="int64")):
            answers = {c: piece.coded[c].astype("str").fillna("") for c in piece.coded.columns if c not in apart}
            reasons = {
                f"{item}: reason": piece.reasons[item].astype("str").fillna("")
                for item in piece.reasons.columns
                if item not in apart
            }
            wrong = piece.faults[~piece.faults["rule"].isin(["hidden_characters"])]
            texts = {
                f"{column}: text": part.groupby("place")["value"].agg("|".join).reindex(piece.coded.index).fillna("")
                for column, part in wrong.groupby("column")
            }
            parts.append(pd.DataFrame(answers | reasons | texts))
        table = pd.concat(parts).loc[who.index].fillna("") if parts else pd.DataFrame()
        firsts = table.groupby(who).transform("first")
        differs = (table != firsts).groupby(who).transform("any").to_numpy(dtype=bool)
        named = np.array([name.partition(":")[0] for name in table.columns], dtype=object)
        return {int(at): listed(dict.fromkeys(named[row]), limit=6) for at, row in zip(who.index, differs, strict=True)}


def _copied(
    place: npt.NDArray[np.int64], answers: npt.NDArray[np.uint64], who: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """Return the places of respondents whose answers are another's; of each set one, by the digest of the id, is left out.

    Which one it is depends on the ids alone, and not on the order in which they were delivered.
    """
    several = _several(answers)
    order = several[np.lexsort((who[several], answers[several]))]
    again = np.zeros(len(order), dtype=bool)
    again[1:] = answers[order[1:]] == answers[order[:-1]]
    return np.sort(place[order[again]])


def _several(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """Return where the values stand that occur more than once, in order of place."""
    order = np.argsort(values, kind="stable")
    equal = values[order[1:]] == values[order[:-1]]
    again = np.zeros(len(values), dtype=bool)
    again[order[1:][equal]] = True
    again[order[:-1][equal]] = True
    return np.flatnonzero(again)
