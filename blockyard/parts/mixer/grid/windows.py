"""Any mixer inside square windows of a grid; every second layer's windows lie half a window further.

    window of token (i,j) = floor((i + shift) / size), floor((j + shift) / size)        shift = 0, floor(size / 2), 0...
    y = mixer on the tokens of each window

A grid that is no larger than a window is one window.

Shapes   x, y (B, H W, D)
Source   arXiv 2103.14030    Family  windows
Tags     memory=keys, decay=none
Differs  windows at the border are smaller: nothing is rolled round and nothing masked, with the same result
"""

from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer, UsageError, gather, scatter
from blockyard.core.settings import Count, MixerSpec, Natural


class Windows(Sublayer):
    on_grid = True
    claims = dict(row_independent=True, bidirectional=True, time_exponent=1.0)
    around = dict(stem=("conv_patches", dict(height=8, width=6, channels=1, kernel=1, stride=1)), head=("classes", {}))
    variants = (dict(size=4), dict(size=3, mixer=Spec.of("mixer", "attention", {"position": "relative_grid"})))

    def __init__(
        self, site: Site, *, size: Annotated[Count, "tokens of a window, down and across"] = 7,
        mixer: Annotated[MixerSpec, "what mixes the tokens of a window"] = Spec("mixer", "attention"),
        shift: Annotated[Natural, "how much further every second window lies; none: half a window"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        inside = site.grid and tuple(min(size, side) for side in site.grid)
        self.mixer = replace(site, grid=inside).build("mixer", mixer)
        self.size, self.shift = size, (size // 2 if shift is None else shift % size) * (site.ordinal % 2)

    def prepare(self, call: Call) -> None:
        key = ("windows", self.size, self.shift)
        if call.grid is not None and key not in call.memo:
            call.memo[key] = self._inside(call)

    def _inside(self, call: Call) -> tuple[Tensor, Call]:
        """(windows of all rows, size^2) flat positions, -1 where a window at the border is smaller; and their call."""
        grid = call.grid
        if grid is None:
            raise UsageError(f"{self.path}: windows lie on a grid, and these tokens lie in a row")
        down, across = (min(self.size, side) for side in grid)
        shift = self.shift if min(grid) > self.size else 0
        tall, broad = (-(-(side + shift) // step) * step for side, step in zip(grid, (down, across)))
        full = torch.full((tall, broad), -1, dtype=torch.long, device=call.positions.device)
        own = torch.arange(grid[0] * grid[1], device=full.device).view(grid)
        full[shift : shift + grid[0], shift : shift + grid[1]] = own
        one = full.view(tall // down, down, broad // across, across).transpose(1, 2).reshape(-1, down * across)
        rows = torch.arange(len(call.positions), device=full.device)[:, None, None] * (grid[0] * grid[1])
        index = torch.where(one >= 0, one + rows, -1).flatten(0, 1)
        whole = tall == grid[0] and broad == grid[1] and call.valid is None
        inside = call.regroup(index)
        places = torch.arange(down * across, device=full.device).expand_as(index)
        inside = inside._replace(grid=(down, across), positions=places, segment=None, reset=None)
        return index, inside._replace(valid=None, aligned=True) if whole else inside

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        key = ("windows", self.size, self.shift)
        index, inside = call.memoised(key, lambda: self._inside(call))
        inside = inside._replace(dtype=call.dtype, step=call.step, loop=call.loop, captures=call.captures,
                                 points=call.points)  # fmt: skip
        y, _ = self.mixer(gather(x, index), inside, None)
        return scatter(y, index, torch.zeros_like(x)), state
