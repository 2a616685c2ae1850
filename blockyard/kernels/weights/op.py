"""The product with a matrix in few bits.

    y = x W^T        W packed, see `packing`

Shapes   x (..., K)   y (..., N)   W (N,K)   packed (tiles, bytes) uint8
"""

from math import prod

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..dispatch import Op, compiled, emitted
from .packing import dense


def packed_linear_reference(x: Tensor, packed: Tensor, bits: int, group: int, N: int) -> Tensor:
    """Dequantise, then multiply."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return linear(x.to(wide), dense(packed, bits, group, x.shape[-1])[:N].to(wide)).to(x.dtype)


def packed_linear_plain(x: Tensor, packed: Tensor, bits: int, group: int, N: int) -> Tensor:
    """The same in the precision of x."""
    return linear(x, dense(packed, bits, group, x.shape[-1])[:N].to(x.dtype))


FEW = 16  # rows of x up to which reading the packed matrix again for every four of them is faster


def _serves(x: Tensor, packed: Tensor, bits: int, group: int, N: int) -> bool:
    few = prod(x.shape[:-1]) <= FEW and x.dtype != torch.float64
    return few and not (x.requires_grad and torch.is_grad_enabled())


def _flops(x: Tensor, packed: Tensor, bits: int, group: int, N: int) -> int:
    return 2 * x.numel() * N


def _fake(x: Tensor, packed: Tensor, bits: int, group: int, N: int) -> Tensor:
    return x.new_empty(*x.shape[:-1], N)


packed_linear = Op(
    "packed_linear",
    reference=packed_linear_reference,
    chunked=packed_linear_plain,
    cpu=compiled(__name__, "packed_linear", packed_linear_plain, _serves),
    emit=emitted(__name__, "packed_linear"),
    flops=_flops,
    fake=_fake,
    precise=False,
)
