"""The fonts of the figures: Source Sans, reduced to the letters, signs and kerning that they use, and what stands in for it.

To reduce a font takes half a second of each process that draws, so what was made is kept where matplotlib keeps what it can
make again. Nothing hangs on it: a kept font is named by all that it is made from, counts only where it is whole, and every
process draws from a copy of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fontTools
import matplotlib as mpl
from fontTools import subset
from matplotlib import font_manager

from fieldwork.shelf import kept

__all__ = ["FALLBACK", "embedded", "family", "looked_up_once"]

logger = logging.getLogger(__name__)

FALLBACK = "DejaVu Sans"
# Latin, Greek and Cyrillic letters; punctuation, currencies, arrows and signs of mathematics.
_SIGNS = (range(0x20, 0x250), range(0x2B0, 0x530), range(0x1E00, 0x1F00), range(0x2000, 0x2300), range(0x25A0, 0x2600))
_OPTIONS = {
    "layout_features": ["kern"],
    "glyph_names": True,
    "notdef_outline": True,
    "recalc_timestamp": False,
    "name_IDs": ["*"],
}
# Where letters stand is decided when a drawing is written: what is embedded with it is outlines and widths.
_LAYOUT = ("BASE", "GDEF", "GPOS", "GSUB", "kern")


@cache
def family() -> tuple[str, ...]:
    """Return the font families in order of choice, Source Sans first when its package is installed.

    >>> family()[-1]
    'DejaVu Sans'
    """
    spec = importlib.util.find_spec("font_source_sans_pro")
    folder = Path(spec.origin).parent / "files" if spec is not None and spec.origin else Path()
    files = [folder / f"SourceSansPro-{cut}.ttf" for cut in ("Regular", "Bold")]
    if not all(file.is_file() for file in files):
        logger.warning("Source Sans is not installed: figures are set in %s", FALLBACK)
        return (FALLBACK,)
    own = [_own_copy(file) for file in files]
    for file in own:
        font_manager.fontManager.addfont(file)
    _bring_near()
    return (font_manager.FontProperties(fname=own[0]).get_name(), FALLBACK)


def _bring_near() -> None:
    """Take what stands in for the font from a copy beside it.

    A PDF embeds its fonts in the order of their paths, which must not hang on where temporary files and the environment lie.
    """
    for weight in ("regular", "bold"):
        wanted = font_manager.FontProperties(family=[FALLBACK], weight=weight)
        file = Path(font_manager.findfont(wanted, fallback_to_default=False))
        near = Path(_folder()) / file.name
        near.write_bytes(file.read_bytes())
        font_manager.fontManager.addfont(near)
    # Of two that fit alike the first is taken.
    font_manager.fontManager.ttflist.sort(key=lambda entry: Path(entry.fname).parent != Path(_folder()))


@contextlib.contextmanager
def embedded() -> Iterator[None]:
    """Embed fonts without the tables that set lines of text, which a PDF has no use for; to reduce them takes most of the time.

    matplotlib offers no such choice, so what fontTools drops by default is more for the while: a default of another name would
    cost time and nothing else.
    """
    kept = subset.Options._drop_tables_default  # noqa: SLF001 - see above
    subset.Options._drop_tables_default = [*kept, *_LAYOUT]  # noqa: SLF001
    try:
        yield
    finally:
        subset.Options._drop_tables_default = kept  # noqa: SLF001


@contextlib.contextmanager
def looked_up_once() -> Iterator[None]:
    """Look for the font files of each kind of text once, not six times for each line: a twelfth of what a file takes.

    matplotlib keeps what it found by all settings that might matter, and to compare those takes the time; none of them changes
    while a file is written.
    """
    manager: Any = font_manager.fontManager
    look = manager._find_fonts_by_props  # noqa: SLF001 - see above
    found: dict[int, list[str]] = {}

    def remember(prop: font_manager.FontProperties) -> list[str]:
        key = hash(prop)  # by which matplotlib calls them equal
        if key not in found:
            found[key] = look(prop)
        return found[key]

    manager._find_fonts_by_props = remember  # noqa: SLF001
    try:
        yield
    finally:
        del manager._find_fonts_by_props  # noqa: SLF001


def _own_copy(file: Path) -> Path:
    """Return a copy of a font for this process alone, reduced: what other processes keep cannot change under its hands."""
    target = Path(_folder()) / file.name
    target.write_bytes(_reduced(file.read_bytes(), Path(mpl.get_cachedir())))
    return target


@cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="fieldwork-fonts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _reduced(font: bytes, folder: Path) -> bytes:
    """Return a font as figures use it: as it is kept in a folder, or made."""
    return kept(folder / f"fieldwork-{_key(font)}.font", lambda: _made(font))


def _key(font: bytes) -> str:
    """Name all that a reduced font is made from: the font, what is asked of it, and who makes it."""
    signs = [(span.start, span.stop) for span in _SIGNS]
    packer = importlib.util.find_spec("uharfbuzz") is not None  # fontTools packs by it where it is
    asked = json.dumps([fontTools.version, packer, _OPTIONS, signs], sort_keys=True).encode()
    return hashlib.sha256(asked + b"\0" + font).hexdigest()[:32]


def _made(font: bytes) -> bytes:
    """Reduce a font to its signs that figures use.

    Every PDF embeds what it needs of each font. To take that out of the whole font, of 1,942 glyphs with small capitals and
    swashes, costs three times as much as all the drawing.
    """
    options = subset.Options(**_OPTIONS)
    target = io.BytesIO()
    with subset.load_font(io.BytesIO(font), options) as opened:
        chosen = subset.Subsetter(options)
        chosen.populate(unicodes=[code for code in opened.getBestCmap() if any(code in span for span in _SIGNS)])
        chosen.subset(opened)
        opened.save(target)
    return target.getvalue()
