"""Where a published number comes from: rows and files delivered, instrument, chapter and cell, code, parameters, seed.

A number is looked up among the published estimates of a wave, and nowhere else. What it was made from is read from the
records of the run that made it, step by step back to the files that no step makes.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import fieldwork
from fieldwork.errors import DataError, RunError, UsageError, listed, nearest

if TYPE_CHECKING:
    from fieldwork.run.notebook import Notebook
    from fieldwork.run.plan import Judge, Unit
    from fieldwork.run.store import Record
    from fieldwork.study import Study

__all__ = ["KEY", "Found", "find", "made_in", "origin", "parts", "shown", "told"]

KEY = ("construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item")
"""What names a row of the estimates within a wave, in this order; what is left out is empty."""
_PUBLISHED = (
    *("unit", "estimate", "std_error", "conf_low", "conf_high", "conf_level", "n", "n_organisations", "method"),
    *("replicates", "seed", "status", "reason"),
)
_COUNTS = {"n", "n_organisations", "replicates", "seed"}  # whole numbers, with gaps
_CALL = re.compile(r"estimate\((?P<inside>.*)\)(\.\w+)?", re.DOTALL)
_PAIR = re.compile(r"""(?P<name>\w+)\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^,;\s]*)[,;\s]*""")
_MOST = 8


@dataclass(frozen=True, slots=True)
class Found:
    """One row of the published estimates.

    Attributes
    ----------
    key : dict          Its columns of `KEY`.
    chapter : str       The chapter that made it.
    numbers : dict      What was published of it; None where a number is held back or there is none.
    """

    key: dict[str, str]
    chapter: str
    numbers: dict[str, Any]


def find(estimates: Path, what: str) -> Found:
    """Return the row that an estimate's key names.

    Parameters
    ----------
    estimates : Path    The wave's published `estimates.parquet`.
    what : str          `construct=..., measure=..., ...`, as an essay writes it too (`estimate(...)`), or the values alone in
                        the order of `KEY`, apart by slashes, commas or spaces.

    Raises UsageError when no row has the key, or several have; RunError when nothing has been published, DataError when
    the file is damaged.
    """
    wanted = _wanted(what)
    table = _read(estimates)
    mask = pd.Series(True, index=table.index)  # noqa: FBT003 - a value, not a switch
    for name, value in wanted.items():
        matching = mask & (table[name] == value)
        if not matching.any():
            known = sorted({str(text) for text in table.loc[mask, name]})
            near = nearest(value, known)
            raise UsageError(
                "no published estimate has this key",
                where=f"{name}={value}",
                expected=listed(text or "(empty)" for text in known),
                got=repr(value),
                hint=f"did you mean {near}?" if near else "estimates.csv of the wave's reports lists every key",
            )
        mask = matching
    whole = mask.copy()
    for name in KEY:
        if name not in wanted:
            whole &= table[name] == ""
    rows = table[whole] if whole.any() else table[mask]
    if len(rows) > 1:
        told = [", ".join(f"{name}={row[name]}" for name in KEY if row[name]) for _, row in rows.head(_MOST).iterrows()]
        raise UsageError(
            f"{len(rows)} published estimates have this key",
            expected="the key of one",
            got=repr(what),
            hint="; or ".join(told) + (f"; and {len(rows) - _MOST} more" if len(rows) > _MOST else ""),
        )
    return _found(rows.iloc[0])


def parts(estimates: Path, claim: Mapping[str, Any]) -> list[Found]:
    """Return the published estimates that a claim's parts were judged by, in their order; a part without one is left out."""
    table = _read(estimates)
    found: list[Found] = []
    for part in claim.get("parts", ()):
        key = {name: str(part.get(name, "") or "") for name in KEY}
        mask = pd.Series(True, index=table.index)  # noqa: FBT003 - a value, not a switch
        for name, value in key.items():
            mask &= table[name] == value
        found += [_found(row) for _, row in table[mask].iterrows()]
    return found


def _found(row: pd.Series) -> Found:
    numbers = {name: None if pd.isna(row[name]) else _plain(name, row[name]) for name in _PUBLISHED}
    return Found({name: str(row[name]) for name in KEY}, str(row["chapter"]), numbers)


def _plain(name: str, value: Any) -> Any:  # noqa: ANN401 - a cell of a table
    if name in _COUNTS:
        return int(value)
    return value.item() if hasattr(value, "item") else value


