"""Files of a figure: vector, raster, data, alternative text and words, by their own name or as a publisher names them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fieldwork.chapter import guarded
from fieldwork.figures.spec import Figure, encoded, raster
from fieldwork.figures.style import GREY, STYLES
from fieldwork.provenance import write_whole

__all__ = ["FORMATS", "SCREEN", "publisher_name", "save"]

FORMATS = ("svg", "pdf", "png", "csv", "txt", "json")
SCREEN = 150  # dots per inch of the raster copy beside the pages; a publisher gets that of the style, 600 for the book


def save(
    figure: Figure, folder: Path, *, name: str = "", formats: Sequence[str] = FORMATS, dpi: int = SCREEN
) -> tuple[Path, ...]:
    """Write a figure as SVG (outlined text), PDF (fonts embedded), PNG (its picture), CSV, alt text and its words as JSON.

    The same figure gives the same bytes: no date, no random identifier. Cells that a spreadsheet would take for a
    formula are written with an apostrophe in front.

    Parameters
    ----------
    name : str       File name without ending; empty: the figure's.
    formats : sequence of str    Of `FORMATS`.
    dpi : int        Of the PNG; 0: what the figure's style asks for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [ending for ending in ("svg", "pdf") if ending in formats or (ending == "pdf" and "png" in formats)]
    vector = encoded(figure, *drawn) if drawn else {}
    paths = []
    for ending in formats:
        path = folder / f"{name or figure.name}.{ending}"
        write_whole(path, _content(figure, ending, vector, dpi or STYLES[figure.style].dpi))
        paths.append(path)
    return tuple(paths)


def _content(figure: Figure, ending: str, vector: Mapping[str, bytes], dpi: int) -> bytes:
    if ending == "png":
        return raster(vector["pdf"], dpi, grey=figure.style == GREY.name)
    if ending == "csv":
        return guarded(figure.data).to_csv(index=False, lineterminator="\n").encode()
    if ending == "txt":
        return f"{figure.alt}\n".encode()
    if ending == "json":
        words = {key: getattr(figure, key) for key in ("name", "title", "caption", "alt", "long_description", "source")}
        words |= {"chapter": figure.chapter, "number": figure.number, "style": figure.style}
        return (json.dumps(words, ensure_ascii=False, indent=2) + "\n").encode()
    return vector[ending]


class Numbered(Protocol):
    """Anything with a name and a place in the book."""

    @property
    def name(self) -> str:
        """Name of a figure's files, beside the pages."""

    @property
    def chapter(self) -> int:
        """Chapter of the book."""

    @property
    def number(self) -> int:
        """Number in the chapter; 0: none."""


def publisher_name(figure: Numbered, study: str) -> str:
    """Return the file name that a publisher asks for: survey, chapter and number, as `Quaie_Figure_03_02`.

    Parameters
    ----------
    study : str    Short name of the survey, `Study.name`.
    """
    survey = re.sub(r"[^A-Za-z0-9]+", "_", study).strip("_").capitalize() or "Study"
    if not figure.number:
        return f"{survey}_{figure.name}"
    return f"{survey}_Figure_{figure.chapter:02d}_{figure.number:02d}"
