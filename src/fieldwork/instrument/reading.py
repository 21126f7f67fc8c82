"""From a TOML file to plain tables that hold in one wave: lists named, families repeated, overrides applied.

Everything here works on plain tables; the models say afterwards whether each value is of the right type. A key that is
misspelt in an override of another wave is found now, not in the year in which that wave is run.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fieldwork.errors import InstrumentError, listed, nearest
from fieldwork.instrument.item import Item
from fieldwork.instrument.parts import DeliveryForm, LongForm, Option, Personal

__all__ = ["NAMES", "tables"]

Table = dict[str, Any]

NAMES = (
    "instrument",
    "keys",
    "slots",
    "roles",
    "stages",
    "scales",
    "lists",
    "items",
    "missing",
    "quality",
    "long",
    "delivery",
    "personal",
)
_HEAD = ("id", "version", "title", "waves")
_SCALE = ("points",)
# Keys that an entry of the file may carry beside the fields of the model that it becomes.
_AUTHORED = ("waves", "repeat", "repeat_name", "self_held_out")
_FILLED = ("name", "family", "member", "missing")
_IDENTITY = ("code", "id", "first_wave", "last_wave")
_WAVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)


def tables(path: Path, wave: str) -> Table:
    """Return what `Instrument` is made of, settled for one wave.

    Raises InstrumentError naming file and key.
    """
    return _Reader(path, wave).settle(_parse(path))


def _parse(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InstrumentError(
            "there is no such instrument file",
            where=str(path),
            expected="a TOML file with roles, stages, scales and items",
            hint="study.toml, [instruments] folder, says where instruments lie; a wave's file is <wave>.toml",
        ) from error
    except UnicodeDecodeError as error:
        raise InstrumentError(
            "the instrument file is not UTF-8 text",
            where=f"{path.name}, byte {error.start}",
            expected="UTF-8",
            hint="save the file as UTF-8 in your editor",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InstrumentError(
            "the instrument file is not TOML",
            where=path.name,
            expected="TOML 1.0; each table and key declared once",
            got=str(error),
            hint="mend the line that is named; text goes in double quotes",
        ) from error


class _Reader:
    """Settles one file for one wave; holds what every step needs for its messages."""

    def __init__(self, path: Path, wave: str) -> None:
        self.file = path.name
        self.wave = wave
        self.waves: list[str] = []
        self.lists: dict[str, list[Table]] = {}
        self.gone: dict[str, list[Table]] = {}  # options that other waves offer and this one does not, by place

    def settle(self, raw: Table) -> Table:
        self._known(raw, NAMES, "the file")
        head = self._table(raw.get("instrument", {}), "instrument")
        self._known(head, _HEAD, "instrument")
        self.waves = self._words(head.get("waves", []), "instrument.waves")
        self._wave(self.wave, "the wave asked for")
        for name in ("roles", "stages"):
            self.lists[name] = self._options(raw.get(name, []), name)
        scales = self._scales(raw)
        for name, points in self._table(raw.get("lists", {}), "lists").items():
            self._new_list(name, self._options(points, f"lists.{name}"))
        missing = self._entries(raw.get("missing", []), "missing")
        items, families, absent, dormant = self._items(raw, missing)
        long = self._entries(raw.get("long", []), "long")
        for number, entry in enumerate(long, 1):
            self._known(entry, tuple(LongForm.model_fields), f"long, entry {entry.get('file', number)}")
        held = [self._holds(entry, f"long.{entry.get('file', number)}") for number, entry in enumerate(long, 1)]
        forms = self._entries(raw.get("delivery", []), "delivery")
        for number, entry in enumerate(forms, 1):
            self._known(entry, tuple(DeliveryForm.model_fields), f"delivery, entry {entry.get('file', number)}")
        personal = self._table(raw.get("personal", {}), "personal")
        self._known(personal, tuple(Personal.model_fields), "personal")
        return {
            **{key: head[key] for key in ("id", "version", "title") if key in head},
            "wave": self.wave,
            "file": self.file,
            "keys": self._table(raw.get("keys", {}), "keys"),
            "slots": self._table(raw.get("slots", {}), "slots"),
            "roles": self.lists["roles"],
            "stages": self.lists["stages"],
            "scales": scales,
            "missing": missing,
            "items": items,
            "families": families,
            "not_asked": absent,
            "dormant": dormant,
            "quality": self._entries(raw.get("quality", []), "quality"),
            "long": [entry for entry, here in zip(long, held, strict=True) if here],
            "long_elsewhere": [entry for entry, here in zip(long, held, strict=True) if not here],
            "deliveries": [e for n, e in enumerate(forms, 1) if self._holds(e, f"delivery.{e.get('file', n)}")],
            "personal": personal,
        }

    def _scales(self, raw: Table) -> dict[str, Table]:
        scales: dict[str, Table] = {}
        for name, scale in self._table(raw.get("scales", {}), "scales").items():
            where = f"scales.{name}"
            self._known(self._table(scale, where), _SCALE, where)
            points = self._options(scale.get("points", []), f"{where}.points")
            self._new_list(name, points)
            scales[name] = {"name": name, "points": points}
        if self.lists["stages"]:
            scales["stages"] = {"name": "stages", "points": self.lists["stages"]}
        return scales

    def _new_list(self, name: str, options: list[Table]) -> None:
        if name in self.lists:
            raise InstrumentError(
                f"'{name}' names two lists of answers",
                where=f"{self.file}, {name}",
                expected="one name per scale and list; roles and stages are taken",
                hint="rename the scale or the list",
            )
        self.lists[name] = options

    def _items(
        self, raw: Table, missing: list[Table]
    ) -> tuple[list[Table], list[Table], dict[str, str], dict[str, str]]:
        """Return items, families, names not asked in this wave, and delivered columns of other waves."""
        items: list[Table] = []
        families: list[Table] = []
        absent: dict[str, str] = {}
        dormant: dict[str, str] = {}
        gone: dict[str, list[Table]] = {}
        for name, authored in self._table(raw.get("items", {}), "items").items():
            where = f"items.{name}"
            fields = [field for field in Item.model_fields if field not in _FILLED]
            self._known(self._table(authored, where), (*fields, *_AUTHORED), where)
            item = self._in_wave(authored, where, fields)
            made = self._repeat(name, item, families) if "repeat" in item else [{"name": name, **item}]
            for each in made:
                each["options"], gone[each["name"]] = self._answers(each, where)
                each["missing"] = [] if each.get("kind") in {"identifier", "text"} else missing
            if self._holds(item, where):
                items += made
                for each in made:
                    dormant |= {c: self._span(o) for o in gone[each["name"]] for c in self._columns(each, [o])}
                continue
            absent |= dict.fromkeys([name, *(each["name"] for each in made)], self._span(item))
            for each in made:
                columns = self._columns(each, [*each["options"], *gone[each["name"]]], whole=True)
                dormant |= dict.fromkeys(columns, self._span(item))
            families[:] = [family for family in families if family["name"] != name]
        for each in items:
            self._forget(each, gone)
        return items, families, absent, dormant

    @staticmethod
    def _columns(item: Table, options: list[Table], *, whole: bool = False) -> list[str]:
        """Return the delivered columns of some options of an item, and of the item as a whole where asked for."""
        column = item.get("column") or item["name"]
        if item.get("kind") != "multi":
            return [column] if whole else []
        ticks = [option.get("column") or f"{column}_{option.get('id')}" for option in options]
        return [*ticks, column] if whole else ticks

    def _forget(self, item: Table, gone: dict[str, list[Table]]) -> None:
        """Take out of an item's lists the options that this wave does not offer; misspelt ones stay and are refused."""
        own = {option.get("id") for option in gone[item["name"]]}
        roles = {role.get("id") for role in self.gone.get("roles", [])}
        for key, absent in (("exclusive", own), ("asked_of", roles)):
            if isinstance(item.get(key), list):
                item[key] = [entry for entry in item[key] if entry not in absent]
        route = item.get("asked_if")
        if isinstance(route, dict) and isinstance(route.get("in"), list):
            absent = {option.get("id") for option in gone.get(str(route.get("item")), [])}
            item["asked_if"] = route | {"in": [entry for entry in route["in"] if entry not in absent]}

    def _repeat(self, name: str, item: Table, families: list[Table]) -> list[Table]:
        """Make one item per role, stage, list entry or word; `{label}`, `{id}`, `{code}` stand for it in texts."""
        where = f"items.{name}.repeat"
        repeat = item.pop("repeat")
        pattern = item.pop("repeat_name", "{item}_{id}")
        held_out = item.pop("self_held_out", False)
        members = (
            self._list(repeat, where)
            if isinstance(repeat, str)
            else self._options(
                [{"code": n, "id": w, "label": w} if isinstance(w, str) else w for n, w in enumerate(repeat, 1)]
                if isinstance(repeat, list)
                else repeat,
                where,
            )
        )
        made = []
        for member in members:
            words = {"item": name, "id": str(member.get("id", "")), "label": str(member.get("label", ""))}
            words |= {"code": str(member.get("code", "")), "code:02": str(member.get("code", "")).zfill(2)}
            own = {key: _filled(value, words) for key, value in item.items()}
            if held_out:
                own["asked_of"] = [
                    role["id"]
                    for role in self.lists["roles"]
                    if role["id"] != member["id"] and role["id"] in item.get("asked_of", [role["id"]])
                ]
            made.append({"name": _filled(pattern, words), **own, "family": name, "member": member.get("id", "")})
        every = {"item": name, "label": "…", "id": "…", "code": "…", "code:02": "…"}
        families.append(
            {
                "name": name,
                "label": _filled(item.get("label", name), every),
                "wording": _filled(item.get("wording", ""), every),
                "members": [each["name"] for each in made],
                "options": members,
            }
        )
        return made

    def _answers(self, item: Table, where: str) -> tuple[list[Table], list[Table]]:
        """Return an item's options, and those that only other waves offer.

        First the points of its scale, then lists by name and entries of its own.
        """
        scale = item.get("scale")
        authored = item.get("options", [])
        entries = authored if isinstance(authored, list) else [authored]
        lists = [(scale, f"{where}.scale")] if scale else []
        lists += [(entry, f"{where}.options") for entry in entries if isinstance(entry, str)]
        own = self._options([entry for entry in entries if not isinstance(entry, str)], f"{where}.options")
        options = [option for name, here in lists for option in self._list(name, here)]
        gone = [option for name, _ in lists for place in self._places(name) for option in self.gone.get(place, [])]
        return options + own, gone + self.gone.get(f"{where}.options", [])

    @staticmethod
    def _places(name: str) -> tuple[str, ...]:
        return (name, f"lists.{name}", f"scales.{name}.points")

    def _list(self, name: object, where: str) -> list[Table]:
        if isinstance(name, str) and name in self.lists:
            return self.lists[name]
        near = nearest(str(name), self.lists)
        raise InstrumentError(
            f"there is no scale or list '{name}'",
            where=f"{self.file}, {where}",
            expected=listed(self.lists),
            got=repr(name),
            hint=f"did you mean '{near}'?" if near else "declare it under [scales.NAME] or [[lists.NAME]]",
        )

    def _options(self, authored: object, where: str) -> list[Table]:
        out: list[Table] = []
        gone: list[Table] = []
        for number, entry in enumerate(self._entries(authored, where), 1):
            here = f"{where}, entry {entry.get('id', number)}"
            fields = list(Option.model_fields)
            self._known(entry, (*fields, "waves"), here)
            option = self._in_wave(entry, here, [field for field in fields if field not in _IDENTITY])
            if "id" not in option and "code" in option:
                option["id"] = str(option["code"]).replace("-", "minus_")
            (out if self._holds(option, here) else gone).append(option)
        self.gone[where] = gone
        if self.waves:
            # A file for all waves names every role that ever was; a file of one wave need not.
            self._parts_of_wholes([*out, *gone], where)
        return out

    def _parts_of_wholes(self, options: list[Table], where: str) -> None:
        """Refuse a part of a whole that the list does not have."""
        known = [str(option.get("id")) for option in options]
        for option in options:
            for key in ("split_from", "merged_into"):
                whole = option.get(key, "")
                if whole and (whole not in known or whole == option.get("id")):
                    near = nearest(str(whole), known)
                    raise InstrumentError(
                        f"{key} of '{option.get('id')}' names none of the others",
                        where=f"{self.file}, {where}, entry {option.get('id')}",
                        expected=listed(name for name in known if name != option.get("id")),
                        got=repr(whole),
                        hint=f"did you mean '{near}'?" if near and near != option.get("id") else "",
                    )

    def _in_wave(self, authored: Table, where: str, fields: Iterable[str]) -> Table:
        """Return an entry with the override of this wave laid over it; check the overrides of all waves."""
        overrides = self._table(authored.get("waves", {}), f"{where}.waves")
        for wave, override in overrides.items():
            here = f'{where}.waves."{wave}"'
            self._wave(wave, here)
            self._known(self._table(override, here), tuple(fields), here)
        entry: Table = {key: value for key, value in authored.items() if key != "waves"}
        entry.update(overrides.get(self.wave, {}))
        return entry

    def _holds(self, entry: Table, where: str) -> bool:
        first, last = entry.get("first_wave", ""), entry.get("last_wave", "")
        for wave in (first, last):
            if wave:
                self._wave(wave, where)
        here = self._order(self.wave)
        return (not first or self._order(first) <= here) and (not last or here <= self._order(last))

    @staticmethod
    def _span(entry: Table) -> str:
        first, last = entry.get("first_wave", ""), entry.get("last_wave", "")
        if first and first == last:
            return f"in {first}"
        parts = (("from", first), ("up to", last))
        return " ".join(f"{word} {wave}" for word, wave in parts if wave)

    def _order(self, wave: str) -> tuple[Any, ...]:
        if self.waves:
            return (self.waves.index(wave),)
        return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", wave))

    def _wave(self, wave: object, where: str) -> None:
        good = isinstance(wave, str) and _WAVE.fullmatch(wave)
        if good and (not self.waves or wave in self.waves):
            return
        near = nearest(str(wave), self.waves)
        raise InstrumentError(
            f"the instrument has no wave '{wave}'",
            where=f"{self.file}, {where}",
            expected=listed(self.waves) or "a wave's name of letters, digits, '.', '_' and '-'",
            got=repr(wave),
            hint=f"did you mean '{near}'?" if near else "[instrument] waves lists the waves that the file is for",
        )

    def _known(self, table: Mapping[str, object], known: Iterable[str], where: str) -> None:
        known = list(known)
        for key in table:
            if key not in known:
                near = nearest(key, known)
                raise InstrumentError(
                    f"unknown key '{key}'",
                    where=f"{self.file}, {where}",
                    expected=listed(known, limit=40),
                    got=f"'{key}'",
                    hint=f"did you mean '{near}'?" if near else "remove the key",
                )

    def _table(self, value: object, where: str) -> Table:
        if isinstance(value, dict):
            return value
        raise self._wrong(value, where, "a table, [section] or { key = value }")

    def _entries(self, value: object, where: str) -> list[Table]:
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            return value
        raise self._wrong(value, where, "a list of tables, [[section]] or [{ key = value }]")

    def _words(self, value: object, where: str) -> list[str]:
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return value
        raise self._wrong(value, where, "a list of words")

    def _wrong(self, value: object, where: str, expected: str) -> InstrumentError:
        return InstrumentError(
            f"{where} is not what an instrument has there",
            where=f"{self.file}, {where}",
            expected=expected,
            got=repr(value)[:60],
            hint="compare with the shipped instrument",
        )


def _filled(value: Any, words: Mapping[str, str]) -> Any:  # noqa: ANN401 - any TOML value passes through
    """Put words in place of `{name}` in a text; format strings would let a text reach into objects."""
    if not isinstance(value, str):
        return value
    for name, word in words.items():
        value = value.replace(f"{{{name}}}", word)
    return value
