"""The account of a delivery: where every delivered row went, file by file and rule by rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from fieldwork.errors import DataError
from fieldwork.intake import SETS_ASIDE, Rule, shown

if TYPE_CHECKING:
    from fieldwork.intake import Head, LongAnswers

__all__ = ["Counts", "DeliveredFile", "Flow", "LongFlow", "account", "of_severity", "with_long"]


@dataclass(frozen=True, slots=True)
class DeliveredFile:
    """One delivered file in the flow.

    Attributes
    ----------
    file : str         Name of the file.
    delivered : int    Rows in it.
    sha256 : str       Of its bytes.
    """

    file: str
    delivered: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LongFlow:
    """Where every row of a file of one answer a row went.

    Attributes
    ----------
    file : str                  Name of the file.
    delivered : int             Rows in it; joined + with_quarantined + set_aside.
    joined : int                Answers of accepted respondents.
    with_quarantined : int      Answers of respondents who were set aside themselves.
    set_aside : int             Rows set aside, by_rule per rule in order of precedence.
    flags : dict                Rows per remark.
    sha256 : str                Of the bytes.
    """

    file: str
    delivered: int
    joined: int
    with_quarantined: int
    set_aside: int
    by_rule: dict[str, int]
    flags: dict[str, int]
    sha256: str


@dataclass(frozen=True, slots=True)
class Flow:
    """Where every delivered row went.

    Attributes
    ----------
    wave : str                         The wave.
    files : tuple of DeliveredFile     Files of respondents.
    delivered : int                    Rows in these files; accepted + quarantined.
    accepted, quarantined : int        Rows kept; rows set aside.
    by_rule : dict                     Rows set aside per rule, in order of precedence; adds up to `quarantined`.
    flags : dict                       Accepted rows per remark; a row may have several.
    unknown_columns : tuple of str     Delivered columns that the instrument does not have; kept apart.
    absent_columns : tuple of str      Columns of the instrument that some file lacks.
    remarks : dict                     Remarks on headers: columns absent, unknown, or surplus separators.
    words : dict                       What each rule that occurs means.
    long : tuple of LongFlow           Files of one answer a row, which are joined to the respondents.
    """

    wave: str
    files: tuple[DeliveredFile, ...]
    delivered: int
    accepted: int
    quarantined: int
    by_rule: dict[str, int]
    flags: dict[str, int]
    unknown_columns: tuple[str, ...]
    absent_columns: tuple[str, ...]
    remarks: dict[str, int]
    words: dict[str, str]
    long: tuple[LongFlow, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return the flow as plain values, for JSON."""
        return asdict(self)

    def received(self) -> pd.DataFrame:
        """Return what was delivered as a table: file, rows, sha256 (twelve digits)."""
        files = [(each.file, each.delivered, each.sha256[:12]) for each in self.files]
        files += [(each.file, each.delivered, each.sha256[:12]) for each in self.long]
        return pd.DataFrame(sorted(files), columns=["file", "rows", "sha256"]).set_index("file")

    def rows(self) -> pd.DataFrame:
        """Return the way of the delivered rows as a table: what happened, under which rule, to how many rows."""
        steps = [("rows in all files", "delivered", self.delivered)]
        steps += [(self.words[rule], rule, -count) for rule, count in self.by_rule.items()]
        steps += [("respondents in the responses table", "accepted", self.accepted)]
        return pd.DataFrame(steps, columns=["what happened", "rule", "rows"]).set_index("what happened")

    def answers(self) -> pd.DataFrame:
        """Return the way of the rows that hold one answer each as a table: file, what happened, rule, rows."""
        steps = []
        for each in self.long:
            steps += [(each.file, "answers delivered", "", each.delivered)]
            steps += [(each.file, self.words[rule], rule, -count) for rule, count in each.by_rule.items()]
            steps += [(each.file, "their respondents were set aside", "", -each.with_quarantined)]
            steps += [(each.file, "answers joined to accepted respondents", "joined", each.joined)]
        return pd.DataFrame(steps, columns=["file", "what happened", "rule", "rows"]).set_index("file")

    def remarked(self) -> pd.DataFrame:
        """Return what was noted and kept as a table: the remark, how often it was made, and of what."""
        noted = [(self.words[rule], rule, count, "accepted rows") for rule, count in self.flags.items()]
        noted += [(self.words[rule], rule, count, "headers of files") for rule, count in self.remarks.items()]
        noted += [(self.words[r], r, count, f"rows of {e.file}") for e in self.long for r, count in e.flags.items()]
        return pd.DataFrame(noted, columns=["remark", "rule", "count", "of"]).set_index("remark")

    def columns(self) -> pd.DataFrame:
        """Return the columns that the files and the instrument do not share as a table: column, what became of it."""
        apart = [(name, "not in the instrument; kept apart") for name in self.unknown_columns]
        apart += [(name, "not delivered; its answers are missing") for name in self.absent_columns]
        return pd.DataFrame(apart, columns=["column", "what became of it"]).set_index("column")


