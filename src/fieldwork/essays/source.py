"""The source of an essay: a head in TOML, prose in Markdown, references in double braces; read and linted before it is built.

A number in an essay comes from a reference. The linter finds every number that was typed instead, in figures or in words, and
says where; free are dates, numbers of notes and of lists, claims' ids, addresses, and what the head declares with a reason.
A passage about a claim without a verdict must say so, and must not use the words of a finding.
"""

from __future__ import annotations

import datetime as dt
import html
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, nodes

from fieldwork.errors import EssayError, listed, nearest

__all__ = ["Expression", "Paragraph", "Source", "environment", "lint", "read"]

_HEAD = {"title": str, "subtitle": str, "author": str, "date": dt.date, "wave": str, "typed": dict}
_NEEDED = ("title", "author", "date")
_FENCE = "+++"
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_FREE = re.compile(
    rf"""\[\^[\w-]+\]:?                                                     # a note
    | (?<=\()https?://[^\s)]+ | <https?://[^\s>]+>                          # an address
    | \[?-?@[\w:.#$%&+?<>~/-]+                                              # a source that is cited
    | \b\d{{4}}-\d{{2}}-\d{{2}}\b                                           # dates
    | \b(?:\d{{1,2}}\s+)?(?:{_MONTHS})(?:\s+\d{{1,2}})?(?:,?\s+\d{{4}})?\b
    | \b(?:Q[1-4]\s+(?:19|20)\d\d|(?:19|20)\d\dQ[1-4])\b
    | \b(?i:in|of|since|by|from|until|before|after|during|between|and|to|year)\s+(?:19|20)\d\d\b
      (?!\s+(?:executives|respondents|organisations|companies|people|answers|per\ cent|percent|points))
    | \((?:19|20)\d\d\)
    | ^\s{{0,3}}\d{{1,2}}[.)]\s                                             # a numbered list
    """,
    re.VERBOSE | re.MULTILINE,
)
_CARDINAL = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|"
    "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand"
)
_PEOPLE = (
    r"(?:all\s+|the\s+|our\s+)?(?:executives|respondents|organisations|companies|leaders|teams|people|initiatives|projects|"
    r"CEOs|CFOs|CTOs|CIOs|COOs|CMOs|CHROs|CISOs|of\s+them)"
)
_WORDED = re.compile(
    rf"""\b(?:{_CARDINAL})(?:[\s-](?:{_CARDINAL}))*\s+(?:per\s*cent|percentage|points?|times|in\s+(?:{_CARDINAL})|out\s+of)\b
    | \b(?:{_CARDINAL})(?:[\s-](?:{_CARDINAL}))*\s+(?:executives|respondents|organisations)\b
    | \b(?:half|quarters?|thirds?|fifths?|tenths?|majority|minority|most)\s+of\s+{_PEOPLE}\b
    | \btwice\s+(?:as|the)\b | \b(?:double|triple)\s+(?:the|that)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CLAIM = re.compile(r"\bH\d+[a-z]?\b")
_ASSERTS = re.compile(
    r"""\b(?:we|the\s+(?:data|survey|fieldwork|study|results?|answers|evidence|numbers))\s+
        (?:find|finds|found|show|shows|showed|confirm|confirms|confirmed|prove|proves|proved|demonstrate|demonstrates|
           establish|establishes|reveal|reveals|revealed)\b
    | (?<!not\ a\ )(?<!no\ )\bfindings?\b | \bproof\b | \bproven\b | \bevidence\s+(?:that|shows)\b
    | \bit\s+is\s+(?:clear|certain|confirmed|established|a\s+fact|proven)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DECIDED, _UNDECIDED = ("supported", "contradicted"), ("inconclusive", "not_assessable")
_VERDICTS = (*_DECIDED, *_UNDECIDED)
_SAYS = {"sentence", "verdict"}
_PROSE = ("title", "caption", "notes")
_NOTE = re.compile(r"\[\^([\w-]+)\](:?)")
_CITED = re.compile(r"(?<![\w.])@([\w][\w:.#$%&+?<>~/-]*)")


@dataclass(frozen=True, slots=True)
class Expression:
    """A reference in double braces.

    Attributes
    ----------
    text : str           As it was written, without the braces.
    line : int           Line of the file.
    root : str           First name, as `supported`.
    path : tuple         What follows it, as (`H17`, `estimate`).
    """

    text: str
    line: int
    root: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text between two empty lines: pieces of prose with the line each begins on, and references."""

    pieces: tuple[tuple[str, int] | Expression, ...]

    @property
    def references(self) -> tuple[Expression, ...]:
        """The references, in order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Expression))


