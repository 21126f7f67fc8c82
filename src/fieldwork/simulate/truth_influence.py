"""What is true of a world about influence: who has it, who can stop and who must agree, by exact enumeration.

A rating is a normal variable cut into points, so every expectation is a sum over points and an integral over what the rater
adds. Who is in an organisation and who answers are independent given its size, so sums over sets of roles are exact, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from fieldwork.simulate.interview import measure_of
from fieldwork.simulate.truth import Enumeration
from fieldwork.simulate.truth_teams import accepted_shares, answered_share, colleagues, truth_row
from fieldwork.simulate.world import by_name
from fieldwork.statistics.influence_model import influence_weighted_gap, round_robin

if TYPE_CHECKING:
    from fieldwork.instrument import Instrument, Item
    from fieldwork.simulate.population import Measure, Population
    from fieldwork.simulate.truth import TruthRow

__all__ = ["influence_truth"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_CONSTRUCT = "influence"
_NODES = 48
_MOST_ROLES = 14  # sets of roles are enumerated up to here


def influence_truth(population: Population, instrument: Instrument, wave: str, number: int) -> Iterator[TruthRow]:
    """Yield the population value of every statistic of the influence construct that the world determines.

    Exact but for one step: the variance components of executives who rate each other are those of complete round robins, and
    the 3% of ratings that are missing at random move them by less than a thousandth. Rank sets have no population value.
    `number` is the wave's, from 1, which drifts count from.
    """
    rated = [item for item in instrument.slot("inf") if _is_rating(item, population)]
    truth = _Influence(population, instrument, rated, number) if len(rated) > 1 else None
    if truth is not None:
        yield from _index_rows(truth, wave)
        yield from _system_rows(truth, wave)
        yield from _gap_rows(truth, wave, number)
    for slot, statistic in (("veto", "gatekeeper_share"), ("signoff", "validator_share")):
        for item in instrument.slot(slot):
            yield from _named_rows(population, item, statistic, wave)
    for item in instrument.slot("stall"):
        # Where the share who report a stall is moved by points as well, no coefficient on its odds is known.
        if truth is not None and not population.world.moves_stalled_share:
            yield _row(wave, item.name, "interaction_log_odds", population.world.stall_interaction)
            yield _row(wave, item.name, "gap_log_odds", 0.0)
            yield _row(wave, item.name, "influence_log_odds", 0.0)


def _is_rating(item: Item, population: Population) -> bool:
    return item.kind == "ordinal" and _CONSTRUCT in item.constructs and item.member in population.layout.roles


def _row(
    wave: str, measure: str, statistic: str, value: float, *, role: str = "", role_2: str = "", item: str = ""
) -> TruthRow:
    return truth_row(wave, _CONSTRUCT, measure, statistic, value, role=role, role_2=role_2, item=item)


@dataclass(frozen=True)
class _Influence:
    """Everything that the rows share.

    Attributes
    ----------
    population : Population     The world laid over the survey, R roles and Z size bands.
    instrument : Instrument
    rated : list of Item        One rating per role, in the instrument's order: all roles of the survey.
    wave : int                  Number of the wave from 1.
    """

    population: Population
    instrument: Instrument
    rated: list[Item]
    wave: int

    @property
    def name(self) -> str:
        """The measure."""
        return self.rated[0].family or self.rated[0].name

    @property
    def roles(self) -> tuple[str, ...]:
        return self.population.layout.roles

    @property
    def measure(self) -> Measure:
        return measure_of(self.rated[0])

    @cached_property
    def nodes(self) -> tuple[Floats, Floats]:
        """What raters add to every rating, and its probabilities (N,)."""
        points, weight = np.polynomial.hermite_e.hermegauss(_NODES)
        return self.population.rater_sd * points, weight / weight.sum()

    @cached_property
    def classes(self) -> Floats:
        """Shares of moderate and extreme raters (2,)."""
        extreme = self.population.world.extreme_share
        return np.array([1.0 - extreme, extreme])

    @cached_property
    def points(self) -> Floats:
        """P(each point) given class and rater (2, N, R, K)."""
        return self.population.influence_points(self.measure)(self.nodes[0])

    @cached_property
    def effect(self) -> Floats:
        """Expected rating of each role less the mean over roles (R,)."""
        means = self.population.influence_means(self.measure)
        return np.asarray(means - means.mean())

    @cached_property
    def share(self) -> Floats:
        """Share of the points that raters give, relative to an even split among the roles they could give to (R,), sum 1.

        A rater of role i in a firm of size z rates role k with probability q_k, K points with probability p_k(K). With
        G_k(t) = 1 - q_k + q_k sum_y p_k(y) t^y the generating function of k's points, E(y_j / sum_k y_k) is the integral of
        G_j'(t) prod_{k != j} G_k(t) from 0 to 1, since 1 / s is that of t^(s - 1); likewise the expected even split. Both are
        polynomials, which Gauss and Legendre integrate exactly. Raters who give nobody a point are left out of both.
        """
        population, R = self.population, len(self.roles)
        codes = np.array(self.measure.codes) - self.measure.codes[0]
        t, w = np.polynomial.legendre.leggauss(int(np.ceil((codes[-1] * R + 1) / 2)) + 1)
        t, w = (t + 1) / 2, w / 2
        answered = answered_share(population, self.rated[0])
        q = np.repeat((population.exists.T * answered)[:, None, :], R, axis=1)  # (Z, rater, target)
        q[:, np.arange(R), np.arange(R)] = 0.0
        powers = t[:, None] ** codes  # (T, K)
        slopes = codes * t[:, None] ** np.maximum(codes - 1, 0)
        whole, slope, none = self.points @ powers.T, self.points @ slopes.T, self.points[..., 0]  # (2, N, R, T)
        given, even = np.zeros(R), np.zeros(R)
        mass = population.executives.T / population.executives.sum()  # (Z, rater)
        for c, n in np.ndindex(len(self.classes), len(self.nodes[1])):
            chance = self.classes[c] * self.nodes[1][n]
            G = 1 - q[..., None] + q[..., None] * whole[c, n]  # (Z, I, R, T)
            E = 1 - q[..., None] + q[..., None] * t  # the same for the number of roles rated
            N = 1 - q[..., None] + q[..., None] * none[c, n][:, None] * t  # and where nobody gets a point
            others = [
                product / part for product, part in ((G.prod(2, keepdims=True), G), (E.prod(2, keepdims=True), E))
            ]
            silent = N.prod(axis=2, keepdims=True) / N
            points = np.einsum("zirt,t->zir", q[..., None] * slope[c, n] * others[0], w)
            split = np.einsum("zirt,t->zir", q[..., None] * (others[1] - none[c, n][:, None] * silent), w)
            given += chance * np.einsum("zi,zir->r", mass, points)
            even += chance * np.einsum("zi,zir->r", mass, split)
        ratio = given / even
        return np.asarray(ratio / ratio.sum())

    @cached_property
    def sets(self) -> Flags:
        """Every set of roles (2^R, R)."""
        R = len(self.roles)
        return np.asarray((np.arange(2**R)[:, None] >> np.arange(R)) % 2 == 1)

    def chance(self, answered: float = 1.0) -> Floats:
        """P(exactly these roles of an organisation of the size are interviewed and answered) (2^R, Z)."""
        total = np.zeros((len(self.sets), len(self.population.size_share)))
        for share, accepted in accepted_shares(self.population, self.instrument, self.wave):
            there = self.population.exists * self.population.responds * accepted * answered  # (R, Z)
            total += share * np.where(self.sets[:, :, None], there, 1 - there).prod(axis=1)
        return total


def _index_rows(truth: _Influence, wave: str) -> Iterator[TruthRow]:
    parity = 1.0 / len(truth.roles)
    for role, effect, share in zip(truth.roles, truth.effect, truth.share, strict=True):
        yield _row(wave, truth.name, "influence", effect, role=role)
        yield _row(wave, truth.name, "influence_shrunken", effect, role=role)
        yield _row(wave, truth.name, "influence_share", share, role=role)
        yield _row(wave, truth.name, "influence_share_ratio", share / parity, role=role)
        for rater in truth.roles:
            if rater != role:
                yield _row(wave, truth.name, "influence_by_rater", effect, role=role, role_2=rater)
    yield _row(wave, truth.name, "influence_sd", float(np.std(truth.effect, ddof=1)))


# ------------------------------------------------------------------------------------------------------ gatekeepers


def _named_rows(population: Population, item: Item, statistic: str, wave: str) -> Iterator[TruthRow]:
    """Shares who name a role that exists: the world's, for answers are cut from a leaning; and who name nobody."""
    roles, world = population.layout.roles, population.world
    named = [role for role in roles if role in {option.id for option in item.options}]
    if not named or item.cap is not None:
        return
    share = by_name(world.validator if "signoff" in item.name else world.gatekeeper, roles, default=0.15)
    at = [roles.index(role) for role in named]
    for role, p in zip(named, share[at], strict=True):
        yield _row(wave, item.name, statistic, p, role=role)
        yield _row(wave, item.name, "self_other_gap", 0.0, role=role)
    if len(item.exclusive) != 1:
        return
    # Leanings of one person share a tenth of their variance: who ticks one role is likelier to tick another.
    many, weight = np.polynomial.hermite_e.hermegauss(_NODES)
    passed = ndtr(-(ndtri(share[at])[:, None] + np.sqrt(0.1) * many) / np.sqrt(0.9))  # (r, N)
    exists = population.exists[at]  # (r, Z)
    nobody = 0.0
    for i, role in enumerate(roles):
        own = np.array([name == role for name in named])
        there = np.where(own[:, None], 1.0, exists)
        silent = (1 - there[:, :, None] + there[:, :, None] * passed[:, None, :]).prod(axis=0)  # (Z, N)
        nobody += float(population.executives[i] @ silent @ (weight / weight.sum()))
    yield _row(wave, item.name, "nobody_share", nobody, item=item.exclusive[0])


