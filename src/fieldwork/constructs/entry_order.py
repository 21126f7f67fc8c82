"""Order of entry within organisations: which role's function reaches a stage first, and how long the others lag.

System level: executives of one organisation are compared with each other and with nobody else, so its statistics carry
names of their own and are never mixed with ranks of roles across organisations. Definition: measures.md 2.3 (b). Own code:
it is one of the measures that the project exists for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse, stats

from fieldwork.constructs.cells import distinct
from fieldwork.constructs.waves import wanted
from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics.duration import turnbull
from fieldwork.statistics.influence_model import abilities
from fieldwork.statistics.replicates import Floats, Ints, Multipliers, distinct_rows, infer, replicated_sums

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.constructs.ledger import Ledger
    from fieldwork.instrument import Instrument

__all__ = ["STATISTICS", "Meetings", "estimate", "meetings"]

MINIMUM_INFORMANTS = 3  # executives of an organisation, measures.md section 2
MINIMUM_ORGANISATIONS = 10  # that compare two roles, so that as many executives stand behind each side
STATISTICS = {"precedence": "proportion", "precedence_strength": "log_ratio", "lag_median": "quarter"}
"""What `estimate` makes, with its unit."""
_QUARTER = re.compile(r"(\d{4})Q([1-4])")
_FIRST, _TIED, _SECOND = 0, 1, 2  # who entered first

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Meetings:
    """Pairs of executives of one organisation whose functions' entries into one stage can be compared, M rows.

    Attributes
    ----------
    roles : tuple of str          Roles, in the instrument's order (R).
    first, second : (M,) int      Positions of the two roles, first < second.
    one, two : (M,) int           The two respondents, as positions in the design.
    cluster : (M,) int            Organisation, as the design counts it.
    outcome : (M,) int            0 the first role's function entered earlier, 1 in the same quarter, 2 later.
    low, high : (M,) float        The second's time of entry less the first's lies in (low, high), in quarters; an end at
                                  infinity where one of them had not entered by the interview.
    weight : (M,) float           Product of the two respondents' weights in the observed layer.
    multiplier                    Of the organisations, as in the design: once for a pair.
    factor : (1 + B, G) float     Raking factor of each pair of raking cells in each layer, or None.
    cell : (M,) int               Pair of raking cells, with `factor`.
    organisations : (R, R) int    Organisations that compare two roles.
    """

    roles: tuple[str, ...]
    first: Ints
    second: Ints
    one: Ints
    two: Ints
    cluster: Ints
    outcome: Ints
    low: Floats
    high: Floats
    weight: Floats
    multiplier: Multipliers
    factor: Floats | None
    cell: Ints | None
    organisations: Ints

    def sums(self, key: npt.ArrayLike, among: Flags) -> tuple[Ints, Floats]:
        """Sum the weights of some pairs by a key (M,) in every layer: keys that occur (F,), and sums (F, 1 + B)."""
        levels, sums, _ = replicated_sums(
            [np.asarray(key, dtype=np.int64)[among]],
            self.cluster[among],
            [self.weight[among]],
            self.multiplier,
            layer_factor=self.factor,
            factor_cell=None if self.cell is None else self.cell[among],
        )
        return levels[:, 0], sums[0]


def meetings(instrument: Instrument, design: SurveyDesign, items: Sequence[str]) -> Meetings:
    """Pair the executives of each organisation with three informants or more, stage by stage.

    An entry is known by its quarter, so it lies within it: the difference of two is known to a quarter on either side. `Not
    yet` lies beyond the quarter of the interview's wave, or of the latest entry that anybody reports. Two functions that have
    both not entered say nothing of who is first and make no pair; a missing answer makes none either.

    Parameters
    ----------
    items : names of the items that ask for the quarter of entry, one per stage.
    """
    keys, data = instrument.keys, design.responses
    roles = tuple(instrument.role_ids)
    places = {name: place for place, name in enumerate(roles)}
    role = np.asarray(data[keys.role].astype("string").map(places).fillna(-1), dtype=np.int64)
    informants = np.bincount(design.cluster[role >= 0], minlength=design.multiplier.shape[1])
    kept = np.flatnonzero((role >= 0) & (informants[design.cluster] >= MINIMUM_INFORMANTS))
    quarter, not_yet = _entries(instrument, data, items)
    now = max(float(np.nanmax(quarter, initial=-np.inf)), _number(instrument.wave))
    one, two = _pairs(design.cluster[kept], role[kept])
    one, two = kept[one], kept[two]
    parts = []
    for stage in range(len(items)):
        q, late = quarter[:, stage], not_yet[:, stage]
        known = (np.isfinite(q) | late)[one] & (np.isfinite(q) | late)[two] & ~(late[one] & late[two])
        i, j = one[known], two[known]
        gap = q[j] - q[i]
        since = [
            np.maximum(now - q[side] - 1.0, 0.0) for side in (i, j)
        ]  # quarters that have passed since, at the least
        low = np.where(late[j], since[0], np.where(late[i], -np.inf, gap - 1.0))
        high = np.where(late[j], np.inf, np.where(late[i], -since[1], gap + 1.0))
        outcome = np.where(
            late[j], _FIRST, np.where(late[i], _SECOND, 1 - np.sign(np.nan_to_num(gap)).astype(np.int64))
        )
        parts.append((i, j, outcome, low, high))
    i, j, outcome, low, high = (np.concatenate([part[k] for part in parts]) for k in range(5))
    R, C = len(roles), design.multiplier.shape[1]
    pair = role[i] * R + role[j]
    return Meetings(
        roles, role[i], role[j], i, j, design.cluster[i], outcome.astype(np.int64), low, high,
        design.weight[i] * design.weight[j], design.multiplier, *_raking(design, i, j),
        distinct(np.arange(C)[design.cluster[i]], pair, R * R).reshape(R, R),
    )  # fmt: skip


def _entries(instrument: Instrument, data: pd.DataFrame, items: Sequence[str]) -> tuple[Floats, Flags]:
    """Quarter of each entry as a running number (n, stages), nan where there is none, and who had not entered yet."""
    quarter, not_yet = np.full((len(data), len(items)), np.nan), np.zeros((len(data), len(items)), dtype=bool)
    for place, name in enumerate(items):
        told = data[name].astype("string")
        waiting = {option.id for option in instrument.item(name).options}
        code, distinct_ = pd.factorize(told)
        quarter[:, place] = np.array([*(_number(text) for text in distinct_), np.nan])[code]
        not_yet[:, place] = told.isin(waiting).fillna(value=False).to_numpy(dtype=bool)
    return quarter, not_yet


def _number(text: object) -> float:
    """Return the running number of a quarter, nan for what is none.

    >>> _number("2026Q1") - _number("2025Q3")
    2.0
    """
    found = _QUARTER.fullmatch(str(text))
    return float(int(found[1]) * 4 + int(found[2]) - 1) if found else float("nan")


def _pairs(cluster: Ints, role: Ints) -> tuple[Ints, Ints]:
    """Positions of all pairs of one organisation with different roles, the lower role first."""
    order = np.lexsort((role, cluster))
    starts = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    ones, twos = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for size in np.unique(sizes):
        at = starts[sizes == size][:, None]
        i, j = np.triu_indices(int(size), 1)
        ones.append((at + i).reshape(-1))
        twos.append((at + j).reshape(-1))
    one, two = np.concatenate(ones), np.concatenate(twos)
    kept = np.argsort(cluster[order[one]], kind="stable")
    one, two = order[one[kept]], order[two[kept]]
    apart = role[one] != role[two]
    return one[apart], two[apart]


def _raking(design: SurveyDesign, one: Ints, two: Ints) -> tuple[Floats | None, Ints | None]:
    """Return the factor of each pair of raking cells that occurs (1 + B, G), and that pair of each row (M,)."""
    if design.layer_factor is None or design.factor_cell is None:
        return None, None
    pairs, cell = distinct_rows(np.column_stack([design.factor_cell[one], design.factor_cell[two]]))
    return design.layer_factor[:, pairs[:, 0]] * design.layer_factor[:, pairs[:, 1]], cell


def estimate(ledger: Ledger, instrument: Instrument, measure: str, items: Sequence[str]) -> None:
    """Add the order of entry to a ledger.

    `precedence` of (role, role_2): weighted share of comparisons in which the first role's function entered a stage before
    the second's in the same organisation, stages pooled, the same quarter counting half. `precedence_strength`: log-odds of
    entering first against the mean of roles, from the Bradley-Terry model of all pairs. `lag_median`: median quarters by which
    a role's function enters after its colleagues' (Turnbull's estimate for lags known to a quarter, or only to be longer or
    shorter than something); below nil it leads. Each rests on organisations with three informants or more.

    A comparison of two respondents weighs the product of their weights, so that organisations are represented as if all
    their executives had answered. Two roles are compared where ten organisations do.
    """
    design = ledger.design
    reason = ""
    if not design.has_organisations:
        reason = "the survey names no organisations"
    elif not items:
        reason = "the wave does not ask when a stage was entered"
    elif not instrument.keys.role:
        reason = "the survey has no roles"
    else:
        informants = np.bincount(design.cluster)
        if (informants >= MINIMUM_INFORMANTS).sum() < MINIMUM_ORGANISATIONS:
            several = int((informants >= MINIMUM_INFORMANTS).sum())
            reason = wanted(MINIMUM_ORGANISATIONS, f"organisations with {MINIMUM_INFORMANTS} informants", several)
    if reason:
        for statistic, unit in STATISTICS.items():
            ledger.refuse(measure, statistic, unit, reason)
        return
    met = meetings(instrument, design, items)
    weight = _totals(met)
    _precedence(ledger, measure, met, weight)
    _strength(ledger, measure, met, weight)
    for place, role in enumerate(met.roles):
        _lag(ledger, measure, met, place, role)


def _totals(met: Meetings) -> Floats:
    """Weighted comparisons by pair and outcome (1 + B, R, R, 3)."""
    R = len(met.roles)
    cell, sums = met.sums((met.first * R + met.second) * 3 + met.outcome, np.ones(len(met.first), dtype=bool))
    out = np.zeros((R * R * 3, sums.shape[1]))
    out[cell] = sums
    return np.ascontiguousarray(out.T).reshape(-1, R, R, 3)


def _precedence(ledger: Ledger, measure: str, met: Meetings, weight: Floats) -> None:
    for i, j in zip(*np.triu_indices(len(met.roles), 1), strict=True):
        mine = (met.first == i) & (met.second == j)
        people = [_different(side[mine]) for side in (met.one, met.two)]
        orgs = int(met.organisations[i, j])
        base: dict[str, Any] = {
            "role": met.roles[i], "role_2": met.roles[j], "n": sum(people), "n_organisations": orgs,
            "smallest": (min(people), orgs),
        }  # fmt: skip
        if orgs < MINIMUM_ORGANISATIONS:
            reason = wanted(MINIMUM_ORGANISATIONS, "organisations with both roles", orgs)
            ledger.refuse(measure, "precedence", "proportion", reason, **base)
            continue
        pair = weight[:, i, j]
        layers = (pair[:, _FIRST] + 0.5 * pair[:, _TIED]) / pair.sum(axis=1)
        # At the gate the fewer organisations in which one of the two was ever first, or tied, stand for the share.
        ever = [_different(met.cluster[mine & (met.outcome != lost)]) for lost in (_SECOND, _FIRST)]
        ledger.add_inferred(measure, "precedence", "proportion", infer(layers, orgs), hits=min(ever), **base)


def _strength(ledger: Ledger, measure: str, met: Meetings, weight: Floats) -> None:
    shared = np.maximum(met.organisations, met.organisations.T)
    kept = _linked(shared >= MINIMUM_ORGANISATIONS)
    names = [met.roles[place] for place in kept]
    for role in (role for role in met.roles if role not in names):
        reason = f"{MINIMUM_ORGANISATIONS} organisations that compare it with another role are needed"
        ledger.refuse(measure, "precedence_strength", "log_ratio", reason, role=role)
    if len(kept) < 2:
        return
    half = 0.5 * weight[..., _TIED]
    wins = weight[..., _FIRST] + half + np.swapaxes(weight[..., _SECOND] + half, 1, 2)
    try:
        layers = abilities(wins[:, kept][:, :, kept], names)
    except (DesignError, ConvergenceError) as error:
        ledger.refuse(measure, "precedence_strength", "log_ratio", f"{error.title}: {error.got}")
        return
    for place, role in enumerate(names):
        people, orgs = _behind(met, int(kept[place]))
        ledger.add_inferred(
            measure, "precedence_strength", "log_ratio", infer(layers[:, place], orgs), role=role, n=people,
            n_organisations=orgs, reason="against the mean of the roles compared, within organisations",
        )  # fmt: skip


def _behind(met: Meetings, place: int) -> tuple[int, int]:
    """Count the executives of a role who are compared with a colleague, and their organisations."""
    ahead, behind = met.first == place, met.second == place
    return _different(met.one[ahead], met.two[behind]), _different(met.cluster[ahead | behind])


def _different(*codes: Ints) -> int:
    """Count the different codes, none of which is negative, in several arrays together."""
    return int(np.count_nonzero(np.bincount(np.concatenate(codes))))


def _linked(compared: Flags) -> Ints:
    """Positions of the largest set of roles that comparisons tie together."""
    count, part = sparse.csgraph.connected_components(compared | compared.T, directed=False)
    sizes = np.bincount(part, minlength=count)
    return np.flatnonzero(part == sizes.argmax()) if sizes.max(initial=0) > 1 else np.empty(0, dtype=np.int64)


def _lag(ledger: Ledger, measure: str, met: Meetings, place: int, role: str) -> None:
    ahead, behind = met.first == place, met.second == place
    mine = ahead | behind
    people, orgs = _behind(met, place)
    base: dict[str, Any] = {"role": role, "n": people, "n_organisations": orgs}
    if orgs < MINIMUM_ORGANISATIONS:
        reason = wanted(MINIMUM_ORGANISATIONS, "organisations that compare the role", orgs)
        ledger.refuse(measure, "lag_median", "quarter", reason, **base)
        return
    ends = np.column_stack([np.where(ahead, -met.high, met.low), np.where(ahead, -met.low, met.high)])
    values, codes = zip(*(np.unique(end, return_inverse=True) for end in ends[mine].T), strict=True)
    rows, which = distinct_rows(np.column_stack(codes))
    lags = np.column_stack([value[row] for value, row in zip(values, rows.T, strict=True)])
    key = np.zeros(len(mine), dtype=np.int64)
    key[mine] = which
    _, weight = met.sums(key, mine)
    fit = turnbull(lags[:, 0], lags[:, 1], weight=weight[:, 0], layer_weight=weight[:, 1:].T)
    below = np.cumsum(fit.layers, axis=1)
    error = (below[1:] - below[0]) * np.sqrt(orgs / (orgs - 1.0))
    half = np.sqrt((error**2).mean(axis=0)) * float(stats.t.ppf(0.975, orgs - 1))
    # The interval of the median: where the interval of the distribution function holds one half.
    reached, surely = np.flatnonzero(below[0] + half >= 0.5 - 1e-12), np.flatnonzero(below[0] - half >= 0.5 - 1e-12)
    lowest = float(fit.low[reached[0]]) if len(reached) else np.inf
    highest = float(fit.high[surely[0]]) if len(surely) else np.inf
    point = float(np.mean(fit.median)) if np.isfinite(fit.median).all() else np.nan
    if not np.isfinite(point):
        ledger.refuse(
            measure, "lag_median", "quarter", "half of the lags are longer than any that was observed", **base
        )
        return
    ledger.add(
        measure, "lag_median", "quarter", estimate=point, conf_low=lowest, conf_high=highest, conf_level=0.95,
        method="turnbull", reason="behind colleagues of the same organisation; below nil it leads",
        **base,
    )  # fmt: skip
