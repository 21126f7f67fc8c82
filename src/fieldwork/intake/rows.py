"""One piece of a delivery, read row by row: how many cells, whose, of which wave, and each answer against its item."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fieldwork.errors import listed, nearest
from fieldwork.instrument import BLANK
from fieldwork.intake.faults import NO_FAULTS, each, listed_faults
from fieldwork.intake.interviews import NOT_SHOWN, ROUTED_OUT, clashing, declared_quality, routed, unanswered
from fieldwork.intake.problems import HIDDEN
from fieldwork.intake.spool import digests

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item, MissingCode, Option, Resolved
    from fieldwork.intake.delivery import Delivery

__all__ = ["NOT_DELIVERED", "Piece", "read_piece"]

NOT_DELIVERED = "not_delivered"  # the column is not in the file


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows of a delivery, each with its place among all delivered rows, and what the instrument makes of them.

    Attributes
    ----------
    file : str                Delivered file.
    rows : pd.DataFrame       One line per delivered row: row, resp_id as delivered; index = place (n,).
    coded : pd.DataFrame      Native columns in native types, rows of the wave that could be read; index = place (m,).
    reasons : pd.DataFrame    Why an item has no answer, one column per item; missing where it has one (m,).
    faults : pd.DataFrame     One line per fault: place, column, value, rule, mend.
    unknown : pd.DataFrame    Filled cells of unknown columns: row, resp_id, column, value.
    same : array of uint64    Digest of what was answered, before routing; neither keys nor times are part of it (m,).
    """

    file: str
    rows: pd.DataFrame
    coded: pd.DataFrame
    reasons: pd.DataFrame
    faults: pd.DataFrame
    unknown: pd.DataFrame
    same: npt.NDArray[np.uint64]


def read_piece(delivery: Delivery, instrument: Instrument, first: int) -> Piece:
    """Read a piece of a delivery and list every fault that a row has by itself; places count on from `first`.

    Row by row: the number of cells, the wave, the keys, each answer against the item's list or range; then item against item
    (`interviews`). A row of another wave, a damaged or an empty row is not read further.
    """
    reading = _Reading(delivery, instrument, first)
    same = _same(reading, instrument)
    values, reasons, faults = routed(reading.coded, reading.reasons, reading.cells, instrument)
    touched = reading.hidden[reading.hidden].index
    faults += [listed_faults(touched, "", "", "hidden_characters", "remove the invisible characters")] * bool(
        len(touched)
    )
    faults = [*reading.faults, *faults, *unanswered(reasons, values, instrument), *clashing(values, instrument)]
    faults += declared_quality(values, reading.cells, instrument)
    found = pd.concat([NO_FAULTS, *faults], ignore_index=True)
    called = found["column"].map(delivery.called) if delivery.called else None
    return Piece(
        file=delivery.file,
        rows=reading.rows,
        coded=values,
        reasons=reasons,
        faults=found if called is None else found.assign(column=called.fillna(found["column"])),
        unknown=reading.unknown,
        same=same,
    )


def _same(reading: _Reading, instrument: Instrument) -> npt.NDArray[np.uint64]:
    """Return a digest of each row's answers, reasons and texts that are none: two rows of a respondent are compared by it."""
    keys = instrument.keys
    apart = {keys.respondent, keys.wave, keys.start, keys.end}
    total = digests(reading.coded[[name for name in reading.coded.columns if name not in apart]])
    total += digests(reading.reasons[[name for name in reading.reasons.columns if name not in apart]], salt=1)
    wrong = pd.concat([NO_FAULTS, *reading.faults])
    at = reading.coded.index.get_indexer(pd.Index(wrong["place"]))
    wrong, at = wrong[at >= 0], at[at >= 0]
    np.add.at(total, at, digests(wrong[["column", "value"]], salt=2))
    return total


