"""What someone outside would do to a published table: solve it for what was held back.

The attacker here knows more than the public: the exact counts and means of every row that is shown, and how many people
named no role or no stage. What stays hidden from them stays hidden from everyone.
"""

import re

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
    role, stage = (table[name].to_numpy(object) for name in ("role", "stage"))
    of_role, of_stage = role != "", stage != ""
    crossed = of_role & of_stage
    cell = crossed if crossed.any() else of_role ^ of_stage
    outer = ~cell & table["status"].isin(SHOWN).to_numpy()
    A = (~of_role[outer, None] | (role[outer, None] == role[cell])) & (
        ~of_stage[outer, None] | (stage[outer, None] == stage[cell])
    )
    return table[cell], A.astype(float)


def recovered(published, exact, *, threshold=10):
    """List the held-back cells that the shown rows determine: exactly, or to within half the threshold below it.

    Counts and sums obey the same relations, so a cell whose count is determined has a determined mean too.
    """
    found = []
    for key, table in tables(published, exact):
        if table["status"].isin(SHOWN).all():
            continue
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
        reached = {of_hits: Reached(amount) for of_hits, amount in ((True, hits), (False, n))}
        for place in range(len(hidden)):
            amount, limit = (hits, 3.0) if share[place] else (n, float(threshold))
            seen = reached[bool(share[place])]
            if open_count(seen.low[place], seen.high[place], limit):
                continue
            low, high = ends(place, seen, A_eq=B, b_eq=B @ amount)
            if not open_count(low, high, limit):
                found.append((*key, cells.iloc[hidden[place]]["role"], cells.iloc[hidden[place]]["stage"], low, high))
    return found


def open_count(low, high, limit, slack=0.0):
    """Tell whether a count from `low` to `high` tells nothing of a group under the limit."""
    return high >= limit - slack and high - low >= limit / 2 - slack


class Reached:
    """The least and the largest value of each unknown that is known to be possible: first the truth, then each solution.

    What is open by these alone needs no solving: its ends are at least as far apart.
    """

    def __init__(self, truth):
        truth = np.array(truth, dtype=float)
        # A change that fell is no solution: the attacker takes every unknown for an amount.
        able = bool((truth >= 0).all())
        self.low, self.high = np.where(able, truth, np.inf), np.where(able, truth, -np.inf)

    def see(self, solution):
        np.minimum(self.low, solution, out=self.low)
        np.maximum(self.high, solution, out=self.high)


def ends(place, reached, **equations):
    """The least and the largest that an unknown can be; infinite where nothing bounds it."""
    aim = np.zeros(len(reached.low))
    aim[place] = 1.0
    found = []
    for sign in (1.0, -1.0):
        solved = linprog(sign * aim, **equations, bounds=(0, None), method="highs")
        if solved.status == 0:
            reached.see(solved.x)
        found.append(sign * solved.fun if solved.fun is not None else np.inf)
    return found


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


def since(r, waves):
    """The wave that a change starts from: the one that its reason names, else the first that is known."""
    named = re.search(r"since ([^\s;]+)", str(r.reason))
    return named[1] if named else waves[0]


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
        ends = [
            state.get((w, r.construct, r.measure, level[r.statistic], r.role, "")) for w in (since(r, waves), r.wave)
        ]
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


# ---------------------------------------------------------------------------------- all tables of all waves at once

SCALE = {"scale_point": (1.0, 5.0), "proportion": (0.0, 1.0), "index": (0.0, 1.0)}
AXES = ("role", "stage", "segment")
PLACE = ["wave", "construct", "measure", "statistic", "role", "role_2", "stage", "segment", "item"]
CHANGES = {"mean_change": "role_mean", "shift": "ridit"}
ANSWERS = "answer_share"
PINNED = 0.1  # of a scale: the p% rule, read for an answer instead of a turnover


