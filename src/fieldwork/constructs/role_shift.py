"""Role Shift Index (RSI): where each role sits on the adoption spectrum, and how far it has moved.

Population level: roles are compared across organisations. The index is a mean ridit against one fixed reference, so a level
and a shift mean the same in every wave. Definition, minimum bases and worked example: measures.md 2.2. Own code: it is one
of the constructs that the project exists for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldwork.constructs import stability
from fieldwork.constructs.adoption_gradient import Measure
from fieldwork.constructs.cells import axis, distinct
from fieldwork.constructs.ledger import Estimates, Ledger, interval_of
from fieldwork.constructs.ordinal_lens import model_lens
from fieldwork.constructs.waves import (
    Earlier,
    Fielded,
    RoleAnswers,
    Takers,
    layers_of,
    refuse_lost,
    role_answers,
    role_positions,
    rows_by_role,
    said_of,
    scores,
    takers,
    too_few,
)
from fieldwork.constructs.waves import wanted as needed
from fieldwork.errors import ConvergenceError, DataError, DesignError, listed
from fieldwork.instrument import FollowedRoles, followed_roles, trend_break
from fieldwork.statistics.replicates import Floats, Ints, replicated_totals
from fieldwork.weight import rake_cells

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument

__all__ = ["Reference", "estimate_for", "indices", "reference_of", "reference_record", "ridits"]

CONSTRUCT = "role_shift"
CHAPTER = "08_movement"
MINIMUM = 20  # respondents of a role that may stand in the reference, measures.md 2.2
PUBLISHED = 30  # respondents of a role whose index is printed, measures.md 2.2
MINIMUM_CLUSTERS = 5  # organisations of a role, as the gate asks
MINIMUM_CHANGE = 10  # respondents in each wave behind a change of mean, measures.md 2.8
THIN = 3  # respondents below which a level of size or sector is pooled with others before composition is held fixed


def ridits(share: Floats) -> Floats:
    """Ridit of each answer against a reference distribution (..., K): what lies below it, and half of what lies at it.

    The mean ridit of a group is the probability that one of its members is further on than one of the reference, counting
    half of the ties: 0 to 1, the reference itself one half. Reference: Bross (1958), Biometrics 14, 18-38.

    >>> ridits(np.array([4, 3, 2, 1]) / 10).round(2).tolist()
    [0.2, 0.55, 0.8, 0.95]
    """
    return np.asarray(np.cumsum(share, axis=-1) - 0.5 * share, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Reference:
    """The distribution of stages that every index is held against.

    Attributes
    ----------
    wave : str              Wave that it comes from.
    version : str           Wave and eight digits of a hash of its table: the same digits, the same reference.
    share : (1 + B, K)      Share of each stage, all roles weighing alike, layer 0 observed.
    table : pd.DataFrame    Role, stage, n and share: the counts behind it.
    left_out : tuple        Labels of roles with too few respondents to stand in it.
    smallest : tuple        Respondents and organisations of its thinnest role.
    broken : str            Why the wave at work cannot be held against it; empty where it can.
    """

    wave: str
    version: str
    share: Floats
    table: pd.DataFrame
    left_out: tuple[str, ...]
    smallest: tuple[int, int]
    broken: str


def reference_of(waves: Sequence[Fielded], wanted: str = "", frozen: str = "") -> Reference:
    """Make the reference: stages of the first delivered wave (or of the wave `wanted`), all roles weighing alike.

    A role stands in it with 20 respondents from 5 organisations or more. Its replicates are those of its own wave, keyed by
    organisation, so the uncertainty of the reference is in every index, and in a shift it falls out as far as it should.

    Parameters
    ----------
    waves : delivered waves, the one at work last; each with a role and a stage.
    wanted : wave that is the reference; empty: the first.
    frozen : version that the study froze; another one is refused.

    Raises DataError for a version that is not the frozen one, DesignError where no role has the base.
    """
    now = waves[-1]
    base = next((wave for wave in waves if wave.name == wanted), waves[0])
    roles, stage = base.instrument.role_ids, base.instrument.keys.stage
    answers = role_answers(base, stage, roles)
    kept = (answers.n >= MINIMUM) & (answers.clusters >= MINIMUM_CLUSTERS)
    if not kept.any():
        raise DesignError(
            "no role can stand in the reference of the Role Shift Index",
            where=f"constructs.role_shift.reference_of, wave {base.name}",
            expected=f"a role with {MINIMUM} respondents from {MINIMUM_CLUSTERS} organisations",
            got=f"at most {int(answers.n.max(initial=0))} respondents",
            hint="report the index as not assessable",
        )
    share = answers.share[:, kept].mean(axis=1)
    stages = [option.id for option in sorted(base.instrument.item(stage).options, key=lambda option: option.code)]
    names = [role for role, used in zip(roles, kept, strict=True) if used]
    table = pd.DataFrame(
        {
            "role": np.repeat(names, len(stages)),
            "stage": np.tile(stages, len(names)),
            "n": answers.rows[kept].reshape(-1),
            "share": answers.share[0, kept].reshape(-1),
        }
    )
    lines = "\n".join(f"{row.role},{row.stage},{row.n},{row.share:.6f}" for row in table.itertuples())
    version = f"{base.name}/{hashlib.sha256(lines.encode()).hexdigest()[:8]}"
    if frozen and frozen != version:
        raise DataError(
            "the reference of the Role Shift Index is not the one that was frozen",
            where="study.toml, waves.reference_version",
            expected=frozen,
            got=version,
            hint=f"answers or weights of {base.name} have changed since; put the new version, and say so where it is read",
        )
    broken = trend_break([base.instrument, now.instrument], stage) if base is not now else ""
    left_out = [base.instrument.option_label("role", role) for role, used in zip(roles, kept, strict=True) if not used]
    smallest = int(answers.n[kept].min()), int(answers.clusters[kept].min())
    return Reference(base.name, version, share, table, tuple(left_out), smallest, broken)


def reference_record(waves: Sequence[Fielded], wanted: str = "", frozen: str = "") -> dict[str, Any]:
    """Return the reference as it is kept: wave, version and the counts behind it; a reason where there is none."""
    known = [wave for wave in waves if wave.instrument.keys.role and wave.instrument.keys.stage]
    if not known:
        return {"reason": "the survey has no roles or no stages"}
    try:
        found = reference_of(known, wanted, frozen)
    except DesignError as error:
        return {"reason": f"{error.expected} is needed"}
    return {"wave": found.wave, "version": found.version, "counts": found.table.to_dict("records")}


def indices(answers: RoleAnswers, reference: Reference) -> Floats:
    """Role Shift Index of each role (1 + B, R): mean ridit of its stages against the reference, layer by layer."""
    return np.asarray(np.einsum("brk,bk->br", answers.share, ridits(reference.share)), dtype=np.float64)


def estimate_for(
    instrument: Instrument,
    design: SurveyDesign,
    earlier: Earlier | None = None,
    *,
    reference: str = "",
    frozen: str = "",
) -> Estimates:
    """Estimate the Role Shift Index, its shift, changes of mean, and stability between waves.

    `ridit`: RSI_rt = sum_k q_rtk ridit_k, q the stages of role r in wave t, ridit_k against the reference. `shift` = RSI_rt -
    RSI_r1 against the first delivered wave. `ridit_model`: the same index from the predictions of a cumulative link mixed
    model with a term for the role and an intercept of organisations. `mean_change`: the same of means of the gradient's
    measures and of the support for funding, with size and sector within the role held as they were in the first wave;
    `mean_change_panel` among respondents of both waves. `returning_share` says whether waves are a panel. Stability: see
    `constructs.stability`.

    Parameters
    ----------
    design : of the wave at work. earlier : earlier waves; None: there are none.
    reference : wave whose stages are the reference; empty: the first delivered. frozen : see `reference_of`.

    An index is printed with 30 respondents of a role, a change with 10 in each wave (measures.md 2.2, 2.8). Where an item,
    its answers or a role changed between waves the row says `not_assessable` and why. Intervals are 95% t intervals.
    """
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    waves = (earlier or Earlier()).with_now(instrument, design)
    keys = instrument.keys
    if not keys.role:
        for statistic, unit in (("ridit", "index"), ("shift", "index"), ("mean_change", "scale_point")):
            ledger.refuse("", statistic, unit, "the survey has no roles")
    else:
        _index(ledger, waves, reference, frozen)
        _changes(ledger, waves)
    _returning(ledger, waves, earlier or Earlier())
    stability.estimate(ledger, waves, earlier or Earlier())
    return ledger.table()


def _index(ledger: Ledger, waves: Sequence[Fielded], wanted: str, frozen: str) -> None:
    now, stage = waves[-1], waves[-1].instrument.keys.stage
    if not stage:
        for statistic in ("ridit", "shift"):
            ledger.refuse("", statistic, "index", "the survey has no stages")
        return
    known = [wave for wave in waves if wave.instrument.keys.role and wave.instrument.keys.stage]
    if wanted and wanted not in {wave.name for wave in known}:
        for statistic in ("ridit", "shift"):
            ledger.refuse(stage, statistic, "index", f"the reference is wave {wanted}, of which there is no delivery")
        return
    try:
        reference = reference_of(known, wanted, frozen)
    except DesignError as error:
        for statistic in ("ridit", "shift"):
            ledger.refuse(stage, statistic, "index", f"no reference: {error.expected} is needed")
        return
    if reference.broken:
        reason = f"{now.instrument.label(stage)} cannot be held against the reference: {reference.broken}"
        for statistic in ("ridit", "shift"):
            ledger.refuse(stage, statistic, "index", reason)
        return
    said = f"against {reference.wave}, all roles weighing alike (version {reference.version})"
    if reference.left_out:
        said += f", without {listed(reference.left_out)}: fewer than {MINIMUM} respondents there"
    roles = now.instrument.role_ids
    answers = role_answers(now, stage, roles)
    rows_by_role(
        ledger,
        stage,
        "ridit",
        "index",
        roles,
        indices(answers, reference),
        answers.n,
        answers.clusters,
        PUBLISHED,
        said,
    )
    _modelled(ledger, now, reference, answers, said)
    _shift(ledger, known, reference, said)


def _modelled(ledger: Ledger, now: Fielded, reference: Reference, answers: RoleAnswers, said: str) -> None:
    """Add the index that the cumulative link mixed model predicts for each role, beside the one of the cell table.

    The reference counts as known here: its own uncertainty is in `ridit`, and no part of the model.
    """
    keys = now.instrument.keys
    measure, role = Measure(keys.stage, tuple(answers.scores.tolist())), axis(now.instrument, keys.role)
    scores = ridits(reference.share[0])
    try:
        lens = model_lens(now.design, measure, role, None, draws=now.design.replicates, scores=scores.tolist())
    except (DesignError, ConvergenceError) as error:
        reason = f"the model cannot be fitted: {error.title}; {error.got}"
        ledger.refuse(keys.stage, "ridit_model", "index", reason, method="clmm")
        return
    place = {label: i for i, label in enumerate(lens.roles)}
    for role_id, n, clusters in zip(now.instrument.role_ids, answers.n, answers.clusters, strict=True):
        base: dict[str, Any] = {"role": role_id, "n": int(n), "n_organisations": int(clusters), "method": "clmm"}
        if n < PUBLISHED or role_id not in place:
            short = needed(PUBLISHED, "respondents", int(n))
            few = needed(MINIMUM_CLUSTERS, "organisations", int(clusters))
            ledger.refuse(keys.stage, "ridit_model", "index", short if n < PUBLISHED else few, **base)
            continue
        means = lens.role_mean[:, place[role_id]]
        ledger.add(
            keys.stage, "ridit_model", "index", draws=means[1:], estimate=float(means[0]),
            reason=f"marginal: over organisations; reference held as observed, {said}", **interval_of(means[1:]), **base,
        )  # fmt: skip


def _shift(ledger: Ledger, waves: Sequence[Fielded], reference: Reference, said: str) -> None:
    first, now = waves[0], waves[-1]
    stage = now.instrument.keys.stage
    if short := too_few(waves):
        ledger.refuse(stage, "shift", "index", short)
        return
    pair = [first.instrument, now.instrument]
    roles = followed_roles(pair)
    broken = roles.broken or trend_break(pair, stage)
    if broken:
        ledger.refuse(stage, "shift", "index", broken)
        return
    before, after = (
        role_answers(w, stage, roles.ids, into) for w, into in ((first, roles.into[0]), (now, roles.into[1]))
    )
    layers = indices(after, reference) - indices(before, reference)
    notes = {role: said_of(f"since {first.name}", roles.notes.get(role, ""), said) for role in roles.ids}
    n, clusters = np.minimum(before.n, after.n), np.minimum(before.clusters, after.clusters)
    rows_by_role(ledger, stage, "shift", "index", roles.ids, layers, n, clusters, PUBLISHED, notes)
    refuse_lost(ledger, stage, "shift", "index", roles, now)


def _changes(ledger: Ledger, waves: Sequence[Fielded]) -> None:
    """Add changes of role means since the first wave, composition held, and among those who answered both."""
    now = waves[-1]
    items = [item for item in now.instrument.measures("adoption_gradient") if item.kind == "ordinal"]
    items += [item for item in now.instrument.slot("fund_release") if item.kind == "ordinal" and item not in items]
    short = too_few(waves)
    if short or not items:
        for name in [item.name for item in items] or [""]:
            ledger.refuse(name, "mean_change", "scale_point", short or "the wave asks no measure of the gradient")
        return
    first = waves[0]
    pair = [first.instrument, now.instrument]
    roles = followed_roles(pair)
    composition = _Composition.of(first, now, roles) if not roles.broken else None
    for item in items:
        broken = roles.broken or trend_break(pair, item.name)
        if broken or composition is None:
            ledger.refuse(item.name, "mean_change", "scale_point", broken)
            continue
        layers, n, clusters = composition.change(item.name)
        notes = {
            role: said_of(f"since {first.name}", composition.said[role], roles.notes.get(role, ""))
            for role in roles.ids
        }
        rows_by_role(
            ledger, item.name, "mean_change", "scale_point", roles.ids, layers, n, clusters, MINIMUM_CHANGE, notes
        )
        refuse_lost(ledger, item.name, "mean_change", "scale_point", roles, now)
        if takers(first, now).kind != "repeated cross-section":
            _panel_change(ledger, first, now, item.name, roles)


@dataclass(frozen=True, slots=True)
class _Composition:
    """Raking of each role in two waves to the sizes and sectors that it had in the first."""

    waves: tuple[Fielded, Fielded]
    roles: FollowedRoles
    position: tuple[Ints, Ints]
    cell: tuple[Ints, Ints]
    factor: tuple[Floats, Floats]
    said: Mapping[str, str]

    @classmethod
    def of(cls, first: Fielded, now: Fielded, roles: FollowedRoles) -> _Composition:
        """Hold size and sector of each role as observed in the first wave, in every layer of both waves."""
        names = [
            name
            for name in now.instrument.keys.adjust_for
            if name in first.instrument and not trend_break([first.instrument, now.instrument], name)
        ]
        pair = (first, now)
        position = tuple(role_positions(wave, roles.ids, into) for wave, into in zip(pair, roles.into, strict=True))
        levels = [[_levels(wave, name) for name in names] for wave in pair]
        cell = [np.full(len(wave.design.weight), -1, dtype=np.int64) for wave in pair]
        factors: list[list[Floats]] = [[], []]
        said, start = {}, [0, 0]
        for number, role in enumerate(roles.ids):
            rows = [np.flatnonzero(place == number) for place in position]
            codes = [[column[kept] for column in side] for side, kept in zip(levels, rows, strict=True)]
            made, held = _standard(pair, rows, codes, names)
            said[role] = (
                f"{listed(_named(now, held))} held as in {first.name}" if held else "composition not held fixed"
            )
            for side in (0, 1):
                place, factor = made[side]
                cell[side][rows[side]] = start[side] + place
                factors[side].append(factor)
                start[side] += factor.shape[1]
        return cls(
            pair, roles, (position[0], position[1]), (cell[0], cell[1]),
            (np.hstack(factors[0]), np.hstack(factors[1])), said,
        )  # fmt: skip

    def change(self, name: str) -> tuple[Floats, Ints, Ints]:
        """Change of each role's mean of an item (1 + B, R), and respondents and organisations of its smaller wave (R,)."""
        R = len(self.roles.ids)
        means, n, clusters = [], [], []
        for wave, position, cell, factor in zip(self.waves, self.position, self.cell, self.factor, strict=True):
            values = scores(wave, name)
            kept = np.isfinite(values) & (position >= 0)
            answers, place = np.unique(values[kept], return_inverse=True)
            totals = replicated_totals([position[kept], cell[kept], place], **layers_of(wave.design, kept))
            weight = totals.weight * factor[:, totals.levels[:, 1]]
            to_role = np.zeros((len(totals.levels), R))
            to_role[np.arange(len(totals.levels)), totals.levels[:, 0]] = 1.0
            with np.errstate(divide="ignore", invalid="ignore"):
                means.append((weight * answers[totals.levels[:, 2]]) @ to_role / (weight @ to_role))
            n.append(np.bincount(position[kept], minlength=R))
            clusters.append(distinct(wave.design.cluster[kept], position[kept], R))
        return means[1] - means[0], np.minimum(*n), np.minimum(*clusters)


