"""Models that a reading trains itself, on a task that makes its own examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from blockyard.study._base import Figures
from blockyard.systems import build, parse_arm, spec
from blockyard.task import Task, make_task
from blockyard.task._exercise import Exercise
from blockyard.train.loop import Settings, train


def trained(arm: str, task: Task, steps: int, seed: int, *, lr: float = 3e-3, batch: int = 32) -> Any:
    """The model of an arm (`name:key=value,...`) after so many steps on the task, none of whose exams it has seen."""
    target, material = parse_arm(arm), Exercise(repr(task), task)
    system = material.fit(spec(target.name, **target.overrides))
    model = build(system, seed=seed)
    return train(system, model, material.order(task.length, batch, seed), Settings(steps, lr, seed=seed)).model.eval()


def shown(task: Task, seed: int, count: int) -> tuple[torch.Tensor, np.ndarray]:
    """Tokens and targets of some examples; training at this seed or others draws them no more often than by chance."""
    drawn = task.sample(2**32 + seed, count)
    return torch.from_numpy(drawn.tokens), drawn.targets


def asked(text: str, **changed: Any) -> Task:
    """A task by its text, with some settings replaced."""
    made = make_task(text)
    assert isinstance(made, Task)
    return made.but(**changed)


def by_name(found: Sequence[Mapping[str, float]]) -> Figures:
    """The figures of every seed by name."""
    return {name: [each[name] for each in found] for name in found[0]}
