"""Role Influence Index (RII): who is seen to sway decisions, self-ratings held out; gatekeepers and validators.

Own code: it is one of the constructs that the project exists for. Population level (roles across organisations) but for the
rows `srm_*`, which speak of executives who rate each other within one organisation. Definitions and worked examples:
measures.md 2.6. Who can stop and who must agree is in `gatekeepers`, what weighs misalignment by influence in `influence_gap`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.constructs import gatekeepers, influence_gap
from fieldwork.constructs.cells import axis, cluster_weights
from fieldwork.constructs.gatekeepers import numbers
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Estimates, Ledger, counted, interval_of
from fieldwork.errors import DesignError, listed
from fieldwork.statistics.influence_model import (
    bradley_terry,
    group_components,
    point_shares,
    shrink_effects,
    target_effects,
)
from fieldwork.statistics.layers import Layers, LayerWeights, layer_weights, spans
from fieldwork.statistics.ranks import rank_sets
from fieldwork.statistics.replicates import infer, named_stream, small_sample_factor, t_scale
from fieldwork.statistics.spread import spread

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument
    from fieldwork.statistics.influence_model import TargetEffects
    from fieldwork.statistics.replicates import Floats, Ints

__all__ = ["DISPROPORTIONATE", "MINIMUM", "Battery", "batteries", "estimate_for", "group_ratings"]

Mask = npt.NDArray[np.bool_]

CONSTRUCT = "influence"
CHAPTER = "07_influence"
MINIMUM = 10  # respondents behind a target, measures.md 2.8: below it nothing is printed
MINIMUM_CLUSTERS = 5  # organisations behind it, measures.md 2.8
MINIMUM_FOR_RANKS = 40  # respondents per role, measures.md 2.3
FEW_CLUSTERS = 40  # below it rank sets take Bonferroni's critical value, see `statistics.ranks`
MINIMUM_GROUP = 4  # executives who rate each other, without which the social relations model is not identified
DISPROPORTIONATE = 1.25  # times parity, measures.md 2.6
_RANKS = ("rank_low", "rank_high", "tier")
_ALONE = "no interval: one organisation, or all answers alike"


@dataclass(frozen=True, slots=True)
class Battery:
    """Ratings that each respondent gives to several targets.

    Attributes
    ----------
    name : str                 Family of items: the measure.
    kind : str                 `ordinal` ratings, `number` for points that are divided, `rank` for an order.
    columns : tuple of str     Columns of the responses, one per target.
    targets : tuple of str     Ids of the targets.
    of_roles : bool            The targets are roles of the survey, so that respondents may be targets themselves.
    low : float                Lowest point of the scale: no influence.
    existence : tuple of str   Flag per target that says whether the firm has it; "" where it is not asked.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    of_roles: bool
    low: float
    existence: tuple[str, ...]

    def ratings(self, responses: pd.DataFrame) -> Floats:
        """Ratings (n, R), nan where none was given and where the respondent says that the firm lacks the target."""
        values = np.column_stack([numbers(responses[name]) for name in self.columns])
        for j, flag in enumerate(self.existence):
            if flag:
                values[numbers(responses[flag]) == 0, j] = np.nan
        return values

    def key(self, target: int) -> dict[str, Any]:
        """Columns of the estimates table that name a target: the role, or the item where targets are no roles."""
        return {"role" if self.of_roles else "item": self.targets[target]}


