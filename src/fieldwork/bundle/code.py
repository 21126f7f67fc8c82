"""The code that goes into a bundle: the repository at its commit, else the sources of the installed package."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import fieldwork
from fieldwork.errors import BundleError

__all__ = ["Code", "gather", "home"]

_UNKNOWN = ("__pycache__", "node_modules")
_PROJECT = "project"


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
            shown = ", ".join(self.changed[:8]) + (f" and {len(self.changed) - 8} more" if len(self.changed) > 8 else "")
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
    out = tuple(sorted({path.relative_to(root).as_posix() for path in without if path.is_relative_to(root) and path != root}))
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(os.fsdecode(top).strip()).resolve() != root or _git(root, "rev-parse", "HEAD") is None:
        return Code(_walked(root, out), "tree", left_out=out)
    commit = os.fsdecode(_run(root, "rev-parse", "HEAD")).strip()
    date = os.fsdecode(_run(root, "show", "-s", "--format=%cs", "HEAD")).strip()
    changed = [name for name in _names(_run(root, "ls-files", "-z", "-m", "-d", "-o", "--exclude-standard"))]
    changed += [name for name in _names(_run(root, "diff", "--cached", "--name-only", "-z"))]
    changed = sorted({name for name in changed if not _below(name, out)})
    if not changed:
        return Code(_archived(root, out), "commit", commit, date, (), out)
    listed = _names(_run(root, "ls-files", "-z", "-c", "-o", "--exclude-standard"))
    files = {name: (root / name).read_bytes() for name in listed if not _below(name, out) and _plain(root / name)}
    return Code(files, "changed", commit, date, tuple(changed), out)


def _below(name: str, folders: tuple[str, ...]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _archived(root: Path, out: tuple[str, ...]) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(_run(root, "archive", "--format=tar", "HEAD"))) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and not _below(member.name, out):
                files[member.name] = content.read()
    return files


def _walked(root: Path, out: tuple[str, ...]) -> dict[str, bytes]:
    """Return the project's files where git cannot tell which they are: what is hidden, or made by a run, is left out."""
    files = {}
    made = ("reports", "released", "publication", "dist", "data/processed", *out)
    for parent, folders, names in os.walk(root):
        inside = Path(parent).relative_to(root)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in _UNKNOWN and not _below((inside / name).as_posix(), made)
        )
        for name in sorted(names):
            place = (inside / name).as_posix()
            if not name.startswith(".") and not name.endswith((".pyc", ".zip", ".key")) and _plain(root / place):
                files[place] = (root / place).read_bytes()
    return files


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
        raise BundleError("git does not answer", where=str(root), expected=f"git {' '.join(words)}", hint="see `git status`")
    return said
