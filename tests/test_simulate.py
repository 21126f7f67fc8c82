"""Worlds: enumerated truth against large draws and closed forms, streams by name, deliveries that obey the questionnaire."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fieldwork.clean import clean
from fieldwork.errors import DesignError, UsageError
from fieldwork.instrument import Instrument
from fieldwork.intake import read_delivery
from fieldwork.simulate import (
    EXECUTIVES,
    Layout,
    Measure,
    Population,
    describe,
    layout_of,
    simulate,
    simulate_responses,
    stream,
    truth,
    worlds,
    write_study,
)
from fieldwork.simulate.delivery import deliveries
from fieldwork.simulate.truth import upper_orthant
from fieldwork.study import Study
from fieldwork.weight import Margins, rake
from tests.drawn_study import untold

ROOT = Path(__file__).parent.parent
WORLDS = list(worlds())

# A survey of other people, without stages of the organisation, interview times or quality rules.
NEWSROOMS = """
[instrument]
id = "newsrooms"
version = "1"
title = "Newsrooms"

[keys]
respondent = "id"
wave = "wave"
organisation = "house"
role = "job"
stage = "phase"

[[missing]]
code = -9
id = "skipped"
label = "Skipped"

[[roles]]
code = 1
id = "editor"
label = "Editor"

[[roles]]
code = 2
id = "reporter"
label = "Reporter"

[[roles]]
code = 3
id = "photographer"
label = "Photographer"

[[stages]]
code = 0
id = "none"
label = "None"

[[stages]]
code = 1
id = "some"
label = "Some"

[scales.seven]
points = [{ code = 1, label = "a" }, { code = 2, label = "b" }, { code = 3, label = "c" }, { code = 4, label = "d" },
          { code = 5, label = "e" }, { code = 6, label = "f" }, { code = 7, label = "g" }]

[items.id]
kind = "identifier"
label = "Id"
required = true

[items.house]
kind = "identifier"
label = "House"

[items.wave]
kind = "text"
label = "Wave"

[items.job]
kind = "single"
label = "Job"
options = ["roles"]

[items.phase]
kind = "ordinal"
scale = "stages"
label = "Phase"
column = "Q1 phase"

[items.trust]
kind = "ordinal"
scale = "seven"
label = "Trust"
constructs = ["adoption_gradient"]

[items.uses]
kind = "multi"
label = "Uses"
cap = 2
options = [{ code = 1, id = "text", label = "Text" }, { code = 2, id = "image", label = "Image" },
           { code = 3, id = "video", label = "Video" }]
