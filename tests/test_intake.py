"""Reading: every cell as text, every row accounted for, every fault named by file, row, column, value and mend."""

import csv
import shutil
from pathlib import Path

import pytest

from fieldwork.errors import DataError
from fieldwork.instrument import Instrument
from fieldwork.intake import check_files, problems_of, read_deliveries, read_delivery, rules_of, shown
from fieldwork.study import Study

CASES = Path(__file__).parent / "cases" / "deliveries"
HEADER = "resp_id,org_id,wave,role,conf,comments"


@pytest.fixture(scope="module")
def instrument():
    return Instrument.load(CASES / "instruments" / "instrument.toml", "w1")


@pytest.fixture
def deliver(tmp_path, instrument):
    def write(content, name="a.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_delivery(path, instrument, **options)

    return write


def refused(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_cells_stay_as_they_are(deliver):
    ids = ["001", "1E5", "12345678901234567890", "NA", "None", "null", "TRUE", "1.0"]
    read = deliver(HEADER + "\n" + "".join(f"{each},NA,w1,CEO,4,{each}\n" for each in ids))
    assert list(read.rows["resp_id"]) == ids
    assert list(read.rows["comments"]) == ids
    assert set(read.rows["org_id"]) == {"NA"}
    assert list(read.rows.index) == list(range(2, 10))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"], ids=["plain", "marked", "utf-16", "utf-32"]
)
def test_a_byte_order_mark_decides(deliver, encoding):
    read = deliver(f"{HEADER}\nr1,o1,w1,CEO,4,größer\n".encode(encoding))
    assert list(read.rows["comments"]) == ["größer"]
    assert read.columns[0] == "resp_id"


def test_an_undecodable_byte_is_named(deliver):
    start = f"{HEADER}\nr1,o1,w1,CEO,4,fine\nr2,o1,w1,CEO,4,caf".encode()
    error = refused(deliver, start + b"\xe9,\n")
    assert error.where == f"a.csv, line 3, byte {len(start)}"
    assert "0xE9" in error.got
    assert "'é' in Windows-1252" in error.got
    assert "CSV UTF-8" in error.hint


def test_an_undecodable_byte_is_counted_across_blocks(deliver):
    filler = "r1,o1,w1,CEO,4,xxxxxxxx\n" * 90_000
    start = f"{HEADER}\n{filler}".encode()
    error = refused(deliver, start + b"r2,\xff")
    assert error.where == f"a.csv, line 90002, byte {len(start) + 3}"


@pytest.mark.parametrize(
    ("content", "title"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file has no header"),
        (b"PK\x03\x04rest", "the file is a workbook or a zip archive, whatever its name says"),
        (HEADER.encode("utf-16-le"), "the file is not UTF-8"),
        (
            HEADER.replace(",", ";").encode() + b"\nr1;o1;w1;CEO;4;1,5\n",
            "the file is separated by semicolons, not by commas",
        ),
        (HEADER.replace(",", "\t").encode() + b"\n", "the file is separated by tabs, not by commas"),
        (HEADER.encode() + b",role\n", "a column is delivered twice"),
        (HEADER.encode() + b'\nr1,o1,w1,CEO,4,"never closed\n', "the file cannot be split into cells"),
        (HEADER.encode() + b'\nr1,o1,w1,CEO,4,"closed" late\n', "the file cannot be split into cells"),
    ],
    ids=[
        "empty",
        "blank",
        "zip",
        "utf-16 unmarked",
        "semicolons",
        "tabs",
        "twice",
        "quote",
        "late quote",
    ],
)
def test_a_file_that_is_no_delivery_stops(deliver, content, title):
    error = refused(deliver, content)
    assert error.title == title
    assert error.where.startswith("a.csv")
    assert error.hint


def test_a_long_answer_is_read(deliver):
    text = "x" * 200_000
    assert list(deliver(f"{HEADER}\nr1,o1,w1,CEO,4,{text}\n").rows["comments"]) == [text]


@pytest.mark.parametrize("quote", ["", '"'], ids=["bare", "quoted"])
def test_a_cell_beyond_the_bound_stops_with_its_column(deliver, quote):
    cell = quote + "x\n"[: 1 + bool(quote)] * ((1 << 24) + 1) + quote
    error = refused(deliver, f"{HEADER}\nr1,o1,w1,CEO,4,fine\nr2,o1,w1,CEO,4,{cell}\n")
    assert str(error) == (
        "DataError: a cell is too long to be an answer\n"
        "  where     a.csv, row 3, column comments\n"
        "  expected  cells of at most 16,777,216 characters\n"
        "  got       a longer cell\n"
        "  hint      shorten the cell, or close the double quote that opens it"
    )


def test_the_bound_of_cells_is_that_of_the_reading_alone(deliver):
    before = csv.field_size_limit()
    deliver(f"{HEADER}\nr1,o1,w1,CEO,4,fine\n")
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("name", ["a.pkl", "a.pickle", "a.npy", "a.joblib"])
def test_what_can_run_code_is_never_opened(deliver, name):
    assert "can run code" in refused(deliver, b"cos\nsystem\n", name).title


def test_other_kinds_are_named(deliver):
    assert refused(deliver, b"x", "a.doc").got == ".doc"
    error = refused(deliver, b"$FL2", "q1.por")
    assert (error.where, error.expected) == ("q1.por", ".csv, .tsv, .xlsx, .parquet, .sav, .zsav")
    assert error.hint == "in SPSS, save it as .sav"


def test_tabs_are_read_where_the_name_says_so(deliver):
    read = deliver(HEADER.replace(",", "\t") + "\nr1\to1\tw1\tCEO\t4\ta, b\n", "a.tsv")
    assert list(read.rows["comments"]) == ["a, b"]


def test_links_do_not_lead_out_of_the_folder(tmp_path, instrument):
    inside = tmp_path / "raw"
    inside.mkdir()
    (tmp_path / "secret.csv").write_text(HEADER + "\n", encoding="utf-8")
    (inside / "a.csv").symlink_to(tmp_path / "secret.csv")
    error = refused(read_delivery, inside / "a.csv", instrument, within=inside)
    assert error.title == "the file does not lie in the folder of deliveries"


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path, instrument):
    assert refused(read_delivery, tmp_path / "no.csv", instrument).got == "nothing at this path"
    (tmp_path / "dir.csv").mkdir()
    assert refused(read_delivery, tmp_path / "dir.csv", instrument).got == "a folder or device"


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path, instrument, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text(f"{HEADER}\nr1,o1,w1,CEO,4,\n", encoding="utf-8")
    from fieldwork.intake import separated

    survey = separated._survey

    def then_changed(*args):
        found = survey(*args)
        with path.open("a", encoding="utf-8") as file:
            file.write("r2,o1,w1,CEO,4,\n")
        return found

    monkeypatch.setattr(separated, "_survey", then_changed)
    assert refused(read_delivery, path, instrument).title == "the file was changed while it was read"


