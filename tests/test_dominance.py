"""Role, stage, sector and organisation on one footing: truth, the count of measures, refusals, invariances."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.claims import Register
from fieldwork.constructs import dominance
from fieldwork.constructs.cells import Axis, survey_design
from fieldwork.constructs.dominance import SIDES, Question
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument
from fieldwork.simulate import EXECUTIVES, Population, worlds
from fieldwork.simulate.interview import layout_of, measure_of, ordinal_answer
from fieldwork.simulate.population import executives
from fieldwork.simulate.truth_dominance import _of_option, dominance_truth

ROOT = Path(__file__).resolve().parents[1]
INSTRUMENT = Instrument.load(ROOT / "instruments/2026Q1.toml", "2026Q1")
ROLES, STAGES, SECTORS = ("a", "b", "c"), ("s", "t"), ("x", "y")
AXES = [Axis("role", ROLES, ROLES), Axis("stage", STAGES, STAGES), Axis("sector", SECTORS, SECTORS)]


def survey(rng, *, organisations=80, role=0.0, stage=0.0, sector=0.0, shared=0.0, noise=1.0):
    """Three executives an organisation, one of each role; effects as spreads (ddof 1), answers continuous."""
    rows = pd.DataFrame({"org_id": np.repeat(np.arange(organisations), 3), "role": ["a", "b", "c"] * organisations})
    rows["resp_id"] = [f"r{i:05d}" for i in range(len(rows))]
    rows["stage"] = np.array(STAGES)[rng.integers(0, 2, len(rows))]
    rows["sector"] = np.array(SECTORS)[rows["org_id"] % 2]
    y = role * rows["role"].map({"a": -1.0, "b": 0.0, "c": 1.0}) + stage * rows["stage"].map(
        {"s": -1, "t": 1}
    ) / np.sqrt(2)
    y = y + sector * rows["sector"].map({"x": -1, "y": 1}) / np.sqrt(2)
    y = y + shared * rng.normal(size=organisations)[rows["org_id"]] + noise * rng.normal(size=len(rows))
    rows["org_id"] = rows["org_id"].astype(str)
    return rows.assign(y=y)


def design_of(rows, *, replicates=400, seed=3):
    weights = pd.DataFrame({"resp_id": rows["resp_id"], "weight": 1.0})
    return survey_design(
        rows, weights, respondent="resp_id", organisation="org_id", margins=None, replicates=replicates, seed=seed
    )


def compared(rows, columns=("y",), **settings):
    design = design_of(rows, **settings)
    measures = [Question(name, "", name, "scale_point") for name in columns]
    made = dominance.estimate(design, measures, AXES, wave="w")
    return made, made.estimates.set_index(["measure", "statistic"])


@pytest.mark.parametrize(
    ("effects", "largest"),
    [
        ({"role": 1.0, "stage": 0.3, "shared": 0.4}, True),
        ({"role": 0.3, "stage": 1.0, "shared": 0.4}, False),
        ({"role": 0.3, "sector": 1.2, "shared": 0.4}, False),
        ({"role": 0.5, "stage": 0.2, "shared": 1.2}, False),
    ],
)
def test_the_largest_spread_is_told_whichever_it_is(effects, largest):
    _, table = compared(survey(np.random.default_rng(7), organisations=250, **effects))
    value = {"role": 0.0, "stage": 0.0, "sector": 0.0, "shared": 0.0, **effects}
    for side, name in zip(SIDES, ("role", "stage", "sector", "shared"), strict=True):
        row = table.loc[("y", f"{side}_sd_mutual")]
        assert row["estimate"] == pytest.approx(value[name], abs=0.35)
        assert row["unit"] == "scale_point"
    assert (table.loc[("y", "probability_role_largest"), "estimate"] > 0.95) == largest
    assert (table.loc[("y", "probability_role_largest"), "estimate"] < 0.05) != largest
    assert table.loc[("all", "share_role_largest"), "estimate"] == float(largest)


def test_intervals_of_the_four_spreads_cover():
    """150 studies of 70 organisations: each side's interval covers in 0.90 or more (0.95 less three standard errors)."""
    effects = {"role": 0.4, "stage": 0.3, "sector": 0.5, "shared": 0.6}
    covered = []
    for seed in range(150):
        rows = survey(np.random.default_rng(1000 + seed), organisations=70, **effects)
        _, table = compared(rows, replicates=200, seed=seed)
        ends = [table.loc[("y", f"{side}_sd_mutual"), ["conf_low", "conf_high"]].astype(float) for side in SIDES]
        covered.append([e.iloc[0] <= v <= e.iloc[1] for e, v in zip(ends, effects.values(), strict=True)])
    share = np.mean(covered, axis=0)
    assert share.min() >= 0.90, share
    assert share.mean() >= 0.93, share


