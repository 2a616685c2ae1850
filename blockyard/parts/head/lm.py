"""Normalise the stream and score every token of the vocabulary, with the stem's table where tied.

    logits_t = W N(x_t)

Shapes   x (B,T,D)   logits (B,T,V)   W (V,D)
Source   arXiv 1608.05859    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Part, Site, Spec, normal
from blockyard.core.settings import NormSpec, Tied
from blockyard.kernels import linear


class LanguageModel(Part):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self,
        site: Site,
        *,
        tied: Tied = True,
        norm: Annotated[NormSpec, "the norm before the table; none: no norm"] | None = Spec("norm", "rms"),
    ) -> None:
        super().__init__()
        self.norm = site.slot("norm", norm)
        self.vocab = site.context.axes["stem.vocab"]
        if tied:
            self.table = site.reuse("table", "stem.table", reads=site.stream, writes=self.vocab)
        else:
            start = normal(site.stream.size**-0.5)
            axes = (self.vocab, site.stream)
            self.table = site.param("table", axes, start, decay=True, reads=site.stream, writes=self.vocab)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        if self.norm is not None:
            x = self.norm(x, call)
        return {"logits": linear(x, self.table)}, call, state
