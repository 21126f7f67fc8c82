"""Agreement: worked examples to the printed digits, R's and other packages' values, bounds, invariances, chance."""

import itertools
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from fieldwork.errors import DesignError
from fieldwork.statistics import agreement as ag

REFERENCE = Path(__file__).parent / "reference"
R = tomllib.loads((REFERENCE / "agreement.toml").read_text())
CLUSTERED = pd.read_csv(REFERENCE / "clustered.csv")

# measures.md 2.5, oracles: counts of answers 1..5, equal to R agrmt and multilevel; None where none is printed.
TEAMS = {
    (0, 2, 3, 4, 1): {
        "van_der_eijk_a": 0.5,
        "tastle_wierman": 0.6626,
        "leik_d": 0.4,
        "r_wg": 0.5333,
        "a_wg": 0.5625,
        "average_deviation": 0.8,
    },
    (4, 1, 0, 1, 4): {"van_der_eijk_a": -0.6556, "tastle_wierman": 0.1170, "leik_d": 0.9},
    (2, 2, 2, 2, 2): {"van_der_eijk_a": 0.0},
    (5, 0, 0, 0, 5): {"van_der_eijk_a": -1.0, "tastle_wierman": 0.0, "leik_d": 1.0},
}
# Krippendorff (2011), Computing alpha-reliability, example C: four observers, twelve units, answers missing.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
    [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
]
UNITS = np.array([[(np.array(unit) == c).sum() for c in range(1, 6)] for unit in zip(*OBSERVERS, strict=True)])

ORDINAL = [
    ag.r_wg,
    partial(ag.r_wg, null="slight_skew"),
    ag.r_wg_star,
    ag.a_wg,
    ag.average_deviation,
    partial(ag.average_deviation, centre="median"),
    ag.van_der_eijk_a,
    ag.tastle_wierman,
    ag.leik_d,
]
SCALE_FREE = ORDINAL[4:]
counts5 = st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(lambda n: sum(n) >= 2)


def _answers(counts):
    return np.repeat(np.arange(1, len(counts) + 1), counts).astype(float)


# ------------------------------------------------------------------------------------------------------ worked examples


@pytest.mark.parametrize("counts", TEAMS)
def test_worked_teams(counts):
    for name, value in TEAMS[counts].items():
        assert round(float(getattr(ag, name)(counts)), 4) == pytest.approx(value), name


def test_published_example_of_agrmt():
    """R package agrmt, examples of agreement(), consensus() and Leik(): 0.6113333, 0.7256876, 0.287."""
    counts = [30, 40, 210, 130, 530, 50, 10]
    assert round(float(ag.van_der_eijk_a(counts)), 7) == 0.6113333
    assert round(float(ag.tastle_wierman(counts)), 7) == 0.7256876
    assert round(float(ag.leik_d(counts)), 3) == 0.287


def test_nulls_have_the_variances_of_the_literature():
    """James, Demaree and Wolf (1984): uniform 2, slight skew 1.34 at five points."""
    s2 = ag.r_wg_star([0, 2, 3, 4, 1]) * -4 + 4
    assert ag.r_wg([0, 2, 3, 4, 1]) == pytest.approx(1 - s2 / 2)
    assert ag.r_wg([0, 2, 3, 4, 1], null="slight_skew") == pytest.approx(1 - s2 / 1.34)
    assert ag.r_wg([0, 2, 3, 4, 1], null=[1, 3, 4, 7, 5]) == pytest.approx(1 - s2 / 1.34)


def test_worked_owners_and_rankings():
    """measures.md 2.4: owners {CTO, CTO, CEO, CTO, CFO} -> .30; ranks (1234)(1324)(2134): S 35, W .7778, mean rho .6667."""
    assert float(ag.pair_agreement([3, 1, 1])) == pytest.approx(0.30)
    ranks = [[1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 3, 4]]
    found = ag.kendall_w(ranks)
    assert float(found.sum_squares) == pytest.approx(35)
    assert round(float(found.w), 4) == 0.7778
    assert found.w_ties == pytest.approx(found.w)
    assert round(float(found.mean_spearman), 4) == 0.6667
    assert ag.strategic_consensus(ranks, ["TMT"] * 3).alpha[0] ** 2 == pytest.approx(float(found.w))


def test_published_values_of_krippendorff_and_irrcac():
    """Krippendorff (2011): .743, .815, .849. krippendorff 0.9.0 and irrCAC 0.4.4 (Gwet) on the same data, more digits."""
    assert ag.krippendorff_alpha(UNITS, "nominal") == pytest.approx(0.743421052631579, rel=1e-12)
    assert ag.krippendorff_alpha(UNITS, "ordinal") == pytest.approx(0.8153875037548814, rel=1e-12)
    assert ag.krippendorff_alpha(UNITS, "interval") == pytest.approx(0.8491071428571428, rel=1e-12)
    fleiss, gwet = ag.fleiss_kappa(UNITS), ag.gwet_ac1(UNITS)
    assert [round(v, 5) for v in (fleiss.observed, fleiss.expected, fleiss.coefficient)] == [0.81818, 0.23872, 0.76117]
    assert [round(v, 5) for v in (gwet.expected, gwet.coefficient)] == [0.19032, 0.77544]
    assert fleiss.units == 11


