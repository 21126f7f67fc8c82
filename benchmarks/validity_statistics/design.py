"""Cells of the simulation, the samples drawn in them, and what a study reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import stats

from fieldwork.errors import FieldworkError
from fieldwork.statistics.replicates import cluster_keys, multipliers, named_stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHARED = 0.2  # share of an answer's variance that lies between organisations
CUTS = np.array([-1.5, -0.6, 0.3, 1.2])  # between the five answers, on the latent scale


@dataclass(frozen=True, slots=True)
class Cell:
    """How a study is drawn.

    Five executives in each organisation, or one to twelve (geometric, mean 4.7); unit weights, or weights with a coefficient
    of variation of .4, half of it between organisations.
    """

    organisations: int
    unequal: bool
    weighted: bool

    @property
    def column(self) -> str:
        return ("unequal" if self.unequal else "equal") + (", weights" if self.weighted else "")


def cells(organisations: Iterable[int]) -> list[Cell]:
    return [Cell(n, unequal, weighted) for n, unequal, weighted in product(organisations, (False, True), (False, True))]


@dataclass(frozen=True, slots=True)
class Sample:
    """Executives of one study: `home` (n,) their organisation, `weight` (n,), and the stream that draws the rest.

    `tests` says whether the study is one of those in which tests are made too: where intervals are judged there are more.
    """

    cell: Cell
    study: int
    tests: bool
    rng: np.random.Generator
    size: Ints
    home: Ints
    weight: Floats

    @property
    def n(self) -> int:
        return len(self.home)

    @property
    def organisations(self) -> int:
        return self.cell.organisations

    def groups(self, number: int) -> Ints:
        """Give each executive one of `number` groups, all equally likely."""
        return self.rng.integers(0, number, self.n)

    def latent(self, columns: int = 1) -> Floats:
        """Draw standard normal variables (n, columns) of which `SHARED` of the variance is the organisation's own."""
        between = self.rng.standard_normal((self.organisations, columns))[self.home]
        within = self.rng.standard_normal((self.n, columns))
        return np.sqrt(SHARED) * between + np.sqrt(1.0 - SHARED) * within

    def totals(self, values: Floats) -> Floats:
        """Sum weight x values (n, k) by organisation: (C, k)."""
        return sums(self.home, self.weight[:, None] * values.reshape(self.n, -1), self.organisations)

    def by_group(self, values: Floats, group: Ints, groups: int) -> Floats:
        """Sum weight x values (n,) by organisation and group: (C, groups)."""
        flat = np.bincount(self.home * groups + group, self.weight * values, self.organisations * groups)
        return flat.reshape(self.organisations, groups)

    def multiplier(self, replicates: int = 1000, *, wave: int = 0) -> Floats:
        """Replicate multipliers (B, C); another wave's organisations are others, with names of their own."""
        return multipliers(cluster_keys([f"w{wave}/o{i}" for i in range(self.organisations)], self.study), replicates)


def sums(home: Ints, values: Floats, organisations: int) -> Floats:
    """Sum values (n, k) by organisation: (C, k)."""
    return np.stack([np.bincount(home, column, organisations) for column in values.T], axis=1)


def draw(part: str, cell: Cell, study: int, *, tests: bool = True) -> Sample:
    """Draw the executives of one study; the same for the same part, cell and number, whatever else is run."""
    rng = named_stream(study, f"validity/{part}/{cell.organisations}/{cell.column}")
    C = cell.organisations
    size = np.minimum(rng.geometric(0.2, C), 12) if cell.unequal else np.full(C, 5)
    home = np.repeat(np.arange(C), size)
    weight = np.ones(len(home))
    if cell.weighted:
        shape = 1.0 / 0.0770  # two gamma factors of variance .077: 1.077 ** 2 - 1 = .16
        weight = rng.gamma(shape, 1.0 / shape, C)[home] * rng.gamma(shape, 1.0 / shape, len(home))
    return Sample(cell, study, tests, rng, size, home, weight)


def layers_of(multiplier: Floats, totals: Floats) -> Floats:
    """Observed and replicated sums over organisations of totals (C, ...): (1 + B, ...)."""
    flat = totals.reshape(len(totals), -1)
    return np.concatenate([flat.sum(axis=0, keepdims=True), multiplier @ flat]).reshape(-1, *totals.shape[1:])


def answers(latent: Floats) -> Floats:
    """Answers 1 to 5 from a latent scale."""
    return 1.0 + (latent[..., None] > CUTS).sum(axis=-1)


def mean_answer(shift: float) -> float:
    """Mean of `answers` of a standard normal variable moved by `shift`, by integration."""
    return float(5.0 - stats.norm.cdf(CUTS - shift).sum())


