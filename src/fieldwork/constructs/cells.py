"""The replicated cell table: responses x replicates, role x stage x answer, one layer per replicate.

Everything a construct publishes is a plain function of such a table, applied to the observed layer and to every replicate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.errors import DataError, listed
from fieldwork.statistics import layers
from fieldwork.statistics.replicates import (
    Draws,
    Floats,
    Ints,
    cluster_keys,
    distinct_rows,
    multipliers,
    replicated_totals,
    variance_units,
)
from fieldwork.weight import Margins, rake_cells

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.statistics.layers import LayerWeights

__all__ = [
    "Axis",
    "CellTable",
    "SurveyDesign",
    "axis",
    "cell_table",
    "cluster_weights",
    "design_for",
    "distinct",
    "layer_weights",
    "many",
    "survey_design",
    "weighted_sums",
]

_HELD = 1 << 27  # bytes of multipliers that are held at once
_MOST = 8192  # organisations that have multipliers of their own; more are gathered into variance units


@dataclass(frozen=True, slots=True)
class Axis:
    """A classification of respondents.

    Attributes
    ----------
    name : str                  Column of the responses.
    codes : tuple               Values as they stand in the responses, in the instrument's order.
    labels : tuple of str       What the estimates table prints for each.
    """

    name: str
    codes: tuple[object, ...]
    labels: tuple[str, ...]

    def index(self, values: pd.Series) -> Ints:
        """Return each value's position on the axis (n,), -1 where it is missing."""
        lookup = {code: i for i, code in enumerate(self.codes)}
        place, distinct = pd.factorize(values)
        return np.array([*(lookup.get(value, -1) for value in distinct), -1], dtype=np.int64)[place]


def axis(instrument: Instrument, name: str) -> Axis:
    """Return the classification that an item makes, in the instrument's order, labelled by option ids."""
    item = instrument.item(name)
    coded = item.dtype != "string"
    return Axis(
        name,
        tuple(option.code if coded else option.id for option in item.options),
        tuple(option.id for option in item.options),
    )


