"""What the pages are made of: the files of a wave, found in the folder of a running build or in the study's own."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fieldwork.claims import Register
from fieldwork.errors import DataError, listed
from fieldwork.findings import checked
from fieldwork.schema import ESTIMATES, conform
from fieldwork.study import Study

if TYPE_CHECKING:
    from fieldwork.claims import External
    from fieldwork.instrument import Instrument

__all__ = ["VERDICTS", "FigureFiles", "Material", "Wave", "gather", "slug"]

VERDICTS = ("supported", "contradicted", "inconclusive", "not_assessable")
_DOWNLOADS = {
    "estimates.csv": "Published estimates (CSV)",
    "estimates.parquet": "Published estimates (Parquet)",
    "claims.json": "Register with verdicts (JSON)",
    "findings.json": "Findings (JSON)",
    "multiverse.csv": "Claims under other analytic choices (CSV)",
    "multiverse.parquet": "Claims under other analytic choices (Parquet)",
    "multiverse.json": "Analytic choices (JSON)",
}
_SUBJECTS = ("role", "row", "column")  # columns of a figure's data that say whom a mark is about
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class FigureFiles:
    """A saved figure: its words and the forms in which it lies beside the pages.

    Attributes
    ----------
    name, title, caption, alt, long_description, source : str    As saved with the figure.
    svg : bytes              The drawing.
    forms : tuple of str     Endings that lie in `figures/`.
    chapter : int            Chapter of the book that it stands in; 0: none.
    drawn : frozenset        Identifiers of what its rows and columns are of, as its data name them.
    """

    name: str
    title: str
    caption: str
    alt: str
    long_description: str
    source: str
    svg: bytes
    forms: tuple[str, ...]
    chapter: int = 0
    drawn: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Wave:
    """An earlier wave as it was published.

    Attributes
    ----------
    wave : str                  Its name.
    instrument : Instrument     Its questionnaire.
    estimates : pd.DataFrame    Its published estimates; empty where none lie in its reports.
    claims : tuple              Its claims with verdicts; empty where none lie there.
    """

    wave: str
    instrument: Instrument
    estimates: pd.DataFrame
    claims: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything the pages of one wave are made of.

    Attributes
    ----------
    study, instrument           As opened for the wave.
    claims, findings : tuple    Records of claims.json and findings.json; empty where the file is missing.
    facts : tuple of External   Facts from outside that the register holds.
    estimates : pd.DataFrame    Published estimates; empty where the file is missing.
    plain_estimates             The same as plain values, see `plain`.
    flow, validation : dict     Counts of cleaning and results of validation; empty where the file is missing.
    figures : dict              Saved figures by name.
    chapters : tuple of Path    Executed chapters in order of their names.
    downloads : dict            Files beside the pages, with their labels.
    target : Path               Folder that the pages are written to.
    earlier : tuple of Wave     Earlier waves that were delivered, oldest first.
    """

    study: Study
    instrument: Instrument
    claims: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, Any], ...]
    facts: tuple[External, ...]
    estimates: pd.DataFrame
    plain_estimates: pd.DataFrame
    flow: dict[str, Any]
    validation: dict[str, Any]
    figures: dict[str, FigureFiles]
    chapters: tuple[Path, ...]
    downloads: dict[str, str]
    target: Path
    earlier: tuple[Wave, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the data are simulated."""
        return self.study.provenance == "simulated"


def gather(study: str, wave: str, out: str) -> Material:
    """Collect the files of a wave; a file in `out`, which mirrors the study folder, goes before the study's own.

    Raises StudyError for a folder that is no study, DataError for a file that is not as its contract has it, ClaimError for
    a finding that is none.
    """
    opened = Study.open(study, wave)
    mirror = Path(out) if out else opened.folder

    def staged(path: Path) -> Path:
        ours = mirror / path.relative_to(opened.folder)
        return ours if ours.exists() else path

    estimates = _estimates(staged(opened.reports / "estimates.parquet"))
    findings = _records(staged(opened.reports / "findings.json"), {"id", "verdict", "sentence"})
    chapters = _merged(staged, opened.reports / "chapters", ".ipynb", mirror, opened.folder)
    figures = _merged(staged, opened.reports / "figures", ".svg", mirror, opened.folder)
    return Material(
        study=opened,
        instrument=opened.instrument(),
        claims=_records(staged(opened.reports / "claims.json"), {"id", "text", "verdict"}),
        findings=tuple(dict(checked(record, estimates)) for record in findings),
        facts=Register.load(opened.claims_path()).external if opened.claims_path() is not None else (),
        estimates=estimates,
        plain_estimates=plain(estimates),
        flow=_object(staged(opened.processed / "01_clean.flow.json")),
        validation=_object(staged(opened.processed / "02_validate.json")),
        figures={name: _figure(path) for name, path in figures.items()},
        chapters=tuple(chapters.values()),
        downloads={name: text for name, text in _DOWNLOADS.items() if staged(opened.reports / name).is_file()},
        target=mirror / opened.reports.relative_to(opened.folder),
        earlier=tuple(_wave(each) for each in opened.earlier if each.delivered),
    )


def _wave(study: Study) -> Wave:
    return Wave(
        wave=study.wave,
        instrument=study.instrument(),
        estimates=_estimates(study.reports / "estimates.parquet"),
        claims=_records(study.reports / "claims.json", {"id", "text", "verdict"}),
    )


def slug(name: str) -> str:
    """Return a file name for an identifier: itself where it is plain, else a digest; data never become a path.

    >>> slug("H4"), slug("../../etc/passwd"), slug("CON")
    ('H4', 'x-3754d6cb3a', 'x-a3dbc4b644')
    """
    if _PLAIN.fullmatch(name) and not _RESERVED.fullmatch(name):
        return name
    return f"x-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def _merged(staged: Callable[[Path], Path], folder: Path, ending: str, mirror: Path, root: Path) -> dict[str, Path]:
    found = {
        path.name
        for place in (folder, mirror / folder.relative_to(root))
        if place.is_dir()
        for path in place.iterdir()
        if path.suffix == ending
    }
    return {Path(name).stem: staged(folder / name) for name in sorted(found)}


def _records(path: Path, needed: set[str]) -> tuple[dict[str, Any], ...]:
    content = _parsed(path, [])
    wrong = "" if isinstance(content, list) else type(content).__name__
    for number, record in enumerate(content if not wrong else []):
        if not isinstance(record, dict):
            wrong = f"entry {number + 1} is no record"
        elif not needed.issubset(record):
            wrong = f"entry {number + 1} lacks {listed(sorted(needed - set(record)))}"
        elif record["verdict"] not in VERDICTS:
            wrong = f"entry {number + 1} has the verdict {record['verdict']!r}"
        if wrong:
            break
    if wrong:
        raise DataError(
            f"{path.name} is not a list of records as its contract has it",
            where=f"reports, {path.name}",
            expected=f"records with {listed(sorted(needed))}; verdict one of {listed(VERDICTS)}",
            got=wrong,
            hint="run chapters 09_claims and 10_findings again",
        )
    return tuple(content)


def _object(path: Path) -> dict[str, Any]:
    content = _parsed(path, {})
    if not isinstance(content, dict):
        raise DataError(
            f"{path.name} is not a record",
            where=path.name,
            expected="one JSON object",
            got=type(content).__name__,
            hint="run the chapter that makes it again",
        )
    return content


def _parsed(path: Path, default: Any) -> Any:  # noqa: ANN401 - any JSON value
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path.name} cannot be read",
            where=path.name,
            expected="JSON in UTF-8",
            got=str(error),
            hint="run the chapter that makes it again",
        ) from error


def plain(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return estimates as plain values, None for a missing one.

    They lie in one block, from which pages cut hundreds of small tables; a table of typed columns is cut column by column.
    """
    values = estimates.to_numpy(dtype=object, na_value=None)  # type: ignore[arg-type]  # the stubs know other values only
    return pd.DataFrame(values, index=estimates.index, columns=estimates.columns)


def _estimates(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return conform(pd.DataFrame(columns=ESTIMATES.names), ESTIMATES)
    return conform(pd.read_parquet(path), ESTIMATES, where=f"reports, {path.name}")


def _figure(path: Path) -> FigureFiles:
    words: Mapping[str, Any] = _object(path.with_suffix(".json"))
    alt = path.with_suffix(".txt")
    return FigureFiles(
        name=path.stem,
        title=str(words.get("title", path.stem)),
        caption=str(words.get("caption", "")),
        alt=str(words.get("alt") or (alt.read_text(encoding="utf-8").strip() if alt.is_file() else path.stem)),
        long_description=str(words.get("long_description", "")),
        source=str(words.get("source", "")),
        svg=path.read_bytes(),
        forms=tuple(form for form in ("svg", "pdf", "png", "csv", "txt") if path.with_suffix(f".{form}").is_file()),
        chapter=int(words.get("chapter") or 0),
        drawn=_drawn(path.with_suffix(".csv")),
    )


def _drawn(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    with path.open(encoding="utf-8", newline="") as file:
        return frozenset(row[name] for row in csv.DictReader(file) for name in _SUBJECTS if row.get(name))
