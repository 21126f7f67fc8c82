"""The book of a wave: a manuscript whose numbers are those of the records, and whose figures are the files beside it."""

import hashlib
import io
import json
import re
import runpy
import shutil
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from docx import Document
from docx.oxml.ns import qn
from pypdf import PdfReader

from fieldwork.errors import EssayError
from fieldwork.essays.book import manuscript
from fieldwork.essays.proof import proof
from fieldwork.figures import describe, numbered, published_of
from fieldwork.publish.book import _pictures, write
from fieldwork.publish.outline import _shared, outline
from fieldwork.study import Study

report = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "browser" / "report.py")))
ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
ESSAY = """+++
title = "On roles"
author = "Nobody"
date = 2026-11-25
+++

Roles differ.[^rule] {{ supported.H2.text }}. {{ supported.H2.sentence }} See {{ ref.spread }} and {{ ref.verdicts }}.

{{ figure.spread }}

## A section

{{ table.claims("H2", "H4", name="verdicts", title="Verdicts") }}

[^rule]: Margins were set beforehand.
"""


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seal(folder):
    """Write the manifest that a run would have left."""
    reports = next((folder / "reports").iterdir())
    made = [path for path in sorted(reports.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    outputs = {path.relative_to(folder).as_posix(): sha(path) for path in made}
    (reports / "manifest.json").write_text(json.dumps({"outputs": outputs, "chapters": []}))


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = report.make(tmp_path_factory.mktemp("book") / "study", report.QUAIE)
    shutil.copy(ROOT / "instruments" / "claims.toml", folder / "instruments")
    (folder / "essays").mkdir()
    (folder / "essays" / "roles.md").write_text(ESSAY)
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def made(ready):
    folder = ready / "publication" / "book"
    paths = write(Study.open(ready), folder, styles=("book",), names=("spread",))
    listed = pd.read_csv(folder / "figures.csv", dtype="string", keep_default_na=False)
    text = (folder / "manuscript.docx").read_bytes()
    return SimpleNamespace(folder=folder, paths=paths, listed=listed, text=text, document=Document(io.BytesIO(text)))


@pytest.fixture(scope="module")
def proofed(made):
    reader = PdfReader(made.folder / "proof.pdf")
    pages = [page.extract_text() for page in reader.pages]
    return SimpleNamespace(reader=reader, pages=pages, letters=letters("".join(pages)))


def letters(text):
    """Return a text without what a typesetter moves: spaces, hyphens at the end of lines, marks, capitals."""
    return re.sub(r"\W+", "", text).casefold()


@pytest.fixture
def study(ready, tmp_path):
    return shutil.copytree(ready, tmp_path / "study", ignore=shutil.ignore_patterns("publication", ".fieldwork"))


def book_of(folder):
    return outline(Study.open(folder), describe(published_of(folder)))


def words_of(document):
    """Return the text of every paragraph and of every cell, in the order of the document."""
    return ["".join(t.text or "" for t in p.iter(qn("w:t"))) for p in document.element.body.iter(qn("w:p"))]


def styled(document, style):
    return [paragraph for paragraph in document.paragraphs if paragraph.style.name == style]


def refused(folder):
    with pytest.raises(EssayError) as caught:
        book_of(folder)
    return caught.value


def test_every_drawn_figure_is_called_out_on_a_line_of_its_own_and_captioned_as_it_is_listed(made):
    drawn = made.listed[made.listed["not_drawn"] == ""]
    assert len(drawn) > 5
    lines = [line.text for line in styled(made.document, "Call-Out")]
    assert [line for line in lines if "INSERT" in line] == [f"[INSERT {name} about here]" for name in drawn["figure"]]
    titles = [f"{number}. {title}" for number, title in zip(drawn["figure"], drawn["title"], strict=True)]
    captions = styled(made.document, "Image Caption")
    assert ["".join(t.text for t in each._p.iter(qn("w:t"))) for each in captions] == titles
    fields = ["".join(t.text for t in each._p.iter(qn("w:instrText"))) for each in captions]
    assert fields == [f" SEQ Figure \\* ARABIC \\r {number.rpartition('.')[2]} " for number in drawn["figure"]]
    assert [line.text for line in styled(made.document, "List Entry") if line.text in titles] == titles


def test_the_list_says_where_each_figure_is_called_out_and_the_text_which_are_not_drawn(made):
    spread = made.listed.set_index("name").loc["spread"]
    assert spread["called_out"] == "chapter 4; referred to in chapter 10"
    assert f"[{spread['figure']} stands in chapter 4]" in words_of(made.document)
    lost = made.listed[made.listed["not_drawn"] != ""]
    assert len(lost)
    assert set(lost["called_out"]) == {""}
    for row in lost.to_dict("records"):
        line = f"{row['figure']}. {row['title']}. Not drawn: {row['not_drawn']}"
        assert words_of(made.document).count(line) == 2  # in the list and where it would stand


def test_the_files_beside_the_manuscript_are_those_of_its_list(made):
    row = made.listed.set_index("name").loc["spread"]
    names = {path.relative_to(made.folder).as_posix() for path in made.paths}
    stem = row["file"].removesuffix(".pdf")
    forms = {f"book/{stem}.{form}" for form in ("pdf", "svg", "png", "csv", "txt", "json")}
    assert names == forms | {"figures.csv", "manuscript.docx", "proof.pdf"}
    words = json.loads((made.folder / "book" / f"{stem}.json").read_text())
    assert (words["title"], words["alt"]) == (row["title"], row["alternative_text"])
    assert row["figure"] == f"Figure {words['chapter']}.{words['number']}"


def test_chapters_notes_and_tables_have_the_styles_of_a_manuscript(made):
    heads = [paragraph.text for paragraph in styled(made.document, "Heading 1")]
    assert heads[:4] == ["Contents", "Figures", "Figures that were not drawn", "Tables"]
    assert "4. Adoption gradient" in heads
    assert "10. On roles" in heads
    assert heads[-2:] == ["How the survey was made", "Notes and Sources"]
    assert all(paragraph.paragraph_format.page_break_before for paragraph in styled(made.document, "Heading 1"))
    titles = ["".join(t.text for t in p._p.iter(qn("w:t"))) for p in styled(made.document, "Table Caption")]
    assert len(titles) == len(made.document.tables)
    assert all(re.match(r"Table \d+\.\d+\. ", title) for title in titles)
    assert len(set(titles)) == len(titles)
    assert "Table 10.1. Verdicts" in titles
    assert max(len(table.columns) for table in made.document.tables) <= 6
    anchors = {start.get(qn("w:name")) for start in made.document.element.body.iter(qn("w:bookmarkStart"))}
    links = {link.get(qn("w:anchor")) for link in made.document.element.body.iter(qn("w:hyperlink"))} - {None}
    assert links
    assert links <= anchors
    assert not made.document.inline_shapes


def test_simulated_data_are_named_on_every_page_and_real_ones_are_not(made, tmp_path):
    banner = Study.open(made.folder.parents[1]).banner
    assert banner
    assert made.document.sections[0].header.paragraphs[0].text == banner
    assert words_of(made.document).count(banner) == 1
    folder = report.make(tmp_path / "real", report.OSPO)
    seal(folder)
    real = Document(io.BytesIO(manuscript(book_of(folder))))
    assert real.sections[0].header.paragraphs[0].text == ""
    assert not [line for line in words_of(real) if "imulated" in line]


def test_every_finding_stands_in_it_with_the_sentence_of_its_record(made):
    text = words_of(made.document)
    for record in report.claims(report.QUAIE):
        if record["verdict"] != "not_assessable":
            assert f"{record['id']}. {record['text'].rstrip('.')}" in text
    assert (
        "Supported. Estimate 0.90 scale points (95% interval 0.60 to 1.20; margin 0.50; about 650 executives in 80"
        in " ".join(text)
    )


def test_every_number_of_the_study_s_chapters_is_in_a_record(ready, made):
    """Numbers of prose and tables, but for labels of figures, tables and chapters, come from published files."""
    reports = ready / "reports" / "2026Q1"
    estimates = pd.read_parquet(reports / "estimates.parquet")
    known = set()
    for value in estimates.select_dtypes("number").to_numpy().ravel():
        if pd.notna(value):
            known |= {f"{abs(scaled):,.{k}f}" for scaled in (value, 100 * value) for k in (0, 1, 2)}
    sources = [path.read_text() for path in [*reports.glob("*.json"), *(reports / "figures").glob("*.json")]]
    sources += [path.read_text() for path in (ready / "data/processed/2026Q1").glob("*.json")]
    sources += [json.dumps([vars_of(each) for each in describe(published_of(ready))], default=str)]
    sources += [(ready / "instruments" / name).read_text() for name in ("claims.toml", "instrument.toml")]
    known |= set(NUMBER.findall("\n".join(sources)))
    known |= {f"{float(number):.{k}f}" for number in known if re.fullmatch(r"\d+\.\d+", number) for k in (2, 3)}
    known |= {str(len(estimates)), str(int(estimates.groupby("method").size().max()))}
    known |= {f"{n:,}" for n in estimates.groupby(["method", "conf_level", "replicates"], dropna=False).size()}
    labels = re.compile(r"(?:Figure|Table)\W\d+\.\d+|chapter \d+|^\d+\. |\bH\d+")
    text = [labels.sub(" ", line) for line in words_of(made.document)]
    stray = {number for line in text for number in NUMBER.findall(line) if number not in known}
    assert stray == set()


def vars_of(made):
    return [getattr(made, name, "") for name in ("title", "caption", "alt", "reason", "source")]


def test_a_stale_estimate_stops_the_book_before_anything_is_drawn(study, tmp_path):
    path = study / "reports" / "2026Q1" / "estimates.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "estimate"] = 3.33
    table.to_parquet(path)
    with pytest.raises(EssayError, match=r"estimates\.parquet is stale") as caught:
        write(Study.open(study), tmp_path / "out")
    assert caught.value.where.startswith("Figure ")
    assert not (tmp_path / "out").exists()


def test_an_estimate_held_back_after_the_run_stops_the_book_with_file_and_line(study):
    report.hold_back(study, "role_sd_corrected")
    seal(study)
    error = refused(study)
    assert error.title == "an estimate that the essay quotes is held back"
    lines = (study / "reports" / "2026Q1" / "findings.json").read_text().split("\n")
    line = 1 + next(number for number, text in enumerate(lines) if '"id": "H2"' in text)
    assert error.where == f"reports/2026Q1/findings.json, line {line} (H2)"


def test_a_hypothesis_is_not_printed_as_a_finding(study):
    path = study / "reports" / "2026Q1" / "findings.json"
    records = json.loads(path.read_text())
    (open_one,) = (record for record in records if record["verdict"] == "inconclusive")
    open_one["status"] = "finding"
    path.write_text(json.dumps(records, indent=1))
    seal(study)
    error = refused(study)
    assert error.title == "a hypothesis is about to be printed as a finding"
    assert error.where.endswith(f"({open_one['id']})")


def test_a_fault_of_an_essay_is_told_with_its_line(study):
    essay = study / "essays" / "roles.md"
    essay.write_text(ESSAY.replace("Roles differ.", "Roles differ by 0.9 points."))
    assert refused(study).where == "essays/roles.md, line 7"


def test_a_figure_of_the_study_s_own_is_numbered_in_its_essay_and_its_file_laid_beside_the_others(study, tmp_path):
    figures = study / "reports" / "2026Q1" / "figures"
    for path in [*figures.glob("spread.*")]:
        shutil.copy(path, path.with_name(f"house{path.suffix}"))
    (study / "essays" / "roles.md").write_text(ESSAY + "\n{{ figure.house }}\n")
    (study / "essays" / "second.md").write_text(ESSAY + "\n{{ figure.house }}\n")
    seal(study)
    folder = tmp_path / "book"
    paths = write(Study.open(study), folder, styles=("book",), names=("none",))
    row = pd.read_csv(folder / "figures.csv", dtype="string").set_index("name").loc["house"]
    assert (row["figure"], row["file"]) == ("Figure 10.1", "Demo_Figure_10_01.pdf")
    assert row["called_out"] == "chapter 10; referred to in chapter 11"
    assert {path.suffix for path in paths if path.stem == "Demo_Figure_10_01"} == {
        ".svg", ".pdf", ".png", ".csv", ".txt", ".json",
    }  # fmt: skip
    document = Document(folder / "manuscript.docx")
    assert words_of(document).count("[INSERT Figure 10.1 about here]") == 1
    assert "[Figure 10.1 stands in chapter 10]" in words_of(document)
    texts = described(PdfReader(folder / "proof.pdf").trailer["/Root"]["/StructTreeRoot"])
    assert texts.count(row["alternative_text"]) == 2


def test_two_essays_may_use_the_same_names(study):
    (study / "essays" / "again.md").write_text(ESSAY.replace("On roles", "Again"))
    document = Document(io.BytesIO(manuscript(book_of(study))))
    titles = ["".join(t.text for t in p._p.iter(qn("w:t"))) for p in styled(document, "Table Caption")]
    assert {"Table 10.1. Verdicts", "Table 11.1. Verdicts"} <= set(titles)
    names = [start.get(qn("w:name")) for start in document.element.body.iter(qn("w:bookmarkStart"))]
    assert {"note-10-1", "note-11-1", "table-10-verdicts", "table-11-verdicts"} <= set(names)
    assert len(names) == len(set(names))


def test_the_proof_is_typeset_at_trim_size_tagged_and_says_that_it_is_accessible(made, proofed):
    root = proofed.reader.trailer["/Root"]
    sizes = {(float(page.mediabox.width), float(page.mediabox.height)) for page in proofed.reader.pages}
    assert sizes == {(432.0, 648.0)}
    assert root["/MarkInfo"]["/Marked"]
    assert b"pdfuaid" in root["/Metadata"].get_data()
    assert proofed.reader.metadata.title == Study.open(made.folder.parents[1]).title


def described(node):
    """Return the alternative texts of a structure tree, in its order."""
    node = node.get_object()
    if isinstance(node, list):
        return [text for each in node for text in described(each)]
    if not isinstance(node, dict):
        return []
    own = [str(node["/Alt"])] if "/Alt" in node else []
    return own + (described(node["/K"]) if "/K" in node else [])


def test_the_proof_shows_each_figure_once_with_its_number_and_its_alternative_text(made, proofed):
    drawn = made.listed[made.listed["not_drawn"] == ""]
    texts = described(proofed.reader.trailer["/Root"]["/StructTreeRoot"])
    assert sorted(texts) == sorted(drawn["alternative_text"])
    for row in drawn.to_dict("records"):
        # In the list of figures, and under the figure.
        assert proofed.letters.count(letters(row["figure"] + row["title"])) >= 2, row["figure"]
    for row in made.listed[made.listed["not_drawn"] != ""].to_dict("records"):
        line = letters(f"{row['figure']}. {row['title']}. Not drawn: {row['not_drawn']}")
        assert proofed.letters.count(line) == 2, line


def test_the_proof_says_what_the_manuscript_says(made, proofed):
    lines = [line.text for line in made.document.paragraphs if line.style.name.startswith("Heading")]
    assert len(lines) > 8
    assert [line for line in lines if letters(line) not in proofed.letters] == ["Figures that were not drawn"]
    assert letters("Estimate 0.90 scale points (95% interval 0.60 to 1.20; margin 0.50;") in proofed.letters


def test_pages_have_running_heads_and_the_banner(made, proofed):
    opened = Study.open(made.folder.parents[1])
    assert all(letters(opened.banner) in letters(page) for page in proofed.pages)
    heads = [page.split("\n")[0] for page in proofed.pages]
    assert opened.title in heads[1:]
    assert "4. Adoption gradient" in heads


def test_the_same_study_gives_the_same_bytes(ready, made):
    again = book_of(ready)
    assert manuscript(again) == made.text
    source = published_of(ready)
    assert (
        proof(again, _pictures(describe(source), made.folder / "book", "demo"))
        == (made.folder / "proof.pdf").read_bytes()
    )


def test_a_wave_without_findings_still_has_a_manuscript(tmp_path):
    folder = report.make(tmp_path / "study", report.NOTHING)
    seal(folder)
    book = book_of(folder)
    assert [numbered(each) for each in describe(published_of(folder))] != []
    assert Document(io.BytesIO(manuscript(book))).core_properties.title == book.title


def test_markup_in_labels_and_claims_stays_text(tmp_path):
    folder = report.make(tmp_path / "study", report.HOSTILE)
    seal(folder)
    book = book_of(folder)
    text = manuscript(book)
    with zipfile.ZipFile(io.BytesIO(text)) as archive:
        relations = archive.read("word/_rels/document.xml.rels").decode()
    assert "evil.example" not in relations
    assert any("<script>alert('x')</script>" in line for line in words_of(Document(io.BytesIO(text))))
    pages = PdfReader(io.BytesIO(proof(book, _pictures(describe(published_of(folder)), tmp_path, "demo")))).pages
    assert "alert" in "".join(page.extract_text() for page in pages)
    addresses = [
        str(note.get_object().get("/A", {}).get("/URI", "")) for page in pages for note in page.get("/Annots", ())
    ]
    assert not [address for address in addresses if address]


def test_what_all_findings_share_is_said_once():
    assert _shared(["Of one. Two. Three.", "Other. Two. Three."]) == "Two. Three."
    assert _shared(["One."]) == _shared([]) == _shared(["A.", "B."]) == ""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("soffice"), reason="LibreOffice is not installed")
def test_a_word_processor_opens_the_manuscript(made, tmp_path):
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    command = ["soffice", "--headless", profile, "--convert-to", "txt:Text", "--outdir", tmp_path]
    subprocess.run([*command, made.folder / "manuscript.docx"], check=True, capture_output=True)
    text = (tmp_path / "manuscript.txt").read_text(encoding="utf-8", errors="replace")
    for row in made.listed[made.listed["not_drawn"] == ""].to_dict("records"):
        assert text.count(f"{row['figure']}. {row['title']}") == 2
