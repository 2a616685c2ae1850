"""Where packed matrices come from."""

import torch
from torch import nn

from blockyard.core import Site
from blockyard.kernels.weights import check, pack, tiles_shape


def packed_buffer(site: Site, rows: int, columns: int, std: float, bits: int, group: int) -> nn.Buffer:
    """The buffer `packed` of a part: a normal matrix (rows, columns), packed."""
    check(bits, group)
    shape = tiles_shape(rows, columns, bits, group)

    def make(rng: torch.Generator) -> torch.Tensor:
        empty = torch.empty(shape, dtype=torch.uint8)
        if empty.device.type == "meta":
            return empty
        return pack(std * torch.randn(rows, columns, generator=rng), bits, group)

    return site.buffer("packed", make)
