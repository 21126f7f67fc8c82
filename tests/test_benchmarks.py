"""The commands that the docs name run, and their tables say what they claim to say."""

from benchmarks import ordinal, validity, validity_movement, validity_ordinal
from fieldwork.simulate import worlds


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
