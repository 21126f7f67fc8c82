"""Executed chapters as pages: own template, everything sanitised, no script, no remote asset, code folded away."""

from __future__ import annotations

import base64
import html
import itertools
import os.path
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
import nh3
from jinja2 import Environment
from markupsafe import Markup
from nbconvert.exporters import TemplateExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets import default
from traitlets.config import Config

from fieldwork.errors import NotebookError

__all__ = ["ChapterPage", "convert", "sanitised", "titles"]

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_TAGS = {
    *_HEADINGS,
    *("p", "br", "hr", "em", "strong", "b", "i", "s", "del", "sub", "sup", "small", "code", "pre", "blockquote"),
    *("ul", "ol", "li", "dl", "dt", "dd", "a", "img", "div", "span", "abbr"),
    *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"),
}
_ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "width", "height"},
    "abbr": {"title"},
    "th": {"scope", "colspan", "rowspan", "role"},
    "td": {"colspan", "rowspan", "role", "data-label"},
    "div": {"role", "aria-label", "tabindex"},
    "span": {"aria-hidden"},
    "ol": {"start"},
    **{tag: {"role"} for tag in ("table", "thead", "tbody", "tr")},
    **{tag: {"id"} for tag in _HEADINGS},
}
_CLASSES = {
    "div": {"table", "notes"},
    "table": {"stacked"},
    "th": {"number"},
    "td": {"number"},
    "span": {"unseen"},
}
_IMAGE = re.compile(r"data:image/(png|jpeg|gif|svg\+xml);base64,[A-Za-z0-9+/=\s]+")
_LINK = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ChapterPage:
    """One executed chapter, ready for its page.

    Attributes
    ----------
    name : str       Name of the chapter.
    title : str      Its first heading, as text, and the part where it is one of several.
    body : Markup    Its cells, sanitised.
    """

    name: str
    title: str
    body: Markup


def titles(paths: Sequence[Path]) -> dict[str, str]:
    """Return the title of each executed chapter, by name; parts of one chapter are told apart by the end of their names."""
    made = {path.stem: _title(_read(path), path.stem) for path in paths}
    same = {title: [name for name, its in made.items() if its == title] for title in made.values()}
    alike = {title: os.path.commonprefix(names) for title, names in same.items() if len(names) > 1}  # noqa: RUF071 - by letters
    shared = {title: start.rfind("_") + 1 for title, start in alike.items()}
    return {
        name: f"{title} ({name[shared[title] :].replace('_', ' ')})" if title in shared else title
        for name, title in made.items()
    }


def convert(path: Path, environment: Environment, *, known: Sequence[str] = (), title: str = "") -> ChapterPage:
    """Turn an executed notebook into the body of a page.

    Markdown and HTML outputs pass a sanitiser that keeps text, tables, links and inlined images. Code is folded away,
    script and widget outputs are left out, and of an error only its name is shown: a traceback may quote data.

    Parameters
    ----------
    environment : Environment    Jinja environment of the site, autoescaped.
    known : sequence of str      Names of chapters that links between notebooks may lead to.
    title : str                  Title of the page, see `titles`; empty: the first heading.

    Raises NotebookError when the file is not a notebook.
    """
    notebook = _read(path)
    title = title or _title(notebook, path.stem)
    body, _ = _exporter(environment).from_notebook_node(notebook, resources={"known": list(known)})
    return ChapterPage(path.stem, title, Markup(_numbered(_without_title(body))))  # noqa: S704 - autoescaped and sanitised cell by cell


def sanitised(text: str, *, known: Sequence[str] = ()) -> Markup:
    """Return HTML with everything taken out that could run, fetch or restyle.

    >>> sanitised('<p onclick="x()">Bases <script>alert(1)</script><img src="http://x.org/p.png"></p>')
    Markup('<p>Bases </p>')
    """

    def kept(tag: str, attribute: str, value: str) -> str | None:
        if tag == "img" and attribute == "src":
            return value if _IMAGE.fullmatch(value) else None
        if tag == "a" and attribute == "href":
            target = value.partition("#")[0]
            if target.endswith(".ipynb") and Path(target).stem in known:
                return f"{Path(target).stem}.html"
            return value if _LINK.match(value) else None
        return value

    clean = nh3.clean(
        text,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        attribute_filter=kept,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer",
    )
    clean = re.sub(r"<img(?![^>]*\ssrc=)[^>]*>", "", clean)
    clean = re.sub(r"<img(?![^>]*\salt=)", '<img alt=""', clean)
    return Markup(_tables(clean))  # noqa: S704 - sanitised above


