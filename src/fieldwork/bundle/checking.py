"""Is a bundle, or a wave's report, whole? Every file that is missing, extra or changed is named, with what changed in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fieldwork.bundle.archive import fault_of_packing, read_archive, read_folder, refuse_names
from fieldwork.bundle.contents import FORMAT, MANIFEST
from fieldwork.bundle.differences import Difference, behind, compare, compare_essay
from fieldwork.errors import BundleError, StudyError

__all__ = ["Verdict", "read_bundle", "verify", "verify_files"]

_CRATE = "ro-crate-metadata.json"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    Attributes
    ----------
    checked : int               Files that were held against their hash.
    differences : tuple         What is not as it should be; empty: the same.
    notes : tuple of str        What a reader should know beside.
    """

    checked: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for `--json`."""
        return {
            "same": self.same,
            "checked": self.checked,
            "differences": [asdict(each) for each in self.differences],
            "notes": list(self.notes),
        }


def verify(path: Path, wave: str = "") -> Verdict:
    """Check a bundle (archive or unpacked), a study, or the folder of a wave's report.

    Parameters
    ----------
    path : Path    The archive or folder.
    wave : str     Wave of a study; empty: its default.

    Raises BundleError where nothing can be checked: no such file, no archive, no list of hashes, an archive that is not safe.
    """
    try:
        return _verified(path, wave)
    except OSError as error:
        raise BundleError(
            "the system refused to read it", where=error.filename or str(path), got=error.strerror or str(error)
        ) from error
    except StudyError as error:
        raise BundleError(
            error.title, where=error.where, expected=error.expected, got=error.got, hint=error.hint
        ) from error


def _verified(path: Path, wave: str) -> Verdict:
    if path.is_dir() and not (path / MANIFEST).exists():
        return _verify_report(path, wave)
    files = read_bundle(path)
    found = verify_files(files)
    if path.is_file() and found.same and (fault := fault_of_packing(path, files)):
        return Verdict(found.checked, (Difference("archive", path.name, fault),), found.notes)
    return found


def read_bundle(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle, packed or unpacked; BundleError where there is none, or where it is not safe."""
    if path.is_dir():
        files = read_folder(path)
    elif path.is_file():
        files = read_archive(path)
    else:
        raise BundleError(
            "there is no such bundle", where=str(path), expected="an archive or a folder", got="nothing there"
        )
    if MANIFEST not in files:
        raise BundleError(
            "this is no bundle",
            where=path.name,
            expected=f"{MANIFEST} in it",
            got=f"{len(files)} files without it",
            hint="`fieldwork bundle` makes one",
        )
    return files


def verify_files(files: Mapping[str, bytes]) -> Verdict:
    """Hold the files of a bundle against its list, and say what changed in those that differ."""
    listed, faults = _listed(files[MANIFEST])
    refuse_names(files)
    crate = _crate(files.get(_CRATE, b""))
    differences: list[Difference] = [Difference("changed", MANIFEST, place, "", text) for place, text in faults]
    same: dict[str, bool] = {}
    for name, digest in listed.items():
        if name in files:
            same[name] = hashlib.sha256(files[name]).hexdigest() == digest
    renamed = {digest: name for name, digest in listed.items() if name not in files}
    for name, digest in sorted(listed.items()):
        if name not in files:
            if name in crate or not crate:
                differences.append(Difference("missing", name))
            else:
                differences.append(Difference("changed", MANIFEST, f"the line of {name}: no such file was bundled"))
        elif not same[name]:
            differences += _changed(name, digest, files, listed, crate, same)
    for name in sorted(files.keys() - listed.keys() - {MANIFEST}):
        found = hashlib.sha256(files[name]).hexdigest()
        if crate.get(name) == found:
            differences.append(Difference("changed", MANIFEST, f"the line of {name} is missing or damaged"))
        elif found in renamed:
            differences.append(Difference("extra", name, f"it is {renamed[found]} under another name"))
        else:
            differences.append(Difference("extra", name))
    return Verdict(len(listed), tuple(differences), _notes(files))


