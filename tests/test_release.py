"""Releases of a wave: what is recorded, who may read it, and what an attacker gets from two of them."""

from __future__ import annotations

import json
import stat
from itertools import product

import numpy as np
import pandas as pd
import pytest

from fieldwork import schema
from fieldwork.chapter import Chapter
from fieldwork.cli import main
from fieldwork.disclosure import Policy, publish
from fieldwork.errors import DataError
from fieldwork.release import bases_of, record
from fieldwork.study import Study
from tests.attacker import SHOWN, recovered, released_twice

KEY = {"wave": "2026Q1", "chapter": "04_gradient", "construct": "adoption_gradient", "measure": "stage_fn"}


def table(counts, means):
    """Estimates of a table of roles and stages with its margins and its total, before the gate; arrays (roles, stages)."""
    rows = []
    names = [f"r{k}" for k in range(counts.shape[0])], [f"s{k}" for k in range(counts.shape[1])]
    base = {**KEY, "unit": "scale_point", "status": "ok"}
    sums = counts * means
    for r, s in product([None, *range(counts.shape[0])], [None, *range(counts.shape[1])]):
        taken = (slice(None) if r is None else r, slice(None) if s is None else s)
        n, total = int(np.sum(counts[taken])), float(np.sum(sums[taken]))
        statistic = {(True, True): "mean", (True, False): "stage_mean"}.get((r is None, s is None), "role_mean")
        rows.append(
            {**base, "statistic": statistic, "role": "" if r is None else names[0][r], "stage": "" if s is None else names[1][s],
             "n": n, "n_organisations": n, "estimate": total / n}
        )  # fmt: skip
    return schema.frame(rows, schema.ESTIMATES)


def late(counts, means, rng, share):
    """The same fieldwork a few answers later: new counts and means of the same cells."""
    more = rng.binomial(counts, share)
    after = counts + more
    return after, (counts * means + more * rng.uniform(1.0, 5.0, counts.shape)) / after


def two_releases(seed, *, share=0.06, mean=14, register=True):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean, (5, 4)) + 1
    first = table(counts, means := rng.uniform(1.0, 5.0, counts.shape))
    second = table(*late(counts, means, rng, share))
    one = publish(first, Policy())
    two = publish(second, Policy(), released=bases_of(one, [first]) if register else None)
    return (one, first), (two, second)


@pytest.mark.parametrize("seed", range(12))
def test_an_attacker_gets_no_few_people_and_no_held_cell_from_two_releases(seed):
    one, two = two_releases(seed)
    assert recovered(two[0], two[1]) == []
    assert released_twice(one, two) == []
    assert one[0]["status"].isin(SHOWN).any()


def test_the_attacker_does_get_them_where_nothing_was_recorded():
    found = [released_twice(*two_releases(seed, register=False)) for seed in range(12)]
    assert sum(map(bool, found)) == 12
    kinds = {kind for each in found for kind, *_ in each}
    assert kinds == {"few", "held"}


def test_the_same_people_again_are_shown_again_to_the_byte():
    (one, first), _ = two_releases(3)
    again = publish(first, Policy(), released=bases_of(one, [first]))
    pd.testing.assert_frame_equal(again, one)


def test_ten_more_people_are_shown_again():
    counts = np.full((3, 3), 40)
    first = table(counts, np.full((3, 3), 3.0))
    register = bases_of(publish(first, Policy()), [first])
    second = table(counts + 10, np.full((3, 3), 3.1))
    assert publish(second, Policy(), released=register)["status"].eq("ok").all()


@pytest.mark.parametrize(("whole", "segment", "status"), [(115, 97, "suppressed"), (115, 90, "ok"), (115, 100, "ok")])
def test_a_segment_is_held_against_the_whole_that_was_released(whole, segment, status):
    row = {
        **KEY,
        "statistic": "role_sd_corrected",
        "unit": "scale_point",
        "status": "ok",
        "n_organisations": 50,
        "estimate": 0.5,
    }
    released = schema.frame(
        [{k: v for k, v in row.items() if k in schema.RELEASED.names} | {"n": 100, "shown": True}], schema.RELEASED
    )
    now = schema.frame([{**row, "n": whole}, {**row, "n": segment, "segment": "act=never"}], schema.ESTIMATES)
    published = publish(now, Policy(), released=released).set_index("segment")
    assert published.loc["act=never", "status"] == status
    assert published.loc["", "status"] == "ok"


