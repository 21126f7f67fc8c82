"""The questionnaire as data: roles, stages, scales, items, codes, wordings. The only module that knows them.

`Instrument.load(path, wave)` reads a TOML file and settles what holds in one wave. `Item.resolve` turns delivered texts
into codes. Nothing else in fieldwork compares a delivered text with an answer.
"""

from __future__ import annotations

from fieldwork.instrument.answers import BLANK, Reading, Resolved, ResolvedMulti, fold
from fieldwork.instrument.item import CONSTRUCTS, KINDS, Item
from fieldwork.instrument.parts import (
    DeliveryForm,
    Family,
    Keys,
    LongForm,
    MissingCode,
    Option,
    Personal,
    QualityRule,
    Route,
    Scale,
)
from fieldwork.instrument.questionnaire import Instrument, Source
from fieldwork.instrument.trend import TREND_KINDS, FollowedRoles, followed_roles, trend_break, trend_kind

__all__ = [
    "BLANK",
    "CONSTRUCTS",
    "KINDS",
    "TREND_KINDS",
    "DeliveryForm",
    "Family",
    "FollowedRoles",
    "Instrument",
    "Item",
    "Keys",
    "LongForm",
    "MissingCode",
    "Option",
    "Personal",
    "QualityRule",
    "Reading",
    "Resolved",
    "ResolvedMulti",
    "Route",
    "Scale",
    "Source",
    "fold",
    "followed_roles",
    "trend_break",
    "trend_kind",
]
