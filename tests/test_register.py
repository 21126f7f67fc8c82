"""The register of claims as a file: complete, typed, and not contradicting itself."""

import datetime as dt
import math
import re
import tomllib
from pathlib import Path

import pytest

REGISTER = Path(__file__).resolve().parents[1] / "instruments" / "claims.toml"
CONTENT = tomllib.loads(REGISTER.read_text(encoding="utf-8"))
CLAIMS = {claim["id"]: claim for claim in CONTENT["claim"]}
JUDGED_NOW = ("H2", "H3", "H4", "H5", "H12", "H15", "H16", "H17", "H18")
PRIMARY = ["H2", "H3", "H4", "H5", "H6", "H7", "H8", "H9", "H17", "H25"]
FIRST_ESSAY = [f"H{number}" for number in range(27, 37)]

CLAIM_TYPES = {
    "id": str,
    "text": str,
    "source": str,
    "status": str,
    "family": str,
    "planned": bool,
    "estimand": str,
    "items": list,
    "margin": float,
    "unit": str,
    "direction": str,
    "rule": str,
    "margins": list,
    "needs": dict,
    "awaits": str,
    "reading": str,
    "parts": list,
}
PART_TYPES = {
    "label": str,
    "construct": str,
    "measure": str,
    "statistic": str,
    "role": str,
    "role_2": str,
    "stage": str,
    "margin": float,
    "unit": str,
    "direction": str,
}
PART_OPTIONAL = {"judged": bool, "stage_2": str, "segment": str, "item": str}
UNITS = {"scale_point", "proportion", "ratio", "log_ratio", "index", "rank"}
RULES = {"intersection", "single", "bound", "none"}
CONSTRUCTS = {
    "adoption_gradient",
    "role_shift",
    "lead_lag",
    "alignment_map",
    "influence",
    "blockers",
    "perception_gap",
    "readiness",
    "practices",
    "sample",
}
ROLES = {"", "CEO", "CFO", "CTO", "CMO", "CHRO", "GC"}
STAGES = {"", "evaluating", "experimenting", "piloting", "production", "scaled"}
RANGES = {"proportion": (-1, 1), "ratio": (0, math.inf), "rank": (1, 10), "scale_point": (-4, 4), "log_ratio": (-3, 3)}

each_claim = pytest.mark.parametrize("claim", CONTENT["claim"], ids=lambda claim: claim["id"])
each_part = pytest.mark.parametrize(
    ("claim", "part"),
    [(claim, part) for claim in CONTENT["claim"] for part in claim["parts"]],
    ids=lambda value: value.get("id", value.get("label", "")),
)
each_fact = pytest.mark.parametrize("fact", CONTENT["external"], ids=lambda fact: fact["id"])


def judged(claim: dict) -> list[dict]:
    return [part for part in claim["parts"] if part.get("judged", True)]


def test_every_hypothesis_stands_once_in_order():
    assert [claim["id"] for claim in CONTENT["claim"]] == [f"H{number}" for number in range(1, 37)]


def test_the_register_names_its_primary_family():
    register = CONTENT["register"]
    assert register == {"version": "2026Q1.1", "family_primary": PRIMARY, "alpha": 0.05}
    assert [name for name, claim in CLAIMS.items() if claim["family"] == "primary"] == PRIMARY


@each_claim
def test_a_claim_is_complete_and_typed(claim):
    assert set(claim) - {"margins_apply_to"} == set(CLAIM_TYPES)
    assert not [name for name, kind in CLAIM_TYPES.items() if type(claim[name]) is not kind]
    assert claim["status"] == "hypothesis"
    assert claim["family"] in {"primary", "secondary"}
    assert claim["planned"]
    assert claim["unit"] in UNITS
    assert claim["direction"] in {"above", "below"}
    assert claim["rule"] in RULES
    assert claim["items"]
    assert all(isinstance(item, str) and item for item in claim["items"])
    assert len(set(claim["items"])) == len(claim["items"])
    assert set(claim["needs"]) == {"waves", "informants"}
    assert all(type(number) is int and number >= 1 for number in claim["needs"].values())


@each_claim
def test_a_claim_is_one_neutral_sentence(claim):
    text = claim["text"]
    assert text.endswith(".")
    assert ". " not in text
    assert not re.search(r"[0-9%$]", text), "figures of others are no part of a hypothesis"
    assert "causes" not in text
    assert claim["estimand"].endswith(".")
    assert claim["reading"].endswith(".")


@each_claim
def test_a_claim_comes_from_where_it_says(claim):
    assert (claim["source"] == "first essay") == (claim["id"] in FIRST_ESSAY)
    assert claim["source"]


@each_claim
def test_a_claim_that_waits_says_for_which_chapter(claim):
    awaits = claim["awaits"]
    if claim["id"] in JUDGED_NOW:
        assert not awaits
    assert not awaits or re.match(r"not built yet: (judged|described) by the \w+ chapter\b", awaits)


@each_claim
def test_the_margins_include_the_one_that_decides(claim):
    margins = claim["margins"]
    assert all(type(margin) is float and math.isfinite(margin) for margin in margins)
    assert margins == sorted(set(margins))
    if claim["rule"] == "none":
        assert not margins
        return
    applied = [part for part in judged(claim) if claim.get("margins_apply_to", part["statistic"]) == part["statistic"]]
    assert applied, "margins_apply_to names no judged part"
    assert {part["unit"] for part in applied} & UNITS
    assert len({part["unit"] for part in applied}) == 1, "one list of margins for parts of different units"
    assert {abs(part["margin"]) for part in applied} <= set(margins)


