"""Files of one answer a row: joined to their respondents, every row accounted for, and no respondent lost by one answer."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.clean import clean
from fieldwork.errors import DataError, InstrumentError
from fieldwork.instrument import Instrument
from fieldwork.intake import check_files, read_deliveries, read_delivery
from fieldwork.study import Study
from tests.hostile_files import parquet, spss, workbook

TEXT = """
[instrument]
id = "t"
version = "1"
title = "Ratings"
waves = ["w1", "w2"]
[keys]
respondent = "resp_id"
role = "role"
[[missing]]
code = 9
id = "dont_know"
label = "Don't know"
[[roles]]
code = 1
id = "A"
label = "Role A"
[[roles]]
code = 2
id = "B"
label = "Role B"
[scales.five]
points = [{ code = 1, label = "poor" }, { code = 2, label = "fair" }, { code = 3, label = "good" }]
[items.resp_id]
kind = "identifier"
label = "Respondent"
column = "rid"
[items.wave]
kind = "identifier"
label = "Wave"
[items.role]
kind = "single"
label = "Role"
options = ["roles"]
[items.rating]
kind = "ordinal"
scale = "five"
label = "Rating: {label}"
last_wave = "w1"
repeat = [{ code = 1, id = "red_hat", label = "Red Hat", synonyms = ["RH"] }, { code = 2, id = "sap", label = "SAP" }]
constructs = ["influence"]
[[long]]
file = "ratings.csv"
last_wave = "w1"
family = "rating"
respondent = "rid"
member = "target"
answer = "rating"
missing = { dont_know = "dk" }
repeats = { role = "role" }
"""
PEOPLE = "rid,wave,role\n1,w1,A\n2,w1,B\n3,w1,C\n4,w2,A\n5,w1,\n"
COLUMNS = "rid,role,target,rating,dk\n"
# What each row says, and what becomes of it.
ROWS = [
    ("1,A,Red Hat,3,0", "joined"),
    ("1,A,SAP,,1", "joined"),
    ("2,B,rh,good,0", "joined"),
    ("2,A,SAP,1,0", "joined"),
    ("3,C,Red Hat,2,0", "with_quarantined"),
    ("4,A,Red Hat,2,0", "other_wave"),
    ("7,A,Red Hat,2,0", "respondent_unknown"),
    (",A,Red Hat,2,0", "resp_id_missing"),
    ("5,,Oracle,2,0", "member_unknown"),
    ("5,,Red Hat,lots,0", "value_unknown"),
    ("5,,Red Hat,7,0", "value_out_of_range"),
    ("5,,SAP,2,1", "answer_conflicting"),
    ("5,,SAP,2,maybe", "value_unknown"),
    ("5,,SAP,2", "short_row"),
    ("1,A,RH,3,0", "answer_repeated"),
    (",,,,", "empty_row"),
    ("5,,SAP,,0", "joined"),
]


def instrument_of(folder, text=TEXT, wave="w1"):
    path = folder / "instrument.toml"
    path.write_text(text, encoding="utf-8")
    return Instrument.load(path, wave)


def cleaned(folder, rows, *, people=PEOPLE, wave="w1", columns=COLUMNS, instrument=None):
    (folder / "people.csv").write_text(people, encoding="utf-8")
    (folder / "ratings.csv").write_text(columns + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    instrument = instrument or instrument_of(folder, wave=wave)
    read = read_deliveries([folder / "ratings.csv", folder / "people.csv"], instrument)
    return clean(read, instrument, other_waves="set_aside")


def test_every_row_goes_where_it_should(tmp_path):
    made = cleaned(tmp_path, [row for row, _ in ROWS])
    fate = [what for _, what in ROWS]
    (flow,) = made.flow.long
    assert (flow.file, flow.delivered) == ("ratings.csv", len(ROWS))
    assert flow.joined == fate.count("joined")
    assert flow.with_quarantined == 1
    rules = {rule: fate.count(rule) for rule in fate if rule not in {"joined", "with_quarantined"}}
    assert flow.by_rule == rules
    assert sum(flow.by_rule.values()) == flow.set_aside == flow.delivered - flow.joined - flow.with_quarantined
    assert flow.flags == {"repeat_differs": 1}  # respondent 2 is a B everywhere but in one rating
    aside = made.answers_aside.set_index("row")
    for line, (_, what) in enumerate(ROWS, start=2):
        assert (line in aside.index) == (what not in {"joined", "with_quarantined"})
        if line in aside.index:
            assert aside.loc[line, "rule"] == what, line
    by_id = made.responses.set_index("resp_id")
    assert by_id.loc["1", ["rating_red_hat", "rating_sap"]].tolist() == [3, pd.NA]
    assert by_id.loc["2", ["rating_red_hat", "rating_sap"]].tolist() == [3, 1]
    assert by_id.loc["5", ["rating_red_hat", "rating_sap"]].isna().all()
    reasons = made.missing.set_index(["resp_id", "item"])["reason"]
    assert reasons["1", "rating_sap"] == "dont_know"
    assert reasons["5", "rating_sap"] == reasons["5", "rating_red_hat"] == "blank"


TABLE = {
    "rid": ["1", "1", "2"],
    "role": ["A", "A", "B"],
    "target": [1.0, 2.0, 1.0],
    "rating": [3.0, 9.0, 2.0],
    "dk": [0.0, 0.0, 0.0],
}
KINDS = {
    "ratings.xlsx": lambda: workbook({"S": [list(TABLE), *map(list, zip(*TABLE.values(), strict=True))]}),
    "ratings.parquet": lambda: parquet(TABLE),
    "ratings.sav": lambda: spss(TABLE),
    "ratings.zsav": lambda: spss(
        TABLE | {"target": [7.0, 8.0, 7.0], "rating": [1.0, 8.0, 2.0]}, packed=True,
        labels={"target": {7: "RH", 8: "SAP"}, "rating": {1: "good", 2: "Fair", 8: "Don't know"}}, missing={"rating": [8]},
    ),
    "ratings.tsv": lambda: pd.DataFrame(TABLE).to_csv(sep="\t", index=False).encode("utf-16"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_answers_come_in_every_kind_of_file(tmp_path, name):
    (tmp_path / "people.csv").write_text(PEOPLE, encoding="utf-8")
    (tmp_path / name).write_bytes(KINDS[name]())
    instrument = instrument_of(tmp_path, TEXT.replace("ratings.csv", name))
    made = clean(
        read_deliveries([tmp_path / name, tmp_path / "people.csv"], instrument), instrument, other_waves="set_aside"
    )
    (flow,) = made.flow.long
    assert (flow.delivered, flow.joined, flow.flags) == (3, 3, {})
    by_id = made.responses.set_index("resp_id")
    assert by_id.loc[["1", "2"], "rating_red_hat"].tolist() == [3, 2]
    reasons = made.missing.set_index(["resp_id", "item"])["reason"]
    assert reasons["1", "rating_sap"] == "dont_know"


def test_a_formula_without_a_value_sets_an_answer_aside(tmp_path):
    rows = [["rid", "role", "target", "rating", "dk"], ["1", "A", "SAP", ("formula", None), 0], ["2", "B", "SAP", 3, 0]]
    (tmp_path / "people.csv").write_text(PEOPLE, encoding="utf-8")
    (tmp_path / "ratings.xlsx").write_bytes(workbook({"S": rows}))
    instrument = instrument_of(tmp_path, TEXT.replace("ratings.csv", "ratings.xlsx"))
    made = clean(read_deliveries(tmp_path.glob("*.[cx]*s*"), instrument), instrument, other_waves="set_aside")
    assert made.flow.long[0].by_rule == {"formula_without_value": 1}
    assert made.flow.long[0].joined == 1


def test_respondents_are_counted_as_if_there_were_no_ratings(tmp_path):
    made = cleaned(tmp_path, [row for row, _ in ROWS])
    assert (made.flow.delivered, made.flow.accepted) == (5, 3)
    assert made.flow.by_rule == {"other_wave": 1, "role_unknown": 1}
    assert [file.file for file in made.flow.files] == ["people.csv"]
    assert made.flow.absent_columns == ()
    shown = made.flow.answers()
    assert shown["rows"].iloc[0] + shown["rows"].iloc[1:-1].sum() == shown["rows"].iloc[-1] == 5


def test_of_conflicting_answers_none_is_taken(tmp_path):
    made = cleaned(tmp_path, ["1,A,SAP,3,0", "1,A,SAP,2,0", "1,A,SAP,3,0"])
    assert made.responses.set_index("resp_id").loc["1", "rating_sap"] is pd.NA
    assert made.flow.long[0].by_rule == {"answer_conflicting": 3}
    assert made.flow.accepted == 3


@given(st.permutations(range(len(ROWS))))
@settings(max_examples=15, deadline=None)
def test_rows_have_no_order(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order")
    one, other = (cleaned(folder, [ROWS[k][0] for k in places]) for places in (range(len(ROWS)), order))
    pd.testing.assert_frame_equal(one.responses, other.responses)
    assert one.flow.long[0].by_rule == other.flow.long[0].by_rule
    assert one.flow.long[0].joined == other.flow.long[0].joined


def test_of_another_wave_the_whole_file_is_set_aside_and_counted(tmp_path):
    made = cleaned(tmp_path, ["1,A,SAP,3,0", "1,A,SAP"], wave="w2")
    assert made.flow.long[0].by_rule == {"short_row": 1, "other_wave": 1}
    assert made.flow.accepted == 1
    assert "rating_sap" not in made.responses


def test_unknown_columns_are_kept_apart(tmp_path):
    made = cleaned(tmp_path, ["1,A,SAP,3,0,slow"], columns="rid,role,target,rating,dk,pace\n")
    assert made.unknown_columns[["file", "column", "value"]].to_numpy().tolist() == [["ratings.csv", "pace", "slow"]]
    assert made.flow.remarks["column_unknown"] == 1


def test_a_lacking_column_stops_the_file(tmp_path):
    with pytest.raises(DataError, match="the delivery lacks the column target") as told:
        cleaned(tmp_path, ["1,A,SAP,3,0"], columns="rid,role,targets,rating,dk\n")
    assert told.value.hint == "rename targets to target"


def test_the_same_answers_in_two_forms_are_refused(tmp_path):
    people = "rid,wave,role,rating_sap\n1,w1,A,3\n"
    with pytest.raises(DataError, match="the answers to rating are delivered in two forms") as told:
        cleaned(tmp_path, ["1,A,SAP,3,0"], people=people)
    assert told.value.got == "rating_sap and ratings.csv"


def test_ratings_without_respondents_are_nothing_to_analyse(tmp_path):
    (tmp_path / "ratings.csv").write_text(f"{COLUMNS}1,A,SAP,3,0\n", encoding="utf-8")
    instrument = instrument_of(tmp_path)
    with pytest.raises(DataError, match="nothing was delivered"):
        clean([read_delivery(tmp_path / "ratings.csv", instrument)], instrument)


def test_a_sender_sees_each_fault_of_each_row(tmp_path):
    study = tmp_path / "study"
    (study / "instruments").mkdir(parents=True)
    (study / "instruments" / "instrument.toml").write_text(TEXT, encoding="utf-8")
    (study / "study.toml").write_text(
        '[study]\nname = "s"\nprovenance = "real"\n[waves]\norder = ["w1", "w2"]\ndefault = "w1"\n', encoding="utf-8"
    )
    (tmp_path / "people.csv").write_text(PEOPLE, encoding="utf-8")
    (tmp_path / "ratings.csv").write_text(COLUMNS + "".join(f"{row}\n" for row, _ in ROWS), encoding="utf-8")
    found = check_files([tmp_path / "people.csv", tmp_path / "ratings.csv"], Study.open(study))
    of_ratings = [(problem.row, problem.rule) for problem in found if problem.file == "ratings.csv"]
    expected = [
        (line, what) for line, (_, what) in enumerate(ROWS, start=2) if what not in {"joined", "with_quarantined"}
    ]
    assert sorted(of_ratings) == sorted([*expected, (5, "repeat_differs")])
    offered = next(problem for problem in found if problem.rule == "member_unknown")
    assert (offered.column, offered.value) == ("target", "Oracle")
    alone = check_files([tmp_path / "ratings.csv"], Study.open(study))
    assert {problem.rule for problem in alone} >= {"value_unknown", "member_unknown"}
    assert "respondent_unknown" not in {problem.rule for problem in alone}


@pytest.mark.parametrize(
    ("old", "new", "title"),
    [
        ('family = "rating"', 'family = "ratings"', "there is no family 'ratings'"),
        ('missing = { dont_know = "dk" }', 'missing = { dk = "dk" }', "there is no missing code 'dk'"),
        ('repeats = { role = "role" }', 'repeats = { rol = "role" }', "there is no item 'rol'"),
        ('answer = "rating"', 'answer = "target"', "column 'target' stands twice"),
        ('file = "ratings.csv"', 'file = "../ratings.csv"', "is not as an instrument has it"),
        ('member = "target"', 'membre = "target"', "unknown key 'membre'"),
        ('synonyms = ["RH"]', 'synonyms = ["SAP"]', "is not as an instrument has it"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(tmp_path, old, new, title):
    with pytest.raises(InstrumentError) as told:
        instrument_of(tmp_path, TEXT.replace(old, new))
    assert title in str(told.value)
    assert "instrument.toml" in str(told.value)


ROOT = Path(__file__).resolve().parents[1]
OSPO_DATA = ROOT.parent / "shared" / "data" / "ospo"


@pytest.mark.skipif(not OSPO_DATA.is_dir(), reason="the survey's data are not beside this copy of the project")
def test_the_ratings_of_a_real_survey_are_joined_to_the_last():
    study = Study.open(ROOT / "examples" / "ospo", "2021", raw=OSPO_DATA)
    instrument = study.instrument()
    made = clean(read_deliveries(study.raw_files(), instrument, within=study.raw), instrument, other_waves="set_aside")
    (flow,) = made.flow.long
    assert (flow.delivered, flow.joined, flow.set_aside, flow.flags) == (7869, 7869, 0, {})
    ratings = made.responses.filter(like="rating_")
    assert ratings.notna().sum().sum() == 5662
    of_ratings = made.missing[made.missing["item"].astype(str).str.startswith("rating_")]
    assert of_ratings["reason"].eq("dont_know").sum() == 2207
    assert ratings.notna().any(axis=1).sum() <= 729
    assert made.responses["rating_red_hat"].mean() == pytest.approx(4.3508, abs=1e-4)
