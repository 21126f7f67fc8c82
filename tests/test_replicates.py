"""Replicate weights and what they estimate: moments, independence of order and partition, agreement with R's survey."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwork.errors import DesignError
from fieldwork.statistics import replicates as module
from fieldwork.statistics.replicates import (
    CellSums,
    Draws,
    Partition,
    cluster_keys,
    infer,
    linearised_variance,
    mix,
    multipliers,
    replicated_totals,
    small_sample_factor,
    stratified_multipliers,
    stratified_totals,
    weight_grid,
)

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "values.toml").read_text())
R = tomllib.loads((REFERENCE / "replicates.toml").read_text())
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


# ------------------------------------------------------------------------------------------------------ block by block


@given(st.integers(0, 9), st.integers(1, 40), st.sampled_from([1, 63, 64, 65, 200, 700]))
def test_draws_are_the_multipliers_block_by_block(first, count, clusters):
    keys = cluster_keys([f"o{i}" for i in range(clusters)], 3)
    drawn = np.concatenate([block.T.copy() for _, block in Draws(keys, count, first).upper()], axis=1)
    held = multipliers(keys, count, first=first)
    assert Draws(keys, count, first).shape == held.shape == drawn.shape
    assert np.array_equal(np.where(drawn == 1, held.max(), held.min()), held) or held.max() == held.min()
    assert set(np.unique(held[drawn == 1])) <= {module._HIGH}
    assert set(np.unique(held[drawn == 0])) <= {module._LOW}


@pytest.fixture(scope="module")
def survey():
    """900 executives of 150 organisations in 8 cells; every organisation in one of three strata."""
    rng = np.random.default_rng(4)
    cluster = rng.integers(0, 150, 900)
    return pd.DataFrame(
        {
            "org_id": np.array(NAMES)[cluster],
            "stratum": np.array(["a", "b", "c"])[cluster % 3],
            "cell": rng.integers(-1, 8, 900),
            "score": rng.integers(1, 8, 900),
            "weight": rng.uniform(0.2, 3.0, 900),
        }
    )


GRID = weight_grid(900 * 3 * 7)


def _part(data):
    cluster, names = pd.factorize(data["org_id"])
    keys = cluster_keys(list(names), 5)
    return Partition(keys, cluster, data["cell"].to_numpy(), data["weight"].to_numpy(), data[["score"]].to_numpy())


def _empty(replicates=50):
    return CellSums.empty(8, replicates, grid=GRID, values=1)


def _same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("weight", "value", "rows", "clusters")
    )


def test_totals_of_draws_equal_totals_of_multipliers(survey):
    data = survey[survey["cell"] >= 0]
    cluster, names = pd.factorize(data["org_id"])
    keys = cluster_keys(list(names), 5)
    codes = [data["cell"].to_numpy(), data["score"].to_numpy()]
    weight = data["weight"].to_numpy()
    held = replicated_totals(codes, cluster, weight, multipliers(keys, 50))
    drawn = replicated_totals(codes, cluster, weight, Draws(keys, 50))
    assert np.array_equal(held.levels, drawn.levels)
    assert np.array_equal(held.rows, drawn.rows)
    assert drawn.weight == pytest.approx(held.weight, rel=1e-12)
    turned = np.random.default_rng(1).permutation(len(data))
    shuffled = replicated_totals([code[turned] for code in codes], cluster[turned], weight[turned], Draws(keys, 50))
    assert np.array_equal(shuffled.weight, drawn.weight)
    # Raking factors apply to either alike.
    raking = {"layer_factor": np.full((51, 8), 2.0), "factor_cell": data["cell"].to_numpy()}
    assert replicated_totals(codes, cluster, weight, Draws(keys, 50), **raking).weight == pytest.approx(
        2 * held.weight, rel=1e-12
    )


def test_dense_and_sparse_products_give_the_same_bits(survey, monkeypatch):
    dense = _empty().add(_part(survey)).totals()
    monkeypatch.setattr(module, "SPARSE", 0)
    assert _same(_empty().add(_part(survey)).totals(), dense)
    monkeypatch.setattr(module, "_HASHED", 64)
    monkeypatch.setattr(module, "_DRAWN", 1)
    assert _same(_empty().add(_part(survey)).totals(), dense)


def test_scattered_codes_are_sorted_as_close_ones_are():
    m = multipliers(cluster_keys(["a", "b"], 1), 3)
    wide = replicated_totals([[10**9, -5, 10**9], [3, 2, -(10**9)]], [0, 1, 1], [1.0, 2.0, 4.0], m)
    assert wide.levels.tolist() == [[-5, 2], [10**9, -(10**9)], [10**9, 3]]
    assert wide.weight[0].tolist() == [2.0, 4.0, 1.0]
    close = replicated_totals([[7, -5, 7], [3, 2, -1]], [0, 1, 1], [1.0, 2.0, 4.0], m)
    assert close.levels.tolist() == [[-5, 2], [7, -1], [7, 3]]
    assert np.array_equal(close.weight, wide.weight)


# ------------------------------------------------------------------------------------------------------------ exact sums


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_any_partition_in_any_order_gives_the_same_bits(survey, seed, parts):
    whole = _empty().add(_part(survey)).totals()
    rng = np.random.default_rng(seed)
    shuffled = survey.sample(frac=1, random_state=seed)
    of = rng.integers(0, parts, len(survey))
    pieces = [_part(shuffled[of == i]) for i in range(parts)]
    one_by_one = _empty()
    for i in rng.permutation(parts):
        one_by_one = one_by_one.add(pieces[i])
    assert _same(one_by_one.totals(), whole)
    merged = _empty()
    for piece in pieces:
        merged = _empty().add(piece).merge(merged)
    assert _same(merged.totals(), whole)


def test_exact_sums_agree_with_sums_of_rows(survey):
    totals = _empty().add(_part(survey)).totals()
    data = survey[survey["cell"] >= 0]
    m = multipliers(cluster_keys(list(data["org_id"]), 5), 50)
    layers = np.concatenate([np.ones((1, len(data))), m]) * data["weight"].to_numpy()
    for cell in range(8):
        mine = (data["cell"] == cell).to_numpy()
        assert totals.weight[:, cell] == pytest.approx(layers[:, mine].sum(axis=1), rel=1e-11)
        assert totals.value[:, 0, cell] == pytest.approx(layers[:, mine] @ data["score"].to_numpy()[mine], rel=1e-11)
        assert totals.rows[cell] == mine.sum()
        assert totals.clusters[cell] == data.loc[mine, "org_id"].nunique()


def test_rounding_to_the_grid_stays_within_its_bound(survey):
    coarse = CellSums.empty(8, 4, grid=2.0**-6, values=1).add(_part(survey)).totals()
    fine = CellSums.empty(8, 4, grid=2.0**-36, values=1).add(_part(survey)).totals()
    bound = 0.5 * 2.0**-6 * fine.rows
    assert (np.abs(coarse.weight[0] - fine.weight[0]) <= bound + 1e-6).all()
    mean = [t.value[0, 0] / t.weight[0] for t in (coarse, fine)]
    assert (np.abs(mean[0] - mean[1]) <= (7 - 1) * 2.0**-6 / (2 * fine.weight[0] / fine.rows) + 1e-6).all()


@given(st.floats(1e-3, 1e15))
def test_the_grid_leaves_room_for_exact_addition(total):
    assert 2.0**51 < total / weight_grid(total) <= 2.0**52


def test_splitting_rows_by_weights_changes_nothing(survey):
    half = survey.assign(weight=np.round(survey["weight"] * 2**20) / 2**20)
    twice = pd.concat([half.assign(weight=half["weight"] / 2)] * 2)
    one, two = (_empty().add(_part(data)).totals() for data in (half, twice))
    assert np.array_equal(one.weight, two.weight)
    assert np.array_equal(one.value, two.value)


def test_what_cannot_be_summed_is_refused(survey):
    part = _part(survey)
    scores = survey[["score"]].to_numpy()
    cases = [
        (
            lambda: _empty().add(Partition(part.keys, part.cluster, part.cell, part.weight * np.nan, scores)),
            """DesignError: respondents without a weight
  where     statistics.replicates.CellSums.add
  expected  a finite weight for each row of a cell
  got       {n} of {n} rows without
  hint      weight the respondents first, or give their rows cell -1""".format(n=int((survey["cell"] >= 0).sum())),
        ),
        (
            lambda: _empty().add(Partition(part.keys, part.cluster, part.cell, part.weight, scores + 0.5)),
            f"""DesignError: values that are not whole numbers do not add exactly
  where     statistics.replicates.CellSums.add
  expected  whole numbers, as scale points
  got       {survey.loc[survey["cell"] >= 0, "score"].iloc[0] + 0.5} in value column 0
  hint      multiply by what makes them whole (2 for half points) and divide the result; a row that lacks the value gets cell -1""",
        ),
        (
            lambda: _empty().add(Partition(part.keys, part.cluster, part.cell, part.weight)),
            """DesignError: another number of value columns than the sums have
  where     statistics.replicates.CellSums.add
  expected  1
  got       0
  hint      pass values with one column per value that CellSums.empty was told of""",
        ),
        (
            lambda: CellSums.empty(7, 5, grid=GRID, values=1).add(part),
            """DesignError: a cell beyond the last one
  where     statistics.replicates.CellSums.add
  expected  cells 0 to 6, or -1
  got       7
  hint      start from CellSums.empty with the number of cells of the whole study""",
        ),
        (
            lambda: _empty().merge(_empty(51)),
            f"""DesignError: these sums were not made to be merged
  where     statistics.replicates.CellSums.merge
  expected  cells, values, replicates and grid 8, 1, 50, {GRID}
  got       8, 1, 51, {GRID}
  hint      start every partition from the same CellSums.empty(...)""",
        ),
        (
            lambda: weight_grid(0.0),
            """DesignError: a weight grid needs the size of the total
  where     statistics.replicates.weight_grid
  expected  a finite number above 0
  got       0.0
  hint      pass respondents x largest weight x largest score, over all partitions""",
        ),
        (
            lambda: linearised_variance([1.0, 2.0, 3.0], ["a", "a", "b"]),
            """DesignError: a stratum with a single organisation has no variance between organisations
  where     statistics.replicates.linearised_variance
  expected  at least two organisations in each stratum
  got       fewer in b
  hint      merge the stratum with the one most like it, by a rule that does not look at answers""",
        ),
        (
            lambda: stratified_totals({}),
            """DesignError: a stratified total needs a stratum
  where     statistics.replicates.stratified_totals
  expected  at least one stratum
  got       none
  hint      pass a mapping from stratum to its CellSums""",
        ),
    ]
    for call, text in cases:
        with pytest.raises(DesignError) as caught:
            call()
        assert str(caught.value) == text


def test_totals_that_outgrow_exact_addition_are_refused(survey):
    sums = CellSums.empty(8, 2, grid=2.0**-40, values=1).add(_part(survey))
    with pytest.raises(DesignError, match="outgrow exact addition"):
        CellSums.empty(8, 2, grid=2.0**-42, values=1).add(_part(survey))
    with pytest.raises(DesignError, match="outgrow exact addition"):
        sums.merge(sums).merge(sums)


# ---------------------------------------------------------------------------------------------------------------- strata


def _linearised(frame, measure, role=None):
    inside = np.ones(len(frame), bool) if role is None else (frame["role"] == role).to_numpy()
    w = frame["weight"].to_numpy() * inside
    mean = (w @ frame[measure]) / w.sum()
    names, at = np.unique(frame["org_id"], return_inverse=True)
    strata = frame.groupby("org_id")["size_band"].first().loc[names].to_numpy()
    return mean, np.bincount(at, w * (frame[measure] - mean) / w.sum()), np.bincount(at, w * frame[measure]), strata


@pytest.mark.parametrize("measure", ["conf", "prep"])
@pytest.mark.parametrize("design", ["plain", "stratified"])
def test_linearised_variance_equals_r_survey(measure, design):
    frame = pd.read_csv(REFERENCE / "clustered.csv")
    reference = R[design][measure]
    mean, u, totals, strata = _linearised(frame, measure)
    by = strata if design == "stratified" else None
    assert mean == pytest.approx(reference["mean"], rel=1e-13)
    assert np.sqrt(linearised_variance(u, by)) == pytest.approx(reference["mean_std_error"], rel=1e-12)
    assert np.sqrt(linearised_variance(totals, by)) == pytest.approx(reference["total_std_error"], rel=1e-12)
    for role, value in zip(reference["role"], reference["role_std_error"], strict=True):
        assert np.sqrt(linearised_variance(_linearised(frame, measure, role)[1], by)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("measure", ["conf", "prep"])
def test_stratified_replicates_estimate_the_standard_errors_of_r_survey(measure):
    frame = pd.read_csv(REFERENCE / "clustered.csv")
    reference = R["stratified"][measure]
    grid = weight_grid(frame["weight"].sum() * 5)
    start = CellSums.empty(2, 8000, grid=grid, values=1)
    sums = {}
    for name, data in frame.groupby("size_band"):
        # A role is a domain of the sample: organisations without one stay in their stratum, by rows of cell -1.
        cto = np.where(data["role"] == reference["role"][3], 0, -1)
        both = pd.concat([data.assign(cell=cto), data.assign(cell=1)])
        cluster, names = pd.factorize(both["org_id"])
        sums[name] = start.add(
            Partition(
                cluster_keys(list(names), 2),
                cluster,
                both["cell"].to_numpy(),
                both["weight"].to_numpy(),
                both[[measure]].to_numpy(),
            )
        )
    totals = stratified_totals(sums)
    assert [len(sums[name].keys) for name in R["strata"]["stratum"]] == R["strata"]["organisations"]
    result = infer(totals.value[:, 0] / totals.weight, [42, 42], strata=[3, 3])
    # 8,000 replicates leave 0.8% of noise (one standard deviation); a ratio's replicates see its curvature as well.
    assert result.estimate == pytest.approx([reference["role_mean"][3], reference["mean"]], rel=1e-9)
    assert result.std_error == pytest.approx([reference["role_std_error"][3], reference["mean_std_error"]], rel=0.04)
    total = infer(totals.value[:, 0, 1], 42, strata=3)
    assert total.std_error == pytest.approx(reference["total_std_error"], rel=0.03)
    half = float(total.conf_high - total.estimate) / float(total.std_error)
    assert half == pytest.approx(2.02269092003676, rel=1e-12)  # t(39), R: qt(.975, degf)


def test_stratified_totals_equal_stratified_multipliers(survey):
    sums = {name: _empty().add(_part(data)) for name, data in survey.groupby("stratum")}
    totals = stratified_totals(sums)
    names, at = np.unique(survey["org_id"], return_inverse=True)
    strata = survey.groupby("org_id")["stratum"].first().loc[names]
    m = stratified_multipliers(multipliers(cluster_keys(list(names), 5), 50), strata)
    inside = (survey["cell"] >= 0).to_numpy()
    held = replicated_totals([survey["cell"][inside]], at[inside], survey["weight"][inside], m)
    assert totals.weight == pytest.approx(held.weight, rel=1e-10, abs=1e-9)
    # No replicate moves a total that is the same in every organisation of a stratum.
    same = m @ np.where(strata == "a", 2.0, 5.0)
    assert same == pytest.approx(np.full(50, np.where(strata == "a", 2.0, 5.0).sum()), rel=1e-12)


def test_one_stratum_is_a_sample_without_strata():
    m = multipliers(cluster_keys(NAMES[:20], 1), 4000)
    totals = np.random.default_rng(2).normal(size=20)
    replicated = stratified_multipliers(m, ["all"] * 20) @ totals
    assert np.mean((replicated - totals.sum()) ** 2) == pytest.approx(float(linearised_variance(totals)), rel=0.08)
    assert float(linearised_variance(totals)) == pytest.approx(20 * totals.var(ddof=1), rel=1e-12)


@given(st.permutations(range(12)))
def test_linearised_variance_ignores_order_and_names(order):
    u = np.arange(12.0) ** 1.5
    strata = np.repeat(["a", "b", "c"], 4)
    renamed = np.repeat(["z", "y", "x"], 4)
    order = list(order)
    assert linearised_variance(u[order], renamed[order]) == pytest.approx(
        float(linearised_variance(u, strata)), rel=1e-12
    )


# --------------------------------------------------------------------------------------------------- drawn, not held


@given(st.integers(0, 9), st.integers(1, 60), st.sampled_from([1, 3, 64, 200]), st.sampled_from([1, 300, 1 << 22]))
def test_draws_stand_for_the_array(first, count, clusters, block):
    keys = cluster_keys([f"o{i}" for i in range(clusters)], 3)
    drawn, held = Draws(keys, count, first), multipliers(keys, count, first=first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        assert np.array_equal(np.concatenate([part for _, part in drawn.blocks()], axis=1).T, held)
        assert np.array_equal(np.array(list(drawn)), held)
        values = np.arange(2.0 * clusters).reshape(clusters, 2)
        assert drawn @ values == pytest.approx(held @ values, rel=1e-12)
        assert drawn @ values[:, 0] == pytest.approx(held @ values[:, 0], rel=1e-12)
    assert np.array_equal(np.asarray(drawn), held)
    assert len(drawn) == len(held)
    picked = np.arange(clusters)[::-2]
    assert np.array_equal(np.asarray(drawn[:, picked]), held[:, picked])
    odd = np.arange(clusters) % 2 == 1
    assert np.array_equal(np.asarray(drawn[:, odd]), held[:, odd])
    assert np.array_equal(np.asarray(drawn[:, 1:]), held[:, 1:])
    assert np.array_equal(np.asarray(drawn[2:5, picked]), held[2:5, picked])
    assert np.array_equal(np.asarray(drawn[1:, picked][1:, :1]), held[2:, picked][:, :1])
    with pytest.raises(TypeError, match="by a slice of replicates"):
        drawn[0, picked]
    with pytest.raises(TypeError, match="not in steps of 2"):
        drawn[::2, picked]


def test_totals_of_draws_are_those_of_the_array_and_hang_on_no_block(survey, monkeypatch):
    data = survey[survey["cell"] >= 0]
    cluster, names = pd.factorize(data["org_id"])
    keys = cluster_keys(list(names), 5)
    codes, weight = [data["cell"].to_numpy(), data["score"].to_numpy()], data["weight"].to_numpy()
    raking = {"layer_factor": np.random.default_rng(0).uniform(0.5, 2, (51, 8)), "factor_cell": data["cell"].to_numpy()}
    for options in ({}, raking):
        held = replicated_totals(codes, cluster, weight, multipliers(keys, 50), **options).weight
        found = []
        for block in (1 << 8, 1 << 18):
            monkeypatch.setattr(module, "_DRAWN", block)
            found.append(replicated_totals(codes, cluster, weight, Draws(keys, 50), **options).weight)
        assert np.array_equal(*found)
        assert found[0] == pytest.approx(held, rel=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([2.0**20, 2.0**24, 2.0**30]), st.booleans())
def test_packed_products_give_the_sums_of_each_amount(seed, amounts, size, signed):
    """Two whole numbers in one float64 must never touch: sums of each are those of a product of its own, to the last bit."""
    rng = np.random.default_rng(seed)
    n, clusters, columns = 300, 40, int(rng.integers(1, 30))
    cluster, column = rng.integers(0, clusters, n), rng.integers(0, columns, n)
    first = np.rint(rng.uniform(-0.2 if signed else 0.0, 2.0, n) * size)
    parts = [first, *(first * rng.integers(-3, 8, n) for _ in range(amounts - 1))]
    keys = cluster_keys([f"o{i}" for i in range(clusters)], 1)
    found = module._upper_totals(Draws(keys, 30), cluster, column, parts, columns)
    upper = multipliers(keys, 30) == module._HIGH
    for v, part in enumerate(parts):
        for f in range(columns):
            mine = column == f
            expected = [sum(int(x) for x in part[mine & upper[b][cluster]]) for b in range(0, 30, 7)]
            assert found[::7, v, f].tolist() == expected


def test_numbers_that_fill_a_float_are_not_packed():
    """Sums of 2**46 and 2**51: no unit leaves room for both, so each has its own product."""
    keys = cluster_keys([f"o{i}" for i in range(16)], 1)
    low, high = np.full(16, 2.0**42), np.full(16, 2.0**47) * np.where(np.arange(16) % 2, 1.0, -0.875)
    found = module._upper_totals(Draws(keys, 40), np.arange(16), np.zeros(16, int), [low, high], 1)
    upper = multipliers(keys, 40) == module._HIGH
    assert found[:, 0, 0].tolist() == (upper @ low).tolist()
    assert found[:, 1, 0].tolist() == (upper @ high).tolist()
