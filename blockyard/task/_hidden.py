"""A text some of whose tokens are hidden: windows of it to train on, and exams that ask for the same tokens always."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.spec import corrupt, head, objective, stem
from blockyard.data.corpus import Corpus
from blockyard.data.order import TrainOrder
from blockyard.data.rows import Arrays
from blockyard.data.shards import Split
from blockyard.data.windows import eval_windows
from blockyard.task._exhibit import Exhibit
from blockyard.task._material import GROUPS, Ends, Exam, Material, Predict
from blockyard.task._metric import Metric
from blockyard.task._neighbours import Counts
from blockyard.task._text import HEAD, LENGTHS, nats

LOSS = Metric("loss", "bits/hidden token", "lower", 0.0)
ACCURACY = Metric("accuracy", "share of the hidden tokens named", "higher", 0.0, 1.0)
BITS = 1 / math.log(2)
LEAST = 16  # hidden tokens of a group, on average
SHOWN = 6  # rows of an exhibit


class HiddenText(Material):
    """A corpus of which tests hide a share of the tokens."""

    metric, also, training = LOSS, (ACCURACY,), (LOSS.unit, BITS)

    def __init__(self, corpus: Corpus, share: float) -> None:
        self.corpus, self.share, self.name, self.notes = corpus, share, corpus.name, corpus.notes
        self.hash = hashlib.sha256(json.dumps([corpus.hash, share]).encode()).hexdigest()
        self.mask, self.tokenizer, self.bytes = corpus.codec.vocab, corpus.codec.to_json(), dict(corpus.bytes)
        teaches = objective("masked", corrupt=corrupt("mask", share=share))
        told = {"vocab": self.mask + 1, "mask": self.mask}  # the mask is one id more than the text has
        self.ends = Ends(
            "ids", "tokens", "masked tokens", stem("tokens"), head("lm"), teaches, causal=False, settings=told
        )

    @property
    def summary(self) -> str:
        asked = len(np.flatnonzero(self._hidden("final")))
        return (
            f"{self.corpus.summary()}; {self.share:.0%} of the tokens of a test are hidden, {asked:,} of the last one"
        )

    @property
    def scored(self) -> dict[str, int]:
        return {"tune": len(self.corpus.tune), "final": len(self.corpus.test)}

    def order(self, length: int, batch: int, seed: int) -> "WindowOrder":
        return WindowOrder(TrainOrder(self.corpus.train, length, batch, fold("order", seed)))

    def exam(self, role: str, length: int) -> Exam:
        return self._exam(role, min(length, len(self._split(role))), self._cuts(role))

    def at_lengths(self, role: str, length: int, reach: Sequence[float] = ()) -> Iterator[tuple[int, Exam]]:
        """The head of the split in windows of other lengths: the same tokens are hidden."""
        count = min(HEAD, len(self._split(role)))
        for size in (int(length * factor) for factor in reach or LENGTHS):
            if 1 <= size < count:
                yield size, self._exam(role, size, np.array([1, len(self._split(role))]), count // size)

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        """(n,2) nats and wrong guesses."""
        wrong = (said["logits"].argmax(-1) != batch.targets) & (batch.targets >= 0)
        return _beside(nats(said["logits"], batch.targets), wrong.sum(1).double())

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return {"accuracy": 1 - float(sums[1]) / asked}

    def references(self, role: str) -> dict[str, np.ndarray]:
        """What counts of the training text say: how often a token is, and how often beside which neighbours."""
        split, hidden, cuts = self._split(role), self._hidden(role), self._cuts(role)
        shown = np.where(hidden, self.mask, split.tokens).astype(np.int64)
        places = 1 + np.flatnonzero(hidden[1:])
        truth, group = np.asarray(split.tokens[places], np.int64), np.searchsorted(cuts, places, "right") - 1
        found = {}
        for name, predict in Counts(self.corpus.train, self.mask).predictors().items():
            sums = np.bincount(group, predict(shown, places, truth), len(cuts) - 1)
            found[name] = _bits(sums[:, None], np.bincount(group, minlength=len(cuts) - 1))
        return found

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        """Pieces of the test with every hidden token as it was guessed."""
        index = np.unique(np.linspace(0, len(exam) - 1, SHOWN).astype(np.int64))
        rows = exam.take(index)
        ids = predict(rows)["logits"].argmax(-1)
        title = "Hidden tokens as guessed, in brackets; where the guess is wrong, what stood there follows a stroke"
        return [Exhibit(title, texts=[self._shown(*row) for row in zip(rows["tokens"], rows["targets"], ids)])]

    def _shown(self, tokens: np.ndarray, targets: np.ndarray, guesses: np.ndarray) -> str:
        """A row with its guesses in the text."""

        def text(ids: Any) -> str:
            return self.corpus.codec.decode([i for i in ids if i != self.mask]).replace("\n", "⏎")

        pieces, begin = [], 0
        for place in np.flatnonzero(targets >= 0):
            guess, truth = text([guesses[place]]), text([targets[place]])
            pieces += [text(tokens[begin:place]), f"[{guess}]" if guess == truth else f"[{guess}/{truth}]"]
            begin = place + 1
        return "".join([*pieces, text(tokens[begin:])])

    def _split(self, role: str) -> Split:
        return self.corpus.tune if role == "tune" else self.corpus.test

    def _hidden(self, role: str) -> np.ndarray:
        """(N,) which tokens of a split are hidden."""
        bits = np.random.PCG64(np.random.SeedSequence(fold("hidden", role)))  # numpy keeps these streams
        return (np.asarray(bits.random_raw(len(self._split(role)))) >> np.uint64(11)) * 2.0**-53 < self.share

    def _cuts(self, role: str) -> np.ndarray:
        """(G+1,) where the groups of a split begin, and its end: the same at every length."""
        split = self._split(role)
        groups = max(1, min(GROUPS, int(self._hidden(role).sum()) // LEAST))
        windows = eval_windows(split, max(1, (len(split) - 1) // groups - 1), groups)
        return np.append(windows.first[np.unique(windows.group, return_index=True)[1]], len(split))

    def _exam(self, role: str, length: int, cuts: np.ndarray, most: int | None = None) -> Exam:
        first = [np.arange(lo, hi, length) for lo, hi in pairwise(cuts)]
        last = [np.minimum(each + length, hi) for each, hi in zip(first, cuts[1:])]
        group = np.repeat(np.arange(len(first)), [len(each) for each in first])[:most]
        hidden = self._hidden(role)
        windows = np.concatenate(first)[:most], np.concatenate(last)[:most]
        rows = HiddenRows(self._split(role), hidden, self.mask, length, *windows)
        asked = np.bincount(group, rows.asked(), len(first)).astype(np.int64)
        if not asked.all():
            raise UsageError("no token is hidden in a part of the test; give more data, or a larger share")
        return Exam(rows, length, group, asked, asked / asked.sum(), _bits)


def _bits(sums: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(G,) bits per hidden token, of nats."""
    return BITS * sums[:, 0] / asked


