"""The organisation diagnostic: consent of all, thresholds, what each table says, chance levels, and what is never shown."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.clean import clean
from fieldwork.constructs import consent
from fieldwork.constructs.diagnostic import NOBODY, diagnose
from fieldwork.errors import DataError, StudyError
from fieldwork.intake import read_delivery
from fieldwork.schema import ESTIMATES, frame
from fieldwork.simulate import Population, worlds
from fieldwork.simulate.delivery import deliveries
from fieldwork.simulate.interview import layout_of
from fieldwork.statistics.agreement import null_distribution, van_der_eijk_a
from fieldwork.statistics.within_team import concordance_p, sign_flip, standing
from fieldwork.study import Study

INSTRUMENT = Study.open(Path(__file__).resolve().parents[1]).instrument()
PUBLISHED = frame([], ESTIMATES)
TABLES = (
    "standing", "answers", "positions", "ahead", "against_cohort", "agreement", "risks", "budget", "described", "conviction",
    "decisions",
)  # fmt: skip
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    population = Population(worlds()["role_divergence"], layout_of(INSTRUMENT))
    parts = deliveries(population, INSTRUMENT, organisations=60, wave=1, name=INSTRUMENT.wave, seed=5)
    path = tmp_path_factory.mktemp("raw") / "responses.csv"
    pd.concat(parts).to_csv(path, index=False)
    return clean([read_delivery(path, INSTRUMENT)], INSTRUMENT).responses


def of_size(responses, informants):
    sizes = responses.groupby("org_id").size()
    return sizes[sizes == informants].index[0]


@pytest.fixture
def willing(sample):
    """The sample, everybody willing."""
    return sample.assign(consent_org=pd.array([1] * len(sample), dtype="Int8"))


def answer(report, question):
    rows = report.answers
    return rows.loc[rows["Question"].str.startswith(question), "Answer"].iloc[0]


# ---------------------------------------------------------------------------------------------------------- consent


def test_one_no_or_one_blank_is_no_consent(willing):
    listing = consent.organisations(INSTRUMENT, willing).set_index("organisation")
    assert listing["consented"].all()
    five = of_size(willing, 5)
    assert listing.loc[five, ["informants", "yes", "lacking"]].tolist() == [5, 5, ""]
    for value in (0, pd.NA):
        changed = willing.copy()
        changed.loc[changed.index[changed["org_id"] == five][2], "consent_org"] = value
        row = consent.organisations(INSTRUMENT, changed).set_index("organisation").loc[five]
        assert not row["consented"]
        assert row["lacking"] == "consent of every informant is needed; 4 of 5 said yes"
        others = consent.organisations(INSTRUMENT, changed).set_index("organisation").drop(five)
        pd.testing.assert_frame_equal(others, listing.drop(five))


def test_fewer_than_three_informants_say_nothing(willing):
    two = of_size(willing, 2)
    row = consent.organisations(INSTRUMENT, willing).set_index("organisation").loc[two]
    assert row["consented"]
    assert row["lacking"] == "3 informants are needed; there are 2"
    changed = willing.copy()
    changed.loc[changed["org_id"] == two, "consent_org"] = 0
    row = consent.organisations(INSTRUMENT, changed).set_index("organisation").loc[two]
    assert (
        row["lacking"] == "consent of every informant is needed; 0 of 2 said yes; 3 informants are needed; there are 2"
    )


def test_a_wave_that_does_not_ask_has_no_consent(willing):
    silent = INSTRUMENT.model_copy(update={"slots": {"consent_org": "asked_by_nobody"}})
    listing = consent.organisations(silent, willing)
    assert not listing["consented"].any()
    assert listing["lacking"].str.startswith("the questionnaire of the wave does not ask for consent").all()


def test_without_organisations_there_is_nobody_to_report_to(willing):
    keys = INSTRUMENT.keys.model_copy(update={"organisation": ""})
    listing = consent.organisations(INSTRUMENT.model_copy(update={"keys": keys}), willing)
    assert (list(listing.columns), len(listing)) == (list(consent.COLUMNS), 0)


# ------------------------------------------------------------------------------------------------------- what is lacking


@pytest.mark.parametrize("case", ["no consent", "two informants", "nobody named"])
def test_what_lacks_something_says_so_in_every_table_and_shows_no_answer(willing, case):
    five, two = of_size(willing, 5), of_size(willing, 2)
    data = willing.copy()
    if case == "no consent":
        data.loc[data.index[data["org_id"] == five][0], "consent_org"] = 0
    name = {"no consent": five, "two informants": two, "nobody named": ""}[case]
    report = diagnose(INSTRUMENT, data, PUBLISHED, name)
    assert report.lacking
    labels = [role.label for role in INSTRUMENT.roles]
    for table in TABLES:
        shown = getattr(report, table)
        if table != "standing":
            assert shown.iloc[:, 0].tolist() == [f"No report: {report.lacking}"], table
        assert not any(label in str(shown.to_dict()) for label in labels), table
    assert report.file == f"restricted/{name or NOBODY}/diagnostic.json"


def test_three_informants_are_shown_and_not_judged(willing):
    report = diagnose(INSTRUMENT, willing, PUBLISHED, of_size(willing, 3))
    assert report.lacking == ""
    assert not report.judged
    assert len(report.positions) == 3
    assert answer(report, "Where has one function") == "withheld: 5 informants are needed, there are 3"
    assert answer(report, "Does budget follow").startswith(
        "withheld: 5 convictions and one change of the budget are needed"
    )
    assert answer(report, "Is the organisation described").startswith("withheld: 5 informants")
    assert answer(report, "Is support stated").startswith("withheld: 5 informants who answered both")
    assert "Verdict" in report.ahead
    assert report.ahead["Verdict"].tolist() == ["withheld: 5 informants are needed, there are 3"]
    verdicts = report.agreement["Verdict"]
    assert verdicts.str.contains("are needed").all()


# ------------------------------------------------------------------------------------------------------- what is said


def team_of(willing, **answers):
    """Five informants of one organisation with the answers given, the rest as drawn."""
    name = of_size(willing, 5)
    data = willing.copy()
    rows = data.index[data["org_id"] == name]
    for column, values in answers.items():
        data.loc[rows, column] = pd.array(values, dtype=data[column].dtype)
    return name, data


def test_answers_stand_by_role_in_the_instruments_order(willing):
    name, data = team_of(willing, conf=[1, 2, 3, 4, 5], role=["GC", "CEO", "CTO", "CFO", "CMO"])
    report = diagnose(INSTRUMENT, data, PUBLISHED, name)
    labels = {role.id: role.label for role in INSTRUMENT.roles}
    assert report.positions["Role"].tolist() == [labels[r] for r in ("CEO", "CFO", "CTO", "CMO", "GC")]
    assert report.positions["Confidence (of 5)"].tolist() == ["2", "4", "3", "5", "1"]


def test_two_of_one_role_are_told_apart(willing):
    name, data = team_of(willing, role=["CTO", "CTO", "CEO", "CFO", "GC"])
    who = diagnose(INSTRUMENT, data, PUBLISHED, name).positions["Role"].tolist()
    assert [w for w in who if w.startswith("Chief Technology")] == [
        "Chief Technology Officer 1",
        "Chief Technology Officer 2",
    ]


def test_a_function_that_keeps_being_ahead_is_named_with_its_p_value(willing):
    role = ["CEO", "CFO", "CTO", "CMO", "GC"]
    answers = {
        "stage_fn": [2, 1, 5, 2, 1], "conf": [2, 2, 5, 3, 2], "prep": [3, 2, 5, 2, 2], "conv_priv": [3, 2, 5, 2, 3],
        "sup_pub": [3, 4, 5, 3, 3], "fund_release": [3, 2, 5, 3, 3],
    }  # fmt: skip
    name, data = team_of(willing, role=role, **answers)
    report = diagnose(INSTRUMENT, data, PUBLISHED, name, seed=4)
    assert answer(report, "Where has one function").startswith("Chief Technology Officer, beyond what chance gives; ")
    scaled = (np.column_stack(list(answers.values())).astype(float) - 1) / 4
    fit = standing(scaled, seed=4, name=f"{name}/standing")
    row = report.ahead.set_index("Role").loc["Chief Technology Officer"]
    assert row["By chance (p)"] == f"{fit.p_ahead[2]:.3f}"
    assert row["Ahead of the others"] == f"+{100 * fit.ahead[2]:.0f}% of the scale"
    assert (row["Questions"], row["Verdict"]) == ("6", "ahead")


def test_agreement_is_judged_by_permuting_answers_over_organisations(willing):
    name, data = team_of(willing, dir_pace=[4, 4, 4, 4, 4], dir_risk=[1, 5, 1, 5, 3], dir_scope=[3, 3, pd.NA, pd.NA, 4])
    report = diagnose(INSTRUMENT, data, PUBLISHED, name, seed=2)
    rows = report.agreement.set_index("Question")
    pool = np.array([(data["dir_pace"] == code).sum() for code in range(1, 6)])
    null = null_distribution(van_der_eijk_a, 5, 5, pool=pool, seed=2, name=f"{name}/dir_pace")
    assert null.exact
    assert rows.loc["Wished pace", "Needed to be called agreement"] == f"{null.critical(0.05):.2f}"
    said = "agree more than" if null.p_value(1.0) <= 0.05 else "agree no more than"
    assert rows.loc["Wished pace", "Verdict"] == f"{said} executives drawn from other organisations"
    assert rows.loc["Wished risk", "Verdict"] == "agree less than executives drawn from other organisations"
    assert rows.loc["Wished risk", "Agreement (A)"].startswith(MINUS)
    assert rows.loc["Wished scope", "Verdict"] == "withheld: 5 answers are needed, there are 3"


def test_chance_is_answers_at_random_where_nobody_else_answered(willing):
    name, data = team_of(willing, dir_pace=[4, 4, 4, 4, 3])
    alone = data[data["org_id"] == name]
    rows = diagnose(INSTRUMENT, alone, PUBLISHED, name).agreement.set_index("Question")
    assert rows.loc["Wished pace", "Verdict"].endswith("answers at random")


def test_a_risk_that_one_role_carries_alone_comes_first(willing):
    blank = {f"blk_{o.id}": [0] * 5 for o in INSTRUMENT.item("blk").options}
    blank |= {f"cond_{o.id}": [0] * 5 for o in INSTRUMENT.item("cond").options}
    name, data = team_of(willing, role=["CEO", "CFO", "CTO", "CHRO", "GC"], **blank | {
        "blk_work_ready": [0, 0, 0, 1, 0], "blk_roi": [1, 1, 0, 0, 0], "cond_gov": [0, 0, 0, 0, 1], "blk_none": [0, 0, 1, 0, 0],
        "blk_top1": ["roi", "roi", pd.NA, "work_ready", pd.NA],
    })  # fmt: skip
    published = frame(
        [{"construct": "blockers", "measure": "blk", "statistic": "prevalence", "role": "CHRO", "item": "work_ready",
          "unit": "proportion", "estimate": 0.62, "conf_low": 0.5, "conf_high": 0.73, "status": "ok", "role_2": "",
          "stage": "", "segment": ""}], ESTIMATES,
    )  # fmt: skip
    report = diagnose(INSTRUMENT, data, published, name)
    rows = report.risks
    assert rows["Constraint"].tolist() == [
        "Readiness of the workforce",
        "Governance that is agreed",
        "Uncertain return on investment",
    ]
    assert rows["Named by"].tolist() == [
        "Chief Human Resources Officer (weighs most)", "General Counsel",
        "Chief Executive Officer (weighs most), Chief Financial Officer (weighs most)",
    ]  # fmt: skip
    assert rows["Acknowledged"].tolist() == ["by nobody else", "by nobody else", "by 2 of 5"]
    assert rows["Share of that role in the cohort"].tolist() == ["62% (50% to 73%)", DASH, DASH]
    assert answer(report, "Which roles carry risk") == (
        "Chief Human Resources Officer: Readiness of the workforce; General Counsel: Governance that is agreed"
    )


def test_budget_is_set_beside_conviction(willing):
    name, data = team_of(
        willing,
        role=["CEO", "CFO", "CTO", "CHRO", "GC"],
        conv_priv=[2, 2, 5, 2, 1],
        bud_chg=[np.nan, 10, 30, np.nan, np.nan],
    )
    told = answer(diagnose(INSTRUMENT, data, PUBLISHED, name), "Does budget follow")
    assert told.startswith(
        "the budget rises (+20% in the middle); few are convinced (1 of 5): Chief Technology Officer; "
    )
    name, data = team_of(willing, conv_priv=[4, 4, 5, 4, 4], bud_chg=[np.nan, -5, np.nan, np.nan, np.nan])
    told = answer(diagnose(INSTRUMENT, data, PUBLISHED, name), "Does budget follow")
    assert told.startswith(
        f"the budget falls ({MINUS}5% in the middle); most are convinced (5 of 5); convictions are more alike"
    )


def test_alignment_described_is_told_from_alignment_measured(willing):
    apart = {"dir_pace": [1, 5, 3, 2, 4], "dir_risk": [1, 5, 3, 2, 4], "dir_scope": [5, 1, 3, 4, 2], "stage_org": [1, 2, 3, 4, 5],
             "conf": [1, 2, 3, 4, 5], "prep_org": [5, 4, 3, 2, 1], "fund_release": [1, 2, 3, 4, 5]}  # fmt: skip
    name, data = team_of(willing, align_self=[4, 5, 4, 4, 2], **apart)
    told = answer(diagnose(INSTRUMENT, data, PUBLISHED, name), "Is the organisation described")
    assert told == (
        "described as aligned by 4 of 5; agreement beyond strangers on 0 of 7 shared questions: described, and not measured"
    )


def test_the_blind_spot_is_the_worked_example(willing):
    """measures.md 2.7: own CTO 5, CFO 3, CMO 2 with their predictions: actual 2.0, perceived 1.0, blind spot 1.0."""
    name = of_size(willing, 3)
    data = willing.copy()
    rows = data.index[data["org_id"] == name]
    data.loc[rows, "role"] = ["CTO", "CFO", "CMO"]
    data.loc[rows, "conf"] = [5, 3, 2]
    for item in INSTRUMENT.family("meta_conf"):
        data.loc[rows, item.name] = pd.NA
    for by, about, guess in ((0, "CFO", 4), (0, "CMO", 4), (1, "CTO", 4), (1, "CMO", 3), (2, "CTO", 4), (2, "CFO", 3)):
        item = next(i for i in INSTRUMENT.family("meta_conf") if i.member == about)
        data.loc[rows[by], item.name] = guess
    told = diagnose(INSTRUMENT, data, PUBLISHED, name).described.set_index("What")["In this organisation"]
    assert told["Distance of two colleagues: confidence"] == "2.00"
    assert told["Distance that they expect: confidence"] == "1.00"
    assert told["Blind spot: distance beyond what they expect: confidence"] == "+1.00"


def test_priorities_and_owner_are_held_against_chance(willing):
    ranks = {f"pri_{k}": [k] * 5 for k in range(1, 8)}
    name, data = team_of(willing, owner=["CTO"] * 5, **ranks)
    told = diagnose(INSTRUMENT, data, PUBLISHED, name, seed=1).described.set_index("What")["In this organisation"]
    p = concordance_p([list(range(1, 8))] * 5, seed=1, name=f"{name}/pri")
    assert told["Priorities (cohort: rank correlation of colleagues)"] == f"shared (p = {p:.3f}, 5 rankings)"
    owner = told["Owner of AI decisions (cohort: pairs that name the same)"]
    assert owner == (
        "Chief Technology Officer (5 of 5); 100% of pairs name the same, more than executives drawn from other organisations"
    )


def test_conviction_is_told_from_compliance_by_signs(willing):
    name, data = team_of(willing, conv_priv=[2, 3, 2, 3, 1], sup_pub=[4, 4, 3, 4, 4])
    published = frame(
        [{"construct": "perception_gap", "measure": "sup_pub+conv_priv", "statistic": "public_private_gap", "role": "",
          "role_2": "", "stage": "", "segment": "", "item": "", "unit": "scale_point", "estimate": 0.6, "conf_low": 0.5,
          "conf_high": 0.7, "status": "ok"}], ESTIMATES,
    )  # fmt: skip
    report = diagnose(INSTRUMENT, data, published, name)
    assert sorted(report.conviction["Stated less private"]) == ["+1", "+1", "+1", "+2", "+3"]
    assert sign_flip([2, 1, 1, 1, 3]) == 1 / 32
    assert answer(report, "Is support stated") == (
        "stated support lies +1.6 points from conviction on the mean (p = 0.031), beyond what chance gives; "
        "cohort 0.60 (0.50 to 0.70)"
    )


def test_the_three_decisions_are_told_from_the_questions_that_bear_on_them(willing):
    name, data = team_of(
        willing, role=["CEO", "CFO", "CTO", "CHRO", "GC"], fund_release=[5, 1, 4, 3, 2], stage_fn=[2, 1, 5, 1, 1],
        owner=["CEO", "CTO", "CTO", "nobody", "CTO"], stall=[1, 1, 0, 0, 0],
        stall_point=["budget", "budget", pd.NA, pd.NA, pd.NA],
    )  # fmt: skip
    rows = diagnose(INSTRUMENT, data, PUBLISHED, name).decisions.groupby("Decision")["What the answers say"].agg(list)
    assert rows["Budget review"][0] == (
        "would release the next funding: Chief Executive Officer, Chief Technology Officer; "
        "would not: Chief Financial Officer, General Counsel"
    )
    assert rows["Decision to scale"][0] == (
        "Stage of own function: highest Chief Technology Officer (Scaled), lowest Chief Financial Officer, Chief Human "
        "Resources Officer, General Counsel (Evaluating)"
    )
    assert rows["Governance sign-off"][0] == (
        "last word on AI decisions: Chief Technology Officer (3 of 5), Chief Executive Officer (1 of 5), "
        "Nobody in particular (1 of 5)"
    )
    assert rows["Where initiatives stalled"][:2] == [
        "report a stalled initiative: 2 of 5",
        "where it stalled: Budget review (2 of 5)",
    ]


# ------------------------------------------------------------------------------------------------------ what never shows


def test_remarks_are_never_read_and_held_back_estimates_are_no_benchmark(willing):
    name, data = team_of(willing, comments=["SECRET remark"] * 5)
    hidden = frame(
        [{"construct": "adoption_gradient", "measure": "conf", "statistic": "role_mean", "role": role.id, "role_2": "",
          "stage": "", "segment": "", "item": "", "unit": "scale_point", "estimate": 3.33, "status": "suppressed"}
         for role in INSTRUMENT.roles], ESTIMATES,
    )  # fmt: skip
    report = diagnose(INSTRUMENT, data, hidden, name)
    text = json.dumps(report.record())
    assert "SECRET" not in text
    assert "3.33" not in text
    other = data.loc[data["org_id"] != name, "resp_id"]
    assert not any(str(resp) in text for resp in other)
    assert not any(str(org) in text for org in data["org_id"].unique() if org != name)


def test_the_order_of_rows_does_not_matter(willing):
    name = of_size(willing, 6)
    one = diagnose(INSTRUMENT, willing, PUBLISHED, name, seed=3).record()
    other = diagnose(INSTRUMENT, willing.sample(frac=1, random_state=1), PUBLISHED, name, seed=3).record()
    assert one == other


@pytest.mark.parametrize("name", ["../../etc", "a/b", ".", "..", "x" * 101, "a b"])
def test_a_pseudonym_that_leads_out_is_refused(willing, name):
    with pytest.raises(StudyError, match="no organisation's pseudonym"):
        diagnose(INSTRUMENT, willing, PUBLISHED, name)


def test_an_unknown_organisation_is_refused(willing):
    with pytest.raises(DataError, match="nobody answered for this organisation"):
        diagnose(INSTRUMENT, willing, PUBLISHED, "o999")
