"""Read an image through one strided convolution, whose every output is a token; normalise them where the slot says.

    x_ij = N(sum_uv W_uv image[s i - p + u, s j - p + v] + b)        u, v < kernel, stride s, p zeros around

Shapes   images (B,H,W,C)   x (B,N,D) on a grid of (H + 2p - kernel) / s + 1 rows   W (D, C, kernel, kernel)
Source   arXiv 2103.14030    Family  stem
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from blockyard.core import Batch, Call, Prod, Site, Spec, Stem, UsageError, constant, normal, strided
from blockyard.core.settings import Channels, Count, Height, Natural, NormSpec, Width


class ConvPatches(Stem):
    reads = "images"
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(head=("classes", {}))
    variants = (
        dict(height=8, width=12, channels=2),
        dict(height=9, width=8, channels=1, kernel=3, stride=2, padding=1),
    )

    def __init__(
        self, site: Site, *, height: Height = 32, width: Width = 32, channels: Channels = 3,
        kernel: Annotated[Count, "pixels that the filter covers, down and across"] = 4,
        stride: Annotated[Count, "pixels from one token to the next"] = 4,
        padding: Annotated[Natural, "zeros on each side"] = 0,
        norm: Annotated[NormSpec, "the norm of the tokens; none: no norm"] | None = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.image, self.stride, self.padding = (height, width, channels), stride, padding
        self.grid = strided(site.path, (height, width), kernel, stride, padding)
        colours, rows, columns = (
            site.axis("channels", channels),
            site.axis("rows", kernel),
            site.axis("columns", kernel),
        )
        rows.fixed = columns.fixed = "the grid follows from the filter's sides"
        colours.fixed = "an image has these colours"
        window = Prod(colours, rows, columns)
        spread = normal(window.size**-0.5)
        self.weight = site.param("weight", (site.stream, colours, rows, columns), spread, decay=True)
        self.bias = site.param("bias", (site.stream,), constant(0.0))
        self.norm = site.slot("norm", norm)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randn(rows, *self.image, generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        images = batch.tokens
        if tuple(images.shape[1:]) != self.image:
            raise UsageError(f"{self.path}: reads images of {self.image}, not of {tuple(images.shape[1:])}")
        images = images.to(self.weight.dtype).permute(0, 3, 1, 2)
        x = conv2d(images, self.weight, self.bias, self.stride, self.padding).flatten(2).transpose(1, 2)
        call = call.laid(x.shape[1], self.grid)
        return x if self.norm is None else self.norm(x, call), call, state
