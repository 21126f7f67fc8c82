"""Cleaning: each rule on a delivery of its own, and the counts that always add up."""

import io
import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldwork import beside
from fieldwork.chapter import Chapter
from fieldwork.clean import clean, take_in
from fieldwork.cli import main
from fieldwork.errors import DataError
from fieldwork.instrument import Instrument
from fieldwork.intake import read_deliveries, read_delivery
from fieldwork.schema import QUARANTINE

CASES = Path(__file__).parent / "cases" / "deliveries"
INSTRUMENT = Instrument.load(CASES / "instruments" / "instrument.toml", "w1")
HEADER = [
    *("resp_id", "org_id", "wave", "start", "end", "role", "stage_fn", "conf", "prep", "attn"),
    *(
        "blk_roi",
        "blk_cost",
        "blk_skill",
        "blk_none",
        "stall",
        "weeks",
        "budget",
        "pri_a",
        "pri_b",
        "pri_c",
        "comments",
    ),
]
SOUND = {
    **dict.fromkeys(HEADER, ""),
    "org_id": "o1",
    "wave": "w1",
    "role": "CEO",
    "stage_fn": "1",
    "conf": "4",
    "prep": "3",
    "attn": "4",
    "blk_roi": "1",
    "blk_cost": "0",
    "blk_skill": "0",
    "blk_none": "0",
    "stall": "0",
    "pri_a": "1",
    "pri_b": "2",
    "pri_c": "3",
}


def csv_of(rows, header=HEADER):
    frame = pd.DataFrame([{**SOUND, "resp_id": f"r{number}", **row} for number, row in enumerate(rows)])
    return frame[header].to_csv(index=False)


@pytest.fixture
def cleaned(tmp_path):
    def run(*rows, header=HEADER, **options):
        path = tmp_path / "a.csv"
        path.write_text(csv_of(rows, header), encoding="utf-8")
        return clean([read_delivery(path, INSTRUMENT)], INSTRUMENT, **options)

    return run


