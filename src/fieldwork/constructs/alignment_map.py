"""Role Alignment Map (RAM): shared reading of priorities, ownership and direction, never as one number.

Population level (executives of different organisations) and system level (colleagues) carry different names: what ends in
`_within` speaks of colleagues. Definitions, minimum bases and worked examples: measures.md 2.4 and 2.5. Own code: it is one of
the constructs that the project exists for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import Axis, axis, weighted_sums
from fieldwork.constructs.ledger import NIL, SMALL_BASE, Estimates, Ledger, counted, interval_of
from fieldwork.constructs.teams import (
    MINIMUM_FOR_DISTANCE,
    MINIMUM_TEAMS,
    answer_index,
    by_team,
    correlate,
    lacking,
    layered,
    mean_over_teams,
    team_means,
    teams_of,
    totals_by_group,
)
from fieldwork.errors import listed
from fieldwork.statistics.agreement import (
    consensus_test,
    mean_distances,
    mean_index_of_strangers,
    pair_agreement,
    van_der_eijk_a,
)
from fieldwork.statistics.multiplicity import holm
from fieldwork.statistics.pairs import PairSums, pair_sums
from fieldwork.statistics.proportion import korn_graubard
from fieldwork.statistics.prototypes import (
    consensus_map,
    no_difference_p,
    prototype_correlation,
    unit_vectors,
)
from fieldwork.statistics.replicates import Floats, Ints, infer, named_stream, small_sample_factor, t_scale
from fieldwork.statistics.spread import spread

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument, Item
    from fieldwork.statistics.replicates import Inference

__all__ = ["MINIMUM_FOR_PROTOTYPE", "MINIMUM_INFORMANTS", "activity_index", "estimate_for"]

Mask = npt.NDArray[np.bool_]

CONSTRUCT = "alignment_map"
CHAPTER = "06_alignment"
MINIMUM_FOR_PROTOTYPE = 15  # respondents per role, measures.md 2.4
MINIMUM_INFORMANTS = 5  # per organisation, measures.md 2.4 and 2.5
FEWEST_AIMS = 3  # of a ranking whose vectors point anywhere


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate shared priorities, ownership and direction for every item that the instrument tags with the construct.

    **Priorities** (rankings of the same aims): with z_i the unit vector of a ranking and m_r its mean over role r (the role's
    prototype), `consensus_priorities` = |m_r| (alpha of strategic consensus mapping), `kendall_w` = Kendall's W, which equals
    alpha^2 for untied rankings and is computed from rank sums, `consensus_chance` = the length that m_r has by chance (1 /
    sqrt(n) for equal weights), `rank_correlation` = mean rank correlation of two executives of different organisations, 0 by
    chance: the square of alpha without what chance adds. The three share the interval of the population's value, which
    inverts the distribution of the observed length, so that alpha and W of the sample may lie near its upper end. The
    p-value of alpha is that of no consensus, by shuffling the aims, alike for colleagues. `alignment` (role, role_2) =
    correlation of two prototypes in the sample, its interval for the population (`prototype_correlation`); `mean_rank` per
    role and aim; `priorities_between_roles` = share of the rankings' variance that lies between roles, less noise, its
    p-value by dealing rankings out anew among colleagues. `map_x`, `map_y` place roles and aims on the plane that keeps
    most variance, `map_xy_correlation` is the correlation of a role's two errors, `map_variance_first` and `_second` the
    variance that the axes keep. `rank_correlation_within` is that of colleagues.

    **Ownership**: `owner_share` per answer, `owner_self_share` per role of those who name their own, `owner_share_by_others`
    of other roles who name it; `owner_agreement` = probability that two executives of different organisations name the
    same, `owner_ac1` Gwet's AC1 of it; `owner_agreement_within`, `owner_ac1_within` and `owner_kappa_within` (Fleiss: chance
    is two executives of different organisations) of colleagues.

    **Direction** (ordinal items): `direction_agreement` = van der Eijk's A of the answers, overall and per role (of few it is
    high by chance: by 0.03 of 40 respondents who agree moderately);
    `direction_agreement_within` its mean over organisations, `direction_agreement_chance` what teams of the same sizes have if
    colleagues answer as strangers do, `direction_agreement_excess` the difference; `role_mean` per role.

    **Activity**: `activity_agreement_correlation`, see `_activity`.

    Weights and replicates are the design's at the population level; at the system level each organisation counts once
    (`constructs.teams`). Missing answers, and rankings that lack an aim, leave a respondent out of that item. Bases: 15
    respondents from 5 organisations per role for prototypes, 5 informants per organisation and 5 organisations for the
    system level; below, `not_assessable` with the number. A survey that lacks the items says so in one row per layer.
    """
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    tagged = instrument.measures(CONSTRUCT)
    roles = _Roles.of(instrument, design)
    families = list(dict.fromkeys(item.family for item in tagged if item.kind == "rank" and item.family))
    owners = [item for item in tagged if item.kind == "single"]
    directions = [item for item in tagged if item.kind == "ordinal"]
    for name in families:
        _priorities(ledger, name, instrument.family(name), roles)
    for item in owners:
        _ownership(ledger, item, axis(instrument, item.name), roles)
    for item in directions:
        _direction(ledger, item, roles)
    for there, measure, statistic, what in (
        (families, "pri", "consensus_priorities", "no ranking of aims"),
        (owners, "owner", "owner_agreement", "no question about who owns decisions"),
        (directions, "direction", "direction_agreement", "no question about direction"),
    ):
        if not there:
            ledger.refuse(measure, statistic, "index", f"the instrument of this wave has {what}")
    _activity(ledger, instrument)
    return ledger.table()