def test_icc_of_the_gradient_example():
    """measures.md 2.1: ICC(1) 13/18, ICC(2) 52/57; missing answers and row order change nothing."""
    y = np.array([5, 4, 5, 4, 3, 3, 4, 2, 2, 1, 2, 3, np.nan])
    team = np.array(["CTO"] * 4 + ["CFO"] * 4 + ["CMO"] * 4 + ["GC"])
    turned = np.random.default_rng(1).permutation(13)
    for order in (np.arange(13), turned):
        found = ag.intraclass(y[order], team[order])
        assert found.icc1 == pytest.approx(13 / 18)
        assert found.icc2 == pytest.approx(52 / 57)


# ---------------------------------------------------------------------------------------------------------------- R


def _teams(item="conf"):
    return ag.answer_counts(CLUSTERED[item], CLUSTERED["org_id"], 5)


def test_teams_equal_multilevel():
    reference, table = R["teams"], _teams()
    assert list(table.organisation) == reference["organisation"]
    counts = table.counts
    cut = partial(np.maximum, 0.0)  # R cuts at 0
    assert cut(ag.r_wg(counts)) == pytest.approx(reference["r_wg"], rel=1e-10, abs=1e-14)
    skew = cut(ag.r_wg(counts, null="slight_skew"))
    assert skew == pytest.approx(reference["r_wg_slight_skew"], rel=1e-10, abs=1e-14)
    assert ag.average_deviation(counts) == pytest.approx(reference["ad_mean"], rel=1e-10)
    assert ag.average_deviation(counts, centre="median") == pytest.approx(reference["ad_median"], rel=1e-10)
    # R gives a unanimous team 1 at an end of the scale, where a_wg has no value.
    at_an_end = (counts[:, [0, 4]] == counts.sum(axis=1)[:, None]).any(axis=1)
    expected = np.where(at_an_end, np.nan, reference["a_wg"])
    assert ag.a_wg(counts) == pytest.approx(expected, rel=1e-10, abs=1e-14, nan_ok=True)
    both = np.stack([counts, _teams("prep").counts], axis=1)
    assert cut(ag.r_wg_j(both)) == pytest.approx(reference["r_wg_j"], rel=1e-10, abs=1e-14)


def test_teams_equal_the_definitions_worked_in_r():
    reference, counts = R["teams_ordinal"], _teams().counts
    for name in ("van_der_eijk_a", "tastle_wierman", "leik_d"):
        assert getattr(ag, name)(counts) == pytest.approx(reference[name], rel=1e-10, abs=1e-13), name
    found = ag.intraclass(CLUSTERED["conf"], CLUSTERED["org_id"])
    assert found.icc1 == pytest.approx(R["intraclass"]["icc1"], rel=1e-10)
    assert found.icc2 == pytest.approx(R["intraclass"]["icc2"], rel=1e-10)


@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_concordance_equals_vegan_and_friedman(kind):
    reference = R["rankings"][kind]
    found = ag.kendall_w(reference["ratings"])
    assert found.w_ties == pytest.approx(reference["w_ties"], rel=1e-10)
    assert found.w_ties == pytest.approx(reference["w_friedman"], rel=1e-10)
    assert found.mean_spearman == pytest.approx(reference["mean_spearman"], rel=1e-10)
    raters, items = np.shape(reference["ratings"])
    chi_square = stats.friedmanchisquare(*np.transpose(reference["ratings"])).statistic
    assert raters * (items - 1) * found.w_ties == pytest.approx(chi_square)
    assert (found.w == pytest.approx(found.w_ties)) == (kind == "untied")


def test_consensus_map_equals_r():
    reference = R["strategic_consensus"]
    found = ag.strategic_consensus(R["rankings"]["tied"]["ratings"], reference["group"])
    assert found.groups == ("CEO", "CFO", "CTO")
    assert found.respondents.tolist() == [1, 3, 4]
    assert found.alpha == pytest.approx(reference["alpha"], rel=1e-10)
    assert found.between == pytest.approx(np.array(reference["between"]), rel=1e-10)
    assert found.variance_kept == pytest.approx(reference["variance_kept"], rel=1e-10)
    apart = [np.linalg.norm(a - b) for a, b in itertools.combinations(found.prototypes_map, 2)]
    assert apart == pytest.approx(reference["distance_kept"], rel=1e-9)


