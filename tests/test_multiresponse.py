"""Multi-select answers: the worked examples to the printed digits, R's values, invariances, exact and drawn permutations."""

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork.errors import DesignError
from fieldwork.statistics import multiresponse as mr

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "multiresponse.toml").read_text())
EXACT = tomllib.loads((REFERENCE / "values.toml").read_text())["proportion"]["exact"]
FRAME = pd.read_csv(REFERENCE / "multiresponse.csv")
DESIGNS = {
    "plain": {},
    "clustered": {"weight": FRAME["weight"], "cluster": FRAME["org_id"]},
    "stratified": {"weight": FRAME["weight"], "cluster": FRAME["org_id"], "strata": FRAME["size_band"]},
}
FIVE = ["roi", "integr", "secur", "reg", "culture"]

# measures.md 2.7: 10 CTO cite integration, ROI, security 7, 3, 6 times; 10 CMO 2, 8, 3 times
ROLES = ["CTO"] * 10 + ["CMO"] * 10
BLOCKERS = pd.DataFrame(
    {
        name: [1] * cto + [0] * (10 - cto) + [1] * cmo + [0] * (10 - cmo)
        for name, cto, cmo in [("integration", 7, 2), ("roi", 3, 8), ("security", 6, 3)]
    }
)
# measures.md 2.7, tiny: 3 CTO {A}, {A}, {AB}; 3 CMO {B}, {B}, {AB}
TINY = [[1, 0], [1, 0], [1, 1], [0, 1], [0, 1], [1, 1]]
TINY_ROLES = ["CTO"] * 3 + ["CMO"] * 3


# -- worked examples ---------------------------------------------------------------------------------------------------


def test_worked_example_of_blockers():
    counts = mr.tally(BLOCKERS, ROLES)  # groups sorted: CMO, CTO
    test = mr.items_test(BLOCKERS, ROLES)
    assert test.item_statistic.round(4).tolist() == [5.0505, 5.0505, 1.8182]
    assert round(test.statistic, 4) == 11.9192
    assert test.df == 3
    ratio = mr.contrast_shares(BLOCKERS, ROLES, "CTO").prevalence_ratio.estimate
    assert round(float(ratio[0]), 4) == 1.5556
    assert round(float(mr.location_quotient(counts.citations)[1, 0]), 4) == 1.4097
    assert round(float(mr.dissimilarity(*counts.citations)), 4) == 0.4279
    assert round(float(mr.jensen_shannon(counts.citations)), 4) == 0.1503


def test_tiny_worked_example_is_exact():
    naive = mr.items_test(TINY, TINY_ROLES)
    exact = mr.permutation_test(TINY, TINY_ROLES)
    assert round(naive.statistic, 10) == 6.0
    assert round(naive.naive_p, 4) == 0.0498
    assert float(exact.observed) == pytest.approx(6.0)
    assert (exact.arrangements, exact.exact, exact.exchanged) == (20, True, "respondents")
    assert float(exact.p_value) == 4 / 20


def test_no_other_role():
    assert round(float(mr.exact_upper_bound(0, 59)), 4) == 0.0495
    assert float(mr.exact_upper_bound(0, 59)) == pytest.approx(1 - 0.05 ** (1 / 59), rel=1e-12)
    assert float(mr.exact_upper_bound(0, 59, family_size=9)) == pytest.approx(1 - (0.05 / 9) ** (1 / 59), rel=1e-12)
    assert mr.exact_upper_bound(EXACT["successes"], EXACT["n"]) == pytest.approx(EXACT["upper_one_sided"], rel=1e-10)
    assert mr.exact_upper_bound([0, 3], [0, 3]).tolist() == [1.0, 1.0]


# -- R -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", list(VALUES["svychisq"]["plain"]))
@pytest.mark.parametrize("design", list(DESIGNS))
def test_single_answers_equal_svychisq(design, table):
    """Tenure has unanswered rows and talent was not put to the GC: both are domains of the design."""
    reference = VALUES["svychisq"][design][table]
    test = mr.rao_scott(FRAME[reference["row"]], FRAME[reference["column"]], **DESIGNS[design])
    got = [test.f_statistic, test.f_df1, test.f_df2, test.f_p, test.statistic, test.df, test.first_order_p]
    names = ["f", "ndf", "ddf", "f_p", "x2", "df", "chisq_p"]
    assert got == pytest.approx([reference[name] for name in names], rel=1e-10)


