"""Shares of answers: against plain weighted counts, in a known world, left out where they say who answered, and attacked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldwork.constructs import adoption_gradient, answers, readiness
from fieldwork.constructs.cells import design_for
from fieldwork.constructs.ledger import Estimates
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument, Item
from fieldwork.instrument.bands import bands
from fieldwork.site.topline import DESCRIPTIVE, _tables
from fieldwork.weight import Margins
from tests.attack import row_by_row
from tests.attacker import SHOWN, jointly, pinned
from tests.toys import ordinal, small

QUESTIONS = """
[[stages]]
code = 1
id = "early"
label = "Early"

[[stages]]
code = 2
id = "late"
label = "Late"

[items.stage]
kind = "ordinal"
scale = "stages"
label = "Stage"
constructs = ["sample"]

[items.sector]
kind = "single"
label = "Sector"
options = [{ code = 1, id = "bank", label = "Bank" }, { code = 2, id = "shop", label = "Shop" }, { code = 3, id = "mill", label = "Mill" }]
constructs = ["sample"]

[items.pilot]
kind = "flag"
label = "Pilot"
constructs = ["practices"]
"""
QUESTIONS += ordinal("conf", "Confidence", "adoption_gradient")
QUESTIONS += ordinal("prep", "Preparedness", "adoption_gradient", "readiness")
QUESTIONS += ordinal("asked_of_one", "Asked of the first role", "practices", more='asked_of = ["a"]\n')
QUESTIONS += ordinal("salary", "Salary", "practices", more="restricted = true\n")
KEYS = 'role = "role"\n'


@pytest.fixture(scope="module")
def instrument(tmp_path_factory):
    path = Path(tmp_path_factory.mktemp("instrument")) / "small.toml"
    text = small(a="First", b="Second", c="Third").replace(KEYS, KEYS + 'stage = "stage"\nadjust_for = ["sector"]\n')
    path.write_text(text + QUESTIONS, encoding="utf-8")
    return Instrument.load(path, "2026Q1")


def answered(seed, *, organisations=40, silent=0.1, size=3, tilt=1.0):
    """Answers of `size` people of each organisation; a question is left out by some, a role or a stage is not told by some."""
    rng = np.random.default_rng(seed)
    org = np.repeat(np.arange(organisations), size)
    n = len(org)
    level = 3.0 + 0.7 * rng.standard_normal(organisations)[org]

    def scale(own=0.0):
        given_ = np.clip(np.round(level + own + tilt * rng.standard_normal(n)), 1, 5)
        return np.where(rng.uniform(size=n) < silent, np.nan, given_)

    role = rng.choice(["a", "b", "c"], n, p=[0.5, 0.35, 0.15]).astype(object)
    role[rng.uniform(size=n) < silent / 4] = None
    one = scale()
    one[role != "a"] = np.nan
    return pd.DataFrame(
        {
            "resp_id": [f"r{i:05d}" for i in range(n)],
            "org_id": [f"o{i:04d}" for i in org],
            "role": role,
            "stage": np.where(rng.uniform(size=n) < silent / 4, np.nan, rng.choice([1.0, 2.0], n, p=[0.6, 0.4])),
            "sector": rng.choice(["bank", "shop", "mill"], n, p=[0.6, 0.38, 0.02]),
            "conf": scale(),
            "prep": scale(0.3),
            "asked_of_one": one,
            "pilot": rng.choice([0.0, 1.0], n),
            "salary": scale(),
        }
    )


def design_of(instrument, data, *, weight=None, replicates=100):
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0 if weight is None else weight})
    return design_for(instrument, data, weights, Margins(()), replicates=replicates, seed=1)


# ------------------------------------------------------------------------------------------------------------- bands


def scale_of(points):
    options = tuple({"code": k, "id": f"p{k}", "label": f"point {k}"} for k in range(1, points + 1))
    return Item(name="q", kind="ordinal", label="Question", options=options)


@pytest.mark.parametrize(
    ("points", "names"),
    [
        (2, ["p1", "p2"]),
        (3, ["p1", "p2+p3"]),
        (4, ["p1+p2", "p3+p4"]),
        (5, ["p1+p2", "p3", "p4+p5"]),
        (7, ["p1+p2", "p3+p4+p5", "p6+p7"]),
    ],
)
def test_bands_are_the_top_two_the_bottom_and_what_is_between(points, names):
    found = bands(scale_of(points))
    assert [band.name for band in found] == names
    assert sorted(place for band in found for place in band.places) == list(range(points))


# ----------------------------------------------------------------------------------------------- worked, beside pandas


@pytest.fixture(scope="module")
def weighted():
    data = answered(3, organisations=120)
    return data, np.random.default_rng(5).uniform(0.5, 2.0, len(data))


@pytest.fixture(scope="module")
def made(instrument, weighted):
    data, weight = weighted
    return answers.estimate_for(instrument, design_of(instrument, data, weight=weight))


def shares_of(data, weight, name):
    """Weighted share of each answer among those who answered."""
    mine = data[name].notna().to_numpy()
    return pd.Series(weight[mine]).groupby(data[name][mine].to_numpy()).sum() / weight[mine].sum()


def rows_of(made, measure, **place):
    rows = made.estimates[made.estimates["measure"] == measure]
    for name in ("role", "stage"):
        rows = rows[rows[name] == place.get(name, "")]
    return rows.set_index("item")


@pytest.mark.parametrize("measure", ["conf", "prep", "asked_of_one"])
def test_shares_are_the_weighted_counts_of_those_who_answered(made, weighted, measure):
    data, weight = weighted
    expected = shares_of(data, weight, measure)
    found = rows_of(made, measure)
    for point, value in expected.items():
        row = found.loc[str(int(point))]
        assert float(row["estimate"]) == pytest.approx(value, abs=1e-12)
        assert int(row["n"]) == data[measure].notna().sum()
        assert row["conf_low"] <= row["estimate"] <= row["conf_high"]
    assert sum(found.loc[[str(k) for k in range(1, 6)], "estimate"]) == pytest.approx(1.0)


@pytest.mark.parametrize(("key", "value", "label"), [("role", "a", "a"), ("role", "c", "c"), ("stage", 2.0, "late")])
def test_bands_of_a_group_are_its_weighted_counts(made, weighted, key, value, label):
    data, weight = weighted
    mine = (data[key] == value).to_numpy()
    expected = shares_of(data[mine], weight[mine], "conf")
    found = rows_of(made, "conf", **{key: label})
    assert found["estimate"].astype(float).to_dict() == pytest.approx(
        {"1+2": expected[[1.0, 2.0]].sum(), "3": expected[3.0], "4+5": expected[[4.0, 5.0]].sum()}
    )
    assert set(found["n"]) == {data.loc[mine, "conf"].notna().sum()}


def test_the_overview_counts_what_is_estimated_and_tells_none_of_it(instrument, made):
    listing = answers.overview(instrument, made).set_index("question")
    assert listing.loc["Confidence"].to_dict() == {"answers": 5, "over all": 7, "by role": 9, "by stage": 6}
    assert listing.loc["Preparedness"].to_dict() == {"answers": 5, "over all": 7, "by role": 6, "by stage": 6}
    assert listing.loc["Pilot"].to_dict() == {"answers": 2, "over all": 1, "by role": 0, "by stage": 0}
    assert "Salary" not in listing.index
    assert listing.drop(columns="answers").to_numpy().sum() == len(made.estimates)


def test_of_a_yes_no_question_yes_alone_is_told(made, weighted):
    data, weight = weighted
    found = rows_of(made, "pilot")
    assert len(found) == 1
    assert float(found["estimate"].iloc[0]) == pytest.approx(shares_of(data, weight, "pilot")[1.0])


def test_what_is_asked_of_some_has_no_rows_by_role_and_what_is_restricted_none(made):
    table = made.estimates
    of_some = table[table["measure"] == "asked_of_one"]
    assert set(of_some["role"]) == set(of_some["stage"]) == {""}
    assert "salary" not in set(table["measure"])


def test_an_answer_about_oneself_is_a_group_of_people_of_its_own_size(made, weighted):
    """Nobody is asked `n` of a sector: the mill's few are the people, however many answered the question."""
    data, _ = weighted
    few = int((data["sector"] == "mill").sum())
    bases = made.bases[made.bases["measure"] == "sector"].set_index("item")
    assert int(bases.loc["mill", "smallest_n"]) == few
    assert int(made.bases[made.bases["measure"] == "conf"]["smallest_n"].max()) > few


