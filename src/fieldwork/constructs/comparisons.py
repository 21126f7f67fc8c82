"""Two groups of respondents compared on an outcome, at equal confounders: differences, ratios of means, ratios of times.

One form for every comparison of readiness and practices, so that base, adjustment and refusal are the same in all of them. An
association each: nothing here says what causes what.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import axis, layer_weights, weighted_sums
from fieldwork.constructs.colleagues import MINIMUM_ORGANISATIONS
from fieldwork.constructs.ledger import NIL, SMALL_BASE, counted
from fieldwork.errors import ConvergenceError, DesignError, listed
from fieldwork.statistics.proportion import korn_graubard
from fieldwork.statistics.regressions import least_squares, log_linear, log_normal_times, regression_inference
from fieldwork.statistics.replicates import Floats, Inference, infer

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.constructs.ledger import Ledger
    from fieldwork.instrument import Instrument
    from fieldwork.statistics.layers import LayerWeights
    from fieldwork.statistics.proportion import ProportionInterval

__all__ = [
    "MINIMUM_SIDE",
    "Confounders",
    "Outcome",
    "Sides",
    "compare",
    "confounders",
    "imprecise",
    "lacking",
    "share",
    "share_interval",
    "share_row",
]

Mask = npt.NDArray[np.bool_]
Kind = Literal["difference", "ratio", "time"]

MINIMUM_SIDE = 10  # respondents on either side, measures.md 2.8
THIN_LEVEL = 20  # respondents of a level of a confounder, below which it is merged into the commonest


@dataclass(frozen=True, slots=True)
class Confounders:
    """What a comparison holds fixed.

    Attributes
    ----------
    labels : tuple of str          As readers call them.
    nominal : tuple of (n,) int    Level of each respondent, by confounder; a missing one is a level of its own.
    graded : tuple of (n,) float   Ordinal confounders, entered as a line; a missing one stands at the mean.
    """

    labels: tuple[str, ...]
    nominal: tuple[npt.NDArray[np.int64], ...]
    graded: tuple[Floats, ...]

    def columns(self, used: Mask) -> Floats:
        """Columns of the design (m, q) for the m respondents of `used`, without the constant.

        Levels of fewer than 20 of them are merged into the commonest level, which is left out.
        """
        out: list[Floats] = []
        for code in self.nominal:
            levels, place, n = np.unique(code[used], return_inverse=True, return_counts=True)
            kept = [g for g in range(len(levels)) if n[g] >= THIN_LEVEL and g != int(np.argmax(n))]
            out += [(place.reshape(-1) == g).astype(np.float64) for g in kept]
        for value in self.graded:
            mine = value[used]
            known = ~np.isnan(mine)
            centred = np.where(known, mine - (mine[known].mean() if known.any() else 0.0), 0.0)
            if np.ptp(centred) > 0:
                out.append(centred)
        return np.column_stack(out) if out else np.empty((int(used.sum()), 0))

    @property
    def words(self) -> str:
        """What is held fixed, in words."""
        return f"at equal {listed([label.lower() for label in self.labels], limit=9)}" if self.labels else ""


def confounders(instrument: Instrument, design: SurveyDesign) -> Confounders:
    """Return the confounders that the instrument declares: `adjust_for` of its keys, and the stage of the organisation."""
    keys = instrument.keys
    labels: list[str] = []
    nominal: list[npt.NDArray[np.int64]] = []
    graded: list[Floats] = []
    for name in (*keys.adjust_for, *([keys.stage_organisation] if keys.stage_organisation else [])):
        item = instrument.item(name)
        labels.append(item.label)
        if item.kind == "ordinal":
            graded.append(design.responses[name].to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            nominal.append(design.codes(axis(instrument, name)))
    return Confounders(tuple(labels), tuple(nominal), tuple(graded))


@dataclass(frozen=True, slots=True)
class Sides:
    """The two groups of a comparison.

    Attributes
    ----------
    first, second : (n,) bool    Respondents on either side.
    words : (str, str)           What readers call them.
    """

    first: Mask
    second: Mask
    words: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is compared.

    Attributes
    ----------
    kind : str           `difference` of means or shares, `ratio` of means (log link), `time` (ratio of median times).
    value : (n,) float   The outcome; of a time, its lower end. nan: not known, and the respondent is left out.
    upper : (n,) float   Upper end of a time, inf while it is running; not used elsewhere.
    """

    kind: Kind
    value: Floats
    upper: Floats = field(default_factory=lambda: np.empty(0))


