"""Do roles draw together over waves? Change of the spread between roles, catching up of those behind, order kept or lost.

Population level. Every spread is corrected for sampling noise, and catching up for the unreliability of where roles started:
without that, roles regress to the middle though nothing changes. Definitions and worked example: measures.md 2.3 (c); claim
H10. Own code: it is one of the measures that the project exists for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.constructs.ledger import interval_of
from fieldwork.constructs.waves import (
    Earlier,
    Fielded,
    RoleAnswers,
    errors_of,
    role_answers,
    role_positions,
    said_of,
    scores,
    too_few,
    wanted,
)
from fieldwork.errors import DesignError, listed
from fieldwork.instrument import FollowedRoles, followed_roles, trend_break
from fieldwork.statistics.convergence import beta_convergence, rank_stability, sigma_convergence
from fieldwork.statistics.replicates import Floats, Ints, infer

if TYPE_CHECKING:
    from fieldwork.constructs.ledger import Ledger

__all__ = ["STATISTICS", "Spreads", "estimate", "practice_segments", "spreads"]

STATISTICS = {
    "convergence": "log_ratio",
    "convergence_slope": "log_ratio",
    "convergence_beta": "index",
    "convergence_beta_raw": "index",
    "convergence_difference": "log_ratio",
    "gap_change": "scale_point",
    "rank_stability": "index",
}
"""What `estimate` makes, with its unit."""
MINIMUM = 20  # respondents of a role in each wave, measures.md 2.1
MINIMUM_CLUSTERS = 5  # organisations of a role in each wave, as the gate asks
MINIMUM_PAIR = 10  # respondents of a role behind a gap between two, measures.md 2.8
PRACTICE = "act_align"  # slot of the item on alignment work

Mask = npt.NDArray[np.bool_]
Layers = Callable[[RoleAnswers], Floats]


@dataclass(frozen=True, slots=True)
class Spreads:
    """Means of the roles that every wave carries, ready for a comparison of spreads.

    Attributes
    ----------
    ids : tuple of str             Roles followed (R).
    means : (T, R)                 Means by wave, in the measure's unit.
    errors : (B, T, R)             Replicate errors, widened to t.
    covariance : (T, R, T, R)      Sampling covariance; organisations of two waves are the same ones where their names are.
    n, clusters : (T, R) int       Respondents and organisations.
    dropped : tuple of str         Labels of followed roles with too few respondents in some wave.
    organisations : int            Organisations of the last wave behind the roles that take part.
    """

    ids: tuple[str, ...]
    means: Floats
    errors: Floats
    covariance: Floats
    n: Ints
    clusters: Ints
    dropped: tuple[str, ...]
    organisations: int

    @property
    def base(self) -> dict[str, Any]:
        """Respondents and organisations of the last wave, and the thinnest role of any wave for the gate."""
        thinnest = (int(self.n.min()), int(self.clusters.min()))
        return {"n": int(self.n[-1].sum()), "n_organisations": self.organisations, "smallest": thinnest}

    def ends(self) -> Spreads:
        """Return the first and the last wave."""
        pick = [0, len(self.means) - 1]
        return Spreads(
            self.ids, self.means[pick], self.errors[:, pick], self.covariance[np.ix_(pick, range(len(self.ids)), pick,
            range(len(self.ids)))], self.n[pick], self.clusters[pick], self.dropped,
            self.organisations,
        )  # fmt: skip


def spreads(
    waves: Sequence[Fielded], name: str, roles: FollowedRoles, layers_of: Layers, used: Sequence[Mask | None] = ()
) -> Spreads:
    """Means of an item by role in each wave, of the roles that have 20 respondents from 5 organisations in every wave.

    Parameters
    ----------
    layers_of : what turns the answers of a wave into role means (1 + B, R): their mean score, or an index.
    used : respondents of each wave that count; empty: all.
    """
    masks = used or [None] * len(waves)
    answers = [
        role_answers(wave, name, roles.ids, into, mask)
        for wave, into, mask in zip(waves, roles.into, masks, strict=True)
    ]
    n, clusters = np.stack([each.n for each in answers]), np.stack([each.clusters for each in answers])
    kept = (n >= MINIMUM).all(axis=0) & (clusters >= MINIMUM_CLUSTERS).all(axis=0)
    layers = np.stack([layers_of(each)[:, kept] for each in answers], axis=1)
    narrow = errors_of(layers, clusters[:, kept], wide=False)
    flat = narrow.reshape(len(narrow), -1)
    shape = narrow.shape[1:]
    known = {role.id: role.label for wave in waves for role in wave.instrument.roles}
    there = [role for role, enough in zip(roles.ids, np.atleast_1d(kept).tolist(), strict=True) if enough]
    left = [known[role] for role in roles.ids if role not in there]
    return Spreads(
        tuple(there), layers[0],
        errors_of(layers, clusters[:, kept]), (flat.T @ flat / max(len(flat), 1)).reshape(*shape, *shape), n[:, kept],
        clusters[:, kept], tuple(left), _organisations(waves[-1], name, there, roles.into[-1], masks[-1]),
    )  # fmt: skip


def _organisations(wave: Fielded, name: str, roles: Sequence[str], into: Mapping[str, str], used: Mask | None) -> int:
    """Count the organisations of a wave behind some of the roles."""
    kept = (role_positions(wave, roles, into) >= 0) & np.isfinite(scores(wave, name))
    return wave.design.clusters(kept if used is None else kept & used)


def practice_segments(wave: Fielded) -> tuple[Mask, Mask, str]:
    """Respondents of organisations without and with alignment work (n,), and what the lowest answer is called.

    An organisation is without where more than half of its executives who answered chose the lowest point of the scale, and
    with where they did not; one whose executives all left the question is in neither. Where the survey names no organisations
    each respondent speaks for one.
    """
    item = wave.instrument.slot(PRACTICE)[0]
    lowest = min(item.options, key=lambda option: option.code)
    values = wave.design.responses[item.name].to_numpy(dtype=np.float64, na_value=np.nan)
    told = pd.DataFrame({"cluster": wave.design.cluster, "never": (values == lowest.code).astype(np.float64)})
    share = told[np.isfinite(values)].groupby("cluster")["never"].mean()
    of = pd.Series(wave.design.cluster).map(share).to_numpy(dtype=np.float64)
    return of > 0.5, of <= 0.5, lowest.label.lower()


def estimate(
    ledger: Ledger, waves: Sequence[Fielded], earlier: Earlier, measures: Sequence[tuple[str, Layers, str]]
) -> None:
    """Add what the waves say of convergence to a ledger, measure by measure.

    `convergence` = log(s_T / s_1), s the noise-corrected spread of role means in the last and the first delivered wave: below
    nil roles draw together. `convergence_slope`: least-squares slope of log s per wave of the study, from three waves on.
    `convergence_beta`: slope of change on starting level, corrected for reliability; `convergence_beta_raw` beside it, biased
    and never judged. `rank_stability`: Kendall's W of the waves' orders. `gap_change`: change of the difference between two
    roles. The first and the last stand for organisations without alignment work too, and `convergence_difference` for the
    log change without less the one with.

    Parameters
    ----------
    measures : name of an item, what makes role means of it, and why it cannot be compared (empty: decided by the items).

    A role takes part with 20 respondents from 5 organisations in every wave. Where an item or the roles changed the rows say
    `not_assessable` and why. Intervals are percentiles of confidence draws, replicate by replicate.
    """
    short = too_few(waves)
    roles = None if short else followed_roles([wave.instrument for wave in waves])
    for name, layers_of, broken in measures:
        reason = short or (roles.broken if roles is not None else "") or broken
        reason = reason or trend_break([wave.instrument for wave in waves], name)
        if reason or roles is None:
            _refuse_all(ledger, name, said_of(reason, earlier.missing()))
            continue
        found = spreads(waves, name, roles, layers_of)
        said = said_of(f"{waves[0].name} to {waves[-1].name}", *roles.notes.values(), earlier.missing(), _left(found))
        _of_measure(ledger, waves, name, found, said)
        _gaps(ledger, waves, name, roles, layers_of)
        if name != waves[-1].instrument.keys.stage:
            _by_practice(ledger, waves, name, roles, layers_of, said)


def _left(found: Spreads) -> str:
    return f"without {listed(found.dropped)}: fewer than {MINIMUM} respondents in some wave" if found.dropped else ""


def _refuse_all(ledger: Ledger, name: str, reason: str) -> None:
    for statistic, unit in STATISTICS.items():
        ledger.refuse(name, statistic, unit, reason)


def _thin(found: Spreads) -> str:
    if len(found.ids) >= 2:
        return ""
    return f"two roles with {MINIMUM} respondents in every wave are needed; there are {len(found.ids)}"


def _of_measure(ledger: Ledger, waves: Sequence[Fielded], name: str, found: Spreads, said: str) -> None:
    statistics = ("convergence", "convergence_slope", "convergence_beta", "convergence_beta_raw", "rank_stability")
    units = ("log_ratio", "log_ratio", "index", "index", "index")
    if thin := _thin(found):
        for statistic, unit in zip(statistics, units, strict=True):
            ledger.refuse(name, statistic, unit, thin)
        return
    base = found.base
    _change(ledger, name, found.ends(), base, said)
    if len(waves) < 3:
        ledger.refuse(
            name, "convergence_slope", "log_ratio", "a trend needs three waves; two were delivered", n=base["n"]
        )
    else:
        fit = sigma_convergence(
            found.means, [float(wave.number) for wave in waves], covariance=found.covariance, errors=found.errors
        )
        _log_row(ledger, name, "convergence_slope", fit.slope, fit.draws, base, said_of("per wave", said))
    _beta(ledger, name, found.ends(), base, said)
    _order(ledger, name, found, base, said)


def _change(ledger: Ledger, name: str, ends: Spreads, base: dict[str, Any], said: str, segment: str = "") -> Floats:
    """Add the log change of the spread, and return its draws."""
    fit = sigma_convergence(ends.means, covariance=ends.covariance, errors=ends.errors)
    _log_row(ledger, name, "convergence", fit.change, fit.draws, base, said, segment=segment)
    return fit.draws


def _log_row(
    ledger: Ledger, name: str, statistic: str, estimate: float, draws: Floats, base: dict[str, Any], said: str,
    segment: str = "",
) -> None:  # fmt: skip
    """Add a log ratio with the interval of its draws; one that is not finite is flagged and says why."""
    nil = "" if math.isfinite(estimate) else "no finite ratio: the spread of a wave is no larger than noise"
    ledger.add(
        name, statistic, "log_ratio", draws=draws, estimate=estimate, status="flagged" if nil else "ok",
        reason=said_of(nil, said), segment=segment, **interval_of(draws), **base,
    )  # fmt: skip


def _beta(ledger: Ledger, name: str, ends: Spreads, base: dict[str, Any], said: str) -> None:
    try:
        fit = beta_convergence(ends.means, covariance=ends.covariance, errors=ends.errors)
    except DesignError as error:
        for statistic in ("convergence_beta", "convergence_beta_raw"):
            ledger.refuse(name, statistic, "index", error.title)
        return
    nil = "" if math.isfinite(fit.beta) else "the roles cannot be told apart in the first wave"
    ledger.add(
        name, "convergence_beta", "index", draws=fit.draws, estimate=fit.beta, status="flagged" if nil else "ok",
        reason=said_of(nil, said), **interval_of(fit.draws), **base,
    )  # fmt: skip
    ledger.add(
        name, "convergence_beta_raw", "index", estimate=fit.slope_raw, status="flagged",
        reason=f"regression to the middle alone makes it negative; reliability {fit.reliability:.2f}; never judged", **base,
    )  # fmt: skip


def _order(ledger: Ledger, name: str, found: Spreads, base: dict[str, Any], said: str) -> None:
    try:
        fit = rank_stability(found.means, errors=found.errors)
    except DesignError as error:
        ledger.refuse(name, "rank_stability", "index", error.title)
        return
    noise = f"noise alone would leave {fit.w_expected:.2f}; {fit.p_stable:.0%} of such draws are as low"
    ledger.add(name, "rank_stability", "index", estimate=fit.w, reason=said_of(noise, said), **base)


def _gaps(
    ledger: Ledger, waves: Sequence[Fielded], name: str, roles: FollowedRoles, layers_of: Layers, segment: str = "",
    used: Sequence[Mask] = (),
) -> None:  # fmt: skip
    """Add the change of the difference between each two roles from the first wave to the last."""
    pair = (waves[0], waves[-1])
    masks = [used[0], used[-1]] if used else [None, None]
    into = (roles.into[0], roles.into[-1])
    before, after = (
        role_answers(wave, name, roles.ids, home, mask) for wave, home, mask in zip(pair, into, masks, strict=True)
    )
    change = layers_of(after) - layers_of(before)
    n, clusters = np.minimum(before.n, after.n), np.minimum(before.clusters, after.clusters)
    unit = "index" if name == waves[-1].instrument.keys.stage else "scale_point"
    for i, j in zip(*np.triu_indices(len(roles.ids), 1), strict=True):
        least, orgs = int(min(n[i], n[j])), int(min(clusters[i], clusters[j]))
        base: dict[str, Any] = {
            "role": roles.ids[i], "role_2": roles.ids[j], "segment": segment, "n": int(n[i] + n[j]),
            "n_organisations": orgs, "smallest": (least, orgs),
        }  # fmt: skip
        if least < MINIMUM_PAIR or orgs < 2:
            reason = wanted(MINIMUM_PAIR, "respondents of both roles in both waves", least)
            ledger.refuse(name, "gap_change", unit, reason, **base)
            continue
        layers = change[:, i] - change[:, j]
        notes = [roles.notes.get(roles.ids[place], "") for place in (i, j)]
        said = said_of(f"{pair[0].name} to {pair[1].name}", *notes)
        ledger.add_inferred(name, "gap_change", unit, infer(layers, orgs), reason=said, **base)


def _by_practice(
    ledger: Ledger, waves: Sequence[Fielded], name: str, roles: FollowedRoles, layers_of: Layers, said: str
) -> None:
    """Add the same for organisations without and with alignment work."""
    item = waves[-1].instrument.slot(PRACTICE)
    instruments = [wave.instrument for wave in (waves[0], waves[-1])]
    broken = trend_break(instruments, item[0].name) if item else "the wave does not ask about alignment work"
    if broken:
        ledger.refuse(name, "convergence_difference", "log_ratio", broken)
        return
    sides = [practice_segments(wave) for wave in waves]
    never = sides[-1][2]
    drawn, estimates, bases = [], [], []
    for side, words in ((0, never), (1, f"more than {never}")):
        segment = f"{PRACTICE}={words}"
        used = [without if side == 0 else working for without, working, _ in sides]
        found = spreads(waves, name, roles, layers_of, used).ends()
        if side == 0:
            _gaps(ledger, waves, name, roles, layers_of, segment, used)
        if thin := _thin(found):
            ledger.refuse(name, "convergence", "log_ratio", f"of organisations so described {thin}", segment=segment)
            continue
        base = found.base
        told = said_of(said, _left(found))
        drawn.append(_change(ledger, name, found, base, told, segment))
        fit = sigma_convergence(found.means, covariance=found.covariance)
        estimates.append(fit.change)
        bases.append(base)
    if len(drawn) < 2:
        reason = "the spread of one of the two groups of organisations is not assessable"
        ledger.refuse(name, "convergence_difference", "log_ratio", reason)
        return
    smallest = tuple(min(base["smallest"][k] for base in bases) for k in (0, 1))
    with np.errstate(invalid="ignore"):
        draws, point = drawn[0] - drawn[1], float(np.float64(estimates[0]) - estimates[1])
    base = {"n": min(base["n"] for base in bases), "n_organisations": min(b["n_organisations"] for b in bases)}
    whole = {**base, "smallest": smallest}
    _log_row(
        ledger, name, "convergence_difference", point, draws, whole, said_of("without less with alignment work", said)
    )
