"""Practices and outcomes: objectives, delay, bottlenecks, rework, decisions and the cost of delay.

What project leads say of one project each, in an optional module. Their functions are a second scheme of roles and are kept
apart from the executive roles. Own code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import axis, layer_weights, weighted_sums
from fieldwork.constructs.colleagues import MINIMUM_ORGANISATIONS, answers
from fieldwork.constructs.comparisons import (
    MINIMUM_SIDE,
    Confounders,
    Outcome,
    Sides,
    compare,
    confounders,
    share,
)
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Estimates, Ledger, Wanted, counted
from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics.regressions import least_squares, log_linear, regression_inference
from fieldwork.statistics.reliability import cronbach_alpha, omega_total
from fieldwork.statistics.replicates import Floats, Ints, infer

if TYPE_CHECKING:
    from fieldwork.constructs.cells import Axis, SurveyDesign
    from fieldwork.instrument import Instrument, Item

__all__ = ["MINIMUM_FOR_SLOPE", "STALE_DAYS", "estimate_for"]

Mask = npt.NDArray[np.bool_]

CONSTRUCT = "practices"
CHAPTER = "08b_practices"
STALE_DAYS = 90.0  # knot of the roadmap's age, set before any data (measures.md, H35)
MINIMUM_FOR_SLOPE = 30  # respondents behind a slope or a reliability
MINIMUM_FOR_LEVEL = 8  # ordinal answers by which a person's general level is told
LEAST_POINTS = 4  # of a scale whose top two points are agreement
ASSOCIATION = "an association"
ONE_SOURCE = "one person rates both, so that mood alone ties the two together; the person's general level is held fixed"


def estimate_for(instrument: Instrument, design: SurveyDesign, wanted: Sequence[Wanted] = ()) -> Estimates:
    """Estimate what goes with objectives, practices, layers of approval, the age of a roadmap and leadership.

    Weights and replicates are the design's, organisations are clusters, and confounders those that the instrument declares
    (`constructs.comparisons`). Every comparison wants 10 respondents from 5 organisations on either side; below it is
    `not_assessable` with the number.

    **Objectives** (slots `team_fn`, `obj_rank`): `share` of each function; `share` of a function (segment) that ranks an
    objective (item) first, and `risk_difference` to the other functions. **Delay** (`delay`): `share` of projects delayed;
    `mismatch_share`, the share of delayed projects whose organisation's leads, of two functions or more, do not all put one
    objective first; `risk_difference` of delay, differing less shared objectives. The questionnaire names no project, so the
    leads of an organisation stand for those of a project.

    **Practices** (items of slot `prac`, agreement in the top two points against less): `time_ratio` of the median time to
    deployment (`t_deploy` in weeks, censored at `t_open` where the project is not in use yet; a log-normal accelerated failure
    time model), `rate_ratio` of bottlenecks (`bott`) and of the share of rework (`rework`; Poisson pseudo-likelihood),
    `mean_difference` in satisfaction (`sat`). "Up to 30% faster" is no estimand: the ratio is held against 1 / 1.25.

    **Decisions**: `time_ratio` of `t_dec` per layer of approval (`layers`), a ratio of mean times (log-linear). **Roadmap**:
    `mean_difference` in trust (`road_trust`), revised within 90 days less longer ago (`road_age`), and `jump`, the
    difference at 90 days itself in a line that may bend there. **Leadership** (items of slot `lead`): `slope` of satisfaction
    per point of the scale's mean, `slope_raw` without the person's general level, and the scale's `cronbach_alpha` and
    `omega_total`.

    Satisfaction is rated by the person who rates the practice or the leader. The person's general level, the mean of their
    standardised answers to the ordinal items of the core, is held fixed there (a marker of common-method variance: Lindell and
    Whitney 2001); what it leaves is not a causal effect either (Podsakoff et al. 2003).

    References: Lindell, M. and Whitney, D. (2001), J. Appl. Psychol. 86, 114-121; Podsakoff, P. et al. (2003), J. Appl.
    Psychol. 88, 879-903.
    """
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    held = confounders(instrument, design)
    level = general_level(instrument, design)
    _objectives(ledger, instrument)
    _delay(ledger, instrument, held)
    practices = instrument.slot("prac")
    for practice in practices:
        if practice.kind == "ordinal" and len(practice.options) >= LEAST_POINTS:
            _practice(ledger, instrument, practice, held, level)
    if not practices:
        ledger.refuse("prac", "time_ratio", "ratio", "the wave does not ask about practices")
    _decisions(ledger, instrument, held)
    _roadmap(ledger, instrument, held)
    _leadership(ledger, instrument, held, level)
    ledger.complete(wanted, "the wave does not ask it, or has no such function or answer")
    return ledger.table()


def general_level(instrument: Instrument, design: SurveyDesign) -> Floats:
    """Return each respondent's mean standardised answer to the core's ordinal items (n,); nan below 8 answers.

    Left out are stages, items of some roles or about a role, conditional items and attention checks. Standardised by the
    weighted mean and deviation of each item.
    """
    keys = instrument.keys
    columns = []
    for item in instrument.items:
        own = item.kind == "ordinal" and item.module == "core" and set(item.constructs) - {"sample"}
        aside = item.name in {keys.stage, keys.stage_organisation} or item.asked_of or item.asked_if or item.member
        if not own or aside or len(item.options) < LEAST_POINTS:
            continue
        values = answers(design, item)
        there = ~np.isnan(values)
        if not there.any():
            continue
        mean = np.average(values[there], weights=design.weight[there])
        deviation = np.sqrt(np.average((values[there] - mean) ** 2, weights=design.weight[there]))
        if deviation > NIL:
            columns.append((values - mean) / deviation)
    if not columns:
        return np.full(len(design.responses), np.nan)
    table = np.column_stack(columns)
    given = (~np.isnan(table)).sum(axis=1)
    return np.where(given >= MINIMUM_FOR_LEVEL, np.nansum(table, axis=1) / np.maximum(given, 1), np.nan)


# ----------------------------------------------------------------------------------------------- objectives and delay


@dataclass(frozen=True, slots=True)
class _Leads:
    """Functions of the project leads and what they put first.

    Attributes
    ----------
    function : Axis         The second scheme of roles.
    code : (n,) int         Function of each respondent, -1 for none.
    first : (n,) int        Position of the objective ranked first, -1 where none or two were.
    """

    function: Axis
    code: Ints
    first: Ints

    @property
    def known(self) -> Mask:
        """Who told both (n,)."""
        return (self.code >= 0) & (self.first >= 0)


def _leads(instrument: Instrument, design: SurveyDesign) -> _Leads | None:
    function, objectives = instrument.slot("team_fn"), instrument.slot("obj_rank")
    if not function or not objectives:
        return None
    known = axis(instrument, function[0].name)
    ranks = np.column_stack([answers(design, item) for item in objectives])
    top = ranks == 1.0
    first = np.where(top.sum(axis=1) == 1, top.argmax(axis=1), -1)
    return _Leads(known, design.codes(known), first.astype(np.int64))


def _objectives(ledger: Ledger, instrument: Instrument) -> None:
    design = ledger.design
    leads = _leads(instrument, design)
    objectives = instrument.slot("obj_rank")
    if leads is None:
        ledger.refuse("obj_rank", "risk_difference", "proportion", "the wave does not ask for function and objectives")
        return
    name = leads.function.name
    for g, label in enumerate(leads.function.labels):
        share(ledger, name, "share", leads.code == g, leads.code >= 0, adds_up=name, item=label)
    measure = objectives[0].family or objectives[0].name
    nothing = Confounders((), (), ())
    for g, label in enumerate(leads.function.labels):
        mine = leads.known & (leads.code == g)
        sides = Sides(mine, leads.known & (leads.code != g), (label.replace("_", " "), "the other functions"))
        for j, objective in enumerate(objectives):
            segment, item = f"{name}={label}", objective.member or objective.name
            ranked = leads.first == j
            # Objectives of a function add to one; functions of an objective to its share of all, which a difference tells.
            sets = f"{measure}|{segment};{measure}|{item}"
            share(ledger, measure, "share", ranked, mine, adds_up=sets, segment=segment, item=item)
            compare(
                ledger, measure, "risk_difference", "proportion", Outcome("difference", ranked.astype(np.float64)), sides,
                held=nothing, tells=f"{measure}|{segment}|{item}", segment=segment, item=item,
            )  # fmt: skip


def _delay(ledger: Ledger, instrument: Instrument, held: Confounders) -> None:
    design = ledger.design
    delay = instrument.slot("delay")
    leads = _leads(instrument, design)
    measure = delay[0].name if delay else "delay"
    reason = ""
    if not delay:
        reason = "the wave does not ask about delay"
    elif leads is None:
        reason = "the wave does not ask for function and objectives"
    elif not design.has_organisations:
        reason = "the survey names no organisations, so that nobody can tell which leads worked together"
    if delay:
        values = answers(design, delay[0])
        share(ledger, measure, "share", values > 0.5, ~np.isnan(values))
    if reason or leads is None:
        for statistic in ("mismatch_share", "risk_difference"):
            ledger.refuse(measure, statistic, "proportion", reason)
        return
    values = answers(design, delay[0])
    mixed, mismatch = _differing(design, leads)
    late = mixed & (values > 0.5)
    n, clusters = int(late.sum()), design.clusters(late)
    note = "leads of one organisation, of two functions or more, stand for those of a project"
    if n < MINIMUM_SIDE or clusters < MINIMUM_ORGANISATIONS:
        ledger.refuse(
            measure, "mismatch_share", "proportion",
            f"{MINIMUM_SIDE} leads of delayed projects in organisations with leads of two functions are needed; there are "
            f"{counted(n)} in {clusters} organisations", n=n, n_organisations=clusters,
        )  # fmt: skip
    else:
        share(ledger, measure, "mismatch_share", mismatch, late, note=note)
    compare(
        ledger, measure, "risk_difference", "proportion", Outcome("difference", values),
        Sides(mixed & mismatch, mixed & ~mismatch, ("differing objectives", "shared objectives")), held=held,
        note=f"{ASSOCIATION}; {note}",
    )  # fmt: skip


def _differing(design: SurveyDesign, leads: _Leads) -> tuple[Mask, Mask]:
    """Tell who has a colleague of another function (n,), and in whose organisation two such put different objectives first."""
    C, F, K = design.multiplier.shape[1], len(leads.function.codes), int(leads.first.max(initial=0)) + 1
    counts = np.zeros((C, F, K))
    known = leads.known
    np.add.at(counts, (design.cluster[known], leads.code[known], leads.first[known]), 1.0)
    functions = (counts.sum(axis=2) > 0).sum(axis=1)
    n = counts.sum(axis=(1, 2))
    alike = (counts.sum(axis=2) ** 2).sum(axis=1) + (counts.sum(axis=1) ** 2).sum(axis=1) - (counts**2).sum(axis=(1, 2))
    mixed = known & (functions[design.cluster] >= 2)
    return mixed, mixed & ((n**2 - alike) > 0)[design.cluster]


# ------------------------------------------------------------------------------------------------------------ practices


def _practice(ledger: Ledger, instrument: Instrument, practice: Item, held: Confounders, level: Floats) -> None:
    design = ledger.design
    values = answers(design, practice)
    high = values >= sorted(practice.codes)[-2]
    sides = Sides(high & ~np.isnan(values), ~high & ~np.isnan(values), ("agree with the practice", "do not"))
    _time_to_deploy(ledger, instrument, practice, sides, held)
    for slot, statistic, unit in (
        ("bott", "rate_ratio", "ratio"), ("rework", "rate_ratio", "ratio"), ("sat", "mean_difference", "scale_point")
    ):  # fmt: skip
        of = instrument.slot(slot)
        if not of:
            ledger.refuse(slot, statistic, unit, "the wave does not ask it", item=practice.name)
            continue
        ratio = unit == "ratio"
        compare(
            ledger, of[0].name, statistic, unit, Outcome("ratio" if ratio else "difference", answers(design, of[0])),
            sides, held=held, beside={} if ratio else {"level": _among(level, sides)},
            note=ASSOCIATION if ratio else f"{ASSOCIATION}; {ONE_SOURCE}", item=practice.name,
        )  # fmt: skip


def _among(column: Floats, sides: Sides) -> Floats:
    """Return a column for those on either side alone (n,)."""
    return np.where(sides.first | sides.second, column, np.nan)


def _time_to_deploy(ledger: Ledger, instrument: Instrument, practice: Item, sides: Sides, held: Confounders) -> None:
    design = ledger.design
    deploy, still = instrument.slot("t_deploy"), instrument.slot("t_open")
    measure = deploy[0].name if deploy else "t_deploy"
    if not deploy:
        ledger.refuse(measure, "time_ratio", "ratio", "the wave does not ask it", item=practice.name)
        return
    time = answers(design, deploy[0])
    since = answers(design, still[0]) if still else np.full(len(time), np.nan)
    running = np.isnan(time) & ~np.isnan(since)
    silent = int((np.isnan(time) & (sides.first | sides.second)).sum())
    if not still and silent:
        reason = (
            f"{silent} projects have no time to deployment, and the wave does not ask since when they have been running"
        )
        ledger.refuse(measure, "time_ratio", "ratio", reason, item=practice.name)
        return
    # Given in whole weeks, so that 3 is anything from 2.5 to 3.5; one that is running has lasted at least as long as told.
    lower = np.where(running, np.maximum(since, 0.25), time - 0.5)
    upper = np.where(running, np.inf, time + 0.5)
    told = (sides.first | sides.second) & ~np.isnan(lower)
    open_ended = float(running[told].mean()) if told.any() else 0.0
    compare(
        ledger, measure, "time_ratio", "ratio", Outcome("time", lower, upper), sides, held=held,
        note=f"{ASSOCIATION}; projects not in use yet ({open_ended:.0%}) count as still running", item=practice.name,
    )  # fmt: skip


# -------------------------------------------------------------------------------------- decisions, roadmap, leadership


def _decisions(ledger: Ledger, instrument: Instrument, held: Confounders) -> None:
    layers, time = instrument.slot("layers"), instrument.slot("t_dec")
    measure, item = time[0].name if time else "t_dec", layers[0].name if layers else "layers"
    if not layers or not time:
        ledger.refuse(measure, "time_ratio", "ratio", "the wave does not ask for layers and decision times", item=item)
        return
    _slope(
        ledger, measure, "time_ratio", "ratio", answers(ledger.design, time[0]),
        [answers(ledger.design, layers[0])], held=held, item=item,
        note=f"per layer of approval; {ASSOCIATION}: larger decisions pass more layers, and times are remembered",
    )  # fmt: skip


def _slope(
    ledger: Ledger, measure: str, statistic: str, unit: str, outcome: Floats, columns: Sequence[Floats], *,
    held: Confounders, item: str, note: str,
) -> None:  # fmt: skip
    """Add the coefficient of the first column, the others and the confounders held fixed; exp of it for a ratio."""
    design = ledger.design
    used = ~np.isnan(outcome) & np.all([~np.isnan(column) for column in columns], axis=0)
    n, clusters = int(used.sum()), design.clusters(used)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, "item": item}
    if n < MINIMUM_FOR_SLOPE:
        ledger.refuse(
            measure,
            statistic,
            unit,
            f"{MINIMUM_FOR_SLOPE} respondents are needed; there are {counted(n, MINIMUM_FOR_SLOPE)}",
            **base,
        )
        return
    X = np.column_stack([np.ones(n), *(column[used] for column in columns), held.columns(used)])
    fit = log_linear if unit == "ratio" else least_squares
    try:
        found = fit(X, outcome[used], layer_weights(design, used))
        inference = regression_inference(found.coefficients[:, 1], clusters, found.parameters)
    except (DesignError, ConvergenceError) as error:
        ledger.refuse(measure, statistic, unit, f"the model cannot be fitted: {error.title}, {error.got}", **base)
        return
    reason = "; ".join(text for text in (note, held.words) if text)
    if unit != "ratio":
        ledger.add_inferred(measure, statistic, unit, inference, reason=reason, **base)
        return
    ratio, se = float(np.exp(inference.estimate)), float(inference.std_error)
    ledger.add(
        measure, statistic, unit, draws=np.exp(inference.draws), estimate=ratio, std_error=ratio * se,
        conf_low=float(np.exp(inference.conf_low)), conf_high=float(np.exp(inference.conf_high)), conf_level=0.95,
        reason=reason, **base,
    )  # fmt: skip


def _roadmap(ledger: Ledger, instrument: Instrument, held: Confounders) -> None:
    design = ledger.design
    age, trust = instrument.slot("road_age"), instrument.slot("road_trust")
    measure, item = trust[0].name if trust else "road_trust", age[0].name if age else "road_age"
    if not age or not trust:
        for statistic in ("mean_difference", "jump"):
            reason = "the wave does not ask for a roadmap's age and the trust in it"
            ledger.refuse(measure, statistic, "scale_point", reason, item=item)
        return
    days = answers(design, age[0])
    told = ~np.isnan(days)
    fresh = told & (days <= STALE_DAYS)
    sides = Sides(fresh, told & ~fresh, (f"revised within {STALE_DAYS:.0f} days", "longer ago"))
    at_knot = float((days[told] == STALE_DAYS).mean()) if told.any() else 0.0
    outcome = Outcome("difference", answers(design, trust[0]))
    note = f"{ASSOCIATION}: a roadmap that is not trusted may not be revised either"
    compare(
        ledger, measure, "mean_difference", "scale_point", outcome, sides, held=held, item=item,
        note=f"{note}; {at_knot:.0%} of the ages lie on the knot itself",
    )  # fmt: skip
    centred = np.where(told, (days - STALE_DAYS) / STALE_DAYS, np.nan)
    compare(
        ledger, measure, "jump", "scale_point", outcome, sides, held=held, item=item,
        beside={"before": np.minimum(centred, 0.0), "after": np.maximum(centred, 0.0)},
        note=f"at {STALE_DAYS:.0f} days, in a line that may bend there",
    )  # fmt: skip


def _leadership(ledger: Ledger, instrument: Instrument, held: Confounders, level: Floats) -> None:
    design = ledger.design
    lead, sat = instrument.slot("lead"), instrument.slot("sat")
    measure = sat[0].name if sat else "sat"
    if not lead or not sat:
        for statistic in ("slope", "slope_raw"):
            ledger.refuse(
                measure, statistic, "scale_point", "the wave does not ask for leadership and satisfaction", item="lead"
            )
        return
    table = np.column_stack([answers(design, item) for item in lead])
    reliability = _reliability(ledger, "lead", table)
    scale = table.mean(axis=1)
    outcome = answers(design, sat[0])
    for statistic, columns, note in (
        ("slope", [scale, level], f"per point of the scale, {reliability}; {ASSOCIATION}: {ONE_SOURCE}"),
        ("slope_raw", [scale], "the same without the person's general level: mood alone would give a slope"),
    ):
        _slope(
            ledger, measure, statistic, "scale_point", outcome, columns, held=held, item="lead", note=note
        )  # fmt: skip


def _reliability(ledger: Ledger, measure: str, table: Floats) -> str:
    """Add alpha and omega of the sum of the items (n, k); return in words how reliable it is."""
    design = ledger.design
    used = np.asarray(~np.isnan(table).any(axis=1))
    n, clusters, k = int(used.sum()), design.clusters(used), table.shape[1]
    base: dict[str, Any] = {"n": n, "n_organisations": clusters}
    wanted = (("cronbach_alpha", cronbach_alpha, 2), ("omega_total", omega_total, 3))
    if n < MINIMUM_FOR_SLOPE or clusters < MINIMUM_ORGANISATIONS or k < 2:
        there = counted(n, MINIMUM_FOR_SLOPE)
        reason = f"{MINIMUM_FOR_SLOPE} respondents with all of two items or more are needed; there are {there} with {k}"
        for statistic, _, _ in wanted:
            ledger.refuse(measure, statistic, "index", reason, **base)
        return "its reliability not known"
    centred = np.nan_to_num(table - np.nanmean(table, axis=0))
    first, second = np.triu_indices(k)
    sums = weighted_sums(
        design, np.column_stack([np.ones(len(table)), centred, centred[:, first] * centred[:, second]]), used
    )
    mean = sums[:, 1 : k + 1] / sums[:, :1]
    S = np.zeros((len(sums), k, k))
    S[:, first, second] = S[:, second, first] = sums[:, k + 1 :] / sums[:, :1] - mean[:, first] * mean[:, second]
    told = []
    for statistic, coefficient, fewest in wanted:
        if k < fewest:
            ledger.refuse(measure, statistic, "index", f"a factor needs {fewest} items; there are {k}", **base)
            continue
        found = infer(coefficient(S), clusters)
        told.append(f"{statistic.removeprefix('cronbach_').removesuffix('_total')} {float(found.estimate):.2f}")
        small = f"small base: fewer than {SMALL_BASE} respondents" if n < SMALL_BASE else ""
        ledger.add_inferred(
            measure, statistic, "index", found, status="flagged" if small else "ok",
            reason="; ".join(text for text in (f"{k} items, one scale", small) if text), **base,
        )  # fmt: skip
    return f"reliability {' and '.join(told)}"
