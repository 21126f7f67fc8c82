"""Answers to each question as they were given: the share of every answer over all, and of bands by role and by stage.

Population level. Other constructs publish answers of some questions (`prevalence`, `share`, `owner_share`, `ready_share`, mean
ranks): those are not published a second time. Recoding before publication: Hundepool et al. (2012), Statistical Disclosure
Control, ch. 5 (global recoding). Own code: it is one of the tables that the project exists for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork.constructs.cells import Axis
from fieldwork.constructs.comparisons import share_row
from fieldwork.constructs.ledger import Estimates, Ledger
from fieldwork.constructs.teams import layered
from fieldwork.instrument.bands import Band, bands
from fieldwork.statistics.pairs import group_totals
from fieldwork.statistics.replicates import Floats, Ints, distinct_rows, infer

if TYPE_CHECKING:
    from fieldwork.constructs.cells import SurveyDesign
    from fieldwork.instrument import Instrument, Item

__all__ = ["asked_and_told", "estimate_for", "overview", "profiled", "set_of"]

CHAPTER = "03c_answers"
CONSTRUCT = "sample"
STATISTIC = "answer_share"
CODED = ("single", "ordinal", "flag")
# Slots of the analysis of which other constructs publish every answer.
ELSEWHERE = ("owner", "team_fn", "stall", "stall_point", "stall_cause", "delay")

Mask = npt.NDArray[np.bool_]


def asked_and_told(instrument: Instrument) -> tuple[Item, ...]:
    """Return the questions whose answers this construct publishes, in order.

    They have a list of answers, of which one is given. Left out: what is restricted, checks of attention (they decide who is in
    the data), and what other constructs publish every answer of.
    """
    checks = {rule.item for rule in instrument.quality}
    told = {item.name for slot in ELSEWHERE for item in instrument.slot(slot)}
    return tuple(
        item
        for item in instrument.items
        if item.kind in CODED and not item.restricted and item.name not in checks and item.name not in told
    )


def set_of(item: Item, of: str = "answers", group: str = "") -> str:
    """Name a set of shares that adds to one; a name that ends in `=` is of a band and what it is the sum of."""
    return f"answers|{item.name}|{of}|{group}"


def profiled(instrument: Instrument) -> tuple[Item, ...]:
    """Return the items of which `readiness` publishes each role's share in the top two points."""
    keys = instrument.keys
    return tuple(
        item
        for item in instrument.measures("readiness")
        if item.kind == "ordinal" and item.name not in {keys.stage, keys.stage_organisation} and len(item.options) > 2
    )


def estimate_for(instrument: Instrument, design: SurveyDesign) -> Estimates:
    """Estimate the share of each answer to each question with a list of answers.

    `answer_share`, of those who were asked and answered, by weight: over all, of every answer (`item`: the option's id; of a
    yes/no question, yes alone) with Korn and Graubard's interval. Of questions that are put to everybody on an ordered scale
    (`Instrument.measures_of_everybody`) also of its `bands` (`item`: ids joined by `+`), over all, by role and by stage; the
    top band of a role is not repeated where it is published as `ready_share`. Below 30 respondents `flagged`.

    A respondent without a role or stage counts over all only. What is asked of each role in turn (how much sway it has, how
    confident it is) counts what others say of the role, as the constructs that average it do: on two bases a few people apart,
    the difference would be what those few said. An answer to a question about the respondent (role, stage, what is
    tagged `sample`, what analyses adjust for) makes a group of people: the gate judges it by the people in it. Shares carry no
    draws, so claims are not tested on them. Columns: `schema.ESTIMATES`.
    """
    ledger = Ledger(design, instrument.wave, CHAPTER, CONSTRUCT)
    keys = instrument.keys
    groups_people = {keys.role, keys.stage, keys.stage_organisation, *keys.adjust_for}
    everybody = {item.name for item in instrument.measures_of_everybody() if item.kind == "ordinal"}
    ready = {item.name for item in profiled(instrument)} if design.role is not None else set()
    for item in asked_and_told(instrument):
        place = np.where(_of_themselves(instrument, design, item), -1, _places(design, item))
        if (place < 0).all():
            ledger.refuse(item.name, STATISTIC, "proportion", "nobody was asked, or nobody answered", n=0)
            continue
        classifies = item.name in groups_people or "sample" in item.constructs
        banded = item.name in everybody
        everyone = _Counted.of(design, place, len(item.options), np.zeros(len(place), dtype=np.int64), 1)
        _answers(ledger, item, place, everyone, people=classifies, banded=banded)
        if banded:
            _banded(ledger, item, place, everyone, told=item.name in ready)
    return ledger.table()


def overview(instrument: Instrument, made: Estimates) -> pd.DataFrame:
    """Return what is estimated of each question, and no number of it: what may be shown is for the gate to say.

    Columns: question, answers offered, and rows over all, by role and by stage; a row per question in the instrument's order.
    """
    rows = made.estimates
    where = {
        "over all": (rows["role"] == "") & (rows["stage"] == ""),
        "by role": rows["role"] != "",
        "by stage": rows["stage"] != "",
    }
    counts = {name: rows.loc[mine, "measure"].value_counts() for name, mine in where.items()}
    return pd.DataFrame(
        [
            {
                "question": item.label,
                "answers": len(item.options),
                **{name: int(found.get(item.name, 0)) for name, found in counts.items()},
            }
            for item in asked_and_told(instrument)
        ],
        columns=["question", "answers", *where],
    )


