"""Organisational Adoption Gradient (OAG): how far roles stand apart on a measure, beside how far stages do.

Population level throughout (roles compared across organisations), but for `system_sd`, the spread among the executives of
one organisation, which is another construct and carries another name. Definition, minimum bases and worked example:
measures.md 2.1. Own code: it is one of the five constructs that the project exists for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.constructs.cells import Axis, CellTable, SurveyDesign, axis, cell_table, cluster_weights, distinct
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Estimates, Ledger, Wanted, interval_of
from fieldwork.errors import DesignError, listed
from fieldwork.statistics.adjustment import adjusted_effects
from fieldwork.statistics.proportion import korn_graubard, replicate_places
from fieldwork.statistics.replicates import Floats, Ints, infer, replicated_totals, small_sample_factor, t_scale
from fieldwork.statistics.spread import Spread, log_ratio, spread

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = [
    "MINIMUM_FOR_RANGE",
    "MINIMUM_FOR_SPREAD",
    "MINIMUM_INFORMANTS",
    "Contrast",
    "Measure",
    "estimate",
    "estimate_for",
]

Mask = npt.NDArray[np.bool_]

CONSTRUCT = "adoption_gradient"
MINIMUM_FOR_SPREAD = 20  # respondents per role, measures.md 2.1
MINIMUM_FOR_RANGE = 40  # respondents per role, measures.md 2.1
MINIMUM_CLUSTERS = 5  # organisations per role, so that no spread rests on a role that the gate holds back
MINIMUM_INFORMANTS = 3  # per organisation, measures.md section 2, conventions
_ADJUSTED = ("role_sd_adjusted", "stage_sd_adjusted", "gradient_ratio_log_adjusted")


@dataclass(frozen=True, slots=True)
class Measure:
    """An ordinal item as the construct reads it.

    Attributes
    ----------
    name : str              Column of the responses.
    scores : tuple of float Scale points from lowest to highest; an answer is one of them.
    """

    name: str
    scores: tuple[float, ...]

    def index(self, responses: pd.DataFrame) -> Ints:
        """Position of each answer on the scale (n,), -1 where there is none."""
        values = responses[self.name].to_numpy(dtype=np.float64, na_value=np.nan)
        place = np.searchsorted(self.scores, np.nan_to_num(values, nan=-np.inf))
        place = np.clip(place, 0, len(self.scores) - 1)
        return np.where(np.asarray(self.scores)[place] == values, place, -1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two cells to be split into a role part and a stage part (Kitagawa 1955).

    Attributes
    ----------
    role, stage : str         Labels of the first cell. role_2, stage_2 : str    of the second.
    """

    role: str
    stage: str
    role_2: str
    stage_2: str


def estimate(
    design: SurveyDesign,
    measures: Sequence[Measure],
    role: Axis,
    stage: Axis,
    *,
    wave: str,
    chapter: str = "04_gradient",
    organisation_stage: Axis | None = None,
    adjust_for: Sequence[Axis] = (),
    contrasts: Sequence[Contrast] = (),
    only: Collection[Wanted] | None = None,
) -> Estimates:
    """Estimate the Organisational Adoption Gradient and its companions for each measure.

    For role means theta_r, OAG = `role_sd_corrected` = sqrt(max(Var_r(theta_r) - noise, 0)) in scale points, a
    finite-population SD over the roles asked, noise the sampling variance between roles (`statistics.spread`). Beside it:
    the same for stages, `gradient_ratio_log` = log of their ratio, observed and shrunken ranges, `icc1` and `icc2`, the
    probability of superiority of the most over the least advanced role (interval simultaneous over all pairs, since the
    pair was picked after looking), spread and range of roles among the executives of each stage, the mutually adjusted spreads
    of role and organisation stage, Kitagawa's split of each contrast, and the share that answered in the top two of every
    measure.

    The interval of `range_difference` covers .86 to .87 where stages differ and roles do not (docs/validity.md): a spread of
    nil can only be overstated. Judge by `gradient_ratio_log`, which covers .93 to .97.

    Parameters
    ----------
    design : responses, weights and replicates. measures : ordinal items, scale points.
    role, stage : the two classifications; equal weight per role and per stage.
    organisation_stage, adjust_for : classifications for the adjusted spreads; None and () leave those out.
    contrasts : pairs of cells for Kitagawa's split.
    only : rows that are wanted; what serves none of them is left out. None: all.

    Missing answers leave a respondent out of that measure only; a missing role or stage out of that margin only. Roles and
    stages with fewer than 20 respondents do not enter a spread and are named in `reason`; with fewer than 40 in one of them
    a range is flagged. Intervals are 95%: t for means, percentiles of confidence draws for spreads.

    Returns rows of the estimates table with statistics role_mean, role_mean_shrunken, stage_mean, role_sd_corrected,
    stage_sd_corrected, gradient_ratio_log, range_raw, range_shrunken, stage_range_raw, stage_range_shrunken,
    range_difference, icc1, icc2, probability_superiority, system_sd, role_sd_adjusted, stage_sd_adjusted,
    gradient_ratio_log_adjusted, naive_gap, role_part, stage_part, high_both_share.
    """
    ledger = Ledger(
        design, wave, chapter, CONSTRUCT, only=None if only is None else frozenset(each.key for each in only)
    )
    for measure in measures:
        table = cell_table(design, measure.name, measure.index(design.responses), measure.scores, role, stage)
        if ledger.wants_any(measure.name, ("role_mean", "stage_mean")):
            _means(ledger, table)
        _gradient(ledger, table)
        _within_stages(ledger, table)
        if ledger.wants_any(measure.name, ("system_sd",)):
            _system(ledger, measure)
        for contrast in contrasts:
            _kitagawa(ledger, table, contrast)
        if organisation_stage is not None and ledger.wants_any(measure.name, _ADJUSTED):
            _adjusted(ledger, measure, role, organisation_stage, adjust_for)
    if len(measures) > 1:
        _high_share(ledger, measures, role, stage)
    return ledger.table()