def lacking(design: SurveyDesign, sides: Sides, known: Mask) -> str:
    """Say which number a comparison lacks; empty where both sides carry it."""
    for side, words in zip((sides.first, sides.second), sides.words, strict=True):
        n, clusters = _base(design, side & known)
        if n < MINIMUM_SIDE:
            return f"{MINIMUM_SIDE} respondents are needed on either side; {words}: {counted(n)}"
        if design.has_organisations and clusters < MINIMUM_ORGANISATIONS:
            return f"{MINIMUM_ORGANISATIONS} organisations are needed on either side; {words}: {clusters}"
    return ""


def compare(
    ledger: Ledger,
    measure: str,
    statistic: str,
    unit: str,
    outcome: Outcome,
    sides: Sides,
    *,
    held: Confounders,
    beside: Mapping[str, Floats] | None = None,
    note: str = "",
    tells: str = "",
    **place: str,
) -> None:
    """Add the comparison of the first side with the second, at equal confounders.

    The outcome is regressed on an indicator of the first side, the confounders and `beside`, with weights, in every layer
    (`statistics.regressions`). Respondents of neither side belong to the regression when `beside` tells them apart, else they
    are left out. The interval is a t interval: of the coefficient for a difference, of its log for a ratio.

    Parameters
    ----------
    beside : further columns (n,) by name, held fixed as well; nan leaves a respondent out.
    note : what a reader has to know of the row. tells : see `Ledger.add`. place : item, segment.

    Refused below 10 respondents or 5 organisations on either side, or where the model has no maximum.
    """
    design = ledger.design
    extra = beside or {}
    known = ~np.isnan(outcome.value)
    for column in extra.values():
        known &= ~np.isnan(column)
    used = known & (np.ones(len(known), dtype=bool) if extra else sides.first | sides.second)
    n, clusters = _base(design, used)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, **place}
    reason = lacking(design, sides, known) or _unended(outcome, sides, known)
    if reason:
        ledger.refuse(measure, statistic, unit, reason, **base)
        return
    columns = [np.ones(n), sides.first[used].astype(np.float64), *(column[used] for column in extra.values())]
    X = np.column_stack([*columns, held.columns(used)])
    weight = layer_weights(design, used)
    try:
        layers, parameters = _fitted(outcome, X, used, weight)
        thin = min(_base(design, side & known)[1] for side in (sides.first, sides.second))
        inference = regression_inference(layers, clusters, parameters, fewest=thin)
    except (DesignError, ConvergenceError) as error:
        ledger.refuse(measure, statistic, unit, f"the model cannot be fitted: {error.title}, {error.got}", **base)
        return
    bases = [_base(design, side & known) for side in (sides.first, sides.second)]
    smallest = (min(b[0] for b in bases), min(b[1] for b in bases))
    small = f"small base: fewer than {SMALL_BASE} respondents on one side" if smallest[0] < SMALL_BASE else ""
    fields: dict[str, Any] = {
        **base,
        "smallest": smallest,
        "tells": tells,
        "status": "flagged" if small else "ok",
        "reason": "; ".join(text for text in (note, held.words, small) if text),
    }
    if unit == "proportion":
        yes = outcome.value > 0.5
        counts = [int((side & known & told).sum()) for side in (sides.first, sides.second) for told in (yes, ~yes)]
        fields["hits"] = min(counts)
    if outcome.kind == "difference":
        ledger.add_inferred(measure, statistic, unit, inference, **fields)
    else:
        _add_ratio(ledger, measure, statistic, unit, inference, fields)


def _fitted(outcome: Outcome, X: Floats, used: Mask, weight: LayerWeights) -> tuple[Floats, int]:
    """Coefficient of the first side in every layer (1 + B,), and how many parameters stand beside it."""
    y = outcome.value[used]
    if outcome.kind == "time":
        fit = log_normal_times(X, y, outcome.upper[used], weight)
    else:
        fit = (least_squares if outcome.kind == "difference" else log_linear)(X, y, weight)
    return fit.coefficients[:, 1], fit.parameters


def _add_ratio(
    ledger: Ledger, measure: str, statistic: str, unit: str, inference: Inference, fields: dict[str, Any]
) -> None:
    """Add exp of a coefficient; the standard error is that of the ratio, by the delta method."""
    se = float(inference.std_error)
    ratio = math.exp(float(inference.estimate))
    if not (math.isfinite(se) and se >= NIL):
        reason = f"{fields.get('reason', '')}; no interval: one organisation, or all answers alike".lstrip("; ")
        ledger.add(measure, statistic, unit, estimate=ratio, **{**fields, "status": "flagged", "reason": reason})
        return
    ledger.add(
        measure, statistic, unit, draws=np.exp(inference.draws), estimate=ratio, std_error=ratio * se,
        conf_low=math.exp(float(inference.conf_low)), conf_high=math.exp(float(inference.conf_high)), conf_level=0.95,
        **fields,
    )  # fmt: skip


