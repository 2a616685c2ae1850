"""Softmax regression in context: rows and their weights under a hidden vector; the weights of further rows are asked.

    (n b_1, a_1) ... (n b_n, a_n) (0, q_1) ... (0, q_m)        asked at q_j: its score q_j.x
    b = softmax(A x + noise e)        x ~ N(0, size^2 / d I)    a_i, q_j, e ~ N(0,I)        new ones in every example

The score is the total variation between softmax(said) over the q_j and softmax(Q x). The best there is knows how x is
drawn: of log b only differences tell something, and those are of linear regression: a ridge on centred rows and
centred logarithms. The figures `from m steps` are total variations to what m steps of gradient descent on
|softmax(A x) - b|^2 / 2 say, from x = 0 at the rate n / 4; 0 steps say that all rows weigh the same. `from the best` is
that to what is best said: who is nearer to it than to any step has not learned to descend.

Shapes   tokens (n, rows + asked, dim + 1)   targets (n, rows + asked, 1), not a number where nothing is asked
Source   arXiv 2304.13276    Slug  icl-softmax-regression    Family  in context
Differs  rows that were not shown are asked; models learn scores, so that what they say is a distribution
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count, Positive
from blockyard.core.spec import head, objective, stem
from blockyard.predictor.linear import ridge
from blockyard.predictor.softmax_regression import descended, weights_of
from blockyard.task._base import Examples, Predictor, Task, fits
from blockyard.task._material import Ends
from blockyard.task._metric import Metric

STEPS = (0, 1, 2, 4, 8)  # of gradient descent, to which models are held
RATE = 0.25  # a row: near x = 0 the curve of the loss is about one over the rows


class SoftmaxRegression(Task):
    metric = Metric("total variation", "of 1", "lower", 0.0, 1.0)
    grows = ("rows",)
    exact = False
    usual = dict(params=40e3, tokens=900e3, batch=64)
    variants = ({}, dict(dim=2, rows=6, asked=3, size=0.5), dict(dim=4, rows=4, noise=1.0))
    first = "5067065633fe"

    def __init__(
        self, *, dim: Annotated[Count, "numbers of a row"] = 3,
        rows: Annotated[Count, "rows whose weights are shown"] = 12,
        asked: Annotated[Count, "rows whose weights are asked"] = 6,
        size: Annotated[Positive, "the deviation of the scores"] = 1.0,
        noise: Annotated[Positive, "the deviation of the noise on every score"] = 0.3,
    ) -> None:  # fmt: skip
        fits(min(rows, asked) > 1, "softmax_regression: a weight among fewer than 2 rows is always 1")
        self.dim, self.rows, self.asked, self.size, self.noise = dim, rows, asked, size, noise
        self.length, self.training = rows + asked, ("share of the variance", 1 / size**2)

    @property
    def ends(self) -> Ends:
        told = dict(channels=self.dim + 1, outputs=1)
        return Ends("frames", "values", "values", stem("frames"), head("values"), objective("squared"), True, told)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        x = draw.normal(self.dim, 1) * (self.size * self.dim**-0.5)
        vectors, noise = draw.normal(self.length, self.dim), draw.normal(self.rows)
        scores = (vectors @ x)[..., 0]
        tokens = np.zeros((n, self.length, self.dim + 1), np.float32)
        tokens[..., 1:] = vectors
        b = np.exp(scores[:, : self.rows] + self.noise * noise)
        tokens[:, : self.rows, 0] = self.rows * b / b.sum(-1, keepdims=True)
        targets = np.full((n, self.length, 1), np.nan, np.float32)
        targets[:, self.rows :, 0] = scores[:, self.rows :]
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T,1) the scores that are best said."""
        return self._scores(self._best, tokens)["values"]

    def questions(self, targets: np.ndarray) -> np.ndarray:
        """A distribution an example."""
        return np.ones(len(targets))

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n, 2 + steps) total variations to the truth, to what so many steps say, and to what is best said."""
        own = _distribution(np.asarray(said["values"], np.float64)[:, self.rows :, 0])
        ruled = [self._scores(partial(_stepped, steps=m), examples.tokens)["values"] for m in STEPS]
        held = [examples.targets.astype(np.float64), *ruled, self.solve(examples.tokens)]
        return np.stack([_apart(own, _distribution(each[:, self.rows :, 0])) for each in held], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        names = (*(f"from {m} steps" for m in STEPS), "from the best")
        return tuple(Metric(name, "total variation", "lower", 0.0, 1.0) for name in names)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return {metric.name: float(total / asked) for metric, total in zip(self.also, sums[1:])}

    def described(self) -> str:
        shown = f"{self.rows} rows of {self.dim} numbers with weights and {self.asked} without"
        return f"{shown}, all alike by knowing nothing"

    def predictors(self) -> dict[str, Predictor]:
        rules = {"oracle": self._best} | {f"{m} steps": partial(_stepped, steps=m) for m in STEPS}
        return {name: partial(self._scores, rule) for name, rule in rules.items()}  # pyright: ignore

    def _scores(self, rule: Any, tokens: np.ndarray) -> dict[str, np.ndarray]:
        """The scores of the rows that are asked, by x from those that are shown; elsewhere 0."""
        tokens = tokens.astype(np.float64)
        vectors, b = tokens[..., 1:], tokens[:, : self.rows, 0] / self.rows
        values = np.zeros((*tokens.shape[:2], 1))
        values[:, self.rows :] = vectors[:, self.rows :] @ rule(vectors[:, : self.rows], b)[..., None]
        return {"values": values}

    def _best(self, rows: np.ndarray, b: np.ndarray) -> np.ndarray:
        logs = np.log(b)
        centred = rows - rows.mean(-2, keepdims=True), logs - logs.mean(-1, keepdims=True)
        return ridge(*centred, self.noise**2 * self.dim / self.size**2)


def _stepped(rows: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    return descended(rows, b, steps, RATE * rows.shape[-2])


def _distribution(scores: np.ndarray) -> np.ndarray:
    return weights_of(scores[..., None], np.ones(1))


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) the total variation between two distributions (n,m)."""
    return 0.5 * np.abs(a - b).sum(-1)
