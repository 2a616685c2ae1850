"""Several Markov chains, one a row: which of them is at work must be seen before the next token can be told.

    row of chain s:  x_{t+1} = P_s[x_t], or any token, drawn, one time in `jumps`
    asked where x_{t+1} = P_s[x_t] and only chain s explains so many of the steps up to t

P_s is a permutation of the alphabet, the same in all examples. To predict is to know all chains and to infer one.

Shapes   ids: 0..alphabet-1    T = length    chance 1/alphabet
Source   arXiv 2112.14397 (a mixture of sources)    Family  mixtures
Differs  places where the next token is drawn freely are not asked, so that every answer is certain
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Task, at_least


class MarkovMix(Task):
    variants = ({}, dict(sources=2, alphabet=8, length=32, jumps=4))
    first = "48d0579aa880"

    def __init__(
        self, *, sources: Annotated[Count, "how many chains"] = 4,
        alphabet: Annotated[Count, "different tokens"] = 32, length: Annotated[Count, "tokens of a row"] = 64,
        jumps: Annotated[Count, "every so many tokens one is drawn freely, on average"] = 8,
    ) -> None:  # fmt: skip
        at_least(8, alphabet=alphabet, length=length)
        at_least(2, jumps=jumps)
        self.sources, self.alphabet, self.length, self.jumps = sources, alphabet, length, jumps
        self.vocab, self.answers = alphabet, range(alphabet)
        self.chains = Draw(0, sources, stream=2).order(alphabet)  # (S,A)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        source, free = draw.below(self.sources, 1)[:, 0], draw.below(self.alphabet, self.length + 1)
        jumps = draw.below(self.jumps, self.length + 1) == 0
        tokens = free.copy()
        for t in range(self.length):
            follower = self.chains[source, tokens[:, t]]
            tokens[:, t + 1] = np.where(jumps[:, t + 1], free[:, t + 1], follower)
        best, alone = self._likeliest(tokens[:, :-1])
        follows = tokens[:, 1:] == self.chains[source[:, None], tokens[:, :-1]]
        asked = follows & alone & (best == source[:, None])
        return Examples(tokens[:, :-1], np.where(asked, tokens[:, 1:], -1))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        best, _ = self._likeliest(tokens)
        return self.chains[best, np.maximum(tokens, 0)]

    def _likeliest(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,T) the chain that explains most steps up to each token, and whether it is the only one."""
        steps = self.chains[:, np.maximum(tokens[:, :-1], 0)] == tokens[:, 1:]  # (S,n,T-1)
        known = np.pad(steps.cumsum(2), ((0, 0), (0, 0), (1, 0)))
        return known.argmax(0), (known == known.max(0)).sum(0) == 1
