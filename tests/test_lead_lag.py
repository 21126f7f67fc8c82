"""Order of roles and convergence over waves: measures.md 2.3 by hand, refusals, segments, what the gate may show."""

import tomllib

import numpy as np
import pandas as pd
import pytest

from fieldwork.claims import Part
from fieldwork.constructs.convergence import practice_segments
from fieldwork.constructs.lead_lag import estimate_for
from fieldwork.disclosure import Policy, publish
from fieldwork.statistics.convergence import corrected_beta
from fieldwork.statistics.multiplicity import confidence_p
from tests.over_waves import ROOT, SHIPPED, amended, draws, earlier, row, wave, without, without_organisations


def of(*waves, absent=()):
    *before, now = waves
    return estimate_for(now.instrument, now.design, earlier(*before, absent=absent, number=now.number))


def roles(means, *, n=30, spread=(-1, 0, 0, 1), start=0, column="conf", prefix="o", **more):
    """Respondents of roles whose answers have these means, each of an organisation of its own."""
    role = [name for name in means for _ in range(n)]
    values = [mean + step for mean in means.values() for step in np.resize(spread, n)]
    ids = range(start, start + len(role))
    made = {"role": role, column: values, "resp_id": [f"r{i}" for i in ids], "org_id": [f"{prefix}{i}" for i in ids]}
    return made | {name: np.resize(np.asarray(v, dtype=object), len(role)) for name, v in more.items()}


def test_rank_sets_of_four_roles_are_those_of_the_statistics():
    """Two roles that are alike share a tier and ranks 2 and 3; the first and the last are sure."""
    stages = {"CEO": [0, 0, 0, 10, 50], "CFO": [5, 20, 20, 10, 5], "CTO": [5, 20, 21, 10, 4], "CMO": [50, 10, 0, 0, 0]}
    role = [name for name, of_role in stages.items() for _ in range(sum(of_role))]
    stage = [s + 1 for of_role in stages.values() for s, k in enumerate(of_role) for _ in range(k)]
    found = of(wave({"role": role, "stage_fn": stage}))
    sets = {
        name: tuple(row(found, statistic=s, role=name)["estimate"] for s in ("rank_low", "rank_high", "tier"))
        for name in stages
    }
    assert sets == {"CEO": (1, 1, 1), "CFO": (2, 3, 2), "CTO": (2, 3, 2), "CMO": (4, 4, 3)}
    low = row(found, statistic="rank_low", role="CFO")
    assert (low["conf_low"], low["conf_high"], low["conf_level"]) == (2, 3, 0.95)


def test_the_draws_of_a_rank_give_its_adjusted_p_value():
    stages = {"CEO": [0, 0, 0, 10, 50], "CFO": [5, 20, 20, 10, 5], "CMO": [50, 10, 0, 0, 0]}
    role = [name for name, of_role in stages.items() for _ in range(sum(of_role))]
    stage = [s + 1 for of_role in stages.values() for s, k in enumerate(of_role) for _ in range(k)]
    found = of(wave({"role": role, "stage_fn": stage}, replicates=999))
    first = draws(found, statistic="rank_high", role="CEO")
    assert confidence_p(first, 1.5, direction="below") == pytest.approx(0.001)
    assert confidence_p(draws(found, statistic="rank_low", role="CEO"), 1.5) == 1.0  # its best rank is 1 at every level
    assert confidence_p(draws(found, statistic="rank_low", role="CMO"), 2.5) < 0.01


@pytest.mark.parametrize(("n", "status"), [(39, "not_assessable"), (40, "ok")])
def test_a_role_is_ranked_from_forty_respondents_on(n, status):
    made = pd.concat([
        pd.DataFrame({"role": name, "stage_fn": np.resize(stages, k)})
        for name, stages, k in (("CEO", [4, 5, 5], 60), ("CFO", [2, 3, 3], 60), ("CTO", [1, 2], n))
    ])  # fmt: skip
    told = row(of(wave(made.reset_index(drop=True))), statistic="tier", role="CTO")
    assert told["status"] == status


