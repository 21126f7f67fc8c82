"""The validity command runs, and its table says what it claims to say."""

from benchmarks import validity


def test_the_command_judges_studies_of_the_null_world(capsys):
    assert validity.main(["--only", "null", "--null-studies", "2", "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "| H4 |" in shown
    assert "naive: raw range of roles wider, conf" in shown


def test_coverage_counts_what_it_says():
    table = validity.coverage("role_only", 30, 3, 1).set_index(["measure", "statistic", "of"])
    assert table.loc[("conf", "role_mean", "role"), "intervals"] == 30
    assert table["covered"].dropna().between(0, 1).all()
