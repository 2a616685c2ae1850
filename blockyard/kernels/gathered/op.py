"""A matrix for tokens that are zero but at a few places: of its rows, one a place, only those are read.

    y = sum_j a_j W[i_j]

Shapes   a (..., K)   i (..., K) whole numbers, each at most once a token   W (F,N), a row a place   y (..., N)

It is the product of W^T with a token that holds a_j at i_j and 0 elsewhere; it costs 2 K N operations, not 2 F N.
"""

from typing import Any

import torch
from torch import Tensor

from ..dispatch import Op
from .chunked import gathered_chunked
from .reference import gathered_reference


def _flops(a: Tensor, weight: Tensor, index: Tensor) -> int:
    return 2 * a.numel() * weight.shape[1]


def _fake(a: Tensor, weight: Tensor, index: Tensor) -> Any:
    return torch.empty(*a.shape[:-1], weight.shape[1], dtype=a.dtype, device=a.device)


gathered_linear = Op(
    "gathered_linear", reference=gathered_reference, chunked=gathered_chunked, flops=_flops, fake=_fake
)
