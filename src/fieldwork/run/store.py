"""What past runs made, kept by content in `.fieldwork/` of the study.

`actions/` holds one record per key, `objects/` the content of every output by its hash, `journal.jsonl` one line per
finished step (flushed to the disk), `stat.json` the memo of file hashes, `lock` the lock of a running run (it goes
with its process, whatever ends that process), `stage/` the folder in which a chapter writes before its outputs are
published, `failed/` the executed notebook of a chapter's last failure, and `values/` what functions have returned, by key.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fieldwork.errors import RunError
from fieldwork.provenance import Memo, abandoned, canonical, copy_whole, make_folders, naming, sha256_text, write_atomic
from fieldwork.run.fingerprint import Fingerprint

__all__ = ["Record", "Store"]

_KEY_SHOWN = 16
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_SOCKET_PATH = 80  # a socket's path may have about 100 characters; some machines have long temporary folders
_SOCKETS = "fw-"
_MARKER = re.compile(rf"{_SOCKETS}[0-9a-f]{{12}}")


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
    memory : int                 Bytes that it held at the most; 0 where that is not known.
    """

    step: str
    wave: str
    key: str
    fingerprint: Fingerprint
    outputs: dict[str, str]
    seconds: float
    memory: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """What the journal says of a step that succeeded: its record's key, seconds, and bytes held at the most."""

    key: str
    seconds: float
    memory: int


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
        self._latest: dict[tuple[str, str], _Line] | None = None
        self._begun: dict[tuple[str, str], set[str]] = {}
        self._held = 0
        self._interrupted = False
        self._records: dict[str, Record | None] = {}

    @contextlib.contextmanager
    def lock(self, *, patient: bool = False) -> Iterator[None]:
        """Hold the study for one run, from its first look to its last file; who holds it already goes in freely.

        `patient`: wait until another run has ended, instead of giving up.

        The system drops the lock with its process, however that ends: what a dead holder wrote into the file is taken over,
        and says that its run was interrupted. Raises RunError naming the holder when another run has the study, or what must
        be writable.
        """
        if self._held:
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1
            return
        with os.fdopen(self._opened(self.folder / "lock"), "r+", encoding="utf-8", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise RunError(
                    "another run is at work on this study",
                    where=".fieldwork/lock",
                    expected="one run at a time",
                    got=file.read().strip() or "a run that is just starting",
                    hint="wait until it has ended, as --wait does; the lock goes with its process",
                ) from error
            self._interrupted = bool(file.read())
            # What was read before the lock was had may be another run's yesterday.
            self._latest, self._begun, self._records = None, {}, {}
            file.seek(0)
            file.truncate()
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
            with naming(self.folder / "lock"):
                file.write(f"process {os.getpid()} on {platform.node()}, since {since}\n")
                file.flush()
            self._held = 1
            try:
                yield
            finally:
                self._held = 0
                file.seek(0)
                file.truncate()

    def _opened(self, path: Path) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A link is not followed: what it leads to would be emptied.
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise RunError(
                    "the lock of the study is a link",
                    where=".fieldwork/lock",
                    expected="a file of fieldwork's own",
                    got="a link to somewhere else",
                    hint="remove the link, and ask where it comes from",
                ) from error
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
        if self._writable():
            self.memo.save()

    def _writable(self) -> bool:
        return os.access(self.folder if self.folder.is_dir() else self.study, os.W_OK)

    def clear_stage(self, results: Iterable[Path] = ()) -> None:
        """Remove what interrupted runs left: staging folders, folders of sockets, files begun beside their place.

        Only the holder of the lock may. `results`: the folders in which such files may lie, beside the memory itself.
        """
        stage = self.folder / "stage"
        for marker in stage.glob(f"{_SOCKETS}*"):
            import tempfile  # noqa: PLC0415 - with what it loads, a tenth of a run with nothing to do

            # The marker is a link of our own making; where it leads is looked at before anything is taken away.
            place = marker.readlink() if marker.is_symlink() else marker
            known = _MARKER.fullmatch(place.name) and place.parent in {Path(tempfile.gettempdir()), Path("/tmp")}  # noqa: S108
            if known and not place.is_symlink():
                shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(stage, ignore_errors=True)
        if self._interrupted:
            for path in [path for folder in (self.folder, *results) for path in abandoned(folder)]:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            self._interrupted = False

    @contextlib.contextmanager
    def sockets(self) -> Iterator[Path]:
        """Yield a short, empty folder for a kernel's sockets; it goes at the end, or with the next run's `clear_stage`."""
        import secrets  # noqa: PLC0415 - as below
        import tempfile  # noqa: PLC0415 - see clear_stage

        base = tempfile.gettempdir()
        name = f"{_SOCKETS}{secrets.token_hex(6)}"
        folder = Path(base if len(base) < _SOCKET_PATH else "/tmp", name)  # noqa: S108 - see _SOCKET_PATH
        # The marker comes first: a run killed between the two leaves a marker of nothing.
        marker = self.folder / "stage" / name
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.symlink_to(folder)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            marker.unlink(missing_ok=True)

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
            path = self._action(key)
            self._records[key] = _record(path.read_bytes()) if path.is_file() else None
        return self._records[key]

    def latest(self, wave: str, step: str) -> Record | None:
        """Return the record of what a step last published."""
        entry = self._journal().get((wave, step))
        return self.record(entry.key) if entry else None

    def seconds(self, wave: str, step: str) -> float | None:
        """Return how long a step took when it last ran; None when it never ran."""
        entry = self._journal().get((wave, step))
        return entry.seconds if entry else None

    def memory(self, wave: str, step: str) -> int:
        """Return the bytes that a step held at the most when it last ran; 0 when it never ran, or nobody knows."""
        entry = self._journal().get((wave, step))
        return entry.memory if entry else 0

    def begin(self, wave: str, step: str, outputs: Iterable[str]) -> None:
        """Write to the journal what a step is about to publish, so that a run killed meanwhile leaves no file unnamed."""
        named = sorted(outputs)
        self._append({"step": step, "wave": wave, "how": "publishing", "outputs": named})
        self._journal()
        self._begun.setdefault((wave, step), set()).update(named)

    def begun(self, wave: str, step: str) -> set[str]:
        """Return the labels that a step began to publish since it was last recorded."""
        self._journal()
        return self._begun.get((wave, step), set())

    def keep(self, record: Record, how: str) -> None:
        """Write a record, then the journal's line; the line is what makes the step a success."""
        path = self._action(record.key)
        write_atomic(path, canonical(asdict(record)) + "\n")
        self._records[record.key] = record
        entry = _Line(record.key, record.seconds, record.memory)
        self._append({"step": record.step, "wave": record.wave, "how": how, **asdict(entry)})
        self._journal()[record.wave, record.step] = entry
        self._begun.pop((record.wave, record.step), None)

    def note_failure(self, wave: str, step: str, key: str, title: str) -> None:
        """Write a failure to the journal."""
        self._append({"step": step, "wave": wave, "key": key, "how": "failed", "error": title})

    def failure(self, wave: str, step: str) -> str:
        """Return the key with which a step last failed; empty where its journal holds no failure."""
        keys = [
            str(line.get("key", "")) for of, line in self._lines() if of == (wave, step) and line.get("how") == "failed"
        ]
        return keys[-1] if keys else ""

    def put(self, path: Path, digest: str) -> None:
        """Keep a copy of a file under its hash."""
        if not self.has(digest):
            # A copy, never a link: an output edited in place must not reach the kept content. Who may not read the output
            # may not read the copy.
            copy_whole(path, self._object(digest), mode=path.stat().st_mode & 0o444)

    def forget(self, wave: str, step: str) -> None:
        """Remove every record of what a step published, and the kept content of its outputs."""
        for key in sorted(self._keys(wave, step)):
            record = self.record(key)
            for digest in record.outputs.values() if record else ():
                self._object(digest).unlink(missing_ok=True)
            self._action(key).unlink(missing_ok=True)
            self._records[key] = None

    def last_keys(self) -> set[str]:
        """Return the key of what each step of each wave published last."""
        return {line.key for line in self._journal().values()}

    def shorten(self) -> None:
        """Leave out of the journal what nothing asks for: older failures, and successes whose record has gone.

        What a step is in the midst of publishing stays, and so does every line by which `forget` finds a record.
        """
        lines = list(self._lines())
        failed: dict[tuple[str, str], int] = {}
        made: dict[tuple[str, str], dict[str, int]] = {}
        publishing: dict[tuple[str, str], list[int]] = {}
        for at, (of, line) in enumerate(lines):
            if line.get("how") == "publishing":
                publishing.setdefault(of, []).append(at)
            elif line.get("how") == "failed":
                failed[of] = at
            else:
                made.setdefault(of, {})[str(line.get("key"))] = at
                publishing.pop(of, None)
        kept = {*failed.values(), *(at for begun in publishing.values() for at in begun)}
        for keys in made.values():
            kept.add(max(keys.values()))
            kept.update(at for key, at in keys.items() if self._action(key).is_file())
        text = "".join(f"{canonical(lines[at][1])}\n" for at in sorted(kept))
        write_atomic(self.folder / "journal.jsonl", text)

    def has(self, digest: str) -> bool:
        """Return whether the content of a hash is kept whole."""
        path = self._object(digest)
        return path.is_file() and self.memo.sha256(path) == digest

    def fetch(self, digest: str, target: Path) -> None:
        """Put the kept content of a hash in its place, whole or not at all; RunError when the copy is damaged."""
        closed = make_folders(target, self.study)
        if not copy_whole(self._object(digest), target, mode=0o600 if closed else None, digest=digest):
            raise RunError(
                "a kept output is damaged",
                where=f".fieldwork/objects/{digest[:2]}/{digest[2:]}",
                hint="run again with --force for the chapter",
            )

    def keep_value(self, key: str, value: object) -> None:
        """Keep a JSON value under the hash of all that it follows from, where the study can be written."""
        if not self._writable():
            return
        whole = {"key": key, "value": value, "sha256": sha256_text(canonical(value))}
        write_atomic(self._value(key), canonical(whole) + "\n")

    def value(self, key: str) -> Any | None:  # noqa: ANN401 - any JSON
        """Return the value that was kept under a key; None when there is none, or none that is whole and of this key."""
        try:
            kept = json.loads(self._value(key).read_bytes())
            whole = kept["key"] == key and kept["sha256"] == sha256_text(canonical(kept["value"]))
        except (OSError, ValueError, KeyError, TypeError):
            # As a damaged record: it is made again.
            return None
        return kept["value"] if whole else None

    def _value(self, key: str) -> Path:
        return self.folder / "values" / f"{key}.json"

    def _action(self, key: str) -> Path:
        return self.folder / "actions" / f"{key}.json"

    def _object(self, digest: str) -> Path:
        return self.folder / "objects" / digest[:2] / digest[2:]

    def _append(self, line: Mapping[str, Any]) -> None:
        path = self.folder / "journal.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path), path.open("ab+") as file:
            # A kill may have left half a line; the next one starts on its own.
            whole = file.tell() == 0 or (file.seek(-1, os.SEEK_END) >= 0 and file.read(1) == b"\n")
            file.write(b"" if whole else b"\n")
            file.write(canonical(dict(line)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
        """Yield the journal's lines, oldest first, each with its wave and step."""
        path = self.folder / "journal.jsonl"
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            try:
                line = json.loads(text)
                yield (str(line["wave"]), str(line["step"])), line
            except (ValueError, KeyError, TypeError):
                # The half line of a killed run names no finished step.
                continue

    def _journal(self) -> dict[tuple[str, str], _Line]:
        if self._latest is None:
            self._latest = {}
            for of, line in self._lines():
                try:
                    if line["how"] == "publishing":
                        self._begun.setdefault(of, set()).update(map(str, line["outputs"]))
                    elif line["how"] != "failed":
                        self._latest[of] = _Line(str(line["key"]), float(line["seconds"]), int(line.get("memory", 0)))
                        self._begun.pop(of, None)
                except (ValueError, KeyError, TypeError):
                    # As above.
                    continue
        return self._latest

    def _keys(self, wave: str, step: str) -> set[str]:
        return {str(line["key"]) for of, line in self._lines() if of == (wave, step) and line.get("key")}


def _record(text: bytes) -> Record | None:
    try:
        content = json.loads(text)
        outputs = {str(label): str(digest) for label, digest in content["outputs"].items()}
        return Record(**{**content, "fingerprint": Fingerprint(**content["fingerprint"]), "outputs": outputs})
    except (ValueError, KeyError, TypeError, AttributeError):
        # A record of another format, or a damaged one, is no record: the step runs again.
        return None
