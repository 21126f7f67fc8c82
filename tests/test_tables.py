"""Tables: base in every row, a dash with its reason for what is withheld, semantic HTML in which every text is inert."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from fieldwork import tables
from fieldwork.bundle.tolerance import METHODS
from fieldwork.schema import ESTIMATES, frame
from fieldwork.study import Study
from fieldwork.tables import (
    Cell,
    Column,
    Table,
    claims_table,
    decimals_of,
    estimates_table,
    findings_table,
    grid_table,
    guarded,
    interval,
    matrix_table,
    p_value_table,
    quantity,
    scenario_table,
)

report = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "browser" / "report.py")))


@pytest.fixture(scope="module")
def instrument(tmp_path_factory):
    return report.study_in(tmp_path_factory.mktemp("study"), report.QUAIE).instrument()


def row(**fields):
    known = {"wave": "2026Q1", "statistic": "role_mean", "measure": "conf", "unit": "scale_point", "status": "ok"}
    return known | fields


def table(rows, instrument):
    return estimates_table(frame(rows, ESTIMATES), instrument, title="Mean by role")


def test_every_row_carries_label_estimate_interval_and_base(instrument):
    made = table(
        [
            row(
                role="r4",
                estimate=3.821,
                std_error=0.13,
                conf_low=3.56,
                conf_high=4.08,
                conf_level=0.95,
                n=70,
                n_organisations=45,
            ),
            row(
                role="r1",
                estimate=2.5,
                std_error=0.12,
                conf_low=2.26,
                conf_high=2.74,
                conf_level=0.95,
                n=65,
                n_organisations=40,
            ),
        ],
        instrument,
    )
    assert [column.label for column in made.columns] == ["Role", "Estimate", "95% interval", "n", "Organisations"]
    assert [[cell.text for cell in cells] for cells in made.rows] == [
        ["CTO", "3.82", "3.56 to 4.08", "70", "45"],
        ["CFO", "2.50", "2.26 to 2.74", "65", "40"],
    ]


def test_a_survey_without_organisations_has_no_empty_column_of_them(instrument):
    made = table([row(role="r4", estimate=3.8, n=70), row(role="r1", estimate=3.1, n=70)], instrument)
    assert "Organisations" not in [column.label for column in made.columns]


def test_what_is_withheld_is_a_dash_with_a_note_never_a_zero_or_a_blank(instrument):
    made = table(
        [
            row(role="r4", estimate=3.8, n=70),
            row(role="r1", status="suppressed", reason="held back: fewer than 10 respondents"),
        ],
        instrument,
    )
    assert [cell.text for cell in made.rows[1][1:]] == ["", "", ""]
    assert made.frame().iloc[1].tolist() == ["CFO", *["\N{EN DASH}"] * 3]
    html = str(made.html())
    assert html.count("not published</span><sup>a</sup>") == 3
    assert "<sup>a</sup> Held back: fewer than 10 respondents." in html


def test_what_is_to_be_read_with_care_keeps_its_number_and_says_why(instrument):
    careful = row(role="r4", estimate=3.8, n=15, status="flagged", reason="small base: fewer than 30 respondents")
    made = table([careful, row(role="r1", estimate=3.0, n=50)], instrument)
    html = str(made.html())
    assert "3.80<sup>a</sup></td>" in html
    assert "<sup>a</sup> Small base: fewer than 30 respondents." in html
    assert "3.00</td>" in html


def test_an_estimate_without_end_says_so_and_keeps_the_end_that_it_has(instrument):
    made = table([row(role="r4", conf_low=1.6, conf_level=0.95, n=835)], instrument)
    assert [cell.text for cell in made.rows[0][1:3]] == ["not finite", "at least 1.60"]


def test_columns_of_the_key_appear_only_where_they_tell_rows_apart(instrument):
    made = table([row(role="r4", stage="s0", estimate=3.8), row(role="r4", stage="s4", estimate=4.1)], instrument)
    assert [column.label for column in made.columns][:1] == ["Stage"]
    assert [cells[0].text for cells in made.rows] == ["Evaluating", "Scaled"]
    whole = table([row(role="", estimate=3.8), row(role="r4", estimate=4.1)], instrument)
    assert whole.rows[0][0].text == "All"


def test_a_contrast_of_stages_and_a_pair_of_roles_are_written_in_labels(instrument):
    made = table(
        [row(role="r0+r7", segment="s4 v s1", estimate=1.0), row(role="r4", segment="s4 v s0", estimate=1.2)],
        instrument,
    )
    assert [cell.text for cell in made.rows[0][:2]] == ["CEO and CMO", "Scaled v Experimenting"]


def test_an_empty_table_of_estimates_is_still_a_table(instrument):
    assert table([], instrument).rows == ()


@pytest.mark.parametrize(
    ("error", "decimals"),
    [(0.012, 2), (0.0354, 2), (0.036, 2), (0.12, 2), (0.36, 1), (0.95, 1), (3.4, 1), (3.6, 0), (120.0, 0), (0.0, 2)],
)
def test_the_standard_error_decides_the_decimals(error, decimals):
    assert decimals_of(error) == decimals


def test_numbers_are_written_as_readers_read_them():
    assert quantity(-1234.5, "", 1) == "\N{MINUS SIGN}1,234.5"
    assert quantity(0.125, "proportion") == "12%"
    assert quantity(float("nan")) == quantity(pd.NA) == ""
    assert interval(None, 0.4) == "at most 0.40"
    assert interval(0.1, 0.25, "proportion") == "10% to 25%"


def test_html_is_semantic_and_every_text_in_it_is_inert():
    evil = report.EVIL
    made = Table(
        evil, (Column(evil, "label"), Column("n", "number")), ((Cell(evil, link='"><b>'), Cell("", evil)),), (evil,)
    )
    html = str(made.html(stacked=True))
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>" not in html
    for part in ("<caption>", 'scope="col"', 'scope="row"', 'class="number"', 'tabindex="0"', 'data-label="n"'):
        assert part in html
    assert made._repr_html_() == str(made.html())


def test_claims_and_findings_stand_with_verdict_interval_and_reason():
    claims = claims_table(report.claims(report.QUAIE), links={"H2": "findings/H2.html"})
    assert claims.rows[0][0].link == "findings/H2.html"
    assert [cells[2].text for cells in claims.rows] == ["Supported", "Contradicted", "Inconclusive", "Not assessable"]
    assert claims.rows[0][3].text == "0.90 (0.60 to 1.20) scale points"
    assert claims.rows[3][3].text == "Needs 3 waves; the study has 1"
    assert claims.rows[3][4].text == ""
    findings = findings_table(report.findings(report.QUAIE))
    assert [cells[0].text for cells in findings.rows] == ["H2", "H3", "H4"]


def test_a_table_is_safe_to_open_in_a_spreadsheet():
    made = Table("t", (Column("=1+1", "label"),), ((Cell("@SUM(1)"),),))
    assert guarded(made.frame()).iloc[0, 0] == "'@SUM(1)"


SHIPPED = Study.open(Path(__file__).resolve().parents[1]).instrument()


def test_a_grid_has_rows_and_columns_in_the_instruments_order_and_the_interval_under_each_estimate():
    rows = [
        row(role=role, item=item, measure="pri", statistic="mean_rank", unit="scale_point", estimate=value, std_error=0.2,
            conf_low=value - 0.4, conf_high=value + 0.4, conf_level=0.95, n=n)
        for role, item, value, n in (
            ("GC", "pri_5", 2.0, 60), ("GC", "pri_1", 4.25, 65), ("CEO", "pri_5", 3.92, 70), ("", "pri_1", 4.0, 860)
        )
    ]  # fmt: skip
    rows.append(row(role="CEO", item="pri_1", measure="pri", statistic="mean_rank", unit="scale_point", status="suppressed",
                    reason="held back: fewer than 10 respondents"))  # fmt: skip
    made = grid_table(frame(rows, ESTIMATES), SHIPPED, rows=["role"], across=["item"], title="Mean rank")
    assert [column.label for column in made.columns] == ["Role", "Lower cost", "Lower risk", "n, at least"]
    shown = made.frame().to_numpy().tolist()
    assert shown == [
        ["All", "4.00 (3.60 to 4.40)", "", "860"],
        ["Chief Executive Officer", "\N{EN DASH}", "3.92 (3.52 to 4.32)", "70"],
        ["General Counsel", "4.25 (3.85 to 4.65)", "2.00 (1.60 to 2.40)", "60"],
    ]
    single = grid_table(frame(rows[:1], ESTIMATES), SHIPPED, rows=["role", "statistic"], across=[], title="Mean rank")
    assert [column.label for column in single.columns] == ["Role and statistic", "Estimate", "n"]
    assert single.frame().to_numpy().tolist() == [["General Counsel, Mean rank", "2.00 (1.60 to 2.40)", "60"]]
    html = str(made.html())
    assert "2.00<br>1.60 to 2.40" in html
    assert "Under each estimate stands its 95% interval." in html
    assert "Held back: fewer than 10 respondents." in html


def test_answers_and_statistics_of_the_alignment_map_are_named_not_coded(instrument):
    rows = [
        row(item=item, measure="owner", statistic="owner_share", unit="proportion", estimate=0.2, n=800)
        for item in ("CTO", "nobody")
    ] + [row(measure="pri", statistic="kendall_w", unit="index", estimate=0.1, n=800)]
    texts = " ".join(map(str, estimates_table(frame(rows, ESTIMATES), SHIPPED, title="All").frame().to_numpy().ravel()))
    for name in ("Chief Technology Officer", "Nobody in particular", "Concordance of rankings (Kendall's W)"):
        assert name in texts
    lacking = row(measure="act_idx", statistic="activity_agreement_correlation", status="not_assessable", reason="none")
    other = row(measure="pri", statistic="consensus_priorities", status="not_assessable", reason="none")
    without = frame([lacking, other], ESTIMATES)
    assert not {"act_idx", "pri"} & set(instrument.columns())
    names = estimates_table(without, instrument, title="None").frame()["Measure"].tolist()
    assert names == ["Activity", "Priorities"]
    asked = estimates_table(without, SHIPPED, title="None").frame()["Measure"].tolist()
    assert asked == ["Activity", "Rank of aim"]


# -------------------------------------------------------------------------------------------------- answers in words


def shipped():
    return Study.open(Path(__file__).resolve().parents[1]).instrument()


@pytest.mark.parametrize(
    ("measure", "item", "words"),
    [
        ("stall_cause", "disagreement", "Disagreement between roles"),
        ("stall_cause", "disagreement v technical", "Disagreement between roles less technical difficulty"),
        ("stall_point", "budget+signoff", "Budget review or governance sign-off"),
        ("obj_rank", "latency_scale", "Response time and scale"),
        ("t_deploy", "prac_1", "Shared vision"),
        ("sat", "lead", "Leader"),
        ("bud_chg", "strongest", "strongest"),
    ],
)
def test_answers_are_told_in_words(measure, item, words):
    rows = frame([row(measure=measure, item=item), row(measure=measure, item="x")], ESTIMATES)
    assert estimates_table(rows, shipped(), title="t").frame().iloc[0, 0] == words


def test_a_segment_of_all_is_told_in_words():
    rows = frame([row(measure="stall", segment="resources=all"), row(measure="stall")], ESTIMATES)
    assert estimates_table(rows, shipped(), title="t").frame().iloc[0, 0] == "With all resources"


def test_a_study_without_a_scenario_says_so():
    table = scenario_table({})
    assert table.rows == ()
    assert "declares no assumptions" in table.notes[0]


def test_a_scenario_shows_what_is_assumed_and_what_follows():
    declared = {"weekly_value": {0.0: 10.0, 0.5: 20.0, 1.0: 40.0}, "weeks": {0.0: 1.0, 1.0: 1.0}, "yearly_rate": 0.0,
                "option_value": 50.0, "currency": "pounds", "source": "nobody"}  # fmt: skip
    shown = scenario_table(declared).frame()
    assert shown["Is"].tolist() == ["assumed"] * 6 + ["follows"] * 7
    assert shown.set_index("Quantity").loc["Chance that waiting pays", "Amount"] == "100%"


def test_a_matrix_has_answers_down_and_roles_across(instrument):
    item = instrument.items[0].name
    rows = [
        row(statistic="prevalence", unit="proportion", measure=item, item="x", role="r4", estimate=0.25, n=40),
        row(statistic="prevalence", unit="proportion", measure=item, item="x", role="r1", n=pd.NA, status="suppressed",
            reason="held back: fewer than 3 people gave, or did not give, this answer"),
        row(statistic="prevalence", unit="proportion", measure=item, item="y", role="r4", estimate=0.5, n=40,
            status="flagged", reason="imprecise: the interval is wide for its size"),
        row(statistic="prevalence", unit="proportion", measure=item, item="x", role="r1+r4", estimate=0.3, n=80),
        row(statistic="prevalence", unit="proportion", measure=item, item="x", estimate=0.3, n=80),
    ]  # fmt: skip
    made = matrix_table(frame(rows, ESTIMATES), instrument, title="Shares")
    assert [column.label for column in made.columns] == [
        "Answer",
        "r1",
        "r4",
    ]  # the instrument's order; no pairs, not all
    assert [[cell.text for cell in line] for line in made.rows] == [
        ["x", "", "25%"],
        ["y", "", "50%"],
        ["Respondents", "", "40"],
    ]
    assert made.rows[0][1].reason.startswith("held back")
    assert made.rows[1][1].reason == "not asked"
    assert made.rows[2][1].reason.startswith("held back")
    assert made.rows[1][2].reason.startswith("imprecise")
    assert "r4: " in made.notes[-1]


def test_tests_are_shown_with_their_p_values_and_family(instrument):
    rows = [
        row(statistic="item_f", unit="index", item="x", estimate=7.2, p_value=0.00004, p_adjusted=0.0006, n=850,
            adjustment="Benjamini-Hochberg, family of 15"),
        row(statistic="profiles_f", unit="index", estimate=4.5, p_value=0.0312, n=850, adjustment="none"),
        row(statistic="profiles_f", unit="index", measure="prep", status="not_assessable", reason="two roles are needed"),
    ]  # fmt: skip
    made = p_value_table(frame(rows, ESTIMATES), instrument, title="Tests")
    shown = [[cell.text for cell in line][1:] for line in made.rows]
    assert shown[0] == ["x", "Test that roles cite it alike (F)", "7.20", "under 0.001", "under 0.001", "850"]
    assert shown[1] == ["All answers", "Test that roles cite all alike (F)", "4.50", "0.031", "", "850"]
    assert [cell.reason for cell in made.rows[2][3:]] == ["two roles are needed"] * 4
    assert made.notes == ("Adjusted p-values: Benjamini-Hochberg, family of 15.",)


def test_every_way_of_making_an_interval_has_words():
    """Those of the code, and those whose tolerance a bundle knows."""
    source = Path(tables.__file__).parent
    texts = [
        path.read_text(encoding="utf-8")
        for part in ("constructs", "multiverse")
        for path in (source / part).glob("*.py")
    ]
    made = set(re.findall(r"\"?method\"?\s?[=:] ?\"([a-z_]+)\"", "\n".join(texts)))
    known = {name for name in made | set(METHODS) if tables.method_label(name) != name.replace("_", " ")}
    plain = {"count", "highs", "holm", "bh", "lower", "higher", "inverted_cdf"}  # of libraries, not of intervals
    assert made | set(METHODS) <= known | plain | {"count_of_measures", "social_relations_model"}
    assert "clmm" in made