def batteries(instrument: Instrument, kind: str) -> tuple[Battery, ...]:
    """Return the instrument's batteries of a kind that measure influence: families of one item per target."""
    exists = {item.member: item.name for item in instrument.slot("role_exists") if item.kind == "flag"}
    found = []
    for family in instrument.families:
        items = [item for item in instrument.family(family.name) if CONSTRUCT in item.constructs and item.kind == kind]
        if len(items) < 2:
            continue
        targets = tuple(item.member for item in items)
        of_roles = bool(instrument.keys.role) and set(targets) <= set(instrument.role_ids)
        low = float(min(items[0].codes)) if items[0].codes else 0.0
        flags = tuple(exists.get(target, "") if of_roles else "" for target in targets)
        found.append(Battery(family.name, kind, tuple(i.name for i in items), targets, of_roles, low, flags))
    return tuple(found)


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate the Role Influence Index and its companions for every item that the instrument tags with the construct.

    `influence` of a target is its effect in rating_ij = rater_i + target_j + error (`influence_model.target_effects`): scale
    points above the mean of the targets, raters' leniency and thereby organisations removed, self-ratings held out,
    each replicate raked again and solved again. A role that the respondent's firm does not have is not rated there, which is
    no low influence. `influence_shrunken` is its best linear predictor, which measures.md calls the index: it carries no
    interval, because one around a shrunken number does not hold its level where roles hardly differ; the two agree to
    `influence_reliability`. `influence_share` is the mean share of a rater's points (rating less the scale's lowest point, or
    points divided), relative to an even split among the targets of the rater's firm, scaled to add up to 1, so that parity is
    1 / targets; `influence_share_ratio` is share over parity, and `disproportionate` is 1 where the lower end of its interval
    lies above 1.25. Ranks are simultaneous 95% sets (`statistics.ranks`).

    `influence_by_rater` is the effect of the target (role) for raters of one role (role_2). `self_other_gap` is the mean
    self-rating less the mean of others, `self_other_gap_adjusted` the same with rater and target effects removed. Rows `srm_*`
    are variance shares and reciprocities of the social relations model over organisations in which four executives or more
    rate each other. `gatekeeper_share` and `validator_share` are shares who name the role, among respondents of other roles
    whose firm has it; `nobody_share` who name none. `choice_log_odds` are Bradley-Terry abilities where influence is asked by
    paired or ranked choices.

    Weights, missing answers: survey weights count throughout; a missing rating leaves the rater out for that target only. A
    target with fewer than 10 raters or 5 organisations is left out of effects and shares altogether, since the others would
    give it away by the sum; ranks want 40 raters. Intervals are 95%, t on organisations, shares of points on the log scale,
    shares of people Korn and Graubard's. What cannot be had is `not_assessable` with the number that is missing.
    """
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    roles = axis(instrument, instrument.keys.role) if instrument.keys.role else None
    holder = _holders(design, roles.codes if roles else (), roles.labels if roles else ())
    rated, divided = batteries(instrument, "ordinal"), batteries(instrument, "number")
    if not rated and not divided and not instrument.measures(CONSTRUCT):
        ledger.refuse("inf", "influence", "scale_point", "the instrument of this wave asks nothing about influence")
    weights: influence_gap.Weights | None = None
    for battery in rated:
        found = _rated(ledger, battery, holder, roles.labels if roles else ())
        if battery.of_roles and weights is None and found is not None:
            weights = found
    for battery in divided:
        found = _divided(ledger, battery, holder)
        if battery.of_roles and weights is None and found is not None:
            weights = found
    for slot, statistic in (("veto", "gatekeeper_share"), ("signoff", "validator_share")):
        for item in instrument.slot(slot):
            if item.kind == "multi":
                gatekeepers.add_rows(ledger, instrument, item, statistic, holder)
    _choices(ledger, instrument, holder)
    influence_gap.add_rows(ledger, instrument, weights)
    return ledger.table()


def _holders(design: SurveyDesign, codes: Sequence[object], labels: Sequence[str]) -> npt.NDArray[np.str_]:
    """Role id of each respondent (n,), "" where none is given."""
    if design.role is None or not codes:
        return np.full(len(design.weight), "", dtype=object).astype(str)
    places = design.codes(design.role)
    names = np.array([*labels, ""], dtype=object)
    return np.asarray(names[places].astype(str))


# ------------------------------------------------------------------------------------------------------ rated batteries


def _rated(
    ledger: Ledger, battery: Battery, holder: npt.NDArray[np.str_], roles: Sequence[str]
) -> influence_gap.Weights | None:
    """Write all rows of a battery of ratings; return shares by role, to weigh distances with."""
    design = ledger.design
    values = battery.ratings(design.responses)
    own = holder[:, None] == np.array(battery.targets)[None, :] if battery.of_roles else np.zeros(values.shape, bool)
    others = np.isfinite(values) & ~own
    n, clusters = _bases(design, others)
    kept = _kept(ledger, battery, n, clusters, "influence", "scale_point")
    if len(kept) < 2:
        return None
    fit = _fitted(ledger, battery, values, holder, kept, roles)
    if fit is None:
        return None
    _effects(ledger, battery, fit, others, kept)
    if fit.by_group is not None:
        _heat_map(ledger, battery, fit, kept)
    _self_other(ledger, battery, fit, values, own, kept)
    if battery.of_roles:
        _round_robins(ledger, battery, values, holder)
    weights = _shares(ledger, battery, np.where(others, values - battery.low, np.nan), kept)
    return None if weights is None else replace(weights, influence=fit.effect)


def _bases(design: SurveyDesign, given: Mask) -> tuple[Ints, Ints]:
    """Respondents and organisations behind each column (R,)."""
    clusters = [design.clusters(given[:, j]) for j in range(given.shape[1])]
    return given.sum(axis=0), np.array(clusters, dtype=np.int64)


def _kept(ledger: Ledger, battery: Battery, n: Ints, clusters: Ints, statistic: str, unit: str) -> Ints:
    """Places of the targets whose base carries a row; a row that says so for each of the others."""
    fewest = MINIMUM_CLUSTERS if ledger.design.has_organisations else MINIMUM
    enough = (n >= MINIMUM) & (clusters >= fewest)
    if enough.sum() < 2:
        reason = f"influence needs two targets with {_enough(ledger)}; of {len(n)} there are {int(enough.sum())}"
        ledger.refuse(battery.name, statistic, unit, reason, n=int(n.max(initial=0)))
        return np.empty(0, dtype=np.int64)
    for j in np.flatnonzero(~enough):
        base: dict[str, Any] = {"n": int(n[j]), "n_organisations": int(clusters[j]), **battery.key(int(j))}
        reason = f"rated by {counted(int(n[j]))}: {_enough(ledger)} are needed"
        ledger.refuse(battery.name, statistic, unit, reason, **base)
    return np.flatnonzero(enough)


def _enough(ledger: Ledger) -> str:
    organisations = f" from {MINIMUM_CLUSTERS} organisations" if ledger.design.has_organisations else ""
    return f"{MINIMUM} raters{organisations}"


def _fitted(
    ledger: Ledger,
    battery: Battery,
    values: Floats,
    holder: npt.NDArray[np.str_],
    kept: Ints,
    roles: Sequence[str],
) -> TargetEffects | None:
    design = ledger.design
    row, column = np.nonzero(np.isfinite(values[:, kept]))
    names = np.array(battery.targets)[kept]
    present = np.unique(design.cluster[row])
    # By code: a name for each of millions of ratings would take more memory than all else.
    holders = pd.Categorical(holder)[row]
    try:
        return target_effects(
            row,
            pd.Categorical.from_codes(column, categories=pd.Index(names)),
            values[row, kept[column]],
            own=holders if battery.of_roles else None,
            weight=design.weight[row],
            cluster=design.cluster[row],
            multiplier=design.multiplier[:, present],
            layer_factor=design.layer_factor,
            factor_cell=None if design.factor_cell is None else design.factor_cell[row],
            targets=list(names),
            group=holders if roles else None,
            groups=list(roles) if roles else None,
        )
    except DesignError as error:
        ledger.refuse(battery.name, "influence", "scale_point", f"{error.title}: {error.got}")
        return None


def _effects(ledger: Ledger, battery: Battery, fit: TargetEffects, others: Mask, kept: Ints) -> None:
    """Effects with their intervals, shrunken effects, spread and reliability, rank sets."""
    design = ledger.design
    n, clusters = _bases(design, others[:, kept])
    thinnest = (int(n.min()), int(clusters.min()))
    inference = infer(fit.effect, clusters)
    errors = (fit.effect[1:] - fit.effect[0]) * small_sample_factor(clusters)
    covariance = errors.T @ errors / len(errors)
    spreadless = not (np.isfinite(inference.std_error).all() and (inference.std_error > NIL).all())
    shrunken = None if spreadless else shrink_effects(fit.effect[0], covariance).effect
    for i, j in enumerate(kept):
        base: dict[str, Any] = {
            "n": int(n[i]), "n_organisations": int(clusters[i]), "smallest": thinnest,
            "carried": design.carried(others[:, j]), **battery.key(int(j)),
        }  # fmt: skip
        small = f"small base: fewer than {SMALL_BASE} respondents" if n[i] < SMALL_BASE else ""
        ledger.add(
            battery.name,
            "influence",
            "scale_point",
            draws=None if spreadless else inference.draws[:, i],
            estimate=float(fit.effect[0, i]),
            std_error=math.nan if spreadless else float(inference.std_error[i]),
            conf_low=math.nan if spreadless else float(inference.conf_low[i]),
            conf_high=math.nan if spreadless else float(inference.conf_high[i]),
            conf_level=0.95,
            status="flagged" if spreadless or small else "ok",
            reason=_ALONE if spreadless else small,
            **base,
        )
        if shrunken is not None:
            ledger.add(
                battery.name, "influence_shrunken", "scale_point", estimate=float(shrunken[i]),
                reason="no interval: read it beside influence", **base,
            )  # fmt: skip
    _spread_of(ledger, battery, fit.effect, others[:, kept], covariance, spreadless=spreadless)
    _ranks(ledger, battery, fit.effect, n, clusters, kept)


def _spread_of(
    ledger: Ledger, battery: Battery, layers: Floats, others: Mask, covariance: Floats, *, spreadless: bool
) -> None:
    """How far targets stand apart in influence, noise removed, and how much of the observed order that noise leaves."""
    design = ledger.design
    n, clusters = _bases(design, others)
    anyone = np.asarray(others.any(axis=1))
    base: dict[str, Any] = {
        "n": int(anyone.sum()), "n_organisations": design.clusters(anyone),
        "smallest": (int(n.min()), int(clusters.min())), "carried": design.carried(anyone),
    }  # fmt: skip
    if spreadless:
        for statistic, unit in (("influence_sd", "scale_point"), ("influence_reliability", "index")):
            ledger.refuse(battery.name, statistic, unit, _ALONE, n=base["n"], n_organisations=base["n_organisations"])
        return
    errors = (layers[1:] - layers[0]) * small_sample_factor(clusters) * t_scale(clusters)
    shapes = named_stream(design.seed, f"{battery.name}/influence").standard_normal(errors.shape)
    apart = spread(layers[0], errors, covariance=covariance, shapes=shapes)
    ledger.add(
        battery.name, "influence_sd", "scale_point", draws=apart.sd_draws, estimate=apart.sd_corrected,
        **interval_of(apart.sd_draws), **base,
    )  # fmt: skip
    reliability = apart.sd_draws**2 / (apart.sd_draws**2 + apart.noise)
    ledger.add(
        battery.name, "influence_reliability", "index", draws=reliability, estimate=apart.reliability,
        **interval_of(reliability), **base,
    )  # fmt: skip


def _ranks(ledger: Ledger, battery: Battery, layers: Floats, n: Ints, clusters: Ints, kept: Ints) -> None:
    """Simultaneous rank sets of the targets that carry a rank, and their tiers."""
    enough = (n >= MINIMUM_FOR_RANKS) & (clusters >= MINIMUM_CLUSTERS)
    wanted = f"a rank wants {MINIMUM_FOR_RANKS} raters from {MINIMUM_CLUSTERS} organisations"
    for i in np.flatnonzero(~enough):
        base: dict[str, Any] = {"n": int(n[i]), "n_organisations": int(clusters[i])}
        _unranked(ledger, battery, int(kept[i]), f"{wanted}: {counted(int(n[i]))} rated it", **base)
    at = np.flatnonzero(enough)
    if len(at) < 2:
        for i in at:
            _unranked(ledger, battery, int(kept[i]), f"{wanted}, and two that are ranked")
        return
    design = ledger.design
    errors = (layers[1:][:, at] - layers[0, at]) * small_sample_factor(clusters[at])
    fewest = int(clusters[at].min())
    few = fewest < FEW_CLUSTERS
    if (np.sqrt(np.mean(errors**2, axis=0)) <= NIL).any():
        for i in at:
            _unranked(ledger, battery, int(kept[i]), _ALONE)
        return
    try:
        sets = rank_sets(
            layers[0, at], None if few else errors, covariance=errors.T @ errors / len(errors), df=fewest - 1.0
        )
    except DesignError as error:
        for i in at:
            _unranked(ledger, battery, int(kept[i]), error.title)
        return
    thinnest = (int(n[at].min()), fewest)
    rated = np.isfinite(battery.ratings(design.responses))
    for place, i in enumerate(at):
        for statistic, values in zip(_RANKS, (sets.rank_low, sets.rank_high, sets.tier), strict=True):
            ledger.add(
                battery.name, statistic, "rank", estimate=float(values[place]), conf_level=0.95,
                method="rank_sets_bonferroni" if few else "rank_sets_step_down", n=int(n[i]),
                n_organisations=int(clusters[i]), smallest=thinnest, carried=design.carried(rated[:, int(kept[i])]),
                reason=f"among the {len(at)} that carry a rank" if len(at) < len(n) else "", **battery.key(int(kept[i])),
            )  # fmt: skip


def _unranked(ledger: Ledger, battery: Battery, target: int, reason: str, **base: Any) -> None:  # noqa: ANN401
    for statistic in _RANKS:
        ledger.refuse(battery.name, statistic, "rank", reason, **base, **battery.key(target))


def _heat_map(ledger: Ledger, battery: Battery, fit: TargetEffects, kept: Ints) -> None:
    """Effect of each target for raters of each role.

    The cells of a target, weighted by their ratings, add up to its effect, and so do those of a rater role to nothing beyond
    the effects: one cell held back alone could be worked out. Rater roles with a cell below the minimum are therefore left
    out whole, and so many more that those left out, taken together, reach it at every target; and each cell carries the
    thinnest group of all, so that a stricter gate takes the map or leaves it.
    """
    by_group = fit.by_group
    assert by_group is not None  # noqa: S101 - told by the caller
    design = ledger.design
    n, clusters = by_group.n, by_group.clusters
    possible = np.array(
        [[not battery.of_roles or battery.targets[int(j)] != kind for kind in by_group.groups] for j in kept]
    )
    fewest = MINIMUM_CLUSTERS if design.has_organisations else MINIMUM
    thin = np.array(
        [((n[:, g] < MINIMUM) | (clusters[:, g] < fewest))[possible[:, g]].any() for g in range(n.shape[1])]
    )
    unnamed = fit.n - n.sum(axis=1)  # ratings by respondents who gave no role
    size = np.where(possible, n, np.iinfo(np.int64).max).min(axis=0)
    while thin.any() or unnamed.any():
        hidden = n[:, thin].sum(axis=1) + unnamed
        if ((hidden >= MINIMUM) | (hidden == 0)).all() or thin.all():
            break
        thin[np.flatnonzero(~thin)[np.argmin(size[~thin])]] = True
    if thin.all():
        reason = f"no two roles have {_enough(ledger)} for every target"
        ledger.refuse(battery.name, "influence_by_rater", "scale_point", reason)
        return
    shown = possible & ~thin[None, :]
    smallest = int(n[shown].min())
    hidden = n[:, thin].sum(axis=1) + unnamed
    if hidden.any():
        smallest = min(smallest, int(hidden[hidden > 0].min()))
    thinnest = (smallest, int(clusters[shown].min()))
    inference = infer(by_group.effect, np.maximum(clusters, 1))
    for g, kind in enumerate(by_group.groups):
        if thin[g]:
            reason = (
                f"of raters of this role, or of those who go with them, some target has fewer than {_enough(ledger)}"
            )
            ledger.refuse(battery.name, "influence_by_rater", "scale_point", reason, role_2=kind)
            continue
        for i in np.flatnonzero(shown[:, g]):
            se = float(inference.std_error[i, g])
            sure = math.isfinite(se) and se > NIL
            small = f"small base: fewer than {SMALL_BASE} respondents" if n[i, g] < SMALL_BASE else ""
            ledger.add(
                battery.name,
                "influence_by_rater",
                "scale_point",
                draws=inference.draws[:, i, g] if sure else None,
                estimate=float(by_group.effect[0, i, g]),
                std_error=se if sure else math.nan,
                conf_low=float(inference.conf_low[i, g]) if sure else math.nan,
                conf_high=float(inference.conf_high[i, g]) if sure else math.nan,
                conf_level=0.95,
                n=int(n[i, g]),
                n_organisations=int(clusters[i, g]),
                smallest=thinnest,
                carried=design.concentration(kind),
                status="flagged" if small or not sure else "ok",
                reason=small if sure else _ALONE,
                role_2=kind,
                **battery.key(int(kept[i])),
            )


def _self_other(ledger: Ledger, battery: Battery, fit: TargetEffects, values: Floats, own: Mask, kept: Ints) -> None:
    """Self-rating less the rating by others, raw and with rater and target removed."""
    design = ledger.design
    mine = np.isfinite(values) & own
    if not mine.any():
        reason = (
            "nobody rates the own role: self-ratings are held out in the questionnaire"
            if battery.of_roles
            else "what is rated is no role of the survey, so nobody rates the own"
        )
        ledger.refuse(battery.name, "self_other_gap", "scale_point", reason, n=0)
        return
    gap = fit.self_other
    for i, j in enumerate(kept):
        n_self = int(mine[:, j].sum())
        clusters = design.clusters(mine[:, j])
        base: dict[str, Any] = {"n": n_self, "n_organisations": clusters, **battery.key(int(j))}
        fewest = MINIMUM_CLUSTERS if design.has_organisations else MINIMUM
        for statistic, layers in (("self_other_gap", gap.raw), ("self_other_gap_adjusted", gap.adjusted)):
            if n_self < MINIMUM or clusters < fewest or not np.isfinite(layers[:, i]).all():
                reason = f"self-ratings by {counted(n_self)}: {_enough(ledger)} are needed"
                ledger.refuse(battery.name, statistic, "scale_point", reason, **base)
                continue
            small = f"small base: fewer than {SMALL_BASE} respondents" if n_self < SMALL_BASE else ""
            ledger.add_inferred(
                battery.name, statistic, "scale_point", infer(layers[:, i], clusters),
                status="flagged" if small else "ok", reason=small, **base,
            )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- shares of points


def _divided(ledger: Ledger, battery: Battery, holder: npt.NDArray[np.str_]) -> influence_gap.Weights | None:
    """Write the rows of points that respondents divide among targets."""
    design = ledger.design
    values = battery.ratings(design.responses)
    total = np.nansum(values, axis=1)
    faulty = np.isfinite(values).any(axis=1) & ((np.abs(total - 100.0) > 0.5) | (np.nan_to_num(values) < 0).any(axis=1))
    values[faulty] = np.nan
    own = holder[:, None] == np.array(battery.targets)[None, :] if battery.of_roles else np.zeros(values.shape, bool)
    given = np.where(own, np.nan, values)
    n, clusters = _bases(design, np.isfinite(given))
    kept = _kept(ledger, battery, n, clusters, "influence_share", "proportion")
    note = (
        f"{counted(int(faulty.sum()))} respondents whose points do not add up to 100 are left out"
        if faulty.any()
        else ""
    )
    if len(kept) < 2:
        return None
    return _shares(ledger, battery, given, kept, ranked=True, note=note)


def _shares(
    ledger: Ledger, battery: Battery, points: Floats, kept: Ints, *, ranked: bool = False, note: str = ""
) -> influence_gap.Weights | None:
    """Shares of points against parity; `points` (n, R) of others' roles, nan where there is none."""
    design = ledger.design
    given = points[:, kept]
    total = np.nansum(given, axis=1)
    usable = total > 0
    scaled = np.full_like(given, np.nan)
    scaled[usable] = 100.0 * given[usable] / total[usable, None]
    counted = np.isfinite(scaled)
    n, clusters = _bases(design, counted)
    if (n < MINIMUM).any():
        reason = f"too few raters gave any points where some target could have them: {_enough(ledger)} are needed"
        ledger.refuse(battery.name, "influence_share", "proportion", reason)
        return None
    rows = np.flatnonzero(usable)
    present = np.unique(design.cluster[rows])
    fit = point_shares(
        scaled[rows],
        weight=design.weight[rows],
        cluster=design.cluster[rows],
        multiplier=design.multiplier[:, present],
        layer_factor=design.layer_factor,
        factor_cell=None if design.factor_cell is None else design.factor_cell[rows],
    )
    share = fit.ratio / fit.ratio.sum(axis=1, keepdims=True)
    targets = len(kept)
    thinnest = (int(n.min()), int(clusters.min()))
    positive = (share > 0).all(axis=0)
    with np.errstate(divide="ignore"):
        inference = infer(np.log(share), clusters)
    for i, j in enumerate(kept):
        base: dict[str, Any] = {
            "n": int(n[i]), "n_organisations": int(clusters[i]), "smallest": thinnest,
            "carried": design.carried(counted[:, i]), **battery.key(int(j)),
        }  # fmt: skip
        # The gate counts people on either side of a share; this one divides points, and everybody stands on both sides.
        hits = int(n[i]) // 2
        se = float(inference.std_error[i])
        value = float(share[0, i])
        if not positive[i] or not math.isfinite(se) or se <= NIL:
            reason = "no interval: nobody gave it a point" if not positive[i] else _ALONE
            ledger.add(battery.name, "influence_share", "proportion", estimate=value, hits=hits, status="flagged",
                       reason=reason, **base)  # fmt: skip
            continue
        ends = np.exp([float(inference.conf_low[i]), float(inference.conf_high[i])])
        draws = np.exp(inference.draws[:, i])
        above = bool(ends[0] * targets > DISPROPORTIONATE)
        small = f"small base: fewer than {SMALL_BASE} respondents" if n[i] < SMALL_BASE else ""
        told = [
            text
            for text in (
                f"disproportionate: its lower end lies above {DISPROPORTIONATE} times an even split" if above else "",
                small,
                note,
            )
            if text
        ]
        spoken: dict[str, Any] = {"status": "flagged" if small or note else "ok", "reason": "; ".join(told)}
        for statistic, unit, factor in (
            ("influence_share", "proportion", 1.0),
            ("influence_share_ratio", "ratio", float(targets)),
        ):
            ledger.add(
                battery.name, statistic, unit, draws=draws * factor, estimate=value * factor,
                std_error=se * value * factor, conf_low=float(ends[0] * factor), conf_high=float(ends[1] * factor),
                conf_level=0.95, hits=hits, **spoken, **base,
            )  # fmt: skip
        ledger.add(
            battery.name, "disproportionate", "index", estimate=float(above),
            reason=f"1: the lower end of the share lies above {DISPROPORTIONATE} times an even split; 0: it does not", **base,
        )  # fmt: skip
    if ranked:
        _ranks(ledger, battery, share, n, clusters, kept)
    return influence_gap.Weights(
        tuple(battery.targets[int(j)] for j in kept), share, share * targets - 1.0, n, clusters
    )