@pytest.mark.parametrize(("now", "status"), [(12, "suppressed"), (17, "suppressed"), (18, "ok")])
def test_what_was_held_back_stays_so_until_ten_more_have_answered(now, status):
    row = {**KEY, "statistic": "icc1", "unit": "index", "status": "ok", "n_organisations": 50, "estimate": 0.5}
    first = schema.frame([{**row, "n": 8}], schema.ESTIMATES)
    register = bases_of(publish(first, Policy()), [first])
    assert register[["n", "shown"]].to_numpy().tolist() == [[8, False]]
    published = publish(schema.frame([{**row, "n": now}], schema.ESTIMATES), Policy(), released=register)
    assert published.loc[0, "status"].replace("flagged", "ok") == status


def test_what_is_not_assessable_is_no_part_of_a_release():
    row = {**KEY, "statistic": "icc1", "unit": "index", "n": 90}
    inside = schema.frame(
        [{**row, "status": "not_assessable"}, {**row, "role": "CTO", "status": "ok"}], schema.ESTIMATES
    )
    assert bases_of(inside, [inside])["role"].tolist() == ["CTO"]


def test_a_row_that_no_chapter_made_is_refused():
    inside = schema.frame([{**KEY, "statistic": "icc1", "n": 90, "status": "ok"}], schema.ESTIMATES)
    with pytest.raises(DataError, match="does not follow"):
        bases_of(inside, [inside.iloc[:0]])


# The register in its folder, and the command


@pytest.fixture
def study(tmp_path):
    for folder in ("data/raw/2026Q1", "instruments", "notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "toy"\ntitle = "Toy"\nprovenance = "simulated"\n[waves]\norder = ["2026Q1"]\n'
    )
    (tmp_path / "data/raw/2026Q1/a.csv").write_text("x\n1\n")
    text = ('[questionnaire]\nname = "toy"\n',)
    (tmp_path / "instruments/instrument.toml").write_text(text[0])
    return tmp_path


@pytest.fixture
def opened(study, monkeypatch):
    """A chapter of a study with published estimates, without an instrument to read."""
    monkeypatch.setattr(Study, "instrument", lambda _: None)
    (one, first), _ = two_releases(3)
    chapter = Chapter.open("04_gradient", study, "2026Q1")
    chapter.save(first)
    chapter.save(one, "estimates.parquet", folder="reports")
    return chapter


def test_a_release_is_recorded_once_and_closed_to_others(opened):
    made = record(opened.study)
    assert made.path == opened.study.folder / "released/2026Q1.parquet"
    assert (made.shown + made.held, made.added) == (30, 30)
    assert made.held > 0
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
    before = made.path.read_bytes()
    assert record(opened.study).added == 0
    assert made.path.read_bytes() == before
    register = opened.released()
    assert list(register.columns) == schema.RELEASED.names
    assert int(register["shown"].sum()) == made.shown


def test_a_second_release_keeps_the_first(opened):
    first = record(opened.study)
    counts = np.full((5, 4), 60)
    later = table(counts, np.full((5, 4), 3.0))
    opened.save(later)
    opened.save(publish(later, Policy(), released=opened.released()), "estimates.parquet", folder="reports")
    second = record(opened.study)
    assert second.added == 30
    assert len(opened.released()) == first.added + 30


def test_a_damaged_register_stops_the_gate(opened):
    path = record(opened.study).path
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="the register of releases is damaged"):
        opened.released()


def test_what_is_out_of_date_is_not_released(study, capsys):
    (study / "notebooks/chapters.toml").write_text(
        '[[chapter]]\nname = "a"\ncall = "toy:a"\ninputs = ["{raw}"]\noutputs = ["{reports}/index.html"]\n'
    )
    assert main(["release", "--study", str(study), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["title"] == "what is published is not what a run would make now"
    assert told["got"] == "a runs: it has not run before"
    assert not (study / "released").exists()


def test_a_chapter_knows_the_releases_of_earlier_waves_too(opened):
    made = record(opened.study)
    before = made.path.with_name("2025Q4.parquet")
    old = opened.released().assign(wave="2025Q4")
    (opened.study.folder / "data/raw/2025Q4").mkdir()
    (opened.study.folder / "study.toml").write_text(
        '[study]\nname = "toy"\ntitle = "Toy"\nprovenance = "simulated"\n[waves]\norder = ["2025Q4", "2026Q1"]\n'
    )
    chapter = Chapter.open("04_gradient", opened.study.folder, "2026Q1")
    schema.conform(old, schema.RELEASED).to_parquet(before)
    assert set(chapter.released()["wave"]) == {"2025Q4", "2026Q1"}
    assert record(chapter.study).added == 0
    assert set(pd.read_parquet(made.path)["wave"]) == {"2026Q1"}


def test_rows_of_a_release_carry_its_digest(opened):
    first = pd.read_parquet(record(opened.study).path)
    assert first["release"].str.fullmatch("[0-9a-f]{12}").all()
    assert len(set(first["release"])) == 1
