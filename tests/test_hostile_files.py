"""Every kind of delivery that hostile.md names for intake: read right, set aside with a reason, or stopped with a mend."""

import io
import os
import random
import re
import shutil
import struct
import tracemalloc
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fieldwork.blank import begin
from fieldwork.clean import clean
from fieldwork.cli import main
from fieldwork.errors import DataError, InstrumentError
from fieldwork.instrument import Instrument
from fieldwork.intake import check_files, read_deliveries
from fieldwork.intake.columnar import read_parquet
from fieldwork.intake.separated import read_separated
from fieldwork.intake.spss import read_spss
from fieldwork.intake.workbook import read_workbook
from fieldwork.study import Study
from tests.hostile_files import (
    FORMS,
    OUTSIDE,
    QUALTRICS,
    STYLES,
    SURVEYMONKEY,
    far,
    parquet,
    qualtrics,
    sheet,
    spss,
    surveymonkey,
    workbook,
)

CASES = Path(__file__).parent / "cases" / "deliveries"
HEAD = "resp_id,org_id,wave,role,conf,weeks,stall,start,comments"
ROWS = [["resp_id", "org_id", "wave", "role", "conf"], ["001", "o1", "w1", "CEO", 4], ["002", "o2", "w1", "CFO", 5]]


@pytest.fixture
def take(tmp_path):
    """Read files by name under an instrument with an addition, and clean them."""

    def run(files, extra="", **options):
        path = tmp_path / "instrument.toml"
        path.write_text((CASES / "instruments" / "instrument.toml").read_text(encoding="utf-8") + "\n" + extra)
        raw = tmp_path / "raw"
        raw.mkdir()
        for name, content in files.items():
            (raw / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        instrument = Instrument.load(path, "w1")
        read = read_deliveries(raw.iterdir(), instrument, within=raw)
        cleaned = clean(read, instrument, **options)
        flow = cleaned.flow
        assert flow.accepted + flow.quarantined == flow.delivered == len(cleaned.responses) + len(cleaned.quarantine)
        assert sum(flow.by_rule.values()) == flow.quarantined
        return cleaned

    return run


def row(role="CEO", conf="4", weeks="", stall="", start="", comments="", who="r1"):
    return f"{who},o1,w1,{role},{conf},{weeks},{stall},{start},{comments}"


def csv(*rows, head=HEAD):
    return "\n".join([head, *rows]) + "\n"


def semi(text):
    return text.replace(",", ";")


CP1252 = '[[delivery]]\nencoding = "cp1252"\n'

SPSS = {"resp_id": ["001", "1E5"], "org_id": ["o", "o"], "wave": ["w1", "w1"], "role": [1.0, 2.0]}
ROLES = {1: "Chief Executive Officer", 2: "CFO"}

# name of the case: file, addition to the instrument, column, what is read of it
READ = {
    "utf-8": ("a.csv", csv(row(comments="größer")), "", "comments", ["größer"]),
    "utf-8 with a mark": ("a.csv", csv(row(comments="größer")).encode("utf-8-sig"), "", "comments", ["größer"]),
    "utf-16 with a mark": ("a.csv", csv(row(comments="größer")).encode("utf-16"), "", "comments", ["größer"]),
    "utf-16 declared": (
        "a.csv", csv(row(comments="größer")).encode("utf-16-le"), CP1252.replace("cp1252", "utf-16-le"), "comments", ["größer"],
    ),
    "cp1252 declared": ("a.csv", csv(row(comments="“größer” €")).encode("cp1252"), CP1252, "comments", ["“größer” €"]),
    "Mac Roman declared": (
        "a.csv", csv(row(comments="größer π")).encode("mac-roman"), CP1252.replace("cp1252", "mac-roman"), "comments", ["größer π"],
    ),
    "plain ASCII under a declared encoding": ("a.csv", csv(row(comments="plain")), CP1252, "comments", ["plain"]),
    "a mark above a declared encoding": ("a.csv", csv(row(comments="größer")).encode("utf-8-sig"), CP1252, "comments", ["größer"]),
    "semicolons and decimal commas": (
        "a.csv", semi(csv(row(stall="yes", weeks="@"))).replace("@", "1,5"), '[[delivery]]\nseparator = ";"\ndecimal = ","\n', "weeks", [1.5],
    ),
    "grouped thousands": (
        "a.csv", semi(csv(row(stall="yes", weeks="@"))).replace("@", "0.012,5"), '[[delivery]]\nseparator = ";"\ndecimal = ","\n', "weeks", [12.5],
    ),
    "tabs in a .csv": ("a.csv", csv(row()).replace(",", "\t"), '[[delivery]]\nseparator = "\\t"\n', "conf", [4]),
    "tabs in a .tsv": ("a.tsv", csv(row()).replace(",", "\t"), "", "conf", [4]),
    "a comma after each row": ("a.csv", f"{HEAD}\n{row()},\n{row(who='r2')},\n", "", "role", ["CEO", "CEO"]),
    "an id with zeros": ("a.csv", csv(row(who="001"), row(who="1E5"), row(who="12345678901234567890")), "", "resp_id", ["001", "12345678901234567890", "1E5"]),
    "NA, None and null": ("a.csv", csv(*(row(who=each, comments=each) for each in ("NA", "None", "null"))), "", "comments", ["NA", "None", "null"]),
    "declared dates": ("a.csv", csv(row(start="01/02/2026 09:30")), '[[delivery]]\ndates = "%d/%m/%Y %H:%M"\n', "start", ["2026-02-01T09:30:00"]),
    "label for code": ("a.csv", csv(row(conf="Very high", role="finance director")), "", "conf", [5]),
    "a workbook": ("a.xlsx", workbook({"S": ROWS}), "", "conf", [4, 5]),
    "a workbook keeps ids": ("a.xlsx", workbook({"S": ROWS}), "", "resp_id", ["001", "002"]),
    "the only filled sheet": ("a.xlsx", workbook({"Notes": [], "Data": ROWS}), "", "role", ["CEO", "CFO"]),
    "the named sheet": ("a.xlsx", workbook({"Notes": [["x"]], "Data": ROWS}), '[[delivery]]\nsheet = "Data"\n', "role", ["CEO", "CFO"]),
    "dates of 1900": ("a.xlsx", workbook({"S": [[*ROWS[0], "start"], [*ROWS[1], ("date", 46054.5)]]}), "", "start", ["2026-02-01T12:00:00"]),
    "dates of 1904": ("a.xlsx", workbook({"S": [[*ROWS[0], "start"], [*ROWS[1], ("date", 44592.5)]]}, date1904=True), "", "start", ["2026-02-01T12:00:00"]),
    "a formula with a value": ("a.xlsx", workbook({"S": [ROWS[0], [*ROWS[1][:4], ("formula", 4)]]}), "", "conf", [4]),
    "Parquet": (
        "a.parquet", parquet({"resp_id": ["001"], "org_id": ["o"], "wave": ["w1"], "role": ["CEO"], "conf": [4.0], "stall": [True]}), "", "conf", [4],
    ),
    "Parquet with missing cells": (
        "a.parquet", parquet({"resp_id": ["1", "2"], "org_id": ["o", "o"], "wave": ["w1", "w1"], "role": pa.array(["CEO", "CFO"]).dictionary_encode(), "conf": pa.array([None, 5])}), "", "conf", [pd.NA, 5],
    ),
    "SPSS by label": ("a.sav", spss(SPSS | {"conf": [4.0, 1.0]}, labels={"role": ROLES, "conf": {4: "Very high", 1: "LOW"}}), "", "conf", [5, 2]),
    "SPSS keeps ids": ("a.sav", spss(SPSS, labels={"role": ROLES}), "", "resp_id", ["001", "1E5"]),
    "SPSS by the words, whatever the numbers": ("a.sav", spss(SPSS, labels={"role": {1: "Finance Director", 2: "CEO"}}), "", "role", ["CFO", "CEO"]),
    "SPSS by the instrument's codes": ("a.sav", spss(SPSS, labels={"role": {1: "one", 2: "two"}}), '[[delivery]]\nvalues_as = "codes"\n', "role", ["CEO", "CFO"]),
    "SPSS packed": ("a.zsav", spss(SPSS, labels={"role": ROLES}, packed=True), "", "role", ["CEO", "CFO"]),
    "SPSS with missing cells": ("a.sav", spss(SPSS | {"conf": [None, 5.0]}, labels={"role": ROLES}), "", "conf", [pd.NA, 5]),
    "SPSS dates": ("a.sav", spss(SPSS | {"start": [pd.Timestamp("2026-02-01 12:00"), pd.NaT]}, labels={"role": ROLES}), "", "start", ["2026-02-01T12:00:00", pd.NA]),
    "SPSS days": ("a.sav", spss(SPSS | {"start": [date(2026, 2, 1), date(2026, 12, 31)]}, labels={"role": ROLES}), "", "start", ["2026-02-01", "2026-12-31"]),
    "SPSS in other letters": ("a.sav", spss(SPSS | {"comments": ["größer", ""]}, labels={"role": ROLES}), "", "comments", ["größer", pd.NA]),
    "SPSS declares a number missing": (
        "a.sav", spss(SPSS | {"stall": [1.0, 1.0], "weeks": [20.0, 3.5]}, labels={"role": ROLES}, missing={"weeks": [20]}), "", "weeks", [pd.NA, 3.5],
    ),
    "line ends of old Macs": ("a.csv", csv(row(conf="5")).replace("\n", "\r"), "", "conf", [5]),
    "line ends within quotes, and of Windows": ("a.csv", csv(row(comments='"one\ntwo"')).replace("\n", "\r\n"), "", "comments", ["one\r\ntwo"]),
    "digits and letters of full width": ("a.csv", csv(row(conf="\uff15", role="\uff23\uff26\uff2f")), "", "conf", [5]),
    "a header in decomposed letters": ("a.csv", csv(row(conf="5"), head=HEAD.replace("comments", "Gru\u0308nde")), '[[delivery]]\ncolumns = { "Gr\u00fcnde" = "comments" }\n', "conf", [5]),
    "hidden rows of a workbook": ("a.xlsx", workbook({"S": sheet(ROWS).replace('<row r="3">', '<row r="3" hidden="1">')}), "", "conf", [4, 5]),
    "true and false in a workbook": ("a.xlsx", workbook({"S": sheet([[*ROWS[0], "stall"], ROWS[1]]).replace("</row></sheetData>", '<c r="F2" t="b"><v>1</v></c></row></sheetData>')}), "", "stall", [1]),
    "Parquet of decimals and moments": (
        "a.parquet", parquet(SPSS | {"role": ["CEO", "CFO"], "stall": ["yes", "yes"], "weeks": pa.array([Decimal("1.50"), None]), "start": pa.array([datetime(2026, 2, 1, 9, 30, tzinfo=UTC), None])}), "", "weeks", [1.5, pd.NA],
    ),
    "Qualtrics by number": ("a.csv", qualtrics("0,1.2.3.4,1,a@b.com,R_1,o1,1,4,1,"), QUALTRICS, "blk_cost", [0]),
    "Qualtrics by label": ("a.csv", qualtrics("IP Address,1.2.3.4,True,a@b.com,R_1,o1,Chief Executive Officer,High,Returns,"), QUALTRICS, "conf", [4]),
    "SurveyMonkey": ("a.csv", surveymonkey("1,9,1.2.3.4,a@b.com,o1,CEO,Returns,", "2,9,1.2.3.4,b@b.com,o1,CFO,,Cost"), SURVEYMONKEY, "blk_roi", [1, 0]),
    "Forms": (
        "a.csv", 'Timestamp,Code of the respondent,Code of the organisation,What is your role?,"What holds you back?\nChoose any."\n31/01/2026 09:30:00,r1,o1,CEO,"Returns, Skills"\n', FORMS, "blk_skill", [1],
    ),
    "several columns of mentions": (
        "a.csv", csv(row() + ",Returns,cost", row(who="r2") + ",,3", head=HEAD + ",First,Second"), '[[delivery]]\ncolumns = { First = "blk", Second = "blk" }\n', "blk_cost", [1, 0],
    ),
    "two places of one option": (
        "a.csv", csv(row() + ",1,,0,0,0", row(who="r2") + ",,0,1,0,0", head=HEAD + ",A,B,blk_cost,blk_skill,blk_none"), '[[delivery]]\ncolumns = { A = "blk_roi", B = "blk_roi" }\n', "blk_roi", [1, 0],
    ),
    "an answer that holds the separator": (
        "a.csv", csv(row() + ',"Price, or rates,High"', head=HEAD + ",many"), '[[delivery]]\nlist_separator = ","\n[items.many]\nkind = "multi"\nlabel = "Many"\noptions = [{ code = 1, id = "p", label = "Price, or rates" }, { code = 2, id = "h", label = "High" }]\n', "many_p", [1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_read_right(take, case):
    file, content, extra, column, expected = READ[case]
    cleaned = take({file: content}, extra)
    assert cleaned.flow.quarantined == 0, cleaned.quarantine
    assert cleaned.responses[column].tolist() == expected


LONG = f'<row r="@">{"".join(f"<c r={chr(34)}{name}@{chr(34)} t={chr(34)}s{chr(34)}><v>0</v></c>" for name in "ABCDE")}</row>'
SHARED = workbook(
    {
        "S": sheet(ROWS[:1]).replace(
            "</sheetData>", "".join(LONG.replace("@", str(n)) for n in range(2, 4_000)) + "</sheetData>"
        )
    },
    extra=[("xl/sharedStrings.xml", f"<sst><si><t>{'x' * 32_000}</t></si></sst>")],
)
FAR = sheet(ROWS).replace("</sheetData>", '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>')
ENTITIES = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
PLAIN = csv(row())

# name of the case: files, addition to the instrument, part of the title, part of what is offered
STOPPED = {
    "semicolons undeclared": ({"a.csv": semi(PLAIN)}, "", "separated by semicolons", "declare separator"),
    "cp1252 undeclared": ({"a.csv": csv(row(comments="größer")).encode("cp1252")}, "", "not UTF-8", "declare its encoding"),
    "cp1252 declared of UTF-8": ({"a.csv": csv(row(comments="größer"))}, CP1252, "is UTF-8, not cp1252", "take encoding out"),
    "a byte that cp1252 lacks": ({"a.csv": csv(row(comments="@")).encode().replace(b"@", b"\x81")}, CP1252, "not CP1252", "declare"),
    "utf-16 without a mark": ({"a.csv": PLAIN.encode("utf-16-le")}, "", "not UTF-8", "utf-16-le"),
    "a column twice": ({"a.csv": csv(row() + ",CEO", head=HEAD + ",role")}, "", "delivered twice", "rename"),
    "two headers of one text": ({"a.csv": csv(row() + ",x,y", head=HEAD + ",Say  it,Say it")}, "", "delivered twice", "rename"),
    "dates month first": ({"a.csv": csv(row(start="02/01/2026"), row(who="r2", start="28/01/2026"))}, "", "date", "dates"),
    "another wave": ({"a.csv": PLAIN.replace(",w1,", ",w2,")}, "", "another wave", "w1"),
    "several sheets": ({"a.xlsx": workbook({"A": ROWS, "B": ROWS})}, "", "several sheets", "name the sheet: sheet = 'A'"),
    "a sheet that is not there": ({"a.xlsx": workbook({"Data": ROWS})}, '[[delivery]]\nsheet = "Daten"\n', "no sheet 'Daten'", "did you mean Data?"),
    "a stray cell in the last corner": ({"a.xlsx": workbook({"S": FAR})}, "", "far outside", "delete"),
    "a zip bomb": ({"a.xlsx": workbook({"S": ROWS}, extra=[("xl/media/a.bin", b"\0" * (64 << 20))])}, "", "unpacks to more", "save"),
    "entities": ({"a.xlsx": workbook({"S": sheet(ROWS, head=ENTITIES)})}, "", "document type", "CSV"),
    "a zip archive": ({"a.xlsx": workbook({"S": ROWS}).replace(b"xl/workbook.xml", b"xl/morebook.xml")}, "", "no workbook", "unpack"),
    "half a workbook": ({"a.xlsx": workbook({"S": ROWS})[:-200]}, "", "damaged", "save"),
    "an encrypted workbook": ({"a.xlsx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99}, "", "encrypted", "password"),
    "text named .xlsx": ({"a.xlsx": PLAIN}, "", "no workbook", "CSV"),
    "a workbook named .csv": ({"a.csv": workbook({"S": ROWS})}, "", "is a workbook", ".xlsx"),
    "an empty workbook": ({"a.xlsx": workbook({"S": []})}, "", "empty", "again"),
    "half a Parquet file": ({"a.parquet": parquet({"resp_id": ["1"]})[:-20]}, "", "damaged", "again"),
    "lists in Parquet": ({"a.parquet": parquet({"resp_id": [["1", "2"]]})}, "", "no texts", "';'"),
    "a gzip file": ({"a.csv.gz": b"\x1f\x8b\x08"}, "", "not read", "unpack"),
    "half an SPSS file": ({"a.sav": spss(SPSS)[:-30]}, "", "SPSS file is damaged", "CSV UTF-8 with value labels"),
    "text named .sav": ({"a.sav": PLAIN}, "", "SPSS file is damaged", "CSV UTF-8"),
    "an SPSS file of 8,000,000,000 cases": ({"a.sav": spss(SPSS)[:68] + struct.pack("<4i", 1000, 1, 0, 2**31 - 1) + spss(SPSS)[84:]}, "", "unpacks to more", "again"),
    "an SPSS file that unpacks to 500 times its size": ({"a.zsav": spss({"a": [1.0] * 5_000_000}, packed=True)}, "", "unpacks to more", "CSV"),
    "Parquet of one value ten million times": ({"a.parquet": parquet({"a": pa.array([1] * 40_000_000, pa.int8())})}, "", "unpacks to more", "parts"),
    "gzip named .csv": ({"a.csv": b"\x1f\x8b\x08\x00" + bytes(range(128, 256))}, "", "not UTF-8", "declare its encoding"),
    "a workbook with macros": ({"a.xlsm": workbook({"S": ROWS})}, "", "not read", "CSV"),
    "a hidden sheet beside another": ({"a.xlsx": workbook({"S": ROWS, "Old": ROWS}, hidden="Old")}, "", "several sheets", "name the sheet"),
    "a long text that a million cells share, in a workbook": ({"a.xlsx": SHARED}, "", "written out", "repeat"),
    "a long text that a million cells share, in Parquet": (
        {"a.parquet": parquet(dict.fromkeys(("resp_id", "org_id", "wave", "role"), pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int8()), ["x" * 30_000])))}, "", "written out", "repeat",
    ),
    "too many columns": ({"a.csv": "," * 20_000 + "\n"}, "", "too wide", "one column per answer"),
    "a line without an end": ({"a.csv": PLAIN + "x" * (34 << 20)}, "", "a line is too long", "one line per respondent"),
    "Qualtrics without its mapping": ({"a.csv": qualtrics("0,,1,,R_1,o1,1,4,1,")}, QUALTRICS.partition("[[delivery]]")[0], "lacks the columns", "rename ResponseId to resp_id"),
}  # fmt: skip


@pytest.mark.parametrize("case", STOPPED)
def test_stopped_with_a_mend(take, case):
    files, extra, title, hint = STOPPED[case]
    with pytest.raises(DataError) as caught:
        take(files, extra)
    error = caught.value
    assert title in error.title
    assert hint in error.hint
    assert error.where.startswith(next(iter(files)))
    assert error.expected
    assert error.got


DAYS = (
    "2026-01-05", "2026-03-31T23:59:59", "2026-03-31 23:59", "",
    "2026-01-04", "2062-02-01T09:30:00", "0001-01-01", "1900-01-00", "2026-04-01T00:00:00+02:00",
)  # fmt: skip
SUMS = '[[delivery]]\nfile = "b*.csv"\ncorrects = true\n'
# name of the case: files, addition to the instrument, rows accepted, rows set aside by rule
ASIDE = {
    "Qualtrics previews, tests, spam and unfinished": (
        {"a.csv": qualtrics(*(f"{s},,{f},,R_{n},o1,1,4,1," for n, (s, f) in enumerate([(0, 1), (1, 1), ("Survey Test", 1), (8, 1), (0, 0), (1, 0)])))},
        QUALTRICS, 1, {"not_an_interview": 4, "unfinished": 1},
    ),
    "a formula without a value": ({"a.xlsx": workbook({"S": [*ROWS, ["003", "o1", "w1", "CEO", ("formula", None)]]})}, "", 2, {"formula_without_value": 1}),
    "a spreadsheet's error": ({"a.xlsx": workbook({"S": [*ROWS, ["003", "o1", "w1", "CEO", "#N/A"]]})}, "", 2, {"value_unknown": 1}),
    "a cell beside the table": ({"a.xlsx": workbook({"S": [*ROWS, ["003", "o1", "w1", "CEO", 4, None, "x"]]})}, "", 2, {"long_row": 1}),
    "short and long rows": ({"a.csv": csv(row(), "r2,o1", row(who="r3") + ",more")}, "", 1, {"short_row": 1, "long_row": 1}),
    "labels of SPSS that are no answers": ({"a.sav": spss(SPSS, labels={"role": {1: "CEO", 2: "Head of beans"}})}, "", 1, {"role_unknown": 1}),
    "a code of SPSS without a label that is no answer": ({"a.sav": spss(SPSS | {"conf": [4.0, 17.0]}, labels={"role": ROLES})}, "", 1, {"value_out_of_range": 1}),
    "a day of SPSS beyond the calendar": ({"a.sav": spss(SPSS | {"start": [13e9, 9e99]}, labels={"role": ROLES}, variable_format={"start": "DATE11"})}, "", 1, {"date_unreadable": 1}),
    "dates of two forms": ({"a.csv": csv(row(start="2026-02-01"), row(who="r2", start="02/01/2026"), row(who="r3", start="2026-02-30"))}, "", 1, {"date_unreadable": 2}),
    "dates that cannot be": (
        {"a.csv": csv(*(row(who=f"r{n}") + f",{day}" for n, day in enumerate(DAYS)), head=HEAD + ",met")},
        '[items.met]\nkind = "date"\nlabel = "Met"\nearliest = "2026-01-05"\nlatest = "2026-03-31"\n', 4, {"date_out_of_range": 4, "date_unreadable": 1},
    ),
    "blockers that are none": ({"a.csv": csv(row() + ",roi;coost", row(who="r2") + ",roi;none", row(who="r3") + ",roi", head=HEAD + ",blk")}, "", 1, {"value_unknown": 1, "exclusive_combined": 1}),
    "a line of totals": ({"a.csv": csv(row(), "Total,1,,,4,,,,")}, "", 1, {"wave_missing": 1}),
    "a NUL character": ({"a.csv": csv(row(), row(who="r2", comments="\0"))}, "", 1, {"nul_byte": 1}),
    "unknown role and stage": ({"a.csv": csv(row(), row(who="r2", role="CFOO"), row(who="r3", conf="9"))}, "", 1, {"role_unknown": 1, "value_out_of_range": 1}),
    "decimal comma undeclared": ({"a.tsv": csv(row(), row(who="r2", stall="yes", weeks="@")).replace(",", "\t").replace("@", "1,5")}, "", 1, {"value_unknown": 1}),
    "two places of one option disagree": (
        {"a.csv": csv(row() + ",1,0", head=HEAD + ",A,B") + row(who="r2") + ",1,\n"}, '[[delivery]]\ncolumns = { A = "blk_roi", B = "blk_roi" }\n', 1, {"value_unknown": 1},
    ),
    "a repeated delivery": ({"a.csv": PLAIN, "b.csv": PLAIN}, "", 1, {"duplicate_respondent": 1}),
    "conflicting deliveries": ({"a.csv": csv(row(), row(who="r2")), "b.csv": csv(row(conf="5"))}, "", 1, {"duplicate_respondent": 2}),
    "a correction": ({"a.csv": csv(row(role="CFOO"), row(who="r2")), "b.csv": csv(row(conf="5"))}, SUMS, 2, {"superseded": 1}),
    "a correction of a correction": ({"a.csv": PLAIN, "b1.csv": csv(row(conf="5")), "b2.csv": csv(row(conf="1"))}, SUMS, 1, {"superseded": 2}),
}  # fmt: skip


@pytest.mark.parametrize("case", ASIDE)
def test_set_aside_with_a_reason(take, case):
    files, extra, accepted, by_rule = ASIDE[case]
    cleaned = take(files, extra)
    assert cleaned.flow.accepted == accepted
    assert cleaned.flow.by_rule == by_rule
    assert cleaned.quarantine["mend"].str.len().gt(0).all()
    assert cleaned.quarantine["row"].gt(1).all()


def test_what_spss_declares_missing_is_no_answer_and_keeps_its_reason(take):
    labels = {"role": ROLES, "conf": {4: "High", 8: "Don't know", 9: "Could not say"}}
    columns = {
        name: [*cells, *(f"r{n}" if name == "resp_id" else cells[0] for n in range(2))] for name, cells in SPSS.items()
    }
    cleaned = take(
        {
            "a.sav": spss(
                columns | {"conf": [4.0, 8.0, 9.0, 99.0]}, labels=labels, missing={"conf": [{"lo": 8, "hi": 99}]}
            )
        }
    )
    reason = cleaned.missing[cleaned.missing["item"] == "conf"].set_index("resp_id")["reason"]
    assert cleaned.responses.set_index("resp_id")["conf"].dropna().to_dict() == {"001": 4}
    assert reason.to_dict() == {"1E5": "dont_know", "r0": "blank", "r1": "dont_know"}
    assert cleaned.flow.flags["declared_missing"] == 1


def test_a_process_that_dies_of_an_spss_file_takes_nobody_with_it(take, monkeypatch, tmp_path):
    dies = tmp_path / "dies.py"
    dies.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr("fieldwork.intake.spss._APART", dies)
    with pytest.raises(DataError, match="SPSS file is damaged") as caught:
        take({"a.sav": spss(SPSS)})
    assert caught.value.got == "the process that read it was ended (-11)"


def test_a_correction_is_what_counts_and_the_log_keeps_both(take):
    cleaned = take({"a.csv": PLAIN, "b1.csv": csv(row(conf="5")), "b2.csv": csv(row(conf="1"))}, SUMS)
    assert cleaned.responses["conf"].tolist() == [1]
    log = cleaned.quarantine.sort_values("file")
    assert log["file"].tolist() == ["a.csv", "b1.csv"]
    assert set(log["mend"]) == {"nothing to mend: b2.csv, row 2 corrects it"}


def test_rows_of_tools_keep_the_numbers_of_their_lines_and_columns_their_names(take):
    cleaned = take({"a.csv": qualtrics("0,,1,,R_1,o1,1,4,1,", "0,,1,,R_2,o1,77,4,1,")}, QUALTRICS)
    (line,) = cleaned.quarantine.to_dict("records")
    assert (line["row"], line["column"], line["value"], line["rule"]) == (5, "Q1", "77", "role_unknown")


def test_a_workbook_is_refused_before_it_fills_the_memory(take):
    many = "".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(2, 60_000))
    content = sheet(ROWS[:1]).replace("</sheetData>", f"{many}</sheetData>")
    tracemalloc.start()
    with pytest.raises(DataError, match="far outside"):
        take({"a.xlsx": workbook({"S": content})})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def damaged(content, times, seed=1):
    """Copies of a file with one to five bits turned over, half of them cut as well."""
    draw = random.Random(seed)
    for _ in range(times):
        copy = bytearray(content)
        for _ in range(draw.choice([1, 2, 5])):
            copy[draw.randrange(len(copy))] ^= 1 << draw.randrange(8)
        yield bytes(copy[: draw.randrange(len(copy))] if draw.random() < 0.5 else copy)


@pytest.mark.parametrize(
    ("kind", "read", "copies"),
    [
        ("workbook", read_workbook, 400),
        ("parquet", read_parquet, 400),
        ("csv", read_separated, 400),
        ("spss", read_spss, 12),  # a process each
    ],
)
def test_a_damaged_file_is_read_or_told_and_nothing_else(tmp_path, kind, read, copies):
    rows = [*ROWS, *([f"r{n}", "o", "w1", "CEO", ("date", 44000.5 + n)] for n in range(60))]
    times = pd.date_range("2026-01-01", periods=60)
    columns = {
        "resp_id": [f"r{n}" for n in range(60)],
        "conf": range(60),
        "weeks": [n / 7 for n in range(60)],
        "start": times,
    }
    frame = pd.DataFrame(columns)
    content = {
        "workbook": lambda: workbook({"S": rows}),
        "parquet": lambda: parquet(frame),
        "csv": lambda: frame.assign(role="Führung, „kaufmännisch“").to_csv(index=False).encode(),
        "spss": lambda: spss(frame),
    }[kind]()
    path, hints = tmp_path / "damaged", []
    for number, copy in enumerate(damaged(content, copies)):
        path.write_bytes(copy)
        try:
            for _ in read(path, name="damaged", rows=(None, 7)[number % 2]):
                pass
        except DataError as error:
            hints.append(error.hint)
    assert len(hints) > copies / 4
    assert all(hints)


@pytest.mark.parametrize(
    ("file", "content", "read"),
    [
        ("a.xlsx", workbook({"S": ROWS}), read_workbook),
        ("a.parquet", parquet(SPSS), read_parquet),
        ("a.sav", spss(SPSS), read_spss),
    ],
)
def test_a_file_that_is_replaced_while_it_is_read_piece_by_piece_is_told(tmp_path, file, content, read):
    path, other = tmp_path / file, tmp_path / "other"
    path.write_bytes(content)
    assert len(list(read(path, name=file, rows=1))) == 2
    pieces = read(path, name=file, rows=1)
    next(pieces)
    other.write_bytes(content + b"more")
    other.replace(path)
    with pytest.raises(DataError, match="changed while it was read"):
        list(pieces)


def cells(*given):
    """A row of XML cells below ROWS' header."""
    inside = "".join(f'<c r="{at}" {more}><v>{value}</v></c>' for at, value, more in given)
    return {
        "a.xlsx": workbook({"S": sheet(ROWS[:1]).replace("</sheetData>", f'<row r="2">{inside}</row></sheetData>')})
    }


@pytest.mark.parametrize(
    ("row_of_cells", "got"),
    [
        ([("ZZ2", "1", ""), ("A2", "1", "")], "cells of row 2 out of order"),
        ([("A2", "1", ""), ("A2", "2", "")], "one of them twice"),
        ([("A2", "7", 't="s"')], "a shared text that is not there"),
        ([("A2", "one", "")], "'one' where a number is due"),
        ([("A2", "1", 's="x"')], "'x' where a whole number is due"),
    ],
)
def test_cells_that_no_spreadsheet_writes_stop_the_reading(take, row_of_cells, got):
    with pytest.raises(DataError, match="the workbook is damaged") as caught:
        take(cells(*row_of_cells))
    assert got in caught.value.got


def test_a_date_behind_the_calendar_is_no_date(tmp_path):
    last = {True: 2_957_003, False: 2_958_465}  # 9999-12-31, counted from 1904 and from 1900
    for date1904, serial in last.items():
        path = tmp_path / "a.xlsx"
        path.write_bytes(workbook({"S": [["start"], [("date", serial)], [("date", serial + 1)]]}, date1904=date1904))
        (read,) = read_workbook(path, name="a.xlsx")
        assert read.rows[0].tolist() == ["9999-12-31", str(serial + 1)]


def test_a_time_behind_the_calendar_is_told(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"start": pa.array([10**15], pa.timestamp("s"))}), path)
    with pytest.raises(DataError, match="the Parquet file is damaged"):
        list(read_parquet(path, name="a.parquet"))


def test_a_sheet_that_is_listed_and_not_there_stops_the_reading(take):
    whole = io.BytesIO(workbook({"one": ROWS, "two": ROWS}))
    out = io.BytesIO()
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(out, "w") as after:
        for part in before.namelist():
            if not part.endswith("sheet2.xml"):
                after.writestr(part, before.read(part))
    with pytest.raises(DataError, match="the workbook is damaged") as caught:
        take({"a.xlsx": out.getvalue()})
    assert caught.value.got == "no content of sheet two"


def test_a_workbook_of_styles_is_read_in_the_memory_of_its_answers(take):
    # 200,000 styles pack to 10 KB, below every bound of the archive: a reader that makes an object of each takes 150 MB.
    styles = STYLES.replace("</cellXfs>", '<xf numFmtId="0"/>' * 200_000 + "</cellXfs>")
    content = workbook({"S": [[*ROWS[0], "start"], [*ROWS[1], ("date", 46054.5)]]}, styles=styles)
    tracemalloc.start()
    cleaned = take({"a.xlsx": content})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cleaned.responses["start"].tolist() == ["2026-02-01T12:00:00"]
    assert peak < 64 << 20


def test_an_archive_that_lies_about_its_size_gives_no_more_than_it_says(take):
    content = bytearray(workbook({"S": sheet([*ROWS, *([f"r{n}", "o", "w1", "CEO", 4] for n in range(20_000))])}))
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        true = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    lied = bytes(content).replace(true.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert lied != content
    with pytest.raises(DataError, match="damaged"):
        take({"a.xlsx": lied})


@pytest.mark.parametrize("said", [said for said in OUTSIDE if "offset" in said], ids=str)
@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml"])
def test_a_part_outside_the_file_is_told_as_damage(take, part, said):
    with pytest.raises(DataError, match="damaged"):
        take({"a.xlsx": far(workbook({"S": ROWS}), part, **said)})


@pytest.mark.parametrize(
    ("extra", "title"),
    [
        ('[[delivery]]\ndecimal = ","\n', "the decimal sign is the separator too"),
        ('[[delivery]]\ndates = "%y"\n', "dates is not the form of a date"),
        ('[[delivery]]\ncolumns = { A = "roel" }\n', "column"),
        ('[[delivery]]\nencoding = "utf-7"\n', "encoding"),
        ('[[delivery]]\ncolumsn = { A = "role" }\n', "unknown key"),
        ('[personal]\ncolumns = ["A"]\n[[delivery]]\ncolumns = { A = "role" }\n', "both dropped and read"),
    ],
)
def test_a_form_that_cannot_be_meant_is_refused(take, extra, title):
    with pytest.raises(InstrumentError, match=title):
        take({"a.csv": PLAIN}, extra)


def test_the_study_takes_every_kind_that_intake_reads(tmp_path):
    from fieldwork.intake.delivery import _READERS
    from fieldwork.study import DATA_SUFFIXES

    assert tuple(_READERS) == DATA_SUFFIXES
    shutil.copytree(CASES, tmp_path / "s")
    raw = tmp_path / "s" / "data" / "raw" / "w1"
    raw.mkdir(parents=True)
    (raw / "a.xlsx").write_bytes(workbook({"S": ROWS}))
    assert [path.name for path in Study.open(tmp_path / "s").raw_files()] == ["a.xlsx"]


def offers(tmp_path, name, content, extra=""):
    shutil.copytree(CASES, tmp_path / "s")
    with (tmp_path / "s" / "instruments" / "instrument.toml").open("a", encoding="utf-8") as file:
        file.write("\n" + extra)
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted((each, each.stat().st_mtime_ns) for each in tmp_path.rglob("*"))
    found = check_files([path], Study.open(tmp_path / "s"))
    assert sorted((each, each.stat().st_mtime_ns) for each in tmp_path.rglob("*")) == before, "nothing is written"
    assert [problem.rule for problem in found if problem.severity == "error"] == ["file_unreadable"]
    return {problem.column: problem for problem in found if problem.rule == "mapping_proposed"}


def test_a_check_proposes_a_mapping_and_applies_none(tmp_path):
    content = "Response ID,E-mail,Your organisation,Position,How is your confidence,Blockers: Cost,Weeks that you were stalled,Favourite colour\n"
    content += "1,ann@example.org,o1,Chief Executive Officer,High,Cost,3,red\n2,bob@example.org,o2,Finance Director,Low,,7,blue\n"
    found = offers(tmp_path, "a.csv", content)
    assert {column: problem.value for column, problem in found.items() if problem.value} == {
        "Response ID": "resp_id",
        "Your organisation": "org_id",
        "Position": "role",
        "How is your confidence": "conf",
        "Blockers: Cost": "blk_cost",
        "Weeks that you were stalled": "weeks",
    }
    assert "'Position' = 'role'" in found["Position"].mend
    assert "[personal] columns" in found["E-mail"].mend
    assert "ann@" not in str(found), "no personal value is shown"


def test_a_proposal_that_is_taken_over_reads_the_file(tmp_path, take):
    content = "Response ID,Your organisation,Position\n1,o1,Chief Executive Officer\n2,o2,Finance Director\n"
    found = offers(tmp_path, "a.csv", content)
    lines = "\n".join(problem.mend.partition("]: ")[2] for problem in found.values())
    cleaned = take({"a.csv": content}, f'[[delivery]]\nconstants = {{ wave = "w1" }}\n[delivery.columns]\n{lines}\n')
    assert cleaned.responses["role"].tolist() == ["CEO", "CFO"]


def test_the_example_in_the_shipped_instrument_can_be_meant(tmp_path):
    lines = (Path(__file__).parents[1] / "instruments" / "2026Q1.toml").read_text(encoding="utf-8").splitlines()
    path = tmp_path / "2026Q1.toml"
    path.write_text("\n".join(line.removeprefix("#: ") for line in lines), encoding="utf-8")
    instrument = Instrument.load(path, "2026Q1")
    assert "RecipientEmail" in instrument.personal.columns
    assert [form.file for form in instrument.deliveries] == ["correction*", "panel*.csv", "*.xlsx", "*.sav", "*"]
    path.write_text("\n".join(line for line in lines if not line.startswith("#: ")), encoding="utf-8")
    assert Instrument.load(path, "2026Q1").deliveries == ()


def test_the_example_in_a_new_studys_instrument_can_be_meant_and_reads_what_it_describes(tmp_path):
    study = begin(tmp_path / "new")
    path = study / "instruments/instrument.toml"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.removeprefix("#: ") for line in lines), encoding="utf-8")
    header = "Respondent number;Which unit?;role;stage;worth;ready;hurdle;Email"
    rows = (f"r{n};n°{n % 3};Manager;Trying;Agree;4;time,goals;r{n}@unit.example" for n in range(9))
    delivery = tmp_path / "units.csv"
    delivery.write_text("\n".join([header, *rows, ""]), encoding="cp1252")
    assert main(["check", "--study", str(study), str(delivery)]) == 0
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('separator = ";"', ""), encoding="utf-8")
    assert main(["check", "--study", str(study), str(delivery)]) == 1