constructs = ["practices"]
"""


@pytest.fixture(scope="module")
def instrument() -> Instrument:
    return Instrument.load(ROOT / "instruments" / "2026Q1.toml", "2026Q1")


@pytest.fixture
def newsrooms(tmp_path: Path) -> Instrument:
    path = tmp_path / "w1.toml"
    path.write_text(NEWSROOMS, encoding="utf-8")
    return Instrument.load(path, "w1")


def values(population: Population) -> dict[tuple[str, ...], float]:
    keys = ("measure", "statistic", "role", "role_2", "stage")
    return {tuple(str(row[key]) for key in keys): float(row["value"]) for row in truth(population)}


# ---------------------------------------------------------------------------------------------------------- the worlds


def test_the_list_of_worlds_and_of_their_parameters():
    of_one_wave = ["role_divergence", "null", "stage_only", "role_only", "confounded"]
    assert [*of_one_wave, "no_change", "converging", "diverging"] == WORLDS
    text = describe()
    for world in worlds().values():
        assert world.title in text
        assert {parameter.name for parameter in world.parameters()} == {
            parameter.name for parameter in worlds()["null"].parameters()
        }
    assert "role_effect.ROLE" in text
    assert all(parameter.meaning for parameter in worlds()["null"].parameters())


def test_the_essays_picture_is_as_wide_as_it_says():
    found = values(Population(worlds()["role_divergence"], EXECUTIVES))
    assert 0.5 < found["conf", "role_sd_corrected", "", "", ""] < 0.6
    assert 0.2 < found["conf", "stage_sd_corrected", "", "", ""] < 0.3
    by_role = {role: found["conf", "role_mean", role, "", ""] for role in EXECUTIVES.roles}
    assert max(by_role, key=by_role.get) == "CTO"
    assert min(by_role, key=by_role.get) == "CMO"
    assert by_role["CFO"] < np.mean(list(by_role.values()))
    assert found["conf+prep", "high_both_share", "CTO", "", "scaled"] > 0.5


@pytest.mark.parametrize(
    ("world", "roles", "stages"),
    [("null", 0, 0), ("stage_only", 0, 1), ("role_only", 1, 0), ("role_divergence", 1, 1), ("confounded", 1, 1)],
)
def test_which_spreads_are_nil(world, roles, stages):
    found = values(Population(worlds()[world], EXECUTIVES))
    for measure in ("conf", "prep"):
        assert (found[measure, "role_sd_corrected", "", "", ""] > 0.1) == roles
        assert (found[measure, "stage_sd_corrected", "", "", ""] > 0.1) == stages
        assert ((measure, "gradient_ratio_log", "", "", "") in found) == (roles and stages)


def test_in_the_confounded_world_roles_differ_by_their_stages_alone():
    found = values(Population(worlds()["confounded"], EXECUTIVES))
    assert found["conf", "role_part", "CTO", "CMO", ""] == pytest.approx(0, abs=1e-12)
    assert found["conf", "role_mean", "CTO", "", ""] - found["conf", "role_mean", "CMO", "", ""] > 0.5


def test_the_null_world_moves_no_item_of_the_questionnaire(instrument):
    """Every item that all are asked is alike by role and by stage: 140 tests at once, none below Bonferroni's bound."""
    calm = dict.fromkeys(("speeders", "straight_liners", "inattentive", "item_missing"), 0.0)
    world = worlds()["null"].with_settings(calm)
    raw = simulate(world, instrument, organisations=1500, waves=1, seed=4).raw["2026Q1"]
    logical = ("ent_", "role_exists_", "meta_conf_", "inf_", "veto_", "signoff_", "size_", "rev_")  # stage, who exists
    chosen = [
        column
        for item in instrument.items
        if item.kind in {"ordinal", "single", "multi", "flag", "rank"} and not item.asked_of and item.module == "core"
        for column in item.native_columns()
        if not column.startswith(logical) and column not in {"role", "stage_fn", "stage_org"}
    ]
    p_values = {}
    for column in chosen:
        for by in ("role", "stage_fn"):
            given = raw.loc[raw[column] != "", [column, by]]
            table = pd.crosstab(given[column], given[by])
            if len(table) > 1:
                p_values[column, by] = stats.chi2_contingency(table.to_numpy()).pvalue
    assert len(p_values) > 120
    assert min(p_values.values()) > 0.05 / len(p_values) / 10


# ----------------------------------------------------------------------------------------------------------- the truth


def clustered_z(estimated: np.ndarray, weight: np.ndarray, organisation: np.ndarray, expected: float) -> float:
    mean = weight @ estimated / weight.sum()
    scores = np.bincount(organisation, weight * (estimated - mean))
    return float((mean - expected) / (np.sqrt(scores @ scores) / weight.sum()))


@pytest.mark.parametrize("world", WORLDS)
def test_the_truth_is_what_large_samples_estimate(world):
    population = Population(worlds()[world], EXECUTIVES)
    found = values(population)
    drawn = simulate_responses(worlds()[world], organisations=60_000, seed=6)
    weight = 1 / population.responds[drawn.role, drawn.size]
    z = []
    for measure, answer in drawn.answers.items():
        for number, role in enumerate(EXECUTIVES.roles):
            for place, stage in enumerate(["", *EXECUTIVES.stages]):
                rows = (drawn.role == number) & ((drawn.stage == place - 1) | (stage == ""))
                expected = found[measure, "role_mean", role, "", stage]
                z.append(clustered_z(answer[rows], weight[rows], drawn.organisation[rows], expected))
        for number, stage in enumerate(EXECUTIVES.stages):
            rows = drawn.stage == number
            expected = found[measure, "stage_mean", "", "", stage]
            z.append(clustered_z(answer[rows], weight[rows], drawn.organisation[rows], expected))
    rows = (drawn.role == 4) & (drawn.stage == 4)
    both = ((drawn.answers["conf"] >= 4) & (drawn.answers["prep"] >= 4)).astype(float)
    expected = found["conf+prep", "high_both_share", "CTO", "", "scaled"]
    z.append(clustered_z(both[rows], weight[rows], drawn.organisation[rows], expected))
    assert np.abs(z).max() < 4
    assert 0.7 < np.std(z) < 1.3


