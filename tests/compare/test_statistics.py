"""The verdicts of a comparison against figures worked out by an independent implementation and against oracles."""

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from blockyard.compare.critical import critical, failure_interval, tail
from blockyard.compare.power import Noise, default_seeds, seeds_for
from blockyard.compare.statistics import Pair, Table, analyse, verdict
from blockyard.core import UsageError

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
    assert outcome.noise.nu == 2 and outcome.noise.seed_variance == near(2 * 5.00e-5, 2e-7)
    assert se(pair) == near(0.00577, 1e-5) and pair.difference == near(-0.06, 1e-4)
    assert ends(pair) == near([-0.0848, -0.0352], 1e-4) and pair.p == near(0.00913, 1e-5)
    assert pair.resolved and pair.verdict == "better" and (pair.a, pair.b) == ("0", "1")
    assert outcome.margin == pytest.approx(0.0204) and [arm.rank for arm in outcome.arms] == [(1, 1), (2, 2)]


def test_t2_text_noise_widens_but_never_makes_more_certain():
    outcome = analyse(table(TWO, TWO_TEXT))
    pair = outcome.pair("0", "1")
    assert pair.seed_variance == near(3.33e-5, 1e-7) and pair.text_variance == near(8.33e-5, 1e-7)
    assert se(pair) == near(0.0108, 1e-4) and pair.nu == near(4.74, 0.01)
    assert ends(pair) == near([-0.0882, -0.0318], 1e-4) and pair.p == near(0.00913, 1e-5)
    assert outcome.detectable == near(0.0397, 1e-4) and outcome.needed_difference == near(0.0282, 1e-4)


def test_t2_a_little_text_noise_does_not_narrow_the_interval():
    """Its degrees of freedom alone would: 3.9 instead of 2."""
    little, none = (analyse(table(TWO, scale * np.array(TWO_TEXT))).pair("0", "1") for scale in (0.5, 0))
    assert little.nu > 3.8 and ends(little) == ends(none) and little.p == none.p


def test_t3_groups_count_by_their_bytes():
    pair = analyse(table(TWO, TWO_TEXT, [0.4, 0.3, 0.2, 0.1])).pair("0", "1")
    assert pair.difference == near(-0.063, 1e-4) and pair.text_variance == near(1.30e-4, 1e-6)
    assert pair.nu == near(4.31, 0.01) and ends(pair) == near([-0.0975, -0.0285], 1e-4)
    assert pair.p == near(0.00829, 1e-5)


def test_t4_four_arms_pool_their_spread_with_the_pair_as_floor():
    outcome = analyse(table(FOUR))
    assert outcome.noise.nu == 6
    pair = outcome.pair("0", "1")
    assert pair.seed_variance == near(2 * 5.908e-5 / 3, 1e-8)
    assert pair.difference == near(-0.00333, 1e-5) and se(pair) == near(0.00628, 1e-5)
    assert ends(pair) == near([-0.0251, 0.0184], 1e-4) and pair.p == near(0.948, 1e-3) and not pair.resolved
    pair = outcome.pair("0", "2")
    assert se(pair) == near(0.00721, 1e-5) and pair.p == near(0.000991, 1e-6)
    assert ends(pair) == near([-0.0810, -0.0310], 1e-4)
    pair = outcome.pair("1", "2")
    assert se(pair) == near(0.00996, 1e-5) and pair.p == near(0.00739, 1e-5)
    assert ends(pair) == near([-0.0871, -0.0182], 1e-4)
    pair = outcome.pair("2", "3")
    assert pair.difference == near(-0.0470, 1e-4) and pair.p == near(0.00442, 1e-5)
    assert ends(pair) == near([-0.0748, -0.0192], 1e-4)
    assert [arm.rank for arm in outcome.arms] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert [arm.letters for arm in outcome.arms] == ["a", "a", "b", "c"]
    assert [arm.candidate for arm in outcome.arms] == [True, True, False, False]


def test_t5_four_arms_with_text_noise():
    outcome = analyse(table(FOUR, FOUR_TEXT))
    for a, b, nu, low, high, p, digit in [
        ("0", "1", 5.85, -0.0420, 0.0353, 0.990, 1e-3),
        ("0", "2", 6.62, -0.0951, -0.0169, 0.00925, 1e-5),
        ("0", "3", 4.33, -0.1615, -0.0445, 0.00615, 2e-5),
        ("2", "3", 5.36, -0.1016, 0.0076, 0.0860, 1e-4),
    ]:
        pair = outcome.pair(a, b)
        assert pair.nu == near(nu, 0.01) and ends(pair) == near([low, high], 1e-4) and pair.p == near(p, digit)
    assert outcome.pair("2", "3").verdict == "not resolved"
    assert [arm.rank for arm in outcome.arms] == [(1, 2), (1, 2), (3, 4), (3, 4)]
    assert [arm.letters for arm in outcome.arms] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("gone", ["hole", "failed"])
