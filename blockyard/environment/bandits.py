"""Arms that pay 1 with a chance of their own, which nobody knows: what has paid so far is all there is.

    chance that arm a pays = (won_a + 1) / (won_a + lost_a + 2)        seen: nothing yet, lost, won

These are the chances of one who believes every rate as likely, so rows are those of arms whose rates are drawn evenly
between 0 and 1, and the best plan is the best that anybody can do who is not told them.

Source   arXiv 2307.05979, 2306.14892    Slug  rl-survey    Family  environments
Tags     tests=in-context, agent=in-context, data=offline
Differs  two or three arms and few pulls, so that the best plan is exact
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.environment._base import Environment, Outcomes


class Bandits(Environment):
    variants = ({}, dict(arms=3, steps=4), dict(arms=1, steps=3))

    def __init__(
        self, *, arms: Annotated[Count, "arms to choose among"] = 2, steps: Annotated[Count, "pulls of an episode"] = 6
    ) -> None:
        self.arms, self.actions, self.sights, self.steps = arms, arms, 3, steps

    @property
    def optimum(self) -> float | None:
        """Of one arm: half of the pulls."""
        return self.steps / 2 if self.arms == 1 else None

    def starts(self) -> np.ndarray:
        """(lost, won of every arm, what is seen)."""
        return np.zeros((1, 2 * self.arms + 1), np.int64)

    def outcomes(self, state: np.ndarray, action: np.ndarray) -> Outcomes:
        rows, after = np.arange(len(state)), np.repeat(state[:, None], 2, 1)
        lost, won = (state[rows, 2 * action + k] for k in range(2))
        pays = (won + 1) / (won + lost + 2)
        for k in range(2):
            after[rows, k, 2 * action + k] += 1
            after[:, k, -1] = 1 + k
        reward = np.tile(np.arange(2), (len(state), 1))
        return Outcomes(np.stack([1 - pays, pays], 1), after, reward, np.zeros_like(reward, dtype=bool))

    def sight(self, state: np.ndarray) -> np.ndarray:
        return state[:, -1]