def facts(published, exact, bases=None):
    """Merge what is published with what is so: columns `n_exact`, `estimate_exact`, `hits`, `smallest`, `shown`."""
    both = published.merge(exact[[*PLACE, "estimate", "n"]], on=PLACE, suffixes=("", "_exact"), validate="one_to_one")
    if bases is None:
        both["hits"], both["smallest_n"], both["adds_up"], both["cell"] = np.nan, np.nan, "", ""
    else:
        key = [name for name in PLACE if name in bases.columns]
        told = ["hits", "smallest_n", "adds_up", "cell"]
        both = both.merge(bases[[*key, *told]], on=key, how="left", validate="one_to_one")
    number = {name: both[name].astype("Float64").to_numpy(float, na_value=np.nan) for name in
              ("n_exact", "estimate_exact", "hits", "smallest_n")}  # fmt: skip
    texts = {name: both[name].fillna("") for name in ("adds_up", "cell")}
    both = both.assign(**number, **texts, shown=both["status"].isin(SHOWN))
    both["hits"] = np.where(np.isnan(both["hits"]), np.round(both["n_exact"] * both["estimate_exact"]), both["hits"])
    both["family"] = both["segment"].str.extract("^([^=]+)=", expand=False).fillna("")
    both["name"] = both["statistic"].replace({**ALIASES, "mean": "role_mean"})
    # The share of an answer is one number, whichever construct publishes it.
    of_answer = both["cell"].ne("") & both["unit"].eq("proportion")
    both["name"] = both["name"].mask(of_answer, ANSWERS)
    both["home"] = both["construct"].mask(both["name"].eq(ANSWERS), ANSWERS)
    both["answer"] = both["item"].mask(of_answer, both["cell"])
    both = both[(both["status"] != "not_assessable") & both["n_exact"].notna()]
    return both.reset_index(drop=True)


def parents(rows):
    """Yield (place of a row, places of the rows that it is the sum of), along each of role, stage and segment.

    Segments of one question divide the whole, as roles and stages do. Rows of two roles are no part of it.
    """
    able = rows[
        (rows["unit"].isin(["scale_point", "proportion"]) | (rows["name"] == "mean_cited")) & (rows["role_2"] == "")
    ]
    able = able[(able["segment"] == "") | (able["family"] != "")]
    able = able[
        ~able["statistic"].str.contains("range|_sd|shrunken|bounds|model")
    ]  # in points of the scale, and no means
    n = rows["n_exact"].to_numpy()
    for _, table in able.groupby(["wave", "home", "measure", "name", "answer"], sort=False):
        at = dict(zip(zip(*(table[axis] for axis in AXES), strict=True), table.index, strict=True))
        families = sorted(set(table["family"]) - {""})
        for key, whole in at.items():
            for axis in range(3):
                if key[axis]:
                    continue
                for family in families if axis == 2 else [""]:
                    parts = [
                        place for other, place in at.items()
                        if other[axis] and all(other[j] == key[j] for j in range(3) if j != axis)
                        and (axis < 2 or other[2].startswith(f"{family}="))
                    ]  # fmt: skip
                    if axis == 2 and (len(parts) < 2 or n[whole] - n[parts].sum() >= 10):
                        continue  # people of no segment, about whom nothing is known, are no equation
                    if parts:
                        yield (
                            whole,
                            parts + [place for other, place in at.items() if axis < 2 and beside(other, key, axis, at)],
                        )


def beside(other, key, axis, at):
    """Tell whether a margin of the other axis has no cell: its people did not name this axis, and are beside its sum."""
    across = 1 - axis
    if key[across] or not other[across] or other[axis] or other[2] != key[2]:
        return False
    crossed = [each for each in at if each[0] and each[1] and each[2] == key[2]]
    return bool(crossed) and all(each[across] != other[across] for each in crossed)


