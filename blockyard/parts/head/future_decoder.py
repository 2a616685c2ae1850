"""A small decoder that spells out the next tokens, and sees of the text before them one vector of the stream alone.

    u_t = W_u N(h_t) + b, in P pieces        z_0 = s        z_n = E[x_{t+n}], n = 1 .. N-1
    z <- z + A(N(z))        z <- z + C(N(z), u_t)        z <- z + F(N(z))        in every layer
    logits_{t,n} = E N(z_n), of x_{t+n+1}

A reads z from left to right, C the pieces, F each z by itself. The next token alone needs z_0 only, so that decoding
costs a decoder of one token beside the body. The table is that of the stem.

Shapes   h (B,T,D)   u (B,T,P,D)   z (B,T,N,D)   logits (B,T,V), of several (B,T,N,V)   E (V,D)   s (D)
Source   arXiv 2410.18160    Slug  future-token-prediction    Family  head
Differs  the first token is asked for behind a vector s that is learned, not behind x_t, which h_t knows
"""

from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from blockyard.core import Call, Head, Prod, Site, Spec, UsageError, normal
from blockyard.core.call import Memory
from blockyard.core.part import acting
from blockyard.core.settings import ChannelSpec, Count, Layers, MixerSpec, NormSpec, PositionSpec

PIECES = "source"  # the name by which cross-attention finds what it reads


class FutureDecoder(Head):
    claims = dict(causal=True, streams=True, row_independent=True, per_token=True)
    known = dict(packs="its cross-attention stands for a tower, and a packed row has many documents")
    points = ("normed", "pieces")
    variants = ({}, dict(layers=2, slots=3, mixer=Spec("mixer", "gla")))

    def __init__(
        self, site: Site, *, layers: Annotated[Layers, "layers of the decoder"] = 1,
        slots: Annotated[Count, "pieces that a vector of the stream becomes, for the decoder to read"] = 4,
        mixer: Annotated[MixerSpec, "how the tokens that are spelt read one another"] = Spec("mixer", "attention"),
        cross: Annotated[MixerSpec, "how they read the pieces"] = Spec("mixer", "cross"),
        channel: ChannelSpec = Spec("channel", "gated"), norm: NormSpec = Spec("norm", "rms"),
        position: Annotated[PositionSpec, "how places are told where the mixer does not; none: not at all"] | None
        = None,
    ) -> None:  # fmt: skip
        super().__init__()
        vocab, stream = site.axis_of("stem.vocab"), site.stream
        if vocab is None:
            raise UsageError(f"{site.path}: head:future_decoder scores the ids that the stem reads, and it reads none")
        self.norm = site.slot("norm", norm)
        self.layout = Prod(site.axis("slots", slots), stream)
        self.expand = site.linear("expand", stream, self.layout, bias=True)
        self.store, self.table = site.reuse("table", site.beside("stem.table"), reads=stream, writes=vocab)
        self.start = site.param("start", (stream,), normal(stream.size**-0.5))
        self.position = acting(site.slot("position", position), "at_input")
        inside = replace(site, causal=True, steps=3 * layers, memory=((PIECES, stream),))
        self.norms, self.parts = nn.ModuleList(), nn.ModuleList()
        for i, each in enumerate([mixer, cross, channel] * layers):
            self.norms.append(inside.build(f"norms.{i}", norm))
            self.parts.append(inside.build(f"parts.{i}", each))
        self.last = site.build("last", norm)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        shown = torch.empty(*x.shape[:2], 0, dtype=torch.long, device=x.device)
        said, *_ = self.ahead(x, shown, call)
        return {"logits": said["logits"][:, :, 0]}, call, state

    def ahead(self, x: Tensor, shown: Tensor, call: Call) -> tuple[dict[str, Tensor], Call, Any]:
        x = self.point("normed", self.norm(x, call), call)
        pieces = self.point("pieces", self.layout.split(self.expand(x, call)), call).flatten(0, 1)
        z = self.store.embedding(shown.flatten(0, 1), self.table).to(x.dtype)
        z = torch.cat([self.start.to(x.dtype).expand(len(z), 1, -1), z], 1)
        own = self._call(z, pieces, call)
        z = z if self.position is None else self.position.at_input(z, own)
        for norm, part in zip(self.norms, self.parts):
            z = z + part(norm(z, own), own, None)[0]
        logits = self.store.linear(self.last(z, own), self.table)
        return {"logits": logits.unflatten(0, x.shape[:2])}, call, None

    def _call(self, z: Tensor, pieces: Tensor, call: Call) -> Call:
        """The call of the decoder: a row for every token of the stream, of as many tokens as it spells."""
        positions = torch.arange(z.shape[1], device=z.device).expand(z.shape[:2])
        return call._replace(
            positions=positions, valid=None, segment=None, reset=None, readable=None, order=None, past=None, grid=None,
            conditions={}, memory={PIECES: Memory(pieces)}, aligned=True, memo={}, dtype=z.dtype,
        )  # fmt: skip
