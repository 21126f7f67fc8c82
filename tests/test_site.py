"""Pages: everything said once and with its base, nothing that runs or fetches, every text inert, the same bytes each time."""

import base64
import dataclasses
import hashlib
import html
import json
import re
import runpy
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest

from fieldwork.claims import Register
from fieldwork.errors import ClaimError, DataError, FieldworkError, NotebookError
from fieldwork.site import build
from fieldwork.site.chapters import sanitised
from fieldwork.site.material import slug

ROOT = Path(__file__).resolve().parents[1]

report = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "browser" / "report.py")))
WORLDS = {"quaie": report.QUAIE, "ospo": report.OSPO, "nothing": report.NOTHING, "hostile": report.HOSTILE}
VOID = {"meta", "img", "br", "hr", "input"}
SCRIPT = (ROOT / "src/fieldwork/site/script.js").read_text()
SCRIPTED = {"explorer.html", "figures.html", "search.html"}


class Page(HTMLParser):
    """A page as a machine reads it: tags with attributes, texts outside style, headings, and whether tags close."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.words, self.open, self.faults = [], [], [], []
        self.source = path.read_text()
        self.feed(self.source)
        self.faults += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"{tag} closed out of turn")

    def handle_data(self, data):
        if not {"style", "script"}.intersection(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    made = {}
    for name, world in WORLDS.items():
        first = build(str(report.make(tmp_path_factory.mktemp(name) / "study", world)), "", "")
        assert first.name == "index.html"
        made[name] = first.parent
    return made


def pages_of(folder):
    return {path.relative_to(folder).as_posix(): Page(path) for path in sorted(folder.rglob("*.html"))}


@pytest.fixture(scope="module")
def pages(sites):
    return {name: pages_of(folder) for name, folder in sites.items()}


@pytest.fixture(params=sorted(WORLDS))
def site(request, pages):
    return pages[request.param]


READY = {}


@pytest.fixture(scope="module", autouse=True)
def _ready(tmp_path_factory):
    """One study folder whose figures are drawn once; tests that change a file work on a copy."""
    READY["quaie"] = report.make(tmp_path_factory.mktemp("ready") / "study", report.QUAIE)


def study(tmp_path, **changes):
    if changes:
        return report.make(tmp_path / "study", dataclasses.replace(report.QUAIE, **changes))
    return shutil.copytree(READY["quaie"], tmp_path / "study")


def test_every_page_has_what_a_reader_and_a_screen_reader_look_for(site):
    assert {"index.html", "claims.html", "quality.html", "methods.html", "dictionary.html"} <= set(site)
    for path, page in site.items():
        assert page.faults == [], path
        assert page.all("html") == [{"lang": "en-GB"}], path
        assert [len(page.all(tag)) for tag in ("title", "h1", "main", "header", "footer", "nav")] == [1] * 6, path
        named = {attributes["for"] for attributes in page.all("label")}
        assert named == {field["id"] for tag in ("input", "select") for field in page.all(tag)}, path
        assert page.all("a")[0] == {"class": "skip", "href": "#main"}, path
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        assert all(image.get("alt") for image in page.all("img")), path
        assert all("scope" in cell for cell in page.all("th")), path


def test_no_page_can_run_or_fetch_anything_but_those_with_the_sites_own_script(site):
    ours = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    for path, page in site.items():
        assert {tag for tag, _ in page.tags}.isdisjoint({"iframe", "object", "embed", "form", "link", "base"}), path
        policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'; style-src 'sha256-"), path
        assert "unsafe" not in policy, path
        assert "http" not in policy, path
        assert re.findall(r"<script[^>]*>(.*?)</script>", page.source, re.DOTALL) == [SCRIPT] * (path in SCRIPTED), path
        assert (f"script-src 'sha256-{ours}'" in policy) is ("script-src" in policy) is (path in SCRIPTED), path
        for tag, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on") or name in {"style", "srcset"}], (
                path,
                tag,
            )
            assert not re.match(r"\s*(https?:|//|javascript:|data:text)", attributes.get("src") or "", re.IGNORECASE), (
                path
            )
            assert not re.match(r"\s*(javascript:|data:|vbscript:)", attributes.get("href") or "", re.IGNORECASE), path
        drawn = [image["src"] for image in page.all("img")]
        assert all(source.startswith("figures/" if path == "figures.html" else "data:image/") for source in drawn), path
        style = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL)[1]
        assert "http" not in style, path
        assert "@import" not in style, path


def test_every_link_leads_somewhere(sites):
    for folder in sites.values():
        known = pages_of(folder)
        for path, page in known.items():
            for link in page.all("a"):
                href = link.get("href", "")
                if not href or re.match(r"https?://|mailto:", href):
                    continue
                file, _, anchor = href.partition("#")
                target = (folder / path).parent / file if file else folder / path
                assert target.resolve().is_file(), (path, href)
                if anchor and target.suffix == ".html":
                    there = known[target.resolve().relative_to(folder.resolve()).as_posix()]
                    assert anchor in [attributes.get("id") for _, attributes in there.tags], (path, href)


def test_simulated_data_say_so_on_every_page_and_real_data_on_none(pages):
    for name, simulated in (("quaie", True), ("hostile", True), ("ospo", False)):
        for path, page in pages[name].items():
            assert ("Simulated data" in page.text) is simulated, (name, path)


def test_the_overview_gives_every_claim_its_verdict_margin_and_base(pages):
    text = pages["quaie"]["index.html"].text
    for words in ("Supported", "Contradicted", "Inconclusive", "Not assessable", "650 in 80 organisations"):
        assert words in text
    assert "The register holds 4 claims" in text
    assert "3 of them were assessed" in text
    assert "Needs 3 waves; the study has 1" in text
    assert "700 rows were delivered: 652 were accepted and 48 were set aside" in text


def test_a_finding_says_everything_that_a_finding_must_say(pages):
    text = pages["quaie"]["findings/H3.html"].text
    for words in (
        "Planned hypothesis, primary family",
        "The gap between roles is wider",
        "Contradicted",
        "0.50 (0.20 to 0.80) scale points",
        "Level of the interval 95%",
        "Margin that decides 0.50",
        "650 in 80 organisations",
        "Noise-corrected spread; interval from replicates of organisations.",
        "The standard deviation of the role means",
        "Estimates behind this finding",
        "declared beforehand",
        "What would change this",
        "an association, not a cause",
        "Computed in Adoption gradient",
        "How to cite",
    ):
        assert words in text, words
    assert "Exploratory hypothesis" in pages["quaie"]["findings/H4.html"].text


def test_the_data_of_a_finding_are_its_published_estimates(sites):
    data = pd.read_csv(sites["quaie"] / "findings" / "H2.csv", keep_default_na=False)
    assert set(data["statistic"]) == {"role_mean"}
    assert set(data["stage"]) == {""}
    assert len(data) == 10


def test_when_nothing_could_be_assessed_the_pages_say_so_with_reasons(pages):
    index = pages["nothing"]["index.html"].text
    assert "None of them could be assessed in this wave" in index
    assert "there is no finding to report" in index
    assert index.count("Not assessable") >= 5
    assert not [path for path in pages["nothing"] if path.startswith(("findings/", "chapters/"))]
    assert "not part of this run" in pages["nothing"]["quality.html"].text


def test_a_small_sample_says_so(tmp_path, pages):
    folder = study(tmp_path)
    flow = folder / "data/processed/2026Q1/01_clean.flow.json"
    flow.write_text(json.dumps({"delivered": 120, "accepted": 110, "quarantined": 10, "by_rule": {"speeder": 10}}))
    index = Page(build(str(folder), "", "")).text
    assert "Small sample. With 110 interviews" in index
    assert "Small sample" not in pages["quaie"]["index.html"].text


def test_another_survey_is_told_in_its_own_words(pages):
    text = pages["ospo"]["index.html"].text
    assert "What 9 roles say, across 4 stages of adoption" in text
    assert "organisations" not in pages["ospo"]["findings/H2.html"].text.replace("replicates of organisations", "")
    assert "Executive sponsor of open source" in pages["ospo"]["findings/H2.html"].text


def test_the_quality_page_adds_up_and_shows_no_value(pages):
    text = pages["quaie"]["quality.html"].text
    for words in (
        "700 rows delivered",
        "48 set aside",
        "652 accepted",
        "Role is none of the instrument's 30",
        "Together 48",
    ):
        assert words in text
    assert "Finished in under four minutes 18" in text
    assert (
        "2 expectations were derived from the instrument and checked. 1 is not met, a warning: unusual, and no fault by itself"
        in text
    )
    assert text.index("Prep is answered") < text.index("Conf is one of 1 to 5")
    assert "Of 3 questions, 2 went unanswered by some" in text
    assert "Preparedness 650 8%" in text
    assert "9%" not in text
    assert "1 question of the instrument was not delivered: tenure" in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"delivered": 100, "accepted": 90, "quarantined": 9, "by_rule": {"speeder": 9}},
        {"delivered": 100, "accepted": 90, "quarantined": 10, "by_rule": {"speeder": 9}},
    ],
)
def test_counts_that_do_not_add_up_are_not_published(tmp_path, wrong):
    folder = study(tmp_path)
    (folder / "data/processed/2026Q1/01_clean.flow.json").write_text(json.dumps(wrong))
    with pytest.raises(DataError, match="do not add up"):
        build(str(folder), "", "")


def test_the_methods_page_names_what_is_not_stated(pages):
    page = pages["quaie"]["methods.html"]
    assert "An institute" in page.text
    assert "Non-probability sample" in page.text
    assert page.text.count("Not stated") == 32
    assert "32 rows are not stated yet" in page.text
    assert "10 respondents at least in a published cell" in page.text
    assert "replicates of organisations, Student's t, 95% intervals, 1,000 replicates" in page.text
    assert "margin of sampling error" in page.text


def test_the_dictionary_has_every_question_as_it_was_put(pages):
    text = pages["quaie"]["dictionary.html"].text
    for words in (
        "How confident are you that AI will meet its goals?",
        "version 1",
        "5 Completely",
        "several answers, at most 2",
    ):
        assert words in text
    assert "lower end of the interval" in text


def test_chapters_show_what_is_safe_of_every_kind_of_output(pages):
    page = pages["quaie"]["chapters/04_gradient.html"]
    text = page.text
    for kept in (
        "plain line <b>not bold</b>",
        "kept words",
        "set away",
        "$x^2$",
        "A second heading",
        "stopped with DataError",
    ):
        assert kept in text, kept
    for gone in ("evil", "alert(", "machine/path", "secret", "IPython JSON", "\x1b"):
        assert gone not in text, gone
    assert [image["alt"] for image in page.all("img")] == ["A dot", "Figure of this cell, described in the text"]
    assert page.all("h1") == [{}]
    assert "Adoption gradient" in text
    assert "study folder" in text
    assert {"scope": "row"} in page.all("th")


def test_texts_of_data_stay_text_everywhere(pages):
    for path, page in pages["hostile"].items():
        assert [{}] * (path in SCRIPTED) == page.all("script"), path
        assert {"evil.example"}.isdisjoint(re.findall(r'(?:src|href)="[^"]*?([a-z]+\.example)', page.source)), path
        assert not re.search(r"(?<![\d.])49\b", page.text), path
    for path in ("index.html", "quality.html", "methods.html", "dictionary.html", "claims.html", "findings/H2.html"):
        assert "<script>alert('x')</script>" in pages["hostile"][path].text, path
        assert "{{ 7*7 }}{% raw %}" in pages["hostile"][path].text, path


def test_file_names_never_come_from_data(tmp_path):
    folder = study(tmp_path)
    reports = folder / "reports" / "2026Q1"
    for name in ("claims.json", "findings.json"):
        records = json.loads((reports / name).read_text())
        for record, key in zip(records, ("../../../escaped", "CON", "a" * 300, "x/y"), strict=False):
            record["id"] = key
        (reports / name).write_text(json.dumps(records))
    before = set(tmp_path.rglob("*"))
    build(str(folder), "", "")
    made = {path.relative_to(reports) for path in set(tmp_path.rglob("*")) - before}
    assert made
    assert all(len(path.parts) <= 2 and len(path.name) < 80 for path in made)
    assert not {"CON.html", "escaped.html"} & {path.name for path in made}
    assert slug("H4") == "H4"


def test_the_same_files_make_the_same_pages(tmp_path, sites):
    again = build(str(study(tmp_path)), "", "").parent
    for path in pages_of(again):
        assert (again / path).read_bytes() == (sites["quaie"] / path).read_bytes(), path


def test_pages_are_written_to_the_staging_folder_and_read_it_first(tmp_path):
    folder = study(tmp_path)
    out = tmp_path / "staging"
    staged = out / "reports" / "2026Q1"
    staged.mkdir(parents=True)
    records = json.loads((folder / "reports/2026Q1/findings.json").read_text())
    (staged / "findings.json").write_text(json.dumps(records[:1]))
    first = build(str(folder), "2026Q1", str(out))
    assert first == staged / "index.html"
    assert sorted(path.name for path in (staged / "findings").glob("*.html")) == ["H2.html"]
    assert not (folder / "reports/2026Q1/index.html").exists()


def test_pages_of_findings_that_are_gone_are_taken_away(tmp_path):
    folder = study(tmp_path)
    build(str(folder), "", "")
    findings = folder / "reports/2026Q1/findings.json"
    findings.write_text(json.dumps(json.loads(findings.read_text())[1:]))
    build(str(folder), "", "")
    assert sorted(path.name for path in (folder / "reports/2026Q1/findings").iterdir()) == [
        "H3.csv",
        "H3.html",
        "H4.csv",
        "H4.html",
    ]


def test_a_run_with_hardly_any_files_still_has_its_pages(tmp_path):
    folder = study(tmp_path, chapters=False, counts=False)
    for path in (folder / "reports" / "2026Q1").rglob("*"):
        if path.is_file():
            path.unlink()
    text = Page(build(str(folder), "", "")).text
    assert "No claims were judged in this run" in text


def test_a_finding_whose_figure_or_claim_is_missing_has_its_page_without_it(tmp_path):
    folder = study(tmp_path)
    reports = folder / "reports" / "2026Q1"
    (reports / "claims.json").unlink()
    for path in (reports / "figures").iterdir():
        path.unlink()
    build(str(folder), "", "")
    page = Page(reports / "findings" / "H2.html")
    assert not page.all("figure")
    assert "Supported" in page.text


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("claims.json", "{", "cannot be read"),
        ("claims.json", "{}", "not a list of records"),
        ("claims.json", '[{"id": "H1"}]', "not a list of records"),
        ("findings.json", '[{"id": "H1", "sentence": "s", "verdict": "proved"}]', "not a list of records"),
        ("findings.json", "[1]", "not a list of records"),
        ("chapters/04_gradient.ipynb", "no notebook", "is not a notebook"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, name, content, told):
    folder = study(tmp_path)
    (folder / "reports" / "2026Q1" / name).write_text(content)
    with pytest.raises(FieldworkError, match=told) as refused:
        build(str(folder), "", "")
    assert Path(name).name in str(refused.value)
    assert refused.value.hint


def test_a_notebook_without_a_heading_is_headed_by_its_name(tmp_path):
    folder = study(tmp_path)
    v4 = nbformat.v4
    cell = v4.new_markdown_cell("Only words.")
    nbformat.write(v4.new_notebook(cells=[cell]), folder / "reports/2026Q1/chapters/05_blockers.ipynb")
    build(str(folder), "", "")
    page = Page(folder / "reports/2026Q1/chapters/05_blockers.html")
    assert "05_blockers" in page.text
    assert len(page.all("h1")) == 1


def test_parts_of_a_chapter_are_told_apart_in_their_titles(tmp_path):
    folder = study(tmp_path)
    v4 = nbformat.v4
    for part in ("kept", "keen_eyed"):
        cells = [v4.new_markdown_cell("# Designs")]
        nbformat.write(v4.new_notebook(cells=cells), folder / f"reports/2026Q1/chapters/08c_designs_{part}.ipynb")
    build(str(folder), "", "")
    page = Page(folder / "reports/2026Q1/chapters/08c_designs_keen_eyed.html")
    assert len(page.all("h1")) == 1
    assert "Designs (keen eyed)" in page.text
    assert "Designs (kept)" in Page(folder / "reports/2026Q1/methods.html").text


def test_a_link_between_notebooks_becomes_one_between_pages():
    assert sanitised('<a href="09_claims.ipynb">claims</a>', known=["09_claims"]).startswith('<a href="09_claims.html"')
    assert "href" not in sanitised('<a href="../data/raw.csv">data</a>')
    assert "href" not in sanitised('<a href="file:///etc/passwd">x</a>')


@pytest.mark.parametrize(
    "hostile",
    [
        "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<img src='data:text/html;base64,PHNjcmlwdD4='>",
        "<a href='data:text/html,<script>1</script>'>x</a>",
        "<div style='position:fixed;background:url(http://evil.example)'>x</div>",
        "<base href='http://evil.example'><form action='http://evil.example'><input></form>",
        "<meta http-equiv='refresh' content='0;url=http://evil.example'>",
        "<p id='main'>x</p><p class='verdict supported'>x</p>",
    ],
)
def test_the_sanitiser_keeps_words_only(hostile):
    clean = sanitised(hostile)
    assert not re.search(
        r"evil|alert|onerror|onload|style|data:text|<(svg|math|form|base|meta|input)|id=|class=", clean
    )


def test_a_damaged_notebook_is_a_notebook_error(tmp_path):
    folder = study(tmp_path)
    (folder / "reports/2026Q1/chapters/04_gradient.ipynb").write_text('{"cells": "none"}')
    with pytest.raises(NotebookError):
        build(str(folder), "", "")


def test_what_was_amended_after_the_data_is_shown_with_the_claim_and_its_finding(tmp_path):
    folder = study(tmp_path)
    path = folder / "reports/2026Q1/claims.json"
    claims = json.loads(path.read_text())
    stamp = {"hash": "b" * 64, "time": "2026-04-01T00:00:00Z", "amended": True}
    for claim in claims:
        claim["registered"] = stamp
    change = {"field": "part 'a', margin", "before": 0.5, "after": 0.2, "decides": True}
    claims[0]["amendments"] = [change, {"field": "reading", "before": "", "after": "Read it so.", "decides": False}]
    claims[1] |= {"planned": False, "added_after_data": True}
    path.write_text(json.dumps(claims))
    build(str(folder), "", "")
    register = Page(path.parent / "claims.html").text
    assert "each amended claim shows what was changed: H2 ." in register
    assert "Amendments of H2 after the data were read" in register
    assert "part 'a', margin 0.5 0.2 can decide the verdict" in register
    assert "reading empty Read it so. words only" in register
    assert "Planned, amended after the data were read, primary family" in register
    assert "Exploratory, added after the data were read, primary family" in register
    finding = Page(path.parent / "findings/H2.html").text
    assert "Planned hypothesis, amended after the data were read, primary family" in finding
    assert "part 'a', margin 0.5 0.2 can decide the verdict" in finding
    assert "Exploratory hypothesis, added after the data were read" in Page(path.parent / "findings/H3.html").text
    assert "Amended after" not in Page(path.parent / "findings/H4.html").text


def test_a_hypothesis_edited_into_a_finding_stops_the_pages(tmp_path):
    folder = study(tmp_path)
    path = folder / "reports/2026Q1/findings.json"
    records = json.loads(path.read_text())
    assert [record["status"] for record in records] == ["finding", "finding", "hypothesis"]
    path.write_text(json.dumps([{**record, "status": "finding"} for record in records]))
    with pytest.raises(ClaimError, match="a hypothesis is about to be printed as a finding") as told:
        build(str(folder), "", "")
    assert told.value.where == "findings, claim H4"
    path.write_text(json.dumps(records))
    shown = folder / "reports/2026Q1/estimates.parquet"
    estimates = pd.read_parquet(shown)
    estimates.assign(status="suppressed").to_parquet(shown)
    with pytest.raises(ClaimError, match="a hypothesis is about to be printed as a finding"):
        build(str(folder), "", "")


def test_open_hypotheses_stand_apart_from_findings(pages):
    index = pages["quaie"]["index.html"].text
    found, left_open = index.split("Hypotheses left open")
    assert "H2" in found.split("Findings")[-1]
    assert "H4" not in found.split("A finding is a hypothesis that the data support or contradict.")[-1]
    assert "these stay hypotheses" in left_open
    assert "This is no finding: the hypothesis stays open." in pages["quaie"]["findings/H4.html"].text
    assert "This is no finding" not in pages["quaie"]["findings/H2.html"].text
    assert "Estimates behind this hypothesis" in pages["quaie"]["findings/H4.html"].text


def test_outside_facts_stand_in_the_register_with_their_marks(tmp_path):
    folder = study(tmp_path)
    shutil.copyfile(ROOT / "instruments/claims.toml", folder / "instruments/claims.toml")
    build(str(folder), "", "")
    page = Page(folder / "reports/2026Q1/claims.html").text
    for fact in Register.load(ROOT / "instruments/claims.toml").external:
        assert fact.statement in page
        assert fact.checked.isoformat() in page
        assert f"{fact.status}" in page.lower()
    assert "Mismatch: it is not where, or not as, it is quoted quoted from BCG" in page
    assert "Unsourced: quoted without source, sample or period none given" in page


def test_a_finding_shows_how_many_other_choices_agree(tmp_path):
    folder = study(tmp_path)
    path = folder / "reports/2026Q1/claims.json"
    claims = json.loads(path.read_text())
    verdicts = {"supported": 15, "contradicted": 0, "inconclusive": 4, "not_assessable": 2}
    counted = {"specifications": 21, "assessed": 19, "agree": 15, "verdicts": verdicts}
    for claim in claims:
        claim["multiverse"] = None
    claims[0]["multiverse"] = {
        **counted,
        "specifications": 84,
        "choices": ["weights", "lens"],
        "at_registered_margin": counted,
    }
    path.write_text(json.dumps(claims))
    build(str(folder), "", "")
    finding = Page(path.parent / "findings/H2.html").text
    assert "judged again under 21 sets of choices that somebody else might have made (weights, lens)." in finding
    assert "15 of the 19 that could be assessed come to the same verdict" in finding
    assert "At every margin tried 84 15 15 0 4 2" in finding
    assert "Other analytic choices" not in Page(path.parent / "findings/H3.html").text
    assert "15 of 19" in Page(path.parent / "index.html").text


def cells(page_source):
    """The rows of the explorer's table, as lists of texts."""
    body = re.search(r"<tbody>(.*?)</tbody>", page_source, re.DOTALL)[1]
    return [
        [html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<t[hd]\b.*?</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL)
    ]


