"""Gatekeepers and validators: which roles can stop a decision, and which have to agree to it.

Own code: it is part of the Role Influence Index, measures.md 2.6. A nomination counts where the firm has the role and where
it is not the own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.constructs.cells import weighted_sums
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Ledger, counted
from fieldwork.statistics.proportion import (
    ProportionInterval,
    interval_difference,
    korn_graubard,
    layer_correlation,
    replicate_places,
)
from fieldwork.statistics.replicates import infer

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument, Item
    from fieldwork.statistics.replicates import Floats, Inference

__all__ = ["add_rows", "numbers"]

Mask = npt.NDArray[np.bool_]

MINIMUM = 10  # respondents on each side of a gap, measures.md 2.8
MINIMUM_CLUSTERS = 5  # organisations, measures.md 2.8


def numbers(column: pd.Series) -> Floats:
    """Return a column of answers as numbers (n,), nan for none."""
    return np.array(column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan), copy=True)


def add_rows(ledger: Ledger, instrument: Instrument, item: Item, statistic: str, holder: npt.NDArray[np.str_]) -> None:
    """Write shares who name each role, among respondents of other roles whose firm has it; and who name nobody.

    Shares are weighted, their intervals Korn and Graubard's at the effective sample size of the design. `self_other_gap` is the
    share of the role's holders who name it less that of others, by square-and-add of the two intervals with the correlation
    that shared organisations give them. Where the
    survey does not ask which roles exist, firms without a role count as not naming it, and the row says so.

    Parameters
    ----------
    item : a multi-select item whose options are roles, and perhaps one that stands alone. statistic : name of the shares.
    holder : (n,) role id of each respondent, "" for none.
    """
    design = ledger.design
    roles = set(instrument.role_ids)
    named = [(option.id, f"{item.name}_{option.id}") for option in item.options if option.id in roles]
    if not named:
        return
    ticks = np.column_stack([numbers(design.responses[column]) for _, column in named])
    exists = {entry.member: entry.name for entry in instrument.slot("role_exists") if entry.kind == "flag"}
    there = np.column_stack(
        [
            numbers(design.responses[exists[role]]) != 0 if role in exists else np.ones(len(ticks), dtype=bool)
            for role, _ in named
        ]
    )
    known = np.isfinite(ticks) & there
    own = holder[:, None] == np.array([role for role, _ in named])[None, :]
    note = "" if exists else "existence of roles is not asked: firms without the role count as not naming it"
    for j, (role, _) in enumerate(named):
        groups = [known[:, j] & ~own[:, j], known[:, j] & own[:, j]]
        _share(ledger, item.name, statistic, ticks[:, j] == 1, groups[0], note, role=role)
        _self_named(ledger, item.name, ticks[:, j] == 1, groups, role)
    alone = [option.id for option in item.options if option.id in item.exclusive]
    for option in alone:
        given = numbers(design.responses[f"{item.name}_{option}"])
        _share(ledger, item.name, "nobody_share", given == 1, np.isfinite(given), "", item=option)


def _share(ledger: Ledger, measure: str, statistic: str, yes: Mask, among: Mask, note: str, **key: str) -> None:
    design = ledger.design
    n, clusters = int(among.sum()), design.clusters(among)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, **key}
    if n == 0:
        ledger.refuse(measure, statistic, "proportion", "nobody answered whose firm has the role", **base)
        return
    interval, inference, _ = _curve(design, yes, among, n, clusters)
    small = f"small base: fewer than {SMALL_BASE} respondents" if n < SMALL_BASE else ""
    ledger.add(
        measure,
        statistic,
        "proportion",
        draws=interval.quantile(replicate_places(inference.draws)),
        hits=int((yes & among).sum()),
        carried=design.carried(among),
        estimate=interval.estimate,
        std_error=_sure(float(inference.std_error)),
        conf_low=interval.conf_low,
        conf_high=interval.conf_high,
        conf_level=0.95,
        n_effective=interval.n_effective,
        method="korn_graubard",
        status="flagged" if small or note else "ok",
        reason="; ".join(text for text in (note, small) if text),
        **base,
    )


def _self_named(ledger: Ledger, measure: str, yes: Mask, groups: Sequence[Mask], role: str) -> None:
    """Share of the role's holders who name it less the share of others."""
    design = ledger.design
    others, mine = groups
    n = [int(group.sum()) for group in (mine, others)]
    clusters = [design.clusters(group) for group in (mine, others)]
    base: dict[str, Any] = {"n": n[0], "n_organisations": clusters[0], "role": role}
    fewest = MINIMUM_CLUSTERS if design.has_organisations else MINIMUM
    if min(n) < MINIMUM or min(clusters) < fewest:
        needed = f" from {MINIMUM_CLUSTERS} organisations" if design.has_organisations else ""
        reason = f"answered by {counted(n[0])} of the role's holders: {MINIMUM}{needed} are needed"
        ledger.refuse(measure, "self_other_gap", "proportion", reason, **base)
        return
    sides = [int((yes & group).sum()) for group in (mine, others)]
    found = [_curve(design, yes, group, n_, c) for group, n_, c in zip((mine, others), n, clusters, strict=True)]
    curves, _, shares = zip(*found, strict=True)
    layers = shares[0] - shares[1]
    inference = infer(layers, clusters[0])
    # A role's holders and those of the others sit in the same organisations.
    together = float(layer_correlation(*shares))
    low, high = interval_difference(curves[0], curves[1], [0.025, 0.975], together)
    drawn = interval_difference(curves[0], curves[1], replicate_places(inference.draws), together)
    # The gate must see the thinner of the sides of both shares, or the difference would give one of them away.
    hits = min(*sides, n[0] - sides[0], n[1] - sides[1])
    small = f"small base: fewer than {SMALL_BASE} respondents" if n[0] < SMALL_BASE else ""
    ledger.add(
        measure, "self_other_gap", "proportion", draws=drawn,
        hits=hits, estimate=float(layers[0]), std_error=_sure(float(inference.std_error)), conf_low=float(low),
        conf_high=float(high), conf_level=0.95, method="korn_graubard_mover", smallest=(min(n), min(clusters)),
        status="flagged" if small else "ok", reason=small, **base,
    )  # fmt: skip


def _sure(std_error: float) -> float:
    return std_error if np.isfinite(std_error) and std_error > NIL else math.nan


def _curve(
    design: SurveyDesign, yes: Mask, among: Mask, n: int, clusters: int
) -> tuple[ProportionInterval, Inference, Floats]:
    """Interval of a weighted share with its inference from the replicates, and the share in every layer (1 + B,)."""
    sums = weighted_sums(design, np.column_stack([yes, np.ones(len(yes))]), among)
    share = sums[:, 0] / sums[:, 1]
    inference = infer(share, clusters)
    se = _sure(float(inference.std_error))
    return korn_graubard(float(inference.estimate), 0.0 if math.isnan(se) else se, n, clusters), inference, share