@dataclass(frozen=True, slots=True)
class _Roles:
    """Roles of the respondents.

    Attributes
    ----------
    labels : tuple of R names
    code : (n,) int             Position of each respondent's role; R for those without one.
    """

    labels: tuple[str, ...]
    code: Ints

    @classmethod
    def of(cls, instrument: Instrument, design: SurveyDesign) -> _Roles:
        if not instrument.keys.role:
            return cls((), np.zeros(len(design.responses), dtype=np.int64))
        known = axis(instrument, instrument.keys.role)
        code = design.codes(known)
        return cls(known.labels, np.where(code < 0, len(known.labels), code))

    @property
    def groups(self) -> int:
        """Roles and, last, no role."""
        return len(self.labels) + 1

    def places(self) -> list[tuple[str, list[int]]]:
        """Label and groups of all together ("") and of each role."""
        return [("", list(range(self.groups))), *((label, [g]) for g, label in enumerate(self.labels))]


@dataclass(frozen=True, slots=True)
class _Base:
    """Respondents (n) and organisations behind a group."""

    n: int
    clusters: int

    @classmethod
    def of(cls, design: SurveyDesign, used: Mask) -> _Base:
        return cls(int(used.sum()), design.clusters(used))

    @property
    def fields(self) -> dict[str, Any]:
        return {"n": self.n, "n_organisations": self.clusters}

    @property
    def flag(self) -> dict[str, Any]:
        """Status and reason of a statistic on so many respondents."""
        small = self.n < SMALL_BASE
        reason = f"small base: fewer than {SMALL_BASE} respondents" if small else ""
        return {"status": "flagged" if small else "ok", "reason": reason}


def _bases(design: SurveyDesign, used: Mask, roles: _Roles) -> list[_Base]:
    return [_Base.of(design, used & np.isin(roles.code, groups)) for _, groups in roles.places()]


def _noted(fields: dict[str, Any], *notes: str) -> dict[str, Any]:
    """Add notes to the reason of a flag."""
    return {**fields, "reason": "; ".join(note for note in (fields["reason"], *notes) if note)}


# ----------------------------------------------------------------------------------------------------------- priorities


@dataclass(frozen=True, slots=True)
class _Rankings:
    """Rankings of one family, and what all of its statistics read.

    Attributes
    ----------
    measure : str                family.  aims : tuple of p item names
    ranks, vectors : (n, p)      ranks as given, and unit vectors; nan where a respondent gave no full ranking
    used : (n,) bool             gave one
    sums : PairSums              of the vectors, groups as in `roles`
    roles, bases                 bases of all together and of each role, as `roles.places()`
    """

    measure: str
    aims: tuple[str, ...]
    ranks: Floats
    vectors: Floats
    used: Mask
    sums: PairSums
    roles: _Roles
    bases: list[_Base]

    def carries(self, place: int) -> bool:
        """Tell whether all together (0) or a role (from 1) has the base of a prototype."""
        base = self.bases[place]
        return base.n >= MINIMUM_FOR_PROTOTYPE and base.clusters >= MINIMUM_TEAMS

    def too_few(self, place: int, *others: int) -> str:
        n = min(self.bases[p].n for p in (place, *others))
        clusters = min(self.bases[p].clusters for p in (place, *others))
        each = " in each role" if others else ""
        if n < MINIMUM_FOR_PROTOTYPE:
            return f"{MINIMUM_FOR_PROTOTYPE} rankings{each} are needed; there are {counted(n, MINIMUM_FOR_PROTOTYPE)}"
        return f"rankings from {MINIMUM_TEAMS} organisations{each} are needed; there are {clusters}"


