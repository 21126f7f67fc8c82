"""Misalignment as a phase: whether the spread between roles rises and then falls as organisations move through the stages.

Two lines instead of a curve: a quadratic bends without a peak, so the slopes before and after a break are tested apart
(Simonsohn 2018, AMPPS 1, 538-555). The break is where the spread is widest, picked after looking, so intervals hold for all
breaks at once. Population level (roles across organisations) and system level (executives of one organisation) carry
different names. Claim H22. Own code: it is one of the measures that the project exists for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldwork.constructs.cells import cluster_weights, distinct
from fieldwork.constructs.ledger import NIL, Ledger, interval_of
from fieldwork.constructs.waves import Fielded, errors_of, layers_of, role_positions, scores
from fieldwork.errors import listed
from fieldwork.statistics.replicates import Floats, Ints, infer, replicated_totals
from fieldwork.statistics.spread import spread

if TYPE_CHECKING:
    from fieldwork.constructs.ledger import Estimates

__all__ = ["estimate_for", "slopes_at"]

CONSTRUCT = "adoption_gradient"
CHAPTER = "08_movement"
MINIMUM_STAGES = 4  # measures.md section 1, H22
MINIMUM_STAGE = 30  # executives of a stage, or organisations at system level; H22
MINIMUM_CELL = 10  # respondents of a role within a stage, from 5 organisations: what the gate asks of a group
MINIMUM_CLUSTERS = 5
MINIMUM_INFORMANTS = 3  # executives of an organisation, measures.md section 2
SIDES = ("before", "after")
_Z = 1.959963984540054


def slopes_at(values: Floats, at: Floats, peak: int) -> tuple[Floats, Floats]:
    """Least-squares slopes of values (..., S) over the stages up to a break and from it on, the break in both.

    >>> [round(float(side), 12) for side in slopes_at(np.array([0.2, 0.4, 0.6, 0.3, 0.1]), np.arange(5.0), 2)]
    [0.2, -0.25]
    """
    sides = []
    for pick in (slice(0, peak + 1), slice(peak, None)):
        x = at[pick] - at[pick].mean()
        sides.append(np.asarray(values[..., pick] @ x / (x @ x), dtype=np.float64))
    return sides[0], sides[1]


def estimate_for(wave: Fielded) -> Estimates:
    """Test whether the spread between roles rises and then falls over the stages of the organisation, by two lines.

    Population level: `role_sd_by_stage`, the noise-corrected spread of role means among executives whose organisation is at
    a stage, and `slope_before_peak`, `slope_after_peak`, least-squares slopes of it over the stages, in scale points per
    stage. System level: `system_sd_by_stage`, the mean over organisations at a stage of the SD among their own executives
    (n - 1), and `system_slope_before_peak`, `system_slope_after_peak`. The break is the inner stage with the widest spread;
    because it is picked after looking, the intervals of the slopes hold for every inner stage as break at once.

    Needs four stages with 30 executives each (system level: 30 organisations), and roles with 10 executives from 5
    organisations at each of them; else `not_assessable`. Stages compared at one time are not one organisation's path.
    """
    instrument, keys = wave.instrument, wave.instrument.keys
    ledger = Ledger(wave.design, instrument.wave, CHAPTER, CONSTRUCT)
    measures = [item.name for item in instrument.measures(CONSTRUCT) if item.kind == "ordinal"]
    lacking = [
        words
        for words, there in (
            ("roles", keys.role), ("question on the stage of the organisation", keys.stage_organisation),
            ("measure of the gradient", measures),
        )
        if not there
    ]  # fmt: skip
    if lacking:
        for prefix in ("", "system_"):
            _refuse(ledger, "", prefix, f"the wave has no {listed(lacking)}")
        return ledger.table()
    for measure in measures:
        _population(ledger, wave, measure)
        _system(ledger, wave, measure)
    return ledger.table()


def _refuse(ledger: Ledger, measure: str, prefix: str, reason: str, **fields: Any) -> None:  # noqa: ANN401
    for side in SIDES:
        ledger.refuse(measure, f"{prefix}slope_{side}_peak", "scale_point", reason, **fields)


def _stages(wave: Fielded) -> tuple[Floats, list[str]]:
    """Stage of the organisation as each respondent sees it, as a position (n,), nan for none; and the stages' ids."""
    name = wave.instrument.keys.stage_organisation
    codes = sorted(wave.instrument.item(name).codes)
    values = scores(wave, name)
    place = np.where(np.isfinite(values), np.searchsorted(codes, np.nan_to_num(values)), np.nan)
    options = {option.code: option.id for option in wave.instrument.item(name).options}
    return np.asarray(place, dtype=np.float64), [options[code] for code in codes]


