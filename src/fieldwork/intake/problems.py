"""What can be wrong with a delivery: the rules in order of precedence, and the record of one fault.

A row is set aside under the first rule that it breaks, in the order of `RULES`; every further fault of the row is named
beside it. Rules of severity `quality`, which the instrument declares, set a row aside although its sender has nothing to
mend. Rules of severity `warning` keep the row and are counted as flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldwork.errors import InstrumentError

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["HIDDEN", "RULES", "SETS_ASIDE", "Problem", "Rule", "rules_of", "shown", "told"]

SETS_ASIDE = ("error", "quality")  # severities of the rules under which a row is set aside


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a delivered row is held to.

    Attributes
    ----------
    name : str        Stable name, as stored in the quarantine and in the flow.
    severity : str    `error`: the row is set aside, and can be mended; `quality`: the row is set aside by a rule that
                      the instrument declares; `warning`: the row is kept and counted.
    words : str       What happened to the row, for the data-quality page.
    """

    name: str
    severity: str
    words: str


RULES: tuple[Rule, ...] = (
    Rule("file_unreadable", "error", "the file could not be read as a delivery"),
    Rule("no_rows", "error", "the file has a header and no rows"),
    Rule("measure_absent", "error", "no file has the column of an item that carries the adoption gradient"),
    Rule("short_row", "error", "fewer cells than the header has columns"),
    Rule("long_row", "error", "more cells than the header has columns"),
    Rule("empty_row", "error", "no cell is filled in"),
    Rule("nul_byte", "error", "a NUL character, which marks a damaged file"),
    Rule("formula_without_value", "error", "a formula of a workbook that holds no value"),
    Rule("not_an_interview", "quality", "a preview, a test or spam by the export's own mark"),
    Rule("unfinished", "quality", "an interview that was not finished, by the export's own mark"),
    Rule("superseded", "quality", "replaced by a later delivery that corrects it"),
    Rule("wave_missing", "error", "no wave is given"),
    Rule("other_wave", "error", "belongs to another wave"),
    Rule("resp_id_missing", "error", "no respondent is named"),
    Rule("org_id_missing", "error", "no organisation is named"),
    Rule("duplicate_respondent", "error", "the same respondent was delivered more than once"),
    Rule("respondent_unknown", "error", "an answer of a respondent whom no file of the wave holds"),
    Rule("member_unknown", "error", "an answer to something that the question is not put of"),
    Rule("answer_repeated", "error", "the same answer of a respondent was delivered more than once"),
    Rule("answer_conflicting", "error", "different answers of a respondent to the same question"),
    Rule("role_missing", "error", "no role is given"),
    Rule("role_unknown", "error", "a role that the instrument does not list"),
    Rule("stage_out_of_range", "error", "a stage that the instrument does not list"),
    Rule("value_unknown", "error", "an answer that the instrument does not list"),
    Rule("value_out_of_range", "error", "a code or number outside the range of the item"),
    Rule("date_unreadable", "error", "a date that is not a calendar date in ISO form"),
    Rule("date_out_of_range", "error", "a date before or after the days that the instrument allows"),
    Rule("answer_missing", "error", "no answer to an item that every respondent must answer"),
    Rule("exclusive_combined", "error", "an answer that stands alone was given with others"),
    Rule("weight_invalid", "error", "a weight that is not a positive, finite number of the usual size"),
    Rule("end_before_start", "error", "the interview ends before it starts"),
    Rule("cap_exceeded", "warning", "more options chosen than the item allows; all are kept"),
    Rule("routing_violated", "warning", "an answer to a question that was not asked; the answer is made missing"),
    Rule("rank_repeated", "warning", "the same rank was given twice; both are kept"),
    Rule(
        "repeat_differs",
        "warning",
        "the row repeats an answer of the respondent otherwise than the respondent's own row",
    ),
    Rule(
        "declared_missing",
        "warning",
        "the file declares a value missing for a reason that the instrument does not have; read as no answer",
    ),
    Rule("hidden_characters", "warning", "invisible characters were removed from an id or a coded answer"),
    Rule("trailing_separator", "warning", "every row ends with a separator that the header lacks; read without it"),
    Rule("column_absent", "warning", "a column of the instrument was not delivered; its answers are missing"),
    Rule("personal_dropped", "warning", "a declared personal column was dropped when the file was read"),
    Rule("mapping_proposed", "warning", "a column that may be one of the instrument's; nothing is applied"),
    Rule("column_unknown", "warning", "a column that the instrument does not have; kept apart"),
)

