"""The small parts of an instrument: an answer option, a scale, a missing code, a route, a quality rule."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fieldwork.instrument.answers import fold, whole

__all__ = [
    "DeliveryForm",
    "Family",
    "Keys",
    "LongForm",
    "MissingCode",
    "Name",
    "Option",
    "Part",
    "Personal",
    "QualityRule",
    "Route",
    "Scale",
]

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
    """Items generated from one entry by `repeat`: the same question put of several roles, points or things.

    `members` are the items, `options` what each was generated for, in the same order.
    """

    name: Name
    label: str
    wording: str = ""
    members: tuple[str, ...]
    options: tuple[Option, ...] = ()

    @model_validator(mode="after")
    def _texts_name_one_member(self) -> Family:
        """Build the table of texts, which refuses two members under one."""
        self.member("")
        return self

    def member(self, text: str) -> str | None:
        """Return the item generated for the option of that code (`1` or `1.0`), id, label or synonym; None: no such option.

        >>> option = Option(code=1, id="red_hat", label="Red Hat")
        >>> family = Family(name="rating", label="Rating", members=("rating_red_hat",), options=(option,))
        >>> family.member(" red hat "), family.member("Oracle")
        ('rating_red_hat', None)
        """
        folded = fold(text)
        number = whole(folded)
        return self._lookup.get(folded) or (self._lookup.get(str(number)) if number is not None else None)

    @cached_property
    def _lookup(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for item, option in zip(self.members, self.options, strict=False):
            for known in (str(option.code), option.id, option.label, *option.synonyms):
                if found.setdefault(fold(known), item) != item:
                    raise ValueError(f"'{known}' names two members of {self.name}")
        return found


class LongForm(Part):
    """A delivered file that holds one answer a row: respondent, which of a family's items, and the answer.

    Its answers are joined to the respondents of the other files before anything else is read of them.

    Attributes
    ----------
    file : str              Name of the file inside the folder of deliveries.
    family : str            Family whose items the rows answer.
    respondent, member, answer : str    Columns: who answers, what of (code, id, label or synonym), the answer.
    missing : dict          Id of a missing code -> 0/1 column that says so of a row without an answer.
    repeats : dict          Item -> column that gives the respondent's answer to it once more; held against it.
    first_wave, last_wave : str         Waves that the file is for; empty: all.
    """

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]*\.(csv|tsv|xlsx|parquet|sav|zsav)$")
    family: Name
    respondent: str = Field(min_length=1)
    member: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    missing: dict[str, str] = Field(default_factory=dict)
    repeats: dict[str, str] = Field(default_factory=dict)
    first_wave: str = ""
    last_wave: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file that are read."""
        return (self.respondent, self.member, self.answer, *self.missing.values(), *self.repeats.values())


class DeliveryForm(Part):
    """How a tool writes its exports: what has to be said of a file before its cells are answers to the instrument.

    Attributes
    ----------
    file : str                Name of the files, `*` and `?` as in a shell; the first form that fits a file is its form.
    encoding : str            Of text that is neither UTF-8 nor marked: `cp1252`, `mac-roman`, `utf-16-le`, `utf-16-be`.
    separator : str           Between the cells of a text file; empty: a comma, in `.tsv` a tab.
    decimal : str             Decimal sign of numbers, `.` or `,`; with `,` a point between three digits groups them.
    dates : str               Form of dates where it is not ISO, as `%d/%m/%Y %H:%M`.
    sheet : str               Sheet of a workbook that has several.
    headers : str             `qualtrics` (names, questions, import ids) or `surveymonkey` (questions, options); empty: one
                              line of names, unless the lines say themselves that they are Qualtrics' or SurveyMonkey's.
    values_as : str           Of a file that gives labels to codes (SPSS): `labels`, the words that were answered, or `codes`,
                              where the codes are the instrument's own.
    list_separator : str      Between the answers in one cell; an answer may itself hold it.
    blank_is_unticked : bool  A blank beside a tick of a multi-select item is an option that was not chosen.
    columns : dict            Delivered header -> column of the instrument; several headers may feed one column.
    constants : dict          Column of the instrument -> what holds for every row where the file lacks the column.
    corrects : bool           Its respondents replace the same respondents of earlier files; both stay in the log.
    first_wave, last_wave     Waves that the form is for; empty: all.
    """

    file: str = Field(default="*", min_length=1)
    encoding: Literal["", "cp1252", "mac-roman", "utf-16-le", "utf-16-be"] = ""
    separator: Literal["", ",", ";", "\t", "|"] = ""
    decimal: Literal[".", ","] = "."
    dates: str = ""
    sheet: str = ""
    headers: Literal["", "qualtrics", "surveymonkey"] = ""
    values_as: Literal["labels", "codes"] = "labels"
    list_separator: Literal[";", ",", "|"] = ";"
    blank_is_unticked: bool = False
    columns: dict[str, str] = Field(default_factory=dict)
    constants: dict[str, str] = Field(default_factory=dict)
    corrects: bool = False
    first_wave: str = ""
    last_wave: str = ""


class Personal(Part):
    """Columns of exports that say who somebody is.

    Attributes
    ----------
    columns : tuple of str    Delivered columns that are dropped when a file is read, and written nowhere.
    cleared : tuple of str    Columns that look personal, were looked at and are not.
    """

    columns: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
