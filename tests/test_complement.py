"""Complementary suppression: closed tables by hand, random ones by attack, and the gate as a whole against the attacker."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwork import schema
from fieldwork.disclosure import Policy, complement, publish
from fieldwork.disclosure.complement import feasible, lines_of, protect
from tests.attacker import everything, recovered


def table(counts, *, unit="scale_point", shares=None, statistic="role_mean", total=True):
    """Rows of a role x stage table with margins, as a construct would write them."""
    counts = np.asarray(counts)
    roles, stages = [f"r{i}" for i in range(len(counts))], [f"s{j}" for j in range(counts.shape[1])]
    base = {"wave": "w", "construct": "c", "measure": "m", "unit": unit, "status": "ok", "n_organisations": 50}
    value = {"estimate": 3.0} if shares is None else {}
    rows = [
        {**base, "statistic": statistic, "role": r, "stage": s, "n": int(counts[i, j]),
         "estimate": 3.0 if shares is None else float(shares[i][j])}
        for i, r in enumerate(roles)
        for j, s in enumerate(stages)
        if counts[i, j]
    ]  # fmt: skip
    rows += [{**base, **value, "estimate": 3.0, "statistic": statistic, "role": r, "n": int(counts[i].sum())}
             for i, r in enumerate(roles)]  # fmt: skip
    rows += [{**base, "estimate": 3.0, "statistic": "stage_mean", "stage": s, "n": int(counts[:, j].sum())}
             for j, s in enumerate(stages)]  # fmt: skip
    if total:
        rows.append({**base, "estimate": 3.0, "statistic": statistic, "n": int(counts.sum())})
    return schema.frame(rows, schema.ESTIMATES)


def held(published):
    rows = published[(published["status"] == "suppressed")]
    return set(zip(rows["role"], rows["stage"], strict=True))


class TestByHand:
    def test_one_small_cell_takes_the_cheapest_rectangle_with_it(self):
        """Of a 3 x 3 table only r0 s0 is small; the rectangle over r1 and s1 costs 11 + 12 + 13, the others more."""
        counts = [[4, 11, 40], [12, 13, 40], [40, 40, 40]]
        published = publish(table(counts), Policy())
        assert held(published) == {("r0", "s0"), ("r0", "s1"), ("r1", "s0"), ("r1", "s1")}
        reasons = published[published["status"] == "suppressed"]["reason"]
        assert (reasons == "held back: without it, what is held back beside it could be worked out").sum() == 3

    def test_nothing_small_nothing_held(self):
        assert held(publish(table([[20, 30], [40, 50]]), Policy())) == set()

    def test_one_margin_takes_the_smallest_neighbour(self):
        rows = table([[4, 30, 20, 25]])
        published = publish(rows[rows["statistic"] == "role_mean"], Policy())
        assert held(published) == {("r0", "s0"), ("r0", "s2")}

    def test_two_small_cells_that_add_to_little_need_a_third(self):
        """3 + 4 = 7 known to lie in two cells is still less than ten people."""
        rows = table([[3, 4, 20, 25]])
        published = publish(rows[rows["statistic"] == "role_mean"], Policy())
        assert held(published) == {("r0", "s0"), ("r0", "s1"), ("r0", "s2")}

    def test_a_share_of_one_person_takes_another_role_with_it(self):
        base = {"wave": "w", "construct": "c", "measure": "m", "statistic": "prevalence", "unit": "proportion",
                "status": "ok", "n_organisations": 50, "item": "roi"}  # fmt: skip
        rows = [{**base, "role": f"r{i}", "n": 50, "estimate": share} for i, share in enumerate((0.02, 0.2, 0.5))]
        rows += [{**base, "n": 150, "estimate": 0.24}]
        rows += [{**base, "role": "r1", "n": 50, "estimate": 0.9, "statistic": "prevalence_ratio", "unit": "ratio"}]
        published = publish(schema.frame(rows, schema.ESTIMATES), Policy())
        gone = published[published["status"] == "suppressed"]
        assert set(zip(gone["statistic"], gone["role"], strict=True)) == {
            ("prevalence", "r0"), ("prevalence", "r1"), ("prevalence_ratio", "r1"),
        }  # fmt: skip

    def answers(self, **shares):
        """Three roles of 50 and their sum on each answer, the sum over answers, and its quotients."""
        base = {"wave": "w", "construct": "c", "measure": "m", "status": "ok", "n_organisations": 50}
        rows = []
        for item, values in shares.items():
            one = {**base, "item": item}
            rows += [
                {**one, "statistic": "prevalence", "unit": "proportion", "role": f"r{i}", "n": 50, "estimate": value}
                for i, value in enumerate(values)
            ]
            rows.append({**one, "statistic": "prevalence", "unit": "proportion", "n": 150, "estimate": sum(values) / 3})
            if item != "none":
                rows += [{**one, "statistic": "location_quotient", "unit": "ratio", "role": f"r{i}", "n": 50, "estimate": 1.1}
                         for i in range(3)]  # fmt: skip
        free = [values for item, values in shares.items() if item != "none"]
        rows += [{**base, "statistic": "mean_cited", "unit": "index", "role": f"r{i}", "n": 50,
                  "estimate": sum(values[i] for values in free)} for i in range(3)]  # fmt: skip
        rows.append({**base, "statistic": "mean_cited", "unit": "index", "n": 150, "estimate": 1.0})
        return rows

    def gone(self, rows):
        published = publish(schema.frame(rows, schema.ESTIMATES), Policy())
        lost = published[published["status"] == "suppressed"]
        return set(zip(lost["statistic"], lost["role"], lost["item"], strict=True))

    def test_a_sum_over_answers_goes_with_a_held_answer(self):
        """One CFO in fifty: with the number of answers and all other shares of the role, who it was would follow."""
        gone = self.gone(self.answers(roi=(0.02, 0.2, 0.5), cost=(0.4, 0.4, 0.4)))
        assert {key for key in gone if key[0] == "prevalence"} == {
            ("prevalence", "r0", "roi"),
            ("prevalence", "r1", "roi"),
        }
        for role in ("r0", "r1"):
            assert ("mean_cited", role, "") in gone
            assert {("location_quotient", role, item) for item in ("roi", "cost")} <= gone
        assert not {key for key in gone if key[1] == "r2"}
        assert not {key for key in gone if key[2] == "cost" and key[0] == "prevalence"}

    def test_an_answer_that_stands_alone_is_no_part_of_the_sum(self):
        gone = self.gone(self.answers(roi=(0.3, 0.2, 0.5), none=(0.02, 0.2, 0.2)))
        assert {key[0] for key in gone} == {"prevalence"}

    def test_a_count_of_answers_is_a_mean_with_margins(self):
        rows = self.answers(roi=(0.3, 0.2, 0.5))
        for row in rows:
            row["n"] = {"r0": 8}.get(row.get("role", ""), row["n"])
        gone = self.gone(rows)
        assert len({key for key in gone if key[0] == "mean_cited"}) == 2

    def test_two_roles_together_go_with_either(self):
        rows = self.answers(roi=(0.02, 0.2, 0.5))
        pair = {"wave": "w", "construct": "c", "measure": "m", "statistic": "risk_difference", "unit": "proportion",
                "status": "ok", "n_organisations": 50, "n": 150, "estimate": 0.3, "item": "roi"}  # fmt: skip
        gone = self.gone([*rows, {**pair, "role": "r0+r2"}, {**pair, "role": "r2"}])
        assert ("risk_difference", "r0+r2", "roi") in gone
        assert ("risk_difference", "r2", "roi") not in gone

    @pytest.mark.parametrize(
        ("role", "estimate", "held"), [("r2", 0.2, True), ("r2", None, False), ("r0+r1", 0.5, False)]
    )
    def test_the_largest_share_elsewhere_may_be_the_held_one(self, role, estimate, held):
        """A value that may be that of a held role goes with it; a bound without a value does not, nor does another's."""
        other = {"wave": "w", "construct": "c", "measure": "m", "statistic": "prevalence_max_other", "unit": "proportion",
                 "status": "ok", "n_organisations": 50, "n": 100, "estimate": estimate, "conf_high": 0.4, "role": role,
                 "item": "roi"}  # fmt: skip
        gone = self.gone([*self.answers(roi=(0.02, 0.2, 0.5)), other])
        assert (("prevalence_max_other", role, "roi") in gone) == held

    def test_what_rests_on_a_held_cell_goes_with_it(self):
        counts = [[4, 11, 40], [12, 13, 40], [40, 40, 40]]
        contrast = {"wave": "w", "construct": "c", "measure": "m", "unit": "scale_point", "status": "ok", "estimate": 0.1,
                    "n": 40, "n_organisations": 40, "role": "r0", "role_2": "r2", "segment": "s2 v s0",
                    "statistic": "role_part"}  # fmt: skip
        rows = pd.concat([table(counts), schema.frame([contrast], schema.ESTIMATES)], ignore_index=True)
        published = publish(rows, Policy()).set_index("statistic")
        assert published.loc["role_part", "status"] == "suppressed"

    def test_cells_of_a_contrast_are_the_last_to_go(self):
        """The cheap rectangle would take r1 s1 of the contrast; another, ten people dearer, leaves it."""
        counts = [[4, 11, 15, 40], [12, 13, 15, 40], [40, 40, 40, 40]]
        contrast = {"wave": "w", "construct": "c", "measure": "m", "unit": "scale_point", "status": "ok", "estimate": 0.1,
                    "n": 13, "n_organisations": 13, "role": "r1", "role_2": "r2", "segment": "s1 v s3",
                    "statistic": "naive_gap"}  # fmt: skip
        rows = pd.concat([table(counts), schema.frame([contrast], schema.ESTIMATES)], ignore_index=True)
        published = publish(rows, Policy())
        assert held(published) == {("r0", "s0"), ("r0", "s2"), ("r1", "s0"), ("r1", "s2")}

    def test_feasible_interval(self):
        lines = next(lines_of(table([[4, 11, 40], [12, 13, 40], [40, 40, 40]])))
        count = np.array([4, 11, 40, 12, 13, 40, 40, 40, 40], dtype=float)
        hidden = np.isin(np.arange(9), [0, 1, 3, 4])
        none = np.zeros(len(lines.margins), dtype=bool)
        assert feasible(lines, count, hidden, none, 0) == pytest.approx((0.0, 15.0))
        assert feasible(lines, count, np.isin(np.arange(9), [0, 1]), none, 0) == pytest.approx((4.0, 4.0))


