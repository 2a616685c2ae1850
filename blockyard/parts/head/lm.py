"""Normalise the stream and score every token of the vocabulary, with the stem's table where tied.

    logits_t = act(scale W N(x_t))        act the identity, or a cap on the scores

Shapes   x (B,T,D)   logits (B,T,V)   W (V,D)
Source   arXiv 1608.05859    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec, UsageError
from blockyard.core.settings import ActivationSpec, NormSpec, Positive, StoreSpec, Tied


class LanguageModel(Head):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)
    points = ("normed",)  # what the table reads
    replaces = dict(packed_lm=dict(store="packed"))
    variants = ({}, dict(tied=False), dict(tied=False, store="packed"), dict(scale=0.5))

    def __init__(
        self, site: Site, *, tied: Tied = True,
        norm: Annotated[NormSpec, "the norm before the table; none: no norm"] | None = Spec("norm", "rms"),
        store: Annotated[StoreSpec, "how the table is kept; none: in full, or as the stem's where tied"] | None = None,
        activation: Annotated[ActivationSpec, "what scores pass at last, such as softcap; none: nothing"] | None = None,
        scale: Annotated[Positive, "factor on the scores"] = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.slot("norm", norm)
        vocab, stream = site.axis_of("stem.vocab"), site.stream
        if vocab is None:
            raise UsageError(f"{site.path}: head:lm scores the ids that the stem reads, and this stem reads none")
        if tied:
            width = site.context.axes[site.beside("stream")].size
            if stream.size != width:
                raise UsageError(
                    f"{site.path}: a tied table scores {width} channels, and the stream has become one of "
                    f"{stream.size}; set tied=false"
                )
            self.store, self.table = site.reuse("table", site.beside("stem.table"), reads=stream, writes=vocab)
            if store not in (None, self.store.spec):
                raise UsageError(f"{site.path}: a tied table is kept as the stem's is; leave store out, or tied=false")
        else:
            store = store or Spec("store", "dense")
            use = dict(decay=True, reads=stream, writes=vocab)
            self.store, self.table = site.matrix("table", store, vocab, stream, stream.size**-0.5, **use)
        self.activation, self.scale = site.slot("activation", activation, on=vocab), scale

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        if self.norm is not None:
            x = self.norm(x, call)
        x = self.point("normed", x, call)
        logits = self.store.linear(x, self.table)
        if self.scale != 1:
            logits = logits * self.scale
        return {"logits": logits if self.activation is None else self.activation(logits, call)}, call, state
