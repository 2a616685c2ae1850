"""Pieces of words that make a text likelier, not those that are merely frequent.

    score(a, b) = n(ab) log (p(ab) / (p(a) p(b)))        p(a) = n(a) / N, counted in the words as they are cut so far

Bytes are the first pieces. The pair of neighbours of the highest score becomes a piece of its own wherever it stands,
until there are enough or no pair has a score above 0. A word is then cut where the product of its pieces' probabilities
is the largest (Viterbi).

Source   arXiv 2410.18441    Slug  generative-math-modeling
Differs  a reading of its proposal; a piece that no word holds any more counts half a time
"""

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

Pieces = dict[bytes, float]  # the logarithm of its probability, by piece


class _Words:
    """Different words cut into pieces, with how often each piece and each pair of neighbours stands in the text."""

    def __init__(self, words: Mapping[bytes, int], most: int) -> None:
        self.cuts, self.often = [list(word) for word in words], list(words.values())
        self.counts = np.zeros(most)
        self.rows: dict[tuple[int, int], int] = {}
        self.pairs, self.both = np.zeros((1024, 2), np.int64), np.zeros(1024)
        self.where: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        for word in range(len(self.cuts)):
            self._enter(word, 1)

    def _enter(self, word: int, sign: int) -> None:
        """Count a word, or no longer."""
        cut, often = self.cuts[word], sign * self.often[word]
        for piece in cut:
            self.counts[piece] += often
        for pair in pairwise(cut):
            row = self.rows.setdefault(pair, len(self.rows))
            if row == len(self.both):
                self.pairs = np.concatenate([self.pairs, np.zeros_like(self.pairs)])
                self.both = np.concatenate([self.both, np.zeros_like(self.both)])
            self.pairs[row] = pair
            self.both[row] += often
            self.where[pair].add(word)

    def best(self) -> tuple[int, int] | None:
        """The pair of the highest score above 0; of equal ones the first that was met."""
        found = np.nonzero(self.both[: len(self.rows)] > 0)[0]
        if not len(found):
            return None
        both, (a, b) = self.both[found], self.counts[self.pairs[found]].T
        scores = both * np.log(both * self.counts.sum() / (a * b))
        top = int(scores.argmax())
        return tuple(self.pairs[found[top]].tolist()) if scores[top] > 0 else None

    def merge(self, pair: tuple[int, int], piece: int) -> None:
        """Make a pair one piece wherever it stands, from left to right."""
        for word in sorted(self.where.pop(pair)):
            self._enter(word, -1)
            old, new = self.cuts[word], list[int]()
            at = 0
            while at < len(old):
                together = (old[at], old[at + 1] if at + 1 < len(old) else -1) == pair
                new.append(piece if together else old[at])
                at += 2 if together else 1
            self.cuts[word] = new
            self._enter(word, 1)


def learn(words: Mapping[bytes, int], most: int) -> Pieces:
    """At most so many pieces for words that stand in a text so often, all bytes among them."""
    pieces, text = [bytes([byte]) for byte in range(256)], _Words(words, most)
    while len(pieces) < most and (pair := text.best()) is not None:
        joined = pieces[pair[0]] + pieces[pair[1]]
        text.merge(pair, len(pieces))
        pieces.append(joined)
    counts = dict.fromkeys(pieces, 0.0)  # two ways to one piece are one piece
    for piece, count in zip(pieces, text.counts.tolist()):
        counts[piece] += count
    logs = np.log(np.maximum([*counts.values()], 0.5))
    return dict(zip(counts, (logs - np.logaddexp.reduce(logs)).tolist()))


def cut(word: bytes, pieces: Pieces) -> list[bytes]:
    """The likeliest pieces of a word."""
    longest = max(map(len, pieces))
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(word) + 1):
        starts = range(max(0, end - longest), end)
        best.append(max((best[s][0] + pieces[word[s:end]], s) for s in starts if word[s:end] in pieces))
    found, end = [], len(word)
    while end:
        start = best[end][1]
        found.append(word[start:end])
        end = start
    return found[::-1]
