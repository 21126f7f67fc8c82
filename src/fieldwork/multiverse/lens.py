"""Claims' estimands through the cumulative link mixed model, in place of the cell table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldwork.claims import KEY, Part
from fieldwork.constructs.adoption_gradient import Measure
from fieldwork.constructs.cells import SurveyDesign, axis
from fieldwork.constructs.ledger import Estimates, interval_of
from fieldwork.constructs.ordinal_lens import ModelLens, model_lens, population_mean
from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.schema import tuples_of
from fieldwork.statistics.cumulative_links import link_named
from fieldwork.statistics.spread import log_ratio, spread

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.statistics.replicates import Floats

__all__ = ["STATISTICS", "through_model"]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One measure through the model: the fit, and the means of its cells in scores (1 + B, R, S)."""

    lens: ModelLens
    cells: Floats
    weight: Floats

    def at(self, role: str, stage: str) -> Floats:
        """Mean of a cell (1 + B,); DesignError where the model lacks the role or the stage."""
        for label, known in ((role, self.lens.roles), (stage, self.lens.stages)):
            if label not in known:
                raise DesignError(
                    f"the model has no {label}", where="multiverse.lens", got="too few respondents to be in it",
                    hint="report it as not assessable",
                )  # fmt: skip
        return np.asarray(self.cells[:, self.lens.roles.index(role), self.lens.stages.index(stage)])


Estimand = Callable[[_Seen, Part], "tuple[float, Floats]"]


def through_model(instrument: Instrument, design: SurveyDesign, parts: Sequence[Part], cells: Estimates) -> Estimates:
    """Estimate the parts that the mixed model can say, under the keys of their cell-table rows.

    The model is answer ~ role + stage + (1 | organisation), logit link, survey weights as a pseudo-likelihood, sandwich
    covariance over organisations; draws are normal around the estimate (`constructs.ordinal_lens.model_lens`). Per statistic:

    - `role_part`: predicted mean of the first role less that of the second, averaged over the two stages, scale points;
    - `range_difference`: shrunken range of the roles' predicted means at equal weight of stages, less that of the stages' at
      equal weight of roles;
    - `gradient_ratio_log`: log ratio of the spreads of role and stage effects, log odds;
    - `gradient_ratio_log_adjusted`: the same with the stage of the organisation; size and sector are the organisation's, whose
      intercept takes them up;
    - `high_both_share`: predicted share of the cell in the model of answering all measures high;
    - `risk_difference` of an option: predicted share of the named roles less that of the others, by their weight.

    `cells` are the cell table's rows: a part that it refuses stays refused, and bases are its own, for the people are the
    same. A model that does not settle is `not_assessable`, with the term.
    """
    table = cells.estimates
    place = {tuple(key): i for i, key in enumerate(tuples_of(table[list(KEY)]))}
    fitted: dict[tuple[str, str], _Seen | str] = {}
    rows: list[dict[str, Any]] = []
    drawn: list[dict[str, Any]] = []
    wanted = [part for part in parts if part.statistic in STATISTICS and part.key in place]
    for part in wanted:
        row = {str(name): value for name, value in table.iloc[place[part.key]].items()}
        if row["status"] == "not_assessable":
            rows.append(row)
            continue
        key = _model_of(part)
        if key not in fitted:
            fitted[key] = _fitted(instrument, design, part)
        try:
            estimate, draws = _said(fitted[key], part)
        except DesignError as error:
            empty = dict.fromkeys(("estimate", "std_error", "conf_low", "conf_high", "conf_level"), pd.NA)
            told = f"the model cannot be fitted: {error.title}" + (f"; {error.got}" if error.got else "")
            rows.append({**row, **empty, "status": "not_assessable", "reason": told})
            continue
        finite = bool(np.isfinite(estimate))
        ends = interval_of(draws)
        ends = {name: value if np.isfinite(value) else pd.NA for name, value in ends.items()}
        rows.append({**row, **ends, "estimate": estimate if finite else pd.NA, "method": "clmm"})
        drawn.append({**dict(zip(KEY, part.key, strict=True)), "draws": draws})
    keys = {part.key for part in wanted}
    for key, i in place.items():
        if key not in keys and table["status"].iloc[i] == "not_assessable":
            rows.append({str(name): value for name, value in table.iloc[i].items()})
            keys.add(key)
    inside = [tuple(k) in keys for k in tuples_of(cells.bases[list(KEY)])]
    bases = cells.bases.loc[np.array(inside, dtype=bool)]
    made = pd.DataFrame(rows, columns=table.columns).astype(table.dtypes.to_dict())
    return Estimates(made, pd.DataFrame(drawn, columns=[*KEY, "draws"]), bases.reset_index(drop=True))


def _said(seen: _Seen | str, part: Part) -> tuple[float, Floats]:
    """Read a part off its model; DesignError where there is none."""
    if isinstance(seen, str):
        raise DesignError(seen)
    return STATISTICS[part.statistic](seen, part)


