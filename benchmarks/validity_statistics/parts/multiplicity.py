"""Equivalence, the three-sided test, and families of 150 tests (ten roles by fifteen blockers) when nothing differs.

The effect is a difference of two roles' means with its replicate standard error, the margin .3 points; the truth is the margin
itself (equivalence must not be shown, nor the region ruled out) or nothing. The grid tests each role's prevalence against
everybody's by t = risk difference / standard error on the contrast's degrees of freedom, or by the log odds ratio and its own;
prevalences run from .08 to .5. Where a contrast has no variance its p-value counts as 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from benchmarks.validity_statistics.design import Floats, Judged, Outcome, Sample, layers_of
from fieldwork.statistics.multiplicity import benjamini_hochberg, equivalence, holm, three_sided_p
from fieldwork.statistics.multiresponse import contrast_shares, items_test
from fieldwork.statistics.replicates import infer

WEIGHTS, PRECISE = True, False
MARGIN, ROLES, ITEMS = 0.3, 10, 15
SHARE = np.linspace(0.08, 0.5, ITEMS)


def study(sample: Sample) -> Iterator[Outcome]:
    yield from _margins(sample)
    if sample.tests:
        yield from _grid(sample)


def _margins(sample: Sample) -> Iterator[Outcome]:
    role = sample.groups(4)
    W = sample.by_group(np.ones(sample.n), role, 4)
    layers = layers_of(sample.multiplier(), sample.by_group(sample.latent()[:, 0], role, 4)) / layers_of(
        sample.multiplier(), W
    )
    difference = layers[:, 0] - layers[:, 1]
    df = int((W[:, :2].sum(axis=1) > 0).sum()) - 1
    found = infer(difference, df + 1)
    estimate, error = float(found.estimate), float(found.std_error)
    yield Judged("equivalence, truth at the margin", equivalence(estimate + MARGIN, error, df, MARGIN).p_value <= 0.05)
    yield Judged("equivalence, truth nil", equivalence(estimate, error, df, MARGIN).p_value <= 0.05, power=True)
    for name, truth, region in (
        ("at the margin", MARGIN, "above"),
        ("at the margin", MARGIN, "within"),
        ("at the lower margin", -MARGIN, "below"),
    ):
        left = three_sided_p(estimate + truth, error, df, MARGIN).left()
        yield Judged(f"three_sided_p, truth {name}: '{region}' ruled out", region not in left)


def _grid(sample: Sample) -> Iterator[Outcome]:
    role = sample.groups(ROLES)
    cited = (sample.latent(ITEMS) < stats.norm.ppf(SHARE)).astype(float)
    design = {"weight": sample.weight, "cluster": sample.home}
    p_values: dict[str, Floats] = {
        "risk difference": np.empty((ROLES, ITEMS)),
        "log odds ratio": np.empty((ROLES, ITEMS)),
    }
    for r in range(ROLES):
        contrast = contrast_shares(cited, role, str(r), **design)
        df = np.maximum(contrast.df, 1)
        for name, estimate, error in (
            ("risk difference", contrast.risk_difference.estimate, contrast.risk_difference.std_error),
            ("log odds ratio", _log(contrast.odds_ratio.estimate), contrast.odds_ratio.std_error),
        ):
            with np.errstate(invalid="ignore"):
                p = 2.0 * stats.t.sf(np.abs(estimate / error), df)
            p_values[name][r] = np.where(np.isfinite(p), p, 1.0)
    for name, p in p_values.items():
        family = {f"{i}": float(v) for i, v in enumerate(p.ravel())}
        yield Judged(f"one test of the grid, {name}", p <= 0.05)
        for method, adjusted in (("holm", holm), ("benjamini_hochberg", benjamini_hochberg)):
            found = adjusted(family, family_size=ROLES * ITEMS)
            yield Judged(f"any call in the grid, {name}: {method}", min(found.values()) <= 0.05)
    by_item = {f"{j}": float(p) for j, p in enumerate(items_test(cited, role, **design).item_p)}
    yield Judged("any call among fifteen items, item_p: holm", min(holm(by_item, family_size=ITEMS).values()) <= 0.05)


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)
