"""Which classification divides executives most, measure by measure: role, stage, sector or organisation.

Population level. Own code: "role divergence is the dominant pattern in nearly every measure" is one of the essays' claims,
and no library puts a handful of fixed groups and several hundred organisations on one footing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import Axis, SurveyDesign, axis, distinct
from fieldwork.constructs.ledger import Estimates, Ledger, interval_of
from fieldwork.errors import DesignError, listed
from fieldwork.statistics.adjustment import adjusted_effects, deviations
from fieldwork.statistics.cluster_variance import cluster_variance
from fieldwork.statistics.replicates import (
    Floats,
    Ints,
    distinct_rows,
    infer,
    replicated_sums,
    small_sample_factor,
    t_scale,
)
from fieldwork.statistics.spread import spread

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = ["SIDES", "Question", "estimate", "estimate_for", "questions"]

CONSTRUCT = "adoption_gradient"
CHAPTER = "04b_dominance"
SIDES = ("role", "stage", "sector", "organisation")
MINIMUM = 20  # respondents per level, measures.md 2.1
MINIMUM_CLUSTERS = 5  # organisations per level, so that no spread rests on a level that the gate holds back
MINIMUM_SHARED = 30  # organisations with two informants, below which what they share is not estimated
SURE = 0.95  # a measure counts from this probability on, measures.md H1


@dataclass(frozen=True, slots=True)
class Question:
    """A measure on which executives can differ: an ordinal item, or one option of a multi-select one.

    Attributes
    ----------
    measure, item : str       Keys in the estimates table; `item` is the option of a multi-select measure.
    column : str              Column of the responses.
    unit : str                `scale_point`, or `index` for shares of an option (0..1).
    """

    measure: str
    item: str
    column: str
    unit: str


def questions(instrument: Instrument) -> tuple[Question, ...]:
    """Return every ordinal measure and every blocker that all executives are asked, in the order of the questionnaire.

    Options that stand alone (`none`) are left out: they say what the others leave.
    """
    found = []
    for item in instrument.measures_of_everybody():
        if item.kind == "ordinal":
            found.append(Question(item.name, "", item.name, "scale_point"))
            continue
        found += [
            Question(item.name, option.id, column, "index")
            for option, column in zip(item.options, item.native_columns(), strict=True)
            if option.id not in item.exclusive
        ]
    return tuple(found)


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Compare role, stage, sector and organisation on every measure of the questionnaire; see `estimate`.

    The sector is the slot `sector` of the instrument. A survey that lacks one of the four gives one row that says which.
    """
    keys, sector = instrument.keys, instrument.slot("sector")
    lacking = [
        what
        for what, there in (
            ("roles", keys.role),
            ("stages", keys.stage),
            ("sectors", sector),
            ("organisations", design.has_organisations),
            ("measures", questions(instrument)),
        )
        if not there
    ]
    if lacking:
        ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
        reason = f"the comparison needs role, stage, sector and organisation; the survey has no {listed(lacking)}"
        ledger.refuse("all", "share_role_largest", "proportion", reason)
        return ledger.table()
    axes = [axis(instrument, name) for name in (keys.role, keys.stage, sector[0].name)]
    return estimate(design, questions(instrument), axes, wave=instrument.wave)


