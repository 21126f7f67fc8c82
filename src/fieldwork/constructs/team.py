"""One team: the answers of one organisation's informants by role, what chance makes of so few, and the published cohort.

Own code. A role in a named organisation is one person: what is read here is shown to that organisation alone, by consent of
all. Of other organisations it keeps chance levels, and it compares with published estimates and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.statistics.agreement import null_distribution

if TYPE_CHECKING:
    from collections.abc import Callable

    from fieldwork.instrument import Instrument, Item
    from fieldwork.statistics.agreement import NullDistribution

__all__ = ["LEVEL", "NOTHING", "Team", "signed"]

Floats = npt.NDArray[np.float64]

LEVEL = 0.05
POOL = 30  # answers of other organisations without which no chance level is drawn from them
NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def signed(value: float, *, decimals: int | None = None, unit: str = "") -> str:
    r"""Return a number with its sign, a true minus; a dash for nan.

    >>> signed(2.0), signed(0.0), signed(-0.25, decimals=1) == "\N{MINUS SIGN}0.2", signed(float("nan")) == NOTHING
    ('+2', '0', True, True)
    """
    if np.isnan(value):
        return NOTHING
    text = f"{value:+g}" if decimals is None else f"{value:+.{decimals}f}"
    # What rounds to nil has no sign.
    text = text if text.strip("+-0.") else text.lstrip("+-")
    return f"{text}{unit}".replace("-", _MINUS)


@dataclass(frozen=True)
class Team:
    """Answers of one organisation.

    Attributes
    ----------
    name : str                  Pseudonym of the organisation.
    instrument : Instrument     Questions of the wave.
    answers : pd.DataFrame      Its accepted respondents, native columns, in the order of roles.
    others : pd.DataFrame       Accepted respondents of all other organisations: for chance levels only.
    published : pd.DataFrame    Published estimates of the wave.
    seed : int                  Root seed of what is dealt out at random.
    """

    name: str
    instrument: Instrument
    answers: pd.DataFrame = field(repr=False)
    others: pd.DataFrame = field(repr=False)
    published: pd.DataFrame = field(repr=False)
    seed: int = 0

    def __len__(self) -> int:
        return len(self.answers)

    @cached_property
    def roles(self) -> list[str]:
        """Role id of each informant, "" where none is given."""
        key = self.instrument.keys.role
        return ["" if pd.isna(role) else str(role) for role in self.answers[key]] if key else [""] * len(self)

    @cached_property
    def who(self) -> list[str]:
        """Name of each informant: the role, numbered where two hold it."""
        labels = {role.id: role.label for role in self.instrument.roles}
        roles = [labels.get(role, "No role given") for role in self.roles]
        seen: dict[str, int] = {}
        named = []
        for role in roles:
            seen[role] = seen.get(role, 0) + 1
            named.append(f"{role} {seen[role]}" if roles.count(role) > 1 else role)
        return named

    def slot(self, slot: str, *kinds: str) -> Item | None:
        """Return the first item of a kind that fills a slot; None where the wave does not ask it."""
        return next((item for item in self.instrument.slot(slot) if item.kind in kinds), None)

    def tagged(self, construct: str) -> list[Item]:
        """Return the ordinal items of a construct that are no family."""
        return [item for item in self.instrument.measures(construct) if item.kind == "ordinal" and not item.family]

    def numbers(self, name: str) -> Floats:
        """Answers to a column as numbers, one per informant, nan for none."""
        column = self.answers[name].astype("Float64")
        return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan), copy=True)

    def counts(self, item: Item, *, of_others: bool = False) -> Floats:
        """Answers to an item by option, in the order of codes (ordinal) or options (single)."""
        values = (self.others if of_others else self.answers)[item.name]
        known: Sequence[int | str] = sorted(item.codes) if item.kind == "ordinal" else [o.id for o in item.options]
        return np.array([float(values.eq(each).fillna(value=False).sum()) for each in known])

    def null(self, item: Item, respondents: int, index: Callable[[Floats], Floats]) -> tuple[NullDistribution, str]:
        """Distribution of an index over teams of strangers, and who the strangers are.

        Teams are drawn without replacement from everyone's answers, which is what permuting answers over organisations gives;
        with fewer than 30 answers of others, from answers at random.
        """
        points = len(item.options)
        pool = self.counts(item, of_others=True)
        if pool.sum() >= POOL:
            whole = pool + self.counts(item)
            stream = f"{self.name}/{item.name}"
            drawn = null_distribution(index, respondents, points, pool=whole, seed=self.seed, name=stream)
            return drawn, "executives drawn from other organisations"
        return null_distribution(index, respondents, points, seed=self.seed, name=item.name), "answers at random"

    def top(self, item: Item) -> tuple[list[str], list[str], int]:
        """Name who answers in the upper two points of a question, who in the lower two; and count the answers."""
        codes = sorted(item.codes)
        values = self.numbers(item.name)
        above = [who for who, value in zip(self.who, values, strict=True) if value >= codes[-2]]
        below = [who for who, value in zip(self.who, values, strict=True) if value <= codes[1]]
        return above, below, int(np.isfinite(values).sum())

    def named(self, item: Item) -> str:
        """Options of a question with how many informants named each, the most named first."""
        if item.kind == "multi":
            ticks = [self.numbers(f"{item.name}_{option.id}") for option in item.options]
            counts = [int((tick == 1).sum()) for tick in ticks]
        else:
            counts = [int(count) for count in self.counts(item)]
        found = [(count, option.label) for count, option in zip(counts, item.options, strict=True) if count]
        ordered = sorted(found, key=lambda each: -each[0])
        return ", ".join(f"{label} ({count} of {len(self)})" for count, label in ordered)

    @cached_property
    def _benchmarks(self) -> dict[tuple[str, str, str, str], tuple[Any, ...]]:
        """Unit, estimate and interval of what is published of one role or all, by statistic, measure, role and option."""
        table = self.published
        shown = table["status"].isin(["ok", "flagged"]) & table["estimate"].notna()
        for name in ("role_2", "stage", "segment"):
            shown &= table[name].eq("").fillna(value=False)
        rows = table.loc[shown, ["statistic", "measure", "role", "item", "unit", "estimate", "conf_low", "conf_high"]]
        found: dict[tuple[str, str, str, str], tuple[Any, ...]] = {}
        for statistic, measure, role, item, *numbers in rows.itertuples(index=False, name=None):
            found.setdefault((statistic, measure, role, item), tuple(numbers))
        return found

    def cohort(self, statistic: str, measure: str, *, role: str = "", item: str = "") -> str:
        """Return a published estimate with its interval, or a dash: what the gate held back is nobody's benchmark."""
        found = self._benchmarks.get((statistic, measure, role, item))
        if found is None:
            return NOTHING
        unit, *numbers = found
        point, low, high = (
            "" if pd.isna(value) else f"{100 * value:.0f}%" if unit == "proportion" else f"{value:.2f}"
            for value in numbers
        )
        return (f"{point} ({low} to {high})" if low and high else point).replace("-", _MINUS)
