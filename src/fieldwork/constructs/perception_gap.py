"""Perception gap: how far colleagues are apart, against how far they think that they are.

Own code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwork.constructs.ledger import Estimates, Ledger

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument

__all__ = ["estimate_for"]

CONSTRUCT = "perception_gap"
CHAPTER = "06_alignment"


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate the construct for every item that the instrument tags with it."""
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    ledger.refuse("conf", "blind_spot", "scale_point", "not built yet")
    return ledger.table()