@pytest.mark.parametrize("world", ["role_divergence", "confounded"])
def test_adjusted_effects_are_those_of_least_squares_on_a_large_sample(world):
    population = Population(worlds()[world], EXECUTIVES)
    found = values(population)
    drawn = simulate_responses(worlds()[world], organisations=60_000, seed=8)
    root = np.sqrt(1 / population.responds[drawn.role, drawn.size])
    columns = [np.ones(drawn.n)]
    for axis, levels in ((drawn.role, 10), (drawn.stage_org, 5), (drawn.size, 4), (drawn.sector, 8)):
        columns += [(axis == level).astype(float) for level in range(1, levels)]
    design = np.stack(columns, axis=1) * root[:, None]
    for measure, answer in drawn.answers.items():
        fitted = np.linalg.lstsq(design, answer * root, rcond=None)[0]
        spreads = {"role_sd_adjusted": np.r_[0, fitted[1:10]], "stage_sd_adjusted": np.r_[0, fitted[10:14]]}
        for statistic, effects in spreads.items():
            assert np.std(effects, ddof=1) == pytest.approx(found[measure, statistic, "", "", ""], abs=0.012)


def test_a_world_small_enough_for_the_closed_form():
    """One role, one stage, one size, one sector, no style: E[y] of a rounded normal, spread 1, is a sum of five areas."""
    plain = dict.fromkeys(("organisation_sd", "person_sd", "acquiescence_sd", "extreme_share", "sector_sd"), 0.0)
    world = worlds()["null"].with_settings(plain | {"residual_sd": 1.0, "level": 3.4})
    layout = Layout(("a", "b"), ("only",), ("all",), ("all",), (Measure("y"),))
    found = values(Population(world, layout))
    by_hand = 1 + sum(stats.norm.sf(cut - 3.4) for cut in (1.5, 2.5, 3.5, 4.5))
    assert found["y", "role_mean", "a", "", ""] == pytest.approx(by_hand, abs=1e-12)
    styled = values(Population(world.with_settings({"extreme_share": 1.0, "extreme_contraction": 0.5}), layout))
    by_hand = 1 + sum(stats.norm.sf(3 + 0.5 * (cut - 3) - 3.4) for cut in (1.5, 2.5, 3.5, 4.5))
    assert styled["y", "role_mean", "b", "", ""] == pytest.approx(by_hand, abs=1e-12)


def test_parts_of_the_gap_add_up_and_ranges_are_ranges():
    found = values(Population(worlds()["role_divergence"], EXECUTIVES))
    for measure in ("conf", "prep"):
        gap = {name: found[measure, name, "CTO", "CMO", ""] for name in ("naive_gap", "role_part", "stage_part")}
        assert gap["naive_gap"] == pytest.approx(gap["role_part"] + gap["stage_part"], abs=1e-12)
        overall = {key[1]: value for key, value in found.items() if key[0] == measure and key[2:] == ("", "", "")}
        assert overall["range_raw"] == overall["range_shrunken"]
        assert overall["range_difference"] == pytest.approx(overall["range_raw"] - overall["stage_range_raw"])
        ratio = overall["role_sd_corrected"] / overall["stage_sd_corrected"]
        assert overall["gradient_ratio_log"] == pytest.approx(np.log(ratio))


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7, 0.95])
def test_orthants_are_those_of_the_bivariate_normal(rho):
    points = np.array([-1.5, 0.0, 0.4, 2.0])
    ours = upper_orthant(points, points[::-1], rho)
    normal = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]])
    theirs = [normal.cdf([-h, -k]) for h, k in zip(points, points[::-1], strict=True)]
    assert ours == pytest.approx(np.array(theirs), abs=2e-7)


def test_drift_widens_the_later_wave():
    world = worlds()["role_divergence"].with_settings({"role_drift": 0.2, "practice_drift": 0})
    rows = truth(Population(world, EXECUTIVES), waves=("2026Q1", "2026Q2"))
    spread = [
        row["value"]
        for row in rows
        if (row["measure"], row["statistic"], row["stage"]) == ("conf", "role_sd_corrected", "")
    ]
    assert spread[1] > 1.1 * spread[0]


# ---------------------------------------------------------------------------------------------------------- the draws


def test_streams_go_by_name_and_seed():
    def draw(*names):
        return stream(*names).standard_normal(5).tolist()

    assert draw(1, "item", "conf") == draw(1, "item", "conf")
    assert draw(1, "item", "conf") != draw(1, "item", "prep")
    assert draw(1, "item", "conf") != draw(2, "item", "conf")


