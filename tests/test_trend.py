"""What may be compared between waves, held on instruments written for the purpose and on the OSPO survey."""

from pathlib import Path

import pytest

from fieldwork.errors import InstrumentError
from fieldwork.instrument import Instrument, followed_roles, trend_break, trend_kind

ROOT = Path(__file__).resolve().parents[1]
HEAD = """
[instrument]
id = "toy"
version = "1"
title = "Toy"
waves = ["w1", "w2", "w3"]
[keys]
role = "role"
[[roles]]
code = 1
id = "CIO"
label = "Information"
[[roles]]
code = 2
id = "CFO"
label = "Finance"
{roles}
[scales.agree]
points = [{{ code = 1, label = "No" }}, {{ code = 2, label = "Yes" }}]
[items.resp_id]
kind = "identifier"
label = "Respondent"
[items.wave]
kind = "identifier"
label = "Wave"
[items.role]
kind = "single"
label = "Role"
options = ["roles"]
[items.conf]
kind = "ordinal"
scale = "agree"
label = "Confidence"
wording = "How confident?"
{items}
"""


def waves(tmp_path, roles="", items="", *, names=("w1", "w2", "w3")):
    path = tmp_path / "instrument.toml"
    path.write_text(HEAD.format(roles=roles, items=items))
    return [Instrument.load(path, name) for name in names]


def role(code, name, more):
    return f'[[roles]]\ncode = {code}\nid = "{name}"\nlabel = "{name.title()}"\n{more}\n'


def test_an_item_that_stayed_is_compared(tmp_path):
    assert trend_break(waves(tmp_path), "conf") == ""
    assert trend_break(waves(tmp_path)[:1], "conf") == ""


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ('comparable = false\nnote = "put by telephone"', "not comparable from w2 on: put by telephone"),
        ('version = "2"\nwording = "How sure?"', "wording changed (version 1 to 2) between w1 and w2"),
        ('wording = "How sure?"', "wording changed under one version, which needs a new one, between w1 and w2"),
        ('asked_of = ["CIO"]', "people who are asked changed between w1 and w2"),
        ('asked_if = { item = "role", in = ["CIO"] }', "people who are asked changed between w1 and w2"),
    ],
)
def test_a_change_breaks_the_trend_and_says_why(tmp_path, override, told):
    made = waves(tmp_path, items=f'[items.conf.waves."w2"]\n{override}')
    assert trend_break(made, "conf") == told
    assert trend_break([made[0], made[2]], "conf") == ""  # the override holds in w2 alone


@pytest.mark.parametrize(
    ("override", "kind"),
    [
        ("", "comparable"),
        ('wording = "How sure?"', "broken"),
        ("comparable = false", "broken"),
        ('asked_of = ["CIO"]', "broken"),
    ],
)
def test_an_item_is_comparable_or_broken(tmp_path, override, kind):
    made = waves(tmp_path, items=f'[items.conf.waves."w2"]\n{override}' if override else "")
    assert trend_kind(made[:2], "conf") == kind


def test_an_item_recoded_and_reworded_is_broken_and_one_that_a_wave_lacks_not_asked(tmp_path):
    options = (
        '{ code = 1, id = "a", label = "A" }, { code = 2, id = "b", label = "B" }, { code = 3, id = "c", label = "C"'
    )
    item = f'[items.q]\nkind = "single"\nlabel = "Q"\noptions = [{options}, first_wave = "w2" }}]\n'
    assert trend_kind(waves(tmp_path, items=item), "q") == "recoded"
    assert trend_kind(waves(tmp_path, items=item + '[items.q.waves."w3"]\nwording = "New?"'), "q") == "broken"
    late = '[items.q]\nkind = "flag"\nlabel = "Q"\nfirst_wave = "w2"\n'
    assert trend_kind(waves(tmp_path, items=late), "q") == "not_asked"
    assert trend_kind(waves(tmp_path, items=late)[1:], "q") == "comparable"


def test_other_answers_break_the_trend(tmp_path):
    options = (
        '{ code = 1, id = "a", label = "A" }, { code = 2, id = "b", label = "B" }, { code = 3, id = "c", label = "C"'
    )
    item = f'[items.q]\nkind = "single"\nlabel = "Q"\noptions = [{options}, first_wave = "w2" }}]'
    assert trend_break(waves(tmp_path, items=item), "q") == "answers offered changed between w1 and w2"
    relabelled = item.replace('first_wave = "w2"', 'waves = { "w3" = { label = "See" } }')
    assert trend_break(waves(tmp_path, items=relabelled), "q") == "answers offered changed between w1 and w3"


