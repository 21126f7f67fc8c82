"""Figures and tables of an essay: numbered once for every document, with alternative text that holds no number of its own."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.errors import EssayError, listed, nearest
from fieldwork.essays.quotes import published
from fieldwork.tables import Column, Table, claims_table, crossed_table, estimates_table

if TYPE_CHECKING:
    from fieldwork.essays.facts import Facts

__all__ = ["COLUMNS_AT_MOST", "Exhibit", "Exhibits", "hold_to_record"]

COLUMNS_AT_MOST = 6  # Toronto UP: what a page of 6 x 9 inches carries
_FORMS = ("svg", "png", "csv", "txt", "json")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_PART = re.compile(r"[\w-]+")
_CLAIM_COLUMNS = ("Claim", "What it says", "Verdict", "Estimate and interval", "Base")


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One figure or table.

    Attributes
    ----------
    kind : str            `figure` or `table`.
    name, number          Name in the essay; number among its kind.
    title, caption : str  Title; how to read it (of a figure).
    alt : str             Text in place of the picture.
    source : str          Source line of a figure.
    files : dict          Bytes of a figure's forms, by ending.
    table : Table         The table; None for a figure.
    label : str           Number in a book, as `3.2`; empty: `number`.
    apart : str           What tells its identifier from that of another chapter's; empty in an essay by itself.
    """

    kind: str
    name: str
    number: int
    title: str
    caption: str = ""
    alt: str = ""
    source: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    table: Table | None = None
    label: str = ""
    apart: str = ""

    @property
    def heading(self) -> str:
        """Label and number, as `Figure 1`."""
        return f"{self.kind.capitalize()} {self.label or self.number}"

    @property
    def id(self) -> str:
        """Identifier in the documents, as `figure-gradient`."""
        return f"{self.kind}-{self.apart}{self.name}"


