"""The only door to publication: who may be shown, what must go with what is held back, and to which precision.

Own code: the gate is one of the things that the project exists for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fieldwork import schema
from fieldwork.disclosure.answers import SHARE, Whole, as_cells, lines_of_means, whole_of
from fieldwork.disclosure.complement import ELSEWHERE, FUNCTIONS, SUMS, Lines, curved, lines_of, protect
from fieldwork.disclosure.policy import Policy
from fieldwork.disclosure.together import pairs_that_tell

__all__ = ["Policy", "publish"]

NUMBERS = ("estimate", "std_error", "conf_low", "conf_high", "p_value", "p_adjusted")
BASES = ("n", "n_organisations", "n_effective")
SMALL_BASE = 30
NIL = 1e-9
MEANS = ("role_mean", "stage_mean", "mean", "mean_change", "mean_change_panel", "naive_gap", "mean_rank")
CHANGES = {
    "mean_change": "role_mean",
    "gap_change": "role_mean",
    "shift": "ridit",
}  # and the level that a change starts from
_OF_MEANS = 2  # decimals of a weighted mean
WITH_IT = "held back: without it, what is held back beside it could be worked out"
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def publish(
    estimates: pd.DataFrame,
    policy: Policy,
    bases: pd.DataFrame | None = None,
    released: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Pass internal estimates through the gate and round them to publication precision.

    A row is `suppressed`, with every number and base emptied, when

    - it rests on fewer respondents or organisations than the policy's minimum, in the thinnest group behind it;
    - it is a share with fewer than three people on one side, or says of a group of fewer than 30 (three times the minimum) that
      all answered alike;
    - one organisation, or two, carry too much of the weight behind it: (n, k) and p% rules; or one respondent of a small group;
    - without it a held-back cell could be worked out from its margins (`complement`), and with that cell every row of the
      same role, stage, answer and measure, every contrast that rests on the cell, and every sum over the answers beside it;
    - it is a share of a set that adds to one, of which a single share, or one of too few people, would be held back; or a
      held share could be worked out from it;
    - it is the share of an answer (`answer_share`) whose question's mean, or another share of which, is held back for the same
      people, or that would tell anything else that is held: shares of answers take nothing but one another along;
    - it is the share that gives two answers (`cited_together`) beside others that would tell a group of three answers;
    - it speaks of a segment that lacks 1 to 9 people of the whole which stands beside it;
    - it, or the whole or a segment of it, was released before on a base that differs by 1 to 9 people, whose answers would be
      the difference; or an earlier release held it back on a base that differs by fewer than 10: its margins are out;
    - with an earlier release its table would tell what a few people in held cells answered: a margin that gained less, or more,
      than its shown cells by 1 to 9 people;
    - it is a change since a wave whose release held the level back that it would give, less this wave's own.

    Parameters
    ----------
    estimates : columns of `schema.ESTIMATES`, before rounding.
    policy : thresholds.
    bases : columns of `schema.BASES`, what the row itself does not tell: thinnest group, people behind a share, answers
        alike, concentration; without it the row's own base is taken.
    released : columns of `schema.RELEASED`, the exact bases of every row that earlier releases of the wave, and of the waves
        before it, have shown, or held back (`fieldwork release` records them).

    A row on fewer than 30 respondents is `flagged`. Rows that are `not_assessable` keep their reason; their bases are emptied
    below the minimum, and where the survey names organisations and the row does not count them. Precision: bases to the
    nearest 5; estimates and intervals to 2 decimals (shares: whole per cent); standard errors to 3; p-values to 4. Means of
    respondents who all weigh the same, and their intervals, to 1: with n people, a mean of d decimals gives the exact sum of
    their answers for every n up to 10^d, where no private weights stand between. Spreads, ratios and indices are no such sums
    and keep 2. A survey
    that names no organisations has no organisation rule: `n_organisations` is empty there.

    Returns a new frame with the columns of `schema.ESTIMATES`, sorted by its key.

    >>> rows = [{"statistic": "role_mean", "unit": "scale_point", "estimate": 3.456, "n": 42, "status": "ok"},
    ...         {"statistic": "icc1", "unit": "index", "estimate": 0.2, "n": 9, "status": "ok"}]
    >>> publish(schema.frame(rows, schema.ESTIMATES), Policy())[["estimate", "n", "status"]].values.tolist()
    [[<NA>, <NA>, 'suppressed'], [3.46, 40, 'ok']]
    """
    out = schema.conform(estimates, schema.ESTIMATES, where="disclosure.publish")
    behind = _behind(out, bases)
    assessed = out["status"].isin(["ok", "flagged"]).to_numpy()
    held = np.zeros(len(out), dtype=bool)
    for rule, reason in _primary(out, behind, policy):
        new = assessed & rule & ~held
        out.loc[new, "reason"] = reason
        held |= new
    for rule, reason in _differences(out, behind, policy, released):
        new = assessed & rule & ~held
        out.loc[new, "reason"] = reason
        held |= new
    of_three = assessed & pairs_that_tell(out, behind.hits, held, policy.minimum_respondents) & ~held
    out.loc[of_three, "reason"] = WITH_IT
    held |= of_three
    with_it = assessed & _complementary(out, behind, held, policy, _earlier(out, released)) & ~held
    out.loc[with_it, "reason"] = WITH_IT
    held |= with_it
    of_before = assessed & _levels_of_before(out, released) & ~held
    out.loc[of_before, "reason"] = WITH_IT
    held |= of_before
    few = (behind.n < policy.minimum_respondents) | (behind.organisations < policy.minimum_organisations)
    out.loc[held, "status"] = "suppressed"
    out.loc[held, ["conf_level", *NUMBERS, *BASES]] = pd.NA
    out.loc[held, "adjustment"] = ""
    # A refusal that does not count organisations may speak of one alone, where the survey names them.
    uncounted = np.isinf(behind.organisations) & bool(np.isfinite(behind.organisations).any())
    out.loc[~assessed & (few | uncounted), list(BASES)] = pd.NA
    own = out["n"].astype("Float64").fillna(0).to_numpy(dtype=np.float64)
    small = assessed & ~held & (own < SMALL_BASE) & (out["status"] == "ok").to_numpy()
    out.loc[small, "status"] = "flagged"
    note = f"small base: fewer than {SMALL_BASE} respondents"
    out.loc[small, "reason"] = [f"{reason}; {note}" if reason else note for reason in out.loc[small, "reason"]]
    return (
        _rounded(out, _plain_means(out, behind))
        .sort_values(list(schema.ESTIMATE_KEY), kind="stable")
        .reset_index(drop=True)
    )


