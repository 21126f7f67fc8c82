"""The essay for the publisher: a Word document with real styles, numbered captions, and lists of figures and tables."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.essays.document import Block, Tree, epoch, exhibits_in, pandoc, picture
from fieldwork.essays.forms import as_blocks

if TYPE_CHECKING:
    from fieldwork.essays.exhibits import Exhibit
    from fieldwork.essays.render import Essay

__all__ = ["Listing", "Paper", "finished", "listing_of", "reference", "to_docx"]

_FACE = "Times New Roman"
_LISTS = (("Figure", "Image Caption", "Figures"), ("Table", "Table Caption", "Tables"))
_ENTRY = "List Entry"
CALL = "Call-Out"


@dataclass(frozen=True, slots=True)
class _Style:
    """Look of a paragraph: size and spaces in points, line spacing in lines."""

    size: float = 12
    bold: bool = False
    italic: bool = False
    lines: float = 1.0
    before: float = 0
    after: float = 0
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """A list before the text: a field that a word processor updates, filled so that every program shows it.

    Attributes
    ----------
    heading : str            Its heading.
    field : str              Instruction of the field; empty: the lines are text alone.
    entries : tuple          Text of each line and the bookmark that it leads to.
    """

    heading: str
    field: str
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Paper:
    """What a finished document says of itself.

    Attributes
    ----------
    title, author, banner : str    Banner: what every copy says of simulated data; empty otherwise.
    stamp : int                    Its date as seconds.
    listings : tuple of Listing    Lists before the text.
    book : bool                    Chapters begin a page, and the banner heads every page.
    """

    title: str
    author: str
    banner: str
    stamp: int
    listings: tuple[Listing, ...]
    book: bool = False


_TEXT = _Style(lines=1.5, after=8)
_STYLES = {
    **dict.fromkeys(("Normal", "Body Text", "First Paragraph"), _TEXT),
    "Title": _Style(20, bold=True, before=14, after=6),
    "Subtitle": _Style(14, italic=True, before=6, after=8),
    "Author": _Style(),
    "Date": _Style(after=12),
    "Heading 1": _Style(14, bold=True, before=14, after=6, stays=True),
    "Heading 2": _Style(12, bold=True, before=14, after=6, stays=True),
    "Heading 3": _Style(12, italic=True, before=14, after=6, stays=True),
    "Compact": _Style(9, before=2, after=2),
    "Table Note": _Style(9, before=2, after=2),
    "Captioned Figure": _Style(before=14, stays=True),
    "Image Caption": _Style(10, before=6, after=14),
    "Table Caption": _Style(10, bold=True, before=14, after=4, stays=True),
    "List Entry": _Style(11, after=4),
    "Call-Out": _Style(before=14, after=8, stays=True),
}


@cache
def reference() -> bytes:
    """Return the document whose styles every essay has: a plain manuscript, black on white, as a press wants it.

    It is made from pandoc's own default, so that every style that pandoc writes is there.
    """
    from docx import Document  # noqa: PLC0415 - where documents are made
    from docx.enum.style import WD_STYLE_TYPE  # noqa: PLC0415
    from docx.shared import Inches  # noqa: PLC0415

    document: Any = Document(io.BytesIO(pandoc(["--print-default-data-file", "reference.docx"], b"")))
    for name in ("Table Note", _ENTRY, CALL):
        document.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH).base_style = document.styles["Normal"]
    for style in document.styles:
        if style.type == WD_STYLE_TYPE.PARAGRAPH:
            _face(style)
            if style.name in _STYLES:
                _dress(style, _STYLES[style.name])
    for section in document.sections:
        section.page_width, section.page_height = Inches(8.27), Inches(11.69)
        section.left_margin = section.right_margin = Inches(1.25)
        section.top_margin = section.bottom_margin = Inches(1)
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def _dress(style: Any, look: _Style) -> None:  # noqa: ANN401 - a style of python-docx
    from docx.shared import Pt  # noqa: PLC0415

    style.font.size, style.font.bold, style.font.italic = Pt(look.size), look.bold, look.italic
    layout = style.paragraph_format
    layout.line_spacing, layout.space_before, layout.space_after = look.lines, Pt(look.before), Pt(look.after)
    layout.keep_with_next = look.stays


def _face(style: Any) -> None:  # noqa: ANN401 - a style of python-docx
    from docx.oxml.ns import qn  # noqa: PLC0415
    from docx.shared import RGBColor  # noqa: PLC0415

    style.font.name, style.font.color.rgb, style.paragraph_format.alignment = _FACE, RGBColor(0, 0, 0), 0
    for spaced in style.element.get_or_add_rPr().findall(qn("w:spacing")):
        spaced.getparent().remove(spaced)
    fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
    for name in list(fonts.attrib):
        if "Theme" in name:
            del fonts.attrib[name]
    for script in ("w:ascii", "w:hAnsi", "w:cs", "w:eastAsia"):
        fonts.set(qn(script), _FACE)


def to_docx(tree: Tree, essay: Essay) -> bytes:
    """Return the essay as DOCX; the same essay gives the same bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "reference.docx").write_bytes(reference())
        for exhibit in essay.exhibits.values():
            if exhibit.table is None:
                (folder / f"{exhibit.id}.png").write_bytes(picture(exhibit.files["png"]))
        whole = exhibits_in(tree, essay, _shown)
        arguments = ["-f", "json", "-t", "docx+native_numbering", "--shift-heading-level-by=-1"]
        arguments += ["--reference-doc", "reference.docx", "-o", "-"]
        content = json.dumps({**whole, "meta": _meta(essay), "blocks": [*_banner(essay), *whole["blocks"]]}).encode()
        made = pandoc(arguments, content, stamp=epoch(essay), folder=folder)
    listings = tuple(listing_of(*kind, tuple(essay.exhibits.values())) for kind in _LISTS)
    return finished(made, Paper(essay.source.title, essay.source.author, essay.banner, epoch(essay), listings))


