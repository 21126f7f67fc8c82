"""The only door to publication: minimum bases, shares of one or two people, publication precision.

First form: cells are held back by their own size. Complementary suppression, dominance and differencing between releases
are not in it yet; ARCHITECTURE.md says so. Own code: the gate is one of the things that the project exists for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork import schema
from fieldwork.errors import StudyError, listed

__all__ = ["Policy", "publish"]

NUMBERS = ("estimate", "std_error", "conf_low", "conf_high", "p_value", "p_adjusted")
BASES = ("n", "n_organisations", "n_effective")
SMALL_BASE = 30


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds of the gate. A study may tighten them, never loosen.

    Attributes
    ----------
    minimum_respondents : int      Respondents that a published cell must have (ONS and UK LLC: 10).
    minimum_organisations : int    Organisations that it must have (respondents cluster in organisations: 5).
    minimum_of_share : int         People on either side of a share (3% of 34 is one person: 3).
    """

    minimum_respondents: int = 10
    minimum_organisations: int = 5
    minimum_of_share: int = 3

    @classmethod
    def from_study(cls, thresholds: Mapping[str, object]) -> Policy:
        """Read the thresholds of study.toml; StudyError on an unknown one or one that loosens the gate.

        >>> Policy.from_study({"minimum_respondents": 15}).minimum_respondents
        15
        """
        floor = cls()
        known = {name: getattr(floor, name) for name in cls.__dataclass_fields__}
        for name, value in thresholds.items():
            if name not in known:
                raise StudyError(
                    f"[disclosure] has no threshold '{name}'",
                    where="study.toml, [disclosure]",
                    expected=listed(known),
                    got=name,
                    hint="remove the line or correct the name",
                )
            if not isinstance(value, int) or isinstance(value, bool) or value < known[name]:
                raise StudyError(
                    f"the gate may be tightened, not loosened: {name}",
                    where="study.toml, [disclosure]",
                    expected=f"a whole number of at least {known[name]}",
                    got=repr(value),
                    hint=f"set {name} = {known[name]} or higher",
                )
        return cls(**{name: int(str(value)) for name, value in thresholds.items()})


