"""What the book of a wave says: a chapter for each of the study's own that has something to show, the essays, how it was made.

Nothing is estimated and no number is written here: sentences, tables and figures are those of the pages and of the essays, and
a published file that is missing, stale or without an estimate that a sentence rests on stops the book, told with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fieldwork.errors import EssayError, FieldworkError
from fieldwork.essays.book import Book, BookChapter, ChapterExhibits, Undrawn
from fieldwork.essays.document import mapped, taken_apart
from fieldwork.essays.facts import gather
from fieldwork.essays.making import FOLDER, sources_of, texts_of
from fieldwork.essays.quotes import facts_of
from fieldwork.essays.render import render
from fieldwork.essays.source import lint
from fieldwork.figures import Absence, Spec, numbered
from fieldwork.findings import checked
from fieldwork.publish.citation import work_of
from fieldwork.site.chapters import titles
from fieldwork.site.claim_tables import amendments_table, parts_table
from fieldwork.site.material import gather as material_of
from fieldwork.site.quality import quality
from fieldwork.site.statement import statement
from fieldwork.study import STATEMENT
from fieldwork.tables import Cell, Column, Table, claims_table

if TYPE_CHECKING:
    from fieldwork.essays.document import Block
    from fieldwork.essays.exhibits import Exhibit
    from fieldwork.essays.facts import Facts
    from fieldwork.site.material import Material
    from fieldwork.study import Study

__all__ = ["outline"]

_CLAIMS = 9  # chapter of the study that judges claims: what belongs to no other stands there
_FLOW, _CHECKS, _WEIGHTS = 1, 2, 3
_PRINTED = ("Claim", "What it says", "Verdict", "Estimate and interval", "Base")  # what a page of six columns carries
_SIMULATED = "Simulated data. "
Made = Spec | Absence


def outline(study: Study, made: Sequence[Made]) -> Book:
    """Return the book of a study's wave.

    Parameters
    ----------
    study : Study       Opened for a wave whose run ended well.
    made : sequence     Figures and absences, as `figures.describe` returns them.

    A finding stands in the chapter whose notebook made its first estimate, a figure in the one that its number names. Raises
    EssayError, with file and line, where an essay or a record of findings.json rests on something that is not published.
    """
    facts = gather(study, study.folder)
    lines = _lines_of(facts)
    for key, record in facts.findings.items():
        with _told(_where(facts, lines, key)):
            checked(record, facts.estimates)
    material = material_of(str(study.folder), study.wave, "")
    writer = _Writer(facts, material, made, lines)
    chapters = [*writer.chapters(), *writer.essays()]
    appendix = writer.appendix()
    dates = [each.date for each in writer.sources]
    work = work_of(study)
    return Book(
        title=study.title,
        subtitle=f"Wave {study.wave}",
        author=work.author,
        banner=study.banner,
        date=max(dates) if dates else None,
        chapters=(*chapters, *([appendix] if appendix.blocks else [])),
        undrawn=tuple(_undrawn(each) for each in made if isinstance(each, Absence)),
    )


def _undrawn(absence: Absence) -> Undrawn:
    return Undrawn(numbered(absence), absence.title, absence.reason)


class _Page:
    """A chapter as it is written."""

    def __init__(self, facts: Facts, number: int, title: str, figures: Mapping[str, str]) -> None:
        self.number, self.title = number, title
        self.exhibits = ChapterExhibits(facts, number, figures)
        self.blocks: list[Block] = []

    def head(self, level: int, words: str) -> None:
        self.blocks.append({"t": "Header", "c": [level, ["", [], []], [_text(words)]]})

    def say(self, *parts: str | Block) -> None:
        self.blocks.append({"t": "Para", "c": [_text(part) if isinstance(part, str) else part for part in parts]})

    def figure(self, spec: Spec) -> None:
        """Show a figure after a line that points to it and says what is seen in it."""
        shown = self.exhibits.show_drawn(spec)
        words = shown.alt.removeprefix(_SIMULATED)
        self.say(_link(shown), f": {words[:1].lower()}{words[1:]}")
        self._place(shown)

    def table(self, name: str, table: Table | None) -> None:
        """Show a table that a page has room for; wider ones stay on the pages of the site."""
        if table is not None and table.rows:
            self._place(self.exhibits.show_table(name, table))

    def _place(self, exhibit: Exhibit) -> Exhibit:
        self.blocks.append({"t": "Para", "c": [_text(f"\ue000{exhibit.name}\ue001")]})
        return exhibit

    def done(self) -> BookChapter:
        return BookChapter(self.number, self.title, self.blocks, [], self.exhibits.shown, {})


class _Writer:
    """Writes the chapters of one book."""

    def __init__(self, facts: Facts, material: Material, made: Sequence[Made], lines: Mapping[str, int]) -> None:
        self.facts, self.material, self.made = facts, material, made
        self.claims = facts_of(facts)["claim"]
        self.labels = {each.name: f"{each.chapter}.{each.number}" for each in made if isinstance(each, Spec)}
        self.home = {each.name: each.chapter for each in made if isinstance(each, Spec)}
        named = titles(material.chapters)
        self.titles = {int(name[:2]): title for name, title in named.items() if re.match(r"\d\d_", name)}
        if (answers := named.get("03c_answers")) and _WEIGHTS in self.titles:
            # Its figures stand in the chapter of the weights.
            self.titles[_WEIGHTS] += f" and {answers[:1].lower()}{answers[1:]}"
        self.lines, self.seen = lines, quality(material)
        self.shared = _shared([str(record.get("limitations") or "") for record in material.findings])
        self.sources = [text for text in texts_of(facts.study.folder) if text.wave in ("", facts.study.wave)]

    def chapters(self) -> Iterator[BookChapter]:
        """Yield the chapters of the study, those that have nothing to show left out."""
        findings: dict[int, list[Mapping[str, Any]]] = {}
        for record in self.material.findings:
            findings.setdefault(self._chapter_of(record), []).append(record)
        numbers = {each.chapter for each in self.made} | {*findings} | {_FLOW, _CHECKS, _WEIGHTS, _CLAIMS}
        for number in sorted(numbers):
            page = _Page(self.facts, number, self.titles.get(number, "Results"), self.labels)
            self._opening(page)
            if number == _CLAIMS:
                self._register(page)
            self._figures(page)
            if findings.get(number):
                page.head(2, "Hypotheses and findings")
            for finding in findings.get(number, ()):
                with _told(_where(self.facts, self.lines, str(finding["id"]))):
                    self._finding(page, finding)
            if number == _CLAIMS:
                self._outside(page)
            if page.blocks:
                yield page.done()

    def essays(self) -> Iterator[BookChapter]:
        """Yield the essays as chapters after those of the study, in order of their names."""
        known = sources_of(self.facts.study.folder)
        bibliography = self.facts.study.folder / FOLDER / "sources.json" if known else None
        last = max((*self.home.values(), _CLAIMS))
        for number, source in enumerate(self.sources, last + 1):
            lint(source, claims=self.facts.known, cited=known)
            exhibits = ChapterExhibits(self.facts, number, dict(self.labels))
            essay = render(source, self.facts, exhibits)
            tree, notes = taken_apart(essay, bibliography, f"{number}-")
            blocks = mapped(tree["blocks"], _unnamed)
            opening = [{"t": "Emph", "c": [_text(source.subtitle)]}] if source.subtitle else []
            lines = [*([opening] if opening else []), [_text(source.author)]]
            blocks = [*({"t": "Para", "c": line} for line in lines), *blocks]
            elsewhere = {
                name: self.home[name]
                for name, each in essay.exhibits.items()
                if each.kind == "figure" and name in self.home
            }
            for name, shown in essay.exhibits.items():
                if shown.kind == "figure" and name not in self.home:
                    self.labels[name], self.home[name] = shown.label, number
            yield BookChapter(number, source.title, blocks, notes, essay.exhibits, elsewhere, essay=True)

    def appendix(self) -> BookChapter:
        """Return the methods statement, row by row."""
        page = _Page(self.facts, 0, "How the survey was made", self.labels)
        for key, heading in STATEMENT.items():
            if text := self.facts.study.statement.get(key, ""):
                page.say(_strong(f"{heading}. "), text)
        return page.done()

    def _chapter_of(self, record: Mapping[str, Any]) -> int:
        rows = self.material.estimates
        for key in record.get("table") or ():
            wanted = {name: value for name, value in key.items() if name in rows.columns}
            found = rows[(rows[[*wanted]].fillna("") == [*wanted.values()]).all(axis=1)]
            if len(found) and re.match(r"\d\d", str(found.iloc[0]["chapter"])):
                return int(str(found.iloc[0]["chapter"])[:2])
        return _CLAIMS

    def _opening(self, page: _Page) -> None:
        """Write what the chapters that judge nothing have instead of findings."""
        seen = self.seen
        if page.number == _FLOW and seen["flow"]:
            counts = {name: f"{count:,}" for name, count in seen["flow"].items()}
            page.say(
                f"Rows delivered: {counts['delivered']}. Set aside, each for the first rule that it breaks: "
                f"{counts['quarantined']}. Accepted: {counts['accepted']}."
            )
            page.table("rules", seen["rules"])
        elif page.number == _CHECKS and seen["validated"]:
            page.say(
                f"Expectations that the instrument and the study declare: {seen['checks']}. Not met, as errors: "
                f"{seen['errors']}; as warnings: {seen['warnings']}."
            )
            page.table("nonresponse", seen["nonresponse"])
        elif page.number == _WEIGHTS:
            counted = statement(self.material)
            page.table("bases", counted["bases"])
            page.table("intervals", _intervals_table(counted["intervals"]))

    def _figures(self, page: _Page) -> None:
        own = [each for each in self.made if each.chapter == page.number]
        if own and page.number != _FLOW:
            page.head(2, "Other analytic choices" if page.number == _CLAIMS else "What was measured")
        for each in own:
            if isinstance(each, Absence):
                page.say(_undrawn(each).line)
                continue
            with _told(f"{numbered(each)} ({each.name})"):
                page.figure(each)

    def _finding(self, page: _Page, record: Mapping[str, Any]) -> None:
        """Write one claim: what it says, its verdict, what it rests on, and what would change it."""
        key = str(record["id"])
        claim = self.facts.claims.get(key, {})
        quote = self.claims[key]
        page.head(3, f"{key}. {quote.text}")
        page.say(quote.sentence)
        told: list[str | Block] = []
        if record.get("figure") in self.labels:
            told += [_pointer(str(record["figure"]), self.labels), " shows the estimates. "]
        if f"multiverse_{key}" in self.labels and claim.get("multiverse"):
            told += ["Other analytic choices that come to the same verdict, of those assessed: ", quote.agreeing, " ("]
            told += [_pointer(f"multiverse_{key}", self.labels), ")."]
        if told:
            page.say(*told)
        if len(claim.get("parts") or ()) > 1:
            page.table(f"parts-{key}", parts_table(claim))
        page.table(f"amendments-{key}", amendments_table(claim))
        limits = str(record.get("limitations") or "").removesuffix(self.shared).strip()
        for heading, text in (
            ("Method", record.get("method_full")),
            ("What would change this", record.get("what_would_change")),
            ("Limits", limits),
        ):
            if text:
                page.say(_strong(f"{heading}. "), str(text))

    def _register(self, page: _Page) -> None:
        if not self.facts.claims:
            return
        page.head(2, "The register of claims")
        if self.shared:
            page.say(_strong("Of every finding. "), self.shared)
        whole = claims_table([*self.facts.claims.values()])
        kept = [at for at, column in enumerate(whole.columns) if column.label in _PRINTED]
        rows = tuple(tuple(row[at] for at in kept) for row in whole.rows)
        with _told("claims.json"):
            self.facts.need("claims.json", "estimates.parquet")
            page.table("register", Table(whole.title, tuple(whole.columns[at] for at in kept), rows, whole.notes))

    def _outside(self, page: _Page) -> None:
        outside = facts_of(self.facts)["external"]
        if self.facts.external:
            page.head(2, "What others say")
        for name in self.facts.external:
            page.say(outside[name].marked)


def _intervals_table(made: Sequence[Mapping[str, Any]]) -> Table:
    """Return how the published intervals were made."""
    rows = tuple(
        (
            Cell(f"{each['method'][:1].upper()}{each['method'][1:]}"),
            Cell(each["level"]),
            Cell(each["replicates"]),
            Cell(f"{each['count']:,}"),
        )
        for each in made
    )
    columns = (
        Column("Method", "label"),
        *(Column(words, "number") for words in ("Level", "Replicates", "Estimates")),
    )
    return Table("How standard errors and intervals were made", columns, rows)


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Tell what fails with the file and the line that asked for it."""
    try:
        yield
    except FieldworkError as error:
        raise EssayError(error.title, where=where, expected=error.expected, got=error.got, hint=error.hint) from error