def _meta(essay: Essay) -> dict[str, Any]:
    def words(text: str) -> dict[str, Any]:
        return {"t": "MetaInlines", "c": [{"t": "Str", "c": text}]}

    source = essay.source
    found = {
        "title": source.title,
        "author": source.author,
        "date": f"{source.date.day} {source.date:%B %Y}",
        "lang": "en-GB",
    }
    if source.subtitle:
        found["subtitle"] = source.subtitle
    return {key: words(text) for key, text in found.items()}


def _banner(essay: Essay) -> Iterator[Block]:
    if essay.banner:
        yield {"t": "Para", "c": [{"t": "Strong", "c": [{"t": "Str", "c": essay.banner}]}]}


def _shown(exhibit: Exhibit) -> list[Block]:
    if exhibit.table is not None:
        return as_blocks(exhibit.table, exhibit.id, plain=False)
    said = [{"t": "Strong", "c": [{"t": "Str", "c": exhibit.title}]}]
    size = [["width", "4.5in"]]
    image = {"t": "Image", "c": [["", [], size], [{"t": "Str", "c": exhibit.alt}], [f"{exhibit.id}.png", ""]]}
    return [
        {
            "t": "Figure",
            "c": [[exhibit.id, [], []], [None, [{"t": "Plain", "c": said}]], [{"t": "Plain", "c": [image]}]],
        }
    ]


def finished(made: bytes, paper: Paper) -> bytes:
    """Add what pandoc leaves out: rules of tables, filled lists, properties, page numbers; the same bytes each time."""
    from docx import Document  # noqa: PLC0415 - where documents are made
    from docx.oxml.ns import qn  # noqa: PLC0415
    from docx.shared import Pt  # noqa: PLC0415
    from docx.text.paragraph import Paragraph  # noqa: PLC0415

    document: Any = Document(io.BytesIO(made))
    _single_bookmarks(document)
    for table in document.tables:
        _rule(table)
        after = table._tbl.getnext()  # noqa: SLF001 - python-docx does not say what follows a table
        if after is not None and after.tag == qn("w:p"):
            following: Any = Paragraph(after, document)
            if following.style.name != "Table Note":
                following.paragraph_format.space_before = Pt(14)
    _lists(document, paper)
    _page_numbers(document)
    if paper.book:
        _as_book(document, paper)
    for paragraph, after in zip(document.paragraphs, [*document.paragraphs[1:], None], strict=True):
        if paragraph.style.name == "Table Note" and (after is None or after.style.name != "Table Note"):
            paragraph.paragraph_format.space_after = Pt(14)
        if paragraph.style.name in {caption for _, caption, _ in _LISTS}:
            for run in paragraph.runs:
                if run.text.startswith(": "):  # to set a text takes the field out of a run
                    run.text = f". {run.text[2:]}"
    properties, day = document.core_properties, datetime.fromtimestamp(paper.stamp, UTC).replace(tzinfo=None)
    properties.title, properties.author, properties.language = paper.title, paper.author, "en-GB"
    properties.created = properties.modified = day
    properties.last_modified_by, properties.revision, properties.comments = paper.author, 1, paper.banner
    target = io.BytesIO()
    document.save(target)
    return _whole(target.getvalue(), paper.stamp)


def _as_book(document: Any, paper: Paper) -> None:  # noqa: ANN401 - a document of python-docx
    for paragraph in document.paragraphs:
        if paragraph.style.name == "Heading 1":
            paragraph.paragraph_format.page_break_before = True
    for section in document.sections:
        line = section.header.paragraphs[0]
        line.style = document.styles["Table Note"]
        line.text = paper.banner


def _single_bookmarks(document: Any) -> None:  # noqa: ANN401 - a document of python-docx
    """Keep the first bookmark of each name: pandoc names a table's twice."""
    from docx.oxml.ns import qn  # noqa: PLC0415

    seen: set[str] = set()
    for start in list(document.element.body.iter(qn("w:bookmarkStart"))):
        name = start.get(qn("w:name"))
        if name not in seen:
            seen.add(name)
            continue
        ends = [
            e for e in document.element.body.iter(qn("w:bookmarkEnd")) if e.get(qn("w:id")) == start.get(qn("w:id"))
        ]
        for element in (start, *ends):
            element.getparent().remove(element)