@dataclass(frozen=True, slots=True)
class _Behind:
    """What stands behind each row, as arrays (rows,).

    Attributes
    ----------
    n, organisations : thinnest group; inf where not known. own : the row's own base.
    hits, misses : people on either side of a share. alike : 1 where all gave one answer.
    largest, two_largest : share of the weight that one and two organisations carry; 0 where not known.
    heaviest : largest weight of one respondent over the median of them; NaN where not known.
    sets : rows of each set of shares that adds to one. tells : row, and the rows that could be worked out from it.
    cell : the answer whose share the row is; empty for all others.
    """

    n: Floats
    organisations: Floats
    own: Floats
    hits: Floats
    misses: Floats
    alike: Floats
    largest: Floats
    two_largest: Floats
    heaviest: Floats
    sets: tuple[Ints, ...]
    tells: tuple[tuple[int, Ints], ...]
    cell: pd.Series


def _behind(out: pd.DataFrame, bases: pd.DataFrame | None) -> _Behind:
    def numbers(column: pd.Series, missing: float) -> Floats:
        return np.asarray(column.astype("Float64").fillna(missing), dtype=np.float64)

    own = numbers(out["n"], 0.0)
    n, organisations = own, numbers(out["n_organisations"], np.inf)
    hits = np.round(numbers(out["estimate"], 0.0) * n)
    alike, largest, two_largest = np.zeros(len(out)), np.zeros(len(out)), np.zeros(len(out))
    heaviest = np.full(len(out), np.nan)
    sets: tuple[Ints, ...] = ()
    tells: tuple[tuple[int, Ints], ...] = ()
    cell = pd.Series("", index=out.index, dtype="string")
    if bases is not None:
        key = [name for name in schema.ESTIMATE_KEY if name != "wave"]
        joined = out[key].merge(schema.conform(bases, schema.BASES), on=key, how="left", validate="one_to_one")
        n = np.minimum(n, numbers(joined["smallest_n"], np.inf))
        organisations = np.minimum(organisations, numbers(joined["smallest_organisations"], np.inf))
        told = joined["hits"].notna().to_numpy()
        hits = np.where(told, numbers(joined["hits"], 0.0), hits)
        alike = joined["alike"].fillna(value=False).to_numpy(dtype=np.float64)
        largest, two_largest = numbers(joined["largest_share"], 0.0), numbers(joined["two_largest_share"], 0.0)
        heaviest = joined["largest_weight"].to_numpy(dtype=np.float64, na_value=np.nan)
        sets, tells = tuple(_places(joined["adds_up"]).values()), _told(out, joined["tells"])
        cell = joined["cell"].fillna("")
    return _Behind(n, organisations, own, hits, own - hits, alike, largest, two_largest, heaviest, sets, tells, cell)


