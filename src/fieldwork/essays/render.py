"""From source to Markdown: every reference becomes its published words, every exhibit a numbered place; or the line is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import UndefinedError

from fieldwork.errors import EssayError, FieldworkError, listed, nearest
from fieldwork.essays.exhibits import Exhibit, Exhibits
from fieldwork.essays.quotes import facts_of, roots
from fieldwork.essays.source import Expression, Paragraph, Source, environment

if TYPE_CHECKING:
    from fieldwork.essays.facts import Facts

__all__ = ["PLACE", "Essay", "render"]

# Two characters of the private use area round the name of an exhibit: no prose holds them.
PLACE = re.compile("\ue000([\\w-]+)\ue001")
_SPECIAL = re.compile(r"([\\`*_\[\]#<>$~^@|{}])")


@dataclass(frozen=True, slots=True)
class Essay:
    """An essay with its numbers in place.

    Attributes
    ----------
    source : Source                 As it was written.
    markdown : str                  Pandoc's Markdown; a paragraph with the mark of `PLACE` stands where an exhibit goes.
    exhibits : dict of Exhibit      Figures and tables by name, in order.
    banner : str                    What every copy says of simulated data; empty otherwise.
    """

    source: Source
    markdown: str
    exhibits: dict[str, Exhibit]
    banner: str


def render(source: Source, facts: Facts, exhibits: Exhibits | None = None) -> Essay:
    """Put published words in the place of every reference; `exhibits` numbers figures and tables, by itself from one.

    Raises EssayError, with file and line, for a reference that is unknown, stale, suppressed, or of another verdict than the
    prose was written for.
    """
    exhibits = exhibits or Exhibits(facts)
    names = {**facts_of(facts), "figure": exhibits.figure, "table": exhibits.table, "ref": exhibits.ref}
    evaluate = _evaluator(source, names)
    shown: dict[int, Exhibit] = {}
    # Exhibits first: prose may point to one that stands further down.
    for paragraph in source.paragraphs:
        for reference in paragraph.references:
            if reference.root in ("figure", "table"):
                if len(paragraph.pieces) > 1 and any(
                    _said(piece) for piece in paragraph.pieces if piece is not reference
                ):
                    raise _at(
                        source,
                        reference,
                        "a figure or table stands in a paragraph of its own",
                        "{{ " + reference.text + " }}",
                    )
                shown[reference.line] = _exhibit(evaluate(reference), source, reference)
    written = [_written(paragraph, source, evaluate, shown) for paragraph in source.paragraphs]
    return Essay(source, "\n\n".join(written) + "\n", exhibits.shown, facts.study.banner)


def _said(piece: tuple[str, int] | Expression) -> bool:
    return isinstance(piece, Expression) or bool(piece[0].strip())


def _exhibit(value: Any, source: Source, reference: Expression) -> Exhibit:  # noqa: ANN401 - whatever was evaluated
    if not isinstance(value, Exhibit):
        raise _at(source, reference, "a reference names no figure or table", "as {{ figure.gradient }}")
    return value


def _at(source: Source, reference: Expression, title: str, expected: str) -> EssayError:
    return EssayError(
        title, where=f"{source.label}, line {reference.line}", expected=expected, got="{{ " + reference.text + " }}"
    )


def _told(error: FieldworkError, where: str, got: str) -> EssayError:
    """Return an error of a reference with the line that holds it."""
    return EssayError(error.title, where=where, expected=error.expected, got=error.got or got, hint=error.hint)


def _evaluator(source: Source, names: dict[str, Any]) -> Callable[[Expression], Any]:
    language = environment()

    def evaluate(reference: Expression) -> Any:  # noqa: ANN401 - text, exhibit, or what is refused
        where = f"{source.label}, line {reference.line}"
        if reference.root not in names:
            near = nearest(reference.root, names)
            raise EssayError(
                f"the name '{reference.root}' is not known", where=where, expected=listed(roots()),
                got="{{ " + reference.text + " }}", hint=f"did you mean {near}?" if near else "correct the name",
            )  # fmt: skip
        try:
            return language.compile_expression(reference.text, undefined_to_none=False)(**names)
        except UndefinedError as error:
            raise EssayError(
                "a reference leads nowhere", where=where, expected="a name of docs/essays.md",
                got=f"{{{{ {reference.text} }}}}: {error.message}", hint="correct the name",
            ) from error  # fmt: skip
        except TypeError as error:
            raise EssayError(
                "a reference lacks an argument, or has one too many", where=where, got=f"{{{{ {reference.text} }}}}: {error}",
                hint="name the arguments as the other tables of this essay do",
            ) from error  # fmt: skip
        except FieldworkError as error:
            raise _told(error, where, "{{ " + reference.text + " }}") from error

    return evaluate


def _written(
    paragraph: Paragraph, source: Source, evaluate: Callable[[Expression], Any], shown: dict[int, Exhibit]
) -> str:  # fmt: skip
    parts = []
    for piece in paragraph.pieces:
        if not isinstance(piece, Expression):
            parts.append(piece[0])
        elif piece.root in ("figure", "table"):
            parts.append(f"\ue000{shown[piece.line].name}\ue001")
        else:
            parts.append(_words(evaluate(piece), source, piece))
    return "".join(parts).strip("\n")


def _words(value: Any, source: Source, reference: Expression) -> str:  # noqa: ANN401 - whatever was evaluated
    """Return what a reference prints, safe in Markdown; a pointer to an exhibit is a link to it."""
    if isinstance(value, Exhibit):
        unbroken = value.heading.replace(" ", "\N{NO-BREAK SPACE}")
        return f"[{unbroken}](#{value.id})"
    if not isinstance(value, str):
        try:
            value = str(value) if hasattr(value, "_fields") else None
        except EssayError as error:
            raise _told(error, f"{source.label}, line {reference.line}", "{{ " + reference.text + " }}") from error
    if value is None:
        raise _at(source, reference, "a reference is not text", "a field, as {{ supported.H17.estimate }}")
    return _SPECIAL.sub(r"\\\1", value)
