"""The words in which an essay quotes: a claim's estimate, interval, base and sentence, a published estimate, an outside fact.

What is quoted names the verdict that the prose was written for, as `supported.H17`. When the verdict is another, the essay
does not build: prose that says more than its numbers is a fault of the essay, and is told with its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.claims import KEY
from fieldwork.errors import ClaimError, EssayError, listed, nearest
from fieldwork.findings import DECIDED, checked, marked
from fieldwork.tables import VERDICTS, decimals_of, interval, quantity

if TYPE_CHECKING:
    from fieldwork.claims import External
    from fieldwork.essays.facts import Facts

__all__ = ["ClaimQuote", "EstimateQuote", "ExternalQuote", "Roots", "estimate_of", "facts_of", "published", "roots"]

Roots = dict[str, Any]

_DIFFERENCES = ("_difference", "_gap", "shift")
_UNITS = {"scale_point": "scale points", "index": "", "rank": "", "quarter": "quarters", "log_ratio": "", "ratio": ""}
_SHOWN = ("ok", "flagged")
_MANY = 20


def _unknown(what: str, name: str, known: Iterable[str], hint: str = "") -> EssayError:
    known = list(known)
    near = nearest(name, known)
    return EssayError(
        f"{what} '{name}' is not known", expected=listed(known, limit=_MANY), got=f"'{name}'",
        hint=f"did you mean {near}?" if near else hint or "correct the name, or take the reference out",
    )  # fmt: skip


def _number(value: float, unit: str, statistic: str = "", decimals: int = 2) -> str:
    """Return a number as prose has it: shares in per cent, differences of shares in points, other units in words.

    >>> _number(0.6, "proportion"), _number(0.39, "proportion", "risk_difference"), _number(0.68, "scale_point")
    ('60 per cent', '39 percentage points', '0.68 scale points')
    """
    if unit == "proportion":
        points = "percentage points" if statistic.endswith(_DIFFERENCES) else "per cent"
        return f"{quantity(100 * value, '', 0)} {points}"
    return f"{quantity(value, unit, decimals)} {_UNITS.get(unit, '')}".strip()


def _between(low: float | None, high: float | None, unit: str, statistic: str = "", decimals: int = 2) -> str:
    """Return an interval as prose has it.

    >>> _between(0.37, 0.79, "proportion"), _between(1.6, None, "log_ratio")
    ('37 to 79 per cent', 'at least 1.60')
    """
    if unit != "proportion":
        return interval(low, high, unit, decimals)
    first, last = (None if end is None or pd.isna(end) else 100 * end for end in (low, high))
    ends = interval(first, last, "", 0)
    return f"{ends} {'percentage points' if statistic.endswith(_DIFFERENCES) else 'per cent'}" if ends else ""


def _base(record: Mapping[str, Any]) -> str:
    people, organisations = record.get("n"), record.get("n_organisations")
    if people is None or pd.isna(people):
        return ""
    if organisations is None or pd.isna(organisations):
        return f"about {quantity(people, '', 0)} respondents"
    return f"about {quantity(people, '', 0)} executives in {quantity(organisations, '', 0)} organisations"


class _Quote:
    """Something that is quoted field by field; alone it is no text."""

    _name = ""

    def _fields(self) -> list[str]:
        return sorted(name for name in dir(type(self)) if not name.startswith("_"))

    def __getattr__(self, field: str) -> Any:  # noqa: ANN401 - always refuses
        if field.startswith("_"):
            raise AttributeError(field)
        raise _unknown(f"{self._name} has no field; the field", field, self._fields())

    def __str__(self) -> str:
        raise EssayError(
            f"{self._name} is quoted without saying what of it", expected=listed(self._fields()), got="no field",
            hint="write the field after a full stop, as in supported.H17.estimate",
        )  # fmt: skip


class _Numbers(_Quote):
    """Estimate, interval and base of one record, refused where there is none."""

    def __init__(self, name: str, record: Mapping[str, Any], decimals: int = 2) -> None:
        self._name, self._record, self._decimals = name, record, decimals

    def _of(self, field: str, words: str) -> str:
        if not words:
            raise EssayError(
                f"{self._name} has no {field} to print", expected=f"a published {field}", got="none",
                hint="quote its sentence, which says what there is",
            )  # fmt: skip
        return words

    @property
    def _unit(self) -> str:
        return str(self._record.get("unit") or "")

    @property
    def _statistic(self) -> str:
        return str(self._record.get("statistic") or "")

    @property
    def estimate(self) -> str:
        """The estimate with its unit."""
        value = self._record["estimate"]
        none = value is None or pd.isna(value)
        return self._of("estimate", "" if none else _number(value, self._unit, self._statistic, self._decimals))

    @property
    def interval(self) -> str:
        """The interval with its unit."""
        ends = (self._record["conf_low"], self._record["conf_high"])
        return self._of("interval", _between(*ends, self._unit, self._statistic, self._decimals))

    @property
    def level(self) -> str:
        """The level of the interval."""
        value = self._record["conf_level"]
        return self._of("level", "" if value is None or pd.isna(value) else f"{100 * value:.0f} per cent")

    @property
    def base(self) -> str:
        """The base, to the nearest five as everything published."""
        return self._of("base", _base(self._record))


class EstimateQuote(_Numbers):
    """A published estimate that no claim is judged by here: a description, with its interval and base."""

    @property
    def full(self) -> str:
        """Estimate, interval and base in one."""
        return f"{self.estimate} ({self.level} interval {self.interval}; {self.base})"


class ClaimQuote(_Numbers):
    """A claim with its verdict, as one of the roots gives it."""

    def __init__(self, facts: Facts, record: Mapping[str, Any]) -> None:
        deciding: Mapping[str, Any] = next((p for p in record["parts"] if p["label"] == record.get("part")), {})
        super().__init__(
            f"claim {record['id']}", {**record, "statistic": deciding.get("statistic", ""), **record["base"]}
        )
        self._facts = facts

    @property
    def text(self) -> str:
        """What the claim says, as it was registered."""
        return str(self._record["text"]).rstrip(".")

    @property
    def verdict(self) -> str:
        """The verdict in a word."""
        return VERDICTS[self._record["verdict"]].lower()

    @property
    def sentence(self) -> str:
        """The one sentence that may be said of it."""
        from fieldwork.findings import sentence  # noqa: PLC0415 - the property has its name

        return sentence(self._record)

    @property
    def reason(self) -> str:
        """Why it has its verdict."""
        return self._of("reason", str(self._record.get("reason") or ""))

    @property
    def margin(self) -> str:
        """The margin that decides."""
        value = self._record.get("margin")
        return self._of("margin", "" if value is None else _number(value, self._unit, self._statistic))

    @property
    def agreeing(self) -> str:
        """How many other analyses come to the same verdict, of those assessed."""
        counted = (self._record.get("multiverse") or {}).get("at_registered_margin") or {}
        return self._of("count of analyses", f"{counted['agree']} of {counted['assessed']}" if counted else "")

    @property
    def part(self) -> Callable[[str], _Numbers]:
        """One part of the claim, by the beginning of its label."""

        def of(label: str) -> _Numbers:
            found = [part for part in self._record["parts"] if str(part["label"]).startswith(label)]
            if len(found) != 1:
                raise _unknown(f"{self._name}: the part", label, [str(part["label"]) for part in self._record["parts"]])
            _held(self._facts, self._record, found)
            return _Numbers(f"{self._name}, {found[0]['label']}", found[0])

        return of


class _Verdict:
    """Claims of one verdict; the verdict stands in the prose, so another one stops the build. Without one: any claim."""

    def __init__(self, facts: Facts, verdict: str = "") -> None:
        self._facts, self._verdict = facts, verdict

    def __getattr__(self, claim: str) -> ClaimQuote:
        if claim.startswith("_"):
            raise AttributeError(claim)
        return self[claim]

    def __getitem__(self, claim: str) -> ClaimQuote:
        self._facts.need("claims.json", "estimates.parquet", "findings.json")
        if claim not in self._facts.claims:
            raise _unknown("the claim", claim, self._facts.claims)
        record = self._facts.claims[claim]
        if self._verdict and record["verdict"] != self._verdict:
            raise _otherwise(record, self._verdict)
        if record["verdict"] in DECIDED:
            _as_finding(self._facts, record)
        _held(self._facts, record, [part for part in record["parts"] if part["judged"]])
        return ClaimQuote(self._facts, record)


def _otherwise(record: Mapping[str, Any], wanted: str) -> EssayError:
    title = "the verdict of a claim is another than the prose was written for"
    if wanted in DECIDED and record["verdict"] not in DECIDED:
        title = "a hypothesis is about to be printed as a finding"
    return EssayError(
        title, expected=f"{record['id']} {VERDICTS[wanted].lower()}",
        got=f"{VERDICTS[record['verdict']].lower()}: {record.get('reason') or 'no reason given'}",
        hint=f"read the passage again, then quote {record['verdict']}.{record['id']}",
    )  # fmt: skip


def _as_finding(facts: Facts, record: Mapping[str, Any]) -> None:
    """Refuse a decided claim that findings.json does not hold as a finding on published estimates."""
    found = facts.findings.get(str(record["id"]), {})
    try:
        status = checked(found, facts.estimates)["status"] if found else "none: no such record"
    except ClaimError as error:
        raise EssayError(error.title, expected=error.expected, got=error.got, hint=error.hint) from error
    if status != "finding":
        raise EssayError(
            "a hypothesis is about to be printed as a finding", expected="a record of findings.json that says finding",
            got=f"the status {status}", hint="make findings.json again: fieldwork run --only 10_findings --force",
        )  # fmt: skip


def _held(facts: Facts, record: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> None:
    """Refuse parts whose estimates the gate holds back, though the record may still carry their numbers."""
    if record["verdict"] == "not_assessable":
        return
    for part in parts:
        rows = published(facts, {name: part[name] for name in KEY if name in part})
        if part.get("estimate") is None and part.get("conf_low") is None and part.get("conf_high") is None:
            continue
        if not rows["status"].isin(_SHOWN).any():
            raise EssayError(
                "an estimate that the essay quotes is held back",
                expected=f"a published estimate of {record['id']}, {part['label']}",
                got=_status(rows), hint="take the number out, or quote what is published",
            )  # fmt: skip


def _status(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "no such row in the published estimates"
    row = rows.iloc[0]
    return f"{str(row['status']).replace('_', ' ')}: {row['reason']}"


def published(facts: Facts, key: Mapping[str, str | list[str]]) -> pd.DataFrame:
    """Return the published rows of the wave with some values in the columns of the key; a column left out matches any."""
    rows = facts.estimates[facts.estimates["wave"] == facts.study.wave]
    for name, value in key.items():
        if name not in KEY:
            raise _unknown("the column of the key", name, KEY)
        wanted = value if isinstance(value, list) else [value]
        rows = rows[rows[name].fillna("").isin(wanted)]
    return rows


def estimate_of(facts: Facts) -> Callable[..., EstimateQuote]:
    """Return the function by which an essay quotes one published estimate, found by the columns of its key."""

    def estimate(**key: str) -> EstimateQuote:
        facts.need("estimates.parquet")
        rows = published(facts, {**dict.fromkeys(("role", "role_2", "stage", "segment", "item"), ""), **key})
        if len(rows) != 1:
            near = published(facts, {name: value for name, value in key.items() if name in KEY[:3]})
            raise EssayError(
                "the estimate is not known" if rows.empty else "the reference fits more than one estimate",
                expected="the key of one row of estimates.csv: " + listed(KEY),
                got=f"{len(rows)} rows of {len(near)} with that construct, measure and statistic",
                hint="look the row up in estimates.csv and name what tells it apart",
            )  # fmt: skip
        row = rows.iloc[0]
        if row["status"] not in _SHOWN:
            raise EssayError(
                "an estimate that the essay quotes is held back", expected="a published estimate", got=_status(rows),
                hint="take the number out, or quote what is published",
            )  # fmt: skip
        record = {str(name): (None if pd.isna(value) else value) for name, value in row.items()}
        return EstimateQuote(f"the estimate of {record['statistic']}", record, decimals_of(record["std_error"]))

    return estimate


class ExternalQuote(_Quote):
    """A fact from outside. It is printed with source, mark and the day on which it was checked, and not without."""

    def __init__(self, fact: External) -> None:
        self._name, self._fact = f"the outside fact {fact.id}", fact

    @property
    def marked(self) -> str:
        """The statement with its source, its mark and the day on which somebody looked."""
        return marked(self._fact)

    @property
    def note(self) -> str:
        """What was found when somebody looked."""
        return self._fact.note


class _External:
    """Facts from outside, by id."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __getattr__(self, name: str) -> ExternalQuote:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> ExternalQuote:
        if name not in self._facts.external:
            raise _unknown("the fact from outside", name, self._facts.external)
        return ExternalQuote(self._facts.external[name])


