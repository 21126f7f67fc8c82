"""Influence-weighted misalignment: distances between roles where influence is, and what goes with them.

Own code: no library weighs distances by influence. Population level: distances between roles' means across organisations.
Rows `system_*` are another construct: distances between the executives of one organisation. Worked example: measures.md 2.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import Axis, axis, cell_table, cluster_weights
from fieldwork.constructs.ledger import Ledger, counted, interval_of
from fieldwork.errors import ConvergenceError, DesignError, listed
from fieldwork.statistics.influence_model import influence_weighted_gap
from fieldwork.statistics.layers import spans
from fieldwork.statistics.logistic import logistic_layers
from fieldwork.statistics.replicates import infer, named_stream, replicated_totals, small_sample_factor, t_scale
from fieldwork.statistics.spread import spread

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.statistics.replicates import Floats, Ints

__all__ = ["Weights", "add_rows", "distances"]

MINIMUM_FOR_GAP = 20  # respondents per role, as for a spread between roles, measures.md 2.1
MINIMUM_CLUSTERS = 5  # organisations, measures.md 2.8
MINIMUM_INFORMANTS = 3  # per organisation, measures.md section 2, conventions
MINIMUM_EVENTS = 30  # respondents who say yes, and who say no: ten for each of three effects
FEW_CLUSTERS = 15  # organisations below which an interval is flagged
_POPULATION = ("weighted_gap", "unweighted_gap", "weighted_gap_difference")
_SYSTEM = ("system_weighted_gap", "system_gap", "system_gap_difference")
_ASSOCIATION = ("interaction_log_odds", "gap_log_odds", "influence_log_odds")


@dataclass(frozen=True, slots=True)
class Weights:
    """Influence of roles, as weights and as an index.

    Attributes
    ----------
    roles : tuple of str        Ids of the K roles.
    share : (1 + B, K)          Shares of influence, adding up to 1 in each layer.
    influence : (1 + B, K)      Influence index in each layer: scale points above the mean, or share over parity less 1.
    n, clusters : (K,) int      Respondents and organisations behind each.
    """

    roles: tuple[str, ...]
    share: Floats
    influence: Floats
    n: Ints
    clusters: Ints


def add_rows(ledger: Ledger, instrument: Instrument, weights: Weights | None) -> None:
    """Write influence-weighted distances of every ordinal measure of the gradient, and their association with stalls.

    `weighted_gap` is sum w_i w_j |m_i - m_j| / sum w_i w_j over pairs of roles, m the roles' means and w their shares of
    influence; `unweighted_gap` has equal weights, `weighted_gap_difference` is the first less the second: above nil where
    influential roles stand further apart than others. Observed means are apart by noise alone, so the estimate takes
    noise-corrected (shrunken) means and the interval confidence draws of the true ones (`statistics.spread`).

    `system_weighted_gap`, `system_gap` and `system_gap_difference` are means over organisations with three informants or more
    of the same distances between their own executives' answers, weighted by the roles' shares of influence in the
    population. An answer is what was said and no estimate of a mean, so nothing is corrected.

    `interaction_log_odds` is the coefficient of distance times influence in logit P(stall) = a + b distance + c influence +
    d distance x influence: executives, their distance in points from the mean of their colleagues' answers to the slot
    `conf`, their role's influence in points. Log odds per point of each: `gap_log_odds` is that of the distance of a role of
    average influence, `influence_log_odds` that of influence where nobody stands apart. Influence is estimated anew in every
    replicate; organisations are the clusters. An association: nobody was made to stand apart.
    """
    roles = axis(instrument, instrument.keys.role) if instrument.keys.role else None
    measures = [item for item in instrument.measures("adoption_gradient") if item.kind == "ordinal"]
    stalls = [item for item in instrument.slot("stall") if item.kind == "flag"]
    if not measures:
        ledger.refuse("", _POPULATION[0], "scale_point", "the instrument of this wave has no measures of the gradient")
    for item in measures:
        if roles is None or weights is None:
            why = "the survey has no roles" if roles is None else "the influence of roles is not assessable"
            for statistic in (*_POPULATION, *_SYSTEM):
                ledger.refuse(item.name, statistic, "scale_point", why)
            continue
        _population(ledger, item, roles, weights)
        _system(ledger, item, roles, weights)
    named = [item for item in instrument.slot("conf") if item.kind == "ordinal"] or measures
    reason = (
        "the instrument of this wave asks nothing about stalled initiatives" if not stalls
        else "there is no measure to take distances on" if not named
        else "the survey has no roles" if roles is None
        else "the influence of roles is not assessable" if weights is None
        else ""
    )  # fmt: skip
    measure = stalls[0].name if stalls else "stall"
    if reason or roles is None or weights is None:
        for statistic in _ASSOCIATION:
            ledger.refuse(measure, statistic, "log_ratio", reason)
        return
    _association(ledger, stalls[0], named[0], roles, weights)


def _scores(item: Item) -> tuple[float, ...]:
    return tuple(float(code) for code in sorted(item.codes))


def _answers(ledger: Ledger, item: Item) -> Floats:
    column = ledger.design.responses[item.name].astype("Float64")
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


# ------------------------------------------------------------------------------------------------------------ population


def _population(ledger: Ledger, item: Item, roles: Axis, weights: Weights) -> None:
    design = ledger.design
    scores = _scores(item)
    answers = _answers(ledger, item)
    place = np.where(np.isnan(answers), -1, np.searchsorted(scores, np.nan_to_num(answers, nan=scores[0])))
    table = cell_table(design, item.name, place, scores, roles, Axis(roles.name, (), ()))
    at = [roles.labels.index(role) for role in weights.roles]
    n = table.rows[:-1].sum(axis=(1, 2))[at]
    clusters = table.organisations[:-2, -1][at]
    fewest = MINIMUM_CLUSTERS if design.has_organisations else MINIMUM_FOR_GAP
    keep = (n >= MINIMUM_FOR_GAP) & (clusters >= fewest)
    if keep.sum() < 2:
        where = f" from {MINIMUM_CLUSTERS} organisations" if design.has_organisations else ""
        reason = (
            f"a distance needs two roles with {MINIMUM_FOR_GAP} respondents{where} and with influence; "
            f"there are {int(keep.sum())}"
        )
        for statistic in _POPULATION:
            ledger.refuse(item.name, statistic, "scale_point", reason, n=int(n.sum()))
        return
    weight = table.weight[:, :-1].sum(axis=2)[:, np.array(at)[keep]]
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = (weight @ np.array(scores)) / weight.sum(axis=-1)
    factor = small_sample_factor(clusters[keep])
    errors = (theta[1:] - theta[0]) * factor
    shapes = named_stream(design.seed, f"{item.name}/weighted_gap").standard_normal(errors.shape)
    apart = spread(theta[0], errors * t_scale(clusters[keep]), covariance=np.cov(errors, rowvar=False), shapes=shapes)
    share = weights.share[:, keep]
    points = [influence_weighted_gap(apart.shrunken, w) for w in (share[0], np.ones(int(keep.sum())))]
    draws = [influence_weighted_gap(apart.mean_draws, share[1:]), influence_weighted_gap(apart.mean_draws)]
    left = [role for role, kept in zip(weights.roles, keep, strict=True) if not kept]
    left += [role for role in roles.labels if role not in weights.roles]
    inside = np.isfinite(answers) & (design.codes(roles) >= 0)
    base: dict[str, Any] = {
        "n": int(n[keep].sum()), "n_organisations": design.clusters(inside),
        "smallest": (
            min(int(n[keep].min()), int(weights.n[keep].min())),
            min(int(clusters[keep].min()), int(weights.clusters[keep].min())),
        ),
        "carried": design.carried(inside), "status": "flagged" if left else "ok",
        "reason": f"without {listed(left, limit=20)}: too few respondents" if left else "",
    }  # fmt: skip
    for statistic, point, drawn in zip(
        _POPULATION, (*points, points[0] - points[1]), (*draws, draws[0] - draws[1]), strict=True
    ):
        ledger.add(
            item.name, statistic, "scale_point", draws=drawn, estimate=float(point), **interval_of(drawn), **base
        )


# --------------------------------------------------------------------------------------------------- within organisations


def distances(answer: Floats, role: Ints, cluster: Ints, roles: int) -> tuple[Ints, Floats]:
    """Distances between roles within organisations in which three roles or more answered.

    Parameters
    ----------
    answer : (n,) answers, nan for none. role : (n,) place of the role, -1 for none. cluster : (n,) organisation.

    Two executives of one role stand where their mean stands. Returns the clusters (G,) and |difference| per pair i < j of
    roles (G, roles (roles - 1) / 2), nan where one of the two did not answer.

    >>> distances(np.array([5.0, 3.0, 2.0]), np.array([0, 1, 2]), np.array([7, 7, 7]), 3)
    (array([7]), array([[2., 3., 1.]]))
    """
    used = np.isfinite(answer) & (role >= 0)
    homes, place = np.unique(cluster[used], return_inverse=True)
    total, count = np.zeros((len(homes), roles)), np.zeros((len(homes), roles))
    np.add.at(total, (place.reshape(-1), role[used]), answer[used])
    np.add.at(count, (place.reshape(-1), role[used]), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        position = np.where(count > 0, total / count, np.nan)
    enough = (count > 0).sum(axis=1) >= MINIMUM_INFORMANTS
    i, j = np.triu_indices(roles, 1)
    return homes[enough], np.abs(position[enough][:, i] - position[enough][:, j])


def _system(ledger: Ledger, item: Item, roles: Axis, weights: Weights) -> None:
    design = ledger.design
    if not design.has_organisations:
        for statistic in _SYSTEM:
            ledger.refuse(item.name, statistic, "scale_point", "the survey names no organisations")
        return
    place = Axis(roles.name, tuple(roles.codes[roles.labels.index(role)] for role in weights.roles), weights.roles)
    role = design.codes(place)
    answers = _answers(ledger, item)
    homes, apart = distances(answers, role, design.cluster, len(weights.roles))
    inside = np.isfinite(answers) & (role >= 0) & np.isin(design.cluster, homes)
    base: dict[str, Any] = {"n": int(inside.sum()), "n_organisations": len(homes)}
    if len(homes) < MINIMUM_CLUSTERS:
        reason = (
            f"{MINIMUM_CLUSTERS} organisations with {MINIMUM_INFORMANTS} informants are needed; there are {len(homes)}"
        )
        for statistic in _SYSTEM:
            ledger.refuse(item.name, statistic, "scale_point", reason, **base)
        return
    i, j = np.triu_indices(len(weights.roles), 1)
    known = np.isfinite(apart)
    product = weights.share[:, i] * weights.share[:, j]
    held = known.astype(np.float64)
    gaps = np.nan_to_num(apart)
    plain = np.nansum(apart, axis=1) / held.sum(axis=1)
    multiplier = cluster_weights(design, homes)
    total = multiplier.sum(axis=1)
    weighted = [
        (multiplier[part] * ((product[part] @ gaps.T) / (product[part] @ held.T))).sum(axis=1)
        for part in spans(multiplier, 3)
    ]
    layers = [np.concatenate(weighted) / total, (multiplier @ plain) / total]
    for statistic, layer in zip(_SYSTEM, (*layers, layers[0] - layers[1]), strict=True):
        ledger.add_inferred(
            item.name, statistic, "scale_point", infer(layer, len(homes)), carried=design.carried(inside),
            reason="within organisations: not the distance between roles across organisations", **base,
        )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- stalled initiatives


def _distance_from_others(answer: Floats, cluster: Ints, has_organisations: bool) -> Floats:
    """Distance (n,) of each answer from the mean of the others of the organisation; nan with fewer than two others."""
    if not has_organisations:
        return np.full(len(answer), np.nan)
    known = np.isfinite(answer)
    count = np.bincount(cluster[known], minlength=int(cluster.max(initial=0)) + 1)
    total = np.bincount(cluster[known], weights=answer[known], minlength=len(count))
    others = count[cluster] - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.abs(answer - (total[cluster] - answer) / others)
    return np.where(known & (others >= MINIMUM_INFORMANTS - 1), gap, np.nan)


def _association(ledger: Ledger, stall: Item, measure: Item, roles: Axis, weights: Weights) -> None:
    design = ledger.design
    gap = _distance_from_others(_answers(ledger, measure), design.cluster, design.has_organisations)
    said = _answers(ledger, stall)
    place = Axis(roles.name, tuple(roles.codes[roles.labels.index(role)] for role in weights.roles), weights.roles)
    role = design.codes(place)
    used = np.isfinite(gap) & np.isfinite(said) & (role >= 0)
    clusters = design.clusters(used)
    yes, no = int((said[used] == 1).sum()), int((said[used] == 0).sum())
    base: dict[str, Any] = {"n": int(used.sum()), "n_organisations": clusters}
    if not design.has_organisations or clusters < MINIMUM_CLUSTERS or min(yes, no) < MINIMUM_EVENTS:
        reason = (
            "the survey names no organisations, so nobody's distance from colleagues is known"
            if not design.has_organisations
            else f"{MINIMUM_CLUSTERS} organisations with {MINIMUM_INFORMANTS} informants, and {MINIMUM_EVENTS} executives who "
            f"report a stall and as many who do not, are needed; there are {clusters} organisations, "
            f"{counted(yes, MINIMUM_EVENTS)} and {counted(no, MINIMUM_EVENTS)} executives"
        )
        for statistic in _ASSOCIATION:
            ledger.refuse(stall.name, statistic, "log_ratio", reason, **base)
        return
    values, step = np.unique(np.round(gap[used], 9), return_inverse=True)
    keys: list[npt.NDArray[np.int64]] = [role[used], step.reshape(-1), (said[used] == 1).astype(np.int64)]
    totals = replicated_totals(
        keys,
        design.cluster[used],
        design.weight[used],
        design.multiplier,
        layer_factor=design.layer_factor,
        factor_cell=None if design.factor_cell is None else design.factor_cell[used],
    )
    cells, seat = np.unique(totals.levels[:, :2], axis=0, return_inverse=True)
    trials, hits = np.zeros((len(totals.weight), len(cells))), np.zeros((len(totals.weight), len(cells)))
    for column, (cell, answer) in enumerate(zip(seat.reshape(-1), totals.levels[:, 2], strict=True)):
        trials[:, cell] += totals.weight[:, column]
        hits[:, cell] += totals.weight[:, column] * answer
    distance = values[cells[:, 1]]
    index = weights.influence[:, cells[:, 0]]
    predictors = np.stack(
        [np.ones_like(index), np.broadcast_to(distance, index.shape), index, index * distance], axis=2
    )
    try:
        fit = logistic_layers(hits, trials, predictors)
    except (DesignError, ConvergenceError) as error:
        for statistic in _ASSOCIATION:
            ledger.refuse(stall.name, statistic, "log_ratio", f"{error.title}: {error.got}", **base)
        return
    few = f"small base: fewer than {FEW_CLUSTERS} organisations" if clusters < FEW_CLUSTERS else ""
    thinnest = (min(yes, no, int(weights.n.min())), min(clusters, int(weights.clusters.min())))
    for statistic, column in zip(_ASSOCIATION, (3, 1, 2), strict=True):
        ledger.add_inferred(
            stall.name, statistic, "log_ratio", infer(fit.coefficient[:, column], clusters), method="logit",
            smallest=thinnest, carried=design.carried(used), status="flagged" if few else "ok",
            reason="; ".join(text for text in ("an association within one wave", few) if text), **base,
        )  # fmt: skip
