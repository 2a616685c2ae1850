"""What stood one token before: the shift of RWKV."""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Call, leaf
from blockyard.kernels import causal_conv


def before(x: Tensor, call: Call, state: Any, name: str = "tail") -> tuple[Tensor, Tensor]:
    """x (B,T,D) one token later, zeros before the first of a segment, and the last token, to be kept under a name."""
    one = torch.ones(x.shape[-1], 1, dtype=x.dtype, device=x.device)
    taps = torch.cat([one, one * 0.0], 1)  # of two taps, that of the token before
    return causal_conv(x, taps, None, tail=leaf(state, name), valid=call.valid, reset=call.reset, silu=False)


def mixed(x: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """x and the token before it, `share` (D) of which is taken."""
    share = share.to(x.dtype)
    return x * (1 - share) + last * share
