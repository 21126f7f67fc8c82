"""Multi-select answers by group: shares, ratios, citation profiles, and tests that know one person gives several answers.

Own code, because no Python library tests a multi-select item under a survey design, permutes whole answer sets within
organisations, or corrects a divergence for what chance alone puts between groups. A chi-square of stacked citations treats
the answers of one person as answers of several; nothing here does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse, stats

from fieldwork.errors import DesignError, listed
from fieldwork.statistics.exchange import MANY, distinct_columns, exchanged_sums, movable
from fieldwork.statistics.proportion import korn_graubard
from fieldwork.statistics.replicates import distinct_rows

__all__ = [
    "CapUse",
    "Contrast",
    "ItemsTest",
    "PermutationTest",
    "Prevalence",
    "RaoScott",
    "ShareContrast",
    "Tally",
    "cap_use",
    "concentration",
    "contrast_shares",
    "dissimilarity",
    "each_against_others",
    "exact_upper_bound",
    "item_statistics",
    "items_test",
    "jensen_shannon",
    "location_quotient",
    "permutation_test",
    "prevalence",
    "rao_scott",
    "tally",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_HERE = "statistics.multiresponse"


# -- what came in ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ticks:
    """Checked answers: `cited` (n, J) is 1 for a tick and 0 else, `asked` (n, J) says who is in the base."""

    cited: Floats
    asked: Bools
    items: tuple[str, ...]


def _ticks(answers: pd.DataFrame | npt.ArrayLike, asked: npt.ArrayLike | None) -> _Ticks:
    if isinstance(answers, pd.DataFrame):
        values = answers.to_numpy(dtype=np.float64, na_value=np.nan)
        items = tuple(str(name) for name in answers.columns)
    else:
        values = np.asarray(answers, dtype=np.float64)
        items = tuple(str(j) for j in range(values.shape[1] if values.ndim == 2 else 0))
    if values.ndim != 2 or 0 in values.shape:
        raise DesignError(
            "multi-select answers need respondents and items",
            where=_HERE,
            expected="an array or frame (respondents, items)",
            got=f"shape {values.shape}",
            hint="pass one 0/1 column per option; missing where it was not put",
        )
    known = ~np.isnan(values)
    odd = known & (values != 0.0) & (values != 1.0)
    if odd.any():
        strange = sorted({float(v) for v in np.unique(values[odd])})
        raise DesignError(
            "a multi-select answer is neither ticked nor unticked",
            where=_HERE,
            expected="0, 1 or missing",
            got=listed(f"{v:g}" for v in strange),
            hint="code ticks as 1, options put and left as 0, options not put as missing",
        )
    if asked is not None:
        known &= np.asarray(asked, dtype=np.bool_)[:, None]
    return _Ticks(np.where(known, np.nan_to_num(values), 0.0), known, items)


def _labels(values: npt.ArrayLike, n: int, what: str) -> tuple[tuple[str, ...], Ints]:
    """Return the sorted labels and each row's index among them."""
    array = np.asarray(values)
    if array.dtype.kind in "iuU" and array.shape == (n,):  # nothing can be missing: sorted as numbers, then as text
        numbers, place = (
            _numbered(array.astype(np.int64)) if array.dtype.kind == "i" else np.unique(array, return_inverse=True)
        )
        text = numbers.astype(str)
        order = np.argsort(text, kind="stable")
        code = np.empty(len(order), dtype=np.int64)
        code[order] = np.arange(len(order))
        return tuple(text[order].tolist()), code[place.reshape(-1)]
    column = pd.Series(np.asarray(values, dtype=object))
    missing = int(column.isna().sum())
    if len(column) != n or missing:
        raise DesignError(
            f"{what} is not known for every respondent",
            where=_HERE,
            expected=f"{n} labels",
            got=f"{len(column) - missing}",
            hint="leave out respondents without it before the call, so that the base is the one you print",
        )
    codes, names = pd.factorize(column.astype(str), sort=True)
    return tuple(str(name) for name in names), np.asarray(codes, dtype=np.int64)


def _numbered(values: Ints) -> tuple[Ints, Ints]:
    distinct, place = distinct_rows(values[:, None])
    return distinct[:, 0], place


@dataclass(frozen=True, slots=True)
class _Design:
    """Weights (n,), cluster index (n,), the stratum of each cluster (C,), and the number of strata."""

    weight: Floats
    cluster: Ints
    stratum: Ints
    strata: int

    @property
    def clusters(self) -> int:
        return len(self.stratum)

    def totals(self, scores: Floats, group: Ints | None = None, groups: int = 1, *, rows: Ints | None = None) -> Floats:
        """Sum scores (n, k) by cluster: (C, k), of some rows where they are named; by cluster and group (n,): (C, G, k)."""
        n = len(self.cluster)
        if rows is not None:
            member = sparse.csr_array((np.ones(len(rows)), (self.cluster[rows], rows)), shape=(self.clusters, n))
            return np.asarray(member @ scores, dtype=np.float64)
        seat = self.cluster if group is None else self.cluster * groups + group
        member = sparse.csr_array((np.ones(n), (seat, np.arange(n))), shape=(self.clusters * groups, n))
        found = np.asarray(member @ scores, dtype=np.float64)
        return found if group is None else found.reshape(self.clusters, groups, -1)

    def deviations(self, totals: Floats) -> Floats:
        """Cluster totals less their stratum's mean, times sqrt(n_h / (n_h - 1)): their cross-product is the covariance."""
        size = np.bincount(self.stratum, minlength=self.strata).astype(np.float64)
        centre = np.zeros((self.strata, totals.shape[1]))
        np.add.at(centre, self.stratum, totals)
        centre /= size[:, None]
        factor = np.sqrt(size / (size - 1.0))
        return np.asarray((totals - centre[self.stratum]) * factor[self.stratum][:, None], dtype=np.float64)

    def carrying(self, rows: Bools) -> tuple[int, int]:
        """Clusters with a row in the domain, and degrees of freedom: those clusters less their strata."""
        inside = np.flatnonzero(np.bincount(self.cluster[rows]))
        return len(inside), len(inside) - len(np.unique(self.stratum[inside]))


