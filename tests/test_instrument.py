"""The instrument: what it refuses, what it makes of delivered texts, and the two instruments that the project ships."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwork.errors import InstrumentError
from fieldwork.instrument import BLANK, Instrument, Item, MissingCode, Option, Scale

ROOT = Path(__file__).parents[1]
QUAIE = Instrument.load(ROOT / "instruments" / "2026Q1.toml", "2026Q1")
OSPO = ROOT / "examples" / "ospo" / "instruments" / "instrument.toml"
OSPO_DATA = ROOT.parent / "shared" / "data" / "ospo" / "ospo_respondents_2021_2024.csv"
OSPO_WAVES = ("2021", "2022", "2023", "2024")

# Every variable of the questionnaire in the measures page, section 4; a family stands for its members.
VARIABLES = (
    "resp_id org_id wave mode lang start end source panel_flag "
    "role role_verified role_exists tenure dual_role sector country size_band rev_band "
    "stage_fn stage_org ent conf prep prep_org conv_priv sup_pub "
    "blk blk_top pri owner dir_pace dir_risk dir_scope align_self clar_self clar_oth meta_conf "
    "inf veto signoff fund_release cond res_data res_tool res_tal res_bud amb "
    "bud_chg act_idx stall stall_point stall_cause stall_wk act_align act_escal ack use_stab "
    "obj_rank team_fn delay prac_1 prac_2 prac_3 prac_4 prac_5 t_deploy bott rework sat layers t_dec road_age road_trust "
    "lead_1 lead_2 lead_3 lead_4 attn_1 qc_speed qc_straight qc_dup comments "
)
# Ours: consent to a report about the own organisation; and without the weeks since its start, a project that is not in use yet could not be told from one without an answer.
QUESTIONNAIRE = [*VARIABLES.split(), "t_open", "consent_org"]

SMALL = """
[instrument]
id = "small"
version = "1"
title = "A small survey"

[keys]
respondent = "resp_id"
role = "role"
stage = "stage"

[[missing]]
code = 99
id = "dont_know"
label = "Don't know"

[[roles]]
code = 1
id = "boss"
label = "The boss"

[[roles]]
code = 3
id = "aide"
label = "An aide"

[[roles]]
code = 2
id = "clerk"
label = "A clerk"
first_wave = "2025"

[[stages]]
code = 1
id = "early"
label = "Early"

[[stages]]
code = 2
id = "late"
label = "Late"

[scales.likert]
points = [{ code = 1, label = "Low" }, { code = 2, label = "Middle" }, { code = 3, label = "High" }]

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

[items.stage]
kind = "ordinal"
scale = "stages"
label = "Stage"

[items.conf]
kind = "ordinal"
scale = "likert"
label = "Confidence"
wording = "How confident are you?"
constructs = ["adoption_gradient"]

[items.conf.waves."2025"]
version = "2"
wording = "How sure are you?"
comparable = false

