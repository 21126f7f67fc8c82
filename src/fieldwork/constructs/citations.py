"""Citations: how many a respondent gives, over what they spread, how far roles' profiles lie apart, what colleagues share.

The part of the blockers construct that reads whole answer sets. Population level (roles compared across organisations) but
for `within_organisations`. Definitions and worked examples: measures.md 2.7. Own code: as `blockers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwork.constructs.cells import cluster_weights
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Ledger, counted, interval_of
from fieldwork.constructs.multi_answers import (
    MINIMUM_CLUSTERS,
    MINIMUM_FOR_PROFILE,
    AnswerTable,
    MultiAnswers,
    enough,
    kept_roles,
    left_out,
    thinnest,
)
from fieldwork.errors import DesignError
from fieldwork.statistics.multiresponse import Tally, jensen_shannon, permutation_test
from fieldwork.statistics.overlap import team_answers, team_overlap
from fieldwork.statistics.profiles import beyond_chance, dissimilarity_beyond_chance, hill_number, mean_dissimilarity
from fieldwork.statistics.replicates import Floats, Ints, cluster_keys, infer

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign

__all__ = ["joined", "log_row", "numbers", "profiles", "quotients", "seed_of", "within_organisations"]

MINIMUM_INFORMANTS = 3  # per organisation, measures.md section 2, conventions
CHANCE_DEALS = 400  # times that answer sets are dealt out to roles: their mean is known to 1/20 of its own deviation


def joined(*reasons: str) -> str:
    """Join what is to be said of a row, leaving out what is empty."""
    return "; ".join(reason for reason in reasons if reason)


def seed_of(design: SurveyDesign, name: str) -> int:
    """Return a seed of its own for each name, so that one permutation more moves no other."""
    return int(cluster_keys([f"blockers/{name}"], design.seed)[0])


def log_row(
    ledger: Ledger,
    measure: str,
    statistic: str,
    layers: Floats,
    organisations: int,
    *,
    nobody: bool,
    **fields: Any,  # noqa: ANN401
) -> None:
    """Add a ratio with its t interval on the log scale; a ratio of 0 has none."""
    fields["n_organisations"] = organisations
    small = f"small base: fewer than {SMALL_BASE} respondents" if fields["n"] < SMALL_BASE else ""
    if fields["n"] == 0 or nobody:
        tests = ("p_value", "p_adjusted", "adjustment")
        told = {name: value for name, value in fields.items() if name not in tests}
        reason = "nobody was asked, or nobody answered" if fields["n"] == 0 else "nobody cites it"
        ledger.refuse(measure, statistic, "ratio", reason, **told)
        return
    inference = infer(np.log(layers), organisations) if (layers > 0).all() else None
    if inference is None or not math.isfinite(float(inference.std_error)) or float(inference.std_error) < NIL:
        why = (
            "no interval: nobody of the role cites it"
            if layers[0] == 0
            else "no interval: one organisation, or all alike"
        )
        ledger.add(
            measure,
            statistic,
            "ratio",
            estimate=float(layers[0]),
            status="flagged",
            reason=joined(why, small),
            **fields,
        )
        return
    ledger.add(
        measure, statistic, "ratio", draws=np.exp(inference.draws), estimate=float(layers[0]),
        std_error=float(layers[0] * inference.std_error), conf_low=math.exp(float(inference.conf_low)),
        conf_high=math.exp(float(inference.conf_high)), conf_level=0.95, status="flagged" if small else "ok", reason=small,
        **fields,
    )  # fmt: skip


def numbers(ledger: Ledger, table: AnswerTable) -> None:
    """Add how many options a respondent cites, and over how many a role's citations spread."""
    answers, free = table.answers, np.flatnonzero(table.answers.free)
    groups = {label: table.group([place]) for place, label in enumerate(table.roles)}
    for label, group in {"": table.everyone, **groups}.items():
        n, organisations = int(group.n[-1]), int(group.organisations[-1])
        base: dict[str, Any] = {"n": n, "n_organisations": organisations, "role": label}
        if n == 0:
            ledger.refuse(answers.measure, "mean_cited", "index", "nobody was asked, or nobody answered", **base)
            continue
        small = (
            {"status": "flagged", "reason": f"small base: fewer than {SMALL_BASE} respondents"}
            if n < SMALL_BASE
            else {}
        )
        number = group.cited[:, free].sum(axis=1) / group.base[:, -1]
        ledger.add_inferred(answers.measure, "mean_cited", "index", infer(number, organisations), **base, **small)
        if label == "":
            continue
        if group.hits[-1] < MINIMUM_FOR_PROFILE:
            there = counted(int(group.hits[-1]), MINIMUM_FOR_PROFILE)
            reason = f"{MINIMUM_FOR_PROFILE} respondents who cite something are needed; there are {there}"
            ledger.refuse(answers.measure, "role_effective_number", "index", reason, **base)
            continue
        _spread_over(ledger, answers.measure, group.cited[:, free], organisations, {**base, **small})


