"""Blockers: which roles cite which, compared as several answers of one person in one organisation.

Population level (roles compared across organisations) but for `jaccard_excess`, `majority_share` and `effective_number`,
which speak of the executives of one organisation together. Definitions, minimum bases and worked examples: measures.md 2.7
and 2.8. Own code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import special

from fieldwork.constructs.citations import (
    joined,
    log_row,
    numbers,
    profiles,
    quotients,
    seed_of,
    within_organisations,
)
from fieldwork.constructs.comparisons import imprecise
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Estimates, Ledger, Wanted
from fieldwork.constructs.multi_answers import (
    AnswerTable,
    Group,
    MultiAnswers,
    answer_table,
    answers_of,
    carries,
    enough,
    kept_roles,
    left_out,
    thinnest,
)
from fieldwork.constructs.together import STATISTIC as TOGETHER
from fieldwork.constructs.together import together
from fieldwork.errors import DesignError, listed
from fieldwork.schema import tuples_of
from fieldwork.statistics.multiplicity import benjamini_hochberg
from fieldwork.statistics.multiresponse import Tally, each_against_others, item_statistics, items_test, permutation_test
from fieldwork.statistics.proportion import (
    difference_quantile,
    effective_sample,
    korn_graubard,
    largest_share_quantile,
    layer_correlation,
    replicate_places,
)
from fieldwork.statistics.replicates import Floats, Inference, Ints, infer

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument

__all__ = ["Wanted", "estimate", "estimate_for"]

CONSTRUCT = "blockers"
CHAPTER = "05_blockers"
_KEY = ["measure", "statistic", "role", "role_2", "stage", "segment", "item"]


# What each part of `estimate` makes, by which a part is left out where only what claims read is asked for.
_SHARES = frozenset({"prevalence", "at_cap_share"})
_NUMBERS = frozenset({"mean_cited", "role_effective_number"})
_TESTS = frozenset({"item_f", "profiles_f", "profiles_permutation"})
_CONTRASTS = frozenset({"risk_difference", "prevalence_ratio"})
_QUOTIENTS = frozenset({"location_quotient"})
_PROFILES = frozenset(
    f"{index}{part}" for index in ("dissimilarity", "jensen_shannon") for part in ("", "_excess", "_chance")
)
_WITHIN = frozenset({"jaccard_excess", "majority_share", "effective_number"})
_ALL = _SHARES | _NUMBERS | _TESTS | _CONTRASTS | _QUOTIENTS | _PROFILES | _WITHIN | {TOGETHER}


def estimate_for(
    instrument: Instrument, design: SurveyDesign, wanted: Sequence[Wanted] = (), *, only_wanted: bool = False
) -> Estimates:
    """Estimate every multi-select item that the instrument tags with the construct, or that a claim reads as blockers.

    Parameters
    ----------
    wanted : rows that claims read (`Register.wanted`). They name the items beyond the tagged ones, the
        roles that are to be taken together, and the roles and options of which `prevalence_max_other` is asked.
    only_wanted : leave out every row that is not wanted, and refusals of items and statistics of which none is; and with the
        tests over all roles the p-values beside differences and ratios, which no claim reads: it is judged on its own draws.

    A wave that asks no such item gives one row that says so, and a row for each wanted one that says why it is not there.
    """
    asked_for = list(wanted)
    named = dict.fromkeys(each.measure for each in asked_for)
    items = [
        item
        for item in instrument.items
        if item.kind == "multi" and (item.name in named or (CONSTRUCT in item.constructs and not only_wanted))
    ]
    made = estimate(
        design, [answers_of(instrument, design, item) for item in items], wave=instrument.wave, wanted=asked_for,
        only_wanted=only_wanted,
    )  # fmt: skip
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    if not items:
        ledger.refuse(
            "", "prevalence", "proportion", "the instrument of this wave asks no question with several answers"
        )
    there = set(tuples_of(made.bases[_KEY]))
    for each in asked_for:
        reason = _not_there(instrument, each)
        if reason and _key(each) not in there:
            ledger.refuse(
                each.measure, each.statistic, each.unit, reason, role=each.role, role_2=each.role_2, stage=each.stage,
                segment=each.segment, item=each.item,
            )  # fmt: skip
    return Estimates.joined([made, ledger.table()])


def _key(wanted: Wanted) -> tuple[str, ...]:
    return tuple(getattr(wanted, name) for name in _KEY)


def _not_there(instrument: Instrument, wanted: Wanted) -> str:
    """Say why this wave cannot have a row; empty where only a slip of the register explains it."""
    if wanted.measure in instrument.not_asked:
        return f"this wave does not ask it: asked {instrument.not_asked[wanted.measure]}"
    if wanted.measure not in instrument:
        return ""
    roles = [name for name in f"{wanted.role}+{wanted.role_2}".split("+") if name]
    unknown = [name for name in roles if name not in instrument.role_ids]
    if unknown:
        return f"the instrument has no {listed(unknown)}"
    if wanted.stage and wanted.stage not in instrument.stage_ids:
        return f"the instrument has no stage {wanted.stage}"
    if wanted.item and wanted.item not in {option.id for option in instrument.item(wanted.measure).options}:
        return f"this wave does not offer the answer {wanted.item}"
    return ""


def estimate(
    design: SurveyDesign,
    items: Sequence[MultiAnswers],
    *,
    wave: str,
    chapter: str = CHAPTER,
    wanted: Sequence[Wanted] = (),
    only_wanted: bool = False,
) -> Estimates:
    """Estimate who cites what, and how far roles differ in it, for each multi-select item.

    Of each option: `prevalence`, its share among those asked, by role and over all (Korn-Graubard); `risk_difference`, the
    role's share less that of all other named roles (square-and-add of Wilson's limits at the effective sizes, with the
    correlation of the two groups); `prevalence_ratio`, the role's share over that of all (log scale, t);
    `location_quotient`, the option's share of the role's citations over its share of all citations. Differences and ratios
    carry the two-sided p-value of one role against the others (Rao-Scott, 1 degree of freedom), adjusted by Benjamini and
    Hochberg over all roles and options. `item_f` tests one option over all roles, adjusted over the options. `profiles_f`
    tests all options at once by the Rao-Scott sum of per-option X2, `profiles_permutation` the same sum by exchanging whole
    answer sets between colleagues of one organisation.

    Of two options: `cited_together`, the share of all asked that cites both (`together`).

    Of the citations: `mean_cited`, how many options a respondent cites, and `role_effective_number`, over how many a role's
    citations spread (Hill 1, first-order bias taken out by the replicate variance). `dissimilarity_excess` and
    `jensen_shannon_excess` (bits) are how far the roles' citation profiles lie apart beyond chance (`beyond_chance`), over all
    and at each stage; `dissimilarity`, `dissimilarity_chance`, `jensen_shannon` and `jensen_shannon_chance` are the observed
    value and what dealing answer sets out at random gives. Of organisations with three informants or more: `jaccard_excess`,
    `majority_share`, `effective_number`. Of a capped item: `at_cap_share`. `prevalence_max_other`: see `_max_other`.

    Options that stand alone (none, all, don't know) have shares, differences and ratios; profiles and numbers of answers
    leave them out. Who was not asked is in no base; who ticked nothing is in it. A respondent without a role counts over all
    only. Indices want 10 respondents of 5 organisations in a role; thinner roles are left out and named.

    Parameters
    ----------
    items : multi-select items as answered. wanted, only_wanted : rows that claims read; see `estimate_for`.
    """
    only = frozenset(each.key for each in wanted) if only_wanted else None
    ledger = Ledger(design, wave, chapter, CONSTRUCT, only=only)
    for answers in items:
        mine = [each for each in wanted if each.measure == answers.measure]
        if not answers.any_asked.any():
            _refuse_all(ledger, answers, mine)
            continue
        table = answer_table(design, answers)
        read = frozenset(each.statistic for each in mine) if only_wanted else _ALL
        if read & _SHARES:
            _shares(ledger, table)
        if read & _NUMBERS:
            numbers(ledger, table)
        if TOGETHER in read:
            together(ledger, answers)
        if design.role is None:
            for statistic, unit in (("risk_difference", "proportion"), ("dissimilarity_excess", "index")):
                ledger.refuse(answers.measure, statistic, unit, "the instrument of this wave has no roles")
        else:
            _between_roles(ledger, table, mine, read)
        if read & _WITHIN:
            within_organisations(ledger, answers)
    return ledger.table()


def _between_roles(ledger: Ledger, table: AnswerTable, wanted: Sequence[Wanted], read: frozenset[str]) -> None:
    """Add what sets roles side by side, as far as one of the statistics is read."""
    tests = _grid(ledger, table) if read & _TESTS else _Tests({}, {}, 0)
    if read & _CONTRASTS:
        together = [each.role for each in wanted if "+" in each.role]
        alone = table.roles if read is _ALL else [each.role for each in wanted if each.statistic in _CONTRASTS]
        _contrasts(ledger, table, tests, [*(role for role in table.roles if role in alone), *together])
    if read & _QUOTIENTS:
        quotients(ledger, table)
    if read & _PROFILES:
        # A claim speaks of one stage or of all; the others cost a permutation test each.
        spoken = None if read is _ALL else {each.stage for each in wanted if each.statistic in _PROFILES}
        profiles(ledger, table, spoken)
    for each in wanted:
        if each.statistic == "prevalence_max_other" and each.item in table.answers.options:
            _max_other(ledger, table, each)


def _refuse_all(ledger: Ledger, answers: MultiAnswers, wanted: Sequence[Wanted]) -> None:
    ledger.refuse(answers.measure, "prevalence", "proportion", "nobody was asked, or nobody answered", n=0)
    for each in wanted:
        ledger.refuse(
            each.measure, each.statistic, each.unit, "nobody was asked, or nobody answered", role=each.role,
            role_2=each.role_2, stage=each.stage, segment=each.segment, item=each.item, n=0,
        )  # fmt: skip


# -- shares ------------------------------------------------------------------------------------------------------------


def _shares(ledger: Ledger, table: AnswerTable) -> None:
    """Add the share citing each option, by role and over all, and the share at the cap."""
    answers = table.answers
    groups = [("", range(len(table.roles) + 1)), *((label, [place]) for place, label in enumerate(table.roles))]
    competing = f"at most {answers.cap} answers were allowed, so answers compete" if answers.cap else ""
    for label, places in groups:
        group = table.group(list(places))
        inference = infer(group.share, group.organisations)
        for j, option in enumerate(answers.options):
            _share_row(ledger, answers.measure, "prevalence", group, inference, j, competing, role=label, item=option)
    if answers.cap is None:
        return
    at_cap = answers.ticks[:, answers.free].sum(axis=1) >= answers.cap
    capped = MultiAnswers(
        answers.measure, ("cap",), np.array([True]), None, np.where(answers.any_asked, at_cap, 0.0)[:, None],
        answers.any_asked[:, None],
    )  # fmt: skip
    group = answer_table(table.design, capped).everyone
    reason = f"share that gave {answers.cap} answers or more: they may have meant more"
    _share_row(ledger, answers.measure, "at_cap_share", group, infer(group.share, group.organisations), 0, reason)


def _share_row(
    ledger: Ledger, measure: str, statistic: str, group: Group, inference: Inference, j: int, note: str, **key: str
) -> None:
    n, organisations = int(group.n[j]), int(group.organisations[j])
    base: dict[str, Any] = {"n": n, "n_organisations": organisations, **key}
    if n == 0:
        ledger.refuse(measure, statistic, "proportion", "nobody was asked, or nobody answered", **base)
        return
    se = float(np.nan_to_num(inference.std_error[j]))
    se = se if se > NIL else 0.0
    interval = korn_graubard(float(inference.estimate[j]), se, n, organisations)
    warning = imprecise(interval, n)
    ledger.add(
        measure,
        statistic,
        "proportion",
        draws=interval.quantile(replicate_places(inference.draws[:, j])) if organisations > 1 else None,
        hits=int(group.hits[j]),
        estimate=interval.estimate,
        std_error=se if se > 0 else math.nan,
        conf_low=interval.conf_low,
        conf_high=interval.conf_high,
        conf_level=0.95,
        n_effective=interval.n_effective,
        method="korn_graubard",
        status="flagged" if warning else "ok",
        reason=joined(note, warning),
        **base,
    )


# -- one role against the others ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tests:
    """P-values of one role against the others, by (role, option), and adjusted over all of them."""

    p: dict[tuple[str, str], float]
    adjusted: dict[tuple[str, str], float]
    size: int


def _grid(ledger: Ledger, table: AnswerTable) -> _Tests:
    """Test every role against the others on every option, and add the tests over all roles."""
    design, answers, measure = table.design, table.answers, table.answers.measure
    named = (table.role < len(table.roles)) & answers.any_asked
    kept, thin = kept_roles(table, named)
    rows = np.flatnonzero(np.isin(table.role, kept) & named)
    base: dict[str, Any] = {"n": len(rows), "n_organisations": design.clusters(rows)}
    statistics = (("profiles_f", "index"), ("profiles_permutation", "ratio"))
    if len(kept) < 2 or base["n_organisations"] < 2:
        reason = f"two roles of {enough(design)} are needed; there are {len(kept)}"
        for statistic, unit in statistics:
            ledger.refuse(measure, statistic, unit, reason, **base)
        return _Tests({}, {}, 0)
    cited = np.where(answers.asked[rows], answers.ticks[rows], np.nan)
    label = np.array(table.roles, dtype=object)[table.role[rows]]
    cluster = design.cluster[rows]
    weight = design.weight[rows]
    smallest = thinnest(table, named, kept)
    shared: dict[str, Any] = {
        "smallest": smallest, "status": "flagged" if thin else "ok", "reason": left_out(design, thin), **base
    }  # fmt: skip
    free = np.flatnonzero(answers.free)
    try:
        whole = items_test(cited[:, free], label, weight=weight, cluster=cluster)
    except DesignError as error:
        for statistic, unit in statistics:
            ledger.refuse(measure, statistic, unit, f"{error.title}: {error.got}", **base)
        return _Tests({}, {}, 0)
    ledger.add(
        measure, "profiles_f", "index", estimate=whole.f_statistic, p_value=whole.adjusted_p, adjustment="none",
        method="rao_scott", **shared,
    )  # fmt: skip
    names = [answers.options[free[int(item)]] for item in whole.items]
    p_item: dict[str, float] = {name: float(p) for name, p in zip(names, whole.item_p, strict=True) if math.isfinite(p)}
    adjusted = benjamini_hochberg(p_item, family_size=len(free))
    for name, f in zip(names, whole.item_f, strict=True):
        if name in p_item:
            ledger.add(
                measure, "item_f", "index", item=name, estimate=float(f), p_value=p_item[name], p_adjusted=adjusted[name],
                adjustment=f"Benjamini-Hochberg, family of {len(free)}", method="rao_scott", **shared,
            )  # fmt: skip
    _exchanged(ledger, table, cited[:, free], label, rows, shared)
    roles, alone = each_against_others(cited, label, weight=weight, cluster=cluster)
    of_role = dict(zip(roles, alone, strict=True))
    # Where nothing that this role and the others were both asked varies, there is no test, and p counts as 1.
    p: dict[tuple[str, str], float] = {
        (table.roles[place], option): float(value)
        for place in kept
        for option, value in zip(answers.options, of_role[table.roles[place]], strict=True)
        if math.isfinite(value)
    }
    size = len(kept) * len(answers.options)
    numbered = {str(number): value for number, value in enumerate(p.values())}
    return _Tests(p, dict(zip(p, benjamini_hochberg(numbered, family_size=size).values(), strict=True)), size)


def _exchanged(
    ledger: Ledger,
    table: AnswerTable,
    cited: Floats,
    label: npt.NDArray[np.object_],
    rows: Ints,
    shared: dict[str, Any],
) -> None:
    """Add the test that exchanges whole answer sets: between colleagues, or between respondents where none are named."""
    design, answers = table.design, table.answers
    try:
        test = permutation_test(
            cited, label, _summed, weight=design.weight[rows],
            cluster=design.cluster[rows] if design.has_organisations else None,
            permutations=design.replicates, seed=seed_of(design, f"{answers.measure}/profiles"),
        )  # fmt: skip
    except DesignError as error:
        ledger.refuse(answers.measure, "profiles_permutation", "ratio", f"{error.title}: {error.got}", n=shared["n"])
        return
    note = f"observed sum of X2 over its mean when answer sets are exchanged between {test.exchanged}"
    ledger.add(
        answers.measure, "profiles_permutation", "ratio", estimate=float(test.observed / test.null_mean),
        p_value=float(test.p_value), adjustment="none", method="permutation",
        **{**shared, "reason": joined(note, shared["reason"])},
    )  # fmt: skip


def _summed(counts: Tally) -> Floats:
    return np.asarray(item_statistics(counts).sum(axis=-1), dtype=np.float64)


def _contrasts(ledger: Ledger, table: AnswerTable, tests: _Tests, labels: Sequence[str]) -> None:
    """Add risk differences and prevalence ratios of roles, and of roles taken together (`CEO+CMO`)."""
    everyone = table.everyone
    named = table.group(list(range(len(table.roles))))
    for label in dict.fromkeys(labels):
        if not set(label.split("+")) <= set(table.roles):
            continue
        places = [table.roles.index(part) for part in label.split("+")]
        mine = table.group(places)
        others = table.group([p for p in range(len(table.roles)) if p not in places])
        _differences(ledger, table.answers, label, (mine, others), named.organisations, tests)
        _ratios(ledger, table.answers, label, mine, everyone, tests)


def _p_fields(tests: _Tests, role: str, option: str) -> dict[str, Any]:
    if (role, option) not in tests.p:
        return {}
    return {
        "p_value": tests.p[role, option],
        "p_adjusted": tests.adjusted[role, option],
        "adjustment": f"Benjamini-Hochberg, family of {tests.size}",
    }


def _differences(
    ledger: Ledger, answers: MultiAnswers, label: str, sides: tuple[Group, Group], organisations: Ints, tests: _Tests
) -> None:
    mine, others = sides
    p, q = mine.share, others.share
    first, second = infer(p, mine.organisations), infer(q, others.organisations)
    both = infer(p - q, np.minimum(mine.organisations, others.organisations))
    sizes = [
        effective_sample(side.estimate, side.std_error, np.maximum(group.n, 1))
        for side, group in ((first, mine), (second, others))
    ]
    correlation = layer_correlation(p, q)
    places = replicate_places(np.nan_to_num(both.draws))
    for j, option in enumerate(answers.options):
        n = (int(mine.n[j]), int(others.n[j]))
        clusters = (int(mine.organisations[j]), int(others.organisations[j]))
        base: dict[str, Any] = {"role": label, "item": option, "n": sum(n), "n_organisations": int(organisations[j])}
        if min(n) == 0 or min(clusters) < 2:
            reason = "nobody was asked on one side" if min(n) == 0 else "one side comes from one organisation"
            ledger.refuse(answers.measure, "risk_difference", "proportion", reason, **base)
            continue
        if not ledger.wants(answers.measure, "risk_difference", **base):
            continue
        u = _levels(len(places))
        curve = difference_quantile(
            first.estimate[j], second.estimate[j], sizes[0][j], sizes[1][j],
            np.append(_t_levels(len(places), clusters[0] - 1), special.stdtrit(clusters[0] - 1, [0.025, 0.975])),
            np.append(_t_levels(len(places), clusters[1] - 1), special.stdtrit(clusters[1] - 1, [0.025, 0.975])),
            correlation[j],
        )  # fmt: skip
        draws = np.interp(places[:, j], u, curve[:-2])
        small = f"small base: one side has fewer than {SMALL_BASE} respondents" if min(n) < SMALL_BASE else ""
        se = float(both.std_error[j])
        ledger.add(
            answers.measure, "risk_difference", "proportion", draws=draws, smallest=(min(n), min(clusters)),
            hits=int(min(mine.fewest[j], others.fewest[j])), estimate=float(both.estimate[j]),
            std_error=se if se > NIL else math.nan, conf_low=float(curve[-2]), conf_high=float(curve[-1]), conf_level=0.95,
            method="square_and_add", status="flagged" if small else "ok", reason=small,
            **_p_fields(tests, label, option), **base,
        )  # fmt: skip


@lru_cache(maxsize=64)
def _levels(replicates: int) -> Floats:
    return np.asarray((np.arange(replicates) + 0.5) / replicates, dtype=np.float64)


@lru_cache(maxsize=256)
def _t_levels(replicates: int, df: int) -> Floats:
    return np.asarray(special.stdtrit(df, _levels(replicates)), dtype=np.float64)


def _ratios(ledger: Ledger, answers: MultiAnswers, label: str, mine: Group, everyone: Group, tests: _Tests) -> None:
    if not ledger.wants_any(answers.measure, ("prevalence_ratio",)):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        layers = mine.share / everyone.share
    for j, option in enumerate(answers.options):
        key: dict[str, Any] = {"role": label, "item": option, "n": int(mine.n[j])}
        log_row(
            ledger, answers.measure, "prevalence_ratio", layers[:, j], int(mine.organisations[j]),
            nobody=everyone.hits[j] == 0, **key, **_p_fields(tests, label, option),
        )  # fmt: skip


def _max_other(ledger: Ledger, table: AnswerTable, wanted: Wanted) -> None:
    """Add the largest share that cites an option among all other roles, with bounds that hold for all of them at once.

    "No other role" is a universal word: it needs an upper bound on the largest of k shares. The upper end is the largest of
    the k exact one-sided 95% bounds (Clopper-Pearson at the effective size), each at 1 - 0.05 / k; the lower end the largest
    of the k lower bounds at 0.025 / k. A role with a base below the minimum cannot be bounded: the upper end is then 1. Where
    nobody of any other role cites it, the bound is given without an estimate: that none of the respondents does is no result
    about a few people only when each role has 30 of them, and the gate holds it back otherwise.
    """
    design, answers, j = table.design, table.answers, table.answers.options.index(wanted.item)
    key: dict[str, Any] = {"role": wanted.role, "item": wanted.item}
    parts = wanted.role.split("+")
    others = [place for place, label in enumerate(table.roles) if label not in parts]
    if len(others) + len(parts) != len(table.roles) or not others:
        return  # the role is not one of the instrument's: `estimate_for` says so
    groups = [table.group([place]) for place in others]
    known = [carries(design, int(group.n[j]), int(group.organisations[j])) for group in groups]
    bounded = [group for group, fits in zip(groups, known, strict=True) if fits]
    n = sum(int(group.n[j]) for group in bounded)
    inside = np.isin(table.role, others) & answers.asked[:, j]
    base: dict[str, Any] = {"n": n, "n_organisations": design.clusters(inside), **key}
    if not bounded:
        reason = f"no other role has {enough(design)}"
        ledger.refuse(answers.measure, "prevalence_max_other", "proportion", reason, **base)
        return
    share = np.stack([group.share[:, j] for group in bounded], axis=1)
    each = [infer(share[:, i], int(group.organisations[j])) for i, group in enumerate(bounded)]
    intervals = [
        korn_graubard(float(one.estimate), float(one.std_error), int(group.n[j]), int(group.organisations[j]))
        for one, group in zip(each, bounded, strict=True)
    ]
    levels = np.append(replicate_places(share[1:].max(axis=1)), [0.025, 0.95])
    curve = largest_share_quantile(
        [one.estimate for one in intervals], [one.n_effective for one in intervals], levels, family_size=len(others)
    )
    thin = [table.roles[place] for place, fits in zip(others, known, strict=True) if not fits]
    if thin:
        curve = np.where(levels >= 0.5, 1.0, curve)
    top = int(np.argmax(share[0]))
    nobody = not any(int(group.hits[j]) for group in bounded) and all(
        int(group.n[j]) >= SMALL_BASE for group in bounded
    )
    unbounded = f"no bound for {listed(thin, limit=20)}: fewer than {enough(design)}" if thin else ""
    told = "nobody of the other roles cites it: the bound alone is given" if nobody else ""
    ends = f"bounds of {len(others)} roles at once, the upper one-sided at 95%"
    ledger.add(
        answers.measure, "prevalence_max_other", "proportion", draws=curve[:-2],
        smallest=(int(bounded[top].n[j]), int(bounded[top].organisations[j])),
        hits=None if nobody else int(bounded[top].fewest[j]),
        estimate=math.nan if nobody else float(share[0, top]),
        std_error=float(each[top].std_error) if float(each[top].std_error) > NIL else math.nan,
        conf_low=math.nan if nobody else float(curve[-2]), conf_high=float(curve[-1]), conf_level=0.95,
        method="clopper_pearson_bonferroni", status="flagged" if thin else "ok", reason=joined(told, ends, unbounded),
        **base,
    )  # fmt: skip
