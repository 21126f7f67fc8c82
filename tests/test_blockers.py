"""Blockers: worked example, shares against frames, designs that lack something, the gate, and what must not move them."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fieldwork.claims import Register, against_margins, judge
from fieldwork.constructs.blockers import estimate, estimate_for
from fieldwork.constructs.cells import Axis, axis, design_for, survey_design
from fieldwork.constructs.ledger import Wanted
from fieldwork.constructs.multi_answers import MultiAnswers, answers_of
from fieldwork.disclosure import Policy, publish
from fieldwork.instrument import Instrument
from fieldwork.simulate import Population, layout_of, worlds
from fieldwork.simulate.interview import Interview
from fieldwork.simulate.population import executives
from fieldwork.simulate.truth_blockers import blockers_truth, tick_shares
from fieldwork.statistics.multiplicity import benjamini_hochberg
from fieldwork.statistics.multiresponse import contrast_shares, exact_upper_bound, items_test, prevalence
from fieldwork.statistics.proportion import difference_quantile, largest_share_quantile
from fieldwork.weight import Margins
from tests.attacker import recovered

ROOT = Path(__file__).resolve().parents[1]
QUESTIONNAIRE = Instrument.load(ROOT / "instruments" / "2026Q1.toml", "2026Q1")
REGISTER = Register.load(ROOT / "instruments" / "claims.toml")
UNITS = {
    "prevalence": "proportion", "cited_together": "proportion", "at_cap_share": "proportion", "risk_difference": "proportion",
    "prevalence_max_other": "proportion", "majority_share": "proportion", "prevalence_ratio": "ratio",
    "location_quotient": "ratio", "profiles_permutation": "ratio", "item_f": "index", "profiles_f": "index",
    "mean_cited": "index", "role_effective_number": "index", "effective_number": "index", "jaccard_excess": "index",
    "dissimilarity": "index", "dissimilarity_chance": "index", "dissimilarity_excess": "index", "jensen_shannon": "index",
    "jensen_shannon_chance": "index", "jensen_shannon_excess": "index",
}  # fmt: skip


def design_of(data, *, roles=(), stages=(), organisation="org_id", replicates=200, weight=None):
    data = data.assign(resp_id=[f"r{i:05d}" for i in range(len(data))]) if "resp_id" not in data else data
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0 if weight is None else weight})
    return survey_design(
        data, weights, respondent="resp_id", organisation=organisation, margins=None, replicates=replicates, seed=1,
        role=Axis("role", tuple(roles), tuple(roles)) if roles else None,
        stage=Axis("stage", tuple(stages), tuple(stages)) if stages else None,
    )  # fmt: skip


def multi(design, options, *, exclusive=(), cap=None):
    values = design.responses[[f"b_{option}" for option in options]].to_numpy(dtype=float, na_value=np.nan)
    free = np.array([option not in exclusive for option in options])
    return MultiAnswers("b", tuple(options), free, cap, np.nan_to_num(values), ~np.isnan(values))


def one(table, statistic, **key):
    rows = table[table["statistic"] == statistic]
    for name, value in {"role": "", "role_2": "", "stage": "", "item": "", **key}.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, f"{statistic} {key}: {len(rows)} rows"
    return rows.iloc[0]


def drawn_study(world="role_divergence", organisations=60, seed=1, settings=None):
    """Answers to both multi-select questions, as cleaning leaves them."""
    population = Population(worlds()[world].with_settings(settings or {}), layout_of(QUESTIONNAIRE))
    drawn = executives(population, organisations=organisations, seed=seed)
    interview = Interview(QUESTIONNAIRE, drawn, 1, "2026Q1")
    data = pd.DataFrame(
        {
            "resp_id": [f"r{i:05d}" for i in range(drawn.n)],
            "org_id": [f"o{i:05d}" for i in drawn.org],
            "role": pd.array(np.array(population.layout.roles)[drawn.role], dtype="string"),
            "stage_fn": pd.array(interview.stage + 1, dtype="Int8"),
        }
    )
    for name in ("blk", "cond"):
        ticks, kept = interview.sets(QUESTIONNAIRE.item(name))
        for number, column in enumerate(QUESTIONNAIRE.item(name).native_columns()):
            data[column] = pd.array(ticks[:, number].astype(int), dtype="Int8")
            data.loc[~kept, column] = pd.NA
    return data


def estimated(data, *, wanted=None, replicates=200, organisation="org_id", seed=1, only_wanted=False):
    weights = pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0})
    design = survey_design(
        data, weights, respondent="resp_id", organisation=organisation, margins=None, replicates=replicates, seed=seed,
        role=axis(QUESTIONNAIRE, "role"), stage=axis(QUESTIONNAIRE, "stage_fn"),
    )  # fmt: skip
    asked_for = REGISTER.wanted("blockers") if wanted is None else wanted
    return estimate_for(QUESTIONNAIRE, design, asked_for, only_wanted=only_wanted)


@pytest.fixture(scope="module")
def data():
    return drawn_study(organisations=120)


@pytest.fixture(scope="module")
def made(data):
    return estimated(data)


def worked_example():
    """measures.md 2.7: 10 CTO cite integration, ROI, security 7, 3 and 6 times, 10 CMO 2, 8 and 3 times."""
    rows = []
    for role, counts in (("CTO", (7, 3, 6)), ("CMO", (2, 8, 3))):
        ticks = np.zeros((10, 3), dtype=int)
        for j, count in enumerate(counts):  # dealt round the ten, so that each of them cites something
            ticks[(sum(counts[:j]) + np.arange(count)) % 10, j] = 1
        rows += [(role, *row) for row in ticks.tolist()]
    return pd.DataFrame(rows, columns=["role", "b_integr", "b_roi", "b_secur"])


@pytest.fixture(scope="module")
def table():
    design = design_of(worked_example(), roles=("CTO", "CMO"), organisation="")
    return estimate(design, [multi(design, ("integr", "roi", "secur"))], wave="w").estimates


@pytest.fixture(scope="module")
def population():
    return Population(worlds()["role_divergence"], layout_of(QUESTIONNAIRE))


class TestWorkedExample:
    """measures.md 2.7, to the printed digits, through the whole construct."""

    def test_shares_and_their_contrasts(self, table):
        assert one(table, "prevalence", role="CTO", item="integr")["estimate"] == pytest.approx(0.7)
        assert one(table, "prevalence", item="integr")["estimate"] == pytest.approx(0.45)
        assert one(table, "risk_difference", role="CTO", item="integr")["estimate"] == pytest.approx(0.5)
        assert one(table, "prevalence_ratio", role="CTO", item="integr")["estimate"] == pytest.approx(1.5556, abs=5e-5)

    def test_profiles(self, table):
        assert one(table, "location_quotient", role="CTO", item="integr")["estimate"] == pytest.approx(1.4097, abs=5e-5)
        assert one(table, "dissimilarity")["estimate"] == pytest.approx(0.4279, abs=5e-5)
        assert one(table, "jensen_shannon")["estimate"] == pytest.approx(0.1503, abs=5e-5)

    def test_statistic(self, table):
        """X2 5.0505 + 5.0505 + 1.8182 = 11.9192: the ratio to its permutation mean times that mean."""
        sets = worked_example()[["b_integr", "b_roi", "b_secur"]].to_numpy()
        test = items_test(sets, worked_example()["role"])
        assert test.statistic == pytest.approx(11.9192, abs=5e-5)
        assert one(table, "profiles_f")["estimate"] == pytest.approx(test.f_statistic)
        assert one(table, "profiles_f")["p_value"] == pytest.approx(test.adjusted_p)
        # Ten of either role, answers dealt out anew: the mean of a hypergeometric X2 is n / (n - 1) for each item.
        assert one(table, "profiles_permutation")["estimate"] == pytest.approx(11.9192 / (3 * 20 / 19), rel=0.2)

    def test_only_beyond_chance_is_judged(self, table):
        row = one(table, "dissimilarity_excess")
        assert 0 < row["estimate"] < one(table, "dissimilarity")["estimate"]
        assert row["conf_low"] < row["estimate"] < row["conf_high"]
        assert one(table, "dissimilarity")["status"] == "flagged"
        assert "never judged" in one(table, "dissimilarity")["reason"]


class TestShares:
    def test_they_are_those_of_the_frame(self, data, made):
        asked = data.dropna(subset=["blk_roi"])
        by_role = asked.groupby("role")[["blk_roi", "blk_none"]].mean()
        for role, item in itertools.product(("CEO", "GC"), ("roi", "none")):
            row = one(made.estimates[made.estimates["measure"] == "blk"], "prevalence", role=role, item=item)
            assert row["estimate"] == pytest.approx(by_role.loc[role, f"blk_{item}"])
            assert row["n"] == (asked["role"] == role).sum()
        rest = asked[asked["role"] != "CFO"]["blk_evid_cap"].mean()
        row = one(made.estimates, "risk_difference", role="CFO", item="evid_cap")
        assert row["estimate"] == pytest.approx(asked[asked["role"] == "CFO"]["blk_evid_cap"].mean() - rest)
        pair = asked["role"].isin(["CEO", "CMO"])
        row = one(made.estimates[made.estimates["measure"] == "blk"], "risk_difference", role="CEO+CMO", item="roi")
        assert row["estimate"] == pytest.approx(asked.loc[pair, "blk_roi"].mean() - asked.loc[~pair, "blk_roi"].mean())

    def test_errors_are_those_of_linearisation(self, data):
        """The replicates' standard errors against `multiresponse`, which is held against R: within their own scatter."""
        table = estimated(data, replicates=2000).estimates
        table = table[table["measure"] == "blk"]
        asked = data.dropna(subset=["blk_roi"]).reset_index(drop=True)
        ticks = asked[[c for c in asked if c.startswith("blk_")]].astype(float)
        linear = prevalence(ticks, asked["role"].astype(str), cluster=asked["org_id"])
        contrast = contrast_shares(ticks, np.where(asked["role"] == "CTO", "CTO", "other"), "CTO", "other", cluster=asked["org_id"])  # fmt: skip
        for j, item in enumerate(c.removeprefix("blk_") for c in ticks):
            if item == "none":
                continue
            for r, role in enumerate(linear.groups):
                row = one(table, "prevalence", role=role, item=item)
                assert row["std_error"] == pytest.approx(linear.std_error[r, j], rel=0.1)
            row = one(table, "risk_difference", role="CTO", item=item)
            assert row["std_error"] == pytest.approx(contrast.risk_difference.std_error[j], rel=0.1)

    def test_the_grid_is_adjusted_over_all_roles_and_answers(self, made):
        table = made.estimates[(made.estimates["measure"] == "blk")]
        grid = table[(table["statistic"] == "risk_difference") & ~table["role"].str.contains("+", regex=False)]
        tested = grid.dropna(subset=["p_value"])
        p = {str(i): float(value) for i, value in enumerate(tested["p_value"])}
        assert list(benjamini_hochberg(p, family_size=160).values()) == pytest.approx(tested["p_adjusted"].tolist())
        assert set(tested["adjustment"]) == {"Benjamini-Hochberg, family of 160"}
        ratios = table[(table["statistic"] == "prevalence_ratio")].set_index(["role", "item"])["p_value"]
        assert tested.set_index(["role", "item"])["p_value"].equals(
            ratios.loc[tested.set_index(["role", "item"]).index]
        )

    def test_every_row_has_the_unit_of_its_statistic(self, made):
        found = made.estimates.groupby("statistic")["unit"].unique().map(list).to_dict()
        assert found == {name: [unit] for name, unit in UNITS.items()}

    def test_draws_agree_with_the_interval(self, made):
        for row in made.draws[made.draws["statistic"].isin(["risk_difference", "prevalence", "prevalence_max_other"])].itertuples():  # fmt: skip
            key = {name: getattr(row, name) for name in ("role", "role_2", "stage", "item")}
            found = one(made.estimates[made.estimates["measure"] == row.measure], row.statistic, **key)
            low, high = np.quantile(row.draws, [0.025, 0.975])
            assert found["conf_low"] == pytest.approx(low, abs=0.02)
            if row.statistic != "prevalence_max_other":  # its upper end is one-sided
                assert found["conf_high"] == pytest.approx(high, abs=0.02)


