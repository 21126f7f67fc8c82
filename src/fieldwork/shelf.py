"""Things that take long to make and are the same each time, kept between runs: reduced fonts.

Own code, for the usual libraries' caches on disk trust what they find. Nothing hangs on what is kept here: a thing is named
by all that it is made from, counts only where it is whole, and is made again where it is not.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from fieldwork.provenance import write_whole

__all__ = ["kept", "own_folder", "whole"]

logger = logging.getLogger(__name__)

_DIGEST = hashlib.sha256().digest_size


def own_folder() -> Path:
    """Return the folder for it among the user's caches, there or not (`XDG_CACHE_HOME`, else `~/.cache`).

    A user without a home has one in which nothing can be kept.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fieldwork"
    except RuntimeError:
        return Path(os.devnull) / "fieldwork"


def kept(place: Path, make: Callable[[], bytes]) -> bytes:
    r"""Return what lies at a place, where it lies there whole; else what is made, which is laid there if possible.

    Parameters
    ----------
    place : Path       File; its name has to tell all that the thing is made from.
    make : callable    Makes it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [kept(Path(folder) / "thing", lambda at=at: b"%d" % at) for at in range(2)]
    [b'0', b'0']
    """
    found = whole(place)
    if found is not None:
        return found
    made = make()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, hashlib.sha256(made).digest() + made)
    except OSError as error:
        logger.debug("%s is not kept: %s", place.name, error)
    return made


def whole(place: Path) -> bytes | None:
    """Return what a file holds behind its digest; None where there is no such file, or it holds anything else."""
    try:
        content = place.read_bytes()
    except OSError:
        return None
    digest, found = content[:_DIGEST], content[_DIGEST:]
    return found if hashlib.sha256(found).digest() == digest else None
