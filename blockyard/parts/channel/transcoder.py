"""A wide dictionary in place of a channel: few of its features say at once what the channel says.

    z = relu(W_e (x - c) + b)        y = W_d^T z + o        z >= 0

Trained as any channel, it is one with two more biases; transform:transcode fits it to what a trained channel says, with
a penalty on z. Feature i of one step then meets feature j of a later one by a product of a row of W_d and a row of W_e.

Shapes   x, y (B,T,D)   z (B,T,F)   W_e, W_d (F,D)   b (F)   c, o (D)
Source   arXiv 2406.11944    Slug  transcoders    Family  channel
Differs  alone, rows of W_d start as a channel's would; the transform gives them a length of one
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import linear, relu

from blockyard.core import Call, Site, Sublayer, constant, normal
from blockyard.core.settings import Inner


class Transcoder(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    unrecorded = "a difference from what is learned is no instruction yet"
    points = ("hidden", "said")

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "features; none: 8 times the width"] | None = None
    ) -> None:
        super().__init__()
        stream, hidden = site.stream, site.axis("inner", inner or 8 * site.stream.size)
        self.centre = site.param("centre", (stream,), constant(0.0), decay=False)
        self.encoder = site.param(
            "encoder", (hidden, stream), normal(stream.size**-0.5), decay=True, reads=stream, writes=hidden
        )
        self.bias = site.param("bias", (hidden,), constant(0.0), decay=False)
        start = normal((hidden.size * site.steps) ** -0.5)
        self.decoder = site.param("decoder", (hidden, stream), start, decay=True, reads=hidden, writes=stream)
        self.offset = site.param("offset", (stream,), constant(0.0), decay=False)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        dtype = x.dtype
        read = linear(x - self.centre.to(dtype), self.encoder.to(dtype), self.bias.to(dtype))
        hidden = self.point("hidden", relu(read), call)
        said = hidden @ self.decoder.to(hidden.dtype) + self.offset.to(hidden.dtype)
        return self.point("said", said, call), state
