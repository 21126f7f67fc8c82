"""Distances of citation profiles beyond chance, effective numbers, and overlap inside teams: by hand, by brute force, by level."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.errors import DesignError
from fieldwork.statistics.multiresponse import dissimilarity, jensen_shannon
from fieldwork.statistics.overlap import jaccard, team_answers, team_overlap
from fieldwork.statistics.profiles import beyond_chance, dissimilarity_beyond_chance, hill_number, mean_dissimilarity
from fieldwork.statistics.replicates import cluster_keys, infer, multipliers

CTO_CMO = np.array([[7.0, 3.0, 6.0], [2.0, 8.0, 3.0]])  # measures.md 2.7


class TestProfiles:
    def test_worked_example(self):
        """measures.md 2.7: dissimilarity .4279; Hill numbers by hand from the entropies of 7, 3, 6 and 2, 8, 3."""
        q = CTO_CMO / CTO_CMO.sum(axis=1, keepdims=True)
        assert float(mean_dissimilarity(q)) == pytest.approx(0.4279, abs=5e-5)
        by_hand = [np.prod([(x / sum(row)) ** (-x / sum(row)) for x in row]) for row in ((7, 3, 6), (2, 8, 3))]
        assert hill_number(CTO_CMO) == pytest.approx(by_hand)

    @settings(deadline=None)
    @given(st.integers(0, 1000), st.integers(2, 9), st.integers(2, 6))
    def test_mean_over_pairs_is_the_mean_over_pairs(self, seed, groups, items):
        counts = np.random.default_rng(seed).integers(1, 20, (3, groups, items)).astype(float)
        q = counts / counts.sum(axis=-1, keepdims=True)
        pairs = [dissimilarity(counts[:, a], counts[:, b]) for a, b in itertools.combinations(range(groups), 2)]
        assert mean_dissimilarity(q) == pytest.approx(np.mean(pairs, axis=0), abs=1e-12)

    def test_one_profile_has_no_distance(self):
        with pytest.raises(DesignError, match="two profiles"):
            mean_dissimilarity(np.array([[0.5, 0.5]]))
        with pytest.raises(DesignError, match="two profiles or more, each with citations"):
            beyond_chance(np.ones((5, 2, 3)) * [[[1.0], [0.0]]], [9, 9], mean_dissimilarity)


def replicated(rng, p, n, replicates=300):
    """Citations of n respondents per role, each their own cluster, in every layer."""
    ticks = rng.random((len(p), n, p.shape[1])) < p[:, None, :]
    m = multipliers(cluster_keys([str(i) for i in range(len(p) * n)], int(rng.integers(1 << 30))), replicates)
    m = np.vstack([np.ones(m.shape[1]), m]).reshape(replicates + 1, len(p), n)
    return np.einsum("brn,rnj->brj", m, ticks.astype(float))


def bits(profiles):
    return jensen_shannon(np.maximum(profiles, 0.0))


ONE_ITEM_EACH = np.full((6, 8), 0.25) + 0.35 * np.eye(6, 8)
A_LITTLE_ON_ALL = 0.25 + 0.06 * np.where(np.random.default_rng(3).random((8, 12)) < 0.5, -1.0, 1.0)
WORLDS = {
    "one item each": ONE_ITEM_EACH,
    "a little on all": A_LITTLE_ON_ALL,
    "two roles, three items": np.array([[0.6, 0.3, 0.3], [0.3, 0.5, 0.3]]),
}


class TestBeyondChance:
    @pytest.mark.parametrize("method", [dissimilarity_beyond_chance, lambda c, k: beyond_chance(c, k, bits)])
    def test_profiles_that_are_alike_are_not_told_apart(self, method):
        rng = np.random.default_rng(5)
        found = [method(replicated(rng, np.full((6, 8), 0.3), 40), [40] * 6) for _ in range(60)]
        low = np.array([np.quantile(each.draws, 0.025) for each in found])
        assert np.mean(low > 1e-9) <= 0.08  # 2.5% expected; 60 studies
        observed, chance = ([getattr(each, name) for each in found] for name in ("observed", "chance"))
        assert np.mean(observed) == pytest.approx(np.mean(chance), rel=0.1)

    @pytest.mark.parametrize("n", [30, 300])
    @pytest.mark.parametrize("name", WORLDS)
    def test_the_true_distance_is_covered_whatever_the_pattern(self, name, n):
        rng = np.random.default_rng(6)
        p = WORLDS[name]
        truth = float(mean_dissimilarity(p / p.sum(axis=1, keepdims=True)))
        found = [dissimilarity_beyond_chance(replicated(rng, p, n), [n] * len(p)) for _ in range(40)]
        low, high = (np.array([np.quantile(f.draws, u) for f in found]) for u in (0.025, 0.975))
        assert np.mean((low <= truth) & (truth <= high)) >= 0.93
        assert np.mean((low <= [f.estimate for f in found]) & ([f.estimate for f in found] <= high)) == 1.0

    def test_plain_subtraction_falls_short_where_every_item_differs_a_little(self):
        """Observed less chance is what is true of one item each, and far less than what is true of a little on all."""
        rng = np.random.default_rng(8)
        short = {}
        for name in ("one item each", "a little on all"):
            p = WORLDS[name]
            truth = float(mean_dissimilarity(p / p.sum(axis=1, keepdims=True)))
            found = [dissimilarity_beyond_chance(replicated(rng, p, 60), [60] * len(p)) for _ in range(25)]
            short[name] = truth - np.mean([f.observed - f.chance for f in found])
        assert short["a little on all"] > 0.03
        assert short["one item each"] < 0.03

    @pytest.mark.parametrize("name", WORLDS)
    def test_a_smooth_divergence_is_covered(self, name):
        rng = np.random.default_rng(9)
        p = WORLDS[name]
        truth = float(bits(p / p.sum(axis=1, keepdims=True)))
        found = [beyond_chance(replicated(rng, p, 100), [100] * len(p), bits) for _ in range(40)]
        assert np.mean([f.estimate for f in found]) == pytest.approx(truth, rel=0.12)
        assert np.mean([np.quantile(f.draws, 0.025) <= truth <= np.quantile(f.draws, 0.975) for f in found]) >= 0.85

    def test_the_noise_is_set_to_the_chance_level(self):
        rng = np.random.default_rng(7)
        cited = replicated(rng, np.full((4, 6), 0.3), 50)
        plain = dissimilarity_beyond_chance(cited, [50] * 4)
        louder = dissimilarity_beyond_chance(cited, [50] * 4, chance=1.5 * plain.chance)
        assert louder.chance == 1.5 * plain.chance
        assert np.mean(louder.draws == 0) > np.mean(plain.draws == 0)

    @settings(deadline=None, max_examples=15)
    @given(st.integers(0, 1000), st.floats(0.01, 100))
    def test_the_scale_of_weights_changes_nothing(self, seed, scale):
        rng = np.random.default_rng(seed)
        cited = replicated(rng, rng.uniform(0.2, 0.6, (4, 5)), 25, 60)
        plain, other = (dissimilarity_beyond_chance(c, [25] * 4) for c in (cited, scale * cited))
        assert other.draws == pytest.approx(plain.draws, abs=1e-9)
        plain, other = (beyond_chance(c, [25] * 4, bits) for c in (cited, scale * cited[:, ::-1, ::-1]))
        assert other.draws == pytest.approx(plain.draws, abs=1e-6)


def elsewhere(sets, team, role):
    """Mean over teams of the mean overlap of a pair's roles in different teams, pair by pair."""
    teams = {}
    for i, j in itertools.combinations(range(len(sets)), 2):
        if team[i] != team[j]:
            continue
        others = [
            jaccard(sets[x], sets[y])
            for x, y in itertools.permutations(range(len(sets)), 2)
            if team[x] != team[y] and (role[x], role[y]) == (role[i], role[j])
        ]
        if others:
            teams.setdefault(team[i], []).append((jaccard(sets[i], sets[j]), np.mean(others)))
    return np.mean([np.mean(pairs, axis=0) for pairs in teams.values()], axis=0)