def test_an_undecided_measure_counts_on_neither_side():
    """Two measures of roles, one of stages, one where role and stage are alike: 2/4 for sure, 3/4 at most."""
    rng = np.random.default_rng(8)
    rows = survey(rng, organisations=150, role=1.2)
    rows["z"] = survey(rng, organisations=150, role=1.2)["y"]
    stage = rows["stage"].map({"s": -1, "t": 1}) / np.sqrt(2)
    rows["stages"] = 1.5 * stage + rng.normal(size=len(rows))
    both = rows["role"].map({"a": -1.0, "b": 0.0, "c": 1.0}) + 1.0 * stage
    rows["alike"] = both + rng.normal(size=len(rows))
    made, table = compared(rows, ("y", "z", "stages", "alike"), replicates=1000)
    probability = [table.loc[(name, "probability_role_largest"), "estimate"] for name in ("y", "z", "stages", "alike")]
    assert probability[0] > 0.99
    assert probability[1] > 0.99
    assert probability[2] < 0.01
    assert 0.1 < probability[3] < 0.9
    share = table.loc[("all", "share_role_largest")]
    assert (share["conf_low"], share["conf_high"]) == (0.5, 0.75)
    assert table.loc[("all", "share_role_surely_largest"), "estimate"] == 0.5
    draws = made.draws.set_index("statistic").loc["share_role_largest", "draws"]
    # The confidence curve passes 0.5 where the measures that are sure begin, and 0.75 where those that are not end.
    assert np.all(np.diff(draws) >= 0)
    assert float(np.mean(draws <= 0.5)) == pytest.approx(1 - probability[3], abs=0.02) if probability[3] > 0.5 else True


def test_four_spreads_that_are_nil_are_a_tie_and_no_largest():
    rows = survey(np.random.default_rng(9), organisations=120)
    _, table = compared(rows)
    assert table.loc[("y", "probability_role_largest"), "estimate"] < 0.6
    compared_ = dominance._Compared(np.zeros(4), np.zeros((10, 4)), 9, 9, (9, 9), ())
    assert compared_.probability == 0.0
    assert not compared_.largest


def test_a_design_that_cannot_tell_says_which_number_is_missing():
    rows = survey(np.random.default_rng(10), organisations=80)
    alone = rows.groupby("org_id").head(1)
    _, table = compared(
        pd.concat([alone.assign(role=r, resp_id=alone["resp_id"] + r, org_id=alone["org_id"] + r) for r in ROLES])
    )
    row = table.loc[("y", "probability_role_largest")]
    assert row["status"] == "not_assessable"
    assert row["reason"].endswith("0 of 30 organisations with two informants")
    assert table.loc[("all", "share_role_largest"), "reason"] == "none of 1 measures can be compared"
    _, table = compared(rows.assign(stage="s"))
    assert (
        "fewer than two levels of stage have 20 respondents" in table.loc[("y", "probability_role_largest"), "reason"]
    )
    nameless = survey_design(
        rows, pd.DataFrame({"resp_id": rows["resp_id"], "weight": 1.0}), respondent="resp_id", organisation="",
        margins=None, replicates=50, seed=1,
    )  # fmt: skip
    made = dominance.estimate_for(INSTRUMENT, nameless).estimates
    assert made["reason"].tolist() == [
        "the comparison needs role, stage, sector and organisation; the survey has no organisations"
    ]


def test_thin_levels_are_left_out_and_named():
    rows = survey(np.random.default_rng(11), organisations=80, role=0.8)
    few = rows["role"].eq("c") & (rows["org_id"].astype(int) >= 10)
    _, table = compared(rows[~few])
    row = table.loc[("y", "role_sd_mutual")]
    assert row["reason"] == "without c: fewer than 20 respondents from 5 organisations"
    assert row["status"] == "flagged"
    assert row["n"] == 160


def test_rows_in_another_order_and_roles_under_another_name_say_the_same():
    rows = survey(np.random.default_rng(12), organisations=60, role=0.6, shared=0.5)
    one, _ = compared(rows)
    turned, _ = compared(rows.sample(frac=1.0, random_state=1))
    pd.testing.assert_frame_equal(one.estimates, turned.estimates)
    names = {"a": "c", "b": "a", "c": "b"}
    renamed = compared(rows.assign(role=rows["role"].map(names)))[0].estimates
    numbers = ["estimate", "conf_low", "conf_high"]
    pd.testing.assert_frame_equal(one.estimates[numbers], renamed[numbers], rtol=1e-9)


