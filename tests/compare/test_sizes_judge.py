"""What sizes say together, on worked cases: speed-ups, fading leads, predictions, gates, amounts."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
from test_report import CASES

from blockyard.compare.documents import Report
from blockyard.compare.judge.scaling import gap_by_size
from blockyard.compare.judge.speedup import (
    Range,
    about,
    ratio,
    relative,
    slope_of_curve,
    slope_of_tokens,
    speedup,
)
from blockyard.compare.sizes.documents import Place
from blockyard.compare.sizes.foresee import foresee, held
from blockyard.compare.sizes.gate import judge_gate, levels, parse_gate
from blockyard.compare.sizes.judged import Finished, _crossings
from blockyard.core.errors import UsageError
from blockyard.core.numbers import SIZES

BETA = 0.2


def law(D):
    return 3.0 * D**-BETA


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_an_arm_with_the_loss_of_more_training_has_that_speedup(factor):
    gap = law(1e6) - law(factor * 1e6)
    slope = slope_of_curve([(D, law(D)) for D in np.linspace(2e4, 1e6, 40)])
    assert slope == pytest.approx(BETA)
    found = speedup(ratio(law(1e6), Range(gap, gap - 0.01, gap + 0.01)), Range(slope, slope, slope))
    assert found.value == pytest.approx(factor) and found.low < factor < found.high
    ends = [(law(1e6) / (law(1e6) - end)) ** (1 / BETA) for end in (gap - 0.01, gap + 0.01)]
    assert (found.low, found.high) == pytest.approx(tuple(ends))


def test_early_tokens_do_not_bend_the_slope_and_few_points_give_none():
    late = [(D, law(D)) for D in np.linspace(3e5, 1e6, 30)]
    assert slope_of_curve([(1e4, 50.0), (2e5, 9.0), *late]) == pytest.approx(BETA)
    assert slope_of_curve(late[:3]) is None and slope_of_curve([(1.0, None), (2.0, None)]) is None


def test_by_tokens_the_secant_between_neighbours_counts():
    tokens, losses = [1e5, 2e5, 4e5, 8e5], [[law(1e5)] * 3, [law(2e5)] * 3, [law(4e5)] * 2, [9.0, 9.0]]
    value, factor = slope_of_tokens(tokens, losses, 1)
    assert value == pytest.approx(BETA) and factor == pytest.approx((1 / 3 + 1 / 2) / math.log(4) ** 2)
    assert slope_of_tokens(tokens, losses, 0)[0] == pytest.approx(BETA)
    assert slope_of_tokens(tokens, losses, 3)[0] < 0


def test_an_unsure_slope_leaves_an_end_open_and_never_the_side():
    ahead, behind, either = (
        Range(x, low, high) for x, low, high in ((0.1, 0.05, 0.15), (-0.1, -0.2, -0.05), (0.0, -0.1, 0.1))
    )
    unsure = Range(0.2, -0.1, 0.5)
    found = speedup(ahead, unsure)
    assert found.low == pytest.approx(math.exp(0.05 / 0.5)) and found.high is None
    assert speedup(behind, unsure).low == 0.0 and speedup(behind, unsure).high == pytest.approx(math.exp(-0.05 / 0.5))
    assert speedup(either, unsure).low == 0.0 and speedup(either, unsure).high is None
    assert speedup(ahead, Range(-0.1, -0.2, 0.1)) is None
    assert speedup(Range(0.1, None, None), unsure) == Range(math.exp(0.5), None, None)
    wide = ratio(1.0, Range(0.2, -0.5, 1.5))
    assert wide.high == math.inf and speedup(wide, Range(0.2, 0.1, 0.3)).high is None
    assert ratio(1.0, Range(1.2, 1.0, 1.5)) is None


def test_spreads_are_pooled_relative_to_their_means():
    variance, freedom = relative([[1.0, 1.1, 0.9], [10.0, 11.0, 9.0], [5.0]])
    assert variance == pytest.approx(0.01) and freedom == 4
    assert relative([[2.0]]).freedom == 0 and about(1.0, 0.1, 0, 0.05) == Range(1.0, None, None)
    found = about(1.0, 0.01, 4, 0.05)
    assert found.high - 1.0 == pytest.approx(0.1 * 2.776, rel=1e-3)


def rows(gaps, noise=0.001):
    """Losses of two arms at each size, three seeds each."""
    spread = np.array([-noise, 0.0, noise])
    return [list(2.0 + gap + spread) for gap in gaps], [list(2.0 + spread) for _ in gaps]


@pytest.mark.parametrize("gaps, noise, told", [
    ((-0.10, -0.06, -0.02), 0.001, True),  # a lead that shrinks and is gone at four times the size
    ((-0.10, -0.10, -0.10), 0.001, False),
    ((-0.02, -0.06, -0.10), 0.001, False),  # it grows
    ((-0.10, -0.06, -0.02), 0.2, False),  # nobody knows
    ((-0.11, -0.10, -0.09), 0.001, False),  # it would last
    ((0.10, 0.06, 0.02), 0.001, True),
])  # fmt: skip
def test_a_fading_lead_is_told(gaps, noise, told):
    a, b = rows(gaps, noise)
    assert gap_by_size([1e5, 3e5, 1e6], a, b).fades is told
    assert gap_by_size([1e6, 3e5, 1e5], a[::-1], b[::-1]).fades is told


def test_too_little_says_nothing_of_a_lead():
    assert (
        gap_by_size([1e5], [[1.0, 1.1]], [[1.2, 1.3]]) is None
        and gap_by_size([1e5, 2e5], [[1.0], [1.1]], [[1.0], [1.2]]) is None
    )


def report(params, losses, better=None, needed=0.01):
    """A comparison of arms `a` and `b` with these losses, of which one may be told apart as the better."""
    held = copy.deepcopy(CASES["two arms"])
    names = sorted(losses, key=lambda name: np.mean(losses[name]))
    for arm, name in zip(held["arms"], names):
        runs = [float(x) for x in losses[name]]
        arm |= {"name": name, "params": params, "score": {"low": None, "high": None, "mean": float(np.mean(runs)),
                                                          "per_seed": runs}}  # fmt: skip
    for arm, name in zip(held["plan"]["arms"], sorted(losses)):
        arm["label"] = name
    held["pairs"] = [{**held["pairs"][0], "a": names[0], "b": names[1], "resolved": better is not None}]
    held["needed_difference"], held["metric"]["better"] = needed, "lower"
    return Report.from_json(held, "a case")


def place(params):
    return Place(params, 1e6, f"{params:g}")


def sizes_of(count, noise=0.001, floor=1.0, exponent=0.3):
    spread = noise * np.array([-1.0, 0.0, 1.0])
    found = []
    for N in [1e5 * 3**k for k in range(count)]:
        losses = {"a": floor + 30 * N**-exponent + spread, "b": floor + 32 * N**-exponent + spread}
        found.append((place(N), report(int(N), losses, better="a", needed=0.001)))
    return found


@pytest.mark.parametrize("floor", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("count, rule", [(2, "bracket"), (3, "bracket"), (4, "law")])
def test_a_prediction_holds_where_the_law_holds(count, rule, floor):
    done = sizes_of(count + 1, floor=floor)
    (at, last), before = done[-1], done[:-1]
    said = foresee(at, "b", before)
    assert {arm.rule for arm in said.arms} == {rule} and [s.folder for s in said.made_from] == [
        p.folder for p, _ in before
    ]
    found = held(said, last, "b")
    assert all(arm.inside for arm in found.arms) and {arm.name: arm.right for arm in found.arms} == {
        "a": True,
        "b": None,
    }
    assert said.arms[0].verdict == "better" and said.arms[0].score.high < before[-1][1].arm("a").score.mean + 0.01


def test_a_prediction_that_fails_is_said_to():
    done = sizes_of(2)
    said = foresee(place(9e5), "b", done)
    worse = report(900_000, {"a": [2.6, 2.6, 2.6], "b": [2.5, 2.5, 2.5]}, better="b")
    found = {arm.name: arm for arm in held(said, worse, "b").arms}
    assert found["a"].inside is False and found["a"].right is False and found["a"].verdict == "worse"


def test_one_size_says_no_more_and_none_says_nothing():
    said = foresee(place(3e5), "b", sizes_of(1))
    assert said.arms[0].rule == "same" and said.arms[0].score.low is None
    assert said.arms[0].score.high > sizes_of(1)[0][1].arm("a").score.mean
    assert foresee(place(1e5), "b", sizes_of(1)) is None
    other = Place(3e5, 2e6, "other budget")
    assert foresee(other, "b", sizes_of(2)) is None


@pytest.mark.parametrize("gaps, better, kind", [
    ((-0.2, -0.1, 0.05), "aab", "lost"),
    ((-0.2, -0.1, -0.001), "aa-", "gone"),
    ((-0.2, -0.1, -0.02), "aaa", "fades"),
    ((-0.2, -0.2, -0.2), "aaa", None),
    ((-0.2, -0.2, -0.2), "a--", None),
    ((-0.1, -0.15, -0.2), "--a", None),
])  # fmt: skip
def test_a_lead_that_goes_with_size_is_told(gaps, better, kind):
    most = []
    for N, gap, best in zip((1e5, 3e5, 9e5), gaps, better):
        losses = {"a": [2.0 + gap + s for s in (-1e-3, 0, 1e-3)], "b": [2.0 - 1e-3, 2.0, 2.0 + 1e-3]}
        most.append(Finished(place(N), report(int(N), losses, better=None if best == "-" else best), Path()))
    found = [(each.ahead, each.behind, each.kind) for each in _crossings(["a", "b"], most)]
    assert found == ([("a", "b", kind)] if kind else [])


@pytest.mark.parametrize("gaps, told", [
    ((-0.06, -0.06), "better"), ((-0.06, -0.03), "not resolved"), ((-0.03, -0.06), "better"), ((0.06, 0.05), "worse"),
])  # fmt: skip
def test_a_verdict_stays_unless_a_lead_fades(gaps, told):
    best = "a" if gaps[-1] < 0 else "b"
    losses = [{"a": [2.0 + gap + s for s in (-1e-4, 0, 1e-4)], "b": [2.0 - 1e-4, 2.0, 2.0 + 1e-4]} for gap in gaps]
    done = [(place(N), report(int(N), each, better=best)) for N, each in zip((1e5, 3e5), losses)]
    assert foresee(place(9e5), "b", done).arms[0].verdict == told
    unresolved = [(at, report(int(at.params), each)) for (at, _), each in zip(done, losses)]
    assert foresee(place(9e5), "b", unresolved).arms[0].verdict == "not resolved"


def test_a_gate_is_read():
    gate = parse_gate(" Speedup >= 120% at 2 sizes")
    assert (gate.quantity, gate.sign, gate.value, gate.sizes) == ("speedup", ">=", pytest.approx(1.2), 2)
    assert parse_gate("score<.5 at every size").sizes is None and parse_gate("gap>-1% at 1 size").value == -0.01
    for wrong in (
        "",
        "gap",
        "gap>x at 1 size",
        "gap>1 at 0 sizes",
        "gap=1 at 1 size",
        "speedup>-1 at 1 size",
        "gap>1 at 100 sizes",
    ):
        with pytest.raises(UsageError, match="--gate"):
            parse_gate(wrong)


def test_levels_are_those_of_the_header():
    def both(text, arms):
        return levels(parse_gate(text), 0.05, arms, 3)

    assert both("gap>0 at every size", 2) == pytest.approx((0.1, 0.1 / 3))
    assert both("gap>0 at 2 sizes", 2) == pytest.approx((0.05, 0.05))
    assert both("gap>0 at 2 sizes", 4) == pytest.approx((0.1 / 3, 0.1 / 3))
    assert both("score<1 at 1 size", 4) == pytest.approx((0.1 / 12, 0.1 / 4))


@pytest.mark.parametrize("text, intervals, answer", [
    ("gap>0 at 2 sizes", [(0.1, 0.2), (0.01, 0.2), (-0.3, -0.1)], "passed"),
    ("gap>0 at 2 sizes", [(0.1, 0.2), (-0.3, -0.01), (-0.3, -0.1)], "failed"),
    ("gap>0 at 2 sizes", [(0.1, 0.2), (-0.1, 0.2), (-0.3, -0.1)], "undecided"),
    ("gap>0 at every size", [(0.1, 0.2), (0.1, 0.2), (-0.3, -0.1)], "failed"),
    ("score<2 at every size", [(1.0, 1.9), (1.0, 1.9), (1.0, 1.99)], "passed"),
    ("score<2 at 1 size", [(2.0, 2.1), (2.1, 2.2), (2.1, 2.2)], "failed"),
    ("speedup>1 at 1 size", [(1.1, None), (0.0, None), (0.0, 0.9)], "passed"),
    ("speedup<2 at 1 size", [(1.1, None), (2.0, None), (2.0, 3.0)], "undecided"),
    ("gap>=0 at 1 size", [(0.0, 0.1), (-0.1, 0.1), (-0.2, -0.1)], "passed"),
])  # fmt: skip
def test_answers_of_a_gate(text, intervals, answer):
    found = [Range(1.0, low, high) for low, high in intervals]
    assert judge_gate(parse_gate(text), "b", found, found).answer == answer
    nothing = [None, Range(1.0, None, None), None]
    assert judge_gate(parse_gate(text), "b", nothing, nothing).by_size == ["open"] * 3


def test_amounts_are_one_or_several():
    assert SIZES("200k", "--params") == 200e3 and SIZES("100k,300k,1M", "--params") == (1e5, 3e5, 1e6)
    assert SIZES(["100k", 3e5], "--params") == (1e5, 3e5) and SIZES((5e4,), "--params") == 5e4
    for wrong in ("", "1M,", "1M,100k", "many,1M", [], "100k,100k"):
        with pytest.raises(UsageError, match="--params"):
            SIZES(wrong, "--params")