class TestNestedSegments:
    def rows(self, n):
        base = {"wave": "w", "construct": "c", "measure": "m", "statistic": "role_sd_corrected", "unit": "scale_point",
                "status": "ok", "n_organisations": 50, "estimate": 0.5}  # fmt: skip
        return schema.frame([{**base, "n": 100}, {**base, "n": n, "segment": "act=never"}], schema.ESTIMATES)

    @pytest.mark.parametrize(
        ("n", "status"), [(95, "suppressed"), (91, "suppressed"), (90, "ok"), (60, "ok"), (100, "ok")]
    )
    def test_a_segment_that_lacks_a_few_people_of_the_whole(self, n, status):
        published = publish(self.rows(n), Policy()).set_index("segment")
        assert published.loc["act=never", "status"] == status
        assert published.loc["", "status"] == "ok"


class TestReleases:
    def rows(self, n):
        base = {"wave": "w", "construct": "c", "measure": "m", "statistic": "role_mean", "unit": "scale_point",
                "status": "ok", "n_organisations": 50, "estimate": 3.0}  # fmt: skip
        return schema.frame([{**base, "role": "a", "n": n}, {**base, "role": "b", "n": 60}], schema.ESTIMATES)

    def released(self, n):
        key = {"wave": "w", "construct": "c", "measure": "m", "statistic": "role_mean", "release": "one"}
        return schema.frame(
            [{**key, "role": "a", "n": n, "shown": True}, {**key, "role": "b", "n": 60, "shown": True}], schema.RELEASED
        )

    @pytest.mark.parametrize(
        ("n", "status"), [(50, "ok"), (51, "suppressed"), (59, "suppressed"), (60, "ok"), (45, "suppressed")]
    )
    def test_a_second_release_of_almost_the_same_people(self, n, status):
        published = publish(self.rows(n), Policy(), released=self.released(50)).set_index("role")
        assert published.loc["a", "status"] == status
        assert published.loc["b", "status"] == "ok"


