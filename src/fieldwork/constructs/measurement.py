"""Measurement quality: whether items say the same thing whoever answers them and however, and how often nobody does.

Own code: these are checks on the constructs of this project, each with what it would do to their estimates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.adoption_gradient import CONSTRUCT as GRADIENT
from fieldwork.constructs.adoption_gradient import MINIMUM_CLUSTERS, MINIMUM_FOR_SPREAD, Measure
from fieldwork.constructs.cells import Axis, SurveyDesign, axis, weighted_sums
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Estimates, Ledger, counted, interval_of
from fieldwork.errors import ConvergenceError, DesignError, listed
from fieldwork.statistics.adjustment import adjusted_effects
from fieldwork.statistics.ordinal_mixed import CumulativeLinkMixedModel
from fieldwork.statistics.proportion import korn_graubard
from fieldwork.statistics.reliability import cronbach_alpha, omega_total
from fieldwork.statistics.replicates import Floats, Ints, infer, small_sample_factor, t_scale
from fieldwork.statistics.spread import spread

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item

__all__ = ["estimate_for"]

CONSTRUCT = "sample"
CHAPTER = "03b_measurement"
MINIMUM_FOR_SCALE = 50  # respondents: alpha of fewer has an interval of a third of its range at k = 3
FEWEST_ITEMS = 3  # of a scale whose omega is asked for
FEWEST_FOR_STYLE = 8  # ordinal answers a person must have given for a share of end points to mean anything
CIRCUMSTANCES = ("mode", "lang", "source", "panel_flag")  # slots of the instrument: how an interview came about

Mask = npt.NDArray[np.bool_]


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate how well the items of a wave measure, and what each fault would do to the adoption gradient.

    `item_nonresponse` is the share of those asked who gave no answer, per core item, and per role for the measures of the
    gradient; `role_mean_bounds` holds, for each of these, the means that follow if all who did not answer stood at either
    end of the scale (Manski 1989): bounds, not an interval. `cronbach_alpha` and `omega_total` are the reliability of each
    family of items on one scale. `endpoint_share` is the share of a person's ordinal answers that lie at either end of
    their scale, averaged per role: a habit of answering, not an attitude. `dif_f` tests whether, among executives alike on
    the other measures of the construct, roles still answer this one differently (ordinal logistic test of uniform
    differential functioning, Zumbo 1999); with two measures it cannot tell a habit of reading an item from a difference that
    only this item has, and says so. `circumstance_effect` is the difference that mode, language, source or panel membership
    makes, adjusted for role, and `role_sd_given` the spread between roles once it is held fixed (segment names what).

    Weights and replicates are the design's. Missing answers are what `item_nonresponse` counts; elsewhere a respondent
    without the answer is left out. Too few respondents, one mode, one item: `not_assessable`, with the number.
    """
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    measures = [item for item in instrument.measures(GRADIENT) if item.kind == "ordinal"]
    role = axis(instrument, instrument.keys.role) if instrument.keys.role else None
    for item in instrument.items:
        if _counted(item):
            _nonresponse(ledger, instrument, item, role if item in measures else None)
    for item in measures:
        if role is not None:
            _bounds(ledger, instrument, item, role)
    for name, items in _scales(instrument):
        _reliability(ledger, name, items)
    if role is not None:
        _styles(ledger, instrument, role)
        for item in measures:
            _differential(ledger, item, [other for other in measures if other is not item], role)
            _circumstances(ledger, instrument, item, role)
    return ledger.table()


def _counted(item: Item) -> bool:
    """Tell whether a blank is a refusal: an item of the core that is put to all of those who are asked."""
    substantive = bool(set(item.constructs) - {"sample"})
    return substantive and item.module == "core" and not item.sampled and item.kind not in {"text", "identifier"}


def _answered(design: SurveyDesign, item: Item) -> Mask:
    columns = [name for name in item.native_columns() if name in design.responses.columns]
    return np.asarray(design.responses[columns].notna().any(axis=1), dtype=bool)