def test_the_explorer_holds_every_estimate_of_a_role_or_stage_and_no_number_that_was_held_back(pages):
    estimates = report.estimates(report.QUAIE)
    spoken = estimates[(estimates["role"] != "") | (estimates["stage"] != "")]
    rows = cells(pages["quaie"]["explorer.html"].source)
    assert len(rows) == len(spoken) == 120
    one = spoken[(spoken["role"] == "r4") & (spoken["stage"] == "s2") & (spoken["measure"] == "conf")].iloc[0]
    assert ["Confidence that AI will meet its goals", "Mean", "CTO", "Piloting", ""] in [row[:5] for row in rows]
    found = next(row for row in rows if row[2:4] == ["CTO", "Piloting"] and row[0].startswith("Confidence"))
    assert found[5:8] == [
        f"{one['estimate']:.2f} scale points",
        f"{one['conf_low']:.2f} to {one['conf_high']:.2f}",
        str(one["n"]),
    ]
    choices = re.findall(r'<option value="=(.*?)">', pages["quaie"]["explorer.html"].source)
    assert set(report.ROLES) | set(report.STAGES) <= {html.unescape(choice) for choice in choices}


def test_the_explorer_shows_no_number_of_what_was_held_back(pages):
    estimates = report.estimates(report.NOTHING)
    rows = cells(pages["nothing"]["explorer.html"].source)
    held = [row for row in rows if row[5] == "not published"]
    assert len(held) == (estimates["status"] == "suppressed").sum() > 50
    assert all(row[6:] == ["", "", "held back: fewer than 10 respondents or 5 organisations"] for row in held)


