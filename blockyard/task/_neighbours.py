"""What counts of a text say of a token: how often it is there, and how well it fits between its neighbours.

p(x) = (c(x) + 1) / (N + V)        p(x | a) = (c(a, x) + p(x)) / (c(a) + 1)
p(x | l, r)  ~  p(x | l) p(r | x)        a neighbour that is hidden says nothing
"""

from collections.abc import Callable

import numpy as np

from blockyard.data.shards import Split

MOST = 1024  # ids: of more, the pairs are too many to keep
PIECE = 1 << 22  # numbers at once
Surprise = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Counts:
    """Of single tokens and of neighbours, in a split of `vocab` ids; the id `vocab` is the mask."""

    def __init__(self, split: Split, vocab: int) -> None:
        ids = np.asarray(split.tokens, np.int64)
        self.vocab = vocab
        single = np.bincount(ids, minlength=vocab).astype(np.float64)
        self.log = np.log((single + 1) / (len(ids) + vocab))
        self.pairs = None
        if vocab <= MOST:
            pairs = np.bincount(ids[:-1] * vocab + ids[1:], minlength=vocab * vocab).reshape(vocab, vocab)
            self.pairs = np.log((pairs + np.exp(self.log)) / (pairs.sum(1, keepdims=True) + 1))  # log p(next | this)

    def predictors(self) -> dict[str, Surprise]:
        """By name: (what is shown (N,), places (n,), what stood there (n,)) -> nats (n,)."""
        known: dict[str, Surprise] = {"unigram": lambda shown, places, truth: -self.log[truth]}
        return known if self.pairs is None else known | {"both neighbours": self._between}

    def _between(self, shown: np.ndarray, places: np.ndarray, truth: np.ndarray) -> np.ndarray:
        padded = np.concatenate([[self.vocab], shown, [self.vocab]])
        left, right = padded[places], padded[places + 2]
        size = max(1, PIECE // self.vocab)
        pieces = [slice(i, i + size) for i in range(0, len(places), size)]
        return np.concatenate([np.zeros(0), *(self._nats(left[s], right[s], truth[s]) for s in pieces)])

    def _nats(self, left: np.ndarray, right: np.ndarray, truth: np.ndarray) -> np.ndarray:
        assert self.pairs is not None
        last = self.vocab - 1
        score = np.where((left < self.vocab)[:, None], self.pairs[np.minimum(left, last)], self.log)
        score = score + np.where((right < self.vocab)[:, None], self.pairs[:, np.minimum(right, last)].T, 0.0)
        score -= score.max(1, keepdims=True)
        return np.log(np.exp(score).sum(1)) - score[np.arange(len(truth)), truth]
