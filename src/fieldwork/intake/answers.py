"""Deliveries of one wave, read as answers to the instrument, and everything that is wrong with them.

The instrument reads texts; here rows are placed and held against one another, and every fault of every row is written
down. Nothing is set aside here: `clean` decides from the list of faults, `check_files` prints it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fieldwork.errors import listed, nearest
from fieldwork.instrument import BLANK
from fieldwork.intake.problems import HIDDEN, SETS_ASIDE, Rule, rules_of

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item, QualityRule, Resolved
    from fieldwork.intake.delivery import Delivery

__all__ = ["NOT_DELIVERED", "NOT_SHOWN", "ROUTED_OUT", "Answers", "read_answers"]

NOT_SHOWN = "not_shown"  # no answer, and the question was not put to this respondent
ROUTED_OUT = "routed_out"  # an answer to a question that was not put; made missing
NOT_DELIVERED = "not_delivered"  # the column is not in the file

_NO_FAULTS = pd.DataFrame({"place": np.array([], dtype="int64")}).assign(column="", value="", rule="", mend="")
# Beyond so many distinct wrong texts of one column, the nearest answer is no longer looked up for each.
_OFFERS = 1_000
_DECLARED = "nothing to mend: set aside by a rule that was declared before the data were read; "


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """All delivered rows, each with its place 0..n-1, and what the instrument makes of them.

    Attributes
    ----------
    rows : pd.DataFrame       One line per delivered row: file, row, resp_id as delivered; index = place (n,).
    coded : pd.DataFrame      Native columns in native types, rows of the wave that could be read; index = place (m,).
    reasons : pd.DataFrame    Why an item has no answer, one column per item; missing where it has one (m,).
    faults : pd.DataFrame     One line per fault: place, column, value, rule, mend; by place, then precedence of rules.
    unknown : pd.DataFrame    Filled cells of unknown columns: file, row, resp_id, column, value.
    wave : str                The wave that was read.
    rules : dict              Rule by name, in order of precedence.
    """

    rows: pd.DataFrame
    coded: pd.DataFrame
    reasons: pd.DataFrame
    faults: pd.DataFrame
    unknown: pd.DataFrame
    wave: str
    rules: dict[str, Rule]


def read_answers(deliveries: Sequence[Delivery], instrument: Instrument) -> Answers:
    """Read deliveries as answers and list every fault of every row.

    Row by row: the number of cells, the wave, the keys, each answer against the item's list or range. Then row against
    row: a respondent delivered twice, with the same answers or with others. Then item against item: routing, options
    that stand alone, caps, repeated ranks, and the instrument's quality rules. A row of another wave, a damaged or an
    empty row is not read further.
    """
    rules = rules_of(instrument)
    parts = []
    first = 0
    for delivery in deliveries:
        parts.append(_Reading(delivery, instrument, first))
        first += delivery.delivered
    rows = _stacked([part.rows for part in parts], ["file", "row", "resp_id"])
    values = _stacked([part.coded for part in parts], instrument.columns())
    reasons = _stacked([part.reasons for part in parts], [item.name for item in instrument.items])
    cells = _Cells([part.cells for part in parts])
    faults = [fault for part in parts for fault in part.faults]
    superseded = _superseded(parts, values, rows, instrument)
    gone = pd.Index(superseded["place"])
    kept, kept_reasons = values.drop(index=gone), reasons.drop(index=gone)
    faults += _repeated_respondents(rows, kept, kept_reasons, pd.concat([_NO_FAULTS, *faults]), instrument)
    values, reasons, routed = _routed(values, reasons, cells, instrument)
    faults += routed
    faults += _unanswered(reasons, values, instrument)
    faults += _options_that_clash(values, instrument)
    faults += _quality(values, pd.concat([_NO_FAULTS, *faults, superseded]), cells, rules, instrument)
    listed_faults = pd.concat([_NO_FAULTS, *faults], ignore_index=True)
    listed_faults = listed_faults[~listed_faults["place"].isin(gone)]  # what is replaced has nothing else to mend
    listed_faults = _as_delivered(pd.concat([listed_faults, superseded], ignore_index=True), parts)
    order = listed_faults["rule"].map({name: place for place, name in enumerate(rules)}).astype("int64")
    by_precedence = np.lexsort((np.arange(len(order)), order.to_numpy(), listed_faults["place"].to_numpy()))
    return Answers(
        rows=rows,
        coded=values,
        reasons=reasons,
        faults=listed_faults.iloc[by_precedence].reset_index(drop=True),
        unknown=_stacked([part.unknown for part in parts], ["file", "row", "resp_id", "column", "value"]),
        wave=instrument.wave,
        rules=rules,
    )


def _superseded(
    parts: Sequence[_Reading], values: pd.DataFrame, rows: pd.DataFrame, instrument: Instrument
) -> pd.DataFrame:
    """Find rows whose respondent a later file corrects; of several corrections the last, by name of file, counts."""
    who = values[instrument.keys.respondent]
    found = [_NO_FAULTS]
    correcting = [part for part in parts if part.delivery.corrects]
    for part in parts:
        mine = who[who.index.intersection(part.rows.index)].dropna()
        later = [c for c in correcting if c is not part and (not part.delivery.corrects or _after(c, part))]
        for correction in reversed(later):
            theirs = who[who.index.intersection(correction.rows.index)].dropna()
            where = rows.loc[theirs.index, "file"] + ", row " + rows.loc[theirs.index, "row"].astype("str")
            at = dict(zip(theirs.astype("str"), where, strict=True))
            wrong = mine[mine.isin(list(at))]
            if len(wrong):
                mends = [f"nothing to mend: {at[str(name)]} corrects it" for name in wrong]
                column = _delivered_name(instrument, instrument.keys.respondent)
                found.append(_listed(wrong.index, column, [str(name) for name in wrong], "superseded", mends))
                mine = mine.drop(wrong.index)
    return pd.concat(found, ignore_index=True)


def _after(correction: _Reading, part: _Reading) -> bool:
    return correction.delivery.file > part.delivery.file


def _as_delivered(faults: pd.DataFrame, parts: Sequence[_Reading]) -> pd.DataFrame:
    """Name the columns of faults as the files do, where the instrument maps them."""
    column = faults["column"].copy()
    for part in parts:
        if part.delivery.called and len(part.rows):
            mine = faults["place"].between(part.rows.index.min(), part.rows.index.max())
            column = column.mask(mine, column.map(part.delivery.called).fillna(column))
    return faults.assign(column=column)


def _stacked(frames: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)] or list(frames[:1])
    return pd.concat(filled)[list(columns)] if filled else pd.DataFrame(columns=list(columns))


class _Cells:
    """Delivered texts, looked up by place and column for the few rows that a message quotes."""

    def __init__(self, frames: Sequence[pd.DataFrame]) -> None:
        self.frames = frames

    def __call__(self, places: pd.Index, column: str) -> list[str]:
        found = pd.Series("", index=places, dtype="str")
        for frame in self.frames:
            if column in frame.columns and len(here := places.intersection(frame.index)):
                found[here] = frame.loc[here, column].astype("str")
        return [str(text) for text in found]


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
        self._fault(self.hidden[self.hidden].index, "", "", "hidden_characters", "remove the invisible characters")

    def _fault(
        self, places: pd.Index, column: str, value: str | Sequence[str], rule: str, mend: str | Sequence[str]
    ) -> None:
        if len(places):
            self.faults.append(_listed(places, column, value, rule, mend))

    @property
    def _respondent(self) -> str:
        return self._column(self.instrument.item(self.instrument.keys.respondent))

    @staticmethod
    def _column(item: Item) -> str:
        return next(iter(item.delivered_columns().values()))

    def _places(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "file": self.delivery.file,
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
                "file": self.delivery.file,
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
        for each in self.delivery.aside:
            at = self.delivery.rows.index.get_indexer(pd.Index([each.row]))[0]
            if at >= 0:
                marked[at] = True
                self._fault(self.cells.index[[at]], each.column, each.value, each.rule, each.mend)
        noted = self.delivery.rows.index.get_indexer(
            pd.Index([each.row for each in self.delivery.remarks], dtype="int64")
        )
        for each, at in zip(self.delivery.remarks, noted, strict=True):
            self._fault(self.cells.index[[int(at)]], each.column, each.value, each.rule, each.mend)
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
        offers = _each(given[other], lambda text: f"it should read {wave}?" if nearest(text, [wave]) else "")
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
        return [str(text) for text in self.cells.loc[places, column]]

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
            self._fault(wrong, column, given, name, _each(given, lambda text: _mend(item, text)))
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
                mends = mend or _each(chosen, lambda text: _mend(item, text))
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


def _listed(
    places: pd.Index, column: str | Sequence[str], value: str | Sequence[str], rule: str, mend: str | Sequence[str]
) -> pd.DataFrame:
    return pd.DataFrame({"place": places, "column": column, "value": value, "rule": rule, "mend": mend})


def _each(texts: Iterable[str], tell: Callable[[str], str]) -> list[str]:
    """Return what `tell` says of each text, asked once per distinct text."""
    texts = list(texts)
    told = {text: tell(text) if number < _OFFERS else tell("") for number, text in enumerate(dict.fromkeys(texts))}
    return [told[text] for text in texts]


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
        return "date_unreadable", "date_unreadable"
    return "value_unknown", "value_out_of_range"


def _names(item: Item) -> list[str]:
    """Return the answers as a sender may write them."""
    if item.kind in {"ordinal", "flag"}:
        return [f"{option.code} ({option.label})" for option in item.options]
    return [option.id for option in item.options]


def _mend(item: Item, text: str) -> str:
    """Return what the sender can write instead; the nearest answer is offered, never applied."""
    if item.kind == "date":
        return (
            "write a quarter as 2025Q3" if item.unit == "quarter" else "write dates as 2026-01-31 or 2026-01-31T09:30"
        )
    if item.options:
        known = {name: option for option in item.options for name in (option.id, option.label, *option.synonyms)}
        near = nearest(text, known) if len(text) <= 200 and not _is_number(text) else ""
        offer = f"did you mean {known[near].id}? " if near else ""
        codes = [str(code.code) for code in item.missing if code.code is not None]
        return f"{offer}use {listed(_names(item), limit=20)}" + (f"; missing: {listed(codes)}" if codes else "")
    if item.kind in {"number", "rank"}:
        low = 1.0 if item.kind == "rank" else item.low
        ends = [f"from {low:g}" if low is not None else "", f"to {item.high:g}" if item.high is not None else ""]
        return " ".join(["give a", "whole" if item.kind == "rank" else "plain", "number", *filter(None, ends)])
    return "see the item in the instrument"


def _repeated_respondents(
    rows: pd.DataFrame, values: pd.DataFrame, reasons: pd.DataFrame, faults: pd.DataFrame, instrument: Instrument
) -> list[pd.DataFrame]:
    """Find respondents delivered more than once: the same answers, all but the first; other answers, all of them."""
    keys = instrument.keys
    respondent = values[keys.respondent]
    twice = values.index[(respondent.notna() & respondent.duplicated(keep=False)).to_numpy(dtype=bool)]
    if not len(twice):
        return []
    times = [key for key in (keys.start, keys.end) if key]
    same = [column for column in values.columns if column not in {keys.respondent, keys.wave, *times}]
    answers = pd.DataFrame({column: values.loc[twice, column].astype("str").fillna("") for column in same})
    for item in reasons.columns[~reasons.columns.isin([keys.respondent, keys.wave, *times])]:
        answers[f"{item}: reason"] = reasons.loc[twice, item].astype("str").fillna("")
    wrong = faults[faults["place"].isin(twice) & ~faults["rule"].isin(["hidden_characters"])]
    for column, part in wrong.groupby("column"):
        answers[f"{column}: text"] = part.groupby("place")["value"].agg("|".join).reindex(twice).fillna("")
    # First is who came first by the clock, so that the order of rows decides between identical rows only.
    clock = values.loc[twice, times].astype("str").fillna("")
    order = pd.concat([respondent[twice].rename("who"), clock, rows.loc[twice, ["file", "row"]]], axis="columns")
    order = order.sort_values(list(order.columns))
    answers = answers.loc[order.index]
    who = order["who"]
    place = order.groupby("who").cumcount()
    firsts = answers.groupby(who).transform("first")
    differs = (answers != firsts).groupby(who).transform("any")
    conflict = differs.any(axis="columns")
    named = [column.partition(":")[0] for column in differs.columns]
    where = rows.loc[order.index, "file"] + ", row " + rows.loc[order.index, "row"].astype("str")
    first = where.groupby(who).transform("first")
    second = where.groupby(who).transform(lambda group: group.iloc[1])
    repeated = order.index[~conflict & (place > 0)]
    out = [
        _listed(
            repeated,
            _delivered_name(instrument, keys.respondent),
            [str(text) for text in who[repeated]],
            "duplicate_respondent",
            [f"delete it: {text} holds the same answers of this respondent" for text in first[repeated]],
        )
    ]
    clashing = order.index[conflict]
    other = second.where(place == 0, first)
    in_what = np.array(named, dtype=object)
    mends = [
        f"answers differ from {other[at]} in {listed(dict.fromkeys(in_what[differs.loc[at]]), limit=6)}: keep one"
        for at in clashing
    ]
    column = _delivered_name(instrument, keys.respondent)
    out.append(_listed(clashing, column, [str(text) for text in who[clashing]], "duplicate_respondent", mends))
    return out


def _delivered_name(instrument: Instrument, name: str) -> str:
    return next(iter(instrument.item(name).delivered_columns().values()))


def _routed(
    values: pd.DataFrame, reasons: pd.DataFrame, cells: _Cells, instrument: Instrument
) -> tuple[pd.DataFrame, pd.DataFrame, list[pd.DataFrame]]:
    """Make answers to questions that were not put missing, and say of blanks whether the question was put."""
    values = values.copy(deep=False)
    reasons = reasons.copy(deep=False)
    faults = []
    for item in _gates_first(instrument):
        put = instrument.asked(item.name, values)
        if item.asked_if is not None:
            put = put.mask(reasons[item.asked_if.item].isin([NOT_SHOWN, ROUTED_OUT]), other=False)
        skipped = put.eq(other=False).fillna(value=False).to_numpy(dtype=bool)
        answered = skipped & values[item.native_columns()].notna().any(axis="columns").to_numpy(dtype=bool)
        reason = reasons[item.name].mask(skipped & (reasons[item.name] == BLANK).to_numpy(), NOT_SHOWN)
        if answered.any():
            here = values.index[answered]
            column = _delivered_name(instrument, item.name)
            mend = _routing_in_words(item)
            faults.append(_listed(here, column, cells(here, column), "routing_violated", mend))
            for native in item.native_columns():
                values[native] = values[native].mask(answered)
            reason = reason.mask(answered, ROUTED_OUT)
        reasons[item.name] = reason
    return values, reasons, faults


def _gates_first(instrument: Instrument) -> list[Item]:
    """Return the items that are not put to everybody, each after the item that it routes on."""
    ordered: dict[str, Item] = {}

    def visit(item: Item) -> None:
        if item.name not in ordered:
            if item.asked_if is not None:
                visit(instrument.item(item.asked_if.item))
            ordered[item.name] = item

    for item in instrument.items:
        visit(item)
    return [item for item in ordered.values() if item.asked_of or item.asked_if is not None]


def _routing_in_words(item: Item) -> str:
    parts = [f"asked of {listed(item.asked_of)}"] if item.asked_of else []
    if item.asked_if is not None:
        parts.append(f"asked if {item.asked_if.item} is {listed(map(str, item.asked_if.within))}")
    return f"{item.name} is {' and '.join(parts)}: leave it empty for others"


def _unanswered(reasons: pd.DataFrame, values: pd.DataFrame, instrument: Instrument) -> list[pd.DataFrame]:
    """Find rows without an answer to a required item that was put to them."""
    keys = instrument.keys
    own_rule = {keys.respondent, keys.organisation, keys.wave, keys.role, keys.weight}
    faults = []
    for item in instrument.items:
        if not item.required or item.name in own_rule:
            continue
        reason = reasons[item.name]
        absent = (reason.notna() & ~reason.isin([NOT_SHOWN, ROUTED_OUT])).to_numpy(dtype=bool)
        if absent.any():
            told = [f"no answer ({text}); {item.label.lower()} is required" for text in reason[absent].astype("str")]
            faults.append(
                _listed(values.index[absent], _delivered_name(instrument, item.name), "", "answer_missing", told)
            )
    return faults


def _options_that_clash(values: pd.DataFrame, instrument: Instrument) -> list[pd.DataFrame]:
    """Find exclusive options ticked with others, caps exceeded, ranks given twice, and ends before starts."""
    faults = []
    for item in instrument.items:
        if item.kind != "multi" or not (item.exclusive or item.cap):
            continue
        ticks = (values[item.native_columns()] == 1).fillna(value=False).to_numpy(dtype=bool)
        chosen = ticks.sum(axis=1)
        ids = np.array([option.id for option in item.options], dtype=object)
        column = item.column or item.name
        if item.exclusive:
            alone = ticks[:, np.isin(ids, item.exclusive)].any(axis=1)
            wrong = np.flatnonzero(alone & (chosen > 1))
            told = [";".join(ids[ticks[row]]) for row in wrong]
            mend = f"{listed(item.exclusive)} stands alone: untick it or the others"
            faults.append(_listed(values.index[wrong], column, told, "exclusive_combined", mend))
        if item.cap:
            wrong = np.flatnonzero(chosen > item.cap)
            told = [str(number) for number in chosen[wrong]]
            mend = f"at most {item.cap} options were to be chosen"
            faults.append(_listed(values.index[wrong], column, told, "cap_exceeded", mend))
    for family in instrument.families:
        items = [instrument.item(name) for name in family.members if instrument.item(name).kind == "rank"]
        if len(items) > 1:
            ranks = np.sort(values[[item.name for item in items]].to_numpy(dtype="float64", na_value=np.nan), axis=1)
            wrong = np.flatnonzero((np.diff(ranks, axis=1) == 0).any(axis=1))
            told = [" ".join(f"{rank:g}" for rank in ranks[row] if np.isfinite(rank)) for row in wrong]
            mend = "each rank is given once"
            faults.append(_listed(values.index[wrong], family.name, told, "rank_repeated", mend))
    minutes = _minutes(values, instrument)
    wrong = np.flatnonzero(minutes < 0)
    if len(wrong):
        keys = instrument.keys
        told = [f"{start} to {end}" for start, end in values[[keys.start, keys.end]].iloc[wrong].to_numpy()]
        column = _delivered_name(instrument, keys.end)
        mend = "correct the times, or leave them empty"
        faults.append(_listed(values.index[wrong], column, told, "end_before_start", mend))
    return faults


def _minutes(values: pd.DataFrame, instrument: Instrument) -> np.ndarray:
    """Return the length of each interview in minutes, not-a-number where a time is missing."""
    keys = instrument.keys
    if not (keys.start and keys.end):
        return np.full(len(values), np.nan)
    start, end = (
        pd.to_datetime(values[key], format="ISO8601", utc=True, errors="coerce") for key in (keys.start, keys.end)
    )
    return ((end - start).dt.total_seconds() / 60).to_numpy(dtype="float64")


def _quality(
    values: pd.DataFrame, faults: pd.DataFrame, cells: _Cells, rules: dict[str, Rule], instrument: Instrument
) -> list[pd.DataFrame]:
    """Apply the quality rules that the instrument declares, in their order."""
    out = []
    minutes = _minutes(values, instrument) if any(rule.kind == "min_minutes" for rule in instrument.quality) else None
    errors = faults.loc[faults["rule"].map(lambda name: rules[name].severity).isin(SETS_ASIDE), "place"]
    for rule in instrument.quality:
        column, value = "", [""]
        if rule.kind == "min_minutes" and minutes is not None:
            wrong = np.flatnonzero((minutes >= 0) & (minutes < (rule.value or 0)))
            column = _delivered_name(instrument, instrument.keys.end)
            value = [f"{minutes[row]:.1f} minutes" for row in wrong]
            mend = f"shorter than {rule.value:g} minutes"
        elif rule.kind == "straight_line":
            wrong, items = _straight_lines(values, rule, instrument)
            value = [f"{values[items].iloc[row].dropna().iloc[0]} throughout" for row in wrong]
            mend = f"the same answer to {len(items)} items"
        elif rule.kind == "attention":
            if rule.item not in instrument:
                continue
            item = instrument.item(rule.item)
            expected = item.option(rule.expected)
            right = expected.code if item.dtype == "Int8" else expected.id
            wrong = np.flatnonzero((values[item.name] != right).fillna(value=False).to_numpy(dtype=bool))
            column = _delivered_name(instrument, item.name)
            value = cells(values.index[wrong], column)
            mend = f"the instruction was to answer {expected.label}"
        else:
            wrong = _same_answers(values, errors, rule, instrument)
            mend = "the same answers as another respondent: ask the sender whether it is a copy"
        if len(wrong):
            value = value if len(value) == len(wrong) else [""] * len(wrong)
            mend = f"{_DECLARED}{mend}" if rule.action == "exclude" else mend
            out.append(_listed(values.index[wrong], column, value, rule.name, mend))
    return out


def _named_items(rule: QualityRule, instrument: Instrument) -> list[str]:
    """Return the native columns of the items and families that a rule names, as far as the wave asks them."""
    families = {family.name for family in instrument.families}
    items = [
        item
        for name in rule.items
        for item in (instrument.family(name) if name in families or name in instrument else ())
    ]
    return [column for item in items for column in item.native_columns()]


def _straight_lines(values: pd.DataFrame, rule: QualityRule, instrument: Instrument) -> tuple[np.ndarray, list[str]]:
    items = _named_items(rule, instrument)
    given = values[items].to_numpy(dtype="float64", na_value=np.nan)
    answered = np.isfinite(given)
    low = np.where(answered, given, np.inf).min(axis=1, initial=np.inf)
    high = np.where(answered, given, -np.inf).max(axis=1, initial=-np.inf)
    return np.flatnonzero((low == high) & (answered.sum(axis=1) >= rule.min_items)), items


def _same_answers(values: pd.DataFrame, errors: pd.Series, rule: QualityRule, instrument: Instrument) -> np.ndarray:
    """Find respondents whose answers are another's; of each set the first by id is left out."""
    keys = instrument.keys
    apart = {keys.respondent, keys.organisation, keys.wave, keys.weight, keys.start, keys.end}
    columns = _named_items(rule, instrument) or [column for column in values.columns if column not in apart]
    sound = values[~values.index.isin(errors)]
    answered = sound[sound[columns].notna().any(axis="columns")].sort_values(keys.respondent)
    digest = pd.util.hash_pandas_object(answered[columns], index=False)
    return np.sort(values.index.get_indexer(answered.index[digest.duplicated().to_numpy()]))
