"""The simulated sizes of tests/acceptance/sizes.py use the judge's own numbers, and keep their promises."""

import numpy as np
import pytest

from blockyard.compare.judge.speedup import GAP, Range, ratio, speedup
from blockyard.compare.judge.statistics import Table, analyse
from tests.acceptance import sizes


@pytest.mark.parametrize("arms", [2, 4])
def test_the_copy_gives_the_intervals_of_the_judge(arms):
    runs = sizes.runs_of(np.random.default_rng(1), [2.0, 1.9, 2.02, 2.0][:arms], 3, 1, 4)
    slope = np.full(4, 0.1), np.full(4, 0.15)
    gaps, ups, own = sizes.gaps_of(runs, 0.02 * GAP), sizes.speedups_of(runs, slope, 0.02), sizes.scores_of(runs, 0.02)
    for t, table in enumerate(runs):
        losses = {(str(a), s): np.array([table[a, s]]) for a in range(arms) for s in range(3)}
        made = Table([str(a) for a in range(arms)], range(3), losses, np.ones(1))
        judged = analyse(made, alpha=0.02 * GAP, against="0")
        for a in range(1, arms):
            gap = Range(*judged.difference("0", str(a)))
            assert (gaps[0][t, a - 1], gaps[1][t, a - 1]) == pytest.approx((gap.low, gap.high), rel=1e-2)
            told = speedup(ratio(float(table[0].mean()), gap), Range(0.12, 0.1, 0.15))
            assert (ups[0][t, a - 1], ups[1][t, a - 1]) == pytest.approx((told.low, told.high), rel=1e-2)
        arm = analyse(made, alpha=0.02).arm("1")
        assert (own[0][t, 1], own[1][t, 1]) == pytest.approx((arm.low, arm.high), rel=1e-5)


@pytest.mark.parametrize("by", ["curves", "tokens"])
@pytest.mark.parametrize("spread", sizes.SPREADS)
def test_speedups_of_all_sizes_hold_together(by, spread):
    missed, width = sizes.covered(3, 3, 3, by, sizes.SPREADS[spread], 1500)
    assert missed <= 0.06 and width < 5


@pytest.mark.parametrize("text", ["speedup>1 at 2 sizes", "gap>1% at every size", "score<1.9 at 1 size"])
@pytest.mark.parametrize("case", ["passing", "failing"])
def test_a_gate_errs_as_seldom_as_it_says(text, case):
    assert sizes.gate_cell(text, 2, 3, 3, case, count=1500) <= 0.07
    assert sizes.gate_cell(text, 4, 3, 5, case, count=1500) <= 0.07


def test_a_gate_is_passed_by_what_is_better():
    assert sizes.gate_cell("speedup>1 at 2 sizes", 2, 3, 5, "power", count=400) > 0.8


def test_a_floor_makes_a_speedup_careful():
    for floor in (0.0, 0.3, 0.6):
        assert all(sizes.told_of(true, floor) <= true + 1e-9 for true in (0.5, 0.8, 1.2, 2.0, 4.0))
