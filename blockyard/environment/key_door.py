"""A key, then apples, then a door: what is done first pays last, behind rewards that have nothing to do with it.

    k . . . . . D        each thing stands left or right, which is seen: the key once, an apple a step, the door
    apple: 1, every other time by chance        door: `prize` for whoever has the key        all else: 0

Actions: 0 left, 1 right; who goes to a thing gets it. Taking the key pays nothing then, and its worth stands behind
`length` rewards that vary by chance: whoever looks less far ahead does not know why to take it.

Source   arXiv 1810.06721, 2307.05979    Slug  rl-survey    Family  environments
Tags     tests=delay
Differs  two ways to go in place of rooms to walk in; our reading of which rewards distract
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.environment._base import Environment, Outcomes


class KeyDoor(Environment):
    variants = ({}, dict(length=1, prize=5), dict(length=20))

    def __init__(
        self, *, length: Annotated[Count, "apples between the key and the door"] = 6,
        prize: Annotated[Count, "what the door pays"] = 2,
    ) -> None:  # fmt: skip
        self.length, self.prize = length, prize
        self.actions, self.sights, self.steps = 2, 6, length + 2

    @property
    def optimum(self) -> float:
        return self.length / 2 + self.prize

    def starts(self) -> np.ndarray:
        """(place, side of what stands there, whether the key was taken)."""
        return np.array([[0, 0, 0], [0, 1, 0]])

    def outcomes(self, state: np.ndarray, action: np.ndarray) -> Outcomes:
        place, side, key = state[:, None].transpose(2, 0, 1)  # (n,1) each
        got, door = action[:, None] == side, place > self.length
        next_side, ripe = np.divmod(np.arange(4), 2)  # of the next thing, and of this apple
        after = np.broadcast_arrays(np.minimum(place + 1, self.length + 1), next_side, key | (got & (place == 0)))
        pays = np.where(door, self.prize * key, np.where(place == 0, 0, ripe)) * got
        return Outcomes(np.full(pays.shape, 0.25), np.stack(after, 2), pays, np.broadcast_to(door, pays.shape))

    def sight(self, state: np.ndarray) -> np.ndarray:
        place, side, _ = state.T
        return 2 * np.where(place > self.length, 2, np.minimum(place, 1)) + side