def _design(
    n: int, weight: npt.ArrayLike | None, cluster: npt.ArrayLike | None, strata: npt.ArrayLike | None
) -> _Design:
    w = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
        raise DesignError(
            "weights do not fit the respondents",
            where=_HERE,
            expected=f"{n} finite weights, none negative, not all nil",
            got=f"shape {w.shape}",
            hint="weights come from fieldwork.weight, one per respondent in the same order",
        )
    codes = np.arange(n) if cluster is None else _labels(cluster, n, "the organisation")[1]
    layer = np.zeros(n, dtype=np.int64) if strata is None else _labels(strata, n, "the stratum")[1]
    clusters = int(codes.max()) + 1
    stratum = np.zeros(clusters, dtype=np.int64)
    stratum[codes] = layer
    if (stratum[codes] != layer).any():
        raise DesignError(
            "an organisation lies in two strata",
            where=_HERE,
            expected="every respondent of an organisation in one stratum",
            got=f"{len(np.unique(codes[stratum[codes] != layer]))} organisations in several",
            hint="stratify by a trait of the organisation",
        )
    number = int(layer.max()) + 1
    if (np.bincount(stratum, minlength=number) < 2).any():
        raise DesignError(
            "a variance between organisations needs two organisations",
            where=_HERE,
            expected="two or more in every stratum",
            got="one",
            hint="merge the stratum with its neighbour",
        )
    return _Design(w, codes, stratum, number)


def _grouped(
    answers: pd.DataFrame | npt.ArrayLike,
    group: npt.ArrayLike,
    weight: npt.ArrayLike | None,
    cluster: npt.ArrayLike | None,
    strata: npt.ArrayLike | None,
    asked: npt.ArrayLike | None,
) -> tuple[_Ticks, tuple[str, ...], Ints, _Design]:
    """Return the answers, the sorted labels of the groups, each row's place among them, and the design."""
    ticks = _ticks(answers, asked)
    labels, code = _labels(group, len(ticks.cited), "the group")
    return ticks, labels, code, _design(len(code), weight, cluster, strata)


# -- shares ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prevalence:
    """Share of a group's respondents who cite an item.

    Attributes
    ----------
    groups, items : tuple of str          R groups, J items.
    share, std_error : (R, J) float       Weighted share of those asked, 0..1, and its linearised standard error.
    conf_low, conf_high : (R, J) float    Korn and Graubard's interval.
    n, cited, clusters : (R, J) int       Respondents asked, respondents who cite, organisations of those asked.
    """

    groups: tuple[str, ...]
    items: tuple[str, ...]
    share: Floats
    std_error: Floats
    conf_low: Floats
    conf_high: Floats
    n: Ints
    cited: Ints
    clusters: Ints


