"""What goes into a bundle: code, lock, study, data or their twin, published outputs, papers, and the list of it all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.bundle.archive import pack, refuse_names
from fieldwork.bundle.code import Code, gather
from fieldwork.bundle.exhibits import as_csv, exhibits
from fieldwork.errors import EssayError, StudyError
from fieldwork.provenance import RESTRICTED, write_whole
from fieldwork.publish.report import manifest_of, public_files

if TYPE_CHECKING:
    from fieldwork.study import Study

__all__ = ["FORMAT", "MANIFEST", "Bundle", "bundle", "given_of", "manifest_lines"]

FORMAT = "fieldwork bundle 1"
MANIFEST = "MANIFEST.sha256"
_RECORDED = (".csv", ".html", ".json", ".md", ".parquet", ".toml", ".txt", ".tsv")
_LARGEST_RECORD = 32 << 20  # raw files beyond are named when they change, not shown cell by cell
_KEYLIKE = (".key", ".pem")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as it was written.

    Attributes
    ----------
    path : Path               The archive.
    digest : str              SHA-256 of it.
    files : int               Number of files in it.
    code : Code               What it holds of the code.
    shared : bool             Whether it holds the raw data; else a simulated twin.
    unbuilt : dict            Essays that could not be built, and so are left out, with the reason.
    """

    path: Path
    digest: str
    files: int
    code: Code
    shared: bool
    unbuilt: dict[str, str]


def bundle(
    study: Study, out: Path, notebooks: Path, parameters: Mapping[str, str], minutes: Mapping[str, float | None]
) -> Bundle:
    """Write the bundle of a wave and return what it holds. The same study, results and code give the same bytes.

    Parameters
    ----------
    study : Study           Opened for a wave whose results are current.
    out : Path              The archive to write.
    notebooks : Path        Folder of the chapters' notebooks.
    parameters : mapping    What the run was given beyond the study's own settings, as texts.
    minutes : mapping       Seconds that each chapter took when it last ran; None where nobody knows.

    The raw data are in it where study.toml says that they may be shared (`shareable`), and a simulated twin where not. Keys,
    restricted reports and respondents' rows never are, unless the raw data themselves are. Raises StudyError where the raw
    data are said to be shareable and have ids that need pseudonyms, RunError where results are not what a run made.
    """
    from fieldwork.bundle import papers  # noqa: PLC0415

    _refuse_ids(study)
    manifest = manifest_of(study)
    published, unbuilt = _published(study)
    code = gather(_folders(study))
    data = _data(study)
    found = exhibits(study, manifest, published, notebooks)
    files = {f"code/{name}": content for name, content in code.files.items()}
    files |= {f"study/{name}": content for name, content in (_settings(study, notebooks) | data).items()}
    files |= {f"published/{study.wave}/{name}": content for name, content in published.items()}
    files |= _internal(study)
    files |= _record(files)
    about = _about(study, code, manifest, published, parameters)
    files["bundle.json"] = _json(about)
    files["exhibits.csv"] = as_csv(found)
    files |= papers.papers(
        papers.Facts(study, about, code, manifest, tuple(found), published, dict(minutes), unbuilt, data)
    )
    files["ro-crate-metadata.json"] = papers.crate(study, about, files)
    files[MANIFEST] = manifest_lines(files)
    refuse_names(files)
    packed = pack(files)
    write_whole(out, packed)
    return Bundle(out, hashlib.sha256(packed).hexdigest(), len(files), code, study.shareable, unbuilt)


