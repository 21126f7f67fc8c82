"""Stalled initiatives: what is given as their cause, where they surface, and what goes with them.

What executives *attribute* a stall to and what a stall is *associated* with are two questions with two answers: people blame
what is outside themselves. Case-only data (only stalled initiatives are asked about) describe, and compare nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldwork.constructs.cells import weighted_sums
from fieldwork.constructs.colleagues import MINIMUM_INFORMANTS, Informants, answers, informants_of
from fieldwork.constructs.comparisons import (
    Confounders,
    Outcome,
    Sides,
    compare,
    confounders,
    lacking,
    share,
    share_interval,
)
from fieldwork.constructs.ledger import NIL, SMALL_BASE
from fieldwork.statistics.proportion import melded_difference
from fieldwork.statistics.replicates import Floats, infer

if TYPE_CHECKING:
    from fieldwork.constructs.ledger import Ledger, Wanted
    from fieldwork.instrument import Instrument, Item

__all__ = ["WIDE_SHARE_OF_SCALE", "add_to"]

Mask = npt.NDArray[np.bool_]

# Colleagues count as apart from a mean distance of a quarter of the scale on: one point of five. Set before any data.
WIDE_SHARE_OF_SCALE = 0.25


def add_to(ledger: Ledger, instrument: Instrument, wanted: Iterable[Wanted] = ()) -> None:
    """Add what is said of stalls, and what goes with them.

    `share` of executives who report a stall (slot `stall`), of each cause (`stall_cause`) and each decision point
    (`stall_point`) among those who do, and of points that a claim takes together (item `a+b`); `share_difference` of two causes
    that a claim sets against each other (item `a v b`), with its clustered interval.

    `risk_difference` of a stall, in the executives of organisations with three informants on the first measure of confidence
    (slot `conf`): colleagues a quarter of the scale or more apart against nearer ones, at equal confounders; the same in
    organisations with all four resources (`resources=all`: a mean of each, slots `res_data` to `res_bud`, nearer to the second
    highest point than to what lies below), by exact melded intervals, unadjusted, since few have them; low against high
    ambition (item of slot `amb`) and talent (`res_tal`), low a mean below the middle of the scale; and, among colleagues who
    are apart, disagreement seldom against more often named openly (`ack`, below the middle). The last three are held fixed for
    one another.

    Organisations' means and distances are those of the informants at hand: they carry noise, which draws differences
    towards nil.
    """
    items = tuple(wanted)
    stall = instrument.slot("stall")
    measure = stall[0].name if stall else "stall"
    if not stall:
        ledger.refuse(measure, "share", "proportion", "the wave does not ask about stalls")
    else:
        values = answers(ledger.design, stall[0])
        share(ledger, measure, "share", values > 0.5, ~np.isnan(values))
    for slot in ("stall_cause", "stall_point"):
        of = instrument.slot(slot)
        if of and of[0].kind == "single":
            _choices(ledger, of[0], items)
        else:
            ledger.refuse(slot, "share", "proportion", "the wave does not ask it of stalls")
    if stall:
        _associated(ledger, instrument, stall[0])


def _choices(ledger: Ledger, item: Item, wanted: tuple[Wanted, ...]) -> None:
    """Add the share of each answer, of answers taken together, and of one less another."""
    design = ledger.design
    chosen = design.responses[item.name]
    known = chosen.notna().to_numpy()
    options = [option.id for option in item.options]
    note = "of stalled initiatives alone: no hazard, for those that went through were not asked about"
    asked = [row for row in wanted if row.measure == item.name]
    together = [row.item for row in asked if row.statistic == "share" and "+" in row.item]
    for name in [*options, *dict.fromkeys(together)]:
        parts = name.split("+")
        if set(parts) <= set(options):
            hit = chosen.isin(parts).to_numpy(dtype=bool, na_value=False)
            of = _names(item, parts)
            share(
                ledger, item.name, "share", hit, known, note=note if "+" in name else "",
                adds_up="" if "+" in name else item.name, tells=of if "+" in name else "", item=name,
            )  # fmt: skip
    for row in dict.fromkeys(row.item for row in asked if row.statistic == "share_difference"):
        parts = row.split(" v ")
        if len(parts) == 2 and set(parts) <= set(options):
            first, second = (chosen.eq(part).fillna(value=False).to_numpy(dtype=bool) for part in parts)
            _against(ledger, item.name, row, first, second, known, _names(item, parts))


def _names(item: Item, options: list[str]) -> str:
    """Name the shares of some answers as the gate knows them."""
    return ";".join(f"{item.name}||{option}" for option in options)


def _against(ledger: Ledger, measure: str, name: str, first: Mask, second: Mask, known: Mask, tells: str) -> None:
    """Add the share of one answer less that of another of the same respondents."""
    design = ledger.design
    n, clusters = int(known.sum()), design.clusters(known)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, "item": name}
    if n == 0:
        ledger.refuse(measure, "share_difference", "proportion", "nobody answered", **base)
        return
    of, less, among = weighted_sums(design, np.column_stack([first, second, known]), known).T
    layers = (of - less) / among
    counts = (int((first & known).sum()), int((second & known).sum()))
    small = f"small base: fewer than {SMALL_BASE} respondents" if n < SMALL_BASE else ""
    ledger.add_inferred(
        measure, "share_difference", "proportion", infer(layers, clusters), hits=min(counts), tells=tells,
        status="flagged" if small else "ok",
        reason="; ".join(text for text in ("as executives account for it: causes spare those who name them", small) if text),
        **base,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Readings:
    """What the organisations of the respondents are like; nan outside those that can be assessed.

    Attributes
    ----------
    stall : (n,) float          1 for a stall reported.
    wide : (n,) float           1 where colleagues are a quarter of the scale or more apart.
    """

    stall: Floats
    wide: Floats
    team: Informants


def _associated(ledger: Ledger, instrument: Instrument, stall: Item) -> None:
    design = ledger.design
    rows: list[tuple[str, str]] = [("", ""), ("resources=all", "")]
    levels = [(slot, instrument.slot(slot)) for slot in ("amb", "res_tal", "ack")]
    rows += [("", of[0].name if of else slot) for slot, of in levels]
    conf = instrument.slot("conf")
    reason = ""
    if not design.has_organisations:
        reason = "the survey names no organisations"
    elif not conf:
        reason = "the wave does not ask for confidence, by which colleagues' distance is told"
    else:
        team = informants_of(design, answers(design, conf[0]))
        if not len(team.organisation):
            most = int(np.bincount(design.cluster[~np.isnan(answers(design, conf[0]))], minlength=1).max())
            reason = f"{MINIMUM_INFORMANTS} informants of one organisation are needed; the most are {most}"
    if reason:
        for segment, item in rows:
            ledger.refuse(stall.name, "risk_difference", "proportion", reason, segment=segment, item=item)
        return
    codes = sorted(conf[0].codes)
    distance = team.distance()
    readings = _Readings(
        answers(design, stall), team.told(distance >= WIDE_SHARE_OF_SCALE * (codes[-1] - codes[0]) - NIL), team
    )
    held = confounders(instrument, design)
    _by_distance(ledger, stall, readings, held)
    _with_resources(ledger, instrument, stall, readings)
    _by_lack(ledger, instrument, stall, readings, held)


def _sides(first: Floats, among: Mask, words: tuple[str, str]) -> Sides:
    return Sides(among & (first == 1.0), among & (first == 0.0), words)


def _by_distance(ledger: Ledger, stall: Item, r: _Readings, held: Confounders) -> None:
    everyone = np.ones(len(r.stall), dtype=bool)
    compare(
        ledger, stall.name, "risk_difference", "proportion", Outcome("difference", r.stall),
        _sides(r.wide, everyone, ("colleagues apart", "colleagues near")), held=held,
        note=f"{MINIMUM_INFORMANTS} informants or more; an association",
    )  # fmt: skip


def _with_resources(ledger: Ledger, instrument: Instrument, stall: Item, r: _Readings) -> None:
    """Add the difference in organisations with all resources, by the exact intervals of both sides."""
    design = ledger.design
    place = {"segment": "resources=all"}
    slots = ("res_data", "res_tool", "res_tal", "res_bud")
    resources = [instrument.slot(slot) for slot in slots]
    if not all(resources):
        lacks = [slot for slot, of in zip(slots, resources, strict=True) if not of]
        reason = f"the wave does not ask for {', '.join(lacks)}"
        ledger.refuse(stall.name, "risk_difference", "proportion", reason, **place)
        return
    has_all = np.ones(len(r.team.organisation), dtype=bool)
    for (item,) in resources:
        codes = sorted(item.codes)
        has_all &= r.team.mean_of(answers(design, item)) >= 0.5 * (codes[-2] + codes[-3]) - NIL
    among = (r.team.told(has_all) == 1.0) & ~np.isnan(r.stall)
    sides = _sides(r.wide, among, ("colleagues apart", "colleagues near"))
    n, clusters = int(among.sum()), design.clusters(among)
    base: dict[str, Any] = {"n": n, "n_organisations": clusters, **place}
    reason = lacking(design, sides, among)
    if reason:
        ledger.refuse(stall.name, "risk_difference", "proportion", f"{reason}, with all four resources", **base)
        return
    hit = r.stall > 0.5
    (first, one), (second, two) = (share_interval(design, hit, side) for side in (sides.first, sides.second))
    found = melded_difference(first, second, design.replicates)
    groups = [(int(side.sum()), design.clusters(side)) for side in (sides.first, sides.second)]
    hits = min(int((side & told).sum()) for side in (sides.first, sides.second) for told in (hit, ~hit))
    smallest = (min(g[0] for g in groups), min(g[1] for g in groups))
    small = f"small base: fewer than {SMALL_BASE} respondents on one side" if smallest[0] < SMALL_BASE else ""
    error = float(np.hypot(np.nan_to_num(one.std_error), np.nan_to_num(two.std_error)))
    ledger.add(
        stall.name, "risk_difference", "proportion", draws=found.draws, smallest=smallest, hits=hits,
        estimate=found.estimate, std_error=error, conf_low=found.conf_low, conf_high=found.conf_high, conf_level=0.95,
        method="melded_korn_graubard", status="flagged" if small else "ok",
        reason="; ".join(text for text in ("exact interval, unadjusted; an association", small) if text), **base,
    )  # fmt: skip


def _by_lack(ledger: Ledger, instrument: Instrument, stall: Item, r: _Readings, held: Confounders) -> None:
    """Add low against high ambition, talent and openness, each held fixed for the others."""
    design = ledger.design
    low: dict[str, Floats] = {}
    names: dict[str, str] = {}
    for slot in ("amb", "res_tal", "ack"):
        of = instrument.slot(slot)
        names[slot] = of[0].name if of else slot
        if of:
            codes = sorted(of[0].codes)
            mean = r.team.mean_of(answers(design, of[0]))
            below = np.where(np.isnan(mean), np.nan, mean < 0.5 * (codes[0] + codes[-1]) - NIL)
            low[slot] = r.team.told(below)
    apart = np.nan_to_num(r.wide) == 1.0
    everyone = ~np.isnan(r.wide)
    for slot in ("amb", "res_tal", "ack"):
        if slot not in low:
            reason = "the wave does not ask it"
            ledger.refuse(stall.name, "risk_difference", "proportion", reason, item=names[slot])
            continue
        beside = {other: low[other] for other in low if other not in {slot, "ack"}}
        beside["wide"] = r.wide
        if "ack" in low:
            near = np.where(np.isnan(low["ack"]), np.nan, low["ack"] * ~apart)
            beside["unnamed, near"] = near
            if slot != "ack":
                beside["unnamed, apart"] = np.where(np.isnan(low["ack"]), np.nan, low["ack"] * apart)
        words = {
            "amb": ("low ambition", "high ambition"),
            "res_tal": ("little talent", "much talent"),
            "ack": ("disagreement seldom named, colleagues apart", "disagreement named, colleagues apart"),
        }[slot]
        compare(
            ledger, stall.name, "risk_difference", "proportion",
            Outcome("difference", np.where(np.isnan(low[slot]), np.nan, r.stall)),
            _sides(low[slot], apart if slot == "ack" else everyone, words), held=held, beside=beside,
            note=f"{words[0]} less {words[1]}; an association", item=names[slot],
        )  # fmt: skip