def publish(estimates: pd.DataFrame, policy: Policy, bases: pd.DataFrame | None = None) -> pd.DataFrame:
    """Pass internal estimates through the gate and round them to publication precision.

    A row is `suppressed`, with every number and base emptied, when it rests on fewer respondents or organisations than the
    policy's minimum, in the thinnest group behind it; is a share with fewer than three people on one side; or says of a
    group of fewer than 30 that all answered alike. `bases` (columns of `schema.BASES`) tells the gate what the row does
    not: thinnest group, people behind a share, answers alike; without it the row's own base is taken. A row on fewer than
    30 respondents is `flagged`. Rows that are `not_assessable` keep their reason; their bases are emptied below the minimum.

    Precision: bases to the nearest 5; estimates and intervals to 2 decimals (shares: whole per cent); standard errors to 3;
    p-values to 4. A survey that names no organisations has no organisation rule: `n_organisations` is empty there.

    Returns a new frame with the columns of `schema.ESTIMATES`, sorted by its key.

    >>> rows = [{"statistic": "role_mean", "unit": "scale_point", "estimate": 3.456, "n": 42, "status": "ok"},
    ...         {"statistic": "role_mean", "unit": "scale_point", "estimate": 4.0, "n": 9, "status": "ok"}]
    >>> publish(schema.frame(rows, schema.ESTIMATES), Policy())[["estimate", "n", "status"]].values.tolist()
    [[3.46, 40, 'ok'], [<NA>, <NA>, 'suppressed']]
    """
    out = schema.conform(estimates, schema.ESTIMATES, where="disclosure.publish")
    behind = _behind(out, bases)
    n, organisations = behind["n"], behind["organisations"]
    assessed = out["status"].isin(["ok", "flagged"]).to_numpy()
    few = (n < policy.minimum_respondents) | (organisations < policy.minimum_organisations)
    share = (out["unit"] == "proportion").to_numpy() & out["estimate"].notna().to_numpy()
    lonely = share & ((behind["hits"] < policy.minimum_of_share) | (behind["misses"] < policy.minimum_of_share))
    alike = behind["alike"].astype(bool) & (n < SMALL_BASE)
    out.loc[assessed & alike & ~few, "reason"] = (
        f"held back: fewer than {SMALL_BASE} respondents, who all answered alike"
    )
    held = assessed & (few | lonely | alike)
    out.loc[assessed & few, "reason"] = (
        f"held back: fewer than {policy.minimum_respondents} respondents or {policy.minimum_organisations} organisations"
    )
    out.loc[assessed & lonely & ~few, "reason"] = (
        f"held back: fewer than {policy.minimum_of_share} people gave, or did not give, this answer"
    )
    out.loc[held, "status"] = "suppressed"
    out.loc[held, ["conf_level", *NUMBERS, *BASES]] = pd.NA
    out.loc[held, "adjustment"] = ""
    out.loc[~assessed & few, list(BASES)] = pd.NA
    own = out["n"].astype("Float64").fillna(0).to_numpy(dtype=np.float64)
    small = assessed & ~held & (own < SMALL_BASE) & (out["status"] == "ok").to_numpy()
    out.loc[small, "status"] = "flagged"
    note = f"small base: fewer than {SMALL_BASE} respondents"
    out.loc[small, "reason"] = [f"{reason}; {note}" if reason else note for reason in out.loc[small, "reason"]]
    return _rounded(out).sort_values(list(schema.ESTIMATE_KEY), kind="stable").reset_index(drop=True)


def _behind(out: pd.DataFrame, bases: pd.DataFrame | None) -> dict[str, npt.NDArray[np.float64]]:
    """Respondents, organisations, people on either side of a share, and answers alike, for each row."""

    def numbers(column: pd.Series, missing: float) -> npt.NDArray[np.float64]:
        return np.asarray(column.astype("Float64").fillna(missing), dtype=np.float64)

    n, organisations = numbers(out["n"], 0.0), numbers(out["n_organisations"], np.inf)
    hits = np.round(numbers(out["estimate"], 0.0) * n)
    alike = np.zeros(len(out))
    if bases is not None:
        key = [name for name in schema.ESTIMATE_KEY if name != "wave"]
        joined = out[key].merge(schema.conform(bases, schema.BASES), on=key, how="left", validate="one_to_one")
        n = np.minimum(n, numbers(joined["smallest_n"], np.inf))
        organisations = np.minimum(organisations, numbers(joined["smallest_organisations"], np.inf))
        told = joined["hits"].notna().to_numpy()
        hits = np.where(told, numbers(joined["hits"], 0.0), hits)
        alike = joined["alike"].fillna(value=False).to_numpy(dtype=np.float64)
    misses = numbers(out["n"], 0.0) - hits
    return {"n": n, "organisations": organisations, "hits": hits, "misses": misses, "alike": alike}


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    decimals = {"estimate": 2, "conf_low": 2, "conf_high": 2, "std_error": 3, "p_value": 4, "p_adjusted": 4}
    for name, places in decimals.items():
        values = table[name].to_numpy(dtype=np.float64, na_value=np.nan)
        # Adding zero turns -0.0 into 0.0, which would print as "-0".
        table[name] = pd.array(np.round(values, places) + 0.0, dtype="Float64")
        table[name] = table[name].mask(np.isnan(values))
    for name in BASES:
        values = table[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        rounded = pd.array(np.floor(values / 5 + 0.5) * 5, dtype="Float64")
        table[name] = pd.Series(rounded, index=table.index).mask(np.isnan(values))
        if name != "n_effective":
            table[name] = table[name].astype("Int64")
    return table
