"""Delivered exports, held against the instrument: what was delivered, what it says, and what is wrong with it.

`read_pieces` reads files as text, piece by piece, and accounts for every row; `join_long` brings files of one answer a row to
the respondents; `Answers` turns texts into answers and lists every fault; `check_files` prints the list for a sender.
Raw files are read and never written.
"""

from __future__ import annotations

from fieldwork.intake.answers import Answers, Tally, Waiting, read_answers
from fieldwork.intake.check import check_files, problems_of
from fieldwork.intake.delivery import (
    ROWS,
    Delivery,
    Head,
    Heads,
    measures_absent,
    read_deliveries,
    read_delivery,
    read_pieces,
)
from fieldwork.intake.interviews import NOT_SHOWN, ROUTED_OUT
from fieldwork.intake.long_form import LongAnswers, join_long
from fieldwork.intake.personal import looks_personal
from fieldwork.intake.problems import RULES, SETS_ASIDE, Problem, Rule, rules_of, shown, told
from fieldwork.intake.pseudonyms import key_of, pseudonym, without_ids, without_long_ids
from fieldwork.intake.rows import NOT_DELIVERED, Piece

__all__ = [
    "NOT_DELIVERED",
    "NOT_SHOWN",
    "ROUTED_OUT",
    "ROWS",
    "RULES",
    "SETS_ASIDE",
    "Answers",
    "Delivery",
    "Head",
    "Heads",
    "LongAnswers",
    "Piece",
    "Problem",
    "Rule",
    "Tally",
    "Waiting",
    "check_files",
    "join_long",
    "key_of",
    "looks_personal",
    "measures_absent",
    "problems_of",
    "pseudonym",
    "read_answers",
    "read_deliveries",
    "read_delivery",
    "read_pieces",
    "rules_of",
    "shown",
    "told",
    "without_ids",
    "without_long_ids",
]
