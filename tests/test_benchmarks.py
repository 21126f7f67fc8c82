"""The commands that the docs name run, and their tables say what they claim to say."""

import contextlib
import itertools
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import kills, ordinal, pipeline, truth, validity, validity_movement, validity_ordinal
from fieldwork.claims import Register
from fieldwork.schema import ESTIMATES, frame
from fieldwork.simulate import worlds


@pytest.mark.slow
def test_the_command_judges_studies_of_the_null_world(capsys):
    assert validity.main(["--only", "null", "--null-studies", "2", "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "Where intervals do not reach" in shown
    assert "| H4 |" in shown
    assert "naive: raw range of roles wider, conf" in shown


def test_coverage_counts_what_it_says():
    table = validity.coverage("role_only", 30, 3, 1).set_index(["measure", "statistic", "of"])
    assert table.loc[("conf", "role_mean", "role"), "intervals"] == 30
    assert table["covered"].dropna().between(0, 1).all()


def test_the_mixed_models_validity_command_runs(capsys):
    assert validity_ordinal.main(["--studies", "2", "--organisations", "25", "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "| 25 | 6 | role[1] | model |" in shown
    assert "| 25 | 1 to 12 | sd | robust |" in shown


def test_the_speed_command_runs_without_peers(capsys):
    assert ordinal.main(["--sizes", "150", "--repeats", "1", "--without-peers"]) == 0
    assert "| 900 | fieldwork, 11 nodes |" in capsys.readouterr().out
    assert "| 240 | fieldwork, Laplace |" in ordinal.comparison("panel", [12], 1, ())


# ------------------------------------------------------------------------------------------------------------ truth table


def a_study(tmp_path, rows, truths):
    folder = tmp_path / "study"
    (folder / "reports/w1").mkdir(parents=True)
    (folder / "study.toml").write_text(
        '[study]\nname = "toy"\ntitle = "Toy"\nprovenance = "simulated"\n[waves]\norder = ["w1"]\n'
    )
    key = {"wave": "w1", "construct": "adoption_gradient", "measure": "conf", "status": "ok", "std_error": 0.1}
    frame([{**key, **row} for row in rows], ESTIMATES).to_parquet(folder / "reports/w1/estimates.parquet")
    empty = dict.fromkeys(("role", "role_2", "stage", "item"), "")
    records = [{**empty, "wave": "w1", "construct": "adoption_gradient", "measure": "conf", **each} for each in truths]
    (folder / "truth.json").write_text(json.dumps(records))
    return folder


def test_published_estimates_are_held_against_the_truth_by_key(tmp_path):
    rows = [
        {"statistic": "role_mean", "role": "CTO", "estimate": 3.50, "conf_low": 3.30, "conf_high": 3.70},
        {"statistic": "role_mean", "role": "CMO", "estimate": 3.50, "conf_low": 3.30, "conf_high": 3.70},
        {
            "statistic": "role_part",
            "role": "CTO",
            "role_2": "CMO",
            "segment": "scaled v experimenting",
            "estimate": 1.0,
        },
        {"statistic": "gradient_ratio_log", "conf_low": 0.5, "std_error": None},
        {"statistic": "icc1", "estimate": 0.2},
        {"statistic": "role_mean", "role": "CFO", "status": "suppressed"},
    ]
    truths = [
        {"statistic": "role_mean", "role": "CTO", "value": 3.455},
        {"statistic": "role_mean", "role": "CMO", "value": 3.995},
        {"statistic": "role_part", "role": "CTO", "role_2": "CMO", "value": 1.2},
        {"statistic": "gradient_ratio_log", "value": 0.498},
        {"statistic": "role_mean", "role": "CFO", "value": 3.0},
    ]
    joined = truth.against_truth(a_study(tmp_path, rows, truths))
    assert len(joined) == 5
    assert joined["beyond"].tolist() == pytest.approx([0.4, 4.9, 1.95, np.nan, np.nan], nan_ok=True)
    assert joined["covered"].tolist() == pytest.approx([1, 0, np.nan, 1, np.nan], nan_ok=True)
    assert truth.far_off(joined)["role"].tolist() == ["CMO"]
    assert truth.without_truth(joined) == ["icc1"]
    means = truth.table(joined).set_index("statistic").loc["role_mean"]
    assert (means["rows"], means["intervals"], means["covered"]) == (2, 2, 0.5)


def test_a_claim_is_false_where_one_part_falls_short():
    claims = {claim.id: claim for claim in Register.load(truth.ROOT / "instruments/claims.toml").claims}
    keys = [(*part.key[:6], part.key[7]) for part in claims["H4"].judged]
    beyond = {(*key, ""): 2.0 for key in keys}
    assert truth.truth_of(claims["H4"], beyond) == "true"
    assert truth.truth_of(claims["H4"], {**beyond, (*keys[0], ""): 0.1}) == "false"
    assert truth.truth_of(claims["H4"], dict(list(beyond.items())[1:])) == "open"
    nil = ("adoption_gradient", "prep", "role_sd_adjusted", "", "", "", "", "")
    assert truth.truth_of(claims["H5"], {nil: 0.0}) == "false"
    assert truth.truth_of(claims["H5"], {nil: 0.4}) == "open"
    split = claims["H3"].judged[0]
    assert truth.truth_of(claims["H3"], {(*p.key[:6], p.key[7], ""): 1.5 for p in claims["H3"].judged}) == "true"
    assert split.key[6] == "scaled v experimenting"


@pytest.mark.slow
def test_the_command_counts_false_verdicts(capsys):
    assert truth.main(["--only", "null", "--studies", "2", "--executives", "150"]) == 0
    shown = capsys.readouterr().out
    assert "| H4 | false | 0.000 |" in shown
    assert "| any false claim | false | 0.000 |" in shown


@pytest.mark.slow
def test_the_command_runs_a_study_and_joins_it(capsys):
    words = ["--only", "table", "--worlds", "role_only", "--organisations", "40", "--table-replicates", "60"]
    assert truth.main(words) == 0
    shown = capsys.readouterr().out
    assert "## role_only, 40 organisations" in shown
    assert "| adoption_gradient | role_sd_corrected |" in shown
    assert "Published without a truth:" in shown


@pytest.mark.slow
def test_the_validity_command_over_waves_runs(capsys):
    assert validity_movement.main(["--only", "declared", "--studies", "4"]) == 0
    text = capsys.readouterr().out
    assert "| conf | convergence |" in text
    assert "panel, 20 a role" in text
    assert "diverging" in text


def test_change_is_seldom_declared_where_there_is_none_and_the_uncorrected_slope_misleads():
    """Forty studies of three waves, 20 executives a role each, other ones in every wave: nothing moves."""
    table = validity_movement.declared("no_change", "cross-sections, 20 a role", 40).set_index(["measure", "statistic"])
    assert (table["studies"] == 40).all()
    # Six of forty or more would come from a share of 5% in 1.4% of tests of this kind.
    assert (table["share"] <= 5 / 40).all()
    assert table.loc[("conf", "convergence_beta"), "raw"] < -0.1


def test_change_is_found_where_there_is_some():
    for world, side in (("converging", "below"), ("diverging", "above")):
        table = validity_movement.declared(world, "cross-sections, 190 organisations", 6).set_index(
            ["measure", "statistic"]
        )
        assert table.loc[("conf", "convergence"), side] >= (0.5 if world == "diverging" else 0.8)


def test_a_whole_study_over_waves_meets_its_truth():
    waves = validity_movement.study_of(worlds()["diverging"], 60, 3, replicates=100)
    found = validity_movement.estimate_study(waves).estimates
    known = validity_movement.known("diverging", "panel with attrition, 190 organisations")
    rows = [
        r
        for r in found.to_dict("records")
        if tuple(r[k] for k in validity_movement.KEY) in known and r["status"] == "ok"
    ]
    covered = [
        r["conf_low"] <= known[tuple(r[k] for k in validity_movement.KEY)] <= r["conf_high"]
        for r in rows
        if r["statistic"] in {"shift", "ridit", "mean_change", "gap_change"}
    ]
    assert len(covered) > 100
    assert sum(covered) / len(covered) > 0.85


# ----------------------------------------------------------------------------------------------------------------- kills


@pytest.mark.skipif(
    not kills.Path("/proc/self/stat").exists(), reason="needs /proc to find the processes of a killed run"
)
def test_two_kills_of_a_small_study_leave_nothing_torn_and_nothing_other(tmp_path):
    tally = kills.kill(tmp_path, kills=2, seed=1, share=0.8, only=("01_clean",), organisations=12, replicates=40)
    assert (tally.kills, tally.clean) == (2, True), tally
    assert tally.whole >= 1


@pytest.mark.slow
@pytest.mark.skipif(
    not kills.Path("/proc/self/stat").exists(), reason="needs /proc to find the processes of a killed run"
)
def test_twenty_kills_of_a_whole_study_leave_nothing_torn_and_nothing_other(capsys):
    assert kills.main(["--kills", "20", "--organisations", "30"]) == 0
    assert "20 kills (seed 20260101)" in capsys.readouterr().out


@pytest.mark.skipif(not kills.Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_that_outlives_its_run_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "PATIENCE", 0.3)
    study, since = tmp_path / "study", time.monotonic()
    (study / "stage").mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], cwd=study / "stage") as orphan, subprocess.Popen(["sleep", "60"]) as other:
        late, last = kills.left(study, 0, since)
        for process in (orphan, other):
            process.kill()
    assert (late, last >= 0.3) == (1, True)
    assert kills.left(study, 0, time.monotonic())[0] == 0


def test_what_is_torn_is_found_and_what_is_whole_is_not(tmp_path):
    study = kills.prepared(tmp_path / "study", organisations=12, replicates=40, seed=5)
    reports = study / "reports/2026Q1"
    reports.mkdir(parents=True)
    frame([{"statistic": "icc1"}], ESTIMATES).to_parquet(reports / "estimates.parquet")
    book = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    whole = {"a.json": "[1]", "a.html": "<html><p>x</p></html>\n", "a.csv": "x\n10\n", "a.ipynb": json.dumps(book)}
    for name, text in whole.items():
        (reports / name).write_text(text)
    assert kills.torn(study) == []
    for name in (*whole, "estimates.parquet"):
        content = (reports / name).read_bytes()
        (reports / name).write_bytes(content[: len(content) - 2])
        assert [text.split(":")[0] for text in kills.torn(study)] == [f"reports/2026Q1/{name}"]
        (reports / name).write_bytes(content)
    (reports / "manifest.json").write_text(json.dumps({"outputs": {"reports/2026Q1/a.json": "0" * 64}}))
    assert kills.torn(study) == ["reports/2026Q1/a.json: not as in the manifest"]


def test_the_light_notebooks_read_what_others_write(tmp_path):
    study = pipeline.write_chapters(tmp_path / "study")
    given = {path.relative_to(study).as_posix() for path in study.glob("data/raw/*/*")}
    written = given | {pipeline.output_of(name) for name in pipeline.CHAPTERS}
    assert {path for name in pipeline.CHAPTERS for path in pipeline.inputs_of(name)} <= written
    assert len(list(study.glob("notebooks/*.ipynb"))) == 8


@pytest.mark.parametrize("head", ["resp_id,org_id", "resp_id,org_id,consent_org"])
def test_everybody_of_the_benchmark_of_reports_consents(tmp_path, head):
    path = tmp_path / "responses.csv"
    path.write_text(f"{head}\na,x,0\nb,y,\n" if head.endswith("consent_org") else f"{head}\na,x\nb,y\n")
    pipeline._consent(path)
    assert path.read_text() == "resp_id,org_id,consent_org\na,x,1\nb,y,1\n"


def test_a_study_in_which_an_engine_failed_is_left_out_and_told(tmp_path, monkeypatch):
    """As with a kernel that does not answer: another study counts, and after so many failures there is none."""
    fails = """if True:
        import pathlib, sys
        tried = pathlib.Path("../../tried")
        before = len(tried.read_text()) if tried.exists() else 0
        tried.write_text("x" * (before + 1))
        sys.exit("RuntimeError: no kernel\\n\\nended" if before % 2 == 0 else 0)
    """
    engine = pipeline.Engine("other", lambda _: None, lambda _: [sys.executable, "-c", fails])
    places = (tmp_path / str(number) for number in itertools.count())

    @contextlib.contextmanager
    def somewhere():
        place = next(places)
        place.mkdir()
        yield place

    monkeypatch.setattr(pipeline, "EVENTS", {})
    monkeypatch.setattr(pipeline, "_somewhere", somewhere)
    costs, failed = pipeline.measured(engine, 2, tries=3)
    assert failed == ["RuntimeError: no kernel"] * 2
    assert costs["cold"].ran == 0
    with pytest.raises(pipeline.EngineError, match="no kernel"):
        pipeline.measured(engine, 3, tries=2)


@pytest.mark.slow
def test_the_engine_benchmark_counts_what_runs_again(monkeypatch, capsys):
    ours = [each for each in pipeline.engines("") if each.name == "fieldwork, 1 worker"]
    plain = [each for each in pipeline.engines("") if each.name == "papermill, a call a notebook"]
    words = [sys.executable, "-c", "raise SystemExit('no kernel answered')"]
    broken = pipeline.Engine("broken", lambda _: None, lambda _: words)
    monkeypatch.setattr(pipeline, "engines", lambda _: [*ours, broken, *plain])
    assert pipeline.main(["--only", "engines", "--repeats", "1"]) == 0
    shown = capsys.readouterr().out
    assert "broken failed in 3 studies and is not in the tables: `no kernel answered`" in shown
    assert "| broken |" not in shown
    rows = [line.split(" | ")[1:] for line in shown.splitlines() if line.startswith("| fieldwork")]
    assert rows[1] == ["8", "0", "0", "0", "1", "1", "0", "8 |"], "an output deleted comes back from the store"