# ------------------------------------------------------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True)
class Interval:
    """One study's 95% interval of a quantity whose truth is known, or of an array of such quantities."""

    name: str
    truth: float | Floats
    estimate: float | Floats
    low: float | Floats
    high: float | Floats


@dataclass(frozen=True, slots=True)
class Sets:
    """One study's confidence sets: whether they hold the truth together, and their mean width."""

    name: str
    covered: bool | float
    width: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One study's test at 5%: whether it rejects; `power` where it should."""

    name: str
    rejects: bool | float | npt.NDArray[np.bool_]
    power: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """One study in which the function refused to answer; `name` begins the names of what it would have reported."""

    name: str


Outcome = Interval | Sets | Judged | Refused


def attempt(name: str, make: Callable[[], Iterable[Outcome]]) -> Iterator[Outcome]:
    """Pass on what `make` reports; a refusal by the library counts as one, under `name`."""
    try:
        found = list(make())
    except FieldworkError:
        found = [Refused(name)]
    yield from found


@dataclass(frozen=True, slots=True)
class _Held:
    """What one study's intervals of one name did; means are over the `given` of its `of` intervals that have ends."""

    given: int
    of: int
    truth: float
    error: float  # sum over the `finite` estimates that are
    finite: int
    covered: float
    above: float
    below: float
    width: float


def _held(outcome: Interval) -> _Held:
    parts = (outcome.truth, outcome.estimate, outcome.low, outcome.high)
    truth, estimate, low, high = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in parts))
    known = ~(np.isnan(low) | np.isnan(high))
    if not known.any():
        return _Held(0, low.size, *[0.0, 0.0], 0, *[0.0] * 4)
    t, e, a, z = truth[known], estimate[known], low[known], high[known]
    finite = np.isfinite(e)
    slack = 1e-12 * np.maximum(np.abs(t), 1.0)  # a limit that is the truth to rounding holds it
    above, below = a > t + slack, z < t - slack
    with np.errstate(invalid="ignore"):
        width = np.where(np.isinf(a) & (a == z), np.inf, z - a)
    return _Held(
        given=int(known.sum()),
        of=low.size,
        truth=float(t.mean()),
        error=float((e - t)[finite].sum()),
        finite=int(finite.sum()),
        covered=float((~above & ~below).mean()),
        above=float(above.mean()),
        below=float(below.mean()),
        width=float(np.median(width)),
    )


@dataclass(slots=True)
class Tally:
    """What the studies of a cell reported, by kind and name."""

    intervals: dict[str, list[_Held]] = field(default_factory=dict)
    tests: dict[tuple[str, str], list[Judged]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        name = outcome.name
        if isinstance(outcome, Refused):
            self.refused[name] = self.refused.get(name, 0) + 1
        elif isinstance(outcome, Interval):
            self.intervals.setdefault(name, []).append(_held(outcome))
        elif isinstance(outcome, Sets):
            none = float("nan")
            held = _Held(1, 1, none, 0.0, 0, float(outcome.covered), none, none, outcome.width)
            self.intervals.setdefault(name, []).append(held)
        else:
            self.tests.setdefault(("power" if outcome.power else "test", name), []).append(outcome)

    def rows(self, part: str, cell: Cell) -> list[dict[str, object]]:
        found = []
        for name, held in self.intervals.items():
            given = np.array([h.given for h in held])
            finite, total = sum(h.finite for h in held), int(given.sum())
            row = self._row(part, "interval", name, cell, len(held))
            for column in ("truth", "covered", "above", "below"):
                values = np.array([getattr(h, column) for h in held])
                row[column] = float(given @ values / total) if total else np.nan
            row["bias"] = sum(h.error for h in held) / finite if finite else np.nan
            row["width"] = float(np.median([h.width for h in held if h.given])) if total else np.nan
            row["without"] = 1.0 - total / sum(h.of for h in held)
            found.append(row)
        for (kind, name), seen in self.tests.items():
            row = self._row(part, kind, name, cell, len(seen))
            row["rejects"] = float(np.mean(np.concatenate([np.atleast_1d(test.rejects) for test in seen])))
            found.append(row)
        return found

    def _row(self, part: str, kind: str, name: str, cell: Cell, reported: int) -> dict[str, object]:
        refused = sum(count for stem, count in self.refused.items() if name.startswith(stem))
        return {
            "part": part,
            "kind": kind,
            "name": name,
            "organisations": cell.organisations,
            "cell": cell.column,
            "studies": reported + refused,
            "refused": refused / (reported + refused),
        }