def _named(wave: Fielded, names: Sequence[str]) -> list[str]:
    return [wave.instrument.label(name).lower() for name in names]


def _levels(wave: Fielded, name: str) -> Ints:
    """Position of each respondent's answer among an item's options (n,), the number of options where there is none."""
    options = wave.instrument.item(name).options
    coded = wave.instrument.item(name).dtype != "string"
    place = {option.code if coded else option.id: number for number, option in enumerate(options)}
    return np.array([place.get(v, len(place)) if pd.notna(v) else len(place) for v in wave.design.responses[name]])


def _standard(
    pair: tuple[Fielded, Fielded], rows: Sequence[Ints], codes: Sequence[Sequence[Ints]], names: Sequence[str]
) -> tuple[list[tuple[Ints, Floats]], list[str]]:
    """Cell of each respondent of one role and its raking factors (1 + B, G), for both waves; and the variables held.

    Thin levels are pooled. Where two variables cannot be held together over the cells that the role fills, the last one is
    let go.
    """
    layers = len(pair[0].design.multiplier) + 1
    nothing = [(np.zeros(len(kept), dtype=np.int64), np.ones((layers, 1))) for kept in rows]
    if min(len(kept) for kept in rows) < 2:
        return nothing, []
    tried = {name: _pooled(codes[0][j], codes[1][j]) for j, name in enumerate(names)}
    pooled = {name: both for name, both in tried.items() if both is not None}
    while pooled:
        weight = pair[0].design.weight[rows[0]]
        target = [np.asarray(np.bincount(before, weights=weight), dtype=np.float64) for before, _ in pooled.values()]
        try:
            made = [
                _raked(wave, kept, [sides[side] for sides in pooled.values()], target)
                for side, (wave, kept) in enumerate(zip(pair, rows, strict=True))
            ]
        except (ConvergenceError, DesignError):
            pooled.popitem()
            continue
        return made, list(pooled)
    return nothing, []