class System:
    """Unknown amounts with linear equations among them; what is known already is put in."""

    def __init__(self):
        self.truth, self.known, self.rows = {}, set(), []

    def variable(self, name, truth, *, known):
        self.truth.setdefault(name, float(truth))
        if known:
            self.known.add(name)

    def equation(self, terms, slack=0.0):
        """The attacker knows what these terms add to, to within `slack`."""
        self.rows.append((dict(terms), slack))

    def intervals(self, wanted=None, uninteresting=lambda *_: False):
        """Return name -> (least, largest) of every unknown that some equation speaks of; others are free.

        `uninteresting`: tells of a name and two values that it can have whether they are far enough apart to leave it out.
        """
        names = sorted({n for terms, _ in self.rows for n in terms if n not in self.known}, key=str)
        column = {name: j for j, name in enumerate(names)}
        rows = []
        for terms, slack in self.rows:
            unknown = {n: c for n, c in terms.items() if n in column}
            if unknown:
                rows.append((unknown, sum(c * self.truth[n] for n, c in unknown.items()), slack))
        out = {}
        for part in self._components(rows):
            mine = sorted({n for k in part for n in rows[k][0]}, key=str)
            if wanted is not None and wanted.isdisjoint(mine):
                continue
            place = {name: j for j, name in enumerate(mine)}
            A = np.zeros((len(part), len(mine)))
            for i, k in enumerate(part):
                for name, c in rows[k][0].items():
                    A[i, place[name]] = c
            b, slack = (np.array([rows[k][j] for k in part], dtype=float) for j in (1, 2))
            equations, reached = self._equations(A, b, slack), Reached([self.truth[name] for name in mine])
            for name in mine:
                j = place[name]
                if wanted is not None and name not in wanted:
                    continue
                if not uninteresting(name, reached.low[j], reached.high[j]):
                    out[name] = tuple(ends(j, reached, **equations))
        return out

    @staticmethod
    def _equations(A, b, slack):
        sharp = slack == 0
        loose = ~sharp
        told = {}
        if loose.any():
            told = {"A_ub": np.vstack([A[loose], -A[loose]]),
                    "b_ub": np.concatenate([b[loose] + slack[loose], slack[loose] - b[loose]])}  # fmt: skip
        if sharp.any():
            told |= {"A_eq": A[sharp], "b_eq": b[sharp]}
        return told

    @staticmethod
    def _components(rows):
        root = list(range(len(rows)))

        def find(k):
            while root[k] != k:
                root[k] = root[root[k]]
                k = root[k]
            return k

        first = {}
        for k, (terms, _, _) in enumerate(rows):
            for name in terms:
                root[find(k)] = find(first.setdefault(name, k))
        parts = {}
        for k in range(len(rows)):
            parts.setdefault(find(k), []).append(k)
        return list(parts.values())


def counted(rows):
    """Every linear relation among counts of people, and among counts of those who gave an answer, of all tables given."""
    system = System()
    for r in rows.itertuples():
        system.variable(("n", r.Index), r.n_exact, known=r.shown)
        if r.unit == "proportion":
            system.variable(("hits", r.Index), r.hits, known=r.shown)
            system.variable(("misses", r.Index), r.n_exact - r.hits, known=r.shown)
            system.equation({("hits", r.Index): 1, ("misses", r.Index): 1, ("n", r.Index): -1})
    for whole, parts in parents(rows):
        kinds = ("n", "hits", "misses") if rows.at[whole, "unit"] == "proportion" else ("n",)
        for kind in kinds:
            system.equation({(kind, whole): -1, **{(kind, part): 1 for part in parts}})
    # A base is known where any row of the same people is shown: shares of one question have one base.
    for _, same in rows[rows["unit"] == "proportion"].groupby(
        ["wave", "home", "measure", "name", "role", "role_2", "stage", "segment"], sort=False
    ):
        bases = same["n_exact"]
        if len(same) > 1 and bases.nunique() == 1 and same["shown"].any():
            system.known |= {("n", place) for place in same.index}
    _told_by_sets(rows, system)
    _told_by_differences(rows, system)
    _told_by_sums(rows, system)
    return system


