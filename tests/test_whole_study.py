"""Whole studies from raw to pages: the ways to run a chapter agree, rows may come in any order, another survey needs no code."""

import csv
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fieldwork import schema
from fieldwork.run.page import compose
from tests.drawn_study import untold
from tests.quick import shorten

ROOT = Path(__file__).resolve().parents[1]
OSPO_DATA = ROOT.parent / "shared" / "data" / "ospo"
BIN = Path(sys.executable).parent
CHAPTERS = tuple(sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem[0].isdigit()))
TABLES = (
    "reports/{w}/estimates.parquet",
    "reports/{w}/estimates.csv",
    "reports/{w}/multiverse.parquet",
    "data/processed/{w}/04_gradient.parquet",
)
TOLD_OTHERWISE = {"01_clean", "09_claims"}  # names lines of the file; names the moment of registration
pytestmark = pytest.mark.study


def fieldwork(*words, study, check=True):
    done = subprocess.run(
        [BIN / "fieldwork", *map(str, words), "--study", str(study)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def raw_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "study"
    untold("role_divergence", folder, organisations=80, seed=5, settings={"faulty_rows": 4})
    shorten(folder, replicates=100)
    return folder


def copied(study, place):
    return Path(shutil.copytree(study, place / "study"))


@pytest.fixture(scope="module")
def finished(raw_study, tmp_path_factory):
    folder = copied(raw_study, tmp_path_factory.mktemp("two"))
    done = fieldwork("run", "--workers", 2, study=folder)
    return folder, done


def digests(folder, names=TABLES, wave="2026Q1"):
    return {n: hashlib.sha256((folder / n.format(w=wave)).read_bytes()).hexdigest() for n in names}


def verdicts(folder, wave="2026Q1"):
    records = json.loads((folder / f"reports/{wave}/claims.json").read_text())
    return [{key: value for key, value in record.items() if key != "registered"} for record in records]


def test_a_run_ends_with_the_path_of_its_page(finished):
    folder, done = finished
    last = done.stdout.strip().splitlines()[-1]
    assert last.endswith("reports/2026Q1/index.html")
    assert Path(last).resolve() == (folder / "reports/2026Q1/index.html").resolve()
    assert Path(last).is_file()


def test_a_second_run_does_nothing(finished):
    folder, _ = finished
    before = digests(folder)
    done = fieldwork("run", study=folder)
    assert "running" not in done.stdout + done.stderr
    assert digests(folder) == before


def test_accepted_and_quarantined_add_up_to_delivered(finished):
    folder, _ = finished
    processed = folder / "data/processed/2026Q1"
    flow = json.loads((processed / "01_clean.flow.json").read_text())
    accepted = pd.read_parquet(processed / "01_clean.parquet")
    quarantined = pd.read_csv(processed / "01_clean.quarantine.csv", dtype=str)
    with next((folder / "data/raw/2026Q1").glob("*.csv")).open(newline="", encoding="utf-8") as file:
        delivered = len(list(csv.reader(file))) - 1
    assert flow["delivered"] == delivered == len(accepted) + len(quarantined)
    assert (flow["accepted"], flow["quarantined"]) == (len(accepted), len(quarantined))
    assert sum(flow["by_rule"].values()) == flow["quarantined"] >= 4
    assert list(quarantined.columns) == schema.QUARANTINE.names


def test_published_estimates_keep_the_contract(finished):
    folder, _ = finished
    estimates = pd.read_parquet(folder / "reports/2026Q1/estimates.parquet")
    assert list(estimates.columns) == schema.ESTIMATES.names
    assert set(estimates["status"]) <= set(schema.STATUSES)
    assert estimates["n"].dropna().mod(5).eq(0).all()
    assert (estimates["n"].dropna() >= 10).all()
    held = estimates[estimates["status"] == "suppressed"]
    assert len(held) > 0
    assert held[["estimate", "std_error", "conf_low", "conf_high", "n", "n_organisations"]].isna().all(axis=None)
    again = pd.read_csv(folder / "reports/2026Q1/estimates.csv", keep_default_na=False, na_values=[""])
    assert again["estimate"].tolist() == pytest.approx(estimates["estimate"].astype("float64").tolist(), nan_ok=True)


# Figures and pages are made of what these compare; processes that draw side by side have tests of their own.
@pytest.mark.parametrize(
    "only", [("02_validate", "09_claims"), pytest.param((), marks=pytest.mark.slow)], ids=["to the claims", "whole"]
)
def test_one_worker_and_shuffled_rows_give_the_same_bytes(raw_study, finished, tmp_path, only):
    folder = copied(raw_study, tmp_path)
    file = next((folder / "data/raw/2026Q1").glob("*.csv"))
    header, *rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
    random.Random(3).shuffle(rows)
    file.write_text("".join([header, *rows]), encoding="utf-8")
    fieldwork("run", "--workers", 1, *(["--only", *only] if only else []), study=folder)
    assert digests(folder) == digests(finished[0])
    assert verdicts(folder) == verdicts(finished[0])
    # Executed chapters too, with their figures.
    made = {path.stem for path in (folder / "reports/2026Q1/chapters").iterdir()}
    wanted = set(CHAPTERS) - ({"10_findings"} if only else set())
    assert {chapter for chapter in wanted if not any(name.startswith(chapter) for name in made)} == set()
    pages = [f"reports/{{w}}/chapters/{name}.ipynb" for name in sorted(made - TOLD_OTHERWISE)]
    assert digests(folder, pages) == digests(finished[0], pages)


def by_hand(chapter, study, place):
    """Run a chapter by plain papermill and return its page as a run would have composed it."""
    source, executed = ROOT / "notebooks" / f"{chapter}.ipynb", place / f"{chapter}.ipynb"
    done = subprocess.run(
        [BIN / "papermill", str(source), str(executed), "-p", "study", str(study), "--no-progress-bar"],
        capture_output=True, text=True, check=False, env=os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},  # as by hand, where nobody sets one
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    hidden = [(str(study), ""), (sys.prefix, "environment"), (str(ROOT / "src/fieldwork"), "fieldwork")]
    ran = json.loads(executed.read_text(encoding="utf-8"))
    return compose(json.loads(source.read_text(encoding="utf-8")), ran, {"wave": "2026Q1"}, hidden)


def test_chapters_by_plain_papermill_make_the_same_bytes(finished, tmp_path):
    """Kernels from nothing, of which no run knows: all that the chapters write, and the chapters as executed, with their figures."""
    folder = copied(finished[0], tmp_path)
    processed, reports = folder / "data/processed/2026Q1", folder / "reports/2026Q1"
    # A run makes the designs part by part, and by hand they are made at once: what is judged of them must be the same.
    assert not (reports / "chapters/08c_designs.ipynb").exists()
    shutil.rmtree(processed / "08c_designs_set_aside")
    by_hand("08c_designs", folder, tmp_path)
    for chapter, own in {
        "01_clean": processed.glob("01_clean.*"),
        "04_gradient": processed.glob("04_gradient.*"),
        "08c_multiverse": reports.glob("multiverse.[pcj]*"),
        "09_claims": [*reports.glob("estimates.[pc]*"), reports / "claims.json"],
    }.items():
        before = {path: path.read_bytes() for path in own}
        assert len(before) >= 3
        for path in before:
            path.unlink()
        page = (reports / f"chapters/{chapter}.ipynb").read_text(encoding="utf-8")
        assert by_hand(chapter, folder, tmp_path) == page, chapter
        assert {path: path.read_bytes() for path in before} == before, chapter


@pytest.mark.slow
def test_plain_papermill_gives_the_same_bytes(raw_study, finished, tmp_path):
    """The whole study chapter by chapter, in kernels of which no run knows: the same results, and chapters as executed."""
    folder = copied(raw_study, tmp_path)
    for chapter in CHAPTERS:
        again = by_hand(chapter, folder, tmp_path)
        page = finished[0] / f"reports/2026Q1/chapters/{chapter}.ipynb"
        if chapter not in TOLD_OTHERWISE and page.exists():
            assert again == page.read_text(encoding="utf-8"), chapter
    assert digests(folder) == digests(finished[0])
    assert verdicts(folder) == verdicts(finished[0])
    # A run makes the designs part by part, and by hand they are made at once.
    assert [chapter for chapter in CHAPTERS if not (page.parent / f"{chapter}.ipynb").exists()] == ["08c_designs"]


def test_nothing_published_names_a_respondent_or_an_organisation(finished):
    folder, _ = finished
    responses = pd.read_parquet(folder / "data/processed/2026Q1/01_clean.parquet")
    names = [*responses["resp_id"].head(40), *responses["org_id"].unique()[:40]]
    texts = [
        p for p in (folder / "reports").rglob("*") if p.suffix in {".html", ".json", ".csv", ".ipynb", ".txt", ".svg"}
    ]
    assert len(texts) > 10
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert not [name for name in names if name in text], path


def test_simulated_is_said_wherever_it_surfaces(finished):
    folder, _ = finished
    pages = list((folder / "reports/2026Q1").rglob("*.html"))
    assert len(pages) > 8
    for page in pages:
        assert "Simulated data" in page.read_text(encoding="utf-8"), page
    for source in (folder / "reports/2026Q1/figures").glob("gradient*.svg"):
        assert source.with_suffix(".txt").read_text(encoding="utf-8").lower().count("simulated") > 0


def test_a_delivery_of_nothing_but_faults_ends_with_a_message(raw_study, tmp_path):
    folder = copied(raw_study, tmp_path)
    file = next((folder / "data/raw/2026Q1").glob("*.csv"))
    header = file.read_text(encoding="utf-8").splitlines()[0]
    file.write_text(header + "\n", encoding="utf-8")
    done = fieldwork("run", study=folder, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "hint" in done.stdout + done.stderr


# The other survey

without_ospo = pytest.mark.skipif(
    not OSPO_DATA.is_dir(), reason="the OSPO survey is not part of the project; its folder is not here"
)


@pytest.fixture(scope="module")
def ospo(tmp_path_factory):
    """Its folder and what runs a wave of it there: what one test has made is not made again for the next."""
    folder = tmp_path_factory.mktemp("ospo") / "ospo"
    shutil.copytree(ROOT / "examples/ospo", folder, ignore=shutil.ignore_patterns("reports", "data", ".fieldwork"))

    def run(wave, *words):
        return fieldwork("run", "--wave", wave, "-p", f"raw={OSPO_DATA}", "--replicates", 100, *words, study=folder)

    return folder, run


@without_ospo
@pytest.mark.parametrize("wave", ["2024", *(pytest.param(w, marks=pytest.mark.slow) for w in ("2021", "2022", "2023"))])
def test_another_survey_runs_without_code(ospo, wave):
    folder, run = ospo
    done = run(wave)
    assert done.stdout.strip().endswith(f"reports/{wave}/index.html")
    assert_another_survey(folder, wave)
    assert "Simulated data" not in (folder / f"reports/{wave}/index.html").read_text(encoding="utf-8")


@without_ospo
def test_the_first_wave_of_another_survey_is_judged_without_code(ospo):
    folder, run = ospo
    run("2021", "--only", "09_claims")
    assert_another_survey(folder, "2021")


def assert_another_survey(folder, wave):
    flow = json.loads((folder / f"data/processed/{wave}/01_clean.flow.json").read_text())
    assert flow["delivered"] == 2900
    assert flow["accepted"] + flow["quarantined"] == 2900
    estimates = pd.read_parquet(folder / f"reports/{wave}/estimates.parquet")
    assert estimates["n_organisations"].isna().all()
    system = estimates[estimates["statistic"] == "system_sd"].iloc[0]
    assert (system["status"], system["reason"]) == ("not_assessable", "the survey names no organisations")
    records = {r["id"]: r for r in json.loads((folder / f"reports/{wave}/claims.json").read_text())}
    assert records["O1"]["verdict"] in {"supported", "contradicted", "inconclusive", "not_assessable"}
    if wave == "2024":
        assert records["O2"]["verdict"] == "not_assessable"
        assert records["O2"]["reason"].endswith("this wave does not ask it: asked up to 2023")
    else:
        assert records["O2"]["verdict"] in {"supported", "contradicted", "inconclusive"}
        assert records["O2"]["conf_low"] < records["O2"]["estimate"] < records["O2"]["conf_high"]


@without_ospo
def test_a_survey_whose_questions_and_roles_changed_refuses_those_trends(ospo):
    folder, run = ospo
    found = {}
    for wave in ("2022", "2023", "2024"):
        run(wave, "--only", "08_movement")
        found[wave] = pd.read_parquet(folder / f"data/processed/{wave}/08_movement.parquet")
    critical = {
        wave: table.query("measure == 'critical' and statistic == 'convergence'").iloc[0]
        for wave, table in found.items()
    }
    assert (
        critical["2022"]["status"] == "flagged"
    )  # roles hardly differ there: compared, and said to be no more than noise
    assert "no larger than noise" in critical["2022"]["reason"]
    assert critical["2023"]["reason"].startswith("not comparable from 2023 on: The published codes turned round")
    assert critical["2024"]["reason"].startswith(
        "the question on the role: not comparable from 2024 on: Security and Law are new"
    )
    shift = {wave: table.query("statistic == 'shift'") for wave, table in found.items()}
    assert (shift["2023"]["status"] == "ok").any()
    assert set(shift["2024"]["status"]) == {"not_assessable"}
    assert (found["2024"].query("statistic == 'ridit'")["status"] == "ok").any()  # the stages themselves did not change
    returning = found["2024"].query("statistic == 'returning_share'")
    assert returning["reason"].str.startswith("repeated cross-section").all()
    assert set(found["2022"].query("statistic == 'precedence'")["reason"]) == {"the survey names no organisations"}
