"""A study to plan for whose chapters take no time: the shipped instrument and register, and two chapters that count rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fieldwork.plan import plan
from tests.small_study import book

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = """
[[chapter]]
name = "01_clean"
inputs = ["{raw}"]
outputs = ["{processed}/01_clean.flow.json"]
[[chapter]]
name = "09_claims"
inputs = ["{processed}/01_clean.flow.json"]
outputs = ["{reports}/claims.json"]
"""
COUNT = """
import json
from pathlib import Path
rows = (Path(study) / "data/raw" / wave / "responses.csv").read_text().splitlines()[1:]
flow = Path(study) / "data/processed" / wave / "01_clean.flow.json"
flow.parent.mkdir(parents=True)
flow.write_text(json.dumps({"accepted": len(rows)}))
"""
JUDGE = """
import json
from pathlib import Path
n = json.loads((Path(study) / "data/processed" / wave / "01_clean.flow.json").read_text())["accepted"]
claim = {"id": "H1", "text": "Roles differ.", "unit": "share", "margin": 0.1, "conf_low": 0.1, "conf_high": 0.1 + 1 / n}
claim["verdict"] = ("supported", "inconclusive", "not_assessable")[n % 3]
(Path(study) / "reports" / wave / "claims.json").write_text(json.dumps([claim]))
"""
# One empty file for each time that a study was drawn to its end.
TRY = "import secrets\n(Path({tries!r}) / secrets.token_hex(8)).touch()"


def write_toy(folder: Path, *more: str) -> Path:
    """Write the study; `more` cells come last in the last chapter, and find the folder of tries as `tries`."""
    (folder / "notebooks").mkdir(parents=True)
    (folder / "tries").mkdir()
    shutil.copytree(ROOT / "instruments", folder / "instruments")
    shutil.copyfile(ROOT / "study.toml", folder / "study.toml")
    (folder / "notebooks/chapters.toml").write_text(CHAPTERS)
    book(folder, "01_clean", ("code", COUNT))
    judge(folder, *more)
    return folder


def judge(folder: Path, *more: str) -> None:
    """Write the last chapter, with more cells at its end."""
    cells = [JUDGE, TRY.format(tries=str(folder / "tries")), f"tries = Path({str(folder / 'tries')!r})", *more]
    book(folder, "09_claims", *(("code", cell) for cell in cells))


def drawn(folder: Path) -> int:
    """Return how many studies were drawn to their end."""
    return len(list((folder / "tries").iterdir()))


def table(folder: Path, **options) -> str:
    """Plan for ten studies of one size and return the table as CSV."""
    options = {"respondents": (60,), "studies": 10, "seed": 3, **options}
    return plan(folder, folder / "notebooks/chapters.toml", **options).table.to_csv(index=False)


def values(folder: Path) -> list[Path]:
    """Return the kept records."""
    return sorted((folder / ".fieldwork/values").glob("*.json"))


def told(folder: Path) -> list[dict]:
    """Return what is in them."""
    return [json.loads(path.read_bytes()) for path in values(folder)]
