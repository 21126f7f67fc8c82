"""The gate: what it holds back, what it rounds, and that no study can loosen it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwork import schema
from fieldwork.disclosure import BASES, NUMBERS, Policy, publish, with_tests
from fieldwork.errors import DataError, StudyError


def row(**fields):
    base = {
        "wave": "w", "construct": "c", "statistic": "role_mean", "unit": "scale_point", "estimate": 3.456, "std_error": 0.1234,
        "conf_low": 3.2101, "conf_high": 3.7019, "conf_level": 0.95, "p_value": 0.012345, "p_adjusted": 0.12345,
        "adjustment": "holm", "n": 42, "n_organisations": 12, "n_effective": 31.4, "status": "ok",
    }  # fmt: skip
    return {**base, **fields}


def gate(*rows, policy=None):
    return publish(schema.frame(rows, schema.ESTIMATES), policy or Policy())


def test_precision():
    published = gate(row()).iloc[0]
    assert (published["estimate"], published["conf_low"], published["conf_high"]) == (3.46, 3.21, 3.70)
    assert (published["std_error"], published["p_value"], published["p_adjusted"]) == (0.123, 0.0123, 0.1234)
    assert (published["n"], published["n_organisations"], published["n_effective"]) == (40, 10, 30)


@pytest.mark.parametrize(
    ("n", "organisations", "status"), [(9, 9, "suppressed"), (10, 5, "flagged"), (10, 4, "suppressed"), (30, 5, "ok")]
)
def test_minimum_base(n, organisations, status):
    assert gate(row(n=n, n_organisations=organisations)).loc[0, "status"] == status


def test_a_suppressed_row_is_empty():
    published = gate(row(n=9)).iloc[0]
    assert published[[*NUMBERS, *BASES, "conf_level"]].isna().all()
    assert published["adjustment"] == ""
    assert published["reason"] == "held back: fewer than 10 respondents or 5 organisations"


def test_rows_that_were_tested_anew_are_those_that_the_gate_would_publish():
    rows = [row(role=f"r{k}", n=8 + k, p_value=pd.NA, p_adjusted=pd.NA, adjustment="") for k in range(6)]
    rows.append(row(role="r9", status="not_assessable", reason="no model", estimate=pd.NA))
    tested = schema.frame(
        [each | {"p_value": 0.012345 * k, "p_adjusted": 0.2 * k, "adjustment": "holm"} for k, each in enumerate(rows)],
        schema.ESTIMATES,
    )
    published = gate(*rows)
    assert set(published["status"]) == {"suppressed", "flagged", "not_assessable"}
    shown = with_tests(published, tested.iloc[::-1])
    pd.testing.assert_frame_equal(shown, publish(tested, Policy()))
    assert shown.loc[shown["status"] == "suppressed", ["p_value", "p_adjusted"]].isna().all(axis=None)
    with pytest.raises(DataError, match="tests are of other rows"):
        with_tests(published, tested.iloc[:-1])


def test_a_survey_without_organisations_is_held_by_respondents_alone():
    assert gate(row(n=40, n_organisations=pd.NA)).loc[0, "status"] == "ok"
    assert gate(row(n=9, n_organisations=pd.NA)).loc[0, "status"] == "suppressed"


@pytest.mark.parametrize(
    ("share", "status"), [(0.0, "suppressed"), (0.03, "suppressed"), (0.1, "ok"), (0.97, "suppressed")]
)
def test_a_share_of_one_or_two_people(share, status):
    assert gate(row(unit="proportion", estimate=share, n=40)).loc[0, "status"] == status


def test_not_assessable_keeps_its_reason_and_loses_a_small_base():
    published = gate(row(status="not_assessable", reason="one wave", estimate=pd.NA, n=3)).iloc[0]
    assert (published["status"], published["reason"]) == ("not_assessable", "one wave")
    assert pd.isna(published["n"])


def test_a_refusal_that_does_not_count_organisations_shows_no_base_where_the_survey_names_them():
    """A base may be all of one organisation: what is not known to come from five is not shown."""
    refused = {"status": "not_assessable", "reason": "too few", "estimate": None, "n": 210}
    beside = row(role="a")
    published = gate(beside, row(role="b", n_organisations=None, **refused)).set_index("role")
    assert published.loc["b", list(BASES)].isna().all()
    assert published.loc["a", "n"] == 40
    nameless = gate(row(role="a", n_organisations=None), row(role="b", n_organisations=None, **refused)).set_index(
        "role"
    )
    assert nameless.loc["b", "n"] == 210


def test_negative_zero_is_zero():
    assert str(gate(row(estimate=-0.001)).loc[0, "estimate"]) == "0.0"


def test_a_study_may_tighten_but_not_loosen():
    assert Policy.from_study({"minimum_respondents": 15}).minimum_respondents == 15
    with pytest.raises(StudyError) as told:
        Policy.from_study({"minimum_respondents": 5})
    assert str(told.value) == (
        "StudyError: the gate may be tightened, not loosened: minimum_respondents\n"
        "  where     study.toml, [disclosure]\n"
        "  expected  a whole number of at least 10\n"
        "  got       5\n"
        "  hint      set minimum_respondents = 10 or higher"
    )
    with pytest.raises(StudyError, match="no threshold 'minimum'"):
        Policy.from_study({"minimum": 20})


def test_a_table_of_other_columns_is_refused():
    with pytest.raises(DataError, match="does not have the columns of its contract"):
        publish(schema.frame([row()], schema.ESTIMATES).drop(columns="reason").assign(resp_id="r1"), Policy())


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 20), st.floats(-5, 5), st.sampled_from(["ok", "flagged"])),
        min_size=1,
        max_size=8,
    )
)
def test_nothing_below_the_minimum_ever_shows_a_number(cells):
    rows = [row(n=n, n_organisations=o, estimate=e, status=s, item=str(i)) for i, (n, o, e, s) in enumerate(cells)]
    published = gate(*rows).set_index("item")
    for i, (n, organisations, _, _) in enumerate(cells):
        shown = published.loc[str(i)]
        few = n < 10 or organisations < 5
        assert (shown["status"] == "suppressed") == few
        assert shown[[*NUMBERS, *BASES]].isna().all() == few
    again = publish(published.reset_index()[schema.ESTIMATES.names], Policy())
    kept = again["status"] != "suppressed"
    assert np.array_equal(again.loc[kept, "estimate"], published.reset_index().loc[kept.to_numpy(), "estimate"])


# ------------------------------------------------------------------------------------------ shares that add to one


def alternatives(*hits, tells="", n=40):
    """Shares of one question with these numbers of people, then one more row that tells `tells`."""
    key = {"construct": "c", "measure": "m", "statistic": "share"}
    rows = [row(**key, item=chr(97 + k), unit="proportion", estimate=hit / n, n=n) for k, hit in enumerate(hits)]
    rows.append(row(**key | {"statistic": "share_difference"}, item="d", unit="proportion", estimate=0.2, n=n))
    bases = [
        {**{name: each.get(name, "") for name in schema.ESTIMATE_KEY if name != "wave"}, "smallest_n": n, "hits": hit,
         "alike": False, "adds_up": "m" if k < len(hits) else "", "tells": "" if k < len(hits) else tells}
        for k, (each, hit) in enumerate(zip(rows, [*hits, 10], strict=True))
    ]  # fmt: skip
    published = publish(schema.frame(rows, schema.ESTIMATES), Policy(), schema.frame(bases, schema.BASES))
    return published.sort_values(["statistic", "item"])["status"].tolist()


def test_a_held_share_takes_the_smallest_of_its_alternatives_with_it():
    assert alternatives(2, 9, 12, 17) == ["suppressed", "suppressed", "ok", "ok", "ok"]


def test_held_shares_are_never_of_too_few_together():
    """One person in each of two answers: both are held, and so is a third, or two people would be known to be in them."""
    assert alternatives(1, 1, 12, 26) == ["suppressed", "suppressed", "suppressed", "ok", "ok"]
    assert alternatives(2, 2, 12, 24) == ["suppressed", "suppressed", "ok", "ok", "ok"]


def test_alternatives_that_are_all_large_stay():
    assert alternatives(5, 9, 9, 17) == ["ok"] * 5


def test_what_tells_a_held_share_goes_with_it_and_takes_nothing_along():
    assert alternatives(2, 9, 12, 17, tells="m||a") == ["suppressed", "suppressed", "ok", "ok", "suppressed"]
    assert alternatives(2, 9, 12, 17, tells="m||d") == ["suppressed", "suppressed", "ok", "ok", "ok"]
    assert alternatives(2, 9, 12, 17, tells="m||d;m||b") == ["suppressed", "suppressed", "ok", "ok", "suppressed"]


# ------------------------------------------------------------------------------------------- what is behind a row


def behind(*rows, policy=None, released=None, **columns):
    table = schema.frame(rows, schema.ESTIMATES)
    bases = table[[name for name in schema.ESTIMATE_KEY if name != "wave"]].assign(
        **{"smallest_n": table["n"], "adds_up": "", "tells": "", "alike": False, **columns}
    )
    return publish(
        table, policy or Policy(), schema.conform(bases.reindex(columns=schema.BASES.names), schema.BASES), released
    )


@pytest.mark.parametrize(
    ("n", "minimum", "status"), [(29, 10, "suppressed"), (30, 10, "ok"), (44, 15, "suppressed"), (45, 15, "ok")]
)
def test_a_group_that_answers_alike_needs_three_times_the_minimum(n, minimum, status):
    published = behind(row(n=n), policy=Policy(minimum_respondents=minimum), alike=True)
    assert published.loc[0, "status"] == status


@pytest.mark.parametrize(
    ("n", "weight", "status"), [(29, 3.1, "suppressed"), (29, 3.0, "flagged"), (30, 3.1, "ok"), (12, 1.4, "flagged")]
)
def test_one_respondent_of_a_small_group_weighs_at_most_three_times_the_median(n, weight, status):
    assert behind(row(n=n), largest_weight=weight).loc[0, "status"] == status


def test_a_mean_of_respondents_who_weigh_the_same_has_one_decimal():
    plain, weighted = behind(row(), largest_weight=1.0), behind(row(), largest_weight=1.2)
    assert plain.loc[0, ["estimate", "conf_low", "conf_high", "std_error"]].tolist() == [3.5, 3.2, 3.7, 0.123]
    assert weighted.loc[0, ["estimate", "conf_low", "conf_high"]].tolist() == [3.46, 3.21, 3.7]
    spread = behind(row(statistic="role_sd_corrected"), largest_weight=1.0)
    share = behind(row(unit="proportion", statistic="share", estimate=0.456), largest_weight=1.0)
    assert (spread.loc[0, "estimate"], share.loc[0, "estimate"]) == (3.46, 0.46)


@pytest.mark.parametrize(("before", "status"), [([False], "suppressed"), ([False, True], "ok"), ([True], "ok")])
def test_a_change_goes_with_the_level_that_an_earlier_wave_held_back(before, status):
    """The level of this wave less the change is that of the wave before."""
    level = {"construct": "role_shift", "measure": "m", "statistic": "ridit", "unit": "index"}
    rows = [row(**level, role="a", wave="w2"), row(**level | {"statistic": "shift"}, role="a", wave="w2")]
    key = {name: rows[0].get(name, "") for name in schema.ESTIMATE_KEY} | {"wave": "w1"}
    register = [{**key, "n": 40, "shown": shown, "release": str(k)} for k, shown in enumerate(before)]
    published = behind(*rows, released=schema.frame(register, schema.RELEASED)).set_index("statistic")
    assert published.loc["shift", "status"] == status
    assert published.loc["ridit", "status"] == "ok"
