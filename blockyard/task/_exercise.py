"""A task that makes its own examples, as a comparison sees it: fresh ones at every step, held-out ones for all."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.data.rows import Arrays, Held
from blockyard.task._base import Examples, Task
from blockyard.task._exhibit import Exhibit
from blockyard.task._held import EXAMPLES, HeldOut, hold_out
from blockyard.task._material import Exam, Material, Predict, exam

LENGTHS = (1, 2, 4)  # in units of the training length
PIECE = 64  # examples that are predicted at once, to be looked at


class Exercise(Material):
    """Examples of a task, held out where there are few different ones.

    text   how the user named the task
    """

    def __init__(self, text: str, task: Task) -> None:
        self.name, self.task, self.metric, self.ends = text, task, task.metric, task.ends
        self.length, self.training, self.also = task.length, task.training, task.also
        self.usual = task.usual
        self.held = hold_out(task)
        self._by_length = {task.length: task}  # who prices rows of another length: the task at that length
        self.notes = tuple(filter(None, [self.held.note]))
        drawn = task.sample(0, 8)  # what it draws is part of what it is
        digest = hashlib.sha256(json.dumps([repr(task), getattr(task, "vocab", None), task.length]).encode())
        for each in drawn:
            digest.update(np.ascontiguousarray(each, "<i8" if each.dtype.kind == "i" else "<f8").tobytes())
        self.hash = digest.hexdigest()

    @property
    def summary(self) -> str:
        asked = float(self.task.questions(self.task.sample(0, 64).targets).sum()) / 64
        what, _, chance = self.task.described().rpartition(", ")
        return f"task {self.name} (sha256 {self.hash[:12]}): {what}, {asked:.3g} answers asked, {chance}; " + (
            self.held.note or f"{len(self.held.exams['final'].tokens)} test examples, all new to training"
        )

    @property
    def scored(self) -> dict[str, int]:
        return {role: len(asked.tokens) * self.task.length for role, asked in self.held.exams.items()}

    def order(self, length: int, batch: int, seed: int) -> "ExampleOrder":
        return ExampleOrder(self.task, self.held, batch, seed)

    def exam(self, role: str, length: int) -> Exam:
        return self._exam(self.held.exams[role])

    def at_lengths(self, role: str, length: int, reach: Sequence[float] = ()) -> Iterator[tuple[int, Exam]]:
        """The same task, longer or harder, or at a `reach` below 1 shorter."""
        for factor in reach or LENGTHS:
            with contextlib.suppress(UsageError):  # not every task can be made longer with the ids it has
                task = self.task.stretched(factor)
                drawn = (
                    task.scored_on.sample(fold("exam", role), EXAMPLES[role]) if factor != 1 else self.held.exams[role]
                )
                self._by_length[task.length] = task
                yield task.length, self._exam(drawn, task.length).whole()

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        targets, task = batch.targets, self._by_length.get(batch.tokens.shape[1], self.task)
        if not targets.is_floating_point():
            if type(task).priced is Task.priced:
                return task.amounts(said, targets).double()
            said = {"ids": said["ids"] if "ids" in said else said["logits"].argmax(-1)}
        plain = {name: value.double().cpu().numpy() for name, value in said.items()}
        shown = Examples(batch.tokens.cpu().numpy(), targets.cpu().numpy())
        return targets.double().new_tensor(task.priced(plain, shown))

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return self.task.figures(sums, asked)

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        if type(self.task).exhibits is Task.exhibits:
            return []
        pieces = [exam.take(slice(at, at + PIECE)) for at in range(0, len(exam), PIECE)]
        said = [predict(piece) for piece in pieces]
        shown = Examples(*(np.concatenate([piece[name] for piece in pieces]) for name in Examples._fields))
        whole = {name: np.concatenate([each[name] for each in said]).astype(np.float64) for name in said[0]}
        return self.task.exhibits(whole, shown)

    def references(self, role: str) -> dict[str, np.ndarray]:
        """Figures by group of what needs no training: the oracle, chance, classical rules."""
        asked = self.held.exams[role]
        found = {}
        for name, predict in self.task.predictors().items():
            said = predict(asked.tokens)
            said = said if isinstance(said, Mapping) else {"ids": said}
            found[name] = self._exam(asked).groups(np.asarray(self.task.priced(said, asked)))
        return found

    def _exam(self, asked: Examples, length: int | None = None) -> Exam:
        rows = Held({"tokens": asked.tokens, "targets": asked.targets})
        return exam(rows, length or self.task.length, self.task.questions(asked.targets), self.task.figure)


@dataclass(frozen=True)
class ExampleOrder:
    """The examples of every training step: a pure function of the seed and the step, none of them held out."""

    task: Task
    held: HeldOut
    batch: int
    seed: int

    def next(self, step: int) -> Arrays:
        """The examples of a step."""
        return self.held.fresh(self.task, fold("train", self.seed, step), self.batch)._asdict()