def _places(names: pd.Series) -> dict[str, Ints]:
    """Rows that carry each name, of texts that hold names apart by `;`."""
    rows: dict[str, list[int]] = {}
    for place, text in enumerate(names.fillna("")):
        for name in filter(None, text.split(";")):
            rows.setdefault(name, []).append(place)
    return {name: np.array(rows[name], dtype=np.int64) for name in sorted(rows)}


def _told(out: pd.DataFrame, tells: pd.Series) -> tuple[tuple[int, Ints], ...]:
    """Pair each row that gives shares away with the rows of these shares."""
    share = out["statistic"].eq("share")
    named = _places((out["measure"] + "|" + out["segment"] + "|" + out["item"]).where(share, ""))
    nowhere = np.empty(0, dtype=np.int64)
    return tuple(
        (place, np.concatenate([named.get(name, nowhere) for name in text.split(";")]))
        for place, text in enumerate(tells.fillna(""))
        if text
    )


def _primary(out: pd.DataFrame, behind: _Behind, policy: Policy) -> Iterator[tuple[Flags, str]]:
    """Yield what a row's own base forbids, the first reason first."""
    few = (behind.n < policy.minimum_respondents) | (behind.organisations < policy.minimum_organisations)
    yield (
        few,
        (
            f"held back: fewer than {policy.minimum_respondents} respondents or {policy.minimum_organisations} organisations"
        ),
    )
    share = (out["unit"] == "proportion").to_numpy() & out["estimate"].notna().to_numpy()
    lonely = share & ((behind.hits < policy.minimum_of_share) | (behind.misses < policy.minimum_of_share))
    yield lonely, f"held back: fewer than {policy.minimum_of_share} people gave, or did not give, this answer"
    alike = behind.alike.astype(bool) & (behind.n < policy.small)
    yield alike, f"held back: fewer than {policy.small} respondents, who all answered alike"
    rest = 1.0 - behind.two_largest
    dominated = (
        (behind.largest > policy.largest_organisation + 1e-9)
        | (behind.two_largest > policy.two_largest_organisations + 1e-9)
        | ((behind.two_largest > 0) & (rest < policy.p_percent / 100.0 * behind.largest))
    )
    yield dominated, "held back: one or two organisations carry too much of its weight"
    # Weights are told of those whom the row speaks of, so its own base is what they are held against.
    heavy = (behind.heaviest > policy.largest_weight + 1e-9) & (behind.own < policy.small)
    yield heavy, f"held back: one respondent weighs more than {policy.largest_weight:g} times the median"


def _differences(
    out: pd.DataFrame, behind: _Behind, policy: Policy, released: pd.DataFrame | None
) -> Iterator[tuple[Flags, str]]:
    """Yield what a second table of almost the same people would give away: nested segments, and earlier releases."""
    whole_key = ["construct", "measure", "statistic", "role", "role_2", "stage", "item"]
    whole = out.assign(base=behind.own)[out["segment"] == ""].set_index(whole_key)["base"]
    beside = pd.Series(pd.MultiIndex.from_frame(out[whole_key]).map(whole.to_dict()), dtype="Float64")
    lacking = np.asarray(beside.fillna(-1.0), dtype=np.float64) - behind.own
    nested = (out["segment"] != "").to_numpy() & (lacking > 0) & (lacking < policy.smallest_difference)
    yield nested, f"held back: the whole beside it has fewer than {policy.smallest_difference} people more"
    if released is not None and len(released):
        moved, hidden = _since(out, behind.own, schema.conform(released, schema.RELEASED), policy.smallest_difference)
        yield moved, f"held back: an earlier release of it differs by fewer than {policy.smallest_difference} people"
        # The same words as beside the held cell itself: a release that changes nothing changes no byte.
        yield hidden, WITH_IT


