"""Boolean functions in context: vectors of -1 and 1 and the label of each under one hidden function, asked before it.

    (0, x_1) (y_1, 0) (0, x_2) (y_2, 0) ...        asked at x_i: whether y_i is 1
    conjunction   each x_j is a literal, x_j = 1 or x_j = -1, with chance 0.15 each; in 3 of 10 rows all literals hold
    disjunction   the same with all of them false        majority, parity   of `count` numbers; none: of any number

With `teach` a conjunction is first taught: two positive rows, all numbers that do not matter -1 and then 1; one
negative row a literal, that one alone turned; in 4 of 10 rows after these all literals hold. Labels are not even: look
at `commonest`. The oracle tries all functions: it knows how they and their rows are drawn.

Shapes   tokens (n, 2 points, dim + 1)   targets (n, 2 points) int64: 1 for y = 1, 0 for -1, else -1
Source   arXiv 2310.03016    Slug  icl-discrete-functions    Family  in context
Differs  numbers enough for all functions to be tried; classes by a softmax of two scores
"""

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Annotated, Any, Literal

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count
from blockyard.core.spec import head, objective, stem
from blockyard.predictor import boolean as rules
from blockyard.predictor.linear import along
from blockyard.task._base import Examples, Predictor, Task, fits
from blockyard.task._in_context import laid_out, pairs_of
from blockyard.task._material import Ends
from blockyard.task._metric import Metric

MOST = 7  # numbers of a vector: 3^7 conjunctions are tried
LITERAL, FORCED, FORCED_LATER = 0.15, 0.3, 0.4
PIECE = 64  # rows at once
LEARNERS = {
    "conjunction": ("elimination", rules.elimination),
    "disjunction": ("elimination", rules.elimination_of_disjunctions),
    "parity": ("elimination mod 2", rules.elimination_mod_2),
}


