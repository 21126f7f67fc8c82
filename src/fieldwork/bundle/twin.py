"""A simulated twin of deliveries that may not be shared: the same columns, as many rows, and nothing of what was answered."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwork.errors import StudyError

if TYPE_CHECKING:
    from fieldwork.study import Study

__all__ = ["WORLD", "joined", "rows_delivered", "twin"]

WORLD = "null"
"""World that a twin is drawn from: no role, no stage and no organisation differs from another."""
_SEED = 1
_MOST = 200_000


def twin(study: Study, rows: int) -> bytes:
    """Return a delivery of a wave as CSV, drawn from a world in which nobody differs.

    It has the columns of the instrument and the number of rows that was delivered, whatever tool wrote the real files. Only the
    questionnaire and that number go in, so nothing of the answers can come out. The same study and number give the same bytes.

    Parameters
    ----------
    study : Study    Opened for the wave.
    rows : int       Rows to draw.
    """
    from fieldwork.simulate import Population, layout_of, worlds  # noqa: PLC0415 - numpy and pandas
    from fieldwork.simulate.delivery import deliveries  # noqa: PLC0415

    instrument = study.instrument()
    population = Population(worlds()[WORLD], layout_of(instrument))
    organisations = max(20, rows // 2)
    while True:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        drawn = 0
        for frame in deliveries(
            population, instrument, organisations=organisations, wave=1, name=study.wave, seed=_SEED
        ):
            if not drawn:
                writer.writerow(frame.columns)
            taken = frame.iloc[: rows - drawn]
            writer.writerows(taken.itertuples(index=False, name=None))
            drawn += len(taken)
            if drawn == rows:
                return text.getvalue().encode()
        organisations *= 2
        if organisations > _MOST:
            raise StudyError(
                "no twin of this size can be drawn",
                where=f"wave {study.wave}",
                expected=f"{rows} rows",
                got=f"{drawn} of {organisations // 2} organisations",
                hint="set shareable = true in study.toml, [data], if the raw data may be shared",
            )


def joined(one: bytes, other: bytes) -> bytes:
    r"""Return two CSV files as one, for a study whose deliveries hold all waves: the columns of both, each row under its own.

    >>> joined(b"id,a\n1,x\n", b"id,b\n2,y\n")
    b'id,a,b\n1,x,\n2,,y\n'
    """
    tables = [list(csv.DictReader(io.StringIO(content.decode()))) for content in (one, other)]
    heads = [next(csv.reader(io.StringIO(content.decode()))) for content in (one, other)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys([*heads[0], *heads[1]])), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for table in tables for row in table)
    return text.getvalue().encode()


def rows_delivered(processed: Path) -> int:
    """Return how many rows of a wave were delivered, as its cleaning counted them."""
    import json  # noqa: PLC0415

    flow = json.loads((processed / "01_clean.flow.json").read_bytes())
    return int(flow["delivered"])