class _Reading:
    """One delivery, read row by row; places count on from `first`."""

    def __init__(self, delivery: Delivery, instrument: Instrument, first: int) -> None:
        self.delivery = delivery
        self.instrument = instrument
        self.faults: list[pd.DataFrame] = []
        regular = len(delivery.rows)
        self.cells = delivery.rows.set_axis(pd.RangeIndex(first, first + regular), axis="index")
        self.hidden = pd.Series(data=False, index=self.cells.index)
        self.rows = pd.concat([self._places(), self._irregular(first + regular)])
        wanted = self._of_the_wave(self._whole())
        self.kept = self.cells[wanted]
        columns: dict[str, pd.Series] = {}
        reasons: dict[str, pd.Series] = {}
        for item in instrument.items:
            reasons[item.name] = self._multi(item, columns) if item.kind == "multi" else self._item(item, columns)
        self.coded = pd.DataFrame(columns, index=self.kept.index)
        self.reasons = pd.DataFrame(reasons, index=self.kept.index)
        self.unknown = self._unknown()

    def _fault(
        self, places: pd.Index, column: str, value: str | Sequence[str], rule: str, mend: str | Sequence[str]
    ) -> None:
        if len(places):
            self.faults.append(listed_faults(places, column, value, rule, mend))

    @property
    def _respondent(self) -> str:
        return self._column(self.instrument.item(self.instrument.keys.respondent))

    @staticmethod
    def _column(item: Item) -> str:
        return next(iter(item.delivered_columns().values()))

    def _places(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "row": self.delivery.rows.index.to_numpy(),
                "resp_id": self.cells[self._respondent].astype("str"),
            },
            index=self.cells.index,
        )

    def _irregular(self, first: int) -> pd.DataFrame:
        """Place the rows that have too few or too many cells; the respondent is named where the cell is there."""
        irregular = self.delivery.irregular
        columns = self.delivery.columns
        at = columns.index(self._respondent)
        places = pd.RangeIndex(first, first + len(irregular))
        for place, row in zip(places, irregular, strict=True):
            short = len(row.cells) < len(columns)
            self._fault(
                pd.Index([place]),
                columns[len(row.cells)] if short else "",
                ",".join(row.cells) if short else ",".join(row.cells[len(columns) :]),
                "short_row" if short else "long_row",
                f"the row has {len(row.cells)} cells, the header {len(columns)}: "
                + ("add what is missing" if short else "remove the surplus, or put a cell with a comma in quotes"),
            )
        return pd.DataFrame(
            {
                "row": np.array([row.row for row in irregular], dtype="int64"),
                "resp_id": [row.cells[at] if at < len(row.cells) else "" for row in irregular],
            },
            index=places,
        )

    def _whole(self) -> pd.Series:
        """Tell which rows hold anything and are free of NUL characters."""
        filled = np.zeros(len(self.cells), dtype=bool)
        damaged = np.zeros(len(self.cells), dtype=bool)
        for column in self.cells.columns:
            texts = self.cells[column].cat
            blank = np.array([not text.strip() for text in texts.categories], dtype=bool)
            filled |= ~blank[texts.codes] if len(blank) else False
            if "\x00" in "".join(texts.categories):
                nul = np.array(["\x00" in text for text in texts.categories], dtype=bool)[texts.codes]
                here = self.cells.index[nul & ~damaged]
                self._fault(here, column, self._texts(here, column), "nul_byte", "export the file again")
                damaged |= nul
        self._fault(self.cells.index[~filled], "", "", "empty_row", "delete the empty row")
        marked = np.zeros(len(self.cells), dtype=bool)
        for mark in self.delivery.aside:
            at = self.delivery.rows.index.get_indexer(pd.Index([mark.row]))[0]
            if at >= 0:
                marked[at] = True
                self._fault(self.cells.index[[at]], mark.column, mark.value, mark.rule, mark.mend)
        noted = self.delivery.rows.index.get_indexer(
            pd.Index([mark.row for mark in self.delivery.remarks], dtype="int64")
        )
        for mark, at in zip(self.delivery.remarks, noted, strict=True):
            self._fault(self.cells.index[[int(at)]], mark.column, mark.value, mark.rule, mark.mend)
        return pd.Series(filled & ~damaged & ~marked, index=self.cells.index)

    def _of_the_wave(self, whole: pd.Series) -> pd.Series:
        """Tell which rows belong to the wave."""
        wave = self.instrument.wave
        column = self._column(self.instrument.item(self.instrument.keys.wave))
        texts = self._stripped(column)
        given = texts.astype("str").str.strip()
        blank = whole & (given == "")
        other = whole & (given != wave) & ~blank
        self._fault(self.cells.index[blank], column, "", "wave_missing", f"give the wave, {wave}")
        here = self.cells.index[other]
        offers = each(given[other], lambda text: f"it should read {wave}?" if nearest(text, [wave]) else "")
        mends = [offer or f"put it with the deliveries of its wave; this is {wave}" for offer in offers]
        self._fault(here, column, self._texts(here, column), "other_wave", mends)
        return whole & ~blank & ~other

    def _stripped(self, column: str, kept: pd.DataFrame | None = None) -> pd.Series:
        """Return a column without invisible characters; the rows that had any are remembered."""
        series = (self.cells if kept is None else kept)[column]
        texts = series.cat.categories
        whole = "".join(texts)
        if not HIDDEN.search(whole) and unicodedata.is_normalized("NFC", whole):
            return series
        clean = [unicodedata.normalize("NFC", HIDDEN.sub("", text)) for text in texts]
        touched = np.array([HIDDEN.search(text) is not None for text in texts], dtype=bool)
        self.hidden.loc[series.index] |= touched[series.cat.codes]
        codes, distinct = pd.factorize(np.array(clean, dtype=object))
        return pd.Series(
            pd.Categorical.from_codes(codes[series.cat.codes], pd.Index(distinct, dtype="str")),
            index=series.index,
            name=column,
        )

    def _texts(self, places: pd.Index, column: str) -> list[str]:
        # Most columns have nothing to quote, and to be told so by pandas takes as long as to read them.
        return [str(text) for text in self.cells.loc[places, column]] if len(places) else []

    def _item(self, item: Item, columns: dict[str, pd.Series]) -> pd.Series:
        """Read an item of one column; return why it is missing."""
        column = self._column(item)
        if column not in self.cells.columns:
            columns[item.name] = pd.Series(pd.NA, index=self.kept.index, dtype=item.dtype)
            return self._reason(pd.Series(NOT_DELIVERED, index=self.kept.index, dtype="string"))
        texts = self.kept[column] if item.kind == "text" else self._stripped(column, self.kept)
        read = item.resolve(texts)
        columns[item.name] = read.value
        self._faults_of(item, column, texts, read)
        return self._reason(read.missing_reason)

    def _faults_of(self, item: Item, column: str, texts: pd.Series, read: Resolved) -> None:
        keys = self.instrument.keys
        if item.name == keys.weight:
            usable = read.value.gt(0).fillna(value=False) & np.isfinite(read.value.astype("float64"))
            wrong = texts.index[~usable.to_numpy(dtype=bool)]
            self._fault(wrong, column, self._texts(wrong, column), "weight_invalid", "give a number above 0")
            return
        rule, unlisted = _rules(item, self.instrument)
        for name, mask in (
            (rule, read.unknown & ~read.out_of_range),
            (unlisted, read.unknown & read.out_of_range),
        ):
            wrong = texts.index[mask.to_numpy(dtype=bool)]
            given = self._texts(wrong, column)
            self._fault(wrong, column, given, name, each(given, lambda text: _mend(item, text)))
        absent = {keys.respondent: "resp_id_missing", keys.organisation: "org_id_missing"}
        if item.name == keys.role and item.required:
            absent[item.name] = "role_missing"
        if item.name in absent:
            missing = texts.index[read.missing_reason.notna().to_numpy(dtype=bool)]
            mend = f"give the {item.label.lower()}" + (f", one of {listed(_names(item))}" if item.options else "")
            self._fault(missing, column, self._texts(missing, column), absent[item.name], mend)

    def _multi(self, item: Item, columns: dict[str, pd.Series]) -> pd.Series:
        """Read a multi-select item in either layout; return why it is missing as a whole."""
        names = [*item.delivered_columns().values(), item.column or item.name]
        here = [name for name in names if name in self.cells.columns]
        if not here:
            for native in item.native_columns():
                columns[native] = pd.Series(pd.NA, index=self.kept.index, dtype="Int8")
            return self._reason(pd.Series(NOT_DELIVERED, index=self.kept.index, dtype="string"))
        delivered = pd.DataFrame({name: self._stripped(name, self.kept) for name in here})
        read = item.resolve_multi(delivered)
        for native in item.native_columns():
            columns[native] = read.value[native]
        for column in read.unknown.columns:
            wrong = self.kept.index[read.unknown[column].to_numpy(dtype=bool)]
            given = self._texts(wrong, column)
            ticks = column != (item.column or item.name)
            mend = f"a column of {item.name} holds 0 or 1" if ticks else ""
            numbers = np.array([_is_number(text) for text in given], dtype=bool)
            for rule, mask in (("value_unknown", ~numbers), ("value_out_of_range", numbers)):
                chosen = [text for text, take in zip(given, mask, strict=True) if take]
                mends = mend or each(chosen, lambda text: _mend(item, text))
                self._fault(wrong[mask], column, chosen, rule, mends)
        return self._reason(read.missing_reason)

    def _reason(self, reasons: pd.Series) -> pd.Series:
        known = [BLANK, NOT_SHOWN, ROUTED_OUT, NOT_DELIVERED, *(code.id for code in self.instrument.missing)]
        known = list(dict.fromkeys(known))
        codes = pc.index_in(pa.array(reasons.array), value_set=pa.array(known)).fill_null(-1)
        return pd.Series(pd.Categorical.from_codes(codes.to_numpy(), dtype=pd.CategoricalDtype(known)), reasons.index)

    def _unknown(self) -> pd.DataFrame:
        """List the filled cells of columns that the instrument does not have."""
        parts = []
        for column in self.delivery.unknown:
            cells = self.kept[column].astype("str")
            filled = cells[cells.str.strip() != ""]
            parts.append(self.rows.loc[filled.index].assign(column=column, value=filled))
        empty = self.rows.iloc[:0].assign(column="", value="")
        return pd.concat([empty, *parts])


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").replace(".", "", 1).isdecimal()


