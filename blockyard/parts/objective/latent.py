"""Predict, where tokens are hidden, what a slow copy of the model makes of the whole.

    loss = sum over hidden of |P h_t(hidden) - N(h'_t(whole))|^2 / D  /  their number
    w' <- keep w' + (1 - keep) w

h: the stream that the head reads, h' that of the copy, N: a norm without a gain.

Shapes   h, h' (B,T,D)   P (D,D)
Source   arXiv 2202.03555    Family  objective
Differs  the last layer alone, and the squared error
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import layer_norm

from blockyard.core import Batch, Objective, Site
from blockyard.core.settings import Natural, Share
from blockyard.parts.objective._teacher import Teacher


class Latent(Objective):
    learns = "latents"
    forwards = 1.0

    def __init__(
        self, site: Site, *, share: Annotated[Share, "of the tokens, those that are hidden"] = 0.3,
        mask: Annotated[Natural, "the id that stands for a hidden token"] = 0,
        keep: Annotated[Share, "how much of itself the copy keeps in a step"] = 0.99,
    ) -> None:  # fmt: skip
        super().__init__()
        self.predict = site.linear("predict", site.stream, site.stream)
        self.share, self.mask, self.keep = share, mask, keep
        self.teacher: Teacher | None = None

    def adopt(self, model: Any, before: Any) -> None:
        """The slow copy of the model as it is now."""
        self.teacher = Teacher(model, self.keep)

    def prepare(self, batch: Batch, draw: Callable[[str, tuple[int, ...]], Tensor]) -> Batch:
        hidden = draw("hidden", tuple(batch.tokens.shape)) < self.share
        if batch.valid is not None:
            hidden = hidden & batch.valid
        tokens = batch.tokens.masked_fill(hidden, self.mask)
        return replace(batch, tokens=tokens, targets=hidden, more={**batch.more, "whole": batch.tokens})

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"latent": batch.targets.sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None and self.teacher is not None
        goal = self.teacher(replace(batch, tokens=batch.more["whole"])).hidden.float()
        said = self.predict(model(batch).hidden).float()
        off = (said - layer_norm(goal, goal.shape[-1:])).square().mean(-1)
        return {"latent": (off.masked_fill(~batch.targets, 0).sum(), batch.targets.sum(), 1.0)}

    def after(self, model: Any) -> None:
        """The copy follows."""
        assert self.teacher is not None
        self.teacher.follow(model)