class TestDifferences:
    @pytest.mark.parametrize(
        ("first", "second", "low", "high"),
        [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((6, 7), (2, 7), 0.0582, 0.8062),
         ((5, 56), (0, 29), -0.0381, 0.1926), ((0, 10), (0, 20), -0.1611, 0.2775), ((0, 10), (0, 10), -0.2775, 0.2775),
         ((10, 10), (0, 20), 0.6791, 1.0), ((10, 10), (0, 10), 0.6075, 1.0)],
    )  # fmt: skip
    def test_published_intervals(self, first, second, low, high):
        """Newcombe (1998), Statist. Med. 17, 873-890, table II, method 10."""
        z = stats.norm.ppf([0.025, 0.975])
        ends = difference_quantile(first[0] / first[1], second[0] / second[1], first[1], second[1], z, z)
        assert ends == pytest.approx([low, high], abs=5e-5)

    def test_a_positive_correlation_narrows_and_a_negative_one_widens(self):
        z = stats.norm.ppf([0.025, 0.975])
        width = [np.ptp(difference_quantile(0.4, 0.3, 50, 50, z, z, rho)) for rho in (0.5, 0.0, -0.5)]
        assert width == sorted(width)

    def test_the_curve_rises(self):
        t = stats.t.ppf(np.linspace(0.001, 0.999, 99), 30)
        assert (np.diff(difference_quantile(0.1, 0.3, 25, 90, t, t, 0.2)) >= -1e-12).all()


