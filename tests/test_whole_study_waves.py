"""Whole studies of several waves, from raw to pages: a wave that is missing is named, a question that changed breaks its trend."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fieldwork import schema
from fieldwork.disclosure import Policy, publish
from fieldwork.figures import publish_all, published_of
from fieldwork.publish import PARTS
from fieldwork.publish import publish as put_together
from fieldwork.study import Study
from tests import attack, attacker, payloads, surfaces
from tests.drawn_study import untold
from tests.quick import shorten

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.study
WAVES = ("2026Q1", "2026Q2", "2026Q3", "2026Q4")


def fieldwork(*words, study):
    done = subprocess.run(
        [BIN / "fieldwork", *map(str, words), "--study", str(study)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Four waves of which the second was never delivered; confidence is asked in other words from the fourth on."""
    folder = tmp_path_factory.mktemp("waves") / "study"
    untold("diverging", folder, organisations=70, seed=3, waves=4, settings={"refreshment": 0.4})
    shorten(folder, replicates=100)
    shutil.rmtree(folder / "data/raw/2026Q2")
    payloads.plant(folder)
    with (folder / "instruments/2026Q4.toml").open("a", encoding="utf-8") as file:
        file.write('\n[items.conf.waves."2026Q4"]\nversion = "2"\nwording = "How sure are you?"\n')
    said = {wave: fieldwork("run", "--wave", wave, study=folder) for wave in WAVES[2:]}
    return folder, said


def estimates(folder, wave):
    return pd.read_parquet(folder / f"reports/{wave}/estimates.parquet")


@pytest.fixture(scope="module")
def both(finished):
    """The two published waves as one table each: published, exact, bases."""
    return attack.together(finished[0], list(WAVES[2:]))


def test_an_attacker_recovers_no_held_cell_of_two_waves(both):
    """All tables of both waves at once; a gate that looked at each row alone would lose some of them."""
    published, exact, bases = both
    assert (published["status"] == "suppressed").sum() > 100
    assert attacker.everything(published, exact) == []
    assert attacker.jointly(published, exact, bases) == []
    assert attacker.pinned(published, exact, bases) == []
    some = published[published["measure"].isin(["blk", "obj_rank"])]
    assert len(attacker.jointly(attack.row_by_row(some), exact, bases)) > 10


def test_no_published_file_carries_what_the_gate_held_back(finished, both):
    folder, _ = finished
    exact = both[1]
    for wave in WAVES[2:]:
        place = folder / "reports" / wave
        held, published = surfaces.held_rows(place, exact[exact["wave"] == wave])
        assert len(held) > 50
        found, files = surfaces.precise(place, held)
        assert (found, files > 100) == ([], True)
        found, read = surfaces.attached(place, held)
        assert (found, read > 50) == ([], True)
        found, read = surfaces.keyed(place, held)
        assert (found, read > len(published)) == ([], True)
        found, known = surfaces.drawn(place, held, published)
        assert (found, known > 200) == ([], True)
        explored = surfaces.explored(place)
        assert (any(explored), len(explored) > 50) == (False, True)
        found, parts = surfaces.multiverse(place, held)
        assert (found, parts > 0) == ([], True)


@pytest.fixture(scope="module")
def publication(finished):
    """What goes out of the house for the last wave, with an essay, and one figure of the book for all of them."""
    folder, _ = finished

    def one_figure(study, out):
        drawn = published_of(study.folder, study.wave)
        return publish_all(drawn, out / "book", study.name, styles=("web",), names=("gradient",))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PARTS, "book", one_figure)
        return put_together(Study.open(folder, "2026Q4"), folder / "publication/2026Q4", draft=True).folder


