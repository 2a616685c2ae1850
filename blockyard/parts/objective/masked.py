"""Name the tokens that a corruption took away, from all that it left.

    loss = sum over asked tokens of -log softmax(logits_t)[x_t]  /  their number

Where the head reads each token by itself, it speaks of the asked tokens only: the same numbers at a part of the cost.

Shapes   logits (1,N,V) of N asked tokens   targets (B,T), -1 where nothing is asked
Source   arXiv 1810.04805    Family  objective
Differs  nothing known
"""

from typing import Any

from torch import Tensor

from blockyard.core import Batch, Objective, Site, Spec
from blockyard.core.part import Draws
from blockyard.core.settings import CorruptSpec
from blockyard.kernels import cross_entropy


class Masked(Objective):
    learns = "masked tokens"
    needs = ("bidirectional",)

    def __init__(self, site: Site, *, corrupt: CorruptSpec = Spec("corrupt", "mask")) -> None:
        super().__init__()
        self.corrupt = site.build("corrupt", corrupt)

    def prepare(self, batch: Batch, draw: Draws) -> Batch:
        return self.corrupt(batch, draw)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"masked": (batch.targets >= 0).sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        asked, flow = batch.targets >= 0, model.run(model.start(batch))
        if model.head.claims.get("per_token"):
            flow = flow.only(asked.flatten().nonzero().T)
            logits = model.finish(flow).logits.flatten(0, 1)
        else:
            logits = model.finish(flow).logits[asked]
        total = cross_entropy(logits, batch.targets[asked]).sum()
        return {"masked": (total, asked.sum(), 1.0)}