def estimate_for(
    instrument: Instrument,
    design: SurveyDesign,
    contrasts: Sequence[tuple[str, str, str, str]] = (),
    *,
    only: Collection[Wanted] | None = None,
) -> Estimates:
    """Estimate the gradient of every measure that the instrument tags with the construct; see `estimate`.

    Roles, stages, scales and what to adjust for are the instrument's. `contrasts` are (role, stage, role_2, stage_2). A
    survey without roles or stages, or whose measures were not asked in the wave, gives one row that says so.
    """
    keys = instrument.keys
    measures = [
        Measure(item.name, tuple(float(option.code) for option in item.options))
        for item in instrument.measures(CONSTRUCT)
        if item.kind == "ordinal"
    ]
    lacking = [
        what
        for what, there in (("roles", keys.role), ("stages", keys.stage), ("measures of the gradient", measures))
        if not there
    ]
    if lacking:
        ledger = Ledger(design, instrument.wave, "04_gradient", CONSTRUCT)
        ledger.refuse("", "role_sd_corrected", "scale_point", f"the instrument of this wave has no {listed(lacking)}")
        return ledger.table()
    return estimate(
        design,
        measures,
        axis(instrument, keys.role),
        axis(instrument, keys.stage),
        wave=instrument.wave,
        organisation_stage=axis(instrument, keys.stage_organisation) if keys.stage_organisation else None,
        adjust_for=[axis(instrument, name) for name in keys.adjust_for],
        contrasts=[Contrast(*contrast) for contrast in contrasts],
        only=only,
    )


def _mean(weight: Floats, scores: Floats) -> Floats:
    total = weight.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((weight @ scores) / total)


def _variance(weight: Floats, scores: Floats) -> Floats:
    mean = _mean(weight, scores)
    return _mean(weight, scores**2) - mean**2