def test_a_missing_key_column_offers_the_nearest(deliver):
    error = refused(deliver, "Resp_ID,org_id,wave,role,conf\n1,1,w1,CEO,4\n")
    assert error.title == "the delivery lacks the column resp_id"
    assert error.hint == "rename Resp_ID to resp_id"


def test_column_names_are_trimmed_but_not_folded(deliver):
    read = deliver(" resp_id ,org_id,\u200bwave,role,Conf\nr1,o1,w1,CEO,4\n")
    assert read.columns == ("resp_id", "org_id", "wave", "role", "Conf")
    assert read.unknown == ("Conf",)
    offers = {problem.column: problem.mend for problem in read.problems}
    assert (
        offers["Conf"]
        == "is it conf? then rename it; else map it in the instrument (column = ...), or leave it: kept in 01_clean.unknown_columns.csv"
    )
    assert (
        offers["conf"] == "is it Conf? then rename that column; else deliver it, or leave it: its answers are missing"
    )


def test_columns_without_a_near_name_have_a_mend_too(deliver):
    read = deliver("resp_id,org_id,wave,role,conf,zzz\nr1,o1,w1,CEO,4,x\n")
    offers = {problem.column: problem.mend for problem in read.problems}
    assert offers["zzz"] == "map it in the instrument (column = ...), or leave it: kept in 01_clean.unknown_columns.csv"
    assert offers["prep"] == "deliver it, or leave it: its answers are missing"


