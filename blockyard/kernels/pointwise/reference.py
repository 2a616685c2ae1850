"""Token-wise maps as anyone would write them."""

import torch
from torch import Tensor
from torch.nn import functional


def norm_reference(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    if gain.dim() == 1:
        return functional.rms_norm(x, gain.shape, gain, eps)
    return functional.rms_norm(x, gain.shape[-1:], None, eps) * gain


def gated_reference(x: Tensor, g: Tensor) -> Tensor:
    return x * functional.silu(g)


def swiglu_reference(h: Tensor) -> Tensor:
    g, x = h.chunk(2, -1)
    return functional.silu(g) * x


def rotate_reference(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
