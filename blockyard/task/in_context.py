"""Functions of a family in context, or of one of several; what is scored may be of another family than what is trained.

    y_i = f(x_i) + noise e_i        f of one of the families, each as likely, new in every example; of variance 1

The best there is is the posterior mean: families weighed by how likely they make the examples before. With
`scored` the exams ask about functions of that family, which training never shows; rules know what training knows, but
`posterior of scored`.

Shapes   tokens (n, 2 points, dim + 1)   targets (n, 2 points, 1), not a number where nothing is asked
Source   arXiv 2306.04891, 2306.15063, 2311.00871    Family  in context
Differs  all families have variance 1, so that none of them decides the loss
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count, Fraction, Positive, Word
from blockyard.core.spec import split_words
from blockyard.family._base import Family, agreed, make_family
from blockyard.predictor.bayes import of_mixture
from blockyard.predictor.linear import Rule, least_squares, linear, nearest
from blockyard.task._base import Predictor, Task, fits
from blockyard.task._in_context import InContextTask, said_along

NEIGHBOURS = 3


class InContext(InContextTask):
    variants = (
        {}, dict(family="dense+centres", dim=3, points=7, noise=0.2), dict(family="sparse(count=1)", dim=4),
        dict(family="pool(count=4)", scored="dense"), dict(family="composed(depth=1)", dim=3),
        dict(family="fourier(most=2)+fourier_up_to(most=3)", dim=1, points=6, shares=(0.2, 0.8)),
        dict(family="dense", scored="between(second=sinusoid,share=0.3)", dim=1),
    )  # fmt: skip
    first = "d2272d64b57f"

    def __init__(
        self, *, family: Annotated[Word, "what functions are of: a family, or several with + between them"] = "dense",
        shares: Annotated[tuple[Fraction, ...], "the share of each family; none: all alike"] | None = None,
        scored: Annotated[Word, "what the functions of the exams are of; none: the same"] | None = None,
        dim: Annotated[Count, "numbers of a vector"] = 2, points: Annotated[Count, "pairs of an example"] = 5,
        noise: Annotated[Positive, "the deviation of the noise on every y"] = 0.3,
    ) -> None:  # fmt: skip
        self.family, self.shares, self.scored = family, shares, scored
        self.families = _families(family, dim)
        agreed([*self.families, *(_families(scored, dim) if scored else [])])
        alike = [1 / len(self.families)] * len(self.families)
        fits(
            shares is None or (len(shares) == len(alike) and abs(sum(shares) - 1) < 1e-6),
            f"in_context: shares={shares} must be {len(alike)} of sum 1, one for each family",
        )
        self.weights = alike if shares is None else list(shares)
        super().__init__(dim, points, noise, 1.0, self._known(noise))

    def _known(self, noise: float) -> dict[str, Rule]:
        """The rules, that of the posterior first."""
        found = {"posterior": _mean(self.families, self.weights, noise)}
        plain = [make_family("dense", self.families[0].dim)]
        if repr(self.families) != repr(plain):
            found["ridge"] = _mean(plain, [1.0], noise)
        return found | {
            "least squares": linear(least_squares),
            "nearest": partial(nearest, count=NEIGHBOURS),
            "zero": lambda x, y, queries: np.zeros(queries.shape[:-1]),
        }

    @property
    def scored_on(self) -> Task:
        return self if self.scored is None else self.but(family=self.scored, shares=None, scored=None)

    def pairs(self, seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        draw = Draw(seed, n)
        x, noise = self.families[0].vectors(draw, self.points), draw.normal(self.points)
        which = (draw.uniform(1) > np.cumsum(self.weights)[:-1]).sum(-1)
        values = np.stack([each.drawn(seed, x) for each in self.families])
        return x, values[which, np.arange(n)] + self.noise * noise

    def predictors(self) -> dict[str, Predictor]:
        found = super().predictors()
        if self.scored is not None:
            asked = _families(self.scored, self.dim)
            rule = _mean(asked, [1 / len(asked)] * len(asked), self.noise)
            found["posterior of scored"] = partial(said_along, rule)  # pyright: ignore
        return found


def _families(text: str, dim: int) -> list[Family]:
    return [make_family(each, dim) for each in split_words(text, "+")]


def _mean(families: Sequence[Family], shares: Sequence[float], noise: float) -> Rule:
    """The posterior mean of one of these families."""
    likely = [(each, share) for each, share in zip(families, shares) if share]

    def said(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
        found = [each.posterior(x, y, queries, noise) for each, _ in likely]
        return of_mixture([share for _, share in likely], found)[1]

    return said