def test_nominal_agreement_equals_the_definitions_worked_in_r():
    reference = R["nominal"]
    counts = reference["counts"]
    assert ag.pair_agreement(counts) == pytest.approx(reference["pair_agreement"], rel=1e-10)
    assert ag.fleiss_kappa(counts).coefficient == pytest.approx(reference["fleiss_kappa"], rel=1e-10)
    assert ag.gwet_ac1(counts).coefficient == pytest.approx(reference["gwet_ac1"], rel=1e-10)
    for metric in ("nominal", "ordinal", "interval"):
        assert ag.krippendorff_alpha(counts, metric) == pytest.approx(reference[f"alpha_{metric}"], rel=1e-10), metric


def test_fleiss_kappa_equals_statsmodels_where_raters_are_equal():
    from statsmodels.stats.inter_rater import fleiss_kappa

    table = np.random.default_rng(5).multinomial(6, [0.5, 0.3, 0.2], size=15)
    assert ag.fleiss_kappa(table).coefficient == pytest.approx(fleiss_kappa(table), rel=1e-12)


# ------------------------------------------------------------------------------------------------------- properties


@given(counts5)
def test_bounds(counts):
    people = sum(counts)
    for index in ORDINAL[:3]:
        assert float(index(counts)) <= 1 + 1e-12
    assert float(ag.r_wg_star(counts)) >= -1 / (people - 1) - 1e-12
    a_wg = float(ag.a_wg(counts))
    assert np.isnan(a_wg) or -1 - 1e-9 <= a_wg <= 1 + 1e-9
    assert -1 - 1e-12 <= float(ag.van_der_eijk_a(counts)) <= 1 + 1e-12
    assert -1e-12 <= float(ag.tastle_wierman(counts)) <= 1 + 1e-12
    assert -1e-12 <= float(ag.leik_d(counts)) <= 1 + 1e-12
    mean, median = (float(ag.average_deviation(counts, centre=c)) for c in ("mean", "median"))
    assert 0 <= median <= mean + 1e-12
    assert mean <= 2 + 1e-12
    assert float(ag.leik_d(counts)) == pytest.approx(median / 2, abs=1e-12)


@given(counts5)
def test_a_scale_read_from_its_other_end_agrees_as_much(counts):
    for index in [*ORDINAL[:1], *ORDINAL[2:]]:
        assert float(index(counts[::-1])) == pytest.approx(float(index(counts)), abs=1e-12, nan_ok=True)


@given(counts5, st.floats(0.01, 50))
def test_rows_split_by_weights_and_weights_in_other_units_change_nothing(counts, unit):
    answers = _answers(counts)
    n = len(answers)
    whole = ag.answer_counts(answers, ["o"] * n, 5)
    halves = ag.answer_counts(np.r_[answers, answers], ["o"] * 2 * n, 5, weight=np.r_[np.full(n, 0.3), np.full(n, 0.7)])
    assert halves.counts == pytest.approx(whole.counts)
    for index in ORDINAL:
        assert index(halves.counts) == pytest.approx(index(whole.counts), abs=1e-9, nan_ok=True)
    for index in SCALE_FREE:
        assert index(whole.counts * unit) == pytest.approx(index(whole.counts), abs=1e-9, nan_ok=True)
    for index in ORDINAL[:4]:
        scaled = index(whole.counts * unit, respondents=[n])
        assert scaled == pytest.approx(index(whole.counts), abs=1e-9, nan_ok=True)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_row_order_and_other_teams_change_nothing(seed):
    rng = np.random.default_rng(seed)
    answers, team = rng.integers(1, 6, 60), rng.choice(list("abcdefg"), 60)
    order = rng.permutation(60)
    first, second = (ag.answer_counts(a, t, 5) for a, t in [(answers, team), (answers[order], team[order])])
    assert first.organisation == second.organisation
    for index in ORDINAL:
        together = index(first.counts)
        assert together == pytest.approx(index(second.counts), nan_ok=True)
        alone = np.array([float(index(row)) for row in first.counts])
        assert together == pytest.approx(alone, nan_ok=True)
    assert (ag.van_der_eijk_a(first.counts[None, :, :])[0] == ag.van_der_eijk_a(first.counts)).all()


@given(counts5, st.integers(0, 3))
def test_moving_an_answer_outwards_from_a_unanimous_centre_never_raises_agreement(counts, step):
    """Leik (1966), Tastle and Wierman (2007): the wider two camps stand apart, the less they agree."""
    camp = counts[0] + 1
    near, far = np.zeros(5), np.zeros(5)
    near[0] = far[0] = camp
    near[step] += camp
    far[step + 1] += camp
    assert ag.van_der_eijk_a(far) <= ag.van_der_eijk_a(near) + 1e-12
    assert ag.tastle_wierman(far) <= ag.tastle_wierman(near) + 1e-12
    assert ag.r_wg(far) <= ag.r_wg(near) + 1e-12
    assert ag.leik_d(far) >= ag.leik_d(near) - 1e-12
    assert ag.average_deviation(far) >= ag.average_deviation(near) - 1e-12


