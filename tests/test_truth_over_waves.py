"""What a world makes true of movement, against large samples from it, drawn and counted without the estimators."""

from itertools import combinations

import numpy as np
import pytest

from fieldwork.simulate import Population, layout_of, simulate_responses, worlds
from fieldwork.simulate.interview import Interview
from fieldwork.simulate.population import executives
from fieldwork.simulate.truth import TrueWave
from fieldwork.simulate.truth_phase import phase_truth
from fieldwork.simulate.truths import over_waves, whole_truth
from tests.over_waves import SHIPPED

LARGE = 40_000


def known(world, wave=3):
    population = Population(world, layout_of(SHIPPED))
    return population, keyed(
        over_waves([TrueWave(population, SHIPPED, str(number), number) for number in range(1, wave + 1)])
    )


def keyed(rows):
    keys = ("measure", "statistic", "role", "role_2", "stage", "segment")
    return {tuple(row.get(name, "") for name in keys): row["value"] for row in rows}


def drawn(world, population, wave):
    found = simulate_responses(world, population.layout, organisations=LARGE, seed=12, wave=wave)
    return found, 1 / population.responds[found.role, found.size]


@pytest.fixture(scope="module")
def diverging():
    world = worlds()["diverging"].with_settings({"maturity_drift": 0.15, "refreshment": 0.3})
    population, rows = known(world)
    return world, population, rows, {wave: drawn(world, population, wave) for wave in (1, 3)}


def means(population, sample, weight, measure):
    answer, roles = sample.answers[measure], len(population.layout.roles)
    total = np.bincount(sample.role, weights=weight * answer, minlength=roles)
    return total / np.bincount(sample.role, weights=weight, minlength=roles)


def test_index_and_shift(diverging):
    _, population, rows, samples = diverging
    shares = {}
    for wave, (sample, weight) in samples.items():
        count = np.zeros((10, 5))
        np.add.at(count, (sample.role, sample.stage), weight)
        shares[wave] = count / count.sum(axis=1, keepdims=True)
    base = shares[1].mean(axis=0)
    ridit = np.array([base[:k].sum() + base[k] / 2 for k in range(5)])
    for place, role in enumerate(population.layout.roles):
        level = shares[3][place] @ ridit
        assert rows["stage_fn", "ridit", role, "", "", ""] == pytest.approx(level, abs=0.008)
        shift = level - shares[1][place] @ ridit
        assert rows["stage_fn", "shift", role, "", "", ""] == pytest.approx(shift, abs=0.01)
    assert rows["stage_fn", "shift", "CTO", "", "", ""] > 0.05


def test_changes_and_convergence(diverging):
    _, population, rows, samples = diverging
    first, last = (means(population, *samples[wave], "conf") for wave in (1, 3))
    for place, role in enumerate(population.layout.roles):
        assert rows["conf", "mean_change", role, "", "", ""] == pytest.approx(last[place] - first[place], abs=0.03)
    log = np.log(np.std(last, ddof=1) / np.std(first, ddof=1))
    assert rows["conf", "convergence", "", "", "", ""] == pytest.approx(log, abs=0.02)
    assert rows["conf", "convergence_slope", "", "", "", ""] == pytest.approx(log / 2, abs=0.015)
    slope = np.polyfit(first, last - first, 1)[0]
    assert rows["conf", "convergence_beta", "", "", "", ""] == pytest.approx(slope, abs=0.03)
    place = population.layout.roles.index
    gap = (last - first)[place("CTO")] - (last - first)[place("CMO")]
    assert rows["conf", "gap_change", "CTO", "CMO", "", ""] == pytest.approx(gap, abs=0.04)


def test_practice_parts_the_change(diverging):
    _, population, rows, _ = diverging
    never, other = (
        rows["conf", "convergence", "", "", "", f"act_align={words}"] for words in ("never", "more than never")
    )
    assert never > 0.4
    assert abs(other) < 0.02  # their role effects stay; the rise of stages moves nothing here
    assert rows["conf", "convergence_difference", "", "", "", ""] == pytest.approx(never - other)
    spread = {}
    for wave in (1, 3):
        by_practice = np.zeros((2, 2, 10))
        for block in range(4):
            people = executives(population, organisations=4096, seed=31, block=block)
            answer = np.asarray(population.layout.measures[0].codes)[
                people.point(
                    population.layout.measures[0],
                    people.latent(population.layout.measures[0], people.stage(wave), wave),
                )
            ]
            weight = 1 / population.responds[people.role, people.size]
            for side in (0, 1):
                mine = people.practice == bool(side)
                by_practice[side, 0] += np.bincount(people.role[mine], weights=(weight * answer)[mine], minlength=10)
                by_practice[side, 1] += np.bincount(people.role[mine], weights=weight[mine], minlength=10)
        spread[wave] = np.std(by_practice[:, 0] / by_practice[:, 1], axis=1, ddof=1)
    assert np.log(spread[3] / spread[1]) == pytest.approx(np.array([never, other]), abs=0.06)


def test_ranks_count_roles_that_are_further_on(diverging):
    _, population, rows, _ = diverging
    level = {role: rows["stage_fn", "ridit", role, "", "", ""] for role in population.layout.roles}
    for role, mine in level.items():
        assert rows["stage_fn", "rank_low", role, "", "", ""] == 1 + sum(other > mine for other in level.values())
    null = keyed(whole_truth(Population(worlds()["null"], layout_of(SHIPPED)), SHIPPED, "1", 1))
    assert {value for key, value in null.items() if key[1] == "rank_high"} == {1.0}


