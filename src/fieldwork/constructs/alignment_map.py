"""Role Alignment Map (RAM): shared reading of priorities, ownership and direction, never as one number.

Own code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwork.constructs.ledger import Estimates, Ledger

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument

__all__ = ["estimate_for"]

CONSTRUCT = "alignment_map"
CHAPTER = "06_alignment"


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate the construct for every item that the instrument tags with it."""
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    ledger.refuse("pri", "kendall_w", "index", "not built yet")
    return ledger.table()
