"""The verdicts of a comparison against a second implementation (`tests/acceptance/false_alarms.py`) and oracles."""

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from blockyard.compare.judge.critical import critical, failure_interval, tail
from blockyard.compare.judge.power import Noise, SeedsNeeded, default_seeds, detectable, seeds_for
from blockyard.compare.judge.spread import CORRELATIONS, Part, TextNoise
from blockyard.compare.judge.statistics import Pair, Table, analyse, verdict
from blockyard.core import UsageError
from tests.acceptance.false_alarms import halves, pairs_of, tables

TWO = [[2.00, 2.02, 2.01], [2.06, 2.07, 2.08]]
TWO_TEXT = [[0, 0, 0, 0], [0.02, -0.02, 0.01, -0.01]]
FOUR = [[2.000, 2.010, 2.005], [2.004, 2.018, 2.003], [2.060, 2.052, 2.071], [2.100, 2.115, 2.109]]
FOUR_TEXT = [[0.01, -0.01, 0.02, -0.02], [0, 0, 0, 0], [-0.01, 0.01, 0.01, -0.01], [0.02, 0, -0.02, 0]]


def table(means, text=None, weights=None, holes=(), failed=()):
    """Arms "0", "1", ... and seeds 0, 1, ... with losses mean + text effect of the arm in each group."""
    means = np.asarray(means, float)
    text = np.zeros((len(means), 4)) if text is None else np.asarray(text, float)
    arms, seeds = [str(a) for a in range(len(means))], list(range(means.shape[1]))
    weights = np.full(text.shape[1], 1 / text.shape[1]) if weights is None else np.asarray(weights, float)
    losses = {(arm, s): means[int(arm), s] + text[int(arm)] for arm in arms for s in seeds if (arm, s) not in holes}
    return Table(arms, seeds, losses, weights, frozenset(failed))


def near(value, digit):
    """Equal within 1 in the last digit shown."""
    return pytest.approx(value, abs=digit * 1.0001)


def se(pair: Pair) -> float:
    assert pair.seed_variance is not None and pair.text_variance is not None
    return (pair.seed_variance + pair.text_variance) ** 0.5


def ends(pair: Pair):
    return [pair.low, pair.high]


def names(outcome):
    return [arm.name for arm in outcome.arms]


def test_t1_two_arms_without_text_noise():
    outcome = analyse(table(TWO))
    pair = outcome.pair("0", "1")
    assert outcome.noise.nu == 4 and pair.seed_variance == near(8.402e-5, 1e-8)
    assert pair.difference == near(-0.06, 1e-4) and ends(pair) == near([-0.0875, -0.0325], 1e-4)
    assert pair.p == near(0.00352, 1e-5)
    assert pair.resolved and pair.verdict == "better" and (pair.a, pair.b) == ("0", "1")
    assert outcome.margin == pytest.approx(0.0204) and [arm.rank for arm in outcome.arms] == [(1, 1), (2, 2)]
    assert outcome.needed_difference == near(0.0275, 1e-4) and outcome.detectable > outcome.needed_difference


def test_t2_four_groups_say_little_about_the_text():
    """Their correlation could be anything, so the interval is several times as wide."""
    pair = analyse(table(TWO, TWO_TEXT)).pair("0", "1")
    assert pair.text_variance == near(0.001149, 1e-6) and pair.nu == near(5.72, 0.01)
    assert ends(pair) == near([-0.1529, 0.0329], 1e-4) and not pair.resolved


def test_t2_a_little_text_noise_does_not_narrow_the_interval():
    """Its degrees of freedom alone would."""
    little, none = (analyse(table(TWO, scale * np.array(TWO_TEXT))).pair("0", "1") for scale in (0.01, 0))
    assert little.nu > none.nu and ends(little) == ends(none) and little.p == none.p


def test_t3_groups_count_by_their_bytes():
    shares, gap = np.array([0.4, 0.3, 0.1, 0.05, 0.05, 0.04, 0.03, 0.03]), np.array([2, -1, 1, -2, 3, 0, 1, -1]) / 100
    pair = analyse(table(TWO, [np.zeros(8), gap], shares)).pair("0", "1")
    assert pair.difference == near(-0.07 - (shares @ gap - 0.01), 1e-6)
    independent = TextNoise(shares, 0.0).part(gap, np.eye(20)[0])
    assert independent.variance == pytest.approx(shares @ (gap - shares @ gap) ** 2 / 7)
    assert independent.freedom == pytest.approx(7) and pair.text_variance > independent.variance


