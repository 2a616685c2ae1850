"""Transform each token once more, then score every token of the vocabulary, with the stem's table where tied.

    h_t = N(act(W M(x_t) + c))        logits_t = E h_t + b        M: a norm before; none unless the slot holds one

Shapes   x (B,T,D)   h (B,T,E)   logits (B,T,V)   W (E,D)   E (V,E)   b (V)
Source   arXiv 1810.04805    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec, UsageError, constant
from blockyard.core.settings import ActivationSpec, NormSpec, Tied


class Transformed(Head):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)
    variants = ({}, dict(tied=False), dict(before="layer"))

    def __init__(
        self, site: Site, *, tied: Tied = True,
        activation: Annotated[ActivationSpec, "the activation of the transform"] = Spec("activation", "gelu"),
        norm: Annotated[NormSpec, "the norm before the table"] = Spec("norm", "layer"),
        before: Annotated[NormSpec, "the norm before the transform; none: no norm"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        vocab = site.axis_of("stem.vocab")
        if vocab is None:
            raise UsageError(
                f"{site.path}: head:transformed scores the ids that the stem reads, and this one reads none"
            )
        embed = site.axis_of("stem.embed") or site.stream  # the channels of the stem's table
        self.before = site.slot("before", before)
        self.proj = site.linear("proj", site.stream, embed, bias=True)
        self.activation = site.slot("activation", activation, on=embed)
        self.norm = site.slot("norm", norm, on=embed)
        if tied:
            self.store, self.table = site.reuse("table", site.beside("stem.table"), reads=embed, writes=vocab)
        else:
            use = dict(decay=True, reads=embed, writes=vocab)
            self.store, self.table = site.matrix("table", Spec("store", "dense"), vocab, embed, embed.size**-0.5, **use)
        self.bias = site.param("bias", (vocab,), constant(0.0))

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        x = x if self.before is None else self.before(x, call)
        h = self.norm(self.activation(self.proj(x, call), call), call)
        return {"logits": self.store.linear(h, self.table, self.bias)}, call, state
