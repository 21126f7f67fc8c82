"""Faults as rows of a table: place, column, value, rule, mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["NO_FAULTS", "delivered_name", "each", "listed_faults"]

NO_FAULTS = pd.DataFrame({"place": np.array([], dtype="int64")}).assign(column="", value="", rule="", mend="")
# Beyond so many distinct wrong texts of one column, the nearest answer is no longer looked up for each.
_OFFERS = 1_000


def listed_faults(
    places: pd.Index, column: str | Sequence[str], value: str | Sequence[str], rule: str, mend: str | Sequence[str]
) -> pd.DataFrame:
    """Return faults of several places as rows; one text stands for all."""
    return pd.DataFrame({"place": places, "column": column, "value": value, "rule": rule, "mend": mend})


def each(texts: Iterable[str], tell: Callable[[str], str]) -> list[str]:
    """Return what `tell` says of each text, asked once per distinct text."""
    texts = list(texts)
    told = {text: tell(text) if number < _OFFERS else tell("") for number, text in enumerate(dict.fromkeys(texts))}
    return [told[text] for text in texts]


def delivered_name(instrument: Instrument, name: str) -> str:
    """Return the delivered column of an item; of a multi-select item the first."""
    return next(iter(instrument.item(name).delivered_columns().values()))