def test_with_few_organisations_ranks_come_from_bonferroni():
    made = pd.DataFrame({
        "role": np.repeat(["CEO", "CFO"], 60), "stage_fn": np.r_[np.resize([4, 5], 60), np.resize([1, 2], 60)],
        "org_id": np.tile(np.repeat([f"o{i}" for i in range(20)], 3), 2),
    })  # fmt: skip
    told = row(of(wave(made)), statistic="rank_low", role="CFO")
    assert told["estimate"] == 2
    assert told["reason"].endswith("fewer than 40 respondents; Bonferroni: few organisations")


def test_one_role_has_no_order():
    told = row(of(wave({"role": ["CEO"] * 60, "stage_fn": np.resize([1, 2, 3], 60)})), statistic="rank_low", role="CEO")
    assert told["reason"] == "no second role to rank it against"


def test_the_worked_example_of_convergence():
    """measures.md 2.3: (4.5, 3, 2) -> (4.6, 3.6, 3.0): SD 1.2583 -> .8083, dlog -.4426, b -.3579."""
    one = roles({"CEO": 4.0, "CFO": 3.0, "CMO": 2.0}, n=40, spread=(0.0,))
    one["conf"] = np.r_[np.resize([4, 5], 40), np.full(40, 3), np.full(40, 2)]
    two = roles({"CEO": 4.0, "CFO": 3.0, "CMO": 2.0}, n=40, start=500, spread=(0.0,))
    two["conf"] = np.r_[np.resize([5, 4, 5, 4, 5], 40), np.resize([4, 3, 4, 3, 4], 40), np.full(40, 3)]
    found = of(wave(one), wave(two, 2))
    told = row(found, measure="conf", statistic="convergence", segment="")
    assert told["estimate"] == pytest.approx(-0.4426, abs=0.005)  # each spread less its noise, nearly nil at 40 a role
    assert row(found, measure="conf", statistic="convergence_beta_raw")["estimate"] == pytest.approx(-0.3579, abs=1e-4)
    assert told["conf_low"] < told["estimate"] < told["conf_high"] < 0


def test_catching_up_is_corrected_for_reliability():
    """measures.md 2.3: b -.3579 is -.2962 at lambda 52/57; here lambda is that of the sample."""
    first, second = {"CEO": 4.0, "CFO": 3.0, "CMO": 2.0}, {"CEO": 4.0, "CFO": 3.4, "CMO": 2.8}
    one = wave(roles(first, n=20), replicates=2000)
    two = wave(roles(second, n=20, start=900, spread=(-1, 0, 0, 1)) | {}, 2, replicates=2000)
    two.design.responses["conf"] = np.round(two.design.responses["conf"]).astype("Int8")
    found = of(one, two)
    raw, beta = (row(found, measure="conf", statistic=s) for s in ("convergence_beta_raw", "convergence_beta"))
    reliability = float(raw["reason"].split("reliability ")[1][:4])
    assert 0.8 < reliability < 1
    assert beta["estimate"] == pytest.approx(corrected_beta(raw["estimate"], reliability), abs=0.01)
    assert corrected_beta(-0.3578947, 52 / 57) == pytest.approx(-0.2962, abs=1e-4)


def test_two_waves_give_a_change_and_no_trend():
    made = roles({"CEO": 4.0, "CFO": 3.0, "CMO": 2.0})
    two = of(wave(made), wave(made, 2))
    assert row(two, measure="conf", statistic="convergence", segment="")["status"] == "ok"
    assert (
        row(two, measure="conf", statistic="convergence_slope")["reason"]
        == "a trend needs three waves; two were delivered"
    )
    three = row(of(wave(made), wave(made, 2), wave(made, 3)), measure="conf", statistic="convergence_slope")
    assert three["status"] == "ok"
    assert three["estimate"] == pytest.approx(0.0)


