"""Contradictions within an instrument that no single entry shows: names, codes, routes, keys, rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwork.errors import InstrumentError, listed, nearest
from fieldwork.instrument.answers import read_date

if TYPE_CHECKING:
    from fieldwork.instrument.item import Item
    from fieldwork.instrument.parts import QualityRule
    from fieldwork.instrument.questionnaire import Instrument

__all__ = ["Contradictions"]


class Contradictions:
    """Refuses an instrument that contradicts itself, naming the key at fault."""

    def __init__(self, instrument: Instrument, file: str) -> None:
        self.instrument = instrument
        self.file = file

    def refuse(self) -> None:
        """Raise InstrumentError for the first contradiction found."""
        this = self.instrument
        self._unique([("id", r.id) for r in this.roles] + [("code", str(r.code)) for r in this.roles], "roles")
        self._unique([("id", s.id) for s in this.stages] + [("code", str(s.code)) for s in this.stages], "stages")
        for name, scale in this.scales.items():
            self._unique([("code", str(p.code)) for p in scale.points], f"scales.{name}.points")
        self._unique([("code", str(m.code)) for m in this.missing if m.code is not None], "missing")
        self._unique([("id", m.id) for m in this.missing], "missing")
        self._unique([("name", item.name) for item in this.items], "items")
        self._unique([("native column", column) for column in this.columns()], "items")
        self._unique([("column", c) for item in this.items for c in item.delivered_columns().values()], "items")
        self._unique([("name", rule.name) for rule in this.quality], "quality")
        for item in this.items:
            self._item(item)
        self._keys()
        self._slots()
        self._long()
        self._deliveries()
        for rule in this.quality:
            self._rule(rule)

    def _item(self, item: Item) -> None:
        where = f"items.{item.family or item.name}"
        self._unique([("code", str(o.code)) for o in item.options], f"{where}.options")
        self._unique([("id", o.id) for o in item.options], f"{where}.options")
        self._shape(item, where)
        try:
            item.code_of("1")  # builds the table of texts, which refuses two answers under one
        except InstrumentError as error:
            raise self._error(error.title, where, error.expected, error.got, error.hint) from error
        for role in item.asked_of:
            self._among(role, self.instrument.role_ids, "role", f"{where}.asked_of")
        for option in item.exclusive:
            self._among(option, [o.id for o in item.options], "option", f"{where}.exclusive")
        if item.asked_if is not None:
            self._route(item, where)

    def _shape(self, item: Item, where: str) -> None:
        """Hold an item's keys against its kind."""
        needs = {
            "ordinal": (bool(item.scale), 'a scale: scale = "NAME" of [scales.NAME], or "stages"'),
            "single": (len(item.options) >= 2, "two options or more"),
            "multi": (len(item.options) >= 2, "two options or more"),
            "rank": (item.high is not None and 2 <= item.high <= 100, "high = the number of ranks, 2 to 100"),
        }
        good, expected = needs.get(item.kind, (True, ""))
        if not good:
            raise self._error(f"item {item.name} of kind {item.kind} lacks its answers", where, expected)
        if item.kind != "multi" and (item.cap is not None or item.exclusive):
            raise self._error(
                f"item {item.name} of kind {item.kind} has a cap or exclusive options",
                where,
                "cap and exclusive on items of kind multi only",
            )
        if item.cap is not None and item.cap > len(item.options):
            raise self._error(
                f"the cap of item {item.name} is above the number of its options",
                where,
                f"1 to {len(item.options)}",
                str(item.cap),
            )
        if item.low is not None and item.high is not None and item.low > item.high:
            raise self._error(
                f"the range of item {item.name} is empty", where, "low <= high", f"{item.low} > {item.high}"
            )
        self._days(item, where)
        if item.dtype == "Int8" and any(not -128 <= code <= 127 for code in item.codes):
            raise self._error(f"a code of item {item.name} is too large", where, "codes from -128 to 127")

    def _days(self, item: Item, where: str) -> None:
        days = [day for day in (item.earliest, item.latest) if day]
        if not days:
            return
        if item.kind != "date" or item.unit == "quarter":
            raise self._error(f"item {item.name} has a first or last day", where, "items of kind date, not quarters")
        for day in days:
            if read_date(day).value != day or len(day) != len("2026-01-31"):
                raise self._error(f"a day of item {item.name} is no date", where, "a day as 2026-01-31", day)
        if item.earliest and item.latest and item.earliest > item.latest:
            raise self._error(
                f"the days of item {item.name} are none",
                where,
                "earliest <= latest",
                f"{item.earliest} > {item.latest}",
            )

    def _route(self, item: Item, where: str) -> None:
        route = item.asked_if
        assert route is not None  # noqa: S101 - told by the caller
        here = f"{where}.asked_if"
        if route.item in self.instrument.not_asked:
            raise self._error(
                f"item {item.name} routes on an item that wave {self.instrument.wave} does not ask",
                here,
                f"'{route.item}' is asked {self.instrument.not_asked[route.item]}",
                f"'{route.item}'",
                "give both items the same first_wave and last_wave",
            )
        self._among(route.item, [i.name for i in self.instrument.items if i is not item], "item", here)
        on = self.instrument.item(route.item)
        known = [o.id for o in on.options]
        for answer in route.within if on.options else ():
            if str(answer) not in {*known, *map(str, on.codes)}:
                self._among(str(answer), known, "option", here)

    def _slots(self) -> None:
        this = self.instrument
        known = [*(item.name for item in this.items), *(family.name for family in this.families), *this.not_asked]
        for slot, name in this.slots.items():
            if f"{name}_1" not in known:  # items numbered from 1 fill a slot too
                self._among(name, known, "item or family", f"slots.{slot}")

    def _long(self) -> None:
        """Hold files of one answer a row against what they are to answer."""
        this = self.instrument
        self._unique([("file", form.file) for form in (*this.long, *this.long_elsewhere)], "long")
        for form in this.long:
            where = f"long.{form.file}"
            self._among(form.family, [family.name for family in this.families], "family", f"{where}.family")
            self._unique([("column", column) for column in form.columns], where)
            for code in form.missing:
                self._among(code, [each.id for each in this.missing], "missing code", f"{where}.missing")
            for name in form.repeats:
                self._among(
                    name, [item.name for item in this.items if item.kind != "multi"], "item", f"{where}.repeats"
                )
            kinds = {item.kind for item in this.family(form.family)}
            if kinds & {"multi", "identifier", "text"}:
                raise self._error(
                    f"items of kind {listed(sorted(kinds))} are not delivered one answer a row", where,
                    "a family of ordinal, single, number, rank, flag or date items", form.family,
                    "deliver them beside the respondents' other answers",
                )  # fmt: skip

    def _deliveries(self) -> None:
        """Hold what is said of exports against the columns that they are to feed."""
        this = self.instrument
        for form in this.deliveries:
            where = f"delivery.{form.file}"
            for column in (*form.columns.values(), *form.constants):
                self._among(column, [*this.layout, *this.dormant], "column", where)
            if form.decimal == (form.separator or ","):
                raise self._error(
                    "the decimal sign is the separator too", where, "separator = ';' or a tab beside decimal = ','",
                    f"{form.decimal}", "name the separator of the file",
                )  # fmt: skip
            if form.dates and not all(part in form.dates for part in ("%d", "%Y")):
                raise self._error(
                    "dates is not the form of a date", where, "%d, %m and %Y, as %d/%m/%Y", form.dates,
                    "write the form as strptime has it; years in full",
                )  # fmt: skip
            both = sorted(set(form.columns) & set(this.personal.columns))
            if both:
                raise self._error(
                    "a column is both dropped and read", where, "personal columns feed no item", listed(both),
                    "take it out of [personal] columns, or out of the form",
                )  # fmt: skip

    def _keys(self) -> None:
        this = self.instrument
        kinds = {
            "respondent": {"identifier"},
            "organisation": {"identifier"},
            "role": {"single"},
            "stage": {"ordinal"},
            "stage_organisation": {"ordinal"},
            "weight": {"number"},
            "start": {"date"},
            "end": {"date"},
        }
        single = [(key, getattr(this.keys, key)) for key in type(this.keys).model_fields if key != "adjust_for"]
        for key, name in [*single, *(("adjust_for", name) for name in this.keys.adjust_for)]:
            if not name:
                continue
            self._among(name, [item.name for item in this.items], "item", f"keys.{key}")
            kind = this.item(name).kind
            if kind not in kinds.get(key, {kind}):
                raise self._error(
                    f"the item of key {key} is of the wrong kind",
                    f"keys.{key}",
                    listed(sorted(kinds[key])),
                    f"'{name}' of kind {kind}",
                )
        for key, name, own in (("role", this.keys.role, this.roles), ("stage", this.keys.stage, this.stages)):
            if name and this.item(name).options != own:
                raise self._error(
                    f"the answers of item {name} are not the instrument's {key}s",
                    f"items.{name}",
                    f'{"options" if key == "role" else "scale"} = "{key}s"',
                    listed(option.id for option in this.item(name).options),
                )

    def _rule(self, rule: QualityRule) -> None:
        where = f"quality.{rule.name}"
        known = [item.name for item in self.instrument.items]
        names = [*known, *(family.name for family in self.instrument.families), *self.instrument.not_asked]
        needs = {
            "min_minutes": (rule.value is not None and rule.value > 0, "value = minutes, above 0"),
            "straight_line": (len(rule.items) >= 2 and rule.min_items >= 2, "items = [...] and min_items = 2 or more"),
            "attention": (bool(rule.item) and rule.expected != "", "item = NAME and expected = an option"),
            "duplicate_answers": (True, ""),
        }
        good, expected = needs[rule.kind]
        if not good:
            raise self._error(f"rule {rule.name} of kind {rule.kind} lacks a key", where, expected)
        if rule.kind == "min_minutes" and not (self.instrument.keys.start and self.instrument.keys.end):
            raise self._error(f"rule {rule.name} needs times", where, "keys.start and keys.end")
        for name in (*rule.items, *([rule.item] if rule.item else [])):
            self._among(name, names, "item", where)
        if rule.kind == "attention" and rule.item in known:
            item = self.instrument.item(rule.item)
            if str(rule.expected) not in {*(o.id for o in item.options), *map(str, item.codes)}:
                self._among(str(rule.expected), [o.id for o in item.options], "option", where)

    def _unique(self, named: list[tuple[str, str]], where: str) -> None:
        seen: set[tuple[str, str]] = set()
        for kind, name in named:
            if (kind, name) in seen:
                raise self._error(
                    f"{kind} '{name}' stands twice", where, f"each {kind} once", f"'{name}'", "rename or remove one"
                )
            seen.add((kind, name))

    def _among(self, name: str, known: list[str], what: str, where: str) -> None:
        if name not in known:
            near = nearest(name, known)
            raise self._error(
                f"there is no {what} '{name}'",
                where,
                listed(known),
                f"'{name}'",
                f"did you mean '{near}'?" if near else f"name one of the instrument's {what}s",
            )

    def _error(self, title: str, where: str, expected: str, got: str = "", hint: str = "") -> InstrumentError:
        return InstrumentError(title, where=f"{self.file}, {where}", expected=expected, got=got, hint=hint)
