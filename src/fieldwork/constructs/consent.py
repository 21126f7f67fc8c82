"""Consent to a report about the own organisation: which organisations said yes with one voice, and what the others lack.

Own code: it decides what may be shown of whom. It reads one question and counts; nothing is estimated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["COLUMNS", "MINIMUM_TO_JUDGE", "MINIMUM_TO_SPEAK", "organisations"]

MINIMUM_TO_SPEAK = 3  # informants, measures.md section 2, conventions
MINIMUM_TO_JUDGE = 5  # informants for a verdict on agreement, measures.md 2.5
COLUMNS = ("organisation", "informants", "yes", "consented", "lacking")


def organisations(instrument: Instrument, responses: pd.DataFrame) -> pd.DataFrame:
    """List the organisations of a wave with what a report about each still lacks.

    An organisation consents when every one of its informants (accepted respondents of the wave) answered the slot
    `consent_org` with yes. One no is no consent, and so is one blank. Whoever was set aside in cleaning is in no report, and is
    not counted here. A report says something from three informants on, and judges agreement from five.

    Parameters
    ----------
    responses : accepted respondents of the wave, native columns.

    Returns one row per organisation, sorted, columns `COLUMNS`; `lacking` is empty where a report can be made. No row where the
    survey names no organisations.
    """
    key = instrument.keys.organisation
    if not key:
        return pd.DataFrame(columns=list(COLUMNS))
    asked = [item.name for item in instrument.slot("consent_org") if item.kind == "flag"]
    said = responses[asked[0]].eq(1).fillna(value=False) if asked else pd.Series(data=False, index=responses.index)
    table = said.astype(int).groupby(responses[key].astype(str)).agg(["size", "sum"]).sort_index()
    rows = [
        (name, informants, yes, bool(asked) and yes == informants, _lacking(informants, yes, asked=bool(asked)))
        for name, informants, yes in zip(map(str, table.index), table["size"], table["sum"], strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _lacking(informants: int, yes: int, *, asked: bool) -> str:
    """Say what is missing for a report, with the number; empty where nothing is."""
    parts = []
    if not asked:
        parts.append("the questionnaire of the wave does not ask for consent to a report")
    elif yes < informants:
        parts.append(f"consent of every informant is needed; {yes} of {informants} said yes")
    if informants < MINIMUM_TO_SPEAK:
        parts.append(
            f"{MINIMUM_TO_SPEAK} informants are needed; there {'is' if informants == 1 else 'are'} {informants}"
        )
    return "; ".join(parts)
