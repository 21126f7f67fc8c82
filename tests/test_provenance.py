"""Hashes by content, the memo's guard, and a manifest that names no machine and no moment."""

from __future__ import annotations

import json
import os
import time

import pytest

from fieldwork import provenance
from fieldwork.provenance import Memo, environment, manifest_text, sha256_file, write_atomic, write_manifest


@pytest.fixture(autouse=True)
def no_guard(monkeypatch):
    """Change time cannot be set back, so the guard is shortened to the clock's grain."""
    monkeypatch.setattr(provenance, "_GUARD_NS", 1)


def test_memo_reads_a_file_once(tmp_path, monkeypatch):
    file = tmp_path / "a.csv"
    file.write_text("x\n1\n")
    time.sleep(0.02)
    memo = Memo(tmp_path / "stat.json")
    first = memo.sha256(file)
    memo.save()
    monkeypatch.setattr(provenance, "sha256_file", lambda _: pytest.fail("read again"))
    assert Memo(tmp_path / "stat.json").sha256(file) == first


def test_memo_does_not_trust_a_fresh_file(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_GUARD_NS", 60_000_000_000)
    file = tmp_path / "a.csv"
    file.write_text("one")
    memo = Memo(None)
    stat = file.stat()
    first = memo.sha256(file)
    file.write_text("two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert memo.sha256(file) != first


def test_memo_sees_a_change_that_keeps_size_and_modification_time(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("one")
    time.sleep(0.02)
    memo = Memo(None)
    stat = file.stat()
    first = memo.sha256(file)
    time.sleep(0.02)
    file.write_text("two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert memo.sha256(file) != first


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"stats": 3, "facts": {}}'])
def test_a_damaged_memo_is_forgotten(tmp_path, damage):
    (tmp_path / "stat.json").write_text(damage)
    file = tmp_path / "a.csv"
    file.write_text("x")
    assert Memo(tmp_path / "stat.json").sha256(file) == sha256_file(file)


def test_folder_lists_files_by_relative_path_and_leaves_hidden_ones_out(tmp_path):
    for name in ("b.csv", "a.csv", "deep/c.csv", ".hidden", "~$a.xlsx", "__pycache__/x.pyc"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    assert list(Memo(None).folder(tmp_path)) == ["a.csv", "b.csv", "deep/c.csv"]


def test_environment_follows_the_lock_file(tmp_path):
    lock = tmp_path / "uv.lock"
    lock.write_text("one")
    first = environment(Memo(None), lock)
    lock.write_text("two")
    assert environment(Memo(None), lock).key != first.key
    assert environment(Memo(None)).lock == ""
    assert first.versions["pandas"].startswith("3.")


def test_manifest_is_the_same_text_twice_and_is_written_once(tmp_path):
    chapter = {"name": "a", "outputs": {"data/a.csv": "0" * 64}}
    text = manifest_text("2026Q1", environment(Memo(None)), [chapter])
    assert text == manifest_text("2026Q1", environment(Memo(None)), [chapter])
    assert json.loads(text)["outputs"] == {"data/a.csv": "0" * 64}
    assert str(tmp_path) not in text
    assert write_manifest(tmp_path / "manifest.json", text) is True
    assert write_manifest(tmp_path / "manifest.json", text) is False


def test_atomic_write_leaves_no_second_file(tmp_path):
    write_atomic(tmp_path / "deep" / "a.json", "{}")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]
