"""Four neighbours of a grid become one token, twice as wide.

    x'_ij = W N([x_2i,2j | x_2i+1,2j | x_2i,2j+1 | x_2i+1,2j+1])

Shapes   x (B, H W, D)   x' (B, H/2 W/2, 2D)   W (2D, 4D)
Source   arXiv 2103.14030    Family  junction
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Axis, Call, Junction, Prod, Site, Spec, UsageError
from blockyard.core.settings import Count, NormSpec


class PatchMerge(Junction):
    on_grid = True
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(
        stem=("conv_patches", dict(height=8, width=8, channels=1, kernel=2, stride=2)), head=("classes", {})
    )  # fmt: skip

    def __init__(
        self, site: Site, *, wider: Annotated[Count, "times as many channels"] = 2,
        norm: Annotated[NormSpec, "the norm of the four together"] = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        four = Axis("four", 4)
        together = Prod(four, site.stream)
        self.out = site.axis("stream", wider * site.stream.size)
        self.grid = site.grid and self._halves(site.path, site.grid)
        self.norm = site.slot("norm", norm, on=together)
        self.proj = site.linear("proj", together, self.out, kind=Spec.of("linear", "dense", {"bias": False}))

    @staticmethod
    def _halves(path: str, grid: tuple[int, ...] | None) -> tuple[int, int]:
        if not grid or grid[0] % 2 or grid[1] % 2:
            where = f"on {grid[0]} x {grid[1]}" if grid else "in a row"
            raise UsageError(f"{path}: merges tokens that lie on a grid of even sides, not {where}")
        return grid[0] // 2, grid[1] // 2

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        rows, columns = self._halves(self.path, call.grid)
        # the four in the order of the columns, then of the rows in each
        four = x.unflatten(1, (rows, 2, columns, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)
        call = call.laid(rows * columns, (rows, columns))
        return self.proj(self.norm(four, call), call), call, state