def _priorities(ledger: Ledger, name: str, items: Sequence[Item], roles: _Roles) -> None:
    design = ledger.design
    aims = tuple(item.name for item in items)
    if len(aims) < FEWEST_AIMS:
        reason = f"a ranking of {FEWEST_AIMS} aims is needed; there are {len(aims)}"
        ledger.refuse(name, "consensus_priorities", "index", reason)
        return
    ranks = design.responses[list(aims)].to_numpy(dtype=np.float64, na_value=np.nan)
    vectors = unit_vectors(ranks)
    used: Mask = np.asarray(~np.isnan(vectors).any(axis=1))
    if not used.any():
        ledger.refuse(name, "consensus_priorities", "index", "nobody ranked all aims", n=0)
        return
    sums = pair_sums(vectors[used], roles.code[used], roles.groups, **layered(design, used))
    r = _Rankings(name, aims, ranks, vectors, used, sums, roles, _bases(design, used, roles))
    mean_rank, concordance = _rank_means(design, r)
    p = _consensus_tests(design, r)
    for place, (role, groups) in enumerate(roles.places()):
        _consensus(ledger, r, place, role, groups, concordance[place], p)
        _mean_ranks(ledger, r, place, role, mean_rank[place])
    _alignment(ledger, r, p)
    _between_roles(ledger, r)
    _map(ledger, r)
    _colleagues(ledger, r)


def _rank_means(design: SurveyDesign, r: _Rankings) -> tuple[list[Floats], list[Floats]]:
    """Mean ranks (1 + B, p) and Kendall's W with its correction for ties (1 + B,), of all together and of each role."""
    own = _own_squares(r.ranks)
    columns = np.column_stack([r.ranks, own])
    totals = totals_by_group(design, columns, r.roles.code, r.roles.groups, r.used)
    means, concordance = [], []
    p = len(r.aims)
    for _, groups in r.roles.places():
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = totals.total[:, groups].sum(axis=1) / totals.mass[:, groups].sum(axis=1)[:, None]
            means.append(mean[:, :p])
            concordance.append(((mean[:, :p] - (p + 1) / 2.0) ** 2).sum(axis=1) / mean[:, p])
    return means, concordance


def _own_squares(ranks: Floats) -> Floats:
    """Squared deviations (n,) of each ranking from the middle rank: (p^3 - p) / 12 without ties."""
    centred = ranks - (ranks.shape[1] + 1) / 2.0
    return np.asarray((centred**2).sum(axis=1))


def _consensus_tests(design: SurveyDesign, r: _Rankings) -> dict[str, tuple[float, float]]:
    """p-value of "no consensus" and its Holm adjustment over the roles, by role; all together ("") stands alone."""
    found = {}
    for place, (role, groups) in enumerate(r.roles.places()):
        mine = r.used & np.isin(r.roles.code, groups)
        if r.carries(place):
            found[role] = float(
                consensus_test(
                    -r.ranks[mine], np.zeros(int(mine.sum())), weight=design.weight[mine], cluster=design.cluster[mine],
                    draws=design.replicates, seed=design.seed, name=f"{CONSTRUCT}/{r.measure}/no consensus/{role}",
                ).alpha_p[0]
            )  # fmt: skip
    by_role = {role: p for role, p in found.items() if role}
    adjusted = {**found, **holm(by_role, family_size=len(by_role))}
    return {role: (p, adjusted[role]) for role, p in found.items()}


def _consensus(
    ledger: Ledger, r: _Rankings, place: int, role: str, groups: list[int], concordance: Floats,
    tests: dict[str, tuple[float, float]],
) -> None:  # fmt: skip
    base = r.bases[place]
    statistics = ("consensus_priorities", "consensus_chance", "kendall_w", "rank_correlation")
    if not r.carries(place):
        for statistic in statistics:
            ledger.refuse(r.measure, statistic, "index", r.too_few(place), role=role, **base.fields)
        return
    totals = r.sums.totals
    prototype = totals.total[:, groups].sum(axis=1) / totals.mass[:, groups].sum(axis=1)[:, None]
    alpha = infer(np.sqrt((prototype**2).sum(axis=1)), base.clusters)
    draws = _length(prototype, base.clusters)
    fields = {"role": role, **base.fields}
    p, adjusted = tests[role]
    test = {"p_value": p, "p_adjusted": adjusted, "adjustment": _family(tests) if role else "none"}
    noted = _noted(base.flag, "" if adjusted <= 0.05 else NO_CONSENSUS)
    _drawn(ledger, r.measure, "consensus_priorities", alpha, draws, **fields, **noted, **test)
    _drawn(ledger, r.measure, "kendall_w", infer(concordance, base.clusters), draws**2, **fields, **noted)
    strangers = r.sums.mean(groups, groups)
    shared = replace(infer(strangers, base.clusters), estimate=np.maximum(strangers[0], 0.0))
    _drawn(ledger, r.measure, "rank_correlation", shared, draws**2, **fields, **base.flag)
    chance = math.sqrt(r.sums.chance(groups))
    ledger.add(
        r.measure, "consensus_chance", "index", estimate=chance, reason="what chance alone gives; no interval", **fields
    )