@pytest.mark.parametrize("design", list(DESIGNS))
def test_sum_over_items_equals_the_joint_table_in_r(design):
    reference = VALUES["items"][design]
    test = mr.items_test(FRAME[FIVE], FRAME["role"], **DESIGNS[design])
    # Bilder's multinomial covariance divides by n, a design's by n - 1.
    factor = (test.n - 1) / test.n if design == "plain" else 1.0
    assert test.item_statistic == pytest.approx(reference["x2"], rel=1e-10)
    assert test.mean_effect * test.df * factor == pytest.approx(reference["trace"], rel=1e-9)
    assert test.second_order_df == pytest.approx(reference["second_order_df"], rel=1e-9)
    assert test.second_order_statistic / factor == pytest.approx(reference["second_order_statistic"], rel=1e-9)
    if design != "plain":
        for name in ("first_order_p", "second_order_p", "f_p"):
            assert getattr(test, name) == pytest.approx(reference[name], rel=1e-8)


@pytest.mark.parametrize("design", list(DESIGNS))
def test_shares_and_contrasts_equal_svyby(design):
    reference = VALUES["share"][design]["roi"]
    shares = mr.prevalence(FRAME[["roi"]], FRAME["role"], **DESIGNS[design])
    assert list(shares.groups) == reference["role"]
    assert shares.share[:, 0] == pytest.approx(reference["share"], rel=1e-12)
    assert shares.std_error[:, 0] == pytest.approx(reference["std_error"], rel=1e-12)
    both = mr.contrast_shares(FRAME[["roi"]], FRAME["role"], "CFO", "CTO", **DESIGNS[design])
    assert both.risk_difference.estimate[0] == pytest.approx(reference["difference"], rel=1e-12)
    assert both.risk_difference.std_error[0] == pytest.approx(reference["difference_std_error"], rel=1e-12)
    assert np.log(both.prevalence_ratio.estimate[0]) == pytest.approx(reference["log_ratio"], rel=1e-12)
    assert both.prevalence_ratio.std_error[0] == pytest.approx(reference["log_ratio_std_error"], rel=1e-12)
    assert np.log(both.odds_ratio.estimate[0]) == pytest.approx(reference["log_odds_ratio"], rel=1e-12)
    assert both.odds_ratio.std_error[0] == pytest.approx(reference["log_odds_ratio_std_error"], rel=1e-12)


# -- bases, caps, routing ----------------------------------------------------------------------------------------------


def test_who_was_not_asked_is_not_in_the_base():
    shares = mr.prevalence(FRAME[["talent"]], FRAME["role"], cluster=FRAME["org_id"])
    counsel = shares.groups.index("GC")
    assert shares.n[counsel, 0] == 0
    assert np.isnan(shares.share[counsel, 0])
    assert np.isnan(shares.conf_low[counsel, 0])
    others = FRAME["role"] != "GC"
    alone = mr.items_test(FRAME.loc[others, ["talent"]], FRAME.loc[others, "role"])
    routed = mr.items_test(FRAME[["talent"]], FRAME["role"])
    masked = mr.items_test(FRAME[["talent"]].fillna(1), FRAME["role"], asked=others)
    assert (alone.df, alone.n) == (routed.df, routed.n) == (masked.df, masked.n)
    assert alone.statistic == pytest.approx(routed.statistic, rel=1e-12)
    assert masked.statistic == pytest.approx(routed.statistic, rel=1e-12)


def test_labels_that_are_numbers_sort_as_their_text():
    labels = np.random.default_rng(2).integers(0, 12, 60)
    answers = np.random.default_rng(3).integers(0, 2, (60, 3))
    numbers = mr.prevalence(answers, labels, cluster=labels)
    texts = mr.prevalence(
        answers, np.array([str(label) for label in labels], dtype=object), cluster=labels.astype(float)
    )
    assert numbers.groups == texts.groups == tuple(sorted({str(label) for label in labels}))
    assert numbers.share.tolist() == texts.share.tolist()
    assert numbers.std_error == pytest.approx(texts.std_error, rel=1e-12)


