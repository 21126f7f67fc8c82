"""The report of a wave as static pages that open from a folder, with nothing fetched from anywhere.

The pages read published estimates, claims, findings, the counts of cleaning and validation, the study's own statement,
the instrument's wordings and executed chapters; never a table of respondents.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from fieldwork.instrument import Instrument
    from fieldwork.study import Study

__all__ = ["LISTING", "build", "codebook_frames", "topline_page"]

LISTING = ".organisations.json"
"""File of the restricted folder: what a report of each organisation lacks. No pseudonym starts with a full stop."""


def build(study: str, wave: str, out: str) -> Path:
    """Write the pages of a wave's report and return the path of its first page.

    Parameters
    ----------
    study : str    The study folder.
    wave : str     Wave; empty: the study's default.
    out : str      Folder that mirrors the study and takes the pages; empty: the study folder itself.

    Pages open from the folder they lie in and fetch nothing from elsewhere; two run the site's own script, named by its
    hash, and hold all that they hold without it. A missing file of the wave
    (findings, validation, chapters) is said on the pages and stops nothing; one that is not as its contract has it is
    refused.
    """
    from fieldwork.site.pages import write  # noqa: PLC0415 - tables and notebooks, needed once pages are written

    return write(study, wave, out)


def topline_page(study: Study) -> tuple[bytes, pd.DataFrame]:
    """Return the topline as a page of its own, without links, and as one table over all waves that were published."""
    from fieldwork.site.pages import topline_alone  # noqa: PLC0415
    from fieldwork.site.topline import topline_frame  # noqa: PLC0415

    material, page = topline_alone(study)
    waves = [(each.wave, each.instrument, each.estimates) for each in material.earlier if len(each.estimates)]
    return page, topline_frame([*waves, (study.wave, material.instrument, material.estimates)])


def codebook_frames(instrument: Instrument) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the codebook as two tables: a row per question, and a row per answer offered."""
    from fieldwork.site.codebook import frames  # noqa: PLC0415

    return frames(instrument)