def _rules(item: Item, instrument: Instrument) -> tuple[str, str]:
    """Return the rule for a text that is no answer, and for a number that is none."""
    keys = instrument.keys
    if item.name == keys.role:
        return "role_unknown", "role_unknown"
    if item.name in {keys.stage, keys.stage_organisation}:
        return "value_unknown", "stage_out_of_range"
    if item.kind == "date":
        return "date_unreadable", "date_out_of_range"
    return "value_unknown", "value_out_of_range"


def _names(item: Item) -> list[str]:
    """Return the answers as a sender may write them."""
    if item.kind in {"ordinal", "flag"}:
        return [f"{option.code} ({option.label})" for option in item.options]
    return [option.id for option in item.options]


def _mend(item: Item, text: str) -> str:
    """Return what the sender can write instead; the nearest answer is offered, never applied."""
    if item.kind == "date":
        if item.unit == "quarter":
            return "write a quarter as 2025Q3"
        ends = [f"from {item.earliest}" if item.earliest else "", f"to {item.latest}" if item.latest else ""]
        return " ".join(["write dates as 2026-01-31 or 2026-01-31T09:30", *(each for each in ends if each)])
    if item.options:
        answers: list[Option | MissingCode] = [*item.options, *item.missing]
        known = {name: answer for answer in answers for name in (answer.id, answer.label, *answer.synonyms)}
        near = nearest(text, known) if len(text) <= 200 and not _is_number(text) else ""
        offer = f"did you mean {known[near].id}? " if near else ""
        codes = [f"{code.code} ({code.label})" for code in item.missing if code.code is not None]
        return f"{offer}use {listed(_names(item), limit=20)}" + (f"; missing: {listed(codes)}" if codes else "")
    if item.kind in {"number", "rank"}:
        low = 1.0 if item.kind == "rank" else item.low
        ends = [f"from {low:g}" if low is not None else "", f"to {item.high:g}" if item.high is not None else ""]
        return " ".join(["give a", "whole" if item.kind == "rank" else "plain", "number", *filter(None, ends)])
    return "see the item in the instrument"