def test_the_index_finds_every_claim_question_role_stage_figure_and_chapter(pages):
    page = pages["quaie"]["search.html"]
    for claim in report.claims(report.QUAIE):
        assert f"{claim['id']}. {claim['text']}" in page.text
    targets = {link["href"] for link in page.all("a") if "href" in link}
    assert {"findings/H2.html", "claims.html#H5", "roles/r4.html", "stages/s0.html", "topline.html#q-blk"} <= targets
    assert {"chapters/04_gradient.html", "quality.html", "figures.html#gradient"} <= targets


def test_a_role_and_a_stage_have_a_page_with_claims_and_estimates(tmp_path, pages):
    assert {f"roles/r{k}.html" for k in range(10)} | {f"stages/s{k}.html" for k in range(5)} <= set(pages["quaie"])
    estimates = report.estimates(report.QUAIE)
    role = pages["quaie"]["roles/r4.html"].text
    own = estimates[estimates["role"] == "r4"]
    assert f"Organisational Adoption Gradient: {len(own)} estimates" in role
    whole = own[(own["stage"] == "") & (own["measure"] == "conf")].iloc[0]
    assert f"{whole['n']} respondents in {whole['n_organisations']} organisations, to the nearest 5" in role
    assert "No claim of the register names this role." in role
    folder = study(tmp_path)
    path = folder / "reports/2026Q1/claims.json"
    claims = json.loads(path.read_text())
    claims[0]["parts"][0] |= {"role": "r3+r4", "label": "technology chiefs"}
    claims[1]["parts"][0] |= {"stage": "s2"}
    path.write_text(json.dumps(claims))
    reports = build(str(folder), "", "").parent
    assert "technology chiefs: 0.90 (0.60 to 1.20) scale points" in Page(reports / "roles/r4.html").text
    assert "No claim of the register names this role." in Page(reports / "roles/r5.html").text
    assert "The gap between roles is wider" in Page(reports / "stages/s2.html").text


