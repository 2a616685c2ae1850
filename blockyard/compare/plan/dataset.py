"""What arms are trained on and scored by: a text, or a task.

    text   loss    bits per byte of text that no training step saw, in 32 groups of contiguous text
    task   error   share of the asked answers that are wrong, in 32 groups of examples that no training step draws (a
                   task with few different examples holds out what it can, and says how many)

Both hand out ids and targets (-1 where nothing is asked), an order of training batches that the seed alone decides,
and exams. A row's amount (nats, or wrong answers) is summed over the rows of a group and divided by the group's size.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from blockyard.compare.documents import Choice, Data, Metric, Training
from blockyard.compare.plan.held import EXAMPLES, HeldOut, hold_out
from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.data import Corpus, TrainOrder, eval_windows, load_text
from blockyard.data.corpus import cache_root
from blockyard.data.once import keep
from blockyard.data.shards import Split
from blockyard.task import Examples, Task, make_task
from blockyard.train.loop import Rows, Source

GROUPS = 32
HEAD = 32768  # tokens that the loss at other lengths is read from
LENGTHS = (0.5, 1, 2, 4)  # in units of the training length


class Exam(Protocol):
    """Rows to score: `rows(slice)` gives them, `groups` turns the amount of every row into figures of weights (G,)."""

    length: int
    weights: np.ndarray

    def __len__(self) -> int: ...

    def rows(self, index: slice) -> Rows: ...

    def groups(self, amounts: np.ndarray) -> np.ndarray: ...


class Material(Protocol):
    """A text or a task, as a comparison sees it."""

    name: str
    hash: str
    vocab: int
    length: int | None  # of its rows, where that is not the user's to choose
    metric: Metric
    notes: tuple[str, ...]
    tokenizer: bytes | None

    def described(self, choice: Choice) -> Data: ...

    def order(self, length: int, batch: int, seed: int) -> Source: ...

    def exam(self, role: str, length: int) -> Exam: ...

    def at_lengths(self, role: str, length: int) -> Iterator[tuple[int, Exam]]: ...

    def amounts(self, logits: Tensor, targets: Tensor) -> Tensor: ...

    def references(self, role: str) -> dict[str, np.ndarray]: ...


def named(choice: Choice) -> Material:
    """The material that a plan or a job names."""
    if choice.task:
        return _task(choice.task)
    return _text(tuple(choice.paths) if choice.paths else None, choice.codec or "bytes")


@lru_cache(maxsize=2)
def _text(paths: tuple[str, ...] | None, codec: str) -> "Text":
    """Read once a process."""
    return Text(load_text(list(paths) if paths else None, codec=codec))


@lru_cache(maxsize=2)
def _task(text: str) -> "Exercise":
    return Exercise(text, make_task(text))


class Text:
    """A corpus: windows of it to train on, its held-out splits to score."""

    length: int | None = None
    metric = Metric("loss", "bits/byte", "lower")

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.name, self.hash, self.notes = corpus, corpus.name, corpus.hash, corpus.notes
        self.vocab = corpus.codec.vocab
        self.tokenizer: bytes | None = corpus.codec.to_json()

    def described(self, choice: Choice) -> Data:
        sizes = dict(self.corpus.bytes)
        per_nat = len(self.corpus.train) / (math.log(2) * sizes["train"])
        return Data(
            self.name, self.hash, **vars(choice), summary=self.corpus.summary(), bytes=sizes,
            scored={"tune": sizes["tune"], "final": sizes["test"]}, training=Training(self.metric.unit, per_nat),
        )  # fmt: skip

    def order(self, length: int, batch: int, seed: int) -> Source:
        return TrainOrder(self.corpus.train, length, batch, fold("order", seed))

    def exam(self, role: str, length: int) -> Exam:
        return TextExam(self._split(role), length, GROUPS)

    def at_lengths(self, role: str, length: int) -> Iterator[tuple[int, Exam]]:
        """The head of the split in windows of other lengths."""
        split = self._split(role)
        for size in (int(length * factor) for factor in LENGTHS):
            if size >= 1 and size + 1 < min(len(split), HEAD):
                yield size, TextExam(split, size, 1, HEAD // size)

    def amounts(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nats(logits, targets)

    def references(self, role: str) -> dict[str, np.ndarray]:
        return {}

    def _split(self, role: str) -> Split:
        return self.corpus.tune if role == "tune" else self.corpus.test


def nats(logits: Tensor, targets: Tensor) -> Tensor:
    """(B,) the loss of every row of a text."""
    each = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")
    return each.view_as(targets).double().sum(1)


class TextExam:
    """Windows of a split, or the first `most` of them; a group's figure is in bits per byte."""

    def __init__(self, split: Split, length: int, groups: int, most: int | None = None) -> None:
        self.windows, self.length = eval_windows(split, length, groups), length
        self.count = len(self.windows) if most is None else min(most, len(self.windows))
        self.weights, self.bytes = self.windows.weights, self.windows.bytes
        if self.count < len(self.windows):
            part = split.tokens[self.windows.first[0] : self.windows.last[self.count - 1]]
            self.bytes = np.array([int(split.token_bytes[part].sum())])

    def __len__(self) -> int:
        return self.count

    def rows(self, index: slice) -> Rows:
        batch = self.windows.rows(index)
        return batch.tokens[:, :-1], np.where(batch.valid, batch.tokens[:, 1:], -1)

    def groups(self, amounts: np.ndarray) -> np.ndarray:
        sums = np.bincount(self.windows.group[: self.count], np.asarray(amounts, np.float64), len(self.bytes))
        return sums / (math.log(2) * self.bytes)


