"""A publication: everything that a run made public and nothing else, told in standard forms, the same bytes each time."""

import csv
import hashlib
import json
import re
import runpy
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from fieldwork.cli import main
from fieldwork.errors import RunError, StudyError
from fieldwork.figures import publish_all, published_of
from fieldwork.publish import PARTS, publish
from fieldwork.publish.citation import bibtex, cff, csl, spdx, work_of
from fieldwork.site import build
from fieldwork.study import STATEMENT, Study

report = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "browser" / "report.py")))


def stated(folder, **rows):
    """Fill the methods statement of a study."""
    settings = folder / "study.toml"
    kept = settings.read_text().partition("[statement]")[0]
    said = dict.fromkeys(STATEMENT, "None.") | {"conductor": "A fieldwork team.", "licence": "CC BY 4.0"} | rows
    settings.write_text(kept + "[statement]\n" + "".join(f"{key} = {json.dumps(text)}\n" for key, text in said.items()))


def listed(folder):
    """Write the manifest of a built report, as a run does: every file that steps made, with its hash."""
    reports = next((folder / "reports").iterdir())
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.parts[-2] != "raw"]
    made = [path for path in paths if path.is_relative_to(reports) or "processed" in path.parts]
    outputs = {path.relative_to(folder).as_posix(): digest_of(path) for path in made if path.name != "manifest.json"}
    (reports / "manifest.json").write_text(json.dumps({"wave": reports.name, "outputs": outputs, "chapters": []}))


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = report.make(tmp_path_factory.mktemp("publish") / "study", report.QUAIE)
    stated(folder)
    build(str(folder), "", "")
    closed = folder / "reports/2026Q1/restricted/org"
    closed.mkdir(parents=True)
    (closed / "organisation.html").write_text("for one organisation alone")
    listed(folder)
    (folder / "reports/2026Q1/notes.html").write_text("by hand, made by no step")
    return folder


@pytest.fixture(scope="module")
def made(ready):
    return publish(Study.open(ready), ready / "publication" / "2026Q1")


def one_figure(study, out):
    """The part `book` for one figure of one style: test_figures draws them all, and each takes a second."""
    return publish_all(
        published_of(study.folder, study.wave), out / "book", study.name, styles=("web",), names=("dumbbell",)
    )


@pytest.fixture(scope="module", autouse=True)
def short_book():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PARTS, "book", one_figure)
        yield


@pytest.fixture
def study(ready, tmp_path):
    return Study.open(shutil.copytree(ready, tmp_path / "study", ignore=shutil.ignore_patterns("publication")))


def test_a_publication_holds_every_part_and_its_record_every_file(made):
    assert [*PARTS] == ["site", "book", "essays", "topline", "data", "citation"]
    found = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()}
    assert found == {*made.files, "publication.json"}
    for name in ("site/index.html", "site/roles/r4.html", "site/figures/gradient.svg", "topline/topline.html"):
        assert name in found
    for name in ("book/figures.csv", "data/datapackage.json", "CITATION.cff", "citation.bib", "citation.json"):
        assert name in found
    assert all(digest_of(made.folder / name) == digest for name, digest in made.files.items())


def test_nothing_restricted_unlisted_internal_or_executed_goes_out(made):
    assert not [name for name in made.files if "restricted" in name or name.endswith((".ipynb", "notes.html"))]
    assert not [name for name in made.files if "01_clean" in name or "processed" in name]


def test_every_link_of_the_published_site_leads_to_a_file_of_it(made):
    site = made.folder / "site"
    for page in site.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#:]+?)(?:#[^"]*)?"', page.read_text()):
            assert (page.parent / target).resolve().is_file(), (page, target)


def test_the_topline_stands_alone(made):
    page = (made.folder / "topline/topline.html").read_text()
    assert set(re.findall(r'href="([^"]*)"', page)) == {"#main"}
    rows = pd.read_csv(made.folder / "topline/topline.csv", keep_default_na=False)
    assert {"resp_id", "conf", "prep", "blk"} <= set(rows["question"])
    own = rows[(rows["question"] == "conf") & (rows["role"] == "CTO") & (rows["stage"] == "Piloting")].iloc[0]
    estimates = report.estimates(report.QUAIE)
    key = (estimates["role"] == "r4") & (estimates["stage"] == "s2") & (estimates["measure"] == "conf")
    assert float(own["estimate"]) == estimates[key].iloc[0]["estimate"]
    assert (own["wording"], own["routing"]) == ("How confident are you that AI will meet its goals?", "asked of all")
    assert own["answers"].startswith("1 Not at all | 2 Slightly")
    assert set(rows[rows["question"] == "blk"]["status"]) == {"not_published"}


def test_the_data_package_describes_every_table_truly(made):
    folder = made.folder / "data"
    package = json.loads((folder / "datapackage.json").read_text())
    assert package["profile"] == "tabular-data-package"
    assert re.fullmatch(r"[a-z0-9._-]+", package["name"])
    assert package["licenses"] == [{"name": "CC-BY-4.0"}]
    assert {each["path"] for each in package["resources"]} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.csv")
    }
    assert len({each["name"] for each in package["resources"]}) == len(package["resources"])
    assert {"estimates.csv", "claims.csv", "questions.csv", "answers.csv", "findings/H2.csv"} <= {
        each["path"] for each in package["resources"]
    }
    checks = {"number": float, "integer": int, "boolean": {"True": 1, "False": 0}.__getitem__, "string": str}
    for each in package["resources"]:
        path = folder / each["path"]
        assert re.fullmatch(r"[a-z0-9._-]+", each["name"]), each["name"]
        assert each["bytes"] == path.stat().st_size
        assert each["hash"] == f"sha256:{digest_of(path)}"
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            fields = each["schema"]["fields"]
            assert next(rows) == [field["name"] for field in fields], path
            for row in rows:
                for field, value in zip(fields, row, strict=True):
                    assert value == "" or checks[field["type"]](value) is not None, (path, field, value)


