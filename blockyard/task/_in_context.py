"""Functions learned in context: vectors and numbers that one hidden function explains; each number is asked before it.

    (0, x_1) (y_1, 0) (0, x_2) (y_2, 0) ...        y_i = f(x_i) + noise e_i        asked at x_i: y_i
    f new in every example, e_i ~ N(0,1)

The score is the mean of (y - said)^2 over the places, as a share of the variance of y. What is said at x_i rests on the
pairs before it alone; the figures `from ...` are mean squared differences to what a rule says there, after `known`
examples.

Shapes   tokens (n, 2 points, dim + 1)   targets (n, 2 points, 1), not a number where nothing is asked
"""

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from blockyard.core.spec import head, objective, stem
from blockyard.predictor import along, squared_difference
from blockyard.predictor.linear import Rule
from blockyard.task._base import Examples, Predictor, Task, fits
from blockyard.task._exhibit import Exhibit, Line
from blockyard.task._material import Ends
from blockyard.task._metric import Metric

SHARE = "share of the variance"
HIGHEST = 1.5  # of a line that is drawn, in shares of the variance


class InContextTask(Task):
    """What such tasks share. `told`: after how many examples the error is a figure of its own."""

    metric = Metric("squared error", SHARE, "lower", 0.0)
    grows = ("points",)
    exact = False
    usual = dict(params=40e3, tokens=450e3, batch=64)  # with less, most models learn to say zero

    def __init__(self, dim: int, points: int, noise: float, variance: float, rules: Mapping[str, Rule]) -> None:
        """`rules` has the best one first, `variance` is that of y without the noise."""
        fits(points > 1, f"{self.name}: points={points} must be at least 2: before the first pair nothing is known")
        self.dim, self.points, self.noise, self.length = dim, points, noise, 2 * points
        self.variance = variance + noise**2
        self.training = SHARE, 1 / self.variance
        self.known = min(2 * dim, points - 1)  # how many examples are seen where rules are told apart
        self.told = sorted({min(dim, self.known), self.known})
        self._rules = rules
        self._apart = {name: rule for name, rule in self._rules.items() if name != "zero"}

    @property
    def ends(self) -> Ends:
        told = dict(channels=self.dim + 1, outputs=1)
        return Ends("frames", "values", "values", stem("frames"), head("values"), objective("squared"), True, told)

    @abstractmethod
    def pairs(self, seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """(n,P,d) vectors and (n,P) numbers of n examples."""

    def sample(self, seed: int, n: int) -> Examples:
        return laid_out(*self.pairs(seed, n))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T,1) what the best rule says, from the pairs before each place."""
        return said_along(_best(self._rules), tokens)["values"]

    def questions(self, targets: np.ndarray) -> np.ndarray:
        return np.isfinite(targets).sum((1, 2))

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,K) squared errors, summed and by place; then squared differences to each rule where rules are told apart;
        all as shares of the variance."""
        values, y = np.asarray(said["values"])[:, ::2, 0], examples.targets[:, ::2, 0].astype(np.float64)
        off = np.square(values - y)
        x, here = pairs_of(examples.tokens)[0], slice(self.known, self.known + 1)
        apart = [
            np.square(values[:, here] - rule(x[:, : self.known], y[:, : self.known], x[:, here]))
            for rule in self._apart.values()
        ]
        return np.concatenate([off.sum(1, keepdims=True), off, *apart], 1) / self.variance

    @property
    def also(self) -> tuple[Metric, ...]:
        """The error after so many examples, and the differences to the rules."""
        errors = [Metric(f"error after {n}", SHARE, "lower", 0.0) for n in self.told]
        seen = f"{SHARE}, after {self.known} examples"
        return (*errors, *(Metric(f"from {name}", seen, "lower", 0.0) for name in self._apart))

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        rows, apart = asked / self.points, zip(self._apart, sums[1 + self.points :])
        return {
            **{f"error after {n}": float(sums[1 + n] / rows) for n in self.told},
            **{f"from {name}": float(total / rows) for name, total in apart},
        }

    def exhibits(self, said: Mapping[str, np.ndarray], examples: Examples) -> list[Exhibit]:
        """The error by the number of examples seen, beside those of the rules; and how far from the rules it is."""
        x, y = pairs_of(examples.tokens)
        values, seen = said["values"][:, ::2, 0], [float(n) for n in range(self.points)]
        ruled = {name: along(rule, x, y) for name, rule in self._rules.items()}

        def drawn(name: str, a: np.ndarray, b: np.ndarray) -> Line:
            shares = squared_difference(a, b) / self.variance
            return Line(name, seen, [float(share) if share <= HIGHEST else None for share in shares])

        errors = [drawn("model", values, y), *(drawn(name, each, y) for name, each in ruled.items())]
        apart = [drawn(name, values, ruled[name]) for name in self._apart]
        return [
            Exhibit("Error by the number of examples", "examples seen", SHARE, errors),
            Exhibit("Which rule it is like: squared difference", "examples seen", SHARE, apart),
        ]

    def described(self) -> str:
        return f"{self.points} pairs of {self.dim} numbers and one an example, 100% of the variance by saying zero"

    def predictors(self) -> dict[str, Predictor]:
        known = _best(self._rules)
        others = {name: rule for name, rule in self._rules.items() if rule is not known}
        return {name: partial(said_along, rule) for name, rule in {"oracle": known, **others}.items()}  # pyright: ignore


def _best(named: Mapping[str, Rule]) -> Rule:
    """The rule of the least expected error: the first of them."""
    return next(iter(named.values()))


def said_along(rule: Rule, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """What a rule says at every x, as a model would; elsewhere 0."""
    x, y = pairs_of(tokens)
    values = np.zeros((*tokens.shape[:2], 1))
    values[:, ::2, 0] = along(rule, x, y)
    return {"values": values}


def laid_out(x: np.ndarray, y: np.ndarray) -> Examples:
    """The rows of vectors (n,P,d) and numbers (n,P): each number is asked at its vector and shown behind it."""
    n, points, dim = x.shape
    tokens = np.zeros((n, 2 * points, dim + 1), np.float32)
    tokens[:, ::2, 1:], tokens[:, 1::2, 0] = x, y
    targets = np.full((n, 2 * points, 1), np.nan, np.float32)
    targets[:, ::2, 0] = y
    return Examples(tokens, targets)


def pairs_of(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,P,d) the vectors and (n,P) the numbers of these rows."""
    tokens = tokens.astype(np.float64)
    return tokens[:, ::2, 1:], tokens[:, 1::2, 0]
