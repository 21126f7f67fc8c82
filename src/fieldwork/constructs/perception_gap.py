"""Perception gap: how far colleagues are apart, against how far they think that they are.

Also what is said in public against what is thought in private, and the clarity of one's own position against that of others.
Definitions and worked example: measures.md 2.7. Own code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import axis
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Estimates, Ledger, counted
from fieldwork.constructs.teams import (
    MINIMUM_FOR_DISTANCE,
    MINIMUM_TEAMS,
    Teams,
    answer_index,
    by_team,
    correlate,
    lacking,
    mean_over_teams,
    teams_of,
    totals_by_group,
)
from fieldwork.statistics.agreement import mean_distances
from fieldwork.statistics.replicates import Floats, Inference, Ints, infer

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument, Item

__all__ = ["MINIMUM_FOR_CONTRAST", "Distances", "distances", "estimate_for"]

Mask = npt.NDArray[np.bool_]

CONSTRUCT = "perception_gap"
CHAPTER = "06_alignment"
MINIMUM_FOR_CONTRAST = 10  # respondents on either side of a contrast


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate what executives see of one another's views, and what they show of their own.

    **Blind spot** (slots `conf` and `meta_conf`, the guesses at colleagues' answers), in scale points, each organisation once:
    `distance_actual` = mean |y_i - y_j| over colleagues of different roles, `distance_perceived` = mean |y_i - guess_ij| over
    the pairs whose i was asked to guess j's role, `blind_spot` = the one minus the other; see `distances`. It needs three
    informants per organisation. The guesses are asked of three colleagues drawn at random, so a blank there is no missing
    answer; within an organisation each colleague is as likely to be asked about as any other, so the plain mean over the
    pairs that were asked estimates the mean over all pairs, and weights by one over the probability would change nothing.

    `self_measured_correlation` (slot `align_self`) = rank correlation, over organisations, of the alignment that executives
    say they have with the measured one, the mean distance in confidence with a minus. Never a difference: the scales differ.

    **Said and thought** (slots `sup_pub`, `conv_priv`, `act_escal`): `public_private_gap` = stated support minus private
    conviction where an organisation tells of escalation; `gap_escalation_frequent` and `gap_escalation_rare` the same where
    its executives say on average that open questions are settled by escalation more often, or no more often, than the middle
    of the scale; `gap_difference` = the first of these minus the second. One wave: an association. `self_other_gap` (slots
    `clar_self`, `clar_oth`) = clarity of the own position minus clarity of colleagues', paired within a person, overall and
    per role; it needs one informant per organisation.

    Weights and replicates are the design's, but for what counts organisations (`constructs.teams`). Missing answers leave a
    respondent out of a difference; don't-knows are missing. What a survey does not ask is `not_assessable` and says so.
    """
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    _blind_spot(ledger, instrument)
    _self_rated(ledger, instrument)
    _escalation(ledger, instrument)
    _clarity(ledger, instrument)
    return ledger.table()


def _ordinal(instrument: Instrument, slot: str) -> Item | None:
    """Return the one ordinal item that fills a slot."""
    items = instrument.slot(slot)
    return items[0] if len(items) == 1 and items[0].kind == "ordinal" else None


def _values(design: SurveyDesign, item: Item) -> Floats:
    """Answers in scale points (n,), nan where there is none."""
    return design.responses[item.name].to_numpy(dtype=np.float64, na_value=np.nan)


# ----------------------------------------------------------------------------------------------------------- blind spot


@dataclass(frozen=True, slots=True)
class Distances:
    """Distances between colleagues' answers, by organisation.

    Attributes
    ----------
    actual : (T,) float       Mean |y_i - y_j| over ordered pairs of informants of different roles, scale points.
    perceived : (T,) float    Mean |y_i - guess_ij| over those of the pairs that were asked; nan where none was.
    pairs : (T,) float        Pairs that were asked.
    """

    actual: Floats
    perceived: Floats
    pairs: Floats


