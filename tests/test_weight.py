"""Raking: a worked example, R's survey::rake, a solver that is not ours, properties, and the texts of refusals."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from fieldwork.errors import ConvergenceError, DataError, DesignError, InstrumentError
from fieldwork.instrument import Instrument
from fieldwork.weight import Margin, Margins, rake, rake_cells

REFERENCE = Path(__file__).parent / "reference"

INSTRUMENT = """
[instrument]
id = "small"
version = "1"
title = "A small survey"

[keys]
respondent = "resp_id"
wave = "wave"

[items.resp_id]
kind = "identifier"
label = "Respondent"

[items.wave]
kind = "text"
label = "Wave"

[items.role]
kind = "single"
label = "Role"
options = [{ code = 1, id = "CEO", label = "Chief Executive" }, { code = 4, id = "CIO", label = "Information" },
           { code = 7, id = "CISO", label = "Security" }]
"""

ROLES = '[margins.role]\nsource = "a census"\ndate = "2026"\n[margins.role.target]\n'


def margins_of(shares: dict[str, dict[str, float]]) -> Margins:
    return Margins(
        tuple(Margin(name, tuple(target), np.array(list(target.values()))) for name, target in shares.items()),
        "2026Q1.margins.toml",
    )


@pytest.fixture
def loaded(tmp_path: Path):
    (tmp_path / "2026Q1.toml").write_text(INSTRUMENT, encoding="utf-8")
    instrument = Instrument.load(tmp_path / "2026Q1.toml", "2026Q1")

    def load(text: str) -> Margins:
        (tmp_path / "2026Q1.margins.toml").write_text(text, encoding="utf-8")
        return Margins.load(tmp_path / "2026Q1.margins.toml", instrument)

    return load


def test_two_by_two_by_hand():
    """Cells 30 20 / 10 40 to even margins keep their odds ratio 6, so the first is x / (1/2 - x) = sqrt 6."""
    x = np.sqrt(6) / (1 + np.sqrt(6)) / 2
    fitted = np.array([x, 0.5 - x, 0.5 - x, x])
    factors = rake_cells([[30, 20, 10, 40]], [[0, 0, 1, 1], [0, 1, 0, 1]], [[0.5, 0.5], [0.5, 0.5]])
    assert factors[0] == pytest.approx(fitted / [0.3, 0.2, 0.1, 0.4], abs=1e-11)


@pytest.mark.parametrize("start", ["unweighted", "weighted"])
def test_raked_weights_are_those_of_r(start):
    reference = tomllib.loads((REFERENCE / "values.toml").read_text(encoding="utf-8"))["raking"][start]
    sample = pd.read_csv(REFERENCE / "clustered.csv")
    margins = margins_of(
        {name: dict(zip(reference[name], reference[f"{name}_target"], strict=True)) for name in ("role", "size_band")}
    )
    raked = rake(sample, margins, design="weight" if start == "weighted" else "")
    assert raked.weight.to_numpy() == pytest.approx(np.array(reference["weight"]), abs=1e-9)
    assert raked.design_effect == pytest.approx(reference["design_effect"], abs=1e-10)
    assert raked.n_effective == pytest.approx(reference["n_effective"], abs=1e-7)


def random_table(seed: int, *, roles: int = 6, sizes: int = 3):
    rng = np.random.default_rng(seed)
    role, size = (axis.ravel() for axis in np.indices((roles, sizes)))
    base = rng.gamma(1.5, 20.0, roles * sizes) + 1
    targets = [rng.dirichlet(np.full(roles, 20.0)), rng.dirichlet(np.full(sizes, 20.0))]
    return base, [role, size], targets


@pytest.mark.parametrize("seed", range(5))
def test_capped_raking_is_the_solution_of_deville_and_sarndal(seed):
    """Least raking distance sum d (g log g - g + 1) under margins and g <= cap, by a general optimiser."""
    base, levels, targets = random_table(seed)
    share = base / base.sum()
    goal = np.concatenate(targets)[:-1]  # the last level follows from the others
    free = rake_cells([base], levels, targets, cap=np.inf)[0]
    cap = 0.5 * (free.max() + np.sort(free)[-2]) if free.max() > 1.05 else 1.5
    design = np.vstack(
        [(level == k).astype(float) for level, target in zip(levels, targets, strict=True) for k in range(len(target))][
            :-1
        ]
    )
    found = optimize.minimize(
        lambda g: share @ (g * np.log(g) - g + 1),
        np.ones_like(share),
        jac=lambda g: share * np.log(g),
        bounds=[(1e-6, cap)] * len(share),
        constraints={
            "type": "eq",
            "fun": lambda g: (design * share) @ g - goal,
            "jac": lambda _: design * share,
        },
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    assert found.success
    ours = rake_cells([base], levels, targets, cap=cap)[0]
    assert ours.max() <= cap + 1e-12
    assert ours == pytest.approx(found.x, abs=2e-5)


def test_every_layer_is_raked_as_if_alone():
    rng = np.random.default_rng(3)
    _, levels, _ = random_table(3)
    targets = [np.full(6, 1 / 6), np.array([0.5, 0.3, 0.2])]
    layers = rng.uniform(20, 60, 18) * rng.choice([0.38, 2.62], (50, 18))
    together = rake_cells(layers, levels, targets, cap=7.0)
    alone = np.vstack([rake_cells(layer[None], levels, targets, cap=7.0) for layer in layers])
    assert (together == alone).all()
    for level, target in zip(levels, targets, strict=True):
        achieved = np.array([np.bincount(level, row, minlength=len(target)) / row.sum() for row in layers * together])
        assert np.abs(achieved - target).max() < 1e-10


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(120, 300), cap=st.sampled_from([4.0, 6.0, 20.0]))
def test_margins_hold_and_order_and_splitting_do_not_matter(seed, n, cap):
    rng = np.random.default_rng(seed)
    sample = pd.DataFrame({"role": rng.choice(list("abcd"), n), "size": rng.choice(list("xyz"), n, p=[0.5, 0.3, 0.2])})
    margins = margins_of({"role": dict.fromkeys("abcd", 0.25), "size": {"x": 0.4, "y": 0.35, "z": 0.25}})
    raked = rake(sample, margins, cap=cap)
    assert np.abs(raked.margins["achieved"] - raked.margins["target"]).max() < 1e-6
    assert raked.weight.mean() == pytest.approx(1.0)
    assert raked.weight.max() <= cap * (1 + 1e-9)
    assert raked.design_effect >= 1
    shuffled = rake(sample.sample(frac=1, random_state=seed), margins, cap=cap)
    assert (shuffled.weight.sort_index() == raked.weight).all()
    doubled = rake(pd.concat([sample, sample], ignore_index=True), margins, cap=cap)
    assert doubled.weight[:n].to_numpy() == pytest.approx(raked.weight.to_numpy(), abs=1e-8)
    turned = rake(sample, Margins(margins.margins[::-1]), cap=cap)
    assert turned.weight.to_numpy() == pytest.approx(raked.weight.to_numpy(), abs=1e-8)


def test_design_weights_are_multiplied_and_the_cap_bounds_the_product():
    sample = pd.DataFrame({"role": ["a"] * 6 + ["b"] * 4, "w": [1, 1, 1, 1, 1, 8, 1, 1, 1, 1]})
    margins = margins_of({"role": {"a": 0.6, "b": 0.4}})
    free = rake(sample, margins, cap=100, design="w").weight
    assert free[:5].to_numpy() == pytest.approx(np.full(5, 6 / 13))
    assert free[5] == pytest.approx(8 * 6 / 13)
    capped = rake(sample, margins, cap=2.5, design="w")
    assert capped.weight[5] == pytest.approx(2.5)
    assert capped.weight[:5].to_numpy() == pytest.approx(np.full(5, 0.7))
    assert capped.share_trimmed == pytest.approx(0.1)


def test_without_margins_everybody_weighs_the_same():
    raked = rake(pd.DataFrame({"role": ["a", "b", "b"]}), Margins())
    assert raked.weight.tolist() == [1.0, 1.0, 1.0]
    assert raked.summary() == {
        "n": 3,
        "design_effect": 1.0,
        "n_effective": 3.0,
        "cap": 5.0,
        "share_trimmed": 0.0,
        "largest_share": pytest.approx(1 / 3),
        "lowest": 1.0,
        "highest": 1.0,
        "margins": "unweighted",
    }
    assert raked.shown().loc[0].tolist() == ["raked to", "nothing: unweighted"]
    assert raked.table(pd.Series(["r1", "r2", "r3"])).to_dict("list") == {
        "resp_id": ["r1", "r2", "r3"],
        "weight": [1.0, 1.0, 1.0],
    }


def test_an_empty_cell_is_refused_whole():
    sample = pd.DataFrame({"role": ["CEO", "CIO", "CIO"]})
    margins = margins_of({"role": {"CEO": 0.4, "CIO": 0.4, "CISO": 0.2}})
    with pytest.raises(DesignError) as refused:
        rake(sample, margins)
    assert str(refused.value) == (
        "DesignError: margin 'role' names a level the sample lacks\n"
        "  where     weight.rake, 2026Q1.margins.toml\n"
        "  expected  each level observed at least once: CEO, CIO, CISO\n"
        "  got       'CISO' (0 of 3 respondents)\n"
        "  hint      merge the level under [margins.role.merge] or drop it from the target"
    )


def test_a_missing_raking_variable_is_an_error_and_never_a_cell():
    sample = pd.DataFrame({"role": pd.array(["CEO", None, "CIO"], dtype="string")})
    with pytest.raises(DataError, match="respondents without the raking variable role") as refused:
        rake(sample, margins_of({"role": {"CEO": 0.5, "CIO": 0.5}}))
    assert refused.value.got == "1 missing"


def test_a_level_that_the_margin_does_not_name_is_refused():
    sample = pd.DataFrame({"role": ["CEO", "COO", "CIO"]})
    with pytest.raises(DesignError, match="does not name") as refused:
        rake(sample, margins_of({"role": {"CEO": 0.5, "CIO": 0.5}}))
    assert refused.value.got == "COO (1 of 3 respondents)"


def test_a_cap_out_of_reach_says_which_cap_would_do():
    sample = pd.DataFrame({"role": ["a"] * 19 + ["b"]})
    with pytest.raises(DesignError, match="keeps a margin out of reach") as refused:
        rake(sample, margins_of({"role": {"a": 0.5, "b": 0.5}}), cap=5)
    assert refused.value.expected == "a cap of at least 10.00 times the mean weight"


def test_margins_that_exclude_one_another_are_refused():
    """Only cells (0, 0) and (1, 1) are filled, so both margins must be alike; they are not."""
    with pytest.raises(ConvergenceError, match="did not meet its margins"):
        rake_cells([[50.0, 50.0]], [[0, 1], [0, 1]], [[0.5, 0.5], [0.6, 0.4]])


def test_margins_file_is_read_and_merged(loaded):
    margins = loaded(ROLES + 'CEO = 0.5\nCIO = 0.3\nCISO = 0.2\n[margins.role.merge]\nCISO = "CIO"\n')
    assert margins.margins[0].levels == ("CEO", "CIO")
    assert margins.targets["role"].tolist() == [0.5, 0.5]
    raked = rake(pd.DataFrame({"role": ["CEO", "CISO", "CIO"]}), margins)
    assert raked.margins_shown().to_dict("records") == [
        {"variable": "role", "level": "CEO", "sample": "33%", "target": "50%", "achieved": "50%"},
        {"variable": "role", "level": "CIO", "sample": "67%", "target": "50%", "achieved": "50%"},
    ]
    assert raked.summary()["margins"] == [{"variable": "role", "source": "a census", "date": "2026"}]
    by_id = pd.DataFrame({"role": ["CEO", "CISO", "CIO"]})
    by_code = pd.DataFrame({"role": pd.array([1, 7, 4], dtype="Int8")})
    assert margins.codes(by_id, "role").tolist() == margins.codes(by_code, "role").tolist() == [0, 1, 1]


def test_a_study_without_margins_file_has_no_margins():
    assert Margins.load(None, None).targets == {}


@pytest.mark.parametrize(
    ("text", "title", "hint"),
    [
        (ROLES + "CEO = 0.5\nCISSO = 0.5\n", "names a level that the instrument lacks", "did you mean CISO?"),
        (ROLES + "CEO = 0.5\nCIO = 0.3\n", "does not add to 1", "rounding up to 0.005"),
        (ROLES + "CEO = 1.0\nCIO = 0\n", "has a share that is no share", "drop a level"),
        (ROLES.replace('date = "2026"', "") + "CEO = 1.0\n", "does not say its date", "cannot be reported"),
        (ROLES + 'CEO = 1.0\n[margins.role.merge]\nCIO = "CISO"\n', "merges into a level that it lacks", "merge into"),
        (ROLES.replace("role", "rolle") + "CEO = 1.0\n", "does not ask item 'rolle'", "did you mean 'role'?"),
        ("[margins\n", "cannot be read", "mend the line"),
        ("[other]\n", "holds more than margins", "under [margins.NAME]"),
    ],
)
def test_a_faulty_margins_file_is_refused(loaded, text, title, hint):
    with pytest.raises(InstrumentError) as refused:
        loaded(text)
    assert title in refused.value.title
    assert hint in refused.value.hint


@pytest.mark.parametrize("weights", [[1, 0, 2], [1, None, 2]])
def test_unusable_design_weights_are_refused(weights):
    sample = pd.DataFrame({"role": ["a", "b", "b"], "w": weights})
    with pytest.raises(DataError, match="without a usable design weight"):
        rake(sample, Margins(), design="w")


def test_nobody_and_a_useless_cap_are_refused():
    with pytest.raises(DesignError, match="nobody to weight"):
        rake(pd.DataFrame({"role": []}), Margins())
    with pytest.raises(DesignError, match="no room"):
        rake(pd.DataFrame({"role": ["a"]}), Margins(), cap=1)