def test_an_item_more_moves_no_other_answer():
    more = Layout(
        EXECUTIVES.roles, EXECUTIVES.stages, EXECUTIVES.sizes, EXECUTIVES.sectors, (Measure("trust"), Measure("prep"))
    )
    world = worlds()["role_divergence"]
    one = simulate_responses(world, organisations=50, seed=3)
    other = simulate_responses(world, more, organisations=50, seed=3)
    assert (one.answers["prep"] == other.answers["prep"]).all()
    assert (one.stage == other.stage).all()


def test_a_small_study_is_the_beginning_of_a_large_one():
    small = simulate_responses(worlds()["null"], organisations=60, seed=3)
    large = simulate_responses(worlds()["null"], organisations=5000, seed=3)
    assert (large.organisation[: small.n] == small.organisation).all()
    assert large.organisation.max() >= 4990
    assert (large.role[: small.n] == small.role).all()


def test_later_waves_are_a_panel_of_the_same_executives():
    first = simulate_responses(worlds()["role_divergence"], organisations=300, seed=3)
    second = simulate_responses(worlds()["role_divergence"], organisations=300, seed=3, wave=2)
    pairs = set(zip(first.organisation.tolist(), first.role.tolist(), strict=True))
    later = set(zip(second.organisation.tolist(), second.role.tolist(), strict=True))
    assert later < pairs
    assert len(later) / len(pairs) == pytest.approx(0.85, abs=0.03)


def takers(world, wave, **settings):
    drawn = simulate_responses(worlds()[world].with_settings(settings), organisations=400, seed=3, wave=wave)
    return set(zip(drawn.organisation.tolist(), drawn.role.tolist(), strict=True)), drawn


def test_refreshment_makes_a_repeated_cross_section_a_panel_or_a_mixture():
    first, _ = takers("no_change", 1)
    for share in (0.0, 0.4, 1.0):
        second, drawn = takers("no_change", 2, refreshment=share)
        third, _ = takers("no_change", 3, refreshment=share)
        again = len(second & first) / len(second)
        # A place keeps its organisation in 1 - share of cases, and of its executives 0.85 answer again.
        assert again == pytest.approx((1 - share) * 0.85 / (share + (1 - share) * 0.85), abs=0.05)
        assert len(third & first) <= len(second & first) + 60
        assert len(set(zip(drawn.organisation.tolist(), drawn.role.tolist(), strict=True))) == drawn.n
        if share == 1:
            assert first.isdisjoint(second | third)
            assert second.isdisjoint(third)
            assert drawn.n == pytest.approx(len(first), rel=0.1)


def test_refreshment_moves_no_draw_of_those_who_stay():
    _, panel = takers("no_change", 3)
    _, mixed = takers("no_change", 3, refreshment=0.5)
    of_panel = dict(
        zip(zip(panel.organisation.tolist(), panel.role.tolist(), strict=True), panel.answers["conf"], strict=True)
    )
    of_mixed = dict(
        zip(zip(mixed.organisation.tolist(), mixed.role.tolist(), strict=True), mixed.answers["conf"], strict=True)
    )
    both = set(of_panel) & set(of_mixed)
    assert len(both) > 100
    assert all(of_panel[key] == of_mixed[key] for key in both)


def test_a_wave_of_newcomers_alone_is_written_as_text(tmp_path):
    folder = untold("no_change", tmp_path / "s", organisations=60, waves=2, seed=4, settings={"refreshment": 1.0})
    written = (folder / "data/raw/2026Q2/responses.csv").read_bytes()
    assert b"\x00" not in written
    rows = pd.read_csv(io.BytesIO(written), dtype=str, keep_default_na=False)
    assert len(rows) > 200
    assert rows["resp_id"].str.fullmatch("r[0-9a-f]{12}").all()


def test_a_panel_flag_marks_those_who_took_part_before(instrument):
    world = worlds()["no_change"].with_settings({"refreshment": 0.5})
    raw = simulate(world, instrument, organisations=120, waves=2, seed=4).raw
    before, after = raw.values()
    assert set(before["panel_flag"]) == {"0"}
    known = after["resp_id"].isin(before["resp_id"])
    assert 0.2 < known.mean() < 0.8
    assert (after["panel_flag"] == np.where(known, "1", "0")).all()


