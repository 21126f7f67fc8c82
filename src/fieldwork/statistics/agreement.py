"""Agreement within teams, between raters and over priorities, with the chance level each index has to beat.

Own code, because no maintained Python library has r_wg, a_wg, AD, van der Eijk's A, Leik's D or strategic consensus mapping;
statsmodels' Fleiss kappa takes the same number of raters for every subject only, and Krippendorff's alpha comes as a package
of its own for thirty lines. Analysis of variance is `spread.one_way`, ranks are scipy's.

Indices of one item read counts (..., K): how many respondents of each team (leading axes) gave answer 1, 2, ..., K, the
points of an ordinal scale at unit steps. `answer_counts` makes them from answers. Weighted counts are allowed where a
docstring says so. A team without the answers that an index needs has no value (nan); an index never becomes zero for want of
data. Negative values are kept: they say that a team is more divided than chance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from fieldwork.errors import DesignError, listed
from fieldwork.statistics.exchange import MANY
from fieldwork.statistics.layers import Layers, as_layers, grouped
from fieldwork.statistics.replicates import named_stream
from fieldwork.statistics.spread import OneWay, one_way

__all__ = [
    "AnswerCounts",
    "ChanceCorrected",
    "Concordance",
    "ConsensusTest",
    "NullDistribution",
    "StrategicConsensus",
    "a_wg",
    "answer_counts",
    "average_deviation",
    "consensus_test",
    "critical_values",
    "expected_index",
    "fleiss_kappa",
    "gwet_ac1",
    "intraclass",
    "kendall_w",
    "krippendorff_alpha",
    "leik_d",
    "mean_distances",
    "mean_index_of_strangers",
    "null_distribution",
    "null_shares",
    "pair_agreement",
    "r_wg",
    "r_wg_j",
    "r_wg_star",
    "strategic_consensus",
    "tastle_wierman",
    "van_der_eijk_a",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Null = Literal["uniform", "slight_skew"] | npt.ArrayLike
Index = Callable[[Floats], Floats]

# James, Demaree and Wolf (1984), J. Appl. Psychol. 69, p. 93: slightly skewed answers of five points, variance 1.34.
_SLIGHT_SKEW = (0.05, 0.15, 0.20, 0.35, 0.25)
_EXACT = 50_000
_EXPECTED_EXACT = 30  # respondents of a team
_BLOCK = 4_000_000


# -------------------------------------------------------------------------------------------------------------- counts


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Answers of one item counted by organisation.

    Attributes
    ----------
    organisation : tuple of G names     In sorted order.
    counts : (G, K) float               Sum of weights (respondents where unweighted) per answer 1..K.
    respondents : (G,) int              Respondents with an answer.
    """

    organisation: tuple[str, ...]
    counts: Floats
    respondents: Ints


def answer_counts(
    answers: npt.ArrayLike, organisation: npt.ArrayLike, points: int, *, weight: npt.ArrayLike | None = None
) -> AnswerCounts:
    """Count answers 1..K by organisation, whatever the order of rows.

    Parameters
    ----------
    answers : (n,) whole numbers 1..`points`; nan is missing and not counted. organisation : (n,) names.
    weight : (n,) respondent weights, positive; None for 1.

    An organisation without any answer keeps its row of zeros. Raises DesignError for an answer off the
    scale and for weights that are not positive.

    >>> table = answer_counts([5, 4, 4, float("nan")], ["b", "a", "a", "a"], 5)
    >>> table.organisation, table.counts.tolist(), table.respondents.tolist()
    (('a', 'b'), [[0.0, 0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]], [2, 1])
    """
    y = np.asarray(answers, dtype=np.float64)
    names, team = np.unique(np.asarray(organisation).astype(str), return_inverse=True)
    w = _weights(weight, y.shape, "answer_counts")
    known = ~np.isnan(y)
    off = known & ~np.isin(y, np.arange(1, points + 1))
    if off.any():
        raise DesignError(
            "an answer lies off the scale",
            where="statistics.agreement.answer_counts",
            expected=f"whole numbers 1 to {points}, or nan for missing",
            got=listed(f"{value:g}" for value in np.unique(y[off])),
            hint="recode the answers to 1..K, and missing codes to nan",
        )
    cell = team[known] * points + y[known].astype(np.int64) - 1
    counted = np.bincount(cell, weights=w[known], minlength=len(names) * points).astype(np.float64)
    rows = np.bincount(team[known], minlength=len(names))
    return AnswerCounts(tuple(names.tolist()), counted.reshape(len(names), points), rows.astype(np.int64))


def _weights(weight: npt.ArrayLike | None, shape: tuple[int, ...], where: str) -> Floats:
    w = np.ones(shape) if weight is None else np.asarray(weight, dtype=np.float64)
    if w.shape != shape or not np.isfinite(w).all() or not (w > 0).all():
        raise DesignError(
            "weights must be positive numbers, one per respondent",
            where=f"statistics.agreement.{where}",
            expected=f"shape {shape}, all above 0",
            got=f"shape {w.shape}, {int((~(np.isfinite(w) & (w > 0))).sum())} missing or not positive",
            hint="leave out respondents without a weight",
        )
    return w


def _checked(counts: npt.ArrayLike, where: str, *, whole: bool = False) -> Floats:
    n = np.asarray(counts, dtype=np.float64)
    wrong = n.ndim < 1 or n.shape[-1] < 2 or not np.isfinite(n).all() or bool((n < 0).any())
    if wrong or (whole and bool((n != np.round(n)).any())):
        kind = "respondents" if whole else "respondents, or sums of weights,"
        raise DesignError(
            "agreement is read from counts of answers",
            where=f"statistics.agreement.{where}",
            expected=f"numbers of {kind} at two answers or more along the last axis",
            got=f"shape {n.shape}, values {np.min(n, initial=0.0):g} to {np.max(n, initial=0.0):g}",
            hint="count answers first, with answer_counts",
        )
    return n


