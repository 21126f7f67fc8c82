"""Pages for one organisation alone: whole in one file, with no link to any other page, and marked as not for publication."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from fieldwork.site.chapters import convert
from fieldwork.site.pages import site_environment
from fieldwork.site.type import font_faces

if TYPE_CHECKING:
    from pathlib import Path

    from fieldwork.study import Study

__all__ = ["RestrictedPages"]


class RestrictedPages:
    """Renders the pages of organisations of one wave.

    Parameters
    ----------
    study : Study    Opened for the wave.
    """

    def __init__(self, study: Study) -> None:
        self.environment = site_environment()
        loader = self.environment.loader or jinja2.BaseLoader()
        style = font_faces() + loader.get_source(self.environment, "style.css")[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
        self.environment.globals.update(
            style=Markup(style),  # noqa: S704 - the project's own file
            content_security_policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; font-src data:; "
            "base-uri 'none'; form-action 'none'",
            study=study,
            without_code=True,
        )

    def report(self, executed: Path, organisation: str) -> str:
        """Return the page of an executed notebook, its code left out."""
        chapter = convert(executed, self.environment)
        return self._page(chapter.title, organisation, body=chapter.body)

    def missing(self, organisation: str, lacking: str) -> str:
        """Return the page of an organisation of which there is no report, saying what is missing; for the fieldwork only."""
        return self._page("No report", organisation, lacking=lacking)

    def _page(self, title: str, organisation: str, *, body: str = "", lacking: str = "") -> str:
        template = self.environment.get_template("restricted.html")
        return template.render(title=title, organisation=organisation, body=body, lacking=lacking)