def test_alignment_work_is_told_as_it_is_and_parts_the_drift(instrument):
    world = worlds()["diverging"].with_settings(
        {"item_missing": 0, "speeders": 0, "straight_liners": 0, "inattentive": 0}
    )
    raw = simulate(world, instrument, organisations=300, waves=2, seed=4).raw["2026Q1"]
    share = raw.groupby("org_id")["act_align"].agg(lambda told: (told == "0").mean())
    assert set(share) == {0.0, 1.0}
    assert share.mean() == pytest.approx(0.5, abs=0.1)
    population = Population(world, layout_of(instrument))
    conf = population.layout.measures[0]
    first, later = population.effects(conf, 1), population.effects(conf, 3)
    assert np.std(later.mean(axis=1)) == pytest.approx(np.std(first.mean(axis=1)) * 1.25**2)
    assert (population.effects(conf, 3, practice=True) == first).all()


def test_roles_count_most_at_the_middle_stage_when_there_is_a_phase():
    population = Population(worlds()["role_only"].with_settings({"role_phase": 0.8}), EXECUTIVES)
    spread = population.effects(EXECUTIVES.measures[0]).std(axis=0)
    assert spread.argmax() == 2
    assert spread[0] == spread[-1] < spread[1]
    assert spread.mean() == pytest.approx(
        Population(worlds()["role_only"], EXECUTIVES).effects(EXECUTIVES.measures[0]).std(axis=0).mean()
    )


def test_use_becomes_steadier_where_its_residual_shrinks(instrument):
    population = Population(worlds()["role_divergence"], layout_of(instrument))
    assert population.residual_sd("use_stab_2", 3) == pytest.approx(0.85 * 0.85**2)
    assert population.residual_sd("conf", 3) == population.residual_sd("use_stab_2", 1) == 0.85


def test_raking_to_the_world_s_margins_recovers_the_population():
    population = Population(worlds()["role_divergence"], EXECUTIVES)
    drawn = simulate_responses(worlds()["role_divergence"], organisations=20_000, seed=2)
    margins = population.margins()
    joint = np.bincount(drawn.role * 4 + drawn.size, minlength=40).astype(float)
    from fieldwork.weight import rake_cells

    factors = rake_cells(joint[None], [np.repeat(np.arange(10), 4), np.tile(np.arange(4), 10)], list(margins.values()))
    weighted = (joint * factors[0] / joint.sum()).reshape(10, 4)
    assert np.abs(weighted - population.executives).max() < 0.002


# ------------------------------------------------------------------------------------------------------------ settings


def test_settings_change_one_number_and_refuse_the_unknown():
    world = worlds()["null"].with_settings({"role_effect.CTO": "0.8", "speeders": "0", "role_effect.prep.CFO": -0.2})
    assert world.role_effect == {"CTO": 0.8, "prep.CFO": -0.2}
    assert world.speeders == 0
    with pytest.raises(UsageError) as refused:
        worlds()["null"].with_settings({"stage_efect": 1})
    assert refused.value.title == "the world null has no parameter 'stage_efect'"
    assert refused.value.hint == "did you mean stage_effect?"
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "setting", [{"speeders": 1.5}, {"speeders": "many"}, {"role_effect": 1}, {"speeders.CTO": 0.1}]
)
def test_values_out_of_range_and_wrong_families_are_refused(setting):
    with pytest.raises(UsageError):
        worlds()["null"].with_settings(setting)


def test_effects_move_what_they_speak_of_and_nothing_else(instrument):
    """Every effect on stalls, budgets and projects alone: the columns that it may move, and that no other moves."""
    plain = simulate(worlds()["null"], instrument, organisations=60, waves=1, seed=4).raw["2026Q1"]
    stalls = {"stall", "stall_point", "stall_cause", "stall_wk"}
    ranks = {f"obj_rank_{name}" for name in ("accuracy", "latency_scale", "roi_speed", "market_speed")}
    for settings, may in (
        ({"stall_distance": 0.3}, stalls), ({"stall_distance": 0.1, "stall_unacknowledged": 0.3}, stalls),
        ({"stall_item.amb": 0.2}, stalls), ({"budget_strongest": 8.0}, {"bud_chg"}), ({"budget_median": 8.0}, {"bud_chg"}),
        ({"objective.accuracy.finance": 2.0}, ranks), ({"delay_mismatch": 0.4}, {"delay"}),
        ({"project_running": 10.0}, {"t_deploy", "t_open"}), ({"practice_time.prac_1": -1.0}, {"t_deploy"}),
        ({"practice_bottlenecks.prac_2": -1.0}, {"bott"}), ({"practice_rework.prac_2": -1.0}, {"rework"}),
        ({"practice_satisfaction.prac_3": 1.0}, {"sat"}), ({"decision_layer": 0.3}, {"t_dec"}),
        ({"roadmap_age": 80.0}, {"road_age"}), ({"roadmap_age": 80.0, "roadmap_trust": -1.0}, {"road_age", "road_trust"}),
        ({"leadership": 0.8}, {"sat"}),
    ):  # fmt: skip
        world = worlds()["null"].with_settings(settings)
        bent = simulate(world, instrument, organisations=60, waves=1, seed=4).raw["2026Q1"]
        moved = {column for column in plain if (plain[column].to_numpy() != bent[column].to_numpy()).any()}
        assert moved, settings
        assert moved <= may, settings


