"""Say by how many quarters each image was turned: classes that nobody had to name.

    x' = x turned by k quarters, k drawn evenly        loss = -log softmax(head(h))_k

The head is the objective's own, and is gone with it.

Shapes   images (B,H,H,C)   k (B) of 0..3
Source   arXiv 1803.07728    Family  objective
Differs  an image is seen in one turn a step, not in all four
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from blockyard.core import Batch, Objective, Site, Spec, UsageError, upcast
from blockyard.core.part import Draws
from blockyard.core.settings import HeadSpec

QUARTERS = 4


class Turns(Objective):
    learns = "turns"
    around = dict(stem=("patches", dict(height=8, width=8)), head=("classes", {}))

    def __init__(
        self, site: Site, *, head: Annotated[HeadSpec, "what says the turn of an image"] = Spec("head", "classes")
    ) -> None:
        super().__init__()
        self.head = site.build("head", head.but(classes=QUARTERS))

    def prepare(self, batch: Batch, draw: Draws) -> Batch:
        images = batch.tokens
        if images.dim() != 4 or images.shape[1] != images.shape[2]:
            raise UsageError(f"objective:turns turns square images, not rows of shape {tuple(images.shape[1:])}")
        quarters = (draw("quarters", (len(images),)) * QUARTERS).long()
        turned = torch.stack([images.rot90(k, (1, 2)) for k in range(QUARTERS)])
        return Batch(turned[quarters, torch.arange(len(images), device=images.device)], quarters)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"turns": batch.tokens.new_tensor(len(batch.tokens))}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        flow = model.run(model.start(batch)).behind_lead()
        said, *_ = self.head(flow.x, flow.call, None)
        nats = cross_entropy(upcast(said[self.head.says]), batch.targets, reduction="sum")
        return {"turns": (nats, self.counts(batch)["turns"], 1.0)}