def _share(
    ledger: Ledger,
    measure: str,
    statistic: str,
    hit: Mask,
    used: Mask,
    **fields: Any,  # noqa: ANN401
) -> None:
    """Add the share of `hit` among `used`, with Korn and Graubard's interval."""
    design = ledger.design
    n, clusters = int(used.sum()), design.clusters(used)
    if n == 0:
        ledger.refuse(measure, statistic, "proportion", "nobody was asked", n=0, **fields)
        return
    sums = weighted_sums(design, np.column_stack([hit, np.ones(len(hit))]), used)
    inference = infer(sums[:, 0] / sums[:, 1], clusters)
    se = float(np.nan_to_num(inference.std_error))
    interval = korn_graubard(float(inference.estimate), se if se > NIL else 0.0, n, clusters)
    ledger.add(
        measure, statistic, "proportion", hits=int((hit & used).sum()), estimate=interval.estimate,
        std_error=se if se > NIL else math.nan, conf_low=interval.conf_low, conf_high=interval.conf_high,
        conf_level=0.95, n=n, n_organisations=clusters, n_effective=interval.n_effective, method="korn_graubard",
        status="flagged" if n < SMALL_BASE else "ok",
        reason=f"small base: fewer than {SMALL_BASE} respondents" if n < SMALL_BASE else "", **fields,
    )  # fmt: skip


def _nonresponse(ledger: Ledger, instrument: Instrument, item: Item, role: Axis | None) -> None:
    design = ledger.design
    asked = instrument.asked(item.name, design.responses).fillna(value=False).to_numpy(dtype=bool)
    silent = ~_answered(design, item)
    _share(ledger, item.name, "item_nonresponse", silent, asked)
    if role is not None:
        code = design.codes(role)
        for g, label in enumerate(role.labels):
            _share(ledger, item.name, "item_nonresponse", silent, asked & (code == g), role=label)


def _bounds(ledger: Ledger, instrument: Instrument, item: Item, role: Axis) -> None:
    """Add the means of each role if all who did not answer stood at the lowest, or the highest, point."""
    design = ledger.design
    asked = instrument.asked(item.name, design.responses).fillna(value=False).to_numpy(dtype=bool)
    values = design.responses[item.name].to_numpy(dtype=np.float64, na_value=np.nan)
    code, low, high = design.codes(role), min(item.codes), max(item.codes)
    for g, label in enumerate(role.labels):
        used = asked & (code == g)
        silent, w = np.isnan(values) & used, design.weight
        n, clusters = int(used.sum()), design.clusters(used)
        base: dict[str, Any] = {"role": label, "n": n, "n_organisations": clusters, "method": "manski_bounds"}
        if n - int(silent.sum()) == 0:
            ledger.refuse(item.name, "role_mean_bounds", "scale_point", "nobody answered", **base)
            continue
        heard, lost, total = (w * np.nan_to_num(values))[used].sum(), w[silent].sum(), w[used].sum()
        ledger.add(
            item.name, "role_mean_bounds", "scale_point", estimate=heard / (total - lost),
            conf_low=(heard + low * lost) / total, conf_high=(heard + high * lost) / total,
            reason="ends: if all who did not answer stood at the lowest or the highest point; no sampling interval", **base,
        )  # fmt: skip


def _scales(instrument: Instrument) -> Iterator[tuple[str, list[Item]]]:
    """Yield the families whose items share an ordinal scale and ask one person of one thing: not of several roles."""
    roles = set(instrument.role_ids)
    for family in instrument.families:
        items = list(instrument.family(family.name))
        alike = len({item.scale for item in items}) == 1 and all(item.kind == "ordinal" for item in items)
        if alike and len(items) >= 2 and not any(item.member in roles for item in items):
            yield family.name, items


