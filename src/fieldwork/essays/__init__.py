"""Essays: prose whose every number comes from a published record, as Markdown, HTML, Word and a typeset PDF.

An essay is `essays/<name>.md` of a study. It is refused, with file and line, when a number in it was typed by hand, when it
refers to something unknown, held back or stale, and when it words a hypothesis as a finding.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["build"]


def build(study: str | Path, wave: str = "", out: str | Path = "") -> list[Path]:
    """Build every essay of a study for a wave and return the files, in order of their names.

    Parameters
    ----------
    study : str or Path    The study folder; its essays are `essays/*.md`, their sources `essays/sources.json` (CSL-JSON).
    wave : str             Wave; empty: the study's default. An essay whose head names another wave is left out.
    out : str or Path      Folder that mirrors the study and takes the essays; empty: the study folder itself.

    Each essay becomes `reports/<wave>/essays/<name>.{md,html,docx,pdf}`, `<name>.newsletter.html` with tables as pictures and
    lists, and `<name>/` with every picture, its alternative text, and every table as a list. What is up to date is not made
    again. All essays are read and linted before the first is written. Raises EssayError with file and line.
    """
    from fieldwork.essays.making import make  # noqa: PLC0415 - tables, pandoc and the typesetter, needed once essays are made

    return make(Path(study), wave, Path(out) if out else None)