@dataclass(slots=True)
class Counts:
    """What is counted while pieces pass.

    Attributes
    ----------
    accepted : int        Rows accepted.
    by_rule : Counter     Rows set aside, by rule.
    flags : Counter       Accepted rows, by remark.
    reasons : Counter     Missing answers of accepted rows, by reason.
    """

    accepted: int
    by_rule: Counter[str]
    flags: Counter[str]
    reasons: Counter[str]


def account(heads: Iterable[Head], counts: Counts, rules: Mapping[str, Rule], wave: str) -> Flow:
    """Return the account of the files of respondents; DataError if rows were ever lost."""
    whole = sorted((head for head in heads if head.long is None), key=lambda head: head.file)
    remarks = Counter(problem.rule for head in whole for problem in head.problems)
    occurs = {*counts.by_rule, *counts.flags, *remarks}
    flow = Flow(
        wave=wave,
        files=tuple(DeliveredFile(head.file, head.delivered, head.sha256) for head in whole),
        delivered=sum(head.delivered for head in whole),
        accepted=counts.accepted,
        quarantined=counts.by_rule.total(),
        by_rule={name: counts.by_rule[name] for name in rules if name in counts.by_rule},
        flags={name: counts.flags[name] for name in rules if name in counts.flags},
        unknown_columns=tuple(sorted({shown(name) for head in whole for name in head.unknown})),
        absent_columns=tuple(sorted({shown(name) for head in whole for name in head.absent})),
        remarks={name: remarks[name] for name in rules if name in remarks},
        words={name: rule.words for name, rule in rules.items() if name in occurs},
    )
    if flow.accepted + flow.quarantined != flow.delivered:
        raise DataError(
            "rows were lost in cleaning",
            where="clean.clean",
            expected=f"{flow.delivered} rows delivered",
            got=f"{flow.accepted} accepted and {flow.quarantined} quarantined",
            hint="this is a fault of fieldwork, not of the data; please report it with the flow",
        )
    return flow


def of_severity(faults: pd.DataFrame, rules: Mapping[str, Rule], severities: Sequence[str]) -> pd.DataFrame:
    """Return faults of some severities, by place, then precedence of rules."""
    order = {name: place for place, name in enumerate(rules)}
    kept = faults[faults["rule"].map(lambda name: rules[name].severity).isin(severities)]
    ranked = kept.assign(order=kept["rule"].map(order)).sort_values(["place", "order"], kind="stable")
    return ranked.drop(columns="order")


def with_long(
    flow: Flow,
    heads: Iterable[Head],
    joined: LongAnswers,
    rules: Mapping[str, Rule],
    aside: pd.DataFrame,
    respondents: set[str],
) -> Flow:
    """Add the way of the files of one answer a row to the flow; DataError if rows were ever lost."""
    found, words, noted_heads = [], dict(flow.words), Counter(flow.remarks)
    heads = sorted((head for head in heads if head.long is not None), key=lambda head: head.file)
    lost = joined.rows.index.isin(of_severity(joined.faults, rules, SETS_ASIDE)["place"])
    remarks = of_severity(joined.faults, rules, ("warning",))
    for head in heads:
        mine = (joined.rows["file"] == head.file).to_numpy()
        ours = mine & ~lost & joined.rows["resp_id"].isin(respondents).to_numpy()
        by_rule = aside.loc[aside["file"] == head.file, "rule"].value_counts()
        noted = remarks.loc[remarks["place"].isin(joined.rows.index[mine]), "rule"].value_counts()
        entry = LongFlow(
            file=head.file,
            delivered=head.delivered,
            joined=int(ours.sum()),
            with_quarantined=int((mine & ~lost & ~ours).sum()),
            set_aside=int(by_rule.sum()),
            by_rule={name: int(by_rule[name]) for name in rules if name in by_rule.index},
            flags={name: int(noted[name]) for name in rules if name in noted.index},
            sha256=head.sha256,
        )
        if entry.joined + entry.with_quarantined + entry.set_aside != entry.delivered:
            raise DataError(
                "rows were lost in joining",
                where="clean.clean",
                expected=f"{entry.delivered} rows of {entry.file}",
                got=f"{entry.joined} joined, {entry.with_quarantined} with their respondents, {entry.set_aside} set aside",
                hint="this is a fault of fieldwork, not of the data; please report it with the flow",
            )
        noted_heads.update(problem.rule for problem in head.problems)
        occurs = (*entry.by_rule, *entry.flags, *(problem.rule for problem in head.problems))
        words |= {name: rules[name].words for name in occurs}
        found.append(entry)
    unknown = {shown(name) for head in heads for name in head.unknown}
    return replace(
        flow,
        long=tuple(found),
        words={name: words[name] for name in rules if name in words},
        remarks={name: noted_heads[name] for name in rules if name in noted_heads},
        unknown_columns=tuple(sorted({*flow.unknown_columns, *unknown})),
    )