def test_what_a_wave_did_not_ask_is_not_compared(tmp_path):
    item = '[items.late]\nkind = "flag"\nlabel = "Late"\nfirst_wave = "w2"\n[items.gone]\nkind = "flag"\nlabel = "Gone"\nlast_wave = "w1"'
    made = waves(tmp_path, items=item)
    assert trend_break(made, "late") == "not asked in w1"
    assert trend_break(made[1:], "late") == ""
    assert trend_break(made, "gone") == "not asked in w2"


def test_roles_that_stayed_are_followed_as_themselves(tmp_path):
    found = followed_roles(waves(tmp_path))
    assert (found.ids, found.notes, found.lost, found.broken) == (("CIO", "CFO"), {}, {}, "")
    assert found.into[0] == {"CIO": "CIO", "CFO": "CFO"}


def test_a_role_that_was_split_is_followed_as_the_wider_one(tmp_path):
    made = waves(tmp_path, roles=role(3, "CDO", 'first_wave = "w2"\nsplit_from = "CIO"'))
    found = followed_roles(made)
    assert found.ids == ("CIO", "CFO")
    assert found.into == ({"CIO": "CIO", "CFO": "CFO"}, *[{"CIO": "CIO", "CFO": "CFO", "CDO": "CIO"}] * 2)
    assert found.notes == {"CIO": "with Cdo, which was part of it before w2"}
    assert followed_roles(made[1:]).ids == ("CIO", "CFO", "CDO")  # where every wave has it, it stands alone


def test_a_role_that_went_into_another_is_followed_as_part_of_it(tmp_path):
    found = followed_roles(waves(tmp_path, roles=role(3, "CDO", 'last_wave = "w1"\nmerged_into = "CIO"')))
    assert found.ids == ("CIO", "CFO")
    assert found.into[0]["CDO"] == "CIO"
    assert found.notes == {"CIO": "with Cdo, which is part of it in other waves"}


def test_a_role_split_in_two_is_followed_by_the_name_that_is_gone(tmp_path):
    roles = role(3, "CDO", 'last_wave = "w1"') + "".join(
        role(code, name, 'first_wave = "w2"\nsplit_from = "CDO"') for code, name in ((4, "CDAO"), (5, "CAIO"))
    )
    found = followed_roles(waves(tmp_path, roles=roles))
    assert found.ids == ("CIO", "CFO", "CDO")
    assert [each.get("CAIO") for each in found.into] == [None, "CDO", "CDO"]
    assert found.notes == {"CDO": "with Cdao, Caio, which were part of it before w2"}


def test_a_new_role_of_no_known_origin_is_named_and_not_followed(tmp_path):
    found = followed_roles(waves(tmp_path, roles=role(3, "CDO", 'first_wave = "w3"')))
    assert found.ids == ("CIO", "CFO")
    assert list(found.lost) == ["CDO"]
    assert "only w3" in found.lost["CDO"]


def test_a_question_on_the_role_that_changed_follows_nobody(tmp_path):
    found = followed_roles(waves(tmp_path, items='[items.role.waves."w3"]\ncomparable = false'))
    assert (found.ids, found.broken) == ((), "the question on the role: not comparable from w3 on")


@pytest.mark.parametrize("whole", ["CIOO", "CDO"])
def test_a_part_of_nothing_is_refused(tmp_path, whole):
    with pytest.raises(InstrumentError, match="split_from of 'CDO' names none of the others"):
        waves(tmp_path, roles=role(3, "CDO", f'first_wave = "w2"\nsplit_from = "{whole}"'))


def test_the_ospo_survey_breaks_where_its_questions_changed():
    path = ROOT / "examples/ospo/instruments/instrument.toml"
    made = {wave: Instrument.load(path, wave) for wave in ("2021", "2022", "2023", "2024")}
    assert trend_break(list(made.values()), "stage") == ""
    assert trend_break([made["2021"], made["2022"]], "critical") == ""
    assert trend_break([made["2022"], made["2023"]], "critical").startswith("not comparable from 2023 on")
    assert (
        trend_break([made["2021"], made["2022"]], "run")
        == "wording changed (version 2021 to 2022) between 2021 and 2022"
    )
    assert len(followed_roles([made["2021"], made["2023"]]).ids) == 7
    assert "Security and Law are new" in followed_roles(list(made.values())).broken