def estimate(
    design: SurveyDesign, measures: Sequence[Question], axes: Sequence[Axis], *, wave: str, chapter: str = CHAPTER
) -> Estimates:
    """Estimate the share of measures on which the spread across roles is the largest of four.

    Each measure is fitted as y = mu + role + stage + sector by weighted least squares over respondents, in the observed layer
    and in every replicate of whole organisations. The spreads of the three sets of effects are finite-population standard
    deviations over their levels, less what sampling alone puts between them (`statistics.spread`). That of organisations is
    the standard deviation of what their members share around the fit (`statistics.cluster_variance`), the same quantity:
    both are the root of the mean square of the levels' true effects (Gelman 2005). P(role is largest) is the share of draws
    with the spread of roles above the other three; a tie, also of four spreads that are nil, is none.

    The share of measures has no draws of its own: where most measures are undecided, the mean of their indicators would be
    sure of a middle value. Its confidence curve counts measures instead: at level u below one half it is the share of
    measures with P(role is largest) above 1 - u, above one half all but those with a probability below 1 - u. So the lower
    bound at 95% is the share of measures on which role is the largest with a probability above 0.95, as the register has it,
    and an undecided measure counts on neither side.

    Parameters
    ----------
    design : responses, weights and replicates; organisations are its clusters. measures : see `questions`.
    axes : role, stage and sector.

    Levels with fewer than 20 respondents or 5 organisations are left out with their respondents, and named. Missing answers
    leave a respondent out of that measure, a missing role, stage or sector out of all. A measure that cannot be fitted is
    `not_assessable` and not counted.

    Returns rows with statistics role_sd_mutual, stage_sd_mutual, sector_sd_mutual, organisation_sd_mutual and
    probability_role_largest per measure, share_role_largest and share_role_surely_largest over all. Source: Gelman (2005),
    Analysis of variance, Annals of Statistics 33, 1-53.
    """
    ledger = Ledger(design, wave, chapter, CONSTRUCT)
    codes = [design.codes(each) for each in axes]
    compared = _compared(design, measures, axes, codes)
    found: list[_Compared] = []
    refused: list[str] = []
    for question in measures:
        one = compared[question]
        if isinstance(one, DesignError):
            refused.append(question.item or question.measure)
            reason = f"{one.title}: {one.got}"
            ledger.refuse(question.measure, "probability_role_largest", "index", reason, item=question.item)
            continue
        found.append(one)
        _rows(ledger, question, one)
    _share(ledger, found, refused, len(measures))
    return ledger.table()


@dataclass(frozen=True, slots=True)
class _Compared:
    """One measure: the four spreads, estimate and draws (4,), (B, 4), and what they rest on."""

    spreads: Floats
    draws: Floats
    n: int
    organisations: int
    smallest: tuple[int, int]
    dropped: tuple[str, ...]

    @property
    def probability(self) -> float:
        """Share of draws in which the spread of roles is above the other three."""
        return float(np.mean(self.draws[:, 0] > self.draws[:, 1:].max(axis=1)))

    @property
    def largest(self) -> bool:
        return bool(self.spreads[0] > self.spreads[1:].max())


def _compared(
    design: SurveyDesign, measures: Sequence[Question], axes: Sequence[Axis], codes: Sequence[Ints]
) -> dict[Question, _Compared | DesignError]:
    """Compare every measure, those that the same respondents answered at once: all but the answers is done once for them."""
    classified = np.all([code >= 0 for code in codes], axis=0)
    together: dict[bytes, tuple[list[Question], list[Floats]]] = {}
    for question in measures:
        values = design.responses[question.column].to_numpy(dtype=np.float64, na_value=np.nan)
        alike, answers = together.setdefault((np.isfinite(values) & classified).tobytes(), ([], []))
        alike.append(question)
        answers.append(values)
    found: dict[Question, _Compared | DesignError] = {}
    for mask, (alike, answers) in together.items():
        try:
            asked = np.frombuffer(mask, dtype=np.bool_)
            found.update(zip(alike, _compare(design, np.column_stack(answers), asked, axes, codes), strict=True))
        except DesignError as error:
            found.update(dict.fromkeys(alike, error))
    return found


