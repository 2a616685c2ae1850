"""How surprising each token is to scores of a vocabulary.

    nats_n = log sum_v exp(x_nv) - x_n[target_n]            0 where target_n is below 0: nothing is asked

Shapes   x (N,V)   targets (N), whole numbers   nats (N), single precision at least

Like every norm and softmax it counts as no operations.
"""

import torch
from torch import Tensor

from ..dispatch import Op, compiled
from .reference import cross_entropy_fused, cross_entropy_reference

FEW = 1 << 14  # scores of which the framework's own passes cost less than a call of ours
VECTOR = 16


def _serves(x: Tensor, targets: Tensor) -> bool:
    return x.dim() == 2 and x.is_contiguous() and x.shape[1] >= VECTOR and x.numel() >= FEW


def _nothing(x: Tensor, targets: Tensor) -> int:
    return 0


def _fake(x: Tensor, targets: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)


cross_entropy = Op(
    "cross_entropy",
    reference=cross_entropy_reference,
    chunked=cross_entropy_fused,
    cpu=compiled(__name__, "cross_entropy", cross_entropy_fused, _serves),
    flops=_nothing,
    fake=_fake,
)