# ------------------------------------------------------------------------------------------- social relations model


def _system_rows(truth: _Influence, wave: str) -> Iterator[TruthRow]:
    """Variance shares and reciprocities over organisations in which four executives or more answered."""
    R = len(truth.roles)
    if not 4 <= R <= _MOST_ROLES:
        return
    size = truth.sets.sum(axis=1)
    chance = truth.chance() @ truth.population.size_share
    codes = np.array(truth.measure.codes)
    seen = truth.points @ codes  # expected rating given class and rater (2, N, R)
    weight = truth.classes[:, None] * truth.nodes[1]
    mean = np.einsum("cnr,cn->r", seen, weight)
    by_rater = np.einsum("cnr,cns,cn->rs", seen, seen, weight)  # E(y_ij y_il)
    square = np.einsum("cnrk,k,cn->r", truth.points, codes**2, weight)  # E(y_ij^2)
    by_target = _given_target(truth)  # E(y_ij y_kj)
    total, components = 0.0, np.zeros(5)
    solvers = {n: _Complete(n) for n in range(4, R + 1)}
    for members, p, n in zip(truth.sets, chance, size, strict=True):
        if n < 4:
            continue
        at = np.flatnonzero(members)
        solver = solvers[int(n)]
        components += p * (n - 1) * solver.components(mean[at], square[at], by_rater[np.ix_(at, at)], by_target[at])
        total += p * (n - 1)
    actor, partner, cross, relationship, mutual = components / total
    variances = np.maximum([actor, partner, relationship], 0.0)
    shares = variances / variances.sum() if variances.sum() > 0 else variances
    for name, value in zip(("actor", "partner", "relationship"), shares, strict=True):
        yield _row(wave, truth.name, f"srm_{name}_share", value)
    if min(actor, partner) > 0:
        yield _row(wave, truth.name, "srm_generalised_reciprocity", cross / np.sqrt(actor * partner))
    if relationship > 0:
        yield _row(wave, truth.name, "srm_dyadic_reciprocity", mutual / relationship)


