"""Normalise the stream and score every token by a table of few bits, the stem's where tied.

    logits_t = W N(x_t)        W = scale * code

Shapes   x (B,T,D)   logits (B,T,V)   packed (tiles, bytes)
Source   arXiv 2206.01861    Family  head
Differs  scales in half precision, fitted to the codes
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Part, Site, Spec, UsageError
from blockyard.core.settings import Bits, Group, NormSpec, Tied
from blockyard.kernels import packed_linear
from blockyard.parts.linear._store import packed_buffer


class PackedLanguageModel(Part):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)
    variants = (dict(tied=False),)

    def __init__(
        self,
        site: Site,
        *,
        tied: Tied = True,
        norm: Annotated[NormSpec, "the norm before the table; none: no norm"] | None = Spec("norm", "rms"),
        bits: Bits = 8,
        group: Group = 32,
    ) -> None:
        super().__init__()
        self.norm = site.slot("norm", norm)
        self.vocab = site.context.axes["stem.vocab"]
        if tied:
            if "stem.packed" not in site.context.buffers:
                raise UsageError(f"{site.path}: a tied packed head needs the stem packed_tokens, or tied=false")
            self.packed = site.context.buffers["stem.packed"]
        else:
            width = site.stream.size
            self.packed = packed_buffer(site, self.vocab.size, width, width**-0.5, bits, group)
        self.bits, self.group = bits, group

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        if self.norm is not None:
            x = self.norm(x, call)
        return {"logits": packed_linear(x, self.packed, self.bits, self.group, self.vocab.size)}, call, state