@pytest.mark.parametrize("world", ["null", "role_divergence"])
def test_precedence_is_what_organisations_tell(world):
    """Every pair of roles, counted over 16,000 organisations from the quarters that the interview hands out."""
    bent = worlds()[world].with_settings({"item_missing": 0, "speeders": 0, "straight_liners": 0, "inattentive": 0})
    population, rows = known(bent, 1)
    entries = SHIPPED.slot("ent")
    first, both = np.zeros((10, 10)), np.zeros((10, 10))
    for block in range(4):
        people = executives(population, organisations=4096, seed=5, block=block)
        interview = Interview(SHIPPED, people, 1, "2026Q1")
        told = [interview._date(item) for item in entries]
        weight = 1 / population.responds[people.role, people.size]
        informants = np.bincount(people.org, minlength=len(people.has_role))[people.org]
        table = np.full((len(people.has_role), 10), -1)
        table[people.org[informants >= 3], people.role[informants >= 3]] = np.flatnonzero(informants >= 3)
        for i, j in combinations(range(10), 2):
            pair = table[(table[:, i] >= 0) & (table[:, j] >= 0)]
            one, two = pair[:, i], pair[:, j]
            for cells in told:
                # An index is quarters ago; the last text is "not yet", which lies before every quarter.
                ago = [np.where(cells.index[side] < len(cells.texts) - 1, cells.index[side], -1) for side in (one, two)]
                known_order = (ago[0] >= 0) | (ago[1] >= 0)
                w = (weight[one] * weight[two])[known_order]
                came = (ago[0] > ago[1]) + 0.5 * (ago[0] == ago[1])
                first[i, j] += w @ came[known_order]
                both[i, j] += w.sum()
    error = []
    for i, j in combinations(range(10), 2):
        true = rows["ent", "precedence", population.layout.roles[i], population.layout.roles[j], "", ""]
        error.append(first[i, j] / both[i, j] - true)
    # One organisation in three compares a pair: a standard error of a hundredth for the rarest of 45 pairs.
    assert np.abs(error).max() < 0.04
    assert abs(np.mean(error)) < 0.004
    strength = [rows["ent", "precedence_strength", role, "", "", ""] for role in population.layout.roles]
    assert np.sum(strength) == pytest.approx(0, abs=1e-8)
    assert (np.ptp(strength) > 0.5) == (world == "role_divergence")


def test_moves_back_and_steadier_use():
    world = worlds()["role_divergence"]
    population, rows = known(world)
    people = [executives(population, organisations=4096, seed=9, block=block) for block in range(4)]
    back = np.concatenate([each.stage(2) < each.stage(1) for each in people])
    weight = np.concatenate([1 / population.responds[each.role, each.size] for each in people])
    assert rows["stage_fn", "reversal_share", "", "", "", ""] == pytest.approx(weight @ back / weight.sum(), abs=0.006)
    assert 0.6 < rows["use_stab", "variance_ratio", "", "", "", ""] < 0.9
    calm = known(worlds()["no_change"])[1]
    assert calm["use_stab", "variance_ratio", "", "", "", ""] == pytest.approx(1, abs=0.02)
    assert calm["stage_fn", "reversal_share", "", "", "", ""] == pytest.approx(0.25, abs=0.02)
    drifting = known(worlds()["no_change"].with_settings({"maturity_drift": 0.3}))[1]
    assert ("stage_fn", "reversal_share", "", "", "", "") not in drifting  # it hangs on which moves were observed


def test_the_spread_by_stage_of_the_organisation():
    world = worlds()["role_only"].with_settings(
        {"role_phase": 1.5, "stage_noise_sd": 0.2, "organisation_noise_sd": 0.2}
    )
    population = Population(world, layout_of(SHIPPED))
    rows = keyed(phase_truth(population, SHIPPED, "1", 1))
    sample, weight = drawn(world, population, 1)
    for place, stage in enumerate(population.layout.stages):
        mine = sample.stage_org == place
        total = np.bincount(sample.role[mine], weights=(weight * sample.answers["conf"])[mine], minlength=10)
        spread = np.std(total / np.bincount(sample.role[mine], weights=weight[mine], minlength=10), ddof=1)
        assert rows["conf", "role_sd_by_stage", "", "", stage, ""] == pytest.approx(spread, abs=0.03)
    assert rows["conf", "slope_before_peak", "", "", "", ""] > 0.05
    assert rows["conf", "slope_after_peak", "", "", "", ""] < -0.05
    flat = keyed(phase_truth(Population(worlds()["no_change"], layout_of(SHIPPED)), SHIPPED, "1", 1))
    assert ("conf", "slope_before_peak", "", "", "", "") not in flat  # no stage stands out, so no break is settled


def test_nothing_is_told_of_what_cannot_be_compared():
    population = Population(worlds()["no_change"], layout_of(SHIPPED))
    other = Population(worlds()["no_change"], layout_of(SHIPPED.model_copy(update={"roles": SHIPPED.roles[:5]})))
    told = over_waves([TrueWave(other, SHIPPED, "1", 1), TrueWave(population, SHIPPED, "2", 2)])
    assert {row["statistic"] for row in told}.isdisjoint({"shift", "convergence", "mean_change", "gap_change"})
