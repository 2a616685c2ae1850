"""Linear regression in context with noise of its own in every example: of each number a mean and a variance are asked.

    (0, x_1) (y_1, 0) (0, x_2) (y_2, 0) ...        y_i = w.x_i + sqrt(v) e_i        asked at x_i: what y_i may be
    v ~ InvGamma(3, 2)    w | v ~ N(0, v size^2 / d I)    x_i ~ N(0,I)    e_i ~ N(0,1)

The score is how unlikely the y were under a normal of the mean and the variance that were said, in nats a number. The
best there is knows the prior and weighs both. With a `pool` training shows so many pairs (w, v) that never change;
exams then ask about others where `unseen` says so, and `larger` is a factor on w there.

Shapes   tokens (n, 2 points, dim + 1)   targets (n, 2 points, 1), not a number where nothing is asked
Source   arXiv 2405.15115    Slug  icl-uncertainty    Family  in context
Differs  w is scaled by 1/sqrt(d), so that y has one size at every d; shifts of w and of the pool alone
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count, Natural, Positive
from blockyard.core.spec import head, objective, stem
from blockyard.predictor.conjugate import Said, conjugate, nats, of_pairs
from blockyard.task._base import Examples, Predictor, Task, fits
from blockyard.task._in_context import laid_out, pairs_of
from blockyard.task._material import Ends
from blockyard.task._metric import Metric

SHAPE, RATE = 3.0, 2.0


class UncertainRegression(Task):
    """What is said: `mean` and `variance` of every token."""

    metric = Metric("surprise", "nats/number", "lower")
    training = ("nats/number, less a constant", 1.0)
    grows = ("points",)
    exact = False
    usual = dict(params=40e3, tokens=900e3, batch=64)
    variants = ({}, dict(dim=3, points=7, size=1.0), dict(pool=4), dict(pool=4, unseen=True), dict(larger=3.0))
    first = "e7974188c5bb"

    def __init__(
        self, *, dim: Annotated[Count, "numbers of a vector"] = 2, points: Annotated[Count, "pairs of an example"] = 6,
        size: Annotated[Positive, "how large what w explains is, beside the noise"] = 2.0,
        pool: Annotated[Count, "pairs (w, v) that training shows; none: new ones in every example"] | None = None,
        unseen: Annotated[bool, "whether exams ask about pairs that are not in the pool"] = False,
        larger: Annotated[Positive, "the factor on w in the exams"] = 1.0,
        seed: Annotated[Natural, "what the pool is drawn from"] = 0,
    ) -> None:  # fmt: skip
        fits(points > 1, f"uncertain_regression: points={points} must be at least 2: before the first nothing is known")
        self.dim, self.points, self.size, self.length = dim, points, size, 2 * points
        self.pool, self.unseen, self.larger, self.seed = pool, unseen, larger, seed
        self.known, self.factor = min(2 * dim, points - 1), 1.0
        self._pairs = None if pool is None else self._draw(Draw(seed, pool, stream=1))

    @property
    def ends(self) -> Ends:
        told = dict(channels=self.dim + 1, outputs=1)
        ends = stem("frames"), head("gaussian"), objective("gaussian_nll")
        return Ends("frames", "gaussian", "gaussian", *ends, True, told)

    def _draw(self, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """(n,d) weights and (n,) variances: one over a gamma number, which is the sum of three exponential ones."""
        variances = RATE / -np.log(draw.uniform(int(SHAPE))).sum(-1)
        return draw.normal(self.dim) * (np.sqrt(variances / self.dim) * self.size)[:, None], variances

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        weights, variances = self._draw(draw)
        x, noise, which = draw.normal(self.points, self.dim), draw.normal(self.points), draw.raw(1)[:, 0]
        if self._pairs is not None:
            weights, variances = (each[which % np.uint64(len(each))] for each in self._pairs)
        return laid_out(x, self.factor * (x @ weights[..., None])[..., 0] + np.sqrt(variances)[:, None] * noise)

    @property
    def scored_on(self) -> Task:
        """Pairs of the pool or new ones, and w as large as exams have it."""
        settings = {**self.settings, "pool": None if self.unseen else self.pool, "unseen": False, "larger": 1.0}
        asked = UncertainRegression(**settings)
        asked.factor = self.larger
        return asked

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T,1) the mean that is best said, from the pairs before each place."""
        return self._best(tokens)["mean"]

    def questions(self, targets: np.ndarray) -> np.ndarray:
        return np.isfinite(targets).sum((1, 2))

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,5) nats; squared errors; and where pairs enough are known: nats, the squared difference to the best mean
        and the difference to the best variance in powers of e."""
        found = Said(*(np.asarray(said[name], np.float64)[:, ::2, 0] for name in Said._fields))
        x, y = pairs_of(examples.tokens)
        price = nats(y, found)
        best = self._known(x[:, : self.known], y[:, : self.known], x[:, self.known : self.known + 1])
        mean, variance = found.mean[:, self.known], found.variance[:, self.known]
        apart = np.square(mean - best.mean[:, 0]), np.abs(np.log(variance / best.variance[:, 0]))
        return np.stack([price.sum(1), np.square(y - found.mean).sum(1), price[:, self.known], *apart], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        seen = f"after {self.known} pairs"
        return (
            Metric("squared error", "mean square", "lower", 0.0), Metric(f"surprise {seen}", "nats/number", "lower"),
            Metric("from the best mean", f"mean square, {seen}", "lower", 0.0),
            Metric("from the best variance", f"powers of e, {seen}", "lower", 0.0),
        )  # fmt: skip

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        rows = asked / self.points
        shares = sums[1:] / np.array([asked, rows, rows, rows])
        return {metric.name: float(value) for metric, value in zip(self.also, shares)}

    def described(self) -> str:
        pool = f", of a pool of {self.pool}" if self.pool else ""
        return f"{self.points} pairs of {self.dim} numbers and one an example{pool}, a mean and a variance of each"

    def _known(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> Said:
        """What is best said of queries by who knows how training is drawn."""
        if self._pairs is not None:
            return of_pairs(x, y, queries, *self._pairs)
        return self._prior(x, y, queries)

    def _prior(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> Said:
        return conjugate(x, y, queries, SHAPE, RATE, self.size * self.dim**-0.5)

    def _best(self, tokens: np.ndarray) -> dict[str, np.ndarray]:
        return _along(self._known, tokens)

    def predictors(self) -> dict[str, Predictor]:
        rules = {"oracle": self._known} if self._pairs is None else {"oracle": self._known, "prior of all": self._prior}
        rules["nothing"] = _nothing(1 + self.size**2)
        return {name: partial(_along, rule) for name, rule in rules.items()}  # pyright: ignore


def _nothing(variance: float) -> Any:
    """Who says 0 and the variance that y has on average."""
    return lambda x, y, queries: Said(np.zeros(queries.shape[:-1]), np.full(queries.shape[:-1], variance))


def _along(rule: Any, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """What a rule says at every x from the pairs before it; elsewhere 0 and 1."""
    x, y = pairs_of(tokens)
    said = {"mean": np.zeros((*tokens.shape[:2], 1)), "variance": np.ones((*tokens.shape[:2], 1))}
    for i in range(y.shape[1]):
        for name, value in rule(x[:, :i], y[:, :i], x[:, i : i + 1])._asdict().items():
            said[name][:, 2 * i, 0] = value[:, 0]
    return said
