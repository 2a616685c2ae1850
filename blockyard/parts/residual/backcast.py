"""What a sublayer says of the window is taken from it, and what it says of the steps ahead is added up.

    [b | f] = F([z | 0])        z <- z - b        y <- y + f        the stream: [z | y]

So each sublayer explains what earlier ones have left of the window, and no sublayer sees what was foretold.

Shapes   x (R,1,L+H) = [z | y], as stem:history_ahead lays it   z, b (R,1,L)   y, f (R,1,H)
Source   arXiv 1905.10437    Family  residual
Differs  nothing known
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Call, Residual, Site, UsageError


class Backcast(Residual):
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(stem=("history_ahead", {}), head=("said_ahead", {}))

    def __init__(self, site: Site) -> None:
        super().__init__()
        length, horizon = site.axis_of("stem.length"), site.axis_of("stem.horizon")
        if length is None or horizon is None or length.size + horizon.size != site.stream.size:
            raise UsageError(f"{site.path}: a backcast is of a window as stem:history_ahead lays it")
        self.length = length

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        left, said = carry.split([self.length.size, carry.shape[-1] - self.length.size], -1)
        return torch.cat([left, torch.zeros_like(said)], -1)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        sizes = [self.length.size, carry.shape[-1] - self.length.size]
        (left, said), (back, ahead) = carry.split(sizes, -1), y.split(sizes, -1)
        return torch.cat([left - back, said + ahead], -1)
