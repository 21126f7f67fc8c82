"""Findings: a claim, its estimate, interval, base, method and one sentence, for every surface that prints it.

Own code: the wording that a verdict may carry is decided here and nowhere else, so that no hypothesis is printed as a
finding, no outside fact without its mark, and no sentence says more than its interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pandas as pd

from fieldwork.claims import KEY
from fieldwork.errors import ClaimError, listed

if TYPE_CHECKING:
    from fieldwork.claims import External

__all__ = ["MARKS", "STATUSES", "Status", "checked", "compose", "marked", "sentence"]

# What may be printed is one of three things, and says which. A fact from outside carries source, date and mark (`marked`).
Status = Literal["hypothesis", "finding", "external"]
STATUSES: tuple[Status, ...] = ("hypothesis", "finding", "external")
DECIDED = ("supported", "contradicted")
MARKS = {
    "confirmed": "confirmed",
    "mismatch": "mismatch: it is not where, or not as, it is quoted",
    "unverified": "unverified: looked for, neither confirmed nor refuted",
    "unsourced": "unsourced: quoted without source, sample or period",
}


class Named(Protocol):
    """Anything with a name: a figure, as far as a finding is concerned."""

    @property
    def name(self) -> str:
        """Name of the figure's files."""


UNIT_WORDS = {
    "scale_point": "scale points",
    "proportion": "as a share",
    "ratio": "as a ratio",
    "log_ratio": "on the log scale of the ratio",
    "index": "index points",
    "rank": "ranks",
}

METHODS = {
    "high_both_share": (
        "Weighted share with a Korn-Graubard interval, organisations as clusters.",
        (
            "The share of the role's executives at that stage who answered in the top two points of every measure, with raked "
            "weights. The interval is the exact (Clopper-Pearson) interval at the effective sample size of the design: "
            "replicates of whole organisations give the standard error, and t quantiles allow for the number of organisations "
            "(Korn and Graubard 1998)."
        ),
    ),
    "role_part": (
        "Kitagawa split of cell means; t interval from replicates of organisations.",
        (
            "The difference between two cells, a role at one stage and another role at another, is split exactly into a part "
            "due to role (their difference at equal stage, averaged over the two stages) and a part due to stage (Kitagawa "
            "1955). Standard errors come from replicates of whole organisations, re-raked in each; intervals use t with the "
            "organisations of the smallest cell less one."
        ),
    ),
    "range_difference": (
        "Shrunken ranges compared; interval from confidence draws of the replicates.",
        (
            "Observed ranges of means are biased upward, and more for ten roles than for five stages. Here the means are "
            "shrunken towards their centre by the noise-corrected spread, and the interval of the difference of ranges comes "
            "from draws at each replicate of the true means given the data."
        ),
    ),
    "gradient_ratio_log": (
        "Log ratio of noise-corrected spreads; interval by test inversion over replicates.",
        (
            "The finite-population standard deviation of the role means, less what sampling alone puts between them, over the "
            "same for stages. The interval inverts the distribution of the observed variance at each replicate of whole "
            "organisations, so that it is honest where a spread is near nil."
        ),
    ),
    "range_shrunken": (
        "Range of shrunken means; interval from confidence draws of the replicates.",
        (
            "Observed ranges of means are biased upward by sampling noise. Here the means are shrunken towards their centre by "
            "the noise-corrected spread; the interval comes from draws at each replicate of the true means given the data."
        ),
    ),
    "risk_difference": (
        "Difference of two weighted shares; square-and-add interval, organisations as clusters.",
        (
            "The share of the named roles that gives the answer, less its share in all other roles. The interval combines "
            "Wilson's limits of the two shares at the effective sample sizes of the design (Newcombe 1998), with the "
            "correlation that the two have because they come from the same organisations. Several answers of one person are "
            "several questions to one person, never several people."
        ),
    ),
    "prevalence_max_other": (
        "Largest share among the other roles, with exact bounds that hold for all of them at once.",
        (
            "'No other role' is judged by an upper bound on the largest share: the largest of the exact one-sided 95% bounds "
            "of all other roles (Clopper and Pearson), each at 5% divided by their number (Bonferroni), at the effective "
            "sample size of the design."
        ),
    ),
    "dissimilarity_excess": (
        "Mean dissimilarity of role profiles beyond chance; interval that holds whatever their pattern.",
        (
            "The share of one role's answers that would have to change for two roles to answer alike, averaged over pairs of "
            "roles. Sampling alone puts profiles apart; how far is seen by dealing whole answer sets out to the roles at "
            "random. How much of that is in the observed value depends on whether few answers differ much or all differ a "
            "little, which the value cannot tell: the lower end of the interval takes out all of it, the upper end as little "
            "as there may be."
        ),
    ),
    "jaccard_excess": (
        "Overlap of colleagues' answers beyond that of their roles elsewhere; t interval over organisations.",
        (
            "For each pair of colleagues, the answers that both give over those that either gives, averaged over the pairs of "
            "an organisation and then over organisations with three informants or more; less the same for executives of the "
            "same two roles in different organisations."
        ),
    ),
    "effective_number": (
        "Effective number of answers within organisations; t interval over organisations.",
        (
            "The number of answers, named equally often, over which an organisation's answers would be as spread as they are "
            "(Hill's number of order 1), averaged over organisations with three informants or more."
        ),
    ),
    "share_role_largest": (
        "Count of measures on which the spread of roles is surely the largest of four.",
        (
            "On every ordinal measure and blocker that all executives are asked, role, stage and sector are fitted together by "
            "weighted least squares, in the observed layer and in every replicate of whole organisations. Their spreads, less "
            "what sampling alone would put there, are set beside the standard deviation of what the members of an organisation "
            "share around the fit (Gelman 2005). A measure counts for the claim where the spread of roles is the largest with "
            "a probability above the level of the bound, against it where that probability is below one minus the level; an "
            "undecided measure counts on neither side."
        ),
    ),
    "gradient_ratio_log_adjusted": (
        "Log ratio of mutually adjusted, noise-corrected spreads; interval by test inversion over replicates.",
        (
            "Role and organisation stage are fitted together, with the size and sector of the organisation, by weighted least "
            "squares in the observed layer and in every replicate of whole organisations. The spread of each set of effects "
            "is corrected for sampling noise before the two are compared. The answer is an association, not a cause."
        ),
    ),
}

