"""The data of a wave as a data package: every published table as CSV, with its columns, types, hash and licence.

The form is the Data Package standard, version 1 (specs.frictionlessdata.io), written here: `datapackage.json` beside the
files that it describes. The tables are the published ones; none holds a row of a respondent.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.provenance import sha256_file
from fieldwork.publish.citation import work_of
from fieldwork.publish.report import public_files
from fieldwork.schema import ESTIMATES, MULTIVERSE
from fieldwork.site import codebook_frames
from fieldwork.tables import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fieldwork.schema import Table
    from fieldwork.study import Study

__all__ = ["package", "resource", "write"]

_TYPES = {"string": "string", "Float64": "number", "Int64": "integer", "boolean": "boolean"}
_CONTRACTS = {"estimates.csv": ESTIMATES, "multiverse.csv": MULTIVERSE}
_TITLES = {
    "estimates.csv": "Published estimates",
    "multiverse.csv": "Primary claims judged under other analytic choices",
    "claims.csv": "Register of claims with verdicts",
    "questions.csv": "Codebook: questions as they were put",
    "answers.csv": "Codebook: answers offered",
}
_KINDS = {"findings": "Estimates behind", "figures": "Values drawn in the figure"}
_CLAIM = (
    "id",
    "text",
    "source",
    "family",
    "planned",
    "estimand",
    "unit",
    "estimate",
    "conf_low",
    "conf_high",
    "conf_level",
    "margin",
    "direction",
    "verdict",
    "reason",
)


def write(study: Study, folder: Path) -> list[Path]:
    """Write the tables and `datapackage.json` and return their paths.

    `findings/<id>.csv` holds the estimates behind a finding, `figures/<name>.csv` the values that a figure draws.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = public_files(study)
    tables = [name for name in _CONTRACTS if name in listed]
    tables += [name for name in sorted(listed) if name.endswith(".csv") and name.split("/")[0] in _KINDS]
    paths = [_copied(listed[name], folder / name) for name in tables]
    questions, answers = codebook_frames(study.instrument())
    for name, frame in (("claims.csv", _claims(study)), ("questions.csv", questions), ("answers.csv", answers)):
        (folder / name).write_text(_csv(frame), encoding="utf-8", newline="")
        paths.append(folder / name)
    made = package(study, folder, paths)
    target = folder / "datapackage.json"
    target.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="")
    return [*paths, target]


def package(study: Study, folder: Path, paths: list[Path]) -> dict[str, Any]:
    """Return the descriptor of a package that holds these files."""
    work = work_of(study)
    return {
        "profile": "tabular-data-package",
        "name": f"{study.name}-{study.wave}".lower(),
        "title": work.title,
        "description": work.note,
        "version": study.wave,
        **({"licenses": [{"name": work.licence}]} if work.licence else {}),
        "contributors": [{"title": work.author, "role": "author"}],
        "resources": [resource(path, folder) for path in paths],
    }


def resource(path: Path, folder: Path) -> dict[str, Any]:
    """Return the descriptor of one CSV: its columns with type and meaning, its size and hash."""
    inside = path.relative_to(folder).as_posix()
    contract = _CONTRACTS.get(inside) or (ESTIMATES if inside.startswith("findings/") else None)
    return {
        "profile": "tabular-data-resource",
        "name": inside.removesuffix(".csv").replace("/", "-").replace("_", "-").lower(),
        "title": _TITLES.get(inside) or f"{_KINDS[path.parent.name]} {path.stem}",
        "path": inside,
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "bytes": path.stat().st_size,
        "hash": f"sha256:{sha256_file(path)}",
        "schema": {"fields": _fields(path, contract), "missingValues": [""]},
    }


def _fields(path: Path, contract: Table | None) -> list[dict[str, str]]:
    """Return the columns with their types: the contract's where there is one, else what every value is."""
    found = pd.read_csv(path, keep_default_na=False, dtype=str)
    if contract is not None:
        known = {column.name: (_TYPES[column.dtype], column.meaning) for column in contract.columns}
        return [{"name": name, "type": known[name][0], "description": known[name][1]} for name in found.columns]
    return [{"name": str(name), "type": _type(found[name])} for name in found.columns]


def _type(values: pd.Series) -> str:
    filled = values[values != ""]
    numbers = pd.to_numeric(filled, errors="coerce")
    return "number" if len(filled) and not numbers.isna().any() else "string"


def _claims(study: Study) -> pd.DataFrame:
    path = study.reports / "claims.json"
    records = json.loads(path.read_bytes()) if path.is_file() else []
    rows = [{**{name: record.get(name) for name in _CLAIM}, **_base(record)} for record in records]
    return pd.DataFrame(rows, columns=[*_CLAIM, "n", "n_organisations"])


def _base(record: Mapping[str, Any]) -> dict[str, Any]:
    base = record.get("base") or {}
    return {name: base.get(name) for name in ("n", "n_organisations")}


def _csv(frame: pd.DataFrame) -> str:
    return guarded(frame).to_csv(index=False, lineterminator="\n")


def _copied(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target