def test_no_file_of_the_publication_carries_what_the_gate_held_back(finished, both, publication):
    folder, _ = finished
    place, exact = folder / "reports/2026Q4", both[1]
    held, published = surfaces.held_rows(place, exact[exact["wave"] == "2026Q4"])
    for look in (surfaces.precise, surfaces.attached, surfaces.keyed):
        found, read = look(publication, held)
        assert (found, read > 20) == ([], True), look.__name__
    assert surfaces.drawn(publication / "site", held, published)[0] == []
    shown = published[published["status"] == "ok"]
    assert len(surfaces.keyed(publication, shown)[0]) >= 2 * len(shown), "the attacker reads tables that carry keys"


def test_no_payload_lives_in_what_is_written(finished, publication):
    """Formulas, markup, templates and typesetting in labels, titles, answers, ids, columns and the name of a file stay text."""
    folder, _ = finished
    written = folder / "reports", publication
    texts = set(payloads.LABELS.values()) | {payloads.TITLE}
    assert payloads.alive_in_pages(*written) == ([], texts)
    loose, pages = payloads.loose_policies(*written)
    assert (loose, pages > 150) == ([], True)
    assert payloads.alive_in_cells(*written, folder / "data/processed") == ([], True)
    assert payloads.alive_in_pictures(folder / "reports/2026Q4") == ([], True)
    assert payloads.alive_in_pictures(publication / "book") == ([], True)
    live, outputs = payloads.alive_in_notebooks(folder / "reports/2026Q4")
    assert (live, outputs > 20) == ([], True)
    shown = {payloads.LABELS[name] for name in ("Chief Marketing Officer", "Too little evidence to commit capital")}
    live, read = payloads.alive_in_markdown(publication)
    assert live == []
    assert shown <= read
    live, word, pdf = payloads.alive_in_documents(publication)
    assert live == []
    assert all(text in word for text in shown)
    assert "alert(7)" in pdf
    assert not payloads.alive_in_documents(folder / "reports/2026Q4/figures")[0]
    for path in publication.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))


def test_no_payload_is_a_path(finished, publication):
    """Nothing is written beside the study, and no file bears a name that a delivery gave."""
    folder, _ = finished
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    names = {path.name for path in folder.rglob("*") if "raw" not in path.parts} | {
        path.name for path in publication.rglob("*")
    }
    assert not [name for name in names if re.search(r"[<>|\x00-\x1f=@]|alert|passwd", name)]


def test_the_page_of_a_chapter_holds_back_what_the_estimates_hold_back(finished):
    """Each chapter shows what its own gate passes: it must be no more than passes the gate of all."""
    folder, _ = finished
    published, exact, bases = attack.published_and_exact(folder, "2026Q4")
    key = [name for name in schema.ESTIMATE_KEY if name != "wave"]
    shown = set(published.loc[published["status"].isin(["ok", "flagged"]), key].itertuples(index=False, name=None))
    for chapter in sorted(set(published["chapter"]) - {"03b_measurement", "03c_answers", "04_gradient"}):
        own = exact[exact["chapter"] == chapter].reset_index(drop=True)
        mine = bases.merge(own[key], on=key)
        passed = publish(own, Policy(), mine)
        told = passed[passed["status"].isin(["ok", "flagged"])]
        assert set(told[key].itertuples(index=False, name=None)) <= shown
    counted = json.loads((folder / "reports/2026Q4/chapters/03c_answers.ipynb").read_text(encoding="utf-8"))
    said = [output.get("data", {}) for cell in counted["cells"] for output in cell.get("outputs", ())]
    tables = ["".join(each["text/html"]) for each in said if "text/html" in each]
    assert any("Shares of answers by question" in table for table in tables)
    assert not [table for table in tables if re.search(r">[^<]*\d(\.\d|\s?%)", table)], "answers pass the gate later"
    page = (folder / "reports/2026Q4/chapters/03b_measurement.html").read_text(encoding="utf-8")
    assert "Bounds of role means" not in page
    assert "Bounds of role means" in (folder / "reports/2026Q4/chapters/04_gradient.html").read_text(encoding="utf-8")


