"""Questions that are answered in several tokens, at once or behind a derivation; all that is said must be right.

    question = answer .. ..                       asked from = on: the next token
    question = line = line = answer .. ..         the answer stands behind the last =

The score is the share of rows in which anything that is asked is wrong. Since each place is asked behind what is right,
a row is right exactly where greedy decoding from = on writes this derivation and this answer. Who errs on the way and
answers rightly all the same counts as wrong; `error behind the right trace` is that of the answer where the derivation
is given.

Shapes   tokens, targets (n,T), T = question + reply    questions (n,Q), replies (n,R): -1 behind short ones
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from blockyard.task._base import Examples, Task
from blockyard.task._exhibit import Exhibit
from blockyard.task._metric import Metric
from blockyard.task._slices import RATE, Slicing, figures

BEHIND, TOKEN = "error behind the right trace", "error of a token"


class Traced(Task):
    """What such tasks share."""

    training = ("nats/token", 1.0)

    def __init__(self, vocab: int, answers: range, mark: int, asking: int, replying: int) -> None:
        """`mark` is the id of =, the last of the vocabulary stands behind the end; `asking`, `replying`: Q and R."""
        self.vocab, self.answers, self.mark, self.pad = vocab, answers, mark, vocab - 1
        self.asking, self.replying, self.length = asking, replying, asking + replying

    @abstractmethod
    def asks(self, seed: int, n: int) -> np.ndarray:
        """(n,Q) the ids of n questions, -1 behind short ones."""

    @abstractmethod
    def replies(self, questions: np.ndarray) -> np.ndarray:
        """(n,R) what is said to them, derivation and answer; -1 behind short ones."""

    @property
    def slicings(self) -> tuple[Slicing, ...]:
        """What the error is told by."""
        return ()

    def sample(self, seed: int, n: int) -> Examples:
        questions = self.asks(seed, n)
        return self._laid(questions, self.replies(questions))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        found, rows = np.zeros_like(tokens), np.flatnonzero((tokens == self.mark).any(1))
        if len(rows):
            questions = self.questions_of(tokens[rows])
            found[rows] = self._laid(questions, self.replies(questions)).targets
        return found

    def questions_of(self, tokens: np.ndarray) -> np.ndarray:
        """(n,Q) the questions of rows: what stands before the first =."""
        before = (tokens == self.mark).argmax(1)[:, None]
        return np.where(np.arange(self.asking) < before, tokens[:, : self.asking], -1)

    def verified(self, questions: np.ndarray, replies: np.ndarray) -> np.ndarray:
        """(n,) whether these are the replies (n,R), derivation and answer."""
        return (packed(self.replies(questions), self.replying) == packed(replies, self.replying)).all(1)

    def answered(self, examples: Examples) -> np.ndarray:
        """(n,T) which of the asked places are of the answer: those from the last = on."""
        marks = examples.tokens == self.mark
        return (examples.targets >= 0) & (marks.cumsum(1) == marks.sum(1, keepdims=True))

    def questions(self, targets: np.ndarray) -> np.ndarray:
        return np.ones(len(targets), np.int64)

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,K) whether a row is wrong, whether its answer is; wrong tokens, asked ones; then those of each slicing."""
        ids = np.asarray(said["ids"] if "ids" in said else said["logits"].argmax(-1))
        asked = examples.targets >= 0
        wrong = asked & (ids != examples.targets)
        own = [wrong.any(1), (wrong & self.answered(examples)).any(1), wrong.sum(1), asked.sum(1)]
        return np.concatenate([np.stack(own, 1), *(each.amounts(wrong, examples) for each in self.slicings)], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        """The error of the answer alone, that of a token, and that of every slice."""
        own = (Metric(name, RATE, "lower", 0.0, 1.0) for name in (BEHIND, TOKEN))
        return (*own, *(metric for each in self.slicings for metric in each.metrics))

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        own = {BEHIND: float(sums[1] / asked), TOKEN: float(sums[2] / sums[3])}
        return own | figures(self.slicings, sums[4:])

    def exhibits(self, said: Mapping[str, np.ndarray], examples: Examples) -> list[Exhibit]:
        sums, found, at = self.priced(said, examples).sum(0), [], 4
        for each in self.slicings:
            found.append(each.exhibit(sums[at : at + 2 * len(each.pieces)]))
            at += 2 * len(each.pieces)
        return found

    def described(self) -> str:
        right = float((self.chance ** (self.sample(0, 64).targets >= 0).sum(1)).mean())
        return f"{self.length} tokens of {self.vocab} kinds an example, {1 - right:.1%} wrong by chance"

    def _laid(self, questions: np.ndarray, replies: np.ndarray) -> Examples:
        """The rows of questions, = and replies without gaps, and what is asked in them."""
        marks = np.full((len(questions), 1), self.mark)
        whole = packed(np.concatenate([questions, marks, replies], 1), self.length + 1)
        first, said = ((each >= 0).sum(1)[:, None] for each in (questions, replies))
        place = np.arange(self.length)
        asked = (place >= first) & (place < first + said)
        whole = np.where(whole < 0, self.pad, whole)
        return Examples(whole[:, :-1], np.where(asked, whole[:, 1:], -1))


def packed(ids: np.ndarray, width: int) -> np.ndarray:
    """(n,width) the ids of every row that are not below 0, from the left on; -1 behind them."""
    order = np.argsort(ids < 0, axis=1, kind="stable")[:, :width]
    found = np.take_along_axis(ids, order, 1)
    return np.pad(found, ((0, 0), (0, width - found.shape[1])), constant_values=-1)
