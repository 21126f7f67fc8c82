"""The page: which intervals and tests do not reach their level and why, and the whole table behind it."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = [
    "part", "kind", "name", "organisations", "cell", "studies", "refused", "without",
    "truth", "bias", "covered", "above", "below", "width", "rejects",
]  # fmt: skip
JUDGED = 90  # organisations at which intervals and tests are judged
COVERED = (0.93, 0.97)
ERRORS = 3.0  # Monte Carlo errors above 5% at which a test is said to reject too often
CELLS = ("equal", "equal, weights", "unequal", "unequal, weights")
MARKS = Path(__file__).with_name("marks.toml")

TOP = """\
# Validity of the statistical core

Made by `python -m benchmarks.validity_statistics`: studies drawn from distributions whose truth is known, and what functions of
`fieldwork.statistics` say of them. [validity](validity.md) has the adoption gradient through whole simulated worlds,
[validity_ordinal](validity_ordinal.md) the mixed model. The numbers of every cell are in
[validity_statistics.csv](validity_statistics.csv).

Executives of 40, 90 or 400 organisations: five in each, or one to twelve (`unequal`); weights of 1, or unequal ones with a
coefficient of variation of .4, half of it between organisations (`weights`). A fifth of the variance of an answer lies between
organisations. `covered` is the share of 95% intervals that hold the truth; `above` and `below` are the two ways to miss (the
interval lies above the truth, or below it), `bias` the mean error of the estimates that are finite, `width` the median width,
all of them over the four columns. `rejects` is the share of 5% tests that reject: type-I error where nothing is there, power
where something is.

