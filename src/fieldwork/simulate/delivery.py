"""Raw deliveries of a simulated wave: native columns, codes as text, the dirt of real exports on request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fieldwork.errors import UsageError
from fieldwork.simulate.interview import Cells, Interview, layout_of, rule_of
from fieldwork.simulate.population import Population, asked_in, blocks, stream
from fieldwork.simulate.truth import TruthRow, truth

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument
    from fieldwork.simulate.world import World

__all__ = ["Simulated", "deliveries", "simulate", "soil", "wave_names"]

Flags = NDArray[np.bool_]

_TYPICAL_MINUTES = 14.0


@dataclass(frozen=True, slots=True)
class Simulated:
    """Raw deliveries of a world and what is true of it.

    Attributes
    ----------
    raw : dict of str to pd.DataFrame     Delivery by wave: every native column, all text, empty cells "".
    truth : list of records               As in `truth.json`.
    margins : dict of str to dict         Population shares by raking variable and level.
    """

    raw: dict[str, pd.DataFrame]
    truth: list[TruthRow]
    margins: dict[str, dict[str, float]]


def wave_names(first: str, waves: int) -> tuple[str, ...]:
    """Name waves from the first on: quarter by quarter, else with a running number.

    >>> wave_names("2026Q3", 3), wave_names("pilot", 2)
    (('2026Q3', '2026Q4', '2027Q1'), ('pilot', 'pilot.2'))
    """
    year, found, quarter = first.partition("Q")
    if found and year.isdigit() and quarter in {"1", "2", "3", "4"}:
        start = int(year) * 4 + int(quarter) - 1
        return tuple(f"{number // 4}Q{number % 4 + 1}" for number in range(start, start + waves))
    return (first, *(f"{first}.{number}" for number in range(2, waves + 1)))


def population_margins(population: Population, instrument: Instrument) -> dict[str, dict[str, float]]:
    """Return the shares of roles and size bands among existing executives, by item and option id."""
    shares = population.margins()
    names = {"role": (instrument.keys.role, population.layout.roles), "size": ("size_band", population.layout.sizes)}
    return {
        name: dict(zip(levels, shares[key].tolist(), strict=True))
        for key, (name, levels) in names.items()
        if name and name in instrument and len(levels) > 1
    }


def simulate(world: World, instrument: Instrument, *, organisations: int, waves: int, seed: int) -> Simulated:
    """Draw raw deliveries from a world, with every column of the questionnaire, and enumerate what is true.

    Waves are a panel: the same executives, with new residuals, a share of them silent in each later wave. With `refreshment`
    new organisations take the place of a share of the others in each further wave. Answers of
    speeders, straight-liners and the inattentive are noise that the instrument's quality rules catch; they are not in
    the truth. (Sincere answers that happen to be a straight line are caught too: with the shipped instrument fewer than
    one in a thousand, which moves no role's mean by more than 0.003 points.) `organisations` are those invited; one that
    nobody answers for is in no delivery.

    Raises UsageError for a size or number of waves below 1, DesignError for response rates that are no probabilities.
    """
    refuse_sizes(organisations, waves)
    population = Population(world, layout_of(instrument))
    names = wave_names(instrument.wave, waves)
    raw = {
        name: pd.concat(
            deliveries(population, instrument, organisations=organisations, wave=number, name=name, seed=seed),
            ignore_index=True,
        )
        for number, name in enumerate(names, start=1)
    }
    return Simulated(
        raw=raw,
        truth=truth(population, waves=names) if instrument.role_ids else [],
        margins=population_margins(population, instrument),
    )


def refuse_sizes(organisations: int, waves: int) -> None:
    for name, value in (("organisations", organisations), ("waves", waves)):
        if value < 1:
            raise UsageError(
                f"a study needs {name}",
                where=f"--{name} {value}",
                expected="a whole number from 1",
                got=str(value),
                hint=f"--{name} {190 if name == 'organisations' else 1} gives the size of the shipped study",
            )


def deliveries(
    population: Population, instrument: Instrument, *, organisations: int, wave: int, name: str, seed: int
) -> Iterator[pd.DataFrame]:
    """Yield one wave's delivery in blocks of organisations, each a frame of text."""
    for block, size in blocks(organisations):
        parts = []
        for drawn in asked_in(population, organisations=size, seed=seed, block=block, wave=wave):
            interview = Interview(instrument, drawn, wave, name)
            columns = interview.ask_all() | _system_columns(interview)
            order = {column: columns[column] for column in _delivered(instrument) if column in columns}
            keep = np.flatnonzero(drawn.answers_wave(wave))
            twice = keep[drawn.uniform("duplicate", wave)[keep] < population.world.duplicates]
            parts.append(_frame(order, np.concatenate([keep, twice])))
        # An empty part would leave an empty chunk in each column, which pyarrow's writer turns into noise.
        held = [part for part in parts if len(part)] or parts[:1]
        yield held[0] if len(held) == 1 else pd.concat(held, ignore_index=True)


def _delivered(instrument: Instrument) -> list[str]:
    return [column for item in instrument.items for column in item.delivered_columns().values()]


def _frame(columns: dict[str, Cells], rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return the columns as text, empty cells as ''."""
    return pd.DataFrame(
        {
            name: pd.Series(pd.array(np.array([*cells.texts, ""], dtype=object)[cells.index[rows]], dtype="str"))
            for name, cells in columns.items()
        }
    )


def _system_columns(interview: Interview) -> dict[str, Cells]:
    """Return what the survey system writes: pseudonyms, wave, start and end of the interview."""
    instrument, drawn = interview.instrument, interview.drawn
    keys = instrument.keys

    def column(name: str) -> str:
        return instrument.item(name).column or name

    roles = len(drawn.population.layout.roles)
    number = (drawn.first + drawn.org) * roles + drawn.role
    made = {column(keys.respondent): _pseudonyms("r", drawn.seed, number)}
    made[column(keys.wave)] = Cells(np.zeros(drawn.n, dtype=np.int64), (interview.name,))
    if keys.organisation:
        made[column(keys.organisation)] = _pseudonyms("o", drawn.seed, drawn.first + drawn.org)
    if keys.start and keys.end:
        start, end = _times(interview)
        made |= {column(keys.start): start, column(keys.end): end}
    return made


def _pseudonyms(letter: str, seed: int, numbers: NDArray[np.int64]) -> Cells:
    """Return salted pseudonyms of 12 hexadecimal digits, the same in every wave of a study."""
    distinct, index = np.unique(numbers, return_inverse=True)
    salt = f"{seed}{letter}".encode()
    texts = [
        letter + hashlib.blake2b(str(number).encode(), digest_size=6, key=salt).hexdigest()
        for number in distinct.tolist()
    ]
    return Cells(index.reshape(-1), tuple(texts))


def _times(interview: Interview) -> tuple[Cells, Cells]:
    """Draw start and end on working days of the wave's quarter; only speeders are below the rule's minutes."""
    drawn = interview.drawn
    rule = rule_of(interview.instrument, "min_minutes")
    least = float(rule.value or 0.0) if rule else 0.0
    usual = max(_TYPICAL_MINUTES - 1.5 * least, 0.0)
    slow = 1.5 * least + usual * drawn.stream("minutes", interview.wave).gamma(3.0, 1 / 3, drawn.n)
    fast = least * (0.2 + 0.7 * drawn.uniform("speeder", "minutes", interview.wave))
    seconds = np.round(60 * np.where(interview.speeder, fast, slow)).astype("timedelta64[s]")
    year, _, quarter = interview.name.partition("Q")
    named = year.isdigit() and quarter in {"1", "2", "3", "4"}
    opens = np.datetime64(f"{year}-{3 * int(quarter) - 2:02d}-12" if named else "2026-01-12")
    day = np.busday_offset(opens, (45 * drawn.uniform("start", "day", interview.wave)).astype(int), roll="forward")
    minute = np.round(480 * 60 * drawn.uniform("start", "minute", interview.wave)).astype("timedelta64[s]")
    start = day.astype("datetime64[s]") + np.timedelta64(9, "h") + minute
    return _moments(start), _moments(start + seconds)


def _moments(moments: NDArray[np.datetime64]) -> Cells:
    texts = np.datetime_as_string(moments, unit="s").tolist()
    return Cells(np.arange(len(texts)), tuple(texts))


def soil(delivery: pd.DataFrame, instrument: Instrument, *, rows: int, seed: int) -> pd.DataFrame:
    """Add faulty rows to a delivery, and write some answers as people's exports do; no accepted answer changes.

    Each faulty row is a copy of a respondent under a new identifier with one fault that a rule of the contract sets
    aside: a respondent delivered twice, a misspelt role, no role, a stage out of range, no identifier, an unknown
    answer, an exclusive option combined. Four times as many sound rows carry the role's label or a synonym in
    place of its code.

    >>> soil(pd.DataFrame({"resp_id": ["a"]}), None, rows=0, seed=1)["resp_id"].tolist()
    ['a']
    """
    if rows == 0:
        return delivery
    faults = list(_faults(instrument))
    rng = stream(seed, "faults")
    picked = rng.choice(len(delivery), size=min(rows, len(delivery)), replace=False)
    copies = delivery.iloc[picked].reset_index(drop=True)
    respondent = instrument.item(instrument.keys.respondent).column or instrument.keys.respondent
    for number in range(len(copies)):
        cells, fresh = faults[number % len(faults)]
        if fresh:
            copies.loc[number, respondent] = f"x{number:03d}"
        for column, text in cells.items():
            copies.loc[number, column] = text
    relabelled = _relabelled(delivery, instrument, rng, rows)
    whole = pd.concat([relabelled, copies], ignore_index=True)
    return whole.iloc[rng.permutation(len(whole))].reset_index(drop=True)


def _faults(instrument: Instrument) -> Iterator[tuple[dict[str, str], bool]]:
    """Yield the cells of a row that are overwritten, and whether the row is a new respondent."""
    keys = instrument.keys

    def put(name: str, text: str) -> dict[str, str]:
        return {instrument.item(name).column or name: text}

    yield {}, False
    if keys.role:
        label = instrument.item(keys.role).options[0].label
        yield put(keys.role, label[:2] + label[3:]), True
        yield put(keys.role, ""), True
    if keys.stage:
        yield put(keys.stage, str(max(instrument.item(keys.stage).codes) + 4)), True
    yield put(keys.respondent, ""), False
    for measure in instrument.measures("adoption_gradient")[:1]:
        yield put(measure.name, "rather"), True
    for item in instrument.items:
        if item.kind == "multi" and item.exclusive and not item.asked_of and item.asked_if is None:
            pair = [item.exclusive[-1], next(option.id for option in item.options if option.id not in item.exclusive)]
            yield {item.delivered_columns()[f"{item.name}_{option}"]: "1" for option in pair}, True
            return


def _relabelled(delivery: pd.DataFrame, instrument: Instrument, rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Return the delivery with some roles written as label or synonym instead of code."""
    if not instrument.keys.role:
        return delivery
    out = delivery.copy()
    role = instrument.item(instrument.keys.role)
    name = role.column or role.name
    texts = {str(option.code): [option.label, *option.synonyms, option.label.upper()] for option in role.options}
    for row in rng.choice(len(out), size=min(4 * rows, len(out)), replace=False).tolist():
        known = texts.get(str(out.loc[row, name]))
        if known:
            out.loc[row, name] = known[int(rng.integers(len(known)))]
    return out
