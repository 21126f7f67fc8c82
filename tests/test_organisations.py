"""`fieldwork organisations`: who gets a report, that it is closed and linked from nowhere, and what happens when things change."""

import contextlib
import csv
import io
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from fieldwork.cli import main
from fieldwork.errors import RunError, StudyError, UsageError
from fieldwork.intake.pseudonyms import key_of, pseudonym
from fieldwork.organisations import report, standings, steps_of
from fieldwork.run import plan
from fieldwork.run.store import Store
from fieldwork.study import Study
from tests.drawn_study import untold
from tests.quick import shorten

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
WAVE = "2026Q1"
pytestmark = pytest.mark.study


def fieldwork(*words, study):
    """Give the command in this process: its notebooks are forked from one server, which each process would start anew."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([*map(str, words), "--study", str(study)])
        except SystemExit as end:
            code = end.code
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def delivery(folder):
    return folder / "data" / "raw" / WAVE / "responses.csv"


def answered(folder):
    with delivery(folder).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def deliver(folder, rows):
    with delivery(folder).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def name_of(folder, org_id):
    """The name that an organisation of the delivery has in the results."""
    return pseudonym(key_of(Study.open(folder)), "o", org_id)


@pytest.fixture(scope="module", autouse=True)
def key(tmp_path_factory):
    """One key of pseudonyms for every run of these tests: replicates go by the names of organisations."""
    path = tmp_path_factory.mktemp("key") / "a.key"
    path.write_text("ab" * 32 + "\n", encoding="ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELDWORK_KEY", str(path))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two dozen organisations of a real delivery, run to the published estimates: four said yes with one voice."""
    folder = tmp_path_factory.mktemp("organisations") / "study"
    careful = {"speeders": 0.0, "straight_liners": 0.0, "inattentive": 0.0}
    untold("role_divergence", folder, organisations=24, seed=8, settings=careful)
    shorten(folder, replicates=40)
    settings = folder / "study.toml"
    simulated = settings.read_text(encoding="utf-8")
    assert simulated.count('provenance = "simulated"') == 1
    settings.write_text(simulated.replace('provenance = "simulated"', 'provenance = "delivered"'), encoding="utf-8")
    rows = answered(folder)
    sizes = pd.Series([row["org_id"] for row in rows]).value_counts()
    willing = sorted(sizes[sizes >= 3].index)[:4]
    for row in rows:
        row["consent_org"] = "1" if row["org_id"] in willing else ""
        row["comments"] = "SECRET remark"
    deliver(folder, rows)
    run = fieldwork("run", "--only", "09_claims", study=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder, [name_of(folder, org_id) for org_id in willing]


@pytest.fixture
def study(finished, tmp_path):
    folder = Path(shutil.copytree(finished[0], tmp_path / "study"))
    return folder, finished[1]


@pytest.fixture(scope="module")
def reported(finished, tmp_path_factory):
    folder = Path(shutil.copytree(finished[0], tmp_path_factory.mktemp("reported") / "study"))
    return folder, finished[1], fieldwork("organisations", "--workers", 2, study=folder)


def closed(folder):
    return folder / "reports" / WAVE / "restricted"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_each_willing_organisation_has_its_own_report(reported):
    folder, willing, done = reported
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" done in ") == 4
    many = len({row["org_id"] for row in answered(folder)})
    told = f"4 reports of {many} organisations (4 run, 0 current, 0 failed); {many - 4} lack consent or informants"
    assert told in done.stdout
    assert done.stdout.strip().splitlines()[-1].endswith(f"reports/{WAVE}/restricted")
    for name in willing:
        own = closed(folder) / name
        assert sorted(path.name for path in own.iterdir()) == ["diagnostic.json", "index.html", "organisation.ipynb"]
        record = json.loads((own / "diagnostic.json").read_text(encoding="utf-8"))
        assert (record["organisation"], record["lacking"]) == (name, "")
        assert len(record["positions"]) == record["informants"] >= 3
        page = (own / "index.html").read_text(encoding="utf-8")
        assert "Not for publication" in page
        assert record["answers"][1]["Question"] in page
        notebook = json.loads((own / "organisation.ipynb").read_text(encoding="utf-8"))
        assert notebook["metadata"]["fieldwork"]["parameters"] == {"organisation": name, "wave": WAVE}