class Boolean(Task):
    metric = Metric("error", "error rate", "lower", 0.0, 1.0)
    grows = ("points",)
    exact = False
    usual = dict(params=40e3, tokens=600e3, batch=64)
    variants = (
        {}, dict(function="disjunction", dim=4), dict(function="majority", count=3), dict(function="parity", dim=4),
        dict(function="parity", count=2), dict(dim=4, teach=True),
    )  # fmt: skip
    first = "a348fdff89a6"

    def __init__(
        self, *, function: Annotated[
            Literal["conjunction", "disjunction", "majority", "parity"], "what labels are"
        ] = "conjunction",
        dim: Annotated[Count, "numbers of a vector"] = 5, points: Annotated[Count, "pairs of an example"] = 12,
        count: Annotated[Count, "numbers that majority and parity are of; none: any number"] | None = None,
        teach: Annotated[bool, "whether a conjunction is taught first"] = False,
    ) -> None:  # fmt: skip
        clause = function in ("conjunction", "disjunction")
        fits(dim <= MOST, f"boolean: dim={dim} must be at most {MOST}, since all functions are tried")
        fits(not (clause and count), f"boolean: count={count} is of majority and parity, not of a {function}")
        fits(count is None or count <= dim, f"boolean: count={count} must be at most dim={dim}")
        fits(not teach or (function == "conjunction" and points > dim + 2), f"boolean: teach is for a conjunction, and "
             f"needs more than dim + 2 = {dim + 2} points")  # fmt: skip
        self.function, self.dim, self.points, self.count, self.teach = function, dim, points, count, teach
        self.length, self.clause = 2 * points, clause
        self.label: rules.Label = getattr(rules, function)
        every = np.array(list(product((0, 1, -1) if clause else (0, 1), repeat=dim)))
        size = np.abs(every).sum(1)
        self.functions = every if count is None else every[size == count]
        size = np.abs(self.functions).sum(1)
        self.chances = LITERAL**size * (1 - 2 * LITERAL) ** (dim - size) if clause else np.ones(len(size)) / len(size)

    @property
    def ends(self) -> Ends:
        told = dict(channels=self.dim + 1, classes=2)
        ends = stem("frames"), head("token_classes"), objective("token_classes")
        return Ends("frames", "token_classes", "token classes", *ends, True, told)

    def pairs(self, seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """(n,P,d) vectors and (n,P) labels of n examples, -1 and 1."""
        draw = Draw(seed, n)
        which = np.searchsorted(np.cumsum(self.chances)[:-1], draw.uniform(1)[:, 0])
        w = self.functions[which]
        x = 2 * draw.below(2, self.points, self.dim) - 1
        if self.clause:
            sign = 1 if self.function == "conjunction" else -1  # what rows are bent to: all literals hold, or none
            forced = draw.uniform(self.points, 1) < (FORCED_LATER if self.teach else FORCED)
            x = np.where(forced & (w[:, None] != 0), sign * w[:, None], x)
        if self.teach:
            rows, taught = teaching(w, self.points)
            x = np.where(taught[..., None], rows, x)
        return x, self.label(x, w)

    def sample(self, seed: int, n: int) -> Examples:
        x, y = self.pairs(seed, n)
        targets = np.full((n, self.length), -1, np.int64)
        targets[:, ::2] = y > 0
        return Examples(laid_out(x, y).tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T) the likelier class of every vector, by all functions."""
        x, y = pairs_of(tokens)
        pieces = [slice(at, at + PIECE) for at in range(0, len(x), PIECE)]
        found = [rules.posterior(*self._likely(x[each]), y[each]) for each in pieces]
        return self._classes(np.concatenate(found), tokens)

    def _likely(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,P,M) how likely each vector is under each function, and what it says of it."""
        labels = self.label(x[:, None], self.functions).swapaxes(1, 2)
        logs = np.zeros(labels.shape)
        if self.clause:
            share = FORCED_LATER if self.teach else FORCED
            sign = 1 if self.function == "conjunction" else -1
            held = 1 - share + share * 2.0 ** np.abs(self.functions).sum(1)  # of rows that forcing can make
            logs = np.where(labels == sign, np.log(held), np.log(1 - share))
        if self.teach:
            rows, taught = teaching(self.functions, self.points)
            same = (x[:, :, None] == rows.swapaxes(0, 1)[None]).all(-1)
            logs = np.where(taught.T[None], np.where(same, 0.0, -1e9), logs - self.dim * np.log(2))
        logs[:, 0] += np.log(self.chances)
        return logs, labels

    def _classes(self, said: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        found = np.zeros(tokens.shape[:2], np.int64)
        found[:, ::2] = said > 0
        return found

    def amounts(self, said: Mapping[str, Any], targets: Any) -> Any:
        """(n,P) what is wrong, by the number of examples seen; of arrays or of tensors."""
        ids = said["ids"] if "ids" in said else said["token_classes"].argmax(-1)
        return ((ids != targets) & (targets >= 0))[:, ::2]

    def figure(self, sums: np.ndarray, asked: np.ndarray) -> np.ndarray:
        return sums.sum(1) / asked

    @property
    def also(self) -> tuple[Metric, ...]:
        return tuple(Metric(name, "error rate", "lower", 0.0, 1.0) for name in ("error halfway", "error at the end"))

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        shares = sums * self.points / asked
        return {"error halfway": float(shares[self.points // 2]), "error at the end": float(shares[-1])}

    def described(self) -> str:
        taught = ", taught first" if self.teach else ""
        return f"{self.points} vectors of {self.dim} and the {self.function} of each{taught}, labels not even"

    def predictors(self) -> dict[str, Predictor]:
        known: dict[str, Any] = {}
        if self.function in LEARNERS and not (self.function == "parity" and self.count is None):
            known = dict([LEARNERS[self.function]])  # of any parity the elimination is the oracle
        known |= {"nearest": rules.nearest, "perceptron": rules.perceptron, "commonest": self._commonest()}
        return {"oracle": self.solve} | {name: partial(self._along, rule) for name, rule in known.items()}

    def _along(self, rule: Any, tokens: np.ndarray) -> np.ndarray:
        x, y = pairs_of(tokens)
        return self._classes(along(rule, x, y), tokens)

    def _commonest(self) -> Any:
        usual = 1 if self.pairs(0, 2000)[1].mean() >= 0 else -1
        return lambda x, y, queries: np.full(queries.shape[:-1], usual)


def teaching(w: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,P,d) the rows that teach conjunctions (n,d), and (n,P) at which places they stand."""
    place, used = np.arange(points), w != 0
    filled = np.where(place == 0, -1, 1)[:, None]
    rows = np.where(used[:, None], w[:, None], filled)
    literal = np.where(used, used.cumsum(1) + 1, -1)  # the place of the row in which a literal is turned
    rows = np.where(literal[:, None] == place[:, None], -rows, rows)
    return rows, place < 2 + used.sum(1)[:, None]
