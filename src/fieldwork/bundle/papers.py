"""The papers of a bundle: README in the template of the data editors, RO-Crate, CODECHECK, and the environment."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.bundle.tolerance import CLASSES, METHODS
from fieldwork.study import STATEMENT

if TYPE_CHECKING:
    from fieldwork.bundle.code import Code
    from fieldwork.bundle.exhibits import Exhibit
    from fieldwork.study import Study

__all__ = ["Facts", "crate", "machine", "papers"]

_MINUTES = (1, 2, 5, 10, 20, 30, 60, 120, 240, 480)
_MEDIA = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".html": "text/html",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".parquet": "application/vnd.apache.parquet",
    ".toml": "application/toml",
    ".ipynb": "application/x-ipynb+json",
    ".py": "text/x-python",
    ".txt": "text/plain",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the papers tell of.

    Attributes
    ----------
    study : Study             Opened for the wave.
    about : dict              `bundle.json`.
    code : Code               What was packed of the code.
    manifest : dict           Manifest of the wave's run.
    exhibits : tuple          Figures, tables, claims, pages and numbers.
    published : dict          Published files by path below the reports.
    seconds : dict            Seconds per chapter, None where nobody knows.
    unbuilt : dict            Essays that could not be built, with the reason.
    data : dict               Data files of the bundle by path below the study.
    """

    study: Study
    about: dict[str, Any]
    code: Code
    manifest: dict[str, Any]
    exhibits: tuple[Exhibit, ...]
    published: dict[str, bytes]
    seconds: dict[str, float | None]
    unbuilt: dict[str, str]
    data: dict[str, bytes]


def papers(facts: Facts) -> dict[str, bytes]:
    """Return README, `codecheck.yml` and `environment.json` by path."""
    here = machine()
    return {
        "README.md": _readme(facts, here).encode(),
        "codecheck.yml": _codecheck(facts).encode(),
        "environment.json": (json.dumps(here, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode(),
    }


def machine() -> dict[str, Any]:
    """Return the machine and software of this process: no host name, no user, no path."""
    import numpy as np  # noqa: PLC0415
    from threadpoolctl import threadpool_info  # noqa: PLC0415

    np.ones((2, 2)) @ np.ones((2, 2))
    libraries = [
        {key: each.get(key) for key in ("internal_api", "version", "architecture", "threading_layer")}
        for each in threadpool_info()
    ]
    installed = {each.metadata["Name"]: each.version for each in distributions() if each.metadata["Name"]}
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory(),
        "libraries": sorted({json.dumps(each, sort_keys=True): each for each in libraries}.items()),
        "locale": "not used: every text is read and written as UTF-8, and sorted by code point",
        "installed": dict(sorted(installed.items(), key=lambda item: item[0].lower())),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor()


def _memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30))
    except (ValueError, OSError, AttributeError):
        return None


def _said(text: str) -> str:
    return text.strip() or "Not stated."


def _runtime(seconds: Mapping[str, float | None]) -> str:
    """Return how long a run takes, in steps so coarse that a rerun says the same."""
    known = [each for each in seconds.values() if each is not None]
    if not known or len(known) < len(seconds):
        return "not recorded"
    whole = sum(known) / 60
    step = next((step for step in _MINUTES if whole <= step), 960)
    return f"at most {step} minute{'s' if step > 1 else ''} with one worker"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(" --- " for _ in head) + "|"]
    lines += ["| " + " | ".join(_cell(each) for each in row) + " |" for row in rows]
    return "\n".join(lines)


def _readme(facts: Facts, here: Mapping[str, Any]) -> str:
    study, about = facts.study, facts.about
    said = {key: _said(study.statement.get(key, "")) for key in STATEMENT}
    shared = about["raw"] == "raw"
    data = [[name, f"{len(content)} bytes", hashlib.sha256(content).hexdigest()[:16], _kind(name, study, shared=shared)]
            for name, content in sorted(facts.data.items())]  # fmt: skip
    reals = [[name, digest, "no" if not shared else "yes"] for name, digest in about["raw_sha256"].items()]
    versions = about["environment"]["versions"]
    given = " ".join(f"-p {name}={value}" for name, value in about["parameters"].items())
    rows = [
        [each.kind, each.name, each.shown, each.data, each.notebook or each.chapter, each.cell]
        for each in facts.exhibits
    ]
    words = {key: _cell(text) for key, text in said.items()} | {
        "title": study.title,
        "wave": study.wave,
        "unbuilt": _unbuilt(facts),
        "code": _cell(facts.code.sentence),
        "summary": _availability(facts),
        "data": _table(["file", "size", "SHA-256 (start)", "what it is"], data),
        "reals": _table(["file", "SHA-256", "in this bundle"], reals),
        "python": about["environment"]["python"],
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "locked": _locked(facts.code),
        "seed": str(about["seed"]),
        "replicates": str(about["replicates"]),
        "given": given or "none beyond study.toml",
        "processor": _cell(str(here["processor"] or here["machine"])),
        "cores": str(here["cores"]),
        "memory": str(here["memory_gib"] or "unknown"),
        "system": here["system"],
        "runtime": _runtime(facts.seconds),
        "left": _left(about["code"]["left_out"]),
        "raw": "`" if shared else " --raw DIR`, with DIR the folder of the real deliveries",
        "words": f" {given}" if given else "",
        "reports": study.reports.relative_to(study.folder).as_posix(),
        "tolerances": _table(["class", "tolerance", "estimators"], _tolerances()),
        "exhibits": _table(["kind", "name", "shown in", "data", "program", "cell"], rows),
    }
    text = resources.files("fieldwork.bundle").joinpath("readme.md").read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda found: words[found[1]], text)


