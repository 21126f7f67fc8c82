"""A study of two waves and two chapters that import next to nothing, for tests of the commands."""

from __future__ import annotations

import json

PARAMETERS = 'study: str = ".."  # the study\nwave: str = ""  # the wave\nout: str = ""  # staging folder\n'
HOME = "from pathlib import Path\nhome = Path(study)\ntarget = Path(out or study) / 'data/processed' / wave"
READ = "lines = (home / 'data/raw' / wave / 'a.csv').read_text().split()[1:]"
WRITE_1A = "(target / '1a.txt').write_text(','.join(lines * times))"
WRITE_2B = (
    "texts = [path.read_text() for path in sorted((home / 'data/processed').glob('w*/1a.txt')) if path.parts[-2] <= wave]\n"
    "(target / '2b.txt').write_text(' '.join([*(text.upper() for text in texts), *([word] if word else [])]))"
)


def book(study, name, *cells, own=""):
    """Write a notebook: a title, the cell of parameters, then cells of (kind, source)."""
    made = []
    for number, (kind, source) in enumerate([("markdown", f"# Chapter {name}"), ("code", PARAMETERS + own), *cells]):
        tags = {"tags": ["parameters"]} if number == 1 else {}
        cell = {"cell_type": kind, "id": f"c-{name}-{number}", "metadata": tags, "source": source}
        made.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    content = {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    path = study / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def write_small_study(study):
    """Write the study: 1a reads the delivery of its wave, 2b reads 1a of its wave and of every earlier one."""
    for folder in ("data/raw/w1", "data/raw/w2", "instruments", "notebooks"):
        (study / folder).mkdir(parents=True)
    (study / "study.toml").write_text(
        '[study]\nname = "small"\ntitle = "Small"\nprovenance = "simulated"\n[waves]\norder = ["w1", "w2"]\n'
    )
    (study / "data/raw/w1/a.csv").write_text("x\none\n")
    (study / "data/raw/w2/a.csv").write_text("x\none\ntwo\n")
    (study / "notebooks/chapters.toml").write_text(
        '[[chapter]]\nname = "1a"\ninputs = ["{raw}"]\noutputs = ["{processed}/1a.txt"]\n'
        '[[chapter]]\nname = "2b"\ninputs = ["{processed}/1a.txt", "{earlier}/1a.txt"]\noutputs = ["{processed}/2b.txt"]\n'
    )
    reading = ("code", HOME), ("markdown", "## Reading"), ("code", READ)
    book(study, "1a", *reading, ("code", WRITE_1A), own="times: int = 1  # how often")
    book(study, "2b", ("code", HOME), ("code", WRITE_2B), own='word: str = ""  # added at the end')