def test_t3_correlations_count_by_their_likelihood():
    """That of rows with one correlation of neighbours, their level and their scale integrated out."""
    groups, one = 8, np.ones(8)
    rows = np.array([[2, 1, 1, -2, -1, 0, 1, 3], [0, 3, -1, 1, 0, 2, -2, 0]], float)
    lag, logs = np.abs(np.subtract.outer(np.arange(groups), np.arange(groups))), []
    for r in CORRELATIONS:
        inverse = np.linalg.inv(r**lag)
        level = one @ inverse @ one
        squares = [row @ inverse @ row - (one @ inverse @ row) ** 2 / level for row in rows]
        plain = -0.5 * np.linalg.slogdet(r**lag)[1] - 0.5 * np.log(level)
        logs.append(sum(plain - 0.5 * (groups - 1) * np.log(square) for square in squares))
    expected = np.exp(logs - max(logs)) / np.exp(logs - max(logs)).sum()
    assert TextNoise(one / groups, 0.0).likely(rows, 2) == pytest.approx(expected, rel=1e-9)
    half = TextNoise(one / groups, 0.0).likely(rows, 1)
    assert half == pytest.approx(expected**0.5 / (expected**0.5).sum(), rel=1e-9)


def test_t4_every_arm_has_its_own_spread_drawn_to_the_typical_one():
    outcome = analyse(table(FOUR))
    assert outcome.noise.nu == 8
    for a, b, low, high, p, digit in [
        ("0", "1", -0.0277, 0.0211, 1.0, 1e-4),
        ("0", "2", -0.0841, -0.0279, 0.00704, 1e-5),
        ("0", "3", -0.1264, -0.0796, 0.000275, 1e-6),
        ("1", "2", -0.0805, -0.0248, 0.00527, 1e-5),
        ("2", "3", -0.0742, -0.0198, 0.00777, 1e-5),
    ]:
        pair = outcome.pair(a, b)
        assert ends(pair) == near([low, high], 1e-4) and pair.p == near(p, digit)
    assert [arm.rank for arm in outcome.arms] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert [arm.letters for arm in outcome.arms] == ["a", "a", "b", "c"]
    assert [arm.candidate for arm in outcome.arms] == [True, True, False, False]


def test_t5_four_arms_with_text_noise():
    outcome = analyse(table(FOUR, FOUR_TEXT))
    for a, b, nu, low, high in [
        ("0", "1", 5.44, -0.1242, 0.1175),
        ("0", "2", 5.49, -0.1767, 0.0647),
        ("0", "3", 5.20, -0.2768, 0.0708),
        ("1", "3", 6.12, -0.1806, -0.0187),
        ("2", "3", 5.43, -0.1854, 0.0914),
    ]:
        pair = outcome.pair(a, b)
        assert pair.nu == near(nu, 0.01) and ends(pair) == near([low, high], 1e-4)
    assert [arm.rank for arm in outcome.arms] == [(1, 4), (1, 3), (1, 4), (2, 4)]
    assert [arm.letters for arm in outcome.arms] == ["ab", "a", "ab", "b"]


@pytest.mark.parametrize("k, n", [(2, 5), (4, 3), (8, 5)])
def test_every_interval_is_that_of_the_second_implementation(k, n):
    means, text = tables(np.random.default_rng(k), k, n, 32, 0.5, 0.5, [3.0] + [1.0] * (k - 1), count=3)
    for m, t, half in zip(means, text, halves(means, text)):
        outcome = analyse(table(m - t.mean(1)[:, None], t))
        widths = [outcome.pair(str(a), str(b)) for a, b in pairs_of(k)]
        assert [(pair.high - pair.low) / 2 for pair in widths] == pytest.approx(half, rel=2e-3)
        assert all(pair.resolved == (not pair.low < 0 < pair.high) for pair in widths)


