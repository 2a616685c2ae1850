"""Fewer and wider tokens of a grid through one strided convolution of the stream.

    x'_ij = sum_uv W_uv N(x)[s i - p + u, s j - p + v] + b        u, v < kernel, stride s, p zeros around

Shapes   x (B, H W, D)   x' (B, H' W', D')   W (D', D, kernel, kernel)   H' = (H + 2p - kernel) / s + 1
Source   arXiv 2201.03545    Family  junction
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import conv2d

from blockyard.core import Call, Junction, Prod, Site, Spec, UsageError, constant, normal, strided
from blockyard.core.settings import Count, Kernel, Natural, NormSpec


class Conv(Junction):
    on_grid = True
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(
        stem=("conv_patches", dict(height=8, width=12, channels=1, kernel=2, stride=2)), head=("classes", {})
    )  # fmt: skip
    variants = ({}, dict(dim=20, kernel=3, stride=2, padding=1, norm=None))

    def __init__(
        self, site: Site, *, dim: Annotated[Count, "channels from here on; none: twice as many"] | None = None,
        kernel: Kernel = 2, stride: Annotated[Count, "tokens from one to the next that stays"] = 2,
        padding: Annotated[Natural, "zeros on each side"] = 0,
        norm: Annotated[NormSpec, "the norm of the tokens before; none: no norm"] | None = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.out = site.axis("stream", dim or 2 * site.stream.size)
        rows, columns = site.axis("rows", kernel), site.axis("columns", kernel)
        rows.fixed = columns.fixed = "the grid follows from the filter's sides"
        self.norm = site.slot("norm", norm)
        spread = normal(Prod(site.stream, rows, columns).size ** -0.5)
        self.weight = site.param("weight", (self.out, site.stream, rows, columns), spread, decay=True)
        self.bias = site.param("bias", (self.out,), constant(0.0))
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.grid = site.grid and strided(site.path, site.grid, kernel, stride, padding)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        if call.grid is None:
            raise UsageError(f"{self.path}: a square filter needs a grid, and these tokens lie in a row")
        grid = strided(self.path, call.grid, self.kernel, self.stride, self.padding)
        x = x if self.norm is None else self.norm(x, call)
        plane = x.unflatten(1, call.grid).permute(0, 3, 1, 2)
        y = conv2d(plane, self.weight.to(x.dtype), self.bias.to(x.dtype), self.stride, self.padding)
        return y.flatten(2).transpose(1, 2), call.laid(grid[0] * grid[1], grid), state