def test_who_ticked_nothing_is_in_the_base():
    nothing = mr.prevalence(pd.concat([BLOCKERS, BLOCKERS * 0]), ROLES * 2)
    assert nothing.n.tolist() == [[20] * 3] * 2
    assert nothing.share[1, 0] == 0.35


def test_items_that_say_nothing_are_named_and_left_out():
    frame = BLOCKERS.assign(nobody=0, everybody=1)
    test = mr.items_test(frame, ROLES)
    assert test.left_out == ("nobody", "everybody")
    assert test.statistic == pytest.approx(mr.items_test(BLOCKERS, ROLES).statistic)


def test_cap_is_reported():
    use = mr.cap_use(
        [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [np.nan] * 4],
        ["CFO", "CFO", "CTO", "CTO", "CTO"],
        2,
        weight=[3, 1, 1, 1, 9],
    )
    assert use.groups == ("CFO", "CTO")
    assert use.n.tolist() == [2, 2]
    assert use.at_cap.tolist() == [0.75, 0.5]
    assert use.above_cap.tolist() == [0.0, 0.5]
    assert use.mean_ticks.tolist() == [1.75, 2.5]


def test_a_ratio_with_an_empty_count_has_no_interval():
    contrast = mr.contrast_shares([[1], [1], [0], [0], [0], [0]], ["a", "a", "a", "b", "b", "b"], "b", "a")
    assert contrast.prevalence_ratio.estimate[0] == 0
    assert np.isnan(contrast.prevalence_ratio.conf_high[0])
    assert np.isfinite(contrast.risk_difference.conf_high[0])
    flat = mr.contrast_shares([[1], [1], [0], [0]], ["a", "a", "b", "b"], "a", "b")
    assert flat.risk_difference.estimate[0] == 1
    assert np.isnan(flat.risk_difference.conf_low[0])


# -- permutation -------------------------------------------------------------------------------------------------------


def test_a_trait_of_organisations_is_exchanged_between_them():
    """Four organisations of two: 6 ways to call two of them early, counted by hand."""
    answers = [[1], [1], [1], [1], [0], [1], [0], [0]]
    home, trait = list("aabbccdd"), ["early"] * 4 + ["late"] * 4
    test = mr.permutation_test(answers, trait, cluster=home)
    assert (test.arrangements, test.exact, test.exchanged) == (6, True, "organisations")
    citing = [2, 2, 1, 0]
    departures = [abs(sum(citing[i] for i in pair) - 2.5) for pair in itertools.combinations(range(4), 2)]
    assert float(test.p_value) == sum(d >= 1.5 - 1e-9 for d in departures) / 6