@pytest.mark.parametrize("gone", ["hole", "failed"])
def test_t6_a_missing_run(gone):
    run = {("3", 2)}
    outcome = analyse(table(FOUR, holes=run) if gone == "hole" else table(FOUR, failed=run))
    pair = outcome.pair("0", "3")
    assert outcome.noise.nu == 7 and pair.difference == near(-0.1033, 1e-4) and pair.resolved
    # Least squares takes the seeds of the others into account: its variance is larger than that of plain means.
    plain = analyse(table(FOUR)).pair("0", "3")
    assert pair.high - pair.low > plain.high - plain.low and pair.seed_variance > plain.seed_variance
    arm = outcome.arm("3")
    assert (arm.finished, arm.failed) == ((2, 0) if gone == "hole" else (2, 1)) and arm.per_seed[2] is None


def test_t7_identical_arms_are_called_identical():
    pair = analyse(table([TWO[0], TWO[0]], [TWO_TEXT[1]] * 2)).pair("0", "1")
    assert (pair.difference, pair.p, pair.resolved, pair.verdict) == (0, 1, False, "not resolved")
    assert pair.note == "identical runs" and (pair.a, pair.b) == ("0", "1")
    among = analyse(table([FOUR[0], *FOUR])).pair("0", "1")
    assert (among.difference, among.p, among.verdict, among.note) == (0, 1, "not resolved", "identical runs")
    assert among.low < 0 < among.high


def test_t7_a_loss_that_no_seed_changes_is_no_evidence():
    pair = analyse(table([[2.1] * 3, [2.4] * 3])).pair("0", "1")
    assert pair.p is None and pair.low is None and not pair.resolved and pair.verdict == "not resolved"
    assert pair.difference == pytest.approx(-0.3) and pair.note == "seeds do not reach the run"
    outcome = analyse(table([[2.0] * 3, [2.4] * 3, [2.1, 2.12, 2.09]]))
    assert outcome.pair("0", "2").p < 0.05
    # It is better than an arm that is better than the third: that claim is made already, and the letters agree.
    assert outcome.pair("0", "1").p is None and outcome.pair("0", "1").resolved
    assert [arm.letters for arm in outcome.arms] == ["a", "b", "c"]
    # An arm that is better than both says nothing of the two.
    ahead = analyse(table([[2.0] * 3, [2.4] * 3, [1.1, 1.12, 1.09]]))
    assert ahead.pair("2", "0").resolved and ahead.pair("2", "1").resolved and not ahead.pair("0", "1").resolved


def shares(rows, **options):
    return analyse(replace(table(rows), share=True), **options)


def test_arms_that_always_and_never_solve_a_task_are_told_apart():
    """By the exact test where no arm varies: all n runs of one before all n of the other."""
    five, three = shares([[0.0] * 5, [1.0] * 5]), shares([[0.0] * 3, [1.0] * 3])
    assert five.pair("0", "1").p == near(2 / 252, 1e-6) and five.pair("0", "1").verdict == "better"
    assert [arm.candidate for arm in five.arms] == [True, False]
    assert three.pair("0", "1").p == near(0.1, 1e-6) and not three.pair("0", "1").resolved
    assert "4 runs each could tell them apart" in three.pair("0", "1").note
    four = shares([[0.0] * 5, [1.0] * 5, [1.0] * 5, [0.5] * 5])
    assert four.pair("0", "1").p == near(6 * 2 / 252, 1e-5)
    assert shares([[0.0] * 5, [1.0] * 5], looks=3).pair("0", "1").resolved


def test_the_exact_test_counts_the_text():
    """Runs that never vary say nothing of other test text: then what the text alone leaves to chance is p."""
    pair = analyse(replace(table([[0.0] * 5, [0.05] * 5], TWO_TEXT), share=True)).pair("0", "1")
    gap = np.array(TWO_TEXT[1])
    text = TextNoise(np.full(4, 0.25), 0.0)
    variance, nu = text.part(gap, text.likely(np.array([gap / 2, -gap / 2]), 1))
    assert pair.p == near(2 * stats.t.sf(0.05 / variance**0.5, nu), 1e-4) and pair.p > 2 / 252 and not pair.resolved


