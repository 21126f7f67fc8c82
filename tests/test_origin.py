"""Where a published number comes from: which row a key names, which cell made it, and what stands behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fieldwork import origin
from fieldwork.cli import main
from fieldwork.errors import DataError, RunError, UsageError
from fieldwork.provenance import sha256_file
from fieldwork.run import notebook
from fieldwork.schema import ESTIMATES
from tests.small_study import HOME, book

ROWS = [
    {"measure": "conf", "statistic": "role_mean", "role": "CEO", "estimate": 3.2, "conf_low": 3.0, "conf_high": 3.4},
    {"measure": "conf", "statistic": "role_mean", "role": "CEO", "stage": "pilot", "estimate": 3.1},
    {"measure": "conf", "statistic": "role_mean", "role": "CFO", "status": "suppressed", "reason": "fewer than ten"},
    {"measure": "prep", "statistic": "range_raw", "estimate": 1.5},
]
COMMON = {"wave": "w1", "chapter": "04_x", "construct": "gradient", "unit": "scale_point", "status": "ok", "n": 65}
COMMON |= {"n_organisations": 60, "method": "cluster_bootstrap", "replicates": 1000, "seed": 7}
CLAIM = {"id": "H1", "text": "CEOs are sure.", "verdict": "supported", "estimand": "The mean.", "margin": 0.1}
CLAIM |= {"registered": {"hash": "ab" * 32, "time": "2026-01-01T00:00:00Z"}, "estimate": 3.2}
PART = {"construct": "gradient", "measure": "conf", "statistic": "role_mean", "role": "CEO", "stage": ""}
MAKING = "class chapter:\n    save_estimates = staticmethod(lambda rows: (target / '04_x.txt').write_text(str(rows)))"


def published(folder):
    frame = pd.DataFrame([COMMON | row for row in ROWS], columns=ESTIMATES.names)
    texts = [column.name for column in ESTIMATES.columns if column.dtype == "string"]
    frame = frame.astype(dict.fromkeys(texts, "string")).fillna(dict.fromkeys(texts, ""))
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "estimates.parquet")
    return folder / "estimates.parquet"


@pytest.mark.parametrize(
    "what",
    [
        "gradient/conf/role_mean/CEO",
        "gradient conf role_mean CEO",
        "construct=gradient, measure=conf, statistic=role_mean, role=CEO",
        'estimate(construct="gradient", measure="conf", statistic="role_mean", role="CEO").interval',
        "measure=conf role='CEO' stage=",
    ],
)
def test_a_key_names_one_row_however_it_is_written(tmp_path, what):
    found = origin.find(published(tmp_path), what)
    assert found.key["role"] == "CEO"
    assert found.key["stage"] == ""
    assert found.chapter == "04_x"
    assert found.numbers["estimate"] == 3.2
    assert (found.numbers["n"], found.numbers["seed"]) == (65, 7)


def test_a_key_that_is_the_only_one_of_its_kind_need_not_be_whole(tmp_path):
    path = published(tmp_path)
    assert origin.find(path, "stage=pilot").numbers["estimate"] == 3.1
    assert origin.find(path, "gradient/prep").key["statistic"] == "range_raw"


@pytest.mark.parametrize(
    ("what", "title", "hint"),
    [
        ("gradient/conf/role_mean", "3 published estimates have this key", "role=CEO, stage=pilot"),
        ("gradient/conf/role_mean/CEOO", "no published estimate has this key", "did you mean CEO?"),
        ("construct=gradient, rolle=CEO", "the key cannot be read", "did you mean role?"),
        ("a/b/c/d/e/f/g/h/i", "the key has too many parts", ""),
    ],
)
def test_a_key_of_no_row_or_of_several_is_told_so(tmp_path, what, title, hint):
    with pytest.raises(UsageError) as caught:
        origin.find(published(tmp_path), what)
    assert caught.value.title == title
    assert hint in caught.value.hint


def test_without_a_run_or_with_a_damaged_file_it_says_so(tmp_path):
    with pytest.raises(RunError, match="nothing has been published"):
        origin.find(tmp_path / "estimates.parquet", "a/b")
    (tmp_path / "estimates.parquet").write_text("PAR1")
    with pytest.raises(DataError, match="damaged"):
        origin.find(tmp_path / "estimates.parquet", "a/b")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study that has run: 01_clean counts rows, 04_x makes an estimate, 09_claims publishes."""
    folder = tmp_path_factory.mktemp("origin") / "study"
    for name in ("data/raw/w1", "instruments", "notebooks"):
        (folder / name).mkdir(parents=True)
    (folder / "study.toml").write_text(
        '[study]\nname = "toy"\ntitle = "Toy"\nprovenance = "simulated"\n[waves]\norder = ["w1"]\n'
    )
    (folder / "data/raw/w1/a.csv").write_text("x\n1\n2\n3\n")
    (folder / "instruments/w1.toml").write_text('[instrument]\nid = "toy"\nversion = "2.1"\n')
    published(folder / "instruments")
    flow = {"delivered": 3, "accepted": 2, "quarantined": 1, "by_rule": {"speeder": 1}}
    flow |= {"files": [{"file": "a.csv", "delivered": 3}]}
    book(
        folder,
        "01_clean",
        ("code", HOME),
        ("code", f"(target / '01_clean.flow.json').write_text({json.dumps(flow)!r})"),
    )
    making = ("markdown", "## Making"), ("code", "rows = [1]"), ("code", "rows = [2]\nother = 3")
    saving = ("markdown", "## Saving"), ("code", "chapter.save_estimates(rows)")
    book(folder, "04_x", ("code", HOME), ("code", MAKING), *making, *saving, own="seed: int = 0  # seed\ncap: int = 5")
    claims = json.dumps([CLAIM | {"parts": [PART]}])
    copying = f"import shutil\nto = Path(out or study) / 'reports' / wave\nshutil.copy(home / 'instruments/estimates.parquet', to)\n(to / 'claims.json').write_text({claims!r})"
    book(folder, "09_claims", ("code", HOME), ("code", copying))
    (folder / "notebooks/chapters.toml").write_text(
        '[[chapter]]\nname = "01_clean"\ninputs = ["{raw}", "{instruments}/{wave}.toml"]\noutputs = ["{processed}/01_clean.flow.json"]\n'
        '[[chapter]]\nname = "04_x"\ninputs = ["{processed}/01_clean.flow.json"]\noutputs = ["{processed}/04_x.txt"]\n'
        '[[chapter]]\nname = "09_claims"\ninputs = ["{processed}/04_x.txt", "{instruments}/estimates.parquet"]\n'
        'outputs = ["{reports}/estimates.parquet", "{reports}/claims.json"]\n'
    )
    assert main(["run", "--study", str(folder), "--isolated", "--workers", "1"]) == 0
    return folder