@pytest.mark.parametrize("points", [2, 3, 4, 7, 10])
def test_ends_and_middle_of_van_der_eijk_on_any_scale(points):
    split = np.zeros(points)
    split[[0, -1]] = 3
    assert float(ag.van_der_eijk_a(np.full(points, 4))) == pytest.approx(0.0)
    assert ag.van_der_eijk_a(np.eye(points)) == pytest.approx(1.0)
    assert float(ag.van_der_eijk_a(split)) == pytest.approx(-1.0 if points > 2 else 0.0)


@given(st.lists(st.permutations(range(5)), min_size=2, max_size=6), st.permutations(range(5)))
def test_concordance_bounds_and_labels(ranks, order):
    x = np.array(ranks)
    found = ag.kendall_w(x)
    assert -1e-12 <= float(found.w) <= 1 + 1e-12
    assert found.w_ties == pytest.approx(float(found.w))
    assert found.mean_spearman == pytest.approx((len(x) * float(found.w) - 1) / (len(x) - 1), abs=1e-12)
    turned = ag.kendall_w(x[::-1][:, list(order)])
    assert turned.w == pytest.approx(float(found.w), abs=1e-12)
    split = ag.kendall_w(np.r_[x, x], weight=np.r_[np.full(len(x), 0.2), np.full(len(x), 0.8)])
    assert split.w == pytest.approx(float(found.w), abs=1e-12)
    alpha = ag.strategic_consensus(x, ["g"] * len(x)).alpha[0]
    assert alpha**2 == pytest.approx(float(found.w), abs=1e-12)


def test_concordance_over_leading_axes():
    x = np.random.default_rng(2).integers(1, 6, (7, 4, 6))
    together = ag.kendall_w(x)
    alone = [ag.kendall_w(team) for team in x]
    for field in ("w", "w_ties", "sum_squares", "mean_spearman"):
        values = [float(getattr(one, field)) for one in alone]
        assert getattr(together, field) == pytest.approx(values, nan_ok=True), field


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=8), st.permutations(range(3)))
def test_chance_corrected_bounds_and_labels(table, order):
    counts = np.array(table)
    assume((counts.sum(axis=1) > 1).any())
    turned = counts[::-1][:, list(order)]
    for index in (ag.fleiss_kappa, ag.gwet_ac1):
        found, other = index(counts), index(turned)
        assert 0 <= found.observed <= 1
        assert np.isnan(found.coefficient) or found.coefficient <= 1 + 1e-12
        assert other.coefficient == pytest.approx(found.coefficient, abs=1e-12, nan_ok=True)
    for metric, other in (("nominal", turned), ("ordinal", counts[:, ::-1]), ("interval", counts[:, ::-1])):
        value = ag.krippendorff_alpha(counts, metric)
        assert np.isnan(value) or value <= 1 + 1e-12
        assert ag.krippendorff_alpha(other, metric) == pytest.approx(value, abs=1e-12, nan_ok=True)


def test_interval_alpha_follows_values_up_to_origin_and_unit():
    plain = ag.krippendorff_alpha(UNITS, "interval")
    assert ag.krippendorff_alpha(UNITS, "interval", values=[10, 30, 50, 70, 90]) == pytest.approx(plain)
    assert ag.krippendorff_alpha(UNITS, "interval", values=[1, 2, 3, 4, 50]) > plain


def test_columns_with_missing_answers_are_read_as_they_come():
    frame = pd.DataFrame(
        {"conf": pd.array([5, None, 4], dtype="Int8"), "org_id": pd.array(["b", "a", "b"], dtype="string")}
    )
    found = ag.answer_counts(frame["conf"], frame["org_id"], 5)
    assert found.organisation == ("a", "b")
    assert found.counts.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]
    assert found.respondents.tolist() == [0, 2]


def test_values_that_the_answers_cannot_give_are_missing():
    assert np.isnan(ag.r_wg([0, 0, 1, 0, 0]))
    assert np.isnan(ag.r_wg_star([0, 0, 1, 0, 0]))
    assert np.isnan([float(index(np.zeros(5))) for index in ORDINAL]).all()
    assert float(ag.van_der_eijk_a([0, 0, 1, 0, 0])) == 1.0
    assert np.isnan(ag.a_wg([[9, 0, 0, 0, 0], [0, 0, 0, 1, 1]])).all()
    assert ag.a_wg([0, 0, 9, 0, 0]) == 1.0
    assert np.isnan(ag.pair_agreement([1, 0]))
    assert np.isnan(ag.fleiss_kappa([[3, 0], [2, 0]]).coefficient)
    assert ag.gwet_ac1([[3, 0], [2, 0]]).coefficient == 1.0
    assert np.isnan(ag.krippendorff_alpha([[3, 0], [2, 0]]))


