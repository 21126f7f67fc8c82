"""The essay typeset: a PDF of 6 x 9 inches, tagged, that the compiler itself holds to PDF/UA-1; and tables as pictures."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.errors import EssayError
from fieldwork.essays.document import TEMPLATES, Block, Tree, epoch, exhibits_in, few_colours, pandoc
from fieldwork.essays.forms import as_typst, fits, quoted

if TYPE_CHECKING:
    from fieldwork.essays.exhibits import Exhibit
    from fieldwork.essays.render import Essay

__all__ = [
    "compiled",
    "floating",
    "fonts",
    "raw",
    "shown_in_print",
    "table_picture",
    "to_pdf",
    "typst_source",
]

_PACKAGES = ("font_source_serif_pro", "font_source_sans_pro")
_HOUSE = "house.typ"
_PICTURE_PPI = 216
_FLOATS = "floating typst"  # an exhibit that is not placed yet


def fonts() -> list[str]:
    """Return the folders of the house's fonts; EssayError where a package is missing."""
    found = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.origin:
            raise EssayError(
                "a font of the house is not installed", expected=name.replace("_", "-"), got="no such package",
                hint="set up again: make setup",
            )  # fmt: skip
        found.append(str(Path(spec.origin).parent / "files"))
    return found


def typst_source(tree: Tree, essay: Essay) -> str:
    """Return the whole essay as Typst; exhibits are raw, so that alternative texts and table heads survive."""
    whole = exhibits_in(tree, essay, shown_in_print)
    whole["blocks"] = list(floating(whole["blocks"]))
    content = json.dumps({**whole, "meta": {}}, ensure_ascii=False).encode()
    body = pandoc(["-f", "json", "-t", "typst", "--wrap=none"], content).decode()
    source = essay.source
    day = f"datetime(year: {source.date.year}, month: {source.date.month}, day: {source.date.day})"
    head = (
        f"title: {quoted(source.title)}, subtitle: {quoted(source.subtitle)}, author: {quoted(source.author)}, date: {day}, "
        f"shown-date: {quoted(f'{source.date.day} {source.date:%B %Y}')}, banner: {quoted(essay.banner)}"
    )
    return f'#import "{_HOUSE}": essay, floating\n#show: essay.with({head})\n\n{body}'


def shown_in_print(exhibit: Exhibit) -> list[Block]:
    """Return an exhibit as raw Typst: a figure, or a table; only a table of more than a page does not float."""
    said = f"caption: [*#{quoted(exhibit.title)}*]"
    if exhibit.label:
        said += f", numbering: _ => {quoted(exhibit.label)}"
    if exhibit.table is None:
        picture = f"image({quoted(exhibit.id + '.svg')}, width: 100%, alt: {quoted(exhibit.alt)})"
        text = f"#figure({picture}, kind: image, supplement: [Figure], {said}) <{exhibit.id}>"
    else:
        text = f"#figure([{as_typst(exhibit.table)}], kind: table, supplement: [Table], {said}) <{exhibit.id}>"
    floats = exhibit.table is None or fits(exhibit.table)
    return [{"t": "RawBlock", "c": [_FLOATS if floats else "typst", text]}]


def floating(blocks: Sequence[Block]) -> Iterator[Block]:
    """Yield the blocks with exhibits that stand one after another set together, which the template places."""

    def floats(block: Block) -> bool:
        return bool(block["t"] == "RawBlock" and block["c"][0] == _FLOATS)

    for together, run in groupby(blocks, key=floats):
        if together:
            listed = ",\n".join(f"[{block['c'][1]}]" for block in run)
            yield raw(f"#floating({listed})")
        else:
            yield from run


def raw(text: str) -> Block:
    """Return a block of Typst as it stands."""
    return {"t": "RawBlock", "c": ["typst", text]}


def to_pdf(tree: Tree, essay: Essay) -> bytes:
    """Return the essay as PDF/UA-1; EssayError with the compiler's words where it refuses."""
    files = {f"{each.id}.svg": each.files["svg"] for each in essay.exhibits.values() if each.table is None}
    return compiled(typst_source(tree, essay), files, stamp=epoch(essay), pdf_standards=["ua-1"], format="pdf")


def table_picture(exhibit: Exhibit) -> bytes:
    """Return a table as PNG, as wide as a column of a newsletter."""
    if exhibit.table is None:
        raise EssayError("only a table is drawn as a table", expected="a table", got=exhibit.heading)
    heading = quoted(f"{exhibit.heading}. {exhibit.title}")
    text = (
        "#set page(width: 6.25in, height: auto, margin: 10pt)\n"
        '#set text(font: "Source Sans Pro", size: 10pt, lang: "en", region: "GB")\n'
        "#set table(stroke: none, inset: (x: 4pt, y: 3pt))\n#show table: set par(justify: false, leading: 0.5em)\n"
        f"#block[*#{heading}*]\n{as_typst(exhibit.table)}"
    )
    return few_colours(compiled(text, {}, stamp=0, format="png", ppi=_PICTURE_PPI))


def compiled(text: str, files: Mapping[str, bytes], *, stamp: int, **options: Any) -> bytes:  # noqa: ANN401 - of the compiler
    """Return what Typst makes of a source with the templates of the house beside it; EssayError where it refuses."""
    import typst  # noqa: PLC0415 - where documents are made

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for template in TEMPLATES.glob("*.typ"):
            (folder / template.name).write_bytes(template.read_bytes())
        (folder / "essay.typ").write_text(text, encoding="utf-8")
        for file, content in files.items():
            (folder / file).write_bytes(content)
        try:
            made = typst.compile(
                str(folder / "essay.typ"), root=str(folder), font_paths=fonts(), ignore_system_fonts=True, timestamp=stamp,
                **options,
            )  # fmt: skip
        except typst.TypstError as error:
            raise EssayError(
                "the essay could not be typeset", got=str(error)[:400], hint="mend what the compiler names"
            ) from error
    return bytes(made[0] if isinstance(made, list) else made)
