"""How many times the training a baseline would need to come to the loss of another arm.

    speed-up   S = (L_b / L_a)^(1 / beta)       beta = -d ln L_b / d ln D, how fast the baseline's loss falls with data

The baseline's loss goes on as L_b (D' / D)^-beta, a straight line through its score in (ln tokens, ln loss), which
meets L_a at D' = S D. A true curve has a floor and falls ever slower: of an arm that is ahead the baseline would need
more than S says, of one that is behind it would need less far back, so S leans to the careful side of the arm's gain.
Which side of 1 it lies on follows from the difference of the scores alone. It is a factor of the baseline's tokens, and
so of its operations.

beta       by tokens: the baseline's scores at several numbers of tokens, the secant between the neighbours of D
           by curves: the slope of its training loss over the last three quarters of its tokens, where that is the
           score's kind of loss. Within one schedule, and on the text that is trained on, a loss need not fall as whole
           runs of several lengths do: how far S is from 1 is rough then, its side of 1 is not
interval   ln(L_b / L_a) from the simultaneous interval of the difference at 0.8 of the level, beta from its spread over
           seeds at 0.2 of it; S over the corners of both. The spread of beta relative to it is pooled over all arms and
           sizes: three seeds alone say nothing of it at the levels that several sizes need
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from blockyard.compare.judge.spread import Part

GAP, SLOPE = 0.8, 0.2  # shares of the level
LATE = 0.25  # of the tokens of a curve: what lies before is warm-up and first steps
FEWEST_POINTS = 6  # of a curve behind that


class Range(NamedTuple):
    """A figure with the ends of its interval; an end that is None is open."""

    value: float
    low: float | None
    high: float | None

    def through(self, turn: Callable[[float], float]) -> "Range":
        """The same of a rising function of the figure."""
        low, high = (None if end is None else turn(end) for end in (self.low, self.high))
        return Range(turn(self.value), low, high)


def slope_of_curve(curve: Sequence[tuple[float, float | None]]) -> float | None:
    """-d ln L / d ln D of a learning curve of (tokens, loss); None where it has too few points or no positive loss."""
    points = [(tokens, loss) for tokens, loss in curve if tokens >= LATE * curve[-1][0] and loss and loss > 0]
    if len(points) < FEWEST_POINTS:
        return None
    x, y = np.log(np.array(points, np.float64)).T
    x = x - x.mean()
    return -float(x @ y) / float(x @ x)


def slope_of_tokens(tokens: Sequence[float], losses: Sequence[Sequence[float]], at: int) -> tuple[float, float]:
    """-d ln L / d ln D between the neighbours of one number of tokens, and the factor on the relative variance of runs.

    tokens, losses   in rising order, with a row of losses over seeds for each; 2 or more
    """
    first, last = max(0, at - 1), min(len(tokens) - 1, at + 1)
    wide = math.log(tokens[last] / tokens[first])
    fall = math.log(float(np.mean(losses[first])) / float(np.mean(losses[last])))
    return fall / wide, (1 / len(losses[first]) + 1 / len(losses[last])) / wide**2


def relative(rows: Sequence[Sequence[float]]) -> Part:
    """The variance over seeds relative to the square of the mean, pooled over rows; no freedom: no row has two."""
    squares, freedom = 0.0, 0
    for row in rows:
        values = np.asarray(row, np.float64)
        if len(values) > 1 and values.mean():
            squares += float(np.square(values / values.mean() - 1).sum())
            freedom += len(values) - 1
    return Part(squares / freedom if freedom else 0.0, float(freedom))


def about(value: float, variance: float, freedom: float, level: float) -> Range:
    """A figure with its interval at a level; open where nothing is known of its spread."""
    from scipy.special import stdtrit

    if freedom < 1:
        return Range(value, None, None)
    half = -float(stdtrit(freedom, level / 2)) * math.sqrt(variance)
    return Range(value, value - half, value + half)


def ratio(baseline: float, better_by: Range) -> Range | None:
    """ln(L_b / L_a) from the difference L_b - L_a, infinite at an end where L_a may be 0; None where a mean is not
    above 0."""
    if baseline <= 0 or baseline - better_by.value <= 0:
        return None
    return better_by.through(lambda gap: math.log(baseline / (baseline - gap)) if gap < baseline else math.inf)


def speedup(log_ratio: Range, slope: Range) -> Range | None:
    """S with its interval: from `low`, 0 at least, to `high`, None where it is open; None where the loss did not fall.

    Without an interval of the two figures there is none of S: low and high are None.
    """
    if slope.value <= 0:
        return None
    value = _raised(log_ratio.value, slope.value)
    if log_ratio.low is None or log_ratio.high is None or slope.low is None or slope.high is None:
        return Range(value, None, None)
    low = _raised(log_ratio.low, slope.high if log_ratio.low > 0 else slope.low)
    high = _raised(log_ratio.high, slope.low if log_ratio.high > 0 else slope.high)
    return Range(value, low, None if math.isinf(high) else high)


def _raised(log_ratio: float, slope: float) -> float:
    """exp(log_ratio / slope); a slope that may be 0 leads to where nothing is known."""
    if slope <= 0:
        return math.inf if log_ratio > 0 else 0.0 if log_ratio < 0 else 1.0
    return math.exp(min(log_ratio / slope, 700.0)) if log_ratio / slope < 700 else math.inf
