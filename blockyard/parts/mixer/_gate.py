"""The gate at the end of a mixer."""

from torch import Tensor
from torch.nn.functional import silu

from blockyard.core import Call, Sublayer
from blockyard.kernels import gated


def gate(part: Sublayer, x: Tensor, g: Tensor, call: Call) -> Tensor:
    """x * silu(g); in one pass, unless somebody may want the gate itself at the point `gate`."""
    if call.points is None:
        return gated(x, g)
    return x * part.point("gate", silu(g), call)
