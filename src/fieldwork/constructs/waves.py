"""Waves of a study side by side: who took part in each, and answers by role with the replicates that waves share.

Replicate multipliers are keyed by organisation, so an organisation has the same ones in every wave. A difference between
waves, taken replicate by replicate, so carries whatever covariance the design has: all of it in a panel, none where each
wave asked other organisations, and the right part in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import SurveyDesign, design_for, distinct, many
from fieldwork.constructs.ledger import NIL, Ledger, counted
from fieldwork.errors import listed
from fieldwork.statistics.replicates import (
    Floats,
    Ints,
    infer,
    replicated_totals,
    small_sample_factor,
    t_scale,
)
from fieldwork.weight import Margins

if TYPE_CHECKING:
    from fieldwork.chapter import Chapter
    from fieldwork.instrument import FollowedRoles, Instrument

__all__ = [
    "Earlier",
    "Fielded",
    "RoleAnswers",
    "Takers",
    "earlier_of",
    "errors_of",
    "layers_of",
    "record_of",
    "refuse_lost",
    "role_answers",
    "role_positions",
    "rows_by_role",
    "said_of",
    "scores",
    "takers",
    "too_few",
    "wanted",
]


Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fielded:
    """A wave that was delivered.

    Attributes
    ----------
    name : str                Name of the wave.
    number : int              Its place in the study's order, from 1; a wave without a delivery has a place too.
    instrument : Instrument   What was asked.
    design : SurveyDesign     Responses, weights and replicates.
    """

    name: str
    number: int
    instrument: Instrument
    design: SurveyDesign


@dataclass(frozen=True, slots=True)
class Earlier:
    """What came before the wave at work.

    Attributes
    ----------
    fielded : tuple of Fielded    Earlier waves that were delivered, oldest first.
    absent : tuple of str         Earlier waves of the study without a delivery.
    number : int                  Place of the wave at work in the study's order, from 1.
    """

    fielded: tuple[Fielded, ...] = ()
    absent: tuple[str, ...] = ()
    number: int = 1

    def with_now(self, instrument: Instrument, design: SurveyDesign) -> tuple[Fielded, ...]:
        """Return the delivered waves, the one at work last."""
        return (*self.fielded, Fielded(instrument.wave, self.number, instrument, design))

    def missing(self) -> str:
        """Say which waves have no delivery; empty where all have."""
        return f"no delivery of {listed(self.absent)}" if self.absent else ""


def earlier_of(chapter: Chapter) -> Earlier:
    """Read responses, weights and margins of every earlier wave and make their designs, as `cells.design_for` does.

    Raises RunError where an earlier wave was delivered and not cleaned or weighted.
    """
    *before, now = chapter.waves()
    fielded = []
    delivered = [wave for wave in before if wave.chapter is not None]
    gathered = bool(delivered) and many(chapter.read("01_clean"), chapter.instrument.keys.organisation)
    for wave in delivered:
        there = wave.chapter
        if there is not None:
            margins = Margins.load(there.study.margins_path(), there.instrument)
            design = design_for(
                there.instrument, there.read("01_clean"), there.read("03_weight"), margins,
                replicates=chapter.replicates, seed=chapter.seed, gathered=gathered,
            )  # fmt: skip
            fielded.append(Fielded(wave.name, wave.number, there.instrument, design))
    return Earlier(tuple(fielded), tuple(wave.name for wave in before if wave.chapter is None), now.number)


@dataclass(frozen=True, slots=True)
class Takers:
    """Who of one wave took part in another.

    Attributes
    ----------
    respondents, returning : int              Respondents of the later wave, and those of them who answered the earlier one.
    organisations, organisations_returning : int    The same for organisations; 0 where the survey names none.
    kind : str                                `panel`, `repeated cross-section` or `mixture`.
    """

    respondents: int
    returning: int
    organisations: int
    organisations_returning: int
    kind: str


def takers(earlier: Fielded, later: Fielded) -> Takers:
    """Tell a panel from a repeated cross-section by the respondents that two waves share.

    `panel`: every respondent of the later wave answered the earlier one (some may have left). `repeated cross-section`: none
    did; organisations may still be the same, which the replicates allow for. `mixture`: some did.
    """
    ids = [_names(wave, wave.instrument.keys.respondent) for wave in (earlier, later)]
    places = [_names(wave, wave.instrument.keys.organisation) for wave in (earlier, later)]
    back = len(ids[0] & ids[1])
    kind = "repeated cross-section" if back == 0 else "panel" if back == len(ids[1]) else "mixture"
    return Takers(len(ids[1]), back, len(places[1]), len(places[0] & places[1]), kind)


def record_of(waves: Sequence[Fielded], earlier: Earlier) -> dict[str, Any]:
    """Return which waves stood behind an analysis, for the record: those delivered, those not, and who took part again."""
    *before, now = waves
    return {
        "fielded": [wave.name for wave in waves],
        "absent": list(earlier.absent),
        "with": {wave.name: takers(wave, now).kind for wave in before},
    }


def _names(wave: Fielded, column: str) -> set[str]:
    return set(wave.design.responses[column].dropna().astype(str)) if column else set()


@dataclass(frozen=True)
class RoleAnswers:
    """Weights by role and answer in one wave, one layer per replicate.

    Attributes
    ----------
    scores : (K,) float            Score of each answer.
    weight : (1 + B, R, K) float   Sums of weights, layer 0 observed.
    rows : (R, K) int              Respondents.
    clusters : (R,) int            Organisations.
    """

    scores: Floats
    weight: Floats
    rows: Ints
    clusters: Ints

    @cached_property
    def n(self) -> Ints:
        """Respondents by role (R,)."""
        return np.asarray(self.rows.sum(axis=1))

    @cached_property
    def share(self) -> Floats:
        """Share of each answer within a role (1 + B, R, K); nan for a role without answers."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.weight / self.weight.sum(axis=2, keepdims=True))

    @cached_property
    def mean(self) -> Floats:
        """Mean score by role (1 + B, R)."""
        return np.asarray(self.share @ self.scores)


