"""The essay as a tree of blocks, and the tree as Markdown and HTML: notes as superscripts, "Notes and Sources" at the end.

Pandoc reads and writes, as a program of its own (GPL-2-or-later, called as a subprocess; nothing of it is linked or copied).
Sources are cited by CSL in the style of `templates/notes.csl`; a citation outside a note becomes one.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import io
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.errors import EssayError
from fieldwork.essays.forms import as_blocks, as_html, as_list

if TYPE_CHECKING:
    from fieldwork.essays.exhibits import Exhibit
    from fieldwork.essays.render import Essay

__all__ = [
    "Block",
    "Tree",
    "epoch",
    "exhibits_in",
    "exhibits_of",
    "few_colours",
    "notes_heading",
    "numbered_notes",
    "pandoc",
    "parse",
    "picture",
    "taken_apart",
    "to_html",
    "to_markdown",
]

Block = dict[str, Any]
Tree = dict[str, Any]
Shown = Callable[["Exhibit"], list[Block]]

notes_heading = "Notes and Sources"
TEMPLATES = Path(__file__).parent / "templates"
_READER = "markdown-raw_html-raw_tex-raw_attribute-tex_math_dollars-implicit_figures+smart"
_WEB_WIDTH = 1350  # pixels: 4.5 inches at 300 to the inch
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_STYLE = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
_STYLED = re.compile(r'<[^<>]*\sstyle="([^"]*)"')
_WARNED = re.compile(r"^\[WARNING\] (.*)$", re.MULTILINE)


@cache
def _program() -> Path:
    """Return pandoc as the locked package brings it, never one that happens to be on the machine."""
    import pypandoc  # noqa: PLC0415 - where documents are made

    folder = Path(pypandoc.__file__).parent / "files"
    found = next((path for path in (folder / "pandoc", folder / "pandoc.exe") if path.is_file()), None)
    if found is None:
        raise EssayError(
            "pandoc is not there", expected="the program inside the package pypandoc_binary", got=f"nothing in {folder.name}/",
            hint="set up again: make setup; on a platform without a wheel of pypandoc_binary essays cannot be built",
        )  # fmt: skip
    return found


def epoch(essay: Essay) -> int:
    """Return the essay's date as seconds: the time that every document of it carries."""
    day = essay.source.date
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def pandoc(arguments: list[str], content: bytes, *, stamp: int = 0, folder: Path | None = None) -> bytes:
    """Run pandoc on a content and return what it writes; EssayError for a fault or a warning, for a warning is one here."""
    done = subprocess.run(
        [_program(), *arguments], input=content, capture_output=True, check=False, cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(stamp), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    told = done.stderr.decode(errors="replace").strip()
    if done.returncode or _WARNED.search(told):
        raise EssayError("pandoc could not make a document of the essay", got=told[:300], hint="mend what it names")
    return done.stdout


def parse(essay: Essay, sources: Path | None) -> Tree:
    """Return the essay as pandoc's tree, citations resolved, footnotes made superscripts and a list at the end."""
    tree, notes = taken_apart(essay, sources)
    if notes:
        tree["blocks"] += [
            {"t": "Header", "c": [2, ["notes-and-sources", [], []], [_text(notes_heading)]]},
            numbered_notes(notes),
        ]
    return tree


def taken_apart(essay: Essay, sources: Path | None, apart: str = "") -> tuple[Tree, list[list[Block]]]:
    """Return the essay's tree and its notes, each note the blocks of one; `apart` goes into their identifiers."""
    arguments = ["-f", _READER, "-t", "json"]
    if sources is not None:
        arguments += ["--citeproc", "--bibliography", str(sources), "--csl", str(TEMPLATES / "notes.csl")]
    # The style is of notes: without this pandoc would print a list of sources as well.
    lead = b"---\nsuppress-bibliography: true\nlang: en-GB\n---\n\n"
    tree: Tree = json.loads(pandoc(arguments, lead + essay.markdown.encode()))
    notes: list[list[Block]] = []
    tree["blocks"] = [_without_notes(block, notes, apart) for block in tree["blocks"]]
    return tree, notes


def numbered_notes(notes: list[list[Block]], apart: str = "") -> Block:
    """Return notes as a numbered list, each with the place that its mark leads to."""
    items = [_marked(f"note-{apart}{number}", blocks) for number, blocks in enumerate(notes, 1)]
    return {"t": "OrderedList", "c": [[1, {"t": "Decimal"}, {"t": "Period"}], items]}


def _text(text: str) -> Block:
    return {"t": "Str", "c": text}


def _marked(name: str, blocks: list[Block]) -> list[Block]:
    """Give a note's first paragraph the place that its mark in the text leads to."""
    first = blocks[0]
    place = {"t": "Span", "c": [[name, [], []], first["c"]]}
    return [{**first, "c": [place]}, *blocks[1:]]


def _without_notes(node: Any, notes: list[list[Block]], apart: str) -> Any:  # noqa: ANN401 - any part of the tree
    if isinstance(node, list):
        return [_without_notes(each, notes, apart) for each in node]
    if isinstance(node, dict):
        if node.get("t") == "Note":
            notes.append(_without_notes(node["c"], notes, apart))
            number = len(notes)
            link = {"t": "Link", "c": [["", [], []], [_text(str(number))], [f"#note-{apart}{number}", ""]]}
            return {"t": "Superscript", "c": [link]}
        if node.get("t") == "Cite":  # resolved already; a writer must not resolve it again
            return {"t": "Span", "c": [["", [], []], _sentence(_without_notes(node["c"][1], notes, apart))]}
        return {key: _without_notes(value, notes, apart) for key, value in node.items()}
    return node


def _sentence(inlines: list[Block]) -> list[Block]:
    """Return a source that pandoc puts in brackets, because it is cited inside a note, as a sentence of the note."""
    first, last = inlines[0], inlines[-1]
    if not (first["t"] == last["t"] == "Str" and first["c"].startswith("(") and last["c"].endswith(")")):
        return inlines
    done = [{**first, "c": first["c"][1:]}, *inlines[1:]]
    return [*done[:-1], {"t": "Str", "c": done[-1]["c"][:-1].rstrip(".") + "."}]


def exhibits_in(tree: Tree, essay: Essay, shown: Shown) -> Tree:
    """Return the tree with the blocks of each exhibit in its place."""
    return {**tree, "blocks": exhibits_of(tree["blocks"], essay.exhibits, shown)}


def exhibits_of(blocks: Iterable[Block], exhibits: Mapping[str, Exhibit], shown: Shown) -> list[Block]:
    """Return blocks with those of each exhibit in its place."""
    out: list[Block] = []
    for block in blocks:
        name = _place(block)
        out += shown(exhibits[name]) if name else [copy.deepcopy(block)]
    return out


def _place(block: Block) -> str:
    if block["t"] != "Para" or len(block["c"]) != 1 or block["c"][0]["t"] != "Str":
        return ""
    text = block["c"][0]["c"]
    return str(text[1:-1]) if text[:1] == "\ue000" and text[-1:] == "\ue001" else ""


def mapped(node: Any, change: Callable[[Block], Block | None]) -> Any:  # noqa: ANN401 - any part of a tree
    """Return a tree with what `change` returns in the place of nodes for which it returns something, from the leaves up."""
    if isinstance(node, list):
        return [mapped(each, change) for each in node]
    if isinstance(node, dict):
        inner = {key: mapped(value, change) for key, value in node.items()}
        return (change(inner) if "t" in inner else None) or inner
    return node


@lru_cache(maxsize=32)
def picture(png: bytes) -> bytes:
    """Return a figure's PNG as newsletters take it: 1350 pixels wide; the same bytes for the same picture."""
    return few_colours(png, _WEB_WIDTH)


def few_colours(png: bytes, width: int = 0) -> bytes:
    """Return a drawing in 64 colours, which is a third of the bytes; `width`: in pixels, 0 leaves it as it is."""
    from PIL import Image  # noqa: PLC0415 - where documents are made

    drawn = Image.open(io.BytesIO(png)).convert("RGB")
    if width:
        drawn = drawn.resize((width, round(drawn.height * width / drawn.width)), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    drawn.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(target, "png", optimize=True)
    return target.getvalue()


def _lead(essay: Essay) -> Iterator[Block]:
    """Yield the lines under the title: subtitle, author and date, banner."""
    source = essay.source
    if source.subtitle:
        yield {"t": "Para", "c": [{"t": "Emph", "c": [_text(source.subtitle)]}]}
    yield {"t": "Para", "c": [_text(f"{source.author}, {source.date.day} {source.date:%B %Y}")]}
    if essay.banner:
        yield {"t": "Para", "c": [{"t": "Strong", "c": [_text(essay.banner)]}]}


def to_markdown(tree: Tree, essay: Essay) -> str:
    """Return the essay as Markdown to paste: Unicode superscripts, pipe tables, pictures by name."""

    def shown(exhibit: Exhibit) -> list[Block]:
        heading = {"t": "Strong", "c": [_text(f"{exhibit.heading}. {exhibit.title}")]}
        if exhibit.table is not None:
            return [{"t": "Para", "c": [heading]}, *as_blocks(exhibit.table, "", plain=True, caption=False)]
        target = f"{essay.source.name}/{exhibit.id}.png"
        image = {"t": "Image", "c": [["", [], []], [_text(exhibit.alt)], [target, ""]]}
        return [{"t": "Para", "c": [image]}, {"t": "Para", "c": [heading]}]

    def plain(node: Block) -> Block | None:
        if node["t"] == "Superscript":
            words = "".join(each["c"] if each["t"] == "Str" else each["c"][1][0]["c"] for each in node["c"])
            return _text(words.translate(_RAISED))
        if node["t"] == "Link" and node["c"][2][0].startswith("#"):
            return {"t": "Span", "c": [["", [], []], node["c"][1]]}
        if node["t"] == "Span":
            return {"t": "Span", "c": [["", [], []], node["c"][1]]}
        return None

    whole = exhibits_in(tree, essay, shown)
    title = {"t": "Header", "c": [1, ["", [], []], [_text(essay.source.title)]]}
    blocks = mapped(_superscripts_first([title, *_lead(essay), *whole["blocks"]]), plain)
    blocks = mapped(blocks, _bare)
    return pandoc(["-f", "json", "-t", "gfm", "--wrap=none"], _json({**whole, "blocks": blocks, "meta": {}})).decode()


def _superscripts_first(blocks: list[Block]) -> list[Block]:
    """Unwrap the link inside a superscript, so that the mark is one text."""

    def change(node: Block) -> Block | None:
        if node["t"] == "Superscript":
            return {"t": "Superscript", "c": [e["c"][1][0] if e["t"] == "Link" else e for e in node["c"]]}
        return None

    done: list[Block] = mapped(blocks, change)
    return done


def _bare(node: Block) -> Block | None:
    """Take identifiers off headings: an editor would show them."""
    if node["t"] == "Header":
        return {"t": "Header", "c": [node["c"][0], ["", [], []], node["c"][2]]}
    return None


def to_html(tree: Tree, essay: Essay, *, tables: Mapping[str, bytes] | None = None) -> str:
    """Return the essay as one page of HTML without scripts, pictures inside.

    Parameters
    ----------
    tables : mapping    PNG of each table by name; given: tables are shown as pictures and lists, for editors that take none.
    """

    def shown(exhibit: Exhibit) -> list[Block]:
        label = html.escape(f"{exhibit.heading}. {exhibit.title}")
        if exhibit.table is None:
            image = _image(picture(exhibit.files["png"]), exhibit.alt)
            return [_raw(f'<figure id="{exhibit.id}">{image}<figcaption>{label}</figcaption></figure>')]
        if tables is None:
            return [
                _raw(f'<div id="{exhibit.id}">{as_html(exhibit.table, f"t-{exhibit.name}", exhibit.heading)}</div>')
            ]
        image = _image(tables[exhibit.name], exhibit.alt)
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in as_list(exhibit.table))
        return [_raw(f'<figure id="{exhibit.id}">{image}<figcaption>{label}</figcaption></figure><ul>{lines}</ul>')]

    whole = exhibits_in(tree, essay, shown)
    blocks = [*_lead(essay), *whole["blocks"]]
    body = pandoc(["-f", "json", "-t", "html5", "--wrap=none"], _json({**whole, "blocks": blocks, "meta": {}})).decode()
    head, _, foot = (TEMPLATES / "essay.html").read_text(encoding="utf-8").partition("$body$")
    head = head.replace("$title$", html.escape(essay.source.title))
    # The policy is of the page as it stands, so it is written into it last.
    start, _, rest = (head + body + foot).partition("$policy$")
    return start + _policy(rest) + rest


def _policy(page: str) -> str:
    """Return what a page may do: show the pictures inside it, and styles that stand in it now, each by its hash."""
    styles = [*_STYLE.findall(page), *map(html.unescape, _STYLED.findall(page))]
    hashes = {base64.b64encode(hashlib.sha256(each.encode()).digest()).decode("ascii") for each in styles}
    listed = " ".join(f"'sha256-{each}'" for each in sorted(hashes))
    # `unsafe-hashes` lets a hash stand for the style attribute of an element; it allows no style without one.
    return f"default-src 'none'; style-src 'unsafe-hashes' {listed}; img-src data:; base-uri 'none'; form-action 'none'"


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt, quote=True)}">'


def _raw(text: str) -> Block:
    return {"t": "RawBlock", "c": ["html", text]}


def _json(tree: Tree) -> bytes:
    return json.dumps(tree, ensure_ascii=False).encode()
