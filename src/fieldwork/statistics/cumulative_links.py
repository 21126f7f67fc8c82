"""Links of cumulative models: log-probability of an answer between two cut-points, with its first and second derivatives.

Own code, because the mixed model needs all of them at a hundred thousand answers times eleven nodes without loss in the
tails, and statsmodels' ordinal model has neither the derivatives nor the tails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

__all__ = ["LINKS", "Link", "Slopes", "link_named"]

Floats = npt.NDArray[np.float64]
Name = Literal["logit", "probit", "cloglog"]


@dataclass(frozen=True, slots=True)
class Slopes:
    """Log-probability of answers and its derivatives by the upper cut-point a and the lower b, all of one shape.

    Attributes
    ----------
    log_p : float           log(F(a) - F(b)).
    by_a, by_b : float      First derivatives.
    upper, lower : float    Second derivatives along both: by_aa + by_ab, by_bb + by_ab.
    by_ab : float           Mixed second derivative; of shape (n, 1) where it does not depend on the shift.
    """

    log_p: Floats
    by_a: Floats
    by_b: Floats
    upper: Floats
    lower: Floats
    by_ab: Floats

    @property
    def by_aa(self) -> Floats:
        """Second derivative by a."""
        return self.upper - self.by_ab

    @property
    def by_bb(self) -> Floats:
        """Second derivative by b."""
        return self.lower - self.by_ab


@dataclass(frozen=True, slots=True)
class Link:
    """A cumulative link.

    Attributes
    ----------
    name : str
    cdf, quantile : callables      F and its inverse.
    slopes : callable              (a, b, shift) -> Slopes at a - shift and b - shift; a may be +inf, b -inf, and a > b.
    variance : float               Variance of the latent residual.
    """

    name: str
    cdf: Callable[[Floats], Floats]
    quantile: Callable[[Floats], Floats]
    slopes: Callable[[Floats, Floats, Floats | float], Slopes]
    variance: float


def _logit(a: Floats, b: Floats, shift: Floats | float = 0.0) -> Slopes:
    """F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)): no difference of near equals is ever taken, and a - b knows no shift."""
    with np.errstate(over="ignore", divide="ignore"):
        gap = np.where(np.isinf(a) | np.isinf(b), np.inf, np.where(np.isinf(a), 0.0, a) - np.where(np.isinf(b), 0.0, b))
        hazard = 1.0 / np.expm1(gap)  # exp(b - a) / (1 - exp(b - a))
        narrow = np.log(-np.expm1(-gap))
    # Beyond 300 the probability is nil to every digit; the bound keeps the product below finite.
    odds_a = np.exp(np.minimum(shift - a, 300.0))
    odds_b = np.exp(np.minimum(b - shift, 300.0))
    whole_a, whole_b = 1.0 + odds_a, 1.0 + odds_b
    above, below = odds_a / whole_a, odds_b / whole_b  # 1 - F(a), F(b)
    return Slopes(
        narrow - np.log(whole_a * whole_b),
        above + hazard,
        -(below + hazard),
        -above / whole_a,
        -below / whole_b,
        hazard * (1.0 + hazard),
    )


def _from_density(
    log_p: Floats, a: Floats, b: Floats, log_f: Callable[[Floats], Floats], ratio: Callable[[Floats], Floats]
) -> Slopes:
    """Take derivatives from the log density and f'/f; an infinite cut-point contributes nothing."""
    finite_a, finite_b = np.isfinite(a), np.isfinite(b)
    a0, b0 = np.where(finite_a, a, 0.0), np.where(finite_b, b, 0.0)
    up = np.where(finite_a, np.exp(log_f(a0) - log_p), 0.0)
    down = np.where(finite_b, np.exp(log_f(b0) - log_p), 0.0)
    both = up * down
    return Slopes(log_p, up, -down, up * (ratio(a0) - up) + both, -down * (ratio(b0) + down) + both, both)


def _probit(a: Floats, b: Floats, shift: Floats | float = 0.0) -> Slopes:
    """Work in the tail that keeps digits: F(a) - F(b) = F(-b) - F(-a)."""
    a, b = a - shift, b - shift
    with np.errstate(invalid="ignore"):
        flip = np.where(np.isinf(a), b > 0, np.where(np.isinf(b), a > 0, a + b > 0))
    high, low = np.where(flip, -b, a), np.where(flip, -a, b)
    log_high, log_low = special.log_ndtr(high), special.log_ndtr(low)
    log_p = log_high + _log1mexp(log_high - log_low)
    return _from_density(log_p, a, b, stats.norm.logpdf, np.negative)


def _cloglog(a: Floats, b: Floats, shift: Floats | float = 0.0) -> Slopes:
    """F(x) = 1 - exp(-exp(x)), so F(a) - F(b) = exp(-exp(b)) (1 - exp(exp(b) - exp(a)))."""
    a, b = a - shift, b - shift
    with np.errstate(over="ignore"):
        rise_a, rise_b = np.exp(a), np.exp(b)
        log_p = -rise_b + _log1mexp(rise_a - rise_b)
    return _from_density(
        log_p, a, b, lambda x: x - np.exp(np.minimum(x, 700.0)), lambda x: 1.0 - np.exp(np.minimum(x, 700.0))
    )


def _log1mexp(x: Floats) -> Floats:
    """Return log(1 - exp(-x)) for x >= 0 (Maechler 2012)."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(x < np.log(2.0), np.log(-np.expm1(-x)), np.log1p(-np.exp(-x)))


LINKS = {
    "logit": Link("logit", special.expit, special.logit, _logit, float(np.pi**2 / 3)),
    "probit": Link("probit", special.ndtr, special.ndtri, _probit, 1.0),
    "cloglog": Link(
        "cloglog",
        lambda x: -np.expm1(-np.exp(np.minimum(x, 700.0))),
        lambda p: np.log(-np.log1p(-p)),
        _cloglog,
        float(np.pi**2 / 6),
    ),
}


def link_named(name: str) -> Link:
    """Return the link of that name; DesignError lists the known ones.

    >>> slopes = link_named("logit").slopes(np.array([1.0]), np.array([-np.inf]), 0.0)
    >>> bool(np.isclose(np.exp(slopes.log_p), 1 / (1 + np.exp(-1))).item())
    True
    """
    from fieldwork.errors import DesignError, listed, nearest  # noqa: PLC0415 - a refusal only

    if name not in LINKS:
        near = nearest(name, LINKS)
        raise DesignError(
            f"there is no link '{name}'",
            where="statistics.cumulative_links",
            expected=listed(LINKS),
            got=repr(name),
            hint=f"did you mean {near}?" if near else "choose one of these",
        )
    return LINKS[name]
