"""Weights: respondents raked to known population margins, capped, with their cost in precision stated.

Own code for one reason: every replicate layer is raked at once, inside the bootstrap, and no library does that. One
layer is checked against R's survey::rake.

Iterative proportional fitting is Deming & Stephan's (1940). With a cap it is the truncated multiplicative case of
calibration (Deville & Särndal 1992, case 7), solved margin by margin, so its answer does not depend on their order.
The design effect is Kish's (1965) 1 + cv**2.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fieldwork.errors import ConvergenceError, DataError, DesignError, InstrumentError, listed, nearest
from fieldwork.schema import WEIGHTS, conform

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Keys

__all__ = ["Margin", "Margins", "Raking", "rake", "rake_cells"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TOLERANCE = 1e-6  # margins hold to this, or the call refuses
_STOP = 1e-12  # fitting stops here
_ROUNDING = 0.005  # by which published shares may miss 1
_SWEEPS = 2000


@dataclass(frozen=True, slots=True)
class Margin:
    """Known population shares of one variable.

    Attributes
    ----------
    name : str                     Item raked on.
    levels : tuple of str          Option ids, merged levels left out (L,).
    target : (L,) float            Population share of each level, adding to 1.
    codes : tuple of int           Option codes, for variables that the responses hold as codes (L,).
    merge : dict of str to str     Levels counted as another, with that other.
    merged_codes : dict            The same by code.
    source, date : str             Where the shares come from, and when they held.
    """

    name: str
    levels: tuple[str, ...]
    target: Floats
    codes: tuple[int, ...] = ()
    merge: Mapping[str, str] = field(default_factory=dict)
    merged_codes: Mapping[int, str] = field(default_factory=dict)
    source: str = ""
    date: str = ""

    def positions(self, values: pd.Series) -> Integers:
        """Return each value's position among the levels (n,): -1 where missing, -2 where no level is it."""
        position = {level: number for number, level in enumerate(self.levels)}
        lookup = {str(code): number for number, code in enumerate(self.codes)}
        lookup |= {str(code): position[other] for code, other in self.merged_codes.items()}
        lookup |= position | {level: position[other] for level, other in self.merge.items()}
        codes, distinct = pd.factorize(values)
        known = np.array([*(lookup.get(str(value), -2) for value in distinct), -1], dtype=np.int64)
        return np.asarray(known[codes])


