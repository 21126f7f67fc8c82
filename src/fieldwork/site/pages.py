"""The pages: what each one says, in the order in which a reader meets it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from fieldwork.provenance import write_whole
from fieldwork.schema import ESTIMATE_KEY
from fieldwork.site import words
from fieldwork.site.chapters import convert, titles
from fieldwork.site.claim_tables import amendments_table, margins_table, multiverse_table, parts_table
from fieldwork.site.codebook import codebook
from fieldwork.site.explorer import explorer
from fieldwork.site.material import FigureFiles, Material, gather, slug
from fieldwork.site.over_waves import history, levels, over_waves
from fieldwork.site.perspective import listing, perspective
from fieldwork.site.quality import quality
from fieldwork.site.search import index
from fieldwork.site.statement import statement
from fieldwork.site.topline import Question, by_module, questions
from fieldwork.site.type import font_faces
from fieldwork.tables import Table, claims_table, estimates_table, facts_table, guarded

if TYPE_CHECKING:
    from fieldwork.study import Study

__all__ = ["site_environment", "topline_alone", "write"]

_NAVIGATION = (
    ("index.html", "Overview"),
    ("claims.html", "Claims"),
    ("roles.html", "Roles and stages"),
    ("explorer.html", "Explorer"),
    ("figures.html", "Figures"),
    ("topline.html", "Topline"),
    ("waves.html", "Over waves"),
    ("quality.html", "Data quality"),
    ("methods.html", "Methods"),
    ("dictionary.html", "Dictionary"),
    ("search.html", "Search"),
)
_FOLDERS = ("findings", "chapters", "roles", "stages")
_FORMS = {"svg": "SVG", "pdf": "PDF", "png": "PNG", "csv": "data (CSV)", "txt": "alternative text"}
_ROLES = ("role", "role_2")
_PER_ROLE = 40  # respondents per role below which spread and order mostly stay undecided (measures.md, 2.8)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page stands: its path below the report, and the way back up."""

    path: str

    @property
    def root(self) -> str:
        return "../" * self.path.count("/")


class _Site:
    """Renders pages of one wave, all with the same frame."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.keys = {name: material.plain_estimates[name].fillna("").to_numpy() for name in ESTIMATE_KEY}
        self.environment = site_environment()
        loader = self.environment.loader or jinja2.BaseLoader()
        style = font_faces() + loader.get_source(self.environment, "style.css")[0]
        script = Path(__file__).with_name("script.js").read_text(encoding="utf-8")
        self.allowed = {"style-src": _digest(style), "img-src": "data:", "font-src": "data:"}
        self.with_script = {**self.allowed, "script-src": _digest(script)}
        # Drawings that lie beside the page: fetched from where the page itself came from, a folder or a server.
        self.with_files = {**self.allowed, "img-src": "data: 'self' file:"}
        study = material.study
        self.environment.globals.update(
            style=Markup(style),  # noqa: S704 - the project's own file
            script=Markup(script),  # noqa: S704 - the project's own file
            study=study,
            navigation=_NAVIGATION,
            words=words,
            without_code=False,
            alone=False,
        )
        self.pages: dict[str, bytes] = {}

    def page(
        self,
        path: str,
        template: str,
        title: str,
        *,
        allowed: Mapping[str, str] | None = None,
        **context: object,
    ) -> None:
        """Render a page; every text in it is escaped unless it was made of escaped parts.

        `allowed`: what the page may load, by directive of its policy; the style sheet and what lies in it by default. Only a
        page that is allowed the script has it.
        """
        may = self.allowed if allowed is None else allowed
        policy = "; ".join(
            (
                "default-src 'none'",
                *(f"{name} {source}" for name, source in may.items()),
                "base-uri 'none'",
                "form-action 'none'",
            )
        )
        text = self.environment.get_template(template).render(
            place=_Place(path), title=title, content_security_policy=policy, scripted="script-src" in may, **context
        )
        self.pages[path] = text.encode()


def write(study: str, wave: str, out: str) -> Path:
    """Gather a wave's files, render every page, write them, and return the path of the first; see `site.build`."""
    material = gather(study, wave, out)
    site = _Site(material)
    chapters = titles(material.chapters)
    pages = {str(record["id"]): f"findings/{slug(str(record['id']))}.html" for record in material.findings}
    claims = {str(record["id"]): record for record in material.claims}
    _overview(site, pages, chapters)
    _register(site, pages)
    for record in material.findings:
        _finding(site, record, claims.get(str(record["id"]), {}), pages, chapters)
    asked = questions(material)
    _perspectives(site, pages)
    site.page(
        "explorer.html",
        "explorer.html",
        "Explorer",
        allowed=site.with_script,
        downloads=material.downloads,
        **explorer(material),
    )
    _gallery(site, pages, chapters)
    _topline(site, asked)
    site.page("waves.html", "waves.html", "Change over waves", **over_waves(material))
    entries = index(material, pages, chapters, asked, _NAVIGATION)
    site.page("search.html", "search.html", "Search", allowed=site.with_script, groups=entries)
    site.page("quality.html", "quality.html", "Data quality", **quality(material))
    site.page("methods.html", "methods.html", "Methods statement", **statement(material), chapters=chapters, slug=slug)
    site.page("dictionary.html", "dictionary.html", "Data dictionary", **codebook(material))
    for path in material.chapters:
        chapter = convert(path, site.environment, known=[*chapters], title=chapters[path.stem])
        site.page(f"chapters/{slug(path.stem)}.html", "chapter.html", chapter.title, chapter=chapter)
    _put(site.pages, material.target)
    return material.target / "index.html"