def given_of(study: Study, own: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Return the parameters that the wave's run was given, as the command takes them.

    `own`: values that each chapter's notebook has by itself. Raises RunError for a wave without a manifest.
    """
    given: dict[str, str] = {}
    for chapter in manifest_of(study)["chapters"]:
        for name, value in chapter["parameters"].items():
            if name in own.get(chapter["name"], {}) and json.dumps(value) != json.dumps(own[chapter["name"]][name]):
                given[name] = value if isinstance(value, str) else json.dumps(value)
    return given


def manifest_lines(files: Mapping[str, bytes]) -> bytes:
    """Return `MANIFEST.sha256`: a line of SHA-256 and path per file, sorted, as `sha256sum --check` reads it."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files) if name != MANIFEST]
    return "".join(lines).encode()


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n").encode()


def _refuse_ids(study: Study) -> None:
    if study.shareable and study.pseudonyms:
        raise StudyError(
            "the raw data are said to be shareable, and their ids need pseudonyms",
            where="study.toml, [data]",
            expected="shareable = false, or pseudonyms = false where the ids in the files are nobody's",
            got="shareable = true with pseudonyms",
            hint="such files would give away what pseudonyms protect, and nobody without the key gets the same results",
        )


def _folders(study: Study) -> tuple[Path, ...]:
    """Return the folders of a study that hold data or results."""
    made = ("released", "publication", ".fieldwork")
    return (study.raw, study.processed.parent, study.reports.parent, *(study.folder / name for name in made))


def _published(study: Study) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the published files of a wave with its essays, and the essays that could not be built."""
    found = {name: path.read_bytes() for name, path in public_files(study).items()}
    found["manifest.json"] = (study.reports / "manifest.json").read_bytes()
    if study.shareable:
        label = study.reports.relative_to(study.folder).as_posix() + "/"
        books = [name for name in manifest_of(study)["outputs"] if name.startswith(label) and name.endswith(".ipynb")]
        for name in books:
            if RESTRICTED not in Path(name).parts and (study.folder / name).is_file():
                found[name.removeprefix(label)] = (study.folder / name).read_bytes()
    if not any((study.folder / "essays").glob("*.md")):
        return found, {}
    from fieldwork import essays  # noqa: PLC0415 - documents

    try:
        made = essays.build(study.folder, study.wave)
    except EssayError as error:
        return found, {"essays": f"{error.title}; {error.where}"}
    return found | {path.relative_to(study.reports).as_posix(): path.read_bytes() for path in made}, {}


def _settings(study: Study, notebooks: Path) -> dict[str, bytes]:
    """Return what a study declares: settings, instruments, register, essays, notebooks of its own, when it was registered."""
    places = [study.folder / "study.toml", study.folder / "README.md"]
    for folder in (study.instruments, study.folder / "essays"):
        places += sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if notebooks.parent == study.folder:
        places += sorted(path for path in notebooks.rglob("*") if path.suffix in {".ipynb", ".toml"})
    for wave in (*study.earlier, study):
        places.append(wave.processed / "registered.json")
    for wave in study.earlier:  # what earlier waves have published is read as it stands
        places += [wave.reports / name for name in ("estimates.parquet", "claims.json")]
    kept = [
        path for path in places if path.is_file() and not _hidden(path, study.folder) and path.suffix not in _KEYLIKE
    ]
    return {path.relative_to(study.folder).as_posix(): path.read_bytes() for path in kept}


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "~$")) or part == RESTRICTED for part in path.relative_to(folder).parts)


def _data(study: Study) -> dict[str, bytes]:
    """Return the deliveries by path below the study, or their twin; with them what earlier releases have shown."""
    raw = study.raw.relative_to(study.folder).as_posix() if study.raw.is_relative_to(study.folder) else "data/raw"
    waves = [wave for wave in (*study.earlier, study) if wave.delivered]
    found: dict[str, bytes] = {}
    if not study.shareable:
        from fieldwork.bundle.twin import joined, rows_delivered, twin  # noqa: PLC0415

        for wave in waves:
            if (wave.processed / "01_clean.flow.json").is_file():
                name = f"{raw}/{study.files[0]}" if study.files else f"{raw}/{wave.wave}/twin.csv"
                drawn = twin(wave, rows_delivered(wave.processed))
                found[name] = joined(found[name], drawn) if name in found else drawn
        return found
    for wave in waves:
        folder = study.raw if study.files else study.raw / wave.wave
        paths = [study.raw / name for name in study.files] or sorted(p for p in folder.rglob("*") if p.is_file())
        for path in paths:
            inside = path.relative_to(study.raw)
            if not path.is_symlink() and not any(part.startswith((".", "~$")) for part in inside.parts):
                found[f"{raw}/{inside.as_posix()}"] = path.read_bytes()
        released = study.folder / "released" / f"{wave.wave}.parquet"
        if released.is_file():
            found[f"released/{wave.wave}.parquet"] = released.read_bytes()
    return found


def _internal(study: Study) -> dict[str, bytes]:
    """Return the chapters' own estimates at full precision, where the raw data are shared; nobody's row is among them."""
    if not study.shareable:
        return {}
    listed = [name for name in manifest_of(study)["outputs"] if name.endswith(".parquet")]
    from fieldwork.schema import ESTIMATES  # noqa: PLC0415

    found = {}
    for name in listed:
        path = study.folder / name
        if path.parent == study.processed and path.is_file() and _columns(path) == ESTIMATES.names:
            found[f"internal/{study.wave}/{path.name}"] = path.read_bytes()
    return found


def _columns(path: Path) -> list[str]:
    from pyarrow import parquet  # noqa: PLC0415

    return list(parquet.read_schema(path).names)


def _record(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return second copies of tables and texts, by which `verify` names a changed cell or word with both its values."""
    taken = ("study/", "published/", "internal/")
    return {
        f"record/{name}": content
        for name, content in files.items()
        if name.startswith(taken) and Path(name).suffix in _RECORDED and len(content) <= _LARGEST_RECORD
    }


def _about(
    study: Study, code: Code, manifest: Mapping[str, Any], published: Mapping[str, bytes], parameters: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a machine needs to make the wave again, and what it should get."""
    inputs = {name: digest for chapter in manifest["chapters"] for name, digest in chapter["inputs"].items()}
    raw = {name: digest for name, digest in sorted(inputs.items()) if _is_raw(study, name)}
    return {
        "format": FORMAT,
        "study": study.name,
        "title": study.title,
        "wave": study.wave,
        "provenance": study.provenance,
        "parameters": dict(sorted(parameters.items())),
        "seed": int(parameters.get("seed", study.seed)),
        "replicates": int(parameters.get("replicates", study.replicates)),
        "raw": "raw" if study.shareable else "twin",
        "raw_sha256": raw,
        "raw_outside": not study.raw.is_relative_to(study.folder),
        "code": {"kind": code.kind, "commit": code.commit, "date": code.date, "changed": list(code.changed),
                 "left_out": list(code.left_out)},
        "environment": manifest["environment"],
        "published_sha256": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(published.items())},
    }  # fmt: skip


def _is_raw(study: Study, name: str) -> bool:
    path = (study.folder / name).resolve()
    return path.is_relative_to(study.raw)
