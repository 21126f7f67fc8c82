"""Critical values of agreement indices in teams without agreement, and tests of consensus on five ranked priorities.

Teams of five, or of two to twelve. Without agreement every executive answers alone: evenly over the five points, or with a
skew (`pool`: critical values from everybody's answers, the permutation over organisations). With agreement half of the latent
variance is the team's. Tests of consensus take 99 draws; executives rank by latent scores, with nothing in common, with what
all of one organisation share, or with what all of a role share. These methods offer no interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np

from benchmarks.validity_statistics.design import Floats, Ints, Judged, Outcome, Sample
from fieldwork.statistics.agreement import (
    a_wg,
    average_deviation,
    consensus_test,
    critical_values,
    r_wg,
    tastle_wierman,
    van_der_eijk_a,
)

WEIGHTS, PRECISE = False, False
POINTS, ITEMS, DRAWS = 5, 5, 99
SKEW = np.array([0.05, 0.15, 0.20, 0.35, 0.25])
INDICES = {
    "r_wg": (r_wg, "upper"),
    "a_wg": (a_wg, "upper"),
    "average_deviation": (average_deviation, "lower"),
    "van_der_eijk_a": (van_der_eijk_a, "upper"),
    "tastle_wierman": (tastle_wierman, "upper"),
}


@cache
def even(name: str, size: int) -> float:
    index, tail = INDICES[name]
    return float(critical_values(index, [size], POINTS, tail=tail)[0])


def study(sample: Sample) -> Iterator[Outcome]:
    size = np.maximum(sample.size, 2)
    home = np.repeat(np.arange(sample.organisations), size)
    rng = sample.rng
    alone = _counts(home, rng.integers(0, POINTS, len(home)), len(size))
    skewed = _counts(home, rng.choice(POINTS, len(home), p=SKEW), len(size))
    shared = np.sqrt(0.5) * (rng.standard_normal(len(size))[home] + rng.standard_normal(len(home)))
    together = _counts(home, np.digitize(shared, np.array([-0.84, -0.25, 0.25, 0.84])), len(size))
    for name, (index, tail) in INDICES.items():
        level = np.array([even(name, int(n)) for n in size])
        yield Judged(f"{name}, critical value of the even null", _beyond(index(alone), level, tail))
        yield Judged(f"{name}, critical value of the even null", _beyond(index(together), level, tail), power=True)
        if sample.tests and name in {"r_wg", "average_deviation"}:
            for counts, power in ((skewed, False), (together, True)):
                pooled = critical_values(index, size, POINTS, tail=tail, pool=counts.sum(axis=0))
                yield Judged(
                    f"{name}, critical value of the permutation", _beyond(index(counts), pooled, tail), power=power
                )
    if sample.tests:
        yield from _consensus(sample)


def _counts(home: Ints, answer: Ints, teams: int) -> Floats:
    return np.bincount(home * POINTS + answer, minlength=teams * POINTS).reshape(teams, POINTS).astype(float)


def _beyond(value: Floats, level: Floats, tail: str) -> np.ndarray:
    slack = 1e-9
    return value >= level - slack if tail == "upper" else value <= level + slack


def _consensus(sample: Sample) -> Iterator[Outcome]:
    role = np.array(["CFO", "CTO"])[sample.groups(2)]
    alone = sample.rng.standard_normal((sample.n, ITEMS))
    firm = sample.rng.standard_normal((sample.organisations, ITEMS))[sample.home]
    test = partial(consensus_test, draws=DRAWS, seed=sample.study)
    nobody = test(alone, role)
    yield Judged("consensus_test: alpha_p, nothing in common", nobody.alpha_p <= 0.05)
    yield Judged("consensus_test: between_p, nothing in common", nobody.between_p[0, 1] <= 0.05)
    yield Judged("consensus_test: alpha_differ_p, nothing in common", nobody.alpha_differ_p[0, 1] <= 0.05)
    alike = np.sqrt(0.2) * firm + np.sqrt(0.8) * alone
    trait = np.array(["CFO", "CTO"])[np.arange(sample.organisations) % 2][sample.home]
    for given, design in (("without cluster", {}), ("with cluster", {"cluster": sample.home})):
        for label, group in (("roles", role), ("a trait of organisations", trait)):
            found = test(alike, group, **design)
            name = f"alike within organisations, {label}, {given}"
            yield Judged(f"consensus_test: alpha_p, {name}", found.alpha_p <= 0.05)
            yield Judged(f"consensus_test: between_p, {name}", found.between_p[0, 1] <= 0.05)
    apart = test(alone + np.where(role == "CFO", 0.4, -0.4)[:, None] * np.linspace(1, -1, ITEMS), role)
    yield Judged("consensus_test: alpha_p, a role's own order", apart.alpha_p <= 0.05, power=True)
    yield Judged("consensus_test: between_p, a role's own order", apart.between_p[0, 1] <= 0.05, power=True)
