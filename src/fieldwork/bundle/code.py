"""The code that goes into a bundle: the repository at its commit, else the sources of the installed package."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import fieldwork
from fieldwork.errors import BundleError

__all__ = ["Code", "gather", "home"]

_UNKNOWN = ("__pycache__", "node_modules", "dist")
_PROJECT = "project"
_NEVER = (".key", ".pem", ".env", ".pyc", ".zip")  # an earlier bundle is no code


@dataclass(frozen=True, slots=True)
class Code:
    """What was packed of the code.

    Attributes
    ----------
    files : dict              Bytes by path below the folder of the code.
    kind : str                `commit`, `changed` (a commit and what was changed since), `tree` (a project without git) or
                              `installed` (the sources of the installed package).
    commit : str              Hash of the commit; empty without git.
    date : str                Day of the commit (ISO), empty without git.
    changed : tuple of str    Files that are not as the commit has them.
    left_out : tuple of str   Folders of the repository that the code's part of the bundle leaves out, for they hold data.
    """

    files: dict[str, bytes]
    kind: str
    commit: str = ""
    date: str = ""
    changed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What the code is, in one sentence."""
        if self.kind == "commit":
            return f"The repository at commit {self.commit}."
        if self.kind == "changed":
            shown = ", ".join(self.changed[:8]) + (
                f" and {len(self.changed) - 8} more" if len(self.changed) > 8 else ""
            )
            return f"The repository at commit {self.commit}, with {len(self.changed)} files changed since: {shown}."
        if self.kind == "tree":
            return f"The project's files as they lay there: no git repository, so no commit; version {fieldwork.__version__}."
        return f"The sources of the installed package, version {fieldwork.__version__}: no repository, so no commit."


def home() -> Path | None:
    """Return the folder of the project that the package is run from; None for an installed package."""
    root = Path(fieldwork.__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "src" / "fieldwork").is_dir() else None


def gather(without: tuple[Path, ...]) -> Code:
    """Return the code that is running.

    Parameters
    ----------
    without : folders of data, absolute: deliveries, results, releases. Nothing below them is code.
    """
    root = home()
    if root is None:
        return Code(_installed(), "installed")
    out = tuple(sorted({path.relative_to(root).as_posix() for path in without if path.is_relative_to(root)} - {"."}))
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(os.fsdecode(top).strip()).resolve() != root or _git(root, "rev-parse", "HEAD") is None:
        names = _walked(root)
        out = _left_out(root, names, out)
        return Code(_read(root, names, out), "tree", left_out=_met(names, out))
    commit = os.fsdecode(_run(root, "rev-parse", "HEAD")).strip()
    date = os.fsdecode(_run(root, "show", "-s", "--format=%cs", "HEAD")).strip()
    listed = _names(_run(root, "ls-files", "-z", "-c", "-o", "--exclude-standard"))
    out = _left_out(root, listed, out)
    changed = _names(_run(root, "ls-files", "-z", "-m", "-d", "-o", "--exclude-standard"))
    changed += _names(_run(root, "diff", "--cached", "--name-only", "-z"))
    changed = sorted({name for name in changed if _is_code(name, out)})
    if not changed:
        return Code(_archived(root, out), "commit", commit, date, (), _met(listed, out))
    return Code(_read(root, listed, out), "changed", commit, date, tuple(changed), _met(listed, out))


def _left_out(root: Path, names: list[str], out: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders that are no code: those given, and data and results of every study in the repository.

    A study is a folder with a study.toml. Simulated deliveries are nobody's, and stay with the tests that read them.
    """
    found = set(out)
    for name in names:
        folder, _, file = name.rpartition("/")
        if file == "study.toml":
            inside = f"{folder}/" if folder else ""
            found |= {f"{inside}{made}" for made in ("reports", "released", "publication", "data/processed")}
            try:
                told = tomllib.loads((root / name).read_text(encoding="utf-8"))
                simulated = told["study"]["provenance"] == "simulated"
                raw = str(told.get("data", {}).get("raw", "data/raw"))
            except (OSError, ValueError, KeyError, TypeError):
                simulated, raw = False, "data"
            if not simulated:
                found |= {f"{inside}data", f"{inside}{raw}"}
    return tuple(sorted(found))


def _met(names: list[str], out: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(folder for folder in out if any(_below(name, (folder,)) for name in names))


def _is_code(name: str, out: tuple[str, ...]) -> bool:
    return not _below(name, out) and not name.endswith(_NEVER)


def _read(root: Path, names: list[str], out: tuple[str, ...]) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in names if _is_code(name, out) and _plain(root / name)}


def _below(name: str, folders: tuple[str, ...]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _archived(root: Path, out: tuple[str, ...]) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(_run(root, "archive", "--format=tar", "HEAD"))) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and _is_code(member.name, out):
                files[member.name] = content.read()
    return files


def _walked(root: Path) -> list[str]:
    """Return the project's files where git cannot tell which they are; what is hidden is none."""
    found = []
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _UNKNOWN)
        found += [Path(parent, name).relative_to(root).as_posix() for name in sorted(names) if not name.startswith(".")]
    return found


def _installed() -> dict[str, bytes]:
    """Return the installed package as a project: sources, notebooks, and what it was built from."""
    package = Path(fieldwork.__file__).resolve().parent
    files = {}
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if not _plain(path) or "__pycache__" in inside.parts or path.suffix == ".pyc":
            continue
        top = inside.parts[0]
        if top == "notebooks":
            files[inside.as_posix()] = path.read_bytes()
        elif top == _PROJECT:
            files["/".join(inside.parts[1:])] = path.read_bytes()
        else:
            files[f"src/fieldwork/{inside.as_posix()}"] = path.read_bytes()
    return files


def _names(listed: bytes) -> list[str]:
    return sorted({os.fsdecode(name) for name in listed.split(b"\0") if name})


def _git(root: Path, *words: str) -> bytes | None:
    """Return what git says; None where there is no git, or no repository."""
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False, env=quiet)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _run(root: Path, *words: str) -> bytes:
    said = _git(root, *words)
    if said is None:
        raise BundleError(
            "git does not answer", where=str(root), expected=f"git {' '.join(words)}", hint="see `git status`"
        )
    return said
