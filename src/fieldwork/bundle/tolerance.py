"""How far an estimate may differ between machines, by the class of its estimator."""

from __future__ import annotations

__all__ = ["CLASSES", "METHODS", "PUBLISHED", "tolerance_of", "within"]

CLASSES = {"closed form": 1e-9, "optimised": 1e-6}
"""Largest difference by class, relative to the larger of the value and 1. Closed form: sums, products and one solved linear
system, whose last bits differ between processors (1e-12 was the largest seen over seven kernels of OpenBLAS). Optimised:
found by iteration until a gradient is small, so that the stopping rule is seen too."""

PUBLISHED = 0.0
"""Published numbers are rounded, and have to be the same."""

METHODS = {
    "cluster_bootstrap": "closed form",
    "cluster_bootstrap_fieller": "closed form",
    "cluster_bootstrap_fisher_z": "closed form",
    "cluster_bootstrap_simultaneous": "closed form",
    "clopper_pearson_bonferroni": "closed form",
    "bradley_terry": "optimised",
    "clm": "optimised",
    "clmm": "optimised",
    "count_of_measures": "closed form",
    "korn_graubard": "closed form",
    "korn_graubard_mover": "closed form",
    "logit": "optimised",
    "manski_bounds": "closed form",
    "melded_korn_graubard": "closed form",
    "permutation": "closed form",
    "rank_sets_bonferroni": "closed form",
    "rank_sets_step_down": "closed form",
    "rao_scott": "closed form",
    "social_relations_model": "closed form",
    "square_and_add": "closed form",
    "turnbull": "optimised",
}
"""Class of each estimator, by `method` of the estimates table."""


def tolerance_of(method: str) -> float:
    """Return the tolerance of an estimator; the stricter one where the estimator is not known.

    >>> tolerance_of("clmm"), tolerance_of("cluster_bootstrap"), tolerance_of("")
    (1e-06, 1e-09, 1e-09)
    """
    return CLASSES[METHODS.get(method, "closed form")]


def within(expected: float, found: float, tolerance: float) -> bool:
    """Tell whether two numbers are the same within a tolerance, relative to the larger of the value and 1.

    >>> within(1e6, 1e6 + 1e-4, 1e-9), within(0.1, 0.1 + 1e-8, 1e-9), within(0.0, 0.0, 0.0)
    (True, False, True)
    """
    return abs(expected - found) <= tolerance * max(1.0, abs(expected))
