"""Fill a grid up with zeros at its lower and right border, to whole multiples of a size, and mix all of it.

    y = the part of mixer(x with zeros) that lies on the grid

What is filled in is read like any other token; windows of that size are then all whole.

Shapes   x, y (B, H W, D)
Source   arXiv 2103.14030    Family  windows
Tags     memory=of its mixer, decay=of its mixer
Differs  nothing known
"""

from dataclasses import replace
from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Call, Site, Spec, Sublayer, UsageError
from blockyard.core.settings import Count, MixerSpec


class FilledGrid(Sublayer):
    on_grid = True
    claims = dict(row_independent=True, bidirectional=True, time_exponent=2.0)
    around = dict(stem=("conv_patches", dict(height=8, width=6, channels=1, kernel=1, stride=1)), head=("classes", {}))
    variants = (dict(size=4), dict(size=5, mixer=Spec.of("mixer", "windows", dict(size=5))))

    def __init__(
        self, site: Site, *, size: Annotated[Count, "of which both sides become multiples"] = 7,
        mixer: Annotated[MixerSpec, "what mixes the filled grid"] = Spec("mixer", "windows"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.size = size
        whole = site.grid and self._whole(site.grid)
        self.mixer = replace(site, grid=whole).build("mixer", mixer)

    def _whole(self, grid: tuple[int, ...]) -> tuple[int, int]:
        rows, columns = (-(-side // self.size) * self.size for side in grid)
        return rows, columns

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        grid = call.grid
        if grid is None:
            raise UsageError(f"{self.path}: fills up a grid, and these tokens lie in a row")
        rows, columns = self._whole(grid)
        inside = call.memoised(("filled", self.size), lambda: call.laid(rows * columns, (rows, columns)))
        inside = inside._replace(dtype=call.dtype, step=call.step, loop=call.loop, captures=call.captures,
                                 points=call.points)  # fmt: skip
        plane = pad(call.zero_invalid(x).unflatten(1, grid), (0, 0, 0, columns - grid[1], 0, rows - grid[0]))
        y, _ = self.mixer(plane.flatten(1, 2), inside, None)
        return y.unflatten(1, (rows, columns))[:, : grid[0], : grid[1]].flatten(1, 2), state
