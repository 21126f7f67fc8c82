"""The register of claims and its verdicts: every hypothesis of the essays, judged by one rule, declared before the data.

Own code: honest verdicts are what the project exists for. `register` reads and checks what was declared, `amendments` shows
what was changed after data were read, `verdicts` tests each claim's estimands against their margins, adjusts within the
declared families, and judges from the published estimates.
"""

from __future__ import annotations

from fieldwork.claims.amendments import Amendment, Registration, amended, record_of
from fieldwork.claims.register import KEY, Claim, External, Family, Part, Register
from fieldwork.claims.verdicts import Survey, Tested, against_margins, judge

__all__ = [
    "KEY",
    "Amendment",
    "Claim",
    "External",
    "Family",
    "Part",
    "Register",
    "Registration",
    "Survey",
    "Tested",
    "against_margins",
    "amended",
    "judge",
    "record_of",
]