def test_a_running_project_has_a_start_and_no_deployment(instrument):
    world = worlds()["null"].with_settings({"project_running": 10.0, "optional_share": 1.0, "item_missing": 0.0})
    raw = simulate(world, instrument, organisations=100, waves=1, seed=4).raw["2026Q1"]
    running = raw["t_deploy"] == "-98"
    assert 0.2 < running.mean() < 0.7
    assert (raw.loc[running, "t_open"] != "-98").all()
    assert (raw.loc[~running, "t_open"] == "-98").all()


def test_a_setting_of_an_effect_names_what_the_questionnaire_has(tmp_path):
    for name, near in (
        ("practice_time.prac_9", "prac_"),
        ("objective.accuracy.finence", "finance"),
        ("stall_item.ambi", "amb"),
    ):
        with pytest.raises(UsageError, match="the instrument knows no") as caught:
            write_study(
                "null", organisations=5, waves=1, seed=1, out=tmp_path / "s", base=ROOT, settings={name: 0.1}
            )  # fmt: skip
        assert near in str(caught.value)


def test_response_rates_that_are_no_probabilities_are_refused():
    with pytest.raises(DesignError, match="more executives answer than exist"):
        Population(worlds()["null"].with_settings({"response_rate": 1.0}), EXECUTIVES)


# ---------------------------------------------------------------------------------------------------------- deliveries


def test_the_same_seed_makes_the_same_delivery_and_another_does_not(instrument):
    def made(seed):
        return simulate(worlds()["role_divergence"], instrument, organisations=40, waves=2, seed=seed).raw

    one, two, other = made(1), made(1), made(2)
    assert list(one) == ["2026Q1", "2026Q2"]
    for wave in one:
        pd.testing.assert_frame_equal(one[wave], two[wave])
    assert not one["2026Q1"].equals(other["2026Q1"])
    assert set(one["2026Q2"]["resp_id"]) < set(one["2026Q1"]["resp_id"])


def test_the_delivery_holds_the_answers_of_the_fast_path(instrument):
    world = worlds()["role_divergence"].with_settings(
        dict.fromkeys(("speeders", "straight_liners", "inattentive", "item_missing"), 0.0)
    )
    raw = simulate(world, instrument, organisations=150, waves=1, seed=9).raw["2026Q1"]
    fast = simulate_responses(world, layout_of(instrument), organisations=150, seed=9)
    assert raw["conf"].astype(float).tolist() == fast.answers["conf"].tolist()
    assert (raw["stage_fn"].astype(int) - 1).tolist() == fast.stage.tolist()
    assert (raw["stage_org"].astype(int) - 1).tolist() == fast.stage_org.tolist()
    assert (raw["role"].astype(int) - 1).tolist() == fast.role.tolist()


