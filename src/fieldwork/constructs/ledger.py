"""The book that a construct keeps: rows of the estimates table, the draws behind them, and the thinnest group of each.

Every construct writes into one of these, so that keys, refusals and bases have one form and the gate reads one table.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldwork import schema

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.statistics.replicates import Floats, Inference

__all__ = ["NIL", "SMALL_BASE", "Estimates", "Ledger", "Wanted", "counted", "interval_of"]

LEAST = 10  # people of whom a number is told, measures.md 2.8
SMALL_BASE = 30  # below it a mean is flagged, measures.md 2.8
_PLACE = ("role", "role_2", "stage", "segment", "item")  # of the key, after measure and statistic
_CARRIED = ("largest_share", "two_largest_share", "largest_weight")  # columns of the bases
NIL = 1e-9  # a standard error below this is rounding of an exact zero
CAP = math.log(100.0)  # an end of a log ratio beyond a ratio of 100 is shown as 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row of the estimates table that a claim reads: its key without wave and construct, and its unit."""

    measure: str
    statistic: str
    role: str = ""
    role_2: str = ""
    stage: str = ""
    segment: str = ""
    item: str = ""
    unit: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The key, as rows carry it."""
        return (self.measure, self.statistic, self.role, self.role_2, self.stage, self.segment, self.item)


@dataclass(frozen=True, slots=True)
class Estimates:
    """Rows of the internal estimates table, and the draws behind those that claims compare.

    Attributes
    ----------
    estimates : pd.DataFrame    Columns of `schema.ESTIMATES`, full precision, before the gate.
    draws : pd.DataFrame        Key of the estimates table but for wave, and `draws`, an array (B,) per row. Internal.
    bases : pd.DataFrame        Columns of `schema.BASES`: the thinnest group behind each row, for the gate. Internal.
    """

    estimates: pd.DataFrame
    draws: pd.DataFrame
    bases: pd.DataFrame

    @classmethod
    def joined(cls, parts: Sequence[Estimates]) -> Estimates:
        """Return the rows of several constructs as one table, in their order."""
        return cls(
            schema.conform(pd.concat([part.estimates for part in parts], ignore_index=True), schema.ESTIMATES),
            pd.concat([part.draws for part in parts], ignore_index=True),
            schema.conform(pd.concat([part.bases for part in parts], ignore_index=True), schema.BASES),
        )


@dataclass(slots=True)
class Ledger:
    """Collects rows and draws of one construct.

    Attributes
    ----------
    design : SurveyDesign    Responses, weights and replicates that the rows come from.
    wave, chapter, construct : str    Go into every row.
    only : keys of rows (`Wanted.key`) that are kept, with all refusals; None: every row.
    """

    design: SurveyDesign
    wave: str
    chapter: str
    construct: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    drawn: list[dict[str, Any]] = field(default_factory=list)
    bases: list[dict[str, Any]] = field(default_factory=list)
    only: frozenset[tuple[str, ...]] | None = None

    def wants(self, measure: str, statistic: str, **place: Any) -> bool:  # noqa: ANN401 - the fields of a row
        """Tell whether a row is kept; what only serves rows that are not need not be worked out."""
        return self.only is None or (measure, statistic, *(place.get(name, "") for name in _PLACE)) in self.only

    def wants_any(self, measure: str, statistics: Collection[str]) -> bool:
        """Tell whether some row of a measure and of one of the statistics is kept."""
        return self.only is None or any(key[0] == measure and key[1] in statistics for key in self.only)

    def add(
        self,
        measure: str,
        statistic: str,
        unit: str,
        draws: Floats | None = None,
        *,
        smallest: tuple[int, int] | None = None,
        hits: int | None = None,
        alike: bool = False,
        carried: tuple[float, float, float] | None = None,
        adds_up: str = "",
        tells: str = "",
        cell: str = "",
        **fields: Any,  # noqa: ANN401
    ) -> None:
        """Add a row; `smallest` (respondents, organisations) is that of the thinnest group behind it, for the gate.

        `hits` is the number of respondents behind a share, `alike` says that all of them gave one answer. `carried` is the
        share of the row's weight that its largest organisation carries, and its two largest, and the weight of its
        heaviest respondent over the median, where those who answered are not the holders of the row's role. Shares of the
        alternatives of one question add to one, so that a single one that is held back could be worked out: `adds_up` names
        the sets (apart by `;`) that the row is a member of. `tells` names the shares,
        each as measure|segment|item, that it would give away: it is held back with any of them. `cell` is the answer, as
        `item` of `answer_share` names it, whose share among the same people the row is. `fields` are columns of the
        estimates table; what is not finite is stored as missing.
        """
        if fields.get("status") != "not_assessable" and not self.wants(measure, statistic, **fields):
            return
        row: dict[str, Any] = {
            "wave": self.wave,
            "chapter": self.chapter,
            "construct": self.construct,
            "measure": measure,
            "statistic": statistic,
            "unit": unit,
            "method": "cluster_bootstrap",
            "replicates": self.design.replicates,
            "seed": self.design.seed,
            "status": "ok",
        }
        row.update({name: _finite(value) for name, value in fields.items()})
        if not self.design.has_organisations:
            row["n_organisations"] = pd.NA
        self.rows.append(row)
        key = {name: row.get(name, "") for name in schema.ESTIMATE_KEY if name != "wave"}
        n, organisations = smallest or (row.get("n", pd.NA), row.get("n_organisations", pd.NA))
        if not self.design.has_organisations:
            organisations = pd.NA
        base = {**key, "smallest_n": n, "smallest_organisations": organisations, "hits": hits, "alike": alike}
        if carried is not None:
            base.update(zip(_CARRIED, map(_finite, carried), strict=True))
        self.bases.append({**base, "adds_up": adds_up, "tells": tells, "cell": cell})
        if draws is not None:
            self.drawn.append({**key, "draws": np.asarray(draws, dtype=np.float64)})

    def add_inferred(
        self,
        measure: str,
        statistic: str,
        unit: str,
        inference: Inference,
        **fields: Any,  # noqa: ANN401
    ) -> None:
        """Add a row from a scalar `Inference`: estimate, standard error, 95% t interval and its confidence draws.

        A standard error that is nil gives no interval and no draws, and says so: one cluster, or all answers alike.
        """
        se = float(inference.std_error)
        if math.isfinite(se) and se >= NIL:
            self.add(
                measure, statistic, unit, draws=inference.draws, estimate=float(inference.estimate), std_error=se,
                conf_low=float(inference.conf_low), conf_high=float(inference.conf_high), conf_level=0.95, **fields,
            )  # fmt: skip
            return
        spoken = {"status": "flagged", "reason": "no interval: one organisation, or all answers alike"}
        self.add(measure, statistic, unit, estimate=float(inference.estimate), **{**fields, **spoken})

    def refuse(self, measure: str, statistic: str, unit: str, reason: str, **fields: Any) -> None:  # noqa: ANN401
        """Add a row that says `not_assessable` and why, with the number that is missing."""
        self.add(measure, statistic, unit, status="not_assessable", reason=reason, **fields)

    def complete(self, wanted: Iterable[Wanted], reason: str) -> None:
        """Refuse, for one reason, every row that a claim wants and that was not made, so that the claim is told why."""
        names = ("measure", "statistic", *_PLACE)
        made = {tuple(str(row.get(name, "")) for name in names) for row in self.rows}
        for row in wanted:
            if row.key not in made:
                place = dict(zip(_PLACE, row.key[2:], strict=True))
                self.refuse(row.measure, row.statistic, row.unit, reason, **place)

    def table(self) -> Estimates:
        """Return what was collected."""
        columns = [*(name for name in schema.ESTIMATE_KEY if name != "wave"), "draws"]
        carried: dict[tuple[str, str], tuple[float, float, float]] = {}
        for row in self.bases:
            if "largest_share" in row:
                continue
            for roles in {row["role"], row["role_2"] or row["role"]}:
                if (roles, row["stage"]) not in carried:
                    carried[roles, row["stage"]] = self.design.concentration(roles, row["stage"])
            shares = [carried[roles, row["stage"]] for roles in (row["role"], row["role_2"] or row["role"])]
            row.update(zip(_CARRIED, (_finite(max(each)) for each in zip(*shares, strict=True)), strict=True))
        bases = schema.frame(self.bases, schema.BASES)
        return Estimates(schema.frame(self.rows, schema.ESTIMATES), pd.DataFrame(self.drawn, columns=columns), bases)


def counted(number: int, least: int = 0) -> str:
    """Return a number of people as a reason may say it, no sharper than the gate prints bases; `least` are needed.

    >>> counted(3), counted(27), counted(0), counted(48, 50)
    ('fewer than 10', 'about 25', 'none', 'somewhat fewer')
    """
    if number == 0:
        return "none"
    if number < LEAST:
        return f"fewer than {LEAST}"
    rounded = math.floor(number / 5 + 0.5) * 5
    return "somewhat fewer" if number < least <= rounded else f"about {rounded}"


def interval_of(draws: Floats, level: float = 0.95) -> dict[str, Any]:
    """Percentiles of confidence draws; an end at infinity is left open, an undefined draw counts against either end."""
    tail = (1.0 - level) / 2.0
    low = float(np.quantile(np.where(np.isnan(draws), -np.inf, draws), tail, method="lower"))
    high = float(np.quantile(np.where(np.isnan(draws), np.inf, draws), 1.0 - tail, method="higher"))
    # The other infinity is no open end: it says "larger than any ratio", and is shown as the cap.
    low, high = (CAP if low == math.inf else low), (-CAP if high == -math.inf else high)
    std_error = float(np.std(draws, ddof=1)) if np.isfinite(draws).all() else math.nan
    return {"conf_low": low, "conf_high": high, "std_error": std_error, "conf_level": level}


def _finite(value: Any) -> Any:  # noqa: ANN401
    return pd.NA if isinstance(value, float) and not math.isfinite(value) else value
