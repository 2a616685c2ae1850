"""Learning rates from pooled parabolas, time to a target, curves that may cross, scaling fits."""

import math

import numpy as np
import pytest

from blockyard.compare.judge.curves import _target
from blockyard.compare.judge.scaling import fit_scaling, may_cross, time_to_target
from blockyard.compare.judge.tuning import fit_rates, pooled_curvature
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.compare.report.page import _beyond
from blockyard.core import UsageError

RATES = [1e-3, 2e-3, 4e-3, 8e-3]
TRIALS = {"a": [2.10, 2.02, 2.00, 2.08], "b": [2.20, 2.10, 2.05, 2.06]}
SIZES = np.array([1.0, 2, 4, 8])


def test_t10_rates_share_one_curvature():
    assert pooled_curvature({arm: np.array(trials) for arm, trials in TRIALS.items()}, 1.0) == pytest.approx(0.04)
    rates = fit_rates(RATES, TRIALS)
    assert rates["a"] == (pytest.approx(3.084e-3, abs=1e-6), False)
    assert rates["b"] == (pytest.approx(4.757e-3, abs=1e-6), False)
    assert fit_rates(RATES, dict(reversed(TRIALS.items()))) == rates


def test_half_octave_steps_scale_the_fit():
    """Exact parabolas 0.04 (x - x0)^2 in log2 of the rate must give x0 back, whatever the step."""
    for h in (0.5, 1.0, 2.0):
        x = -9 + h * np.arange(4)
        trials = {arm: 2 + 0.04 * (x - x0) ** 2 for arm, x0 in {"a": x[1] + 0.2 * h, "b": x[2] - 0.3 * h}.items()}
        rates = fit_rates(list(2**x), trials)
        assert math.log2(rates["a"][0]) == pytest.approx(x[1] + 0.2 * h, abs=1e-5)
        assert math.log2(rates["b"][0]) == pytest.approx(x[2] - 0.3 * h, abs=1e-5)


def test_an_optimum_at_the_edge_is_marked_and_not_passed():
    rates = fit_rates(RATES, {"low": [2.0, 2.2, 2.5, 2.9], "high": [2.6, 2.4, 2.2, 2.0], "in": TRIALS["a"]})
    assert rates["low"] == (pytest.approx(1e-3), True) and rates["high"] == (pytest.approx(8e-3), True)
    assert rates["in"][1] is False


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_diverged_trial_counts_as_the_worst_plus_the_range(broken):
    assert fit_rates(RATES, {"a": [2.1, 2.0, 2.05, broken]}) == fit_rates(RATES, {"a": [2.1, 2.0, 2.05, 2.2]})
    only = fit_rates(RATES, {"a": [broken, 2.0, broken, broken]})
    assert only["a"] == (pytest.approx(2e-3), False)
    rates = fit_rates(RATES, {"a": TRIALS["a"], "lost": [broken] * 4})
    assert rates["lost"] == (1e-3, True) and rates["a"] == fit_rates(RATES, {"a": TRIALS["a"]})["a"]


def test_flat_trials_stay_inside_their_neighbours():
    rate, edge = fit_rates(RATES, {"a": [2.0, 2.0, 2.0, 2.0]})["a"]
    assert 1e-3 <= rate <= 4e-3 and edge


def test_bad_grids_are_refused():
    for rates in ([1e-3, 2e-3], [1e-3, 2e-3, 8e-3], [4e-3, 2e-3, 1e-3]):
        with pytest.raises(UsageError, match="3 or more rates"):
            fit_rates(rates, {"a": [1.0] * len(rates)})
    with pytest.raises(UsageError, match="3 trials for 4 rates"):
        fit_rates(RATES, {"a": [1.0, 2.0, 3.0]})


def test_t13_time_to_target_is_linear_in_log_tokens():
    tokens, losses = [1e5, 2e5, 4e5], [3.0, 2.6, 2.4]
    assert time_to_target(tokens, losses, 2.5) == pytest.approx(282843, abs=1)
    assert time_to_target(tokens, losses, 2.3) is None and time_to_target(tokens, losses, 3.1) == 1e5
    assert time_to_target(tokens, losses, 2.6) == pytest.approx(2e5)
    assert time_to_target([1e5, 2e5, 4e5, 8e5], [3.0, 2.4, 2.6, 2.3], 2.5) < 2e5
    with pytest.raises(UsageError):
        time_to_target([2e5, 1e5], [3.0, 2.0], 2.5)


def test_a_closing_gap_is_a_warning_and_a_steady_one_is_not():
    tokens = [1e5, 2e5, 4e5, 8e5]
    steady = [[-0.10, -0.10, -0.10, -0.10], [-0.11, -0.10, -0.11, -0.11], [-0.10, -0.11, -0.10, -0.10]]
    closing = [[-0.20, -0.16, -0.12, -0.08], [-0.21, -0.16, -0.12, -0.07], [-0.20, -0.17, -0.12, -0.08]]
    turned = [[-0.40, -0.30, -0.20, -0.05], [-0.41, -0.30, -0.21, -0.06], [-0.40, -0.30, -0.20, -0.05]]
    assert may_cross(tokens, steady) is False
    assert may_cross(tokens, closing) is True and may_cross(tokens, turned) is True
    assert may_cross(tokens, steady[:1]) is None