def _compare(
    design: SurveyDesign,
    values: Floats,
    asked: npt.NDArray[np.bool_],
    axes: Sequence[Axis],
    codes: Sequence[Ints],
) -> list[_Compared]:
    used, kept = _settled(design, codes, asked)
    thin = [each.name for each, levels in zip(axes, kept, strict=True) if len(levels) < 2]
    if thin:
        raise DesignError(
            "too few respondents to compare the four",
            where="constructs.dominance",
            expected=f"two levels of {MINIMUM} respondents from {MINIMUM_CLUSTERS} organisations",
            got=f"fewer than two levels of {listed(thin)} have {MINIMUM} respondents from {MINIMUM_CLUSTERS} organisations",
            hint="report the measure as not assessable",
        )
    level = [np.searchsorted(levels, code[used]) for levels, code in zip(kept, codes, strict=True)]
    answers, cluster = values[used], design.cluster[used]
    fits = _effects(design, answers, level, used, [each.name for each in axes])
    organisations = [distinct(cluster, code, len(levels)) for code, levels in zip(level, kept, strict=True)]
    shared = _shared(design, answers, fits, level, used)
    counts = [np.bincount(code).min() for code in level]
    n, clusters = int(used.sum()), design.clusters(used)
    smallest = (int(min(counts)), int(min(counted.min() for counted in organisations)))
    dropped = tuple(
        each.labels[g]
        for each, code, levels in zip(axes, codes, kept, strict=True)
        for g in np.setdiff1d(np.unique(code[asked]), levels)
    )
    found = []
    for fit, variance in zip(fits, shared, strict=True):
        sides = [_spread_of(effect, counted) for effect, counted in zip(fit.effects, organisations, strict=True)]
        spreads = [side[0] for side in sides] + [float(np.sqrt(max(variance[0], 0.0)))]
        draws = np.column_stack([side[1] for side in sides] + [np.sqrt(np.maximum(variance[1:], 0.0))])
        found.append(_Compared(np.array(spreads), draws, n, clusters, smallest, dropped))
    return found


def _settled(
    design: SurveyDesign, codes: Sequence[Ints], used: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], list[Ints]]:
    """Leave out thin levels of any classification until none is thin: leaving one out can make another thin."""
    while True:
        kept = []
        for code in codes:
            size = int(code.max(initial=-1)) + 1
            n = np.bincount(code[used], minlength=size)
            enough = distinct(design.cluster[used], code[used], size) >= MINIMUM_CLUSTERS
            kept.append(np.flatnonzero((n >= MINIMUM) & enough))
        still = used & np.all([np.isin(code, levels) for code, levels in zip(codes, kept, strict=True)], axis=0)
        if still.sum() == used.sum():
            return used, kept
        used = still


@dataclass(frozen=True, slots=True)
class _Fit:
    """Constant (L,) and effects (L, G) of each classification in every layer."""

    constant: Floats
    effects: tuple[Floats, ...]


def _effects(
    design: SurveyDesign, answers: Floats, level: Sequence[Ints], used: npt.NDArray[np.bool_], names: Sequence[str]
) -> list[_Fit]:
    """Fit each of the answers (n, k), from the totals of the classifications' crossing."""
    weight = design.weight[used]
    cells, sums, _ = replicated_sums(
        level,
        design.cluster[used],
        [weight, *(weight * y for y in answers.T)],
        design.multiplier,
        layer_factor=design.layer_factor,
        factor_cell=None if design.factor_cell is None else design.factor_cell[used],
    )
    of_cell = [cells[:, j] for j in range(len(level))]
    mass = sums[0].T
    found = []
    for total in sums[1:]:
        effects = adjusted_effects(mass, total.T, of_cell, names).effects
        fit = np.sum([effect[:, of] for effect, of in zip(effects, of_cell, strict=True)], axis=0)
        found.append(_Fit((total.sum(axis=0) - (mass * fit).sum(axis=1)) / mass.sum(axis=1), effects))
    return found


def _spread_of(effect: Floats, clusters: Ints) -> tuple[float, Floats]:
    """Corrected spread of a classification's effects (L, G) on so many organisations (G,), and its draws (B,)."""
    errors = (effect[1:] - effect[0]) * small_sample_factor(clusters)
    found = spread(effect[0], errors * t_scale(clusters), covariance=np.cov(errors, rowvar=False))
    return found.sd_corrected, found.sd_draws


