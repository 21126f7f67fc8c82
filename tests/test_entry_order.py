"""Order of entry within organisations: pairs against a loop, ties and what has not happened yet, strength, lags, the gate."""

import itertools

import numpy as np
import pandas as pd
import pytest

from fieldwork.constructs.entry_order import estimate, meetings
from fieldwork.constructs.ledger import Ledger
from fieldwork.disclosure import Policy, publish
from fieldwork.statistics.replicates import named_stream
from tests.over_waves import SHIPPED, row, wave, without_organisations

ITEMS = ("ent_2", "ent_3")
ROLES = ("CEO", "CFO", "CTO")


def organisations(n, entries, *, roles=ROLES, seed=1):
    """`n` organisations with an executive of each role; `entries(rng=, role=, stage=)` tells the quarter of an entry."""
    rng = named_stream(seed, "entries")
    rows = []
    for o in range(n):
        for role in roles:
            told = {item: entries(rng=rng, role=role, stage=place) for place, item in enumerate(ITEMS)}
            rows.append({"org_id": f"o{o:03d}", "role": role, **told})
    return pd.DataFrame(rows)


def drawn(*, rng, role, stage):
    late = {"CEO": 2, "CFO": 4, "CTO": 0}[role] + 2 * stage + int(rng.integers(0, 4))
    return "not_yet" if late > 6 else f"{2024 + late // 4}Q{late % 4 + 1}"


def of(given):
    ledger = Ledger(given.design, "2026Q1", "08_movement", "lead_lag")
    estimate(ledger, given.instrument, "ent", ITEMS)
    return ledger.table()


def quarter(text):
    return int(text[:4]) * 4 + int(text[-1]) - 1


def test_pairs_are_those_of_a_loop():
    data = organisations(12, drawn)
    given = wave(data, name="2026Q1", weight=np.linspace(0.5, 1.5, len(data)))
    met = meetings(given.instrument, given.design, ITEMS)
    order = {role: place for place, role in enumerate(met.roles)}
    weight = dict(zip(given.design.responses["resp_id"], given.design.weight, strict=True))
    now = quarter("2026Q1")
    wanted = []
    for _, group in given.design.responses.groupby("org_id"):
        people = sorted(group.to_dict("records"), key=lambda person: order[person["role"]])
        for item, (one, two) in itertools.product(ITEMS, itertools.combinations(people, 2)):
            a, b = one[item], two[item]
            if a == b == "not_yet":
                continue
            if b == "not_yet":
                found = (0, max(now - quarter(a) - 1, 0), np.inf)
            elif a == "not_yet":
                found = (2, -np.inf, -max(now - quarter(b) - 1, 0))
            else:
                gap = quarter(b) - quarter(a)
                found = (1 - np.sign(gap), gap - 1, gap + 1)
            wanted.append(
                (order[one["role"]], order[two["role"]], *found, weight[one["resp_id"]] * weight[two["resp_id"]])
            )
    made = zip(met.first, met.second, met.outcome, met.low, met.high, met.weight, strict=True)
    assert np.array(sorted(made)) == pytest.approx(np.array(sorted(wanted)))
    one = np.arange(len(met.first)) == 3
    assert met.sums(met.outcome, one)[1][0, 5] == pytest.approx(
        met.weight[3]
        * given.design.multiplier[4][met.cluster[3]]
        * (1.0 if met.factor is None else met.factor[5, met.cell[3]])
    )


def test_precedence_is_the_share_that_came_first_ties_half():
    def told(*, role, stage, **_):
        return {"CEO": "2024Q1", "CFO": "2024Q1" if stage else "2024Q3", "CTO": "not_yet"}[role]

    found = of(wave(organisations(20, told)))
    pair = row(found, statistic="precedence", role="CEO", role_2="CFO")
    assert pair["estimate"] == pytest.approx((1 + 0.5) / 2)  # first at one stage, tied at the other
    assert row(found, statistic="precedence", role="CEO", role_2="CTO")["estimate"] == 1.0
    assert (pair["n"], pair["n_organisations"]) == (40, 20)


def test_answers_that_are_missing_make_no_pair():
    data = organisations(20, drawn)
    data.loc[data["role"] == "CFO", list(ITEMS)] = None
    met = meetings(SHIPPED, wave(data).design, ITEMS)
    place = met.roles.index("CFO")
    assert not ((met.first == place) | (met.second == place)).any()


def test_two_executives_are_too_few_for_an_organisation_to_count():
    found = of(wave(organisations(30, drawn, roles=ROLES[:2])))
    reasons = set(found.estimates["reason"])
    assert reasons == {"10 organisations with 3 informants are needed; there are none"}


