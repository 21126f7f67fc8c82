"""Planning: sizes, refusals, what a proposal may say, and that drawn studies are those of the engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.errors import RunError, UsageError
from fieldwork.figures import planning
from fieldwork.figures.saving import save
from fieldwork.plan import VERDICTS, Plan, organisations_for, plan, sentence
from fieldwork.run.inline import run_inline
from fieldwork.simulate import EXECUTIVES, Population, simulate_responses, worlds
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
