"""What a file is and what made it: content hashes, the environment's hash, the manifest of a wave.

A file is its SHA-256, never its time stamp. Hashing is remembered by size, modification time, change time and inode,
with git's guard: a file changed within two seconds of being hashed is hashed again next time, for a second change
within the clock's grain would leave the same stamp. Neither a clock reading nor a path of the machine enters a
manifest.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = [
    "RESTRICTED",
    "Environment",
    "Memo",
    "abandoned",
    "beside",
    "canonical",
    "code_hash",
    "code_tree",
    "copy_whole",
    "environment",
    "flush",
    "make_folders",
    "manifest_text",
    "naming",
    "sha256_file",
    "sha256_text",
    "write_atomic",
    "write_manifest",
    "write_whole",
    "writing_whole",
]

RESTRICTED = "restricted"
"""Folder below the reports of a wave for what is shown to one organisation alone: closed to everybody but its owner."""

_GUARD_NS = 2_000_000_000
_STAMPED = 5  # a stamp of four numbers, and the hash
_CHUNK = 1 << 20
_BESIDE = re.compile(r"\..+\.(\d+)\.part")
_VERSIONS_SHOWN = (
    "fieldwork",
    "great-expectations",
    "matplotlib",
    "numpy",
    "pandas",
    "papermill",
    "pyarrow",
    "scipy",
    "seaborn",
    "statsmodels",
)


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hexadecimal.

    >>> sha256_text("")[:12]
    'e3b0c44298fc'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def canonical(value: object) -> str:
    """Return JSON that is the same text for the same value: keys sorted, no spaces, NaN refused.

    >>> canonical({"b": 1, "a": [True, None]})
    '{"a":[true,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def code_tree(source: str) -> ast.Module:
    """Return the syntax tree of a module without its docstrings; comments are not in it.

    Raises SyntaxError as `ast.parse` does.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())), *rest]:
                    node.body = rest
    return tree


def code_hash(source: str) -> str:
    """Return the hash of what a module does: rewording a comment or a docstring leaves it as it is.

    >>> code_hash("x = 1  # one") == code_hash("x = 1")
    True
    """
    return sha256_text(ast.dump(code_tree(source)))


def make_folders(path: Path, root: Path) -> bool:
    """Make the folders of a file below a root; those from `restricted` on are closed to all but their owner (mode 0700).

    Returns whether the file lies in a restricted folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    closed = False
    folder = root
    for part in path.parent.relative_to(root).parts:
        folder /= part
        closed = closed or part == RESTRICTED
        if closed:
            folder.chmod(0o700)
    return closed


def beside(path: Path) -> Path:
    """Return where a file is made before it is renamed into its place: hidden, in the same folder, named by the process."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def abandoned(folder: Path, *, deep: bool = True) -> list[Path]:
    """Return files and folders in a folder that a process began beside their place, and that is no more.

    `deep`: in the folders beneath as well.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            match = _BESIDE.fullmatch(name)
            if match and not _alive(int(match[1])):
                found.append(Path(parent, name))
        if not deep:
            break
    return sorted(found)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an error of the system name the file at work: a write that fails names none by itself."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def flush(path: Path) -> None:
    """Have the system put a file's content on the disk, so that it survives the machine and not the process alone."""
    with naming(path), path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    """Yield where to make a file; rename it into its place once it is whole, take it away where it never was."""
    made = beside(path)
    try:
        with naming(path):
            yield made
            made.replace(path)
    finally:
        made.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_whole(path: Path, *, closed: bool = False) -> Iterator[BinaryIO]:
    """Write a file bit by bit so that a reader, or a crash, meets the old one or the new one and nothing between.

    `closed`: readable to its owner alone. Raises OSError, with the file's name, where the system refuses; nothing is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _in_place_of(path) as made:
        made.unlink(missing_ok=True)
        opened = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if closed else 0o666)
        with os.fdopen(opened, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


def write_whole(path: Path, content: bytes, *, closed: bool = False) -> None:
    """Write a file of known content as `writing_whole` does."""
    with writing_whole(path, closed=closed) as file:
        file.write(content)


def write_atomic(path: Path, text: str, *, closed: bool = False) -> None:
    """Write a text in UTF-8 as `write_whole` does."""
    write_whole(path, text.encode(), closed=closed)


def copy_whole(source: Path, target: Path, *, mode: int | None = None, digest: str = "") -> bool:
    """Copy a file as `write_whole` writes one; return whether it is what its hash says, and copy nothing where it is not.

    `mode`: of the copy; None: as new files are. `digest`: SHA-256 that the copy must have; empty: any.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(_NotWholeError), _in_place_of(target) as made:
        made.unlink(missing_ok=True)
        shutil.copyfile(source, made)
        if digest and sha256_file(made) != digest:
            raise _NotWholeError
        flush(made)
        if mode is not None:
            made.chmod(mode)
        return True
    return False


class _NotWholeError(Exception):
    """A copy is not what its hash says."""


