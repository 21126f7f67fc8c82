"""Ids of respondents and organisations, replaced by keyed hashes before anything is saved.

The key lies with the user, outside the study: who has the results alone cannot work an id out, not even by trying all.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fieldwork.errors import StudyError

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.intake.long_form import LongAnswers
    from fieldwork.intake.rows import Piece
    from fieldwork.study import Study

__all__ = ["key_of", "pseudonym", "without_ids", "without_long_ids"]

_DIGITS = 20  # hexadecimal, 80 bits: among a million ids two alike with a probability of 4e-13
_BYTES = 32
_UNPLACED = ("short_row", "long_row", "nul_byte")  # cells of a damaged row may stand anywhere, ids among them


def key_of(study: Study) -> bytes | None:
    """Return the study's key, made where there is none yet; None where the study has no pseudonyms (simulated data).

    The key is the file that FIELDWORK_KEY names, else `fieldwork/<study>.key` in the user's folder of settings; only its owner
    can read it. Waves are linked by it: keep it as long as the study, and destroy it to make the results anonymous. Raises
    StudyError for a key inside the study's data or reports, one that is no key, or a folder that cannot be written.
    """
    path = study.key_file
    if path is None:
        return None
    for folder in (study.raw, study.processed.parent, study.reports.parent):
        if path.is_relative_to(folder.resolve()):
            raise _refused(
                "the key of pseudonyms lies beside what it protects", path, "a file outside data and reports"
            )
    try:
        if not path.exists():
            _make(path)
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise _refused(
            "the key of pseudonyms cannot be read or made", path, "a file of your own", error.strerror
        ) from error
    except UnicodeDecodeError as error:
        raise _refused("the key of pseudonyms is damaged", path, f"{2 * _BYTES} hexadecimal digits", "bytes") from error
    if len(text) != 2 * _BYTES or set(text) - set("0123456789abcdef"):
        raise _refused(
            "the key of pseudonyms is damaged", path, f"{2 * _BYTES} hexadecimal digits", f"{len(text)} characters"
        )
    return bytes.fromhex(text)


def _refused(title: str, path: Path, expected: str, got: str | None = None) -> StudyError:
    return StudyError(
        title,
        where=str(path),
        expected=expected,
        got=got or str(path),
        hint="name another file by the environment variable FIELDWORK_KEY, or restore the key from your backup: "
        "another key breaks the link to earlier waves",
    )


def _make(path: Path) -> None:
    """Write a new key beside its place and link it there: of two runs at once, one makes it and both read the same."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, made = tempfile.mkstemp(dir=path.parent)  # for its owner alone
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_BYTES) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        Path(made).unlink()


def pseudonym(key: bytes, kind: str, text: str) -> str:
    """Return the pseudonym of an id: HMAC-SHA256 over its kind and text, 20 hexadecimal digits.

    >>> pseudonym(b"a key", "r", "001") == pseudonym(b"a key", "r", " 001 "), pseudonym(b"a key", "r", "")
    (True, '')
    """
    text = text.strip()
    if not text:
        return ""
    return (
        kind + hmac.new(key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:_DIGITS]
    )


def _replaced(series: pd.Series, key: bytes, kind: str) -> pd.Series:
    known = {text: pseudonym(key, kind, str(text)) for text in series.dropna().unique()}
    return series.map(known).astype(series.dtype) if known else series


def _columns(instrument: Instrument, called: dict[str, str]) -> dict[str, str]:
    """Return the kind of id by column, as messages name it."""
    keys = instrument.keys
    kinds = {keys.respondent: "r", keys.organisation: "o"}
    found = {
        c: kind for name, kind in kinds.items() if name for c in instrument.item(name).delivered_columns().values()
    }
    return found | {called[column]: kind for column, kind in found.items() if column in called}


def _faults(faults: pd.DataFrame, key: bytes, kinds: dict[str, str]) -> pd.DataFrame:
    value = faults["value"].astype("object").copy()
    for column, kind in kinds.items():
        here = (faults["column"] == column).to_numpy(dtype=bool)
        value[here] = [pseudonym(key, kind, str(text)) for text in value[here]]
    unplaced = faults["rule"].isin(_UNPLACED).to_numpy(dtype=bool)
    value[unplaced] = "(withheld)"
    return faults.assign(value=value.astype("str"))


def without_ids(piece: Piece, instrument: Instrument, key: bytes, called: dict[str, str]) -> Piece:
    """Return a piece with pseudonyms in place of every id, in rows, answers, faults and unknown columns alike.

    Cells of damaged rows are withheld: nobody can tell which of them is an id. `called` names mapped columns as delivered.
    """
    keys = instrument.keys
    coded = piece.coded.copy(deep=False)
    for name, kind in ((keys.respondent, "r"), (keys.organisation, "o")):
        if name:
            coded[name] = _replaced(coded[name], key, kind)
    return replace(
        piece,
        rows=piece.rows.assign(resp_id=_replaced(piece.rows["resp_id"], key, "r")),
        coded=coded,
        faults=_faults(piece.faults, key, _columns(instrument, called)),
        unknown=piece.unknown.assign(resp_id=_replaced(piece.unknown["resp_id"], key, "r")),
    )


def without_long_ids(joined: LongAnswers, instrument: Instrument, key: bytes) -> LongAnswers:
    """Return what is told of files of one answer a row with pseudonyms in place of ids; `deliveries` stay as they are."""
    kinds = {form.respondent: "r" for form in (*instrument.long, *instrument.long_elsewhere)}
    return replace(
        joined,
        rows=joined.rows.assign(resp_id=_replaced(joined.rows["resp_id"], key, "r")),
        faults=_faults(joined.faults, key, kinds),
        unknown=joined.unknown.assign(resp_id=_replaced(joined.unknown["resp_id"], key, "r")),
    )
