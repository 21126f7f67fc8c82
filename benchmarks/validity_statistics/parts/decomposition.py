"""Kitagawa's split of the gap between two roles under the cluster bootstrap: t and percentile intervals of its parts.

Two roles that one executive in four has each, three stages at which they stand in different shares; the role part is .5 on the
latent scale at every stage.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.validity_statistics.design import Interval, Outcome, Sample, answers, layers_of, mean_answer
from fieldwork.statistics.decomposition import kitagawa
from fieldwork.statistics.intervals import percentile
from fieldwork.statistics.replicates import infer

WEIGHTS, PRECISE = True, True
COMPOSITION = np.array([[0.25, 0.35, 0.4], [0.45, 0.35, 0.2]])
SHIFT = np.array([[0.2, 0.5, 0.8], [-0.3, 0.0, 0.3]])
MEAN = np.vectorize(mean_answer)(SHIFT)
TRUTH = kitagawa(MEAN[0], MEAN[1], COMPOSITION[0], COMPOSITION[1])


def study(sample: Sample) -> Iterator[Outcome]:
    role = sample.groups(4)
    known = np.minimum(role, 1)
    stage = (sample.rng.random(sample.n)[:, None] > np.cumsum(COMPOSITION, axis=1)[known][:, :-1]).sum(axis=1)
    answer = answers(sample.latent()[:, 0] + SHIFT[known, stage])
    cell = np.where(role < 2, role * 3 + stage, 6)
    multiplier = sample.multiplier()
    by_cell = sample.by_group(np.ones(sample.n), cell, 7)[:, :6]
    W = layers_of(multiplier, by_cell).reshape(-1, 2, 3)
    WY = layers_of(multiplier, sample.by_group(answer, cell, 7)[:, :6]).reshape(-1, 2, 3)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = WY / W
    split = kitagawa(mean[:, 0], mean[:, 1], W[:, 0], W[:, 1])
    carrying = int((by_cell.sum(axis=1) > 0).sum())
    for name in ("total", "rate", "composition"):
        layers, truth = getattr(split, name), float(getattr(TRUTH, name))
        for method, found in (("t", infer(layers, carrying)), ("percentile", percentile(layers, carrying))):
            yield Interval(f"{name}: {method}", truth, float(layers[0]), float(found.conf_low), float(found.conf_high))
