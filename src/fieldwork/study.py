"""A study folder: which waves, which instrument, where deliveries lie and where results go.

The folder's `study.toml` is read with the standard library alone, so that a command which has nothing to do is fast.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from fieldwork.errors import StudyError, listed, nearest

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument

__all__ = [
    "BANNER",
    "DATA_SUFFIXES",
    "DISCLOSURE",
    "LEAST_REPLICATES",
    "PROVENANCES",
    "REPLICATES_EXPECTED",
    "STATEMENT",
    "Study",
    "valid_name",
]

PROVENANCES = ("simulated", "delivered", "real")
BANNER = "Simulated data with a known truth: no executive was interviewed, and no figure here describes the world."
DATA_SUFFIXES = (".csv", ".tsv", ".xlsx", ".parquet", ".sav", ".zsav")  # those that intake reads

# Thresholds that a study may tighten; disclosure.Policy holds their floors and sources.
DISCLOSURE = (
    "minimum_respondents",
    "minimum_organisations",
    "minimum_of_share",
    "largest_organisation",
    "two_largest_organisations",
    "p_percent",
    "smallest_difference",
    "largest_weight",
)

# Rows of the methods statement that a study fills in; what the pipeline can count it counts itself (measures.md, 3).
STATEMENT = {
    "sponsor": "Sponsor",
    "conductor": "Who conducted the fieldwork",
    "funder": "Funder",
    "conflict_of_interest": "Conflicts of interest",
    "collection_strategy": "Collection strategy",
    "mode": "Mode of interview",
    "languages": "Languages and translation",
    "wording": "Exact wording, order and routing",
    "population": "Population and geography",
    "role_eligibility": "Eligibility of roles, and how titles were verified",
    "organisations_without_role": "Organisations without the role",
    "frame": "Sampling frame",
    "recruitment": "Recruitment",
    "panel_vendor": "Panel vendor",
    "quotas": "Quotas",
    "incentives": "Incentives",
    "link": "Open or closed link",
    "sample_type": "Kind of sample",
    "dates": "Dates of fieldwork",
    "precision": "Precision",
    "weighting": "Weighting",
    "cleaning": "Cleaning and exclusions",
    "response_rates": "Invited, eligible, started, completed",
    "attrition": "Attrition between waves",
    "limits": "Limits",
    "formulae": "Formulae, versions and code",
    "hypotheses": "Planned hypotheses and deviations",
    "ethics": "Ethics and consent",
    "data_protection": "Data protection and retention",
    "anonymisation": "Anonymisation and suppression",
    "availability": "Data, materials and code",
    "licence": "Licence of the data",
    "citation": "Citation of the data",
    "pretesting": "Pre-testing and reliability",
    "external_figures": "Figures from elsewhere",
}

_SECTIONS: dict[str, tuple[str, ...]] = {
    "study": ("name", "title", "provenance", "banner"),
    "data": ("raw", "files", "processed", "reports", "pseudonyms", "shareable"),
    "waves": ("default", "order", "reference", "reference_version"),
    "instruments": ("folder",),
    "run": ("seed", "replicates"),
    "disclosure": DISCLOSURE,
    "statement": tuple(STATEMENT),
    "cost_of_delay": ("source", "currency", "weekly_value", "weeks", "yearly_rate", "option_value"),
}
# With fewer, less than one replicate lies beyond each end of a 95% interval.
LEAST_REPLICATES = 40
REPLICATES_EXPECTED = f"{LEAST_REPLICATES} or more; 1000 is usual"

_NO_STUDY = "name the folder with --study DIR, or draw one of simulated data: fieldwork simulate --world NAME --out DIR"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
_PAPERS = (".md", ".txt", ".pdf", ".docx", ".html", ".sha256", ".toml", ".json")


def valid_name(name: str) -> bool:
    """Tell whether a name is fit to be part of a file name: letters, digits, `_`, `.`, `-`, no path.

    >>> valid_name("2026Q1"), valid_name("../../x"), valid_name("")
    (True, False, False)
    """
    return bool(_NAME.fullmatch(name)) and ".." not in name and not name.endswith(".")


@dataclass(frozen=True, slots=True)
class Study:
    """A study folder opened for one wave.

    Attributes
    ----------
    folder : Path               The study folder, absolute.
    name, title : str           Slug; title for readers.
    provenance : str            `simulated`, `delivered` or `real`.
    banner : str                Sentence shown on every page; empty unless simulated.
    wave : str                  The wave it is opened for.
    waves : tuple of str        All waves, oldest first.
    reference : str             Wave that the Role Shift Index is held against; empty: the first one delivered.
    reference_version : str     Version of that reference as it was frozen; empty: it was not.
    seed, replicates : int      Root seed and number of replicates.
    raw : Path                  Folder of deliveries.
    files : tuple of str        Files inside `raw` that hold all waves; empty: `<raw>/<wave>/` is read.
    processed, reports : Path   Folders of results of the wave.
    instruments : Path          Folder of instruments, margins and claims.
    disclosure : dict           Thresholds that the study sets.
    statement : dict            Rows of the methods statement, keys of `STATEMENT`.
    pseudonyms : bool           Whether ids are replaced by keyed hashes; always, unless the data are simulated or public.
    shareable : bool            Whether a reviewer's bundle may hold the raw data; never, unless simulated or the study says so.
    delay : dict                Assumptions on what a delay costs: weekly_value and weeks as quantiles by probability,
                                yearly_rate, option_value, currency, source. Empty where the study declares none.
    """

    folder: Path
    name: str
    title: str
    provenance: str
    banner: str
    wave: str
    waves: tuple[str, ...]
    seed: int
    replicates: int
    raw: Path
    files: tuple[str, ...]
    processed: Path
    reports: Path
    instruments: Path
    disclosure: dict[str, int | float]
    statement: dict[str, str]
    delay: dict[str, Any] = field(default_factory=dict)
    reference: str = ""
    reference_version: str = ""
    pseudonyms: bool = False
    shareable: bool = False

    @classmethod
    def open(cls, folder: str | Path, wave: str | None = "", *, raw: str | Path = "") -> Study:
        """Read `study.toml` of a folder.

        Parameters
        ----------
        folder : str or Path    The study folder.
        wave : str              Wave to open; empty: the study's default.
        raw : str or Path       Folder of deliveries in place of the one that study.toml names.

        Raises StudyError for an unknown key, a value of the wrong type, an unknown wave, or a path that leaves the
        study folder (only `raw` may lie outside).
        """
        return _Reader(Path(folder)).study(wave or "", str(raw))

    @staticmethod
    def find(start: str | Path = ".") -> Path:
        """Return the nearest folder upwards from `start` that holds a study.toml."""
        here = Path(start).resolve()
        for folder in (here, *here.parents):
            if (folder / "study.toml").is_file():
                return folder
        raise StudyError(
            "no study here",
            where=str(start),
            expected="a folder with study.toml, here or above",
            hint=_NO_STUDY,
        )

    def raw_files(self) -> tuple[Path, ...]:
        """Return the delivered files of the wave, in the order of their names.

        READMEs and other papers beside a delivery are left alone. Raises StudyError when there is no delivery, or a
        file that is neither a delivery nor a paper.
        """
        if self.files:
            return tuple(self._delivered(name) for name in self.files)
        data = self._data_files()
        for path in data:
            if path.suffix.lower() not in DATA_SUFFIXES:
                raise StudyError(
                    "a file in the folder of deliveries is of no kind that can be read",
                    where=self._shown(path),
                    expected=listed(DATA_SUFFIXES),
                    got=f"'{path.name}'",
                    hint="save it as CSV (UTF-8), or move it out of the folder",
                )
        if not data:
            raise self._no_data(self.raw / self.wave)
        return data

    @property
    def delivered(self) -> bool:
        """Whether the wave has a delivery, of whatever kind; a file that holds all waves is one of each."""
        if self.files:
            return all((self.raw / name).is_file() for name in self.files)
        return bool(self._data_files())

    @property
    def earlier(self) -> tuple[Study, ...]:
        """The study opened for each wave before the one at work, oldest first, delivered or not."""
        return tuple(
            replace(self, wave=wave, processed=self.processed.parent / wave, reports=self.reports.parent / wave)
            for wave in self.waves[: self.waves.index(self.wave)]
        )

    @property
    def key_file(self) -> Path | None:
        """Where the key of pseudonyms lies, whether it is there or not; None where ids need no pseudonyms.

        It is the file that FIELDWORK_KEY names, else `fieldwork/<study>.key` in the user's folder of settings.
        """
        if not self.pseudonyms:
            return None
        settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return Path(os.environ.get("FIELDWORK_KEY") or settings / "fieldwork" / f"{self.name}.key").resolve()

    @property
    def unstated(self) -> tuple[str, ...]:
        """Keys of the methods statement that are missing or empty; a release needs every one."""
        return tuple(key for key in STATEMENT if not self.statement.get(key, "").strip())

    def _data_files(self) -> tuple[Path, ...]:
        """Files in the wave's folder of deliveries that are neither papers nor hidden."""
        folder = self.raw / self.wave
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        files = [path for path in files if path.is_file() and not path.name.startswith((".", "~$"))]
        papers = [p for p in files if p.suffix.lower() in _PAPERS or p.name.upper().startswith(("README", "SHA256"))]
        return tuple(path for path in files if path not in papers)

    def instrument_path(self) -> Path:
        """Return the wave's instrument file: `<wave>.toml`, else `instrument.toml` for all waves."""
        for path in (self.instruments / f"{self.wave}.toml", self.instruments / "instrument.toml"):
            if path.is_file():
                return path
        raise StudyError(
            f"wave {self.wave} has no instrument",
            where=self._shown(self.instruments),
            expected=f"{self.wave}.toml, or instrument.toml for all waves",
            hint="copy the instrument of the wave before and change what changed",
        )

    def instrument(self) -> Instrument:
        """Load the wave's instrument."""
        from fieldwork.instrument import Instrument  # noqa: PLC0415 - pydantic and pandas, not needed to plan a run

        return Instrument.load(self.instrument_path(), self.wave)

    def margins_path(self) -> Path | None:
        """Return the wave's file of population margins, where there is one."""
        path = self.instruments / f"{self.wave}.margins.toml"
        return path if path.is_file() else None

    def multiverse_path(self) -> Path | None:
        """Return the declaration of analytic choices, where there is one."""
        path = self.instruments / "multiverse.toml"
        return path if path.is_file() else None

    def claims_path(self) -> Path | None:
        """Return the register of claims, where there is one."""
        path = self.instruments / "claims.toml"
        return path if path.is_file() else None

    def _delivered(self, name: str) -> Path:
        path = self.raw / name
        if not path.is_file():
            raise self._no_data(path)
        return path

    def _no_data(self, path: Path) -> StudyError:
        readme = self.folder / "README.md"
        source = " (README.md of the study says where to get them)" if readme.is_file() else ""
        return StudyError(
            f"there is no delivery of wave {self.wave}",
            where=self._shown(path),
            expected="a file" if self.files else f"a folder with files of kind {listed(DATA_SUFFIXES)}",
            got="nothing there",
            hint=f"put the data there{source}, or point to their folder: fieldwork run -p raw=DIR",
        )

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else str(path)


