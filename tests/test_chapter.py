"""Files between chapters: round trip, same bytes, safe cells, and no way out of the folder."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwork import chapter as module
from fieldwork.chapter import Chapter, guarded
from fieldwork.errors import DataError, RunError, StudyError
from fieldwork.provenance import sha256_file

STUDY = """
[study]
name = "small"
provenance = "simulated"
[waves]
order = ["2025"]
[run]
seed = 7
replicates = 50
"""
INSTRUMENT = """
[instrument]
id = "small"
version = "1"
title = "Small"
[items.resp_id]
kind = "identifier"
label = "Respondent"
[items.wave]
kind = "identifier"
label = "Wave"
"""


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    (folder / "instruments").mkdir(parents=True)
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    (folder / "instruments" / "instrument.toml").write_text(INSTRUMENT, encoding="utf-8")
    return folder


def frame():
    return pd.DataFrame(
        {
            "resp_id": pd.array(["a", "b", None], dtype="string"),
            "conf": pd.array([1, None, 5], dtype="Int8"),
            "weight": pd.array([1.5, None, 0.1], dtype="Float64"),
            "ok": pd.array([True, False, None], dtype="boolean"),
            "n": pd.array([1, 2, 3], dtype="Int64"),
        }
    )


def test_a_table_comes_back_as_it_was(study):
    chapter = Chapter.open("01_clean", study)
    chapter.save(frame())
    pd.testing.assert_frame_equal(chapter.read("01_clean"), frame())


def test_a_table_comes_back_part_by_part(study):
    chapter = Chapter.open("01_clean", study)
    with chapter.saving("01_clean.parquet", csv=False) as add:
        add(frame().iloc[:2])
        add(frame().iloc[2:])
    parts = list(chapter.read_parts("01_clean"))
    assert [len(part) for part in parts] == [2, 1]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), frame())
    again = chapter.parts("01_clean")
    assert [[len(part) for part in again()] for _ in range(2)] == [[2, 1], [2, 1]]
    chapter.path("01_clean.parquet").write_bytes(b"PAR1, and then nothing")
    with pytest.raises(DataError):
        next(chapter.read_parts("01_clean"))


def test_some_columns_come_back_and_a_long_table_in_parts_is_the_same(study, monkeypatch):
    chapter = Chapter.open("01_clean", study)
    path = chapter.save(frame())
    csv = path.with_suffix(".csv").read_bytes()
    some = chapter.read("01_clean", columns=["weight", "unheard of", "resp_id"])
    pd.testing.assert_frame_equal(some, frame()[["resp_id", "weight"]])
    assert chapter.read("01_clean", columns=[]).shape == (3, 0)
    monkeypatch.setattr(module, "_CELLS", 6)  # two columns of three rows
    pd.testing.assert_frame_equal(chapter.read("01_clean"), frame())
    monkeypatch.setattr(module, "_ROWS", 2)
    assert chapter.save(frame()).with_suffix(".csv").read_bytes() == csv
    empty = chapter.save(frame().iloc[:0], "empty.csv").read_bytes()
    assert empty == b"resp_id,conf,weight,ok,n\n"


def test_plain_numpy_types_come_back_nullable(study):
    chapter = Chapter.open("01_clean", study)
    chapter.save(pd.DataFrame({"x": [1.5, np.nan], "y": [1, 2], "s": ["u", None], "b": [True, False]}))
    back = chapter.read("01_clean")
    assert [str(dtype) for dtype in back.dtypes] == ["Float64", "Int64", "string", "boolean"]
    assert back["x"].isna().tolist() == [False, True]


def test_the_same_table_is_the_same_bytes(study, tmp_path):
    here, there = Chapter.open("01_clean", study), Chapter.open("01_clean", study, out=tmp_path / "out")
    for chapter in (here, there):
        chapter.save(frame())
    first = {p.name: p.read_bytes() for p in here.study.processed.iterdir()}
    here.save(frame().iloc[::-1].iloc[::-1].set_axis([3, 1, 2]))
    again = {p.name: p.read_bytes() for p in here.study.processed.iterdir()}
    staged = {p.name: p.read_bytes() for p in (tmp_path / "out" / "data" / "processed" / "2025").iterdir()}
    assert first == again == staged
    assert b"pandas" not in first["01_clean.parquet"]


def test_the_csv_has_lf_line_ends_and_empty_cells(study):
    chapter = Chapter.open("01_clean", study)
    chapter.save(frame())
    text = (chapter.study.processed / "01_clean.csv").read_bytes()
    assert text == b"resp_id,conf,weight,ok,n\na,1,1.5,True,1\nb,,,False,2\n,5,0.1,,3\n"


def test_results_go_to_out_and_reads_prefer_it(study, tmp_path):
    final, staged = Chapter.open("01_clean", study), Chapter.open("02_validate", study, out=tmp_path / "out")
    final.save(frame())
    assert len(staged.read("01_clean")) == 3
    staged.save(frame().head(1), "01_clean.parquet")
    assert len(staged.read("01_clean")) == 1
    assert len(final.read("01_clean")) == 3
    assert (
        staged.save(frame(), "estimates", folder="reports")
        == tmp_path / "out" / "reports" / "2025" / "estimates.parquet"
    )
    assert len(staged.read("estimates", folder="reports")) == 3


def test_saved_lists_each_file_once_and_a_published_one_with_its_hash(study):
    chapter = Chapter.open("01_clean", study)
    chapter.save(frame())
    chapter.save(frame().head(2), "01_clean.quarantine.csv")
    chapter.save_json([{"a": 1}], "01_clean.flow")
    chapter.save_json({"a": 1}, "01_clean.flow")
    published = chapter.save(frame(), "estimates", folder="reports")
    saved = chapter.saved()
    assert saved["file"].tolist()[:4] == [
        "data/processed/2025/01_clean.parquet",
        "data/processed/2025/01_clean.csv",
        "data/processed/2025/01_clean.quarantine.csv",
        "data/processed/2025/01_clean.flow.json",
    ]
    assert saved["rows"].tolist()[:4] == [3, 3, 2, pd.NA]
    # The last bits of an internal table differ between processors; the page that shows this is published.
    assert saved["sha256"].tolist()[:4] == [""] * 4
    by_file = dict(zip(saved["file"], saved["sha256"], strict=True))
    assert by_file["reports/2025/estimates.parquet"] == sha256_file(published)[:12]


def test_nothing_is_left_beside_what_was_saved(study):
    chapter = Chapter.open("01_clean", study)
    chapter.save(frame())
    with pytest.raises(DataError):
        chapter.save(pd.DataFrame({"x": [1, "a"]}), "bad.parquet")
    assert sorted(p.name for p in chapter.study.processed.iterdir()) == ["01_clean.csv", "01_clean.parquet"]


def test_a_failed_rename_keeps_the_old_file(study):
    chapter = Chapter.open("01_clean", study)
    (chapter.study.processed / "01_clean.parquet").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        chapter.save(frame())
    assert [p.name for p in chapter.study.processed.iterdir()] == ["01_clean.parquet"]


def test_json_round_trip(study):
    chapter = Chapter.open("01_clean", study)
    value = {"n": np.int64(3), "x": np.float64("nan"), "m": pd.NA, "a": np.array([1.5]), "t": (True, "é"), 5: None}
    path = chapter.save_json(value, "01_clean.flow")
    assert chapter.read_json("01_clean.flow") == {"n": 3, "x": None, "m": None, "a": [1.5], "t": [True, "é"], "5": None}
    assert path.read_bytes().endswith(b"}\n")
    assert "é" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("inf"), object(), {1, 2}, b"x"])
def test_json_refuses_what_it_cannot_hold(study, value):
    with pytest.raises(DataError, match="cannot be saved as JSON"):
        Chapter.open("01_clean", study).save_json({"x": value})


def test_a_chapter_that_was_not_run(study):
    with pytest.raises(RunError) as caught:
        Chapter.open("04_gradient", study).read("01_clean")
    assert str(caught.value) == (
        "RunError: chapter 04_gradient needs 01_clean.parquet, which is not there\n"
        "  where     data/processed/2025\n"
        "  expected  01_clean.parquet\n"
        "  got       nothing there\n"
        "  hint      run the chapter that makes it: fieldwork run --only 01_clean"
    )


def test_a_chapter_sees_the_waves_before_it(study):
    settings = study / "study.toml"
    settings.write_text(STUDY.replace('order = ["2025"]', 'order = ["2023", "2024", "2025"]'), encoding="utf-8")
    (study / "data/raw/2023").mkdir(parents=True)
    (study / "data/raw/2023/a.csv").write_text("resp_id\n")
    chapter = Chapter.open("08_movement", study, replicates=77)
    first, second, now = chapter.waves()
    assert [(wave.name, wave.number) for wave in (first, second, now)] == [("2023", 1), ("2024", 2), ("2025", 3)]
    assert second.chapter is None
    assert now.chapter is chapter
    assert (first.chapter.wave, first.chapter.instrument.wave, first.chapter.replicates) == ("2023", "2023", 77)
    with pytest.raises(RunError, match="fieldwork run --wave 2023 --only 01_clean"):
        first.chapter.read("01_clean")
    Chapter.open("01_clean", study, "2023").save(frame())
    assert len(first.chapter.read("01_clean")) == 3


def test_a_misspelt_table_offers_the_nearest(study):
    Chapter.open("01_clean", study).save(frame())
    with pytest.raises(RunError) as caught:
        Chapter.open("04_gradient", study).read("01_claen")
    assert caught.value.hint == "did you mean 01_clean.parquet?"


@pytest.mark.parametrize("name", ["01_clean.parquet", "01_clean.flow.json"])
def test_a_damaged_file_is_named(study, name):
    chapter = Chapter.open("02_validate", study)
    chapter.study.processed.mkdir(parents=True)
    (chapter.study.processed / name).write_bytes(b"PAR1 torn")
    with pytest.raises(DataError, match="damaged") as caught:
        chapter.read("01_clean") if name.endswith("parquet") else chapter.read_json("01_clean.flow")
    assert caught.value.hint == "make it again: fieldwork run --only 01_clean --force"


@pytest.mark.parametrize(
    "name", ["../x.csv", "/etc/x.csv", "a/../../x.csv", "", "..", "a//../b", "x\x00.csv", "a\\b.csv"]
)
def test_no_name_leads_out_of_the_folder(study, name):
    chapter = Chapter.open("01_clean", study)
    with pytest.raises(StudyError, match="no name for a file"):
        chapter.path(name)


def test_no_chapter_wave_or_folder_leads_out(study):
    with pytest.raises(StudyError, match="no name for a file"):
        Chapter.open("../x", study)
    with pytest.raises(StudyError, match="has no wave"):
        Chapter.open("x", study, "../..")
    with pytest.raises(StudyError, match="a chapter has no folder"):
        Chapter.open("x", study).save(frame(), folder="raw")


def test_parameters_of_the_notebook_win_over_the_study(study):
    assert (Chapter.open("x", study).seed, Chapter.open("x", study).replicates) == (7, 50)
    given_ = Chapter.open("x", study, seed=3, replicates=9)
    assert (given_.seed, given_.replicates) == (3, 9)
    assert given_.instrument.id == "small"
    assert given_.wave == "2025"


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+SUM(A1)",
        "-2+3",
        "@x",
        "\tx",
        "\rx",
        "\nx",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff201",
        " =1",
        "\u00a0=1",
    ],
)
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text):
    safe = "'" + text.replace("\r", "\n")
    assert guarded(pd.DataFrame({"text": [text]}))["text"].tolist() == [safe]
    assert guarded(pd.DataFrame({"text": pd.Categorical([text])}))["text"].tolist() == [safe]
    assert guarded(pd.DataFrame({text: [1]})).columns.tolist() == [safe]


@pytest.mark.parametrize("text", ["a\r=1+1", "a\r\n=1+1", "\r\r=1", "a\n=1", '"\r=1'])
def test_no_line_end_within_a_text_starts_a_row(study, text):
    chapter = Chapter.open("01_clean", study)
    chapter.save(pd.DataFrame({"t": [text, "b"]}), "t.csv")
    content = chapter.path("t.csv").read_bytes().decode()
    assert "\r" not in content
    assert len(list(csv.reader(io.StringIO(content, newline="")))) == 3


def test_numbers_and_plain_texts_stay_as_they_are():
    plain = pd.DataFrame({"n": [-1.5, 2.0], "t": ["-97", "a=b"], "u": ["+44", None]})
    out = guarded(plain)
    assert out["n"].tolist() == [-1.5, 2.0]
    assert out["t"].tolist() == ["-97", "a=b"]
    assert out["u"].fillna("").tolist() == ["+44", ""]
    assert plain.columns.tolist() == ["n", "t", "u"]


@given(st.lists(st.text(), max_size=5))
def test_no_cell_of_a_csv_starts_a_formula(texts):
    for text in guarded(pd.DataFrame({"t": pd.array(texts, dtype="string")}))["t"]:
        start = text.lstrip()[:1]
        assert start not in {"=", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"}
        assert text[:1] not in {"\t", "\r", "\n"}


def test_json_files_are_plain(study):
    path = Chapter.open("01_clean", study).save_json([{"b": 1, "a": 2}])
    assert json.loads(path.read_text(encoding="utf-8")) == [{"b": 1, "a": 2}]
    assert path.name == "01_clean.json"