def test_constant_arms_among_others_are_judged_by_the_spread_of_those():
    outcome = shares([[0.0] * 3, [1.0] * 3, [0.5, 0.52, 0.49]])
    assert [pair.resolved for pair in outcome.pairs] == [True] * 3 and outcome.pair("0", "1").low is not None
    assert [arm.letters for arm in outcome.arms] == ["a", "b", "c"]
    assert [arm.candidate for arm in outcome.arms] == [True, False, False]
    wide = shares([[0.0] * 3, [1.0] * 3, [0.1, 0.9, 0.4]])
    assert wide.pair("0", "2").note == "" and not wide.pair("0", "2").resolved


def test_t7_one_seed_is_no_verdict():
    outcome = analyse(table([[2.0], [2.3], [2.1]], TWO_TEXT + [TWO_TEXT[1]]))
    assert names(outcome) == ["0", "2", "1"]
    assert all((pair.p, pair.low, pair.high, pair.resolved) == (None, None, None, False) for pair in outcome.pairs)
    assert len(outcome.pairs) == 3 and all("fewer than 2" in pair.note for pair in outcome.pairs)
    assert all(arm.rank == (1, 3) and arm.candidate and arm.low is None for arm in outcome.arms)
    assert outcome.needed_difference is None and outcome.noise is None


def test_t7_a_change_of_unit_changes_no_verdict():
    plain = analyse(table(FOUR, FOUR_TEXT))
    thousand = analyse(table(1000 * np.array(FOUR), 1000 * np.array(FOUR_TEXT)))
    assert [pair.p for pair in plain.pairs] == [pair.p for pair in thousand.pairs]
    assert [pair.verdict for pair in plain.pairs] == [pair.verdict for pair in thousand.pairs]


@pytest.mark.parametrize("holes", [set(), {("3", 2), ("1", 0)}])
def test_t7_the_order_of_arms_and_seeds_does_not_show(holes):
    base = table(FOUR, FOUR_TEXT, [0.31, 0.29, 0.23, 0.17], holes)
    expected = analyse(base)
    for arms, seeds in itertools.product([["3", "1", "0", "2"], ["2", "3", "1", "0"]], [[2, 0, 1], [1, 2, 0]]):
        keys = sorted(base.losses, key=lambda key: (arms.index(key[0]), seeds.index(key[1])))
        assert analyse(Table(arms, seeds, {key: base.losses[key] for key in keys}, base.weights)) == expected
    # Seeds under other numbers, so that they are summed in another order: equal in every digit that is given.
    swapped = {(arm, (seed + 1) % 3): losses for (arm, seed), losses in base.losses.items()}
    assert analyse(Table(base.arms, base.seeds, swapped, base.weights)).pairs == expected.pairs
    # Arms under other names: the same pairs, seen from the other side the signs are flipped.
    other = dict(zip("0123", "3210"))
    renamed = {(other[arm], seed): losses for (arm, seed), losses in base.losses.items()}
    outcome = analyse(Table("0123", base.seeds, renamed, base.weights))
    for a, b in itertools.combinations("0123", 2):
        pair, twin = expected.pair(a, b), outcome.pair(other[a], other[b])
        assert (twin.difference, twin.low, twin.high, twin.p) == (pair.difference, pair.low, pair.high, pair.p)
        difference, low, high = outcome.difference(twin.b, twin.a)
        assert (difference, low, high) == (-pair.difference, -pair.high, -pair.low)


@pytest.mark.parametrize(
    "k, nu, looks, value",
    [(2, 2, 1, 4.303), (2, 4, 1, 2.776), (3, 6, 1, 3.068), (4, 6, 1, 3.462), (4, 12, 1, 2.969), (8, 14, 1, 3.529)]
    + [(4, 8.5, 1, 3.159), (4, 6, 3, 4.464), (2, 2, 3, 7.649), (4, 15, 3, 3.453), (4, 27, 3, 3.216)],
)
def test_t8_critical_values_of_all_pairs(k, nu, looks, value):
    assert critical(k, nu, 0.05 / looks) == near(value, 1e-3)
    assert tail(critical(k, nu, 0.05 / looks), nu, k) == pytest.approx(0.05 / looks, rel=1e-8)