class TestNoOther:
    def test_the_bound_is_the_exact_one(self):
        """measures.md H7: none of 59 for one role, one-sided."""
        assert largest_share_quantile([0.0], [59], 0.95, family_size=1) == pytest.approx(0.0495, abs=5e-5)
        shares, n = np.array([0.0, 0.02, 0.1]), np.array([80.0, 100.0, 50.0])
        alone = exact_upper_bound(shares * n, n, family_size=9)
        assert largest_share_quantile(shares, n, 0.95, family_size=9) == pytest.approx(alone.max())
        curve = largest_share_quantile(shares, n, np.linspace(0.01, 0.99, 99), family_size=9)
        assert (np.diff(curve) >= -1e-12).all()

    def study(self, others, n=260, own=0.6, thin=0):
        """Ten roles of n respondents in n organisations; every other role cites with share `others`."""
        roles = QUESTIONNAIRE.role_ids
        rows = []
        for r, role in enumerate(roles):
            size = thin if role == "CISO" and thin else n
            hits = round(size * (own if role == "CHRO" else others))
            rows.append(
                pd.DataFrame(
                    {"org_id": [f"o{i:04d}" for i in range(size)], "role": role, "stage_fn": 1 + r % 5,
                     "hit": [1] * hits + [0] * (size - hits)}
                )
            )  # fmt: skip
        data = pd.concat(rows, ignore_index=True)
        data["resp_id"] = [f"r{i:05d}" for i in range(len(data))]
        rng = np.random.default_rng(1)
        for item in QUESTIONNAIRE.item("blk").options:
            ticks = (rng.random(len(data)) < 0.4).astype(int)
            data[f"blk_{item.id}"] = data["hit"] if item.id == "work_ready" else ticks * (item.id != "none")
        for column in QUESTIONNAIRE.item("cond").native_columns():
            data[column] = pd.NA
        return data.drop(columns="hit").astype({"role": "string"})

    def verdict(self, data, replicates=1000):
        wanted = [key for key in REGISTER.wanted("blockers") if key.item == "work_ready"]
        made = estimated(data, wanted=wanted, replicates=replicates)
        tested = against_margins(REGISTER, made.estimates, made.draws)
        published = publish(tested.estimates, Policy(), made.bases)
        only = REGISTER.only("H7")
        return judge(only, tested, published)[0], one(published, "prevalence_max_other", role="CHRO", item="work_ready")

    def test_a_few_elsewhere_contradict_it(self):
        record, row = self.verdict(self.study(0.2, n=60))
        assert record["verdict"] == "contradicted"
        assert row["estimate"] == pytest.approx(0.2)
        assert row["conf_low"] > 0.05

    def test_nobody_elsewhere_supports_it_by_a_bound_alone(self):
        record, row = self.verdict(self.study(0.0))
        assert record["verdict"] == "supported", record["reason"]
        assert pd.isna(row["estimate"])
        assert pd.isna(row["conf_low"])
        bound = 1 - (0.05 / 9) ** (1 / 260)
        assert row["conf_high"] == pytest.approx(bound, abs=0.005)

    def test_too_few_who_say_nothing_leave_it_open(self):
        record, row = self.verdict(self.study(0.0, n=60))
        assert record["verdict"] == "inconclusive"
        assert row["conf_high"] == pytest.approx(1 - (0.05 / 9) ** (1 / 60), abs=0.005)

    def test_a_role_without_a_base_cannot_be_bounded(self):
        record, row = self.verdict(self.study(0.0, thin=6))
        assert row["conf_high"] == 1.0
        assert "no bound for CISO" in row["reason"]
        assert record["verdict"] == "inconclusive"

    def test_one_person_elsewhere_is_held_back(self):
        data = self.study(0.0, n=60)
        data.loc[data.index[data["role"] == "CFO"][:1], "blk_work_ready"] = 1
        record, row = self.verdict(data)
        assert row["status"] == "suppressed"
        assert record["verdict"] == "not_assessable"


