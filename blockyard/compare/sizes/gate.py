"""A gate: a condition on the arms that is written down before the first run, and whether each arm passed it.

    speedup>1 at 2 sizes        gap>=1% at every size        score<1.9 at 1 size

speedup   how many times the training of the arm the baseline would need      gap     by how much it is better than the
baseline, in the unit of the score, or with % as a share of the baseline's    score   its own score

It holds at a size where the whole interval lies on the right side, does not where the whole interval lies on the other,
and is open else. Of K sizes n are needed:

    passed     it holds at n sizes or more        failed     it does not at more than K - n        undecided   else

How often does an arm pass that truly meets the gate at fewer than n sizes? At K - n + 1 sizes or more it does not meet
it, and at one of them its interval must have missed its truth. With intervals of level l at every size, which hold for
all arms of a size at once, that has a chance of at most (K - n + 1) l for one arm, hence (A - 1)(K - n + 1) l for all
of A - 1, and of at most K l by the sizes alone. So

    l = alpha / min(K, (A - 1)(K - n + 1))        passing: any arm wrongly passes with a chance of at most alpha
    l = alpha / min(K, (A - 1) n)                 failing: any arm wrongly fails with a chance of at most alpha

A gate at every size of two arms so costs nothing: an arm must pass alpha's own interval everywhere. Scores have
intervals of each arm by itself: all A arms are judged, and only the bounds A (K - n + 1) and A n hold.

A gate asks for one side of an interval, which misses half as often as both do: the intervals used have level 2 l. Of
several arms against one the chance q of one side is a little more than half, q <= l + q^2 / 2, as differences to one
baseline go together; the fifth of the level that the judge keeps back (critical.py) covers it.

Source   arXiv 2105.09032 (conditions on some of several hypotheses)
"""

import re
from collections.abc import Sequence

from blockyard.compare.judge.speedup import Range
from blockyard.compare.sizes.documents import Gate, GateAnswer
from blockyard.core.errors import UsageError, unknown

QUANTITIES = ("speedup", "gap", "score")
PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
EXAMPLE = "for example --gate 'speedup>1 at 2 sizes', or 'gap>=1% at every size'"
WORDS = re.compile(
    r"\s*([a-z]+)\s*(>=|<=|>|<)\s*([+-]?[0-9]*\.?[0-9]+)\s*(%?)\s+at\s+(?:every\s+size|([0-9]+)\s+sizes?)\s*"
)


def parse_gate(text: str) -> Gate:
    """The gate that these words are; UsageError where they are none."""
    found = WORDS.fullmatch(text.lower())
    if found is None:
        raise UsageError(f"--gate {text[:60]!r} is not QUANTITY>NUMBER at N sizes; {EXAMPLE}")
    quantity, sign, value, percent, count = found.groups()
    if quantity not in QUANTITIES:
        raise unknown("quantity of a gate", quantity, QUANTITIES)
    times = None if count is None else int(count)
    if times is not None and not 1 <= times <= 99:
        raise UsageError(f"--gate {text[:60]!r}: it must hold at 1 size or more, at most 99")
    number = float(value) / (100 if percent else 1)
    if quantity == "speedup" and number <= 0:
        raise UsageError(f"--gate {text[:60]!r}: a speed-up is a factor above 0, 1 for none")
    return Gate(text.strip(), quantity, sign, number, bool(percent), times)


def levels(gate: Gate, alpha: float, arms: int, sizes: int) -> tuple[float, float]:
    """The level of the intervals for passing, and that for failing: 2 l of the header."""
    needed = gate.needed(sizes)
    wrong = sizes - needed + 1, needed  # at how many sizes one interval must have missed, to pass and to fail
    if gate.quantity == "score":
        return 2 * alpha / (arms * wrong[0]), 2 * alpha / (arms * wrong[1])
    passing, failing = (min(sizes, max(arms - 1, 1) * each) for each in wrong)
    return 2 * alpha / passing, 2 * alpha / failing


def judge_gate(gate: Gate, arm: str, passing: Sequence[Range | None], failing: Sequence[Range | None]) -> GateAnswer:
    """What became of an arm, from its intervals at every size for passing and for failing."""
    needed, sizes = gate.needed(len(passing)), len(passing)
    holds = [_holds(gate, each) is True for each in passing]
    fails = [_holds(gate, each) is False for each in failing]
    said = ["yes" if yes else "no" if no else "open" for yes, no in zip(holds, fails)]
    answer = PASSED if sum(holds) >= needed else FAILED if sum(fails) > sizes - needed else UNDECIDED
    return GateAnswer(arm, answer, said)


def _holds(gate: Gate, found: Range | None) -> bool | None:
    """Whether a whole interval lies where the gate wants it (True), or where it does not (False); None: neither.

    Of a speed-up alone an end may be open: its low end is then known, and its high end as far as can be.
    """
    if found is None or found.low is None:
        return None
    low, high = found.low, found.high
    if gate.sign.startswith(">"):
        yes = low >= gate.value if gate.sign == ">=" else low > gate.value
        no = high is not None and (high < gate.value if gate.sign == ">=" else high <= gate.value)
    else:
        yes = high is not None and (high <= gate.value if gate.sign == "<=" else high < gate.value)
        no = low > gate.value if gate.sign == "<=" else low >= gate.value
    return True if yes else False if no else None