def test_the_topline_has_every_question_with_wording_routing_and_what_was_published(pages):
    text = pages["quaie"]["topline.html"].text
    questions = text.split("Confidence that AI will meet its goals conf")[1].split(
        "Preparedness of the own function prep"
    )
    assert "“How confident are you that AI will meet its goals?”" in questions[0]
    assert "Asked of all" in questions[0]
    assert "5 answers offered" in questions[0]
    for label in (*report.ROLES, *report.STAGES):
        assert label in questions[0]
    assert "“What holds AI back?”" in text
    assert "of 7 questions, 2 have published estimates of their answers alone" in text
    assert text.count("No estimate of its answers alone was published.") == 5


def test_the_gallery_shows_every_figure_in_colour_and_in_grey(pages, sites):
    page = pages["quaie"]["figures.html"]
    drawn = sorted(path.stem for path in (sites["quaie"] / "figures").glob("*.svg"))
    assert sorted(image["src"] for image in page.all("img")) == sorted(f"figures/{name}.svg" for name in drawn * 2)
    assert len([each for each in page.all("figure") if each.get("class") == "grey"]) == len(drawn)
    assert "img-src data: 'self' file:;" in html.unescape(page.source)


def test_a_figure_of_the_gallery_says_its_chapter_and_whom_it_shows(pages, sites):
    page = pages["quaie"]["figures.html"]
    plates = {each["id"]: each for each in page.all("section") if each.get("class") == "plate"}
    everybody = [str(at) for at in range(len(report.ROLES))]
    assert plates["gradient"]["data-roles"].split() == everybody
    assert plates["spread"]["data-roles"] == ""
    for name, plate in plates.items():
        words = json.loads((sites["quaie"] / "figures" / f"{name}.json").read_text())
        assert plate["data-chapter"] == str(words["chapter"])
    offered = [each["value"] for each in page.all("option")]
    assert offered == ["", *sorted({each["data-chapter"] for each in plates.values()}), "", *everybody]
    assert "4. Adoption gradient" in page.text


