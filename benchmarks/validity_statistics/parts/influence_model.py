"""Six targets rated by executives of six roles, points of influence shared out, paired choices, and round robins of executives.

A rating is a rater's own level, the target's effect, what the rater's organisation thinks of the target, and noise; who rates
the own role adds .4. Points come from Dirichlet distributions, the organisation's drawn first, so that the ratios to parity are
known. Choices follow Bradley and Terry's probabilities exactly and are alike within organisations through a shared latent
variable for each pair. Effects, gaps and abilities have standard errors and no interval: the intervals here are estimate
-+ t(organisations - 1) times that, and for shrunken effects -+ 1.96 times.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy import stats

from benchmarks.validity_statistics.design import Interval, Ints, Judged, Outcome, Sample, attempt
from fieldwork.statistics.influence_model import (
    bradley_terry,
    point_shares,
    shrink_effects,
    social_relations,
    target_effects,
)

WEIGHTS, PRECISE = True, True
TARGETS = 6
EFFECT = np.array([0.5, 0.3, 0.1, -0.1, -0.3, -0.5])
ENHANCEMENT = 0.4
ALPHA = np.array([4.0, 3.0, 2.0, 1.5, 1.0, 0.5])
ABILITY = np.array([0.8, 0.3, 0.0, -0.4, -0.7])
COMPONENTS = {"actor": 0.6, "partner": 0.4, "actor_partner": 0.1, "relationship": 1.0, "relationship_covariance": 0.3}
UNIT = 2  # organisations' taste of a target has a standard deviation of 1 / UNIT


def study(sample: Sample) -> Iterator[Outcome]:
    own = sample.groups(TARGETS)
    yield from _ratings(sample, own)
    yield from _points(sample, own)
    yield from attempt("ability, paired choices", partial(_choices, sample))
    if sample.tests and not sample.cell.weighted:
        yield from _round_robins(sample)


def _t(sample: Sample) -> float:
    return float(stats.t.ppf(0.975, sample.organisations - 1))


def _ratings(sample: Sample, own: Ints) -> Iterator[Outcome]:
    rng, n, t = sample.rng, sample.n, _t(sample)
    taste = rng.standard_normal((sample.organisations, TARGETS))[sample.home] / UNIT
    noise = 0.6 * rng.standard_normal((n, 1)) + taste + 0.8 * rng.standard_normal((n, TARGETS))
    noise[np.arange(n), own] += ENHANCEMENT
    raised = rng.standard_normal(TARGETS) * 0.3
    raised -= raised.mean()
    rater, target = np.repeat(np.arange(n), TARGETS), np.tile(np.arange(TARGETS).astype(str), n)
    found = target_effects(
        rater,
        target,
        (EFFECT + noise).ravel(),
        own=np.repeat(own, TARGETS),
        weight=np.repeat(sample.weight, TARGETS),
        cluster=np.repeat(sample.home, TARGETS),
    )
    gap = found.self_other
    for name, truth, estimate, error in (
        ("target effect", EFFECT, found.effect[0], found.std_error),
        ("self-other gap, raw", ENHANCEMENT, gap.raw[0], gap.raw_error),
        ("self-other gap, adjusted", ENHANCEMENT, gap.adjusted[0], gap.adjusted_error),
    ):
        yield Interval(f"{name}: t", truth, estimate, estimate - t * error, estimate + t * error)
    # Effects drawn anew in each study, as empirical Bayes takes them to be.
    drawn = found.effect[0] - EFFECT + raised
    shrunken = shrink_effects(drawn, found.covariance)
    ends = shrunken.effect - 1.96 * shrunken.std_error, shrunken.effect + 1.96 * shrunken.std_error
    yield Interval("shrunken effect: normal", raised, shrunken.effect, *ends)


def _points(sample: Sample, own: Ints) -> Iterator[Outcome]:
    concentration = 6.0 * ALPHA / ALPHA.sum()
    firm = sample.rng.gamma(concentration, size=(sample.organisations, TARGETS)) + 1e-9
    firm /= firm.sum(axis=1, keepdims=True)
    given = sample.rng.gamma(8.0 * firm[sample.home]) + 1e-9
    given *= 100.0 / given.sum(axis=1, keepdims=True)
    shares = point_shares(given, own=own, weight=sample.weight, cluster=sample.home)
    p = ALPHA / ALPHA.sum()
    others = p[None, :] / (1.0 - p[:, None])
    np.fill_diagonal(others, 0.0)
    truth = others.sum(axis=0)  # mean over the five other roles of what is left to the target, over a fifth
    for name, which in (("large", slice(0, 3)), ("small", slice(3, 6))):
        yield Interval(
            f"point share over parity, {name} shares",
            truth[which],
            shares.ratio[0, which],
            shares.ratio_low[which],
            shares.ratio_high[which],
        )


def _choices(sample: Sample) -> Iterator[Outcome]:
    items, rng = len(ABILITY), sample.rng
    pairs = np.array([(i, j) for i in range(items) for j in range(i + 1, items)])
    each = 4
    picked = rng.integers(0, len(pairs), (sample.n, each))
    taste = rng.standard_normal((sample.organisations, len(pairs)))[sample.home[:, None], picked]
    latent = np.sqrt(0.3) * taste + np.sqrt(0.7) * rng.standard_normal(picked.shape)
    first, second = pairs[picked].reshape(-1, 2).T
    wins = latent.ravel() < stats.norm.ppf(1.0 / (1.0 + np.exp(ABILITY[second] - ABILITY[first])))
    fit = bradley_terry(
        first, second, wins, weight=np.repeat(sample.weight, each), cluster=np.repeat(sample.home, each)
    )
    truth, t = ABILITY - ABILITY.mean(), _t(sample)
    ability = fit.ability[0]
    yield Interval(
        "ability, paired choices: t", truth, ability, ability - t * fit.std_error, ability + t * fit.std_error
    )
    z = 1.96 * fit.model_error
    yield Interval("ability, paired choices: model_error", truth, ability, ability - z, ability + z)


def _round_robins(sample: Sample) -> Iterator[Outcome]:
    """Groups of six, or of four to eight; with partner variance, and without."""
    rng = sample.rng
    size = rng.integers(4, 9, sample.organisations) if sample.cell.unequal else np.full(sample.organisations, 6)
    own = np.array(
        [[COMPONENTS["actor"], COMPONENTS["actor_partner"]], [COMPONENTS["actor_partner"], COMPONENTS["partner"]]]
    )
    root = np.linalg.cholesky(own)
    groups, nulls = [], []
    for n in size:
        actor, partner = root @ rng.standard_normal((2, n))
        pair = rng.standard_normal((n, n))
        upper, lower = np.triu(pair, 1), np.tril(pair, -1)
        c = COMPONENTS["relationship_covariance"] / COMPONENTS["relationship"]
        relationship = upper + c * upper.T + np.sqrt(1 - c**2) * lower
        relationship *= np.sqrt(COMPONENTS["relationship"])
        groups.append(actor[:, None] + partner[None, :] + relationship)
        nulls.append(rng.standard_normal((n, 1)) * np.sqrt(COMPONENTS["actor"]) + relationship)
    t = _t(sample)
    found = social_relations(groups).components
    for row, (name, truth) in zip(found.itertuples(), COMPONENTS.items(), strict=True):
        low, high = row.estimate - t * row.std_error, row.estimate + t * row.std_error
        yield Interval(f"social relations, {name}: t", truth, row.estimate, low, high)
    null = social_relations(nulls).components.set_index("component")["p_value"]
    yield Judged("social relations: p_value of partner variance", null["partner_variance"] <= 0.05)
    yield Judged("social relations: p_value of actor-partner covariance", null["actor_partner_covariance"] <= 0.05)
