"""A simulated world as a study folder: deliveries, instrument, margins, and the truth beside them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fieldwork.errors import UsageError, listed, nearest
from fieldwork.instrument import Instrument
from fieldwork.provenance import abandoned, beside
from fieldwork.simulate.delivery import deliveries, population_margins, refuse_sizes, soil, wave_names
from fieldwork.simulate.interview import layout_of
from fieldwork.simulate.population import BLOCK, Population
from fieldwork.simulate.truth import TrueWave
from fieldwork.simulate.truths import whole_truth
from fieldwork.simulate.world import World, worlds
from fieldwork.study import Study

if TYPE_CHECKING:
    from os import PathLike

    from fieldwork.simulate.truth import TruthRow

__all__ = ["write_study"]

Progress = Callable[[str, int, int], None]


def write_study(
    world_name: str,
    *,
    organisations: int,
    waves: int,
    seed: int,
    out: str | PathLike[str],
    base: str | PathLike[str] = "",
    settings: Mapping[str, str | float] | None = None,
    told: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Write a study folder with deliveries of a world whose truth is known, and `truth.json`.

    The folder holds study.toml (provenance simulated), instruments/ as in the base study with the population margins of
    the world, and data/raw/<wave>/ with a README. The same arguments give the same bytes.

    Parameters
    ----------
    world_name : str
        One of `worlds()`.
    organisations, waves, seed : int
        Organisations invited, number of waves, root seed.
    out : path
        Folder to write; must not exist, or be empty.
    base : path
        Study whose instrument and register of claims are taken; the nearest folder upwards if not given.
    settings : mapping, optional
        Parameters of the world to change, as `--set NAME=VALUE`.
    told : bool
        Whether the truth is worked out and written, which takes most of the time.
    progress : callable, optional
        Called with (what, done, total) after each file.

    Returns the folder. Raises UsageError for an unknown world or parameter, or a folder that is in use.
    """
    world = _world(world_name).with_settings(settings or {})
    refuse_sizes(organisations, waves)
    study = Study.open(Path(base) if base else Study.find())
    names = wave_names(study.waves[0], waves)
    sources = _instrument_paths(study, names)
    instruments = [Instrument.load(path, wave) for wave, path in sources.items()]
    for instrument in instruments:
        _refuse_unknown_names(settings or {}, instrument)
    populations = [Population(world, layout_of(instrument)) for instrument in instruments]
    final = Path(out)
    _refuse_in_use(final)
    folder = _begun(final)
    try:
        _copy_instruments(study, folder, sources)
        command = _command(world_name, organisations, waves, seed, settings or {})
        blocks = -(-organisations // BLOCK)
        rows: list[TruthRow] = []
        before: list[TrueWave] = []
        for number, (name, instrument, population) in enumerate(
            zip(names, instruments, populations, strict=True), start=1
        ):
            raw = folder / "data" / "raw" / name
            raw.mkdir(parents=True)
            made = deliveries(population, instrument, organisations=organisations, wave=number, name=name, seed=seed)
            for block, delivery in enumerate(made, start=1):
                spoilt = soil(
                    delivery, instrument, rows=int(world.faulty_rows) if block == 1 else 0, seed=seed + number
                )
                file = "responses.csv" if blocks == 1 else f"responses_{block:03d}.csv"
                _write_csv(spoilt, raw / file)
                if progress is not None:
                    progress(f"{name}/{file}", (number - 1) * blocks + block, waves * blocks)
            _write(raw / "README.md", _readme(world, name, seed, command))
            margins = population_margins(population, instrument)
            if margins:
                _write(folder / "instruments" / f"{name}.margins.toml", _margins_text(margins, world, name))
            if told and instrument.role_ids:
                rows += whole_truth(population, instrument, name, number, before)
            before.append(TrueWave(population, instrument, name, number))
        if told:
            _write(folder / "truth.json", _records(rows))
        _write(folder / "study.toml", _study_text(study, world, names, command))
        _into_place(folder, final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return final


def _world(name: str) -> World:
    known = worlds()
    if name in known:
        return known[name]
    near = nearest(name, known)
    raise UsageError(
        f"there is no world {name!r}",
        where=f"--world {name}",
        expected=listed(known),
        got=repr(name),
        hint=f"did you mean {near}?" if near else "`fieldwork simulate --list` describes the worlds",
    )


def _refuse_unknown_names(settings: Mapping[str, str | float], instrument: Instrument) -> None:
    """Refuse a setting for a role, item or option that the instrument lacks: it would change nothing."""
    items = {item.name for item in instrument.items}
    options = {option.id for item in instrument.items for option in item.options}
    members = {item.member for item in instrument.items if item.member}
    for name in settings:
        family, *parts = name.split(".")
        if family in {"item_level", "choice"}:
            known = [items, options]
        elif family == "owner":
            known = [options]
        elif family == "objective":
            known = [members, options]
        elif family == "stall_item" or family.startswith("practice_"):
            known = [items]
        else:
            known = [items | options, set(instrument.role_ids)][2 - len(parts) :]
        for part, allowed in zip(parts, known, strict=False):
            if part not in allowed:
                near = nearest(part, allowed)
                raise UsageError(
                    f"the instrument knows no {part!r}",
                    where=f"--set {name}={settings[name]}",
                    expected=listed(sorted(allowed)),
                    got=repr(part),
                    hint=f"did you mean {near}?" if near else "a parameter by role, item or option takes their ids",
                )


def _refuse_in_use(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "the folder for the simulated study is in use",
            where=f"--out {folder}",
            expected="a folder that does not exist yet, or is empty",
            got="a file" if not folder.is_dir() else f"{sum(1 for _ in folder.iterdir())} entries",
            hint="name another folder, or remove this one",
        )


def _begun(final: Path) -> Path:
    """Make the folder in which a study is written before it is put into its place, and take away those of killed processes."""
    place = final.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in abandoned(place.parent, deep=False):
        if left.is_dir() and left.name.startswith(f".{place.name}."):
            shutil.rmtree(left)
    folder = beside(place)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "instruments").mkdir(parents=True)
    return folder


def _into_place(folder: Path, final: Path) -> None:
    """Rename a whole study into its place; into an empty folder part by part, what makes it a study last."""
    if not final.exists():
        folder.replace(final)
        return
    for part in sorted(folder.iterdir(), key=lambda path: (path.name == "study.toml", path.name)):
        part.replace(final / part.name)


def _instrument_paths(study: Study, waves: tuple[str, ...]) -> dict[str, Path]:
    """Return the instrument file of each wave: its own, else the first wave's."""
    first = Study.open(study.folder, study.waves[0]).instrument_path()
    own = {wave: study.instruments / f"{wave}.toml" for wave in waves}
    return {wave: path if path.is_file() else first for wave, path in own.items()}


def _copy_instruments(study: Study, folder: Path, sources: Mapping[str, Path]) -> None:
    """Copy the instrument of each wave, the register of claims and the declaration of analytic choices."""
    for declared in (study.claims_path(), study.multiverse_path()):
        if declared is not None:
            shutil.copyfile(declared, folder / "instruments" / declared.name)
    for wave, source in sources.items():
        name = source.name if source.name == "instrument.toml" else f"{wave}.toml"
        shutil.copyfile(source, folder / "instruments" / name)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_csv(delivery: pd.DataFrame, path: Path) -> None:
    """Write text cells as CSV, quoted where needed; pyarrow writes a million rows in seconds."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and needed here alone
    from pyarrow import csv as arrow  # noqa: PLC0415

    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(delivery.columns)
    table = pa.Table.from_pandas(delivery, preserve_index=False)
    with path.open("wb") as file:
        file.write(header.getvalue().encode())
        arrow.write_csv(table, file, arrow.WriteOptions(include_header=False, quoting_style="needed"))


def _command(
    world: str, organisations: int, waves: int, seed: int, settings: Mapping[str, str | float], out: str = "DIR"
) -> str:
    changed = "".join(f" --set {name}={value}" for name, value in settings.items())
    size = f"--organisations {organisations} --waves {waves} --seed {seed}"
    return f"fieldwork simulate --world {world} {size}{changed} --out {out}"


def _records(rows: list[TruthRow]) -> str:
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]\n" if rows else "[]\n"


def _readme(world: World, wave: str, seed: int, command: str) -> str:
    return f"""# SIMULATED data, wave {wave}

No executive was interviewed. These rows were drawn from the world `{world.name}` with seed {seed}:
{world.title}

Made by

    {command}

The same command makes the same bytes. What is true of the world stands in truth.json, computed by enumeration and not from
these rows.

Replace: put the real export of the wave into this folder in place of responses.csv, remove this file, put the
population margins into instruments/{wave}.margins.toml, and set provenance = "delivered" in study.toml. The banner
then goes by itself.
"""


def _margins_text(margins: Mapping[str, Mapping[str, float]], world: World, wave: str) -> str:
    parts = [
        (
            "# Population shares that respondents are raked to. One table per variable: source and date are required,\n"
            "# shares add to 1. [margins.NAME.merge] counts a level that the sample lacks as another.\n"
        )
    ]
    for name, shares in margins.items():
        levels = "\n".join(f"{level} = {share:.10f}" for level, share in _adding_to_one(shares).items())
        parts.append(
            f"[margins.{name}]\n"
            f'source = "the simulated world {world.name}: existing executives, by enumeration"\n'
            f'date = "{wave}"\n\n'
            f"[margins.{name}.target]\n{levels}\n"
        )
    return "\n".join(parts)


def _adding_to_one(shares: Mapping[str, float]) -> dict[str, float]:
    """Round shares to ten decimals so that they still add to 1: the last takes what rounding left."""
    rounded = {level: round(share, 10) for level, share in shares.items()}
    last = list(rounded)[-1]
    rounded[last] = round(1.0 - sum(share for level, share in rounded.items() if level != last), 10)
    return rounded


def _study_text(base: Study, world: World, waves: tuple[str, ...], command: str) -> str:
    disclosure = "".join(f"{key} = {value}\n" for key, value in base.disclosure.items())
    own = {
        "sponsor": "None: the data are simulated.",
        "conductor": f"fieldwork simulate, world {world.name}.",
        "collection_strategy": "Draws from a model of organisations and executives whose truth is known; nobody was asked.",
        "population": "Existing executives of the world's organisations.",
        "dates": f"No fieldwork took place. Time stamps within {' and '.join(waves)} are simulated.",
        "attrition": f"At random: {1 - world.retention:.0%} of the respondents are silent in each later wave, and new "
        f"organisations take the place of {world.refreshment:.0%} in each."
        if len(waves) > 1
        else "Not applicable: one wave.",
    }
    rows = (base.statement if base.provenance == "simulated" else {}) | own
    statement = "".join(f"{key} = {json.dumps(text, ensure_ascii=False)}\n" for key, text in rows.items())
    return f"""# A simulated study, made by
#   {command}

[study]
name = "simulated-{world.name.replace("_", "-")}"
title = "Simulated fieldwork: the world {world.name}"
provenance = "simulated"

[data]
raw = "data/raw"
processed = "data/processed"
reports = "reports"

[waves]
default = "{waves[-1]}"
order = [{", ".join(f'"{wave}"' for wave in waves)}]

[instruments]
folder = "instruments"

[run]
seed = {base.seed}
replicates = {base.replicates}

[disclosure]
{disclosure}
[statement]
{statement}"""