def test_the_trend_counts_the_wave_that_was_not_delivered():
    means = [{"CEO": 4.0, "CMO": 2.0}, {"CEO": 4.0, "CMO": 3.0}]
    waves = [wave(roles(means[0])), wave(roles(means[1], start=300), 2), wave(roles(means[1], start=600), 3)]
    gap = [wave(roles(means[0])), wave(roles(means[1], start=300), 3), wave(roles(means[1], start=600), 4)]
    slope = row(of(*waves), measure="conf", statistic="convergence_slope")
    wider = row(of(*gap, absent=["w2"]), measure="conf", statistic="convergence_slope")
    log = np.log(row(of(*waves), measure="conf", statistic="convergence", segment="")["estimate"] * -1)
    assert np.isfinite(log)
    assert slope["estimate"] / wider["estimate"] == pytest.approx(
        np.polyfit([1, 2, 3], [0, -1, -1], 1)[0] / np.polyfit([1, 3, 4], [0, -1, -1], 1)[0], rel=0.01
    )
    assert "no delivery of w2" in wider["reason"]


def test_a_gap_between_two_roles_changes_by_the_difference_of_their_changes():
    one, two = roles({"CEO": 4.0, "CTO": 3.0, "CMO": 2.0}), roles({"CEO": 4.0, "CTO": 4.0, "CMO": 2.0}, start=900)
    found = of(wave(one), wave(two, 2))
    told = row(found, measure="conf", statistic="gap_change", role="CTO", role_2="CMO", segment="")
    assert told["estimate"] == pytest.approx(1.0)
    assert row(found, measure="conf", statistic="gap_change", role="CEO", role_2="CTO", segment="")[
        "estimate"
    ] == pytest.approx(-1.0)


def practised(means_never, means_other, *, start=0):
    """Half of the executives are of organisations that never work on alignment."""
    parts = [
        roles(means, start=start + 1000 * k, prefix=f"{'never' if k == 0 else 'more'}", act_align=[code])
        for k, (means, code) in enumerate(((means_never, 0), (means_other, 3)))
    ]
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)


def test_organisations_without_alignment_work_are_told_apart():
    apart, close = {"CEO": 4.0, "CTO": 3.0, "CMO": 2.0}, {"CEO": 4.0, "CTO": 4.0, "CMO": 3.0}
    one, two = practised(close, close), practised(apart, close, start=5000)
    found = of(wave(one), wave(two, 2))
    never = row(found, measure="conf", statistic="convergence", segment="act_align=never")
    other = row(found, measure="conf", statistic="convergence", segment="act_align=more than never")
    assert never["conf_low"] > 0
    assert other["conf_low"] < 0 < other["conf_high"]
    difference = row(found, measure="conf", statistic="convergence_difference")
    assert difference["estimate"] == pytest.approx(never["estimate"] - other["estimate"])
    d, n, o = (draws(found, measure="conf", **key) for key in (
        {"statistic": "convergence_difference"}, {"statistic": "convergence", "segment": "act_align=never"},
        {"statistic": "convergence", "segment": "act_align=more than never"},
    ))  # fmt: skip
    assert d == pytest.approx(n - o)
    gap = row(found, measure="conf", statistic="gap_change", role="CEO", role_2="CMO", segment="act_align=never")
    assert gap["estimate"] == pytest.approx(1.0)


def test_an_organisation_is_without_alignment_work_where_most_of_its_executives_say_never():
    told = wave({"role": ["CEO", "CFO", "CMO"] * 2 + ["CEO"], "org_id": ["a"] * 3 + ["b"] * 3 + ["c"],
                 "act_align": pd.array([0, 0, 4, 0, 2, 4, None], dtype="Int8")})  # fmt: skip
    without_work, working, never = practice_segments(told)
    place = told.design.responses["org_id"].to_numpy()
    assert sorted(set(place[without_work])) == ["a"]
    assert sorted(set(place[working])) == ["b"]
    assert never == "never"


