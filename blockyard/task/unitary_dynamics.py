"""Vectors of complex numbers that turn, each at a speed of its own; the next vector is asked.

    (x_1, 0) (x_2, x_1) (x_3, x_2) ...        x_{t+1} = W x_t, W = diag(e^{i theta})        asked from x_2 on: x_{t+1}
    theta even from 0 to 2 pi, new ones in every example

With `start=normal` x_1 is complex normal, E|x_1j|^2 = 1; with `one` a single number of it, any, has the size sqrt(d)
and all others are 0. One pair tells W, so that who divides makes no error. The figure `from one step` is the mean
squared difference to the best step of gradient descent on the pairs before, to which training from a diagonal start
leads one layer of linear attention.

Shapes   tokens (n,T,4 d): real and imaginary parts of x_t, then of x_{t-1}   targets (n,T,2 d), no numbers at first
Source   arXiv 2405.16845    Slug  mesa-optimization    Family  in context
Differs  pairs of real numbers, and first vectors of any phase: real ones would make real and imaginary parts unlike,
         which a layer of real matrices would use; the zeros that a layer writes its answer to are the model's own
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count
from blockyard.core.spec import head, objective, stem
from blockyard.predictor.unitary import exact, one_step, rate_of
from blockyard.task._base import Examples, Predictor, Task, at_least
from blockyard.task._material import Ends
from blockyard.task._metric import Metric

SHARE = "share of the mean square"


class UnitaryDynamics(Task):
    metric = Metric("squared error", SHARE, "lower", 0.0)
    training = SHARE, 2.0  # a complex number has two halves
    exact = False
    usual = dict(params=20e3, tokens=900e3, batch=64)
    variants = ({}, dict(dim=2, length=5, start="one"), dict(dim=1, length=3))
    first = "cb5fe15e8a0f"

    def __init__(
        self, *, dim: Annotated[Count, "complex numbers of a vector"] = 4,
        length: Annotated[Count, "vectors that are shown"] = 11,
        start: Annotated[Literal["normal", "one"], "what the first vector is"] = "normal",
    ) -> None:  # fmt: skip
        at_least(2, length=length)
        self.dim, self.length, self.start = dim, length, start
        moments = (2.0, 6.0, 2.0 * (dim - 1)) if start == "normal" else (dim, dim**2, 0.0)
        self.rate = rate_of(*moments, length + 1)

    @property
    def ends(self) -> Ends:
        told = dict(channels=4 * self.dim, outputs=2 * self.dim)
        return Ends("frames", "values", "values", stem("frames"), head("values"), objective("squared"), True, told)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        angles, phases = 2 * np.pi * draw.uniform(1, self.dim), 2 * np.pi * draw.uniform(1, self.dim)
        if self.start == "one":
            first = self.dim**0.5 * (draw.below(self.dim, 1, 1) == np.arange(self.dim))
        else:
            first = np.sqrt(-np.log(draw.uniform(1, self.dim)))
        x = first * np.exp(1j * (phases + angles * np.arange(self.length + 1)[:, None]))
        before = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], 1)
        tokens = np.concatenate([_halves(x[:, :-1]), _halves(before[:, :-1])], -1)
        targets = _halves(x[:, 1:])
        targets[:, 0] = np.nan
        return Examples(tokens.astype(np.float32), targets.astype(np.float32))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T,2 d) what one pair tells."""
        return _halves(exact(self._vectors(tokens)))

    def questions(self, targets: np.ndarray) -> np.ndarray:
        """Complex numbers that are asked."""
        return np.isfinite(targets).sum((1, 2)) / 2

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,3) squared errors, those at the last place, and squared differences to the best step."""
        values = np.asarray(said["values"], np.float64)[:, 1:]
        off = np.square(values - examples.targets[:, 1:].astype(np.float64))
        step = self._stepped(examples.tokens)["values"][:, 1:]
        return np.stack([off.sum((1, 2)), off[:, -1].sum(1), np.square(values - step).sum((1, 2))], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        return tuple(Metric(name, SHARE, "lower", 0.0) for name in ("error at the end", "from one step"))

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return {
            "error at the end": float(sums[1] * (self.length - 1) / asked), "from one step": float(sums[2] / asked),
        }  # fmt: skip

    def described(self) -> str:
        return f"{self.length} vectors of {self.dim} complex numbers, 100% of the mean square by saying zero"

    def predictors(self) -> dict[str, Predictor]:
        found: dict[str, Any] = {"oracle": lambda tokens: {"values": self.solve(tokens)}}
        if self.start == "normal":  # otherwise it is as exact as the oracle
            found["one step"] = self._stepped
        found["the same again"] = lambda tokens: {"values": tokens[..., : 2 * self.dim].astype(np.float64)}
        found["zero"] = lambda tokens: {"values": np.zeros((*tokens.shape[:2], 2 * self.dim))}
        return found

    def _stepped(self, tokens: np.ndarray) -> dict[str, np.ndarray]:
        return {"values": _halves(one_step(self._vectors(tokens), self.rate))}

    def _vectors(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T,d) the complex vectors of these rows."""
        plain = tokens.astype(np.float64)
        return plain[..., : self.dim] + 1j * plain[..., self.dim : 2 * self.dim]


def _halves(x: np.ndarray) -> np.ndarray:
    """(...,2 d) real parts, then imaginary ones."""
    return np.concatenate([np.real(x), np.imag(x)], -1)