NO_CONSENSUS = "no more than chance gives: the permutation test does not reject at 5%"


def _family(tests: dict[str, tuple[float, float]]) -> str:
    return f"holm, family of {len([role for role in tests if role])}"


def _length(layers: Floats, clusters: int) -> Floats:
    """Confidence draws (B,) of the length of a true mean vector whose components add to a constant, from layers (1 + B, p).

    That length, about the middle, is sqrt(p - 1) times the standard deviation of the components, whose draws invert the
    distribution of the observed one: they keep their level where the vector is nil, and chance alone gives it a length.
    """
    errors = (layers[1:] - layers[0]) * small_sample_factor(clusters) * t_scale(clusters)
    return np.asarray(np.sqrt(layers.shape[1] - 1.0) * spread(layers[0], errors).sd_draws)


def _drawn(
    ledger: Ledger,
    measure: str,
    statistic: str,
    inference: Inference,
    draws: Floats,
    **fields: Any,  # noqa: ANN401
) -> None:
    """Add a row whose interval is that of confidence draws made elsewhere; without variance as `Ledger.add_inferred` has it."""
    se = float(inference.std_error)
    if not (math.isfinite(se) and se >= NIL):
        ledger.add_inferred(measure, statistic, "index", inference, **fields)
        return
    ends = interval_of(draws)
    ledger.add(measure, statistic, "index", draws=draws, estimate=float(inference.estimate), **{**ends, "std_error": se},
               **fields)  # fmt: skip


def _within(inference: Inference, low: float, high: float) -> Inference:
    """Cut an interval and its draws to the range of the quantity."""
    return replace(
        inference,
        conf_low=np.clip(inference.conf_low, low, high),
        conf_high=np.clip(inference.conf_high, low, high),
        draws=np.clip(inference.draws, low, high),
    )


def _add(ledger: Ledger, measure: str, statistic: str, inference: Inference, **fields: Any) -> None:  # noqa: ANN401
    ledger.add_inferred(measure, statistic, "index", inference, **fields)


def _mean_ranks(ledger: Ledger, r: _Rankings, place: int, role: str, mean: Floats) -> None:
    base = r.bases[place]
    mine = r.used & np.isin(r.roles.code, r.roles.places()[place][1])
    # The ranks of the aims add to a constant: one that is held back would follow from the others.
    alike = bool((np.ptp(r.ranks[mine], axis=0) == 0).any()) if base.n else False
    for j, aim in enumerate(r.aims):
        fields = {"role": role, "item": aim, **base.fields}
        if base.n == 0:
            ledger.refuse(r.measure, "mean_rank", "scale_point", "nobody ranked the aims", **fields)
            continue
        ledger.add_inferred(
            r.measure, "mean_rank", "scale_point", infer(mean[:, j], base.clusters), alike=alike, **fields, **base.flag
        )


def _alignment(ledger: Ledger, r: _Rankings, tests: dict[str, tuple[float, float]]) -> None:
    """Add the correlation of each two roles' prototypes: of the sample, with an interval for the population."""
    prototypes = r.sums.totals.mean
    for (g, first), (h, second) in itertools.combinations(enumerate(r.roles.labels), 2):
        pair: dict[str, Any] = {"role": first, "role_2": second}
        sides = r.bases[g + 1], r.bases[h + 1]
        n, clusters = min(side.n for side in sides), min(side.clusters for side in sides)
        base: dict[str, Any] = {"n": sides[0].n + sides[1].n, "n_organisations": clusters}
        if not (r.carries(g + 1) and r.carries(h + 1)):
            ledger.refuse(r.measure, "alignment", "index", r.too_few(g + 1, h + 1), **pair, **base)
            continue
        means = r.sums.mean(g, h), r.sums.mean(g, g), r.sums.mean(h, h)
        silent = [label for label, own in ((first, means[1]), (second, means[2])) if not own[0] > 0]
        if silent:
            reason = f"executives of the role {listed(silent)} share no ranking beyond chance: nothing to be correlated"
            ledger.refuse(r.measure, "alignment", "index", reason, **pair, **base)
            continue
        inference = infer(_cosine(prototypes[:, g], prototypes[:, h]), clusters)
        if not float(inference.std_error) >= NIL:
            _add(ledger, r.measure, "alignment", inference, smallest=(n, clusters), **pair, **base)
            continue
        found = prototype_correlation(*means, clusters)
        weak = [label for label in (first, second) if tests[label][0] > 0.05]
        note = f"the ranking of {listed(weak)} is no more shared than by chance" if weak else ""
        flag = _Base(n, clusters).flag
        ledger.add(
            r.measure, "alignment", "index", draws=found.draws, smallest=(n, clusters),
            estimate=float(inference.estimate), std_error=float(inference.std_error), conf_low=found.conf_low,
            conf_high=found.conf_high, conf_level=0.95, method="cluster_bootstrap_fieller",
            **_noted({**flag, "status": "flagged" if weak else flag["status"]}, note), **pair, **base,
        )  # fmt: skip


