"""Exhibits: every figure, table and number in the text, with the chapter, the notebook and the cell that makes it."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldwork.essays.source import Expression
    from fieldwork.study import Study

__all__ = ["Exhibit", "as_csv", "cell_of", "exhibits", "of_essays"]

_ASKED = re.compile(r'(construct|measure|statistic)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One thing that a reader sees.

    Attributes
    ----------
    kind : str       `figure`, `table`, `claim`, `page` or `number` (of an essay).
    name : str       Name of it; of a number the essay and its line.
    shown : str      File that shows it, below the published reports; of a number the reference as it is written.
    data : str       File that holds what it is drawn or quoted from.
    chapter : str    Chapter of the pipeline that makes it.
    notebook : str   Notebook of the chapter, or the function where there is none.
    cell : str       Number of the cell, from 1, with the heading above it.
    """

    kind: str
    name: str
    shown: str
    data: str
    chapter: str
    notebook: str
    cell: str


def cell_of(notebook: bytes, output: str) -> str:
    """Return which cell of a notebook makes what it saves under a name: number from 1, and the heading above.

    The saving call is found by the name; what it saves is made by the last cell before it that assigns that variable. Empty
    where no call saves it.

    >>> cells = [{"cell_type": "markdown", "source": "## Made"}, {"cell_type": "code", "source": "made = sum([1])"},
    ...          {"cell_type": "code", "source": "chapter.save(made, 'made.csv')"}]
    >>> cell_of(json.dumps({"cells": cells}).encode(), "made.csv")
    "2, under 'Made'"
    """
    heading, told, trees = "", {}, []
    for number, cell in enumerate(json.loads(notebook)["cells"], 1):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("#")), heading)
        elif cell["cell_type"] == "code":
            told[number] = f"{number}, under '{heading}'" if heading else str(number)
            trees.append((number, ast.parse(text)))
    for number, tree in trees:
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if _saves(call, output) and call.args:
                names = {node.id for node in ast.walk(call.args[0]) if isinstance(node, ast.Name)}
                makers = [place for place, made in trees if place <= number and names & _assigned(made)]
                return told[makers[-1] if makers else number]
    return ""