def _population(ledger: Ledger, wave: Fielded, measure: str) -> None:
    design = wave.design
    stage, ids = _stages(wave)
    role = role_positions(wave, wave.instrument.role_ids)
    values = scores(wave, measure)
    kept = np.isfinite(values) & np.isfinite(stage) & (role >= 0)
    S, R = len(ids), len(wave.instrument.role_ids)
    place = stage[kept].astype(np.int64)
    per_stage = np.bincount(place, minlength=S)
    used: Ints = np.flatnonzero(per_stage >= MINIMUM_STAGE).astype(np.int64)
    if len(used) < MINIMUM_STAGES:
        reason = f"{MINIMUM_STAGES} stages with {MINIMUM_STAGE} executives are needed; there are {len(used)}"
        _refuse(ledger, measure, "", reason, n=int(kept.sum()))
        return
    answers, which = np.unique(values[kept], return_inverse=True)
    totals = replicated_totals([place, role[kept], which], **layers_of(design, kept))
    weight, total = np.zeros((design.replicates + 1, S * R)), np.zeros((design.replicates + 1, S * R))
    cell = totals.levels[:, 0] * R + totals.levels[:, 1]
    for column, where, score in zip(totals.weight.T, cell, answers[totals.levels[:, 2]], strict=True):
        weight[:, where] += column
        total[:, where] += column * score
    n = np.bincount(place * R + role[kept], minlength=S * R).reshape(S, R)
    clusters = distinct(design.cluster[kept], place * R + role[kept], S * R).reshape(S, R)
    enough = ((n >= MINIMUM_CELL) & (clusters >= MINIMUM_CLUSTERS))[used].all(axis=0)
    if enough.sum() < 2:
        reason = f"two roles with {MINIMUM_CELL} executives at each stage are needed; there are {int(enough.sum())}"
        _refuse(ledger, measure, "", reason, n=int(kept.sum()))
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (total / weight).reshape(-1, S, R)[:, used][:, :, enough]
    counts = clusters[np.ix_(used, enough)]
    points, draws = np.empty(len(used)), np.empty((design.replicates, len(used)))
    left = [
        role.label
        for role, there in zip(wave.instrument.roles, np.atleast_1d(enough).tolist(), strict=True)
        if not there
    ]
    said = f"without {listed(left)}: fewer than {MINIMUM_CELL} at some stage" if left else ""
    here, part = design.cluster[kept], np.atleast_1d(enough)[role[kept]]
    for s, position in enumerate(used):
        narrow = errors_of(means[:, s], counts[s], wide=False)
        wide = errors_of(means[:, s], counts[s])
        fit = spread(means[0, s], wide, covariance=np.atleast_2d(np.cov(narrow, rowvar=False)))
        points[s], draws[:, s] = fit.sd_corrected, fit.sd_draws
        ledger.add(
            measure, "role_sd_by_stage", "scale_point", draws=fit.sd_draws, estimate=fit.sd_corrected, stage=ids[position],
            smallest=(int(n[position, enough].min()), int(counts[s].min())), n=int(n[position, enough].sum()),
            n_organisations=len(np.unique(here[part & (place == position)])), reason=said,
            **interval_of(fit.sd_draws),
        )  # fmt: skip
    base = {
        "n": int(n[used][:, enough].sum()), "n_organisations": len(np.unique(here[part & np.isin(place, used)])),
        "smallest": (int(n[used][:, enough].min()), int(counts.min())),
    }  # fmt: skip
    _two_lines(ledger, measure, "", points, draws, used, ids, base)


