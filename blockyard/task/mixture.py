"""Rows of several tasks, mixed by shares; the first token of a row names its task.

    row of task i, with chance share_i:   tag_i  x_1 .. x_n  pad ..        asked as the task itself asks

Ids mean what they mean in each task, so the same ids stand for different things under different tags. The score is the
share of wrong answers among all that is asked; that of each task stands beside it. Which task a row is of, and which
of its rows, follows from the seed alone.

Shapes   ids: those of the tasks, which they share, then a tag each, then pad    T = 1 + the longest task's
Source   arXiv 2208.01066 (several kinds of functions in one model)    Family  mixtures
Differs  a tag names the task; without it a row of copying is one of reversing until its first answer
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.settings import Word
from blockyard.task._base import DataTask, Draw, Examples, Task, blank, fits, make_task
from blockyard.task._metric import Metric


class Mixture(Task):
    grows = ("of",)
    variants = ({}, dict(of="copy:count=4:letters=3:offset=0+parity:length=12", shares="0.75+0.25"))
    first = "96bd43495934"

    def __init__(
        self, *, of: Annotated[Word, "tasks with + between them, settings behind colons: copy:count=4+reverse:count=4"]
        = "copy+reverse",
        shares: Annotated[Word, "of the rows, how many are of each task, with + between them; none: as many of each"]
        | None = None,
    ) -> None:  # fmt: skip
        self.of, self.shares, self.tasks = of, shares, _tasks(of)
        self._ends = np.cumsum(_shares(shares, len(self.tasks)))
        self.length = 1 + max(task.length for task in self.tasks)
        self._ids = max(task.vocab for task in self.tasks)
        self.vocab = self._ids + len(self.tasks) + 1
        self.answers = range(min(t.answers.start for t in self.tasks), max(t.answers.stop for t in self.tasks))
        met: Counter[str] = Counter()
        self._names = []
        for task in self.tasks:
            met[task.name] += 1
            self._names.append(task.name if met[task.name] == 1 else f"{task.name} {met[task.name]}")

    def sample(self, seed: int, n: int) -> Examples:
        which = np.searchsorted(self._ends, Draw(seed, n).uniform(1)[:, 0], side="right")
        tokens = np.full((n, self.length), self.vocab - 1)
        targets = blank(tokens)
        for i, task in enumerate(self.tasks):
            rows = np.flatnonzero(which == i)
            tokens[rows, 0] = self._ids + i
            if len(rows):
                own = task.sample(fold("mixture", seed, i), len(rows))
                tokens[rows, 1 : 1 + task.length], targets[rows, 1 : 1 + task.length] = own
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        found = np.zeros_like(tokens)
        for i, task in enumerate(self.tasks):
            rows = self._of(tokens, i)
            if rows.any():
                found[rows, 1 : 1 + task.length] = task.solve(tokens[rows, 1 : 1 + task.length])
        return found

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,1+2k) wrong answers; then of each task wrong answers and questions."""
        wrong, asked = np.asarray(self.amounts(said, examples.targets)), self.questions(examples.targets)
        apart = [self._of(examples.tokens, i) * each for i in range(len(self.tasks)) for each in (wrong, asked)]
        return np.stack([wrong, *apart], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        """The error of each task."""
        return tuple(Metric(f"error of {name}", "error rate", "lower", 0.0, 1.0) for name in self._names)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        pairs = sums[1:].reshape(-1, 2)
        return {each.name: float(wrong / n) if n else float("nan") for each, (wrong, n) in zip(self.also, pairs)}

    def stretched(self, factor: float) -> "Task":
        """Each task stretched by itself; refused where one of them cannot be."""
        if not factor > 0:
            raise UsageError(f"{self.name}: a task is stretched by a factor above 0, not by {factor}")
        longer = self.of if factor == 1 else "+".join(_written(task.stretched(factor)) for task in self.tasks)
        return self.but(of=longer)

    def _of(self, tokens: np.ndarray, i: int) -> np.ndarray:
        """(n,) which rows are of task i, by their tags."""
        return tokens[:, 0] == self._ids + i


def _tasks(text: str) -> list[Task]:
    """The tasks of a text such as copy:count=4+reverse; a setting may have a + in it."""
    found = []
    for words in re.split(r"\+(?=[a-z][a-z_-]*(?:[:+]|$))", text):
        name, _, settings = words.partition(":")
        task = make_task(f"{name}:{settings.replace(':', ',')}")
        if isinstance(task, DataTask) or not task.of_ids or isinstance(task, Mixture):
            raise UsageError(f"mixture: {task.name} makes no rows of ids of its own; take such as copy, mqar or parity")
        found.append(task)
    fits(len(found) > 1, f"mixture: of={text} names one task; name several, such as of=copy+reverse")
    return found


def _shares(text: str | None, count: int) -> np.ndarray:
    """The shares of so many tasks."""
    try:
        found = np.ones(count) if text is None else np.array([float(word) for word in text.split("+")])
    except ValueError:
        found = np.zeros(0)
    if len(found) != count or not (found > 0).all() or not (text is None or abs(found.sum() - 1) < 1e-6):
        raise UsageError(f"mixture: shares={text} must be {count} numbers above 0 that sum to 1, with + between them")
    return found / found.sum()


def _written(task: Task) -> str:
    """A task as `of` names it."""
    return repr(task).replace(",", ":")
