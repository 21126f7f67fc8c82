"""The typeface of the pages, set into each page so that it looks alike on every machine and fetches nothing."""

from __future__ import annotations

import base64
import importlib.util
import io
import logging
from functools import cache
from pathlib import Path

__all__ = ["font_faces"]

logger = logging.getLogger(__name__)

_WEIGHTS = {400: "Regular", 600: "Semibold"}
_LETTERS = (*range(0x20, 0x7F), *range(0xA0, 0x180), *map(ord, "–—‘’“”…•−≤≥×·→†‡"))  # noqa: RUF001 - the signs themselves


@cache
def font_faces() -> str:
    """Return the style rules that hold Source Sans, cut down to Latin letters; empty where its package is missing.

    Other letters are set in the reader's own fonts.
    """
    from fontTools import subset  # noqa: PLC0415 - half a second, and needed once a build

    spec = importlib.util.find_spec("font_source_sans_pro")
    if spec is None or not spec.origin:
        logger.warning("Source Sans is not installed: pages are set in the reader's own fonts")
        return ""
    rules = []
    for weight, cut in _WEIGHTS.items():
        options = subset.Options(hinting=False, recalc_timestamp=False, notdef_outline=True)
        options.flavor = "woff"
        font = subset.load_font(str(Path(spec.origin).parent / "files" / f"SourceSansPro-{cut}.ttf"), options)
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=_LETTERS)
        cutter.subset(font)
        target = io.BytesIO()
        subset.save_font(font, target, options)
        data = base64.b64encode(target.getvalue()).decode("ascii")
        rules.append(
            f'@font-face {{ font-family: "Fieldwork Sans"; font-weight: {weight}; font-display: swap; '
            f'src: url("data:font/woff;base64,{data}") format("woff"); }}'
        )
    return "\n".join(rules) + "\n"