def _shared(
    design: SurveyDesign, answers: Floats, fits: Sequence[_Fit], level: Sequence[Ints], used: npt.NDArray[np.bool_]
) -> list[Floats]:
    """Variance of what the members of an organisation share, per answer: estimate in row 0, then confidence draws."""
    present, cluster = distinct_rows(design.cluster[used][:, None])
    members = np.bincount(cluster)
    if (members > 1).sum() < MINIMUM_SHARED:
        raise DesignError(
            "too few organisations to tell what their members share",
            where="constructs.dominance",
            expected=f"{MINIMUM_SHARED} organisations with two informants",
            got=f"{int((members > 1).sum())} of {MINIMUM_SHARED} organisations with two informants",
            hint="report the comparison as not assessable",
        )
    # The last level of each is minus the sum of the others: the same fit in columns of full rank.
    cells, cell = distinct_rows(np.column_stack(level))
    contrasts = [deviations(code, int(code.max()) + 1) for code in cells.T]
    split = cluster_variance(
        answers,
        np.hstack([np.ones((len(cells), 1)), *contrasts]),
        np.stack([np.hstack([fit.constant[:, None], *(effect[:, :-1] for effect in fit.effects)]) for fit in fits]),
        design.weight[used],
        cluster,
        design.multiplier[:, present[:, 0]],
        design.layer_factor,
        None if design.factor_cell is None else design.factor_cell[used],
        cell,
    )
    found = []
    for between in split.between:
        inference = infer(between, split.pairs)
        found.append(np.concatenate([[between[0]], inference.draws]))
    return found


def _rows(ledger: Ledger, question: Question, compared: _Compared) -> None:
    base: dict[str, Any] = {
        "n": compared.n, "n_organisations": compared.organisations, "smallest": compared.smallest, "item": question.item,
    }  # fmt: skip
    left_out = (
        f"without {listed(compared.dropped, limit=20)}: fewer than {MINIMUM} respondents from {MINIMUM_CLUSTERS} organisations"
        if compared.dropped
        else ""
    )
    status = "flagged" if left_out else "ok"
    for k, side in enumerate(SIDES):
        ledger.add(
            question.measure, f"{side}_sd_mutual", question.unit, draws=compared.draws[:, k],
            estimate=float(compared.spreads[k]), status=status, reason=left_out,
            **interval_of(compared.draws[:, k]), **base,
        )  # fmt: skip
    ledger.add(
        question.measure, "probability_role_largest", "index", estimate=compared.probability, status=status,
        reason=left_out, **base,
    )  # fmt: skip


def _share(ledger: Ledger, found: Sequence[_Compared], refused: Sequence[str], asked: int) -> None:
    names = ("share_role_largest", "share_role_surely_largest")
    if not found:
        for statistic in names:
            ledger.refuse("all", statistic, "proportion", f"none of {asked} measures can be compared")
        return
    probability = np.array([compared.probability for compared in found])
    level = (np.arange(ledger.design.replicates) + 0.5) / ledger.design.replicates
    below = np.array([np.mean(probability > 1.0 - u) for u in level])
    above = np.array([1.0 - np.mean(probability < 1.0 - u) for u in level])
    curve = np.where(level < 0.5, below, above)
    counted = f"{len(found)} measures compared"
    reason = counted if not refused else f"{counted}; not comparable: {listed(refused, limit=30)}"
    smallest = (min(c.smallest[0] for c in found), min(c.smallest[1] for c in found))
    n = max(compared.n for compared in found)
    base: dict[str, Any] = {
        "n": n, "n_organisations": max(c.organisations for c in found), "smallest": smallest,
        "hits": n // 2,  # a share of measures, so nobody stands behind it whom the gate would have to hide
        "reason": reason, "status": "flagged" if refused else "ok",
    }  # fmt: skip
    tail = interval_of(curve)
    ledger.add(
        "all", names[0], "proportion", draws=curve, estimate=float(np.mean([compared.largest for compared in found])),
        conf_low=tail["conf_low"], conf_high=tail["conf_high"], conf_level=tail["conf_level"], method="count_of_measures",
        **base,
    )  # fmt: skip
    ledger.add(
        "all", names[1], "proportion", estimate=float(np.mean(probability > SURE)), method="count_of_measures", **base
    )