def test_a_first_wave_says_that_there_is_nothing_to_compare(pages):
    text = pages["quaie"]["waves.html"].text
    assert "2026Q1 is the first wave that was delivered" in text
    assert "Judged in 2026Q1 alone" in pages["quaie"]["findings/H2.html"].text


def second_wave(folder):
    """Give a study an earlier wave: other words of one question, other codes of another, one that was not asked."""
    settings = folder / "study.toml"
    settings.write_text(settings.read_text().replace('order = ["2026Q1"]', 'order = ["2025Q4", "2026Q1"]'))
    raw = folder / "data/raw/2025Q4"
    raw.mkdir(parents=True)
    (raw / "delivery.csv").write_text("resp_id\n1\n")
    now = (folder / "instruments/instrument.toml").read_text()
    then = now.replace("How prepared is your function?", "How ready is your function?").replace(
        "cap = 2", 'cap = 2\n[items.old]\nkind = "flag"\nlabel = "An old question"\nwording = "Once?"'
    )
    then = then.replace('{ code = 2, id = "cost"', '{ code = 3, id = "cost"')
    (folder / "instruments/2025Q4.toml").write_text(then)
    (folder / "instruments/instrument.toml").rename(folder / "instruments/2026Q1.toml")
    reports = folder / "reports/2025Q4"
    reports.mkdir(parents=True)
    before = report.estimates(dataclasses.replace(report.QUAIE, wave="2025Q4"))
    before["estimate"] = before["estimate"] - 0.25
    before.to_parquet(reports / "estimates.parquet")
    claims = report.claims(dataclasses.replace(report.QUAIE, wave="2025Q4"))
    claims[0] |= {"verdict": "inconclusive", "estimate": 0.4, "conf_low": 0.1, "conf_high": 0.7}
    (reports / "claims.json").write_text(json.dumps(claims))
    return before