def _pooled(before: Ints, after: Ints) -> tuple[Ints, Ints] | None:
    """Pool levels that are thin in either wave; None where fewer than two levels are left."""
    size = int(max(before.max(), after.max())) + 1
    count = np.minimum(np.bincount(before, minlength=size), np.bincount(after, minlength=size))
    thin = count < THIN
    rest = [np.isin(codes, np.flatnonzero(thin)).sum() for codes in (before, after)]
    while max(rest) > 0 and min(rest) < THIN and not thin.all():
        # What is pooled must itself be there in both waves: the next thinnest level joins it.
        thin[np.flatnonzero(~thin)[np.argmin(count[~thin])]] = True
        rest = [np.isin(codes, np.flatnonzero(thin)).sum() for codes in (before, after)]
    new = np.where(thin, 0, np.cumsum(~thin))
    levels, place = np.unique(new, return_inverse=True)
    used = np.unique(np.concatenate([place[before], place[after]]))
    if len(used) < 2 or len(levels) < 2:
        return None
    renumbered = np.searchsorted(used, place)
    return renumbered[before], renumbered[after]


def _raked(wave: Fielded, kept: Ints, codes: Sequence[Ints], target: Sequence[Floats]) -> tuple[Ints, Floats]:
    cells, place = np.unique(np.column_stack(codes), axis=0, return_inverse=True)
    place = place.reshape(-1)
    mask = np.zeros(len(wave.design.weight), dtype=bool)
    mask[kept] = True
    base = replicated_totals([place], **layers_of(wave.design, mask)).weight
    return place, rake_cells(base, list(cells.T), list(target), cap=float("inf"))


