"""The command that simulates the statistical core: it counts what it says, and its page marks what does not reach its level."""

import importlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.validity_statistics.__main__ import PARTS, main
from benchmarks.validity_statistics.design import (
    Cell,
    Interval,
    Judged,
    Refused,
    Sets,
    Tally,
    answers,
    attempt,
    draw,
    mean_answer,
)
from benchmarks.validity_statistics.page import CELLS, COLUMNS, marks, off_level, page, read
from fieldwork.errors import DesignError

DOCS = Path(__file__).resolve().parents[1] / "docs"
FORTY = Cell(40, unequal=False, weighted=False)


@pytest.fixture(scope="module")
def shown():
    return (DOCS / "validity_statistics.md").read_text(encoding="utf-8")


def _tables(text):
    """Give (part, header, cells of a row) of every table row of the page."""
    part, header = "", []
    for line in text.splitlines():
        if line.startswith("## "):
            part, header = line[3:], []
        elif line.startswith("|---"):
            continue
        elif line.startswith("| "):
            cells = [cell.strip() for cell in line[2:-2].split(" | ")]
            if cells[0] in {"interval", "test", "of"}:
                header = cells
            else:
                yield part, header, cells
        elif not line:
            header = []


def _listed(text, section):
    body = re.search(rf"^## {section}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL).group(1)
    return {(part, name) for name, part in re.findall(r"`([^`]+)` \((\w+)\) [.\d]", body)}, body


# ------------------------------------------------------------------------------------------------------------ the page


def test_the_page_lists_exactly_the_intervals_that_do_not_reach_their_level(shown):
    outside = set()
    for part, header, cells in _tables(shown):
        if header and header[0] == "interval" and cells[2] == "90":
            covered = [float(share) for share in cells[3:7] if share]
            assert header[3:7] == [f"covered: {cell}" for cell in CELLS]
            if not all(0.93 <= share <= 0.97 for share in covered):
                outside.add((part, cells[0]))
    listed, body = _listed(shown, "Not reaching it")
    assert listed == outside
    assert outside, "the page is known to mark some"
    assert body.count("Instead:") == body.count("\n- ") + body.startswith("- ")


def test_the_page_lists_exactly_the_tests_that_reject_too_often(shown):
    studies = read(DOCS).query("organisations == 90 and kind == 'test'").groupby(["part", "name"])["studies"].min()
    seen, often, title, part = set(), set(), "", ""
    for line in shown.splitlines():
        if line.startswith("## "):
            part, title = line[3:], ""
        elif line.startswith(("Type-I error", "Power", "Studies without")):
            title = line
        elif line.startswith("| ") and title.startswith("Type-I"):
            cells = [cell.strip() for cell in line[2:-2].split(" | ")]
            if cells[1] == "90":
                seen.add((part, cells[0]))
                most = 0.05 + 3 * (0.05 * 0.95 / studies[part, cells[0]]) ** 0.5
                if any(float(share) > most for share in cells[2:6] if share):
                    often.add((part, cells[0]))
    listed, _ = _listed(shown, "Tests that reject too often")
    assert seen
    assert listed == often


def test_the_page_is_its_table(shown):
    table = read(DOCS)
    assert page(table) == shown
    assert list(dict.fromkeys(table["part"])) == list(PARTS)
    assert set(table["organisations"]) == {40, 90, 400}
    assert (table["studies"] >= 500).all()
    for _, own in table.groupby(["part", "kind", "name"]):
        takes_weights = own["cell"].str.contains("weights").any()
        assert set(own["cell"]) == set(CELLS if takes_weights else CELLS[::2])


def test_every_mark_is_in_use_and_its_function_says_so():
    off = off_level(read(DOCS))
    used = set(zip(off["part"], off["name"], strict=True))
    assert set(marks()) == used
    for (part, name), mark in marks().items():
        module, _, function = mark["of"].rpartition(".")
        said = getattr(importlib.import_module(f"fieldwork.statistics.{module}"), function).__doc__
        assert "validity_statistics" in said, (part, name, mark["of"])


# ---------------------------------------------------------------------------------------------------------- the command


def test_the_command_writes_its_table_part_by_part(tmp_path, capsys):
    few = ["--studies", "1", "--organisations", "40", "--out", str(tmp_path)]
    assert main([*few, "--only", "proportion", "agreement"]) == 0
    assert main([*few, "--only", "decomposition"]) == 0
    table = read(tmp_path)
    assert list(table.columns) == COLUMNS
    assert list(dict.fromkeys(table["part"])) == ["proportion", "decomposition", "agreement"]
    text = (tmp_path / "validity_statistics.md").read_text(encoding="utf-8")
    assert "| rate: t | 0.503 | 40 |" in text
    assert "Every interval reaches .93 to .97" in text
    before = (tmp_path / "validity_statistics.csv").read_bytes()
    assert main([*few, "--only", "proportion"]) == 0
    assert (tmp_path / "validity_statistics.csv").read_bytes() == before, "the same studies, the same bytes"
    assert "proportion: 40 organisations, unequal, weights" in capsys.readouterr().err


@pytest.mark.parametrize("part", PARTS)
def test_each_part_reports_shares_between_nil_and_one(part, capsys):
    assert main(["--studies", "1", "--organisations", "40", "--only", part]) == 0
    rows = [(header, cells) for name, header, cells in _tables(capsys.readouterr().out) if name == part and header]
    assert rows
    for header, cells in rows:
        shares = [float(c) for h, c in zip(header, cells, strict=True) if h.startswith(("covered", "rejects")) and c]
        assert all(0 <= share <= 1 for share in shares)


# ------------------------------------------------------------------------------------------------------------ counting


def test_intervals_are_counted_by_the_way_they_miss():
    tally = Tally()
    tally.add(Interval("x", np.array([1.0, 1.0]), np.array([1.5, 0.5]), np.array([0.5, 1.2]), np.array([2.5, 1.4])))
    tally.add(
        Interval("x", np.array([1.0, 1.0]), np.array([np.inf, 2.0]), np.array([-np.inf, np.nan]), np.array([0.5, 3]))
    )
    row = tally.rows("spread", FORTY)[0]
    assert (row["truth"], row["studies"], row["organisations"], row["cell"]) == (1.0, 2, 40, "equal")
    assert row["covered"] == pytest.approx(1 / 3)
    assert row["above"] == pytest.approx(1 / 3)
    assert row["below"] == pytest.approx(1 / 3)
    assert row["bias"] == pytest.approx(0.0), "finite estimates of intervals with ends: 1.5 and 0.5"
    assert row["without"] == pytest.approx(1 / 4)
    assert row["width"] == np.inf


def test_an_end_that_is_the_truth_to_rounding_holds_it():
    tally = Tally()
    tally.add(Interval("x", 0.3, 0.1, 0.1 + 0.2, 1.0))
    assert tally.rows("spread", FORTY)[0]["covered"] == 1.0


def test_tests_sets_and_refusals_are_counted():
    tally = Tally()
    for rejects in (True, False, np.array([True, False])):
        tally.add(Judged("t", rejects))
    tally.add(Judged("t", rejects=True, power=True))
    tally.add(Sets("s", covered=True, width=4.0))
    tally.add(Sets("s", covered=0.5, width=2.0))

    def refuse():
        raise DesignError("no")

    for outcome in attempt("t", refuse):
        assert outcome == Refused("t")
        tally.add(outcome)
    rows = {(row["kind"], row["name"]): row for row in tally.rows("ranks", FORTY)}
    assert rows["test", "t"]["rejects"] == 0.5
    assert rows["test", "t"]["refused"] == 0.25
    assert rows["power", "t"]["rejects"] == 1.0
    assert rows["interval", "s"]["covered"] == 0.75
    assert rows["interval", "s"]["width"] == 3.0


def test_only_what_is_outside_at_ninety_organisations_is_off():
    rows = [
        {"kind": "interval", "name": "low", "organisations": 90, "covered": 0.9294},
        {"kind": "interval", "name": "on the line", "organisations": 90, "covered": 0.9296},
        {"kind": "interval", "name": "high", "organisations": 90, "covered": 0.971},
        {"kind": "interval", "name": "elsewhere", "organisations": 40, "covered": 0.5},
        {"kind": "test", "name": "often", "organisations": 90, "rejects": 0.08},
        {"kind": "test", "name": "by chance", "organisations": 90, "rejects": 0.079},
        {"kind": "power", "name": "power", "organisations": 90, "rejects": 0.9},
    ]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS).assign(part="spread", cell="equal", studies=500)
    assert off_level(table)["name"].tolist() == ["low", "high", "often"]
    text = page(table.assign(refused=0.0, without=0.0))
    assert "- `low` (spread) .929; `high` (spread) .971. No reason is written down yet." in text
    assert "`often` (spread) .080. No reason" in text