@dataclass(frozen=True, slots=True)
class Margins:
    """The margins of one wave; none at all is an unweighted study.

    Attributes
    ----------
    margins : tuple of Margin     In the order of the file.
    file : str                    Name of the file, for messages.
    """

    margins: tuple[Margin, ...] = ()
    file: str = ""

    @classmethod
    def load(cls, path: Path | None, instrument: Instrument) -> Margins:
        """Read `<wave>.margins.toml` and hold it against the instrument; no path gives no margins.

        A margin is `[margins.NAME]` with `source`, `date` and `[margins.NAME.target]`, a share per option id, adding to
        1. `[margins.NAME.merge]` counts a level as another: `CISO = "CIO"`.

        Raises InstrumentError for a variable or level that the instrument lacks, and for shares that do not add to 1.
        """
        if path is None:
            return cls()
        file = Path(path).name
        try:
            tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InstrumentError(
                "the margins file cannot be read",
                where=str(path),
                expected="a TOML file of [margins.NAME] tables",
                got=str(error),
                hint="mend the line that is named, or remove the file to leave the study unweighted",
            ) from error
        margins = tables.get("margins", {})
        if not isinstance(margins, dict) or set(tables) - {"margins"}:
            raise InstrumentError(
                "the margins file holds more than margins",
                where=file,
                expected="[margins.NAME] tables only",
                got=listed(tables),
                hint="put each variable under [margins.NAME]",
            )
        return cls(tuple(_margin(name, table, file, instrument) for name, table in margins.items()), file)

    def columns(self, keys: Keys) -> list[str]:
        """Return the columns of the responses that weighting reads: respondent, raking variables, design weight."""
        named = (keys.respondent, *(margin.name for margin in self.margins), keys.weight)
        return list(dict.fromkeys(name for name in named if name))

    @property
    def targets(self) -> dict[str, Floats]:
        """Target shares by variable."""
        return {margin.name: margin.target for margin in self.margins}

    def codes(self, responses: pd.DataFrame, name: str) -> Integers:
        """Return each respondent's position among the levels of one margin (n,).

        Raises DataError where a respondent lacks the variable: a missing raking variable is an error, never a cell.
        Raises DesignError where the sample has a level that the margin does not name.
        """
        margin = next(margin for margin in self.margins if margin.name == name)
        if name not in responses.columns:
            raise DataError(
                f"the responses lack the raking variable {name}",
                where=f"weight.rake, {self.file}",
                expected=f"a column {name}",
                got=listed(map(str, responses.columns)),
                hint=f"ask {name} of all, or take [margins.{name}] out",
            )
        positions = margin.positions(responses[name])
        missing, unnamed = positions == -1, positions == -2
        if missing.any():
            raise DataError(
                f"respondents without the raking variable {name}",
                where=f"weight.rake, {self.file}",
                expected=f"{name} known for each of the {len(positions)} respondents",
                got=f"{int(missing.sum())} missing",
                hint=f"complete {name} from the sampling frame, or take [margins.{name}] out",
            )
        if unnamed.any():
            levels = sorted({str(value) for value in responses.loc[unnamed, name]})
            raise DesignError(
                f"the sample has a level that margin '{name}' does not name",
                where=f"weight.rake, {self.file}",
                expected=listed(margin.levels),
                got=f"{listed(levels)} ({int(unnamed.sum())} of {len(positions)} respondents)",
                hint=f"give the level a share under [margins.{name}.target]",
            )
        return positions


def _margin(name: str, table: Any, file: str, instrument: Instrument) -> Margin:  # noqa: ANN401 - any TOML value
    """Check one [margins.NAME] table and make a margin of it."""
    code = {option.id: option.code for option in instrument.item(name).options}
    _check_table(name, table, file)
    target, merge = table["target"], table.get("merge", {})
    _check_levels(name, [("target", target), ("merge", merge)], code, file)
    _check_shares(name, target, file)
    _check_merge(name, target, merge, file)
    total = float(sum(target.values()))
    shares = {level: float(share) for level, share in target.items() if level not in merge}
    for level, other in merge.items():
        shares[other] += float(target.get(level, 0.0))
    return Margin(
        name=name,
        levels=tuple(shares),
        target=np.array(list(shares.values())) / total,
        codes=tuple(code[level] for level in shares),
        merge=dict(merge),
        merged_codes={code[level]: other for level, other in merge.items()},
        source=str(table["source"]),
        date=str(table["date"]),
    )


def _check_table(name: str, table: object, file: str) -> None:
    keys = ("source", "date", "target", "merge")
    if not isinstance(table, dict) or set(table) - set(keys) or not isinstance(table.get("target"), dict):
        raise InstrumentError(
            f"margin '{name}' is not as it should be",
            where=f"{file}, margins.{name}",
            expected=listed(keys),
            got=listed(table) if isinstance(table, dict) else repr(table),
            hint="see the shipped margins file",
        )
    for key in ("source", "date"):
        if not str(table.get(key, "")).strip():
            raise InstrumentError(
                f"margin '{name}' does not say its {key}",
                where=f"{file}, margins.{name}.{key}",
                expected=f'{key} = "..."',
                got="nothing",
                hint="a margin without source and date cannot be reported",
            )


def _check_levels(
    name: str, tables: Sequence[tuple[str, Mapping[str, object]]], known: Iterable[str], file: str
) -> None:
    known = list(known)
    for where, table in tables:
        for level in table:
            if level not in known:
                near = nearest(level, known)
                raise InstrumentError(
                    f"margin '{name}' names a level that the instrument lacks",
                    where=f"{file}, margins.{name}.{where}",
                    expected=listed(known),
                    got=repr(level),
                    hint=f"did you mean {near}?" if near else "use the option ids of the instrument",
                )