def _panel_change(ledger: Ledger, first: Fielded, now: Fielded, name: str, roles: FollowedRoles) -> None:
    """Mean change among respondents who answered both waves in the same role, by the weights of the wave at work."""
    key = now.instrument.keys.respondent
    before = pd.Series(scores(first, name), index=first.design.responses[first.instrument.keys.respondent].astype(str))
    place = pd.Series(role_positions(first, roles.ids, roles.into[0]), index=before.index)
    ids = now.design.responses[key].astype(str)
    change = scores(now, name) - ids.map(before).to_numpy(dtype=np.float64)
    position = role_positions(now, roles.ids, roles.into[1])
    kept = np.isfinite(change) & (position >= 0) & (ids.map(place).to_numpy(dtype=np.float64) == position)
    R = len(roles.ids)
    steps, which = np.unique(change[kept], return_inverse=True)
    totals = replicated_totals([position[kept], which], **layers_of(now.design, kept))
    to_role = np.zeros((len(totals.levels), R))
    to_role[np.arange(len(totals.levels)), totals.levels[:, 0]] = 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        layers = (totals.weight * steps[totals.levels[:, 1]]) @ to_role / (totals.weight @ to_role)
    n, clusters = np.bincount(position[kept], minlength=R), distinct(now.design.cluster[kept], position[kept], R)
    said = f"the same executives in {first.name} and {now.name}"
    rows_by_role(ledger, name, "mean_change_panel", "scale_point", roles.ids, layers, n, clusters, MINIMUM_CHANGE, said)