def _spread_over(ledger: Ledger, measure: str, cited: Floats, organisations: int, fields: dict[str, Any]) -> None:
    """Add the Hill number of a profile, its interval from the entropy, and neither above the number of options.

    Entropy falls short by half the sum of var(q_j) / q_j (Miller 1955, for a design's variance); every layer is shifted by it,
    and by what the replicates fall short of the observed one in their turn.
    """
    entropy = np.log(hill_number(cited))
    q = cited / cited.sum(axis=-1, keepdims=True)
    variance = ((q[1:] - q[0]) ** 2).mean(axis=0)
    seen = q[0] > 0
    corrected = entropy[0] + 0.5 * float((variance[seen] / q[0, seen]).sum())
    inference = infer(np.append(corrected, corrected + entropy[1:] - entropy[1:].mean()), organisations)
    options = float(cited.shape[-1])
    se = float(inference.std_error)
    if not math.isfinite(se) or se < NIL:
        ledger.add_inferred(measure, "role_effective_number", "index", inference, **fields)
        return
    number, low, high = (
        min(math.exp(float(end)), options) for end in (inference.estimate, inference.conf_low, inference.conf_high)
    )
    ledger.add(
        measure, "role_effective_number", "index", draws=np.minimum(np.exp(inference.draws), options), estimate=number,
        std_error=number * se, conf_low=low, conf_high=high, conf_level=0.95, **fields,
    )  # fmt: skip


def quotients(ledger: Ledger, table: AnswerTable) -> None:
    """Add location quotients: an option's share of a role's citations over its share of all citations."""
    answers, free = table.answers, np.flatnonzero(table.answers.free)
    whole = table.everyone
    groups = [table.group([place]) for place in range(len(table.roles))]
    overall = whole.cited[:, free]
    overall = overall / overall.sum(axis=1, keepdims=True)
    for label, group in zip(table.roles, groups, strict=True):
        mine = group.cited[:, free]
        with np.errstate(divide="ignore", invalid="ignore"):
            layers = mine / mine.sum(axis=1, keepdims=True) / overall
        for i, j in enumerate(free):
            log_row(
                ledger, answers.measure, "location_quotient", layers[:, i], int(group.organisations[-1]),
                nobody=bool(whole.hits[j] == 0 or not mine[0].any()), role=label,
                item=answers.options[j], n=int(group.n[-1]),
            )  # fmt: skip


def profiles(ledger: Ledger, table: AnswerTable, spoken: Collection[str] | None = None) -> None:
    """Add how far the roles' citation profiles lie apart, over all and at each stage whose people were asked.

    `spoken`: stages of which it is asked, the empty text for all of them together; None: every one.
    """
    for stage in (-1, *range(len(table.stages))):
        if spoken is not None and (table.stages[stage] if stage >= 0 else "") not in spoken:
            continue
        if stage < 0 or (table.answers.any_asked & (table.stage == stage)).any():
            _divergences(ledger, table, stage)


def _bits(profiles: Floats) -> Floats:
    """Jensen-Shannon divergence of profiles; what noise pushes below 0 counts as 0."""
    return jensen_shannon(np.maximum(profiles, 0.0))


def _divergences(ledger: Ledger, table: AnswerTable, stage: int) -> None:
    design, answers, measure = table.design, table.answers, table.answers.measure
    rows: dict[str, Callable[[Floats], Floats]] = {"dissimilarity": mean_dissimilarity}
    if stage < 0:
        rows["jensen_shannon"] = _bits
    counted = answers.citing & (table.role < len(table.roles))
    if stage >= 0:
        counted = counted & (table.stage == stage)
    kept, thin = kept_roles(table, counted)
    key: dict[str, Any] = {"stage": table.stages[stage] if stage >= 0 else ""}
    inside = counted & np.isin(table.role, kept)
    base: dict[str, Any] = {"n": int(inside.sum()), "n_organisations": design.clusters(inside), **key}
    asked = len(kept) + len(thin)
    if len(kept) < 2 or 2 * len(kept) <= asked:
        reason = (
            f"more than half of the {asked} roles, and two at least, must have {enough(design)} who cite something; "
            f"{len(kept)} have"
        )
        for name in rows:
            ledger.refuse(measure, f"{name}_excess", "index", reason, **base)
        return
    free = np.flatnonzero(answers.free)
    cut = slice(None) if stage < 0 else slice(stage, stage + 1)
    cited = table.cited[:, kept, cut][..., free].sum(axis=2)
    clusters = np.array([design.clusters(counted & (table.role == place)) for place in kept])
    chance = _by_chance(table, np.flatnonzero(inside), stage)
    smallest = thinnest(table, counted, kept)
    small = f"small base: a role has fewer than {SMALL_BASE} respondents" if smallest[0] < SMALL_BASE else ""
    note = joined(left_out(design, thin), small)
    for (name, divergence), by_chance in zip(rows.items(), chance, strict=False):
        found = (
            dissimilarity_beyond_chance(cited, clusters, chance=by_chance)
            if name == "dissimilarity"
            else beyond_chance(cited, clusters, divergence, chance=by_chance)
        )
        raw: dict[str, Any] = {"smallest": smallest, "status": "flagged", **base}
        ledger.add(
            measure, name, "index", estimate=found.observed,
            reason="biased upward by sampling noise; shown beside the excess, never judged", **raw,
        )  # fmt: skip
        ledger.add(
            measure, f"{name}_chance", "index", estimate=found.chance, method="permutation",
            reason="mean when whole answer sets are dealt out to the roles at random", **raw,
        )  # fmt: skip
        ledger.add(
            measure, f"{name}_excess", "index", draws=found.draws, smallest=smallest, estimate=found.estimate,
            status="flagged" if note else "ok", reason=note, **_ends(found.draws), **base,
        )  # fmt: skip