class TestDominance:
    def published(self, largest, two):
        rows = table([[40, 40], [40, 40]])
        key = [name for name in schema.ESTIMATE_KEY if name != "wave"]
        bases = rows[key].assign(
            smallest_n=rows["n"], smallest_organisations=rows["n_organisations"], hits=pd.NA, alike=False, adds_up="", tells="", cell="",
            largest_share=largest, two_largest_share=two, largest_weight=pd.NA,
        )  # fmt: skip
        return publish(rows, Policy(), schema.conform(bases, schema.BASES))

    @pytest.mark.parametrize(
        ("largest", "two", "status"), [(0.2, 0.4, "ok"), (0.35, 0.4, "suppressed"), (0.3, 0.55, "suppressed")]
    )
    def test_one_or_two_organisations(self, largest, two, status):
        assert set(self.published(largest, two)["status"]) == {status}

    def test_the_p_per_cent_rule(self):
        """With looser (n, k) limits out of the way: others carry 2% where the largest carries 49%."""
        assert set(self.published(0.33, 0.49)["status"]) == {"ok"}
        strict = Policy(p_percent=200)
        rows = table([[40, 40], [40, 40]])
        key = [name for name in schema.ESTIMATE_KEY if name != "wave"]
        bases = rows[key].assign(
            smallest_n=rows["n"], smallest_organisations=rows["n_organisations"], hits=pd.NA, alike=False, adds_up="", tells="", cell="",
            largest_share=0.3, two_largest_share=0.45, largest_weight=pd.NA,
        )  # fmt: skip
        published = publish(rows, strict, schema.conform(bases, schema.BASES))
        assert set(published["status"]) == {"suppressed"}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 5), st.floats(3, 30))