def _returning(ledger: Ledger, waves: Sequence[Fielded], earlier: Earlier) -> None:
    """Share of respondents, and of organisations, of the wave at work who took part in each earlier one."""
    *before, now = waves
    if not before and not earlier.absent:
        ledger.refuse(now.instrument.keys.respondent, "returning_share", "proportion", "the study has no earlier wave")
    for wave in before:
        found = takers(wave, now)
        said = said_of(f"{found.kind}: who of {now.name} took part in {wave.name} too", earlier.missing())
        _share_row(ledger, now, found, wave.name, said)
    for name in earlier.absent:
        reason = f"there is no delivery of {name}"
        ledger.refuse(now.instrument.keys.respondent, "returning_share", "proportion", reason, segment=name)


def _share_row(ledger: Ledger, now: Fielded, found: Takers, segment: str, said: str) -> None:
    """Add counts of the sample, which are no estimates and have no interval."""
    keys = now.instrument.keys
    parts = [(keys.respondent, "returning_share", found.respondents, found.returning)]
    if keys.organisation:
        parts.append((keys.organisation, "returning_organisations", found.organisations, found.organisations_returning))
    for measure, statistic, whole, back in parts:
        ledger.add(
            measure, statistic, "proportion", estimate=back / max(whole, 1), n=whole,
            n_organisations=found.organisations or pd.NA, segment=segment, method="count", reason=said,
            # Of a sample nobody or everybody may return: that names no one.
            hits=back if 0 < back < whole else whole // 2,
        )  # fmt: skip