def test_negative_agreement_is_kept_down_to_the_pole_of_the_scale_index():
    split = [5, 0, 0, 0, 5]
    assert float(ag.r_wg(split)) == pytest.approx(1 - 40 / 9 / 2)
    r = float(ag.r_wg(split))
    assert r < -1
    assert ag.r_wg_j([split, split]) == -np.inf
    assert np.isnan(ag.r_wg_j([split, [0, 0, 1, 0, 0]]))
    mild = [[2, 2, 1, 2, 3]] * 2
    r = float(ag.r_wg(mild[0]))
    assert float(ag.r_wg_j(mild)) == pytest.approx(2 * r / (2 * r + 1 - r))
    assert float(ag.r_wg_j(mild)) < 0


# ----------------------------------------------------------------------------------------------------------- chance


# measures.md 2.5, pitfall: how often purely random answers give r_wg >= .70, and AD <= .83 (simulated there).
@pytest.mark.parametrize(("people", "share"), [(2, 0.52), (3, 0.23), (4, 0.097), (5, 0.058), (10, 0.006)])
def test_random_teams_reach_the_rule_of_thumb_of_r_wg(people, share):
    null = ag.null_distribution(ag.r_wg, people, 5)
    assert null.exact
    assert null.p_value(0.70) == pytest.approx(share, abs=0.003)


@pytest.mark.parametrize(("people", "share"), [(3, 0.38), (5, 0.26), (10, 0.08)])
def test_random_teams_reach_the_rule_of_thumb_of_ad(people, share):
    null = ag.null_distribution(ag.average_deviation, people, 5)
    assert null.p_value(5 / 6, tail="lower") == pytest.approx(share, abs=0.006)


def test_exact_distribution_equals_all_answers_one_by_one():
    every = np.array(list(itertools.product(range(1, 4), repeat=4)))
    values = np.array([float(ag.van_der_eijk_a([(row == k).sum() for k in (1, 2, 3)])) for row in every])
    null = ag.null_distribution(ag.van_der_eijk_a, 4, 3)
    assert null.probability.sum() == pytest.approx(1)
    for value in null.value:
        assert null.p_value(value) == pytest.approx(np.mean(values >= value - 1e-9))
        assert null.p_value(value, tail="lower") == pytest.approx(np.mean(values <= value + 1e-9))


def test_pooled_distribution_is_that_of_permuted_answers():
    answers = np.array([1, 1, 2, 3, 3, 3, 5, 5])
    teams = np.array(list(itertools.combinations(answers, 3)))
    values = np.array([float(ag.leik_d([(row == k).sum() for k in range(1, 6)])) for row in teams])
    pool = np.bincount(answers, minlength=6)[1:]
    null = ag.null_distribution(ag.leik_d, 3, 5, pool=pool)
    for value in null.value:
        assert null.p_value(value, tail="lower") == pytest.approx(np.mean(values <= value + 1e-9))


def test_drawn_distribution_nears_the_exact_one_and_depends_on_names_only(monkeypatch):
    exact = ag.null_distribution(ag.r_wg, 6, 5)
    monkeypatch.setattr(ag, "_EXACT", 0)
    drawn = ag.null_distribution(ag.r_wg, 6, 5, draws=20_000, seed=3)
    assert not drawn.exact
    assert drawn.p_value(0.6) == pytest.approx(exact.p_value(0.6), abs=0.008)
    assert drawn.p_value(2.0) == pytest.approx(1 / 20_001)
    pooled = ag.null_distribution(ag.r_wg, 6, 5, pool=[40] * 5, draws=20_000, seed=3)
    assert pooled.p_value(0.6) == pytest.approx(exact.p_value(0.6), abs=0.012)
    options = {"draws": 200, "seed": 3}
    one, many = (ag.critical_values(ag.r_wg, sizes, 5, **options) for sizes in ([8], [5, 8, 12, 8]))
    assert one[0] == many[1] == many[3]
    other = ag.null_distribution(ag.r_wg, 8, 5, name="another", **options)
    assert other.p_value(0.3) != ag.null_distribution(ag.r_wg, 8, 5, **options).p_value(0.3)


def test_expected_index_is_the_mean_of_the_null_distribution_and_nears_it_beyond():
    """Exact up to 30 respondents; beyond, within .003 of 100,000 draws, with tied shares and without."""
    rng = np.random.default_rng(9)
    for shares in ([0.1, 0.3, 0.3, 0.2, 0.1], [0.05, 0.12, 0.33, 0.3, 0.2], [0.01, 0.02, 0.1, 0.6, 0.27]):
        for n in (2, 5, 12):
            null = ag.null_distribution(ag.van_der_eijk_a, n, 5, null=shares)
            expected = float(null.value @ null.probability)
            assert float(ag.expected_index(ag.van_der_eijk_a, n, shares)) == pytest.approx(expected, abs=1e-8)
        for n in (40, 120):
            drawn = ag.van_der_eijk_a(rng.multinomial(n, shares, 100_000).astype(float)).mean()
            assert float(ag.expected_index(ag.van_der_eijk_a, n, shares)) == pytest.approx(drawn, abs=0.003)
    many = ag.expected_index(ag.tastle_wierman, 4, [[0.2] * 5, [0.5, 0.5, 0, 0, 0]])
    assert many[1] == pytest.approx(float(ag.expected_index(ag.tastle_wierman, 4, [0.5, 0.5, 0, 0, 0])))


