"""Every published file of a wave, read for what the gate held back: tables, records, figures' data, pages, notebooks."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd

from fieldwork import schema

KEY = [name for name in schema.ESTIMATE_KEY if name != "wave"]
NUMBERS = ("estimate", "std_error", "conf_low", "conf_high")
TEXTS = {".csv", ".json", ".html", ".txt", ".ipynb", ".md", ".tex", ".typ", ".xml"}
LONG = re.compile(r"(?<![\w.])-?\d+\.\d{5,}")


def held_rows(folder, internal):
    """The rows that the estimates hold back, with the numbers that they would have shown."""
    published = pd.read_parquet(folder / "estimates.parquet")
    held = published[published["status"] == "suppressed"]
    return held[KEY].merge(internal[[*KEY, *NUMBERS]], on=KEY, validate="one_to_one"), published


def long(values):
    """Numbers to five decimals, without those that have no more than four, and those that are a fraction of few: 1/3."""
    values = np.asarray(values, dtype=float)
    few = (
        np.abs(values[..., None] * np.arange(1, 31) - np.round(values[..., None] * np.arange(1, 31))).min(axis=-1)
        < 1e-5
    )
    places = np.round(np.where(few, np.nan, values), 5)
    return set(places[np.isfinite(places) & (np.abs(places - np.round(places, 4)) > 1e-7)].tolist())


def precise(folder, held):
    """Places where a held number stands to five decimals or more; a number that is round by itself tells nothing."""
    values = held[list(NUMBERS)].astype("Float64").to_numpy(dtype=float, na_value=np.nan).ravel()
    wanted = long(values)
    found, read = [], 0
    for path in sorted(folder.rglob("*")):
        if path.suffix in TEXTS:
            seen = long([float(text) for text in LONG.findall(path.read_text(encoding="utf-8"))])
        elif path.suffix == ".parquet":
            table = pd.read_parquet(path).select_dtypes("number").astype("Float64")
            seen = long(table.to_numpy(dtype=float, na_value=np.nan).ravel())
        else:
            continue
        read += 1
        found += [(path.relative_to(folder).as_posix(), value) for value in sorted(seen & wanted)]
    return found, read


def records(value):
    """Every record within a JSON value that says which estimate it is of."""
    if isinstance(value, dict):
        if {"measure", "statistic"} <= set(value):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from records(each)


def attached(folder, held):
    """Records of any JSON file that carry numbers beside the key of a held row; and how many records there were."""
    keys = set(held[KEY].itertuples(index=False, name=None))
    found, read = [], 0
    for path in sorted(folder.rglob("*.json")):
        for record in records(json.loads(path.read_text(encoding="utf-8"))):
            read += 1
            own = tuple(record.get(name) or "" for name in KEY)
            told = [name for name in (*NUMBERS, "p_value", "p_adjusted", "n") if record.get(name) is not None]
            if own in keys and told:
                found.append((path.name, own, told))
    return found, read


def keyed(folder, held):
    """Rows of any table, CSV or Parquet, that carry numbers beside the key of a held row; and how many rows had a key."""
    keys = set(held[KEY].itertuples(index=False, name=None))
    found, read = [], 0
    for path in sorted([*folder.rglob("*.csv"), *folder.rglob("*.parquet")]):
        csv = path.suffix == ".csv"
        table = pd.read_csv(path, dtype=str, keep_default_na=False) if csv else pd.read_parquet(path)
        if not set(KEY) <= set(table.columns):
            continue
        table = table.astype("object").where(table.notna(), "")
        read += len(table)
        numbers = [name for name in (*NUMBERS, "p_value", "p_adjusted", "n") if name in table]
        told = table.loc[(table[numbers] != "").any(axis=1), KEY].itertuples(index=False, name=None)
        found += [(path.relative_to(folder).as_posix(), key) for key in told if key in keys]
    return found, read


def drawn(folder, held, published):
    """Rows of figures' data with a number that can only be that of a held row; and how many were one of a shown row."""
    places = ["role", "role_2", "stage", "segment", "item"]

    def named(table):
        names = {}
        for measure, statistic, *place in table[["measure", "statistic", *places]].itertuples(index=False, name=None):
            names.setdefault((measure, statistic), set()).add(frozenset(filter(None, place)))
        return names

    hidden, shown = named(held), named(published[published["status"].isin(["ok", "flagged"])])
    found, known = [], 0
    for path in sorted((folder / "figures").glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not {"measure", "estimate"} <= set(table.columns):
            continue
        for row in table[table["estimate"] != ""].to_dict("records"):
            of = (row["measure"], row.get("statistic", "role_mean"))
            said = {text for name, text in row.items() if name not in {"measure", "estimate", "wave", "statistic"}}
            most = max((len(each) for each in shown.get(of, ()) if each <= said), default=-1)
            known += most >= 0
            if any(each <= said and len(each) > most for each in hidden.get(of, ())):
                found.append((path.name, of, {name: row[name] for name in row if row[name]}))
    return found, known


class _Rows(HTMLParser):
    """Texts of the cells of every table row of a page."""

    def __init__(self):
        super().__init__()
        self.rows, self.cell = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"} and self.rows:
            self.rows[-1].append([dict(attrs).get("data-key", ""), ""])
            self.cell = True

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in {"td", "th"}

    def handle_data(self, data):
        if self.cell and self.rows and self.rows[-1]:
            self.rows[-1][-1][1] += data


def explored(folder):
    """Rows of the explorer that say that their number is not published: each with the digits that stand in it all the same."""
    parser = _Rows()
    parser.feed((folder / "explorer.html").read_text(encoding="utf-8"))
    rows = [row for row in parser.rows if any(text == "not published" for _, text in row)]
    return [[cell for cell in row[5:8] if any(character.isdigit() for character in "".join(cell))] for row in rows]


def multiverse(folder, held):
    """Rows of the multiverse that show a number of a claim's part which the estimates hold back."""
    keys = set(held[KEY].itertuples(index=False, name=None))
    parts = {
        (claim["id"], part["label"])
        for claim in json.loads((folder / "claims.json").read_text(encoding="utf-8"))
        for part in claim["parts"]
        if tuple(part[name] for name in KEY) in keys
    }
    table = pd.read_parquet(folder / "multiverse.parquet")
    told = table[table[["estimate", "conf_low", "conf_high", "n"]].notna().any(axis=1)]
    return [pair for pair in told[["claim", "part"]].itertuples(index=False, name=None) if pair in parts], len(parts)