def prevalence(
    answers: pd.DataFrame | npt.ArrayLike,
    group: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    asked: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Prevalence:
    """Share citing each item in each group, with organisations as clusters.

    p_rj = sum w y / sum w over members of r who were asked j. Standard error by linearisation over organisation totals of
    w (y - p_rj) / W_rj, with n / (n - 1) over all organisations of the sample, as R `survey::svyby(svymean)`. Who was not
    asked (a missing answer, or `asked` false) is out of the base; who was asked and ticked nothing is in it.

    Parameters
    ----------
    answers : (n, J) of 0, 1 or missing. group, cluster, strata : (n,) labels. weight : (n,). asked : (n,) routing.

    >>> answers = pd.DataFrame({"roi": [1, 0, 1, 1], "talent": [0, 0, None, 1]})
    >>> shares = prevalence(answers, ["CFO", "CFO", "CTO", "CTO"])
    >>> shares.share.tolist(), shares.n.tolist()
    ([[0.5, 0.0], [1.0, 1.0]], [[2, 2], [2, 1]])
    """
    ticks, groups, code, design = _grouped(answers, group, weight, cluster, strata, asked)
    shape = (len(groups), len(ticks.items))
    share, std_error, low, high = (np.full(shape, np.nan) for _ in range(4))
    count, cited, clusters = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    for r in range(shape[0]):
        inside = ticks.asked & (code == r)[:, None]
        share[r], influence = _share(ticks, inside, design)
        std_error[r] = np.sqrt((design.deviations(design.totals(influence)) ** 2).sum(axis=0))
        count[r] = inside.sum(axis=0)
        cited[r] = (inside & (ticks.cited > 0)).sum(axis=0)
        for j in range(shape[1]):
            clusters[r, j], df = design.carrying(inside[:, j])
            interval = korn_graubard(float(share[r, j]), float(std_error[r, j]), int(count[r, j]), df + 1, level=level)
            low[r, j], high[r, j] = interval.conf_low, interval.conf_high
    return Prevalence(groups, ticks.items, share, std_error, low, high, count, cited, clusters)


def _share(ticks: _Ticks, inside: Bools, design: _Design) -> tuple[Floats, Floats]:
    """Shares (J,) of a domain (n, J) and the respondents' influences on them (n, J)."""
    w = design.weight[:, None] * inside
    total = w.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (w * ticks.cited).sum(axis=0) / total
        influence = np.where(inside, w * (ticks.cited - share) / total, 0.0)
    return share, influence


@dataclass(frozen=True, slots=True)
class Contrast:
    """A contrast of two shares for each item.

    Attributes
    ----------
    estimate, conf_low, conf_high : (J,)    In the contrast's own unit.
    std_error : (J,)                        Of the difference; of the logarithm for a ratio.
    """

    estimate: Floats
    std_error: Floats
    conf_low: Floats
    conf_high: Floats


@dataclass(frozen=True, slots=True)
class ShareContrast:
    """Two groups' shares set against each other, item by item.

    Attributes
    ----------
    items : tuple of str                       J items.
    first, second : (J,) float                 Shares.
    risk_difference : Contrast                 first - second, -1..1.
    prevalence_ratio, odds_ratio : Contrast    first / second, 0..inf; ratio of odds, 0..inf.
    df : (J,) int                              Organisations behind the two less their strata.
    """

    items: tuple[str, ...]
    first: Floats
    second: Floats
    risk_difference: Contrast
    prevalence_ratio: Contrast
    odds_ratio: Contrast
    df: Ints


def contrast_shares(
    answers: pd.DataFrame | npt.ArrayLike,
    group: npt.ArrayLike,
    first: str,
    second: str | None = None,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    asked: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> ShareContrast:
    """Risk difference, prevalence ratio and odds ratio of one group against another, or against everybody (None).

    Test a family of contrasts by the logarithm of the odds ratio, not by the risk difference: Holm reads p-values near .0003,
    and where a small group happens to cite a rare item hardly ever, its standard error vanishes with its share. Ten roles by
    fifteen items that do not differ are called in half of studies and more by t of the risk difference, in 5% by t of the log
    odds ratio (docs/validity_statistics.md). As intervals both reach .93 to .97.

    Linearised, so that members of one organisation in both groups, and the group's own part of everybody, are accounted
    for; t intervals, ratios on the log scale. A ratio with an empty count has its value (0 or inf) and no interval. Where
    nobody's answer departs from its group (shares of 0 and 1 only) the sample shows no variance: the interval is missing,
    not of width nil.

    >>> cto, cmo = [[1, 0]] * 7 + [[0, 0]] * 3, [[1, 0]] * 2 + [[0, 0]] * 8
    >>> contrast = contrast_shares(cto + cmo, ["CTO"] * 10 + ["CMO"] * 10, "CTO")
    >>> round(float(contrast.prevalence_ratio.estimate[0]), 4)
    1.5556
    """
    ticks, groups, code, design = _grouped(answers, group, weight, cluster, strata, asked)
    n = len(code)
    domains = []
    for name in (first, second):
        if name is not None and str(name) not in groups:
            raise DesignError(
                "a group to be compared has no respondents",
                where=f"{_HERE}.contrast_shares",
                expected=listed(groups),
                got=repr(name),
                hint="compare groups that answered, or print that the group cannot be assessed",
            )
        member = np.ones(n, dtype=np.bool_) if name is None else code == groups.index(str(name))
        domains.append(ticks.asked & member[:, None])
    (p, z_p), (q, z_q) = (_share(ticks, domain, design) for domain in domains)
    df = np.array([design.carrying(domains[0][:, j] | domains[1][:, j])[1] for j in range(len(p))], dtype=np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return ShareContrast(
            ticks.items,
            p,
            q,
            _contrast(p - q, z_p - z_q, design, df, level, log=False),
            _contrast(p / q, z_p / p - z_q / q, design, df, level, log=True),
            _contrast(
                p / (1 - p) / (q / (1 - q)), z_p / (p * (1 - p)) - z_q / (q * (1 - q)), design, df, level, log=True
            ),
            df,
        )


def _contrast(estimate: Floats, influence: Floats, design: _Design, df: Ints, level: float, *, log: bool) -> Contrast:
    error = np.sqrt((design.deviations(design.totals(influence)) ** 2).sum(axis=0))
    error = np.where((error > 0) & np.isfinite(error) & (df > 0), error, np.nan)
    half = stats.t.ppf(0.5 + level / 2.0, np.maximum(df, 1)) * error
    if log:
        return Contrast(estimate, error, estimate * np.exp(-half), estimate * np.exp(half))
    return Contrast(estimate, error, estimate - half, estimate + half)


# -- citation profiles -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """Weighted counts by group and item; a leading axis of replicates is allowed.

    Attributes
    ----------
    citations : (..., R, J) float    Weight of those who cite.
    base : (..., R, J) float         Weight of those asked.
    n : (J,) int                     Respondents asked, unweighted, all groups together.
    """

    citations: Floats
    base: Floats
    n: Ints


def tally(
    answers: pd.DataFrame | npt.ArrayLike,
    group: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    asked: npt.ArrayLike | None = None,
) -> Tally:
    """Count citations and bases by group (sorted labels) and item.

    >>> tally([[1, 0], [1, 1], [0, 1]], ["b", "a", "a"]).citations.tolist()
    [[1.0, 2.0], [1.0, 0.0]]
    """
    ticks = _ticks(answers, asked)
    groups, code = _labels(group, len(ticks.cited), "the group")
    w = np.ones(len(code)) if weight is None else np.asarray(weight, dtype=np.float64)
    one_hot = (np.arange(len(groups))[:, None] == code) * w
    return Tally(
        one_hot @ ticks.cited, one_hot @ ticks.asked.astype(np.float64), ticks.asked.sum(axis=0).astype(np.int64)
    )


def _profile(citations: npt.ArrayLike) -> Floats:
    """Citations as shares of their total along the last axis; missing where nothing is cited."""
    values = np.asarray(citations, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(values / values.sum(axis=-1, keepdims=True), dtype=np.float64)


def location_quotient(citations: npt.ArrayLike) -> Floats:
    """Share of an item in a group's citations over its share in all citations: (..., R, J), parity 1.

    Citations, not respondents, are its base: a group that ticks more of everything has the same quotients. Read it beside
    the prevalence ratio, whose base are respondents.

    >>> location_quotient([[7, 3, 6], [2, 8, 3]])[0].round(4).tolist()
    [1.4097, 0.4943, 1.2083]
    """
    values = np.asarray(citations, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_profile(values) / _profile(values.sum(axis=-2, keepdims=True)), dtype=np.float64)


def dissimilarity(first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
    """Half the sum of absolute differences of two citation profiles (..., J): 0 same, 1 nothing in common.

    The share of one group's citations that would have to move for the profiles to agree (Duncan and Duncan 1955, American
    Sociological Review 20, 210-217). Biased upward in samples: print it less its permutation mean (`permutation_test`).

    >>> round(float(dissimilarity([7, 3, 6], [2, 8, 3])), 4)
    0.4279
    """
    return np.asarray(0.5 * np.abs(_profile(first) - _profile(second)).sum(axis=-1), dtype=np.float64)


def jensen_shannon(citations: npt.ArrayLike) -> Floats:
    """Jensen-Shannon divergence of R citation profiles (..., R, J), groups weighing alike, in bits: 0..log2 R.

    Entropy of the mean profile less the mean entropy (Lin 1991, IEEE Trans. Inf. Theory 37, 145-151). Biased upward in
    samples: print it less its permutation mean.

    >>> round(float(jensen_shannon([[7, 3, 6], [2, 8, 3]])), 4)
    0.1503
    """
    profile = _profile(citations)
    spread = _entropy(profile.mean(axis=-2)) - _entropy(profile).mean(axis=-1)
    return np.asarray(np.maximum(spread, 0.0), dtype=np.float64)


def _entropy(profile: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(profile == 0.0, 0.0, -profile * np.log2(profile))
    return np.asarray(terms.sum(axis=-1), dtype=np.float64)


def concentration(amounts: npt.ArrayLike) -> Floats:
    """Normalised Herfindahl index (sum q^2 - 1/J) / (1 - 1/J) along the last axis (..., J): 0 even, 1 all in one place.

    Of a group's citations over items, or of an item's prevalences over groups. Biased upward in samples: print it less its
    permutation mean. From replicate layers take the t interval (`replicates.infer`, .95 to .96); percentile and basic ones
    cover .91 to .93 at 90 organisations, because each replicate adds the bias again (docs/validity_statistics.md).

    >>> concentration([[1, 1, 1, 1], [0, 5, 0, 0]]).tolist()
    [0.0, 1.0]
    """
    profile = _profile(amounts)
    even = 1.0 / profile.shape[-1]
    return np.asarray(((profile**2).sum(axis=-1) - even) / (1.0 - even), dtype=np.float64)


# -- tests -------------------------------------------------------------------------------------------------------------


def item_statistics(counts: Tally) -> Floats:
    """Pearson X2 of each item's groups x (cited, not cited) table, scaled to the respondents asked: (..., J).

    X2_j = n_j sum_r P_rj (p_rj - p_j)^2 / (p_j (1 - p_j)), P_rj the group's weighted share of those asked. An item that
    all or nobody cite says nothing about groups and counts 0.

    >>> base = np.full((2, 3), 10.0)
    >>> item_statistics(Tally(np.array([[7.0, 3, 6], [2, 8, 3]]), base, np.array([20, 20, 20]))).round(4).tolist()
    [5.0505, 5.0505, 1.8182]
    """
    total = counts.base.sum(axis=-2)
    pooled = counts.citations.sum(axis=-2) / np.where(total > 0, total, 1.0)
    excess = counts.citations - counts.base * pooled[..., None, :]
    squares = np.where(counts.base > 0, excess**2 / np.where(counts.base > 0, counts.base, 1.0), 0.0).sum(axis=-2)
    scale = total * pooled * (1.0 - pooled)
    informative = scale > 1e-12 * np.where(total > 0, total, 1.0)
    return np.asarray(
        np.where(informative, counts.n * squares / np.where(informative, scale, 1.0), 0.0), dtype=np.float64
    )


@dataclass(frozen=True, slots=True)
class ItemsTest:
    """Whether groups cite the items of a multi-select question alike.

    Attributes
    ----------
    groups, items : tuple of str          R groups, J items tested.
    left_out : tuple of str               Items that all or nobody of those asked cite, or that one group alone was asked.
    item_statistic, item_p : (J,) float   Pearson X2 of each item; its own p-value (as `adjusted_p`), no family.
    item_f : (J,) float                   X2 of each item over its degrees of freedom and mean design effect: an F.
    statistic : float                     Sum of the X2.
    df : int                              Sum of (groups asked - 1) over items.
    naive_p : float                       chi-square(df) tail of the plain sum: for comparison only.
    mean_effect : float                   Mean generalised design effect (trace / df).
    first_order_p : float                 Tail of statistic / mean_effect on df.
    second_order_statistic, second_order_df, second_order_p : float    Satterthwaite's.
    f_statistic, f_df1, f_df2, f_p : float    statistic / trace as F on second_order_df and that times the design's df.
    adjusted_df, adjusted_p : float       The F form with the unbiased second moment: the one to print.
    n, clusters : int                     Respondents asked anything; their organisations.
    """

    groups: tuple[str, ...]
    items: tuple[str, ...]
    left_out: tuple[str, ...]
    item_statistic: Floats
    item_p: Floats
    item_f: Floats
    statistic: float
    df: int
    naive_p: float
    mean_effect: float
    first_order_p: float
    second_order_statistic: float
    second_order_df: float
    second_order_p: float
    f_statistic: float
    f_df1: float
    f_df2: float
    f_p: float
    adjusted_df: float
    adjusted_p: float
    n: int
    clusters: int


def items_test(
    answers: pd.DataFrame | npt.ArrayLike,
    group: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    asked: npt.ArrayLike | None = None,
) -> ItemsTest:
    """Test multiple marginal independence: the sum of per-item X2, corrected by the design covariance of its parts.

    Under independence the sum is distributed as sum lambda_i chi-square(1), lambda the eigenvalues of
    W^1/2 V W^1/2, V the design covariance of the departures d_rj = sum w 1(r) y / W - P_r p_j over organisation totals, W
    = n_j / (P_r p_j (1 - p_j)). First order divides by their mean; second order matches two moments: X2 tr / tr2 on
    tr^2 / tr2, tr = sum lambda, tr2 = sum lambda^2. The F form refers X2 / tr to F(d, d nu), nu = organisations - strata.
    `naive_p` rejects .10 to .47 at 5% (docs/validity_statistics.md) and is for comparison only.
    The covariance is taken at the observed departures, as Bilder and Loughin do; equal weights and no clusters give theirs
    times n / (n - 1).

    With few organisations for the number of departures, tr2 of an estimated covariance is too large and the second order
    too reluctant (0.5% at a nominal 5% with ten roles, fifteen items and 90 organisations); `adjusted_p` takes
    C / (C - 1) sum over a != b of (z_a . z_b)^2 over the C organisations' deviations z instead, which is unbiased whatever
    their distribution, and stays between 4% and 7.5% from 20 to 300 organisations, items alike or not.

    Items may have bases of their own (routing); weights may be on any scale. With fewer than 20
    organisations, or items that a handful cite, read `permutation_test` beside it.

    References
    ----------
    Agresti and Liu (1999), Biometrics 55, 936-943. Bilder, Loughin and Nettleton (2000), Commun. Stat. Simul. Comput. 29,
    1285-1315. Thomas and Decady (2004), Int. J. Testing 4, 43-59. Rao and Scott (1981), JASA 76, 221-230; (1984), Annals
    of Statistics 12, 46-60.

    >>> cto = [[1, 0], [1, 0], [1, 1]]; cmo = [[0, 1], [0, 1], [1, 1]]
    >>> result = items_test(cto + cmo, ["CTO"] * 3 + ["CMO"] * 3)
    >>> round(result.statistic, 4), result.df, round(result.naive_p, 4)
    (6.0, 2, 0.0498)
    """
    ticks, groups, code, design = _grouped(answers, group, weight, cluster, strata, asked)
    w = design.weight[:, None] * ticks.asked
    total = w.sum(axis=0)
    one_hot = np.arange(len(groups))[:, None] == code
    base = one_hot @ w
    pooled = (w * ticks.cited).sum(axis=0) / np.where(total > 0, total, 1.0)
    groups_asked = (base > 0).sum(axis=0)
    informative = (total > 0) & (pooled > 1e-12) & (pooled < 1.0 - 1e-12) & (groups_asked > 1)
    if not informative.any():
        raise DesignError(
            "no item tells the groups apart",
            where=f"{_HERE}.items_test",
            expected="an item that some and not all cite, put to two groups",
            got=f"{len(groups)} groups, {len(ticks.items)} items without variation",
            hint="print the shares; there is nothing to test",
        )
    counts = Tally(one_hot @ (w * ticks.cited), base, ticks.asked.sum(axis=0).astype(np.int64))
    statistic = item_statistics(counts)[informative]
    blocks = np.stack([*_departures(ticks, design, informative, code, base, total, pooled, counts.n)])
    df = (groups_asked - 1)[informative]
    respondents = np.asarray(ticks.asked.any(axis=1), dtype=np.bool_)
    clusters, nu = design.carrying(respondents)
    each = [_second_order(x, blocks[:, :, j].T, int(df[j]), nu) for j, x in enumerate(statistic)]
    x2, df_sum = float(statistic.sum()), int(df.sum())
    whole = _second_order(x2, np.moveaxis(blocks, 0, 1).reshape(design.clusters, -1), df_sum, nu)
    return ItemsTest(
        groups=groups,
        items=tuple(np.array(ticks.items, dtype=object)[informative]),
        left_out=tuple(np.array(ticks.items, dtype=object)[~informative]),
        item_statistic=statistic,
        item_p=np.array([item.adjusted_p for item in each]),
        item_f=statistic / np.array([item.trace for item in each]),
        statistic=x2,
        df=df_sum,
        naive_p=float(stats.chi2.sf(x2, df_sum)),
        mean_effect=whole.trace / df_sum,
        first_order_p=float(stats.chi2.sf(x2 * df_sum / whole.trace, df_sum)),
        second_order_statistic=whole.statistic,
        second_order_df=whole.df,
        second_order_p=float(stats.chi2.sf(whole.statistic, whole.df)),
        f_statistic=x2 / whole.trace,
        f_df1=whole.df,
        f_df2=whole.df * nu,
        f_p=whole.f_p,
        adjusted_df=whole.adjusted_df,
        adjusted_p=whole.adjusted_p,
        n=int(respondents.sum()),
        clusters=clusters,
    )


def _departures(
    ticks: _Ticks,
    design: _Design,
    items: Bools,
    group: Ints,
    base: Floats,
    total: Floats,
    pooled: Floats,
    n: Ints,
) -> Iterator[Floats]:
    """Yield scaled deviations (C, J) of each group, whose cross-products are its part of W^1/2 V W^1/2.

    A respondent's score for group r is ((1 if of r, else 0) - share) (y - p) w / W, less w / W times the sum of all scores.
    It is linear in what is summed here by organisation, and by group within: respondents are gone through once.
    """
    p, T = pooled[items], total[items]
    each = design.weight[:, None] * ticks.asked[:, items] / T
    whole = design.totals(each)
    of_group = design.totals((ticks.cited[:, items] - p) * each, group, len(base))
    of_all = of_group.sum(axis=1)
    for r, asked in enumerate(base):
        share = asked[items] / T
        scores = of_group[:, r] - share * of_all
        scores -= whole * scores.sum(axis=0)
        scale = np.where(share > 0, n[items] / np.where(share > 0, share * p * (1.0 - p), 1.0), 0.0)
        yield design.deviations(scores) * np.sqrt(scale)


def each_against_others(
    answers: pd.DataFrame | npt.ArrayLike,
    group: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    asked: npt.ArrayLike | None = None,
) -> tuple[tuple[str, ...], Floats]:
    """Test each group against all others on each item: the `item_p` of `items_test` of every group's own two-group table.

    With two groups the departures of the one are minus those of the other, so the covariance of an item's two departures has
    rank one. Its trace is tr = c sum z^2 over organisations, z the deviations of the group's departure and
    c = n / (p (1 - p)) (1 / P + 1 / (1 - P)), P the group's share of those asked; tr2 is tr^2, and the unbiased second moment
    C / (C - 1) (tr^2 - c^2 sum z^4), at least tr^2. Organisations are gone through once for all groups, and no covariance is
    made.

    Parameters
    ----------
    answers, group, weight, cluster, strata, asked : as in `items_test`.

    Returns the sorted labels (R,) and p-values (R, J); missing where all or nobody of those asked cite the item, or where it
    was put to the group or to the others alone. No adjustment for their number.

    References: as in `items_test`.

    >>> cto = [[1, 0], [1, 0], [1, 1]]; cmo = [[0, 1], [0, 1], [1, 1]]; cfo = [[1, 1], [0, 0], [1, 0]]
    >>> roles = np.repeat(["CTO", "CMO", "CFO"], 3)
    >>> labels, p = each_against_others(cto + cmo + cfo, roles)
    >>> labels, bool(np.allclose(p[2], items_test(cto + cmo + cfo, roles == "CTO").item_p))
    (('CFO', 'CMO', 'CTO'), True)
    """
    ticks, labels, code, design = _grouped(answers, group, weight, cluster, strata, asked)
    n = len(code)
    w = design.weight[:, None] * ticks.asked
    of_group = sparse.csr_array((np.ones(n), (code, np.arange(n))), shape=(len(labels), n))
    base, citations = np.asarray(of_group @ w), np.asarray(of_group @ (w * ticks.cited))
    total, cited = base.sum(axis=0), citations.sum(axis=0)
    asked_n = ticks.asked.sum(axis=0).astype(np.int64)
    safe = np.where(total > 0, total, 1.0)
    pooled = cited / safe
    varies = (total > 0) & (pooled > 1e-12) & (pooled < 1.0 - 1e-12)
    tables = Tally(
        np.stack([citations, cited - citations], axis=1), np.stack([base, total - base], axis=1), asked_n
    )  # (R, 2, J)
    statistic = item_statistics(tables)
    _, nu = design.carrying(np.asarray(ticks.asked.any(axis=1), dtype=np.bool_))
    each = w / safe
    scores = (ticks.cited - pooled) * each
    whole, of_all = design.totals(each), design.totals(scores)
    C = design.clusters
    p = np.full(base.shape, np.nan)
    for r in range(len(labels)):
        share = base[r] / safe
        open_ = varies & (base[r] > 0) & (share < 1.0 - 1e-12)
        mine = np.flatnonzero(code == r)
        departures = design.totals(scores, rows=mine) - share * of_all
        departures -= whole * departures.sum(axis=0)
        squares = design.deviations(departures) ** 2
        spread = np.where(open_, pooled * (1.0 - pooled) * share * (1.0 - share), 1.0)
        trace = asked_n / spread * squares.sum(axis=0)
        own = (asked_n / spread) ** 2 * (squares**2).sum(axis=0)
        tested = open_ & (trace > 0) & (nu > 0)
        trace, own = trace[tested], own[tested]
        df = trace**2 / np.maximum(C / (C - 1.0) * (trace**2 - own), trace**2)
        p[r, tested] = stats.f.sf(statistic[r, tested] / trace, df, df * nu)
    return labels, p


@dataclass(frozen=True, slots=True)
class _Satterthwaite:
    trace: float
    statistic: float
    df: float
    f_p: float
    adjusted_df: float
    adjusted_p: float


def _second_order(x2: float, deviations: Floats, df: int, nu: int) -> _Satterthwaite:
    """Match two moments of sum lambda chi-square(1), lambda the eigenvalues of D'D for deviations D (C, k)."""
    C, k = deviations.shape
    small = deviations if k > C else deviations.T
    gram = small @ small.T
    trace, square = float(np.trace(gram)), float((gram**2).sum())
    if trace <= 0:
        return _Satterthwaite(*[math.nan] * 6)
    own = float(((deviations**2).sum(axis=1) ** 2).sum())
    unbiased = max(C / (C - 1.0) * (square - own), trace**2 / df)
    matched, adjusted = trace**2 / square, trace**2 / unbiased
    f_p, adjusted_p = (float(stats.f.sf(x2 / trace, d, d * nu)) if nu > 0 else math.nan for d in (matched, adjusted))
    return _Satterthwaite(trace, x2 * trace / square, matched, f_p, adjusted, adjusted_p)


@dataclass(frozen=True, slots=True)
class RaoScott:
    """Independence of two single-choice answers under a survey design.

    Attributes
    ----------
    rows, columns : tuple of str        Levels.
    share : (R, C) float                Weighted share of each cell, summing to 1.
    statistic : float                   Pearson X2 of the weighted table scaled to n.
    df : int                            (R - 1)(C - 1).
    mean_effect : float                 Mean generalised design effect.
    first_order_p : float               Tail of statistic / mean_effect on df (R `svychisq(statistic = "Chisq")`).
    f_statistic, f_df1, f_df2, f_p : float    Second order (R `svychisq(statistic = "F")`).
    n, clusters : int                   Respondents with both answers; their organisations.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    share: Floats
    statistic: float
    df: int
    mean_effect: float
    first_order_p: float
    f_statistic: float
    f_df1: float
    f_df2: float
    f_p: float
    n: int
    clusters: int


def rao_scott(
    row: npt.ArrayLike,
    column: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
) -> RaoScott:
    """Test independence in a two-way table by Rao and Scott's first- and second-order corrections.

    The generalised design effects are the eigenvalues of (C'D^-1 C / n)^-1 C'D^-1 V D^-1 C: C spans the interaction, D
    holds the observed cell shares, V is their design covariance. F = X2 / trace on d = trace^2 / trace of squares and d nu
    degrees of freedom, nu = organisations - strata. Print `f_p`: the first order rejects up to .09 at 5% where design effects
    differ between cells, as for a trait of organisations (docs/validity_statistics.md). Equals R `survey::svychisq`.
    Respondents without either answer are left out of the table and stay in the design (a domain).

    References
    ----------
    Rao and Scott (1984), Annals of Statistics 12, 46-60. Thomas and Rao (1987), JASA 82, 630-636.

    >>> test = rao_scott(["a", "a", "a", "b", "b", "b"], [1, 1, 0, 0, 0, 1], cluster=[1, 2, 3, 1, 2, 3])
    >>> round(test.statistic, 4), test.df, round(test.f_statistic, 4)
    (0.6667, 1, 0.2222)
    """
    first, second = (pd.Series(np.asarray(values, dtype=object)) for values in (row, column))
    n = len(first)
    design = _design(n, weight, cluster, strata)
    known = (first.notna() & second.notna()).to_numpy()
    rows, i = _labels(first[known].to_numpy(), int(known.sum()), "the row")
    columns, j = _labels(second[known].to_numpy(), int(known.sum()), "the column")
    R, K = len(rows), len(columns)
    if R < 2 or K < 2:
        raise DesignError(
            "a table of one row or one column has nothing to test",
            where=f"{_HERE}.rao_scott",
            expected="two levels or more on both sides",
            got=f"{R} x {K}",
            hint="print the shares; there is nothing to test",
        )
    size = int(known.sum())
    indicator = np.zeros((n, R * K))
    indicator[np.flatnonzero(known), i * K + j] = 1.0
    w = design.weight * known
    share = w @ indicator / w.sum()
    deviations = design.deviations(design.totals(w[:, None] * (indicator - share) / w.sum()))
    inverse = np.divide(1.0, share, out=np.zeros_like(share), where=share > 0)
    C = np.kron(_sum_zero(R), _sum_zero(K))
    plain = C.T @ (inverse[:, None] * C) / size
    scores = deviations @ (inverse[:, None] * C)
    Delta = np.linalg.solve(plain, scores.T @ scores)
    trace, square = float(np.trace(Delta)), float((Delta * Delta.T).sum())
    table = share.reshape(R, K)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    x2 = float(size * ((table - expected) ** 2 / expected).sum())
    df, d = (R - 1) * (K - 1), trace**2 / square if square > 0 else math.nan
    clusters, nu = design.carrying(known)
    return RaoScott(
        rows=rows,
        columns=columns,
        share=table,
        statistic=x2,
        df=df,
        mean_effect=trace / df,
        first_order_p=float(stats.chi2.sf(x2 * df / trace, df)) if trace > 0 else math.nan,
        f_statistic=x2 / trace if trace > 0 else math.nan,
        f_df1=d,
        f_df2=d * nu,
        f_p=float(stats.f.sf(x2 / trace, d, d * nu)) if trace > 0 and nu > 0 else math.nan,
        n=size,
        clusters=clusters,
    )


def _sum_zero(levels: int) -> Floats:
    """Return an orthonormal basis (levels, levels - 1) of the contrasts that sum to zero."""
    return np.asarray(np.linalg.qr(np.eye(levels) - 1.0 / levels)[0][:, : levels - 1], dtype=np.float64)


# -- permutation -------------------------------------------------------------------------------------------------------

Statistic = Callable[[Tally], Floats]


def _sum_of_items(counts: Tally) -> Floats:
    return np.asarray(item_statistics(counts).sum(axis=-1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """A statistic against its distribution when labels are exchanged.

    Attributes
    ----------
    observed : (...)         The statistic as seen.
    null_mean : (...)        Its mean over arrangements: what chance alone gives.
    corrected : (...)        observed - null_mean; may be negative.
    p_value : (...)          Share of arrangements at least as large, the observed one included.
    arrangements : int       Arrangements seen: all of them when `exact`, drawn ones else.
    exact : bool             Whether every distinct arrangement was enumerated.
    exchanged : str          "respondents", "organisations", or "respondents within organisations".
    """

    observed: Floats
    null_mean: Floats
    corrected: Floats
    p_value: Floats
    arrangements: int
    exact: bool
    exchanged: str


def permutation_test(
    answers: pd.DataFrame | npt.ArrayLike,
    group: npt.ArrayLike,
    statistic: Statistic = _sum_of_items,
    *,
    weight: npt.ArrayLike | None = None,
    cluster: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    asked: npt.ArrayLike | None = None,
    permutations: int = 1999,
    seed: int = 0,
    exact_limit: int = 20000,
) -> PermutationTest:
    """Exchange group labels and leave whole answer sets (with their weights) where they are.

    Without clusters respondents exchange labels, within strata. With clusters: where the group is a trait of the
    organisation, organisations exchange labels as units, within strata; where it varies inside organisations, colleagues
    exchange labels within their own organisation, so that what organisations share is held fixed, and an organisation of
    one label contributes nothing. When there are at most `exact_limit` distinct arrangements all are enumerated and p is
    exact; else p = (1 + number at least as large) / (1 + permutations), from a generator seeded with `seed`. Beyond 5,000
    units that can move the sums are drawn from the normal limit of the permutations (`exchange.exchanged_sums`).

    Parameters
    ----------
    statistic : function of a `Tally` with a leading axis of replicates (b, R, J), groups sorted by label; returns (b, ...).
        The default is the sum of per-item X2. For a profile index pass for instance
        `lambda counts: jensen_shannon(counts.citations)`.

    Raises DesignError when no label can be exchanged.

    Reference: Pesarin and Salmaso (2010), Permutation Tests for Complex Data, Wiley, chapters 1 and 4.

    >>> sets = [[1, 0], [1, 0], [1, 1], [0, 1], [0, 1], [1, 1]]        # 3 CTO, 3 CMO
    >>> test = permutation_test(sets, ["CTO"] * 3 + ["CMO"] * 3)
    >>> round(float(test.observed), 4), float(test.p_value), test.arrangements, test.exact
    (6.0, 0.2, 20, True)
    """
    ticks = _ticks(answers, asked)
    n = len(ticks.cited)
    groups, code = _labels(group, n, "the group")
    w = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
    layer = np.zeros(n, dtype=np.int64) if strata is None else _labels(strata, n, "the stratum")[1]
    contents = np.hstack([ticks.cited, ticks.asked]) * w[:, None]
    if cluster is None:
        exchanged, label, block = "respondents", code, layer
    else:
        home = _labels(cluster, n, "the organisation")[1]
        trait = np.zeros(int(home.max()) + 1, dtype=np.int64)
        trait[home] = code
        if (trait[home] == code).all():
            exchanged, label = "organisations", trait
            block = np.zeros(len(trait), dtype=np.int64)
            block[home] = layer
            member = sparse.csr_array((np.ones(n), (home, np.arange(n))), shape=(len(trait), n))
            contents = np.asarray(member @ contents, dtype=np.float64)
        else:
            exchanged, label, block = "respondents within organisations", code, home
    # Rows in a fixed order, so that drawn arrangements do not depend on the order of the delivery.
    order = np.lexsort((*contents.T[distinct_columns(contents)[0]], label, block))
    contents, label, block = contents[order], label[order], block[order]
    total = _arrangements(label, block, exact_limit)
    if total <= 1:
        raise DesignError(
            "no label can be exchanged",
            where=f"{_HERE}.permutation_test",
            expected="two labels among the units that may exchange them",
            got=f"{len(groups)} groups, {exchanged}",
            hint="compare groups that both occur, in organisations or strata that hold both",
        )
    count = ticks.asked.sum(axis=0).astype(np.int64)

    def evaluate(labels: Ints) -> Floats:
        one_hot = (labels[:, None, :] == np.arange(len(groups))[None, :, None]).astype(np.float64)
        sums = (one_hot.reshape(-1, labels.shape[1]) @ contents).reshape(len(labels), len(groups), -1)
        half = sums.shape[-1] // 2
        return np.asarray(statistic(Tally(sums[..., :half], sums[..., half:], count)), dtype=np.float64)

    exact = total <= exact_limit
    if not exact and movable(label, block) > MANY:
        sums = exchanged_sums(
            np.eye(len(groups))[label], contents, block, permutations, np.random.Generator(np.random.PCG64(seed))
        )
        return _from_limit(statistic, evaluate(label[None, :])[0], sums, count, exchanged)
    source = _every(label, block) if exact else _drawn(label, block, permutations, seed)
    step = max(1, 2_000_000 // (len(groups) * len(label)))
    observed = evaluate(label[None, :])[0]
    bar = observed - 1e-9 * np.maximum(1.0, np.abs(observed))
    mean, above, seen = np.zeros_like(observed), np.zeros(observed.shape, dtype=np.int64), 0
    while len(chunk := list(itertools.islice(source, step))):
        values = evaluate(np.stack(chunk))
        mean += values.sum(axis=0)
        above += (values >= bar).sum(axis=0)
        seen += len(chunk)
    mean /= seen
    p_value = above / seen if exact else (1 + above) / (1 + seen)
    return PermutationTest(
        observed, mean, observed - mean, np.asarray(p_value, dtype=np.float64), seen, exact, exchanged
    )


def _from_limit(statistic: Statistic, observed: Floats, sums: Floats, count: Ints, exchanged: str) -> PermutationTest:
    """Judge the observed value by sums drawn from the normal limit of the permutations."""
    half = sums.shape[-1] // 2
    values = np.asarray(statistic(Tally(sums[..., :half], sums[..., half:], count)), dtype=np.float64)
    bar = observed - 1e-9 * np.maximum(1.0, np.abs(observed))
    p_value = (1 + (values >= bar).sum(axis=0)) / (1 + len(values))
    mean = values.mean(axis=0)
    return PermutationTest(
        observed, mean, observed - mean, np.asarray(p_value), len(values), exact=False, exchanged=exchanged
    )


def _arrangements(label: Ints, block: Ints, limit: int) -> int:
    """Count the distinct ways to hand the labels out again, block by block; beyond the limit only that there are more."""
    labels = int(label.max()) + 1
    pairs, number = np.unique(block * labels + label, return_counts=True)
    ways, start = 1, 0
    for end in [*(np.flatnonzero(np.diff(pairs // labels)) + 1).tolist(), len(pairs)]:
        left = 0
        for count in number[start:end].tolist():
            left += count
            # Whole numbers of a million digits take minutes: a binomial coefficient above 1 is at least its n.
            ways *= 1 if left == count else left if left > limit else math.comb(left, count)
            if ways > limit:
                return ways
        start = end
    return ways


def _every(label: Ints, block: Ints) -> Iterator[Ints]:
    """Yield every distinct arrangement; units of a block lie together."""
    parts = [label[block == b] for b in np.unique(block)]
    for combination in itertools.product(*(list(_multiset(np.sort(part))) for part in parts)):
        yield np.concatenate(combination)


def _multiset(values: Ints) -> Iterator[Ints]:
    """Yield distinct permutations of sorted values in lexicographic order (Knuth's algorithm L)."""
    current = values.copy()
    while True:
        yield current.copy()
        rises = np.flatnonzero(current[:-1] < current[1:])
        if len(rises) == 0:
            return
        i = int(rises[-1])
        j = int(np.flatnonzero(current > current[i])[-1])
        current[i], current[j] = current[j], current[i]
        current[i + 1 :] = current[i + 1 :][::-1]


def _drawn(label: Ints, block: Ints, permutations: int, seed: int) -> Iterator[Ints]:
    rng = np.random.Generator(np.random.PCG64(seed))
    for _ in range(permutations):
        yield label[np.lexsort((rng.random(len(label)), block))]


# -- caps and bounds ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CapUse:
    """How far the largest number of ticks allowed bound the answers of each group.

    Attributes
    ----------
    groups : tuple of str           R groups.
    cap : int                       Ticks allowed.
    n : (R,) int                    Respondents asked.
    mean_ticks : (R,) float         Weighted mean number of ticks, 0..J.
    at_cap, above_cap : (R,) float  Weighted share with exactly the cap, and with more (the form let them).
    """

    groups: tuple[str, ...]
    cap: int
    n: Ints
    mean_ticks: Floats
    at_cap: Floats
    above_cap: Floats


def cap_use(
    answers: pd.DataFrame | npt.ArrayLike,
    group: npt.ArrayLike,
    cap: int,
    *,
    weight: npt.ArrayLike | None = None,
    asked: npt.ArrayLike | None = None,
) -> CapUse:
    """Share of each group at the cap: what of its prevalences may be lower bounds.

    Who stopped at the cap may have meant more, so a share citing an item is then a share putting it among their first
    `cap`; groups with different shares at the cap are compared on that footing only.

    >>> cap_use([[1, 1, 0], [1, 0, 0], [1, 1, 1]], ["a", "a", "a"], 2).at_cap.round(4).tolist()
    [0.3333]
    """
    ticks = _ticks(answers, asked)
    n = len(ticks.cited)
    groups, code = _labels(group, n, "the group")
    w = (np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)) * ticks.asked.any(axis=1)
    number = ticks.cited.sum(axis=1)
    one_hot = np.arange(len(groups))[:, None] == code
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, at, above = ((one_hot @ (w * x)) / (one_hot @ w) for x in (number, number == cap, number > cap))
    return CapUse(groups, cap, (one_hot & ticks.asked.any(axis=1)).sum(axis=1).astype(np.int64), mean, at, above)


def exact_upper_bound(cited: npt.ArrayLike, n: npt.ArrayLike, *, level: float = 0.95, family_size: int = 1) -> Floats:
    """One-sided exact (Clopper-Pearson) upper bound of a share, Bonferroni-adjusted over a family.

    "No other role cites it" speaks of several shares at once: with k other roles each bound is taken at 1 - (1 - level)/k,
    and all hold together at `level` or better. `n` is the base, or the effective base of the design where organisations
    cluster (`korn_graubard(...).n_effective`); it need not be whole. Nobody asked gives 1.

    Reference: Clopper and Pearson (1934), Biometrika 26, 404-413.

    >>> exact_upper_bound([0, 0], [59, 59]).round(4).tolist()
    [0.0495, 0.0495]
    >>> round(float(exact_upper_bound(0, 59, family_size=9)), 4)
    0.0843
    """
    x, size = np.broadcast_arrays(np.asarray(cited, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if (x < 0).any() or (x > size).any() or family_size < 1:
        raise DesignError(
            "a count does not fit its base",
            where=f"{_HERE}.exact_upper_bound",
            expected="0 <= cited <= n and a family of at least 1",
            got=f"cited {listed(f'{v:g}' for v in np.atleast_1d(x))} of {listed(f'{v:g}' for v in np.atleast_1d(size))}",
            hint="count respondents, not citations",
        )
    open_end = x < size
    bound = stats.beta.ppf(1.0 - (1.0 - level) / family_size, x + 1.0, np.where(open_end, size - x, 1.0))
    return np.asarray(np.where(open_end, bound, 1.0), dtype=np.float64)
