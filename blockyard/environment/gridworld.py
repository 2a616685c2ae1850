"""A square room whose far corner is to be reached soon: each step costs 1.

    seen: the place itself        actions: 0 up, 1 right, 2 down, 3 left; a wall stops

With chance `slip` any of the actions is done. An episode begins anywhere but at the goal and ends there, or when its
time is up.

Source   arXiv 2307.05979    Slug  rl-survey    Family  environments
Tags     tests=credit
Differs  our reading: the survey names no room
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count, Fraction
from blockyard.environment._base import Environment, Outcomes

WAYS = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])


class Gridworld(Environment):
    variants = ({}, dict(size=3, slip=0.3), dict(size=2))

    def __init__(
        self, *, size: Annotated[Count, "places of a side, at least 2"] = 7,
        slip: Annotated[Fraction, "how often any action is done in place of the chosen one"] = 0.0,
    ) -> None:  # fmt: skip
        self.size, self.slip = max(2, size), slip
        self.actions, self.sights, self.steps = 4, self.size**2, 2 * self.size + round(4 * slip * self.size)

    @property
    def optimum(self) -> float | None:
        """Less the mean way to the goal, where nobody slips."""
        return None if self.slip else -float((2 * (self.size - 1) - self.starts().sum(1)).mean())

    def starts(self) -> np.ndarray:
        """(row, column)."""
        return np.stack(np.divmod(np.arange(self.size**2 - 1), self.size), 1)

    def outcomes(self, state: np.ndarray, action: np.ndarray) -> Outcomes:
        after = np.clip(state[:, None] + WAYS, 0, self.size - 1)
        chance = (1 - self.slip) * (action[:, None] == np.arange(4)) + self.slip / 4
        ended = (after == self.size - 1).all(2)
        return Outcomes(chance, after, np.full(chance.shape, -1), ended)

    def sight(self, state: np.ndarray) -> np.ndarray:
        return state @ np.array([self.size, 1])