DECLARED = "nothing to mend: set aside by a rule that was declared before the data were read; "
ONE_FAULT = [
    ({"resp_id": ""}, "resp_id_missing", "resp_id", "", "give the respondent"),
    ({"org_id": " "}, "org_id_missing", "org_id", " ", "give the organisation"),
    ({"wave": ""}, "wave_missing", "wave", "", "give the wave, w1"),
    ({"role": ""}, "role_missing", "role", "", "give the role, one of CEO, CFO, CTO"),
    ({"role": "99"}, "role_missing", "role", "99", "give the role, one of CEO, CFO, CTO"),
    (
        {"role": "Chief Tecnology Officer"},
        "role_unknown",
        "role",
        "Chief Tecnology Officer",
        "did you mean CTO? use CEO, CFO, CTO; missing: 98 (Not applicable), 99 (Don't know)",
    ),
    ({"role": "7"}, "role_unknown", "role", "7", "use CEO, CFO, CTO; missing: 98 (Not applicable), 99 (Don't know)"),
    (
        {"stage_fn": "4"},
        "stage_out_of_range",
        "stage_fn",
        "4",
        "use 1 (Trying), 2 (Using), 3 (Scaled); missing: 98 (Not applicable), 99 (Don't know)",
    ),
    (
        {"stage_fn": "Scalled"},
        "value_unknown",
        "stage_fn",
        "Scalled",
        "did you mean scaled? use 1 (Trying), 2 (Using), 3 (Scaled); missing: 98 (Not applicable), 99 (Don't know)",
    ),
    (
        {"conf": "0"},
        "value_out_of_range",
        "conf",
        "0",
        "use 1 (Very low), 2 (Low), 3 (Medium), 4 (High), 5 (Very high); missing: 98 (Not applicable), 99 (Don't know)",
    ),
    (
        {"conf": "3.5"},
        "value_unknown",
        "conf",
        "3.5",
        "use 1 (Very low), 2 (Low), 3 (Medium), 4 (High), 5 (Very high); missing: 98 (Not applicable), 99 (Don't know)",
    ),
    ({"blk_cost": "2"}, "value_out_of_range", "blk_cost", "2", "a column of blk holds 0 or 1"),
    ({"blk_cost": "ja"}, "value_unknown", "blk_cost", "ja", "a column of blk holds 0 or 1"),
    ({"stall": "1", "weeks": "60"}, "value_out_of_range", "weeks", "60", "give a plain number from 0 to 52"),
    ({"stall": "1", "weeks": "1,5"}, "value_unknown", "weeks", "1,5", "give a plain number from 0 to 52"),
    ({"stall": "1", "weeks": "inf"}, "value_unknown", "weeks", "inf", "give a plain number from 0 to 52"),
    ({"pri_a": "4"}, "value_out_of_range", "pri_a", "4", "give a whole number from 1 to 3"),
    (
        {"start": "2026-02-30"},
        "date_unreadable",
        "start",
        "2026-02-30",
        "write dates as 2026-01-31 or 2026-01-31T09:30",
    ),
    (
        {"blk_none": "1"},
        "exclusive_combined",
        "blk",
        "roi;none",
        "none stands alone: untick it or the others",
    ),
    (
        {"start": "2026-01-05T10:00", "end": "2026-01-05T09:00"},
        "end_before_start",
        "end",
        "2026-01-05T10:00:00 to 2026-01-05T09:00:00",
        "correct the times, or leave them empty",
    ),
    (
        {"start": "2026-01-05T10:00", "end": "2026-01-05T10:01:30"},
        "speeder",
        "end",
        "1.5 minutes",
        DECLARED + "shorter than 2 minutes",
    ),
    ({"attn": "3"}, "attention_failed", "attn", "3", DECLARED + "the instruction was to answer High"),
    (
        {"role": "CFO", "conf": "2", "prep": "2", "budget": "2"},
        "straight_liner",
        "",
        "2 throughout",
        DECLARED + "the same answer to 3 items",
    ),
]


@pytest.mark.parametrize(
    ("row", "rule", "column", "value", "mend"), ONE_FAULT, ids=[f"{f[1]}-{i}" for i, f in enumerate(ONE_FAULT)]
)
def test_each_rule_sets_aside_its_row_and_no_other(cleaned, row, rule, column, value, mend):
    found = cleaned({"start": "2026-01-05", "conf": "5"}, row)
    assert found.quarantine.to_dict("records") == [
        {
            "file": "a.csv",
            "row": 3,
            "resp_id": row.get("resp_id", "r1"),
            "column": column,
            "value": value,
            "rule": rule,
            "mend": mend,
        }
    ]
    assert found.flow.by_rule == {rule: 1}
    assert found.flow.words[rule]
    assert (found.flow.delivered, found.flow.accepted, found.flow.quarantined) == (2, 1, 1)
    assert found.responses["resp_id"].tolist() == ["r0"]


@pytest.mark.parametrize(
    ("row", "flag"),
    [
        ({"blk_cost": "1", "blk_skill": "1"}, "cap_exceeded"),
        ({"pri_a": "2"}, "rank_repeated"),
        ({"resp_id": "r\u200b1"}, "hidden_characters"),
        ({"weeks": "5"}, "routing_violated"),
        ({"budget": "5"}, "routing_violated"),
        ({"conf": "5"}, "duplicate_answers"),
    ],
)
def test_each_remark_keeps_its_row_and_is_counted(cleaned, row, flag):
    found = cleaned({"conf": "5"}, row)
    assert found.flow.flags == {flag: 1}
    assert found.responses["resp_id"].tolist() == ["r0", "r1"]
    assert found.quarantine.empty