# ------------------------------------------------------------------------------------------------ social relations model


def group_ratings(
    battery: Battery, values: Floats, cluster: Ints, holder: npt.NDArray[np.str_]
) -> Iterator[tuple[Ints, Floats]]:
    """Yield (clusters (G,), ratings (G, m, m) among the roles that answered) of organisations with four such roles or more.

    Organisations in which the same roles answered come together. Two executives of one role count as one member, with their
    mean rating. Diagonals are nan.
    """
    place = {target: j for j, target in enumerate(battery.targets)}
    known = np.full(len(holder), -1)
    for target, j in place.items():
        known[holder == target] = j
    rows = np.flatnonzero(known >= 0)
    seat = cluster[rows] * len(place) + known[rows]
    order = np.argsort(seat, kind="stable")
    rows, seat = rows[order], seat[order]
    first = np.flatnonzero(np.r_[True, np.diff(seat) != 0]) if len(seat) else np.empty(0, dtype=np.int64)
    given = np.isfinite(values[rows])
    with np.errstate(invalid="ignore"):
        total = np.add.reduceat(np.where(given, values[rows], 0.0), first, axis=0)
        mean = total / np.add.reduceat(given, first, axis=0, dtype=np.float64)  # nan where nobody rated
    home, member = np.divmod(seat[first], len(place))
    answered = np.zeros((int(cluster.max(initial=-1)) + 1, len(place)), dtype=bool)
    answered[home, member] = True
    start = np.searchsorted(home, np.arange(len(answered)))
    sets, which = np.unique(answered, axis=0, return_inverse=True)
    for k, roles in enumerate(sets):
        members = np.flatnonzero(roles)
        if len(members) < MINIMUM_GROUP:
            continue
        homes = np.flatnonzero(which.reshape(-1) == k)
        ratings = mean[start[homes][:, None] + np.arange(len(members))][:, :, members]
        ratings[:, np.arange(len(members)), np.arange(len(members))] = np.nan
        yield homes, ratings