def test_a_segment_that_is_too_thin_is_refused_and_the_difference_with_it():
    made = roles({"CEO": 4.0, "CMO": 2.0}, act_align=[0] + [2] * 9)
    found = of(wave(made), wave(made, 2))
    assert row(found, measure="conf", statistic="convergence", segment="act_align=never")["status"] == "not_assessable"
    told = row(found, measure="conf", statistic="convergence_difference")
    assert told["reason"] == "the spread of one of the two groups of organisations is not assessable"


@pytest.mark.parametrize(
    ("amendment", "told"),
    [
        ('[items.conf.waves."2026Q2"]\nversion = "2"\n', "wording changed (version 1 to 2) between w1 and w2"),
        ('[items.conf.waves."2026Q2"]\ncomparable = false\nnote = "by phone"\n', "not comparable from w2 on: by phone"),
        ('[items.role.waves."2026Q2"]\ncomparable = false\n', "the question on the role: not comparable from w2 on"),
    ],
)
def test_a_question_that_changed_breaks_the_trend_and_says_so(tmp_path, amendment, told):
    made = roles({"CEO": 4.0, "CMO": 2.0})
    found = of(wave(made), wave(made, 2, instrument=amended(tmp_path, amendment)))
    for statistic in ("convergence", "convergence_beta", "rank_stability", "gap_change"):
        refused = row(found, measure="conf", statistic=statistic)
        assert (refused["status"], refused["reason"]) == ("not_assessable", told)
    elsewhere = set(found.estimates.query("measure == 'prep' and statistic == 'convergence'")["reason"])
    assert any("question on the role" in reason for reason in elsewhere) == ("role" in amendment)


def test_a_role_that_was_split_is_followed_as_the_wider_one(tmp_path):
    newer = amended(
        tmp_path, '[[roles]]\ncode = 20\nid = "CXO"\nlabel = "Chief Experience Officer"\nsplit_from = "CIO"\n'
    )
    one = roles({"CEO": 4.0, "CIO": 3.0, "CMO": 2.0}, n=40)
    two = roles({"CEO": 4.0, "CIO": 2.0, "CXO": 4.0, "CMO": 2.0}, n=40, start=900)
    found = of(wave(one), wave(two, 2, instrument=newer))
    told = row(found, measure="conf", statistic="gap_change", role="CEO", role_2="CIO", segment="")
    assert told["estimate"] == pytest.approx(0.0)  # both halves of the old role together did not move
    assert "with Chief Experience Officer, which was part of it before w2" in told["reason"]
    assert "CXO" not in set(found.estimates.query("statistic == 'gap_change'")["role"])


def test_the_first_wave_says_what_change_would_need():
    found = of(wave(roles({"CEO": 4.0, "CMO": 2.0})))
    for statistic in ("convergence", "convergence_slope", "convergence_beta", "gap_change", "convergence_difference"):
        assert (
            row(found, measure="conf", statistic=statistic)["reason"]
            == "2 waves are needed; 1 was delivered up to this one"
        )


def test_a_spread_of_nil_gives_an_open_interval_and_says_so():
    flat = roles({"CEO": 3.0, "CFO": 3.0, "CMO": 3.0})
    told = row(of(wave(flat), wave(roles({"CEO": 4.0, "CFO": 3.0, "CMO": 2.0}, start=700), 2)), measure="conf",
               statistic="convergence", segment="")  # fmt: skip
    assert told["status"] == "flagged"
    assert pd.isna(told["estimate"])
    assert "the spread of a wave is no larger than noise" in told["reason"]
    assert told["conf_low"] > 0  # it has grown, by how much at most nobody can say


def test_a_survey_without_roles_stages_or_organisations_is_no_crash():
    made = roles({"CEO": 4.0, "CMO": 2.0})
    for keys in ({"role": ""}, {"stage": ""}, {"organisation": ""}):
        instrument = without(SHIPPED, **keys)
        data = {k: v for k, v in made.items() if k != "org_id"} if "organisation" in keys else made
        found = of(wave(data, instrument=instrument), wave(data, 2, instrument=instrument))
        assert len(found.estimates) > 5
    unnamed = of(wave({k: v for k, v in made.items() if k != "org_id"}, instrument=without_organisations()))
    assert row(unnamed, statistic="precedence")["reason"] == "the survey names no organisations"


