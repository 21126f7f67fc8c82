"""The register as data: claims, their parts, families of tests and outside facts, read from TOML and checked."""

from __future__ import annotations

import datetime as dt
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fieldwork.constructs.ledger import Wanted
from fieldwork.errors import ClaimError, listed, nearest

__all__ = ["KEY", "SECONDARY", "Claim", "External", "Family", "Part", "Register", "plain"]

KEY = ("construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item")
PRIMARY, SECONDARY = "primary", "secondary"
# Observed ranges are biased upward, more so for ten roles than for five stages; a naive gap mixes role and stage.
NEVER_JUDGED = {
    "range_raw": "range_shrunken, range_difference or gradient_ratio_log, which are corrected for sampling noise",
    "stage_range_raw": "stage_range_shrunken, range_difference or gradient_ratio_log, which are corrected for sampling noise",
    "naive_gap": "role_part and stage_part, into which the gap splits exactly",
}
SPLIT = ("role_part", "stage_part")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Part(_Strict):
    """One estimand of a claim: a key of the estimates table, and its smallest effect of interest."""

    label: str
    construct_: str = Field(alias="construct")
    measure: str
    statistic: str
    role: str = ""
    role_2: str = ""
    stage: str = ""
    stage_2: str = ""
    segment: str = ""
    item: str = ""
    margin: float = 0.0
    unit: str = "scale_point"
    direction: Literal["above", "below"] = "above"
    judged: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        """Key of its row in the estimates table; a contrast of two stages stands there as the segment `a v b`."""
        between = f"{self.stage} v {self.stage_2}" if self.stage_2 else ""
        stage = "" if between else self.stage
        place = (self.construct_, self.measure, self.statistic, self.role, self.role_2, stage)
        return (*place, between or self.segment, self.item)

    @property
    def nil(self) -> float | None:
        """The value that says "nothing", where the estimand has one: 0 of a difference, 1 of a ratio.

        A share, an index or a rank is judged against a threshold and has none, unless it is a difference of two.
        """
        if self.unit in {"scale_point", "log_ratio"} or self.statistic.endswith("_difference"):
            return 0.0
        return 1.0 if self.unit == "ratio" else None

    @property
    def contrast(self) -> tuple[str, ...]:
        """Which two cells it sets against each other, on which measure."""
        return (self.construct_, self.measure, self.role, self.role_2, self.stage, self.stage_2, self.segment)


class Needs(_Strict):
    """What the design must offer."""

    waves: int = 1
    informants: int = 1


class Family(_Strict):
    """Claims that are adjusted for one another, declared before the data.

    Attributes
    ----------
    members : tuple of str    Claims of the family.
    method : str              `holm` (family-wise error) or `benjamini_hochberg` (false discovery rate).
    """

    members: tuple[str, ...]
    method: Literal["holm", "benjamini_hochberg"] = "holm"


class Claim(_Strict):
    """A hypothesis of the essays. It is printed as a hypothesis, with its verdict, and never as a finding."""

    id: str
    text: str
    source: str
    status: Literal["hypothesis"] = "hypothesis"
    family: str = SECONDARY
    planned: bool = True
    estimand: str = ""
    items: tuple[str, ...] = ()
    margin: float | None = None
    unit: str = ""
    direction: Literal["above", "below"] = "above"
    rule: Literal["intersection", "single", "bound", "none"] = "none"
    margins: tuple[float, ...] = ()
    margins_apply_to: str = ""
    needs: Needs = Needs()
    awaits: str = ""
    reading: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def judged(self) -> tuple[Part, ...]:
        """The parts that decide; the others are shown beside them. Nothing decides a claim that is only described."""
        return () if self.rule == "none" else tuple(part for part in self.parts if part.judged)


class External(_Strict):
    """A fact from outside the fieldwork; printed with its mark, never as a finding of ours."""

    id: str
    statement: str
    source: str
    status: Literal["confirmed", "mismatch", "unverified", "unsourced"]
    checked: dt.date
    n: int | None = None
    year: int | None = None
    note: str = ""


class _Head(_Strict):
    version: str
    family_primary: tuple[str, ...] = ()
    families: dict[str, Family] = Field(default_factory=dict)
    alpha: float = 0.05
    title: str = ""