def _unbuilt(facts: Facts) -> str:
    if not facts.unbuilt:
        return ""
    return "Left out, for they could not be built from these results: " + "; ".join(
        f"{name} ({why})" for name, why in facts.unbuilt.items()
    )


def _left(left: Sequence[str]) -> str:
    return f" Folders of the repository that hold data are left out of it: {', '.join(left)}." if left else ""


def _kind(name: str, study: Study, *, shared: bool) -> str:
    if name.startswith("released/"):
        return "what earlier releases have shown"
    if not shared:
        return "simulated twin: the same columns and as many rows, drawn from a world in which nobody differs"
    return "simulated data" if study.provenance == "simulated" else "as delivered"


def _availability(facts: Facts) -> str:
    study = facts.study
    if facts.about["raw"] != "raw":
        return (
            "The raw data may not be shared (`shareable = false` in study.toml). In their place stands a simulated twin, so "
            "that every program runs; its numbers are not those that were published. Whoever holds the real files can make the "
            "published numbers again with `--raw`; `bundle.json` has their hashes."
            + (
                " The key of pseudonyms is needed too (`FIELDWORK_KEY`): replicates go by it."
                if study.pseudonyms
                else ""
            )
        )
    if study.provenance == "simulated":
        return f"All data are in this bundle. They are simulated: {_cell(study.banner)}"
    return "All data are in this bundle, as delivered."


def _locked(code: Code) -> str:
    lock = code.files.get("uv.lock")
    if lock is None:
        return "packages"
    return f"{len(tomllib.loads(lock.decode()).get('package', []))} packages"


def _tolerances() -> list[list[str]]:
    return [
        [name, f"{tolerance:g}", ", ".join(sorted(m for m, of in METHODS.items() if of == name))]
        for name, tolerance in CLASSES.items()
    ]


def _codecheck(facts: Facts) -> str:
    """Return `codecheck.yml` (CODECHECK 1.0): the outputs that a codechecker should get, and who made them."""
    listed = [
        name
        for name in facts.published
        if name.startswith(("figures/", "findings/")) and name.endswith((".svg", ".csv"))
    ]
    listed = [name for name in ("estimates.csv", "claims.json") if name in facts.published] + sorted(listed)
    comments = {each.shown: f"{each.kind} {each.name}, {each.notebook} cell {each.cell}" for each in facts.exhibits}
    manifest = "".join(
        f"  - file: {json.dumps(f'published/{facts.study.wave}/{name}')}\n"
        f"    comment: {json.dumps(comments.get(name, name), ensure_ascii=False)}\n"
        for name in listed
    )
    return f"""---
version: https://codecheck.org.uk/spec/config/1.0/
paper:
  title: {json.dumps(facts.study.title, ensure_ascii=False)}
  authors:
    - name: {json.dumps(_said(facts.study.statement.get("conductor", "")), ensure_ascii=False)}
manifest:
{manifest}summary: "Run `fieldwork reproduce` on the bundle: it makes every file again and says what differs."
"""


def crate(study: Study, about: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """Return `ro-crate-metadata.json` (RO-Crate 1.1): the bundle and every file of it, with size and SHA-256."""
    registered = json.loads((study.processed / "registered.json").read_bytes())["time"]
    day = about["code"]["date"] or registered[:10]
    parts = sorted(files)
    entities: list[dict[str, Any]] = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            "about": {"@id": "./"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"{study.title}: replication package, wave {study.wave}",
            "description": f"Code, settings, data and published outputs of wave {study.wave}, to be made again.",
            "datePublished": day,
            "license": {"@id": "#licence"},
            "hasPart": [{"@id": name} for name in parts],
            "mainEntity": {"@id": "bundle.json"},
        },
        {
            "@id": "#licence",
            "@type": "CreativeWork",
            "name": "Licences",
            "description": "Code: MIT. Data: " + _said(study.statement.get("licence", "")),
        },
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": "fieldwork run",
            "instrument": {"@id": "#software"},
            "object": [{"@id": name} for name in parts if name.startswith("study/")],
            "result": [{"@id": name} for name in parts if name.startswith("published/")],
        },
        {
            "@id": "#software",
            "@type": "SoftwareApplication",
            "name": "fieldwork",
            "version": about["environment"]["versions"].get("fieldwork", ""),
            "softwareRequirements": f"Python {about['environment']['python']}",
        },
    ]
    entities += [
        {
            "@id": name,
            "@type": "File",
            "name": name,
            "contentSize": str(len(files[name])),
            "sha256": hashlib.sha256(files[name]).hexdigest(),
            "encodingFormat": _MEDIA.get(Path(name).suffix, "application/octet-stream"),
        }
        for name in parts
    ]
    content = {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": entities}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
