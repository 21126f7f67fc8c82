"""The mixed model as a stranger meets it: formulae, frames of every kind, and refusals that name the term and the mend."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fieldwork.errors import ConvergenceError, DesignError
from fieldwork.statistics import CumulativeLinkMixedModel
from fieldwork.statistics.ordinal_likelihood import Problem

REFERENCE = Path(__file__).parent / "reference"
VALUES = tomllib.loads((REFERENCE / "ordinal.toml").read_text())["clmm"]["wine"]["logit"]
WINE = pd.read_csv(REFERENCE / "wine.csv")
WORDS = ["very low", "low", "middle", "high", "very high"]
FORMULA = "rating ~ temp + contact"


def model(formula=FORMULA, data=WINE, groups="judge", **options):
    return CumulativeLinkMixedModel.from_formula(formula, data, groups, **options)


PRINTED = """\
Cumulative Link Mixed Model, adaptive Gauss-Hermite quadrature, nodes: 11
formula: rating ~ temp + contact + (1 | judge)
link: logit   covariance: model
answers: 72   groups: judge 9   left out: 0
by category:  1: 5  2: 22  3: 26  4: 12  5: 7
log-likelihood: -81.532   AIC: 177.06   BIC: 193.00   largest gradient: {gradient}   steps: {steps}

Random effects:
       Variance  Std.Dev.  [0.025  0.975]
judge    1.2877    1.1348  0.5694  2.2617

Coefficients:
                Estimate  Std. Error  z value Pr(>|z|)  [0.025  0.975]
temp[T.warm]      3.0619      0.5951   5.1454  <0.0001  1.8956  4.2282
contact[T.yes]    1.8334      0.5122   3.5797   0.0003  0.8296  2.8373

Threshold coefficients:
     Estimate  Std. Error  z value