class _File(_Strict):
    register_: _Head = Field(alias="register")
    claim: tuple[Claim, ...]
    external: tuple[External, ...] = ()


@dataclass(frozen=True, slots=True)
class Register:
    """The register of a study.

    Attributes
    ----------
    version : str                       As the file states it.
    digest : str                        SHA-256 of the file.
    alpha : float                       Two-sided level; a claim is tested at half of it on its own side, a bound at all of it.
    families : dict of Family           Families by name; `primary` always stands among them.
    claims : tuple of Claim
    external : tuple of External
    content : dict                      What was declared, as plain values: `head`, and `claims` and `external` by id.
    """

    version: str
    digest: str
    alpha: float
    families: Mapping[str, Family]
    claims: tuple[Claim, ...]
    external: tuple[External, ...]
    content: Mapping[str, Any]

    @property
    def family(self) -> tuple[str, ...]:
        """Claims of the primary family, declared before the data."""
        return self.families[PRIMARY].members

    def family_of(self, claim: str) -> Family | None:
        """Return the family that a claim is adjusted in; None where it stands alone."""
        return next((family for family in self.families.values() if claim in family.members), None)

    @classmethod
    def load(cls, path: Path | None) -> Register:
        """Read and check claims.toml; ClaimError names the entry and the field, or says that there is none."""
        if path is None:
            raise ClaimError(
                "the study has no register of claims",
                where="instruments/claims.toml",
                expected='a register, if only [register] version = "1" and one [[claim]] that awaits its chapter',
                got="no such file",
                hint="copy the head of the shipped instruments/claims.toml and write the claims before the data are read",
            )
        try:
            raw = path.read_bytes()
            data = _tupled(tomllib.loads(raw.decode("utf-8")))
            file = _File.model_validate(data)
        except FileNotFoundError as error:
            raise ClaimError(
                "the study has no register of claims", where=str(path.name), expected="claims.toml", got="no such file",
                hint="write one; the shipped instruments/claims.toml shows the form",
            ) from error  # fmt: skip
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ClaimError(
                "the register is not valid TOML", where=path.name, got=str(error), hint="mend the line it names"
            ) from error
        except ValidationError as error:
            raise _explained(error, path, data) from error
        head = file.register_
        families = {PRIMARY: Family(members=head.family_primary), **head.families}
        content = {
            "head": plain(head),
            "claims": {claim.id: plain(claim) for claim in file.claim},
            "external": {fact.id: plain(fact) for fact in file.external},
        }
        digest = hashlib.sha256(raw).hexdigest()
        register = cls(head.version, digest, head.alpha, families, file.claim, file.external, content)
        _check(register, path.name)
        return register

    def contrasts(self, construct: str) -> tuple[tuple[str, str, str, str], ...]:
        """Pairs of cells (role, stage, role_2, stage_2) that the claims of a construct want split, each once."""
        found = {
            (p.role, p.stage, p.role_2, p.stage_2): None
            for claim in self.claims
            for p in claim.parts
            if p.construct_ == construct and p.role_2 and p.stage_2
        }
        return tuple(found)

    def only(self, *claims: str) -> Register:
        """Return the register with some claims alone; families keep their declared members, and so their size."""
        return replace(self, claims=tuple(claim for claim in self.claims if claim.id in claims))

    def wanted(self, construct: str) -> tuple[Wanted, ...]:
        """Rows of the estimates table that the claims of a construct read, each once."""
        found = {
            Wanted(**dict(zip(KEY[1:], part.key[1:], strict=True)), unit=part.unit): None
            for claim in self.claims
            for part in claim.parts
            if part.construct_ == construct
        }
        return tuple(found)