class TestOverlap:
    def draw(self, seed, teams=7, roles=4, items=5):
        rng = np.random.default_rng(seed)
        team, role = np.nonzero(rng.random((teams, roles)) < 0.85)
        return (rng.random((len(team), items)) < 0.4).astype(float), team, role

    @pytest.mark.parametrize("seed", range(6))
    def test_it_is_what_pairs_give_one_by_one(self, seed):
        sets, team, role = self.draw(seed)
        kept = np.bincount(team)[team] >= 3
        by_hand = elsewhere(sets[kept], team[kept], role[kept])
        found = team_overlap(sets, team, role, np.ones((1, 7)))
        assert (found.within[0], found.expected[0]) == pytest.approx(tuple(by_hand))
        assert found.informants == kept.sum()
        assert found.teams == len(np.unique(team[kept]))

    def test_replicates_move_to_first_order(self):
        """A team that counts 1 + h moves the difference by h times its influence: the second order is of size h squared."""
        sets, team, role = self.draw(3, teams=12)
        first = []
        for h in (1e-3, 2e-3):
            weight = np.ones((1, 12))
            weight[0, 4] += h
            o = team_overlap(sets, team, role, weight)
            first.append((o.within[1] - o.expected[1] - o.within[0] + o.expected[0]) / h)
        assert first[0] == pytest.approx(first[1], rel=0.01)
        # Leaving the team out is h = -1: the influence says where that leads, to the second order in one team of twelve.
        without = team_overlap(sets[team != 4], team[team != 4], role[team != 4], np.ones((1, 12)))
        whole = team_overlap(sets, team, role, np.ones((1, 12)))
        moved = (without.within[0] - without.expected[0]) - (whole.within[0] - whole.expected[0])
        assert moved == pytest.approx(-first[0], rel=0.35)

    def test_standard_error_is_that_of_repeated_studies(self):
        rng = np.random.default_rng(11)
        values, errors = [], []
        for _ in range(120):
            common = rng.standard_normal((60, 1, 6))
            sets = (0.5 * common + rng.standard_normal((60, 4, 6)) > 0.6).reshape(240, 6).astype(float)
            team, role = np.repeat(np.arange(60), 4), np.tile(np.arange(4), 60)
            m = multipliers(cluster_keys([str(rng.integers(1 << 40)) for _ in range(60)], 1), 200)
            o = team_overlap(sets, team, role, m)
            result = infer(o.within - o.expected, o.teams)
            values.append(float(result.estimate))
            errors.append(float(result.std_error))
        assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.15)

    def test_strangers_share_nothing_beyond_their_roles(self):
        rng = np.random.default_rng(12)
        p = rng.uniform(0.1, 0.8, (5, 7))
        team, role = np.repeat(np.arange(400), 5), np.tile(np.arange(5), 400)
        sets = (rng.random((2000, 7)) < p[role]).astype(float)
        m = multipliers(cluster_keys([str(i) for i in range(400)], 3), 200)
        found = team_overlap(sets, team, role, m)
        result = infer(found.within - found.expected, found.teams)
        assert abs(float(result.estimate)) < 3 * float(result.std_error)

    def test_majority_and_effective_number_of_teams(self):
        sets = [[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
        found = team_answers(sets, [0, 0, 0, 1, 1, 1, 2])
        assert found.team.tolist() == [0, 1]
        assert found.informants.tolist() == [3, 3]
        assert found.majority_share[0] == pytest.approx(2 / 3)  # of three cited, two by two of three or more
        assert found.effective_number[0] == pytest.approx(hill_number([3, 2, 1]).item())
        assert np.isnan(found.majority_share[1])
        assert np.isnan(found.effective_number[1])

    def test_half_is_no_majority(self):
        assert team_answers([[1], [1], [0], [0]], [0] * 4).majority_share.tolist() == [0.0]

    def test_refusals(self):
        with pytest.raises(DesignError, match="needs two teams"):
            team_overlap(np.ones((3, 2)), [0, 0, 0], [0, 1, 2], np.ones((2, 1)))
        with pytest.raises(DesignError, match="no two roles meet in two teams"):
            team_overlap(np.ones((6, 2)), [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5], np.ones((2, 2)))
        with pytest.raises(DesignError, match="one row of ticks"):
            team_answers([[0.5, 1.0]], [0])

    def test_a_role_of_one_team_is_left_out_and_the_others_stay(self):
        sets, team, role = np.ones((6, 2)), np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 9])
        found = team_overlap(sets, team, role, np.ones((2, 2)))
        assert found.teams == 2
        assert (found.within[0], found.expected[0]) == pytest.approx((1.0, 1.0))