def _cosine(first: Floats, second: Floats) -> Floats:
    dot = np.einsum("lp,lp->l", first, second)
    return np.asarray(np.clip(dot / np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1)), -1.0, 1.0))


def _between_roles(ledger: Ledger, r: _Rankings) -> None:
    """Add the share of the rankings' variance that lies between roles, less noise, with the test that roles are alike.

    (sum_r p_r |m_r|^2 - |m|^2) / (1 - |m|^2), p_r the roles' shares, every square from pairs of different organisations.
    """
    design = ledger.design
    kept = [g for g in range(len(r.roles.labels)) if r.carries(g + 1)]
    if len(kept) < 2:
        reason = f"two roles of {MINIMUM_FOR_PROTOTYPE} rankings are needed; there are {len(kept)}"
        ledger.refuse(r.measure, "priorities_between_roles", "index", reason)
        return
    mass = r.sums.totals.mass[:, kept]
    share = mass / mass.sum(axis=1, keepdims=True)
    own = np.stack([r.sums.mean(g, g) for g in kept], axis=1)
    whole = r.sums.mean(kept, kept)
    if not (1.0 - whole > NIL).all():
        ledger.refuse(r.measure, "priorities_between_roles", "index", "all rankings are alike: nothing to be divided")
        return
    mine = r.used & np.isin(r.roles.code, kept)
    base = _Base.of(design, mine)
    between = infer(((share * own).sum(axis=1) - whole) / (1.0 - whole), base.clusters)
    colleagues = design.has_organisations and base.clusters < base.n
    stratum = design.cluster if colleagues else np.zeros(len(mine), dtype=np.int64)
    rng = named_stream(design.seed, f"{CONSTRUCT}/{r.measure}/no difference")
    p = no_difference_p(r.vectors[mine], r.roles.code[mine], design.weight[mine], stratum[mine], design.replicates, rng)
    dropped = [label for g, label in enumerate(r.roles.labels) if g not in kept]
    note = f"without {listed(dropped, limit=20)}: fewer than {MINIMUM_FOR_PROTOTYPE} rankings" if dropped else ""
    among = "colleagues" if colleagues else "all respondents"
    _add(
        ledger, r.measure, "priorities_between_roles", _within(between, 0.0, 1.0), p_value=p,
        adjustment="none", smallest=(min(r.bases[g + 1].n for g in kept), min(r.bases[g + 1].clusters for g in kept)),
        status="flagged" if dropped else "ok",
        reason="; ".join(part for part in (f"test: rankings dealt out anew among {among}", note) if part), **base.fields,
    )  # fmt: skip


def _map(ledger: Ledger, r: _Rankings) -> None:
    """Add the plane of strategic consensus mapping: aims and roles on two axes, replicates turned by Procrustes."""
    design, base, p = ledger.design, r.bases[0], len(r.aims)
    if not r.carries(0):
        for statistic in ("map_x", "map_y", "map_variance_first", "map_variance_second"):
            ledger.refuse(r.measure, statistic, "index", r.too_few(0), **base.fields)
        return
    z = np.nan_to_num(r.vectors)
    first, second = np.triu_indices(p)
    sums = weighted_sums(design, np.column_stack([z[:, first] * z[:, second], np.ones(len(z))]), r.used)
    moment = np.zeros((len(sums), p, p))
    moment[:, first, second] = moment[:, second, first] = sums[:, :-1] / sums[:, -1:]
    kept = [g for g in range(len(r.roles.labels)) if r.carries(g + 1)]
    found = consensus_map(moment, r.sums.totals.mean[:, kept])
    for statistic, share in zip(("map_variance_first", "map_variance_second"), found.variance_kept, strict=True):
        ledger.add(r.measure, statistic, "index", estimate=float(share),
                   reason="says how much of the rankings the axis shows; no interval", **base.fields)  # fmt: skip
    for axis_number, statistic in enumerate(("map_x", "map_y")):
        for j, aim in enumerate(r.aims):
            place = _within(infer(found.items[:, j, axis_number], base.clusters), -1.0, 1.0)
            _add(ledger, r.measure, statistic, place, item=aim, **base.fields)
        for position, g in enumerate(kept):
            own = r.bases[g + 1]
            moved = _within(infer(found.prototypes[:, position, axis_number], own.clusters), -1.0, 1.0)
            _add(ledger, r.measure, statistic, moved, role=r.roles.labels[g], **own.fields, **own.flag)
    for position, g in enumerate(kept):
        own, errors = r.bases[g + 1], found.prototypes[1:, position] - found.prototypes[0, position]
        deviation = np.sqrt((errors**2).mean(axis=0))
        if deviation.min() < NIL:
            reason = "the place of the role does not vary"
            ledger.refuse(r.measure, "map_xy_correlation", "index", reason, role=r.roles.labels[g], **own.fields)
            continue
        ledger.add(
            r.measure, "map_xy_correlation", "index", role=r.roles.labels[g],
            estimate=float((errors[:, 0] * errors[:, 1]).mean() / deviation.prod()),
            reason="correlation of the errors of the two places, for the ellipse of the role; no interval", **own.fields,
        )  # fmt: skip


