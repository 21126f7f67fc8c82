"""What past runs made, kept by content in `.fieldwork/` of the study.

`actions/` holds one record per key, `objects/` the content of every output by its hash, `journal.jsonl` one line per
finished step (flushed to the disk), `stat.json` the memo of file hashes, `lock` the lock of a running run (it goes
with its process, whatever ends that process), `stage/` the folder in which a chapter writes before its outputs are
published, and `failed/` the executed notebook of a chapter's last failure.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from fieldwork.errors import RunError
from fieldwork.provenance import Memo, canonical, make_folders, sha256_file, write_atomic
from fieldwork.run.fingerprint import Fingerprint

__all__ = ["Record", "Store"]

_KEY_SHOWN = 16
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Record:
    """One successful step: what it was made from, and what it made.

    Attributes
    ----------
    step : str                   Name of the step.
    wave : str                   Wave.
    key : str                    Key of its fingerprint.
    fingerprint : Fingerprint    What it was made from.
    outputs : dict               SHA-256 of each output file, by label.
    seconds : float              How long it took.
    """

    step: str
    wave: str
    key: str
    fingerprint: Fingerprint
    outputs: dict[str, str]
    seconds: float


class Store:
    """The memory of a study's runs.

    Parameters
    ----------
    study : Path
        Folder of the study; the memory lies in `.fieldwork/` within it.
    """

    def __init__(self, study: Path) -> None:
        self.study = study
        self.folder = study / ".fieldwork"
        self.memo = Memo(self.folder / "stat.json")
        self._latest: dict[tuple[str, str], tuple[str, float]] | None = None
        self._records: dict[str, Record | None] = {}

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study for one run; RunError naming the holder when another run has it, or what must be writable."""
        path = self.folder / "lock"
        with self._opened(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                since = time.strftime("%H:%M:%S", time.localtime(path.stat().st_mtime))
                raise RunError(
                    "another run is at work on this study",
                    where=".fieldwork/lock",
                    expected="one run at a time",
                    got=f"{file.read().strip() or 'a run that is just starting'}, since {since}",
                    hint="wait until it has ended; the lock goes with its process",
                ) from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    def _opened(self, path: Path) -> TextIO:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return path.open("a+", encoding="utf-8")
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            raise RunError(
                "the study cannot be written",
                where=str(self.study),
                expected="a folder that takes .fieldwork/ and what a run makes",
                got=error.strerror or str(error),
                hint=f"make {self.study} writable, or copy the study to a folder that is",
            ) from error

    def save_memo(self) -> None:
        """Save the memo of file hashes where the study can be written; elsewhere files are hashed again next time."""
        folder = self.folder if self.folder.is_dir() else self.study
        if os.access(folder, os.W_OK):
            self.memo.save()

    def clear_stage(self) -> None:
        """Remove what interrupted runs left in the staging folder; only the holder of the lock may."""
        shutil.rmtree(self.folder / "stage", ignore_errors=True)

    def stage(self, key: str) -> Path:
        """Return a new, empty staging folder of its own for one attempt at a step."""
        parent = self.folder / "stage"
        parent.mkdir(parents=True, exist_ok=True)
        parent.chmod(0o700)
        attempt = 0
        while True:
            # The process id keeps an attempt apart from an orphan of a killed run that still writes.
            folder = parent / f"{key[:_KEY_SHOWN]}-{os.getpid()}.{attempt}"
            try:
                folder.mkdir()
            except FileExistsError:
                attempt += 1
            else:
                return folder

    def failed(self, wave: str, step: str) -> Path:
        """Return where the executed notebook of a step's failure is kept."""
        return self.folder / "failed" / wave / f"{step}.ipynb"

    def record(self, key: str) -> Record | None:
        """Return the record of a key; None when there is none, or none that can be read."""
        if key not in self._records:
            path = self.folder / "actions" / f"{key}.json"
            self._records[key] = _record(path.read_text(encoding="utf-8")) if path.is_file() else None
        return self._records[key]

    def latest(self, wave: str, step: str) -> Record | None:
        """Return the record of what a step last published."""
        key, _ = self._journal().get((wave, step), ("", 0.0))
        return self.record(key) if key else None

    def seconds(self, wave: str, step: str) -> float | None:
        """Return how long a step took when it last ran; None when it never ran."""
        entry = self._journal().get((wave, step))
        return entry[1] if entry else None

    def keep(self, record: Record, how: str) -> None:
        """Write a record, then the journal's line; the line is what makes the step a success."""
        path = self.folder / "actions" / f"{record.key}.json"
        write_atomic(path, canonical(asdict(record)) + "\n")
        self._records[record.key] = record
        line = {"step": record.step, "wave": record.wave, "key": record.key, "how": how, "seconds": record.seconds}
        self._append(line)
        self._journal()[record.wave, record.step] = (record.key, record.seconds)

    def note_failure(self, wave: str, step: str, key: str, title: str) -> None:
        """Write a failure to the journal."""
        self._append({"step": step, "wave": wave, "key": key, "how": "failed", "error": title})

    def put(self, path: Path, digest: str) -> None:
        """Keep a copy of a file under its hash."""
        target = self._object(digest)
        if target.is_file() and target.stat().st_size == path.stat().st_size:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(path, beside)
        # A copy, never a link: an output edited in place must not reach the kept content. Who may not read the output may
        # not read the copy.
        beside.chmod(path.stat().st_mode & 0o444)
        beside.replace(target)

    def forget(self, wave: str, step: str) -> None:
        """Remove the record of what a step last published and the kept content of its outputs."""
        record = self.latest(wave, step)
        if record is None:
            return
        for digest in record.outputs.values():
            self._object(digest).unlink(missing_ok=True)
        (self.folder / "actions" / f"{record.key}.json").unlink(missing_ok=True)
        self._records[record.key] = None

    def has(self, digest: str) -> bool:
        """Return whether the content of a hash is kept whole."""
        path = self._object(digest)
        return path.is_file() and self.memo.sha256(path) == digest

    def fetch(self, digest: str, target: Path) -> None:
        """Put the kept content of a hash in its place, whole or not at all; RunError when the copy is damaged."""
        closed = make_folders(target, self.study)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(self._object(digest), beside)
        if closed:
            beside.chmod(0o600)
        if sha256_file(beside) != digest:
            beside.unlink()
            raise RunError(
                "a kept output is damaged",
                where=f".fieldwork/objects/{digest[:2]}/{digest[2:]}",
                hint="run again with --force for the chapter",
            )
        beside.replace(target)

    def _object(self, digest: str) -> Path:
        return self.folder / "objects" / digest[:2] / digest[2:]

    def _append(self, line: Mapping[str, Any]) -> None:
        path = self.folder / "journal.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            # A kill may have left half a line; the next one starts on its own.
            whole = file.tell() == 0 or path.read_bytes()[-1:] == b"\n"
            file.write(b"" if whole else b"\n")
            file.write(canonical(dict(line)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _journal(self) -> dict[tuple[str, str], tuple[str, float]]:
        if self._latest is None:
            self._latest = {}
            path = self.folder / "journal.jsonl"
            for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
                try:
                    line = json.loads(text)
                    if line["how"] != "failed":
                        self._latest[line["wave"], line["step"]] = (line["key"], float(line["seconds"]))
                except (ValueError, KeyError, TypeError):
                    # The half line of a killed run names no finished step.
                    continue
        return self._latest


def _record(text: str) -> Record | None:
    try:
        content = json.loads(text)
        return Record(**{**content, "fingerprint": Fingerprint(**content["fingerprint"])})
    except (ValueError, KeyError, TypeError):
        # A record of another format, or a damaged one, is no record: the step runs again.
        return None
