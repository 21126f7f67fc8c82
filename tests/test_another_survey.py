"""Another survey from raw to pages, without a line of code: other roles and stages, no organisations, questions that changed."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from fieldwork.cli import main

ROOT = Path(__file__).resolve().parents[1]
OSPO_DATA = ROOT.parent / "shared" / "data" / "ospo"
pytestmark = [
    pytest.mark.study,
    pytest.mark.skipif(
        not OSPO_DATA.is_dir(), reason="the OSPO survey is not part of the project; its folder is not here"
    ),
]


@pytest.fixture(scope="module")
def ospo(tmp_path_factory):
    """Its folder and what runs a wave of it there: what one test has made is not made again for the next."""
    folder = tmp_path_factory.mktemp("ospo") / "ospo"
    shutil.copytree(ROOT / "examples/ospo", folder, ignore=shutil.ignore_patterns("reports", "data", ".fieldwork"))

    def run(wave, *words):
        command = ["run", "--wave", wave, "-p", f"raw={OSPO_DATA}", "--replicates", "100", *words]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):  # in this process: one server forks the kernels of all runs
            assert main([*command, "--study", str(folder)]) == 0, said.getvalue()
        return said.getvalue()

    return folder, run


@pytest.mark.parametrize("wave", ["2024", *(pytest.param(w, marks=pytest.mark.slow) for w in ("2021", "2022", "2023"))])
def test_another_survey_runs_without_code(ospo, wave):
    folder, run = ospo
    assert run(wave).strip().endswith(f"reports/{wave}/index.html")
    assert_another_survey(folder, wave)
    assert "Simulated data" not in (folder / f"reports/{wave}/index.html").read_text(encoding="utf-8")


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
