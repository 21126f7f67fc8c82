"""Replicate weights and what they estimate: moments, independence of order and partition, agreement with R's survey."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwork.statistics.replicates import (
    cluster_keys,
    infer,
    mix,
    multipliers,
    replicated_totals,
    small_sample_factor,
)

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "values.toml").read_text())
NAMES = [f"org{i}" for i in range(300)]


def test_mixer_is_splitmix64():
    # First outputs of the generator seeded with 1234567, as its author publishes them.
    state = np.array([(1234567 + k * 0x9E3779B97F4A7C15) % 2**64 for k in (1, 2, 3)], dtype=np.uint64)
    assert mix(state).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_multipliers_have_mean_variance_and_skewness_one():
    w = multipliers(cluster_keys(NAMES, 7), 4000) - 1.0
    assert abs(w.mean()) < 4 / np.sqrt(w.size)
    assert w.var() == pytest.approx(1.0, abs=0.01)
    assert (w**3).mean() == pytest.approx(1.0, abs=0.02)
    assert (w > -1).all(), "a replicate must not lose an organisation"


def test_multipliers_of_different_clusters_and_replicates_are_uncorrelated():
    w = multipliers(cluster_keys(NAMES, 7), 2000)
    between = np.corrcoef(w[:, :40], rowvar=False)[np.triu_indices(40, 1)]
    along = np.corrcoef(w[:40])[np.triu_indices(40, 1)]
    assert np.abs(between).max() < 5 / np.sqrt(2000)
    assert np.abs(along).max() < 5 / np.sqrt(300)


@given(st.permutations(range(12)), st.integers(0, 30), st.integers(1, 30))
def test_an_organisations_weights_depend_on_nothing_but_seed_name_and_replicate(order, first, count):
    names = [f"o{i}" for i in range(12)]
    whole = multipliers(cluster_keys(names, 3), 64)
    part = multipliers(cluster_keys([names[i] for i in order], 3), count, first=first)
    assert np.array_equal(part, whole[first : first + count][:, list(order)])


def test_another_seed_gives_other_weights():
    assert not np.array_equal(multipliers(cluster_keys(NAMES, 1), 8), multipliers(cluster_keys(NAMES, 2), 8))


def _means(frame, by, measure, weight, replicates=4000):
    clusters, cluster = np.unique(frame["org_id"], return_inverse=True)
    levels = list(dict.fromkeys(by))
    code = np.array([levels.index(level) for level in by])
    totals = replicated_totals(
        [code, frame[measure].to_numpy()], cluster, weight, multipliers(cluster_keys(list(clusters), 11), replicates)
    )
    layers = np.empty((replicates + 1, len(levels)))
    for g in range(len(levels)):
        mine = totals.levels[:, 0] == g
        layers[:, g] = (totals.weight[:, mine] @ totals.levels[mine, 1]) / totals.weight[:, mine].sum(axis=1)
    counts = np.array([frame.loc[np.array(by) == level, "org_id"].nunique() for level in levels])
    return levels, layers, counts


@pytest.mark.parametrize("measure", ["conf", "prep"])
def test_role_means_and_standard_errors_agree_with_r_survey(measure):
    frame = pd.read_csv(REFERENCE / "clustered.csv")
    reference = VALUES["mean"]["role"]["weighted"][measure]
    levels, layers, counts = _means(frame, list(frame["role"]), measure, frame["weight"].to_numpy())
    result = infer(layers, counts)
    order = [levels.index(role) for role in reference["role"]]
    assert result.estimate[order] == pytest.approx(reference["mean"], rel=1e-12)
    # The replicates estimate the linearised standard error: 4,000 of them to about 1.1% (one standard deviation), and
    # R scales by all organisations of the sample where we scale by those of the role.
    assert result.std_error[order] == pytest.approx(reference["std_error"], rel=0.07)
    assert counts[order].tolist() == reference["n_organisations"]


def test_rows_in_any_order_give_the_same_bits():
    frame = pd.read_csv(REFERENCE / "clustered.csv")
    keep = frame.sort_values(["org_id", "resp_id"])
    shuffled = frame.sample(frac=1, random_state=5).sort_values(["org_id", "resp_id"])
    results = [
        _means(data, ["all"] * len(data), "conf", data["weight"].to_numpy(), replicates=64)[1]
        for data in (keep, shuffled)
    ]
    assert np.array_equal(*results)


def test_raking_factors_multiply_whole_cells():
    m = multipliers(cluster_keys(["a", "b"], 1), 3)
    plain = replicated_totals([[0, 0, 1]], [0, 1, 1], [1.0, 2.0, 4.0], m)
    factor = np.array([[2.0, 1.0]] * 4)
    raked = replicated_totals([[0, 0, 1]], [0, 1, 1], [1.0, 2.0, 4.0], m, layer_factor=factor, factor_cell=[0, 0, 1])
    assert raked.weight == pytest.approx(plain.weight * factor)
    assert raked.rows.tolist() == [2, 1]


def test_one_cluster_has_no_standard_error():
    assert np.isnan(small_sample_factor([1])).all()
    assert np.isnan(infer(np.array([[1.0], [1.0]]), [1]).std_error).all()
