"""The typeface of the pages, set into each page so that it looks alike on every machine and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import logging
import zlib
from functools import cache
from pathlib import Path

import fontTools

from fieldwork import shelf

__all__ = ["font_faces"]

logger = logging.getLogger(__name__)

_WEIGHTS = {400: "Regular", 600: "Semibold"}
_LETTERS = (*range(0x20, 0x7F), *range(0xA0, 0x180), *map(ord, "–—‘’“”…•−≤≥×·→†‡"))  # noqa: RUF001 - the signs themselves


_OPTIONS = {"flavor": "woff", "hinting": False, "recalc_timestamp": False, "notdef_outline": True}


@cache
def font_faces() -> str:
    """Return the style rules that hold Source Sans, cut down to Latin letters; empty where its package is missing.

    Other letters are set in the reader's own fonts.
    """
    spec = importlib.util.find_spec("font_source_sans_pro")
    if spec is None or not spec.origin:
        logger.warning("Source Sans is not installed: pages are set in the reader's own fonts")
        return ""
    rules = []
    for weight, cut in _WEIGHTS.items():
        font = (Path(spec.origin).parent / "files" / f"SourceSansPro-{cut}.ttf").read_bytes()
        data = base64.b64encode(_cut_down(font, shelf.own_folder())).decode("ascii")
        rules.append(
            f'@font-face {{ font-family: "Fieldwork Sans"; font-weight: {weight}; font-display: swap; '
            f'src: url("data:font/woff;base64,{data}") format("woff"); }}'
        )
    return "\n".join(rules) + "\n"


def _cut_down(font: bytes, folder: Path) -> bytes:
    """Return a font as pages hold it: as it is kept in a folder, or made."""
    # zlib packs it.
    asked = json.dumps([fontTools.version, zlib.ZLIB_RUNTIME_VERSION, _OPTIONS, _LETTERS], sort_keys=True).encode()
    name = hashlib.sha256(asked + b"\0" + font).hexdigest()[:32]
    return shelf.kept(folder / f"{name}.woff", lambda: _made(font))


def _made(font: bytes) -> bytes:
    from fontTools import subset  # noqa: PLC0415 - half a second, and needed where none is kept

    options = subset.Options(**_OPTIONS)
    target = io.BytesIO()
    with subset.load_font(io.BytesIO(font), options) as opened:
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=_LETTERS)
        cutter.subset(opened)
        subset.save_font(opened, target, options)
    return target.getvalue()
