"""Verdicts: the decision rule, the family, the margins, and what the register must refuse."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fieldwork import schema
from fieldwork.claims import KEY, External, Register, Survey, against_margins, amended, judge, record_of
from fieldwork.disclosure import Policy, publish
from fieldwork.errors import ClaimError
from fieldwork.findings import checked, compose, marked, sentence
from fieldwork.statistics.proportion import korn_graubard
from fieldwork.tables import facts_table, findings_table

HEAD = """
[register]
version = "t"
family_primary = {family}
"""
CLAIM = """
[[claim]]
id = "{id}"
text = "Roles stand apart."
source = "a test"
family = "{family}"
rule = "intersection"
margin = 0.5
unit = "scale_point"
margins = [0.2, 0.5, 1.0]
{more}
"""
PART = """
[[claim.parts]]
label = "{label}"
construct = "adoption_gradient"
measure = "{measure}"
statistic = "role_part"
margin = {margin}
unit = "scale_point"
"""


def written(tmp_path, *claims, family=()):
    path = tmp_path / "claims.toml"
    path.write_text(HEAD.format(family=list(family)) + "".join(claims))
    return path


def claim(name="H1", *measures, family="secondary", margin=0.5, more=""):
    parts = "".join(PART.format(label=measure, measure=measure, margin=margin) for measure in measures)
    return CLAIM.format(id=name, family=family, more=more) + parts


def judged(path, values, *, n=100, few=(), survey=None, draws=2000, registered=None, ratios=()):
    """Judge a register on estimates that are normal with the given mean and standard error, by measure."""
    register = Register.load(path)
    rng = np.random.default_rng(1)
    rows, drawn = [], []
    for measure, (mean, se) in values.items():
        statistic = "gradient_ratio_log" if measure in ratios else "role_part"
        key = {"construct": "adoption_gradient", "measure": measure, "statistic": statistic}
        curve = mean + se * rng.standard_normal(draws)
        rows.append(
            {**key, "wave": "w", "unit": "scale_point", "estimate": mean, "std_error": se, "conf_low": mean - 1.96 * se,
             "conf_high": mean + 1.96 * se, "conf_level": 0.95, "n": 9 if measure in few else n, "n_organisations": 40, "status": "ok"}
        )  # fmt: skip
        empty = dict.fromkeys(("role", "role_2", "stage", "segment", "item"), "")
        drawn.append({**key, **empty, "draws": curve})
    made = schema.frame(rows, schema.ESTIMATES)
    passed = publish(made, Policy())
    tested = against_margins(register, made, pd.DataFrame(drawn), registered=registered, published=passed)
    published = publish(tested.estimates, Policy())
    return {r["id"]: r for r in judge(register, tested, published, survey=survey, registered=registered)}


@pytest.mark.parametrize(
    ("mean", "verdict"), [(1.2, "supported"), (0.6, "inconclusive"), (0.0, "contradicted"), (-1.0, "contradicted")]
)
def test_the_common_rule(tmp_path, mean, verdict):
    record = judged(written(tmp_path, claim("H1", "conf")), {"conf": (mean, 0.2)})["H1"]
    assert record["verdict"] == verdict
    assert record["estimate"] == mean
    assert record["base"] == {"n": 100, "n_organisations": 40}
    assert list(record["verdict_by_margin"]) == ["0.2", "0.5", "1"]
    assert record["verdict_by_margin"]["0.5"] == verdict


def test_verdict_moves_with_the_margin(tmp_path):
    record = judged(written(tmp_path, claim("H1", "conf")), {"conf": (0.9, 0.15)})["H1"]
    assert record["verdict_by_margin"] == {"0.2": "supported", "0.5": "supported", "1": "inconclusive"}


def test_every_part_must_hold(tmp_path):
    path = written(tmp_path, claim("H1", "conf", "prep"))
    assert judged(path, {"conf": (1.2, 0.2), "prep": (1.4, 0.2)})["H1"]["verdict"] == "supported"
    held = judged(path, {"conf": (1.2, 0.2), "prep": (0.7, 0.2)})["H1"]
    assert held["verdict"] == "inconclusive"
    assert held["estimate"] == 0.7
    assert held["reason"] == "the interval contains the margin of 0.5 (prep)"
    assert judged(path, {"conf": (1.2, 0.2), "prep": (-0.7, 0.2)})["H1"]["verdict"] == "contradicted"


def test_a_ratio_to_nothing_is_no_headline(tmp_path):
    """The margins are the ratio's, which has no estimate here; the other part decides, and its numbers are shown."""
    ratio = PART.format(label="prep", measure="prep", margin=0.5).replace("role_part", "gradient_ratio_log")
    path = written(tmp_path, claim("H1", "conf", more='margins_apply_to = "gradient_ratio_log"') + ratio)
    record = judged(path, {"conf": (-0.7, 0.2), "prep": (np.nan, 1.0)}, ratios={"prep"})["H1"]
    assert record["parts"][1]["estimate"] is None
    assert (record["verdict"], record["estimate"], record["part"]) == ("contradicted", -0.7, "conf")
    assert sentence(record).startswith("Contradicted. Estimate \N{MINUS SIGN}0.70")


