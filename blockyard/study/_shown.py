"""What trained models of a race are shown when a trial looks inside them, or tries them."""

from typing import Any

import numpy as np
import torch

from blockyard.compare.documents import Choice
from blockyard.compare.plan.dataset import named
from blockyard.compare.run.job import Scoring, amounts
from blockyard.task import Material, Task, make_task


def shown(task: Task, seed: int, count: int) -> tuple[torch.Tensor, np.ndarray]:
    """Tokens and targets of some examples; training at this seed or others draws them no more often than by chance."""
    drawn = task.sample(2**32 + seed, count)
    return torch.from_numpy(drawn.tokens), drawn.targets


def asked(text: str, **changed: Any) -> Task:
    """A task by its text, with some settings replaced."""
    made = make_task(text)
    assert isinstance(made, Task)
    return made.but(**changed)


def rows_of(task: str, *paths: str) -> Material:
    """What a race of this task, on these data, trains on and is scored on."""
    return named(Choice(task, list(paths), None))


def scored(model: Any, rows: Material, role: str) -> float:
    """The score of a model on the stretch that a race tunes on (`tune`), or is judged on (`final`)."""
    exam = rows.exam(role, rows.length or 0)
    return float(exam.weights @ exam.groups(amounts(model, rows.amounts, exam, Scoring(1))))