def _wanted(what: str) -> dict[str, str]:
    call = _CALL.fullmatch(what.strip())
    text = call["inside"] if call else what
    if "=" not in text:
        values = [part.strip() for part in (re.split(r"[/,]", text) if re.search(r"[/,]", text) else text.split())]
        if len(values) > len(KEY):
            raise UsageError("the key has too many parts", expected=", ".join(KEY), got=repr(what))
        return {name: value for name, value in zip(KEY, values, strict=False) if value}
    found: dict[str, str] = {}
    at = 0
    text = text.strip().removesuffix(",")
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None or pair["name"] not in KEY:
            name = pair["name"] if pair else text[at:].strip()
            near = nearest(name, KEY)
            hint = f"did you mean {near}?" if near else ""
            raise UsageError(
                "the key cannot be read", expected=", ".join(f"{n}=..." for n in KEY), got=repr(name), hint=hint
            )
        found[pair["name"]] = pair["value"].strip("\"'")
        at = pair.end()
    return found


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise RunError(
            "nothing has been published of this wave",
            where=f"{path.parent.name}/{path.name}",
            expected="the file that a run makes",
            got="no such file",
            hint="fieldwork run",
        )
    try:
        columns = ["chapter", *KEY, *_PUBLISHED]
        table: pd.DataFrame = pq.read_table(path, columns=columns).to_pandas()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(
            "the published estimates are damaged",
            where=f"{path.parent.name}/{path.name}",
            got=str(error).splitlines()[0][:120],
            hint="fieldwork run puts them back",
        ) from error
    return table.fillna(dict.fromkeys(KEY, ""))


