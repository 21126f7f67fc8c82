"""The report of a wave as static pages that open from a folder, with nothing fetched from anywhere.

The pages read published estimates, claims, findings, the counts of cleaning and validation, the study's own statement,
the instrument's wordings and executed chapters; never a table of respondents.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["build"]


def build(study: str, wave: str, out: str) -> Path:
    """Write the pages of a wave's report and return the path of its first page.

    Parameters
    ----------
    study : str    The study folder.
    wave : str     Wave; empty: the study's default.
    out : str      Folder that mirrors the study and takes the pages; empty: the study folder itself.

    Pages open from the folder they lie in; none runs a script or fetches anything. A missing file of the wave
    (findings, validation, chapters) is said on the pages and stops nothing; one that is not as its contract has it is
    refused.
    """
    from fieldwork.site.pages import write  # noqa: PLC0415 - tables and notebooks, needed once pages are written

    return write(study, wave, out)