def plain(value: Any) -> Any:  # noqa: ANN401 - any value that a register may hold
    """Return models, tuples and dates as dicts by field name, lists and texts, which JSON has too."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(by_alias=True))
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value.isoformat() if isinstance(value, dt.date) else value


def _check(register: Register, where: str) -> None:
    ids = [claim.id for claim in register.claims]
    for what, names in (("claim", ids), ("outside fact", [fact.id for fact in register.external])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ClaimError(
                f"a {what} is registered twice", where=where, got=listed(twice), hint="give each its own id"
            )
    _check_families(register, ids, where)
    for claim in register.claims:
        place = f"{where}, claim {claim.id}"
        if not claim.awaits and not claim.parts:
            raise ClaimError(
                "a claim has nothing to be judged by", where=place,
                expected='[[claim.parts]], or awaits = "..." saying what is not built yet', got="neither",
                hint="name the estimand as a key of the estimates table",
            )  # fmt: skip
        if not claim.awaits and claim.rule != "none" and not claim.judged:
            raise ClaimError(
                "a claim has parts, and none of them decides", where=place,
                expected='a part without judged = false, or rule = "none" for a claim that is only described',
                got=f'rule = "{claim.rule}"', hint="say which part decides",
            )  # fmt: skip
        _check_parts(claim, place)


def _check_families(register: Register, ids: list[str], where: str) -> None:
    for name, family in register.families.items():
        unknown = [member for member in family.members if member not in ids]
        if unknown:
            raise ClaimError(
                f"the {name} family names a claim that is not registered", where=f"{where}, [register]",
                expected=listed(ids, limit=40), got=listed(unknown),
                hint=f"did you mean {nearest(unknown[0], ids) or ids[0]}?",
            )  # fmt: skip
    for claim in register.claims:
        member = [name for name, family in register.families.items() if claim.id in family.members]
        if member != [name for name in [claim.family] if name != SECONDARY]:
            raise ClaimError(
                f"a claim and the {claim.family if claim.family != SECONDARY else member[0]} family disagree",
                where=f"{where}, claim {claim.id}",
                expected=f'family = "{member[0] if member else SECONDARY}", or the claim among its members under [register]',
                got=f'family = "{claim.family}"',
                hint="correct the one or the other; a claim belongs to one family, and secondary is none",
            )  # fmt: skip


def _check_parts(claim: Claim, where: str) -> None:
    """Hold by code what no claim may be judged by, and what is never shown alone."""
    labels = [part.label for part in claim.parts]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ClaimError(
            "two parts of a claim carry one label", where=where, got=listed(twice),
            hint="give each part its own label: amendments are told by it",
        )  # fmt: skip
    for part in claim.parts:
        if part.judged and part.statistic in NEVER_JUDGED:
            raise ClaimError(
                f"no claim is judged by {part.statistic}", where=f"{where}, part {part.label}",
                expected=NEVER_JUDGED[part.statistic], got=f'statistic = "{part.statistic}", judged',
                hint="write judged = false to show it, and judge by one of the others",
            )  # fmt: skip
    shown = {(part.statistic, part.contrast) for part in claim.parts}
    for part in claim.parts:
        if part.statistic == "naive_gap" or (part.statistic in SPLIT and part.stage_2):
            lacking = [name for name in SPLIT if (name, part.contrast) not in shown]
            if lacking:
                raise ClaimError(
                    "a gap between two roles at two stages is never shown without its split",
                    where=f"{where}, part {part.label}", expected="role_part and stage_part of the same two cells",
                    got=f"no {listed(lacking)}", hint="add the part with judged = false, so that it is shown",
                )  # fmt: skip


def _tupled(value: Any) -> Any:  # noqa: ANN401
    """Strict tuples are wanted where TOML has lists."""
    if isinstance(value, dict):
        return {key: _tupled(item) for key, item in value.items()}
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value


def _explained(error: ValidationError, path: Path, data: Mapping[str, Any]) -> ClaimError:
    found = error.errors()
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    place = list(first["loc"])
    entry = ""
    if len(place) > 1 and place[0] in {"claim", "external"} and isinstance(place[1], int):
        entry = str(data[str(place[0])][place[1]].get("id", f"number {place[1] + 1}"))
    field = ".".join(str(step) for step in place[2 if entry else 0 :])
    known = list(Claim.model_fields) + list(Part.model_fields) + list(_Head.model_fields)
    near = nearest(str(place[-1]), known) if first["type"] == "extra_forbidden" else ""
    return ClaimError(
        f"the register has a fault: {first['msg'].lower()}",
        where=f"{path.name}{f', {place[0]} {entry}' if entry else ''}, {field}",
        expected=near or str(first.get("ctx", {}).get("expected", "")),
        got=repr(first.get("input"))[:80],
        hint=f"did you mean {near}?" if near else "correct the field",
    )
