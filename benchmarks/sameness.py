"""Is a study the same wherever it runs? One run under each condition, every published file compared with the first, to the bit.

    python -m benchmarks.sameness                               a small study of the blank questionnaire, five minutes
    python -m benchmarks.sameness --study DIR                   a study of yours, with its deliveries
    python -m benchmarks.sameness --python PATH [PATH ...]      and under other interpreters, each with fieldwork installed

Conditions: 1 worker and 2, two time zones, two locales, two seeds of Python's hashes, two kernels of OpenBLAS, and every
interpreter that is named. Where nothing but the surroundings changes, internal tables and the manifest have to be the same too.
Under another kernel or another numpy the last bits of a sum may differ: internal tables are then held to the tolerance of
their estimator, and what is published still has to be the same to the bit. Exit 1 where anything is other.

Every run shares the moment at which the register was frozen, which a first run takes from the clock.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fieldwork.blank import WAVE, begin
from fieldwork.bundle.differences import Difference, compare
from fieldwork.study import Study

_ANSWERS = {
    "role": ("lead", "manager", "specialist"),
    "stage": (1, 2, 3),
    "worth": (2, 4, 5, 3),
    "ready": (1, 3, 3, 5, 2),
}
_HURDLES = ("time", "money", "skills", "goals")
_SHORT = """replicates = 399

[choices]
weights = ["raked", "none"]
lens = ["cell_table", "mixed_model"]
exclusions = ["set_aside"]
stage = ["own_function"]
missing = ["available"]
margin = "registered"
"""


@dataclass(frozen=True, slots=True)
class Condition:
    """Surroundings of a run.

    Attributes
    ----------
    name : str            What is told.
    variables : dict      Environment variables.
    workers : int         Chapters at one time.
    python : str          Interpreter; empty: the present one.
    numbers : bool        Whether the last bits of a sum may differ under it.
    """

    name: str
    variables: dict[str, str] = field(default_factory=dict)
    workers: int = 1
    python: str = ""
    numbers: bool = False


def conditions(pythons: Sequence[str] = ()) -> list[Condition]:
    """Return what a study is run under; the first is what the others are compared with."""
    return [
        Condition("1 worker, UTC, locale C, hash seed 0", {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "0"}),
        Condition("2 workers", workers=2),
        Condition("time zone Pacific/Kiritimati (+14)", {"TZ": "Pacific/Kiritimati"}),
        Condition(f"locale {_other_locale()}", {"LC_ALL": _other_locale()}),
        Condition("hash seed 4242", {"PYTHONHASHSEED": "4242"}),
        Condition("OPENBLAS_CORETYPE=Haswell", {"OPENBLAS_CORETYPE": "Haswell"}, numbers=True),
        Condition("OPENBLAS_CORETYPE=Prescott", {"OPENBLAS_CORETYPE": "Prescott"}, numbers=True),
        *(Condition(f"interpreter {_version(python)}", python=python, numbers=True) for python in pythons),
    ]


def _version(python: str) -> str:
    words = "import platform, numpy; print(platform.python_version(), 'with numpy', numpy.__version__)"
    return subprocess.run([python, "-c", words], capture_output=True, text=True, check=True).stdout.strip()


def deliver(folder: Path, organisations: int = 60, informants: int = 4) -> Path:
    """Lay a small delivery of the blank questionnaire into a study: every answer follows from row numbers, none is drawn."""
    rows = []
    for number in range(organisations * informants):
        org, place = divmod(number, informants)
        row = {"resp_id": f"r{number:04}", "org_id": f"o{org:03}", "wave": WAVE}
        row |= {name: str(told[(number * 7 + place + org // 3) % len(told)]) for name, told in _ANSWERS.items()}
        ticks = [name for turn, name in enumerate(_HURDLES) if (number * 5 + org) % (turn + 3) == 0]
        rows.append(row | {"hurdle": ";".join(ticks or ["none"])})
    target = folder / "data/raw" / WAVE / "answers.csv"
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return target


def small_study(folder: Path) -> Path:
    """Write the blank study with a small delivery and a short multiverse."""
    deliver(begin(folder))
    settings = folder / "study.toml"
    text = settings.read_text(encoding="utf-8").replace("# pseudonyms = false", "pseudonyms = false")
    settings.write_text(text.replace("replicates = 1000", "replicates = 99"), encoding="utf-8")
    (folder / "instruments/multiverse.toml").write_text(_SHORT, encoding="utf-8")
    return folder


def _other_locale() -> str:
    """Return a locale of the system that writes decimal commas; C.UTF-8 where it has none."""
    listed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
    return next((name for name in listed if name.startswith(("de_DE", "fr_FR", "tr_TR"))), "C.UTF-8")


def run(study: Path, condition: Condition) -> None:
    """Run a study under a condition; SystemExit with what it said where it fails."""
    base = {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "TZ": "UTC",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "0",
    }
    words = [condition.python or sys.executable, "-m", "fieldwork", "run", "--study", str(study)]
    words += ["--workers", str(condition.workers)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=base | condition.variables)
    if done.returncode:
        raise SystemExit(f"{condition.name}: the run failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def differences(first: Study, other: Study, condition: Condition) -> list[Difference]:
    """Return what differs between the results of two runs of a study."""
    found: list[Difference] = []
    for one, two, published in ((first.reports, other.reports, True), (first.processed, other.processed, False)):
        names = {
            path.relative_to(folder).as_posix() for folder in (one, two) for path in folder.rglob("*") if path.is_file()
        }
        for name in sorted(names):
            paths = one / name, two / name
            if not all(path.is_file() for path in paths):
                found.append(Difference("missing" if paths[0].is_file() else "extra", name))
                continue
            contents = [path.read_bytes() for path in paths]
            if condition.numbers and name == "manifest.json":
                continue  # holds hashes of internal tables, and the environment
            if condition.numbers and not published and not name.endswith(".parquet"):
                continue  # the same tables once more, for people
            if condition.numbers and ".draws." in name:
                continue  # replicates: what is estimated from them is compared
            if contents[0] == contents[1]:
                continue
            found += compare(name, *contents, exact=published or not condition.numbers)
    return found


def main() -> int:
    """Run a study under every condition and tell what came out other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--python", nargs="+", default=[])
    parser.add_argument("--json", type=Path, help="file for the differences")
    options = parser.parse_args()
    told: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="fieldwork-sameness-") as place:
        source = options.study or small_study(Path(place, "study"))
        results: list[Study] = []
        for number, condition in enumerate(conditions(options.python)):
            copy = Path(place, f"run{number}")
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("reports", "processed", ".fieldwork"))
            if results:
                frozen = results[0].processed / "registered.json"
                target = Study.open(copy).processed / "registered.json"
                target.parent.mkdir(parents=True)
                shutil.copyfile(frozen, target)
            run(copy, condition)
            results.append(Study.open(copy))
            found = differences(results[0], results[-1], condition) if number else []
            told[condition.name] = [str(each) for each in found]
            files = sum(path.is_file() for path in results[-1].reports.rglob("*"))
            said = "first run" if not number else f"{len(found)} differences" if found else "the same"
            print(f"{condition.name}: {files} published files, {said}", flush=True)
            for line in told[condition.name][:10]:
                print(f"  {line}", flush=True)
            if number:
                shutil.rmtree(copy)
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if any(told.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