def test_a_sentence_has_true_minus_signs_and_none_before_nil():
    record = {"verdict": "contradicted", "unit": "scale_point", "margin": -0.2, "estimate": -0.004, "conf_level": 0.95}
    record |= {"conf_low": -0.31, "conf_high": 0.3, "reason": "", "base": {"n": 60, "n_organisations": 12}}
    assert sentence(record) == (
        "Contradicted. Estimate 0.00 scale points (95% interval \N{MINUS SIGN}0.31 to 0.30; margin \N{MINUS SIGN}0.20; "
        "about 60 executives in 12 organisations)."
    )
    shares = sentence({**record, "unit": "proportion"})
    assert "Estimate 0% (95% interval \N{MINUS SIGN}31% to 30%; margin \N{MINUS SIGN}20%;" in shares


def test_what_is_held_back_moves_no_number_that_is_shown(tmp_path):
    """The p-value of a claim is the largest of its parts': beside a shown part it would be the held one's."""
    of_family = (claim("H1", "conf", "prep", family="primary"), claim("H2", "amb", family="primary"))
    path = written(tmp_path, *of_family, family=("H1", "H2"))
    shown = {"conf": (1.2, 0.2), "amb": (1.0, 0.25)}
    one, other = (judged(path, {**shown, "prep": prep}, few={"prep"}) for prep in ((0.6, 0.2), (1.9, 0.4)))
    assert one == other
    conf, prep = one["H1"]["parts"]
    assert conf["p_value"] is not None
    assert (conf["p_adjusted"], prep["p_value"], prep["p_adjusted"], prep["p_equivalence"]) == (None,) * 4
    assert one["H1"]["verdict"] == "not_assessable"
    assert one["H1"]["reason"].startswith("prep: held back: fewer than 10 respondents")
    assert one["H2"]["parts"][0]["p_adjusted"] == pytest.approx(2 * one["H2"]["parts"][0]["p_value"], abs=2e-4)


def test_holm_counts_the_whole_family(tmp_path):
    """An interval beyond the margin is not enough where nine other claims of the family could have been."""
    value = {"conf": (0.5 + 2.2 * 0.2, 0.2)}
    assert judged(written(tmp_path, claim("H1", "conf")), value)["H1"]["verdict"] == "supported"
    waiting = [claim(f"H{i}", family="primary", more='awaits = "not built yet"') for i in range(2, 11)]
    path = written(tmp_path, claim("H1", "conf", family="primary"), *waiting, family=[f"H{i}" for i in range(1, 11)])
    record = judged(path, value)["H1"]
    assert record["verdict"] == "inconclusive"
    assert "but not after adjustment for the primary family" in record["reason"]
    part = record["parts"][0]
    assert part["p_adjusted"] == pytest.approx(min(1, 10 * part["p_value"]), abs=2e-3)


def test_equivalence_contradicts(tmp_path):
    """95% interval -0.08 to 0.56, 90% interval -0.03 to 0.51 at se .163; at se .155 the 90% interval lies inside +-0.5."""
    path = written(tmp_path, claim("H1", "conf"))
    assert judged(path, {"conf": (0.24, 0.163)})["H1"]["verdict"] == "inconclusive"
    record = judged(path, {"conf": (0.22, 0.155)}, draws=20000)["H1"]
    assert record["conf_high"] > 0.5
    assert record["verdict"] == "contradicted"
    assert record["reason"].startswith("equivalence: the 90% interval lies within 0.5 of nothing (p = 0.0")


def test_what_cannot_be_assessed_says_why(tmp_path):
    path = written(
        tmp_path,
        claim("H1", "conf"),
        claim("H2", more='awaits = "not built yet: judged by the blockers chapter"'),
        claim("H3", "conf", more="needs = { waves = 3 }"),
    )
    records = judged(path, {"conf": (1.2, 0.2)}, n=8, survey=Survey(waves=1))
    assert records["H1"]["verdict"] == "not_assessable"
    assert records["H1"]["reason"] == "conf: held back: fewer than 10 respondents or 5 organisations"
    assert records["H1"]["estimate"] is None
    assert records["H2"]["reason"] == "not built yet: judged by the blockers chapter"
    assert records["H3"]["reason"] == "needs 3 waves; the study has 1"


