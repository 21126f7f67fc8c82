"""A blank study: what `fieldwork new` writes is read by every door as it stands, and no folder in use is touched."""

import json

import pytest

from benchmarks.sameness import deliver
from fieldwork.blank import WAVE, begin
from fieldwork.claims import Register
from fieldwork.cli import main
from fieldwork.errors import UsageError
from fieldwork.instrument import Instrument
from fieldwork.study import STATEMENT, Study


def test_a_blank_study_is_read_as_it_stands(tmp_path):
    folder = begin(tmp_path / "Our survey_2026")
    study = Study.open(folder)
    assert (study.name, study.title, study.wave) == ("our-survey-2026", "Our survey 2026", WAVE)
    assert (study.provenance, study.pseudonyms, study.shareable) == ("delivered", True, False)
    assert study.unstated == tuple(STATEMENT)
    instrument = Instrument.load(study.instrument_path(), study.wave)
    register = Register.load(study.claims_path())
    for claim in register.claims:
        for item in claim.items:
            assert item in instrument, f"{claim.id} rests on {item}, which is not asked"
        for part in claim.parts:
            assert not part.role or part.role in instrument.role_ids
    assert not [
        line for path in folder.rglob("*") if path.is_file() for line in path.read_text().splitlines() if "@" in line
    ]


def test_every_key_of_the_settings_is_explained_beside_it(tmp_path):
    text = (begin(tmp_path / "s") / "study.toml").read_text()
    keys = [line for line in text.splitlines() if "=" in line and not line.startswith(("#", "name", "order"))]
    assert len(keys) > 40
    bare = [line for line in keys if "#" not in line]
    assert bare == ['folder = "instruments"']


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_world_is_drawn_for_it_without_a_word_of_numpy(tmp_path, capsys):
    """It asks for no sector: spreads of that classification are none, and not a division by zero."""
    folder = begin(tmp_path / "blank")
    words = ["simulate", "--study", str(folder), "--world", "role_divergence", "--organisations", "30"]
    assert main([*words, "--out", str(tmp_path / "drawn")]) == 0
    assert capsys.readouterr().err == ""
    truth = json.loads((tmp_path / "drawn" / "truth.json").read_text())
    assert {row["value"] for row in truth if row["statistic"] == "sector_sd_mutual"} == {0.0}


@pytest.mark.parametrize("inside", ["notes.txt", ".hidden", "folder/"])
def test_a_folder_in_use_is_left_alone(tmp_path, capsys, inside):
    folder = tmp_path / "used"
    folder.mkdir()
    (folder / inside).mkdir() if inside.endswith("/") else (folder / inside).write_text("mine")
    assert main(["new", str(folder)]) == 2
    assert "is in use" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [inside.strip("/")]
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def test_an_empty_folder_is_filled_and_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["new", str(tmp_path / "empty"), "--json"]) == 0
    assert Study.open(json.loads(capsys.readouterr().out)["study"]).name == "empty"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="in use"):
        begin(tmp_path / "file")
    with pytest.raises(UsageError, match="gives no name"):
        begin(tmp_path / "???")


def test_a_run_without_a_delivery_says_where_it_goes(tmp_path, capsys):
    begin(tmp_path / "s")
    assert main(["run", "--study", str(tmp_path / "s")]) == 1
    told = capsys.readouterr().err
    assert f"there is no delivery of wave {WAVE}" in told
    assert f"data/raw/{WAVE}" in told
    assert ".csv" in told


def test_a_delivery_of_the_example_questions_has_no_fault(tmp_path, capsys):
    folder = begin(tmp_path / "s")
    assert main(["check", str(deliver(folder)), "--study", str(folder)]) == 0, capsys.readouterr().out
