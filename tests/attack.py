"""Attack the published waves of a study that has been run: `python -m tests.attack FOLDER WAVE [WAVE ...]`.

All tables of all waves given are solved at once, and every published file is read, those of `fieldwork publish` too where it has
been called; what comes out is how much came out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from fieldwork.disclosure import WITH_IT
from tests import attacker, surfaces


def published_and_exact(folder: Path, wave: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What is published of a wave, what the chapters estimated, and their bases."""
    published = pd.read_parquet(folder / f"reports/{wave}/estimates.parquet")
    chapters = sorted(set(published["chapter"]))
    read = [
        pd.concat([pd.read_parquet(folder / f"data/processed/{wave}/{each}{what}.parquet") for each in chapters])
        for what in ("", ".bases")
    ]
    return published, read[0].reset_index(drop=True), read[1].reset_index(drop=True)


def together(folder: Path, waves: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The waves as one table each: published, exact, bases."""
    read = [published_and_exact(folder, wave) for wave in waves]
    bases = [bases.assign(wave=wave) for wave, (_, _, bases) in zip(waves, read, strict=True)]
    published, exact = (pd.concat([each[k] for each in read], ignore_index=True) for k in (0, 1))
    return published, exact, pd.concat(bases, ignore_index=True)


def row_by_row(published: pd.DataFrame) -> pd.DataFrame:
    """What a gate would publish that holds a row back for its own base alone."""
    return published.assign(status=published["status"].mask(published["reason"].eq(WITH_IT), "ok"))


def main(folder: Path, waves: list[str]) -> int:
    published, exact, bases = together(folder, waves)
    held = published["status"].eq("suppressed")
    assessed = held | published["status"].isin(attacker.SHOWN)
    print(f"rows that could be shown: {assessed.sum()}; shown: {(assessed & ~held).sum()}; held back: {held.sum()}")
    print(f"  of these for their own base: {(held & published['reason'].ne(WITH_IT)).sum()}")
    print(f"  and for what they would tell: {(held & published['reason'].eq(WITH_IT)).sum()}")
    found = {
        "counts and shares, all equations of all tables": attacker.jointly(published, exact, bases),
        "means, to the printed decimal": attacker.pinned(published, exact, bases),
        "tables, contrasts and waves one by one": attacker.everything(published, exact),
    }
    for wave in waves:
        place = folder / "reports" / wave
        rows, shown = surfaces.held_rows(place, exact[exact["wave"] == wave])
        found |= {
            f"{wave}, numbers in any file": surfaces.precise(place, rows)[0],
            f"{wave}, records in JSON": surfaces.attached(place, rows)[0],
            f"{wave}, data of figures": surfaces.drawn(place, rows, shown)[0],
            f"{wave}, the multiverse": surfaces.multiverse(place, rows)[0],
        }
        for given in filter(Path.is_dir, (place, folder / "publication" / wave)):
            name = f"{given.parent.name}/{wave}"
            found |= {f"{name}, tables of estimates": surfaces.keyed(given, rows)[0]}
            if given != place:
                found |= {
                    f"{name}, numbers in any file": surfaces.precise(given, rows)[0],
                    f"{name}, records in JSON": surfaces.attached(given, rows)[0],
                    f"{name}, data of figures": surfaces.drawn(given / "site", rows, shown)[0],
                }
    for name, rows in found.items():
        print(f"recovered from {name}: {len(rows)}")
        for row in rows[:5]:
            print("  ", row)
    bare = row_by_row(published)
    print(
        "from a gate that looks at each row alone: "
        f"{len(attacker.jointly(bare, exact, bases))} counts, {len(attacker.pinned(bare, exact, bases))} means"
    )
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
