"""What a model that names a class or a number keeps beside it: how it reads rows, and how well it did on unseen ones.

Intervals of a number: what the model says with quantiles of its errors on the tuning rows, which did not train it,

    y_q = f + e_(k)        e_(1) <= .. <= e_(n)  errors y - f        k = ceil(q (n + 1)) from the median up, floor below

so that the number of another row lies below with chance q. How often those of the test did is kept too.

Source   arXiv 1604.04173 (split conformal prediction)
Differs  each level by itself; the errors keep their signs; where rates are tried, the same rows chose the rate
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.core.files import is_missing, read_document, sealed
from blockyard.task._answer import Answer, Classes, Numbers
from blockyard.task._cells import Column
from blockyard.task._kept import LEVELS, conformal
from blockyard.task._material import Exam, Predict

NAME, FORMAT = "predicts.json", 1
PIECE = 256  # rows that are looked at together
THINGS = ("images", "sounds", "texts")  # that files hold


@dataclass(frozen=True)
class KeptColumn(Document):
    """How a column of a table is read.

    kind     numbers, times, words; or flags, of numbers that are 0 and 1        words   that it knows
    lacked   whether a cell of it was empty where the model trained
    """

    name: str
    kind: str
    words: list[str]
    mean: float
    scale: float
    lacked: bool

    @property
    def column(self) -> Column:
        """The same as a task reads it."""
        return Column(
            self.name, tuple(self.words), self.mean, self.scale, {word: i for i, word in enumerate(self.words, 1)}
        )


@dataclass(frozen=True)
class KeptThings(Document):
    """How things are read: images, sounds or texts.

    shape   height, width and channels; samples; or tokens        rate   samples a second, of sounds
    """

    kind: str
    shape: list[int]
    rate: float | None = None


@dataclass(frozen=True)
class Predicts(Document):
    """What a saved model predicts, from what, and what is known of how well.

    target    the column, or `class`        kind     numbers, times, words or flags: what its cells are
    classes   none: it is a number, which the model says less `mean`, by `scale`
    levels    of the quantiles of a number; `added` calibrates them, in units of `scale`, by so many `rows`
    below     by level, the share of the test that lay below        tested   figures of the test
    blind     what the first of them is of who says the commonest class, or the mean
    data      the hash of the table that trained it
    columns   of a table, in the order that the model reads them; else `things` says what is read
    """

    target: str
    kind: str
    classes: list[str]
    mean: float
    scale: float
    levels: list[float]
    added: list[float]
    rows: int
    below: list[float]
    tested: dict[str, float | None]
    blind: float
    data: str = ""
    columns: list[KeptColumn] = field(default_factory=list)
    things: KeptThings | None = None

    @property
    def answer(self) -> Answer:
        """What is asked, as a task asks it."""
        return Classes(tuple(self.classes)) if self.classes else Numbers(self.target, self.mean, self.scale)

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return sealed({"format": FORMAT, **self.to_json()})

    @staticmethod
    def read(folder: Path) -> "Predicts":
        """What stands beside the model of a folder; UsageError where it predicts no rows."""
        path = folder / NAME
        if is_missing(path):
            raise UsageError(
                f"{folder} has no {NAME}: it was trained neither on the task table nor on classify of images, sounds "
                "or texts, or is such a model's copy"
            )
        return Predicts.from_json(read_document(path, FORMAT, sealed_since=1), path)

    @staticmethod
    def of(
        answer: Answer, target: str, kind: str, exams: Sequence[Exam], predict: Predict, commonest: int,
        data: str = "", columns: Sequence[KeptColumn] = (), things: KeptThings | None = None,
    ) -> "Predicts":  # fmt: skip
        """What to keep of a model; `exams` are its tuning rows and those of the test, `commonest` the class that most
        rows that train have."""
        (tuned, tune_truth), (tested, truth) = (_said(predict, exam, answer.says) for exam in exams)
        figures = scores(answer, tested, truth)
        classes, levels, added, below = list[str](), list[float](), np.zeros(0), list[float]()
        mean, scale = 0.0, 1.0
        if isinstance(answer, Classes):
            classes = list(answer.names)
            blind = float((truth != commonest).mean())
        else:
            assert isinstance(answer, Numbers)
            mean, scale, levels = answer.mean, answer.scale, list(LEVELS)
            errors = (tune_truth - tuned).astype(np.float64)[:, None, :, None]
            added = conformal(np.repeat(errors, len(levels), -1), levels)[0, 0]
            below = [float((truth[:, 0] < tested[:, 0] + each).mean()) for each in added]
            blind = scores(answer, np.zeros_like(tested), truth)[answer.metric.name] or 0.0
        return Predicts(
            target, kind, classes, mean, scale, levels, [float(f"{each:.6g}") for each in added], len(tuned), below,
            figures, blind, data, list(columns), things,
        )  # fmt: skip


def scores(answer: Answer, said: np.ndarray, targets: np.ndarray) -> dict[str, float | None]:
    """The figures of predictions, the score first; None where one is not known of such rows."""
    amounts = answer.amounts(said, targets)
    found = {answer.metric.name: float(amounts[:, 0].mean()), **answer.figures(amounts.sum(0), float(len(said)))}
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def _said(predict: Predict, exam: Exam, says: str) -> tuple[np.ndarray, np.ndarray]:
    """What the model says of the rows of an exam, and what is true."""
    said, truth = list[Any](), list[Any]()
    for at in range(0, len(exam), PIECE):
        arrays = exam.take(slice(at, min(at + PIECE, len(exam))))
        truth.append(arrays["targets"])
        said.append(predict(arrays)[says])
    return np.concatenate(said), np.concatenate(truth)