def _reliability(layers: LayerWeights, own: Floats, partner: Floats, estimate: Floats, expected: Floats) -> Floats:
    """Sum over organisations, by weight, of the share of a target's mean rating that is the target's own (1 + B,)."""
    return np.concatenate(
        [
            (layers[part] * own * partner[part, None] * expected[:, 1] / (estimate[part] @ expected.T)).sum(axis=1)
            for part in spans(layers, 3)
        ]
    )


_NONE = (np.empty(0, dtype=np.int64), np.empty((0, 5)), np.empty(0, dtype=np.int64), np.empty((0, 5)))


def _by_organisation(
    battery: Battery, values: Floats, cluster: Ints, holder: npt.NDArray[np.str_]
) -> tuple[Ints, Floats, Ints, Floats]:
    """Return organisations (G,), their components (G, 5), members (G,) and expected sums of squares of partners (G, 5).

    An organisation that is too sparse to tell actors from partners is not there: its absence in the base counts it.
    """
    by_size: dict[int, list[tuple[Ints, Floats]]] = {}
    for homes, ratings in group_ratings(battery, values, cluster, holder):
        by_size.setdefault(ratings.shape[1], []).append((homes, ratings))
    found = []
    # Those of one size are solved together, whichever roles they have.
    for size, groups in by_size.items():
        homes, ratings = (np.concatenate(each) for each in zip(*groups, strict=True))
        found.append((homes, np.full(len(homes), size), *group_components(ratings)))
    if not found:
        return _NONE
    homes, members, components, expected = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.argsort(homes)
    order = order[np.isfinite(components[order]).all(axis=1)]
    return homes[order], components[order], members[order], expected[order]


