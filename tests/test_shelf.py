"""What is kept between runs: the same bytes whether it lay there, was damaged, or cannot be kept; the typeface of the pages."""

import base64
import io
import re
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont

from fieldwork import shelf
from fieldwork.site import type as typeface


def test_what_lies_there_whole_is_taken_and_anything_else_is_made(tmp_path):
    place, made = tmp_path / "deep" / "thing", []

    def make():
        made.append(1)
        return b"thing" * 100

    assert shelf.kept(place, make) == shelf.kept(place, make) == shelf.whole(place) == b"thing" * 100
    assert len(made) == 1
    for damaged in (b"", place.read_bytes()[:-1], b"x" + place.read_bytes()[1:], b"a file of somebody else's"):
        place.write_bytes(damaged)
        assert shelf.whole(place) is None
        assert shelf.kept(place, make) == shelf.whole(place) == b"thing" * 100
    assert len(made) == 5


def test_what_cannot_be_kept_is_made_each_time_and_what_cannot_be_made_is_told(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    assert [shelf.kept(tmp_path / "taken" / "thing", lambda at=at: b"%d" % at) for at in range(2)] == [b"0", b"1"]

    def fail():
        raise ValueError("no such font")

    with pytest.raises(ValueError, match="no such font"):
        shelf.kept(tmp_path / "thing", fail)
    assert not (tmp_path / "thing").exists()


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert shelf.own_folder() == tmp_path / "fieldwork"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert shelf.own_folder() == tmp_path / "home/.cache/fieldwork"

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert shelf.kept(shelf.own_folder() / "thing", lambda: b"made") == b"made"
    assert shelf.whole(shelf.own_folder() / "thing") is None


def test_pages_hold_the_same_typeface_whether_it_was_kept_or_not(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = typeface.font_faces.__wrapped__()
    assert [path.suffix for path in (tmp_path / "fieldwork").iterdir()] == [".woff", ".woff"]
    monkeypatch.setattr(typeface, "_made", None)
    assert typeface.font_faces.__wrapped__() == first
    for data in re.findall(r"base64,([^\"]+)", first):
        font = TTFont(io.BytesIO(base64.b64decode(data)))
        assert {ord("A"), ord("é"), ord("−")} <= set(font.getBestCmap())  # noqa: RUF001 - the sign itself
        assert len(font.getGlyphOrder()) < 500
    assert first.count("@font-face") == 2


def test_a_typeface_of_other_letters_is_another_one(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = typeface.font_faces.__wrapped__()
    monkeypatch.setattr(typeface, "_LETTERS", typeface._LETTERS[:-1])
    assert typeface.font_faces.__wrapped__() != first
    assert len(list((tmp_path / "fieldwork").iterdir())) == 4