def made_in(notebook: Notebook) -> tuple[int, int]:
    """Return the numbers of the cells in which a chapter's estimates are made and saved; 0 where that cannot be told.

    The cell that saves them calls `save_estimates`; the one that makes them assigns, last before it, the name that is saved.
    """
    saved, name = 0, ""
    for cell in notebook.code:
        for node in ast.walk(_tree(cell.source)):
            function = node.func if isinstance(node, ast.Call) else None
            if isinstance(function, ast.Attribute) and function.attr == "save_estimates" and isinstance(node, ast.Call):
                roots = [
                    part.id for argument in node.args[:1] for part in ast.walk(argument) if isinstance(part, ast.Name)
                ]
                saved, name = cell.number, roots[0] if roots else ""
    made = [
        cell.number
        for cell in notebook.code
        if cell.number <= saved
        for node in ast.walk(_tree(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name
    ]
    return (made[-1] if made else 0), saved


def _tree(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:
        # A cell of IPython's own commands makes no estimates.
        return ast.Module(body=[], type_ignores=[])


def origin(
    study: Study, judge: Judge, units: Mapping[str, Unit], chapters: Iterable[str], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the results of chapters were made from, in plain values.

    Parameters
    ----------
    units : mapping           What a run would do, by chapter, as `run.plan.plan` says it.
    chapters : iterable       Names of the chapters that made the number.
    parameters : mapping      Values that stand in the study where a chapter's own are 0 or empty.

    Returns the keys `chapters` (name, state, notebook, cells, code_sha256, modules, parameters), `waves` (files and rows
    delivered, instrument), `inputs` (every file that no step makes, with its hash) and `software`.

    Raises RunError for a chapter that has not been run.
    """
    entries: list[dict[str, Any]] = []
    behind: dict[tuple[str, str], Record] = {}
    for name in dict.fromkeys(chapters):
        record = judge.store.latest(study.wave, name)
        if record is None:
            raise RunError(
                "the chapter has not been run", where=name, expected="a record of its run", hint="fieldwork run"
            )
        behind |= {(each.wave, each.step): each for each in _behind(record, study, judge)}
        entries.append(_chapter(units[name], record, parameters))
    made = {label for each in behind.values() for label in each.outputs}
    read = {label: digest for each in behind.values() for label, digest in each.fingerprint.inputs.items()}
    leaves = {label: digest for label, digest in read.items() if label not in made}
    waves = {wave for wave, _ in behind}
    return {
        "chapters": entries,
        "waves": [_delivered(study, wave) for wave in study.waves if wave in waves],
        "inputs": dict(sorted(leaves.items())),
        "software": {
            "fieldwork": fieldwork.__version__,
            "python": judge.software.python,
            "environment_sha256": judge.software.key,
        },
    }


def _behind(record: Record, study: Study, judge: Judge) -> Iterator[Record]:
    """Yield a record and those of every step before it, in its wave and in earlier ones."""
    latest: list[Record] = []
    for wave in study.waves[: study.waves.index(study.wave) + 1]:
        found = (judge.store.latest(wave, step.name) for step in judge.pipeline.steps)
        latest += [each for each in found if each is not None]
    made_by = {label: each for each in latest for label in each.outputs}
    waiting, done = [record], set[tuple[str, str]]()
    while waiting:
        each = waiting.pop()
        if (each.wave, each.step) in done:
            continue
        done.add((each.wave, each.step))
        yield each
        waiting += [made_by[label] for label in each.fingerprint.inputs if label in made_by]


def _chapter(unit: Unit, record: Record, parameters: Mapping[str, Any]) -> dict[str, Any]:
    book = unit.step.notebook
    made, saved = made_in(book) if book else (0, 0)
    values = {
        name: parameters.get(name, value) if value in (0, "") else value
        for name, value in record.fingerprint.parameters.items()
    }
    return {
        "chapter": unit.step.name,
        "state": unit.state,
        "why": list(unit.reasons),
        "notebook": unit.step.made_by,
        "cell": made or None,
        "heading": book.heading_above(made) if book and made else "",
        "saved_in_cell": saved or None,
        "code_sha256": record.fingerprint.code_key,
        "modules": sorted(
            name for name in record.fingerprint.modules if ".constructs." in name or ".statistics." in name
        ),
        "parameters": {"wave": record.wave, **values},
    }


def _delivered(study: Study, wave: str) -> dict[str, Any]:
    """Return files and rows delivered in a wave, and its instrument, as its chapter on cleaning saved them."""
    at = next((each for each in (*study.earlier, study) if each.wave == wave), study)
    answer: dict[str, Any] = {"wave": wave}
    flow = at.processed / "01_clean.flow.json"
    if flow.is_file():
        counted = json.loads(flow.read_text(encoding="utf-8"))
        answer |= {name: counted.get(name) for name in ("delivered", "accepted", "quarantined", "by_rule", "files")}
    path = at.instrument_path()
    head = tomllib.loads(path.read_text(encoding="utf-8")).get("instrument", {})
    file = path.relative_to(study.folder).as_posix() if path.is_relative_to(study.folder) else path.name
    return {**answer, "instrument": {"file": file, "id": head.get("id", ""), "version": head.get("version", "")}}


def told(found: Found) -> str:
    """Return a published estimate in two lines for people."""
    key = ", ".join(f"{name}={value}" for name, value in found.key.items() if value)
    numbers = found.numbers
    if numbers["estimate"] is None:
        return f"{key}\n  published {numbers['status']}: {numbers['reason'] or 'no number'}"
    interval = f" [{numbers['conf_low']}, {numbers['conf_high']}]" if numbers["conf_low"] is not None else ""
    base = f"{numbers['n']} respondents" if numbers["n"] is not None else "no base of respondents"
    base += f" in {numbers['n_organisations']} organisations" if numbers["n_organisations"] is not None else ""
    made = f"{numbers['method']}, {numbers['replicates']} replicates, seed {numbers['seed']}"
    return f"{key}\n  published {numbers['estimate']}{interval} {numbers['unit']}, {base}; {numbers['status']}; {made}"


def shown(answer: Mapping[str, Any], state: Callable[[str], str]) -> str:
    """Return an answer of `origin` in lines for people; `state` words a chapter's state."""
    lines: list[str] = []
    for chapter in answer["chapters"]:
        cell = f", cell {chapter['cell']}" if chapter["cell"] else ""
        under = f" under '{chapter['heading']}'" if chapter["heading"] else ""
        saved = f", saved in cell {chapter['saved_in_cell']}" if chapter["saved_in_cell"] else ""
        why = f": {'; '.join(chapter['why'])}" if chapter["why"] else ""
        lines += [
            f"  made in   {chapter['notebook']}{cell}{under}{saved}",
            f"  state     {chapter['chapter']} {state(chapter['state'])}{why}",
            f"  code      sha256 {chapter['code_sha256'][:12]}, with {listed(chapter['modules'], limit=4) or 'no construct'}",
            f"  with      {', '.join(f'{name} = {value!r}' for name, value in chapter['parameters'].items())}",
        ]
    for wave in answer["waves"]:
        if "delivered" in wave:
            files = listed((f"{file['file']} ({file['delivered']} rows)" for file in wave["files"]), limit=4)
            lines.append(
                f"  delivered {wave['wave']}: {files}; {wave['delivered']} rows, {wave['accepted']} accepted, "
                f"{wave['quarantined']} set aside"
            )
        asked = wave["instrument"]
        lines.append(f"  asked     {asked['id']}, version {asked['version']} ({asked['file']})")
    lines += [f"  from      {label}  sha256 {digest[:12]}" for label, digest in answer["inputs"].items()]
    software = answer["software"]
    mark = software["environment_sha256"][:12]
    lines.append(
        f"  software  fieldwork {software['fieldwork']}, Python {software['python']}, environment sha256 {mark}"
    )
    return "\n".join(lines)
