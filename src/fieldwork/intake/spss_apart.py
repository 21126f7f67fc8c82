"""Run in a process of its own: read an SPSS file by pyreadstat and hand its cells on as texts, some rows at a time.

The library is C and was seen to die of damaged files, two of 4,500 that were damaged at random. Here it takes nobody with it,
and the system bounds its memory and its time. The file is called by its path and imports nothing of fieldwork.

Arguments: path, encoding (empty: the file's own), cells to hold at a time, bytes of memory, seconds of CPU. Out: one line of
JSON on the columns, then batches of text columns in Arrow's stream format; why a file cannot be read goes to the error stream.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

_EPOCH = datetime(1582, 10, 14)  # noqa: DTZ001 - SPSS counts seconds from here and knows no time zone
_DAYS = ("DATE", "ADATE", "EDATE", "SDATE", "JDATE")
_MOMENTS = ("DATETIME", "YMDHMS")
_FEWEST = 1_000


def main(path: str, encoding: str, held: int, memory: int, seconds: int) -> None:
    """Write what the file holds to standard output."""
    _bound(memory, seconds)
    import pyarrow as pa  # noqa: PLC0415 - within the bounds
    import pyreadstat  # noqa: PLC0415

    options: dict[str, Any] = {"user_missing": True, "disable_datetime_conversion": True, "output_format": "dict"}
    if encoding:
        options["encoding"] = encoding
    out = sys.stdout.buffer
    try:
        _, meta = pyreadstat.read_sav(path, metadataonly=True, **options)
        names = list(meta.column_names)
        formats = [str(meta.original_variable_types.get(name) or "") for name in names]
        rows = max(_FEWEST, held // max(len(names), 1))
        labelled = {
            name: {_plain(code): str(label) for code, label in known.items()}
            for name, known in meta.variable_value_labels.items()
        }
        told = {
            "names": names,
            "questions": [str(label or "") for label in meta.column_labels],
            "labels": labelled,
            "missing": meta.missing_ranges,
        }
        out.write(json.dumps(told).encode() + b"\n")
        schema = pa.schema([(str(place), pa.string()) for place in range(len(names))])
        with pa.ipc.new_stream(out, schema) as stream:
            start = 0
            while True:
                cells, _ = pyreadstat.read_sav(path, row_offset=start, row_limit=rows, **options)
                columns = [_texts(cells[name], form) for name, form in zip(names, formats, strict=True)]
                read = len(columns[0]) if columns else 0
                stream.write_batch(pa.record_batch([pa.array(each, pa.string()) for each in columns], schema=schema))
                start += read
                if read < rows:
                    break
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, ValueError, MemoryError) as error:
        sys.exit(str(error).splitlines()[0] if str(error) else type(error).__name__)


def _bound(memory: int, seconds: int) -> None:
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _texts(values: Sequence[Any], form: str) -> list[str]:
    kind = form.rstrip("0123456789.")
    known: dict[Any, str] = {}
    texts = []
    for value in values:
        text = known.get(value)
        if text is None:
            text = known[value] = _moment(value, kind) if kind in {*_DAYS, *_MOMENTS} else _plain(value)
        texts.append(text)
    return texts


def _moment(value: Any, kind: str) -> str:  # noqa: ANN401 - whatever the library gives
    """Return a day or a moment in ISO form; a number that is none stays a number, which no item reads as a date."""
    if not isinstance(value, float) or not math.isfinite(value):
        return _plain(value)
    try:
        moment = _EPOCH + timedelta(seconds=round(value))
    except OverflowError:
        return _plain(value)
    return moment.date().isoformat() if kind in _DAYS else moment.isoformat()


def _plain(value: Any) -> str:  # noqa: ANN401 - whatever the library gives
    if value is None or value != value:  # noqa: PLR0124 - not a number
        return ""
    if isinstance(value, float):
        return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(value)
    return str(value)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
