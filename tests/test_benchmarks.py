"""The commands that the docs name run, and their tables say what they claim to say."""

from benchmarks import ordinal, validity, validity_ordinal


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
