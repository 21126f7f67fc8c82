"""Stability of use between waves: whether change shrinks within roles, and how often a function falls back a stage.

System level: one executive, or one organisation, is followed from wave to wave, so there has to be a panel. Definition and
worked example: measures.md 2.7; claim H26. Own code: it is one of the measures that the project exists for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.constructs.ledger import NIL
from fieldwork.constructs.waves import Earlier, Fielded, layers_of, said_of, scores, too_few, wanted
from fieldwork.instrument import trend_break
from fieldwork.statistics.replicates import Floats, Inference, Ints, infer, replicated_totals

if TYPE_CHECKING:
    from fieldwork.constructs.ledger import Ledger

__all__ = ["clear_ownership", "estimate"]

MINIMUM_PANEL = 30  # executives of all waves compared, or moves of a group; measures.md 2.8 for means
MINIMUM_CLUSTERS = 5  # organisations, as the gate asks
MAJORITY = 0.5

Flags = npt.NDArray[np.bool_]


def estimate(ledger: Ledger, waves: Sequence[Fielded], earlier: Earlier) -> None:
    """Add the stability of use and the reversals of stages to a ledger.

    `variance_ratio` of `use_stab`: variance within roles of the last change between two waves in a row over that of the first
    one, of the mean of the items on stability, among executives who answered the waves of both changes; below 1 use has
    become steadier. Interval by t on the log. `reversal_share`: share of moves between two waves in a row in which an
    executive's function is at an earlier stage than before; `reversal_difference`: that share where ownership of AI
    decisions was unclear in the organisation less where it was clear, both at the start of the move.

    A missing wave is never bridged: a move needs both of two waves that follow each other in the study. Those who leave a
    panel are not in it, and may be the unstable ones.
    """
    _variance(ledger, waves, earlier)
    _reversals(ledger, waves, earlier)


def _variance(ledger: Ledger, waves: Sequence[Fielded], earlier: Earlier) -> None:
    now = waves[-1]
    items = [item.name for item in now.instrument.slot("use_stab") if item.kind == "ordinal"]
    base: dict[str, Any] = {}
    reason = _no_variance(waves, items)
    if not reason:
        changes = ((waves[0], waves[1]), (waves[-2], waves[-1]))
        reason, base, inference = _ratio(changes, items)
    if reason:
        ledger.refuse("use_stab", "variance_ratio", "ratio", said_of(reason, earlier.missing()), **base)
        return
    ratio = math.exp(float(inference.estimate))
    ledger.add(
        "use_stab", "variance_ratio", "ratio", draws=np.exp(inference.draws), estimate=ratio,
        std_error=ratio * float(inference.std_error), conf_low=math.exp(float(inference.conf_low)),
        conf_high=math.exp(float(inference.conf_high)), conf_level=0.95,
        reason=f"within roles, the same executives in {_names(changes)}", **base,
    )  # fmt: skip


def _no_variance(waves: Sequence[Fielded], items: Sequence[str]) -> str:
    """Say why the waves tell nothing of a change of variance; empty where they may."""
    if not items:
        return "the wave does not ask how stable the use is"
    if not waves[-1].instrument.keys.role:
        return "the survey has no roles"
    if short := too_few(waves, 3):
        return f"a change of variance needs two changes: {short}"
    lengths = [later.number - before.number for before, later in (waves[:2], waves[-2:])]
    if lengths[0] != lengths[1]:
        return f"the first change spans {lengths[0]} and the last {lengths[1]} waves of the study"
    broken = (trend_break([wave.instrument for wave in waves], name) for name in items)
    return next((reason for reason in broken if reason), "")


def _ratio(changes: Sequence[tuple[Fielded, Fielded]], items: Sequence[str]) -> tuple[str, dict[str, Any], Inference]:
    """Log ratio of the variances of two changes within roles; or why there is none."""
    now = changes[1][1]
    ids = _ids(now)
    level = {
        wave.name: _told(ids, wave, np.mean([scores(wave, name) for name in items], axis=0))
        for change in changes
        for wave in change
    }
    first, last = (level[later.name] - level[before.name] for before, later in changes)
    codes, roles = pd.factorize(now.design.responses[now.instrument.keys.role].astype("string"))
    kept = np.isfinite(first) & np.isfinite(last) & (codes >= 0)
    # A role with one executive tells of no variance within it.
    kept &= np.isin(codes, np.flatnonzero(np.bincount(codes[kept], minlength=len(roles)) >= 2))
    n, clusters = int(kept.sum()), now.design.clusters(kept)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters}
    nothing = infer(np.zeros(2), 2)
    if n < MINIMUM_PANEL or clusters < MINIMUM_CLUSTERS:
        return wanted(MINIMUM_PANEL, f"executives of {_names(changes)}", n), base, nothing
    factor = n / (n - len(np.unique(codes[kept])))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(_within(now, kept, codes, change, factor)) for change in (first, last)]
        inference = infer(logs[1] - logs[0], clusters)
    if not np.isfinite(inference.draws).all() or float(inference.std_error) < NIL:
        return "one of the two changes does not vary within roles", base, nothing
    return "", base, inference


def _names(changes: Sequence[tuple[Fielded, Fielded]]) -> str:
    return ", ".join(dict.fromkeys(wave.name for change in changes for wave in change))


def _within(wave: Fielded, kept: Flags, group: npt.NDArray[np.int64], value: Floats, factor: float) -> Floats:
    """Weighted variance about the means of groups in every layer (1 + B,), times n / (n - G)."""
    steps, which = np.unique(np.round(value[kept], 9), return_inverse=True)
    totals = replicated_totals([group[kept], which], **layers_of(wave.design, kept))
    G = int(group.max()) + 1
    member = np.zeros((len(totals.levels), G))
    member[np.arange(len(totals.levels)), totals.levels[:, 0]] = 1.0
    y = steps[totals.levels[:, 1]]
    weight, first, second = (totals.weight @ member, (totals.weight * y) @ member, (totals.weight * y**2) @ member)
    mean = np.divide(first, weight, out=np.zeros_like(first), where=weight > 0)
    squares = (second - weight * mean**2).sum(axis=1)
    return np.asarray(factor * np.clip(squares, 0.0, None) / weight.sum(axis=1), dtype=np.float64)


def clear_ownership(wave: Fielded) -> npt.NDArray[np.float64]:
    """Tell for each respondent's organisation whether ownership of AI decisions is clear (n,): 1, 0, or nan for unknown.

    Clear: more than half of its executives who answered name the same role as owner. Several roles together, nobody, and no
    majority are unclear. Where the survey names no organisations each respondent speaks for one.
    """
    instrument, design = wave.instrument, wave.design
    items = instrument.slot("owner")
    if not items:
        return np.full(len(design.weight), np.nan)
    named = design.responses[items[0].name].astype("string")
    told = pd.DataFrame({"cluster": design.cluster, "owner": named.to_numpy()}).dropna()
    count = told.groupby(["cluster", "owner"]).size().rename("n").reset_index()
    whole = count.groupby("cluster")["n"].sum()
    roles = count[count["owner"].isin(instrument.role_ids)]
    most = roles.groupby("cluster")["n"].max().reindex(whole.index).fillna(0)
    clear = (most / whole > MAJORITY).astype(np.float64)
    return np.asarray(pd.Series(design.cluster).map(clear).to_numpy(dtype=np.float64))


def _reversals(ledger: Ledger, waves: Sequence[Fielded], earlier: Earlier) -> None:
    stage = waves[-1].instrument.keys.stage
    broken = trend_break([wave.instrument for wave in waves], stage) if stage else "the survey has no stages"
    steps = [(one, two) for one, two in pairwise(waves) if two.number == one.number + 1]
    short = too_few(waves) or broken or ("" if steps else "no two waves that follow each other were delivered")
    if short:
        for statistic in ("reversal_share", "reversal_difference"):
            ledger.refuse(stage, statistic, "proportion", said_of(short, earlier.missing()))
        return
    moves = _moves(steps, stage)
    everyone = (0, 1, 2)
    _share(ledger, stage, "reversal_share", moves, (everyone,), f"of moves between {_names(steps)}")
    if not any(wave.instrument.slot("owner") for wave, _ in steps):
        ledger.refuse(stage, "reversal_difference", "proportion", "the waves do not ask who owns AI decisions")
        return
    said = "unclear less clear ownership, of the organisation at the start of a move"
    _share(ledger, stage, "reversal_difference", moves, ((0,), (1,)), said)


@dataclass(frozen=True, slots=True)
class _Moves:
    """Moves between waves that follow each other, by ownership at their start: 0 unclear, 1 clear, 2 not known.

    Attributes
    ----------
    weight : (1 + B, 3, 2)    Sums of weights; the last axis tells moves back from the others: 1 is back.
    rows : (3, 2) int         Moves.
    people, orgs : tuple of sets    Names of the executives, and of the organisations, behind each kind of ownership.
    """

    weight: Floats
    rows: Ints
    people: tuple[set[str], ...]
    orgs: tuple[set[str], ...]


def _moves(steps: Sequence[tuple[Fielded, Fielded]], stage: str) -> _Moves:
    weight = np.zeros((steps[0][0].design.replicates + 1, 3, 2))
    rows = np.zeros((3, 2), dtype=np.int64)
    people, orgs = (set[str](), set[str](), set[str]()), (set[str](), set[str](), set[str]())
    for one, two in steps:
        ids = _ids(two)
        change = scores(two, stage) - _told(ids, one, scores(one, stage))
        owned = _told(ids, one, clear_ownership(one))
        kept = np.isfinite(change)
        kind = np.where(np.isnan(owned), 2, np.nan_to_num(owned)).astype(np.int64)
        totals = replicated_totals([kind[kept], (change[kept] < 0).astype(np.int64)], **layers_of(two.design, kept))
        g, back = totals.levels.T
        weight[:, g, back] += totals.weight
        rows[g, back] += totals.rows
        keys = two.instrument.keys
        names = two.design.responses[keys.organisation or keys.respondent].astype(str).to_numpy()
        for side in range(3):
            people[side].update(ids.to_numpy()[kept & (kind == side)])
            orgs[side].update(names[kept & (kind == side)])
    return _Moves(weight, rows, people, orgs)


def _share(
    ledger: Ledger, stage: str, statistic: str, moves: _Moves, sides: Sequence[tuple[int, ...]], said: str
) -> None:
    """Add the share of moves back on one side, or the difference between two sides."""
    moved = [int(moves.rows[list(side)].sum()) for side in sides]
    n = [len(set().union(*(moves.people[kind] for kind in side))) for side in sides]
    clusters = [len(set().union(*(moves.orgs[kind] for kind in side))) for side in sides]
    base = {"n": min(n), "n_organisations": min(clusters)}
    if min(n) < MINIMUM_PANEL or min(clusters) < MINIMUM_CLUSTERS:
        what = "executives with a stage in two waves in a row"
        reason = wanted(MINIMUM_PANEL, f"{what}, on either side," if len(sides) > 1 else what, min(n))
        ledger.refuse(stage, statistic, "proportion", reason, **base)
        return
    shares = [
        moves.weight[:, list(side), 1].sum(axis=1) / moves.weight[:, list(side)].sum(axis=(1, 2)) for side in sides
    ]
    layers = shares[0] if len(sides) == 1 else shares[0] - shares[1]
    back = [int(moves.rows[list(side), 1].sum()) for side in sides]
    # The fewest people on either side of either share stand for the row at the gate.
    fewest = min(min(hit, whole - hit) for hit, whole in zip(back, moved, strict=True))
    ledger.add_inferred(
        stage, statistic, "proportion", infer(layers, min(clusters)), hits=fewest, reason=said, **base
    )  # fmt: skip


def _ids(wave: Fielded) -> pd.Series:
    return wave.design.responses[wave.instrument.keys.respondent].astype(str)


def _told(ids: pd.Series, wave: Fielded, values: Floats) -> Floats:
    """Give what an earlier wave knows of each respondent, nan where it knows nothing."""
    return np.asarray(ids.map(pd.Series(values, index=_ids(wave))).to_numpy(dtype=np.float64))
