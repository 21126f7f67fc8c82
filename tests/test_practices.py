"""Practices and outcomes: worked examples, effects that are known, what mood alone does, odd surveys, and the gate."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs import practices
from fieldwork.constructs.cells import survey_design
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument
from fieldwork.schema import ESTIMATE_KEY
from fieldwork.simulate.truth_practices import practices_truth
from fieldwork.statistics.duration import kaplan_meier, reversals
from fieldwork.tables import scenario_table
from tests.drawn_study import beside_truth, drawn, one, register, shipped

ROOT = Path(__file__).resolve().parents[1]
CASES = tomllib.loads((Path(__file__).parent / "cases" / "practices.toml").read_text(encoding="utf-8"))
FUNCTIONS = ("data_science", "engineering", "finance", "product", "other")
OBJECTIVES = ("accuracy", "latency_scale", "roi_speed", "market_speed")


@pytest.fixture(scope="module")
def instrument():
    return shipped()


def leads(instrument, organisations, each, **answers):
    """Project leads, `each` per organisation, with every column of the questionnaire; those not given are missing."""
    n = organisations * each
    data = pd.DataFrame({name: pd.Series([pd.NA] * n, dtype="Float64") for name in instrument.columns()})
    data["resp_id"] = [f"r{i:06d}" for i in range(n)]
    data["org_id"] = np.repeat([f"o{i:05d}" for i in range(organisations)], each)
    for name in ("sector", "size_band", "role", "team_fn"):
        data[name] = pd.Series([pd.NA] * n, dtype="string")
    for name, value in answers.items():
        data[name] = pd.Series(np.asarray(value), dtype=data[name].dtype)
    return data


def made(data, instrument, *, organisation="org_id", replicates=200, weight=1.0, wanted=()):
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": weight})
    design = survey_design(
        data, weights, respondent="resp_id", organisation=organisation, margins=None, replicates=replicates, seed=1
    )
    return practices.estimate_for(instrument, design, wanted)


def ranking(first):
    """Ranks of the four objectives with the one at position `first` (n,) on top, the others in order."""
    first = np.asarray(first)
    ranks = np.array([[1 if j == f else 2 + j - (j > f) for j in range(4)] for f in first], dtype=float)
    return {f"obj_rank_{name}": ranks[:, j] for j, name in enumerate(OBJECTIVES)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return drawn("role_divergence", 300, 5, tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def estimated(study):
    return practices.estimate_for(study[1], study[2], register().wanted("practices"))


# ------------------------------------------------------------------------------------------------------ worked examples


def test_time_to_consensus_worked_example():
    case = CASES["time_to_consensus"]
    curve = kaplan_meier(case["times"], case["reached"])
    assert {str(t): float(curve.at(t)) for t in (2, 4)} == case["survival"]
    assert curve.median == case["median"]


def test_value_stability_worked_example():
    case = CASES["value_stability"]
    found = reversals(case["paths"])
    assert (found.share, found.moves) == (case["share"], case["moves"])


def test_cost_of_delay_worked_example():
    """A number that is taken as known has one value, and the page says that it is a scenario."""
    case = CASES["cost_of_delay"]
    known = {"weekly_value": {0.0: case["weekly_value"], 1.0: case["weekly_value"]}, "currency": "US dollars", "source": "s",
             "weeks": {0.0: case["weeks"], 1.0: case["weeks"]}, "option_value": 0.0}  # fmt: skip
    for rate, expected in ((0.0, case["plain"]), (case["yearly_rate"], case["discounted"])):
        table = scenario_table({**known, "yearly_rate": rate})
        rows = table.frame().set_index("Quantity")
        assert rows.loc["Cost of the delay, US dollars", "Amount"] == expected
        assert rows.loc["Cost of the delay, US dollars", "Is"] == "follows"
        assert table.title.startswith("Scenario, not a finding")
        assert "No answer of a respondent enters this table." in table.notes


# -------------------------------------------------------------------------------------------------- objectives, delay


def test_objectives_by_function_by_hand(instrument):
    """Of 40 in each function 30 put their own objective first: .75 less what the others give it."""
    function = np.tile(np.repeat(np.arange(4), 4), 10)
    first = np.where(np.arange(160) % 4 == 0, (function + 1) % 4, function)
    data = leads(instrument, 40, 4, team_fn=np.array(FUNCTIONS)[function], **ranking(first))
    found = made(data, instrument).estimates
    for f, name in enumerate(OBJECTIVES):
        place = {"segment": f"team_fn={FUNCTIONS[f]}", "item": name}
        assert one(found, "obj_rank", "share", **place)["estimate"] == pytest.approx(0.75)
        assert one(found, "obj_rank", "risk_difference", **place)["estimate"] == pytest.approx(0.75 - 10 / 120)
        assert one(found, "obj_rank", "risk_difference", **place)["unit"] == "proportion"
    assert one(found, "team_fn", "share", item="other")["estimate"] == 0.0
    assert one(found, "obj_rank", "share", segment="team_fn=other", item="accuracy")["reason"] == "nobody answered"


def test_a_ranking_with_two_first_places_counts_for_none(instrument):
    ranks = ranking(np.zeros(40, dtype=int))
    ranks["obj_rank_roi_speed"] = np.ones(40)
    found = made(leads(instrument, 20, 2, team_fn="finance", **ranks), instrument).estimates
    assert one(found, "obj_rank", "share", segment="team_fn=finance", item="accuracy")["reason"] == "nobody answered"


def test_mismatch_needs_leads_of_two_functions(instrument):
    """Organisations of four kinds: two functions that differ, two that agree, one function that differs, a single lead."""
    function = np.tile([0, 1, 0, 1, 2, 2, 3, 4], 20)
    first = np.tile([0, 1, 2, 2, 0, 1, 0, 0], 20)
    org = np.repeat(np.arange(80), 2)
    org[np.arange(160) % 8 == 7] += 1000  # the last kind: two organisations of one lead each
    data = leads(instrument, 80, 2, team_fn=np.array(FUNCTIONS)[function], delay=np.tile([1, 1, 1, 0, 1, 0, 1, 0], 20),
                 **ranking(first))  # fmt: skip
    data["org_id"] = [f"o{i:05d}" for i in org]
    found = made(data, instrument).estimates
    share = one(found, "delay", "mismatch_share")
    # Late leads with a colleague of another function: both of the first kind and one of the second.
    assert (share["n"], share["estimate"]) == (60, pytest.approx(2 / 3))
    difference = one(found, "delay", "risk_difference")
    assert (difference["n"], difference["estimate"]) == (80, pytest.approx(1.0 - 0.5))


# ------------------------------------------------------------------------------------------------------------ practices


def practising(instrument, n, rng, **more):
    high = rng.random(n) < 0.4
    answers = {"prac_1": np.where(high, 4.0, 2.0), **more}
    return high, leads(instrument, n // 2, 2, **answers)


def test_times_bottlenecks_and_rework_are_ratios(instrument):
    rng = np.random.default_rng(1)
    n = 6000
    high, data = practising(instrument, n, rng)
    time = np.where(high, 0.6, 1.0) * 12 * rng.gamma(2, 0.5, n)
    since = rng.exponential(40, n)
    running = time > since
    data["t_deploy"] = pd.Series(np.where(running, np.nan, np.round(time)), dtype="Float64").mask(running)
    data["t_open"] = pd.Series(np.where(running, np.round(since), np.nan), dtype="Float64").mask(~running)
    data["bott"] = pd.Series(rng.poisson(np.where(high, 2.0, 4.0) * rng.gamma(2, 0.5, n)), dtype="Float64")
    data["rework"] = pd.Series(rng.binomial(100, np.where(high, 0.3, 0.2)), dtype="Float64")
    found = made(data, instrument, replicates=100).estimates
    for measure, statistic, expected in (
        ("t_deploy", "time_ratio", 0.6), ("bott", "rate_ratio", 0.5), ("rework", "rate_ratio", 1.5)
    ):  # fmt: skip
        row = one(found, measure, statistic, item="prac_1")
        assert row["unit"] == "ratio"
        assert row["conf_low"] < expected < row["conf_high"]
        assert row["conf_high"] / row["conf_low"] < 1.15
    assert one(found, "bott", "rate_ratio", item="prac_1")["estimate"] == pytest.approx(
        data["bott"][high].mean() / data["bott"][~high].mean()
    )
    assert "projects not in use yet" in one(found, "t_deploy", "time_ratio", item="prac_1")["reason"]


def test_confounders_are_held_fixed(instrument):
    """Large organisations practise more and have more bottlenecks: at equal size the practice makes no difference."""
    rng = np.random.default_rng(2)
    large = np.repeat(rng.random(2000) < 0.5, 2)
    high = rng.random(4000) < np.where(large, 0.7, 0.2)
    data = leads(instrument, 2000, 2, prac_1=np.where(high, 5.0, 1.0), bott=rng.poisson(np.where(large, 6.0, 2.0)).astype(float),
                 size_band=np.where(large, "from_20000", "from_250"))  # fmt: skip
    row = one(made(data, instrument, replicates=100).estimates, "bott", "rate_ratio", item="prac_1")
    crude = data["bott"][high].mean() / data["bott"][~high].mean()
    assert crude > 1.4
    assert row["conf_low"] < 1.0 < row["conf_high"] < 1.1


def test_running_projects_without_their_start_are_not_assessable(tmp_path):
    text = (ROOT / "instruments" / "2026Q1.toml").read_text(encoding="utf-8")
    start, end = text.index("[items.t_open]"), text.index("[items.bott]")
    path = tmp_path / "2026Q1.toml"
    path.write_text(text[:start] + text[end:], encoding="utf-8")
    asked = Instrument.load(path, "2026Q1")
    rng = np.random.default_rng(3)
    _, data = practising(asked, 100, rng, t_deploy=np.where(np.arange(100) < 13, np.nan, 9.0))
    data["t_deploy"] = data["t_deploy"].mask(np.arange(100) < 13)
    row = one(made(data, asked).estimates, "t_deploy", "time_ratio", item="prac_1")
    assert row["reason"] == (
        "13 projects have no time to deployment, and the wave does not ask since when they have been running"
    )


def test_a_side_without_an_outcome_is_told(instrument):
    rng = np.random.default_rng(4)
    high, data = practising(instrument, 100, rng)
    data["bott"] = pd.Series(np.where(high, 0.0, 3.0), dtype="Float64")
    data["t_deploy"] = pd.Series(np.where(high, np.nan, 5.0), dtype="Float64").mask(high)
    data["t_open"] = pd.Series(np.where(high, 8.0, np.nan), dtype="Float64").mask(~high)
    found = made(data, instrument).estimates
    assert one(found, "bott", "rate_ratio", item="prac_1")["reason"] == (
        f"a ratio needs an outcome above nil on either side; agree with the practice: none in {int(high.sum())}"
    )
    assert one(found, "t_deploy", "time_ratio", item="prac_1")["reason"] == (
        "10 times that have ended are needed on either side; agree with the practice: none"
    )


# ------------------------------------------------------------------------------------ decisions, roadmaps, leadership


def test_decision_time_per_layer(instrument):
    rng = np.random.default_rng(5)
    layers = rng.integers(0, 8, 4000).astype(float)
    days = np.round(3 * 1.3**layers * rng.gamma(2, 0.5, 4000))
    assert (days == 0).any()
    row = one(
        made(leads(instrument, 2000, 2, layers=layers, t_dec=days), instrument, replicates=100).estimates,
        "t_dec", "time_ratio", item="layers",
    )  # fmt: skip
    assert row["conf_low"] < 1.3 < row["conf_high"]
    assert row["conf_high"] - row["conf_low"] < 0.06


def test_trust_falls_at_the_knot_or_gradually(instrument):
    """A drop of a point at 90 days is a jump; a steady fall to the same difference of means is none."""
    rng = np.random.default_rng(6)
    age = rng.integers(0, 181, 6000).astype(float)
    noise = rng.normal(0, 0.5, 6000)
    for trust, jump in ((4.0 - (age > 90) + noise, 1.0), (4.0 - age / 90 + noise, 0.0)):
        found = made(leads(instrument, 3000, 2, road_age=age, road_trust=trust), instrument, replicates=100).estimates
        mean = one(found, "road_trust", "mean_difference", item="road_age")
        assert mean["estimate"] == pytest.approx(1.0, abs=0.06)
        row = one(found, "road_trust", "jump", item="road_age")
        assert row["conf_low"] < jump < row["conf_high"]


def test_mood_alone_gives_a_slope_that_the_general_level_takes_away(instrument):
    """Nothing but mood moves any answer: leadership and outcome go together, and no more once the general level is fixed."""
    rng = np.random.default_rng(7)
    n = 3000
    mood = rng.normal(0, 0.6, n)
    core = [item.name for item in instrument.items if item.kind == "ordinal" and item.module == "core" and not item.member
            and not item.asked_of and item.name not in {"stage_fn", "stage_org", "attn_1"}]  # fmt: skip
    names = [*core, "lead_1", "lead_2", "lead_3", "lead_4", "sat"]
    data = leads(
        instrument, n // 2, 2, **{name: np.clip(np.round(3 + mood + rng.normal(0, 0.8, n)), 1, 5) for name in names}
    )
    found = made(data, instrument, replicates=100).estimates
    raw, held = (one(found, "sat", name, item="lead") for name in ("slope_raw", "slope"))
    assert raw["conf_low"] > 0.5
    assert held["conf_high"] < 0.25
    alpha = one(found, "lead", "cronbach_alpha")
    scale = data[["lead_1", "lead_2", "lead_3", "lead_4"]].astype(float)
    by_hand = 4 / 3 * (1 - scale.var().sum() / scale.sum(axis=1).var())
    assert alpha["estimate"] == pytest.approx(by_hand, abs=1e-9)
    assert one(found, "lead", "omega_total")["estimate"] == pytest.approx(by_hand, abs=0.02)
    assert "reliability alpha" in held["reason"]
    assert "one person rates both" in held["reason"]


def test_leadership_that_matters_keeps_its_slope(instrument):
    rng = np.random.default_rng(8)
    n = 3000
    lead = {f"lead_{k}": rng.integers(1, 6, n).astype(float) for k in (1, 2, 3, 4)}
    scale = np.mean(list(lead.values()), axis=0)
    core = [
        item.name for item in instrument.measures("readiness") if item.kind == "ordinal" and item.name != "stage_org"
    ]
    data = leads(instrument, n // 2, 2, sat=3 + 0.7 * (scale - 3) + rng.normal(0, 0.5, n), **lead,
                 **{name: rng.integers(1, 6, n).astype(float) for name in core})  # fmt: skip
    row = one(made(data, instrument, replicates=100).estimates, "sat", "slope", item="lead")
    assert row["conf_low"] < 0.7 < row["conf_high"]
    assert row["conf_high"] - row["conf_low"] < 0.1


# --------------------------------------------------------------------------------------------------------- a known world


def test_a_known_world_is_found(study, estimated):
    population, instrument, _ = study
    both = beside_truth(estimated.estimates, practices_truth(population, instrument, "2026Q1", 1))
    assert len(both) > 65
    assert both["z"].abs().max() < 4
    assert both["covered"].mean() >= 0.9
    assert set(both["statistic"]) == {
        "share", "risk_difference", "mismatch_share", "time_ratio", "rate_ratio", "mean_difference", "jump", "slope",
        "slope_raw", "cronbach_alpha", "omega_total",
    }  # fmt: skip


def test_effects_that_the_world_has_not_are_exactly_nil():
    from fieldwork.simulate import Population, worlds
    from fieldwork.simulate.interview import layout_of

    instrument = shipped()
    population = Population(worlds()["null"], layout_of(instrument))
    rows = pd.DataFrame(list(practices_truth(population, instrument, "2026Q1", 1)))
    assert set(rows[rows["statistic"].isin(["time_ratio", "rate_ratio"])]["value"]) == {1.0}
    assert set(rows[rows["statistic"].isin(["risk_difference", "jump"])]["value"].round(9)) == {0.0}
    # Mood alone: without the general level held fixed the slope would pass the claim's margin of half a point.
    slope = rows.set_index("statistic")["value"]
    assert slope["slope_raw"] > 0.5
    assert slope["slope"] < 0.25


# ----------------------------------------------------------------------------------------------------------- odd surveys


def test_a_survey_without_the_module_says_so_row_by_row():
    ospo = Instrument.load(ROOT / "examples" / "ospo" / "instruments" / "instrument.toml", "2023")
    data = pd.DataFrame({name: pd.Series([pd.NA] * 40) for name in ospo.columns()})
    data["resp_id"] = [f"r{i}" for i in range(40)]
    wanted = register().wanted("practices")
    found = made(data, ospo, organisation="", wanted=wanted).estimates
    assert set(found["status"]) == {"not_assessable"}
    assert found["reason"].ne("").all()
    keys = set(
        found[["measure", "statistic", "role", "role_2", "stage", "segment", "item"]].itertuples(index=False, name=None)
    )
    assert {row.key for row in wanted} <= keys


def test_nobody_took_the_module(instrument):
    found = made(leads(instrument, 30, 2), instrument).estimates
    assert set(found["status"]) == {"not_assessable"}
    assert one(found, "sat", "slope", item="lead")["reason"] == "30 respondents are needed; there are none"
    assert one(found, "delay", "mismatch_share")["reason"] == (
        "10 leads of delayed projects in organisations with leads of two functions are needed; there are none in 0 organisations"
    )
    assert one(found, "bott", "rate_ratio", item="prac_3")["reason"] == (
        "10 respondents are needed on either side; agree with the practice: none"
    )


def test_without_organisations_nobody_can_tell_who_worked_together(tmp_path):
    text = (ROOT / "instruments" / "2026Q1.toml").read_text(encoding="utf-8")
    path = tmp_path / "2026Q1.toml"
    path.write_text(text.replace('organisation = "org_id"\n', ""), encoding="utf-8")
    asked = Instrument.load(path, "2026Q1")
    rng = np.random.default_rng(9)
    data = leads(asked, 100, 2, team_fn=np.array(FUNCTIONS)[rng.integers(0, 5, 200)], delay=rng.integers(0, 2, 200),
                 **ranking(rng.integers(0, 4, 200)))  # fmt: skip
    found = made(data, asked, organisation="").estimates
    assert one(found, "delay", "mismatch_share")["reason"] == (
        "the survey names no organisations, so that nobody can tell which leads worked together"
    )
    assert one(found, "delay", "share")["status"] == "ok"
    assert one(found, "obj_rank", "risk_difference", segment="team_fn=finance", item="accuracy")["status"] == "ok"


# ---------------------------------------------------------------------------------------------------- contract and gate


def test_every_row_has_its_key_unit_and_reason(estimated):
    estimates = estimated.estimates
    assert not estimates.duplicated([name for name in ESTIMATE_KEY if name != "wave"]).any()
    units = {
        "share": "proportion", "risk_difference": "proportion", "mismatch_share": "proportion", "time_ratio": "ratio",
        "rate_ratio": "ratio", "mean_difference": "scale_point", "jump": "scale_point", "slope": "scale_point",
        "slope_raw": "scale_point", "cronbach_alpha": "index", "omega_total": "index",
    }  # fmt: skip
    assert {name: set(of) for name, of in estimates.groupby("statistic")["unit"].unique().items()} == {
        name: {unit} for name, unit in units.items()
    }
    assert set(estimates["construct"]) == {"practices"}
    assert estimates.loc[estimates["status"].isin(["not_assessable", "flagged"]), "reason"].ne("").all()
    assert {row.key for row in register().wanted("practices")} <= set(
        estimates[["measure", "statistic", "role", "role_2", "stage", "segment", "item"]].itertuples(
            index=False, name=None
        )
    )


def test_rows_in_any_order_give_the_same(study):
    _, instrument, design = study
    order = np.random.default_rng(1).permutation(len(design.responses))
    weights = pd.DataFrame({"resp_id": design.responses["resp_id"], "weight": design.weight})
    pair = [
        practices.estimate_for(
            instrument,
            survey_design(
                design.responses.iloc[rows], weights.iloc[rows], respondent="resp_id", organisation="org_id", margins=None,
                replicates=40, seed=3,
            ),
        ).estimates
        for rows in (np.arange(len(order)), order)
    ]  # fmt: skip
    pd.testing.assert_frame_equal(*pair)


def hidden(published, counts):
    """Hits of held cells (function, objective) that rows and columns of the shown shares determine, by linear algebra."""
    shares = published[(published["measure"] == "obj_rank") & (published["statistic"] == "share")]
    told = published[(published["measure"] == "obj_rank") & (published["statistic"] == "risk_difference")]
    shown = np.zeros(counts.shape, dtype=bool)
    both = np.zeros(counts.shape, dtype=bool)
    for rows, mask in ((shares, shown), (told, both)):
        for row in rows[rows["status"].isin(["ok", "flagged"])].itertuples():
            mask[FUNCTIONS.index(row.segment.removeprefix("team_fn=")), OBJECTIVES.index(row.item)] = True
    # A share and its difference to the others give the share of all, and so the total of the objective.
    totals = (shown & both).any(axis=0)
    functions, objectives = np.indices(counts.shape)
    equations = [functions == f for f in range(counts.shape[0])] + [objectives == j for j in np.flatnonzero(totals)]
    unknown = ~shown
    A = np.array([each[unknown] for each in equations], dtype=float)
    if not unknown.any():
        return []
    _, s, vt = np.linalg.svd(A)
    free = vt[(s > 1e-9).sum() :]
    fixed = np.abs(free).max(axis=0) < 1e-9 if len(free) else np.ones(unknown.sum(), dtype=bool)
    return counts[unknown][fixed].tolist()


@pytest.mark.parametrize("seed", range(12))
def test_no_held_objective_can_be_worked_out(instrument, seed):
    """Shares of a function add to one and a difference tells the share of all: what is held stays undetermined."""
    rng = np.random.default_rng(seed)
    n = 120
    function = rng.integers(0, 5, n)
    first = np.where(rng.random(n) < 0.6, np.minimum(function, 3), rng.integers(0, 4, n))
    data = leads(instrument, n // 2, 2, team_fn=np.array(FUNCTIONS)[function], **ranking(first))
    found = made(data, instrument, replicates=40)
    published = publish(found.estimates, Policy(), found.bases)
    counts = np.zeros((5, 4), dtype=int)
    np.add.at(counts, (function, first), 1)
    naive = publish(found.estimates, Policy(), found.bases.assign(adds_up="", tells=""))
    assert [count for count in hidden(published, counts) if 0 < count < 3] == []
    if seed == 0:
        assert [count for count in hidden(naive, counts) if 0 < count < 3], "the attack finds what is not protected"


def test_published_notes_tell_no_exact_small_number(estimated):
    published = publish(estimated.estimates, Policy(), estimated.bases)
    shown = published[published["status"].isin(["ok", "flagged"])]
    numbers = shown["reason"].str.replace(r"\d+\.\d+|\d+%", "", regex=True).str.extractall(r"(\d+)")[0].astype(int)
    assert set(numbers) <= {4, 30, 90}  # items of the scale, small base, days
