"""Intervals of proportions from clustered, weighted samples: Korn and Graubard's adjustment of the exact interval.

statsmodels has the exact (Clopper-Pearson) interval for a simple random sample only; the adjustment is three lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["ProportionInterval", "korn_graubard"]


@dataclass(frozen=True, slots=True)
class ProportionInterval:
    """A proportion with its interval.

    Attributes
    ----------
    estimate, conf_low, conf_high : float    Proportions, 0..1.
    n_effective : float                      Respondents of a simple random sample that would say as much.
    """

    estimate: float
    conf_low: float
    conf_high: float
    n_effective: float

    def quantile(self, level: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Confidence curve: the lower limit's Beta below one half, the upper limit's above, so that both ends agree.

        >>> interval = korn_graubard(0.6, 0.0, 5, 5)
        >>> low, high = interval.quantile([0.025, 0.975])
        >>> bool(np.isclose(low, interval.conf_low) and np.isclose(high, interval.conf_high))
        True
        """
        u = np.asarray(level, dtype=np.float64)
        hits, misses = self.n_effective * self.estimate, self.n_effective * (1.0 - self.estimate)
        low = stats.beta.ppf(u, hits, misses + 1.0) if hits > 0 else np.zeros_like(u)
        high = stats.beta.ppf(u, hits + 1.0, misses) if misses > 0 else np.ones_like(u)
        return np.asarray(np.where(u < 0.5, low, high), dtype=np.float64)


def korn_graubard(
    estimate: float, std_error: float, n: int, clusters: int, *, level: float = 0.95
) -> ProportionInterval:
    """Exact interval of a proportion at the effective sample size of the design.

    n_e = p (1 - p) / se^2 times (t(n - 1) / t(clusters - 1))^2, at most n; the interval is Clopper and Pearson's with n_e
    respondents. Where the design gives no variance (p = 0 or 1, or se = 0) n_e is n. Same as R `survey::svyciprop(method =
    "beta")` but for the cap at n, which NCHS asks for.

    The interval is exact and counts are whole, so it covers more than it says: .95 to .975 for a share of the 45 respondents
    of one role at 90 organisations (docs/validity_statistics.md), never less. Where width matters more than rare shares,
    `replicates.infer` of the share is shorter.

    Parameters
    ----------
    estimate : weighted share p. std_error : its design-based standard error. n : respondents. clusters : organisations.

    References
    ----------
    Korn, E. and Graubard, B. (1998). Confidence intervals for proportions with small expected number of positive counts.
    Survey Methodology 24, 193-201. Parker et al. (2017), NCHS Vital and Health Statistics 2(175).

    >>> i = korn_graubard(0.6, 0.0, 5, 5)      # 3 of 5
    >>> round(i.conf_low, 2), round(i.conf_high, 2)
    (0.15, 0.95)
    """
    tail = 0.5 + level / 2.0
    effective = float(n)
    if std_error > 0 and 0 < estimate < 1 and n > 1 and clusters > 1:
        ratio = stats.t.ppf(tail, n - 1) / stats.t.ppf(tail, clusters - 1)
        effective = min(float(n), estimate * (1 - estimate) / std_error**2 * float(ratio) ** 2)
    if not math.isfinite(estimate):
        return ProportionInterval(math.nan, math.nan, math.nan, effective)
    draft = ProportionInterval(estimate, math.nan, math.nan, effective)
    low, high = draft.quantile([1.0 - tail, tail])
    return ProportionInterval(estimate, float(low), float(high), effective)
