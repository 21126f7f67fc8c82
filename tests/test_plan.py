"""Planning: sizes, refusals, what a proposal may say, and that drawn studies are those of the engine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.errors import RunError, UsageError
from fieldwork.figures import planning
from fieldwork.figures.saving import save
from fieldwork.plan import VERDICTS, Plan, _ground, _pipeline, _steps, organisations_for, plan, sentence
from fieldwork.provenance import Memo
from fieldwork.run.inline import run_inline
from fieldwork.run.plan import software_of
from fieldwork.run.store import Store
from fieldwork.simulate import EXECUTIVES, Population, simulate_responses, worlds
from fieldwork.study import Study
from tests import toy_plan
from tests.drawn_study import untold

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = ROOT / "notebooks" / "chapters.toml"
FIELDWORK = Path(sys.executable).parent / "fieldwork"


def made(rows):
    base = {
        "organisations": 86,
        "accepted": 404.0,
        "text": "Roles differ.",
        "studies": 40,
        "unit": "log_ratio",
        "margin": 0.22,
    }
    columns = ["claim", "respondents", *VERDICTS, "supported_low", "supported_high", "half_width"]
    return Plan(
        pd.DataFrame([{**base, **dict(zip(columns, row, strict=True))} for row in rows]), "null", 40, 500, 1, ()
    )


TABLE = made(
    [
        ("H4", 200, 0.05, 0.0, 0.95, 0.0, 0.006, 0.169, 0.8),
        ("H4", 400, 0.25, 0.0, 0.7, 0.05, 0.127, 0.412, 0.5),
        ("H5", 200, 0.0, 0.0, 0.0, 1.0, 0.0, 0.088, np.nan),
        ("H5", 400, 0.9, 0.0, 0.1, 0.0, 0.763, 0.972, np.nan),
        ("H10", 200, 0.0, 0.0, 0.0, 1.0, 0.0, 0.088, np.nan),
        ("H10", 400, 0.0, 0.0, 0.0, 1.0, 0.0, 0.088, np.nan),
    ]
)


@pytest.mark.parametrize("respondents", [100, 400, 1500])
def test_organisations_give_the_respondents_planned(respondents):
    population = Population(worlds()["role_divergence"], EXECUTIVES)
    organisations = organisations_for(population, respondents)
    world = population.world
    kept = 1 - world.speeders - world.straight_liners - world.inattentive
    drawn = [simulate_responses(world, organisations=organisations, seed=seed).n * kept for seed in range(20)]
    assert np.mean(drawn) == pytest.approx(respondents, rel=0.06)


def test_fewer_roles_need_more_organisations():
    population = Population(worlds()["null"], EXECUTIVES)
    assert organisations_for(population, 200, ("CEO", "CTO")) > 3 * organisations_for(population, 200)


def test_no_study_of_less_than_an_organisation():
    with pytest.raises(UsageError, match="so few respondents are no study"):
        organisations_for(Population(worlds()["null"], EXECUTIVES), 2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"world": "nul"}, "did you mean null?"),
        ({"roles": ("CTOO",)}, "did you mean CTO?"),
        ({"studies": 3}, "10 or more"),
        ({"replicates": 200}, "--replicates 399"),
    ],
)
def test_refused_before_a_study_is_drawn(options, told):
    with pytest.raises(UsageError) as caught:
        plan(ROOT, CHAPTERS, **options)
    assert told in str(caught.value)


def test_of_a_drawn_study_runs_what_the_main_analysis_reads():
    names = [step.name for step in _steps(_pipeline(CHAPTERS, Study.open(ROOT)), "09_claims")]
    assert {"01_clean", "03_weight", "04_gradient", "09_claims"} <= set(names)
    assert not [name for name in names if name.startswith(("02_validate", "08c_"))]


def test_the_sentence_for_a_proposal():
    assert sentence(TABLE, "H4", 400) == (
        "With about 404 executives in 86 organisations, and the world 'null' as it is supposed, H4 was supported in 10 of 40 "
        "drawn studies (25%, 95% interval 13 to 41%). In 2 it could not be assessed. Its interval reaches 0.50 to either side "
        "on average."
    )
    assert sentence(TABLE, "H5", 400).endswith("(90%, 95% interval 76 to 97%).")
    with pytest.raises(UsageError, match="no such claim and size"):
        sentence(TABLE, "H99", 400)


def test_the_figure_shows_what_can_be_assessed_and_counts_the_rest(tmp_path):
    figure = planning.draw(TABLE.table, world="null", study="A study")
    assert list(figure.data["claim"]) == ["H4", "H4", "H5", "H5"]
    assert "1 claims could be assessed at no size" in figure.caption
    assert "not from fieldwork" in figure.source
    assert "H4 with 400 executives: supported in 25% (13 to 41%)." in figure.long_description
    first = [path.read_bytes() for path in save(figure, tmp_path / "a")]
    again = planning.draw(TABLE.table, world="null", study="A study")
    assert first == [path.read_bytes() for path in save(again, tmp_path / "b")]


@pytest.mark.study
def test_a_study_run_inline_is_the_study_that_the_engine_runs(tmp_path):
    """Same cells, same bytes: without a kernel, and by `fieldwork run`."""
    folder = untold("role_divergence", tmp_path / "study", organisations=40, seed=5)
    subprocess.run(
        [FIELDWORK, "run", "--study", folder, "--replicates", "60", "--only", "04_gradient"],
        check=True, capture_output=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    place = folder / "data" / "processed" / "2026Q1"
    names = ("01_clean.parquet", "03_weight.parquet", "04_gradient.parquet", "04_gradient.draws.parquet")
    engine = {name: (place / name).read_bytes() for name in names}
    for chapter in ("01_clean", "03_weight", "04_gradient"):
        own = {"replicates": 60} if chapter == "04_gradient" else {}
        run_inline(ROOT / "notebooks" / f"{chapter}.ipynb", {"study": str(folder), **own})
    assert {name: (place / name).read_bytes() for name in names} == engine


@pytest.mark.slow
@pytest.mark.study
def test_a_plan_by_the_command(tmp_path):
    words = ["plan", "--respondents", "110", "--roles", "CEO", "CTO", "CMO", "--studies", "10", "--replicates", "399",
             "--seed", "3", "--study", ROOT, "--out", tmp_path / "plan", "--json"]  # fmt: skip
    done = subprocess.run([FIELDWORK, *map(str, words)], check=True, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    assert "drawing studies: 10 of 10" in done.stderr
    assert {row["respondents"] for row in rows} == {110}
    for row in rows:
        assert sum(row[verdict] for verdict in VERDICTS) == pytest.approx(1.0)
        assert row["supported_low"] <= row["supported"] <= row["supported_high"]
        assert abs(row["accepted"] - 110) < 25
    assert (tmp_path / "plan" / "plan.svg").is_file()
    assert len(pd.read_csv(tmp_path / "plan" / "plan.csv")) == len(rows)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A toy study for which was planned, and the table."""
    folder = toy_plan.write_toy(tmp_path_factory.mktemp("plan") / "study")
    return folder, toy_plan.table(folder, workers=2)