class Memo:
    """Content hashes of files, remembered between runs.

    Parameters
    ----------
    path : Path or None
        JSON file in which hashes are kept; None remembers within the process only.

    >>> memo = Memo(None)
    >>> memo.sha256(Path(__file__)) == sha256_file(Path(__file__))
    True
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._changed = False
        self._stats: dict[str, list[Any]] = {}
        self._facts: dict[str, Any] = {}
        if path is not None and path.is_file():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                stats = {name: list(stamp) for name, stamp in kept["stats"].items() if len(stamp) == _STAMPED}
                self._stats, self._facts = stats, dict(kept["facts"])
            except (ValueError, KeyError, TypeError, AttributeError):
                # A memo is only a saving of time; a damaged one is forgotten and every file hashed again.
                self._stats, self._facts = {}, {}

    def sha256(self, path: Path | str) -> str:
        """Return the SHA-256 of a file's content, read again only when its stamp differs or is too fresh to trust."""
        name = os.fspath(path)
        stamp = self._stamp(path)
        kept = self._stats.get(name)
        if kept is not None and kept[:4] == stamp:
            return str(kept[4])
        now = time.time_ns()
        digest = sha256_file(Path(path))
        if self._stamp(path) == stamp and max(stamp[1], stamp[2]) < now - _GUARD_NS:
            self._stats[name] = [*stamp, digest]
            self._changed = True
        elif self._stats.pop(name, None) is not None:
            self._changed = True
        return digest

    def folder(self, path: Path) -> dict[str, str]:
        """Return the SHA-256 of every file beneath a folder by relative path; hidden and lock files are left out."""
        found: dict[str, str] = {}
        for parent, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
            for name in sorted(files):
                if not name.startswith((".", "~$")):
                    file = Path(parent, name)
                    found[file.relative_to(path).as_posix()] = self.sha256(file)
        return dict(sorted(found.items()))

    def fact(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON value was remembered
        """Return what was remembered under a name that already holds a content hash, or None."""
        return self._facts.get(name)

    def remember(self, name: str, value: object) -> None:
        """Remember a JSON value that follows from content alone, under a name that holds the content's hash."""
        self._facts[name] = value
        self._changed = True

    def save(self) -> None:
        """Write the memo when it has changed; hashes of files that are gone are dropped."""
        if self._path is None or not self._changed:
            return
        self._stats = {name: kept for name, kept in self._stats.items() if Path(name).exists()}
        write_atomic(self._path, json.dumps({"stats": self._stats, "facts": self._facts}, separators=(",", ":")))
        self._changed = False

    @staticmethod
    def _stamp(path: Path | str) -> list[int]:
        stat = os.stat(path)  # noqa: PTH116 - a string stays one
        return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


@dataclass(frozen=True, slots=True)
class Environment:
    """The software that a run stands on.

    Attributes
    ----------
    python : str                Version of the interpreter, e.g. 3.11.7.
    lock : str                  SHA-256 of uv.lock, empty where the project is installed without one.
    installed : str             SHA-256 over the names and versions of all installed distributions.
    versions : dict             Version of the packages that results depend on most.
    """

    python: str
    lock: str
    installed: str
    versions: dict[str, str]

    @property
    def key(self) -> str:
        """One hash for all of it."""
        return sha256_text(canonical([self.python, self.lock, self.installed]))


@functools.cache
def _distributions() -> tuple[str, ...]:
    # A listing of folder names takes 0.2 ms where importlib.metadata takes 300.
    paths = sysconfig.get_paths()
    places = {paths["purelib"], paths["platlib"]}
    names = {path.name for place in places if Path(place).is_dir() for path in Path(place).iterdir()}
    return tuple(sorted(name.removesuffix(".dist-info") for name in names if name.endswith(".dist-info")))


def environment(memo: Memo, lock: Path | None = None) -> Environment:
    """Return what identifies the software of a run: Python, the lock file, the installed distributions.

    >>> environment(Memo(None)).python.count(".")
    2
    """
    installed = _distributions()
    known = dict(name.rsplit("-", 1) for name in installed if "-" in name)
    shown = {name: known[name.replace("-", "_")] for name in _VERSIONS_SHOWN if name.replace("-", "_") in known}
    return Environment(
        python=".".join(str(part) for part in sys.version_info[:3]),
        lock=memo.sha256(lock) if lock is not None and lock.is_file() else "",
        installed=sha256_text("\n".join(installed)),
        versions=shown,
    )


def manifest_text(wave: str, software: Environment, chapters: Sequence[Mapping[str, Any]]) -> str:
    """Return the manifest of a wave as JSON: every output with its SHA-256, and what made it.

    A chapter is a mapping with name, made_by, code, inputs, modules, parameters and outputs. The text holds no clock
    reading and no path of the machine, so the same study on the same software has the same manifest.
    """
    outputs = {label: digest for chapter in chapters for label, digest in chapter["outputs"].items()}
    content = {
        "format": "fieldwork manifest 1",
        "wave": wave,
        "environment": {
            "python": software.python,
            "lock_sha256": software.lock,
            "installed_sha256": software.installed,
            "versions": software.versions,
        },
        "outputs": dict(sorted(outputs.items())),
        # A chapter that has just run lists its files as paths sort, a record that was read as texts do.
        "chapters": [{**chapter, "outputs": dict(sorted(chapter["outputs"].items()))} for chapter in chapters],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_manifest(path: Path, text: str) -> bool:
    """Write the manifest when it differs from what stands there; return whether it was written."""
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_atomic(path, text)
    return True
