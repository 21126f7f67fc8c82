"""Can the results be made again? Unpack into a clean folder, install what the lock names, run, and say what differs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

import fieldwork
from fieldwork.bundle.archive import read_folder, refuse_names
from fieldwork.bundle.checking import Verdict, read_bundle, verify_files
from fieldwork.bundle.contents import FORMAT
from fieldwork.bundle.differences import Difference, behind, compare, compare_essay
from fieldwork.errors import BundleError, UsageError
from fieldwork.provenance import RESTRICTED, sha256_file

__all__ = ["ENVIRONMENTS", "Reproduction", "reproduce"]

ENVIRONMENTS = ("auto", "lock", "present")
"""Where the software comes from: the bundle's lock; the present environment; or the lock, and where it cannot be installed the
present environment if it holds what the lock names."""

_ESSAYS = "import sys; from fieldwork.essays import build; build(sys.argv[1], sys.argv[2])"
_NOT_COMPARED = ("manifest.json",)  # holds the environment beside the results, which are compared file by file
_PASSED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "TERM", "LD_LIBRARY_PATH", "FIELDWORK_KEY",
           "PYTHONHASHSEED", "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")  # fmt: skip
_TAIL = 12
_UV = "uv==0.13.9"  # the version that the Makefile fetches

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How a rebuild ended.

    Attributes
    ----------
    verdict : Verdict           What differs from what was published.
    checked : bool              Whether the published numbers could be compared at all: not where a twin stands for the data.
    environment : str           Which software it ran on, in one sentence.
    folder : Path               Where it ran.
    """

    verdict: Verdict
    checked: bool
    environment: str
    folder: Path


def reproduce(
    path: Path,
    *,
    into: Path | None = None,
    environment: str = "auto",
    raw: Path | None = None,
    workers: int = 1,
    tell: Tell = lambda _: None,
) -> Reproduction:
    """Make the results of a bundle again in a clean folder and compare them with those that were published.

    The code of the bundle is run, with the rights of whoever calls: take bundles from authors whose code you would run.

    Parameters
    ----------
    path : Path           The bundle, packed or unpacked.
    into : Path           Folder to work in; must not exist or be empty. None: one below the system's temporary folder.
    environment : str     One of `ENVIRONMENTS`.
    raw : Path            Folder of the real deliveries, for a bundle that holds a simulated twin in their place.
    workers : int         Chapters at one time.
    tell : callable       Called with one line per step.

    Raises BundleError where nothing can be checked: the bundle is not whole, the software cannot be installed, the run fails,
    or the deliveries are not those that were published from.
    """
    files = read_bundle(path)
    whole = verify_files(files)
    if not whole.same:
        raise BundleError(
            "the bundle is not the one that was made, so nothing is made from it",
            where=path.name,
            expected="every file as its list of hashes has it",
            got=str(whole.differences[0]),
            hint="fieldwork verify names every difference; fetch the bundle again",
        )
    about = _about(files)
    tell(f"{path.name}: {whole.checked} files whole")
    folder = _clean(into)
    _unpack(files, folder)
    tell(f"unpacked into {folder}")
    study = folder / "study"
    given = _given(about, study, raw)
    program, said = _software(folder, environment, tell)
    tell(said)
    if about["raw"] == "twin" and raw is None:
        # A twin's ids are nobody's: a key for this run alone, and none among the user's settings.
        program.variables["FIELDWORK_KEY"] = str(folder / "twin.key")
    command = ["run", "--study", str(study), "--wave", about["wave"], "--workers", str(workers), *given]
    tell(f"fieldwork {' '.join(command[:1] + command[3:])}")
    _ran(program, ["-m", "fieldwork", *command], folder, "the run of the bundle failed", tell)
    published = _below(files, f"published/{about['wave']}/")
    if any(name.startswith("essays/") for name in published):
        _ran(program, ["-c", _ESSAYS, str(study), about["wave"]], folder, "the essays of the bundle could not be built")
    if about["raw"] == "twin" and raw is None:
        notes = (
            *whole.notes,
            "the run on the simulated twin ended well; the published numbers come from data that are not in the bundle",
        )
        return Reproduction(Verdict(0, (), notes), False, said, folder)  # noqa: FBT003
    verdict = _compared(files, published, folder, about)
    return Reproduction(Verdict(verdict.checked, verdict.differences, whole.notes + verdict.notes), True, said, folder)  # noqa: FBT003