def _ends(draws: Floats) -> dict[str, Any]:
    """Interval of confidence draws whose two halves need not meet: the standard error is that of its width."""
    ends = interval_of(draws)
    error = (ends["conf_high"] - ends["conf_low"]) / (2.0 * 1.959963984540054)
    return {**ends, "std_error": error if error > NIL else math.nan}


def _by_chance(table: AnswerTable, rows: Ints, stage: int) -> Floats:
    """Mean dissimilarity and divergence of the roles' profiles when answer sets are dealt out to them at random (2,)."""

    def both(counts: Tally) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            profile = counts.citations / counts.citations.sum(axis=-1, keepdims=True)
        return np.stack([mean_dissimilarity(profile), jensen_shannon(counts.citations)], axis=-1)

    design, answers = table.design, table.answers
    test = permutation_test(
        answers.ticks[rows][:, answers.free], table.role[rows], both, weight=design.weight[rows],
        permutations=CHANCE_DEALS, seed=seed_of(design, f"{answers.measure}/chance/{stage}"), exact_limit=CHANCE_DEALS,
    )  # fmt: skip
    return test.null_mean


# -- inside organisations ----------------------------------------------------------------------------------------------


def within_organisations(ledger: Ledger, answers: MultiAnswers) -> None:
    """Add what the executives of one organisation cite together, over organisations with three informants or more."""
    design, measure = ledger.design, answers.measure
    statistics = (("jaccard_excess", "index"), ("effective_number", "index"), ("majority_share", "proportion"))
    rows = np.flatnonzero(answers.any_asked)
    size = np.bincount(design.cluster[rows], minlength=design.multiplier.shape[1])
    teams = int((size >= MINIMUM_INFORMANTS).sum()) if design.has_organisations else 0
    if teams < MINIMUM_CLUSTERS:
        reason = (
            f"{MINIMUM_CLUSTERS} organisations with {MINIMUM_INFORMANTS} informants are needed; there are {teams}"
            if design.has_organisations
            else "the survey names no organisations"
        )
        for statistic, unit in statistics:
            ledger.refuse(measure, statistic, unit, reason)
        return
    ticks = answers.ticks[rows][:, answers.free]
    role = np.zeros(len(rows), dtype=np.int64)
    if design.role is not None:
        role = design.codes(design.role)[rows]
    spoken = "within organisations: not what roles cite across organisations"
    try:
        overlap = team_overlap(ticks, design.cluster[rows], role, design.multiplier, minimum=MINIMUM_INFORMANTS)
    except DesignError as error:
        ledger.refuse(measure, "jaccard_excess", "index", f"{error.title}: {error.got}")
    else:
        ledger.add_inferred(
            measure, "jaccard_excess", "index", infer(overlap.within - overlap.expected, overlap.teams),
            n=overlap.informants, n_organisations=overlap.teams, reason=spoken,
        )  # fmt: skip
    own = team_answers(ticks, design.cluster[rows], minimum=MINIMUM_INFORMANTS)
    cite = np.isfinite(own.effective_number)
    weight = cluster_weights(design, own.team[cite])
    base: dict[str, Any] = {"n": int(own.informants[cite].sum()), "n_organisations": int(cite.sum()), "reason": spoken}
    for (statistic, unit), value in zip(statistics[1:], (own.effective_number, own.majority_share), strict=True):
        if cite.sum() < MINIMUM_CLUSTERS:
            base["reason"] = (
                f"{MINIMUM_CLUSTERS} organisations that cite something are needed; there are {int(cite.sum())}"
            )
            ledger.refuse(measure, statistic, unit, **base)
            continue
        layers = (weight @ value[cite]) / weight.sum(axis=1)
        ledger.add_inferred(measure, statistic, unit, infer(layers, int(cite.sum())), **base)
