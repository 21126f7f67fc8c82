"""Validation: the suite is the instrument's, a failure is told from what could not be checked, and nothing leaks."""

import json
import socket
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork import validate as validating
from fieldwork.clean import clean
from fieldwork.errors import DataError
from fieldwork.instrument import Instrument
from fieldwork.intake import read_delivery
from fieldwork.validate import data_quality, expectations, non_response, non_response_table, suite_table, validate

CASES = Path(__file__).parent / "cases" / "deliveries"
INSTRUMENT = Instrument.load(CASES / "instruments" / "instrument.toml", "w1")


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    """60 respondents: 40 CEO, 15 CFO, 5 CTO; 12 CEO and all CTO leave out `prep`; one answer that none other gives."""
    roles = ["CEO"] * 40 + ["CFO"] * 15 + ["CTO"] * 5
    rows = [
        {
            "resp_id": f"person-{number:03}",
            "org_id": f"house-{number % 12}",
            "wave": "w1",
            "role": role,
            "stage_fn": 1 + number % 3,
            "conf": 1 + number % 5,
            "prep": "" if number < 12 or role == "CTO" else 3,
            "attn": 4,
            **dict(zip(("blk_roi", "blk_cost", "blk_skill", "blk_none"), (1, 0, int(number < 3), 0), strict=True)),
            "blk_cost": int(number < 3),
            "stall": number % 2,
            "weeks": 41.375 if number == 7 else "",
            "budget": 2 if role == "CFO" else "",
            "pri_a": 1,
            "pri_b": 2,
            "pri_c": 3,
            "comments": f"secret words {number}",
            "extra": "unasked",
        }
        for number, role in enumerate(roles)
    ]
    path = tmp_path_factory.mktemp("delivery") / "a.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return clean([read_delivery(path, INSTRUMENT)], INSTRUMENT)


@pytest.fixture(scope="module")
def validation(cleaned):
    return validate(cleaned.responses, cleaned.missing, INSTRUMENT)


@pytest.fixture(scope="module")
def facts(cleaned, validation):
    return data_quality(validation, cleaned.flow.as_dict(), cleaned.responses, INSTRUMENT)


def test_every_column_of_the_instrument_has_its_expectation():
    derived = expectations(INSTRUMENT)
    reads = set().union(*(validating._columns(each) for each in derived))
    free = {"comments"}
    assert set(INSTRUMENT.columns()) - free <= reads
    assert [each["meta"]["number"] for each in derived] == list(range(len(derived)))
    assert len({each["meta"]["wording"] for each in derived}) == len(derived), "each says something of its own"


@pytest.mark.parametrize(
    ("item", "kind", "wording"),
    [
        ("resp_id", "expect_compound_columns_to_be_unique", "each respondent occurs once in the wave"),
        ("wave", "expect_column_values_to_be_in_set", "every response is of wave w1"),
        ("role", "expect_column_values_to_be_in_set", "Role is one of CEO, CFO, CTO"),
        ("conf", "expect_column_values_to_be_in_set", "Confidence is one of 1, 2, 3, 4, 5"),
        ("blk", "expect_column_values_to_be_in_set", "Blockers: blk_roi is 0 or 1"),
        ("blk", "expect_column_values_to_be_in_set", "Blockers: none stands alone"),
        ("blk", "expect_column_values_to_be_between", "at most 2 options of Blockers are chosen"),
        ("weeks", "expect_column_values_to_be_between", "Weeks stalled is a number from 0 to 52"),
        ("weeks", "expect_column_values_to_be_null", "Weeks stalled is empty where it was not put (weeks)"),
        ("budget", "expect_column_values_to_be_null", "Budget is empty where it was not put (budget)"),
        ("pri_a", "expect_column_values_to_be_in_set", "Priority of a is a rank or option from 1 to 3"),
        ("role", "expect_table_row_count_to_be_between", "at least 10 respondents are CTO"),
    ],
)
def test_what_the_instrument_implies_is_expected(item, kind, wording):
    derived = {each["meta"]["wording"]: each for each in expectations(INSTRUMENT)}
    assert (derived[wording]["meta"]["item"], derived[wording]["type"]) == (item, kind)