def _rule(table: Any) -> None:  # noqa: ANN401 - a table of python-docx
    """Rule a table above, under its head and below, keep its rows whole, and give it the width of the text."""
    from docx.oxml import parse_xml  # noqa: PLC0415
    from docx.oxml.ns import nsdecls, qn  # noqa: PLC0415

    properties = table._tbl.tblPr  # noqa: SLF001 - python-docx has no word for borders
    for tag in ("w:tblBorders", "w:tblW"):
        for old in properties.findall(qn(tag)):
            properties.remove(old)
    space = nsdecls("w")
    edges = "".join(f'<w:{edge} w:val="single" w:sz="8" w:space="0" w:color="000000"/>' for edge in ("top", "bottom"))
    place = properties.find(qn("w:tblLook"))
    for xml in (f'<w:tblW {space} w:type="pct" w:w="5000"/>', f"<w:tblBorders {space}>{edges}</w:tblBorders>"):
        place.addprevious(parse_xml(xml))
    for number, row in enumerate(table.rows):
        row._tr.get_or_add_trPr().append(parse_xml(f"<w:cantSplit {space}/>"))  # noqa: SLF001
        for cell in row.cells:
            if number == 0:
                line = '<w:bottom w:val="single" w:sz="4" w:space="0" w:color="000000"/>'
                cell._tc.get_or_add_tcPr().append(parse_xml(f"<w:tcBorders {space}>{line}</w:tcBorders>"))  # noqa: SLF001
                for run in (run for paragraph in cell.paragraphs for run in paragraph.runs):
                    run.bold = True


def listing_of(label: str, caption: str, heading: str, exhibits: Sequence[Exhibit]) -> Listing:
    """Return the list of figures or of tables; without entries where there are none."""
    entries = tuple((f"{e.heading}. {e.title}", e.id) for e in exhibits if e.kind.capitalize() == label)
    return Listing(heading, f'TOC \\h \\z \\n \\t "{caption},1" \\c "{label}"', entries)


def _lists(document: Any, paper: Paper) -> None:  # noqa: ANN401 - a document of python-docx
    """Set the lists before the text."""
    from docx.oxml import parse_xml  # noqa: PLC0415
    from docx.oxml.ns import nsdecls  # noqa: PLC0415
    from docx.shared import Pt  # noqa: PLC0415

    styles = {style.name: style.style_id for style in document.styles}
    lead = {"Title", "Subtitle", "Author", "Date"}
    anchor = next(p for p in document.paragraphs if p.style.name not in lead)
    if paper.banner:
        anchor = document.paragraphs[[p._p for p in document.paragraphs].index(anchor._p) + 1]  # noqa: SLF001
    anchor.paragraph_format.space_before = Pt(24)
    space = nsdecls("w")
    for listing in paper.listings:
        if not listing.entries:
            continue
        head = anchor.insert_paragraph_before(listing.heading, style="Heading 1")
        head.paragraph_format.keep_with_next = True
        for number, (words, place) in enumerate(listing.entries):
            begin = end = ""
            if listing.field and number == 0:
                begin = '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
                begin += f'<w:r><w:instrText xml:space="preserve"> {listing.field} </w:instrText></w:r>'
                begin += '<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
            if listing.field and number == len(listing.entries) - 1:
                end = '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
            link = f'<w:r><w:t xml:space="preserve">{_escaped(words)}</w:t></w:r>'
            if place:
                link = f'<w:hyperlink w:anchor="{place}">{link}</w:hyperlink>'
            style = f'<w:pPr><w:pStyle w:val="{styles[_ENTRY]}"/></w:pPr>'
            anchor._p.addprevious(parse_xml(f"<w:p {space}>{style}{begin}{link}{end}</w:p>"))  # noqa: SLF001


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _page_numbers(document: Any) -> None:  # noqa: ANN401 - a document of python-docx
    from docx.oxml import parse_xml  # noqa: PLC0415
    from docx.oxml.ns import nsdecls  # noqa: PLC0415

    for section in document.sections:
        paragraph = section.footer.paragraphs[0]
        paragraph.alignment = 1
        field = f'<w:fldSimple {nsdecls("w")} w:instr=" PAGE "><w:r><w:t>1</w:t></w:r></w:fldSimple>'
        paragraph._p.append(parse_xml(field))  # noqa: SLF001


def _whole(made: bytes, stamp: int) -> bytes:
    """Return the archive with every entry under the essay's date, in the order in which it came."""
    day = datetime.fromtimestamp(stamp, UTC)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(made)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            fixed = zipfile.ZipInfo(entry.filename, (day.year, day.month, day.day, 0, 0, 0))
            fixed.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(fixed, old.read(entry.filename))
    return target.getvalue()
