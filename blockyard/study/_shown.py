"""What trained models of a race are shown when a trial looks inside them."""

from typing import Any

import numpy as np
import torch

from blockyard.task import Task, make_task


def shown(task: Task, seed: int, count: int) -> tuple[torch.Tensor, np.ndarray]:
    """Tokens and targets of some examples; training at this seed or others draws them no more often than by chance."""
    drawn = task.sample(2**32 + seed, count)
    return torch.from_numpy(drawn.tokens), drawn.targets


def asked(text: str, **changed: Any) -> Task:
    """A task by its text, with some settings replaced."""
    made = make_task(text)
    assert isinstance(made, Task)
    return made.but(**changed)
