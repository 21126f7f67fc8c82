"""Essays: every number from a published record, or no essay; and documents that readers, screen readers and a press can use."""

import base64
import hashlib
import io
import json
import re
import runpy
import shutil
import subprocess
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from docx import Document
from docx.oxml.ns import qn
from pypdf import PdfReader

from fieldwork.claims import Register
from fieldwork.errors import EssayError
from fieldwork.essays import build
from fieldwork.essays.document import pandoc, parse
from fieldwork.essays.facts import gather
from fieldwork.essays.forms import as_blocks, as_html, as_list, as_markdown, as_typst
from fieldwork.essays.making import sources_of
from fieldwork.essays.render import render
from fieldwork.essays.source import lint, read
from fieldwork.essays.typeset import compiled, typst_source
from fieldwork.provenance import code_hash
from fieldwork.study import Study
from fieldwork.tables import Cell, Column, Table, crossed_table

ROOT = Path(__file__).resolve().parents[1]
report = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "browser" / "report.py")))

HEAD = '+++\ntitle = "On roles"\nsubtitle = "A test"\nauthor = "Nobody"\ndate = 2026-11-25\n{more}+++\n\n'
PROSE = """Roles differ.[^rule] {{ supported.H2.text }}. {{ supported.H2.sentence }} It is {{ supported.H2.estimate }}
with an interval of {{ supported.H2.interval }} at {{ supported.H2.level }}, from {{ supported.H2.base }}. See {{ ref.spread }}
and {{ ref.means }}.

{{ figure.spread }}

## What is open

The hypothesis reads "{{ inconclusive.H4.text }}". {{ inconclusive.H4.sentence }}

{{ table.crossed(construct="adoption_gradient", statistic="role_mean", rows="role", across="stage", measure="conf", name="means", title="Confidence by role & stage") }}

One role says {{ estimate(construct="adoption_gradient", measure="conf", statistic="role_mean", role="r1").full }}.
{{ external.bcg_people_process_split.marked }}

{{ table.claims("H2", "H4", "H5", name="verdicts", title="Verdicts") }}

[^rule]: Margins were set beforehand. [@lakens2017]
"""
CSL = [
    {
        "id": "lakens2017",
        "type": "article-journal",
        "title": "Equivalence Tests",
        "author": [{"family": "Lakens", "given": "Daniël"}],
        "container-title": "Social Psychological and Personality Science",
        "volume": "8",
        "issued": {"date-parts": [[2017]]},
    }
]


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seal(folder, **changes):
    """Write the manifest that a run would have left: what is published, what was read, what code made it."""
    reports = folder / "reports" / "2026Q1"
    files = [
        p for p in sorted(reports.rglob("*")) if p.is_file() and "essays" not in p.parts and p.name != "manifest.json"
    ]
    chapter = {
        "name": "09_claims",
        "inputs": {
            name: sha(folder / name)
            for name in ("study.toml", "instruments/instrument.toml", "instruments/claims.toml")
        },
        "modules": {"fieldwork.errors": code_hash((ROOT / "src/fieldwork/errors.py").read_text(encoding="utf-8"))},
    }
    outputs = {path.relative_to(folder).as_posix(): sha(path) for path in files}
    manifest = {"outputs": outputs, "chapters": [chapter | changes]}
    (reports / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A study as a run leaves it, with one essay."""
    folder = report.make(tmp_path_factory.mktemp("ready") / "study", report.QUAIE)
    shutil.copy(ROOT / "instruments" / "claims.toml", folder / "instruments")
    (folder / "essays").mkdir()
    (folder / "essays" / "sources.json").write_text(json.dumps(CSL), encoding="utf-8")
    write(folder, PROSE)
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def made(ready):
    """The essay of that study, built once."""
    paths = build(ready)
    return SimpleNamespace(folder=ready, paths=paths, essays=ready / "reports" / "2026Q1" / "essays")


@pytest.fixture
def study(ready, tmp_path):
    return shutil.copytree(ready, tmp_path / "study", ignore=shutil.ignore_patterns("essays.json", ".fieldwork"))


def write(folder, prose, name="roles", more=""):
    path = folder / "essays" / f"{name}.md"
    path.write_text(HEAD.format(more=more) + prose, encoding="utf-8")
    return path


def refused(folder):
    with pytest.raises(EssayError) as caught:
        checked(folder)
    return caught.value


def checked(folder):
    """Read, lint and render the essay of a study, as the build does before it writes."""
    opened = Study.open(folder)
    facts = gather(opened, folder)
    source = read(folder / "essays" / "roles.md", "essays/roles.md")
    lint(source, claims=facts.known, cited=sources_of(folder))
    return render(source, facts)


def line_of(folder, text):
    lines = (folder / "essays" / "roles.md").read_text(encoding="utf-8").split("\n")
    return 1 + next(number for number, line in enumerate(lines) if text in line)


# ------------------------------------------------------------------------------------ the four that stop the build


def test_a_typed_number_stops_the_build_with_its_line(study):
    write(study, PROSE.replace("Roles differ.", "Roles differ by 0.9 points."))
    with pytest.raises(EssayError, match="a number is typed by hand") as caught:
        build(study)
    assert caught.value.where == f"essays/roles.md, line {line_of(study, 'by 0.9')}"
    assert caught.value.got == "'0.9'"
    assert not (study / "reports" / "2026Q1" / "essays").exists()


def test_a_misspelt_claim_stops_the_build_with_its_line(study):
    write(
        study,
        PROSE.replace("inconclusive.H4.sentence", "inconclusive.H44.sentence").replace(
            "inconclusive.H4.text", "inconclusive.H44.text"
        ),
    )
    error = refused(study)
    assert error.title == "the claim 'H44' is not known"
    assert error.where == f"essays/roles.md, line {line_of(study, 'H44.text')}"
    assert "H4" in error.hint


def test_an_estimate_suppressed_after_the_essay_was_written_stops_the_build_with_its_line(study):
    path = study / "reports" / "2026Q1" / "estimates.parquet"
    table = pd.read_parquet(path)
    one = (table["role"] == "r1") & (table["measure"] == "conf") & (table["stage"].fillna("") == "")
    assert one.sum() == 1
    table.loc[one, ["estimate", "std_error", "conf_low", "conf_high", "conf_level", "n", "n_organisations"]] = None
    table.loc[one, ["status", "reason"]] = ["suppressed", "held back: fewer than 10 respondents"]
    table.to_parquet(path)
    seal(study)
    error = refused(study)
    assert error.title == "an estimate that the essay quotes is held back"
    assert error.where == f"essays/roles.md, line {line_of(study, 'One role says')}"
    assert "fewer than 10 respondents" in error.got


def test_a_claim_whose_deciding_estimate_is_held_back_is_not_quoted(study):
    report.hold_back(study, "role_sd_corrected")
    seal(study)
    error = refused(study)
    assert error.title == "an estimate that the essay quotes is held back"
    assert error.where == f"essays/roles.md, line {line_of(study, 'supported.H2.text')}"


def test_a_stale_estimate_stops_the_build_with_its_line(study):
    path = study / "reports" / "2026Q1" / "estimates.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "estimate"] = 3.33
    table.to_parquet(path)
    error = refused(study)
    assert error.title == "reports/2026Q1/estimates.parquet is stale: it is not the file that the last run recorded"
    assert error.where.startswith("essays/roles.md, line ")
    assert "fieldwork run --wave 2026Q1" in error.hint


def test_a_delivery_outside_the_study_is_found_where_it_lies(study, tmp_path):
    delivery = tmp_path / "elsewhere" / "2026Q1" / "delivery.csv"
    delivery.parent.mkdir(parents=True)
    delivery.write_text("resp_id\n")
    settings = study / "study.toml"
    settings.write_text(f'[data]\nraw = "../elsewhere"\n{settings.read_text()}')
    read_by_the_run = {"study.toml": sha(settings), "{raw}/delivery.csv": sha(delivery)}
    seal(study, inputs=read_by_the_run)
    assert checked(study)
    delivery.write_text("resp_id\n1\n")
    assert "input {raw}/delivery.csv changed" in refused(study).title


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda s: (s / "reports/2026Q1/manifest.json").unlink(), "it has no manifest"),
        (lambda s: (s / "instruments/instrument.toml").open("a").write("\n# later\n"), "input instruments/instrument.toml changed"),
        (lambda s: seal(s, modules={"fieldwork.errors": "0" * 64}), "package code fieldwork.errors changed"),
        (lambda s: seal(s, modules={"fieldwork.gone": "0" * 64}), "package code fieldwork.gone changed"),
        (lambda s: (s / "reports/2026Q1/figures/spread.txt").write_text("Other words."), "figures/spread.txt is stale"),
        (lambda s: (s / "reports/2026Q1/claims.json").write_text("[]"), "claims.json is stale"),
    ],
)  # fmt: skip
def test_whatever_moved_since_the_run_makes_the_numbers_stale(study, spoil, told):
    spoil(study)
    error = refused(study)
    assert told in error.title
    assert error.where.startswith("essays/roles.md, line ")


# --------------------------------------------------------------------------------------------- what may be typed


@pytest.mark.parametrize(
    "prose",
    [
        "About 70 per cent of it.", "About seventy per cent of it.", "Two in five said so.", "Half of the executives agree.",
        "Most of the CTOs agree.", "It is twice as wide.", "¾ of it.", "It fell by 12%.", "&#53; of them.", "Twelve executives said so.",
        "Some 2025 executives answered.", "In 2025 executives were asked.", "# A 12-point gap", "- 4 of them", "| a | 1 |",
        "٣ of them", "H99 says so.", "In 1850 people believed it.", "Both of H2 and H4 hold.",
    ],
)  # fmt: skip
def test_numbers_in_whatever_dress_are_found(study, prose):
    write(study, f"Some prose.\n\n{prose}\n")
    assert refused(study).where == f"essays/roles.md, line {line_of(study, prose)}"


@pytest.mark.parametrize(
    "prose",
    [
        "On 25 November 2026 we met.", "In 2026 we met, and in Q1 2026, and on 2026-11-25.", "Wave 2026Q1 is the first.",
        "It is there (2017).", "See [the page](https://example.org/2017/40).", "1. First.\n2. Second.", "ISO 20252 wants it.",
        "One role and two readings.", "The one thing of which many speak.",
    ],
)  # fmt: skip
def test_dates_lists_addresses_and_what_is_declared_may_be_typed(study, prose):
    write(study, f"{prose}\n", more='[typed]\n"ISO 20252" = "name of a standard"\n')
    assert checked(study).markdown.strip() == prose


@pytest.mark.parametrize(
    "reference",
    ["42", "'42'", "1 + 1", "supported.H2.estimate | upper", "'a' ~ 'b'", "supported.H2.estimate[0]", "[supported.H2.estimate]", "supported.H2.part(1)"],
)  # fmt: skip
def test_a_reference_is_no_program(study, reference):
    write(study, "Prose.\n\nSo {{ " + reference + " }}.\n")
    error = refused(study)
    assert error.title.startswith("a reference is a name, its fields")
    assert error.where == "essays/roles.md, line 10"


@pytest.mark.parametrize("block", ["{% if x %}a{% endif %}", "{% set x = 42 %}", "{% raw %}42{% endraw %}"])
def test_an_essay_holds_no_program(study, block):
    write(study, f"Prose.\n\n{block}\n")
    error = refused(study)
    assert (error.title, error.where) == ("an essay holds references and no program", "essays/roles.md, line 10")


def test_a_number_in_the_title_of_a_table_is_typed_too(study):
    write(study, '{{ table.claims("H2", name="v", title="The 36 claims") }}\n')
    assert refused(study).title == "a number is typed by hand"


# ------------------------------------------------------------------------------------ hypothesis and finding


@pytest.mark.parametrize(
    ("prose", "title"),
    [
        ("{{ supported.H4.sentence }}", "a hypothesis is about to be printed as a finding"),
        ("{{ contradicted.H5.sentence }}", "a hypothesis is about to be printed as a finding"),
        ("{{ supported.H3.sentence }}", "the verdict of a claim is another than the prose was written for"),
        ("It is {{ inconclusive.H4.estimate }}.", "a passage quotes a hypothesis without saying that it is undecided"),
        ("So: {{ claim.H2.text }}.", "a claim is quoted without its verdict"),
        ("We found that roles differ.", "a hypothesis is worded as a finding"),
        ("The data show it. {{ inconclusive.H4.sentence }}", "a hypothesis is worded as a finding"),
        (
            "A finding: {{ supported.H2.sentence }} Then {{ inconclusive.H4.sentence }}",
            "a hypothesis is worded as a finding",
        ),
        ("H2 is supported.", "a claim is named and nothing of it is quoted"),
        ("{{ supported.H2 }}", "claim H2 is quoted without saying what of it"),
        ("{{ supported.H2.estimat }}", "claim H2 has no field; the field 'estimat' is not known"),
        ("{{ suported.H2.estimate }}", "the name 'suported' is not known"),
        ("{{ not_assessable.H5.estimate }} {{ not_assessable.H5.sentence }}", "claim H5 has no estimate to print"),
    ],
)
def test_a_hypothesis_cannot_be_worded_as_a_finding(study, prose, title):
    write(study, f"Prose.\n\n{prose}\n")
    error = refused(study)
    assert (error.title, error.where) == (title, "essays/roles.md, line 10")


def test_a_finding_may_be_worded_as_one_and_a_hypothesis_as_it_is(study):
    write(
        study, "We found it: {{ supported.H2.sentence }}\n\nThe data do not show it. {{ inconclusive.H4.sentence }}\n"
    )
    assert "We found it: Supported." in checked(study).markdown


def test_a_finding_that_findings_json_does_not_hold_is_none(study):
    path = study / "reports" / "2026Q1" / "findings.json"
    records = json.loads(path.read_text())
    records[0]["status"] = "hypothesis"
    path.write_text(json.dumps(records))
    seal(study)
    assert refused(study).title == "a hypothesis is about to be printed as a finding"


def test_an_outside_fact_carries_source_mark_and_day(study):
    write(study, "{{ external.bcg_people_process_split.marked }}\n")
    text = checked(study).markdown
    assert "Not a finding of this fieldwork" in text
    assert "mismatch: it is not where" in text
    assert "checked 2026-11-22" in text
    write(study, "{{ external.bcg_people_process_split.statement }}\n")
    assert "has no field" in refused(study).title


# ------------------------------------------------------------------------------------------------- notes and sources


@pytest.mark.parametrize(
    ("prose", "title"),
    [
        ("Prose.[^a]", "the note 'a' is not there"),
        ("Prose.\n\n[^a]: A note.", "nothing points to the note 'a'"),
        ("Prose.[^a]\n\n[^a]: A note. [@laken2017]", "the source 'laken2017' is not known"),
        ("Prose.[^a]\n\n[^a]: A note.\n\n[^a]: Another.", "the note 'a' is there twice"),
        ("See {{ ref.spread }}.", "the essay shows no figure or table 'spread'"),
        ("{{ figure.spred }}", "the figure 'spred' is not known"),
        ("In a line {{ figure.spread }} with words.", "a figure or table stands in a paragraph of its own"),
        ('{{ table.crossed(construct="x", rows="role", across="stage", name="t", title="T") }}', "a table has no rows"),
        ('{{ table.claims(name="t", title="T") }}', "a table has no rows"),
        ('{{ table.claims("H2", title="T") }}', "a reference lacks an argument, or has one too many"),
        ('{{ estimate(construct="adoption_gradient", statistic="role_mean", role="r1").full }}', "the reference fits more than one estimate"),
    ],
)  # fmt: skip
def test_what_leads_nowhere_is_told_with_its_line(study, prose, title):
    write(study, f"{prose}\n")
    error = refused(study)
    assert error.title == title
    assert re.fullmatch(r"essays/roles\.md, line \d+", error.where)


def test_alternative_text_with_a_number_of_its_own_is_refused(study):
    path = study / "reports" / "2026Q1" / "figures" / "spread.txt"
    path.write_text(path.read_text().replace("0.62", "0.63"))
    assert "0.63" in path.read_text()
    seal(study)
    error = refused(study)
    assert (error.title, error.got) == (
        "the alternative text of the figure 'spread' has a number that is not in its record",
        "0.63",
    )
    path.write_text("\n")
    seal(study)
    assert refused(study).title == "the figure 'spread' has no alternative text"


# -------------------------------------------------------------------------------------------------------- tables


def mean(role, stage, value, n, status="ok", reason=""):
    names = ("estimate", "std_error", "conf_low", "conf_high", "conf_level", "n")
    row = {
        "wave": "2026Q1",
        "construct": "adoption_gradient",
        "measure": "conf",
        "statistic": "role_mean",
        "unit": "scale_point",
    }
    row |= {"role": role, "stage": stage, "status": status, "reason": reason}
    known = (value, 0.12, value - 0.2, value + 0.2, 0.95, n) if status == "ok" else [None] * len(names)
    return row | dict(zip(names, known, strict=True))


@pytest.fixture(scope="module")
def crossed(ready):
    rows = [mean("r0", "s0", 3.111, 20), mean("r0", "s1", 2.5, 35), mean("r1", "s0", 4.0, 20)]
    rows.append(mean("r1", "s1", None, None, "suppressed", "held back: fewer than 10 respondents"))
    frame = pd.DataFrame(rows).assign(role_2="", segment="", item="")
    return crossed_table(frame, Study.open(ready).instrument(), rows="role", across="stage", title="Means")


def test_a_crossed_table_has_the_base_under_every_column(crossed):
    shown = crossed.frame()
    assert list(shown.columns) == ["Role", "Evaluating", "Experimenting"]
    assert shown.iloc[-1].tolist() == ["Respondents", "20", "35"]
    assert shown.iloc[0].tolist() == ["CEO", "3.11 (2.91 to 3.31)", "2.50 (2.30 to 2.70)"]
    assert shown.iloc[1, 2] == "\N{EN DASH}"
    assert crossed.reasons() == {"held back: fewer than 10 respondents": "a"}


def test_bases_that_differ_within_a_column_are_shown_as_their_range(ready):
    rows = pd.DataFrame([mean("r0", "s0", 3.0, 20), mean("r1", "s0", 4.0, 45)]).assign(role_2="", segment="", item="")
    shown = crossed_table(rows, Study.open(ready).instrument(), rows="role", across="stage", title="Means").frame()
    assert shown.iloc[-1].tolist() == ["Respondents", "20 to 45"]


def test_every_form_of_a_table_says_the_same(crossed):
    page = as_html(crossed, "t", "Table 1")
    assert page == as_html(crossed, "t", "Table 1")
    cells = re.findall(r'<td[^>]*class="[^"]*gt_right[^"]*"[^>]*>(.*?)</td>', page, re.DOTALL)
    assert [re.sub(r"<.*", "", cell).strip() for cell in cells] == ["3.11", "2.50", "4.00", "\N{EN DASH}", "20", "35"]
    assert "Held back: fewer than 10 respondents." in page
    lines = as_list(crossed)
    assert lines[1] == "CFO: Evaluating 4.00 (3.80 to 4.20); Experimenting not published [a]"
    assert lines[-1] == "[a] Held back: fewer than 10 respondents."
    typst = as_typst(crossed)
    assert "align: (left, right, right,)" in typst
    assert typst.count("table.hline") == 3
    (block, *notes) = as_blocks(crossed, "table-x", plain=False)
    assert [column[0]["t"] for column in block["c"][2]] == ["AlignLeft", "AlignRight", "AlignRight"]
    assert len(notes) == 2


def test_markup_in_labels_stays_text_in_every_form():
    evil = '<b>&"#x $y$ ]\\'
    table = Table(evil, (Column(evil, "label"), Column(evil, "number")), ((Cell(evil), Cell("1", evil)),))
    assert "<b>" not in as_html(table, "t", "Table 1")
    text = f"#set document(title: [x])\n{as_typst(table)}"
    assert compiled(text, {}, stamp=0, format="pdf").startswith(b"%PDF")


def test_labels_are_no_markup_in_lists_to_paste():
    """A list of a table is Markdown: what a label says is read, not done."""
    hostile = [
        "<script>alert(7)</script>",
        "[x](javascript:alert(7))",
        "![x](http://x.example) www.x.example",
        "`a` *b* _c_ ~d~ $e$ &lt;",
        "# h",
        "+ p",
    ]
    for label in hostile:
        made = pandoc(["-f", "gfm+tex_math_dollars", "-t", "json"], f"- {as_markdown(label)}\n".encode())
        text = json.dumps(json.loads(made)["blocks"])
        kinds = set(re.findall('"t": ?"([A-Za-z]+)"', text))
        assert kinds <= {"BulletList", "Plain", "Str", "Space"}, label
    assert as_markdown("a\n- b") == "a - b"


def test_a_table_wider_than_a_page_is_refused(study):
    claims = '{{ table.estimates(construct="adoption_gradient", measure=["conf", "prep"], statistic=["role_mean", "role_sd_corrected"], role=["", "r1"], stage=["", "s1"], name="wide", title="Wide") }}'
    write(study, claims + "\n")
    error = refused(study)
    assert error.title == "the table 'wide' is too wide for print"


# ------------------------------------------------------------------------------------------------------ documents


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


def test_an_essay_comes_in_every_form(made):
    names = {path.relative_to(made.essays).as_posix() for path in made.paths}
    assert {f"roles.{form}" for form in ("md", "html", "newsletter.html", "docx", "pdf")} <= names
    assert {
        "roles/figure-spread.png",
        "roles/figure-spread.txt",
        "roles/table-means.png",
        "roles/table-means.md",
    } <= names
    assert all(path.is_file() for path in made.paths)


def test_markdown_has_superscripts_and_notes_as_the_series_prints_them(made):
    text = (made.essays / "roles.md").read_text(encoding="utf-8")
    assert text.startswith("# On roles\n")
    assert "Roles differ.¹ Technology chiefs" in text
    notes = text.split("## Notes and Sources")[1]
    assert (
        "1. Margins were set beforehand. Daniël Lakens, \N{LEFT SINGLE QUOTATION MARK}Equivalence Tests\N{RIGHT SINGLE QUOTATION MARK}, *Social Psychological and Personality Science*, 8, 2017."
        in " ".join(notes.split())
    )
    assert "**Simulated data" in text
    assert re.search(r"^\| Role +\| +Evaluating", text, re.MULTILINE)
    assert re.search(r"^!\[.+\]\(roles/figure-spread\.png\)$", text, re.MULTILINE)
    assert "Figure 1" in text
    assert "\ue000" not in text
    assert "{{" not in text


def test_html_is_inert_and_every_picture_has_its_text(made):
    for name in ("roles.html", "roles.newsletter.html"):
        text = (made.essays / name).read_text(encoding="utf-8")
        page = Tags(text)
        assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "link", "object", "form"})
        assert all(image["alt"] and image["src"].startswith("data:image/png") for image in page.all("img"))
        assert len(page.all("h1")) == 1
        (policy,) = [
            meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy.startswith("default-src 'none'; style-src 'unsafe-hashes' 'sha256-")
        assert not re.search(r"unsafe-(inline|eval)|https?:|\*", policy)
        styles = [*re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)]
        styles += [attrs["style"] for _, attrs in page.tags if "style" in attrs]
        for style in styles:
            assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        assert all(link["href"][1:] in ids for link in page.all("a") if link["href"].startswith("#"))
    assert len(Tags((made.essays / "roles.html").read_text(encoding="utf-8")).all("table")) == 2
    newsletter = Tags((made.essays / "roles.newsletter.html").read_text(encoding="utf-8"))
    assert newsletter.all("table") == []
    assert len(newsletter.all("img")) == 3
    assert not [attrs for _, attrs in newsletter.tags if "class" in attrs]


def test_word_has_styles_numbered_captions_and_lists(made):
    document = Document(made.essays / "roles.docx")
    styles = [paragraph.style.name for paragraph in document.paragraphs]
    assert {"Title", "Subtitle", "Author", "Date", "Heading 1", "Image Caption", "Table Caption", "Table Note"} <= set(
        styles
    )
    captions = {
        "".join(text.text for text in p._p.iter(qn("w:t"))).replace("\xa0", " "): p
        for p in document.paragraphs
        if p.style.name in ("Image Caption", "Table Caption")
    }
    assert list(captions) == [
        "Figure 1. Spread between roles and between stages of adoption",
        "Table 1. Confidence by role & stage",
        "Table 2. Verdicts",
    ]
    for text, paragraph in captions.items():
        (field,) = paragraph._p.iter(qn("w:fldSimple"))
        assert field.get(qn("w:instr")).split()[:2] == ["SEQ", text.split()[0]]
    xml = zipfile.ZipFile(made.essays / "roles.docx").read("word/document.xml").decode()
    assert 'TOC \\h \\z \\n \\t "Image Caption,1" \\c "Figure"' in xml
    entries = [p.text for p in document.paragraphs if p.style.name == "List Entry"]
    assert entries[0] == "Figure 1. Spread between roles and between stages of adoption"
    assert entries[1:] == ["Table 1. Confidence by role & stage", "Table 2. Verdicts"]
    anchors = set(re.findall(r'w:hyperlink [^>]*w:anchor="([^"]+)"', xml))
    names = re.findall(r'w:bookmarkStart [^>]*w:name="([^"]+)"', xml)
    assert anchors <= set(names)
    assert len(names) == len(set(names))
    assert all(re.findall(r'<wp:docPr [^>]*descr="([^"]+)"', xml))
    assert len(document.tables) == 2
    for table in document.tables:
        assert table._tbl.tblPr.find(qn("w:tblBorders")) is not None
        assert table.rows[0]._tr.trPr.find(qn("w:tblHeader")) is not None
    assert document.core_properties.title == "On roles"


def test_the_pdf_is_tagged_typeset_at_trim_size_and_says_that_it_is_accessible(made):
    reader = PdfReader(made.essays / "roles.pdf")
    assert {(float(page.mediabox.width), float(page.mediabox.height)) for page in reader.pages} == {(432.0, 648.0)}
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en-GB"
    assert "<pdfuaid:part>1</pdfuaid:part>" in root["/Metadata"].get_object().get_data().decode()
    assert reader.metadata.title == "On roles"
    assert str(reader.metadata["/CreationDate"]).startswith("D:20261125000000")
    text = " ".join(page.extract_text() for page in reader.pages)
    assert "Simulated data" in text
    assert "Notes and Sources" in text


def test_the_compiler_refuses_a_picture_without_its_text(made):
    essay = checked(made.folder)
    text = typst_source(parse(essay, made.folder / "essays" / "sources.json"), essay)
    files = {"figure-spread.svg": essay.exhibits["spread"].files["svg"]}
    without = re.sub(r', alt: "[^"]*"', "", text)
    assert without != text
    with pytest.raises(EssayError, match="could not be typeset"):
        compiled(without, files, stamp=0, format="pdf", pdf_standards=["ua-1"])


def prose_beside_exhibits(*heights):
    """Return the lines of prose on each page that shows an exhibit, for exhibits of some heights in inches."""
    boxes = ", ".join(
        f"[#figure(rect(height: {height}in)[exhibit], kind: image, supplement: [F], caption: [x])]"
        for height in heights
    )
    words = "prose prose prose prose prose prose prose prose prose prose prose. "
    text = (
        '#import "house.typ": essay, floating\n#show: essay.with(title: "T", date: datetime(year: 2026, month: 1, day: 1))\n'
        f"{words * 12}\n\n#floating({boxes})\n\n{words * 120}"
    )
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(compiled(text, {}, stamp=0, format="pdf"))).pages]
    return [sum("prose" in line for line in page.split("\n")) for page in pages if "exhibit" in page]


def test_no_page_has_a_few_lines_of_text_squeezed_between_exhibits():
    assert prose_beside_exhibits(1.7, 4.4) == [0]
    assert prose_beside_exhibits(6.3) == [0]
    roomy = prose_beside_exhibits(1.5, 2.0)
    assert len(roomy) == 1
    assert roomy[0] >= 8
    assert all(lines >= 8 for lines in prose_beside_exhibits(4.4, 4.4))


def test_the_same_essay_is_the_same_bytes(made, tmp_path):
    again = build(made.folder, "2026Q1", tmp_path)
    assert [path.relative_to(tmp_path / "reports/2026Q1/essays") for path in again] == [
        p.relative_to(made.essays) for p in made.paths
    ]
    assert [sha(path) for path in again] == [sha(path) for path in made.paths]


def test_what_is_up_to_date_is_left_alone_and_what_is_not_is_made(study):
    first = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in build(study)}
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in build(study)} == first
    page = study / "reports" / "2026Q1" / "essays" / "roles.md"
    page.write_text("spoilt")
    build(study)
    assert page.read_text().startswith("# On roles")


def test_an_essay_of_another_wave_is_left_out(study):
    write(study, PROSE, more='wave = "2025Q4"\n')
    assert build(study) == []


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("Prose.\n", "an essay begins with its head"),
        ('+++\ntitle = "T"\n+++\n', "the head of the essay is not complete"),
        ('+++\ntitel = "T"\n+++\n', "the head has an unknown key 'titel'"),
        ("+++\ntitle = T\n+++\n", "the head of the essay is not valid TOML"),
        ('+++\ntitle = "The 36 claims"\nauthor = "N"\ndate = 2026-11-25\n+++\n', "a number is typed by hand"),
    ],
)
def test_a_head_that_is_off_is_told(study, head, title):
    (study / "essays" / "roles.md").write_text(head)
    assert refused(study).title == title


# ----------------------------------------------------------------------------------------------- the shipped essay


def test_the_shipped_essay_types_no_number_and_words_no_hypothesis_as_a_finding():
    claims = [claim.id for claim in Register.load(ROOT / "instruments" / "claims.toml").claims]
    for path in sorted((ROOT / "essays").glob("*.md")):
        source = read(path, path.name)
        lint(source, claims=claims, cited=sources_of(ROOT))
        quoted = {
            ref.path[0]
            for paragraph in source.paragraphs
            for ref in paragraph.references
            if ref.path and ref.path[0][0] == "H"
        }
        assert {f"H{number}" for number in range(10, 25)} <= quoted


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("soffice"), reason="LibreOffice is not installed")
def test_a_word_processor_opens_the_document(made, tmp_path):
    command = [
        "soffice",
        "--headless",
        f"-env:UserInstallation=file://{tmp_path}/profile",
        "--convert-to",
        "pdf",
        "--outdir",
        tmp_path,
    ]
    subprocess.run([*command, made.essays / "roles.docx"], check=True, capture_output=True)
    text = " ".join(page.extract_text() for page in PdfReader(io.BytesIO((tmp_path / "roles.pdf").read_bytes())).pages)
    text = " ".join(text.split())
    assert "Figure 1. Spread between roles" in text
    assert text.count("Table 2. Verdicts") == 2