def test_samples_are_what_the_page_says_and_alike_whatever_else_is_drawn():
    first, again = (draw("ranks", Cell(400, unequal=True, weighted=True), 7) for _ in range(2))
    assert (first.weight == again.weight).all()
    assert (first.groups(3) == again.groups(3)).all()
    assert not (draw("ranks", Cell(400, unequal=True, weighted=True), 8).weight[:5] == first.weight[:5]).any()
    sizes, variation, shared = [], [], []
    for study in range(1, 41):
        sample = draw("ranks", Cell(400, unequal=True, weighted=True), study)
        sizes.append(sample.size)
        variation.append(sample.weight.std() / sample.weight.mean())
        shared.append(np.corrcoef(*sample.latent(1)[:, 0][_pairs(sample.home)])[0, 1])
    assert np.concatenate(sizes).min() == 1
    assert np.concatenate(sizes).max() == 12
    assert np.mean(np.concatenate(sizes)) == pytest.approx(4.65, abs=0.1)
    assert np.mean(variation) == pytest.approx(0.4, abs=0.01)
    assert np.mean(shared) == pytest.approx(0.2, abs=0.02)
    equal = draw("ranks", Cell(90, unequal=False, weighted=False), 1)
    assert (equal.size == 5).all()
    assert (equal.weight == 1).all()


def _pairs(home):
    """Places of neighbours of one organisation, as two rows."""
    first = np.flatnonzero(home[1:] == home[:-1])
    return np.stack([first, first + 1])


def test_the_truth_of_an_answer_is_its_mean():
    latent = np.random.default_rng(1).standard_normal(400_000) - 0.9
    assert answers(latent).mean() == pytest.approx(mean_answer(-0.9), abs=0.005)
