"""Surveys that hardly carry a claim: one executive of each organisation, and one organisation alone, from raw to pages."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.drawn_study import untold

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
WITHIN = ("H8", "H12", "H15", "H17", "H19", "H20", "H21", "H23")  # claims on what happens within organisations
pytestmark = [pytest.mark.study, pytest.mark.slow]


def one_executive_each(delivery):
    return delivery.sample(frac=1.0, random_state=1).drop_duplicates("org_id").sort_index()


def one_organisation(delivery):
    return delivery.assign(org_id=delivery["org_id"].iloc[0])


def run(folder, thinned):
    untold("role_divergence", folder, organisations=190, seed=2026)
    path = folder / "data/raw/2026Q1/responses.csv"
    thinned(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False, lineterminator="\n")
    done = subprocess.run(
        [BIN / "fieldwork", "run", "--study", folder, "--replicates", "399"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reports = folder / "reports/2026Q1"
    page = (reports / "claims.html").read_text(encoding="utf-8")
    claims = {claim["id"]: claim for claim in json.loads((reports / "claims.json").read_text(encoding="utf-8"))}
    return claims, page, pd.read_parquet(reports / "estimates.parquet")


def test_one_executive_of_each_organisation(tmp_path):
    claims, page, estimates = run(tmp_path / "s", one_executive_each)
    for name in WITHIN:
        assert claims[name]["verdict"] == "not_assessable"
        assert claims[name]["reason"] == "needs 3 executives of one organisation; the most that answered in one is 1"
    assert "the most that answered in one is 1" in page
    assert (estimates["statistic"] == "system_sd").any()
    assert set(estimates.loc[estimates["statistic"] == "system_sd", "status"]) <= {"not_assessable", "suppressed"}
    assert {"inconclusive", "not_assessable"} <= {claim["verdict"] for claim in claims.values()}


def test_one_organisation_alone(tmp_path):
    claims, page, estimates = run(tmp_path / "s", one_organisation)
    assert {claim["verdict"] for claim in claims.values()} == {"not_assessable"}
    assert all(claim["reason"] for claim in claims.values())
    assert not set(estimates["status"]) & {"ok", "flagged"}
    assert estimates[["estimate", "conf_low", "conf_high", "n", "n_organisations"]].isna().all(axis=None)
    assert "not assessable" in page.lower()
