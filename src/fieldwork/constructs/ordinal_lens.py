"""The second lens on ordinal measures: the cumulative link mixed model, set beside the cell table's means and spreads.

Own code: the two lenses, what each of them conditions on, and whether they agree, are part of the adoption gradient. The
cell table is marginal: it averages over the stages at which a role happens to be and over organisations. The model's
effects are conditional: role against role at one stage within one organisation. Both are read, and neither is the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.constructs.adoption_gradient import CONSTRUCT, MINIMUM_CLUSTERS, MINIMUM_FOR_SPREAD, Measure
from fieldwork.constructs.cells import Axis, SurveyDesign, axis, distinct
from fieldwork.constructs.ledger import Estimates, Ledger, interval_of
from fieldwork.errors import ConvergenceError, DesignError, listed
from fieldwork.statistics.adjustment import deviations
from fieldwork.statistics.cumulative_links import Link, link_named
from fieldwork.statistics.ordinal_mixed import CumulativeLinkMixedModel, CumulativeLinkResults
from fieldwork.statistics.proportional_odds import ProportionalOdds, proportional_odds_test
from fieldwork.statistics.replicates import Floats, Ints, distinct_rows, named_stream
from fieldwork.statistics.spread import log_ratio, spread

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["ModelLens", "estimate", "estimate_for", "model_lens", "population_mean"]

MINIMUM_SHARED = 30  # organisations with two informants or more, below which their variance is not estimated
SAID_OF_ALL = 30  # respondents of whom it may be published that all answered alike, as the gate has it
SIGNIFICANT = 0.05  # of the test of proportional odds, which is a check and decides no claim
_NODES = 21  # of the integral over organisations in a predicted mean; five digits for any sd met in practice
_BLOCK = 256  # draws at a time, so that predicted means of many draws stay in cache


@dataclass(frozen=True, slots=True)
class ModelLens:
    """One measure through the cumulative link mixed model answer ~ role + stage + (1 | organisation), logit link.

    Attributes
    ----------
    roles, stages : tuple of str      Levels in the model; () where the survey has no stages that carry it.
    role_effect : (1 + B, R)          Log odds of a higher answer against the plain mean of the roles, conditional on stage
                                      and organisation. Row 0 is the estimate, the others draws from its distribution.
    stage_effect : (1 + B, S)         The same for stages, conditional on role and organisation.
    role_mean : (1 + B, R)            Mean answer of the role, scale points or `scores`: averaged over the stages at which its
                                      respondents are, and over organisations.
    thresholds : (1 + B, K - 1)       Cut-points between the answers given, log odds, rising.
    organisation_sd : (1 + B,)        Standard deviation between organisations, log odds; nan where it is not in the model.
    residual_variance : float         Of the latent answer within an organisation: pi^2 / 3 for the logit.
    n : (R,) int, clusters : (R,) int Respondents and organisations of each role in the model.
    stage_n, stage_clusters : (S,)    The same of each stage.
    dropped : tuple of str            Roles and stages too thin to be in it.
    organisations : int               All organisations in the model. shared : int    Those with two informants or more.
    proportional : ProportionalOdds or None    Whether one effect of each role serves every cut-point; None: not tested.
    """

    roles: tuple[str, ...]
    stages: tuple[str, ...]
    role_effect: Floats
    stage_effect: Floats
    role_mean: Floats
    thresholds: Floats
    organisation_sd: Floats
    residual_variance: float
    n: Ints
    clusters: Ints
    stage_n: Ints
    stage_clusters: Ints
    dropped: tuple[str, ...]
    organisations: int
    shared: int
    proportional: ProportionalOdds | None


def model_lens(
    design: SurveyDesign,
    measure: Measure,
    role: Axis,
    stage: Axis | None,
    *,
    draws: int,
    scores: Sequence[float] | None = None,
    proportional: bool = True,
) -> ModelLens:
    """Fit the model of one measure and draw from the distribution of what it says.

    Survey weights enter as a pseudo-likelihood, scaled to mean 1 over the rows used; the covariance is the sandwich over
    organisations (Rabe-Hesketh and Skrondal 2006). Draws are normal around the estimate, from a stream named after the
    measure; a draw of the standard deviation is folded at nil. Levels with fewer than 20 respondents or 5 organisations are
    left out with their respondents, and named. The intercept of organisations is in the model only where 30 of them have
    two informants or more: one answer an organisation says nothing of what its members share.

    Parameters
    ----------
    design : responses, weights, organisations. measure : the ordinal item.
    role : classification of respondents. stage : a second one, or None. draws : number B of draws.
    scores : (K,) what each answer counts in the predicted mean of a role; None: its scale point.
    proportional : whether the assumption that one effect of a role serves every cut-point is tested.

    Missing answers, roles and stages leave a respondent out. Raises DesignError with fewer than two roles, for an empty
    category and for a separating term, ConvergenceError where the fit does not settle. References: McCullagh (1980), JRSS B
    42, 109-142; Hedeker and Gibbons (1994), Biometrics 50, 933-944; Rabe-Hesketh and Skrondal (2006), JRSS A 169, 805-827.
    """
    axes = [role] if stage is None else [role, stage]
    codes = [design.codes(each) for each in axes]
    answer = measure.index(design.responses)
    asked = (answer >= 0) & np.all([code >= 0 for code in codes], axis=0)
    used, kept = _settled(design, codes, asked)
    if len(kept[0]) < 2:
        raise DesignError(
            "fewer than two roles carry the model",
            where=f"constructs.ordinal_lens, {measure.name}",
            expected=f"two roles of {MINIMUM_FOR_SPREAD} respondents from {MINIMUM_CLUSTERS} organisations",
            got=f"{len(kept[0])} of {len(role.codes)}",
            hint="report the model as not assessable",
        )
    if stage is not None and len(kept[1]) < 2:
        return model_lens(design, measure, role, None, draws=draws, scores=scores, proportional=proportional)
    names = [[each.labels[g] for g in levels] for each, levels in zip(axes, kept, strict=True)]
    recoded = [np.searchsorted(levels, code[used]) for levels, code in zip(kept, codes, strict=True)]
    cluster, weight = design.cluster[used], design.weight[used]
    given, y = distinct_rows(answer[used][:, None])
    levels, members = given[:, 0], np.bincount(cluster)
    shared = int((members > 1).sum())
    _refuse_separation(measure, y, recoded, names)
    blocks = [deviations(code, len(labels)) for code, labels in zip(recoded, names, strict=True)]
    fitted = CumulativeLinkMixedModel(
        y,
        np.hstack(blocks),
        cluster if design.has_organisations and shared >= MINIMUM_SHARED else None,
        names=[f"{each.name}[{label}]" for each, labels in zip(axes, names, strict=True) for label in labels[:-1]],
        categories=[measure.scores[k] for k in levels],
        weights=weight / weight.mean(),
        group_name="organisation",
    ).fit(covariance="robust")
    theta = _drawn(fitted, cluster, draws, named_stream(design.seed, f"ordinal_lens/{measure.name}"))
    cuts = len(levels) - 1
    effects, place = [], cuts
    for labels in names:
        free = theta[:, place : place + len(labels) - 1]
        effects.append(np.hstack([free, -free.sum(axis=1, keepdims=True)]))
        place += len(labels) - 1
    sd = np.abs(theta[:, -1])
    mix = np.zeros((len(names[0]), len(names[1]) if len(names) > 1 else 1))
    np.add.at(mix, (recoded[0], recoded[1] if len(names) > 1 else np.zeros(len(y), dtype=np.int64)), weight)
    eta = effects[0][:, :, None] + (effects[1][:, None, :] if len(names) > 1 else 0.0)
    counted = np.asarray(measure.scores if scores is None else scores, dtype=np.float64)[levels]
    means = population_mean(theta[:, :cuts], eta, sd, counted, link_named("logit"))
    means = (means * (mix / mix.sum(axis=1, keepdims=True))).sum(axis=2)
    bases = [(_count(code, len(labels)), distinct(cluster, code, len(labels)))
             for code, labels in zip(recoded, names, strict=True)]  # fmt: skip
    dropped = [
        each.labels[g]
        for each, code, levels_kept in zip(axes, codes, kept, strict=True)
        for g in np.setdiff1d(np.unique(code[asked]), levels_kept)
    ]
    none = np.zeros(0, dtype=np.int64)
    return ModelLens(
        roles=tuple(names[0]),
        stages=tuple(names[1]) if len(names) > 1 else (),
        role_effect=effects[0],
        stage_effect=effects[1] if len(names) > 1 else np.zeros((len(theta), 0)),
        role_mean=means,
        thresholds=theta[:, :cuts],
        organisation_sd=sd if fitted.model.random else np.full(len(theta), np.nan),
        residual_variance=math.pi**2 / 3,
        n=bases[0][0],
        clusters=bases[0][1],
        stage_n=bases[1][0] if len(bases) > 1 else none,
        stage_clusters=bases[1][1] if len(bases) > 1 else none,
        dropped=tuple(dropped),
        organisations=int(np.count_nonzero(members)),
        shared=shared,
        proportional=_proportional(y, np.hstack(blocks), cluster, weight, len(names[0]) - 1) if proportional else None,
    )


def _proportional(y: Ints, X: Floats, cluster: Ints, weight: Floats, tested: int) -> ProportionalOdds | None:
    try:
        return proportional_odds_test(y, X, cluster, tested=range(tested), weights=weight / weight.mean())
    except DesignError:
        return None


def population_mean(thresholds: Floats, eta: Floats, sd: Floats, scores: Floats, link: Link) -> Floats:
    """Return the mean score of answers with predictor `eta`, over organisations.

    E[score] = sum_k score_k (F(tau_k - eta - sd u) - F(tau_{k-1} - eta - sd u)), integrated over a standard normal u by
    Gauss-Hermite quadrature with 21 nodes.

    Parameters
    ----------
    thresholds : (B, K - 1), rising along the last axis. eta : (B, ...). sd : (B,), not negative. scores : (K,).

    Returns an array of the shape of `eta`, in units of the scores.

    >>> half = population_mean(np.zeros((1, 1)), np.zeros((1, 1)), np.ones(1), np.array([0.0, 1.0]), link_named("logit"))
    >>> round(float(half[0, 0]), 12)
    0.5
    """
    u, w = np.polynomial.hermite_e.hermegauss(_NODES)
    w = w / w.sum()
    steps = np.diff(scores)
    out = np.empty(eta.shape)
    for low in range(0, len(eta), _BLOCK):
        part = slice(low, low + _BLOCK)
        flat = eta[part].reshape(len(eta[part]), -1, 1) + sd[part, None, None] * u
        total = np.full(flat.shape, scores[-1])
        for k, step in enumerate(steps):
            total -= step * link.cdf(thresholds[part, k, None, None] - flat)
        out[part] = (total @ w).reshape(eta[part].shape)
    return out


def estimate_for(instrument: Instrument, design: SurveyDesign, cells: Estimates) -> Estimates:
    """Set the model beside the cell table for every ordinal measure of the adoption gradient; see `estimate`."""
    keys = instrument.keys
    measures = [
        Measure(item.name, tuple(float(option.code) for option in item.options))
        for item in instrument.measures(CONSTRUCT)
        if item.kind == "ordinal"
    ]
    stage = axis(instrument, keys.stage) if keys.stage else None
    role = axis(instrument, keys.role) if keys.role else None
    return estimate(design, measures, role, stage, cells, wave=instrument.wave)


def estimate(
    design: SurveyDesign,
    measures: Sequence[Measure],
    role: Axis | None,
    stage: Axis | None,
    cells: Estimates,
    *,
    wave: str,
    chapter: str = "04_gradient",
) -> Estimates:
    """Return the model's rows for each measure, and where its means and the cell table's are further apart than both allow.

    Parameters
    ----------
    cells : estimates of the adoption gradient on the same design, whose `role_mean` the model's means are held against.

    Two intervals disagree where neither holds the other's estimate. Returns rows with statistics role_mean_model (scale
    points, marginal), role_log_odds, stage_log_odds (log ratios, conditional), role_sd_latent, stage_sd_latent,
    gradient_ratio_log_model (noise-corrected as their namesakes of the cell table), organisation_sd_latent, icc_latent,
    proportional_odds_f (Brant's test over roles) and lens_disagreement, the share of roles on which the lenses disagree.
    What cannot be fitted is `not_assessable`, with the term.
    """
    ledger = Ledger(design, wave, chapter, CONSTRUCT)
    for measure in measures:
        if role is None:
            ledger.refuse(measure.name, "role_mean_model", "scale_point", "the survey asks no role", method="clmm")
            continue
        try:
            lens = model_lens(design, measure, role, stage, draws=design.replicates)
        except (DesignError, ConvergenceError) as error:
            reason = f"the model cannot be fitted: {error.title}; {error.got}"
            for statistic, unit in (("role_mean_model", "scale_point"), ("gradient_ratio_log_model", "log_ratio")):
                ledger.refuse(measure.name, statistic, unit, reason, method="clmm")
            continue
        _write(ledger, measure.name, lens, cells)
    return ledger.table()


def _settled(
    design: SurveyDesign, codes: Sequence[Ints], used: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], list[Ints]]:
    """Leave out thin levels of either classification until none is thin: leaving one out can make another thin."""
    while True:
        kept = []
        for code in codes:
            size = int(code.max(initial=-1)) + 1
            n, clusters = _count(code[used], size), distinct(design.cluster[used], code[used], size)
            kept.append(np.flatnonzero((n >= MINIMUM_FOR_SPREAD) & (clusters >= MINIMUM_CLUSTERS)))
        still = used & np.all([np.isin(code, levels) for code, levels in zip(codes, kept, strict=True)], axis=0)
        if still.sum() == used.sum():
            return used, kept
        used = still


def _refuse_separation(measure: Measure, y: Ints, codes: Sequence[Ints], names: Sequence[Sequence[str]]) -> None:
    """Refuse a level whose answers all lie at one end of the scale: its log odds are infinite, whatever the coding."""
    for code, labels in zip(codes, names, strict=True):
        for g, label in enumerate(labels):
            given = y[code == g]
            if given.min() == given.max() and given.min() in {0, y.max()}:
                # What is raised here is published as a reason: of a small group it may not be said how all of it answered.
                whose = label if len(given) >= SAID_OF_ALL else "a role or stage"
                raise DesignError(
                    f"all answers of {whose} lie at one end of the scale",
                    where=f"constructs.ordinal_lens, {measure.name}",
                    expected="answers at two points or more in every role and stage",
                    got="answers at one point alone",
                    hint="read the cell table: the model has no finite estimate",
                )


def _count(code: Ints, levels: int) -> Ints:
    return np.bincount(code, minlength=levels).astype(np.int64)


def _drawn(fitted: CumulativeLinkResults, cluster: Ints, draws: int, stream: np.random.Generator) -> Floats:
    """Estimate in row 0, then normal draws around it: thresholds, coefficients, sd (0 where it is not in the model)."""
    theta = np.concatenate([fitted.fitted.thresholds, fitted.fitted.coefficients, [fitted.fitted.sd]])
    covariance = np.nan_to_num(fitted.covariance) if fitted.model.random else _sandwich(fitted, cluster)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    drawn = theta + stream.standard_normal((draws, len(theta))) @ root.T
    cuts = len(fitted.fitted.thresholds)
    drawn[:, :cuts] = np.sort(drawn[:, :cuts], axis=1)
    return np.vstack([theta, drawn])


def _sandwich(fitted: CumulativeLinkResults, cluster: Ints) -> Floats:
    """Robust covariance over organisations of a model without their intercept: its groups are single answers."""
    at = fitted.fitted.at
    m = len(at.gradient)
    totals = np.zeros((cluster.max() + 1, m - 1))
    np.add.at(totals, cluster, at.scores[:, : m - 1])
    bread = np.linalg.inv(-at.hessian[: m - 1, : m - 1])
    groups = len(np.unique(cluster))
    out = np.zeros((m, m))
    out[:-1, :-1] = bread @ (totals.T @ totals) @ bread * (groups / max(groups - 1.0, 1.0))
    return out


def _write(ledger: Ledger, measure: str, lens: ModelLens, cells: Estimates) -> None:
    left_out = f"without {listed(lens.dropped, limit=20)}: too few respondents" if lens.dropped else ""
    within = "organisations" if np.isfinite(lens.organisation_sd[0]) else ""
    conditional = f"conditional: at one stage{' within one organisation' if within else ''}"
    status = "flagged" if left_out else "ok"
    apart = _means(ledger, measure, lens, cells, left_out)
    for statistic, effect, labels, n, clusters in (
        ("role_log_odds", lens.role_effect, lens.roles, lens.n, lens.clusters),
        ("stage_log_odds", lens.stage_effect, lens.stages, lens.stage_n, lens.stage_clusters),
    ):
        for i, label in enumerate(labels):
            who: dict[str, Any] = {statistic.partition("_")[0]: label}
            ledger.add(
                measure, statistic, "log_ratio", draws=effect[1:, i], method="clmm", estimate=float(effect[0, i]),
                smallest=(int(n.min()), int(clusters.min())), n=int(n[i]), n_organisations=int(clusters[i]),
                reason=_joined(conditional, left_out), status=status, **who,
                **interval_of(effect[1:, i]),
            )  # fmt: skip
    base: dict[str, Any] = {"n": int(lens.n.sum()), "n_organisations": lens.organisations, "method": "clmm"}
    thin = (int(lens.n.min()), int(lens.clusters.min()))
    sides = {}
    for name, effect in (("role", lens.role_effect), ("stage", lens.stage_effect)):
        if effect.shape[1] < 2:
            reason = f"fewer than two {name}s carry the model"
            ledger.refuse(measure, f"{name}_sd_latent", "log_ratio", reason, **base)
            continue
        sides[name] = spread(effect[0], effect[1:] - effect[0])
        ledger.add(
            measure, f"{name}_sd_latent", "log_ratio", draws=sides[name].sd_draws, smallest=thin, status=status,
            estimate=sides[name].sd_corrected, reason=_joined(conditional, left_out),
            **interval_of(sides[name].sd_draws), **base,
        )  # fmt: skip
    if len(sides) == 2:
        drawn = log_ratio(sides["role"].sd_draws, sides["stage"].sd_draws)
        point = float(log_ratio(np.array([sides["role"].sd_corrected]), np.array([sides["stage"].sd_corrected]))[0])
        ends = interval_of(drawn)
        other = _row(cells, measure, "gradient_ratio_log").get("")
        said = (
            "the marginal ratio of the cell table is apart beyond both intervals: it counts the stages at which roles are "
            "as part of the roles, this one does not"
            if _disagree(other, point, ends["conf_low"], ends["conf_high"])
            else ""
        )
        nil = "" if math.isfinite(point) else "no finite ratio: a spread is no larger than noise"
        ledger.add(
            measure, "gradient_ratio_log_model", "log_ratio", draws=drawn, smallest=thin, estimate=point,
            status="flagged" if nil or said or left_out else "ok", reason=_joined(conditional, said, left_out, nil),
            **ends, **base,
        )  # fmt: skip
    else:
        ledger.refuse(measure, "gradient_ratio_log_model", "log_ratio", "a spread is not assessable", **base)
    _organisation(ledger, measure, lens, base)
    _cut_points(ledger, measure, lens, base, thin)
    ledger.add(
        measure, "lens_disagreement", "index", smallest=thin, estimate=float(np.mean(list(apart.values()))),
        status="flagged" if any(apart.values()) else "ok",
        reason="means by model and by cell table agree within their intervals" if not any(apart.values())
        else f"means by model and by cell table are apart beyond both intervals: {listed(r for r, a in apart.items() if a)}",
        **base,
    )  # fmt: skip


def _means(ledger: Ledger, measure: str, lens: ModelLens, cells: Estimates, left_out: str) -> dict[str, bool]:
    """Add the model's role means; return for each role whether the lenses disagree."""
    known = _row(cells, measure, "role_mean")
    apart = {}
    for i, label in enumerate(lens.roles):
        drawn = interval_of(lens.role_mean[1:, i])
        value = float(lens.role_mean[0, i])
        apart[label] = _disagree(known.get(label), value, drawn["conf_low"], drawn["conf_high"])
        said = "; the mean of the cell table is apart beyond both intervals" if apart[label] else ""
        ledger.add(
            measure, "role_mean_model", "scale_point", draws=lens.role_mean[1:, i], method="clmm", role=label,
            estimate=value, smallest=(int(lens.n[i]), int(lens.clusters[i])), n=int(lens.n[i]),
            n_organisations=int(lens.clusters[i]), status="flagged" if said or left_out else "ok",
            reason=_joined(f"marginal: over the role's stages and over organisations{said}", left_out), **drawn,
        )  # fmt: skip
    return apart


def _row(cells: Estimates, measure: str, statistic: str) -> dict[str, Mapping[str, Any]]:
    """Rows of the cell table's statistic over all stages, by role."""
    table = cells.estimates
    rows = table[(table["measure"] == measure) & (table["statistic"] == statistic) & (table["stage"] == "")]
    return {str(row["role"]): {str(key): value for key, value in row.items()} for row in rows.to_dict("records")}


def _disagree(row: Mapping[str, Any] | None, value: float, low: float, high: float) -> bool:
    """Tell whether neither interval holds the other's estimate; an open end holds everything on its side."""
    if row is None or pd.isna(row["estimate"]) or not math.isfinite(value):
        return False
    if pd.isna(row["conf_low"]) and pd.isna(row["conf_high"]):
        return False
    first = -math.inf if pd.isna(row["conf_low"]) else float(row["conf_low"])
    last = math.inf if pd.isna(row["conf_high"]) else float(row["conf_high"])
    return not first <= value <= last and not low <= float(row["estimate"]) <= high


def _organisation(ledger: Ledger, measure: str, lens: ModelLens, base: Mapping[str, Any]) -> None:
    if not np.isfinite(lens.organisation_sd[0]):
        reason = f"{MINIMUM_SHARED} organisations with two informants or more are needed; there are {lens.shared}"
        for statistic, unit in (("organisation_sd_latent", "log_ratio"), ("icc_latent", "index")):
            ledger.refuse(measure, statistic, unit, reason, **base)
        return
    sd = lens.organisation_sd
    share = sd**2 / (sd**2 + lens.residual_variance)
    for statistic, unit, values in (("organisation_sd_latent", "log_ratio", sd), ("icc_latent", "index", share)):
        ledger.add(
            measure, statistic, unit, draws=values[1:], estimate=float(values[0]),
            reason="between organisations, at one role and stage", **interval_of(values[1:]), **base,
        )  # fmt: skip


def _cut_points(ledger: Ledger, measure: str, lens: ModelLens, base: Mapping[str, Any], thin: tuple[int, int]) -> None:
    """Add the test that a role's effect is one number at every cut-point, without which log odds are an average."""
    found = lens.proportional
    if found is None:
        reason = "fewer than two cut-points have answers of every role on both sides"
        ledger.refuse(measure, "proportional_odds_f", "index", reason, **base)
        return
    departs = found.p_value < SIGNIFICANT
    ledger.add(
        measure, "proportional_odds_f", "index", estimate=found.statistic, p_value=found.p_value, smallest=thin,
        status="flagged" if departs else "ok", adjustment="none",
        reason="a role's effect differs from cut-point to cut-point: read its log odds as an average over them"
        if departs else "no sign that a role's effect differs from cut-point to cut-point",
        **base,
    )  # fmt: skip


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