def _lines_of(facts: Facts) -> dict[str, int]:
    """Return the line of findings.json on which each record begins."""
    path = facts.path("findings.json")
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    found = ((re.match(r'\s*"id": "([^"]+)"', line), number) for number, line in enumerate(lines, 1))
    return {match[1]: number for match, number in found if match}


def _where(facts: Facts, lines: Mapping[str, int], key: str) -> str:
    path = facts.study.reports.relative_to(facts.study.folder).as_posix()
    return f"{path}/findings.json, line {lines.get(key, 1)} ({key})"


def _shared(texts: Sequence[str]) -> str:
    """Return the sentences that all texts end in, to be said once.

    >>> _shared(["A. One wave. No cause.", "One wave. No cause."])
    'One wave. No cause.'
    """
    split = [re.split(r"(?<=\.) ", text) for text in texts]
    tail: list[str] = []
    while split and all(len(each) > len(tail) for each in split):
        ends = {each[-1 - len(tail)] for each in split}
        if len(ends) > 1:
            break
        tail.insert(0, ends.pop())
    return " ".join(tail) if len(split) > 1 else ""


def _unnamed(node: Block) -> Block | None:
    """Take identifiers off headings of an essay: two essays may have the same."""
    return {"t": "Header", "c": [node["c"][0], ["", [], []], node["c"][2]]} if node["t"] == "Header" else None


def _pointer(name: str, labels: Mapping[str, str]) -> Block:
    return {
        "t": "Link",
        "c": [["", [], []], [_text(f"Figure\N{NO-BREAK SPACE}{labels[name]}")], [f"#figure-{name}", ""]],
    }


def _link(exhibit: Exhibit) -> Block:
    words = exhibit.heading.replace(" ", "\N{NO-BREAK SPACE}")
    return {"t": "Link", "c": [["", [], []], [_text(words)], [f"#{exhibit.id}", ""]]}


def _strong(text: str) -> Block:
    return {"t": "Strong", "c": [_text(text)]}


def _text(text: str) -> Block:
    return {"t": "Str", "c": text}