def test_every_other_organisation_has_a_page_that_says_what_is_missing(reported):
    folder, willing, _ = reported
    others = {path.name for path in closed(folder).iterdir() if path.is_dir()} - set(willing)
    assert others == {name_of(folder, row["org_id"]) for row in answered(folder)} - set(willing)
    for name in others:
        assert [path.name for path in (closed(folder) / name).iterdir()] == ["index.html"]
        page = (closed(folder) / name / "index.html").read_text(encoding="utf-8")
        assert "No report can be made of this organisation: consent of every informant is needed; 0 of" in page


def test_reports_are_closed_to_others_on_the_machine(reported):
    folder, _, _ = reported
    for path in [closed(folder), *closed(folder).rglob("*")]:
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    kept = {
        path.name
        for path in (folder / ".fieldwork" / "objects").rglob("*")
        if path.is_file() and mode(path) & 0o077 == 0
    }
    assert len(kept) >= 8  # notebook and record of four organisations


@pytest.fixture(scope="module")
def public(reported):
    """The reported study, run to its pages."""
    folder, willing, _ = reported
    done = fieldwork("run", study=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, willing


def test_a_real_delivery_replaces_the_simulated_one_without_code(public):
    pages = list((public[0] / "reports" / WAVE).rglob("*.html"))
    assert len(pages) > 8
    for page in pages:
        assert "Simulated data" not in page.read_text(encoding="utf-8"), page


def test_nothing_public_links_to_them_or_names_them(public):
    folder, willing = public
    reports = folder / "reports" / WAVE
    public = [path for path in reports.rglob("*") if path.is_file() and closed(folder) not in path.parents]
    assert len(public) > 20
    for path in public:
        content = path.read_bytes()
        assert b"restricted/o" not in content, path
        assert b"SECRET" not in content, path
        assert not any(name.encode() in content for name in willing), path
    manifest = json.loads((reports / "manifest.json").read_text(encoding="utf-8"))
    assert not any("organisation" in chapter["name"] for chapter in manifest["chapters"])


def test_no_page_leads_anywhere_or_holds_a_remark(reported):
    folder, willing, _ = reported
    for path in closed(folder).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        links = [part.split('"')[0] for part in text.split('href="')[1:]]
        assert set(links) <= {"#main"}, path
        assert "SECRET" not in text
        assert "<summary>Code</summary>" not in text
        assert not any(name in text for name in willing if name != path.parent.name)
    for path in [*closed(folder).rglob("*.ipynb"), *closed(folder).rglob("*.json")]:
        assert "SECRET" not in path.read_text(encoding="utf-8")


def test_what_is_current_is_not_run_again_and_the_bytes_stay(reported):
    folder, willing, _ = reported
    before = contents(folder)
    done = fieldwork("organisations", study=folder)
    assert "(0 run, 4 current, 0 failed)" in done.stdout
    forced = fieldwork("organisations", "--only", willing[0], "--force", "--json", study=folder)
    told = json.loads(forced.stdout)
    assert [row["organisation"] for row in told["organisations"]] == [willing[0]]
    assert told["organisations"][0]["page"] == f"reports/{WAVE}/restricted/{willing[0]}/index.html"
    assert told["failed"] == []
    assert contents(folder) == before


HEAVY = ("numpy", "pandas", "pyarrow", "jinja2", "nbformat", "nbconvert", "papermill", "fontTools", "scipy", "asyncio")
LIGHT = """
import sys
from fieldwork.cli import main
code = main(["organisations", "--study", sys.argv[1]])
print(*sorted(set(sys.argv[2].split()) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def contents(folder):
    return {path: path.read_bytes() for path in closed(folder).rglob("*") if path.is_file()}


def test_where_nothing_changed_nothing_runs_is_written_or_loaded_whatever_the_time_stamps(reported):
    folder, _, _ = reported
    assert fieldwork("organisations", study=folder).returncode == 0
    before, journal = contents(folder), (folder / ".fieldwork" / "journal.jsonl").read_bytes()
    stamps = {path: path.stat().st_ino for path in before}
    for path in [*before, *(folder / "instruments").iterdir(), folder / "study.toml"]:
        os.utime(path)
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(folder), " ".join(HEAVY)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "(0 run, 4 current, 0 failed)" in done.stdout
    assert done.stderr.split() == []
    assert contents(folder) == before
    assert {path: path.stat().st_ino for path in before} == stamps
    assert (folder / ".fieldwork" / "journal.jsonl").read_bytes() == journal


def test_what_is_damaged_or_gone_is_put_back_without_a_notebook(reported):
    folder, willing, _ = reported
    before = contents(folder)
    others = sorted({path.name for path in closed(folder).iterdir() if path.is_dir()} - set(willing))
    (closed(folder) / willing[0] / "organisation.ipynb").write_text("{}")
    (closed(folder) / willing[1] / "index.html").write_text("another page")
    (closed(folder) / willing[2] / "index.html").unlink()
    shutil.rmtree(closed(folder) / willing[3])
    (closed(folder) / others[0] / "index.html").write_text("no")
    shutil.rmtree(closed(folder) / others[1])
    (closed(folder) / ".organisations.json").write_text("[]")
    (closed(folder) / others[2]).chmod(0o755)
    done = fieldwork("organisations", study=folder)
    assert done.returncode == 0, done.stderr
    assert "(0 run, 4 current, 0 failed)" in done.stdout
    assert contents(folder) == before
    assert {mode(path) for path in closed(folder).rglob("*")} == {0o700, 0o600}


@pytest.fixture(scope="module")
def judged(reported, tmp_path_factory):
    """A copy of the reported study, its own notebooks and the package; and a look at one report and the list of who consented."""
    place = tmp_path_factory.mktemp("judged")
    folder = Path(shutil.copytree(reported[0], place / "study"))
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", dirs_exist_ok=True)
    package = shutil.copytree(ROOT / "src/fieldwork", place / "fieldwork", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "uv.lock", place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_PACKAGE", Path(package))

        def look():
            judge = steps_of(Study.open(folder), folder / "notebooks", [reported[1][0]], Store(folder))
            return judge.judge(judge.pipeline.steps[0])

        yield folder, Path(package), look


def altered(path, old, new):
    text = path.read_bytes()
    assert text.count(old) >= 1, path
    path.write_bytes(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("place", "old", "new", "state", "why"),
    [
        ("notebooks/organisation.ipynb", b"report.answers, title", b"report.answers,  title", "stale", "cell 8 changed"),
        ("notebooks/organisation.ipynb", b"Four questions, and one more", b"Four questions", "restorable", "its text"),
        (f"instruments/{WAVE}.toml", b"label = ", b"label  = ", "stale", f"input instruments/{WAVE}.toml changed"),
        ("study.toml", b"seed = ", b"seed = 1", "stale", "input study.toml changed"),
        (f"data/processed/{WAVE}/01_clean.parquet", b"PAR1", b"PAR2", "stale", f"{WAVE}/01_clean.parquet changed"),
        (f"reports/{WAVE}/estimates.parquet", b"PAR1", b"PAR2", "stale", f"{WAVE}/estimates.parquet changed"),
        ("fieldwork/constructs/diagnostic.py", b"\ndef ", b"\nNEW = 1\ndef ", "stale", "package fieldwork.constructs.diagnostic"),
        ("fieldwork/constructs/diagnostic.py", b"\ndef ", b"\n# reworded\ndef ", "current", ""),
        ("fieldwork/site/templates/restricted.html", b"Restricted.", b"Closed.", "restorable", "the form of its page"),
        ("fieldwork/site/templates/style.css", b"{", b" {", "restorable", "the form of its page"),
    ],
)  # fmt: skip
def test_whatever_a_report_is_made_of_is_noticed(judged, place, old, new, state, why):
    folder, package, look = judged
    assert look().state == "current"
    path = package.parent / place if place.startswith("fieldwork/") else folder / place
    before = path.read_bytes()
    try:
        altered(path, old, new)
        unit = look()
    finally:
        path.write_bytes(before)
    assert unit.state == state
    assert why in " ".join(unit.reasons)


def test_another_form_of_the_page_is_made_without_a_notebook(judged, monkeypatch):
    """The page is made of the executed notebook, which stays as it is to the byte."""
    folder, package, look = judged
    before = contents(folder)
    page = Path(look().step.view_page)
    monkeypatch.setattr("fieldwork.site.restricted.report_page", lambda *_: "another form")
    altered(package / "site/restricted.py", b"without_code=True", b"without_code=bool(1)")
    made = report(Study.open(folder), folder / "notebooks", Store(folder), only=[page.parent.name])
    assert (made.result.ran, len(made.result.restored)) == ((), 1)
    assert contents(folder) == {**before, folder / page: b"another form"}


def test_a_withdrawn_consent_takes_the_report_away(reported, tmp_path):
    folder, willing = Path(shutil.copytree(reported[0], tmp_path / "study")), reported[1]
    assert all((closed(folder) / name / "organisation.ipynb").is_file() for name in willing[:2])
    objects = {path for path in (folder / ".fieldwork" / "objects").rglob("*") if path.is_file()}
    rows = answered(folder)
    next(row for row in rows if name_of(folder, row["org_id"]) == willing[0])["consent_org"] = "0"
    deliver(folder, rows)
    assert fieldwork("run", "--only", "01_clean", study=folder).returncode == 0
    done = fieldwork("organisations", "--only", *willing[:2], study=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{willing[0]} removed" in done.stdout
    assert [path.name for path in (closed(folder) / willing[0]).iterdir()] == ["index.html"]
    assert "consent of every informant is needed" in (closed(folder) / willing[0] / "index.html").read_text(
        encoding="utf-8"
    )
    assert (closed(folder) / willing[1] / "organisation.ipynb").is_file()
    gone = {path for path in objects if not path.exists()}
    assert len(gone) == 2  # its notebook and its record


def test_a_wave_without_published_estimates_is_refused(study):
    folder, _ = study
    (folder / "reports" / WAVE / "estimates.parquet").unlink()
    done = fieldwork("organisations", study=folder)
    assert done.returncode == 1
    assert "RunError: the wave's published estimates are not there" in done.stderr
    assert "fieldwork run --wave 2026Q1" in done.stderr
    assert not closed(folder).exists()


def test_words_that_are_off_are_refused_with_the_nearest(study):
    folder, willing = study
    done = fieldwork("organisations", "--only", f"{willing[0]}x", study=folder)
    assert done.returncode == 2
    assert f"did you mean {willing[0]}?" in done.stderr
    assert fieldwork("organisations", "--workers", "0", study=folder).returncode == 2


def test_a_pseudonym_that_leads_out_of_the_folder_is_refused(study):
    folder, willing = study
    table = folder / "data" / "processed" / WAVE / "01_clean.parquet"
    responses = pd.read_parquet(table)
    responses.loc[responses["org_id"] == willing[0], "org_id"] = "../../../escape"
    responses.to_parquet(table)
    with pytest.raises(StudyError, match="cannot be names of folders") as told:
        report(Study.open(folder), ROOT / "notebooks", Store(folder))
    assert told.value.got == "'../../../escape'"
    assert not list(folder.parent.rglob("escape"))
    assert not closed(folder).exists()


def test_a_report_has_a_folder_of_its_own_whatever_its_name(study):
    for name in ("../escape", "a/b", ".."):
        with pytest.raises(RunError, match="a step's folder is none of its own"):
            steps_of(Study.open(study[0]), ROOT / "notebooks", [name], Store(study[0]))


def test_a_failing_notebook_is_told_and_the_others_go_on(study):
    folder, willing = study
    notebooks = folder / "notebooks"
    shutil.copytree(ROOT / "notebooks", notebooks)
    path = notebooks / "organisation.ipynb"
    content = json.loads(path.read_text(encoding="utf-8"))
    cell = next(c for c in content["cells"] if c["id"] == "org-answers")
    cell["source"] = [f'assert organisation != "{willing[0]}"\n', *cell["source"]]
    path.write_text(json.dumps(content), encoding="utf-8")
    done = fieldwork("organisations", "--only", *willing[:2], study=folder)
    assert done.returncode == 1
    assert "(1 run, 0 current, 1 failed)" in done.stdout
    assert "chapter organisation-" in done.stderr
    assert not (closed(folder) / willing[0] / "organisation.ipynb").exists()
    assert (closed(folder) / willing[1] / "index.html").is_file()
    failed = list((folder / ".fieldwork" / "failed").rglob("*.ipynb"))
    assert len(failed) == 1
    assert mode(failed[0]) == 0o600


def test_the_listing_needs_a_cleaned_wave(tmp_path):
    untold("null", tmp_path / "s", organisations=5, seed=1)
    with pytest.raises(RunError, match=r"the wave has not been cleaned") as told:
        standings(Study.open(tmp_path / "s"), Store(tmp_path / "s"))
    assert told.value.hint == f"fieldwork run --wave {WAVE}"


def test_a_name_that_nobody_has_is_refused(study):
    with pytest.raises(UsageError, match="no organisation of the wave goes by this name"):
        standings(Study.open(study[0]), Store(study[0]), ["nobody"])


def test_by_hand_the_notebook_closes_its_folder_too(study, tmp_path):
    folder, willing = study
    done = subprocess.run(
        [BIN / "papermill", str(ROOT / "notebooks" / "organisation.ipynb"), str(tmp_path / "o.ipynb"), "-p", "study", str(folder),
         "-p", "organisation", willing[0], "--no-progress-bar"],
        capture_output=True, text=True, check=False, env=os.environ.copy(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert mode(closed(folder)) == mode(closed(folder) / willing[0]) == 0o700
    assert mode(closed(folder) / willing[0] / "diagnostic.json") == 0o600