@dataclass(frozen=True, slots=True)
class Source:
    """An essay as it was written.

    Attributes
    ----------
    path : Path                     The file.
    label : str                     What messages call it.
    title, subtitle, author : str
    date : date                     Day of publication; the date of every document.
    wave : str                      Wave that it was written for; empty: any.
    typed : dict                    Numbers that may be typed, each with the reason.
    paragraphs : tuple              In order.
    """

    path: Path
    label: str
    title: str
    subtitle: str
    author: str
    date: dt.date
    wave: str
    typed: Mapping[str, str]
    paragraphs: tuple[Paragraph, ...]

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.path.stem


def environment() -> Environment:
    """Return the language of references: unknown names are errors, and comments do not eat Markdown's `{#name}`."""
    return Environment(
        undefined=StrictUndefined, comment_start_string="{!", comment_end_string="!}", autoescape=False,  # noqa: S701 - Markdown
        keep_trailing_newline=True,
    )  # fmt: skip


def read(path: Path, label: str) -> Source:
    """Read an essay; EssayError with file and line where head or references are not as they should be."""
    text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    lines = text.split("\n")
    if lines[0].strip() != _FENCE or _FENCE not in (line.strip() for line in lines[1:]):
        raise _fault(
            label, 1, "an essay begins with its head", "a block of TOML between two lines of +++", lines[0][:60]
        )
    end = next(number for number, line in enumerate(lines[1:], 1) if line.strip() == _FENCE)
    head = _head("\n".join(lines[1:end]), label)
    body = "\n" * (end + 1) + "\n".join(lines[end + 1 :])
    return Source(path=path, label=label, paragraphs=tuple(_paragraphs(body, label)), **head)


def _fault(label: str, line: int, title: str, expected: str, got: str, hint: str = "") -> EssayError:
    return EssayError(title, where=f"{label}, line {line}", expected=expected, got=got, hint=hint)


def _head(text: str, label: str) -> dict[str, Any]:
    try:
        head = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _fault(label, 1, "the head of the essay is not valid TOML", "TOML 1.0", str(error)) from error
    for key, value in head.items():
        if key not in _HEAD:
            near = nearest(key, _HEAD)
            raise _fault(
                label,
                1,
                f"the head has an unknown key '{key}'",
                listed(_HEAD),
                f"'{key}'",
                near and f"did you mean {near}?",
            )
        if not isinstance(value, _HEAD[key]) or isinstance(value, dt.datetime):
            raise _fault(label, 1, f"'{key}' in the head is of the wrong kind", _HEAD[key].__name__, repr(value)[:60])
    lacking = [key for key in _NEEDED if not head.get(key)]
    if lacking:
        raise _fault(label, 1, "the head of the essay is not complete", listed(_NEEDED), f"no {listed(lacking)}")
    typed = {str(key): str(reason) for key, reason in head.get("typed", {}).items()}
    return {"subtitle": "", "wave": "", **head, "typed": typed}


def _paragraphs(body: str, label: str) -> Iterator[Paragraph]:
    pieces: list[tuple[str, int] | Expression] = []
    for piece in _pieces(body, label):
        if isinstance(piece, Expression):
            pieces.append(piece)
            continue
        text, line = piece
        for number, part in enumerate(re.split(r"(\n[ \t]*\n\s*)", text)):
            if number % 2 and any(isinstance(each, Expression) or each[0].strip() for each in pieces):
                yield Paragraph(tuple(pieces))
                pieces = []
            elif not number % 2 and part:
                pieces.append((part, line))
            line += part.count("\n")
    if any(isinstance(each, Expression) or each[0].strip() for each in pieces):
        yield Paragraph(tuple(pieces))


def _pieces(body: str, label: str) -> Iterator[tuple[str, int] | Expression]:
    """Split prose from references by the lexer of the language; whatever is neither is refused."""
    inside: list[str] | None = None
    started = 1
    try:
        for line, kind, value in environment().lex(body):
            if kind == "data":
                yield value, line
            elif kind == "variable_begin":
                inside, started = [], line
            elif kind == "variable_end" and inside is not None:
                yield _expression("".join(inside).strip(), started, label)
                inside = None
            elif inside is not None:
                inside.append(value)
            elif not kind.startswith("comment"):
                raise _fault(
                    label, line, "an essay holds references and no program", "{{ ... }}", f"{value.strip()} ..."
                )
    except TemplateSyntaxError as error:
        raise _fault(
            label, error.lineno, "a reference cannot be read", "{{ name.field }}", str(error.message)
        ) from error