1|2   -1.6235      0.6834  -2.3757
2|3    1.5128      0.6044   2.5028
3|4    4.2271      0.8090   5.2252
4|5    6.0862      0.9719   6.2619"""


def test_the_fit_prints_as_itself_everywhere():
    result = model().fit()
    gradient = f"{np.abs(result.gradient).max():.1e}"
    expected = PRINTED.format(gradient=gradient, steps=result.fitted.iterations)
    assert str(result) == repr(result) == str(result.summary()) == repr(result.summary()) == expected
    assert float(gradient) < 1e-6
    assert repr(model()) == (
        "CumulativeLinkMixedModel: rating ~ temp + contact + (1 | judge), link logit, 72 answers in 5 categories, judge 9; "
        "fit() estimates it"
    )


def test_every_number_of_the_result_has_the_name_that_users_look_for():
    result = model().fit()
    names = ["1|2", "2|3", "3|4", "4|5", "temp[T.warm]", "contact[T.yes]", "sd(judge)"]
    for series in (result.params, result.bse, result.tvalues, result.pvalues, result.df_resid()):
        assert series.index.tolist() == names
    assert result.cov_params().columns.tolist() == result.conf_int().index.tolist() == names
    assert np.sqrt(np.diag(result.cov_params())) == pytest.approx(result.bse)
    assert (result.nobs, result.n_groups, result.groups) == (72, 9, {"judge": 9})
    assert result.aic == pytest.approx(-2 * VALUES["log_likelihood"] + 14, abs=1e-4)
    assert result.bic == pytest.approx(-2 * VALUES["log_likelihood"] + 7 * np.log(72), abs=1e-4)
    # Wald p-values of R's summary(clmm).
    assert result.pvalues["temp[T.warm]"] == pytest.approx(2.6705e-07, rel=1e-3)
    assert result.pvalues["contact[T.yes]"] == pytest.approx(3.4400e-04, rel=1e-3)
    assert result.pvalues.isna().tolist() == [True] * 4 + [False] * 2 + [True]


@pytest.mark.parametrize(
    "answer",
    [
        lambda d: pd.Categorical(d["rating"], ordered=True),
        lambda d: pd.Categorical(d["rating"].map(dict(enumerate(WORDS, 1))), WORDS, ordered=True),
        lambda d: d["rating"].astype("category"),
        lambda d: d["rating"].astype(object),
        lambda d: d["rating"].astype("Int64"),
        lambda d: d["rating"].astype("float32"),
        lambda d: d["rating"] * 10 - 7,
    ],
    ids=["ordered", "words", "categories of numbers", "object", "Int64", "float", "other numbers"],
)
def test_answers_in_any_form_give_the_same_fit(answer):
    found = model(data=WINE.assign(rating=answer)).fit()
    plain = model().fit()
    assert found.params.to_numpy() == pytest.approx(plain.params.to_numpy(), abs=1e-12)
    assert found.names[4:] == plain.names[4:]


def test_thresholds_carry_the_answers_own_names():
    words = pd.Categorical(WINE["rating"].map(dict(enumerate(WORDS, 1))), WORDS, ordered=True)
    assert model(data=WINE.assign(rating=words)).fit().names[:2] == ["very low|low", "low|middle"]
    assert model(data=WINE.assign(rating=WINE["rating"] >= 4)).fit().names[0] == "False|True"
    half = model(data=WINE.assign(rating=WINE["rating"] / 2)).fit()
    assert half.names[:2] == ["0.5|1.0", "1.0|1.5"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda: model("rating ~ temp + contact + (1 | judge)", groups=None),
        lambda: model("rating ~ temp + (1|judge) + contact", groups="judge"),
        lambda: model(groups=["judge"]),
        lambda: model(groups=WINE["judge"]),
        lambda: model(groups={"judge": WINE["judge"].to_numpy()}),
        lambda: model(data=WINE.to_dict("list")),
        lambda: model(data=WINE.sample(frac=1, random_state=1)),
        lambda: model(data=WINE.set_index(pd.Index(np.zeros(72)))),
        lambda: model(weights=np.ones(72), offset=np.zeros(72)),
    ],
)
def test_one_model_however_it_is_asked_for(ask):
    asked = ask()
    result = asked.fit()
    assert result.params["sd(judge)"] == pytest.approx(VALUES["sd"][0], abs=1e-4)
    assert result.params["temp[T.warm]"] == pytest.approx(VALUES["coefficients"][0], abs=1e-4)
    assert "(1 | judge)" in asked.formula or "(1|judge)" in asked.formula
    assert asked.formula.count("judge") == 1


def test_random_intercepts_are_the_modes_of_rs_ranef():
    # R: ranef(clmm(rating ~ temp + contact + (1 | judge), nAGQ = 11))
    expected = [1.698465, -0.566579, 0.970525, -0.059391, 0.231105, 0.477951, -1.913614, -0.273035, -0.555174]
    effects = model().fit().random_effects["judge"]
    assert effects.index.tolist() == list(range(1, 10))
    assert effects.to_numpy() == pytest.approx(expected, abs=2e-4)


def test_missing_rows_are_left_out_and_counted():
    data = WINE.astype({"temp": object, "judge": float})
    data.loc[[1, 5], "temp"], data.loc[7, "judge"], data.loc[7, "contact"] = None, np.nan, None
    weight = pd.Series(1.0, index=data.index)
    weight[9] = np.nan
    result = model(data=data, weights=weight).fit()
    assert (result.model.n_dropped, result.nobs) == (4, 68)
    assert "left out: 4" in result.summary()
    complete = model(data=data.drop(index=[1, 5, 7, 9])).fit()
    assert result.params.to_numpy() == pytest.approx(complete.params.to_numpy(), abs=1e-10)
    assert result.predict().index.tolist() == data.index.drop([1, 5, 7, 9]).tolist()


def test_levels_that_no_row_has_are_left_out():
    data = WINE.assign(temp=pd.Categorical(WINE["temp"], ["hot", "cold", "warm"]))
    assert model(data=data).fit().names == model().fit().names


def test_predictions_follow_the_rows_that_were_asked_for():
    shuffled = WINE.sample(frac=1, random_state=2)
    result = model(data=shuffled).fit()
    own, again = result.predict(), result.predict(shuffled)
    assert own.index.equals(shuffled.index)
    assert own.to_numpy() == pytest.approx(again.to_numpy(), abs=1e-14)
    new = pd.DataFrame({"temp": ["cold", None], "contact": ["no", "yes"]}, index=["a", "b"])
    found = result.predict(new)
    assert found.index.tolist() == ["a", "b"]
    assert found.loc["a"].sum() == pytest.approx(1.0)
    assert found.loc["b"].isna().all()
    rows = model(data=WINE.assign(temp=(WINE["temp"] == "warm").astype(int))).fit()
    assert rows.predict([1, 0]).to_numpy() == pytest.approx(
        rows.predict(pd.DataFrame({"temp": [1], "contact": ["no"]})).to_numpy()
    )


def test_predictions_have_the_models_offset():
    data = WINE.assign(shift=np.linspace(-1, 1, 72))
    plain = model(data=data, offset="shift").fit()
    eta = plain.model.predictors.dot(plain.fitted.coefficients) + data["shift"].to_numpy()
    expected = 1 / (1 + np.exp(-(plain.fitted.thresholds[0] - eta)))
    assert plain.predict(kind="conditional").iloc[:, 0].to_numpy() == pytest.approx(expected)
    assert plain.predict(data).to_numpy() == pytest.approx(plain.predict().to_numpy())
    with pytest.raises(DesignError, match="the rows to predict have none"):
        plain.predict(data[["temp", "contact"]])
    assert plain.predict(data[["temp", "contact"]], offset=0.0).shape == (72, 5)


@pytest.mark.parametrize(("scale", "shift"), [(1e9, 0.0), (1e-9, 0.0), (1.0, 2024.0), (3e5, 1.7e9)])
def test_large_small_and_distant_numbers_are_fitted_as_ordinary_ones(scale, shift):
    x = (WINE["temp"] == "warm") * 2.0 + np.arange(72) / 50.0
    plain = model("rating ~ x + contact", WINE.assign(x=x)).fit()
    moved = model("rating ~ x + contact", WINE.assign(x=x * scale + shift)).fit()
    assert moved.llf == pytest.approx(plain.llf, abs=1e-8)
    assert moved.params["x"] * scale == pytest.approx(plain.params["x"], rel=1e-6)
    assert moved.bse["x"] * scale == pytest.approx(plain.bse["x"], rel=1e-6)
    assert moved.params["1|2"] - moved.params["x"] * shift == pytest.approx(plain.params["1|2"], abs=1e-5)
    assert moved.params["contact[T.yes]"] == pytest.approx(plain.params["contact[T.yes]"], abs=1e-6)
    assert np.abs(moved.gradient).max() < 1e-6
    robust = model("rating ~ x + contact", WINE.assign(x=x * scale + shift)).fit(covariance="robust")
    same = model("rating ~ x + contact", WINE.assign(x=x)).fit(covariance="robust")
    assert robust.bse["x"] * scale == pytest.approx(same.bse["x"], rel=1e-5)


def test_derivatives_vanish_for_every_parameter_the_sd_too():
    """Sixty-nine ratings on which an earlier rule stopped at a derivative of 1e-5 by the sd."""
    data = WINE.drop(index=[1, 5, 7])
    assert np.abs(model(data=data).fit().gradient).max() < 1e-6
    assert np.abs(model("rating ~ 1").fit().gradient).max() < 1e-6


def test_p_values_and_intervals_of_the_summary_agree():
    rng = np.random.default_rng(5)
    firm = np.repeat(np.arange(12), 6)
    latent = rng.normal(size=12)[firm] + 0.8 * (firm % 2) + rng.logistic(size=72)
    data = pd.DataFrame({"y": np.digitize(latent, [-1, 1]), "half": np.where(firm % 2, "b", "a"), "firm": firm})
    result = CumulativeLinkMixedModel.from_formula("y ~ half", data, "firm").fit()
    p = result.pvalues["half[T.b]"]
    ends = result.conf_int(alpha=p)
    nearest = ends.loc["half[T.b]"].abs().min()
    assert nearest == pytest.approx(0.0, abs=1e-8), "the interval at 1 - p just touches 0"
    assert "Constant within every firm, so judged from 12 of them, by t on 10 degrees of freedom" in result.summary()


NOTHING = "CumulativeLinkMixedModel"
OTHER = WINE.assign(
    word=WINE["rating"].map(dict(enumerate(WORDS, 1))), top=(WINE["rating"] == 5).astype(int), alone=range(72),
    near=WINE["rating"] + np.random.default_rng(0).uniform(-0.4, 0.4, 72), warm=(WINE["temp"] == "warm") * 2.0,
    one="x", zero=np.arange(72) % 5, minus=-1.0, text="abc", nobody=np.nan,
)  # fmt: skip
REFUSED = {
    "absent term": (lambda: model("rating ~ tempp"), "a column that the data lack", "term tempp", "did you mean temp"),
    "absent answer": (lambda: model("ratin ~ temp"), "a column that the data lack", "term ratin", "did you mean rating"),
    "absent group": (lambda: model(groups="juge"), "a column that the data lack", "term juge", "did you mean judge"),
    "absent weight": (lambda: model(weights="wt"), "a column that the data lack", "term wt", "correct the name"),
    "text weights": (lambda: model(data=OTHER, weights="text"), "is no column of numbers", "weights text", "convert"),
    "negative weights": (lambda: model(data=OTHER, weights="minus"), "do not fit together", "got       negative", ""),
    "strings": (lambda: model("word ~ temp", OTHER), "order of the answers is not known", "answer word", "ordered=True"),
    "digits": (
        lambda: model(data=WINE.astype({"rating": str})), "order of the answers is not known", "answer rating",
        "data['rating'].astype(int)",
    ),
    "unordered": (
        lambda: model("word ~ temp", OTHER.astype({"word": "category"})), "order of the answers is not known",
        "answer word", "set_categories([lowest, ..., highest], ordered=True)",
    ),
    "dates": (
        lambda: model(data=WINE.assign(rating=pd.Timestamp(2026, 1, 1))), "order of the answers is not known",
        "answer rating", "ordered=True",
    ),
    "continuous": (
        lambda: model(data=pd.concat([WINE] * 2).assign(rating=np.linspace(0, 1, 144))), "too many values", "answer rating",
        "cut it into bands",
    ),
    "one answer": (lambda: model(data=WINE.assign(rating=3)), "all answers are the same", "answer rating", "report the share"),
    "empty category": (
        lambda: model(data=WINE.assign(rating=pd.Categorical(WINE["rating"], range(1, 7), ordered=True))),
        "a category of the answer is empty", "nobody answered 6", "merge the empty category",
    ),
    "one group": (lambda: model(data=WINE.assign(judge=1)), "at least two groups", "groups judge", "leave the groups out"),
    "a group each": (lambda: model(groups="alone", data=OTHER), "as many groups as answers", "groups alone", "leave the groups"),
    "one level": (lambda: model("rating ~ temp + one", OTHER), "a factor has one level", "term one", "drop the term"),
    "aliased": (lambda: model("rating ~ temp + warm", OTHER), "a combination of the others", "term warm", "drop the term"),
    "separation": (lambda: model("rating ~ temp + top", OTHER), "separates the answers", "term top", "merge the level"),
    "no value": (lambda: model("rating ~ np.log(zero)", OTHER), "values that are no numbers", "term np.log(zero)", "above 0"),
    "all missing": (lambda: model("rating ~ nobody", OTHER), "no row has everything", "nobody is missing in 72", "missing most"),
    "no rows": (lambda: model(data=WINE.iloc[:0]), "no row has everything", "0 rows", "give data with rows"),
    "no intercept": (lambda: model("rating ~ 0 + temp"), "takes the intercept out", "0 + temp", "leave out 0 +"),
    "minus one": (lambda: model("rating ~ temp - 1"), "takes the intercept out", "temp - 1", "leave out"),
    "no answer": (lambda: model("~ temp"), "no answer to explain", "~ temp", "left of ~"),
    "no tilde": (lambda: model("rating"), "no answer to explain", "got       rating", "left of ~"),
    "transformed": (lambda: model("np.log(rating) ~ temp"), "the answer is not a column", "np.log(rating)", "make the column"),
    "broken": (lambda: model("rating ~ temp +"), "the formula cannot be read", "rating ~ temp +", "correct the term"),
    "function": (lambda: model("rating ~ foo(temp)"), "calls a function", "term foo", "make the column before"),
    "slope": (lambda: model("rating ~ (temp | judge)", groups=None), "a random term", "(temp | judge)", "(1 | judge)"),
    "no brackets": (lambda: model("rating ~ temp + 1 | judge"), "without its brackets", "1 | judge", "(1 | name)"),
    "lengths": (lambda: model(groups=[1, 2, 3]), "another length", "group (3,)", "name a column"),
    "two names": (
        lambda: model(data=WINE.set_axis(["rating", "temp", "contact", "judge", "temp"], axis=1)), "two columns have one name",
        "term temp", "rename",
    ),
    "nodes": (lambda: model(nodes=3), "too few quadrature nodes", "nodes", "4e-3"),
    "link": (lambda: model(link="logitt"), "there is no link", "logitt", "did you mean logit"),
    "covariance": (lambda: model().fit(covariance="HC1"), "no covariance", "covariance", "choose one"),
    "arrays of text": (
        lambda: CumulativeLinkMixedModel("rating ~ temp", np.zeros((1, 1))), "not whole numbers", "answer", "use from_formula",
    ),
    "missing answers": (
        lambda: CumulativeLinkMixedModel([0.0, np.nan, 1.0], np.zeros((3, 0))), "not whole numbers", "nan", "use from_formula",
    ),
    "lengths of arrays": (
        lambda: CumulativeLinkMixedModel([0, 1, 1], np.zeros((3, 0)), weights=[1.0]), "do not fit together", "weights 1",
        "use from_formula",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REFUSED))
def test_refusals_name_the_term_and_the_mend(case):
    ask, title, named, mend = REFUSED[case]
    with pytest.raises(DesignError) as told:
        ask()
    shown = str(told.value)
    assert title in told.value.title, shown
    assert named in shown, shown
    assert mend in told.value.hint, shown
    assert told.value.where
    assert told.value.expected
    assert told.value.got


def test_a_number_that_separates_is_named():
    with pytest.raises(DesignError, match="separates the answers") as told:
        model("rating ~ temp + near", OTHER).fit()
    assert told.value.where.endswith("term near")


def test_a_strong_number_is_not_taken_for_one_that_separates():
    """A slope of five latent units a unit over a range of eight: 40 units, and yet estimated well."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=600)
    data = pd.DataFrame({"y": np.digitize(5 * x + rng.logistic(size=600), [-3, 0, 3]), "x": x})
    result = CumulativeLinkMixedModel.from_formula("y ~ x", data).fit()
    assert abs(result.params["x"] - 5) < 3 * result.bse["x"]


