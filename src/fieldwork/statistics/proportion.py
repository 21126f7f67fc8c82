"""Intervals of proportions, and of their difference, from clustered, weighted samples: exact intervals at the effective base.

statsmodels has the exact (Clopper-Pearson) interval for a simple random sample only; the adjustment is three lines. No package
in the stack melds two exact intervals into one of their difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["MeldedDifference", "ProportionInterval", "korn_graubard", "melded_difference"]

_GRID = 400


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
        return np.asarray(np.where(u < 0.5, self.lower(u), self.upper(u)), dtype=np.float64)

    def lower(self, level: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Quantiles of the confidence distribution that lower limits come from: Beta(hits, misses + 1)."""
        u, (hits, misses) = np.asarray(level, dtype=np.float64), self._sides
        return np.asarray(stats.beta.ppf(u, hits, misses + 1.0) if hits > 0 else np.zeros_like(u), dtype=np.float64)

    def upper(self, level: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Quantiles of the confidence distribution that upper limits come from: Beta(hits + 1, misses)."""
        u, (hits, misses) = np.asarray(level, dtype=np.float64), self._sides
        return np.asarray(stats.beta.ppf(u, hits + 1.0, misses) if misses > 0 else np.ones_like(u), dtype=np.float64)

    @property
    def _sides(self) -> tuple[float, float]:
        return self.n_effective * self.estimate, self.n_effective * (1.0 - self.estimate)


def korn_graubard(
    estimate: float, std_error: float, n: int, clusters: int, *, level: float = 0.95
) -> ProportionInterval:
    """Exact interval of a proportion at the effective sample size of the design.

    n_e = p (1 - p) / se^2 times (t(n - 1) / t(clusters - 1))^2, at most n; the interval is Clopper and Pearson's with n_e
    respondents. Where the design gives no variance (p = 0 or 1, or se = 0) n_e is n. Same as R `survey::svyciprop(method =
    "beta")` but for the cap at n, which NCHS asks for.

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


@dataclass(frozen=True, slots=True)
class MeldedDifference:
    """A difference of two proportions with its interval.

    Attributes
    ----------
    estimate, conf_low, conf_high : float    First proportion minus second, -1..1.
    draws : (B,) float                       Confidence draws, ascending: the share at or below x is the p-value of "at most x".
    """

    estimate: float
    conf_low: float
    conf_high: float
    draws: npt.NDArray[np.float64]


def melded_difference(
    first: ProportionInterval, second: ProportionInterval, draws: int, *, level: float = 0.95
) -> MeldedDifference:
    """Interval of p1 - p2 from two independent exact intervals, for groups too small for a normal approximation.

    With L and U the confidence distributions that a proportion's lower and upper limits come from, the lower limit is the
    quantile of L1 - U2 and the upper that of U1 - L2. Of two simple random samples the one-sided p-value at no difference is
    Fisher's exact one. The distributions are combined on a grid of 400 x 400 equally probable pairs, so nothing is drawn.

    Parameters
    ----------
    first, second : intervals of groups without an organisation in common, at their effective bases (`korn_graubard`).
    draws : length B of the confidence draws.

    Reference: Fay, M., Proschan, M. and Brittain, E. (2015). Combining one-sample confidence procedures for inference in the
    two-sample case. Biometrics 71, 146-156.

    >>> small = melded_difference(korn_graubard(0.75, 0.0, 4, 4), korn_graubard(0.25, 0.0, 4, 4), 1000)
    >>> round(small.estimate, 2), bool(small.conf_low < -0.3), bool(small.conf_high < 1.0)
    (0.5, True, True)
    """
    u = (np.arange(_GRID) + 0.5) / _GRID
    low = (first.lower(u)[:, None] - second.upper(u)[None, :]).reshape(-1)
    high = (first.upper(u)[:, None] - second.lower(u)[None, :]).reshape(-1)
    at = (np.arange(draws) + 0.5) / draws
    curve = np.where(at < 0.5, np.quantile(low, at), np.quantile(high, at))
    tail = 0.5 + level / 2.0
    ends = float(np.quantile(low, 1.0 - tail)), float(np.quantile(high, tail))
    return MeldedDifference(first.estimate - second.estimate, *ends, curve)
