"""What has most often followed the last token of the row.

    x_{t+i} = argmax_v n(x_{t+i-1}, v)        n(u, v): how often v has followed u in the row

Source   arXiv 2411.03786
Family   proposers
Tags     guesses=text, draws=no
Differs  counts the row alone; of several that followed equally often, the first one
"""

from collections import Counter
from typing import Annotated

from blockyard.core.settings import Count
from blockyard.decoder import Proposal, Proposer, Rows


class MyDecoder(Proposer):
    """Counts of pairs, a table for each row."""

    def __init__(self, least: Annotated[Count, "how often a pair was met before it is a guess"] = 1) -> None:
        self.least = least
        self._pairs: list[dict[int, Counter[int]]] = []
        self._read: list[int] = []

    def begin(self, rows: int) -> None:
        self._pairs, self._read = [{} for _ in range(rows)], [0] * rows

    def select(self, lines: list[int]) -> None:
        self._pairs, self._read = [self._pairs[i] for i in lines], [self._read[i] for i in lines]

    def propose(self, rows: Rows, wanted: list[int]) -> Proposal:
        """Nothing is drawn, so there are no probabilities to tell: the model verifies by its own choice."""
        return Proposal([self._row(line, ids, most) for line, (ids, most) in enumerate(zip(rows.ids, wanted))])

    def _row(self, line: int, ids: list[int], most: int) -> list[int]:
        pairs, guesses = self._pairs[line], []
        for i in range(max(1, self._read[line]), len(ids)):  # what is new since the last time
            pairs.setdefault(ids[i - 1], Counter())[ids[i]] += 1
        self._read[line] = len(ids)
        last = ids[-1]
        while len(guesses) < most and last in pairs:
            last, times = pairs[last].most_common(1)[0]
            if times < self.least:
                break
            guesses.append(last)
        return guesses
