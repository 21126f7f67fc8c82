"""Answers given together: against counts, and what all pairs tell of three answers, by linear programs over whole answer sets."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from fieldwork.constructs.blockers import estimate
from fieldwork.disclosure import WITH_IT, Policy, publish
from tests.attacker import SHOWN
from tests.test_blockers import design_of, multi, one

OPTIONS = ("cost", "data", "law", "skill", "none")


def drawn(seed, n, *, tilt=0.0, cap=None):
    """Answer sets that hang together: who cites one tends to cite more; nobody gives more than the cap."""
    rng = np.random.default_rng(seed)
    level = rng.normal(-0.4, 1.0, n)[:, None] + tilt * np.arange(4)
    ticks = (rng.logistic(size=(n, 4)) < level).astype(float)
    if cap:
        for row in ticks:
            given_ = np.flatnonzero(row)
            row[rng.permutation(given_)[cap:]] = 0.0
    none = (ticks.sum(axis=1) == 0) & (rng.uniform(size=n) < 0.8)
    columns = {f"b_{name}": ticks[:, k] for k, name in enumerate(OPTIONS[:4])} | {"b_none": none.astype(float)}
    return pd.DataFrame({"org_id": [f"o{i // 2}" for i in range(n)], **columns})


def made(data, *, cap=None, weight=None):
    design = design_of(data, replicates=40, weight=weight)
    return estimate(design, [multi(design, OPTIONS, exclusive=("none",), cap=cap)], wave="2026Q1")


def test_shares_of_pairs_are_weighted_counts_of_those_who_answered():
    data = drawn(3, 400)
    data.loc[:19, [f"b_{name}" for name in OPTIONS]] = np.nan
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(data))
    table = made(data, weight=weight).estimates
    mine = data["b_cost"].notna()
    for first, second in itertools.combinations(OPTIONS[:4], 2):
        both = (data[f"b_{first}"] == 1) & (data[f"b_{second}"] == 1)
        row = one(table, "cited_together", item=f"{first}+{second}")
        assert float(row["estimate"]) == pytest.approx(weight[both].sum() / weight[mine].sum())
        assert int(row["n"]) == 380
        assert row["conf_low"] < row["estimate"] < row["conf_high"]
    assert not table.loc[table["statistic"] == "cited_together", "item"].str.contains("none").any()


def test_a_pair_is_held_to_the_standard_of_single_answers():
    """Sixty respondents: the interval of a share near a tenth is too wide for its size, of one answer and of two."""
    table = made(drawn(3, 60)).estimates
    wide = table[table["conf_high"].astype(float) - table["conf_low"].astype(float) > 0.15]
    wide = wide[wide["statistic"].isin(["cited_together", "prevalence"]) & (wide["estimate"].astype(float) < 0.15)]
    assert {"cited_together"} <= set(wide["statistic"])
    assert set(wide["status"]) == {"flagged"}
    assert wide["reason"].str.contains("imprecise").all()


def test_a_pair_rests_on_the_thinnest_of_the_groups_that_it_makes():
    data = drawn(3, 400)
    bases = made(data).bases
    for first, second in itertools.combinations(OPTIONS[:4], 2):
        counts = data.groupby([f"b_{first}", f"b_{second}"]).size()
        row = bases[(bases["statistic"] == "cited_together") & (bases["item"] == f"{first}+{second}")].iloc[0]
        assert int(row["smallest_n"]) == counts.min()
        assert int(row["hits"]) == counts[1.0, 1.0]


def test_of_a_capped_question_a_pair_rests_on_those_who_gave_fewer_too():
    """With two answers at most, all pairs of an answer tell how many gave it alone."""
    data = drawn(5, 400, tilt=0.5, cap=2)
    given_ = data[[f"b_{name}" for name in OPTIONS[:4]]].sum(axis=1)
    bases = made(data, cap=2).bases
    row = bases[(bases["statistic"] == "cited_together") & (bases["item"] == "law+skill")].iloc[0]
    alone = [int(((data[f"b_{name}"] == 1) & (given_ == 1)).sum()) for name in ("law", "skill")]
    groups = data.groupby(["b_law", "b_skill"]).size()
    assert int(row["smallest_n"]) == min([*alone, *groups])
    assert min(alone) < groups.min()


def told_by_pairs(data, published, **more):
    """Small groups that the shown pairs tell and the shares of single answers do not."""
    alone = published[published["statistic"] != "cited_together"]
    before = {group[:2] for group in known_groups(data, alone, **more)}
    return [group for group in known_groups(data, published, **more) if group[:2] not in before]


def known_groups(data, published, *, cap=None, least=10):
    """Groups of three answers, given or not, and of the shown pairs, that are known to be few, and how few.

    The unknowns are how many gave each whole set of answers; single shares are known whether they are shown or not.
    """
    sets = [each for each in itertools.product((0, 1), repeat=4) if not cap or sum(each) <= cap]
    answers = data[[f"b_{name}" for name in OPTIONS[:4]]].to_numpy(dtype=int)
    rows, right = [[1.0] * len(sets)], [len(data)]
    for k in range(4):
        rows.append([float(each[k]) for each in sets])
        right.append(int(answers[:, k].sum()))
    shown = published[(published["statistic"] == "cited_together") & published["status"].isin(SHOWN)]
    for item in shown["item"]:
        one_, two = (OPTIONS.index(part) for part in item.split("+"))
        rows.append([float(each[one_] * each[two]) for each in sets])
        right.append(int((answers[:, one_] * answers[:, two]).sum()))
    found = []
    # Numbers that are possible; a group that is many by one of them, or open between two, needs no solving.
    possible = [np.array([(answers == each).all(axis=1).sum() for each in sets], dtype=float)]
    for size in (2, 3):
        for which in itertools.combinations(range(4), size):
            if size == 2 and "+".join(OPTIONS[k] for k in which) not in set(shown["item"]):
                continue
            for want in itertools.product((0, 1), repeat=size):
                aim = np.array([float(all(each[k] == w for k, w in zip(which, want, strict=True))) for each in sets])
                if not aim.any():
                    continue
                reached = np.array(possible) @ aim
                if reached.max() >= least or np.ptp(reached) >= least / 2:
                    continue
                solved = [linprog(sign * aim, A_eq=np.array(rows), b_eq=right, method="highs") for sign in (1, -1)]
                possible += [each.x for each in solved if each.status == 0]
                low, high = solved[0].fun, -solved[1].fun
                if high < least and high - low < least / 2 and high > 0.5:
                    found.append((which, want, round(low, 2), round(high, 2)))
    return found


FEW_TOLD = (8, 90, 0.6)


@example(*FEW_TOLD)
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100_000), st.integers(40, 400), st.sampled_from([-0.6, 0.0, 0.6]))
def test_pairs_tell_no_small_group_of_three_answers(seed, n, tilt):
    data = drawn(seed, n, tilt=tilt)
    table = made(data)
    published = publish(table.estimates, Policy(), table.bases)
    assert told_by_pairs(data, published) == []


@pytest.mark.parametrize("seed", range(6))
def test_nor_do_those_of_a_capped_question(seed):
    data = drawn(seed, 200, tilt=0.4, cap=3)
    table = made(data, cap=3)
    published = publish(table.estimates, Policy(), table.bases)
    assert told_by_pairs(data, published, cap=3) == []


def test_the_attack_does_find_the_groups_that_all_pairs_would_tell():
    seed, n, tilt = FEW_TOLD
    data = drawn(seed, n, tilt=tilt)
    table = made(data)
    everything = table.estimates.assign(status="ok")
    assert told_by_pairs(data, everything)
    held = publish(table.estimates, Policy(), table.bases)
    pairs = held[held["statistic"] == "cited_together"]["status"]
    assert "suppressed" in set(pairs)


def test_a_pair_goes_for_what_three_would_tell_though_each_rests_on_enough():
    """Nearly everyone cites one or two of three: who cites all, and who cites none, are together three people."""
    counts = dict.fromkeys(itertools.product((0, 1), repeat=3), 15) | {(1, 1, 1): 1, (0, 0, 0): 2}
    rows = [each for each, many in counts.items() for _ in range(many)]
    data = pd.DataFrame(rows, columns=["b_cost", "b_data", "b_law"]).astype(float)
    data = data.assign(org_id=[f"o{i // 2}" for i in range(len(data))])
    design = design_of(data, replicates=20)
    table = estimate(design, [multi(design, OPTIONS[:3])], wave="2026Q1")
    fewest = table.bases.loc[table.bases["statistic"] == "cited_together", "smallest_n"]
    assert fewest.min() >= 10
    published = publish(table.estimates, Policy(), table.bases)
    pairs = published[published["statistic"] == "cited_together"]
    assert "suppressed" in set(pairs["status"])
    assert set(pairs["status"]) & set(SHOWN)
    assert set(pairs.loc[pairs["status"] == "suppressed", "reason"]) == {WITH_IT}
    assert pairs["status"].eq("suppressed").sum() == 1
