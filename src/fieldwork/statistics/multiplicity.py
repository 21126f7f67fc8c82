"""Adjustment for families of tests, equivalence, and the three-sided verdict against a margin.

Benjamini and Hochberg's adjustment is scipy's. Holm's is two lines here, for statsmodels' collects the process's garbage at
every call, which costs a verdict table seconds; the tests hold it against theirs. What is ours besides: families of declared
size, the decision rule of the register of claims, and equivalence from an estimate with its design-based standard error
(statsmodels has it from raw independent samples only).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from fieldwork.errors import DesignError

__all__ = [
    "Equivalence",
    "ThreeSided",
    "benjamini_hochberg",
    "confidence_p",
    "equivalence",
    "holm",
    "three_sided",
    "three_sided_p",
]


def holm(p_values: Mapping[str, float], *, family_size: int) -> dict[str, float]:
    """Adjust one-sided p-values by Holm (1979) in a family whose size was declared before the data.

    Members that could not be tested count as p = 1, so that a verdict does not become easier because another claim could
    not be assessed.

    Returns the adjusted p-value of each key, at most 1. Reference: Holm, S. (1979), Scand. J. Statist. 6, 65-70.

    >>> {k: round(v, 3) for k, v in holm({"H2": 0.01, "H3": 0.04}, family_size=3).items()}
    {'H2': 0.03, 'H3': 0.08}
    """
    if not p_values:
        return {}
    p = np.array(_padded(p_values, family_size))
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return {key: float(value) for key, value in zip(p_values, adjusted, strict=False)}


def benjamini_hochberg(p_values: Mapping[str, float], *, family_size: int) -> dict[str, float]:
    """Adjust p-values by Benjamini and Hochberg (1995): the false discovery rate at which each would be called.

    For exploratory screens; a registered family of claims takes `holm`. The rate is held for independent and for positively
    dependent tests. Members that could not be tested count as p = 1, as in `holm`. Reference: Benjamini, Y. and Hochberg, Y.
    (1995), J. R. Statist. Soc. B 57, 289-300.

    >>> {k: round(v, 3) for k, v in benjamini_hochberg({"roi": 0.01, "reg": 0.04}, family_size=3).items()}
    {'roi': 0.03, 'reg': 0.06}
    """
    if not p_values:
        return {}
    adjusted = stats.false_discovery_control(_padded(p_values, family_size), method="bh")
    return {key: float(value) for key, value in zip(p_values, adjusted, strict=False)}


def _padded(p_values: Mapping[str, float], family_size: int) -> list[float]:
    return [*p_values.values(), *[1.0] * max(family_size - len(p_values), 0)]


def confidence_p(draws: npt.NDArray[np.float64], margin: float, *, direction: str = "above") -> float:
    """One-sided p-value of "not beyond the margin" from confidence draws: (1 + draws on the wrong side) / (1 + draws).

    A draw without a value (a ratio of two spreads that are both nil) counts as being on the wrong side.

    >>> confidence_p(np.array([0.1, 0.6, 0.7, float("nan")]), 0.5)
    0.6
    """
    beyond = draws > margin if direction == "above" else draws < margin
    return float((1 + np.count_nonzero(~beyond)) / (1 + len(draws)))


def three_sided(
    conf_low: float, conf_high: float, margin: float, *, direction: str = "above", equivalence_p: float = 1.0
) -> str:
    """Verdict of an interval against the smallest effect of interest.

    `supported`: the whole interval beyond the margin in the claimed direction. `contradicted`: the whole interval short of
    it, or equivalence to nothing shown (two one-sided tests at 5%: the 90% interval inside -+margin). `inconclusive`: else.
    An open end (nan) is an end at infinity. References: Schuirmann (1987), J. Pharmacokin. Biopharm. 15, 657-680;
    Goeman, Solari and Stijnen (2010), Statist. Med. 29, 2117-2125.

    >>> three_sided(0.6, 1.2, 0.5), three_sided(-0.2, 0.4, 0.5), three_sided(0.2, 0.9, 0.5)
    ('supported', 'contradicted', 'inconclusive')
    """
    low = -math.inf if math.isnan(conf_low) else conf_low
    high = math.inf if math.isnan(conf_high) else conf_high
    supported = low > margin if direction == "above" else high < margin
    short = high < margin if direction == "above" else low > margin
    if supported:
        return "supported"
    return "contradicted" if short or equivalence_p <= 0.05 else "inconclusive"


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Two one-sided tests of an estimate against a lower and an upper margin.

    Attributes
    ----------
    p_above_low : float            One-sided p-value of "not above the lower margin".
    p_below_high : float           One-sided p-value of "not below the upper margin".
    p_value : float                The larger of the two: equivalence is shown at `alpha` where it is at most `alpha`.
    conf_low, conf_high : float    Interval at 1 - 2 alpha, in the estimate's unit: inside the margins exactly then.
    """

    p_above_low: float
    p_below_high: float
    p_value: float
    conf_low: float
    conf_high: float