@pytest.fixture
def study(finished, tmp_path):
    """A copy of it elsewhere, with a folder of tries of its own that `toy_plan.judge` leads to."""
    shutil.copytree(finished[0], tmp_path / "study")
    shutil.rmtree(tmp_path / "study/tries")
    (tmp_path / "study/tries").mkdir()
    return tmp_path / "study"


class TestDrawing:
    """Studies as tasks of this machine, with chapters that take no time."""

    def test_one_worker_draws_the_same_table(self, finished, tmp_path):
        folder = toy_plan.write_toy(tmp_path / "other")
        assert toy_plan.table(folder, workers=1) == finished[1]
        assert toy_plan.drawn(folder) == 10

    def test_what_was_drawn_is_kept_and_more_studies_draw_the_new_ones(self, finished, study):
        before = toy_plan.drawn(finished[0])
        assert toy_plan.table(study) == finished[1]
        assert toy_plan.drawn(finished[0]) == before
        told = []
        toy_plan.table(study, studies=12, progress=lambda *step: told.append(step))
        assert toy_plan.drawn(finished[0]) == before + 2
        assert told == [("60 respondents", done, 12) for done in range(1, 13)]

    def test_a_record_holds_counts_and_verdicts_of_a_simulated_study_and_nothing_else(self, finished):
        for record in toy_plan.told(finished[0]):
            assert set(record) == {"key", "value", "sha256"}
            assert set(record["value"]) == {"accepted", "claims"}
            for claim in record["value"]["claims"]:
                assert set(claim) == {"id", "text", "verdict", "conf_low", "conf_high", "unit", "margin"}

    def test_a_torn_a_changed_and_a_foreign_record_are_drawn_again(self, finished, study):
        before, (torn, changed, foreign, other, *_) = toy_plan.drawn(finished[0]), toy_plan.values(study)
        whole = {path: path.read_bytes() for path in toy_plan.values(study)}
        torn.write_bytes(torn.read_bytes()[:-40])
        changed.write_bytes(changed.read_bytes().replace(b'"accepted":', b'"accepted":1'))
        foreign.write_bytes(other.read_bytes())
        assert toy_plan.table(study) == finished[1]
        assert toy_plan.drawn(finished[0]) == before + 3
        assert {path: path.read_bytes() for path in toy_plan.values(study)} == whole

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("notebooks/09_claims.ipynb", "1 / n", "2 / n"),
            ("instruments/claims.toml", "[register]", "# reworded\n[register]"),
            ("instruments/2026Q1.toml", "", "# reworded\n"),
            ("study.toml", "smallest_difference = 10 ", "smallest_difference = 11 "),
        ],
    )
    def test_what_studies_are_drawn_from_is_part_of_their_key(self, study, file, old, new):
        before = self.ground(study)
        text = (study / file).read_text()
        assert old in text
        (study / file).write_text(text.replace(old, new, 1))
        assert self.ground(study) != before
        (study / file).write_text(text)
        assert self.ground(study) == before

    @staticmethod
    def ground(study):
        return _ground(Study.open(study), study / "notebooks/chapters.toml", Store(study).memo)

    def test_the_package_is_part_of_it_and_prose_is_not(self, study, tmp_path, monkeypatch):
        before = self.ground(study)
        book = study / "notebooks/09_claims.ipynb"
        book.write_text(book.read_text().replace("# Chapter 09_claims", "# Another title"))
        assert self.ground(study) == before
        package = tmp_path / "copy" / "fieldwork"
        shutil.copytree(ROOT / "src/fieldwork", package, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr("fieldwork.plan._OURS", {"fieldwork": package})
        # A wheel carries notebooks and the files of the project within the package.
        shutil.copytree(study / "notebooks", package / "notebooks")
        assert self.ground(study) == before
        drawing = package / "simulate" / "world.py"
        drawing.write_text(drawing.read_text() + "\nMORE = 1\n")
        assert self.ground(study) != before

    def test_the_lock_is_part_of_the_key(self, finished, study, tmp_path, monkeypatch):
        before = toy_plan.drawn(finished[0])
        (tmp_path / "uv.lock").write_text("another")
        software = software_of({"fieldwork": tmp_path / "fieldwork"}, Memo(None))
        monkeypatch.setattr("fieldwork.plan.software_of", lambda *_: software)
        assert toy_plan.table(study) == finished[1]
        assert toy_plan.drawn(finished[0]) == before + 10

    def test_a_fault_of_a_study_is_told_with_its_cell(self, study):
        toy_plan.judge(study, "1 / 0")
        with pytest.raises(RunError, match="a chapter failed") as caught:
            toy_plan.table(study, workers=2)
        assert caught.value.where.startswith("09_claims.ipynb, cell ")
        assert caught.value.got == "ZeroDivisionError: division by zero"

    def test_a_process_that_is_killed_is_told_and_what_was_drawn_is_kept(self, finished, study):
        """As the system does when memory is short."""
        toy_plan.judge(
            study, "import os, signal\nif len(list(tries.iterdir())) == 3: os.kill(os.getpid(), signal.SIGKILL)"
        )
        with pytest.raises(RunError, match="a process ended in the midst of its work") as caught:
            toy_plan.table(study)
        assert caught.value.where == "the study of seed 5 with 60 respondents"
        assert caught.value.got == "signal 9"
        assert "try fewer workers" in caught.value.hint
        assert toy_plan.table(study) == finished[1]
        assert toy_plan.drawn(study) == 3 + 8

    def test_a_register_that_changes_meanwhile_is_told_and_nothing_of_it_kept(self, study):
        register = study / "instruments/claims.toml"
        toy_plan.judge(study, f"with open({str(register)!r}, 'a') as file: file.write('# more')")
        before = toy_plan.values(study)
        with pytest.raises(RunError, match="what the studies are drawn from has changed meanwhile"):
            toy_plan.table(study)
        assert toy_plan.values(study) == before

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_an_interrupted_plan_leaves_no_process_and_the_next_draws_what_is_missing(self, finished, study, number):
        wait = "import os, time\nif len(list(tries.iterdir())) > 2:\n    (tries.parent / 'pid').write_text(str(os.getpid()))\n    "
        toy_plan.judge(study, wait + "while not (tries.parent / 'on').exists(): time.sleep(0.05)")
        words = ["plan", "--respondents", "60", "--studies", "10", "--seed", "3", "--workers", "1", "--study", study]
        with subprocess.Popen(
            [FIELDWORK, *map(str, words)], stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            end = time.monotonic() + 60
            while not (study / "pid").is_file() or not (study / "pid").read_text():
                assert time.monotonic() < end, "it did not come so far"
                time.sleep(0.05)
            process.send_signal(number)
            said = process.stderr.read()
        assert process.returncode == (-9 if number == signal.SIGKILL else 130)
        assert number == signal.SIGKILL or "interrupted: what was finished is kept" in said
        worker = Path("/proc", (study / "pid").read_text(), "stat")
        end = time.monotonic() + 10
        while worker.exists() and worker.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < end, "a process draws on for nobody"
            time.sleep(0.05)
        (study / "on").touch()
        assert toy_plan.table(study) == finished[1]
        assert toy_plan.drawn(study) == 3 + 8


class TestInline:
    def chapter(self, tmp_path, code):
        cells = [
            {"cell_type": "markdown", "metadata": {}, "source": "# A chapter"},
            {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": 'text: str = "a"  # a text\nn: int = 1  # a number'},
            {"cell_type": "code", "metadata": {}, "source": code},
        ]  # fmt: skip
        cells = [{**c, "id": f"c{i}", **({"outputs": [], "execution_count": None} if c["cell_type"] == "code" else {})}
                 for i, c in enumerate(cells)]  # fmt: skip
        path = tmp_path / "01_chapter.ipynb"
        notebook = {"cells": cells, "metadata": {"kernelspec": {"name": "python3", "language": "python", "display_name": "P"},
                    "language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return path

    def test_parameters_are_values_and_never_code(self, tmp_path):
        path = self.chapter(tmp_path, "out = [text, n]")
        hostile = "'); import os; os.abort() #\n{{7*7}}"
        assert run_inline(path, {"text": hostile, "n": 7})["out"] == [hostile, 7]
        assert run_inline(path, {})["out"] == ["a", 1]

    def test_a_fault_names_its_cell(self, tmp_path):
        with pytest.raises(RunError) as caught:
            run_inline(self.chapter(tmp_path, "m = n\n1 / 0"), {})
        assert "where     01_chapter.ipynb, cell 3" in str(caught.value)
        assert "got       ZeroDivisionError: division by zero" in str(caught.value)

    def test_an_unknown_parameter_is_refused(self, tmp_path):
        with pytest.raises(RunError, match="no parameter 'm'"):
            run_inline(self.chapter(tmp_path, "pass"), {"m": 1})
