"""Losses along training and over sizes: time to a target, arms that may change places, and scaling fits.

time to target   first crossing of the target, linear in (ln tokens, loss). Compare arms by ln(tokens), as a table
                 of one group; a run that never gets there is only "more than" its last token count.
may cross        per seed, gap at the end + slope ln 4, slope of the gap against ln tokens over the last half; told only
                 of a gap that is there and narrows beyond the chance of seeds, or every noisy pair would be told
gap by size      the same of sizes, whose runs share no seeds: gap and slope against ln N by least squares over all
                 sizes, their variances from the spread of gaps over seeds, pooled over sizes
scaling          L(N) = E + A N^-alpha, E >= 0 and A >= 0, least squares with alpha profiled. Intervals by
                 parametric bootstrap: the fitted curve plus normal noise of the spread over seeds, pooled over
                 sizes, is fitted again. Nominal 95% intervals cover about 90%: say so where they are shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from blockyard.core.errors import UsageError

FAR = 2.0
EXPONENTS = 0.01, 3.0


def time_to_target(tokens: Sequence[float], losses: Sequence[float], target: float) -> float | None:
    """Tokens at which a loss curve first reaches the target, None if it never does.

    A curve below the target from its first point on gives that point: an upper bound.
    """
    if len(tokens) != len(losses) or not len(tokens) or (np.diff(tokens) <= 0).any():
        raise UsageError("a loss curve needs one loss per token count, in rising order")
    reached = np.flatnonzero(np.asarray(losses, np.float64) <= target)
    if not len(reached):
        return None
    i = int(reached[0])
    if i == 0 or not math.isfinite(losses[i - 1]):
        return float(tokens[i])
    part = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
    return float(tokens[i - 1] * (tokens[i] / tokens[i - 1]) ** part)


def may_cross(tokens: Sequence[float], gaps: Sequence[Sequence[float]], factor: float = 4.0) -> bool | None:
    """Whether two arms may have changed places at `factor` times the tokens; gaps are a - b, a row per seed.

    The 95% intervals of the gap and of its slope exclude 0, the slope leads towards 0, and the 95% interval of the gap
    carried on contains 0 or lies on the other side of it. None: fewer than 2 seeds.
    """
    from scipy.special import stdtrit

    rows, x = np.asarray(gaps, np.float64), np.log(np.asarray(tokens, np.float64))
    if rows.ndim != 2 or rows.shape[1] != len(x) or len(x) < 4:
        raise UsageError("a crossing needs a row of gaps per seed at 4 or more shared token counts")
    if len(rows) < 2:
        return None
    late = x[len(x) // 2 :] - x[len(x) // 2 :].mean()
    slopes = rows[:, len(x) // 2 :] @ late / (late @ late)
    t = float(stdtrit(len(rows) - 1, 0.975)) / math.sqrt(len(rows))

    def interval(values: np.ndarray) -> tuple[float, float]:
        return float(values.mean()), t * float(np.std(values, ddof=1))

    (now, about), (slope, around) = interval(rows[:, -1]), interval(slopes)
    ahead, half = interval(rows[:, -1] + slopes * math.log(factor))
    narrows = abs(now) > about and abs(slope) > around and now * slope < 0
    return narrows and (abs(ahead) <= half or ahead * now <= 0)


@dataclass(frozen=True)
class GapBySize:
    """The gap of two arms, a - b, over sizes: at the largest, its slope against ln N, and carried on; with half the
    width of each 95% interval."""

    now: tuple[float, float]
    slope: tuple[float, float]
    ahead: tuple[float, float]

    @property
    def moves(self) -> bool:
        """Whether the gap is known to change with size."""
        return abs(self.slope[0]) > self.slope[1]

    @property
    def fades(self) -> bool:
        """Whether the gap is there, its slope leads towards 0, and carried on it may be 0 or on the other side."""
        (now, about), (slope, _), (ahead, half) = self.now, self.slope, self.ahead
        return abs(now) > about and self.moves and now * slope < 0 and (abs(ahead) <= half or ahead * now <= 0)


def gap_by_size(
    sizes: Sequence[float], a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], factor: float = 4.0
) -> GapBySize | None:
    """How the gap of two arms goes with size, and on to `factor` times the largest; a row of losses per size.

    None: fewer than 2 sizes, or too few seeds.
    """
    from scipy.special import stdtrit

    freedom = sum(len(row) - 1 for row in (*a, *b))
    if len(sizes) < 2 or freedom < 2:
        return None
    order = np.argsort(sizes)
    x = np.log(np.asarray(sizes, np.float64)[order])
    gaps = np.array([np.mean(a[i]) - np.mean(b[i]) for i in order])
    spread = sum(float(np.var(row)) * len(row) for row in (*a, *b)) / freedom
    variances = np.array([spread / len(a[i]) + spread / len(b[i]) for i in order])
    rule = (x - x.mean()) / np.square(x - x.mean()).sum()
    last = np.eye(len(x))[-1]
    t = -float(stdtrit(freedom, 0.025))

    def about(weights: np.ndarray) -> tuple[float, float]:
        return float(weights @ gaps), t * math.sqrt(float(weights**2 @ variances))

    return GapBySize(about(last), about(rule), about(last + math.log(factor) * rule))


@dataclass(frozen=True)
class Prediction:
    """A loss read off a scaling fit. `far` marks more than twice the largest size seen."""

    size: float
    loss: float
    low: float
    high: float
    far: bool


@dataclass(frozen=True)
class Scaling:
    """L(N) = floor + factor N^-exponent; `draws` holds one (floor, factor, exponent) per bootstrap draw."""

    floor: float
    factor: float
    exponent: float
    largest: float
    draws: np.ndarray = field(repr=False, compare=False)

    def interval(self, name: str) -> tuple[float, float]:
        """95% interval of floor, factor or exponent."""
        return middle(self.draws[:, ("floor", "factor", "exponent").index(name)])

    def predict(self, size: float) -> Prediction:
        """The loss at a size, with its 95% interval."""
        curves = self.draws[:, 0] + self.draws[:, 1] * size ** -self.draws[:, 2]
        loss = self.floor + self.factor * size**-self.exponent
        return Prediction(float(size), loss, *middle(curves), size > FAR * self.largest)


def fit_scaling(
    sizes: Sequence[float], losses: Sequence[Sequence[float]], *, draws: int = 1000, seed: int = 0
) -> Scaling:
    """The curve through the mean losses of each size (a row of seeds per size); 4 sizes and 3 seeds are the least."""
    if len(sizes) < 4 or len(set(sizes)) < len(sizes):
        raise UsageError(f"a scaling fit needs 4 or more distinct sizes; got {list(sizes)}")
    if len(losses) != len(sizes) or min(len(row) for row in losses) < 3:
        raise UsageError("a scaling fit needs 3 or more seeds at every size")
    rows = [np.sort(np.asarray(losses[i], np.float64)) for i in np.argsort(sizes)]
    if not all(np.isfinite(row).all() for row in rows) or min(sizes) <= 0:
        raise UsageError("a scaling fit needs sizes above 0 and finite losses")
    size = np.sort(np.asarray(sizes, np.float64))
    seeds, means = np.array([len(row) for row in rows]), np.array([row.mean() for row in rows])
    spread = math.sqrt(sum(float(row.var()) * len(row) for row in rows) / (seeds.sum() - len(rows)))
    best = _fit_curves(size, means[None], seeds)[0]
    fitted = best[0] + best[1] * size ** -best[2]
    noise = np.random.default_rng(seed).standard_normal((draws, len(size))) * spread / np.sqrt(seeds)
    again = _fit_curves(size, fitted + noise, seeds)
    return Scaling(float(best[0]), float(best[1]), float(best[2]), float(size[-1]), again)


def _fit_curves(size: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Floor, factor and exponent for every row of y: a grid of exponents, then a golden section around the best."""
    centre = math.exp(float(np.log(size).mean()))
    grid = np.geomspace(*EXPONENTS, 80)
    losses = np.stack([_line(size / centre, y, weights, np.full(len(y), alpha))[2] for alpha in grid])
    best = np.clip(losses.argmin(0), 1, len(grid) - 2)
    low, high = grid[best - 1], grid[best + 1]
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(45):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        keep = _line(size / centre, y, weights, left)[2] <= _line(size / centre, y, weights, right)[2]
        low, high = np.where(keep, low, left), np.where(keep, right, high)
    alpha = (low + high) / 2
    floor, factor, _ = _line(size / centre, y, weights, alpha)
    return np.stack([floor, factor * centre**alpha, alpha], axis=1)


def _line(
    size: np.ndarray, y: np.ndarray, weights: np.ndarray, alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted least squares of every row on size^-alpha with E >= 0 and A >= 0: E, A and the residual square sum."""
    x, w = size ** -alpha[:, None], weights / weights.sum()
    x_mean, y_mean = x @ w, y @ w
    dx, dy = x - x_mean[:, None], y - y_mean[:, None]
    factor = np.maximum((dx * dy) @ w / ((dx * dx) @ w), 0)
    floor = y_mean - factor * x_mean
    through_zero = (x * y) @ w / ((x * x) @ w)
    factor, floor = np.where(floor < 0, through_zero, factor), np.maximum(floor, 0)
    return floor, factor, ((y - floor[:, None] - factor[:, None] * x) ** 2) @ w


def middle(values: np.ndarray) -> tuple[float, float]:
    """The 95% in the middle."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
