"""A blank study: settings, instrument and register of claims to be filled for another survey, without a line of code."""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path

from fieldwork.errors import UsageError
from fieldwork.provenance import beside, write_atomic
from fieldwork.study import STATEMENT

__all__ = ["WAVE", "begin"]

WAVE = "2026Q1"
"""Wave of a blank study; quarters are named on by `fieldwork simulate`, any other name is as good."""

_PLACES = {
    "README.md": "README.md",
    "study.toml": "study.toml",
    "instrument.toml": "instruments/instrument.toml",
    "claims.toml": "instruments/claims.toml",
    "deliveries.md": f"data/raw/{WAVE}/README.md",
}


def begin(folder: str | Path) -> Path:
    """Write a blank study into a folder that does not exist, or is empty, and return it.

    The folder's name becomes the name of the study. It is made beside its place and takes it whole. Raises UsageError for a
    folder that holds anything, or whose name has no letter or digit.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     sorted(path.name for path in begin(Path(place, "Our survey")).iterdir())
    ['README.md', 'data', 'instruments', 'study.toml']
    """
    final = Path(folder).resolve()
    _refuse_in_use(final, str(folder))
    words = {"name": _slug(final.name, str(folder)), "title": _title(final.name), "wave": WAVE}
    words["statement"] = "\n".join(f'{key} = ""  # {heading}' for key, heading in STATEMENT.items())
    final.parent.mkdir(parents=True, exist_ok=True)
    made = beside(final)
    shutil.rmtree(made, ignore_errors=True)
    try:
        for name, place in _PLACES.items():
            text = files("fieldwork.blank").joinpath("study", name).read_text(encoding="utf-8")
            write_atomic(made / place, re.sub(r"@(\w+)@", lambda found: words[found[1]], text))
        if final.exists():
            # What makes it a study comes last: a folder cut off half-way is none.
            for part in sorted(made.iterdir(), key=lambda path: path.name == "study.toml"):
                part.replace(final / part.name)
        else:
            made.replace(final)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return final


def _refuse_in_use(final: Path, given: str) -> None:
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise UsageError(
            "the folder for the new study is in use",
            where=given,
            expected="a folder that does not exist yet, or is empty",
            got="a file" if not final.is_dir() else f"{sum(1 for _ in final.iterdir())} entries",
            hint="name another folder; nothing was changed",
        )


def _slug(name: str, given: str) -> str:
    """Return a folder's name as the short name of a study.

    >>> _slug("Our survey (2026)", ".")
    'our-survey-2026'
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-")
    if not slug:
        raise UsageError(
            "the folder's name gives no name of a study",
            where=given,
            expected="a name with a letter (a-z) or a digit",
            got=repr(name),
            hint="name the folder otherwise; the title in study.toml may have any letters",
        )
    return slug


def _title(name: str) -> str:
    """Return a folder's name as a title, fit for a quoted text of TOML.

    >>> _title('our_"survey"')
    'Our survey'
    """
    words = re.sub(r"[\W_]+", " ", name).strip()
    return words[:1].upper() + words[1:]