def _unended(outcome: Outcome, sides: Sides, known: Mask) -> str:
    """Say that a side has too few times that ended, or counts of nothing at all, for a ratio."""
    for side, words in zip((sides.first, sides.second), sides.words, strict=True):
        mine = side & known
        if outcome.kind == "time" and int(np.isfinite(outcome.upper[mine]).sum()) < MINIMUM_SIDE:
            ended = int(np.isfinite(outcome.upper[mine]).sum())
            return f"{MINIMUM_SIDE} times that have ended are needed on either side; {words}: {counted(ended)}"
        if outcome.kind == "ratio" and not outcome.value[mine].any():
            return f"a ratio needs an outcome above nil on either side; {words}: none in {int(mine.sum())}"
    return ""


def _base(design: SurveyDesign, used: Mask) -> tuple[int, int]:
    return int(used.sum()), design.clusters(used)


def share_interval(design: SurveyDesign, hit: Mask, used: Mask) -> tuple[ProportionInterval, Inference]:
    """Weighted share of `hit` among `used` with its Korn-Graubard interval, and the inference that it rests on."""
    n, clusters = _base(design, used)
    of, among = weighted_sums(design, np.column_stack([hit, used]), used).T
    inference = infer(of / among, clusters)
    se = float(np.nan_to_num(inference.std_error))
    return korn_graubard(float(inference.estimate), se if se > NIL else 0.0, n, clusters), inference


def share(
    ledger: Ledger,
    measure: str,
    statistic: str,
    hit: Mask,
    used: Mask,
    *,
    note: str = "",
    adds_up: str = "",
    tells: str = "",
    cell: str = "",
    **place: str,
) -> None:
    """Add a weighted share with its exact interval; with nobody in the base it is refused, below 30 flagged.

    `adds_up`, `tells`, `cell`: see `Ledger.add`.
    """
    design = ledger.design
    n, clusters = _base(design, used)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, **place}
    if n == 0:
        ledger.refuse(measure, statistic, "proportion", "nobody answered", **base)
        return
    _, inference = share_interval(design, hit, used)
    share_row(
        ledger, measure, statistic, inference, hits=int((hit & used).sum()), drawn=True, note=note, adds_up=adds_up,
        tells=tells, cell=cell, **base,
    )  # fmt: skip


def share_row(
    ledger: Ledger,
    measure: str,
    statistic: str,
    inference: Inference,
    *,
    n: int,
    n_organisations: int,
    drawn: bool = False,
    strict: bool = False,
    note: str = "",
    **more: Any,  # noqa: ANN401
) -> None:
    """Add a share with Korn and Graubard's interval; `more`: as `Ledger.add` takes it, `hits` among them.

    Parameters
    ----------
    inference : of the share, from its layers. n, n_organisations : its base.
    drawn : draws of the interval are kept, in the order of the layers', for claims.
    strict : flagged where `imprecise` says so; else below 30 respondents alone.
    """
    se = float(np.nan_to_num(inference.std_error))
    interval = korn_graubard(float(inference.estimate), se if se > NIL else 0.0, n, n_organisations)
    ranks = np.argsort(np.argsort(inference.draws, kind="stable"), kind="stable") if drawn else None
    small = f"small base: fewer than {SMALL_BASE} respondents" if n < SMALL_BASE else ""
    warning = imprecise(interval, n) if strict else small
    ledger.add(
        measure, statistic, "proportion",
        draws=None if ranks is None else interval.quantile((ranks + 0.5) / len(ranks)),
        estimate=interval.estimate, std_error=se if se > NIL else math.nan,
        conf_low=interval.conf_low, conf_high=interval.conf_high, conf_level=0.95, n_effective=interval.n_effective,
        method="korn_graubard", status="flagged" if warning else "ok",
        reason="; ".join(text for text in (note, warning) if text), n=n, n_organisations=n_organisations, **more,
    )  # fmt: skip


def imprecise(interval: ProportionInterval, n: int) -> str:
    """Say where a share falls short of the standard of the US National Center for Health Statistics (Parker et al. 2017)."""
    if n < SMALL_BASE:
        return f"small base: fewer than {SMALL_BASE} respondents"
    if interval.n_effective < SMALL_BASE:
        return f"imprecise: worth fewer than {SMALL_BASE} respondents of a simple random sample"
    width = interval.conf_high - interval.conf_low
    rarer = min(interval.estimate, 1.0 - interval.estimate)
    if width >= 0.30 or (width > 0.05 and width > 1.30 * rarer):
        return "imprecise: the interval is wide for its size"
    return ""