def _check_shares(name: str, target: Mapping[str, object], file: str) -> None:
    total = 0.0
    for level, share in target.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise InstrumentError(
                f"margin '{name}' has a share that is no share",
                where=f"{file}, margins.{name}.target.{level}",
                expected="a number above 0, at most 1",
                got=repr(share),
                hint="drop a level that the population lacks",
            )
        total += float(share)
    if abs(total - 1) > _ROUNDING:
        raise InstrumentError(
            f"margin '{name}' does not add to 1",
            where=f"{file}, margins.{name}.target",
            expected="shares adding to 1",
            got=f"{total:.4f}",
            hint=f"give shares of the whole population; rounding up to {_ROUNDING:g} is allowed",
        )


def _check_merge(name: str, target: Mapping[str, object], merge: Mapping[str, str], file: str) -> None:
    for level, other in merge.items():
        if other not in target or other in merge:
            raise InstrumentError(
                f"margin '{name}' merges into a level that it lacks",
                where=f"{file}, margins.{name}.merge.{level}",
                expected=listed(key for key in target if key not in merge),
                got=repr(other),
                hint="merge into a level of the target that is not itself merged",
            )


@dataclass(frozen=True, slots=True)
class Raking:
    """Weights raked to known margins.

    Attributes
    ----------
    weight : pd.Series         Raked weight, one per respondent (n,), mean 1.
    margins : pd.DataFrame     One row per target cell: variable, level, n, sample, target, achieved (shares).
    design_effect : float      Kish 1 + cv(weight)**2, at least 1.
    n_effective : float        n / design_effect, in respondents.
    cap : float                Largest weight allowed, in units of the mean.
    share_trimmed : float      Share of respondents whose weight stands at the cap.
    largest_share : float      Share of the total weight that the heaviest respondent carries.
    raked_to : Margins         The margins raked to; none: unweighted, or design weights only.
    """

    weight: pd.Series
    margins: pd.DataFrame
    design_effect: float
    n_effective: float
    cap: float
    share_trimmed: float
    largest_share: float
    raked_to: Margins

    def summary(self) -> dict[str, object]:
        """Return what the methods statement says of the weights."""
        sources = [{"variable": each.name, "source": each.source, "date": each.date} for each in self.raked_to.margins]
        return {
            "n": len(self.weight),
            "design_effect": self.design_effect,
            "n_effective": self.n_effective,
            "cap": self.cap,
            "share_trimmed": self.share_trimmed,
            "largest_share": self.largest_share,
            "lowest": float(self.weight.min()),
            "highest": float(self.weight.max()),
            "margins": sources or "unweighted",
        }

    def table(self, respondents: pd.Series) -> pd.DataFrame:
        """Return the weights with the identifiers of their respondents, as they pass between chapters."""
        return conform(pd.DataFrame({"resp_id": respondents, "weight": self.weight}), WEIGHTS)

    def margins_shown(self) -> pd.DataFrame:
        """Return the margins in whole per cent, for readers; a share of a small sample names no one so."""
        shown = self.margins.drop(columns="n")
        for column in ("sample", "target", "achieved"):
            shown[column] = [f"{share:.0%}" for share in shown[column]]
        return shown

    def shown(self) -> pd.DataFrame:
        """Return the summary in words, for readers: quantity and value."""
        raked_to = ", ".join(margin.name for margin in self.raked_to.margins) or "nothing: unweighted"
        rows = {
            "raked to": raked_to,
            "design effect": f"{self.design_effect:.2f}",
            "effective share of the respondents": f"{1 / self.design_effect:.0%}",
            "largest weight allowed, in means": f"{self.cap:g}",
            "respondents at that cap": f"{self.share_trimmed:.0%}",
            "range of the weights": f"{self.weight.min():.2f} to {self.weight.max():.2f}",
        }
        return pd.DataFrame({"quantity": list(rows), "value": list(rows.values())})


