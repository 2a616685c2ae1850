"""A matrix in 8 bits with one scale a row.

    W[n,k] = s[n] q[n,k]        q from -127 to 127, s[n] = max |W[n]| / 127

Shapes   W (N,K)   kept (N,K+4) int8: the codes, then the scale's four bytes
Source   arXiv 2208.07339; the layout is our own
"""

import torch
from torch import Tensor

BYTES = 4  # of a scale


def int8_rows(weight: Tensor) -> Tensor:
    """W (N,K) as (N,K+4) int8."""
    weight = weight.detach().float()
    scale = weight.abs().amax(1, keepdim=True) / 127
    codes = (weight / torch.where(scale == 0, 1, scale)).round().clamp(-127, 127).to(torch.int8)
    return torch.cat([codes, scale.contiguous().view(torch.int8)], 1)


def int8_rows_of(kept: Tensor) -> tuple[Tensor, Tensor]:
    """The codes (N,K) int8 and the scales (N,1) in single precision."""
    return kept[:, :-BYTES], kept[:, -BYTES:].contiguous().view(torch.float32)