def test_a_file_without_the_wave_is_told_how_to_say_it(tmp_path, capsys):
    study = begin(tmp_path / "new")
    delivery = tmp_path / "units.csv"
    delivery.write_text("ID,org_id,role,stage\nr1,o1,Manager,Trying\n", encoding="utf-8")
    assert main(["check", "--study", str(study), str(delivery)]) == 1
    told = capsys.readouterr().out
    assert "name the column that holds it under [delivery.columns]" in told
    assert "constants = { wave = '...' } under [[delivery]]" in told


@pytest.mark.parametrize("place", ["https://example.org/a.csv", "a folder.csv", "a pipe.csv", "nothing.csv"])
def test_only_a_file_that_is_there_is_opened(tmp_path, capsys, place):
    shutil.copytree(CASES, tmp_path / "s")
    (tmp_path / "a folder.csv").mkdir()
    os.mkfifo(tmp_path / "a pipe.csv")
    path = place if "//" in place else str(tmp_path / place)
    assert main(["check", "--study", str(tmp_path / "s"), path]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_a_proposal_reads_the_labels_of_spss(tmp_path):
    columns = {"respnr": ["1", "2"], "Q1": [1.0, 2.0], "Q2": [1.0, 5.0]}
    labels = {"Q1": {1: "Chief Executive Officer", 2: "CFO"}, "Q2": {1: "Very low", 5: "Very high"}}
    content = spss(columns, labels=labels, questions={"Q2": "Confidence"})
    found = offers(tmp_path, "a.sav", content)
    assert {column: problem.value for column, problem in found.items()} == {"Q1": "role", "Q2": "conf"}


def test_the_document_of_cases_names_what_is_tested():
    tests = Path(__file__).parent
    defined = {
        name for path in tests.glob("test_*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
    }
    lines = (tests.parent / "docs" / "hostile.md").read_text(encoding="utf-8").splitlines()
    named = [
        re.findall(r'`(\w+)`|"([^"]+)"', line.rstrip("|").rpartition("|")[2]) for line in lines[11:] if "|" in line
    ]
    assert sum(map(bool, named)) > 40
    for test, case in (each for line in named for each in line):
        assert test in defined or case in READ | STOPPED | ASIDE, test or case
