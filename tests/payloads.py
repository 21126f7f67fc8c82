"""Labels, titles, answers, ids and file names that would run where they are not kept text, and readers that tell if they do."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import zipfile
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

from pypdf import PdfReader
from pypdf.generic import DictionaryObject, IndirectObject

from fieldwork.essays.document import pandoc

LABELS = {
    "General Counsel": '=HYPERLINK("http://x.example","GC")',
    "Chief Marketing Officer": "--><script>alert(7)</script>",
    "Chief Human Resources Officer": "[CHRO](javascript:alert(7))",
    "Chief Information Security Officer": "@SUM(1+1)*cmd|' /C calc'!A0",
    "Piloting": '$\\frac{1}{0}$ #eval("1")',
    "Scaled": "{{ 7*7 }}{% raw %}${7*7}",
    "Too little evidence to commit capital": "<img src=x onerror=alert(7)>",
    "Shortage of specialist skills": "\\input{/etc/passwd} %(x)s {0.__class__}",
}
TITLE = "<svg onload=alert(7)></title> {{ 7*7 }}"
FILE = "=1+1<img src=x onerror=alert(7)>.csv"
ANSWERS = [
    '=HYPERLINK("http://x.example")', "<script>alert(7)</script>", "../../x", "@SUM(1)", "{{ 7*7 }}", "<img src=x onerror=alert(7)>",
    "\\input{/etc/passwd}", '#eval("1")', "[x](javascript:alert(7))", "CON", "/etc/passwd", "-1+1",
]  # fmt: skip
COLUMN = "=cmd|' /C calc'!A0<script>alert(7)</script>"
ESSAY = """+++
title = "On labels"
author = "Nobody"
date = 2026-11-25
+++

See {{ ref.means }}, {{ ref.cited }} and {{ ref.gradient }}. One role says {{ estimate(construct="adoption_gradient", measure="conf", statistic="role_mean", role="CISO").full }}.

{{ figure.gradient }}

{{ table.crossed(construct="adoption_gradient", measure="conf", statistic="role_mean", rows="role", across="stage", name="means", title="Confidence by role & stage") }}