@pytest.mark.parametrize("k, nu, value", [(4, 6, 3.10), (4, 12, 2.68), (8, 14, 2.97), (3, 4, 3.31)])
def test_t8_critical_values_against_one_arm(k, nu, value):
    assert critical(k, nu, against=True) == near(value, 0.01)


@pytest.mark.parametrize("nu", [2, 6.62, 14, 93])
@pytest.mark.parametrize("k", [3, 4, 8, 20])
def test_tail_is_that_of_the_studentized_range(k, nu):
    for t in (0.02, 1, 3, 6):
        assert tail(t, nu, k) == pytest.approx(stats.studentized_range.sf(2**0.5 * t, k, nu), abs=1e-9)


def test_t9_seeds_needed():
    noise = Noise(k=4, nu=8, seed_variance=2 * 5.90833e-5, text=Part(0.0, 31.0))
    needed = [seeds_for(difference, noise) for difference in (0.03, 0.02, 0.01)]
    assert all(n.low < n.high for n in needed) and needed[0].high < needed[1].high < needed[2].high
    # The range is one of the spread: with a spread that is known it is a single number, inside.
    sure = seeds_for(0.02, replace(noise, nu=1e9))
    assert sure.low == sure.high and needed[1].low <= sure.low <= needed[1].high
    assert seeds_for(0.02, replace(noise, nu=1e9, text=Part(1e-5, 1e9))).low > sure.low
    short = replace(noise, text=Part(8.3333e-5, 31.0))
    much = seeds_for(0.02, short)
    assert much.low is None and much.high is None
    enough = seeds_for(0.02, replace(short, nu=1e9, text=Part(short.text.variance / much.more_text * 0.98, 31.0)))
    assert enough.high is not None and 2 < much.more_text < 10
    assert seeds_for(1.0, noise) == SeedsNeeded(3, 3)
    hopeless = seeds_for(1e-4, noise)
    assert hopeless.low is None and hopeless.more_text is None


def test_a_larger_difference_needs_fewer_seeds():
    for k in (2, 4, 8):
        noise = Noise(k=k, nu=1e9, seed_variance=2.0, text=Part(0.0, 31.0))
        needed = [seeds_for(difference, noise).low for difference in (1, 2, 3, 4, 6)]
        assert needed == sorted(needed, reverse=True) and needed[-1] <= 4 and 15 < needed[0] < 40
        assert detectable(noise, needed[1]) <= 2 < detectable(noise, needed[1] - 1)
    assert [default_seeds(arms) for arms in range(2, 9)] == [5, 4, 3, 3, 5, 5, 5]


@pytest.mark.parametrize("k, freedom, against", [(2, 6, False), (4, 8, False), (8, 8, True)])
@pytest.mark.parametrize("nu", [6, 1e9])
def test_the_power_is_that_of_the_yardsticks(k, freedom, against, nu):
    """Four seeds of one variance, over the spreads to come and the one as seen: the moderated spread, or the own."""
    noise = Noise(k, nu, seed_variance=2.0, text=Part(0.0, 31.0), against=against)
    own = stats.t.isf(0.05 / 2 if k == 2 else 0.4 * 0.05 / 2, 1.5 * 3)
    half = max(critical(k, freedom, 0.8 * 0.05, against), own)
    seen, shown = ((stats.chi2.ppf((np.arange(500) + 0.5) / 500, f) / f) ** 0.5 for f in (nu, freedom))
    power = stats.norm.cdf(detectable(noise, 4) / 0.5**0.5 * seen[:, None] - half * shown).mean()
    assert power == pytest.approx(0.8, abs=2e-3)


def test_t11_failure_rates():
    assert failure_interval(1, 3) == (near(0.0084, 1e-4), near(0.906, 1e-3))
    assert failure_interval(0, 3) == (0, near(0.632, 1e-3)) and failure_interval(0, 5) == (0, near(0.451, 1e-3))
    assert failure_interval(3, 3) == (near(0.368, 1e-3), 1) and failure_interval(0, 0) == (0, 1)
    with pytest.raises(UsageError):
        failure_interval(4, 3)