def test_teams_of_strangers_are_teams_of_the_same_sizes():
    counts = np.array([[3, 1, 1, 0, 0], [0, 0, 2, 4, 1], [1, 1, 1, 1, 1]])
    weight = np.array([[1.0, 1.0, 1.0], [0.4, 2.6, 1.0]])
    found = ag.mean_index_of_strangers(ag.van_der_eijk_a, counts, weight)
    for layer, w in enumerate(weight):
        pooled = w @ counts / (w @ counts).sum()
        means = [float(ag.expected_index(ag.van_der_eijk_a, n, pooled)) for n in (5, 7, 5)]
        assert found[layer] == pytest.approx(w @ means / w.sum())


def test_mean_distance_is_that_of_all_pairs_whatever_the_size_of_the_team():
    rng = np.random.default_rng(2)
    answers = rng.integers(0, 5, (4000, 3))
    counts = np.stack([(answers == k).sum(axis=1) for k in range(5)], axis=1)
    pairs = np.abs(answers[:, :, None] - answers[:, None, :]).sum(axis=(1, 2)) / 6
    found = ag.mean_distances(counts, np.arange(5))
    assert found == pytest.approx(pairs)
    pooled = ag.mean_distances(counts.sum(axis=0), np.arange(5))
    assert abs(found.mean() - pooled) < 4 * found.std() / np.sqrt(4000)  # no bias in teams of three


def test_critical_values_hold_their_level_and_say_when_a_team_is_too_small():
    sizes = [2, 3, 5, 8, 12]
    for index, tail in ((ag.r_wg, "upper"), (ag.van_der_eijk_a, "upper"), (ag.average_deviation, "lower")):
        bounds = ag.critical_values(index, sizes, 5, tail=tail)
        assert np.isnan(bounds[0])
        for size, bound in zip(sizes[1:], bounds[1:], strict=True):
            null = ag.null_distribution(index, size, 5)
            assert null.p_value(bound, tail=tail) <= 0.05
            milder = null.value[null.value < bound].max() if tail == "upper" else null.value[null.value > bound].min()
            assert null.p_value(milder, tail=tail) > 0.05
    several = ag.critical_values(ag.r_wg_j, [5, 10], 5, items=4, draws=4000, seed=1)
    assert several[1] < several[0] < 1


def test_an_undefined_value_counts_as_beyond_chance():
    null = ag.null_distribution(ag.a_wg, 3, 5)
    undefined = float(null.probability[np.isnan(null.value)].sum())
    assert undefined > 0
    assert null.p_value(2.0) == pytest.approx(undefined)


# -------------------------------------------------------------------------------------------------- consensus mapping


def _priorities(seed, groups=3, people=6, items=5):
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(groups, items))
    group = np.repeat([f"g{i}" for i in range(groups)], people)
    return np.repeat(centre, people, axis=0) + rng.normal(size=(groups * people, items)), group, rng


@given(st.integers(0, 2**32 - 1), st.floats(-5, 5), st.floats(0.1, 9))
@settings(max_examples=25)
def test_consensus_ignores_order_labels_origin_and_unit(seed, shift, unit):
    answers, group, rng = _priorities(seed)
    plain = ag.strategic_consensus(answers, group)
    assert ((plain.alpha >= 0) & (plain.alpha <= 1 + 1e-12)).all()
    assert (np.abs(plain.between) <= 1).all()
    assert (np.linalg.norm(plain.prototypes_map, axis=1) <= plain.alpha + 1e-12).all()
    assert 0 < plain.variance_kept.sum() <= 1 + 1e-12
    order, items = rng.permutation(len(group)), rng.permutation(5)
    other = ag.strategic_consensus((answers * unit + shift)[order][:, items], group[order])
    assert other.alpha == pytest.approx(plain.alpha, rel=1e-8)
    assert other.between == pytest.approx(plain.between, rel=1e-8, abs=1e-8)
    assert other.items_map == pytest.approx(plain.items_map[items], abs=1e-6)
    assert other.respondents_map == pytest.approx(plain.respondents_map[order], abs=1e-6)
    weight = rng.uniform(0.2, 3, len(group))
    whole = ag.strategic_consensus(answers, group, weight=weight)
    halves = ag.strategic_consensus(np.r_[answers, answers], np.r_[group, group], weight=np.r_[weight, weight] / 2)
    assert halves.alpha == pytest.approx(whole.alpha)
    assert halves.variance_kept == pytest.approx(whole.variance_kept)


def test_the_map_loses_nothing_of_three_items():
    answers, group, _ = _priorities(4, items=3)
    found = ag.strategic_consensus(answers, group)
    assert found.variance_kept.sum() == pytest.approx(1)
    assert np.linalg.norm(found.respondents_map, axis=1) == pytest.approx(1)
    assert np.linalg.norm(found.prototypes_map, axis=1) == pytest.approx(found.alpha)


