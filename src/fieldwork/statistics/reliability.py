"""Reliability of scales of several items: Cronbach's alpha and McDonald's omega from covariances, layer by layer.

Own code: libraries give one coefficient for one data set without weights; these take a thousand covariance matrices at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fieldwork.errors import DesignError

__all__ = ["cronbach_alpha", "omega_total", "one_factor"]

Floats = npt.NDArray[np.float64]
_ROUNDS = 500
_SETTLED = 1e-9
_STEPS = 30
_RIDGE = 1e-12  # keeps a system solvable whose items share nothing


def cronbach_alpha(covariance: npt.ArrayLike) -> Floats:
    """Return Cronbach's alpha, k / (k - 1) (1 - sum of item variances / variance of the sum).

    A lower bound of the reliability of the unweighted sum when errors are uncorrelated, equal to it when items are equally
    good. Negative where items run against each other, which is a fault of the scale and not of the coefficient.

    Parameters
    ----------
    covariance : (..., k, k) covariances of the items, k at least 2.

    Returns (...,); nan where the sum does not vary. Reference: Cronbach, L. (1951), Psychometrika 16, 297-334.

    >>> round(float(cronbach_alpha([[1.0, 0.5], [0.5, 1.0]])), 4)
    0.6667
    """
    S = _square(covariance, 2, "cronbach_alpha")
    k = S.shape[-1]
    total = S.sum(axis=(-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            total > 0, k / (k - 1.0) * (1.0 - np.trace(S, axis1=-2, axis2=-1) / np.where(total > 0, total, 1)), np.nan
        )


def one_factor(correlation: npt.ArrayLike) -> Floats:
    """Return the loadings of one common factor by unweighted least squares (minres).

    The loadings minimise the squared residual correlations off the diagonal: principal axes, iterated, then Newton's method,
    because the axes alone crawl where loadings are weak. Communalities are kept within 0 and 1.

    Parameters
    ----------
    correlation : (..., k, k), k at least 3: fewer do not determine a factor.

    Returns (..., k), the sign such that the loadings sum to a positive number. Reference: Harman and Jones (1966),
    Psychometrika 31, 351-368.

    >>> loading = np.array([0.8, 0.6, 0.7])
    >>> R = np.outer(loading, loading); np.fill_diagonal(R, 1.0)
    >>> one_factor(R).round(6).tolist()
    [0.8, 0.6, 0.7]
    """
    R = _square(correlation, 3, "one_factor")
    k = R.shape[-1]
    place = np.arange(k)
    reduced = R.reshape(-1, k, k).copy()
    communality = np.abs(reduced - np.eye(k)).max(axis=-1)
    loading = np.zeros(communality.shape)
    moving = np.arange(len(reduced))
    for _ in range(_ROUNDS):
        current = reduced[moving]
        current[:, place, place] = communality[moving]
        values, vectors = np.linalg.eigh(current)
        found = vectors[..., -1] * np.sqrt(np.clip(values[..., -1:], 0.0, None))
        new = np.clip(found**2, 0.0, 1.0)
        loading[moving] = found
        still = np.abs(new - communality[moving]).max(axis=-1) >= _SETTLED
        communality[moving] = new
        moving = moving[still]
        if not len(moving):
            break
    loading = _polished(R.reshape(-1, k, k), np.clip(loading, -1.0, 1.0)).reshape(R.shape[:-1])
    return np.asarray(loading * np.where(loading.sum(axis=-1, keepdims=True) < 0, -1.0, 1.0))


def _polished(R: Floats, loading: Floats) -> Floats:
    """Take Newton's steps on the squared residuals as long as they fall and no loading leaves -1 to 1."""
    k = R.shape[-1]
    off = 1.0 - np.eye(k)

    def residual(at: Floats) -> Floats:
        return np.asarray((R - at[..., :, None] * at[..., None, :]) * off)

    left = residual(loading)
    for _ in range(_STEPS):
        both = loading[..., :, None] * loading[..., None, :]
        around = (loading**2).sum(axis=-1, keepdims=True) - loading**2
        bend = (2.0 * both - R) * off + (around + _RIDGE)[..., None] * np.eye(k)
        slope = -(left @ loading[..., None])
        new = loading - np.linalg.solve(bend, slope)[..., 0]
        then = residual(new)
        better = ((then**2).sum(axis=(-1, -2)) < (left**2).sum(axis=(-1, -2))) & (np.abs(new) <= 1.0).all(axis=-1)
        if not better.any():
            break
        loading = np.where(better[..., None], new, loading)
        left = np.where(better[..., None, None], then, left)
    return loading


def omega_total(covariance: npt.ArrayLike) -> Floats:
    """Return McDonald's omega: (sum of loadings)^2 over itself plus the unique variances, of one common factor.

    Loadings are those of `one_factor` on the correlations, put back in the items' units, so that the sum is that of the
    items as answered. Unlike alpha it lets items be unequally good.

    Parameters
    ----------
    covariance : (..., k, k), k at least 3.

    Returns (...,). Reference: McDonald, R. (1999), Test Theory.

    >>> loading = np.array([0.8, 0.6, 0.7])
    >>> S = np.outer(loading, loading); np.fill_diagonal(S, 1.0)
    >>> round(float(omega_total(S)), 4), round(2.1**2 / (2.1**2 + 3 - 1.49), 4)
    (0.7449, 0.7449)
    """
    S = _square(covariance, 3, "omega_total")
    variance = np.diagonal(S, axis1=-2, axis2=-1)
    sd = np.sqrt(np.where(variance > 0, variance, 1.0))
    loading = one_factor(S / (sd[..., :, None] * sd[..., None, :]))
    common = (loading * sd).sum(axis=-1) ** 2
    unique = (variance * (1.0 - loading**2)).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        omega = np.where(common + unique > 0, common / (common + unique), np.nan)
    return np.asarray(np.where((variance > 0).all(axis=-1), omega, np.nan))


def _square(covariance: npt.ArrayLike, fewest: int, name: str) -> Floats:
    S = np.asarray(covariance, dtype=np.float64)
    if S.ndim < 2 or S.shape[-1] != S.shape[-2] or S.shape[-1] < fewest:
        raise DesignError(
            "too few items for a coefficient of reliability",
            where=f"statistics.reliability.{name}",
            expected=f"covariances (..., k, k) of {fewest} items or more",
            got=f"an array of shape {S.shape}",
            hint="a single item has no internal consistency: ask it twice, or add items",
        )
    return S
