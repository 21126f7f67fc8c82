"""Five multi-select items in four roles: shares, contrasts, profiles and tests, with answers alike within organisations.

Each item has its own organisation effect (a fifth of the latent variance). Under the alternative the first role cites the first
item more often (.35 becomes .55). A trait is one of three labels that an organisation bears as a whole. Permutation tests draw
99 arrangements.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy import stats

from benchmarks.validity_statistics.design import (
    Floats,
    Interval,
    Ints,
    Judged,
    Outcome,
    Sample,
    attempt,
    layers_of,
)
from fieldwork.statistics.intervals import basic, percentile
from fieldwork.statistics.multiresponse import (
    concentration,
    contrast_shares,
    items_test,
    location_quotient,
    permutation_test,
    prevalence,
    rao_scott,
)
from fieldwork.statistics.replicates import infer

WEIGHTS, PRECISE = True, True
ROLES = 4
SHARE = np.array([0.35, 0.5, 0.25, 0.15, 0.08])
RAISED = 0.55
NULL = np.tile(SHARE, (ROLES, 1))
WORLD = NULL.copy()
WORLD[0, 0] = RAISED
PERMUTATIONS = 99


def study(sample: Sample) -> Iterator[Outcome]:
    role = sample.groups(ROLES)
    latent = sample.latent(len(SHARE))
    null = (latent < stats.norm.ppf(NULL)[role]).astype(float)
    world = (latent < stats.norm.ppf(WORLD)[role]).astype(float)
    design = {"weight": sample.weight, "cluster": sample.home}
    yield from _shares(role, world, design)
    yield from _profiles(sample, role, world)
    if sample.tests:
        yield from _tests(sample, role, null, world, design)


def _shares(role: Ints, world: Floats, design: dict[str, Floats]) -> Iterator[Outcome]:
    kept = world[:, [0, 2, 4]]
    shares = prevalence(kept, role, **design)
    for j, place in enumerate((0, 2, 4)):
        yield Interval(
            f"prevalence in a role, {SHARE[place]:g}",
            WORLD[1:, place],
            shares.share[1:, j],
            shares.conf_low[1:, j],
            shares.conf_high[1:, j],
        )
    for against, second in (("a role", "1"), ("everybody", None)):
        contrast = contrast_shares(kept, role, "0", second, **design)
        p = WORLD[0, [0, 4]]
        q = (WORLD[1] if second else WORLD.mean(axis=0))[[0, 4]]
        odds = p / (1 - p) / (q / (1 - q))
        for name, truth, found in (
            ("risk difference", p - q, contrast.risk_difference),
            ("prevalence ratio", p / q, contrast.prevalence_ratio),
            ("odds ratio", odds, contrast.odds_ratio),
        ):
            for j, (place, share) in enumerate(((0, SHARE[0]), (2, SHARE[4]))):
                yield Interval(
                    f"{name} against {against}, item of {share:g}",
                    float(truth[j]),
                    float(found.estimate[place]),
                    float(found.conf_low[place]),
                    float(found.conf_high[place]),
                )


def _profiles(sample: Sample, role: Ints, world: Floats) -> Iterator[Outcome]:
    """Location quotients and concentration in every replicate; the statistics hand out no interval of their own."""
    by_role = np.stack([sample.by_group(column, role, ROLES) for column in world.T], axis=2)
    citations = layers_of(sample.multiplier(), by_role)
    C = sample.organisations
    quotient, truth = location_quotient(citations)[:, 0], location_quotient(WORLD)[0]
    log = infer(np.log(np.where(quotient > 0, quotient, 1.0)), C)
    straight = infer(quotient, C)
    for j in (0, 4):
        name = f"location quotient, item of {SHARE[j]:g}"
        known = quotient[0, j] > 0
        ends = (float(np.exp(end[j])) if known else np.nan for end in (log.conf_low, log.conf_high))
        yield Interval(f"{name}: t of the logarithm", truth[j], quotient[0, j], *ends)
        yield Interval(f"{name}: t", truth[j], quotient[0, j], straight.conf_low[j], straight.conf_high[j])
    index, value = concentration(citations[:, 0]), float(concentration(WORLD[0]))
    for method, found in (("t", infer(index, C)), ("percentile", percentile(index, C)), ("basic", basic(index, C))):
        yield Interval(
            f"concentration of a role's citations: {method}",
            value,
            float(index[0]),
            float(found.conf_low),
            float(found.conf_high),
        )


def _tests(sample: Sample, role: Ints, null: Floats, world: Floats, design: dict[str, Floats]) -> Iterator[Outcome]:
    C, rng = sample.organisations, sample.rng
    trait = rng.permutation(np.arange(C) % 3)[sample.home]
    for label, group in (("roles", role), ("a trait of organisations", trait)):
        test = items_test(null, group, **design)
        for form in ("naive", "first_order", "second_order", "f", "adjusted"):
            yield Judged(f"items_test, {label}: {form}_p", getattr(test, f"{form}_p") <= 0.05)
        yield Judged(f"items_test, {label}: item_p", test.item_p <= 0.05)
        yield from attempt(
            f"permutation_test, {label}",
            partial(_permuted, f"permutation_test, {label}", null, group, sample, power=False),
        )
    yield Judged("items_test, roles: adjusted_p", items_test(world, role, **design).adjusted_p <= 0.05, power=True)
    yield from attempt(
        "permutation_test, roles", partial(_permuted, "permutation_test, roles", world, role, sample, power=True)
    )
    choice = np.digitize(sample.latent()[:, 0], [-0.7, 0.0, 0.7])
    for label, group in (("roles", role), ("a trait of organisations", trait)):
        single = rao_scott(group, choice, **design)
        yield Judged(f"rao_scott, {label}: first_order_p", single.first_order_p <= 0.05)
        yield Judged(f"rao_scott, {label}: f_p", single.f_p <= 0.05)


def _permuted(name: str, answers: Floats, group: Ints, sample: Sample, *, power: bool) -> Iterator[Outcome]:
    test = permutation_test(
        answers,
        group,
        weight=sample.weight,
        cluster=sample.home,
        permutations=PERMUTATIONS,
        seed=sample.study,
        exact_limit=0,
    )
    yield Judged(name, float(test.p_value) <= 0.05, power=power)