def _effective(n: Floats | Ints, variance: Floats, std_error: Floats) -> Floats:
    """Respondents of a simple random sample with the same standard error, at most n (Korn and Graubard 1998)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(std_error > NIL, np.minimum(variance / std_error**2, n), n)


def _means(ledger: Ledger, table: CellTable) -> None:
    roles, stages = table.role.labels, table.stage.labels
    K = len(table.scores)
    places: list[tuple[str, Floats, Ints, Ints, list[dict[str, str]]]] = [
        ("role_mean", table.by_role(), table.rows[:-1].sum(axis=1), table.organisations[:-2, -1],
         [{"role": r} for r in roles]),
        ("stage_mean", table.by_stage(), table.rows[:, :-1].sum(axis=0), table.organisations[-1, :-2],
         [{"stage": s} for s in stages]),
        ("role_mean", table.by_cell().reshape(len(table.weight), -1, K), table.rows[:-1, :-1].reshape(-1, K),
         table.organisations[:-2, :-2].reshape(-1), [{"role": r, "stage": s} for r in roles for s in stages]),
    ]  # fmt: skip
    for statistic, weight, counts, clusters, keys in places:
        n = counts.sum(axis=1)
        inference = infer(_mean(weight, table.scores), clusters)
        effective = _effective(n, _variance(weight[0], table.scores), inference.std_error)
        for i, key in enumerate(keys):
            base: dict[str, Any] = {"n": int(n[i]), "n_organisations": int(clusters[i]), **key}
            if n[i] == 0:
                ledger.refuse(table.measure, statistic, "scale_point", "nobody answered", **base)
                continue
            alike = int((counts[i] > 0).sum()) < 2
            spreadless = bool(clusters[i] < 2 or alike or inference.std_error[i] < NIL)
            ledger.add(
                table.measure,
                statistic,
                "scale_point",
                draws=None if spreadless else inference.draws[:, i],
                alike=alike,
                estimate=float(inference.estimate[i]),
                std_error=math.nan if spreadless else float(inference.std_error[i]),
                conf_low=math.nan if spreadless else float(inference.conf_low[i]),
                conf_high=math.nan if spreadless else float(inference.conf_high[i]),
                conf_level=0.95,
                n_effective=float(effective[i]),
                status="flagged" if spreadless or n[i] < SMALL_BASE else "ok",
                reason=_small(int(n[i]), spreadless=spreadless),
                **base,
            )


def _small(n: int, *, spreadless: bool) -> str:
    if spreadless:
        return "no interval: one organisation, or all answers alike"
    return f"small base: fewer than {SMALL_BASE} respondents" if n < SMALL_BASE else ""


@dataclass(frozen=True, slots=True)
class _Side:
    """One classification's means, ready for a spread."""

    spread: Spread
    labels: tuple[str, ...]
    dropped: tuple[str, ...]
    smallest: int
    fewest: int
    n: int
    clusters: int
    within: float

    @property
    def thinnest(self) -> tuple[int, int]:
        """Respondents and organisations of the thinnest group."""
        return self.smallest, self.fewest


def _side(
    ledger: Ledger, measure: str, labels: tuple[str, ...], layers: Floats, n: Ints, clusters: Ints, name: str,
    within: float, organisations: int,
) -> _Side | None:  # fmt: skip
    """Spread of the levels whose base carries it; None with fewer than two of them."""
    keep = (n >= MINIMUM_FOR_SPREAD) & (clusters >= MINIMUM_CLUSTERS)
    if keep.sum() < 2:
        return None
    theta = layers[:, keep]
    errors = (theta[1:] - theta[0]) * small_sample_factor(clusters[keep]) * t_scale(clusters[keep])
    shapes = _stream(ledger.design.seed, f"{measure}/{name}").standard_normal(errors.shape)
    covariance = np.cov((theta[1:] - theta[0]) * small_sample_factor(clusters[keep]), rowvar=False)
    return _Side(
        spread(theta[0], errors, covariance=covariance, shapes=shapes),
        tuple(label for label, kept in zip(labels, keep, strict=True) if kept),
        tuple(label for label, kept in zip(labels, keep, strict=True) if not kept),
        int(n[keep].min()),
        int(clusters[keep].min()),
        int(n[keep].sum()),
        organisations,
        within,
    )  # fmt: skip