def test_over_waves_comparable_recoded_and_broken_questions_are_told_apart(tmp_path):
    folder = study(tmp_path)
    before = second_wave(folder)
    reports = build(str(folder), "", "").parent
    page = Page(reports / "waves.html")
    assert "Comparable 5 Recoded 1 Broken 1 Not asked in both 1" in page.text
    assert "Preparedness of the own function prep Broken wording changed under one version" in page.text
    assert "Blockers blk Recoded answers offered changed between 2025Q4 and 2026Q1" in page.text
    assert "An old question old Not asked in both not asked in 2026Q1" in page.text
    levels = page.text.split("Levels in each wave")[1].split("Verdicts in each wave")[0]
    now = report.estimates(report.QUAIE)
    key = (now["role"] == "r4") & (now["stage"] == "") & (now["measure"] == "conf")
    for each in (before, now):
        assert f"{each[key].iloc[0]['estimate']:.2f} (" in levels
    assert "Preparedness" not in levels
    assert (
        "H2 Technology chiefs at scaled deployment are both confident and prepared. Inconclusive Supported changed"
        in page.text
    )
    history = Page(reports / "findings/H2.html").text.split("Over waves")[-1]
    assert "2025Q4 Inconclusive 0.40 (0.10 to 0.70) scale points 0.50 650 in 80 organisations" in history
    topline = Page(reports / "topline.html").text
    assert "Confidence that AI will meet its goals: mean, by wave" in topline
    assert "Preparedness of the own function: mean, by wave" not in topline


def test_roles_and_stages_that_are_gone_lose_their_pages(tmp_path):
    folder = study(tmp_path)
    old = folder / "reports/2026Q1/roles/gone.html"
    old.parent.mkdir()
    old.write_text("old")
    build(str(folder), "", "")
    assert not old.exists()
    assert (folder / "reports/2026Q1/roles/r0.html").is_file()