def test_nobody_who_answered_is_said_so(instrument):
    data = answered(1).assign(conf=np.nan)
    row = rows_of(answers.estimate_for(instrument, design_of(instrument, data)), "conf")
    assert row["status"].tolist() == ["not_assessable"]
    assert row["reason"].tolist() == ["nobody was asked, or nobody answered"]


def test_a_small_group_says_so(instrument):
    found = rows_of(
        answers.estimate_for(instrument, design_of(instrument, answered(1, organisations=20))), "conf", role="c"
    )
    assert set(found["status"]) == {"flagged"}
    assert found["reason"].str.contains("fewer than 30").all()


def test_the_top_band_of_a_role_stands_once_in_the_two_constructs(instrument, weighted):
    """`ready_share` is the share of the top two points: one key for the gate, one row in the tables."""
    data, weight = weighted
    design = design_of(instrument, data, weight=weight)
    ready = readiness.estimate_for(instrument, design, ())
    told = ready.estimates[ready.estimates["statistic"] == "ready_share"].set_index("role")
    assert set(rows_of(answers.estimate_for(instrument, design), "prep", role="a").index) == {"1+2", "3"}
    shares = shares_of(data[data["role"] == "a"], weight[(data["role"] == "a").to_numpy()], "prep")
    assert float(told.loc["a", "estimate"]) == pytest.approx(shares[[4.0, 5.0]].sum())
    bases = ready.bases[ready.bases["statistic"] == "ready_share"]
    assert set(bases["cell"]) == {"4+5"}