_WORDS = {
    "min_minutes": "answered faster than the declared shortest time",
    "straight_line": "the same answer to every item of a declared block",
    "attention": "the attention check was answered wrongly",
    "duplicate_answers": "every answer is the same as another respondent's",
}

# Control, zero-width, bidirectional and format characters; tab and line ends are white space and are trimmed as such.
HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def rules_of(instrument: Instrument) -> dict[str, Rule]:
    """Return every rule by name, in order of precedence: the house's, then those that the instrument declares.

    Raises InstrumentError where a quality rule of the instrument bears the name of a rule of the house.
    """
    house = {rule.name: rule for rule in RULES}
    for rule in instrument.quality:
        if rule.name in house:
            raise InstrumentError(
                f"quality rule {rule.name} bears the name of a rule of the house",
                where=f"{instrument.file or 'instrument'}, quality.{rule.name}",
                expected="a name of its own",
                got=rule.name,
                hint="rename the rule",
            )
    declared = [
        Rule(rule.name, "quality" if rule.action == "exclude" else "warning", rule.label or _WORDS[rule.kind])
        for rule in instrument.quality
    ]
    ordered = sorted([*RULES, *declared], key=lambda rule: rule.severity)  # stable; error, quality, warning
    return {rule.name: rule for rule in ordered}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault of a delivery, with the place where it stands and the mend.

    Attributes
    ----------
    file : str        Delivered file.
    row : int         Line of the file as a spreadsheet counts it, header = 1; 0: the file as a whole.
    column : str      Column at fault, as delivered; empty: the row as a whole.
    rule : str        Name of the rule, see `RULES`.
    resp_id : str     Respondent as delivered.
    value : str       Value as delivered, cut at 80 characters, invisible characters written out.
    mend : str        What the sender can do.
    severity : str    `error`, `quality` or `warning`, see `Rule`.
    """

    file: str
    row: int
    column: str
    rule: str
    resp_id: str = ""
    value: str = ""
    mend: str = ""
    severity: str = "error"


def told(problems: Iterable[Problem], *, alike: int = 3) -> Iterator[str]:
    """Yield a line for each problem, in their order; what `alike` rows or more have in common is said once, with every row.

    Rows have a problem in common where file, column, value, rule, mend and severity are the same.

    >>> print(*told([Problem("a.csv", row, "stage", "value_unknown", value="x", mend="use 1, 2") for row in (2, 5, 9)]))
    error: a.csv, row 2, column stage: 'x' value_unknown. use 1, 2; the same in 3 rows: 2, 5, 9
    """
    groups: dict[tuple[str, ...], list[Problem]] = {}
    for each in problems:
        common = (each.file, each.column, each.rule, each.value, each.mend, each.severity)
        groups.setdefault(common, []).append(each)
    for group in groups.values():
        if len(group) < alike:
            yield from map(_line, group)
        else:
            rows = ", ".join(str(each.row) for each in group)
            yield f"{_line(group[0])}; the same in {len(group)} rows: {rows}"


def _line(problem: Problem) -> str:
    place = f"{problem.file}, row {problem.row}" if problem.row else problem.file
    column = f", column {problem.column}" if problem.column else ""
    value = f" '{problem.value}'" if problem.value else ""
    return f"{problem.severity}: {place}{column}:{value} {problem.rule}. {problem.mend}".rstrip()


def shown(value: str, *, limit: int = 80) -> str:
    r"""Return a delivered value as one safe line: invisible characters written out, cut at `limit`.

    >>> shown("CFO\u200b"), shown("x" * 100, limit=5)
    ('CFO\\u200b', 'xxxx…')
    """
    safe = value if value.isprintable() else "".join(c if c.isprintable() else _written_out(c) for c in value[:limit])
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