def test_a_fit_that_does_not_settle_names_the_steepest_term(monkeypatch):
    from fieldwork.statistics import ordinal_mixed as module
    from fieldwork.statistics.ordinal_likelihood import maximise

    monkeypatch.setattr(module, "maximise", lambda problem, **options: maximise(problem, limit=1, **options))
    asked = model()
    assert isinstance(asked.problem, Problem)
    with pytest.raises(ConvergenceError) as told:
        asked.fit()
    assert "rating ~ temp + contact + (1 | judge), term " in told.value.where
    assert "after 1 steps a derivative of" in told.value.got
    assert "merge rare categories" in told.value.hint


def test_predictions_refuse_what_the_model_has_not_seen():
    result = model().fit()
    with pytest.raises(DesignError, match="a level that the model has not seen") as told:
        result.predict(pd.DataFrame({"temp": ["hot"], "contact": ["no"]}))
    assert "term temp" in told.value.where
    assert told.value.got == "hot"
    with pytest.raises(DesignError, match="a column that the data lack"):
        result.predict(pd.DataFrame({"temp": ["cold"]}))
    with pytest.raises(DesignError, match="do not fit the model"):
        result.predict([[1, 0, 0]])
    with pytest.raises(DesignError, match="no prediction of kind"):
        result.predict(kind="class")


def test_distinct_rows_of_factors_are_read_as_all_rows_are():
    """The matrix of a formula is made of distinct rows where that is the same: not for terms that look at other rows."""
    data = pd.concat([WINE] * 12, ignore_index=True).assign(step=lambda d: np.arange(len(d)) // 7 % 4)
    by_row = model("rating ~ temp * contact + C(step)", data)
    assert by_row.predictors.few
    assert len(by_row.predictors.rows) == 16
    from formulaic import Formula

    whole = Formula("temp * contact + C(step)").get_model_matrix(data).drop(columns="Intercept")
    assert by_row.names == whole.columns.tolist()
    assert np.array_equal(by_row.predictors.whole(), whole.to_numpy(dtype=float))
    centred = model("rating ~ temp + center(step)", data)
    assert centred.predictors.whole()[:, 1].mean() == pytest.approx(0.0, abs=1e-12)
