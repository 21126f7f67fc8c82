"""The samples that the choices make of one delivery: who is in, with which weight, and with which answers filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from fieldwork.clean import clean
from fieldwork.constructs.cells import SurveyDesign, design_for
from fieldwork.intake import NOT_DELIVERED, NOT_SHOWN, ROUTED_OUT, key_of, read_deliveries
from fieldwork.statistics.imputation import hot_deck
from fieldwork.statistics.replicates import named_stream
from fieldwork.weight import Margins, rake

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.multiverse.choices import Declaration, Specification
    from fieldwork.study import Study

__all__ = ["Samples", "relaxed"]

_NEVER_PUT = {NOT_DELIVERED, NOT_SHOWN, ROUTED_OUT}
_BLANK = "blank"


def relaxed(instrument: Instrument) -> Instrument:
    """Return the instrument with its rules of quality turned from setting rows aside to counting them."""
    quality = tuple(rule.model_copy(update={"action": "flag"}) for rule in instrument.quality)
    return instrument.model_copy(update={"quality": quality})


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
    responses, missing : accepted respondents, and their unanswered items (resp_id, item, reason).
    everybody, everybody_missing : the same with the rows that rules of quality set aside.
    declaration : what is varied. seed : root seed of the replicates.
    """

    instrument: Instrument
    margins: Margins
    responses: pd.DataFrame
    missing: pd.DataFrame
    everybody: pd.DataFrame
    everybody_missing: pd.DataFrame
    declaration: Declaration
    seed: int
    cap: float = 5.0
    _held: tuple[tuple[str, str], SurveyDesign] | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(
        cls,
        study: Study,
        instrument: Instrument,
        responses: pd.DataFrame,
        missing: pd.DataFrame,
        declaration: Declaration,
        seed: int,
    ) -> Samples:
        """Gather what the choices need; the delivery is cleaned once more where excluded rows are to be kept."""
        everybody, everybody_missing = responses, missing
        if "kept" in declaration.choices.exclusions and any(rule.action == "exclude" for rule in instrument.quality):
            kind = relaxed(instrument)
            deliveries = read_deliveries(study.raw_files(), kind, within=study.raw)
            waves: Literal["stop", "set_aside"] = "set_aside" if study.files else "stop"
            cleaned = clean(deliveries, kind, other_waves=waves, key=key_of(study))
            everybody, everybody_missing = cleaned.responses, cleaned.missing
        margins = Margins.load(study.margins_path(), instrument)
        return cls(instrument, margins, responses, missing, everybody, everybody_missing, declaration, seed)

    def applies(self, items: Sequence[str]) -> frozenset[str]:
        """Name the choices that can change what rests on these items (patterns); the lens is decided by the claim."""
        keys = self.instrument.keys
        found = {
            "weights": bool(self.margins.margins),
            "exclusions": len(self.everybody) > len(self.responses),
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
        responses, missing = (self.everybody, self.everybody_missing) if kept else (self.responses, self.missing)
        if specification.missing == "complete":
            out = missing.loc[self._lacking(missing, items), "resp_id"]
            respondent = responses[self.instrument.keys.respondent]
            self._held = None
            yield self._design(specification, responses[~respondent.isin(out)].reset_index(drop=True))
            return
        key = (specification.weights, specification.exclusions)
        if self._held is None or self._held[0] != key:
            self._held = None  # before the next is made
            self._held = (key, self._design(specification, responses))
        design = self._held[1]
        if specification.missing == "available":
            yield design
        else:
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
        wanted = self._wanted(items)
        sampled = {item.name for item in wanted if item.sampled}
        structural = _NEVER_PUT | set(self.declaration.structural)
        line = missing["item"].astype(str).isin({item.name for item in wanted})
        line &= ~missing["reason"].astype(str).isin(structural)
        return line & ~(missing["item"].astype(str).isin(sampled) & (missing["reason"].astype(str) == _BLANK))

    def _completed(
        self, design: SurveyDesign, lacking: pd.DataFrame, specification: Specification, items: Sequence[str]
    ) -> Iterator[SurveyDesign]:
        """Fill every lacking answer from a donor of the same role and stage, in M samples; see `hot_deck`."""
        M, keys = self.declaration.imputations, self.instrument.keys
        size = design.replicates // M
        # Donors are drawn in the order of respondents, which no order of rows can change.
        data = design.responses
        order = np.argsort(data[keys.respondent].astype(str).to_numpy(), kind="stable")
        ids = data[keys.respondent].astype(str).to_numpy()[order]
        known, lacks = pd.Index(ids), {}
        for name, group in lacking.groupby("item", observed=True):
            place = known.get_indexer(pd.Index(group["resp_id"].astype(str)))
            lacks[name] = np.zeros(len(ids), dtype=bool)
            lacks[name][place[place >= 0]] = True
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

    def _codes(self, data: pd.DataFrame, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        if not name:
            return np.zeros(len(data), dtype=np.int64)
        return np.asarray(pd.factorize(data[name].astype("string"), sort=True)[0], dtype=np.int64)