CELL_CONTRASTS = ("naive_gap", "role_part", "stage_part")

OPENINGS = {
    "supported": "Supported",
    "contradicted": "Contradicted",
    "inconclusive": "Inconclusive: the data neither support nor contradict this hypothesis",
    "not_assessable": "Not assessable",
}


def _shown(value: float | None, unit: str) -> str:
    """Print a number as readers see it: a true minus sign, and none before what rounds to nil."""
    if value is None:
        return "none"
    text = f"{100 * value:.0f}%" if unit == "proportion" else f"{value:.2f}"
    return text.replace("-", "\N{MINUS SIGN}" if text.strip("-0.%") else "")


def sentence(record: Mapping[str, Any]) -> str:
    """Say a claim's verdict with its estimate, interval and base, and nothing beyond them.

    >>> print(sentence({"text": "Roles differ more than stages.", "verdict": "inconclusive", "estimate": 0.3,
    ...                 "conf_low": -0.1, "conf_high": 0.7, "conf_level": 0.95, "unit": "log_ratio", "margin": 0.22,
    ...                 "reason": "", "base": {"n": 900, "n_organisations": 180}}))
    Inconclusive: the data neither support nor contradict this hypothesis. Estimate 0.30 on the log scale of the ratio
    (95% interval −0.10 to 0.70, as a ratio 0.90 to 2.01; margin 0.22; about 900 executives in 180 organisations).
    """  # noqa: RUF002 - the minus that readers see
    opening = OPENINGS[record["verdict"]]
    if record["verdict"] in DECIDED and all(record[name] is None for name in ("estimate", "conf_low", "conf_high")):
        raise _unfounded(record, "a verdict without a published estimate")
    if record["verdict"] == "not_assessable":
        return f"{opening}: {record['reason']}."
    unit, estimate = record["unit"], record["estimate"]
    ends = (record["conf_low"], record["conf_high"])
    if estimate is None:
        point = "No finite estimate"
    else:
        point = f"Estimate {_shown(estimate, unit)}"
        point += f" {UNIT_WORDS[unit]}" if unit != "proportion" else ""
    interval = f"{record['conf_level']:.0%} interval {_between(ends, unit)}"
    if record.get("rule") == "bound":
        each = f"{(1.0 + record['conf_level']) / 2.0:.0%}"
        interval = f"one-sided bounds {_between(ends, unit)}, each at {each}"
    if unit == "log_ratio":
        interval += f", as a ratio {_between([None if e is None else math.exp(e) for e in ends], 'ratio')}"
    return f"{opening}. {point} ({interval}; margin {_shown(record['margin'], unit)}; {_base(record)})."


