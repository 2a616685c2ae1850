"""A square filter over the grid, channel by channel.

    y_ij = sum_uv w_uv x[i + u, j + v] + b        |u|, |v| <= kernel / 2; nothing beyond the border

Shapes   x, y (B, H W, D)   w (D, kernel, kernel)   b (D)
Source   arXiv 2201.03545    Family  conv
Tags     memory=window, decay=none
Differs  nothing known
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import conv2d

from blockyard.core import Call, Site, Sublayer, UsageError, constant, normal
from blockyard.core.settings import Kernel


class Depthwise2d(Sublayer):
    on_grid = True
    claims = dict(row_independent=True, bidirectional=True, time_exponent=1.0)
    around = dict(stem=("conv_patches", dict(height=8, width=6, channels=1, kernel=1, stride=1)), head=("classes", {}))
    variants = (dict(kernel=3), dict(kernel=5))

    def __init__(self, site: Site, *, kernel: Kernel = 7) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UsageError(f"{site.path}: kernel={kernel} must be odd, so that a token lies in the middle")
        rows, columns = site.axis("rows", kernel), site.axis("columns", kernel)
        rows.fixed = columns.fixed = "a square filter has a token in its middle"
        self.weight = site.param("weight", (site.stream, rows, columns), normal(1 / kernel), decay=True)
        self.bias = site.param("bias", (site.stream,), constant(0.0))
        self.kernel = kernel

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        if call.grid is None:
            raise UsageError(f"{self.path}: a square filter needs a grid, and these tokens lie in a row")
        plane = call.zero_invalid(x).unflatten(1, call.grid).permute(0, 3, 1, 2)
        y = conv2d(plane, self.weight[:, None].to(x.dtype), self.bias.to(x.dtype), padding=self.kernel // 2,
                   groups=plane.shape[1])  # fmt: skip
        return y.flatten(2).transpose(1, 2), state
