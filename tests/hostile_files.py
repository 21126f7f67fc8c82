"""Deliveries written by hand for the tests: workbooks cell by cell, and the exports of survey tools line by line."""

import io
import struct
import tempfile
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyreadstat

_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
STYLES = f'<styleSheet {_MAIN}><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs></styleSheet>'


def _types(sheets):
    parts = {"/xl/workbook.xml": f"{_KIND}.sheet.main+xml", "/xl/styles.xml": f"{_KIND}.styles+xml"}
    parts |= {f"/xl/worksheets/sheet{n}.xml": f"{_KIND}.worksheet+xml" for n in range(1, sheets + 1)}
    named = "".join(f'<Override PartName="{part}" ContentType="{kind}"/>' for part, kind in parts.items())
    usual = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    return f'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">{usual}{named}</Types>'


def letters(column):
    name = ""
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name


def cell(value, at):
    """One cell: a text, a number, ("date", serial), ("formula", stored value or None) or None for no cell."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        kind, stored = value
        if kind == "date":
            return f'<c r="{at}" s="1"><v>{stored}</v></c>'
        return f'<c r="{at}"><f>1+1</f>{"" if stored is None else f"<v>{stored}</v>"}</c>'
    if isinstance(value, str):
        return f'<c r="{at}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{at}"><v>{value}</v></c>'


def sheet(rows, *, start=1, head=""):
    lines = [
        f'<row r="{number}">{"".join(cell(value, f"{letters(place)}{number}") for place, value in enumerate(row, 1))}</row>'
        for number, row in enumerate(rows, start)
    ]
    return f'<?xml version="1.0" encoding="UTF-8"?>{head}<worksheet {_MAIN}><sheetData>{"".join(lines)}</sheetData></worksheet>'


def workbook(sheets, *, date1904=False, extra=(), styles=STYLES, hidden=""):
    """Bytes of an .xlsx with sheets by name, each rows of cells or XML as it stands."""
    names = "".join(
        f'<sheet name={quoteattr(name)}{" state=" + quoteattr("hidden") if name == hidden else ""} sheetId="{n}" r:id="rId{n}"/>'
        for n, name in enumerate(sheets, 1)
    )
    book = f'<workbook {_MAIN} xmlns:r="{_RELATION}"><workbookPr date1904="{int(date1904)}"/><sheets>{names}</sheets></workbook>'
    relations = "".join(
        f'<Relationship Id="rId{n}" Type="{_RELATION}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _types(len(sheets)))
        archive.writestr(
            "_rels/.rels",
            f'<Relationships {_PACKAGE}><Relationship Id="r" Type="{_RELATION}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr("xl/workbook.xml", book)
        archive.writestr("xl/_rels/workbook.xml.rels", f"<Relationships {_PACKAGE}>{relations}</Relationships>")
        archive.writestr("xl/styles.xml", styles)
        for number, content in enumerate(sheets.values(), 1):
            archive.writestr(
                f"xl/worksheets/sheet{number}.xml", content if isinstance(content, str) else sheet(content)
            )
        for name, content in extra:
            archive.writestr(name, content)
    return out.getvalue()


def parquet(columns):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def spss(columns, *, labels=(), missing=(), questions=(), packed=False, **options):
    """Bytes of an SPSS file: columns by name, labels of values, values declared missing, labels of variables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zsav" if packed else "a.sav")
        pyreadstat.write_sav(
            pd.DataFrame(columns), path, variable_value_labels=dict(labels), missing_ranges=dict(missing),
            column_labels=dict(questions), compress=packed, **options,
        )  # fmt: skip
        return path.read_bytes()


QUALTRICS = """[personal]
columns = ["IPAddress", "RecipientEmail"]
[[delivery]]
constants = { wave = "w1" }
blank_is_unticked = true
[delivery.columns]
ResponseId = "resp_id"
Org = "org_id"
Q1 = "role"
Q2 = "conf"
Q3_1 = "blk_roi"
Q3_2 = "blk_cost"
"""
SURVEYMONKEY = """[personal]
columns = ["IP Address", "Email Address"]
[[delivery]]
constants = { wave = "w1" }
blank_is_unticked = true
[delivery.columns]
"Respondent ID" = "resp_id"
Organisation = "org_id"
"What is your role?" = "role"
"What holds you back?: Returns" = "blk_roi"
"What holds you back?: Cost" = "blk_cost"
"""
FORMS = """[[delivery]]
constants = { wave = "w1" }
list_separator = ","
dates = "%d/%m/%Y %H:%M:%S"
[delivery.columns]
"Timestamp" = "start"
"Code of the respondent" = "resp_id"
"Code of the organisation" = "org_id"
"What is your role?" = "role"
"What holds you back? Choose any." = "blk"
"""


def qualtrics(*rows):
    head = 'Status,IPAddress,Finished,RecipientEmail,ResponseId,Org,Q1,Q2,Q3_1,Q3_2\n"Response Type","IP Address",Finished,'
    head += '"Recipient Email","Response ID",Org,"What is your role?","How confident, ""really""?",Back - Returns,Back - Cost\n'
    head += ",".join(f'"{{""ImportId"":""QID{n}""}}"' for n in range(10)) + "\n"
    return head + "\n".join(rows) + "\n"


def surveymonkey(*rows):
    head = "Respondent ID,Collector ID,IP Address,Email Address,Organisation,What is your role?,What holds you back?,\n"
    return head + ",,,,Open-Ended Response,Response,Returns,Cost\n" + "\n".join(rows) + "\n"


def far(archive, member, *, offset=None, packed=None):
    """Let an archive's directory say, in fields of 64 bits, that a member stands, or ends, far outside the file."""
    out = bytearray(archive)
    at = out.index(b"PK\1\2")
    while out[at + 46 : at + 46 + len(member)] != member.encode():
        at = out.index(b"PK\1\2", at + 4)
    extra = b""
    for place, value in ((20, packed), (42, offset)):
        if value is not None:
            struct.pack_into("<I", out, at + place, 0xFFFFFFFF)
            extra += struct.pack("<Q", value)
    assert out[at + 30 : at + 32] == b"\0\0", "the member has extra fields already"
    extra = struct.pack("<HH", 1, len(extra)) + extra
    struct.pack_into("<H", out, at + 30, len(extra))
    out[at + 46 + len(member) : at + 46 + len(member)] = extra
    end = out.rindex(b"PK\5\6")
    struct.pack_into("<I", out, end + 12, struct.unpack_from("<I", out, end + 12)[0] + len(extra))
    return bytes(out)


OUTSIDE = [
    {"offset": 2**64 - 1},
    {"offset": 2**63 - 1},
    {"offset": 2**40},
    {"packed": 2**40},
    {"packed": 2**62},
    {"packed": 2**64 - 1},
]
"""Offsets and sizes that no number of the system, or no memory, can hold."""
