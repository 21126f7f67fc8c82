"""A reviewer's bundle: fixed bytes, nothing that may not go out, every change named, hostile archives refused, made again alike."""

import csv
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks.mutations import outcomes
from benchmarks.sameness import deliver
from fieldwork import essays
from fieldwork.bundle import code, contents, rebuilding, verify
from fieldwork.bundle.archive import pack, read_archive
from fieldwork.bundle.checking import verify_files
from fieldwork.bundle.differences import compare, compare_essay, reference_at
from fieldwork.bundle.tolerance import METHODS
from fieldwork.bundle.twin import twin
from fieldwork.cli import main
from fieldwork.errors import BundleError, EssayError, StudyError
from fieldwork.schema import ESTIMATES
from fieldwork.study import Study
from tests.hostile_files import OUTSIDE, far

ROOT = Path(__file__).resolve().parents[1]
WAVE = "2026Q1"
PARAMETERS = (
    'study: str = ".."  # study\nwave: str = ""  # wave\nout: str = ""  # staging\nseed: int = 0  # random seed\n'
)
# One chapter in place of fifteen: a table from the deliveries, a claim on it, a figure of it, a page.
CHAPTER = f"""
import csv, hashlib, io, json
from pathlib import Path
import pandas as pd
raw = Path(study) / "data/raw" / wave
answers = [row for path in sorted(raw.glob("*.csv")) for row in csv.DictReader(path.open(encoding="utf-8"))]
processed, reports = Path(out) / "data/processed" / wave, Path(out) / "reports" / wave
(reports / "figures").mkdir(parents=True, exist_ok=True)
columns = {ESTIMATES.names!r}
rows = []
for role in sorted({{row["role"] for row in answers}}):
    worth = [int(row["worth"]) for row in answers if row["role"] == role and row["worth"].isdigit()]
    held = dict.fromkeys(columns, "") | dict(wave=wave, chapter="04_toy", construct="adoption_gradient", measure="worth")
    rows.append(held | dict(statistic="role_mean", role=role, estimate=sum(worth) / len(worth) + seed, method="cluster_bootstrap"))
internal = pd.DataFrame(rows, columns=columns)
"""
SAVE = """
internal.to_parquet(processed / "04_toy.parquet", index=False)
shown = internal.assign(estimate=internal["estimate"].round(2))
shown.to_csv(reports / "estimates.csv", index=False, lineterminator="\\n")
shown[["role", "estimate"]].to_csv(reports / "figures/means.csv", index=False, lineterminator="\\n")
(reports / "figures/means.svg").write_text("<svg>" + " ".join(shown["estimate"].astype(str)) + "</svg>")
part = dict(construct="adoption_gradient", measure="worth", statistic="role_mean")
claim = dict(id="C1", text="Roles differ.", verdict="supported", estimate=float(shown["estimate"].max()), margin=0.5, parts=[part])
(reports / "claims.json").write_text(json.dumps([claim], indent=1))
(reports / "index.html").write_text("<p>C1: highest mean " + str(claim["estimate"]) + "</p>")
(processed / "01_clean.flow.json").write_text(json.dumps(dict(delivered=len(answers))))
pd.DataFrame(dict(resp_id=["rows of" + " respondents"])).to_parquet(processed / "01_clean.parquet")
"""
GRAPH = """
[[chapter]]
name = "04_toy"
inputs = ["{raw}", "{study}/study.toml", "{processed}/registered.json"]
outputs = ["{processed}/04_toy.parquet", "{processed}/01_clean.parquet", "{processed}/01_clean.flow.json",
    "{reports}/estimates.csv", "{reports}/claims.json", "{reports}/index.html", "{reports}/figures/"]
[[chapter]]
name = "05_halves"
parts = ["first", "second"]
inputs = ["{processed}/04_toy.parquet"]
outputs = ["{processed}/05_halves_{part}.json"]
"""
# A chapter in two parts: the graph gives each its own, which no command may.
HALF_PARAMETERS = (
    'study: str = ".."  # study\nwave: str = ""  # wave\nout: str = ""  # staging\npart: str = ""  # part\n'
)
HALF = """
from pathlib import Path
(Path(out) / "data/processed" / wave / f"05_halves_{part}.json").write_text(part)
"""