def _shares(counts: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(counts / counts.sum(axis=-1, keepdims=True), dtype=np.float64)


def _moments(counts: Floats, respondents: npt.ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    """Return respondents n, mean and variance with n - 1 of the answers; nan where n < 2 leaves no variance."""
    x = np.arange(1, counts.shape[-1] + 1, dtype=np.float64)
    n = counts.sum(axis=-1) if respondents is None else np.asarray(respondents, dtype=np.float64)
    p = _shares(counts)
    mean = p @ x
    with np.errstate(invalid="ignore", divide="ignore"):
        bessel = np.where(n > 1, n / (n - 1.0), np.nan)
    return n, mean, np.einsum("...k,...k->...", p, (x - mean[..., None]) ** 2) * bessel


# ------------------------------------------------------------------------------------------------- agreement in a team


def null_shares(points: int, null: Null = "uniform") -> Floats:
    """Shares (K,) of the answers that a team without any agreement would give.

    `uniform`: 1/K each, variance (K^2 - 1) / 12. `slight_skew`: James, Demaree and Wolf's lenient answers, which they give
    for five points only (variance 1.34). Or K shares of one's own, which are scaled to sum 1.

    >>> null_shares(5, "slight_skew").tolist()
    [0.05, 0.15, 0.2, 0.35, 0.25]
    """
    if isinstance(null, str) and null == "uniform":
        return np.full(points, 1.0 / points)
    if isinstance(null, str) and null == "slight_skew" and points == len(_SLIGHT_SKEW):
        return np.array(_SLIGHT_SKEW)
    shares = np.zeros(0) if isinstance(null, str) else np.asarray(null, dtype=np.float64)
    if shares.shape != (points,) or not (shares >= 0).all() or not 0 < shares.sum() < np.inf:
        raise DesignError(
            "there is no such distribution of answers without agreement",
            where="statistics.agreement.null_shares",
            expected=f"'uniform', 'slight_skew' (five points only), or {points} shares",
            got=repr(null) if isinstance(null, str) else f"shape {shares.shape}",
            hint="give the shares of the answers 1..K as a sequence",
        )
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def _null_variance(points: int, null: Null) -> float:
    p, x = null_shares(points, null), np.arange(1, points + 1)
    return float(p @ (x - p @ x) ** 2)


def r_wg(counts: npt.ArrayLike, *, null: Null = "uniform", respondents: npt.ArrayLike | None = None) -> Floats:
    """r_wg = 1 - s^2 / sigma^2: how far a team's variance lies below that of answers without agreement.

    s^2 has n - 1; sigma^2 is the variance of `null_shares`. At most 1; below 0 where a team is more divided than the null, and
    kept so (R `multilevel::rwg` cuts at 0). Show both nulls: the uniform one flatters where answers lean to one side.

    Parameters
    ----------
    counts : (..., K) respondents per answer, or sums of weights with `respondents`, the number (...,) of people behind them.

    Returns (...,); nan below two respondents. Chance alone gives r_wg of .70 or more to 52% of pairs and 6% of fives: judge
    it by `critical_values`. Reference: James, Demaree and Wolf (1984), J. Appl. Psychol. 69, 85-98.

    >>> float(r_wg([0, 2, 3, 4, 1]).round(4)), float(r_wg([0, 2, 3, 4, 1], null="slight_skew").round(4))
    (0.5333, 0.3035)
    """
    n = _checked(counts, "r_wg")
    return 1.0 - _moments(n, respondents)[2] / _null_variance(n.shape[-1], null)


def r_wg_star(counts: npt.ArrayLike, *, respondents: npt.ArrayLike | None = None) -> Floats:
    """r*_wg = 1 - s^2 / ((K - 1) / 2)^2: the variance against that of a team split between both ends of the scale.

    From -1 / (n - 1) (an even split, s^2 having n - 1) to 1. Arguments and nan as in `r_wg`.
    Reference: Lindell, Brandt and Whitney (1999), Appl. Psychol. Meas. 23, 127-135.

    >>> float(r_wg_star([0, 2, 3, 4, 1]).round(4))
    0.7667
    """
    n = _checked(counts, "r_wg_star")
    return np.asarray(1.0 - _moments(n, respondents)[2] / ((n.shape[-1] - 1) / 2.0) ** 2, dtype=np.float64)


def a_wg(counts: npt.ArrayLike, *, respondents: npt.ArrayLike | None = None) -> Floats:
    """a_wg = 1 - 2 s^2 / ([(H + L) M - M^2 - H L] n / (n - 1)): the variance against the largest at the team's own mean M.

    H = K and L = 1 are the ends of the scale; -1..1. Undefined (nan) where M lies nearer to an end than one respondent's step
    allows, M < (L (n - 1) + H) / n or M > (H (n - 1) + L) / n, the end points among them: there a single dissenter would be
    the largest variance there is. R `multilevel::awg` agrees but for unanimous teams at an end, which it gives 1. Arguments
    as in `r_wg`. Reference: Brown and Hauenstein (2005), Organ. Res. Methods 8, 165-184.

    >>> a_wg([[0, 2, 3, 4, 1], [0, 0, 0, 0, 9]]).round(4).tolist()
    [0.5625, nan]
    """
    answers = _checked(counts, "a_wg")
    n, mean, variance = _moments(answers, respondents)
    low, high = 1.0, float(answers.shape[-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = ((high + low) * mean - mean**2 - high * low) * n / (n - 1.0)
        slack = 1e-9
        inside = (mean >= (low * (n - 1) + high) / n - slack) & (mean <= (high * (n - 1) + low) / n + slack)
        return np.where(inside, 1.0 - 2.0 * variance / largest, np.nan)


def r_wg_j(counts: npt.ArrayLike, *, null: Null = "uniform", respondents: npt.ArrayLike | None = None) -> Floats:
    """r_wg(j) = J r / (J r + 1 - r), r = 1 - mean over the J items of s^2 / sigma^2: agreement on a scale of J items.

    At most 1, negative where r is, and -inf from the formula's pole at r = -1 / (J - 1) downwards (R `multilevel::rwg.j` cuts
    at 0). It grows with J at the same agreement: compare teams on the same items only.

    Parameters
    ----------
    counts : (..., J, K) respondents per item and answer; items may lack answers of some respondents.
    respondents : (..., J) people behind weighted counts.

    Returns (...,). Reference: James, Demaree and Wolf (1984), J. Appl. Psychol. 69, 85-98.

    >>> float(r_wg_j([[0, 2, 3, 4, 1], [0, 2, 3, 4, 1]]).round(4))
    0.6957
    """
    n = _checked(counts, "r_wg_j")
    items = n.shape[-2]
    mean = np.mean(_moments(n, respondents)[2], axis=-1) / _null_variance(n.shape[-1], null)
    below = items * (1.0 - mean) + mean
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(below > 1e-12, items * (1.0 - mean) / below, -np.inf)
    return np.where(np.isnan(mean), np.nan, value)


def average_deviation(counts: npt.ArrayLike, *, centre: Literal["mean", "median"] = "mean") -> Floats:
    """AD: mean absolute deviation of the answers from the team's mean (AD_M) or median (AD_Md), in scale points.

    0 at full agreement, (K - 1) / 2 at an even split. Burke and Dunlap's practical upper limit is K / 6 (.83 of five points),
    but chance alone stays below it in 26% of teams of five: judge it by `critical_values`. Counts (..., K) may be sums of
    weights; one respondent is enough, none gives nan. Reference: Burke and Dunlap (2002), Organ. Res. Methods 5, 159-172.

    >>> float(average_deviation([0, 2, 3, 4, 1]).round(4)), float(average_deviation([0, 2, 3, 4, 1], centre="median").round(4))
    (0.8, 0.8)
    """
    p = _shares(_checked(counts, "average_deviation"))
    x = np.arange(1, p.shape[-1] + 1, dtype=np.float64)
    middle = p @ x if centre == "mean" else 1.0 + np.argmax(np.cumsum(p, axis=-1) >= 0.5 - 1e-12, axis=-1)
    return np.asarray(np.einsum("...k,...k->...", p, np.abs(x - middle[..., None])), dtype=np.float64)


def _pattern_agreement(pattern: npt.NDArray[np.bool_]) -> Floats:
    """Return A of 0/1 patterns (..., K): U (1 - (S - 1) / (K - 1)), by the triples 110, 011 (TU) and 101 (TDU)."""
    points = pattern.shape[-1]
    ones = pattern.astype(np.float64)
    left, right = np.cumsum(ones, axis=-1) - ones, np.cumsum(ones[..., ::-1], axis=-1)[..., ::-1] - ones
    place = np.arange(points)
    unimodal = (ones * (left * (points - 1 - place - right) + (place - left) * right)).sum(axis=-1)
    divided = ((1.0 - ones) * left * right).sum(axis=-1)
    triples = unimodal + divided
    with np.errstate(invalid="ignore", divide="ignore"):
        form = ((points - 2) * unimodal - (points - 1) * divided) / ((points - 2) * triples)
    spread_out = (ones.sum(axis=-1) - 1.0) / (points - 1.0)
    return np.asarray(np.where(triples > 0, form, 1.0) * (1.0 - spread_out), dtype=np.float64)


def van_der_eijk_a(counts: npt.ArrayLike) -> Floats:
    """Van der Eijk's A: 1 for one answer, 0 for evenly spread answers, -1 for an even split between both ends.

    The counts are cut into layers of equal height; A is the mean of the layers' pattern agreement, weighted by the respondents
    in each. Only the order of the answers enters. Counts (..., K) may be sums of weights of any scale; nan without answers.
    Same as R `agrmt::agreement`. Reference: van der Eijk (2001), Quality and Quantity 35, 325-341.

    >>> van_der_eijk_a([[0, 2, 3, 4, 1], [4, 1, 0, 1, 4], [2, 2, 2, 2, 2], [5, 0, 0, 0, 5]]).round(4).tolist()
    [0.5, -0.6556, 0.0, -1.0]
    """
    n = _checked(counts, "van_der_eijk_a")
    levels = np.sort(n, axis=-1)
    total = np.zeros(n.shape[:-1])
    floor = np.zeros(n.shape[:-1])
    for k in range(n.shape[-1]):
        pattern = n > floor[..., None]
        people = (levels[..., k] - floor) * pattern.sum(axis=-1)
        total += np.where(people > 0, people * _pattern_agreement(pattern), 0.0)
        floor = levels[..., k]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / n.sum(axis=-1), dtype=np.float64)


def tastle_wierman(counts: npt.ArrayLike) -> Floats:
    """Tastle and Wierman's consensus 1 + sum p log2(1 - |x - mean| / (K - 1)): 0 (split between both ends) to 1 (one answer).

    Counts (..., K) may be sums of weights; nan without answers. Same as R `agrmt::consensus`.
    Reference: Tastle and Wierman (2007), Int. J. Approx. Reasoning 45, 531-545.

    >>> tastle_wierman([[0, 2, 3, 4, 1], [4, 1, 0, 1, 4]]).round(4).tolist()
    [0.6626, 0.117]
    """
    p = _shares(_checked(counts, "tastle_wierman"))
    x = np.arange(1, p.shape[-1] + 1, dtype=np.float64)
    apart = np.abs(x - (p @ x)[..., None]) / (p.shape[-1] - 1)
    # A mean at one end puts an answer nobody gave at the other: 0 log 0 = 0.
    logs = np.log2(1.0 - apart, where=(p > 0), out=np.zeros_like(p))
    value = 1.0 + np.einsum("...k,...k->...", p, logs)
    return np.asarray(value, dtype=np.float64)


def leik_d(counts: npt.ArrayLike) -> Floats:
    """Leik's ordinal dispersion D = 2 sum d_i / (K - 1), d_i = min(F_i, 1 - F_i): 0 (one answer) to 1 (split between ends).

    F is the cumulative share; only the order of the answers enters. 2 AD_Md / (K - 1) is the same number. Counts (..., K) may
    be sums of weights; nan without answers. Same as R `agrmt::Leik`. Reference: Leik (1966), Pacific Sociol. Rev. 9, 85-90.

    >>> leik_d([[0, 2, 3, 4, 1], [4, 1, 0, 1, 4]]).round(4).tolist()
    [0.4, 0.9]
    """
    p = _shares(_checked(counts, "leik_d"))
    below = np.cumsum(p, axis=-1)[..., :-1]
    return np.asarray(2.0 * np.minimum(below, 1.0 - below).sum(axis=-1) / (p.shape[-1] - 1), dtype=np.float64)


def mean_distances(counts: npt.ArrayLike, codes: npt.ArrayLike) -> Floats:
    """Mean distance |y_i - y_j| of two different members of each team (T,), in scale points; nan below two members.

    >>> mean_distances([[0, 1, 1, 0, 1]], [1, 2, 3, 4, 5]).tolist()     # answers 5, 3, 2
    [2.0]
    """
    n, x = np.asarray(counts, dtype=np.float64), np.asarray(codes, dtype=np.float64)
    apart = np.abs(x[:, None] - x)
    size = n.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 1, np.einsum("...k,kl,...l->...", n, apart, n) / (size * (size - 1.0)), np.nan)


def intraclass(answers: npt.ArrayLike, organisation: npt.ArrayLike) -> OneWay:
    """ICC(1) and ICC(2) of answers (n,) grouped by organisation (n,): `spread.one_way` after leaving out missing answers.

    ICC(1) is the share of variance that lies between organisations, ICC(2) the reliability of their means. Unweighted.
    Organisations with one answer inform the means only. Raises DesignError where nothing can be told apart.

    >>> result = intraclass([5, 4, 5, 4, 3, 3, 4, 2, 2, 1, 2, 3], ["a"] * 4 + ["b"] * 4 + ["c"] * 4)
    >>> round(result.icc1, 4), round(result.icc2, 4)
    (0.7222, 0.9123)
    """
    y = np.asarray(answers, dtype=np.float64)
    known = ~np.isnan(y)
    team = np.unique(np.asarray(organisation).astype(str)[known], return_inverse=True)[1]
    order = np.lexsort((y[known], team))
    return one_way(np.split(y[known][order], np.flatnonzero(np.diff(team[order])) + 1))


# ------------------------------------------------------------------------------------------------- raters and rankings


@dataclass(frozen=True, slots=True)
class Concordance:
    """Kendall's concordance of rankings.

    Attributes
    ----------
    w : (...,) float                Kendall's W as if nobody had tied, 0..1.
    w_ties : (...,) float           W corrected for ties; equals `w` without them, nan where every rater tied everything.
    sum_squares : (...,) float      S, squared deviations of the rank sums from their mean.
    mean_spearman : (...,) float    Mean rank correlation of pairs of raters, -1 / (m - 1)..1; nan with a rater who tied all.
    """

    w: Floats
    w_ties: Floats
    sum_squares: Floats
    mean_spearman: Floats


def kendall_w(ratings: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Concordance:
    """Kendall's W = 12 S / (m^2 (n^3 - n)) of m raters over n items, and W corrected for ties.

    Corrected, the denominator is m^2 (n^3 - n) - m sum_i T_i, T_i the sum of t^3 - t over rater i's tied groups. Ratings are
    ranked within each rater with mean ranks for ties, so scores will do. Weighted, rank sums are of weights with mean 1.
    The test that W = 0 is Friedman's (`scipy.stats.friedmanchisquare`), poor below eight items; `consensus_test` permutes.

    Parameters
    ----------
    ratings : (..., m, n) complete; at least two raters and two items. weight : (..., m) rater weights; None for 1.

    Raises DesignError with missing ratings. Reference: Kendall and Babington Smith (1939), Ann. Math. Statist. 10, 275-287.

    >>> result = kendall_w([[1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 3, 4]])
    >>> float(result.sum_squares), float(result.w.round(4)), float(result.mean_spearman.round(4))
    (35.0, 0.7778, 0.6667)
    """
    x = np.asarray(ratings, dtype=np.float64)
    if x.ndim < 2 or min(x.shape[-2:]) < 2 or np.isnan(x).any():
        raise DesignError(
            "concordance needs complete ratings of two raters and two items or more",
            where="statistics.agreement.kendall_w",
            expected="an array (..., raters, items) without missing values",
            got=f"shape {x.shape}, {int(np.isnan(x).sum())} missing",
            hint="leave out raters with missing ranks, or give the items they left out a tied rank",
        )
    ranks = np.asarray(stats.rankdata(x, axis=-1), dtype=np.float64)
    raters, items = x.shape[-2:]
    w = _weights(weight, x.shape[:-1], "kendall_w")
    share = w / w.sum(axis=-1, keepdims=True)
    centred = ranks - (items + 1) / 2.0
    own = (centred**2).sum(axis=-1)
    common = (np.einsum("...m,...mn->...n", share, centred) ** 2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = centred / np.sqrt(own)[..., None]
        together = (np.einsum("...m,...mn->...n", share, unit) ** 2).sum(axis=-1)
        alone = (share**2).sum(axis=-1)
        return Concordance(
            w=common / ((items**3 - items) / 12.0),
            w_ties=common / (share * own).sum(axis=-1),
            sum_squares=common * raters**2,
            mean_spearman=(together - alone) / (1.0 - alone),
        )


def pair_agreement(counts: npt.ArrayLike) -> Floats:
    """P(two random respondents of a team name the same): sum n_c (n_c - 1) / (n (n - 1)), 0..1.

    Counts (..., K) of respondents by category, unweighted; nan below two respondents. This is the observed agreement of
    Fleiss and Gwet for one subject; what chance gives depends on a null, for which see `fleiss_kappa` and `gwet_ac1`.

    >>> float(pair_agreement([3, 1, 1]))     # owners CTO, CTO, CEO, CTO, CFO
    0.3
    """
    n = _checked(counts, "pair_agreement", whole=True)
    total = n.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 1, (n * (n - 1.0)).sum(axis=-1) / (total * (total - 1.0)), np.nan)


@dataclass(frozen=True, slots=True)
class ChanceCorrected:
    """Agreement corrected for chance.

    Attributes
    ----------
    observed : float       Mean over units of the share of agreeing pairs, 0..1.
    expected : float       The same by chance, under the null of the coefficient, 0..1.
    coefficient : float    (observed - expected) / (1 - expected), at most 1; nan where chance alone agrees always.
    units : int            Units with two answers or more.
    """

    observed: float
    expected: float
    coefficient: float
    units: int


def _chance_corrected(counts: npt.ArrayLike, where: str, chance: Callable[[Floats], float]) -> ChanceCorrected:
    n = _checked(counts, where, whole=True)
    pairs = pair_agreement(n)
    if n.ndim != 2 or np.isnan(pairs).all():
        raise DesignError(
            "no unit was rated twice",
            where=f"statistics.agreement.{where}",
            expected="counts (units, categories) with at least one unit of two answers",
            got=f"shape {n.shape}, at most {np.max(n.sum(axis=-1), initial=0):g} answers a unit",
            hint="report the construct as not assessable",
        )
    observed = float(np.nanmean(pairs))
    expected = chance(_shares(n[n.sum(axis=-1) > 0]).mean(axis=0))
    coefficient = (observed - expected) / (1.0 - expected) if expected < 1.0 else math.nan
    return ChanceCorrected(observed, expected, coefficient, int((~np.isnan(pairs)).sum()))


def fleiss_kappa(counts: npt.ArrayLike) -> ChanceCorrected:
    """Fleiss' kappa; chance: raters draw answers with the shares pi_c seen overall, so expected agreement is sum pi_c^2.

    Parameters
    ----------
    counts : (units, categories) raters who put the unit (an organisation) into each category; raters may differ in number
        (Gwet's generalisation: pi_c is the mean over units of each unit's share). Units with one answer inform pi only.

    With equal numbers of raters the same as `statsmodels.stats.inter_rater.fleiss_kappa`, which takes no other. Raises
    DesignError where no unit has two answers. References: Fleiss (1971), Psychol. Bull. 76, 378-382; Gwet (2014), Handbook
    of Inter-Rater Reliability.

    >>> round(fleiss_kappa([[3, 1, 1], [0, 5, 0], [1, 1, 3]]).coefficient, 4)
    0.2708
    """
    return _chance_corrected(counts, "fleiss_kappa", lambda share: float((share**2).sum()))


def gwet_ac1(counts: npt.ArrayLike) -> ChanceCorrected:
    """Gwet's AC1; chance: only hard units are answered at random, expected agreement sum pi_c (1 - pi_c) / (K - 1).

    Does not collapse where one category prevails, as kappa does. Every category that could have been named is a column, those
    that nobody named too. Arguments as in `fleiss_kappa`.
    Reference: Gwet (2008), Brit. J. Math. Statist. Psychol. 61, 29-48.

    >>> round(gwet_ac1([[3, 1, 1], [0, 5, 0], [1, 1, 3]]).coefficient, 4)
    0.3137
    """
    categories = np.shape(counts)[-1]
    return _chance_corrected(
        counts, "gwet_ac1", lambda share: float((share * (1.0 - share)).sum() / (categories - 1.0))
    )


def krippendorff_alpha(
    counts: npt.ArrayLike,
    metric: Literal["nominal", "ordinal", "interval"] = "ordinal",
    *,
    values: npt.ArrayLike | None = None,
) -> float:
    """Krippendorff's alpha = 1 - D_o / D_e: disagreement within units against that of all answers pooled.

    D_o = sum over pairs of answers of a unit of delta^2, each unit's pairs weighted 1 / (n_u - 1); D_e the same over all pairs
    of pairable answers. delta^2 is 1 (nominal), the squared count of answers between the two, ends by half (ordinal), or the
    squared difference of values (interval). At most 1; 0 at chance; nan where all answers are the same.

    Parameters
    ----------
    counts : (units, categories) respondents; units with one answer are left out. values : (categories,) numbers for
        `interval`; None for 1..K.

    Raises DesignError where no unit has two answers. Reference: Krippendorff (2004), Content Analysis, ch. 11.

    >>> round(krippendorff_alpha([[3, 1, 1], [0, 5, 0], [1, 1, 3]], "nominal"), 4)
    0.3194
    """
    n = _checked(counts, "krippendorff_alpha", whole=True)
    n = n[n.sum(axis=-1) > 1] if n.ndim == 2 else n[:0]
    if len(n) == 0:
        raise DesignError(
            "no unit was rated twice",
            where="statistics.agreement.krippendorff_alpha",
            expected="counts (units, categories) with at least one unit of two answers",
            got=f"shape {np.shape(counts)}",
            hint="report the construct as not assessable",
        )
    per_pair = 1.0 / (n.sum(axis=1) - 1.0)
    coincidence = (n * per_pair[:, None]).T @ n - np.diag(per_pair @ n)
    margin = coincidence.sum(axis=0)
    if metric == "nominal":
        distance = 1.0 - np.eye(len(margin))
    elif metric == "ordinal":
        middle = np.cumsum(margin) - margin / 2.0
        distance = (middle[:, None] - middle[None, :]) ** 2
    else:
        x = np.arange(1.0, len(margin) + 1) if values is None else np.asarray(values, dtype=np.float64)
        distance = (x[:, None] - x[None, :]) ** 2
    expected = margin @ distance @ margin
    return 1.0 - float((margin.sum() - 1.0) * (coincidence * distance).sum() / expected) if expected > 0 else math.nan


# -------------------------------------------------------------------------------------------------- chance by organisation


@dataclass(frozen=True, slots=True)
class NullDistribution:
    """What an index gives for a team of one size that does not agree beyond the null.

    Attributes
    ----------
    value : (V,) float          Values of the index, ascending; nan (index undefined) last.
    probability : (V,) float    Their probabilities; they sum to 1, less 1 / (1 + draws) when drawn.
    exact : bool                All possible counts were gone through; else values were drawn.

    An undefined value counts as being beyond every other, and in drawn distributions the observed team counts as one draw:
    both can only make a verdict harder.
    """

    value: Floats
    probability: Floats
    exact: bool

    def p_value(self, observed: float, *, tail: Literal["upper", "lower"] = "upper") -> float:
        """P(index at or above (upper) or at or below (lower) the observed value) under the null."""
        seen = round(observed, 10)
        beyond = self.value >= seen if tail == "upper" else self.value <= seen
        own = 0.0 if self.exact else 1.0 - float(self.probability.sum())
        return min(float(self.probability[beyond | np.isnan(self.value)].sum()) + own, 1.0)

    def critical(self, level: float = 0.05, *, tail: Literal["upper", "lower"] = "upper") -> float:
        """Return the mildest value of the index with a p-value of at most `level`; nan where the team is too small for one."""
        values = np.unique(self.value[~np.isnan(self.value)])
        for value in values if tail == "upper" else values[::-1]:
            if self.p_value(float(value), tail=tail) <= level * (1.0 + 1e-9):
                return float(value)
        return math.nan


def _compositions(total: int, parts: int) -> Floats:
    """All ways to write `total` as a sum of `parts` whole numbers, (C(total + parts - 1, parts - 1), parts)."""
    bars = np.array(list(itertools.combinations(range(total + parts - 1), parts - 1)), dtype=np.float64)
    edges = np.column_stack([np.full(len(bars), -1.0), bars, np.full(len(bars), total + parts - 1.0)])
    return np.diff(edges, axis=1) - 1.0


def null_distribution(
    index: Index,
    respondents: int,
    points: int,
    *,
    null: Null = "uniform",
    pool: npt.ArrayLike | None = None,
    items: int = 0,
    draws: int = 20_000,
    seed: int = 0,
    name: str = "agreement",
) -> NullDistribution:
    """Distribution of an index over teams of one size whose members answer without regard to one another.

    Each answer is drawn from `null` (see `null_shares`); or, with `pool`, the team is drawn without replacement from everyone's
    answers, which is the distribution of the team's index when answers are permuted over organisations. Gone through exactly
    where there are at most 50,000 possible counts (30 respondents at five points), else drawn by a Philox generator keyed by
    seed, name and size, so that no other team or size moves a value.

    Parameters
    ----------
    index : function of counts (..., K), or (..., J, K) with `items`, to (...,): any of this module, made with
        functools.partial where it takes options.
    respondents : n of the team. points : K. pool : (K,) whole numbers of all respondents' answers.
    items : J independent items for indices of several (always drawn); 0 for one item without an axis of its own.

    Reference: Dunlap, Burke and Smith-Crowe (2003), J. Appl. Psychol. 88, 356-362 (critical values, not rules of thumb).

    >>> round(null_distribution(r_wg, 5, 5).p_value(0.70), 3)      # chance alone, fives
    0.059
    """
    shares = null_shares(points, null)
    everyone = None if pool is None else _checked(pool, "null_distribution", whole=True).astype(np.int64)
    if respondents < 1 or (everyone is not None and (everyone.shape != (points,) or everyone.sum() < respondents)):
        raise DesignError(
            "a team cannot be drawn from these answers",
            where="statistics.agreement.null_distribution",
            expected="at least one respondent, and a pool of all teams' answers along the scale",
            got=f"{respondents} respondents, {points} points, pool {None if everyone is None else everyone.tolist()}",
            hint="count the answers of all organisations into the pool, the team's own among them",
        )
    if items == 0 and math.comb(respondents + points - 1, points - 1) <= _EXACT:
        teams = _compositions(respondents, points)
        if everyone is None:
            logs = special.gammaln(respondents + 1) + (special.xlogy(teams, shares) - special.gammaln(teams + 1)).sum(
                axis=1
            )
        else:
            teams = teams[(teams <= everyone).all(axis=1)]
            logs = _log_choose(everyone, teams).sum(axis=1) - _log_choose(everyone.sum(), np.float64(respondents))
        probability = np.exp(logs)
        return _sorted(index(teams), probability / probability.sum(), exact=True)
    rng = named_stream(seed, f"{name}/{respondents}")
    size = (draws, items) if items else (draws,)
    if everyone is None:
        drawn = rng.multinomial(respondents, shares, size=size)
    else:
        drawn = rng.multivariate_hypergeometric(everyone, respondents, size=size)
    return _sorted(index(drawn.astype(np.float64)), np.full(draws, 1.0 / (draws + 1.0)), exact=False)


def _log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    n, k = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1), dtype=np.float64)


def _sorted(value: npt.ArrayLike, probability: Floats, *, exact: bool) -> NullDistribution:
    # Values that differ in the last bits only are the same value of the index.
    rounded = np.round(np.asarray(value, dtype=np.float64), 10)
    order = np.argsort(rounded, kind="stable")
    distinct, at = np.unique(rounded[order], return_inverse=True, equal_nan=True)
    summed = np.bincount(at.reshape(-1), weights=probability[order])
    return NullDistribution(np.asarray(distinct, np.float64), np.asarray(summed, np.float64), exact)


def critical_values(
    index: Index,
    respondents: npt.ArrayLike,
    points: int,
    *,
    level: float = 0.05,
    tail: Literal["upper", "lower"] = "upper",
    null: Null = "uniform",
    pool: npt.ArrayLike | None = None,
    items: int = 0,
    draws: int = 20_000,
    seed: int = 0,
    name: str = "agreement",
) -> Floats:
    """Critical value of an index for each team: the mildest that chance reaches in at most `level` of teams of its size.

    `upper` for indices that grow with agreement, `lower` for AD and D. nan where no answer of so small a team could be beyond
    chance (pairs on five points: even two equal answers happen in 20%). Arguments as in `null_distribution`.

    Parameters
    ----------
    respondents : (G,) team sizes. Returns (G,).

    >>> critical_values(r_wg, [2, 5, 10], 5).round(3).tolist()
    [nan, 0.85, 0.528]
    """
    sizes, at = np.unique(np.asarray(respondents, dtype=np.int64), return_inverse=True)
    values = [
        null_distribution(
            index, int(n), points, null=null, pool=pool, items=items, draws=draws, seed=seed, name=name
        ).critical(level, tail=tail)
        for n in sizes
    ]
    return np.array(values, dtype=np.float64)[at.reshape(np.shape(respondents))]


def expected_index(index: Index, respondents: int, shares: npt.ArrayLike) -> Floats:
    """Return what an index of one item is on average in teams of one size whose members answer as strangers do.

    The mean over all counts of `respondents` answers, drawn independently with the shares; the same as the mean of
    `null_distribution`, for many shares at once. Gone through exactly up to 30 respondents. Beyond, the distance from the
    index of endless teams falls by the power of n by which it falls from 15 to 30 respondents, between the square root and
    the square: for A of five points that is good to 0.003.

    Parameters
    ----------
    index : function of counts (..., K) to (...,). respondents : n of the team. shares : (..., K), each row adding to 1.

    Returns (...,).

    >>> float(expected_index(van_der_eijk_a, 5, [0.2] * 5).round(4)), float(expected_index(van_der_eijk_a, 2, [1.0, 0, 0]))
    (0.2661, 1.0)
    """
    p = np.asarray(shares, dtype=np.float64)
    if respondents <= _EXPECTED_EXACT:
        return _expected(index, respondents, p)
    endless = index(p)
    half, whole = (_expected(index, n, p) - endless for n in (_EXPECTED_EXACT // 2, _EXPECTED_EXACT))
    with np.errstate(invalid="ignore", divide="ignore"):
        power = np.log2(np.where((half != 0) & (half * whole > 0), half / whole, 2.0))
    return np.asarray(endless + whole * (_EXPECTED_EXACT / respondents) ** np.clip(power, 0.5, 2.0))


def _expected(index: Index, respondents: int, shares: Floats) -> Floats:
    teams = _compositions(respondents, shares.shape[-1])
    logs = special.gammaln(respondents + 1) - special.gammaln(teams + 1).sum(axis=1)
    value = index(teams)
    flat = np.log(np.maximum(shares.reshape(-1, shares.shape[-1]), 1e-300))
    expected = np.empty(len(flat))
    step = max(1, _BLOCK // len(teams))
    for low in range(0, len(flat), step):
        expected[low : low + step] = value @ np.exp(logs[:, None] + teams @ flat[low : low + step].T)
    return expected.reshape(shares.shape[:-1])


def mean_index_of_strangers(index: Index, counts: npt.ArrayLike, weight: npt.ArrayLike | Layers) -> Floats:
    """Return the mean index of teams of the same sizes whose members answer as the members of all teams do: `expected_index`.

    Parameters
    ----------
    counts : (T, K) whole numbers of respondents by answer, at least one each. weight : (L, T) weights of the teams, by layer.

    Returns (L,). What colleagues agree beyond it is more than strangers would.

    >>> mean_index_of_strangers(van_der_eijk_a, [[2, 0, 0], [0, 0, 2]], [[1.0, 1.0]]).round(4).tolist()
    [0.0]
    """
    n, w = _checked(counts, "mean_index_of_strangers", whole=True), as_layers(weight)
    shares = _shares(w @ n)
    size = n.sum(axis=1)
    total = np.zeros(len(w))
    sizes, of = np.unique(size, return_inverse=True)
    held = grouped(w, of.reshape(-1), len(sizes))
    for k, people in enumerate(sizes):
        total += held[:, k] * expected_index(index, int(people), shares)
    return np.asarray(total / w.sum(axis=1))


# ------------------------------------------------------------------------------------------ strategic consensus mapping


@dataclass(frozen=True, slots=True)
class StrategicConsensus:
    """Shared priorities within and between groups (roles), and their map.

    Attributes
    ----------
    groups : tuple of G names          In sorted order.
    respondents : (G,) int             Respondents of each group.
    prototypes : (G, n) float          Mean standardised answer vector of each group over the n items.
    alpha : (G,) float                 Consensus within: length of the prototype, 0..1; about 1 / sqrt(respondents) by chance.
    between : (G, G) float             Consensus between: correlation of prototypes, -1..1; nan for a prototype of length 0.
    variance_kept : (2,) float         Share of the respondents' variance that each of the map's two axes keeps.
    items_map : (n, 2) float           Items: directions of the axes in item space; items that lie together go together.
    respondents_map : (N, 2) float     Respondents in the order given; length at most 1, 1 where the map loses nothing.
    prototypes_map : (G, 2) float      Prototypes; length at most alpha.
    """

    groups: tuple[str, ...]
    respondents: Ints
    prototypes: Floats
    alpha: Floats
    between: Floats
    variance_kept: Floats
    items_map: Floats
    respondents_map: Floats
    prototypes_map: Floats


def _standardised(answers: npt.ArrayLike, group: npt.ArrayLike, where: str) -> tuple[Floats, tuple[str, ...], Ints]:
    x = np.asarray(answers, dtype=np.float64)
    names, member = np.unique(np.asarray(group).astype(str), return_inverse=True)
    centred = x - x.mean(axis=-1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=-1))
    told_apart = length > 1e-12 * np.maximum(np.abs(x).max(axis=-1, initial=0.0), 1e-300)
    if x.ndim != 2 or x.shape[1] < 3 or len(x) != len(member) or not told_apart.all():
        raise DesignError(
            "priorities need complete answers that tell the items apart",
            where=f"statistics.agreement.{where}",
            expected="an array (respondents, items) of three items or more, no row missing or all alike",
            got=f"shape {x.shape}, {int((~told_apart).sum())} rows missing or all alike",
            hint="leave out respondents who ranked nothing; give the items they left out a tied rank",
        )
    return centred / length[:, None], tuple(names.tolist()), member.astype(np.int64)


def _membership(member: Ints, groups: int, weight: Floats) -> Floats:
    """(G, N) weights that average the members of each group."""
    table = np.zeros((groups, len(member)))
    table[member, np.arange(len(member))] = weight
    return np.asarray(table / table.sum(axis=1, keepdims=True), dtype=np.float64)


def strategic_consensus(
    answers: npt.ArrayLike, group: npt.ArrayLike, *, weight: npt.ArrayLike | None = None
) -> StrategicConsensus:
    """Strategic consensus mapping: answers over the same items as vectors, groups as their mean vectors.

    Each respondent's answers are centred and scaled to length 1; a group's prototype is the (weighted) mean of its members'
    vectors, alpha its length, r between two groups the correlation of their prototypes. For untied rankings alpha^2 is
    Kendall's W. The map is the vector model of unfolding: the two leading axes of the singular value decomposition of all
    vectors (weighted), signed so that the item farthest along an axis is positive; alpha and r are of the full space.

    Parameters
    ----------
    answers : (N, n) complete ranks or scores, larger = more important (turn ranks round where 1 is best).
    group : (N,) names. weight : (N,) respondent weights, positive; None for 1.

    Raises DesignError for missing answers and for respondents who tell no items apart. Reference: Tarakci, Ates, Porck, van
    Knippenberg, Groenen and de Haas (2014), Strategic Management J. 35, 1053-1069.

    >>> ranks = [[1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 3, 4]]
    >>> float((strategic_consensus(ranks, ["TMT"] * 3).alpha[0] ** 2).round(4))     # Kendall's W
    0.7778
    """
    z, names, member = _standardised(answers, group, "strategic_consensus")
    w = _weights(weight, (len(z),), "strategic_consensus")
    prototypes = _membership(member, len(names), w) @ z
    alpha = np.sqrt((prototypes**2).sum(axis=1))
    root = np.sqrt(w / w.sum())[:, None]
    values, axes = np.linalg.eigh((root * z).T @ (root * z))
    plane = axes[:, ::-1][:, :2]
    far = np.argmax(np.round(np.abs(plane), 9), axis=0)
    plane = plane * np.sign(plane[far, [0, 1]])
    kept = np.clip(values[::-1][:2], 0.0, None)
    return StrategicConsensus(
        groups=names,
        respondents=np.bincount(member, minlength=len(names)),
        prototypes=prototypes,
        alpha=alpha,
        between=_between(prototypes),
        variance_kept=kept / values.sum(),
        items_map=plane,
        respondents_map=z @ plane,
        prototypes_map=prototypes @ plane,
    )


def _between(prototypes: Floats) -> Floats:
    length = np.sqrt((prototypes**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(length > 1e-12, 1.0 / length, np.nan)[..., None] * prototypes
    return np.asarray(np.clip(unit @ np.swapaxes(unit, -1, -2), -1.0, 1.0), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class ConsensusTest:
    """Permutation tests of strategic consensus; p-values are (1 + draws as extreme) / (1 + draws), unadjusted.

    Attributes
    ----------
    groups : tuple of G names
    alpha_p : (G,) float           H0: members order the items at random, each for themselves.
    alpha_critical : (G,) float    Least alpha that is beyond chance at `level`.
    alpha_differ_p : (G, G) float  H0: two groups have the same vectors; statistic |alpha_g - alpha_h|; 1 on the diagonal.
    between_p : (G, G) float       The same H0; statistic the distance between the two prototypes.
    """

    groups: tuple[str, ...]
    alpha_p: Floats
    alpha_critical: Floats
    alpha_differ_p: Floats
    between_p: Floats


def consensus_test(
    answers: npt.ArrayLike,
    group: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.05,
    draws: int = 2_000,
    seed: int = 0,
    name: str = "strategic consensus",
) -> ConsensusTest:
    """Test consensus within groups and between them by permutation.

    Within: every member's answers are shuffled over the items. Between: members of two groups (with their weights) are dealt
    out anew to groups of the same sizes; the distance of prototypes is compared and not their correlation, because however
    two opposed camps are dealt out, their prototypes correlate -1 or 1.

    With `cluster` what organisations share is held fixed. Within: the members of an organisation have their answers shuffled
    alike, so that the hypothesis is of organisations that order the items at random. Between: colleagues are dealt out within
    their organisation; where every organisation lies in one of the two groups, organisations are dealt out whole. Without it
    respondents count as independent: colleagues who order the items alike make alpha_p too small (it rejects .13 to .20 at
    5% where a fifth of the variance is their organisation's, docs/validity_statistics.md), so give the organisations where
    they hold several of a group.

    Parameters
    ----------
    answers, group, weight : as in `strategic_consensus`. cluster : (N,) organisations; None where each holds one respondent.

    Philox generators are keyed by seed, name and group(s), and rows are put in an order of their own first: neither row order
    nor other groups move a value.

    Reference: Pesarin and Salmaso (2010), Permutation Tests for Complex Data, Wiley, chapters 1 and 4.

    >>> found = consensus_test([[1, 2, 3, 4]] * 5 + [[4, 3, 2, 1]] * 5, ["CFO"] * 5 + ["CTO"] * 5, draws=999)
    >>> found.alpha_p.tolist(), bool(found.between_p[0, 1] < 0.05)
    ([0.001, 0.001], True)
    """
    z, names, member = _standardised(answers, group, "consensus_test")
    w = _weights(weight, (len(z),), "consensus_test")
    home = None if cluster is None else _homes(cluster, len(z))
    order = np.lexsort((*np.round(z.T, 12), w, *(() if home is None else (home,)), member))
    z, w, member, home = z[order], w[order], member[order], None if home is None else home[order]
    count = len(names)
    alpha = np.sqrt(((_membership(member, count, w) @ z) ** 2).sum(axis=1))
    alpha_p, alpha_critical = np.empty(count), np.empty(count)
    for g in range(count):
        mine = member == g
        rows, share = z[mine], w[mine] / w[mine].sum()
        if home is not None:
            rows, share = _by_home(rows, share, home[mine])
        lengths = _shuffled_lengths(rows, share, draws, named_stream(seed, f"{name}/{names[g]}"))
        alpha_p[g] = (1.0 + np.count_nonzero(lengths >= alpha[g] - 1e-12)) / (1.0 + draws)
        rank = math.ceil((1.0 - level) * (draws + 1) - 1e-9)
        alpha_critical[g] = np.sort(lengths)[rank - 1] if rank <= draws else np.nan
    differ_p, between_p = np.ones((count, count)), np.ones((count, count))
    for g, h in itertools.combinations(range(count), 2):
        mine = (member == g) | (member == h)
        stream = named_stream(seed, f"{name}/{names[g]}/{names[h]}")
        second = member[mine] == h
        if home is None:
            pair = _apart(z[mine], w[mine], _dealt_out(second, draws, stream))
        else:
            pair = _apart(*_dealt_out_at_home(z[mine], w[mine], second, home[mine], draws, stream))
        differ_p[g, h] = differ_p[h, g] = pair[0]
        between_p[g, h] = between_p[h, g] = pair[1]
    return ConsensusTest(names, alpha_p, alpha_critical, differ_p, between_p)


def _homes(cluster: npt.ArrayLike, respondents: int) -> Ints:
    codes = np.unique(np.asarray(cluster).astype(str), return_inverse=True)[1].reshape(-1)
    if len(codes) != respondents:
        raise DesignError(
            "consensus by organisation needs an organisation for every respondent",
            where="statistics.agreement.consensus_test",
            expected=f"{respondents} names",
            got=str(len(codes)),
            hint="pass one name per row of the answers",
        )
    return codes.astype(np.int64)


def _by_home(rows: Floats, weight: Floats, home: Ints) -> tuple[Floats, Floats]:
    """Weighted mean row of each organisation, and its weight."""
    place = np.unique(home, return_inverse=True)[1].reshape(-1)
    total = np.asarray(np.bincount(place, weights=weight), dtype=np.float64)
    return np.stack([np.bincount(place, weights=weight * column) for column in rows.T], axis=1) / total[:, None], total


def _shuffled_lengths(z: Floats, share: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Lengths (draws,) of the weighted mean of rows whose entries are shuffled, row by row.

    The sum of more than 5,000 shuffled rows is taken as normal: each has mean nil (rows are centred) and covariance s^2
    (I - J / p) p / (p - 1), s^2 the mean square of its entries, so the squared length is the sum of share^2 s^2 p / (p - 1)
    times chi-squared of p - 1.
    """
    if len(z) > MANY:
        p = z.shape[1]
        centred = z - z.mean(axis=1, keepdims=True)
        variance = float(share**2 @ (centred**2).mean(axis=1)) * p / (p - 1)
        level = float(share @ z.mean(axis=1)) ** 2 * p
        return np.asarray(np.sqrt(level + variance * rng.chisquare(p - 1, draws)))
    lengths = np.empty(draws)
    block = max(_BLOCK // z.size, 1)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        shuffled = rng.permuted(np.broadcast_to(z, (size, *z.shape)), axis=-1)
        lengths[start : start + size] = np.sqrt((np.einsum("m,bmn->bn", share, shuffled) ** 2).sum(axis=1))
    return lengths


def _dealt_out(second: npt.NDArray[np.bool_], draws: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Membership of the second group (1 + draws, U) when units are dealt out anew; row 0 is the observed one, sorted."""
    deal = np.vstack([np.arange(len(second)), rng.permuted(np.tile(np.arange(len(second)), (draws, 1)), axis=1)])
    return _given_out(second, deal)


def _given_out(label: npt.NDArray[np.bool_], deal: Ints) -> npt.NDArray[np.bool_]:
    dealt = np.empty(deal.shape, dtype=np.bool_)
    dealt[np.arange(len(deal))[:, None], deal] = label
    return dealt


def _dealt_out_at_home(
    z: Floats, w: Floats, second: npt.NDArray[np.bool_], home: Ints, draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Units, their weights and their membership in each draw: colleagues within organisations, or organisations whole."""
    trait = np.zeros(int(home.max()) + 1, dtype=np.bool_)
    trait[home] = second
    if (trait[home] == second).all():
        units, weight = _by_home(z, w, home)
        order = np.argsort(trait[np.unique(home)], kind="stable")
        return units[order], weight[order], _dealt_out(trait[np.unique(home)][order], draws, rng)
    order = np.argsort(home, kind="stable")
    z, w, second, home = z[order], w[order], second[order], home[order]
    deal = np.argsort(home + rng.random((draws, len(home))), axis=1)
    return z, w, _given_out(second, np.vstack([np.arange(len(home)), deal]))


def _apart(z: Floats, w: Floats, dealt: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the p-values of |alpha_1 - alpha_2| and of |prototype_1 - prototype_2|; row 0 of `dealt` is the observed one."""
    table = np.stack([~dealt, dealt], axis=1) * w
    prototypes = (table / table.sum(axis=2, keepdims=True)) @ z
    alpha = np.sqrt((prototypes**2).sum(axis=2))
    apart = np.abs(alpha[:, 0] - alpha[:, 1])
    distance = np.sqrt(((prototypes[:, 0] - prototypes[:, 1]) ** 2).sum(axis=1))
    beyond = [np.count_nonzero(statistic >= statistic[0] - 1e-12) for statistic in (apart, distance)]
    return beyond[0] / len(dealt), beyond[1] / len(dealt)
