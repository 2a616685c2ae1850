"""A copy of the model that an objective keeps: frozen, or following the model slowly. No gradient reaches it.

    self.teacher = Teacher(model, keep=0.99)      in adopt: a copy of the model as it then is
    said = self.teacher(batch)                    in forward: as in evaluation, nothing is drawn
    self.teacher.follow(model)                    in after: w' <- keep w' + (1 - keep) w, statistics as they are

It is saved in checkpoints with the objective, and a forward of it is one of the objective's `forwards`.
"""

import copy
from typing import Any

import torch
from torch import nn

from blockyard.core import Batch, UsageError


class Teacher(nn.Module):
    """keep    how much of itself a step leaves; 1: it stays as it was made"""

    def __init__(self, model: Any, keep: float = 1.0) -> None:
        super().__init__()
        self.model, self.keep = copy.deepcopy(model).requires_grad_(False), keep

    @torch.no_grad()
    def forward(self, batch: Batch) -> Any:
        """What the copy gives for a batch, without a gradient."""
        return self.model(batch)

    @torch.no_grad()
    def follow(self, model: Any) -> None:
        """A step towards the model."""
        mine, theirs = dict(self.model.named_parameters()), dict(model.named_parameters())
        if [(name, p.shape) for name, p in mine.items()] != [(name, p.shape) for name, p in theirs.items()]:
            raise UsageError("a teacher cannot follow a model that was transformed since: give that phase an objective")
        for name, value in mine.items():
            value.lerp_(theirs[name], 1 - self.keep)
        for value, other in zip(self.model.buffers(), model.buffers()):
            value.copy_(other)