def notebook(*cells):
    """Return a notebook as JSON of cells: name, tags, source."""
    book = [
        {
            "cell_type": "code",
            "id": name,
            "metadata": {"tags": tags},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for name, tags, source in cells
    ]
    return json.dumps({"cells": book, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A blank study with two chapters of its own, one of them in two parts, run."""
    folder = tmp_path_factory.mktemp("ran") / "study"
    assert main(["new", str(folder)]) == 0
    deliver(folder, organisations=10)
    settings = folder / "study.toml"
    text = settings.read_text().replace('provenance = "delivered"', 'provenance = "simulated"')
    settings.write_text(text.replace("shareable = false", "shareable = true"))
    (folder / "notebooks").mkdir()
    (folder / "notebooks/chapters.toml").write_text(GRAPH)
    toy = notebook(("p", ["parameters"], PARAMETERS), ("m", [], CHAPTER), ("s", [], SAVE))
    (folder / "notebooks/04_toy.ipynb").write_text(toy)
    (folder / "notebooks/05_halves.ipynb").write_text(notebook(("p", ["parameters"], HALF_PARAMETERS), ("m", [], HALF)))
    assert main(["run", "--study", str(folder), "--seed", "7"]) == 0
    closed = folder / "reports" / WAVE / "restricted/o1"
    closed.mkdir(parents=True)
    (closed / "page.html").write_text("for one organisation alone")
    (folder / "own.key").write_text("ab" * 32)
    (folder / "instruments/own.key").write_text("ab" * 32)
    return folder


@pytest.fixture(scope="module", autouse=True)
def small_code():
    """The package's own files stand for the repository: two hundred files fewer to hash in every test."""
    kept = code.gather

    def some(without):
        found = kept(without)
        files = {
            name: content
            for name, content in found.files.items()
            if name.startswith(("src/fieldwork/bundle", "uv.lock"))
        }
        return code.Code(files, "commit", "0" * 40, "2026-01-02")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "gather", some)
        yield


@pytest.fixture(scope="module")
def packed(ran, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "review.zip"
    assert main(["bundle", "--study", str(ran), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def files(packed):
    return read_archive(packed)


def test_the_same_study_gives_the_same_bytes_under_any_clock_zone_and_name(ran, packed, tmp_path, monkeypatch):
    copy = Path(shutil.copytree(ran, tmp_path / "elsewhere"))
    os.utime(copy / "study.toml", (1, 1))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    assert main(["bundle", "--study", str(copy), "--out", str(tmp_path / "b.zip")]) == 0
    assert (tmp_path / "b.zip").read_bytes() == packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        members = archive.infolist()
    assert [member.filename for member in members] == sorted(member.filename for member in members)
    assert {(m.date_time, m.external_attr >> 16, m.compress_type, m.extra) for m in members} == {
        ((1980, 1, 1, 0, 0, 0), stat.S_IFREG | 0o644, zipfile.ZIP_STORED, b"")
    }


def test_it_holds_what_a_reviewer_needs(files):
    for name in (
        "README.md",
        "MANIFEST.sha256",
        "codecheck.yml",
        "ro-crate-metadata.json",
        "environment.json",
        "bundle.json",
    ):
        assert name in files
    for name in (
        "code/uv.lock",
        "study/study.toml",
        "study/instruments/claims.toml",
        f"study/data/raw/{WAVE}/answers.csv",
    ):
        assert name in files
    assert f"study/data/processed/{WAVE}/registered.json" in files
    assert f"published/{WAVE}/figures/means.svg" in files
    assert f"internal/{WAVE}/04_toy.parquet" in files
    about = json.loads(files["bundle.json"])
    assert (about["wave"], about["seed"], about["parameters"], about["raw"]) == (WAVE, 7, {"seed": "7"}, "raw")
    raw = hashlib.sha256(files[f"study/data/raw/{WAVE}/answers.csv"]).hexdigest()
    assert about["raw_sha256"][f"data/raw/{WAVE}/answers.csv"] == raw


def test_keys_restricted_pages_and_rows_of_respondents_stay_at_home(files):
    assert not [name for name in files if "restricted" in name or name.endswith(".key") or "01_clean.parquet" in name]
    assert not [name for name, content in files.items() if b"ab" * 32 in content or b"rows of respondents" in content]
    assert not [
        name
        for name, content in files.items()
        if os.uname().nodename.encode() in content and len(os.uname().nodename) > 5
    ]


def test_the_papers_map_every_figure_table_and_claim_to_its_cell(files):
    rows = list(csv.DictReader(io.StringIO(files["exhibits.csv"].decode())))
    by_name = {(row["kind"], row["name"]): row for row in rows}
    assert by_name["figure", "means"]["chapter"] == "04_toy"
    assert by_name["claim", "C1"]["notebook"] == "notebooks/04_toy.ipynb"
    assert by_name["table", "estimates"]["data"] == "estimates.csv"
    readme = files["README.md"].decode()
    assert "@" not in readme.replace("@id", "")
    headings = ["Overview", "Data availability and provenance statements", "Computational requirements", "Description of programs",
                "Instructions to replicators", "List of tables, figures, claims and numbers"]  # fmt: skip
    places = [readme.index(f"## {heading}") for heading in headings]
    assert places == sorted(places)
    assert "Root seed 7" in readme
    assert files["codecheck.yml"].decode().startswith("---\nversion: https://codecheck.org.uk/spec/config/1.0/\n")
    crate = json.loads(files["ro-crate-metadata.json"])["@graph"]
    described = {each["@id"]: each["sha256"] for each in crate if each["@type"] == "File"}
    lists = {"MANIFEST.sha256", "ro-crate-metadata.json"}
    assert described == {name: hashlib.sha256(files[name]).hexdigest() for name in files.keys() - lists}
    assert {part["@id"] for part in crate[1]["hasPart"]} == described.keys()
    assert crate[0]["conformsTo"]["@id"].endswith("/1.1")


ESSAY = """+++
title = "E"
author = "A team"
date = 2026-01-02
+++

Roles differ by {{ supported.C1.estimate }}, as {{ ref.means }} shows. {{ external.fact.marked }}

{{ figure.means }}

{{ estimate(construct="adoption_gradient", measure="worth", statistic="role_mean", role="lead").full }}
"""


def test_numbers_of_an_essay_lead_to_the_cell_behind_them_and_one_that_does_not_build_is_left_out(
    ran, tmp_path, capsys, monkeypatch
):
    folder = Path(shutil.copytree(ran, tmp_path / "study"))
    (folder / "essays").mkdir()
    (folder / "essays/e.md").write_text(ESSAY)
    (folder / "essays/README.md").write_text("no essay")

    def refuse(*_):
        raise EssayError("a number was typed by hand", where="essays/e.md, line 9")

    monkeypatch.setattr(essays, "build", refuse)
    assert main(["bundle", "--study", str(folder), "--out", str(tmp_path / "e.zip")]) == 0
    assert "goes without essays: a number was typed by hand; essays/e.md, line 9" in capsys.readouterr().err
    files = read_archive(tmp_path / "e.zip")
    assert "Left out" in files["README.md"].decode()
    assert "study/essays/e.md" in files
    rows = [row for row in csv.DictReader(io.StringIO(files["exhibits.csv"].decode())) if row["kind"] == "number"]
    assert [(row["name"], row["shown"].partition("(")[0], row["data"], row["chapter"]) for row in rows] == [
        ("e, line 7", "supported.C1.estimate", "claims.json", "04_toy"),
        ("e, line 7", "external.fact.marked", "instruments/claims.toml, [[external]]", ""),
        ("e, line 9", "figure.means", "figures/means.csv", "04_toy"),
        ("e, line 11", "estimate", "estimates.csv", "04_toy"),
    ]


def test_every_estimator_of_the_package_has_a_class_of_tolerance():
    named = set()
    for path in (ROOT / "src/fieldwork").rglob("*.py"):
        named |= {word for word in METHODS if f'"{word}"' in path.read_text() and path.name != "tolerance.py"}
    assert named == set(METHODS), "an estimator that the package no longer has"


def test_data_that_may_not_be_shared_are_replaced_by_a_twin(ran, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FIELDWORK_KEY", str(tmp_path / "own.key"))
    folder = Path(shutil.copytree(ran, tmp_path / "closed"))
    settings = folder / "study.toml"
    settings.write_text(
        settings.read_text().replace('"simulated"', '"delivered"').replace("shareable = true", "shareable = false")
    )
    assert main(["run", "--study", str(folder), "--seed", "7"]) == 0
    assert main(["bundle", "--study", str(folder), "--out", str(tmp_path / "t.zip")]) == 0
    assert "a simulated twin" in capsys.readouterr().out
    files = read_archive(tmp_path / "t.zip")
    real = (folder / f"data/raw/{WAVE}/answers.csv").read_bytes()
    drawn = files[f"study/data/raw/{WAVE}/twin.csv"]
    assert len(drawn.splitlines()) == len(real.splitlines())
    assert f"study/data/raw/{WAVE}/answers.csv" not in files
    ids = {row["resp_id"].encode() for row in csv.DictReader(io.StringIO(real.decode()))}
    assert not [
        name
        for name, content in files.items()
        if any(b'"' + each + b'"' in content or each + b"," in content for each in ids)
    ]
    assert not [name for name in files if name.startswith("internal/")]
    assert not [name for name in files if name.startswith("published/") and name.endswith(".ipynb")]
    about = json.loads(files["bundle.json"])
    assert about["raw_sha256"][f"data/raw/{WAVE}/answers.csv"] == hashlib.sha256(real).hexdigest()
    assert "may not be shared" in files["README.md"].decode()
    assert twin(Study.open(folder), 40) == drawn

    # Made again it cannot be from the twin alone; from the real files it can.
    again = ["reproduce", str(tmp_path / "t.zip"), "--environment", "present", "--workers", "1"]
    with using_this_package():
        assert main([*again, "--into", str(tmp_path / "a")]) == 2
        assert (tmp_path / "a/study/reports" / WAVE / "claims.json").is_file()
        assert "could not be checked" in capsys.readouterr().err
        (tmp_path / "others").mkdir()
        assert main([*again, "--raw", str(tmp_path / "others"), "--into", str(tmp_path / "b")]) == 2
        assert "not those that the results were published from" in capsys.readouterr().err
        assert main([*again, "--raw", str(folder / "data/raw"), "--into", str(tmp_path / "c")]) == 0
        assert "made again, and the same" in capsys.readouterr().out


def test_ids_that_need_pseudonyms_are_never_shared(ran, tmp_path):
    folder = Path(shutil.copytree(ran, tmp_path / "study"))
    settings = folder / "study.toml"
    settings.write_text(settings.read_text().replace('"simulated"', '"delivered"'))
    with pytest.raises(StudyError, match="ids need pseudonyms"):
        contents.bundle(Study.open(folder), tmp_path / "x.zip", folder / "notebooks", {}, {})


def test_results_that_are_not_current_are_not_bundled(ran, tmp_path, capsys):
    folder = Path(shutil.copytree(ran, tmp_path / "study"))
    with (folder / f"data/raw/{WAVE}/answers.csv").open("a") as file:
        file.write("r9999,o001,2026Q1,lead,1,5,5,none\n")
    assert main(["bundle", "--study", str(folder), "--out", str(tmp_path / "x.zip")]) == 1
    assert "not what a run would make now" in capsys.readouterr().err
    assert not (tmp_path / "x.zip").exists()


# Code


def test_code_leaves_out_data_of_every_study_and_keys(tmp_path):
    for name, text in {
        "study.toml": '[study]\nprovenance = "simulated"\n',
        "data/raw/w/a.csv": "simulated",
        "other/study.toml": '[study]\nprovenance = "delivered"\n',
        "other/data/raw/w/a.csv": "people",
        "other/reports/w/index.html": "made",
        "odd/study.toml": "no TOML [",
        "odd/data/a.csv": "people",
        "src/a.py": "code",
        "my.key": "secret",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    names = code._walked(tmp_path)
    out = code._left_out(tmp_path, names, ())
    kept = {name for name in names if code._is_code(name, out)}
    assert kept == {"study.toml", "data/raw/w/a.csv", "other/study.toml", "odd/study.toml", "src/a.py"}


def test_a_changed_repository_is_marked(tmp_path, monkeypatch):
    package = tmp_path / "src/fieldwork"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(code.fieldwork, "__file__", str(package / "__init__.py"))
    assert (code.gather(()).kind, code.gather(()).commit) == ("tree", "")

    def git(*words):
        own = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", tmp_path, *own, *words], check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    found = code.gather(())
    assert (found.kind, found.commit) == ("commit", git("rev-parse", "HEAD").strip())
    assert set(found.files) == {"pyproject.toml", "src/fieldwork/__init__.py"}
    (package / "__init__.py").write_text("changed")
    (package / "new.py").write_text("new")
    found = code.gather(())
    assert (found.kind, found.changed) == ("changed", ("src/fieldwork/__init__.py", "src/fieldwork/new.py"))
    assert found.files["src/fieldwork/__init__.py"] == b"changed"
    assert "2 files changed since" in found.sentence


# Verify


def test_a_whole_bundle_is_the_same_packed_and_unpacked(packed, files, tmp_path, capsys):
    assert main(["verify", str(packed)]) == 0
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert main(["verify", str(tmp_path), "--json"]) == 0
    done = subprocess.run(["sha256sum", "--check", "--quiet", "MANIFEST.sha256"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    (tmp_path / "study/study.toml").unlink()
    (tmp_path / "new.txt").write_text("x")
    capsys.readouterr()
    assert main(["verify", str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(each["kind"], each["file"]) for each in told["differences"]] == [
        ("missing", "study/study.toml"),
        ("extra", "new.txt"),
    ]


def test_every_random_change_is_found_and_named(files):
    found = outcomes(files, 42, seed=20260101)
    assert len({each.kind for each in found}) == 7
    assert [each for each in found if not (each.found and each.named)] == []


def test_a_changed_cell_has_both_values_their_difference_and_the_tolerance(files):
    name = f"published/{WAVE}/estimates.csv"
    before = files[name].decode()
    rows = list(csv.DictReader(io.StringIO(before)))
    changed = before.replace(f",{rows[0]['estimate']},", ",99.0,", 1)
    (told,) = verify_files(files | {name: changed.encode()}).differences
    assert (told.kind, told.expected, told.found, told.tolerance) == ("cell", rows[0]["estimate"], "99.0", 0.0)
    assert told.difference == pytest.approx(99.0 - float(rows[0]["estimate"]))
    assert "role=lead" in told.place
    assert told.place.endswith("column estimate")


def test_of_a_figure_the_data_behind_it_are_told(files):
    drawn, data = (f"published/{WAVE}/figures/means{suffix}" for suffix in (".svg", ".csv"))
    (told,) = verify_files(files | {drawn: b"<svg/>"}).differences
    assert (told.kind, told.place) == ("figure", f"the data behind it ({data}) are the same: the drawing changed")
    both = verify_files(files | {drawn: b"<svg/>", data: files[data].replace(b"lead", b"head")}).differences
    assert [each.kind for each in both] == ["cell", "figure"]
    assert "changed too" in both[1].place


def test_a_change_of_the_list_itself_is_not_told_of_the_files(files):
    changed = files["MANIFEST.sha256"].replace(b"a", b"b", 1)
    (told,) = verify_files(files | {"MANIFEST.sha256": changed}).differences
    assert (told.file, told.kind) == ("MANIFEST.sha256", "changed")
    assert told.place.startswith("the line of ")
    cut = files["MANIFEST.sha256"].split(b"\n", 1)[1]
    (told,) = verify_files(files | {"MANIFEST.sha256": cut}).differences
    assert told.place.endswith("is missing or damaged")


def test_an_essay_names_the_claim_whose_number_changed():
    source = 'Roles differ. "{{ supported.C1.text }}" holds by {{ supported.C1.estimate }}, and costs rose by {{ supported.C2.estimate }}.'
    line = "Roles differ. “They do” holds by 0.68 points, and costs rose by 0.35 points."
    (told,) = compare_essay("essays/e.md", line.encode(), line.replace("0.35", "0.36").encode(), source)
    assert (told.kind, told.place) == ("claim", "line 1, claim C2 (supported.C2.estimate)")
    assert ("0.35" in told.expected, "0.36" in told.found) == (True, True)
    assert reference_at(source, line, line.index("0.68") + 2) == "claim C1 (supported.C1.estimate)"


def test_estimates_before_rounding_may_differ_by_the_class_of_their_estimator():
    head = "measure,method,estimate\n"

    def told(method, one, other):
        return compare(
            "e.csv", f"{head}m,{method},{one}\n".encode(), f"{head}m,{method},{other}\n".encode(), exact=False
        )

    assert told("clmm", "0.5", "0.5000005") == told("cluster_bootstrap", "0.5", "0.5000000005") == []
    (apart,) = told("cluster_bootstrap", "0.5", "0.5000005")
    assert (apart.kind, apart.tolerance) == ("cell", 1e-9)
    assert told("clmm", "0.5", "0.50001")[0].tolerance == 1e-6
    assert compare("e.csv", b"a\n0.5\n", b"a\n0.50\n")[0].kind == "cell"  # published: another text is another cell


def test_rows_that_came_or_went_are_told_as_rows():
    one, other = b"a,b\n1,x\n2,y\n3,z\n", b"a,b\n1,x\n3,z\n"
    assert [(d.kind, d.place, d.expected, d.found) for d in compare("t.csv", one, other)] == [
        ("row", "row 2", "2,y", "")
    ]
    assert [(d.kind, d.found) for d in compare("t.csv", other, one)] == [("row", "2,y")]
    assert compare("t.csv", one, b"a,c\n1,x\n2,y\n3,z\n")[0].kind == "column"
    assert compare("t.csv", one, one + b"\n")[0].kind in {"changed", "row"}


def test_a_report_is_held_against_its_manifest(ran, tmp_path, capsys):
    folder = Path(shutil.copytree(ran, tmp_path / "study"))
    assert main(["verify", str(folder)]) == 0
    assert main(["verify", str(folder / "reports" / WAVE)]) == 0
    (folder / f"reports/{WAVE}/index.html").write_text("other")
    capsys.readouterr()
    assert main(["verify", str(folder)]) == 1
    assert f"changed: reports/{WAVE}/index.html" in capsys.readouterr().out
    assert main(["verify", str(tmp_path)]) == 2
    assert main(["verify", str(tmp_path / "none.zip")]) == 2
    (folder / "study.toml").write_text("no TOML [")
    assert main(["verify", str(folder)]) == 2


# Archives of strangers


def hostile(path, *members, **changes):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            member = zipfile.ZipInfo(name)
            for field, value in changes.items():
                setattr(member, field, value)
            archive.writestr(member, content)
    return path


NAMES = {
    "../up.txt": "leaves the folder",
    "a/../../up.txt": "leaves the folder",
    "/etc/passwd": "is absolute",
    "C:/x.txt": "is absolute",
    "a\\..\\b": "holds a sign",
    "a//b": "has an empty part",
    "a/./b": "has an empty part",
    "a\nb": "holds a sign",
    "a\u202eb": "holds a sign",
    "con.txt": "name of a device",
    "a./b": "cannot be written",
    "x" * 500: "is too long",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(BundleError, match=NAMES[name]):
        verify(hostile(tmp_path / "a.zip", ("MANIFEST.sha256", b""), (name, b"x")))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_links_devices_and_encrypted_members_are_refused(tmp_path):
    for kind, told in ((stat.S_IFLNK, "a link"), (stat.S_IFCHR, "a device"), (stat.S_IFIFO, "a device")):
        made = hostile(tmp_path / "a.zip", ("MANIFEST.sha256", b"/etc/passwd"), external_attr=(kind | 0o777) << 16)
        with pytest.raises(BundleError, match=told):
            verify(made)
    packed = bytearray(hostile(tmp_path / "a.zip", ("MANIFEST.sha256", b"x")).read_bytes())
    packed[packed.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(packed)
    with pytest.raises(BundleError, match="encrypted"):
        verify(tmp_path / "a.zip")
    (tmp_path / "u").mkdir()
    (tmp_path / "u/MANIFEST.sha256").symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match="link"):
        verify(tmp_path / "u")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_fall_together_are_refused(tmp_path):
    for pair, told in {
        ("a.txt", "a.txt"): "stands twice",
        ("a.txt", "A.TXT"): "cases are not told apart",
        ("stra\u00dfe", "strasse"): "cases are not told apart",
        ("caf\u00e9", "cafe\u0301"): "cases are not told apart",
        ("a", "a/b"): "a file and a folder at once",
    }.items():
        made = hostile(tmp_path / "a.zip", ("MANIFEST.sha256", b""), *((name, b"x") for name in pair))
        with pytest.raises(BundleError, match=told):
            verify(made)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MANIFEST.sha256", bytes(64 << 20))
    with pytest.raises(BundleError, match="unpacks to more"):
        verify(tmp_path / "a.zip")
    # One that lies about its size: the directory says 10 bytes, the stream holds a thousand.
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MANIFEST.sha256", bytes(1000))
    packed = bytearray((tmp_path / "b.zip").read_bytes())
    at = packed.index(b"PK\1\2")
    packed[at + 24 : at + 28] = struct.pack("<I", 10)
    (tmp_path / "b.zip").write_bytes(packed)
    with pytest.raises(BundleError, match="more than the archive says"):
        verify(tmp_path / "b.zip")


def test_members_that_share_bytes_and_damaged_directories_are_refused(files, tmp_path):
    packed = pack(files)
    (tmp_path / "a.zip").write_bytes(packed[:-30])
    with pytest.raises(BundleError, match="cannot be read"):
        verify(tmp_path / "a.zip")
    (tmp_path / "b.zip").write_bytes(b"no archive")
    assert main(["verify", str(tmp_path / "b.zip")]) == 2
    shared = bytearray(pack({"MANIFEST.sha256": b"", "a": b"1" * 50, "b": b"2" * 50}))
    last = shared.rindex(b"PK\1\2")
    offset = shared.index(b"PK\3\4", shared.index(b"PK\3\4") + 4)
    shared[last + 42 : last + 46] = struct.pack("<I", offset)
    (tmp_path / "c.zip").write_bytes(shared)
    with pytest.raises(BundleError, match="share their bytes"):
        verify(tmp_path / "c.zip")


@pytest.mark.parametrize("said", OUTSIDE, ids=str)
def test_a_member_outside_the_file_is_told_and_not_read(tmp_path, said):
    (tmp_path / "a.zip").write_bytes(far(pack({"MANIFEST.sha256": b"x", "a": b"1"}), "MANIFEST.sha256", **said))
    with pytest.raises(BundleError, match="lies outside the file"):
        verify(tmp_path / "a.zip")


# Made again


class using_this_package:  # noqa: N801 - a context
    """Rebuild with the repository's code: the bundle of these tests holds a part of it only."""

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(rebuilding, "_variables", lambda: dict(os.environ))
        kept = rebuilding._Program
        self.patch.setattr(rebuilding, "_Program", lambda python, _: kept(python, dict(os.environ)))

    def __exit__(self, *error):
        self.patch.undo()


def test_results_are_made_again_and_are_the_same(packed, tmp_path, capsys):
    with using_this_package():
        assert main(["reproduce", str(packed), "--environment", "present", "--into", str(tmp_path / "again")]) == 0
    told = capsys.readouterr().out
    assert "environment: the present one, not installed from the lock" in told
    assert "made again, and the same" in told
    assert "1 tables before rounding compared" in told


def test_results_that_come_out_otherwise_are_told(files, tmp_path, capsys):
    """A bundle whose published numbers are not those of its data: whole by its list, and different when made again."""
    name = f"published/{WAVE}/estimates.csv"
    changed = dict(files)
    for place in (name, f"record/{name}"):
        changed[place] = (
            files[place].replace(b"adoption_gradient", b"adoption_gradient", 1).replace(b"lead,,,,,", b"lead,,,,x,", 1)
        )
    claims = f"published/{WAVE}/claims.json"
    for place in (claims, f"record/{claims}"):
        changed[place] = files[place].replace(b"supported", b"contradicted")
    changed["MANIFEST.sha256"] = contents.manifest_lines(changed)
    (tmp_path / "c.zip").write_bytes(pack(changed))
    with using_this_package():
        code_of = main(
            ["reproduce", str(tmp_path / "c.zip"), "--environment", "present", "--into", str(tmp_path / "again")]
        )
    told = capsys.readouterr().out
    assert code_of == 1
    assert "claim: claims.json, claim C1, C1.verdict: contradicted → supported" in told


@pytest.mark.parametrize(
    ("can", "said"),
    [
        ('case "$*" in *--offline*) exit 0;; esac; exit 1', ""),
        ('case "$*" in *--offline*) exit 1;; esac; exit 0', ""),
        ('echo "neither: $*" >&2; exit 1', "neither: sync --frozen"),
    ],
    ids=["from the cache", "from the network", "from neither"],
)
def test_the_lock_is_installed_from_a_cache_without_a_network(tmp_path, monkeypatch, can, said):
    program = tmp_path / "uv"
    program.write_text(f"#!/bin/sh\n{can}\n")
    program.chmod(0o755)
    monkeypatch.setattr(rebuilding, "_uv", lambda: str(program))
    (tmp_path / "uv.lock").write_text("")
    assert rebuilding._install(tmp_path, lambda _: None).startswith(said)
    assert bool(rebuilding._install(tmp_path, lambda _: None)) == bool(said)


def test_without_the_lock_the_present_environment_serves_only_if_it_is_the_locked_one(tmp_path, monkeypatch):
    monkeypatch.setattr(rebuilding, "_install", lambda *_: "no network")
    (tmp_path / "code").mkdir()
    numpy = version("numpy")
    lock = '[[package]]\nname = "numpy"\nversion = "{}"\n\n[[package]]\nname = "of-another-system"\nversion = "1"\n'
    (tmp_path / "code/uv.lock").write_text(lock.format(numpy))
    told = []
    program, said = rebuilding._software(tmp_path, "auto", told.append)
    assert (program.python, program.variables["PYTHONPATH"]) == (sys.executable, str(tmp_path / "code/src"))
    assert said.endswith("it holds the versions that the lock names")
    assert told == ["the lock cannot be installed here: no network"]
    with pytest.raises(BundleError, match="cannot be installed here"):
        rebuilding._software(tmp_path, "lock", told.append)
    (tmp_path / "code/uv.lock").write_text(lock.format("0.1"))
    with pytest.raises(BundleError, match=r"(?s)what is installed is other software.*numpy .* \(locked 0\.1\)"):
        rebuilding._software(tmp_path, "auto", told.append)
    assert (
        f"other than the lock: numpy {numpy} (locked 0.1)" in rebuilding._software(tmp_path, "present", told.append)[1]
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b'"data/raw/2026Q1/answers.csv"', b'"../../../up.csv"', "leaves the folder"),
        (b'"wave": "2026Q1"', b'"wave": "--force"', "does not say how"),
        (b'"format": "fieldwork bundle 1"', b'"format": "fieldwork bundle 9"', "does not say how"),
        (b'"parameters"', b'"parameter"', "does not say how"),
    ],
)
def test_a_bundle_that_says_other_things_of_itself_is_not_unpacked(files, tmp_path, old, new, told):
    changed = dict(files) | {"bundle.json": files["bundle.json"].replace(old, new)}
    assert changed["bundle.json"] != files["bundle.json"]
    changed["MANIFEST.sha256"] = contents.manifest_lines(changed)
    (tmp_path / "c.zip").write_bytes(pack(changed))
    with pytest.raises(BundleError, match=told):
        rebuilding.reproduce(tmp_path / "c.zip", into=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_damaged_bundle_is_not_run(files, tmp_path, capsys):
    (tmp_path / "c.zip").write_bytes(pack(files | {"study/study.toml": b"[study]"}))
    assert main(["reproduce", str(tmp_path / "c.zip"), "--environment", "present"]) == 2
    assert "is not the one that was made" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.study
def test_a_blank_study_runs_to_its_page_and_is_made_again_from_its_lock(tmp_path):
    """The whole way of another survey, in processes of their own: new, deliver, run, bundle, verify, reproduce."""
    command = Path(sys.executable).parent / "fieldwork"

    def run(*words):
        done = subprocess.run([command, *map(str, words)], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("new", "survey")
    deliver(tmp_path / "survey")
    settings = tmp_path / "survey/study.toml"
    text = settings.read_text().replace("shareable = false", "shareable = true").replace("# pseudonyms", "pseudonyms")
    settings.write_text(text)
    assert run("run", "--study", "survey", "--replicates", 99).strip().endswith("reports/2026Q1/index.html")
    claims = json.loads((tmp_path / "survey/reports/2026Q1/claims.json").read_text())
    assert {claim["verdict"] for claim in claims} <= {"supported", "contradicted", "inconclusive"}
    run("bundle", "--study", "survey", "--out", "review.zip")
    assert "the same as when it was made" in run("verify", "review.zip")
    assert "made again, and the same" in run("reproduce", "review.zip")