def _stream(seed: int, name: str) -> np.random.Generator:
    """Return a generator of its own for each name, so that adding one moves no other."""
    words = [int.from_bytes(name.encode()[i : i + 4], "little") for i in range(0, len(name.encode()), 4)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


def _pooled_within(weight: Floats, scores: Floats, n: Ints) -> float:
    """Weighted variance of answers within groups, unbiased: sum of (n - 1) s^2 over N - G."""
    kept = n > 1
    s2 = _variance(weight[0][kept], scores) * n[kept] / (n[kept] - 1)
    return float(((n[kept] - 1) * s2).sum() / (n[kept] - 1).sum()) if kept.any() else math.nan


def _gradient(ledger: Ledger, table: CellTable) -> None:
    n_role, n_stage = table.rows[:-1].sum(axis=(1, 2)), table.rows[:, :-1].sum(axis=(0, 2))
    everyone = int(table.organisations[-1, -1])
    sides = {}
    for name, weight, n, clusters, levels in (
        ("role", table.by_role(), n_role, table.organisations[:-2, -1], table.role),
        ("stage", table.by_stage(), n_stage, table.organisations[-1, :-2], table.stage),
    ):
        sides[name] = _side(
            ledger, table.measure, levels.labels, _mean(weight, table.scores), n, clusters, name,
            _pooled_within(weight, table.scores, n), everyone,
        )  # fmt: skip
    role, stage = sides["role"], sides["stage"]
    _spread_rows(ledger, table.measure, role, "role", n_role)
    _spread_rows(ledger, table.measure, stage, "stage", n_stage)
    if role is not None:
        _role_rows(ledger, table, role)
    _compare(ledger, table.measure, role, stage, "gradient_ratio_log")
    if role is None or stage is None:
        ledger.refuse(
            table.measure, "range_difference", "scale_point", _too_few(ledger, n_role if role is None else n_stage)
        )
        return
    reason, status = _range_note(ledger, role)
    ledger.add(
        table.measure,
        "range_difference",
        "scale_point",
        draws=role.spread.range_draws - stage.spread.range_draws,
        smallest=_thinner(role, stage),
        estimate=role.spread.range_shrunken - stage.spread.range_shrunken,
        n=role.n,
        n_organisations=role.clusters,
        status=status,
        reason=reason,
        **interval_of(role.spread.range_draws - stage.spread.range_draws),
    )


def _within_stages(ledger: Ledger, table: CellTable) -> None:
    """Spread and range of the roles among executives of one stage, for each stage that somebody is at.

    It speaks of all roles: where half of those that answered or more lack the base for a spread, it is refused.
    """
    mean = _mean(table.by_cell(), table.scores)
    for s, stage in enumerate(table.stage.labels):
        counts = table.rows[:-1, s]
        n = counts.sum(axis=1)
        if not n.any():
            continue
        side = _side(
            ledger, table.measure, table.role.labels, mean[:, :, s], n, table.organisations[:-2, s], f"role/{stage}",
            _pooled_within(table.by_cell()[:, :, s], table.scores, n), int(table.organisations[-1, s]),
        )  # fmt: skip
        answered = int((n > 0).sum())
        if side is None or 2 * len(side.labels) <= answered:
            carrying = 0 if side is None else len(side.labels)
            reason = (
                f"more than half of the {answered} roles at this stage, and two at least, must have {_enough(ledger)}; "
                f"{carrying if side is not None else 'fewer than two'} have"
            )
            for statistic in ("role_sd_corrected", "range_raw", "range_shrunken"):
                ledger.refuse(table.measure, statistic, "scale_point", reason, n=int(n.sum()), stage=stage)
            continue
        _spread_rows(ledger, table.measure, side, "role", n, stage=stage)


def _enough(ledger: Ledger) -> str:
    organisations = f" from {MINIMUM_CLUSTERS} organisations" if ledger.design.has_organisations else ""
    return f"{MINIMUM_FOR_SPREAD} respondents{organisations}"


def _too_few(ledger: Ledger, n: Ints) -> str:
    return (
        f"a spread needs two groups of at least {_enough(ledger)}; "
        f"of {len(n)} groups {int((n >= MINIMUM_FOR_SPREAD).sum())} have the respondents"
    )


def _left_out(ledger: Ledger, dropped: Sequence[str]) -> str:
    return f"without {listed(dropped, limit=20)}: fewer than {_enough(ledger)}" if dropped else ""


def _spread_rows(ledger: Ledger, measure: str, side: _Side | None, name: str, n: Ints, stage: str = "") -> None:
    prefix = "" if name == "role" else "stage_"
    if side is None:
        for statistic in (f"{name}_sd_corrected", f"{prefix}range_raw", f"{prefix}range_shrunken"):
            ledger.refuse(measure, statistic, "scale_point", _too_few(ledger, n), n=int(n.sum()))
        return
    base: dict[str, Any] = {"n": side.n, "n_organisations": side.clusters, "stage": stage}
    left_out = _left_out(ledger, side.dropped)
    ledger.add(
        measure,
        f"{name}_sd_corrected",
        "scale_point",
        draws=side.spread.sd_draws,
        smallest=side.thinnest,
        estimate=side.spread.sd_corrected,
        status="flagged" if left_out else "ok",
        reason=left_out,
        **interval_of(side.spread.sd_draws),
        **base,
    )
    reason, status = _range_note(ledger, side)
    ledger.add(
        measure,
        f"{prefix}range_shrunken",
        "scale_point",
        draws=side.spread.range_draws,
        smallest=side.thinnest,
        estimate=side.spread.range_shrunken,
        status=status,
        reason=reason,
        **interval_of(side.spread.range_draws),
        **base,
    )
    ledger.add(
        measure,
        f"{prefix}range_raw",
        "scale_point",
        smallest=side.thinnest,
        estimate=side.spread.range_raw,
        std_error=float(np.std(side.spread.range_draws, ddof=1)),
        status="flagged",
        reason="biased upward by sampling noise; shown beside the shrunken range, never judged"
        + (f"; {reason}" if reason else ""),
        **base,
    )


def _range_note(ledger: Ledger, side: _Side) -> tuple[str, str]:
    parts = []
    if side.dropped:
        parts.append(_left_out(ledger, side.dropped))
    if side.smallest < MINIMUM_FOR_RANGE:
        parts.append(f"small base: a range wants {MINIMUM_FOR_RANGE} respondents in each group")
    return "; ".join(parts), "flagged" if parts else "ok"


def _role_rows(ledger: Ledger, table: CellTable, side: _Side) -> None:
    """ICCs, shrunken means, and superiority of the most over the least advanced role."""
    s = side.spread
    base: dict[str, Any] = {"n": side.n, "n_organisations": side.clusters}
    left_out = f"without {listed(side.dropped)}" if side.dropped else ""
    status = "flagged" if left_out else "ok"
    shared = {"status": status, "reason": left_out, "smallest": side.thinnest, **base}
    whole = s.sd_corrected**2 + side.within
    if whole > 0:
        share = s.sd_draws**2 / (s.sd_draws**2 + side.within)
        ledger.add(
            table.measure,
            "icc1",
            "index",
            draws=share,
            estimate=s.sd_corrected**2 / whole,
            **interval_of(share),
            **shared,
        )
    else:
        ledger.refuse(table.measure, "icc1", "index", "all answers are alike", **base)
    if s.noise > NIL**2:
        reliability = s.sd_draws**2 / (s.sd_draws**2 + s.noise)
        ledger.add(
            table.measure,
            "icc2",
            "index",
            draws=reliability,
            estimate=s.reliability,
            **interval_of(reliability),
            **shared,
        )
    else:
        ledger.refuse(table.measure, "icc2", "index", "the answers do not vary within groups", **base)
    rows = dict(zip(table.role.labels, table.rows[:-1].sum(axis=(1, 2)), strict=True))
    clusters = dict(zip(table.role.labels, table.organisations[:-2, -1], strict=True))
    for label, value in zip(side.labels, s.shrunken, strict=True):
        ledger.add(
            table.measure, "role_mean_shrunken", "scale_point", role=label, estimate=float(value),
            n=int(rows[label]), n_organisations=int(clusters[label]),
            reason="no interval: read it beside role_mean",
        )  # fmt: skip
    _superiority(ledger, table, side, rows, clusters)


def _superiority(ledger: Ledger, table: CellTable, side: _Side, rows: dict[str, int], clusters: dict[str, int]) -> None:
    index = [table.role.labels.index(label) for label in side.labels]
    weight = table.by_role()[:, index]
    share = weight / weight.sum(axis=-1, keepdims=True)
    below = np.cumsum(share, axis=-1) - share
    layers = np.einsum("lrk,lsk->lrs", share, below + 0.5 * share)
    n = np.array([clusters[label] for label in side.labels], dtype=np.float64)
    pair = np.minimum(n[:, None], n[None, :])
    error = (layers[1:] - layers[0]) * small_sample_factor(pair)
    std_error = np.sqrt(np.mean(error**2, axis=0))
    top, bottom = int(np.argmax(side.spread.shrunken)), int(np.argmin(side.spread.shrunken))
    value, se = float(layers[0, top, bottom]), float(std_error[top, bottom])
    pairs: dict[str, Any] = {"role": side.labels[top], "role_2": side.labels[bottom]}
    if se < NIL:
        reason = "no interval: the answers of the two roles do not vary"
        ledger.refuse(table.measure, "probability_superiority", "index", reason, **pairs)
        return
    upper = np.triu_indices(len(index), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.nanmax(np.abs(error[:, *upper]) / std_error[upper], axis=1)
    critical = float(np.quantile(largest, 0.95, method="higher") * t_scale(pair.min()))
    ledger.add(
        table.measure,
        "probability_superiority",
        "index",
        **pairs,
        draws=value - error[:, top, bottom] * critical / 1.959963984540054,
        smallest=(
            min(rows[side.labels[top]], rows[side.labels[bottom]]),
            int(pair[top, bottom]),
        ),
        estimate=value,
        std_error=se,
        conf_low=max(value - critical * se, 0.0),
        conf_high=min(value + critical * se, 1.0),
        conf_level=0.95,
        method="cluster_bootstrap_simultaneous",
        n=int(rows[side.labels[top]] + rows[side.labels[bottom]]),
        n_organisations=int(pair[top, bottom]),
        reason="most and least advanced role picked after looking: the interval holds for all pairs at once",
    )


def _thinner(role: _Side, stage: _Side) -> tuple[int, int]:
    """Respondents and organisations of the thinnest group of both."""
    return min(role.smallest, stage.smallest), min(role.fewest, stage.fewest)


def _compare(
    ledger: Ledger, measure: str, role: _Side | None, stage: _Side | None, statistic: str, also: str = ""
) -> None:
    if role is None or stage is None:
        short = "role" if role is None else "stage"
        ledger.refuse(measure, statistic, "log_ratio", f"the {short} spread is not assessable")
        return
    draws = log_ratio(role.spread.sd_draws, stage.spread.sd_draws)
    point = float(log_ratio(np.array([role.spread.sd_corrected]), np.array([stage.spread.sd_corrected]))[0])
    dropped = [label for side in (role, stage) for label in side.dropped]
    reasons = [text for text in (also, _left_out(ledger, dropped)) if text]
    if not math.isfinite(point):
        nil = {math.inf: "the stages", -math.inf: "the roles"}.get(point, "roles and stages")
        reasons.append(f"no finite ratio: the spread of {nil} is no larger than noise")
    ledger.add(
        measure,
        statistic,
        "log_ratio",
        draws=draws,
        smallest=_thinner(role, stage),
        estimate=point,
        n=role.n,
        n_organisations=role.clusters,
        status="flagged" if reasons else "ok",
        reason="; ".join(reasons),
        **interval_of(draws),
    )


def _system(ledger: Ledger, measure: Measure) -> None:
    """Mean over organisations of the SD among their own executives (n - 1), organisations with three informants or more."""
    design = ledger.design
    if not design.has_organisations:
        ledger.refuse(measure.name, "system_sd", "scale_point", "the survey names no organisations")
        return
    values = design.responses[measure.name].to_numpy(dtype=np.float64, na_value=np.nan)
    answered = pd.DataFrame({"cluster": design.cluster, "value": values}).dropna()
    within = answered.groupby("cluster")["value"].agg(["count", "std"])
    within = within[within["count"] >= MINIMUM_INFORMANTS]
    base: dict[str, Any] = {"n": int(within["count"].sum()), "n_organisations": len(within)}
    if len(within) < MINIMUM_CLUSTERS:
        reason = (
            f"{MINIMUM_CLUSTERS} organisations with {MINIMUM_INFORMANTS} informants are needed; there are {len(within)}"
        )
        ledger.refuse(measure.name, "system_sd", "scale_point", reason, **base)
        return
    weight = cluster_weights(design, within.index.to_numpy())
    layers = weight @ within["std"].to_numpy() / weight.sum(axis=1)
    inference = infer(layers, len(within))
    ledger.add(
        measure.name,
        "system_sd",
        "scale_point",
        draws=inference.draws,
        estimate=float(inference.estimate),
        std_error=float(inference.std_error),
        conf_low=float(inference.conf_low),
        conf_high=float(inference.conf_high),
        conf_level=0.95,
        reason="within organisations: not the spread between roles across organisations",
        **base,
    )


def _adjusted(
    ledger: Ledger, measure: Measure, role: Axis, organisation_stage: Axis, adjust_for: Sequence[Axis]
) -> None:
    """Spreads of role and organisation stage, each adjusted for the other and for the firmographics."""
    design = ledger.design
    axes = [role, organisation_stage, *adjust_for]
    codes = [design.codes(axis) for axis in axes]
    answer = measure.index(design.responses)
    used = (answer >= 0) & np.all([code >= 0 for code in codes], axis=0)
    used, kept = _settled(design, codes, used)
    dropped = [
        f"{axis.labels[g]}"
        for axis, code, levels in zip(axes, codes, kept, strict=True)
        for g in np.setdiff1d(np.unique(code[(answer >= 0) & (code >= 0)]), levels)
    ]
    left_out = _left_out(ledger, dropped)
    names = [axis.name for axis in axes]
    statistics = _ADJUSTED
    units = ("scale_point", "scale_point", "log_ratio")
    if any(len(levels) < 2 for levels in kept):
        for statistic, unit in zip(statistics, units, strict=True):
            ledger.refuse(measure.name, statistic, unit, _thin(names, kept), n=int(used.sum()))
        return
    recoded = [np.searchsorted(levels, code) for levels, code in zip(kept, codes, strict=True)]
    totals = _totals(design, [code[used] for code in recoded] + [answer[used]], used)
    cells, weight, total = totals.of_scores(measure.scores)
    try:
        fit = adjusted_effects(weight, total, [cells[:, j] for j in range(len(axes))], names)
    except DesignError as error:
        for statistic, unit in zip(statistics, units, strict=True):
            ledger.refuse(measure.name, statistic, unit, f"{error.title}: {error.got}", n=int(used.sum()))
        return
    sides = []
    for j, (name, levels_of) in enumerate((("role", role), ("stage", organisation_stage))):
        code, levels = recoded[j][used], kept[j]
        n = np.bincount(code, minlength=len(levels))
        clusters = distinct(design.cluster[used], code, len(levels))
        labels = tuple(levels_of.labels[g] for g in levels)
        side = _side(
            ledger, measure.name, labels, fit.effects[j], n, clusters, f"{name}/adjusted", math.nan,
            design.clusters(used),
        )  # fmt: skip
        sides.append(side)
        if side is not None:
            ledger.add(
                measure.name,
                statistics[j],
                "scale_point",
                draws=side.spread.sd_draws,
                smallest=side.thinnest,
                estimate=side.spread.sd_corrected,
                n=side.n,
                n_organisations=side.clusters,
                status="flagged" if left_out else "ok",
                reason=left_out,
                **interval_of(side.spread.sd_draws),
            )
    _compare(ledger, measure.name, sides[0], sides[1], "gradient_ratio_log_adjusted", also=left_out)


def _settled(design: SurveyDesign, codes: Sequence[Ints], used: Mask) -> tuple[Mask, list[Ints]]:
    """Leave out thin levels of any classification until none is thin: leaving one out can make another thin."""
    while True:
        kept = []
        for code in codes:
            levels, n = np.unique(code[used], return_counts=True)
            clusters = np.array([design.clusters(used & (code == level)) for level in levels])
            kept.append(levels[(n >= MINIMUM_FOR_SPREAD) & (clusters >= MINIMUM_CLUSTERS)] if len(levels) else levels)
        still = used & np.all([np.isin(code, levels) for code, levels in zip(codes, kept, strict=True)], axis=0)
        if still.sum() == used.sum():
            return used, kept
        used = still


def _thin(names: Sequence[str], kept: Sequence[Ints]) -> str:
    thin = [name for name, levels in zip(names, kept, strict=True) if len(levels) < 2]
    return f"fewer than two levels of {listed(thin)} have {MINIMUM_FOR_SPREAD} respondents"


def _totals(design: SurveyDesign, keys: list[Ints], used: Mask) -> Any:  # noqa: ANN401
    return replicated_totals(
        keys,
        design.cluster[used],
        design.weight[used],
        design.multiplier,
        layer_factor=design.layer_factor,
        factor_cell=None if design.factor_cell is None else design.factor_cell[used],
    )


def _kitagawa(ledger: Ledger, table: CellTable, contrast: Contrast) -> None:
    """Split mu(r, s) - mu(r2, s2) into a role part at equal stage and a stage part at equal role; they add exactly.

    The base is that of the smallest cell: a contrast is as strong as that, and a contrast with a cell that the gate holds
    back would give the cell away.
    """
    roles, stages = table.role.labels, table.stage.labels
    key = {
        "role": contrast.role,
        "role_2": contrast.role_2,
        "segment": f"{contrast.stage} v {contrast.stage_2}",
    }
    unknown = [
        name
        for name, known in (
            (contrast.role, roles),
            (contrast.role_2, roles),
            (contrast.stage, stages),
            (contrast.stage_2, stages),
        )
        if name not in known
    ]
    if unknown:
        for statistic in ("naive_gap", "role_part", "stage_part"):
            ledger.refuse(table.measure, statistic, "scale_point", f"the instrument has no {listed(unknown)}", **key)
        return
    r = [roles.index(contrast.role), roles.index(contrast.role_2)]
    s = [stages.index(contrast.stage), stages.index(contrast.stage_2)]
    mean = _mean(table.by_cell(), table.scores)
    n = table.rows[np.ix_(r, s)].sum(axis=2)
    clusters = table.organisations[np.ix_(r, s)]
    all_four = [(0, 0), (0, 1), (1, 0), (1, 1)]
    parts: dict[str, tuple[Floats, list[tuple[int, int]]]] = {
        "naive_gap": (mean[:, r[0], s[0]] - mean[:, r[1], s[1]], [(0, 0), (1, 1)]),
        "role_part": (0.5 * (mean[:, r[0], s].sum(axis=1) - mean[:, r[1], s].sum(axis=1)), all_four),
        "stage_part": (0.5 * (mean[:, r, s[0]].sum(axis=1) - mean[:, r, s[1]].sum(axis=1)), all_four),
    }  # fmt: skip
    for statistic, (layers, needed) in parts.items():
        smallest = min(int(n[cell]) for cell in needed)
        fewest = min(int(clusters[cell]) for cell in needed)
        base: dict[str, Any] = {"n": smallest, "n_organisations": fewest, **key}
        if smallest == 0 or fewest < 2:
            reason = "one of its cells is empty" if smallest == 0 else "one of its cells comes from one organisation"
            ledger.refuse(table.measure, statistic, "scale_point", reason, **base)
            continue
        inference = infer(layers, fewest)
        if float(inference.std_error) < NIL:
            ledger.refuse(table.measure, statistic, "scale_point", "the answers in its cells do not vary", **base)
            continue
        ledger.add(
            table.measure,
            statistic,
            "scale_point",
            draws=inference.draws,
            estimate=float(inference.estimate),
            std_error=float(inference.std_error),
            conf_low=float(inference.conf_low),
            conf_high=float(inference.conf_high),
            conf_level=0.95,
            status="flagged" if smallest < SMALL_BASE else "ok",
            reason=f"small base: its smallest cell has fewer than {SMALL_BASE} respondents"
            if smallest < SMALL_BASE
            else "",
            **base,
        )


def _high_share(ledger: Ledger, measures: Sequence[Measure], role: Axis, stage: Axis) -> None:
    """Share that answered in the top two points of every measure, by role and by role within stage."""
    design = ledger.design
    answers = [measure.index(design.responses) for measure in measures]
    high = np.all([a >= len(m.scores) - 2 for a, m in zip(answers, measures, strict=True)], axis=0)
    complete = np.all([a >= 0 for a in answers], axis=0)
    name = "+".join(measure.name for measure in measures)
    table = cell_table(design, name, np.where(complete, high.astype(np.int64), -1), (0.0, 1.0), role, stage)
    cuts: list[tuple[Callable[[CellTable], Floats], Ints, Ints, list[dict[str, str]]]] = [
        (CellTable.by_role, table.rows[:-1].sum(axis=1), table.organisations[:-2, -1], [{"role": r} for r in role.labels]),
        (lambda t: t.by_cell().reshape(len(t.weight), -1, 2), table.rows[:-1, :-1].reshape(-1, 2),
         table.organisations[:-2, :-2].reshape(-1), [{"role": r, "stage": s} for r in role.labels for s in stage.labels]),
    ]  # fmt: skip
    for weight, rows, clusters, keys in cuts:
        inference = infer(_mean(weight(table), table.scores), clusters)
        for i, key in enumerate(keys):
            n = int(rows[i].sum())
            base: dict[str, Any] = {"n": n, "n_organisations": int(clusters[i]), **key}
            if n == 0:
                ledger.refuse(name, "high_both_share", "proportion", "nobody answered", **base)
                continue
            if not ledger.wants(name, "high_both_share", **base):
                continue
            se = float(np.nan_to_num(inference.std_error[i]))
            se = se if se > NIL else 0.0
            interval = korn_graubard(float(inference.estimate[i]), se, n, int(clusters[i]))
            ledger.add(
                name,
                "high_both_share",
                "proportion",
                draws=interval.quantile(replicate_places(inference.draws[:, i])),
                hits=int(rows[i, 1]),
                estimate=interval.estimate,
                std_error=se if se > 0 else math.nan,
                conf_low=interval.conf_low,
                conf_high=interval.conf_high,
                conf_level=0.95,
                n_effective=interval.n_effective,
                method="korn_graubard",
                status="flagged" if n < SMALL_BASE else "ok",
                reason=_small(n, spreadless=False),
                **base,
            )