def composed(path, values, **settings):
    """Findings of a register, and the published estimates that they rest on."""
    records = list(judged(path, values, **settings).values())
    rows = [{**{name: part[name] for name in KEY}, "wave": "w", "status": "ok"} for r in records for part in r["parts"]]
    published = schema.frame(rows, schema.ESTIMATES)
    return compose(records, published, wave="w", provenance="simulated"), published


def test_a_hypothesis_is_never_a_finding(tmp_path):
    path = written(tmp_path, claim("H1", "conf"))
    (left_open,), _ = composed(path, {"conf": (0.6, 0.2)})
    assert left_open["status"] == "hypothesis"
    assert left_open["claim"] == "Roles stand apart."
    assert left_open["sentence"].startswith("Inconclusive: the data neither support nor contradict this hypothesis.")
    assert "simulated" in left_open["limitations"]
    for value, verdict in ((1.2, "supported"), (-0.4, "contradicted")):
        (found,), _ = composed(path, {"conf": (value, 0.2)})
        assert (found["status"], found["verdict"]) == ("finding", verdict)
    path.write_text(path.read_text().replace('source = "a test"', 'source = "a test"\nstatus = "finding"'))
    with pytest.raises(ClaimError, match="input should be 'hypothesis'"):
        Register.load(path)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"verdict": "inconclusive"}, "the verdict inconclusive"),
        ({"verdict": "not_assessable"}, "the verdict not_assessable"),
        ({"table": []}, "estimates that are not published: none is named"),
        ({"status": "proved"}, "'proved'"),
        ({"status": None}, "None"),
    ],
)
def test_what_is_no_finding_is_refused_at_every_door(tmp_path, change, got):
    (found,), published = composed(written(tmp_path, claim("H1", "conf")), {"conf": (1.2, 0.2)})
    assert checked(found, published) is found
    with pytest.raises(ClaimError) as told:
        checked({**found, **change}, published)
    assert told.value.got == got
    if "table" not in change:
        with pytest.raises(ClaimError):
            findings_table([{**found, **change}])


def test_a_finding_whose_estimate_was_held_back_is_refused(tmp_path):
    path = written(tmp_path, claim("H1", "conf"))
    (found,), published = composed(path, {"conf": (1.2, 0.2)})
    for hidden in (published.assign(status="suppressed"), published.assign(wave="another"), published.iloc[:0]):
        with pytest.raises(ClaimError, match="a hypothesis is about to be printed as a finding") as told:
            checked(found, hidden)
        assert told.value.got == "estimates that are not published: adoption_gradient conf role_part"
    record = judged(path, {"conf": (1.2, 0.2)})["H1"]
    with pytest.raises(ClaimError, match="a hypothesis is about to be printed as a finding"):
        compose([record], published.iloc[:0], wave="w", provenance="simulated")
    with pytest.raises(ClaimError, match="a hypothesis is about to be printed as a finding"):
        sentence({**record, "estimate": None, "conf_low": None, "conf_high": None})


@pytest.mark.parametrize("status", ["confirmed", "mismatch", "unverified", "unsourced"])
def test_a_fact_from_outside_carries_its_mark_wherever_it_is_printed(status):
    source = "" if status == "unsourced" else "Others, 2024"
    fact = External(id="x", statement="Seventy per cent.", source=source, status=status, checked=dt.date(2026, 11, 22))
    said = marked(fact)
    assert said.startswith("Seventy per cent. [Not a finding of this fieldwork; ")
    assert status in said
    assert said.endswith("checked 2026-11-22]")
    cells = [cell.text for cell in facts_table([fact]).rows[0]]
    assert cells[1].lower().startswith(status)
    assert cells[2] == (source or "none given")
    assert cells[5] == "2026-11-22"


def test_a_construct_is_told_which_rows_its_claims_read(tmp_path):
    register = Register.load(written(tmp_path, claim("H1", "conf", "prep"), claim("H2", "conf")))
    wanted = register.wanted("adoption_gradient")
    assert [(row.measure, row.statistic, row.unit) for row in wanted] == [
        ("conf", "role_part", "scale_point"),
        ("prep", "role_part", "scale_point"),
    ]
    assert wanted[0].key == ("conf", "role_part", "", "", "", "", "")
    assert register.wanted("readiness") == ()


def test_a_claim_that_is_only_described_gets_no_verdict(tmp_path):
    path = written(tmp_path, claim("H1", "conf").replace('rule = "intersection"', 'rule = "none"'))
    record = judged(path, {"conf": (2.0, 0.1)})["H1"]
    assert (record["verdict"], record["reason"]) == ("not_assessable", "described, never judged")
    assert record["parts"][0]["estimate"] == 2.0


