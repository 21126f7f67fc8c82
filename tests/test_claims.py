"""Verdicts: the decision rule, the family, the margins, and what the register must refuse."""

import numpy as np
import pandas as pd
import pytest

from fieldwork import schema
from fieldwork.claims import Register, against_margins, judge
from fieldwork.disclosure import Policy, publish
from fieldwork.errors import ClaimError
from fieldwork.findings import compose

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


def judged(path, values, *, n=100, waves=1, draws=2000):
    """Judge a register on estimates that are normal with the given mean and standard error, by measure."""
    register = Register.load(path)
    rng = np.random.default_rng(1)
    rows, drawn = [], []
    for measure, (mean, se) in values.items():
        key = {"construct": "adoption_gradient", "measure": measure, "statistic": "role_part"}
        curve = mean + se * rng.standard_normal(draws)
        rows.append(
            {**key, "wave": "w", "unit": "scale_point", "estimate": mean, "std_error": se, "conf_low": mean - 1.96 * se,
             "conf_high": mean + 1.96 * se, "conf_level": 0.95, "n": n, "n_organisations": 40, "status": "ok"}
        )  # fmt: skip
        empty = dict.fromkeys(("role", "role_2", "stage", "segment", "item"), "")
        drawn.append({**key, **empty, "draws": curve})
    tested = against_margins(register, schema.frame(rows, schema.ESTIMATES), pd.DataFrame(drawn))
    published = publish(tested.estimates, Policy())
    return {record["id"]: record for record in judge(register, tested, published, waves=waves)}


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
    records = judged(path, {"conf": (1.2, 0.2)}, n=8)
    assert records["H1"]["verdict"] == "not_assessable"
    assert records["H1"]["reason"] == "conf: held back: fewer than 10 respondents or 5 organisations"
    assert records["H1"]["estimate"] is None
    assert records["H2"]["reason"] == "not built yet: judged by the blockers chapter"
    assert records["H3"]["reason"] == "needs 3 waves; the study has 1"


def test_a_hypothesis_is_never_a_finding(tmp_path):
    records = list(judged(written(tmp_path, claim("H1", "conf")), {"conf": (0.6, 0.2)}).values())
    findings = compose(records, wave="w", provenance="simulated")
    assert findings[0]["claim"] == "Roles stand apart."
    assert findings[0]["sentence"].startswith("Inconclusive: the data neither support nor contradict this hypothesis.")
    assert "simulated" in findings[0]["limitations"]
    path = tmp_path / "claims.toml"
    path.write_text(path.read_text().replace('source = "a test"', 'source = "a test"\nstatus = "finding"'))
    with pytest.raises(ClaimError, match="input should be 'hypothesis'"):
        Register.load(path)


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
