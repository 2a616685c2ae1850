"""Linear regression in context: vectors and numbers that one hidden vector explains; each number is asked before it.

    (0, x_1) (y_1, 0) (0, x_2) (y_2, 0) ...        y_i = w.x_i + noise e_i        asked at x_i: y_i
    w, x_i ~ N(0,I), e_i ~ N(0,1), new ones in every example

With noise the best there is is the ridge with lam = noise^2, the posterior mean; without noise, the shortest w of the
least error.

Shapes   tokens (n, 2 points, dim + 1)   targets (n, 2 points, 1), not a number where nothing is asked
Source   arXiv 2211.15661    Slug  icl-linear    Family  in context
Differs  least squares have no finite expected error where examples are as many as numbers, give or take one
"""

from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count, NonNegative
from blockyard.predictor import rules
from blockyard.task._in_context import InContextTask


class Regression(InContextTask):
    variants = ({}, dict(dim=5, points=11, noise=0.0), dict(dim=2, points=7, noise=1.0), dict(dim=1, points=2))
    first = "9503489d4082"

    def __init__(
        self, *, dim: Annotated[Count, "numbers of a vector"] = 2, points: Annotated[Count, "pairs of an example"] = 5,
        noise: Annotated[NonNegative, "the deviation of the noise on every y"] = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(dim, points, noise, dim, rules(noise))

    def pairs(self, seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        draw = Draw(seed, n)
        w, x, noise = draw.normal(1, self.dim), draw.normal(self.points, self.dim), draw.normal(self.points)
        return x, (w * x).sum(-1) + self.noise * noise
