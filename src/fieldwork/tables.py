"""Tables for readers: one object that knows its columns, their roles and their decimals, and renders as HTML or CSV.

Every row carries its base. The standard error decides the decimals shown; what may not be published is a dash with the
reason in a note under the table, never an empty cell and never a zero.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from markupsafe import Markup, escape

from fieldwork.chapter import guarded
from fieldwork.errors import InstrumentError
from fieldwork.findings import MARKS, checked
from fieldwork.statistics.duration import cost_of_delay

if TYPE_CHECKING:
    from fieldwork.claims import External
    from fieldwork.instrument import Instrument

__all__ = [
    "STATUSES",
    "UNITS",
    "VERDICTS",
    "Cell",
    "Column",
    "Table",
    "base_words",
    "claims_table",
    "crossed_table",
    "decimals_of",
    "estimate_words",
    "estimates_table",
    "facts_table",
    "findings_table",
    "grid_table",
    "guarded",
    "interval",
    "matrix_table",
    "method_label",
    "multiverse_table",
    "named",
    "p_value_table",
    "plain_table",
    "quantity",
    "records_of",
    "scenario_table",
    "statistic_label",
    "verdicts_table",
]

Role = Literal["label", "text", "number"]

_DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_METHODS = {
    "bradley_terry": "strengths from pairs (Bradley and Terry)",
    "clm": "cumulative link model",
    "clmm": "cumulative link mixed model",
    "clopper_pearson_bonferroni": "exact limits of several shares at once (Clopper and Pearson, Bonferroni)",
    "cluster_bootstrap": "replicates of organisations, Student's t",
    "cluster_bootstrap_fieller": "replicates of organisations, ratio of two estimates (Fieller)",
    "cluster_bootstrap_fisher_z": "replicates of organisations, correlation (Fisher's z)",
    "cluster_bootstrap_simultaneous": "replicates of organisations, several at once",
    "count_of_measures": "count of measures",
    "korn_graubard": "exact limits of a share (Korn and Graubard)",
    "korn_graubard_mover": "difference of shares from their exact limits (MOVER)",
    "logit": "logistic regression, organisations as clusters",
    "manski_bounds": "bounds that assume nothing (Manski)",
    "melded_korn_graubard": "ratio of shares from their exact limits (melded)",
    "multiple_imputation": "multiple imputation (Rubin's rules)",
    "permutation": "permutation of answers",
    "rank_sets": "sets of ranks",
    "rank_sets_bonferroni": "simultaneous sets of ranks (Bonferroni)",
    "rank_sets_step_down": "simultaneous sets of ranks, step-down",
    "rao_scott": "Rao and Scott's test",
    "social_relations_model": "social relations model",
    "square_and_add": "difference of shares (square and add)",
    "turnbull": "durations known to within an interval (Turnbull)",
}
VERDICTS = {
    "supported": "Supported",
    "contradicted": "Contradicted",
    "inconclusive": "Inconclusive",
    "not_assessable": "Not assessable",
}
STATUSES = {"finding": "Finding", "hypothesis": "Hypothesis, left open", "external": "From outside"}
UNITS = {
    "scale_point": "scale points",
    "log_ratio": "log ratio",
    "ratio": "ratio",
    "index": "index points",
    "rank": "ranks",
    "quarter": "quarters",
}
_ENDS = ("estimate", "conf_low", "conf_high")
_STATISTICS = {
    "role_mean": "Mean",
    "stage_mean": "Mean",
    "role_sd_corrected": "Spread between roles",
    "stage_sd_corrected": "Spread between stages",
    "gradient_ratio_log": "Spread of roles against stages (log ratio)",
    "range_raw": "Range of role means as observed",
    "range_shrunken": "Range of role means, corrected",
    "naive_gap": "Gap as observed",
    "role_part": "Part of the gap that goes with the role",
    "stage_part": "Part of the gap that goes with the stage",
    "high_both_share": "Share that is high on both",
    "gradient_ratio_log_adjusted": "Spread of roles against stages, adjusted (log ratio)",
    "role_sd_adjusted": "Spread between roles, adjusted",
    "stage_sd_adjusted": "Spread between stages, adjusted",
    "stage_range_raw": "Range of stage means as observed",
    "stage_range_shrunken": "Range of stage means, corrected",
    "range_difference": "Range of roles less range of stages",
    "system_sd": "Spread within organisations",
    "role_sd_mutual": "Spread of roles, of four",
    "stage_sd_mutual": "Spread of stages, of four",
    "sector_sd_mutual": "Spread of sectors, of four",
    "organisation_sd_mutual": "Spread of organisations, of four",
    "probability_role_largest": "Probability that role divides most",
    "share_role_largest": "Measures on which role divides most",
    "share_role_surely_largest": "Measures on which role surely divides most",
    "icc1": "Share of variance between roles, ICC(1)",
    "icc2": "Reliability of role means, ICC(2)",
    "role_mean_model": "Mean by the model (marginal)",
    "role_log_odds": "Log odds against the mean of roles (conditional)",
    "stage_log_odds": "Log odds against the mean of stages (conditional)",
    "role_sd_latent": "Spread between roles, log odds (conditional)",
    "stage_sd_latent": "Spread between stages, log odds (conditional)",
    "gradient_ratio_log_model": "Spread of roles against stages by the model (log ratio, conditional)",
    "organisation_sd_latent": "Spread between organisations, log odds",
    "icc_latent": "Share of latent variance between organisations",
    "proportional_odds_f": "Test that a role has one effect at every cut-point (F)",
    "item_nonresponse": "Asked and not answered",
    "role_mean_bounds": "Mean, with bounds under non-response",
    "cronbach_alpha": "Reliability, Cronbach's alpha",
    "omega_total": "Reliability, McDonald's omega",
    "endpoint_share": "Share of answers at either end of the scale",
    "dif_f": "Test of differential functioning across roles (F)",
    "circumstance_effect": "Effect at equal role",
    "role_sd_given": "Spread between roles, circumstance held fixed",
    "lens_disagreement": "Share of roles on which cell table and model disagree",
    "ridit": "Role Shift Index",
    "ridit_model": "Role Shift Index by the model",
    "shift": "Shift of the index",
    "mean_change": "Change of the mean, composition held",
    "mean_change_panel": "Change of the mean, same executives",
    "returning_share": "Took part in the earlier wave too",
    "returning_organisations": "Organisations that took part in the earlier wave too",
    "rank_low": "Best rank in the set",
    "rank_high": "Worst rank in the set",
    "tier": "Tier",
    "precedence": "Reached a stage before its colleague",
    "precedence_strength": "Strength of coming first, within organisations (log-odds)",
    "lag_median": "Median lag behind colleagues, within organisations",
    "convergence": "Change of the spread between roles (log ratio)",
    "convergence_slope": "Trend of the spread between roles, per wave (log ratio)",
    "convergence_beta": "Change per point of the starting level, corrected",
    "convergence_beta_raw": "Change per point of the starting level, uncorrected",
    "convergence_difference": "Change of the spread, without less with alignment work (log ratio)",
    "gap_change": "Change of the gap between two roles",
    "rank_stability": "Agreement of the waves on the order (Kendall's W)",
    "role_sd_by_stage": "Spread between roles at the stage",
    "slope_before_peak": "Slope before the widest stage",
    "slope_after_peak": "Slope after the widest stage",
    "system_sd_by_stage": "Spread within organisations at the stage",
    "system_slope_before_peak": "Slope before the widest stage, within organisations",
    "system_slope_after_peak": "Slope after the widest stage, within organisations",
    "variance_ratio": "Variance of the last change over that of the first",
    "reversal_share": "Moves back to an earlier stage",
    "reversal_difference": "Moves back, unclear less clear ownership",
    "consensus_priorities": "Consensus on priorities (alpha)",
    "consensus_chance": "Consensus that chance alone gives",
    "kendall_w": "Concordance of rankings (Kendall's W)",
    "rank_correlation": "Rank correlation of two executives of different organisations",
    "rank_correlation_within": "Rank correlation of two colleagues",
    "priorities_between_roles": "Share of the rankings' variance between roles",
    "alignment": "Correlation of the two roles' rankings",
    "mean_rank": "Mean rank",
    "map_x": "Place on the first axis",
    "map_y": "Place on the second axis",
    "map_xy_correlation": "Correlation of the errors of the two places",
    "map_variance_first": "Share of variance that the first axis keeps",
    "map_variance_second": "Share of variance that the second axis keeps",
    "owner_share": "Share that names this owner",
    "owner_self_share": "Share that names the own role",
    "owner_share_by_others": "Share of other roles that name it",
    "owner_agreement": "Two executives of different organisations name the same owner",
    "owner_ac1": "Two executives of different organisations, corrected for chance (Gwet's AC1)",
    "owner_agreement_within": "Two colleagues name the same owner",
    "owner_ac1_within": "Two colleagues, corrected for chance (Gwet's AC1)",
    "owner_kappa_within": "Two colleagues, corrected for chance (Fleiss' kappa)",
    "direction_agreement": "Agreement across organisations (A)",
    "direction_agreement_within": "Agreement of colleagues (mean A)",
    "direction_agreement_chance": "Agreement of teams of strangers (mean A)",
    "direction_agreement_excess": "Agreement of colleagues beyond strangers",
    "distance_actual": "Distance of two colleagues",
    "distance_perceived": "Distance that they expect",
    "blind_spot": "Blind spot: actual minus expected distance",
    "self_measured_correlation": "Rank correlation of alignment as described and as measured",
    "activity_agreement_correlation": "Rank correlation of activity and agreement on confidence",
    "public_private_gap": "Stated support minus private conviction",
    "gap_escalation_frequent": "Stated support minus private conviction where escalation is frequent",
    "gap_escalation_rare": "Stated support minus private conviction where escalation is rare",
    "gap_difference": "Stated support minus private conviction, frequent minus rare escalation",
    "ready_share": "Share in the top two points",
    "cited_together": "Share that cites both",
    "answer_share": "Share that gives the answer",
    "claim_minus_role": "Claim of colleagues less the role's own",
    "claim_minus_lowest": "Claim less the least prepared role",
    "claim_minus_lower_quartile": "Claim less the lower quartile of roles",
    "claim_minus_lowest_raw": "Claim less the lowest answer, biased",
    "coefficient": "Standardised coefficient",
    "coefficient_difference": "Strongest less median conviction",
    "share": "Share",
    "share_difference": "Difference of shares",
    "risk_difference": "Difference of shares",
    "mismatch_share": "Share with differing objectives",
    "time_ratio": "Ratio of times",
    "rate_ratio": "Ratio of means",
    "mean_difference": "Difference of means",
    "jump": "Difference at the knot",
    "slope": "Points per point of the scale",
    "slope_raw": "Points per point of the scale, general level not held fixed",
    "prevalence": "Share that cites it",
    "prevalence_ratio": "Share of the role over share of all",
    "location_quotient": "Share of the role's citations over share of all citations",
    "mean_cited": "Answers given per respondent",
    "at_cap_share": "Share that gave as many answers as were allowed",
    "item_f": "Test that roles cite it alike (F)",
    "profiles_f": "Test that roles cite all alike (F)",
    "profiles_permutation": "The same by exchanging answer sets (times chance)",
    "prevalence_max_other": "Largest share among the other roles",
    "role_effective_number": "Answers that a role's citations spread over (effective number)",
    "dissimilarity": "Dissimilarity of roles as observed",
    "dissimilarity_chance": "Dissimilarity that chance alone gives",
    "dissimilarity_excess": "Dissimilarity of roles beyond chance",
    "jensen_shannon": "Divergence of roles as observed (bits)",
    "jensen_shannon_chance": "Divergence that chance alone gives (bits)",
    "jensen_shannon_excess": "Divergence of roles beyond chance (bits)",
    "jaccard_excess": "Overlap of colleagues beyond that of their roles elsewhere",
    "effective_number": "Answers that an organisation's citations spread over (effective number)",
    "majority_share": "Of what anyone in the organisation cites, share that a majority cites",
    "self_other_gap": "Own minus others'",
    "self_other_gap_adjusted": "Own minus others', rater and rated removed",
    "influence": "Influence above the mean",
    "influence_shrunken": "Influence, drawn to the mean by how little is known",
    "influence_sd": "Spread of influence",
    "influence_reliability": "Reliability of influence",
    "influence_share": "Share of influence",
    "influence_share_ratio": "Share of influence against an even split",
    "disproportionate": "Share surely above 1.25 times an even split (1: yes)",
    "influence_by_rater": "Influence as raters of one role see it",
    "srm_actor_share": "Share of variance that lies in the rater",
    "srm_partner_share": "Share of variance that lies in the rated",
    "srm_relationship_share": "Share of variance between the two, with error",
    "srm_generalised_reciprocity": "Correlation of giving high ratings and getting them",
    "srm_dyadic_reciprocity": "Correlation of the two ratings of a pair",
    "srm_partner_reliability": "Reliability of the rated within an organisation",
    "gatekeeper_share": "Said to be able to stop an initiative",
    "validator_share": "Said to have to agree",
    "nobody_share": "Nobody is named",
    "choice_log_odds": "Preferred as more influential (log odds)",
    "weighted_gap": "Distance between roles, weighted by influence",
    "unweighted_gap": "Distance between roles",
    "weighted_gap_difference": "Distance weighted by influence, less unweighted",
    "system_weighted_gap": "Distance within organisations, weighted by influence",
    "system_gap": "Distance within organisations",
    "system_gap_difference": "Distance within organisations weighted by influence, less unweighted",
    "interaction_log_odds": "Distance times influence (log odds of a stall)",
    "gap_log_odds": "Distance, at average influence (log odds of a stall)",
    "influence_log_odds": "Influence, at no distance (log odds of a stall)",
}
_HEADINGS = {
    "role": "Role",
    "role_2": "Second role",
    "stage": "Stage",
    "item": "Answer",
    "segment": "Segment",
    "measure": "Measure",
    "statistic": "Statistic",
}
# What readers call a question that a survey does not ask, where a row says that it does not.
_NOT_ASKED = {
    "pri": "Priorities",
    "owner": "Ownership",
    "direction": "Direction",
    "act_idx": "Activity",
    "align_self": "Alignment as described",
    "conf": "Confidence",
    "sup_pub+conv_priv": "Stated support and private conviction",
    "clar_self+clar_oth": "Clarity of positions",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    label : str    Heading.
    role : str     `label` heads the row, `text` is set left, `number` right with figures of one width.
    """

    label: str
    role: Role = "text"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: what is shown, and why nothing is.

    Attributes
    ----------
    text : str      What is shown; empty with a reason: a dash.
    reason : str    Why the number is withheld, or how to read it; becomes a note under the table.
    link : str      Relative address that the text leads to.
    kind : str      Style of the text, `verdict-...`; never the only carrier of a meaning.
    below : str     A second line under the text.
    """

    text: str
    reason: str = ""
    link: str = ""
    kind: str = ""
    below: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its words.

    Attributes
    ----------
    title : str               Caption; says what the numbers are.
    columns : tuple           Columns in order; the first that is a `label` heads each row.
    rows : tuple of tuples    Cells, one tuple per row.
    notes : tuple of str      Notes set under the table, before the reasons of withheld cells.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def html(self, *, stacked: bool = False) -> Markup:
        """Return the table as semantic HTML; `stacked` lets narrow pages set each row as a block.

        >>> print(Table("Mean", (Column("Role", "label"), Column("n", "number")), ((Cell("C<O"), Cell("20")),)).html())
        <div class="table" role="region" aria-label="Mean" tabindex="0"><table role="table"><caption>Mean</caption>...
        """
        reasons = self.reasons()
        head = Markup("").join(
            Markup('<th scope="col" role="columnheader"{}>{}</th>').format(_class(column), column.label)
            for column in self.columns
        )
        ends = [_around(column) for column in self.columns]
        rows = (
            "".join(f"{start}{_content(cell, reasons)}{end}" for (start, end), cell in zip(ends, row, strict=True))
            for row in self.rows
        )
        body = Markup("\n".join(f'<tr role="row">{row}</tr>' for row in rows))  # noqa: S704 - each part is escaped
        notes = [escape(note) for note in self.notes]
        notes += [Markup("<sup>{}</sup> {}.").format(mark, _sentence(why)) for why, mark in reasons.items()]
        foot = Markup("").join(Markup("<p>{}</p>").format(note) for note in notes)
        under = Markup('<div class="notes">{}</div>').format(foot) if foot else Markup("")
        return Markup(
            '<div class="table" role="region" aria-label="{title}" tabindex="0"><table role="table"{kind}>'
            '<caption>{title}</caption>\n<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n'
            '<tbody role="rowgroup">\n{body}\n</tbody></table></div>{under}'
        ).format(
            title=self.title, kind=Markup(' class="stacked"') if stacked else "", head=head, body=body, under=under
        )

    def _repr_html_(self) -> str:
        return str(self.html())

    def frame(self) -> pd.DataFrame:
        """Return what is shown as texts, a dash for what is withheld."""
        names = [column.label for column in self.columns]
        return pd.DataFrame([[_plain(cell) for cell in row] for row in self.rows], columns=names)

    def reasons(self) -> dict[str, str]:
        """Return a letter for each reason for which a cell is withheld, in order of appearance."""
        found = dict.fromkeys(cell.reason for row in self.rows for cell in row if cell.reason)
        return {reason: _letter(index) for index, reason in enumerate(found)}


def _around(column: Column) -> tuple[str, str]:
    """Return what stands before and after the content of each cell of a column."""
    if column.role == "label":
        return '<th scope="row" role="rowheader">', "</th>"
    return f'<td role="cell"{_class(column)} data-label="{escape(column.label)}">', "</td>"


def _content(cell: Cell, reasons: Mapping[str, str]) -> str:
    """Return the content of a cell as HTML: by hand, for a page of many tables has thousands, and `Markup.format` is slow."""
    content: str = escape(cell.text)
    if cell.reason and not cell.text:
        content = (
            f'<span aria-hidden="true">{_DASH}</span><span class="unseen">not published</span>'
            f"<sup>{escape(reasons[cell.reason])}</sup>"
        )
    elif cell.reason:
        content = f"{content}<sup>{escape(reasons[cell.reason])}</sup>"
    if cell.below:
        content = f"{content}<br>{escape(cell.below)}"
    if cell.kind:
        content = f'<span class="{escape(cell.kind)}">{content}</span>'
    if cell.link:
        content = f'<a href="{escape(cell.link)}">{content}</a>'
    return content


def records_of(frame: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return rows as dictionaries of plain values, None for a missing one: `to_dict("records")` in half of its time.

    >>> records_of(pd.DataFrame({"role": ["CEO"], "n": pd.array([None], "Int64")}))
    [{'role': 'CEO', 'n': None}]
    """
    values = frame.to_numpy(dtype=object, na_value=None)  # type: ignore[arg-type]  # the stubs know other values only
    return [dict(zip(frame.columns, row, strict=True)) for row in values.tolist()]


