"""Say again what stood a fixed number of tokens before.

    a b c d e f                       asked from the `lag`-th place on: with lag 2, at c: a, at d: b, ...

Shapes   ids: `symbols` of them    T = length    chance 1 / symbols
Source   none    Family  copying
Differs  nothing known
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, fits


class MyTask(Task):
    """`grows` names the settings that a longer version of the task multiplies; by default the length."""

    def __init__(
        self, *, length: Annotated[Count, "tokens of a row"] = 32, lag: Annotated[Count, "how far to look back"] = 4,
        symbols: Annotated[Count, "different tokens"] = 16,
    ) -> None:  # fmt: skip
        at_least(2, symbols=symbols)
        fits(lag < length, f"lag={lag} must be below length={length}")
        self.length, self.lag, self.symbols = length, lag, symbols  # settings are kept under their names
        self.vocab, self.answers = symbols, range(symbols)

    def sample(self, seed: int, n: int) -> Examples:
        tokens = Draw(seed, n).below(self.symbols, self.length)
        targets = self.solve(tokens)
        targets[:, : self.lag] = -1  # nothing is asked here
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        return np.roll(tokens, self.lag, axis=1)

    def baselines(self) -> dict[str, Predictor]:
        return {"last": lambda tokens: tokens}