def _reliability(ledger: Ledger, name: str, items: Sequence[Item]) -> None:
    design = ledger.design
    values = design.responses[[item.name for item in items]].to_numpy(dtype=np.float64, na_value=np.nan)
    used = ~np.isnan(values).any(axis=1)
    n, clusters, k = int(used.sum()), design.clusters(used), values.shape[1]
    base: dict[str, Any] = {"n": n, "n_organisations": clusters}
    wanted = [("cronbach_alpha", cronbach_alpha), ("omega_total", omega_total)]
    if n < MINIMUM_FOR_SCALE or clusters < MINIMUM_CLUSTERS:
        reason = f"{MINIMUM_FOR_SCALE} respondents with all {k} answers are needed; there are {counted(n, MINIMUM_FOR_SCALE)}"
        for statistic, _ in wanted:
            ledger.refuse(name, statistic, "index", reason, **base)
        return
    centred = np.nan_to_num(values - np.nanmean(values, axis=0))
    first, second = np.triu_indices(k)
    sums = weighted_sums(
        design, np.column_stack([np.ones(len(values)), centred, centred[:, first] * centred[:, second]]), used
    )
    mean = sums[:, 1 : k + 1] / sums[:, :1]
    S = np.zeros((len(sums), k, k))
    S[:, first, second] = S[:, second, first] = sums[:, k + 1 :] / sums[:, :1] - mean[:, first] * mean[:, second]
    for statistic, coefficient in wanted:
        if statistic == "omega_total" and k < FEWEST_ITEMS:
            ledger.refuse(name, statistic, "index", f"a factor needs {FEWEST_ITEMS} items; there are {k}", **base)
            continue
        ledger.add_inferred(
            name, statistic, "index", infer(coefficient(S), clusters),
            reason=f"{k} items, one scale", **base,
        )  # fmt: skip


def _styles(ledger: Ledger, instrument: Instrument, role: Axis) -> None:
    """Add each role's average share of end points among a person's ordinal answers."""
    design = ledger.design
    share, given = endpoint_share(instrument, design)
    code, enough = design.codes(role), given >= FEWEST_FOR_STYLE
    for g, label in enumerate(role.labels):
        used = enough & (code == g)
        n, clusters = int(used.sum()), design.clusters(used)
        base: dict[str, Any] = {"role": label, "n": n, "n_organisations": clusters}
        if n < 2 or clusters < 2:
            reason = f"two respondents with {FEWEST_FOR_STYLE} ordinal answers from two organisations are needed; there are {n}"
            ledger.refuse("answers", "endpoint_share", "index", reason, **base)
            continue
        sums = weighted_sums(design, np.column_stack([share, np.ones(len(share))]), used)
        small = f"small base: fewer than {SMALL_BASE} respondents" if n < SMALL_BASE else ""
        ledger.add_inferred(
            "answers", "endpoint_share", "index", infer(sums[:, 0] / sums[:, 1], clusters),
            status="flagged" if small else "ok", reason=small, **base,
        )  # fmt: skip


def endpoint_share(instrument: Instrument, design: SurveyDesign) -> tuple[Floats, Ints]:
    """Return each respondent's share of ordinal answers at either end of their scale (n,), and how many they gave (n,).

    Scales of three points or fewer, the stages, and attention checks are left out: their ends are no habit.
    """
    stages = {instrument.keys.stage, instrument.keys.stage_organisation}
    ends, given = np.zeros(len(design.responses)), np.zeros(len(design.responses), dtype=np.int64)
    for item in instrument.items:
        if item.kind != "ordinal" or len(item.options) < 4 or item.name in stages or not item.constructs:
            continue
        values = design.responses[item.name].to_numpy(dtype=np.float64, na_value=np.nan)
        ends += np.isin(values, [min(item.codes), max(item.codes)])
        given += ~np.isnan(values)
    return ends / np.maximum(given, 1), given


