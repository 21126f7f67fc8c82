"""Pages for one organisation alone: whole in one file, with no link to any other page, and marked as not for publication."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from fieldwork.chapter import Chapter
from fieldwork.constructs.consent import organisations
from fieldwork.errors import StudyError
from fieldwork.provenance import RESTRICTED, make_folders, write_atomic
from fieldwork.site import LISTING
from fieldwork.site.chapters import convert
from fieldwork.site.pages import site_environment
from fieldwork.site.type import font_faces
from fieldwork.study import Study, valid_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["report_page", "standing"]


def standing(study: str, wave: str, out: str) -> None:
    """List the organisations of a wave with what a report about each lacks, and make a page for each that lacks something.

    Both lie in the wave's restricted folder: the listing, a record of `constructs.consent.organisations` each, and
    `<pseudonym>/index.html`. Raises RunError when the wave was not cleaned, StudyError for pseudonyms that are no names of
    folders: they become folders, and a way out of the closed one is refused.
    """
    chapter = Chapter.open("organisation", study, wave, out)
    table = organisations(chapter.instrument, chapter.read("01_clean"))
    if bad := [name for name in table["organisation"] if not valid_name(name)]:
        raise StudyError(
            f"{len(bad)} pseudonyms of organisations cannot be names of folders",
            where=f"01_clean, column {chapter.instrument.keys.organisation}",
            expected="letters, digits, '.', '_' and '-', at most 100 of them, without a way out of the folder",
            got=repr(bad[0])[:60],
            hint="let the fieldwork deliver other pseudonyms",
        )
    records: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    folder = chapter.path(RESTRICTED, "reports")
    root = chapter.out or chapter.study.folder
    _put(folder / LISTING, json.dumps(records, ensure_ascii=False, indent=1) + "\n", root)
    for record in records:
        if record["lacking"]:
            page = _page(chapter.study, "No report", record["organisation"], lacking=record["lacking"])
            _put(folder / record["organisation"] / "index.html", page, root)


def report_page(executed: Path, study: Path, wave: str, values: Mapping[str, Any]) -> str:
    """Return the page of an organisation's executed notebook, its code left out; its name is among the parameters' values."""
    chapter = convert(executed, _environment())
    return _page(Study.open(study, wave), chapter.title, values["organisation"], body=chapter.body)


def _put(path: Path, text: str, root: Path) -> None:
    make_folders(path, root)
    write_atomic(path, text, closed=True)


def _page(study: Study, title: str, organisation: str, *, body: str = "", lacking: str = "") -> str:
    template = _environment().get_template("restricted.html")
    return template.render(study=study, title=title, organisation=organisation, body=body, lacking=lacking)


@cache
def _environment() -> jinja2.Environment:
    """Return the templates with all that is the same on every such page; one for all pages of a run."""
    environment = site_environment()
    loader = environment.loader or jinja2.BaseLoader()
    style = font_faces() + loader.get_source(environment, "style.css")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    environment.globals.update(
        style=Markup(style),  # noqa: S704 - the project's own file
        content_security_policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; font-src data:; "
        "base-uri 'none'; form-action 'none'",
        without_code=True,
    )
    return environment
