"""Nothing that a delivery says runs in what is written: spreadsheets, pages, terminals, paths, notebooks."""

import ast
import csv
import json
import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from papermill.translators import PythonTranslator
from pypdf import PdfWriter
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

from fieldwork.chapter import Chapter
from fieldwork.clean import clean, take_in
from fieldwork.cli import main
from fieldwork.errors import StudyError
from fieldwork.instrument import Instrument
from fieldwork.intake import read_deliveries
from fieldwork.organisations import standings
from fieldwork.run.store import Store
from fieldwork.site.chapters import sanitised
from fieldwork.study import Study
from tests import payloads

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "fieldwork"
CASES = Path(__file__).parent / "cases" / "deliveries"
FORMULAS = [
    '=HYPERLINK("http://x")', "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "\uff0b1", "\uff0d1+1", "\uff20x", " =1",
    "=cmd|'/c calc'!A1",
]  # fmt: skip
MARKUP = [
    "<script>alert(7)</script>", "<img src=x onerror=alert(7)>", "[x](javascript:alert(7))", "{{7*7}}{% raw %}", "${7*7}", "$\\input{/etc/passwd}$",
    '#eval("1")', "<!--", "</table><svg onload=alert(7)>", "%(x)s {0.__class__}",
]  # fmt: skip
# The drawn delivery of a study goes to its raw data, to be read back as it is.
RAW = {("plan.py", "delivered[")}


@pytest.fixture
def taken(tmp_path):
    """A study of one wave whose delivery is full of payloads: in ids, answers, texts, an unknown column, and a file name."""
    (tmp_path / "instruments").mkdir()
    text = (CASES / "instruments" / "instrument.toml").read_text(encoding="utf-8")
    (tmp_path / "instruments" / "w1.toml").write_text(text, encoding="utf-8")
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "s"\nprovenance = "simulated"\n[waves]\norder = ["w1"]\n', encoding="utf-8"
    )
    raw = tmp_path / "data" / "raw" / "w1"
    raw.mkdir(parents=True)
    with (raw / "=1+1<img src=x onerror=alert(7)>\x1b[31m.csv").open("w", newline="", encoding="utf-8") as file:
        write = csv.writer(file)
        write.writerow(["resp_id", "org_id", "wave", "role", "conf", "comments", "=cmd|' /C calc'!A0<script>"])
        for number, payload in enumerate([*FORMULAS, *MARKUP]):
            write.writerow([f"{payload}{number}", "../../x", "w1", "CEO", 4, payload, payload])
            write.writerow([f"b{number}", payload or "o", "w1", payload, 4, payload, payload])
    study = Study.open(tmp_path)
    instrument = Instrument.load(tmp_path / "instruments" / "w1.toml", "w1")
    read = read_deliveries(study.raw_files(), instrument, within=study.raw)
    return Chapter.open("01_clean", tmp_path, "w1"), read, clean(read, instrument)


def test_no_cell_of_a_written_csv_starts_a_formula(taken):
    chapter, _, cleaned = taken
    assert cleaned.flow.accepted + cleaned.flow.quarantined == cleaned.flow.delivered == 2 * len(FORMULAS + MARKUP)
    assert take_in(chapter).flow.as_dict() == cleaned.flow.as_dict()
    files = sorted(chapter.study.processed.glob("*.csv"))
    assert [path.name.removeprefix("01_clean.") for path in files] == [
        "answers_aside.csv", "csv", "quarantine.csv", "unknown_columns.csv"
    ]  # fmt: skip
    cells = 0
    for path in files:
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.reader(file):
                for cell in line:
                    cells += 1
                    assert not re.match(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", cell), cell
    assert cells > 500


def test_what_a_chapter_displays_holds_no_live_markup(taken):
    _, _, cleaned = taken
    for table in (
        cleaned.flow.received(),
        cleaned.flow.rows(),
        cleaned.flow.remarked(),
        cleaned.flow.columns(),
        cleaned.flow.answers(),
    ):
        shown = sanitised(table._repr_html_())
        assert not re.search(r"<(script|img|svg|iframe|a|style|link|object|embed)\b", shown, re.IGNORECASE)
        tags = re.findall(r"<[^>]*>", shown)
        assert tags
        assert not [tag for tag in tags if re.search(r"\bon\w+\s*=|javascript:", tag, re.IGNORECASE)]


def test_no_escape_sequence_of_a_file_name_reaches_a_terminal(taken, capsys):
    chapter, read, cleaned = taken
    assert "\x1b" not in read[0].file + json.dumps(cleaned.flow.as_dict())
    (path,) = chapter.study.raw_files()
    assert main(["check", "--study", str(chapter.study.folder), str(path)]) == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "\\x1b[31m.csv, row 3, column role" in said.out


def test_an_organisation_is_no_path(taken):
    chapter, _, cleaned = taken
    chapter.save(cleaned.responses)
    with pytest.raises(StudyError, match="cannot be names of folders"):
        standings(chapter.study, Store(chapter.study.folder))
    assert not (chapter.study.reports / "restricted").exists()


@pytest.mark.parametrize("wave", ["../../x", "/etc", "w1/../../x", "CON\\x", "x" * 300, "w1\n", "", "."])
def test_a_wave_is_no_path_and_writes_nothing(taken, capsys, wave):
    folder = taken[0].study.folder
    before = sorted(folder.parent.rglob("*"))
    words = ["check", "--study", str(folder), "--wave", wave, str(next((folder / "data" / "raw" / "w1").iterdir()))]
    code = main(words)
    assert code == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    if wave:
        assert "no wave" in said.err
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["x=1\nimport os", "x;import os", "__import__('os')", "seed = 1 #", "a.b"])
def test_a_parameter_is_a_name_that_a_chapter_has(taken, capsys, name):
    folder = taken[0].study.folder
    for command in ("run", "explain"):
        assert main([command, "--study", str(folder), "-p", f"{name}=1"]) == 2
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert "ParameterError" in said.err or "UsageError" in said.err
    assert not list(folder.rglob("*.ipynb"))


