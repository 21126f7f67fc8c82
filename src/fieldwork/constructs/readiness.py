"""Readiness diagnostic: what is claimed of the organisation, what its roles report, and what goes with a stall.

Own code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fieldwork.constructs import stalls
from fieldwork.constructs.answers import profiled, set_of
from fieldwork.constructs.cells import axis, cluster_weights, layer_weights
from fieldwork.constructs.colleagues import MINIMUM_INFORMANTS, MINIMUM_ORGANISATIONS, answers, informants_of
from fieldwork.constructs.comparisons import share
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Estimates, Ledger, Wanted
from fieldwork.errors import DesignError, listed
from fieldwork.instrument.bands import bands
from fieldwork.statistics.regressions import least_squares, regression_inference
from fieldwork.statistics.replicates import Floats, Ints, infer

if TYPE_CHECKING:
    from fieldwork.constructs.cells import Axis, SurveyDesign
    from fieldwork.instrument import Instrument, Item
    from fieldwork.statistics.layers import LayerWeights

__all__ = ["MINIMUM_FOR_BUDGET", "MINIMUM_FOR_ORDER", "estimate_for"]

CONSTRUCT = "readiness"
CHAPTER = "08b_practices"
MINIMUM_FOR_ORDER = 10  # other respondents of a role, below which it takes no part in the order of roles
MINIMUM_FOR_BUDGET = 30  # organisations: five coefficients, of which two are nearly the same variable
_HELD = 2_000_000  # numbers per array held at a time, 16 MB
_MANY = 5000  # organisations beyond which no single one is taken out of the means that order roles


def estimate_for(instrument: Instrument, design: SurveyDesign, wanted: Sequence[Wanted] = ()) -> Estimates:
    """Estimate the readiness diagnostic, how it compares with what is claimed, and what goes with stalls.

    **Profile** per role: `ready_share`, the share that answers an ordinal item tagged with the construct in its top two points
    (Korn-Graubard interval), and `claim_minus_role`, the mean over organisations of what the other informants say of the
    organisation's preparedness (slot `prep_org`) less the role's own (slot `prep`).

    **Claim against the least prepared role** (`role`: who makes the claim): `claim_minus_lowest` = mean over organisations with
    three informants of the claim less the own answer of that one of its roles which stands lowest *in the other
    organisations*. The lowest of k noisy answers is low by chance alone; an answer chosen by what others of the role said is
    not, so that the statistic is nil among executives who are alike, and a wrong choice makes it smaller, never larger.
    `claim_minus_lower_quartile` takes the 25th percentile of the roles in that order (interpolated, type 7 of Hyndman and Fan
    1996); `claim_minus_lowest_raw` takes the lowest answer as given, is biased upward and is shown beside it. Roles with fewer
    than 10 respondents in other organisations take no part.

    **Budget**: slot `bud_chg`, mean of an organisation's answers, on the strongest, median and weakest conviction (slot
    `conv_priv`) and the number of informants: standardised `coefficient` of each, and `coefficient_difference`, strongest less
    median. 30 organisations of three informants are needed.

    **Stalls**: see `constructs.stalls`.

    At the population level weights and replicates are the design's; at the system level organisations count once. What the
    wave does not ask, and what claims want beyond that (`wanted`), is `not_assessable` with the reason.
    """
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    role = axis(instrument, instrument.keys.role) if instrument.keys.role else None
    _profile(ledger, instrument, role)
    _claims(ledger, instrument, role)
    _budget(ledger, instrument)
    stalls.add_to(ledger, instrument, wanted)
    ledger.complete(wanted, "the wave does not ask it, or has no such role or answer")
    return ledger.table()


# -------------------------------------------------------------------------------------------------------------- profile


def _profile(ledger: Ledger, instrument: Instrument, role: Axis | None) -> None:
    items = profiled(instrument)
    if role is None or not items:
        what = "roles" if role is None else "ordinal items on readiness"
        ledger.refuse("prep", "ready_share", "proportion", f"the instrument of this wave has no {what}")
        return
    code = ledger.design.codes(role)
    for item in items:
        values = answers(ledger.design, item)
        ready, top = values >= sorted(item.codes)[-2], bands(item)[-1].name
        for g, label in enumerate(role.labels):
            used = (code == g) & ~np.isnan(values)
            sets = set_of(item, "bands", f"role={label}")
            share(ledger, item.name, "ready_share", ready, used, adds_up=sets, cell=top, role=label)


# ---------------------------------------------------------------------------------------------- claim and roles' own


@dataclass(frozen=True, slots=True)
class _Table:
    """Own answers and claims of organisations by role; executives of one role in one organisation are averaged.

    Attributes
    ----------
    own, claim : (T, R) float    Scale points by organisation and role, nan where the role gave none.
    role : (n,) int              Role of each respondent, -1 for none.
    value : (n,) float           Own answer of each respondent.
    layers : (L, T)              Weight of each organisation in each layer.
    """

    own: Floats
    claim: Floats
    role: Ints
    value: Floats
    layers: LayerWeights


def _claims(ledger: Ledger, instrument: Instrument, role: Axis | None) -> None:
    design = ledger.design
    own, claim = instrument.slot("prep"), instrument.slot("prep_org")
    reason = ""
    if role is None:
        reason = "the instrument of this wave has no roles"
    elif not own or not claim:
        reason = (
            f"the wave does not ask for the preparedness of {'the own function' if not own else 'the organisation'}"
        )
    elif not design.has_organisations:
        reason = "the survey names no organisations"
    if reason or role is None:
        for statistic in (
            "claim_minus_lowest",
            "claim_minus_lower_quartile",
            "claim_minus_lowest_raw",
            "claim_minus_role",
        ):
            for label in role.labels if role is not None else ("",):
                ledger.refuse(own[0].name if own else "prep", statistic, "scale_point", reason, role=label)
        return
    table = _own_and_claim(design, role, own[0], claim[0])
    _claim_minus_role(ledger, table, role, own[0].name)
    _claim_minus_order(ledger, table, role, own[0].name)


def _own_and_claim(design: SurveyDesign, role: Axis, own: Item, claim: Item) -> _Table:
    code = design.codes(role)
    given = answers(design, own)
    said = answers(design, claim)
    teams = np.arange(design.multiplier.shape[1])
    R = len(role.codes)

    def table(values: Floats) -> Floats:
        used = (code >= 0) & ~np.isnan(values)
        place = design.cluster[used] * R + code[used]
        n = np.bincount(place, minlength=len(teams) * R)
        total = np.bincount(place, weights=values[used], minlength=len(teams) * R)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total / n).reshape(-1, R)

    layers = cluster_weights(design, teams)
    return _Table(table(given), table(said), code, given, layers)


def _claim_minus_role(ledger: Ledger, table: _Table, role: Axis, measure: str) -> None:
    """Add, per role, what the other roles claim of the organisation less what the role says of itself."""
    there = ~np.isnan(table.claim)
    total, count = np.nansum(table.claim, axis=1), there.sum(axis=1)
    for g, label in enumerate(role.labels):
        others = count - there[:, g]
        with np.errstate(invalid="ignore", divide="ignore"):
            claimed = (total - np.nan_to_num(table.claim[:, g])) / others
        used = (others > 0) & ~np.isnan(table.own[:, g])
        values = (claimed - table.own[:, g])[used]
        _mean(ledger, measure, "claim_minus_role", values, table.layers[:, used], int((others[used] + 1).sum()),
              role=label)  # fmt: skip


def _mean(
    ledger: Ledger, measure: str, statistic: str, values: Floats, layers: LayerWeights, n: int, *, role: str
) -> None:
    """Add a mean over organisations of one number each (T,)."""
    sums = layers @ np.column_stack([values, np.ones(len(values))])
    _add_mean(ledger, measure, statistic, sums[:, 0], sums[:, 1], len(values), n, role=role)


def _add_mean(
    ledger: Ledger, measure: str, statistic: str, total: Floats, mass: Floats, clusters: int, n: int, *, role: str,
    note: str = "",
) -> None:  # fmt: skip
    """Add a mean over organisations from its layers: weighted sum and sum of weights (L,)."""
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, "role": role}
    if clusters < MINIMUM_ORGANISATIONS:
        reason = f"{MINIMUM_ORGANISATIONS} organisations that can be compared are needed; there are {clusters}"
        ledger.refuse(measure, statistic, "scale_point", reason, **base)
        return
    mean = total / mass
    small = f"small base: fewer than {SMALL_BASE} organisations" if clusters < SMALL_BASE else ""
    ledger.add_inferred(
        measure, statistic, "scale_point", infer(mean, clusters), smallest=(max(clusters, 1), clusters),
        status="flagged" if small else "ok", reason="; ".join(text for text in (note, small) if text), **base,
    )  # fmt: skip


def _claim_minus_order(ledger: Ledger, table: _Table, role: Axis, measure: str) -> None:
    """Add the claim of each role less the lowest, and the lower quartile, of the roles of the same organisation."""
    design = ledger.design
    answered = (table.role >= 0) & ~np.isnan(table.value)
    n = np.bincount(table.role[answered], minlength=len(role.codes))
    most = np.zeros(len(role.codes), dtype=np.int64)  # respondents of the role in one organisation
    if answered.any():
        key, per = np.unique(design.cluster[answered] * len(role.codes) + table.role[answered], return_counts=True)
        np.maximum.at(most, key % len(role.codes), per)
    takes_part = n - most >= MINIMUM_FOR_ORDER
    own = np.where(takes_part, table.own, np.nan)
    informs = ~np.isnan(own)
    can = informs.sum(axis=1) >= MINIMUM_INFORMANTS
    left_out = [label for label, there in zip(role.labels, takes_part, strict=True) if not there]
    note = (
        f"without {listed(left_out, limit=20)}: fewer than {MINIMUM_FOR_ORDER} respondents elsewhere"
        if left_out
        else ""
    )
    if not can.any():
        largest = int(informs.sum(axis=1).max(initial=0))
        reason = f"{MINIMUM_INFORMANTS} informants of one organisation are needed; the most are {largest}"
        for label in role.labels:
            for statistic in ("claim_minus_lowest", "claim_minus_lower_quartile", "claim_minus_lowest_raw"):
                ledger.refuse(measure, statistic, "scale_point", reason, role=label)
        return
    claim = table.claim[can]
    known = (~np.isnan(claim)).astype(np.float64)
    layers = table.layers[:, can]
    sums = layers @ np.column_stack([np.nan_to_num(claim), known])
    claimed, mass = sums[:, : len(role.labels)], sums[:, len(role.labels) :]
    lowest, quartile = _sums_in_order(design, table, own, answered, can)
    raw = np.nanmin(own[can], axis=1)
    for g, label in enumerate(role.labels):
        used = known[:, g] > 0
        size = int(informs[can][used].sum())
        for statistic, found in (("claim_minus_lowest", lowest), ("claim_minus_lower_quartile", quartile)):
            _add_mean(ledger, measure, statistic, claimed[:, g] - found[:, g], mass[:, g], int(used.sum()), size,
                      role=label, note=note)  # fmt: skip
        _raw(ledger, measure, claim[used, g] - raw[used], size, label)


def _raw(ledger: Ledger, measure: str, values: Floats, n: int, label: str) -> None:
    clusters = len(values)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, "role": label}
    if clusters < MINIMUM_ORGANISATIONS:
        reason = f"{MINIMUM_ORGANISATIONS} organisations that can be compared are needed; there are {clusters}"
        ledger.refuse(measure, "claim_minus_lowest_raw", "scale_point", reason, **base)
        return
    ledger.add(
        measure, "claim_minus_lowest_raw", "scale_point", smallest=(clusters, clusters), estimate=float(values.mean()),
        std_error=float(values.std(ddof=1) / math.sqrt(clusters)), status="flagged",
        reason="biased upward: the lowest of several answers is low by chance; shown beside the other, never judged", **base,
    )  # fmt: skip


def _sums_in_order(
    design: SurveyDesign, table: _Table, own: Floats, answered: npt.NDArray[np.bool_], can: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Weighted sums (L, R), over the organisations where role r claims something, of the own answers found in order."""
    known = (~np.isnan(table.claim[can])).astype(np.float64)
    if can.sum() > _MANY:
        return _sums_in_one_order(design, table, own, answered, can)
    lowest: list[Floats] = []
    quartile: list[Floats] = []
    for weight, low, low_quarter in _ordered(design, table, own, answered, can):
        lowest.append((weight * low) @ known)
        quartile.append((weight * low_quarter) @ known)
    return np.concatenate(lowest), np.concatenate(quartile)