class _Exporter(TemplateExporter):
    """nbconvert with the site's own environment in place of its templates."""

    template_file = "chapter_body.html"

    def __init__(self, environment: Environment) -> None:
        self._site = environment
        tags = {"remove_input_tags": {"remove-input"}, "remove_cell_tags": {"remove-cell"}}
        # nbconvert has ten more that are not enabled, and holds a notebook against its schema before and after each.
        only = {"default_preprocessors": ["nbconvert.preprocessors.TagRemovePreprocessor"]}
        super().__init__(  # type: ignore[no-untyped-call]
            config=Config({"Exporter": only, "TagRemovePreprocessor": {"enabled": True, **tags}})
        )

    @default("file_extension")
    def _file_extension_default(self) -> str:
        return ".html"

    def _create_environment(self) -> Environment:
        environment = self._site.overlay()
        environment.filters = {**self._site.filters, "markdown": _markdown, "output": _output}
        return environment


@lru_cache(maxsize=1)
def _exporter(environment: Environment) -> _Exporter:
    """Return the exporter of an environment: it holds the template of a chapter, compiled once for all of them."""
    return _Exporter(environment)


def _markdown(cell: Mapping[str, Any], known: Sequence[str]) -> Markup:
    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True, attachments=cell.get("attachments", {}))
    return sanitised(MarkdownWithMath(renderer=renderer).render(cell["source"]), known=known)


def _output(output: Mapping[str, Any], cell: Mapping[str, Any], known: Sequence[str]) -> Markup:
    """Render one output in the richest form that is safe."""
    kind = output["output_type"]
    if kind == "error":
        return Markup('<p class="stopped">This cell stopped with {}. The run says where and why.</p>').format(
            output.get("ename", "an error")
        )
    if kind == "stream":
        text = _ANSI.sub("", str(output["text"])).rstrip()
        return Markup("<pre>{}</pre>").format(text) if output["name"] == "stdout" and text else Markup("")
    data = output["data"]
    for mime in ("image/svg+xml", "image/png", "image/jpeg"):
        if mime in data:
            return _image(mime, data, output, cell)
    if "text/html" in data:
        return sanitised(str(data["text/html"]), known=known)
    if "text/markdown" in data:
        return _markdown({"source": str(data["text/markdown"])}, known)
    plain = _ANSI.sub("", str(data.get("text/latex") or data.get("text/plain") or ""))
    scripted = any(mime.endswith(("javascript", "json")) or "widget" in mime for mime in data)
    return Markup("<pre>{}</pre>").format(plain) if plain and not scripted else Markup("")


def _image(mime: str, data: Mapping[str, Any], output: Mapping[str, Any], cell: Mapping[str, Any]) -> Markup:
    given = output.get("metadata", {}).get(mime, {}) or output.get("metadata", {})
    plain = str(data.get("text/plain", ""))
    alt = given.get("alt") or cell["metadata"].get("alt") or ("" if plain.startswith("<") else plain)
    content = data[mime]
    encoded = (
        base64.b64encode(content.encode()).decode("ascii") if mime == "image/svg+xml" else "".join(content.split())
    )
    return Markup('<img src="data:{};base64,{}" alt="{}">').format(
        mime, encoded, alt or "Figure of this cell, described in the text"
    )


def _tables(text: str) -> str:
    """Give tables of notebooks what readers of a screen need: scopes, and a region that scrolls by itself."""
    if '<div class="table"' in text or "<table" not in text:
        return text
    head, body = r"(<thead>)(.*?)(</thead>)", r"(<tbody>)(.*?)(</tbody>)"

    def scoped(scope: str) -> Any:  # noqa: ANN401 - a replacement function
        def replace(found: re.Match[str]) -> str:
            inner = found[2].replace("<th></th>", "<td></td>").replace("<th>", f'<th scope="{scope}">')
            return f"{found[1]}{inner}{found[3]}"

        return replace

    text = re.sub(head, scoped("col"), text, flags=re.DOTALL)
    text = re.sub(body, scoped("row"), text, flags=re.DOTALL)
    text = text.replace("<table", '<div class="table" role="region" aria-label="Table" tabindex="0"><table')
    return text.replace("</table>", "</table></div>")


def _read(path: Path) -> nbformat.NotebookNode:
    try:
        notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, KeyError, AttributeError) as error:
        raise NotebookError(
            f"the executed chapter {path.name} is not a notebook",
            where=f"chapters/{path.name}",
            expected="a notebook of format 4",
            got=str(error)[:200],
            hint=f"run the chapter again: fieldwork run --only {path.stem} --force",
        ) from error
    return notebook


def _title(notebook: Mapping[str, Any], name: str) -> str:
    first = next((cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown"), "")
    heading = next((line for line in first.splitlines() if line.startswith("# ")), "")
    rendered = re.sub(r"<[^>]+>", "", str(_markdown({"source": heading}, ())))
    return html.unescape(rendered).strip() or name


def _numbered(body: str) -> str:
    """Give tables without a title of their own a number: regions of a page are told apart by their names."""
    numbers = itertools.count(1)
    return re.sub(r'aria-label="Table"', lambda _: f'aria-label="Table {next(numbers)}"', body)


def _without_title(body: str) -> str:
    """Take the first heading out, which heads the page, and set any further one a level lower."""
    body = re.sub(r"<h1\b[^>]*>.*?</h1>", "", body, count=1, flags=re.DOTALL)
    return re.sub(r"(</?)h1\b", r"\1h2", body)
