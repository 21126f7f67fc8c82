"""The report of a wave as static pages that open from a folder, with nothing fetched from anywhere.

The pages read published estimates, claims, findings, the counts of cleaning and validation, the study's own statement,
the instrument's wordings and executed chapters; never a table of respondents.
"""

from __future__ import annotations

from fieldwork.site.pages import build

__all__ = ["build"]
