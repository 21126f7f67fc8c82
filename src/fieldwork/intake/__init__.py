"""Delivered exports, held against the instrument: what was delivered, what it says, and what is wrong with it.

`read_delivery` reads a file as text and accounts for every row; `join_long` brings files of one answer a row to the
respondents; `read_answers` turns texts into answers and lists every fault; `check_files` prints the list for a sender.
Raw files are read and never written.
"""

from __future__ import annotations

from fieldwork.intake.answers import NOT_DELIVERED, NOT_SHOWN, ROUTED_OUT, Answers, read_answers
from fieldwork.intake.check import check_files, problems_of
from fieldwork.intake.delivery import Delivery, delivered, measures_absent, read_deliveries, read_delivery
from fieldwork.intake.long_form import LongAnswers, join_long
from fieldwork.intake.personal import looks_personal
from fieldwork.intake.problems import RULES, SETS_ASIDE, Problem, Rule, rules_of, shown
from fieldwork.intake.pseudonyms import key_of, pseudonym, without_ids, without_long_ids

__all__ = [
    "NOT_DELIVERED",
    "NOT_SHOWN",
    "ROUTED_OUT",
    "RULES",
    "SETS_ASIDE",
    "Answers",
    "Delivery",
    "LongAnswers",
    "Problem",
    "Rule",
    "check_files",
    "delivered",
    "join_long",
    "key_of",
    "looks_personal",
    "measures_absent",
    "problems_of",
    "pseudonym",
    "read_answers",
    "read_deliveries",
    "read_delivery",
    "rules_of",
    "shown",
    "without_ids",
    "without_long_ids",
]