def _colleagues(ledger: Ledger, r: _Rankings) -> None:
    """Add the mean over organisations of the mean rank correlation of two colleagues; 0 by chance in a team of any size."""
    teams = teams_of(ledger.design, r.used, MINIMUM_INFORMANTS)
    reason = lacking(ledger.design, len(teams.cluster), MINIMUM_INFORMANTS)
    if reason:
        ledger.refuse(r.measure, "rank_correlation_within", "index", reason, **teams.base)
        return
    mine = teams.team >= 0
    sums = np.column_stack([np.bincount(teams.team[mine], weights=column) for column in r.vectors[mine].T])
    n = teams.informants.astype(np.float64)
    values = ((sums**2).sum(axis=1) - n) / (n * (n - 1.0))
    mean_over_teams(ledger, r.measure, "rank_correlation_within", "index", values, teams)


# ------------------------------------------------------------------------------------------------------------ ownership


def _ownership(ledger: Ledger, item: Item, options: Axis, roles: _Roles) -> None:
    design, K = ledger.design, len(options.codes)
    answer = design.codes(options)
    used = answer >= 0
    base = _Base.of(design, used)
    if base.n == 0:
        ledger.refuse(item.name, "owner_agreement", "index", "nobody answered", n=0)
        return
    named = np.zeros((len(answer), K))
    named[np.flatnonzero(used), answer[used]] = 1.0
    _shares(ledger, item, options, roles, named, used)
    everyone = np.zeros(int(used.sum()), dtype=np.int64)
    sums = pair_sums(named[used], everyone, 1, **layered(design, used))
    same = sums.mean(0, 0)
    alike = int((named.sum(axis=0) > 0).sum()) < 2
    if base.clusters < 2:
        reason = f"two organisations are needed; there is {base.clusters}"
        for statistic in ("owner_agreement", "owner_ac1"):
            ledger.refuse(item.name, statistic, "index", reason, **base.fields)
    else:
        # The sum of squared shares is 1 / K at the least, and moves from there as the spread of the shares does.
        draws = _length(sums.totals.mean[:, 0], base.clusters) ** 2 + 1.0 / K
        fields = {"alike": alike, **base.fields}
        _drawn(ledger, item.name, "owner_agreement", infer(same, base.clusters), draws, **fields, **base.flag)
        note = "chance: hard cases are answered at random, Gwet's null"
        corrected = infer(_ac1(same, K), base.clusters)
        _drawn(ledger, item.name, "owner_ac1", corrected, _ac1(draws, K), **fields, **_noted(base.flag, note))
    _owners_of_colleagues(ledger, item, answer, K)


def _ac1(same: Floats, K: int) -> Floats:
    """Gwet's AC1 of two strangers out of K answers: chance is sum p (1 - p) / (K - 1), and sum p^2 what two strangers share."""
    chance = (1.0 - same) / (K - 1.0)
    return np.asarray((same - chance) / (1.0 - chance))


