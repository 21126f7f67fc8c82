"""Taking away what a study's memory keeps and no result of today needs.

A run keeps a copy of every output by its content, so that to go back to yesterday's parameters, chapter or delivery runs
nothing. None of that goes by itself: only its owner knows what nobody will go back to, and what may no longer be kept.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldwork.run.store import Store

__all__ = ["Pruned", "prune"]

_DAY = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was taken away, or would be.

    Attributes
    ----------
    files, bytes : int    Records of steps, contents of outputs, and drawn studies of plans.
    left : int            Bytes that the memory still holds.
    """

    files: int
    bytes: int
    left: int


def prune(store: Store, *, days: float, dry: bool = False) -> Pruned:
    """Take away what was not made or put back within some days, except for what each step made last; shorten the journal.

    Of each step and wave the last success is kept with the content of its outputs, however old it is: results of today are put
    back when they are damaged, and the next run runs what it would have run. The caller holds the store's lock.

    Parameters
    ----------
    days : float    Younger things are kept; 0: none for their age.
    dry : bool      Change nothing, and return what would be taken away.
    """
    since = time.time() - days * _DAY
    records, objects = _files(store.folder / "actions", "*.json"), _files(store.folder / "objects", "??/*")
    values = _files(store.folder / "values", "*.json")
    last = store.last_keys()
    needed = {path for path in records if path.stem in last or path.stat().st_mtime >= since}
    found = [store.record(path.stem) for path in needed]
    contents = {digest for record in found if record for digest in record.outputs.values()}
    # A record without its contents is put right by a run; contents without a record are known to nobody. So they go last.
    doomed = [
        *(path for path in values if path.stat().st_mtime < since),
        *(path for path in records if path not in needed),
        *(path for path in objects if path.parent.name + path.name not in contents),
    ]
    freed = sum(path.stat().st_size for path in doomed)
    held = sum(path.stat().st_size for path in (*records, *objects, *values))
    if not dry:
        for path in doomed:
            path.unlink(missing_ok=True)
        store.shorten()
    return Pruned(len(doomed), freed, held - freed)


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file())