def _given_target(truth: _Influence) -> Floats:
    """E(y_ij y_kj) of two raters of one role in one organisation (R,): they share what the organisation adds to the role."""
    world = truth.population.world
    level = 3.0 + by_name(world.influence, truth.roles)
    noise = float(np.hypot(truth.population.rater_sd, 0.8 * world.residual_sd))
    nodes, weight = np.polynomial.hermite_e.hermegauss(_NODES)
    codes, cuts = np.array(truth.measure.codes), truth.measure.cuts
    seen = 3.0 + np.outer((1.0, world.extreme_contraction), cuts - 3.0)  # (2, K - 1)
    place = seen[:, None, None, :] - level[:, None] - world.organisation_sd * nodes[:, None, None]
    expected = np.diff(ndtr(place / noise), axis=-1, prepend=0.0, append=1.0) @ codes  # (2, N, R)
    mixed = np.einsum("cnr,c->nr", expected, truth.classes)
    return np.asarray(np.einsum("nr,n->r", mixed**2, weight / weight.sum()))


class _Complete:
    """A complete round robin of n members: the linear maps of its effects, found by rating one pair at a time."""

    def __init__(self, n: int) -> None:
        self.rater, self.target = np.nonzero(~np.eye(n, dtype=bool))
        pairs = len(self.rater)
        maps = []
        for pair in range(pairs):
            ratings = np.zeros((n, n))
            ratings[self.rater[pair], self.target[pair]] = 1.0
            maps.append(round_robin(ratings))
        self.actor = np.column_stack([fit.actor for fit in maps])
        self.partner = np.column_stack([fit.partner for fit in maps])
        self.rest = np.column_stack([fit.relationship[self.rater, self.target] for fit in maps])
        self.expectation = maps[0].expectation
        place = np.zeros((n, n), dtype=np.int64)
        place[self.rater, self.target] = np.arange(pairs)
        self.mirror = place[self.target, self.rater]

    def components(self, mean: Floats, square: Floats, by_rater: Floats, by_target: Floats) -> Floats:
        """Components whose expected sums are those of ratings with these second moments."""
        rater, target = self.rater, self.target
        moment = np.outer(mean[target], mean[target])
        same = rater[:, None] == rater[None, :]
        moment[same] = by_rater[target[:, None], target[None, :]][same]
        same = target[:, None] == target[None, :]
        moment[same] = np.broadcast_to(by_target[target], moment.shape)[same]
        np.fill_diagonal(moment, square[target])
        left = self.rest @ moment @ self.rest.T
        own, other = float(np.trace(left)), float(left[np.arange(len(rater)), self.mirror].sum())
        sums = np.array(
            [
                np.trace(self.actor @ moment @ self.actor.T),
                np.trace(self.partner @ moment @ self.partner.T),
                np.trace(self.actor @ moment @ self.partner.T),
                (own + other) / 2,
                (own - other) / 2,
            ]
        )
        return np.asarray(np.linalg.solve(self.expectation, sums))