def _told_by_sets(rows, system):
    """The answers of a set add to its base, and the points of a band to the band."""
    sets = {}
    for r in rows.itertuples():
        for name in filter(None, r.adds_up.split(";")):
            sets.setdefault((r.wave, r.home, name), []).append(r.Index)
    for (*_, name), places in sets.items():
        # A band of a scale is the sum of its points: `...|1+2=` is the set of all three.
        whole = name.rsplit("|", 1)[-1].removesuffix("=") if name.endswith("=") else ""
        terms = {("hits", place): -1 if rows.at[place, "answer"] == whole else 1 for place in places}
        if not whole and rows.loc[places, "n_exact"].nunique() == 1:
            # All answers add to the base, which is known where one of them is shown.
            terms[("n", places[0])] = -1
            for place in places[1:]:
                system.equation({("n", places[0]): 1, ("n", place): -1})
        system.equation(terms)


def _told_by_differences(rows, system):
    """A shown difference of a group from the others tells how many in all gave the answer, where the bases are known."""
    of = ["wave", "construct", "measure", "item"]
    shares = rows[rows["statistic"].isin(["share", "prevalence", "ready_share"])]
    place = {(*key, r.role, r.segment): r.Index for r, key in
             zip(shares.itertuples(), shares[of].itertuples(index=False, name=None), strict=True)}  # fmt: skip
    for r in rows[rows["statistic"].isin(["risk_difference", "prevalence_ratio"]) & rows["shown"]].itertuples():
        key = (r.wave, r.construct, r.measure, r.item)
        mine = place.get((*key, r.role, r.segment))
        if mine is None or (r.role == "" and r.segment == ""):
            continue
        whole = place.get((*key, "", ""))
        total = ("hits", whole) if whole is not None else ("whole", *key, r.family)
        n = rows.at[mine, "n_exact"]
        if whole is None:
            parts = [p for (*k, role, _), p in place.items() if tuple(k) == key and role == r.role
                     and rows.at[p, "family"] == r.family]  # fmt: skip
            system.variable(total, sum(rows.at[p, "hits"] for p in parts), known=False)
            system.equation({total: -1, **{("hits", p): 1 for p in parts}})
        base = rows.at[whole, "n_exact"] if whole is not None else r.n_exact
        if base <= n:
            continue
        # difference = h/n - (H - h)/(N - n); ratio = (h/n) / ((H - h)/(N - n)); either way one equation in h and H.
        h, H = system.truth["hits", mine], system.truth[total]
        others = (H - h) / (base - n)
        k = 1.0 if r.statistic == "risk_difference" else (h / n) / others if others > 0 else None
        if k is not None:
            system.equation({("hits", mine): 1 / n + k / (base - n), total: -k / (base - n)})


def _told_by_sums(rows, system):
    """The mean number of answers of a group is the sum of its shares; an answer that stands alone is no part of it."""
    of = ["wave", "construct", "measure"]
    part_of = set(rows.loc[rows["statistic"] == "location_quotient", [*of, "item"]].itertuples(index=False, name=None))
    cited = rows[rows["statistic"] == "prevalence"]
    cited = cited[
        np.array([key in part_of for key in cited[[*of, "item"]].itertuples(index=False, name=None)], dtype=bool)
    ]
    groups = cited.groupby([*of, "role", "stage", "segment"], sort=False).groups
    for r in rows[(rows["statistic"] == "mean_cited") & rows["shown"]].itertuples():
        places = groups.get((r.wave, r.construct, r.measure, r.role, r.stage, r.segment), ())
        if len(places):
            system.equation({("hits", place): 1 for place in places})


def jointly(published, exact, bases=None, *, threshold=10, limit=3):
    """List the held rows whose count, or whose people on one side of a share, all published tables together determine."""
    rows = facts(published, exact, bases)
    system = counted(rows)
    held = set(rows.index[~rows["shown"]])
    wanted = {name for name in system.truth if name[0] in {"n", "hits", "misses"} and name[1] in held}
    found = []

    def is_open(name, low, high):
        return open_count(low, high, threshold if name[0] == "n" else limit, 1e-6)

    for name, (low, high) in sorted(system.intervals(wanted - system.known, is_open).items(), key=str):
        kind, place = name
        few = rows.at[place, "n_exact"] < threshold
        if (kind == "n") != few and rows.at[place, "unit"] == "proportion":
            continue
        if not is_open(name, low, high):
            found.append((kind, *rows.loc[place, PLACE], round(low, 3), round(high, 3)))
    return found


