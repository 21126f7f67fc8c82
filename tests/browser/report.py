"""Study folders as a run leaves them before the pages are made: estimates, claims, findings, counts, chapters, figures.

Two surveys (ten executive roles with organisations; nine open-source roles without), a run in which nothing could be
assessed, and one whose texts try to break out of the page. Numbers come from fixed formulae, so every build is the same.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd

from fieldwork import figures
from fieldwork.schema import ESTIMATES, frame
from fieldwork.study import Study

EVIL = "<script>alert('x')</script><img src=http://evil.example/p.png onerror=alert(1)>{{ 7*7 }}{% raw %}"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

ROLES = ["CEO", "CFO", "COO", "CIO", "CTO", "CDAO / CAIO", "CISO", "CMO", "CHRO", "General Counsel"]
STAGES = ["Evaluating", "Experimenting", "Piloting", "In production", "Scaled"]
LONG_ROLES = [
    "Executive sponsor of open source",
    "Legal and licence compliance counsel",
    "Open source programme office lead",
    "Engineering manager",
    "Software developer",
    "Security and supply-chain engineer",
    "Developer relations / community manager",
    "Procurement",
    "Site reliability and platform operations engineering lead",
]
LONG_STAGES = [
    "No programme office yet",
    "Planned within twelve months",
    "Virtual or informal programme",
    "Formal, staffed programme office",
]


@dataclass(frozen=True)
class World:
    """What a study folder is made with."""

    wave: str = "2026Q1"
    title: str = "Quaie executive fieldwork"
    provenance: str = "simulated"
    roles: tuple[str, ...] = tuple(ROLES)
    stages: tuple[str, ...] = tuple(STAGES)
    organisations: bool = True
    per_cell: int = 14
    assessed: bool = True
    text: str = ""
    chapters: bool = True
    counts: bool = True


QUAIE = World()
OSPO = World(
    wave="2023",
    title="Open source programme survey",
    provenance="real",
    roles=tuple(LONG_ROLES),
    stages=tuple(LONG_STAGES),
    organisations=False,
    per_cell=40,
)
NOTHING = World(assessed=False, per_cell=3, chapters=False, counts=False)
HOSTILE = World(text=EVIL, roles=("CEO", f"CTO {EVIL}"), stages=("Evaluating", f"Scaled {EVIL}"))


def make(folder: Path, world: World) -> Path:
    """Write the study folder of a world and return it."""
    reports = folder / "reports" / world.wave
    processed = folder / "data" / "processed" / world.wave
    for place in (reports / "chapters", processed):
        place.mkdir(parents=True)
    study_in(folder, world)
    study = Study.open(folder)
    table = estimates(world)
    table.to_parquet(reports / "estimates.parquet")
    table.to_csv(reports / "estimates.csv", index=False)
    drawn = figures.draw_all(table, study.instrument(), study) if world.assessed else []
    for figure in drawn:
        figures.save(figure, reports / "figures")
    _json(reports / "claims.json", claims(world))
    _json(reports / "findings.json", findings(world) if world.assessed else [])
    if world.counts:
        _json(processed / "01_clean.flow.json", flow(world))
        _json(processed / "02_validate.json", validation(world))
    if world.chapters:
        nbformat.write(notebook(world), reports / "chapters" / "04_gradient.ipynb")
    return folder


def role_ids(world: World) -> list[str]:
    return [f"r{k}" for k in range(len(world.roles))]


def stage_ids(world: World) -> list[str]:
    return [f"s{k}" for k in range(len(world.stages))]


def estimates(world: World, measures: tuple[str, ...] = ("conf", "prep")) -> pd.DataFrame:
    rows = [row for number, measure in enumerate(measures) for row in _measure(world, measure, number)]
    return frame(rows, ESTIMATES)


def _measure(world: World, measure: str, number: int) -> list[dict[str, object]]:
    rows = []
    common = {"wave": world.wave, "chapter": "04_gradient", "construct": "adoption_gradient", "measure": measure}
    for k, role in enumerate(role_ids(world)):
        mean = 2.3 + 1.9 * ((k * 7 + number) % 10) / 10
        total = 0
        for j, stage in enumerate(stage_ids(world)):
            n = world.per_cell + (k * 3 + j * 5) % 9 - 4
            total += n
            rows.append(common | _cell(world, role, stage, mean + 0.3 * (j - 2), n))
        rows.append(common | _cell(world, role, "", mean, total))
    for statistic, estimate in (("role_sd_corrected", 0.62), ("stage_sd_corrected", 0.35)):
        row = {"statistic": statistic, "unit": "scale_point", "estimate": estimate, "std_error": 0.08}
        row |= {"conf_low": estimate - 0.15, "conf_high": estimate + 0.17, "conf_level": 0.95, "status": "ok"}
        rows.append(common | row | _base(world, 50 * len(world.roles)))
    return rows


def _base(world: World, n: int) -> dict[str, object]:
    known = {"n": 5 * round(n / 5), "method": "cluster_bootstrap", "replicates": 1000, "seed": 1}
    return known | ({"n_organisations": 5 * round(n / 8)} if world.organisations else {})


def _cell(world: World, role: str, stage: str, mean: float, n: int) -> dict[str, object]:
    key = {"statistic": "role_mean", "unit": "scale_point", "role": role, "stage": stage}
    if n < 10:
        return key | {"status": "suppressed", "reason": "held back: fewer than 10 respondents or 5 organisations"}
    error = 1.1 / math.sqrt(n)
    low, high = max(1.0, mean - 1.96 * error), min(5.0, mean + 1.96 * error)
    numbers = {"estimate": min(mean, 5.0), "std_error": error, "conf_low": low, "conf_high": high}
    return (
        key
        | {name: round(value, 2) for name, value in numbers.items()}
        | {"conf_level": 0.95, "status": "flagged" if n < 15 else "ok"}
        | _base(world, n)
    )


def claims(world: World) -> list[dict[str, object]]:
    made = []
    verdicts = ("supported", "contradicted", "inconclusive", "not_assessable")
    texts = (
        "Technology chiefs at scaled deployment are both confident and prepared.",
        "The gap between roles is wider than the gap between stages of adoption.",
        "Role shapes preparedness more than the maturity of the organisation does.",
        "Gaps between roles do not close by themselves.",
    )
    for k, (intended, text) in enumerate(zip(verdicts, texts, strict=True)):
        verdict = intended if world.assessed else "not_assessable"
        base = {"n": 650, "n_organisations": 80 if world.organisations else None}
        record = {
            "id": f"H{k + 2}",
            "text": text + world.text,
            "source": "Essay on adoption by role" + world.text,
            "status": "hypothesis",
            "family": "primary" if k < 3 else "secondary",
            "planned": k != 2,
            "estimand": "Log ratio of the spreads of roles and of stages.",
            "reading": "At small samples this stays open.",
            "rule": "single",
            "unit": "scale_point",
            "margin": 0.5,
            "direction": "above",
            "verdict": verdict,
            "verdict_by_margin": {},
            "reason": "needs 3 waves; the study has 1",
            "base": {"n": None, "n_organisations": None},
            "parts": [],
            "estimate": None,
            "conf_low": None,
            "conf_high": None,
            "conf_level": None,
            "registered": {"hash": "a" * 64, "time": "2026-04-01T00:00:00Z", "amended": False},
        }
        if verdict != "not_assessable":
            numbers = {"estimate": 0.9 - 0.4 * k, "conf_low": 0.6 - 0.4 * k, "conf_high": 1.2 - 0.4 * k}
            part = {
                "label": "the spread of confidence" + world.text,
                "construct": "adoption_gradient",
                "measure": "conf",
                "statistic": "role_sd_corrected",
                "role": "",
                "role_2": "",
                "stage": "",
                "unit": "scale_point",
                "margin": 0.5,
                "judged": True,
                "verdict": verdict,
                "reason": "",
                "p_value": 0.0004,
                "p_adjusted": 0.0312,
                **numbers,
                **base,
            }
            record |= numbers | {
                "conf_level": 0.95,
                "reason": "the interval contains the margin of 0.5",
                "base": base,
                "parts": [part, part | {"label": "the gap as observed", "judged": False, "verdict": "inconclusive"}],
                "verdict_by_margin": {"0.3": "supported", "0.5": verdict, "0.7": "inconclusive"},
            }
        made.append(record)
    return made


def findings(world: World) -> list[dict[str, object]]:
    return [
        {
            "id": claim["id"],
            "title": f"{claim['id']}: {claim['verdict']}",
            "claim": claim["text"],
            "construct": "adoption_gradient",
            "sentence": f"{str(claim['verdict']).capitalize()}. Estimate 0.90 scale points (95% interval 0.60 to 1.20).{world.text}",
            **{name: claim[name] for name in ("estimate", "conf_low", "conf_high", "conf_level", "unit", "margin")},
            "n": 650,
            "n_organisations": 80 if world.organisations else None,
            "status": "hypothesis" if claim["verdict"] == "inconclusive" else "finding",
            "verdict": claim["verdict"],
            "reason": claim["reason"],
            "method_line": "Noise-corrected spread; interval from replicates of organisations.",
            "method_full": "The standard deviation of the role means, less what sampling alone puts between them.",
            "what_would_change": "The verdict would be another at a margin of 0.7. A larger sample narrows the interval.",
            "limitations": "One wave of self-reported answers: an association, not a cause." + world.text,
            "figure": "gradient_conf",
            "table": [{"construct": "adoption_gradient", "measure": "conf", "statistic": "role_mean", "stage": ""}],
            "wave": world.wave,
            "provenance": world.provenance,
        }
        for claim in claims(world)
        if claim["verdict"] != "not_assessable"
    ]


def flow(world: World) -> dict[str, object]:
    return {
        "wave": world.wave,
        "files": [{"file": f"delivery{world.text}.csv", "delivered": 700, "sha256": "b" * 64}],
        "delivered": 700,
        "accepted": 652,
        "quarantined": 48,
        "by_rule": {"role_unknown": 30, "speeder": 18},
        "flags": {"cap_exceeded": 7},
        "words": {"speeder": f"finished in under four minutes{world.text}"},
        "absent_columns": ["tenure"],
        "unknown_columns": [f"nps{world.text}"],
    }


def validation(world: World) -> dict[str, object]:
    common = {"severity": "warning", "checked": 650}
    return {
        "wave": world.wave,
        "suite": {
            "size": 2,
            "met": 1,
            "warnings": 1,
            "results": [
                common | {"expectation": "conf is one of 1 to 5", "item": "conf", "met": True, "share": "0%"},
                common | {"expectation": f"prep is answered{world.text}", "item": "prep", "met": False, "share": "31%"},
            ],
        },
        "item_nonresponse": [
            {"item": "role", "label": "Role", "role": "", "base": 650, "share": "0%"},
            {"item": "conf", "label": "Confidence", "role": "", "base": 650, "share": "under 5%"},
            {"item": "prep", "label": f"Preparedness{world.text}", "role": "", "base": 650, "share": "8%"},
            {"item": "prep", "label": "Preparedness", "role": "r1", "base": 65, "share": "9%"},
        ],
    }


def notebook(world: World) -> nbformat.NotebookNode:
    """A chapter with every kind of output that a notebook can hold, safe or not."""
    v4 = nbformat.v4
    hostile = "<p onclick='x()'>kept words</p><script>alert(1)</script><style>*{display:none}</style><img src='http://evil.example/a.png'><iframe src='http://evil.example'></iframe>"
    table = pd.DataFrame({"n": [75, 60]}, index=["CEO", f"CTO {world.text}"]).to_html()
    drawing = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><script>alert(2)</script></svg>"
    outputs = [
        v4.new_output("stream", name="stdout", text="\x1b[31mplain\x1b[0m line <b>not bold</b>\n"),
        v4.new_output("stream", name="stderr", text="warning from /a/machine/path\n"),
        v4.new_output("execute_result", {"text/html": table, "text/plain": "n"}, execution_count=1),
        v4.new_output("display_data", {"text/html": table, "text/plain": "n"}),
        v4.new_output(
            "display_data", {"image/png": PIXEL, "text/plain": "<Figure>"}, metadata={"image/png": {"alt": "A dot"}}
        ),
        v4.new_output("display_data", {"image/svg+xml": drawing}),
        v4.new_output("display_data", {"text/html": hostile}),
        v4.new_output(
            "display_data", {"text/markdown": "**set** [away](javascript:alert(3)) <script>alert(4)</script>"}
        ),
        v4.new_output("display_data", {"application/javascript": "alert(5)", "text/plain": "js"}),
        v4.new_output("display_data", {"text/latex": "$x^2$"}),
        v4.new_output("display_data", {"application/json": {"secret": 1}, "text/plain": "<IPython JSON>"}),
        v4.new_output("error", ename="DataError", evalue="value 'secret'", traceback=["File /a/machine/path"]),
    ]
    cells = [
        v4.new_markdown_cell(
            f"# Adoption *gradient* {world.text}\n\nHow far apart do roles stand? See [claims](09_claims.ipynb)."
        ),
        v4.new_code_cell('study: str = ".."  # study folder', metadata={"tags": ["parameters"]}),
        v4.new_markdown_cell("# A second heading\n\n![remote](http://evil.example/b.png) and $s^2$."),
        v4.new_code_cell(f"show('{world.text}')", outputs=outputs, execution_count=1),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"c{number}"
    return v4.new_notebook(cells=cells)


def study_in(folder: Path, world: World) -> Study:
    """Write settings and instrument of a world into a folder, and open the study."""
    (folder / "instruments").mkdir()
    _write(folder / "study.toml", _study(world))
    _write(folder / "instruments" / "instrument.toml", _instrument(world))
    return Study.open(folder)


def _study(world: World) -> str:
    return f"""
