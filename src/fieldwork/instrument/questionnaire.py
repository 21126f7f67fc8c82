"""The instrument of one wave: what was asked, of whom, with which answers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, ValidationError, ValidationInfo, model_validator

from fieldwork.errors import InstrumentError, listed, nearest
from fieldwork.instrument.contradictions import Contradictions
from fieldwork.instrument.item import Item  # noqa: TC001 - pydantic needs it when the class is made
from fieldwork.instrument.parts import (
    DeliveryForm,
    Family,
    Keys,
    LongForm,
    MissingCode,
    Option,
    Part,
    Personal,
    QualityRule,
    Scale,
)
from fieldwork.instrument.reading import tables

__all__ = ["Instrument", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """What a delivered column feeds.

    Attributes
    ----------
    item : Item               The item.
    option : Option or None   The option of a multi-select item's 0/1 column; None: the column is the whole item.
    native : str              Native column; empty for a multi-select item delivered as one column of codes.
    """

    item: Item
    option: Option | None
    native: str


class Instrument(Part):
    """Roles, stages, scales, items, missing codes and quality rules of one wave.

    Every instrument that exists is free of contradictions: names and codes are unique, items route on items that are
    asked, keys name items. What other waves ask is not in it; `not_asked` (items) and `dormant` (delivered columns) say
    from when or up to when. `long` are the files of this wave that hold one answer a row, `long_elsewhere` those of others.
    `deliveries` say how exports are written, `personal` which of their columns are dropped when they are read.
    """

    id: str = Field(min_length=1)
    version: str
    title: str
    wave: str
    file: str = ""
    keys: Keys = Keys()
    slots: dict[str, str] = Field(default_factory=dict)
    roles: tuple[Option, ...] = ()
    stages: tuple[Option, ...] = ()
    scales: dict[str, Scale] = Field(default_factory=dict)
    missing: tuple[MissingCode, ...] = ()
    items: tuple[Item, ...]
    families: tuple[Family, ...] = ()
    not_asked: dict[str, str] = Field(default_factory=dict)
    dormant: dict[str, str] = Field(default_factory=dict)
    quality: tuple[QualityRule, ...] = ()
    long: tuple[LongForm, ...] = ()
    long_elsewhere: tuple[LongForm, ...] = ()
    deliveries: tuple[DeliveryForm, ...] = ()
    personal: Personal = Personal()

    @classmethod
    def load(cls, path: Path, wave: str) -> Instrument:
        """Read an instrument file and settle it for one wave.

        Raises InstrumentError with file, key, what was expected and the nearest known name.
        """
        settled = _frozen(tables(Path(path), wave))
        try:
            return cls.model_validate(settled, context={"file": Path(path).name})
        except ValidationError as error:
            raise _explained(error, settled, Path(path).name) from error

    @property
    def role_ids(self) -> list[str]:
        """Role ids in order."""
        return [role.id for role in self.roles]

    @property
    def stage_ids(self) -> list[str]:
        """Stage ids in order."""
        return [stage.id for stage in self.stages]

    def item(self, name: str) -> Item:
        """Return an item by name; refuse a name that is not asked in this wave."""
        if name in self._by_name:
            return self._by_name[name]
        since = self.not_asked.get(name)
        near = nearest(name, self._by_name)
        raise InstrumentError(
            f"wave {self.wave} does not ask item '{name}'",
            where=self.file or "Instrument.item",
            expected=f"'{name}' is asked {since}" if since else listed(self._by_name),
            got=f"'{name}'",
            hint="" if since else (f"did you mean '{near}'?" if near else "items are declared under [items.NAME]"),
        )

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def family(self, name: str) -> tuple[Item, ...]:
        """Return the items of a family in order, or the one item of that name."""
        if name in self._families:
            return tuple(self._by_name[member] for member in self._families[name].members)
        return (self.item(name),)

    def answered_in(self, family: str) -> Family:
        """Return a family by name, with the options that its items were generated for."""
        return self._families[family]

    def answers_of(self, family: str) -> Source | None:
        """Return what a column of answers to the members of a family feeds: the first of its items, alike in form."""
        items = self._families[family].members if family in self._families else ()
        return Source(self._by_name[items[0]], None, items[0]) if items else None

    def slot(self, name: str) -> tuple[Item, ...]:
        """Return the items that fill a slot of the analysis: none where the wave does not ask them.

        A slot is what an analysis needs one question for, named as measures.md section 4 names its variable (`owner`,
        `stall`, `inf`). The item or family of that name fills it, unless `[slots]` of the file names another. Where there is
        neither, items numbered from 1 do (`prac`: prac_1, prac_2, ...).
        """
        filled = self.slots.get(name, name)
        if filled in self._families or filled in self:
            return self.family(filled)
        return self._series(filled)

    def _series(self, name: str) -> tuple[Item, ...]:
        """Return the items NAME_1, NAME_2, ... up to the first number that is not asked."""
        numbered = (f"{name}_{number}" for number in itertools.count(1))
        return tuple(self._by_name[each] for each in itertools.takewhile(self._by_name.__contains__, numbered))

    def measures_of_everybody(self) -> tuple[Item, ...]:
        """Return every ordinal item and every block of blockers that all respondents are asked, in order.

        Left out: what classifies (the stages), what is asked of some roles, of a part of the respondents, under a condition
        or in an optional module, and what is asked about a role.
        """
        keys = self.keys
        return tuple(
            item
            for item in self.items
            if item.name not in {keys.stage, keys.stage_organisation}
            and not (item.asked_of or item.asked_if or item.sampled or item.member)
            and item.module == "core"
            and (
                (item.kind == "ordinal" and set(item.constructs) - {"sample"})
                or (item.kind == "multi" and "blockers" in item.constructs)
            )
        )

    def measures(self, construct: str) -> tuple[Item, ...]:
        """Return the items tagged with a construct, in order."""
        return tuple(item for item in self.items if construct in item.constructs)

    def columns(self) -> list[str]:
        """Native column names of the responses table in order."""
        return [column for item in self.items for column in item.native_columns()]

    def source(self, column: str) -> Source | None:
        """Return what a delivered column feeds; None for a column that the instrument does not know."""
        return self.layout.get(column)

    @cached_property
    def layout(self) -> dict[str, Source]:
        """Every delivered column that the instrument knows, in both layouts of multi-select items."""
        known: dict[str, Source] = {}
        for item in self.items:
            options = item.options if item.kind == "multi" else [None]
            for (native, column), option in zip(item.delivered_columns().items(), options, strict=True):
                known[column] = Source(item, option, native)
            if item.kind == "multi":
                known[item.column or item.name] = Source(item, None, "")
        return known

    def asked(self, name: str, responses: pd.DataFrame) -> pd.Series:
        """Tell for each respondent of a responses table whether an item was put to them.

        True or False by role and routing; missing where the role or the routing item has no answer, so that nobody can
        tell. Modules that a respondent may skip count as asked.

        Parameters
        ----------
        responses : pd.DataFrame    Native columns; needs the role and the item that is routed on.
        """
        item = self.item(name)
        put = pd.Series(data=True, index=responses.index, dtype="boolean")
        if item.asked_of and self.keys.role in responses.columns:
            role = responses[self.keys.role]
            put &= role.isin(item.asked_of).astype("boolean").mask(role.isna())
        if item.asked_if is not None:
            put &= self._routed(item, responses)
        return put

    def _routed(self, item: Item, responses: pd.DataFrame) -> pd.Series:
        assert item.asked_if is not None  # noqa: S101 - told by the caller
        on = self.item(item.asked_if.item)
        if on.kind == "multi":
            columns = [f"{on.name}_{on.option(text).id}" for text in item.asked_if.within]
            ticks = responses[columns].astype("boolean")
            return ticks.any(axis=1).astype("boolean").mask(ticks.isna().all(axis=1))
        answers = responses[on.name]
        if on.options:
            chosen = [on.option(text) for text in item.asked_if.within]
            wanted: list[Any] = [option.code if on.dtype == "Int8" else option.id for option in chosen]
        else:
            wanted = list(item.asked_if.within)
        return answers.isin(wanted).astype("boolean").mask(answers.isna())

    def option_label(self, kind: str, option: str | int) -> str:
        """Return the label of a role (`role`), a stage (`stage`) or an item's option, by id or code.

        An empty option has an empty label: it stands for all.
        """
        if option == "":
            return ""
        lists = {"role": self.roles, "stage": self.stages}
        known = lists.get(kind) or self.family(kind)[0].options
        for each in known:
            if str(option) in {each.id, str(each.code)}:
                return each.label
        near = nearest(str(option), [each.id for each in known])
        raise InstrumentError(
            f"{kind} has no option '{option}'",
            where=self.file or "Instrument.option_label",
            expected=listed(each.id for each in known),
            got=f"'{option}'",
            hint=f"did you mean '{near}'?" if near else "options go by id or code",
        )

    def label(self, measure: str) -> str:
        """Return the short name of an item, family or native column; `a+b` gives both."""
        return " and ".join(self._described(part)[0] for part in measure.split("+"))

    def wording(self, measure: str) -> str:
        """Return the question as put, for an item, family or native column; `a+b` gives both."""
        return " / ".join(self._described(part)[1] for part in measure.split("+"))

    def _described(self, measure: str) -> tuple[str, str]:
        if measure in self._families:
            return self._families[measure].label, self._families[measure].wording
        series = () if measure in self._by_name or measure in self._native else self._series(measure)
        if series:  # "Leader: curious", "Leader: open" are together "Leader"
            stems = {item.label.partition(":")[0] for item in series if ":" in item.label}
            stem = stems.pop() if len(stems) == 1 else ""
            return stem or " and ".join(item.label for item in series), " / ".join(item.wording for item in series)
        source = self._native.get(measure)
        if source is None or source.option is None:
            item = self.item(measure)
            return item.label, item.wording or item.label
        return f"{source.item.label}: {source.option.label}", source.item.wording or source.item.label

    @cached_property
    def _by_name(self) -> dict[str, Item]:
        return {item.name: item for item in self.items}

    @cached_property
    def _families(self) -> dict[str, Family]:
        return {family.name: family for family in self.families}

    @cached_property
    def _native(self) -> dict[str, Source]:
        return {source.native: source for source in self.layout.values() if source.native}

    @model_validator(mode="after")
    def _agrees_with_itself(self, info: ValidationInfo) -> Instrument:
        file = (info.context or {}).get("file", self.file) or "instrument"
        Contradictions(self, file).refuse()
        return self


def _frozen(value: Any) -> Any:  # noqa: ANN401 - any TOML value passes through
    """Turn lists into tuples, which is what frozen models hold."""
    if isinstance(value, dict):
        return {key: _frozen(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_frozen(entry) for entry in value)
    return value


def _explained(error: ValidationError, settled: Mapping[str, Any], file: str) -> InstrumentError:
    """Tell the first fault that pydantic found in the words of the file."""
    faults = error.errors(include_url=False)
    first = faults[0]
    where = _path(first["loc"], settled)
    key = str(first["loc"][-1])
    more = f" ({len(faults) - 1} more faults in this file)" if len(faults) > 1 else ""
    got = repr(first["input"])[:80]
    if first["type"] == "missing":
        holder = where.rpartition(".")[0] or "the file"
        return InstrumentError(
            f"'{key}' is missing",
            where=f"{file}, {holder}",
            expected=f"{key} = ...",
            hint=f"add the key '{key}'{more}",
        )
    if first["type"] == "extra_forbidden":
        return InstrumentError(
            f"unknown key '{key}'", where=f"{file}, {where}", expected="no such key", got=got, hint=f"remove it{more}"
        )
    context = first.get("ctx", {})
    expected = str(context["expected"]) if "expected" in context else first["msg"]
    near = nearest(str(first["input"]), [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")])
    hint = f"did you mean '{near}'?" if near else f"give {where} a value as expected"
    return InstrumentError(
        f"{where} is not as an instrument has it",
        where=f"{file}, {where}",
        expected=expected,
        got=got,
        hint=f"{hint}{more}",
    )


def _path(loc: tuple[int | str, ...], settled: Any) -> str:  # noqa: ANN401 - walks any TOML value
    """Name a place by the names and ids of its entries, as the file does, not by their numbers."""
    parts = []
    here: Any = settled
    for step in loc:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            here = None
        if isinstance(step, int) and isinstance(here, Mapping):
            parts.append(str(here.get("family") or here.get("name") or here.get("id") or here.get("code", step)))
        else:
            parts.append(str(step))
    return ".".join(parts)
