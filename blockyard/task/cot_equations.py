"""Linear equations modulo a prime, solved at once or by elimination, matrix by matrix.

    1 2 5 , 3 1 4 = 2 5                                       asked from = on: x and y of x + 2 y = 5, 3 x + y = 4
    1 2 5 , 3 1 4 = 1 2 5 , 0 2 3 = 1 0 2 , 0 1 5 = 2 5       with `trace`: the equations after each that is used

An unknown is eliminated from all other equations by the first one, from its own on, that holds it; that one changes
places with its own and is divided by what stands before the unknown. There is one solution, any one. The error is told
by how often equations change places.

Shapes   ids: 0..p-1, then the comma, = and pad    Q = m (m + 2) - 1 of m unknowns    R = m, or m (Q + 2)
         chance 1/p a number where nothing is written out
Source   arXiv 2305.15408    Slug  cot-theory    Family  derivations
Differs  bare numbers, no names of unknowns; a step for every unknown (paper: forwards, then backwards)
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Predictor, Task, at_least, fits
from blockyard.task._expressions import inverses, is_prime
from blockyard.task._slices import Slicing
from blockyard.task._traced import Traced


class CotEquations(Traced):
    grows = ("unknowns",)
    first = "04d0d45fa55f"
    variants = ({}, dict(trace=True), dict(trace=True, unknowns=3, modulus=5))

    def __init__(
        self, *, unknowns: Annotated[Count, "unknowns, and equations"] = 2,
        modulus: Annotated[Count, "the prime that numbers are counted up to"] = 7,
        trace: Annotated[bool, "whether the equations are written after every step"] = False,
    ) -> None:  # fmt: skip
        at_least(1, unknowns=unknowns)
        fits(is_prime(modulus), f"cot_equations: modulus={modulus} must be a prime of at most 1000, to divide by")
        self.unknowns, self.modulus, self.trace = unknowns, modulus, trace
        self.separator = modulus
        asking = unknowns * (unknowns + 2) - 1
        replying = unknowns * (asking + 2 if trace else 1)
        super().__init__(modulus + 3, range(modulus + 2 if trace else modulus), modulus + 1, asking, replying)

    def asks(self, seed: int, n: int) -> np.ndarray:
        draw, m, p = Draw(seed, n), self.unknowns, self.modulus
        lower, upper = np.tril(draw.below(p, m, m), -1) + np.eye(m, dtype=np.int64), np.triu(draw.below(p, m, m), 1)
        upper += (1 + draw.below(p - 1, m))[:, :, None] * np.eye(m, dtype=np.int64)
        matrix = np.take_along_axis(lower @ upper % p, draw.order(m)[:, :, None], 1)  # one that can be inverted
        right = (matrix @ draw.below(p, m)[..., None]) % p
        return self._line(np.concatenate([matrix, right], 2))

    def replies(self, questions: np.ndarray) -> np.ndarray:
        states, _ = self.eliminated(questions)
        marks = np.full((len(questions), 1), self.mark)
        lines = [part for state in states for part in (self._line(state), marks)] if self.trace else []
        return np.concatenate([*lines, states[-1][:, :, -1]], 1)

    def eliminated(self, questions: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The equations (n,m,m+1) after each step, and how often (n,) two changed places."""
        n, m, p = len(questions), self.unknowns, self.modulus
        now = np.concatenate([questions, np.zeros((n, 1), np.int64)], 1).reshape(n, m, m + 2)[:, :, :-1]
        inverse, rows, swaps, states = inverses(p), np.arange(n), np.zeros(n, np.int64), []
        for k in range(m):
            at = k + (now[:, k:, k] != 0).argmax(1)
            swaps += at != k
            now = now.copy()
            own = now[rows, at]
            now[rows, at] = now[:, k]
            own = own * inverse[own[:, k]][:, None] % p
            now = (now - now[:, :, k : k + 1] * own[:, None]) % p
            now[:, k] = own
            states.append(now)
        return states, swaps

    def stretched(self, factor: float) -> Task:
        """As many equations as make the matrix so many times as large."""
        return super().stretched(factor**0.5 if factor > 0 else factor)

    @property
    def slicings(self) -> tuple[Slicing, ...]:
        pieces = tuple(str(k) for k in range(self.unknowns))
        return (Slicing("swaps", pieces, lambda asked: self.eliminated(self.questions_of(asked.tokens))[1]),)

    def baselines(self) -> dict[str, Predictor]:
        return {"zero": np.zeros_like}

    def _line(self, equations: np.ndarray) -> np.ndarray:
        """(n,Q) the ids of equations (n,m,m+1)."""
        ends = np.full((*equations.shape[:2], 1), self.separator)
        return np.concatenate([equations, ends], 2).reshape(len(equations), -1)[:, :-1]