def test_consensus_test_ignores_row_order_and_other_groups():
    answers, group, rng = _priorities(11)
    options = {"draws": 199, "seed": 5}
    plain = ag.consensus_test(answers, group, **options)
    order = rng.permutation(len(group))
    other = ag.consensus_test(answers[order], group[order], **options)
    pair = ag.consensus_test(answers[group != "g2"], group[group != "g2"], **options)
    for field in ("alpha_p", "alpha_critical", "alpha_differ_p", "between_p"):
        assert getattr(other, field) == pytest.approx(getattr(plain, field), rel=1e-12), field
    assert pair.alpha_p == pytest.approx(plain.alpha_p[:2])
    assert pair.between_p == pytest.approx(plain.between_p[:2, :2])


def test_consensus_test_holds_its_level_and_finds_what_is_there():
    """200 studies without consensus: rejections at 5% within the binomial band of 0.1%; with opposed camps, always."""
    rng = np.random.default_rng(20260101)
    group = np.repeat(["a", "b"], 8)
    rejected = np.zeros(3)
    for study in range(200):
        x = rng.permuted(np.tile(np.arange(6), (16, 1)), axis=1)
        found = ag.consensus_test(x, group, draws=199, seed=study)
        rejected += [found.alpha_p[0] <= 0.05, found.between_p[0, 1] <= 0.05, found.alpha_differ_p[0, 1] <= 0.05]
    assert (rejected <= stats.binom.ppf(0.999, 200, 0.05)).all()
    assert (rejected >= stats.binom.ppf(0.001, 200, 0.05)).all()
    x = np.r_[np.tile(np.arange(6), (8, 1)), np.tile(np.arange(6)[::-1], (8, 1))] + rng.normal(scale=1, size=(16, 6))
    found = ag.consensus_test(x, group, draws=999)
    assert (found.alpha_p <= 0.002).all()
    assert found.between_p[0, 1] <= 0.002
    assert (ag.strategic_consensus(x, group).alpha > found.alpha_critical).all()


def _firms(rng, firms=12, each=4, shared=0.5):
    """Priorities alike within firms and nothing else; groups that colleagues differ in, and that a firm bears as a whole."""
    home = np.repeat(np.arange(firms), each)
    x = np.sqrt(shared) * rng.normal(size=(firms, 5))[home] + np.sqrt(1 - shared) * rng.normal(size=(len(home), 5))
    mixed = np.array(["a", "b"])[rng.integers(0, 2, len(home))]
    borne = np.array(["a", "b"])[np.arange(firms) % 2][home]
    return x, home, {"mixed": mixed, "borne": borne}


def test_consensus_test_holds_its_level_where_colleagues_think_alike():
    """300 studies of 12 firms of four; binomial band of 0.1%. Taken as independent, in a fifth and more."""
    rng = np.random.default_rng(20260102)
    rejected = {(group, test): 0 for group in ("mixed", "borne") for test in ("within", "between", "as if independent")}
    for study in range(300):
        x, home, groups = _firms(rng)
        for name, group in groups.items():
            found = ag.consensus_test(x, group, cluster=home, draws=99, seed=study)
            rejected[name, "within"] += found.alpha_p[0] <= 0.05
            rejected[name, "between"] += found.between_p[0, 1] <= 0.05
            rejected[name, "as if independent"] += ag.consensus_test(x, group, draws=99, seed=study).alpha_p[0] <= 0.05
    low, high = stats.binom.ppf([0.001, 0.999], 300, 0.05)
    for (group, test), count in rejected.items():
        if test == "as if independent":
            assert count > 60, group
        else:
            assert low <= count <= high, (group, test)


def test_consensus_test_with_everybody_a_firm_of_their_own_asks_the_same_within_groups():
    answers, group, rng = _priorities(11)
    own = np.arange(len(group))
    plain = ag.consensus_test(answers, group, draws=999)
    alone = ag.consensus_test(answers, group, cluster=own, draws=999)
    assert alone.alpha_p == pytest.approx(plain.alpha_p, abs=0.06)
    assert alone.between_p == pytest.approx(plain.between_p, abs=0.06)
    order = rng.permutation(len(group))
    home = np.arange(len(group)) // 3
    kept = ag.consensus_test(answers, group, cluster=home, draws=199)
    mixed = ag.consensus_test(answers[order], group[order], cluster=home[order], draws=199)
    assert mixed.alpha_p.tolist() == kept.alpha_p.tolist()
    assert mixed.between_p == pytest.approx(kept.between_p, rel=1e-12)


def test_consensus_test_finds_roles_apart_within_firms():
    rng = np.random.default_rng(8)
    x, home, groups = _firms(rng, firms=20)
    x = x + 2.0 * np.where(groups["mixed"] == "a", 1, -1)[:, None] * np.linspace(1, -1, 5)
    found = ag.consensus_test(x, groups["mixed"], cluster=home, draws=999)
    assert (found.alpha_p <= 0.002).all()
    assert found.between_p[0, 1] <= 0.002
    with pytest.raises(DesignError, match="an organisation for every respondent"):
        ag.consensus_test(x, groups["mixed"], cluster=home[:-1])