def test_what_others_say_of_a_role_leaves_its_holders_out(tmp_path):
    """A question with a line for each role: the role's own answer about itself is in no share."""
    text = small(a="First", b="Second") + (
        '\n[items.sway]\nkind = "ordinal"\nscale = "five"\nlabel = "Sway of {label}"\nrepeat = "roles"\n'
        'constructs = ["influence"]\n'
    )
    path = tmp_path / "small.toml"
    path.write_text(text, encoding="utf-8")
    instrument = Instrument.load(path, "2026Q1")
    n = 120
    role = np.tile(["a", "b"], n // 2)
    data = pd.DataFrame(
        {
            "resp_id": [f"r{i}" for i in range(n)], "org_id": [f"o{i // 2}" for i in range(n)], "role": role,
            "sway_a": np.where(role == "a", 5.0, 2.0), "sway_b": np.where(role == "b", 5.0, 3.0),
        }
    )  # fmt: skip
    found = rows_of(answers.estimate_for(instrument, design_of(instrument, data)), "sway_a")
    assert found["estimate"].astype(float).to_dict() == pytest.approx({"1": 0, "2": 1, "3": 0, "4": 0, "5": 0})
    assert set(found["n"]) == {n // 2}


def test_intervals_hold_the_share_of_the_population(instrument):
    """300 studies of 40 organisations whose answers go together: 95% intervals of the middle hold it in 92% of them or more."""
    big = answered(999, organisations=60_000, silent=0.0)["conf"]
    truth = {"all": (big == 3).mean(), "top": (big >= 4).mean()}
    hits = dict.fromkeys(truth, 0)
    for seed in range(300):
        made = answers.estimate_for(instrument, design_of(instrument, answered(seed), replicates=60))
        rows = {"all": rows_of(made, "conf").loc["3"], "top": rows_of(made, "conf", stage="early").loc["4+5"]}
        for name, row in rows.items():
            hits[name] += bool(row["conf_low"] <= truth[name] <= row["conf_high"])
    assert min(hits.values()) >= 0.92 * 300


# ----------------------------------------------------------------------------------------------------- in the topline


def test_the_topline_tells_every_answer_and_each_roles_bands_with_its_top_once(instrument, weighted):
    """The top two points of a role come from the chapter on readiness and stand in the role's row, not in a table of their own."""
    data, weight = weighted
    design = design_of(instrument, data, weight=weight)
    made = Estimates.joined([readiness.estimate_for(instrument, design, ()), answers.estimate_for(instrument, design)])
    published = publish(made.estimates, Policy(), made.bases)
    rows = published[published["measure"].eq("prep") & published["statistic"].isin(DESCRIPTIVE)]
    material = SimpleNamespace(instrument=instrument)
    every, by_role, by_stage = _tables(material, "Preparedness", rows)
    assert [row[0].text for row in every.rows] == ["1", "2", "3", "4", "5"]
    assert [column.label for column in by_role.columns] == ["Role", "1 or 2", "3", "4 or 5", "n, at least"]
    assert [row[0].text for row in by_role.rows] == ["First", "Second", "Third"]
    ready = published[(published["statistic"] == "ready_share") & (published["role"] == "a")]["estimate"].iloc[0]
    assert by_role.rows[0][3].text == f"{100 * ready:.0f}%"
    assert [row[0].text for row in by_stage.rows] == ["Early", "Late"]


# ---------------------------------------------------------------------------------------------------------- attacked


def all_of(instrument, data):
    """Everything that stands on the same answers: shares, bands, ready shares, and means by role, stage and cell."""
    design = design_of(instrument, data, replicates=20)
    return Estimates.joined(
        [
            adoption_gradient.estimate_for(instrument, design),
            readiness.estimate_for(instrument, design, ()),
            answers.estimate_for(instrument, design),
        ]
    )


LOST_BY_LOOKING_AT_ROWS_ALONE = (0, 40, 0.1, 1.0)


@example(*LOST_BY_LOOKING_AT_ROWS_ALONE)
@example(97_690, 17, 0.1, 0.3)  # an ordered question put to one role: no bands, and no sums of them
@example(100, 18, 0.4, 0.3)  # a role none of whose people named a stage
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 100_000), st.integers(8, 80), st.sampled_from([0.0, 0.1, 0.4]), st.sampled_from([0.3, 1.0]))
def test_nothing_held_back_comes_out_of_the_shares(instrument, seed, organisations, silent, tilt):
    made = all_of(instrument, answered(seed, organisations=organisations, silent=silent, tilt=tilt))
    published = publish(made.estimates, Policy(), made.bases)
    bases = made.bases.assign(wave="2026Q1")
    assert jointly(published, made.estimates, bases) == []
    assert pinned(published, made.estimates, bases) == []
    assert_answers_give_way(made, published)


def assert_answers_give_way(made, published):
    """What else is shown is what would be shown without the answers."""
    without = made.estimates["statistic"] != "answer_share"
    alone = publish(made.estimates[without].reset_index(drop=True), Policy(), made.bases)
    beside = published[published["statistic"] != "answer_share"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, beside)


def test_the_attack_does_get_what_a_gate_that_looks_at_each_row_leaves(instrument):
    seed, organisations, silent, tilt = LOST_BY_LOOKING_AT_ROWS_ALONE
    made = all_of(instrument, answered(seed, organisations=organisations, silent=silent, tilt=tilt))
    published = publish(made.estimates, Policy(), made.bases)
    bare = row_by_row(published)
    lost = jointly(bare, made.estimates, made.bases.assign(wave="2026Q1"))
    assert {row[4] for row in lost} & {"answer_share", "ready_share"}
    shown = published[published["statistic"].eq("answer_share")]["status"].isin(SHOWN)
    assert 0 < shown.sum() < len(shown)