def test_t6_a_missing_run(gone):
    run = {("3", 2)}
    outcome = analyse(table(FOUR, holes=run) if gone == "hole" else table(FOUR, failed=run))
    pair = outcome.pair("0", "3")
    assert outcome.noise.nu == 5 and pair.difference == near(-0.1033, 1e-4) and se(pair) == near(0.00793, 1e-5)
    assert ends(pair) == near([-0.1326, -0.0740], 1e-4) and pair.p == near(0.000186, 1e-6)
    pair = outcome.pair("2", "3")
    assert se(pair) == near(0.0115, 1e-4) and pair.p == near(0.0333, 1e-4)
    assert ends(pair) == near([-0.0897, -0.0048], 1e-4) and pair.resolved
    # MS shows in a pair whose own spread is below the pool: two complete arms of three seeds.
    assert outcome.pair("0", "1").seed_variance == near(2 * 7.083e-5 / 3, 1e-8)
    arm = outcome.arm("3")
    assert (arm.finished, arm.failed) == ((2, 0) if gone == "hole" else (2, 1)) and arm.per_seed[2] is None


def test_t7_identical_arms_are_called_identical():
    pair = analyse(table([TWO[0], TWO[0]], [TWO_TEXT[1]] * 2)).pair("0", "1")
    assert (pair.difference, pair.p, pair.resolved, pair.verdict) == (0, 1, False, "not resolved")
    assert pair.note == "identical runs"
    among = analyse(table([FOUR[0], *FOUR])).pair("0", "1")
    assert (among.difference, among.p, among.verdict, among.note) == (0, 1, "not resolved", "identical runs")
    assert among.low < 0 < among.high


@pytest.mark.parametrize("step", [0, 0.013])
def test_t7_no_spread_is_no_evidence(step):
    first = 2.1 + step * np.arange(3)
    pair = analyse(table([first, first + 0.3])).pair("0", "1")
    assert pair.p is None and pair.low is None and not pair.resolved and pair.verdict == "not resolved"
    assert pair.difference == pytest.approx(-0.3) and pair.note == "seeds do not reach the run"


def test_t7_two_arms_no_seed_reaches_learn_nothing_from_the_spread_of_others():
    outcome = analyse(table([[2.0] * 3, [2.4] * 3, [2.1, 2.12, 2.09]]))
    assert outcome.pair("0", "1").p is None and outcome.pair("0", "1").note == "seeds do not reach the run"
    assert outcome.pair("0", "2").p < 0.05


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
    noise = Noise(k=4, nu=6, seed_variance=2 * 5.90833e-5, text_variance=0.0, groups=32)
    assert (seeds_for(0.02, noise).low, seeds_for(0.02, noise).high) == (5, 8)
    assert seeds_for(0.01, noise).low == 15
    assert seeds_for(0.02, replace(noise, text_variance=1e-5)).low == 6
    short = replace(noise, text_variance=8.3333e-5)
    needed = seeds_for(0.02, short)
    assert needed.low is None and needed.high is None
    enough = seeds_for(0.02, replace(short, text_variance=short.text_variance / needed.more_text * 0.98))
    assert enough.low is not None and enough.low <= 10 and 2 < needed.more_text < 10
    hopeless = seeds_for(1e-4, noise)
    assert hopeless.low is None and hopeless.more_text is None


def test_seeds_needed_by_difference_in_units_of_the_spread():
    for k, needed in {2: [18, 7, 4, 4, 3], 4: [25, 7, 4, 3, 3], 8: [31, 9, 4, 3, 3]}.items():
        noise = Noise(k=k, nu=10, seed_variance=2.0, text_variance=0.0, groups=32)
        assert [seeds_for(difference, noise).low for difference in (1, 2, 3, 4, 6)] == needed
    assert [default_seeds(arms) for arms in range(2, 9)] == [5, 4, 3, 3, 5, 5, 5]


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


def test_t15_two_arms_are_a_paired_t_test():
    rng = np.random.default_rng(5)
    for n in (2, 3, 6):
        means = 2 + 0.01 * rng.standard_normal((2, n))
        pair = analyse(table(means)).pair("0", "1")
        first, second = means[int(pair.a)], means[int(pair.b)]
        oracle = stats.ttest_rel(first, second)
        interval = oracle.confidence_interval(0.95)
        assert pair.p == pytest.approx(oracle.pvalue, rel=5e-4)
        assert ends(pair) == pytest.approx([interval.low, interval.high], rel=1e-5)


