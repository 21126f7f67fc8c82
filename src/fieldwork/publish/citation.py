"""How to cite a wave and each of its findings: CITATION.cff, BibTeX and CSL-JSON, made of the study's own statement.

No clock is read: the year is the one that the wave's name begins with, and is left out where it begins with none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from fieldwork.study import Study

__all__ = ["Work", "bibtex", "cff", "csl", "spdx", "work_of", "write"]

# Licences as studies write them, and their identifiers: SPDX, which CITATION.cff asks for.
_SPDX = {
    "CC BY 4.0": "CC-BY-4.0",
    "CC-BY-4.0": "CC-BY-4.0",
    "CC BY-SA 4.0": "CC-BY-SA-4.0",
    "CC BY-NC 4.0": "CC-BY-NC-4.0",
    "CC0": "CC0-1.0",
    "MIT": "MIT",
    "ODC-BY": "ODC-By-1.0",
    "ODbL": "ODbL-1.0",
}
_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


@dataclass(frozen=True, slots=True)
class Work:
    """What is cited.

    Attributes
    ----------
    key, title : str                   Key in a bibliography; title.
    author, version, note : str        Who conducted it; the wave; what a reader must know.
    year : int or None                 Year that the wave's name begins with.
    licence : str                      Identifier of SPDX; empty where the statement names none that it knows.
    findings : tuple of (id, claim)    Findings, each citable by itself.
    """

    key: str
    title: str
    author: str
    version: str
    year: int | None
    note: str
    licence: str
    findings: tuple[tuple[str, str], ...]


def work_of(study: Study) -> Work:
    """Return what is cited of a study's wave."""
    year = re.match(r"(1[89]|20|21)\d{2}", study.wave)
    path = study.reports / "findings.json"
    records = json.loads(path.read_bytes()) if path.is_file() else []
    said = [study.statement.get("citation", ""), "Simulated data." if study.provenance == "simulated" else ""]
    return Work(
        key=f"{study.name}-{study.wave}",
        title=f"{study.title} (wave {study.wave})",
        author=study.statement.get("conductor", "").strip().rstrip(".") or study.name,
        version=study.wave,
        year=int(year[0]) if year else None,
        note=" ".join(text for text in said if text),
        licence=spdx(study.statement.get("licence", "")),
        findings=tuple((str(r["id"]), str(r["claim"])) for r in records if r.get("status") == "finding"),
    )


def spdx(licence: str) -> str:
    """Return the identifier of the licence that a statement begins with; empty for one that is not known.

    >>> spdx("CC BY 4.0, except where a page says otherwise."), spdx("Ask us.")
    ('CC-BY-4.0', '')
    """
    for words, identifier in sorted(_SPDX.items(), key=lambda pair: -len(pair[0])):
        if re.match(rf"{re.escape(words)}(?![\w-])", licence.strip(), re.IGNORECASE):
            return identifier
    return ""


def cff(work: Work) -> str:
    """Return the text of CITATION.cff, version 1.2.0; every text is a JSON string, which YAML reads as it stands."""
    lines = {
        "cff-version": "1.2.0",
        "message": _quoted("If you use these data or findings, please cite them as below."),
        "type": "dataset",
        "title": _quoted(work.title),
        "authors": f"\n  - name: {_quoted(work.author)}",
        "version": _quoted(work.version),
        "abstract": _quoted(work.note),
        "license": work.licence,
    }
    return "".join(
        f"{name}: {text}\n".replace(": \n", ":\n", 1) for name, text in lines.items() if text not in ("", '""')
    )


def bibtex(work: Work) -> str:
    r"""Return the wave and its findings as BibTeX.

    >>> print(bibtex(Work("q-1", "A & B", "Us", "1", 2026, "", "", ())).strip())
    @misc{q-1,
      author = {{Us}},
      title = {{A \& B}},
      year = {2026},
      version = {1}
    }
    """
    entries = [(work.key, work.title, work.note)]
    note = f"Finding of: {work.title}. {work.note}"
    entries += [(f"{work.key}-{name}", f"{name}: {claim}", note) for name, claim in work.findings]
    return "\n".join(_entry(work, *entry) for entry in entries)


def _entry(work: Work, key: str, title: str, note: str) -> str:
    fields = {
        "author": f"{{{_tex(work.author)}}}",
        "title": f"{{{_tex(title)}}}",
        "year": str(work.year or ""),
        "version": _tex(work.version),
        "note": _tex(note.strip()),
    }
    body = ",\n".join(f"  {name} = {{{text}}}" for name, text in fields.items() if text)
    return f"@misc{{{re.sub(r'[^A-Za-z0-9.-]', '-', key)},\n{body}\n}}\n"


def csl(work: Work) -> list[dict[str, Any]]:
    """Return the wave and its findings as records of CSL-JSON."""
    common: dict[str, Any] = {"author": [{"literal": work.author}], "version": work.version}
    if work.year:
        common["issued"] = {"date-parts": [[work.year]]}
    if work.note:
        common["note"] = work.note
    whole = {"id": work.key, "type": "dataset", "title": work.title, **common}
    parts = [
        {
            "id": f"{work.key}-{name}",
            "type": "entry",
            "title": f"{name}: {claim}",
            "container-title": work.title,
            **common,
        }
        for name, claim in work.findings
    ]
    return [whole, *parts]


def write(study: Study, folder: Path) -> list[Path]:
    """Write `CITATION.cff`, `citation.bib` and `citation.json` and return their paths."""
    work = work_of(study)
    texts = {
        "CITATION.cff": cff(work),
        "citation.bib": bibtex(work),
        "citation.json": json.dumps(csl(work), indent=1, ensure_ascii=False) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return [folder / name for name in texts]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in " ".join(text.split()))