def test_the_gate_hides_nobody_behind_a_share_of_measures():
    rows = survey(np.random.default_rng(13), organisations=60, shared=1.5)
    made, _ = compared(rows)
    published = publish(made.estimates, Policy(), made.bases).set_index("statistic")
    assert published.loc["share_role_largest", "estimate"] == 0.0
    assert published.loc["share_role_largest", "status"] == "ok"
    bases = made.bases.set_index("statistic").loc["role_sd_mutual"]
    assert (bases["smallest_n"], bases["smallest_organisations"]) == (60, 30)


def test_the_register_holds_the_claim_against_every_measure():
    claim = next(c for c in Register.load(ROOT / "instruments/claims.toml").claims if c.id == "H1")
    asked = dominance.questions(INSTRUMENT)
    assert set(claim.items) == {q.measure for q in asked if not q.item} | {"blk_*"}
    assert {q.item for q in asked if q.item} == {o.id for o in INSTRUMENT.item("blk").options} - {"none"}
    assert {"stage_fn", "stage_org", "attn_1", "sat"}.isdisjoint({q.measure for q in asked})


# ----------------------------------------------------------------------------------------------------------------- truth


def test_the_truth_of_a_world_without_effects():
    """Roles, stages and sectors nil; organisations: the covariance of two answers that share 0.35 points and are cut."""
    null = worlds()["null"].with_settings({"sector_sd": 0.0})
    rows = dominance_truth(Population(null, layout_of(INSTRUMENT)), INSTRUMENT, "w", 1)
    value = {(row["measure"], row["item"], row["statistic"]): row["value"] for row in rows}
    assert value["conf", "", "role_sd_mutual"] == value["conf", "", "stage_sd_mutual"] == 0.0
    assert value["conf", "", "sector_sd_mutual"] == pytest.approx(0.0, abs=1e-9)
    assert 0.25 < value["conf", "", "organisation_sd_mutual"] < 0.4
    assert value["all", "", "share_role_largest"] == 0.0


@pytest.mark.parametrize("name", ["conf", "sup_pub", "act_align"])
def test_the_truth_of_an_item_is_that_of_a_large_draw(name):
    """Brute force: least squares and pair products over 12,000 organisations in which everybody answers.

    Public support follows escalation by organisation; the item on alignment work says never where nobody does any.
    """
    world = worlds()["role_divergence"].with_settings({"response_rate": 1.0, "response_size": 1.0})
    world = world.with_settings({f"response_role.{role}": 1.0 for role in EXECUTIVES.roles})
    world = world.with_settings({"compliance": 0.6, "without_practice": 0.4})
    population, item = Population(world, layout_of(INSTRUMENT)), INSTRUMENT.item(name)
    codes_of = np.asarray(measure_of(item).codes)
    parts = []
    for block in range(3):
        drawn = executives(population, organisations=4000, seed=21, block=block)
        stage = drawn.stage()
        index = ordinal_answer(INSTRUMENT, drawn, item, stage, 1)
        if name == "act_align":
            index = np.where(drawn.practice, np.maximum(index, 1), 0)
        parts.append(np.column_stack([codes_of[index], drawn.role, stage, drawn.sector, drawn.org + 4000 * block]))
    y, *codes, org = np.concatenate(parts).T
    design = np.hstack([np.ones((len(y), 1)), *(np.eye(int(c.max()) + 1)[c.astype(int)][:, 1:] for c in codes)])
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    spreads = [np.std(np.r_[0.0, part], ddof=1) for part in np.split(beta[1:], np.cumsum([9, 4, 7])[:2])]
    residual = y - design @ beta
    total, square, count = (np.bincount(org.astype(int), weights=w) for w in (residual, residual**2, np.ones_like(y)))
    shared = np.sqrt((total**2 - square).sum() / (count**2 - count).sum())
    truth = {
        row["statistic"]: row["value"]
        for row in dominance_truth(population, INSTRUMENT, "w", 1)
        if row["measure"] == name
    }
    assert [truth[f"{side}_sd_mutual"] for side in SIDES] == pytest.approx([*spreads, shared], abs=0.012)


def test_the_truth_of_a_blocker_is_what_roles_cite():
    population = Population(worlds()["role_divergence"], EXECUTIVES)
    role, stage, sector, organisation = _of_option(population, "roi")
    share = np.full(10, population.world.blocker_base)
    for name, value in population.world.blocker_own.items():
        option, _, who = name.partition(".")
        if option == "roi":
            share[EXECUTIVES.roles.index(who)] = value
    assert role == pytest.approx(np.std(share, ddof=1))
    assert (stage, sector) == (0.0, 0.0)
    assert 0.05 < organisation < 0.2