def _between(ends: Sequence[float | None], unit: str) -> str:
    low, high = ends
    if low is None and high is None:
        return "open at both ends"
    if low is None or high is None:
        return f"at most {_shown(high, unit)}" if low is None else f"at least {_shown(low, unit)}"
    return f"{_shown(low, unit)} to {_shown(high, unit)}"


def _base(record: Mapping[str, Any]) -> str:
    """Say the base; a contrast of cells rests on its smallest, and says so."""
    base = record["base"]
    people = "executives" if base["n_organisations"] else "respondents"
    where = f" in {base['n_organisations']} organisations" if base["n_organisations"] else ""
    smallest = any(part["statistic"] in CELL_CONTRASTS for part in record.get("parts", ()) if part["judged"])
    return f"{'smallest cell ' if smallest else ''}about {base['n']} {people}{where}"


def checked(record: Mapping[str, Any], published: pd.DataFrame | None = None) -> Mapping[str, Any]:
    """Return a record of findings.json as it may be printed; refuse a hypothesis that would be printed as a finding.

    A *finding* is a claim with the verdict supported or contradicted whose deciding estimates are published. Everything else
    is a *hypothesis*. Every surface that prints a sentence passes it through here, for the file may have been edited.

    Parameters
    ----------
    record : a record as `compose` makes it. published : the published estimates; None: their status is not looked up.

    Raises ClaimError for a record that does not say what it is, a finding without a verdict, or one whose estimate was held
    back.

    >>> record = {"id": "H4", "status": "finding", "verdict": "inconclusive", "sentence": "Roles differ more than stages."}
    >>> checked(record)
    Traceback (most recent call last):
    fieldwork.errors.ClaimError: ClaimError: a hypothesis is about to be printed as a finding
      where     findings, claim H4
      expected  a verdict, supported or contradicted, on published estimates
      got       the verdict inconclusive
      hint      print it as the hypothesis that it is
    """
    status = record.get("status")
    if status not in STATUSES:
        raise ClaimError(
            "what is about to be printed does not say whether it is a hypothesis or a finding",
            where=f"findings, claim {record.get('id', '')}", expected=listed(STATUSES), got=repr(status),
            hint="make findings.json again: fieldwork run --only 10_findings --force",
        )  # fmt: skip
    if status != "finding":
        return record
    if record.get("verdict") not in DECIDED:
        raise _unfounded(record, f"the verdict {record.get('verdict')}")
    if published is not None:
        held = _held_back(record, published)
        if held:
            raise _unfounded(record, f"estimates that are not published: {listed(held, limit=3)}")
    return record


def _unfounded(record: Mapping[str, Any], got: str) -> ClaimError:
    return ClaimError(
        "a hypothesis is about to be printed as a finding", where=f"findings, claim {record.get('id', '')}",
        expected="a verdict, supported or contradicted, on published estimates", got=got,
        hint="print it as the hypothesis that it is",
    )  # fmt: skip


def _held_back(record: Mapping[str, Any], published: pd.DataFrame) -> list[str]:
    """Name the deciding estimates of a record that are not among the published ones; a field left out matches any."""
    shown = published["status"].isin(["ok", "flagged"]) & (published["wave"] == record["wave"])
    rows = published.loc[shown, list(KEY)]
    deciding = [entry for entry in record["table"] if entry.get("decides", True)]
    held = []
    for entry in deciding:
        match = pd.Series(data=True, index=rows.index)
        for name in KEY:
            if name in entry:
                match &= rows[name].fillna("") == entry[name]
        if not match.any():
            held.append(" ".join(str(entry[name]) for name in KEY if entry.get(name)))
    return held if deciding else ["none is named"]


def marked(fact: External) -> str:
    """Print a fact from outside the fieldwork with its source, sample, year, mark and the day on which somebody looked.

    >>> import datetime as dt
    >>> from fieldwork.claims import External
    >>> print(marked(External(id="x", statement="Up to 30% faster.", source="", status="unsourced",
    ...                       checked=dt.date(2026, 11, 22))))
    Up to 30% faster. [Not a finding of this fieldwork; unsourced: quoted without source, sample or period; checked 2026-11-22]
    """
    told = [fact.source, f"n = {fact.n:,}" if fact.n else "", str(fact.year) if fact.year and fact.n else ""]
    about = [", ".join(word for word in told if word), MARKS[fact.status], f"checked {fact.checked.isoformat()}"]
    return f"{fact.statement} [Not a finding of this fieldwork; {'; '.join(word for word in about if word)}]"


