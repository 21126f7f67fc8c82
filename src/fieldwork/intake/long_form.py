"""Files of one answer a row: held against the family that they answer, and joined to the respondents of the other files.

A battery of ratings often comes as a table of its own. After the join its answers are columns of the respondents' rows, as if
they had been delivered there, and everything else (routing, missing codes, cleaning) knows one form only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.errors import DataError, listed, nearest
from fieldwork.intake.problems import HIDDEN

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item, LongForm
    from fieldwork.intake.delivery import Delivery

__all__ = ["LongAnswers", "join_long"]

Texts = npt.NDArray[np.object_]
_COLUMNS = ["place", "column", "value", "rule", "mend"]


@dataclass(frozen=True, slots=True, eq=False)
class LongAnswers:
    """The deliveries of respondents with what the files of answers add to them, and every row of those files.

    Attributes
    ----------
    deliveries : list of Delivery    Files of respondents; the answers joined are columns of `rows`.
    rows : pd.DataFrame              One line per row of the files of answers: file, row, resp_id as delivered; index = place.
    faults : pd.DataFrame            One line per fault: place, column, value, rule, mend. A row with a fault of severity
                                     `error` is not joined.
    unknown : pd.DataFrame           Filled cells of columns that are not declared: file, row, resp_id, column, value.
    """

    deliveries: list[Delivery]
    rows: pd.DataFrame
    faults: pd.DataFrame
    unknown: pd.DataFrame


def join_long(deliveries: Sequence[Delivery], instrument: Instrument) -> LongAnswers:
    """Join files of one answer a row to the files of respondents.

    A row is held to name a respondent of the wave, something that the question was put of, and an answer that the item lists;
    of the same answer given twice the first is kept, of different ones none. A row without an answer takes the missing code
    of the column that says 1. Each fault is listed, a respondent is never set aside for the fault of one answer.

    Raises DataError where a file of respondents holds the same columns already.
    """
    whole = [delivery for delivery in deliveries if delivery.long is None]
    parts, first = [], 0
    for delivery in deliveries:
        if delivery.long is None:
            continue
        part = _Long(delivery, delivery.long, instrument, whole, first)
        whole = part.joined()
        parts.append(part)
        first += delivery.delivered
    empty = pd.DataFrame(columns=["file", "row", "resp_id"])
    rows = pd.concat([part.rows for part in parts]) if parts else empty
    faults = [fault for part in parts for fault in part.faults]
    unknown = [part.unknown() for part in parts]
    return LongAnswers(
        deliveries=whole,
        rows=rows,
        faults=pd.concat(faults, ignore_index=True) if faults else pd.DataFrame(columns=_COLUMNS),
        unknown=pd.concat(unknown) if unknown else empty.assign(column="", value=""),
    )


class _Long:
    """One file of answers, read row by row; places count on from `first`."""

    def __init__(
        self, delivery: Delivery, form: LongForm, instrument: Instrument, whole: Sequence[Delivery], first: int
    ) -> None:
        self.delivery, self.form, self.instrument, self.whole = delivery, form, instrument, list(whole)
        self.faults: list[pd.DataFrame] = []
        regular = len(delivery.rows)
        self.places = pd.RangeIndex(first, first + regular)
        self.cells = {column: _texts(delivery.rows[column]) for column in form.columns}
        self.sound = np.ones(regular, dtype=bool)
        irregular = pd.RangeIndex(first + regular, first + delivery.delivered)
        self.rows = pd.DataFrame(
            {
                "file": delivery.file,
                "row": [*delivery.rows.index, *(row.row for row in delivery.irregular)],
                "resp_id": [*self.cells[form.respondent], *("" for _ in delivery.irregular)],
            },
            index=self.places.append(irregular),
        )
        for place, row in zip(irregular, delivery.irregular, strict=True):
            rule = "short_row" if len(row.cells) < len(delivery.columns) else "long_row"
            mend = f"the row has {len(row.cells)} cells, the header {len(delivery.columns)}"
            self.faults.append(_listed(pd.Index([place]), "", [",".join(row.cells)], rule, [mend]))
        for each in (*delivery.aside, *delivery.remarks):
            at = self.places[delivery.rows.index == each.row]
            self.faults.append(_listed(at, each.column, [each.value], each.rule, [each.mend]))
        self.sound[delivery.rows.index.isin([each.row for each in delivery.aside])] = False

    def _fault(self, wrong: npt.NDArray[np.bool_], column: str, rule: str, mend: str | Sequence[str]) -> None:
        """List a fault of rows that are sound so far, and hold them so no longer."""
        wrong = wrong & self.sound
        if not wrong.any():
            return
        mends = [mend] * int(wrong.sum()) if isinstance(mend, str) else np.asarray(mend, dtype=object)[wrong].tolist()
        value = self.cells[column][wrong].tolist() if column else [""] * int(wrong.sum())
        self.faults.append(_listed(self.places[wrong], column, value, rule, mends))
        self.sound &= ~wrong

    def joined(self) -> list[Delivery]:
        """Return the files of respondents with the answers of this file; every row of it is joined or has a fault."""
        form, wave = self.form, self.instrument.wave
        if form not in self.instrument.long:
            self._fault(np.ones_like(self.sound), "", "other_wave", f"the file is not for {wave}")
            return self.whole
        damaged = np.zeros_like(self.sound)
        filled = np.zeros_like(self.sound)
        for texts in self.cells.values():
            damaged |= np.array(["\x00" in text for text in texts], dtype=bool)
            filled |= texts != ""
        self._fault(damaged, form.respondent, "nul_byte", "export the file again")
        self._fault(~filled, "", "empty_row", "delete the empty row")
        self._fault(self.cells[form.respondent] == "", form.respondent, "resp_id_missing", "name the respondent")
        here, elsewhere = self._respondents()
        who = self.cells[form.respondent]
        known = np.isin(who, list(here))
        other = ~known & np.isin(who, list(elsewhere))
        self._fault(other, form.respondent, "other_wave", f"the respondent belongs to another wave; this is {wave}")
        if self.whole:
            self._fault(
                ~known, form.respondent, "respondent_unknown", "deliver the respondent, or leave the answer out"
            )
        item = self._members()
        answer = self._answers(item)
        self._twice(who, item, answer)
        self._repeated(here, who)
        return self._placed(here, who, item, answer)

    def _respondents(self) -> tuple[dict[str, list[tuple[int, int]]], set[str]]:
        """Return where each respondent of the wave stands (file, position), and the respondents of other waves."""
        keys = self.instrument.keys
        here: dict[str, list[tuple[int, int]]] = {}
        elsewhere: set[str] = set()
        for number, delivery in enumerate(self.whole):
            who, wave = (
                _texts(delivery.rows[next(iter(self.instrument.item(key).delivered_columns().values()))])
                for key in (keys.respondent, keys.wave)
            )
            for position, (name, said) in enumerate(zip(who, wave, strict=True)):
                if said == self.instrument.wave:
                    here.setdefault(name, []).append((number, position))
                else:
                    elsewhere.add(name)
        return here, elsewhere

    def _members(self) -> Texts:
        """Return the name of the item that each row answers, "" where there is none."""
        family = self.instrument.answered_in(self.form.family)
        texts = self.cells[self.form.member]
        found = {text: family.member(text) or "" for text in set(texts)}
        item = np.array([found[text] for text in texts], dtype=object)
        labels = [option.label for option in family.options]
        near = {text: nearest(text, labels) for text, name in found.items() if not name}
        mends = [
            f"did you mean {near[text]}?" if near.get(text) else f"use one of {listed(labels, limit=20)}"
            for text in texts
        ]
        self._fault(item == "", self.form.member, "member_unknown", mends)
        return item

    def _answers(self, item: Texts) -> Texts:
        """Return the text of each answer as its item reads it: the answer, or the id of a missing code."""
        form = self.form
        answer = self.cells[form.answer].copy()
        given = answer != ""
        for code, column in form.missing.items():
            said = self.cells[column]
            yes = np.isin(said, ["1", "1.0"])
            self._fault(~yes & ~np.isin(said, ["", "0", "0.0"]), column, "value_unknown", f"{column} holds 0 or 1")
            self._fault(
                yes & given, form.answer, "answer_conflicting", f"an answer, and {column} = 1: keep one of them"
            )
            answer[yes & ~given] = code
        read = {
            (name, text): self.instrument.item(str(name)).read(str(text))
            for name, text in set(zip(item[self.sound], answer[self.sound], strict=True))
        }
        faults = np.array(
            [
                read[name, text].fault or "" if sound else ""
                for name, text, sound in zip(item, answer, self.sound, strict=True)
            ],
            dtype=object,
        )
        for fault, rule in (("unknown", "value_unknown"), ("out_of_range", "value_out_of_range")):
            self._fault(faults == fault, form.answer, rule, "give an answer that the item lists")
        return answer

    def _twice(self, who: Texts, item: Texts, answer: Texts) -> None:
        """Keep the first of equal answers to one question, and none of different ones."""
        table = pd.DataFrame({"who": who, "item": item, "answer": answer})[self.sound]
        keyed = table.groupby(["who", "item"])["answer"]
        several = keyed.transform("size") > 1
        differ = keyed.transform("nunique") > 1
        conflict, again = np.zeros_like(self.sound), np.zeros_like(self.sound)
        conflict[table.index[differ]] = True
        again[table.index[several & ~differ & table.duplicated(["who", "item"])]] = True
        self._fault(conflict, self.form.answer, "answer_conflicting", "the respondent gave other answers too: keep one")
        self._fault(again, self.form.answer, "answer_repeated", "delete it: the answer is delivered already")

    def _repeated(self, here: dict[str, list[tuple[int, int]]], who: Texts) -> None:
        """Remark on rows that repeat an answer otherwise than the respondent's own row has it; they are joined."""
        for name, column in self.form.repeats.items():
            item = self.instrument.item(name)
            own = next(iter(item.delivered_columns().values()))
            columns = [_texts(each.rows[own]) if own in each.rows.columns else None for each in self.whole]
            differs = np.zeros_like(self.sound)
            for at in np.flatnonzero(self.sound):
                stands = here.get(str(who[at]), [])
                texts = {str(texts[place]) for number, place in stands if (texts := columns[number]) is not None}
                differs[at] = bool(texts) and not any(_same(item, str(self.cells[column][at]), text) for text in texts)
            if differs.any():
                self.faults.append(
                    _listed(
                        self.places[differs], column, self.cells[column][differs].tolist(), "repeat_differs",
                        [f"nothing is taken from it: the respondent's own row says what {item.label.lower()} is"]
                        * int(differs.sum()),
                    )
                )  # fmt: skip

    def _placed(self, here: dict[str, list[tuple[int, int]]], who: Texts, item: Texts, answer: Texts) -> list[Delivery]:
        names = {
            each.name: next(iter(each.delivered_columns().values()))
            for each in self.instrument.family(self.form.family)
        }
        for delivery in self.whole:
            if both := [column for column in names.values() if column in delivery.columns]:
                raise DataError(
                    f"the answers to {self.form.family} are delivered in two forms",
                    where=f"{delivery.file}, row 1, column {both[0]}",
                    expected=f"columns of {delivery.file}, or the rows of {self.delivery.file}",
                    got=f"{listed(both, limit=4)} and {self.delivery.file}",
                    hint="deliver one of the two",
                )
        texts = [
            {column: np.full(len(each.rows), "", dtype=object) for column in names.values()} for each in self.whole
        ]
        for at in np.flatnonzero(self.sound):
            for number, position in here.get(str(who[at]), []):
                texts[number][names[str(item[at])]][position] = answer[at]
        return [_widened(delivery, added) for delivery, added in zip(self.whole, texts, strict=True)]

    def unknown(self) -> pd.DataFrame:
        """List the filled cells of columns that are not declared."""
        regular = self.rows.loc[self.places]
        parts = []
        for column in self.delivery.unknown:
            texts = _texts(self.delivery.rows[column])
            parts.append(regular[texts != ""].assign(column=column, value=texts[texts != ""]))
        return pd.concat(parts) if parts else regular.iloc[:0].assign(column="", value="")


