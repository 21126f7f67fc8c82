"""What someone outside would do to a published table: solve it for what was held back.

The attacker here knows more than the public: the exact counts and means of every row that is shown, and how many people
named no role or no stage. What stays hidden from them stays hidden from everyone.
"""

import numpy as np
from scipy.optimize import linprog

from fieldwork.disclosure.complement import ALIASES

KEY = ["construct", "measure", "statistic", "segment", "item"]
SHOWN = ("ok", "flagged")


def tables(published, exact):
    """Yield the additive tables: keys of their cells, counts, and which are shown."""
    both = published.merge(
        exact[["wave", *KEY, "role", "role_2", "stage", "estimate", "n"]],
        on=["wave", *KEY, "role", "role_2", "stage"],
        suffixes=("", "_exact"),
    )
    both = both[both["unit"].isin(["scale_point", "proportion"]) & (both["role_2"] == "")]
    both = both[both["status"] != "not_assessable"].assign(statistic=both["statistic"].replace(ALIASES))
    yield from both.groupby(["wave", *KEY], sort=False)


def relations(table):
    """Rows of A: each shown margin as a sum over the cells of the table."""
    crossed = table[(table["role"] != "") & (table["stage"] != "")]
    cells = crossed if len(crossed) else table[(table["role"] != "") ^ (table["stage"] != "")]
    outer = table.drop(cells.index)
    outer = outer[outer["status"].isin(SHOWN)]
    A = np.array(
        [
            ((row["role"] == "") | (cells["role"] == row["role"]))
            & ((row["stage"] == "") | (cells["stage"] == row["stage"]))
            for _, row in outer.iterrows()
        ],
        dtype=float,
    ).reshape(len(outer), len(cells))
    return cells, A


def recovered(published, exact, *, threshold=10):
    """List the held-back cells that the shown rows determine: exactly, or to within half the threshold below it.

    Counts and sums obey the same relations, so a cell whose count is determined has a determined mean too.
    """
    found = []
    for key, table in tables(published, exact):
        cells, A = relations(table)
        hidden = np.flatnonzero(~cells["status"].isin(SHOWN))
        if not len(hidden) or not len(A):
            continue
        B = A[:, hidden]
        B = B[B.any(axis=1)]
        if not len(B):
            continue
        # A held share of many people is held for its one or two; their number is what must not be known.
        n = cells["n_exact"].to_numpy(float)[hidden]
        small = n < threshold
        share = (cells["unit"] == "proportion").to_numpy()[hidden] & ~small
        hits = np.round(n * cells["estimate_exact"].to_numpy(float)[hidden])
        for place in range(len(hidden)):
            amount, limit = (hits, 3.0) if share[place] else (n, float(threshold))
            low, high = bounds(B, B @ amount, place)
            if high < limit or high - low < limit / 2:
                found.append((*key, cells.iloc[hidden[place]]["role"], cells.iloc[hidden[place]]["stage"], low, high))
    return found


def bounds(A, b, place):
    aim = np.zeros(A.shape[1])
    aim[place] = 1.0
    ends = []
    for sign in (1.0, -1.0):
        solved = linprog(sign * aim, A_eq=A, b_eq=b, bounds=(0, None), method="highs")
        ends.append(sign * solved.fun if solved.fun is not None else np.inf)
    return ends


def from_contrasts(published):
    """List the held-back cells that shown contrasts and shown cells determine: a contrast with one unknown cell is solved."""
    found = []
    shown = published[published["status"].isin(SHOWN)]
    cell = {
        (r.wave, r.construct, r.measure, r.role, r.stage): r.status in SHOWN
        for r in published[published["statistic"] == "role_mean"].itertuples()
    }
    for r in shown[shown["segment"].str.contains(" v ", regex=False)].itertuples():
        parts = r.segment.split(" v ")
        used = [(r.role, parts[0]), (r.role_2, parts[1])]
        if r.statistic != "naive_gap":
            used = [(role, stage) for role in (r.role, r.role_2) for stage in parts]
        unknown = [each for each in used if not cell.get((r.wave, r.construct, r.measure, *each), True)]
        if len(unknown) == 1:
            found.append((r.wave, r.measure, r.statistic, *unknown[0]))
    return found


def across_waves(published):
    """List the held-back rows that a shown change and the other wave's shown row give away."""
    found = []
    state = {
        (r.wave, r.construct, r.measure, r.statistic, r.role, r.stage): r.status in SHOWN
        for r in published.itertuples()
    }
    waves = sorted(published["wave"].unique())
    level = {"shift": "ridit", "mean_change": "role_mean"}
    for r in published[published["statistic"].isin(level) & published["status"].isin(SHOWN)].itertuples():
        ends = [state.get((w, r.construct, r.measure, level[r.statistic], r.role, "")) for w in (waves[0], r.wave)]
        if sorted(map(str, ends)) == ["False", "True"]:
            found.append((r.wave, r.measure, r.statistic, r.role))
    return found


def everything(published, exact):
    """All ways together, over all waves given."""
    return [*recovered(published, exact), *from_contrasts(published), *across_waves(published)]


def released_twice(one, two, *, threshold=10):
    """List what two releases of a wave give away together; each a pair of published and exact estimates.

    `few`: a row shown in both whose bases differ by 1 to `threshold` - 1 people, whose answers are the difference. `held`: a
    cell that the first release held back and that its own shown margins determine, once the cells which the second release
    shows of unchanged people are put into them.
    """
    key = ["wave", "construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item"]
    first, second = (
        published[[*key, "status"]].merge(exact[[*key, "n", "estimate"]], on=key) for published, exact in (one, two)
    )
    both = first.merge(second, on=key, suffixes=("_1", "_2"))
    shown_1, shown_2 = both["status_1"].isin(SHOWN), both["status_2"].isin(SHOWN)
    apart = (both["n_1"] - both["n_2"]).abs()
    found = [("few", *row) for row in both.loc[shown_1 & shown_2 & apart.between(1, threshold - 1), key].to_numpy()]
    # An unchanged cell that the second release shows counts as shown in the first.
    known = both[shown_2 & (apart == 0)]
    names = set(known[key].itertuples(index=False, name=None))
    told = one[0].copy()
    also = [tuple(row) in names for row in told[key].itertuples(index=False, name=None)]
    told.loc[also, "status"] = "ok"
    before = {tuple(each) for each in recovered(*one, threshold=threshold)}
    return found + [
        ("held", *each) for each in recovered(told, one[1], threshold=threshold) if tuple(each) not in before
    ]
