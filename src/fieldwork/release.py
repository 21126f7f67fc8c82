"""Releases: what was published of a wave is recorded, so that a later release gives nobody away by the difference."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from fieldwork import schema
from fieldwork.chapter import Chapter
from fieldwork.errors import DataError, listed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fieldwork.study import Study

__all__ = ["Release", "bases_of", "record"]

_SHOWN = ("ok", "flagged")


@dataclass(frozen=True, slots=True)
class Release:
    """A release as it was recorded.

    Attributes
    ----------
    path : Path              The register of releases of the wave.
    shown, held : int        Rows of the published estimates that show numbers; rows that the gate held back.
    added : int              Rows that the register did not hold yet, of that base.
    """

    path: Path
    shown: int
    held: int
    added: int


def bases_of(published: pd.DataFrame, internal: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the exact base of every row that a release shows or holds back, as `schema.RELEASED`.

    What is published carries bases to the nearest 5 and none where a row is held back; the exact ones are those of the
    chapters' own estimates. Each row carries the digest of its release. Rows that are not assessable, and
    those without a base, give nothing away and are left out.

    Parameters
    ----------
    published : columns of `schema.ESTIMATES`, behind the gate. internal : the same of each chapter, before the gate.

    Raises DataError where a published row is not among the chapters' own.

    >>> row = {"statistic": "role_mean", "role": "CTO", "n": 42, "status": "ok"}
    >>> inside = schema.frame([row], schema.ESTIMATES)
    >>> bases_of(inside.assign(n=40), [inside])[["role", "n", "shown"]].values.tolist()
    [['CTO', 42, True]]
    """
    key = list(schema.ESTIMATE_KEY)
    out = schema.conform(published, schema.ESTIMATES, where="estimates")
    exact = pd.concat([schema.conform(each, schema.ESTIMATES) for each in internal], ignore_index=True)
    joined = out[[*key, "status"]].merge(exact[[*key, "n"]], on=key, how="left", validate="one_to_one", indicator=True)
    if lost := [*joined.loc[joined["_merge"] != "both", "statistic"]]:
        raise DataError(
            "what is published does not follow from what the chapters estimated",
            where="estimates.parquet",
            expected="each row among the estimates of its chapter",
            got=f"{len(lost)} rows that are not, of {listed(dict.fromkeys(lost), limit=4)}",
            hint="fieldwork run",
        )
    kept = joined[joined["status"].isin([*_SHOWN, "suppressed"]) & joined["n"].notna()]
    marked = kept.assign(shown=kept["status"].isin(_SHOWN), release=_digest(out))
    return schema.conform(marked[schema.RELEASED.names], schema.RELEASED)


def _digest(published: pd.DataFrame) -> str:
    """Name a release by what it shows: the same table, the same name, and rows of one release are known to belong together."""
    rows = published.astype(object).where(published.notna(), None).to_numpy().tolist()
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode("utf-8")).hexdigest()[:12]


def record(study: Study) -> Release:
    """Record what stands in the reports of a wave as released; the register keeps what it held, and each row once.

    The register, `released/<wave>.parquet` in the study's folder, holds exact bases: it is internal and closed to all but its
    owner. The gate reads it at every later run.
    """
    chapter = Chapter.open("release", study.folder, study.wave)
    published = chapter.read("estimates", folder="reports")
    bases = bases_of(published, [chapter.read(name) for name in dict.fromkeys(published["chapter"])])
    before = chapter.released()
    before = None if before is None else before[before["wave"] == study.wave]
    whole = bases if before is None else pd.concat([before, bases], ignore_index=True)
    whole = whole.drop_duplicates().sort_values(schema.RELEASED.names, kind="stable")
    path = chapter.save_released(whole)
    shown = int(bases["shown"].sum())
    return Release(path, shown, len(bases) - shown, len(whole) - (0 if before is None else len(before)))
