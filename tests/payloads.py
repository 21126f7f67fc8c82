"""Labels, titles and file names that would run where they are not kept text, and readers that tell whether they do."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

LABELS = {
    "General Counsel": '=HYPERLINK("http://x.example","GC")',
    "Chief Marketing Officer": "<script>alert(7)</script>",
    "Chief Human Resources Officer": "[CHRO](javascript:alert(7))",
    "Chief Information Security Officer": "@SUM(1+1)*cmd|' /C calc'!A0",
    "Piloting": '$\\frac{1}{0}$ #eval("1")',
    "Scaled": "{{ 7*7 }}{% raw %}${7*7}",
    "Too little evidence to commit capital": "<img src=x onerror=alert(7)>",
    "Shortage of specialist skills": "\\input{/etc/passwd} %(x)s {0.__class__}",
}
TITLE = "<svg onload=alert(7)></title> {{ 7*7 }}"
FILE = "=1+1<img src=x onerror=alert(7)>.csv"
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
    delivery.rename(delivery.with_name(FILE))


class _Page(HTMLParser):
    """Live parts of a page, and its texts."""

    def __init__(self):
        super().__init__()
        self.live, self.texts, self.script = [], [], False

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            address = (value or "").strip().casefold()
            runs = name in {"href", "src", "action", "data"} and address.startswith(
                ("javascript:", "vbscript:", "data:text")
            )
            if (
                name.startswith("on")
                or runs
                or (tag in {"img", "iframe", "object", "embed"} and address.startswith(("http", "x")))
            ):
                self.live.append((tag, name, value))
        self.script = tag == "script"

    def handle_data(self, data):
        if self.script and "alert(7)" in data:
            self.live.append(("script", "", data))
        self.texts.append(data)

    def handle_endtag(self, tag):
        self.script = self.script and tag != "script"


def alive_in_pages(reports):
    """Live elements of all pages below a folder; and the payloads that stand in them as text."""
    live, texts = [], []
    for path in sorted(reports.rglob("*.html")):
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        live += [(path.name, *each) for each in page.live]
        texts.append(" ".join(page.texts))
    whole = " ".join(texts)
    return live, {payload for payload in (*LABELS.values(), TITLE) if payload in whole}


def alive_in_cells(folder):
    """Cells of any CSV below reports and processed that a spreadsheet would run; and whether guarded payloads are there."""
    live, guarded = [], False
    for place in ("reports", "data/processed"):
        for path in sorted((folder / place).rglob("*.csv")):
            with path.open(newline="", encoding="utf-8") as file:
                for cell in (cell for line in csv.reader(file) for cell in line):
                    if STARTS.match(cell) and not NUMBER.fullmatch(cell):
                        live.append((path.name, cell))
                    guarded |= cell.startswith("'=HYPERLINK")
    return live, guarded


def alive_in_pictures(reports):
    """Scripts, links and handlers in any SVG below a folder; and whether the payload of mathematics is there as it was written.

    Texts are outlines or text elements; a figure's texts stand in its title and description as well.
    """
    live, written = [], False
    for path in sorted(reports.rglob("*.svg")):
        for element in ET.parse(path).iter():
            tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
            handlers = [name for name in element.attrib if name.rpartition("}")[2].startswith("on")]
            links = [v for k, v in element.attrib.items() if k.rpartition("}")[2] == "href" and not v.startswith("#")]
            if tag in {"script", "foreignObject", "iframe"} or handlers or links:
                live.append((path.name, tag, handlers, links))
            written |= "\\frac{1}{0}" in "".join(element.itertext())
    return live, written
