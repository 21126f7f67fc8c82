"""Weights that are not held: the same statistics as from arrays, layer by layer and in every chapter."""

import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from fieldwork.constructs import cells, readiness
from fieldwork.run.inline import run_inline
from fieldwork.statistics import layers as module
from fieldwork.statistics.layers import Layers, as_layers, by_layer, grouped, layer_weights, spans
from fieldwork.statistics.replicates import Draws, cluster_keys, multipliers
from tests.drawn_study import untold

ROOT = Path(__file__).resolve().parents[1]
WAVES = ("2026Q1", "2026Q2")


@pytest.fixture(
    params=[(False, 1), (True, 1), (False, 2), (True, 2)], ids=["plain", "raked", "squared", "raked, squared"]
)
def both(request):
    """Weights of 300 respondents of 40 organisations in 51 layers, held and drawn."""
    raked, power = request.param
    rng = np.random.default_rng(4)
    keys = cluster_keys([f"o{i}" for i in range(40)], 3)
    cluster, weight = rng.integers(0, 40, 300), rng.uniform(0.2, 3, 300)
    factor, cell = (rng.uniform(0.5, 2, (51, 6)), rng.integers(0, 6, 300)) if raked else (None, None)
    return tuple(
        layer_weights(drawn, cluster, weight, factor, cell, power) for drawn in (multipliers(keys, 50), Draws(keys, 50))
    )


def test_what_is_drawn_is_what_is_held(both, monkeypatch):
    held, drawn = both
    assert isinstance(held, np.ndarray)
    assert isinstance(drawn, Layers)
    assert drawn.shape == held.shape == (51, 300)
    assert np.array_equal(drawn[:], held)
    assert np.array_equal(drawn[0], held[0])
    assert np.array_equal(drawn[3:9], held[3:9])
    assert drawn[60:].shape == (0, 300)
    pick = np.arange(300)[::-7]
    assert np.array_equal(drawn[:, pick][1:5], held[1:5, pick])
    assert np.array_equal(drawn[:, held[0] > 1][:], held[:, held[0] > 1])
    for block in (1, 300 * 13, 1 << 22):
        monkeypatch.setattr(module, "_BLOCK", block)
        covered = [layer for part in spans(drawn) for layer in range(part.start, part.stop)]
        assert covered == list(range(51))
        assert np.array_equal(by_layer(drawn, lambda block: block.max(axis=1)), held.max(axis=1))


@pytest.mark.parametrize("filled", [0, 5])
@pytest.mark.parametrize("at_once", [1, 1 << 25])
def test_products_and_sums_are_those_of_the_array(both, at_once, filled, monkeypatch):
    monkeypatch.setattr(module, "_FILLED", filled)
    monkeypatch.setattr(module, "_SUMS", at_once)
    monkeypatch.setattr(module, "_ENTRIES", at_once)
    held, drawn = both
    rng = np.random.default_rng(5)
    values = rng.normal(size=(300, 3)) * (rng.uniform(size=(300, 3)) < 0.5)
    for each in (values, values[:, 0], np.zeros((300, 2)), np.empty((300, 0))):
        assert drawn @ each == pytest.approx(held @ each, rel=1e-9, abs=1e-9)
    assert drawn @ sparse.coo_array(values) == pytest.approx(held @ values, rel=1e-9, abs=1e-9)
    assert drawn.sum(axis=1) == pytest.approx(held.sum(axis=1), rel=1e-12)
    assert drawn.sum(axis=1, keepdims=True).shape == (51, 1)
    place = rng.integers(0, 7, 300)
    assert grouped(drawn, place, 8) == pytest.approx(grouped(held, place, 8), rel=1e-12)


def test_an_array_of_what_is_not_held_is_refused(both):
    drawn = both[1]
    with pytest.raises(TypeError, match="are not held: take blocks of layers"):
        np.asarray(drawn)
    with pytest.raises(TypeError, match="not in steps of 2"):
        drawn[::2]
    with pytest.raises(TypeError, match="columns are picked of all layers"):
        drawn[1:, [0]]
    with pytest.raises(TypeError, match="summed within layers"):
        drawn.sum(axis=0)
    assert as_layers(drawn) is drawn


