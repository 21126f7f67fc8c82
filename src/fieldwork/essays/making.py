"""Making essays: read and lint all, make what is not up to date, write every file whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fieldwork
from fieldwork.errors import EssayError
from fieldwork.essays.document import parse, picture, to_html, to_markdown
from fieldwork.essays.facts import gather
from fieldwork.essays.forms import as_list, as_markdown
from fieldwork.essays.render import Essay, render
from fieldwork.essays.source import Source, lint, read
from fieldwork.essays.typeset import table_picture, to_pdf
from fieldwork.essays.word import to_docx
from fieldwork.provenance import canonical, sha256_file, sha256_text, write_atomic, write_whole
from fieldwork.study import Study

if TYPE_CHECKING:
    from fieldwork.essays.exhibits import Exhibit

__all__ = ["FOLDER", "make", "sources_of", "texts_of"]

FOLDER = "essays"
_SOURCES = "sources.json"
_PROGRAMS = (
    "great-tables",
    "pillow",
    "pypandoc-binary",
    "python-docx",
    "typst",
    "font-source-serif-pro",
    "font-source-sans-pro",
)


def make(folder: Path, wave: str, out: Path | None) -> list[Path]:
    """Build the essays of a study for a wave; see `fieldwork.essays.build`."""
    study = Study.open(folder, wave)
    mirror = out.resolve() if out is not None else study.folder
    facts = gather(study, mirror)
    sources = sources_of(study.folder)
    texts = [text for text in texts_of(study.folder) if text.wave in ("", study.wave)]
    for text in texts:
        lint(text, claims=facts.known, cited=sources)
    essays = [render(text, facts) for text in texts]
    target = mirror / study.reports.relative_to(study.folder) / FOLDER
    records = study.folder / ".fieldwork" / FOLDER / study.wave
    bibliography = study.folder / FOLDER / _SOURCES
    return [
        path
        for essay in essays
        for path in _made(essay, bibliography if sources else None, target, records / f"{essay.source.name}.json")
    ]


def texts_of(folder: Path) -> list[Source]:
    """Return the essays of a study as written; papers beside them (README) and hidden files are none."""
    found = sorted((folder / FOLDER).glob("*.md"))
    kept = [path for path in found if not path.name.startswith((".", "_")) and path.stem.upper() != "README"]
    return [read(path, f"{FOLDER}/{path.name}") for path in kept]


def sources_of(folder: Path) -> list[str]:
    """Return the ids of the study's list of sources; EssayError where it is no CSL-JSON."""
    path = folder / FOLDER / _SOURCES
    if not path.is_file():
        return []
    try:
        return [str(entry["id"]) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError) as error:
        raise EssayError(
            "the list of sources cannot be read", where=f"{FOLDER}/{_SOURCES}", expected="CSL-JSON: a list of entries with ids",
            got=repr(error), hint="export it again from your reference manager",
        ) from error  # fmt: skip


def _key(essay: Essay, sources: Path | None) -> str:
    """Return one hash for all that an essay's files depend on: words with every number in place, pictures, code, programs."""
    package = Path(fieldwork.__file__).parent
    code = [
        sha256_file(path)
        for path in sorted((package / "essays").rglob("*"))
        if path.suffix in {".py", ".html", ".typ", ".csl"}
    ]
    code.append(sha256_file(package / "tables.py"))
    exhibits = [
        [each.id, each.number, each.alt, repr(each.table), sorted(_hashes(each.files))]
        for each in essay.exhibits.values()
    ]
    source = essay.source
    head = [source.title, source.subtitle, source.author, source.date.isoformat(), essay.banner, essay.markdown]
    cited = sha256_file(sources) if sources is not None else ""
    return sha256_text(canonical([head, exhibits, cited, code, [version(name) for name in _PROGRAMS]]))


def _hashes(files: Mapping[str, bytes]) -> Iterator[list[str]]:
    for form, content in files.items():
        yield [form, hashlib.sha256(content).hexdigest()]


def _made(essay: Essay, sources: Path | None, target: Path, record: Path) -> list[Path]:
    key = _key(essay, sources)
    kept = _kept(record)
    if kept.get("key") == key and all(_is(target / name, digest) for name, digest in kept["files"].items()):
        return [target / name for name in sorted(kept["files"])]
    files = dict(_files(essay, sources))
    for name, content in sorted(files.items()):
        write_whole(target / name, content)
    digests = {name: sha256_file(target / name) for name in files}
    for gone in set(kept.get("files", {})) - set(files):
        (target / gone).unlink(missing_ok=True)
    write_atomic(record, json.dumps({"key": key, "files": dict(sorted(digests.items()))}, indent=1) + "\n")
    return [target / name for name in sorted(files)]


def _kept(record: Path) -> dict[str, Any]:
    try:
        kept = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        # A record is only a saving of time: without it the essay is made again.
        return {}
    return kept if isinstance(kept, dict) and isinstance(kept.get("files"), dict) else {}


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest


def _files(essay: Essay, sources: Path | None) -> Iterator[tuple[str, bytes]]:
    """Yield every file of an essay by its name below the folder of essays."""
    name = essay.source.name
    tree = parse(essay, sources)
    pictures = {each.name: _picture(each) for each in essay.exhibits.values()}
    tables = {each.name: pictures[each.name] for each in essay.exhibits.values() if each.table is not None}
    yield f"{name}.md", to_markdown(tree, essay).encode()
    yield f"{name}.html", to_html(tree, essay).encode()
    yield f"{name}.newsletter.html", to_html(tree, essay, tables=tables).encode()
    yield f"{name}.docx", to_docx(tree, essay)
    yield f"{name}.pdf", to_pdf(tree, essay)
    for each in essay.exhibits.values():
        yield f"{name}/{each.id}.png", pictures[each.name]
        yield f"{name}/{each.id}.txt", f"{each.alt}\n".encode()
        if each.table is not None:
            lines = [as_markdown(f"{each.heading}. {each.title}"), ""]
            lines += [f"- {as_markdown(line)}" for line in as_list(each.table)]
            yield f"{name}/{each.id}.md", ("\n".join(lines) + "\n").encode()


def _picture(exhibit: Exhibit) -> bytes:
    return table_picture(exhibit) if exhibit.table is not None else picture(exhibit.files["png"])
