"""Role Lead-Lag Ranking (RLLR): the order of roles, how sure it is, and whether roles draw together.

Two levels that are never mixed: ranks, tiers and convergence compare roles across organisations; precedence, its strength and
the median lag compare executives of one organisation. Definitions, minimum bases and worked examples: measures.md 2.3. Own
code: it is one of the constructs that the project exists for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwork.constructs import convergence, entry_order
from fieldwork.constructs.ledger import Estimates, Ledger
from fieldwork.constructs.role_shift import indices, reference_of
from fieldwork.constructs.waves import Earlier, Fielded, RoleAnswers, errors_of, role_answers, said_of, wanted
from fieldwork.errors import DesignError, listed
from fieldwork.statistics.ranks import rank_curves, rank_sets

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument
    from fieldwork.statistics.replicates import Floats

__all__ = ["estimate_for"]

CONSTRUCT = "lead_lag"
CHAPTER = "08_movement"
MINIMUM = 40  # respondents of a role that is ranked, measures.md 2.3
MINIMUM_CLUSTERS = 5  # organisations of it, as the gate asks
FEW_ORGANISATIONS = 40  # below it replicates have too light a tail for joint sets: Bonferroni, see statistics.ranks


def estimate_for(
    instrument: Instrument,
    design: SurveyDesign,
    earlier: Earlier | None = None,
    *,
    reference: str = "",
    read: Collection[str] | None = None,
) -> Estimates:
    """Estimate the order of roles and what became of it over waves.

    `rank_low` and `rank_high`: best and worst rank of a role in simultaneous 95% confidence sets of the order by the Role
    Shift Index (Mogstad, Romano, Shaikh and Wilhelm 2024); both carry the set as their interval, and the draws of their
    adjusted p-values. `tier`: roles whose order is not sure share one. Order of entry within organisations: see
    `constructs.entry_order`. Convergence: see `constructs.convergence`, on the index and on the gradient's measures.

    Parameters
    ----------
    design : of the wave at work. earlier : earlier waves; None: there are none. reference : as in `role_shift.estimate_for`.
    read : statistics that are read; what makes none of them is left out. None: all are.

    A role is ranked with 40 respondents from 5 organisations (measures.md 2.3).
    """
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    before = earlier or Earlier()
    waves = before.with_now(instrument, design)
    measure, layers_of, broken = _index(waves, reference)
    _ranks(ledger, waves[-1], measure, layers_of, broken)
    if read is None or entry_order.STATISTICS.keys() & set(read):
        family = instrument.slot("ent")
        named = (family[0].family or family[0].name) if family else "ent"
        entries = [item.name for item in family if item.kind == "date" and item.unit == "quarter"]
        entry_order.estimate(ledger, instrument, named, entries)
    if read is not None and not convergence.STATISTICS.keys() & set(read):
        return ledger.table()
    measures: list[tuple[str, Callable[[RoleAnswers], Floats], str]] = [(measure, layers_of, broken)]
    measures += [
        (item.name, lambda answers: answers.mean, "")
        for item in instrument.measures("adoption_gradient")
        if item.kind == "ordinal"
    ]
    convergence.estimate(ledger, waves, before, measures)
    return ledger.table()


def _index(waves: Sequence[Fielded], wanted: str) -> tuple[str, Callable[[RoleAnswers], Floats], str]:
    """Return what roles are ranked by, what makes the index of its answers, and why it cannot be had over waves.

    Where the wave cannot be held against the reference it is held against itself: an order within the wave needs no other.
    """
    now = waves[-1]
    stage = now.instrument.keys.stage
    if not (now.instrument.keys.role and stage):
        return stage, lambda answers: answers.mean, "the survey has no roles or no stages"
    known = [wave for wave in waves if wave.instrument.keys.role and wave.instrument.keys.stage]
    try:
        reference = reference_of(known, wanted if wanted in {wave.name for wave in known} else "")
        if reference.broken:
            own = reference_of([now])
            return stage, lambda answers: indices(answers, own), reference.broken
    except DesignError as error:
        return stage, lambda answers: answers.mean, f"no reference: {error.expected} is needed"
    return stage, lambda answers: indices(answers, reference), ""


def _ranks(ledger: Ledger, now: Fielded, measure: str, layers_of: Callable[[RoleAnswers], Floats], broken: str) -> None:
    keys = now.instrument.keys
    if not (keys.role and keys.stage):
        _refuse(ledger, measure, broken)
        return
    roles = now.instrument.roles
    answers = role_answers(now, measure, now.instrument.role_ids)
    kept = (answers.n >= MINIMUM) & (answers.clusters >= MINIMUM_CLUSTERS)
    ranked = np.flatnonzero(kept if kept.sum() >= 2 else np.zeros_like(kept))
    for i in np.setdiff1d(np.arange(len(roles)), ranked):
        n = int(answers.n[i])
        short = wanted(MINIMUM, "respondents of a role that is ranked", n)
        reason = "no second role to rank it against" if kept[i] else short
        _refuse(ledger, measure, reason, role=roles[i].id, n=n, n_organisations=int(answers.clusters[i]))
    if not len(ranked):
        return
    layers, clusters = layers_of(answers)[:, ranked], answers.clusters[ranked]
    errors = errors_of(layers, clusters, wide=False)
    few = int(clusters.min()) < FEW_ORGANISATIONS
    given: dict[str, Any] = {
        "errors": None if few else errors,
        "covariance": errors.T @ errors / len(errors),
        "df": np.minimum(clusters[:, None], clusters[None, :]) - 1.0,
    }
    try:
        sets, curves = rank_sets(layers[0], **given), rank_curves(layers[0], **given, draws=len(errors))
    except DesignError as error:
        _refuse(ledger, measure, f"{error.title}: {error.got}")
        return
    out = [role.label for i, role in enumerate(roles) if i not in ranked]
    said = said_of(
        f"without {listed(out)}: fewer than {MINIMUM} respondents" if out else "",
        "against the stages of this wave itself" if broken else "",
        "Bonferroni: few organisations" if few else "",
    )
    for place, i in enumerate(ranked):
        base: dict[str, Any] = {
            "role": roles[i].id, "n": int(answers.n[i]), "n_organisations": int(answers.clusters[i]),
            "smallest": (int(answers.n[ranked].min()), int(clusters.min())), "method": "rank_sets", "reason": said,
        }  # fmt: skip
        low, high = float(sets.rank_low[place]), float(sets.rank_high[place])
        ends: dict[str, Any] = {"conf_low": low, "conf_high": high, "conf_level": 0.95, **base}
        for statistic, estimate, curve in (("rank_low", low, curves.rank_low), ("rank_high", high, curves.rank_high)):
            draws = curve[:, place].astype(np.float64)
            ledger.add(measure, statistic, "rank", draws=draws, estimate=estimate, **ends)
        ledger.add(measure, "tier", "rank", estimate=float(sets.tier[place]), **base)


def _refuse(ledger: Ledger, measure: str, reason: str, **fields: Any) -> None:  # noqa: ANN401
    for statistic in ("rank_low", "rank_high", "tier"):
        ledger.refuse(measure, statistic, "rank", reason, **fields)
