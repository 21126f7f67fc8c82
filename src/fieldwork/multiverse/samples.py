"""The samples that the choices make of one delivery: who is in, with which weight, and with which answers filled in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import union_categoricals

from fieldwork.constructs.cells import SurveyDesign, design_for
from fieldwork.intake import NOT_DELIVERED, NOT_SHOWN, ROUTED_OUT
from fieldwork.statistics.imputation import hot_deck
from fieldwork.statistics.replicates import named_stream
from fieldwork.weight import Margins, rake

if TYPE_CHECKING:
    from fieldwork.chapter import Chapter
    from fieldwork.instrument import Instrument, Item
    from fieldwork.multiverse.choices import Declaration, Specification

__all__ = ["Samples"]

Ints = npt.NDArray[np.int64]
_NEVER_PUT = {NOT_DELIVERED, NOT_SHOWN, ROUTED_OUT}
_BLANK = "blank"


def by_organisation_stage(instrument: Instrument) -> Instrument:
    """Return the instrument with the stage of the own function and that of the organisation exchanged."""
    keys = instrument.keys
    exchanged = keys.model_copy(update={"stage": keys.stage_organisation, "stage_organisation": keys.stage})
    return instrument.model_copy(update={"keys": exchanged})


@dataclass(slots=True)
class Samples:
    """Makes the designs of a specification, one after the other.

    Held is the design of one weighting and one set of respondents, the last that was asked for; everything else is made when it
    is asked for. Who asks for designs in their order, as `explore` does, has at most two at a time, and each is made once.

    Attributes
    ----------
    instrument, margins : as the main analysis has them.
    responses, missing : accepted respondents, and their unanswered items (resp_id, item, reason) that count as missing.
    others, others_missing : the same of rows that only rules of quality set aside.
    declaration : what is varied. seed : root seed of the replicates.
    """

    instrument: Instrument
    margins: Margins
    responses: pd.DataFrame
    missing: pd.DataFrame
    others: pd.DataFrame
    others_missing: pd.DataFrame
    declaration: Declaration
    seed: int
    cap: float = 5.0
    _held: tuple[tuple[str, str], SurveyDesign] | None = field(default=None, init=False, repr=False)
    _ordered: tuple[str, Ints, pd.Index] | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(
        cls,
        instrument: Instrument,
        margins: Margins,
        accepted: tuple[pd.DataFrame, Iterable[pd.DataFrame]],
        excluded: tuple[pd.DataFrame, Iterable[pd.DataFrame]],
        declaration: Declaration,
        seed: int,
    ) -> Samples:
        """Gather what the choices need: of those accepted and those excluded, the answers and, in parts, what is missing."""
        missing, others_missing = (
            _together([_counted(part, instrument, declaration) for part in parts], "resp_id", "item", "reason")
            for _, parts in (accepted, excluded)
        )
        return cls(instrument, margins, accepted[0], missing, excluded[0], others_missing, declaration, seed)

    @classmethod
    def read(cls, chapter: Chapter, declaration: Declaration) -> Samples:
        """Read what the choices need of the tables that `01_clean` saved."""
        accepted, excluded = (
            (chapter.read(name), chapter.read_parts(f"{name}.missing")) for name in ("01_clean", "01_clean.excluded")
        )
        margins = Margins.load(chapter.study.margins_path(), chapter.instrument)
        return cls.of(chapter.instrument, margins, accepted, excluded, declaration, chapter.seed)

    def everybody(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return respondents and unanswered items with the rows that rules of quality set aside, in the order of cleaning."""
        keys = self.instrument.keys
        data = pd.concat([self.responses, self.others], ignore_index=True)
        data = data.sort_values([key for key in (keys.organisation, keys.respondent) if key], kind="stable")
        missing = _together([self.missing, self.others_missing], *self.missing.columns)
        return data.reset_index(drop=True), missing

    def applies(self, items: Sequence[str]) -> frozenset[str]:
        """Name the choices that can change what rests on these items (patterns); the lens is decided by the claim."""
        keys = self.instrument.keys
        found = {
            "weights": bool(self.margins.margins),
            "exclusions": len(self.others) > 0,
            "stage": bool(keys.stage and keys.stage_organisation)
            and any(fnmatchcase(stage, item) for item in items for stage in (keys.stage, keys.stage_organisation)),
            "missing": self._lacking(self.missing, items).any(),
        }
        return frozenset(name for name, there in found.items() if there)

    def designs(self, specification: Specification, items: Sequence[str]) -> Iterator[SurveyDesign]:
        """Yield the design of a specification for claims that rest on `items`; several for completed samples.

        Complete cases are raked anew. Completed samples share the weights of the available cases and divide the replicates
        among them, each with a donor draw of its own; a column that nothing fills is shared with the available cases.
        """
        kept = specification.exclusions == "kept"
        if specification.missing == "complete":
            self._held = None
            responses, missing = self.everybody() if kept else (self.responses, self.missing)
            # There is a line for each item that somebody lacks.
            out = missing.loc[self._lacking(missing, items), "resp_id"].unique()
            respondent = responses[self.instrument.keys.respondent]
            yield self._design(specification, responses[~respondent.isin(out)].reset_index(drop=True))
            return
        key = (specification.weights, specification.exclusions)
        if self._held is None or self._held[0] != key:
            self._held = None  # before the next is made
            self._held = (key, self._design(specification, self.everybody()[0] if kept else self.responses))
        design = self._held[1]
        if specification.missing == "available":
            yield design
        else:
            missing = self.everybody()[1] if kept else self.missing
            yield from self._completed(design, missing[self._lacking(missing, items)], specification, items)

    def _design(self, specification: Specification, responses: pd.DataFrame) -> SurveyDesign:
        plain = specification.weights == "none"
        margins = Margins() if plain else self.margins
        raked = rake(responses, margins, cap=self.cap, design="" if plain else self.instrument.keys.weight)
        return design_for(
            self.instrument,
            responses,
            raked.table(responses[self.instrument.keys.respondent]),
            margins,
            replicates=self.declaration.replicates,
            seed=self.seed,
        )

    def _wanted(self, items: Sequence[str]) -> list[Item]:
        """Items that the patterns name, whole blocks included; keys that identify are never missing."""
        return [
            item
            for item in self.instrument.items
            if any(fnmatchcase(name, pattern) for pattern in items for name in (item.name, *item.native_columns()))
            and item.kind not in {"identifier", "text"}
        ]

    def _lacking(self, missing: pd.DataFrame, items: Sequence[str]) -> pd.Series:
        """Tell which lines of the missing table are answers that were asked for and that somebody could have given."""
        line = missing["item"].isin([item.name for item in self._wanted(items)])
        return line & _counts(missing, self.instrument, self.declaration)

    def _completed(
        self, design: SurveyDesign, lacking: pd.DataFrame, specification: Specification, items: Sequence[str]
    ) -> Iterator[SurveyDesign]:
        """Fill every lacking answer from a donor of the same role and stage, in M samples; see `hot_deck`."""
        M, keys = self.declaration.imputations, self.instrument.keys
        size = design.replicates // M
        data = design.responses
        order, known = self._in_order(specification.exclusions, data[keys.respondent])
        lacks = {}
        place = known.get_indexer(pd.Index(lacking["resp_id"].astype(str)))
        for name, lines in lacking.groupby("item", observed=True).indices.items():
            lacks[name] = np.zeros(len(known), dtype=bool)
            lacks[name][place[lines][place[lines] >= 0]] = True
        role, stage = (self._codes(data, name)[order] for name in (keys.role, keys.stage))
        for m in range(M):
            filled = data.copy(deep=False)  # columns that are filled take the place of those of the available cases
            for item in self._wanted(items):
                if item.name not in lacks:
                    continue
                columns = item.native_columns()
                have = data[columns].notna().all(axis=1).to_numpy()[order]
                rng = named_stream(self.seed, f"multiverse/{item.name}/{m}/{specification.exclusions}")
                missing = lacks[item.name]
                cells = [role] if item.name == keys.stage else [role * 1000 + stage, role]
                donor = hot_deck(missing, cells, rng, asked=missing | have)
                source = np.arange(len(data))
                source[order[missing]] = order[donor[missing]]
                for column in columns:
                    filled[column] = data[column].array.take(source)
            part = slice(m * size, (m + 1) * size)
            layers = None
            if design.layer_factor is not None:
                layers = np.vstack([design.layer_factor[:1], design.layer_factor[1:][part]])
            yield replace(
                design,
                responses=filled,
                multiplier=design.multiplier[part, :],
                layer_factor=layers,
                replicates=size,
            )

    def _in_order(self, exclusions: str, respondent: pd.Series) -> tuple[Ints, pd.Index]:
        """Return respondents by name and their names: donors are drawn in an order that no order of rows can change.

        It is made once for each set of respondents, those accepted and all.
        """
        if self._ordered is None or self._ordered[0] != exclusions:
            names = respondent.astype(str).to_numpy()
            order = np.argsort(names, kind="stable")
            self._ordered = (exclusions, order, pd.Index(names[order]))
        return self._ordered[1:]

    def _codes(self, data: pd.DataFrame, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        if not name:
            return np.zeros(len(data), dtype=np.int64)
        return np.asarray(pd.factorize(data[name].astype("string"), sort=True)[0], dtype=np.int64)


def _counts(missing: pd.DataFrame, instrument: Instrument, declaration: Declaration) -> pd.Series:
    """Tell which lines are of answers that were asked for and that somebody could have given."""
    never = missing["reason"].isin([*_NEVER_PUT, *declaration.structural])
    sampled = missing["item"].isin([item.name for item in instrument.items if item.sampled])
    return ~(never | (sampled & (missing["reason"] == _BLANK)))


def _counted(missing: pd.DataFrame, instrument: Instrument, declaration: Declaration) -> pd.DataFrame:
    """Return the lines of a part that count, items by code: the table is much longer than that of respondents."""
    lines = missing.loc[_counts(missing, instrument, declaration)]
    items = pd.CategoricalDtype([item.name for item in instrument.items])
    return lines.astype({"item": items, "reason": "string"}).astype({"reason": "category"}).reset_index(drop=True)


def _together(parts: Sequence[pd.DataFrame], *columns: str) -> pd.DataFrame:
    """Join parts of a table; categories that differ become one set."""
    made = {}
    for name in columns:
        series = [part[name] for part in parts]
        if series and all(isinstance(each.dtype, pd.CategoricalDtype) for each in series):
            made[name] = pd.Series(union_categoricals(series))
        else:
            made[name] = pd.concat(series, ignore_index=True) if series else pd.Series(dtype="string")
    return pd.DataFrame(made)