def role_answers(
    wave: Fielded, name: str, roles: Sequence[str], into: Mapping[str, str] | None = None, used: Mask | None = None
) -> RoleAnswers:
    """Add up an ordinal item's answers by role.

    Parameters
    ----------
    name : item of the wave. roles : ids, in the order of the result.
    into : id under which each of the wave's roles counts; None: its own. Roles that are in neither do not count.
    used : (n,) respondents of the design that count; None: all.

    Missing roles and answers leave a respondent out.
    """
    design, item = wave.design, wave.instrument.item(name)
    codes = sorted(item.codes)
    values = design.responses[name].to_numpy(dtype=np.float64, na_value=np.nan)
    answer = np.clip(np.searchsorted(codes, np.nan_to_num(values, nan=-1e9)), 0, len(codes) - 1)
    role = role_positions(wave, roles, into)
    kept = (np.asarray(codes, dtype=np.float64)[answer] == values) & (role >= 0)
    kept = kept if used is None else kept & used
    totals = replicated_totals([role[kept], answer[kept]], **layers_of(design, kept))
    R, K = len(roles), len(codes)
    weight, rows = np.zeros((design.replicates + 1, R, K)), np.zeros((R, K), dtype=np.int64)
    r, k = totals.levels.T
    weight[:, r, k], rows[r, k] = totals.weight, totals.rows
    return RoleAnswers(np.asarray(codes, dtype=np.float64), weight, rows, distinct(design.cluster[kept], role[kept], R))


def role_positions(wave: Fielded, roles: Sequence[str], into: Mapping[str, str] | None = None) -> Ints:
    """Position of each respondent's role among `roles` (n,), -1 where it is none of them."""
    place = {role: number for number, role in enumerate(roles)}
    held = wave.design.responses[wave.instrument.keys.role].astype("string")
    home = {
        role: place.get((into or {}).get(role, "" if into is not None else role), -1)
        for role in wave.instrument.role_ids
    }
    return np.asarray(held.map(home).fillna(-1).to_numpy(dtype=np.int64))


