"""Keep what the model makes of its whole input near to what a teacher makes of it: a term beside another objective.

    loss = weight * mean over rows of mean over tokens of |h_t - h'_t|^2

h: the stream that the head reads, h': that of the teacher, which is the model as the phase before left it and does not
change. Where the phase restarts, the teacher has learned on, and the model begins again.

Shapes   h, h' (B,T,D)
Source   arXiv 2210.02871    Slug  self-distill-further-pretraining    Family  adapt
Differs  the whole input is read where the objective beside it hides some; rows of few tokens count as much as others
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Batch, Objective, Site, UsageError, upcast
from blockyard.core.settings import NonNegative
from blockyard.parts.objective._teacher import Teacher


class Distil(Objective):
    learns = "latents"
    forwards = 4.0  # a second forward and backward, and the teacher's forward

    def __init__(self, site: Site, *, weight: Annotated[NonNegative, "what the term is multiplied by"] = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.teacher: Teacher | None = None

    def adopt(self, model: Any, before: Any) -> None:
        """The teacher: the model as it was left."""
        if before.head.stream.size != model.head.stream.size:
            raise UsageError(
                f"objective:distil: the teacher's stream has {before.head.stream.size} channels, the model's "
                f"{model.head.stream.size}"
            )
        self.teacher = Teacher(before)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"distil": batch.tokens.new_tensor(len(batch.tokens))}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert self.teacher is not None
        flow = model.run(model.start(batch, seed=1)).behind_lead()
        goal, said = upcast(self.teacher(batch).hidden), upcast(flow.x)
        if goal.shape != said.shape:
            raise UsageError("objective:distil: teacher and model make tokens of their own of a row; they must agree")
        off, valid = (said - goal).square().sum(-1), flow.call.valid
        if valid is not None:
            off = off.masked_fill(~valid, 0)
        tokens = off.shape[1] if valid is None else valid.sum(1).clamp(min=1)
        return {"distil": ((off.sum(1) / tokens).sum(), self.counts(batch)["distil"], self.weight)}