def _texts(column: pd.Series) -> Texts:
    """Return a delivered column as texts (n,), invisible characters and outer blanks removed."""
    clean = [
        HIDDEN.sub("", str(text)).strip() if "\x00" not in str(text) else str(text) for text in column.cat.categories
    ]
    return np.array([*clean, ""], dtype=object)[column.cat.codes.to_numpy()]


def _same(item: Item, one: str, other: str) -> bool:
    """Whether two delivered texts are read as the same answer, or as none."""
    first, second = item.read(one), item.read(other)
    return (first.value, first.fault) == (second.value, second.fault)


def _listed(places: pd.Index, column: str, value: Sequence[str], rule: str, mend: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"place": places, "column": column, "value": value, "rule": rule, "mend": mend})


def _widened(delivery: Delivery, added: dict[str, Texts]) -> Delivery:
    columns = {}
    for name, texts in added.items():
        codes, distinct = pd.factorize(texts)
        columns[name] = pd.Categorical.from_codes(codes, pd.Index(distinct, dtype="str"))
    return replace(
        delivery,
        rows=delivery.rows.assign(**columns),
        absent=tuple(column for column in delivery.absent if column not in added),
        problems=tuple(p for p in delivery.problems if not (p.rule == "column_absent" and p.column in added)),
    )
