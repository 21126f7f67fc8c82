"""Canary strings in a delivery, and a search for them in every file that a run publishes, unpacked where it is packed."""

import base64
import re
import zipfile
import zlib

import pyarrow.parquet as pq

CANARIES = {
    "respondent": "canaryresp",
    "organisation": "canaryorga",
    "name": "Canarina",
    "mail": "canary.mail@example.org",
    "phone": "+44 20 7946 0958",
    "text": "canarytext",
}
PERSONAL = '[personal]\ncolumns = ["Full name", "E-mail", "Phone"]\n'


def plant(table):
    """Return a delivery with canaries in ids, in free text, and in three personal columns."""
    out = table.copy()
    out["resp_id"] = CANARIES["respondent"] + out["resp_id"]
    out["org_id"] = CANARIES["organisation"] + out["org_id"]
    text = (
        f"{CANARIES['text']} <script>alert('{CANARIES['text']}')</script> =HYPERLINK(1) {{{{7*7}}}} {CANARIES['mail']}"
    )
    out["comments"] = text
    out["Full name"] = f"{CANARIES['name']} Smith"
    out["E-mail"] = CANARIES["mail"]
    out["Phone"] = CANARIES["phone"]
    return out


def texts_of(path):
    """Every text that a file holds: as it stands, in its compressed parts, in its table, and in what it embeds."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield str(table.schema.metadata).encode()
        yield "\n".join(map(str, table.schema.names)).encode()
        yield "\n".join(str(value) for column in table.columns for value in column.to_pylist()).encode()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                yield entry.filename.encode()
                yield archive.read(entry)
    for packed in re.finditer(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
        try:
            yield zlib.decompress(packed[1])
        except zlib.error:
            continue
    for embedded in re.finditer(rb"base64,([A-Za-z0-9+/=]{40,})", content):
        yield base64.b64decode(embedded[1] + b"===")


def found(folder, words):
    """Return (file, word) of every word that occurs in a file or its name under a folder, whatever the case."""
    words = [word.lower() for word in words]
    out = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        seen = [name.lower().encode()]
        seen += [text.lower() for text in texts_of(path)] if path.is_file() else []
        out += [(name, word) for word in words if any(word.encode() in text for text in seen)]
    return out