class Exercise:
    """A task: fresh examples at every training step, the same held-out ones for every arm."""

    tokenizer: bytes | None = None
    metric = Metric("error", "error rate", "lower")

    def __init__(self, text: str, task: Task) -> None:
        """`text` is how the user named the task."""
        self.name, self.task, self.vocab = text, task, task.vocab
        self.length: int | None = task.length
        self.held = hold_out(task)
        self.notes: tuple[str, ...] = tuple(filter(None, [self.held.note]))
        drawn = task.sample(0, 8)  # what it draws is part of what it is
        digest = hashlib.sha256(json.dumps([repr(task), task.vocab, task.length]).encode())
        for ids in drawn:
            digest.update(np.ascontiguousarray(ids, "<i8").tobytes())
        self.hash = digest.hexdigest()

    def described(self, choice: Choice) -> Data:
        asked = int((self.task.sample(0, 64).targets >= 0).sum()) / 64
        summary = (
            f"task {self.name} (sha256 {self.hash[:12]}): {self.length} tokens of {self.vocab} kinds an example, "
            f"{asked:.3g} answers asked, {1 - self.task.chance:.1%} wrong by chance; "
            + (self.held.note or f"{len(self.held.exams['final'].tokens)} test examples, all new to training")
        )
        scored = {role: exam.tokens.size for role, exam in self.held.exams.items()}
        training = Training("nats/answer", 1.0)
        return Data(self.name, self.hash, **vars(choice), summary=summary, scored=scored, training=training)

    def order(self, length: int, batch: int, seed: int) -> Source:
        return TaskOrder(self.task, self.held, batch, seed)

    def exam(self, role: str, length: int) -> Exam:
        return TaskExam(self.held.exams[role], GROUPS)

    def at_lengths(self, role: str, length: int) -> Iterator[tuple[int, Exam]]:
        """The same task, longer or harder."""
        for factor in LENGTHS:
            if factor >= 1:
                with contextlib.suppress(UsageError):  # not every task can be made longer with the ids it has
                    task = self.task.stretched(factor)
                    drawn = task.sample(fold("exam", role), EXAMPLES[role]) if factor > 1 else self.held.exams[role]
                    yield task.length, TaskExam(drawn, 1)

    def amounts(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B,) wrong answers."""
        return ((logits.argmax(-1) != targets) & (targets >= 0)).sum(1).double()

    def references(self, role: str) -> dict[str, np.ndarray]:
        """Figures by group of what needs no training: the oracle, chance, classical rules."""
        exam = TaskExam(self.held.exams[role], GROUPS)
        found = {}
        for name, predict in self.task.predictors().items():
            wrong = (predict(exam.examples.tokens) != exam.examples.targets) & (exam.examples.targets >= 0)
            found[name] = exam.groups(wrong.sum(1))
        return found


@dataclass(frozen=True)
class TaskOrder:
    """The examples of every training step: a pure function of the seed and the step, none of them held out."""

    task: Task
    held: HeldOut
    batch: int
    seed: int

    def next(self, step: int) -> Rows:
        return tuple(self.held.fresh(self.task, fold("train", self.seed, step), self.batch))  # pyright: ignore[reportReturnType]


class TaskExam:
    """Held-out examples, the same for every arm and seed, in groups of neighbours."""

    def __init__(self, examples: Examples, groups: int) -> None:
        self.examples, self.length = examples, examples.tokens.shape[1]
        asked = (examples.targets >= 0).sum(1)
        groups = min(groups, len(asked))
        self.group = np.arange(len(asked)) * groups // len(asked)
        self.asked = np.bincount(self.group, asked, groups)
        self.weights = self.asked / self.asked.sum()

    def __len__(self) -> int:
        return len(self.group)

    def rows(self, index: slice) -> Rows:
        return self.examples.tokens[index], self.examples.targets[index]

    def groups(self, amounts: np.ndarray) -> np.ndarray:
        return np.bincount(self.group, amounts, len(self.asked)) / self.asked


def chosen(task: str | None, paths: tuple[str, ...], codec: str) -> Choice:
    """How a plan names what the user asked for, so that every process of the comparison can read it."""
    if task is not None and paths:
        raise UsageError("--task and --data both say what to train on; give one")
    if task is not None:
        return Choice(task, [], None)
    return Choice(None, keep(paths, cache_root()), codec)