def explained(study, capsys, *words):
    capsys.readouterr()
    assert main(["explain", "--study", str(study), "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_estimate_is_followed_back_to_the_rows_delivered(study, capsys):
    answer = explained(study, capsys, "gradient", "conf", "role_mean", "CEO")
    assert answer["published"]["estimate"] == 3.2
    maker, publisher = answer["chapters"]
    assert (maker["notebook"], maker["cell"], maker["heading"], maker["saved_in_cell"]) == (
        "notebooks/04_x.ipynb", 7, "Making", 9,
    )  # fmt: skip
    assert maker["parameters"] == {"wave": "w1", "cap": 5, "seed": 1}
    assert (maker["state"], publisher["chapter"]) == ("current", "09_claims")
    assert answer["inputs"] == {
        label: sha256_file(study / label)
        for label in ("data/raw/w1/a.csv", "instruments/estimates.parquet", "instruments/w1.toml")
    }
    (wave,) = answer["waves"]
    assert (wave["delivered"], wave["accepted"], wave["quarantined"]) == (3, 2, 1)
    assert wave["files"] == [{"file": "a.csv", "delivered": 3}]
    assert wave["instrument"] == {"file": "instruments/w1.toml", "id": "toy", "version": "2.1"}
    assert len(maker["code_sha256"]) == 64


def test_a_claim_names_the_estimates_that_judged_it_and_their_chapter(study, capsys):
    answer = explained(study, capsys, "H1")
    assert answer["claim"]["verdict"] == "supported"
    assert [(each["chapter"], each["published"]["estimate"]) for each in answer["estimates"]] == [("04_x", 3.2)]
    assert [chapter["chapter"] for chapter in answer["chapters"]] == ["04_x", "09_claims"]
    assert main(["explain", "--study", str(study), "H1"]) == 0
    said = capsys.readouterr().out
    assert "H1 is supported: CEOs are sure." in said
    assert "made in   notebooks/04_x.ipynb, cell 7 under 'Making', saved in cell 9" in said
    assert "delivered w1: a.csv (3 rows); 3 rows, 2 accepted, 1 set aside" in said
    assert "asked     toy, version 2.1 (instruments/w1.toml)" in said


def test_what_is_held_back_stays_so_and_a_stale_number_says_it(study, capsys):
    assert main(["explain", "--study", str(study), "gradient/conf/role_mean/CFO"]) == 0
    assert "published suppressed: fewer than ten" in capsys.readouterr().out
    raw = study / "data/raw/w1/a.csv"
    before = raw.read_text()
    raw.write_text(before + "4\n")
    try:
        answer = explained(study, capsys, "gradient/conf/role_mean/CEO")
        assert answer["chapters"][0]["state"] == "waiting"
        # What is told is what the published number was made from, not what lies there now.
        assert answer["inputs"]["data/raw/w1/a.csv"] != sha256_file(raw)
    finally:
        raw.write_text(before)


def test_every_shipped_chapter_with_estimates_tells_its_cell():
    books = Path(origin.__file__).resolve().parents[2] / "notebooks"
    told = {path.stem: origin.made_in(notebook.read(path)) for path in sorted(books.glob("0*.ipynb"))}
    saving = {name for name, (_, saved) in told.items() if saved}
    assert {"04_gradient", "05_blockers", "06_alignment", "07_influence", "08_movement", "08b_practices"} <= saving
    assert all(0 < told[name][0] < told[name][1] for name in saving)