def test_labels_of_colleagues_are_exchanged_within_their_organisation():
    """Organisation effects alone: every CTO sits with a CMO of the same answers; 2^4 arrangements are all alike."""
    answers = [[1, 0]] * 4 + [[0, 1]] * 4
    test = mr.permutation_test(answers, ["CTO", "CMO"] * 4, cluster=list("aabbccdd"))
    assert (test.arrangements, test.exchanged) == (16, "respondents within organisations")
    assert float(test.p_value) == 1.0
    unequal = mr.permutation_test([[1, 0], [0, 0]] * 5, ["CTO", "CMO"] * 5, cluster=[str(i // 2) for i in range(10)])
    assert float(unequal.p_value) == 2 / 32


def test_strata_hold_labels_apart():
    answers = [[1], [0], [1], [0]]
    free = mr.permutation_test(answers, ["a", "b", "a", "b"])
    held = mr.permutation_test(answers, ["a", "b", "a", "b"], strata=["s", "s", "t", "t"])
    assert (free.arrangements, held.arrangements) == (6, 4)


def test_drawn_arrangements_come_near_the_exact_value_and_repeat():
    kwargs = {"cluster": None, "permutations": 4000}
    exact = mr.permutation_test(BLOCKERS[["security"]], ROLES, exact_limit=10**6)
    drawn = mr.permutation_test(BLOCKERS[["security"]], ROLES, seed=7, **kwargs)
    assert exact.arrangements == 184756
    assert not drawn.exact
    assert float(drawn.p_value) == pytest.approx(float(exact.p_value), abs=0.03)
    assert float(drawn.null_mean) == pytest.approx(float(exact.null_mean), abs=0.08)
    assert float(drawn.p_value) == float(mr.permutation_test(BLOCKERS[["security"]], ROLES, seed=7, **kwargs).p_value)


def test_drawn_arrangements_ignore_the_order_of_rows():
    order = np.random.default_rng(0).permutation(len(FRAME))
    kwargs = {"permutations": 99, "seed": 3}
    plain = mr.permutation_test(FRAME[FIVE], FRAME["role"], cluster=FRAME["org_id"], weight=FRAME["weight"], **kwargs)
    other = FRAME.iloc[order]
    mixed = mr.permutation_test(other[FIVE], other["role"], cluster=other["org_id"], weight=other["weight"], **kwargs)
    assert float(plain.p_value) == float(mixed.p_value)
    assert float(plain.null_mean) == pytest.approx(float(mixed.null_mean), rel=1e-12)


def test_divergence_is_corrected_for_what_chance_puts_between_groups():
    rng = np.random.default_rng(1)
    answers = rng.integers(0, 2, (60, 6))
    roles = np.repeat(["a", "b", "c"], 20)
    for index in (
        lambda counts: mr.jensen_shannon(counts.citations),
        lambda counts: mr.dissimilarity(counts.citations[..., 0, :], counts.citations[..., 1, :]),
        lambda counts: mr.concentration(np.moveaxis(counts.citations / counts.base, -2, -1)),
    ):
        test = mr.permutation_test(answers, roles, index, permutations=199)
        assert (test.observed >= 0).all()
        assert (test.null_mean > 0).all()
        assert (np.abs(test.corrected) < test.null_mean * 3).all()
        assert test.corrected == pytest.approx(test.observed - test.null_mean)


# -- validity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["within", "between"])
@pytest.mark.parametrize("alike", [0.0, 1.5])
def test_level_holds_under_clustering_and_weights(kind, alike):
    """300 null studies, 60 organisations of four, organisation effects of all items (`alike`) and of each, weights.

    .05 within exact binomial bounds at 0.1%; the naive sum, for a trait of organisations, calls several times too often.
    """
    rng = np.random.default_rng(20260103)
    home = np.repeat(np.arange(60), 4)
    rejected, naive = 0, 0
    for _ in range(300):
        effect = rng.normal(scale=1.2, size=(60, 5)) + alike * rng.normal(size=(60, 1))
        answers = (effect[home] + rng.logistic(size=(240, 5)) > 0.5).astype(float)
        labels = rng.integers(0, 3, 240) if kind == "within" else rng.permutation(np.arange(60) % 3)[home]
        test = mr.items_test(answers, labels, cluster=home, weight=np.exp(rng.normal(scale=0.4, size=240)))
        rejected += test.adjusted_p <= 0.05
        naive += test.naive_p <= 0.05
    assert 0.013 <= rejected / 300 <= 0.097
    if kind == "between":
        assert naive / 300 > 0.2


def test_many_departures_of_few_organisations_keep_the_level_after_adjustment():
    """Ten roles, fifteen items, 90 organisations: unadjusted the second order hardly ever rejects."""
    rng = np.random.default_rng(20260105)
    home = np.repeat(np.arange(90), 5)
    plain, adjusted = 0, 0
    for _ in range(200):
        answers = (rng.normal(scale=1.2, size=(90, 15))[home] + rng.logistic(size=(450, 15)) > 0.8).astype(float)
        test = mr.items_test(answers, rng.integers(0, 10, 450), cluster=home)
        plain += test.f_p <= 0.05
        adjusted += test.adjusted_p <= 0.05
        assert test.f_df1 < test.adjusted_df <= test.df + 1e-9
    assert plain / 200 < 0.03
    assert 0.01 <= adjusted / 200 <= 0.11


def test_permutation_holds_its_level_within_organisations():
    rng = np.random.default_rng(20260104)
    home = np.repeat(np.arange(20), 4)
    rejected = 0
    for _ in range(150):
        answers = (rng.normal(scale=1.5, size=(20, 4))[home] + rng.logistic(size=(80, 4)) > 0).astype(float)
        test = mr.permutation_test(answers, rng.integers(0, 3, 80), cluster=home, permutations=199)
        rejected += float(test.p_value) <= 0.05
    assert rejected / 150 <= 0.12


# -- properties --------------------------------------------------------------------------------------------------------

counts = st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any)


@given(counts, counts, st.floats(0.1, 10))
def test_profile_indices_keep_their_bounds_and_ignore_the_scale(first, second, scale):
    table = np.array([first, second], dtype=float)
    assert 0 <= mr.dissimilarity(first, second) <= 1 + 1e-12
    assert 0 <= mr.jensen_shannon(table) <= 1 + 1e-12
    assert -1e-12 <= mr.concentration(first) <= 1 + 1e-12
    scaled = table * np.array([[scale], [1.0]])
    assert mr.dissimilarity(*scaled) == pytest.approx(mr.dissimilarity(first, second), abs=1e-12)
    assert mr.jensen_shannon(scaled) == pytest.approx(mr.jensen_shannon(table), abs=1e-12)
    assert mr.dissimilarity(first, second) == pytest.approx(mr.dissimilarity(second, first), abs=1e-12)
    assert mr.jensen_shannon(table) <= mr.dissimilarity(first, second) + 1e-12  # Lin 1991, theorem 3
    assert mr.jensen_shannon([first, first]) == pytest.approx(0.0, abs=1e-12)


@given(counts, counts)
def test_location_quotients_average_to_one(first, second):
    table = np.array([first, second], dtype=float)
    quotient = np.nan_to_num(mr.location_quotient(table))
    weight = table.sum(axis=0) / table.sum()
    assert (quotient * weight).sum(axis=1) == pytest.approx([1.0, 1.0])


@settings(max_examples=25, deadline=None)
@given(st.permutations(list(range(len(FRAME)))), st.permutations(["A", "B", "C", "D"]), st.floats(0.1, 9))
def test_tests_ignore_row_order_labels_and_the_scale_of_weights(order, names, scale):
    plain = mr.items_test(FRAME[FIVE], FRAME["role"], **DESIGNS["stratified"])
    other = FRAME.iloc[list(order)]
    renamed = other["role"].map(dict(zip(["CFO", "CMO", "CTO", "GC"], names, strict=True)))
    mixed = mr.items_test(
        other[FIVE], renamed, weight=other["weight"] * scale, cluster=other["org_id"], strata=other["size_band"]
    )
    for name in ("statistic", "mean_effect", "second_order_df", "f_statistic", "f_p", "adjusted_p"):
        assert getattr(mixed, name) == pytest.approx(getattr(plain, name), rel=1e-8)
    single = mr.rao_scott(renamed, other["reg"], weight=other["weight"] * scale, cluster=other["org_id"])
    assert single.f_p == pytest.approx(mr.rao_scott(FRAME["role"], FRAME["reg"], **DESIGNS["clustered"]).f_p, rel=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.05, 0.95), min_size=len(FRAME), max_size=len(FRAME)))