def equivalence(
    estimate: float,
    std_error: float,
    df: float,
    margin: float,
    *,
    lower: float | None = None,
    alpha: float = 0.05,
) -> Equivalence:
    """Show that an effect is nearer to nothing than the margin: two one-sided t tests (TOST).

    p = max(P(T > (estimate - lower) / se), P(T < (estimate - margin) / se)), T Student's with df degrees of freedom (inf
    for the normal). A p-value against "no effect" that is large shows nothing of the kind.

    Parameters
    ----------
    estimate, std_error : in one unit. df : organisations - strata, as the standard error has it.
    margin : smallest effect of interest, above 0. lower : the other margin; -margin unless given.

    Raises DesignError for a margin or standard error that is not one. References: Schuirmann (1987), J. Pharmacokin.
    Biopharm. 15, 657-680; Lakens (2017), Soc. Psychol. Personal. Sci. 8, 355-362.

    >>> test = equivalence(0.1, 0.12, 20, 0.5)
    >>> round(test.p_value, 4), round(test.conf_low, 3), round(test.conf_high, 3)
    (0.0017, -0.107, 0.307)
    """
    low = -margin if lower is None else lower
    _checked(std_error, df, low, margin)
    above = float(stats.t.sf((estimate - low) / std_error, df))
    below = float(stats.t.cdf((estimate - margin) / std_error, df))
    half = float(stats.t.ppf(1.0 - alpha, df)) * std_error
    return Equivalence(above, below, max(above, below), estimate - half, estimate + half)


@dataclass(frozen=True, slots=True)
class ThreeSided:
    """P-values of the three regions that a margin cuts the axis into; a region is ruled out where its p-value is small.

    Attributes
    ----------
    below : float     P-value of "the effect is at most -margin" (one-sided).
    within : float    P-value of "the effect lies inside -+margin" (two-sided).
    above : float     P-value of "the effect is at least margin" (one-sided).
    """

    below: float
    within: float
    above: float

    def left(self, alpha: float = 0.05) -> tuple[str, ...]:
        """Name the regions that are not ruled out at `alpha`; one name is a finding, three are no information.

        >>> three_sided_p(0.9, 0.1, 40, 0.5).left(), three_sided_p(0.45, 0.1, 40, 0.5).left()
        (('above',), ('within', 'above'))
        """
        regions = (("below", self.below), ("within", self.within), ("above", self.above))
        return tuple(name for name, p in regions if p > alpha)


def three_sided_p(estimate: float, std_error: float, df: float, margin: float) -> ThreeSided:
    """P-values for inferiority, equivalence and superiority at once, without adjustment among the three.

    The effect lies in one region only, so at most one of the three hypotheses is true and each may be tested at the full
    level: below by P(T > (estimate + margin) / se), above by P(T < (estimate - margin) / se), within by twice
    P(T > (|estimate| - margin) / se), at most 1. Ruling out both outer regions is `equivalence`; ruling out `within` and
    `below` is superiority by the margin.

    Reference: Goeman, Solari and Stijnen (2010), Statist. Med. 29, 2117-2125.

    >>> three = three_sided_p(0.7, 0.15, 60, 0.5)
    >>> round(three.below, 4), round(three.within, 4), round(three.above, 4)
    (0.0, 0.1875, 0.9063)
    """
    _checked(std_error, df, -margin, margin)
    below = float(stats.t.sf((estimate + margin) / std_error, df))
    above = float(stats.t.cdf((estimate - margin) / std_error, df))
    within = min(1.0, 2.0 * float(stats.t.sf((abs(estimate) - margin) / std_error, df)))
    return ThreeSided(below, within, above)


def _checked(std_error: float, df: float, low: float, high: float) -> None:
    if not (std_error > 0 and df > 0 and low < high):
        raise DesignError(
            "a test against margins needs a standard error and two margins",
            where="statistics.multiplicity",
            expected="std_error > 0, df > 0, lower margin < upper margin",
            got=f"std_error {std_error:g}, df {df:g}, margins {low:g} and {high:g}",
            hint="an estimate without a variance cannot be tested; print it as not assessable",
        )