def test_parallel_curves_are_rarely_said_to_cross():
    """Gaps of any size with independent noise at every point and seed: at most the chance of the slope's interval."""
    rng, tokens = np.random.default_rng(14), 1e5 * 2 ** np.linspace(0, 5, 20)
    for gap in (0.0, 0.01, 0.03, 0.1):
        noise = 0.01 * rng.standard_normal((300, 3, 1)) + 0.01 * rng.standard_normal((300, 3, 20))
        assert sum(bool(may_cross(tokens.tolist(), rows)) for rows in gap + noise) <= 22
    closing = -0.2 + 0.1 * np.log(tokens / tokens[0]) / np.log(32) + 0.003 * rng.standard_normal((100, 3, 20))
    assert sum(bool(may_cross(tokens.tolist(), rows)) for rows in closing) <= 5  # -0.1 at the end, -0.06 at 4 times
    closing = -0.2 + 0.16 * np.log(tokens / tokens[0]) / np.log(32) + 0.003 * rng.standard_normal((100, 3, 20))
    assert sum(bool(may_cross(tokens.tolist(), rows)) for rows in closing) >= 80


def test_no_run_is_left_out_of_the_time_to_a_target():
    """A seed that ends above the mean of its arm used to drop out, which flattered the arm."""
    tokens = 1e5 * 2.0 ** np.arange(5)
    curves = {
        name: {seed: np.stack([tokens, end + 0.1 * np.arange(4, -1, -1)], 1) for seed, end in enumerate(ends)}
        for name, ends in {"a": (2.0, 2.1, 2.2), "b": (2.3, 2.31, 2.6)}.items()
    }
    found = _target(curves, [0, 1, 2], {(name, seed): 1e4 for name in curves for seed in range(3)})
    assert found.loss == 2.6 and [arm.runs for arm in found.arms] == [3, 3]
    assert found.arms[0].name == "a" and found.arms[1].tokens > found.arms[0].tokens


def test_t13_scaling_recovers_an_exact_curve():
    losses = 1.2 + 1.3 * SIZES**-0.35
    fit = fit_scaling(SIZES, [[loss] * 3 for loss in losses])
    assert fit.exponent == pytest.approx(0.350, abs=1e-3) and fit.floor == pytest.approx(1.2, abs=1e-3)
    ahead = fit.predict(32)
    assert ahead.loss == pytest.approx(1.586, abs=1e-3) and ahead.far and not fit.predict(16).far
    scaled = fit_scaling(SIZES * 1e6, [[loss] * 3 for loss in losses])
    assert scaled.exponent == pytest.approx(0.350, abs=1e-3)
    assert scaled.predict(32e6).loss == pytest.approx(ahead.loss, abs=1e-6)


def test_scaling_intervals_are_parametric_repeatable_and_cover():
    """Nine in ten, as 95% intervals of a bootstrap from four sizes do; a wide bound, 60 repetitions."""
    rng, covered, truth = np.random.default_rng(3), 0, 1.2 + 1.3 * 32**-0.35
    for _ in range(60):
        losses = (1.2 + 1.3 * SIZES**-0.35)[:, None] * (1 + 0.005 * rng.standard_normal((4, 3)))
        ahead = fit_scaling(SIZES, losses, draws=200).predict(32)
        assert ahead.low < ahead.loss < ahead.high
        covered += ahead.low <= truth <= ahead.high
    assert covered >= 48
    first, second = fit_scaling(SIZES, losses, draws=50), fit_scaling(SIZES[::-1], losses[::-1, ::-1], draws=50)
    assert first == second and np.array_equal(first.draws, second.draws)
    assert (first.draws[:, 0] >= 0).all() and first.interval("exponent")[0] < first.exponent


def test_scaling_keeps_the_floor_at_zero_or_above():
    losses = 3 - 0.4 * np.log(SIZES)
    fit = fit_scaling(SIZES, [[loss] * 3 for loss in losses])
    assert fit.floor == 0 and fit.factor > 0


def test_too_few_sizes_or_seeds_are_refused():
    with pytest.raises(UsageError, match="4 or more"):
        fit_scaling([1, 2, 4], [[2.0] * 3] * 3)
    with pytest.raises(UsageError, match="3 or more seeds"):
        fit_scaling(SIZES, [[2.0] * 2] * 4)
    with pytest.raises(UsageError, match="finite"):
        fit_scaling(SIZES, [[2.0, 1.0, math.nan]] * 4)


@pytest.mark.parametrize("rates", [(1e-3, 2e-3), (1e-3, 2e-3, 5e-3), (4e-3, 2e-3, 1e-3), (0, 1e-3, 2e-3), ()])
def test_a_grid_that_no_parabola_fits_is_refused_before_anything_runs(rates):
    with pytest.raises(UsageError, match="3 or more rates in rising order and even ratios"):
        make_plan(Request(("llama", "gla"), rates=rates), told=lambda _: None)


def test_rates_are_those_that_are_asked_for():
    asked = dict(params="60k", tokens="8k", length=64, batch=8, rates=(1e-3, 4e-3, 1.6e-2))
    plan = make_plan(Request(("llama", "gla"), **asked), told=lambda _: None)
    assert plan.same.rates == [1e-3, 4e-3, 1.6e-2] and "rates=(0.001, 0.004, 0.016)" in _beyond(plan)
    with pytest.raises(UsageError, match="leave one of them out"):
        make_plan(Request(("llama", "gla"), **asked, tuning="none"), told=lambda _: None)
