"""What the user is told when something is wrong: one base error, a class per kind.

Every error says where it stands, what was expected, what was found, and how to mend it. The command line prints that and
nothing else; a traceback is shown with `--debug` only.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "BundleError",
    "ClaimError",
    "ConvergenceError",
    "DataError",
    "DesignError",
    "DisclosureError",
    "EssayError",
    "FieldworkError",
    "InstrumentError",
    "NotebookError",
    "ParameterError",
    "RunError",
    "StudyError",
    "UsageError",
    "listed",
    "nearest",
    "refused",
]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_SHUT = {errno.EACCES, errno.EPERM, errno.EROFS}


class FieldworkError(Exception):
    """Base of every error that fieldwork raises for a reader.

    Parameters
    ----------
    title : str
        What is wrong, in one sentence without a full stop.
    where : str
        File, row, column, cell or function.
    expected, got : str
        What would have been right; what was found.
    hint : str
        The mend: what to change, and where.

    >>> print(DataError("role is not one of the instrument's", where="q1.csv, row 3, column role",
    ...                 expected="CEO, CFO", got="'CFOO'", hint="did you mean CFO?"))
    DataError: role is not one of the instrument's
      where     q1.csv, row 3, column role
      expected  CEO, CFO
      got       'CFOO'
      hint      did you mean CFO?
    """

    exit_code: int = 1

    def __init__(self, title: str, *, where: str = "", expected: str = "", got: str = "", hint: str = "") -> None:
        super().__init__(title)
        self.title = title
        self.where = where
        self.expected = expected
        self.got = got
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with every field, so that an error crosses a process boundary whole."""
        return (_rebuild, (type(self), self.title, self.where, self.expected, self.got, self.hint))

    def __str__(self) -> str:
        fields = (("where", self.where), ("expected", self.expected), ("got", self.got), ("hint", self.hint))
        lines = [f"  {name:<9} {text}" for name, text in fields if text]
        return "\n".join([f"{type(self).__name__}: {self.title}", *lines])

    def as_dict(self) -> dict[str, str]:
        """Return the error as plain text fields, for `--json` and the data-quality page."""
        return {
            "error": type(self).__name__,
            "title": self.title,
            "where": self.where,
            "expected": self.expected,
            "got": self.got,
            "hint": self.hint,
        }


def _rebuild(kind: type[FieldworkError], title: str, where: str, expected: str, got: str, hint: str) -> FieldworkError:
    return kind(title, where=where, expected=expected, got=got, hint=hint)


class StudyError(FieldworkError):
    """The study folder or its study.toml is not as the contract has it."""


class InstrumentError(FieldworkError):
    """The instrument, its margins or its scales contradict themselves."""


class DataError(FieldworkError):
    """A delivery, or a table between chapters, is not what it should be."""


class DesignError(FieldworkError):
    """The sample cannot carry what was asked of it: an empty margin, too few organisations."""


class ConvergenceError(FieldworkError):
    """An iterative method stopped before it met its tolerance."""


class ClaimError(FieldworkError):
    """The register of claims contradicts itself or names an estimand that does not exist."""


class DisclosureError(FieldworkError):
    """Something was about to pass the gate that may not be published."""


class EssayError(FieldworkError):
    """An essay prints what it may not: a typed number, an unknown or stale reference, a hypothesis as a finding."""


class ParameterError(FieldworkError):
    """A chapter was given a parameter that it does not have, or of the wrong type."""


class NotebookError(FieldworkError):
    """A chapter is not a notebook as the contract has it, or one of its cells failed."""


class RunError(FieldworkError):
    """The run as a whole could not go on: a lock, a cycle, a missing input."""


class BundleError(FieldworkError):
    """A reviewer's bundle cannot be read, is not safe to unpack, or cannot be made again here: nothing could be checked."""

    exit_code = 2


class UsageError(FieldworkError):
    """The words of the command are off."""

    exit_code = 2


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the known word most like `word`, or an empty string when none is near; offered in hints, never applied.

    >>> nearest("Chief Tecnology Officer", ["Chief Technology Officer", "Chief Executive Officer"])
    'Chief Technology Officer'
    """
    lowered = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), list(lowered), n=1, cutoff=cutoff)
    return lowered[found[0]] if found else ""


def listed(names: Iterable[str], *, limit: int = 12) -> str:
    """Return names as one line, shortened past `limit` with the number left out.

    >>> listed(["CEO", "CFO", "CTO"], limit=2)
    'CEO, CFO, … (1 more)'
    """
    names = list(names)
    head = ", ".join(names[:limit])
    return head if len(names) <= limit else f"{head}, … ({len(names) - limit} more)"


def refused(error: OSError) -> RunError:
    """Say what the system refused, and what has to be done: room made, or a file or folder opened to the user.

    >>> print(refused(OSError(errno.ENOSPC, "No space left on device", "reports/2026Q1/index.html")))
    RunError: the disk is full
      where     reports/2026Q1/index.html
      expected  room for what is being written
      got       No space left on device
      hint      free some room (`fieldwork prune`), then run again: what was finished is kept, nothing half-written stays
    """
    path = Path(str(error.filename or ""))
    where, got = str(error.filename or ""), error.strerror or str(error)
    if error.errno in _NO_ROOM:
        return RunError(
            "the disk is full",
            where=where,
            expected="room for what is being written",
            got=got,
            hint="free some room (`fieldwork prune`), then run again: what was finished is kept, nothing half-written stays",
        )
    hint = ""
    if error.filename and error.errno in _SHUT:
        unreadable = path.is_file() and not os.access(path, os.R_OK)
        folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        hint = f"make {path} readable" if unreadable else f"make the folder {folder} writable, or work in a copy"
    return RunError("the system refused", where=where, got=got, hint=hint)
