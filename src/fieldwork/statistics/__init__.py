"""Functions of arrays that return frozen results: replicates, spread, ordinal models, agreement. No knowledge of Quaie."""

from __future__ import annotations

from fieldwork.statistics.ordinal_mixed import CumulativeLinkMixedModel, CumulativeLinkResults

__all__ = ["CumulativeLinkMixedModel", "CumulativeLinkResults"]
