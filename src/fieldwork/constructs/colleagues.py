"""What the informants of one organisation say together: how far apart they are, their mean, their strongest and weakest answer.

System level: organisations count once, and their replicates carry the organisations' multipliers. Roles across organisations
are another level and are not found here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import cluster_weights

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Item
    from fieldwork.statistics.layers import LayerWeights
    from fieldwork.statistics.replicates import Floats, Ints

__all__ = ["MINIMUM_INFORMANTS", "MINIMUM_ORGANISATIONS", "Informants", "answers", "informants_of"]

MINIMUM_INFORMANTS = 3  # per organisation, measures.md section 2, conventions
MINIMUM_ORGANISATIONS = 5  # behind every published number


@dataclass(frozen=True, slots=True)
class Informants:
    """Organisations with enough informants on one item, and their answers.

    Attributes
    ----------
    organisation : (T,) int    Index of each in the design.
    of : (n,) int              Position of each respondent's organisation among the T, -1 for the others.
    team : (m,) int            Position of the organisation of each answer, ascending; answers ascend within it.
    answer : (m,) float        Scale points.
    count : (T,) int           Informants.
    """

    organisation: Ints
    of: Ints
    team: Ints
    answer: Floats
    count: Ints

    def distance(self) -> Floats:
        """Mean distance |y_i - y_j| over the pairs of colleagues (T,), in scale points: unbiased in teams of any size."""
        rank = np.arange(len(self.team)) - self._starts()[self.team]
        signed = self.answer * (2 * rank - self.count[self.team] + 1)
        total = np.bincount(self.team, weights=signed, minlength=len(self.count))
        return np.asarray(total / (self.count * (self.count - 1) / 2.0))

    def strongest(self) -> Floats:
        """Highest answer (T,)."""
        return np.asarray(self.answer[self._starts() + self.count - 1])

    def weakest(self) -> Floats:
        """Lowest answer (T,)."""
        return np.asarray(self.answer[self._starts()])

    def median(self) -> Floats:
        """Middle answer (T,), the mean of the two in the middle where their number is even."""
        starts = self._starts()
        return np.asarray(0.5 * (self.answer[starts + (self.count - 1) // 2] + self.answer[starts + self.count // 2]))

    def mean_of(self, values: Floats) -> Floats:
        """Mean of another answer over the organisation's respondents who gave it (T,); nan where nobody did."""
        used = (self.of >= 0) & ~np.isnan(values)
        n = np.bincount(self.of[used], minlength=len(self.count))
        total = np.bincount(self.of[used], weights=values[used], minlength=len(self.count))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total / n)

    def told(self, by_organisation: npt.ArrayLike) -> Floats:
        """Give each respondent the number of the organisation (n,); nan outside the T."""
        values = np.append(np.asarray(by_organisation, dtype=np.float64), np.nan)
        return np.asarray(values[self.of])

    def layers(self, design: SurveyDesign) -> LayerWeights:
        """Weight of each organisation in each layer (1 + B, T): 1 in the observed one, then its multipliers."""
        return cluster_weights(design, self.organisation)

    def _starts(self) -> Ints:
        return np.asarray(np.cumsum(self.count) - self.count)


def answers(design: SurveyDesign, item: Item) -> Floats:
    """Answers to an item as numbers (n,), nan where there is none."""
    return design.responses[item.name].to_numpy(dtype=np.float64, na_value=np.nan)


def informants_of(design: SurveyDesign, values: Floats, minimum: int = MINIMUM_INFORMANTS) -> Informants:
    """Return the organisations with at least `minimum` respondents who answered; none where the survey names none."""
    answered = ~np.isnan(values)
    size = design.multiplier.shape[1]
    n = np.bincount(design.cluster[answered], minlength=size)
    organisation = np.flatnonzero((n >= minimum) & design.has_organisations)
    place = np.full(size, -1)
    place[organisation] = np.arange(len(organisation))
    of = place[design.cluster]
    rows = np.flatnonzero(answered & (of >= 0))
    rows = rows[np.lexsort((values[rows], of[rows]))]
    return Informants(organisation, of, of[rows], values[rows], n[organisation])
