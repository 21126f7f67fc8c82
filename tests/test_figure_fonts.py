"""The kept fonts of the figures: the same font whether one was kept, damaged, foreign, or could not be kept at all."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties

from fieldwork.figures import fonts
from fieldwork.shelf import whole

_FAMILY = """
import hashlib
from pathlib import Path
from fieldwork.figures import fonts
fonts.family()
print(*(hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(fonts._folder()).iterdir())))
"""


@pytest.fixture(scope="module")
def source():
    folder = Path(importlib.util.find_spec("font_source_sans_pro").origin).parent / "files"
    return (folder / "SourceSansPro-Regular.ttf").read_bytes()


@pytest.fixture(scope="module")
def made(source):
    return fonts._made(source)


@pytest.fixture
def shelf(source, made, tmp_path):
    assert fonts._reduced(source, tmp_path) == made
    return tmp_path


def none_made(monkeypatch):
    def refuse(_):
        raise AssertionError("a font was made that lay there")

    monkeypatch.setattr(fonts, "_made", refuse)


def test_a_font_that_was_kept_is_taken_and_none_is_made(source, made, shelf, monkeypatch):
    none_made(monkeypatch)
    assert fonts._reduced(source, shelf) == made
    assert [path.suffix for path in shelf.iterdir()] == [".font"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        lambda content: bytes(32) + content[32:],
        lambda _: b"a file of somebody else's",
    ],
    ids=["empty", "short", "cut", "one bit", "another digest", "foreign"],
)
def test_what_is_not_whole_is_made_again_and_mended(damage, source, made, shelf, monkeypatch):
    (kept,) = shelf.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert fonts._reduced(source, shelf) == made
    none_made(monkeypatch)
    assert fonts._reduced(source, shelf) == made


def test_where_nothing_can_be_kept_the_font_is_the_same(source, made, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    assert fonts._reduced(source, tmp_path / "taken") == made
    in_its_place = tmp_path / f"fieldwork-{fonts._key(source)}.font"
    in_its_place.mkdir()
    assert fonts._reduced(source, tmp_path) == made
    assert in_its_place.is_dir()


def test_another_font_and_another_wish_have_another_name(source, monkeypatch):
    names = {fonts._key(source), fonts._key(source + b"\0")}
    monkeypatch.setattr(fonts, "_SIGNS", fonts._SIGNS[:1])
    names.add(fonts._key(source))
    monkeypatch.setattr(fonts, "_OPTIONS", fonts._OPTIONS | {"layout_features": []})
    names.add(fonts._key(source))
    monkeypatch.setattr(fonts.fontTools, "version", "0")
    names.add(fonts._key(source))
    assert len(names) == 5


@pytest.mark.parametrize("weight", ["regular", "bold"])
def test_whatever_sets_a_letter_lies_in_one_folder_so_that_the_order_in_a_pdf_is_the_same_everywhere(weight):
    found = [
        Path(font_manager.findfont(FontProperties(family=[face], weight=weight), fallback_to_default=False))
        for face in fonts.family()
    ]
    assert {path.parent for path in found} == {Path(fonts._folder())}
    assert [font_manager.get_font(path).get_char_index(ord("\N{HEBREW LETTER ALEF}")) > 0 for path in found] == [
        False,
        True,
    ]


def test_processes_that_begin_together_have_the_same_fonts_and_leave_whole_ones(made, tmp_path):
    where = {**os.environ, "MPLCONFIGDIR": str(tmp_path)}
    begun = [
        subprocess.Popen([sys.executable, "-c", _FAMILY], env=where, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = {process.communicate()[0] for process in begun}
    assert not any(process.returncode for process in begun)
    assert len(told) == 1
    assert hashlib.sha256(made).hexdigest() in told.pop()
    found = list(tmp_path.glob("fieldwork-*"))
    assert len(found) == 2
    assert all(whole(path) for path in found)