def _sums_in_one_order(
    design: SurveyDesign, table: _Table, own: Floats, answered: npt.NDArray[np.bool_], can: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return the same for many organisations: one organisation does not move the order of the others' means.

    Layers have few orders between them; each is looked up once and summed in all layers.
    """
    roles = own.shape[1]
    weight = layer_weights(design, answered)
    role, mean = table.role[answered], own[design.cluster[answered], table.role[answered]]
    rows = np.arange(len(role))
    sums = weight @ sparse.coo_array(
        (np.r_[mean, np.ones(len(role))], (np.r_[rows, rows], np.r_[role, roles + role])), shape=(len(role), 2 * roles)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums[:, :roles] / sums[:, roles:]
    orders, which = np.unique(np.argsort(means, axis=1, kind="stable"), axis=0, return_inverse=True)
    values, missing = np.nan_to_num(own[can]), np.isnan(own[can])
    known = (~np.isnan(table.claim[can])).astype(np.float64)
    layers = table.layers[:, can]
    out = np.empty((2, len(means), roles))
    for number, order in enumerate(orders):
        first = np.argsort(missing[:, order], axis=1, kind="stable")
        found = _in_order(np.take_along_axis(values[:, order], first, axis=1), missing)
        mine = which.reshape(-1) == number
        for k, picked in enumerate(found):
            out[k, mine] = (layers @ (picked[:, None] * known))[mine]
    return out[0], out[1]


def _in_order(ordered: Floats, missing: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Lowest place and lower quartile (..., T) of answers in order (..., T, R), those that are missing last."""
    k = (~missing).sum(axis=1)
    place = 0.25 * (k - 1)
    low, part = np.floor(place).astype(np.int64), place - np.floor(place)
    row = np.arange(len(k))
    quartile = (1.0 - part) * ordered[..., row, low] + part * ordered[..., row, np.minimum(low + 1, k - 1)]
    return ordered[..., 0], quartile


def _ordered(
    design: SurveyDesign, table: _Table, own: Floats, answered: npt.NDArray[np.bool_], can: npt.NDArray[np.bool_]
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Own answers (l, T) at the lowest place, and at the lower quartile, of the order of roles in the other organisations.

    A role's mean without organisation t is (S - w y) / (W - w), S and W its weighted sums over all organisations, w and y
    those of t. The order is made anew in every layer. Yields blocks of layers, each after the weights (l, T) of its teams.
    """
    teams = np.flatnonzero(can)
    values = np.nan_to_num(own[teams])
    missing = np.isnan(own[teams])
    layers, at = table.layers[:, teams], 0
    for weight in _by_organisation(design, table, answered, own.shape):
        mass, mine = weight.sum(axis=1)[:, None, :], weight[:, teams]
        total = (weight * np.nan_to_num(own)).sum(axis=1)[:, None, :]
        with np.errstate(invalid="ignore", divide="ignore"):
            elsewhere = (total - mine * values) / (mass - mine)
        order = np.argsort(np.where(missing, np.inf, elsewhere), axis=2, kind="stable")
        ordered = np.take_along_axis(np.broadcast_to(values, order.shape), order, axis=2)
        yield layers[at : at + len(weight)], *_in_order(ordered, missing)
        at += len(weight)


def _by_organisation(
    design: SurveyDesign,
    table: _Table,
    answered: npt.NDArray[np.bool_],
    shape: tuple[int, ...],
) -> Iterator[Floats]:
    """Yield blocks of layers of the weight that each role of each organisation carries (l, organisations, R)."""
    weight = layer_weights(design, answered)
    cell = design.cluster[answered] * shape[1] + table.role[answered]
    order = np.argsort(cell, kind="stable")
    present, start = np.unique(cell[order], return_index=True)
    size = max(1, _HELD // max(shape[0] * shape[1], 1))
    for low in range(0, len(weight), size):
        rows = weight[low : low + size]
        block = np.zeros((len(rows), shape[0] * shape[1]))
        block[:, present] = np.add.reduceat(rows[:, order], start, axis=1)
        yield block.reshape(-1, *shape)


# --------------------------------------------------------------------------------------------------------------- budget


def _budget(ledger: Ledger, instrument: Instrument) -> None:
    design = ledger.design
    change, conviction = instrument.slot("bud_chg"), instrument.slot("conv_priv")
    measure = change[0].name if change else "bud_chg"
    parts = ("strongest", "median", "weakest")
    names: list[tuple[str, str]] = [("coefficient_difference", ""), *(("coefficient", part) for part in parts)]

    def refuse(reason: str, **base: Any) -> None:  # noqa: ANN401
        for statistic, item in names:
            ledger.refuse(measure, statistic, "index", reason, item=item, **base)

    if not change or not conviction:
        refuse(f"the wave does not ask for {'the change of the budget' if not change else 'private conviction'}")
        return
    if not design.has_organisations:
        refuse("the survey names no organisations")
        return
    team = informants_of(design, answers(design, conviction[0]))
    outcome = team.mean_of(answers(design, change[0]))
    used = ~np.isnan(outcome)
    base = {"n": int(team.count[used].sum()), "n_organisations": int(used.sum())}
    if used.sum() < MINIMUM_FOR_BUDGET:
        refuse(
            f"{MINIMUM_FOR_BUDGET} organisations with {MINIMUM_INFORMANTS} convictions and a budget are needed; "
            f"there are {int(used.sum())}",
            **base,
        )
        return
    columns = [team.strongest(), team.median(), team.weakest()]
    # The strongest of many is stronger than that of few: the size of the team is held fixed, where teams differ in it.
    columns += [team.count.astype(np.float64)] if np.ptp(team.count[used]) else []
    predictors = np.column_stack(columns)[used]
    weight = team.layers(design)[:, used]
    y = outcome[used]
    try:
        fit = least_squares(np.column_stack([np.ones(len(y)), predictors]), y, weight)
    except DesignError as error:
        refuse(f"the model cannot be fitted: {error.title}", **base)
        return
    spread = _deviation(np.column_stack([predictors[:, :3], y]), weight)
    if (spread[0] < NIL).any():
        refuse("convictions or budgets do not vary between organisations", **base)
        return
    standard = fit.coefficients[:, 1:4] * spread[:, :3] / spread[:, 3:]
    together = float(np.corrcoef(predictors[:, 0], predictors[:, 1])[0, 1])
    note = f"strongest and median conviction correlate {together:.2f} over organisations"
    clusters = int(used.sum())
    for statistic, item in names:
        layers = standard[:, parts.index(item)] if item else standard[:, 0] - standard[:, 1]
        ledger.add_inferred(
            measure, statistic, "index", regression_inference(layers, clusters, fit.parameters), item=item,
            smallest=(clusters, clusters), reason=note, **base,
        )  # fmt: skip


def _deviation(values: Floats, weight: LayerWeights) -> Floats:
    """Weighted standard deviation of columns (T, q) in every layer (L, q)."""
    total = weight.sum(axis=1, keepdims=True)
    mean = weight @ values / total
    return np.asarray(np.sqrt(np.maximum(weight @ values**2 / total - mean**2, 0.0)))