def _levels_of_before(out: pd.DataFrame, released: pd.DataFrame | None) -> Flags:
    """Return the changes of a role since an earlier wave whose releases never showed the level that they start from."""
    if released is None or not len(released):
        return np.zeros(len(out), dtype=bool)
    rows = schema.conform(released, schema.RELEASED)
    rows = rows[~rows["wave"].isin(out["wave"].unique()) & (rows["stage"] == "") & (rows["role_2"] == "")]
    key = ["wave", "measure", "statistic", "role", "segment"]
    shown = set(schema.tuples_of(rows.loc[rows["shown"], key]))
    never = {name[1:] for name in schema.tuples_of(rows[key]) if name not in shown}
    each = schema.tuples_of(out[["measure", "statistic", "role", "role_2", "segment"]])
    return np.array(
        [
            any((measure, CHANGES[statistic], name, segment) in never for name in (role, role_2) if name)
            if statistic in CHANGES
            else False
            for measure, statistic, role, role_2, segment in each
        ],
        dtype=np.bool_,
    )


def _since(out: pd.DataFrame, own: Floats, before: pd.DataFrame, smallest: int) -> tuple[Flags, Flags]:
    """Return the rows that differ from a row released earlier by a few people, and those held back earlier on almost as many.

    A whole is held against its released segments and a segment against its released whole as well.
    """
    names = [name for name in schema.ESTIMATE_KEY if name != "segment"]
    released: dict[tuple[str, ...], list[tuple[str, float, bool]]] = {}
    rows = before.dropna(subset=["n"])
    for key, segment, n, shown in zip(
        schema.tuples_of(rows[names]), rows["segment"], rows["n"], rows["shown"], strict=True
    ):
        released.setdefault(key, []).append((segment, float(n), bool(shown)))
    moved, hidden = np.zeros(len(out), dtype=bool), np.zeros(len(out), dtype=bool)
    for place, (key, mine) in enumerate(zip(schema.tuples_of(out[names]), out["segment"], strict=True)):
        for segment, n, shown in released.get(key, ()):
            apart = abs(own[place] - n)
            nested = segment == mine or "" in {segment, mine}
            moved[place] |= shown and nested and 0 < apart < smallest
            hidden[place] |= not shown and segment == mine and apart < smallest
    return moved, hidden