def rake(responses: pd.DataFrame, margins: Margins, *, cap: float = 5.0, design: str = "") -> Raking:
    """Rake respondents to population margins by iterative proportional fitting.

    Missing raking variables are an error, never a cell. `cap` bounds the weight in units of its mean; capped mass is
    spread over uncapped respondents, so margins hold to 1e-6 or the call refuses. `design` names a column of design
    weights, which raking multiplies. Without margins the design weights stand, or 1.

    Raises DesignError (empty cell, cap out of reach), DataError (missing variable), ConvergenceError (margins not met).
    Reference: Deming & Stephan (1940); Deville & Särndal (1992).

    >>> sample = pd.DataFrame({"role": ["CTO", "CTO", "CTO", "CMO"]})
    >>> raked = rake(sample, Margins((Margin("role", ("CTO", "CMO"), np.array([0.5, 0.5])),)))
    >>> raked.weight.round(4).tolist(), round(raked.design_effect, 4)
    ([0.6667, 0.6667, 0.6667, 2.0], 1.3333)
    """
    if len(responses) == 0:
        raise DesignError(
            "there is nobody to weight",
            where="weight.rake",
            expected="at least one respondent",
            got="0 respondents",
            hint="see the quarantine: every row was set aside",
        )
    if not cap > 1:
        raise DesignError(
            "the cap leaves no room for any weight",
            where="weight.rake, cap",
            expected="more than 1, in units of the mean weight; 5 is usual",
            got=f"{cap:g}",
            hint="raise the cap",
        )
    unit = _design_weights(responses, design)
    codes = [margins.codes(responses, margin.name) for margin in margins.margins]
    for margin, positions in zip(margins.margins, codes, strict=True):
        _refuse_empty(margin, positions, margins.file)
    # Respondents alike in every margin and in design weight share one factor, so fitting runs over cells.
    shape = [len(margin.levels) for margin in margins.margins]
    distinct, base = np.unique(unit, return_inverse=True) if design else (np.ones(1), np.zeros(len(unit), np.int64))
    flat = np.ravel_multi_index((*codes, base.reshape(-1)), (*shape, len(distinct)))
    places, first, cell, count = np.unique(flat, return_index=True, return_inverse=True, return_counts=True)
    cells, cell = np.column_stack(np.unravel_index(places, (*shape, len(distinct)))), cell.reshape(-1)
    weight = unit
    if margins.margins:
        factors = rake_cells(
            (count * unit[first])[None, :],
            [cells[:, number] for number in range(len(codes))],
            [margin.target for margin in margins.margins],
            cap,
            unit=unit[first],
        )
        weight = unit * factors[0][cell]
    weight = weight / _mean(weight)
    frame = [
        pd.DataFrame(
            {
                "variable": margin.name,
                "level": margin.levels,
                "n": np.bincount(positions, minlength=len(margin.levels)),
                "sample": np.bincount(positions, minlength=len(margin.levels)) / len(positions),
                "target": margin.target,
                "achieved": np.bincount(positions, weight, minlength=len(margin.levels)) / weight.sum(),
            }
        )
        for margin, positions in zip(margins.margins, codes, strict=True)
    ]
    empty = pd.DataFrame({name: [] for name in ("variable", "level", "n", "sample", "target", "achieved")})
    design_effect = _mean(weight**2) / _mean(weight) ** 2
    return Raking(
        weight=pd.Series(weight, index=responses.index, name="weight"),
        margins=pd.concat(frame, ignore_index=True) if frame else empty,
        design_effect=design_effect,
        n_effective=len(weight) / design_effect,
        cap=cap,
        share_trimmed=float(np.mean(weight >= cap * (1 - 1e-9))),
        largest_share=float(weight.max() / weight.sum()),
        raked_to=margins,
    )


def _mean(values: Floats) -> float:
    """Mean by exact summation, so that the order of respondents does not reach the last digit."""
    return math.fsum(values) / len(values)