def _owners_of_colleagues(ledger: Ledger, item: Item, answer: Ints, K: int) -> None:
    """Add agreement among colleagues, and corrected for chance under Gwet's null and under Fleiss'."""
    design = ledger.design
    teams = teams_of(design, answer >= 0, MINIMUM_INFORMANTS)
    reason = lacking(design, len(teams.cluster), MINIMUM_INFORMANTS)
    if reason:
        for statistic in ("owner_agreement_within", "owner_ac1_within", "owner_kappa_within"):
            ledger.refuse(item.name, statistic, "index", reason, **teams.base)
        return
    counts = teams.counts(answer, K)
    observed = pair_agreement(counts)
    mean_over_teams(ledger, item.name, "owner_agreement_within", "index", observed, teams)
    shares = counts / counts.sum(axis=1, keepdims=True)
    layers = team_means(np.column_stack([observed, shares]), teams.layers(design))
    for statistic, expected, note in (
        ("owner_ac1_within", (layers[:, 1:] * (1.0 - layers[:, 1:])).sum(axis=1) / (K - 1.0),
         "chance: hard cases are answered at random, Gwet's null"),
        ("owner_kappa_within", (layers[:, 1:] ** 2).sum(axis=1),
         "chance: two executives of different organisations, Fleiss' null"),
    ):  # fmt: skip
        if not (expected < 1.0).all():
            ledger.refuse(item.name, statistic, "index", "all name the same: chance alone agrees always", **teams.base)
            continue
        corrected = (layers[:, 0] - expected) / (1.0 - expected)
        _add(ledger, item.name, statistic, infer(corrected, len(teams.cluster)), reason=note, **teams.base)


def _shares(ledger: Ledger, item: Item, options: Axis, roles: _Roles, named: Floats, used: Mask) -> None:
    """Add the share that names each owner, the share of each role that names itself, and of others that name it."""
    people = named.sum(axis=0).astype(np.int64)
    # Each names one: a single share that is held back would follow from the others, so the next smallest goes with it.
    second = int(np.argsort(people, kind="stable")[min(1, len(people) - 1)])
    for k, option in enumerate(options.labels):
        hits = int(people.min()) if k == second else int(people[k])
        _share(ledger, item.name, "owner_share", named[:, k] > 0, used, hits=hits, item=option)
    place = {label: k for k, label in enumerate(options.labels)}
    known = [(g, place[label]) for g, label in enumerate(roles.labels) if label in place]
    if not known:
        reason = "the answers name no role" if roles.labels else "the survey has no roles"
        ledger.refuse(item.name, "owner_self_share", "proportion", reason)
        return
    itself, among = np.zeros(len(used), dtype=bool), np.zeros(len(used), dtype=bool)
    for g, k in known:
        mine, naming = roles.code == g, named[:, k] > 0
        among |= mine
        itself |= mine & naming
        _share(ledger, item.name, "owner_self_share", naming, used & mine, role=roles.labels[g])
        others = used & ~mine & (roles.code < len(roles.labels))
        _share(ledger, item.name, "owner_share_by_others", naming, others, rest=used & mine, role=roles.labels[g])
    _share(ledger, item.name, "owner_self_share", itself, used & among)