def test_a_new_item_brings_its_own_expectations(tmp_path):
    text = (CASES / "instruments" / "instrument.toml").read_text(encoding="utf-8")
    (tmp_path / "more.toml").write_text(
        text + '\n[items.more]\nkind = "ordinal"\nlabel = "More"\nscale = "five"\nrequired = true\n', encoding="utf-8"
    )
    more = expectations(Instrument.load(tmp_path / "more.toml", "w1"))
    assert [each["meta"]["wording"] for each in more if each["meta"]["item"] == "more"] == [
        "More is there for every respondent to whom it was put",
        "More is one of 1, 2, 3, 4, 5",
        "at most 20% of those asked left More without an answer",
    ]


def test_sound_responses_meet_every_error_and_warn_where_they_are_thin(validation):
    assert validation.suite_size == len(expectations(INSTRUMENT)) == len(validation.results)
    assert validation.errors.empty
    assert validation.failing.empty
    validation.require()
    assert validation.warnings["expectation"].tolist() == [
        "at most 20% of those asked left Preparedness without an answer",
        "at most 2 options of Blockers are chosen",
        "at most 20% of those asked left Weeks stalled without an answer",
        "at least 10 respondents are CTO",
    ]
    prep = validation.results.set_index("expectation").loc[
        "at most 20% of those asked left Preparedness without an answer"
    ]
    assert (prep["n_checked"], prep["n_unexpected"]) == (60, 17)
    assert prep["share"] == pytest.approx(17 / 60)


SPOILS = {
    "Role is one of CEO, CFO, CTO": ("role", "CISO"),
    "Confidence is one of 1, 2, 3, 4, 5": ("conf", 6),
    "Blockers: blk_roi is 0 or 1": ("blk_roi", 2),
    "Weeks stalled is a number from 0 to 52": ("weeks", 99.0),
    "every response is of wave w1": ("wave", "w2"),
    "Role is there for every respondent to whom it was put": ("role", pd.NA),
    "Budget is empty where it was not put (budget)": ("budget", 3),
    "Blockers: none stands alone": ("blk_none", 1),
    "Start of interview is an ISO date": ("start", "01/02/2026"),
}


@pytest.mark.parametrize("expectation", SPOILS)
def test_an_answer_changed_after_cleaning_is_found_and_its_row_named(cleaned, expectation):
    column, value = SPOILS[expectation]
    responses = cleaned.responses.copy()
    row = int(np.flatnonzero(responses["resp_id"] == "person-021")[0])
    responses.loc[row, column] = value
    found = validate(responses, cleaned.missing, INSTRUMENT)
    assert expectation in set(found.errors["expectation"])
    failing = found.failing[found.failing["expectation"] == expectation]
    assert failing[["resp_id", "row"]].to_numpy().tolist() == [["person-021", row + 1]]
    with pytest.raises(DataError) as caught:
        found.require()
    assert f"person-021 (row {row + 1})" in caught.value.got
    if isinstance(value, str):
        assert value not in str(caught.value).replace(expectation, ""), "the row is named, the answer is not"


def test_a_respondent_twice_is_found(cleaned):
    responses = pd.concat([cleaned.responses, cleaned.responses.iloc[[0]]])
    found = validate(responses, cleaned.missing, INSTRUMENT)
    assert found.errors["expectation"].tolist() == ["each respondent occurs once in the wave"]
    assert found.failing["row"].tolist() == [1, 61]


def test_an_unknown_type_is_not_left_out_in_silence(cleaned, monkeypatch):
    derived = expectations(INSTRUMENT)
    derived[3] = {**derived[3], "type": "expect_column_values_to_be_lovely"}
    monkeypatch.setattr(validating, "expectations", lambda _: derived)
    with pytest.raises(DataError) as caught:
        validate(cleaned.responses, cleaned.missing, INSTRUMENT)
    assert caught.value.title == "expectations did not reach the suite"
    assert "expect_column_values_to_be_lovely" in caught.value.got