def test_a_row_stands_under_the_first_rule_and_names_the_others(cleaned):
    found = cleaned({}, {"role": "CFOO", "conf": "9", "attn": "1"}).quarantine.iloc[0]
    assert found["rule"] == "role_unknown"
    assert "further: value_out_of_range in conf ('9')" in found["mend"]
    assert "attention_failed in attn ('1')" in found["mend"]


def test_the_same_answers_twice_count_once(cleaned):
    first = {"resp_id": "x", "start": "2026-01-05T10:00", "end": "2026-01-05T10:20"}
    again = {**first, "role": "Chief Executive Officer", "conf": "High", "start": "2026-01-06T10:00", "end": ""}
    found = cleaned(again, first)
    assert found.quarantine[["row", "rule"]].to_numpy().tolist() == [[2, "duplicate_respondent"]], "the later goes"
    assert found.responses["start"].tolist() == ["2026-01-05T10:00:00"]


def test_conflicting_answers_of_one_respondent_are_all_set_aside(cleaned):
    found = cleaned({"resp_id": "x"}, {"resp_id": "x", "conf": "1"}, {"resp_id": "x"}, {})
    assert found.flow.by_rule == {"duplicate_respondent": 3}
    assert found.responses["resp_id"].tolist() == ["r3"]


def test_missing_answers_keep_their_reason(cleaned):
    found = cleaned(
        {
            "conf": "99",
            "prep": "Not applicable",
            "weeks": "3",
            "blk_roi": "",
            "blk_cost": "",
            "blk_skill": "",
            "blk_none": "",
        }
    )
    reasons = found.missing.set_index("item")["reason"].astype(str).to_dict()
    assert reasons == {
        "start": "blank",
        "end": "blank",
        "conf": "dont_know",
        "prep": "not_applicable",
        "blk": "blank",
        "weeks": "routed_out",
        "budget": "not_shown",
        "comments": "blank",
    }
    assert found.responses[["conf", "prep", "weeks", "blk_roi"]].isna().all(axis=None)


def test_the_responses_table_is_the_instruments(cleaned):
    found = cleaned({}, header=[name for name in HEADER if name != "attn"]).responses
    assert list(found.columns) == INSTRUMENT.columns()
    kinds = found.dtypes.astype(str).to_dict()
    assert kinds["resp_id"] == kinds["role"] == kinds["start"] == "string"
    assert kinds["conf"] == kinds["blk_roi"] == kinds["pri_a"] == kinds["stall"] == "Int8"
    assert kinds["weeks"] == "Float64"
    assert found["attn"].isna().all()


def test_an_absent_column_is_named_and_its_answers_have_a_reason(cleaned):
    found = cleaned({}, header=[name for name in HEADER if name != "attn"])
    assert found.flow.absent_columns == ("attn",)
    assert found.flow.remarks == {"column_absent": 1}
    assert found.missing.set_index("item")["reason"]["attn"] == "not_delivered"


def measured(tmp_path, *headers):
    paths = [tmp_path / f"{letter}.csv" for letter in "abc"[: len(headers)]]
    for number, (path, measures) in enumerate(zip(paths, headers, strict=True)):
        path.write_text(f"resp_id,org_id,wave,role,{measures}\nr{number},o,w1,CEO,4,3\n", encoding="utf-8")
    return clean(read_deliveries(paths, INSTRUMENT), INSTRUMENT)


def test_a_misspelt_measure_stops_the_run(tmp_path):
    with pytest.raises(DataError) as caught:
        measured(tmp_path, "confi,prep", "extra,prep")
    assert str(caught.value) == (
        "DataError: no delivered file has the column conf, which carries the adoption gradient\n"
        "  where     a.csv, b.csv, row 1, column conf\n"
        "  expected  conf (Confidence)\n"
        "  got       confi, extra\n"
        "  hint      rename confi in a.csv to conf"
    )


def test_a_measure_that_was_not_delivered_is_remarked(tmp_path):
    found = measured(tmp_path, "zzz,yyy")
    assert {"conf", "prep"} <= set(found.flow.absent_columns)
    assert found.responses["conf"].isna().all()


