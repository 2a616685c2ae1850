"""A learning rate for every arm from the same few trials: a parabola whose curvature all arms share.

Taking the best of the grid carries the luck of one tuning run into all final seeds of an arm. A parabola through the
best trial and its neighbours, with the curvature averaged over arms, does not. With x_j = log2 rate_j at step h and
losses L[a,j], per arm j* = argmin_j L[a,j] clipped to the interior and y0, y1, y2 = L at j*-1, j*, j*+1:

    chat = mean over arms of (y0 - 2 y1 + y2) / (2 h^2), at least 1e-6
    x_a  = x_{j*} + (y0 - y2) / (2 h) / (2 chat), clipped to [x_{j*-1}, x_{j*+1}]

A loss that is not finite counts as the worst finite loss of the arm plus the range of its finite ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from blockyard.core.errors import UsageError

RATES = (2.5e-3, 5e-3, 1e-2, 2e-2)  # at width 64; one octave apart
UNTUNED = RATES[1]


def fit_rates(rates: Sequence[float], losses: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, bool]]:
    """Per arm the rate to train at, and whether its best trial lay at an edge of the grid.

    An arm none of whose trials is finite gets the lowest rate, marked as at the edge, and says nothing of curvature.
    """
    check_rates(rates)
    x = np.log2(np.asarray(rates, np.float64))
    h = float(np.diff(x).mean())
    trials = {arm: np.asarray(losses[arm], np.float64) for arm in sorted(losses)}
    if wrong := [arm for arm, values in trials.items() if values.shape != x.shape]:
        raise UsageError(f"arm {wrong[0]!r} has {len(trials[wrong[0]])} trials for {len(x)} rates")
    usable = {arm: _filled(values) for arm, values in trials.items() if np.isfinite(values).any()}
    curve = pooled_curvature(usable, h)
    chosen = {arm: (float(rates[0]), True) for arm in trials}
    for arm, values in usable.items():
        j, y0, _, y2 = _neighbours(values)
        shift = np.clip((y0 - y2) / (2 * h) / (2 * curve), -h, h)
        best = int(np.argmin(values))
        # Six digits: the rate is part of a run's identity, the last bits of a logarithm are not.
        chosen[arm] = float(f"{2 ** (x[j] + shift):.5e}"), best in (0, len(x) - 1)
    return chosen


def check_rates(rates: Sequence[float]) -> None:
    """Refuse a grid that no parabola can be laid through."""
    steps = np.diff(np.log2(rates)) if len(rates) and min(rates) > 0 else np.zeros(0)
    if len(steps) < 2 or steps[0] <= 0 or not np.allclose(steps, steps[0], rtol=1e-3):
        raise UsageError(f"tuning needs 3 or more rates in rising order and even ratios; got {list(rates)}")


def pooled_curvature(losses: Mapping[str, np.ndarray], h: float) -> float:
    """chat: the mean curvature around each arm's best trial."""
    bends = []
    for arm in sorted(losses):
        _, y0, y1, y2 = _neighbours(losses[arm])
        bends.append((y0 - 2 * y1 + y2) / (2 * h * h))
    return max(float(np.mean(bends)), 1e-6) if bends else 1e-6


def _neighbours(values: np.ndarray) -> tuple[int, float, float, float]:
    j = int(np.clip(np.argmin(values), 1, len(values) - 2))
    return j, float(values[j - 1]), float(values[j]), float(values[j + 1])


def _filled(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)]
    worst, spread = float(finite.max()), float(np.ptp(finite))
    # One finite trial has no range; a hundredth of its loss keeps it the best.
    return np.where(np.isfinite(values), values, worst + (spread or 0.01 * abs(worst) or 1.0))