def test_an_estimand_that_no_chapter_made(tmp_path):
    path = written(tmp_path, claim("H1", "conf"))
    path.write_text(path.read_text().replace("role_part", "role_prat"))
    with pytest.raises(ClaimError) as told:
        judged(path, {"conf": (1.2, 0.2)})
    assert str(told.value) == (
        "ClaimError: a claim names an estimand that no chapter made\n"
        "  where     claims.toml, claim H1, part conf\n"
        "  expected  a key of the estimates table: construct, measure, statistic, role, role_2, stage, segment, item\n"
        "  got       adoption_gradient, conf, role_prat\n"
        "  hint      nearest statistic: role_part; nearest measure: conf"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("margin = 0.5", "margn = 0.5"), "did you mean margin?"),
        (('family = "secondary"', 'family = "primary"'), "a claim and the primary family disagree"),
        (("version", "versoin"), "did you mean version?"),
        (("[[claim.parts]]", "[[claim.partz]]"), "did you mean parts?"),
        (("[register]", "[register"), "the register is not valid TOML"),
    ],
)
def test_a_register_that_contradicts_itself(tmp_path, change, message):
    path = written(tmp_path, claim("H1", "conf"))
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ClaimError) as told:
        Register.load(path)
    assert message in str(told.value)


def test_two_claims_on_one_estimand_keep_their_own_p(tmp_path):
    low = claim("H1", "conf", family="primary", margin=0.3)
    high = claim("H2", "conf", family="primary", margin=2.0)
    path = written(tmp_path, low, high, family=["H1", "H2"])
    records = judged(path, {"conf": (1.2, 0.2)})
    assert records["H1"]["verdict"] == "supported"
    assert records["H2"]["verdict"] == "contradicted"
    assert records["H1"]["parts"][0]["p_value"] < 0.01
    assert records["H2"]["parts"][0]["p_value"] > 0.9
    turned = written(tmp_path, high, low, family=["H1", "H2"])
    assert {k: r["verdict"] for k, r in judged(turned, {"conf": (1.2, 0.2)}).items()} == {
        "H1": "supported", "H2": "contradicted",
    }  # fmt: skip


def test_too_few_replicates_are_said_to_be_too_few(tmp_path):
    waiting = [claim(f"H{i}", family="primary", more='awaits = "later"') for i in range(2, 11)]
    path = written(tmp_path, claim("H1", "conf", family="primary"), *waiting, family=[f"H{i}" for i in range(1, 11)])
    record = judged(path, {"conf": (3.0, 0.2)}, draws=350)["H1"]
    assert record["verdict"] == "inconclusive"
    assert record["reason"] == "too few replicates to pass the adjustment for a family of 10: 399 or more are needed"
    assert judged(path, {"conf": (3.0, 0.2)}, draws=399)["H1"]["verdict"] == "supported"


def test_the_p_of_equivalence_is_printed(tmp_path):
    record = judged(written(tmp_path, claim("H1", "conf")), {"conf": (0.22, 0.155)}, draws=20000)["H1"]
    assert record["parts"][0]["p_equivalence"] <= 0.05


def test_a_margin_is_a_number(tmp_path):
    path = written(tmp_path, claim("H1", "conf"))
    path.write_text(path.read_text().replace("margin = 0.5", "margin = nan"))
    with pytest.raises(ClaimError, match="finite number"):
        Register.load(path)
    with pytest.raises(ClaimError, match="the study has no register of claims"):
        Register.load(None)


def test_an_amendment_is_shown(tmp_path):
    path = written(tmp_path, claim("H1", "conf", more='awaits = "later"'))
    register = Register.load(path)
    estimates = schema.frame([], schema.ESTIMATES)
    empty = pd.DataFrame(
        columns=["construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item", "draws"]
    )
    tested = against_margins(register, estimates, empty)
    same = judge(register, tested, estimates, registered={"hash": register.digest, "time": "t"})
    other = judge(register, tested, estimates, registered={"hash": "another", "time": "t"})
    assert not same[0]["registered"]["amended"]
    assert other[0]["registered"]["amended"]


# ------------------------------------------------------------------------------------------------- families of tests


def register_of(tmp_path, *claims, head=""):
    path = tmp_path / "claims.toml"
    path.write_text(f'[register]\nversion = "t"\n{head}\n' + "".join(claims))
    return path


def test_a_family_may_be_screened_for_false_discoveries(tmp_path):
    """Four p-values, adjusted by hand: Benjamini and Hochberg's smallest of p m / rank from each rank upwards."""
    names = [f"H{i}" for i in range(1, 5)]
    members = ", ".join(f'"{name}"' for name in names)
    head = f'families.screen = {{ members = [{members}], method = "benjamini_hochberg" }}'
    measures = ["a", "b", "c", "d"]
    claims = [claim(n, m, family="screen") for n, m in zip(names, measures, strict=True)]
    values = {"a": (1.2, 0.2), "b": (1.0, 0.2), "c": (0.9, 0.2), "d": (0.4, 0.2)}
    records = judged(register_of(tmp_path, *claims, head=head), values, draws=9999)
    p = [records[name]["parts"][0]["p_value"] for name in names]
    assert p == sorted(p)
    expected = [min(p[k] * 4 / (k + 1) for k in range(i, 4)) for i in range(4)]
    assert [records[name]["parts"][0]["p_adjusted"] for name in names] == pytest.approx(expected, abs=2e-4)
    assert records["H3"]["family"] == "screen"