def _beside(*columns: Any) -> Any:
    """(n,K) of K tensors (n,)."""
    import torch

    return torch.stack(columns, 1)


@dataclass(frozen=True)
class WindowOrder:
    """Windows of the training text, of which an objective hides what it wants."""

    windows: TrainOrder

    def next(self, step: int) -> Arrays:
        """The rows of a step."""
        return {"tokens": self.windows.next(step)[:, :-1]}


@dataclass(frozen=True, eq=False)
class HiddenRows:
    """Whole rows of a split (N tokens), each asked about its hidden tokens from `first` to `last` - 1, both (n,).

    Where that is less than a row, it begins earlier, in text that another one is asked about.
    """

    split: Split
    hidden: np.ndarray  # (N,)
    mask: int
    length: int
    first: np.ndarray
    last: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def take(self, index: Any) -> Arrays:
        """The arrays of the rows of an index or a slice."""
        first, last = self.first[index][:, None], self.last[index][:, None]
        place = np.maximum(last - self.length, 0) + np.arange(self.length)
        tokens, hidden = np.asarray(self.split.tokens[place], np.int64), self.hidden[place]
        asked = hidden & (place >= first) & (place < last)
        return {"tokens": np.where(hidden, self.mask, tokens), "targets": np.where(asked, tokens, -1)}

    def asked(self) -> np.ndarray:
        """(n,) hidden tokens that every row is asked about."""
        before = np.concatenate([[0], np.cumsum(self.hidden)])
        return before[self.last] - before[self.first]
