"""The analytic choices that a study declares, and the specifications that they make."""

from __future__ import annotations

import itertools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fieldwork.errors import StudyError, listed, nearest

__all__ = ["CHOICES", "PARTS", "Declaration", "Specification", "declared"]

# Every choice with its options; the first is that of the main analysis.
CHOICES: dict[str, tuple[str, ...]] = {
    "weights": ("raked", "none"),
    "lens": ("cell_table", "mixed_model"),
    "exclusions": ("set_aside", "kept"),
    "stage": ("own_function", "organisation"),
    "missing": ("available", "complete", "imputed"),
}
PARTS = ("set_aside", "kept", "imputed")
"""Parts of the specifications, by what their samples are made of; `chapters.toml` runs `08c_designs` once for each."""
LEAST_REPLICATES = 399  # the fewest with which a claim can pass Holm's adjustment in a family of ten
FILE = "multiverse.toml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Choices(_Strict):
    weights: tuple[Literal["raked", "none"], ...] = CHOICES["weights"]  # type: ignore[assignment]
    lens: tuple[Literal["cell_table", "mixed_model"], ...] = CHOICES["lens"]  # type: ignore[assignment]
    exclusions: tuple[Literal["set_aside", "kept"], ...] = CHOICES["exclusions"]  # type: ignore[assignment]
    stage: tuple[Literal["own_function", "organisation"], ...] = CHOICES["stage"]  # type: ignore[assignment]
    missing: tuple[Literal["available", "complete", "imputed"], ...] = CHOICES["missing"]  # type: ignore[assignment]
    margin: Literal["registered", "range"] = "range"


class Declaration(_Strict):
    """What is varied, declared before the data are read.

    Attributes
    ----------
    replicates : int          Replicates of each specification; fewer than the study's keep the cost down.
    imputations : int         Completed samples of multiple imputation, among which the replicates are divided.
    structural : tuple        Reasons of a missing answer that no imputation fills: there is nothing to know.
    crossing : str            `single`: one choice departs from the main analysis at a time; `pairs`: up to two; `all`: every
                              combination.
    choices                   Options of each choice; the first of each is the main analysis.
    """

    replicates: int = Field(default=400, ge=LEAST_REPLICATES, le=10_000)
    imputations: int = Field(default=5, ge=2, le=20)
    structural: tuple[str, ...] = ("not_applicable",)
    crossing: Literal["single", "pairs", "all"] = "single"
    choices: _Choices = _Choices()

    @property
    def ranges_margins(self) -> bool:
        """Whether each claim is also judged at the other margins of its range."""
        return self.choices.margin == "range"

    def specifications(self, part: str = "") -> tuple[Specification, ...]:
        """Return the combinations of the options, the main analysis first, in one order; of a part alone, where one is named.

        >>> [len(Declaration(crossing=crossing).specifications()) for crossing in ("single", "pairs", "all")]
        [7, 21, 48]
        """
        options = [getattr(self.choices, name) for name in CHOICES]
        depart = {"single": 1, "pairs": 2, "all": len(CHOICES)}[self.crossing]
        every = (Specification(*combination) for combination in itertools.product(*options))
        return tuple(each for each in every if each.departures <= depart and part in {"", each.part})


@dataclass(frozen=True, slots=True, order=True)
class Specification:
    """One option of each choice.

    Attributes
    ----------
    weights : str       `raked` to the margins, or `none`: every respondent counts one.
    lens : str          `cell_table` of weighted answers, or `mixed_model`: cumulative link model, organisations random.
    exclusions : str    `set_aside`: rows that a rule of quality excludes are out; `kept`: they are in.
    stage : str         `own_function`: the stage of the executive's own function; `organisation`: of the organisation.
    missing : str       `available` cases per measure, `complete` cases over a claim's measures, or `imputed`.
    """

    weights: str
    lens: str
    exclusions: str
    stage: str
    missing: str

    @property
    def name(self) -> str:
        """Its options in one word, for tables; `named` reads it.

        >>> Specification.named("raked/cell_table/kept/own_function/available").exclusions
        'kept'
        """
        return "/".join(self.as_dict().values())

    @classmethod
    def named(cls, name: str) -> Specification:
        """Return the specification of a name."""
        return cls(*name.split("/"))

    @property
    def part(self) -> str:
        """The part of the specifications that it belongs to: `imputed`, or else what becomes of rows that rules exclude.

        >>> Specification.named("none/cell_table/kept/own_function/complete").part
        'kept'
        """
        return "imputed" if self.missing == "imputed" else self.exclusions

    def as_dict(self) -> dict[str, str]:
        """Return the options by the name of their choice."""
        return {name: getattr(self, name) for name in CHOICES}

    def only(self, applies: frozenset[str]) -> Specification:
        """Return the specification with the main option of every choice that does not apply."""
        return Specification(*(getattr(self, name) if name in applies else CHOICES[name][0] for name in CHOICES))

    @property
    def departures(self) -> int:
        """Number of choices that depart from the main analysis."""
        return sum(getattr(self, name) != options[0] for name, options in CHOICES.items())


def declared(path: Path | None) -> Declaration:
    """Read the study's multiverse.toml; without one the set that stands here holds, and pages say so.

    Raises StudyError for an unknown choice or option, a missing main option, or fewer than 399 replicates.
    """
    if path is None or not path.is_file():
        return Declaration()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        found = Declaration.model_validate(_tupled(data))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(
            "the declaration of analytic choices is not valid TOML",
            where=path.name,
            got=str(error),
            hint="mend the line it names",
        ) from error
    except ValidationError as error:
        raise _explained(error, path) from error
    for name, options in CHOICES.items():
        given = getattr(found.choices, name)
        if not given or given[0] != options[0] or len(set(given)) < len(given):
            raise StudyError(
                f"the choice '{name}' does not start with the main analysis",
                where=f"{path.name}, [choices]",
                expected=f"{listed(options)}, each at most once, '{options[0]}' first",
                got=listed(given) or "nothing",
                hint="a choice that is not varied is written with its first option alone",
            )
    return found


def _tupled(value: Any) -> Any:  # noqa: ANN401 - what TOML holds
    if isinstance(value, dict):
        return {key: _tupled(entry) for key, entry in value.items()}
    return tuple(_tupled(entry) for entry in value) if isinstance(value, list) else value


def _explained(error: ValidationError, path: Path) -> StudyError:
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"])
    known = [*Declaration.model_fields, *CHOICES, "margin"]
    near = nearest(str(first["loc"][-1]), known) if first["type"] == "extra_forbidden" else ""
    return StudyError(
        f"the declaration of analytic choices has a fault: {first['msg'].lower()}",
        where=f"{path.name}, {place}",
        expected=near or str(first.get("ctx", {}).get("expected", "")),
        got=repr(first.get("input"))[:80],
        hint=f"did you mean {near}?" if near else "correct the field",
    )
