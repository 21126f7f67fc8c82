"""Responses from deliveries: recode, set aside with a reason, and account for every delivered row.

Cleaning decides nothing that the instrument does not say. A row with a fault is set aside under the first rule that it
breaks and stays in the quarantine with file, row, column, value and mend; a row with a remark is kept and counted.
Accepted and quarantined rows add up to the delivered rows, always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from fieldwork.errors import DataError, listed
from fieldwork.intake import (
    SETS_ASIDE,
    Answers,
    Delivery,
    LongAnswers,
    join_long,
    measures_absent,
    read_answers,
    shown,
    without_ids,
    without_long_ids,
)
from fieldwork.schema import QUARANTINE, conform

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["Cleaned", "DeliveredFile", "Flow", "LongFlow", "clean"]


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


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """The responses of a wave, and everything that is not in them.

    Attributes
    ----------
    responses : pd.DataFrame         One row per accepted respondent, by wave, organisation, respondent; native columns.
    missing : pd.DataFrame           resp_id, item, reason: one line per item without an answer.
    quarantine : pd.DataFrame        One line per row set aside, columns of `schema.QUARANTINE`.
    flow : Flow                      Counts.
    unknown_columns : pd.DataFrame   Filled cells of unknown columns: file, row, resp_id, column, value.
    answers_aside : pd.DataFrame     One line per row set aside of files of one answer a row; columns as in `quarantine`.
    """

    responses: pd.DataFrame
    missing: pd.DataFrame
    quarantine: pd.DataFrame
    flow: Flow
    unknown_columns: pd.DataFrame
    answers_aside: pd.DataFrame

    def reasons(self) -> pd.DataFrame:
        """Return why answers are missing as a table: reason, and its share of all missing answers, in per cent."""
        share = self.missing["reason"].value_counts(normalize=True)
        shown = (100 * share[share > 0]).round().astype("int64").rename("per cent of missing answers")
        return shown.rename_axis("reason").to_frame()


def clean(
    deliveries: Sequence[Delivery],
    instrument: Instrument,
    *,
    other_waves: Literal["stop", "set_aside"] = "stop",
    key: bytes | None = None,
) -> Cleaned:
    r"""Turn the deliveries of a wave into responses.

    Parameters
    ----------
    deliveries : sequence of Delivery
        All files of the wave; a respondent delivered in two of them is found.
    instrument : Instrument
        Settled for the wave.
    other_waves : str
        `stop`: a row of another wave means that the wrong file was put there. `set_aside`: the files hold all waves.
    key : bytes or None
        Key of pseudonyms, `intake.key_of`: every id of a respondent or organisation is replaced by its keyed hash.

    Answers keep their codes; a missing answer is missing in `responses` and has its reason in `missing`. Raises
    DataError where the files have no rows, for an item of the adoption gradient that no file holds, for a row of
    another wave, for a file none of whose dates can be read, and if rows were ever lost.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from fieldwork.instrument import Instrument, Item
    >>> from fieldwork.intake import read_delivery
    >>> items = (Item(name="resp_id", kind="identifier", label="Respondent"),
    ...          Item(name="wave", kind="identifier", label="Wave"), Item(name="stall", kind="flag", label="Stalled"))
    >>> instrument = Instrument(id="i", version="1", title="Three items", wave="w1", items=items)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("resp_id,wave,stall\n001,w1,yes\n002,w1,perhaps\n", encoding="utf-8")
    ...     cleaned = clean([read_delivery(path, instrument)], instrument)
    >>> cleaned.responses["resp_id"].tolist(), cleaned.flow.by_rule
    (['001'], {'value_unknown': 1})
    """
    if not any(delivery.delivered for delivery in deliveries if delivery.long is None):
        raise DataError(
            "nothing was delivered",
            where=listed(delivery.file for delivery in deliveries),
            expected="one row per respondent below the header",
            got="a header and no rows" if deliveries else "no file",
            hint="export the delivery again, or ask the sender for it",
        )
    joined = join_long(deliveries, instrument)
    if lacking := measures_absent(joined.deliveries, instrument):
        raise lacking
    answers = read_answers(joined.deliveries, instrument)
    if key is not None:
        called = {column: header for delivery in joined.deliveries for column, header in delivery.called.items()}
        answers = without_ids(answers, instrument, key, called)
        joined = without_long_ids(joined, instrument, key)
    faults = answers.faults
    severity = faults["rule"].map(lambda name: answers.rules[name].severity)
    errors = faults[severity.isin(SETS_ASIDE)]
    if other_waves == "stop":
        _refuse_other_waves(answers, errors, instrument)
    _refuse_unreadable_dates(answers, errors)
    quarantine = _quarantine(answers, errors)
    accepted = answers.coded.index.difference(pd.Index(errors["place"].unique()))
    responses = _sorted(answers.coded.loc[accepted], instrument)
    flags = faults[(severity == "warning") & faults["place"].isin(accepted)]
    aside = _of_severity(joined.faults, answers, SETS_ASIDE)
    answers_aside = _lines(joined.rows, aside)
    flow = _flow(joined.deliveries, answers, len(responses), quarantine, flags)
    respondents = set(responses[instrument.keys.respondent])
    flow = _with_long(flow, deliveries, joined, answers, answers_aside, respondents)
    if len(responses) + len(quarantine) != flow.delivered:
        raise DataError(
            "rows were lost in cleaning",
            where="clean.clean",
            expected=f"{flow.delivered} rows delivered",
            got=f"{len(responses)} accepted and {len(quarantine)} quarantined",
            hint="this is a fault of fieldwork, not of the data; please report it with the flow",
        )
    return Cleaned(
        responses=responses.reset_index(drop=True),
        missing=_missing(answers.reasons.loc[responses.index], responses[instrument.keys.respondent]),
        quarantine=quarantine,
        flow=flow,
        unknown_columns=pd.concat([answers.unknown, joined.unknown])
        .sort_values(["file", "row"], kind="stable")
        .reset_index(drop=True),
        answers_aside=answers_aside,
    )


def _of_severity(faults: pd.DataFrame, answers: Answers, severities: Sequence[str]) -> pd.DataFrame:
    """Return faults of some severities, by place, then precedence of rules."""
    order = {name: place for place, name in enumerate(answers.rules)}
    kept = faults[faults["rule"].map(lambda name: answers.rules[name].severity).isin(severities)]
    ranked = kept.assign(order=kept["rule"].map(order)).sort_values(["place", "order"], kind="stable")
    return ranked.drop(columns="order")


def _with_long(
    flow: Flow,
    deliveries: Sequence[Delivery],
    joined: LongAnswers,
    answers: Answers,
    aside: pd.DataFrame,
    respondents: set[str],
) -> Flow:
    """Add the way of the files of one answer a row to the flow; DataError if rows were ever lost."""
    found, words, heads = [], dict(flow.words), Counter(flow.remarks)
    lost = joined.rows.index.isin(_of_severity(joined.faults, answers, SETS_ASIDE)["place"])
    remarks = _of_severity(joined.faults, answers, ("warning",))
    for delivery in sorted(deliveries, key=lambda each: each.file):
        if delivery.long is None:
            continue
        mine = (joined.rows["file"] == delivery.file).to_numpy()
        ours = mine & ~lost & joined.rows["resp_id"].isin(respondents).to_numpy()
        by_rule = aside.loc[aside["file"] == delivery.file, "rule"].value_counts()
        noted = remarks.loc[remarks["place"].isin(joined.rows.index[mine]), "rule"].value_counts()
        entry = LongFlow(
            file=delivery.file,
            delivered=delivery.delivered,
            joined=int(ours.sum()),
            with_quarantined=int((mine & ~lost & ~ours).sum()),
            set_aside=int(by_rule.sum()),
            by_rule={name: int(by_rule[name]) for name in answers.rules if name in by_rule.index},
            flags={name: int(noted[name]) for name in answers.rules if name in noted.index},
            sha256=delivery.sha256,
        )
        if entry.joined + entry.with_quarantined + entry.set_aside != entry.delivered:
            raise DataError(
                "rows were lost in joining",
                where="clean.clean",
                expected=f"{entry.delivered} rows of {entry.file}",
                got=f"{entry.joined} joined, {entry.with_quarantined} with their respondents, {entry.set_aside} set aside",
                hint="this is a fault of fieldwork, not of the data; please report it with the flow",
            )
        heads.update(problem.rule for problem in delivery.problems)
        occurs = (*entry.by_rule, *entry.flags, *(problem.rule for problem in delivery.problems))
        words |= {name: answers.rules[name].words for name in occurs}
        found.append(entry)
    unknown = {shown(name) for delivery in deliveries if delivery.long is not None for name in delivery.unknown}
    return replace(
        flow,
        long=tuple(found),
        words={name: words[name] for name in answers.rules if name in words},
        remarks={name: heads[name] for name in answers.rules if name in heads},
        unknown_columns=tuple(sorted({*flow.unknown_columns, *unknown})),
    )


def _refuse_other_waves(answers: Answers, errors: pd.DataFrame, instrument: Instrument) -> None:
    other = errors[errors["rule"] == "other_wave"]
    if other.empty:
        return
    first = other.iloc[0]
    at = answers.rows.loc[first["place"]]
    raise DataError(
        "a delivery holds rows of another wave",
        where=f"{at['file']}, row {at['row']}, column {first['column']}",
        expected=instrument.wave,
        got=f"'{shown(first['value'])}' ({len(other)} of {len(answers.rows)} rows)",
        hint=f"{first['mend']}; a file that holds all waves is named in study.toml, [data] files",
    )


def _refuse_unreadable_dates(answers: Answers, errors: pd.DataFrame) -> None:
    """Stop when no date of a file can be read: the file writes dates in another form, and no order is guessed."""
    unreadable = errors[errors["rule"] == "date_unreadable"]
    for (file, column), part in unreadable.groupby([unreadable["place"].map(answers.rows["file"]), "column"]):
        read = answers.coded.index.intersection(answers.rows.index[answers.rows["file"] == file])
        if len(read) > 1 and len(part) == len(read):
            first = part.iloc[0]
            raise DataError(
                "the file does not write dates in ISO form",
                where=f"{file}, row {answers.rows.loc[first['place'], 'row']}, column {column}",
                expected="2026-01-31, or 2026-01-31T09:30",
                got=f"'{shown(first['value'])}'",
                hint="export dates as ISO 8601, or declare dates = '%d/%m/%Y' under [[delivery]] of the instrument; the "
                "order of day and month is never guessed",
            )


def _quarantine(answers: Answers, errors: pd.DataFrame) -> pd.DataFrame:
    return _lines(answers.rows, errors)


def _lines(rows: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """Return one line per row set aside: the first fault by precedence, the others beside it in `mend`."""
    first = errors.drop_duplicates("place")
    mend = first.set_index("place")["mend"].copy()
    further = errors[errors.duplicated("place")]
    if len(further):
        told = (
            further["rule"]
            + " in "
            + further["column"]
            + " ('"
            + further["value"].map(shown)
            + "'): "
            + further["mend"]
        )
        more = told.groupby(further["place"]).agg("; ".join)
        mend.loc[more.index] = mend.loc[more.index] + "; further: " + more
    at = rows.loc[first["place"]]
    lines = pd.DataFrame(
        {
            "file": at["file"].to_numpy(),
            "row": at["row"].to_numpy(),
            "resp_id": at["resp_id"].to_numpy(),
            "column": first["column"].to_numpy(),
            "value": first["value"].to_numpy(),
            "rule": first["rule"].to_numpy(),
            "mend": mend.loc[first["place"]].to_numpy(),
        }
    )
    ordered = lines.sort_values(["file", "row"], kind="stable")
    return conform(_safe(ordered), QUARANTINE, where="clean.quarantine")


def _safe(lines: pd.DataFrame) -> pd.DataFrame:
    """Return delivered texts as one safe line each; what a spreadsheet would run is guarded where files are saved."""
    out = lines.copy()
    for name in out.columns.difference(["row", "rule"]):
        limit = 2_000 if name == "mend" else 80
        texts = out[name].astype("str")
        known = {text: shown(text, limit=limit) for text in texts.unique()}
        out[name] = texts.map(known).astype("string")
    return out


def _sorted(values: pd.DataFrame, instrument: Instrument) -> pd.DataFrame:
    """Sort by wave, organisation and respondent, so that the order of delivery never reaches a result."""
    keys = instrument.keys
    by = [key for key in (keys.wave, keys.organisation, keys.respondent) if key]
    return values.sort_values(by, kind="stable")[instrument.columns()]


def _missing(reasons: pd.DataFrame, respondents: pd.Series) -> pd.DataFrame:
    """List every item without an answer, by respondent in the order of the responses, then by item."""
    absent = reasons.notna().to_numpy()
    row, item = np.nonzero(absent)
    kind = reasons.dtypes.iloc[0] if len(reasons.columns) else pd.CategoricalDtype([])
    codes = np.column_stack([reasons[name].cat.codes for name in reasons.columns])[row, item]
    return pd.DataFrame(
        {
            "resp_id": respondents.array.take(row),
            "item": pd.Categorical.from_codes(item, categories=reasons.columns),
            "reason": pd.Categorical.from_codes(codes, dtype=kind),
        }
    )


def _flow(
    deliveries: Sequence[Delivery],
    answers: Answers,
    accepted: int,
    quarantine: pd.DataFrame,
    flags: pd.DataFrame,
) -> Flow:
    set_aside = quarantine["rule"].value_counts()
    flagged = flags.drop_duplicates(["place", "rule"])["rule"].value_counts()
    remarks = pd.Series([problem.rule for delivery in deliveries for problem in delivery.problems]).value_counts()
    occurs = {*set_aside.index, *flagged.index, *remarks.index}
    return Flow(
        wave=answers.wave,
        files=tuple(DeliveredFile(d.file, d.delivered, d.sha256) for d in sorted(deliveries, key=lambda d: d.file)),
        delivered=sum(delivery.delivered for delivery in deliveries),
        accepted=accepted,
        quarantined=len(quarantine),
        by_rule={name: int(set_aside[name]) for name in answers.rules if name in set_aside.index},
        flags={name: int(flagged[name]) for name in answers.rules if name in flagged.index},
        unknown_columns=tuple(sorted({shown(name) for delivery in deliveries for name in delivery.unknown})),
        absent_columns=tuple(sorted({shown(name) for delivery in deliveries for name in delivery.absent})),
        remarks={name: int(remarks[name]) for name in answers.rules if name in remarks.index},
        words={name: rule.words for name, rule in answers.rules.items() if name in occurs},
    )