def topline_alone(study: Study) -> tuple[Material, bytes]:
    """Return the topline of a wave as a page that lies by itself: no navigation, and no link to another page."""
    material = gather(str(study.folder), study.wave, "")
    site = _Site(material)
    _topline(site, questions(material), alone=True)
    return material, site.pages["topline.html"]


def _topline(site: _Site, asked: Sequence[Question], *, alone: bool = False) -> None:
    site.page(
        "topline.html",
        "topline.html",
        "Topline",
        alone=alone,
        asked=asked,
        answered=sum(1 for each in asked if each.tables),
        modules=by_module(asked),
        trends=levels(site.material),
    )


def _digest(text: str) -> str:
    """Return a text's hash as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def site_environment() -> jinja2.Environment:
    """Return the environment of the templates: autoescaped, and strict about what a template names."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fieldwork.site", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _put(pages: Mapping[str, bytes], target: Path) -> None:
    for folder in _FOLDERS:
        (target / folder).mkdir(parents=True, exist_ok=True)
        for old in sorted((target / folder).iterdir()):
            if old.suffix in {".html", ".csv"} and f"{folder}/{old.name}" not in pages:
                old.unlink()
    for path, content in pages.items():
        write_whole(target / path, content)


def _overview(site: _Site, pages: Mapping[str, str], chapters: Mapping[str, str]) -> None:
    material = site.material
    accepted = material.flow.get("accepted")
    enough = _PER_ROLE * max(1, len(material.instrument.roles))
    shown = [(record, pages[str(record["id"])]) for record in material.findings]
    found = [each for each in shown if each[0]["status"] == "finding"]
    figures = [
        material.figures[name] for name in dict.fromkeys(r.get("figure") for r, _ in shown) if name in material.figures
    ]
    figures = figures or list(material.figures.values())
    site.page(
        "index.html",
        "index.html",
        material.study.title,
        material=material,
        tally=words.tally([str(record["verdict"]) for record in material.claims]),
        register=_register_table(material, pages),
        findings=found,
        open=[each for each in shown if each[0]["status"] != "finding"],
        figure=figures[0] if figures else None,
        image=_image,
        figures=list(material.figures.values()),
        forms=_FORMS,
        chapters=chapters,
        slug=slug,
        small=accepted if accepted is not None and accepted < enough else None,
        enough=enough,
    )


def _perspectives(site: _Site, pages: Mapping[str, str]) -> None:
    """Add the page of every role and of every stage, and the page that lists them."""
    material = site.material
    site.page("roles.html", "roles.html", "Roles and stages", **listing(material))
    for kind, folder, options in (
        ("role", "roles", material.instrument.roles),
        ("stage", "stages", material.instrument.stages),
    ):
        for at, option in enumerate(options):
            site.page(
                f"{folder}/{slug(option.id)}.html",
                "perspective.html",
                option.label,
                kind=kind,
                neighbours=[
                    (words_of, options[k].label, f"{slug(options[k].id)}.html")
                    for words_of, k in (("Previous", at - 1), ("Next", at + 1))
                    if 0 <= k < len(options)
                ],
                **perspective(material, kind, option.id, pages),
            )


def _gallery(site: _Site, pages: Mapping[str, str], chapters: Mapping[str, str]) -> None:
    """Add the page of all figures, each with the findings that show it, filtered by chapter and by role."""
    material = site.material
    used: dict[str, list[tuple[str, str]]] = {}
    for record in material.findings:
        key = str(record["id"])
        for name in (str(record.get("figure") or ""), f"multiverse_{key}"):
            used.setdefault(name, []).append((key, pages[key]))
    judged = {
        f"multiverse_{claim['id']}": {str(part.get(name)) for part in claim.get("parts") or () for name in _ROLES}
        for claim in material.claims
    }
    figures: list[dict[str, Any]] = [
        {
            "anchor": slug(name),
            "files": figure,
            "found_in": used.get(name, []),
            "roles": [
                at
                for at, role in enumerate(material.instrument.roles)
                if role.id in figure.drawn | judged.get(name, set())
            ],
        }
        for name, figure in material.figures.items()
    ]
    heads = {int(name[:2]): title for name, title in chapters.items() if re.match(r"\d\d_", name)}
    places = sorted({figure.chapter for figure in material.figures.values()} - {0})
    shown = {at for each in figures for at in each["roles"]}
    site.page(
        "figures.html",
        "figures.html",
        "Figures",
        allowed={**site.with_files, "script-src": site.with_script["script-src"]},
        figures=figures,
        forms=_FORMS,
        places=[(place, f"{place}. {heads[place]}" if place in heads else f"Chapter {place}") for place in places],
        roles=[(at, role.label) for at, role in enumerate(material.instrument.roles) if at in shown],
    )