def test_citations_carry_author_title_wave_year_and_findings(made):
    text = (made.folder / "CITATION.cff").read_text()
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    assert json.loads(fields["title"]) == "Quaie executive fieldwork (wave 2026Q1)"
    assert json.loads(fields["  - name"]) == "A fieldwork team"
    assert (fields["cff-version"], fields["type"], fields["license"]) == ("1.2.0", "dataset", "CC-BY-4.0")
    assert "Simulated data." in fields["abstract"]
    records = json.loads((made.folder / "citation.json").read_text())
    assert [record["id"] for record in records] == ["demo-2026Q1", "demo-2026Q1-H2", "demo-2026Q1-H3"]
    assert all(record["issued"] == {"date-parts": [[2026]]} for record in records)
    entries = (made.folder / "citation.bib").read_text()
    assert re.findall(r"@misc\{(.+),", entries) == [record["id"] for record in records]
    assert entries.count("{") == entries.count("}")


def test_texts_cannot_break_out_of_a_citation(study):
    work = work_of(study)
    text = 'A {team} & "others": \\evil\n- x'
    hostile = type(work)(**{name: getattr(work, name) for name in work.__slots__} | {"author": text, "licence": ""})
    name = next(line for line in cff(hostile).splitlines() if line.startswith("  - name: "))
    assert json.loads(name.removeprefix("  - name: ")) == text
    assert "license" not in cff(hostile)
    assert r"A \{team\} \& " in bibtex(hostile)
    assert r"\textbackslash{}evil - x" in bibtex(hostile)
    assert csl(hostile)[0]["author"] == [{"literal": text}]
    assert spdx("MITRE internal") == ""


def test_an_unchanged_publication_is_left_alone_and_a_damaged_one_made_again(study):
    out = study.folder / "publication" / "2026Q1"
    first = publish(study, out)
    assert not first.unchanged
    again = publish(study, out)
    assert again.unchanged
    assert again.files == first.files
    (out / "site/index.html").write_text("damaged")
    mended = publish(study, out)
    assert not mended.unchanged
    assert mended.files == first.files
    assert not publish(study, out, force=True).unchanged
    assert sorted(path.name for path in out.parent.iterdir()) == ["2026Q1"]


def test_the_same_report_gives_the_same_bytes(study, made):
    assert publish(study, study.folder / "elsewhere").files == made.files


def test_an_empty_row_of_the_statement_stops_a_publication_and_warns_of_in_a_draft(study):
    stated(study.folder, licence="", funder=" ")
    opened = Study.open(study.folder)
    assert opened.unstated == ("funder", "licence")
    with pytest.raises(StudyError, match="the methods statement has empty rows") as refused:
        publish(opened, study.folder / "out")
    assert "licence (Licence of the data)" in refused.value.got
    assert not (study.folder / "out").exists()
    drafted = publish(opened, study.folder / "out", draft=True)
    assert drafted.unstated == ("Funder", "Licence of the data")
    assert json.loads((study.folder / "out/publication.json").read_text())["draft"] is True
    assert "licenses" not in json.loads((study.folder / "out/data/datapackage.json").read_text())


def test_the_shipped_study_states_every_row():
    shipped = tomllib.loads((Path(__file__).resolve().parents[1] / "study.toml").read_text())["statement"]
    assert {key for key, text in shipped.items() if text.strip()} == set(STATEMENT)


def test_a_report_that_changed_since_its_run_is_refused_and_the_old_publication_stays(study):
    out = study.folder / "publication" / "2026Q1"
    before = publish(study, out).files
    page = study.reports / "claims.html"
    page.write_text(page.read_text() + "<!-- by hand -->")
    with pytest.raises(RunError, match="is not the one that the run made") as refused:
        publish(study, out, force=True)
    assert refused.value.where == "reports/2026Q1/claims.html"
    assert all(digest_of(out / name) == digest for name, digest in before.items())
    assert sorted(path.name for path in out.parent.iterdir()) == ["2026Q1"]
    (study.reports / "manifest.json").unlink()
    with pytest.raises(RunError, match="there is no whole report to publish"):
        publish(study, out)


def test_a_folder_with_other_files_is_never_replaced(study, tmp_path):
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.docx").write_text("mine")
    with pytest.raises(RunError, match="the folder holds something else"):
        publish(study, other)
    assert (other / "thesis.docx").read_text() == "mine"


def test_the_command_refuses_what_is_out_of_date(study, capsys):
    (study.folder / "notebooks").mkdir()
    (study.folder / "notebooks/chapters.toml").write_text(
        '[[chapter]]\nname = "a"\ncall = "toy:a"\ninputs = []\noutputs = ["{reports}/a.html"]\n'
    )
    assert main(["publish", "--study", str(study.folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["title"] == "what is published is not what a run would make now"
    assert "then publish it" in told["hint"]
    assert not (study.folder / "publication").exists()