def test_short_and_long_rows_are_never_padded_or_shifted(deliver, instrument):
    read = deliver(
        f'{HEADER}\nr1,o1,w1,CEO,4,ok\nr2,o1,w1\n\nr3,o1,w1,CEO,4,a,b\nr4,o1,w1,CEO,4,"two\nlines"\nr5,o1,w1,CEO,4,\n'
    )
    assert list(read.rows["resp_id"]) == ["r1", "r4", "r5"]
    assert list(read.rows.index) == [2, 6, 7]
    assert read.delivered == 5
    found = {problem.rule: problem for problem in problems_of([read], instrument) if problem.severity == "error"}
    assert (found["short_row"].row, found["short_row"].resp_id, found["short_row"].column) == (3, "r2", "role")
    assert found["short_row"].mend == "the row has 3 cells, the header 6: add what is missing"
    assert (found["long_row"].row, found["long_row"].resp_id, found["long_row"].value) == (5, "r3", "b")


def test_a_comma_after_each_row_shifts_nothing(deliver):
    read = deliver(f"{HEADER}\nr1,o1,w1,CEO,4,x,\nr2,o1,w1,CFO,5,y,\n")
    assert list(read.rows["role"]) == ["CEO", "CFO"]
    assert list(read.rows["comments"]) == ["x", "y"]
    assert "trailing_separator" in {problem.rule for problem in read.problems}


def test_a_surplus_cell_that_is_filled_is_not_taken_for_a_trailing_comma(deliver):
    read = deliver(f"{HEADER}\nr1,o1,w1,CEO,4,x,\nr2,o1,w1,CFO,5,y,z\n")
    assert len(read.rows) == 0
    assert len(read.irregular) == 2


def test_both_layouts_of_a_multi_select_item(deliver, instrument):
    from fieldwork.intake import read_answers

    wide = deliver("resp_id,org_id,wave,role,blk_roi,blk_cost,blk_skill,blk_none\nr1,o1,w1,CEO,1,0,0,0\n", "wide.csv")
    long = deliver("resp_id,org_id,wave,role,blk\nr1,o1,w1,CEO,roi\n", "long.csv")
    columns = ["blk_roi", "blk_cost", "blk_skill", "blk_none"]
    first, second = (next(read_answers([each], instrument)).coded[columns] for each in (wide, long))
    assert first.to_numpy().tolist() == second.to_numpy().tolist() == [[1, 0, 0, 0]]
    both = "resp_id,org_id,wave,role,blk,blk_roi\nr1,o1,w1,CEO,roi,1\n"
    assert refused(deliver, both).title == "the answers to blk are delivered in two forms"


def test_a_wrong_role_a_stage_out_of_range_and_a_duplicate_are_each_named(tmp_path):
    study_folder = tmp_path / "study"
    shutil.copytree(CASES, study_folder)
    before = sorted(study_folder.rglob("*"))
    found = [p for p in check_files([CASES / "faults.csv"], Study.open(study_folder)) if p.severity == "error"]
    assert [(p.file, p.row, p.resp_id, p.column, p.value, p.rule) for p in found] == [
        ("faults.csv", 3, "r02", "role", "CFOO", "role_unknown"),
        ("faults.csv", 4, "r03", "stage_fn", "9", "stage_out_of_range"),
        ("faults.csv", 6, "r04", "resp_id", "r04", "duplicate_respondent"),
        ("faults.csv", 7, "r05", "resp_id", "r05", "duplicate_respondent"),
        ("faults.csv", 8, "r05", "resp_id", "r05", "duplicate_respondent"),
    ]
    assert [p.mend for p in found] == [
        "did you mean CFO? use CEO, CFO, CTO; missing: 98 (Not applicable), 99 (Don't know)",
        "use 1 (Trying), 2 (Using), 3 (Scaled); missing: 98 (Not applicable), 99 (Don't know)",
        "delete it: faults.csv, row 5 holds the same answers of this respondent",
        "answers differ from faults.csv, row 8 in conf: keep one",
        "answers differ from faults.csv, row 7 in conf: keep one",
    ]
    assert sorted(study_folder.rglob("*")) == before, "checking writes nothing"


def test_a_row_that_a_declared_rule_sets_aside_is_no_error_of_the_sender(deliver, instrument):
    read = deliver("resp_id,org_id,wave,role,attn,conf,prep\nr1,o1,w1,CEO,3,4,5\n")
    (found,) = [p for p in problems_of([read], instrument) if p.rule == "attention_failed"]
    assert found.severity == "quality"
    assert found.mend == (
        "nothing to mend: set aside by a rule that was declared before the data were read; "
        "the instruction was to answer High"
    )


