"""The evidence of a try: E is a ratio of two t densities, looks spend a whole level, both errors keep their bounds."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from blockyard.referee.evidence import FACTORS, LOOKS, SHARES, chance, log_evidence, log_mixture, looks
from blockyard.referee.levels import level, share
from blockyard.referee.sight import chance_seen, most_seeds, smallest, spread_of

GRID = np.linspace(-1, 1, 501)


@pytest.mark.parametrize("n", [2, 3, 6, 17])
def test_e_is_the_ratio_of_two_densities_of_t(n):
    x = np.random.default_rng(n).normal(0.7, 1.0, n)
    t = math.sqrt(n) * x.mean() / x.std(ddof=1)
    ratios = [stats.nct.pdf(t, n - 1, 1.3 * f * math.sqrt(n)) / stats.t.pdf(t, n - 1) for f in FACTORS]
    assert math.exp(log_evidence(x, 1.3)) == pytest.approx(np.mean(ratios), rel=1e-5)
    assert log_evidence(1000 * x, 1.3) == pytest.approx(log_evidence(x, 1.3))  # whatever the unit
    assert log_evidence(x - 0.1, 1.3) < log_evidence(x, 1.3)  # a shift down lowers it


def test_e_that_may_stop_at_any_seed_errs_as_rarely_as_it_says():
    x = np.random.default_rng(5).standard_normal((4000, 12))
    ever = np.zeros(len(x), bool)
    for n in range(3, 13):
        own = x[:, :n]
        ever |= np.interp(own.sum(1) / np.sqrt((own * own).sum(1) * n), GRID, log_mixture(n, GRID, 1.5)) >= math.log(10)
    assert ever.mean() < stats.binom.isf(0.001, len(x), 0.1) / len(x)
    assert ever.mean() > 0.02  # and is of use


def test_looks_spend_the_whole_level_and_no_more():
    for most in range(4, 100):
        at = looks(most)
        assert sum(at.values()) == pytest.approx(1) and max(at) == most and min(at) >= 4
    assert looks(20) == pytest.approx({8: 1 / 12, 12: 2 / 12, 16: 3 / 12, 20: 6 / 12})
    assert len(LOOKS) == len(SHARES)


def test_a_chance_is_that_of_a_t_test_on_one_side():
    x = [0.3, 0.5, 0.1, 0.6, -0.1]
    assert chance(x) == pytest.approx(stats.ttest_1samp(x, 0, alternative="greater").pvalue)
    assert chance([0.25] * 6) == 2**-6 and chance([-0.25] * 6) == 1 and chance([0.0] * 6) == 1


def test_levels_sum_to_the_error_and_never_end():
    shares = [share(t) for t in range(1, 5001)]
    assert all(a > b > 0 for a, b in pairwise(shares)) and 0.8 < sum(shares) < 1
    assert level(0.05, 40, 0) == pytest.approx(0.05 * share(40))
    assert level(0.05, 40, 3) == pytest.approx(4 * level(0.05, 40, 0))  # keeps earn
    assert level(0.05, 1, 10**6) == 0.05


def test_what_can_be_seen_and_what_it_takes_are_inverse():
    for delta in (0.8, 1.5, 3.0):
        n = most_seeds(delta, 0.05)
        assert chance_seen(delta, n, 0.05) >= 0.8 > chance_seen(delta, n - 1, 0.05)
        assert smallest(n, 0.05) <= delta < smallest(n - 1, 0.05)
    assert most_seeds(0.1, 0.05) is None
    assert most_seeds(1.5, 0.05) < most_seeds(1.5, 0.001)


def test_the_bounds_of_a_spread_hold_as_often_as_they_say():
    draw = np.random.default_rng(3).standard_normal((2000, 6))
    bounds = np.array([spread_of(runs) for runs in draw]) / math.sqrt(2)
    assert (bounds[:, 0] > 1).mean() == pytest.approx(0.2, abs=0.04)
    assert (bounds[:, 2] < 1).mean() == pytest.approx(0.2, abs=0.04)