def _of_themselves(instrument: Instrument, design: SurveyDesign, item: Item) -> Mask:
    """Return who (n,) answers an item of a family that has a line for each role about the own role."""
    if design.role is None or not item.family or item.member not in instrument.role_ids:
        return np.zeros(len(design.responses), dtype=np.bool_)
    own = design.responses[design.role.name].eq(item.member)
    return np.asarray(own.fillna(value=False), dtype=np.bool_)


def _places(design: SurveyDesign, item: Item) -> Ints:
    """Place of each answer among the options in order of code (n,), -1 where there is none."""
    coded = item.dtype != "string"
    options = sorted(item.options, key=lambda option: option.code)
    codes = tuple(option.code if coded else option.id for option in options)
    return Axis(item.name, codes, tuple(option.id for option in options)).index(design.responses[item.name])


def _answers(ledger: Ledger, item: Item, place: Ints, counted: _Counted, *, people: bool, banded: bool) -> None:
    """Add the share of every answer over all; of `people`, each answer makes a group that the gate judges by its own size.

    `banded`: its bands have rows too, which are sums of these.
    """
    design, used = ledger.design, place >= 0
    options = [option.id for option in sorted(item.options, key=lambda option: option.code)]
    together = bands(item) if banded else ()
    parts = [band for band in together if len(band.places) > 1]
    alone = {band.places[0] for band in together if len(band.places) == 1}
    for k, option in enumerate(options):
        if item.kind == "flag" and k == 0:
            continue
        smallest = None
        if people:
            mine = used & (place == k)
            sides = [mine, used & ~mine] if item.kind == "flag" else [mine]
            smallest = (min(int(s.sum()) for s in sides), min(design.clusters(s) for s in sides))
        within = [f"{set_of(item)}|{band.name}=" for band in parts if k in band.places]
        sets = [set_of(item), *within, *([set_of(item, "bands")] if k in alone else [])]
        adds_up = "" if item.kind == "flag" else ";".join(sets)
        _row(ledger, item, counted, 0, Band(option, (k,)), smallest=smallest, adds_up=adds_up)


def _banded(ledger: Ledger, item: Item, place: Ints, everyone: _Counted, *, told: bool) -> None:
    """Add the shares of the bands over all, by role and by stage; `told`: another construct has the roles' top band."""
    design, found = ledger.design, bands(item)
    K = len(item.options)
    for band in found:
        if len(band.places) > 1:
            sets = f"{set_of(item, 'bands')};{set_of(item)}|{band.name}="
            _row(ledger, item, everyone, 0, band, adds_up=sets)
    for key, axis in (("role", design.role), ("stage", design.stage)):
        if axis is None:
            continue
        code = design.codes(axis)
        counted = _Counted.of(design, np.where(code >= 0, place, -1), K, code, len(axis.labels))
        for g, label in enumerate(axis.labels):
            for band in found[:-1] if told and key == "role" else found:
                _row(ledger, item, counted, g, band, adds_up=set_of(item, "bands", f"{key}={label}"), **{key: label})


@dataclass(frozen=True, slots=True)
class _Counted:
    """Answers by group.

    Attributes
    ----------
    weight : (1 + B, G, K) float       Weight of those who gave each answer, in every layer.
    hits : (G, K) int                  Respondents.
    organisations : (G,) int           Organisations of those who answered.
    """

    weight: Floats
    hits: Ints
    organisations: Ints

    @classmethod
    def of(cls, design: SurveyDesign, place: Ints, K: int, group: Ints, groups: int) -> _Counted:
        used = place >= 0
        answer = group[used] * K + place[used]
        pairs = distinct_rows(np.column_stack([group[used], design.cluster[used]]))[0]
        # Each answer of each group is a group of its own: its weight is all that is summed.
        weight = group_totals(np.empty((len(answer), 0)), answer, groups * K, **layered(design, used)).mass
        return cls(
            weight.reshape(-1, groups, K),
            np.bincount(answer, minlength=groups * K).reshape(groups, K),
            np.bincount(pairs[:, 0], minlength=groups),
        )


def _row(ledger: Ledger, item: Item, counted: _Counted, group: int, band: Band, **more: Any) -> None:  # noqa: ANN401
    """Add one share with its interval."""
    places: Sequence[int] = list(band.places)
    n, clusters = int(counted.hits[group].sum()), int(counted.organisations[group])
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, "item": band.name, **more}
    if n == 0:
        ledger.refuse(item.name, STATISTIC, "proportion", "nobody answered", **base)
        return
    weight = counted.weight[:, group]
    with np.errstate(divide="ignore", invalid="ignore"):
        inference = infer(weight[:, places].sum(axis=1) / weight.sum(axis=1), clusters)
    hits = int(counted.hits[group, places].sum())
    share_row(ledger, item.name, STATISTIC, inference, hits=hits, **base)