def _saves(call: ast.Call, output: str) -> bool:
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if not called.startswith("save"):
        return False
    named = {node.value for node in ast.walk(call) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    if called == "save_all":
        return output.startswith("figures/")
    return called == "save_estimates" if output == "estimates" else output in named


def _assigned(tree: ast.Module) -> set[str]:
    targets = [target for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


class _Makers:
    """Chapters of a manifest, with their notebooks."""

    def __init__(self, manifest: Mapping[str, Any], notebooks: Path, label: str) -> None:
        self._made = {name.removeprefix(label): each for each in manifest["chapters"] for name in each["outputs"]}
        self._by_name = {each["name"]: each for each in manifest["chapters"]}
        self._notebooks = notebooks

    def makes(self, output: str) -> bool:
        """Tell whether a chapter made a published file."""
        return output in self._made

    def of(self, output: str) -> tuple[str, str, str]:
        """Return chapter, notebook and cell of a published file."""
        made = self._made[output]
        return made["name"], made["made_by"], self._cell(made["made_by"], output)

    def behind(self, chapter: str) -> tuple[str, str, str]:
        """Return chapter, notebook and cell of a chapter's own estimates."""
        made_by = self._by_name[chapter]["made_by"] if chapter in self._by_name else ""
        return chapter, made_by, self._cell(made_by, "estimates")

    def _cell(self, made_by: str, output: str) -> str:
        path = self._notebooks / Path(made_by).name
        if not made_by.endswith(".ipynb") or not path.is_file():
            return ""
        content = path.read_bytes()
        plain = output if output.startswith("figures/") or output == "estimates" else Path(output).with_suffix("").name
        suffixes = ("", ".parquet", ".json", ".csv") if plain != "estimates" else ("", ".parquet")
        tries = [plain + suffix for suffix in suffixes] if output != "estimates" else ["estimates"]
        return next((cell for name in tries if (cell := cell_of(content, name))), "")


def exhibits(
    study: Study, manifest: Mapping[str, Any], published: Mapping[str, bytes], notebooks: Path
) -> list[Exhibit]:
    """Return every figure, table, claim and number of a wave, in that order.

    Parameters
    ----------
    study : Study        Opened for the wave.
    manifest : mapping   Manifest of its run.
    published : mapping  Bytes of the published files by their path below the reports.
    notebooks : Path     Folder of the chapters' notebooks.
    """
    makers = _Makers(manifest, notebooks, study.reports.relative_to(study.folder).as_posix() + "/")
    listed = [name for name in published if makers.makes(name)]
    found = [
        Exhibit("figure", Path(name).stem, name, f"figures/{Path(name).stem}.csv", *makers.of(name))
        for name in listed
        if name.startswith("figures/") and name.endswith(".svg")
    ]
    found += [
        Exhibit("table", Path(name).stem, name, name, *makers.of(name))
        for name in listed
        if name.endswith(".csv") and not name.startswith("figures/")
    ]
    claims = {each["id"]: each for each in json.loads(published.get("claims.json", b"[]"))}
    chapters = _chapters_of_constructs(published)
    for name, claim in claims.items():
        for chapter in dict.fromkeys(chapters.get(_key(part), "") for part in claim["parts"]) or [""]:
            made = makers.behind(chapter) if chapter else makers.of("claims.json")
            found.append(Exhibit("claim", name, f"findings/{name}.html", "claims.json, estimates.csv", *made))
    found += [
        Exhibit("page", name, name, "", *makers.of(name))
        for name in listed
        if name.endswith(".html") and not name.startswith("findings/")
    ]
    for essay, line, reference in of_essays(study.folder):
        if reference.root != "ref":  # points to an exhibit, and prints no number of its own
            place = f"{essay}, line {line}"
            found.append(Exhibit("number", place, reference.text, *_behind(reference, makers, claims, chapters)))
    return found


def _behind(
    reference: Expression, makers: _Makers, claims: Mapping[str, Any], chapters: Mapping[tuple[str, str, str], str]
) -> tuple[str, str, str, str]:
    """Return data, chapter, notebook and cell behind a reference of an essay."""
    names = [str(name) for name in reference.path]
    if reference.root == "external":
        return "instruments/claims.toml, [[external]]", "", "", ""
    if reference.root == "figure" and names and makers.makes(f"figures/{names[0]}.svg"):
        return f"figures/{names[0]}.csv", *makers.of(f"figures/{names[0]}.svg")
    for claim in (claims[name] for name in names if name in claims):
        behind = [chapters[_key(part)] for part in claim["parts"] if _key(part) in chapters]
        return "claims.json", *(makers.behind(behind[0]) if behind else makers.of("claims.json"))
    asked = dict(_ASKED.findall(reference.text))
    matching = [
        chapter
        for (construct, measure, statistic), chapter in chapters.items()
        if (asked.get("construct"), asked.get("statistic")) == (construct, statistic)
        and asked.get("measure", measure) == measure
    ]
    if matching:
        return "estimates.csv", *makers.behind(matching[0])
    return "claims.json", *makers.of("claims.json")


def _key(part: Mapping[str, Any]) -> tuple[str, str, str]:
    return part["construct"], part["measure"], part["statistic"]


def _chapters_of_constructs(published: Mapping[str, bytes]) -> dict[tuple[str, str, str], str]:
    rows = csv.DictReader(io.StringIO(published.get("estimates.csv", b"").decode()))
    return {(row["construct"], row["measure"], row["statistic"]): row["chapter"] for row in rows}


def of_essays(folder: Path) -> Iterator[tuple[str, int, Expression]]:
    """Yield every reference of a study's essays: essay, line, the reference. A file that is no essay has none."""
    from fieldwork.errors import EssayError  # noqa: PLC0415
    from fieldwork.essays.source import read  # noqa: PLC0415 - jinja2

    for path in sorted((folder / "essays").glob("*.md")):
        try:
            source = read(path, f"essays/{path.name}")
        except EssayError:
            continue  # building the essays tells why
        for paragraph in source.paragraphs:
            for reference in paragraph.references:
                yield path.stem, reference.line, reference


def as_csv(found: list[Exhibit]) -> bytes:
    """Return exhibits as CSV in UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Exhibit)])
    writer.writerows(astuple(each) for each in found)
    return text.getvalue().encode()
