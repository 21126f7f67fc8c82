"""The topline as a document of its own: a page without links and one table, over all waves that were published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwork.site import topline_page
from fieldwork.tables import guarded

if TYPE_CHECKING:
    from pathlib import Path

    from fieldwork.study import Study

__all__ = ["write"]


def write(study: Study, folder: Path) -> list[Path]:
    """Write `topline.html` and `topline.csv` and return their paths."""
    page, table = topline_page(study)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "topline.html", folder / "topline.csv"]
    paths[0].write_bytes(page)
    paths[1].write_text(guarded(table).to_csv(index=False, lineterminator="\n"), encoding="utf-8", newline="")
    return paths