def test_what_cannot_be_checked_is_no_failure(cleaned):
    with pytest.raises(DataError) as caught:
        validate(cleaned.responses.drop(columns="conf"), cleaned.missing, INSTRUMENT)
    assert caught.value.title == "1 expectations could not be checked"
    assert "Confidence" in caught.value.got


def test_no_response_at_all_is_refused(cleaned):
    with pytest.raises(DataError, match="no response was accepted") as caught:
        validate(cleaned.responses.iloc[:0], cleaned.missing.iloc[:0], INSTRUMENT)
    assert "quarantine" in caught.value.hint


def test_missing_answers_that_come_in_parts_are_the_same(cleaned):
    whole = non_response(cleaned.responses, cleaned.missing, INSTRUMENT)
    calls = []

    def parts():
        calls.append(1)
        return (cleaned.missing.iloc[low : low + 37] for low in range(0, len(cleaned.missing), 37))

    assert len(cleaned.missing) > 100
    pd.testing.assert_frame_equal(non_response(cleaned.responses, parts, INSTRUMENT), whole)
    one, other = (validate(cleaned.responses, each, INSTRUMENT) for each in (cleaned.missing, parts))
    pd.testing.assert_frame_equal(other.results, one.results)
    assert len(calls) == 2


def test_non_response_tells_what_was_not_put_from_what_was_not_answered(cleaned):
    lacking = non_response(cleaned.responses, cleaned.missing, INSTRUMENT)
    role = cleaned.responses["role"]
    assert lacking["budget"].isna().sum() == 45
    assert lacking.loc[role == "CFO", "budget"].sum() == 0
    assert lacking["prep"].sum() == 17
    assert lacking["weeks"].notna().sum() == 30, "put to those who stalled"
    assert "comments" not in lacking.columns


def test_a_module_of_which_nothing_was_answered_was_skipped(tmp_path):
    text = (CASES / "instruments" / "instrument.toml").read_text(encoding="utf-8")
    more = "".join(f'\n[items.{name}]\nkind = "flag"\nlabel = "{name}"\nmodule = "more"\n' for name in ("m1", "m2"))
    (tmp_path / "more.toml").write_text(text + more, encoding="utf-8")
    instrument = Instrument.load(tmp_path / "more.toml", "w1")
    rows = "resp_id,org_id,wave,role,conf,prep,m1,m2\n1,o,w1,CEO,4,3,,\n2,o,w1,CEO,4,3,1,\n"
    (tmp_path / "a.csv").write_text(rows, encoding="utf-8")
    found = clean([read_delivery(tmp_path / "a.csv", instrument)], instrument)
    lacking = non_response(found.responses, found.missing, instrument)
    assert lacking["m1"].isna().tolist() == [True, False]
    assert lacking["m2"].tolist() == [pd.NA, 1]


def test_the_page_gets_groups_only(facts):
    prep = {fact["role"]: (fact["base"], fact["share"]) for fact in facts["item_nonresponse"] if fact["item"] == "prep"}
    assert prep == {"": (60, "28%"), "CEO": (40, "30%"), "CFO": (None, None), "CTO": (None, None)}
    conf = {fact["role"]: fact["share"] for fact in facts["item_nonresponse"] if fact["item"] == "conf"}
    assert conf[""] == "0%"
    assert facts["unknown_columns"] == ["extra"]
    assert facts["flow"]["delivered"] == facts["flow"]["accepted"] + facts["flow"]["quarantined"] == 60
    assert facts["suite"]["size"] == len(facts["suite"]["results"]) == facts["suite"]["met"] + 4


def test_no_answer_and_no_id_is_in_the_facts(facts, cleaned):
    text = json.dumps(facts)
    for never in ("person-", "house-", "secret words", "41.375", "unasked"):
        assert never not in text
    assert cleaned.responses["weeks"].max() == 41.375


def test_the_tables_of_the_chapter(facts):
    assert suite_table(facts, met=False)["severity"].unique().tolist() == ["warning"]
    assert "at least 10 respondents are CTO" in suite_table(facts, met=False).index
    assert len(suite_table(facts, met=True)) == facts["suite"]["met"]
    table = non_response_table(facts, INSTRUMENT)
    assert list(table.columns) == ["all", "CEO", "CFO", "CTO"]
    assert table.loc["Preparedness"].tolist() == ["28%", "30%", "", ""]
    assert "Confidence" not in table.index, "everybody answered it"