Monte Carlo: with 500 studies a method that keeps its level shows .931 to .969 (a test .031 to .069) in 19 of 20 cells; with
{precise:,}, as most intervals have at 90 organisations, {low} to {high}. An interval passes with .93 to .97 in every column at
90 organisations, a test if it rejects there by no more than three Monte Carlo errors above .05 (.079 with 500 studies).
"""


def read(folder: Path) -> pd.DataFrame:
    """Read the table beside the page; empty where there is none."""
    path = folder / "validity_statistics.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)


def marks() -> dict[tuple[str, str], dict[str, str]]:
    """Return what is known of intervals and tests that do not reach their level, by part and name."""
    found = {}
    for mark in tomllib.loads(MARKS.read_text(encoding="utf-8")).get("mark", []):
        for name in mark["names"]:
            found[mark["part"], name] = mark
    return found


def off_level(table: pd.DataFrame) -> pd.DataFrame:
    """Rows at 90 organisations whose coverage, to three decimals, is outside .93 to .97, or whose 5% test rejects too often."""
    at = table[table["organisations"] == JUDGED]
    interval = (at["kind"] == "interval") & ~at["covered"].map(_printed).between(*COVERED)
    most = 0.05 + ERRORS * np.sqrt(0.05 * 0.95 / at["studies"].astype(float))
    return at[interval | ((at["kind"] == "test") & (at["rejects"].map(_printed) > most))]


def _printed(share: float) -> float:
    """A share as the page prints it: what readers see decides."""
    return float(f"{share:.3f}")


def page(table: pd.DataFrame) -> str:
    judged = table[(table["organisations"] == JUDGED) & (table["kind"] == "interval")]
    precise = int(judged["studies"].max()) if len(judged) else 2000
    half = 1.96 * math.sqrt(0.95 * 0.05 / precise)
    lines = [TOP.format(precise=precise, low=_share(0.95 - half), high=_share(0.95 + half))]
    off = off_level(table)
    lines += ["## Not reaching it", ""]
    lines += _marked(
        table, off[off["kind"] == "interval"], "covered", "Every interval reaches .93 to .97 at 90 organisations."
    )
    lines += ["## Tests that reject too often", ""]
    lines += _marked(table, off[off["kind"] == "test"], "rejects", "No test does at 90 organisations.")
    for part, rows in table.groupby("part", sort=False):
        module = import_module(f"benchmarks.validity_statistics.parts.{part}")
        lines += [f"## {part}", "", (module.__doc__ or "").strip(), ""]
        intervals = rows[rows["kind"] == "interval"]
        if len(intervals):
            lines += [*_intervals(intervals), ""]
        for kind, title in (("test", "Type-I error"), ("power", "Power")):
            tests = rows[rows["kind"] == kind]
            if len(tests):
                lines += [f"{title}, share of studies in which the test rejects at 5%:", "", *_tests(tests), ""]
        refused = rows[(rows["refused"] > 0) | (rows["without"] > 0.0005)]
        if len(refused):
            lines += [*_refusals(refused), ""]
    return "\n".join(lines).rstrip() + "\n"


def _marked(table: pd.DataFrame, off: pd.DataFrame, column: str, nothing: str) -> list[str]:
    """One line for each reason: what it is true of, with the least and the largest share over the columns."""
    if not len(off):
        return [nothing, ""]
    known = marks()
    at = table[table["organisations"] == JUDGED]
    lines: dict[str, list[str]] = {}
    for part, name in off[["part", "name"]].drop_duplicates().itertuples(index=False):
        shares = at.loc[(at["part"] == part) & (at["name"] == name) & at[column].notna(), column]
        low, high = _share(shares.min()), _share(shares.max())
        mark = known.get((part, name))
        said = f"{mark['reason']} Instead: {mark['instead']}" if mark else "No reason is written down yet."
        lines.setdefault(said, []).append(f"`{name}` ({part}) {low if low == high else f'{low} to {high}'}")
    return [*(f"- {'; '.join(names)}. {said}" for said, names in lines.items()), ""]


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}".removeprefix("0")


def _number(value: float) -> str:
    if np.isnan(value):
        return ""
    return "inf" if np.isinf(value) else f"{value + 0.0 if abs(value) >= 0.0005 else 0.0:.3f}"


def _shares(own: pd.DataFrame, column: str) -> list[str]:
    values = own.set_index("cell")[column]
    return [_share(float(values[cell])) if cell in values.index else "" for cell in CELLS]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(columns: list[str]) -> list[str]:
    return [_row(columns), "|" + "---|" * len(columns)]


def _intervals(rows: pd.DataFrame) -> list[str]:
    lines = _head(
        [
            "interval",
            "truth",
            "organisations",
            *(f"covered: {cell}" for cell in CELLS),
            "bias",
            "above",
            "below",
            "width",
        ]
    )
    for name, organisations, own in _by_name(rows):
        truth = own["truth"].mean()
        lines.append(
            _row(
                [
                    name,
                    _number(truth),
                    str(organisations),
                    *_shares(own, "covered"),
                    _number(own["bias"].mean()),
                    _share(own["above"].mean()),
                    _share(own["below"].mean()),
                    _number(own["width"].mean()),
                ]
            )
        )
    return lines


def _by_name(rows: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Give the rows of each name in turn, from few organisations to many."""
    for name, own in rows.groupby("name", sort=False):
        for organisations, part in own.groupby("organisations"):
            yield str(name), int(organisations), part


def _tests(rows: pd.DataFrame) -> list[str]:
    lines = _head(["test", "organisations", *(f"rejects: {cell}" for cell in CELLS)])
    for name, organisations, own in _by_name(rows):
        lines.append(_row([name, str(organisations), *_shares(own, "rejects")]))
    return lines


def _refusals(rows: pd.DataFrame) -> list[str]:
    """Where a function refused, or gave no interval: the share of studies, largest over the columns."""
    lines = ["Studies without an answer (refused) and intervals without ends, largest share over the columns:", ""]
    lines += _head(["of", "organisations", "refused", "without ends"])
    for name, organisations, own in _by_name(rows):
        lines.append(_row([name, str(organisations), _share(own["refused"].max()), _share(own["without"].max())]))
    return lines