class TestDesigns:
    OPTIONS = ("x", "y", "z", "none")

    def frame(self, organisations=30, informants=4, seed=2):
        rng = np.random.default_rng(seed)
        n = organisations * informants
        data = pd.DataFrame(
            {"org_id": np.repeat([f"o{i:03d}" for i in range(organisations)], informants),
             "role": np.tile(["a", "b", "c", "d"], -(-n // 4))[:n], "stage": np.array(["s", "t"])[rng.integers(0, 2, n)]}
        )  # fmt: skip
        ticks = (rng.random((n, 3)) < 0.5).astype(float)
        data[["b_x", "b_y", "b_z"]] = ticks
        data["b_none"] = (ticks.sum(axis=1) == 0).astype(float)
        return data

    def table(self, data, **options):
        cap = options.pop("cap", None)
        design = design_of(data, **{"roles": ("a", "b", "c", "d"), "stages": ("s", "t"), **options})
        return estimate(design, [multi(design, self.OPTIONS, exclusive=("none",), cap=cap)], wave="w").estimates

    def test_no_organisations(self):
        table = self.table(self.frame(), organisation="")
        for statistic in ("jaccard_excess", "majority_share", "effective_number"):
            row = one(table, statistic)
            assert (row["status"], row["reason"]) == ("not_assessable", "the survey names no organisations")
        assert one(table, "dissimilarity_excess")["conf_high"] > 0
        assert table["n_organisations"].isna().all()
        assert "exchanged between respondents" in one(table, "profiles_permutation")["reason"]

    def test_one_informant_per_organisation(self):
        table = self.table(self.frame(organisations=120, informants=1))
        row = one(table, "jaccard_excess")
        assert row["reason"] == "5 organisations with 3 informants are needed; there are 0"
        assert one(table, "profiles_permutation")["status"] == "ok"  # a role is then a trait of the organisation

    def test_one_organisation(self):
        table = self.table(self.frame(organisations=1, informants=40))
        assert one(table, "jaccard_excess")["status"] == "not_assessable"
        assert (table[table["statistic"] == "risk_difference"]["status"] == "not_assessable").all()
        assert "there are 0" in one(table, "profiles_f")["reason"]

    def test_no_roles_and_no_stages(self):
        table = self.table(self.frame(), roles=(), stages=())
        assert one(table, "prevalence", item="x")["status"] == "ok"
        assert one(table, "risk_difference")["reason"] == "the instrument of this wave has no roles"
        assert one(table, "jaccard_excess")["status"] == "ok"
        table = self.table(self.frame(), stages=())
        assert set(table["stage"]) == {""}

    def test_nobody_answered(self):
        data = self.frame()
        data[[f"b_{o}" for o in self.OPTIONS]] = np.nan
        table = self.table(data)
        assert table["status"].tolist() == ["not_assessable"]
        assert table["reason"].tolist() == ["nobody was asked, or nobody answered"]

    def test_a_thin_role_is_left_out_and_named(self):
        data = self.frame()
        data.loc[data.index[data["role"] == "d"][6:], "role"] = "a"
        table = self.table(data)
        for statistic in ("profiles_f", "dissimilarity_excess"):
            assert "without d: fewer than 10 respondents from 5 organisations" in one(table, statistic)["reason"]

    def test_half_of_the_roles_is_not_enough_to_speak_of_roles(self):
        data = self.frame()
        for role in ("c", "d"):
            data.loc[data.index[data["role"] == role][6:], "role"] = "a"
        assert one(self.table(data), "dissimilarity_excess")["reason"] == (
            "more than half of the 4 roles, and two at least, must have 10 respondents from 5 organisations who cite "
            "something; 2 have"
        )

    def test_an_answer_that_stands_alone_is_a_share_and_no_citation(self):
        data = self.frame()
        table = self.table(data)
        assert one(table, "prevalence", item="none")["estimate"] == pytest.approx(data["b_none"].mean())
        assert not ((table["statistic"] == "location_quotient") & (table["item"] == "none")).any()
        assert one(table, "mean_cited")["estimate"] == pytest.approx(data[["b_x", "b_y", "b_z"]].sum(axis=1).mean())

    def test_the_cap_is_told(self):
        data = self.frame()
        table = self.table(data, cap=2)
        at = (data[["b_x", "b_y", "b_z"]].sum(axis=1) >= 2).mean()
        assert one(table, "at_cap_share")["estimate"] == pytest.approx(at)
        assert "answers compete" in one(table, "prevalence", item="x")["reason"]

    def test_an_answer_that_nobody_gives(self):
        data = self.frame().assign(b_x=0.0)
        table = self.table(data)
        row = one(table, "prevalence_ratio", role="a", item="x")
        assert (row["status"], row["reason"]) == ("not_assessable", "nobody cites it")
        row = one(table, "risk_difference", role="a", item="x")
        assert row["conf_low"] < 0 < row["conf_high"]
        assert pd.isna(row["p_value"])

    def test_an_answer_that_one_role_does_not_give(self):
        data = self.frame()
        data.loc[data["role"] == "a", "b_x"] = 0.0
        row = one(self.table(data), "prevalence_ratio", role="a", item="x")
        assert row["estimate"] == 0
        assert "no interval" in row["reason"]

    def test_a_missing_role_counts_over_all_only(self):
        data = self.frame()
        data["role"] = data["role"].astype("string")
        data.loc[data.index[:20], "role"] = pd.NA
        table = self.table(data)
        assert one(table, "prevalence", item="x")["n"] == len(data)
        by_role = table[(table["statistic"] == "prevalence") & (table["item"] == "x") & (table["role"] != "")]
        assert by_role["n"].sum() == len(data) - 20
        others = data[data["role"].notna() & (data["role"] != "a")]["b_x"].mean()
        mine = data[data["role"] == "a"]["b_x"].mean()
        assert one(table, "risk_difference", role="a", item="x")["estimate"] == pytest.approx(mine - others)

    def test_an_option_that_was_not_put_has_its_own_base(self):
        data = self.frame()
        data.loc[data.index[:40], "b_z"] = np.nan
        table = self.table(data)
        assert one(table, "prevalence", item="z")["n"] == len(data) - 40
        assert one(table, "prevalence", item="x")["n"] == len(data)

    def test_order_of_rows_changes_nothing(self):
        data = self.frame().assign(resp_id=lambda d: [f"r{i:05d}" for i in range(len(d))])
        plain, other = self.table(data), self.table(data.sample(frac=1, random_state=4))
        pd.testing.assert_frame_equal(plain, other)

    def test_order_of_roles_and_answers_changes_no_number(self):
        data = self.frame()
        plain = self.table(data)
        design = design_of(data, roles=("d", "b", "a", "c"), stages=("t", "s"))
        other = estimate(design, [multi(design, ("z", "none", "y", "x"), exclusive=("none",))], wave="w").estimates
        keys = ["statistic", "role", "stage", "item"]
        exact = ["prevalence", "risk_difference", "prevalence_ratio", "location_quotient", "mean_cited", "profiles_f",
                 "dissimilarity", "jensen_shannon", "jaccard_excess", "majority_share", "effective_number"]  # fmt: skip
        numbers = ["estimate", "std_error", "conf_low", "conf_high", "n"]
        left, right = (t[t["statistic"].isin(exact)].set_index(keys).sort_index()[numbers] for t in (plain, other))
        pd.testing.assert_frame_equal(left, right, check_exact=False, rtol=1e-9)

    def test_weights_count(self):
        data = self.frame()
        weight = np.where(data["role"] == "a", 3.0, 1.0)
        table = self.table(data, weight=weight)
        assert one(table, "prevalence", item="x")["estimate"] == pytest.approx(np.average(data["b_x"], weights=weight))


class TestRouting:
    INSTRUMENT = """
[instrument]
id = "t"
version = "1"
title = "Routed"
[keys]
respondent = "resp_id"
wave = "wave"
role = "role"
stage = "stage"
[[roles]]
code = 1
id = "a"
label = "A"
[[roles]]
code = 2
id = "b"
label = "B"
[[stages]]
code = 1
id = "early"
label = "Early"
[[stages]]
code = 2
id = "late"
label = "Late"
[items.resp_id]
kind = "identifier"
label = "Respondent"
required = true
[items.wave]
kind = "identifier"
label = "Wave"
[items.role]
kind = "single"
label = "Role"
options = ["roles"]
[items.stage]
kind = "ordinal"
scale = "stages"
label = "Stage"
[items.hurdle]
kind = "multi"
label = "Hurdles"
asked_if = { item = "stage", in = ["late"] }
constructs = ["blockers"]
options = [{ code = 1, id = "x", label = "X" }, { code = 2, id = "y", label = "Y" }]
[items.past]
kind = "multi"
label = "Past hurdles"
last_wave = "w1"
constructs = ["blockers"]
options = [{ code = 1, id = "x", label = "X" }]
"""

    @pytest.fixture
    def asked(self, tmp_path):
        path = tmp_path / "instrument.toml"
        path.write_text(self.INSTRUMENT.replace('title = "Routed"', 'title = "Routed"\nwaves = ["w1", "w2"]'))
        instrument = Instrument.load(path, "w2")
        rng = np.random.default_rng(3)
        n = 80
        data = pd.DataFrame(
            {"resp_id": [f"r{i}" for i in range(n)], "wave": "w2", "role": pd.array(np.where(np.arange(n) % 2, "a", "b"), dtype="string"),
             "stage": pd.array(1 + (np.arange(n) // 2) % 2, dtype="Int8"),
             "hurdle_x": pd.array(rng.integers(0, 2, n), dtype="Int8"), "hurdle_y": pd.array(rng.integers(0, 2, n), dtype="Int8")}
        )  # fmt: skip
        design = design_for(
            instrument, data, pd.DataFrame({"resp_id": data["resp_id"], "weight": 1.0}), Margins(()), replicates=100, seed=1
        )  # fmt: skip
        return instrument, design, data

    def test_who_was_not_asked_is_in_no_base_even_where_the_export_says_0(self, asked):
        instrument, design, data = asked
        late = data[data["stage"] == 2]
        answers = answers_of(instrument, design, instrument.item("hurdle"))
        assert answers.any_asked.sum() == len(late)
        table = estimate_for(instrument, design).estimates
        assert one(table, "prevalence", item="x")["estimate"] == pytest.approx(late["hurdle_x"].mean())
        assert one(table, "prevalence", item="x")["n"] == len(late)
        assert set(table["stage"]) == {"", "late"}

    def test_what_a_claim_wants_and_the_wave_lacks_says_why(self, asked):
        instrument, design, _ = asked
        wanted = [
            Wanted("past", "risk_difference", "a", item="x", unit="proportion"),
            Wanted("hurdle", "risk_difference", "a+nobody", item="x", unit="proportion"),
            Wanted("hurdle", "risk_difference", "a", item="gone", unit="proportion"),
            Wanted("misspelt", "risk_difference", "a", item="x", unit="proportion"),
        ]
        table = estimate_for(instrument, design, wanted).estimates
        reasons = table[table["status"] == "not_assessable"].set_index(["measure", "role", "item"])["reason"]
        assert "asked up to w1" in reasons["past", "a", "x"]
        assert reasons["hurdle", "a+nobody", "x"] == "the instrument has no nobody"
        assert reasons["hurdle", "a", "gone"] == "this wave does not offer the answer gone"
        assert "misspelt" not in set(table["measure"])  # the claims chapter stops at a slip of the register


class TestRegister:
    def test_wanted_rows_are_the_parts_each_once(self):
        wanted = REGISTER.wanted("blockers")
        assert len(wanted) == len(set(wanted))
        assert Wanted("blk", "risk_difference", "CEO+CMO", item="roi", unit="proportion") in wanted
        assert Wanted("cond", "risk_difference", "CEO", item="all", unit="proportion") in wanted
        assert Wanted("blk", "dissimilarity_excess", stage="piloting", unit="index") in wanted

    def test_every_part_on_blockers_is_made(self, made):
        units = made.estimates.set_index(["measure", "statistic", "role", "role_2", "stage", "segment", "item"])["unit"]
        for each in REGISTER.wanted("blockers"):
            assert units[each.key] == each.unit

    def test_what_is_wanted_alone_is_what_the_whole_says_but_for_tests_that_no_claim_reads(self, data, made):
        wanted = [each for each in REGISTER.wanted("blockers") if each.measure == "blk"]
        alone = estimated(data, wanted=wanted, only_wanted=True)
        keys = ["measure", "statistic", "role", "role_2", "stage", "segment", "item"]
        beside = ["p_value", "p_adjusted", "adjustment"]
        one, other = (each.estimates.set_index(keys).drop(columns=beside) for each in (alone, made))
        pd.testing.assert_frame_equal(one, other.loc[one.index])
        assert {each.key for each in wanted} <= set(one.index)
        assert "profiles_f" not in set(alone.estimates["statistic"])
        draws = [each.draws.set_index(keys)["draws"] for each in (alone, made)]
        for key, drawn in draws[0].items():
            np.testing.assert_array_equal(drawn, draws[1][key])


class TestGate:
    @pytest.mark.parametrize("organisations", [25, 45, 90])
    def test_nothing_held_back_is_recovered(self, organisations):
        made = estimated(drawn_study(organisations=organisations, seed=organisations), replicates=50)
        published = publish(made.estimates, Policy(), made.bases)
        assert (published["status"] == "suppressed").any()
        assert recovered(published, made.estimates) == []

    @pytest.mark.parametrize("organisations", [25, 45, 90])
    def test_no_sum_over_answers_gives_a_held_answer_away(self, organisations):
        made = estimated(drawn_study(organisations=organisations, seed=organisations), replicates=50)
        published = publish(made.estimates, Policy(), made.bases)
        gone = published["status"] == "suppressed"
        free = ~published["item"].isin(["none", "all"])
        held = published[gone & (published["statistic"] == "prevalence") & free]
        assert len(held)
        sums = published["statistic"].isin(["mean_cited", "location_quotient", "role_effective_number"])
        shown = published[published["status"].isin(["ok", "flagged"]) & sums]
        assert not set(zip(held["measure"], held["role"], strict=True)) & set(
            zip(shown["measure"], shown["role"], strict=True)
        )

    def test_a_contrast_goes_with_its_held_share(self):
        made = estimated(drawn_study(organisations=45, seed=45), replicates=50)
        published = publish(made.estimates, Policy(), made.bases)
        key = ["measure", "role", "item"]
        held = published[(published["status"] == "suppressed") & (published["statistic"] == "prevalence")]
        shown = published[
            published["statistic"].isin(["risk_difference", "prevalence_ratio"])
            & published["status"].isin(["ok", "flagged"])
        ]
        assert not set(held[key].itertuples(index=False, name=None)) & set(
            shown[key].itertuples(index=False, name=None)
        )
        # Two roles together less one that is shown is the one that is not.
        pairs = shown[shown["role"].str.contains("+", regex=False)]
        for row in pairs.itertuples():
            assert not {(row.measure, part, row.item) for part in row.role.split("+")} & set(
                held[key].itertuples(index=False, name=None)
            )

    def test_bases_are_those_of_the_thinnest_group(self, data, made):
        bases = made.bases.set_index(["measure", "statistic", "role", "item", "stage"])
        asked = data.dropna(subset=["blk_roi"])
        base = bases.loc[("blk", "risk_difference", "GC", "reg", "")]
        assert base["smallest_n"] == (asked["role"] == "GC").sum()
        others = asked[asked["role"] != "GC"]["blk_reg"].sum()
        mine = asked[asked["role"] == "GC"]["blk_reg"]
        assert base["hits"] == min(others, mine.sum(), len(mine) - mine.sum(), len(asked) - len(mine) - others)
        base = bases.loc[("blk", "profiles_f", "", "", "")]
        assert base["smallest_n"] == asked.groupby("role").size().min()


class TestTruth:
    @pytest.mark.parametrize("name", ["blk", "cond"])
    def test_shares_are_those_of_a_draw(self, population, name):
        """Caps, exclusive options and the option for none, against 4 blocks of drawn interviews."""
        item = QUESTIONNAIRE.item(name)
        shares = tick_shares(item, population)
        hits, at_cap, n = np.zeros_like(shares.by_role), np.zeros(10), np.zeros(10)
        free = [j for j, option in enumerate(item.options) if option.id not in item.exclusive]
        for block in range(4):
            drawn = executives(population, organisations=4096, seed=99, block=block)
            ticks, _ = Interview(QUESTIONNAIRE, drawn, 1, "2026Q1").sets(item)
            np.add.at(hits, drawn.role, ticks)
            np.add.at(at_cap, drawn.role, ticks[:, free].sum(axis=1) >= (item.cap or 99))
            n += np.bincount(drawn.role, minlength=10)
        z = (hits / n[:, None] - shares.by_role) / np.sqrt(shares.by_role * (1 - shares.by_role) / n[:, None])
        assert np.abs(z).max() < 4.2  # 160 or 130 comparisons
        assert np.sqrt((z**2).mean()) == pytest.approx(1.0, abs=0.2)
        if item.cap:
            assert np.abs((at_cap / n - shares.at_cap) / np.sqrt(shares.at_cap * (1 - shares.at_cap) / n)).max() < 4

    def test_without_cap_or_exclusives_a_share_is_its_probability(self, population):
        item = QUESTIONNAIRE.item("blk")
        shares = tick_shares(item, population).by_role
        roles = population.layout.roles
        assert shares[roles.index("GC"), 7] == pytest.approx(0.64, abs=1e-9)
        assert shares[roles.index("COO"), 7] == pytest.approx(0.22, abs=1e-9)

    def test_rows_have_keys_of_estimates_and_agree_with_each_other(self, population, made):
        rows = list(blockers_truth(population, QUESTIONNAIRE, "2026Q1", 1))
        keys = [(r["measure"], r["statistic"], r["role"], r["stage"], r["item"]) for r in rows]
        assert len(set(keys)) == len(keys)
        value = dict(zip(keys, (r["value"] for r in rows), strict=True))
        estimates = set(
            made.estimates[["measure", "statistic", "role", "stage", "item"]].itertuples(index=False, name=None)
        )
        lacking = {key for key in keys if key not in estimates and key[1] != "prevalence_max_other"}
        assert not lacking
        blk = {key[2:]: v for key, v in value.items() if key[:2] == ("blk", "prevalence")}
        ratio = value["blk", "prevalence_ratio", "CFO", "", "evid_cap"]
        assert ratio == pytest.approx(blk["CFO", "", "evid_cap"] / blk["", "", "evid_cap"])
        cited = sum(v for (role, _, item), v in blk.items() if role == "" and item != "none")
        assert value["blk", "mean_cited", "", "", ""] == pytest.approx(cited)
        assert value["blk", "prevalence_max_other", "CHRO", "", "work_ready"] == pytest.approx(0.3)

    def test_the_null_world_has_no_differences(self):
        rows = blockers_truth(Population(worlds()["null"], layout_of(QUESTIONNAIRE)), QUESTIONNAIRE, "2026Q1", 1)
        nil = {"risk_difference", "dissimilarity_excess", "jensen_shannon_excess"}
        found = [r["value"] for r in rows if r["statistic"] in nil]
        assert found
        assert found == pytest.approx([0.0] * len(found), abs=1e-8)

    def test_what_colleagues_share_raises_their_overlap_and_no_share(self):
        values = []
        for shared in (0.0, 0.1, 0.6):
            world = worlds()["null"].with_settings({"citing_shared": shared})
            rows = list(blockers_truth(Population(world, layout_of(QUESTIONNAIRE)), QUESTIONNAIRE, "2026Q1", 1))
            values.append({(r["statistic"], r["role"], r["item"]): r["value"] for r in rows if r["measure"] == "blk"})
        overlap = [v["jaccard_excess", "", ""] for v in values]
        assert overlap[0] == pytest.approx(0.0, abs=0.002)
        assert overlap[0] < overlap[1] < 0.1 < overlap[2]
        assert values[0]["prevalence", "CEO", "roi"] == pytest.approx(values[2]["prevalence", "CEO", "roi"])

    @pytest.mark.parametrize(("shared", "verdict"), [(0.1, "supported"), (0.7, "contradicted")])
    def test_one_shared_blocker_or_several(self, shared, verdict):
        made = estimated(drawn_study(settings={"citing_shared": shared}, organisations=150), replicates=1000)
        only = REGISTER.only("H8")
        tested = against_margins(only, made.estimates, made.draws)
        assert judge(only, tested, publish(tested.estimates, Policy(), made.bases))[0]["verdict"] == verdict
