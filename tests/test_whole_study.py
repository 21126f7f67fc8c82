"""A whole study of several waves from raw to pages: nothing leaks, the ways to run a chapter agree, what is missing is named."""

import csv
import hashlib
import json
import os
import random
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
from fieldwork.run.page import compose
from fieldwork.study import Study
from tests import attack, attacker, payloads, surfaces
from tests.drawn_study import untold
from tests.quick import shorten

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
CHAPTERS = tuple(sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem[0].isdigit()))
TABLES = (
    "reports/2026Q4/estimates.parquet",
    "reports/2026Q4/estimates.csv",
    "reports/2026Q4/multiverse.parquet",
    "reports/2026Q4/claims.json",
    "data/processed/2026Q4/04_gradient.parquet",
)
pytestmark = pytest.mark.study
WAVES = ("2026Q1", "2026Q2", "2026Q3", "2026Q4")


def fieldwork(*words, study, code=0):
    done = subprocess.run(
        [BIN / "fieldwork", *map(str, words), "--study", str(study)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def rewritten(folder, change):
    """Rewrite the rows of the last wave's delivery."""
    path = next((folder / "data/raw/2026Q4").glob("*.csv"))
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *change(head, rows)])


def spoilt(head, rows):
    """Add four rows that rules of the contract set aside: delivered twice, without id, without a role, of an unknown one."""
    own, role = head.index("resp_id"), head.index("role")
    twice, anonymous, without, unknown = ([*row] for row in rows[:4])
    anonymous[own] = ""
    without[own], without[role] = "x2", ""
    unknown[own], unknown[role] = "x3", "Chief of nothing"
    return [*rows, twice, anonymous, without, unknown]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Four waves of which the second was never delivered; confidence is asked in other words from the fourth on."""
    folder = tmp_path_factory.mktemp("waves") / "study"
    untold("diverging", folder, organisations=70, seed=3, waves=4, settings={"refreshment": 0.4})
    shorten(folder, replicates=100)
    shutil.rmtree(folder / "data/raw/2026Q2")
    payloads.plant(folder)
    rewritten(folder, spoilt)
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


def digests(folder, names=TABLES):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def test_a_run_ends_with_the_path_of_its_page(finished):
    folder, said = finished
    last = Path(said["2026Q4"].strip().splitlines()[-1])
    assert last.resolve() == (folder / "reports/2026Q4/index.html").resolve()
    assert last.is_file()


def test_a_second_run_does_nothing_and_says_so_of_each_wave(finished):
    folder, _ = finished
    before = digests(folder)
    out = fieldwork("run", "--wave", "2026Q4", study=folder)
    assert digests(folder) == before
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


def test_accepted_and_quarantined_add_up_to_delivered(finished):
    folder, _ = finished
    processed = folder / "data/processed/2026Q4"
    flow = json.loads((processed / "01_clean.flow.json").read_text())
    accepted = pd.read_parquet(processed / "01_clean.parquet")
    quarantined = pd.read_csv(processed / "01_clean.quarantine.csv", dtype=str)
    with next((folder / "data/raw/2026Q4").glob("*.csv")).open(newline="", encoding="utf-8") as file:
        delivered = len(list(csv.reader(file))) - 1
    assert flow["delivered"] == delivered == len(accepted) + len(quarantined)
    assert (flow["accepted"], flow["quarantined"]) == (len(accepted), len(quarantined))
    assert sum(flow["by_rule"].values()) == flow["quarantined"] >= 4
    assert list(quarantined.columns) == schema.QUARANTINE.names


def test_published_estimates_keep_the_contract(finished):
    folder, _ = finished
    estimates = pd.read_parquet(folder / "reports/2026Q4/estimates.parquet")
    assert list(estimates.columns) == schema.ESTIMATES.names
    assert set(estimates["status"]) <= set(schema.STATUSES)
    assert estimates["n"].dropna().mod(5).eq(0).all()
    assert (estimates["n"].dropna() >= 10).all()
    held = estimates[estimates["status"] == "suppressed"]
    assert len(held) > 0
    assert held[["estimate", "std_error", "conf_low", "conf_high", "n", "n_organisations"]].isna().all(axis=None)
    again = pd.read_csv(folder / "reports/2026Q4/estimates.csv", keep_default_na=False, na_values=[""])
    assert again["estimate"].tolist() == pytest.approx(estimates["estimate"].astype("float64").tolist(), nan_ok=True)


def afresh(finished, place):
    """A copy of the study that knows nothing of what was made of its last wave."""
    folder = Path(shutil.copytree(finished[0], place / "study"))
    for made in ("data/processed/2026Q4", "reports/2026Q4"):
        shutil.rmtree(folder / made)
    for record in (folder / ".fieldwork/actions").iterdir():
        if "2026Q4/" in record.read_text(encoding="utf-8"):
            record.unlink()
    return folder


# Figures and pages are made of what these compare; processes that draw side by side have tests of their own.
@pytest.mark.parametrize(
    "only", [("02_validate", "09_claims"), pytest.param((), marks=pytest.mark.slow)], ids=["to the claims", "whole"]
)
def test_one_worker_and_shuffled_rows_give_the_same_bytes(finished, tmp_path, only):
    folder = afresh(finished, tmp_path)
    rewritten(folder, lambda _, rows: random.Random(3).sample(rows, len(rows)))
    words = ["--only", *only] if only else []
    said = fieldwork("run", "--wave", "2026Q4", "--workers", 1, *words, study=folder)
    assert re.search(r"^wave 2026Q4: \d+ ran$", said, re.MULTILINE), "something was taken from what another run made"
    assert digests(folder) == digests(finished[0])
    # Executed chapters too, with their figures; the first one names lines of the file.
    made = {path.stem for path in (folder / "reports/2026Q4/chapters").iterdir()}
    wanted = set(CHAPTERS) - ({"10_findings"} if only else set())
    assert {chapter for chapter in wanted if not any(name.startswith(chapter) for name in made)} == set()
    pages = [f"reports/2026Q4/chapters/{name}.ipynb" for name in sorted(made - {"01_clean"})]
    assert digests(folder, pages) == digests(finished[0], pages)


def by_hand(chapter, study, place):
    """Run a chapter by plain papermill and return its page as a run would have composed it."""
    source, executed = ROOT / "notebooks" / f"{chapter}.ipynb", place / f"{chapter}.ipynb"
    done = subprocess.run(
        [BIN / "papermill", str(source), str(executed), "-p", "study", str(study), "-p", "wave", "2026Q4", "--no-progress-bar"],
        capture_output=True, text=True, check=False, env=os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},  # as by hand, where nobody sets one
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    hidden = [(str(study), ""), (sys.prefix, "environment"), (str(ROOT / "src/fieldwork"), "fieldwork")]
    ran = json.loads(executed.read_text(encoding="utf-8"))
    return compose(json.loads(source.read_text(encoding="utf-8")), ran, {"wave": "2026Q4"}, hidden)


def test_chapters_by_plain_papermill_make_the_same_bytes(finished, tmp_path):
    """Kernels from nothing, of which no run knows: all that the chapters write, and the chapters as executed, with their figures."""
    folder = Path(shutil.copytree(finished[0], tmp_path / "study"))
    processed, reports = folder / "data/processed/2026Q4", folder / "reports/2026Q4"
    # A run makes the designs part by part, and by hand they are made at once: what is judged of them must be the same.
    assert not (reports / "chapters/08c_designs.ipynb").exists()
    shutil.rmtree(processed / "08c_designs_set_aside")
    by_hand("08c_designs", folder, tmp_path)
    for chapter, own in {
        "01_clean": processed.glob("01_clean.*"),
        "04_gradient": processed.glob("04_gradient.*"),
        "08c_multiverse": reports.glob("multiverse.[pcj]*"),
        "09_claims": [*reports.glob("estimates.[pc]*"), reports / "claims.json"],
    }.items():
        before = {path: path.read_bytes() for path in own}
        assert len(before) >= 3
        for path in before:
            path.unlink()
        page = (reports / f"chapters/{chapter}.ipynb").read_text(encoding="utf-8")
        assert by_hand(chapter, folder, tmp_path) == page, chapter
        assert {path: path.read_bytes() for path in before} == before, chapter


@pytest.mark.slow
def test_plain_papermill_gives_the_same_bytes(finished, tmp_path):
    """The whole study chapter by chapter, in kernels of which no run knows: the same results, and chapters as executed."""
    folder, registered = afresh(finished, tmp_path), "data/processed/2026Q4/registered.json"
    (folder / registered).parent.mkdir()
    shutil.copy(finished[0] / registered, folder / registered)
    for chapter in CHAPTERS:
        again = by_hand(chapter, folder, tmp_path)
        page = finished[0] / f"reports/2026Q4/chapters/{chapter}.ipynb"
        if page.exists():
            assert again == page.read_text(encoding="utf-8"), chapter
    assert digests(folder) == digests(finished[0])
    # A run makes the designs part by part, and by hand they are made at once.
    assert [chapter for chapter in CHAPTERS if not (page.parent / f"{chapter}.ipynb").exists()] == ["08c_designs"]


def test_nothing_published_names_a_respondent_or_an_organisation(finished):
    folder, _ = finished
    responses = pd.read_parquet(folder / "data/processed/2026Q4/01_clean.parquet")
    names = [name for key in ("resp_id", "org_id") for name in responses[key].unique()]
    names = [name for name in names if re.fullmatch("[ro][0-9a-f]{8,}", name)][::10]
    assert len(names) > 20
    texts = [
        p for p in (folder / "reports").rglob("*") if p.suffix in {".html", ".json", ".csv", ".ipynb", ".txt", ".svg"}
    ]
    assert len(texts) > 10
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert not [name for name in names if name in text], path


def test_simulated_is_said_wherever_it_surfaces(finished):
    folder, _ = finished
    pages = list((folder / "reports/2026Q4").rglob("*.html"))
    assert len(pages) > 8
    for page in pages:
        assert "Simulated data" in page.read_text(encoding="utf-8"), page
    for source in (folder / "reports/2026Q4/figures").glob("gradient*.svg"):
        assert source.with_suffix(".txt").read_text(encoding="utf-8").lower().count("simulated") > 0


def test_a_delivery_of_nothing_but_faults_ends_with_a_message(finished, tmp_path):
    folder = Path(shutil.copytree(finished[0], tmp_path / "study"))
    rewritten(folder, lambda *_: [])
    said = fieldwork("run", "--wave", "2026Q4", study=folder, code=1)
    assert "Traceback" not in said
    assert "hint" in said
