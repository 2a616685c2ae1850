"""A text as a comparison sees it: windows of it to train on, and exams that predict each of its tokens once."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockyard.core.random import fold
from blockyard.data.corpus import Corpus
from blockyard.data.order import TrainOrder
from blockyard.data.rows import Arrays
from blockyard.data.shards import Split
from blockyard.data.windows import EvalWindows, eval_windows
from blockyard.task._material import GROUPS, Exam, Material, ratio, token_ends
from blockyard.task._metric import Metric

HEAD = 32768  # tokens that the loss at other lengths is read from
LENGTHS = (0.5, 1, 2, 4)  # in units of the training length
LOSS = Metric("loss", "bits/byte", "lower", 0.0)


class Text(Material):
    """A corpus: windows of it to train on, its held-out splits to score."""

    metric, plain_text = LOSS, True

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.name, self.hash, self.notes = corpus, corpus.name, corpus.hash, corpus.notes
        self.ends = token_ends(corpus.codec.vocab)
        self.tokenizer = corpus.codec.to_json()
        self.bytes = dict(corpus.bytes)
        self.training = self.metric.unit, len(corpus.train) / (math.log(2) * self.bytes["train"])

    @property
    def summary(self) -> str:
        return self.corpus.summary()

    @property
    def scored(self) -> dict[str, int]:
        return {"tune": self.corpus.bytes["tune"], "final": self.corpus.bytes["test"]}

    def order(self, length: int, batch: int, seed: int) -> TrainOrder:
        return TrainOrder(self.corpus.train, length, batch, fold("order", seed))

    def exam(self, role: str, length: int) -> Exam:
        return text_exam(self._split(role), length, GROUPS)

    def at_lengths(self, role: str, length: int, reach: Sequence[float] = ()) -> Iterator[tuple[int, Exam]]:
        """The head of the split in windows of other lengths."""
        split = self._split(role)
        for size in (int(length * factor) for factor in reach or LENGTHS):
            if size >= 1 and size + 1 < min(len(split), HEAD):
                yield size, text_exam(split, size, 1, HEAD // size)

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        return token_nats(said, batch)

    def _split(self, role: str) -> Split:
        return self.corpus.tune if role == "tune" else self.corpus.test


def token_nats(said: Mapping[str, Any], batch: Any) -> Any:
    """(B,) the loss of every row under a prediction of `logits`."""
    return nats(said["logits"], batch.targets)


def nats(logits: Any, targets: Any) -> Any:
    """(B,) the loss of every row, in double precision; targets below 0 are not asked."""
    return nats_each(logits, targets).sum(1)


def nats_each(logits: Any, targets: Any) -> Any:
    """(B,T) the loss of every target, in double precision; 0 where it is below 0, which is not asked."""
    from torch.nn.functional import cross_entropy

    each = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")
    return each.view_as(targets).double()


@dataclass(frozen=True, eq=False)
class _WindowRows:
    """The windows of a split as rows."""

    windows: EvalWindows
    count: int

    def __len__(self) -> int:
        return self.count

    def take(self, index: Any) -> Arrays:
        batch = self.windows.rows(index)
        return {"tokens": batch.tokens[:, :-1], "targets": np.where(batch.valid, batch.tokens[:, 1:], -1)}


def text_exam(split: Split, length: int, groups: int, most: int | None = None) -> Exam:
    """Windows of a split, or the first `most` of them; a group's figure is in bits per byte."""
    windows = eval_windows(split, length, groups)
    count, spelt = len(windows) if most is None else min(most, len(windows)), windows.bytes
    if count < len(windows):
        spelt = np.array([int(split.spelt(int(windows.first[0]), int(windows.last[count - 1])).sum())])
    rows = _WindowRows(windows, count)
    return Exam(rows, length, windows.group[:count], math.log(2) * spelt, windows.weights, ratio)