def _plain(cell: Cell) -> str:
    shown = cell.text or (_DASH if cell.reason else "")
    return f"{shown} ({cell.below})" if cell.below else shown


def _class(column: Column) -> Markup:
    return Markup(' class="number"') if column.role == "number" else Markup("")


def _letter(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f"{_letter(index // 26 - 1)}{_letter(index % 26)}"


def decimals_of(std_error: float | None, *, limit: int = 2) -> int:
    """Return the decimals that a standard error allows, at most `limit`.

    The rule of the Particle Data Group: where the first two figures of the error lie up to 35, two of its figures are
    shown, above that one. Without an error the limit stands.

    >>> [decimals_of(error) for error in (0.12, 0.047, 0.62, 3.1, 41.0, None)]
    [2, 2, 1, 1, 0, 2]
    """
    if std_error is None or pd.isna(std_error) or std_error <= 0:
        return limit
    exponent = math.floor(math.log10(std_error))
    leading = round(std_error / 10.0 ** (exponent - 1))
    return min(limit, max(0, (1 if leading <= 35 else 0) - exponent))


def quantity(value: float | None, unit: str = "", decimals: int = 2, *, signed: bool = False) -> str:
    """Return a number as readers see it: shares in whole per cent, a true minus sign, thousands apart.

    >>> quantity(0.384, "proportion"), quantity(0.5, "scale_point"), quantity(3.0, "rank"), quantity(None)
    ('38%', '0.50', '3', '')
    >>> quantity(-0.04, decimals=1)
    '0.0'
    """
    if value is None or pd.isna(value):
        return ""
    sign = "+" if signed else ""
    if unit == "proportion":
        text = f"{100 * value:{sign}.0f}%"
    elif unit == "rank":
        text = f"{value:{sign}.0f}"
    else:
        text = f"{value:{sign},.{decimals}f}"
    # What rounds to nil has no sign.
    return text.replace("-", _MINUS if text.strip("+-0.,%") else "")


def interval(low: float | None, high: float | None, unit: str = "", decimals: int = 2) -> str:
    """Return an interval in words; an open end says so.

    >>> interval(0.31, 0.62), interval(0.1, None, "proportion"), interval(None, None)
    ('0.31 to 0.62', 'at least 10%', '')
    """
    ends = quantity(low, unit, decimals), quantity(high, unit, decimals)
    if all(ends):
        return f"{ends[0]} to {ends[1]}"
    if ends[0]:
        return f"at least {ends[0]}"
    return f"at most {ends[1]}" if ends[1] else ""


def method_label(method: str) -> str:
    """Return what readers call the way in which an interval was made; a name that has no words stands in plain ones.

    >>> method_label("clmm"), method_label("my_own")
    ('cumulative link mixed model', 'my own')
    """
    return _METHODS.get(method, method.replace("_", " "))


def statistic_label(statistic: str) -> str:
    """Return what readers call a statistic.

    >>> statistic_label("role_sd_corrected"), statistic_label("some_other")
    ('Spread between roles', 'Some other')
    """
    return _STATISTICS.get(statistic) or statistic.replace("_", " ").capitalize()


def estimate_words(record: Mapping[str, Any]) -> str:
    """Return an estimate with interval and unit, at publication precision, which is what decides a verdict.

    >>> estimate_words({"estimate": 0.62, "conf_low": 0.45, "conf_high": 0.79, "unit": "scale_point"})
    '0.62 (0.45 to 0.79) scale points'
    """
    unit = str(record.get("unit") or "")
    point = quantity(record.get("estimate"), unit)
    ends = interval(record.get("conf_low"), record.get("conf_high"), unit)
    if not point:
        return f"no finite estimate ({ends})" if ends else ""
    return " ".join(part for part in (point, f"({ends})" if ends else "", UNITS.get(unit, "")) if part)


def base_words(record: Mapping[str, Any]) -> str:
    """Return the base of an estimate.

    >>> base_words({"n": 900, "n_organisations": 180}), base_words({"n": 900, "n_organisations": None})
    ('900 in 180 organisations', '900')
    """
    people, organisations = (quantity(record.get(name), "", 0) for name in ("n", "n_organisations"))
    return f"{people} in {organisations} organisations" if people and organisations else people


def estimates_table(estimates: pd.DataFrame, instrument: Instrument, *, title: str, notes: Sequence[str] = ()) -> Table:
    """Return a table of published estimates, one row each, in their order, with interval and base in every row.

    Columns of the key are shown where they tell rows apart. Decimals are settled per unit, by the median standard
    error. What was not published is a dash with its reason under the table; what is to be read with care carries its
    reason too.

    Parameters
    ----------
    estimates : pd.DataFrame    Rows of `schema.ESTIMATES`.
    instrument : Instrument     Labels of roles, stages and measures.
    title : str                 Caption.
    """
    records = records_of(estimates)
    keys = _telling(records)
    places = _places(records)
    levels = sorted({round(float(row["conf_level"]) * 100) for row in records if not pd.isna(row["conf_level"])})
    organisations = any(not pd.isna(row["n_organisations"]) for row in records)
    columns = [
        *(Column(heading, "label" if index == 0 else "text") for index, heading in enumerate(keys.values())),
        Column("Estimate", "number"),
        Column(f"{levels[0]}% interval" if len(levels) == 1 else "Interval", "number"),
        Column("n", "number"),
        *([Column("Organisations", "number")] if organisations else []),
    ]
    rows = []
    for row in records:
        unit = _unit(row)
        shown = row["status"] in ("ok", "flagged")
        reason = _text(row["reason"]) or ("" if row["status"] == "ok" else _text(row["status"]).replace("_", " "))
        decimals = places.get(unit, 2)
        numbers = [
            interval(row["conf_low"], row["conf_high"], unit, decimals),
            quantity(row["n"], "", 0),
            *([quantity(row["n_organisations"], "", 0)] if organisations else []),
        ]
        point = quantity(row["estimate"], unit, decimals) or "not finite"
        rows.append(
            (
                *(Cell(named(instrument, key, row) or "All") for key in keys),
                Cell(point if shown else "", reason),
                *(Cell(text) if shown else Cell("", reason) for text in numbers),
            )
        )
    return Table(title, tuple(columns), tuple(rows), tuple(notes))


def grid_table(
    estimates: pd.DataFrame | Sequence[Mapping[Hashable, Any]],
    instrument: Instrument,
    *,
    rows: Sequence[str],
    across: Sequence[str],
    title: str,
    notes: Sequence[str] = (),
    compact: bool = False,
) -> Table:
    """Return published estimates as a grid: one row and one column per value of some keys, interval under each estimate.

    Roles, stages and answers come in the instrument's order. The last column is the smallest base of a row's estimates. What
    was not published is a dash with its reason under the table.

    Parameters
    ----------
    estimates : rows of `schema.ESTIMATES`, at most one per cell of the grid, as a frame or as `records_of` returns them.
    rows, across : columns of the key that make the rows and the columns, as `["role"]` and `["measure", "statistic"]`;
        with none across, one column of estimates.
    title : str                    Caption.
    compact : bool                 Estimates alone, and roles across by the shorter of id and label, for grids of many columns;
                                   a note says how long half of an interval is as a rule.
    """
    records = records_of(estimates) if isinstance(estimates, pd.DataFrame) else estimates
    order = _order(instrument)
    places = _places(records)
    found: dict[tuple[str, ...], dict[tuple[str, ...], Mapping[Hashable, Any]]] = {}
    for row in records:
        found.setdefault(_key(row, rows), {})[_key(row, across)] = row
    heads = sorted({_key(row, across) for row in records}, key=lambda key: [_place(order, part) for part in key])
    names = {_key(row, across): _joined(instrument, across, row) for row in records}
    if compact:
        names = {key: ", ".join(_shorter(key_part, instrument) for key_part in key if key_part) for key in names}
    columns = (
        Column(" and ".join(_HEADINGS[key] for key in rows).capitalize(), "label"),
        *(Column(names[head] or "Estimate", "number") for head in heads),
        Column("n, at least" if across else "n", "number"),
    )
    lines = []
    for key in sorted(found, key=lambda key: [_place(order, part) for part in key]):
        cells = found[key]
        first = next(iter(cells.values()))
        bases = [int(row["n"]) for row in cells.values() if not pd.isna(row["n"])]
        lines.append(
            (
                Cell(_joined(instrument, rows, first) or "All"),
                *(_estimate_cell(cells[head], places, alone=compact) if head in cells else Cell("") for head in heads),
                Cell(quantity(min(bases), "", 0) if bases else ""),
            )
        )
    levels = sorted({round(float(row["conf_level"]) * 100) for row in records if not pd.isna(row["conf_level"])})
    said = [f"Under each estimate stands its {levels[0]}% interval."] if len(levels) == 1 else []
    if compact and said:
        ends = pd.DataFrame(
            {name: [row[name] for row in records] for name in ("conf_low", "conf_high")}, dtype="Float64"
        )
        half = (ends["conf_high"] - ends["conf_low"]).median() / 2
        said = [f"Half of a {levels[0]}% interval is {half:.2f} as a rule."]
    return Table(title, columns, tuple(lines), (*said, *notes))


def _key(row: Mapping[Hashable, Any], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(_text(row[key]) for key in keys)


def _joined(instrument: Instrument, keys: Sequence[str], row: Mapping[Hashable, Any]) -> str:
    return ", ".join(name for name in (named(instrument, key, row) for key in keys) if name)


def _order(instrument: Instrument) -> dict[str, tuple[int, int, str]]:
    """Place of every role, stage, item and answer in the instrument; "all" comes first, what is unknown last."""
    known = ["", *instrument.role_ids, *instrument.stage_ids]
    for item in instrument.items:
        known += [item.name, *(option.id for option in item.options)]
    return {name: (0, place, "") for place, name in enumerate(dict.fromkeys([*known, *_STATISTICS]))}


def _place(order: Mapping[str, tuple[int, int, str]], value: str) -> tuple[int, int, str]:
    """Return where a value stands; several joined by `+` stand at the first of them, after it alone."""
    known, place, _ = order.get(value) or order.get(value.partition("+")[0]) or (1, 0, "")
    return known, place, "" if value in order else value


def _shorter(value: str, instrument: Instrument) -> str:
    """Return the shorter of a role's id and label; what is no role stands as it is."""
    return min((_label(instrument, "role", value), value), key=len)


def _estimate_cell(row: Mapping[Hashable, Any], places: Mapping[str, int], *, alone: bool = False) -> Cell:
    """Estimate with its interval, or a dash with the reason; `alone`: without the interval, to one decimal."""
    unit = _unit(row)
    reason = _text(row["reason"]) or ("" if row["status"] == "ok" else _text(row["status"]).replace("_", " "))
    if row["status"] not in ("ok", "flagged"):
        return Cell("", reason)
    decimals = 1 if alone else places.get(str(row["unit"]), 2)
    point = quantity(row["estimate"], unit, decimals) or "not finite"
    if alone:
        return Cell(point, reason)
    ends = interval(row["conf_low"], row["conf_high"], unit, decimals)
    return Cell(point, reason, below=ends)


def matrix_table(estimates: pd.DataFrame, instrument: Instrument, *, title: str, notes: Sequence[str] = ()) -> Table:
    """Return published estimates of one statistic as answers by roles: one row per answer, one column per role.

    Roles head the columns by their ids, which a note spells out; the base of each role stands in the last row of each
    measure. What was not published is a dash with its reason under the table; intervals are left to `grid_table` and
    `estimates_table`: ten roles leave no room for them.

    Parameters
    ----------
    estimates : pd.DataFrame    Rows of `schema.ESTIMATES`, one per measure, answer and role; rows without a role are left out.
    instrument : Instrument     Labels, and the order of roles and answers.
    title : str                 Caption.
    """
    named = estimates[
        (estimates["role"].fillna("") != "") & ~estimates["role"].fillna("").str.contains("+", regex=False)
    ]
    cells = {(str(r["measure"]), str(r["item"]), str(r["role"])): r for r in records_of(named)}
    present = {role for _, _, role in cells}
    roles = [role for role in instrument.roles if role.id in present]
    measures = list(dict.fromkeys(measure for measure, _, _ in cells))
    lead = [Column("Measure", "label"), Column("Answer")] if len(measures) > 1 else [Column("Answer", "label")]
    rows = []
    for measure in measures:
        offered = dict.fromkeys(item for each, item, _ in cells if each == measure)
        known = [option.id for option in instrument.item(measure).options] if measure in instrument else []
        head = [Cell(_label(instrument, "measure", measure))] if len(measures) > 1 else []
        for item in sorted(offered, key=lambda name: known.index(name) if name in known else len(known)):
            row = [cells.get((measure, item, role.id)) for role in roles]
            rows.append((*head, Cell(_option(instrument, measure, item)), *(_matrix_cell(each) for each in row)))
        columns_of = [[row for key, row in cells.items() if key[0] == measure and key[2] == role.id] for role in roles]
        rows.append((*head, Cell("Respondents"), *(_base_cell(column) for column in columns_of)))
    spelt = "; ".join(f"{role.id}: {role.label}" for role in roles if role.label != role.id)
    columns = (*lead, *(Column(role.id, "number") for role in roles))
    return Table(title, columns, tuple(rows), (*notes, *([f"{spelt}."] if spelt else [])))


def _base_cell(rows: Sequence[Mapping[Hashable, Any]]) -> Cell:
    """Return the largest base of some rows, or why there is none to show."""
    known = [int(row["n"]) for row in rows if not pd.isna(row["n"])]
    reasons = [_text(row["reason"]) for row in rows if _text(row["reason"])]
    return Cell(quantity(max(known), "", 0)) if known else Cell("", next(iter(reasons), "not asked"))


def _matrix_cell(row: Mapping[Hashable, Any] | None) -> Cell:
    if row is None:
        return Cell("", "not asked")
    if row["status"] not in ("ok", "flagged"):
        return Cell("", _text(row["reason"]) or _text(row["status"]).replace("_", " "))
    point = quantity(row["estimate"], str(row["unit"]))
    return Cell(point, _text(row["reason"]) if row["status"] == "flagged" else "")


def crossed_table(
    estimates: pd.DataFrame, instrument: Instrument, *, rows: str, across: str, title: str, notes: Sequence[str] = ()
) -> Table:
    """Return published estimates as a print table: one row and one column per value of two keys, the base under every column.

    Under each estimate stands its interval; both are rounded by the median standard error of their unit. The last row is the
    base of each column: one number where all its estimates share it, else the smallest and the largest. What was not published
    is a dash with its reason under the table, and has no base.

    Parameters
    ----------
    estimates : pd.DataFrame    Rows of `schema.ESTIMATES`, at most one per cell.
    rows, across : str          Columns of the key, as `role` and `measure`.
    title : str                 Caption.
    """
    records = records_of(estimates)
    order, places = _order(instrument), _places(records)

    def sorted_by(key: str) -> dict[str, str]:
        names = {_text(row[key]): _joined(instrument, [key], row) or "All" for row in records}
        return dict(sorted(names.items(), key=lambda entry: _place(order, entry[0])))

    cells = {(_text(row[rows]), _text(row[across])): row for row in records}
    heads, lines = sorted_by(across), sorted_by(rows)
    body = [
        (
            Cell(name),
            *(
                _estimate_cell(cells[key, head], places) if (key, head) in cells else Cell("", "not asked")
                for head in heads
            ),
        )
        for key, name in lines.items()
    ]
    bases = [
        [int(row["n"]) for (_, at), row in cells.items() if at == head and not pd.isna(row["n"])] for head in heads
    ]
    body.append((Cell("Respondents"), *(_column_base(found) for found in bases)))
    levels = sorted({round(float(row["conf_level"]) * 100) for row in records if not pd.isna(row["conf_level"])})
    said = [f"Under each estimate stands its {levels[0]}% interval."] if len(levels) == 1 else []
    columns = (Column(_HEADINGS[rows], "label"), *(Column(name, "number") for name in heads.values()))
    return Table(title, columns, tuple(body), (*said, *notes))


def _column_base(found: Sequence[int]) -> Cell:
    """Return the base of a column; a column of which nothing is published has none."""
    if not found:
        return Cell("", "nothing of the column is published")
    least, most = quantity(min(found), "", 0), quantity(max(found), "", 0)
    return Cell(least if least == most else f"{least} to {most}")


def p_value_table(estimates: pd.DataFrame, instrument: Instrument, *, title: str, notes: Sequence[str] = ()) -> Table:
    """Return published tests, one row each: statistic, p-value, and p-value adjusted for the family where there is one.

    Parameters
    ----------
    estimates : pd.DataFrame    Rows of `schema.ESTIMATES` with `p_value`.
    instrument : Instrument     Labels of measures and answers.
    """
    records = records_of(estimates)
    families = dict.fromkeys(_text(r["adjustment"]) for r in records if not pd.isna(r["p_adjusted"]))
    rows = []
    for row in records:
        shown = row["status"] in ("ok", "flagged")
        reason = _text(row["reason"]) or ("" if row["status"] == "ok" else _text(row["status"]).replace("_", " "))
        numbers = [quantity(row["estimate"]), _p_words(row["p_value"]), _p_words(row["p_adjusted"])]
        rows.append(
            (
                Cell(named(instrument, "measure", row)),
                Cell(named(instrument, "item", row) or "All answers"),
                Cell(statistic_label(str(row["statistic"]))),
                *(Cell(text if shown else "", "" if shown and place else reason) for place, text in enumerate(numbers)),
                Cell(quantity(row["n"], "", 0) if shown else "", "" if shown else reason),
            )
        )
    columns = (
        Column("Measure", "label"), Column("Answer"), Column("Test"), Column("Statistic", "number"), Column("p", "number"),
        Column("p, adjusted", "number"), Column("n", "number"),
    )  # fmt: skip
    adjusted = (f"Adjusted p-values: {'; '.join(families)}.",) if families else ()
    return Table(title, columns, tuple(rows), (*notes, *adjusted))


def _p_words(value: Any) -> str:  # noqa: ANN401 - a number or none
    """Return a p-value as readers see it; below what four decimals show it says so."""
    if pd.isna(value):
        return ""
    return "under 0.001" if value < 0.001 else f"{value:.3f}"


def scenario_table(declared: Mapping[str, Any]) -> Table:
    """Return what a delay would cost under the study's declared assumptions: a scenario, and marked so.

    Parameters
    ----------
    declared : mapping    `Study.delay`: weekly_value and weeks as quantiles, yearly_rate, option_value, currency, source.

    >>> known = {"weekly_value": {0.0: 4e4, 1.0: 4e4}, "weeks": {0.0: 13.0, 1.0: 13.0}, "yearly_rate": 0.1}
    >>> scenario_table({**known, "option_value": 0.0, "currency": "US dollars", "source": "x"}).frame()["Amount"].tolist()[-2:]
    ['513,383', '0%']
    """
    title = "Scenario, not a finding: what a delay would cost if the assumptions held"
    columns = (Column("Quantity", "label"), Column("Amount", "number"), Column("Is"))
    if not declared:
        return Table(
            title, columns, (), ("The study declares no assumptions: [cost_of_delay] in study.toml takes them.",)
        )
    cost = cost_of_delay(
        declared["weekly_value"], declared["weeks"], yearly_rate=declared["yearly_rate"], option_value=declared["option_value"]
    )  # fmt: skip
    money = declared["currency"]
    assumed = [
        *_quantiles(f"Value of a week, {money}", declared["weekly_value"]),
        *_quantiles("Weeks of delay", declared["weeks"]),
        ("Yearly rate of discount", quantity(declared["yearly_rate"], "proportion")),
        (f"Value of what is learnt by waiting, {money}", quantity(declared["option_value"], "", 0)),
    ]
    follows = [
        *_quantiles(f"Cost of the delay, {money}", dict(zip(cost.probabilities, cost.quantiles, strict=True))),
        (f"Cost of the delay, {money}: mean", quantity(cost.mean, "", 0)),
        ("Chance that waiting pays", quantity(cost.share_negative, "proportion")),
    ]
    rows = [(*pair, "assumed") for pair in assumed] + [(*pair, "follows") for pair in follows]
    return Table(
        title, columns, tuple((Cell(name), Cell(amount), Cell(kind)) for name, amount, kind in rows),
        (f"Assumptions: {declared['source']}.", "No answer of a respondent enters this table."),
    )  # fmt: skip


def _quantiles(name: str, quantiles: Mapping[float, float]) -> list[tuple[str, str]]:
    """Return the quantiles of a quantity, one line each; one line where it is taken as known."""
    values = {probability: quantiles[probability] for probability in sorted(quantiles)}
    if len({round(value, 6) for value in values.values()}) == 1:
        return [(name, quantity(next(iter(values.values())), "", 0))]
    ends = {0.0: "least", 0.5: "median", 1.0: "greatest"}
    return [
        (f"{name}: {ends.get(probability, f'{probability:.0%} lie below')}", quantity(value, "", 0))
        for probability, value in values.items()
    ]


def plain_table(frame: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> Table:
    """Return a frame of texts as a table; its first column heads the rows, and a lone dash says that nothing was given.

    >>> plain_table(pd.DataFrame({"Role": ["CTO"], "Answer": ["4"]}), title="Answers").columns[0].role
    'label'
    """
    columns = tuple(Column(str(name), "label" if place == 0 else "text") for place, name in enumerate(frame.columns))
    rows = tuple(tuple(Cell(str(value)) for value in row) for row in frame.itertuples(index=False, name=None))
    return Table(title, columns, rows, tuple(notes))


def claims_table(claims: Sequence[Mapping[str, Any]], *, links: Mapping[str, str] | None = None) -> Table:
    """Return the register with its verdicts: one row per claim, with interval, margin and base, or why there is none.

    Parameters
    ----------
    claims : list of records    As in claims.json.
    links : mapping             Address of each claim's page, by id; empty: no links.
    """
    judged_again = any(record.get("multiverse") for record in claims)
    rows = []
    for record in claims:
        verdict = str(record["verdict"])
        assessed = verdict != "not_assessable"
        rows.append(
            (
                Cell(str(record["id"]), link=(links or {}).get(str(record["id"]), "")),
                Cell(str(record["text"])),
                Cell(VERDICTS[verdict], kind=f"verdict {verdict}"),
                Cell(estimate_words(record) if assessed else _sentence(_text(record.get("reason")))),
                Cell(quantity(record.get("margin"), str(record.get("unit") or "")) if assessed else ""),
                Cell(base_words(record.get("base") or {})),
                *([Cell(_agreeing(record))] if judged_again else []),
            )
        )
    columns = (
        Column("Claim", "label"),
        Column("What it says"),
        Column("Verdict"),
        Column("Estimate and interval"),
        Column("Margin", "number"),
        Column("Base"),
        *([Column("Specifications that agree", "number")] if judged_again else []),
    )
    return Table("Every claim of the register, with its verdict", columns, tuple(rows))


def _agreeing(record: Mapping[str, Any]) -> str:
    """Return how many specifications come to the claim's verdict at its registered margin, of those assessed."""
    counted = (record.get("multiverse") or {}).get("at_registered_margin")
    return f"{counted['agree']} of {counted['assessed']}" if counted and counted["assessed"] else ""


def findings_table(findings: Sequence[Mapping[str, Any]]) -> Table:
    """Return the findings and the hypotheses left open, one row each: claim, verdict and the sentence that may be said.

    Raises ClaimError for a hypothesis that would be printed as a finding; see `findings.checked`.
    """
    rows = tuple(
        (
            Cell(str(record["id"])),
            Cell(STATUSES[checked(record)["status"]]),
            Cell(VERDICTS[str(record["verdict"])], kind=f"verdict {record['verdict']}"),
            Cell(_text(record.get("claim"))),
            Cell(str(record["sentence"])),
        )
        for record in findings
    )
    columns = (
        Column("Claim", "label"),
        Column("Status"),
        Column("Verdict"),
        Column("What it says"),
        Column("What may be said"),
    )
    return Table("Findings, and hypotheses that the data leave open", columns, rows)


CHOICES = {
    "weights": ("Weights", {"raked": "raked", "none": "none"}),
    "lens": ("Lens", {"cell_table": "cell table", "mixed_model": "mixed model"}),
    "exclusions": ("Excluded rows", {"set_aside": "out", "kept": "in"}),
    "stage": ("Stage of", {"own_function": "function", "organisation": "organisation"}),
    "missing": (
        "Missing answers",
        {"available": "available cases", "complete": "complete cases", "imputed": "imputed"},
    ),
}


def verdicts_table(multiverse: pd.DataFrame) -> Table:
    """Return how often each verdict came out over the specifications of a multiverse, one row per claim and margin."""
    rows = []
    for _, group in multiverse.groupby(["claim", "margin"], sort=False):
        claim, margin = group["claim"].iloc[0], group["margin"].iloc[0]
        counts = group["verdict"].value_counts()
        registered = bool(group["registered_margin"].iloc[0])
        main = group[group["main"]]["verdict"]
        unit = str(group["unit"].iloc[0])
        shown = f"ratio of {math.exp(float(margin)):.2f}" if unit == "log_ratio" else quantity(float(margin), unit)
        rows.append(
            (
                Cell(str(claim)),
                Cell(shown),
                Cell("registered" if registered else ""),
                Cell(VERDICTS[main.iloc[0]] if len(main) else "", kind=f"verdict {main.iloc[0]}" if len(main) else ""),
                *(Cell(str(int(counts.get(name, 0)))) for name in VERDICTS),
            )
        )
    columns = (
        Column("Claim", "label"),
        Column("Margin"),
        Column("Which"),
        Column("Main analysis"),
        *(Column(text, "number") for text in VERDICTS.values()),
    )
    return Table("Verdicts over all specifications", columns, tuple(rows))


def multiverse_table(multiverse: pd.DataFrame) -> Table:
    """Return the specifications at the registered margin, one row each: choices, estimate with interval, verdict."""
    shown = multiverse[multiverse["registered_margin"].fillna(value=False)]
    rows = []
    for row in records_of(shown):
        unit = str(row["unit"])
        numbers = estimate_words({name: None if pd.isna(row[name]) else row[name] for name in _ENDS} | {"unit": unit})
        rows.append(
            (
                Cell(f"{row['claim']}, {int(row['specification'])}"),
                *(Cell(options[row[name]]) for name, (_, options) in CHOICES.items()),
                Cell(numbers, "" if numbers else _text(row["reason"]) or "no number"),
                Cell(VERDICTS[row["verdict"]], kind=f"verdict {row['verdict']}"),
            )
        )
    columns = (
        Column("Claim and specification", "label"),
        *(Column(heading) for heading, _ in CHOICES.values()),
        Column("Estimate and interval"),
        Column("Verdict"),
    )
    return Table("Claims under other analytic choices", columns, tuple(rows))


def facts_table(facts: Sequence[External]) -> Table:
    """Return the facts from outside the fieldwork, each with its mark, source, sample and the day on which it was checked."""
    rows = tuple(
        (
            Cell(fact.statement),
            Cell(MARKS[fact.status][:1].upper() + MARKS[fact.status][1:], kind=f"mark {fact.status}"),
            Cell(fact.source or "none given"),
            Cell(f"{fact.n:,}" if fact.n else ""),
            Cell(str(fact.year or "")),
            Cell(fact.checked.isoformat()),
            Cell(fact.note),
        )
        for fact in facts
    )
    columns = (
        Column("What others say", "label"),
        Column("Mark"),
        Column("Source"),
        Column("n", "number"),
        Column("Year", "number"),
        Column("Checked", "number"),
        Column("Note"),
    )
    return Table("Facts from outside this fieldwork; none of them is a finding of it", columns, rows)


def _label(instrument: Instrument, key: str, value: str) -> str:
    """Return what readers call a value of a key column; a value that the instrument does not know stands as it is."""
    stages = {stage.id: stage.label for stage in instrument.stages}
    if key in {"role", "role_2"}:
        roles = {role.id: role.label for role in instrument.roles}
        return " and ".join(roles.get(part, part) for part in value.split("+"))
    if key in {"stage", "segment"}:
        plain = " v ".join(stages.get(part, part) for part in value.split(" v "))
        return _segment(instrument, value) if "=" in value or value.endswith(" held fixed") else plain
    if key == "statistic":
        return statistic_label(value)
    if key == "measure" and value:
        try:
            # A family is labelled as its members are, with an ellipsis for what tells them apart.
            return instrument.label(value).removesuffix(": \N{HORIZONTAL ELLIPSIS}")
        except InstrumentError:  # a derived measure, which no question asks for by that name
            return _NOT_ASKED.get(value, value.replace("_", " "))
    return value


def named(instrument: Instrument, key: str, row: Mapping[Hashable, Any]) -> str:
    """Return what readers call the value that a row has in a key column; empty where it speaks of all.

    >>> from types import SimpleNamespace
    >>> role = SimpleNamespace(id="CTO", label="Chief Technology Officer")
    >>> named(SimpleNamespace(roles=[role], stages=[]), "role", {"role": "CTO", "measure": "conf"})
    'Chief Technology Officer'
    """
    value = _text(row[key])
    return _option(instrument, _text(row["measure"]), value) if key == "item" else _label(instrument, key, value)


def _unit(row: Mapping[Hashable, Any]) -> str:
    """Return the unit of a row's numbers; a rank with a standard error is a mean of ranks, which has decimals."""
    unit = str(row["unit"])
    return "" if unit == "rank" and not pd.isna(row["std_error"]) else unit


def _option(instrument: Instrument, measure: str, value: str) -> str:
    """Return what readers call an answer to a measure, or a member of a family; what neither knows stands as it is."""
    if not value:
        return ""
    options = {each.id: each.label for item in instrument.items if item.name == measure for each in item.options}
    options |= {
        each.id: each.label for family in instrument.families if family.name == measure for each in family.options
    }
    if value in options:
        return options[value]
    members = {
        each.member: each.label.partition(": ")[2] or each.label for each in instrument.items if each.family == measure
    }
    known = options or members
    for word, spoken in ((" v ", " less "), ("+", " or ")):
        parts = value.split(word)
        if known and set(parts) <= set(known):
            return spoken.join([known[parts[0]], *(_inside(known[part]) for part in parts[1:])])
    try:
        label = instrument.label(value)
        family = [each.label for each in instrument.family(measure)] if measure else []
    except InstrumentError:
        return value
    # What all labels of a family have before a colon is the family's name, which stands in the caption.
    name, colon, rest = label.partition(": ")
    return rest if colon and len(family) > 1 and all(each.startswith(f"{name}: ") for each in family) else label


def _segment(instrument: Instrument, value: str) -> str:
    """Return what readers call `item=option`, or `item held fixed`; what the instrument does not know stands as it is."""
    name, _, option = value.removesuffix(" held fixed").partition("=")
    label = _label(instrument, "measure", name)
    if value.endswith(" held fixed"):
        return f"{label} held fixed"
    if option == "all":
        return f"With all {label}"
    known = {each.id: each.label for item in instrument.items if item.name == name for each in item.options}
    return f"{label}: {known.get(option, option)}"


def _telling(records: Sequence[Mapping[Hashable, Any]]) -> dict[str, str]:
    """Return the key columns that tell the rows apart, with their headings; at least one."""
    varying = {key: text for key, text in _HEADINGS.items() if len({_text(row[key]) for row in records}) > 1}
    return varying or {"statistic": "Statistic"}


def _places(records: Iterable[Mapping[Hashable, Any]]) -> dict[str, int]:
    errors: dict[str, list[float]] = {}
    for row in records:
        if not pd.isna(row["std_error"]):
            errors.setdefault(str(row["unit"]), []).append(float(row["std_error"]))
    return {unit: decimals_of(float(pd.Series(values).median())) for unit, values in errors.items()}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _inside(label: str) -> str:
    """Return a label as it stands inside a phrase: its capital goes, unless it is an abbreviation."""
    return label[:1].lower() + label[1:] if label[1:2].islower() or label[1:2] == " " else label


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