def test_a_mistyped_measure_is_an_error_of_the_check(tmp_path):
    (tmp_path / "a.csv").write_text("resp_id,org_id,wave,role,confi,prep\nr1,o1,w1,CEO,4,4\n", encoding="utf-8")
    (found,) = [p for p in check_files([tmp_path / "a.csv"], Study.open(CASES)) if p.severity == "error"]
    assert (found.file, found.row, found.column, found.rule) == ("a.csv", 1, "conf", "measure_absent")
    assert (
        found.mend
        == "no delivered file has the column conf, which carries the adoption gradient: rename confi in a.csv to conf"
    )


def test_a_header_without_rows_is_an_error_of_the_check(tmp_path):
    (tmp_path / "a.csv").write_text(f"{HEADER},prep\n", encoding="utf-8")
    (found,) = [p for p in check_files([tmp_path / "a.csv"], Study.open(CASES)) if p.severity == "error"]
    assert (found.file, found.row, found.rule) == ("a.csv", 1, "no_rows")
    assert found.mend == "the file has a header and no rows: export the delivery again"


def test_every_problem_of_a_row_is_listed_in_the_order_of_the_rules(deliver, instrument):
    read = deliver("resp_id,org_id,wave,role,stage_fn,conf\nr1,,w1,CFOO,7,six\n")
    found = [(p.rule, p.column, p.value) for p in problems_of([read], instrument) if p.severity == "error"]
    assert found == [
        ("org_id_missing", "org_id", ""),
        ("role_unknown", "role", "CFOO"),
        ("stage_out_of_range", "stage_fn", "7"),
        ("value_unknown", "conf", "six"),
    ]


def test_a_file_that_cannot_be_read_is_a_problem_among_others(tmp_path):
    (tmp_path / "bad.csv").write_text("resp_id;org_id\n", encoding="utf-8")
    found = check_files([tmp_path / "bad.csv", CASES / "faults.csv"], Study.open(CASES))
    assert (found[0].file, found[0].row, found[0].rule) == ("bad.csv", 1, "file_unreadable")
    assert "semicolons" in found[0].mend
    assert {p.file for p in found} == {"bad.csv", "faults.csv"}


def test_a_respondent_in_two_files_is_a_problem_of_the_later(tmp_path, instrument):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"{HEADER}\nr1,o1,w1,CEO,4,x\n", encoding="utf-8")
    read = read_deliveries([tmp_path / "b.csv", tmp_path / "a.csv"], instrument)
    (found,) = [p for p in problems_of(read, instrument) if p.severity == "error"]
    assert (found.file, found.mend) == ("b.csv", "delete it: a.csv, row 2 holds the same answers of this respondent")


def test_values_are_shown_as_one_safe_line(deliver, instrument):
    read = deliver(f'{HEADER}\nr1,o1,w1,"CF\x1b[31m\u202eO{"x" * 100}",4,\n')
    (found,) = [p for p in problems_of([read], instrument) if p.rule == "role_unknown"]
    assert found.value.startswith("CF\\x1b[31m\\u202eO")
    assert len(found.value) <= 80
    assert found.value.isprintable()
    assert shown("a\x00b") == "a\\x00b"


def test_a_nul_character_marks_the_row(deliver, instrument):
    read = deliver(f"{HEADER}\nr1,o1,w1,CEO,4,ok\nr2,o1,w1,CEO,4,a\x00b\n" + "r3,o1,w1,CEO,4,long enough\n" * 3)
    (found,) = [p for p in problems_of([read], instrument) if p.rule == "nul_byte"]
    assert (found.row, found.resp_id, found.column, found.value) == (3, "r2", "comments", "a\\x00b")


def test_an_instrument_cannot_rename_a_rule_of_the_house(instrument):
    rule = instrument.quality[0].model_copy(update={"name": "short_row"})
    with pytest.raises(Exception, match="bears the name of a rule of the house"):
        rules_of(instrument.model_copy(update={"quality": (rule,)}))
    names = list(rules_of(instrument))
    assert names.index("short_row") < names.index("duplicate_respondent") < names.index("role_unknown")
    assert names.index("speeder") < names.index("cap_exceeded"), "what sets a row aside comes before remarks"
