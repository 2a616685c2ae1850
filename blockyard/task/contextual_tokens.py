"""Tokens that tell what comes next among others that tell nothing: which ones is a matter of the last token of a row.

    l_1 ... l_{T-1} ~ P(l | m, n), one by one        then m        asked at m: n

Each query m has `classes` answers n of its own. Under m every answer has `distinct` tokens, which together make up
`apart` of its contexts, the i-th as often as i to the `power`; `shared` tokens, all as likely, make up the rest under
every answer. What a token is for one query it need not be for another. Nothing is said by the places.

Shapes   ids: the answers, then the queries, then the tokens of contexts    T = length    chance 1/(queries classes)
Source   arXiv 2305.16380    Slug  scan-and-snap    Family  in context
Differs  all queries and all their answers are as likely
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count, NonNegative, Share
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, blank


class ContextualTokens(Task):
    variants = ({}, dict(classes=3, queries=1, distinct=2, shared=2, length=48, apart=0.3), dict(apart=1.0, power=0.0))
    first = "8fdd131083a9"
    exact = False

    def __init__(
        self, *, classes: Annotated[Count, "different answers to a query"] = 4,
        queries: Annotated[Count, "different last tokens"] = 2,
        distinct: Annotated[Count, "tokens that tell of an answer, for each"] = 4,
        shared: Annotated[Count, "tokens that tell nothing"] = 4,
        length: Annotated[Count, "tokens of a row"] = 64,
        apart: Annotated[Share, "the share of a context that is distinct tokens"] = 0.4,
        power: Annotated[NonNegative, "the i-th distinct token is as frequent as i to it; 0: all alike"] = 1.0,
    ) -> None:  # fmt: skip
        at_least(2, classes=classes, length=length)
        self.classes, self.queries, self.distinct, self.shared = classes, queries, distinct, shared
        self.length, self.apart, self.power = length, apart, power
        self.tokens = classes * distinct + shared
        self.answers, self.begin = range(classes * queries), queries * (classes + 1)  # the first token of contexts
        self.vocab = self.begin + self.tokens
        own = np.arange(1, distinct + 1.0) ** power
        self.frequencies = np.concatenate([apart * own / own.sum(), np.full(shared, (1 - apart) / shared)])
        self.roles = Draw(0, queries, stream=2).order(self.tokens)  # (Q,M) the tokens of each query, by their roles

    def chances(self) -> np.ndarray:
        """(Q,K,M) P(l | m, n), l counted from the first token of contexts and n from the first answer to m."""
        found = np.zeros((self.queries, self.classes, self.tokens))
        for m in range(self.queries):
            for n in range(self.classes):
                found[m, n, self._named(m, n)] = self.frequencies
        return found

    def _named(self, m: int, n: int) -> np.ndarray:
        """The tokens of a class for a query: distinct ones, the rarest first, then those that are shared."""
        first = n * self.distinct
        return self.roles[m, [*range(first, first + self.distinct), *range(self.tokens - self.shared, self.tokens)]]

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        m, answer = draw.below(self.queries, 1)[:, 0], draw.below(self.classes, 1)[:, 0]
        place = np.searchsorted(self.frequencies.cumsum()[:-1], draw.uniform(self.length - 1), side="right")
        named = np.array([[self._named(i, j) for j in range(self.classes)] for i in range(self.queries)])
        context = self.begin + named[m[:, None], answer[:, None], place]
        tokens = np.concatenate([context, len(self.answers) + m[:, None]], 1)
        targets = blank(tokens)
        targets[:, -1] = m * self.classes + answer
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """The answer of which most distinct tokens were seen, read as those of each place's query."""
        found, query = np.zeros_like(tokens), tokens - len(self.answers)
        for m in range(self.queries):
            told = self._told(m)[tokens][..., None] == np.arange(self.classes)
            found = np.where(query == m, m * self.classes + told.cumsum(1).argmax(-1), found)
        return found

    def _told(self, m: int) -> np.ndarray:
        """(V+1,) the class that each id tells of to a query, -1 where to none; the last is no id."""
        told = np.full(self.vocab + 1, -1)
        own = self.roles[m, : self.classes * self.distinct]
        told[self.begin + own] = np.repeat(np.arange(self.classes), self.distinct)
        return told

    def baselines(self) -> dict[str, Predictor]:
        """An answer of the right query, whatever stands before it."""
        return {"query": lambda tokens: np.clip(tokens - len(self.answers), 0, self.queries - 1) * self.classes}
