"""Adjustment for families of tests, and the three-sided verdict of an interval against a margin.

The adjustments are statsmodels' own; what is ours is the decision rule of the register of claims.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

__all__ = ["confidence_p", "holm", "three_sided"]


def holm(p_values: Mapping[str, float], *, family_size: int) -> dict[str, float]:
    """Adjust one-sided p-values by Holm (1979) in a family whose size was declared before the data.

    Members that could not be tested count as p = 1, so that a verdict does not become easier because another claim could
    not be assessed.

    Returns the adjusted p-value of each key, at most 1. Reference: Holm, S. (1979), Scand. J. Statist. 6, 65-70.

    >>> {k: round(v, 3) for k, v in holm({"H2": 0.01, "H3": 0.04}, family_size=3).items()}
    {'H2': 0.03, 'H3': 0.08}
    """
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415 - a second of import that only a verdict needs

    if not p_values:
        return {}
    padded = [*p_values.values(), *[1.0] * max(family_size - len(p_values), 0)]
    adjusted = multipletests(padded, method="holm")[1]
    return {key: float(value) for key, value in zip(p_values, adjusted, strict=False)}


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
