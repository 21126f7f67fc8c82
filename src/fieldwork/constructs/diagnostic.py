"""Organisation diagnostic: one leadership team's own answers, role by role, for that team alone and by consent of all of it.

Own code: it is what the project offers a participating organisation. Nothing here is ever published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldwork.constructs import decision_points
from fieldwork.constructs.consent import MINIMUM_TO_JUDGE, MINIMUM_TO_SPEAK, organisations
from fieldwork.constructs.team import LEVEL, NOTHING, Team, signed
from fieldwork.errors import DataError, StudyError, listed
from fieldwork.provenance import RESTRICTED
from fieldwork.statistics.agreement import pair_agreement, van_der_eijk_a
from fieldwork.statistics.within_team import concordance_p, sign_flip, standing
from fieldwork.study import valid_name

if TYPE_CHECKING:
    from fieldwork.constructs.team import Floats
    from fieldwork.instrument import Instrument, Item, Option
    from fieldwork.statistics.within_team import Standing

__all__ = ["NOBODY", "Diagnostic", "diagnose"]

Line = dict[str, str]

NOBODY = "no-organisation-named"
FEWEST_QUESTIONS = 3  # for a standing over several questions; one or two show nothing
_TABLES = (
    "standing", "answers", "positions", "ahead", "against_cohort", "agreement", "risks", "budget", "described", "conviction",
    "decisions",
)  # fmt: skip


@dataclass(frozen=True)
class Constraint:
    """Something that somebody says holds AI back, or wants in place first.

    Attributes
    ----------
    item : Item       The question. option : Option    What was named.
    said : str        `holds back` or `wanted first`.
    who : tuple       Places of those who named it, in the team.
    """

    item: Item
    option: Option
    said: str
    who: tuple[int, ...]


@dataclass(frozen=True)
class Shared:
    """Agreement of the team on one question.

    Attributes
    ----------
    line : dict       Its line of the table.
    verdict : str     `more`, `less` or `alike`, against teams of strangers; empty where none is given.
    """

    line: Line
    verdict: str


@dataclass(frozen=True)
class Diagnostic:
    """What one organisation's executives say; every property is a table of texts, ready for the page.

    Attributes
    ----------
    team : Team       The organisation's answers.
    lacking : str     What is missing for a report; every table then holds this one line.
    """

    team: Team
    lacking: str

    @property
    def file(self) -> str:
        """Where the record is saved below the folder of reports."""
        return f"{RESTRICTED}/{self.team.name}/diagnostic.json"

    @property
    def judged(self) -> bool:
        """Whether there are enough informants for verdicts."""
        return not self.lacking and len(self.team) >= MINIMUM_TO_JUDGE

    def record(self) -> dict[str, Any]:
        """Return everything that the page shows as plain values, for the restricted file."""
        tables = {name: getattr(self, name).to_dict("records") for name in _TABLES}
        return {"organisation": self.team.name, "informants": len(self.team), "lacking": self.lacking, **tables}

    def _table(self, tell: Callable[[], Sequence[Mapping[str, str]]], columns: Sequence[str]) -> pd.DataFrame:
        """Return lines as a table of texts; where a report lacks something, the one line that says so."""
        if self.lacking:
            return pd.DataFrame({columns[0]: [f"No report: {self.lacking}"]})
        rows = [[line.get(column) or NOTHING for column in columns] for line in tell()]
        return pd.DataFrame(rows, columns=list(columns))

    def _withheld(self, have: int, of: str = "informants") -> str:
        return f"withheld: {MINIMUM_TO_JUDGE} {of} are needed, there are {have}"

    # ---------------------------------------------------------------------------------------------------- who is heard

    @cached_property
    def standing(self) -> pd.DataFrame:
        """Who is heard here, and what may be said of so many."""
        team = self.team
        judged = f"given: {MINIMUM_TO_JUDGE} informants are needed, there are {len(team)}"
        lines = [
            ("Organisation", team.name),
            ("Informants", f"{len(team)}: {listed(team.who, limit=20)}" if not self.lacking else str(len(team))),
            ("Consent", "all of them said yes" if not self.lacking else f"no report: {self.lacking}"),
            ("Verdicts on agreement", judged if self.judged else self._withheld(len(team))),
        ]
        return pd.DataFrame(lines, columns=["What", "In this organisation"])

    @cached_property
    def answers(self) -> pd.DataFrame:
        """The essay's four questions with this organisation's answer, and conviction against compliance."""
        asked: tuple[tuple[str, Callable[[], str]], ...] = (
            ("Where has one function moved ahead of shared agreement?", self._answer_ahead),
            ("Which roles carry risk that others have not acknowledged?", self._answer_risk),
            ("Does budget follow convergence, or one function's conviction?", self._answer_budget),
            ("Is the organisation described as aligned because alignment was measured?", self._answer_described),
            ("Is support stated beyond conviction?", self._answer_conviction),
        )
        return self._table(
            lambda: [{"Question": question, "Answer": tell()} for question, tell in asked], ["Question", "Answer"]
        )

    # ------------------------------------------------------------------------------------ 1. ahead of shared agreement

    @cached_property
    def _on_positions(self) -> list[Item]:
        """Questions on which a function can be ahead: its own stage, the measures of the gradient, conviction, support."""
        team, stage = self.team, self.team.instrument.keys.stage
        found = [*([team.instrument.item(stage)] if stage else []), *team.tagged("adoption_gradient")]
        found += [item for slot in ("conv_priv", "sup_pub", "fund_release") if (item := team.slot(slot, "ordinal"))]
        return list({item.name: item for item in found}.values())

    @cached_property
    def _on_agreement(self) -> list[Item]:
        """Questions about the organisation, which its executives could answer alike: direction, stage, confidence, funding."""
        team, stage = self.team, self.team.instrument.keys.stage_organisation
        found = [*team.tagged("alignment_map"), *([team.instrument.item(stage)] if stage else [])]
        found += [item for slot in ("conf", "prep_org", "fund_release") if (item := team.slot(slot, "ordinal"))]
        return list({item.name: item for item in found}.values())

    @cached_property
    def positions(self) -> pd.DataFrame:
        """Each role's own answers to the questions on which a function can be ahead, higher being further on."""
        heads = {item.name: f"{item.label} (of {max(item.codes)})" for item in self._on_positions}

        def tell() -> list[Line]:
            values = {name: self.team.numbers(name) for name in heads}
            return [
                {"Role": who, **{heads[name]: _plain(values[name][at]) for name in heads}}
                for at, who in enumerate(self.team.who)
            ]

        return self._table(tell, ["Role", *heads.values()])

    @cached_property
    def against_cohort(self) -> pd.DataFrame:
        """Each role's answers beside the published mean of that role in the cohort."""
        heads = ["Role", "Question", "Answer", "Mean of the role in the cohort"]

        def tell() -> list[Line]:
            return [
                dict(zip(heads, (who, item.label, _plain(self.team.numbers(item.name)[at]),
                                 self.team.cohort("role_mean", item.name, role=role) if role else NOTHING), strict=True))
                for at, (who, role) in enumerate(zip(self.team.who, self.team.roles, strict=True))
                for item in self.team.tagged("adoption_gradient")
            ]  # fmt: skip

        return self._table(tell, heads)

    @cached_property
    def _standing(self) -> Standing | None:
        """Standing of each informant over all positions; None where so few cannot tell."""
        if not self.judged:
            return None
        codes = [sorted(item.codes) for item in self._on_positions]
        columns = [
            (self.team.numbers(item.name) - of[0]) / (of[-1] - of[0])
            for item, of in zip(self._on_positions, codes, strict=True)
        ]
        answers = np.column_stack(columns) if columns else np.empty((len(self.team), 0))
        if (np.isfinite(answers).sum(axis=0) >= MINIMUM_TO_SPEAK).sum() < FEWEST_QUESTIONS:
            return None
        return standing(answers, seed=self.team.seed, name=f"{self.team.name}/standing")

    def _not_standing(self) -> str:
        if not self.judged:
            return self._withheld(len(self.team))
        return f"withheld: {FEWEST_QUESTIONS} questions that {MINIMUM_TO_SPEAK} informants answered are needed"

    @cached_property
    def ahead(self) -> pd.DataFrame:
        """How far each role stands before the others over all these questions, against the same answers dealt out anew."""
        heads = ["Role", "Ahead of the others", "By chance (p)", "Questions", "Verdict"]

        def tell() -> list[Line]:
            fit = self._standing
            if fit is None:
                return [{"Role": "All", "Verdict": self._not_standing()}]
            lines = []
            for at, who in enumerate(self.team.who):
                if np.isnan(fit.ahead[at]):
                    lines.append({"Role": who, "Verdict": "answered none of these questions"})
                    continue
                front = fit.ahead[at] >= 0
                p = float(fit.p_ahead[at] if front else fit.p_behind[at])
                told = signed(100 * float(fit.ahead[at]), decimals=0, unit="% of the scale")
                word = ("ahead" if front else "behind") if p <= LEVEL else "within what chance gives"
                lines.append(dict(zip(heads, (who, told, f"{p:.3f}", f"{fit.questions[at]}", word), strict=True)))
            return lines

        return self._table(tell, heads)

    @cached_property
    def _shared(self) -> list[Shared]:
        """Agreement on each shared question, judged against teams of strangers where there are five answers."""
        found = []
        for item in self._on_agreement:
            counts = self.team.counts(item)
            n = int(counts.sum())
            line = {"Question": item.label, "Informants": str(n)}
            if n < MINIMUM_TO_SPEAK:
                found.append(Shared(line | {"Verdict": f"{MINIMUM_TO_SPEAK} answers are needed, there are {n}"}, ""))
                continue
            value = float(van_der_eijk_a(counts))
            line["Agreement (A)"] = f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
            line["Mean of teams in the cohort"] = self.team.cohort("direction_agreement_within", item.name)
            if n < MINIMUM_TO_JUDGE:
                found.append(Shared(line | {"Verdict": self._withheld(n, "answers")}, ""))
                continue
            null, strangers = self.team.null(item, n, van_der_eijk_a)
            critical = null.critical(LEVEL)
            line["Needed to be called agreement"] = "out of reach" if np.isnan(critical) else f"{critical:.2f}"
            more, less = null.p_value(value) <= LEVEL, null.p_value(value, tail="lower") <= LEVEL
            verdict, said = ("more", "more") if more else ("less", "less") if less else ("alike", "no more")
            found.append(Shared(line | {"Verdict": f"agree {said} than {strangers}"}, verdict))
        return found

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """How far the team agrees on each shared question, against teams of strangers of the same size."""
        heads = ["Question", "Informants", "Agreement (A)", "Needed to be called agreement", "Mean of teams in the cohort",
                 "Verdict"]  # fmt: skip
        return self._table(lambda: [shared.line for shared in self._shared], heads)

    def _agreed(self) -> tuple[int, int]:
        """Shared questions with agreement beyond strangers, and those that could be judged."""
        judged = [shared.verdict for shared in self._shared if shared.verdict]
        return judged.count("more"), len(judged)

    def _answer_ahead(self) -> str:
        fit = self._standing
        if fit is None:
            return self._not_standing()
        front, back = (
            [who for who, p in zip(self.team.who, values, strict=True) if p <= LEVEL]
            for values in (fit.p_ahead, fit.p_behind)
        )
        more, judged = self._agreed()
        shared = f"the team agrees beyond strangers on {more} of {judged} shared questions"
        behind = f"; behind stands {listed(back, limit=5)}" if back else ""
        if front:
            return f"{listed(front, limit=5)}, beyond what chance gives{behind}; {shared}"
        return f"no function stands ahead of the others beyond chance{behind}; {shared}"

    # ----------------------------------------------------------------------------------------- 2. unacknowledged risk

    @cached_property
    def _constraints(self) -> list[Constraint]:
        """Constraints that somebody names, those of one role alone first."""
        asked = [("holds back", item) for item in self.team.instrument.measures("blockers") if item.kind == "multi"]
        asked += [("wanted first", item) for item in self.team.instrument.slot("cond") if item.kind == "multi"]
        found = []
        for said, item in asked:
            for option in item.options:
                who = np.flatnonzero(self.team.numbers(f"{item.name}_{option.id}") == 1)
                if len(who) and option.id not in item.exclusive:
                    found.append(Constraint(item, option, said, tuple(who.tolist())))
        return sorted(found, key=lambda each: (len(each.who), each.said, each.option.code))

    @cached_property
    def risks(self) -> pd.DataFrame:
        """Constraints by who names them, those that one role carries alone first."""
        heads = ["Constraint", "What is said of it", "Named by", "Acknowledged", "Share of that role in the cohort"]
        team = self.team
        first = next((item for item in team.instrument.slot("blk_top") if item.kind == "single"), None)
        weightiest = [] if first is None else ["" if pd.isna(v) else str(v) for v in team.answers[first.name]]

        def named(constraint: Constraint, at: int) -> str:
            most = constraint.said == "holds back" and weightiest and weightiest[at] == constraint.option.id
            return f"{team.who[at]} (weighs most)" if most else team.who[at]

        def tell() -> list[Line]:
            lines = []
            for each in self._constraints:
                alone = len(each.who) == 1
                role = team.roles[each.who[0]] if alone else ""
                share = team.cohort("prevalence", each.item.name, role=role, item=each.option.id) if role else NOTHING
                by = "by nobody else" if alone else f"by {len(each.who)} of {len(team)}"
                names = ", ".join(named(each, at) for at in each.who)
                lines.append(dict(zip(heads, (each.option.label, each.said, names, by, share), strict=True)))
            return lines

        return self._table(tell, heads)

    def _answer_risk(self) -> str:
        alone: dict[str, list[str]] = {}
        for each in self._constraints:
            if len(each.who) == 1:
                alone.setdefault(self.team.who[each.who[0]], []).append(each.option.label)
        if not alone:
            return "none: whatever one role names, another names too"
        return "; ".join(f"{who}: {listed(dict.fromkeys(labels), limit=20)}" for who, labels in alone.items())

    # ----------------------------------------------------------------------------- 3. budget, convergence, conviction

    @cached_property
    def budget(self) -> pd.DataFrame:
        """What each role says of the budget, beside its own conviction and support."""
        asked = [self.team.slot("bud_chg", "number")]
        asked += [self.team.slot(slot, "ordinal") for slot in ("conv_priv", "sup_pub", "fund_release")]
        items = [item for item in asked if item is not None]

        def shown(item: Item, value: float) -> str:
            return signed(value, unit="%") if item.unit == "percent" and not np.isnan(value) else _plain(value)

        def tell() -> list[Line]:
            return [
                {"Role": who, **{item.label: shown(item, float(self.team.numbers(item.name)[at])) for item in items}}
                for at, who in enumerate(self.team.who)
            ]

        return self._table(tell, ["Role", *(item.label for item in items)])

    def _answer_budget(self) -> str:
        budget, private = self.team.slot("bud_chg", "number"), self.team.slot("conv_priv", "ordinal")
        if budget is None or private is None:
            return "not asked: budget and private conviction are needed"
        changes, counts = self.team.numbers(budget.name), self.team.counts(private)
        n, known = int(counts.sum()), int(np.isfinite(changes).sum())
        if n < MINIMUM_TO_JUDGE or known == 0:
            needed = f"withheld: {MINIMUM_TO_JUDGE} convictions and one change of the budget are needed"
            return f"{needed}, there are {n} and {known}"
        change = float(np.nanmedian(changes))
        moved = "rises" if change > 0 else "falls" if change < 0 else "stays"
        null, strangers = self.team.null(private, n, van_der_eijk_a)
        alike = null.p_value(float(van_der_eijk_a(counts))) <= LEVEL
        shared = f"convictions are {'more' if alike else 'no more'} alike than those of {strangers}"
        convinced, _, _ = self.team.top(private)
        if 2 * len(convinced) > n:
            told = f"most are convinced ({len(convinced)} of {n})"
        elif convinced:
            told = f"few are convinced ({len(convinced)} of {n}): {listed(convinced, limit=5)}"
        else:
            told = "nobody is very convinced"
        return f"the budget {moved} ({signed(change, unit='%')} in the middle); {told}; {shared}"

    # ------------------------------------------------------------------------------------------ 4. described, measured

    @cached_property
    def described(self) -> pd.DataFrame:
        """Alignment as the team describes it, beside alignment as it can be measured."""
        heads = ["What", "In this organisation", "In the cohort"]

        def tell() -> list[Line]:
            told = [*self._as_described(), *self._priorities(), *self._ownership(), *self._blind_spot()]
            return [dict(zip(heads, line, strict=True)) for line in told]

        return self._table(tell, heads)

    def _as_described(self) -> list[tuple[str, str, str]]:
        team, told = self.team, []
        for slot, words in (
            ("align_self", "high"),
            ("clar_self", "high"),
            ("clar_oth", "high"),
            ("ack", "often or always"),
        ):
            item = team.slot(slot, "ordinal")
            if item is not None:
                above, _, n = team.top(item)
                told.append((f"{item.label}: {words}", f"{len(above)} of {n}", NOTHING))
        more, judged = self._agreed()
        measured = f"{more} of {judged}" if judged else self._withheld(len(team))
        return [*told, ("Shared questions with agreement beyond strangers", measured, NOTHING)]

    def _priorities(self) -> list[tuple[str, str, str]]:
        """Concordance of the rankings of aims, judged against rankings at random."""
        told = []
        for family in self.team.instrument.families:
            items = [
                i
                for i in self.team.instrument.family(family.name)
                if i.kind == "rank" and "alignment_map" in i.constructs
            ]
            if len(items) < FEWEST_QUESTIONS:
                continue
            ranks = np.column_stack([self.team.numbers(item.name) for item in items])
            ranks = ranks[np.isfinite(ranks).all(axis=1)]
            said = self._withheld(len(ranks), "rankings")
            if len(ranks) >= MINIMUM_TO_JUDGE:
                p = concordance_p(ranks, seed=self.team.seed, name=f"{self.team.name}/{family.name}")
                said = (
                    f"{'shared' if p <= LEVEL else 'no more alike than at random'} (p = {p:.3f}, {len(ranks)} rankings)"
                )
            cohort = self.team.cohort("rank_correlation_within", family.name)
            told.append(("Priorities (cohort: rank correlation of colleagues)", said, cohort))
        return told

    def _ownership(self) -> list[tuple[str, str, str]]:
        """Who is named as owner, and whether two colleagues name the same more often than strangers do."""
        item = self.team.slot("owner", "single")
        if item is None:
            return []
        counts = self.team.counts(item)
        n = int(counts.sum())
        said = self.team.named(item) or "nobody answered"
        if n >= MINIMUM_TO_JUDGE and self.team.counts(item, of_others=True).sum() > 0:
            same = float(pair_agreement(counts))
            null, strangers = self.team.null(item, n, pair_agreement)
            word = "more" if null.p_value(same) <= LEVEL else "no more"
            said = f"{said}; {100 * same:.0f}% of pairs name the same, {word} than {strangers}"
        cohort = self.team.cohort("owner_agreement_within", item.name)
        return [(f"{item.label} (cohort: pairs that name the same)", said, cohort)]

    def _blind_spot(self) -> list[tuple[str, str, str]]:
        """Mean distance of colleagues' answers, the mean that they expect, and the difference; measures.md 2.7."""
        own = self.team.slot("conf", "ordinal")
        about = [item for item in self.team.instrument.slot("meta_conf") if item.kind == "ordinal"]
        if own is None or not about:
            return []
        answers = self.team.numbers(own.name)
        pairs = [
            (abs(answers[by] - answers[at]), abs(answers[by] - guess[by]))
            for item in about
            for guess in [self.team.numbers(item.name)]
            for at in [at for at, role in enumerate(self.team.roles) if role == item.member]
            for by in range(len(self.team))
            if by != at and np.isfinite([answers[at], answers[by], guess[by]]).all()
        ]
        if len(pairs) < MINIMUM_TO_SPEAK:
            return [
                (
                    "Distance of colleagues",
                    f"withheld: {MINIMUM_TO_SPEAK} guesses are needed, there are {len(pairs)}",
                    NOTHING,
                )
            ]
        actual, expected = np.mean(pairs, axis=0)
        rows = (
            ("Distance of two colleagues", f"{actual:.2f}", "distance_actual"),
            ("Distance that they expect", f"{expected:.2f}", "distance_perceived"),
            (
                "Blind spot: distance beyond what they expect",
                signed(float(actual - expected), decimals=2),
                "blind_spot",
            ),
        )
        return [(f"{what}: {own.label.lower()}", said, self.team.cohort(name, own.name)) for what, said, name in rows]

    def _answer_described(self) -> str:
        item = self.team.slot("align_self", "ordinal")
        more, judged = self._agreed()
        if item is None:
            return "not asked: alignment as described is needed"
        if not judged:
            return self._withheld(len(self.team))
        above, _, n = self.team.top(item)
        verdict = {
            (True, True): "described, and measured",
            (True, False): "described, and not measured",
            (False, True): "measured, though not described",
            (False, False): "neither described nor measured",
        }[2 * len(above) > n, 2 * more > judged]
        return (
            f"described as aligned by {len(above)} of {n}; agreement beyond strangers on {more} of {judged} shared "
            f"questions: {verdict}"
        )

    # --------------------------------------------------------------------------------- conviction against compliance

    @cached_property
    def _stated(self) -> tuple[Item, Item, Floats] | None:
        """Questions of private conviction and stated support, and their difference by informant; None where not asked."""
        private, public = self.team.slot("conv_priv", "ordinal"), self.team.slot("sup_pub", "ordinal")
        if private is None or public is None:
            return None
        return private, public, self.team.numbers(public.name) - self.team.numbers(private.name)

    @cached_property
    def conviction(self) -> pd.DataFrame:
        """What each role stated in the last meeting, beside what it is convinced of."""
        heads = ["Role", "Private conviction", "Stated support", "Stated less private"]

        def tell() -> list[Line]:
            if self._stated is None:
                return [{"Role": "not asked: private conviction and stated support are needed"}]
            private, public, gap = self._stated
            columns = zip(self.team.numbers(private.name), self.team.numbers(public.name), gap, strict=True)
            return [
                dict(zip(heads, (who, _plain(a), _plain(b), signed(float(c))), strict=True))
                for who, (a, b, c) in zip(self.team.who, columns, strict=True)
            ]

        return self._table(tell, heads)

    def _answer_conviction(self) -> str:
        if self._stated is None:
            return "not asked: private conviction and stated support are needed"
        private, public, gap = self._stated
        known = gap[np.isfinite(gap)]
        if len(known) < MINIMUM_TO_JUDGE:
            return self._withheld(len(known), "informants who answered both")
        p = sign_flip(known, seed=self.team.seed, name=f"{self.team.name}/signs")
        word = "beyond what chance gives" if p <= LEVEL else "within what chance gives"
        cohort = self.team.cohort("public_private_gap", f"{public.name}+{private.name}")
        mean = signed(float(known.mean()), decimals=1)
        return f"stated support lies {mean} points from conviction on the mean (p = {p:.3f}), {word}; cohort {cohort}"

    # ------------------------------------------------------------------------------------------------------ decisions

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """The three points at which a decision on AI comes up, with what the answers say for each; and where things stalled."""
        heads = ["Decision", "What the answers say"]
        points = (
            ("Budget review", decision_points.at_budget_review),
            ("Decision to scale", decision_points.at_scaling),
            ("Governance sign-off", decision_points.at_sign_off),
            ("Where initiatives stalled", decision_points.at_stalls),
        )

        def tell() -> list[Line]:
            return [
                dict(zip(heads, (name, text), strict=True))
                for name, at in points
                for text in at(self.team) or ["nothing was asked about it"]
            ]

        return self._table(tell, heads)


