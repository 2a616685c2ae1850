"""Swap and recall: slots whose contents are swapped, and what the content of a slot once meant.

    n5 v2  n1 v7  n3 v2  n8 v0    n1 n8 n5    s0 s2   s1 s0   ? s2   s2 s1   ? s0

First a list of names and values, then the names that lie in slots 0, 1, 2..., then instructions of two tokens: swap
the contents of two slots, or ask for a slot. Asked at the slot behind a ?: the value of the name that now lies in it.
Names are different. A share `asked` of the instructions, the last one among them, are questions. One needs to track
the state (which name lies where) and to recall (what it means).

Shapes   ids: slots, names, values, ?, blank    chance 1/values
         T = length >= 2 pairs + slots + 2, the last place a blank where the rest is odd
Source   arXiv 2604.03444    Family  state tracking
Differs  our reading of the composite that the paper argues with; it gives no layout
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, fits


class SwapRecall(Task):
    variants = ({}, dict(slots=5, pairs=8, length=64, asked=0.0), dict(asked=1.0, slots=2, pairs=2, length=8))
    first = "ce1f8a8863a1"

    def __init__(
        self, *, slots: Annotated[Count, "slots whose contents are swapped"] = 2,
        pairs: Annotated[Count, "pairs to remember"] = 2, length: Annotated[Count, "tokens of a row"] = 24,
        names: Annotated[Count, "different names"] = 8, values: Annotated[Count, "different values"] = 8,
        asked: Annotated[float, "share of the places that are asked for"] = 0.5,
    ) -> None:  # fmt: skip
        at_least(2, slots=slots)
        fits(slots <= pairs <= names, f"swap_recall: needs slots <= pairs <= names, not {slots} <= {pairs} <= {names}")
        fits(0 <= asked <= 1, f"swap_recall: asked={asked} must lie between 0 and 1")
        need = 2 * pairs + slots + 2
        fits(length >= need, f"swap_recall: pairs={pairs}, slots={slots} need length {need} or more, not {length}")
        self.slots, self.pairs, self.length, self.names, self.values = slots, pairs, length, names, values
        self.asked = asked
        self.start = 2 * pairs + slots
        self.turns = (length - self.start) // 2
        first = slots + names
        self.vocab, self.answers = first + values + 2, range(first, first + values)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        name = self.slots + draw.distinct(self.pairs, self.names)
        value = self.answers.start + draw.below(self.values, self.pairs)
        held = np.take_along_axis(name, draw.distinct(self.slots, self.pairs), 1)
        a = draw.below(self.slots, self.turns)
        b = (a + 1 + draw.below(self.slots - 1, self.turns)) % self.slots
        ask = np.zeros((n, self.turns), bool)
        ask[:, -1] = True
        more = max(0, round(self.asked * self.turns) - 1)
        np.put_along_axis(ask, draw.order(self.turns - 1)[:, :more], True, 1)
        tokens = np.full((n, self.length), self.vocab - 1)
        tokens[:, 0 : 2 * self.pairs : 2], tokens[:, 1 : 2 * self.pairs : 2] = name, value
        tokens[:, 2 * self.pairs : self.start] = held
        end = self.start + 2 * self.turns
        tokens[:, self.start : end : 2] = np.where(ask, self.vocab - 2, b)
        tokens[:, self.start + 1 : end : 2] = a
        targets = self.solve(tokens)
        targets[:, : self.start] = targets[:, end:] = -1
        targets[:, self.start : end : 2] = -1
        targets[:, self.start + 1 : end : 2][~ask] = -1
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        return self._answers(tokens, moved=True)

    def _answers(self, tokens: np.ndarray, moved: bool) -> np.ndarray:
        rows, found = np.arange(len(tokens)), np.zeros_like(tokens)
        meaning = np.zeros((len(tokens), self.vocab), np.int64)
        np.put_along_axis(meaning, tokens[:, : 2 * self.pairs : 2], tokens[:, 1 : 2 * self.pairs : 2], 1)
        held = tokens[:, 2 * self.pairs : self.start].copy()
        for t in range(self.start, self.length - 1, 2):
            first, second = tokens[:, t], tokens[:, t + 1] % self.slots
            found[:, t + 1] = meaning[rows, held[rows, second]]
            other = np.where(first < self.slots, first, second)
            if moved:
                held[rows, other], held[rows, second] = held[rows, second], held[rows, other]
        return found

    def baselines(self) -> dict[str, Predictor]:
        """unmoved: the answers of one who never swaps."""

        def unmoved(tokens: np.ndarray) -> np.ndarray:
            whole = np.pad(tokens, ((0, 0), (0, self.length - tokens.shape[1])), constant_values=-1)
            return self._answers(whole, moved=False)[:, : tokens.shape[1]]

        return {"unmoved": unmoved}