@dataclass(frozen=True, slots=True)
class SurveyDesign:
    """Respondents with their weights, organisations and replicates: made once, read by every construct.

    Attributes
    ----------
    responses : pd.DataFrame        Accepted respondents, one row each, sorted by organisation and respondent.
    weight : (n,) float             Raked weight, mean 1.
    cluster : (n,) int              Organisation of each respondent; the respondent where the survey names none.
    has_organisations : bool        False where respondents are their own clusters.
    multiplier : (B, C) float       Replicate multipliers by cluster; `Draws` that stand for them where they are not held.
    factor_cell : (n,) int or None  Raking cell; None when nothing is raked.
    layer_factor : (1 + B, G) or None    Raking factor of each cell in each layer, 1 in the observed layer.
    seed, replicates : int          Root seed and B.
    role, stage : Axis or None      The survey's roles and stages, for the concentration of weight in each.
    """

    responses: pd.DataFrame
    weight: Floats
    cluster: Ints
    has_organisations: bool
    multiplier: Floats | Draws
    factor_cell: Ints | None
    layer_factor: Floats | None
    seed: int
    replicates: int
    role: Axis | None = None
    stage: Axis | None = None
    _codes: dict[Axis, Ints] = field(default_factory=dict, init=False, repr=False, compare=False)
    _carried: dict[tuple[str, str], tuple[float, float, float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def codes(self, axis_: Axis) -> Ints:
        """Return each respondent's position on an axis (n,), -1 where it is missing; read once, and not to be written."""
        if axis_ not in self._codes:
            made = axis_.index(self.responses[axis_.name])
            made.setflags(write=False)
            self._codes[axis_] = made
        return self._codes[axis_]

    def clusters(self, used: npt.NDArray[np.bool_] | Ints) -> int:
        """Count the organisations of some respondents, (n,) bool or their places."""
        return int(np.count_nonzero(np.bincount(self.cluster[used])))

    def concentration(self, roles: str = "", stage: str = "") -> tuple[float, float, float]:
        """Share of the weight of a group that its largest organisation carries, and its two largest; its heaviest respondent.

        `roles` is one label or several joined by `+`, `stage` one label; empty: all. nan for an empty group and for labels
        that are not the survey's.
        """
        if (roles, stage) not in self._carried:
            self._carried[roles, stage] = self._concentration(roles, stage)
        return self._carried[roles, stage]

    def _concentration(self, roles: str, stage: str) -> tuple[float, float, float]:
        inside = np.ones(len(self.weight), dtype=bool)
        for axis_, labels in ((self.role, roles), (self.stage, stage)):
            if not labels:
                continue
            wanted = labels.split("+")
            if axis_ is None or not set(wanted) <= set(axis_.labels):
                return math.nan, math.nan, math.nan
            places = [axis_.labels.index(label) for label in wanted]
            inside &= np.isin(self.codes(axis_), places)
        return self.carried(inside)

    def carried(self, inside: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
        """Share of the weight of some respondents (n,) bool that their largest organisation carries, and its two largest.

        Third: the largest weight of one respondent among them, over the median.
        """
        if not inside.any():
            return math.nan, math.nan, math.nan
        by_size = np.sort(np.bincount(self.cluster[inside], self.weight[inside]))[::-1]
        largest, two = float(by_size[0] / by_size.sum()), float(by_size[:2].sum() / by_size.sum())
        return largest, two, float(self.weight[inside].max() / np.median(self.weight[inside]))


def distinct(cluster: Ints, group: Ints, groups: int) -> Ints:
    """Distinct clusters in each group (G,)."""
    pairs = distinct_rows(np.column_stack([group, cluster]))[0]
    return np.bincount(pairs[:, 0], minlength=groups).astype(np.int64)


def survey_design(
    responses: pd.DataFrame,
    weights: pd.DataFrame,
    *,
    respondent: str,
    organisation: str,
    margins: Margins | None,
    replicates: int,
    seed: int,
    role: Axis | None = None,
    stage: Axis | None = None,
    gathered: bool | None = None,
) -> SurveyDesign:
    """Join responses and weights, draw the replicates of their organisations, and re-rake inside each.

    The observed layer carries the weights as they are. In a replicate the weights of an organisation's respondents are
    multiplied by its multiplier and raked to the same margins again, so that the interval knows what raking holds fixed.
    Multipliers are held where they fit into 128 MB, and else drawn whenever they are used. More than 8,192 organisations are
    gathered into variance units (`replicates.variance_units`).

    Parameters
    ----------
    responses : accepted respondents. weights : columns resp_id, weight, one row each.
    respondent, organisation : column names; organisation "" makes every respondent a cluster.
    margins : the margins that the weights were raked to; None for none.
    replicates, seed : number of replicates and root seed.
    role, stage : the survey's classifications, where it has them.
    gathered : whether organisations are gathered into variance units; None: where there are many. Waves that are compared
        have it alike, so that an organisation has the same multipliers in each.

    Raises DataError when a respondent has no weight.
    """
    order = [organisation, respondent] if organisation else [respondent]
    data = _sorted(responses, order)
    weight = _weights(data[respondent], weights)
    if np.isnan(weight).any():
        lost = data.loc[np.isnan(weight), respondent].astype(str)
        raise DataError(
            "respondents without a weight",
            where="constructs.cells.survey_design, table 03_weight",
            expected="one weight for each of the accepted respondents",
            got=f"{len(lost)} without: {listed(lost, limit=3)}",
            hint="run 03_weight again on the same 01_clean",
        )
    names, cluster = _named(data[organisation or respondent])
    keys = cluster_keys(names, seed)
    multiplier: Floats | Draws
    if len(keys) > _MOST if gathered is None else gathered:
        multiplier = variance_units(keys, seed, replicates)
    elif 8 * replicates * len(keys) <= _HELD:
        multiplier = multipliers(keys, replicates)
    else:
        multiplier = Draws(keys, replicates)
    factor_cell: Ints | None = None
    layer_factor: Floats | None = None
    if margins is not None and margins.margins:
        codes = np.column_stack([margins.codes(data, margin.name) for margin in margins.margins])
        cells, factor_cell = distinct_rows(codes)
        base = replicated_totals([factor_cell], cluster, weight, multiplier)
        layer_factor = np.ones_like(base.weight)
        layer_factor[1:] = rake_cells(
            base.weight[1:],
            [cells[:, j] for j in range(cells.shape[1])],
            [margin.target for margin in margins.margins],
            cap=math.inf,
        )
    return SurveyDesign(
        data, weight, cluster.reshape(-1), bool(organisation), multiplier, factor_cell, layer_factor, seed, replicates,
        role, stage,
    )  # fmt: skip


def _sorted(responses: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return responses by organisation and respondent, as cleaning leaves them: what is in order is not sorted again."""
    data = responses.reset_index(drop=True)
    same = np.ones(max(len(data) - 1, 0), dtype=bool)
    rising = np.zeros_like(same)
    for name in columns:
        values = data[name]
        if values.dtype != "string" or values.isna().any():
            break
        before, after = values.array[:-1], values.array[1:]
        rising |= same & np.asarray(before < after, dtype=bool)
        same &= np.asarray(before == after, dtype=bool)
    else:
        if (rising | same).all():
            return data
    return responses.sort_values(list(columns), kind="stable").reset_index(drop=True)


def _weights(respondent: pd.Series, weights: pd.DataFrame) -> Floats:
    """Return the weight of each respondent (n,), nan where there is none."""
    own = weights["resp_id"]
    if len(own) == len(respondent) and bool((own.array == respondent.array).all()):
        return weights["weight"].to_numpy(dtype=np.float64, na_value=np.nan)
    return respondent.map(weights.set_index("resp_id")["weight"]).to_numpy(dtype=np.float64, na_value=np.nan)


def _named(values: pd.Series) -> tuple[list[str], Ints]:
    """Return the distinct names in order, and the place of each value's among them (n,)."""
    code, distinct_ = pd.factorize(values.astype(str))
    names = distinct_.tolist()
    order = sorted(range(len(names)), key=names.__getitem__)  # fast where they are in order, as cleaning leaves them
    place = np.empty(len(names), dtype=np.int64)
    place[order] = np.arange(len(names))
    return [names[k] for k in order], place[code]


def design_for(
    instrument: Instrument,
    responses: pd.DataFrame,
    weights: pd.DataFrame,
    margins: Margins,
    *,
    replicates: int,
    seed: int,
    gathered: bool | None = None,
) -> SurveyDesign:
    """Make the design of a wave as its instrument names respondents and organisations; see `survey_design`."""
    return survey_design(
        responses,
        weights,
        respondent=instrument.keys.respondent,
        organisation=instrument.keys.organisation,
        margins=margins,
        replicates=replicates,
        seed=seed,
        role=axis(instrument, instrument.keys.role) if instrument.keys.role else None,
        stage=axis(instrument, instrument.keys.stage) if instrument.keys.stage else None,
        gathered=gathered,
    )


def many(responses: pd.DataFrame, organisation: str) -> bool:
    """Tell whether responses are of so many organisations (respondents, where none are named) that these are gathered."""
    clusters = len(responses) if not organisation else int(responses[organisation].nunique())
    return clusters > _MOST


@dataclass(frozen=True, slots=True)
class CellTable:
    """Weights by role, stage and answer, one layer per replicate.

    Attributes
    ----------
    measure : str                            Item or derived measure.
    role, stage : Axis
    scores : (K,) float                      Score of each answer, scale points.
    weight : (1 + B, R + 1, S + 1, K) float  Sum of weights; the last role and stage hold those who named none.
    rows : (R + 1, S + 1, K) int             Respondents.
    organisations : (R + 2, S + 2) int       Distinct organisations (clusters); the last of each axis is "any".
    """

    measure: str
    role: Axis
    stage: Axis
    scores: Floats
    weight: Floats
    rows: Ints
    organisations: Ints

    def by_role(self) -> Floats:
        """Weights by role and answer (1 + B, R, K), over all stages."""
        return np.asarray(self.weight[:, :-1].sum(axis=2))

    def by_stage(self) -> Floats:
        """Weights by stage and answer (1 + B, S, K), over all roles named or not."""
        return np.asarray(self.weight[:, :, :-1].sum(axis=1))

    def by_cell(self) -> Floats:
        """Weights by role, stage and answer (1 + B, R, S, K)."""
        return self.weight[:, :-1, :-1]


def cell_table(
    design: SurveyDesign, measure: str, values: npt.ArrayLike, scores: Sequence[float], role: Axis, stage: Axis
) -> CellTable:
    """Fill the table of one measure.

    Parameters
    ----------
    values : (n,) index of the answer on `scores`, -1 where there is none; such respondents are not in the table.

    Shapes as in `CellTable`. Missing role or stage keeps a respondent out of that margin only.
    """
    answer = np.asarray(values, dtype=np.int64)
    R, S, K = len(role.codes), len(stage.codes), len(scores)
    roles, stages = design.codes(role), design.codes(stage)
    roles, stages = np.where(roles < 0, R, roles), np.where(stages < 0, S, stages)
    used = answer >= 0
    totals = replicated_totals(
        [roles[used], stages[used], answer[used]],
        design.cluster[used],
        design.weight[used],
        design.multiplier,
        layer_factor=design.layer_factor,
        factor_cell=None if design.factor_cell is None else design.factor_cell[used],
    )
    weight = np.zeros((design.replicates + 1, R + 1, S + 1, K))
    rows = np.zeros((R + 1, S + 1, K), dtype=np.int64)
    r, s, k = totals.levels.T
    weight[:, r, s, k] = totals.weight
    rows[r, s, k] = totals.rows
    organisations = _distinct(design.cluster[used], roles[used], stages[used], (R, S))
    return CellTable(measure, role, stage, np.asarray(scores, dtype=np.float64), weight, rows, organisations)


def weighted_sums(design: SurveyDesign, values: npt.ArrayLike, used: npt.NDArray[np.bool_]) -> Floats:
    """Sum columns of numbers over respondents, by weight, in every layer.

    Parameters
    ----------
    values : (n, p) numbers, one row per respondent of the design; rows outside `used` may hold anything.
    used : (n,) bool, the respondents that count.

    Returns (1 + B, p); layer 0 is the observed one. A column of ones gives the sum of weights.
    """
    columns = np.asarray(values, dtype=np.float64)[used]
    if isinstance(design.multiplier, Draws):
        return layer_weights(design, used) @ columns
    row, place = np.nonzero(columns)
    totals = replicated_totals(
        [place],
        design.cluster[used][row],
        columns[row, place] * design.weight[used][row],
        design.multiplier,
        layer_factor=design.layer_factor,
        factor_cell=None if design.factor_cell is None else design.factor_cell[used][row],
    )
    out = np.zeros((design.replicates + 1, columns.shape[1]))
    out[:, totals.levels[:, 0]] = totals.weight
    return out


def layer_weights(design: SurveyDesign, used: npt.NDArray[np.bool_]) -> LayerWeights:
    """Weight of each respondent of `used` in every layer (1 + B, n of them); layer 0 is the observed one.

    What `replicated_totals` sums, for statistics that are no function of a few totals. Not held where multipliers are not.
    """
    cell = None if design.factor_cell is None else design.factor_cell[used]
    return layers.layer_weights(design.multiplier, design.cluster[used], design.weight[used], design.layer_factor, cell)


def cluster_weights(design: SurveyDesign, clusters: npt.ArrayLike) -> LayerWeights:
    """Weight of each organisation in every layer (1 + B, T): 1 in the observed one, then its multipliers."""
    return layers.layer_weights(design.multiplier, clusters)


def _distinct(cluster: Ints, roles: Ints, stages: Ints, shape: tuple[int, int]) -> Ints:
    """Count distinct clusters by role, stage and both; index -1 means any."""
    R, S = shape
    counts = np.zeros((R + 2, S + 2), dtype=np.int64)
    keyed = pd.DataFrame({"cluster": cluster, "role": roles, "stage": stages})
    counts[-1, -1] = keyed["cluster"].nunique()
    for columns, place in ((["role"], lambda key: (key[0], -1)), (["stage"], lambda key: (-1, key[0]))):
        for key, number in _nunique(keyed, columns).items():
            counts[place(key)] = number
    for key, number in _nunique(keyed, ["role", "stage"]).items():
        counts[key] = number
    return counts


def _nunique(keyed: pd.DataFrame, columns: list[str]) -> Mapping[tuple[int, ...], int]:
    counted = keyed.groupby(columns)["cluster"].nunique()
    return {(key if isinstance(key, tuple) else (key,)): int(number) for key, number in counted.items()}