def test_a_claim_belongs_to_one_family(tmp_path):
    head = 'family_primary = ["H1"]\nfamilies.screen = { members = ["H1"], method = "benjamini_hochberg" }'
    with pytest.raises(ClaimError, match="a claim and the primary family disagree"):
        Register.load(register_of(tmp_path, claim("H1", "conf", family="primary"), head=head))
    with pytest.raises(ClaimError, match="a claim and the screen family disagree"):
        Register.load(register_of(tmp_path, claim("H1", "conf", family="screen")))


def test_what_a_chapter_adjusted_in_its_own_grid_stays(tmp_path):
    path = written(tmp_path, claim("H1", "conf", family="primary"), family=["H1"])
    key = {"construct": "adoption_gradient", "measure": "conf", "statistic": "role_part"}
    row = {**key, "wave": "w", "unit": "scale_point", "estimate": 1.2, "conf_low": 0.8, "conf_high": 1.6, "n": 90,
           "n_organisations": 40, "status": "ok", "p_value": 0.03, "p_adjusted": 0.2,
           "adjustment": "benjamini_hochberg, grid of 150"}  # fmt: skip
    empty = dict.fromkeys(("role", "role_2", "stage", "segment", "item"), "")
    draws = pd.DataFrame([{**key, **empty, "draws": np.linspace(0.7, 1.7, 999)}])
    tested = against_margins(Register.load(path), schema.frame([row], schema.ESTIMATES), draws)
    kept = tested.estimates.iloc[0]
    assert (kept["p_value"], kept["p_adjusted"]) == (0.03, 0.2)
    assert kept["adjustment"] == "benjamini_hochberg, grid of 150"
    assert tested.p_value["H1", 0] == 0.001


# ------------------------------------------------------------------------------------------------------- universal words


BOUND = """
[[claim]]
id = "H7"
text = "No other role names it."
source = "a test"
family = "{family}"
rule = "bound"
margin = 0.05
unit = "proportion"
direction = "below"
margins = [0.02, 0.05, 0.10]
[[claim.parts]]
label = "most frequent elsewhere"
construct = "blockers"
measure = "blk"
statistic = "prevalence_max_other"
margin = 0.05
unit = "proportion"
direction = "below"
"""