class _Counts(_Quote):
    """How many claims the register holds, and how many have each verdict."""

    _name = "the register"

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def _count(self, verdict: str) -> str:
        self._facts.need("claims.json")
        return str(sum(record["verdict"] == verdict for record in self._facts.claims.values()))

    @property
    def claims(self) -> str:
        """Number of claims."""
        self._facts.need("claims.json")
        return str(len(self._facts.claims))

    @property
    def supported(self) -> str:
        """Number of claims supported."""
        return self._count("supported")

    @property
    def contradicted(self) -> str:
        """Number of claims contradicted."""
        return self._count("contradicted")

    @property
    def inconclusive(self) -> str:
        """Number of claims left open."""
        return self._count("inconclusive")

    @property
    def not_assessable(self) -> str:
        """Number of claims that the survey cannot judge."""
        return self._count("not_assessable")


def facts_of(facts: Facts) -> Roots:
    """Return the names under which an essay finds claims, estimates and facts from outside."""
    return {
        "claim": _Verdict(facts),
        **{verdict: _Verdict(facts, verdict) for verdict in VERDICTS},
        "estimate": estimate_of(facts),
        "external": _External(facts),
        "register": _Counts(facts),
    }


def roots() -> tuple[str, ...]:
    """Return those names.

    >>> "supported" in roots(), "finding" in roots()
    (True, False)
    """
    return ("claim", *VERDICTS, "estimate", "external", "register", "figure", "table", "ref")