def test_t15_pooled_pairs_are_tukey_on_the_two_way_residual():
    pandas = pytest.importorskip("pandas")
    anova = pytest.importorskip("statsmodels.stats.anova")
    rng = np.random.default_rng(6)
    k, n = 5, 4
    means = 2 + 0.02 * rng.standard_normal((k, 1)) + 0.01 * rng.standard_normal((1, n))
    means = means + 0.01 * rng.standard_normal((k, n))
    cells = [{"arm": a, "seed": s, "loss": means[a, s]} for a in range(k) for s in range(n)]
    row = anova.AnovaRM(pandas.DataFrame(cells), "loss", "seed", within=["arm"]).fit().anova_table.iloc[0]
    ms, nu = n * means.mean(1).var(ddof=1) / row["F Value"], row["Den DF"]
    outcome, floored = analyse(table(means)), 0
    assert outcome.noise.nu == nu
    for pair in outcome.pairs:
        gaps = means[int(pair.a)] - means[int(pair.b)]
        spread = max(2 * ms, gaps.var(ddof=1))
        floored += spread > 2 * ms
        oracle = stats.studentized_range.sf(2**0.5 * abs(gaps.mean()) / (spread / n) ** 0.5, k, nu)
        assert pair.p == pytest.approx(oracle, rel=5e-4)
    assert 0 < floored < len(outcome.pairs)


def test_holes_are_met_by_least_squares():
    """A seed that is bad for all arms must not make the arm look bad that was the only one to finish it."""
    means = np.array([[2.0, 2.1, 3.0], [2.0, 2.1, 3.0]]) + [[0.0, 0.011, 0.003], [0.012, 0.0, 0.0]]
    outcome = analyse(table(means, holes={("1", 2)}))
    pair = outcome.pair("0", "1")
    assert abs(pair.difference) < 0.01 and not pair.resolved and outcome.noise.nu == 1


def test_arms_without_a_shared_seed_get_no_verdict():
    apart = table([[2.0, 2.01, 0, 0], [0, 0, 2.5, 2.52]], holes={("0", 2), ("0", 3), ("1", 0), ("1", 1)})
    outcome = analyse(apart)
    assert outcome.pair("0", "1").p is None and "too few shared seeds" in outcome.pair("0", "1").note
    assert [arm.mean for arm in outcome.arms] == [2.005, 2.51]


def test_looks_divide_alpha():
    one, three = analyse(table(FOUR)), analyse(table(FOUR), looks=3)
    for a, b in zip(one.pairs, three.pairs):
        assert a.p == b.p and b.resolved == (b.p < 0.05 / 3)
        ratio = (b.high - b.difference) / (a.high - a.difference)
        assert ratio == pytest.approx(critical(4, 6, 0.05 / 3) / critical(4, 6), rel=1e-4)


def test_against_one_arm_makes_fewer_and_narrower_comparisons():
    every, one = analyse(table(FOUR)), analyse(table(FOUR), against="2")
    assert {frozenset((pair.a, pair.b)) for pair in one.pairs} == {frozenset((a, "2")) for a in "013"}
    pair, narrow = every.pair("2", "3"), one.pair("2", "3")
    assert (narrow.high - narrow.low) / (pair.high - pair.low) == pytest.approx(3.0993 / 3.4617, abs=1e-4)
    assert narrow.p < pair.p and one.against == "2" and one.arm("2").rank == (3, 3)
    with pytest.raises(UsageError, match="unknown arm"):
        analyse(table(FOUR), against="9")


def test_letters_show_that_not_resolved_is_not_transitive():
    chain = np.array([[0.0], [0.02], [0.04]]) + 0.006 * np.array([[1, -1, 0], [-1, 0, 1], [0, 1, -1]]) + 2
    outcome = analyse(table(chain))
    assert [pair.resolved for pair in outcome.pairs] == [False, True, False]
    assert [arm.letters for arm in outcome.arms] == ["a", "ab", "b"]
    assert [arm.rank for arm in outcome.arms] == [(1, 2), (1, 3), (2, 3)]


def test_an_interval_of_one_arm_counts_text_that_pairs_cancel():
    common = [[0.1, -0.1, 0.2, -0.2]] * 4
    plain, outcome = analyse(table(FOUR)), analyse(table(FOUR, common))
    assert [pair.low for pair in outcome.pairs] == [pair.low for pair in plain.pairs]
    within = float(np.mean(np.var(FOUR, axis=1, ddof=1)))
    half = stats.t.ppf(0.975, 8) * (within / 3) ** 0.5
    assert plain.arms[0].high - plain.arms[0].mean == pytest.approx(half, abs=1e-5)
    vb, vs = 4 / 3 * np.square(common[0]).sum() / 16, within / 3
    nu = (vs + vb) ** 2 / (vs**2 / 8 + vb**2 / 3)
    half = stats.t.ppf(0.975, nu) * (vs + vb) ** 0.5
    assert outcome.arms[0].high - outcome.arms[0].mean == pytest.approx(half, abs=1e-5)


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
    modules = "blockyard.compare.statistics, blockyard.compare.tuning, blockyard.compare.scaling"
    code = f"import sys, {modules}; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