def test_the_wave_without_a_delivery_is_named_wherever_it_matters(finished):
    folder, said = finished
    assert "no delivery of 2026Q2: analyses over waves go without" in said["2026Q3"].splitlines()
    assert "wave 2026Q1: 2 ran" in said["2026Q3"]
    assert said["2026Q3"].splitlines()[-1].endswith("reports/2026Q3/index.html")
    record = json.loads((folder / "data/processed/2026Q3/08_movement.waves.json").read_text())
    assert (record["fielded"], record["absent"]) == (["2026Q1", "2026Q3"], ["2026Q2"])
    assert record["with"] == {"2026Q1": "mixture"}
    table = estimates(folder, "2026Q3")
    assert "there is no delivery of 2026Q2" in set(table["reason"])
    page = (folder / "reports/2026Q3/chapters/08_movement.html").read_text(encoding="utf-8")
    assert "No delivery of 2026Q2" in page or "no delivery of 2026Q2" in page
    assert not (folder / "reports/2026Q1/index.html").exists()


def test_the_reference_stays_the_same_from_wave_to_wave(finished):
    folder, _ = finished
    kept = [
        json.loads((folder / f"data/processed/{w}/08_movement.waves.json").read_text())["reference"] for w in WAVES[2:]
    ]
    assert kept[0] == kept[1]
    assert kept[0]["wave"] == "2026Q1"
    assert sum(each["n"] for each in kept[0]["counts"]) > 200


def test_a_change_is_published_and_a_changed_question_is_not(finished):
    folder, _ = finished
    third, fourth = (estimates(folder, wave) for wave in WAVES[2:])
    assert list(third.columns) == schema.ESTIMATES.names
    conf = "construct == 'lead_lag' and measure == 'conf' and statistic == 'convergence' and segment == ''"
    assert third.query(conf)["status"].tolist() == ["ok"]
    told = fourth.query(conf)
    assert told["status"].tolist() == ["not_assessable"]
    assert "wording changed (version 1 to 2) between 2026Q1 and 2026Q4" in told["reason"].iloc[0]
    prep = fourth.query(conf.replace("'conf'", "'prep'"))
    assert prep["status"].tolist() == ["ok"]
    slope = fourth.query("measure == 'prep' and statistic == 'convergence_slope'")
    assert slope["status"].tolist() == ["ok"]


def test_claims_count_the_waves_that_were_delivered(finished):
    folder, _ = finished
    third, fourth = (
        {each["id"]: each for each in json.loads((folder / f"reports/{wave}/claims.json").read_text())}
        for wave in WAVES[2:]
    )
    for claim in ("H10", "H11", "H26"):
        assert third[claim]["reason"] == "needs 3 waves; the study has 2"
    assert fourth["H10"]["verdict"] == "not_assessable"
    assert "wording changed" in fourth["H10"]["reason"]
    assert fourth["H25"]["verdict"] in {"supported", "contradicted", "inconclusive", "not_assessable"}


def test_a_second_run_does_nothing_and_says_so_of_each_wave(finished):
    folder, _ = finished
    out = fieldwork("run", "--wave", "2026Q4", study=folder)
    assert "running" not in out
    assert "wave 2026Q1: 2 current" in out
    assert "wave 2026Q3: 2 current" in out


def test_a_chapter_by_hand_makes_the_same_bytes(finished, tmp_path):
    folder, _ = finished
    names = [
        f"data/processed/2026Q4/08_movement{suffix}"
        for suffix in (".parquet", ".draws.parquet", ".bases.parquet", ".waves.json")
    ]
    before = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    done = subprocess.run(
        [BIN / "papermill", str(ROOT / "notebooks" / "08_movement.ipynb"), str(tmp_path / "made.ipynb"), "-p", "study",
         str(folder), "-p", "out", str(tmp_path / "out"), "--no-progress-bar"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert {n: hashlib.sha256((tmp_path / "out" / n).read_bytes()).hexdigest() for n in names} == before
