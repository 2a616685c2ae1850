"""The noise floor: how far seeds of the baseline spread, and how many seeds a try then needs for the stated effect.

FLOOR runs at first, then one more at a time until the bounds of their spread (sight.py) agree on whether the budget of
seeds is enough, FLOOR_MOST at most. A try may take what the upper bound needs, or, if that is too much, what the
spread as it was measured needs. These runs judge no change.
"""

import math

import numpy as np

from blockyard.compare.judge.tuning import UNTUNED
from blockyard.core import numbers
from blockyard.core.errors import UsageError
from blockyard.referee import sight
from blockyard.referee.court import Court
from blockyard.referee.ledger import Asked, Ledger
from blockyard.referee.words import share
from blockyard.task._metric import Metric

FLOOR, FLOOR_MOST = 4, 10
LARGEST = 10.0  # spreads of a difference: a larger effect needs no fewer seeds


def begun(court: Court, asked: Asked) -> Ledger:
    """The ledger of a baseline whose noise is measured; UsageError where the effect cannot be seen through it."""
    plan = court.store.plan
    arm, metric = plan.arms[0].id, plan.metric
    court.watch.say("tuning the baseline, and measuring how far its seeds spread ...")
    rate = UNTUNED if asked.tuning == "none" else court.rate(arm)
    floor: list[float] = []
    while True:
        more = FLOOR if not floor else 1
        for run in court.runs("tune", *((arm, len(floor) + i, rate) for i in range(more))):
            if run.score is None or not run.finished:
                raise UsageError(f"the baseline fails ({run.reason}); a referee needs one that trains at every seed")
            floor.append(run.score)
        scale = 1.0 if metric.share else abs(float(np.mean(floor)))
        if not scale:
            raise UsageError("the baseline's score is 0: a change cannot be a share of it; take another task")
        low, spread, high = sight.spread_of([score / scale for score in floor])
        needs = [seeds_of(asked.effect, each, asked.alpha) or numbers.TRY_SEEDS.most + 1 for each in (low, high)]
        if needs[1] <= asked.budget or needs[0] > asked.budget or len(floor) == FLOOR_MOST:
            break
    most = seeds_of(asked.effect, high if needs[1] <= asked.budget else spread, asked.alpha)
    if most is None or most > asked.budget:
        raise _unseen(asked, spread, high, metric)
    return Ledger(asked, arm, rate, metric, scale, floor, spread, most)


def seeds_of(effect: float, spread: float, alpha: float) -> int | None:
    """The most seeds of a try that is to find this effect; None where no number is enough."""
    return sight.most_seeds(ratio(effect, spread), alpha)


def ratio(effect: float, spread: float) -> float:
    """The effect in spreads of a difference, as far as more of it says more."""
    return min(LARGEST, effect / spread) if spread else LARGEST


def _unseen(asked: Asked, spread: float, high: float, metric: Metric) -> UsageError:
    """The refusal; what it names is sure to be taken, since it allows for the upper bound of the spread."""
    seen = math.ceil(1e4 * sight.smallest(asked.budget, asked.alpha) * high) / 1e4
    needed = seeds_of(asked.effect, high, asked.alpha)
    more = f", --seeds {needed}" if needed else ""
    return UsageError(
        f"{asked.budget} seeds a try cannot see an effect of {share(asked.effect, metric)}: two runs of the baseline "
        f"differ by {share(spread, metric)}; the smallest that they surely see is {share(seen, metric)}: "
        f"--effect {seen:.4g}{more} or longer training"
    )
