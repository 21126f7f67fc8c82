"""The index of a report: claims, questions, roles, stages, figures, chapters and measures, each with the page that tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldwork.site import words
from fieldwork.site.material import slug

if TYPE_CHECKING:
    from fieldwork.site.material import Material
    from fieldwork.site.topline import Question

__all__ = ["Entry", "index"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index.

    Attributes
    ----------
    title : str     What it is called; leads to the page.
    path : str      Page, with its anchor, below the report.
    detail : str    What else it can be found by, shown beside it.
    """

    title: str
    path: str
    detail: str = ""


def index(
    material: Material,
    pages: Mapping[str, str],
    chapters: Mapping[str, str],
    questions: Sequence[Question],
    navigation: Sequence[tuple[str, str]],
) -> list[tuple[str, list[Entry]]]:
    """Return the entries by kind, kinds without an entry left out.

    Parameters
    ----------
    pages : mapping         Path of each finding's page, by the claim's id.
    chapters : mapping      Title of each executed chapter, by name.
    questions : sequence    As on the topline's page.
    navigation : sequence   Path and name of the report's own pages.
    """
    instrument = material.instrument
    claims = [
        Entry(
            f"{record['id']}. {record['text']}",
            pages.get(str(record["id"]), f"claims.html#{slug(str(record['id']))}"),
            f"{words.VERDICTS[str(record['verdict'])]}. {record.get('estimand') or ''}".strip(),
        )
        for record in material.claims
    ]
    asked = [
        Entry(
            each.label,
            f"topline.html#{each.anchor}",
            " ".join((f"“{each.wording}”" if each.wording else "", each.name)),
        )
        for each in questions
    ]
    groups = [
        ("Claims", claims),
        ("Roles", [Entry(role.label, f"roles/{slug(role.id)}.html", role.id) for role in instrument.roles]),
        ("Stages", [Entry(stage.label, f"stages/{slug(stage.id)}.html", stage.id) for stage in instrument.stages]),
        ("Questions", asked),
        (
            "Figures",
            [Entry(each.title, f"figures.html#{slug(name)}", each.caption) for name, each in material.figures.items()],
        ),
        (
            "Facts from outside",
            [
                Entry(fact.statement, "claims.html#facts", f"{fact.source} {fact.status}".strip())
                for fact in material.facts
            ],
        ),
        ("Chapters", [Entry(title, f"chapters/{slug(name)}.html", name) for name, title in chapters.items()]),
        ("Pages", [Entry(name, path) for path, name in navigation]),
    ]
    return [(name, entries) for name, entries in groups if entries]