VALUES = [
    '"; import os',
    '\\"; import os #',
    "'\"\n1/0",
    "\\",
    "{{ 7*7 }}",
    "\r\n!ls",
    "%run x",
    '"""',
    "\u2028x",
    "$(ls)",
]


@pytest.mark.parametrize("value", VALUES)
def test_the_value_of_a_parameter_is_one_text_in_the_cell(value):
    """What papermill writes into the notebook is an assignment of that text, whatever the text says."""
    code = PythonTranslator.codify({"raw": value})
    (assigned,) = ast.parse(code).body
    assert ast.unparse(assigned.targets[0]) == "raw"
    assert ast.literal_eval(assigned.value) == value


def test_every_csv_that_is_written_is_guarded():
    loose = []
    for path in sorted(SOURCE.rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if ".to_csv(" in line and "guarded(" not in line and not any(path.name == n and w in line for n, w in RAW):
                loose.append(f"{path.name}:{number}")
            assert not re.search(r"\.to_excel\(|ExcelWriter", line), f"{path.name}:{number} writes a workbook"
    assert loose == [], "use chapter.guarded"


def test_no_text_of_a_delivery_is_run():
    runs = re.compile(r"(?<![\w.])(eval|exec)\(|yaml\.(load|unsafe_load|full_load)\(|\.query\(|pd\.eval|shell=True")
    found = [
        f"{path.name}:{number}"
        for path in sorted(SOURCE.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if runs.search(line)
    ]
    assert found == []


def test_the_guard_leaves_numbers_alone(taken):
    chapter = taken[0]
    chapter.save(pd.DataFrame({"a": ["-97", "1.5", "+3"]}), "n.csv")
    assert chapter.path("n.csv").read_text(encoding="utf-8").split() == ["a", "-97", "1.5", "+3"]


def test_the_readers_of_written_files_see_what_lives(tmp_path):
    """What test_whole_study looks for in a whole output, alive."""
    (tmp_path / "a.html").write_text(
        "<style>p{}</style><p onclick=x>a</p><img src=http://x.example><script>alert(7)</script>"
    )
    live, _ = payloads.alive_in_pages(tmp_path)
    assert [each[1] for each in live] == ["p", "img", "script"]
    assert [told for _, told in payloads.loose_policies(tmp_path)[0]] == ["", "p{}", "alert(7)"]
    policy = (
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline' https://x\">"
    )
    (tmp_path / "a.html").write_text(policy)
    assert len(payloads.loose_policies(tmp_path)[0]) == 2
    (tmp_path / "a.csv").write_text('a,b\n-1,"\t=1"\n')
    assert payloads.alive_in_cells(tmp_path)[0] == [("a.csv", "\t=1")]
    (tmp_path / "a.svg").write_text('<svg xmlns:x="http://x"><script/><a x:href="http://x"/><g onload="x"/></svg>')
    assert len(payloads.alive_in_pictures(tmp_path)[0]) == 3
    (tmp_path / "a.md").write_text(
        "- [x](javascript:alert(7)) <img src=x onerror=alert(7)> <script>alert(7)</script>\n"
    )
    assert {each[1] for each in payloads.alive_in_markdown(tmp_path)[0]} >= {"a", "script", "img"}
    writer = PdfWriter()
    writer.add_blank_page(10, 10)
    does = {NameObject("/S"): NameObject("/JavaScript"), NameObject("/JS"): TextStringObject("app.alert(7)")}
    writer.root_object[NameObject("/OpenAction")] = writer._add_object(DictionaryObject(does))
    writer.write(tmp_path / "a.pdf")
    word = '<w:p xmlns:w="http://w"><w:instrText>DDEAUTO c</w:instrText></w:p>'
    link = '<Relationships><Relationship TargetMode="External" Target="http://x"/></Relationships>'
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as packed:
        packed.writestr("word/document.xml", word)
        packed.writestr("word/_rels/document.xml.rels", link)
    assert {each[0] for each in payloads.alive_in_documents(tmp_path)[0]} == {"a.pdf", "a.docx"}
    assert len([each for each in payloads.alive_in_documents(tmp_path)[0] if each[0] == "a.docx"]) == 2