# ------------------------------------------------------------------------------------------------------ weighted gaps


def _gap_rows(truth: _Influence, wave: str, number: int) -> Iterator[TruthRow]:
    """Distances between roles across organisations, and between executives within one."""
    population = truth.population
    enumeration = Enumeration(population, number)
    even = np.ones(len(truth.roles))
    for measure in population.layout.measures:
        if not measure.main:
            continue
        mass, cell = enumeration.cell_means(measure)
        position = (mass * cell).sum(axis=1) / mass.sum(axis=1)
        weighted, plain = (float(influence_weighted_gap(position, w)) for w in (truth.share, even))
        yield _row(wave, measure.name, "weighted_gap", weighted)
        yield _row(wave, measure.name, "unweighted_gap", plain)
        yield _row(wave, measure.name, "weighted_gap_difference", weighted - plain)
        if len(truth.roles) > _MOST_ROLES:
            continue
        apart = colleagues(population, measure, number).apart(measure.codes)  # (Z, R, R)
        answered = answered_share(population, truth.instrument.item(measure.name))
        chance = truth.chance(answered) * population.size_share
        enough = truth.sets.sum(axis=1) >= 3
        inside = truth.sets.astype(float)
        means = []
        for w in (truth.share, even):
            product = np.outer(w, w)
            np.fill_diagonal(product, 0.0)
            over = np.einsum("si,sj,ij,zij->sz", inside, inside, product, apart, optimize=True)
            base = np.einsum("si,sj,ij->s", inside, inside, product, optimize=True)[:, None]
            means.append(float((chance * over / np.where(base > 0, base, 1.0))[enough].sum() / chance[enough].sum()))
        yield _row(wave, measure.name, "system_weighted_gap", means[0])
        yield _row(wave, measure.name, "system_gap", means[1])
        yield _row(wave, measure.name, "system_gap_difference", means[0] - means[1])