def _plain(value: float) -> str:
    return NOTHING if np.isnan(value) else f"{value:g}"


def diagnose(
    instrument: Instrument, responses: pd.DataFrame, published: pd.DataFrame, organisation: str, *, seed: int = 0
) -> Diagnostic:
    """Set one organisation's answers beside each other, and beside the published estimates of the cohort.

    Nothing is said without the consent of every informant and three of them; verdicts want five (`consent.organisations`). Free
    text is never read. What a team's agreement, standing or stated support is held against is dealt out from answers: those of
    other organisations (of which only the chance level is kept), or the team's own. Rules of thumb (r_wg of .70 and the like)
    are not used: at five informants chance reaches them in one team of seventeen (measures.md 2.5).

    Parameters
    ----------
    responses : accepted respondents of the wave. published : estimates behind the gate. organisation : its pseudonym; empty:
        nobody's, and every table says so. seed : root seed of what is dealt out.

    Raises StudyError for a pseudonym that is no name of a folder, DataError for one without an accepted informant.

    Reference: Dunlap, Burke and Smith-Crowe (2003), J. Appl. Psychol. 88, 356-362 (critical values, not rules of thumb).
    """
    if organisation and not valid_name(organisation):
        raise StudyError(
            "this is no organisation's pseudonym",
            where="organisation",
            expected="letters, digits, '.', '_' and '-', without a way out of the folder",
            got=repr(organisation)[:60],
            hint="fieldwork organisations --json lists them",
        )
    keys = instrument.keys
    key = keys.organisation
    own = responses[key].astype(str).eq(organisation) if key else pd.Series(data=False, index=responses.index)
    if organisation and not own.any():
        raise DataError(
            "nobody answered for this organisation",
            where="organisation",
            expected="the pseudonym of an organisation with an accepted respondent",
            got=repr(organisation),
            hint="fieldwork organisations --json lists them" if key else "the survey names no organisations",
        )
    place = {role: number for number, role in enumerate(instrument.role_ids)}
    answers = responses[own].sort_values(keys.respondent, key=lambda column: column.astype(str), kind="stable")
    if keys.role:
        order = answers[keys.role].map(place).fillna(len(place)).to_numpy(dtype=np.float64)
        answers = answers.iloc[np.argsort(order, kind="stable")]
    listing = organisations(instrument, responses).set_index("organisation")["lacking"]
    team = Team(
        organisation or NOBODY, instrument, answers.reset_index(drop=True), responses[~own], published, seed
    )  # fmt: skip
    return Diagnostic(team, str(listing[organisation]) if organisation else "no organisation is named")
