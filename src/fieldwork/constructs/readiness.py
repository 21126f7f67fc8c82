"""Readiness diagnostic: what is claimed of the organisation, what its roles report, and what goes with a stall.

Own code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwork.constructs.ledger import Estimates, Ledger

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument

__all__ = ["estimate_for"]

CONSTRUCT = "readiness"
CHAPTER = "08b_practices"


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate the construct for every item that the instrument tags with it."""
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    ledger.refuse("prep", "claim_minus_lowest", "scale_point", "not built yet")
    return ledger.table()