def _differential(ledger: Ledger, item: Item, others: Sequence[Item], role: Axis) -> None:
    """Add the test of uniform differential functioning of one measure across roles, given the other measures."""
    if not others:
        reason = "a second measure of the construct is needed to match respondents on; there is none"
        ledger.refuse(item.name, "dif_f", "index", reason)
        return
    design = ledger.design
    values = design.responses[[item.name, *(other.name for other in others)]].to_numpy(
        dtype=np.float64, na_value=np.nan
    )
    code = design.codes(role)
    used = ~np.isnan(values).any(axis=1) & (code >= 0)
    kept = [g for g in range(len(role.labels)) if _carries(design, used & (code == g))]
    used &= np.isin(code, kept)
    n, clusters = int(used.sum()), design.clusters(used)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, "method": "clm"}
    q = len(kept) - 1
    if q < 1 or clusters <= q + 1:
        reason = f"two roles of {MINIMUM_FOR_SPREAD} respondents are needed; there are {len(kept)}"
        ledger.refuse(item.name, "dif_f", "index", reason, **base)
        return
    match = values[used, 1:].mean(axis=1)
    dummies = np.vstack([np.eye(q), -np.ones(q)])[np.searchsorted(kept, code[used])]
    levels, y = np.unique(values[used, 0], return_inverse=True)
    try:
        model = CumulativeLinkMixedModel(
            y, np.column_stack([match - match.mean(), dummies]), weights=design.weight[used] / design.weight[used].mean(),
            categories=levels.tolist(),
        ).fit()  # fmt: skip
    except (DesignError, ConvergenceError) as error:
        ledger.refuse(item.name, "dif_f", "index", f"the model cannot be fitted: {error.title}", **base)
        return
    statistic, p = _wald(model, design.cluster[used], len(levels) - 1 + 1, q)
    effects = np.append(model.fitted.coefficients[1:], -model.fitted.coefficients[1:].sum())
    smallest = min(int((used & (code == g)).sum()) for g in kept)
    fewest = min(design.clusters(used & (code == g)) for g in kept)
    widest = float(np.ptp(effects))
    other = listed(o.label for o in others)
    ledger.add(
        item.name, "dif_f", "index", estimate=statistic, p_value=p, adjustment="none", smallest=(smallest, fewest),
        status="flagged" if p < 0.05 else "ok",
        reason=f"at the same {other}, roles lie up to {widest:.1f} log odds apart"
        + ("; " + _caution(len(others)) if p < 0.05 else ""),
        **base,
    )  # fmt: skip


def _caution(others: int) -> str:
    if others == 1:
        return "two measures cannot tell a difference in reading the item from a difference that only it has"
    return "part of the difference between roles on this measure may be in how they read it"


def _wald(model: Any, cluster: Ints, start: int, q: int) -> tuple[float, float]:  # noqa: ANN401 - results of the model
    """Wald F of q coefficients from `start`, with the sandwich over organisations and G - q degrees of freedom."""
    from scipy import stats  # noqa: PLC0415 - its distributions are needed here alone

    at = model.fitted.at
    m = len(at.gradient) - 1
    key = np.unique(cluster, return_inverse=True)[1].reshape(-1)
    groups = int(key.max()) + 1
    scores = np.zeros((groups, m))
    np.add.at(scores, key, at.scores[:, :m])
    rows = scores @ np.linalg.inv(-at.hessian[:m, :m])
    V = (rows.T @ rows * (groups / (groups - 1.0)))[start : start + q, start : start + q]
    beta = model.fitted.coefficients[start - len(model.fitted.thresholds) :][:q]
    statistic = (groups - q) / ((groups - 1.0) * q) * float(beta @ np.linalg.solve(V, beta))
    return statistic, float(stats.f.sf(statistic, q, groups - q))


def _carries(design: SurveyDesign, used: Mask) -> bool:
    return int(used.sum()) >= MINIMUM_FOR_SPREAD and design.clusters(used) >= MINIMUM_CLUSTERS


def _circumstances(ledger: Ledger, instrument: Instrument, item: Item, role: Axis) -> None:
    """Add what mode, language, source and panel membership do to a measure, and the spread of roles with each held fixed."""
    design = ledger.design
    measure = Measure(item.name, tuple(float(option.code) for option in item.options))
    for slot in CIRCUMSTANCES:
        for circumstance in instrument.slot(slot):
            if circumstance.kind in {"single", "flag"}:
                _circumstance(ledger, measure, role, axis(instrument, circumstance.name), circumstance)
    share, given = endpoint_share(instrument, design)
    style = Axis("style", (0, 1), ("fewer end points", "more end points"))
    typical = float(np.median(share[given >= FEWEST_FOR_STYLE])) if (given >= FEWEST_FOR_STYLE).any() else 0.0
    _held_fixed(
        ledger, measure, role, style, np.where(given >= FEWEST_FOR_STYLE, (share > typical).astype(np.int64), -1),
        "style of answering",
    )  # fmt: skip


