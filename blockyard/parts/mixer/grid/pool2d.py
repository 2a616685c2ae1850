"""The mean of a token's neighbours in a square of the grid, less the token itself.

    y_ij = mean of x over the square of `kernel` around (i,j), as far as the grid goes, - x_ij

Shapes   x, y (B, H W, D)
Source   arXiv 2111.11418    Family  conv
Tags     memory=window, decay=none
Differs  nothing known
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import avg_pool2d

from blockyard.core import Call, Site, Sublayer, UsageError
from blockyard.core.settings import Kernel


class Pool2d(Sublayer):
    on_grid = True
    claims = dict(row_independent=True, bidirectional=True, time_exponent=1.0)
    around = dict(stem=("conv_patches", dict(height=8, width=6, channels=1, kernel=1, stride=1)), head=("classes", {}))

    def __init__(self, site: Site, *, kernel: Kernel = 3) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UsageError(f"{site.path}: kernel={kernel} must be odd, so that a token lies in the middle")
        self.kernel = kernel

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        if call.grid is None:
            raise UsageError(f"{self.path}: neighbours are those of a grid, and these tokens lie in a row")
        plane = x.unflatten(1, call.grid).permute(0, 3, 1, 2)
        mean = avg_pool2d(plane, self.kernel, 1, self.kernel // 2, count_include_pad=False)
        return (mean - plane).flatten(2).transpose(1, 2), state