def test_every_column_is_there_as_text_and_obeys_the_questionnaire(instrument):
    world = worlds()["role_divergence"].with_settings({"speeders": 0})
    raw = simulate(world, instrument, organisations=400, waves=1, seed=5).raw["2026Q1"]
    assert list(raw.columns) == instrument.columns()
    assert all(isinstance(cell, str) for cell in raw.iloc[0])
    blockers = raw[[f"blk_{option.id}" for option in instrument.item("blk").options]]
    answered = blockers[blockers.isin(["0", "1"]).all(axis=1)].astype(int)
    assert ((answered["blk_none"] == 0) | (answered.sum(axis=1) == 1)).all()
    assert (answered.sum(axis=1) > 0).all()
    conditions = raw[[f"cond_{option.id}" for option in instrument.item("cond").options]]
    conditions = conditions[conditions.isin(["0", "1"]).all(axis=1)].astype(int)
    assert conditions.sum(axis=1).max() == 3
    for alone in ("cond_all", "cond_none"):
        assert (conditions.loc[conditions[alone] == 1].sum(axis=1) == 1).all()
    assert (raw.loc[raw["stall"] != "1", ["stall_point", "stall_cause", "stall_wk"]] == "").all(axis=None)
    assert (raw.loc[~raw["role"].isin(["2", "3", "4", "5"]), "bud_chg"] == "").all()
    for number, role in enumerate(instrument.role_ids, start=1):
        assert (raw.loc[raw["role"] == str(number), [f"meta_conf_{role}", f"inf_{number:02d}"]] == "").all(axis=None)
        absent = raw[f"role_exists_{number:02d}"] == "0"
        assert raw.loc[absent, f"inf_{number:02d}"].isin(["98", "97", "99", ""]).all()
        assert (raw.loc[absent, f"meta_conf_{role}"] == "").all()
    ranks = raw[[f"pri_{number}" for number in range(1, 8)]]
    ranks = ranks[~ranks.isin(["", "97", "98", "99"]).any(axis=1)].astype(int)
    assert (np.sort(ranks.to_numpy(), axis=1) == np.arange(1, 8)).all()
    top = raw.loc[raw["blk_top1"].isin([str(code) for code in range(1, 16)]), :]
    chosen = {str(option.code): f"blk_{option.id}" for option in instrument.item("blk_top1").options}
    assert all(row[chosen[row["blk_top1"]]] == "1" for _, row in top.iterrows())
    assert (top["blk_top1"] != top["blk_top2"]).all()


def test_blockers_are_cited_as_the_world_says(instrument):
    world = worlds()["role_divergence"]
    raw = simulate(world, instrument, organisations=3000, waves=1, seed=5).raw["2026Q1"]
    for name, option, role in [("roi.CMO", "blk_roi", "8"), ("reg.GC", "blk_reg", "10"), ("", "blk_culture", "5")]:
        cited = raw.loc[(raw["role"] == role) & raw[option].isin(["0", "1"]), option].astype(int)
        expected = world.blocker_own.get(name, world.blocker_base)
        assert cited.mean() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(cited)) + 0.01)


def test_the_cleaning_catches_contamination_and_faulty_rows(tmp_path):
    folder = untold("role_divergence", tmp_path / "s", organisations=150, seed=3, settings={"faulty_rows": 7})
    study = Study.open(folder)
    cleaned = clean([read_delivery(path, study.instrument()) for path in study.raw_files()], study.instrument())
    rules = cleaned.flow.by_rule
    expected = {
        "resp_id_missing": 1, "duplicate_respondent": 1, "role_missing": 1, "role_unknown": 1, "stage_out_of_range": 1,
        "value_unknown": 1, "exclusive_combined": 1,
    }  # fmt: skip
    assert {rule: rules.get(rule) for rule in expected} == expected
    assert {"speeder", "straight_liner", "attention_failed"} <= set(rules)
    assert cleaned.flow.accepted + cleaned.flow.quarantined == cleaned.flow.delivered
    assert sum(rules.values()) < 0.1 * cleaned.flow.delivered
    assert not cleaned.flow.unknown_columns
    assert not cleaned.flow.absent_columns
    assert "routing_violated" not in cleaned.flow.flags
    assert "cap_exceeded" not in cleaned.flow.flags
    raked = rake(cleaned.responses, Margins.load(study.margins_path(), study.instrument()))
    assert raked.design_effect < 1.5
    assert np.abs(raked.margins["achieved"] - raked.margins["target"]).max() < 1e-6


def test_duplicates_are_delivered_when_asked_for(instrument):
    world = worlds()["null"].with_settings({"duplicates": 0.1})
    raw = simulate(world, instrument, organisations=100, waves=1, seed=3).raw["2026Q1"]
    assert raw["resp_id"].duplicated().mean() == pytest.approx(0.1, abs=0.04)


def test_large_studies_come_in_blocks(newsrooms):
    population = Population(worlds()["role_divergence"], layout_of(newsrooms))
    parts = list(deliveries(population, newsrooms, organisations=9000, wave=1, name="w1", seed=1))
    assert len(parts) == 3
    assert pd.concat(parts)["id"].is_unique


@pytest.mark.parametrize("world", WORLDS)
def test_another_survey_is_simulated_without_code(newsrooms, world):
    made = simulate(worlds()[world], newsrooms, organisations=80, waves=2, seed=1)
    assert list(made.raw) == ["w1", "w1.2"]
    raw = made.raw["w1"]
    assert list(raw.columns) == [
        "id",
        "house",
        "wave",
        "job",
        "Q1 phase",
        "trust",
        "uses_text",
        "uses_image",
        "uses_video",
    ]
    assert set(raw["Q1 phase"]) <= {"0", "1", "-9", ""}
    assert set(raw["trust"]) <= {*"1234567", "-9", ""}
    spread = [
        r["value"] for r in made.truth if r["statistic"] == "role_sd_corrected" and r["wave"] == "w1" and not r["stage"]
    ]
    assert (spread[0] > 0.1) == (world not in {"null", "stage_only"})
    assert list(made.margins) == ["job"]


