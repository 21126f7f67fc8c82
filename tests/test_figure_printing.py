"""Figures drawn by several processes: the same files, whoever drew what and whatever became of the others."""

import os
import signal

import pytest

from fieldwork import beside
from fieldwork.figures import allowed, printing
from fieldwork.figures.printing import Order, print_all
from tests.browser import report
from tests.toys import ALLOWED


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    study = report.study_in(tmp_path_factory.mktemp("study"), report.QUAIE)
    return allowed(report.estimates(report.QUAIE, measures=("prep", "conf")), study.instrument(), study)


@pytest.fixture(scope="module")
def orders(shown):
    def of(folder):
        return [Order(spec, folder, name=f"{k}", formats=_FORMATS) for k, spec in enumerate(shown.figures)]

    return of


_FORMATS = ("svg", "pdf", "png", "csv")


def files(paths):
    return [(path.name, path.read_bytes()) for path in paths]


@pytest.fixture(scope="module")
def alone(orders, tmp_path_factory):
    return files(print_all(orders(tmp_path_factory.mktemp("alone")), presses=1))


def held_back(monkeypatch, by):
    """Have this process draw nothing before another one has drawn something, and count what each draws."""
    drawn = {"here": 0, "there": 0}
    take, fill = beside._Other.take, Order.fill

    def taken(press, filled, *, wait=False):
        before = len(filled)
        by(press)
        take(press, filled, wait=wait or not drawn["there"])
        drawn["there"] += len(filled) - before

    def here(order):
        drawn["here"] += 1
        return fill(order)

    monkeypatch.setattr(beside._Other, "take", taken)
    monkeypatch.setattr(Order, "fill", here)
    return drawn


def test_another_process_writes_the_same_bytes_and_paths_come_in_the_order_given(orders, alone, tmp_path, monkeypatch):
    drawn = held_back(monkeypatch, lambda _: None)
    assert files(print_all(orders(tmp_path), presses=2)) == alone
    assert drawn["there"] >= 1
    assert drawn["here"] + drawn["there"] == len(alone) // len(_FORMATS)


@pytest.mark.usefixtures("alone")
def test_a_process_that_draws_leaves_nothing_behind(orders, tmp_path, monkeypatch):
    drawn = held_back(monkeypatch, lambda _: None)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    print_all(orders(tmp_path / "made"), presses=2)
    assert drawn["there"] >= 1, "it has made its fonts"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_a_process_that_died_did_not_draw_is_drawn_here(orders, alone, tmp_path, monkeypatch, caplog):
    drawn = held_back(monkeypatch, lambda press: press.held and os.kill(press._process.pid, signal.SIGKILL))
    assert files(print_all(orders(tmp_path), presses=2)) == alone
    assert drawn == {"here": len(alone) // len(_FORMATS), "there": 0}
    assert "has gone" in caplog.text


def test_what_cannot_be_drawn_raises_here_what_it_raises(shown, tmp_path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(FileExistsError, match="taken"):
        print_all([Order(shown.figures[0], tmp_path / "taken"), Order(shown.figures[1], tmp_path / "taken")], presses=2)


def test_a_wave_says_which_figures_it_does_not_allow(shown):
    assert [each.name for each in shown.figures] == ALLOWED
    reasons = shown.missing.set_index("title")["reason"]
    assert reasons.index.is_unique
    assert (reasons.str.len() > 0).all()
    assert not set(reasons.index) & {each.title for each in shown.figures}


def test_few_figures_are_drawn_by_one_process_and_many_by_no_more_than_there_are_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)))
    assert [printing.presses_for(n) for n in (0, 7, 16, 800)] == [1, 1, 2, 3]
    monkeypatch.setenv("FIELDWORK_WORKERS", "2")
    assert printing.presses_for(800) == 2
    monkeypatch.delenv("FIELDWORK_WORKERS")
    monkeypatch.delattr(os, "sched_getaffinity")
    assert printing.presses_for(800) == 1