def _expression(text: str, line: int, label: str) -> Expression:
    try:
        tree = environment().parse("{{ " + text + " }}")
    except TemplateSyntaxError as error:
        raise _fault(
            label, line, "a reference cannot be read", "{{ name.field }}", f"{text}: {error.message}"
        ) from error
    (output,) = tree.body if len(tree.body) == 1 else (None,)
    node = next((each for each in getattr(output, "nodes", []) if not isinstance(each, nodes.TemplateData)), None)
    path = _path(node)
    if path is None:
        raise _fault(
            label, line, "a reference is a name, its fields and quoted arguments, and nothing else",
            "as {{ supported.H17.estimate }}", "{{ " + text + " }}", "numbers and operations do not belong in an essay",
        )  # fmt: skip
    for written in _printed(node):
        if _numbers(written, {}):
            raise _fault(
                label, line, "a number is typed by hand", "words without numbers in a title", f"'{written}'",
                "let the number stand in the table, or quote it in the prose",
            )  # fmt: skip
    return Expression(text, line, path[0], path[1:])


def _path(node: nodes.Node | None) -> tuple[str, ...] | None:
    """Return the names along a reference; None where it is more than names, fields, keys and quoted arguments."""
    match node:
        case nodes.Name(name=name):
            return (str(name),)
        case nodes.Getattr(node=inner, attr=attr):
            before = _path(inner)
            return None if before is None else (*before, str(attr))
        case nodes.Getitem(node=inner, arg=nodes.Const(value=str() as key)):
            before = _path(inner)
            return None if before is None else (*before, key)
        case nodes.Call(node=inner, args=args, kwargs=kwargs, dyn_args=None, dyn_kwargs=None):
            good = all(_quoted(each) for each in args) and all(_quoted(each.value) for each in kwargs)
            return _path(inner) if good else None
    return None


def _quoted(node: nodes.Node) -> bool:
    if isinstance(node, nodes.List):
        return all(_quoted(each) for each in node.items)
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


def _printed(node: nodes.Node | None) -> Iterator[str]:
    """Yield arguments of a reference that readers will see."""
    for call in [node] if isinstance(node, nodes.Call) else []:
        for keyword in call.kwargs:
            if keyword.key in _PROSE:
                yield from (str(each.value) for each in keyword.find_all(nodes.Const))


# ------------------------------------------------------------------------------------------------------------- linter


def lint(source: Source, *, claims: Iterable[str], cited: Iterable[str]) -> None:
    """Refuse what an essay may not say, with file and line.

    Parameters
    ----------
    source : Source     The essay.
    claims : ids        Claims of the register, which prose may name.
    cited : ids         Entries of the list of sources.

    Raises EssayError for a number typed by hand, an unknown claim, a source or note that is missing or never used, a passage
    about an undecided claim that does not say so, and words of a finding where none is quoted.
    """
    known = set(claims)
    for written in (source.title, source.subtitle):
        if found := _numbers(written, source.typed):
            raise _typed(source.label, 1, found[0])
    for paragraph in source.paragraphs:
        for piece in paragraph.pieces:
            if not isinstance(piece, Expression):
                _lint_text(*piece, source, known)
            elif piece.root in ("claim", *_VERDICTS) and piece.path and piece.path[0] not in known:
                raise _unknown(source.label, piece.line, piece.path[0], known)
        _lint_wording(paragraph, source.label)
    _lint_notes(source)
    _lint_sources(source, set(cited))


def _lint_text(text: str, line: int, source: Source, known: set[str]) -> None:
    for number, written in enumerate(text.split("\n"), line):
        for name in _CLAIM.findall(written):
            if name not in known:
                raise _unknown(source.label, number, name, known)
        if found := _numbers(_CLAIM.sub(" ", written), source.typed):
            raise _typed(source.label, number, found[0])


def _unknown(label: str, line: int, name: str, known: Iterable[str]) -> EssayError:
    near = nearest(name, known)
    return _fault(
        label, line, f"the claim '{name}' is not known", listed(sorted(known), limit=40), f"'{name}'",
        near and f"did you mean {near}?",
    )  # fmt: skip


def _typed(label: str, line: int, found: str) -> EssayError:
    return _fault(
        label, line, "a number is typed by hand", "a reference, as {{ supported.H17.estimate }}", f"'{found}'",
        f'quote it from its record; a number that is none of the study\'s goes under [typed] in the head: "{found}" = "why"',
    )  # fmt: skip


