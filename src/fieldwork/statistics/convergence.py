"""Do roles draw together over waves? Trend of the spread, catching up of laggards, and stability of the order.

Own code, because no library corrects either measure for sampling noise in the means. Uncorrected, both mislead: with no
change at all and 20 respondents a role, the regression of change on the starting level has slope -.27 (Galton's fallacy),
and a spread that is partly noise falls when a later wave has more respondents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from fieldwork.errors import DesignError
from fieldwork.statistics.agreement import kendall_w
from fieldwork.statistics.multiplicity import confidence_p
from fieldwork.statistics.spread import spread

__all__ = [
    "BetaConvergence",
    "RankStability",
    "SigmaConvergence",
    "beta_convergence",
    "corrected_beta",
    "rank_stability",
    "sigma_convergence",
]

Floats = npt.NDArray[np.float64]


def _waves_by_roles(means: npt.ArrayLike, where: str, *, waves: int) -> Floats:
    theta = np.atleast_2d(np.asarray(means, dtype=np.float64))
    if theta.ndim != 2 or theta.shape[0] < waves or theta.shape[1] < 2 or not np.isfinite(theta).all():
        raise DesignError(
            "convergence needs the same roles in every wave",
            where=where,
            expected=f"means of at least {waves} waves by at least 2 roles, none missing",
            got=f"shape {theta.shape}, {int(np.sum(~np.isfinite(theta)))} missing",
            hint="leave out roles that a wave did not ask, or ask of fewer waves",
        )
    return theta


def _joint(theta: Floats, covariance: npt.ArrayLike | None, errors: Floats | None, where: str) -> Floats | None:
    """Return the sampling covariance (T, R, T, R) of all means, from what was given; None where nothing was."""
    waves, roles = theta.shape
    if errors is not None and errors.shape[1:] != theta.shape:
        raise DesignError(
            "errors are not those of the means",
            where=where,
            expected=f"(B, {waves}, {roles})",
            got=str(errors.shape),
            hint="give one layer of replicate errors per wave and role",
        )
    if covariance is None:
        if errors is None:
            return None
        flat = errors.reshape(len(errors), -1)
        return np.asarray((flat.T @ flat / len(flat)).reshape(waves, roles, waves, roles), dtype=np.float64)
    V = np.asarray(covariance, dtype=np.float64)
    if V.shape == (waves, roles, roles):
        joint = np.zeros((waves, roles, waves, roles))
        for t in range(waves):
            joint[t, :, t, :] = V[t]
        return joint
    if V.shape == (waves, roles, waves, roles):
        return V
    raise DesignError(
        "the covariance is not that of the means",
        where=where,
        expected=f"({waves}, {roles}, {roles}) for separate samples, ({waves}, {roles}, {waves}, {roles}) for a panel",
        got=str(V.shape),
        hint="the order is wave, role, wave, role",
    )


def _centring(roles: int) -> Floats:
    return np.eye(roles) - 1.0 / roles


def _open_quantiles(draws: Floats, level: float) -> tuple[float, float]:
    """Percentile interval in which a draw without a value counts as beyond both ends."""
    tail = (1.0 - level) / 2.0
    missing = np.isnan(draws)
    low = np.quantile(np.where(missing, -np.inf, draws), tail, method="inverted_cdf")
    high = np.quantile(np.where(missing, np.inf, draws), 1.0 - tail, method="inverted_cdf")
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class SigmaConvergence:
    """Trend of the spread of roles over T waves; below zero they draw together.

    Attributes
    ----------
    sd_raw, sd_corrected, reliability : (T,)    Per wave as `spread.spread` has them; equal spreads and reliability 1 where no
                                                covariance was given.
    change : float              log(spread of the last wave / spread of the first); -inf or inf where one of them is nil.
    change_error : float        Its standard error from sampling; nan without covariance or where a spread is nil.
    change_low, change_high : float    Its interval.
    slope : float               Least-squares slope of log spread on the waves' time, per unit of time; nan with two waves.
    slope_error : float         Its standard error from sampling; without covariance from the scatter about the line.
    slope_low, slope_high : float      Its interval.
    scatter_error : float       Standard error of the slope from the scatter of waves about the line, T - 2 degrees of freedom.
    draws : (B,)                Confidence draws of the slope (two waves: of the change); empty without `errors`.
    """

    sd_raw: Floats
    sd_corrected: Floats
    reliability: Floats
    change: float
    change_error: float
    change_low: float
    change_high: float
    slope: float
    slope_error: float
    slope_low: float
    slope_high: float
    scatter_error: float
    draws: Floats


def sigma_convergence(
    means: npt.ArrayLike,
    times: npt.ArrayLike | None = None,
    *,
    covariance: npt.ArrayLike | None = None,
    errors: Floats | None = None,
    level: float = 0.95,
) -> SigmaConvergence:
    """Change and slope over waves of the log spread of role means, each spread corrected for its noise.

    s_t^2 = Var_r(theta_tr) - tr(C V_tt) / (R - 1). Slope = sum_t c_t log s_t, c_t the least-squares weights of the times.
    Sampling: Cov(s_t^2, s_u^2) = [4 theta_t' C V_tu C theta_u - 2 tr(C V_tu C V_ut)] / (R - 1)^2 (estimated without bias),
    carried to the log by the delta method; so a panel, whose waves share respondents, has the smaller error. With `errors`
    the interval is by percentiles of the draws of `spread.spread`, replicate by replicate, which hold near a spread of nil;
    a draw of nil in the last wave is a slope of -inf, in the first +inf, in both it counts beyond both ends.

    Prefer `errors`: without them there is no interval where a spread comes out as nil, and the others of the delta method cover
    .96 to .97 (docs/validity_statistics.md), those by draws .94 to .96.

    Two waves give a change and no slope: with two points every line fits. The slope describes these waves; that a trend goes
    on is a claim about waves not seen, for which `scatter_error` is the measure.

    Parameters
    ----------
    means : (T, R) scale points, the same roles in every wave. times : (T,) e.g. quarters; default 0, 1, ...
    covariance : (T, R, R) for separate samples or (T, R, T, R) for panels, points squared; default from `errors`, else none.
    errors : (B, T, R) replicate errors of the means, small-sample factors applied.

    Raises DesignError. References: Barro and Sala-i-Martin (1992), J. Polit. Econ. 100, 223-251; measures.md 2.3.

    >>> fit = sigma_convergence([[4.5, 3.0, 2.0], [4.6, 3.6, 3.0]])
    >>> fit.sd_raw.round(4).tolist(), round(fit.change, 4)
    ([1.2583, 0.8083], -0.4426)
    """
    where = "statistics.convergence.sigma_convergence"
    theta = _waves_by_roles(means, where, waves=2)
    waves, roles = theta.shape
    at = np.arange(waves, dtype=np.float64) if times is None else np.asarray(times, dtype=np.float64)
    if at.shape != (waves,) or not (np.diff(at) > 0).all():
        raise DesignError(
            "the times of the waves are not in order",
            where=where,
            expected=f"{waves} ascending numbers",
            got=str(np.round(at, 6).tolist()),
            hint="give times and means in the order of the waves",
        )
    joint = _joint(theta, covariance, errors, where)
    V = np.zeros((waves, roles, waves, roles)) if joint is None else joint
    none = np.zeros((1, roles))
    parts = [spread(theta[t], none if errors is None else errors[:, t], covariance=V[t, :, t, :]) for t in range(waves)]
    sd = np.array([part.sd_corrected for part in parts])
    moments = _covariance_of_log(theta, V, sd)
    known = joint is not None and bool((sd > 0).all())
    centred = at - at.mean()
    line, ends = centred / (centred**2).sum(), np.zeros(waves)
    ends[0], ends[-1] = -1.0, 1.0
    draws = np.empty((waves, 0)) if errors is None else _log(np.array([part.sd_draws for part in parts]))
    z = float(stats.norm.ppf(0.5 + level / 2.0))

    def judged(contrast: Floats) -> tuple[float, float, float, float, Floats]:
        estimate = float(_contrast(contrast, _log(sd)[:, None])[0])
        error = float(np.sqrt(max(float(contrast @ moments @ contrast), 0.0))) if known else float("nan")
        own = _contrast(contrast, draws)
        low, high = _open_quantiles(own, level) if len(own) else (estimate - z * error, estimate + z * error)
        return estimate, error, low, high, own

    change, change_error, change_low, change_high, change_draws = judged(ends)
    if waves == 2:
        nan = float("nan")
        slope, slope_error, slope_low, slope_high, scatter, slope_draws = nan, nan, nan, nan, nan, change_draws
    else:
        slope, slope_error, slope_low, slope_high, slope_draws = judged(line)
        residual = _log(sd) - _log(sd).mean() - slope * centred if (sd > 0).all() else np.full(waves, np.nan)
        scatter = float(np.sqrt((residual**2).sum() / (waves - 2) / (centred**2).sum()))
        if joint is None:
            half = float(stats.t.ppf(0.5 + level / 2.0, waves - 2)) * scatter
            slope_error, slope_low, slope_high = scatter, slope - half, slope + half
    return SigmaConvergence(
        sd_raw=np.array([part.sd_raw for part in parts]),
        sd_corrected=sd,
        reliability=np.array([part.reliability for part in parts]),
        change=change,
        change_error=change_error,
        change_low=change_low,
        change_high=change_high,
        slope=slope,
        slope_error=slope_error,
        slope_low=slope_low,
        slope_high=slope_high,
        scatter_error=scatter,
        draws=slope_draws,
    )


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values), dtype=np.float64)


def _contrast(weights: Floats, logs: Floats) -> Floats:
    """Sum weights times logs (T, B) where the weight is not nil; -inf less -inf is nan."""
    used = weights != 0
    with np.errstate(invalid="ignore"):
        return np.asarray((weights[used, None] * logs[used]).sum(axis=0), dtype=np.float64)


def _covariance_of_log(theta: Floats, V: Floats, sd: Floats) -> Floats:
    """Return the sampling covariance (T, T) of the log spreads by the delta method; nan where a spread is nil."""
    waves, roles = theta.shape
    C = _centring(roles)
    moments = np.empty((waves, waves))
    for t in range(waves):
        for u in range(waves):
            CVC = C @ V[t, :, u, :] @ C
            linear = 4.0 * theta[t] @ CVC @ theta[u]
            square = 2.0 * float((CVC * CVC).sum())
            moments[t, u] = (max(linear - square, square) if t == u else linear - square) / (roles - 1) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(moments / (4.0 * np.outer(sd**2, sd**2)), dtype=np.float64)


def corrected_beta(slope: float, reliability: float) -> float:
    """Slope of change on the true starting level, from the slope on the observed one: (1 + b) / lambda - 1.

    For waves whose sampling errors are independent. `reliability` is ICC(2) of the starting means, above 0 to 1.

    >>> round(corrected_beta(-0.3578947, 52 / 57), 4)          # measures.md 2.3
    -0.2962
    """
    if not 0 < reliability <= 1:
        raise DesignError(
            "the starting means carry no signal to correct with",
            where="statistics.convergence.corrected_beta",
            expected="a reliability above 0 and at most 1",
            got=f"{reliability:g}",
            hint="report convergence as not assessable: the roles cannot be told apart in the first wave",
        )
    return (1.0 + slope) / reliability - 1.0


@dataclass(frozen=True, slots=True)
class BetaConvergence:
    """Do roles that started low catch up? Below zero they do; -1 is catching up wholly.

    Attributes
    ----------
    slope_raw : float           b of change on the observed starting level: biased towards catching up.
    beta : float                Corrected for noise; nan where the starting spread is nil.
    reliability : float         lambda, ICC(2) of the starting means, 0..1.
    conf_low, conf_high : float Interval of beta from the draws; infinite where the starting spread may be nil.
    p_value : float             One-sided, of "no convergence" (beta >= 0).
    draws : (B,)                Confidence draws of beta, nan where the starting spread may be nil. Empty without `errors`,
                                and interval and p-value are then nan.
    """

    slope_raw: float
    beta: float
    reliability: float
    conf_low: float
    conf_high: float
    p_value: float
    draws: Floats


def beta_convergence(
    means: npt.ArrayLike,
    *,
    covariance: npt.ArrayLike | None = None,
    errors: Floats | None = None,
    level: float = 0.95,
) -> BetaConvergence:
    """Regress the change of role means between two waves on where they started, corrected for noise.

    beta = [Cov_r(theta_1, theta_2) - tr(C V_12) / (R - 1)] / [Var_r(theta_1) - tr(C V_11) / (R - 1)] - 1. With separate samples
    V_12 = 0 and this is (1 + b) / lambda - 1, lambda = ICC(2) of the first wave.

    Draws invert the observed moments as `spread.spread` does. With u_t the observed patterns (centred, unit length), e_t the
    noise of a replicate and |tau_t| the lengths that solve |tau_t|^2 + 2 |tau_t| u_t'e_t + |e_t|^2 = |theta_t|^2, a draw of
    1 + beta is (theta_1'theta_2 - |tau_1| u_1'e_2 - |tau_2| u_2'e_1 - e_1'e_2) / |tau_1|^2. In simulation (5 and 10 roles,
    10 to 80 respondents each, panel or not) 95% intervals cover .95 to .99, and convergence is declared at 5% in .02 to .05
    of studies without any: the draws err on the safe side.

    Parameters
    ----------
    means : (2, R) first and second wave, or (T, R) of which the first and the last are taken.
    covariance, errors : as in `sigma_convergence`. Without both, beta is the raw slope.

    Raises DesignError. References: Friedman (1992), J. Econ. Lit. 30, 2129-2132; Quah (1993), Scand. J. Econ. 95, 427-443;
    Fuller (1987), Measurement Error Models, section 1.2.

    >>> fit = beta_convergence([[4.5, 3.0, 2.0], [4.6, 3.6, 3.0]], covariance=[np.eye(3) * 5 / 36, np.eye(3) * 5 / 36])
    >>> round(fit.slope_raw, 4), round(fit.beta, 4), round(fit.reliability, 4)
    (-0.3579, -0.2962, 0.9123)
    """
    where = "statistics.convergence.beta_convergence"
    theta = _waves_by_roles(means, where, waves=2)
    joint = _joint(theta, covariance, errors, where)
    waves, roles = theta.shape
    V = np.zeros((waves, roles, waves, roles)) if joint is None else joint
    ends = [0, waves - 1]
    C = _centring(roles)
    x, y = theta[ends] @ C
    if not x @ x > 1e-12 * (1.0 + float((theta[0] ** 2).sum())):
        raise DesignError(
            "the roles do not differ in the first wave",
            where=where,
            expected="at least two different starting means",
            got=f"all {theta[0, 0]:g}",
            hint="there is nothing to converge from: report the spread of the second wave",
        )
    noise = np.trace(C @ V[0, :, 0, :]), np.trace(C @ V[0, :, waves - 1, :])
    signal = float(x @ x - noise[0])
    beta = float(x @ y - noise[1]) / signal - 1.0 if signal > 0 else float("nan")
    slope_raw = float(x @ y / (x @ x)) - 1.0
    reliability = max(signal, 0.0) / float(x @ x)
    if errors is None:
        nan = float("nan")
        return BetaConvergence(slope_raw, beta, reliability, nan, nan, nan, np.empty(0))
    e1, e2 = (errors[:, t] @ C for t in ends)
    length_1, unit_1 = _length(x, e1)
    length_2, unit_2 = _length(y, e2)
    cross = float(x @ y) - length_1 * (e2 @ unit_1) - length_2 * (e1 @ unit_2) - np.einsum("br,br->b", e1, e2)
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = np.where(length_1 > 0, cross / length_1**2 - 1.0, np.nan)
    low, high = _open_quantiles(draws, level)
    return BetaConvergence(slope_raw, beta, reliability, low, high, confidence_p(draws, 0.0, direction="below"), draws)


def _length(observed: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Solve |tau|^2 + 2 |tau| u'e + |e|^2 = |observed|^2 for |tau| >= 0, 0 where noise alone reaches it; and return u."""
    total = float(observed @ observed)
    if total <= 0:
        return np.zeros(len(errors)), np.zeros_like(observed)
    unit = observed / np.sqrt(total)
    a = errors @ unit
    inside = a**2 + total - np.einsum("br,br->b", errors, errors)
    return np.where(inside >= 0, np.maximum(np.sqrt(np.maximum(inside, 0.0)) - a, 0.0), 0.0), unit


@dataclass(frozen=True, slots=True)
class RankStability:
    """How far the order of roles stays the same over waves.

    Attributes
    ----------
    w : float                Kendall's W of the waves' rankings, corrected for ties; 0 none, 1 the same order throughout.
    mean_spearman : float    Mean rank correlation of pairs of waves, -1/(T - 1)..1.
    friedman, p_value : float    T (R - 1) W and its chi-squared p-value, of "no order in common". Poor with few roles.
    w_expected : float       Median W if the true means never moved and only sampling noise stirred the order; nan without
                             `errors`.
    p_stable : float         Share of such draws with W at or below the observed one: small speaks for real reordering.
    """

    w: float
    mean_spearman: float
    friedman: float
    p_value: float
    w_expected: float
    p_stable: float


def rank_stability(means: npt.ArrayLike, *, errors: Floats | None = None) -> RankStability:
    """Kendall's W of the role order over waves, beside the W that noise alone leaves of an order that never changed.

    A low W may be mere noise: ten roles over a point and a half, 20 respondents each, reorder every wave. With replicate
    `errors` the observed W is set against W of m + e_b, m the mean over waves, shrunken by its own noise.

    Parameters
    ----------
    means : (T, R) scale points, T at least 2. errors : (B, T, R) replicate errors.

    Raises DesignError. Reference: Kendall and Gibbons (1990), Rank Correlation Methods, chapter 6.

    >>> round(rank_stability([[4, 3, 2, 1], [4, 2, 3, 1], [3, 4, 2, 1]]).w, 4)
    0.7778
    """
    where = "statistics.convergence.rank_stability"
    theta = _waves_by_roles(means, where, waves=2)
    _joint(theta, None, errors, where)
    waves, roles = theta.shape
    if (np.ptp(theta, axis=1) == 0).all():
        raise DesignError(
            "the roles are tied in every wave",
            where=where,
            expected="roles that differ in at least one wave",
            got=f"{waves} waves without any difference",
            hint="there is no order to be stable",
        )
    found = kendall_w(theta)
    w = float(found.w_ties)
    friedman = waves * (roles - 1) * w
    expected = stable = float("nan")
    if errors is not None:
        pooled = errors.mean(axis=1)
        kept = spread(theta.mean(axis=0), pooled).shrunken
        draws = kendall_w(kept + errors).w_ties
        expected = float(np.median(draws))
        stable = float((1 + np.count_nonzero(draws <= w + 1e-12)) / (1 + len(draws)))
    return RankStability(
        w, float(found.mean_spearman), friedman, float(stats.chi2.sf(friedman, roles - 1)), expected, stable
    )
