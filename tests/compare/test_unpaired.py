"""Arms that share no seeds, arms that are paired by what they share, and tables of many arms.

The procedure is held to its second writing in `tests/acceptance/false_alarms.py`, which shows how often it errs.
"""

import numpy as np
import pytest
from scipy import stats

from blockyard.compare.judge.critical import critical
from blockyard.compare.judge.spread import Part, capped, seeds_tell
from blockyard.compare.judge.statistics import NOT_RESOLVED, Table, analyse
from tests.acceptance.false_alarms import apart, paired, pairs_of

COUNT = 400
NEAR = 0.02  # the second writing reads critical values from a coarse table, the first rounds freedoms to 0.01


def own_runs(runs, names="abcdefgh", first=0):
    """A table whose arms have runs of their own; no number where there is no run."""
    cells = [(names[a], x) for a, row in enumerate(runs) for x in row[~np.isnan(row)]]
    losses = {(arm, first + at): np.array([x]) for at, (arm, x) in enumerate(cells)}
    seeds = [seed for _, seed in losses]
    return Table(list(names[: len(runs)]), seeds, losses, np.ones(1), unpaired=True)


def drawn(rng, counts, spreads, tables):
    counts, spreads = np.array(counts), np.array(spreads, float)
    runs = spreads[:, None] * rng.standard_normal((tables, len(counts), max(counts)))
    runs[:, np.arange(max(counts)) >= counts[:, None]] = np.nan
    return runs


@pytest.mark.parametrize("counts", [(5, 5), (2, 10), (3, 5, 5), (2, 4, 7, 10), (3, 3, 3, 3)])
def test_both_writings_of_the_unpaired_procedure_agree(counts):
    runs = drawn(np.random.default_rng(list(counts)), counts, np.geomspace(1, 4, len(counts)), 6)
    for table, half in zip(runs, apart(runs)):
        found = analyse(own_runs(table))
        for (a, b), width in zip(pairs_of(len(counts)), half):
            difference, low, high = found.difference("abcdefgh"[a], "abcdefgh"[b])
            assert (high - low) / 2 == pytest.approx(width, rel=NEAR)
            assert difference == pytest.approx(np.nanmean(table[a]) - np.nanmean(table[b]), rel=1e-5)


def test_what_seeds_are_called_says_nothing_of_arms_that_share_none():
    runs = drawn(np.random.default_rng(3), (4, 4, 4), (1, 2, 1), 1)[0]
    apart_, alike = own_runs(runs), {}
    for (arm, _), y in apart_.losses.items():
        alike[arm, sum(name == arm for name, _ in alike)] = y
    again = Table(apart_.arms, range(4), alike, np.ones(1), unpaired=True)
    for one, other in zip(analyse(apart_).pairs, analyse(again).pairs):
        assert (one.a, one.b, one.low, one.high, one.p) == (other.a, other.b, other.low, other.high, other.p)


def test_an_arm_of_one_run_is_never_told_apart():
    runs = np.array([[0.0, 0.01, np.nan], [9.0, np.nan, np.nan], [1.0, 1.01, 0.99]])
    found = analyse(own_runs(runs))
    assert found.pair("a", "c").resolved
    for other in "ac":
        pair = found.pair("b", other)
        assert not pair.resolved and pair.p is None and pair.low is None and pair.verdict == NOT_RESOLVED
    assert found.arm("b").rank is None


@pytest.mark.parametrize("counts, spreads", [((2, 10), (3, 1)), ((2, 10, 10, 10), (4, 2, 1, 1))])
def test_few_runs_of_a_noisy_arm_raise_no_alarms(counts, spreads):
    runs = drawn(np.random.default_rng([*counts, 1]), counts, spreads, 2 * COUNT)
    both, means = pairs_of(len(counts)), np.nanmean(runs, 2)
    gap = abs(means[:, both[:, 0]] - means[:, both[:, 1]])
    most = int(stats.binom.isf(0.005, 2 * COUNT, 0.06))  # more than so many of 6% have a chance of 0.5%
    assert (gap > apart(runs)).any(1).sum() <= most
    # broken double: Satterthwaite's freedom as it is
    n, variances = np.array(counts), np.nanvar(runs, 2, ddof=1) / counts
    va, vb = (variances[:, i] for i in both.T)
    nu = (va + vb) ** 2 / (va**2 / (n[both[:, 0]] - 1) + vb**2 / (n[both[:, 1]] - 1))
    level = 0.05 if len(counts) == 2 else 0.4 * 0.05
    assert (gap > -stats.t.ppf(level / 2, nu) * (va + vb) ** 0.5).any(1).sum() > most


def test_the_cap_lies_between_the_fewer_runs_and_satterthwaite():
    spreads = {"few": Part(4.0, 1.0), "many": Part(1.0, 9.0)}
    alone = capped({"few": 0.5, "many": 0.1}, {**spreads, "many": Part(1e-9, 9.0)}, Part(2.0, 9.0))
    assert alone.freedom == pytest.approx(1.0, abs=0.01)  # all the variance is that of two runs
    mixed = capped({"few": 0.5, "many": 0.1}, spreads, Part(2.1, 5.0))
    assert 1 < mixed.freedom < 2 and mixed.variance == 2.1
    same = {"few": Part(4.0, 3.0), "many": Part(1.0, 3.0)}
    assert capped({"few": 0.25, "many": 0.25}, same, Part(1.25, 4.4)).freedom == 4.4


@pytest.mark.parametrize("k, n", [(2, 6), (4, 5)])
def test_arms_that_are_paired_are_judged_by_their_differences(k, n):
    rng = np.random.default_rng([k, n, 2])
    runs = rng.standard_normal((5, k, n)) + 5 * rng.standard_normal((5, 1, n))
    for table, half in zip(runs, paired(runs)):
        names = "abcd"[:k]
        losses = {(name, seed): table[a, seed : seed + 1] for a, name in enumerate(names) for seed in range(n)}
        found = analyse(Table(names, range(n), losses, np.ones(1), bases=dict.fromkeys(names, "all")))
        for (a, b), width in zip(pairs_of(k), half):
            _, low, high = found.difference(names[a], names[b])
            assert (high - low) / 2 == pytest.approx(width, rel=NEAR)


def test_whether_seeds_tell_is_the_f_test_of_a_two_way_table():
    rng = np.random.default_rng(8)
    runs = rng.standard_normal((3, 4)) + rng.standard_normal(4)
    arms, seeds = runs.mean(1, keepdims=True), runs.mean(0, keepdims=True)
    left = ((runs - arms - seeds + runs.mean()) ** 2).sum() / 6
    f = 3 * ((seeds - runs.mean()) ** 2).sum() / 3 / left
    assert seeds_tell(runs) == pytest.approx(stats.f.sf(f, 3, 6))
    assert seeds_tell(np.ones((3, 4))) == seeds_tell(runs[:, :2]) == seeds_tell(runs[:1]) == 1.0
    assert seeds_tell(np.array([[1.0, 2, 3], [2, 3, 4]])) < 1e-6


def test_tables_of_many_arms_have_the_critical_values_of_the_studentized_range():
    for k, nu in ((13, 6.0), (42, 20.0), (42, 1.7)):
        exact = stats.studentized_range.isf(0.04, k, nu) / 2**0.5
        assert critical(k, nu, 0.04) == pytest.approx(exact, rel=1e-6)