def test_t11_survivors_never_make_an_arm_better():
    ahead = [[1.80, 1.81, 1.805], *FOUR[:3]]
    sound, failed = analyse(table(ahead, holes={("0", 2)})), analyse(table(ahead, failed={("0", 2)}))
    assert abs(sound.pair("0", "1").difference) > 20 * se(sound.pair("0", "1"))
    assert sound.pair("0", "1").verdict == "better" and sound.arm("0").candidate
    pair = failed.pair("0", "1")
    assert (pair.a, pair.resolved, pair.verdict) == ("0", False, "not resolved") and "1 of 3" in pair.note
    assert not failed.arm("0").candidate and failed.arm("1").candidate and failed.arm("1").rank == (1, 3)
    all_failed = analyse(table(ahead, failed={("0", 2), ("1", 0), ("2", 1), ("3", 1)}))
    assert all_failed.arm("0").candidate
    close = {"margin": 0.5}
    assert analyse(table(FOUR), **close).pair("0", "1").verdict == "equivalent"
    assert analyse(table(FOUR, failed={("1", 2)}), **close).pair("0", "1").verdict == "not resolved"


def test_t11_an_arm_with_one_finished_run_leaves_the_family():
    five = [*FOUR, [1.5, 1.6, 1.7]]
    outcome = analyse(table(five, failed={("4", 0), ("4", 1)}))
    alone = analyse(table(FOUR))
    assert names(outcome) == ["0", "1", "2", "3", "4"]
    assert [outcome.pair(p.a, p.b) for p in alone.pairs] == list(alone.pairs)
    last = outcome.arm("4")
    assert (last.rank, last.letters, last.candidate, last.mean) == (None, "", False, 1.7)
    gone = analyse(table(five, failed={("4", 0), ("4", 1), ("4", 2)}))
    assert gone.arm("4").mean is None and list(gone.pairs) == list(alone.pairs)
    nothing = analyse(Table("ab", [0], {}, np.ones(1), {("a", 0), ("b", 0)}))
    assert nothing.pairs == () and nothing.margin is None and all(arm.mean is None for arm in nothing.arms)


@pytest.mark.parametrize(
    "low, high, word",
    [(0.001, 0.009, "better, below margin"), (-0.007, 0.009, "equivalent"), (-0.007, 0.021, "not resolved")]
    + [(0.005, 0.03, "better"), (-0.009, -0.001, "better, below margin"), (-0.03, -0.005, "better")],
)
def test_t12_the_word_for_an_interval(low, high, word):
    assert verdict(low, high, low > 0 or high < 0, 0.02) == word


def test_t15_two_arms_are_held_to_welch():
    """Two arms of unequal spread differ by Welch's test; the moderated spread can only ask for more."""
    rng = np.random.default_rng(5)
    for n in (3, 6, 20):
        means = 2 + np.array([[0.05], [0.005]]) * rng.standard_normal((2, n))
        pair = analyse(table(means)).pair("0", "1")
        oracle = stats.ttest_ind(means[int(pair.a)], means[int(pair.b)], equal_var=False)
        assert pair.p >= 0.9985 * oracle.pvalue and pair.p == pytest.approx(oracle.pvalue, rel=0.3)


def test_holes_are_met_by_least_squares():
    """A seed that is bad for all arms must not make the arm look bad that was the only one to finish it."""
    means = np.array([[2.0, 2.1, 3.0], [2.0, 2.1, 3.0]]) + [[0.0, 0.011, 0.003], [0.012, 0.0, 0.0]]
    outcome = analyse(table(means, holes={("1", 2)}))
    pair = outcome.pair("0", "1")
    assert abs(pair.difference) < 0.01 and not pair.resolved


def test_arms_without_a_shared_seed_are_judged_by_their_own_means():
    apart = table([[2.0, 2.01, 0, 0], [0, 0, 2.5, 2.52]], holes={("0", 2), ("0", 3), ("1", 0), ("1", 1)})
    outcome = analyse(apart)
    assert outcome.pair("0", "1").difference == pytest.approx(-0.505) and outcome.pair("0", "1").resolved
    assert [arm.mean for arm in outcome.arms] == [2.005, 2.51]