def _design_weights(responses: pd.DataFrame, design: str) -> Floats:
    """Return design weights of mean 1 (n,), or ones."""
    if not design:
        return np.ones(len(responses))
    weight = pd.to_numeric(responses[design], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~(np.isfinite(weight) & (weight > 0))
    if bad.any():
        raise DataError(
            "respondents without a usable design weight",
            where=f"weight.rake, column {design}",
            expected="a number above 0 for each respondent",
            got=f"{int(bad.sum())} of {len(weight)} missing, zero or negative",
            hint="complete the design weights, or leave keys.weight empty",
        )
    return np.asarray(weight / _mean(weight))


def _refuse_empty(margin: Margin, positions: Integers, file: str) -> None:
    observed = np.bincount(positions, minlength=len(margin.levels))
    empty = [level for level, count in zip(margin.levels, observed, strict=True) if count == 0]
    if empty:
        raise DesignError(
            f"margin '{margin.name}' names a level the sample lacks",
            where=f"weight.rake, {file}",
            expected=f"each level observed at least once: {listed(margin.levels)}",
            got=f"{listed([repr(level) for level in empty])} (0 of {len(positions)} respondents)",
            hint=f"merge the level under [margins.{margin.name}.merge] or drop it from the target",
        )


@dataclass(frozen=True, slots=True)
class _Side:
    """One margin over cells: sums by level, and levels back to cells.

    Attributes
    ----------
    level : (G,) int         Level of each cell.
    order, starts            Cells sorted by level, and where each level begins.
    goal : (L,) float        Target share of each level.
    """

    level: Integers
    order: Integers
    starts: Integers
    goal: Floats

    @classmethod
    def of(cls, level: ArrayLike, target: ArrayLike, number: int) -> _Side:
        level, target = np.asarray(level, dtype=np.int64), np.asarray(target, dtype=np.float64)
        lacking = np.setdiff1d(np.arange(len(target)), level)
        if len(lacking):
            raise DesignError(
                "a margin names a level that no cell has",
                where=f"weight.rake_cells, margin {number}",
                expected=f"levels 0 to {len(target) - 1}, each in at least one cell",
                got=f"no cell of level {listed(map(str, lacking))}",
                hint="merge the level with another, or drop it from the target",
            )
        order = np.argsort(level, kind="stable")
        return cls(level, order, np.searchsorted(level[order], np.arange(len(target))), target / target.sum())

    def sums(self, values: Floats) -> Floats:
        """Return sums by level (layers, L); each layer's sum is the same however many layers there are."""
        return np.asarray(np.add.reduceat(values[:, self.order], self.starts, axis=1))

    def fit(self, share: Floats, raw: Floats, limit: Floats) -> tuple[Floats, Floats]:
        """Scale each level to its goal, cells at their limit held there; return (raw, clipped) factors (layers, G).

        The scale u of a level solves sum share x min(limit, u x raw) = goal. From the scale without limits, cells above
        the limit are held at it and the others scaled again: u only grows, so this ends after at most G rounds.
        """
        scale = self.goal / self.sums(share * raw)
        scaled = raw * scale[:, self.level]
        held = scaled > limit
        while held.any():
            room = self.goal - self.sums(np.where(held, share * limit, 0.0))
            free = self.sums(np.where(held, 0.0, share * raw))
            with np.errstate(divide="ignore", invalid="ignore"):
                scale = np.where(free > 0, np.maximum(room, 0.0) / free, scale)
            scaled = raw * scale[:, self.level]
            now = held | (scaled > limit)
            if (now == held).all():
                break
            held = now
        return scaled, np.where(held, limit, scaled)


def rake_cells(
    base: ArrayLike,
    cell_levels: Sequence[ArrayLike],
    targets: Sequence[ArrayLike],
    cap: float = 5.0,
    *,
    unit: ArrayLike | None = None,
) -> Floats:
    """Rake every layer of a cell table to the same margins at once.

    Finds factors g such that base x g has the target shares on every margin and the layer's total is kept. g is a
    product of one number per margin and level, except where `cap` holds it: g <= cap / unit, the mean of g being 1.
    Each layer stops by itself, so that its factors do not depend on which other layers are raked with it.

    Parameters
    ----------
    base : (layers, G)
        Sum of weights per cell and layer.
    cell_levels : sequence of (G,) int
        For each margin the level of each cell.
    targets : sequence of (L,)
        For each margin the share of each level; made to add to 1.
    cap : float
        Largest factor, in units of its mean; `inf` for none.
    unit : (G,), optional
        Weight of one respondent before raking, mean 1, where the cap is to bound the weight; 1 if not given.

    Returns
    -------
    (layers, G) factors.

    Raises DesignError (a level without weight in a layer, a cap out of reach), ConvergenceError (margins not met to
    1e-6).

    >>> margins = [[0, 0, 1, 1], [0, 1, 0, 1]]
    >>> rake_cells([[30.0, 20.0, 10.0, 40.0]], margins, [[0.5, 0.5], [0.5, 0.5]]).round(4).tolist()
    [[1.1835, 0.7247, 1.4495, 0.8876]]
    """
    base = np.atleast_2d(np.asarray(base, dtype=np.float64))
    sides = [
        _Side.of(level, target, number) for number, (level, target) in enumerate(zip(cell_levels, targets, strict=True))
    ]
    limit = cap / (np.ones(base.shape[1]) if unit is None else np.asarray(unit, dtype=np.float64))
    share = base / base.sum(axis=1, keepdims=True)
    for number, side in enumerate(sides):
        _refuse_layers(side, share, limit, number)
    factors = np.ones_like(share)
    raw = np.ones_like(share)
    worst = np.full(len(share), np.inf)
    active = np.arange(len(share))
    for _ in range(_SWEEPS):
        part, grown = share[active], raw[active]
        clipped = np.minimum(grown, limit)
        for side in sides:
            grown, clipped = side.fit(part, grown, limit)
        raw[active], factors[active] = grown, clipped
        weights = part * clipped
        worst[active] = np.max(
            [np.abs(side.sums(weights) - side.goal).max(axis=1) for side in sides], axis=0, initial=0.0
        )
        active = active[worst[active] > _STOP]
        if len(active) == 0:
            break
    if worst.max(initial=0.0) > _TOLERANCE:
        layer = int(worst.argmax())
        raise ConvergenceError(
            "raking did not meet its margins",
            where=f"weight.rake, layer {layer} of {len(share)}, {_SWEEPS} sweeps",
            expected=f"every margin within {_TOLERANCE:g} of its target",
            got=f"{worst[layer]:.2g} off",
            hint="raise the cap, or merge levels: over the cells that the sample fills the margins exclude one another",
        )
    return np.asarray(factors)


def _refuse_layers(side: _Side, share: Floats, limit: Floats, number: int) -> None:
    """Refuse a layer in which a level has no weight, or cannot reach its target below the cap."""
    empty = np.argwhere(side.sums(share) <= 0)
    if len(empty):
        layer, level = (int(part) for part in empty[0])
        raise DesignError(
            "a level of a margin has no weight",
            where=f"weight.rake_cells, margin {number}, layer {layer}",
            expected="every level with weight in every layer",
            got=f"level {level} has none ({len(empty)} such in all)",
            hint="merge the level with another, or drop it from the target",
        )
    with np.errstate(invalid="ignore"):
        reach = side.sums(np.where(share > 0, share * limit, 0.0))
    short = np.argwhere(reach < side.goal - _TOLERANCE)
    if len(short):
        layer, level = (int(part) for part in short[0])
        needed = float(side.goal[level] / side.sums(share)[layer, level])
        raise DesignError(
            "the cap on weights keeps a margin out of reach",
            where=f"weight.rake, margin {number}, level {level}, layer {layer}",
            expected=f"a cap of at least {needed:.2f} times the mean weight",
            got=f"{side.sums(share)[layer, level]:.4f} of the sample for {side.goal[level]:.4f} of the population",
            hint="raise the cap, or merge the level with another",
        )