# ------------------------------------------------------------------------------------------------------------ refusals


def test_refusals_in_full():
    with pytest.raises(DesignError) as off:
        ag.answer_counts([1, 6, 97], ["a", "a", "b"], 5)
    assert str(off.value) == (
        "DesignError: an answer lies off the scale\n"
        "  where     statistics.agreement.answer_counts\n"
        "  expected  whole numbers 1 to 5, or nan for missing\n"
        "  got       6, 97\n"
        "  hint      recode the answers to 1..K, and missing codes to nan"
    )
    with pytest.raises(DesignError) as negative:
        ag.leik_d([[1, -2, 3]])
    assert str(negative.value) == (
        "DesignError: agreement is read from counts of answers\n"
        "  where     statistics.agreement.leik_d\n"
        "  expected  numbers of respondents, or sums of weights, at two answers or more along the last axis\n"
        "  got       shape (1, 3), values -2 to 3\n"
        "  hint      count answers first, with answer_counts"
    )
    with pytest.raises(DesignError) as skew:
        ag.r_wg([1, 2, 3, 4], null="slight_skew")
    assert str(skew.value) == (
        "DesignError: there is no such distribution of answers without agreement\n"
        "  where     statistics.agreement.null_shares\n"
        "  expected  'uniform', 'slight_skew' (five points only), or 4 shares\n"
        "  got       'slight_skew'\n"
        "  hint      give the shares of the answers 1..K as a sequence"
    )
    with pytest.raises(DesignError) as ratings:
        ag.kendall_w([[1, 2, float("nan")], [1, 2, 3]])
    assert str(ratings.value) == (
        "DesignError: concordance needs complete ratings of two raters and two items or more\n"
        "  where     statistics.agreement.kendall_w\n"
        "  expected  an array (..., raters, items) without missing values\n"
        "  got       shape (2, 3), 1 missing\n"
        "  hint      leave out raters with missing ranks, or give the items they left out a tied rank"
    )
    with pytest.raises(DesignError) as once:
        ag.gwet_ac1([[1, 0], [0, 1]])
    assert str(once.value) == (
        "DesignError: no unit was rated twice\n"
        "  where     statistics.agreement.gwet_ac1\n"
        "  expected  counts (units, categories) with at least one unit of two answers\n"
        "  got       shape (2, 2), at most 1 answers a unit\n"
        "  hint      report the construct as not assessable"
    )
    with pytest.raises(DesignError) as vectors:
        ag.strategic_consensus([[1, 2, 3], [2, 2, 2], [1, float("nan"), 2]], ["a", "a", "b"])
    assert str(vectors.value) == (
        "DesignError: priorities need complete answers that tell the items apart\n"
        "  where     statistics.agreement.strategic_consensus\n"
        "  expected  an array (respondents, items) of three items or more, no row missing or all alike\n"
        "  got       shape (3, 3), 2 rows missing or all alike\n"
        "  hint      leave out respondents who ranked nothing; give the items they left out a tied rank"
    )
    with pytest.raises(DesignError) as pool:
        ag.null_distribution(ag.r_wg, 5, 3, pool=[1, 1, 1])
    assert str(pool.value) == (
        "DesignError: a team cannot be drawn from these answers\n"
        "  where     statistics.agreement.null_distribution\n"
        "  expected  at least one respondent, and a pool of all teams' answers along the scale\n"
        "  got       5 respondents, 3 points, pool [1, 1, 1]\n"
        "  hint      count the answers of all organisations into the pool, the team's own among them"
    )
    with pytest.raises(DesignError) as weights:
        ag.answer_counts([1, 2, 3], ["a", "a", "b"], 5, weight=[1, 0, float("nan")])
    assert str(weights.value) == (
        "DesignError: weights must be positive numbers, one per respondent\n"
        "  where     statistics.agreement.answer_counts\n"
        "  expected  shape (3,), all above 0\n"
        "  got       shape (3,), 2 missing or not positive\n"
        "  hint      leave out respondents without a weight"
    )
    for refuse in (ag.strategic_consensus, ag.consensus_test):
        with pytest.raises(DesignError, match="weights must be positive"):
            refuse([[1, 2, 3], [3, 2, 1]], ["a", "b"], weight=[1, -1])
    with pytest.raises(DesignError, match="weights must be positive"):
        ag.kendall_w([[1, 2, 3], [3, 2, 1]], weight=[1])
    with pytest.raises(DesignError, match="no unit was rated twice"):
        ag.krippendorff_alpha([[1, 0], [0, 1]])
    with pytest.raises(DesignError, match="agreement is read from counts"):
        ag.fleiss_kappa([[0.5, 2.5]])
