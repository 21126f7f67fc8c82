"""One question: its wording, who is asked, its answers, and how a delivered text becomes one of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from fieldwork.errors import InstrumentError, listed, nearest
from fieldwork.instrument.answers import (
    BLANK,
    NO,
    YES,
    Reading,
    Resolved,
    ResolvedMulti,
    fold,
    plain_dates,
    plain_numbers,
    read_column,
    read_date,
    read_number,
    read_quarter,
    read_rest,
    whole,
)
from fieldwork.instrument.parts import MissingCode, Name, Option, Part, Route

__all__ = ["CONSTRUCTS", "KINDS", "Item"]

Kind = Literal["identifier", "date", "single", "ordinal", "multi", "rank", "number", "text", "flag"]
KINDS: tuple[str, ...] = get_args(Kind)

Construct = Literal[
    "adoption_gradient",
    "role_shift",
    "lead_lag",
    "alignment_map",
    "influence",
    "blockers",
    "perception_gap",
    "readiness",
    "practices",
    "sample",
]
CONSTRUCTS: tuple[str, ...] = get_args(Construct)

_DTYPES = {"ordinal": "Int8", "multi": "Int8", "rank": "Int8", "flag": "Int8", "number": "Float64"}
_FLAG = (
    Option(code=0, id="no", label="No", synonyms=NO[1:]),
    Option(code=1, id="yes", label="Yes", synonyms=YES[1:]),
)
_NO_ANSWER = MissingCode(code=None, id=BLANK, label="No answer")


class Item(Part):
    """One item of the questionnaire, as it stands in one wave.

    Attributes
    ----------
    name : str                  Native column name (of a multi-select item: its prefix).
    kind : str                  identifier, date, single, ordinal, multi, rank, number, text or flag.
    label, wording : str        Short name for tables; the question as put.
    version : str               Version of the wording.
    first_wave, last_wave       Waves between which it was asked; empty: always.
    comparable : bool           False: answers of this wave are not to be compared with those of the waves before.
    note : str                  What is special in this wave, for the dictionary.
    module : str                Block of the questionnaire; `core` is the part that all get.
    family, member : str        The entry it was generated from by `repeat`, and the option it was generated for.
    scale : str                 Scale of an ordinal item.
    options : tuple of Option   Answers, also those that come from the scale or from a list.
    missing : tuple             Missing codes; none for identifiers and text, where every text is an answer.
    asked_of : tuple of str     Role ids that are asked; empty: all.
    asked_if : Route or None    Routing.
    cap : int or None           Largest number of options that may be ticked.
    exclusive : tuple of str    Option ids that stand alone.
    required : bool             A row without it is set aside.
    constructs : tuple of str   Constructs that it measures.
    column : str                Delivered column; empty: the name.
    low, high : float or None   Range of a number; `high` also the number of ranks.
    earliest, latest : str      First and last day of a date, as 2026-01-31; empty: any day of the calendar.
    unit : str                  Unit of a number (`percent` also reads `12%`); `quarter` for dates that are quarters.
    sampled : bool              Put to a random part of those who are asked: a blank there is no refusal.
    restricted : bool           Never to leave the processed data as it is.
    """

    name: Name
    kind: Kind
    label: str = Field(min_length=1)
    wording: str = ""
    version: str = "1"
    first_wave: str = ""
    last_wave: str = ""
    comparable: bool = True
    note: str = ""
    module: str = "core"
    family: str = ""
    member: str = ""
    scale: str = ""
    options: tuple[Option, ...] = ()
    missing: tuple[MissingCode, ...] = ()
    asked_of: tuple[str, ...] = ()
    asked_if: Route | None = None
    cap: int | None = Field(default=None, ge=1)
    exclusive: tuple[str, ...] = ()
    required: bool = False
    constructs: tuple[Construct, ...] = ()
    column: str = ""
    low: float | None = None
    high: float | None = None
    earliest: str = ""
    latest: str = ""
    unit: str = ""
    sampled: bool = False
    restricted: bool = False

    @model_validator(mode="before")
    @classmethod
    def _yes_and_no(cls, data: object) -> object:
        """Give a flag its two answers where the file gives it none."""
        if isinstance(data, dict) and data.get("kind") == "flag" and not data.get("options"):
            return data | {"options": _FLAG}
        return data

    @property
    def dtype(self) -> str:
        """Pandas type of its native columns."""
        return _DTYPES.get(self.kind, "string")

    @property
    def codes(self) -> list[int]:
        """Codes of its options in order."""
        return [option.code for option in self.options]

    def native_columns(self) -> list[str]:
        """Columns of the item in the responses table: its name, or one `<name>_<option id>` per option.

        >>> Item(name="blk", kind="multi", label="Blockers", options=(Option(code=1, id="roi", label="Returns"),)
        ...      ).native_columns()
        ['blk_roi']
        """
        if self.kind == "multi":
            return [f"{self.name}_{option.id}" for option in self.options]
        return [self.name]

    def delivered_columns(self) -> dict[str, str]:
        """Delivered column per native column."""
        if self.kind == "multi":
            return {f"{self.name}_{o.id}": o.column or f"{self.column or self.name}_{o.id}" for o in self.options}
        return {self.name: self.column or self.name}

    def option(self, text: str | int) -> Option:
        """Return the option of that id, code or label; refuse any other."""
        found = self._lookup.get(fold(str(text)))
        if isinstance(found, Option):
            return found
        near = nearest(str(text), [option.id for option in self.options])
        raise InstrumentError(
            f"item {self.name} has no option '{text}'",
            where=f"items.{self.name}.options",
            expected=listed(option.id for option in self.options),
            got=f"'{text}'",
            hint=f"did you mean {near}?" if near else "name an option by its id or its code",
        )

    def code_of(self, text: str) -> Option | MissingCode | None:
        """Return what a delivered text of a coded item stands for; None: nothing that the item knows.

        Code, id, label and synonyms are compared without case and with blanks folded; `3` and `3.0` are one code. An
        empty text is the missing code `blank`.

        >>> item = Item(name="stall", kind="flag", label="Stalled")
        >>> item.code_of(" YES ").code, item.code_of("0.0").id, item.code_of("").id, item.code_of("maybe")
        (1, 'no', 'blank', None)
        """
        folded = fold(text)
        if not folded:
            return _NO_ANSWER
        found = self._lookup.get(folded)
        if found is None and (number := whole(folded)) is not None:
            found = self._lookup.get(str(number))
        return found

    def read(self, text: str) -> Reading:
        """Read one delivered text, whatever the kind of item; of a multi-select item, see `read_tick`.

        >>> Item(name="weeks", kind="number", label="Weeks", low=0, high=52).read("60").fault
        'out_of_range'
        """
        if self.kind in {"identifier", "text"}:
            stripped = text.strip()
            return Reading(stripped) if stripped else Reading(None, reason=BLANK)
        found = self.code_of(text)
        if isinstance(found, MissingCode):
            return Reading(None, reason=found.id)
        if isinstance(found, Option):
            return Reading(found.code if self.dtype == "Int8" else found.id)
        return self._read_open(text)

    def _read_open(self, text: str) -> Reading:
        """Read an answer that is none of a list."""
        if self.kind == "number":
            return read_number(text, self.low, self.high, self._missing_numbers, self.unit)
        if self.kind == "date":
            return read_quarter(text) if self.unit == "quarter" else read_date(text, self.earliest, self.latest)
        number = whole(fold(text))
        if self.kind == "rank" and number is not None and 1 <= number <= (self.high or 0):
            return Reading(number)
        return Reading(None, fault="unknown" if number is None else "out_of_range")

    def read_tick(self, option: Option, text: str) -> Reading:
        """Read one cell of a 0/1 column of a multi-select item; the option's own label is a tick too."""
        folded = fold(text)
        number = whole(folded)
        if number in {0, 1}:
            return Reading(number)
        if folded in YES or folded in self._texts[option.id]:
            return Reading(1)
        if folded in NO:
            return Reading(0)
        found = self.code_of(text)
        if isinstance(found, MissingCode):
            return Reading(None, reason=found.id)
        return Reading(None, fault="unknown" if number is None else "out_of_range")

    def resolve(self, series: pd.Series) -> Resolved:
        """Read a delivered column of texts; each distinct text is read once.

        For one 0/1 column of a multi-select item use `resolve_option`, for the whole item `resolve_multi`.

        >>> item = Item(name="stall", kind="flag", label="Stalled")
        >>> item.resolve(pd.Series(["yes", "0", "", "perhaps"])).value.tolist()
        [1, 0, <NA>, <NA>]
        """
        if self.kind in {"identifier", "text"}:
            value = series.astype("string").str.strip()
            empty = value.isna() | value.eq("").fillna(value=True)
            return Resolved(
                value=value.mask(empty),
                missing_reason=pd.Series(BLANK, index=series.index, dtype="string").where(empty),
                unknown=pd.Series(data=False, index=series.index),
                out_of_range=pd.Series(data=False, index=series.index),
            )
        if self.kind == "number":
            return read_rest(series, plain_numbers(series, self.low, self.high), self.read, self.dtype)
        if self.kind == "date" and self.unit != "quarter":
            return read_rest(series, plain_dates(series, self.earliest, self.latest), self.read, self.dtype)
        return read_column(series, self.read, self.dtype)

    def resolve_option(self, option: str, series: pd.Series) -> Resolved:
        """Read one delivered 0/1 column of a multi-select item."""
        chosen = self.option(option)
        return read_column(series, lambda text: self.read_tick(chosen, text), "Int8")

    def resolve_multi(self, delivered: pd.DataFrame) -> ResolvedMulti:
        """Read a multi-select item from a delivery: its 0/1 columns, or one column of codes separated by `;`.

        A blank cell beside an answered one stays missing: whether it means "not ticked" is the delivery's to say. In
        the one-column form every option not named is 0. A missing code in any cell is the reason of the whole item.

        >>> options = (Option(code=1, id="roi", label="Returns"), Option(code=2, id="cost", label="Cost"))
        >>> item = Item(name="blk", kind="multi", label="Blockers", options=options)
        >>> item.resolve_multi(pd.DataFrame({"blk": ["1;2", "cost", ""]})).value.values.tolist()
        [[1, 1], [0, 1], [<NA>, <NA>]]
        """
        columns = self.delivered_columns()
        single = self.column or self.name
        if single in delivered.columns and not any(column in delivered.columns for column in columns.values()):
            return self._resolve_list(delivered[single], single)
        return self._resolve_wide(delivered, columns)

    def _resolve_wide(self, delivered: pd.DataFrame, columns: dict[str, str]) -> ResolvedMulti:
        value: dict[str, pd.Series] = {}
        unknown: dict[str, pd.Series] = {}
        reason = pd.Series(pd.NA, index=delivered.index, dtype="string")
        answered = pd.Series(data=False, index=delivered.index)
        for option, (native, column) in zip(self.options, columns.items(), strict=True):
            if column not in delivered.columns:
                value[native] = pd.Series(pd.NA, index=delivered.index, dtype="Int8")
                continue
            read = self.resolve_option(option.id, delivered[column])
            value[native] = read.value
            unknown[column] = read.unknown
            answered |= read.value.notna() | read.unknown
            reason = reason.mask(reason.isna() | reason.eq(BLANK), read.missing_reason)
        reason = reason.mask(answered & reason.fillna(BLANK).eq(BLANK))
        reason = reason.mask(~answered & reason.isna(), BLANK)
        return ResolvedMulti(pd.DataFrame(value, index=delivered.index), reason, pd.DataFrame(unknown))

    def _resolve_list(self, series: pd.Series, column: str) -> ResolvedMulti:
        positions, texts = pd.factorize(series)
        ticks = np.full((len(texts) + 1, len(self.options)), -1, dtype=np.int8)
        reasons: list[str | None] = [None] * len(texts) + [BLANK]
        unknown = np.zeros(len(texts) + 1, dtype=bool)
        index = {option.id: number for number, option in enumerate(self.options)}
        for row, text in enumerate(map(str, texts)):
            found = [self.code_of(part) for part in self._parts(text)]
            missing = [answer for answer in found if isinstance(answer, MissingCode)]
            chosen = [index[answer.id] for answer in found if isinstance(answer, Option)]
            if not found:
                reasons[row] = BLANK
            elif missing and len(missing) == len(found):
                reasons[row] = missing[0].id
            elif len(chosen) < len(found):
                unknown[row] = True
            else:
                ticks[row] = 0
                ticks[row, chosen] = 1
        drawn = ticks[positions]
        value = {
            name: pd.Series(pd.array(drawn[:, number], dtype="Int8"), index=series.index).mask(drawn[:, number] < 0)
            for number, name in enumerate(self.native_columns())
        }
        return ResolvedMulti(
            pd.DataFrame(value, index=series.index),
            pd.Series(pd.array(reasons, dtype="string").take(positions), index=series.index),
            pd.DataFrame({column: unknown[positions]}, index=series.index),
        )

    def _parts(self, text: str) -> list[str]:
        """Split a list of codes; a label that itself holds a `;` is one part."""
        if self._lookup.get(fold(text)) is not None:
            return [text]
        return [part for part in text.split(";") if part.strip()]

    @cached_property
    def _texts(self) -> dict[str, frozenset[str]]:
        """Folded texts of each option that are not bare numbers."""
        return {
            option.id: frozenset(text for text in _texts_of(option) if whole(text) is None) for option in self.options
        }

    @cached_property
    def _missing_numbers(self) -> dict[int, str]:
        return {code.code: code.id for code in self.missing if code.code is not None}

    @cached_property
    def _lookup(self) -> dict[str, Option | MissingCode]:
        """Every folded text that the item knows; two answers under one text are refused."""
        found: dict[str, Option | MissingCode] = {}
        for answer, texts in self._answers():
            for text in texts:
                other = found.setdefault(text, answer)
                if other is not answer:
                    raise InstrumentError(
                        f"two answers of item {self.name} go by the same text",
                        where=f"items.{self.name}",
                        expected="every code, id, label and synonym names one answer",
                        got=f"'{text}' is '{other.id}' and '{answer.id}'",
                        hint="change one code, id, label or synonym; missing codes count too",
                    )
        for option in self.options:
            for sign in (" ", " - ", ". ", ": ", " = ", ") "):
                found.setdefault(fold(f"{option.code}{sign}{option.label}"), option)
        return found

    def _answers(self) -> Iterator[tuple[Option | MissingCode, list[str]]]:
        for option in self.options:
            yield option, [str(option.code), *_texts_of(option)]
        for code in self.missing:
            # A number's missing codes carry a minus or lie outside its range: `read_number` decides.
            number = [] if code.code is None or self.kind == "number" else [str(code.code)]
            yield code, [*number, *_texts_of(code)]


def _texts_of(answer: Option | MissingCode) -> list[str]:
    return [fold(text) for text in (answer.id, answer.label, *answer.synonyms)]