# --------------------------------------------------------------------------------------------------------- the folder


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Two waves of the null world with their truth, and what was said while they were written."""
    seen = []
    folder = write_study(
        "null",
        organisations=30,
        waves=2,
        seed=3,
        out=tmp_path_factory.mktemp("told") / "s",
        base=ROOT,
        progress=lambda *step: seen.append(step),
    )
    return folder, seen


def test_a_study_without_its_truth_is_the_same_study(told, tmp_path):
    without = write_study("null", organisations=30, waves=2, seed=3, out=tmp_path / "s", base=ROOT, told=False)
    files, others = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (told[0], without)
    )
    assert files.pop(Path("truth.json"))
    assert files == others


def test_a_study_folder_opens_and_says_what_it_is(told):
    folder, seen = told
    study = Study.open(folder)
    assert study.provenance == "simulated"
    assert study.waves == ("2026Q1", "2026Q2")
    assert [path.name for path in study.raw_files()] == ["responses.csv"]
    assert study.claims_path() is not None
    assert seen == [("2026Q1/responses.csv", 1, 2), ("2026Q2/responses.csv", 2, 2)]
    records = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    assert set(records[0]) == {"wave", "construct", "measure", "statistic", "role", "role_2", "stage", "item", "value"}
    assert {record["wave"] for record in records} == {"2026Q1", "2026Q2"}
    assert "SIMULATED" in (folder / "data" / "raw" / "2026Q1" / "README.md").read_text(encoding="utf-8")


def test_a_folder_in_use_an_unknown_world_and_an_empty_study_are_refused(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    arguments = {"organisations": 5, "waves": 1, "seed": 1, "base": ROOT}
    with pytest.raises(UsageError, match="is in use"):
        write_study("null", out=tmp_path, **arguments)
    with pytest.raises(UsageError, match="no world 'nul'") as refused:
        write_study("nul", out=tmp_path / "new", **arguments)
    assert refused.value.hint == "did you mean null?"
    with pytest.raises(UsageError, match="needs organisations"):
        write_study("null", out=tmp_path / "new", **(arguments | {"organisations": 0}))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("role_effect.CTOO", "CTO"),
        ("role_effect.prepp.CTO", "prep"),
        ("item_level.cofn", "conf"),
        ("owner.share", "shared"),
    ],
)
def test_a_setting_for_a_role_or_item_that_is_not_there_is_refused(tmp_path, name, near):
    with pytest.raises(UsageError) as refused:
        write_study("null", organisations=5, waves=1, seed=1, out=tmp_path / "s", base=ROOT, settings={name: 2.0})
    assert refused.value.hint == f"did you mean {near}?"
    assert not (tmp_path / "s").exists()


def test_the_shipped_delivery_is_what_its_readme_says(tmp_path):
    """Until a real delivery replaces it: the command in the README makes the same bytes."""
    readme = ROOT / "data" / "raw" / "2026Q1" / "README.md"
    assert Study.open(ROOT).provenance != "simulated" or readme.is_file()
    if readme.is_file():
        assert "SIMULATED" in readme.read_text(encoding="utf-8")
        folder = write_study(
            "role_divergence", organisations=190, waves=1, seed=2026, out=tmp_path / "s", base=ROOT,
            settings={"faulty_rows": "8"},
        )  # fmt: skip
        assert "--organisations 190 --waves 1 --seed 2026 --set faulty_rows=8" in readme.read_text(encoding="utf-8")
        for made, shipped in [
            ("data/raw/2026Q1/responses.csv", "data/raw/2026Q1/responses.csv"),
            ("instruments/2026Q1.margins.toml", "instruments/2026Q1.margins.toml"),
        ]:
            assert (folder / made).read_bytes() == (ROOT / shipped).read_bytes()
        ours = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        shipped = json.loads((ROOT / "data" / "raw" / "2026Q1.truth.json").read_text(encoding="utf-8"))
        assert [row | {"value": 0} for row in ours] == [row | {"value": 0} for row in shipped]
        assert [row["value"] for row in ours] == pytest.approx([row["value"] for row in shipped], abs=1e-9)
