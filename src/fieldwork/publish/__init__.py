"""What goes out of the house for one wave, in one folder: pages, book, essays, topline, data, how to cite them.

It gathers what a run has made and published, and estimates nothing. A part is a function of the study and a folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.errors import RunError, StudyError, listed
from fieldwork.provenance import beside, canonical, sha256_file, sha256_text
from fieldwork.publish.report import manifest_of, public_files
from fieldwork.study import STATEMENT

if TYPE_CHECKING:
    from fieldwork.study import Study

__all__ = ["PARTS", "Publication", "publish", "refuse_unstated"]

_RECORD = "publication.json"


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication as it stands.

    Attributes
    ----------
    folder : Path              Where it lies.
    files : dict               Its files below the folder, with their SHA-256; the record itself is not among them.
    unchanged : bool           Nothing was written: what it is made of has not changed and every file is whole.
    unstated : tuple of str    Headings of the methods statement that are empty; none but in a draft.
    """

    folder: Path
    files: dict[str, str]
    unchanged: bool
    unstated: tuple[str, ...]


def publish(study: Study, out: Path, *, draft: bool = False, force: bool = False) -> Publication:
    """Put a wave's publication together, or leave it as it is where nothing has changed.

    It is made beside its place and takes it whole, so that a part which fails leaves the publication that was there. The
    same reports, statement and code give the same bytes.

    Parameters
    ----------
    study : Study    Opened for a wave whose run ended well.
    out : Path       Folder of the publication; everything else in it goes.
    draft : bool     Publish although rows of the methods statement are empty.
    force : bool     Make it again although nothing has changed.

    Raises StudyError for an empty row of the statement (unless a draft), RunError for a wave without a manifest or a report
    that has changed since, and for a folder that holds something else.
    """
    unstated = tuple(STATEMENT[key] for key in study.unstated)
    if not draft:
        refuse_unstated(study, "fieldwork publish --draft, for readers inside the house")
    manifest = manifest_of(study)
    key = sha256_text(
        canonical([manifest, sha256_file(study.folder / "study.toml"), _code(), draft, [*PARTS], _written(study)])
    )
    before = _record(out)
    if not force and before.get("key") == key and _whole(out, before["files"]):
        return Publication(out, before["files"], True, unstated)  # noqa: FBT003 - a field of a record
    made = beside(out)
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        paths = [path for part in PARTS.values() for path in part(study, made)]
        files = {path.relative_to(made).as_posix(): sha256_file(path) for path in sorted(set(paths))}
        record = {"wave": study.wave, "provenance": study.provenance, "draft": draft, "key": key, "files": files}
        (made / _RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _take_place(made, out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Publication(out, files, False, unstated)  # noqa: FBT003 - a field of a record


def refuse_unstated(study: Study, hint: str = "") -> None:
    """Refuse a study whose methods statement has an empty row; StudyError names the rows."""
    if study.unstated:
        headings = listed((f"{key} ({STATEMENT[key]})" for key in study.unstated), limit=40)
        raise StudyError(
            "the methods statement has empty rows, and what is released states them all",
            where="study.toml, [statement]",
            expected="a sentence in every row; 'None.' where there is nothing to say",
            got=f"nothing for {headings}",
            hint="fill them in" + (f", or {hint}" if hint else ""),
        )


def _site(study: Study, out: Path) -> list[Path]:
    """Copy the report: pages, findings, figures, tables."""
    copied = []
    for inside, source in public_files(study).items():
        target = out / "site" / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        copied.append(target)
    return copied


def _topline(study: Study, out: Path) -> list[Path]:
    from fieldwork.publish.topline import write  # noqa: PLC0415 - pandas and the pages

    return write(study, out / "topline")


def _data(study: Study, out: Path) -> list[Path]:
    from fieldwork.publish.data import write  # noqa: PLC0415 - pandas

    return write(study, out / "data")


def _book(study: Study, out: Path) -> list[Path]:
    """Draw every figure in the styles of the book, the page, the web and the slide; list them; write the manuscript."""
    from fieldwork.publish.book import write  # noqa: PLC0415 - matplotlib and documents

    return write(study, out / "book")


def _essays(study: Study, out: Path) -> list[Path]:
    """Build the essays into the report, where they are kept, and copy them."""
    from fieldwork import essays  # noqa: PLC0415 - documents

    copied = []
    kept = study.reports / "essays"
    for path in essays.build(study.folder, study.wave):
        target = out / "essays" / path.relative_to(kept)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        copied.append(target)
    return copied


def _written(study: Study) -> dict[str, str]:
    """Return the hash of each essay and of what it cites."""
    folder = study.folder / "essays"
    return {path.name: sha256_file(path) for path in sorted(folder.glob("*")) if path.is_file()}


def _citation(study: Study, out: Path) -> list[Path]:
    from fieldwork.publish.citation import write  # noqa: PLC0415

    return write(study, out)


PARTS: dict[str, Callable[[Study, Path], list[Path]]] = {
    "site": _site,
    "book": _book,
    "essays": _essays,
    "topline": _topline,
    "data": _data,
    "citation": _citation,
}
"""Parts of a publication in order: each writes below the folder and returns what it wrote."""


def _code() -> str:
    """Return one hash of the package's own files, data and templates among them."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parents[1]
    for path in sorted(package.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _record(out: Path) -> dict[str, Any]:
    """Return the record of the publication that stands in a folder; empty for none, refused for anything else."""
    path = out / _RECORD
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return {}
    try:
        found = json.loads(path.read_bytes())
        if isinstance(found, dict) and isinstance(found["files"], dict):
            return found
        got = "a record of another form"
    except (OSError, ValueError, KeyError, TypeError):
        got = "files that are no publication"
    raise RunError(
        "the folder holds something else, which a publication would replace",
        where=str(out),
        expected=f"no folder, an empty one, or an earlier publication ({_RECORD})",
        got=got,
        hint="name another folder with --out, or move what lies there",
    )


def _whole(out: Path, files: Mapping[str, str]) -> bool:
    return all((out / name).is_file() and sha256_file(out / name) == digest for name, digest in files.items())


def _take_place(made: Path, out: Path) -> None:
    """Set the made folder in place of the one that stands there."""
    old = made.with_name(made.name.removesuffix(".part") + ".old.part")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    made.rename(out)
    shutil.rmtree(old, ignore_errors=True)
