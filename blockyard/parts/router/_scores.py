"""What routers share: scores in single precision at least, whatever a forward computes in, so that choices repeat."""

import torch
from torch import Tensor

from blockyard.core import upcast
from blockyard.kernels import linear


def scores(x: Tensor, matrix: Tensor) -> Tensor:
    """x (B,T,D), matrix (E,D) -> (B,T,E)."""
    with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
        return linear(upcast(x), upcast(matrix))