def distances(answer: Ints, guesses: Ints, role: Ints, teams: Teams, codes: npt.ArrayLike) -> Distances:
    """Set what colleagues answered beside what they were thought to answer.

    Parameters
    ----------
    answer : (n,) position on the scale, -1 for none. guesses : (n, R) guess at the answer of each role, -1 where none was asked
    or given. role : (n,) 0..R - 1; R for none. teams : organisations of the informants. codes : (K,) scale points.

    A guess counts once for each informant of the role that it is about, and not at all where nobody of the role answered: the
    two means run over the same pairs, in expectation, whoever answers. A guess at the own role does not count.

    >>> teams = Teams(np.array([0]), np.zeros(3, dtype=int), np.array([3]))
    >>> guesses = np.array([[-1, 3, 3], [3, -1, 2], [3, 2, -1]])      # measures.md 2.7: CTO 5, CFO 3, CMO 2
    >>> found = distances(np.array([4, 2, 1]), guesses, np.arange(3), teams, [1, 2, 3, 4, 5])
    >>> found.actual.tolist(), found.perceived.tolist()
    ([2.0], [1.0])
    """
    x, roles, T = np.asarray(codes, dtype=np.float64), guesses.shape[1], len(teams.cluster)
    mine = (teams.team >= 0) & (answer >= 0)
    place = (teams.team[mine] * (roles + 1) + role[mine]) * len(x) + answer[mine]
    counts = np.bincount(place, minlength=T * (roles + 1) * len(x)).reshape(T, roles + 1, len(x)).astype(np.float64)
    size = counts.sum(axis=2)
    # Pairs of one role are taken out: nobody is asked to guess the own role's answer.
    alike = np.nan_to_num(mean_distances(counts, x)) * size * (size - 1.0)
    everyone = counts.sum(axis=1)
    n = everyone.sum(axis=1)
    total = np.nan_to_num(mean_distances(everyone, x)) * n * (n - 1.0) - alike.sum(axis=1)
    pairs = n * (n - 1.0) - (size * (size - 1.0)).sum(axis=1)
    apart, asked = np.zeros(T), np.zeros(T)
    for r in range(roles):
        used = mine & (guesses[:, r] >= 0) & (role != r)
        team = teams.team[used]
        about = size[team, r]
        apart += np.bincount(team, weights=about * np.abs(x[answer[used]] - x[guesses[used, r]]), minlength=T)
        asked += np.bincount(team, weights=about, minlength=T)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Distances(total / pairs, apart / asked, asked)


def _blind_spot(ledger: Ledger, instrument: Instrument) -> None:
    design = ledger.design
    own = _ordinal(instrument, "conf")
    measure = own.name if own else "conf"
    names = ("distance_actual", "distance_perceived", "blind_spot")
    roles = instrument.role_ids if instrument.keys.role else []
    asked = [item for item in instrument.slot("meta_conf") if item.member in roles]
    if own is None or not asked or any(sorted(item.codes) != sorted(own.codes) for item in asked):
        what = "no ordinal item of confidence" if own is None else "no guess at colleagues' answers on the same scale"
        for statistic in names:
            ledger.refuse(measure, statistic, "scale_point", f"the instrument of this wave has {what}")
        return
    role_axis = axis(instrument, instrument.keys.role)
    code = design.codes(role_axis)
    answer = answer_index(design, own)
    teams = teams_of(design, (answer >= 0) & (code >= 0), MINIMUM_FOR_DISTANCE)
    guesses = np.full((len(answer), len(role_axis.labels)), -1, dtype=np.int64)
    for item in asked:
        guesses[:, role_axis.labels.index(item.member)] = answer_index(design, item)
    code = np.where(code < 0, len(role_axis.labels), code)
    found = distances(answer, guesses, code, teams, sorted(own.codes))
    both = ~(np.isnan(found.actual) | np.isnan(found.perceived))
    kept = Teams(teams.cluster[both], teams.team, teams.informants[both])
    reason = lacking(design, len(kept.cluster), MINIMUM_FOR_DISTANCE)
    values = (found.actual, found.perceived, found.actual - found.perceived)
    for statistic, value in zip(names, values, strict=True):
        if reason:
            ledger.refuse(measure, statistic, "scale_point", reason, **kept.base)
        else:
            mean_over_teams(ledger, measure, statistic, "scale_point", value[both], kept)


def _self_rated(ledger: Ledger, instrument: Instrument) -> None:
    design, statistic = ledger.design, "self_measured_correlation"
    rated, own = _ordinal(instrument, "align_self"), _ordinal(instrument, "conf")
    if rated is None or own is None:
        what = "no self-rated alignment" if rated is None else "no ordinal item of confidence"
        name = rated.name if rated else "align_self"
        ledger.refuse(name, statistic, "index", f"the instrument of this wave has {what}")
        return
    answer = answer_index(design, own)
    teams = teams_of(design, answer >= 0, MINIMUM_FOR_DISTANCE)
    distance = mean_distances(teams.counts(answer, len(own.codes)), sorted(own.codes))
    correlate(ledger, rated.name, statistic, by_team(_values(design, rated), teams, design), -distance, teams)


# ----------------------------------------------------------------------------------------------------- said and thought


def _pair(instrument: Instrument, first: str, second: str) -> tuple[Item, Item] | None:
    """Return two ordinal items whose answers may be subtracted: the same scale points."""
    one, other = _ordinal(instrument, first), _ordinal(instrument, second)
    if one is None or other is None or sorted(one.codes) != sorted(other.codes):
        return None
    return one, other


