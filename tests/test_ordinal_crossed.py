"""Several random intercepts by Laplace: R's clmm, the exact gradient, nesting, the boundary."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.errors import DesignError
from fieldwork.statistics.cumulative_links import LINKS, link_named
from fieldwork.statistics.ordinal_crossed import _Problem, fit_crossed

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "ordinal.toml").read_text())
WINE = pd.read_csv(REFERENCE / "wine.csv")
X = np.column_stack([WINE["temp"] == "warm", WINE["contact"] == "yes"]).astype(float)


def agrees(fit, reference, k):
    expected = [*reference["thresholds"], *reference["coefficients"]]
    assert fit.params.to_numpy()[:k] == pytest.approx(expected, abs=1e-4)
    assert fit.bse.to_numpy()[:k] == pytest.approx(reference["std_error"], abs=5e-4)
    assert fit.llf == pytest.approx(reference["log_likelihood"], abs=5e-5)
    assert fit.gradient < 1e-6


def test_one_grouping_is_clmms_laplace():
    fit = fit_crossed(WINE["rating"] - 1, X, {"judge": WINE["judge"]}, categories=[1, 2, 3, 4, 5])
    agrees(fit, VALUES["clmm"]["wine"]["laplace"], 6)
    assert fit.params["sd(judge)"] == pytest.approx(VALUES["clmm"]["wine"]["laplace"]["sd"][0], abs=1e-4)


def test_wine_crossed_has_no_bottle_effect():
    fit = fit_crossed(WINE["rating"] - 1, X, {"judge": WINE["judge"], "bottle": WINE["bottle"]})
    reference = VALUES["crossed"]["wine"]
    assert fit.params["sd(bottle)"] == 0.0
    assert np.isnan(fit.bse["sd(bottle)"])
    assert reference["sd"][1] < 1e-3
    agrees(fit, reference, 6)


def test_two_crossed_groupings_agree_with_r_ordinal():
    frame = pd.read_csv(REFERENCE / "clustered.csv")
    stage = np.column_stack([frame["stage_fn"] == "piloting", frame["stage_fn"] == "scaled"]).astype(float)
    fit = fit_crossed(frame["conf"] - 1, stage, {"org_id": frame["org_id"], "role": frame["role"]})
    reference = VALUES["crossed"]["clustered"]
    agrees(fit, reference, 6)
    assert [fit.params["sd(org_id)"], fit.params["sd(role)"]] == pytest.approx(reference["sd"], abs=1e-4)
    ends = fit.conf_int()
    assert (ends["conf_low"] < fit.params).all()
    assert ends.loc["sd(role)", "conf_low"] > 0


@pytest.mark.parametrize("link", list(LINKS))
def test_gradient_is_that_of_the_approximation(link):
    groups = [pd.factorize(WINE[name])[0] for name in ("judge", "bottle")]
    weight = np.random.default_rng(0).uniform(0.5, 1.5, len(WINE))
    problem = _Problem((WINE["rating"] - 1).to_numpy(), X, groups, [9, 8], weight, link_named(link), 5)
    theta = np.array([-1.0, 0.9, 0.8, 0.5, 1.5, 0.7, 0.9, 0.4])
    _, gradient = problem.negative(theta)
    h = 1e-5 * np.eye(len(theta))
    slope = [(problem.negative(theta + e)[0] - problem.negative(theta - e)[0]) / 2e-5 for e in h]
    assert gradient == pytest.approx(slope, abs=2e-5)


def test_a_nested_panel_recovers_both_spreads():
    rng = np.random.default_rng(3)
    firm, person = np.repeat(np.arange(60), 16), np.repeat(np.arange(240), 4)
    eta = 1.0 * rng.standard_normal(60)[firm] + 0.7 * rng.standard_normal(240)[person]
    y = np.digitize(eta + rng.logistic(size=960), [-1.5, 0.0, 1.5])
    fit = fit_crossed(y, np.empty((960, 0)), {"firm": firm, "person": person})
    assert fit.groups == {"firm": 60, "person": 240}
    for name, truth in (("sd(firm)", 1.0), ("sd(person)", 0.7)):
        assert abs(fit.params[name] - truth) < 3 * fit.bse[name]


def test_what_cannot_be_held_is_refused():
    with pytest.raises(DesignError, match="a grouping has one level"):
        fit_crossed(WINE["rating"] - 1, X, {"judge": np.ones(72)})
    n = 4100
    with pytest.raises(DesignError, match="too many random intercepts"):
        fit_crossed(np.arange(n) % 3, np.empty((n, 0)), {"person": np.arange(n)})