@each_claim
def test_the_rule_fits_the_parts(claim):
    parts = judged(claim)
    assert parts
    assert (claim["rule"] in {"single", "bound", "none"}) <= (len(parts) == 1)
    assert (claim["rule"] == "intersection") == (len(parts) > 1)
    first = parts[0]
    if claim["rule"] != "intersection":
        assert (claim["margin"], claim["unit"], claim["direction"]) == (
            first["margin"],
            first["unit"],
            first["direction"],
        )


@each_part
def test_a_part_is_complete_and_typed(claim, part):
    assert set(part) - set(PART_OPTIONAL) == set(PART_TYPES)
    kinds = PART_TYPES | PART_OPTIONAL
    assert not [name for name in part if type(part[name]) is not kinds[name]]
    assert part["label"]
    assert part["measure"]
    assert re.fullmatch(r"[a-z][a-z_]*", part["statistic"])
    assert part["construct"] in CONSTRUCTS
    assert part["unit"] in UNITS
    assert part["direction"] in {"above", "below"}
    assert set(part["role"].split("+")) <= ROLES
    assert part["role_2"] in ROLES
    assert part["stage"] in STAGES
    assert part.get("stage_2", "") in STAGES
    assert not part.get("stage_2") or (part["stage"] and part["role_2"]), "a contrast names two roles and two stages"
    low, high = RANGES.get(part["unit"], (-1, 16))
    assert low <= part["margin"] <= high
    assert claim["family"]


@each_claim
def test_a_part_stands_once(claim):
    names = ("construct", "measure", "statistic", "role", "role_2", "stage", "stage_2", "segment", "item", "direction")
    keys = [tuple(part.get(name, "") for name in names) for part in claim["parts"]]
    assert len(set(keys)) == len(keys)
    labels = [part["label"] for part in claim["parts"]]
    assert len(set(labels)) == len(labels)


# ------------------------------------------------------------------------------- what the essays' claims must not become


def test_the_naive_gap_is_never_judged_and_never_alone():
    parts = CLAIMS["H3"]["parts"]
    assert {part["statistic"] for part in judged(CLAIMS["H3"])} == {"role_part"}
    for measure in ("conf", "prep"):
        shown = {part["statistic"] for part in parts if part["measure"] == measure}
        assert shown == {"role_part", "stage_part", "naive_gap"}


def test_role_against_stage_needs_the_fair_comparison_too():
    found = {(part["statistic"], part["measure"]) for part in judged(CLAIMS["H4"])}
    assert found == {(name, item) for name in ("range_difference", "gradient_ratio_log") for item in ("conf", "prep")}
    assert not [part for claim in CLAIMS.values() for part in claim["parts"] if part["statistic"] == "range_raw"]


def test_universal_words_are_bounds():
    assert {name for name, claim in CLAIMS.items() if claim["rule"] == "bound"} == {"H1", "H7", "H27"}


@each_part
def test_margins_of_log_ratios_are_those_of_ratios(claim, part):
    if part["unit"] == "log_ratio":
        assert math.isclose(part["margin"], math.log(1.25), rel_tol=1e-15)
        assert claim["margins"] == pytest.approx([math.log(ratio) for ratio in (1, 1.1, 1.25, 1.5)], rel=1e-15)


def test_claims_of_one_team_or_of_time_say_what_they_need():
    needs = {name: claim["needs"] for name, claim in CLAIMS.items()}
    assert {name for name, need in needs.items() if need["waves"] == 3} == {"H10", "H11", "H26"}
    assert {name for name, need in needs.items() if need["informants"] == 3} == {
        "H8",
        "H12",
        "H15",
        "H17",
        "H19",
        "H20",
        "H21",
        "H23",
    }


# ---------------------------------------------------------------------------------------------------- outside facts


@each_fact
def test_an_outside_fact_says_where_it_is_from_and_who_looked(fact):
    assert set(fact) - {"n", "year"} == {"id", "statement", "source", "status", "checked", "note"}
    assert fact["status"] in {"confirmed", "mismatch", "unverified", "unsourced"}
    assert fact["checked"] == dt.date(2026, 11, 22)
    assert fact["note"]
    assert (fact["status"] == "unsourced") == (not fact["source"])
    assert fact.get("n", 1) > 0
    assert 2000 < fact.get("year", 2026) <= fact["checked"].year
    if fact["status"] == "unsourced":
        assert "n" not in fact
        assert "year" not in fact


def test_outside_facts_keep_the_status_that_was_found():
    found = {fact["id"]: fact["status"] for fact in CONTENT["external"]}
    assert len(found) == len(CONTENT["external"])
    assert not set(found) & set(CLAIMS)
    assert found["bcg_radar_2025_sample"] == "confirmed"
    assert found["bcg_people_process_split"] == "mismatch"
    assert {name for name, status in found.items() if status == "unverified"} == {
        "mckinsey_2024_nontechnical_roles",
        "goldman_zero_use_cases",
    }


# measures.md, "Provenance of the essays' outside facts" and "Effect sizes others report", by what each says and its status.
OUTSIDE = {
    "1,803 executives": "confirmed",
    "70 per cent": "mismatch",
    "non-technical role": "unverified",
    "zero use cases": "unverified",
    "30% faster deployments": "unsourced",
    "25-35% fewer bottlenecks": "unsourced",
    "$2M": "unsourced",
    "40% latency and $50k": "unsourced",
    "61% of CIOs and CTOs, 40% of COOs, 30% of CEOs": "confirmed",
    "39% of CIOs and CTOs, 7% of COOs": "confirmed",
    "59% of CFOs and 61% of CIOs": "confirmed",
}


def test_every_outside_fact_of_the_specification_is_registered():
    facts = CONTENT["external"]
    found = {said: [fact["status"] for fact in facts if said in fact["statement"]] for said in OUTSIDE}
    assert found == {said: [status] for said, status in OUTSIDE.items()}
    assert len(facts) == len(OUTSIDE)