class _Reader:
    """Reads one study.toml key by key; every fault names section and key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.raw = self._parse()
        self._known(self.raw, _SECTIONS, "the file")
        for section, keys in _SECTIONS.items():
            table = self.raw.get(section, {})
            if not isinstance(table, dict):
                raise self._wrong(section, "a table, [section]", table)
            self._known(table, keys, f"[{section}]")

    def study(self, wave: str, raw: str) -> Study:
        name = self._text("study", "name")
        if not valid_name(name):
            raise self._wrong("study.name", "a short name of letters, digits, '.', '_' and '-'", name)
        provenance = self._text("study", "provenance")
        if provenance not in PROVENANCES:
            raise self._wrong("study.provenance", listed(PROVENANCES), provenance)
        waves = self._waves()
        wave = wave or self._text("waves", "default", waves[-1])
        if wave not in waves:
            near = nearest(wave, waves)
            raise StudyError(
                f"the study has no wave '{wave}'",
                where="study.toml, waves.order",
                expected=listed(waves),
                got=f"'{wave}'",
                hint=f"did you mean '{near}'?" if near else "add the wave to [waves] order",
            )
        banner = self._text("study", "banner", BANNER)
        return Study(
            folder=self.folder,
            name=name,
            title=self._text("study", "title", name),
            provenance=provenance,
            banner=banner if provenance == "simulated" else "",
            wave=wave,
            waves=waves,
            seed=self._count("run", "seed", 1, low=0),
            replicates=self._count("run", "replicates", 1000, low=LEAST_REPLICATES, expected=REPLICATES_EXPECTED),
            raw=Path(raw).resolve() if raw else self._raw(),
            files=tuple(self._files()),
            processed=self._inside("data", "processed", "data/processed") / wave,
            reports=self._inside("data", "reports", "reports") / wave,
            instruments=self._inside("instruments", "folder", "instruments"),
            disclosure=self._thresholds(),
            statement={key: self._text("statement", key) for key in self.raw.get("statement", {})},
            delay=self._delay(),
            reference=self._reference(waves),
            pseudonyms=self._pseudonyms(provenance),
            shareable=self._shareable(provenance),
            reference_version=self._text("waves", "reference_version", ""),
        )

    def _pseudonyms(self, provenance: str) -> bool:
        """Ids of simulated data are nobody's; any other study says so itself if its ids need no pseudonyms."""
        usual = provenance != "simulated"
        return bool(self._value("data", "pseudonyms", usual, lambda found: isinstance(found, bool), "true or false"))

    def _shareable(self, provenance: str) -> bool:
        usual = provenance == "simulated"
        return bool(self._value("data", "shareable", usual, lambda found: isinstance(found, bool), "true or false"))

    def _reference(self, waves: tuple[str, ...]) -> str:
        reference = self._text("waves", "reference", "")
        if reference and reference not in waves:
            raise self._wrong("waves.reference", listed(waves), reference)
        return reference

    def _parse(self) -> dict[str, Any]:
        path = self.folder / "study.toml"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StudyError(
                "this folder is not a study",
                where=str(self.folder),
                expected="study.toml in it",
                hint=_NO_STUDY,
            ) from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise StudyError(
                "study.toml cannot be read",
                where="study.toml",
                expected="TOML 1.0 in UTF-8",
                got=str(error),
                hint="mend the line that is named; text goes in double quotes",
            ) from error

    def _waves(self) -> tuple[str, ...]:
        order = self._words("waves", "order")
        if not order:
            raise self._wrong("waves.order", "the waves, oldest first", order)
        for wave in order:
            if not valid_name(wave):
                raise self._wrong("waves.order", "names of letters, digits, '.', '_' and '-'", wave)
        if len(set(order)) < len(order):
            raise self._wrong("waves.order", "each wave once", order)
        default = self._text("waves", "default", order[-1])
        if default not in order:
            raise self._wrong("waves.default", listed(order), default)
        return tuple(order)

    def _files(self) -> list[str]:
        files = self._words("data", "files")
        for name in files:
            path = PurePosixPath(name)
            unread = path.suffix.lower() not in DATA_SUFFIXES
            if path.is_absolute() or ".." in path.parts or "\\" in name or unread:
                hint = "save it as CSV (UTF-8)" if unread else ""
                raise self._wrong("data.files", f"files inside data.raw of kind {listed(DATA_SUFFIXES)}", name, hint)
        return files

    def _raw(self) -> Path:
        raw = self._text("data", "raw", "data/raw")
        if PurePosixPath(raw).is_absolute() or "\\" in raw:
            raise self._wrong(
                "data.raw", "a path relative to the study", raw, "for a folder of your machine use -p raw=DIR"
            )
        return (self.folder / raw).resolve()

    def _inside(self, section: str, key: str, default: str) -> Path:
        text = self._text(section, key, default)
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts or "\\" in text or not path.parts:
            raise self._wrong(f"{section}.{key}", "a folder inside the study", text)
        return self.folder / path

    def _thresholds(self) -> dict[str, int | float]:
        out: dict[str, int | float] = {}
        for key, value in self.raw.get("disclosure", {}).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
                raise self._wrong(f"disclosure.{key}", "a number above 0", value)
            out[key] = value
        return out

    def _delay(self) -> dict[str, Any]:
        """Read the scenario of a delay; its quantiles are checked where they are used."""
        if not self.raw.get("cost_of_delay"):
            return {}

        def number(found: object) -> bool:
            return isinstance(found, int | float) and not isinstance(found, bool)

        def pairs(found: object) -> bool:
            return isinstance(found, list) and all(
                isinstance(pair, list) and len(pair) == 2 and all(map(number, pair)) for pair in found
            )

        wanted = "pairs of a probability and a value, as [[0, 10000], [0.5, 40000], [1, 90000]]"
        out: dict[str, Any] = {key: self._text("cost_of_delay", key) for key in ("source", "currency")}
        for key in ("weekly_value", "weeks"):
            declared = self._value("cost_of_delay", key, None, pairs, wanted)
            out[key] = {float(probability): float(value) for probability, value in declared}
        for key in ("yearly_rate", "option_value"):
            out[key] = float(self._value("cost_of_delay", key, 0.0, number, "a number"))
        return out

    def _text(self, section: str, key: str, default: str | None = None) -> str:
        value = self._value(section, key, default, lambda found: isinstance(found, str), "a text in quotes")
        return str(value).strip()

    def _count(self, section: str, key: str, default: int, *, low: int, expected: str = "") -> int:
        def good(found: object) -> bool:
            return isinstance(found, int) and not isinstance(found, bool) and low <= found < 2**63

        return int(self._value(section, key, default, good, expected or f"a whole number from {low}"))

    def _words(self, section: str, key: str) -> list[str]:
        def good(found: object) -> bool:
            return isinstance(found, list) and all(isinstance(word, str) for word in found)

        return list(self._value(section, key, [], good, "a list of texts"))

    def _value(self, section: str, key: str, default: object, good: Callable[[object], bool], expected: str) -> Any:  # noqa: ANN401 - the callers check the type
        value = self.raw.get(section, {}).get(key, default)
        if value is None:
            raise StudyError(
                f"study.toml lacks {section}.{key}",
                where=f"study.toml, [{section}]",
                expected=f"{key} = {expected}",
                hint=f"add the line to [{section}]",
            )
        if not good(value):
            raise self._wrong(f"{section}.{key}", expected, value)
        return value

    @staticmethod
    def _known(table: Mapping[str, object], known: Iterable[str], where: str) -> None:
        known = list(known)
        for key in table:
            if key not in known:
                near = nearest(key, known)
                raise StudyError(
                    f"unknown key '{key}'",
                    where=f"study.toml, {where}",
                    expected=listed(known, limit=40),
                    got=f"'{key}'",
                    hint=f"did you mean '{near}'?" if near else "remove the key",
                )

    @staticmethod
    def _wrong(key: str, expected: str, got: object, hint: str = "") -> StudyError:
        return StudyError(
            f"{key} is not as a study has it",
            where=f"study.toml, {key}",
            expected=expected,
            got=repr(got)[:60],
            hint=hint or f"change {key} in study.toml",
        )