KINDS = {"held": (1 << 27, 1 << 30), "drawn": (0, 1 << 30), "gathered": (1 << 27, 0)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Every table of a study's second wave: from multipliers that are held, drawn, or of organisations in variance units."""
    graph = tomllib.loads((ROOT / "notebooks/chapters.toml").read_text(encoding="utf-8"))["chapter"]
    chapters = [
        step["name"] for step in graph if '"replicates: int' in _text(step) and step["name"] != "08c_multiverse"
    ]
    assert len(chapters) == 9
    delivered, found = tmp_path_factory.mktemp("delivered") / "study", {}
    untold("diverging", delivered, organisations=110, waves=2, seed=3)
    for name in ("01_clean", "03_weight"):
        for wave in WAVES:
            run_inline(ROOT / f"notebooks/{name}.ipynb", {"study": str(delivered), "wave": wave})
    for kind, (held, most) in KINDS.items():
        folder = tmp_path_factory.mktemp(kind) / "study"
        shutil.copytree(delivered, folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cells, "_HELD", held)
            patch.setattr(cells, "_MOST", most)
            patch.setattr(readiness, "_HELD", held or 110 * 10 * 7)  # blocks of seven layers
            for name in chapters:
                run_inline(ROOT / f"notebooks/{name}.ipynb", {"study": str(folder), "wave": WAVES[1], "replicates": 40})
        found[kind] = {
            path.relative_to(folder): pd.read_parquet(path) for path in folder.rglob("processed/*/*.parquet")
        }
    return found


def _text(step):
    path = ROOT / f"notebooks/{step['name']}.ipynb"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_every_chapter_says_the_same_where_multipliers_are_not_held(tables):
    held, drawn = tables["held"], tables["drawn"]
    assert set(held) == set(drawn)
    shown = 0
    for name, table in held.items():
        other = drawn[name]
        assert list(other) == list(table)
        assert len(other) == len(table)
        for column in table:
            if column == "draws":
                one, two = (np.concatenate([[], *of[column]]).astype(float) for of in (table, other))
                assert np.allclose(one, two, rtol=1e-6, atol=1e-8, equal_nan=True), (name, column)
            elif table[column].dtype.kind == "f":
                one, two = (of[column].to_numpy(float, na_value=np.nan) for of in (table, other))
                worst = np.nanmax(np.abs(one - two), initial=0.0)
                assert np.allclose(one, two, rtol=1e-7, atol=1e-9, equal_nan=True), (name, column, worst)
            else:
                assert table[column].equals(other[column]), (name, column)
        shown += int(table["status"].isin(["ok", "flagged"]).sum()) if "status" in table else 0
    assert shown > 2000


def test_variance_units_leave_estimates_and_the_size_of_their_errors(tables):
    """Organisations have other multipliers, most of them still one each: the same estimates, standard errors as large."""
    ratios = []
    for name, table in tables["held"].items():
        if "std_error" not in table:
            continue
        other = tables["gathered"][name]
        keys = ["construct", "measure", "statistic", "role", "role_2", "stage", "item", "segment"]
        assert table[keys].equals(other[keys]), name
        known = table["std_error"].notna() & other["std_error"].notna() & (table["std_error"] > 1e-3)
        ratios.append((other["std_error"] / table["std_error"])[known].to_numpy(float))
        plain = table["statistic"].isin(["role_mean", "stage_mean", "answer_share", "prevalence", "raking_efficiency"])
        one, two = (of.loc[plain, "estimate"].to_numpy(float, na_value=np.nan) for of in (table, other))
        assert np.allclose(one, two, rtol=1e-9, equal_nan=True), name
    ratio = np.concatenate(ratios)
    assert len(ratio) > 1500
    assert abs(np.log(np.median(ratio))) < 0.05
    assert np.quantile(np.abs(np.log(ratio)), 0.9) < 0.6  # forty replicates know a standard error to 11%