[study]
name = "demo"
title = {json.dumps(world.title + world.text)}
provenance = "{world.provenance}"
[waves]
default = "{world.wave}"
order = ["{world.wave}"]
[statement]
sponsor = {json.dumps("An institute" + world.text)}
mode = "Online questionnaire"
sample_type = "Non-probability sample of people who opted in"
"""


def _instrument(world: World) -> str:
    roles = "".join(
        f'[[roles]]\ncode = {k + 1}\nid = "{role}"\nlabel = {json.dumps(label)}\n'
        for k, (role, label) in enumerate(zip(role_ids(world), world.roles, strict=True))
    )
    stages = "".join(
        f'[[stages]]\ncode = {k + 1}\nid = "{stage}"\nlabel = {json.dumps(label)}\n'
        for k, (stage, label) in enumerate(zip(stage_ids(world), world.stages, strict=True))
    )
    points = ", ".join(
        f"{{ code = {k}, label = {json.dumps(label)} }}"
        for k, label in enumerate(("Not at all", "Slightly", "Moderately", "Very", "Completely"), start=1)
    )
    return f"""
[instrument]
id = "demo"
version = "1.0"
title = {json.dumps(world.title)}
[keys]
respondent = "resp_id"
wave = "wave"
role = "role"
stage = "stage"
[[missing]]
code = 97
id = "refused"
label = "Prefer not to say"
{roles}
{stages}
[scales.five]
points = [{points}]
[lists]
blockers = [{{ code = 1, id = "roi", label = {json.dumps("Uncertain returns" + world.text)} }}, {{ code = 2, id = "cost", label = "Cost" }}]
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
label = "Stage"
scale = "stages"
[items.conf]
kind = "ordinal"
label = "Confidence that AI will meet its goals"
wording = {json.dumps("How confident are you that AI will meet its goals?" + world.text)}
scale = "five"
constructs = ["adoption_gradient"]
[items.prep]
kind = "ordinal"
label = "Preparedness of the own function"
wording = "How prepared is your function?"
scale = "five"
constructs = ["adoption_gradient"]
[items.blk]
kind = "multi"
label = "Blockers"
wording = "What holds AI back?"
options = ["blockers"]
cap = 2
"""


def _write(path: Path, text: str) -> None:
    path.write_text(text.lstrip(), encoding="utf-8")


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def hold_back(folder: Path, statistic: str) -> None:
    """Hold back every row of a statistic after the run, as a later gate might."""
    path = next((folder / "reports").iterdir()) / "estimates.parquet"
    table = pd.read_parquet(path)
    table.loc[table["statistic"] == statistic, "status"] = "suppressed"
    table.to_parquet(path)
