"""The multiverse: declared choices, the samples they make, the mixed model's rows, the gate, and the count of agreement."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork import schema
from fieldwork.chapter import Chapter
from fieldwork.claims import KEY, Register, Survey, against_margins, judge
from fieldwork.clean import clean, take_in
from fieldwork.constructs.cells import design_for
from fieldwork.disclosure import Policy, publish
from fieldwork.errors import DataError, StudyError
from fieldwork.figures import curve
from fieldwork.intake import read_deliveries
from fieldwork.multiverse import (
    CHOICES,
    PARTS,
    Declaration,
    Evidence,
    Samples,
    Specification,
    agreement,
    declared,
    designs,
    estimate,
    explore,
)
from fieldwork.multiverse.lens import through_model
from fieldwork.multiverse.samples import by_organisation_stage
from fieldwork.study import Study
from fieldwork.tables import claims_table, multiverse_table, verdicts_table
from fieldwork.weight import Margins, rake
from tests.drawn_study import untold

ROOT = Path(__file__).resolve().parents[1]
MAIN = Specification(*(options[0] for options in CHOICES.values()))


# ------------------------------------------------------------------------------------------------------- what is declared


def test_the_shipped_declaration_is_the_set_that_holds_without_one(tmp_path):
    assert declared(ROOT / "instruments/multiverse.toml") == Declaration() == declared(None)
    assert declared(tmp_path / "none.toml") == Declaration()
    assert Declaration().specifications()[0] == MAIN


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("replicates = 100\n", "greater than or equal to 399"),
        ("replicats = 400\n", "did you mean replicates?"),
        ('[choices]\nlens = ["mixed_model", "cell_table"]\n', "does not start with the main analysis"),
        ("[choices]\nweights = []\n", "does not start with the main analysis"),
        ('[choices]\nmissing = ["available", "guessed"]\n', "'available', 'complete' or 'imputed'"),
        ("[choices\n", "is not valid TOML"),
    ],
)
def test_a_declaration_that_cannot_hold_is_told(tmp_path, text, told):
    path = tmp_path / "multiverse.toml"
    path.write_text(text)
    with pytest.raises(StudyError) as error:
        declared(path)
    assert told in str(error.value)


def test_a_choice_that_is_not_varied_makes_no_specification():
    found = Declaration.model_validate(
        {"crossing": "all", "choices": {"lens": ("cell_table",), "missing": ("available",)}}
    )
    made = found.specifications()
    assert len(made) == 8
    assert {each.lens for each in made} == {"cell_table"}
    assert Specification("none", "mixed_model", "kept", "organisation", "complete").only(
        frozenset({"weights"})
    ) == replace(MAIN, weights="none")


# ------------------------------------------------------------------------------------------------- the samples they make


@pytest.fixture(scope="module")
def wave(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multiverse") / "study"
    settings = {"speeders": 0.03, "item_missing": 0.05}
    untold("role_divergence", folder, organisations=110, seed=3, settings=settings)
    study = Study.open(folder)
    instrument = study.instrument()
    cleaned = clean(read_deliveries(study.raw_files(), instrument), instrument)
    return study, instrument, cleaned.responses, cleaned.missing, (cleaned.excluded, [cleaned.excluded_missing])


def samples_of(wave, **settings):
    study, instrument, responses, missing, excluded = wave
    margins = Margins.load(study.margins_path(), instrument)
    declaration = Declaration(**{"replicates": 400, **settings})
    return Samples.of(instrument, margins, (responses, [missing]), excluded, declaration, 1)


def relaxed(instrument):
    """The instrument with its rules of quality turned from setting rows aside to counting them."""
    quality = tuple(rule.model_copy(update={"action": "flag"}) for rule in instrument.quality)
    return instrument.model_copy(update={"quality": quality})


@pytest.mark.parametrize("key", [None, b"a key"])
def test_all_rows_are_what_cleaning_without_exclusions_makes(wave, key):
    study, instrument, *_ = wave
    cleaned, whole = (
        clean(read_deliveries(study.raw_files(), kind), kind, key=key) for kind in (instrument, relaxed(instrument))
    )
    excluded = (cleaned.excluded, [cleaned.excluded_missing])
    samples = samples_of((study, instrument, cleaned.responses, cleaned.missing, excluded))
    assert len(samples.others) == sum(cleaned.flow.by_rule.get(rule.name, 0) for rule in instrument.quality) > 0
    data, lines = samples.everybody()
    pd.testing.assert_frame_equal(data, whole.responses)
    nobody = (whole.excluded, [whole.excluded_missing])
    counted = samples_of((study, relaxed(instrument), whole.responses, whole.missing, nobody)).missing
    columns = ["resp_id", "item", "reason"]
    pairs = [set(each[columns].astype(str).itertuples(index=False)) for each in (lines, counted)]
    assert pairs[0] == pairs[1]
    assert whole.excluded.empty


def test_samples_are_read_from_what_cleaning_saved(wave, tmp_path):
    chapter = Chapter.open("01_clean", wave[0].folder, out=tmp_path)
    take_in(chapter, rows=100)
    made = samples_of(wave)
    read = Samples.read(chapter, made.declaration)
    assert read.seed == chapter.seed
    for one, two in zip(read.everybody(), made.everybody(), strict=True):
        pd.testing.assert_frame_equal(one, two)
    weights = [next(samples.designs(replace(MAIN, exclusions="kept"), ITEMS)).weight for samples in (read, made)]
    np.testing.assert_array_equal(*weights)


ITEMS = ("conf", "prep", "stage_fn")


def test_each_choice_changes_who_is_in_or_what_they_count(wave):
    samples = samples_of(wave)
    (main,) = samples.designs(MAIN, ITEMS)
    (plain,) = samples.designs(replace(MAIN, weights="none"), ITEMS)
    (kept,) = samples.designs(replace(MAIN, exclusions="kept"), ITEMS)
    (complete,) = samples.designs(replace(MAIN, missing="complete"), ITEMS)
    assert (plain.weight == 1).all()
    assert plain.layer_factor is None
    assert main.weight.std() > 0.05
    ids = [set(design.responses["resp_id"]) for design in (main, plain, kept, complete)]
    assert ids[0] == ids[1]
    assert ids[0] < ids[2]
    assert ids[3] < ids[0]
    assert complete.weight.mean() == pytest.approx(1.0)
    missing = wave[3][wave[3]["item"].isin(ITEMS)]
    given = set(missing.loc[~missing["reason"].isin(["not_applicable", "not_shown"]), "resp_id"].astype(str))
    assert ids[0] - ids[3] == given & {str(each) for each in ids[0]}
    # The organisations of a smaller sample keep their replicates.
    first = {
        name: main.multiplier[:, c].tolist() for name, c in zip(main.responses["org_id"], main.cluster, strict=True)
    }
    for name, c in zip(complete.responses["org_id"], complete.cluster, strict=True):
        assert complete.multiplier[:, c].tolist() == first[name]


def test_imputation_fills_what_could_have_been_answered_and_nothing_else(wave):
    samples = samples_of(wave)
    (main,) = samples.designs(MAIN, (*ITEMS, "blk", "meta_conf_*"))
    made = list(samples.designs(replace(MAIN, missing="imputed"), (*ITEMS, "blk", "meta_conf_*")))
    assert [design.replicates for design in made] == [80] * 5
    assert np.vstack([design.multiplier for design in made]).tolist() == main.multiplier.tolist()
    before = main.responses.set_index("resp_id")
    reasons = wave[3].set_index(["resp_id", "item"])["reason"].astype(str)
    for design in made:
        after = design.responses.set_index("resp_id")
        for name in ITEMS:
            was = before[name].notna()
            assert (after.loc[was, name] == before.loc[was, name]).all()
            left = after.index[after[name].isna()]
            assert {reasons[key, name] for key in left} <= {"not_applicable"}
            assert after[name].notna().sum() > was.sum()
        block = [column for column in after if column.startswith("blk_") and not column.startswith("blk_top")]
        filled = after.index[before[block].isna().any(axis=1) & after[block].notna().all(axis=1)]
        assert len(filled) > 0
        patterns = set(map(tuple, before[block].dropna().to_numpy().tolist()))
        assert all(tuple(row) in patterns for row in after.loc[filled, block].to_numpy().tolist())
        sampled = [column for column in after if column.startswith("meta_conf_")]
        blank = reasons[reasons.index.get_level_values("item").isin(sampled) & (reasons == "blank")].index
        assert all(pd.isna(after.loc[key, name]) for key, name in blank if key in after.index)
    assert made[0].responses["conf"].tolist() != made[1].responses["conf"].tolist()


def test_samples_do_not_depend_on_the_order_of_rows(wave):
    study, instrument, responses, missing, excluded = wave
    turned = (study, instrument, *(t.sample(frac=1, random_state=2) for t in (responses, missing)), excluded)
    imputed = replace(MAIN, missing="imputed")
    for one, two in zip(
        samples_of(wave).designs(imputed, ITEMS), samples_of(turned).designs(imputed, ITEMS), strict=True
    ):
        pd.testing.assert_frame_equal(one.responses[list(ITEMS)], two.responses[list(ITEMS)])
        assert one.weight == pytest.approx(two.weight, rel=1e-12)


def test_choices_that_change_nothing_are_not_crossed(wave):
    samples = samples_of(wave)
    assert samples.applies(("conf", "stage_fn")) == {"weights", "exclusions", "stage", "missing"}
    assert samples.applies(("blk_*",)) == {"weights", "exclusions", "missing"}
    assert replace(samples, margins=Margins(), others=samples.others[:0]).applies(("resp_id",)) == frozenset()


def test_instruments_of_the_choices(wave):
    instrument = wave[1]
    assert by_organisation_stage(instrument).keys.stage == instrument.keys.stage_organisation
    assert by_organisation_stage(by_organisation_stage(instrument)) == instrument


# -------------------------------------------------------------------------------------------------------- judged again


@pytest.fixture(scope="module")
def register():
    return Register.load(ROOT / "instruments/claims.toml")


def judged(register, samples, survey, policy):
    evidence = estimate(register, samples, survey, policy)
    return explore(register, evidence, samples.declaration, survey, policy, wave="2026Q1")


@pytest.fixture(scope="module")
def universe(wave, register):
    samples = samples_of(wave, crossing="single")
    only = {"H2", "H3", "H4", "H5"}
    claims = tuple(c.model_copy(update={"awaits": "" if c.id in only else "later"}) for c in register.claims)
    limited = replace(register, claims=claims)
    found = judged(limited, samples, Survey.of(wave[1], wave[2], 1), Policy())
    return limited, samples, found


def test_the_main_specification_is_the_main_analysis(wave, universe):
    limited, _, found = universe
    study, instrument, responses, *_ = wave
    margins = Margins.load(study.margins_path(), instrument)
    weights = rake(responses, margins).table(responses["resp_id"])
    design = design_for(instrument, responses, weights, margins, replicates=400, seed=1)
    made = designs.CONSTRUCTS["adoption_gradient"](instrument, design, limited)
    tested = against_margins(limited, made.estimates, made.draws)
    records = {r["id"]: r for r in judge(limited, tested, publish(tested.estimates, Policy(), made.bases))}
    main = found.table[found.table["main"] & found.table["registered_margin"]].set_index("claim")
    assert set(main.index) == {"H2", "H3", "H4", "H5"}
    for name, row in main.iterrows():
        record = records[name]
        assert row["verdict"] == record["verdict"]
        if record["verdict"] == "not_assessable":
            continue
        assert row["part"] == record["part"]
        numbers = {**record, **record["base"]}
        for number in ("estimate", "conf_low", "conf_high", "n", "n_organisations"):
            assert (None if pd.isna(row[number]) else row[number]) == numbers[number], (name, number)


def test_every_specification_stands_once_at_every_margin(universe):
    _, samples, found = universe
    table = found.table
    schema.conform(table, schema.MULTIVERSE)
    assert not table.duplicated(["claim", "specification", "margin"]).any()
    counts = table[table["registered_margin"]].groupby("claim").size()
    assert counts.to_dict() == dict.fromkeys(["H2", "H3", "H4", "H5"], len(samples.declaration.specifications()))
    assert table.groupby(["claim", "specification"])["registered_margin"].sum().eq(1).all()
    for _, row in table.drop_duplicates("specification").iterrows():
        assert (
            Specification(*(row[name] for name in CHOICES))
            == samples.declaration.specifications()[row["specification"] - 1]
        )
    assert found.left_out["H6"] == "later"
    assert set(found.applies["H4"]) == set(CHOICES)


def test_a_held_back_number_stays_held_back_in_every_specification(universe):
    """What the main analysis does not show is not shown under other choices, and few people are no difference."""
    _, samples, found = universe
    table = found.table
    shown = table[table["status"] == "ok"]
    assert set(shown.loc[shown["main"], "claim"]) == set(shown["claim"])
    hidden = table[table["status"] == "suppressed"]
    assert hidden[["estimate", "conf_low", "conf_high", "n", "n_organisations"]].isna().all(axis=None)
    assert (shown["n"].dropna() >= 10).all()
    for claim in (each for each in universe[0].claims if each.id in found.applies):
        mine = shown[(shown["claim"] == claim.id) & shown["registered_margin"]]
        part = next((p for p in claim.parts if len(mine) and p.label == mine["part"].iloc[0]), None)
        people = [
            behind(samples, claim, part, Specification(*(row[name] for name in CHOICES)))
            for row in mine.to_dict("records")
        ]
        for k, one in enumerate(people):
            for other in people[k + 1 :]:
                assert len(one ^ other) == 0 or len(one ^ other) >= 10


def behind(samples, claim, part, specification):
    """Name who answered what a part asks under a specification, from its sample."""
    instrument = samples.instrument
    if specification.stage == "organisation":
        instrument = by_organisation_stage(instrument)
    data = next(samples.designs(specification, claim.items)).responses
    return set(data.loc[designs.behind(part, instrument, data), "resp_id"])


def brief(samples):
    """Return the samples with the one choice of exclusions, so that a test takes a second."""
    main = {name: options[:1] for name, options in CHOICES.items()}
    choices = {**main, "exclusions": CHOICES["exclusions"]}
    return replace(samples, declaration=Declaration.model_validate({"choices": choices}))


def test_a_design_is_made_once_and_dropped_before_the_next(wave, register, monkeypatch):
    """However many specifications there are: one design, and one completed sample of it, at a time; no construct twice."""
    samples = samples_of(wave, imputations=2)
    only = {"H4", "H9"}  # of the gradient, and of the gradient and blockers
    claims = tuple(c.model_copy(update={"awaits": "" if c.id in only else "later"}) for c in register.claims)
    weights: list[weakref.ref[np.ndarray]] = []
    tables: list[tuple[weakref.ref[pd.DataFrame], str, object]] = []
    made: list[tuple[str, str, int]] = []

    def alive(refs):
        gc.collect()
        return len({id(ref()) for ref in refs if ref() is not None})

    def design(self, specification, responses, make=Samples._design):
        assert alive(weights) == 0
        found = make(self, specification, responses)
        weights.append(weakref.ref(found.weight))
        made.append((specification.weights, specification.exclusions, len(responses)))
        return found

    def construct(name):
        def estimate(_, design, *__):
            assert not any((ref() is design.responses, *said) == (True, name, design.stage) for ref, *said in tables)
            tables.append((weakref.ref(design.responses), name, design.stage))
            assert alive([ref for ref, *_ in tables]) <= 1 + (design.replicates < 400)
            parts = [part for claim in claims for part in claim.judged if part.construct_ == name]
            return designs._refused(parts, "not estimated here")

        return estimate

    monkeypatch.setattr(Samples, "_design", design)
    for name in ("adoption_gradient", "blockers"):
        monkeypatch.setitem(designs.CONSTRUCTS, name, construct(name))
    found = judged(replace(register, claims=claims), samples, Survey(), Policy())
    assert found.table["reason"].str.endswith("not estimated here").all()
    assert set(found.applies) == only
    # As accepted, without weights, with all rows, and the complete cases of either claim.
    assert len(made) == 5
    assert len({each[:2] for each in made}) == 3
    refs = [ref for ref, *_ in tables]
    assert len(refs) > len(made)
    assert alive(refs) == alive(weights) <= 1  # the samples hold the last, if any
    samples._held = None
    assert alive(refs) == alive(weights) == 0


def test_the_gate_of_the_main_analysis_is_asked(universe):
    limited, samples, _ = universe
    samples = brief(samples)
    strict = Policy(minimum_respondents=2000)
    found = judged(limited, samples, Survey(), strict)
    assert set(found.table["status"]) == {"suppressed"}
    assert set(found.table["verdict"]) == {"not_assessable"}


def test_the_same_table_comes_again(wave, universe):
    limited, _, found = universe
    study, instrument, responses, missing, excluded = wave
    turned = (study, instrument, *(t.sample(frac=1, random_state=5) for t in (responses, missing)), excluded)
    again = judged(limited, samples_of(turned, crossing="single"), Survey.of(instrument, responses, 1), Policy())
    pd.testing.assert_frame_equal(found.table, again.table)


def test_parts_worked_off_apart_and_saved_are_the_whole(wave, register, tmp_path):
    """Each part with samples of its own, in files between; also where a sample departs in both choices."""
    study, instrument, responses, missing, excluded = wave
    margins = Margins.load(study.margins_path(), instrument)
    main = {name: options[:1] for name, options in CHOICES.items()}
    crossed = {**main, "exclusions": CHOICES["exclusions"], "missing": ("available", "imputed")}
    declaration = Declaration.model_validate({"crossing": "all", "imputations": 2, "choices": crossed})
    claims = tuple(c.model_copy(update={"awaits": "" if c.id == "H4" else "later"}) for c in register.claims)
    limited, survey, policy = replace(register, claims=claims), Survey.of(instrument, responses, 1), Policy()
    for part in PARTS:
        chapter = Chapter.open(f"08c_designs_{part}", study.folder, out=tmp_path)
        samples = Samples.of(instrument, margins, (responses, [missing]), excluded, declaration, 1)
        made = estimate(limited, samples, survey, policy, part=part)
        made.save(chapter, part)
        assert {Specification.named(name).part for name in made.estimates["specification"]} == {part}
        assert made.overview()["rows"].sum() == len(made.estimates) > 0
    evidence = Evidence.of(Chapter.open("08c_multiverse", study.folder, out=tmp_path))
    apart = explore(limited, evidence, declaration, survey, policy, wave="2026Q1")
    samples = Samples.of(instrument, margins, (responses, [missing]), excluded, declaration, 1)
    made = estimate(limited, samples, survey, policy)
    whole = explore(limited, made, declaration, survey, policy, wave="2026Q1")
    pd.testing.assert_frame_equal(apart.table, whole.table)
    # By hand all parts are made at once, each in its folder.
    at_once = Chapter.open("08c_designs", study.folder, out=tmp_path / "hand")
    made.save(at_once)
    pd.testing.assert_frame_equal(
        explore(limited, Evidence.of(at_once), declaration, survey, policy, wave="2026Q1").table, whole.table
    )
    assert apart.summary() == whole.summary()
    assert set(whole.applies["H4"]) >= {"exclusions", "missing"}
    assert whole.table["specification"].nunique() == 4


def test_a_part_that_there_is_not_is_refused(wave, register):
    with pytest.raises(DataError, match="expected  set_aside, kept, imputed"):
        estimate(register, samples_of(wave), Survey(), Policy(), part="imputd")


def test_a_sample_that_cannot_be_weighted_is_not_assessable_with_its_reason(universe, monkeypatch):
    limited, samples, _ = universe
    broken = replace(brief(samples), others=samples.others[:0])
    found = judged(limited, broken, Survey(), Policy()).table
    # Nobody was excluded, so the choice does not apply; told to apply, it fails for want of a role.
    assert set(found["exclusions"]) == {"set_aside"}
    monkeypatch.setattr(Samples, "applies", lambda *_: frozenset({"exclusions"}))
    without = samples.responses[samples.responses["role"] != "GC"]
    monkeypatch.setattr(Samples, "everybody", lambda _: (without, samples.missing))
    found = judged(limited, broken, Survey(), Policy()).table
    row = found[found["exclusions"] == "kept"].iloc[0]
    assert row["verdict"] == "not_assessable"
    assert "'role'" in row["reason"]


def completed(value, low, high, *, unit="rank", draws=(1.0, 2.0), status="ok"):
    key = {"construct": "lead_lag", "measure": "stage_fn", "statistic": "rank_high", "role": "CTO"}
    row = {**key, "unit": unit, "estimate": value, "conf_low": low, "conf_high": high, "conf_level": 0.95, "status": status,
           "reason": "too few" if status != "ok" else ""}  # fmt: skip
    drawn = pd.DataFrame([{**dict.fromkeys(KEY, ""), **key, "draws": np.array(draws)}])
    return designs.Estimates(schema.frame([row], schema.ESTIMATES), drawn, schema.frame([key], schema.BASES))


def test_rank_sets_of_completed_samples_are_pooled_to_what_any_leaves_open():
    made = designs._pooled([completed(2, 1, 2), completed(4, 2, 4), completed(3, 1, 3)])
    row = made.estimates.iloc[0]
    assert (row["estimate"], row["conf_low"], row["conf_high"]) == (4.0, 1.0, 4.0)
    assert len(made.draws["draws"].iloc[0]) == 6


def test_completed_samples_are_pooled_by_rubins_rules_and_a_refusal_stays_one():
    made = designs._pooled([completed(v, 0, 9, unit="index", draws=(v - 1.0, v + 1.0)) for v in (1.0, 3.0)])
    assert made.estimates["estimate"].iloc[0] == 2.0
    assert made.estimates["method"].iloc[0] == "multiple_imputation"
    assert np.var(made.draws["draws"].iloc[0]) == pytest.approx(1.0 + 1.5 * 2.0)
    refused = designs._pooled(
        [completed(1, 0, 9, unit="index"), completed(None, None, None, unit="index", status="not_assessable")]
    )
    assert (refused.estimates["status"].iloc[0], refused.estimates["reason"].iloc[0]) == ("not_assessable", "too few")


# ------------------------------------------------------------------------------------------------------ the mixed model


def test_the_mixed_model_says_the_same_as_the_cell_table_where_both_can(universe):
    limited, samples, _ = universe
    claims = [c for c in limited.claims if c.id in {"H2", "H3", "H4", "H5"}]
    parts = [part for claim in claims for part in claim.judged]
    instrument = samples.instrument
    (design,) = samples.designs(MAIN, ITEMS)
    cells = designs._gradient(instrument, design, limited)
    made = through_model(instrument, design, parts, cells)
    table = {tuple(row[n] for n in KEY): row for row in cells.estimates.to_dict("records")}
    seen = made.estimates.to_dict("records")
    assert {tuple(row[n] for n in KEY) for row in seen} >= {part.key for part in parts}
    for row in seen:
        cell = table[tuple(row[n] for n in KEY)]
        assert (row["n"], row["unit"]) == (cell["n"], cell["unit"])
        if row["status"] == "not_assessable":
            continue
        assert row["method"] == "clmm"
        low, high = (
            -np.inf if pd.isna(row["conf_low"]) else row["conf_low"],
            np.inf if pd.isna(row["conf_high"]) else row["conf_high"],
        )
        if row["statistic"] in {"role_part", "high_both_share"}:
            assert max(low, cell["conf_low"]) < min(high, cell["conf_high"]), row["statistic"]
    assert {row["statistic"] for row in seen if row["status"] != "not_assessable"} >= {
        "role_part",
        "gradient_ratio_log",
    }
    refused = replace(cells, estimates=cells.estimates.assign(status="not_assessable", reason="asked of nobody"))
    assert set(through_model(instrument, design, parts, refused).estimates["reason"]) == {"asked of nobody"}


def test_a_risk_difference_through_the_model_is_close_to_the_shares(universe):
    _, samples, _ = universe
    part = next(c for c in Register.load(ROOT / "instruments/claims.toml").claims if c.id == "H6").parts[0]
    (design,) = samples.designs(MAIN, ("blk",))
    role = design.responses["role"].isin(part.role.split("+")).to_numpy()
    cited = design.responses["blk_roi"].to_numpy(dtype=float, na_value=np.nan)
    answered = ~np.isnan(cited)
    shares = [np.average(cited[answered & who], weights=design.weight[answered & who]) for who in (role, ~role)]
    row = {
        **dict(zip(KEY, part.key, strict=True)),
        "unit": "proportion",
        "status": "ok",
        "n": 400,
        "n_organisations": 90,
    }
    cells = designs.Estimates(
        schema.frame([row], schema.ESTIMATES), pd.DataFrame(columns=[*KEY, "draws"]),
        schema.frame([dict(zip(KEY, part.key, strict=True))], schema.BASES),
    )  # fmt: skip
    made = through_model(samples.instrument, design, [part], cells).estimates.iloc[0]
    assert made["estimate"] == pytest.approx(shares[0] - shares[1], abs=0.02)
    assert made["conf_low"] < shares[0] - shares[1] < made["conf_high"]


# -------------------------------------------------------------------------------------------- counted, drawn and printed


def rows(verdicts, *, claim="H4", margin=0.22, numbers=True):
    made = []
    for k, verdict in enumerate(verdicts, start=1):
        shown = (
            {"estimate": 0.4 + 0.1 * k, "conf_low": 0.1, "conf_high": 0.9, "conf_level": 0.95, "n": 800}
            if numbers
            else {}
        )
        made.append(
            {**dict(zip(CHOICES, ("raked", "cell_table", "set_aside", "own_function", "available"), strict=True)),
             "weights": "raked" if k % 2 else "none", "wave": "w", "claim": claim, "specification": k, "main": k == 1,
             "margin": margin, "registered_margin": True, "part": "spread of roles", "unit": "log_ratio",
             "part_margin": margin, "direction": "above", "verdict": verdict, "status": "ok", **shown}
        )  # fmt: skip
    return schema.frame(made, schema.MULTIVERSE)


def test_agreement_counts_verdicts_and_sets_apart_what_was_not_assessed():
    table = rows(["supported", "supported", "inconclusive", "not_assessable"])
    other = rows(["inconclusive"] * 4, margin=0.4).assign(registered_margin=False)
    records = [{"id": "H4", "verdict": "supported"}, {"id": "H9", "verdict": "inconclusive"}]
    found = agreement(records, pd.concat([table, other], ignore_index=True))
    at = found[0]["multiverse"]["at_registered_margin"]
    assert (at["specifications"], at["assessed"], at["agree"]) == (4, 3, 2)
    assert at["verdicts"] == {"supported": 2, "contradicted": 0, "inconclusive": 1, "not_assessable": 1}
    assert (found[0]["multiverse"]["specifications"], found[0]["multiverse"]["agree"]) == (8, 2)
    assert found[0]["multiverse"]["choices"] == ["weights"]
    assert found[1]["multiverse"] is None
    json.dumps(found)
    assert found[0]["multiverse"]["main"] == "supported"


def test_the_curve_draws_each_specification_once_in_order_and_in_shapes():
    table = rows(["supported", "inconclusive", "contradicted", "not_assessable"])
    table.loc[3, ["estimate", "conf_low", "conf_high"]] = pd.NA
    figure = curve.draw(table, "H4", wave="w", study="A survey")
    assert figure.name == "multiverse_H4"
    assert figure.data["specification"].tolist() == [1, 2, 3, 4]
    assert figure.alt.startswith("Simulated data. Specification curve: H4 under 4 sets of analytic choices.")
    assert "1 of 4 come to the verdict of the main analysis: supported." in figure.caption
    assert "Specification 4 (none): no number shown, not assessable." in figure.long_description
    assert "Specification 1 (raked): 0.50 (0.10 to 0.90), supported." in figure.long_description
    sizes = [text.get_size() for axes in figure.drawing.axes for text in axes.get_yticklabels()]
    assert min([*sizes, *(text.get_size() for text in figure.drawing.texts)]) >= 7
    assert len(figure.drawing.axes) == 2
    with pytest.raises(DataError, match="no specification of H9"):
        curve.draw(table, "H9", wave="w")


def test_one_choice_makes_a_curve_without_a_matrix():
    figure = curve.draw(rows(["inconclusive"]), "H4", wave="w", provenance="delivered", study="A survey")
    assert len(figure.drawing.axes) == 1
    assert "imulated" not in figure.caption + figure.alt + figure.source


def test_tables_of_the_multiverse():
    table = rows(["supported", "inconclusive"])
    assert verdicts_table(table).frame().iloc[0].tolist() == [
        "H4",
        "ratio of 1.25",
        "registered",
        "Supported",
        "1",
        "0",
        "1",
        "0",
    ]
    shown = multiverse_table(table).frame()
    assert shown["Weights"].tolist() == ["raked", "none"]
    assert shown["Estimate and interval"].iloc[0] == "0.50 (0.10 to 0.90) log ratio"
    claims = agreement([{"id": "H4", "text": "t", "verdict": "supported", "unit": "log_ratio", "base": {}}], table)
    assert claims_table(claims).frame()["Specifications that agree"].tolist() == ["1 of 2"]