def compose(
    claims: Sequence[Mapping[str, Any]],
    published: pd.DataFrame,
    *,
    wave: str,
    provenance: str,
    figures: Sequence[Named] = (),
) -> list[dict[str, Any]]:
    """Make one record for each claim that could be assessed, which says whether it is a finding or still a hypothesis.

    It repeats the claim as the hypothesis that it was, beside its verdict; the page of a claim that could not be assessed is
    its line in the register. `figures` are those drawn; a record shows the one of its measure.

    Returns records with the fields of findings.json. Raises ClaimError where a verdict rests on estimates that are not
    published.
    """
    records = []
    for claim in claims:
        if claim["verdict"] == "not_assessable":
            continue
        judged = [part for part in claim["parts"] if part["judged"]]
        statistics = list(dict.fromkeys(part["statistic"] for part in judged))
        line, full = _method(statistics)
        measure = judged[0]["measure"].split("+")[0]
        record = {
            "id": claim["id"],
            "status": "finding" if claim["verdict"] in DECIDED else "hypothesis",
            "title": f"{claim['id']}: {claim['verdict'].replace('_', ' ')}",
            "claim": claim["text"],
            "construct": judged[0]["construct"],
            "sentence": sentence(claim),
            **{name: claim[name] for name in ("estimate", "conf_low", "conf_high", "conf_level", "unit")},
            "n": claim["base"]["n"],
            "n_organisations": claim["base"]["n_organisations"],
            "margin": claim["margin"],
            "verdict": claim["verdict"],
            "reason": claim["reason"],
            "planned": claim["planned"],
            "amendments": claim["amendments"],
            "method_line": line,
            "method_full": full,
            "what_would_change": _what_would_change(claim),
            "limitations": _limitations(claim, provenance),
            "figure": _figure(judged[0]["construct"], measure, figures),
            "table": [{**{name: part[name] for name in KEY}, "decides": part["judged"]} for part in claim["parts"]],
            "wave": wave,
            "provenance": provenance,
        }
        records.append(dict(checked(record, published)))
    return records


def _figure(construct: str, measure: str, figures: Sequence[Named]) -> str:
    """Name of the construct's figure of the measure, else of the construct; what speaks of all measures has none.

    The plain `gradient` is that of the first measure.
    """
    if measure == "all":
        return ""
    first = "gradient" if construct == "adoption_gradient" else construct
    names = [figure.name for figure in figures]
    return next((name for name in (f"{first}_{measure}", first) if name in names), "")


def _method(statistics: Sequence[str]) -> tuple[str, str]:
    known = [METHODS[name] for name in statistics if name in METHODS]
    if not known:
        return (
            "Replicates of organisations.",
            "Standard errors and intervals come from replicates of whole organisations.",
        )
    return " ".join(line for line, _ in known), " ".join(full for _, full in known)


def _margin_words(margin: str, claim: Mapping[str, Any]) -> str:
    """Say a margin as readers think of it: a log ratio as the ratio."""
    unit = claim.get("margins_unit", claim["unit"])
    if unit == "log_ratio":
        return f"a ratio of {math.exp(float(margin)):.2f}"
    return _shown(float(margin), unit) if unit == "proportion" else margin.replace("-", "\N{MINUS SIGN}")


def _what_would_change(claim: Mapping[str, Any]) -> str:
    margins = claim["verdict_by_margin"]
    others = [
        f"{_margin_words(margin, claim)} ({verdict.replace('_', ' ')})"
        for margin, verdict in margins.items()
        if verdict != claim["verdict"]
    ]
    by_margin = (
        f"The verdict would be another at a margin of {'; '.join(others)}."
        if others
        else f"The verdict is the same at every margin tried ({', '.join(_margin_words(margin, claim) for margin in margins)})."
    )
    more = {
        "inconclusive": "A larger sample narrows the interval; only data can move it off the margin.",
        "supported": "A repeat wave whose interval reaches the margin would undo it.",
        "contradicted": "A repeat wave whose interval lies beyond the margin would undo it.",
    }[claim["verdict"]]
    return f"{by_margin} {more}"


def _limitations(claim: Mapping[str, Any], provenance: str) -> str:
    notes = [claim["reading"]] if claim["reading"] else []
    flagged = sorted({part["reason"] for part in claim["parts"] if part["judged"] and part["reason"]})
    notes += [f"Note: {reason}." for reason in flagged]
    notes.append("One wave of self-reported answers: an association, not a cause.")
    if provenance == "simulated":
        notes.append("The data are simulated with a known truth: nobody was interviewed.")
    return " ".join(notes)