def test_validation_opens_no_connection_and_leaves_no_file(cleaned, monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GX_ANALYTICS_ENABLED", raising=False)
    validate(cleaned.responses, cleaned.missing, INSTRUMENT)
    import os

    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert list(tmp_path.iterdir()) == []


def test_the_engine_is_not_imported_before_it_is_needed():
    import subprocess

    code = "import sys, fieldwork.validate, fieldwork.clean; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_blank_in_an_item_put_to_a_random_part_is_no_refusal(cleaned):
    items = tuple(
        item.model_copy(update={"sampled": True}) if item.name == "prep" else item for item in INSTRUMENT.items
    )
    sampled = INSTRUMENT.model_copy(update={"items": items})
    before = non_response(cleaned.responses, cleaned.missing, INSTRUMENT)["prep"]
    after = non_response(cleaned.responses, cleaned.missing, sampled)["prep"]
    assert before.eq(1).sum() == 17
    assert after.eq(1).sum() == 0
    assert after.isna().sum() == 17


def test_a_respondent_without_a_role_counts_with_everybody_only(cleaned, validation):
    responses = cleaned.responses.copy()
    role = INSTRUMENT.keys.role
    responses.loc[responses.index[:12], role] = pd.NA
    facts = data_quality(validation, cleaned.flow.as_dict(), responses, INSTRUMENT)
    before = data_quality(validation, cleaned.flow.as_dict(), cleaned.responses, INSTRUMENT)
    total = {f["item"]: f["base"] for f in facts["item_nonresponse"] if not f["role"]}
    assert total == {f["item"]: f["base"] for f in before["item_nonresponse"] if not f["role"]}


def test_columns_put_together_give_what_each_gives_by_itself(cleaned, monkeypatch):
    responses = cleaned.responses.copy()
    for row, (column, value) in enumerate(SPOILS.values()):
        responses.loc[row, column] = value
    responses.loc[[4, 9], "blk_roi"] = 7
    responses.loc[9, "pri_a"] = 9
    assert any(len(alike.members) > 2 for alike in grouped(responses))
    together = validate(responses, cleaned.missing, INSTRUMENT)
    assert set(SPOILS) <= set(together.errors["expectation"])
    monkeypatch.setattr(validating, "_VALUES", 0)
    assert not grouped(responses), "of few rows none by itself"
    alone = validate(responses, cleaned.missing, INSTRUMENT)
    pd.testing.assert_frame_equal(together.results, alone.results)
    pd.testing.assert_frame_equal(together.failing, alone.failing)
    monkeypatch.setattr(validating, "_MANY", 0)
    assert all(len(alike.members) == 1 for alike in grouped(responses))
    as_of_many_rows = validate(responses, cleaned.missing, INSTRUMENT)
    pd.testing.assert_frame_equal(as_of_many_rows.results, alone.results)
    pd.testing.assert_frame_equal(as_of_many_rows.failing, alone.failing)


def grouped(responses):
    return list(validating._alike(expectations(INSTRUMENT), responses, pd.DataFrame()))


def test_columns_that_cannot_be_checked_together_are_checked_alone(cleaned, validation, monkeypatch):
    together = validating._together
    # The shares of items are a table of one row.
    monkeypatch.setattr(
        validating, "_together", lambda alike, run: {} if len(alike.table) > 1 else together(alike, run)
    )
    pd.testing.assert_frame_equal(validate(cleaned.responses, cleaned.missing, INSTRUMENT).results, validation.results)


def test_an_item_that_nobody_was_asked_has_no_share_to_be_judged(cleaned):
    not_put = cleaned.responses[["resp_id"]].assign(item="prep", reason="not_delivered")
    found = validate(cleaned.responses.assign(prep=pd.NA), not_put, INSTRUMENT).results.set_index("expectation")
    prep = found.loc["at most 20% of those asked left Preparedness without an answer"]
    assert prep[["success", "n_checked", "n_unexpected", "share"]].tolist() == [True, 0, 0, 0.0]