def _model_of(part: Part) -> tuple[str, str]:
    """Name the model that a part reads: its measure (an option of one) and which stage stands beside role."""
    measure = f"{part.measure}_{part.item}" if part.item else part.measure
    stage = {"gradient_ratio_log_adjusted": "organisation", "risk_difference": "none"}.get(part.statistic, "own")
    return measure, stage


def _fitted(instrument: Instrument, design: SurveyDesign, part: Part) -> _Seen | str:
    """Fit the model of a part; the reason where it cannot be."""
    keys = instrument.keys
    name, kind = _model_of(part)
    role = axis(instrument, keys.role)
    stage_name = {"own": keys.stage, "organisation": keys.stage_organisation, "none": ""}[kind]
    stage = axis(instrument, stage_name) if stage_name else None
    try:
        measure, data = _measure(instrument, design, part)
        design = replace(design, responses=data)
        lens = model_lens(design, measure, role, stage, draws=design.replicates, proportional=False)
    except (DesignError, ConvergenceError) as error:
        return f"{error.title}; {error.got}"
    eta = lens.role_effect[:, :, None] + (lens.stage_effect[:, None, :] if lens.stages else 0.0)
    given = np.unique(measure.index(design.responses))
    scores = np.asarray([measure.scores[k] for k in given[given >= 0]])
    if len(scores) != lens.thresholds.shape[1] + 1:
        return f"answers of {name} at {len(scores)} points, of which the model keeps {lens.thresholds.shape[1] + 1}"
    sd = np.nan_to_num(lens.organisation_sd)
    code = design.codes(role)
    weight = np.array([design.weight[code == role.labels.index(label)].sum() for label in lens.roles])
    return _Seen(lens, population_mean(lens.thresholds, eta, sd, scores, link_named("logit")), weight)


def _measure(instrument: Instrument, design: SurveyDesign, part: Part) -> tuple[Measure, pd.DataFrame]:
    """Return the answer that a part speaks of: an ordinal item, "all high", or one option ticked or not."""
    data = design.responses
    if part.item:
        item = instrument.item(part.measure)
        column = dict(zip([option.id for option in item.options], item.native_columns(), strict=True))[part.item]
        return Measure(column, (0.0, 1.0)), data
    measures = [
        Measure(name, tuple(float(option.code) for option in instrument.item(name).options))
        for name in part.measure.split("+")
    ]
    if len(measures) == 1:
        return measures[0], data
    answers = [measure.index(data) for measure in measures]
    complete = np.all([answer >= 0 for answer in answers], axis=0)
    high = np.all([a >= len(m.scores) - 2 for a, m in zip(answers, measures, strict=True)], axis=0)
    values = pd.array(np.where(complete, high.astype(np.float64), np.nan), dtype="Float64")
    return Measure(part.measure, (0.0, 1.0)), data.assign(**{part.measure: values})


def _role_part(seen: _Seen, part: Part) -> tuple[float, Floats]:
    stages = (part.stage, part.stage_2)
    first, second = (np.mean([seen.at(who, stage) for stage in stages], axis=0) for who in (part.role, part.role_2))
    gap = first - second
    return float(gap[0]), gap[1:]


def _range_difference(seen: _Seen, part: Part) -> tuple[float, Floats]:
    _needs_stages(seen, part)
    roles, stages = seen.cells.mean(axis=2), seen.cells.mean(axis=1)
    sides = [spread(means[0], means[1:] - means[0]) for means in (roles, stages)]
    return sides[0].range_shrunken - sides[1].range_shrunken, sides[0].range_draws - sides[1].range_draws


def _gradient_ratio(seen: _Seen, part: Part) -> tuple[float, Floats]:
    _needs_stages(seen, part)
    sides = [spread(effect[0], effect[1:] - effect[0]) for effect in (seen.lens.role_effect, seen.lens.stage_effect)]
    point = log_ratio(np.array([sides[0].sd_corrected]), np.array([sides[1].sd_corrected]))
    return float(point[0]), log_ratio(sides[0].sd_draws, sides[1].sd_draws)


def _high_share(seen: _Seen, part: Part) -> tuple[float, Floats]:
    share = seen.at(part.role, part.stage)
    return float(share[0]), share[1:]


def _risk_difference(seen: _Seen, part: Part) -> tuple[float, Floats]:
    named = np.array([label in part.role.split("+") for label in seen.lens.roles])
    if not named.any() or named.all():
        raise DesignError(f"the model has no {part.role}", got="too few respondents to be in it")
    share = seen.cells[:, :, 0]
    gap = share[:, named] @ seen.weight[named] / seen.weight[named].sum()
    gap = gap - share[:, ~named] @ seen.weight[~named] / seen.weight[~named].sum()
    return float(gap[0]), gap[1:]


def _needs_stages(seen: _Seen, part: Part) -> None:
    if len(seen.lens.stages) < 2:
        raise DesignError(f"fewer than two stages carry the model of {part.measure}")


STATISTICS: Mapping[str, Estimand] = {
    "role_part": _role_part,
    "range_difference": _range_difference,
    "gradient_ratio_log": _gradient_ratio,
    "gradient_ratio_log_adjusted": _gradient_ratio,
    "high_both_share": _high_share,
    "risk_difference": _risk_difference,
}
