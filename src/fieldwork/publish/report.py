"""The report that a run has made: which of its files may go out, as its manifest lists them, each held against its hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.errors import RunError
from fieldwork.provenance import RESTRICTED, sha256_file

if TYPE_CHECKING:
    from fieldwork.study import Study

__all__ = ["manifest_of", "public_files"]


def manifest_of(study: Study) -> dict[str, Any]:
    """Return the manifest of a wave; RunError where there is none that can be read."""
    path = study.reports / "manifest.json"
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(
            "there is no whole report to publish",
            where=path.relative_to(study.folder).as_posix(),
            expected="the manifest that a run leaves when it has ended well",
            got="no such file" if isinstance(error, FileNotFoundError) else str(error),
            hint="fieldwork run",
        ) from error
    return found


def public_files(study: Study) -> dict[str, Path]:
    """Return the files of the report that go out, by their path below it: no notebook, nothing restricted, nothing unlisted.

    Raises RunError for a listed file that is not the one that the run made.
    """
    label = study.reports.relative_to(study.folder).as_posix() + "/"
    found = {}
    for name, digest in manifest_of(study)["outputs"].items():
        inside = name.removeprefix(label)
        if inside == name or inside.endswith(".ipynb") or RESTRICTED in Path(inside).parts:
            continue
        source = study.folder / name
        if not source.is_file() or sha256_file(source) != digest:
            raise RunError(
                "a file of the report is not the one that the run made",
                where=name,
                expected="the file as the manifest lists it",
                got="another content" if source.is_file() else "no such file",
                hint="fieldwork run puts it back",
            )
        found[inside] = source
    return found