def valued(rows):
    """Every relation among means: margins, ranges, spreads, gaps and changes, as slopes at the truth, to the printed decimal.

    An attacker who is near the truth gets from a curve what its slope gives: the range of a set of means is the slope of its
    two ends, their standard deviation one of all. Printed numbers are known to half their last decimal.
    """
    system = System()
    means = rows[rows["unit"].isin(["scale_point", "proportion"]) | rows["statistic"].isin(["ridit"])]
    for r in means.itertuples():
        system.variable(("v", r.Index), r.estimate_exact, known=False)
        if r.shown:
            system.equation({("v", r.Index): 1}, 0.005)
    n, mean = rows["n_exact"].to_numpy(), rows["estimate_exact"].to_numpy()
    for whole, parts in parents(rows):
        if (n[[whole, *parts]] > 0).all():
            for place in (whole, *parts):
                system.variable(("v", place), mean[place], known=False)
            # As sums: what those without a role, or a stage, answered is known, and not what they do to the mean.
            system.equation({("v", whole): -1, **{("v", p): n[p] / n[whole] for p in parts}})
    level = {}
    for r in rows[rows["role_2"].eq("")].itertuples():
        level.setdefault((r.wave, r.measure, r.statistic, r.role, r.stage, r.segment), []).append(r.Index)
    for r in rows[rows["shown"]].itertuples():
        _slope(rows, system, level, r)
    _means_of_answers(rows, system)
    return system


def _means_of_answers(rows, system):
    """Shares of the points of a scale tell its mean, those of bands to within what the bands leave open.

    The mean of all that the points tell is the mean of the means of roles, and of those of stages, whether it has a row or not.
    """
    mean = rows["name"].eq("role_mean") & rows["item"].eq("") & rows["role_2"].eq("") & rows["segment"].eq("")
    points = rows["answer"].str.fullmatch(r"\d+(\+\d+)*") & rows["name"].eq(ANSWERS)
    shares = rows[points & rows["measure"].isin(rows.loc[mean, "measure"])]
    for (wave, measure, role, stage), mine in shares.groupby(["wave", "measure", "role", "stage"], sort=False):
        scores = mine["answer"].map(lambda answer: [float(point) for point in answer.split("+")])
        if not role and not stage:
            scores = scores[scores.map(len) == 1]
        slack = float((scores.map(np.ptp) / 2 * mine.loc[scores.index, "estimate_exact"]).sum())
        terms = {("v", place): -float(np.mean(points)) for place, points in scores.items()}
        same = mean & rows["wave"].eq(wave) & rows["measure"].eq(measure)
        parts = [rows["role"].eq(role) & rows["stage"].eq(stage)]
        if not role and not stage:
            crossed = rows[same & rows["role"].ne("") & rows["stage"].ne("")]
            for axis, other in (("role", "stage"), ("stage", "role")):
                left = rows[axis].eq("") & rows[other].ne("") & ~rows[other].isin(crossed[other]) & bool(len(crossed))
                parts.append((rows[axis].ne("") & rows[other].eq("")) | left)
        for part in parts:
            group = rows[same & part]
            if len(group) and group["n_exact"].gt(0).all():
                weight = group["n_exact"] / mine["n_exact"].max()
                system.equation({**terms, **{("v", place): weight[place] for place in group.index}}, slack)


def _slope(rows, system, level, r):
    """Put what a shown row, which is no mean, says of means into the system."""
    if (r.statistic in {"range_raw", "role_sd_corrected"} and not r.role) or r.statistic in {
        "stage_range_raw",
        "stage_sd_corrected",
    }:
        _spread(rows, system, r)
        return

    def at(statistic, role, stage="", wave=""):
        return next(iter(level.get((wave or r.wave, r.measure, statistic, role, stage, ""), ())), None)

    terms = {}
    if r.statistic == "naive_gap" and " v " in r.segment:
        one, two = r.segment.split(" v ")
        terms = {at("role_mean", r.role, one): 1, at("role_mean", r.role_2, two): -1}
    elif r.statistic == "role_mean_bounds" and not r.segment:
        terms = {at("role_mean", r.role, r.stage): 1}
    elif r.statistic in CHANGES and r.role and not r.segment:
        waves = sorted(set(rows["wave"]))
        before = [wave for wave in (since(r, waves),) if wave in waves and wave != r.wave]
        terms = {
            at(CHANGES[r.statistic], r.role, wave=wave): sign
            for wave, sign in ((r.wave, 1), *((w, -1) for w in before))
        }
        terms = terms if before else {}
    if terms and all(("v", place) in system.truth for place in terms):
        system.equation({("v", place): sign for place, sign in terms.items()}, 0.01)


