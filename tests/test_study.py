"""The study folder: what study.toml may say, where things lie, and what is refused."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from fieldwork.disclosure import Policy
from fieldwork.errors import StudyError
from fieldwork.study import BANNER, DISCLOSURE, STATEMENT, Study, valid_name

ROOT = Path(__file__).parents[1]
SMALL = """
[study]
name = "small"
title = "A small study"
provenance = "simulated"

[waves]
default = "2025"
order = ["2024", "2025"]
"""


def make(folder, text=SMALL):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder


def refused(folder, old, new, wave=""):
    assert old in SMALL
    make(folder, SMALL.replace(old, new, 1) if old else SMALL + new)
    with pytest.raises(StudyError) as caught:
        Study.open(folder, wave)
    return str(caught.value)


def test_defaults(tmp_path):
    study = Study.open(make(tmp_path))
    assert (study.wave, study.waves) == ("2025", ("2024", "2025"))
    assert study.processed == tmp_path / "data" / "processed" / "2025"
    assert study.reports == tmp_path / "reports" / "2025"
    assert study.raw == tmp_path / "data" / "raw"
    assert (study.replicates, study.banner) == (1000, BANNER)
    assert study.margins_path() is None
    assert study.claims_path() is None


def test_a_wave_may_be_named(tmp_path):
    assert Study.open(make(tmp_path), "2024").reports == tmp_path / "reports" / "2024"
    assert Study.open(make(tmp_path), None).wave == "2025"


def test_a_reference_may_be_named_and_frozen(tmp_path):
    assert Study.open(make(tmp_path)).reference == Study.open(tmp_path).reference_version == ""
    frozen = 'default = "2025"\nreference = "2025"\nreference_version = "2025/0a1b2c3d"'
    study = Study.open(make(tmp_path, SMALL.replace('default = "2025"', frozen)))
    assert (study.reference, study.reference_version) == ("2025", "2025/0a1b2c3d")


def test_only_simulated_studies_carry_the_banner(tmp_path):
    text = SMALL.replace('"simulated"', '"real"\nbanner = "Simulated."')
    assert Study.open(make(tmp_path, text)).banner == ""


def test_the_nearest_study_upwards_is_found(tmp_path):
    make(tmp_path / "a")
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert Study.find(deep) == tmp_path / "a"


def test_no_study_anywhere(tmp_path):
    with pytest.raises(StudyError) as caught:
        Study.find(tmp_path)
    assert str(caught.value) == (
        "StudyError: no study here\n"
        f"  where     {tmp_path}\n"
        "  expected  a folder with study.toml, here or above\n"
        "  hint      name the folder with --study DIR, or draw one of simulated data: fieldwork simulate --world NAME --out DIR"
    )


def test_a_folder_that_is_no_study(tmp_path):
    with pytest.raises(StudyError, match="this folder is not a study"):
        Study.open(tmp_path)
    with pytest.raises(StudyError, match="this folder is not a study"):
        Study.open(tmp_path / "nowhere")


def test_unknown_key(tmp_path):
    assert refused(tmp_path, "default =", "defalt =") == (
        "StudyError: unknown key 'defalt'\n"
        "  where     study.toml, [waves]\n"
        "  expected  default, order, reference, reference_version\n"
        "  got       'defalt'\n"
        "  hint      did you mean 'default'?"
    )


def test_unknown_section(tmp_path):
    assert refused(tmp_path, "", "[disclosur]\n") == (
        "StudyError: unknown key 'disclosur'\n"
        "  where     study.toml, the file\n"
        "  expected  study, data, waves, instruments, run, disclosure, statement, cost_of_delay\n"
        "  got       'disclosur'\n"
        "  hint      did you mean 'disclosure'?"
    )


DELAY = """
[cost_of_delay]
source = "declared by nobody"
currency = "pounds"
weekly_value = [[0, 10], [1, 30]]
weeks = [[0, 2], [1, 2]]
yearly_rate = 0.1
"""


def test_the_cost_of_delay_is_declared_by_quantiles(tmp_path):
    assert Study.open(make(tmp_path)).delay == {}
    study = Study.open(make(tmp_path / "with", SMALL + DELAY))
    assert study.delay == {
        "source": "declared by nobody", "currency": "pounds", "weekly_value": {0.0: 10.0, 1.0: 30.0},
        "weeks": {0.0: 2.0, 1.0: 2.0}, "yearly_rate": 0.1, "option_value": 0.0,
    }  # fmt: skip


def test_a_cost_of_delay_that_is_no_list_of_pairs(tmp_path):
    message = refused(tmp_path, "", DELAY.replace("[[0, 10], [1, 30]]", "[10, 30]"))
    assert "cost_of_delay.weekly_value is not as a study has it" in message
    assert "pairs of a probability and a value" in message


def test_missing_key(tmp_path):
    assert refused(tmp_path, 'name = "small"\n', "") == (
        "StudyError: study.toml lacks study.name\n"
        "  where     study.toml, [study]\n"
        "  expected  name = a text in quotes\n"
        "  hint      add the line to [study]"
    )


def test_unknown_wave(tmp_path):
    assert refused(tmp_path, "", "", wave="2o25") == (
        "StudyError: the study has no wave '2o25'\n"
        "  where     study.toml, waves.order\n"
        "  expected  2024, 2025\n"
        "  got       '2o25'\n"
        "  hint      did you mean '2025'?"
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "small"', 'name = "../x"', "study.name"),
        ('"simulated"', '"fake"', "expected  simulated, delivered, real"),
        ('["2024", "2025"]', '["../../x"]', "waves.order"),
        ('["2024", "2025"]', '["2024", "2025", "2025"]', "each wave once"),
        ('["2024", "2025"]', "[]", "the waves, oldest first"),
        ('["2024", "2025"]', '"2025"', "a list of texts"),
        ('default = "2025"', 'default = "2026"', "waves.default"),
        (
            'default = "2025"',
            'default = "2025"\nreference = "2023"',
            "waves.reference\n  expected  2024, 2025\n  got       '2023'",
        ),
        ("", '[data]\nprocessed = "../out"\n', "data.processed"),
        ("", '[data]\nreports = "/tmp/out"\n', "data.reports"),
        ("", '[data]\nraw = "/tmp/raw"\n', "for a folder of your machine use -p raw=DIR"),
        ("", '[data]\nfiles = ["../secret.csv"]\n', "data.files"),
        ("", '[data]\nfiles = ["a.exe"]\n', "data.files"),
        ("", '[data]\nfiles = ["q1.por"]\n', "'q1.por'\n  hint      save it as CSV (UTF-8)"),
        ("", '[instruments]\nfolder = ".."\n', "instruments.folder"),
        ("", "[run]\nseed = true\n", "run.seed"),
        ("", "[run]\nreplicates = 39\n", "run.replicates\n  expected  40 or more; 1000 is usual\n  got       39\n"),
        ("", '[disclosure]\nminimum_respondents = "10"\n', "disclosure.minimum_respondents"),
        ("", "[disclosure]\nminimum_respondent = 10\n", "did you mean 'minimum_respondents'?"),
        ("", "[statement]\nsponsr = 'x'\n", "did you mean 'sponsor'?"),
        ("", "[statement]\nsponsor = 3\n", "statement.sponsor"),
        ("", "study = 3\n", "study.toml"),
    ],
)
def test_values_that_do_not_hold(tmp_path, old, new, told):
    assert told in refused(tmp_path, old, new)


def test_not_toml(tmp_path):
    make(tmp_path, "name = \n")
    with pytest.raises(StudyError, match=r"study\.toml cannot be read") as caught:
        Study.open(tmp_path)
    assert "line 1" in caught.value.got


@pytest.mark.parametrize("wave", ["../../x", "2025/..", "/etc", "2025\x00"])
def test_a_wave_is_no_path(tmp_path, wave):
    with pytest.raises(StudyError, match="has no wave"):
        Study.open(make(tmp_path), wave)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\b", "a\x00", ".hidden", "-x", "a.", "x" * 101, "a..b", "é"])
def test_names_that_are_refused(name):
    assert not valid_name(name)


class TestRawFiles:
    def test_nothing_delivered(self, tmp_path):
        with pytest.raises(StudyError) as caught:
            Study.open(make(tmp_path)).raw_files()
        assert str(caught.value) == (
            "StudyError: there is no delivery of wave 2025\n"
            "  where     data/raw/2025\n"
            "  expected  a folder with files of kind .csv, .tsv, .xlsx, .parquet, .sav, .zsav\n"
            "  got       nothing there\n"
            "  hint      put the data there, or point to their folder: fieldwork run -p raw=DIR"
        )

    def test_the_hint_names_the_readme_where_there_is_one(self, tmp_path):
        (make(tmp_path) / "README.md").write_text("where", encoding="utf-8")
        with pytest.raises(StudyError, match="no delivery") as caught:
            Study.open(tmp_path).raw_files()
        assert "README.md of the study says where to get them" in caught.value.hint

    def test_files_come_in_the_order_of_their_names_without_papers(self, tmp_path):
        folder = make(tmp_path) / "data" / "raw" / "2025"
        folder.mkdir(parents=True)
        for name in ("b.csv", "a.CSV", "README.md", "codebook.pdf", ".DS_Store", "~$a.xlsx", "SHA256SUMS"):
            (folder / name).write_text("x", encoding="utf-8")
        assert [path.name for path in Study.open(tmp_path).raw_files()] == ["a.CSV", "b.csv"]

    def test_a_file_of_another_kind_is_not_passed_over(self, tmp_path):
        folder = make(tmp_path) / "data" / "raw" / "2025"
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text("x", encoding="utf-8")
        for name in ("q1.xls", "q1.por", "q1.json5", "q1.pkl"):
            (folder / name).write_text("x", encoding="utf-8")
            with pytest.raises(StudyError) as caught:
                Study.open(tmp_path).raw_files()
            assert str(caught.value) == (
                "StudyError: a file in the folder of deliveries is of no kind that can be read\n"
                f"  where     data/raw/2025/{name}\n"
                "  expected  .csv, .tsv, .xlsx, .parquet, .sav, .zsav\n"
                f"  got       '{name}'\n"
                "  hint      save it as CSV (UTF-8), or move it out of the folder"
            )
            (folder / name).unlink()

    def test_raw_may_lie_outside_and_may_be_named_for_one_run(self, tmp_path):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "all.csv").write_text("x", encoding="utf-8")
        folder = make(tmp_path / "study", SMALL + '[data]\nraw = "../elsewhere"\nfiles = ["all.csv"]\n')
        assert Study.open(folder).raw_files() == (elsewhere / "all.csv",)
        with pytest.raises(StudyError, match="no delivery"):
            Study.open(folder, raw=tmp_path).raw_files()


class TestInstrument:
    def test_the_file_of_the_wave_comes_first(self, tmp_path):
        folder = make(tmp_path) / "instruments"
        folder.mkdir()
        (folder / "instrument.toml").write_text("", encoding="utf-8")
        assert Study.open(tmp_path).instrument_path().name == "instrument.toml"
        (folder / "2025.toml").write_text("", encoding="utf-8")
        assert Study.open(tmp_path).instrument_path().name == "2025.toml"
        assert Study.open(tmp_path, "2024").instrument_path().name == "instrument.toml"

    def test_no_instrument(self, tmp_path):
        with pytest.raises(StudyError) as caught:
            Study.open(make(tmp_path)).instrument()
        assert str(caught.value) == (
            "StudyError: wave 2025 has no instrument\n"
            "  where     instruments\n"
            "  expected  2025.toml, or instrument.toml for all waves\n"
            "  hint      copy the instrument of the wave before and change what changed"
        )


@pytest.mark.parametrize("folder", [ROOT, ROOT / "examples" / "ospo"])
def test_the_shipped_studies_hold(folder):
    for wave in Study.open(folder).waves:
        study = Study.open(folder, wave)
        assert study.instrument().wave == wave
        assert Policy.from_study(study.disclosure) == Policy()
        assert "non-probability sample" in study.statement["sample_type"].lower()


def test_the_shipped_study_says_that_it_is_simulated():
    study = Study.open(ROOT)
    assert study.provenance == "simulated"
    assert study.banner.startswith("Simulated data with a known truth: no executive was interviewed.")
    assert set(study.statement) >= set(STATEMENT) - {"licence", "citation"}


def test_thresholds_are_those_of_the_gate():
    assert set(DISCLOSURE) == {field.name for field in fields(Policy)}


def test_planning_a_run_loads_nothing_heavy():
    code = "import sys, fieldwork.study as s; s.Study.open(sys.argv[1]); print([m for m in ('pandas', 'numpy', 'pydantic', 'pyarrow') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