class Exhibits:
    """The exhibits of one essay, in the order in which it shows them."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.shown: dict[str, Exhibit] = {}
        self.figure = _Figures(self)
        self.table = _Tables(self)
        self.ref = _References(self)

    def add(self, kind: str, name: str, **of: Any) -> Exhibit:  # noqa: ANN401 - fields of the record
        """Give an exhibit its number and keep it; EssayError for a name that is used twice or is none."""
        if not _PART.fullmatch(name):
            raise EssayError(f"'{name}' is no name for a {kind}", expected="letters, digits, _ and -", got=f"'{name}'")
        if name in self.shown:
            raise EssayError(
                f"'{name}' is shown twice", expected="each figure and table once, under its own name", got=f"'{name}' again",
                hint=f"refer to it: {{{{ ref.{name} }}}}",
            )  # fmt: skip
        number = 1 + sum(each.kind == kind for each in self.shown.values())
        self.shown[name] = self.placed(Exhibit(kind=kind, name=name, number=number, **of))
        return self.shown[name]

    def placed(self, exhibit: Exhibit) -> Exhibit:
        """Return an exhibit as the document numbers it: an essay by itself from one."""
        return exhibit

    def show_figure(self, name: str) -> Exhibit:
        """Take a saved figure of the wave with all that belongs to it."""
        folder = self._facts.path("figures")
        known = sorted(path.stem for path in folder.glob("*.svg")) if folder.is_dir() else []
        if name not in known:
            near = nearest(name, known)
            raise EssayError(
                f"the figure '{name}' is not known", expected=listed(known), got=f"'{name}'",
                hint=f"did you mean {near}?" if near else "draw it in chapter 10_findings",
            )  # fmt: skip
        self._facts.need("estimates.parquet", *(f"figures/{name}.{form}" for form in _FORMS))
        files = {form: self._facts.path(f"figures/{name}.{form}").read_bytes() for form in _FORMS}
        words = json.loads(files["json"])
        alt = files["txt"].decode().strip()
        hold_to_record(name, alt, words, files["csv"].decode())
        return self.add(
            "figure", name, title=str(words["title"]), caption=str(words["caption"]), alt=alt, source=str(words["source"]),
            files=files,
        )  # fmt: skip

    def show_table(self, name: str, table: Table) -> Exhibit:
        """Take a table, if it has no more columns than a page carries."""
        if len(table.columns) > COLUMNS_AT_MOST:
            raise EssayError(
                f"the table '{name}' is too wide for print", expected=f"at most {COLUMNS_AT_MOST} columns",
                got=f"{len(table.columns)}", hint="show fewer measures, or set roles down and measures across",
            )  # fmt: skip
        alt = f"{table.title}. The same numbers stand as text beside this picture."
        return self.add("table", name, title=table.title, alt=alt, table=table)

    @property
    def facts(self) -> Facts:
        """What the exhibits are made of."""
        return self._facts


class _Figures:
    def __init__(self, exhibits: Exhibits) -> None:
        self._exhibits = exhibits

    def __getattr__(self, name: str) -> Exhibit:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._exhibits.show_figure(name)

    def __getitem__(self, name: str) -> Exhibit:
        return self._exhibits.show_figure(name)


class _References:
    def __init__(self, exhibits: Exhibits) -> None:
        self._exhibits = exhibits

    def __getattr__(self, name: str) -> Exhibit:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Exhibit:
        shown = self._exhibits.shown
        if name not in shown:
            near = nearest(name, shown)
            raise EssayError(
                f"the essay shows no figure or table '{name}'", expected=listed(shown) or "an exhibit of this essay",
                got=f"'{name}'", hint=f"did you mean {near}?" if near else "show it, or take the reference out",
            )  # fmt: skip
        return shown[name]


class _Tables:
    """Tables that an essay can show."""

    def __init__(self, exhibits: Exhibits) -> None:
        self._exhibits = exhibits

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - always refuses
        if name.startswith("_"):
            raise AttributeError(name)
        known = ("claims", "crossed", "estimates")
        raise EssayError(f"there is no table '{name}'", expected=listed(known), got=f"'{name}'")

    @property
    def claims(self) -> Callable[..., Exhibit]:
        """Claims of the register with verdict, estimate and base."""

        def show(*claims: str, name: str, title: str) -> Exhibit:
            facts = self._exhibits.facts
            facts.need("claims.json")
            if not claims:
                raise EssayError("a table has no rows", expected="ids of claims", got="none named")
            for claim in claims:
                if claim not in facts.claims:
                    near = nearest(claim, facts.claims)
                    raise EssayError(
                        f"the claim '{claim}' is not known", expected=listed(facts.claims, limit=40), got=f"'{claim}'",
                        hint=f"did you mean {near}?" if near else "",
                    )  # fmt: skip
            return self._exhibits.show_table(name, _columns(claims_table([facts.claims[c] for c in claims]), title))

        return show

    @property
    def crossed(self) -> Callable[..., Exhibit]:
        """Published estimates, one key down and one across, the base under every column."""

        def show(*, rows: str, across: str, name: str, title: str, **key: Any) -> Exhibit:  # noqa: ANN401 - texts or lists
            facts = self._exhibits.facts
            facts.need("estimates.parquet")
            chosen = _chosen(facts, {rows, across}, key)
            for free in {rows, across} - set(key):
                chosen = chosen[chosen[free].fillna("") != ""]
            twice = chosen.duplicated([rows, across])
            if twice.any():
                raise EssayError(
                    f"the table '{name}' has more than one estimate for a cell", expected="one row of estimates.csv per cell",
                    got=f"{int(twice.sum())} more", hint="name what tells them apart: statistic, item, segment",
                )  # fmt: skip
            return self._exhibits.show_table(
                name, crossed_table(chosen, facts.instrument, rows=rows, across=across, title=title)
            )

        return show

    @property
    def estimates(self) -> Callable[..., Exhibit]:
        """Published estimates, one row each, with interval and base."""

        def show(*, name: str, title: str, **key: Any) -> Exhibit:  # noqa: ANN401 - texts or lists
            facts = self._exhibits.facts
            facts.need("estimates.parquet")
            return self._exhibits.show_table(
                name, estimates_table(_chosen(facts, set(key), key), facts.instrument, title=title)
            )

        return show


def _chosen(facts: Facts, free: set[str], key: Mapping[str, str | list[str]]) -> pd.DataFrame:
    """Return the rows of a table; columns of the key that are neither free nor named speak of all."""
    rest = dict.fromkeys({"role", "role_2", "stage", "segment", "item"} - free, "")
    rows = published(facts, {**rest, **key})
    if rows.empty:
        raise EssayError(
            "a table has no rows", expected="a key that rows of estimates.csv have", got="none fits",
            hint="look the rows up in estimates.csv",
        )  # fmt: skip
    return rows


def _columns(table: Table, title: str) -> Table:
    """Return the table of claims with the columns that a page carries; the margin stands in each claim's sentence."""
    kept = [place for place, column in enumerate(table.columns) if column.label in _CLAIM_COLUMNS]
    columns: tuple[Column, ...] = tuple(table.columns[place] for place in kept)
    return Table(title, columns, tuple(tuple(row[place] for place in kept) for row in table.rows), table.notes)


def hold_to_record(name: str, alt: str, words: Mapping[str, Any], data: str) -> None:
    """Refuse a figure without alternative text, or with a number in it that is not in the figure's record."""
    if not alt:
        raise EssayError(
            f"the figure '{name}' has no alternative text", expected=f"figures/{name}.txt with text", got="nothing",
            hint="draw it again: fieldwork run --only 10_findings --force",
        )  # fmt: skip
    stray = sorted(set(_NUMBER.findall(alt)) - _numbers_of(words, data))
    if stray:
        raise EssayError(
            f"the alternative text of the figure '{name}' has a number that is not in its record",
            expected=f"numbers of figures/{name}.csv and of its title and caption", got=listed(stray),
            hint="draw it again: fieldwork run --only 10_findings --force",
        )  # fmt: skip


def _numbers_of(words: Mapping[str, Any], data: str) -> set[str]:
    """Return every number of a figure's record as it may be shown: as it is, rounded, in per cent; and the count of rows."""
    told = " ".join(str(words.get(key, "")) for key in ("title", "caption", "source", "long_description"))
    rows = list(csv.reader(io.StringIO(data)))
    found = {*_NUMBER.findall(told), str(len(rows) - 1)}
    for cell in (cell for row in rows for cell in row):
        found |= set(_NUMBER.findall(cell))
        try:
            value = abs(float(cell))
        except ValueError:
            continue
        found |= {f"{scaled:,.{places}f}" for scaled in (value, 100 * value) for places in (0, 1, 2)}
    return found