def test_splitting_a_row_by_its_weight_changes_no_share_and_no_corrected_test(parts):
    part = np.array(parts)
    twice = pd.concat([FRAME, FRAME])
    weight = np.r_[FRAME["weight"] * part, FRAME["weight"] * (1 - part)]
    design = {"weight": weight, "cluster": twice["org_id"]}
    whole, split = (mr.prevalence(f[FIVE], f["role"], **d) for f, d in ((FRAME, DESIGNS["clustered"]), (twice, design)))
    assert split.share == pytest.approx(whole.share, rel=1e-10)
    assert split.std_error == pytest.approx(whole.std_error, rel=1e-10)
    test, again = (mr.items_test(f[FIVE], f["role"], **d) for f, d in ((FRAME, DESIGNS["clustered"]), (twice, design)))
    assert again.f_statistic == pytest.approx(test.f_statistic, rel=1e-9)
    assert again.f_p == pytest.approx(test.f_p, rel=1e-8)
    assert again.adjusted_p == pytest.approx(test.adjusted_p, rel=1e-8)


@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 12))
def test_upper_bound_grows_with_the_count_and_the_family_and_falls_with_the_base(cited, more, family):
    n = cited + more
    bound = float(mr.exact_upper_bound(cited, n, family_size=family))
    assert cited / n < bound <= 1
    assert float(mr.exact_upper_bound(cited + 1, n, family_size=family)) >= bound
    assert float(mr.exact_upper_bound(cited, n, family_size=family + 1)) > bound
    assert float(mr.exact_upper_bound(cited, n + 1, family_size=family)) < bound


