"""A light that is on or off, and a switch: each step in the light pays 1.

    seen: 0 dark, 1 light        actions: 0 wait, 1 press; the switch works every other time on average

Source   none
Family   environments
Differs  nothing known
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.environment._base import Environment, Outcomes


class MyEnvironment(Environment):
    """From these three functions follow the best plan, by dynamic programming, and episodes, thousands at once."""

    variants = ({}, dict(steps=3))

    def __init__(self, *, steps: Annotated[Count, "actions of an episode"] = 8) -> None:
        self.actions, self.sights, self.steps = 2, 2, steps  # settings are kept under their names

    def starts(self) -> np.ndarray:
        """(light): every state is a row of whole numbers; each start is as likely."""
        return np.array([[0], [1]])

    def outcomes(self, state: np.ndarray, action: np.ndarray) -> Outcomes:
        """All that can come of an action, one column each; here that nothing changes, and that the light does."""
        changes = np.where(action == 1, 0.5, 0.0)
        after = np.stack([state, 1 - state], 1)
        return Outcomes(np.stack([1 - changes, changes], 1), after, after[..., 0], np.zeros(after.shape[:2], bool))

    def sight(self, state: np.ndarray) -> np.ndarray:
        return state[:, 0]
