"""Teams: the informants of one organisation, each organisation counted once, for statistics of the system level.

Respondents' weights bring roles and sizes to the population of executives; they do not say how many organisations stand behind
one whose executives answered. So a statistic of the system level is a plain mean over the organisations that can be assessed,
and its replicates carry the organisations' multipliers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import cluster_weights
from fieldwork.constructs.ledger import NIL
from fieldwork.statistics.pairs import GroupTotals, group_totals
from fieldwork.statistics.rank_correlation import correlation_interval, spearman
from fieldwork.statistics.replicates import Floats, Ints, infer

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.constructs.ledger import Ledger
    from fieldwork.instrument import Item
    from fieldwork.statistics.layers import LayerWeights

__all__ = [
    "MINIMUM_FOR_CORRELATION",
    "MINIMUM_FOR_DISTANCE",
    "MINIMUM_TEAMS",
    "Teams",
    "answer_index",
    "by_team",
    "correlate",
    "lacking",
    "layered",
    "mean_over_teams",
    "team_means",
    "teams_of",
    "totals_by_group",
]

Mask = npt.NDArray[np.bool_]

MINIMUM_TEAMS = 5  # organisations, as for every group that the gate lets through
MINIMUM_FOR_DISTANCE = 3  # informants, measures.md section 2: a mean distance has no bias in small teams
MINIMUM_FOR_CORRELATION = 10  # organisations: with fewer the 95% interval is wider than 1.2 about nil


@dataclass(frozen=True, slots=True)
class Teams:
    """Organisations with enough informants, and who their informants are.

    Attributes
    ----------
    cluster : (T,) int      Index of the organisation in the design.
    team : (n,) int         Organisation of each respondent among the T, -1 for those of none or without the answer.
    informants : (T,) int   Respondents with the answer.
    """

    cluster: Ints
    team: Ints
    informants: Ints

    @property
    def base(self) -> dict[str, Any]:
        """Respondents and organisations, as columns of the estimates table."""
        return {"n": int(self.informants.sum()), "n_organisations": len(self.cluster)}

    def layers(self, design: SurveyDesign) -> LayerWeights:
        """Weight of each organisation in each layer (1 + B, T): 1 in the observed one, then its multipliers."""
        return cluster_weights(design, self.cluster)

    def counts(self, answer: Ints, points: int) -> Floats:
        """Count answers 0..points - 1 by organisation (T, points); -1 is no answer."""
        used = (self.team >= 0) & (answer >= 0)
        place = self.team[used] * points + answer[used]
        return np.bincount(place, minlength=len(self.cluster) * points).reshape(-1, points).astype(np.float64)


def teams_of(design: SurveyDesign, answered: Mask, minimum: int) -> Teams:
    """Return the organisations with at least `minimum` respondents who answered; none where the survey names none."""
    count = np.bincount(design.cluster[answered], minlength=design.multiplier.shape[1])
    enough = (count >= minimum) & design.has_organisations
    cluster = np.flatnonzero(enough)
    place = np.full(len(count), -1)
    place[cluster] = np.arange(len(cluster))
    return Teams(cluster, np.where(answered, place[design.cluster], -1), count[cluster])


def lacking(design: SurveyDesign, teams: int, informants: int) -> str:
    """Say in words what is missing for a statistic of the system level; empty where nothing is."""
    if not design.has_organisations:
        return "the survey names no organisations"
    if teams < MINIMUM_TEAMS:
        return f"{MINIMUM_TEAMS} organisations with {informants} informants are needed; there are {teams}"
    return ""


def team_means(values: Floats, layers: LayerWeights) -> Floats:
    """Mean over organisations in every layer: (L, ...) from values (T, ...) and weights (L, T)."""
    flat = layers @ values.reshape(len(values), -1) / layers.sum(axis=1, keepdims=True)
    return np.asarray(flat.reshape(len(layers), *values.shape[1:]))


def mean_over_teams(
    ledger: Ledger,
    measure: str,
    statistic: str,
    unit: str,
    values: Floats,
    teams: Teams,
    **fields: Any,  # noqa: ANN401
) -> None:
    """Add the mean over organisations of one number each (T,), with its t interval."""
    layers = team_means(values, teams.layers(ledger.design))
    ledger.add_inferred(measure, statistic, unit, infer(layers, len(teams.cluster)), **teams.base, **fields)


def layered(design: SurveyDesign, used: Mask) -> dict[str, Any]:
    """Return clusters, weights and replicates of some respondents, as the functions of `statistics.pairs` take them."""
    return {
        "cluster": design.cluster[used],
        "weight": design.weight[used],
        "multiplier": design.multiplier,
        "layer_factor": design.layer_factor,
        "factor_cell": None if design.factor_cell is None else design.factor_cell[used],
    }


def totals_by_group(design: SurveyDesign, columns: npt.ArrayLike, group: Ints, groups: int, used: Mask) -> GroupTotals:
    """Sum columns (n, p) over the respondents of each group by weight, in every layer; see `statistics.pairs.group_totals`."""
    return group_totals(np.asarray(columns, dtype=np.float64)[used], group[used], groups, **layered(design, used))


def answer_index(design: SurveyDesign, item: Item) -> Ints:
    """Position of each answer on the item's scale (n,), -1 where there is none."""
    codes = np.array(sorted(item.codes), dtype=np.float64)
    values = design.responses[item.name].to_numpy(dtype=np.float64, na_value=np.nan)
    place = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
    return np.where(codes[place] == values, place, -1).astype(np.int64)


def by_team(values: Floats, teams: Teams, design: SurveyDesign) -> Floats:
    """Mean of respondents' numbers by organisation (T,), over all of its respondents who gave one; nan without any."""
    place = np.full(design.multiplier.shape[1], -1)
    place[teams.cluster] = np.arange(len(teams.cluster))
    team = place[design.cluster]
    used = (team >= 0) & ~np.isnan(values)
    count = np.bincount(team[used], minlength=len(teams.cluster))
    total = np.bincount(team[used], weights=values[used], minlength=len(teams.cluster))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / count)


def correlate(ledger: Ledger, measure: str, statistic: str, first: Floats, second: Floats, teams: Teams) -> None:
    """Add the rank correlation of two numbers of each organisation, over those that have both."""
    design = ledger.design
    both = ~(np.isnan(first) | np.isnan(second))
    base: dict[str, Any] = {"n": int(teams.informants[both].sum()), "n_organisations": int(both.sum())}
    reason = "" if design.has_organisations else "the survey names no organisations"
    if not reason and both.sum() < MINIMUM_FOR_CORRELATION:
        wanted = f"{MINIMUM_FOR_CORRELATION} organisations with {MINIMUM_FOR_DISTANCE} informants"
        reason = f"{wanted} are needed; there are {int(both.sum())}"
    if reason:
        ledger.refuse(measure, statistic, "index", reason, **base)
        return
    found = correlation_interval(spearman(first[both], second[both], teams.layers(design)[:, both]), int(both.sum()))
    if not found.std_error >= NIL:
        reason = "either does not vary over organisations, or both go wholly together: no interval"
        ledger.refuse(measure, statistic, "index", reason, **base)
        return
    ledger.add(
        measure, statistic, "index", draws=found.draws, estimate=found.estimate, std_error=found.std_error,
        conf_low=found.conf_low, conf_high=found.conf_high, conf_level=0.95, method="cluster_bootstrap_fisher_z", **base,
    )  # fmt: skip
