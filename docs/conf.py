"""How Sphinx builds the handbook: `make docs`."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
from _ext.docstrings import as_rst
from _ext.modules import sections
from _ext.rows import DOCS, rows

project = "fieldwork"
author = "Quaie fieldwork team"
version = release = version_of("fieldwork")
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "_ext"]
language = "en_GB"
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True}
html_theme = "furo"
html_title = f"fieldwork {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_last_updated_fmt = None
highlight_language = "none"


class Rows(SphinxDirective):
    """Show rows of a table of another page, read when the handbook is built."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {
        "section": directives.unchanged,
        "where": directives.unchanged,
        "columns": directives.unchanged,
        "table": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """Read the rows and have them parsed as the page is."""
        source = self.arguments[0]
        self.env.note_dependency(str(DOCS / source))
        try:
            lines = rows(source, **self.options)
        except LookupError as missing:
            raise self.error(str(missing)) from missing
        box = nodes.container(classes=["rows"])
        self.state.nested_parse(StringList(lines, source=source), self.content_offset, box)
        return [box]


def _prepared(app: Sphinx, docname: str, source: list[str]) -> None:
    """List modules, and let links to Markdown files outside docs/ lead to the file itself, which goes along."""
    here = Path(app.env.doc2path(docname)).parent

    def told(link: re.Match[str]) -> str:
        target = (here / link[1]).resolve()
        return f"](<path:{link[1]}>)" if target.is_file() and not target.is_relative_to(DOCS) else link[0]

    source[0] = sections(source[0])
    source[0] = re.sub(r"\]\((\.\./[^)#\s]+\.md)\)", told, source[0])


def _docstring(_app: Sphinx, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    lines[:] = as_rst(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what the pages use."""
    app.add_directive("rows", Rows)
    app.connect("source-read", _prepared)
    app.connect("autodoc-process-docstring", _docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
