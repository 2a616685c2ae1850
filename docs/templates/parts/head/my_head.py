"""Normalise the stream and score every token of the vocabulary, with a bias of its own for each.

    logits_t = W N(x_t) + b

Shapes   x (B,T,D)   logits (B,T,V)   W (V,D)   b (V)
Source   none    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec, constant
from blockyard.core.settings import NormSpec


class MyHead(Head):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm before the table"] = Spec("norm", "rms")
    ) -> None:
        super().__init__()
        vocab, stream = site.context.axes["stem.vocab"], site.stream
        self.norm = site.build("norm", norm)
        self.store, self.table = site.reuse("table", "stem.table", reads=stream, writes=vocab)
        self.bias = site.param("bias", (vocab,), constant(0.0))

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        # predictions by name: what writes text reads `logits`
        return {"logits": self.store.linear(self.norm(x, call), self.table, self.bias)}, call, state
