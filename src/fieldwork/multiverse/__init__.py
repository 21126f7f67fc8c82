"""The multiverse: each primary claim judged again under a declared set of analytic choices.

Own code: how far a verdict hangs on choices that somebody else would have made otherwise is part of the verdict. `choices`
is what a study declares, `samples` makes who is in and with which weight, `lens` puts the mixed model in place of the cell
table, `designs` estimates, part by part, `verdicts` judges and tabulates. References: Steegen, Tuerlinckx, Gelman and Vanpaemel
(2016), Perspect. Psychol. Sci. 11, 702-712; Simonsohn, Simmons and Nelson (2020), Nature Human Behaviour 4, 1208-1214.
"""

from __future__ import annotations

from fieldwork.multiverse.choices import CHOICES, PARTS, Declaration, Specification, declared
from fieldwork.multiverse.designs import Evidence, estimate
from fieldwork.multiverse.samples import Samples
from fieldwork.multiverse.verdicts import Universe, agreement, explore

__all__ = [
    "CHOICES",
    "PARTS",
    "Declaration",
    "Evidence",
    "Samples",
    "Specification",
    "Universe",
    "agreement",
    "declared",
    "estimate",
    "explore",
]
