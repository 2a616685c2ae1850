"""Linear regression in context: vectors and numbers that one hidden vector explains; each number is asked before it.

    (0, x_1) (y_1, 0) (0, x_2) (y_2, 0) ...        y_i = w.x_i + noise e_i        asked at x_i: y_i
    w, x_i ~ N(0,I), e_i ~ N(0,1), new ones in every example

The score is the mean of (y - said)^2 over the places, as a share of the variance of y. With noise the best there is is
the ridge with lam = noise^2, the posterior mean; without noise, the shortest w of the least error. What is said at x_i
rests on the pairs before it alone; the figures `from ...` are mean squared differences to what a rule says there.

Shapes   tokens (n, 2 points, dim + 1)   targets (n, 2 points, 1), not a number where nothing is asked
Source   arXiv 2211.15661    Slug  icl-linear    Family  in context
Differs  least squares have no finite expected error where examples are as many as numbers, give or take one
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import numpy as np

from blockyard.core.settings import Count, NonNegative
from blockyard.core.spec import head, objective, stem
from blockyard.predictor import along, rules, squared_difference
from blockyard.predictor.linear import Rule
from blockyard.task._base import Draw, Examples, Predictor, Task, fits
from blockyard.task._exhibit import Exhibit, Line
from blockyard.task._material import Ends
from blockyard.task._metric import Metric

SHARE = "share of the variance"
HIGHEST = 1.5  # of a line that is drawn, in shares of the variance


class Regression(Task):
    metric = Metric("squared error", SHARE, "lower", 0.0)
    grows = ("points",)
    variants = ({}, dict(dim=5, points=11, noise=0.0), dict(dim=2, points=7, noise=1.0), dict(dim=1, points=2))
    first = "9503489d4082"
    exact = False
    usual = dict(params=40e3, tokens=450e3, batch=64)  # with less, most models learn to say zero

    def __init__(
        self, *, dim: Annotated[Count, "numbers of a vector"] = 2, points: Annotated[Count, "pairs of an example"] = 5,
        noise: Annotated[NonNegative, "the deviation of the noise on every y"] = 0.5,
    ) -> None:  # fmt: skip
        fits(points > 1, f"regression: points={points} must be at least 2: before the first pair nothing is known")
        self.dim, self.points, self.noise, self.length = dim, points, noise, 2 * points
        self.variance = dim + noise**2
        self.training = SHARE, 1 / self.variance
        self.known = min(2 * dim, points - 1)  # how many examples are seen where rules are told apart
        self._told = sorted({min(dim, self.known), self.known})
        self._rules = rules(noise)
        self._apart = {name: rule for name, rule in self._rules.items() if name != "zero"}

    @property
    def ends(self) -> Ends:
        told = dict(channels=self.dim + 1, outputs=1)
        return Ends("frames", "values", "values", stem("frames"), head("values"), objective("squared"), True, told)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        w, x, noise = (_normal(draw, *shape) for shape in ((1, self.dim), (self.points, self.dim), (self.points,)))
        y = (w * x).sum(-1) + self.noise * noise
        tokens = np.zeros((n, self.length, self.dim + 1), np.float32)
        tokens[:, ::2, 1:], tokens[:, 1::2, 0] = x, y
        targets = np.full((n, self.length, 1), np.nan, np.float32)
        targets[:, ::2, 0] = y
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T,1) what the best rule says, from the pairs before each place."""
        return _said(_best(self._rules), tokens)["values"]

    def questions(self, targets: np.ndarray) -> np.ndarray:
        return np.isfinite(targets).sum((1, 2))

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,K) squared errors, summed and by place; then squared differences to each rule where rules are told apart;
        all as shares of the variance."""
        values, y = np.asarray(said["values"])[:, ::2, 0], examples.targets[:, ::2, 0].astype(np.float64)
        off = np.square(values - y)
        x, here = _pairs(examples.tokens)[0], slice(self.known, self.known + 1)
        apart = [
            np.square(values[:, here] - rule(x[:, : self.known], y[:, : self.known], x[:, here]))
            for rule in self._apart.values()
        ]
        return np.concatenate([off.sum(1, keepdims=True), off, *apart], 1) / self.variance

    @property
    def also(self) -> tuple[Metric, ...]:
        """The error after so many examples, and the differences to the rules."""
        errors = [Metric(f"error after {n}", SHARE, "lower", 0.0) for n in self._told]
        seen = f"{SHARE}, after {self.known} examples"
        return (*errors, *(Metric(f"from {name}", seen, "lower", 0.0) for name in self._apart))

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        rows, apart = asked / self.points, zip(self._apart, sums[1 + self.points :])
        return {
            **{f"error after {n}": float(sums[1 + n] / rows) for n in self._told},
            **{f"from {name}": float(total / rows) for name, total in apart},
        }

    def exhibits(self, said: Mapping[str, np.ndarray], examples: Examples) -> list[Exhibit]:
        """The error by the number of examples seen, beside those of the rules; and how far from the rules it is."""
        x, y = _pairs(examples.tokens)
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
        return {name: partial(_said, rule) for name, rule in {"oracle": known, **others}.items()}  # pyright: ignore


def _best(named: Mapping[str, Rule]) -> Rule:
    """The rule of the least expected error: the first of them."""
    return next(iter(named.values()))


def _said(rule: Rule, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """What a rule says at every x, as a model would; elsewhere 0."""
    x, y = _pairs(tokens)
    values = np.zeros((*tokens.shape[:2], 1))
    values[:, ::2, 0] = along(rule, x, y)
    return {"values": values}


def _pairs(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,P,d) the vectors and (n,P) the numbers of these rows."""
    tokens = tokens.astype(np.float64)
    return tokens[:, ::2, 1:], tokens[:, 1::2, 0]


def _normal(draw: Draw, *shape: int) -> np.ndarray:
    """Normal numbers, of two even ones each."""
    return np.sqrt(-2 * np.log(draw.uniform(*shape))) * np.cos(2 * np.pi * draw.uniform(*shape))