def _earlier(out: pd.DataFrame, released: pd.DataFrame | None) -> tuple[tuple[Floats, Flags], ...]:
    """Each earlier release of the same wave: exact base of every row (rows,), NaN where it had none, and whether shown."""
    if released is None or not len(released):
        return ()
    key = list(schema.ESTIMATE_KEY)
    made: list[tuple[Floats, Flags]] = []
    for _, one in schema.conform(released, schema.RELEASED).groupby("release", sort=True):
        joined = out[key].merge(one[[*key, "n", "shown"]].drop_duplicates(key), on=key, how="left")
        if joined["n"].isna().all():
            continue  # of another wave
        n = np.asarray(joined["n"].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
        made.append((n, np.asarray(joined["shown"].fillna(value=False), dtype=np.bool_)))
    return tuple(made)


def _gained(
    lines: Lines, own: Floats, held: Flags, earlier: tuple[tuple[Floats, Flags], ...], smallest: int
) -> list[int]:
    """List the margins that, with an earlier release, would tell of a few people in the cells that one of the two holds back.

    What a shown margin gained, less what its cells gained that both releases show, is what its other cells gained together. One
    cell may be told by several margins: where the equations of both tables determine its gain, the margin with fewest of the
    other cells goes.
    """
    gone: list[int] = []
    for n, shown in earlier:
        open_now = ~lines.untold(held) & ~lines.untold(~shown)
        gain = own[lines.cells] - n[lines.cells]
        unknown = held[lines.cells] | ~shown[lines.cells]
        among = lines.member & unknown
        for line in np.flatnonzero(open_now & among.any(axis=1)):
            told = lines.telling[line] if lines.together else lines.margins[[line]]
            left = (own[told] - n[told]).sum() - gain[lines.member[line] & ~unknown].sum()
            if 0 < abs(left) < smallest:
                gone.append(int(line))
        still = np.array([line for line in np.flatnonzero(open_now) if line not in gone], dtype=np.int64)
        cells = np.flatnonzero(unknown & np.isfinite(gain))
        A = lines.member[np.ix_(still, cells)].astype(np.float64)
        if not len(cells) or not A.any():
            continue
        # A cell is determined where the equations leave no direction in which it could move.
        loose = np.abs(np.eye(len(cells)) - np.linalg.pinv(A) @ A).max(axis=0) > 1e-9
        for place in np.flatnonzero(~loose & (np.abs(gain[cells]) > 0) & (np.abs(gain[cells]) < smallest)):
            through = still[A[:, place] > 0]
            gone.append(int(min(through, key=lambda line: (among[line].sum(), line))))
    return sorted(set(gone))


def _complementary(
    out: pd.DataFrame, behind: _Behind, held: Flags, policy: Policy, earlier: tuple[tuple[Floats, Flags], ...] = ()
) -> Flags:
    """Return what must go with the held rows: further cells and margins, and rows that would give a held cell away."""
    # Hundreds of small tables are cut from the words of the rows: from columns of arrow that takes twice as long.
    out = out.astype({name: object for name in out.columns if isinstance(out[name].dtype, pd.StringDtype)})
    # What is held because it is a function of many cells is no cell: it takes nothing along, in this release or the next.
    function = out["statistic"].isin([*FUNCTIONS, *CHANGES]).to_numpy(dtype=bool)
    held, curves = held & ~function, held & function
    answer = (out["statistic"] == SHARE).to_numpy(dtype=bool)
    cells_of = as_cells(out, behind.cell)
    tables = tuple(lines_of(cells_of))
    of_answers = [bool(answer[np.concatenate([table.cells, *table.telling])].any()) for table in tables]
    others = tuple(table for table, mine in zip(tables, of_answers, strict=True) if not mine)
    sets = tuple(rows for rows in behind.sets if not answer[rows].any())
    held, curves = _closed(out, behind, held, curves, policy, earlier, _Reach(others, sets, ~answer))
    if answer.any():
        # Shares of answers give way: what all else may show is settled without them.
        spoken = (*(table for table, mine in zip(tables, of_answers, strict=True) if mine), *lines_of_means(cells_of))
        sets = tuple(rows for rows in behind.sets if answer[rows].any())
        may = answer & ~_told_by_settled(spoken, ~answer & ~held)
        reach = _Reach(spoken, sets, may, whole_of(cells_of))
        held, curves = _closed(out, behind, held, curves, policy, earlier, reach)
    return held | curves


@dataclass(frozen=True, slots=True)
class _Reach:
    """What one round of closing looks at.

    Attributes
    ----------
    tables : tuple of Lines          Additive tables.
    sets : tuple of (rows,) int      Shares that add to one.
    may : (rows,) bool               Rows that may be held back; all others are settled.
    whole : Whole, optional          Shares that are shown together or not at all.
    """

    tables: tuple[Lines, ...]
    sets: tuple[Ints, ...]
    may: Flags
    whole: Whole | None = None


def _closed(
    out: pd.DataFrame,
    behind: _Behind,
    held: Flags,
    curves: Flags,
    policy: Policy,
    earlier: tuple[tuple[Floats, Flags], ...],
    reach: _Reach,
) -> tuple[Flags, Flags]:
    """Return which rows (rows,) are held, and which of those that are functions of many cells, when nothing more must go."""
    held, curves = held.copy(), curves.copy()
    dear = 1.0 + 9.0 * _contrasted(out)
    # A row held for the sake of another group does not speak for its own role.
    own = behind.n >= behind.own
    lonely = (out["unit"] == "proportion").to_numpy() & ~(behind.n < policy.minimum_respondents)
    assessed = (out["status"] != "not_assessable").to_numpy(dtype=bool)
    while True:
        before = held.copy()
        for lines in reach.tables:
            for gained in _gained(lines, behind.own, held, earlier, policy.smallest_difference):
                lines.silence(held, gained, behind.own)
            _hold_a_cell_of_held_margins(lines, held, behind.own * dear, reach.may)
            if not held[lines.cells].any():
                continue
            counts = [(behind.own, np.ones(len(held), dtype=bool), float(policy.minimum_respondents))]
            # A share that is held for one or two people is protected in people who gave, and who did not give, the answer.
            counts += [(side, lonely, float(policy.minimum_of_share)) for side in (behind.hits, behind.misses)]
            for count, of, threshold in counts:
                mine = held[lines.cells] & of[lines.cells]
                if not mine.any():
                    continue
                cells, margins = protect(
                    lines,
                    count[lines.cells],
                    held[lines.cells],
                    lines.untold(held),
                    threshold=threshold,
                    cost=(behind.own * dear)[lines.cells],
                    stays=~reach.may[lines.cells],
                )
                held[lines.cells[cells]] = True
                for line in np.flatnonzero(margins):
                    lines.silence(held, int(line), behind.own)
        curves |= curved(out, held & assessed, behind.own, behind.n) & ~held & reach.may
        held |= _tied(out, held & own)
        _hold_alternatives(behind, held, policy, reach)
        if reach.whole is not None:
            reach.whole.hold(held)
        held = before | (held & reach.may)
        if (held == before).all():
            return held, curves


def _told_by_settled(tables: tuple[Lines, ...], settled: Flags) -> Flags:
    """Return rows (rows,) that are the sum of rows that are `settled` and shown: to hold them back would hide nothing."""
    told = np.zeros(len(settled), dtype=bool)
    for lines in tables:
        if not lines.told:
            told[lines.margins] |= lines.member.any(axis=1) & ~(lines.member & ~settled[lines.cells]).any(axis=1)
    return told


def _hold_a_cell_of_held_margins(lines: Lines, held: Flags, cost: Floats, may: Flags) -> None:
    """Hold back, in place, the cheapest cell of a held margin whose cells are all shown: it would be their sum."""
    if lines.told:
        return
    for line in np.flatnonzero(lines.untold(held) & lines.member.any(axis=1)):
        mine = lines.cells[lines.member[line]]
        free = mine[may[mine]]
        if len(free) and not held[mine].any():
            held[free[np.argmin(cost[free])]] = True


def _hold_alternatives(behind: _Behind, held: Flags, policy: Policy, reach: _Reach) -> None:
    """Hold back, in place, what would tell a held share of a set that adds to one, and rows that give a held share away.

    A share of such a set is one less the others: so none is held alone, and none of fewer people together than a share must
    have. The share that speaks of the fewest people goes with it.
    """
    people = np.minimum(behind.hits, behind.misses)
    for rows in reach.sets:
        mine, free = held[rows], reach.may[rows]
        while (
            mine.any()
            and (free & ~mine).any()
            and (mine.sum() < 2 or behind.hits[rows][mine].sum() < policy.minimum_of_share)
        ):
            shown = rows[free & ~mine]
            held[shown[np.argmin(people[shown])]] = True
            mine = held[rows]
    for row, told in behind.tells:
        held[row] |= bool(held[told].any())


def _tied(out: pd.DataFrame, held: Flags) -> Flags:
    """Rows that speak of a held cell in other words.

    They are of its role, stage, segment and answer, a contrast of its cells, a sum over the answers of its question, or a
    value that may be that of any role but one.
    """
    sums = out["statistic"].isin(SUMS).to_numpy(dtype=bool)
    elsewhere = out["statistic"].isin(ELSEWHERE).to_numpy(dtype=bool)
    # A row of two roles that is held is no cell of the first: what one role says of another is not what all say of it.
    named = ((out["role"] != "") & (out["role_2"] == "")).to_numpy(dtype=bool)
    whole = ["construct", "measure", "role", "stage", "segment"]
    answer = ["construct", "measure", "item"]
    # An answer that stands alone is no part of a sum: it has no row of its own among them.
    counted = set(schema.tuples_of(out.loc[sums & (out["item"] != "").to_numpy(dtype=bool), answer]))
    answers = np.fromiter((key in counted for key in schema.tuples_of(out[answer])), bool, len(out))
    cells = held & ~sums & ~elsewhere
    gone = set(schema.tuples_of(out.loc[cells & named, [*whole, "item"]]))
    part = set(schema.tuples_of(out.loc[cells & answers, whole]))
    if not gone and not part:
        return np.zeros(len(out), dtype=bool)
    rows = out[["construct", "measure", "role", "role_2", "stage", "segment", "item"]]
    tied = (not gone.isdisjoint(_cells(*row)) for row in schema.tuples_of(rows))
    summed = (key in part for key in schema.tuples_of(out[whole]))
    found = np.where(elsewhere, _from_others(out, gone), np.fromiter(tied, bool, len(out)))
    return np.asarray(found | (sums & np.fromiter(summed, bool, len(out))), dtype=np.bool_)


def _from_others(out: pd.DataFrame, gone: set[tuple[str, ...]]) -> Flags:
    """Return which rows show a value while a cell of the same answer is held for a role that they do not name."""
    roles: dict[tuple[str, ...], set[str]] = {}
    for construct, measure, role, *place in gone:
        roles.setdefault((construct, measure, *place), set()).add(role)
    keys = schema.tuples_of(out[["construct", "measure", "stage", "segment", "item"]])
    shown = out["estimate"].notna()
    return np.array(
        [
            bool(value and roles.get(key, set()) - set(role.split("+")))
            for key, role, value in zip(keys, out["role"], shown, strict=True)
        ],
        dtype=np.bool_,
    )


def _contrasted(out: pd.DataFrame) -> Flags:
    """Return which rows are cells that a contrast rests on: they are the last to be held for the sake of others."""
    rows = out[["construct", "measure", "role", "role_2", "stage", "segment", "item"]]
    contrasts = rows[rows["segment"].str.contains(" v ", regex=False)]
    wanted = {cell for row in schema.tuples_of(contrasts) for cell in _cells(*row)}
    keys = schema.tuples_of(rows.drop(columns="role_2"))
    return np.fromiter((key in wanted for key in keys), bool, len(rows))


def _cells(
    construct: str, measure: str, role: str, role_2: str, stage: str, segment: str, item: str
) -> list[tuple[str, ...]]:
    """List the cells that a row speaks of, as keys of the rows that show them."""
    roles = [name for each in (role, role_2) for name in each.split("+") if name]
    if " v " in segment:
        return [(construct, measure, name, part, "", item) for name in roles for part in segment.split(" v ")]
    return [(construct, measure, name, stage, segment, item) for name in roles]


def _plain_means(out: pd.DataFrame, behind: _Behind) -> Flags:
    """Return which rows are means of answers of people who all weigh the same, or differences of such means."""
    of_answers = (out["statistic"].isin(MEANS) & out["unit"].eq("scale_point")).to_numpy(dtype=bool)
    return np.asarray(of_answers & (np.abs(behind.heaviest - 1.0) < NIL), dtype=np.bool_)


def _rounded(table: pd.DataFrame, plain: Flags) -> pd.DataFrame:
    decimals = {"estimate": 2, "conf_low": 2, "conf_high": 2, "std_error": 3, "p_value": 4, "p_adjusted": 4}
    for name, places in decimals.items():
        values = table[name].to_numpy(dtype=np.float64, na_value=np.nan)
        # Adding zero turns -0.0 into 0.0, which would print as "-0".
        shown = np.where(plain & (places == _OF_MEANS), np.round(values, 1), np.round(values, places))
        table[name] = pd.array(shown + 0.0, dtype="Float64")
        table[name] = table[name].mask(np.isnan(values))
    for name in BASES:
        values = table[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        rounded = pd.array(np.floor(values / 5 + 0.5) * 5, dtype="Float64")
        table[name] = pd.Series(rounded, index=table.index).mask(np.isnan(values))
        if name != "n_effective":
            table[name] = table[name].astype("Int64")
    return table