def _listed(content: bytes) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return hash by path of a list of hashes, and the lines that are none."""
    listed: dict[str, str] = {}
    faults = []
    lines = content.decode("utf-8", "replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    elif lines:
        faults.append((f"line {len(lines)}", "no end of line"))
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed:
            faults.append((f"line {number}", line[:80] or "(empty)"))
        else:
            listed[match[2]] = match[1]
    return listed, faults


def _crate(content: bytes) -> dict[str, str]:
    """Return hash by path of the second list, in the RO-Crate; empty where it cannot be read."""
    try:
        return {each["@id"]: each["sha256"] for each in json.loads(content)["@graph"] if "sha256" in each}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def _changed(
    name: str,
    digest: str,
    files: Mapping[str, bytes],
    listed: Mapping[str, str],
    crate: Mapping[str, str],
    same: Mapping[str, bool],
) -> list[Difference]:
    content = files[name]
    found = hashlib.sha256(content).hexdigest()
    if crate.get(name) == found and same.get(_CRATE, False):
        return [Difference("changed", MANIFEST, f"the line of {name}", digest, found)]
    twin = name.removeprefix("record/") if name.startswith("record/") else f"record/{name}"
    if listed.get(twin) == digest and same.get(twin, False):
        return _compared(name, files[twin], files)
    if name == _CRATE:
        return _crate_changed(content, listed)
    if about := behind(name, {each: same.get(each, False) for each in listed}):
        return [Difference("figure", name, about)]
    if "/essays/" in name and PurePosixPath(name).suffix in {".docx", ".pdf"}:
        text = PurePosixPath(name).with_suffix(".md").as_posix()
        return [Difference("text", name, f"set from {text}, which is {'whole' if same.get(text) else 'changed too'}")]
    return [Difference("changed", name, "content", digest, found)]


def _compared(name: str, expected: bytes, files: Mapping[str, bytes]) -> list[Difference]:
    source = f"study/essays/{PurePosixPath(name).name}"
    if "/essays/" in name and source in files and name not in {source, f"record/{source}"}:
        return compare_essay(name, expected, files[name], files[source].decode("utf-8", "replace"))
    return compare(name, expected, files[name])


def _crate_changed(content: bytes, listed: Mapping[str, str]) -> list[Difference]:
    crate = _crate(content)
    off = [name for name in sorted(listed.keys() - {_CRATE}) if crate.get(name) != listed[name]] if crate else []
    places = [
        Difference("changed", _CRATE, f"the entry of {name}", listed[name], crate.get(name, "")) for name in off[:5]
    ]
    return places or [Difference("changed", _CRATE, "content" if crate else "cannot be read")]


def _notes(files: Mapping[str, bytes]) -> tuple[str, ...]:
    try:
        about = json.loads(files["bundle.json"])
        notes = [f"{about['study']}, wave {about['wave']}"]
        if about["format"] != FORMAT:
            notes.append(f"made as '{about['format']}'; this program makes '{FORMAT}'")
        if about["raw"] == "twin":
            notes.append("the raw data are not in it: a simulated twin stands in their place")
        if about["code"]["kind"] != "commit":
            notes.append(f"its code is no commit ({about['code']['kind']})")
    except (KeyError, ValueError, TypeError, RecursionError):
        return ("bundle.json cannot be read",)
    return tuple(notes)


def _verify_report(path: Path, wave: str) -> Verdict:
    """Hold the report of a wave against its manifest: a study, or the folder of the report itself."""
    from fieldwork.study import Study  # noqa: PLC0415

    if (path / "study.toml").is_file():
        study = Study.open(path, wave)
        folder, reports = study.folder, study.reports
    else:
        folder = reports = path
    try:
        outputs: dict[str, str] = json.loads((reports / "manifest.json").read_bytes())["outputs"]
        wave = json.loads((reports / "manifest.json").read_bytes())["wave"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            "there is nothing to hold the files against",
            where=str(path),
            expected=f"a bundle ({MANIFEST}), or a report with its manifest.json",
            got=type(error).__name__,
            hint="a run that ends well leaves a manifest",
        ) from error
    if folder == reports:
        # Without the study only what lies below the report can be asked after.
        marks = [name for name in outputs if f"/{wave}/" in name and not name.startswith("data/")]
        outputs = {name.partition(f"/{wave}/")[2]: outputs[name] for name in marks}
    differences = []
    for name, digest in sorted(outputs.items()):
        target = folder / name
        if not target.is_file():
            differences.append(Difference("missing", name))
        elif (found := hashlib.sha256(target.read_bytes()).hexdigest()) != digest:
            differences.append(Difference("changed", name, "content", digest, found))
    label = "" if folder == reports else reports.relative_to(folder).as_posix() + "/"
    known = {name.removeprefix(label) for name in outputs} | {"manifest.json"}
    for file in sorted(reports.rglob("*")):
        inside = file.relative_to(reports)
        if (
            file.is_file()
            and inside.as_posix() not in known
            and inside.parts[0] not in {"restricted", "essays", "plan"}
        ):
            differences.append(Difference("extra", label + inside.as_posix()))
    return Verdict(len(outputs), tuple(differences), (f"wave {wave}, held against manifest.json",))