def _register(site: _Site, pages: Mapping[str, str]) -> None:
    claims = site.material.claims
    entries = [
        {
            "record": record,
            "slug": slug(str(record["id"])),
            "page": pages.get(str(record["id"]), ""),
            "parts": parts_table(record),
            "margins": margins_table(record),
            "amendments": amendments_table(record),
            "multiverse": multiverse_table(record),
        }
        for record in claims
    ]
    registered: Mapping[str, Any] = next((record["registered"] for record in claims if record.get("registered")), {})
    site.page(
        "claims.html",
        "claims.html",
        "Register of claims",
        entries=entries,
        registered=registered,
        facts=facts_table(site.material.facts) if site.material.facts else None,
        amended=[(str(record["id"]), slug(str(record["id"]))) for record in claims if record.get("amendments")],
        tally=words.tally([str(record["verdict"]) for record in claims]),
    )


def _register_table(material: Material, pages: Mapping[str, str]) -> Table | None:
    if not material.claims:
        return None
    keys = [str(record["id"]) for record in material.claims]
    return claims_table(material.claims, links={key: pages.get(key, f"claims.html#{slug(key)}") for key in keys})


def _finding(
    site: _Site,
    record: Mapping[str, Any],
    claim: Mapping[str, Any],
    pages: Mapping[str, str],
    chapters: Mapping[str, str],
) -> None:
    material = site.material
    key = str(record["id"])
    chosen = _chosen(site.keys, record.get("table") or (), material.study.wave)
    rows = material.estimates[chosen]
    table = (
        estimates_table(
            material.plain_estimates[chosen],
            material.instrument,
            title=f"Estimates behind this {words.status_of(record)}",
        )
        if len(rows)
        else None
    )
    if len(rows):
        content = guarded(rows).to_csv(index=False, lineterminator="\n")
        site.pages[f"findings/{slug(key)}.csv"] = content.encode()
    figure = material.figures.get(str(record.get("figure") or ""))
    made = [name for name in dict.fromkeys(rows["chapter"]) if name in chapters]
    order = list(pages)
    at = order.index(key)
    site.page(
        pages[key],
        "finding.html",
        str(record.get("claim") or claim.get("text") or record.get("title") or key),
        finding={**_BLANK, **record},
        claim=claim,
        slug=slug(key),
        table=table,
        figure=figure,
        image=_image,
        forms=_FORMS,
        parts=parts_table(claim),
        margins=margins_table(claim),
        amendments=amendments_table(claim),
        multiverse=multiverse_table(claim),
        curve=material.figures.get(f"multiverse_{key}"),
        history=history(material, key),
        chapters=[(slug(name), chapters[name]) for name in made],
        small=any(rows["reason"].fillna("").str.contains("small base")),
        neighbours=[
            (words_of, order[k], Path(pages[order[k]]).name)
            for words_of, k in (("Previous", at - 1), ("Next", at + 1))
            if 0 <= k < len(order)
        ],
    )


_BLANK: dict[str, Any] = dict.fromkeys(
    ("estimate", "conf_low", "conf_high", "conf_level", "n", "n_organisations", "margin"), None
) | dict.fromkeys(("unit", "method_line", "method_full", "what_would_change", "limitations", "construct", "reason"), "")


def _chosen(filled: Mapping[str, Any], keys: Sequence[Mapping[str, Any]], wave: str) -> npt.NDArray[np.bool_]:
    """Tell which published estimates a finding names; a field that a key leaves out is not held against a row."""
    chosen = np.zeros(len(filled["wave"]), dtype=bool)
    for key in keys:
        match = filled["wave"] == wave
        for name, value in key.items():
            if name in filled and name != "wave":
                match &= filled[name] == (value or "")
        chosen |= match
    return chosen


def _image(figure: FigureFiles) -> Markup:
    """Return the drawing as an image that lies in the page itself, described in words."""
    return Markup('<img src="data:image/svg+xml;base64,{}" alt="{}">').format(
        base64.b64encode(figure.svg).decode("ascii"), figure.alt
    )