def layers_of(design: SurveyDesign, kept: Mask) -> dict[str, Any]:
    """Return what `replicated_totals` needs of a design beside the keys, for the respondents kept."""
    return {
        "cluster": design.cluster[kept],
        "weight": design.weight[kept],
        "multiplier": design.multiplier,
        "layer_factor": design.layer_factor,
        "factor_cell": None if design.factor_cell is None else design.factor_cell[kept],
    }


def errors_of(layers: Floats, clusters: Ints, *, wide: bool = True) -> Floats:
    """Return sampling errors (B, ...) of layers (1 + B, ...), with the small-sample factor, and t over z where `wide`."""
    factor = small_sample_factor(clusters) * (t_scale(clusters) if wide else 1.0)
    return np.asarray((layers[1:] - layers[0]) * factor, dtype=np.float64)


def too_few(waves: Sequence[Fielded], least: int = 2) -> str:
    """Say why nothing can be said over so few waves; empty where there are enough."""
    if len(waves) >= least:
        return ""
    return f"{least} waves are needed; {len(waves)} {'was' if len(waves) == 1 else 'were'} delivered up to this one"


def wanted(least: int, what: str, found: int) -> str:
    """Say what is needed and about how much there is; a count of fewer than ten is not told, and others to the nearest 5.

    >>> wanted(40, "respondents", 33), wanted(40, "respondents", 4)
    ('40 respondents are needed; there are about 35', '40 respondents are needed; there are fewer than 10')
    """
    return f"{least} {what} are needed; there are {counted(found, least)}"


def said_of(*words: str) -> str:
    """Join what is said of a row."""
    return "; ".join(word for word in words if word)


def scores(wave: Fielded, name: str) -> Floats:
    """Answers to an ordinal item (n,), nan where there is none."""
    values = wave.design.responses[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isin(values, wave.instrument.item(name).codes), values, np.nan)


def rows_by_role(
    ledger: Ledger, measure: str, statistic: str, unit: str, roles: Sequence[str], layers: Floats, n: Ints, clusters: Ints,
    least: int, said: str | Mapping[str, str] = "",
) -> None:  # fmt: skip
    """Add a row per role with a t interval, or refuse it where its base is below `least`."""
    inference = infer(layers, clusters)
    for i, role in enumerate(roles):
        base: dict[str, Any] = {"role": role, "n": int(n[i]), "n_organisations": int(clusters[i])}
        if n[i] < least or clusters[i] < 2:
            lone = "all respondents are of one organisation"
            reason = wanted(least, "respondents", int(n[i])) if n[i] < least else lone
            ledger.refuse(measure, statistic, unit, reason, **base)
            continue
        words = said if isinstance(said, str) else said.get(role, "")
        se = float(inference.std_error[i])
        if se < NIL:
            reason = said_of("no interval: the answers do not vary", words)
            estimate = float(layers[0, i])
            ledger.add(measure, statistic, unit, alike=True, estimate=estimate, status="flagged", reason=reason, **base)
            continue
        ledger.add(
            measure, statistic, unit, draws=inference.draws[:, i], estimate=float(layers[0, i]), std_error=se,
            conf_low=float(inference.conf_low[i]), conf_high=float(inference.conf_high[i]), conf_level=0.95, reason=words,
            **base,
        )  # fmt: skip


def refuse_lost(ledger: Ledger, measure: str, statistic: str, unit: str, roles: FollowedRoles, now: Fielded) -> None:
    """Refuse a row for each role of the wave that cannot be followed as itself, and say why."""
    for role in now.instrument.role_ids:
        if role in roles.ids:
            continue
        whole = roles.into[-1].get(role, "")
        reason = roles.lost.get(role, "") or f"followed as part of {now.instrument.option_label('role', whole)}"
        ledger.refuse(measure, statistic, unit, reason, role=role)


def _joined(*words: str) -> str:
    return "; ".join(word for word in words if word)
