"""Convergence: the worked example, the fallacy it guards against, error rates by simulation, invariances, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from fieldwork.errors import DesignError
from fieldwork.statistics.convergence import beta_convergence, corrected_beta, rank_stability, sigma_convergence
from fieldwork.statistics.spread import one_way

# measures.md 2.3, oracle: waves (4.5, 3, 2) -> (4.6, 3.6, 3.0); the first wave is the worked example of 2.1 (MSW 5/9, n 4)
WAVES = np.array([[4.5, 3.0, 2.0], [4.6, 3.6, 3.0]])
NOISE = np.eye(3) * 5 / 36


def _independent(sd, waves, roles, draws, rng):
    return rng.normal(scale=sd, size=(draws, waves, roles))


# ------------------------------------------------------------------------------------------------ worked examples


def test_worked_example_of_sigma():
    fit = sigma_convergence(WAVES)
    assert fit.sd_raw.round(4).tolist() == [1.2583, 0.8083]
    assert round(fit.change, 4) == -0.4426
    assert np.isnan(fit.slope)
    assert fit.draws.shape == (0,)


def test_worked_example_of_beta():
    fit = beta_convergence(WAVES, covariance=[NOISE, NOISE])
    assert round(fit.slope_raw, 4) == -0.3579
    assert fit.reliability == pytest.approx(52 / 57, rel=1e-12)
    assert round(fit.beta, 4) == -0.2962
    assert fit.beta == pytest.approx(corrected_beta(fit.slope_raw, 52 / 57), rel=1e-12)


def test_reliability_is_the_icc_of_the_first_wave():
    rng = np.random.default_rng(2)
    answers = rng.normal(size=(6, 25)) + np.linspace(0, 1, 6)[:, None]
    anova = one_way(list(answers))
    V = np.eye(6) * anova.mean_square_within / 25
    fit = beta_convergence([answers.mean(axis=1), rng.normal(size=6)], covariance=[V, V])
    assert fit.reliability == pytest.approx(anova.icc2, rel=1e-12)


def test_slope_is_least_squares_on_the_log_of_the_corrected_spread():
    rng = np.random.default_rng(3)
    means, times = rng.normal(size=(5, 8)), np.array([0.0, 1.0, 2.0, 4.0, 5.0])
    raw = sigma_convergence(means, times)
    line = stats.linregress(times, np.log(means.std(axis=1, ddof=1)))
    assert raw.slope == pytest.approx(line.slope, rel=1e-12)
    assert raw.slope_error == raw.scatter_error == pytest.approx(line.stderr, rel=1e-12)
    half = stats.t.ppf(0.975, 3) * line.stderr
    assert (raw.slope_low, raw.slope_high) == pytest.approx((line.slope - half, line.slope + half))
    corrected = sigma_convergence(means, times, covariance=np.array([np.eye(8) * 0.04] * 5))
    assert corrected.sd_corrected == pytest.approx(np.sqrt(means.var(axis=1, ddof=1) - 0.04), rel=1e-12)
    assert corrected.slope == pytest.approx(stats.linregress(times, np.log(corrected.sd_corrected)).slope, rel=1e-12)


def test_kendall_w_worked_example():
    """measures.md 2.4: ranks (1234)(1324)(2134): S = 35, W = .7778, mean rho .6667; Friedman's statistic is scipy's."""
    ranks = [[1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 3, 4]]
    fit = rank_stability(ranks)
    assert round(fit.w, 4) == 0.7778
    assert round(fit.mean_spearman, 4) == 0.6667
    theirs = stats.friedmanchisquare(*np.array(ranks).T)
    assert fit.friedman == pytest.approx(theirs.statistic)
    assert fit.p_value == pytest.approx(theirs.pvalue)


# ------------------------------------------------------------------------------------------- validity by simulation

UNMOVED = np.linspace(-0.55, 0.55, 10)  # ten roles over 1.1 points, answers with SD 1.1, separate samples


@pytest.mark.parametrize(("respondents", "slope"), [(10, -0.43), (20, -0.27), (40, -0.16), (80, -0.09)])
def test_the_uncorrected_slope_converges_where_nothing_does(respondents, slope):
    """measures.md 2.3: spurious b with no change, by respondents a role; the corrected one is without that bias."""
    rng = np.random.default_rng(20260101)
    sd = 1.1 / np.sqrt(respondents)
    V = np.array([np.eye(10) * sd**2] * 2)
    fits = [beta_convergence(UNMOVED + rng.normal(scale=sd, size=(2, 10)), covariance=V) for _ in range(1500)]
    assert np.mean([fit.slope_raw for fit in fits]) == pytest.approx(slope, abs=0.02)
    assert abs(np.nanmedian([fit.beta for fit in fits])) < 0.06


@pytest.mark.parametrize("panel", [False, True])
def test_convergence_is_rarely_declared_where_there_is_none(panel):
    """400 studies, 20 respondents a role: at most 5% and the binomial band of it (99.5%: 33 of 400)."""
    rng = np.random.default_rng(20260102)
    sd, rho = 1.1 / np.sqrt(20), 0.6 if panel else 0.0

    def noise(draws):
        z = rng.normal(scale=sd, size=(draws, 2, 10))
        z[:, 1] = rho * z[:, 0] + np.sqrt(1 - rho**2) * z[:, 1]
        return z

    declared = naive = covered = 0
    for _ in range(400):
        means, errors = UNMOVED + noise(1)[0], noise(400)
        fit = beta_convergence(means, errors=errors)
        declared += fit.p_value <= 0.05
        covered += fit.conf_low <= 0 <= fit.conf_high
        naive += stats.linregress(means[0], means[1] - means[0], alternative="less").pvalue <= 0.05
    assert declared <= stats.binom.ppf(0.995, 400, 0.05)
    assert covered >= 0.93 * 400
    if not panel:
        assert naive > 0.10 * 400  # what the uncorrected regression would have declared


def test_real_convergence_is_seen():
    rng = np.random.default_rng(20260103)
    sd = 1.1 / np.sqrt(80)
    declared = covered = 0
    for _ in range(300):
        means = np.array([UNMOVED, 0.5 * UNMOVED]) + rng.normal(scale=sd, size=(2, 10))
        fit = beta_convergence(means, errors=_independent(sd, 2, 10, 400, rng))
        declared += fit.p_value <= 0.05
        covered += fit.conf_low <= -0.5 <= fit.conf_high
    assert declared / 300 > 0.8
    assert covered / 300 >= 0.92


@pytest.mark.parametrize("shrinking", [0.0, -0.15])
def test_interval_of_the_slope_holds_its_level(shrinking):
    """300 studies of four waves; 60 respondents a role. By draws, and by the delta method; binomial band at 0.5%."""
    rng = np.random.default_rng(20260104)
    sd, times = 1.1 / np.sqrt(60), np.arange(4.0)
    truth = np.exp(shrinking * times)[:, None] * UNMOVED
    V = np.array([np.eye(10) * sd**2] * 4)
    by_draws = by_delta = 0
    for _ in range(300):
        means = truth + rng.normal(scale=sd, size=truth.shape)
        drawn = sigma_convergence(means, times, covariance=V, errors=_independent(sd, 4, 10, 300, rng))
        plain = sigma_convergence(means, times, covariance=V)
        assert drawn.slope_error == plain.slope_error
        by_draws += drawn.slope_low <= shrinking <= drawn.slope_high
        by_delta += plain.slope_low <= shrinking <= plain.slope_high
    assert 0.915 <= by_draws / 300 <= 0.985
    assert 0.90 <= by_delta / 300 <= 0.985


def test_an_order_that_never_changed_is_not_called_unstable():
    rng = np.random.default_rng(20260105)
    sd = 1.1 / np.sqrt(20)
    unstable = 0
    for _ in range(300):
        means = UNMOVED + rng.normal(scale=sd, size=(3, 10))
        fit = rank_stability(means, errors=_independent(sd, 3, 10, 200, rng))
        unstable += fit.p_stable <= 0.05
    assert unstable <= stats.binom.ppf(0.995, 300, 0.05)


def test_a_turned_order_is_called_unstable():
    rng = np.random.default_rng(20260106)
    fit = rank_stability([UNMOVED, -UNMOVED], errors=_independent(0.1, 2, 10, 400, rng))
    assert fit.w == pytest.approx(0, abs=1e-12)
    assert fit.p_stable < 0.01
    assert fit.w_expected > 0


# ------------------------------------------------------------------------------------------------------ properties

MEANS = arrays.arrays(np.float64, (3, 5), elements=st.floats(1, 5).map(lambda x: round(x, 3))).filter(
    lambda m: (m.std(axis=1) > 0.2).all()
)


@given(MEANS, st.permutations(range(5)), st.floats(-2, 2), st.floats(0.2, 5))
def test_labels_origin_and_unit_do_not_matter(means, order, shift, unit):
    order = list(order)
    errors = np.random.default_rng(0).normal(scale=0.1, size=(60, 3, 5))
    moved, moved_errors = (means[:, order] + shift) * unit, errors[:, :, order] * unit
    one, other = sigma_convergence(means, errors=errors), sigma_convergence(moved, errors=moved_errors)
    if np.isfinite(one.slope):
        assert other.slope == pytest.approx(one.slope, abs=1e-6)
        assert other.slope_error == pytest.approx(one.slope_error, rel=1e-5, nan_ok=True)
    a, b = beta_convergence(means, errors=errors), beta_convergence(moved, errors=moved_errors)
    assert b.slope_raw == pytest.approx(a.slope_raw, abs=1e-7)
    assert b.beta == pytest.approx(a.beta, abs=1e-5, nan_ok=True)
    assert b.p_value == a.p_value
    assert 0 <= a.reliability <= 1
    s, r = rank_stability(means), rank_stability(means[:, order])
    assert r.w == pytest.approx(s.w)
    assert 0 <= s.w <= 1 + 1e-12


@given(MEANS, st.floats(0.1, 4))
def test_time_runs_in_its_own_unit(means, unit):
    one = sigma_convergence(means, [0, 1, 2.5])
    other = sigma_convergence(means, [10, 10 + unit, 10 + 2.5 * unit])
    assert other.slope * unit == pytest.approx(one.slope, rel=1e-6, abs=1e-9)
    assert other.change == one.change


def test_a_panel_that_does_not_move_has_no_error():
    errors = np.repeat(np.random.default_rng(1).normal(scale=0.1, size=(200, 1, 10)), 2, axis=1)
    means = np.array([UNMOVED, UNMOVED])
    fit = beta_convergence(means, errors=errors)
    assert fit.beta == pytest.approx(0, abs=1e-12)
    assert fit.draws == pytest.approx(np.zeros(200), abs=1e-9)
    assert sigma_convergence(means, errors=errors).change_error == pytest.approx(0, abs=1e-7)


def test_corrected_slope_is_never_below_the_raw_one_of_separate_samples_that_keep_their_order():
    fit = beta_convergence([UNMOVED, 0.9 * UNMOVED], covariance=[np.eye(10) * 0.02] * 2)
    assert fit.slope_raw < fit.beta


def test_spreads_that_may_be_nil_leave_the_ends_open():
    rng = np.random.default_rng(7)
    means, errors = rng.normal(scale=0.1, size=(2, 6)), rng.normal(scale=0.3, size=(500, 2, 6))
    sigma, beta = sigma_convergence(means, errors=errors), beta_convergence(means, errors=errors)
    assert sigma.sd_corrected.tolist() == [0, 0]
    assert np.isnan(sigma.change)
    assert np.isnan(beta.beta)
    assert (sigma.change_low, sigma.change_high) == (-np.inf, np.inf)
    assert (beta.conf_low, beta.conf_high) == (-np.inf, np.inf)
    assert beta.p_value > 0.3


# -------------------------------------------------------------------------------------------------------- refusals


def test_refusals_say_what_to_do():
    with pytest.raises(DesignError) as error:
        sigma_convergence([[1.0, 2.0, np.nan], [1.0, 2.0, 3.0]])
    assert str(error.value) == (
        "DesignError: convergence needs the same roles in every wave\n"
        "  where     statistics.convergence.sigma_convergence\n"
        "  expected  means of at least 2 waves by at least 2 roles, none missing\n"
        "  got       shape (2, 3), 1 missing\n"
        "  hint      leave out roles that a wave did not ask, or ask of fewer waves"
    )
    with pytest.raises(DesignError, match="errors are not those of the means"):
        beta_convergence(WAVES, errors=np.zeros((5, 3, 2)))
    with pytest.raises(DesignError, match="the covariance is not that of the means"):
        beta_convergence(WAVES, covariance=np.eye(3))
    with pytest.raises(DesignError, match="the times of the waves are not in order"):
        sigma_convergence(WAVES, [1, 1])
    with pytest.raises(DesignError, match="the roles do not differ in the first wave"):
        beta_convergence([[3, 3, 3], [1, 2, 3]])
    with pytest.raises(DesignError, match="the roles are tied in every wave"):
        rank_stability([[3, 3, 3], [2, 2, 2]])
    with pytest.raises(DesignError, match="the starting means carry no signal"):
        corrected_beta(-0.4, 0.0)