def _numbers(written: str, typed: Mapping[str, str]) -> list[str]:
    """Return what reads as a number in a line of prose and is no date, note, address, list or declared text.

    >>> _numbers("On 3 May 2026, in 2026, see[^2] and [@bcg2025].", {})
    []
    >>> _numbers("About 70 per cent, or seventy per cent, or ¾", {})
    ['70', '¾', 'seventy per cent']
    >>> _numbers("ISO 20252 asks for it", {"ISO 20252": "name of a standard"})
    []
    """
    plain = html.unescape(written)
    for allowed in sorted(typed, key=len, reverse=True):
        plain = plain.replace(allowed, " ")
    plain = _FREE.sub(" ", plain)
    digits = [
        match.group() for match in re.finditer(r"\S*[^\s\W]\S*|\S", plain) if any(c.isnumeric() for c in match.group())
    ]
    return [found.strip(".,;:()") for found in digits] + [match.group() for match in _WORDED.finditer(plain)]


def _lint_wording(paragraph: Paragraph, label: str) -> None:
    about = [ref for ref in paragraph.references if ref.root in ("claim", *_VERDICTS) and ref.path]
    _lint_verdicts(about, label)
    quoted = {ref.path[0] for ref in about}
    decided = any(ref.root in _DECIDED for ref in about) and not any(ref.root in _UNDECIDED for ref in about)
    for text, line in (piece for piece in paragraph.pieces if not isinstance(piece, Expression)):
        for match in _CLAIM.finditer(text):
            if match.group() not in quoted:
                raise _fault(
                    label, line + text[: match.start()].count("\n"), "a claim is named and nothing of it is quoted",
                    f"{{{{ claim.{match.group()}.verdict }}}} or more of it in the same paragraph", f"'{match.group()}' alone",
                    "what is said of a claim comes from its record",
                )  # fmt: skip
        asserted = None if decided else _ASSERTS.search(text)
        if asserted:
            raise _fault(
                label, line + text[: asserted.start()].count("\n"), "a hypothesis is worded as a finding",
                "these words beside a quoted verdict, supported or contradicted, and in a paragraph without an undecided claim",
                f"'{asserted.group()}'", "quote the finding, or say it as the hypothesis that it is",
            )  # fmt: skip


def _lint_verdicts(about: Iterable[Expression], label: str) -> None:
    """Refuse an undecided claim, or one of any verdict, that is quoted in a paragraph which does not say its verdict."""
    about = list(about)
    said = {ref.path[0] for ref in about if _SAYS & set(ref.path[1:])}
    titles = {
        **dict.fromkeys(_UNDECIDED, "a passage quotes a hypothesis without saying that it is undecided"),
        "claim": "a claim is quoted without its verdict",
    }
    for ref in about:
        if ref.root in titles and ref.path[0] not in said:
            raise _fault(
                label, ref.line, titles[ref.root], f"{{{{ {ref.root}.{ref.path[0]}.sentence }}}} or its verdict beside it",
                f"{{{{ {ref.text} }}}} alone", "a claim is a hypothesis until its verdict is said, in the same paragraph",
            )  # fmt: skip


def _texts(source: Source) -> Iterator[tuple[str, int]]:
    for paragraph in source.paragraphs:
        for piece in paragraph.pieces:
            if not isinstance(piece, Expression):
                for number, written in enumerate(piece[0].split("\n"), piece[1]):
                    yield written, number


def _lint_notes(source: Source) -> None:
    used: dict[str, int] = {}
    defined: dict[str, int] = {}
    for written, line in _texts(source):
        for name, colon in _NOTE.findall(written):
            place = defined if colon and written.startswith(f"[^{name}]:") else used
            if place is defined and name in defined:
                raise _fault(source.label, line, f"the note '{name}' is there twice", "each note once", f"[^{name}]:")
            place.setdefault(name, line)
    for name, line in used.items():
        if name not in defined:
            raise _fault(
                source.label, line, f"the note '{name}' is not there", f"a paragraph [^{name}]: ...", f"[^{name}]"
            )
    for name, line in defined.items():
        if name not in used:
            raise _fault(
                source.label, line, f"nothing points to the note '{name}'", f"[^{name}] in the text", "no such mark"
            )


def _lint_sources(source: Source, cited: set[str]) -> None:
    for written, line in _texts(source):
        for name in _CITED.findall(written):
            key = name.rstrip(".,;:?")
            if key not in cited:
                near = nearest(key, cited)
                raise _fault(
                    source.label, line, f"the source '{key}' is not known", listed(sorted(cited)) or "an entry of sources.json",
                    f"@{key}", near and f"did you mean {near}?",
                )  # fmt: skip