def _round_robins(ledger: Ledger, battery: Battery, values: Floats, holder: npt.NDArray[np.str_]) -> None:
    """Variance shares and reciprocities over the organisations whose executives rate each other."""
    design = ledger.design
    statistics = (
        "srm_actor_share", "srm_partner_share", "srm_relationship_share", "srm_generalised_reciprocity",
        "srm_dyadic_reciprocity", "srm_partner_reliability",
    )  # fmt: skip
    homes, components, members, expected = (
        _by_organisation(battery, values, design.cluster, holder) if design.has_organisations else _NONE
    )
    people = int(members.sum())
    if len(homes) < MINIMUM_CLUSTERS:
        reason = (
            "the survey names no organisations"
            if not design.has_organisations
            else f"{MINIMUM_CLUSTERS} organisations in which {MINIMUM_GROUP} executives rate each other are needed; "
            f"there are {len(homes)}"
        )
        for statistic in statistics:
            ledger.refuse(battery.name, statistic, "index", reason, n=people, n_organisations=len(homes))
        return
    layer = cluster_weights(design, homes)
    own = np.asarray(members - 1.0, dtype=np.float64)
    total = layer @ own
    estimate = layer @ (own[:, None] * components) / total[:, None]
    actor, partner, cross, relationship, mutual = estimate.T
    variances = np.maximum(np.column_stack([actor, partner, relationship]), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = variances / variances.sum(axis=1, keepdims=True)
        reliability = _reliability(layer, own, np.maximum(partner, 0.0), estimate, expected) / total
        both = np.where(np.minimum(actor, partner) > 0, cross / np.sqrt(actor * partner), np.nan)
        dyadic = np.where(relationship > 0, mutual / relationship, np.nan)
    base: dict[str, Any] = {"n": people, "n_organisations": len(homes), "method": "social_relations_model"}
    for statistic, layers in zip(statistics, (*shares.T, both, dyadic, reliability), strict=True):
        if not np.isfinite(layers).all():
            reason = "a variance that it divides by is nil in the sample or in a replicate"
            ledger.refuse(battery.name, statistic, "index", reason, **base)
            continue
        ledger.add_inferred(
            battery.name, statistic, "index", infer(layers, len(homes)),
            reason="within organisations: executives who rate each other", **base,
        )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- paired choices


def _choices(ledger: Ledger, instrument: Instrument, holder: npt.NDArray[np.str_]) -> None:
    """Bradley-Terry abilities from rankings of targets, or from items that offer two of them."""
    design = ledger.design
    for battery in batteries(instrument, "rank"):
        values = battery.ratings(design.responses)
        i, j = np.triu_indices(len(battery.targets), 1)
        names = np.array(battery.targets)
        own = holder[:, None] == names[None, :] if battery.of_roles else np.zeros(values.shape, bool)
        values = np.where(own, np.nan, values)
        row, pair = np.nonzero(np.isfinite(values[:, i]) & np.isfinite(values[:, j]))
        # Rank 1 is the most influential: the lower number wins.
        won = (values[row, i[pair]] < values[row, j[pair]]) + 0.5 * (values[row, i[pair]] == values[row, j[pair]])
        _abilities(ledger, battery.name, row, names[i[pair]], names[j[pair]], won, of_roles=battery.of_roles)
    pairs = [
        item
        for item in instrument.measures(CONSTRUCT)
        if item.kind == "single" and len([option for option in item.options if option.id not in item.exclusive]) == 2
    ]
    if len(pairs) < 2:
        return
    rows, first, second, won_by = [], [], [], []
    for item in pairs:
        one, two = (option.id for option in item.options)
        answer = design.responses[item.name].astype("string").fillna("").to_numpy(dtype=object).astype(str)
        at = np.flatnonzero(np.isin(answer, [one, two]) & ~np.isin(holder, [one, two]))
        rows.append(at)
        first.append(np.full(len(at), one, dtype=object))
        second.append(np.full(len(at), two, dtype=object))
        won_by.append((answer[at] == one).astype(np.float64))
    of_roles = {option.id for item in pairs for option in item.options} <= set(instrument.role_ids)
    _abilities(
        ledger, pairs[0].family or "+".join(item.name for item in pairs), np.concatenate(rows),
        np.concatenate(first).astype(str), np.concatenate(second).astype(str), np.concatenate(won_by), of_roles=of_roles,
    )  # fmt: skip


def _abilities(
    ledger: Ledger,
    measure: str,
    row: Ints,
    first: npt.NDArray[np.str_],
    second: npt.NDArray[np.str_],
    won: npt.ArrayLike,
    *,
    of_roles: bool,
) -> None:
    design = ledger.design
    statistic, unit = "choice_log_odds", "log_ratio"
    key = "role" if of_roles else "item"
    while True:
        # Abilities add up to nil, so an item that is compared by too few is left out with its comparisons.
        people = {name: np.unique(row[(first == name) | (second == name)]) for name in np.unique(np.r_[first, second])}
        thin = [name for name, who in people.items() if len(who) < MINIMUM]
        if not thin:
            break
        for name in thin:
            reason = f"compared by {counted(len(people[name]))}: {_enough(ledger)} are needed"
            ledger.refuse(measure, statistic, unit, reason, n=len(people[name]), **{key: str(name)})
        kept = ~np.isin(first, thin) & ~np.isin(second, thin)
        row, first, second, won = row[kept], first[kept], second[kept], np.asarray(won)[kept]
    if len(people) < 2:
        ledger.refuse(measure, statistic, unit, f"no two targets are compared by {_enough(ledger)}")
        return
    columns, place = np.unique(row, return_inverse=True)
    # Raking factors differ within an organisation, so each respondent is a column of its own in the replicates.
    cell = None if design.factor_cell is None else design.factor_cell[columns]
    drawn = layer_weights(design.multiplier, design.cluster[columns], None, design.layer_factor, cell)
    try:
        fit = bradley_terry(
            first,
            second,
            won,
            weight=design.weight[row],
            cluster=place.reshape(-1),
            multiplier=drawn if isinstance(drawn, Layers) else drawn[1:],
        )
    except DesignError as error:
        ledger.refuse(measure, statistic, unit, f"{error.title}: {error.got}", n=len(columns))
        return
    base = {name: (len(who), design.clusters(who)) for name, who in people.items()}
    thinnest = (min(n for n, _ in base.values()), min(clusters for _, clusters in base.values()))
    for i, name in enumerate(fit.items):
        chosen = np.zeros(len(design.weight), dtype=bool)
        chosen[people[name]] = True
        ledger.add_inferred(
            measure, statistic, unit, infer(fit.ability[:, i], base[name][1]), n=base[name][0],
            n_organisations=base[name][1], smallest=thinnest, carried=design.carried(chosen), method="bradley_terry",
            reason=f"against the mean of {listed(fit.items, limit=20)}", **{key: name},
        )  # fmt: skip