def _about(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return `bundle.json`; BundleError where it is not as this program writes it, or names a path that leads elsewhere."""
    try:
        about: dict[str, Any] = json.loads(files["bundle.json"])
        texts = [
            about["wave"],
            about["raw"],
            *about["parameters"],
            *about["parameters"].values(),
            *about["raw_sha256"].values(),
        ]
        good = about["format"] == FORMAT and all(isinstance(text, str) for text in texts)
        names, good = list(about["raw_sha256"]), good and isinstance(about["environment"]["versions"], dict)
        good = good and not any(text.startswith("-") for text in (about["wave"], *about["parameters"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names, good = [], False
    if not good:
        raise BundleError(
            "bundle.json does not say how the bundle is made again",
            where="bundle.json",
            expected=f"what `{FORMAT}` has: wave, parameters, hashes of the raw data",
            hint="a bundle of another version is made again with the fieldwork that it holds, by the steps in its README.md",
        )
    refuse_names(names)
    return about


def _below(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    return {name.removeprefix(folder): content for name, content in files.items() if name.startswith(folder)}


def _clean(into: Path | None) -> Path:
    if into is None:
        return Path(tempfile.mkdtemp(prefix="fieldwork-reproduce-")).resolve()
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise UsageError(
            "the folder to work in is in use", where=f"--into {into}", expected="a folder that does not exist, or is empty",
            hint="name another folder",
        )  # fmt: skip
    into.mkdir(parents=True, exist_ok=True)
    return into.resolve()


def _unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the bundle's files below a folder; their paths were checked when they were read."""
    for name, content in files.items():
        target = folder / PurePosixPath(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _given(about: Mapping[str, Any], study: Path, raw: Path | None) -> list[str]:
    """Return the words that give the run its parameters and, where they lie elsewhere, its deliveries."""
    named = dict(about["parameters"])
    words = [word for name in ("seed", "replicates") if name in named for word in (f"--{name}", named.pop(name))]
    words += [word for name, value in named.items() for word in ("-p", f"{name}={value}")]
    if raw is not None:
        _put_in_place(about, study, raw)
    elif about["raw_outside"]:
        words += ["-p", f"raw={study / 'data' / 'raw'}"]
    return words


def _put_in_place(about: Mapping[str, Any], study: Path, raw: Path) -> None:
    """Put the real deliveries where the twin stands; refuse files that are not those that were published from."""
    wanted = about["raw_sha256"]
    have = {sha256_file(path): path for path in sorted(raw.rglob("*")) if path.is_file()}
    for name, digest in wanted.items():
        if digest not in have:
            raise BundleError(
                "the deliveries are not those that the results were published from",
                where=str(raw),
                expected=f"a file with the SHA-256 {digest} ({name})",
                got=f"{len(have)} files, none of them this one",
                hint="--raw takes the folder of the deliveries as they were when the wave was run",
            )
    for twin in (study / "data").rglob("twin.csv"):
        twin.unlink()
    for name, digest in wanted.items():
        target = study / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(have[digest], target)


# The software


@dataclass(frozen=True, slots=True)
class _Program:
    """An interpreter, and the variables that it runs with."""

    python: str
    variables: dict[str, str]


def _software(folder: Path, environment: str, tell: Tell) -> tuple[_Program, str]:
    """Return the interpreter to run on, and what it is in one sentence."""
    code = folder / "code"
    if environment in {"auto", "lock"}:
        why = _install(code, tell)
        if not why:
            return _Program(
                str(code / ".venv" / "bin" / "python"), _variables()
            ), "environment: installed from the bundle's lock"
        if environment == "lock":
            raise BundleError(
                "the software that the lock names cannot be installed here",
                where="code/uv.lock",
                expected="uv, and a network or a cache that holds the packages",
                got=why,
                hint="--environment present runs on the packages that are installed now, and says how they differ",
            )
        tell(f"the lock cannot be installed here: {why}")
    differing = _differing(code / "uv.lock")
    if environment == "auto" and differing:
        raise BundleError(
            "the software that the lock names cannot be installed here, and what is installed is other software",
            where="code/uv.lock",
            expected="uv with a network or a cache, or an environment of the locked versions",
            got=", ".join(differing[:8]) + (f" and {len(differing) - 8} more" if len(differing) > 8 else ""),
            hint="--environment present runs on it all the same",
        )
    said = "environment: the present one, not installed from the lock; "
    said += (
        "it holds the versions that the lock names"
        if not differing
        else f"other than the lock: {', '.join(differing[:20])}"
    )
    return _Program(sys.executable, _variables() | {"PYTHONPATH": str(code / "src")}), said


def _install(code: Path, tell: Tell) -> str:
    """Install the bundle's code with the packages of its lock; return why it cannot be done, or nothing."""
    if not (code / "uv.lock").is_file():
        return "the bundle has no lock"
    tell("installing what the lock names")
    uv = _uv() or _fetched_uv(code.parent / "tools")
    if not uv:
        return "there is no uv, and pip cannot fetch it"
    variables = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(code / ".venv")}
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
        variables.pop(name, None)
    words = [uv, "sync", "--frozen", "--no-dev", "--quiet", "--project", str(code), "--python", _base_python()]
    # From the cache alone first: with a network uv asks the index even for what the cache holds, and fails without one.
    for more in (["--offline"], []):
        done = subprocess.run([*words, *more], capture_output=True, text=True, check=False, env=variables, cwd=code)
        if done.returncode == 0:
            return ""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return _short(" ".join(lines[-3:]) or f"uv ended with {done.returncode}")


def _base_python() -> str:
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"


def _uv() -> str:
    """Return the program uv: on the path, beside the interpreter, or among the project's tools; empty where there is none."""
    beside = [
        Path(sys.executable).parent / "uv",
        Path(fieldwork.__file__).resolve().parents[2] / ".tools" / "bin" / "uv",
    ]
    return shutil.which("uv") or next((str(path) for path in beside if os.access(path, os.X_OK)), "")


def _fetched_uv(folder: Path) -> str:
    """Fetch uv with pip into a folder of the rebuild; empty where that cannot be done."""
    for words in (["-m", "venv", str(folder)], ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", _UV]):
        python = _base_python() if words[1] == "venv" else str(folder / "bin" / "python")
        try:
            done = subprocess.run([python, *words], capture_output=True, check=False)
        except OSError:
            return ""
        if done.returncode:
            return ""
    return str(folder / "bin" / "uv")


def _differing(lock: Path) -> list[str]:
    """Return the packages of a lock that are installed here in another version; what is not installed is not asked."""
    if not lock.is_file():
        return ["no lock to compare with"]
    locked: dict[str, set[str]] = {}
    for package in tomllib.loads(lock.read_text(encoding="utf-8"))["package"]:
        locked.setdefault(package["name"], set()).add(package.get("version", ""))
    differing = []
    for name, versions in sorted(locked.items()):
        try:
            here = version(name)
        except PackageNotFoundError:
            continue  # of another platform or Python, or for developers alone; a missing one that is needed stops the run
        if name != "fieldwork" and here not in versions:
            differing.append(f"{name} {here} (locked {' or '.join(sorted(versions))})")
    return differing


def _variables() -> dict[str, str]:
    """Return the variables of a clean process: what a machine needs, and nothing that could reach a result unseen."""
    return {name: os.environ[name] for name in _PASSED if name in os.environ} | {"PYTHONDONTWRITEBYTECODE": "1"}


def _ran(program: _Program, words: list[str], folder: Path, title: str, tell: Tell = lambda _: None) -> None:
    """Run the bundle's program, telling its lines as they come; BundleError with the last of them where it fails."""
    lines: deque[str] = deque(maxlen=_TAIL)
    with subprocess.Popen(
        [program.python, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=folder,
        env=program.variables,
    ) as running:
        try:
            for line in running.stdout or ():
                if line.strip():
                    lines.append(line.rstrip())
                    tell(f"  {line.rstrip()}")
        except BaseException:
            running.terminate()
            raise
    if running.returncode:
        raise BundleError(
            title,
            where=str(folder),
            expected="a run that ends well",
            got="\n            ".join(lines) or f"exit code {running.returncode}",
            hint="the folder is kept as it is; mend there, or ask the author of the bundle",
        )


# The comparison


def _compared(
    files: Mapping[str, bytes], published: Mapping[str, bytes], folder: Path, about: Mapping[str, Any]
) -> Verdict:
    """Compare what was published with what was made: published files to the bit, estimates before rounding by their class."""
    wave = about["wave"]
    reports, processed = _places(folder, wave)
    made = {
        name: content for name, content in read_folder(reports).items() if RESTRICTED not in PurePosixPath(name).parts
    }
    kinds = {PurePosixPath(name).suffix for name in published}
    if ".ipynb" not in kinds:
        made = {name: content for name, content in made.items() if not name.endswith(".ipynb")}
    compared = sorted(published.keys() - set(_NOT_COMPARED))
    same = {name: made.get(name) == published[name] for name in compared}
    differences: list[Difference] = []
    for name in compared:
        if name not in made:
            differences.append(Difference("missing", name))
        elif not same[name]:
            differences += _told(name, published[name], made[name], files, same)
    extra = made.keys() - published.keys() - set(_NOT_COMPARED)
    differences += [Difference("extra", name) for name in sorted(extra)]
    inside = _below(files, f"internal/{wave}/")
    for name, content in sorted(inside.items()):
        target = processed / name
        if not target.is_file():
            differences.append(Difference("missing", f"internal/{name}"))
        else:
            differences += compare(f"internal/{name}", content, target.read_bytes(), exact=False)
    notes = [
        f"{len(inside)} tables before rounding compared: 1e-09 for closed forms, 1e-06 for optimised estimators"
    ] * bool(inside)
    return Verdict(len(compared) + len(inside), tuple(differences), (*notes, *_software_notes(reports, about)))


def _told(
    name: str, expected: bytes, found: bytes, files: Mapping[str, bytes], same: Mapping[str, bool]
) -> list[Difference]:
    if about := behind(name, same):
        return [Difference("figure", name, about)]
    source = f"study/essays/{PurePosixPath(name).name}"
    if name.startswith("essays/") and source in files:
        return compare_essay(name, expected, found, files[source].decode("utf-8", "replace"))
    return compare(name, expected, found)


def _places(folder: Path, wave: str) -> tuple[Path, Path]:
    """Return the folders of the wave's reports and processed data, as the study of the bundle names them."""
    from fieldwork.study import Study  # noqa: PLC0415

    study = Study.open(folder / "study", wave)
    return study.reports, study.processed


def _software_notes(reports: Path, about: Mapping[str, Any]) -> list[str]:
    """Return in what the software of the rebuild is other than that of the published run."""
    here = json.loads((reports / "manifest.json").read_bytes())["environment"]
    there = about["environment"]
    notes = [] if here["python"] == there["python"] else [f"Python {here['python']} here, {there['python']} there"]
    for name, number in sorted(there["versions"].items()):
        other = here["versions"].get(name, "none")
        if other != number:
            notes.append(f"{name} {other} here, {number} there")
    return notes