def universal(path, hits, n, *, draws=2000):
    """Judge a bound on the exact confidence curve of `hits` of `n`, as a construct hands it over."""
    register = Register.load(path)
    interval = korn_graubard(hits / n, 0.0, n, n)
    key = {"construct": "blockers", "measure": "blk", "statistic": "prevalence_max_other"}
    empty = dict.fromkeys(("role", "role_2", "stage", "segment", "item"), "")
    row = {**key, "wave": "w", "unit": "proportion", "estimate": hits / n, "conf_low": interval.conf_low,
           "conf_high": interval.conf_high, "conf_level": 0.95, "n": n, "n_organisations": n, "status": "ok"}  # fmt: skip
    curve = interval.quantile((np.arange(draws) + 0.5) / draws)
    table = schema.frame([row], schema.ESTIMATES)
    bases = schema.frame([{**key, "smallest_n": n, "smallest_organisations": n, "hits": n // 2}], schema.BASES)
    tested = against_margins(register, table, pd.DataFrame([{**key, **empty, "draws": curve}]))
    return judge(register, tested, publish(tested.estimates, Policy(), bases))[0]


@pytest.mark.parametrize(
    ("hits", "n", "verdict"),
    [
        (0, 59, "supported"),
        (0, 58, "inconclusive"),
        (0, 400, "supported"),
        (20, 59, "contradicted"),
        (3, 59, "inconclusive"),
    ],
)
def test_no_other_needs_none_of_fifty_nine(tmp_path, hits, n, verdict):
    """The exact one-sided 95% bound of none of n is 1 - 0.05^(1/n): 0.0495 at 59, 0.0503 at 58."""
    record = universal(register_of(tmp_path, BOUND.format(family="secondary")), hits, n)
    assert record["verdict"] == verdict
    part = record["parts"][0]
    assert part["bound"]
    assert record["conf_level"] == 0.9
    assert record["conf_high"] == pytest.approx(stats.beta.ppf(0.95, hits + 1, n - hits), abs=0.006)
    assert record["verdict_by_margin"]["0.05"] == verdict
    if hits == 0:
        assert part["p_value"] == pytest.approx(0.95**n, abs=2e-3)


def test_a_bound_in_a_family_counts_half_its_p(tmp_path):
    """Tested at 5% on one side where the others are at 2.5%: Holm takes half of its p, and gives it back doubled."""
    waiting = [claim(f"H{i}", family="primary", more='awaits = "later"') for i in (2, 3)]
    head = 'family_primary = ["H7", "H2", "H3"]'
    path = register_of(tmp_path, BOUND.format(family="primary"), *waiting, head=head)
    alone, crowded = universal(path, 0, 90), universal(path, 0, 59)
    part = alone["parts"][0]
    assert part["p_adjusted"] == pytest.approx(3 * part["p_value"], abs=2e-4)
    assert alone["verdict"] == "supported"
    assert crowded["verdict"] == "inconclusive"
    assert "the bound lies below the margin of 0.05, but not after adjustment" in crowded["reason"]


def test_a_bound_and_another_claim_in_one_family(tmp_path):
    """Holm over 0.030 / 2 and 0.020 in a family of two: 0.030 and 0.030, so 0.060 for the bound on its own scale."""
    head = 'family_primary = ["H7", "H1"]'
    path = register_of(tmp_path, BOUND.format(family="primary"), claim("H1", "conf", family="primary"), head=head)
    empty = dict.fromkeys(("role", "role_2", "stage", "segment", "item"), "")
    keys = [{"construct": "blockers", "measure": "blk", "statistic": "prevalence_max_other"},
            {"construct": "adoption_gradient", "measure": "conf", "statistic": "role_part"}]  # fmt: skip
    curves = [np.repeat([0.04, 0.06], [970, 29]), np.repeat([0.6, 0.4], [980, 19])]
    draws = pd.DataFrame([{**key, **empty, "draws": curve} for key, curve in zip(keys, curves, strict=True)])
    tested = against_margins(Register.load(path), schema.frame(keys, schema.ESTIMATES), draws)
    assert tested.p_value == pytest.approx({("H7", 0): 0.03, ("H1", 0): 0.02})
    assert tested.p_adjusted == pytest.approx({"H7": 0.06, "H1": 0.03})


# --------------------------------------------------------------------------- what is never judged, and never shown alone


def with_part(statistic):
    part = PART.format(label="a", measure="conf", margin=0.5).replace("role_part", statistic)
    return CLAIM.format(id="H1", family="secondary", more="") + part


@pytest.mark.parametrize("statistic", ["range_raw", "stage_range_raw", "naive_gap"])
def test_no_claim_is_judged_by_an_observed_range_or_a_naive_gap(tmp_path, statistic):
    with pytest.raises(ClaimError) as told:
        Register.load(register_of(tmp_path, with_part(statistic)))
    assert told.value.title == f"no claim is judged by {statistic}"
    assert "claim H1, part a" in told.value.where


def test_a_range_may_be_shown_beside_what_is_judged(tmp_path):
    shown = PART.format(label="b", measure="conf", margin=0.5).replace("role_part", "range_raw") + "judged = false\n"
    register = Register.load(register_of(tmp_path, claim("H1", "conf") + shown))
    assert [part.statistic for part in register.claims[0].judged] == ["role_part"]


def test_a_gap_is_never_shown_without_its_split(tmp_path):
    cells = 'role = "CTO"\nrole_2 = "CMO"\nstage = "scaled"\nstage_2 = "experimenting"\n'

    def part(statistic, judged):
        text = PART.format(label=statistic, measure="conf", margin=0.5).replace("role_part", statistic)
        return text + cells + f"judged = {str(judged).lower()}\n"

    head = CLAIM.format(id="H3", family="secondary", more="")
    whole = [part("role_part", judged=True), part("stage_part", judged=False), part("naive_gap", judged=False)]
    assert len(Register.load(register_of(tmp_path, head, *whole)).claims[0].parts) == 3
    for left_out, lacking in ((whole[:1], "stage_part"), ([whole[0], whole[2]], "stage_part")):
        with pytest.raises(ClaimError, match="never shown without its split") as told:
            Register.load(register_of(tmp_path, head, *left_out))
        assert told.value.got == f"no {lacking}"


def test_two_parts_with_one_label(tmp_path):
    with pytest.raises(ClaimError, match="two parts of a claim carry one label"):
        Register.load(written(tmp_path, claim("H1", "conf", "conf")))


# -------------------------------------------------------------------------------------------------------------- equivalence


@pytest.mark.parametrize(
    ("unit", "statistic", "direction", "margin", "value", "verdict"),
    [
        # A share is held against a threshold: there is no "nothing" that it could be next to.
        ("proportion", "high_both_share", "above", 0.5, (0.42, 0.06), "inconclusive"),
        ("proportion", "risk_difference", "above", 0.10, (0.04, 0.034), "contradicted"),
        # "Not above": being next to nothing is what is claimed, and contradicts nothing.
        ("scale_point", "gap", "below", 0.5, (0.2, 0.17), "inconclusive"),
        ("scale_point", "mean_change", "below", -0.5, (-0.2, 0.17), "contradicted"),
        ("ratio", "time_ratio", "below", 0.8, (0.95, 0.08), "contradicted"),
    ],
)  # fmt: skip
def test_equivalence_has_a_meaning_only_where_there_is_a_nothing(
    tmp_path, unit, statistic, direction, margin, value, verdict
):
    """Each interval at 95% contains the margin; what decides is whether 90% lies next to nothing, and what that means."""
    part = PART.format(label="a", measure="conf", margin=margin).replace("role_part", statistic)
    part = part.replace('unit = "scale_point"', f'unit = "{unit}"\ndirection = "{direction}"')
    path = register_of(tmp_path, CLAIM.format(id="H1", family="secondary", more="").replace(
        "margins = [0.2, 0.5, 1.0]", f"margins = [{abs(margin)}]"), part)  # fmt: skip
    key = {"construct": "adoption_gradient", "measure": "conf", "statistic": statistic}
    empty = dict.fromkeys(("role", "role_2", "stage", "segment", "item"), "")
    mean, se = value
    grid = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    low, high = mean - 1.96 * se, mean + 1.96 * se
    assert low < margin < high
    row = {**key, "wave": "w", "unit": unit, "estimate": mean, "conf_low": low, "conf_high": high, "conf_level": 0.95,
           "n": 500, "n_organisations": 90, "status": "ok"}  # fmt: skip
    register = Register.load(path)
    tested = against_margins(
        register, schema.frame([row], schema.ESTIMATES), pd.DataFrame([{**key, **empty, "draws": mean + se * grid}])
    )
    # Judged before rounding, so that the ends above are those that are judged.
    assert judge(register, tested, tested.estimates)[0]["verdict"] == verdict


# ------------------------------------------------------------------------------------------------- what the design lacks


def test_a_claim_says_which_number_the_design_lacks(tmp_path):
    path = written(
        tmp_path,
        claim("H8", "conf", more="needs = { informants = 3 }"),
        claim("H10", "conf", more="needs = { waves = 3 }"),
    )
    value = {"conf": (1.2, 0.2)}
    few = judged(path, value, survey=Survey(waves=2, informants=(1, 2, 1)))
    assert few["H8"]["verdict"] == few["H10"]["verdict"] == "not_assessable"
    assert few["H8"]["reason"] == "needs 3 executives of one organisation; the most that answered in one is 2"
    assert few["H10"]["reason"] == "needs 3 waves; the study has 2"
    nameless = judged(path, value, survey=Survey(informants=()))["H8"]
    assert nameless["reason"] == "needs 3 executives of one organisation; the survey names no organisations"
    enough = judged(path, value, survey=Survey(waves=3, informants=(1, 3)))
    assert {record["verdict"] for record in enough.values()} == {"supported"}


def test_a_construct_that_refuses_answers_for_its_claims(tmp_path):
    path = written(tmp_path, claim("H1", "conf"))
    register = Register.load(path)
    refusal = {"construct": "adoption_gradient", "wave": "w", "statistic": "role_mean", "unit": "scale_point",
               "status": "not_assessable", "reason": "the survey asks no stage"}  # fmt: skip
    none = pd.DataFrame(columns=[*KEY, "draws"])
    table = schema.frame([refusal], schema.ESTIMATES)
    record = judge(register, against_margins(register, table, none), table)[0]
    assert record["verdict"] == "not_assessable"
    assert record["reason"] == "conf: the survey asks no stage"


def test_a_question_that_the_wave_does_not_ask_is_named(tmp_path):
    path = written(tmp_path, claim("H1", "conf", more='items = ["conf", "blk_*"]'))
    register = Register.load(path)
    other = {"construct": "adoption_gradient", "measure": "prep", "statistic": "role_mean", "wave": "w", "status": "ok"}
    none = pd.DataFrame(columns=[*KEY, "draws"])
    table = schema.frame([other], schema.ESTIMATES)
    tested = against_margins(register, table, none)
    record = judge(register, tested, table, survey=Survey(asked=frozenset({"prep", "blk_roi"})))[0]
    assert (record["verdict"], record["reason"]) == ("not_assessable", "conf: the wave does not ask conf")
    with pytest.raises(ClaimError, match="an estimand that no chapter made"):
        judge(register, tested, table, survey=Survey(asked=frozenset({"conf", "prep", "blk_roi"})))


def test_what_is_only_described_gets_no_verdict(tmp_path):
    path = written(tmp_path, claim("H14", "conf").replace('rule = "intersection"', 'rule = "none"'))
    record = judged(path, {"conf": (1.2, 0.2)})["H14"]
    assert (record["verdict"], record["reason"]) == ("not_assessable", "described, never judged")
    assert record["parts"][0]["estimate"] == 1.2
    assert not record["parts"][0]["judged"]


# -------------------------------------------------------------------------------------------------------------- amendments


def frozen(path):
    return json.loads(json.dumps(record_of(Register.load(path), "2026-01-02T03:04:05Z")))


def test_a_changed_claim_shows_what_was_changed(tmp_path):
    path = written(tmp_path, claim("H1", "conf"), claim("H2", "conf", "prep"))
    before = frozen(path)
    value = {"conf": (0.9, 0.2), "prep": (1.2, 0.2)}
    unchanged = judged(path, value, registered=before)
    assert not any(record["amendments"] for record in unchanged.values())
    assert unchanged["H1"]["registered"] == {"hash": before["hash"], "time": "2026-01-02T03:04:05Z", "amended": False}
    text = path.read_text().replace("margin = 0.5\nunit", "margin = 0.2\nunit", 1)
    path.write_text(
        text.replace("[register]", "[register]\nalpha = 0.10").replace(
            '"prep"\nstatistic', '"prep"\ndirection = "below"\nstatistic'
        )
    )
    after = judged(path, value, registered=before)
    assert after["H1"]["registered"]["amended"]
    shared = {"field": "register, alpha", "before": 0.05, "after": 0.1, "decides": True}
    assert after["H1"]["amendments"] == [{"field": "margin", "before": 0.5, "after": 0.2, "decides": True}, shared]
    turned = {"field": "part 'prep', direction", "before": "above", "after": "below", "decides": True}
    assert after["H2"]["amendments"] == [turned, shared]
    assert after["H1"]["planned"]


def test_a_claim_added_after_the_data_is_exploratory_for_good(tmp_path):
    path = written(tmp_path, claim("H1", "conf"))
    before = frozen(path)
    late = claim("H2", "conf", more="planned = true")
    path = written(tmp_path, claim("H1", "conf"), late)
    records = judged(path, {"conf": (1.2, 0.2)}, registered=before)
    assert (records["H1"]["planned"], records["H1"]["added_after_data"]) == (True, False)
    assert (records["H2"]["planned"], records["H2"]["added_after_data"]) == (False, True)
    assert judged(path, {"conf": (1.2, 0.2)}, registered={})["H2"]["planned"]


def test_an_exploratory_claim_cannot_be_edited_into_a_planned_one(tmp_path):
    path = written(tmp_path, claim("H1", "conf", more="planned = false"))
    before = frozen(path)
    path.write_text(path.read_text().replace("planned = false", "planned = true"))
    record = judged(path, {"conf": (1.2, 0.2)}, registered=before)["H1"]
    assert not record["planned"]
    assert record["amendments"] == [{"field": "planned", "before": False, "after": True, "decides": True}]


def test_a_claim_that_was_taken_out_is_shown_as_withdrawn(tmp_path):
    before = frozen(written(tmp_path, claim("H1", "conf"), claim("H2", "conf")))
    path = written(tmp_path, claim("H1", "conf"))
    record = judged(path, {"conf": (1.2, 0.2)}, registered=before)["H2"]
    assert record["verdict"] == "not_assessable"
    assert record["reason"] == "withdrawn from the register after data of this wave had been read"
    assert record["text"] == "Roles stand apart."


def test_a_family_made_smaller_after_the_data_adjusts_as_before(tmp_path):
    waiting = [claim(f"H{i}", family="primary", more='awaits = "not built yet"') for i in range(2, 11)]
    names = [f"H{i}" for i in range(1, 11)]
    before = frozen(written(tmp_path, claim("H1", "conf", family="primary"), *waiting, family=names))
    value = {"conf": (0.5 + 2.2 * 0.2, 0.2)}
    path = written(tmp_path, claim("H1", "conf", family="primary"), family=["H1"])
    assert judged(path, value)["H1"]["verdict"] == "supported"
    record = judged(path, value, registered=before)["H1"]
    assert record["verdict"] == "inconclusive"
    assert record["amendments"][0]["field"] == "register, primary family"


def test_what_is_left_out_means_its_default():
    short = {
        "id": "H1",
        "text": "a",
        "source": "b",
        "parts": [{"label": "x", "construct": "c", "measure": "m", "statistic": "s"}],
    }
    long = {**short, "direction": "above", "awaits": "", "parts": [{**short["parts"][0], "judged": True, "item": ""}]}
    assert amended(short, long) == []
    assert [a.field for a in amended(short, {**long, "parts": []})] == ["part 'x'"]
    assert not amended(short, {**long, "reading": "clearer"})[0].decides
