"""Role Lead-Lag Ranking (RLLR): the order of roles, how sure it is, and whether roles draw together.

Own code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwork.constructs.ledger import Estimates, Ledger

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument

__all__ = ["estimate_for"]

CONSTRUCT = "lead_lag"
CHAPTER = "08_movement"


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate the construct for every item that the instrument tags with it."""
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    ledger.refuse("stage_fn", "rank_low", "rank", "not built yet")
    return ledger.table()
