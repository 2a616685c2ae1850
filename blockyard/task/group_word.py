"""The word problem of a group: the product of the elements so far.

    g1 g2 g3 ...                      asked at every place: g1 g2 ... gt, where the permutation on the left acts first

Asked at every token, as in the paper. `S3`, `S5` all permutations, `A5` the even ones (not solvable: hard for constant
depth), `Z60` the sums modulo 60. Tokens are two elements that generate the group, a swap of the first two and a
rotation of all (A5: of the first three and of all; Z60: 0 and 1), or with `moves=all` every element, which is harder.

Shapes   ids: the elements in lexicographic order, 0 the neutral one    T = length
         vocab = 6, 60, 120, 60 for S3, A5, S5, Z60    chance 1/vocab
Source   arXiv 2411.12537, 2404.08819    Family  state tracking
Differs  nothing known
"""

from functools import lru_cache
from itertools import permutations
from typing import Annotated

import numpy as np

from blockyard.core.errors import unknown
from blockyard.core.settings import Count, Word
from blockyard.task._base import Draw, Examples, Predictor, Task

ORDERS = {"S3": 6, "A5": 60, "S5": 120, "Z60": 60}


class GroupWord(Task):
    variants = ({}, dict(moves="all"), dict(group="A5", moves="all"), dict(group="S5"), dict(group="Z60", length=90))
    first = "660887975e32"

    def __init__(
        self, *, group: Annotated[Word, "the group, such as S3 or Z5"] = "S3",
        length: Annotated[Count, "moves of a word"] = 16,
        moves: Annotated[Word, "few: the generators; all: every element"] = "few",
    ) -> None:  # fmt: skip
        if group not in ORDERS:
            raise unknown("group", group, ORDERS)
        if moves not in ("all", "few"):
            raise unknown("choice of moves", moves, ("all", "few"))
        self.group, self.length, self.moves = group, length, moves
        self.vocab, self.answers = ORDERS[group], range(ORDERS[group])

    def sample(self, seed: int, n: int) -> Examples:
        drawn = _group(self.group)[1] if self.moves == "few" else np.arange(self.vocab)
        tokens = drawn[Draw(seed, n).below(len(drawn), self.length)]
        return Examples(tokens, self.solve(tokens))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        table, found = _group(self.group)[0], np.zeros_like(tokens)
        now = np.zeros(len(tokens), np.int64)
        for t, token in enumerate(tokens.T):
            found[:, t] = now = table[now, token]
        return found

    def baselines(self) -> dict[str, Predictor]:
        return {"last": lambda tokens: tokens}


@lru_cache
def _group(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,N) the ids of the products, and the two ids that generate."""
    if name == "Z60":
        ids = np.arange(60)
        return (ids[:, None] + ids) % 60, np.array([0, 1])
    points = int(name[1:])
    every = [p for p in permutations(range(points)) if name[0] == "S" or _even(p)]
    index = {p: i for i, p in enumerate(every)}
    table = np.array([[index[tuple(b[a[i]] for i in range(points))] for b in every] for a in every])
    cycle = tuple(range(points))
    first = (1, 0, *cycle[2:]) if name[0] == "S" else (1, 2, 0, *cycle[3:])
    return table, np.array([index[first], index[(*cycle[1:], 0)]])


def _even(p: tuple[int, ...]) -> bool:
    return sum(p[i] > p[j] for j in range(len(p)) for i in range(j)) % 2 == 0