def _system(ledger: Ledger, wave: Fielded, measure: str) -> None:
    design = wave.design
    if not design.has_organisations:
        _refuse(ledger, measure, "system_", "the survey names no organisations")
        return
    stage, ids = _stages(wave)
    told = pd.DataFrame({"cluster": design.cluster, "value": scores(wave, measure), "stage": stage})
    by_organisation = told.groupby("cluster").agg(n=("value", "count"), sd=("value", "std"), stage=("stage", "median"))
    by_organisation = by_organisation[(by_organisation["n"] >= MINIMUM_INFORMANTS) & by_organisation["stage"].notna()]
    # A median between two stages counts as the later one: somebody has seen it reached.
    place = np.floor(by_organisation["stage"].to_numpy(dtype=np.float64) + 0.5).astype(np.int64)
    count = np.bincount(place, minlength=len(ids))
    used: Ints = np.flatnonzero(count >= MINIMUM_STAGE).astype(np.int64)
    if len(used) < MINIMUM_STAGES:
        reason = (
            f"{MINIMUM_STAGES} stages with {MINIMUM_STAGE} organisations of {MINIMUM_INFORMANTS} informants are needed; "
            f"there are {len(used)}"
        )
        _refuse(ledger, measure, "system_", reason, n=int(by_organisation["n"].sum()), n_organisations=len(place))
        return
    drawn = cluster_weights(design, by_organisation.index.to_numpy())
    member = (place[:, None] == used).astype(np.float64)
    layers = drawn @ (by_organisation["sd"].to_numpy()[:, None] * member) / (drawn @ member)
    inference = infer(layers, count[used])
    informants = np.bincount(place, weights=by_organisation["n"].to_numpy(dtype=np.float64), minlength=len(ids))
    for s, position in enumerate(used):
        se = float(inference.std_error[s])
        ledger.add(
            measure, "system_sd_by_stage", "scale_point", draws=inference.draws[:, s], estimate=float(layers[0, s]),
            std_error=se, conf_low=float(inference.conf_low[s]), conf_high=float(inference.conf_high[s]), conf_level=0.95,
            stage=ids[position], n=int(informants[position]), n_organisations=int(count[position]),
            reason="within organisations: not the spread between roles across organisations",
        )  # fmt: skip
    base = {
        "n": int(informants[used].sum()), "n_organisations": int(count[used].sum()),
        "smallest": (int(informants[used].min()), int(count[used].min())),
    }  # fmt: skip
    _two_lines(ledger, measure, "system_", layers[0], inference.draws, used, ids, base)


def _two_lines(
    ledger: Ledger, measure: str, prefix: str, points: Floats, draws: Floats, used: Ints, ids: Sequence[str],
    base: dict[str, Any],
) -> None:  # fmt: skip
    """Add the slopes at the inner stage with the widest spread, with intervals that hold for all inner stages."""
    at = np.asarray(used, dtype=np.float64)
    inner = range(1, len(at) - 1)
    values = {peak: slopes_at(points, at, peak) for peak in inner}
    errors = {
        peak: [np.asarray(v - d) for v, d in zip(values[peak], slopes_at(draws, at, peak), strict=True)]
        for peak in inner
    }
    std_error = {peak: [float(np.sqrt((e**2).mean())) for e in errors[peak]] for peak in inner}
    if min(min(each) for each in std_error.values()) < NIL:
        _refuse(ledger, measure, prefix, "the spread is nil at every stage and in every replicate", **base)
        return
    largest = np.max(
        [np.abs(e) / se for peak in inner for e, se in zip(errors[peak], std_error[peak], strict=True)], axis=0
    )
    critical = max(float(np.quantile(largest, 0.95, method="higher")), _Z)
    peak = 1 + int(np.argmax(points[1:-1]))
    said = f"widest at '{ids[used[peak]]}', picked after looking: the interval holds for every inner stage at once"
    for side, words in enumerate(SIDES):
        wide = values[peak][side] - errors[peak][side] * critical / _Z
        ledger.add(
            measure, f"{prefix}slope_{words}_peak", "scale_point", draws=wide, estimate=float(values[peak][side]),
            reason=f"per stage; {said}", method="cluster_bootstrap_simultaneous",
            **(interval_of(wide) | {"std_error": std_error[peak][side]}), **base,
        )  # fmt: skip
