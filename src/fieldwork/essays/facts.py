"""What an essay may quote: the published files of a wave, each held against the manifest before it is read.

A file is stale when it is not the one that the wave's last run recorded, or when something that the run read (deliveries,
instrument, register, package code) has changed since. Staleness is found once and told where an essay quotes from the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import fieldwork
from fieldwork.claims import Register
from fieldwork.errors import EssayError, listed
from fieldwork.provenance import Memo, code_hash, sha256_file
from fieldwork.schema import ESTIMATES, conform

if TYPE_CHECKING:
    from fieldwork.claims import External
    from fieldwork.instrument import Instrument
    from fieldwork.study import Study

__all__ = ["Facts", "Recorded", "gather"]

FILES = ("estimates.parquet", "claims.json", "findings.json")
_RUN = "run the wave again: fieldwork run --wave {wave}"
_PAGES = "site"  # the pages read what an essay reads, and make nothing of it
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Recorded:
    """The manifest of a wave, held against the files as they are now.

    Attributes
    ----------
    outputs : dict        SHA-256 of every published file as the run recorded it, by label; empty without a manifest.
    moved : str           What the run read and has changed since, in words; empty where nothing has.
    """

    outputs: Mapping[str, str]
    moved: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Published numbers of one wave.

    Attributes
    ----------
    study, instrument                 As opened for the wave.
    estimates : pd.DataFrame          Published estimates.
    claims, findings : dict           Records of claims.json and findings.json, by claim.
    external : dict of External       Facts from outside, by id.
    known : frozenset of str          Claims of the register and of claims.json.
    recorded : Recorded               What the manifest says of the files.
    mirror : Path                     Folder that mirrors the study; a file there goes before the study's own.
    """

    study: Study
    instrument: Instrument
    estimates: pd.DataFrame
    claims: Mapping[str, dict[str, Any]]
    findings: Mapping[str, dict[str, Any]]
    external: Mapping[str, External]
    known: frozenset[str]
    recorded: Recorded
    mirror: Path

    def path(self, name: str) -> Path:
        """Return where a published file of the wave lies."""
        return _staged(self.study, self.mirror, self.study.reports / name)

    def need(self, *names: str) -> None:
        """Refuse published files that are missing or stale; EssayError says which, and why."""
        for name in names:
            path, label = self.path(name), _label(self.study, self.study.reports / name)
            hint = _RUN.format(wave=self.study.wave)
            if not self.recorded.outputs:
                raise EssayError(
                    f"numbers of wave {self.study.wave} are not known to be current: it has no manifest",
                    expected=f"{_label(self.study, self.study.reports)}/manifest.json, written by a run that ended well",
                    got="no such file", hint=hint,
                )  # fmt: skip
            if not path.is_file():
                raise EssayError(f"{label} is not there", expected="the file as the run published it", hint=hint)
            if sha256_file(path) != self.recorded.outputs.get(label):
                raise EssayError(
                    f"{label} is stale: it is not the file that the last run recorded",
                    expected=f"SHA-256 {self.recorded.outputs.get(label, 'of no file: the run made none')}",
                    got=f"SHA-256 {sha256_file(path)}", hint=hint,
                )  # fmt: skip
        if self.recorded.moved:
            raise EssayError(
                f"{listed(names)} may be stale: {self.recorded.moved}",
                expected="inputs and code as they were in the run that made the numbers",
                got=self.recorded.moved, hint=_RUN.format(wave=self.study.wave),
            )  # fmt: skip


def gather(study: Study, mirror: Path) -> Facts:
    """Read the published files of the study's wave; what is missing is empty here and refused where it is quoted."""
    estimates = _staged(study, mirror, study.reports / FILES[0])
    frame = pd.read_parquet(estimates) if estimates.is_file() else pd.DataFrame(columns=ESTIMATES.names)
    path = study.claims_path()
    register = Register.load(path) if path is not None else None
    claims = _by_id(_staged(study, mirror, study.reports / FILES[1]))
    return Facts(
        study=study,
        instrument=study.instrument(),
        estimates=conform(frame, ESTIMATES, where=f"reports, {FILES[0]}"),
        claims=claims,
        findings=_by_id(_staged(study, mirror, study.reports / FILES[2])),
        external={fact.id: fact for fact in register.external} if register is not None else {},
        known=frozenset(claims) | {claim.id for claim in (register.claims if register is not None else ())},
        recorded=_recorded(study, mirror),
        mirror=mirror,
    )


def _label(study: Study, path: Path) -> str:
    return path.relative_to(study.folder).as_posix()


def _staged(study: Study, mirror: Path, path: Path) -> Path:
    ours = mirror / path.relative_to(study.folder)
    return ours if ours.exists() else path


def _by_id(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        return {str(record["id"]): record for record in json.loads(path.read_text(encoding="utf-8"))}
    except (ValueError, TypeError, KeyError) as error:
        raise EssayError(
            f"{path.name} cannot be read", where=path.name, expected="a list of records with ids", got=str(error),
            hint="make it again: fieldwork run --only 09_claims 10_findings --force",
        ) from error  # fmt: skip


def _recorded(study: Study, mirror: Path) -> Recorded:
    path = _staged(study, mirror, study.reports / "manifest.json")
    if not path.is_file():
        return Recorded({}, "")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        chapters = [chapter for chapter in manifest["chapters"] if chapter["name"] != _PAGES]
        outputs = dict(manifest["outputs"])
        inputs = {label: digest for chapter in chapters for label, digest in chapter["inputs"].items()}
        modules = {name: digest for chapter in chapters for name, digest in chapter["modules"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EssayError(
            "the wave's manifest cannot be read", where=_label(study, study.reports / "manifest.json"),
            expected="the file as the run wrote it", got=repr(error), hint=_RUN.format(wave=study.wave),
        ) from error  # fmt: skip
    memo = Memo(study.folder / ".fieldwork" / "essays" / "memo.json")
    moved = [label for label in sorted(inputs) if _changed(_input(study, mirror, label), inputs[label], memo)]
    code = [name for name in sorted(modules) if _rewritten(name, modules[name], memo)]
    memo.save()
    told = [f"input {_some(moved)} changed"] if moved else []
    told += [f"package code {_some(code)} changed"] if code else []
    return Recorded(outputs, "; ".join(told))


def _some(names: Iterable[str]) -> str:
    return listed(names, limit=_SHOWN)


def _input(study: Study, mirror: Path, label: str) -> Path:
    """Return where an input of the manifest lies; deliveries and the key of pseudonyms may lie outside the study."""
    place, _, inside = label.partition("/")
    if place == "{raw}":
        return (study.raw if study.files else study.raw / study.wave) / inside
    if place == "{key}" and study.key_file is not None:
        return study.key_file
    path = study.folder / label
    return _staged(study, mirror, path) if path.is_relative_to(study.folder) else path


def _changed(path: Path, digest: str, memo: Memo) -> bool:
    return not path.is_file() or memo.sha256(path) != digest


def _rewritten(name: str, digest: str, memo: Memo) -> bool:
    """Tell whether a module of the package, or a data file beside one, is another than the run read."""
    module, _, data = name.partition("/")
    base = Path(fieldwork.__file__).parent.joinpath(*module.split(".")[1:])
    if data:
        return _changed(base / data, digest, memo)
    path = next((found for found in (base / "__init__.py", base.with_suffix(".py")) if found.is_file()), None)
    if path is None:
        return True
    fact = f"code {memo.sha256(path)}"
    if memo.fact(fact) is None:
        memo.remember(fact, code_hash(path.read_text(encoding="utf-8")))
    return bool(memo.fact(fact) != digest)