def test_rows_do_not_depend_on_the_order_of_respondents():
    made = pd.DataFrame(roles({"CEO": 4.0, "CFO": 3.0, "CMO": 2.0}, n=45))
    made["stage_fn"] = np.resize([1, 2, 3, 4, 5, 5], len(made))
    two = made.assign(conf=made["conf"].to_numpy()[::-1])
    one = of(wave(made), wave(two, 2))
    other = of(wave(made.sample(frac=1, random_state=1)), wave(two.sample(frac=1, random_state=2), 2))
    pd.testing.assert_frame_equal(one.estimates, other.estimates)


def test_the_gate_holds_back_what_rests_on_few():
    made = roles({"CEO": 4.0, "CFO": 3.0, "CMO": 2.0}, n=25)
    two = pd.DataFrame(roles({"CEO": 4.0, "CFO": 3.0, "CMO": 2.0}, n=25, start=800))
    two = two[~((two["role"] == "CMO") & (two.index % 3 > 0))]
    found = of(wave(made), wave(two.reset_index(drop=True), 2))
    published = publish(found.estimates, Policy(), found.bases)
    gaps = published.query(
        "statistic == 'gap_change' and measure == 'conf' and segment == '' and status == 'not_assessable'"
    )
    assert set(gaps["role_2"]) == {"CMO"} | set(gaps["role_2"]) - {"CEO", "CFO"}
    assert gaps["estimate"].isna().all()
    assert gaps["n"].isna().all()
    told = row(found, measure="conf", statistic="convergence", segment="")
    assert (told["n"], told["n_organisations"]) == (50, 50)
    behind = found.bases.query("statistic == 'convergence' and measure == 'conf' and segment == ''")["smallest_n"]
    assert behind.tolist() == [25]  # the thin role is not in the spread at all


def test_the_parts_of_the_register_are_among_the_rows():
    made = pd.DataFrame(roles({"CTO": 4.0, "CMO": 2.0, "CFO": 3.0, "CHRO": 3.0, "GC": 2.0}, n=45, act_align=[0, 3]))
    made["stage_fn"] = np.resize([1, 2, 3, 4, 5, 5], len(made))
    found = of(wave(made), wave(made, 2), wave(made, 3)).estimates
    keys = {tuple(key) for key in found[["measure", "statistic", "role", "role_2", "segment"]].itertuples(index=False)}
    for claim in ("H10", "H25"):
        for part in parts(claim):
            if part.measure != "ent":  # within organisations: one informant each says nothing, in one row
                assert (part.measure, part.statistic, part.role, part.role_2, part.segment) in keys, part.label


@pytest.mark.parametrize("read", [{"rank_low"}, {"precedence"}, {"gap_change"}])
def test_what_is_read_alone_is_what_the_whole_says(read):
    made = pd.DataFrame(roles({"CTO": 4.0, "CMO": 2.0, "CFO": 3.0}, n=45))
    made["stage_fn"] = np.resize([1, 2, 3, 4, 5, 5], len(made))
    now = wave(made)
    whole = estimate_for(now.instrument, now.design).estimates
    alone = estimate_for(now.instrument, now.design, read=read).estimates
    pd.testing.assert_frame_equal(alone, whole[whole["statistic"].isin(set(alone["statistic"]))].reset_index(drop=True))
    assert read <= set(alone["statistic"])
    assert len(alone) < len(whole)


def parts(claim):
    register = tomllib.loads((ROOT / "instruments" / "claims.toml").read_text(encoding="utf-8"))
    entry = next(each for each in register["claim"] if each["id"] == claim)
    return [Part.model_validate(part) for part in entry["parts"]]