def _circumstance(ledger: Ledger, measure: Measure, role: Axis, by: Axis, item: Item) -> None:
    code = ledger.design.codes(by)
    layers = _held_fixed(ledger, measure, role, by, code, item.label)
    if layers is None:
        return
    effects, kept, n, clusters = layers
    for j, g in enumerate(kept):
        ledger.add_inferred(
            measure.name, "circumstance_effect", "scale_point", infer(effects[:, j], int(clusters[j])),
            segment=f"{by.name}={by.labels[g]}", n=int(n[j]), n_organisations=int(clusters[j]),
            reason=f"against the mean over {item.label.lower()}, at equal role",
        )  # fmt: skip


def _held_fixed(
    ledger: Ledger, measure: Measure, role: Axis, by: Axis, code: Ints, label: str
) -> tuple[Floats, list[int], Ints, Ints] | None:
    """Add the spread between roles at equal levels of `by`; return the levels' effects with their bases."""
    design = ledger.design
    roles, answer = design.codes(role), measure.index(design.responses)
    used = (answer >= 0) & (roles >= 0) & (code >= 0)
    while True:
        kept = [[g for g in np.unique(each[used]) if _carries(design, used & (each == g))] for each in (roles, code)]
        still = used & np.isin(roles, kept[0]) & np.isin(code, kept[1])
        if still.sum() == used.sum():
            break
        used = still
    segment = f"{by.name} held fixed"
    base: dict[str, Any] = {
        "segment": segment,
        "n": int(used.sum()),
        "n_organisations": design.clusters(used),
    }
    if any(len(levels) < 2 for levels in kept):
        which = "roles" if len(kept[0]) < 2 else f"levels of {label.lower()}"
        count = len(kept[0]) if len(kept[0]) < 2 else len(kept[1])
        reason = f"two {which} of {MINIMUM_FOR_SPREAD} respondents are needed; there are {count}"
        ledger.refuse(measure.name, "role_sd_given", "scale_point", reason, **base)
        return None
    first, second = np.searchsorted(kept[0], roles), np.searchsorted(kept[1], code)
    width = len(kept[1])
    cell = np.where(used, first * width + second, 0)
    size = len(kept[0]) * width
    score = np.asarray(measure.scores)[np.maximum(answer, 0)]
    indicator = np.zeros((len(cell), size))
    indicator[np.arange(len(cell)), cell] = 1.0
    weight = weighted_sums(design, indicator, used)
    total = weighted_sums(design, indicator * score[:, None], used)
    there = weight[0] > 0
    place = np.arange(size)[there]
    try:
        fit = adjusted_effects(weight[:, there], total[:, there], [place // width, place % width], ["role", by.name])
    except DesignError as error:
        ledger.refuse(measure.name, "role_sd_given", "scale_point", f"{error.title}: {error.got}", **base)
        return None
    bases = [
        np.array([[int((used & (each == g)).sum()), design.clusters(used & (each == g))] for g in levels])
        for each, levels in zip((roles, code), kept, strict=True)
    ]
    clusters = bases[0][:, 1]
    errors = (fit.effects[0][1:] - fit.effects[0][0]) * small_sample_factor(clusters) * t_scale(clusters)
    found = spread(fit.effects[0][0], errors)
    thin = np.vstack(bases).min(axis=0)
    ledger.add(
        measure.name, "role_sd_given", "scale_point", draws=found.sd_draws, smallest=(int(thin[0]), int(thin[1])),
        estimate=found.sd_corrected, reason=f"at equal {label.lower()}", **interval_of(found.sd_draws), **base,
    )  # fmt: skip
    return fit.effects[1], list(kept[1]), bases[1][:, 0], bases[1][:, 1]