def test_a_pair_in_few_organisations_is_refused():
    data = pd.concat([organisations(30, drawn), organisations(30, drawn).assign(org_id=lambda d: "x" + d["org_id"])])
    data = data.reset_index(drop=True)
    data.loc[(data["role"] == "CTO") & (data.groupby("role").cumcount() >= 8), "role"] = "CMO"
    found = of(wave(data))
    told = row(found, statistic="precedence", role="CEO", role_2="CTO")
    assert told["reason"] == "10 organisations with both roles are needed; there are fewer than 10"
    assert row(found, statistic="precedence", role="CEO", role_2="CMO")["status"] == "ok"


def test_strength_orders_the_roles_and_sums_to_nil():
    found = of(wave(organisations(80, drawn))).estimates.query("statistic == 'precedence_strength' and status == 'ok'")
    strength = found.set_index("role")["estimate"].astype(float)
    assert strength.sum() == pytest.approx(0, abs=1e-9)
    assert list(strength.sort_values(ascending=False).index) == ["CTO", "CEO", "CFO"]


def test_strength_of_two_roles_is_half_the_log_odds_of_precedence():
    def told(*, rng, role, **_):
        return "not_yet" if role == "CTO" else f"2024Q{int(rng.integers(1, 5))}"

    data = organisations(60, told)
    data.loc[data["role"] == "CTO", list(ITEMS)] = None
    found = of(wave(data))
    share = row(found, statistic="precedence", role="CEO", role_2="CFO")["estimate"]
    strength = row(found, statistic="precedence_strength", role="CEO")["estimate"]
    assert strength == pytest.approx(0.5 * np.log(share / (1 - share)))


def test_a_role_that_never_comes_first_has_no_finite_strength():
    def told(*, rng, role, **_):
        return "not_yet" if role == "CTO" else f"2024Q{int(rng.integers(1, 5))}"

    reason = row(of(wave(organisations(60, told))), statistic="precedence_strength", role="")["reason"]
    assert "no bound on how far some items are apart" in reason


def test_the_lag_is_the_median_of_quarters_behind_colleagues():
    def told(*, role, **_):
        return {"CEO": "2024Q1", "CFO": "2024Q1", "CTO": "2025Q1"}[role]

    found = of(wave(organisations(40, told)))
    lag = row(found, statistic="lag_median", role="CTO")
    assert lag["estimate"] == pytest.approx(4.0)  # between three and five quarters
    assert (lag["conf_low"], lag["conf_high"]) == (3.0, 5.0)
    assert (lag["unit"], lag["method"]) == ("quarter", "turnbull")


def test_a_lag_beyond_all_that_was_seen_is_not_guessed():
    def told(*, role, **_):
        return "not_yet" if role == "CTO" else "2024Q1"

    lag = row(of(wave(organisations(40, told))), statistic="lag_median", role="CTO")
    assert lag["reason"] == "half of the lags are longer than any that was observed"


def test_the_interval_of_the_lag_covers_the_median():
    """A lag that is drawn, not censored: the median of 200 studies lies within its interval in nine of ten or more."""
    hits = 0
    for seed in range(60):

        def told(*, rng, role, **_):
            late = {"CEO": 0, "CFO": 0, "CTO": 3}[role] + int(rng.integers(0, 5))
            return f"{2022 + late // 4}Q{late % 4 + 1}"

        lag = row(of(wave(organisations(40, told, seed=seed), replicates=200)), statistic="lag_median", role="CTO")
        hits += lag["conf_low"] <= 3.0 <= lag["conf_high"]
    assert hits >= 54


@pytest.mark.parametrize(
    ("instrument", "items", "reason"),
    [
        (without_organisations(), ITEMS, "the survey names no organisations"),
        (SHIPPED, (), "the wave does not ask when a stage was entered"),
    ],
)
def test_what_the_design_lacks_is_said(instrument, items, reason):
    data = organisations(20, drawn)
    given = wave(data if instrument is SHIPPED else data.drop(columns="org_id"), instrument=instrument)
    ledger = Ledger(given.design, "2026Q1", "08_movement", "lead_lag")
    estimate(ledger, instrument, "ent", items)
    assert set(ledger.table().estimates["reason"]) == {reason}


def test_the_gate_shows_no_share_of_one_or_two_organisations():
    def told(*, role, **_):
        return {"CEO": "2024Q1", "CFO": "2024Q2", "CTO": "2024Q3"}[role]

    data = organisations(30, told)
    data.loc[(data["org_id"] == "o000") & (data["role"] == "CFO"), list(ITEMS)] = "2023Q1"
    found = of(wave(data))
    published = publish(found.estimates, Policy(), found.bases)
    pair = published.query("statistic == 'precedence' and role == 'CEO' and role_2 == 'CFO'").iloc[0]
    assert pair["status"] == "suppressed"  # one organisation alone has the other order
    assert pd.isna(pair["estimate"])


def test_rows_do_not_depend_on_the_order_of_respondents():
    data = organisations(40, drawn).assign(resp_id=lambda d: [f"r{i:03d}" for i in range(len(d))])
    one, other = of(wave(data)), of(wave(data.sample(frac=1, random_state=4)))
    pd.testing.assert_frame_equal(one.estimates, other.estimates)