def _share(
    ledger: Ledger,
    measure: str,
    statistic: str,
    hit: Mask,
    used: Mask,
    *,
    hits: int | None = None,
    rest: Mask | None = None,
    **fields: Any,  # noqa: ANN401
) -> None:
    """Add the share of `hit` among `used`, with Korn and Graubard's interval.

    `hits` is the number of people that the gate is to judge it by, where that is not those of the share. `rest` are the
    respondents who can be told from this share and that of all: it is held back with theirs.
    """
    design = ledger.design
    base = _Base.of(design, used)
    if base.n == 0:
        ledger.refuse(measure, statistic, "proportion", "nobody answered", n=0, **fields)
        return
    nobody = np.zeros(len(used), dtype=np.int64)
    layers = totals_by_group(design, hit[:, None].astype(np.float64), nobody, 1, used).mean[:, 0, 0]
    inference = infer(layers, base.clusters)
    se = float(np.nan_to_num(inference.std_error))
    se = se if se > NIL else 0.0
    interval = korn_graubard(float(inference.estimate), se, base.n, base.clusters)
    order = np.argsort(np.argsort(inference.draws, kind="stable"), kind="stable")
    hits = int((hit & used).sum()) if hits is None else hits
    if rest is not None:
        told = _Base.of(design, rest)
        yes = int((hit & rest).sum())
        # The gate counts people on both sides of a share: give it the side that is thinnest, here or there.
        hits = min(hits, base.n - hits, yes, told.n - yes)
        fields["smallest"] = (min(base.n, told.n), min(base.clusters, told.clusters))
    ledger.add(
        measure, statistic, "proportion", draws=interval.quantile((order + 0.5) / len(order)), hits=hits,
        estimate=interval.estimate, std_error=se if se > 0 else math.nan, conf_low=interval.conf_low,
        conf_high=interval.conf_high, conf_level=0.95, n_effective=interval.n_effective, method="korn_graubard",
        **base.fields, **base.flag, **fields,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ direction


def _direction(ledger: Ledger, item: Item, roles: _Roles) -> None:
    design, scores = ledger.design, np.array(sorted(item.codes), dtype=np.float64)
    answer = answer_index(design, item)
    used = answer >= 0
    given = np.zeros((len(answer), len(scores)))
    given[np.flatnonzero(used), answer[used]] = 1.0
    counted = totals_by_group(design, given, roles.code, roles.groups, used).total
    for (role, groups), base in zip(roles.places(), _bases(design, used, roles), strict=True):
        fields = {"role": role, **base.fields}
        if base.n == 0:
            ledger.refuse(item.name, "direction_agreement", "index", "nobody answered", **fields)
            if role:
                ledger.refuse(item.name, "role_mean", "scale_point", "nobody answered", **fields)
            continue
        counts = counted[:, groups].sum(axis=1)
        alike = int((counts[0] > 0).sum()) < 2
        agreement = infer(van_der_eijk_a(counts), base.clusters)
        _add(ledger, item.name, "direction_agreement", _within(agreement, -1.0, 1.0), alike=alike,
             **fields, **base.flag)  # fmt: skip
        if role:
            mean = infer(counts @ scores / counts.sum(axis=1), base.clusters)
            ledger.add_inferred(item.name, "role_mean", "scale_point", mean, alike=alike, **fields, **base.flag)
    _direction_of_colleagues(ledger, item, answer, len(scores))


def _direction_of_colleagues(ledger: Ledger, item: Item, answer: Ints, K: int) -> None:
    """Add the mean agreement within organisations, what teams of strangers would have, and the difference."""
    design = ledger.design
    teams = teams_of(design, answer >= 0, MINIMUM_INFORMANTS)
    reason = lacking(design, len(teams.cluster), MINIMUM_INFORMANTS)
    names = [f"direction_agreement_{word}" for word in ("within", "chance", "excess")]
    if reason:
        for statistic in names:
            ledger.refuse(item.name, statistic, "index", reason, **teams.base)
        return
    counts = teams.counts(answer, K)
    layers = teams.layers(design)
    within = team_means(van_der_eijk_a(counts), layers)
    chance = mean_index_of_strangers(van_der_eijk_a, counts, layers)
    for statistic, value in zip(names, (within, chance, within - chance), strict=True):
        _add(ledger, item.name, statistic, infer(value, len(teams.cluster)), **teams.base)


# ------------------------------------------------------------------------------------------------------------- activity


def _activity(ledger: Ledger, instrument: Instrument) -> None:
    """Add the rank correlation, over organisations, of the activity index with the executives' agreement on confidence.

    Agreement is the mean distance of two colleagues' answers with a minus: unlike A or r_wg its expectation does not depend on
    how many answered, which would tie it to size, and so to activity.
    """
    design, statistic = ledger.design, "activity_agreement_correlation"
    counted, confidence = instrument.slot("act_idx"), instrument.slot("conf")
    lacks = {
        "no counts of activity": not counted or any(item.kind != "number" for item in counted),
        "no ordinal item of confidence": len(confidence) != 1 or confidence[0].kind != "ordinal",
    }
    if any(lacks.values()):
        what = next(name for name, missing in lacks.items() if missing)
        ledger.refuse("act_idx", statistic, "index", f"the instrument of this wave has {what}")
        return
    measure = counted[0].family or counted[0].name
    answer = answer_index(design, confidence[0])
    teams = teams_of(design, answer >= 0, MINIMUM_FOR_DISTANCE)
    values = design.responses[[item.name for item in counted]].to_numpy(dtype=np.float64, na_value=np.nan)
    index = by_team(activity_index(values), teams, design)
    distance = mean_distances(teams.counts(answer, len(confidence[0].codes)), sorted(confidence[0].codes))
    correlate(ledger, measure, statistic, index, -distance, teams)


def activity_index(values: Floats) -> Floats:
    """Activity of each respondent's organisation (n,): log(1 + count), standardised per kind of activity, averaged over kinds.

    Logs, because counts of ideas, pilots and training days are skewed and of different size; nan without any count.

    >>> activity_index(np.array([[0.0, 9.0], [3.0, 9.0], [np.nan, np.nan]])).round(2).tolist()
    [-1.0, 1.0, nan]
    """
    logs = np.log1p(np.where(values >= 0, values, np.nan))
    known = ~np.isnan(logs)
    count = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, logs - np.where(known, logs, 0.0).sum(axis=0) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    varies = known & (spread > 0)
    scaled = np.where(varies, centred / np.where(spread > 0, spread, 1.0), 0.0)
    return np.where(varies.any(axis=1), scaled.sum(axis=1) / np.maximum(varies.sum(axis=1), 1), np.nan)
