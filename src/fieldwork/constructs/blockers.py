"""Blockers: which roles cite which, compared as several answers of one person in one organisation.

Own code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwork.constructs.ledger import Estimates, Ledger

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument

__all__ = ["estimate_for"]

CONSTRUCT = "blockers"
CHAPTER = "05_blockers"


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate the construct for every item that the instrument tags with it."""
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    ledger.refuse("blk", "prevalence", "proportion", "not built yet")
    return ledger.table()
