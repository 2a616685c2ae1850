"""A full matrix for every token.

    y = W x + b

Shapes   x (..., K)   W (N,K)   b (N)   y (..., N)

The framework has two libraries for products of matrices in single precision. On processors with vectors of 64 bytes the
one that it does not take is up to twice as fast, with errors of the same size: this op asks for that one.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch import Op, emitted
from .onednn import FASTER, linear_cpu, linear_traced

FEW = 1 << 13  # numbers of x below which finding a way costs more than it saves


def linear_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The framework's own."""
    return functional.linear(x, weight, bias)


def _counted_by_the_framework(*_: Any, **__: Any) -> int:
    return 0


_large = Op(
    "linear",
    reference=linear_reference,
    chunked=linear_traced,
    cpu=linear_cpu,
    emit=emitted(__name__, "linear"),
    flops=_counted_by_the_framework,
    fake=linear_reference,
    precise=False,
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """W x + b by whatever is fastest here."""
    # a program that leaves holds for all sizes and on other machines
    if FASTER and x.dtype is torch.float32 and not torch.compiler.is_exporting() and x.numel() >= FEW:
        return _large(x, weight, bias)
    return functional.linear(x, weight, bias)