[items.worry]
kind = "multi"
label = "Worries"
options = [{ code = 1, id = "cost", label = "Cost; running" }, { code = 2, id = "law", label = "Law" }, { code = 3, id = "none", label = "None" }]
exclusive = ["none"]
asked_if = { item = "stage", in = ["late"] }
asked_of = ["boss"]
"""


def small(tmp_path, old="", new="", wave="2024"):
    assert old in SMALL
    path = tmp_path / "small.toml"
    path.write_text(SMALL.replace(old, new, 1) if old else SMALL + new, encoding="utf-8")
    return Instrument.load(path, wave)


def refused(tmp_path, old, new, wave="2024"):
    with pytest.raises(InstrumentError) as caught:
        small(tmp_path, old, new, wave)
    return str(caught.value)


class TestQuestionnaire:
    def test_every_variable_of_the_questionnaire_is_there(self):
        families = {family.name for family in QUAIE.families}
        assert [name for name in QUESTIONNAIRE if name not in QUAIE and name not in families] == []

    def test_nothing_is_there_that_the_questionnaire_does_not_name(self):
        assert sorted({item.family or item.name for item in QUAIE.items}) == sorted(QUESTIONNAIRE)

    def test_roles_and_stages_are_the_ten_and_the_five(self):
        assert QUAIE.role_ids == ["CEO", "CFO", "COO", "CIO", "CTO", "CDAO", "CISO", "CMO", "CHRO", "GC"]
        assert QUAIE.stage_ids == ["evaluating", "experimenting", "piloting", "production", "scaled"]
        assert [role.id for role in QUAIE.roles if role.status] == ["COO", "CIO", "CDAO", "CISO"]

    def test_families_are_numbered_as_the_questionnaire_has_them(self):
        names = [item.name for item in QUAIE.items]
        for name in ("role_exists_01", "role_exists_10", "inf_01", "inf_10", "ent_2", "ent_5", "pri_1", "pri_7"):
            assert name in names
        assert [item.name for item in QUAIE.family("blk_top")] == ["blk_top1", "blk_top2", "blk_top3"]
        assert [item.name for item in QUAIE.family("meta_conf")][:2] == ["meta_conf_CEO", "meta_conf_CFO"]
        assert len(QUAIE.family("act_idx")) == 4
        assert len(QUAIE.family("use_stab")) == 3

    def test_nobody_rates_the_own_role(self):
        for family in ("inf", "meta_conf"):
            for item in QUAIE.family(family):
                assert item.member not in item.asked_of
                assert len(item.asked_of) == 9

    def test_blockers_are_those_of_the_questionnaire_and_none_stands_alone(self):
        blockers = (
            "roi evid_cap integr secur data_q talent work_ready reg liab gov cost vendor culture strategy other none"
        )
        assert [option.id for option in QUAIE.item("blk").options] == blockers.split()
        assert QUAIE.item("blk").exclusive == ("none",)
        assert QUAIE.item("cond").cap == 3

    def test_every_question_has_a_wording_and_a_version(self):
        assert [item.name for item in QUAIE.items if not item.wording or not item.version] == []

    def test_missing_codes_are_distinct(self):
        codes = [(code.code, code.id) for code in QUAIE.missing]
        assert codes == [(97, "refused"), (98, "not_applicable"), (99, "dont_know")]

    def test_constructs_have_their_measures(self):
        assert [item.name for item in QUAIE.measures("adoption_gradient")] == ["conf", "prep"]
        assert "stage_fn" in [item.name for item in QUAIE.measures("role_shift")]
        assert {item.family for item in QUAIE.measures("lead_lag") if item.family} == {"ent"}

    def test_the_battery_of_the_straight_line_rule_shares_one_range(self):
        rule = next(rule for rule in QUAIE.quality if rule.kind == "straight_line")
        assert {tuple(QUAIE.item(name).codes) for name in rule.items} == {(1, 2, 3, 4, 5)}
        assert rule.min_items >= 8

    def test_stalls_are_asked_of_those_who_had_one(self):
        answers = pd.DataFrame({"stall": pd.array([1, 0, None], dtype="Int8")})
        assert QUAIE.asked("stall_wk", answers).tolist() == [True, False, pd.NA]

    def test_labels_and_wordings(self):
        assert QUAIE.option_label("role", "GC") == "General Counsel"
        assert QUAIE.option_label("stage", 4) == "In production"
        assert QUAIE.option_label("blk", "roi") == "Uncertain return on investment"
        assert QUAIE.option_label("role", "") == ""
        assert QUAIE.label("blk_roi") == "Blockers: Uncertain return on investment"
        assert QUAIE.label("conf+prep") == "Confidence and Preparedness of own function"
        assert QUAIE.wording("conf").startswith("How confident are you that AI")
        assert QUAIE.wording("inf") == "How much influence does the … have on AI decisions in your organisation?"


class TestResolve:
    @pytest.mark.parametrize(
        "text",
        [
            "CTO",
            "cto",
            "5",
            "5.0",
            " 5 ",
            "Chief Technology Officer",
            "chief  technology\u00a0OFFICER",
            "\uff23\uff34\uff2f",
        ],
    )
    def test_code_id_label_and_synonym_are_the_role(self, text):
        assert QUAIE.item("role").code_of(text).id == "CTO"

    @pytest.mark.parametrize(("text", "role"), [("Head of Legal", "GC"), ("CAIO", "CDAO"), ("Finance Director", "CFO")])
    def test_synonyms(self, text, role):
        assert QUAIE.item("role").read(text).value == role

    @pytest.mark.parametrize("text", ["11", "CFOO", "5.5", "-5", "5,0", "=5", "true", "\u0000", "\u0665"])
    def test_junk_is_unknown(self, text):
        assert QUAIE.item("role").code_of(text) is None
        assert QUAIE.item("role").read(text).fault

    @pytest.mark.parametrize(
        "text", ["4", "4.0", "Very confident", "4 Very confident", "4 - very confident", "4. Very confident"]
    )
    def test_ordinal_answers_are_codes(self, text):
        assert QUAIE.item("conf").read(text).value == 4

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("97", "refused"),
            ("98.0", "not_applicable"),
            ("99", "dont_know"),
            ("Don\u2019t know", "dont_know"),
            ("", BLANK),
            (" ", BLANK),
        ],
    )
    def test_missing_codes_are_told_apart(self, text, reason):
        reading = QUAIE.item("conf").read(text)
        assert (reading.value, reading.reason, reading.fault) == (None, reason, "")

    def test_a_number_that_is_no_code_is_out_of_range(self):
        assert QUAIE.item("stage_fn").read("7").fault == "out_of_range"
        assert QUAIE.item("stage_fn").read("seven").fault == "unknown"

    def test_a_label_that_reads_as_missing_elsewhere_stays_an_answer(self):
        assert QUAIE.item("country").read("NA").fault == "unknown"
        assert QUAIE.item("blk").option("none").code == 16

    def test_weeks_of_97_are_weeks_and_minus_97_is_refused(self):
        item = QUAIE.item("stall_wk")
        assert item.read("97").value == 97
        assert item.read("-97").reason == "refused"
        assert item.read("Don't know").reason == "dont_know"
        assert item.read("105").fault == "out_of_range"
        assert item.read("1,5").fault == "unknown"
        assert item.read("1e999").fault == "out_of_range"
        assert QUAIE.item("layers").read("99").reason == "dont_know"
        assert QUAIE.item("bud_chg").read("12%").value == 12

    def test_identifiers_are_texts_whatever_they_look_like(self):
        column = pd.Series(["001", "1E5", "99", "NA", "", None, " x "])
        resolved = QUAIE.item("resp_id").resolve(column)
        assert resolved.value.tolist() == ["001", "1E5", "99", "NA", pd.NA, pd.NA, "x"]
        assert resolved.missing_reason.tolist() == [pd.NA] * 4 + [BLANK] * 2 + [pd.NA]

    def test_dates_are_iso_or_nothing(self):
        resolved = QUAIE.item("start").resolve(
            pd.Series(["2026-01-15 09:30", "2026-01-15T09:30:00", "01/02/2026", "2026-02-30T00:00:00", "2026-01-15"])
        )
        assert resolved.value.tolist() == ["2026-01-15T09:30:00", "2026-01-15T09:30:00", pd.NA, pd.NA, "2026-01-15"]
        assert resolved.unknown.tolist() == [False, False, True, True, False]

    def test_quarters_and_not_yet(self):
        item = QUAIE.item("ent_3")
        assert [item.read(text).value for text in ("2025Q3", "Q3 2025", "2025-Q3", "Not yet", "0")] == [
            "2025Q3",
            "2025Q3",
            "2025Q3",
            "not_yet",
            "not_yet",
        ]
        assert item.read("2025Q5").fault == "unknown"
        assert item.read("99").reason == "dont_know"

    def test_ranks(self):
        item = QUAIE.item("pri_1")
        assert item.read("7").value == 7
        assert item.read("8").fault == "out_of_range"
        assert item.read("0").fault == "out_of_range"

    def test_a_column_keeps_its_index_and_its_type(self):
        column = pd.Series(["CTO", None, "x", "99"], index=[5, 5, 1, 0], name="role")
        resolved = QUAIE.item("role").resolve(column)
        assert resolved.value.index.tolist() == [5, 5, 1, 0]
        assert str(resolved.value.dtype) == "string"
        assert resolved.missing_reason.tolist() == [pd.NA, BLANK, pd.NA, "dont_know"]
        assert resolved.unknown.tolist() == [False, False, True, False]
        assert str(QUAIE.item("conf").resolve(pd.Series(["1"])).value.dtype) == "Int8"

    def test_an_empty_column(self):
        for name in ("role", "conf", "start", "stall_wk", "resp_id"):
            assert len(QUAIE.item(name).resolve(pd.Series([], dtype="string")).value) == 0

    def test_both_layouts_of_a_multiple_choice_agree(self):
        item = QUAIE.item("blk")
        listed = item.resolve_multi(pd.DataFrame({"blk": ["roi;cost", "1; 11", "none", "99", "", "roi;zz"]}))
        assert listed.value["blk_roi"].tolist() == [1, 1, 0, pd.NA, pd.NA, pd.NA]
        assert listed.value["blk_cost"].tolist() == [1, 1, 0, pd.NA, pd.NA, pd.NA]
        assert listed.missing_reason.tolist() == [pd.NA, pd.NA, pd.NA, "dont_know", BLANK, pd.NA]
        assert listed.unknown["blk"].tolist() == [False] * 5 + [True]
        ticks = listed.value.astype("string").fillna("")
        wide = item.resolve_multi(ticks)
        pd.testing.assert_frame_equal(wide.value, listed.value)

    def test_ticks_come_in_many_words(self):
        option = QUAIE.item("blk").option("roi")
        read = [
            QUAIE.item("blk").read_tick(option, text).value
            for text in ("1", "1.0", "Yes", "TRUE", "Uncertain return on investment", "0", "No")
        ]
        assert read == [1, 1, 1, 1, 1, 0, 0]
        assert QUAIE.item("blk").read_tick(option, "2").fault == "out_of_range"
        assert QUAIE.item("blk").read_tick(option, "Regulation").fault == "unknown"

    @given(
        st.text(), st.sampled_from(["role", "conf", "start", "ent_2", "stall_wk", "pri_1", "blk", "comments", "stall"])
    )
    def test_no_text_is_too_strange_to_read(self, text, name):
        item = QUAIE.item(name)
        reading = item.read(text)
        assert sum([reading.value is not None, bool(reading.reason), bool(reading.fault)]) == 1
        item.read_tick(QUAIE.item("blk").option("roi"), text) if name == "blk" else None

    @given(
        st.lists(
            st.one_of(
                st.none(),
                st.text(max_size=8),
                st.decimals(min_value=-200, max_value=200, places=2).map(str),
                st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat()),
                st.sampled_from(["97", "-97", "99.0", "2026-01-01T24:00:00", "2026-02-29T00:00:00", "1e2", "+5", "05"]),
            ),
            max_size=8,
        ),
        st.sampled_from(["start", "stall_wk", "bud_chg", "layers", "conf", "role"]),
    )
    def test_a_column_reads_as_its_cells_do(self, texts, name):
        item = QUAIE.item(name)
        resolved = item.resolve(pd.Series(texts, dtype="string"))
        for text, value, reason, unknown in zip(
            texts, resolved.value, resolved.missing_reason, resolved.unknown, strict=True
        ):
            cell = item.read(text or "")
            assert (None if pd.isna(value) else value) == cell.value
            assert ("" if pd.isna(reason) else reason) == cell.reason
            assert unknown == bool(cell.fault)


class TestWaves:
    def test_an_override_holds_in_its_wave_only(self, tmp_path):
        before, after = small(tmp_path, wave="2024").item("conf"), small(tmp_path, wave="2025").item("conf")
        assert (before.wording, before.version, before.comparable) == ("How confident are you?", "1", True)
        assert (after.wording, after.version, after.comparable) == ("How sure are you?", "2", False)

    def test_a_role_is_offered_from_its_first_wave_on(self, tmp_path):
        assert small(tmp_path, wave="2024").role_ids == ["boss", "aide"]
        assert small(tmp_path, wave="2026").role_ids == ["boss", "aide", "clerk"]

    def test_waves_are_ordered_by_their_numbers(self, tmp_path):
        assert small(tmp_path, 'first_wave = "2025"', 'first_wave = "w9"', wave="w10").role_ids == [
            "boss",
            "aide",
            "clerk",
        ]

    def test_an_item_of_another_wave_is_missed_with_its_time(self, tmp_path):
        instrument = small(tmp_path, 'label = "Worries"', 'label = "Worries"\nlast_wave = "2023"')
        assert "worry" not in instrument
        assert instrument.dormant["worry_cost"] == "up to 2023"
        with pytest.raises(InstrumentError) as caught:
            instrument.item("worry")
        assert str(caught.value) == (
            "InstrumentError: wave 2024 does not ask item 'worry'\n"
            "  where     small.toml\n"
            "  expected  'worry' is asked up to 2023\n"
            "  got       'worry'"
        )

    def test_an_option_of_another_wave_is_left_out_of_routes_and_exclusions(self, tmp_path):
        instrument = small(
            tmp_path,
            '{ code = 3, id = "none", label = "None" }',
            '{ code = 3, id = "none", label = "None", first_wave = "2025" }',
        )
        assert instrument.item("worry").exclusive == ()
        assert instrument.dormant == {"worry_none": "from 2025"}

    def test_a_misspelt_override_of_a_later_wave_is_found_now(self, tmp_path):
        assert refused(tmp_path, 'version = "2"', 'verson = "2"').startswith(
            "InstrumentError: unknown key 'verson'\n  where     small.toml, items.conf.waves.\"2025\"\n"
        )

    def test_a_wave_that_the_file_is_not_for(self, tmp_path):
        assert refused(tmp_path, 'version = "1"', 'version = "1"\nwaves = ["2024", "2052"]') == (
            "InstrumentError: the instrument has no wave '2025'\n"
            "  where     small.toml, roles, entry clerk\n"
            "  expected  2024, 2052\n"
            "  got       '2025'\n"
            "  hint      did you mean '2052'?"
        )


class TestRouting:
    def test_role_and_route_decide_and_the_unknown_stays_unknown(self, tmp_path):
        answers = pd.DataFrame(
            {
                "role": pd.array(["boss", "boss", "clerk", None, "boss"], dtype="string"),
                "stage": pd.array([2, 1, 2, 2, None], dtype="Int8"),
            }
        )
        asked = small(tmp_path, wave="2025").asked("worry", answers)
        assert asked.tolist() == [True, False, False, pd.NA, pd.NA]

    def test_a_route_on_a_multiple_choice(self):
        answers = pd.DataFrame(
            {column: pd.array([0, 1, None], dtype="Int8") for column in QUAIE.item("blk").native_columns()}
        )
        answers["blk_none"] = pd.array([1, 0, None], dtype="Int8")
        assert QUAIE.asked("blk_top1", answers).tolist() == [False, True, pd.NA]


class TestLayout:
    def test_a_label_with_a_semicolon_is_one_answer(self, tmp_path):
        item = small(tmp_path).item("worry")
        assert item.resolve_multi(pd.DataFrame({"worry": ["Cost; running"]})).value.iloc[0].tolist() == [1, 0, 0]

    def test_delivered_columns_may_carry_other_names(self, tmp_path):
        instrument = small(tmp_path, 'id = "cost", label', 'id = "cost", column = "Q7_1", label')
        assert instrument.columns()[-3:] == ["worry_cost", "worry_law", "worry_none"]
        assert instrument.item("worry").delivered_columns()["worry_cost"] == "Q7_1"
        source = instrument.source("Q7_1")
        assert (source.item.name, source.option.id, source.native) == ("worry", "cost", "worry_cost")
        assert instrument.source("worry").native == ""
        assert instrument.source("nothing") is None


class TestRefusals:
    def test_unknown_key(self, tmp_path):
        message = refused(tmp_path, 'wording = "How confident are you?"', 'wordng = "How confident are you?"')
        assert message.splitlines()[:2] == [
            "InstrumentError: unknown key 'wordng'",
            "  where     small.toml, items.conf",
        ]
        assert message.splitlines()[-2:] == ["  got       'wordng'", "  hint      did you mean 'wording'?"]

    def test_unknown_section(self, tmp_path):
        assert refused(tmp_path, "", "[qualty]\n") == (
            "InstrumentError: unknown key 'qualty'\n"
            "  where     small.toml, the file\n"
            "  expected  instrument, keys, slots, roles, stages, scales, lists, items, missing, quality, long, delivery, personal\n"
            "  got       'qualty'\n"
            "  hint      did you mean 'quality'?"
        )

    def test_wrong_type(self, tmp_path):
        assert refused(tmp_path, 'label = "Confidence"', "label = 3") == (
            "InstrumentError: items.conf.label is not as an instrument has it\n"
            "  where     small.toml, items.conf.label\n"
            "  expected  Input should be a valid string\n"
            "  got       3\n"
            "  hint      give items.conf.label a value as expected"
        )

    def test_unknown_kind(self, tmp_path):
        assert refused(tmp_path, 'kind = "multi"', 'kind = "mult"') == (
            "InstrumentError: items.worry.kind is not as an instrument has it\n"
            "  where     small.toml, items.worry.kind\n"
            "  expected  'identifier', 'date', 'single', 'ordinal', 'multi', 'rank', 'number', 'text' or 'flag'\n"
            "  got       'mult'\n"
            "  hint      did you mean 'multi'?"
        )

    def test_unknown_construct(self, tmp_path):
        assert "did you mean 'adoption_gradient'?" in refused(tmp_path, '"adoption_gradient"', '"adoption_gradent"')

    def test_missing_key(self, tmp_path):
        assert refused(tmp_path, 'label = "Confidence"\n', "") == (
            "InstrumentError: 'label' is missing\n"
            "  where     small.toml, items.conf\n"
            "  expected  label = ...\n"
            "  hint      add the key 'label'"
        )

    def test_unknown_scale(self, tmp_path):
        assert refused(tmp_path, 'scale = "likert"', 'scale = "lickert"') == (
            "InstrumentError: there is no scale or list 'lickert'\n"
            "  where     small.toml, items.conf.scale\n"
            "  expected  roles, stages, likert\n"
            "  got       'lickert'\n"
            "  hint      did you mean 'likert'?"
        )

    def test_route_to_an_unknown_item(self, tmp_path):
        assert refused(tmp_path, 'item = "stage", in', 'item = "stagge", in') == (
            "InstrumentError: there is no item 'stagge'\n"
            "  where     small.toml, items.worry.asked_if\n"
            "  expected  resp_id, wave, role, stage, conf\n"
            "  got       'stagge'\n"
            "  hint      did you mean 'stage'?"
        )

    def test_route_to_an_unknown_option(self, tmp_path):
        assert refused(tmp_path, 'in = ["late"]', 'in = ["lat"]') == (
            "InstrumentError: there is no option 'lat'\n"
            "  where     small.toml, items.worry.asked_if\n"
            "  expected  early, late\n"
            "  got       'lat'\n"
            "  hint      did you mean 'late'?"
        )

    def test_route_on_an_item_of_another_wave(self, tmp_path):
        text = SMALL.replace(
            'kind = "ordinal"\nscale = "likert"', 'kind = "ordinal"\nscale = "likert"\nfirst_wave = "2025"'
        )
        path = tmp_path / "small.toml"
        path.write_text(
            text.replace('{ item = "stage", in = ["late"] }', '{ item = "conf", in = [1] }'), encoding="utf-8"
        )
        with pytest.raises(InstrumentError, match="routes on an item that wave 2024 does not ask"):
            Instrument.load(path, "2024")
        assert Instrument.load(path, "2025").item("worry").asked_if.item == "conf"

    def test_exclusive_option_that_is_none(self, tmp_path):
        assert refused(tmp_path, 'exclusive = ["none"]', 'exclusive = ["non"]') == (
            "InstrumentError: there is no option 'non'\n"
            "  where     small.toml, items.worry.exclusive\n"
            "  expected  cost, law, none\n"
            "  got       'non'\n"
            "  hint      did you mean 'none'?"
        )

    def test_unknown_role_asked(self, tmp_path):
        assert "there is no role 'bos'" in refused(tmp_path, 'asked_of = ["boss"]', 'asked_of = ["bos"]')

    @pytest.mark.parametrize("cap", ["cap = 0", "cap = 4", 'cap = "2"'])
    def test_cap_out_of_reason(self, tmp_path, cap):
        assert "worry" in refused(tmp_path, 'exclusive = ["none"]', cap)

    def test_cap_on_a_single_choice(self, tmp_path):
        assert "cap and exclusive on items of kind multi only" in refused(
            tmp_path, 'label = "Confidence"', 'label = "Confidence"\ncap = 2'
        )

    @pytest.mark.parametrize(
        ("days", "told"),
        [
            ('earliest = "2026-03-31"\nlatest = "2026-01-05"', "earliest <= latest"),
            ('earliest = "31/03/2026"', "a day as 2026-01-31"),
            ('latest = "2026-W05-1"', "a day as 2026-01-31"),
            ('latest = "2026-02-30"', "a day as 2026-01-31"),
            ('unit = "quarter"\nlatest = "2026-03-31"', "items of kind date, not quarters"),
        ],
    )
    def test_days_that_cannot_be_meant(self, tmp_path, days, told):
        assert told in refused(tmp_path, "", f'[items.met]\nkind = "date"\nlabel = "Met"\n{days}\n')

    def test_days_of_an_item_that_is_no_date(self, tmp_path):
        extra = 'label = "Confidence"\nlatest = "2026-03-31"'
        assert "items of kind date" in refused(tmp_path, 'label = "Confidence"', extra)

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ('code = 2\nid = "late"', 'code = 1\nid = "late"', "code '1' stands twice"),
            ('id = "late"', 'id = "early"', "id 'early' stands twice"),
            ('{ code = 2, label = "Middle" }', '{ code = 1, label = "Middle" }', "code '1' stands twice"),
            ('id = "law"', 'id = "cost"', "native column 'worry_cost' stands twice"),
            ('label = "Confidence"', 'label = "Confidence"\ncolumn = "stage"', "column 'stage' stands twice"),
        ],
    )
    def test_duplicates(self, tmp_path, old, new, told):
        assert told in refused(tmp_path, old, new)

    def test_an_item_declared_twice_is_told_with_its_line(self, tmp_path):
        message = refused(tmp_path, "", '[items.conf]\nkind = "text"\n')
        assert message.startswith("InstrumentError: the instrument file is not TOML\n  where     small.toml\n")
        assert "line" in message

    def test_missing_code_that_is_an_answer(self, tmp_path):
        assert refused(tmp_path, "code = 99", "code = 3") == (
            "InstrumentError: two answers of item role go by the same text\n"
            "  where     small.toml, items.role\n"
            "  expected  every code, id, label and synonym names one answer\n"
            "  got       '3' is 'aide' and 'dont_know'\n"
            "  hint      change one code, id, label or synonym; missing codes count too"
        )

    def test_key_that_names_no_item(self, tmp_path):
        assert refused(tmp_path, 'role = "role"', 'role = "rolle"') == (
            "InstrumentError: there is no item 'rolle'\n"
            "  where     small.toml, keys.role\n"
            "  expected  resp_id, wave, role, stage, conf, worry\n"
            "  got       'rolle'\n"
            "  hint      did you mean 'role'?"
        )

    def test_key_of_the_wrong_kind(self, tmp_path):
        assert "the item of key stage is of the wrong kind" in refused(tmp_path, 'stage = "stage"', 'stage = "role"')

    def test_key_with_other_answers(self, tmp_path):
        assert "the answers of item conf are not the instrument's stages" in refused(
            tmp_path, 'stage = "stage"', 'stage = "conf"'
        )

    @pytest.mark.parametrize(
        ("rule", "told"),
        [
            ('name = "a"\nkind = "min_minutes"\naction = "exclude"', "value = minutes, above 0"),
            ('name = "a"\nkind = "min_minutes"\nvalue = 4\naction = "exclude"', "keys.start and keys.end"),
            ('name = "a"\nkind = "straight_line"\nitems = ["conf"]\naction = "flag"', "min_items = 2 or more"),
            ('name = "a"\nkind = "attention"\nitem = "conf"\nexpected = 9\naction = "flag"', "there is no option '9'"),
            ('name = "a"\nkind = "attention"\nitem = "conv"\nexpected = 1\naction = "flag"', "did you mean 'conf'?"),
            ('name = "a"\nkind = "attention"\nitem = "conf"\nexpected = 1\naction = "drop"', "'exclude' or 'flag'"),
        ],
    )
    def test_quality_rules(self, tmp_path, rule, told):
        assert told in refused(tmp_path, "", f"[[quality]]\n{rule}\n")

    @pytest.mark.parametrize("wave", ["../../x", "", "a/b", "x y"])
    def test_a_wave_is_no_path(self, tmp_path, wave):
        assert "the instrument has no wave" in refused(tmp_path, "", "", wave)

    @pytest.mark.parametrize("new", ["roles = 5\n", "[scales]\nlikert2 = 3\n", "[lists]\nlikert = []\n", "[[items]]\n"])
    def test_sections_of_the_wrong_form(self, tmp_path, new):
        path = tmp_path / "small.toml"
        path.write_text(new + "[instrument]\nid = 'a'\nversion = '1'\ntitle = 'a'\n", encoding="utf-8")
        with pytest.raises(InstrumentError):
            Instrument.load(path, "2024")

    def test_no_file(self, tmp_path):
        with pytest.raises(InstrumentError, match="there is no such instrument file"):
            Instrument.load(tmp_path / "nothing.toml", "2024")

    def test_not_text(self, tmp_path):
        (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(InstrumentError, match="not UTF-8"):
            Instrument.load(tmp_path / "bad.toml", "2024")

    def test_unknown_item_option_and_label_offer_the_nearest(self):
        with pytest.raises(InstrumentError, match="does not ask item 'conff'") as caught:
            QUAIE.item("conff")
        assert caught.value.hint == "did you mean 'conf'?"
        with pytest.raises(InstrumentError) as caught:
            QUAIE.item("role").option("CTOO")
        assert caught.value.hint == "did you mean CTO?"
        with pytest.raises(InstrumentError) as caught:
            QUAIE.option_label("stage", "scalled")
        assert caught.value.hint == "did you mean 'scaled'?"


def test_parts_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        QUAIE.item("conf").label = "x"


def test_a_format_string_in_a_label_reaches_nothing(tmp_path):
    extra = '[items.many]\nkind = "flag"\nrepeat = ["a"]\nlabel = "{label.__class__} {0} {label}"\n'
    assert small(tmp_path, "", extra).item("many_a").label == "{label.__class__} {0} a"


def test_models_can_be_built_by_hand():
    points = (Option(code=1, id="1", label="No"), Option(code=2, id="2", label="Yes"))
    scale = Scale(name="s", points=points)
    item = Item(
        name="x",
        kind="ordinal",
        label="X",
        scale="s",
        options=points,
        missing=(MissingCode(code=9, id="dk", label="?"),),
    )
    assert (scale.low, scale.high, item.read("9").reason) == (1, 2, "dk")


class TestOspo:
    @pytest.mark.parametrize("wave", OSPO_WAVES)
    def test_the_instrument_holds_in_every_wave(self, wave):
        instrument = Instrument.load(OSPO, wave)
        assert instrument.stage_ids == ["none", "planning", "informal", "formal"]
        assert ("security" in instrument.role_ids) == (wave == "2024")
        assert ("run" in instrument) == (wave != "2024")
        assert ("funding" in instrument) == (wave != "2024")
        assert instrument.keys.organisation == ""
        assert [item.name for item in instrument.measures("adoption_gradient")] == ["critical"]
        assert instrument.item("critical").comparable == (wave != "2023")

    def test_wordings_follow_the_wave(self):
        assert (
            Instrument.load(OSPO, "2021").wording("est").endswith("establishing an open source program? (Choose three)")
        )
        assert "an OSPO or similar" in Instrument.load(OSPO, "2024").wording("est")
        assert Instrument.load(OSPO, "2024").option_label("why", "never_heard").endswith("program or OSPO")

    @pytest.mark.skipif(not OSPO_DATA.is_file(), reason="the survey's data are not beside this copy of the project")
    @pytest.mark.parametrize("wave", OSPO_WAVES)
    def test_every_delivered_answer_is_known(self, wave):
        instrument = Instrument.load(OSPO, wave)
        delivered = pd.read_csv(OSPO_DATA, dtype="string", keep_default_na=False)
        delivered = delivered[delivered["wave"] == wave]
        elsewhere = {form.family for form in instrument.long}  # in a file of their own, one answer a row
        for item in instrument.items:
            if item.family in elsewhere:
                continue
            if item.kind == "multi":
                multi = item.resolve_multi(delivered)
                assert not multi.unknown.to_numpy().any(), item.name
                ticked = delivered[list(item.delivered_columns().values())].eq("1").sum().sum()
                assert multi.value.sum().sum() == ticked
            else:
                assert not item.resolve(delivered[item.column or item.name]).unknown.any(), item.name
        strange = [c for c in delivered if instrument.source(c) is None and c not in instrument.dormant]
        assert strange == []

    @pytest.mark.skipif(not OSPO_DATA.is_file(), reason="the survey's data are not beside this copy of the project")
    @pytest.mark.parametrize("wave", OSPO_WAVES)
    def test_nobody_answered_what_routing_withheld(self, wave):
        instrument = Instrument.load(OSPO, wave)
        delivered = pd.read_csv(OSPO_DATA, dtype="string", keep_default_na=False)
        delivered = delivered[delivered["wave"] == wave]
        stage = pd.DataFrame({"stage": instrument.item("stage").resolve(delivered["stage"]).value})
        for item in instrument.items:
            if item.asked_if is not None:
                columns = list(item.delivered_columns().values())
                answered = delivered[columns].ne("").any(axis=1)
                assert not (answered & ~instrument.asked(item.name, stage).fillna(value=False)).any(), item.name


class TestSlots:
    """An analysis asks for a question by its purpose; a survey may call it otherwise."""

    def test_the_item_of_that_name_fills_the_slot(self, tmp_path):
        instrument = small(tmp_path)
        assert [item.name for item in instrument.slot("conf")] == ["conf"]
        assert instrument.slot("owner") == ()

    def test_another_item_may_fill_it(self, tmp_path):
        instrument = small(tmp_path, "", '[slots]\nowner = "conf"\n')
        assert [item.name for item in instrument.slot("owner")] == ["conf"]

    def test_items_numbered_from_one_fill_it_up_to_the_first_gap(self):
        assert [item.name for item in QUAIE.slot("prac")] == [f"prac_{k}" for k in range(1, 6)]
        assert [item.name for item in QUAIE.slot("lead")] == ["lead_1", "lead_2", "lead_3", "lead_4"]
        assert [item.name for item in QUAIE.slot("use_stab")] == ["use_stab_1", "use_stab_2", "use_stab_3"]
        assert QUAIE.slot("res") == ()

    def test_numbered_items_are_called_by_what_their_labels_share(self):
        assert QUAIE.label("lead") == "Leader"
        assert QUAIE.label("prac") == (
            "Shared vision and Work across teams and Living roadmap and Shared knowledge and Shared context"
        )
        assert "asked before judging" in QUAIE.wording("lead")

    def test_a_slot_names_an_item_that_exists(self, tmp_path):
        message = refused(tmp_path, "", '[slots]\nowner = "cnf"\n')
        assert "slots.owner" in message
        assert "did you mean 'conf'?" in message or "did you mean conf?" in message