def _spread(rows, system, r):
    axis, name = ("stage", "stage_mean") if r.statistic.startswith("stage") else ("role", "role_mean")
    same = (rows["wave"] == r.wave) & (rows["construct"] == r.construct) & (rows["measure"] == r.measure)
    same &= (rows["statistic"] == name) & (rows["segment"] == r.segment) & (rows["item"] == r.item) & rows[axis].ne("")
    cells = rows[same & (rows["n_exact"] >= (r.smallest_n if np.isfinite(r.smallest_n) else 0))]
    value = cells.loc[cells["stage"] == r.stage, "estimate_exact"] if axis == "role" else cells["estimate_exact"]
    if len(value) < 2 or not value.std() > 0:
        return
    if "range" in r.statistic:
        system.equation({("v", value.idxmax()): 1, ("v", value.idxmin()): -1}, 0.005)
    else:
        slopes = (value - value.mean()) / (len(value) * value.std(ddof=0))
        system.equation({("v", p): slope for p, slope in slopes.items()}, 0.005)


def pinned(published, exact, bases=None):
    """List the held means that all published numbers together pin to less than a tenth of their scale, rounding counted."""
    rows = facts(published, exact, bases)
    system = valued(rows)
    held = {("v", place) for place in rows.index[~rows["shown"]]}
    unit, found = rows["unit"].to_dict(), []

    def on_scale(name, low, high):
        least, most = SCALE[unit[name[1]]]
        # A mean lies on its scale whatever the equations say.
        return max(low, least), min(high, most), most - least

    def is_open(name, low, high):
        low, high, width = on_scale(name, low, high)
        return high - low >= PINNED * width

    held = {name for name in held if unit[name[1]] != "proportion"}  # counted in people: `jointly`
    for name, interval in sorted(system.intervals(held, is_open).items(), key=str):
        low, high, width = on_scale(name, *interval)
        if high - low < PINNED * width:
            found.append((*rows.loc[name[1], PLACE], round(low, 3), round(high, 3)))
    return found


def over_releases(one, two, *, few=10):
    """List whose answers two releases of a wave give away together: each a pair of published and exact estimates.

    In every table that stands in both, what a shown margin gained less what its shown cells gained is what its hidden cells
    gained: people who came late, a few of them, whose answers the sums of both releases then tell. So are all equations of
    gains together, which are taken to be never negative.
    """
    first, second = (facts(published, exact) for published, exact in (one, two))
    rows = second.merge(first[[*PLACE, "n_exact", "shown"]], on=PLACE, suffixes=("", "_1"))
    rows["gain"], rows["both"] = rows["n_exact"] - rows["n_exact_1"], rows["shown"] & rows["shown_1"]
    system, found = System(), []
    for r in rows.itertuples():
        system.variable(("gain", r.Index), r.gain, known=r.both)
    for whole, parts in parents(rows):
        system.equation({("gain", whole): -1, **{("gain", part): 1 for part in parts}})
        hidden = [part for part in parts if not rows.at[part, "both"]]
        left = rows.loc[hidden, "gain"].sum()
        if rows.at[whole, "both"] and hidden and 0 < left < few:
            found.append(("margin", *rows.loc[whole, PLACE], left))
    for name, (low, high) in sorted(system.intervals().items(), key=str):
        if high - low < 0.5 and 0.5 < low < few:
            found.append(("cell", *rows.loc[name[1], PLACE], low))
    return found
