"""A corridor with a word at its beginning that says where to turn at its end.

    < . . . . . . T        seen: the word once, then the corridor, then the end; 1 for the right turn

Actions: 0 ahead, 1 one way, 2 the other. There is time for the corridor and one turn, so whoever dawdles gets nothing.
Without a memory of the first step the turn is a guess.

Source   doi 10.5555/2980539.2980731, arXiv 2307.05979    Slug  rl-survey    Family  environments
Tags     tests=memory
Differs  no reward but at the end
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.environment._base import Environment, Outcomes


class TMaze(Environment):
    variants = ({}, dict(length=1), dict(length=25))

    def __init__(self, *, length: Annotated[Count, "steps from the word to the end"] = 6) -> None:
        self.length, self.actions, self.sights, self.steps = length, 3, 4, length + 1

    @property
    def optimum(self) -> float:
        return 1.0

    def starts(self) -> np.ndarray:
        """(place, word)."""
        return np.array([[0, 0], [0, 1]])

    def outcomes(self, state: np.ndarray, action: np.ndarray) -> Outcomes:
        place, word = state.T
        turns = (place == self.length) & (action > 0)
        after = np.stack([np.minimum(place + (action == 0), self.length), word], 1)
        right = (turns & (action - 1 == word)).astype(np.int64)
        return Outcomes(np.ones((len(state), 1)), after[:, None], right[:, None], turns[:, None])

    def sight(self, state: np.ndarray) -> np.ndarray:
        place, word = state.T
        return np.where(place == self.length, 3, np.where(place == 0, word, 2))