def test_a_delivery_of_headers_alone_is_no_delivery(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(",".join(HEADER) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        clean(read_deliveries(sorted(tmp_path.glob("*.csv")), INSTRUMENT), INSTRUMENT)
    assert str(caught.value) == (
        "DataError: nothing was delivered\n"
        "  where     a.csv, b.csv\n"
        "  expected  one row per respondent below the header\n"
        "  got       a header and no rows\n"
        "  hint      export the delivery again, or ask the sender for it"
    )


def test_a_header_without_rows_beside_a_delivery_is_remarked(tmp_path):
    (tmp_path / "a.csv").write_text(csv_of([{}]), encoding="utf-8")
    (tmp_path / "b.csv").write_text(",".join(HEADER) + "\n", encoding="utf-8")
    found = clean(read_deliveries(sorted(tmp_path.glob("*.csv")), INSTRUMENT), INSTRUMENT)
    assert found.flow.remarks == {"no_rows": 1}
    assert [(file.file, file.delivered) for file in found.flow.files] == [("a.csv", 1), ("b.csv", 0)]


def test_a_measure_that_one_file_holds_goes_on(tmp_path):
    found = measured(tmp_path, "conf,prep", "confi,prep")
    assert found.flow.absent_columns[:2] == ("attn", "blk_cost")
    assert found.responses["conf"].tolist() == [4, pd.NA]


def test_a_measure_that_the_wave_does_not_ask_is_not_missed(tmp_path):
    text = (CASES / "instruments" / "instrument.toml").read_text(encoding="utf-8")
    path = tmp_path / "instrument.toml"
    path.write_text(
        text.replace('label = "Preparedness"', 'label = "Preparedness"\nlast_wave = "w0"'), encoding="utf-8"
    )
    path.write_text(path.read_text().replace('items = ["conf", "prep", "budget"]', 'items = ["conf", "budget"]'))
    instrument = Instrument.load(path, "w1")
    (tmp_path / "a.csv").write_text("resp_id,org_id,wave,role,conf\nr1,o,w1,CEO,4\n", encoding="utf-8")
    assert len(clean([read_delivery(tmp_path / "a.csv", instrument)], instrument).responses) == 1


def test_unknown_columns_are_kept_apart_as_delivered(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "resp_id,org_id,wave,role,conf,prep,extra,\n1,o,w1,CEO,4,4,=1+1,\n2,o,w1,CEO,4,4,,\n", encoding="utf-8"
    )
    found = clean([read_delivery(path, INSTRUMENT)], INSTRUMENT)
    assert found.flow.unknown_columns == ("extra",)
    assert found.unknown_columns.to_dict("records") == [
        {"file": "a.csv", "row": 2, "resp_id": "1", "column": "extra", "value": "=1+1"}
    ]


def test_another_wave_stops_the_run(cleaned):
    with pytest.raises(DataError) as caught:
        cleaned({}, {"wave": "w2"})
    assert caught.value.where == "a.csv, row 3, column wave"
    assert (caught.value.expected, caught.value.got) == ("w1", "'w2' (1 of 2 rows)")
    assert "files" in caught.value.hint


def test_files_that_hold_all_waves_have_the_others_set_aside(cleaned):
    found = cleaned({}, {"wave": "w2", "role": "Nobody", "conf": "77"}, other_waves="set_aside")
    assert found.flow.by_rule == {"other_wave": 1}
    assert "further" not in found.quarantine["mend"][0], "another wave has another instrument"


def test_dates_in_another_order_stop_the_file(cleaned):
    with pytest.raises(DataError, match="does not write dates in ISO form") as caught:
        cleaned({"start": "01/02/2026"}, {"start": "02/02/2026"})
    assert caught.value.where == "a.csv, row 2, column start"


def weighted(tmp_path, *weights):
    text = (CASES / "instruments" / "instrument.toml").read_text(encoding="utf-8")
    text = text.replace('start = "start"', 'weight = "w"\nstart = "start"', 1)
    path = tmp_path / "weighted.toml"
    path.write_text(text + '\n[items.w]\nkind = "number"\nlabel = "Weight"\n', encoding="utf-8")
    instrument = Instrument.load(path, "w1")
    rows = "".join(f"{n},o,w1,CEO,4,4,{weight}\n" for n, weight in enumerate(weights, 1))
    (tmp_path / "a.csv").write_text(f"resp_id,org_id,wave,role,conf,prep,w\n{rows}", encoding="utf-8")
    return clean([read_delivery(tmp_path / "a.csv", instrument)], instrument)


def test_a_weight_that_would_be_the_result_is_set_aside(tmp_path):
    found = weighted(tmp_path, 0.5, 1, 1.5, 2, "1e9", 400, "-1")
    assert found.quarantine[["row", "value", "mend"]].to_numpy().tolist() == [
        [6, "1e+09", "give a weight of the usual size: the median is 1.75, this is over 1,000 times as much"],
        [8, "-1", "give a number above 0"],
    ]
    assert found.flow.by_rule == {"weight_invalid": 2}


@pytest.mark.parametrize("weight", ["0", "-1", "inf", "nan", "", "1e400", "x"])
def test_a_weight_that_cannot_weigh_is_set_aside(tmp_path, weight):
    found = weighted(tmp_path, 1.5, weight)
    assert found.quarantine[["row", "column", "value", "rule", "mend"]].to_numpy().tolist() == [
        [3, "w", weight, "weight_invalid", "give a number above 0"]
    ]


def bytes_of(found):
    buffer = io.BytesIO()
    found.responses.to_parquet(buffer)
    return buffer.getvalue()


def test_the_order_of_delivery_never_reaches_the_responses(cleaned):
    rows = [{"resp_id": f"r{n:02}", "org_id": f"o{n % 3}", "conf": str(1 + n % 5)} for n in range(12)]
    rows.append(rows[4])
    assert bytes_of(cleaned(*rows)) == bytes_of(cleaned(*reversed(rows)))
    assert bytes_of(cleaned(*rows)) == bytes_of(cleaned(*rows[5:], *rows[:5]))
    assert cleaned(*rows).responses["org_id"].is_monotonic_increasing


def test_files_of_one_wave_are_one_delivery(tmp_path):
    for name, rows in (("b.csv", [{"resp_id": "1"}]), ("a.csv", [{"resp_id": "1"}, {"resp_id": "2"}])):
        (tmp_path / name).write_text(csv_of(rows), encoding="utf-8")
    found = clean(read_deliveries(tmp_path.glob("*.csv"), INSTRUMENT, within=tmp_path), INSTRUMENT)
    assert [(file.file, file.delivered) for file in found.flow.files] == [("a.csv", 2), ("b.csv", 1)]
    assert found.quarantine[["file", "row", "rule"]].to_numpy().tolist() == [["b.csv", 2, "duplicate_respondent"]]


def test_the_tables_of_the_flow_add_up(cleaned):
    rows = cleaned({}, {"role": "x"}, {"conf": "9"}, {"weeks": "1"}).flow.rows()
    assert rows.iloc[0]["rows"] + rows.iloc[1:-1]["rows"].sum() == rows.iloc[-1]["rows"] == 2


texts = st.one_of(
    st.sampled_from(
        ["", "NA", "1", "99", "CEO", "w2", "\u200b", "\x00", "=1+1", "-1", "1e309", "a,b", 'say "x"', "two\nlines"]
    ),
    st.text(max_size=6),
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spoiled=st.lists(st.tuples(st.integers(0, 7), st.sampled_from(HEADER), texts), max_size=12),
    copied=st.lists(st.integers(0, 7), max_size=3),
    cut=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 30)), max_size=3),
)
def test_no_corruption_of_a_delivery_loses_a_row(tmp_path, spoiled, copied, cut):
    rows = [{"resp_id": f"r{number}", "start": "2026-01-05"} for number in range(8)]
    for row, column, text in spoiled:
        rows[row][column] = text.replace("\r", "")
    rows += [rows[number] for number in copied]
    lines = csv_of(rows).split("\n")
    for line, length in cut:
        if '"' not in lines[line]:
            lines[line] = lines[line][:length] or "x"
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        read = read_delivery(path, INSTRUMENT)
        found = clean([read], INSTRUMENT, other_waves="set_aside")
    except DataError as error:
        stopped = error.where, error.hint
    else:
        stopped = None
    if stopped:
        assert stopped[0].startswith("a.csv")
        assert stopped[1]
        return
    assert len(found.responses) + len(found.quarantine) == found.flow.delivered == read.delivered
    assert sum(found.flow.by_rule.values()) == found.flow.quarantined == len(found.quarantine)
    assert list(found.quarantine.columns) == QUARANTINE.names
    assert (found.quarantine["mend"] != "").all()
    assert found.responses["resp_id"].is_unique
    assert found.responses["role"].isin(INSTRUMENT.role_ids).all()


