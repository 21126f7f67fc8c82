"""Work shared with other processes: the same results in the same order, whoever did what and whatever became of the others."""

import copy
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork import beside
from fieldwork.beside import Hands, processes


def in_order(work, orders, others):
    with Hands(others=others) as hands:
        yield from hands.start().in_order(work, orders)


NUMBERS = [7, 3, 12, 0, 5, 9, 1, 30]


@given(st.lists(st.integers(), max_size=20))
def test_alone_it_is_a_map(numbers):
    assert list(in_order(abs, numbers, others=0)) == [abs(number) for number in numbers]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=12), st.integers(1, 2))
def test_beside_others_it_is_the_same_map(numbers, others):
    assert list(in_order(math.factorial, numbers, others=others)) == [math.factorial(n) for n in numbers]


def done_there(monkeypatch, by=lambda _: None):
    """Wait for what another process holds whenever its results are asked for; count them."""
    there = []
    take = beside._Other.take

    def taken(other, done, *, wait=False):
        by(other)
        before = set(done)
        take(other, done, wait=wait or bool(other.held))
        there.extend(set(done) - before)

    monkeypatch.setattr(beside._Other, "take", taken)
    return there


def test_another_process_does_its_share(monkeypatch):
    there = done_there(monkeypatch)
    assert list(in_order(math.factorial, NUMBERS, others=1)) == [math.factorial(n) for n in NUMBERS]
    assert len(there) >= 3


def test_others_are_started_when_it_is_said_and_once(monkeypatch):
    there = done_there(monkeypatch)

    def orders(hands):
        for place, number in enumerate(NUMBERS):
            if place >= 2:
                hands.start()
            yield number

    with Hands(others=1) as hands:
        assert list(hands.in_order(math.factorial, orders(hands))) == [math.factorial(n) for n in NUMBERS]
        assert len(hands._others) == 1
    assert min(there) == 2


def test_orders_and_results_larger_than_a_pipe_holds_pass_both_ways():
    large = [bytes([number]) * (8 << 20) for number in range(6)]
    assert list(in_order(copy.copy, large, others=1)) == large


def test_what_a_process_that_died_did_not_do_is_done_here(monkeypatch, caplog):
    there = done_there(monkeypatch, lambda other: other.held and os.kill(other._process.pid, signal.SIGKILL))
    assert list(in_order(math.factorial, NUMBERS, others=2)) == [math.factorial(n) for n in NUMBERS]
    assert there == []
    assert "its work is done here" in caplog.text


@pytest.mark.parametrize("others", [0, 1, 2])
def test_of_several_faults_the_first_in_order_is_raised_after_what_came_before_it(others, monkeypatch):
    done_there(monkeypatch)
    results = in_order(math.factorial, [4, 5, -1, "no number"], others=others)
    assert [next(results), next(results)] == [24, 120]
    with pytest.raises(ValueError, match="factorial"):
        next(results)


@pytest.mark.parametrize("others", [0, 1])
def test_a_fault_of_the_orders_is_raised_after_the_results_of_those_that_came(others):
    def orders():
        yield from (3, 4)
        raise KeyError("the source has dried up")

    results = in_order(math.factorial, orders(), others=others)
    assert [next(results), next(results)] == [6, 24]
    with pytest.raises(KeyError, match="dried up"):
        next(results)


def test_a_work_that_another_process_does_not_know_is_done_here(caplog):
    assert list(in_order(doubled, NUMBERS, others=1)) == [2 * number for number in NUMBERS]
    assert "its work is done here" in caplog.text


def doubled(number):
    """Another process has no module of tests."""
    return 2 * number


@pytest.mark.parametrize("others", [0, 1])
def test_two_works_of_the_same_hands_have_each_their_results(others):
    with Hands(others=others) as hands:
        hands.start()
        roots, factorials = hands.shared(math.sqrt), hands.shared(math.factorial)
        told = []
        for number in NUMBERS:
            roots.add(number)
            factorials.add(number)
            told += roots.ready()
        told += roots.rest()
        assert list(factorials.rest()) == [math.factorial(number) for number in NUMBERS]
        assert told == [math.sqrt(number) for number in NUMBERS]
        assert [list(each.rest()) for each in (roots, factorials)] == [[], []]


def test_who_stops_asking_leaves_no_process_and_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    started = []
    begin = beside._Other.__init__
    monkeypatch.setattr(
        beside._Other, "__init__", lambda other, *rest: (begin(other, *rest), started.append(other._process))[0]
    )
    results = in_order(math.factorial, NUMBERS, others=2)
    assert next(results) == math.factorial(7)
    assert len(list(tmp_path.iterdir())) == 2
    results.close()
    assert [process.poll() is not None for process in started] == [True, True]
    assert list(tmp_path.iterdir()) == []


def test_another_process_ends_with_the_one_that_gives_it_orders_whatever_it_is_at():
    """It would otherwise be found out when it has a result to send, in an hour."""
    code = (
        "import os, signal, time\n"
        "from fieldwork import beside\n"
        "other = beside._Other('', {})\n"
        "other.give(0, (time.sleep, 600))\n"
        "print(other._process.pid, flush=True)\n"
        "time.sleep(2)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    pid = int(told.stdout)
    until = time.monotonic() + 5
    process = Path(f"/proc/{pid}")
    while time.monotonic() < until and process.exists():
        time.sleep(0.05)
    assert not process.exists()


def test_no_more_processes_than_there_are_processors_and_than_a_run_allows(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)))
    assert processes() == 3
    monkeypatch.setenv("FIELDWORK_WORKERS", "2")
    assert processes() == 2
    monkeypatch.delenv("FIELDWORK_WORKERS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert processes() == 4
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processes() == 1