def test_nothing_is_recovered_from_random_tables(seed, roles, stages, mean):
    counts = np.random.default_rng(seed).poisson(mean, (roles, stages))
    exact = table(counts)
    published = publish(exact, Policy())
    assert recovered(published, exact) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_protection_adds_nothing_needless(seed):
    """Giving any one complementary cell back would leave some held cell bare."""
    counts = np.random.default_rng(seed).poisson(14, (5, 4))
    lines = next(lines_of(table(np.maximum(counts, 1))))
    count = np.maximum(counts, 1).reshape(-1).astype(float)
    small, none = count < 10, np.zeros(len(lines.margins), dtype=bool)
    added, margins = protect(lines, count, small, none, threshold=10.0)
    for cell in np.flatnonzero(added):
        fewer = (small | added) & (np.arange(len(count)) != cell)
        bare = []
        for each in np.flatnonzero(fewer):
            low, high = feasible(lines, count, fewer, margins, int(each))
            bare.append(high < 10 or high - low < 5)
        assert any(bare)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 4), st.booleans())
def test_what_margins_leave_one_by_one_holds_what_they_leave_together(seed, roles, stages, total):
    """What is called bare without a linear program is bare by the linear program."""
    rng = np.random.default_rng(seed)
    counts = np.maximum(rng.poisson(8, (roles, stages)), 1)
    lines = next(lines_of(table(counts, total=total)))
    count, cells = counts.reshape(-1).astype(float), rng.random(counts.size) < 0.5
    margins = rng.random(len(lines.margins)) < 0.2
    for cell in np.flatnonzero(cells):
        low, high = feasible(lines, count, cells, margins, int(cell))
        least, most = complement._outer(lines, count, cells, margins, int(cell))
        assert least <= low + 1e-6 <= high + 2e-6 <= most + 3e-6
        # What is held later only widens what a cell may be: a safe cell stays safe.
        wider = cells | (rng.random(counts.size) < 0.3)
        lower, higher = feasible(lines, count, wider, margins, int(cell))
        assert lower <= low + 1e-6
        assert higher >= high - 1e-6


def test_the_attacker_does_recover_what_primary_suppression_alone_leaves():
    """The attack must be able to succeed, or its failure says nothing."""
    exact = table([[4, 11, 40], [12, 13, 40], [40, 40, 40]])
    published = exact.copy()
    published.loc[published["n"] < 10, "status"] = "suppressed"
    assert [(row[-4], row[-3]) for row in everything(published, exact)] == [("r0", "s0")]