@pytest.fixture(scope="module")
def patchwork(tmp_path_factory):
    """A study whose two deliveries hold what pieces could tear apart: repeats, conflicts, corrections, copies, faults, marks."""
    folder = tmp_path_factory.mktemp("patchwork")
    shutil.copytree(CASES, folder, dirs_exist_ok=True)
    with (folder / "instruments" / "instrument.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[delivery]]\nfile = "b*.csv"\ncorrects = true\n')
    head = "resp_id,org_id,wave,role,stage_fn,conf,weeks,stall,comments,extra"
    rows = [
        f"r{n:02},o{n % 7},w1,{('CEO', 'CFO', 'CTO')[n % 3]},{n % 3 + 1},{n % 5 + 1},,no,text {n},{n}"
        for n in range(60)
    ]
    rows += [
        rows[3],
        rows[50].replace(",1,", ",2,"),
        "r77,o1,w1,CFOO,1,1,,no,,",
        "r78,o1",
        rows[5] + ",more",
        ",,,,,,,,,",
    ]
    rows += [rows[9].replace("r09", "r90"), rows[9].replace("r09", "q90"), "r91,o\u200b2,w1,CEO,1,98,,no,,x"]
    raw = folder / "data" / "raw" / "w1"
    raw.mkdir(parents=True)
    (raw / "a.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    (raw / "b.csv").write_text("\n".join([head, rows[11].replace("text", "better"), rows[12]]) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(("rows", "key"), [(4, b"a key"), (7, None), (1000, b"a key"), (1000, None)])
def test_no_piece_tears_anything_apart(patchwork, tmp_path, monkeypatch, rows, key):
    monkeypatch.setattr("fieldwork.clean.key_of", lambda _: key)
    monkeypatch.setattr("fieldwork.intake.spool._IN_MEMORY", 1000)
    monkeypatch.setattr("fieldwork.clean.division._BLOCK", 2)
    chapter = Chapter.open("01_clean", patchwork, "w1", tmp_path)
    whole = clean(read_deliveries(chapter.study.raw_files(), chapter.instrument), chapter.instrument, key=key)
    assert set(whole.flow.by_rule) >= {"short_row", "long_row", "superseded", "duplicate_respondent", "role_unknown"}
    assert {"duplicate_answers", "hidden_characters"} <= set(whole.flow.flags)
    seen = []
    taken = take_in(chapter, rows=rows, progress=lambda file, part: seen.append((file, part)))
    assert taken.flow == whole.flow
    assert list(dict.fromkeys(file for file, _ in seen)) == ["a.csv", "b.csv"]
    assert dict(seen) == {"a.csv": 1.0, "b.csv": 1.0}
    pd.testing.assert_frame_equal(chapter.read("01_clean"), whole.responses)
    pd.testing.assert_frame_equal(chapter.read("01_clean.excluded"), whole.excluded)
    for name, lines in (("missing", whole.missing), ("excluded.missing", whole.excluded_missing)):
        saved = chapter.read(f"01_clean.{name}").astype("object").to_numpy().tolist()
        assert saved == lines.astype("object").to_numpy().tolist()
    for name in ("quarantine", "unknown_columns"):
        saved = pd.read_csv(chapter.path(f"01_clean.{name}.csv"), dtype="str", keep_default_na=False)
        assert saved.to_numpy().tolist() == getattr(whole, name).astype("str").to_numpy().tolist()
    table = pd.read_csv(chapter.path("01_clean.csv"), dtype="str", keep_default_na=False)
    assert table["resp_id"].tolist() == whole.responses["resp_id"].tolist()
    assert sorted(path.name for path in chapter.path("x").parent.iterdir()) == sorted(
        chapter.saved()["file"].str.split("/").str[-1]
    )


def test_other_processes_read_their_share_of_a_large_delivery_and_write_the_same_bytes(
    patchwork, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr("fieldwork.clean.key_of", lambda _: b"a key")
    there = []
    take = beside._Other.take

    def taken(other, done, *, wait=False):
        before = set(done)
        take(other, done, wait=wait or bool(other.held))
        there.extend(type(done[number]).__name__ for number in set(done) - before)

    monkeypatch.setattr(beside._Other, "take", taken)
    written = {}
    for workers in ("1", "2"):
        monkeypatch.setenv("FIELDWORK_WORKERS", workers)
        chapter = Chapter.open("01_clean", patchwork, "w1", tmp_path / workers)
        take_in(chapter, rows=4)
        written[workers] = {p.name: p.read_bytes() for p in (tmp_path / workers).rglob("*") if p.is_file()}
        assert (workers == "2") == bool(there)
    assert len(written["1"]) >= 8
    assert written["1"] == written["2"]
    assert set(there) == {"_Read", "_Divided", "bytes"}, "pieces read and divided, parts written as text"


def test_a_delivery_that_is_refused_leaves_nothing(patchwork, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(patchwork / "data" / "raw", raw)
    with (raw / "w1" / "b.csv").open("a", encoding="utf-8") as file:
        file.write("r1,o1,w2,CEO,1,1,,no,,\n")
    chapter = Chapter.open("01_clean", patchwork, "w1", tmp_path / "out", raw=raw)
    with pytest.raises(DataError, match="rows of another wave"):
        take_in(chapter, rows=5)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full, a disk that is always full")
def test_a_disk_without_room_for_what_waits_is_told_with_its_folder(patchwork, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fieldwork.intake.spool._IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: os.fdopen(os.open("/dev/full", os.O_RDWR), "w+b"))
    assert main(["check", str(patchwork / "data/raw/w1/a.csv"), "--study", str(patchwork)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"RunError: the disk is full\n  where     {tempfile.gettempdir()}\n")
    chapter = Chapter.open("01_clean", patchwork, "w1", tmp_path)
    with pytest.raises(OSError, match="No space left") as caught:
        take_in(chapter, rows=5)
    assert Path(caught.value.filename).is_relative_to(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_one_piece_is_saved_as_a_whole_table_is(patchwork, tmp_path):
    chapter = Chapter.open("01_clean", patchwork, "w1", tmp_path / "a")
    take_in(chapter)
    whole = clean(read_deliveries(chapter.study.raw_files(), chapter.instrument), chapter.instrument)
    other = Chapter.open("01_clean", patchwork, "w1", tmp_path / "b")
    other.save(whole.responses)
    other.save(whole.missing, "01_clean.missing.parquet", csv=False)
    for name in ("01_clean.parquet", "01_clean.csv", "01_clean.missing.parquet"):
        assert chapter.path(name).read_bytes() == other.path(name).read_bytes()
