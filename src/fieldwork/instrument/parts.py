"""The small parts of an instrument: an answer option, a scale, a missing code, a route, a quality rule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Family", "Keys", "MissingCode", "Name", "Option", "Part", "QualityRule", "Route", "Scale"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


class Part(BaseModel):
    """Base of every part: frozen, strict in type, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=True)


class Option(Part):
    """One answer that can be chosen: a role, a stage, a point of a scale, an entry of a list.

    Attributes
    ----------
    code : int                   Number under which it is delivered.
    id : str                     Short stable name; part of column names, so letters, digits and `_` only.
    label : str                  What the respondent read.
    synonyms : tuple of str      Other texts under which it is delivered.
    status : str                 A remark for the dictionary, e.g. `placeholder`.
    column : str                 Delivered column of a multi-select option where it is not `<item>_<id>`.
    first_wave, last_wave : str  Waves between which it was offered; empty: always.
    split_from : str             Role of which it was part in waves that do not offer it, as before its first wave.
    merged_into : str            Role of which it is part in waves that do not offer it, as after its last wave.
    """

    code: int
    id: Name
    label: str = Field(min_length=1)
    synonyms: tuple[str, ...] = ()
    status: str = ""
    column: str = ""
    first_wave: str = ""
    last_wave: str = ""
    split_from: str = ""
    merged_into: str = ""


class Scale(Part):
    """An ordered list of labelled points.

    >>> Scale(name="agree", points=(Option(code=1, id="1", label="No"), Option(code=5, id="5", label="Yes"))).high
    5
    """

    name: Name
    points: tuple[Option, ...] = Field(min_length=2)

    @property
    def low(self) -> int:
        """Lowest code."""
        return min(point.code for point in self.points)

    @property
    def high(self) -> int:
        """Highest code."""
        return max(point.code for point in self.points)


class MissingCode(Part):
    """A reason for which an answer is missing, told apart from every other reason.

    Attributes
    ----------
    code : int or None           Number under which it is delivered; for `number` items the same number with a minus.
                                 None: it is never delivered as a code (blank).
    id : str                     The reason as it stands in `01_clean.missing.parquet`.
    """

    code: int | None = None
    id: Name
    label: str = Field(min_length=1)
    synonyms: tuple[str, ...] = ()


class Route(Part):
    """The condition under which an item is put: the answer to `item` is one of `within` (key `in` in the file).

    `within` names options by id, or gives codes.
    """

    item: Name
    within: tuple[str | int, ...] = Field(alias="in", min_length=1)


class QualityRule(Part):
    """A rule on a whole interview, declared before data are read.

    Attributes
    ----------
    kind : str       `min_minutes`: shorter than `value` minutes from keys.start to keys.end.
                     `straight_line`: at least `min_items` of `items` answered, and all of them alike.
                     `attention`: `item` not answered with `expected` (an option id or code).
                     `duplicate_answers`: all answers to `items` (empty: to every item that is no key) equal those
                     of another respondent.
    action : str     `exclude` sets the row aside under `name`; `flag` keeps and counts it.
    """

    name: Name
    kind: Literal["min_minutes", "straight_line", "attention", "duplicate_answers"]
    action: Literal["exclude", "flag"]
    label: str = ""
    value: float | None = None
    items: tuple[str, ...] = ()
    min_items: int = Field(default=0, ge=0)
    item: str = ""
    expected: str | int = ""


class Keys(Part):
    """Names of the items that identify and place a row; an empty name says that the survey has none.

    `adjust_for` names what the organisation is (size, sector): what role and stage are adjusted for beside each other.
    """

    respondent: Name = "resp_id"
    wave: Name = "wave"
    organisation: str = ""
    role: str = ""
    stage: str = ""
    stage_organisation: str = ""
    weight: str = ""
    start: str = ""
    end: str = ""
    adjust_for: tuple[str, ...] = ()


class Family(Part):
    """Items generated from one entry by `repeat`: the same question put of several roles, points or things."""

    name: Name
    label: str
    wording: str = ""
    members: tuple[str, ...]