{{ table.crossed(construct="blockers", measure="blk", statistic="prevalence", rows="item", across="role", role=["", "GC", "CMO", "CHRO", "CISO"], name="cited", title="Blockers") }}
"""
RUNS = {"/JS", "/JavaScript", "/AA", "/EmbeddedFile", "/RichMedia", "/XFA", "/URI"}
ACTS = {"/JavaScript", "/Launch", "/SubmitForm", "/ImportData", "/GoToR", "/URI"}
STARTS = re.compile(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")


def plant(folder):
    """Put the payloads into the instruments of all waves, the title of the study, and the name of a delivery."""
    for path in sorted((folder / "instruments").glob("2026Q?.toml")):
        text = path.read_text(encoding="utf-8")
        for label, payload in LABELS.items():
            assert f'label = "{label}"' in text, label
            text = text.replace(f'label = "{label}"', f"label = {json.dumps(payload)}")
        path.write_text(text, encoding="utf-8")
    settings = folder / "study.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(re.sub('(?m)^title = ".*"$', lambda _: f"title = {json.dumps(TITLE)}", text), encoding="utf-8")
    delivery = next((folder / "data/raw/2026Q4").glob("*.csv"))
    _answered(delivery, delivery.with_name(FILE))
    (folder / "essays").mkdir()
    (folder / "essays/labels.md").write_text(ESSAY, encoding="utf-8")
    (folder / "essays/sources.json").write_text("[]", encoding="utf-8")


def _answered(delivery, target):
    """Give a delivery another name, a column that nobody asked for, and a row or two for each payload, in ids and answers."""
    with delivery.open(newline="", encoding="utf-8") as file:
        first, *rows = csv.reader(file)
    own, of, sector = (first.index(name) for name in ("resp_id", "org_id", "sector"))
    more = [[*row] for row in rows[: 2 * len(ANSWERS)]]
    for number, row in enumerate(more):
        payload = ANSWERS[number // 2]
        row[own], row[of] = f"{payload}{number}", payload
        if number % 2:
            row[sector] = payload
    delivery.unlink()
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*first, COLUMN], *([*row, ANSWERS[0]] for row in [*rows, *more])])


class _Page(HTMLParser):
    """Live parts of a page, its texts, its policy, and the styles and scripts that stand in it."""

    def __init__(self):
        super().__init__()
        self.live, self.texts, self.inline, self.policy, self.within = [], [], [], None, ""

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            address = (value or "").strip().casefold()
            runs = name in {"href", "src", "action", "data", "xlink:href"} and address.startswith(
                ("javascript:", "vbscript:", "data:text", "//")
            )
            remote = tag not in {"a", "meta"} and name in {"src", "href", "data"} and address.startswith(("http", "x"))
            if name.startswith("on") or runs or remote:
                self.live.append((tag, name, value))
        given = dict(attrs)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        self.within = tag if tag in {"script", "style"} else self.within
        if tag in {"iframe", "object", "embed", "base", "form"}:
            self.live.append((tag, "", ""))

    def handle_data(self, data):
        if self.within:
            self.inline.append(data)
            if "alert(7)" in data:
                self.live.append((self.within, "", data))
        self.texts.append(data)

    def handle_endtag(self, tag):
        self.within = "" if tag == self.within else self.within


def _read(text):
    page = _Page()
    page.feed(text)
    return page


def alive_in_pages(*folders):
    """Live elements of all pages below folders; and the payloads that stand in them as text."""
    live, texts = [], []
    for folder in folders:
        for path in sorted(folder.rglob("*.html")):
            page = _read(path.read_text(encoding="utf-8"))
            live += [(path.name, *each) for each in page.live]
            texts.append(" ".join(page.texts))
    whole = " ".join(texts)
    return live, {payload for payload in (*LABELS.values(), TITLE) if payload in whole}


def loose_policies(*folders):
    """Pages whose policy lets in what is remote, or a style or script that it does not name by hash; and how many pages."""
    found, pages = [], 0
    for folder in folders:
        for path in sorted(folder.rglob("*.html")):
            page, pages = _read(path.read_text(encoding="utf-8")), pages + 1
            policy = page.policy or ""
            if not policy.startswith("default-src 'none';") or re.search(r"unsafe-(inline|eval)|https?:|\*|//", policy):
                found.append((path.name, policy))
            sources = re.sub(r"'[^']*'", "", policy.partition("style-src")[2])
            found += [(path.name, each) for each in re.findall(r"\S+:", sources) if each not in {"data:", "file:"}]
            for text in page.inline:
                digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
                if f"'sha256-{digest}'" not in policy:
                    found.append((path.name, text[:40]))
    return found, pages


def alive_in_notebooks(folder):
    """Live elements in the outputs of executed notebooks; and how many outputs are HTML."""
    live, read = [], 0
    for path in sorted(folder.rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                assert set(data) <= {"text/html", "text/plain", "image/png", "image/svg+xml"}, path.name
                if "text/html" in data:
                    read += 1
                    live += [(path.name, *each) for each in _read("".join(data["text/html"])).live]
    return live, read


def alive_in_markdown(folder):
    """Live elements, and links to elsewhere, in the HTML that Markdown becomes; and the payloads that it shows as text."""
    live, texts = [], []
    for path in sorted(folder.rglob("*.md")):
        page = _read(pandoc(["-f", "gfm", "-t", "html"], path.read_bytes()).decode())
        live += [(path.name, *each) for each in page.live]
        texts.append(" ".join(page.texts))
    whole = " ".join(texts)
    return live, {payload for payload in LABELS.values() if payload in whole}


def alive_in_documents(folder):
    """Fields, links and actions in Word and PDF files that do or fetch anything; and the texts of both kinds."""
    live, word, print_ = [], [], []
    for path in sorted(folder.rglob("*.docx")):
        with zipfile.ZipFile(path) as packed:
            for name in packed.namelist():
                if not name.endswith((".xml", ".rels")):
                    assert name.endswith((".png", ".ttf", ".odttf")), name
                    continue
                for element in ET.fromstring(packed.read(name)).iter():  # noqa: S314 - written by the essay
                    tag, text = element.tag.rpartition("}")[2], element.text or ""
                    instruction = (
                        text
                        if tag == "instrText"
                        else next((v for k, v in element.attrib.items() if k.endswith("instr")), "")
                    )
                    if element.get("TargetMode") == "External" or tag in {"object", "OLEObject", "altChunk", "control"}:
                        live.append((path.name, name, tag))
                    if instruction and not re.match(r"\s*(TOC|SEQ|REF|PAGE|PAGEREF|NUMPAGES)\b", instruction):
                        live.append((path.name, name, instruction))
                    word += [text] if tag == "t" else []
    for path in sorted(folder.rglob("*.pdf")):
        reader = PdfReader(path)
        for number in range(1, int(reader.trailer["/Size"])):
            found = reader.get_object(IndirectObject(number, 0, reader))
            if isinstance(found, DictionaryObject) and (RUNS & set(found) or found.get("/S") in ACTS):
                live.append((path.name, number, sorted(found)))
        print_ += [page.extract_text() for page in reader.pages]
    return live, "".join(word), "".join(print_)


def alive_in_cells(*folders):
    """Cells of any CSV below folders that a spreadsheet would run; and whether guarded payloads are there."""
    live, guarded = [], False
    for folder in folders:
        for path in sorted(folder.rglob("*.csv")):
            with path.open(newline="", encoding="utf-8") as file:
                for cell in (cell for line in csv.reader(file) for cell in line):
                    if STARTS.match(cell) and not NUMBER.fullmatch(cell):
                        live.append((path.name, cell))
                    guarded |= cell.startswith("'=HYPERLINK")
    return live, guarded


def alive_in_pictures(folder):
    """Scripts, links and handlers in any SVG below a folder; and whether the payload of mathematics is there as it was written.

    Texts are outlines; what they say stands in a comment before each, which a label must not end.
    """
    live, written = [], False
    for path in sorted(folder.rglob("*.svg")):
        reader = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))  # noqa: S314 - drawn by us
        for element in ET.parse(path, reader).iter():  # noqa: S314
            tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
            handlers = [name for name in element.attrib if name.rpartition("}")[2].startswith("on")]
            links = [v for k, v in element.attrib.items() if k.rpartition("}")[2] == "href" and not v.startswith("#")]
            if tag in {"script", "foreignObject", "iframe"} or handlers or links:
                live.append((path.name, tag, handlers, links))
            written |= "\\frac{1}{0}" in "".join(element.itertext()) + (element.text or "")
    return live, written