def test_looks_divide_alpha():
    one, three = analyse(table(FOUR)), analyse(table(FOUR), looks=3)
    for a, b in zip(one.pairs, three.pairs):
        assert a.p == b.p and b.resolved == (b.p < 0.05 / 3) and b.low < a.low < a.high < b.high


def test_against_one_arm_makes_fewer_and_narrower_comparisons():
    every, one = analyse(table(FOUR)), analyse(table(FOUR), against="0")
    assert {frozenset((pair.a, pair.b)) for pair in one.pairs} == {frozenset((a, "0")) for a in "123"}
    pair, narrow = every.pair("0", "1"), one.pair("0", "1")
    assert narrow.high - narrow.low < pair.high - pair.low and one.against == "0" and one.arm("0").rank == (1, 2)
    assert all(p.p <= every.pair(p.a, p.b).p for p in one.pairs)
    with pytest.raises(UsageError, match="unknown arm"):
        analyse(table(FOUR), against="9")


def test_letters_show_that_not_resolved_is_not_transitive():
    chain = np.array([[0.0], [0.014], [0.028]]) + 0.006 * np.array([[1, -1, 0], [-1, 0, 1], [0, 1, -1]]) + 2
    outcome = analyse(table(chain))
    assert [pair.resolved for pair in outcome.pairs] == [False, True, False]
    assert [arm.letters for arm in outcome.arms] == ["a", "ab", "b"]
    assert [arm.rank for arm in outcome.arms] == [(1, 2), (1, 3), (2, 3)]


def test_an_interval_of_one_arm_is_of_its_own_runs_and_counts_text_that_pairs_cancel():
    common = [[0.1, -0.1, 0.2, -0.2]] * 4
    plain, outcome = analyse(table(FOUR)), analyse(table(FOUR, common))
    assert [pair.low for pair in outcome.pairs] == [pair.low for pair in plain.pairs]
    for arm, runs in zip(plain.arms, FOUR):
        half = stats.t.ppf(0.975, 2) * np.std(runs, ddof=1) / 3**0.5
        assert arm.high - arm.mean == pytest.approx(half, abs=1e-5)
    assert all(b.high - b.low > a.high - a.low for a, b in zip(plain.arms, outcome.arms))


def test_one_group_sets_the_text_part_aside():
    one = Table("01", [0, 1, 2], {(a, s): np.array([TWO[int(a)][s]]) for a in "01" for s in range(3)}, np.ones(1))
    assert analyse(one).pairs == analyse(table(TWO)).pairs


def test_the_noisiest_arm_is_named():
    outcome = analyse(table([[2.0, 2.01, 2.02], [2.0, 2.02, 2.01], [2.0, 2.09, 2.03]]))
    assert outcome.noisiest == "2" and outcome.spread_ratio == pytest.approx(4.583, abs=1e-3)


def test_bad_tables_are_told_what_to_mend():
    good = table(TWO)
    with pytest.raises(UsageError, match="distinct"):
        replace(good, arms=["0", "0", "1"])
    with pytest.raises(UsageError, match="unknown arm"):
        replace(good, failed={("llama", 0)})
    with pytest.raises(UsageError, match="seed 7"):
        replace(good, failed={("0", 7)})
    with pytest.raises(UsageError, match="summing to 1"):
        replace(good, weights=np.ones(4))
    with pytest.raises(UsageError, match=r"shape \(3,\) for 4 groups"):
        replace(good, losses={("0", 0): np.zeros(3)})
    bad = {**good.losses, ("0", 0): np.full(4, np.nan)}
    with pytest.raises(UsageError, match="not finite"):
        replace(good, losses=bad)
    assert analyse(replace(good, losses=bad, failed={("0", 0)})).arm("0").failed == 1
    for wrong in ({"alpha": 0.0}, {"looks": 0}, {"margin": -1.0}):
        with pytest.raises(UsageError):
            analyse(good, **wrong)


def test_importing_the_module_does_not_load_scipy():
    modules = "blockyard.compare.judge.statistics, blockyard.compare.judge.tuning, blockyard.compare.judge.scaling"
    code = f"import sys, {modules}; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
