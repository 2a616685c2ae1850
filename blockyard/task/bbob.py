"""What is the next centre of a search? Asked behind what an evolution strategy has seen of a hidden function.

    r q1 q2  r q1 q2 ...  r* q1          asked at r*: q1, then q2: the mean of the `elite` best members

A context is some generations of a strategy on a function that is moved by chance, from its first random ones on: of
each generation its best members, from the least to the best, as ranks and places in the box [-5, 5]. Nothing but the
order of their values is shown. `blockyard.predictor.evolution` runs such a search with whoever writes the centres.

Shapes   ids: 0..resolution places, then ranks    T = shown kept (dim + 1) + dim    chance 1/(resolution + 1)
Source   arXiv 2402.18381    Slug  evollm    Family  search
Differs  ranks in place of values, one id a number in place of digits; the strategy's mean is that of the members shown
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from blockyard.core.settings import Count, Natural, Word
from blockyard.core.spec import split_words
from blockyard.predictor.evolution import Coding, evolve
from blockyard.predictor.landscapes import landscape
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, blank, fits
from blockyard.task._metric import Metric

SIDE, STEP = 5.0, 0.15  # half of the box; the deviation of members around a centre, as a share of the box


class BBOB(Task):
    grows = ()
    variants = ({}, dict(functions="sphere", scored="rosenbrock", dim=3, ordered=False), dict(shown=1, elite=1, kept=2))
    first = "3a4aa091955d"

    def __init__(
        self, *,
        functions: Annotated[Word, "what is searched, with + between: sphere, ellipsoid, rastrigin, rosenbrock"]
        = "sphere+rastrigin",
        scored: Annotated[Word, "what is searched in the exams; none: the same"] | None = None,
        dim: Annotated[Count, "numbers of a member"] = 2, resolution: Annotated[Count, "steps of the box"] = 50,
        shown: Annotated[Count, "generations of a context"] = 2, kept: Annotated[Count, "best members of each"] = 3,
        population: Annotated[Count, "members of a generation"] = 8,
        generations: Annotated[Natural, "generations of the strategy behind the random ones, at most"] = 6,
        elite: Annotated[Count, "how many of the best members the next centre is the mean of"] = 3,
        ordered: Annotated[bool, "whether members stand from the least to the best, or as they came"] = True,
    ) -> None:  # fmt: skip
        at_least(2, resolution=resolution)
        fits(kept <= population, f"bbob: kept={kept} members of population={population} cannot be shown")
        fits(elite <= shown * kept, f"bbob: elite={elite} of shown x kept = {shown * kept} members cannot be the best")
        fits(
            STEP * resolution >= 1, f"bbob: resolution={resolution} is coarser than the steps of the search; take 7 up"
        )
        self.functions, self.scored, self.dim, self.resolution = functions, scored, dim, resolution
        self.shown, self.kept, self.population, self.generations = shown, kept, population, generations
        self.elite, self.ordered = elite, ordered
        for name in split_words(functions, "+") + split_words(scored or "sphere", "+"):
            landscape(name)(np.zeros((1, dim)))
        self.coding = Coding(dim, resolution, shown, kept, ordered)
        self.length = self.coding.length + dim - 1
        self.vocab, self.answers = self.coding.vocab, range(resolution + 1)

    @property
    def scored_on(self) -> Task:
        return self if self.scored is None else self.but(functions=self.scored, scored=None)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        names = split_words(self.functions, "+")
        which, until = draw.below(len(names)), draw.below(self.generations + 1)
        shift = SIDE * (1.6 * draw.uniform(self.dim) - 0.8)
        start = SIDE * (2 * draw.uniform(self.shown, self.population, self.dim) - 1)
        noise = draw.normal(self.generations, self.population, self.dim)

        def evaluate(x: np.ndarray) -> np.ndarray:
            z = x - shift[:, None]
            return np.stack([landscape(name)(z) for name in names])[which, np.arange(len(x))]

        run = evolve(self._centres, evaluate, self.coding, start, noise, low=-SIDE, high=SIDE, sigma=STEP)
        at = until[:, None] + np.arange(self.shown)
        q = self.coding.encode(run.x, -SIDE, SIDE)[np.arange(n)[:, None], at]
        rows = self.coding.rows(q, run.f[np.arange(n)[:, None], at])
        answer = self._centres(rows)
        tokens = np.concatenate([rows, answer[:, :-1]], 1)
        targets = blank(tokens)
        targets[:, self.coding.length - 1 :] = answer
        return Examples(tokens, targets)

    def _centres(self, rows: np.ndarray, time: int = 0) -> np.ndarray:
        return self.coding.elite_mean(rows, self.elite)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        found = np.zeros_like(tokens)
        found[:, self.coding.length - 1 :] = self._centres(tokens)
        return found

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,2) wrong numbers; and how far all are off, as shares of the box."""
        ids = np.asarray(said["ids"] if "ids" in said else said["logits"].argmax(-1))
        asked = examples.targets >= 0
        off = np.minimum(np.abs(ids - examples.targets), self.resolution) * asked
        return np.stack([((off > 0) & asked).sum(1), off.sum(1) / self.resolution], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        """How far a number is off."""
        return (Metric("off by", "of the box", "lower", 0.0, 1.0),)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return {"off by": float(sums[1] / asked)}

    def baselines(self) -> dict[str, Predictor]:
        return {"best member": self._best}

    def _best(self, tokens: np.ndarray) -> np.ndarray:
        """The place of the best member alone."""
        found = np.zeros_like(tokens)
        first, until = self.coding.length - 1, tokens.shape[1]
        if until > first:
            found[:, first:] = self.coding.elite_mean(tokens, 1)[:, : until - first]
        return found
