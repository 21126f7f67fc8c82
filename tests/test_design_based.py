"""The whole way of a weighted mean, raking and clusters included, against R's survey: every table of values.toml that has one."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs.cells import survey_design, weighted_sums
from fieldwork.statistics.replicates import infer, linearised_variance, replicated_totals
from fieldwork.weight import Margin, Margins, rake

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "values.toml").read_text())
DATA = pd.read_csv(REFERENCE / "clustered.csv")
CLUSTER = pd.factorize(DATA["org_id"], sort=True)[0]
WEIGHT = {"weighted": DATA["weight"].to_numpy(), "unweighted": np.ones(len(DATA))}


def influence(weight, inside, values, cluster=CLUSTER):
    """Weighted mean of a domain, and its linearised value in every organisation of the sample."""
    w = weight * inside
    mean = (w @ values) / w.sum()
    return mean, np.bincount(cluster, w * (values - mean) / w.sum())


def domains(weight, measure, levels, column):
    found = [influence(weight, (DATA[column] == level).to_numpy(), DATA[measure].to_numpy()) for level in levels]
    return np.array([mean for mean, _ in found]), np.column_stack([score for _, score in found])


@pytest.mark.parametrize("weights", list(WEIGHT))
def test_means_standard_errors_and_their_difference_are_svymeans(weights):
    reference = VALUES["mean"]["all"][weights]
    pairs = [influence(WEIGHT[weights], np.ones(len(DATA)), DATA[m].to_numpy()) for m in reference["measure"]]
    scores = np.column_stack([score for _, score in pairs])
    assert [mean for mean, _ in pairs] == pytest.approx(reference["mean"], rel=1e-10)
    assert np.sqrt(linearised_variance(scores)) == pytest.approx(reference["std_error"], rel=1e-10)
    covariance = np.array(reference["covariance"])
    between = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert linearised_variance(scores[:, 0] - scores[:, 1]) == pytest.approx(between, rel=1e-9)
    assert reference["df"] == CLUSTER.max()


@pytest.mark.parametrize("weights", list(WEIGHT))
@pytest.mark.parametrize(
    ("kind", "column", "measure"), [("role", "role", "conf"), ("role", "role", "prep"), ("stage", "stage_fn", "conf")]
)
def test_domain_means_and_contrasts_are_svybys(weights, kind, column, measure):
    reference = VALUES["mean"][kind][weights][measure]
    mean, scores = domains(WEIGHT[weights], measure, reference[kind], column)
    assert mean == pytest.approx(reference["mean"], rel=1e-10)
    assert np.sqrt(linearised_variance(scores)) == pytest.approx(reference["std_error"], rel=1e-10)
    covariance = np.array(reference["covariance"])
    for i in range(len(mean)):
        for j in range(i):
            between = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
            assert linearised_variance(scores[:, i] - scores[:, j]) == pytest.approx(between, rel=1e-9)
    if kind == "role":
        cto, cmo = reference["role"].index("CTO"), reference["role"].index("CMO")
        assert mean[cto] - mean[cmo] == pytest.approx(reference["cto_minus_cmo"], rel=1e-10)
        error = np.sqrt(linearised_variance(scores[:, cto] - scores[:, cmo]))
        assert error == pytest.approx(reference["cto_minus_cmo_std_error"], rel=1e-10)


@pytest.mark.parametrize("weights", list(WEIGHT))
def test_cells_of_role_and_stage_are_svybys(weights):
    reference = VALUES["mean"]["role_stage"][weights]["conf"]
    for role, stage, n, mean, error in zip(
        *(reference[name] for name in ("role", "stage", "n", "mean", "std_error")), strict=True
    ):
        inside = ((DATA["role"] == role) & (DATA["stage_fn"] == stage)).to_numpy()
        found, scores = influence(WEIGHT[weights], inside, DATA["conf"].to_numpy())
        assert inside.sum() == n
        assert found == pytest.approx(mean, rel=1e-10)
        assert np.sqrt(linearised_variance(scores)) == pytest.approx(error, rel=1e-10)


def test_replicated_totals_give_rs_jackknife():
    """Multipliers 0 and C / (C - 1): a replicate method of which every replicate is known."""
    reference = VALUES["jackknife"]["role"]["weighted"]["conf"]
    C = reference["replicates"]
    deleted = np.where(np.eye(C) == 1, 0.0, C / (C - 1.0))
    role = np.array([reference["role"].index(r) for r in DATA["role"]])
    totals = replicated_totals([role, DATA["conf"].to_numpy()], CLUSTER, WEIGHT["weighted"], deleted)
    means = np.empty((C + 1, len(reference["role"])))
    for r in range(means.shape[1]):
        mine = totals.levels[:, 0] == r
        means[:, r] = totals.weight[:, mine] @ totals.levels[mine, 1] / totals.weight[:, mine].sum(axis=1)
    error = np.sqrt((C - 1) / C * ((means[1:] - means[0]) ** 2).sum(axis=0))
    assert means[0] == pytest.approx(reference["mean"], rel=1e-12)
    assert error == pytest.approx(reference["std_error"], rel=1e-10)


@pytest.fixture(scope="module", params=list(WEIGHT))
def raked(request):
    reference = VALUES["raking"][request.param]
    margins = Margins(
        tuple(
            Margin(name, tuple(reference[name]), np.array(reference[f"{name}_target"]))
            for name in ("role", "size_band")
        ),
        "margins.toml",
    )
    weight = rake(DATA, margins, design="weight" if request.param == "weighted" else "").weight
    design = survey_design(
        DATA, pd.DataFrame({"resp_id": DATA["resp_id"], "weight": weight}), respondent="resp_id", organisation="org_id",
        margins=margins, replicates=4000, seed=7,
    )  # fmt: skip
    return reference, design


def test_raked_means_are_rakes_and_their_errors_know_what_raking_holds_fixed(raked):
    """R linearises the calibrated mean; replicates that are raked again estimate the same, to Monte Carlo error.

    Where raking holds a role's share fixed its error is smaller than that of a mean whose weights are taken as given.
    """
    reference, design = raked
    conf = design.responses["conf"].to_numpy(dtype=float)
    member = np.column_stack(
        [np.ones(len(conf)), *((design.responses["role"] == r).to_numpy() for r in reference["role"])]
    )
    sums = weighted_sums(design, np.hstack([member * conf[:, None], member]), np.ones(len(conf), dtype=bool))
    means = sums[:, :6] / sums[:, 6:]
    organisations = [len(np.unique(design.cluster[member[:, j] > 0])) for j in range(6)]
    result = infer(means, organisations)
    expected = [reference["mean_conf"], *reference["role_mean_conf"]]
    errors = np.array([reference["mean_conf_std_error_calibrated"], *reference["role_mean_conf_std_error_calibrated"]])
    assert result.estimate == pytest.approx(expected, rel=1e-9)
    # R counts all 42 organisations where we count those of the role: its factor on the error, then 5% for 4,000 replicates
    # and for what linearising leaves out.
    n = np.array(organisations)
    factor = np.sqrt(n / (n - 1)) / np.sqrt(42 / 41)
    assert result.std_error / factor == pytest.approx(errors, rel=0.05)
    # Weights taken as given: the mean of all roles loses the spread between roles when their shares are held fixed.
    unraked = np.sqrt(linearised_variance(influence(design.weight, np.ones(len(conf)), conf, design.cluster)[1]))
    assert result.std_error[0] < unraked