def _escalation(ledger: Ledger, instrument: Instrument) -> None:
    design = ledger.design
    pair, often = _pair(instrument, "sup_pub", "conv_priv"), _ordinal(instrument, "act_escal")
    measure = "+".join(item.name for item in pair) if pair else "sup_pub+conv_priv"
    if pair is None or often is None:
        what = (
            "no stated support and private conviction on one scale" if pair is None else "no question about escalation"
        )
        for statistic in ("public_private_gap", "gap_escalation_frequent", "gap_escalation_rare", "gap_difference"):
            ledger.refuse(measure, statistic, "scale_point", f"the instrument of this wave has {what}")
        return
    gap = _values(design, pair[0]) - _values(design, pair[1])
    known = ~np.isnan(gap)
    frequent = _escalates(_values(design, often), design, (min(often.codes) + max(often.codes)) / 2.0)
    sides = [known & (frequent == 1), known & (frequent == 0)]
    n = [int(side.sum()) for side in sides]
    clusters = [design.clusters(side) for side in sides]
    # The two sides make up the whole: one that is held back would follow from the other, so both are or neither.
    _mean(ledger, measure, "public_private_gap", gap, sides[0] | sides[1])
    for statistic, side in zip(("gap_escalation_frequent", "gap_escalation_rare"), sides, strict=True):
        _mean(ledger, measure, statistic, gap, side, smallest=(min(n), min(clusters)))
    base: dict[str, Any] = {"n": sum(n), "n_organisations": sum(clusters)}
    if min(n) < MINIMUM_FOR_CONTRAST or min(clusters) < MINIMUM_TEAMS:
        reason = (
            f"{MINIMUM_FOR_CONTRAST} respondents from {MINIMUM_TEAMS} organisations that escalate, and from as many that do "
            f"not, are needed; there are {counted(n[0])} from {clusters[0]} and {counted(n[1])} from {clusters[1]}"
        )
        ledger.refuse(measure, "gap_difference", "scale_point", reason, **base)
        return
    group = np.where(sides[0], 0, 1)
    mean = totals_by_group(design, np.nan_to_num(gap)[:, None], group, 2, sides[0] | sides[1]).mean[:, :, 0]
    small = f"small base: fewer than {SMALL_BASE} respondents on one side" if min(n) < SMALL_BASE else ""
    ledger.add_inferred(
        measure, "gap_difference", "scale_point", infer(mean[:, 0] - mean[:, 1], min(clusters)),
        smallest=(min(n), min(clusters)), status="flagged" if small else "ok", reason=small, **base,
    )  # fmt: skip


def _escalates(values: Floats, design: SurveyDesign, middle: float) -> Ints:
    """Tell for each respondent whether the organisation escalates more often than the middle of the scale: 1, 0, -1 unknown."""
    used = ~np.isnan(values)
    clusters = design.multiplier.shape[1]
    count = np.bincount(design.cluster[used], minlength=clusters)
    total = np.bincount(design.cluster[used], weights=values[used], minlength=clusters)
    frequent = (total > middle * count + NIL).astype(np.int64)
    return np.where(count > 0, frequent, -1)[design.cluster]


def _clarity(ledger: Ledger, instrument: Instrument) -> None:
    design, pair = ledger.design, _pair(instrument, "clar_self", "clar_oth")
    measure = "+".join(item.name for item in pair) if pair else "clar_self+clar_oth"
    if pair is None:
        reason = "the instrument of this wave has no clarity of the own and of others' positions on one scale"
        ledger.refuse(measure, "self_other_gap", "scale_point", reason)
        return
    gap = _values(design, pair[0]) - _values(design, pair[1])
    known = ~np.isnan(gap)
    _mean(ledger, measure, "self_other_gap", gap, known)
    if instrument.keys.role:
        roles = axis(instrument, instrument.keys.role)
        code = design.codes(roles)
        for g, label in enumerate(roles.labels):
            _mean(ledger, measure, "self_other_gap", gap, known & (code == g), role=label)


def _mean(ledger: Ledger, measure: str, statistic: str, values: Floats, used: Mask, **fields: Any) -> None:  # noqa: ANN401
    """Add the weighted mean of a difference, with its t interval."""
    design = ledger.design
    n, clusters = int(used.sum()), design.clusters(used)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, **fields}
    if n == 0:
        ledger.refuse(measure, statistic, "scale_point", "nobody answered both", **base)
        return
    everyone = np.zeros(len(used), dtype=np.int64)
    layers = totals_by_group(design, np.nan_to_num(values)[:, None], everyone, 1, used).mean[:, 0, 0]
    small = f"small base: fewer than {SMALL_BASE} respondents" if n < SMALL_BASE else ""
    found: Inference = infer(layers, clusters)
    alike = len(np.unique(values[used])) < 2
    ledger.add_inferred(
        measure, statistic, "scale_point", found, alike=alike, status="flagged" if small else "ok", reason=small, **base
    )
