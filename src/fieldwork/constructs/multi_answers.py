"""Answers to multi-select items by role, stage and option, in every replicate: what constructs of several answers read.

Who was not asked is in no base; who ticked nothing is in it; options that stand alone are told apart from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fieldwork.errors import listed
from fieldwork.statistics.replicates import replicated_sums

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument, Item
    from fieldwork.statistics.replicates import Floats, Ints

__all__ = [
    "MINIMUM_CLUSTERS",
    "MINIMUM_FOR_PROFILE",
    "AnswerTable",
    "Group",
    "MultiAnswers",
    "answer_table",
    "answers_of",
    "carries",
    "enough",
    "kept_roles",
    "left_out",
    "thinnest",
]

Mask = npt.NDArray[np.bool_]

MINIMUM_FOR_PROFILE = 10  # respondents per role, measures.md 2.8: indices below 10 are held back
MINIMUM_CLUSTERS = 5  # organisations per role, so that no index rests on a role that the gate holds back


@dataclass(frozen=True, slots=True)
class MultiAnswers:
    """A multi-select item as its respondents answered it.

    Attributes
    ----------
    measure : str            The item.
    options : tuple of str   J options in the instrument's order.
    free : (J,) bool         Options that do not stand alone; profiles and numbers of answers count these.
    cap : int or None        Largest number of answers allowed.
    ticks : (n, J) float     1 ticked, 0 not ticked or not asked.
    asked : (n, J) bool      Who was asked and answered, by option.
    """

    measure: str
    options: tuple[str, ...]
    free: Mask
    cap: int | None
    ticks: Floats
    asked: Mask

    @property
    def any_asked(self) -> Mask:
        """Who answered the item at all (n,)."""
        return np.asarray(self.asked.any(axis=1), dtype=np.bool_)

    @property
    def citing(self) -> Mask:
        """Who ticked an option that does not stand alone (n,)."""
        return np.asarray(self.ticks[:, self.free].any(axis=1), dtype=np.bool_)


def answers_of(instrument: Instrument, design: SurveyDesign, item: Item) -> MultiAnswers:
    """Read a multi-select item from the responses: in its base is who was routed to it and did not leave it blank."""
    columns = item.native_columns()
    values = design.responses[columns].to_numpy(dtype=np.float64, na_value=np.nan)
    routed = ~instrument.asked(item.name, design.responses).eq(other=False).fillna(value=False).to_numpy(dtype=np.bool_)
    asked = ~np.isnan(values) & routed[:, None]
    return MultiAnswers(
        item.name,
        tuple(option.id for option in item.options),
        np.array([option.id not in item.exclusive for option in item.options]),
        item.cap,
        np.where(asked, np.nan_to_num(values), 0.0),
        asked,
    )


@dataclass(frozen=True, slots=True)
class Group:
    """Answers of some respondents together, the last option being "any answer".

    Attributes
    ----------
    cited, base : (1 + B, J + 1) float       Weight of those who cite, and of those asked.
    hits, n : (J + 1,) int                   Respondents who cite, and who were asked.
    organisations : (J + 1,) int             Organisations of those asked.
    """

    cited: Floats
    base: Floats
    hits: Ints
    n: Ints
    organisations: Ints

    @property
    def share(self) -> Floats:
        """Share citing each option in every layer (1 + B, J + 1); missing where nobody was asked."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.cited / self.base)

    @property
    def fewest(self) -> Ints:
        """People on the thinner side of each share (J + 1,)."""
        return np.asarray(np.minimum(self.hits, self.n - self.hits), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """Answers by role, stage and option; the last role and stage hold those who named none, the last option is "any".

    Attributes
    ----------
    design : SurveyDesign                         What it was made from.
    answers : MultiAnswers                        The item.
    roles, stages : tuple of str                  R labels, S labels.
    role, stage : (n,) int                        Place of each respondent, R or S for none.
    cited, base : (1 + B, R + 1, S + 1, J + 1)    Weight of those who cite, and of those asked.
    hits, n : (R + 1, S + 1, J + 1) int           Respondents who cite, and who were asked.
    alike : tuple of tuples of int                Options that were put to the same respondents, together.
    """

    design: SurveyDesign
    answers: MultiAnswers
    roles: tuple[str, ...]
    stages: tuple[str, ...]
    role: Ints
    stage: Ints
    cited: Floats
    base: Floats
    hits: Ints
    n: Ints
    alike: tuple[tuple[int, ...], ...]

    def group(self, places: Sequence[int]) -> Group:
        """Gather roles by place, over all stages."""
        rows = list(places)
        inside = np.isin(self.role, rows)
        organisations = np.zeros(self.n.shape[-1], dtype=np.int64)
        for options in self.alike:
            asked = (
                self.answers.any_asked if options[0] == len(self.answers.options) else self.answers.asked[:, options[0]]
            )
            organisations[list(options)] = self.design.clusters(inside & asked)
        return Group(
            self.cited[:, rows].sum(axis=(1, 2)),
            self.base[:, rows].sum(axis=(1, 2)),
            self.hits[rows].sum(axis=(0, 1)),
            self.n[rows].sum(axis=(0, 1)),
            organisations,
        )

    @property
    def everyone(self) -> Group:
        """All who were asked, with a role or without."""
        return self.group(range(len(self.roles) + 1))

    def counted(self, who: Mask, place: int, stage: int = -1) -> Mask:
        """Tell which of some respondents are of a role (n,), at one stage or at any (-1)."""
        inside = who & (self.role == place)
        return np.asarray(inside if stage < 0 else inside & (self.stage == stage), dtype=np.bool_)


def answer_table(design: SurveyDesign, answers: MultiAnswers) -> AnswerTable:
    """Fill the table of one item, in the observed layer and in every replicate."""
    roles = design.role.labels if design.role is not None else ()
    stages = design.stage.labels if design.stage is not None else ()
    role, stage = (
        np.full(len(answers.ticks), len(labels), dtype=np.int64)
        if axis is None
        else np.where((code := design.codes(axis)) < 0, len(labels), code)
        for axis, labels in ((design.role, roles), (design.stage, stages))
    )
    asked = np.column_stack([answers.asked, answers.any_asked])
    ticks = np.column_stack([answers.ticks, answers.citing])
    shape = (len(roles) + 1, len(stages) + 1, asked.shape[1])
    cited, base = (np.zeros((design.replicates + 1, *shape)) for _ in range(2))
    hits, n = (np.zeros(shape, dtype=np.int64) for _ in range(2))
    alike = _asked_alike(asked)
    for options in map(list, alike):
        who = np.flatnonzero(asked[:, options[0]])
        weight, mine = design.weight[who], ticks[who][:, options].T
        levels, sums, rows = replicated_sums(
            [role[who], stage[who]],
            design.cluster[who],
            [weight, *(weight * ticked for ticked in mine)],
            design.multiplier,
            layer_factor=design.layer_factor,
            factor_cell=None if design.factor_cell is None else design.factor_cell[who],
        )
        r, s = levels.T
        cell = np.ravel_multi_index((role[who], stage[who]), shape[:2])
        for option, total, ticked in zip(options, sums[1:], mine, strict=True):
            base[:, r, s, option], cited[:, r, s, option] = sums[0].T, total.T
            n[r, s, option] = rows
            hits[..., option] = np.bincount(cell[ticked > 0], minlength=shape[0] * shape[1]).reshape(shape[:2])
    return AnswerTable(design, answers, roles, stages, role, stage, cited, base, hits, n, alike)


def _asked_alike(asked: Mask) -> tuple[tuple[int, ...], ...]:
    """Gather the options (columns) that were put to the same respondents: as a rule, all."""
    found: dict[bytes, list[int]] = {}
    for option, who in enumerate(np.ascontiguousarray(asked.T)):
        found.setdefault(np.packbits(who).tobytes(), []).append(option)
    return tuple(map(tuple, found.values()))


def carries(design: SurveyDesign, n: int, organisations: int) -> bool:
    """Tell whether a role's base carries an index; a survey without organisations has no rule on them."""
    return n >= MINIMUM_FOR_PROFILE and (organisations >= MINIMUM_CLUSTERS or not design.has_organisations)


def kept_roles(table: AnswerTable, who: Mask, stage: int = -1) -> tuple[list[int], list[str]]:
    """Return the places of the roles whose base carries an index, and the labels of those asked that do not."""
    kept, thin = [], []
    for place, label in enumerate(table.roles):
        mine = table.counted(who, place, stage)
        if carries(table.design, int(mine.sum()), table.design.clusters(mine)):
            kept.append(place)
        elif mine.any():
            thin.append(label)
    return kept, thin


def thinnest(table: AnswerTable, who: Mask, places: Sequence[int], stage: int = -1) -> tuple[int, int]:
    """Respondents and organisations of the thinnest of some roles."""
    masks = [table.counted(who, place, stage) for place in places]
    return min(int(m.sum()) for m in masks), min(table.design.clusters(m) for m in masks)


def enough(design: SurveyDesign) -> str:
    """Say what base an index wants of a role."""
    organisations = f" from {MINIMUM_CLUSTERS} organisations" if design.has_organisations else ""
    return f"{MINIMUM_FOR_PROFILE} respondents{organisations}"


def left_out(design: SurveyDesign, thin: Sequence[str]) -> str:
    """Name the roles that were left out; empty where none was."""
    return f"without {listed(thin, limit=20)}: fewer than {enough(design)}" if thin else ""