# -- refusals ----------------------------------------------------------------------------------------------------------


def message(call):
    with pytest.raises(DesignError) as caught:
        call()
    return str(caught.value)


def test_refusals_say_what_is_wrong():
    assert message(lambda: mr.prevalence([[0, 2]], ["a"])) == (
        "DesignError: a multi-select answer is neither ticked nor unticked\n"
        "  where     statistics.multiresponse\n"
        "  expected  0, 1 or missing\n"
        "  got       2\n"
        "  hint      code ticks as 1, options put and left as 0, options not put as missing"
    )
    assert message(lambda: mr.items_test(BLOCKERS, [*ROLES[:-1], None])) == (
        "DesignError: the group is not known for every respondent\n"
        "  where     statistics.multiresponse\n"
        "  expected  20 labels\n"
        "  got       19\n"
        "  hint      leave out respondents without it before the call, so that the base is the one you print"
    )
    assert message(lambda: mr.contrast_shares(BLOCKERS, ROLES, "CHRO")) == (
        "DesignError: a group to be compared has no respondents\n"
        "  where     statistics.multiresponse.contrast_shares\n"
        "  expected  CMO, CTO\n"
        "  got       'CHRO'\n"
        "  hint      compare groups that answered, or print that the group cannot be assessed"
    )
    assert message(lambda: mr.items_test(BLOCKERS, ["CTO"] * 20)) == (
        "DesignError: no item tells the groups apart\n"
        "  where     statistics.multiresponse.items_test\n"
        "  expected  an item that some and not all cite, put to two groups\n"
        "  got       1 groups, 3 items without variation\n"
        "  hint      print the shares; there is nothing to test"
    )
    assert message(lambda: mr.permutation_test(BLOCKERS, ["CTO"] * 20)) == (
        "DesignError: no label can be exchanged\n"
        "  where     statistics.multiresponse.permutation_test\n"
        "  expected  two labels among the units that may exchange them\n"
        "  got       1 groups, respondents\n"
        "  hint      compare groups that both occur, in organisations or strata that hold both"
    )
    assert message(lambda: mr.exact_upper_bound(3, 2)) == (
        "DesignError: a count does not fit its base\n"
        "  where     statistics.multiresponse.exact_upper_bound\n"
        "  expected  0 <= cited <= n and a family of at least 1\n"
        "  got       cited 3 of 2\n"
        "  hint      count respondents, not citations"
    )
    assert message(lambda: mr.rao_scott(["a", "a"], ["x", "y"])) == (
        "DesignError: a table of one row or one column has nothing to test\n"
        "  where     statistics.multiresponse.rao_scott\n"
        "  expected  two levels or more on both sides\n"
        "  got       1 x 2\n"
        "  hint      print the shares; there is nothing to test"
    )


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"weight": [1.0] * 19}, "weights do not fit the respondents"),
        ({"weight": [-1.0] + [1.0] * 19}, "weights do not fit the respondents"),
        ({"cluster": ["o"] * 20}, "a variance between organisations needs two organisations"),
        ({"cluster": list("ab") * 10, "strata": ["s"] * 19 + ["t"]}, "an organisation lies in two strata"),
    ],
)
def test_designs_that_cannot_be_are_refused(keywords, text):
    with pytest.raises(DesignError, match=text):
        mr.items_test(BLOCKERS, ROLES, **keywords)
